//! Documents: every relative link, and every back-quoted path below a known folder, names something that exists.

use super::files;
use std::path::Path;

/// First components by which a back-quoted word is taken for a path of this repository.
static FOLDERS: &[&str] = &["crates/", "docs/", "examples/", "xtask/", "bench/", "fuzz/", "tests/", ".ci/"];

pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for path in files(root, ".md") {
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let folder = path.parent().unwrap_or(root);
        for (n, line) in text.lines().enumerate() {
            let links = targets(line).filter(|t| !exists(folder, t)).map(|t| (t, "link"));
            let paths = quoted(line).filter(|t| !exists(root, t) && !exists(folder, t)).map(|t| (t, "path"));
            for (target, what) in links.chain(paths) {
                let rel = path.strip_prefix(root).unwrap_or(&path).display();
                faults.push(format!("{rel}:{}: {what} {target} does not exist", n + 1));
            }
        }
    }
    Ok(faults)
}

/// Targets of relative Markdown links in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split(')').next()?.split('#').next()?;
        (!target.is_empty() && !target.contains("://")).then_some(target)
    })
}

/// Back-quoted words that look like paths of this repository.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).filter(|word| {
        let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
        plain && FOLDERS.iter().any(|f| word.starts_with(f))
    })
}

fn exists(base: &Path, target: &str) -> bool {
    base.join(target).exists()
}
