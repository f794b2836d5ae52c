//! The public bpf_conformance suite where it is at hand: `r0` in all 64 bits.

#![allow(clippy::print_stdout)]

use skep_isa::conformance::{Expected, parse};
use skep_platform::engine::{Engine, Platform};
use skep_platform::helper::Version;
use skep_platform::uapi::ProgType;
use skep_testkit::{programs, suites};
use skep_vm::{FixedHost, Tier, User, report};
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod tier;

fn engine() -> User {
    let platform = Platform {
        version: Version(6, 18),
        helpers: skep_helpers::HELPERS,
        kfuncs: skep_helpers::KFUNCS,
        prog_types: &[],
        map_types: &[],
    };
    User::new(platform, Arc::new(FixedHost::new(2))).with_tier(Tier::Checked)
}

/// `None` when the file's program did what the file says.
fn verdict(tier: Tier, engine: &User, path: &Path) -> Option<String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) => return Some(e.to_string()),
    };
    let test = match parse(&text) {
        Ok(test) => test,
        Err(e) => return Some(e.to_string()),
    };
    let program = tier::loadable(tier, programs::program(ProgType::Unspec, test.program));
    let outcome = engine
        .load(program)
        .map_err(|e| e.to_string())
        .and_then(|p| engine.test_run(&*p, &mut programs::memory(&test.memory)).map_err(|e| report(&e)));
    match (outcome, test.expected) {
        (Ok(r0), Expected::Result(want)) if r0 == want => None,
        (Ok(r0), want) => Some(format!("r0 is {r0:#x}, expected {want:x?}")),
        (Err(e), Expected::Error(want)) if e.contains(&want) => None,
        (Err(e), want) => Some(format!("stopped, expected {want:x?}\n{e}")),
    }
}

fn data_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "data"))
        .collect();
    files.sort();
    files
}

fn all_pass(tier: Tier, engine: &User, dir: &Path) {
    let files = data_files(dir);
    let failed: Vec<String> = files
        .iter()
        .filter_map(|f| Some(format!("{}: {}", f.display(), verdict(tier, engine, f)?)))
        .collect();
    println!("{}, {}: {} passed of {}", tier.name(), dir.display(), files.len() - failed.len(), files.len());
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), files.len(), failed.join("\n"));
    assert!(!files.is_empty(), "{} holds no .data files", dir.display());
}

/// The files' programs, for the library.
fn programs_of(dir: &Path) -> impl Iterator<Item = skep_platform::Program> {
    let text = |f: PathBuf| std::fs::read_to_string(f).ok();
    let tests = data_files(dir).into_iter().filter_map(text).filter_map(|t| parse(&t).ok());
    tests.map(|t| programs::program(ProgType::Unspec, t.program))
}

#[test]
fn the_public_suite() {
    let dir = match suites::dir("bpf_conformance") {
        Ok(dir) => dir,
        Err(why) => return println!("{why}"),
    };
    tier::TIERS.iter().for_each(|t| all_pass(*t, &engine().with_tier(*t), &dir));
    match tier::ahead(engine, programs_of(&dir)) {
        Ok(engine) => all_pass(Tier::Aot, &engine, &dir),
        Err(why) => println!("not ahead of time: {why}"),
    }
}
