//! `skep map`: maps of object files as they are defined and when the object has been opened, and those of the kernel
//! (`kobj/map.rs`).

use super::kobj::{self, Words, words_arg};
use crate::commands::Cmd;
use crate::failure::Failure;
use crate::maps;
use crate::output::Out;
use clap::{Arg, ArgAction, ArgMatches};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// `skep map show [OBJ… | MAP]`.
pub(crate) static SHOW: Cmd = Cmd {
    path: &["map", "show"],
    about: "Show the maps that object files define, or those of the running kernel",
    long: "Without words all maps of the kernel; MAP is id N, pinned PATH or name NAME.\n\n\
           Examples:\n  skep map show prog.bpf.o\n  skep map show\n  skep map show name counters -j",
    args: || vec![words_arg("OBJ | MAP", "Object files, or a map of the kernel"), super::prog::bpffs()],
    run: |m, out| {
        let mut words = Words::new(m);
        if !words.in_kernel() {
            return super::obj::show_parts(&words.paths(), out, &["maps"]);
        }
        let which = words.which()?;
        words.end()?;
        kobj::map::show(&which, m.get_flag("bpffs"), out)
    },
};

/// `skep map create`.
pub(crate) static CREATE: Cmd = Cmd {
    path: &["map", "create"],
    about: "Create a map in the running kernel and pin it",
    long: "Example:\n  skep map create /sys/fs/bpf/counters type hash key 4 value 8 entries 1024 name counters",
    args: || {
        vec![words_arg(
            "PATH type TYPE key N value N entries N name NAME [flags N] [inner_map MAP]",
            "Where to pin it, and what it is like",
        )]
    },
    run: |m, _| kobj::map::create(&mut Words::new(m)),
};

/// `skep map lookup`.
pub(crate) static LOOKUP: Cmd = Cmd {
    path: &["map", "lookup"],
    about: "Look up one key in a map of the running kernel",
    long: "Keys are bytes, decimal or 0x, hexadecimal behind `hex`; a key of 1, 2, 4 or 8 bytes may be one number.\n\nExamples:\n  skep map lookup name counters key 7\n  skep map lookup id 12 key hex 0a 00 00 01 -j",
    args: || vec![words_arg("MAP key DATA", "id N, pinned PATH or name NAME, then the key")],
    run: |m, out| kobj::map::lookup(&mut Words::new(m), out),
};

/// `skep map update`.
pub(crate) static UPDATE: Cmd = Cmd {
    path: &["map", "update"],
    about: "Write an entry of a map of the running kernel",
    long: "Values of per-CPU maps are written on every CPU; values of program arrays and maps of maps are programs and maps: value pinned PATH.\n\nExamples:\n  skep map update name counters key 7 value 0\n  skep map update id 12 key 0 0 0 0 value 1 2 3 4 noexist",
    args: || {
        vec![words_arg(
            "MAP key DATA value VALUE [any|exist|noexist]",
            "Map, key, value and whether the entry may exist",
        )]
    },
    run: |m, _| kobj::map::update(&mut Words::new(m)),
};

/// `skep map delete`.
pub(crate) static DELETE: Cmd = Cmd {
    path: &["map", "delete"],
    about: "Delete an entry of a map of the running kernel",
    long: "Example:\n  skep map delete name counters key 7",
    args: || vec![words_arg("MAP key DATA", "id N, pinned PATH or name NAME, then the key")],
    run: |m, _| kobj::map::delete(&mut Words::new(m)),
};

/// `skep map getnext`.
pub(crate) static GETNEXT: Cmd = Cmd {
    path: &["map", "getnext"],
    about: "Print the key that follows another in a map of the running kernel",
    long: "Example:\n  skep map getnext name counters key 7",
    args: || vec![words_arg("MAP [key DATA]", "Map, and the key before; default: before the first")],
    run: |m, out| kobj::map::getnext(&mut Words::new(m), out),
};

