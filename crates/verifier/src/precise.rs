//! Which numbers must be exact: from where a range decided something, back along the path to where it was made.
//!
//! Kept states compare ranges only of numbers marked precise; the walk back marks them in every ancestor
//! (`__mark_chain_precision` and `backtrack_insn`, kernel/bpf/verifier.c). Where the way back cannot be followed,
//! every number of every ancestor is marked.

use crate::code::Slot;
use crate::log::{reg_list, slot_list};
use crate::machine::Vm;
use crate::reject::Check;
use crate::state::{Hist, Place, Places, Settled, State, StateId};
use skep_isa::{AluOp, AtomicOp, Callee, Op, Operand};

/// Registers and slots, by frame, whose origin is looked for.
#[derive(Clone, Debug, Default)]
struct Wanted {
    frame: usize,
    regs: [u16; 8],
    slots: [u64; 8],
}

/// The way back cannot be followed.
struct Lost;

/// What an instruction is on the way back: the registers of which one must be wanted for it to matter, and marks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backward(u16);

impl Backward {
    /// It may matter whatever is wanted.
    const ALWAYS: u16 = 1 << 15;
    /// The instruction before it takes two slots.
    const WIDE: u16 = 1 << 14;

    fn new(slot: &Slot, before: Option<&Slot>) -> Backward {
        let reg = |r: skep_isa::Reg| 1 << r.index();
        let regs = match slot {
            Slot::Op(op, _) => match *op {
                Op::Neg { .. } | Op::End { .. } | Op::Ja { .. } | Op::MayGoto { .. } => 0,
                Op::JumpIf { src: Operand::Imm(_), .. } => 0,
                Op::JumpIf { dst, src: Operand::Reg(src), .. } => reg(dst) | reg(src),
                Op::Alu { dst, .. }
                | Op::MovSx { dst, .. }
                | Op::AddrSpaceCast { dst, .. }
                | Op::LoadImm64 { dst, .. }
                | Op::Load { dst, .. }
                | Op::LoadAcquire { dst, .. }
                | Op::Store { dst, .. }
                | Op::StoreRelease { dst, .. } => reg(dst),
                _ => Backward::ALWAYS,
            },
            _ => 0,
        };
        let wide = matches!(before, Some(Slot::Second));
        Backward(regs | if wide { Backward::WIDE } else { 0 })
    }

    /// The instruction before this one, which is at `pc`.
    #[inline]
    fn before(self, pc: usize) -> Option<usize> {
        pc.checked_sub(if self.0 & Backward::WIDE != 0 { 2 } else { 1 })
    }

    /// For all slots of a program.
    pub(crate) fn table(slots: &[Slot]) -> Vec<Backward> {
        let before = |pc: usize| pc.checked_sub(1).map(|b| &slots[b]);
        slots.iter().enumerate().map(|(pc, s)| Backward::new(s, before(pc))).collect()
    }
}

impl Wanted {
    /// `regs=r1 stack=-8`.
    fn list(&self, frame: usize) -> String {
        format!("regs={} stack={}", reg_list(self.regs[frame]), slot_list(self.slots[frame]))
    }

    #[inline]
    fn is_empty(&self) -> bool {
        if self.regs[self.frame] != 0 || self.slots[self.frame] != 0 {
            return false;
        }
        self.regs[..=self.frame].iter().all(|r| *r == 0) && self.slots[..=self.frame].iter().all(|s| *s == 0)
    }

    #[inline]
    fn has(&self, r: usize) -> bool {
        self.regs[self.frame] >> r & 1 == 1
    }

    #[inline]
    fn want(&mut self, r: usize) {
        self.regs[self.frame] |= 1 << r;
    }

    #[inline]
    fn drop(&mut self, r: usize) {
        self.regs[self.frame] &= !(1 << r);
    }

    fn add(&mut self, p: &Place) {
        if p.slot {
            self.slots[p.frame as usize] |= 1 << p.index;
        } else {
            self.regs[p.frame as usize] |= 1 << p.index;
        }
    }

    fn holds(&self, p: &Place) -> bool {
        let f = p.frame as usize;
        if p.slot { self.slots[f] >> p.index & 1 == 1 } else { self.regs[f] >> p.index & 1 == 1 }
    }

    /// May undoing the instruction of this entry matter, whatever the instruction is?
    fn touches(&self, h: &Hist) -> bool {
        h.linked[0].is_some() || h.stack.is_some_and(|(f, spi)| self.slots[f as usize] >> spi & 1 == 1)
    }

    /// Drops what is settled.
    fn without(&mut self, s: &Settled) {
        self.regs[s.frame as usize] &= !s.regs;
        self.slots[s.frame as usize] &= !s.slots;
    }

