//! The hash table that all hash maps are made of: 64-byte buckets of tags and slot numbers over a slab of slots.
//!
//! **Bucket** (64 bytes, one cache line): `lock u64, changes u16, value_changes u16, chain u32, tags [u16; 8], slots [u32; 8]`.
//! A place is in use when its tag is not 0; a ninth entry and those after it hang on `chain`, linked through the slots.
//!
//! **Look-ups** take no lock: tags are compared eight at a time, then the key in the slot. `changes` counts the entries
//! unlinked from the bucket; it moves before an unlinked slot can be used again. A key of one word cannot be read torn, so
//! a hit on it needs no more; longer keys and walks along a chain are believed if `changes` did not move meanwhile: then no
//! slot of this bucket was reused. A stopped writer stops no reader. After [`TRIES`] disturbed rounds a look-up takes what it sees.
//! `value_changes` is odd while a value of more than one word is being replaced, for those who copy whole values.
//!
//! **Writers** lock the bucket with a word that names them. An entry is linked by the store of its tag (or chain link) and
//! unlinked by clearing it; everything before that store is invisible. Who succeeds a dead holder moves the counters on and
//! takes the dead holder's mark off slots that are linked; a slot that it held unlinked is found by [`Slab::reclaim`].
//! A value that the dead holder was copying may be half new: as with any program killed in the middle of a store.
//!
//! **Deleted entries**: a slot is reused at once, as in the kernel's preallocated maps. A program that still holds the
//! address of a deleted value reads and writes whatever entry lives there next; memory safety is never at stake.
//! An update of an existing entry writes in place (the kernel swaps in another element), so addresses stay.
//!
//! Lock order: a bucket, then a free list. Never two buckets.

use crate::bias::Bias;
use crate::hasher::Seed;
use crate::lock::Guard;
use crate::mem::Memory;
use crate::owner::Owner;
use crate::slab::{SLOT_HEADER, Slab};
use skep_platform::Errno;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU16, fence};

/// Bytes of a bucket.
pub(crate) const BUCKET: u64 = 64;
const PLACES: u64 = 8;
/// Rounds of a look-up that is disturbed by writers before it takes what it sees.
const TRIES: u32 = 200;

/// Where buckets and slots are; the same in every process that maps the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Htab {
    /// Offset of bucket 0.
    pub(crate) buckets: u64,
    /// Number of buckets minus 1; a power of two minus 1.
    pub(crate) mask: u32,
    /// The slots.
    pub(crate) slab: Slab,
    /// Bytes of a key.
    pub(crate) key_size: u32,
    /// Key of the hash.
    pub(crate) seed: Seed,
}

/// A look-up during which entries of its bucket were unlinked.
struct Disturbed;

/// Where an entry hangs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    /// In this place of the bucket.
    Place(u64),
    /// First on the chain.
    Chain,
    /// On the chain, after this slot.
    After(u32),
}

/// A key with its hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashed<'k> {
    pub(crate) key: &'k [u8],
    pub(crate) hash: u64,
}

impl Hashed<'_> {
    #[inline(always)]
    fn tag(&self) -> u16 {
        tag_of(self.hash)
    }
}

/// Top 16 bits of the hash; 0 means "free", so it is moved to 1.
#[inline(always)]
pub(crate) fn tag_of(hash: u64) -> u16 {
    ((hash >> 48) as u16).max(1)
}

/// The top bit of each 16-bit lane of `lanes` that may equal `tag`: no lane that does is missed, and the lowest one set
/// is right.
#[inline(always)]
pub(crate) fn matching(lanes: u64, tag: u16) -> u64 {
    const ONES: u64 = 0x0001_0001_0001_0001;
    let diff = lanes ^ (ONES * u64::from(tag));
    diff.wrapping_sub(ONES) & !diff & (ONES << 15)
}

/// Place of a bit in the matches of both halves of the tags, those of the second half shifted right by one.
#[inline(always)]
pub(crate) fn place_of(bit: u32) -> u64 {
    u64::from(bit >> 4 | (!bit & 1) << 2)
}

impl Htab {
    /// Number of buckets for so many entries: four entries a bucket or fewer when full.
    pub(crate) fn buckets_for(entries: u32) -> u64 {
        u64::from(entries.div_ceil(4)).next_power_of_two()
    }

