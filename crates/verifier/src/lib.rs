//! The verifier: decides about a program what the Linux kernel decides, and says why.
//!
//! [`verify`] walks every path of a [`Program`] with abstract values in the registers and on the stack, as
//! kernel/bpf/verifier.c does, and returns [`Verified`] or a [`Rejection`]. It is deterministic and does no I/O; helpers,
//! map types and program types are known by the rows of the [`Platform`] only.
//!
//! ```text
//!  numbers     tnum ─► range ─► scalar ─► branch            pure, proved by brute force
//!  state       value ─► state (frames, chunks of their stack, registers: shared, copied on write)
//!  program     code ─► cfg (prune points, loops, live registers)   live (stack slots by call chain)
//!  one step    step ─► alu, jump, mem (stackmem, regions, btfs, special), call, func, kfunc, dynptr
//!  all paths   explore ─► equal (is it covered?), precise (which ranges matter?)
//!  secrets     modes, speculate                          loaders without CAP_PERFMON
//!  stack depth depth, fastcall (spills that Linux takes out)
//!  older       versions (.tsv)                           what older kernels lack
//!  outcome     log, reject, options, explain
//! ```
//!
//! What always holds: nothing is accepted that was not walked or is not covered by a kept state that was; work and
//! memory are bounded by [`Limits`]; what is not known to be safe is refused ([`Rule::NotYet`] names what this verifier
//! does not judge yet). Behaviour and message phrases are those of Linux 6.18.
#![deny(unsafe_code)]

mod alu;
mod attach;
pub mod branch;
mod btfs;
mod call;
mod called;
pub mod cfg;
pub mod code;
mod depth;
mod dynptr;
mod equal;
pub mod explain;
mod explore;
mod facts;
mod fastcall;
pub mod frames;
mod func;
mod globals;
mod graph;
pub mod held;
mod irq;
mod iter;
mod jump;
mod kfunc;
pub mod live;
mod log;
mod machine;
pub mod maps;
mod mem;
mod modes;
pub mod options;
mod phrases;
mod precise;
pub mod range;
mod regions;
pub mod reject;
pub mod scalar;
pub mod shared;
mod special;
mod speculate;
pub mod stack;
mod stackmem;
pub mod state;
mod step;
pub mod tnum;
pub mod value;
mod verify;
mod versions;

pub use options::{Limits, Mode, Options, Stats};
pub use phrases::rule_of;
pub use reject::{Reject, Rule};
pub use skep_platform::{Facts, Platform, Program, Verified};
pub use verify::{Outcome, RegisterWords, Rejection, verify, verify_claims, verify_full};
