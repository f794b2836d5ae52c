//! The kernel's own raw verifier programs against what a live Linux 6.18 said of them.
//!
//! The suite is not part of the repository: `SKEP_SUITES` names its folder (default: `../shared/suites` beside the
//! repository). Without it the test says so and checks nothing. `SKEP_LIST=1` lists every difference.

#![allow(clippy::print_stdout)]

mod support;

use std::collections::BTreeMap;
use support::{json::Json, raw};

/// Differences of verdict, and why. One that goes away fails the test, as does a new one.
const KNOWN: &[(&str, &str)] = &[
    ("sleepable fexit accept", NO_TRAMPOLINE),
    ("sleepable fmod_ret accept", NO_TRAMPOLINE),
    ("sleepable lsm accept", NO_TRAMPOLINE),
];
const NO_TRAMPOLINE: &str =
    "the judging kernel loads no program of this attach type (EPERM before its verifier)";

/// Phrases that may differ: rows that never reached the judge's verifier, and carry an earlier row's log.
const PHRASES: usize = 2;

#[test]
fn agrees_with_linux() {
    let Some(text) = support::suite("test_verifier/dev.jsonl.gz") else { return };
    let list = std::env::var_os("SKEP_LIST").is_some();
    let only = std::env::var("SKEP_ONLY").ok();
    let (mut total, mut verdicts, mut phrases, mut rejected, mut skipped) = (0, 0, 0, 0, 0);
    let mut wrong = BTreeMap::<&str, Vec<String>>::new();
    for line in text.lines() {
        let row = Json::parse(line).expect("a line of the suite is JSON");
        let descr = row.str("descr").to_owned();
        if only.as_ref().is_some_and(|o| !descr.contains(o.as_str())) {
            continue;
        }
        if raw::needs_types(&row) && support::objects::kernel().is_none() {
            skipped += 1;
            continue;
        }
        let kernel = row.get("kernel");
        let accepted = kernel.bool("accepted");
        total += 1;
        let ours = raw::verify(&row);
        match (&ours, accepted) {
            (Ok(_), true) => verdicts += 1,
            (Err(e), false) => {
                verdicts += 1;
                rejected += 1;
                let log = kernel.str("log");
                if log.lines().any(|l| l == e.message()) || (log.trim().is_empty() || raw::stats_only(log)) {
                    phrases += 1;
                } else {
                    let last = raw::last_line(log);
                    wrong
                        .entry("phrase")
                        .or_default()
                        .push(format!("{descr}\n    kernel: {last}\n    ours:   {}", e.message()));
                }
            }
            (Ok(_), false) => {
                let last = raw::last_line(kernel.str("log"));
                wrong.entry("WE ACCEPT").or_default().push(format!("{descr}\n    kernel: {last}"));
            }
            (Err(e), true) => wrong.entry("we refuse").or_default().push(format!("{descr}\n    {e}")),
        }
        if only.is_some() {
            println!(
                "{descr}: kernel {accepted}\n{}\n---ours\n{:?}",
                kernel.str("log"),
                ours.map(|_| ()).map_err(|e| e.to_string())
            );
        }
    }
    println!(
        "test_verifier: {total} programs, verdict {verdicts}, refused by both {rejected}, phrase {phrases}; \
         {skipped} skipped: they need the running kernel's types"
    );
    for (kind, cases) in &wrong {
        println!("{kind}: {}", cases.len());
        if list {
            for c in cases {
                println!("  {c}");
            }
        }
    }
    let verdicts_off: Vec<&str> = wrong
        .iter()
        .filter(|(k, _)| **k != "phrase")
        .flat_map(|(_, v)| v)
        .map(|c| c.lines().next().unwrap_or(""))
        .collect();
    let unknown: Vec<_> = verdicts_off.iter().filter(|d| !KNOWN.iter().any(|(k, _)| k == *d)).collect();
    assert!(unknown.is_empty(), "verdicts differ: {unknown:?}");
    if only.is_none() && skipped == 0 {
        let gone: Vec<_> = KNOWN.iter().filter(|(k, _)| !verdicts_off.contains(k)).collect();
        assert!(gone.is_empty(), "no longer differ, take them off the list: {gone:?}");
        let off = wrong.get("phrase").map_or(0, Vec::len);
        assert!(off <= PHRASES, "{off} phrases differ");
    }
}
