//! `skep run --push`: records for a user ring buffer, drained by a program on every tier and in the kernel.

#![allow(clippy::print_stdout, reason = "a test may say why it was skipped")]

use serde_json::Value;
use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let base = ["run", "tests/objects/user_ring.o", "--data-in", "tests/objects/user_ring.o", "-j"];
    let ran = Command::new(env!("CARGO_BIN_EXE_skep")).args(base).args(words).current_dir(root).output();
    ran.expect("skep runs")
}

/// Two records, 5 and 300, are counted and added up; a byte behind the word does no harm.
fn drains(words: &[&str]) {
    let pushes = ["--push", "orders=05000000", "--push", "orders=2c010000ff"];
    let out = run(&[words, &pushes].concat());
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{words:?}: {errors}");
    let run: Value = serde_json::from_slice(&out.stdout).expect("a report");
    assert_eq!(run["r0"], 2, "{words:?}: {run}");
    assert!(run.to_string().contains("\"sum\":305"), "{words:?}: {run}");
}

#[test]
fn every_tier_drains() {
    for tier in ["checked", "interp", "baseline", "optimized", "auto"] {
        drains(&["--tier", tier]);
    }
}

#[test]
fn the_kernel_drains() {
    match skep::kernel::Kernel::open(*skep::platform()) {
        Ok(_) => drains(&["--engine", "kernel"]),
        Err(e) => println!("skipped: {e}"),
    }
}

#[test]
fn what_cannot_be_pushed_is_told() {
    for (push, why) in [
        ("orders", "no `=`"),
        ("nothing=00", "the object has no such map"),
        ("orders=0g", "these are no bytes"),
        ("orders=000", "these are no bytes"),
    ] {
        let out = run(&["--push", push]);
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{push}: {errors}");
        assert!(errors.contains(why), "{push}: {errors}");
    }
}