    /// The key with its hash.
    #[inline(always)]
    pub(crate) fn hashed<'k>(&self, key: &'k [u8]) -> Hashed<'k> {
        Hashed { key, hash: self.seed.hash(key) }
    }

    /// Offset of the key in a slot.
    #[inline(always)]
    pub(crate) fn key_at(&self, slot: u32) -> u64 {
        self.slab.at(slot) + SLOT_HEADER
    }

    #[inline(always)]
    fn bucket(&self, hash: u32) -> u64 {
        self.buckets + u64::from(hash & self.mask) * BUCKET
    }

    /// The slot of a key. Takes no lock.
    #[inline(always)]
    pub(crate) fn find(&self, mem: &Memory, key: Hashed<'_>) -> Option<u32> {
        match self.find_once(mem, key) {
            Ok(found) => found,
            Err(Disturbed) => self.find_again(mem, key),
        }
    }

    #[inline(always)]
    fn find_once(&self, mem: &Memory, key: Hashed<'_>) -> Result<Option<u32>, Disturbed> {
        let bucket = self.bucket(key.hash as u32);
        let changes = mem.u16(bucket + 8).load(Acquire);
        let found = self.scan(mem, bucket, key);
        let certain = match found {
            Some((_, Link::Place(_))) => key.key.len() <= 8,
            Some(_) => false,
            None => mem.u32(bucket + 12).load(Acquire) == 0,
        };
        fence(Acquire);
        if certain || mem.u16(bucket + 8).load(Relaxed) == changes {
            return Ok(found.map(|f| f.0));
        }
        Err(Disturbed)
    }

    #[cold]
    #[inline(never)]
    fn find_again(&self, mem: &Memory, key: Hashed<'_>) -> Option<u32> {
        let tried = (0..TRIES).find_map(|_| self.find_once(mem, key).ok());
        tried.unwrap_or_else(|| self.scan(mem, self.bucket(key.hash as u32), key).map(|f| f.0))
    }

    /// Looks through places and chain once.
    #[inline(always)]
    fn scan(&self, mem: &Memory, bucket: u64, key: Hashed<'_>) -> Option<(u32, Link)> {
        // Both halves in one word: which half an entry is in must not cost a branch.
        let low = matching(mem.u64(bucket + 16).load(Acquire), key.tag());
        let mut hits = low | matching(mem.u64(bucket + 24).load(Acquire), key.tag()) >> 1;
        while hits != 0 {
            let place = place_of(hits.trailing_zeros());
            let slot = mem.u32(bucket + 32 + place * 4).load(Acquire);
            if slot < self.slab.count && mem.equals(self.key_at(slot), key.key) {
                return Some((slot, Link::Place(place)));
            }
            hits &= hits - 1;
        }
        match mem.u32(bucket + 12).load(Acquire) {
            0 => None,
            _ => self.scan_chain(mem, bucket, key),
        }
    }

    #[cold]
    #[inline(never)]
    fn scan_chain(&self, mem: &Memory, bucket: u64, key: Hashed<'_>) -> Option<(u32, Link)> {
        let wanted = |slot: u32| {
            self.slab.hash(mem, slot).load(Relaxed) == key.hash as u32
                && mem.equals(self.key_at(slot), key.key)
        };
        self.chain(mem, bucket).find(|(slot, _)| wanted(*slot))
    }

    /// Slots on the chain and what they hang on; as many as there are slots at most, whatever the links say.
    fn chain<'m>(&self, mem: &'m Memory, bucket: u64) -> impl Iterator<Item = (u32, Link)> + 'm {
        let slab = self.slab;
        let mut link = Link::Chain;
        let mut next = slab.checked(mem.u32(bucket + 12).load(Acquire));
        let mut left = slab.count;
        std::iter::from_fn(move || {
            let slot = next.filter(|_| left > 0)?;
            left -= 1;
            let item = (slot, link);
            link = Link::After(slot);
            next = slab.checked(slab.next(mem, slot).load(Acquire));
            Some(item)
        })
    }

    /// Slots of a bucket in iteration order, as a reader sees them that takes no lock.
    pub(crate) fn entries(&self, mem: &Memory, bucket: u32, out: &mut Vec<u32>) {
        let bucket = self.bucket(bucket);
        for _ in 0..TRIES {
            out.clear();
            let changes = mem.u16(bucket + 8).load(Acquire);
            out.extend(self.linked(mem, bucket).map(|(slot, _)| slot));
            fence(Acquire);
            if mem.u16(bucket + 8).load(Relaxed) == changes {
                return;
            }
        }
    }

    fn linked<'m>(&self, mem: &'m Memory, bucket: u64) -> impl Iterator<Item = (u32, Link)> + 'm {
        let count = self.slab.count;
        let placed = (0..PLACES).filter_map(move |place| {
            let used = mem.u16(bucket + 16 + place * 2).load(Acquire) != 0;
            let slot = mem.u32(bucket + 32 + place * 4).load(Acquire);
            (used && slot < count).then_some((slot, Link::Place(place)))
        });
        placed.chain(self.chain(mem, bucket))
    }

    /// Number of buckets.
    pub(crate) fn bucket_count(&self) -> u64 {
        u64::from(self.mask) + 1
    }

    /// Number of the bucket of a hash.
    pub(crate) fn bucket_of(&self, hash: u64) -> u32 {
        hash as u32 & self.mask
    }

    /// Number of entries. Cost: a pass over all buckets.
    #[cfg(test)]
    pub(crate) fn len(&self, mem: &Memory) -> u64 {
        (0..=self.mask).map(|b| self.linked(mem, self.bucket(b)).count() as u64).sum()
    }

    /// Locks the bucket of a hash, mending what a dead holder left.
    #[inline]
    pub(crate) fn lock<'m>(&self, mem: &'m Memory, hash: u32, me: Owner) -> Result<Locked<'m>, Errno> {
        let at = self.bucket(hash);
        let guard = Bias(mem).lock(mem.u64(at), me)?;
        if let Some(dead) = guard.dead {
            self.mend(mem, at, dead);
        }
        Ok(Locked { tab: *self, mem, at, me, _guard: guard })
    }

    /// Makes the bucket whole that `dead` held.
    #[cold]
    fn mend(&self, mem: &Memory, bucket: u64, dead: Owner) {
        advance(mem.u16(bucket + 8), 1);
        let values = mem.u16(bucket + 10);
        advance(values, values.load(Relaxed) & 1);
        for (slot, _) in self.linked(mem, bucket) {
            let _ = self.slab.owner(mem, slot).compare_exchange(dead.0, 0, Release, Relaxed);
        }
    }

    /// Finds a key and lets `copy` copy its values out: again while an update, or the entry's removal, disturbs it, and at
    /// last with the bucket locked. Whether the key is there.
    pub(crate) fn read_entry(&self, mem: &Memory, key: Hashed<'_>, copy: &mut dyn FnMut(u32)) -> bool {
        let bucket = self.bucket(key.hash as u32);
        let counters = [mem.u16(bucket + 8), mem.u16(bucket + 10)];
        for _ in 0..TRIES {
            let before = counters.map(|c| c.load(Acquire));
            let Some(slot) = self.find(mem, key) else { return false };
            copy(slot);
            fence(Acquire);
            if before[1] & 1 == 0 && counters.map(|c| c.load(Relaxed)) == before {
                return true;
            }
            std::hint::spin_loop();
        }
        // A lock that cannot be had means that its holder is stuck: then what is there has to do.
        let _held = self.lock(mem, key.hash as u32, Owner::me());
        self.find(mem, key).map(copy).is_some()
    }
}

