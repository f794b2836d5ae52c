//! `skep conformance` and `skep conformance-plugin`: the outside suite `bpf_conformance`, its files directly and as the
//! plug-in that its own runner starts.

use crate::commands::Cmd;
use crate::failure::Failure;
use crate::input;
use crate::output::{Out, object};
use clap::{Arg, ArgMatches};
use skep::isa::Insn;
use skep::isa::conformance::{self, Expected, Test};
use skep::raw;
use skep::vm::Tier;
use std::path::{Path, PathBuf};

fn tier_arg() -> Arg {
    // Files of this kind are run as they come: no library is made of them.
    let tiers = Tier::ALL.iter().filter(|(t, _)| *t != Tier::Aot);
    let names: Vec<&'static str> = tiers.map(|(_, n)| *n).collect();
    Arg::new("tier")
        .long("tier")
        .value_name("TIER")
        .value_parser(names)
        .default_value("checked")
        .help("How programs are run")
}

/// The tier asked for.
fn tier(m: &ArgMatches) -> Tier {
    m.get_one::<String>("tier").and_then(|n| Tier::from_name(n)).unwrap_or_default()
}

/// `skep conformance FILE.data…`.
pub(crate) static CONFORMANCE: Cmd = Cmd {
    path: &["conformance"],
    about: "Run bpf_conformance test files, one line a test",
    long: "Prints PASS, FAIL or SKIP, the test's name and why. Exit code 1 when one fails.\n\n\
           The programs are not verified: tiers other than checked trust them, so give them files that you trust.\n\n\
           Example:\n  skep conformance --tier checked tests/*.data",
    args: || {
        let parser = clap::value_parser!(PathBuf);
        vec![
            tier_arg(),
            Arg::new("file").required(true).num_args(1..).value_name("FILE").value_parser(parser),
        ]
    },
    run: run_files,
};

/// `skep conformance-plugin [MEM_HEX]`.
pub(crate) static PLUGIN: Cmd = Cmd {
    path: &["conformance-plugin"],
    about: "Run one program from standard input, as a plug-in of the bpf_conformance runner",
    long: "The program is hexadecimal text on standard input, the memory it gets hexadecimal text as argument; r0 is printed in\n\
           hexadecimal.\n\nExample:\n  echo b7000000 01000000 95000000 00000000 | skep conformance-plugin",
    args: || {
        // The suite's runner passes the program as an option of this name in some versions.
        let program = Arg::new("program")
            .long("program")
            .value_name("HEX")
            .help("The program, instead of standard input");
        vec![tier_arg(), program, Arg::new("memory").value_name("MEM_HEX").help("Memory that r1 points to")]
    },
    run: plugin,
};

enum Outcome {
    Pass,
    Fail(String),
    Skip(String),
}

fn run_files(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut rows = Vec::new();
    for path in m.get_many::<PathBuf>("file").into_iter().flatten() {
        let outcome = run_file(path, tier(m));
        let (word, why) = match &outcome {
            Outcome::Pass => ("PASS", ""),
            Outcome::Fail(why) => ("FAIL", why.as_str()),
            Outcome::Skip(why) => ("SKIP", why.as_str()),
        };
        match outcome {
            Outcome::Pass => passed += 1,
            Outcome::Fail(_) => failed += 1,
            Outcome::Skip(_) => skipped += 1,
        }
        let name = path.file_stem().map_or(path.to_string_lossy(), |s| s.to_string_lossy());
        if out.is_json() {
            rows.push(object([("name", name.into()), ("result", word.into()), ("why", why.into())]));
        } else if why.is_empty() {
            out.line(&format!("{word} {name}"))?;
        } else {
            out.line(&format!("{word} {name} ({why})"))?;
        }
    }
    if out.is_json() {
        out.json_rows("tests", rows)?;
    }
    out.finish()?;
    eprintln!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { Ok(()) } else { Err(Failure::Failed(format!("{failed} conformance tests failed"))) }
}

fn run_file(path: &Path, tier: Tier) -> Outcome {
    let text = match input::file(path) {
        Ok(bytes) => bytes,
        Err(e) => return Outcome::Fail(e.to_string()),
    };
    let Ok(text) = String::from_utf8(text) else { return Outcome::Fail("not a text file".into()) };
    match conformance::parse(&text) {
        Ok(test) => judge(&test, trusted(&test.program, &test.memory, tier)),
        Err(e) => Outcome::Fail(e.to_string()),
    }
}

/// Runs a program of the suite in a tier.
fn trusted(insns: &[Insn], memory: &[u8], tier: Tier) -> Result<u64, raw::Error> {
    // SAFETY: whoever runs a conformance suite trusts its programs: they test machines that verify nothing. The default
    // tier checks every step all the same.
    unsafe { raw::run_trusted(insns, memory, tier) }
}

fn judge(test: &Test, got: Result<u64, raw::Error>) -> Outcome {
    match (&test.expected, got) {
        (_, Err(raw::Error::Unsupported(why))) => Outcome::Skip(why),
        (Expected::Result(want), Ok(got)) if *want == got => Outcome::Pass,
        (Expected::Result(want), Ok(got)) => Outcome::Fail(format!("r0 is {got:#x}, expected {want:#x}")),
        (Expected::Result(_), Err(e)) => Outcome::Fail(e.to_string()),
        (Expected::Error(_), Err(_)) => Outcome::Pass,
        (Expected::Error(want), Ok(got)) => {
            Outcome::Fail(format!("r0 is {got:#x}, expected the error {want:?}"))
        }
    }
}

fn plugin(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let program = match m.get_one::<String>("program") {
        Some(p) => p.clone(),
        None => String::from_utf8(input::file(Path::new("-"))?).map_err(|_| {
            Failure::Input("standard input: not text; the program is written in hexadecimal".into())
        })?,
    };
    let insns: Vec<Insn> = conformance::program_from_hex(&program)
        .map_err(|e| Failure::Input(format!("standard input: {e}")))?;
    let memory = hex(m.get_one::<String>("memory").map_or("", String::as_str))
        .map_err(|e| Failure::Input(format!("memory argument: {e}")))?;
    match trusted(&insns, &memory, tier(m)) {
        Ok(r0) => out.line(&format!("{r0:x}")),
        Err(raw::Error::Unsupported(why)) => Err(Failure::Unsupported(why)),
        Err(e) => Err(Failure::Failed(e.to_string())),
    }
}

/// Bytes of hexadecimal text; blanks between them are skipped.
pub(crate) fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<(usize, char)> = text.char_indices().filter(|(_, c)| !c.is_whitespace()).collect();
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| match pair {
            [(_, a), (at, b)] => match (a.to_digit(16), b.to_digit(16)) {
                (Some(a), Some(b)) => Ok((a * 16 + b) as u8),
                _ => Err(format!("not a hexadecimal digit at character {at}")),
            },
            _ => Err("an odd number of hexadecimal digits".into()),
        })
        .collect()
}
