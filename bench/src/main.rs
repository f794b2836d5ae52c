//! Benchmarks: `cargo xtask bench run|maps|packets|load|filters|verifier [-o json] [FILE…]`, `compare A B`.
//!
//! Rounds are interleaved (every subject once, then all again) and the median of each subject's rounds counts, so that a
//! busy machine slows all subjects alike. The machine is named in the output.

mod compare;
mod document;
mod filters;
mod load;
mod maps;
mod packets;
mod run;
mod verifier;

use serde_json::{Value, json};
use skep::Object;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Rounds of which the median is taken.
const ROUNDS: usize = 11;

/// One line of the result.
struct Row {
    engine: &'static str,
    program: String,
    ns: f64,
    ratio: f64,
    compile_ns: f64,
}

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let json = match args.iter().position(|a| a == "-o") {
        Some(at) if args.get(at + 1).is_some_and(|f| f == "json") => {
            args.drain(at..at + 2);
            true
        }
        Some(_) => return usage("-o takes json"),
        None => false,
    };
    let write = args.iter().position(|a| a == "--write").map(|at| args.remove(at)).is_some();
    if let [first, a, b] = args.as_slice()
        && first == "compare"
    {
        return done(compare::run(Path::new(a), Path::new(b)));
    }
    if args.first().is_some_and(|a| a == "verifier") {
        return judge(args.split_off(1), json);
    }
    let files: Vec<PathBuf> = args.iter().skip(1).map(PathBuf::from).collect();
    let rows = match args.first().map(String::as_str) {
        Some("run") => run::run(&or_else(files, "bench/objects")),
        Some("maps") => {
            let names: Vec<String> = args.iter().skip(2).cloned().collect();
            maps::run(&or_else(files, "bench/objects/maps.bpf.o")[0], &names)
        }
        Some("packets") => packets::run(&or_else(files, "bench/objects/packets.bpf.o")[0]),
        Some("filters") => return done(filters::run(json)),
        Some("load") => load::run(&or_else(files, "bench/objects/load.bpf.o")),
        Some("compare") => return usage("compare takes two files that `-o json` wrote"),
        _ => return usage("what to measure: run, maps, packets, load, filters or verifier; or compare A B"),
    };
    done(rows.and_then(|rows| {
        print(&rows, json);
        if write { document::write(&args[0], &rows) } else { Ok(()) }
    }))
}

fn done(what: Result<(), String>) -> ExitCode {
    match what {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn usage(why: &str) -> ExitCode {
    eprintln!(
        "bench: {why}\nusage: cargo xtask bench run|maps|packets|load [-o json] [--write] [FILE…]\n       cargo xtask bench filters [-o json]\n       cargo xtask bench compare A B\n       cargo xtask bench verifier [-o json] [--rounds N] [--only NAME] [--no-kernel] [FILE|FOLDER…]"
    );
    ExitCode::from(2)
}

/// `bench verifier`: without files the kernel's own test programs.
fn judge(args: Vec<String>, json: bool) -> ExitCode {
    let mut plan = verifier::Plan { paths: Vec::new(), rounds: 3, only: String::new(), kernel: true };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--no-kernel" => plan.kernel = false,
            "--only" => plan.only = args.next().unwrap_or_default(),
            "--rounds" => match args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0) {
                Some(n) => plan.rounds = n,
                None => return usage("--rounds takes a number from 1 on"),
            },
            _ => plan.paths.push(arg.into()),
        }
    }
    if plan.paths.is_empty() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        let given = std::env::var_os("SKEP_SELFTESTS").map(PathBuf::from);
        plan.paths.push(given.unwrap_or_else(|| root.join("target/selftests")));
    }
    done(verifier::run(&plan, json))
}

/// The files given, or every object below a folder of the repository.
fn or_else(files: Vec<PathBuf>, folder: &str) -> Vec<PathBuf> {
    if !files.is_empty() {
        return files;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).join(folder);
    if root.is_file() {
        return vec![root];
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(dir) = open.pop() {
        for path in std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()) {
            match path.is_dir() {
                true => open.push(path),
                false if path.to_string_lossy().ends_with(".bpf.o") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

fn object(path: &Path) -> Result<Object, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Object::parse(&bytes).map_err(|e| format!("{}: {e}", path.display()))
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print(rows: &[Row], json: bool) {
    if json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|r| json!({"engine": r.engine, "program": r.program, "ns": r.ns, "ratio": r.ratio, "compile_ns": r.compile_ns}))
            .collect();
        println!("{}", json!({"apiVersion": 1, "machine": machine(), "rows": rows}));
        return;
    }
    println!("{}", machine());
    if rows.iter().any(|r| r.engine == "optimized" && r.program == "arith") {
        summary(rows);
    }
    println!("{:<10} {:<40} {:>14} {:>8} {:>14}", "engine", "program", "ns", "ratio", "compile ns");
    for r in rows {
        println!("{:<10} {:<40} {:>14.2} {:>8.4} {:>14.0}", r.engine, r.program, r.ns, r.ratio, r.compile_ns);
    }
}

/// What each engine takes of the first one.
fn summary(rows: &[Row]) {
    let mut engines: Vec<&str> = Vec::new();
    for row in rows {
        if !engines.contains(&row.engine) {
            engines.push(row.engine);
        }
    }
    for engine in engines {
        println!("{engine:<10} geometric mean of ratios: {:.3}", mean(rows, engine));
    }
}

/// Geometric mean of an engine's ratios over the programs that do work.
fn mean(rows: &[Row], engine: &str) -> f64 {
    let counts = |r: &&Row| r.engine == engine && r.program != "empty" && r.ratio > 0.0;
    let logs: Vec<f64> = rows.iter().filter(counts).map(|r| r.ratio.ln()).collect();
    (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp()
}

/// Processor and number of CPUs.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map_or("unknown processor", |l| l.trim_start_matches([' ', '\t', ':']));
    format!("{model}, {} CPUs", std::thread::available_parallelism().map_or(1, usize::from))
}
