//! Programs that are nothing but instructions, run on plain memory: `r1` its address, `r2` its length. What outside
//! suites and quick experiments use.

use skep_isa::Insn;
use skep_platform::{Context, EngineError, Facts, Loadable, ProgType, Program, RunError, Verified};
use skep_vm::{SystemHost, Tier, User};
use std::fmt;
use std::sync::Arc;

/// Why a raw program gave no result.
#[derive(Debug)]
pub enum Error {
    /// This tier is not there.
    Unsupported(String),
    /// It cannot be loaded.
    Load(EngineError),
    /// It was stopped.
    Run(Box<RunError>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unsupported(why) => f.write_str(why),
            Error::Load(e) => e.fmt(f),
            Error::Run(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

/// Runs instructions on memory in a tier of the user engine, with the rows of the whole platform; `r0`.
///
/// # Errors
/// A tier that is not there, a program that cannot be loaded, a program that was stopped.
pub fn run(insns: &[Insn], memory: &[u8], tier: Tier) -> Result<u64, Error> {
    let program = Arc::new(Program::from_insns("main", ProgType::Unspec, insns.to_vec()));
    load_and_run(Loadable::Unverified(program), memory, tier)
}

/// The same for a program that is trusted, which every tier runs.
///
/// # Safety
/// The tiers other than checked run it without any check: it must touch no memory but its own and `memory`, and end. Test
/// suites of the instruction set promise that of their programs; nothing else may come here unverified.
///
/// # Errors
/// As [`run`].
pub unsafe fn run_trusted(insns: &[Insn], memory: &[u8], tier: Tier) -> Result<u64, Error> {
    if tier == Tier::Checked {
        return run(insns, memory, tier);
    }
    let program = Arc::new(Program::from_insns("main", ProgType::Unspec, insns.to_vec()));
    // SAFETY: the caller's promise.
    let verified = unsafe { Verified::assume(program, Facts::default()) };
    load_and_run(Loadable::Verified(verified), memory, tier)
}

fn load_and_run(program: Loadable, memory: &[u8], tier: Tier) -> Result<u64, Error> {
    let engine = User::new(*crate::platform(), Arc::new(SystemHost::new())).with_tier(tier);
    let loaded = engine.load_program(&program).map_err(|e| match e {
        EngineError::Unsupported { .. } => Error::Unsupported(e.to_string()),
        e => Error::Load(e),
    })?;
    engine.runner().run(&loaded, &mut Context::memory(memory)).map_err(Error::Run)
}
