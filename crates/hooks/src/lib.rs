//! Where eBPF programs run: one row a program type (what its context looks like, what it may return), the contexts they
//! are given, captures of packets, and the runner that puts the two together.
//!
//! ```text
//!  capture::Capture ──► packet::Feeder ──► Context ──► program ──► run::run_capture ──► report::Report, capture::Writer
//!  bytes, field=value ─► input::context ──► Context ──► program ──► input::output
//! ```
//!
//! Always holds: rows agree with the kernel's `is_valid_access` functions (`tests/kernel_rights.rs` asks the kernel),
//! contexts of packets with what the kernel shows of test runs and of arriving packets (`tests/kernel_context.rs`,
//! `tests/kernel_receive.rs`); a hostile capture or context costs an error, never a panic or memory beyond what was given.

pub mod capture;
pub mod cgroup;
pub mod ctx_text;
pub mod flow_dissector;
pub mod frame;
pub mod input;
pub mod link;
pub mod lwt;
pub mod netfilter;
pub mod packet;
mod prog_types;
pub mod report;
mod rights;
pub mod run;
pub mod sk_lookup;
mod skb;
mod slots;
pub mod sock;
pub mod sock_addr;
pub mod socket_filter;
pub mod sockmap;
pub mod tc;
pub mod tracing;
pub mod xdp;

pub use prog_types::PROG_TYPES;
