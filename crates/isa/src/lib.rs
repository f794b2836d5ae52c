//! The eBPF instruction set (RFC 9669 and Linux's additions): one opcode table, the `Insn` view of eight bytes,
//! the `Op` value that holds only legal instructions, and the assembler and disassembler in the kernel's notation.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod op;

pub use op::*;
