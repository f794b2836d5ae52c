//! A verdict as text, as JSON and as a row of CSV.

use crate::output::object;
use serde_json::{Map, Value, json};
use skep::verifier::{Rejection, Stats};
use skep::verify::{Refusal, Verdict};

/// What a verdict is about.
pub(super) struct Subject<'a> {
    /// File that it came from.
    pub(super) file: &'a str,
    /// What the program is called by: `prog`, or `descr` for raw programs.
    pub(super) key: &'static str,
}

/// Heading of the CSV: veristat's columns.
pub(super) const CSV: &str = "file_name,prog_name,verdict,duration,total_insns,total_states,peak_states,max_states_per_insn,prog_type,attach_type,stack_depth,prog_size";

/// Counts of the work, whatever came of it.
fn stats(v: &Verdict) -> Stats {
    match &v.outcome {
        Ok(o) => o.stats,
        Err(Refusal::Verifier(r)) => r.stats,
        Err(Refusal::Bind(_)) => Stats::default(),
    }
}

fn log(v: &Verdict) -> &str {
    match &v.outcome {
        Ok(o) => &o.log,
        Err(Refusal::Verifier(r)) => &r.log,
        Err(Refusal::Bind(_)) => "",
    }
}

/// For a person; with the log where one was asked for.
pub(super) fn text(s: &Subject<'_>, v: &Verdict, log_level: u8) -> String {
    let mut t = format!("{}: {} ({}): ", s.file, v.name, v.prog_type.label());
    let s = stats(v);
    match &v.outcome {
        Ok(_) => t.push_str(&format!(
            "accepted, {} instructions, {} states, {} µs\n",
            s.insns,
            s.total_states,
            s.time.as_micros()
        )),
        Err(Refusal::Bind(e)) => t.push_str(&format!("cannot be loaded: {e}\n")),
        Err(Refusal::Verifier(r)) => t.push_str(&refusal(r)),
    }
    if log_level > 0 {
        t.push_str(log(v));
    }
    t
}

/// A refusal for a person: the kernel's phrase, where, the registers involved, the rule.
pub(crate) fn refusal(r: &Rejection) -> String {
    let mut t = format!("refused [{}]\n  {}\n", r.rule().code(), r.message());
    if let Some(insn) = r.insn {
        match &r.line {
            Some(l) => t.push_str(&format!(
                "  --> {}:{}:{}, instruction {insn}\n   |  {}\n",
                l.file,
                l.line,
                l.col,
                l.text.trim()
            )),
            None => t.push_str(&format!("  --> instruction {insn}\n")),
        }
    }
    for x in &r.registers {
        t.push_str(&format!("  r{} holds {}\n", x.reg, x.words));
    }
    t.push_str(&format!("  rule: {}\n", r.rule().doc()));
    t
}

/// The contract's JSON object.
pub(super) fn row(subject: &Subject<'_>, v: &Verdict) -> Map<String, Value> {
    let s = stats(v);
    let (message, rejections) = match &v.outcome {
        Ok(_) => (String::new(), Vec::new()),
        Err(Refusal::Bind(e)) => (e.to_string(), vec![json!({"rule": "bind", "message": e.to_string()})]),
        Err(Refusal::Verifier(r)) => (r.message().to_string(), vec![rejection(r)]),
    };
    object([
        ("file", subject.file.into()),
        (subject.key, v.name.clone().into()),
        ("type", v.prog_type.label().into()),
        ("verdict", if v.outcome.is_ok() { "accept" } else { "reject" }.into()),
        ("message", message.into()),
        ("insns", s.insns.into()),
        ("states", s.total_states.into()),
        ("peak_states", s.peak_states.into()),
        ("max_states_per_insn", s.max_states_per_insn.into()),
        ("stack_depth", s.stack_depth.into()),
        ("duration_us", (s.time.as_micros() as u64).into()),
        ("rejections", rejections.into()),
    ])
}

fn rejection(r: &Rejection) -> Value {
    let registers: Vec<Value> =
        r.registers.iter().map(|x| json!({"register": x.reg, "state": x.kernel, "words": x.words})).collect();
    json!({
        "rule": r.rule().code(),
        "message": r.message(),
        "about": r.rule().doc(),
        "insn": r.insn,
        "file": r.line.as_ref().map(|l| l.file.to_string()),
        "line": r.line.as_ref().map(|l| l.line),
        "column": r.line.as_ref().map(|l| l.col),
        "source": r.line.as_ref().map(|l| l.text.to_string()),
        "registers": registers,
        "calls": r.calls,
    })
}

/// The row for [`CSV`].
pub(super) fn csv(subject: &Subject<'_>, v: &Verdict) -> String {
    let s = stats(v);
    let attach = v.program.as_ref().and_then(|p| p.attach_type).map_or("", |a| a.uapi_name());
    let size = v.program.as_ref().map_or(0, |p| p.insns.len());
    let name = subject.file.rsplit('/').next().unwrap_or(subject.file);
    let quoted = |t: &str| {
        if t.contains([',', '"', '\n']) { format!("\"{}\"", t.replace('"', "\"\"")) } else { t.to_string() }
    };
    [
        quoted(name),
        quoted(&v.name),
        if v.outcome.is_ok() { "success" } else { "failure" }.into(),
        s.time.as_micros().to_string(),
        s.insns.to_string(),
        s.total_states.to_string(),
        s.peak_states.to_string(),
        s.max_states_per_insn.to_string(),
        v.prog_type.label(),
        attach.to_string(),
        s.stack_depth.to_string(),
        size.to_string(),
    ]
    .join(",")
}