/// A bucket held by this thread.
pub(crate) struct Locked<'m> {
    tab: Htab,
    mem: &'m Memory,
    at: u64,
    me: Owner,
    _guard: Guard<'m>,
}

/// Moves a counter that only the holder of the bucket writes.
#[inline]
fn advance(counter: &AtomicU16, by: u16) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Release);
}

impl Locked<'_> {
    /// The slot of a key in this bucket.
    #[inline]
    pub(crate) fn find(&self, key: Hashed<'_>) -> Option<u32> {
        self.tab.scan(self.mem, self.at, key).map(|f| f.0)
    }

    /// Runs `write`, which changes values of this bucket, so that readers of whole values notice.
    #[inline]
    pub(crate) fn write_value(&self, write: impl FnOnce()) {
        let counter = self.mem.u16(self.at + 10);
        advance(counter, 1);
        fence(Release);
        write();
        advance(counter, 1);
    }

    /// Links a slot in flight, whose value is written, under `key`.
    pub(crate) fn insert(&self, key: Hashed<'_>, slot: u32) {
        let (mem, slab) = (self.mem, &self.tab.slab);
        // Whoever reads a word of the new key also sees that the slot was unlinked from where it was.
        fence(Release);
        slab.hash(mem, slot).store(key.hash as u32, Relaxed);
        mem.write(self.tab.key_at(slot), key.key);
        let free = (0..PLACES).find(|p| mem.u16(self.at + 16 + p * 2).load(Relaxed) == 0);
        match free {
            Some(place) => {
                mem.u32(self.at + 32 + place * 4).store(slot, Release);
                mem.u16(self.at + 16 + place * 2).store(key.tag(), Release);
            }
            None => {
                let chain = mem.u32(self.at + 12);
                slab.next(mem, slot).store(chain.load(Relaxed), Relaxed);
                chain.store(slot + 1, Release);
            }
        }
        slab.owner(mem, slot).store(0, Release);
    }

    /// Unlinks the entry of a key; its slot is then in flight.
    pub(crate) fn remove(&self, key: Hashed<'_>) -> Option<u32> {
        let (slot, link) = self.tab.scan(self.mem, self.at, key)?;
        self.unlink(slot, link);
        Some(slot)
    }

    /// Unlinks a slot if it is linked in this bucket; it is then in flight.
    pub(crate) fn remove_slot(&self, slot: u32) -> bool {
        let found = self.tab.linked(self.mem, self.at).find(|(s, _)| *s == slot);
        if let Some((slot, link)) = found {
            self.unlink(slot, link);
        }
        found.is_some()
    }

    fn unlink(&self, slot: u32, link: Link) {
        let (mem, slab) = (self.mem, &self.tab.slab);
        slab.owner(mem, slot).store(self.me.0, Release);
        let next = slab.next(mem, slot).load(Relaxed);
        match link {
            Link::Place(place) => mem.u16(self.at + 16 + place * 2).store(0, Release),
            Link::Chain => mem.u32(self.at + 12).store(next, Release),
            Link::After(before) => slab.next(mem, before).store(next, Release),
        }
        advance(mem.u16(self.at + 8), 1);
    }
}
