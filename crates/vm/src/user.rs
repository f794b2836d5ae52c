//! The user engine: makes maps and programs, runs programs on contexts.
//!
//! `Loadable` → [`User::load`] → [`UserProgram`] → [`Runner::run`]. A [`UserProgram`] is shared freely; a [`Runner`] holds
//! the memory of one thread's runs, so runs on many threads take no lock.

use crate::checked;
use crate::checked::code::Code;
use crate::checked::run::{Machine, Options};
use crate::native::{self, JitDump, Native, PerfMap, Watchers};
use crate::stats::{self, Stats};
use skep_jit::aot::{Library, Source};
use skep_platform::engine::{Engine, EngineError, Link, Loadable, Loaded, Platform, RunError, RunStats};
use skep_platform::env::{Context, Host};
use skep_platform::errno::Errno;
use skep_platform::map::{Create, Map, MapDef, MapError};
use skep_platform::program::{Program, Verified};
use std::any::Any;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// How programs are run. All tiers mean the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Tier {
    /// Interpreter with shadow state: runs unverified programs safely.
    Checked,
    /// Plain interpreter for verified programs.
    Interp,
    /// One-pass compiler.
    Baseline,
    /// Optimising compiler.
    Optimized,
    /// The baseline, and in the background the optimising compiler for programs that run often. Programs that were not
    /// verified, or that only the checked tier can run, are run in that.
    #[default]
    Auto,
    /// Code made ahead of time by a C compiler, out of a library that is given to the engine ([`User::with_library`]).
    Aot,
}

impl Tier {
    /// Every tier with its name on the command line.
    pub const ALL: [(Tier, &'static str); 6] = [
        (Tier::Checked, "checked"),
        (Tier::Interp, "interp"),
        (Tier::Baseline, "baseline"),
        (Tier::Optimized, "optimized"),
        (Tier::Auto, "auto"),
        (Tier::Aot, "aot"),
    ];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        Tier::ALL.iter().find(|(t, _)| *t == self).map_or("", |(_, n)| n)
    }

    /// The tier with this name.
    pub fn from_name(name: &str) -> Option<Tier> {
        Tier::ALL.iter().find(|(_, n)| *n == name).map(|(t, _)| *t)
    }
}

/// The user engine.
pub struct User {
    platform: Platform,
    host: Arc<dyn Host>,
    tier: Tier,
    promote_after: Option<u32>,
    options: Options,
    library: Option<Arc<Library>>,
    watchers: Watchers,
    counted: bool,
    idle: Mutex<Vec<Runner>>,
}

/// Runs after which the tier *auto* compiles a program again: some milliseconds of a usual packet program's time.
const PROMOTE_AFTER: u32 = 10_000;

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User({})", self.tier.name())
    }
}

impl User {
    /// An engine on these rows and this host, with the tier *auto* and default limits.
    pub fn new(platform: Platform, host: Arc<dyn Host>) -> User {
        let (tier, options, idle) = (Tier::default(), Options::default(), Mutex::default());
        let (promote_after, library, watchers, counted) =
            (Some(PROMOTE_AFTER), None, Watchers::default(), false);
        User { platform, host, tier, promote_after, options, library, watchers, counted, idle }
    }

    /// The same, with other numbers of runs after which the tier *auto* gives a program to the optimising compiler; with
    /// `None` it stays in the baseline.
    #[must_use]
    pub fn with_promotion(mut self, after: Option<u32>) -> User {
        self.promote_after = after;
        self
    }

    /// The same with another tier.
    #[must_use]
    pub fn with_tier(mut self, tier: Tier) -> User {
        self.tier = tier;
        self
    }

    /// The same with a library of code made ahead of time, for the tier *aot*.
    #[must_use]
    pub fn with_library(mut self, library: Arc<Library>) -> User {
        self.library = Some(library);
        self
    }

