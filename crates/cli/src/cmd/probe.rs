//! `skep feature probe`: what the running kernel has, found out by trying. Texts and keys are bpftool's.

use super::kobj::Words;
use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Out, object};
use crate::progress::Progress;
use clap::{Arg, ArgAction, ArgMatches};
use serde_json::{Map, Value};
use skep::descriptors::{MapType, ProgType};
use skep::kernel::explain::Rights;
use skep::kernel::{Found, Kernel};

/// `skep feature probe`.
pub(crate) static PROBE: Cmd = Cmd {
    path: &["feature", "probe"],
    about: "Find out by trying what the running kernel has: program types, map types, helpers",
    long: "Loads the smallest program and map of each type, and calls each helper from each program type. Needs the rights\n\
           that loading takes. Nothing stays loaded.\n\n\
           Words: kernel (always what is meant), full (helpers that are noisy or change user memory, too), unprivileged (in a process\n\
           without capabilities), macros [prefix PREFIX] (a C header).\n\n\
           Examples:\n  skep feature probe --no-helpers\n  skep feature probe -j\n  skep feature probe macros prefix BPF_ > features.h",
    args: || {
        vec![
            super::kobj::words_arg("WORD", "kernel, full, unprivileged, macros [prefix PREFIX]"),
            Arg::new("no-helpers").long("no-helpers").action(ArgAction::SetTrue).help("Do not try helpers"),
        ]
    },
    run: probe,
};

/// Key, words, and whether the kernel has it.
type Misc = (&'static str, &'static str, bool);

/// What the words ask for.
#[derive(Default)]
struct Asked {
    full: bool,
    /// A C header, its names with this before them.
    macros: Option<String>,
}

/// Helpers that write into the kernel's log or into the memory of processes: bpftool asks for them by `full` alone.
const NOISY: [&str; 3] = ["bpf_trace_printk", "bpf_trace_vprintk", "bpf_probe_write_user"];

fn asked(m: &ArgMatches) -> Result<Asked, Failure> {
    let mut words = Words::new(m);
    let mut asked = Asked::default();
    while let Some(word) = words.next() {
        match word {
            "kernel" => {}
            "full" => asked.full = true,
            "macros" => asked.macros = Some(asked.macros.unwrap_or_default()),
            "prefix" if asked.macros.is_some() => asked.macros = Some(words.value(word)?.to_owned()),
            "unprivileged" if Rights::own().caps == Some(0) => {}
            "unprivileged" => {
                return Err(Failure::Unsupported(
                    "unprivileged: this process has capabilities, and what others may do is only seen without: run it as \
                     `setpriv --reuid=65534 --clear-groups --bounding-set=-all --inh-caps=-all skep feature probe unprivileged`"
                        .into(),
                ));
            }
            "dev" => {
                let device = words.value(word)?;
                return Err(Failure::Unsupported(format!(
                    "dev {device}: what a device's own processor takes is not tried; leave it out for the kernel's"
                )));
            }
            w => return Err(Failure::Usage(format!("{w:?} is not expected here; see --help"))),
        }
    }
    Ok(asked)
}

fn probe(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let asked = asked(m)?;
    // Without capabilities some things may be loaded nevertheless: socket filters, where it is allowed.
    let kernel =
        if Rights::own().caps == Some(0) { super::kobj::unchecked()? } else { super::kobj::kernel()? };
    let known = |t: &ProgType| *t != ProgType::Unspec;
    let progs: Vec<(ProgType, Found)> =
        ProgType::ALL.iter().map(|(t, _)| *t).filter(known).map(|t| (t, kernel.has_prog_type(t))).collect();
    let maps: Vec<(MapType, Found)> = MapType::ALL
        .iter()
        .map(|(t, _)| *t)
        .filter(|t| *t != MapType::Unspec)
        .map(|t| (t, kernel.has_map_type(t)))
        .collect();
    let helpers = if m.get_flag("no-helpers") { Vec::new() } else { helpers(&kernel, &progs, asked.full) };
    let misc = kernel.has_misc();
    if let Some(prefix) = &asked.macros {
        return out.text(&to_macros(prefix, &progs, &maps, &helpers, &misc));
    }
    if out.is_json() {
        return out.json(to_json(&progs, &maps, &helpers, &misc));
    }
    out.text(&to_text(&progs, &maps, &helpers, &misc))
}

