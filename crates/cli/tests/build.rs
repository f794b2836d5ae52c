//! `skep build --native` over the examples: code made ahead of time gives the verdicts and maps that the compiler's gives, and is
//! refused for another program. Where there is no C compiler the tests say so and pass.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn skep(args: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new(env!("CARGO_BIN_EXE_skep")).args(args).current_dir(root).output().unwrap()
}

fn object(name: &str) -> String {
    format!("examples/{name}/{name}.bpf.o")
}

/// A library in a place of its own, removed at the end.
struct Library(PathBuf);

impl Library {
    /// `None` where there is no C compiler.
    fn of(name: &str) -> Option<Library> {
        let file = std::env::temp_dir().join(format!("skep-build-{}-{name}.so", std::process::id()));
        let ran = skep(&["build", "--native", &object(name), "--library", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        if ran.status.code() == Some(6) {
            println!("skipped: {said}");
            return None;
        }
        assert!(ran.status.success() && said.is_empty(), "{name}: {said}");
        Some(Library(file))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a run reports, without its times.
fn report(name: &str, how: [&str; 2]) -> Value {
    let own = ["dispatch", "lb"].contains(&name);
    let capture = format!("examples/{}/traffic.pcap", if own { name } else { "dispatch" });
    let ran = skep(&["run", &object(name), "--pcap", &capture, "-j", how[0], how[1]]);
    assert!(ran.status.success(), "{name} {how:?}: {}", String::from_utf8_lossy(&ran.stderr));
    let mut report = serde_json::from_slice(&ran.stdout).unwrap();
    without_times(&mut report);
    report
}

fn without_times(v: &mut Value) {
    match v {
        Value::Object(fields) => {
            fields.retain(|name, _| {
                !["ns", "time", "last", "filled", "first"].iter().any(|t| name.contains(t))
            });
            fields.values_mut().for_each(without_times);
        }
        Value::Array(rows) => rows.iter_mut().for_each(without_times),
        _ => {}
    }
}

/// Programs whose verdicts do not depend on the clock: tail calls, look-ups in hash maps and tries, changed packets.
#[test]
fn the_same_as_the_baseline() {
    for name in ["dispatch", "lb", "pktsize", "sockfilter", "tcrewrite"] {
        let Some(library) = Library::of(name) else { return };
        let ahead = report(name, ["--library", library.path()]);
        let first = if ahead["programs"].is_array() { &ahead["programs"][0] } else { &ahead };
        assert!(first["packets"].as_u64().unwrap() > 100, "{name}: {ahead}");
        assert_eq!(ahead, report(name, ["--tier", "baseline"]), "{name}");
    }
}

#[test]
fn not_for_another_program() {
    let Some(library) = Library::of("lb") else { return };
    let capture = "examples/firewall/traffic.pcap";
    let ran = skep(&["run", &object("firewall"), "--library", library.path(), "--pcap", capture]);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(3), "{said}");
    assert!(
        said.contains("it has no code of this program as it is now (it has lb): build it again"),
        "{said}"
    );
}

#[test]
fn what_is_no_library_is_told() {
    let file = Library(std::env::temp_dir().join(format!("skep-build-{}-text.so", std::process::id())));
    std::fs::write(&file.0, "text").unwrap();
    let capture = "examples/firewall/traffic.pcap";
    let ran = skep(&["run", &object("firewall"), "--library", file.path(), "--pcap", capture]);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.code() == Some(3) && said.contains("it cannot be loaded"), "{said}");
    let ran = skep(&["run", &object("firewall"), "--tier", "aot", "--pcap", capture]);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.code() == Some(6) && said.contains("skep build --native"), "{said}");
}

#[test]
fn without_a_compiler() {
    let ran = skep(&["build", "--native", &object("lb"), "--cc", "no-such-compiler"]);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.code() == Some(6) && said.contains("looked for no-such-compiler"), "{said}");
}
