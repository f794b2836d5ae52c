//! eBPF object files.
#![forbid(unsafe_code)]
pub mod attach;
pub mod elf;
pub mod error;
pub mod sections;
