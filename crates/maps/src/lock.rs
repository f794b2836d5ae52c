//! The write lock: one word in the map file that names its holder. Hash maps and ring buffers take theirs by way of
//! [`crate::bias`].
//!
//! Free is 0. A holder that died is noticed by whoever waits: the waiter takes the word over and learns whose it was, so
//! that it can mend what was left half-done. A holder that lives but does not let go (stopped, or of another pid
//! namespace, where its death cannot be proved) costs a waiter about a second ([`Patience`]); then the operation gives `EBUSY`,
//! as the kernel's bucket lock does when it cannot be had. Taking the lock twice in one thread gives `EBUSY` at once.

use crate::owner::Owner;
use skep_platform::Errno;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

/// Longest wait for a lock on a machine that has time for the waiter.
const PATIENCE: Duration = Duration::from_secs(1);
/// Least times that a waiter looks: where it hardly runs, the holder hardly does either, and both get longer.
const ENOUGH: u32 = 2000;

/// A wait for something that another thread does.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    started: Option<Instant>,
    round: u32,
}

impl Patience {
    /// Waits a little longer each time: spins, gives the CPU away, sleeps. `EBUSY` when it has been too long.
    pub(crate) fn wait(&mut self) -> Result<(), Errno> {
        let started = *self.started.get_or_insert_with(Instant::now);
        match self.round {
            0..100 => std::hint::spin_loop(),
            100..200 => std::thread::yield_now(),
            round => std::thread::sleep(Duration::from_micros(u64::from(round.min(400)) - 150)),
        }
        self.round = self.round.saturating_add(1);
        if self.round > ENOUGH && started.elapsed() > PATIENCE { Err(Errno::EBUSY) } else { Ok(()) }
    }

    /// Long enough for system calls to be worth their while.
    pub(crate) fn is_long(&self) -> bool {
        self.round >= 200
    }
}

/// A lock held; dropped, it is free.
#[derive(Debug)]
pub(crate) struct Guard<'m> {
    word: &'m AtomicU64,
    /// Holder that died and from whom the lock was taken.
    pub(crate) dead: Option<Owner>,
    /// What says that the holder is inside of the map that is its own, and what stood there before.
    inside: Option<(&'m AtomicU64, u64)>,
}

impl<'m> Guard<'m> {
    /// A lock of a map of the holder's own ([`crate::bias`]), whose word has been stored.
    #[inline(always)]
    pub(crate) fn inside(word: &'m AtomicU64, inside: &'m AtomicU64, before: u64) -> Guard<'m> {
        Guard { word, dead: None, inside: Some((inside, before)) }
    }

    /// The same lock, of a map of the holder's own.
    pub(crate) fn also_inside(mut self, inside: &'m AtomicU64, before: u64) -> Guard<'m> {
        self.inside = Some((inside, before));
        self
    }
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.word.store(0, Release);
        if let Some((inside, before)) = self.inside {
            inside.store(before, Release);
        }
    }
}

/// Takes the lock in `word` for the calling thread `me`. Cost: one compare-and-swap when it is free.
#[inline]
pub(crate) fn lock(word: &AtomicU64, me: Owner) -> Result<Guard<'_>, Errno> {
    match word.compare_exchange(0, me.0, Acquire, Relaxed) {
        Ok(_) => Ok(Guard { word, dead: None, inside: None }),
        Err(_) => wait(word, me),
    }
}

#[cold]
fn wait(word: &AtomicU64, me: Owner) -> Result<Guard<'_>, Errno> {
    let mut patience = Patience::default();
    loop {
        let seen = word.load(Relaxed);
        if seen == me.0 {
            return Err(Errno::EBUSY);
        }
        let dead = seen != 0 && patience.is_long() && Owner(seen).is_dead();
        if (seen == 0 || dead) && word.compare_exchange(seen, me.0, Acquire, Relaxed).is_ok() {
            return Ok(Guard { word, dead: dead.then_some(Owner(seen)), inside: None });
        }
        patience.wait()?;
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
