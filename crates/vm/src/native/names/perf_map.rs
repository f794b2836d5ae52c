//! Names of generated code for `perf`: the file that it looks for, a line for each function.

use super::Named;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The file in which `perf report` looks up addresses of this process that belong to no file: `/tmp/perf-PID.map`, lines of address,
/// bytes and name. It stays when the process ends, since `perf` reads it then; only its owner may read it.
#[derive(Debug)]
pub struct PerfMap {
    path: PathBuf,
    file: Mutex<File>,
}

impl PerfMap {
    /// The file of this process, made if it is not there. Lines of others who generate code stay.
    ///
    /// # Errors
    /// It cannot be written, is a link, or belongs to another user.
    pub fn open() -> io::Result<PerfMap> {
        PerfMap::at(&PathBuf::from(format!("/tmp/perf-{}.map", std::process::id())))
    }

    fn at(path: &Path) -> io::Result<PerfMap> {
        let file = super::private(path, OpenOptions::new().append(true))?;
        Ok(PerfMap { path: path.into(), file: Mutex::new(file) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the functions of a program in one write. That a line is lost harms no run.
    pub(super) fn add(&self, named: &Named<'_>) {
        let line = |f: &super::Function<'_>| {
            let (at, len, name) = (named.start + f.start, f.end - f.start, named.name(f, "::"));
            format!("{at:x} {len:x} {name} [{}]\n", named.tier)
        };
        let text: String = named.functions.iter().map(line).collect();
        let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes());
    }
}
