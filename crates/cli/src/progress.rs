//! A line on standard error for work longer than a second, on a terminal only.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static SHOWN: AtomicBool = AtomicBool::new(false);

/// Counts steps and shows how many, now and then.
pub(crate) struct Progress {
    steps: u64,
    next: Option<Instant>,
    what: &'static str,
}

/// Steps between two looks at the clock.
const STRIDE: u64 = 4096;

impl Progress {
    /// Nothing is shown before a second has passed, and nothing at all where standard error is no terminal.
    pub(crate) fn new(what: &'static str) -> Progress {
        let next = std::io::stderr().is_terminal().then(|| Instant::now() + Duration::from_secs(1));
        Progress { steps: 0, next, what }
    }

    /// One more step. Cost: an addition, and a look at the clock every few thousand steps.
    pub(crate) fn step(&mut self) {
        self.steps += 1;
        if !self.steps.is_multiple_of(STRIDE) {
            return;
        }
        let now = Instant::now();
        if self.next.is_some_and(|at| now >= at) {
            eprint!("\r{} {}…", self.steps, self.what);
            let _ = std::io::stderr().flush();
            SHOWN.store(true, Ordering::Relaxed);
            self.next = Some(now + Duration::from_millis(200));
        }
    }
}

/// Takes the line away again.
pub(crate) fn clear() {
    if SHOWN.swap(false, Ordering::Relaxed) {
        eprint!("\r\x1b[K");
    }
}
