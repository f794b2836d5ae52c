//! Every arithmetic operation on every pair of registers, run: the result is right and no other register has changed. With
//! and without the shifts of BMI2.

use super::emit::Emit;
use crate::Compiled;
use crate::code::{Code, Step};
use crate::head::{Head, Outcome};
use crate::loops::Found;
use crate::pages::Pages;
use skep_isa::{AluOp, Op, Operand, Reg, Width};

unsafe extern "C" fn call(_: u64, _: u64, _: u64, _: u64, _: u64, _: *mut Head) -> Outcome {
    unreachable!("these programs call nothing")
}

unsafe extern "C" fn packet(_: *mut Head, _: i32, _: u32) -> Outcome {
    unreachable!("these programs have no packet")
}

unsafe extern "C" fn any(_: *mut Head, _: u64, _: u32, _: u64) -> Outcome {
    unreachable!("these programs have no context")
}

unsafe extern "C" fn trap(_: *mut Head, _: u32) {
    unreachable!("these programs run to their end")
}

fn run(steps: Vec<Step>, bmi2: bool) -> u64 {
    execute(&code(steps), &[], bmi2, [0; 5])
}

/// A program of one function.
pub(crate) fn code(steps: Vec<Step>) -> Code {
    let is_jump = |s: &Step| matches!(s, Step::Op(Op::Ja { .. } | Op::JumpIf { .. } | Op::MayGoto { .. }));
    Code {
        jumps: (0..steps.len()).filter(|pc| is_jump(&steps[*pc])).map(|pc| pc as u32).collect(),
        steps,
        functions: vec![0],
        callbacks: Vec::new(),
        addresses: Vec::new(),
        values: Vec::new(),
        cpu: false,
        ctx_size: 0,
        packet: None,
    }
}

/// Compiles and runs a program; `loops` are those that it may run at once.
pub(crate) fn execute(code: &Code, loops: &[Found], bmi2: bool, args: [u64; 5]) -> u64 {
    let mut emit = Emit::new(code, loops, 0, super::survey::Survey::of(code, loops));
    emit.bmi2 &= bmi2;
    let made = emit.program().expect("the bounds hold");
    let pages = Pages::new(&made.bytes, None).expect("there is memory");
    let mut compiled =
        Compiled::in_pages(pages, made.bytes.len(), &made.entries).expect("there is a function");
    compiled._loops = made.loops;
    let mut head = Head {
        exit: [0; 2],
        stopped: 0,
        site: 0,
        token: 0,
        ctx: 0,
        ctx_len: 0,
        mac_len: 0,
        cpu: 0.into(),
        lock: 0,
        tails_left: 0,
        tail_id: 0,
        tails: 0,
        helper: call,
        call_reg: call,
        packet,
        any,
        trap,
    };
    // SAFETY: the program ends, and accesses no memory but what its arguments are the addresses of.
    unsafe { compiled.run(&raw mut head, args) }
}

const OPS: [AluOp; 14] = [
    AluOp::Add,
    AluOp::Sub,
    AluOp::Mul,
    AluOp::Div,
    AluOp::Sdiv,
    AluOp::Or,
    AluOp::And,
    AluOp::Lsh,
    AluOp::Rsh,
    AluOp::Arsh,
    AluOp::Mod,
    AluOp::Smod,
    AluOp::Xor,
    AluOp::Mov,
];
const VALUES: [(u64, u64); 4] = [
    (0xffff_ffff_8000_0001, 0xffff_ffff_0000_0007),
    (77, 0),
    (1 << 63, u64::MAX),
    (0x1234_5678_9abc_def0, 0x2b),
];

fn alu(op: AluOp, width: Width, dst: Reg, src: Operand) -> Step {
    Step::Op(Op::Alu { op, width, dst, src })
}

/// The program, and what it returns: all registers folded into `r0`.
fn case(op: AluOp, width: Width, dst: Reg, src: Operand, a: u64, b: u64) -> (Vec<Step>, u64) {
    let mut regs: Vec<u64> = (0..10).map(|i| 0x0101_0101_0101_0101 * (i + 1)).collect();
    if let Operand::Reg(s) = src {
        regs[s.index()] = b;
    }
    regs[dst.index()] = a;
    let all: Vec<Reg> = (0..10).filter_map(Reg::new).collect();
    let mut steps = Vec::new();
    for r in &all {
        steps.extend([Step::Wide { dst: *r, bits: regs[r.index()] }, Step::Second]);
    }
    steps.push(alu(op, width, dst, src));
    let b = match src {
        Operand::Reg(s) => regs[s.index()],
        Operand::Imm(i) => i64::from(i) as u64,
    };
    regs[dst.index()] = op.eval(width, a, b);
    let mut folded = regs[0];
    for r in &all[1..] {
        steps.push(alu(AluOp::Mul, Width::W64, Reg::R0, Operand::Imm(31)));
        steps.push(alu(AluOp::Add, Width::W64, Reg::R0, Operand::Reg(*r)));
        folded = folded.wrapping_mul(31).wrapping_add(regs[r.index()]);
    }
    steps.push(Step::Op(Op::Exit));
    (steps, folded)
}

