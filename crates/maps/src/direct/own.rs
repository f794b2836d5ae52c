//! New entries and removals in a hash map that the calling thread alone writes: what `hashmap`, `htab` and `slab` do, by a thread that
//! is inside of the map ([`crate::bias::enter`]) all the while instead of taking and giving back a lock for each part.
//!
//! Lock words are written all the same, in the same order, by plain stores: who finds this thread dead finds what it left half-done
//! where those modules look for it. They do whatever is not the usual case: a lock that a dead thread has, a slot in flight, a map
//! that is full.
//!
//! Always holds: the table is a living map's, all of which lies in its mapping and is aligned; numbers of slots that are read are
//! compared with the number of slots.

use super::{LRU, Table, copy_words, pointer};
use crate::htab::{BUCKET, matching, place_of, tag_of};
use crate::owner::Owner;
use crate::slab::SLOT_HEADER;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, compiler_fence, fence};

/// Slots that the hand looks at before the search is left to `hashmap`.
const TURNS: u32 = 64;

/// An entry that was found: its slot, the slot's number and its place in the bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) slot: u64,
    pub(super) number: u64,
    pub(super) place: u64,
}

/// A word of the map.
///
/// # Safety
/// Here and below: the address is one of a living map's mapping, aligned.
#[inline(always)]
unsafe fn word<'m>(at: u64) -> &'m AtomicU64 {
    // SAFETY: the caller's promise.
    unsafe { AtomicU64::from_ptr(pointer(at)) }
}

#[inline(always)]
unsafe fn half<'m>(at: u64) -> &'m AtomicU32 {
    // SAFETY: the caller's promise.
    unsafe { AtomicU32::from_ptr(pointer(at)) }
}

/// Writes a lock's word, before what it guards is touched.
#[inline(always)]
fn hold(lock: &AtomicU64, me: Owner) {
    lock.store(me.0, Relaxed);
    compiler_fence(SeqCst);
}

/// Adds an entry of a key that is in no place of its bucket, with a value of whole words; `false` where nothing was done.
///
/// # Safety
/// As `hash_update`; the thread is inside of the map, and has no lock of it.
#[inline(never)]
pub(super) unsafe fn add<const KIND: u8>(
    t: &Table,
    hash: u64,
    key: &[u64],
    value: u64,
    cpu: u64,
    me: Owner,
) -> bool {
    // SAFETY: buckets, slots and lists of the table, see above; the value has the table's words.
    unsafe {
        let bucket = t.bucket(hash);
        let (lock, chain) = (word(bucket), half(bucket + 12));
        if t.lists == 0
            || lock.load(Relaxed) != 0
            || chain.load(Relaxed) != 0 && !absent(t, bucket, hash, key)
        {
            return false;
        }
        let number = match take(t, cpu as u32, me) {
            Ok(None) if KIND == LRU => evict(t, me),
            taken => taken.ok().flatten(),
        };
        let Some(number) = number else { return false };
        let slot = t.slots + number * t.stride;
        hold(lock, me);
        // Whoever reads a word of the new entry also sees that the slot was unlinked from where it was.
        fence(Release);
        copy_words(slot + SLOT_HEADER + key.len() as u64 * 8, value, t.value_words);
        half(slot + 12).store(hash as u32, Relaxed);
        for (at, part) in (slot + SLOT_HEADER..).step_by(8).zip(key) {
            word(at).store(*part, Relaxed);
        }
        match room(bucket) {
            Some(place) => {
                half(bucket + 32 + place * 4).store(number as u32, Release);
                // The whole word: look-ups load it whole, and need not wait for a part of it.
                let (tags, shift) = tag_at(bucket, place);
                tags.store(tags.load(Relaxed) | u64::from(tag_of(hash)) << shift, Release);
            }
            None => {
                half(slot + 8).store(chain.load(Relaxed), Relaxed);
                chain.store(number as u32 + 1, Release);
            }
        }
        if KIND == LRU {
            AtomicU8::from_ptr(pointer(t.used + number)).store(0, Relaxed);
        }
        word(slot).store(0, Release);
        lock.store(0, Release);
        true
    }
}

/// A free place of a bucket.
///
/// # Safety
/// The bucket is one of a living map's.
#[inline(always)]
unsafe fn room(bucket: u64) -> Option<u64> {
    // SAFETY: the caller's promise.
    let [low, high] = [16, 24].map(|at| matching(unsafe { word(bucket + at) }.load(Relaxed), 0));
    let free = low | high >> 1;
    (free != 0).then(|| place_of(free.trailing_zeros()))
}

