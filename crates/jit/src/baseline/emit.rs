//! The pass over the steps.
//!
//! Jumps back know their target. A jump forward is short when the steps in between cannot be longer than a short jump
//! reaches ([`bound`]); should a bound be wrong, the program is compiled again with long jumps alone.
//!
//! What is known of the upper halves of registers (`zero`) holds inside of a basic block: it is forgotten where a jump
//! lands.

use super::Made;
use super::alu::Rotation;
use super::frame::{BUDGET, Frame, HEAD, Needs, head, tail_entry};
use super::survey::{Survey, Uses};
use crate::asm::{Arith, Asm, Cc, Hole, M, R, Shift, X};
use crate::code::{Code, CtxLoad, Direct, Index, Last, Step};
use crate::head::{Head, STOP, TAILS, Tail, any_flags};
use crate::loops::Found;
use skep_isa::{AluOp, AtomicOp, Callee, Cond, Op, Operand, Reg, Size, Width};
use std::mem::offset_of;

/// Most calls of `bpf_loop` (`BPF_MAX_LOOPS`).
const MAX_LOOPS: i32 = 8 << 20;
/// Most jumps to jumps that are followed.
const HOPS: usize = 4;

/// The machine register of an eBPF register.
pub(super) fn map(r: Reg) -> R {
    const MAP: [R; 11] = [R::AX, R::DI, R::SI, R::DX, R::CX, R::R8, R::BX, R::R13, R::R14, R::R15, R::BP];
    MAP[r.index()]
}

/// The compiler's state.
pub(super) struct Emit<'c> {
    pub(super) a: Asm,
    pub(super) code: &'c Code,
    pub(super) loops: &'c [Found],
    pub(super) token: u64,
    pub(super) bmi2: bool,
    /// Offset of the way out of a program that is stopped.
    pub(super) stop: usize,
    /// Offset of the end of the program's own frame.
    pub(super) out: usize,
    /// Offset of the calls of subprograms by the engine.
    pub(super) call: usize,
    /// Offset of the program for tail calls; 0 while there is none.
    pub(super) bare: usize,
    pub(super) needs: Needs,
    pub(super) frame: Frame,
    /// Registers whose upper half is zero.
    zero: u16,
    /// The slot behind those that have been emitted.
    done: usize,
    /// The operand of the access that comes next, where the steps before it have left one.
    pub(super) operand: Option<X>,
    /// Slots that jumps go to.
    pub(super) lands: Vec<bool>,
    /// Upper bounds of code sizes, summed up to each slot; empty for long jumps alone.
    bounds: Vec<u32>,
    /// What each function uses of its frame.
    uses: Vec<Uses>,
    pub(super) offsets: Vec<u32>,
    /// Offsets of code that is not where its slot is, with the slot.
    pub(super) places: Vec<(u32, u32)>,
    /// Jumps into loops, with the loop's number.
    pub(super) detours: Vec<(Hole, usize)>,
    pub(super) entries: Vec<(usize, usize)>,
    jumps: Vec<(Hole, usize, usize)>,
    calls: Vec<(Hole, usize, usize)>,
    /// Jumps of packet loads that lie outside of the packet, in the function.
    outside: Vec<Hole>,
}

/// Compiles; the slot that could not be expressed on failure.
pub(crate) fn compile(code: &Code, token: u64) -> Result<Made, usize> {
    let loops: Box<[Found]> = crate::loops::find(code).into();
    let short = Emit::new(code, &loops, token, Survey::of(code, &loops)).program();
    let made =
        short.or_else(|_| Emit::new(code, &loops, token, Survey::of(code, &loops).long()).program())?;
    Ok(Made { loops, ..made })
}

fn target(pc: usize, off: i32) -> Option<usize> {
    usize::try_from(pc as i64 + 1 + i64::from(off)).ok()
}

#[cfg(target_arch = "x86_64")]
fn bmi2() -> bool {
    std::arch::is_x86_feature_detected!("bmi2")
}

