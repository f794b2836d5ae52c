//! `skep run --follow` over a capture: every record is shown as it comes, on either engine, and counted.

#![allow(clippy::print_stdout, reason = "a test may say why it was skipped")]

use serde_json::Value;
use std::process::{Command, Output};

const FIREWALL: [&str; 4] =
    ["run", "examples/firewall/firewall.bpf.o", "--pcap", "examples/firewall/traffic.pcap"];

fn skep(words: &[&str]) -> Output {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let ran = Command::new(env!("CARGO_BIN_EXE_skep")).args(FIREWALL).args(words).current_dir(root).output();
    ran.expect("skep runs")
}

/// The lines of standard output, each an object.
fn lines(out: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&out.stdout);
    text.lines().map(|l| serde_json::from_str(l).expect("a line is an object")).collect()
}

/// The firewall writes a record for every packet that it drops.
fn as_many_as_dropped(engine: &str) {
    let out = skep(&["--engine", engine, "--follow", "-j"]);
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{engine}: {errors}");
    let lines = lines(&out);
    let (report, records) = lines.split_last().expect("a report");
    let dropped = report["retval"]["XDP_DROP"].as_u64().expect("packets are dropped");
    assert_eq!(records.len() as u64, dropped, "{engine}");
    assert!(records.iter().all(|r| r["map"] == "events" && r["record"]["reason"].is_u64()), "{engine}");
    assert_eq!(report["streams"][0]["received"], dropped, "{engine}");
    assert!(errors.contains(&format!("events: {dropped} records received")), "{engine}: {errors}");
    if engine == "user" {
        assert_eq!(report["streams"][0]["lost"], 0);
        assert!(errors.contains("received, 0 lost"), "{errors}");
    }
}

#[test]
fn every_record_is_shown() {
    as_many_as_dropped("user");
}

#[test]
fn every_record_of_the_kernel_is_shown() {
    let tried = skep(&["--engine", "kernel"]);
    if tried.status.code() == Some(4) {
        return println!("skipped: {}", String::from_utf8_lossy(&tried.stderr));
    }
    as_many_as_dropped("kernel");
}

#[test]
fn a_limit_ends_the_run() {
    let out = skep(&["--follow=events", "--count", "3", "-j"]);
    let lines = lines(&out);
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[3]["streams"][0]["received"], 3);
    assert!(lines[3]["packets"].as_u64() < Some(1000), "the rest of the capture is not run");
}

#[test]
fn what_has_no_records_is_not_followed() {
    for (map, code, said) in [("counters", 6, "has no records"), ("nobody", 3, "has no map \"nobody\"")] {
        let out = skep(&[&format!("--follow={map}")]);
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(code) && errors.contains(said), "{errors}");
    }
}
