//! Equal things have one number: a table from the hashes of things to their places in a list. The things themselves stay in
//! the list; hashes are of keys of our own making, bounded by the length of the expression.

/// Slots from the start, and of a table that is kept for another compilation at most. A power of two.
const SLOTS: usize = 64;
const KEPT: usize = 1024;

/// An open-addressed table: hash in the upper half of a slot, number and one in the lower.
#[derive(Default)]
pub(super) struct Index {
    slots: Vec<u64>,
    used: usize,
}

impl Index {
    /// Forgets all.
    pub(super) fn clear(&mut self) {
        if self.slots.len() > KEPT {
            self.slots = Vec::new();
        }
        if self.used > 0 {
            self.slots.fill(0);
            self.used = 0;
        }
    }

    /// The number of what has this hash and `is` the same; `next` from now on where there is none.
    #[inline]
    pub(super) fn find_or_put(&mut self, hash: u32, next: u32, is: impl Fn(u32) -> bool) -> u32 {
        if self.used * 2 >= self.slots.len() {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                self.slots[at] = u64::from(hash) << 32 | u64::from(next + 1);
                self.used += 1;
                return next;
            }
            let number = slot as u32 - 1;
            if (slot >> 32) as u32 == hash && is(number) {
                return number;
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let room = (self.slots.len() * 2).max(SLOTS);
        let old = std::mem::replace(&mut self.slots, vec![0; room]);
        for slot in old.into_iter().filter(|s| *s != 0) {
            let mut at = (slot >> 32) as usize & (room - 1);
            while self.slots[at] != 0 {
                at = (at + 1) & (room - 1);
            }
            self.slots[at] = slot;
        }
    }
}

/// A hash of one number more.
pub(super) fn mix(hash: u32, n: u32) -> u32 {
    let mixed = (u64::from(hash) << 32 | u64::from(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32 ^ mixed as u32
}
