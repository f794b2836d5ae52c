//! The cases of the kernel's lib/test_bpf.c (suite `test_bpf`): the value returned for each packet size.
//!
//! Extended programs run as raw programs. Classic ones need the translation to eBPF, which another crate makes; they are
//! counted as skipped.

#![allow(clippy::print_stdout)]

use serde_json::Value;
use skep_isa::Insn;
use skep_platform::engine::{Engine, Loadable, Platform};
use skep_platform::helper::Version;
use skep_platform::uapi::ProgType;
use skep_testkit::{programs, suites};
use skep_vm::{FixedHost, Options, User, report};
use std::sync::Arc;

const EMPTY: Platform = Platform { version: Version(6, 18), helpers: &[], prog_types: &[], map_types: &[] };

/// What is wrong with a case, if anything is.
fn verdict(engine: &User, case: &Value) -> Result<(), String> {
    let bytes = case["insns"].as_str().and_then(suites::hex).ok_or("no insns")?;
    let insns = Insn::slice_from_bytes(&bytes).map_err(|e| e.to_string())?;
    let program = Arc::new(programs::program(ProgType::Unspec, insns));
    let loaded = engine.load(Loadable::Unverified(program)).map_err(|e| e.to_string())?;
    let data = case["data"].as_str().and_then(suites::hex).unwrap_or_default();
    for test in case["tests"].as_array().ok_or("no tests")? {
        let (size, want) =
            (test["size"].as_u64().ok_or("no size")?, test["result"].as_i64().ok_or("no result")?);
        let mut packet = data.clone();
        packet.resize(size as usize, 0);
        let r0 = engine.test_run(&*loaded, &mut programs::memory(&packet)).map_err(|e| report(&e))?;
        if r0 as u32 != want as u32 {
            return Err(format!("size {size}: r0 is {:#x}, expected {:#x}", r0 as u32, want as u32));
        }
    }
    Ok(())
}

#[test]
fn the_kernels_interpreter_tests() {
    let dir = match suites::dir("test_bpf") {
        Ok(dir) => dir,
        Err(why) => return println!("{why}"),
    };
    let cases = suites::jsonl(&dir.join("dev.jsonl.gz")).expect("the suite is readable");
    // The kernel's tests know no verifier; one reads a register that it has not written.
    let options = Options { unset_stack: true, unset_registers: true, ..Options::default() };
    let engine = User::new(EMPTY, Arc::new(FixedHost::new(1))).with_options(options);
    let (extended, classic): (Vec<_>, Vec<_>) = cases.iter().partition(|c| c["kind"] == "ebpf");
    let failed: Vec<String> = extended
        .iter()
        .filter_map(|c| Some(format!("{}: {}", c["descr"], verdict(&engine, c).err()?)))
        .collect();
    println!(
        "test_bpf: {} passed, {} failed, {} skipped (classic: they need the translator)",
        extended.len() - failed.len(),
        failed.len(),
        classic.len()
    );
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
