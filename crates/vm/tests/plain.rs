//! The checked tier on hand-assembled programs: what it computes, and where it stops.

#![allow(clippy::unwrap_used)]

use skep_isa::{AluOp, Callee, Cond, Insn, Op, Operand, Reg, Size, Width};
use skep_platform::ctx::CtxLayout;
use skep_platform::engine::{Engine, Loadable, Platform, RunError};
use skep_platform::env::{Context, CtxData, PlainCtx};
use skep_platform::helper::Version;
use skep_platform::program::Program;
use skep_platform::uapi::ProgType;
use skep_vm::{FixedHost, Options, Tier, User, report};
use std::sync::Arc;

static NONE: CtxLayout = CtxLayout { name: "mem", size: 0, fields: &[] };
const EMPTY: Platform =
    Platform { version: Version(6, 18), helpers: &[], kfuncs: &[], prog_types: &[], map_types: &[] };

fn program(ops: &[Op]) -> Arc<Program> {
    let insns: Vec<Insn> = ops.iter().flat_map(|o| o.encode().to_vec()).collect();
    Arc::new(Program {
        name: "test".into(),
        section: String::new(),
        prog_type: ProgType::Unspec,
        attach_type: None,
        attach_target: None,
        sleepable: false,
        xdp_frags: false,
        license: "GPL".into(),
        insns,
        subprogs: Vec::new(),
        maps: Vec::new(),
        lines: Vec::new(),
        btf: None,
        kernel_btf: None,
        poisoned: Vec::new(),
    })
}

fn memory(bytes: &[u8]) -> Context {
    let mut words = vec![0u64; bytes.len().div_ceil(8)].into_boxed_slice();
    for (i, b) in bytes.iter().enumerate() {
        words[i / 8] |= u64::from(*b) << (i % 8 * 8);
    }
    Context { layout: &NONE, data: CtxData::Plain(PlainCtx { words, len: bytes.len(), buffers: Vec::new() }) }
}

fn run(ops: &[Op], mem: &[u8]) -> Result<u64, Box<RunError>> {
    let options = Options { budget: 100_000, ..Options::default() };
    let engine = User::new(EMPTY, Arc::new(FixedHost::new(2))).with_tier(Tier::Checked).with_options(options);
    let loaded = engine.load(Loadable::Unverified(program(ops))).unwrap();
    engine.test_run(&*loaded, &mut memory(mem))
}

const W64: Width = Width::W64;

fn mov(dst: Reg, imm: i32) -> Op {
    Op::Alu { op: AluOp::Mov, width: W64, dst, src: Operand::Imm(imm) }
}

fn alu(op: AluOp, dst: Reg, src: Operand) -> Op {
    Op::Alu { op, width: W64, dst, src }
}

fn load(size: Size, dst: Reg, src: Reg, off: i16) -> Op {
    Op::Load { size, sx: false, dst, src, off }
}

fn store(size: Size, dst: Reg, off: i16, src: Operand) -> Op {
    Op::Store { size, dst, off, src }
}

#[track_caller]
fn stops(ops: &[Op], mem: &[u8], at: usize, says: &str) {
    let e = run(ops, mem).unwrap_err();
    assert_eq!(e.insn, at, "{}", report(&e));
    assert!(report(&e).contains(says), "{}", report(&e));
}

#[test]
fn loops_and_memory() {
    let ops = [
        mov(Reg::R0, 0),
        load(Size::B, Reg::R3, Reg::R1, 0),
        alu(AluOp::Add, Reg::R0, Operand::Reg(Reg::R3)),
        alu(AluOp::Add, Reg::R1, Operand::Imm(1)),
        alu(AluOp::Sub, Reg::R2, Operand::Imm(1)),
        Op::JumpIf { cond: Cond::Ne, width: W64, dst: Reg::R2, src: Operand::Imm(0), off: -5 },
        Op::Exit,
    ];
    assert_eq!(run(&ops, &[1, 2, 3, 4, 5]).unwrap(), 15);
}

