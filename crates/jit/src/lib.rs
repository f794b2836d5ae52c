//! Machine code for verified programs.
//!
//! ```text
//!                      ┌── baseline/ (one pass) ────────────────┐
//! Code (lowered steps) ┴── optimized/ (Cranelift, with facts) ──┴► bytes ── pages.rs (mapped, then made executable) ──► Compiled
//! ```
//!
//! Always holds: pages are never writable and executable at once; whoever runs compiled code promises that the program
//! was verified, since the code checks nothing.

#[cfg(unix)]
pub mod aot;
pub mod code;
pub mod debugger;
pub mod fault;
pub mod head;
pub mod marker;

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
    memory: Memory,
    /// Bytes of code; 0 for that of a library.
    len: usize,
    /// The program itself.
    enter: EntryFn,
    /// The program for tail calls of baseline code ([`head::Tail::bare`]).
    bare: u64,
    /// First slot and address of every function, ascending.
    entries: Vec<(usize, u64)>,
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

/// Where code is.
#[derive(Debug)]
enum Memory {
    Pages(Pages),
    #[cfg(unix)]
    #[allow(dead_code, reason = "keeps the library loaded")]
    Library(aot::Program),
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
    /// A library has no code for it, in words.
    Library(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Machine => f.write_str("the compiler is for x86-64; use the tier interp"),
            Error::Internal(pc) => write!(f, "the compiler failed at instruction {pc}: please report this"),
            Error::Memory(e) => write!(f, "no executable memory: {e}"),
            Error::Library(why) => f.write_str(why),
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
    let mut compiled =
        Compiled::in_pages(pages, made.bytes.len(), &made.entries).ok_or(Error::Internal(0))?;
    (compiled.places, compiled.call, compiled._loops) = (made.places, Some(made.call), made.loops);
    compiled.set_bare(made.bare);
    Ok(compiled)
}

/// The code of a program in a library that was made ahead of time of this very program, with the same maps.
///
/// # Errors
/// The library has none, or cannot be loaded.
#[cfg(unix)]
pub fn load(code: &Code, facts: &Facts, library: &aot::Library) -> Result<Compiled, Error> {
    let source = aot::Source::of(code, facts).map_err(Error::Internal)?;
    let program = library.program(&source).map_err(Error::Library)?;
    let entries = program.functions.clone();
    let first = entries.first().ok_or(Error::Internal(0))?.1;
    Ok(Compiled {
        memory: Memory::Library(program),
        len: 0,
        enter: entry_fn(first),
        // A function of C is entered in C's way alone.
        bare: 0,
        entries,
        places: Vec::new(),
        call: None,
        _loops: Box::default(),
        #[cfg(feature = "optimized")]
        _constants: Box::default(),
    })
}

/// The function at an address that one of the compilers has made.
fn entry_fn(at: u64) -> EntryFn {
    let code: *const u8 = std::ptr::with_exposed_provenance(at as usize);
    // SAFETY: addresses of entries come from the compilers alone, whose functions are `EntryFn`s; calling one is unsafe again.
    unsafe { std::mem::transmute::<*const u8, EntryFn>(code) }
}

/// Is there an optimising compiler for this machine in this build?
pub const OPTIMIZES: bool = cfg!(all(
    feature = "optimized",
    unix,
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
));

/// Compiles with optimisations. `token` as in [`compile`]; `facts` are those of the verifier about this very program, and
/// nothing but them is relied on. A short program that only leads to others gets the code of one pass, which is the better one for it.
/// Cost: some microseconds an instruction.
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
        if AVAILABLE && dispatches(code) {
            return compile(code, token);
        }
        let made = optimized::compile(code, facts, token).map_err(Error::Internal)?;
        let pages = Pages::new(&made.bytes, Some(made.frames)).map_err(Error::Memory)?;
        let mut compiled =
            Compiled::in_pages(pages, made.bytes.len(), &made.entries).ok_or(Error::Internal(0))?;
        (compiled.places, compiled._constants) = (made.places, made.constants);
        compiled.set_bare(made.bare);
        Ok(compiled)
    }
}

/// Most slots of a program that [`dispatches`].
#[cfg(feature = "optimized")]
const DISPATCHER: usize = 32;

