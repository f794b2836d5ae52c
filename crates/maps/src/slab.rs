//! Slots of fixed size in a map file, with a free list a CPU.
//!
//! A slot is in one of four places: never used (past a list's `fresh` mark), on a free list, in use by the table, or *in
//! flight*: taken out of one of the other places and not yet put into the next. A slot in flight carries the word of
//! the thread that holds it. Each list owns a range of slots to hand out first; an empty list takes from the others.
//!
//! A list operation writes the slot's owner word before the one store that commits it, and clears it after. Whoever
//! succeeds a dead holder of a list lock therefore finds at most the head slot marked, and unmarks it. A slot whose
//! holder died in flight belongs to nobody; [`Slab::reclaim`] finds those, at most every 100 ms, when all lists are empty.
//!
//! Slot: `owner u64, next u32 (slot + 1, of a free list or bucket chain), hash u32`, then the table's own.
//! List line: `lock u64, head u32 (slot + 1), fresh u32, end u32, free u32`, 64 bytes.

use crate::bias::Bias;
use crate::lock::Guard;
use crate::mem::Memory;
use crate::owner::Owner;
use skep_platform::Errno;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Bytes of a slot before the table's own.
pub(crate) const SLOT_HEADER: u64 = 16;
const LINE: u64 = 64;
/// Milliseconds between two searches for lost slots.
const RECLAIM_EVERY: u64 = 100;

/// Where the slots are; the same in every process that maps the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slab {
    /// Offset of the list lines; the line before the first holds the time of the last search for lost slots.
    pub(crate) lines: u64,
    /// Number of lists.
    pub(crate) lists: u32,
    /// Offset of slot 0.
    pub(crate) slots: u64,
    /// Bytes from slot to slot.
    pub(crate) stride: u64,
    /// Number of slots.
    pub(crate) count: u32,
}

impl Slab {
    /// Bytes that `lists` list lines take, the shared one included.
    pub(crate) fn lines_len(lists: u32) -> u64 {
        (u64::from(lists) + 1) * LINE
    }

    /// Hands each list its range of slots.
    pub(crate) fn init(&self, mem: &Memory) {
        for list in 0..self.lists {
            let (start, end) = self.range(list);
            mem.u32(self.line(list) + 12).store(start, Relaxed);
            mem.u32(self.line(list) + 16).store(end, Relaxed);
        }
    }

    /// First slot of a list's range and the one after its last.
    pub(crate) fn range(&self, list: u32) -> (u32, u32) {
        let at = |list: u32| (u64::from(self.count) * u64::from(list) / u64::from(self.lists)) as u32;
        (at(list), at(list + 1))
    }

    fn line(&self, list: u32) -> u64 {
        self.lines + LINE * (1 + u64::from(list))
    }

    /// Offset of a slot.
    #[inline(always)]
    pub(crate) fn at(&self, slot: u32) -> u64 {
        self.slots + u64::from(slot) * self.stride
    }

