//! The checker: which instructions make a [`Program`]. The rules are the kernel's (`bpf_check_classic` and
//! `check_load_and_stores`, net/core/filter.c); each is a variant of [`Rule`].
//!
//! Jumps go forward, so that one pass over the instructions is enough and every program ends. The exception are filters
//! with `protochain`, whose walk over extension headers goes back by `ja`, as libpcap's does: the kernel does not take
//! them, and they end because the offset that is looked at grows with every round.

use crate::ancillary::{AD_OFF, Ancillary};
use crate::insn::{AluOp, Insn, Op, Source};
use std::fmt;

/// Most instructions of a program (`BPF_MAXINSNS`).
pub const MAX_INSNS: usize = 4096;
/// Words of scratch memory (`BPF_MEMWORDS`).
pub const MEM_WORDS: u32 = 16;

/// Instructions that keep every rule. Cost of making one: linear.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    insns: Vec<Insn>,
    ops: Vec<Op>,
}

/// A rule that is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// There is no instruction.
    Empty,
    /// There are more than [`MAX_INSNS`].
    TooLong(usize),
    /// No such operation.
    Code(u16),
    /// Division or modulo by the constant zero.
    DivisionByZero,
    /// A shift by 32 or more.
    Shift(u32),
    /// Scratch memory has [`MEM_WORDS`] words.
    Mem(u32),
    /// A word of scratch memory is read that was not written on every path to here.
    MemUnset(u32),
    /// A jump to behind the last instruction: where to.
    Jump(u64),
    /// No such ancillary load.
    Ancillary(u32),
    /// The last instruction does not return.
    NoReturn,
}

/// A refusal: which instruction breaks which rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckError {
    /// Instruction.
    pub insn: usize,
    /// Rule.
    pub rule: Rule,
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instruction {}: ", self.insn)?;
        match self.rule {
            Rule::Empty => f.write_str("the program is empty; the shortest one is `ret #0`"),
            Rule::TooLong(n) => write!(f, "{n} instructions, of which {MAX_INSNS} are allowed"),
            Rule::Code(c) => write!(f, "there is no operation {c:#x}"),
            Rule::DivisionByZero => f.write_str("division by the constant 0"),
            Rule::Shift(k) => write!(f, "shift by {k}; shifts go up to 31"),
            Rule::Mem(k) => write!(f, "M[{k}]; scratch memory goes up to M[{}]", MEM_WORDS - 1),
            Rule::MemUnset(k) => write!(f, "M[{k}] is read, but not every path to here has written it"),
            Rule::Jump(to) => write!(f, "jump to instruction {to}, behind the end"),
            Rule::Ancillary(k) => {
                write!(f, "there is no ancillary load {:#x} (SKF_AD_OFF + {})", k, k - AD_OFF)
            }
            Rule::NoReturn => f.write_str("the last instruction has to be a return"),
        }
    }
}

impl std::error::Error for CheckError {}

impl Program {
    /// Checks instructions. Fails with the first that breaks a rule.
    pub fn new(insns: Vec<Insn>) -> Result<Program, CheckError> {
        if insns.len() > MAX_INSNS {
            return Err(CheckError { insn: MAX_INSNS, rule: Rule::TooLong(insns.len()) });
        }
        let mut ops = Vec::with_capacity(insns.len());
        for (pc, insn) in insns.iter().enumerate() {
            let op = Op::decode(*insn).ok_or(CheckError { insn: pc, rule: Rule::Code(insn.code) })?;
            keeps(op, pc, insns.len(), false)?;
            ops.push(op);
        }
        whole(&ops)?;
        Ok(Program { insns, ops })
    }

    /// Checks operations, whose `ja` may go back: for loops of which this crate knows that they end.
    pub(crate) fn of_ops(mut ops: Vec<Op>) -> Result<Program, CheckError> {
        let len = ops.len();
        if len > MAX_INSNS {
            return Err(CheckError { insn: MAX_INSNS, rule: Rule::TooLong(len) });
        }
        let mut insns = Vec::with_capacity(len);
        for (pc, op) in ops.iter_mut().enumerate() {
            if let Op::Abs(size, k @ AD_OFF..) = *op
                && let Some(which) = Ancillary::at(k)
            {
                *op = Op::Ancillary(size, which);
            }
            keeps(*op, pc, len, true)?;
            insns.push(op.encode());
        }
        whole(&ops)?;
        Ok(Program { insns, ops })
    }

    /// Whether a jump goes back. The kernel refuses such a program; its translation to eBPF bounds the rounds.
    pub fn has_loops(&self) -> bool {
        self.ops.iter().any(|op| matches!(op, Op::Ja(k) if goes_back(*k)))
    }

    /// The instructions as given.
    pub fn insns(&self) -> &[Insn] {
        &self.insns
    }

    /// The same, decoded.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }
}

