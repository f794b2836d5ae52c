//! `skep verify`: the verifier's verdict on the programs of objects, and why.

use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Format, Out, object};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use serde_json::{Map, Value, json};
use skep::descriptors::{Host, Version};
use skep::verifier::{Mode, Options, Rejection, Stats};
use skep::verify::{Refusal, Verdict, verify_object};
use skep::vm::{SystemHost, User};
use std::path::{Path, PathBuf};

/// `skep verify OBJ…`.
pub(crate) static VERIFY: Cmd = Cmd {
    path: &["verify"],
    about: "Say whether the Linux kernel would accept the programs of object files, and why not",
    long: "Exit code 5 when a program is refused. JSON has one object a program; -o csv has veristat's columns.\n\n\
           Examples:\n  skep verify prog.bpf.o\n  skep verify --prog firewall --log-level 2 prog.bpf.o\n  skep verify -o csv *.bpf.o",
    args: || {
        let file = |name: &'static str, help: &'static str| {
            Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf)).help(help)
        };
        vec![
            super::obj::files_arg("Object files"),
            Arg::new("prog")
                .long("prog")
                .value_name("NAME")
                .action(ArgAction::Append)
                .help("Program, by name or section; default: all"),
            Arg::new("as-kernel")
                .long("as-kernel")
                .value_name("VERSION")
                .help("By the rules of this Linux; default: 6.18"),
            Arg::new("unprivileged")
                .long("unprivileged")
                .action(ArgAction::SetTrue)
                .help("As loaded by a process without capabilities"),
            Arg::new("log-level")
                .long("log-level")
                .value_name("LEVEL")
                .value_parser(value_parser!(u8).range(0..=2))
                .default_value("0")
                .help("Print the log in the kernel's format: 1 the failing path, 2 every path"),
            file("btf", "Types of the kernel; default: the running kernel's"),
            file("kconfig", "Kernel configuration for .kconfig externs; default: the running kernel's"),
        ]
    },
    run: verify,
};

/// How to judge, by the arguments that `skep verify` and `skep run` share.
pub(crate) fn options(m: &ArgMatches) -> Result<Options, Failure> {
    let mut options = Options { cpus: SystemHost::new().cpus(), ..Options::default() };
    if let Some(text) = given::<String>(m, "as-kernel") {
        options.as_kernel = Some(version(text)?);
    }
    if given(m, "unprivileged") == Some(&true) {
        options.mode = Mode::Unprivileged;
    }
    options.log_level = given(m, "log-level").copied().unwrap_or(0);
    Ok(options)
}

