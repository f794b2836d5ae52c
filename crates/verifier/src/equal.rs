//! When a path may end because a kept state has been here: the current state must lie inside of the kept one.
//!
//! Three modes (`enum exact_level`, kernel/bpf/verifier.c): against a finished state only precise numbers count; in a
//! loop that makes progress by itself all ranges count; for the endless loop check everything must be the same.

use crate::machine::KeptState;
use crate::shared::Shared;
use crate::stack::Stack;
use crate::state::{Byte, Frame, Place, Places, Ref, Slot, State};
use crate::value::{ADD_CONST, ADD_CONST32, Base, Reg};

/// How closely states are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Precise numbers only.
    Finished,
    /// All ranges.
    Within,
    /// Everything.
    Exact,
}

/// Which id of the kept state stands for which of the current one. Used again for the next comparison.
#[derive(Default, Debug)]
pub(crate) struct Ids {
    pairs: Vec<(u32, u32)>,
    made_up: u32,
}

/// Ids from here on stand for those that the current state does not have.
const MADE_UP: u32 = ADD_CONST32 / 2;

impl Ids {
    #[inline]
    fn clear(&mut self) {
        self.pairs.clear();
        self.made_up = 0;
    }

    #[inline]
    fn same(&mut self, old: u32, cur: u32) -> bool {
        if (old == 0) != (cur == 0) {
            return false;
        }
        if old == 0 {
            return true;
        }
        for &(o, c) in &self.pairs {
            if o == old {
                return c == cur;
            }
            if c == cur {
                return false;
            }
        }
        self.pairs.push((old, cur));
        true
    }

    /// Numbers: no tie in the kept state asks for none in the current one.
    #[inline]
    fn scalar(&mut self, old: u32, cur: u32) -> bool {
        if old == 0 {
            return true;
        }
        let cur = if cur == 0 {
            self.made_up += 1;
            MADE_UP + self.made_up
        } else {
            cur
        };
        if !self.same(old, cur) {
            return false;
        }
        old & ADD_CONST == 0 || self.same(old & !ADD_CONST, cur & !ADD_CONST)
    }
}

/// What eight bytes of anything are as a number.
static UNKNOWN: Reg = Reg::UNKNOWN;

/// How states are compared.
pub(crate) struct Compare<'a> {
    pub(crate) mode: Mode,
    /// Numbers of the kept state that something has asked for.
    pub(crate) precise: &'a Places,
    /// What of the kept state may still be read; the rest is as if never written.
    pub(crate) alive: &'a Places,
    /// Every number counts, whether something has asked for it or not: the loader has no capability.
    pub(crate) all_precise: bool,
    /// Numbers must be the same, whether something has asked for them or not.
    pub(crate) exact_numbers: bool,
    /// Registers alive, by instruction.
    pub(crate) live: &'a [u16],
    /// Reading what was never written is allowed.
    pub(crate) uninit_ok: bool,
}

