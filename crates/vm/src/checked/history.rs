//! The last writes to each register: which instruction, and what value it left.

use crate::region::Val;

/// How many writes of each register are remembered.
pub(crate) const DEPTH: usize = 4;

/// One write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    pub(crate) pc: u32,
    /// Instructions left in the budget then: later writes have less.
    pub(crate) left: u64,
    pub(crate) val: Val,
}

const NONE: Write = Write { pc: u32::MAX, left: u64::MAX, val: Val::UNINIT };

/// The last writes, oldest first.
#[derive(Debug)]
pub(crate) struct History {
    rings: [[Write; DEPTH]; 11],
}

/// What [`History::save`] took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saved {
    rings: [[Write; DEPTH]; 4],
}

impl Default for History {
    fn default() -> History {
        History { rings: [[NONE; DEPTH]; 11] }
    }
}

impl History {
    pub(crate) fn note(&mut self, reg: usize, pc: usize, left: u64, val: Val) {
        let ring = &mut self.rings[reg];
        ring.copy_within(1.., 0);
        ring[DEPTH - 1] = Write { pc: pc as u32, left, val };
    }

    /// The rings of `r6` to `r9`, which a callee gives back.
    pub(crate) fn save(&self) -> Saved {
        Saved { rings: [self.rings[6], self.rings[7], self.rings[8], self.rings[9]] }
    }

    /// Puts them back.
    pub(crate) fn restore(&mut self, saved: &Saved) {
        self.rings[6..10].copy_from_slice(&saved.rings);
    }

    pub(crate) fn clear(&mut self) {
        *self = History::default();
    }

    /// The last write of a register before the moment when `left` instructions were left.
    pub(crate) fn before(&self, reg: usize, left: u64) -> Option<Write> {
        self.rings[reg].into_iter().rev().find(|w| w.pc != u32::MAX && w.left > left)
    }
}
