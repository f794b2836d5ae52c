//! Sums: eBPF copies a register and adds to the copy, step by step, what one instruction of the machine adds at once, or what a
//! memory access adds by itself.
//!
//! A chain is a copy or constant and the additions behind it, or additions alone, all of one register and width. The step behind
//! it is part of it when it loads from the sum or stores there: then the access has the parts in its own operand, and where it
//! loads into the very register, the sum is never made.

use super::emit::{Emit, map};
use crate::asm::{Arith, M, R, X};
use crate::code::Step;
use crate::flow::effect;
use skep_isa::{AluOp, Op, Operand, Reg, Width};

/// Steps that are looked at for one that writes the sum's register again.
const AHEAD: usize = 6;

/// Steps that one instruction stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum {
    /// The slot behind the last of them.
    pub(super) end: usize,
    width: Width,
    dst: Reg,
    from: From,
    /// What is added beside the constant.
    more: Option<Reg>,
    disp: i32,
    /// The step behind them has the parts in its operand, `Some(true)`: and is the last to read the sum.
    access: Option<bool>,
}

/// What a sum begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum From {
    /// A register; the sum's own where nothing was copied.
    Register(Reg),
    Constant(u64),
}

impl Emit<'_> {
    /// The sum that begins with the step at `pc` of a function that ends at `end`, if it is shorter than its steps.
    #[inline]
    pub(super) fn sum(&self, step: &Step, pc: usize, end: usize) -> Option<Sum> {
        let (width, dst, from, mut at) = match *step {
            Step::Op(Op::Alu { op: AluOp::Mov, width, dst, src: Operand::Reg(src) }) if dst != src => {
                (width, dst, From::Register(src), pc + 1)
            }
            Step::Op(Op::Alu { op: AluOp::Add, width, dst, .. }) => (width, dst, From::Register(dst), pc),
            Step::Wide { dst, bits } => (Width::W64, dst, From::Constant(bits), pc + 2),
            _ => return None,
        };
        let first = at;
        let (mut more, mut disp) = (None, 0i32);
        while at < end && (at == pc || !self.lands[at]) {
            let Step::Op(Op::Alu { op: AluOp::Add, width: w, dst: d, src }) = self.code.steps[at] else {
                break;
            };
            if (w, d) != (width, dst) {
                break;
            }
            match src {
                Operand::Imm(i) => match disp.checked_add(i) {
                    Some(sum) => disp = sum,
                    None => break,
                },
                Operand::Reg(r) if more.is_none() && r != dst => more = Some(r),
                Operand::Reg(_) => break,
            }
            at += 1;
        }
        let access = self
            .accesses(at, end, dst)
            .filter(|(off, _)| width == Width::W64 && disp.checked_add((*off).into()).is_some());
        let access = access.map(|(_, last)| last);
        let fewer = at > first && (at - pc > 1 || access.is_some());
        // A constant is part of no operand.
        let fewer = fewer && (!matches!(from, From::Constant(_)) || disp != 0 || more.is_some());
        fewer.then_some(Sum { end: at, width, dst, from, more, disp, access })
    }

    /// The displacement by which the step at a slot accesses memory by a register, and whether it is the last to read that.
    fn accesses(&self, at: usize, end: usize, base: Reg) -> Option<(i16, bool)> {
        match self.code.steps.get(at).filter(|_| at < end && !self.lands[at])? {
            Step::Op(Op::Load { dst, src, off, .. }) if *src == base => {
                Some((*off, *dst == base || self.forgotten(at + 1, end, base)))
            }
            Step::Op(Op::Store { dst, src, off, .. }) if *dst == base && *src != Operand::Reg(base) => {
                Some((*off, self.forgotten(at + 1, end, base)))
            }
            _ => None,
        }
    }

    /// Whether the steps from `at` on write a register before they read it, as far as that is easily seen.
    fn forgotten(&self, at: usize, end: usize, r: Reg) -> bool {
        for pc in at..end.min(at + AHEAD) {
            let (uses, defs) = effect(&self.code.steps[pc]);
            let jumps = matches!(
                self.code.steps[pc],
                Step::Op(Op::Ja { .. } | Op::JumpIf { .. } | Op::MayGoto { .. })
            );
            if uses >> r.index() & 1 == 1 || jumps || self.lands[pc] {
                return false;
            }
            if defs >> r.index() & 1 == 1 || matches!(self.code.steps[pc], Step::Op(Op::Exit)) {
                return true;
            }
        }
        false
    }

    /// Emits a sum. Where the step behind it accesses memory there, it finds the operand in [`Emit::operand`].
    pub(super) fn add_up(&mut self, s: Sum) {
        let (d, wide) = (map(s.dst), s.width == Width::W64);
        let more = s.more.map(map);
        let base = match s.from {
            From::Register(r) => map(r),
            From::Constant(bits) => {
                let bits = bits.wrapping_add(i64::from(s.disp) as u64);
                self.constant(s.dst, bits);
                match (more, s.access) {
                    (None, _) => {}
                    // The register is not what the program takes it for, but is not read again.
                    (Some(r), Some(true)) => self.operand = Some(X { base: d, index: Some(r), disp: 0 }),
                    (Some(r), _) => self.a.arith(Arith::Add, true, d, r),
                }
                return self.set_upper_zero(s.dst, more.is_none() && bits >> 32 == 0);
            }
        };
        let whole = X { base, index: more, disp: s.disp };
        self.set_upper_zero(s.dst, !wide);
        match s.access {
            Some(true) => self.operand = Some(whole),
            Some(false) if base != d => {
                self.operand = Some(whole);
                self.total(wide, d, whole);
            }
            _ => self.total(wide, d, whole),
        }
    }

    /// `dst = ` the sum of the parts.
    fn total(&mut self, wide: bool, dst: R, x: X) {
        match x {
            X { base, index: None, disp } if base == dst => self.a.arith_imm(Arith::Add, wide, dst, disp),
            X { base, index: None, disp: 0 } => self.a.mov(wide, dst, base),
            X { base, index: Some(i), disp: 0 } if base == dst => self.a.arith(Arith::Add, wide, dst, i),
            _ => self.a.lea_sum(wide, dst, x),
        }
    }

    /// The operand of an access: what a sum before it has left, or the plain one.
    pub(super) fn place(&mut self, m: M) -> X {
        match self.operand.take() {
            Some(x) => X { disp: x.disp + m.1, ..x },
            None => m.into(),
        }
    }
}
