//! Machine code for verified programs.
//!
//! ```text
//!                      ┌── baseline/ (one pass) ────────────────┐
//! Code (lowered steps) ┴── optimized/ (Cranelift, with facts) ──┴► bytes ── pages.rs (mapped, then made executable) ──► Compiled
//! ```
//!
//! Always holds: pages are never writable and executable at once; whoever runs compiled code promises that the program
//! was verified, since the code checks nothing.

pub mod code;
pub mod fault;
pub mod head;

mod asm;
mod baseline;
mod flow;
pub mod loops;
#[cfg(feature = "optimized")]
mod optimized;
mod pages;
mod routines;

pub use code::{Code, CtxLoad, Direct, Index, Last, Step};
pub use head::{EntryFn, Head, Outcome};

use pages::Pages;
use skep_platform::facts::Facts;
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
    /// Offset of the code by which the engine calls subprograms.
    /// `None`: every function is an [`EntryFn`], and they call it directly.
    call: Option<usize>,
    /// Offsets of code with the slot that it comes from, ascending.
    places: Vec<(u32, u32)>,
    /// What the code calls: it knows the addresses.
    _loops: Box<[loops::Found]>,
    /// What the code reads: it knows the address.
    #[cfg(feature = "optimized")]
    _constants: Box<[u64]>,
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
    let pages = Pages::new(&made.bytes, None).map_err(Error::Memory)?;
    Ok(Compiled {
        pages,
        len: made.bytes.len(),
        entries: made.entries,
        places: made.places,
        call: Some(made.call),
        _loops: made.loops,
        #[cfg(feature = "optimized")]
        _constants: Box::default(),
    })
}

/// Is there an optimising compiler for this machine in this build?
pub const OPTIMIZES: bool = cfg!(all(
    feature = "optimized",
    unix,
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
));

/// Compiles with optimisations. `token` as in [`compile`]; `facts` are those of the verifier about this very program, and
/// nothing but them is relied on. Cost: some microseconds an instruction.
///
/// # Errors
/// Another machine or build, or no memory. Programs that the verifier accepts always compile.
pub fn optimize(code: &Code, facts: &Facts, token: u64) -> Result<Compiled, Error> {
    if !OPTIMIZES {
        return Err(Error::Machine);
    }
    #[cfg(not(feature = "optimized"))]
    {
        let _ = (code, facts, token);
        Err(Error::Machine)
    }
    #[cfg(feature = "optimized")]
    {
        let made = optimized::compile(code, facts, token).map_err(Error::Internal)?;
        let pages = Pages::new(&made.bytes, Some(made.frames)).map_err(Error::Memory)?;
        let (entries, places) = (made.entries, made.places);
        Ok(Compiled {
            pages,
            len: made.bytes.len(),
            entries,
            places,
            call: None,
            _loops: Box::default(),
            _constants: made.constants,
        })
    }
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

    /// Where the code of which slot begins in [`Compiled::bytes`], ascending by offset. Optimised code has places of one
    /// slot in several parts, and of some slots none.
    pub fn places(&self) -> &[(u32, u32)] {
        &self.places
    }

    /// The slot that the machine instruction at an address belongs to, if it is one of this program's.
    pub fn slot_at(&self, pc: u64) -> Option<usize> {
        let at = pc.checked_sub(self.pages.start().expose_provenance() as u64)?;
        let at = u32::try_from(at).ok().filter(|at| (*at as usize) < self.len)?;
        let before = self.places.partition_point(|(from, _)| *from <= at).checked_sub(1)?;
        Some(self.places[before].1 as usize)
    }

    /// Runs the program; its `r0`, which means nothing when [`Head::stopped`] is set.
    ///
    /// # Safety
    /// The program was verified; `head` begins a run whose pointers are as [`Head`] says, with this program's token, and the
    /// memory that the program may use stays where it is until the end.
    #[inline]
    pub unsafe fn run(&self, head: *mut Head, args: [u64; 5]) -> u64 {
        // SAFETY: the first function begins there, and is an `EntryFn` in either compiler's code.
        let enter: EntryFn = unsafe { std::mem::transmute(self.pages.start().add(self.entries[0].1)) };
        let [r1, r2, r3, r4, r5] = args;
        fault::enter(head);
        // SAFETY: the caller's promise.
        unsafe { enter(r1, r2, r3, r4, r5, head) }
    }

    /// Calls the subprogram at address `entry` from inside of a run.
    ///
    /// # Safety
    /// As for [`Compiled::run`]; `entry` came from [`Compiled::entry`] of this program.
    pub unsafe fn call(&self, head: *mut Head, entry: u64, args: [u64; 5]) -> u64 {
        let code: *const u8 = match self.call {
            // SAFETY: the offset is one of this code.
            Some(at) => unsafe { self.pages.start().add(at) },
            None => std::ptr::with_exposed_provenance(entry as usize),
        };
        // SAFETY: `baseline::Emit::calls_in` is there, or the function itself, which is an `EntryFn` as it is.
        let enter: EntryFn = unsafe { std::mem::transmute(code) };
        let [r1, r2, r3, r4, r5] = args;
        // SAFETY: the caller's promise.
        unsafe {
            (*head).site = entry;
            enter(r1, r2, r3, r4, r5, head)
        }
    }
}