#[test]
fn arithmetic_on_every_pair_of_registers() {
    let all = || (0..10).filter_map(Reg::new);
    let imms = [0, 1, -1, 8, 127, -128, 4096, i32::MIN].map(Operand::Imm);
    for (op, width) in OPS.into_iter().flat_map(|o| [(o, Width::W32), (o, Width::W64)]) {
        for dst in all() {
            for src in all().map(Operand::Reg).chain(imms) {
                for (a, b) in VALUES {
                    let (steps, want) = case(op, width, dst, src, a, b);
                    for bmi2 in [false, true] {
                        let got = run(steps.clone(), bmi2);
                        assert_eq!(got, want, "{op:?} {width:?} {dst:?} {src:?} of {a:#x}, {b:#x}");
                    }
                }
            }
        }
    }
}

/// Both shifts and the `or`, into another register and in place; and what only looks like a rotation.
#[test]
fn rotations() {
    let r = |n: u8| Reg::new(n).expect("a register");
    let all = || 0..10u8;
    for (width, a) in [(Width::W32, 5), (Width::W64, 9), (Width::W64, 63)] {
        for b in [width.bits() as i32 - a, 3] {
            for (low, dst, src) in all().flat_map(|l| all().flat_map(move |d| [(l, d, 3u8), (l, d, 8)])) {
                if low == src {
                    continue;
                }
                let value = 0x8123_4567_89ab_cdef_u64;
                let mut steps = vec![Step::Wide { dst: r(src), bits: value }, Step::Second];
                let reg = |n: u8| Operand::Reg(r(n));
                steps.push(alu(AluOp::Mov, width, r(low), reg(src)));
                steps.push(alu(AluOp::Rsh, width, r(low), Operand::Imm(a)));
                if dst != src {
                    steps.push(alu(AluOp::Mov, width, r(dst), reg(src)));
                }
                steps.push(alu(AluOp::Lsh, width, r(dst), Operand::Imm(b)));
                steps.push(alu(AluOp::Or, width, r(dst), reg(low)));
                // What is left of the first half, too.
                steps.push(alu(AluOp::Mul, Width::W64, r(dst), Operand::Imm(31)));
                steps.push(alu(AluOp::Add, Width::W64, r(dst), reg(low)));
                steps.push(alu(AluOp::Mov, Width::W64, Reg::R0, reg(dst)));
                steps.push(Step::Op(Op::Exit));
                let mut regs = [0u64; 10];
                for step in &steps {
                    match *step {
                        Step::Wide { dst, bits } => regs[dst.index()] = bits,
                        Step::Op(Op::Alu { op, width, dst, src }) => {
                            let b = match src {
                                Operand::Reg(s) => regs[s.index()],
                                Operand::Imm(i) => i64::from(i) as u64,
                            };
                            regs[dst.index()] = op.eval(width, regs[dst.index()], b);
                        }
                        _ => {}
                    }
                }
                for bmi2 in [false, true] {
                    assert_eq!(run(steps.clone(), bmi2), regs[0], "{width:?} {a} {b} {low} {dst} {src}");
                }
            }
        }
    }
}

/// A jump over one copy or constant, whichever registers it has: the copy is made where the condition does not hold, and nothing
/// else is changed, upper halves included.
#[test]
fn jumps_over_one_copy() {
    use skep_isa::Cond;
    let r = |n: u8| Reg::new(n).expect("a register");
    let conds = [Cond::Eq, Cond::Gt, Cond::Le, Cond::Set, Cond::Sgt, Cond::Slt];
    let values =
        [Operand::Imm(0), Operand::Imm(-5), Operand::Imm(77), Operand::Reg(r(4)), Operand::Reg(r(0))];
    for (cond, width) in conds.into_iter().flat_map(|c| [(c, Width::W32), (c, Width::W64)]) {
        for (value, copied) in values.into_iter().flat_map(|v| [(v, Width::W32), (v, Width::W64)]) {
            for (to, a, b) in
                [(2u8, 1u8, Operand::Reg(r(3))), (1, 1, Operand::Reg(r(3))), (3, 1, Operand::Imm(9))]
            {
                for (x, y) in [(9u64, 9u64), (3, u64::MAX), (u64::MAX, 3), (0xffff_ffff_0000_0009, 9)] {
                    let mut regs: Vec<u64> =
                        (0..5u64).map(|i| 0x8181_0101_8101_0101_u64.wrapping_mul(i + 1)).collect();
                    (regs[1], regs[3]) = (x, y);
                    let mut steps = Vec::new();
                    for (n, bits) in (0..5).zip(&regs) {
                        steps.extend([Step::Wide { dst: r(n), bits: *bits }, Step::Second]);
                    }
                    steps.push(Step::Op(Op::JumpIf { cond, width, dst: r(a), src: b, off: 1 }));
                    steps.push(alu(AluOp::Mov, copied, r(to), value));
                    let of = |o: Operand| match o {
                        Operand::Reg(r) => regs[r.index()],
                        Operand::Imm(i) => i64::from(i) as u64,
                    };
                    if !cond.eval(width, regs[usize::from(a)], of(b)) {
                        regs[usize::from(to)] = copied.truncate(of(value));
                    }
                    let mut folded = regs[0];
                    for n in 1..5u8 {
                        steps.push(alu(AluOp::Mul, Width::W64, Reg::R0, Operand::Imm(31)));
                        steps.push(alu(AluOp::Add, Width::W64, Reg::R0, Operand::Reg(r(n))));
                        folded = folded.wrapping_mul(31).wrapping_add(regs[usize::from(n)]);
                    }
                    steps.push(Step::Op(Op::Exit));
                    let got = run(steps, true);
                    assert_eq!(
                        got, folded,
                        "{cond:?} {width:?} r{a} {b:?}, r{to} = {value:?} {copied:?}: {x:#x}, {y:#x}"
                    );
                }
            }
        }
    }
}