/// Helpers that each program type may call, by name.
fn helpers(kernel: &Kernel, progs: &[(ProgType, Found)], full: bool) -> Vec<(ProgType, Vec<&'static str>)> {
    let mut progress = Progress::new("helpers");
    let all = skep::platform().helpers;
    let mut of = |t: ProgType| {
        let has = |h: &&&'static skep::descriptors::Helper| {
            progress.step();
            (full || !NOISY.contains(&h.name)) && kernel.has_helper(t, h.id)
        };
        (t, all.iter().filter(has).map(|h| h.name).collect())
    };
    progs.iter().filter(|(_, f)| *f == Found::Yes).map(|(t, _)| of(*t)).collect()
}

fn to_text(
    progs: &[(ProgType, Found)],
    maps: &[(MapType, Found)],
    helpers: &[(ProgType, Vec<&'static str>)],
    misc: &[Misc],
) -> String {
    let is = |f: &Found| match f {
        Found::Yes => "is available".to_owned(),
        Found::No(e) => format!("is NOT available ({})", e.name()),
        Found::Unknown(why) => format!("cannot be tried: {why}"),
    };
    let mut out = String::from("Scanning eBPF program types...\n");
    progs.iter().for_each(|(t, f)| out.push_str(&format!("eBPF program_type {} {}\n", t.label(), is(f))));
    out.push_str("\nScanning eBPF map types...\n");
    maps.iter().for_each(|(t, f)| out.push_str(&format!("eBPF map_type {} {}\n", t.label(), is(f))));
    if !helpers.is_empty() {
        out.push_str("\nScanning eBPF helper functions...\n");
    }
    for (t, names) in helpers {
        out.push_str(&format!("eBPF helpers supported for program type {}:\n", t.label()));
        names.iter().for_each(|n| out.push_str(&format!("\t- {n}\n")));
    }
    out.push_str("\nScanning miscellaneous eBPF features...\n");
    for (_, words, has) in misc {
        out.push_str(&format!("{words} is {}available\n", if *has { "" } else { "NOT " }));
    }
    out
}

/// A C header, as bpftool writes it: what there is is defined, and helpers are 1 or 0.
fn to_macros(
    prefix: &str,
    progs: &[(ProgType, Found)],
    maps: &[(MapType, Found)],
    helpers: &[(ProgType, Vec<&'static str>)],
    misc: &[Misc],
) -> String {
    let mut out = String::from("/*** System call availability ***/\n");
    let mut define = |has: bool, name: String| {
        let no = if has { "" } else { "NO_" };
        out.push_str(&format!("#define {prefix}{no}{name}\n"));
    };
    define(true, "HAVE_BPF_SYSCALL".into());
    let types = progs
        .iter()
        .map(|(t, f)| (t.label(), f, "PROG"))
        .chain(maps.iter().map(|(t, f)| (t.label(), f, "MAP")));
    for (label, found, kind) in types.filter(|t| !matches!(t.1, Found::Unknown(_))) {
        define(*found == Found::Yes, format!("HAVE_{}_{kind}_TYPE", label.to_ascii_uppercase()));
    }
    misc.iter().for_each(|(key, _, has)| define(*has, format!("HAVE_{}", key.to_ascii_uppercase())));
    for (t, names) in helpers {
        for h in skep::platform().helpers {
            let has = u8::from(names.contains(&h.name));
            out.push_str(&format!("#define {prefix}BPF__PROG_TYPE_{}__HELPER_{} {has}\n", t.label(), h.name));
        }
    }
    out
}

fn to_json(
    progs: &[(ProgType, Found)],
    maps: &[(MapType, Found)],
    helpers: &[(ProgType, Vec<&'static str>)],
    misc: &[Misc],
) -> Map<String, Value> {
    let is = |f: &Found| match f {
        Found::Yes => Value::Bool(true),
        Found::No(_) => Value::Bool(false),
        Found::Unknown(_) => Value::Null,
    };
    let progs = progs.iter().map(|(t, f)| (format!("have_{}_prog_type", t.label()), is(f)));
    let maps = maps.iter().map(|(t, f)| (format!("have_{}_map_type", t.label()), is(f)));
    let mut all = object([
        ("program_types", Value::Object(progs.collect())),
        ("map_types", Value::Object(maps.collect())),
    ]);
    if !helpers.is_empty() {
        let lists = helpers
            .iter()
            .map(|(t, names)| (format!("{}_available_helpers", t.label()), names.clone().into()));
        all.insert("helpers".into(), Value::Object(lists.collect()));
    }
    let misc = misc.iter().map(|(key, _, has)| (format!("have_{key}"), Value::Bool(*has)));
    all.insert("misc".into(), Value::Object(misc.collect()));
    all
}
