//! Which registers hold pointers, so that the text says `pointer + offset` where the program adds an offset to a pointer. A
//! wrong guess is as right, only slower: a register is both a number and a pointer of the same bits.

use super::emit::target;
use crate::code::{Code, Step};
use skep_isa::{AluOp, Op, Operand, Reg, Size, Width};

/// What a register holds on all ways to an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// No way has been seen.
    None,
    Number,
    Pointer,
    /// Now this, now that; or nobody knows.
    Either,
}

impl Kind {
    fn join(self, other: Kind) -> Kind {
        match (self, other) {
            (Kind::None, k) | (k, Kind::None) => k,
            (a, b) if a == b => a,
            _ => Kind::Either,
        }
    }
}

/// `r0` to `r10`.
pub(super) type Kinds = [Kind; 11];

/// The registers before each instruction of the function at `start..end`.
pub(super) fn kinds(code: &Code, start: usize, end: usize) -> Vec<Kinds> {
    let mut at = vec![[Kind::None; 11]; end - start];
    let mut first = [Kind::Number; 11];
    first[1..6].fill(if start == 0 { Kind::Number } else { Kind::Either });
    first[10] = Kind::Pointer;
    if start == 0 {
        first[1] = Kind::Pointer;
    }
    let mut work = vec![(start, first)];
    while let Some((pc, kinds)) = work.pop() {
        let Some(before) = pc.checked_sub(start).and_then(|i| at.get_mut(i)) else { continue };
        let mut joined = *before;
        joined.iter_mut().zip(kinds).for_each(|(a, b)| *a = a.join(b));
        if joined == *before {
            continue;
        }
        *before = joined;
        let step = &code.steps[pc];
        let after = after(code, pc, step, joined);
        let (jumps, falls) = match step {
            Step::Op(Op::Ja { off, .. }) => (target(pc, *off), false),
            Step::Op(Op::JumpIf { off, .. } | Op::MayGoto { off }) => (target(pc, (*off).into()), true),
            Step::Op(Op::Exit) | Step::Trap { .. } => (None, false),
            _ => (None, true),
        };
        work.extend(jumps.map(|to| (to, after)));
        if falls {
            work.push((pc + 1, after));
        }
    }
    at
}

fn after(code: &Code, pc: usize, step: &Step, mut k: Kinds) -> Kinds {
    let mut set = |r: Reg, kind| k[r.index()] = kind;
    match *step {
        Step::Wide { dst, .. } => {
            set(dst, if code.addresses.binary_search(&pc).is_ok() { Kind::Pointer } else { Kind::Number });
        }
        Step::Op(Op::Alu { op, width, dst, src }) => {
            let kind = alu(op, width, k[dst.index()], operand(&k, src));
            k[dst.index()] = kind;
        }
        Step::Op(Op::Neg { dst, .. } | Op::MovSx { dst, .. } | Op::End { dst, .. }) => set(dst, Kind::Number),
        Step::Op(Op::Load { dst, size, .. } | Op::LoadAcquire { dst, size, .. })
        | Step::AnyLoad { dst, size, .. } => {
            set(dst, loaded(size));
        }
        Step::CtxLoad(l) => set(l.dst, if l.cut == Size::Dw { Kind::Either } else { Kind::Number }),
        Step::Op(Op::Atomic { src, .. }) => {
            set(src, Kind::Either);
            set(Reg::R0, Kind::Either);
        }
        Step::Index(_) | Step::Value { .. } => set(Reg::R0, Kind::Pointer),
        Step::Helper { .. } | Step::Direct(_) | Step::Op(Op::Call(_)) => set(Reg::R0, Kind::Either),
        Step::Tail { .. } | Step::Lock { .. } | Step::Unlock { .. } | Step::Loop { .. } | Step::Cpu => {
            set(Reg::R0, Kind::Number);
        }
        Step::PacketLoad { .. } => set(Reg::R0, Kind::Number),
        _ => {}
    }
    k
}

fn loaded(size: Size) -> Kind {
    if size == Size::Dw { Kind::Either } else { Kind::Number }
}

pub(super) fn operand(k: &Kinds, src: Operand) -> Kind {
    match src {
        Operand::Imm(_) => Kind::Number,
        Operand::Reg(r) => k[r.index()],
    }
}

/// What an operation gives.
fn alu(op: AluOp, width: Width, dst: Kind, src: Kind) -> Kind {
    use Kind::{Either, Number, Pointer};
    match (op, width, dst, src) {
        (_, Width::W32, ..) => Number,
        (AluOp::Mov, ..) => src,
        (AluOp::Add, _, Pointer, Number | Either) | (AluOp::Add, _, Number | Either, Pointer) => Pointer,
        (AluOp::Add, _, Either, Number) | (AluOp::Add, _, Number, Either) => Either,
        (AluOp::Sub, _, Pointer, Number) => Pointer,
        (AluOp::Add | AluOp::Sub, _, Either, Either) => Either,
        (AluOp::Sub, _, Either, Number) => Either,
        _ => Number,
    }
}
