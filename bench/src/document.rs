//! `--write`: what was measured, as a table in `docs/performance.md`, between the marks of its benchmark.

use crate::{Row, machine};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Puts the table in the place of the last one.
pub(crate) fn write(bench: &str, rows: &[Row]) -> Result<(), String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/performance.md");
    let fail = |e: &dyn std::fmt::Display| format!("docs/performance.md: {e}");
    let text = std::fs::read_to_string(&path).map_err(|e| fail(&e))?;
    let (from, to) = (format!("<!-- bench {bench} -->\n"), format!("<!-- end of {bench} -->"));
    let places = text.find(&from).map(|at| at + from.len()).zip(text.find(&to));
    let (begin, end) = places.filter(|(b, e)| b <= e).ok_or_else(|| {
        fail(&format!("no place for the table; put {:?} and {to:?} on lines of their own", from.trim_end()))
    })?;
    let table = table(bench, rows, &commit(&path));
    std::fs::write(&path, format!("{}{table}{}", &text[..begin], &text[end..])).map_err(|e| fail(&e))
}

fn commit(path: &Path) -> String {
    let folder = path.parent().unwrap_or(Path::new("."));
    let said = Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(folder).output();
    let name = said
        .ok()
        .filter(|o| o.status.success())
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    name.map_or("an unknown commit".into(), |n| format!("commit {n}"))
}

/// A line a program, a column an engine: of `run` the first engine in nanoseconds and ratios to it, of others nanoseconds.
fn table(bench: &str, rows: &[Row], commit: &str) -> String {
    let ratios = bench == "run";
    let (mut engines, mut programs): (Vec<&str>, Vec<&str>) = Default::default();
    for r in rows {
        if !engines.contains(&r.engine) {
            engines.push(r.engine);
        }
        if !programs.contains(&r.program.as_str()) {
            programs.push(&r.program);
        }
    }
    let mut out = format!("`cargo xtask bench {bench} --write`, {commit}, {}:\n\n| program |", machine());
    for (i, e) in engines.iter().enumerate() {
        let unit = if ratios && i > 0 { "" } else { " ns" };
        let _ = write!(out, " {e}{unit} |");
    }
    let compiled: Vec<&str> = engines.iter().copied().filter(|e| ratios && compiles(rows, e)).collect();
    out.extend(compiled.iter().map(|e| format!(" {e}: compile µs |")));
    let _ = writeln!(out, "\n|---{}|", "|---".repeat(engines.len() + compiled.len()));
    for p in &programs {
        let row = |e: &str| rows.iter().find(|r| r.engine == e && r.program == *p);
        let _ = write!(out, "| {p} |");
        for (i, e) in engines.iter().enumerate() {
            let figure = row(e).map(|r| match ratios && i > 0 {
                true => format!("{:.2}", r.ratio),
                false => format!("{:.1}", r.ns),
            });
            let _ = write!(out, " {} |", figure.unwrap_or_default());
        }
        for e in &compiled {
            let _ =
                write!(out, " {} |", row(e).map_or(String::new(), |r| format!("{:.0}", r.compile_ns / 1e3)));
        }
        out.push('\n');
    }
    if ratios {
        out.push_str("| **geometric mean** | |");
        out.extend(engines[1..].iter().map(|e| format!(" **{:.2}** |", crate::mean(rows, e))));
        let _ = writeln!(out, "{}", " |".repeat(compiled.len()));
    }
    out
}

fn compiles(rows: &[Row], engine: &str) -> bool {
    rows.iter().any(|r| r.engine == engine && r.compile_ns > 0.0)
}
