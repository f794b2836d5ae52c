//! Machine code for verified programs.
//!
//! ```text
//! Code (lowered steps) ── baseline/ (one pass) ──► bytes ── pages.rs (mapped, then made executable) ──► Compiled
//! ```
//!
//! Always holds: pages are never writable and executable at once; whoever runs compiled code promises that the program
//! was verified, since the code checks nothing.

pub mod code;
pub mod head;

mod asm;
mod baseline;
mod pages;

pub use code::{Code, CtxLoad, Direct, Index, Last, Step};
pub use head::{EntryFn, Head, Outcome};

use pages::Pages;
use std::fmt;

/// Is there a compiler for this machine?
pub const AVAILABLE: bool = cfg!(all(target_arch = "x86_64", unix));

/// A program as machine code.
#[derive(Debug)]
pub struct Compiled {
    pages: Pages,
    /// Bytes of code.
    len: usize,
    /// First slot and offset of every function, ascending.
    entries: Vec<(usize, usize)>,
    /// Offset of every slot's code.
    offsets: Vec<u32>,
    /// Offset of the code by which the engine calls subprograms.
    call: usize,
}

/// Why there is no code.
#[derive(Debug)]
pub enum Error {
    /// No compiler for this machine.
    Machine,
    /// A fault of the compiler: it could not express the instruction in this slot.
    Internal(usize),
    /// The system gave no memory for it.
    Memory(std::io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Machine => f.write_str("the compiler is for x86-64; use the tier interp"),
            Error::Internal(pc) => write!(f, "the compiler failed at instruction {pc}: please report this"),
            Error::Memory(e) => write!(f, "no executable memory: {e}"),
        }
    }
}

impl std::error::Error for Error {}

/// Compiles in one pass. `token` is what [`Head::token`] has to be while the program runs.
///
/// # Errors
/// Another machine, or no memory. Programs that the verifier accepts always compile.
pub fn compile(code: &Code, token: u64) -> Result<Compiled, Error> {
    if !AVAILABLE {
        return Err(Error::Machine);
    }
    let made = baseline::compile(code, token).map_err(Error::Internal)?;
    let pages = Pages::new(&made.bytes).map_err(Error::Memory)?;
    Ok(Compiled {
        pages,
        len: made.bytes.len(),
        entries: made.entries,
        offsets: made.offsets,
        call: made.call,
    })
}

impl Compiled {
    /// Address of the function at a slot.
    pub fn entry(&self, slot: usize) -> Option<u64> {
        let at = self.entries.binary_search_by_key(&slot, |(s, _)| *s).ok()?;
        Some(self.pages.start().expose_provenance() as u64 + self.entries[at].1 as u64)
    }

    /// The code.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `Pages` holds at least `len` readable bytes that nobody writes.
        unsafe { std::slice::from_raw_parts(self.pages.start(), self.len) }
    }

    /// Offset of every slot's code in [`Compiled::bytes`], ascending.
    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// Runs the program; its `r0`, which means nothing when [`Head::stopped`] is set.
    ///
    /// # Safety
    /// The program was verified; `head` begins a run whose pointers are as [`Head`] says, with this program's token, and the
    /// memory that the program may use stays where it is until the end.
    #[inline]
    pub unsafe fn run(&self, head: *mut Head, args: [u64; 5]) -> u64 {
        // SAFETY: the first function begins there (`baseline::Emit::prologue`), and is an `EntryFn`.
        let enter: EntryFn = unsafe { std::mem::transmute(self.pages.start().add(self.entries[0].1)) };
        let [r1, r2, r3, r4, r5] = args;
        // SAFETY: the caller's promise.
        unsafe { enter(r1, r2, r3, r4, r5, head) }
    }

    /// Calls the subprogram at address `entry` from inside of a run.
    ///
    /// # Safety
    /// As for [`Compiled::run`]; `entry` came from [`Compiled::entry`] of this program.
    pub unsafe fn call(&self, head: *mut Head, entry: u64, args: [u64; 5]) -> u64 {
        // SAFETY: `baseline::Emit::calls_in` is there, and is an `EntryFn`.
        let enter: EntryFn = unsafe { std::mem::transmute(self.pages.start().add(self.call)) };
        let [r1, r2, r3, r4, r5] = args;
        // SAFETY: the caller's promise.
        unsafe {
            (*head).site = entry;
            enter(r1, r2, r3, r4, r5, head)
        }
    }
}
