//! Classic BPF, the machine of packet filters: its instructions, the rules the kernel holds them to, an interpreter,
//! tcpdump's notation, and the way to eBPF.
//!
//! ```text
//!  text (tcpdump's -d, -ddd) ──► Insn ──► Program::new ──► Program ──► run(Packet)
//!                                view      the checker      legal  ──► translate(Target) ──► eBPF instructions
//! ```
//!
//! - [`insn`]: [`Insn`], the eight bytes of `struct sock_filter`, and [`Op`], which holds legal instructions only.
//! - [`ancillary`]: what Linux lets a filter load besides packet bytes, one row each.
//! - [`check`]: [`Program`], instructions that keep the kernel's rules.
//! - [`machine`]: running them. [`payload`]: the loads that walk over headers and attributes.
//! - [`text`]: listings as `tcpdump -d`, `-dd` and `-ddd` print them; [`asm`] reads `-d` and `-ddd` back.
//! - [`filter`]: the filter language, compiled to [`Program`]s.
//! - [`seccomp`]: policies for system calls, compiled to programs for seccomp(2).
//! - [`mod@translate`]: to eBPF, for socket filters, traffic control and XDP.
//!
//! Always holds: a [`Program`] ends on every packet (jumps go forward), reads no memory that is not its own, and its
//! translation returns what [`Program::run`] returns.
#![forbid(unsafe_code)]

pub mod ancillary;
pub mod asm;
pub mod check;
pub mod filter;
pub mod insn;
pub mod machine;
pub mod payload;
pub mod seccomp;
pub mod text;
pub mod translate;

pub use ancillary::Ancillary;
pub use check::{CheckError, Program, Rule};
pub use filter::{Filter, FilterError, Options as FilterOptions};
pub use insn::{AluOp, Cond, Insn, Op, Register, Size, Source};
pub use machine::{Meta, Packet};
pub use translate::{Target, TranslateError, Verdict, translate};
