//! `cargo xtask fuzz verifier [--minutes N] [--seed N] [--as root|cap-bpf|unprivileged]`: the verifier's soundness, tried
//! for as long as you like.
//!
//! Three tests, each of which CI runs for seconds: the scalar operators against brute force, the claims of accepted programs
//! against what happens in the checked tier, and the verdicts on changed programs against the running kernel (root). The
//! first ends by itself; the other two share the minutes. Verdicts are compared for root and for a loader with `CAP_BPF`
//! alone, or only for the one that `--as` names; for `unprivileged` the kernel is opened to such programs meanwhile. The
//! fuzz targets for readers of hostile input are in `fuzz/`.
//!
//! `cargo xtask fuzz scalars`: the scalar domain against brute force, every pair at 5 and 6 bits, tnums at 8.
//!
//! `cargo xtask fuzz tiers [--programs N] [--seed S] [--kernel] [--aot]`: generated programs on every tier, compared; see
//! `crates/skep/examples/tiers.rs`.

use std::process::Command;

/// Package and test, and whether it takes as long as it is given.
const TESTS: [(&str, &str, bool); 3] = [
    ("skep-verifier", "scalar", false),
    ("skep-vm", "verifier_state", true),
    ("skep-vm", "verifier_fuzz", true),
];

/// The scalar domain at small widths, every pair: some minutes, with all cores.
fn scalars() -> Result<(), String> {
    let words = ["test", "--quiet", "--release", "-p", "skep-verifier", "--test", "scalar"];
    let status = Command::new("cargo")
        .args(words)
        .args(["--", "--include-ignored", "--nocapture"])
        .current_dir(crate::root())
        .status();
    match status {
        Ok(s) if s.success() => Ok(()),
        Ok(s) => Err(format!("it ended with {s}")),
        Err(e) => Err(format!("cannot run cargo: {e}")),
    }
}

/// The comparison of tiers.
fn tiers(args: &[String]) -> Result<(), String> {
    let run = ["run", "--quiet", "--release", "-p", "skep", "--example", "tiers", "--"];
    let status = Command::new("cargo").args(run).args(args).current_dir(crate::root()).status();
    match status {
        Ok(s) if s.success() => Ok(()),
        Ok(s) => Err(format!("it ended with {s}")),
        Err(e) => Err(format!("cannot run cargo: {e}")),
    }
}

pub(crate) fn run(args: &[String]) -> Result<(), String> {
    if args.first().is_some_and(|a| a == "tiers") {
        return tiers(&args[1..]);
    }
    if args.first().is_some_and(|a| a == "scalars") {
        return scalars();
    }
    let (mut minutes, mut seed, mut who, mut what) = (10.0, None, None, None);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse::<f64>().ok()).filter(|n| *n > 0.0);
        match word.as_str() {
            "--minutes" => minutes = number().ok_or("--minutes takes a number")?,
            "--seed" => seed = Some(number().ok_or("--seed takes a number")? as u64),
            "--as" => who = Some(words.next().ok_or("--as takes root, cap-bpf or unprivileged")?),
            _ => what = Some(word.as_str()),
        }
    }
    if what != Some("verifier") {
        return Err(
            "what to fuzz: tiers, scalars or verifier; usage: cargo xtask fuzz tiers [--programs N] [--seed S] [--kernel] [--aot]\n       cargo xtask fuzz scalars\n       cargo xtask fuzz verifier [--minutes N] [--seed N] [--as root|cap-bpf|unprivileged]".into()
        );
    }
    let loaders = if who.is_some() { 1 } else { 2 };
    let share = minutes / (TESTS.iter().filter(|t| t.2).count() - 1 + loaders) as f64;
    for (package, test, long) in TESTS {
        let mut cargo = Command::new("cargo");
        cargo.args([
            "test",
            "--quiet",
            "--release",
            "--package",
            package,
            "--test",
            test,
            "--",
            "--nocapture",
            "--test-threads=1",
        ]);
        if let Some(who) = who {
            cargo.env("SKEP_AS", who);
        }
        if long {
            cargo.env("SKEP_FUZZ_MINUTES", share.to_string());
        }
        if let Some(seed) = seed {
            cargo.env("SKEP_SEED", seed.to_string());
        }
        let status = cargo.current_dir(crate::root()).status();
        match status {
            Ok(s) if s.success() => {}
            Ok(s) => return Err(format!("{test} ended with {s}")),
            Err(e) => return Err(format!("cannot run cargo: {e}")),
        }
    }
    Ok(())
}
