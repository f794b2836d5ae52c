//! `skep verify`: the verifier's verdict on the programs of objects, and why.

mod compare;
mod insns;
mod refusal;
mod report;

use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Format, Out};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
pub(crate) use refusal::refusal;
use report::Subject;
use serde_json::{Map, Value};
use skep::descriptors::{Host, Version};
use skep::verifier::{Mode, Options};
use skep::verify::{Refusal, Verdict, verify_object};
use skep::vm::{SystemHost, User};
use std::path::{Path, PathBuf};

/// `skep verify OBJ…`.
pub(crate) static VERIFY: Cmd = Cmd {
    path: &["verify"],
    about: "Say whether the Linux kernel would accept the programs of object files, and why not",
    long: "Exit code 5 when a program is refused. JSON has one object a program; -o csv has veristat's columns.\n\n\
           Examples:\n  skep verify prog.bpf.o\n  skep verify --prog firewall --log-level 2 prog.bpf.o\n  skep verify -o csv *.bpf.o\n  \
           skep verify old.bpf.o new.bpf.o --compare\n  skep verify --insns programs.jsonl.gz -o jsonl",
    args: || {
        let file = |name: &'static str, help: &'static str| {
            Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf)).help(help)
        };
        vec![
            super::obj::files_arg("Object files").required_unless_present("insns").required(false),
            file(
                "insns",
                "Raw programs instead of objects: JSON lines in test_verifier's format; .gz is unpacked",
            )
            .conflicts_with_all(["file", "prog", "kconfig"]),
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
            Arg::new("cap-bpf")
                .long("cap-bpf")
                .action(ArgAction::SetTrue)
                .conflicts_with("unprivileged")
                .help("As loaded by a process with CAP_BPF and CAP_NET_ADMIN, but not CAP_PERFMON"),
            Arg::new("log-level")
                .long("log-level")
                .value_name("LEVEL")
                .value_parser(value_parser!(u8).range(0..=2))
                .default_value("0")
                .help("Print the log in the kernel's format: 1 the failing path, 2 every path"),
            Arg::new("compare")
                .long("compare")
                .action(ArgAction::SetTrue)
                .conflicts_with("insns")
                .help("Show what changed between two objects, or two .csv files of -o csv or veristat"),
            Arg::new("no-explain")
                .long("no-explain")
                .action(ArgAction::SetTrue)
                .help("Of refusals tell phrase and place only: look for no cause, input or fix"),
            file("btf", "Types of the kernel; default: the running kernel's"),
            file(
                "kconfig",
                "Kernel configuration: values of .kconfig externs, helpers that are built in; default: the running kernel's",
            ),
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
    if given(m, "cap-bpf") == Some(&true) {
        options.mode = Mode::Bpf;
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

fn verify(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let mut how = options(m)?;
    let running = m.get_one::<PathBuf>("btf").is_none() && how.as_kernel.is_none();
    how.config = super::target::judged_config(m.get_one("kconfig"), running)?;
    if m.get_flag("compare") {
        return comparison(m, &how, out);
    }
    let mut sink = Sink::new(out, how.log_level, !m.get_flag("no-explain"))?;
    if let Some(path) = m.get_one::<PathBuf>("insns") {
        insns::verify(m, path, &how, &mut sink)?;
        return sink.end();
    }
    let engine = super::run::listing_engine();
    let paths: Vec<&PathBuf> = m.get_many::<PathBuf>("file").into_iter().flatten().collect();
    for path in paths {
        match verdicts(m, path, &engine, &how) {
            Ok(all) => {
                let file = path.display().to_string();
                all.iter().try_for_each(|v| sink.put(&Subject { file: &file, key: "prog" }, v))?;
            }
            Err(e) => sink.trouble(&e),
        }
    }
    sink.end()
}

/// Two objects or files of CSV against one another.
fn comparison(m: &ArgMatches, how: &Options, out: &mut Out) -> Result<(), Failure> {
    let paths: Vec<&PathBuf> = m.get_many::<PathBuf>("file").into_iter().flatten().collect();
    let [old, new] = paths[..] else {
        return Err(Failure::Usage(format!(
            "--compare takes two files, the old and the new; {} given",
            paths.len()
        )));
    };
    let engine = super::run::listing_engine();
    let side = |path: &PathBuf| {
        if path.extension().is_some_and(|e| e == "csv") {
            let bytes = crate::input::file(path)?;
            return compare::read_csv(path, &String::from_utf8_lossy(&bytes));
        }
        let (mut side, file) = (compare::Side::new(), path.display().to_string());
        for v in verdicts(m, path, &engine, how)? {
            compare::add(&mut side, &Subject { file: &file, key: "prog" }, &v);
        }
        Ok(side)
    };
    compare::print(out, &side(old)?, &side(new)?)
}

/// Where verdicts go, in the format asked for, and what is counted of them.
struct Sink<'o> {
    out: &'o mut Out,
    log_level: u8,
    explain: bool,
    rows: Vec<Map<String, Value>>,
    refused: usize,
    trouble: usize,
}

impl<'o> Sink<'o> {
    fn new(out: &'o mut Out, log_level: u8, explain: bool) -> Result<Sink<'o>, Failure> {
        if out.format == Format::Csv {
            out.line(report::CSV)?;
        }
        Ok(Sink { out, log_level, explain, rows: Vec::new(), refused: 0, trouble: 0 })
    }

    fn put(&mut self, s: &Subject<'_>, v: &Verdict) -> Result<(), Failure> {
        self.refused += usize::from(v.outcome.is_err());
        let explained = self.explain && self.out.format != Format::Csv;
        let why = match &v.outcome {
            Err(Refusal::Verifier(r)) if explained => Some(skep::explain::explain(r)),
            _ => None,
        };
        match self.out.format {
            Format::Csv => self.out.line(&report::csv(s, v)),
            Format::Text => self.out.text(&report::text(s, v, self.log_level, why.as_ref())),
            Format::Jsonl => self.out.json(report::row(s, v, why.as_ref())),
            Format::Json { .. } => {
                self.rows.push(report::row(s, v, why.as_ref()));
                Ok(())
            }
        }
    }

    /// Something could not be judged; the rest still is.
    fn trouble(&mut self, e: &Failure) {
        eprintln!("skep: {e}");
        self.trouble += 1;
    }

    fn end(self) -> Result<(), Failure> {
        if matches!(self.out.format, Format::Json { .. }) {
            self.out.json_rows("programs", self.rows)?;
        }
        match (self.trouble, self.refused) {
            (0, 0) => Ok(()),
            (0, 1) => Err(Failure::Refused("1 program is refused".into())),
            (0, n) => Err(Failure::Refused(format!("{n} programs are refused"))),
            _ => Err(Failure::Input("some files could not be judged".into())),
        }
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
    options.kconfig = super::target::kernel(&config);
    if m.get_one::<PathBuf>("btf").is_none() {
        options.ksyms = super::target::ksyms(&o, false);
    }
    let wanted = |n: &str| names.is_empty() || names.iter().any(|x| *x == n);
    verify_object(&o, engine, &options, how, &wanted).map_err(|e| Failure::malformed(path, e))
}
