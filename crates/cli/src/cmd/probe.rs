//! `skep feature probe`: what the running kernel has, found out by trying. Texts and keys are bpftool's.

use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Out, object};
use crate::progress::Progress;
use clap::{Arg, ArgAction, ArgMatches};
use serde_json::{Map, Value};
use skep::descriptors::{MapType, ProgType};
use skep::kernel::{Found, Kernel};

/// `skep feature probe`.
pub(crate) static PROBE: Cmd = Cmd {
    path: &["feature", "probe"],
    about: "Find out by trying what the running kernel has: program types, map types, helpers",
    long: "Loads the smallest program and map of each type, and calls each helper from each program type. Needs the rights\n\
           that loading takes. Nothing stays loaded.\n\nExamples:\n  skep feature probe --no-helpers\n  skep feature probe -j",
    args: || {
        vec![Arg::new("no-helpers").long("no-helpers").action(ArgAction::SetTrue).help("Do not try helpers")]
    },
    run: probe,
};

fn probe(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let kernel = super::run::machine::kernel()?;
    let known = |t: &ProgType| *t != ProgType::Unspec;
    let progs: Vec<(ProgType, Found)> =
        ProgType::ALL.iter().map(|(t, _)| *t).filter(known).map(|t| (t, kernel.has_prog_type(t))).collect();
    let maps: Vec<(MapType, Found)> = MapType::ALL
        .iter()
        .map(|(t, _)| *t)
        .filter(|t| *t != MapType::Unspec)
        .map(|t| (t, kernel.has_map_type(t)))
        .collect();
    let helpers = if m.get_flag("no-helpers") { Vec::new() } else { helpers(&kernel, &progs) };
    if out.is_json() {
        return out.json(to_json(&progs, &maps, &helpers));
    }
    out.text(&to_text(&progs, &maps, &helpers))
}

/// Helpers that each program type may call, by name.
fn helpers(kernel: &Kernel, progs: &[(ProgType, Found)]) -> Vec<(ProgType, Vec<&'static str>)> {
    let mut progress = Progress::new("helpers");
    let all = skep::platform().helpers;
    let mut of = |t: ProgType| {
        let has = |h: &&&'static skep::descriptors::Helper| {
            progress.step();
            kernel.has_helper(t, h.id)
        };
        (t, all.iter().filter(has).map(|h| h.name).collect())
    };
    progs.iter().filter(|(_, f)| *f == Found::Yes).map(|(t, _)| of(*t)).collect()
}

fn to_text(
    progs: &[(ProgType, Found)],
    maps: &[(MapType, Found)],
    helpers: &[(ProgType, Vec<&'static str>)],
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
    out
}

fn to_json(
    progs: &[(ProgType, Found)],
    maps: &[(MapType, Found)],
    helpers: &[(ProgType, Vec<&'static str>)],
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
    all
}