/// `skep map peek`.
pub(crate) static PEEK: Cmd = Cmd {
    path: &["map", "peek"],
    about: "Print the next value of a queue or stack, and leave it there",
    long: "Example:\n  skep map peek name jobs",
    args: || vec![words_arg("MAP", "id N, pinned PATH or name NAME")],
    run: |m, out| kobj::map::pop(&mut Words::new(m), false, out),
};

/// `skep map push`.
pub(crate) static PUSH: Cmd = Cmd {
    path: &["map", "push"],
    about: "Put a value on a stack, into a queue or a Bloom filter, or a record into a user ring buffer",
    long: "Records of user ring buffers have as many bytes as are given; programs take them by bpf_user_ringbuf_drain.\n\n\
           Examples:\n  skep map push name jobs value 1 0 0 0\n  skep map push pinned /sys/fs/bpf/orders value hex de ad be ef",
    args: || vec![words_arg("MAP value VALUE", "Map and value")],
    run: |m, _| kobj::map::push(&mut Words::new(m)),
};

/// `skep map enqueue`.
pub(crate) static ENQUEUE: Cmd = Cmd {
    path: &["map", "enqueue"],
    about: "Put a value into a queue",
    long: "Example:\n  skep map enqueue name jobs value 1 0 0 0",
    args: || vec![words_arg("MAP value VALUE", "Map and value")],
    run: |m, _| kobj::map::push(&mut Words::new(m)),
};

/// `skep map pop`.
pub(crate) static POP: Cmd = Cmd {
    path: &["map", "pop"],
    about: "Take a value from a stack",
    long: "Example:\n  skep map pop name jobs",
    args: || vec![words_arg("MAP", "id N, pinned PATH or name NAME")],
    run: |m, out| kobj::map::pop(&mut Words::new(m), true, out),
};

/// `skep map dequeue`.
pub(crate) static DEQUEUE: Cmd = Cmd {
    path: &["map", "dequeue"],
    about: "Take a value from a queue",
    long: "Example:\n  skep map dequeue name jobs",
    args: || vec![words_arg("MAP", "id N, pinned PATH or name NAME")],
    run: |m, out| kobj::map::pop(&mut Words::new(m), true, out),
};

/// `skep map freeze`.
pub(crate) static FREEZE: Cmd = Cmd {
    path: &["map", "freeze"],
    about: "Let user space write no more to a map of the running kernel",
    long: "Example:\n  skep map freeze name config",
    args: || vec![words_arg("MAP", "id N, pinned PATH or name NAME")],
    run: |m, _| kobj::map::freeze(&mut Words::new(m)),
};

/// `skep map pin`.
pub(crate) static PIN: Cmd = Cmd {
    path: &["map", "pin"],
    about: "Pin a map of the running kernel",
    long: "Example:\n  skep map pin name counters /sys/fs/bpf/counters",
    args: || vec![words_arg("MAP PATH", "id N, pinned PATH or name NAME, then where to pin it")],
    run: |m, _| kobj::map::pin(&mut Words::new(m)),
};

/// `skep map dump OBJ | MAP`.
pub(crate) static DUMP: Cmd = Cmd {
    path: &["map", "dump"],
    about: "Print what the maps of an object hold before any program has run, or what a map of the running kernel holds",
    long: "Examples:\n  skep map dump prog.bpf.o\n  skep map dump prog.bpf.o --name .rodata\n  skep map dump id 12\n  \
           skep map dump pinned /sys/fs/bpf/counters -j",
    args: || {
        vec![
            words_arg("OBJ | MAP", "Object file, or a map of the kernel: id N, pinned PATH, name NAME"),
            Arg::new("name")
                .long("name")
                .value_name("NAME")
                .action(ArgAction::Append)
                .help("Map of the object; default: all"),
        ]
    },
    run: dump,
};

fn dump(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let mut words = Words::new(m);
    if words.in_kernel() {
        let which = words.which()?;
        words.end()?;
        return kobj::map::dump(&which, out);
    }
    let path = &PathBuf::from(words.value("dump")?);
    words.end()?;
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
    options.kconfig = super::target::kernel(&config);
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
