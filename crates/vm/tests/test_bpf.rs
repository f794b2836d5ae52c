//! The cases of the kernel's lib/test_bpf.c (suite `test_bpf`): the value returned for each packet size.
//!
//! Extended programs run as raw programs, classic ones as socket filters after their translation (`skep-cbpf`).

#![allow(clippy::print_stdout)]

use serde_json::Value;
use skep_cbpf::{Target, translate};
use skep_isa::Insn;
use skep_platform::engine::{Engine, Platform};
use skep_platform::env::{Context, CtxData};
use skep_platform::helper::Version;
use skep_platform::uapi::ProgType;
use skep_testkit::{programs, suites};
use skep_vm::{FixedHost, Options, Tier, User, report};
use std::sync::Arc;

mod tier;

const EMPTY: Platform =
    Platform { version: Version(6, 18), helpers: &[], kfuncs: &[], prog_types: &[], map_types: &[] };

/// The bytes that the kernel's tests put behind the packet's own in a fragment; the suite's file leaves them out.
const FRAGMENTS: [(&str, &[u8]); 2] = [
    ("mixed head/frag", &[0x19, 0x82]),
    ("frag", &[0x42, 0, 0, 0, 0x43, 0x44, 0, 0, 0x21, 0x07, 0x19, 0x83]),
];

/// What is wrong with a case, if anything is.
fn verdict(tier: Tier, engine: &User, case: &Value) -> Result<(), String> {
    let bytes = case["insns"].as_str().and_then(suites::hex).ok_or("no insns")?;
    let insns = Insn::slice_from_bytes(&bytes).map_err(|e| e.to_string())?;
    run(tier, engine, case, ProgType::Unspec, insns, programs::memory)
}

/// The same for a classic case: refused by the checker, or right as a socket filter.
fn classic_verdict(tier: Tier, engine: &User, case: &Value) -> Result<(), String> {
    let bytes = case["insns"].as_str().and_then(suites::hex).ok_or("no insns")?;
    let insns = bytes.as_chunks().0.iter().map(|b| skep_cbpf::Insn::from_bytes(*b)).collect();
    let program = match (skep_cbpf::Program::new(insns), case["expected_fail"] == true) {
        (Err(_), true) => return Ok(()),
        (Ok(_), true) => return Err("accepted, to be refused".into()),
        (program, false) => program.map_err(|e| e.to_string())?,
    };
    let insns = translate(&program, &Target::SOCKET_FILTER).map_err(|e| e.to_string())?;
    run(tier, engine, case, ProgType::SocketFilter, insns, |bytes| socket_buffer(case, bytes))
}

/// A packet with what the kernel's tests set (`populate_skb`).
fn socket_buffer(case: &Value, bytes: &[u8]) -> Context {
    let name = case["descr"].as_str().unwrap_or_default();
    let mut packet = bytes.to_vec();
    if case["skb_frag"] == true
        && let Some((_, frag)) = FRAGMENTS.iter().find(|(end, _)| name.ends_with(end))
    {
        packet.extend_from_slice(frag);
        packet.resize(bytes.len() + 128, 0);
    }
    let row = skep::platform().prog_type(ProgType::SocketFilter);
    let layout = row.and_then(|r| r.layout(None)).expect("socket filters have a context");
    let mut ctx = programs::packet(layout, &packet);
    if let CtxData::Packet(p) = &mut ctx.data {
        let ip = u32::from(0x0800u16.to_be());
        (p.ctx.pkt_type, p.ctx.mark, p.ctx.hash, p.ctx.queue_mapping) = (3, 0x1234_aaaa, 0x1234_aaab, 123);
        (p.ctx.protocol, p.ctx.ifindex) = (ip, 577);
        (p.ctx.vlan_present, p.ctx.vlan_tci, p.ctx.vlan_proto) = (1, 0xffff, ip);
        p.mac_len = bytes.len().min(14);
    }
    ctx
}

/// Runs a case on packets of all its sizes.
fn run(
    tier: Tier,
    engine: &User,
    case: &Value,
    prog_type: ProgType,
    insns: Vec<Insn>,
    context: impl Fn(&[u8]) -> Context,
) -> Result<(), String> {
    let program = tier::loadable(tier, programs::program(prog_type, insns));
    let loaded = engine.load(program).map_err(|e| e.to_string())?;
    let data = case["data"].as_str().and_then(suites::hex).unwrap_or_default();
    for test in case["tests"].as_array().ok_or("no tests")? {
        let (size, want) =
            (test["size"].as_u64().ok_or("no size")?, test["result"].as_i64().ok_or("no result")?);
        let mut packet = data.clone();
        packet.resize(size as usize, 0);
        let r0 = engine.test_run(&*loaded, &mut context(&packet)).map_err(|e| report(&e))?;
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
    for tier in tier::TIERS {
        all_pass(*tier, options, &cases);
    }
}

fn all_pass(tier: Tier, options: Options, cases: &[Value]) {
    let engine = User::new(EMPTY, Arc::new(FixedHost::new(1))).with_options(options).with_tier(tier);
    let linux = User::new(*skep::platform(), Arc::new(FixedHost::new(1))).with_tier(tier);
    let judge = |c: &Value| {
        if c["kind"] == "ebpf" { verdict(tier, &engine, c) } else { classic_verdict(tier, &linux, c) }
    };
    let failed: Vec<String> =
        cases.iter().filter_map(|c| Some(format!("{}: {}", c["descr"], judge(c).err()?))).collect();
    let classic = cases.iter().filter(|c| c["kind"] == "classic").count();
    println!(
        "test_bpf, {}: {} passed, {} failed ({classic} classic, translated)",
        tier.name(),
        cases.len() - failed.len(),
        failed.len()
    );
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
