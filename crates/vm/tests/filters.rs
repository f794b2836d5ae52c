//! Filters in eBPF: what the filter language compiles to (the expressions of suite `filters`) is accepted by the verifier
//! and by the kernel for socket filters, traffic control and XDP, and returns on every tier what the classic program
//! returns.

#![allow(clippy::print_stdout)]

use arbtest::arbitrary::Unstructured;
use skep_cbpf::{Filter, FilterOptions, Meta, Packet, Program, Target, asm, translate};
use skep_platform::Context;
use skep_platform::engine::Engine;
use skep_platform::uapi::ProgType;
use skep_testkit::kernel_oracle::{Load, Oracle};
use skep_testkit::{programs, suites};
use skep_vm::{FixedHost, Tier, User, report};
use std::collections::HashSet;
use std::sync::Arc;
use suite_names::{NETMASK, TestNames};
use tier::TIERS;

#[path = "../../cbpf/tests/random/mod.rs"]
mod random;
#[allow(dead_code, reason = "the tests of the language use more of it")]
#[path = "../../cbpf/tests/suite_names/mod.rs"]
mod suite_names;
mod tier;

const TARGETS: [(ProgType, Target); 3] = [
    (ProgType::SocketFilter, Target::SOCKET_FILTER),
    (ProgType::SchedCls, Target::SCHED_CLS),
    (ProgType::Xdp, Target::XDP),
];

/// What the translation returns where the classic program returns `n`.
fn verdict(prog_type: ProgType, n: u32) -> u32 {
    match (prog_type, n) {
        (ProgType::SchedCls, 0) => 2,
        (ProgType::SchedCls, _) => 0,
        (ProgType::Xdp, 0) => 1,
        (ProgType::Xdp, _) => 2,
        _ => n,
    }
}

/// The verifiers' refusals of a program, ours and the kernel's.
fn refusals(oracle: Option<&Oracle>, name: &str, program: &Program) -> Vec<String> {
    let mut out = Vec::new();
    for (prog_type, target) in &TARGETS {
        let Ok(insns) = translate(program, target) else { continue };
        if let Some(Err(e)) = oracle.map(|o| o.load(&Load::new(*prog_type, &insns))) {
            out.push(format!("{name}, {prog_type:?}: refused by the kernel: {e:?}"));
        }
        let ours = Arc::new(programs::program(*prog_type, insns));
        let options = skep_verifier::options::Options::default();
        if let Err(e) = skep_verifier::verify(&ours, skep::platform(), &options) {
            out.push(format!("{name}, {prog_type:?}: refused: {e}"));
        }
    }
    out
}

/// The expressions of the oracle.
fn filters(dir: &std::path::Path) -> Vec<(String, Filter)> {
    let text = std::fs::read_to_string(dir.join("oracle.tsv")).expect("the oracle");
    let exprs = text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.splitn(5, '\t').nth(4));
    let options = FilterOptions { netmask: Some(NETMASK), resolver: &TestNames, ..FilterOptions::default() };
    let compiled = |e: &str| Filter::compile(e, &options).unwrap_or_else(|err| panic!("{e}: {err}"));
    exprs.map(|e| (e.to_owned(), compiled(e))).collect()
}

