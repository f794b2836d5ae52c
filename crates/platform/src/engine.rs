//! Engines: what can create maps, load programs and run them. [`Platform`] is the collected data they stand for.

use crate::ctx::ProgTypeDesc;
use crate::env::{Context, Fault, Region};
use crate::errno::Errno;
use crate::helper::{Helper, Version};
use crate::kfunc::Kfunc;
use crate::map::{Map, MapDef, MapError, MapTypeDesc};
use crate::program::{LineInfo, Program, Verified};
use crate::uapi::{MapType, ProgType};
use skep_btf::Btf;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The rows of a platform: Linux up to `version`.
#[derive(Clone, Copy, Debug)]
pub struct Platform {
    /// Newest Linux whose features it has.
    pub version: Version,
    /// Helpers, ascending by id.
    pub helpers: &'static [&'static Helper],
    /// Kernel functions, ascending by name.
    pub kfuncs: &'static [Kfunc],
    /// Program types, ascending by id.
    pub prog_types: &'static [&'static ProgTypeDesc],
    /// Map types, ascending by id.
    pub map_types: &'static [&'static MapTypeDesc],
}

impl Platform {
    /// Helper by number. Cost: a binary search.
    pub fn helper(&self, id: u32) -> Option<&'static Helper> {
        let at = self.helpers.binary_search_by_key(&id, |h| h.id).ok()?;
        let h = self.helpers[at];
        (h.since <= self.version).then_some(h)
    }

    /// Helper by UAPI name. Cost: a scan.
    pub fn helper_by_name(&self, name: &str) -> Option<&'static Helper> {
        self.helpers.iter().copied().find(|h| h.name == name && h.since <= self.version)
    }

    /// Row of a kernel function. Cost: a binary search.
    pub fn kfunc(&self, name: &str) -> Option<&'static Kfunc> {
        self.kfuncs.binary_search_by(|k| k.name.cmp(name)).ok().map(|i| &self.kfuncs[i])
    }

    /// Row of a program type.
    pub fn prog_type(&self, t: ProgType) -> Option<&'static ProgTypeDesc> {
        self.prog_types.iter().copied().find(|d| d.prog_type == t)
    }

    /// Row of a map type.
    pub fn map_type(&self, t: MapType) -> Option<&'static MapTypeDesc> {
        self.map_types.iter().copied().find(|d| d.map_type == t)
    }
}

/// A program given to an engine.
#[derive(Clone, Debug)]
pub enum Loadable {
    /// Accepted by the verifier: any tier may run it.
    Verified(Verified),
    /// Not judged: the checked tier runs it with every step checked, the kernel engine lets the kernel judge.
    Unverified(Arc<Program>),
}

impl Loadable {
    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        match self {
            Loadable::Verified(v) => v.program(),
            Loadable::Unverified(p) => p,
        }
    }
}

/// How often a program ran (`struct bpf_prog_info`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RunStats {
    /// Runs (`run_cnt`).
    pub runs: u64,
    /// Nanoseconds of all of them together (`run_time_ns`).
    pub ns: u64,
    /// Runs that did not take place since the program was running on that CPU already (`recursion_misses`); none in the user
    /// engine.
    pub recursion_misses: u64,
}

/// What runs programs.
pub trait Engine {
    /// Data it goes by.
    fn platform(&self) -> &Platform;
    /// Creates a map.
    fn create_map(&self, def: &MapDef) -> Result<Arc<dyn Map>, MapError>;
    /// Types that objects are fitted to whose user names none. `None`: this engine fits nothing by itself.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for an engine that would, and has no types.
    fn target_btf(&self) -> Result<Option<Arc<Btf>>, EngineError> {
        Ok(None)
    }
    /// Makes a program ready to run.
    fn load(&self, program: Loadable) -> Result<Arc<dyn Loaded>, EngineError>;
    /// Runs a program once on `ctx` (`BPF_PROG_TEST_RUN`).
    fn test_run(&self, program: &dyn Loaded, ctx: &mut Context) -> Result<u64, Box<RunError>>;
    /// Runs of a program since they are counted. Both engines count when they are asked to; runs that a tail call leads to
    /// belong to the program that the run began with.
    ///
    /// # Errors
    /// `EINVAL` for a program of another engine.
    fn run_stats(&self, program: &dyn Loaded) -> Result<RunStats, Errno>;
    /// Attaches a program to a hook.
    fn attach(&self, program: Arc<dyn Loaded>, target: &str) -> Result<Box<dyn Link>, EngineError>;
}