    /// The same, naming the code of programs that are loaded from now on for `perf`. Costs runs nothing.
    #[must_use]
    pub fn with_perf_map(mut self, names: Arc<PerfMap>) -> User {
        self.watchers.perf_map = Some(names);
        self
    }

    /// The same, writing the code of programs that are loaded from now on, with their source lines, for `perf inject --jit`.
    /// Costs runs nothing.
    #[must_use]
    pub fn with_jitdump(mut self, dump: Arc<JitDump>) -> User {
        self.watchers.jitdump = Some(dump);
        self
    }

    /// The same, showing the code of programs that are loaded from now on to gdb and other debuggers: functions, source lines and
    /// frames, until the program is dropped. Costs runs nothing, and each program some kilobytes. x86-64 Linux; elsewhere
    /// nothing is shown.
    #[must_use]
    pub fn with_debugger(mut self) -> User {
        self.watchers.debugger = true;
        self
    }

    /// The same, counting the runs of programs that are loaded from now on, as [`UserProgram::count_runs`] does.
    #[must_use]
    pub fn with_run_stats(mut self) -> User {
        self.counted = true;
        self
    }

    /// A verified program as C, for [`aot::library`](skep_jit::aot::library). Its maps have to be of the definitions that they will
    /// have when the library is used.
    ///
    /// # Errors
    /// Programs that only the checked tier can run.
    pub fn native_source(&self, program: &Verified) -> Result<Source, EngineError> {
        native::source(program, &self.platform, &self.host)
    }

    /// The same with other limits for the checked tier.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> User {
        self.options = options;
        self
    }

    /// The host that programs see.
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    /// Makes a program ready to run, with its concrete type. Cost: one pass over the instructions.
    pub fn load_program(&self, program: &Loadable) -> Result<Arc<UserProgram>, EngineError> {
        let verified = matches!(program, Loadable::Verified(_));
        let form = match (self.tier, program) {
            (Tier::Checked, _) | (Tier::Auto, Loadable::Unverified(_)) => {
                Form::Checked(Arc::new(Code::new(program.program().clone(), &self.platform)?))
            }
            (Tier::Optimized, _) if !skep_jit::OPTIMIZES => {
                return Err(self.unsupported("this build has no optimising compiler; use --tier baseline"));
            }
            (Tier::Auto, Loadable::Verified(v)) => {
                let tier = if skep_jit::AVAILABLE { Tier::Auto } else { Tier::Interp };
                match self.native(v, tier) {
                    Ok(native) => Form::Native(native),
                    Err(EngineError::Unsupported { .. }) => {
                        Form::Checked(Arc::new(Code::new(program.program().clone(), &self.platform)?))
                    }
                    Err(e) => return Err(e),
                }
            }
            (_, Loadable::Verified(v)) => Form::Native(self.native(v, self.tier)?),
            (_, Loadable::Unverified(_)) => {
                return Err(self.unsupported("it runs verified programs only; use --tier checked"));
            }
        };
        let stats = Stats::default();
        stats.switch(self.counted);
        let (native, checked) = match form {
            Form::Native(native) => (Some(native), None),
            Form::Checked(code) => (None, Some(code)),
        };
        Ok(Arc::new(UserProgram { native, checked, program: program.program().clone(), verified, stats }))
    }

    fn native(&self, verified: &Verified, tier: Tier) -> Result<Arc<Native>, EngineError> {
        let library = self.library.as_deref();
        let (promote, watchers) = (self.promote_after, &self.watchers);
        Ok(Arc::new(Native::new(verified, &self.platform, &self.host, tier, promote, library, watchers)?))
    }

    fn unsupported(&self, why: &str) -> EngineError {
        EngineError::Unsupported { what: format!("tier {}", self.tier.name()), why: why.into() }
    }

    /// Memory for the runs of one thread.
    pub fn runner(&self) -> Runner {
        Runner {
            machine: Machine::default(),
            native: native::Machine::default(),
            host: self.host.clone(),
            options: self.options,
            counter: stats::next(),
        }
    }
}