/// The word that has the tag of a place, and how far up.
///
/// # Safety
/// The bucket is one of a living map's, the place one of eight.
#[inline(always)]
unsafe fn tag_at<'m>(bucket: u64, place: u64) -> (&'m AtomicU64, u64) {
    // SAFETY: the caller's promise.
    (unsafe { word(bucket + 16 + place / 4 * 8) }, place % 4 * 16)
}

/// Whether a key is certainly not on the chain of its bucket.
///
/// # Safety
/// As [`add`].
#[cold]
unsafe fn absent(t: &Table, bucket: u64, hash: u64, key: &[u64]) -> bool {
    // SAFETY: slots whose numbers were compared.
    unsafe {
        let mut next = half(bucket + 12).load(Relaxed);
        for _ in 0..t.count {
            let number = next.wrapping_sub(1);
            if number >= t.count {
                return next == 0;
            }
            let slot = t.slots + u64::from(number) * t.stride;
            let same = |(at, part): (u64, &u64)| word(at).load(Relaxed) == *part;
            if half(slot + 12).load(Relaxed) == hash as u32
                && (slot + SLOT_HEADER..).step_by(8).zip(key).all(same)
            {
                return false;
            }
            next = half(slot + 8).load(Relaxed);
        }
        false
    }
}

/// Address of the word by which a slot hangs on the chain of a bucket.
///
/// # Safety
/// As [`add`].
#[cold]
unsafe fn hangs_on(t: &Table, bucket: u64, number: u32) -> Option<u64> {
    let mut link = bucket + 12;
    for _ in 0..t.count {
        // SAFETY: the bucket's own word, and those of slots whose numbers were compared.
        let next = unsafe { half(link) }.load(Relaxed).wrapping_sub(1);
        if next == number {
            return Some(link);
        }
        if next >= t.count {
            return None;
        }
        link = t.slots + u64::from(next) * t.stride + 8;
    }
    None
}

/// What a dead thread was doing comes first, which is not done here.
struct Held;

