//! `skep run`: an object's programs on packets or on a context, and what the maps hold afterwards.
//!
//! Flow: the object is opened in the engine (maps created, programs bound and loaded) → each chosen program runs over
//! the input → one report a program, then the maps. What was counted, written and stored before something went
//! wrong is still shown and kept.

mod follow;
mod input;
mod kernel;
mod live;
pub(crate) mod machine;
mod observe;
mod report;

use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Format, Out, object};
use crate::{input as files, maps, progress};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use input::Input;
pub(crate) use input::row_of;
use machine::Machine;
use serde_json::{Map, Value};
use skep::descriptors::ctx::UserRun;
use skep::descriptors::{Host, MapType};
use skep::kernel::Kernel;
use skep::vm::{FibTable, SystemHost, Tier, User, aot};
use skep::{Collection, Loadable, LoadedProgram, Options, Select};
use std::path::PathBuf;
use std::sync::Arc;

/// `skep run OBJ`.
pub(crate) static RUN: Cmd = Cmd {
    path: &["run"],
    about: "Run the programs of an object on packets or on a context",
    long: "Programs are verified first, as by `skep verify`; what the verifier refuses does not run (exit code 5). With --no-verify\n\
           they run unverified in the checked tier, which stops at the first wrong step.\n\n\
           Without --prog every program that the input fits runs, one after the other, on the same maps; programs that are only\n\
           reached by tail calls are left out. Prints, for each program, packets and bytes by verdict and nanoseconds a run,\n\
           and what the maps hold afterwards.\n\n\
           With --engine kernel the object is loaded into the running kernel, whose verifier judges it, and every packet goes through\n\
           BPF_PROG_TEST_RUN; times are the kernel's. Nothing is attached or pinned. It takes root, or CAP_BPF, CAP_NET_ADMIN\n\
           and CAP_PERFMON. Where packets are redirected to is not told by the kernel.\n\n\
           Compiled code is named for other tools on request: `perf record -g skep run … --perf-map`, then `perf report`; with source\n\
           lines `perf record -k mono skep run … --jitdump`, `perf inject --jit -i perf.data -o named.data`, `perf report -i named.data`; and\n\
           `gdb --args skep run … --gdb`, then `break FILE.c:LINE` or `break bpf_prog_NAME`. What is written only its owner may read.\n\n\
           Examples:\n  skep run firewall.bpf.o --pcap traffic.pcap --pcap-out passed.pcap\n  \
           skep run lb.bpf.o --prog lb --pcap traffic.pcap -j\n  \
           skep run trace.bpf.o --prog on_exec --ctx-in event.bin --repeat 1000",
    args,
    run,
};