#[cfg(not(target_arch = "x86_64"))]
fn bmi2() -> bool {
    false
}

impl<'c> Emit<'c> {
    pub(super) fn new(code: &'c Code, loops: &'c [Found], token: u64, survey: Survey) -> Emit<'c> {
        let Survey { lands, bounds, needs, uses } = survey;
        Emit {
            a: Asm::with_room(128 + code.steps.len() * 6),
            code,
            loops,
            token,
            bmi2: bmi2(),
            stop: 0,
            out: 0,
            call: 0,
            bare: 0,
            needs,
            frame: Frame::default(),
            zero: 0,
            done: 0,
            operand: None,
            lands,
            bounds,
            uses,
            offsets: Vec::with_capacity(code.steps.len()),
            places: Vec::new(),
            detours: Vec::new(),
            entries: Vec::new(),
            jumps: Vec::with_capacity(code.jumps.len()),
            calls: Vec::new(),
            outside: Vec::new(),
        }
    }

    pub(super) fn program(mut self) -> Result<Made, usize> {
        self.ways();
        let starts = &self.code.functions;
        for (i, start) in starts.iter().enumerate() {
            let end = starts.get(i + 1).copied().unwrap_or(self.code.steps.len());
            self.function(i, *start, end)?;
        }
        // Control that runs off the end of the program: the verifier has refused that.
        self.a.jump_back(None, self.stop);
        for (hole, to, pc) in std::mem::take(&mut self.jumps) {
            let to = *self.offsets.get(to).ok_or(pc)? as usize;
            if !self.a.try_fill(hole, to) {
                return Err(pc);
            }
        }
        for (hole, to, pc) in std::mem::take(&mut self.calls) {
            let at = self.entries.binary_search_by_key(&to, |(s, _)| *s).map_err(|_| pc)?;
            self.a.fill(hole, self.entries[at].1);
        }
        if !self.unnamed() {
            let entry = self.entries.first().ok_or(0usize)?.1;
            self.bare = tail_entry(&mut self.a, self.token, entry);
        }
        let (bytes, entries) = (self.a.code(), self.entries);
        let mut places: Vec<(u32, u32)> = self.offsets.into_iter().zip(0..).collect();
        if !self.places.is_empty() {
            places.extend(self.places);
            places.sort_by_key(|(at, _)| *at);
        }
        Ok(Made { bytes, entries, places, call: self.call, bare: self.bare, loops: Box::default() })
    }

    fn function(&mut self, number: usize, start: usize, end: usize) -> Result<(), usize> {
        self.frame = Frame::of(self.uses[number], start == 0, self.needs.head);
        self.prologue();
        self.zero = 0;
        let mut rotation: Option<Rotation> = None;
        for pc in start..end {
            if self.lands[pc] {
                self.zero = 0;
            }
            if !self.loops.is_empty() {
                self.fall_into_loop(pc);
            }
            let here = self.a.here() as u32;
            self.offsets.push(here);
            if pc < self.done {
                continue;
            }
            self.done = pc + 1;
            // Read where it is: a copy would have to be written as a whole before its parts can be read.
            let code = self.code;
            let step = &code.steps[pc];
            let copies = matches!(step, Step::Op(Op::Alu { op: AluOp::Mov, src: Operand::Reg(_), .. }));
            if copies && rotation.is_none_or(|r| pc >= r.end) {
                rotation = self.rotation(pc, end);
            }
            if let Some(r) = rotation.filter(|r| r.first == pc) {
                self.rotate(r);
                self.done = r.end;
            } else if let Some(sum) = self.sum(step, pc, end) {
                self.done = sum.end;
                self.add_up(sum);
            } else {
                self.step(step, pc).ok_or(pc)?;
            }
        }
        let outside = std::mem::take(&mut self.outside);
        if !outside.is_empty() {
            outside.into_iter().for_each(|hole| self.a.land(hole));
            self.a.zero(R::AX);
            self.epilogue();
        }
        self.detours(start..end);
        Ok(())
    }

    pub(super) fn upper_zero(&self, r: Reg) -> bool {
        self.zero >> r.index() & 1 == 1
    }

    pub(super) fn set_upper_zero(&mut self, r: Reg, zero: bool) {
        let bit = 1 << r.index();
        self.zero = if zero { self.zero | bit } else { self.zero & !bit };
    }

    fn step(&mut self, step: &Step, pc: usize) -> Option<()> {
        match *step {
            Step::Op(ref op) => return self.op(op, pc),
            Step::Wide { dst, bits } => self.constant(dst, bits),
            Step::Second => {}
            Step::Helper { site, tail } => self.helper(site, tail),
            Step::Index(i) => self.index(i),
            Step::Value { addr, percpu } => {
                self.a.mov_imm(R::AX, addr);
                self.add_percpu(percpu);
                self.clobber();
            }
            Step::Direct(d) => self.direct(d),
            Step::Cpu => {
                self.a.load(Size::W, false, R::AX, head(offset_of!(Head, cpu)));
                self.clobber();
                self.set_upper_zero(Reg::R0, true);
            }
            Step::Lock { site } => self.lock(site),
            Step::Tail { ids, entries, site } => self.tail_call(ids, entries, site, pc),
            Step::Unlock { .. } => {
                self.a.store_imm(Size::W, M(R::DI, 0), 0);
                self.a.store_imm(Size::Dw, head(offset_of!(Head, lock)), 0);
                self.a.zero(R::AX);
                self.clobber();
            }
            Step::Loop { func, .. } => self.counted_loop(func, pc),
            Step::CtxLoad(l) => self.ctx_load(l),
            Step::CtxStore { dst, disp, size, src } => self.store(size, M(map(dst), disp), src),
            Step::AnyLoad { size, sx, dst, src, off } => {
                self.any_load(size, sx, dst, M(map(src), off.into()))
            }
            Step::AnyStore { size, dst, off, src } => self.any_store(size, M(map(dst), off.into()), src),
            Step::PacketLoad { size, imm, index } => self.packet_load(size, imm, index),
            Step::Trap { reason } => {
                self.a.mov(true, R::DI, HEAD);
                self.a.mov_imm(R::SI, reason.into());
                self.a.call_mem(head(offset_of!(Head, trap)));
                self.a.jump_back(None, self.stop);
            }
        }
        Some(())
    }

    #[inline(always)]
    fn op(&mut self, op: &Op, pc: usize) -> Option<()> {
        match *op {
            Op::Alu { op, width, dst, src } => self.alu(op, width, dst, src),
            Op::Neg { width, dst } => self.neg(width, dst),
            Op::MovSx { width, bits, dst, src } => self.mov_sx(width, bits, dst, src),
            Op::End { kind, bits, dst } => self.end(kind, bits, dst),
            Op::Load { size, sx, dst, src, off } => {
                let m = self.place(M(map(src), off.into()));
                self.load(size, sx, dst, m);
            }
            Op::Store { size, dst, off, src } => {
                let m = self.place(M(map(dst), off.into()));
                self.store(size, m, src);
            }
            Op::Atomic { op, width, dst, src, off } => self.atomic(op, width, M(map(dst), off.into()), src),
            // Loads and stores of this machine are ordered so by themselves.
            Op::LoadAcquire { size, dst, src, off } => self.load(size, false, dst, M(map(src), off.into())),
            Op::StoreRelease { size, dst, off, src } => {
                self.store(size, M(map(dst), off.into()), Operand::Reg(src));
            }
            Op::JumpIf { cond, width, dst, src, off } => {
                let cc = self.compare(cond, width == Width::W64, map(dst), src);
                return match self.code.steps.get(pc + 1) {
                    // Over a jump: that jump, on the other condition.
                    Some(Step::Op(Op::Ja { off: other, .. })) if off == 1 && !self.lands[pc + 1] => {
                        self.done = pc + 2;
                        self.jump(Some(cc.not()), pc + 1, *other)
                    }
                    _ => self.jump(Some(cc), pc, off.into()),
                };
            }
            Op::Ja { off, .. } => return self.jump(None, pc, off),
            Op::MayGoto { off } => {
                self.a.arith_mem_imm(Arith::Cmp, false, BUDGET, 0);
                self.jump(Some(Cc::E), pc, off.into())?;
                self.a.arith_mem_imm(Arith::Sub, false, BUDGET, 1);
            }
            Op::Exit => self.epilogue(),
            Op::Call(Callee::Local(off)) => {
                let to = target(pc, off)?;
                let hole = self.a.call();
                self.calls.push((hole, to, pc));
                self.clobber();
            }
            Op::Call(Callee::Reg(r)) => {
                self.a.store(Size::Dw, head(offset_of!(Head, site)), map(r));
                self.call_engine(offset_of!(Head, call_reg));
                self.stop_unless_zero();
            }
            Op::Call(_)
            | Op::LoadImm64 { .. }
            | Op::LoadAbs { .. }
            | Op::LoadInd { .. }
            | Op::AddrSpaceCast { .. } => return None,
        }
        Some(())
    }

    /// After a call nothing is known of `r0` to `r5`.
    fn clobber(&mut self) {
        self.zero &= !0x3f;
    }

    fn load(&mut self, size: Size, sx: bool, dst: Reg, m: impl Into<X>) {
        self.a.load(size, sx, map(dst), m);
        self.set_upper_zero(dst, !sx && size != Size::Dw);
    }

    fn store(&mut self, size: Size, m: impl Into<X>, src: Operand) {
        match src {
            Operand::Reg(r) => self.a.store(size, m, map(r)),
            Operand::Imm(i) => self.a.store_imm(size, m, i),
        }
    }

    /// The machine is little-endian: the part that is asked for lies `shift` bits above the start.
    fn ctx_load(&mut self, l: CtxLoad) {
        self.load(l.cut, l.sx, l.dst, M(map(l.src), l.disp + i32::from(l.shift / 8)));
    }

    fn compare(&mut self, cond: Cond, wide: bool, d: R, src: Operand) -> Cc {
        match (cond, src) {
            (Cond::Set, Operand::Reg(r)) => self.a.test(wide, d, map(r)),
            (Cond::Set, Operand::Imm(i)) => self.a.test_imm(wide, d, i),
            (_, Operand::Reg(r)) => self.a.arith(Arith::Cmp, wide, d, map(r)),
            (_, Operand::Imm(0)) => self.a.test(wide, d, d),
            (_, Operand::Imm(i)) => self.a.arith_imm(Arith::Cmp, wide, d, i),
        }
        match cond {
            Cond::Eq => Cc::E,
            Cond::Ne | Cond::Set => Cc::Ne,
            Cond::Gt => Cc::A,
            Cond::Ge => Cc::Ae,
            Cond::Lt => Cc::B,
            Cond::Le => Cc::Be,
            Cond::Sgt => Cc::G,
            Cond::Sge => Cc::Ge,
            Cond::Slt => Cc::L,
            Cond::Sle => Cc::Le,
        }
    }

    fn jump(&mut self, cc: Option<Cc>, pc: usize, off: i32) -> Option<()> {
        let (mut from, mut to) = (pc, target(pc, off)?);
        // A jump to a jump.
        for _ in 0..HOPS {
            match self.code.steps.get(to) {
                Some(Step::Op(Op::Ja { off, .. })) if self.loop_at(to).is_none() => {
                    (from, to) = (to, target(to, *off)?);
                }
                _ => break,
            }
        }
        if to == pc + 1 || self.enter_loop(cc, from, to) {
            return Some(());
        }
        if let Some(at) = self.offsets.get(to) {
            self.a.jump_back(cc, *at as usize);
            return Some(());
        }
        let short = match (self.bounds.get(pc + 1), self.bounds.get(to)) {
            (Some(from), Some(to)) => to - from <= 127,
            _ => false,
        };
        let hole = self.a.jump(cc, short);
        self.jumps.push((hole, to, pc));
        Some(())
    }

    fn atomic(&mut self, op: AtomicOp, width: Width, m: M, src: Reg) {
        let (wide, s) = (width == Width::W64, map(src));
        let arith = match op {
            AtomicOp::Add { .. } => Arith::Add,
            AtomicOp::Or { .. } => Arith::Or,
            AtomicOp::And { .. } => Arith::And,
            AtomicOp::Xor { .. } => Arith::Xor,
            AtomicOp::Xchg => {
                self.a.xchg(wide, m, s);
                return self.set_upper_zero(src, !wide);
            }
            AtomicOp::Cmpxchg => {
                self.a.lock_cmpxchg(wide, m, s);
                if !wide {
                    // The machine leaves the upper half alone when the values were equal.
                    self.a.mov(false, R::AX, R::AX);
                }
                return self.set_upper_zero(Reg::R0, !wide);
            }
        };
        match (op.fetches(), arith) {
            (false, _) => return self.a.lock_arith(arith, wide, m, s),
            (true, Arith::Add) => self.a.lock_xadd(wide, m, s),
            (true, _) => self.fetch(arith, wide, m, s),
        }
        self.set_upper_zero(src, !wide);
    }

    /// A fetching operation that the machine does not have: compare-and-exchange until nobody came in between.
    fn fetch(&mut self, op: Arith, wide: bool, m: M, s: R) {
        let a = &mut self.a;
        a.lea(R::R11, m);
        a.mov(true, R::R9, s);
        a.push(R::AX);
        let at = M(R::R11, 0);
        a.load(if wide { Size::Dw } else { Size::W }, false, R::AX, at);
        let again = a.here();
        a.mov(true, R::R10, R::AX);
        a.arith(op, wide, R::R10, R::R9);
        a.lock_cmpxchg(wide, at, R::R10);
        a.jump_back(Some(Cc::Ne), again);
        a.mov(wide, R::R9, R::AX);
        a.pop(R::AX);
        a.mov(true, s, R::R9);
    }

    /// The program makes tail calls, so that nobody has said that it is the one that runs.
    fn unnamed(&self) -> bool {
        self.bare != 0
    }

    /// Tells the engine, which is called next, which program runs. Uses `r11`.
    fn name(&mut self) {
        if self.unnamed() {
            self.a.mov_imm(R::R11, self.token);
            self.a.store(Size::Dw, head(offset_of!(Head, token)), R::R11);
        }
    }

    /// Calls the engine with the program's arguments.
    fn call_engine(&mut self, offset: usize) {
        self.name();
        self.a.mov(true, R::R9, HEAD);
        self.a.call_mem(head(offset));
        self.clobber();
    }

    /// Leaves the program when `rdx` says so.
    fn stop_unless_zero(&mut self) {
        self.a.test(true, R::DX, R::DX);
        self.a.jump_back(Some(Cc::Ne), self.stop);
    }

    fn helper(&mut self, site: u32, tail: bool) {
        self.a.store_imm(Size::Dw, head(offset_of!(Head, site)), site as i32);
        self.call_engine(offset_of!(Head, helper));
        if !tail {
            return self.stop_unless_zero();
        }
        self.a.test(true, R::DX, R::DX);
        let go_on = self.a.jump(Some(Cc::E), true);
        self.a.arith_imm(Arith::Cmp, true, R::DX, STOP as i32);
        self.a.jump_back(Some(Cc::E), self.stop);
        self.tail();
        self.a.land(go_on);
    }

    /// Goes to a program that the run knows by its number in the array; else the helper finds it. A subprogram always asks.
    fn tail_call(&mut self, ids: u64, entries: u32, site: u32, pc: usize) {
        let outside = match self.constant_index(pc).filter(|i| *i < entries) {
            Some(i) => {
                self.a.mov_imm(R::R10, ids + u64::from(i) * 4);
                self.a.load(Size::W, false, R::R11, M(R::R10, 0));
                None
            }
            None => {
                let (index, a) = (map(Reg::R3), &mut self.a);
                a.mov_imm(R::R10, entries.into());
                a.arith(Arith::Cmp, false, index, R::R10);
                let outside = a.jump(Some(Cc::Ae), false);
                a.mov(false, R::AX, index);
                a.mov_imm(R::R10, ids);
                a.load_word_at(R::R11, R::R10, R::AX);
                Some(outside)
            }
        };
        if !self.frame.is_sub() {
            self.tail_if_known();
        }
        if let Some(outside) = outside {
            let ask = self.a.jump(None, true);
            self.a.land(outside);
            self.a.zero(R::R11);
            self.a.land(ask);
        }
        self.a.store(Size::Dw, head(offset_of!(Head, tail_id)), R::R11);
        self.helper(site, true);
    }

    /// The index of the tail call in this slot, where the instruction before it says it.
    fn constant_index(&self, pc: usize) -> Option<u32> {
        let before = self.code.steps.get(pc.checked_sub(1)?).filter(|_| !self.lands[pc])?;
        match before {
            Step::Op(Op::Alu { op: AluOp::Mov, dst: Reg::R3, src: Operand::Imm(i), .. }) => Some(*i as u32),
            _ => None,
        }
    }

    /// Goes to the program whose number is in `r11`, unless the run does not know it or has made too many tail calls.
    fn tail_if_known(&mut self) {
        let its = |field: usize| M(R::R10, field as i32);
        let left = head(offset_of!(Head, tails_left));
        let a = &mut self.a;
        a.mov(false, R::R10, R::R11);
        a.arith_imm(Arith::And, false, R::R10, TAILS as i32 - 1);
        a.shift_imm(Shift::Shl, false, R::R10, size_of::<Tail>().trailing_zeros() as u8);
        a.arith_load(Arith::Add, true, R::R10, head(offset_of!(Head, tails)));
        a.arith_load(Arith::Cmp, true, R::R11, its(offset_of!(Tail, id)));
        let other = a.jump(Some(Cc::Ne), true);
        a.arith_mem_imm(Arith::Sub, true, left, 1);
        let many = a.jump(Some(Cc::B), true);
        self.hand_over();
        self.a.jump_mem(its(offset_of!(Tail, bare)));
        self.a.land(many);
        self.a.arith_mem_imm(Arith::Add, true, left, 1);
        self.a.land(other);
    }

    fn index(&mut self, i: Index) {
        let a = &mut self.a;
        a.load(Size::W, false, R::AX, M(map(Reg::R2), 0));
        a.mov_imm(R::R11, i.entries.into());
        a.arith(Arith::Cmp, true, R::AX, R::R11);
        let inside = a.jump(Some(Cc::B), true);
        a.zero(R::AX);
        let done = a.jump(None, true);
        a.land(inside);
        if i.stride.is_power_of_two() {
            a.shift_imm(Shift::Shl, true, R::AX, i.stride.trailing_zeros() as u8);
        } else {
            a.mov_imm(R::R11, i.stride.into());
            a.imul(true, R::AX, R::R11);
        }
        a.mov_imm(R::R11, i.base);
        a.arith(Arith::Add, true, R::AX, R::R11);
        self.add_percpu(i.percpu);
        self.a.land(done);
        self.clobber();
    }

    /// From the first CPU's value to that of the CPU that the program believes to be on.
    fn add_percpu(&mut self, percpu: u64) {
        if percpu != 0 {
            self.a.mov_imm(R::R11, percpu);
            self.a.imul_load(R::R11, head(offset_of!(Head, cpu)));
            self.a.arith(Arith::Add, true, R::AX, R::R11);
        }
    }

    fn direct(&mut self, d: Direct) {
        match d.last {
            Last::Nothing => {}
            Last::Cpu => self.a.load(Size::W, false, R::R9, head(offset_of!(Head, cpu))),
            Last::Value(v) => self.a.mov_imm(R::R9, v),
        }
        self.a.mov_imm(R::AX, d.call);
        self.a.call_reg(R::AX);
        self.clobber();
    }

    /// One compare-and-exchange while nobody has the lock; else the helper waits for it.
    fn lock(&mut self, site: u32) {
        self.a.zero(R::AX);
        self.a.mov_imm(R::CX, 1);
        self.a.lock_cmpxchg(false, M(R::DI, 0), R::CX);
        let free = self.a.jump(Some(Cc::E), true);
        self.a.push(R::DI);
        self.a.push(R::DI);
        self.helper(site, false);
        self.a.pop(R::DI);
        self.a.pop(R::DI);
        self.a.land(free);
        self.a.store(Size::Dw, head(offset_of!(Head, lock)), R::DI);
        self.a.zero(R::AX);
        self.clobber();
    }

    /// `r1` calls of a function with the iteration and `r3`; what the helper gives: the number of calls, or an error.
    fn counted_loop(&mut self, func: usize, pc: usize) {
        let a = &mut self.a;
        // The order of the checks is the helper's: flags, then the number.
        a.mov_imm(R::AX, -22i64 as u64);
        a.test(true, R::CX, R::CX);
        let flags = a.jump(Some(Cc::Ne), false);
        a.mov_imm(R::AX, -7i64 as u64);
        a.arith_imm(Arith::Cmp, false, R::DI, MAX_LOOPS);
        let many = a.jump(Some(Cc::A), false);
        [R::BX, R::R13].into_iter().for_each(|r| a.push(r));
        // Number and context stay on the stack; the registers are those that callees keep.
        [R::DX, R::DI].into_iter().for_each(|r| a.push(r));
        a.zero(R::BX);
        let again = a.here();
        a.load(Size::W, false, R::AX, M(R::SP, 0));
        a.arith(Arith::Cmp, false, R::BX, R::AX);
        let done = a.jump(Some(Cc::Ae), true);
        a.mov(false, R::DI, R::BX);
        a.load(Size::Dw, false, R::SI, M(R::SP, 8));
        [R::DX, R::CX, R::R8].into_iter().for_each(|r| a.zero(r));
        let hole = a.call();
        a.arith_imm(Arith::Add, false, R::BX, 1);
        a.test(true, R::AX, R::AX);
        a.jump_back(Some(Cc::E), again);
        a.land(done);
        a.mov(false, R::AX, R::BX);
        a.arith_imm(Arith::Add, true, R::SP, 16);
        [R::R13, R::BX].into_iter().for_each(|r| a.pop(r));
        a.land(flags);
        a.land(many);
        self.calls.push((hole, func, pc));
        self.clobber();
    }

    /// A load from the packet. Where the offset is known to count from the packet's start, one outside of it leaves the function
    /// with 0; what else lies outside the engine looks at.
    fn packet_load(&mut self, size: Size, imm: i32, index: Option<Reg>) {
        let behind = imm.checked_add(size.bytes() as i32).filter(|_| index.is_none() && imm >= 0);
        if let (Some(bounds), Some(behind)) = (self.code.packet, behind) {
            self.packet_bounds(bounds);
            self.a.arith_imm(Arith::Cmp, true, R::DX, behind);
            let hole = self.a.jump(Some(Cc::B), false);
            self.outside.push(hole);
            self.packet_field(size, M(R::R10, imm));
            return self.clobber();
        }
        self.a.mov_imm(R::R11, u64::from(imm as u32));
        if let Some(r) = index {
            self.a.arith(Arith::Add, false, R::R11, map(r));
        }
        let within = self.code.packet.map(|bounds| self.within_packet(size, bounds));
        self.a.mov(true, R::DI, HEAD);
        self.a.mov(false, R::SI, R::R11);
        self.a.mov_imm(R::DX, size.bytes() as u64);
        self.name();
        self.a.call_mem(head(offset_of!(Head, packet)));
        self.a.test(true, R::DX, R::DX);
        let outside = self.a.jump(Some(Cc::Ne), false);
        self.outside.push(outside);
        if let Some(done) = within {
            self.a.land(done);
        }
        self.clobber();
    }

    /// Loads from the offset in `r11` if it lies in the packet, and jumps over what follows. Offsets that count from a header are
    /// negative, which is beyond every packet when taken without sign.
    fn within_packet(&mut self, size: Size, bounds: [i32; 2]) -> Hole {
        self.packet_bounds(bounds);
        let a = &mut self.a;
        a.lea(R::CX, M(R::R11, size.bytes() as i32));
        a.arith(Arith::Cmp, true, R::CX, R::DX);
        let beyond = a.jump(Some(Cc::A), true);
        a.arith(Arith::Add, true, R::R10, R::R11);
        self.packet_field(size, M(R::R10, 0));
        let done = self.a.jump(None, false);
        self.a.land(beyond);
        done
    }

    /// Address and length of the packet, in `r10` and `rdx`. The verifier has seen that `r6` is the context.
    fn packet_bounds(&mut self, [data, end]: [i32; 2]) {
        let ctx = map(Reg::R6);
        self.a.load(Size::Dw, false, R::R10, M(ctx, data));
        self.a.load(Size::Dw, false, R::DX, M(ctx, end));
        self.a.arith(Arith::Sub, true, R::DX, R::R10);
    }

    /// A field of a packet, in its byte order.
    fn packet_field(&mut self, size: Size, m: M) {
        self.a.load(size, false, R::AX, m);
        match size {
            Size::B => {}
            Size::H => self.a.swap16(R::AX),
            Size::W => self.a.bswap(false, R::AX),
            Size::Dw => self.a.bswap(true, R::AX),
        }
    }

    fn any_load(&mut self, size: Size, sx: bool, dst: Reg, m: M) {
        self.a.lea(R::R11, m);
        let plain = self.unless_context();
        self.call_any(any_flags(size.bytes(), sx, false));
        self.a.mov(true, map(dst), R::R11);
        let done = self.a.jump(None, true);
        self.a.land(plain);
        self.a.load(size, sx, map(dst), M(R::R11, 0));
        self.a.land(done);
        self.set_upper_zero(dst, !sx && size != Size::Dw);
    }

    fn any_store(&mut self, size: Size, m: M, src: Operand) {
        self.a.lea(R::R11, m);
        match src {
            Operand::Reg(r) => self.a.mov(true, R::R9, map(r)),
            Operand::Imm(i) => self.a.mov_imm(R::R9, i64::from(i) as u64),
        }
        let plain = self.unless_context();
        self.call_any(any_flags(size.bytes(), false, true));
        let done = self.a.jump(None, true);
        self.a.land(plain);
        self.a.store(size, M(R::R11, 0), R::R9);
        self.a.land(done);
    }

    /// Jumps when the address in `r11` is not in the context.
    fn unless_context(&mut self) -> Hole {
        self.a.mov(true, R::R10, R::R11);
        self.a.arith_load(Arith::Sub, true, R::R10, head(offset_of!(Head, ctx)));
        self.a.arith_imm(Arith::Cmp, true, R::R10, self.code.ctx_size as i32);
        self.a.jump(Some(Cc::Ae), true)
    }

    /// Accesses the context at the address in `r11`; what was loaded comes in `r11`. Keeps the program's registers.
    fn call_any(&mut self, flags: u32) {
        const KEPT: [R; 6] = [R::AX, R::DI, R::SI, R::DX, R::CX, R::R8];
        let a = &mut self.a;
        KEPT.iter().for_each(|r| a.push(*r));
        a.mov(true, R::DI, HEAD);
        a.mov(true, R::SI, R::R11);
        a.mov_imm(R::DX, flags.into());
        a.mov(true, R::CX, R::R9);
        self.name();
        let a = &mut self.a;
        a.call_mem(head(offset_of!(Head, any)));
        a.mov(true, R::R11, R::AX);
        a.mov(true, R::R10, R::DX);
        KEPT.iter().rev().for_each(|r| a.pop(*r));
        a.test(true, R::R10, R::R10);
        a.jump_back(Some(Cc::Ne), self.stop);
    }
}
