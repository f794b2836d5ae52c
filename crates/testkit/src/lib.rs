//! What tests of several crates share. A dev-dependency only; not published.
//!
//! - [`fixtures`]: the maps and programs of suite test_verifier.
//! - [`suites`]: where other people's suites lie, and how their files are read.
//! - [`kernel_oracle`]: the live kernel loads a program and runs it (root only; says why where it cannot).
//! - [`generate`]: random programs that a verifier accepts.
//! - [`mutate`]: small changes to programs.
//! - [`rights`]: loaders with less than root's capabilities.
//! - [`programs`]: a [`Program`](skep_platform::Program) around bare instructions, a context around bare bytes.

pub mod fixtures;
pub mod generate;
pub mod kernel_oracle;
pub mod mutate;
pub mod programs;
mod raw;
pub mod rights;
pub mod suites;
