//! The engine that a run asks for.

use crate::failure::Failure;
use clap::ArgMatches;
use clap::parser::ValueSource;
use skep::descriptors::RunStats;
use skep::kernel::{Kernel, pin_to_cpu, possible_cpus};
use skep::vm::User;
use skep::{Engine, Loaded};
use std::os::fd::OwnedFd;

/// An engine.
pub(crate) enum Machine {
    /// The user engine.
    User(User),
    /// The running kernel.
    Kernel(Kernel),
}

/// Options that say how the user engine works and mean nothing to the kernel.
const USER_ONLY: [&str; 8] =
    ["tier", "library", "no-verify", "strict-stack", "routes", "perf-map", "jitdump", "gdb"];

impl Machine {
    /// As `--engine` and the options of the engines say.
    pub(crate) fn from_args(m: &ArgMatches) -> Result<Machine, Failure> {
        if m.get_one::<String>("engine").is_none_or(|e| e != "kernel") {
            return super::user_engine(m).map(Machine::User);
        }
        let given = |name: &&&str| m.value_source(name) == Some(ValueSource::CommandLine);
        if let Some(name) = USER_ONLY.iter().find(given) {
            return Err(Failure::Usage(format!(
                "--{name} is the user engine's; leave it out or use --engine user"
            )));
        }
        let cpu = m.get_one::<u32>("cpu").copied().unwrap_or(0);
        // Where nobody asked for a CPU another will do.
        if let (Err(e), true) = (pin_to_cpu(cpu), given(&&"cpu")) {
            return Err(Failure::Usage(format!("--cpu {cpu}: this process cannot run there: {e}")));
        }
        kernel().map(Machine::Kernel)
    }

    /// As an engine.
    pub(crate) fn engine(&self) -> &dyn Engine {
        match self {
            Machine::User(u) => u,
            Machine::Kernel(k) => k,
        }
    }

    /// Has the kernel count runs while what is returned lives, if `--stats` asks for it; the user engine counts its own.
    pub(crate) fn count_runs(&self, m: &ArgMatches) -> Result<Option<OwnedFd>, Failure> {
        match self {
            Machine::Kernel(k) if m.get_flag("stats") => {
                k.count_runs().map(Some).map_err(|e| crate::cmd::kobj::refused("counting runs", e))
            }
            _ => Ok(None),
        }
    }

    /// What was counted of a program's runs, if `--stats` asks for it.
    pub(crate) fn stats(&self, m: &ArgMatches, loaded: &dyn Loaded) -> Result<Option<RunStats>, Failure> {
        if !m.get_flag("stats") {
            return Ok(None);
        }
        let stats = self.engine().run_stats(loaded);
        stats.map(Some).map_err(|e| crate::cmd::kobj::refused("reading what was counted", e))
    }

    /// The kernel that programs are told of, where it is not for the tables to say.
    pub(crate) fn told(&self) -> Option<&Kernel> {
        match self {
            Machine::User(_) => None,
            Machine::Kernel(k) => Some(k),
        }
    }

    /// CPUs whose values per-CPU maps have.
    pub(crate) fn cpus(&self) -> usize {
        match self {
            Machine::User(u) => u.host().cpus() as usize,
            Machine::Kernel(_) => possible_cpus(),
        }
    }
}

/// The running kernel, or what keeps it from being used.
pub(crate) fn kernel() -> Result<Kernel, Failure> {
    crate::cmd::kobj::kernel()
}
