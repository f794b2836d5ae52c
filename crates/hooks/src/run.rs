//! The runner: a capture's packets through a program, counted by verdict, timed, and written as the program left them.
//!
//! ```text
//!  Capture ─► Feeder ─► 16 contexts ─► run each ─► count, write
//!                                      ^^^^^^^^ the clock runs here alone
//! ```
//!
//! Always holds: packets are run, counted and written in the order of the capture; what was counted and written before
//! a damaged record, a full disk or a stopping fault stays in the report.

use crate::capture::{Capture, Interface, Record, Writer};
use crate::packet::{Arrival, Envelope, Feeder};
use crate::report::{Count, MAX_KINDS, Report, VerdictCount};
use skep_platform::ctx::Fate;
use skep_platform::engine::RunError;
use skep_platform::env::CtxData;
use skep_platform::{AttachType, Context, Packet, ProgType, ProgTypeDesc};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Packets between two looks at the clock: enough that the looks cost a nanosecond or two a packet, few enough that their
/// buffers stay in the first caches.
const BATCH: usize = 16;

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How packets reach the program.
    pub arrival: Arrival,
    /// Runs on each packet, at least 1. As with `BPF_PROG_TEST_RUN` later runs see what earlier ones left of the packet
    /// and the last one's verdict counts.
    pub repeat: u32,
    /// What a fault does.
    pub on_fault: OnFault,
}

impl Default for Options {
    fn default() -> Options {
        Options { arrival: Arrival::default(), repeat: 1, on_fault: OnFault::Stop }
    }
}

/// What a fault of the program does to the run over the capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnFault {
    /// It ends the run.
    Stop,
    /// It is counted, the packet is dropped, and the next one follows.
    Count,
}

/// Where packets go that pass or are sent.
pub trait Sink {
    /// Takes a packet; `interfaces` are those of the capture it came from.
    fn write(&mut self, packet: &Record<'_>, interfaces: &[Interface]) -> io::Result<()>;
}

impl<W: Write> Sink for Writer<W> {
    fn write(&mut self, packet: &Record<'_>, interfaces: &[Interface]) -> io::Result<()> {
        Writer::write(self, packet, interfaces)
    }
}

/// Runs a program over a capture. `run` runs it once: `|ctx| engine.test_run(&*loaded, ctx)`. Fails only if the program
/// type does not run on packets; everything else that goes wrong stands in the report.
///
/// Cost beside the program: one copy of each packet, and one more of those that are written.
pub fn run_capture<R: Read>(
    row: &'static ProgTypeDesc,
    attach: Option<AttachType>,
    capture: &mut Capture<R>,
    sink: Option<&mut dyn Sink>,
    options: &Options,
    run: impl FnMut(&mut Context) -> Result<u64, Box<RunError>>,
) -> Result<Report, &'static str> {
    run_capture_watched(row, attach, capture, sink, options, run, &mut || ControlFlow::Continue(()))
}

/// As [`run_capture`]; calls `between` after every few packets (at most 16), while the clock stands, and ends early where it breaks.
pub fn run_capture_watched<R: Read>(
    row: &'static ProgTypeDesc,
    attach: Option<AttachType>,
    capture: &mut Capture<R>,
    sink: Option<&mut dyn Sink>,
    options: &Options,
    mut run: impl FnMut(&mut Context) -> Result<u64, Box<RunError>>,
    between: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Report, &'static str> {
    let feeder = Feeder::new(row, attach, options.arrival)?;
    let mut job = Job { row, sink, report: Report::default(), frame: Vec::new(), stop: false };
    let mut slots: Vec<Slot> = (0..BATCH).map(|_| Slot::new(&feeder)).collect();
    let mut clock = Clock::default();
    while !job.stop {
        let (filled, more) = job.fill(&feeder, capture, &mut slots);
        clock.begin();
        let ran = run_batch(&mut slots[..filled], options, &mut run);
        clock.end(ran * options.repeat.max(1) as u64);
        for slot in &mut slots[..ran as usize] {
            job.account(slot, options, capture.interfaces());
        }
        job.stop |= !more | between().is_break();
    }
    let mut report = job.report;
    report.runs = clock.runs;
    report.ns_per_run = clock.ns_per_run();
    report
        .verdicts
        .sort_by_key(|v| row.verdicts.iter().position(|r| Some(r.value) == v.value).unwrap_or(MAX_KINDS));
    Ok(report)
}

