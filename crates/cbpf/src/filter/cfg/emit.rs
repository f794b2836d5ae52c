//! Values → instructions, with what the registers hold already.

use super::super::values::{Chain, Id, Value, Values};
use super::TooComplex;
use super::graph::{Graph, Step, Test};
use crate::check::MEM_WORDS;
use crate::insn::{AluOp, Cond, Op, Register, Size, Source};

/// The values in A and in X, where they are known.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Regs {
    a: Option<Id>,
    x: Option<Id>,
}

impl Regs {
    /// What holds behind both.
    pub(super) fn both(self, other: Regs) -> Regs {
        let same = |a: Option<Id>, b: Option<Id>| if a == b { a } else { None };
        Regs { a: same(self.a, other.a), x: same(self.x, other.x) }
    }
}

/// Appends instructions.
pub(super) struct Emit<'a> {
    pub values: &'a Values,
    pub ops: &'a mut Vec<Op>,
    pub regs: Regs,
    /// First word of scratch memory that is free.
    pub free: u32,
}

impl Emit<'_> {
    /// What stands before the jump of a node.
    pub(super) fn node(&mut self, graph: &Graph, id: usize) -> Result<(), TooComplex> {
        match graph.nodes[id].step {
            Step::Set(word, value) => {
                self.eval(value)?;
                self.ops.push(Op::Store(Register::A, word.into()));
                let stale = |v: &Id| self.values.info(*v).words & 1 << (word & 15) == 0;
                self.regs = Regs { a: self.regs.a.filter(stale), x: self.regs.x.filter(stale) };
                Ok(())
            }
            Step::Test(test) => {
                let Test { a, b, k, .. } = graph.tests[test as usize];
                match k {
                    Some(_) => self.eval(a),
                    None => self.pair(a, b),
                }
            }
        }
    }

    /// A becomes the value.
    fn eval(&mut self, v: Id) -> Result<(), TooComplex> {
        if self.regs.a == Some(v) {
            return Ok(());
        }
        if self.regs.x == Some(v) {
            self.ops.push(Op::Txa);
            self.regs.a = Some(v);
            return Ok(());
        }
        match self.values.value(v) {
            Value::K(k) => self.ops.push(Op::Imm(Register::A, k)),
            Value::Len => self.ops.push(Op::Len(Register::A)),
            Value::Word(w) => self.ops.push(Op::Mem(Register::A, w.into())),
            Value::Abs(size, k) => self.ops.push(Op::Abs(size, k)),
            Value::Header(_) => {
                self.index(v)?;
                self.ops.push(Op::Txa);
            }
            Value::Ind(size, k, x) => {
                self.index(x)?;
                self.ops.push(Op::Ind(size, k));
            }
            Value::Neg(a) => {
                self.eval(a)?;
                self.ops.push(Op::Neg);
            }
            Value::Alu(op, a, b) => self.alu(op, a, b)?,
            Value::Chain(chain) => self.chain(&chain)?,
        }
        self.regs.a = Some(v);
        Ok(())
    }

    fn alu(&mut self, op: AluOp, a: Id, b: Id) -> Result<(), TooComplex> {
        if let Some(k) = self.values.constant(b) {
            self.eval(a)?;
            self.ops.push(Op::Alu(op, Source::K(k)));
            return Ok(());
        }
        let either = matches!(op, AluOp::Add | AluOp::Mul | AluOp::And | AluOp::Or | AluOp::Xor);
        if either && self.values.info(a).uses_x && !self.values.info(b).uses_x {
            self.pair(b, a)?;
        } else {
            self.pair(a, b)?;
        }
        self.ops.push(Op::Alu(op, Source::X));
        Ok(())
    }

    /// X becomes the value. What A holds stays where it can.
    fn index(&mut self, v: Id) -> Result<(), TooComplex> {
        if self.regs.x == Some(v) {
            return Ok(());
        }
        match self.values.value(v) {
            _ if self.regs.a == Some(v) => self.ops.push(Op::Tax),
            Value::Header(k) => self.ops.push(Op::Msh(k)),
            Value::K(k) => self.ops.push(Op::Imm(Register::X, k)),
            Value::Len => self.ops.push(Op::Len(Register::X)),
            Value::Word(w) => self.ops.push(Op::Mem(Register::X, w.into())),
            _ => {
                self.eval(v)?;
                self.ops.push(Op::Tax);
            }
        }
        self.regs.x = Some(v);
        Ok(())
    }

    /// A becomes the first, X the second. Which is computed first does not show: a failing load in either rejects.
    fn pair(&mut self, a: Id, b: Id) -> Result<(), TooComplex> {
        if self.direct(b) {
            self.eval(a)?;
            return self.index(b);
        }
        if !self.values.info(a).uses_x || (self.regs.x == Some(b) && self.keeps(a, b)) {
            self.index(b)?;
            return self.eval(a);
        }
        self.eval(a)?;
        let slot = self.free;
        if slot >= MEM_WORDS {
            return Err(TooComplex);
        }
        self.free += 1;
        self.ops.push(Op::Store(Register::A, slot));
        self.eval(b)?;
        self.ops.extend([Op::Tax, Op::Mem(Register::A, slot)]);
        self.regs = Regs { a: Some(a), x: Some(b) };
        self.free = slot;
        Ok(())
    }

    /// X can become this without A.
    fn direct(&self, v: Id) -> bool {
        matches!(self.values.value(v), Value::Header(_) | Value::K(_) | Value::Len | Value::Word(_))
    }

    /// Computing this leaves X as it is where X holds `x`.
    fn keeps(&self, v: Id, x: Id) -> bool {
        match self.values.value(v) {
            _ if v == x || !self.values.info(v).uses_x => true,
            Value::Ind(_, _, index) => index == x,
            Value::Neg(a) => self.keeps(a, x),
            Value::Alu(_, a, b) => self.keeps(a, x) && (b == x || self.values.constant(b).is_some()),
            _ => false,
        }
    }

    /// Walks over extension headers. A is a header's number and X its offset behind `at`; lengths are in units of 8 bytes
    /// less one, authentication headers' in units of 4 less two. X grows with every round, so that a load ends the walk at
    /// the latest.
    fn chain(&mut self, chain: &Chain) -> Result<(), TooComplex> {
        let (at, word) = (chain.at, self.free);
        if word >= MEM_WORDS {
            return Err(TooComplex);
        }
        let is = |k, jt, jf| Op::Jump(Cond::Eq, Source::K(k), jt, jf);
        let step = |extra: u32, shift: u32| {
            let add = |source| Op::Alu(AluOp::Add, source);
            [
                Op::Ind(Size::B, at),
                Op::Store(Register::A, word),
                Op::Ind(Size::B, at.wrapping_add(1)),
                add(Source::K(extra)),
                Op::Alu(AluOp::Lsh, Source::K(shift)),
                add(Source::X),
                Op::Tax,
                Op::Mem(Register::A, word),
            ]
        };
        let back = |by: i32| Op::Ja(-by as u32);
        if chain.v6 {
            self.ops.extend([Op::Abs(Size::B, at.wrapping_add(6)), Op::Imm(Register::X, 40)]);
            self.ops.extend([is(chain.until, 23, 0), is(0, 3, 0), is(60, 2, 0), is(43, 1, 0), is(44, 0, 9)]);
            self.ops.extend(step(1, 3));
            self.ops.extend([back(14), is(51, 0, 9)]);
            self.ops.extend(step(2, 2));
            self.ops.push(back(24));
        } else {
            self.ops.extend([Op::Abs(Size::B, at.wrapping_add(9)), Op::Msh(at)]);
            self.ops.extend([is(chain.until, 10, 0), is(51, 0, 9)]);
            self.ops.extend(step(2, 2));
            self.ops.push(back(11));
        }
        self.regs.x = None;
        Ok(())
    }
}