impl Compare<'_> {
    /// Is the current state covered by the kept one? `differs` is where the kept state was not like the last one that it
    /// was compared with: looked at first, and written. A place that stands there after the answer is no is one that
    /// counts, and differs.
    pub(crate) fn states(
        &self,
        old: &State,
        cur: &State,
        ids: &mut Ids,
        differs: &mut Option<Place>,
    ) -> bool {
        let alike = old.frames.len() == cur.frames.len()
            && old.sleepable == cur.sleepable
            && (cur.speculative || !old.speculative);
        if let Some(p) = differs.filter(|_| alike) {
            ids.clear();
            if !self.place(old, cur, &p, ids) {
                return false;
            }
        }
        *differs = None;
        ids.clear();
        if !alike || !refs_equal(old, cur, ids) {
            return false;
        }
        for i in 0..old.frames.len() {
            let (o, c) = (&*old.frames[i], &*cur.frames[i]);
            if i > 0 && o.callsite != c.callsite || o.callback_depth > c.callback_depth {
                return false;
            }
            let found = self
                .regs(i, o, c, self.live_at(old, i), ids)
                .or_else(|| self.stack(i, &o.stack, &c.stack, ids));
            if let Some((index, slot)) = found {
                *differs = Some(Place { frame: i as u8, index: index as u8, slot });
                return false;
            }
        }
        true
    }

    fn live_at(&self, old: &State, frame: usize) -> u16 {
        self.live.get(old.insn_of_frame(frame)).copied().unwrap_or(u16::MAX)
    }

    /// Could the states be alike in this place? What no tie of ids decides is decided.
    fn place(&self, old: &State, cur: &State, p: &Place, ids: &mut Ids) -> bool {
        let (f, i) = (p.frame as usize, p.index as usize);
        let (Some(o), Some(c)) = (old.frames.get(f), cur.frames.get(f)) else { return true };
        if p.slot {
            let Some(s) = o.stack.get(i) else { return true };
            let dead = Slot::EMPTY;
            let s = if self.alive.has(p) { s } else { &dead };
            return self.stack_slot(s, c.stack.get(i), self.precise.has(p), ids);
        }
        self.live_at(old, f) >> i & 1 == 0 || self.reg(&o.regs[i], &c.regs[i], self.precise.has(p), ids)
    }

    /// The first register that differs.
    fn regs(
        &self,
        frame: usize,
        old: &Frame,
        cur: &Frame,
        live: u16,
        ids: &mut Ids,
    ) -> Option<(usize, bool)> {
        let precise = self.precise.regs[frame];
        (0..11)
            .find(|i| {
                live >> i & 1 == 1 && !self.reg(&old.regs[*i], &cur.regs[*i], precise >> i & 1 == 1, ids)
            })
            .map(|i| (i, false))
    }

    /// The first slot that differs.
    fn stack(&self, frame: usize, old: &Stack, cur: &Stack, ids: &mut Ids) -> Option<(usize, bool)> {
        let (precise, alive) = (self.precise.slots[frame], self.alive.slots[frame]);
        // What may hold anything, and is not asked for, is like everything.
        let lax = self.mode == Mode::Finished && self.uninit_ok && !self.all_precise && !self.exact_numbers;
        // A slot that cannot be read any more is like one that never was written.
        let never = Slot::EMPTY;
        for (n, chunk) in old.chunks().enumerate() {
            let first = n * Stack::CHUNK;
            let shared = old.shares(cur, first);
            for (i, o) in chunk.iter().enumerate() {
                if lax && o.is_blank() {
                    continue;
                }
                let (c, dead) = (cur.get(first + i), alive >> (first + i) & 1 == 0);
                if dead && lax {
                    continue;
                }
                let o = if dead { &never } else { o };
                // What lies in the same memory is the same but for the ids.
                let same = shared && !dead && c.is_some() && o.reg.id | o.reg.ref_id == 0;
                if !same && !self.stack_slot(o, c, precise >> (first + i) & 1 == 1, ids) {
                    return Some((first + i, true));
                }
            }
        }
        None
    }

    fn stack_slot(&self, o: &Slot, c: Option<&Slot>, precise: bool, ids: &mut Ids) -> bool {
        if self.mode != Mode::Finished && c.is_none_or(|c| c.word() != o.word()) {
            return false;
        }
        match c {
            Some(c) => self.slot(o, c, precise, ids),
            None => o.bytes.iter().all(|b| *b == Byte::Invalid || (self.uninit_ok && *b == Byte::Misc)),
        }
    }

    fn slot(&self, o: &Slot, c: &Slot, precise: bool, ids: &mut Ids) -> bool {
        if let (Some(a), Some(b)) = (self.as_number(o), self.as_number(c)) {
            return self.reg(a, b, precise, ids);
        }
        for i in 0..8 {
            let ok = match (o.bytes[i], c.bytes[i]) {
                (Byte::Invalid, _) => true,
                (Byte::Misc, _) if self.uninit_ok => true,
                (Byte::Misc, Byte::Zero) => true,
                (a, b) => a == b,
            };
            if !ok {
                return false;
            }
        }
        match o.bytes[7] {
            Byte::Spill => self.reg(&o.reg, &c.reg, precise, ids),
            Byte::Dynptr | Byte::IrqFlag => o.reg.base == c.reg.base && ids.same(o.reg.ref_id, c.reg.ref_id),
            Byte::Iter => {
                let plain = |b: Base| match b {
                    Base::IterSlot { ty, active, first, .. } => {
                        Base::IterSlot { ty, active, first, depth: 0 }
                    }
                    b => b,
                };
                plain(o.reg.base) == plain(c.reg.base)
                    && o.reg.flags == c.reg.flags
                    && ids.same(o.reg.ref_id, c.reg.ref_id)
            }
            _ => true,
        }
    }

    /// A whole slot as a number: a spilled one, or eight bytes of anything.
    fn as_number<'s>(&self, s: &'s Slot) -> Option<&'s Reg> {
        if s.is_scalar_spill64() {
            return Some(&s.reg);
        }
        (s.is_misc() || (self.uninit_ok && s.is_blank())).then_some(&UNKNOWN)
    }

    #[inline]
    fn reg(&self, old: &Reg, cur: &Reg, precise: bool, ids: &mut Ids) -> bool {
        // What lies in the same memory is the same but for the ids.
        if std::ptr::eq(old, cur) && old.id | old.ref_id == 0 {
            return true;
        }
        if self.mode != Mode::Exact
            && let (Base::Scalar, Base::Scalar) = (old.base, cur.base)
        {
            return old.flags == cur.flags && self.number(old, cur, precise, ids);
        }
        self.any_reg(old, cur, precise, ids)
    }

    fn any_reg(&self, old: &Reg, cur: &Reg, precise: bool, ids: &mut Ids) -> bool {
        if self.mode == Mode::Exact {
            return exact(old, cur, ids);
        }
        let none = |r: &Reg| matches!(r.base, Base::NotInit);
        if none(old) && (self.mode == Mode::Finished || none(cur)) {
            return true;
        }
        let same_type = match (old.base, cur.base) {
            (Base::Mem(_), Base::Mem(_)) => true,
            (a, b) => std::mem::discriminant(&a) == std::mem::discriminant(&b),
        };
        if !same_type || old.flags != cur.flags {
            return false;
        }
        match old.base {
            Base::Scalar => self.number(old, cur, precise, ids),
            Base::MapKey(_) | Base::MapValue(_) | Base::Mem(_) | Base::Buf | Base::TpBuffer => {
                old.base == cur.base
                    && old.off == cur.off
                    && old.origin == cur.origin
                    && cur.val.is_within(&old.val)
                    && ids.same(old.id, cur.id)
                    && ids.same(old.ref_id, cur.ref_id)
            }
            Base::Packet | Base::PacketMeta => {
                let reach = if old.range < 0 || cur.range < 0 {
                    old.range == cur.range
                } else {
                    old.range <= cur.range
                };
                reach && old.off == cur.off && ids.same(old.id, cur.id) && cur.val.is_within(&old.val)
            }
            Base::Arena => true,
            _ => exact(old, cur, ids),
        }
    }

    #[inline]
    fn number(&self, old: &Reg, cur: &Reg, precise: bool, ids: &mut Ids) -> bool {
        if self.exact_numbers {
            return old.val == cur.val && old.off == cur.off && ids.scalar(old.id, cur.id);
        }
        if !precise && !self.all_precise && self.mode == Mode::Finished {
            return true;
        }
        if !cur.val.is_within(&old.val) {
            return false;
        }
        let (a, b) = (old.id & ADD_CONST, cur.id & ADD_CONST);
        if (old.id != 0 && a != b) || (a != 0 && old.off != cur.off) {
            return false;
        }
        ids.scalar(old.id, cur.id)
    }
}

