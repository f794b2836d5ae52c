//! Generated code for `perf inject --jit`: a file of records, each with its time, of code and of the source lines that it
//! stands for (the kernel's tools/perf/Documentation/jitdump-specification.txt).

use super::{Function, Named};
use skep_jit::marker::{Marker, monotonic_ns, thread_id};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const MAGIC: u32 = 0x4a69_5444;
const VERSION: u32 = 1;
const HEADER: u32 = 40;
const CODE_LOAD: u32 = 0;
const DEBUG_INFO: u32 = 2;
const CODE_CLOSE: u32 = 3;
/// Bytes of a record's beginning: kind, length, time.
const PREFIX: usize = 16;

/// Machine of the code, as ELF numbers it.
const MACHINE: u32 = if cfg!(target_arch = "aarch64") {
    183
} else if cfg!(target_arch = "riscv64") {
    243
} else {
    62
};

/// The file `jit-PID.dump`. `perf record -k mono` notes that it is mapped, `perf inject --jit` reads it afterwards and makes
/// small ELF files of it, with symbols and lines. Only its owner may read it.
#[derive(Debug)]
pub struct JitDump {
    path: PathBuf,
    /// The file, and the number of the next piece of code.
    out: Mutex<(File, u64)>,
    _marker: Marker,
}

impl JitDump {
    /// The file of this process in a folder, begun anew. One for a process: `perf` finds no second one.
    ///
    /// # Errors
    /// It cannot be written, is a link or another user's, or lies on a file system that is mounted `noexec`.
    pub fn open(folder: &Path) -> io::Result<JitDump> {
        // The mapping is recorded under the whole name.
        let path = folder.canonicalize()?.join(format!("jit-{}.dump", std::process::id()));
        let mut file = super::private(&path, OpenOptions::new().read(true).write(true))?;
        file.set_len(0)?;
        let mut header = Vec::new();
        for word in [MAGIC, VERSION, HEADER, MACHINE, 0, std::process::id()] {
            header.extend_from_slice(&word.to_ne_bytes());
        }
        for word in [monotonic_ns(), 0] {
            header.extend_from_slice(&word.to_ne_bytes());
        }
        file.write_all(&header)?;
        let _marker = Marker::new(&file)?;
        Ok(JitDump { path, out: Mutex::new((file, 0)), _marker })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the functions of a program. That a record is lost harms no run.
    pub(super) fn add(&self, named: &Named<'_>) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = Vec::new();
        for f in &named.functions {
            records.extend(lines(named, f));
            records.extend(load(named, f, out.1));
            out.1 += 1;
        }
        let _ = out.0.write_all(&records);
    }
}

impl Drop for JitDump {
    fn drop(&mut self) {
        let out = self.out.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = out.0.write_all(&record(CODE_CLOSE, &[]));
    }
}

fn record(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut out = kind.to_ne_bytes().to_vec();
    out.extend_from_slice(&((PREFIX + body.len()) as u32).to_ne_bytes());
    out.extend_from_slice(&monotonic_ns().to_ne_bytes());
    out.extend_from_slice(body);
    out
}

/// The code of a function.
fn load(named: &Named<'_>, f: &Function<'_>, index: u64) -> Vec<u8> {
    let (at, code) = (named.start + f.start, named.code(f));
    let mut body = Vec::new();
    for word in [std::process::id(), thread_id()] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    for word in [at, at, code.len() as u64, index] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    body.extend_from_slice(format!("{} [{}]\0", named.name(f, "::"), named.tier).as_bytes());
    body.extend_from_slice(code);
    record(CODE_LOAD, &body)
}

/// Its source lines, which come before the code; nothing where there are none.
fn lines(named: &Named<'_>, f: &Function<'_>) -> Vec<u8> {
    let lines = named.lines(f);
    if lines.is_empty() {
        return Vec::new();
    }
    let mut body = Vec::new();
    for word in [named.start + f.start, lines.len() as u64] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    for l in lines {
        body.extend_from_slice(&(named.start + l.at).to_ne_bytes());
        // The discriminator tells parts of a line apart.
        for word in [l.line, 0] {
            body.extend_from_slice(&word.to_ne_bytes());
        }
        body.extend_from_slice(l.file.as_bytes());
        body.push(0);
    }
    record(DEBUG_INFO, &body)
}
