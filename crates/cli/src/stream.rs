//! Records shown as they come: ring buffers and perf event arrays of the kernel, typed where the type is known.

use crate::failure::Failure;
use crate::maps;
use crate::output::{Format, Out, object};
use serde_json::Value;
use skep::Map;
use skep::btf::Btf;
use skep::descriptors::{Errno, MapType};
use skep::kernel::KernelMap;
use skep::kernel::explain::{self, Asked, Rights};
use skep::kernel::wait::{Event, Waiter};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Bytes of a perf event array's ring, for each CPU.
const PERF_RING: usize = 256 << 10;

/// A map that is followed.
pub(crate) struct Followed<'a> {
    map: &'a dyn Map,
    /// Types to look for that of the records.
    btf: Option<&'a Btf>,
    /// The records' type, if it is known.
    record: Option<u32>,
    /// Records that came.
    pub(crate) received: u64,
    /// Records that were dropped, where they are counted.
    pub(crate) lost: Option<u64>,
    fds: Vec<OwnedFd>,
}

impl<'a> Followed<'a> {
    /// Opens the map for reading.
    pub(crate) fn open(
        map: &'a KernelMap,
        btf: Option<&'a Btf>,
        record: Option<u32>,
    ) -> Result<Self, Failure> {
        let name = &map.def().name;
        let failed = |e: Errno| {
            let why = match e {
                Errno::EOPNOTSUPP => format!("a map of type {} has no records", map.def().map_type.label()),
                e => explain::why(Asked::Rings, e, &Rights::own()),
            };
            let text = format!("map {name}: cannot be followed: {why}");
            if e == Errno::EPERM { Failure::Permission(text) } else { Failure::Unsupported(text) }
        };
        if map.def().map_type == MapType::PerfEventArray {
            map.open_rings(PERF_RING).map_err(failed)?;
        }
        // Of ring buffers the kernel keeps no count: the program sees that its reservation fails.
        let lost = (map.def().map_type == MapType::PerfEventArray).then_some(0);
        Ok(Followed { map, btf, record, received: 0, lost, fds: map.wake_fds().map_err(failed)? })
    }

    /// A map of the user engine, whose programs run in this process: nobody waits for it. Opens the rings of a perf event array, for
    /// so many CPUs.
    pub(crate) fn of_user(map: &'a dyn Map, btf: Option<&'a Btf>, cpus: usize) -> Result<Self, Failure> {
        let failed =
            |why: String| Failure::Unsupported(format!("map {}: cannot be followed: {why}", map.def().name));
        if let Some(events) = map.perf_events() {
            for cpu in 0..map.def().max_entries.min(cpus as u32) {
                events.open(cpu, PERF_RING).map_err(|e| failed(e.to_string()))?;
            }
        } else if map.ringbuf().is_none() {
            return Err(failed(format!("a map of type {} has no records", map.def().map_type.label())));
        }
        Ok(Followed { map, btf, record: None, received: 0, lost: Some(0), fds: Vec::new() })
    }

    fn type_of(&self, len: usize) -> maps::Record<'a> {
        let btf = self.btf?;
        match self.record {
            Some(id) => Some((btf, id)),
            None => maps::guess_record(btf, &self.map.def().name, len),
        }
    }

    /// Prints what is there.
    pub(crate) fn consume(
        &mut self,
        named: bool,
        left: &mut u64,
        quiet: bool,
        out: &mut Out,
    ) -> Result<(), Failure> {
        let mut trouble = Ok(());
        let (mut received, mut room) = (0, *left);
        let this = &*self;
        let mut take = |cpu: Option<u32>, bytes: &[u8]| {
            received += 1;
            room -= 1;
            if !quiet {
                trouble = this.print(cpu, bytes, named, out);
            }
            if trouble.is_err() || room == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let lost = if let Some(ring) = this.map.ringbuf() {
            ring.consume(&mut |r| take(None, r)).map(|_| ring.lost().unwrap_or(0))
        } else if let Some(events) = this.map.perf_events() {
            events.consume(&mut |cpu, r| take(Some(cpu), r))
        } else {
            Ok(0)
        };
        trouble?;
        self.received += received;
        *left = room;
        let name = &self.map.def().name;
        let lost = lost.map_err(|e| Failure::Failed(format!("map {name}: cannot be read: {e}")))?;
        self.lost = self.lost.map(|before| before + lost);
        Ok(())
    }

    fn print(&self, cpu: Option<u32>, bytes: &[u8], named: bool, out: &mut Out) -> Result<(), Failure> {
        let record = self.type_of(bytes.len());
        if out.is_json() {
            let mut o = object([("map", self.map.def().name.clone().into())]);
            if let Some(cpu) = cpu {
                o.insert("cpu".into(), cpu.into());
            }
            o.insert("record".into(), maps::record_json(record, bytes));
            return out.json(o);
        }
        let name = if named { format!("{}: ", self.map.def().name) } else { String::new() };
        let cpu = cpu.map_or(String::new(), |c| format!("cpu{c} "));
        out.line(&format!("{name}{cpu}{}", maps::record_text(record, bytes)))
    }
}