/// A program ready to run.
pub trait Loaded: Any + Send + Sync {
    /// The program it was made from.
    fn program(&self) -> &Arc<Program>;
    /// For downcasts by the engine that made it.
    fn as_any(&self) -> &dyn Any;
    /// The same, shared: what goes into program arrays.
    fn into_handle(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// An attachment: dropping it detaches, unless it is pinned.
pub trait Link: Send {
    /// Replaces the program atomically.
    fn update(&mut self, program: Arc<dyn Loaded>) -> Result<(), EngineError>;
    /// Detaches now, reporting failure.
    fn detach(self: Box<Self>) -> Result<(), EngineError>;
}

/// An engine's refusal.
#[derive(Clone, Debug)]
pub enum EngineError {
    /// The program cannot be loaded: which instruction, if one, and why.
    Load {
        /// Program's name.
        prog: String,
        /// Instruction.
        insn: Option<usize>,
        /// What is wrong and what to do.
        why: String,
    },
    /// Not in this engine.
    Unsupported {
        /// What was asked for.
        what: String,
        /// Why, and what to use.
        why: String,
    },
    /// Not allowed: a permission or a limit of the system.
    Permission {
        /// What was asked for.
        what: String,
        /// What is missing, and how to come by it.
        why: String,
    },
    /// A hook does not take the program.
    Attach {
        /// Program's name.
        prog: String,
        /// The hook.
        to: String,
        /// The error number that came with it.
        errno: Errno,
        /// Why, and what to do.
        why: String,
    },
    /// Refused by the verifier that the engine asks.
    Refused(Box<Refusal>),
}

/// A verifier's refusal, read from its log.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Program's name.
    pub prog: String,
    /// Error number that came with it.
    pub errno: Errno,
    /// The main phrase.
    pub message: String,
    /// Instruction that was being looked at.
    pub insn: Option<usize>,
    /// Its source line.
    pub line: Option<LineInfo>,
    /// The whole log.
    pub log: String,
}

impl Refusal {
    /// The last `n` lines of the log.
    pub fn tail(&self, n: usize) -> impl Iterator<Item = &str> {
        let lines = self.log.lines().count();
        self.log.lines().skip(lines.saturating_sub(n))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "program {} is refused by the verifier: {}", self.prog, self.message)?;
        if let Some(insn) = self.insn {
            write!(f, ", at instruction {insn}")?;
        }
        match &self.line {
            Some(l) => write!(f, " ({}:{}:{})", l.file, l.line, l.col),
            None => Ok(()),
        }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineError::Load { prog, insn: Some(i), why } => {
                write!(f, "program {prog}, instruction {i}: {why}")
            }
            EngineError::Load { prog, insn: None, why } => write!(f, "program {prog}: {why}"),
            EngineError::Unsupported { what, why } => write!(f, "{what} is not supported here: {why}"),
            EngineError::Permission { what, why } => write!(f, "{what} is not permitted: {why}"),
            EngineError::Attach { prog, to, why, .. } if prog.is_empty() => write!(f, "{to}: {why}"),
            EngineError::Attach { prog, to, why, .. } => {
                write!(f, "program {prog} cannot be attached to {to}: {why}")
            }
            EngineError::Refused(r) => r.fmt(f),
        }
    }
}

impl std::error::Error for EngineError {}

/// A run that was stopped: the fault, where, and how it came to it.
#[derive(Clone, Debug)]
pub struct RunError {
    /// What went wrong.
    pub fault: Fault,
    /// Program it happened in (after tail calls, not the first one).
    pub program: Arc<Program>,
    /// Instruction.
    pub insn: usize,
    /// The instruction in the kernel's notation, with names.
    pub text: String,
    /// Calls that led here, from the outermost frame to the innermost.
    pub calls: Vec<CallSite>,
    /// The registers involved, as they stood before the instruction.
    pub registers: Vec<RegisterNote>,
    /// Where the values of the registers involved came from: (instruction, text), newest last.
    pub history: Vec<(usize, String)>,
}

/// A call that has not returned.
#[derive(Clone, Debug)]
pub struct CallSite {
    /// Program of the call: not always the one that was stopped, since subprograms may tail-call.
    pub program: Arc<Program>,
    /// The call instruction, or that of the helper that called back.
    pub insn: usize,
}

/// A register at the moment a run was stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegisterNote {
    /// Its number, 0 to 10.
    pub reg: u8,
    /// Its value.
    pub value: u64,
    /// In words: `packet + 14, 20 bytes remain of 34`, `scalar 7`, `not initialised`.
    pub text: String,
    /// Region it points into, if it does.
    pub region: Option<Region>,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: instruction {}: {}", self.program.name, self.insn, self.fault)?;
        if let Some(l) = self.program.line_at(self.insn) {
            write!(f, " ({}:{}:{})", l.file, l.line, l.col)?;
        }
        Ok(())
    }
}

impl std::error::Error for RunError {}
