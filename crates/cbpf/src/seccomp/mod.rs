//! seccomp: policies for system calls, and their compilation to the classic programs that seccomp(2) takes.
//!
//! ```text
//!  Profile (Docker, OCI, TOML) ──resolve(Host)──► Policy ──compile──► Program ──► the kernel, or run(Data)
//!                                                   └─ decide(Data): the same decision, rule by rule
//! ```
//!
//! - [`calls`]: system calls of all architectures, one table. [`action`]: what happens with a call.
//! - [`policy`]: rules and their plain evaluation. [`profile`]: what files hold. [`expr`]: rules as text.
//! - [`recorded`]: a policy from the calls that a command made.
//! - [`compile()`]: the program. [`measure`]: running it on calls, and how much of it runs.
//! - [`bypass`]: calls that do the work of others, and so get round a policy.
//!
//! Always holds: a compiled program decides every call as [`Policy::decide`] does.

pub mod action;
pub mod bypass;
pub mod calls;
mod compile;
mod conditions;
pub mod expr;
mod graph;
pub mod measure;
pub mod policy;
pub mod profile;
pub mod recorded;
mod tree;

pub use action::Action;
pub use calls::{Arch, Call, call, numbered};
pub use compile::{Compiled, compile};
pub use measure::Measure;
pub use policy::{Compare, Condition, Data, Decision, Policy, PolicyError, Reason, Rule};
pub use profile::{Entry, Host, Profile};