    /// Word that names who holds a slot in flight.
    pub(crate) fn owner<'m>(&self, mem: &'m Memory, slot: u32) -> &'m std::sync::atomic::AtomicU64 {
        mem.u64(self.at(slot))
    }

    /// Link to the next slot of a chain, plus 1.
    pub(crate) fn next<'m>(&self, mem: &'m Memory, slot: u32) -> &'m std::sync::atomic::AtomicU32 {
        mem.u32(self.at(slot) + 8)
    }

    /// Low half of the hash of the slot's key.
    pub(crate) fn hash<'m>(&self, mem: &'m Memory, slot: u32) -> &'m std::sync::atomic::AtomicU32 {
        mem.u32(self.at(slot) + 12)
    }

    /// A slot number out of the file, stored plus 1: `None` for 0 and for numbers that no slot has.
    #[inline(always)]
    pub(crate) fn checked(&self, plus_one: u32) -> Option<u32> {
        plus_one.checked_sub(1).filter(|slot| *slot < self.count)
    }

    /// Takes a slot, from `list` first and, with `anywhere`, from the other lists then. It is in flight, held by `me`.
    pub(crate) fn take(
        &self,
        mem: &Memory,
        list: u32,
        anywhere: bool,
        me: Owner,
    ) -> Result<Option<u32>, Errno> {
        let others = if anywhere { self.lists } else { 1 };
        for step in 0..others {
            let list = (list + step) % self.lists;
            if let Some(slot) = self.take_from(mem, list, me)? {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    fn take_from(&self, mem: &Memory, list: u32, me: Owner) -> Result<Option<u32>, Errno> {
        let line = self.line(list);
        let (head, fresh) = (mem.u32(line + 8), mem.u32(line + 12));
        let end = mem.u32(line + 16).load(Relaxed);
        if head.load(Relaxed) == 0 && fresh.load(Relaxed) >= end {
            return Ok(None);
        }
        let _held = self.lock_list(mem, list, me)?;
        if let Some(slot) = self.checked(head.load(Relaxed)) {
            self.owner(mem, slot).store(me.0, Release);
            head.store(self.next(mem, slot).load(Relaxed), Release);
            self.count_free(mem, line, u32::MAX);
            return Ok(Some(slot));
        }
        let slot = fresh.load(Relaxed);
        if slot >= end || slot >= self.count {
            return Ok(None);
        }
        self.owner(mem, slot).store(me.0, Release);
        fresh.store(slot + 1, Release);
        Ok(Some(slot))
    }

    /// Gives a slot that `me` holds back to a list.
    pub(crate) fn give(&self, mem: &Memory, list: u32, slot: u32, me: Owner) -> Result<(), Errno> {
        let list = list % self.lists;
        let line = self.line(list);
        let _held = self.lock_list(mem, list, me)?;
        let head = mem.u32(line + 8);
        self.next(mem, slot).store(head.load(Relaxed), Relaxed);
        head.store(slot + 1, Release);
        self.count_free(mem, line, 1);
        self.owner(mem, slot).store(0, Release);
        Ok(())
    }

    /// Adds to the number of free slots of a list whose lock is held: nobody else writes it.
    fn count_free(&self, mem: &Memory, line: u64, more: u32) {
        let free = mem.u32(line + 20);
        free.store(free.load(Relaxed).wrapping_add(more), Relaxed);
    }

    fn lock_list<'m>(&self, mem: &'m Memory, list: u32, me: Owner) -> Result<Guard<'m>, Errno> {
        let line = self.line(list);
        let guard = Bias(mem).lock(mem.u64(line), me)?;
        if let Some(dead) = guard.dead {
            self.mend_list(mem, line, dead);
        }
        Ok(guard)
    }

    /// Unmarks what a dead holder of the list lock had marked and not yet taken, or given and not yet unmarked.
    fn mend_list(&self, mem: &Memory, line: u64, dead: Owner) {
        if let Some(slot) = self.checked(mem.u32(line + 8).load(Acquire)) {
            let _ = self.owner(mem, slot).compare_exchange(dead.0, 0, Release, Relaxed);
        }
        let mut free = 0;
        let mut at = self.checked(mem.u32(line + 8).load(Acquire));
        while let Some(slot) = at.filter(|_| free < self.count) {
            free += 1;
            at = self.checked(self.next(mem, slot).load(Relaxed));
        }
        mem.u32(line + 20).store(free, Relaxed);
    }

    /// Slots never used or on a free list.
    #[cfg(test)]
    pub(crate) fn free(&self, mem: &Memory) -> u64 {
        let of = |list: u32| {
            let line = self.line(list);
            let word = |off| mem.u32(line + off).load(Relaxed);
            u64::from(word(20)) + u64::from(word(16).saturating_sub(word(12)))
        };
        (0..self.lists).map(of).sum()
    }

    /// Takes over one slot that a dead thread held in flight, unless a search has been made just now. `mend` is called
    /// with the hash of a slot before the slot is judged and has to succeed a dead holder of its bucket's lock.
    pub(crate) fn reclaim(&self, mem: &Memory, me: Owner, mend: &dyn Fn(u32)) -> Result<Option<u32>, Errno> {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
        let now = now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000 + 1;
        let last = mem.u64(self.lines);
        let before = last.load(Relaxed);
        if before != 0 && now < before.saturating_add(RECLAIM_EVERY) {
            return Ok(None);
        }
        last.store(now, Relaxed);
        let mut found = None;
        for slot in 0..self.count {
            if self.reclaim_one(mem, slot, me, mend)? {
                match found {
                    None => found = Some(slot),
                    Some(_) => self.give(mem, slot, slot, me)?,
                }
            }
        }
        Ok(found)
    }

    /// Takes over a slot whose holder died.
    pub(crate) fn reclaim_one(
        &self,
        mem: &Memory,
        slot: u32,
        me: Owner,
        mend: &dyn Fn(u32),
    ) -> Result<bool, Errno> {
        let owner = self.owner(mem, slot);
        let held_by = owner.load(Acquire);
        if held_by == 0 || held_by == me.0 || !Owner(held_by).is_dead() {
            return Ok(false);
        }
        // The dead thread may have died inside a list or bucket operation: whoever takes those locks sorts that out.
        for list in 0..self.lists {
            drop(self.lock_list(mem, list, me)?);
        }
        mend(self.hash(mem, slot).load(Relaxed));
        Ok(owner.compare_exchange(held_by, me.0, Acquire, Relaxed).is_ok())
    }
}