fn args() -> Vec<Arg> {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf)).help(help)
    };
    let tiers: Vec<&'static str> = Tier::ALL.iter().map(|(_, n)| *n).collect();
    let mut args = vec![
        Arg::new("object")
            .required(true)
            .value_name("OBJ")
            .value_parser(value_parser!(PathBuf))
            .help("Object file"),
        Arg::new("prog")
            .long("prog")
            .value_name("NAME")
            .action(ArgAction::Append)
            .help("Program to run, by name or section"),
        file("pcap", "Run on the packets of this capture (pcap or pcapng)")
            .conflicts_with_all(["data-in", "ctx-in"]),
        super::filter::choose::arg().requires("pcap"),
        file("pcap-out", "Write the packets that pass or are sent here").requires("pcap"),
        file("data-in", "Run on this packet, given as raw bytes; - is standard input"),
        file("data-out", "Write the packet as the program left it here").requires("data-in"),
        file("ctx-in", "Run on this context: raw bytes, or lines of FIELD=VALUE"),
        file("ctx-out", "Write the context as the program left it here"),
        Arg::new("repeat")
            .long("repeat")
            .value_name("N")
            .value_parser(value_parser!(u32).range(1..))
            .default_value("1")
            .help("Runs on each packet or context"),
        Arg::new("cpu")
            .long("cpu")
            .value_name("N")
            .value_parser(value_parser!(u32))
            .default_value("0")
            .help("CPU that programs run on, or believe to: whose values of per-CPU maps they use"),
        Arg::new("engine")
            .long("engine")
            .value_parser(["user", "kernel"])
            .default_value("user")
            .help("Where to run: in this process, or in the running Linux kernel"),
        Arg::new("tier")
            .long("tier")
            .value_parser(tiers)
            .default_value("auto")
            .help("How the user engine runs programs; auto compiles at once, and better what runs often"),
        file("library", "Code made ahead of time by `skep build --native`; for --tier aot, which it implies"),
        Arg::new("no-verify")
            .long("no-verify")
            .action(ArgAction::SetTrue)
            .help("Do not verify programs first: the checked tier checks every step, and the first wrong one stops it"),
        Arg::new("strict-stack").long("strict-stack").action(ArgAction::SetTrue).help(
            "Reading stack bytes that were never written is a fault; Linux allows it to root since 6.3",
        ),
        Arg::new("set")
            .long("set")
            .value_name("VARIABLE=VALUE")
            .action(ArgAction::Append)
            .help("Set a global variable before the programs are loaded"),
        Arg::new("push")
            .long("push")
            .value_name("MAP=BYTES")
            .action(ArgAction::Append)
            .help("Put a record (hex digits) into a user ring buffer, queue or stack before the first run"),
        file("btf", "Types that CO-RE relocations are resolved against; default: the running kernel's"),
        file("kconfig", "Kernel configuration for .kconfig externs; default: the running kernel's"),
        file("routes", "Route table for bpf_fib_lookup, in the words of `ip route`"),
        Arg::new("on-fault")
            .long("on-fault")
            .value_parser(["stop", "count"])
            .default_value("stop")
            .help("What a faulting program does to the rest of the capture"),
        Arg::new("map-limit")
            .long("map-limit")
            .value_name("N")
            .value_parser(value_parser!(u32))
            .help("Entries shown of each map; default: 16 in text, 65536 in JSON"),
    ];
    args.extend(observe::args());
    args.extend(live::args());
    args
}

fn run(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let machine = Machine::from_args(m)?;
    let path: &PathBuf = m.get_one("object").ok_or_else(|| Failure::Usage("no object".into()))?;
    if live::wanted(m) {
        return live::run(m, &machine, path, out);
    }
    let input = Input::from_args(m)?;
    let c = open(m, path, machine.engine(), machine.told())?;
    push(m, &c)?;
    for e in &c.missing {
        eprintln!("skep: {e}; programs that use it stop there");
    }
    let chosen = choose(&c, m, path, &|user| input.fits(user), &input.what())?;
    if chosen.len() > 1 && input.has_output() {
        let names: Vec<&str> = chosen.iter().map(|p| p.loaded.program().name.as_str()).collect();
        return Err(Failure::Usage(format!(
            "one output and several programs: name one of {} with --prog",
            names.join(", ")
        )));
    }
    let limit =
        m.get_one::<u32>("map-limit").map_or(if out.is_json() { 65_536 } else { 16 }, |n| *n as usize);
    let cpus = machine.cpus();
    let (mut rows, mut trouble) = (Vec::new(), None);
    let mut stream = follow::Stream::new(m, &machine, &c, out)?;
    let _counting = machine.count_runs(m)?;
    for p in &chosen {
        let program = p.loaded.program();
        let mut outcome = input.run(m, &machine, &*p.loaded, (&mut stream, out))?;
        trouble = outcome.take_trouble().or(trouble);
        let stats = machine.stats(m, &*p.loaded)?;
        if out.is_json() {
            let mut row = outcome.json(program);
            stats.iter().for_each(|s| row.extend(report::stats_json(s)));
            row.insert("maps".into(), Value::Object(maps_json(&c, cpus, limit)));
            rows.push(row);
        } else {
            out.text(&outcome.text(program, &input))?;
            stats.iter().try_for_each(|s| out.line(&report::stats_text(s)))?;
        }
        if stream.is_over() {
            break;
        }
    }
    stream.end(&mut rows, out)?;
    if out.is_json() {
        print_json(out, rows, &c)?;
    } else {
        maps_text(out, &c, cpus, limit)?;
    }
    out.finish()?;
    progress::clear();
    trouble.map_or(Ok(()), Err)
}