/// A program's machine code.
#[derive(Clone, Copy, Debug)]
pub struct MachineCode<'p> {
    /// Where it is.
    pub address: u64,
    /// The code, ways in and out included.
    pub bytes: &'p [u8],
    /// First instruction and address of every function that has code of its own, ascending by instruction.
    pub functions: &'p [(usize, u64)],
    /// Offsets at which the code of an instruction begins, ascending, with the instruction. Optimised code may have several places
    /// of one instruction, or none.
    pub places: &'p [(u32, u32)],
}

/// A program loaded into the user engine.
#[derive(Debug)]
pub struct UserProgram {
    /// Its form for the tiers that run verified programs, if it was loaded for one of them.
    native: Option<Arc<Native>>,
    /// Its form for the checked tier, if it has no other one.
    checked: Option<Arc<Code>>,
    program: Arc<Program>,
    verified: bool,
    stats: Stats,
}

/// What a tier made of a program.
#[derive(Debug)]
enum Form {
    Checked(Arc<Code>),
    Native(Arc<Native>),
}

impl UserProgram {
    /// Its form for the checked tier, if it was loaded for that.
    pub(crate) fn checked(&self) -> Option<&Arc<Code>> {
        self.checked.as_ref()
    }

    /// Its form for the tiers that run verified programs, if it was loaded for one of them.
    pub(crate) fn native(&self) -> Option<&Arc<Native>> {
        self.native.as_ref()
    }

    /// Its machine code, in the tiers that compile.
    pub fn machine_code(&self) -> Option<MachineCode<'_>> {
        let compiled = self.native()?.compiled()?;
        let address = compiled.bytes().as_ptr().addr() as u64;
        let (bytes, functions, places) = (compiled.bytes(), compiled.functions(), compiled.places());
        Some(MachineCode { address, bytes, functions, places })
    }

    /// Counts runs and their time from now on, or no longer; what was counted stays. On any thread, at any time, on every tier.
    ///
    /// A run costs two readings of the clock more while it is on (about 50 ns), a batch of runs two readings altogether; nothing
    /// while it is off. As in the kernel a run belongs to the program that it begins with, wherever tail calls lead.
    pub fn count_runs(&self, on: bool) {
        self.stats.switch(on);
    }

    /// What was counted.
    pub fn run_stats(&self) -> RunStats {
        self.stats.read()
    }

    /// Was it verified before it was loaded?
    pub fn is_verified(&self) -> bool {
        self.verified
    }
}

