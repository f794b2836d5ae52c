//! The eBPF instruction set (RFC 9669 and Linux's additions): one opcode table, the `Insn` view of eight bytes,
//! the `Op` value that holds only legal instructions, and the assembler and disassembler in the kernel's notation.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod asm;
pub mod conformance;
pub mod decode;
pub mod disasm;
pub mod eval;
pub mod flow;
pub mod insn;
pub mod op;
pub mod table;

pub use decode::{DecodeError, Encoded, FieldName, Illegal};
pub use disasm::{Names, NoNames, Notation, Style};
pub use flow::Regs;
pub use insn::{Insn, PartialInsn};
pub use op::*;
