//! A verdict as text, as JSON and as a row of CSV.

use super::refusal::{heat_json, refusal, rejections};
use crate::output::object;
use serde_json::{Map, Value, json};
use skep::descriptors::AttachType;
use skep::explain::Report;
use skep::verifier::Stats;
use skep::verify::{Refusal, Verdict};

/// What a verdict is about.
pub(super) struct Subject<'a> {
    /// File that it came from.
    pub(super) file: &'a str,
    /// What the program is called by: `prog`, or `descr` for raw programs.
    pub(super) key: &'static str,
}

/// Heading of the CSV: veristat's columns by veristat's names, so that either reads what the other wrote.
pub(super) const CSV: &str = "file_name,prog_name,verdict,duration,total_insns,total_states,peak_states,max_states_per_insn,\
    prog_type,attach_type,stack_depth,prog_size,prog_size_jited,max_mark_read_len";

/// Counts of the work, whatever came of it.
pub(super) fn stats(v: &Verdict) -> Stats {
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
pub(super) fn text(s: &Subject<'_>, v: &Verdict, log_level: u8, report: Option<&Report>) -> String {
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
        Err(Refusal::Verifier(r)) => t.push_str(&refusal(r, report)),
    }
    if log_level > 0 {
        t.push_str(log(v));
    }
    t
}

/// The contract's JSON object.
pub(super) fn row(subject: &Subject<'_>, v: &Verdict, report: Option<&Report>) -> Map<String, Value> {
    let s = stats(v);
    let (message, rejections) = match &v.outcome {
        Ok(_) => (String::new(), Vec::new()),
        Err(Refusal::Bind(e)) => (e.to_string(), vec![json!({"rule": "bind", "message": e.to_string()})]),
        Err(Refusal::Verifier(r)) => (r.message().to_string(), rejections(r, report)),
    };
    let heat = report.map_or_else(Vec::new, |r| r.explanation.heat.iter().map(heat_json).collect());
    let more = report.is_some_and(|r| r.explanation.more);
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
        ("more_rejections", more.into()),
        ("heat", heat.into()),
    ])
}

/// veristat's word for a verdict.
pub(super) fn verdict_word(v: &Verdict) -> &'static str {
    if v.outcome.is_ok() { "success" } else { "failure" }
}

/// The row for [`CSV`].
pub(super) fn csv(subject: &Subject<'_>, v: &Verdict) -> String {
    let s = stats(v);
    // libbpf's word for it. Without an attach type libbpf's programs have number 0, and veristat its name.
    let attach = v.program.as_ref().and_then(|p| p.attach_type).or_else(|| AttachType::from_id(0));
    let attach = attach.map_or("", |a| a.uapi_name()).trim_start_matches("BPF_").to_lowercase();
    let size = v.program.as_ref().map_or(0, |p| p.insns.len());
    let name = subject.file.rsplit('/').next().unwrap_or(subject.file);
    let quoted = |t: &str| {
        if t.contains([',', '"', '\n']) { format!("\"{}\"", t.replace('"', "\"\"")) } else { t.to_string() }
    };
    [
        quoted(name),
        quoted(&v.name),
        verdict_word(v).into(),
        s.time.as_micros().to_string(),
        s.insns.to_string(),
        s.total_states.to_string(),
        s.peak_states.to_string(),
        s.max_states_per_insn.to_string(),
        v.prog_type.label(),
        attach,
        s.stack_depth.to_string(),
        size.to_string(),
        // There is no machine code yet, and read marks are of older kernels.
        "0".into(),
        "0".into(),
    ]
    .join(",")
}