/// What `--push` puts into maps.
fn push(m: &ArgMatches, c: &Collection) -> Result<(), Failure> {
    for word in m.get_many::<String>("push").into_iter().flatten() {
        let wrong = |why: &str| {
            Failure::Usage(format!("--push {word}: {why}; give MAP=BYTES, two hex digits a byte"))
        };
        let (name, digits) = word.split_once('=').ok_or_else(|| wrong("no `=`"))?;
        let map = c.map(name).ok_or_else(|| wrong("the object has no such map"))?;
        let byte = |pair: &[u8]| {
            let digit = |d: u8| char::from(d).to_digit(16);
            Some((digit(*pair.first()?)? * 16 + digit(*pair.get(1)?)?) as u8)
        };
        let record: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
        let record = record.ok_or_else(|| wrong("these are no bytes"))?;
        let (def, len) = (map.def(), record.len());
        if def.map_type != MapType::UserRingbuf && len != def.value_size as usize {
            return Err(wrong(&format!("the map's values have {} bytes, these are {len}", def.value_size)));
        }
        map.push(&record, 0)
            .map_err(|e| Failure::Failed(format!("--push: map {name} does not take it: {e}")))?;
    }
    Ok(())
}

/// An engine for commands that only look at objects.
pub(crate) fn listing_engine() -> User {
    User::new(*skep::platform(), Arc::new(SystemHost::new())).with_tier(Tier::Checked)
}

/// The tier asked for, where the command has tiers.
fn tier(m: &ArgMatches) -> Tier {
    let name = m.try_get_one::<String>("tier").ok().flatten();
    name.and_then(|t| Tier::from_name(t)).unwrap_or_default()
}

/// The library asked for, where the command takes one.
fn library(m: &ArgMatches) -> Option<&PathBuf> {
    m.try_get_one("library").ok().flatten()
}

/// The user engine that the arguments ask for.
fn user_engine(m: &ArgMatches) -> Result<User, Failure> {
    let host = SystemHost::new();
    let cpu = m.get_one::<u32>("cpu").copied().unwrap_or(0);
    let none = || {
        Failure::Usage(format!("--cpu {cpu}: this machine has CPUs 0 to {}", SystemHost::new().cpus() - 1))
    };
    let mut host = host.with_cpu(cpu).ok_or_else(none)?;
    if let Some(path) = m.get_one::<PathBuf>("routes") {
        let text = String::from_utf8_lossy(&files::file(path)?).into_owned();
        host = host.with_fib(FibTable::parse(&text).map_err(|e| Failure::malformed(path, e))?);
    }
    let tier = match (tier(m), library(m)) {
        (tier, None) => tier,
        (_, Some(_)) if m.value_source("tier") != Some(ValueSource::CommandLine) => Tier::Aot,
        (Tier::Aot, Some(_)) => Tier::Aot,
        (tier, Some(_)) => {
            let name = tier.name();
            return Err(Failure::Usage(format!("--library goes with --tier aot, not {name}")));
        }
    };
    // What only the checked tier can do decides for it, where no tier was named.
    let tier = match ["no-verify", "strict-stack"].into_iter().find(|flag| m.get_flag(flag)) {
        Some(_) if tier == Tier::Auto => Tier::Checked,
        Some("no-verify") if tier != Tier::Checked => {
            return Err(Failure::Usage(
                "--no-verify goes with --tier checked only: the other tiers run verified programs".into(),
            ));
        }
        Some(flag) if tier != Tier::Checked => {
            return Err(Failure::Usage(format!(
                "--{flag} goes with --tier checked only: the other tiers do not watch the stack"
            )));
        }
        _ => tier,
    };
    let limits =
        skep::vm::Options { unset_stack: !m.get_flag("strict-stack"), ..skep::vm::Options::default() };
    let user = User::new(*skep::platform(), Arc::new(host)).with_tier(tier).with_options(limits);
    let user = observe::apply(m, tier, user)?;
    Ok(match library(m) {
        Some(path) => {
            let library = aot::Library::open(path).map_err(|e| Failure::io("read", path, &e))?;
            user.with_library(Arc::new(library))
        }
        None => user,
    })
}

