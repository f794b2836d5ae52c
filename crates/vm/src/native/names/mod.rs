//! Generated code for tools that look at the process from outside: what is where, by function and by source line.
//!
//! ```text
//! Compiled + Program ── Named ──┬► perf_map.rs   /tmp/perf-PID.map: names for `perf report`
//!                               ├► jitdump.rs    jit-PID.dump: code, names and lines for `perf inject --jit`
//!                               └► symfile.rs    an ELF file in memory: symbols, lines and frames for gdb (frames.rs)
//! ```
//!
//! All of it is off until it is asked for. Code of a library made ahead of time is in a file of its own, which tools read.

mod frames;
mod jitdump;
mod perf_map;
mod symfile;

pub use jitdump::JitDump;
pub use perf_map::PerfMap;

use skep_jit::Compiled;
use skep_jit::debugger::{self, Registered};
use skep_platform::program::Program;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Who is told of generated code.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watchers {
    pub(crate) perf_map: Option<Arc<PerfMap>>,
    pub(crate) jitdump: Option<Arc<JitDump>>,
    pub(crate) debugger: bool,
}

impl Watchers {
    /// Tells of a program's code. What is returned is dropped before the code is.
    pub(super) fn tell(&self, program: &Program, code: &Compiled, tier: &'static str) -> Option<Registered> {
        if self.perf_map.is_none() && self.jitdump.is_none() && !self.debugger {
            return None;
        }
        let named = Named::of(program, code, tier)?;
        if let Some(map) = &self.perf_map {
            map.add(&named);
        }
        if let Some(dump) = &self.jitdump {
            dump.add(&named);
        }
        let file = self.debugger.then(|| symfile::write(&named)).flatten()?;
        debugger::register(file)
    }
}

/// A program's code with names.
struct Named<'c> {
    bytes: &'c [u8],
    /// Address of the first byte.
    start: u64,
    /// Ascending by address. Code ahead of the first one belongs to nobody.
    functions: Vec<Function<'c>>,
    /// Ascending by offset.
    lines: Vec<Line<'c>>,
    /// Offset of the part of the program that tail calls of others enter.
    bare: u64,
    program: &'c str,
    tier: &'static str,
}

/// A function: offsets of its code, and its name if it is a subprogram.
struct Function<'c> {
    start: u64,
    end: u64,
    sub: Option<&'c str>,
}

/// From this offset on the code stands for this source line.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Line<'c> {
    at: u64,
    file: &'c str,
    line: u32,
    col: u32,
}

impl<'c> Named<'c> {
    /// `None` for code that is in a library.
    fn of(program: &'c Program, code: &'c Compiled, tier: &'static str) -> Option<Named<'c>> {
        let (bytes, start) = (code.bytes(), code.bytes().as_ptr().addr() as u64);
        if bytes.is_empty() {
            return None;
        }
        let mut at: Vec<(u64, usize)> =
            code.functions().iter().map(|(slot, at)| (at - start, *slot)).collect();
        at.sort_unstable();
        let ends = at.iter().skip(1).map(|f| f.0).chain([bytes.len() as u64]);
        let function = |((start, slot), end): (&(u64, usize), u64)| {
            let sub = program.subprogs.iter().find(|s| s.start == *slot && *slot != 0);
            Function { start: *start, end: end.max(*start), sub: sub.map(|s| s.name.as_str()) }
        };
        let functions: Vec<Function<'_>> = at.iter().zip(ends).map(function).collect();
        let line = |(at, slot): &(u32, u32)| {
            let slot = *slot as usize;
            let l = program.line_at(slot).filter(|_| slot < program.insns.len())?;
            Some(Line { at: (*at).into(), file: &l.file, line: l.line, col: l.col })
        };
        let mut lines: Vec<Line<'_>> = code.places().iter().filter_map(line).collect();
        // What a function begins with belongs to its first line.
        for f in &functions {
            let first = lines.partition_point(|l| l.at < f.start);
            if let Some(l) = lines.get(first).copied().filter(|l| l.at > f.start && l.at < f.end) {
                lines.insert(first, Line { at: f.start, ..l });
            }
        }
        lines.dedup_by(|next, last| Line { at: last.at, ..*next } == *last);
        let bare = code.bare().saturating_sub(start);
        Some(Named { bytes, start, functions, lines, bare, program: &program.name, tier })
    }

    /// `bpf_prog_NAME`, of a subprogram with `separator` and its own name behind it.
    fn name(&self, f: &Function<'_>, separator: &str) -> String {
        let sub = f.sub.map_or(String::new(), |s| format!("{separator}{s}"));
        format!("bpf_prog_{}{sub}", self.program)
    }

    fn code(&self, f: &Function<'_>) -> &[u8] {
        self.bytes.get(f.start as usize..f.end as usize).unwrap_or_default()
    }

    /// The lines of a function.
    fn lines(&self, f: &Function<'_>) -> &[Line<'c>] {
        let at = |offset| self.lines.partition_point(|l| l.at < offset);
        &self.lines[at(f.start)..at(f.end)]
    }
}

/// A file for this user alone. One that is there already has to be his, and no link to another.
fn private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let file = options.create(true).mode(0o600).custom_flags(flags).open(path)?;
    let m = file.metadata()?;
    if !m.is_file() || m.nlink() != 1 || m.uid() != skep_jit::marker::user_id() {
        return Err(io::Error::other("the file is there and belongs to somebody else; remove it"));
    }
    Ok(file)
}
