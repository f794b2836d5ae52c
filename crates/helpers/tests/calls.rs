//! Helper calls against what Linux does with them: `data/calls.txt` holds sequences of calls with the results that the
//! kernel gave, and our bodies must give the same.
//!
//! With `SKEP_BLESS=1`, as root, the results are recorded anew from the running kernel (`BPF_PROG_TEST_RUN` of generated
//! programs). As root without it, the recorded results are compared with the running kernel's as well, so that a
//! newer kernel that answers differently shows up.

#[path = "calls/case.rs"]
mod case;
#[path = "calls/env.rs"]
mod env;
#[path = "calls/kernel.rs"]
mod kernel;
#[path = "calls/packets.rs"]
mod packets;
#[path = "calls/random.rs"]
mod random;

use case::{Case, Outcome};
use skep_testkit::kernel_oracle::Oracle;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/calls.txt");

#[test]
fn bodies_do_what_the_kernel_did() {
    let text = std::fs::read_to_string(FILE).expect("data file");
    let mut wrong = Vec::new();
    let cases = case::parse(&text);
    assert!(cases.len() > 100, "only {} cases", cases.len());
    for (case, want) in &cases {
        let got = env::run(case);
        if want.as_deref() != Some(got.to_string().as_str()) {
            wrong.push(report(case, want.as_deref().unwrap_or("nothing recorded"), &got));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn report(case: &Case, want: &str, got: &Outcome) -> String {
    format!("{}\n  want {want}\n  got  {got}", case.text)
}

#[test]
fn the_kernel_still_does_it() {
    let oracle = match Oracle::open() {
        Ok(oracle) => oracle,
        Err(why) => {
            println!("skipped: {why}");
            return;
        }
    };
    let bless = std::env::var_os("SKEP_BLESS").is_some();
    let text = std::fs::read_to_string(FILE).expect("data file");
    let mut out = String::new();
    let mut wrong = Vec::new();
    for block in case::blocks(&text) {
        let Some((case, want)) = block.case() else {
            out.push_str(&block.text());
            continue;
        };
        let got = kernel::run(&oracle, &case).unwrap_or_else(|e| panic!("{}: {e}", case.text));
        if want.as_deref() != Some(got.to_string().as_str()) {
            wrong.push(report(&case, want.as_deref().unwrap_or("nothing recorded"), &got));
        }
        out.push_str(&format!("{}\n  = {got}\n", case.text));
    }
    if bless {
        std::fs::write(FILE, out).expect("data file is writable");
        return;
    }
    assert!(wrong.is_empty(), "the running kernel answers otherwise:\n{}", wrong.join("\n"));
}

/// Whatever the calls: the running kernel and our bodies agree.
#[test]
fn random_calls_agree_with_the_kernel() {
    let oracle = match Oracle::open() {
        Ok(oracle) => oracle,
        Err(why) => {
            println!("skipped: {why}");
            return;
        }
    };
    let ms = std::env::var("SKEP_FUZZ_MS").ok().and_then(|v| v.parse().ok()).unwrap_or(500);
    arbtest::arbtest(|u| {
        let case = case::one(&random::line(u)?);
        let want = kernel::run(&oracle, &case).unwrap_or_else(|e| panic!("{}: {e}", case.text)).to_string();
        let got = env::run(&case);
        assert_eq!(got.to_string(), want, "{}", case.text);
        Ok(())
    })
    .budget_ms(ms);
}