/// Opens the object with what the arguments say of its surroundings; programs are told of this kernel.
pub(crate) fn open(
    m: &ArgMatches,
    path: &std::path::Path,
    engine: &dyn skep::Engine,
    told: Option<&Kernel>,
) -> Result<Collection, Failure> {
    open_noting(m, path, engine, told, verifies(m).then_some(&mut |_| ()))
}

/// As [`open`]; verifies, and gives each program that is accepted to `note`, if there is one.
pub(crate) fn open_noting(
    m: &ArgMatches,
    path: &std::path::Path,
    engine: &dyn skep::Engine,
    told: Option<&Kernel>,
    note: Option<&mut dyn FnMut(&Loadable)>,
) -> Result<Collection, Failure> {
    let object = super::obj::open(path)?;
    let names: Vec<&str> = m.get_many::<String>("prog").into_iter().flatten().map(String::as_str).collect();
    for name in &names {
        if object.program(name).is_none() {
            let have: Vec<&str> = object.programs().map(|p| p.name.as_str()).collect();
            let have = if have.is_empty() {
                "it has no programs".into()
            } else {
                format!("it has {}", have.join(", "))
            };
            return Err(Failure::Input(format!("{}: no program {name:?}; {have}", path.display())));
        }
    }
    let config = super::target::kconfig(&object, m.get_one("kconfig"))?;
    let mut options = Options::default();
    options.select = if names.is_empty() { Select::Auto } else { Select::Named(&names) };
    options.target_btf = if note.is_some() {
        super::target::judged(&object, m.get_one("btf"))?
    } else if in_kernel(m) && m.try_get_one::<String>("engine").is_ok() {
        // Else the kernel engine goes by the running kernel's. Where both engines run, they go by the same.
        super::target::given(m.get_one("btf"))?
    } else {
        super::target::btf(&object, m.get_one("btf"))?
    };
    options.kconfig = match told {
        Some(kernel) => super::target::running(&config, &object, kernel),
        None => super::target::kernel(&config),
    };
    options.ksyms = super::target::ksyms(&object, in_kernel(m));
    options.set = m.get_many::<String>("set").into_iter().flatten().map(String::as_str).collect();
    let opened = match note {
        None => Collection::open(object, engine, &options, &mut skep::verify::unverified),
        Some(note) => {
            let mut judge = skep::verify::judge(super::verify::options(m)?);
            let noting = &mut |p| judge(p).inspect(&mut *note);
            Collection::open(object, engine, &options, noting)
        }
    };
    let c = opened.map_err(|e| Failure::open(path, &e))?;
    c.warnings.iter().for_each(|w| eprintln!("skep: {}: {w}", path.display()));
    Ok(c)
}

/// Are programs verified first? Where the command can be told not to, and is not; the kernel has its own verifier.
fn verifies(m: &ArgMatches) -> bool {
    let given = |name| m.try_get_one::<bool>(name).ok().flatten().copied();
    given("no-verify") == Some(false) && !in_kernel(m)
}

/// Does the command load into the kernel? `skep diff` has no such choice.
fn in_kernel(m: &ArgMatches) -> bool {
    m.try_get_one::<String>("engine").map_or(true, |e| e.is_some_and(|e| e == "kernel"))
}

