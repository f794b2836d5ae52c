//! `skep seccomp`: policies for system calls: compiled, shown, questioned, tested, run and recorded.

mod read;
mod show;

pub(crate) use show::{COMPILE, EXPLAIN, SHOW, TEST};