#[inline]
fn exact(old: &Reg, cur: &Reg, ids: &mut Ids) -> bool {
    old.base == cur.base
        && old.flags == cur.flags
        && old.off == cur.off
        && old.range == cur.range
        && old.val == cur.val
        && old.origin == cur.origin
        && ids.same(old.id, cur.id)
        && ids.same(old.ref_id, cur.ref_id)
}

fn refs_equal(old: &State, cur: &State, ids: &mut Ids) -> bool {
    if old.refs.len() != cur.refs.len()
        || old.rcu != cur.rcu
        || old.preempt != cur.preempt
        || !ids.same(old.irq, cur.irq)
        || old.lock.is_some() != cur.lock.is_some()
    {
        return false;
    }
    if let (Some((a, ka)), Some((b, kb))) = (old.lock, cur.lock)
        && (ka != kb || !ids.same(a, b))
    {
        return false;
    }
    let pair = |a: &Ref, b: &Ref, ids: &mut Ids| a.kind == b.kind && ids.same(a.id, b.id);
    old.refs.iter().zip(&cur.refs).all(|(a, b)| pair(a, b, ids))
}

/// Could the current state be one turn further in the same loop? The innermost frame has the same registers. `differs`
/// is looked at first, and written where they have not.
pub(crate) fn maybe_looping(old: &State, cur: &State, differs: &mut Option<Place>) -> bool {
    if old.frames.len() != cur.frames.len() {
        return false;
    }
    let (a, b) = (old.frame(), cur.frame());
    let same = |i: usize| {
        let (x, y) = (&a.regs[i], &b.regs[i]);
        std::ptr::eq(&**x, &**y)
            || x.val == y.val
                && x.base == y.base
                && x.flags == y.flags
                && x.off == y.off
                && x.range == y.range
    };
    let top = old.depth() as u8;
    if differs.is_some_and(|p| p.frame == top && !p.slot && !same(p.index as usize)) {
        return false;
    }
    match (0..11).find(|i| !same(*i)) {
        Some(i) => {
            *differs = Some(Place { frame: top, index: i as u8, slot: false });
            false
        }
        None => true,
    }
}

