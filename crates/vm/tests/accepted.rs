//! What the kernel's verifier accepts runs without a fault, and returns what the kernel returns: the accepted programs
//! of suite `test_verifier`, under root's rules (the stack may be read before it is written).

#![allow(clippy::print_stdout)]

use serde_json::Value;
use skep_platform::ctx::{CtxLayout, UserRun};
use skep_platform::engine::{Engine, Loaded};
use skep_platform::env::{Context, CtxData};
use skep_platform::map::{Handle, Map, Side};
use skep_platform::program::Program;
use skep_platform::uapi::{AttachType, MapType, ProgType};
use skep_testkit::{fixtures, programs, suites};
use skep_vm::{FixedHost, Options, Tier, User, report};
use std::sync::Arc;

mod tier;

/// Outcome of a case that did not pass.
enum Odd {
    Skipped(String),
    Failed(String),
}

fn skip<T>(why: impl Into<String>) -> Result<T, Odd> {
    Err(Odd::Skipped(why.into()))
}

fn fail(why: impl std::fmt::Display) -> Odd {
    Odd::Failed(why.to_string())
}

fn map(engine: &User, kind: &str) -> Result<Arc<dyn Map>, Odd> {
    let Some(def) = fixtures::map_def(kind) else { return skip(format!("map kind {kind}")) };
    let map = match engine.create_map(&def) {
        Ok(map) => map,
        Err(e) => return skip(e.to_string()),
    };
    if def.map_type == MapType::Array && def.value_size == 48 {
        map.update(&0u32.to_le_bytes(), &fixtures::test_value(), 0, Side::User).map_err(fail)?;
    }
    Ok(map)
}

/// The program arrays of the kernel's test: two programs that return a number, and one that calls itself.
fn fill(tier: Tier, engine: &User, map: &Arc<dyn Map>, prog_type: ProgType) -> Result<(), Odd> {
    let keys = match map.def().name.as_str() {
        "prog1" => [0u32, 1, 2],
        "prog2" => [7, 1, 2],
        _ => return Ok(()),
    };
    let texts = [
        "mov %r0, 42\nexit".to_string(),
        "mov %r3, 1\nlddw %r2, 0\ncall 12\nmov %r0, 41\nexit".to_string(),
        "mov %r0, 24\nexit".to_string(),
    ];
    for (key, text) in keys.into_iter().zip(&texts) {
        let mut insns = skep_isa::conformance::assemble(text).map_err(fail)?;
        if key == 1 {
            insns[1] = insns[1].with_src(5);
        }
        let program = Program { maps: vec![map.clone()], ..programs::program(prog_type, insns) };
        let loaded = engine.load_program(&tier::loadable(tier, program)).map_err(fail)?;
        map.set_handle(&key.to_le_bytes(), Handle::Prog(loaded.into_handle()), 0).map_err(fail)?;
    }
    Ok(())
}

fn context(layout: &'static CtxLayout, packets: bool, prog_type: ProgType, data: &[u8]) -> Context {
    if !packets {
        return programs::plain(layout, &vec![0; layout.size.into()]);
    }
    // The kernel's test run gives programs above the link layer the packet without its Ethernet header.
    let whole = matches!(prog_type, ProgType::Xdp | ProgType::SchedCls | ProgType::SchedAct);
    let mut ctx = programs::packet(layout, if whole { data } else { data.get(14..).unwrap_or(&[]) });
    if let CtxData::Packet(p) = &mut ctx.data {
        // The kernel's test run knows no length on the wire unless it is given a context.
        p.ctx.wire_len = 0;
    }
    ctx
}

fn run(tier: Tier, engine: &User, case: &Value) -> Result<(), Odd> {
    let number = |key: &str| case[key].as_u64().unwrap_or(0) as u32;
    let Some(prog_type) = ProgType::from_id(number("prog_type")) else { return skip("program type") };
    if !case["kfuncs"].as_array().is_none_or(Vec::is_empty) {
        return skip("kernel functions");
    }
    let Some((insns, kinds)) = fixtures::insns(case) else { return skip("unreadable") };
    let mut program = programs::program(prog_type, insns);
    program.attach_type = AttachType::from_id(number("attach_type"));
    for kind in &kinds {
        let map = map(engine, kind)?;
        fill(tier, engine, &map, prog_type)?;
        program.maps.push(map);
    }
    let row = engine.platform().prog_type(prog_type).ok_or(Odd::Skipped("no row".into()))?;
    let packets = row.user == UserRun::Packets;
    let Some(layout) = row.layout(program.attach_type) else { return skip("no context layout") };
    if tier != Tier::Checked && !packets {
        return skip("needs kernel objects in its context");
    }
    let loaded = engine.load(tier::loadable(tier, program)).map_err(fail)?;
    let data = case["data"].as_str().and_then(suites::hex).unwrap_or_default();
    let mut ctx = context(layout, packets, prog_type, &data);
    let r0 = match engine.test_run(&*loaded, &mut ctx) {
        Ok(r0) => r0 as u32,
        Err(e) if matches!(e.fault, skep_platform::Fault::NoHelper { .. }) => {
            return skip(e.fault.to_string());
        }
        Err(e) => return Err(fail(report(&e))),
    };
    let want = case["retvals"].as_array().and_then(|r| r.first()).and_then(Value::as_i64);
    match want {
        // What these return is not run by the kernel's test either.
        _ if !packets => Ok(()),
        // Stands for a pointer, which may have any value.
        Some(0x00ca_fe4a) => Ok(()),
        Some(want) if want as u32 != r0 => Err(fail(format!("r0 is {r0:#x}, the kernel's {want:#x}"))),
        _ => Ok(()),
    }
}

#[test]
fn accepted_programs_run_without_a_fault() {
    let dir = match suites::dir("test_verifier") {
        Ok(dir) => dir,
        Err(why) => return println!("{why}"),
    };
    let cases = suites::jsonl(&dir.join("dev.jsonl.gz")).expect("the suite is readable");
    let options = Options { unset_stack: true, ..Options::default() };
    for tier in tier::TIERS {
        all_run(*tier, options, &cases);
    }
}

fn all_run(tier: Tier, options: Options, cases: &[Value]) {
    let engine =
        User::new(*skep::platform(), Arc::new(FixedHost::new(2))).with_options(options).with_tier(tier);
    let (mut passed, mut skipped, mut failed) = (0, Vec::new(), Vec::new());
    for case in cases.iter().filter(|c| c["kernel"]["accepted"] == true) {
        match run(tier, &engine, case) {
            Ok(()) => passed += 1,
            Err(Odd::Skipped(why)) => skipped.push(format!("{}: {why}", case["descr"])),
            Err(Odd::Failed(why)) => failed.push(format!("{}: {why}", case["descr"])),
        }
    }
    println!(
        "test_verifier, accepted, {}: {passed} passed, {} failed, {} skipped",
        tier.name(),
        failed.len(),
        skipped.len()
    );
    println!("{}", skipped.join("\n"));
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
