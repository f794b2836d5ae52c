//! `cargo xtask suites`: other people's suites, one line each: passed, failed, skipped with reasons.
//!
//! The folder is `SKEP_SUITES`, else `../shared/suites` beside the repository. A suite that is not there is said to be
//! skipped; one that fails fails the command.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// One suite: its folder, and how it is run. The text is the outcome; an error fails the command.
struct Suite {
    name: &'static str,
    run: fn(&Path) -> Result<String, String>,
}

static SUITES: &[Suite] = &[
    Suite { name: "bpf_conformance", run: conformance },
    Suite { name: "test_bpf", run: test_bpf },
    Suite { name: "test_verifier", run: test_verifier },
    Suite { name: "samples", run: samples },
    Suite { name: "filters", run: filters },
    Suite { name: "selftests", run: selftests },
];

pub(crate) fn run(args: &[String]) -> Result<(), String> {
    if let [suite, all, folders @ ..] = args
        && (suite.as_str(), all.as_str()) == ("selftests", "--all")
    {
        return live(folders);
    }
    if let [first, folder @ ..] = args
        && first == "kernel-load"
    {
        return crate::kernel_load::compare(folder);
    }
    let folder =
        std::env::var_os("SKEP_SUITES").map_or(crate::root().join("../shared/suites"), PathBuf::from);
    cargo(&["build", "--quiet", "--release", "--package", "skep-cli"])?;
    let mut failed = Vec::new();
    for suite in SUITES.iter().filter(|s| args.is_empty() || args.iter().any(|a| a == s.name)) {
        let dir = folder.join(suite.name);
        if !dir.is_dir() {
            println!(
                "{}: skipped: {} does not exist; set SKEP_SUITES to the suites' folder",
                suite.name,
                dir.display()
            );
            continue;
        }
        match (suite.run)(&dir) {
            Ok(line) => println!("{}: {line}", suite.name),
            Err(line) => {
                println!("{}: {line}", suite.name);
                failed.push(suite.name);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

/// Every `.data` file through the command that users have.
fn conformance(dir: &Path) -> Result<String, String> {
    let files = files(dir, ".data");
    let out = skep(&["conformance", "--tier", "checked"], &files)?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let bad: Vec<&str> = text.lines().filter(|l| !l.starts_with("PASS")).collect();
    let line =
        format!("{} passed, {} not", text.lines().filter(|l| l.starts_with("PASS")).count(), bad.len());
    if out.status.success() && !files.is_empty() {
        let verdicts = in_tests("skep-verifier", "conformance", "bpf_conformance", None)?;
        Ok(format!("{line}\n  {verdicts}"))
    } else {
        Err(format!("{line}\n{}", bad.join("\n")))
    }
}

/// The kernel's interpreter tests on every tier, and the classic ones on the classic machine.
fn test_bpf(_: &Path) -> Result<String, String> {
    let lines = [
        in_tests("skep-vm", "test_bpf", "test_bpf", None)?,
        in_tests("skep-cbpf", "test_bpf", "test_bpf", None)?,
    ];
    Ok(lines.join("\n  "))
}

/// The kernel's raw programs, judged by the verifier.
fn test_verifier(_: &Path) -> Result<String, String> {
    in_tests("skep-verifier", "test_verifier", "test_verifier", None)
}

/// Legacy programs, judged by the verifier.
fn samples(_: &Path) -> Result<String, String> {
    in_tests("skep-verifier", "samples", "samples", None)
}

/// libpcap's filter tests.
fn filters(_: &Path) -> Result<String, String> {
    let lines = [
        in_tests("skep-cbpf", "filters", "", None)?,
        in_tests("skep-cbpf", "meaning", "filters", None)?,
        in_tests_with("skep-vm", "filters", "filters", "SKEP_ALL_PACKETS", Some("1".into()))?,
    ];
    Ok(lines.join("\n  "))
}

/// Runs a test of a crate and gives the lines in which it says what came out; they begin with `says`.
/// `objects` is where the kernel's own test objects lie, for tests that want them.
fn in_tests(package: &str, test: &str, says: &str, objects: Option<&Path>) -> Result<String, String> {
    in_tests_with(package, test, says, "SKEP_SELFTESTS", objects.map(|p| p.as_os_str().to_owned()))
}

/// The same with a variable of the environment.
fn in_tests_with(
    package: &str,
    test: &str,
    says: &str,
    variable: &str,
    value: Option<OsString>,
) -> Result<String, String> {
    let given: Vec<(&str, OsString)> = value.into_iter().map(|v| (variable, v)).collect();
    in_tests_given(package, test, says, &given)
}

/// The same with any variables.
pub(crate) fn in_tests_given(
    package: &str,
    test: &str,
    says: &str,
    variables: &[(&str, OsString)],
) -> Result<String, String> {
    let words =
        ["test", "--quiet", "--package", package, "--test", test, "--", "--nocapture", "--test-threads=1"];
    let mut cargo = Command::new("cargo");
    cargo.args(words).envs(variables.iter().cloned());
    let out = output(&mut cargo)?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let told =
        text.lines().map(|l| l.trim_start_matches('.')).filter(|l| l.starts_with(says) && l.contains(": "));
    let lines: Vec<&str> = told.filter(|l| !l.starts_with("test result")).collect();
    if out.status.success() && !lines.is_empty() {
        return Ok(lines.join("\n  "));
    }
    Err(format!("{}\n{}", lines.join("\n  "), String::from_utf8_lossy(&out.stderr)))
}

/// Folders of objects that are judged against the running kernel: `suites selftests --all DIR…`.
fn live(folders: &[String]) -> Result<(), String> {
    let paths: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    if let Some(p) = paths.iter().find(|p| files(p, ".o").is_empty()) {
        return Err(format!("{}: no objects there; the suite's build.sh makes them", p.display()));
    }
    let joined = std::env::join_paths(&paths).map_err(|e| e.to_string())?;
    let line = in_tests_with("skep", "live_objects", "live_objects", "SKEP_OBJECTS", Some(joined))?;
    println!("selftests: {line}");
    Ok(())
}

/// The kernel's own test programs: built once, then every object opens, and is the same after assembly and back; the
/// verdicts on its programs, and what they return.
fn selftests(dir: &Path) -> Result<String, String> {
    let objects = crate::root().join("target/selftests");
    if files(&objects, ".o").is_empty() {
        let built = output(Command::new("bash").arg(dir.join("build.sh")).arg(&objects))?;
        if !built.status.success() {
            let why = String::from_utf8_lossy(&built.stderr).lines().last().unwrap_or("").to_string();
            return Ok(format!(
                "skipped: the objects cannot be built here ({why}); it takes root once, and clang 19"
            ));
        }
    }
    let all = files(&objects, ".bpf.o");
    let (mut failed, text, back) = (Vec::new(), objects.join("text.s"), objects.join("back.o"));
    for object in &all {
        if let Err(why) = round_trip(object, &text, &back) {
            failed.push(format!("  {}: {why}", object.display()));
        }
    }
    let line = format!(
        "{} objects open and come back from assembly, {} do not",
        all.len() - failed.len(),
        failed.len()
    );
    if failed.is_empty() && !all.is_empty() {
        let verdicts = in_tests("skep-verifier", "selftests", "selftests", Some(&objects))?;
        let results = in_tests("skep-vm", "selftests", "selftests", Some(&objects))?;
        Ok(format!("{line}\n  {verdicts}\n  {results}"))
    } else {
        Err(format!("{line}\n{}", failed.join("\n")))
    }
}

fn round_trip(object: &Path, text: &Path, back: &Path) -> Result<(), String> {
    succeed(skep(&["obj", "show", "-j"], &[object.to_path_buf()])?)?;
    let first = succeed(skep(&["disasm"], &[object.to_path_buf()])?)?;
    std::fs::write(text, &first).map_err(|e| e.to_string())?;
    succeed(skep(&["asm"], &[text.to_path_buf(), back.to_path_buf()])?)?;
    let second = succeed(skep(&["disasm"], &[back.to_path_buf()])?)?;
    if first == second { Ok(()) } else { Err("assembles to something else".into()) }
}

fn succeed(out: Output) -> Result<Vec<u8>, String> {
    if out.status.success() {
        Ok(out.stdout)
    } else {
        Err(String::from_utf8_lossy(&out.stderr).trim().to_string())
    }
}

fn skep(words: &[&str], files: &[PathBuf]) -> Result<Output, String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(crate::root().join("target"), PathBuf::from);
    output(Command::new(target.join("release/skep")).args(words).args(files))
}

fn cargo(words: &[&str]) -> Result<(), String> {
    let out = output(Command::new("cargo").args(words))?;
    succeed(out).map(drop)
}

fn output(command: &mut Command) -> Result<Output, String> {
    command
        .current_dir(crate::root())
        .output()
        .map_err(|e| format!("cannot start {:?}: {e}", command.get_program()))
}

pub(crate) fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    let mut all: Vec<PathBuf> = entries.filter(|p| p.to_string_lossy().ends_with(ending)).collect();
    all.sort();
    all
}
