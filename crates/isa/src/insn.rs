//! The view side: [`Insn`], eight bytes as they stand in a program, with readers for the five fields, and the
//! numbers of the opcode byte (RFC 9669 section 3). Nothing is judged here; [`crate::Op`] holds what is legal.
//!
//! Layout (little-endian): opcode, `src << 4 | dst`, 16-bit offset, 32-bit immediate.

use alloc::vec::Vec;
use core::fmt;

/// Low three bits of the opcode.
pub const CLASS_MASK: u8 = 0x07;
/// Class: non-standard loads (`ldimm64`, packet loads).
pub const LD: u8 = 0x00;
/// Class: loads from memory.
pub const LDX: u8 = 0x01;
/// Class: stores of an immediate.
pub const ST: u8 = 0x02;
/// Class: stores of a register, atomics.
pub const STX: u8 = 0x03;
/// Class: 32-bit arithmetic.
pub const ALU: u8 = 0x04;
/// Class: 64-bit jumps, calls.
pub const JMP: u8 = 0x05;
/// Class: 32-bit jumps.
pub const JMP32: u8 = 0x06;
/// Class: 64-bit arithmetic.
pub const ALU64: u8 = 0x07;

/// Source bit of arithmetic and jumps: immediate.
pub const K: u8 = 0x00;
/// Source bit of arithmetic and jumps: register.
pub const X: u8 = 0x08;

/// Mode: 64-bit immediate.
pub const IMM: u8 = 0x00;
/// Mode: packet load, absolute.
pub const ABS: u8 = 0x20;
/// Mode: packet load, indirect.
pub const IND: u8 = 0x40;
/// Mode: memory.
pub const MEM: u8 = 0x60;
/// Mode: memory, sign-extending.
pub const MEMSX: u8 = 0x80;
/// Mode: atomic.
pub const ATOMIC: u8 = 0xc0;

/// The opcode byte of `ldimm64`, the one instruction of two slots.
pub const LDIMM64: u8 = 0x18;

/// One 8-byte instruction slot, any bytes.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Insn(pub [u8; 8]);

/// Bytes that are no whole number of instruction slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartialInsn {
    /// Length of the bytes given.
    pub len: usize,
}

impl fmt::Display for PartialInsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, rest) = (self.len, self.len % 8);
        write!(f, "{len} bytes are no whole number of 8-byte instructions: {rest} left over at the end")
    }
}

impl core::error::Error for PartialInsn {}

impl Insn {
    /// From the five fields. Registers are four bits wide: higher bits are cut off.
    pub const fn new(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
        let (o, i) = (off.to_le_bytes(), imm.to_le_bytes());
        Insn([opcode, (src << 4) | (dst & 0x0f), o[0], o[1], i[0], i[1], i[2], i[3]])
    }

    /// The slot with these bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Insn {
        Insn(bytes)
    }

    /// The bytes of the slot.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// All slots of a program's bytes. Fails when the length is no multiple of eight.
    pub fn slice_from_bytes(bytes: &[u8]) -> Result<Vec<Insn>, PartialInsn> {
        let (slots, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(PartialInsn { len: bytes.len() });
        }
        Ok(slots.iter().map(|s| Insn(*s)).collect())
    }

    /// The bytes of many slots, one after the other.
    pub fn slice_to_bytes(insns: &[Insn]) -> Vec<u8> {
        insns.iter().flat_map(|i| i.0).collect()
    }

    /// The opcode byte.
    #[inline]
    pub const fn opcode(self) -> u8 {
        self.0[0]
    }

    /// Low three bits of the opcode: [`LD`] … [`ALU64`].
    pub const fn class(self) -> u8 {
        self.0[0] & CLASS_MASK
    }

    /// Number in the destination field, 0 to 15.
    #[inline]
    pub const fn dst(self) -> u8 {
        self.0[1] & 0x0f
    }

    /// Number in the source field, 0 to 15.
    #[inline]
    pub const fn src(self) -> u8 {
        self.0[1] >> 4
    }

    /// The 16-bit offset.
    #[inline]
    pub const fn off(self) -> i16 {
        (u64::from_le_bytes(self.0) >> 16) as i16
    }

    /// The 32-bit immediate.
    #[inline]
    pub const fn imm(self) -> i32 {
        (u64::from_le_bytes(self.0) >> 32) as i32
    }

    /// The same slot with another source field.
    #[must_use]
    pub const fn with_src(self, src: u8) -> Insn {
        Insn::new(self.opcode(), self.dst(), src, self.off(), self.imm())
    }

    /// The same slot with another offset.
    #[must_use]
    pub const fn with_off(self, off: i16) -> Insn {
        Insn::new(self.opcode(), self.dst(), self.src(), off, self.imm())
    }

    /// The same slot with another immediate.
    #[must_use]
    pub const fn with_imm(self, imm: i32) -> Insn {
        Insn::new(self.opcode(), self.dst(), self.src(), self.off(), imm)
    }

    /// Is this the first slot of a two-slot `ldimm64`?
    pub const fn is_ldimm64(self) -> bool {
        self.0[0] == LDIMM64
    }
}

impl fmt::Debug for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g, h, i] = self.0;
        write!(f, "{a:02x} {b:02x} {c:02x} {d:02x} {e:02x} {g:02x} {h:02x} {i:02x}")
    }
}
