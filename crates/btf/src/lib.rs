//! BTF: read, write, print.
#![forbid(unsafe_code)]
