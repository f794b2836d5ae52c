//! Which crate may import which: levels, downwards only.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Level of every published crate; a dependency must have a lower one.
static LEVELS: &[(&str, u8)] = &[
    ("skep-isa", 0),
    ("skep-btf", 0),
    ("skep-platform", 1),
    ("skep-obj", 2),
    ("skep-verifier", 2),
    ("skep-maps", 2),
    ("skep-jit", 2),
    ("skep-cbpf", 2),
    ("skep-trace", 2),
    ("skep-helpers", 3),
    ("skep-vm", 4),
    ("skep-kernel", 4),
    ("skep-hooks", 5),
    ("skep", 6),
    ("skep-cli", 7),
    ("skep-daemon", 7),
];

/// Unpublished crates may import anything, and only tests and chores may import them.
static UNPUBLISHED: &[&str] = &["skep-testkit", "xtask"];

fn level(name: &str) -> Option<u8> {
    LEVELS.iter().find(|(n, _)| *n == name).map(|(_, l)| *l)
}

pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let out = Command::new("cargo")
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .map_err(|e| format!("cannot run cargo metadata: {e}"))?;
    let meta: Value = serde_json::from_slice(&out.stdout).map_err(|e| format!("cargo metadata: {e}"))?;
    let mut faults = Vec::new();
    for p in meta["packages"].as_array().into_iter().flatten() {
        let name = p["name"].as_str().unwrap_or("");
        if UNPUBLISHED.contains(&name) {
            continue;
        }
        let Some(own) = level(name) else {
            faults.push(format!("{name}: no level; a new crate needs an outside user, a rule that cargo can enforce, or a heavy dependency to keep out"));
            continue;
        };
        for d in p["dependencies"].as_array().into_iter().flatten() {
            let (dep, dev) = (d["name"].as_str().unwrap_or(""), d["kind"] == "dev");
            let wrong = match level(dep) {
                Some(l) => l >= own && !dev,
                None => UNPUBLISHED.contains(&dep) && !dev,
            };
            if wrong {
                faults.push(format!("{name} (level {own}) imports {dep}, which is not below it"));
            }
        }
    }
    Ok(faults)
}
