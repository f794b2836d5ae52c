//! The kernel's annotated BPF programs against what a live Linux 6.18 said of them.
//!
//! `SKEP_SUITES` names the suites' folder, `SKEP_SELFTESTS` the folder of the objects that the suite's `build.sh` made.
//! Without them the test says so and checks nothing. `SKEP_LIST=1` lists every difference, `SKEP_ONLY` picks programs.
#![allow(clippy::print_stdout)]

mod support;

use skep_verifier::{Options, Rule, verify_full};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use support::{json::Json, objects::Opened, raw::PLATFORM};

/// Differences of verdict, and why. One that goes away fails the test, as does a new one.
const KNOWN: &[(&str, &str)] = &[];

#[test]
fn agrees_with_linux() {
    let Some(text) = support::suite("selftests/dev.jsonl.gz") else { return };
    let Some(folder) = std::env::var_os("SKEP_SELFTESTS").map(PathBuf::from) else {
        println!("SKEP_SELFTESTS is not set: nothing was checked");
        return;
    };
    let list = std::env::var_os("SKEP_LIST").is_some();
    let only = std::env::var("SKEP_ONLY").ok();
    let mut opened = HashMap::<String, Result<Opened, String>>::new();
    // Refusals that were explained, those with a fix, those with a fix by which the program is accepted, and all told.
    let mut told = [0usize; 4];
    let (mut total, mut verdicts, mut phrases, mut rejected, mut insns, mut theirs) =
        (0, 0, 0, 0, 0u64, 0u64);
    let mut wrong = BTreeMap::<&str, Vec<String>>::new();
    let mut notyet = BTreeMap::<String, usize>::new();
    let mut time = std::time::Duration::ZERO;
    for line in text.lines() {
        let row = Json::parse(line).expect("a line of the suite is JSON");
        let (obj, prog) = (row.str("obj").to_owned(), row.str("prog").to_owned());
        let name = format!("{obj}:{prog}");
        if only.as_ref().is_some_and(|o| !name.contains(o.as_str())) {
            continue;
        }
        total += 1;
        let o = opened.entry(obj.clone()).or_insert_with(|| Opened::open(&folder.join(&obj)));
        let accepted = row.str("expect") == "accept";
        let log = row.str("log_tail");
        let last = log.lines().last().unwrap_or("").to_owned();
        let program = match o.as_ref().map_err(Clone::clone).and_then(|o| o.bind(&prog)) {
            Ok(p) => p,
            Err(e) if accepted => {
                wrong.entry("not bound").or_default().push(format!("{name}\n    {e}\n    kernel: {last}"));
                continue;
            }
            Err(_) => {
                verdicts += 1;
                rejected += 1;
                continue;
            }
        };
        let strict = row.num("flags") & 3 == 1;
        let options = Options {
            strict_alignment: strict,
            test_state_freq: row.num("flags") & 8 != 0,
            log_level: if only.is_some() { 2 } else { 0 },
            cpus: 2,
            ..Options::default()
        };
        let result = verify_full(&Arc::new(program), &PLATFORM, &options);
        match &result {
            Ok(o) => time += o.stats.time,
            Err(e) => time += e.stats.time,
        }
        if only.is_some() {
            println!("=== {name}: expect {}\n--- kernel\n{log}--- ours", row.str("expect"));
            match &result {
                Ok(o) => println!("{}accepted, {} insns", o.log, o.stats.insns),
                Err(e) => println!("{}{e}", e.log),
            }
        }
        match (result, accepted) {
            (Ok(o), true) => {
                verdicts += 1;
                insns += o.stats.insns;
                theirs += row.num("processed") as u64;
                let (a, b) = (o.stats.insns, row.num("processed") as u64);
                if a != b {
                    wrong.entry("insns differ").or_default().push(format!("{name} ours {a} kernel {b}"));
                }
                if a > 2 * b || b > 2 * a {
                    wrong
                        .entry("insns off by more than 2")
                        .or_default()
                        .push(format!("{name} ours {a} kernel {b}"));
                }
            }
            (Err(e), false) => {
                verdicts += 1;
                rejected += 1;
                let all = e.explain(&PLATFORM).diagnoses;
                let fix = all.first().and_then(|d| d.fix.as_ref());
                told[0] += 1;
                told[1] += usize::from(fix.is_some());
                told[2] += usize::from(fix.is_some_and(|f| f.accepted));
                told[3] += all.len();
                if log
                    .lines()
                    .any(|l| l == e.message() || e.reject.lines().any(|x| x.lines().any(|x| x == l)))
                {
                    phrases += 1;
                } else {
                    if e.rule() == Rule::NotYet {
                        *notyet.entry(e.message().to_owned()).or_default() += 1;
                    }
                    wrong
                        .entry("phrase")
                        .or_default()
                        .push(format!("{name}\n    kernel: {last}\n    ours:   {}", e.message()));
                }
            }
            (Ok(_), false) => {
                wrong.entry("WE ACCEPT").or_default().push(format!("{name}\n    kernel: {last}"))
            }
            (Err(e), true) => {
                if e.rule() == Rule::NotYet {
                    *notyet.entry(e.message().to_owned()).or_default() += 1;
                }
                let why = format!("{}", e).lines().next().unwrap_or("").to_owned();
                wrong.entry("we refuse").or_default().push(format!("{name}\n    {why}"));
            }
        }
    }
    println!(
        "selftests: {total} programs, verdict {verdicts}, refused by both {rejected}, phrase {phrases}; accepted ones: {insns} insns (kernel {theirs}); {time:?}"
    );
    println!(
        "explained: {} refused programs, {} with a fix for the first refusal, {} accepted with it; {} refusals told",
        told[0], told[1], told[2], told[3]
    );
    for (kind, cases) in &wrong {
        println!("{kind}: {}", cases.len());
        if list {
            cases.iter().for_each(|c| println!("  {c}"));
        }
    }
    println!("not judged yet: {notyet:#?}");
    let off: Vec<&str> = wrong
        .iter()
        .filter(|(k, _)| !["phrase", "insns differ", "insns off by more than 2"].contains(k))
        .flat_map(|(_, v)| v)
        .map(|c| c.lines().next().unwrap_or(""))
        .collect();
    let unknown: Vec<_> = off.iter().filter(|d| !KNOWN.iter().any(|(k, _)| k == *d)).collect();
    assert!(unknown.is_empty(), "verdicts differ: {unknown:?}");
    if only.is_none() {
        let gone: Vec<_> = KNOWN.iter().filter(|(k, _)| !off.contains(k)).collect();
        assert!(gone.is_empty(), "no longer differ, take them off the list: {gone:?}");
        assert!(phrases * 100 >= rejected * 98, "{phrases} phrases of {rejected}");
        assert!(told[1] * 100 >= told[0] * 48, "{} of {} refusals come with a fix", told[1], told[0]);
        assert!(
            insns <= 2 * theirs && theirs <= 2 * insns,
            "instructions walked: {insns}, the kernel {theirs}"
        );
    }
}
