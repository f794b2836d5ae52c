//! The stack and what is known of each of its bytes: unset, data, part of a spilled pointer, part of a dynptr.
//!
//! Every frame has a block of its own, made when it is first needed and kept for later runs; offsets count from the
//! bottom of the frame. A pointer keeps its provenance only when it is stored whole into an aligned 8-byte slot and read
//! back whole; any other write into the slot turns what is left of it into data.

use crate::mem::Span;
use crate::region::{FRAME_BYTES, Prov};

/// What a byte of the stack holds. Bit 0: set; bits 0 and 1: dynptr; bit 2: its second half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Tag {
    Unset = 0,
    Data = 1,
    /// Only ever all eight bytes of a word.
    Pointer = 2,
    /// First eight bytes of a dynptr.
    Dynptr = 3,
    /// Second eight bytes of a dynptr.
    DynptrEnd = 7,
}

/// One in every byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;

impl Tag {
    /// The tag in every byte of a word.
    const fn word(self) -> u64 {
        self as u64 * ONES
    }
}

const WORDS: usize = FRAME_BYTES / 8;

/// A frame: its memory, a tag for each byte (eight in a word), the provenance of spilled pointers.
#[derive(Debug)]
struct Frame {
    memory: [u64; WORDS],
    tags: [u64; WORDS],
    spills: [Prov; WORDS],
}

/// The stack of a machine with its shadow.
#[derive(Debug, Default)]
pub(crate) struct Stack {
    /// Boxed: the program holds addresses into them.
    #[allow(clippy::vec_box)]
    frames: Vec<Box<Frame>>,
}

impl Stack {
    /// Makes frame `n` ready, every byte unset; its memory.
    pub(crate) fn open(&mut self, n: usize) -> Span {
        while self.frames.len() <= n {
            let frame = Frame { memory: [0; WORDS], tags: [0; WORDS], spills: [Prov::SCALAR; WORDS] };
            self.frames.push(Box::new(frame));
        }
        let frame = &mut self.frames[n];
        frame.tags.fill(Tag::Unset.word());
        Span::declare(frame.memory.as_mut_ptr().expose_provenance() as u64, FRAME_BYTES as u64)
    }

    /// First byte of `len` at `at` that has not been written.
    #[inline]
    pub(crate) fn first_unset(&self, frame: usize, at: u64, len: u64) -> Option<u64> {
        let frame = self.frames.get(frame)?;
        for (word, mask) in words(at, len) {
            let tags = frame.tags.get(word)?;
            let unset = !(tags | tags >> 1) & ONES & mask;
            if unset != 0 {
                return Some(word as u64 * 8 + u64::from(unset.trailing_zeros() / 8));
            }
        }
        None
    }

    /// Provenance of 8 bytes at `at`: that of the pointer spilled there, or a scalar's.
    #[inline]
    pub(crate) fn spilled(&self, frame: usize, at: u64) -> Prov {
        let word = at as usize / 8;
        match self.frames.get(frame) {
            Some(f) if at.is_multiple_of(8) && f.tags.get(word) == Some(&Tag::Pointer.word()) => {
                f.spills[word]
            }
            _ => Prov::SCALAR,
        }
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
        let spill = self.frames.get_mut(frame).and_then(|f| f.spills.get_mut(at as usize / 8));
        if let Some(spill) = spill.filter(|_| whole) {
            *spill = prov;
        }
    }

    /// Marks a dynptr's 16 bytes.
    pub(crate) fn set_dynptr(&mut self, frame: usize, at: u64) {
        self.mark(frame, at, 8, Tag::Dynptr);
        self.mark(frame, at + 8, 8, Tag::DynptrEnd);
    }

    /// Forgets a dynptr: its bytes are unset.
    pub(crate) fn clear_dynptr(&mut self, frame: usize, at: u64) {
        self.mark(frame, at, 16, Tag::Unset);
    }

    /// Is there a dynptr at `at`?
    pub(crate) fn is_dynptr(&self, frame: usize, at: u64) -> bool {
        at.is_multiple_of(8) && self.dynptr_in(frame, at, 1) == Some(at)
    }

    /// Start of the first dynptr that `len` bytes at `at` touch.
    #[inline]
    pub(crate) fn dynptr_in(&self, frame: usize, at: u64, len: u64) -> Option<u64> {
        let frame = self.frames.get(frame)?;
        let hit =
            |word: usize, mask: u64| frame.tags.get(word).is_some_and(|t| t & t >> 1 & ONES & mask != 0);
        let (word, _) = words(at, len).find(|(w, mask)| hit(*w, *mask))?;
        let second = frame.tags[word] & Tag::DynptrEnd.word() == Tag::DynptrEnd.word();
        Some(word as u64 * 8 - if second { 8 } else { 0 })
    }

    #[inline]
    fn mark(&mut self, frame: usize, at: u64, len: u64, tag: Tag) {
        let Some(frame) = self.frames.get_mut(frame) else { return };
        for (word, mask) in words(at, len) {
            let Some(tags) = frame.tags.get_mut(word) else { return };
            // A spill that loses a byte is a spill no more.
            if *tags == Tag::Pointer.word() {
                *tags = Tag::Data.word();
            }
            *tags = *tags & !mask | tag.word() & mask;
        }
    }
}

/// The words that `len` bytes at `at` touch, each with a mask of its bytes that are meant.
#[inline]
fn words(at: u64, len: u64) -> impl Iterator<Item = (usize, u64)> {
    let end = at.saturating_add(len);
    (at / 8..end.div_ceil(8)).map(move |word| {
        let (first, last) = (at.max(word * 8) - word * 8, end.min(word * 8 + 8) - word * 8);
        let upto = |n: u64| if n == 8 { u64::MAX } else { (1 << (8 * n)) - 1 };
        (word as usize, upto(last) & !upto(first))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Prov = Prov { slot: 20, age: 3 };

    fn stack() -> Stack {
        let mut s = Stack::default();
        s.open(0);
        s.open(1);
        s
    }

    #[test]
    fn spills_survive_whole_only() {
        let mut s = stack();
        s.spill(1, 496, P);
        assert_eq!(s.spilled(1, 496), P);
        assert_eq!(s.first_unset(1, 488, 16), Some(488));
        s.wrote(1, 497, 1);
        assert_eq!(s.spilled(1, 496), Prov::SCALAR);
        assert_eq!(s.first_unset(1, 496, 8), None);
        s.spill(0, 3, P);
        assert_eq!(s.spilled(0, 3), Prov::SCALAR);
        s.open(1);
        assert_eq!(s.first_unset(1, 496, 8), Some(496));
    }

    #[test]
    fn dynptrs_are_found_by_any_byte() {
        let mut s = stack();
        s.set_dynptr(0, 8);
        s.set_dynptr(0, 24);
        assert!(s.is_dynptr(0, 8) && s.is_dynptr(0, 24) && !s.is_dynptr(0, 16) && !s.is_dynptr(0, 0));
        assert_eq!(s.dynptr_in(0, 23, 1), Some(8));
        assert_eq!(s.dynptr_in(0, 24, 8), Some(24));
        assert_eq!(s.dynptr_in(0, 0, 8), None);
        assert_eq!(s.first_unset(0, 8, 32), None);
        s.clear_dynptr(0, 8);
        assert_eq!(s.first_unset(0, 8, 16), Some(8));
    }
}