/// The value of an argument that not every command has which asks.
fn given<'m, T: Clone + Send + Sync + 'static>(m: &'m ArgMatches, name: &str) -> Option<&'m T> {
    m.try_get_one(name).ok().flatten()
}

fn version(text: &str) -> Result<Version, Failure> {
    let parsed = text.split_once('.').and_then(|(a, b)| Some(Version(a.parse().ok()?, b.parse().ok()?)));
    let newest = skep::platform().version;
    parsed.filter(|v| *v <= newest && *v >= Version(5, 15)).ok_or_else(|| {
        Failure::Usage(format!("--as-kernel {text}: give a version between 5.15 and {newest}, such as 6.12"))
    })
}

const CSV: &str = "file_name,prog_name,verdict,duration,total_insns,total_states,peak_states,max_states_per_insn,prog_type,attach_type,stack_depth,prog_size";

fn verify(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let engine = super::run::listing_engine();
    let how = options(m)?;
    if out.format == Format::Csv {
        out.line(CSV)?;
    }
    let (mut rows, mut refused, mut trouble) = (Vec::new(), 0, None);
    for path in m.get_many::<PathBuf>("file").into_iter().flatten() {
        let verdicts = match verdicts(m, path, &engine, &how) {
            Ok(v) => v,
            Err(e) => {
                eprintln!("skep: {e}");
                trouble = Some(e);
                continue;
            }
        };
        for v in &verdicts {
            refused += usize::from(v.outcome.is_err());
            match out.format {
                Format::Csv => out.line(&csv(path, v))?,
                Format::Text => out.text(&text(path, v, how.log_level))?,
                _ => rows.push(row(path, v)),
            }
        }
    }
    if out.is_json() {
        out.json_rows("programs", rows)?;
    }
    match (trouble, refused) {
        (Some(_), _) => Err(Failure::Input("some files could not be judged".into())),
        (None, 0) => Ok(()),
        (None, 1) => Err(Failure::Refused("1 program is refused".into())),
        (None, n) => Err(Failure::Refused(format!("{n} programs are refused"))),
    }
}

fn verdicts(m: &ArgMatches, path: &Path, engine: &User, how: &Options) -> Result<Vec<Verdict>, Failure> {
    let o = super::obj::open(path)?;
    let names: Vec<&String> = m.get_many("prog").into_iter().flatten().collect();
    if let Some(name) = names.iter().find(|n| o.program(n).is_none()) {
        return Err(Failure::Input(format!(
            "{}: no program {name:?}; `skep prog show` lists them",
            path.display()
        )));
    }
    let config = super::target::kconfig(&o, m.get_one("kconfig"))?;
    let mut options = skep::Options::default();
    options.target_btf = super::target::all_types(m.get_one("btf"))?;
    options.kconfig = super::target::kernel(&config, None);
    let wanted = |n: &str| names.is_empty() || names.iter().any(|x| *x == n);
    verify_object(&o, engine, &options, how, &wanted).map_err(|e| Failure::malformed(path, e))
}

/// Counts of the work, whatever came of it.
fn stats(v: &Verdict) -> Stats {
    match &v.outcome {
        Ok(o) => o.stats,
        Err(Refusal::Verifier(r)) => r.stats,
        Err(Refusal::Bind(_)) => Stats::default(),
    }
}

fn log(v: &Verdict) -> &str {
    match &v.outcome {
        Ok(o) => &o.log,
        Err(Refusal::Verifier(r)) => &r.log,
        Err(Refusal::Bind(_)) => "",
    }
}

fn text(path: &Path, v: &Verdict, log_level: u8) -> String {
    let s = stats(v);
    let mut t = format!("{}: {} ({}): ", path.display(), v.name, v.prog_type.label());
    match &v.outcome {
        Ok(_) => t.push_str(&format!(
            "accepted, {} instructions, {} states, {} µs\n",
            s.insns,
            s.total_states,
            s.time.as_micros()
        )),
        Err(Refusal::Bind(e)) => t.push_str(&format!("cannot be loaded: {e}\n")),
        Err(Refusal::Verifier(r)) => t.push_str(&refusal(r)),
    }
    if log_level > 0 {
        t.push_str(log(v));
    }
    t
}

/// A refusal for a person: the kernel's phrase, where, the registers involved, the rule.
fn refusal(r: &Rejection) -> String {
    let mut t = format!("refused [{}]\n  {}\n", r.rule().code(), r.message());
    if let Some(insn) = r.insn {
        match &r.line {
            Some(l) => t.push_str(&format!(
                "  --> {}:{}:{}, instruction {insn}\n   |  {}\n",
                l.file,
                l.line,
                l.col,
                l.text.trim()
            )),
            None => t.push_str(&format!("  --> instruction {insn}\n")),
        }
    }
    for x in &r.registers {
        t.push_str(&format!("  r{} holds {}\n", x.reg, x.words));
    }
    t.push_str(&format!("  rule: {}\n", r.rule().doc()));
    t
}

fn row(path: &Path, v: &Verdict) -> Map<String, Value> {
    let s = stats(v);
    let (message, rejections) = match &v.outcome {
        Ok(_) => (String::new(), Vec::new()),
        Err(Refusal::Bind(e)) => (e.to_string(), vec![json!({"rule": "bind", "message": e.to_string()})]),
        Err(Refusal::Verifier(r)) => (r.message().to_string(), vec![rejection(r)]),
    };
    object([
        ("file", path.display().to_string().into()),
        ("prog", v.name.clone().into()),
        ("type", v.prog_type.label().into()),
        ("verdict", if v.outcome.is_ok() { "accept" } else { "reject" }.into()),
        ("message", message.into()),
        ("insns", s.insns.into()),
        ("states", s.total_states.into()),
        ("peak_states", s.peak_states.into()),
        ("max_states_per_insn", s.max_states_per_insn.into()),
        ("stack_depth", s.stack_depth.into()),
        ("duration_us", (s.time.as_micros() as u64).into()),
        ("rejections", rejections.into()),
    ])
}

fn rejection(r: &Rejection) -> Value {
    let registers: Vec<Value> =
        r.registers.iter().map(|x| json!({"register": x.reg, "state": x.kernel, "words": x.words})).collect();
    json!({
        "rule": r.rule().code(),
        "message": r.message(),
        "about": r.rule().doc(),
        "insn": r.insn,
        "file": r.line.as_ref().map(|l| l.file.to_string()),
        "line": r.line.as_ref().map(|l| l.line),
        "column": r.line.as_ref().map(|l| l.col),
        "source": r.line.as_ref().map(|l| l.text.to_string()),
        "registers": registers,
        "calls": r.calls,
    })
}

fn csv(path: &Path, v: &Verdict) -> String {
    let s = stats(v);
    let attach = v.program.as_ref().and_then(|p| p.attach_type).map_or("", |a| a.uapi_name());
    let size = v.program.as_ref().map_or(0, |p| p.insns.len());
    let name = path.file_name().map_or(path.to_string_lossy(), |n| n.to_string_lossy());
    let quoted = |t: &str| {
        if t.contains([',', '"', '\n']) { format!("\"{}\"", t.replace('"', "\"\"")) } else { t.to_string() }
    };
    [
        quoted(&name),
        quoted(&v.name),
        if v.outcome.is_ok() { "success" } else { "failure" }.into(),
        s.time.as_micros().to_string(),
        s.insns.to_string(),
        s.total_states.to_string(),
        s.peak_states.to_string(),
        s.max_states_per_insn.to_string(),
        v.prog_type.label(),
        attach.to_string(),
        s.stack_depth.to_string(),
        size.to_string(),
    ]
    .join(",")
}
