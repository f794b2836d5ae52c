//! Every shape of instruction on values at which it could go wrong, against `opcodes.txt`: what the live kernel made of
//! the same programs. `SKEP_BLESS=1` (as root) asks the kernel anew and rewrites the file; our own engine never writes it.
//!
//! A line: the instruction, the values of its operands, `r0` at the end. The program around it: `r0 = a`, `r1 = r2 = b`,
//! the stack word at `r10 - 8` is `b`; after it `r0`, `r2` and the stack word are folded into `r0`.

#![allow(clippy::print_stdout)]

use skep_isa::table::{CallKind, Kind, Pseudo, ROWS, Src};
use skep_isa::{AluOp, Callee, Cond, Imm64, Insn, Op, Operand, Reg, Size, Width};
use skep_platform::engine::{Engine, Platform};
use skep_platform::helper::Version;
use skep_platform::uapi::ProgType;
use skep_testkit::kernel_oracle::{Load, Oracle};
use skep_testkit::programs;
use skep_vm::{FixedHost, Tier, User, report};
use std::path::Path;
use std::sync::Arc;

mod tier;

const EMPTY: Platform =
    Platform { version: Version(6, 18), helpers: &[], kfuncs: &[], prog_types: &[], map_types: &[] };

/// Operand values: each pair tells some two operations apart.
const VALUES: [(u64, u64); 10] = [
    (7, 3),
    (0, 0),
    (0xffff_ffff_ffff_fff9, 0xffff_ffff_ffff_fffd),
    (0x8000_0000_0000_0000, u64::MAX),
    (0x8000_0000, 0xffff_ffff),
    (0x0123_4567_89ab_cdef, 0x8182_8384_8586_8788),
    (0xdead_beef_0000_0005, 0xcafe_babe_0000_0005),
    (1, 63),
    (0xffff_ffff_8000_0000, 33),
    (0x7fff_ffff, 0xffff_ffff_0000_0000),
];

/// Offsets for packet loads: inside, at the end, outside, from the network and the link-layer header.
const PACKET: [i32; 8] = [0, 12, 60, 63, 64, -0x10_0000, -0x10_0000 + 5, -0x20_0000 + 3];

/// Shapes that no program of this form can hold, and where they are tested instead.
fn elsewhere(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::AddrSpaceCast => Some("needs an arena"),
        Kind::LoadImm64(p) if p != Pseudo::Value => Some("needs maps, functions or kernel types"),
        Kind::Call(CallKind::Helper) => Some("tests of the helpers"),
        Kind::Call(CallKind::Kfunc) => Some("needs kernel functions"),
        Kind::Call(CallKind::Reg) => Some("the kernel has no callx; bpf_conformance has"),
        Kind::Exit => Some("in every program"),
        _ => None,
    }
}

/// An instruction of this shape, if the kernel takes one with `b` as its operand.
fn instance(kind: Kind, b: u64) -> Option<Op> {
    let (dst, base, off) = (Reg::R0, Reg::R10, -8);
    let src = |s: Src| if s == Src::Reg { Operand::Reg(Reg::R2) } else { Operand::Imm(b as i32) };
    Some(match kind {
        Kind::Alu(op, width, s) => Op::Alu { op, width, dst, src: alu_src(op, width, src(s))? },
        Kind::Neg(width) => Op::Neg { width, dst },
        Kind::MovSx(width, bits) => Op::MovSx { width, bits, dst, src: Reg::R2 },
        Kind::End(kind, bits) => Op::End { kind, bits, dst },
        Kind::LoadImm64(_) => Op::LoadImm64 { dst, imm: Imm64::Value(b) },
        Kind::Load(size, sx) => Op::Load { size, sx, dst, src: base, off },
        Kind::Store(size, s) => Op::Store { size, dst: base, off, src: src(s) },
        Kind::Atomic(op, width) => Op::Atomic { op, width, dst: base, src: Reg::R2, off },
        Kind::LoadAcquire(size) => Op::LoadAcquire { size, dst, src: base, off },
        Kind::StoreRelease(size) => Op::StoreRelease { size, dst: base, src: Reg::R2, off },
        Kind::LoadAbs(size) => Op::LoadAbs { size, imm: b as i32 },
        Kind::LoadInd(size) => Op::LoadInd { size, src: Reg::R7, imm: b as i32 },
        Kind::Ja(long) => Op::Ja { off: 1, long },
        Kind::JumpIf(cond, width, s) => Op::JumpIf { cond, width, dst, src: src(s), off: 1 },
        Kind::MayGoto => Op::MayGoto { off: 1 },
        Kind::Call(CallKind::Local) => Op::Call(Callee::Local(8)),
        _ => return None,
    })
}