#[test]
fn spills_keep_provenance() {
    let ops = [
        store(Size::Dw, Reg::R10, -8, Operand::Reg(Reg::R1)),
        load(Size::Dw, Reg::R6, Reg::R10, -8),
        load(Size::H, Reg::R0, Reg::R6, 1),
        Op::Exit,
    ];
    assert_eq!(run(&ops, &[1, 2, 3]).unwrap(), 0x0302);
}

#[test]
fn wrong_steps_are_named() {
    use Operand::{Imm, Reg as R};
    stops(&[Op::Exit], &[], 0, "r0 is read and holds no value");
    stops(
        &[load(Size::W, Reg::R0, Reg::R1, 1), Op::Exit],
        &[0; 4],
        0,
        "r1 = memory + 0, 4 bytes remain of 4",
    );
    stops(
        &[load(Size::B, Reg::R0, Reg::R10, -1), Op::Exit],
        &[],
        0,
        "r10-1 of frame 0's stack was never written",
    );
    stops(
        &[store(Size::B, Reg::R10, 0, Imm(1)), Op::Exit],
        &[],
        0,
        "offset 512 of the stack of frame 0, which has 512 bytes",
    );
    stops(&[load(Size::B, Reg::R0, Reg::R1, 0), Op::Exit], &[], 0, "NULL");
    let cast = Op::Alu { op: AluOp::Mov, width: Width::W32, dst: Reg::R1, src: R(Reg::R1) };
    stops(&[cast, load(Size::B, Reg::R0, Reg::R1, 0)], &[1], 1, "not a pointer: the number");
    stops(&[mov(Reg::R10, 0)], &[], 0, "r10 is the frame pointer");
    stops(&[Op::Ja { off: 5, long: false }], &[], 0, "control leaves the program: instruction 6 of 1");
    stops(&[mov(Reg::R0, 0)], &[], 1, "control leaves the program");
    stops(&[Op::Ja { off: -1, long: false }], &[], 0, "more than 100000 instructions");
    stops(&[Op::Call(Callee::Helper(77))], &[], 0, "there is no helper #77");
    stops(&[Op::Call(Callee::Local(-1))], &[], 0, "more than 8 frames");
}

#[test]
fn a_callee_has_its_own_registers_and_stack() {
    let ops = [
        mov(Reg::R6, 7),
        mov(Reg::R1, 3),
        Op::Call(Callee::Local(2)),
        alu(AluOp::Add, Reg::R0, Operand::Reg(Reg::R6)),
        Op::Exit,
        store(Size::Dw, Reg::R10, -8, Operand::Reg(Reg::R1)),
        load(Size::W, Reg::R6, Reg::R10, -8),
        alu(AluOp::Mov, Reg::R0, Operand::Reg(Reg::R6)),
        Op::Exit,
    ];
    assert_eq!(run(&ops, &[]).unwrap(), 10);
    let mut lost = ops;
    lost[3] = alu(AluOp::Mov, Reg::R0, Operand::Reg(Reg::R1));
    stops(&lost, &[], 3, "r1 is read and holds no value");
    let mut unset = ops;
    unset[5] = alu(AluOp::Mov, Reg::R0, Operand::Reg(Reg::R6));
    stops(&unset, &[], 5, "r6 is read and holds no value");
}

#[test]
fn stacks_of_callers_are_reached_and_those_of_the_gone_are_not() {
    let call = Op::Call(Callee::Local(2));
    let caller = |then: Op| {
        [
            alu(AluOp::Mov, Reg::R1, Operand::Reg(Reg::R10)),
            call,
            then,
            Op::Exit,
            store(Size::B, Reg::R1, -1, Operand::Imm(9)),
            alu(AluOp::Mov, Reg::R0, Operand::Reg(Reg::R10)),
            Op::Exit,
        ]
    };
    assert_eq!(run(&caller(load(Size::B, Reg::R0, Reg::R10, -1)), &[]).unwrap(), 9);
    let gone = store(Size::B, Reg::R0, -1, Operand::Imm(1));
    stops(&caller(gone), &[], 2, "stale pointer into the stack of a function that has returned");
}
