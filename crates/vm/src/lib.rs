//! The user engine: runs eBPF programs in user space.
//!
//! The *checked* tier ([`checked`]) is an interpreter with shadow state that runs unverified programs safely and explains
//! the first wrong step ([`checked::report::report`]). It is the measure for the others, which run verified programs alone
//! and check nothing: *interp* (`native/interp.rs`). They run lowered programs (`lower`).
//!
//! Guest pointers are native addresses; memory is touched in one module (`mem`) and nowhere else.

pub mod checked;
pub mod fib;
pub mod host;
pub mod user;

mod lower;
mod mem;
mod native;
mod region;
mod stats;

pub use checked::code::Code;
pub use checked::report::report;
pub use checked::run::{Machine, Options};
pub use fib::FibTable;
pub use host::{FixedHost, SystemHost};
pub use native::{JitDump, PerfMap};
pub use skep_jit::aot;
pub use user::{MachineCode, Runner, Tier, User, UserProgram};
