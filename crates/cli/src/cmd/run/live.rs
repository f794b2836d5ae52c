//! `skep run --engine kernel --attach …`: the programs on real hooks until the process is asked to end. Links go with the
//! process, whatever happens to it.

use super::{Machine, follow};
use crate::cmd::kobj::{self, events};
use crate::failure::Failure;
use crate::output::{Out, object};
use crate::stream::{self, End, Followed, summary, summary_json};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use serde_json::{Map, Value};
use skep::descriptors::{EngineError, Errno};
use skep::kernel::auto::{self, Given};
use skep::kernel::link::XdpMode;
use skep::kernel::{Kernel, KernelProgram, Link, info};
use skep::{Collection, Engine};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// What says that programs are attached, and where to.
const PLACES: [&str; 4] = ["iface", "cgroup", "netns", "pid"];

pub(crate) fn args() -> Vec<Arg> {
    let path = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).value_parser(value_parser!(PathBuf)).help(help)
    };
    let mut args = vec![
        Arg::new("attach")
            .long("attach")
            .action(ArgAction::SetTrue)
            .help("Attach the programs where their sections say, until interrupted (--engine kernel)"),
        Arg::new("iface").long("iface").value_name("DEVICE").help("Attach to this network device"),
        path("cgroup", "FOLDER", "Attach to this cgroup"),
        path("netns", "FILE", "Attach to this network namespace; default: the own one"),
        Arg::new("pid")
            .long("pid")
            .value_name("PID")
            .value_parser(value_parser!(u32))
            .help("Attach probes and tracepoints for this process only"),
        Arg::new("xdp-mode")
            .long("xdp-mode")
            .value_parser(["generic", "native", "offload"])
            .help("Where XDP programs run; default: in the driver if it can"),
        Arg::new("follow")
            .long("follow")
            .value_name("MAP")
            .num_args(0..=1)
            .default_missing_value("")
            .require_equals(true)
            .help(
                "Show records as they come, of this ring buffer or perf event array (--follow=MAP) or of all",
            ),
    ];
    args.extend(events::limit_args());
    args
}

/// Whether programs are to be attached.
pub(crate) fn wanted(m: &ArgMatches) -> bool {
    m.get_flag("attach") || PLACES.iter().any(|p| m.contains_id(p))
}

/// A program at its hook.
struct Attached<'a> {
    program: &'a KernelProgram,
    name: &'a str,
    _link: Link,
    place: String,
}

/// Attaches the programs, shows what happens, detaches.
pub(crate) fn run(
    m: &ArgMatches,
    machine: &Machine,
    path: &std::path::Path,
    out: &mut Out,
) -> Result<(), Failure> {
    let Machine::Kernel(kernel) = machine else {
        return Err(Failure::Unsupported(
            "attaching needs --engine kernel; the user engine runs on captures: --pcap FILE".into(),
        ));
    };
    // Interrupts are events before anything is attached.
    let waiter = events::waiter()?;
    let c = super::open(m, path, kernel, machine.told())?;
    for e in &c.missing {
        eprintln!("skep: {e}; programs that use it cannot be loaded");
    }
    let attached = attach(m, kernel, &c, path)?;
    let mut maps = follow::followed(m, &c, machine.cpus())?;
    let _stats: Option<OwnedFd> = kernel.door().enable_stats().ok();
    for a in &attached {
        eprintln!("skep: {} is attached to {}", a.name, a.place);
    }
    let quiet = m.get_flag("quiet");
    let live = !quiet && maps.is_empty();
    let waiter = if live { events::ticking(waiter)? } else { waiter };
    let mut last: Vec<u64> = vec![0; attached.len()];
    let mut tick = |_: &mut Out| {
        if live {
            let now: Vec<u64> = attached.iter().map(|a| runs(kernel, a.program).0).collect();
            let words = attached.iter().zip(now.iter().zip(&last));
            let words: Vec<String> = words
                .map(|(a, (n, l))| format!("{} {n} runs (+{}/s)", a.name, n.saturating_sub(*l)))
                .collect();
            eprintln!("{}", words.join("  "));
            last = now;
        }
        Ok(())
    };
    let format = out.format;
    let end = stream::follow(&waiter, &mut maps, events::limits(m)?, quiet, out, &mut tick)?;
    if !maps.is_empty() {
        eprintln!("{}", summary(&maps));
    }
    out.format = format;
    report(kernel, &attached, &maps, &c, m, out)?;
    match end {
        End::Interrupt => Err(Failure::Interrupted),
        End::Limit => Ok(()),
    }
}

