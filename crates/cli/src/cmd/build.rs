//! `skep build --native`: verified programs as a shared object of native code.

use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::Out;
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use serde_json::json;
use skep::Loadable;
use skep::vm::aot;
use std::path::{Path, PathBuf};

/// `skep build OBJ`.
pub(crate) static BUILD: Cmd = Cmd {
    path: &["build"],
    about: "Compile the programs of an object ahead of time",
    long: "With --native the verified programs are written as C and compiled by an installed C compiler (clang, else gcc) into a shared\n\
           object for this machine, which `skep run --library` takes its code from. The library knows the programs that it was made\n\
           of: for any other, or other maps, it has to be built again.\n\n\
           Programs that follow pointers of the kernel are left out: only the checked tier runs them. A fault in this code, which no\n\
           verified program has, ends the process.\n\n\
           A library is native code and is trusted as such: run none that others have made.\n\n\
           Examples:\n  skep build --native firewall.bpf.o -O firewall.so\n  \
           skep run firewall.bpf.o --library firewall.so --pcap traffic.pcap\n  \
           skep build --native firewall.bpf.o --source firewall.c",
    args,
    run,
};

fn args() -> Vec<Arg> {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf)).help(help)
    };
    vec![
        Arg::new("object")
            .required(true)
            .value_name("OBJ")
            .value_parser(value_parser!(PathBuf))
            .help("Object file"),
        Arg::new("native")
            .long("native")
            .required(true)
            .action(ArgAction::SetTrue)
            .help("Native code for this machine"),
        file("library", "Shared object to write; default: OBJ with the ending .so").short('O'),
        file("source", "Write the C text here; without --library it is not compiled"),
        Arg::new("cc")
            .long("cc")
            .value_name("COMPILER")
            .help("C compiler; default: clang, else gcc, else cc"),
        Arg::new("prog")
            .long("prog")
            .value_name("NAME")
            .action(ArgAction::Append)
            .help("Program to compile, by name or section; default: all"),
        Arg::new("set")
            .long("set")
            .value_name("VARIABLE=VALUE")
            .action(ArgAction::Append)
            .help("Set a global variable before the programs are verified, as it will be set when they run"),
        file("btf", "Types that CO-RE relocations are resolved against; default: the running kernel's"),
        file("kconfig", "Kernel configuration for .kconfig externs; default: the running kernel's"),
    ]
}

fn run(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let path: &PathBuf = m.get_one("object").ok_or_else(|| Failure::Usage("no object".into()))?;
    let engine = super::run::listing_engine();
    let mut accepted = Vec::new();
    let c = super::run::open_noting(m, path, &engine, None, Some(&mut |l| accepted.push(l.clone())))?;
    let mut sources = Vec::new();
    for (name, why) in &c.skipped {
        eprintln!("skep: program {name} is left out: {why}");
    }
    for l in &accepted {
        let Loadable::Verified(program) = l else { continue };
        match engine.native_source(program) {
            Ok(source) => sources.push((program.program().name.clone(), source)),
            Err(e) => eprintln!("skep: program {} is left out: {e}", program.program().name),
        }
    }
    if sources.is_empty() {
        return Err(Failure::Unsupported(format!("{}: no program can be compiled", path.display())));
    }
    let rows: Vec<(&str, &aot::Source)> = sources.iter().map(|(n, s)| (n.as_str(), s)).collect();
    let text = aot::library(&rows);
    let (c_file, library) = (m.get_one::<PathBuf>("source"), m.get_one::<PathBuf>("library"));
    if let Some(file) = c_file {
        crate::input::write(file, text.as_bytes())?;
    }
    let made = match (library, c_file) {
        (None, Some(_)) => None,
        (given, _) => Some(given.cloned().unwrap_or_else(|| path.with_extension("so"))),
    };
    let compiler = made.as_ref().map(|to| compile(&text, to, m)).transpose()?;
    report(out, &rows, made.as_deref().zip(compiler.as_deref()), c_file)
}

fn compile(text: &str, to: &Path, m: &ArgMatches) -> Result<String, Failure> {
    let cc = m.get_one::<String>("cc").map(String::as_str);
    aot::build(text, to, cc).map_err(|e| match e {
        aot::BuildError::NoCompiler(_) => Failure::Unsupported(e.to_string()),
        e => Failure::Failed(format!("{}: {e}", to.display())),
    })
}

fn report(
    out: &mut Out,
    programs: &[(&str, &aot::Source)],
    made: Option<(&Path, &str)>,
    source: Option<&PathBuf>,
) -> Result<(), Failure> {
    if out.is_json() {
        let rows: Vec<_> = programs
            .iter()
            .map(|(name, source)| json!({"name": name, "hash": format!("{:032x}", source.hash())}))
            .collect();
        return out.json(crate::output::object([
            ("library", json!(made.map(|(file, _)| file))),
            ("compiler", json!(made.map(|(_, cc)| cc))),
            ("source", json!(source)),
            ("programs", json!(rows)),
        ]));
    }
    let names: Vec<&str> = programs.iter().map(|(name, _)| *name).collect();
    let what = match (made, source) {
        (Some((file, cc)), _) => format!("{}, by {cc}", file.display()),
        (None, Some(file)) => file.display().to_string(),
        (None, None) => String::new(),
    };
    out.text(&format!("{what}: {}\n", names.join(", ")))
}
