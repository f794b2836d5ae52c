//! What a program costs: hardware counters around each of its runs, by two programs of ours at its entry and its exit.
//!
//! The one at the entry (fentry) keeps the counters' values of this CPU, the one at the exit (fexit) adds the differences up.
//! Kernels without trampolines refuse both, and machines without counters the events; [`Stats`] tells runs and their time then.

use crate::door::{Door, IdKind, MapCreate, PerfEvent, ProgLoad};
use crate::info;
use crate::map::{KernelMap, object_name};
use skep_isa::asm::parse_insns;
use skep_platform::map::{Map, MapDef};
use skep_platform::{AttachType, Errno, MapType, ProgType};
use std::fmt;
use std::fmt::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// An event that is counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Its name on the command line.
    pub name: &'static str,
    /// `PERF_TYPE_*`.
    pub kind: u32,
    /// Event of that type.
    pub config: u64,
    /// What it is compared with: a metric's name, a factor, and what the ratio is called.
    pub per: Option<(&'static str, f64, &'static str)>,
}

const HARDWARE: u32 = 0;
const CACHE: u32 = 3;
/// `PERF_COUNT_HW_CACHE_RESULT_MISS` of reads.
const READ_MISS: u64 = 1 << 16;

/// The metrics that bpftool has.
pub const METRICS: [Metric; 6] = [
    Metric { name: "cycles", kind: HARDWARE, config: 0, per: None },
    Metric { name: "instructions", kind: HARDWARE, config: 1, per: Some(("cycles", 1.0, "insns per cycle")) },
    Metric { name: "l1d_loads", kind: CACHE, config: 0, per: None },
    Metric {
        name: "llc_misses",
        kind: CACHE,
        config: 2 | READ_MISS,
        per: Some(("instructions", 1e6, "LLC misses per million insns")),
    },
    Metric {
        name: "itlb_misses",
        kind: CACHE,
        config: 4 | READ_MISS,
        per: Some(("instructions", 1e6, "itlb misses per million insns")),
    },
    Metric {
        name: "dtlb_misses",
        kind: CACHE,
        config: 3 | READ_MISS,
        per: Some(("instructions", 1e6, "dtlb misses per million insns")),
    },
];

/// What was counted of a metric, over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The counter.
    pub value: u64,
    /// Nanoseconds that it should have counted.
    pub enabled: u64,
    /// Nanoseconds that it did: fewer when counters are shared.
    pub running: u64,
}

/// Why nothing can be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileError {
    /// What was asked for.
    pub what: &'static str,
    /// The error number.
    pub errno: Errno,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match (self.what, self.errno) {
            (COUNTER, Errno::ENOENT | Errno::EOPNOTSUPP | Errno::ENODEV) => {
                "this machine has no such hardware counter (virtual machines often have none)"
            }
            (COUNTER, Errno::EPERM | Errno::EACCES) => {
                "counters of the whole machine need CAP_PERFMON, or kernel.perf_event_paranoid at most 0"
            }
            (TYPES, _) => {
                "the program was loaded without types, by which its entry is found; compile it with -g"
            }
            (ATTACH, Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOTSUPP | Errno::EINVAL) => {
                "this kernel lets nobody hook the entry of a program (fentry): it has no trampolines \
                 (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS), or refuses them"
            }
            (_, errno) => return write!(f, "{}: {errno}", self.what),
        };
        write!(f, "{}: {why}", self.what)
    }
}

impl std::error::Error for ProfileError {}

/// `bpf_map_lookup_elem` and `bpf_perf_event_read_value`.
const LOOKUP: u32 = 1;
const READ_COUNTER: u32 = 55;

const COUNTER: &str = "opening a counter";
const TYPES: &str = "finding the program's entry";
const ATTACH: &str = "hooking the program";

/// `struct bpf_perf_event_value`.
const VALUE: u32 = 24;

/// Counting around a program's runs, until it is dropped.
#[derive(Debug)]
pub struct Profiler {
    values: KernelMap,
    metrics: usize,
    _programs: [OwnedFd; 2],
    _links: Vec<OwnedFd>,
    _events: Vec<(OwnedFd, Vec<OwnedFd>)>,
}

/// What the two programs are loaded as.
enum Hook<'a> {
    /// Entry and exit of a program.
    Trampoline { prog: BorrowedFd<'a>, btf_id: u32 },
    /// Raw tracepoints, which can be run by request: what tests use where there are no trampolines.
    #[cfg(test)]
    Request,
}

