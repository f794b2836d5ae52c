//! What a run over a capture came to: plain data, for people and for programs to render.

use crate::capture::CaptureError;
use crate::frame::Unfit;
use skep_platform::ctx::Fate;
use skep_platform::engine::RunError;
use skep_platform::packet::Redirect;
use std::io;

/// Most different return values, redirection targets and faults that are told apart; what comes after counts as other.
pub const MAX_KINDS: usize = 256;

/// Packets and their bytes as captured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Count {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
    }
}

/// Outcome of a run over a capture.
#[derive(Debug, Default)]
pub struct Report {
    /// Packets that the program ran on.
    pub total: Count,
    /// By return value, in the order of the program type's table; other values after them, as they came.
    pub verdicts: Vec<VerdictCount>,
    /// Bytes of packets that a socket filter kept; 0 for other types.
    pub kept_bytes: u64,
    /// Where redirected packets went, as they came.
    pub redirects: Vec<RedirectCount>,
    /// Copies that `bpf_clone_redirect` sent.
    pub clones: Count,
    /// Packets written to the output.
    pub written: Count,
    /// Packets that could not be given to the program, by reason.
    pub unfit: Vec<(Unfit, Count)>,
    /// Runs that were stopped, by where.
    pub faults: Vec<FaultCount>,
    /// Runs of the program: packets times repetitions.
    pub runs: u64,
    /// Nanoseconds a run, without the feeding of packets; the first batch does not count where there are more. `None`
    /// when nothing ran.
    pub ns_per_run: Option<f64>,
    /// Why the capture could not be read to its end; what came before was run.
    pub capture_error: Option<CaptureError>,
    /// Why the output could not be written to its end; the run ended there.
    pub output_error: Option<io::Error>,
}

/// Packets of one verdict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerdictCount {
    /// Return value; `None` where several values are one verdict (socket filters, more than [`MAX_KINDS`] values).
    pub value: Option<i32>,
    /// UAPI name (`XDP_DROP`), what a socket filter does (`keep`, `cut`, `drop`), or the number.
    pub name: String,
    /// What became of the packets.
    pub fate: Fate,
    /// How many.
    pub count: Count,
}

/// Packets redirected to one target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RedirectCount {
    /// Target of the first of them, with its flags; `None` for redirections without a target, which drop the packet, and
    /// for targets beyond [`MAX_KINDS`].
    pub to: Option<Redirect>,
    /// How many.
    pub count: Count,
}

/// Runs stopped at one place.
#[derive(Clone, Debug)]
pub struct FaultCount {
    /// The first of them.
    pub first: Box<RunError>,
    /// Number of its packet in the capture, from 1.
    pub packet: u64,
    /// How many.
    pub count: Count,
}

impl Report {
    /// Runs that were stopped.
    pub fn faulted(&self) -> u64 {
        self.faults.iter().map(|f| f.count.packets).sum()
    }

    pub(crate) fn redirected(&mut self, to: Option<&Redirect>, bytes: u64) {
        let same = |a: &Redirect, b: &Redirect| match (a, b) {
            (Redirect::Interface { ifindex: x, .. }, Redirect::Interface { ifindex: y, .. }) => x == y,
            (Redirect::MapEntry { map: m, index: x, .. }, Redirect::MapEntry { map: n, index: y, .. }) => {
                m == n && x == y
            }
            _ => false,
        };
        let find = |all: &[RedirectCount], to: Option<&Redirect>| {
            all.iter().position(|r| match (&r.to, to) {
                (Some(a), Some(b)) => same(a, b),
                (None, None) => true,
                _ => false,
            })
        };
        let mut to = to;
        let mut at = find(&self.redirects, to);
        if at.is_none() && self.redirects.len() >= MAX_KINDS {
            to = None;
            at = find(&self.redirects, None);
        }
        let at = at.unwrap_or_else(|| {
            self.redirects.push(RedirectCount { to: to.cloned(), count: Count::default() });
            self.redirects.len() - 1
        });
        self.redirects[at].count.add(bytes);
    }

    pub(crate) fn unfit(&mut self, why: Unfit, bytes: u64) {
        let at = self.unfit.iter().position(|(u, _)| *u == why).unwrap_or_else(|| {
            self.unfit.push((why, Count::default()));
            self.unfit.len() - 1
        });
        self.unfit[at].1.add(bytes);
    }

    pub(crate) fn fault(&mut self, error: Box<RunError>, packet: u64, bytes: u64) {
        let place = |e: &RunError| (e.program.name.clone(), e.insn);
        let here = place(&error);
        let full = self.faults.len() == MAX_KINDS;
        let known = self.faults.iter_mut().find(|f| place(&f.first) == here);
        match known {
            Some(f) => f.count.add(bytes),
            None if full => self.faults[MAX_KINDS - 1].count.add(bytes),
            None => {
                let mut count = Count::default();
                count.add(bytes);
                self.faults.push(FaultCount { first: error, packet, count });
            }
        }
    }
}