/// Runs and nanoseconds, as the kernel counts them.
fn runs(kernel: &Kernel, program: &KernelProgram) -> (u64, u64) {
    info::prog(&**kernel.door(), program.as_fd()).map_or((0, 0), |i| (i.run_cnt, i.run_time_ns))
}

fn attach<'c>(
    m: &ArgMatches,
    kernel: &Kernel,
    c: &'c Collection,
    path: &std::path::Path,
) -> Result<Vec<Attached<'c>>, Failure> {
    let given = Given {
        device: m.get_one::<String>("iface").map(String::as_str),
        mode: match m.get_one::<String>("xdp-mode").map(String::as_str) {
            Some("generic") => XdpMode::Generic,
            Some("native") => XdpMode::Native,
            Some("offload") => XdpMode::Offload,
            _ => XdpMode::Any,
        },
        cgroup: m.get_one::<PathBuf>("cgroup").map(PathBuf::as_path),
        netns: m.get_one::<PathBuf>("netns").map(PathBuf::as_path),
        pid: m.get_one::<u32>("pid").copied(),
        ..Given::default()
    };
    let named = m.contains_id("prog") && m.get_many::<String>("prog").is_some_and(|p| p.len() > 0);
    let mut attached = Vec::new();
    for p in c.programs.iter().filter(|p| !p.tail_called) {
        let Some(program) = p.loaded.as_any().downcast_ref::<KernelProgram>() else { continue };
        let name = &p.loaded.program().name;
        match auto::attach(kernel, program, &given) {
            Ok(link) => {
                let place = link.place().to_owned();
                attached.push(Attached { program, name, _link: link, place });
            }
            // Of several programs those that have another kind of hook are left out.
            Err(e @ EngineError::Attach { errno: Errno::EDESTADDRREQ, .. })
                if !named && c.programs.len() > 1 =>
            {
                eprintln!("skep: program {name} is left out: {e}");
            }
            Err(e) => return Err(kobj::engine(&e)),
        }
    }
    for (name, why) in &c.skipped {
        eprintln!("skep: program {name} is left out: {why}");
    }
    if attached.is_empty() {
        if let [(_, why)] = &*c.skipped {
            return Err(Failure::open(path, why));
        }
        return Err(Failure::Input(format!(
            "{}: no program could be attached; --iface, --cgroup, --netns and --pid say where to",
            path.display()
        )));
    }
    Ok(attached)
}

fn report(
    kernel: &Kernel,
    attached: &[Attached<'_>],
    followed: &[Followed<'_>],
    c: &Collection,
    m: &ArgMatches,
    out: &mut Out,
) -> Result<(), Failure> {
    let limit =
        m.get_one::<u32>("map-limit").map_or(if out.is_json() { 65_536 } else { 16 }, |n| *n as usize);
    let cpus = skep::kernel::possible_cpus();
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    for a in attached {
        let (runs, ns) = runs(kernel, a.program);
        let each = ns.checked_div(runs).unwrap_or(0);
        let stats = if m.get_flag("stats") { kernel.run_stats(a.program).ok() } else { None };
        if out.is_json() {
            let mut row = object([
                ("prog", a.name.into()),
                ("place", a.place.clone().into()),
                ("runs", runs.into()),
                ("ns_per_run", each.into()),
            ]);
            stats.iter().for_each(|s| row.extend(super::report::stats_json(s)));
            rows.push(row);
        } else {
            out.line(&format!("{} on {}: {runs} runs, {each} ns a run", a.name, a.place))?;
            stats.iter().try_for_each(|s| out.line(&super::report::stats_text(s)))?;
        }
    }
    if out.is_json() {
        let programs = rows.into_iter().map(Value::Object).collect();
        let mut o = object([("programs", Value::Array(programs))]);
        if !followed.is_empty() {
            o.insert("streams".into(), summary_json(followed));
        }
        o.insert("maps".into(), Value::Object(super::maps_json(c, cpus, limit)));
        return out.json(o);
    }
    super::maps_text(out, c, cpus, limit)
}