impl Profiler {
    /// Counts `metrics` around each run of `prog`. Cost: an event a metric and CPU, two programs.
    ///
    /// # Errors
    /// The machine has no such counter, or the kernel no trampolines, or rights are missing.
    pub fn start(
        door: &Arc<dyn Door>,
        prog: BorrowedFd<'_>,
        metrics: &[Metric],
    ) -> Result<Profiler, ProfileError> {
        let types = |errno| ProfileError { what: TYPES, errno };
        let code = info::prog_code(&**door, prog).map_err(types)?;
        let entry = code.func_info.first().ok_or(types(Errno::ENOENT))?;
        let made = Profiler::load(door, &Hook::Trampoline { prog, btf_id: entry[1] }, metrics)?;
        let attach = |p: &OwnedFd| door.raw_tracepoint_open(None, p.as_fd());
        // The exit first: an entry without exit would be counted from nothing.
        let links =
            [&made._programs[1], &made._programs[0]].map(attach).into_iter().collect::<Result<Vec<_>, _>>();
        let links = links.map_err(|errno| ProfileError { what: ATTACH, errno })?;
        Ok(Profiler { _links: links, ..made })
    }

    fn load(door: &Arc<dyn Door>, hook: &Hook<'_>, metrics: &[Metric]) -> Result<Profiler, ProfileError> {
        let events = metrics.iter().map(|m| counters(&**door, m)).collect::<Result<Vec<_>, _>>()?;
        let values = values(door, metrics.len())?;
        let maps: Vec<BorrowedFd<'_>> =
            std::iter::once(values.as_fd()).chain(events.iter().map(|(map, _)| map.as_fd())).collect();
        let load = |exit: bool| {
            let text = if exit { at_exit(metrics.len()) } else { at_entry(metrics.len()) };
            load(&**door, hook, exit, &text, &maps).map_err(|errno| ProfileError { what: ATTACH, errno })
        };
        let programs = [load(false)?, load(true)?];
        drop(maps);
        Ok(Profiler {
            values,
            metrics: metrics.len(),
            _programs: programs,
            _links: Vec::new(),
            _events: events,
        })
    }

    /// Runs so far, and what was counted of each metric.
    ///
    /// # Errors
    /// The map's.
    pub fn read(&self) -> Result<(u64, Vec<Reading>), Errno> {
        let entry = |n: usize| {
            let mut sum = [0u64; 3];
            let mut all = Vec::new();
            self.values.read(&(n as u32).to_ne_bytes(), &mut all)?;
            for (i, word) in all.as_chunks::<8>().0.iter().enumerate() {
                sum[i % 3] += u64::from_ne_bytes(*word);
            }
            Ok(Reading { value: sum[0], enabled: sum[1], running: sum[2] })
        };
        let readings = (0..self.metrics).map(|m| entry(self.metrics + m)).collect::<Result<Vec<_>, _>>()?;
        Ok((entry(2 * self.metrics)?.value, readings))
    }
}

/// A metric's map with an event a CPU that is there.
fn counters(door: &dyn Door, metric: &Metric) -> Result<(OwnedFd, Vec<OwnedFd>), ProfileError> {
    let fail = |errno| ProfileError { what: COUNTER, errno };
    let cpus = crate::possible_cpus() as u32;
    let map = door.map_create(&MapCreate {
        map_type: MapType::PerfEventArray.id(),
        key_size: 4,
        value_size: 4,
        max_entries: cpus,
        flags: 0,
        numa_node: 0,
        extra: 0,
        name: object_name("events"),
        inner: None,
        btf: None,
        vmlinux_value_type: 0,
    });
    let map = map.map_err(fail)?;
    let mut events = Vec::new();
    for cpu in 0..cpus {
        let event = PerfEvent {
            kind: metric.kind,
            config: metric.config,
            sample: 0,
            freq: false,
            sample_type: 0,
            wakeup: 0,
            name: None,
            offset: 0,
            pid: -1,
            cpu: cpu as i32,
        };
        let event = match door.perf_event(&event) {
            // A CPU that is switched off.
            Err(Errno::ENODEV) if cpu > 0 => continue,
            event => event.map_err(fail)?,
        };
        door.perf_enable(event.as_fd(), true).map_err(fail)?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&event).to_ne_bytes();
        door.map_update(map.as_fd(), &cpu.to_ne_bytes(), &number, 0).map_err(fail)?;
        events.push(event);
    }
    Ok((map, events))
}

