//! `skep verify OLD NEW --compare`: what changed between two verdicts on the same programs, from objects or from the CSV that
//! `skep verify -o csv` and veristat write.

use super::report::Subject;
use crate::failure::Failure;
use crate::output::{Format, Out, object};
use crate::table::Table;
use serde_json::{Map, Value, json};
use skep::verify::Verdict;
use std::collections::BTreeMap;
use std::path::Path;

/// Numbers that are compared, by their names in CSV.
const COUNTS: [&str; 5] = ["duration", "total_insns", "total_states", "peak_states", "max_states_per_insn"];

/// Those of them that are shown in text: instructions and states.
const SHOWN: [usize; 2] = [1, 2];

/// Verdict and numbers of one program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Row {
    verdict: String,
    counts: [Option<i64>; COUNTS.len()],
}

/// One side: rows by file and program.
pub(super) type Side = BTreeMap<(String, String), Row>;

/// Adds a verdict to a side.
pub(super) fn add(side: &mut Side, s: &Subject<'_>, v: &Verdict) {
    let x = super::report::stats(v);
    let counts = [x.time.as_micros() as u64, x.insns, x.total_states, x.peak_states, x.max_states_per_insn];
    let row =
        Row { verdict: super::report::verdict_word(v).into(), counts: counts.map(|n| i64::try_from(n).ok()) };
    let file = s.file.rsplit('/').next().unwrap_or(s.file);
    side.insert((file.to_string(), v.name.clone()), row);
}

/// A side from CSV. Columns are found by the names in its first line; those that are missing are left empty.
pub(super) fn read_csv(path: &Path, text: &str) -> Result<Side, Failure> {
    let mut lines = text.lines().filter(|l| !l.trim().is_empty());
    let head = fields(lines.next().unwrap_or_default());
    let column = |name: &str| head.iter().position(|h| h == name);
    let needed = |name: &str| {
        column(name).ok_or_else(|| {
            let columns = "file_name, prog_name and verdict";
            Failure::malformed(path, format!("no column {name}; a comparison needs {columns}"))
        })
    };
    let (file, prog, verdict) = (needed("file_name")?, needed("prog_name")?, needed("verdict")?);
    let counts = COUNTS.map(column);
    let mut side = Side::new();
    for (n, line) in lines.enumerate() {
        let f = fields(line);
        let text = |at: usize| {
            f.get(at).cloned().ok_or_else(|| {
                Failure::malformed(
                    path,
                    format!("line {}: {} columns, {} expected", n + 2, f.len(), head.len()),
                )
            })
        };
        let row = Row {
            verdict: text(verdict)?,
            counts: counts.map(|at| f.get(at?).and_then(|t| t.trim().parse().ok())),
        };
        side.insert((text(file)?, text(prog)?), row);
    }
    Ok(side)
}

/// Fields of a line, quotes taken off.
fn fields(line: &str) -> Vec<String> {
    let (mut out, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.trim_end_matches('\r').chars().peekable();
    while let Some(c) = letters.next() {
        match c {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    out.push(field);
    out
}

/// One program on both sides.
struct Pair<'a> {
    file: &'a str,
    prog: &'a str,
    old: Option<&'a Row>,
    new: Option<&'a Row>,
}

impl Pair<'_> {
    fn verdicts(&self) -> (&str, &str, &'static str) {
        let (old, new) = (self.old.map_or("N/A", |r| &*r.verdict), self.new.map_or("N/A", |r| &*r.verdict));
        (old, new, if old == new { "MATCH" } else { "MISMATCH" })
    }

    /// Old, new, and the difference in absolute and in percent of the old.
    fn count(&self, i: usize) -> (Option<i64>, Option<i64>, Option<(i64, f64)>) {
        let (a, b) = (self.old.and_then(|r| r.counts[i]), self.new.and_then(|r| r.counts[i]));
        let diff = a.zip(b).map(|(a, b)| {
            let percent = match (a, b - a) {
                (_, 0) => 0.0,
                (0, d) => 100.0 * d.signum() as f64,
                (a, d) => d as f64 / a as f64 * 100.0,
            };
            (b - a, percent)
        });
        (a, b, diff)
    }

    fn changed(&self) -> bool {
        // Durations differ in any two runs.
        self.verdicts().2 != "MATCH" || (1..COUNTS.len()).any(|i| self.count(i).2.is_none_or(|(d, _)| d != 0))
    }

    fn worse(&self) -> bool {
        let success = |r: Option<&Row>| r.is_some_and(|r| r.verdict == "success");
        success(self.old) && self.new.is_some() && !success(self.new)
    }
}

/// Programs of both sides; by name alone where each side is one file.
fn pairs<'a>(old: &'a Side, new: &'a Side) -> Vec<Pair<'a>> {
    let one_file = |s: &Side| s.keys().zip(s.keys().skip(1)).all(|(a, b)| a.0 == b.0);
    let by_name = one_file(old) && one_file(new);
    let other = |s: &'a Side, key: &(String, String)| match by_name {
        true => s.iter().find(|(k, _)| k.1 == key.1).map(|(_, r)| r),
        false => s.get(key),
    };
    let mut all: Vec<Pair<'a>> =
        old.iter().map(|(k, r)| Pair { file: &k.0, prog: &k.1, old: Some(r), new: other(new, k) }).collect();
    let added = new.iter().filter(|(k, _)| other(old, k).is_none());
    all.extend(added.map(|(k, r)| Pair { file: &k.0, prog: &k.1, old: None, new: Some(r) }));
    all
}

