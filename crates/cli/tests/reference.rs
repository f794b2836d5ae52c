//! `docs/cli.md` says what the table of commands says. `SKEP_BLESS=1` rewrites it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;

fn skep(args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_skep")).args(args).output().unwrap();
    assert!(out.status.success(), "skep {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Names in the "Commands:" part of a help text.
fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| l.starts_with("  "));
    lines.filter_map(|l| l.split_whitespace().next()).filter(|c| *c != "help").map(String::from).collect()
}

#[test]
fn cli() {
    let top = skep(&["--help"]);
    let mut text =
        format!("# The command line\n\nGenerated; `cargo xtask bless` rewrites it.\n\n```text\n{}```\n", top);
    for noun in commands(&top) {
        let help = skep(&[&noun, "--help"]);
        let verbs = commands(&help);
        if verbs.is_empty() {
            text.push_str(&format!("\n## skep {noun}\n\n```text\n{help}```\n"));
        }
        for verb in verbs {
            let help = skep(&[&noun, &verb, "--help"]);
            text.push_str(&format!("\n## skep {noun} {verb}\n\n```text\n{help}```\n"));
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == text,
        "docs/cli.md is not what the table of commands says; `cargo xtask bless` rewrites it"
    );
}
