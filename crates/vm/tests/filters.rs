//! Filters in eBPF: what the filter language compiles to (the expressions of suite `filters`) is accepted by the verifier
//! and by the kernel for socket filters, traffic control and XDP, and returns on every tier what the classic program
//! returns.

#![allow(clippy::print_stdout)]

use skep_cbpf::filter::Numbers;
use skep_cbpf::{Filter, FilterOptions, Meta, Packet, Program, Target, asm, translate};
use skep_platform::engine::Engine;
use skep_platform::uapi::ProgType;
use skep_testkit::kernel_oracle::{Load, Oracle};
use skep_testkit::{programs, suites};
use skep_vm::{FixedHost, User, report};
use std::sync::Arc;
use tier::TIERS;

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

/// The expressions of the oracle that compile.
fn filters(dir: &std::path::Path) -> Vec<(String, Filter)> {
    let text = std::fs::read_to_string(dir.join("oracle.tsv")).expect("the oracle");
    let exprs = text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.splitn(5, '\t').nth(4));
    let options =
        FilterOptions { netmask: Some(0xffff_ff00), resolver: &Numbers, ..FilterOptions::default() };
    let compiled = exprs.filter_map(|e| match Filter::compile(e, &options) {
        Ok(f) => Some((e.to_owned(), f)),
        // Names of services are the resolver's, and tested where it is.
        Err(err) => {
            assert!(err.to_string().contains("unknown port"), "{e}: {err}");
            None
        }
    });
    compiled.collect()
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

/// Every so many packets of the suite.
const STEP: usize = 131;

#[test]
fn tiers_return_what_the_classic_machine_returns() {
    let dir = match suites::dir("filters") {
        Ok(dir) => dir,
        Err(why) => return println!("{why}"),
    };
    let packets: Vec<Vec<u8>> =
        suites::packets(&dir.join("eth_mut.bin.gz")).into_iter().step_by(STEP).collect();
    let meta = Meta::default();
    let (mut runs, mut wrong) = (0, Vec::new());
    for (expr, filter) in filters(&dir) {
        for (prog_type, target) in &TARGETS {
            let insns = translate(filter.program(), target).expect("translates");
            for tier in TIERS {
                let engine = User::new(*skep::platform(), Arc::new(FixedHost::new(1))).with_tier(*tier);
                let program = programs::program(*prog_type, insns.clone());
                let loaded = engine.load(tier::loadable(*tier, program)).expect("loads");
                let layout = skep::platform().prog_type(*prog_type).and_then(|r| r.layout(None));
                for bytes in &packets {
                    let mut ctx = programs::packet(layout.expect("a packet context"), bytes);
                    let r0 = engine
                        .test_run(&*loaded, &mut ctx)
                        .unwrap_or_else(|e| panic!("{expr}: {}", report(&e)));
                    let want = verdict(*prog_type, filter.program().run(&Packet::new(bytes, &meta)));
                    runs += 1;
                    if r0 as u32 != want {
                        wrong.push(format!(
                            "{expr}, {prog_type:?}, {tier:?}: {:#x}, expected {want:#x}",
                            r0 as u32
                        ));
                    }
                }
            }
        }
    }
    println!("filters in eBPF: {runs} runs, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
