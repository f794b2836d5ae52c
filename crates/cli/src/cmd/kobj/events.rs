//! `skep map event_pipe` and `skep prog tracelog`: what programs in the kernel report, live.

use super::{Words, door, refused, words_arg};
use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::Out;
use crate::stream::{End, Followed, Limits, follow, summary, summary_json};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use skep::btf::{Btf, Kind};
use skep::descriptors::Errno;
use skep::kernel::door::IdKind;
use skep::kernel::link::tracefs;
use skep::kernel::wait::Waiter;
use skep::kernel::{KernelMap, info};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// `skep map event_pipe MAP`.
pub(crate) static EVENT_PIPE: Cmd = Cmd {
    path: &["map", "event_pipe"],
    about: "Show the records of a ring buffer or perf event array as they come, until interrupted",
    long: "Records are taken out: two readers of one ring buffer share what comes. With --type, or where the types have a struct named\n\
           like the map, records are printed by their type; --btf takes the types from an object file. Sleeps while nothing comes.\n\
           At the end standard error says how many were received and, for perf event arrays, how many were lost.\n\n\
           Examples:\n  skep map event_pipe name events --btf prog.bpf.o\n  skep map event_pipe pinned /sys/fs/bpf/events -o jsonl --count 10",
    args: || {
        let mut args = vec![
            words_arg("MAP", "id N, pinned PATH or name NAME"),
            Arg::new("btf")
                .long("btf")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Object file or raw BTF that has the records' type"),
            Arg::new("type").long("type").value_name("STRUCT").requires("btf").help("The records' type"),
        ];
        args.extend(limit_args());
        args
    },
    run: event_pipe,
};

/// `skep prog tracelog`.
pub(crate) static TRACELOG: Cmd = Cmd {
    path: &["prog", "tracelog"],
    about: "Show what programs in the kernel print (bpf_printk), until interrupted",
    long: "Reads tracefs' trace_pipe, which all programs of the machine share.\n\nExample:\n  skep prog tracelog",
    args: Vec::new,
    run: |_, out| tracelog(out),
};

/// Options that end following.
pub(crate) fn limit_args() -> Vec<Arg> {
    vec![
        Arg::new("count")
            .long("count")
            .value_name("N")
            .value_parser(value_parser!(u64).range(1..))
            .help("End after so many records"),
        Arg::new("duration")
            .long("duration")
            .value_name("SECONDS")
            .value_parser(value_parser!(f64))
            .help("End after so many seconds"),
        Arg::new("quiet").long("quiet").action(ArgAction::SetTrue).help("Count records, do not print them"),
    ]
}

pub(crate) fn limits(m: &ArgMatches) -> Result<Limits, Failure> {
    let seconds = m.get_one::<f64>("duration").copied();
    let duration = match seconds.map(Duration::try_from_secs_f64) {
        None => None,
        Some(Ok(d)) => Some(d),
        Some(Err(_)) => return Err(Failure::Usage("--duration: a number of seconds is expected".into())),
    };
    Ok(Limits { count: m.get_one::<u64>("count").copied(), duration })
}

/// A waiter that ends with the request to end.
pub(crate) fn waiter() -> Result<Waiter, Failure> {
    waits(Waiter::new().and_then(Waiter::with_interrupts))
}

/// The same, and it ticks every second.
pub(crate) fn ticking(waiter: Waiter) -> Result<Waiter, Failure> {
    waits(waiter.with_ticks(1000))
}

fn waits(made: Result<Waiter, Errno>) -> Result<Waiter, Failure> {
    made.map_err(|e| Failure::Failed(format!("cannot wait for events: {e}")))
}

fn event_pipe(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let mut words = Words::new(m);
    let door = door();
    let fd = words.which()?.one(&*door, IdKind::Map)?;
    // bpftool's `cpu N index M` chooses one ring; all are read here, and each record says its CPU.
    while words.take("cpu") || words.take("index") {
        words.number("cpu")?;
    }
    words.end()?;
    let info = info::map(&*door, fd.as_fd()).map_err(|e| refused("describing the map", e))?;
    let map = KernelMap::open(&door, fd).map_err(|e| refused("opening the map", e))?;
    let btf: Option<Arc<Btf>> = match m.get_one::<PathBuf>("btf") {
        Some(path) => Some(super::super::btf::read(path, None)?),
        None if info.btf_id != 0 => super::load_btf(&*door, info.btf_id).map(Arc::new),
        None => None,
    };
    let record = match (m.get_one::<String>("type"), &btf) {
        (Some(name), Some(btf)) => Some(btf.find_by_name_kind(name, Kind::Struct).ok_or_else(|| {
            Failure::Input(format!("the types have no struct {name}; `skep btf dump` lists them"))
        })?),
        _ => None,
    };
    let waiter = waiter()?;
    let mut maps = [Followed::open(&map, btf.as_deref(), record)?];
    let end = follow(&waiter, &mut maps, limits(m)?, m.get_flag("quiet"), out, &mut |_| Ok(()))?;
    if out.is_json() && m.get_flag("quiet") {
        let row = crate::output::object([("streams", summary_json(&maps))]);
        out.json(row)?;
    }
    eprintln!("{}", summary(&maps));
    match end {
        End::Interrupt => Err(Failure::Interrupted),
        End::Limit => Ok(()),
    }
}

fn tracelog(out: &mut Out) -> Result<(), Failure> {
    let folder = tracefs().ok_or_else(|| {
        Failure::Input("tracefs is not mounted: mount -t tracefs tracefs /sys/kernel/tracing".into())
    })?;
    let path = folder.join("trace_pipe");
    let file = File::open(&path).map_err(|e| Failure::io("open", Path::new(&path), &e))?;
    for line in BufReader::new(file).lines() {
        let line = line.map_err(|e| Failure::io("read", Path::new(&path), &e))?;
        if out.is_json() {
            out.json(crate::output::object([("line", line.into())]))?;
        } else {
            out.line(&line)?;
        }
        out.finish()?;
    }
    Ok(())
}
