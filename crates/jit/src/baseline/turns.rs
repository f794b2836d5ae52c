//! Loops that routines run many turns of at once ([`crate::loops`]): control that comes into one from outside goes over a piece
//! of code at the function's end. That hands the registers to [`Turns::run`], and goes on in the loop.

use super::emit::{Emit, map};
use crate::asm::{Arith, Cc, M, R};
use crate::code::Step;
use crate::loops::{Plain, Turns};
use skep_isa::{Op, Reg, Size};
use std::ops::Range;

/// Bytes for `r0` to `r9`: a multiple of 16.
const SAVED: i32 = 80;
/// Bytes of the jump from the end of the step before a loop.
pub(super) const DETOUR: u32 = 5;

unsafe extern "C" fn many(turns: *const Turns, regs: *mut [u64; 10]) {
    // SAFETY: the code that calls belongs to a verified program, whose memory is in place; it keeps the loops of which it
    // knows the addresses (`Compiled`), and has just written the registers.
    unsafe { (*turns).run(&mut *regs) }
}

impl Emit<'_> {
    /// The loop that begins with a slot.
    pub(super) fn loop_at(&self, slot: usize) -> Option<usize> {
        self.loops.binary_search_by_key(&slot, |l| l.head).ok()
    }

    /// A jump at `pc` to the beginning of a loop that it is not part of: the jump's target comes later.
    pub(super) fn enter_loop(&mut self, cc: Option<Cc>, pc: usize, to: usize) -> bool {
        let Some(at) = self.loop_at(to).filter(|at| !self.loops[*at].body.contains(&pc)) else {
            return false;
        };
        let hole = self.a.jump(cc, false);
        self.detours.push((hole, at));
        true
    }

    /// Before the step at `pc`: control that falls into a loop goes the same way.
    pub(super) fn fall_into_loop(&mut self, pc: usize) {
        let Some(at) = self.loop_at(pc).filter(|at| self.loops[*at].body.start == pc) else { return };
        let before = pc.checked_sub(1).map(|before| self.code.steps[before]);
        let begins = self.code.functions.binary_search(&pc).is_ok();
        if begins || !matches!(before, Some(Step::Op(Op::Ja { .. } | Op::Exit) | Step::Trap { .. })) {
            let hole = self.a.jump(None, false);
            self.detours.push((hole, at));
        }
    }

    /// The code for the loops of a function.
    pub(super) fn detours(&mut self, function: Range<usize>) {
        let loops = self.loops;
        for (at, l) in loops.iter().enumerate().filter(|(_, l)| function.contains(&l.head)) {
            let here = self.a.here();
            let mut reached = false;
            for (hole, _) in self.detours.extract_if(.., |(_, to)| *to == at) {
                self.a.fill(hole, here);
                reached = true;
            }
            if reached {
                self.places.push((here as u32, l.head as u32));
                self.detour(&l.turns, self.offsets[l.head] as usize);
            }
        }
    }

    fn detour(&mut self, turns: &Turns, head: usize) {
        if let Some((ends, wide, least)) = turns.worth() {
            for (r, v) in [R::R11, R::R10].into_iter().zip(ends) {
                match v {
                    Plain::Constant(c) => self.a.mov_imm(r, c),
                    Plain::Register(from) => self.a.mov(true, r, place(from)),
                    Plain::Sum(from, more) => self.a.lea(r, M(place(from), more)),
                }
            }
            self.a.arith(Arith::Sub, wide, R::R11, R::R10);
            self.a.arith_imm(Arith::Cmp, wide, R::R11, least);
            self.a.jump_back(Some(Cc::Be), head);
        }
        let (_, written) = turns.touched();
        let at = |r: u8| M(R::SP, i32::from(r) * 8);
        self.a.arith_imm(Arith::Sub, true, R::SP, SAVED);
        (0..10).for_each(|r| self.a.store(Size::Dw, at(r), place(r)));
        self.a.mov_imm(R::DI, std::ptr::from_ref(turns).expose_provenance() as u64);
        self.a.mov(true, R::SI, R::SP);
        self.a.mov_imm(R::AX, many as *const () as u64);
        self.a.call_reg(R::AX);
        let lost = (0..10).filter(|r| *r < 6 || written >> r & 1 == 1);
        lost.for_each(|r| self.a.load(Size::Dw, false, place(r), at(r)));
        self.a.arith_imm(Arith::Add, true, R::SP, SAVED);
        self.a.jump_back(None, head);
    }
}

fn place(r: u8) -> R {
    map(Reg::new(r).unwrap_or(Reg::R0))
}
