//! What compiled code and the engine know of each other: [`Head`], the beginning of the engine's run.
//!
//! A program is entered as an `extern "C"` function of `r1` to `r5` and the head's address ([`EntryFn`]), by the engine and by programs
//! that tail-call it. Compiled code keeps the address in `r12` and calls the engine through the pointers in the head. There is a
//! compiler for Unix alone, where `extern "C"` is the System V convention.
//!
//! A program of the baseline that makes tail calls saves all of its caller's registers and notes the way out, once for the chain
//! of programs that it begins. To continue in another one it jumps to that one's second way in ([`Tail::bare`]).

use std::cell::Cell;

/// What a call of the engine gives back, in `rax` and `rdx`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// `r0`.
    pub r0: u64,
    /// [`GO_ON`], [`STOP`], or the address of the program to continue in.
    pub next: u64,
}

/// Go on behind the call.
pub const GO_ON: u64 = 0;
/// Leave the program: the engine has noted why.
pub const STOP: u64 = 1;

/// A program: its `r1` to `r5` and the head of the run; its `r0`, which means nothing when [`Head::stopped`] is set.
pub type EntryFn = unsafe extern "C" fn(u64, u64, u64, u64, u64, *mut Head) -> u64;
/// Calls a helper: the program's `r1` to `r5`; [`Head::site`] says which.
pub type CallFn = unsafe extern "C" fn(u64, u64, u64, u64, u64, *mut Head) -> Outcome;
/// Loads from the packet: head, offset, bytes. `next` is [`STOP`] outside the packet.
pub type PacketFn = unsafe extern "C" fn(*mut Head, i32, u32) -> Outcome;
/// Accesses a context through an address: head, address, [`any_flags`], value to store.
pub type AnyFn = unsafe extern "C" fn(*mut Head, u64, u32, u64) -> Outcome;
/// Notes that the program stops: head, reason.
pub type TrapFn = unsafe extern "C" fn(*mut Head, u32);

/// Tail calls in a row (`MAX_TAIL_CALL_CNT`).
pub const MAX_TAIL_CALLS: u64 = 33;
/// Programs that a run remembers, a power of two.
pub const TAILS: usize = 16;

/// A program that a tail call led to. Its size is a power of two.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tail {
    /// Its number as the program array has it.
    pub id: u64,
    /// Its code, an [`EntryFn`].
    pub entry: u64,
    /// Its token.
    pub token: u64,
    /// Its code for baseline programs that make tail calls. They jump to it with `r1` in its place, the head's address in `r12`, and
    /// the stack pointer, a multiple of 16, at the address to return to. It keeps no other register, and knows its token itself.
    pub bare: u64,
}

impl Tail {
    /// No program: the array's numbers have 32 bits.
    pub const NONE: Tail = Tail { id: u64::MAX, entry: 0, token: 0, bare: 0 };
}

/// The beginning of a run.
#[repr(C)]
#[derive(Debug)]
pub struct Head {
    /// How the innermost program that was entered is left from anywhere in it: the stack pointer there and the code to go on with.
    /// Compiled code's own; who enters code again from inside of a run keeps and restores them.
    pub exit: [u64; 2],
    /// Not 0 once the engine has noted that the run stops.
    pub stopped: u64,
    /// Call site of the helper that is called, the value of a `callx` register, or the function that the engine calls.
    pub site: u64,
    /// The program that runs: what [`crate::compile`] was given as `token`.
    pub token: u64,
    /// Address of the context: `r1` of a program that begins.
    pub ctx: u64,
    /// Second argument of a program that begins: the length of the memory, for raw programs.
    pub ctx_len: u64,
    /// Bytes in front of the packet's network header, for [`Head::packet`] of a program that calls nothing else of the engine.
    pub mac_len: u64,
    /// CPU that the program believes to be on; known before a program with [`crate::Code::cpu`] begins.
    pub cpu: Cell<u64>,
    /// Address of the spin lock that the program holds, or 0.
    pub lock: u64,
    /// Tail calls that are left, [`MAX_TAIL_CALLS`] at the beginning.
    pub tails_left: u64,
    /// Number of the program that a tail call asks the engine for, as the program array has it; what to remember it by.
    pub tail_id: u64,
    /// Address of the [`TAILS`] programs that tail calls have led to lately, each at its number modulo [`TAILS`].
    pub tails: u64,
    /// Calls a helper.
    pub helper: CallFn,
    /// Calls what a register says.
    pub call_reg: CallFn,
    /// Loads from the packet.
    pub packet: PacketFn,
    /// Accesses a context.
    pub any: AnyFn,
    /// Notes that the program stops.
    pub trap: TrapFn,
}

/// Bit of [`any_flags`]: sign-extending load.
pub const ANY_SIGNED: u32 = 1 << 8;
/// Bit of [`any_flags`]: a store.
pub const ANY_STORE: u32 = 1 << 9;

/// What an access through [`Head::any`] is: its bytes, and the bits above.
pub const fn any_flags(bytes: usize, signed: bool, store: bool) -> u32 {
    bytes as u32 | if signed { ANY_SIGNED } else { 0 } | if store { ANY_STORE } else { 0 }
}