/// The programs that run: those named, or all that run on the input, which is called `what`.
pub(crate) fn choose<'c>(
    c: &'c Collection,
    m: &ArgMatches,
    path: &std::path::Path,
    fits: &dyn Fn(UserRun) -> bool,
    what: &str,
) -> Result<Vec<&'c LoadedProgram>, Failure> {
    let named: Vec<&String> = m.get_many::<String>("prog").into_iter().flatten().collect();
    let is_named = |p: &&LoadedProgram| {
        let f = &c.object.functions[p.function];
        named.iter().any(|n| **n == f.name || **n == f.section)
    };
    if !named.is_empty() {
        return Ok(c.programs.iter().filter(is_named).collect());
    }
    let is_fitting = |p: &&LoadedProgram| {
        let row = skep::platform().prog_type(p.loaded.program().prog_type);
        let user = row.map_or(UserRun::No("unknown type"), |r| r.user);
        !p.tail_called && fits(user)
    };
    let chosen: Vec<&LoadedProgram> = c.programs.iter().filter(is_fitting).collect();
    if let ([], [(_, why)]) = (&*chosen, &*c.skipped) {
        return Err(Failure::open(path, why));
    }
    let mut refused = Vec::new();
    for (name, why) in &c.skipped {
        let prog_type = c.object.program(name).and_then(|f| f.entry.as_ref()).map(|e| e.prog_type);
        let row = prog_type.and_then(|t| skep::platform().prog_type(t));
        match why {
            skep::Error::Refused(r) if row.is_some_and(|r| fits(r.user)) => {
                refused.push((name.as_str(), &**r))
            }
            skep::Error::RefusedByKernel(k) if k.same && row.is_some_and(|r| fits(r.user)) => {
                refused.push((name.as_str(), &k.rejection))
            }
            skep::Error::RefusedByKernel(_) if chosen.is_empty() && row.is_some_and(|r| fits(r.user)) => {
                return Err(Failure::open(path, why));
            }
            skep::Error::Refused(r) => {
                eprintln!("skep: program {name} is left out: the verifier refuses it: {}", r.message());
            }
            why => eprintln!("skep: program {name} is left out: {why}"),
        }
    }
    if !refused.is_empty() {
        return Err(Failure::refused(path, &refused));
    }
    if chosen.is_empty() {
        let have: Vec<String> = c
            .object
            .programs()
            .map(|p| {
                format!("{} ({})", p.name, p.entry.as_ref().map_or(String::new(), |e| e.prog_type.label()))
            })
            .collect();
        let have = if have.is_empty() { "none".into() } else { have.join(", ") };
        return Err(Failure::Input(format!("no program of the object fits {what}; it has: {have}")));
    }
    Ok(chosen)
}

fn maps_text(out: &mut Out, c: &Collection, cpus: usize, limit: usize) -> Result<(), Failure> {
    let mut first = true;
    for (spec, map) in c.object.maps.iter().zip(&c.maps) {
        let Some(map) = map.as_ref().filter(|_| spec.origin != skep::obj::MapOrigin::Rodata) else {
            continue;
        };
        if std::mem::take(&mut first) {
            out.line("maps")?;
        }
        let d = &spec.def;
        if d.map_type == MapType::UserRingbuf {
            out.line(&format!("  {} ({}): records for programs", d.name, d.map_type.label()))?;
            continue;
        }
        match maps::read(&**map, cpus, limit, true) {
            Ok(contents) => {
                let record = record_type(c, &d.name, &contents);
                out.line(&format!("  {} ({})", d.name, d.map_type.label()))?;
                out.text(&maps::text(&**map, &contents, record))?;
            }
            Err(e) => out.line(&format!("  {} ({}): cannot be read: {e}", d.name, d.map_type.label()))?,
        }
    }
    Ok(())
}

fn maps_json(c: &Collection, cpus: usize, limit: usize) -> Map<String, Value> {
    let mut all = Map::new();
    for map in c.maps.iter().flatten() {
        let name = &map.def().name;
        let entries = match maps::read(&**map, cpus, limit, false) {
            Ok(contents) => maps::json(&**map, &contents, record_type(c, name, &contents)),
            Err(e) => Value::String(e.to_string()),
        };
        all.insert(name.clone(), entries);
    }
    all
}

fn record_type<'c>(c: &'c Collection, map: &str, contents: &maps::Contents) -> maps::Record<'c> {
    let len = contents.record_len()?;
    maps::guess_record(c.object.btf.as_ref()?, map, len)
}

fn print_json(out: &mut Out, mut rows: Vec<Map<String, Value>>, c: &Collection) -> Result<(), Failure> {
    let skipped: Vec<Value> = c
        .skipped
        .iter()
        .map(|(name, why)| {
            Value::Object(object([("prog", name.clone().into()), ("why", why.to_string().into())]))
        })
        .collect();
    if out.format != Format::Jsonl && rows.len() != 1 {
        return out.json_rows("programs", rows);
    }
    for row in &mut rows {
        row.insert("skipped".into(), skipped.clone().into());
    }
    rows.into_iter().try_for_each(|r| out.json(r))
}
