//! `struct bpf_dynptr` as it lies in guest memory: 16 bytes, the kernel's layout (`struct bpf_dynptr_kern`).
//!
//! ```text
//!  u64 data | u32 size: bits 0-23 length, 28-30 type, 31 read-only | u32 offset
//! ```
//!
//! A program that was not verified can forge one. That is harmless: the address inside is an allegation like any other.

use skep_platform::{Env, Errno, Fault};

/// A dynptr's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Dynptr {
    /// Address of the memory; 0 when the dynptr is null.
    pub(crate) data: u64,
    size: u32,
    /// Bytes of the memory that lie in front of the dynptr's own.
    offset: u32,
}

const TYPE_LOCAL: u32 = 1 << 28;
const TYPE_RINGBUF: u32 = 2 << 28;
const TYPE_MASK: u32 = 7 << 28;
const READ_ONLY: u32 = 1 << 31;

impl Dynptr {
    /// Longest memory behind one.
    pub(crate) const MAX_SIZE: u32 = (1 << 24) - 1;
    /// The null dynptr.
    pub(crate) const NULL: Dynptr = Dynptr { data: 0, size: 0, offset: 0 };

    /// To memory of the program.
    pub(crate) fn local(data: u64, len: u32) -> Dynptr {
        Dynptr { data, size: len | TYPE_LOCAL, offset: 0 }
    }

    /// To a record of a ring buffer.
    pub(crate) fn ringbuf(data: u64, len: u32) -> Dynptr {
        Dynptr { data, size: len | TYPE_RINGBUF, offset: 0 }
    }

    /// The one at guest address `at`.
    pub(crate) fn load(env: &mut dyn Env<'_>, at: u64) -> Result<Dynptr, Fault> {
        let mut b = [0; 16];
        env.mem().read(at, &mut b)?;
        let word = |i: usize| u32::from_ne_bytes([b[i], b[i + 1], b[i + 2], b[i + 3]]);
        let data = u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
        Ok(Dynptr { data, size: word(8), offset: word(12) })
    }

    /// Writes it to guest address `at`.
    pub(crate) fn store(self, env: &mut dyn Env<'_>, at: u64) -> Result<(), Fault> {
        let mut b = [0; 16];
        b[..8].copy_from_slice(&self.data.to_ne_bytes());
        b[8..12].copy_from_slice(&self.size.to_ne_bytes());
        b[12..].copy_from_slice(&self.offset.to_ne_bytes());
        env.mem().write(at, &b)
    }

    /// Whether it is null.
    pub(crate) fn is_null(self) -> bool {
        self.data == 0
    }

    /// Its length in bytes.
    pub(crate) fn len(self) -> u32 {
        self.size & Self::MAX_SIZE
    }

    /// Whether it may only be read.
    pub(crate) fn read_only(self) -> bool {
        self.size & READ_ONLY != 0
    }

    /// Whether its memory can be pointed into: local or ring buffer, not a packet.
    pub(crate) fn is_memory(self) -> bool {
        matches!(self.size & TYPE_MASK, TYPE_LOCAL | TYPE_RINGBUF)
    }

    /// Address of `len` bytes at `offset`; `E2BIG` when they do not lie inside (`bpf_dynptr_check_off_len`).
    pub(crate) fn at(self, offset: u32, len: u32) -> Result<u64, Errno> {
        if len > self.len() || offset > self.len() - len {
            return Err(Errno::E2BIG);
        }
        Ok(self.data.wrapping_add(self.offset.into()).wrapping_add(offset.into()))
    }
}