/// Takes a slot out of the CPU's list, or out of the next one that has any.
///
/// # Safety
/// As [`add`].
#[inline(always)]
unsafe fn take(t: &Table, cpu: u32, me: Owner) -> Result<Option<u64>, Held> {
    let first = t.list(cpu);
    for list in (first..t.lists).chain(0..first) {
        // SAFETY: the caller's promise; there is such a list.
        if let Some(number) = unsafe { take_from(t, list, me) }? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// # Safety
/// As [`add`]; there is such a list.
#[inline(always)]
unsafe fn take_from(t: &Table, list: u32, me: Owner) -> Result<Option<u64>, Held> {
    // SAFETY: the line of a list of the map, and a slot whose number was compared.
    unsafe {
        let line = t.line(list);
        let (lock, head, fresh) = (word(line), half(line + 8), half(line + 12));
        if lock.load(Relaxed) != 0 {
            return Err(Held);
        }
        let listed = head.load(Relaxed).wrapping_sub(1);
        if listed < t.count {
            let slot = t.slots + u64::from(listed) * t.stride;
            hold(lock, me);
            word(slot).store(me.0, Release);
            head.store(half(slot + 8).load(Relaxed), Release);
            let free = half(line + 20);
            free.store(free.load(Relaxed).wrapping_sub(1), Relaxed);
            lock.store(0, Release);
            return Ok(Some(listed.into()));
        }
        let next = fresh.load(Relaxed);
        if next >= half(line + 16).load(Relaxed).min(t.count) {
            return Ok(None);
        }
        hold(lock, me);
        word(t.slots + u64::from(next) * t.stride).store(me.0, Release);
        fresh.store(next + 1, Release);
        lock.store(0, Release);
        Ok(Some(next.into()))
    }
}

/// Unlinks the first entry under the hand that was not used lately: its slot is in flight.
///
/// # Safety
/// As [`add`], in a map that drops least recently used entries.
#[inline(always)]
unsafe fn evict(t: &Table, me: Owner) -> Option<u64> {
    // SAFETY: the hand, slots below the number of slots, their used-lately bytes and buckets of the table.
    unsafe {
        let hand = half(t.hand);
        for _ in 0..TURNS {
            let turn = hand.load(Relaxed);
            hand.store(turn.wrapping_add(1), Relaxed);
            let number = turn.checked_rem(t.count)?;
            let slot = t.slots + u64::from(number) * t.stride;
            if word(slot).load(Acquire) != 0 {
                hand.store(turn, Relaxed);
                return None;
            }
            let used = AtomicU8::from_ptr(pointer(t.used + u64::from(number)));
            if used.load(Relaxed) != 0 {
                used.store(0, Relaxed);
                continue;
            }
            let bucket = t.bucket(half(slot + 12).load(Relaxed).into());
            let lock = word(bucket);
            if lock.load(Relaxed) != 0 {
                hand.store(turn, Relaxed);
                return None;
            }
            // Without a branch for each place: nobody can tell which one it is.
            let here = |place: u64| half(bucket + 32 + place * 4).load(Relaxed) == number;
            let mut places = (0..8).fold(0, |places, place| places | u32::from(here(place)) << place);
            while places != 0 {
                let place = u64::from(places.trailing_zeros());
                let (tags, shift) = tag_at(bucket, place);
                if tags.load(Relaxed) >> shift & 0xffff != 0 {
                    hold(lock, me);
                    unlink(bucket, slot, place, me);
                    lock.store(0, Release);
                    return Some(number.into());
                }
                places &= places - 1;
            }
            if half(bucket + 12).load(Relaxed) != 0
                && let Some(link) = hangs_on(t, bucket, number)
            {
                hold(lock, me);
                word(slot).store(me.0, Release);
                half(link).store(half(slot + 8).load(Relaxed), Release);
                changed(bucket);
                lock.store(0, Release);
                return Some(number.into());
            }
        }
        None
    }
}

/// Takes an entry out of its bucket, whose lock is held; its slot is then in flight.
///
/// # Safety
/// The slot is linked in that place of the bucket of a living map.
#[inline(always)]
unsafe fn unlink(bucket: u64, slot: u64, place: u64, me: Owner) {
    // SAFETY: the caller's promise.
    unsafe {
        word(slot).store(me.0, Release);
        let (tags, shift) = tag_at(bucket, place);
        tags.store(tags.load(Relaxed) & !(0xffff << shift), Release);
        changed(bucket);
    }
}

/// Says that an entry of a bucket was unlinked.
///
/// # Safety
/// The bucket is one of a living map's.
#[inline(always)]
unsafe fn changed(bucket: u64) {
    // SAFETY: the caller's promise.
    let changes = unsafe { AtomicU16::from_ptr(pointer(bucket + 8)) };
    changes.store(changes.load(Relaxed).wrapping_add(1), Release);
}

/// Removes an entry that was found in a place of its bucket, and gives its slot to the CPU's list; `false` where nothing was done.
///
/// # Safety
/// The thread is inside of the map, and has no lock of it; the entry is linked.
#[inline(always)]
pub(super) unsafe fn remove(t: &Table, bucket: u64, entry: Found, cpu: u64, me: Owner) -> bool {
    if t.lists == 0 {
        return false;
    }
    // SAFETY: the caller's promise; the line is one of the map's, which has lists.
    unsafe {
        let line = t.line(t.list(cpu as u32));
        let (lock, list) = (word(bucket), word(line));
        if lock.load(Relaxed) != 0 || list.load(Relaxed) != 0 {
            return false;
        }
        hold(lock, me);
        unlink(bucket, entry.slot, entry.place, me);
        hold(list, me);
        let (head, free) = (half(line + 8), half(line + 20));
        half(entry.slot + 8).store(head.load(Relaxed), Relaxed);
        head.store(entry.number as u32 + 1, Release);
        free.store(free.load(Relaxed).wrapping_add(1), Relaxed);
        word(entry.slot).store(0, Release);
        list.store(0, Release);
        lock.store(0, Release);
        true
    }
}

impl Table {
    /// Address of a hash's bucket.
    #[inline(always)]
    pub(super) fn bucket(&self, hash: u64) -> u64 {
        self.buckets + u64::from(hash as u32 & self.mask) * BUCKET
    }

    /// The list that a CPU uses first.
    #[inline(always)]
    fn list(&self, cpu: u32) -> u32 {
        if cpu < self.lists { cpu } else { cpu.checked_rem(self.lists).unwrap_or(0) }
    }

    /// Address of a list's line.
    #[inline(always)]
    fn line(&self, list: u32) -> u64 {
        self.lines + (1 + u64::from(list)) * 64
    }
}
