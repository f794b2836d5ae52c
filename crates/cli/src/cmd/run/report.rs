//! What a run came to, as text and as JSON.

use super::input::Input;
use crate::failure::Failure;
use crate::output::object;
use crate::table::Table;
use serde_json::{Map, Value, json};
use skep::descriptors::Program;
use skep::descriptors::ctx::Fate;
use skep::descriptors::packet::Redirect;
use skep::hooks::report::{Count, Report};
use std::path::{Path, PathBuf};

/// Outcome of one program on one input.
pub(crate) struct Outcome {
    report: Report,
    path: PathBuf,
}

impl Outcome {
    /// Of a run over a capture.
    pub(crate) fn capture(report: Report, path: &Path) -> Outcome {
        Outcome { report, path: path.into() }
    }

    /// What went wrong, if something did, told on standard error: faults with their full explanation.
    pub(crate) fn take_trouble(&mut self) -> Option<Failure> {
        let r = &mut self.report;
        for f in &r.faults {
            eprint!("packet {} of {}:\n{}", f.packet, self.path.display(), skep::vm::report(&f.first));
        }
        let faults = r.faulted();
        if let Some(e) = r.capture_error.take() {
            return Some(Failure::malformed(&self.path, format!("{e}; the packets before it were run")));
        }
        if let Some(e) = r.output_error.take() {
            return Some(Failure::Failed(format!(
                "cannot write the packets: {e}; those before were written"
            )));
        }
        (faults > 0).then(|| {
            Failure::Failed(format!(
                "the program was stopped on {faults} packet{}",
                if faults == 1 { "" } else { "s" }
            ))
        })
    }

    /// For people.
    pub(crate) fn text(&self, p: &Program, input: &Input) -> String {
        let r = &self.report;
        let Input::Pcap(path, _) = input;
        let mut out = format!(
            "{} ({}) on {}: {} packets, {} bytes",
            p.name,
            p.prog_type.label(),
            path.display(),
            thousands(r.total.packets),
            thousands(r.total.bytes)
        );
        if let Some(ns) = r.ns_per_run {
            out.push_str(&format!(", {ns:.0} ns a packet"));
        }
        out.push('\n');
        let mut t = Table::new(&["verdict", ">packets", ">bytes", ""]);
        let mut row = |name: &str, c: &Count, note: String| {
            t.row(vec![name.to_string(), thousands(c.packets), thousands(c.bytes), note]);
        };
        for v in &r.verdicts {
            let fate = match v.fate {
                Fate::Pass => "passes",
                Fate::Send => "is sent",
                Fate::Drop => "is dropped",
            };
            row(&v.name, &v.count, fate.into());
        }
        for to in &r.redirects {
            row("→", &to.count, redirect_text(to.to.as_ref()));
        }
        for (why, c) in &r.unfit {
            row("not run", c, why.to_string());
        }
        if r.clones.packets > 0 {
            row("cloned", &r.clones, String::new());
        }
        if r.faulted() > 0 {
            let mut all = Count::default();
            r.faults.iter().for_each(|f| {
                all.packets += f.count.packets;
                all.bytes += f.count.bytes;
            });
            row("fault", &all, "was stopped".into());
        }
        if let Input::Pcap(_, Some(path)) = input {
            row("written", &r.written, format!("to {}", path.display()));
        }
        out.push_str(&t.text());
        out
    }

    /// For programs: the keys of the command-line contract, and more.
    pub(crate) fn json(&self, p: &Program) -> Map<String, Value> {
        let r = &self.report;
        let by = |f: fn(&Count) -> u64| -> Map<String, Value> {
            r.verdicts.iter().map(|v| (v.name.clone(), f(&v.count).into())).collect()
        };
        let mut o = object([
            ("prog", p.name.clone().into()),
            ("type", p.prog_type.label().into()),
            ("retval", by(|c| c.packets).into()),
            ("bytes", by(|c| c.bytes).into()),
            ("ns_per_run", r.ns_per_run.into()),
            ("runs", r.runs.into()),
            ("packets", r.total.packets.into()),
            ("written", r.written.packets.into()),
        ]);
        if !r.redirects.is_empty() {
            let all = r
                .redirects
                .iter()
                .map(|x| json!({"to": redirect_text(x.to.as_ref()), "packets": x.count.packets}));
            o.insert("redirects".into(), all.collect());
        }
        if !r.unfit.is_empty() {
            let all = r.unfit.iter().map(|(why, c)| json!({"why": why.to_string(), "packets": c.packets}));
            o.insert("not_run".into(), all.collect());
        }
        if !r.faults.is_empty() {
            o.insert("faults".into(), r.faults.iter().map(fault_json).collect());
        }
        o
    }
}

fn fault_json(f: &skep::hooks::report::FaultCount) -> Value {
    let e = &f.first;
    let line = e.program.line_at(e.insn);
    json!({
        "packet": f.packet,
        "packets": f.count.packets,
        "prog": e.program.name,
        "insn": e.insn,
        "message": e.fault.to_string(),
        "file": line.map(|l| l.file.to_string()),
        "line": line.map(|l| l.line),
        "column": line.map(|l| l.col),
        "calls": e.calls,
    })
}

fn redirect_text(to: Option<&Redirect>) -> String {
    match to {
        Some(Redirect::Interface { ifindex, .. }) => format!("to interface {ifindex}"),
        Some(Redirect::MapEntry { map, index, .. }) => format!("to entry {index} of map {map}"),
        _ => "without a target".into(),
    }
}

/// A number with a comma before every three digits.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}