/// The map of values, a part for each CPU: those at the entry, the sums, and the number of runs.
fn values(door: &Arc<dyn Door>, metrics: usize) -> Result<KernelMap, ProfileError> {
    let fail = |errno| ProfileError { what: "making a map", errno };
    let (entries, name) = (2 * metrics as u32 + 1, "profile");
    let request = MapCreate {
        map_type: MapType::PercpuArray.id(),
        key_size: 4,
        value_size: VALUE,
        max_entries: entries,
        flags: 0,
        numa_node: 0,
        extra: 0,
        name: object_name(name),
        inner: None,
        btf: None,
        vmlinux_value_type: 0,
    };
    let fd = door.map_create(&request).map_err(fail)?;
    let def = MapDef {
        name: name.into(),
        map_type: MapType::PercpuArray,
        key_size: 4,
        value_size: VALUE,
        max_entries: entries,
        flags: 0,
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: None,
    };
    Ok(KernelMap::new(def, fd, door))
}

fn load(
    door: &dyn Door,
    hook: &Hook<'_>,
    exit: bool,
    text: &str,
    maps: &[BorrowedFd<'_>],
) -> Result<OwnedFd, Errno> {
    let insns = parse_insns(text).map_err(|_| Errno::EINVAL)?;
    let insns: Vec<[u8; 8]> = insns.iter().map(|i| i.to_bytes()).collect();
    let attach = if exit { AttachType::TraceFexit } else { AttachType::TraceFentry };
    let (prog_type, attach_type, attach_btf_id, attach_prog) = match hook {
        Hook::Trampoline { prog, btf_id } => (ProgType::Tracing, attach.id(), *btf_id, Some(*prog)),
        #[cfg(test)]
        Hook::Request => (ProgType::RawTracepoint, 0, 0, None),
    };
    let request = ProgLoad {
        prog_type: prog_type.id(),
        attach_type,
        flags: 0,
        name: object_name(if exit { "profile_exit" } else { "profile_entry" }),
        insns: &insns,
        license: c"GPL",
        maps,
        btf: None,
        func_info: &[],
        line_info: &[],
        attach_btf_id,
        attach_prog,
        log_level: 0,
    };
    door.prog_load(&request, &mut []).0
}

/// `r0` becomes the address of entry `n` of the values, or the program ends.
fn value_of(text: &mut String, n: usize) {
    let _ = write!(
        text,
        "*(u32 *)(r10 - 4) = {n}\nr1 = map[idx:0]\nr2 = r10\nr2 += -4\ncall {LOOKUP}\nif r0 == 0 goto out\n"
    );
}

/// This CPU's counter of metric `m` is read to the address that `to` puts into `r3`.
fn counter_to(text: &mut String, m: usize, to: &str) {
    // BPF_F_CURRENT_CPU
    let _ = write!(text, "{to}r1 = map[idx:{}]\nw2 = -1\nr4 = {VALUE}\ncall {READ_COUNTER}\n", m + 1);
}

fn at_entry(metrics: usize) -> String {
    let mut text = String::new();
    for m in 0..metrics {
        value_of(&mut text, m);
        counter_to(&mut text, m, "r3 = r0\n");
    }
    text + "out:\nr0 = 0\nexit\n"
}

fn at_exit(metrics: usize) -> String {
    let mut text = String::new();
    for m in 0..metrics {
        // Each has a place of its own, so that all are read before anything else is done.
        counter_to(&mut text, m, &format!("r3 = r10\nr3 += {}\n", place(m)));
        let _ = writeln!(text, "if r0 != 0 goto out");
    }
    for m in 0..metrics {
        value_of(&mut text, m);
        // An exit whose entry was not seen.
        let _ = write!(text, "r6 = r0\nr1 = *(u64 *)(r6 + 0)\nif r1 == 0 goto out\n");
        value_of(&mut text, metrics + m);
        for word in (0..VALUE as i64).step_by(8) {
            let _ = write!(
                text,
                "r1 = *(u64 *)(r10 - {})\nr2 = *(u64 *)(r6 + {word})\nr1 -= r2\nr2 = *(u64 *)(r0 + {word})\nr2 += r1\n\
                 *(u64 *)(r0 + {word}) = r2\n",
                -(place(m) + word),
            );
        }
    }
    value_of(&mut text, 2 * metrics);
    text + "r1 = *(u64 *)(r0 + 0)\nr1 += 1\n*(u64 *)(r0 + 0) = r1\nout:\nr0 = 0\nexit\n"
}

/// Where on the stack the exit keeps the counter of a metric.
fn place(metric: usize) -> i64 {
    -8 - (metric as i64 + 1) * i64::from(VALUE)
}

/// Runs of a program and their time, as the kernel counts them for all programs while this lives (`BPF_ENABLE_STATS`).
#[derive(Debug)]
pub struct Stats {
    door: Arc<dyn Door>,
    id: u32,
    before: (u64, u64),
    _on: OwnedFd,
}

impl Stats {
    /// Counts from now on. Cost: about 20 ns a run of every program of the machine, as long as it lives.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN.
    pub fn start(door: &Arc<dyn Door>, prog: BorrowedFd<'_>) -> Result<Stats, Errno> {
        let on = door.enable_stats()?;
        let i = info::prog(&**door, prog)?;
        Ok(Stats { door: door.clone(), id: i.id, before: (i.run_cnt, i.run_time_ns), _on: on })
    }

    /// Runs, and nanoseconds of all of them.
    ///
    /// # Errors
    /// `ENOENT` once the program is gone.
    pub fn read(&self) -> Result<(u64, u64), Errno> {
        let fd = self.door.by_id(IdKind::Prog, self.id)?;
        let i = info::prog(&*self.door, fd.as_fd())?;
        Ok((i.run_cnt.saturating_sub(self.before.0), i.run_time_ns.saturating_sub(self.before.1)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::print_stdout)]

    use super::*;
    use crate::Live;
    use crate::door::TestRun;

    /// Time on the CPU, which every machine counts.
    const TASK_CLOCK: Metric = Metric { name: "task_clock", kind: 1, config: 1, per: None };
    const CPU_CLOCK: Metric = Metric { name: "cpu_clock", kind: 1, config: 0, per: None };

    #[test]
    fn both_programs_assemble_for_every_number_of_metrics() {
        for n in 1..=METRICS.len() {
            for text in [at_entry(n), at_exit(n)] {
                parse_insns(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            }
            assert!(place(n - 1) > -512);
        }
    }

    /// The programs as raw tracepoints, run by request one after the other: the kernel takes them, and they count.
    #[test]
    fn an_entry_and_an_exit_are_counted() {
        let door: Arc<dyn Door> = Arc::new(Live::default());
        let made = match Profiler::load(&door, &Hook::Request, &[CPU_CLOCK, TASK_CLOCK]) {
            Ok(made) => made,
            Err(e) if matches!(e.errno, Errno::EPERM | Errno::EACCES | Errno::ENOSYS) => {
                return println!("skipped: {e}");
            }
            Err(e) => panic!("{e}"),
        };
        let run = |n: usize| {
            let mut run =
                TestRun { data: &[], data_out: &mut [], ctx: &[], ctx_out: &mut [], repeat: 0, flags: 0 };
            door.test_run(made._programs[n].as_fd(), &mut run).map(|r| r.retval)
        };
        crate::pin_to_cpu(crate::current_cpu()).expect("a process may stay where it is");
        assert_eq!(run(1), Ok(0));
        assert_eq!(made.read().expect("it is a map").0, 0, "an exit without entry");
        for times in 1..=3 {
            assert_eq!((run(0), run(1)), (Ok(0), Ok(0)));
            let (runs, readings) = made.read().expect("it is a map");
            assert_eq!(runs, times);
            assert!(readings[0].value > 0 && readings[0].value < 10_000_000_000, "{readings:?}");
        }
    }

    #[test]
    fn what_is_missing_has_a_name() {
        for (what, errno, word) in [
            (COUNTER, Errno::ENOENT, "virtual machines"),
            (COUNTER, Errno::EACCES, "CAP_PERFMON"),
            (TYPES, Errno::ENOENT, "-g"),
            (ATTACH, Errno::EPERM, "trampolines"),
        ] {
            let text = ProfileError { what, errno }.to_string();
            assert!(text.contains(word), "{text}");
        }
    }
}
