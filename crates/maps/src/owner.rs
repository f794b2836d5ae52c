//! Who holds a lock: a word that names a thread so that others can tell whether it still lives.
//!
//! Bits 0-21 are the thread id, 22-51 the time it started (clock ticks since boot, modulo 2^30), 52-63 a hash of its pid
//! namespace. A thread is *dead* when no thread has that id, when the thread that has it started at another time, or
//! when it is a zombie. A thread of another pid namespace is never held dead: nothing can be known about it.
//!
//! The word of the calling thread is cached; the cache is keyed by a page that the kernel wipes on fork, so a child
//! never acts in its parent's name.

use crate::mem::wiped_on_fork;
use rustix::process::{Pid, test_kill_process};
use std::cell::Cell;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The epoch of threads that have not asked yet: one that no word is made in.
static NO_EPOCH: AtomicU64 = AtomicU64::new(0);

/// A thread as a lock word names it; never zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner(pub(crate) u64);

const TID_BITS: u32 = 22;
const START_BITS: u32 = 30;

thread_local! {
    /// Where the epoch is, the epoch in which the word was made, and the word.
    static ME: Cell<(&'static AtomicU64, u64, u64)> = const { Cell::new((&NO_EPOCH, 1, 0)) };
}

impl Owner {
    /// The calling thread. Cost: two loads after the first call of a thread.
    #[inline(always)]
    pub(crate) fn me() -> Owner {
        let (now, epoch, word) = ME.get();
        if now.load(Relaxed) == epoch { Owner(word) } else { Owner::find_out() }
    }

    #[cold]
    fn find_out() -> Owner {
        let tid = rustix::thread::gettid().as_raw_nonzero().get() as u64;
        let start = stat_of("thread-self").map_or(0, |s| s.start);
        let word = Owner::new(tid, start, pid_namespace()).0;
        ME.set((epoch_word(), begin_epoch(), word));
        Owner(word)
    }

    fn new(tid: u64, start: u64, namespace: u64) -> Owner {
        let tid = tid & ((1 << TID_BITS) - 1);
        let start = start & ((1 << START_BITS) - 1);
        Owner(namespace << (TID_BITS + START_BITS) | start << TID_BITS | tid)
    }

    /// Thread id.
    pub(crate) fn tid(self) -> u32 {
        (self.0 & ((1 << TID_BITS) - 1)) as u32
    }

    fn start(self) -> u64 {
        self.0 >> TID_BITS & ((1 << START_BITS) - 1)
    }

    /// Whether the thread certainly no longer runs. Cost: one to three system calls.
    pub(crate) fn is_dead(self) -> bool {
        if self.0 >> (TID_BITS + START_BITS) != Owner::me().0 >> (TID_BITS + START_BITS) {
            return false;
        }
        let Some(pid) = Pid::from_raw(self.tid() as i32) else { return true };
        if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
            return true;
        }
        // It exists, or something with its id does. Where /proc does not tell, it is held alive.
        stat_of(&self.tid().to_string()).is_some_and(|s| {
            let reborn = self.start() != 0 && s.start & ((1 << START_BITS) - 1) != self.start();
            s.gone || reborn
        })
    }
}

struct Stat {
    /// Clock ticks after boot.
    start: u64,
    /// Zombie or being removed.
    gone: bool,
}

/// State and start time from `/proc/WHO/stat` (proc_pid_stat(5), fields 3 and 22).
fn stat_of(who: &str) -> Option<Stat> {
    let text = std::fs::read(format!("/proc/{who}/stat")).ok()?;
    let close = text.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let gone = matches!(fields.next()?, "Z" | "X" | "x");
    let start = fields.nth(18)?.parse().ok()?;
    Some(Stat { start, gone })
}

fn pid_namespace() -> u64 {
    let inode = std::fs::metadata("/proc/self/ns/pid").map_or(0, |m| m.ino());
    (inode ^ inode >> 12) & 0xfff
}

/// The epoch word: not zero in a process that has called `begin_epoch`, zero again in its children.
fn epoch_word() -> &'static AtomicU64 {
    static WORD: OnceLock<&'static AtomicU64> = OnceLock::new();
    static NEVER_WIPED: AtomicU64 = AtomicU64::new(0);
    WORD.get_or_init(|| wiped_on_fork().unwrap_or(&NEVER_WIPED))
}

fn current_epoch() -> u64 {
    epoch_word().load(Relaxed)
}

/// What tells this process from those that it was forked from.
pub(crate) fn epoch() -> u64 {
    Owner::me();
    current_epoch()
}

/// Starts an epoch that no ancestor had, unless another thread has just done so.
fn begin_epoch() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let fresh = (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64) | 1;
    epoch_word().compare_exchange(0, fresh, Relaxed, Relaxed).map_or_else(|seen| seen, |_| fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_are_not_dead() {
        assert!(!Owner::me().is_dead());
        assert_eq!(Owner::me(), Owner::me());
    }

    #[test]
    fn a_thread_that_ended_is_dead() {
        let ended = std::thread::spawn(Owner::me).join().unwrap();
        assert_ne!(ended, Owner::me());
        assert!(ended.is_dead());
    }

    #[test]
    fn same_id_started_at_another_time_is_dead() {
        let me = Owner::me();
        assert!(Owner(me.0 ^ 1 << TID_BITS).is_dead());
    }

    #[test]
    fn a_stranger_from_another_namespace_is_not_judged() {
        let me = Owner::me();
        assert!(!Owner(me.0 ^ 1 << (TID_BITS + START_BITS) ^ 1 << TID_BITS).is_dead());
    }
}
