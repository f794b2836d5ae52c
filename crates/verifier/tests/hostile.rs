//! Programs made to cost as much as possible: the verdict comes within the limits, in bounded memory, without a panic.
//!
//! Sizes are the kernel's limits where the build is optimised; other builds take a tenth.
#![allow(clippy::print_stdout)]

mod support;

use skep_isa::Insn;
use skep_platform::{ProgType, Program};
use skep_verifier::{Limits, Options, Rule, Stats, verify_full};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::raw::PLATFORM;

/// Instructions of the largest program and of the longest walk.
const MOST: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
/// Longest time for one verdict; a hundred times what an idle machine takes.
const SLOWEST: Duration = Duration::from_secs(120);
/// Most memory of the whole test, in KiB.
const LARGEST: u64 = 1_500_000;

const fn op(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn::new(code, dst, src, off, imm)
}

const EXIT: Insn = op(0x95, 0, 0, 0, 0);

fn mov(dst: u8, imm: i32) -> Insn {
    op(0xb7, dst, 0, 0, imm)
}

/// `dst = *(u32 *)(r1 +0)`.
fn unknown(dst: u8) -> Insn {
    op(0x61, dst, 1, 0, 0)
}

/// The rule that refuses it, or none, and what was counted.
fn judge(name: &str, insns: Vec<Insn>) -> (Option<Rule>, Stats) {
    let program = Program::from_insns("hostile", ProgType::SocketFilter, insns);
    let limits = Limits { insns: MOST as u64, ..Limits::default() };
    let began = Instant::now();
    let out = verify_full(&Arc::new(program), &PLATFORM, &Options { limits, ..Options::default() });
    let (rule, stats) = match &out {
        Ok(o) => (None, o.stats),
        Err(e) => (Some(e.rule()), e.stats),
    };
    let took = began.elapsed();
    println!(
        "{name}: {rule:?}, {} instructions, {} states, {took:?}, {} KiB",
        stats.insns,
        stats.total_states,
        peak()
    );
    assert!(took < SLOWEST, "{name} took {took:?}");
    assert!(peak() < LARGEST, "{name}: {} KiB", peak());
    (rule, stats)
}

/// Most memory of this process so far, in KiB; 0 where the system does not say.
fn peak() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_million_instructions_in_a_row() {
    let mut code: Vec<Insn> = (0..MOST - 1).map(|i| mov(0, i as i32)).collect();
    code.push(EXIT);
    let (rule, stats) = judge("row", code);
    assert_eq!((rule, stats.insns), (None, MOST as u64));
}

#[test]
fn a_store_in_every_slot_of_a_long_program() {
    let mut code: Vec<Insn> =
        (0..MOST - 2).map(|i| op(0x7a, 10, 0, -8 * ((i % 64) as i16 + 1), i as i32)).collect();
    code.extend([mov(0, 0), EXIT]);
    assert_eq!(judge("stores", code).0, None);
}

/// Every jump goes both ways and both ways differ in a number that decides the next: no two paths meet.
#[test]
fn a_tree_of_branches() {
    let mut code = vec![mov(0, 0)];
    for bit in 0..30 {
        code.extend([unknown(2), op(0x15, 2, 0, 1, 0), op(0x47, 0, 0, 0, 1 << bit)]);
    }
    // The number matters to the end.
    code.extend([op(0x25, 0, 0, 1, 1 << 29), EXIT, mov(0, 0), EXIT]);
    let (rule, stats) = judge("tree", code);
    assert!(rule == Some(Rule::TooComplex) || stats.insns <= MOST as u64);
}

#[test]
fn more_branches_waiting_than_are_allowed() {
    let mut code = Vec::new();
    for _ in 0..9_000 {
        code.extend([unknown(2), op(0x15, 2, 0, 0, 0)]);
    }
    code.extend([mov(0, 0), EXIT]);
    let (rule, _) = judge("waiting", code);
    assert!(matches!(rule, None | Some(Rule::TooComplex)), "{rule:?}");
}

#[test]
fn a_loop_that_never_meets_itself() {
    // r0 counts without end; every turn differs.
    let code = vec![mov(0, 0), op(0x07, 0, 0, 0, 1), op(0x55, 0, 0, -2, -1), EXIT];
    assert_eq!(judge("loop", code).0, Some(Rule::TooComplex));
}

/// A long function that uses its stack and its caller's, called from everywhere.
#[test]
fn chains_of_calls() {
    let sites = MOST / 100;
    let body = MOST / 20;
    let start = 4 * sites + 2;
    let mut code = Vec::new();
    for i in 0..sites {
        let call = 4 * i + 3;
        code.extend([
            op(0xbf, 1, 10, 0, 0),
            op(0x07, 1, 0, 0, -8),
            op(0x7a, 10, 0, -8, 0),
            op(0x85, 0, 1, 0, (start - call - 1) as i32),
        ]);
    }
    code.extend([mov(0, 0), EXIT]);
    // The first instructions return; the rest is walked once.
    code.extend([op(0x79, 2, 1, 0, 0), op(0x7b, 10, 2, -16, 0), op(0x15, 2, 0, body as i16, 0)]);
    code.extend((0..body.min(30_000)).map(|i| mov(0, i as i32)));
    code.extend([mov(0, 0), EXIT]);
    let at = code.len() - 2;
    let jump = (at - (start + 2) - 1).min(32_000);
    code[start + 2] = op(0x15, 2, 0, jump as i16, 0);
    judge("calls", code);
}

/// Jumps that are decided, and jumps far ahead that are not.
#[test]
fn branches_into_everywhere() {
    let n = MOST / 50;
    let mut code = vec![unknown(2)];
    for i in 0..n {
        let far = ((n - i) % 1000) as i16;
        code.push(op(0x1d, 2, 2, 0, 0));
        code.push(op(0x25, 2, 0, far, i as i32));
    }
    code.extend(vec![mov(0, 0); 1001]);
    code.push(EXIT);
    judge("everywhere", code);
}