/// When following ends by itself.
#[derive(Clone, Copy, Default)]
pub(crate) struct Limits {
    /// Records.
    pub(crate) count: Option<u64>,
    /// Time.
    pub(crate) duration: Option<Duration>,
}

/// How following ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A limit was reached.
    Limit,
    /// Somebody asked for it.
    Interrupt,
}

/// Shows records until a limit is reached or the process is asked to end; asleep while there are none. `tick` is called
/// when the waiter ticks.
pub(crate) fn follow(
    waiter: &Waiter,
    maps: &mut [Followed<'_>],
    limits: Limits,
    quiet: bool,
    out: &mut Out,
    tick: &mut dyn FnMut(&mut Out) -> Result<(), Failure>,
) -> Result<End, Failure> {
    let failed = |e: Errno| Failure::Failed(format!("waiting for records: {e}"));
    for (i, m) in maps.iter().enumerate() {
        for fd in &m.fds {
            waiter.add(fd.as_fd(), i as u64).map_err(failed)?;
        }
    }
    // A document cannot be printed piece by piece; lines can.
    if matches!(out.format, Format::Json { .. }) {
        out.format = Format::Jsonl;
    }
    let (named, until) = (maps.len() > 1, limits.duration.map(|d| Instant::now() + d));
    let mut left = limits.count.unwrap_or(u64::MAX);
    let mut end = None;
    while end.is_none() {
        let millis =
            until.map(|t| t.saturating_duration_since(Instant::now()).as_millis().min(1 << 30) as u32);
        let events = waiter.wait(millis).map_err(failed)?;
        for event in &events {
            match event {
                Event::Ready(i) => {
                    if let Some(m) = maps.get_mut(*i as usize) {
                        m.consume(named, &mut left, quiet, out)?;
                    }
                }
                Event::Tick => tick(out)?,
                Event::Interrupt => end = Some(End::Interrupt),
            }
        }
        out.finish()?;
        if left == 0 || until.is_some_and(|t| Instant::now() >= t) {
            end.get_or_insert(End::Limit);
        }
    }
    // What came before the end is still shown.
    for m in maps.iter_mut() {
        if left > 0 {
            m.consume(named, &mut left, quiet, out)?;
        }
    }
    out.finish()?;
    Ok(end.unwrap_or(End::Limit))
}

/// What came and what was lost, in words, for standard error.
pub(crate) fn summary(maps: &[Followed<'_>]) -> String {
    let one = |m: &Followed<'_>| {
        let lost = m.lost.map_or(String::new(), |n| format!(", {n} lost"));
        format!("{}: {} records received{lost}", m.map.def().name, m.received)
    };
    maps.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// A number of the whole, as JSON.
pub(crate) fn summary_json(maps: &[Followed<'_>]) -> Value {
    let one = |m: &Followed<'_>| {
        let mut o = object([("map", m.map.def().name.clone().into()), ("received", m.received.into())]);
        if let Some(lost) = m.lost {
            o.insert("lost".into(), lost.into());
        }
        Value::Object(o)
    };
    maps.iter().map(one).collect()
}