/// A packet on its way through a batch.
struct Slot {
    ctx: Context,
    from: From,
    envelope: Option<Envelope>,
    outcome: Result<u64, Box<RunError>>,
}

/// What a record said, without its bytes.
#[derive(Clone, Copy)]
struct From {
    record: Record<'static>,
    captured: u32,
    number: u64,
}

impl Slot {
    fn new(feeder: &Feeder) -> Slot {
        let record = Record {
            data: &[],
            orig_len: 0,
            time_ns: 0,
            interface: 0,
            link: crate::link::LinkType::ETHERNET,
            direction: crate::capture::Direction::Unknown,
            offset: 0,
        };
        let from = From { record, captured: 0, number: 0 };
        Slot { ctx: feeder.context(), from, envelope: None, outcome: Ok(0) }
    }
}

/// Runs the program on each; how many were run: all, or up to the fault that stops.
fn run_batch(
    slots: &mut [Slot],
    options: &Options,
    run: &mut impl FnMut(&mut Context) -> Result<u64, Box<RunError>>,
) -> u64 {
    let mut ran = 0;
    for slot in slots {
        ran += 1;
        for _ in 0..options.repeat.max(1) {
            slot.outcome = run(&mut slot.ctx);
            if slot.outcome.is_err() {
                break;
            }
        }
        if slot.outcome.is_err() && options.on_fault == OnFault::Stop {
            break;
        }
    }
    ran
}

struct Job<'s> {
    row: &'static ProgTypeDesc,
    sink: Option<&'s mut dyn Sink>,
    report: Report,
    /// A frame being put together for the output.
    frame: Vec<u8>,
    stop: bool,
}

