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
pub(crate) enum Tag {
    Unset,
    Data,
    Pointer,
    Dynptr,
}

const BYTES: usize = FRAMES * FRAME_BYTES;

/// The stack of a machine with its shadow.
#[derive(Debug)]
pub(crate) struct Stack {
    words: Box<[u64; BYTES / 8]>,
    tags: Box<[Tag; BYTES]>,
    spills: Box<[Prov; BYTES / 8]>,
}

impl Stack {
    pub(crate) fn new() -> Stack {
        Stack {
            words: Box::new([0; BYTES / 8]),
            tags: Box::new([Tag::Unset; BYTES]),
            spills: Box::new([Prov::SCALAR; BYTES / 8]),
        }
    }

    /// The memory of a frame.
    pub(crate) fn span(&mut self, frame: usize) -> Span {
        let base = self.words.as_mut_ptr().expose_provenance() as u64;
        Span::declare(base + (frame * FRAME_BYTES) as u64, FRAME_BYTES as u64)
    }

    /// Every byte of a frame becomes unset.
    pub(crate) fn clear(&mut self, frame: usize) {
        self.tags[frame * FRAME_BYTES..(frame + 1) * FRAME_BYTES].fill(Tag::Unset);
    }

    /// First byte of `len` at `at` that has not been written. `at` counts from the bottom of the frame.
    pub(crate) fn first_unset(&self, frame: usize, at: u64, len: u64) -> Option<u64> {
        let tags = self.bytes(frame, at, len);
        tags.iter().position(|t| *t == Tag::Unset).map(|i| at + i as u64)
    }

    /// Provenance of 8 bytes at `at`: that of the pointer spilled there, or a scalar's.
    pub(crate) fn spilled(&self, frame: usize, at: u64) -> Prov {
        let whole = at.is_multiple_of(8) && self.bytes(frame, at, 8).iter().all(|t| *t == Tag::Pointer);
        if whole { self.spills[slot(frame, at)] } else { Prov::SCALAR }
    }

    /// Marks bytes as written with data.
    pub(crate) fn wrote(&mut self, frame: usize, at: u64, len: u64) {
        self.mark(frame, at, len, Tag::Data);
    }

    /// Marks 8 bytes as a spilled pointer; as data when they are not one aligned slot.
    pub(crate) fn spill(&mut self, frame: usize, at: u64, prov: Prov) {
        let whole = at.is_multiple_of(8);
        self.mark(frame, at, 8, if whole { Tag::Pointer } else { Tag::Data });
        if whole {
            self.spills[slot(frame, at)] = prov;
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
        self.bytes(frame, at, 16).iter().all(|t| *t == Tag::Dynptr)
    }

    /// Does a write of `len` bytes at `at` hit a dynptr?
    pub(crate) fn hits_dynptr(&self, frame: usize, at: u64, len: u64) -> bool {
        self.bytes(frame, at, len).contains(&Tag::Dynptr)
    }

    fn mark(&mut self, frame: usize, at: u64, len: u64, tag: Tag) {
        let from = frame * FRAME_BYTES + at as usize;
        let (first, last) = (from / 8 * 8, (from + len as usize).next_multiple_of(8));
        // A spill that loses a byte is a spill no more.
        if !from.is_multiple_of(8) || !len.is_multiple_of(8) {
            for t in self.tags.get_mut(first..last).unwrap_or(&mut []) {
                if *t == Tag::Pointer {
                    *t = Tag::Data;
                }
            }
        }
        if let Some(tags) = self.tags.get_mut(from..from + len as usize) {
            tags.fill(tag);
        }
    }

    fn bytes(&self, frame: usize, at: u64, len: u64) -> &[Tag] {
        let from = frame * FRAME_BYTES + at as usize;
        self.tags.get(from..from.saturating_add(len as usize)).unwrap_or(&[])
    }
}

fn slot(frame: usize, at: u64) -> usize {
    (frame * FRAME_BYTES + at as usize) / 8
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
