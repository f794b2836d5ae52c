//! `cargo xtask fuzz verifier [--minutes N] [--seed N]`: the verifier's soundness, tried for as long as you like.
//!
//! Three tests, each of which CI runs for seconds: the scalar operators against brute force, the claims of accepted programs
//! against what happens in the checked tier, and the verdicts on changed programs against the running kernel (root). The
//! first ends by itself; the other two share the minutes. The fuzz targets for readers of hostile input are in `fuzz/`.

use std::process::Command;

/// Package and test, and whether it takes as long as it is given.
const TESTS: [(&str, &str, bool); 3] = [
    ("skep-verifier", "scalar", false),
    ("skep-vm", "verifier_state", true),
    ("skep-vm", "verifier_fuzz", true),
];

pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let (mut minutes, mut seed, mut what) = (10.0, None, None);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse::<f64>().ok()).filter(|n| *n > 0.0);
        match word.as_str() {
            "--minutes" => minutes = number().ok_or("--minutes takes a number")?,
            "--seed" => seed = Some(number().ok_or("--seed takes a number")? as u64),
            _ => what = Some(word.as_str()),
        }
    }
    if what != Some("verifier") {
        return Err(
            "what to fuzz: verifier; usage: cargo xtask fuzz verifier [--minutes N] [--seed N]".into()
        );
    }
    let share = minutes / TESTS.iter().filter(|t| t.2).count() as f64;
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
        ]);
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
