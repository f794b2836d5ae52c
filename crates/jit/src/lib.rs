//! Machine code for verified programs.
//!
//! Always holds: pages are never writable and executable at once; whoever runs compiled code promises that the program
//! was verified, since the code checks nothing.

pub mod code;

pub use code::{Code, CtxLoad, Step};