/// Whether a program does little else than to continue in another one. The code of one pass is best for it: it jumps without a frame to
/// give up, and with no register saved or set that the next program does not read.
#[cfg(feature = "optimized")]
fn dispatches(code: &Code) -> bool {
    use skep_isa::Op;
    let straight = |step: &Step| match step {
        Step::Op(Op::Ja { off, .. }) => *off >= 0,
        Step::Op(Op::JumpIf { off, .. } | Op::MayGoto { off }) => *off >= 0,
        Step::Op(Op::Call(_)) | Step::Loop { .. } => false,
        _ => true,
    };
    let tails = code.steps.iter().any(|s| matches!(s, Step::Tail { .. }));
    tails && code.steps.len() <= DISPATCHER && code.steps.iter().all(straight)
}

impl Compiled {
    /// Code in pages, with the functions at these offsets; `None` if there are none.
    fn in_pages(pages: Pages, len: usize, entries: &[(usize, usize)]) -> Option<Compiled> {
        let start = pages.start().expose_provenance() as u64;
        let entries: Vec<_> = entries.iter().map(|(slot, off)| (*slot, start + *off as u64)).collect();
        Some(Compiled {
            memory: Memory::Pages(pages),
            len,
            enter: entry_fn(entries.first()?.1),
            bare: entries.first()?.1,
            entries,
            places: Vec::new(),
            call: None,
            _loops: Box::default(),
            #[cfg(feature = "optimized")]
            _constants: Box::default(),
        })
    }

    /// Sets the way in for tail calls to an offset in the pages.
    fn set_bare(&mut self, at: usize) {
        if let Some(pages) = self.pages() {
            self.bare = pages.start().expose_provenance() as u64 + at as u64;
        }
    }

    fn pages(&self) -> Option<&Pages> {
        match &self.memory {
            Memory::Pages(pages) => Some(pages),
            #[cfg(unix)]
            Memory::Library(_) => None,
        }
    }

    /// First slot and address of every function, by slots.
    pub fn functions(&self) -> &[(usize, u64)] {
        &self.entries
    }

    /// Address of the function at a slot.
    pub fn entry(&self, slot: usize) -> Option<u64> {
        let at = self.entries.binary_search_by_key(&slot, |(s, _)| *s).ok()?;
        Some(self.entries[at].1)
    }

    /// Address of the program for tail calls of baseline code ([`head::Tail::bare`]); 0 of a library's.
    pub fn bare(&self) -> u64 {
        self.bare
    }

    /// The code; empty for that of a library.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `Pages` holds at least `len` readable bytes that nobody writes.
        self.pages().map_or(&[], |pages| unsafe { std::slice::from_raw_parts(pages.start(), self.len) })
    }

    /// Where the code of which slot begins in [`Compiled::bytes`], ascending by offset. Optimised code has places of one
    /// slot in several parts, and of some slots none.
    pub fn places(&self) -> &[(u32, u32)] {
        &self.places
    }

    /// The slot that the machine instruction at an address belongs to, if it is one of this program's.
    pub fn slot_at(&self, pc: u64) -> Option<usize> {
        let at = pc.checked_sub(self.pages()?.start().expose_provenance() as u64)?;
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
        let [r1, r2, r3, r4, r5] = args;
        fault::enter(head);
        // SAFETY: the caller's promise.
        unsafe { (self.enter)(r1, r2, r3, r4, r5, head) }
    }

    /// Calls the subprogram at address `entry` from inside of a run.
    ///
    /// # Safety
    /// As for [`Compiled::run`]; `entry` came from [`Compiled::entry`] of this program.
    pub unsafe fn call(&self, head: *mut Head, entry: u64, args: [u64; 5]) -> u64 {
        // The way in of the baseline's code, or the function itself, which is an `EntryFn` as it is.
        let enter = match (self.call, self.pages()) {
            (Some(at), Some(pages)) => entry_fn(pages.start().expose_provenance() as u64 + at as u64),
            _ => entry_fn(entry),
        };
        let [r1, r2, r3, r4, r5] = args;
        // SAFETY: the caller's promise.
        unsafe {
            (*head).site = entry;
            enter(r1, r2, r3, r4, r5, head)
        }
    }
}
