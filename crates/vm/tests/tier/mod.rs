//! The tiers under test, and programs for them.

use skep_platform::engine::Loadable;
use skep_platform::{Facts, Program, Verified};
use skep_vm::{Tier, User, aot};
use std::sync::Arc;

/// Every tier that this build has.
pub(crate) const TIERS: &[Tier] = &[Tier::Checked, Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto];

/// A program for a tier: declared verified for those that take nothing else.
#[allow(dead_code, reason = "some tests have their programs verified")]
pub(crate) fn loadable(tier: Tier, program: Program) -> Loadable {
    let program = Arc::new(program);
    if tier == Tier::Checked {
        return Loadable::Unverified(program);
    }
    // SAFETY: the programs of these tests are loaded by the live kernel, or belong to suites that the kernel's own
    // interpreter runs; the checked tier has run them without a fault.
    Loadable::Verified(unsafe { Verified::assume(program, Facts::default()) })
}

/// An engine of the tier *aot* whose library has these programs; why there is none, where no C compiler is installed.
#[allow(dead_code, reason = "not every test compiles ahead of time")]
pub(crate) fn ahead(
    engine: impl Fn() -> User,
    programs: impl Iterator<Item = Program>,
) -> Result<User, String> {
    // SAFETY: as in `loadable`.
    ahead_of(engine, programs.map(|p| unsafe { Verified::assume(Arc::new(p), Facts::default()) }))
}

/// The same of programs that were verified.
#[allow(dead_code, reason = "not every test compiles ahead of time")]
pub(crate) fn ahead_of(
    engine: impl Fn() -> User,
    programs: impl Iterator<Item = Verified>,
) -> Result<User, String> {
    let maker = engine();
    let source = |p: Verified| maker.native_source(&p).expect("every verified program can be written as C");
    let sources: Vec<aot::Source> = programs.map(source).collect();
    let rows: Vec<(&str, &aot::Source)> = sources.iter().map(|s| ("program", s)).collect();
    let file = std::env::temp_dir().join(format!("skep-aot-{}-{}.so", std::process::id(), sources.len()));
    let built = aot::build(&aot::library(&rows), &file, None);
    let library = match built {
        Err(e @ aot::BuildError::NoCompiler(_)) => return Err(e.to_string()),
        built => built.map(|_| aot::Library::open(&file).expect("it has just been made")),
    };
    let _ = std::fs::remove_file(&file);
    let library = library.unwrap_or_else(|e| panic!("{e}"));
    Ok(engine().with_tier(Tier::Aot).with_library(Arc::new(library)))
}
