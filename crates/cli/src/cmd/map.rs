//! `skep map` on object files: the definitions, and what the maps hold when the object has been opened.

use crate::commands::Cmd;
use crate::failure::Failure;
use crate::maps;
use crate::output::Out;
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// `skep map show OBJ…`.
pub(crate) static SHOW: Cmd = Cmd {
    path: &["map", "show"],
    about: "Show the maps that object files define",
    long: "Example:\n  skep map show prog.bpf.o",
    args: || vec![super::obj::files_arg("Object files")],
    run: |m, out| super::obj::show_parts(m, out, &["maps"]),
};

/// `skep map dump OBJ [NAME]`.
pub(crate) static DUMP: Cmd = Cmd {
    path: &["map", "dump"],
    about: "Print what the maps of an object hold before any program has run",
    long: "Examples:\n  skep map dump prog.bpf.o\n  skep map dump prog.bpf.o --name .rodata",
    args: || {
        vec![
            Arg::new("object")
                .required(true)
                .value_name("OBJ")
                .value_parser(value_parser!(PathBuf))
                .help("Object file"),
            Arg::new("name")
                .long("name")
                .value_name("NAME")
                .action(ArgAction::Append)
                .help("Map; default: all"),
        ]
    },
    run: dump,
};

fn dump(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let Some(path) = m.get_one::<PathBuf>("object") else { return Ok(()) };
    let o = super::obj::open(path)?;
    let names: Vec<&String> = m.get_many("name").into_iter().flatten().collect();
    if let Some(name) = names.iter().find(|n| o.map(n).is_none()) {
        return Err(Failure::Input(format!(
            "{}: no map {name:?}; `skep map show` lists them",
            path.display()
        )));
    }
    let engine = super::run::listing_engine();
    let config = super::target::kconfig(&o, None)?;
    let mut options = skep::Options::default();
    options.select = skep::Select::Named(&[]);
    options.kconfig = super::target::kernel(&config, None);
    let judge = &mut |p| Ok(skep::Loadable::Unverified(std::sync::Arc::new(p)));
    let c = skep::Collection::open(o, &engine, &options, judge).map_err(|e| Failure::malformed(path, e))?;
    for e in &c.missing {
        eprintln!("skep: {e}");
    }
    let mut json = Map::new();
    for map in c.maps.iter().flatten() {
        let def = map.def();
        if !names.is_empty() && !names.iter().any(|n| **n == def.name) {
            continue;
        }
        let contents = maps::read(&**map, engine.host().cpus() as usize, 65_536, !out.is_json())
            .map_err(|e| Failure::Failed(format!("map {}: cannot be read: {e}", def.name)))?;
        if out.is_json() {
            json.insert(def.name.clone(), maps::json(&**map, &contents, None));
        } else {
            out.text(&format!(
                "{} ({})\n{}",
                def.name,
                def.map_type.label(),
                maps::text(&**map, &contents, None)
            ))?;
        }
    }
    if out.is_json() { out.json(Map::from_iter([("maps".to_string(), Value::Object(json))])) } else { Ok(()) }
}
