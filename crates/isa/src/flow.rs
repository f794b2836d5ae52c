//! What an instruction does to registers and to control flow, for analyses that need no more than that: which
//! registers it reads and writes, where it may go next.

use crate::op::{AluOp, AtomicOp, Callee, Op, Operand, Reg};

/// A set of registers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Regs(u16);

impl Regs {
    /// No register.
    pub const NONE: Regs = Regs(0);
    /// `r1` … `r5`: arguments of calls, which calls destroy.
    pub const ARGS: Regs = Regs(0b11_1110);
    /// `r0` … `r5`: what a call writes or destroys.
    pub const CALLER_SAVED: Regs = Regs(0b11_1111);

    /// The set with `reg` added.
    #[must_use]
    pub const fn with(self, reg: Reg) -> Regs {
        Regs(self.0 | 1 << reg.index())
    }

    /// Is `reg` in the set?
    pub const fn contains(self, reg: Reg) -> bool {
        self.0 >> reg.index() & 1 == 1
    }

    /// Is the set empty?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// As bits: bit `n` is register `n`.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The registers, lowest first.
    pub fn iter(self) -> impl Iterator<Item = Reg> {
        (0..=10).filter_map(Reg::new).filter(move |r| self.contains(*r))
    }

    const fn with_operand(self, src: Operand) -> Regs {
        match src {
            Operand::Reg(r) => self.with(r),
            Operand::Imm(_) => self,
        }
    }
}

impl Op {
    /// Registers that the instruction reads. A call reads `r1` … `r5` as far as its signature has arguments, which is
    /// not known here: all five are named.
    pub const fn uses(&self) -> Regs {
        let none = Regs::NONE;
        match *self {
            Op::Alu { op: AluOp::Mov, src, .. } => none.with_operand(src),
            Op::Alu { dst, src, .. } | Op::Store { dst, src, .. } | Op::JumpIf { dst, src, .. } => {
                none.with(dst).with_operand(src)
            }
            Op::Neg { dst, .. } | Op::End { dst, .. } => none.with(dst),
            Op::MovSx { src, .. } | Op::AddrSpaceCast { src, .. } => none.with(src),
            Op::Load { src, .. } | Op::LoadAcquire { src, .. } => none.with(src),
            Op::Atomic { op: AtomicOp::Cmpxchg, dst, src, .. } => none.with(dst).with(src).with(Reg::R0),
            Op::Atomic { dst, src, .. } | Op::StoreRelease { dst, src, .. } => none.with(dst).with(src),
            Op::LoadAbs { .. } => none.with(Reg::R6),
            Op::LoadInd { src, .. } => none.with(Reg::R6).with(src),
            Op::Call(Callee::Reg(r)) => Regs::ARGS.with(r),
            Op::Call(_) => Regs::ARGS,
            Op::Exit => none.with(Reg::R0),
            Op::LoadImm64 { .. } | Op::Ja { .. } | Op::MayGoto { .. } => none,
        }
    }

    /// Registers that the instruction writes or destroys (calls and packet loads destroy `r1` … `r5`).
    pub const fn defs(&self) -> Regs {
        let none = Regs::NONE;
        match *self {
            Op::Alu { dst, .. }
            | Op::Neg { dst, .. }
            | Op::MovSx { dst, .. }
            | Op::End { dst, .. }
            | Op::AddrSpaceCast { dst, .. }
            | Op::LoadImm64 { dst, .. }
            | Op::Load { dst, .. }
            | Op::LoadAcquire { dst, .. } => none.with(dst),
            Op::Atomic { op: AtomicOp::Cmpxchg, .. } => none.with(Reg::R0),
            Op::Atomic { op, src, .. } if op.fetches() => none.with(src),
            Op::LoadAbs { .. } | Op::LoadInd { .. } | Op::Call(_) => Regs::CALLER_SAVED,
            _ => none,
        }
    }

    /// Slot that the instruction at slot `pc` may jump to, when it is a jump (`goto`, conditional, `may_goto`). The
    /// slot may lie outside of the program, below zero too.
    pub const fn jump_target(&self, pc: usize) -> Option<i64> {
        let off = match *self {
            Op::Ja { off, .. } => off as i64,
            Op::JumpIf { off, .. } | Op::MayGoto { off } => off as i64,
            _ => return None,
        };
        Some(pc as i64 + 1 + off)
    }

    /// First slot of the subprogram that the instruction at slot `pc` calls or takes the address of.
    pub const fn subprog_target(&self, pc: usize) -> Option<i64> {
        match *self {
            Op::Call(Callee::Local(off)) => Some(pc as i64 + 1 + off as i64),
            Op::LoadImm64 { imm: crate::op::Imm64::Func(off), .. } => Some(pc as i64 + 1 + off as i64),
            _ => None,
        }
    }

    /// Does control never reach the next instruction (`exit`, `goto`)?
    pub const fn is_terminator(&self) -> bool {
        matches!(self, Op::Exit | Op::Ja { .. })
    }
}