fn number(n: Option<i64>) -> String {
    n.map_or("N/A".into(), |n| n.to_string())
}

fn difference(d: Option<(i64, f64)>) -> String {
    d.map_or("N/A".into(), |(n, percent)| format!("{n:+} ({percent:+.2}%)"))
}

/// Prints the comparison. Programs that are refused now and were not before are a failure.
pub(super) fn print(out: &mut Out, old: &Side, new: &Side) -> Result<(), Failure> {
    let all = pairs(old, new);
    match out.format {
        Format::Csv => csv(out, &all)?,
        Format::Text => text(out, &all)?,
        _ => out.json_rows("programs", all.iter().map(row).collect())?,
    }
    match all.iter().filter(|p| p.worse()).count() {
        0 => Ok(()),
        1 => Err(Failure::Refused("1 program is refused that was accepted".into())),
        n => Err(Failure::Refused(format!("{n} programs are refused that were accepted"))),
    }
}

fn csv(out: &mut Out, all: &[Pair<'_>]) -> Result<(), Failure> {
    let mut head = String::from("file_name,prog_name,verdict_base,verdict_comp,verdict_diff");
    for name in COUNTS {
        head += &format!(",{name}_base,{name}_comp,{name}_diff");
    }
    out.line(&head)?;
    for p in all {
        let (a, b, d) = p.verdicts();
        let mut line = format!("{},{},{a},{b},{d}", p.file, p.prog);
        for i in 0..COUNTS.len() {
            let (a, b, d) = p.count(i);
            line += &format!(",{},{},{}", number(a), number(b), difference(d));
        }
        out.line(&line)?;
    }
    Ok(())
}

fn text(out: &mut Out, all: &[Pair<'_>]) -> Result<(), Failure> {
    let changed: Vec<&Pair<'_>> = all.iter().filter(|p| p.changed()).collect();
    if !changed.is_empty() {
        let mut t =
            Table::new(&["file", "program", "verdict", ">insns", ">now", ">", ">states", ">now", ">"]);
        for p in &changed {
            let (a, b, _) = p.verdicts();
            let verdict = if a == b { a.to_string() } else { format!("{a} → {b}") };
            let mut cells = vec![p.file.to_string(), p.prog.to_string(), verdict];
            for i in SHOWN {
                let (a, b, d) = p.count(i);
                cells.extend([number(a), number(b), difference(d)]);
            }
            t.row(cells);
        }
        out.text(&t.text())?;
    }
    out.line(&format!("{} of {} programs changed", changed.len(), all.len()))
}

fn row(p: &Pair<'_>) -> Map<String, Value> {
    let (a, b, d) = p.verdicts();
    let mut row = object([
        ("file", p.file.into()),
        ("prog", p.prog.into()),
        ("verdict", json!({"old": a, "new": b, "same": d == "MATCH"})),
    ]);
    for (i, name) in COUNTS.iter().enumerate() {
        let (a, b, d) = p.count(i);
        let percent = d.map(|(_, p)| (p * 100.0).round() / 100.0);
        row.insert(
            (*name).into(),
            json!({"old": a, "new": b, "difference": d.map(|(n, _)| n), "percent": percent}),
        );
    }
    row
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn quoted_fields() {
        assert_eq!(fields("a,\"b,c\",\"d\"\"e\",\r"), ["a", "b,c", "d\"e", ""]);
    }
}
