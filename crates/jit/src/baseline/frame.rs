//! Functions: what they save and reserve, how they begin and end, how a program is entered and left.

use super::emit::{Emit, map};
use super::survey::Uses;
use crate::asm::{Arith, Asm, Cc, M, R};
use crate::code::{Last, Step};
use crate::head::Head;
use skep_isa::{Callee, Op, Reg, Size};
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
    /// It is a program that makes tail calls: no caller needs its registers any more.
    bare: bool,
    /// It has a frame, and `rbp` points behind it.
    framed: bool,
    budget: bool,
    /// Registers that it saves, beside `rbp`.
    saved: Vec<R>,
}

impl Frame {
    /// `main`: of the program itself; `head`: the program keeps the head's address in a register.
    pub(super) fn of(uses: Uses, main: bool, head: bool) -> Frame {
        let (Uses { tail, budget, .. }, mut written) = (uses, uses.written());
        let framed = uses.frame() || budget || (tail && !main);
        let bare = tail && main;
        if bare {
            return Frame { main, bare, framed, budget, saved: Vec::new() };
        }
        if tail {
            written |= 0x3c0;
        }
        let kept = (6..10).filter_map(Reg::new);
        let mut saved: Vec<R> = kept.filter(|r| written >> r.index() & 1 == 1).map(map).collect();
        if main && head {
            saved.push(HEAD);
        }
        Frame { main, bare, framed, budget, saved }
    }

    /// Whether it saves the frame pointer.
    fn keeps_frame(&self) -> bool {
        self.framed && !self.bare
    }

    /// It is a subprogram.
    pub(super) fn is_sub(&self) -> bool {
        !self.main
    }

    /// Bytes below the saved registers: the stack pointer becomes a multiple of 16.
    fn reserve(&self) -> i32 {
        let pushed = if self.bare { 0 } else { 1 + self.saved.len() + usize::from(self.framed) };
        let pad = if pushed.is_multiple_of(2) { 0 } else { 8 };
        match (self.framed, self.budget && pad == 0) {
            (true, true) => 528,
            (true, false) => 512 + pad,
            (false, _) => pad,
        }
    }
}

pub(super) const fn head(offset: usize) -> M {
    M(HEAD, offset as i32)
}

/// What the code of a program needs of its run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// The head's address, in a register.
    pub(super) head: bool,
    /// A way out from anywhere: it may be stopped by the engine, or by a fault.
    pub(super) exit: bool,
}

impl Needs {
    /// Takes in what a step needs.
    #[inline]
    pub(super) fn note(&mut self, step: &Step) {
        let head = match step {
            Step::Op(op) => matches!(op, Op::Call(Callee::Reg(_))),
            Step::Index(i) => i.percpu != 0,
            Step::Value { percpu, .. } => *percpu != 0,
            Step::Direct(d) => d.last == Last::Cpu,
            Step::Wide { .. } | Step::Second | Step::CtxLoad(_) | Step::CtxStore { .. } => false,
            _ => true,
        };
        let plain = matches!(
            step,
            Step::Op(
                Op::Alu { .. }
                    | Op::Neg { .. }
                    | Op::MovSx { .. }
                    | Op::End { .. }
                    | Op::JumpIf { .. }
                    | Op::Ja { .. }
                    | Op::Exit
                    | Op::Call(Callee::Local(_))
            ) | Step::Wide { .. }
                | Step::Second
        );
        self.head |= head;
        self.exit |= head || !plain;
    }
}

