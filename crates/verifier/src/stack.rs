//! One frame's stack: slots in chunks that states share and copy when they are written.

use crate::shared::{Pool, Shared, Spare};
use crate::state::{MAX_STACK, Slot};
use std::cell::RefCell;
use std::ops::{Index, IndexMut};
use std::thread::LocalKey;

/// Slots of a chunk: what is copied at the first write after a branch.
const CHUNK: usize = 8;
const CHUNKS: usize = MAX_STACK as usize / 8 / CHUNK;

type Chunk = [Slot; CHUNK];

thread_local! {
    static POOL: Pool<Chunk> = const { RefCell::new(Vec::new()) };
}

impl Spare for Chunk {
    const MOST: usize = 512;

    fn pool() -> &'static LocalKey<Pool<Self>> {
        &POOL
    }

    fn clear(&mut self) {
        *self = [const { Slot::EMPTY }; CHUNK];
    }

    #[inline]
    fn copy_from(&mut self, other: &Self) {
        self.clone_from_slice(other);
    }
}

/// Slots from the top of the frame downwards: slot 0 is bytes -8 to -1. Grows as the frame is used; indexing beyond what
/// is there panics.
#[derive(Clone, Debug)]
pub struct Stack {
    chunks: [Shared<Chunk>; CHUNKS],
    len: usize,
}

impl Default for Stack {
    fn default() -> Stack {
        Stack { chunks: [const { Shared::none() }; CHUNKS], len: 0 }
    }
}

impl Stack {
    /// Slots that there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// None at all?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes room for slots up to this depth in bytes; new ones are empty.
    pub fn grow(&mut self, bytes: i64) {
        let slots = (bytes.clamp(0, MAX_STACK) as usize).div_ceil(8);
        self.len = self.len.max(slots);
        let chunks = self.chunks.iter_mut().take(slots.div_ceil(CHUNK));
        for c in chunks.filter(|c| Shared::get(c).is_none()) {
            *c = Shared::fresh([const { Slot::EMPTY }; CHUNK]);
        }
    }

    #[inline]
    fn chunk(&self, i: usize) -> &[Slot] {
        match Shared::get(&self.chunks[i]) {
            Some(c) => &c[..CHUNK.min(self.len - i * CHUNK)],
            None => &[],
        }
    }

    /// A slot.
    #[inline]
    pub fn get(&self, i: usize) -> Option<&Slot> {
        let c = Shared::get(self.chunks.get(i / CHUNK)?)?;
        if i < self.len { Some(&c[i % CHUNK]) } else { None }
    }

    /// A slot, to be written.
    #[inline]
    pub fn get_mut(&mut self, i: usize) -> Option<&mut Slot> {
        let inside = i < self.len;
        let c = self.chunks.get_mut(i / CHUNK).filter(|c| inside && Shared::get(c).is_some())?;
        Some(&mut Shared::make_mut(c)[i % CHUNK])
    }

    /// All slots.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        (0..self.len.div_ceil(CHUNK)).flat_map(|i| self.chunk(i))
    }

    /// Changes the slots for which `wanted` holds; what holds none of them stays shared.
    pub fn change(&mut self, wanted: impl Fn(usize, &Slot) -> bool, mut f: impl FnMut(usize, &mut Slot)) {
        for n in 0..self.len.div_ceil(CHUNK) {
            let picked = |i: &usize| wanted(n * CHUNK + i, &self.chunk(n)[*i]);
            let hits = (0..self.chunk(n).len()).filter(picked).fold(0u32, |set, i| set | 1 << i);
            if hits == 0 {
                continue;
            }
            let c = Shared::make_mut(&mut self.chunks[n]);
            (0..CHUNK).filter(|i| hits >> i & 1 == 1).for_each(|i| f(n * CHUNK + i, &mut c[i]));
        }
    }

    /// Chunks of slots, the topmost first; whole but for the last.
    #[inline]
    pub fn chunks(&self) -> impl Iterator<Item = &[Slot]> {
        (0..self.len.div_ceil(CHUNK)).map(|i| self.chunk(i))
    }

    /// Slots of a chunk.
    pub const CHUNK: usize = CHUNK;

    /// Is the slot the very same in memory?
    #[inline]
    pub fn shares(&self, other: &Stack, i: usize) -> bool {
        Shared::same(&self.chunks[i / CHUNK], &other.chunks[i / CHUNK])
    }
}

impl Index<usize> for Stack {
    type Output = Slot;

    #[inline]
    fn index(&self, i: usize) -> &Slot {
        self.get(i).expect("callers have grown the stack to this slot")
    }
}

impl IndexMut<usize> for Stack {
    #[inline]
    fn index_mut(&mut self, i: usize) -> &mut Slot {
        self.get_mut(i).expect("callers have grown the stack to this slot")
    }
}
