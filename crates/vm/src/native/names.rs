//! Names of generated code for `perf`: the file that it looks for, a line for each function.

use crate::native::Native;
use skep_jit::Compiled;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The file in which `perf report` looks up addresses of this process that belong to no file: `/tmp/perf-PID.map`, lines of address,
/// bytes and name. It stays when the process ends, since `perf` reads it then.
#[derive(Debug)]
pub struct PerfMap {
    path: PathBuf,
    file: Mutex<File>,
}

impl PerfMap {
    /// The file of this process, made if it is not there. Lines of others who generate code stay.
    ///
    /// # Errors
    /// It cannot be written, or is a symbolic link.
    pub fn open() -> io::Result<PerfMap> {
        PerfMap::at(&PathBuf::from(format!("/tmp/perf-{}.map", std::process::id())))
    }

    fn at(path: &Path) -> io::Result<PerfMap> {
        let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let file = OpenOptions::new().append(true).create(true).mode(0o644).custom_flags(flags).open(path)?;
        Ok(PerfMap { path: path.into(), file: Mutex::new(file) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the functions of a program in one write. That a line is lost harms no run.
    pub(super) fn add(&self, native: &Native, code: &Compiled, tier: &str) {
        let text = lines(native, code, tier);
        let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes());
    }
}

/// One line for each function. Code ahead of the first one, and what lies behind one, belongs to the one before.
fn lines(native: &Native, code: &Compiled, tier: &str) -> String {
    let (start, len) = (code.bytes().as_ptr().addr() as u64, code.bytes().len() as u64);
    let program = native.program();
    let mut at: Vec<(u64, usize)> = code.functions().iter().map(|(slot, at)| (*at, *slot)).collect();
    at.sort_unstable();
    let ends = at.iter().skip(1).map(|f| f.0).chain([start + len]);
    let line = |((from, slot), end): (&(u64, usize), u64)| {
        let sub = program.subprogs.iter().find(|s| s.start == *slot && *slot != 0);
        let name = sub.map_or(String::new(), |s| format!("::{}", s.name));
        format!("{from:x} {:x} bpf_prog_{}{name} [{tier}]\n", end.saturating_sub(*from), program.name)
    };
    if len == 0 { String::new() } else { at.iter().zip(ends).map(line).collect() }
}