#[test]
fn filters_are_accepted() {
    let dir = match suites::dir("filters") {
        Ok(dir) => dir,
        Err(why) => return println!("{why}"),
    };
    let oracle = Oracle::open().map_err(|why| println!("without the kernel: {why}")).ok();
    let all = filters(&dir);
    let refused: Vec<String> =
        all.iter().flat_map(|(e, f)| refusals(oracle.as_ref(), e, f.program())).collect();
    println!("filters: {} in eBPF three times each, {} refusals", all.len(), refused.len());
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// Ancillary loads, those that walk over headers too.
#[test]
fn ancillary_loads_are_accepted() {
    let oracle = Oracle::open().map_err(|why| println!("without the kernel: {why}")).ok();
    let mut refused = Vec::new();
    for row in skep_cbpf::ancillary::ROWS {
        let insns = asm::parse(&format!("ld #14\nldx #3\nld [{}]\nret\n", row.name)).expect("assembles");
        let program = Program::new(insns).expect("passes the checker");
        refused.extend(refusals(oracle.as_ref(), row.uapi, &program));
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// Every so many packets of the suite; with `SKEP_ALL_PACKETS` socket filters see all of them.
const STEP: usize = 131;

fn step(prog_type: ProgType) -> usize {
    let all = std::env::var_os("SKEP_ALL_PACKETS").is_some() && prog_type == ProgType::SocketFilter;
    if all { 1 } else { STEP }
}

/// What came out of runs.
#[derive(Default)]
struct Outcome {
    runs: u64,
    wrong: Vec<String>,
}

impl Outcome {
    fn compare(&mut self, got: u32, want: u32, what: impl FnOnce() -> String) {
        self.runs += 1;
        if got != want {
            self.wrong.push(format!("{}: {got:#x}, expected {want:#x}", what()));
        }
    }

    fn told(self, what: &str) {
        println!("filters {what}: {} runs, {} wrong", self.runs, self.wrong.len());
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}

#[test]
fn tiers_return_what_the_classic_machine_returns() {
    let dir = match suites::dir("filters") {
        Ok(dir) => dir,
        Err(why) => return println!("{why}"),
    };
    let all = suites::packets(&dir.join("eth_mut.bin.gz"));
    let filters = filters(&dir);
    let meta = Meta::default();
    let mut out = Outcome::default();
    for (prog_type, target) in &TARGETS {
        let layout = skep::platform().prog_type(*prog_type).and_then(|r| r.layout(None));
        let packets: Vec<&Vec<u8>> = all.iter().step_by(step(*prog_type)).collect();
        let mut contexts: Vec<Context> =
            packets.iter().map(|b| programs::packet(layout.expect("a packet context"), b)).collect();
        for (expr, filter) in &filters {
            let insns = translate(filter.program(), target).expect("translates");
            for tier in TIERS {
                let engine = User::new(*skep::platform(), Arc::new(FixedHost::new(1))).with_tier(*tier);
                let program = programs::program(*prog_type, insns.clone());
                let loaded = engine.load(tier::loadable(*tier, program)).expect("loads");
                // The checked tier takes its time.
                let every = if *tier == Tier::Checked { STEP / step(*prog_type) } else { 1 };
                for (bytes, ctx) in packets.iter().zip(&mut contexts).step_by(every) {
                    let r0 =
                        engine.test_run(&*loaded, ctx).unwrap_or_else(|e| panic!("{expr}: {}", report(&e)));
                    let want = verdict(*prog_type, filter.program().run(&Packet::new(bytes, &meta)));
                    out.compare(r0 as u32, want, || format!("{expr}, {prog_type:?}, {tier:?}"));
                }
            }
        }
    }
    out.told("in eBPF");
}

/// The kernel's test runs want a whole Ethernet header; a socket filter is given what is behind it.
const HEADER: usize = 14;

#[test]
fn the_kernel_returns_what_the_classic_machine_returns() {
    let dir = match suites::dir("filters") {
        Ok(dir) => dir,
        Err(why) => return println!("{why}"),
    };
    let oracle = match Oracle::open() {
        Ok(oracle) => oracle,
        Err(why) => return println!("without the kernel: {why}"),
    };
    let all = suites::packets(&dir.join("eth_mut.bin.gz"));
    let meta = Meta::default();
    let mut out = Outcome::default();
    let mut left_out = HashSet::new();
    for (prog_type, target) in &TARGETS {
        let in_front = if *prog_type == ProgType::SocketFilter { HEADER } else { 0 };
        let packets: Vec<Vec<u8>> = all
            .iter()
            .step_by(step(*prog_type))
            .map(|b| [&[0; HEADER][..in_front], b].concat())
            .filter(|b| b.len() > HEADER)
            .collect();
        for (expr, filter) in filters(&dir) {
            let insns = translate(filter.program(), target).expect("translates");
            let loaded =
                oracle.load(&Load::new(*prog_type, &insns)).unwrap_or_else(|e| panic!("{expr}: {e:?}"));
            for bytes in &packets {
                // Frames longer than a page less the kernel's own needs are not taken.
                let Ok(ran) = loaded.test_run(bytes, &[]) else {
                    left_out.insert(bytes.clone());
                    continue;
                };
                let want = filter.program().run(&Packet::new(&bytes[in_front..], &meta));
                out.compare(ran.retval, verdict(*prog_type, want), || format!("{expr}, {prog_type:?}"));
            }
        }
    }
    println!("filters in the kernel: {} packets are not taken for test runs", left_out.len());
    out.told("in the kernel");
}

/// Random expressions over random packets, most of them cut short: the program as the tree has it, the optimised one, and
/// what they become in eBPF on every tier.
#[test]
fn random_filters_mean_the_same_everywhere() {
    let meta = Meta::default();
    let check = |u: &mut Unstructured<'_>| -> arbtest::arbitrary::Result<()> {
        let expr = random::expression(u, 2)?;
        let with = |optimize| FilterOptions { optimize, netmask: Some(NETMASK), ..FilterOptions::default() };
        let Ok(plain) = Filter::compile(&expr, &with(false)) else { return Ok(()) };
        let packets: Vec<Vec<u8>> =
            (0..8).map(|_| random::packet(u)).collect::<arbtest::arbitrary::Result<_>>()?;
        let wants: Vec<u32> = packets.iter().map(|b| plain.program().run(&Packet::new(b, &meta))).collect();
        // What is refused when optimised accepts nothing.
        let short = Filter::compile(&expr, &with(true));
        for filter in [Ok(plain), short].into_iter().flatten() {
            for (prog_type, target) in &TARGETS {
                let insns = translate(filter.program(), target).expect("translates");
                let layout = skep::platform().prog_type(*prog_type).and_then(|r| r.layout(None));
                for tier in TIERS {
                    let engine = User::new(*skep::platform(), Arc::new(FixedHost::new(1))).with_tier(*tier);
                    let program = programs::program(*prog_type, insns.clone());
                    let loaded = engine.load(tier::loadable(*tier, program)).expect("loads");
                    for (bytes, want) in packets.iter().zip(&wants) {
                        let mut ctx = programs::packet(layout.expect("a packet context"), bytes);
                        let r0 = engine.test_run(&*loaded, &mut ctx);
                        let r0 = r0.unwrap_or_else(|e| panic!("{expr}: {}", report(&e)));
                        let want = verdict(*prog_type, *want);
                        assert_eq!(r0 as u32, want, "{expr}, {prog_type:?}, {tier:?}, {bytes:02x?}");
                    }
                }
            }
        }
        Ok(())
    };
    arbtest::arbtest(check).budget_ms(3_000).size_min(64).size_max(1 << 14);
}