impl Loaded for UserProgram {
    fn program(&self) -> &Arc<Program> {
        &self.program
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_handle(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Runs programs on one thread; keeps the memory that runs need.
pub struct Runner {
    machine: Machine,
    native: native::Machine,
    host: Arc<dyn Host>,
    options: Options,
    /// Its counter of every program.
    counter: usize,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runner({:?})", self.options)
    }
}

impl Runner {
    /// Runs a program on `ctx`; its `r0`. The checked tier allocates for calls, tail calls and map look-ups, the others for
    /// tail calls and inner maps alone.
    ///
    /// Programs that were verified may read stack bytes that they have not written, as their verdict allows.
    #[inline]
    pub fn run(&mut self, program: &UserProgram, ctx: &mut Context) -> Result<u64, Box<RunError>> {
        if program.stats.on() { self.run_counted(program, ctx) } else { self.run_plain(program, ctx) }
    }

    #[inline(never)]
    fn run_counted(&mut self, program: &UserProgram, ctx: &mut Context) -> Result<u64, Box<RunError>> {
        let began = Instant::now();
        let outcome = self.run_plain(program, ctx);
        program.stats.add(self.counter, 1, began.elapsed());
        outcome
    }

    #[inline]
    fn run_plain(&mut self, program: &UserProgram, ctx: &mut Context) -> Result<u64, Box<RunError>> {
        match &program.native {
            Some(code) => native::run(&mut self.native, code, ctx),
            None => self.run_checked(program, ctx),
        }
    }

    #[inline(never)]
    fn run_checked(&mut self, program: &UserProgram, ctx: &mut Context) -> Result<u64, Box<RunError>> {
        let code = program.checked.as_ref().expect("a program is loaded in one of the two forms");
        let unset_stack = self.options.unset_stack || program.verified;
        let options = Options { unset_stack, ..self.options };
        checked::run(&mut self.machine, code, ctx, &*self.host, options)
    }
}

impl Runner {
    /// Runs a program on one context after the other, and gives each outcome to `each` until that says that it is enough. Cheaper
    /// than as many calls of [`Runner::run`], and takes no memory. Where runs are counted, their time is that of the whole batch,
    /// with what `contexts` and `each` take.
    pub fn run_batch<'c>(
        &mut self,
        program: &UserProgram,
        contexts: impl IntoIterator<Item = &'c mut Context>,
        each: impl FnMut(Result<u64, Box<RunError>>) -> ControlFlow<()>,
    ) {
        if !program.stats.on() {
            return self.run_each(program, contexts.into_iter(), each);
        }
        let (mut runs, began) = (0, Instant::now());
        self.run_each(program, contexts.into_iter().inspect(|_| runs += 1), each);
        program.stats.add(self.counter, runs, began.elapsed());
    }

    fn run_each<'c>(
        &mut self,
        program: &UserProgram,
        contexts: impl Iterator<Item = &'c mut Context>,
        mut each: impl FnMut(Result<u64, Box<RunError>>) -> ControlFlow<()>,
    ) {
        if let Some(code) = &program.native {
            return native::run_all(&mut self.native, code, contexts, each);
        }
        for ctx in contexts {
            if each(self.run_plain(program, ctx)).is_break() {
                return;
            }
        }
    }
}

impl Engine for User {
    fn platform(&self) -> &Platform {
        &self.platform
    }

    fn create_map(&self, def: &MapDef) -> Result<Arc<dyn Map>, MapError> {
        let refuse = |why: String| MapError { map: def.name.clone(), errno: Errno::EINVAL, why };
        let Some(row) = self.platform.map_type(def.map_type) else {
            return Err(refuse(format!("map type {} is not known", def.map_type.label())));
        };
        match row.create {
            Create::Fn(create) => create(def),
            Create::Absent(why) => Err(refuse(format!("map type {}: {why}", def.map_type.label()))),
        }
    }

    fn load(&self, program: Loadable) -> Result<Arc<dyn Loaded>, EngineError> {
        Ok(self.load_program(&program)?)
    }

    fn test_run(&self, program: &dyn Loaded, ctx: &mut Context) -> Result<u64, Box<RunError>> {
        let Some(mine) = program.as_any().downcast_ref::<UserProgram>() else {
            return Err(Box::new(foreign(program)));
        };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut runner = idle.unwrap_or_else(|| self.runner());
        let outcome = runner.run(mine, ctx);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(runner);
        outcome
    }

    fn run_stats(&self, program: &dyn Loaded) -> Result<RunStats, Errno> {
        let mine = program.as_any().downcast_ref::<UserProgram>().ok_or(Errno::EINVAL)?;
        Ok(mine.run_stats())
    }

    fn attach(&self, program: Arc<dyn Loaded>, target: &str) -> Result<Box<dyn Link>, EngineError> {
        Err(EngineError::Unsupported {
            what: format!("attaching program {} to {target}", program.program().name),
            why: "the user engine runs programs on packets and contexts given to it; use `skep run`".into(),
        })
    }
}

fn foreign(program: &dyn Loaded) -> RunError {
    RunError {
        fault: skep_platform::Fault::Rule {
            code: "foreign-program",
            why: "the program was loaded by another engine".into(),
        },
        program: program.program().clone(),
        insn: 0,
        text: String::new(),
        calls: Vec::new(),
        registers: Vec::new(),
        history: Vec::new(),
    }
}
