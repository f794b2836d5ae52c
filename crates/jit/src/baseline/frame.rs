//! Functions: what they save and reserve, how they begin and end, how a program is entered and left.

use super::emit::{Emit, map};
use crate::asm::{Arith, M, R};
use crate::code::{Code, Step};
use crate::head::Head;
use skep_isa::{Op, Operand, Reg, Size};
use std::mem::offset_of;

/// Iterations that `may_goto` allows a frame (`BPF_MAX_LOOPS`).
const MAY_GOTO: i32 = 8 << 20;
/// Where the loop budget lies.
pub(super) const BUDGET: M = M(R::BP, -520);
/// The run's head.
pub(super) const HEAD: R = R::R12;

/// What a function needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Frame {
    /// It is the program itself, not a subprogram.
    main: bool,
    /// It has a frame, and `rbp` points behind it.
    framed: bool,
    budget: bool,
    /// Registers that it saves.
    saved: Vec<R>,
}

impl Frame {
    /// Looks through the steps of a function.
    pub(super) fn of(code: &Code, start: usize, end: usize) -> Frame {
        let steps = code.steps.get(start..end).unwrap_or(&[]);
        let main = start == 0;
        let tail = steps.iter().any(|s| matches!(s, Step::Helper { tail: true, .. }));
        let budget = steps.iter().any(|s| matches!(s, Step::Op(Op::MayGoto { .. })));
        let framed = budget || (tail && !main) || steps.iter().any(uses_frame);
        let kept = (6..10).filter_map(Reg::new);
        let written = |r: &Reg| tail || steps.iter().any(|s| written(s) == Some(*r));
        let saved = if main { Vec::new() } else { kept.filter(written).map(map).collect() };
        Frame { main, framed, budget, saved }
    }

    /// Bytes below the saved registers: the stack pointer becomes a multiple of 16.
    fn reserve(&self) -> i32 {
        let pushed = 1 + self.saved.len() + usize::from(self.framed && !self.main);
        let pad = if pushed.is_multiple_of(2) { 0 } else { 8 };
        match (self.framed, self.budget && pad == 0) {
            (true, true) => 528,
            (true, false) => 512 + pad,
            (false, _) => pad,
        }
    }
}

fn uses_frame(step: &Step) -> bool {
    let r10 = |o: &Operand| *o == Operand::Reg(Reg::R10);
    match step {
        Step::Op(op) => op.uses().contains(Reg::R10),
        Step::CtxStore { src, .. } => r10(src),
        Step::AnyStore { dst, src, .. } => *dst == Reg::R10 || r10(src),
        Step::AnyLoad { src, .. } => *src == Reg::R10,
        _ => false,
    }
}

/// The register that a step writes, calls apart.
fn written(step: &Step) -> Option<Reg> {
    match *step {
        Step::Op(
            Op::Alu { dst, .. }
            | Op::Neg { dst, .. }
            | Op::MovSx { dst, .. }
            | Op::End { dst, .. }
            | Op::Load { dst, .. }
            | Op::LoadAcquire { dst, .. },
        ) => Some(dst),
        Step::Op(Op::Atomic { src, .. }) => Some(src),
        Step::Wide { dst, .. } | Step::AnyLoad { dst, .. } => Some(dst),
        Step::CtxLoad(l) => Some(l.dst),
        _ => None,
    }
}

pub(super) const fn head(offset: usize) -> M {
    M(HEAD, offset as i32)
}

const SAVED: [R; 6] = [R::BX, R::BP, R::R12, R::R13, R::R14, R::R15];

impl Emit<'_> {
    /// The entry sequence, `extern "C" fn(head, function, args) -> r0`, and behind it the way out of a program that
    /// is stopped. The code begins with it.
    pub(super) fn enter(&mut self) {
        let a = &mut self.a;
        let exit_sp = head(offset_of!(Head, exit_sp));
        SAVED.iter().for_each(|r| a.push(*r));
        a.mov(true, HEAD, R::DI);
        a.push_mem(exit_sp);
        a.store(Size::Dw, exit_sp, R::SP);
        a.mov(true, R::R10, R::SI);
        a.mov(true, R::R11, R::DX);
        for (i, r) in [R::DI, R::SI, R::DX, R::CX, R::R8].into_iter().enumerate() {
            a.load(Size::Dw, false, r, M(R::R11, i as i32 * 8));
        }
        a.zero(R::AX);
        a.call_reg(R::R10);
        let out = a.here();
        a.pop_mem(exit_sp);
        SAVED.iter().rev().for_each(|r| a.pop(*r));
        a.ret();
        self.stop = a.here();
        a.load(Size::Dw, false, R::SP, exit_sp);
        a.jump_back(None, out);
    }

    pub(super) fn prologue(&mut self) {
        let (f, a) = (&self.frame, &mut self.a);
        if f.framed && !f.main {
            a.push(R::BP);
        }
        f.saved.iter().for_each(|r| a.push(*r));
        if f.framed {
            a.mov(true, R::BP, R::SP);
        }
        if f.reserve() != 0 {
            a.arith_imm(Arith::Sub, true, R::SP, f.reserve());
        }
        if f.budget {
            a.store_imm(Size::W, BUDGET, MAY_GOTO);
        }
    }

    /// Gives up the frame; the stack pointer is where the registers were saved.
    fn give_up(&mut self) {
        let (f, a) = (&self.frame, &mut self.a);
        if f.framed {
            a.mov(true, R::SP, R::BP);
        } else if f.reserve() != 0 {
            a.arith_imm(Arith::Add, true, R::SP, f.reserve());
        }
    }

    pub(super) fn epilogue(&mut self) {
        self.give_up();
        self.restore();
    }

    fn restore(&mut self) {
        let (f, a) = (&self.frame, &mut self.a);
        f.saved.iter().rev().for_each(|r| a.pop(*r));
        if f.framed && !f.main {
            a.pop(R::BP);
        }
        a.ret();
    }

    /// Continues in the program whose address is in `rdx`. A subprogram calls it and returns what it returns, since its
    /// caller goes on.
    pub(super) fn tail(&mut self) {
        self.a.load(Size::Dw, false, R::DI, head(offset_of!(Head, ctx)));
        self.a.load(Size::Dw, false, R::SI, head(offset_of!(Head, ctx_len)));
        self.give_up();
        if self.frame.main {
            return self.a.jump_reg(R::DX);
        }
        // Five registers were pushed behind the return address: the stack pointer is a multiple of 16.
        let token = self.token;
        self.a.call_reg(R::DX);
        self.a.mov_imm(R::R11, token);
        self.a.store(Size::Dw, head(offset_of!(Head, token)), R::R11);
        self.restore();
    }
}
