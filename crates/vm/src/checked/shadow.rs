//! The stack and what is known of each of its bytes: unset, data, part of a spilled pointer, part of a dynptr.
//!
//! All frames lie in one block, the outermost first; frame `n` spans bytes `n * 512 .. (n + 1) * 512`. A pointer keeps
//! its provenance only when it is stored whole into an aligned 8-byte slot and read back whole; any other write into
//! the slot turns what is left of it into data.

use crate::mem::Span;
use crate::region::{FRAME_BYTES, FRAMES, Prov};

/// What a byte of the stack holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Tag {
    Unset,
    Data,
    /// Only ever all eight bytes of a word.
    Pointer,
    Dynptr,
}

/// One in every byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;

impl Tag {
    /// The tag in every byte of a word.
    const fn word(self) -> u64 {
        self as u64 * ONES
    }
}

const BYTES: usize = FRAMES * FRAME_BYTES;
const WORDS: usize = BYTES / 8;

/// The stack of a machine with its shadow: a tag for each byte, eight in a word.
#[derive(Debug)]
pub(crate) struct Stack {
    memory: Box<[u64; WORDS]>,
    tags: Box<[u64; WORDS]>,
    spills: Box<[Prov; WORDS]>,
}

impl Stack {
    pub(crate) fn new() -> Stack {
        Stack {
            memory: Box::new([0; WORDS]),
            tags: Box::new([0; WORDS]),
            spills: Box::new([Prov::SCALAR; WORDS]),
        }
    }

    /// The memory of a frame.
    pub(crate) fn span(&mut self, frame: usize) -> Span {
        let base = self.memory.as_mut_ptr().expose_provenance() as u64;
        Span::declare(base + (frame * FRAME_BYTES) as u64, FRAME_BYTES as u64)
    }

    /// Every byte of a frame becomes unset.
    pub(crate) fn clear(&mut self, frame: usize) {
        self.tags[frame * FRAME_BYTES / 8..(frame + 1) * FRAME_BYTES / 8].fill(Tag::Unset.word());
    }

    /// First byte of `len` at `at` that has not been written. `at` counts from the bottom of the frame.
    #[inline]
    pub(crate) fn first_unset(&self, frame: usize, at: u64, len: u64) -> Option<u64> {
        for (word, mask) in words(frame, at, len) {
            let tags = self.tags.get(word)?;
            let unset = !(tags | tags >> 1) & ONES & mask;
            if unset != 0 {
                let byte = word as u64 * 8 + u64::from(unset.trailing_zeros() / 8);
                return Some(byte - (frame * FRAME_BYTES) as u64);
            }
        }
        None
    }

    /// Provenance of 8 bytes at `at`: that of the pointer spilled there, or a scalar's.
    #[inline]
    pub(crate) fn spilled(&self, frame: usize, at: u64) -> Prov {
        let word = (frame * FRAME_BYTES + at as usize) / 8;
        let whole = at.is_multiple_of(8) && self.tags.get(word) == Some(&Tag::Pointer.word());
        if whole { self.spills[word] } else { Prov::SCALAR }
    }

    /// Marks bytes as written with data.
    #[inline]
    pub(crate) fn wrote(&mut self, frame: usize, at: u64, len: u64) {
        self.mark(frame, at, len, Tag::Data);
    }

    /// Marks 8 bytes as a spilled pointer; as data when they are not one aligned slot.
    pub(crate) fn spill(&mut self, frame: usize, at: u64, prov: Prov) {
        let whole = at.is_multiple_of(8);
        self.mark(frame, at, 8, if whole { Tag::Pointer } else { Tag::Data });
        if whole && let Some(spill) = self.spills.get_mut((frame * FRAME_BYTES + at as usize) / 8) {
            *spill = prov;
        }
    }

    /// Marks a dynptr's 16 bytes.
    pub(crate) fn set_dynptr(&mut self, frame: usize, at: u64) {
        self.mark(frame, at, 16, Tag::Dynptr);
    }

    /// Forgets a dynptr: its bytes are unset.
    pub(crate) fn clear_dynptr(&mut self, frame: usize, at: u64) {
        self.mark(frame, at, 16, Tag::Unset);
    }

    /// Do the 16 bytes at `at` belong to dynptrs?
    pub(crate) fn is_dynptr(&self, frame: usize, at: u64) -> bool {
        words(frame, at, 16).all(|(w, mask)| self.dynptr_bytes(w) & mask == ONES & mask)
    }

    /// Does a write of `len` bytes at `at` hit a dynptr?
    #[inline]
    pub(crate) fn hits_dynptr(&self, frame: usize, at: u64, len: u64) -> bool {
        words(frame, at, len).any(|(w, mask)| self.dynptr_bytes(w) & mask != 0)
    }

    /// A one in every byte of a word that belongs to a dynptr.
    fn dynptr_bytes(&self, word: usize) -> u64 {
        let tags = self.tags.get(word).copied().unwrap_or(0);
        tags & tags >> 1 & ONES
    }

    #[inline]
    fn mark(&mut self, frame: usize, at: u64, len: u64, tag: Tag) {
        for (word, mask) in words(frame, at, len) {
            let Some(tags) = self.tags.get_mut(word) else { return };
            // A spill that loses a byte is a spill no more.
            if *tags == Tag::Pointer.word() {
                *tags = Tag::Data.word();
            }
            *tags = *tags & !mask | tag.word() & mask;
        }
    }
}

/// The words that `len` bytes at `at` of a frame touch, each with a mask of its bytes that are meant.
#[inline]
fn words(frame: usize, at: u64, len: u64) -> impl Iterator<Item = (usize, u64)> {
    let from = (frame * FRAME_BYTES) as u64 + at;
    let end = from + len;
    (from / 8..end.div_ceil(8)).map(move |word| {
        let (first, last) = (from.max(word * 8) - word * 8, end.min(word * 8 + 8) - word * 8);
        let upto = |n: u64| if n == 8 { u64::MAX } else { (1 << (8 * n)) - 1 };
        (word as usize, upto(last) & !upto(first))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Prov = Prov { slot: 20, age: 3 };

    #[test]
    fn spills_survive_whole_only() {
        let mut s = Stack::new();
        s.spill(1, 496, P);
        assert_eq!(s.spilled(1, 496), P);
        assert_eq!(s.first_unset(1, 488, 16), Some(488));
        s.wrote(1, 497, 1);
        assert_eq!(s.spilled(1, 496), Prov::SCALAR);
        assert_eq!(s.first_unset(1, 496, 8), None);
        s.spill(0, 3, P);
        assert_eq!(s.spilled(0, 3), Prov::SCALAR);
        s.clear(1);
        assert_eq!(s.first_unset(1, 496, 8), Some(496));
    }

    #[test]
    fn dynptrs_are_marked() {
        let mut s = Stack::new();
        s.set_dynptr(0, 0);
        assert!(s.is_dynptr(0, 0) && s.hits_dynptr(0, 15, 1) && !s.hits_dynptr(0, 16, 8));
        s.clear_dynptr(0, 0);
        assert_eq!(s.first_unset(0, 0, 16), Some(0));
    }
}
