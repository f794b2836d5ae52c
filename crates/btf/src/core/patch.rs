//! How an instruction changes by a relocation's answer: on plain fields, so that the owner of the instruction decides
//! how it is stored.
//!
//! | instruction | field | with |
//! |---|---|---|
//! | arithmetic or move with an immediate | `imm` | the value |
//! | load or store | `off` | the value, and the access size where the field's size changed |
//! | `ldimm64` with source 0 | 64-bit immediate | the value |
//!
//! Where nothing matched, or a load would read nonsense, the instruction (both slots of an `ldimm64`) is replaced by
//! `call 195896080`, a helper that does not exist: dead code is removed with it, live code is refused with that number.

use std::fmt;

use super::Relocated;

/// The helper number of poisoned instructions: 0xbad2310, "bad relo".
pub const POISON_HELPER: i32 = 195_896_080;

/// What the instruction under relocation holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchSite {
    /// Arithmetic or move, 32 or 64 bits, with an immediate operand.
    Alu {
        /// The immediate.
        imm: i32,
    },
    /// Load, store of a register, store of an immediate.
    Mem {
        /// The offset.
        off: i16,
        /// Bytes accessed: 1, 2, 4 or 8.
        size: u8,
    },
    /// `ldimm64` with source register 0.
    LdImm64 {
        /// The immediate of both slots.
        imm: u64,
    },
    /// Anything else.
    Other,
}

/// What it must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patch {
    /// The new immediate.
    Alu {
        /// The immediate.
        imm: i32,
    },
    /// The new offset and access size.
    Mem {
        /// The offset.
        off: i16,
        /// Bytes accessed: 1, 2, 4 or 8.
        size: u8,
    },
    /// The new 64-bit immediate.
    LdImm64 {
        /// The immediate of both slots.
        imm: u64,
    },
    /// `call POISON_HELPER` in each slot.
    Poison,
}

/// Why an instruction cannot be patched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchError {
    /// The relocation is on an instruction of a kind that none can change.
    NotRelocatable,
    /// The instruction does not hold what the relocation expects.
    UnexpectedValue {
        /// What it holds.
        found: u64,
        /// What was expected.
        expected: u64,
    },
    /// The new offset does not fit 16 bits.
    OffsetTooBig(u64),
    /// The access has another size than the field.
    UnexpectedSize {
        /// Bytes of the access.
        found: u8,
        /// Bytes of the field.
        expected: u32,
    },
    /// The target's field is of a size that no access has.
    BadSize(u32),
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatchError::NotRelocatable => {
                f.write_str("a CO-RE relocation on an instruction that has neither immediate nor offset")
            }
            PatchError::UnexpectedValue { found, expected } => {
                write!(f, "the instruction holds {found}, its CO-RE relocation expects {expected}")
            }
            PatchError::OffsetTooBig(n) => {
                write!(f, "the field's offset on the target, {n}, is beyond 32767")
            }
            PatchError::UnexpectedSize { found, expected } => {
                write!(f, "the instruction accesses {found} bytes of a field of {expected}")
            }
            PatchError::BadSize(n) => {
                write!(f, "the target's field has {n} bytes: no single access can read it")
            }
        }
    }
}

impl std::error::Error for PatchError {}

/// The change of an instruction by `answer`.
///
/// # Errors
/// The instruction is not what the relocation was made for, or cannot hold the answer.
pub fn patch(site: PatchSite, answer: &Relocated) -> Result<Patch, PatchError> {
    let check = |found: u64| {
        if answer.validate && found != answer.orig {
            return Err(PatchError::UnexpectedValue { found, expected: answer.orig });
        }
        Ok(())
    };
    match site {
        PatchSite::Other => Err(PatchError::NotRelocatable),
        _ if answer.poison => Ok(Patch::Poison),
        PatchSite::Alu { imm } => {
            check(i64::from(imm) as u64)?;
            Ok(Patch::Alu { imm: answer.new as i32 })
        }
        PatchSite::LdImm64 { imm } => {
            check(imm)?;
            Ok(Patch::LdImm64 { imm: answer.new })
        }
        PatchSite::Mem { off, size } => {
            check(i64::from(off) as u64)?;
            let new = i16::try_from(answer.new).map_err(|_| PatchError::OffsetTooBig(answer.new))?;
            if answer.fail_memsz_adjust {
                return Ok(Patch::Poison);
            }
            Ok(Patch::Mem { off: new, size: access_size(size, answer)? })
        }
    }
}

fn access_size(size: u8, answer: &Relocated) -> Result<u8, PatchError> {
    if answer.new_size == answer.orig_size {
        return Ok(size);
    }
    if u32::from(size) != answer.orig_size {
        return Err(PatchError::UnexpectedSize { found: size, expected: answer.orig_size });
    }
    match answer.new_size {
        1 | 2 | 4 | 8 => Ok(answer.new_size as u8),
        n => Err(PatchError::BadSize(n)),
    }
}