impl Emit<'_> {
    /// What lies before the functions: the way out of a program that is stopped, and calls of subprograms by the engine.
    pub(super) fn ways(&mut self) {
        let [exit_sp, exit_pc] = exit();
        self.stop = self.a.here();
        self.a.load(Size::Dw, false, R::SP, exit_sp);
        self.a.jump_mem(exit_pc);
        // `extern "C" fn(r1, …, r5, head)`, the function in the head.
        self.call = self.a.here();
        self.a.push(HEAD);
        self.a.mov(true, HEAD, R::R9);
        let out = self.a.lea_ahead(R::R11);
        self.a.store(Size::Dw, exit_pc, R::R11);
        self.a.store(Size::Dw, exit_sp, R::SP);
        self.a.call_mem(head(offset_of!(Head, site)));
        self.a.land(out);
        self.a.pop(HEAD);
        self.a.ret();
    }

    pub(super) fn prologue(&mut self) {
        match (self.frame.main, self.frame.bare) {
            (true, true) => self.way_in(),
            (true, false) => self.way_out(),
            _ => {}
        }
        if !self.frame.bare {
            self.entries.push((self.offsets.len(), self.a.here()));
        }
        let (f, a) = (&self.frame, &mut self.a);
        if f.keeps_frame() {
            a.push(R::BP);
        }
        f.saved.iter().for_each(|r| a.push(*r));
        if f.main && !f.bare && self.needs.exit {
            let at = self.out;
            let [exit_sp, exit_pc] = [0, 8].map(|o| M(R::R9, (offset_of!(Head, exit) + o) as i32));
            a.store(Size::Dw, exit_sp, R::SP);
            a.lea_back(R::R11, at);
            a.store(Size::Dw, exit_pc, R::R11);
        }
        if f.main && !f.bare && self.needs.head {
            a.mov(true, HEAD, R::R9);
        }
        if f.framed {
            a.mov(true, R::BP, R::SP);
        }
        if f.reserve() != 0 {
            a.arith_imm(Arith::Sub, true, R::SP, f.reserve());
        }
        if f.budget {
            a.store_imm(Size::W, BUDGET, MAY_GOTO);
        }
        if f.main {
            a.zero(R::AX);
        }
    }

    /// The entry of a program that makes tail calls: saves all registers and calls what is still to come.
    fn way_in(&mut self) {
        const KEPT: [R; 6] = [R::BP, R::BX, R::R12, R::R13, R::R14, R::R15];
        self.entries.push((self.offsets.len(), self.a.here()));
        let a = &mut self.a;
        KEPT.iter().for_each(|r| a.push(*r));
        a.mov(true, HEAD, R::R9);
        let [exit_sp, exit_pc] = exit();
        a.store(Size::Dw, exit_sp, R::SP);
        let out = a.lea_ahead(R::R11);
        a.store(Size::Dw, exit_pc, R::R11);
        let body = a.call();
        a.land(out);
        KEPT.iter().rev().for_each(|r| a.pop(*r));
        a.ret();
        a.land(body);
        self.bare = a.here();
    }

    /// Where a stopped program goes: the stack pointer is where the registers were saved.
    fn way_out(&mut self) {
        self.out = self.a.here();
        self.restore();
        self.a.ret();
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
        self.a.ret();
    }

    fn restore(&mut self) {
        let (f, a) = (&self.frame, &mut self.a);
        f.saved.iter().rev().for_each(|r| a.pop(*r));
        if f.keeps_frame() {
            a.pop(R::BP);
        }
    }

    /// Gives up the frame for another program, whose arguments are where it wants them.
    pub(super) fn hand_over(&mut self) {
        self.a.load(Size::Dw, false, R::DI, head(offset_of!(Head, ctx)));
        if self.code.ctx_size == 0 {
            self.a.load(Size::Dw, false, R::SI, head(offset_of!(Head, ctx_len)));
        }
        self.give_up();
    }

    /// Continues in the program whose entry is in `rdx`: calls it and returns what it returns. A subprogram's caller goes on.
    pub(super) fn tail(&mut self) {
        self.hand_over();
        self.a.mov(true, R::R9, HEAD);
        if self.frame.main {
            self.a.call_reg(R::DX);
            return self.a.ret();
        }
        // Five registers were pushed behind the return address: the stack pointer is a multiple of 16.
        let [exit_sp, exit_pc] = exit();
        self.a.push_mem(exit_sp);
        self.a.push_mem(exit_pc);
        self.a.call_reg(R::DX);
        self.a.pop_mem(exit_pc);
        self.a.pop_mem(exit_sp);
        self.a.mov_imm(R::R11, self.token);
        self.a.store(Size::Dw, head(offset_of!(Head, token)), R::R11);
        // The stop of that program is the stop of this one.
        self.a.arith_mem_imm(Arith::Cmp, true, head(offset_of!(Head, stopped)), 0);
        self.a.jump_back(Some(Cc::Ne), self.stop);
        self.restore();
        self.a.ret();
    }
}

/// Where the head keeps stack pointer and code of the way out.
fn exit() -> [M; 2] {
    [0, 8].map(|o| head(offset_of!(Head, exit) + o))
}

/// The way in by tail calls of a program that makes none, behind which its entry is.
pub(crate) fn tail_entry(a: &mut Asm, token: u64, entry: usize) -> usize {
    let at = a.here();
    a.mov_imm(R::R11, token);
    a.store(Size::Dw, head(offset_of!(Head, token)), R::R11);
    a.mov(true, R::R9, HEAD);
    let call = a.call();
    a.fill(call, entry);
    a.ret();
    at
}
