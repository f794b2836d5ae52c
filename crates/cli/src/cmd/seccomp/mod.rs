//! `skep seccomp`: policies for system calls: compiled, shown, questioned, tested, run and recorded.

mod read;
mod record;
mod run;
mod show;

pub(crate) use record::RECORD;
pub(crate) use run::RUN;
pub(crate) use show::{COMPILE, EXPLAIN, SHOW, TEST};
