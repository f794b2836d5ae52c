//! The baseline compiler: one pass over the steps, a fixed machine register for each eBPF register, no intermediate form.
//!
//! ```text
//! r0 rax | r1 rdi | r2 rsi | r3 rdx | r4 rcx | r5 r8 | r6 rbx | r7 r13 | r8 r14 | r9 r15 | r10 rbp
//! r12: the run's Head        r9, r10, r11: scratch inside of one step
//! ```
//!
//! Arguments of helpers are where the System V convention wants them, and so are those of the program: it is a function of `r1` to
//! `r5` and the head. Each function saves the registers that it writes; a program that makes tail calls has an entry that saves
//! all of them, once for the whole chain of programs. Inside of a function the stack pointer is a multiple of 16, so that
//! calls need no care.
//!
//! A frame is `[rbp - 512, rbp)`, as the program addresses it; the loop budget of `may_goto` lies below it.

mod alu;
mod emit;
mod frame;
mod sum;
mod survey;
#[cfg(all(test, target_arch = "x86_64", unix))]
pub(crate) mod tests;
mod turns;

pub(crate) use emit::compile;
#[cfg(feature = "optimized")]
pub(crate) use frame::tail_entry;

use crate::loops::Found;

/// What the compiler made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) bytes: Vec<u8>,
    pub(crate) entries: Vec<(usize, usize)>,
    /// Offsets of code with the slot that it comes from, ascending.
    pub(crate) places: Vec<(u32, u32)>,
    /// Offset of the code by which the engine calls subprograms.
    pub(crate) call: usize,
    /// Offset of the program for tail calls.
    pub(crate) bare: usize,
    /// What the code calls: it knows their addresses.
    pub(crate) loops: Box<[Found]>,
}
