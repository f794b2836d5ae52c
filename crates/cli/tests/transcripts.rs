//! Transcripts: files of commands with what they print. Each block is `$ skep …`, its standard output, its standard error
//! with `! ` in front of each line, and `exit N` when that is not 0. They run in the root of the repository, with `TMP`
//! standing for a folder of the test's own; times are written as `N ns`. `SKEP_BLESS=1` rewrites them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn transcripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let tmp = std::env::temp_dir().join(format!(
            "skep-{}-{}",
            std::process::id(),
            file.file_stem().unwrap().display()
        ));
        std::fs::create_dir_all(&tmp).unwrap();
        let now = replay(&text, &tmp);
        std::fs::remove_dir_all(&tmp).unwrap();
        if std::env::var_os("SKEP_BLESS").is_some() {
            std::fs::write(&file, now).unwrap();
        } else if now != text {
            let differs = text.lines().zip(now.lines()).find(|(a, b)| a != b);
            panic!("{}: {differs:?}\nit is now:\n{now}", file.display());
        }
    }
}

/// The same commands with what they print now. Lines before the first command are kept.
fn replay(text: &str, tmp: &Path) -> String {
    let mut out: String =
        text.lines().take_while(|l| !l.starts_with("$ ")).map(|l| format!("{l}\n")).collect();
    for command in text.lines().filter_map(|l| l.strip_prefix("$ skep ")) {
        let words = command.split_whitespace().map(|w| w.replace("TMP", tmp.to_str().unwrap()));
        let ran = Command::new(env!("CARGO_BIN_EXE_skep"))
            .args(words)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
            .output()
            .unwrap();
        let _ = writeln!(out, "$ skep {command}");
        let plain = |bytes: &[u8]| {
            without_times(&String::from_utf8_lossy(bytes).replace(tmp.to_str().unwrap(), "TMP"))
        };
        out.push_str(&plain(&ran.stdout));
        for line in plain(&ran.stderr).lines() {
            let _ = writeln!(out, "! {line}");
        }
        let code = ran.status.code().unwrap();
        if code != 0 {
            let _ = writeln!(out, "exit {code}");
        }
    }
    out
}

/// `1234 ns a`, `12 µs` and `"ns_per_run":1234.5` (`duration_us` likewise) become `N ns a`, `N µs` and `"ns_per_run":N`.
fn without_times(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let line = [" ns a ", " µs"].iter().fold(line.to_string(), |line, unit| match line.find(unit) {
            Some(at) => {
                let start = line[..at].rfind(' ').map_or(0, |i| i + 1);
                format!("{}N{}", &line[..start], &line[at..])
            }
            None => line,
        });
        let line = ["\"ns_per_run\":", "\"duration_us\":"].iter().fold(line, |line, key| {
            let Some(at) = line.find(key) else { return line };
            let rest = &line[at + key.len()..];
            let end = rest.find([',', '}']).unwrap_or(rest.len());
            format!("{}{key}N{}", &line[..at], &rest[end..])
        });
        out.push_str(&line);
        out.push('\n');
    }
    out
}
