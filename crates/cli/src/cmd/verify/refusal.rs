//! A refusal as text and as JSON: where, the values at fault, how they came about, an input, a fix.

use serde_json::{Value, json};
use skep::descriptors::LineInfo;
use skep::explain::{Reached, Report};
use skep::verifier::explain::{Diagnosis, Fix, Heat, Interval};
use skep::verifier::{Rejection, Rule};
use std::fmt::Write;

/// Bytes of an input that are printed.
const BYTES: usize = 64;

/// A refusal for a person, explained as far as the report goes.
pub(crate) fn refusal(r: &Rejection, report: Option<&Report>) -> String {
    let mut t = String::new();
    match report {
        None => short(&mut t, r),
        Some(report) => {
            let e = &report.explanation;
            for (i, (d, input)) in e.diagnoses.iter().zip(&report.inputs).enumerate() {
                if i > 0 {
                    t.push_str("and ");
                }
                diagnosis(&mut t, d, input.as_ref());
            }
            if e.more {
                t.push_str("there may be more: not every path was walked\n");
            }
            heat(&mut t, &e.heat);
        }
    }
    t
}

fn head(t: &mut String, rule: Rule, message: &str) {
    let _ = writeln!(t, "refused [{} {}]\n  {message}", rule.code(), rule.name());
}

fn short(t: &mut String, r: &Rejection) {
    head(t, r.rule(), r.message());
    if let Some(insn) = r.insn {
        place(t, r.line.as_ref(), "", insn, None);
    }
    for x in &r.registers {
        let _ = writeln!(t, "  r{} holds {}", x.reg, x.words);
    }
    about(t, r.rule());
}

fn about(t: &mut String, rule: Rule) {
    let _ = writeln!(t, "  rule: {} (docs/rules/{}.md)", rule.doc(), rule.name());
}

fn place(t: &mut String, line: Option<&LineInfo>, function: &str, insn: usize, text: Option<&str>) {
    let within = if function.is_empty() { String::new() } else { format!(", in {function}") };
    let text = text.map_or_else(String::new, |x| format!(": {x}"));
    match line {
        Some(l) => {
            let _ = writeln!(t, "  --> {}:{}:{}{within}, instruction {insn}{text}", l.file, l.line, l.col);
            let _ = writeln!(t, "   |  {}", l.text.trim());
        }
        None => {
            let _ = writeln!(t, "  --> instruction {insn}{within}{text}");
        }
    }
}

fn short_place(line: Option<&LineInfo>, insn: usize) -> String {
    line.map_or_else(
        || format!("{insn}:"),
        |l| format!("{}:{}, instruction {insn}:", l.file.rsplit('/').next().unwrap_or(&l.file), l.line),
    )
}

fn diagnosis(t: &mut String, d: &Diagnosis, input: Option<&Reached>) {
    head(t, d.rule, &d.message);
    for l in &d.details {
        let _ = writeln!(t, "  {l}");
    }
    if let Some(insn) = d.insn {
        let function = d.frames.last().map_or("", |f| f.function.as_str());
        place(t, d.line.as_ref(), function, insn, d.text.as_deref());
    }
    if let Some(l) = &d.inlined_at {
        let _ = writeln!(t, "   inlined at {}:{}:{}\n   |  {}", l.file, l.line, l.col, l.text.trim());
    }
    for s in d.frames.iter().rev().skip(1) {
        let _ = writeln!(
            t,
            "   called from {} {}",
            s.function,
            short_place(s.line.as_ref(), s.insn).trim_end_matches(':')
        );
    }
    for o in &d.operands {
        let name = o.name.as_ref().map_or_else(String::new, |n| format!(" ({n})"));
        let _ = writeln!(t, "  r{}{name} holds {}", o.reg, o.words);
    }
    if !d.causes.is_empty() {
        t.push_str("  because\n");
        for c in &d.causes {
            let _ = writeln!(t, "    {} {}", short_place(c.line.as_ref(), c.insn), c.words);
        }
    }
    if let Some(i) = input {
        let _ = writeln!(t, "  reached by {}: {}", i.words, i.fault);
    }
    if let Some(f) = &d.fix {
        fix(t, f);
    }
    about(t, d.rule);
}

fn fix(t: &mut String, f: &Fix) {
    let then = if f.accepted { "with it the program is accepted" } else { "with it this refusal is gone" };
    let at =
        if f.insns.is_empty() { String::new() } else { format!("{} ", short_place(f.line.as_ref(), f.insn)) };
    let _ = writeln!(t, "  fix: {at}{} ({then})", f.words);
}

