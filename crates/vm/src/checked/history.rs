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

const NONE: Write = Write { pc: 0, left: 0, val: Val::UNINIT };

/// The last writes of one register.
#[derive(Clone, Copy, Debug)]
struct Ring {
    writes: [Write; DEPTH],
    /// Writes since the beginning, wrapping; the ring holds the last of them.
    count: u32,
}

/// Rings of the last writes.
#[derive(Debug)]
pub(crate) struct History {
    rings: [Ring; 11],
}

/// What [`History::save`] took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saved {
    rings: [Ring; 4],
}

impl Default for History {
    fn default() -> History {
        History { rings: [Ring { writes: [NONE; DEPTH], count: 0 }; 11] }
    }
}

impl History {
    #[inline]
    pub(crate) fn note(&mut self, reg: usize, pc: usize, left: u64, val: Val) {
        let ring = &mut self.rings[reg];
        ring.writes[ring.count as usize % DEPTH] = Write { pc: pc as u32, left, val };
        ring.count = ring.count.wrapping_add(1);
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
        for ring in &mut self.rings {
            ring.count = 0;
        }
    }

    /// The last write of a register before the moment when `left` instructions were left.
    pub(crate) fn before(&self, reg: usize, left: u64) -> Option<Write> {
        let ring = &self.rings[reg];
        let held = (ring.count as usize).min(DEPTH);
        let newest_first =
            (1..=held).map(|back| ring.writes[ring.count.wrapping_sub(back as u32) as usize % DEPTH]);
        newest_first.into_iter().find(|w| w.left > left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_write_before_a_moment() {
        let mut h = History::default();
        for pc in 0..6 {
            h.note(3, pc, 100 - pc as u64, Val::scalar(pc as u64));
        }
        let at = |left| h.before(3, left).map(|w| w.pc);
        assert_eq!((at(0), at(95), at(96), at(97), at(98)), (Some(5), Some(4), Some(3), Some(2), None));
        let saved = h.save();
        h.note(6, 1, 50, Val::scalar(0));
        h.restore(&saved);
        assert!(h.before(6, 0).is_none());
        h.clear();
        assert!(h.before(3, 0).is_none());
    }
}
