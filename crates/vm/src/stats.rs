//! How often programs ran and how long: the user engine's form of `run_cnt` and `run_time_ns`.
//!
//! Off, a run pays for one look at a flag that lies beside the program. On, it pays for two readings of the clock and two
//! additions to a counter that its thread shares with few others.

use skep_platform::engine::RunStats;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

/// Counters of a program. Threads take one each, in turns.
const COUNTERS: usize = 16;

/// Runs and their time, on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Counter {
    runs: AtomicU64,
    ns: AtomicU64,
}

/// Counters of one program.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    on: AtomicBool,
    counters: OnceLock<Box<[Counter; COUNTERS]>>,
}

impl Stats {
    /// Are runs counted?
    #[inline]
    pub(crate) fn on(&self) -> bool {
        self.on.load(Relaxed)
    }

    pub(crate) fn switch(&self, on: bool) {
        self.on.store(on, Relaxed);
    }

    /// Counts runs that together took so long. `which`: the thread's, of [`next`].
    pub(crate) fn add(&self, which: usize, runs: u64, took: Duration) {
        let counter = &self.counters.get_or_init(Default::default)[which % COUNTERS];
        counter.runs.fetch_add(runs, Relaxed);
        counter.ns.fetch_add(took.as_nanos() as u64, Relaxed);
    }

    pub(crate) fn read(&self) -> RunStats {
        let mut all = RunStats::default();
        for c in self.counters.get().into_iter().flat_map(|c| c.iter()) {
            all.runs += c.runs.load(Relaxed);
            all.ns += c.ns.load(Relaxed);
        }
        all
    }
}

/// The counter that the next thread takes.
pub(crate) fn next() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Relaxed)
}
