//! Rules about source files: where unsafe code may stand, first comments, sizes.

use super::files;
use std::path::Path;

/// Files (or folders, with a slash at the end) that may hold unsafe code, each with its reason.
static UNSAFE: &[(&str, &str)] = &[
    ("crates/platform/src/program.rs", "declares `Verified::assume`"),
    ("crates/platform/src/map.rs", "declares the type of maps' routines"),
    ("crates/maps/src/mem.rs", "maps live in shared memory"),
    ("crates/maps/src/direct.rs", "is called by compiled code with its addresses"),
    ("crates/maps/src/direct/", "is called by compiled code with its addresses"),
    ("crates/vm/src/mem.rs", "copies between guest memory and buffers"),
    ("crates/vm/src/native/interp.rs", "accesses that the verifier allowed"),
    ("crates/vm/src/native/flat.rs", "goes where the verifier has seen that programs stay"),
    ("crates/vm/src/native/baseline.rs", "enters compiled code and is called by it"),
    ("crates/vm/src/host.rs", "reads the own process's memory without faulting"),
    ("crates/skep/src/raw.rs", "runs trusted programs of conformance suites"),
    ("crates/cli/src/entry.rs", "is what C calls first"),
    ("crates/cli/src/cmd/conformance.rs", "trusts the programs of conformance suites"),
    ("crates/verifier/src/verify.rs", "the one place that declares programs verified"),
    ("crates/kernel/src/raw.rs", "the one door for system calls"),
    ("crates/kernel/src/raw/", "the one door for system calls"),
    ("crates/jit/src/", "executable pages, libraries of native code"),
    ("crates/testkit/src/raw.rs", "bpf(2) for differential tests"),
];

/// Longest source file, tables and tests apart.
const LONGEST: usize = 1000;

/// Files that are tables.
static TABLES: &[&str] = &[
    "crates/platform/src/uapi.rs",
    "crates/obj/src/sections.rs",
    "crates/helpers/src/",
    "crates/hooks/src/layouts/",
];

pub(crate) fn check_unsafe(root: &Path) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for path in files(&root.join("crates"), ".rs") {
        let rel = relative(root, &path);
        let allowed = UNSAFE.iter().any(|(p, _)| rel == *p || p.ends_with('/') && rel.starts_with(p));
        if allowed || rel.contains("/tests/") || rel.contains("/examples/") {
            continue;
        }
        for (n, line) in read(&path)?.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "unsafe") {
                faults.push(format!("{rel}:{}: unsafe code; the files that may hold it are listed in xtask/src/tidy/sources.rs", n + 1));
            }
        }
    }
    Ok(faults)
}

pub(crate) fn check_files(root: &Path) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for path in files(&root.join("crates"), ".rs").into_iter().chain(files(&root.join("xtask"), ".rs")) {
        let rel = relative(root, &path);
        let text = read(&path)?;
        if !text.starts_with("//!") {
            faults.push(format!("{rel}: does not begin with a comment that says what it is"));
        }
        let lines = text.lines().take_while(|l| !l.starts_with("mod tests {")).count();
        if lines > LONGEST && !TABLES.iter().any(|t| rel.starts_with(t)) && !rel.contains("/tests/") {
            faults.push(format!("{rel}: {lines} lines; split it by concern"));
        }
    }
    Ok(faults)
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}