/// Immediate shift amounts and divisors that the verifier refuses are left out.
fn alu_src(op: AluOp, width: Width, src: Operand) -> Option<Operand> {
    let Operand::Imm(i) = src else { return Some(src) };
    let shift = matches!(op, AluOp::Lsh | AluOp::Rsh | AluOp::Arsh);
    let divides = matches!(op, AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod);
    let refused = shift && !(0..width.bits() as i32).contains(&i) || divides && i == 0;
    (!refused).then_some(src)
}

fn around(op: Op, a: u64, b: u64) -> Vec<Insn> {
    let wide = |dst, v| Op::LoadImm64 { dst, imm: Imm64::Value(v) };
    let alu = |op, dst, src| Op::Alu { op, width: Width::W64, dst, src };
    let word = |dst| Op::Load { size: Size::Dw, sx: false, dst, src: Reg::R10, off: -8 };
    let r = Operand::Reg;
    let ops = [
        alu(AluOp::Mov, Reg::R6, r(Reg::R1)),
        wide(Reg::R7, a),
        wide(Reg::R1, b),
        wide(Reg::R2, b),
        Op::Store { size: Size::Dw, dst: Reg::R10, off: -8, src: r(Reg::R2) },
        wide(Reg::R0, a),
        // Never taken; keeps what an unconditional jump skips reachable.
        Op::JumpIf {
            cond: Cond::Eq,
            width: Width::W64,
            dst: Reg::R7,
            src: Operand::Imm(0x55),
            off: op.slots() as i16,
        },
        op,
        alu(AluOp::Add, Reg::R0, Operand::Imm(1000)),
        alu(AluOp::Mul, Reg::R0, Operand::Imm(31)),
        if keeps_args(&op) { alu(AluOp::Xor, Reg::R0, r(Reg::R2)) } else { Op::Ja { off: 0, long: false } },
        alu(AluOp::Mul, Reg::R0, Operand::Imm(31)),
        word(Reg::R3),
        alu(AluOp::Xor, Reg::R0, r(Reg::R3)),
        // One slot that the test of the upper half turns into a shift.
        Op::Ja { off: 0, long: false },
        Op::Exit,
        // The subprogram for local calls.
        alu(AluOp::Mov, Reg::R0, r(Reg::R1)),
        alu(AluOp::Sub, Reg::R0, r(Reg::R2)),
        Op::Exit,
    ];
    let local = matches!(op, Op::Call(_));
    let used = if local { ops.len() } else { SHIFT + 2 };
    ops[..used].iter().flat_map(|o| o.encode().to_vec()).collect()
}

/// Index of the slot for the shift among the operations of [`around`].
const SHIFT: usize = 14;

fn keeps_args(op: &Op) -> bool {
    !matches!(op, Op::LoadAbs { .. } | Op::LoadInd { .. } | Op::Call(_))
}

fn frame() -> Vec<u8> {
    (0..64).map(|i| i * 3 + 1).collect()
}

/// Every case: the text before the result, and the program.
fn cases() -> Vec<(String, Vec<Insn>)> {
    let mut out: Vec<(String, Vec<Insn>)> = Vec::new();
    for row in ROWS.iter().filter(|r| elsewhere(r.kind).is_none()) {
        let packet = matches!(row.kind, Kind::LoadAbs(_) | Kind::LoadInd(_));
        let values = VALUES.iter().copied();
        let pairs: Vec<(u64, u64)> =
            if packet { PACKET.iter().map(|k| (2, *k as u64)).collect() } else { values.collect() };
        for (a, b) in pairs {
            let Some(op) = instance(row.kind, b) else { continue };
            let line = format!("{op} | {a:#x} | {b:#x}");
            if !out.iter().any(|(l, _)| *l == line) {
                out.push((line, around(op, a, b)));
            }
        }
    }
    out
}

