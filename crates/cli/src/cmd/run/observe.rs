//! What a run shows of itself to other tools: counted runs, and compiled code by name for perf and gdb.

use crate::failure::Failure;
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use skep::vm::{JitDump, PerfMap, Tier, User};
use std::path::PathBuf;
use std::sync::Arc;

/// Those that name compiled code.
pub(super) const CODE: [&str; 3] = ["perf-map", "jitdump", "gdb"];

pub(super) fn args() -> Vec<Arg> {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    vec![
        flag(
            "stats",
            "Count each program's runs and their time, clock and all, and show them as run_cnt and run_time_ns",
        ),
        flag("perf-map", "Name compiled code for `perf report`, in /tmp/perf-PID.map"),
        Arg::new("jitdump")
            .long("jitdump")
            .value_name("FOLDER")
            .value_parser(value_parser!(PathBuf))
            .num_args(0..=1)
            .default_missing_value(".")
            .require_equals(true)
            .help("Write compiled code with its source lines for `perf inject --jit`, in FOLDER/jit-PID.dump (default: .)"),
        flag("gdb", "Show compiled code to gdb: functions, source lines and frames"),
    ]
}

/// The engine with what the arguments ask for. Commands other than `skep run` have no such arguments.
pub(super) fn apply(m: &ArgMatches, tier: Tier, mut user: User) -> Result<User, Failure> {
    let given = |name: &str| m.try_get_one::<bool>(name).ok().flatten().is_some_and(|g| *g);
    let jitdump = m.try_get_one::<PathBuf>("jitdump").ok().flatten();
    if matches!(tier, Tier::Checked | Tier::Interp) {
        let asked = |name: &&&str| given(name) || (**name == "jitdump" && jitdump.is_some());
        if let Some(name) = CODE.iter().find(asked) {
            let tier = tier.name();
            return Err(Failure::Usage(format!("--{name} goes with the tiers that compile, not {tier}")));
        }
    }
    if given("stats") {
        user = user.with_run_stats();
    }
    if given("perf-map") {
        let path = PathBuf::from(format!("/tmp/perf-{}.map", std::process::id()));
        let map = PerfMap::open().map_err(|e| Failure::io("write", &path, &e))?;
        user = user.with_perf_map(Arc::new(map));
    }
    if let Some(folder) = jitdump {
        let dump = JitDump::open(folder).map_err(|e| Failure::io("write a dump in", folder, &e))?;
        user = user.with_jitdump(Arc::new(dump));
    }
    Ok(if given("gdb") { user.with_debugger() } else { user })
}