    /// Numbers tied together are wanted together.
    #[inline]
    fn tie(&mut self, h: Option<&Hist>) {
        if let Some(h) = h.filter(|h| h.linked[0].is_some()) {
            self.tie_all(h);
        }
    }

    fn tie_all(&mut self, h: &Hist) {
        let all = || h.linked.iter().flatten();
        if all().any(|p| p.frame as usize <= self.frame && self.holds(p)) {
            for p in all() {
                self.add(p);
            }
        }
    }

    fn enter(&mut self) -> Result<(), Lost> {
        if self.frame + 1 >= 8 {
            return Err(Lost);
        }
        self.frame += 1;
        (self.regs[self.frame], self.slots[self.frame]) = (0, 0);
        Ok(())
    }

    fn exit(&mut self) -> Result<(), Lost> {
        self.frame = self.frame.checked_sub(1).ok_or(Lost)?;
        Ok(())
    }
}

const ARGS: u16 = 0b11_1110;

impl Vm<'_> {
    /// Marks the origins of these registers and slots of the current state.
    pub(crate) fn make_precise(&mut self, places: &[Place]) -> Check {
        let mut w = Wanted { frame: self.cur.depth(), ..Wanted::default() };
        for p in places {
            w.add(p);
        }
        match self.walk_back(w) {
            Ok(()) => Ok(()),
            Err(Lost) => {
                self.all_precise();
                Ok(())
            }
        }
    }

    /// The kept state has gone on to its end with these numbers precise: the current one, equal to it, needs the same.
    pub(crate) fn propagate_precision(&mut self, old: StateId) -> Check<bool> {
        let Places { regs, slots } = self.states[old as usize].precise;
        let w = Wanted { frame: self.cur.depth(), regs, slots };
        if w.is_empty() {
            return Ok(false);
        }
        let frames = if self.log.all() { w.frame + 1 } else { 0 };
        for f in (0..frames).rev() {
            let slots = slot_list(w.slots[f])
                .split(',')
                .filter(|s| !s.is_empty())
                .map(|s| format!("fp{s}"))
                .collect::<Vec<_>>();
            let all: Vec<String> =
                (w.regs[f] != 0).then(|| reg_list(w.regs[f])).into_iter().chain(slots).collect();
            if !all.is_empty() {
                self.log.line(&format!("frame {f}: propagating {}", all.join(",")));
            }
        }
        match self.walk_back(w) {
            Ok(()) => Ok(true),
            Err(Lost) => {
                self.all_precise();
                Ok(true)
            }
        }
    }

    /// From the instruction at hand, which itself is not undone, through the current state and its ancestors.
    fn walk_back(&mut self, mut w: Wanted) -> Result<(), Lost> {
        let (mut at, mut last) = (None, self.cur.insn);
        let (mut subseq, mut skip) = (None, true);
        let all = self.log.all();
        let here = self.settled_from(&w);
        if let Some(s) = self.cur.tracked.points().first().filter(|s| !all && s.same_point(&here)) {
            w.without(s);
        }
        while !w.is_empty() {
            if all {
                self.log_walk(&w, at, last, subseq);
            }
            let mut notes = all.then(Vec::new);
            let done = self.walk_state(&mut w, at, last, &mut subseq, &mut skip, notes.as_mut());
            notes.into_iter().flatten().for_each(|l| self.log.line(&l));
            if at.is_none() {
                self.cur.tracked.add(here);
            }
            if done? {
                break;
            }
            let Some(id) = self.state_at(at).parent else { break };
            let more = self.mark_parent(id, &mut w);
            if all {
                self.log_parent(id, &w);
            }
            if !more {
                break;
            }
            let Some(l) = self.states[id as usize].state.last_insn else { break };
            (at, last) = (Some(id), l);
        }
        Ok(())
    }

    /// What will be settled from the instruction at hand on, when this was wanted.
    fn settled_from(&self, w: &Wanted) -> Settled {
        let (hist, insn) = (&self.cur.hist, self.cur.insn as u32);
        let own = hist.last().is_some_and(|h| h.insn == insn);
        Settled {
            insn,
            hist: hist.len() as u32 - u32::from(own),
            frame: w.frame as u8,
            regs: w.regs[w.frame],
            slots: w.slots[w.frame],
        }
    }

    #[inline]
    fn state_at(&self, at: Option<StateId>) -> &State {
        at.map_or(&self.cur, |id| &self.states[id as usize].state)
    }

    /// Back through one state's instructions. True when nothing is wanted any more.
    fn walk_state(
        &self,
        w: &mut Wanted,
        at: Option<StateId>,
        last: usize,
        subseq: &mut Option<usize>,
        skip: &mut bool,
        mut notes: Option<&mut Vec<String>>,
    ) -> Result<bool, Lost> {
        let st = self.state_at(at);
        let (hist, first) = (&st.hist, st.first_insn);
        // What a log tells was not cut short.
        let mut settled = if at.is_none() && notes.is_none() { st.tracked.points() } else { &[] };
        let mut end = hist.len();
        let mut i = last;
        loop {
            let own = |end: usize, i: usize| hist[..end].last().filter(|h| h.insn as usize == i);
            let mask = w.regs[w.frame] | Backward::ALWAYS;
            let (mut entry, mut step) = (own(end, i), self.backward[i]);
            if step.0 & mask == 0 && entry.is_none() && !*skip && notes.is_none() {
                // Instructions without history that cannot matter, up to the next place that may.
                let next = hist[..end].last().map_or(usize::MAX, |h| h.insn as usize);
                let point = settled.first().map_or(usize::MAX, |s| s.insn as usize);
                let floor = if end == 0 { first } else { usize::MAX };
                while i != next && i != point && i != floor && self.backward[i].0 & mask == 0 {
                    *subseq = Some(i);
                    i = self.backward[i].before(i).ok_or(Lost)?;
                }
                (entry, step) = (own(end, i), self.backward[i]);
            }
            if *skip {
                *skip = false;
            } else if step.0 & mask != 0 || entry.is_some_and(|h| w.touches(h)) || notes.is_some() {
                if let Some(notes) = notes.as_deref_mut() {
                    let op = self.log_op(i);
                    notes.push(format!(
                        "mark_precise: frame{}: {} before {i}: {op}",
                        w.frame,
                        w.list(w.frame)
                    ));
                }
                self.undo(w, i, *subseq, entry)?;
                if w.is_empty() {
                    return Ok(true);
                }
            }
            *subseq = Some(i);
            let before = end - usize::from(entry.is_some());
            if let [s, older @ ..] = settled
                && (s.insn as usize, s.hist as usize) == (i, before)
            {
                settled = older;
                w.without(s);
                if w.is_empty() {
                    return Ok(true);
                }
            }
            // The first instruction of the state is the end of the way, unless history says that it was come back to.
            if i == first && before == 0 {
                return Ok(false);
            }
            end = before;
            i = match entry {
                Some(h) if h.prev == u32::MAX => return Ok(false),
                Some(h) => h.prev as usize,
                None => step.before(i).ok_or(Lost)?,
            };
        }
    }

    /// Marks in a kept state what is wanted; what was marked already is not looked for further. False: nothing left.
    fn mark_parent(&mut self, id: StateId, w: &mut Wanted) -> bool {
        let k = &mut self.states[id as usize];
        for f in 0..=w.frame.min(k.state.depth()) {
            w.regs[f] &= k.numbers.regs[f] & !k.precise.regs[f];
            w.slots[f] &= k.numbers.slots[f] & !k.precise.slots[f];
            k.precise.regs[f] |= w.regs[f];
            k.precise.slots[f] |= w.slots[f];
            self.marks += u64::from(w.regs[f] != 0 || w.slots[f] != 0);
        }
        !w.is_empty()
    }

    fn log_walk(&mut self, w: &Wanted, at: Option<StateId>, last: usize, subseq: Option<usize>) {
        let (first, subseq) = (self.state_at(at).first_insn, subseq.map_or(-1, |s| s as i64));
        let frame = w.frame;
        self.log.line(&format!(
            "mark_precise: frame{frame}: last_idx {last} first_idx {first} subseq_idx {subseq} "
        ));
    }

    fn log_parent(&mut self, id: StateId, w: &Wanted) {
        for f in (0..=w.frame).rev() {
            let state = self.kept_text(id, f);
            self.log.line(&format!("mark_precise: frame{f}: parent state {}: {state}", w.list(f)));
        }
    }

    /// What is wanted before an instruction, given what is wanted after it.
    fn undo(&self, w: &mut Wanted, pc: usize, subseq: Option<usize>, h: Option<&Hist>) -> Result<(), Lost> {
        let Some(op) = self.code.op(pc) else { return Ok(()) };
        w.tie(h);
        match *op {
            Op::Alu { op: AluOp::Mov, dst, src, .. } if w.has(dst.index()) => {
                w.drop(dst.index());
                want_operand(w, src);
            }
            Op::Alu { dst, src, .. } if w.has(dst.index()) => want_operand(w, src),
            Op::MovSx { dst, src, .. } | Op::AddrSpaceCast { dst, src, .. } if w.has(dst.index()) => {
                w.drop(dst.index());
                want_operand(w, Operand::Reg(src));
            }
            Op::LoadImm64 { dst, .. } => w.drop(dst.index()),
            Op::Load { dst, .. } | Op::LoadAcquire { dst, .. } => filled(w, dst.index(), h),
            Op::Atomic { op, src, .. } if op.fetches() => {
                let into = if op == AtomicOp::Cmpxchg { 0 } else { src.index() };
                if w.has(into) {
                    filled(w, into, h);
                    // Linux 6.18 goes on with the register as if it had not been written, and so walks more.
                    w.want(into);
                }
            }
            Op::Atomic { dst, src, .. } | Op::StoreRelease { dst, src, .. } => {
                spilled(w, dst.index(), Some(src.index()), h)?;
            }
            Op::Store { dst, src, .. } => {
                let from = if let Operand::Reg(r) = src { Some(r.index()) } else { None };
                spilled(w, dst.index(), from, h)?;
            }
            Op::JumpIf { dst, src: Operand::Reg(src), .. } if (w.has(dst.index()) || w.has(src.index())) => {
                if !h.is_some_and(|h| h.src_stack) {
                    w.want(src.index());
                }
                if !h.is_some_and(|h| h.dst_stack) {
                    w.want(dst.index());
                }
            }
            Op::Call(callee) => self.undo_call(w, pc, subseq, callee)?,
            Op::Exit => self.undo_exit(w, subseq)?,
            Op::LoadAbs { .. } | Op::LoadInd { .. } => {
                if w.has(0) {
                    return Err(Lost);
                }
                if subseq != Some(pc + 1) {
                    w.enter()?;
                }
            }
            _ => {}
        }
        w.tie(h);
        Ok(())
    }

    fn undo_call(
        &self,
        w: &mut Wanted,
        pc: usize,
        subseq: Option<usize>,
        callee: Callee,
    ) -> Result<(), Lost> {
        let frame = w.frame;
        if let Callee::Local(off) = callee {
            let target = (pc as i64 + 1 + off as i64) as usize;
            let global = self.code.func_at(target).is_some_and(|f| self.code.funcs[f].global);
            if global {
                w.drop(0);
                return if w.regs[frame] & ARGS != 0 { Err(Lost) } else { Ok(()) };
            }
            // Out of the callee, backwards: only its arguments can still be wanted.
            if w.regs[frame] & !ARGS != 0 || w.slots[frame] != 0 {
                return Err(Lost);
            }
            let args = std::mem::take(&mut w.regs[frame]);
            w.exit()?;
            w.regs[w.frame] |= args;
            return Ok(());
        }
        let calls_back = self.cfg.marks[pc].callback;
        if calls_back && subseq != Some(pc + 1) {
            if w.regs[frame] & !ARGS != 0 || w.slots[frame] != 0 {
                return Err(Lost);
            }
            w.regs[frame] = 0;
            return w.exit();
        }
        w.drop(0);
        if w.regs[frame] & ARGS != 0 {
            return Err(Lost);
        }
        let tail = matches!(callee, Callee::Helper(id) if self.helper(id).is_some_and(|h| h.tail_call));
        if tail && subseq != Some(pc + 1) {
            return w.enter();
        }
        Ok(())
    }

    fn undo_exit(&self, w: &mut Wanted, subseq: Option<usize>) -> Result<(), Lost> {
        let call = subseq.and_then(|s| s.checked_sub(1)).and_then(|p| self.code.op(p));
        let returns = matches!(call, Some(Op::Call(Callee::Local(_))));
        let r0 = returns && w.has(0);
        if returns && w.regs[w.frame] & ARGS != 0 {
            return Err(Lost);
        }
        w.drop(0);
        w.enter()?;
        if r0 {
            w.want(0);
        }
        Ok(())
    }

    /// Every number of every ancestor.
    fn all_precise(&mut self) {
        let mut at = self.cur.parent;
        while let Some(id) = at {
            let k = &mut self.states[id as usize];
            self.marks += k.numbers.count() - k.precise.count();
            k.precise = k.numbers;
            at = k.state.parent;
        }
    }
}

fn want_operand(w: &mut Wanted, src: Operand) {
    if let Operand::Reg(r) = src
        && r.index() != 10
    {
        w.want(r.index());
    }
}

fn filled(w: &mut Wanted, dst: usize, h: Option<&Hist>) {
    if !w.has(dst) {
        return;
    }
    w.drop(dst);
    if let Some((frame, spi)) = h.and_then(|h| h.stack) {
        w.slots[frame as usize] |= 1 << spi;
    }
}

fn spilled(w: &mut Wanted, ptr: usize, from: Option<usize>, h: Option<&Hist>) -> Result<(), Lost> {
    if w.has(ptr) {
        return Err(Lost);
    }
    let Some((frame, spi)) = h.and_then(|h| h.stack) else { return Ok(()) };
    let bit = 1u64 << spi;
    if w.slots[frame as usize] & bit == 0 {
        return Ok(());
    }
    w.slots[frame as usize] &= !bit;
    if let Some(r) = from {
        w.want(r);
    }
    Ok(())
}