impl Job<'_> {
    /// Fills the slots with the next packets: how many, and whether there may be more.
    fn fill<R: Read>(
        &mut self,
        feeder: &Feeder,
        capture: &mut Capture<R>,
        slots: &mut [Slot],
    ) -> (usize, bool) {
        let mut filled = 0;
        while filled < slots.len() {
            let number = capture.packets() + 1;
            let record = match capture.next_packet() {
                Ok(Some(record)) => record,
                Ok(None) => return (filled, false),
                Err(e) => {
                    self.report.capture_error = Some(e);
                    return (filled, false);
                }
            };
            let slot = &mut slots[filled];
            match feeder.feed(&record, &mut slot.ctx) {
                Err(why) => self.report.unfit(why, record.data.len() as u64),
                Ok(envelope) => {
                    slot.envelope = Some(envelope);
                    slot.from = From {
                        record: Record { data: &[], ..record },
                        captured: record.data.len() as u32,
                        number,
                    };
                    filled += 1;
                }
            }
        }
        (filled, true)
    }

    /// Counts a packet's outcome and writes what goes out.
    fn account(&mut self, slot: &mut Slot, options: &Options, interfaces: &[Interface]) {
        let (from, bytes) = (slot.from, slot.from.captured as u64);
        let (CtxData::Packet(packet), Some(envelope)) = (&slot.ctx.data, &slot.envelope) else { return };
        self.report.total.add(bytes);
        for (_, copy) in &packet.clones {
            self.report.clones.add(copy.len() as u64);
            self.write(&from, envelope, packet, copy, interfaces);
        }
        let r0 = match std::mem::replace(&mut slot.outcome, Ok(0)) {
            Ok(r0) => r0,
            Err(e) => {
                self.stop |= options.on_fault == OnFault::Stop;
                return self.report.fault(e, from.number, bytes);
            }
        };
        if self.row.prog_type == ProgType::SocketFilter {
            return self.filtered(r0, &from, envelope, packet, interfaces);
        }
        let fate = self.verdict(r0, packet, bytes);
        if fate != Fate::Drop {
            self.write(&from, envelope, packet, packet.bytes(), interfaces);
        }
    }

    /// A socket filter's return value is the number of bytes to keep.
    fn filtered(&mut self, r0: u64, from: &From, envelope: &Envelope, packet: &Packet, all: &[Interface]) {
        let keep = (r0 as u32 as usize).min(packet.len());
        let (name, fate) = match keep {
            0 if r0 as u32 == 0 => ("drop", Fate::Drop),
            _ if keep == packet.len() => ("keep", Fate::Pass),
            _ => ("cut", Fate::Pass),
        };
        self.count(None, name, fate, from.captured as u64);
        if fate == Fate::Pass {
            self.report.kept_bytes += keep as u64;
            self.write(from, envelope, packet, &packet.bytes()[..keep], all);
        }
    }

    /// Counts a return value; what became of the packet.
    fn verdict(&mut self, r0: u64, packet: &Packet, bytes: u64) -> Fate {
        let value = r0 as u32 as i32;
        let row = self.row.verdict(r0);
        let mut fate = self.row.fate(r0);
        if row.is_some_and(|v| v.name.ends_with("_REDIRECT")) {
            self.report.redirected(packet.redirect.as_ref(), bytes);
            if packet.redirect.is_none() {
                fate = Fate::Drop;
            }
        }
        match row {
            Some(v) => self.count(Some(value), v.name, v.fate, bytes),
            None => self.count(Some(value), "", fate, bytes),
        }
        fate
    }

    fn count(&mut self, value: Option<i32>, name: &str, fate: Fate, bytes: u64) {
        let all = &mut self.report.verdicts;
        let known = |v: &VerdictCount| v.value == value && (value.is_some() || v.name == name);
        let at = all.iter().position(known).unwrap_or_else(|| {
            let (value, name) = match (name, value) {
                ("", Some(_)) if all.len() >= MAX_KINDS => (None, "other".to_string()),
                ("", Some(v)) => (value, v.to_string()),
                _ => (value, name.to_string()),
            };
            match all.iter().position(|v| v.value == value && v.name == name) {
                Some(at) => at,
                None => {
                    all.push(VerdictCount { value, name, fate, count: Count::default() });
                    all.len() - 1
                }
            }
        });
        all[at].count.add(bytes);
    }

    /// Writes bytes of a packet as a frame of its capture.
    fn write(&mut self, from: &From, envelope: &Envelope, packet: &Packet, bytes: &[u8], all: &[Interface]) {
        let Some(sink) = self.sink.as_mut().filter(|_| self.report.output_error.is_none()) else { return };
        self.frame.clear();
        envelope.frame(bytes, packet, &mut self.frame);
        let missing = from.record.orig_len - from.captured.min(from.record.orig_len);
        let whole = if self.row.prog_type == ProgType::SocketFilter {
            from.record.orig_len
        } else {
            self.frame.len() as u32 + missing
        };
        let record =
            Record { data: &self.frame, orig_len: whole.max(self.frame.len() as u32), ..from.record };
        match sink.write(&record, all) {
            Ok(()) => self.report.written.add(self.frame.len() as u64),
            Err(e) => {
                self.report.output_error = Some(e);
                self.stop = true;
            }
        }
    }
}

/// Time of all batches and of the first.
#[derive(Default)]
struct Clock {
    began: Option<Instant>,
    first: (Duration, u64),
    all: Duration,
    runs: u64,
}

impl Clock {
    fn begin(&mut self) {
        self.began = Some(Instant::now());
    }

    fn end(&mut self, runs: u64) {
        let took = self.began.take().map_or(Duration::ZERO, |b| b.elapsed());
        if self.runs == 0 {
            self.first = (took, runs);
        }
        self.all += took;
        self.runs += runs;
    }

    /// Without the first batch, in which caches and branches are learned, if there were others.
    fn ns_per_run(&self) -> Option<f64> {
        let (time, runs) = match self.runs - self.first.1 {
            0 => (self.all, self.runs),
            later => (self.all - self.first.0, later),
        };
        (runs > 0).then(|| time.as_nanos() as f64 / runs as f64)
    }
}