/// Are iterators further than they were?
pub(crate) fn iterators_differ(old: &State, cur: &State) -> bool {
    let depth = |s: &Slot| match s.reg.base {
        Base::IterSlot { active: true, depth, .. } if s.bytes[7] == Byte::Iter => Some(depth),
        _ => None,
    };
    old.frames.iter().zip(&cur.frames).any(|(o, c)| {
        o.stack.iter().zip(c.stack.iter()).any(|(a, b)| match (depth(a), depth(b)) {
            (Some(x), Some(y)) => x != y,
            _ => false,
        })
    })
}

/// Numbers that differ from the last visit and that nobody needs exactly become unknown, so that the loop settles.
pub(crate) fn widen(old: &KeptState, cur: &mut State) {
    let mut ids = Ids::default();
    for (f, (o, frame)) in old.state.frames.iter().zip(cur.frames.iter_mut()).enumerate().rev() {
        let mut differs = |a: &Reg, b: &Reg| a.is_scalar() && b.is_scalar() && !exact(a, b, &mut ids);
        let bit = |set: u64, (i, wide): (usize, bool)| set | u64::from(wide) << i;
        let free = |set: u64, i: usize| set >> i & 1 == 0;
        let regs = o.regs.iter().zip(&frame.regs).enumerate();
        let precise = old.precise.regs[f].into();
        let regs = regs.map(|(i, (a, b))| (i, free(precise, i) && differs(a, b))).fold(0, bit);
        let slots = o.stack.iter().zip(frame.stack.iter()).enumerate();
        let both = |a: &Slot, b: &Slot| a.is_scalar_spill() && b.is_scalar_spill();
        let precise = old.precise.slots[f];
        let mut wide = |i, a: &Slot, b: &Slot| free(precise, i) && both(a, b) && differs(&a.reg, &b.reg);
        let slots = slots.map(|(i, (a, b))| (i, wide(i, a, b))).fold(0, bit);
        if regs | slots == 0 {
            continue;
        }
        let frame = Shared::make_mut(frame);
        let picked = |set: u64| (0..64).filter(move |i| set >> i & 1 == 1);
        picked(regs).for_each(|i| frame.regs[i].set(Reg::UNKNOWN));
        picked(slots).for_each(|i| frame.stack[i].reg.set(Reg::UNKNOWN));
    }
}