/// The rules that one instruction keeps or breaks by itself.
fn keeps(op: Op, pc: usize, len: usize, loops: bool) -> Result<(), CheckError> {
    let left = (len - pc - 1) as u64;
    let jump = |by: u64| if by < left { Ok(()) } else { Err(Rule::Jump(pc as u64 + 1 + by)) };
    let kept = match op {
        Op::Alu(AluOp::Div | AluOp::Mod, Source::K(0)) => Err(Rule::DivisionByZero),
        Op::Alu(AluOp::Lsh | AluOp::Rsh, Source::K(k @ 32..)) => Err(Rule::Shift(k)),
        Op::Mem(_, k @ MEM_WORDS..) | Op::Store(_, k @ MEM_WORDS..) => Err(Rule::Mem(k)),
        Op::Abs(_, k @ AD_OFF..) => Err(Rule::Ancillary(k)),
        Op::Ja(k) if loops && goes_back(k) && target(pc, k) <= pc => Ok(()),
        Op::Ja(k) => jump(k.into()),
        Op::Jump(_, _, jt, jf) => jump(jt.into()).and(jump(jf.into())),
        _ => Ok(()),
    };
    kept.map_err(|rule| CheckError { insn: pc, rule })
}

/// The rules of a whole program.
fn whole(ops: &[Op]) -> Result<(), CheckError> {
    match ops.last() {
        None => Err(CheckError { insn: 0, rule: Rule::Empty }),
        Some(Op::RetK(_) | Op::RetA) => memory(ops),
        Some(_) => Err(CheckError { insn: ops.len() - 1, rule: Rule::NoReturn }),
    }
}

/// A distance that is negative as a signed number.
fn goes_back(k: u32) -> bool {
    (k as i32) < 0
}

/// Where a `ja` goes.
pub(crate) fn target(pc: usize, k: u32) -> usize {
    (pc + 1).wrapping_add_signed(k as i32 as isize)
}

/// Scratch memory is written before it is read: one bit a word, those written on every path.
fn memory(ops: &[Op]) -> Result<(), CheckError> {
    if !ops.iter().any(|op| matches!(op, Op::Mem(..))) {
        return Ok(());
    }
    let mut known = vec![u16::MAX; ops.len()];
    let mut written = 0;
    for (pc, op) in ops.iter().enumerate() {
        written &= known[pc];
        known[pc] = written;
        match *op {
            Op::Store(_, k) => written |= 1 << k,
            Op::Mem(_, k) if written & 1 << k == 0 => {
                return Err(CheckError { insn: pc, rule: Rule::MemUnset(k) });
            }
            Op::Ja(k) => {
                let to = target(pc, k);
                // Going back, all is written that was when the loop was entered.
                if to <= pc && known[to] & !written != 0 {
                    let missing = (known[to] & !written).trailing_zeros();
                    return Err(CheckError { insn: pc, rule: Rule::MemUnset(missing) });
                }
                known[to] &= written;
                written = u16::MAX;
            }
            Op::Jump(_, _, jt, jf) => {
                known[pc + 1 + usize::from(jt)] &= written;
                known[pc + 1 + usize::from(jf)] &= written;
                written = u16::MAX;
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insn::{Cond, Register, Size};

    fn refused(ops: &[Op]) -> (usize, Rule) {
        let e = Program::new(ops.iter().map(|o| o.encode()).collect()).expect_err("refused");
        assert!(!e.to_string().is_empty());
        (e.insn, e.rule)
    }

    #[test]
    fn every_rule() {
        let ret = Op::RetK(0);
        assert_eq!(refused(&[]), (0, Rule::Empty));
        assert_eq!(refused(&[ret; 4097]), (4096, Rule::TooLong(4097)));
        assert_eq!(refused(&[Op::Alu(AluOp::Mod, Source::K(0)), ret]), (0, Rule::DivisionByZero));
        assert_eq!(refused(&[Op::Alu(AluOp::Rsh, Source::K(32)), ret]), (0, Rule::Shift(32)));
        assert_eq!(refused(&[Op::Store(Register::X, 16), ret]), (0, Rule::Mem(16)));
        assert_eq!(refused(&[Op::Mem(Register::A, 3), ret]), (0, Rule::MemUnset(3)));
        assert_eq!(refused(&[Op::Ja(1), ret]), (0, Rule::Jump(2)));
        assert_eq!(refused(&[Op::Jump(Cond::Eq, Source::X, 0, 1), ret]), (0, Rule::Jump(2)));
        assert_eq!(refused(&[Op::Abs(Size::B, AD_OFF + 3), ret]), (0, Rule::Ancillary(AD_OFF + 3)));
        assert_eq!(refused(&[ret, Op::Tax]), (1, Rule::NoReturn));
        let bad = Program::new(vec![Insn { code: 0x21, ..Insn::default() }, ret.encode()]);
        assert_eq!(bad.map_err(|e| e.rule), Err(Rule::Code(0x21)));
    }

    #[test]
    fn memory_counts_as_written_only_when_every_path_has_written_it() {
        let skip = Op::Jump(Cond::Eq, Source::K(0), 1, 0);
        let rest = [Op::Store(Register::A, 0), Op::Mem(Register::X, 0), Op::RetA];
        let one_path = [&[skip][..], &rest].concat();
        assert_eq!(refused(&one_path), (2, Rule::MemUnset(0)));
        let before = [&[Op::Store(Register::A, 0)], &one_path[..]].concat();
        assert!(Program::new(before.iter().map(|o| o.encode()).collect()).is_ok());
    }
}
