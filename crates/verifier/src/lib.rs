//! The verifier: decides about a program what the Linux kernel decides, and says why.
#![forbid(unsafe_code)]

pub mod branch;
pub mod range;
pub mod scalar;
pub mod tnum;