fn ours(tier: Tier, engine: &User, insns: Vec<Insn>) -> String {
    let program = tier::loadable(tier, programs::program(ProgType::SchedCls, insns));
    let loaded = engine.load(program).expect("cases decode");
    match engine.test_run(&*loaded, &mut programs::packet(&programs::MEMORY, &frame())) {
        Ok(r0) => format!("{r0:#x}"),
        Err(e) => report(&e),
    }
}

/// Both halves of `r0`: a test run shows the lower one, so the upper one takes a second run.
fn theirs(kernel: &Oracle, insns: &[Insn]) -> Result<String, String> {
    let run = |insns: &[Insn]| {
        let mut load = Load::new(ProgType::SchedCls, insns);
        load.log_level = 1;
        let prog = kernel.load(&load).map_err(|e| format!("refused: {}", e.log))?;
        prog.test_run(&frame(), &[]).map(|r| r.retval).map_err(|e| e.to_string())
    };
    let low = run(insns)?;
    let nop = Op::Ja { off: 0, long: false }.encode().to_vec();
    let shift = Op::Alu { op: AluOp::Rsh, width: Width::W64, dst: Reg::R0, src: Operand::Imm(32) };
    let at = insns.windows(2).position(|w| w[0] == nop[0] && w[1] == Op::Exit.encode().as_slice()[0]);
    let mut upper = insns.to_vec();
    upper[at.ok_or("no slot for the shift")?] = shift.encode().as_slice()[0];
    Ok(format!("{:#x}", u64::from(run(&upper)?) << 32 | u64::from(low)))
}

fn bless(path: &Path) -> Result<(), String> {
    let kernel = Oracle::open()?;
    let mut text = String::from(
        "# instruction | a | b | r0 at the end. Results are the live kernel's; tests/opcodes.rs says how to renew them.\n",
    );
    for (line, insns) in cases() {
        let r0 = theirs(&kernel, &insns).map_err(|e| format!("{line}: {e}"))?;
        text.push_str(&format!("{line} | {r0}\n"));
    }
    std::fs::write(path, text).map_err(|e| e.to_string())
}

#[test]
fn every_shape_computes_what_the_kernel_computes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/opcodes.txt");
    if std::env::var_os("SKEP_BLESS").is_some() {
        match bless(&path) {
            Ok(()) => println!("rewritten: {}", path.display()),
            Err(why) => println!("not rewritten: {why}"),
        }
    }
    let text = std::fs::read_to_string(&path).expect("opcodes.txt is there");
    let expected: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    let engine = || User::new(EMPTY, Arc::new(FixedHost::new(1))).with_tier(Tier::Checked);
    for tier in tier::TIERS {
        same(*tier, &engine().with_tier(*tier), &expected);
    }
    let programs = cases().into_iter().map(|(_, insns)| programs::program(ProgType::SchedCls, insns));
    match tier::ahead(engine, programs) {
        Ok(engine) => same(Tier::Aot, &engine, &expected),
        Err(why) => println!("not ahead of time: {why}"),
    }
}

fn same(tier: Tier, engine: &User, expected: &[&str]) {
    let got: Vec<String> =
        cases().into_iter().map(|(line, insns)| format!("{line} | {}", ours(tier, engine, insns))).collect();
    for (want, got) in expected.iter().zip(&got) {
        assert_eq!(want, got, "{}", tier.name());
    }
    assert_eq!(
        expected.len(),
        got.len(),
        "the table has grown: SKEP_BLESS=1 asks the kernel for the new cases"
    );
    println!("{}: {} cases", tier.name(), got.len());
}

#[test]
fn every_shape_has_cases_or_a_reason() {
    for row in ROWS.iter() {
        let cased = VALUES.iter().any(|(_, b)| instance(row.kind, *b).is_some());
        assert!(cased || elsewhere(row.kind).is_some(), "{:?}", row.kind);
    }
}
