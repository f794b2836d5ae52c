//! What a run came to, as text and as JSON.

use super::input::Input;
use crate::failure::Failure;
use crate::output::object;
use crate::table::Table;
use serde_json::{Map, Value, json};
use skep::descriptors::ctx::Fate;
use skep::descriptors::packet::Redirect;
use skep::descriptors::{ProgTypeDesc, Program, RegisterNote, RunError, RunStats};
use skep::hooks::report::{Count, Report};
use std::path::PathBuf;

/// Outcome of one program on one input.
pub(crate) enum Outcome {
    /// Of a capture.
    Capture(Box<Packets>),
    /// Of one packet or context.
    One(Box<Single>, &'static ProgTypeDesc),
}

/// Outcome of a run over a capture.
pub(crate) struct Packets {
    /// The runner's report.
    pub(crate) report: Report,
    /// The capture.
    pub(crate) path: PathBuf,
}

/// Outcome of runs on one packet or context.
pub(crate) struct Single {
    /// The input's name.
    pub(crate) what: String,
    /// The last run's `r0`, or why it was stopped.
    pub(crate) result: Result<u64, Box<RunError>>,
    /// Runs.
    pub(crate) runs: u32,
    /// Nanoseconds a run.
    pub(crate) ns_per_run: f64,
    /// Packet or buffer as the program left it.
    pub(crate) data: Option<Vec<u8>>,
    /// Context as the program left it, as text.
    pub(crate) ctx: String,
}

impl Outcome {
    /// What went wrong, if something did, told on standard error: faults with their full explanation.
    pub(crate) fn take_trouble(&mut self) -> Option<Failure> {
        match self {
            Outcome::Capture(p) => p.take_trouble(),
            Outcome::One(one, _) => {
                let e = one.result.as_ref().err()?;
                eprint!("{}", skep::vm::report(e));
                Some(Failure::Failed("the program was stopped".into()))
            }
        }
    }

    /// For people.
    pub(crate) fn text(&self, p: &Program, input: &Input) -> String {
        match self {
            Outcome::Capture(c) => c.text(p, input),
            Outcome::One(one, row) => one.text(p, row),
        }
    }

    /// For programs: the keys of the command-line contract, and more.
    pub(crate) fn json(&self, p: &Program) -> Map<String, Value> {
        match self {
            Outcome::Capture(c) => c.json(p),
            Outcome::One(one, row) => one.json(p, row),
        }
    }
}

impl Single {
    fn text(&self, p: &Program, row: &ProgTypeDesc) -> String {
        let mut out = format!("{} ({}) on {}: ", p.name, p.prog_type.label(), self.what);
        match &self.result {
            Ok(r0) => out.push_str(&format!("returns {}", returned(row, *r0))),
            Err(_) => out.push_str("was stopped"),
        }
        out.push_str(&format!(", {:.0} ns a run", self.ns_per_run));
        if self.runs > 1 {
            out.push_str(&format!(" over {} runs", thousands(self.runs.into())));
        }
        out.push('\n');
        if let Some(data) = &self.data {
            out.push_str(&format!("  data afterwards ({} bytes)\n{}", data.len(), dump(data)));
        }
        if !self.ctx.is_empty() {
            out.push_str("  context afterwards\n");
            self.ctx.lines().for_each(|l| out.push_str(&format!("    {l}\n")));
        }
        out
    }

    fn json(&self, p: &Program, row: &ProgTypeDesc) -> Map<String, Value> {
        let retval = match &self.result {
            Ok(r0) => object([(&*verdict_name(row, *r0), self.runs.into())]),
            Err(_) => Map::new(),
        };
        let mut o = object([
            ("prog", p.name.clone().into()),
            ("type", p.prog_type.label().into()),
            ("retval", retval.into()),
            ("r0", self.result.as_ref().ok().copied().into()),
            ("ns_per_run", self.ns_per_run.into()),
            ("runs", self.runs.into()),
            ("data_out", self.data.as_ref().map(|d| crate::maps::hex(d)).into()),
        ]);
        let field = |l: &str| l.split_once('=').map(|(k, v)| (k.trim().to_string(), Value::from(v.trim())));
        o.insert("ctx_out".into(), Value::Object(self.ctx.lines().filter_map(field).collect()));
        if let Err(e) = &self.result {
            o.insert("fault".into(), error_json(e));
        }
        o
    }
}

/// A verdict's name, or the number.
fn verdict_name(row: &ProgTypeDesc, r0: u64) -> String {
    row.verdict(r0).map_or_else(|| (r0 as u32 as i32).to_string(), |v| v.name.to_string())
}

fn returned(row: &ProgTypeDesc, r0: u64) -> String {
    match row.verdict(r0) {
        Some(v) => format!("{} ({})", v.name, v.value),
        None => format!("{} ({r0:#x})", r0 as u32 as i32),
    }
}

/// Bytes as lines of sixteen.
fn dump(data: &[u8]) -> String {
    let line = |(i, chunk): (usize, &[u8])| {
        let bytes: Vec<String> = chunk.iter().map(|b| format!("{b:02x}")).collect();
        format!("    {:04x}: {}\n", i * 16, bytes.join(" "))
    };
    data.chunks(16).enumerate().map(line).collect()
}

impl Packets {
    fn take_trouble(&mut self) -> Option<Failure> {
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

    fn text(&self, p: &Program, input: &Input) -> String {
        let r = &self.report;
        let mut out = format!(
            "{} ({}) on {}: {} packets, {} bytes",
            p.name,
            p.prog_type.label(),
            self.path.display(),
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

    fn json(&self, p: &Program) -> Map<String, Value> {
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
    let mut o = error_json(e);
    o["packet"] = f.packet.into();
    o["packets"] = f.count.packets.into();
    o
}

fn error_json(e: &RunError) -> Value {
    let line = e.program.line_at(e.insn);
    let register = |r: &RegisterNote| {
        let value = format!("{:#x}", r.value);
        json!({ "reg": r.reg, "value": value, "text": r.text })
    };
    let registers: Vec<Value> = e.registers.iter().map(register).collect();
    let history: Vec<Value> = e.history.iter().map(|(n, t)| json!({ "insn": n, "text": t })).collect();
    let calls: Vec<Value> =
        e.calls.iter().map(|c| json!({ "prog": c.program.name, "insn": c.insn })).collect();
    json!({
        "prog": e.program.name,
        "insn": e.insn,
        "message": e.fault.to_string(),
        "file": line.map(|l| l.file.to_string()),
        "line": line.map(|l| l.line),
        "column": line.map(|l| l.col),
        "instruction": e.text,
        "registers": registers,
        "history": history,
        "calls": calls,
    })
}

fn redirect_text(to: Option<&Redirect>) -> String {
    match to {
        Some(Redirect::Interface { ifindex, .. }) => format!("to interface {ifindex}"),
        Some(Redirect::MapEntry { map, index, .. }) => format!("to entry {index} of map {map}"),
        _ => "without a target".into(),
    }
}

/// What was counted of runs, in bpftool's words.
pub(crate) fn stats_text(s: &RunStats) -> String {
    let mut out = format!("  run_time_ns {} run_cnt {}", s.ns, s.runs);
    if s.recursion_misses != 0 {
        out.push_str(&format!(" recursion_misses {}", s.recursion_misses));
    }
    out
}

/// The same for programs.
pub(crate) fn stats_json(s: &RunStats) -> Map<String, Value> {
    object([
        ("run_time_ns", s.ns.into()),
        ("run_cnt", s.runs.into()),
        ("recursion_misses", s.recursion_misses.into()),
    ])
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