fn heat(t: &mut String, lines: &[Heat]) {
    if lines.is_empty() {
        return;
    }
    t.push_str(
        "  where the work went (instructions walked, states kept, paths ended at one, comparisons in vain)\n",
    );
    for h in lines {
        let text = h.line.as_ref().map_or("", |l| l.text.trim());
        let blame = h.blame.as_ref().map_or_else(String::new, |b| format!("; differs most often: {b}"));
        let _ = writeln!(
            t,
            "    {:>9} {:>6} {:>6} {:>8}  {} {text}{blame}",
            h.visits,
            h.kept,
            h.pruned,
            h.missed,
            short_place(h.line.as_ref(), h.insn)
        );
    }
}

/// All refusals as JSON.
pub(super) fn rejections(r: &Rejection, report: Option<&Report>) -> Vec<Value> {
    match report {
        Some(report) => {
            let all = report.explanation.diagnoses.iter().zip(&report.inputs);
            all.map(|(d, input)| diagnosis_json(d, input.as_ref())).collect()
        }
        None => {
            let registers = r.registers.iter();
            let registers: Vec<Value> =
                registers.map(|x| json!({"register": x.reg, "state": x.kernel, "words": x.words})).collect();
            let mut v = rule_json(r.rule(), r.message());
            v["insn"] = json!(r.insn);
            put_line(&mut v, r.line.as_ref());
            v["registers"] = registers.into();
            v["calls"] = json!(r.calls);
            vec![v]
        }
    }
}

fn rule_json(rule: Rule, message: &str) -> Value {
    json!({
        "rule": rule.name(),
        "code": rule.code(),
        "page": format!("docs/rules/{}.md", rule.name()),
        "message": message,
        "about": rule.doc(),
    })
}

fn put_line(v: &mut Value, line: Option<&LineInfo>) {
    v["file"] = json!(line.map(|l| l.file.to_string()));
    v["line"] = json!(line.map(|l| l.line));
    v["column"] = json!(line.map(|l| l.col));
    v["source"] = json!(line.map(|l| l.text.to_string()));
}

fn placed(mut v: Value, line: Option<&LineInfo>) -> Value {
    put_line(&mut v, line);
    v
}

fn interval_json(i: &Interval) -> Value {
    json!({"smin": i.smin, "smax": i.smax, "umin": i.umin, "umax": i.umax})
}

fn diagnosis_json(d: &Diagnosis, input: Option<&Reached>) -> Value {
    let operands = d.operands.iter().map(|o| {
        json!({
            "register": o.reg,
            "name": o.name,
            "state": o.kernel,
            "words": o.words,
            "interval": o.interval.as_ref().map(interval_json),
        })
    });
    let causes = d
        .causes
        .iter()
        .map(|c| placed(json!({"kind": c.kind.name(), "words": c.words, "insn": c.insn}), c.line.as_ref()));
    let functions =
        d.frames.iter().map(|s| placed(json!({"name": s.function, "insn": s.insn}), s.line.as_ref()));
    let mut v = rule_json(d.rule, &d.message);
    v["details"] = json!(d.details);
    v["insn"] = json!(d.insn);
    v["text"] = json!(d.text);
    put_line(&mut v, d.line.as_ref());
    v["inlined_at"] = d.inlined_at.as_ref().map_or(Value::Null, |l| placed(json!({}), Some(l)));
    v["functions"] = functions.collect();
    v["registers"] = operands.collect();
    v["calls"] = d.frames.iter().rev().skip(1).rev().map(|s| s.insn).collect();
    v["causes"] = causes.collect();
    v["input"] = input.map_or(Value::Null, |i| {
        let hex: String = i.data.iter().take(BYTES).map(|b| format!("{b:02x}")).collect();
        json!({"words": i.words, "bytes": i.data.len(), "data": hex, "fault": i.fault})
    });
    v["fix"] = d.fix.as_ref().map_or(Value::Null, |f| {
        let fix = json!({"words": f.words, "insn": f.insn, "insns": f.insns, "accepted": f.accepted});
        placed(fix, f.line.as_ref())
    });
    v
}

/// A line of the heat map.
pub(super) fn heat_json(h: &Heat) -> Value {
    let v = json!({
        "insn": h.insn,
        "insns": h.visits,
        "states": h.kept,
        "pruned": h.pruned,
        "missed": h.missed,
        "differs": h.blame,
    });
    placed(v, h.line.as_ref())
}
