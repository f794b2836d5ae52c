//! The write lock: one word in the map file that names its holder.
//!
//! Free is 0. A holder that died is noticed by whoever waits: the waiter takes the word over and learns whose it was, so
//! that it can mend what was left half-done. A holder that lives but does not let go (stopped, or of another pid
//! namespace, where its death cannot be proved) costs a waiter at most [`PATIENCE`]; then the operation gives `EBUSY`,
//! as the kernel's bucket lock does when it cannot be had. Taking the lock twice in one thread gives `EBUSY` at once.

use crate::owner::Owner;
use skep_platform::Errno;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

/// Longest wait for a lock.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// A lock held; dropped, it is free.
#[derive(Debug)]
pub(crate) struct Guard<'m> {
    word: &'m AtomicU64,
    /// Holder that died and from whom the lock was taken.
    pub(crate) dead: Option<Owner>,
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.word.store(0, Release);
    }
}

/// Takes the lock in `word` for the calling thread `me`. Cost: one compare-and-swap when it is free.
#[inline]
pub(crate) fn lock(word: &AtomicU64, me: Owner) -> Result<Guard<'_>, Errno> {
    match word.compare_exchange(0, me.0, Acquire, Relaxed) {
        Ok(_) => Ok(Guard { word, dead: None }),
        Err(_) => wait(word, me),
    }
}

#[cold]
fn wait(word: &AtomicU64, me: Owner) -> Result<Guard<'_>, Errno> {
    let mut started = None;
    let mut round = 0u32;
    loop {
        let seen = word.load(Relaxed);
        if seen == me.0 {
            return Err(Errno::EBUSY);
        }
        let dead = seen != 0 && round >= 200 && Owner(seen).is_dead();
        if (seen == 0 || dead) && word.compare_exchange(seen, me.0, Acquire, Relaxed).is_ok() {
            return Ok(Guard { word, dead: dead.then_some(Owner(seen)) });
        }
        if started.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return Err(Errno::EBUSY);
        }
        pause(round);
        round = round.saturating_add(1);
    }
}

/// Waits a little longer each round: spin, give the CPU away, sleep.
pub(crate) fn pause(round: u32) {
    match round {
        0..100 => std::hint::spin_loop(),
        100..200 => std::thread::yield_now(),
        _ => std::thread::sleep(Duration::from_micros(u64::from(round.min(400)) - 150)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_holder_is_named_and_succeeded() {
        let word = AtomicU64::new(std::thread::spawn(Owner::me).join().unwrap().0);
        let was = word.load(Relaxed);
        let guard = lock(&word, Owner::me()).unwrap();
        assert_eq!(guard.dead, Some(Owner(was)));
        drop(guard);
        assert_eq!(word.load(Relaxed), 0);
    }

    #[test]
    fn taking_it_twice_is_refused_at_once() {
        let word = AtomicU64::new(0);
        let _held = lock(&word, Owner::me()).unwrap();
        let before = Instant::now();
        assert_eq!(lock(&word, Owner::me()).unwrap_err(), Errno::EBUSY);
        assert!(before.elapsed() < PATIENCE / 2);
    }

    #[test]
    fn a_living_holder_costs_a_bounded_wait() {
        let word = AtomicU64::new(0);
        let held = lock(&word, Owner::me()).unwrap();
        let got = std::thread::scope(|s| s.spawn(|| lock(&word, Owner::me()).map(drop)).join().unwrap());
        assert_eq!(got, Err(Errno::EBUSY));
        drop(held);
    }
}
