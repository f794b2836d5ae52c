//! `bench compare A B`: what changed between two results that `-o json` wrote.

use serde_json::Value;
use std::path::Path;

/// One line of a result.
struct Entry {
    engine: String,
    program: String,
    ns: f64,
    ratio: Option<f64>,
}

/// Differences below this are noise.
const NOISE: f64 = 0.03;

/// Prints every row that both have, with what `b` takes of `a`, and the geometric mean of each engine. Where both files
/// have ratios to another engine of the same run, those are compared, since two runs are of two machines or two moments.
pub(crate) fn run(a: &Path, b: &Path) -> Result<(), String> {
    let (old, new) = (read(a)?, read(b)?);
    let ratios = [&old, &new].iter().all(|rows| rows.iter().any(|r| r.ratio.is_some_and(|r| r != 1.0)));
    let of = |e: &Entry| if ratios { e.ratio.unwrap_or(f64::NAN) } else { e.ns };
    println!("{:<10} {:<40} {:>12} {:>12} {:>8}", "engine", "program", "old", "new", "new/old");
    let mut engines: Vec<(&str, Vec<f64>)> = Vec::new();
    for n in &new {
        let Some(o) = old.iter().find(|o| (&o.engine, &o.program) == (&n.engine, &n.program)) else {
            println!("{:<10} {:<40} {:>12} {:>12.3} {:>8}", n.engine, n.program, "-", of(n), "new");
            continue;
        };
        let change = of(n) / of(o);
        let mark = match change {
            c if c > 1.0 + NOISE => "  slower",
            c if c < 1.0 - NOISE => "  faster",
            _ => "",
        };
        println!("{:<10} {:<40} {:>12.3} {:>12.3} {change:>8.3}{mark}", n.engine, n.program, of(o), of(n));
        if change > 0.0 && change.is_finite() {
            match engines.iter_mut().find(|(e, _)| *e == n.engine) {
                Some((_, changes)) => changes.push(change),
                None => engines.push((&n.engine, vec![change])),
            }
        }
    }
    for o in old.iter().filter(|o| !new.iter().any(|n| (&o.engine, &o.program) == (&n.engine, &n.program))) {
        println!("{:<10} {:<40} {:>12.3} {:>12} {:>8}", o.engine, o.program, of(o), "-", "gone");
    }
    let what = if ratios { "ratios of one run" } else { "nanoseconds: there are no ratios in both" };
    println!("compared: {what}");
    for (engine, changes) in engines {
        let mean = (changes.iter().map(|c| c.ln()).sum::<f64>() / changes.len() as f64).exp();
        println!("{engine:<10} geometric mean of {} changes: {mean:.3}", changes.len());
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<Entry>, String> {
    let fail = |why: &str| format!("{}: {why}; give what `bench … -o json` prints", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let all: Value = serde_json::from_str(&text).map_err(|e| fail(&e.to_string()))?;
    let rows = all["rows"].as_array().ok_or_else(|| fail("no rows"))?;
    let entry = |r: &Value| {
        let text = |key: &str| r[key].as_str().map(str::to_owned);
        let program = text("program")?;
        Some(Entry { engine: text("engine")?, program, ns: r["ns"].as_f64()?, ratio: r["ratio"].as_f64() })
    };
    rows.iter().map(|r| entry(r).ok_or_else(|| fail("a row without engine, program or ns"))).collect()
}
