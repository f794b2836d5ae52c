//! One file a command (or noun): its row of the table and what it does.

pub(crate) mod asm;
pub(crate) mod batch;
pub(crate) mod btf;
mod btf_json;
pub(crate) mod build;
pub(crate) mod conformance;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod feature;
pub(crate) mod filter;
pub(crate) mod r#gen;
pub(crate) mod kobj;
pub(crate) mod manual;
pub(crate) mod map;
pub(crate) mod obj;
pub(crate) mod probe;
pub(crate) mod prog;
pub(crate) mod run;
pub(crate) mod seccomp;
mod target;
pub(crate) mod verify;
