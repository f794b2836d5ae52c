//! Object files ↔ assembly: [`from_elf`] takes an ELF file apart into an [`AsmObject`], which [`skep_isa::asm::print()`]
//! writes as text, and [`to_elf`] makes an ELF file of one that [`skep_isa::asm::parse`] has read.
//!
//! What always holds: instruction bytes, relocations and the symbols that they name survive both ways. With
//! [`Detail::Exact`] so do types, CO-RE records and raw map definitions, as bytes; with [`Detail::Readable`]
//! definitions in `.maps` become `.map` lines and types are left out: [`to_elf`] then makes those that maps, variables
//! and externs need. [`Detail::Auto`] chooses.

mod read;
mod types;
mod write;

pub use read::{Detail, from_elf};
pub use write::{AsmElfError, to_elf};
