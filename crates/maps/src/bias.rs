//! Write locks of a map that one thread alone writes: taken and given back by plain stores.
//!
//! A locked instruction costs more than a look-up. So the first thread that writes a map has all its locks for itself: it says that
//! it is *inside*, and looks whether the map is still its own, with no barrier in between. Another thread that wants to write takes
//! the map away first: it says that the map is nobody's any more, has the kernel run a barrier on every thread (`membarrier`), and
//! waits until the owner is outside. From then on the owner sees that the map is no longer its own. After [`TERMS`] owners the
//! locks are everybody's, taken by compare-and-swap, for good. Where the kernel has no such barrier they are so from the beginning.
//!
//! Every owner has a word of its own to say that it is inside, in a place that no later owner gets ([`TERMS`]): one that was
//! interrupted just before it says so, and goes on when the map has long been another's, overwrites nothing.
//!
//! The words lie in the map file, and the barrier reaches other processes that have asked for it ([`prepare`]). Each lock's own word
//! names its holder all the same, so that what a dead holder left half-done is found where it is ([`crate::lock`]).

use crate::lock::{Guard, Patience, lock};
use crate::mem::Memory;
use crate::owner::{self, Owner};
use rustix::thread::{MembarrierCommand, membarrier};
use skep_platform::Errno;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU64, compiler_fence};

/// Where the words are in the header page, in a line of their own: the term, the lock of whoever changes it, and for each term
/// its owner and whether that one is inside.
pub(crate) const LINE: u64 = 192;
const TERM: u64 = LINE;
const MOVER: u64 = LINE + 8;
const OWNERS: u64 = LINE + 16;
const INSIDE: u64 = LINE + 24;

/// Owners that a map may have, one after the other: a map is often filled by one thread and then written by another.
const TERMS: u64 = 3;

/// Term of a map that nobody has written yet; those of the owners are 1 to [`TERMS`].
const NOBODY: u64 = 0;
/// Term of a map whose locks are everybody's.
const ALL: u64 = u64::MAX;
/// Term of a map that is being taken away from somebody.
const MOVING: u64 = u64::MAX - 1;

/// Epoch ([`owner::epoch`]) in which this process asked for barriers.
static PREPARED: AtomicU64 = AtomicU64::new(0);

/// Asks the kernel for barriers from others. For whoever makes or opens a map: the first call of a process is long once it has
/// several threads.
pub(crate) fn prepare() {
    let epoch = owner::epoch();
    if PREPARED.load(Relaxed) != epoch && membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok() {
        PREPARED.store(epoch, Relaxed);
    }
}

fn prepared() -> bool {
    PREPARED.load(Relaxed) == owner::epoch()
}

/// The words of a map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bias<'m>(pub(crate) &'m Memory);

impl<'m> Bias<'m> {
    #[inline(always)]
    fn term(self) -> &'m AtomicU64 {
        self.0.u64(TERM)
    }

    /// Owner of a term from 1 to [`TERMS`], and whether it is inside.
    #[inline(always)]
    fn of(self, term: u64) -> [&'m AtomicU64; 2] {
        [OWNERS, INSIDE].map(|first| self.0.u64(first + (term - 1) * 16))
    }

    /// Takes the lock in `word`, which is one of the map's and taken by this way alone. Cost: some loads and stores for the owner.
    #[inline(always)]
    pub(crate) fn lock(self, word: &'m AtomicU64, me: Owner) -> Result<Guard<'m>, Errno> {
        let term = self.term().load(Relaxed);
        if matches!(term, 1..=TERMS) {
            let [owner, inside] = self.of(term);
            if owner.load(Relaxed) == me.0 {
                let before = inside.load(Relaxed);
                inside.store(me.0, Relaxed);
                // The barrier of whoever takes the map away is between these two, or after both.
                compiler_fence(SeqCst);
                if self.term().load(Relaxed) == term && word.load(Relaxed) == 0 {
                    word.store(me.0, Relaxed);
                    compiler_fence(SeqCst);
                    return Ok(Guard::inside(word, inside, before));
                }
                inside.store(before, Release);
            }
        } else if term == ALL {
            return lock(word, me);
        }
        self.lock_slowly(word, me)
    }

    #[cold]
    #[inline(never)]
    fn lock_slowly(self, word: &'m AtomicU64, me: Owner) -> Result<Guard<'m>, Errno> {
        loop {
            // Who wants the map waits until this thread is outside: so it is inside for one more lock.
            let nested = (1..=TERMS).map(|t| self.of(t)[1]).find(|inside| inside.load(Relaxed) == me.0);
            let term = self.term().load(Acquire);
            let inside = match nested {
                Some(inside) => inside,
                None if term == ALL => return lock(word, me),
                None if matches!(term, 1..=TERMS) && self.of(term)[0].load(Relaxed) == me.0 => {
                    self.of(term)[1]
                }
                None => {
                    self.settle(me)?;
                    continue;
                }
            };
            let before = inside.load(Relaxed);
            inside.store(me.0, Relaxed);
            compiler_fence(SeqCst);
            if nested.is_some() || self.term().load(Relaxed) == term {
                // Taken already by this thread, or by one that died.
                return match lock(word, me) {
                    Ok(guard) => Ok(guard.also_inside(inside, before)),
                    Err(e) => {
                        inside.store(before, Release);
                        Err(e)
                    }
                };
            }
            inside.store(before, Release);
        }
    }

    /// Makes the map this thread's own, or everybody's.
    fn settle(self, me: Owner) -> Result<(), Errno> {
        let _held = lock(self.0.u64(MOVER), me)?;
        match self.term().load(Acquire) {
            ALL => return Ok(()),
            NOBODY => {}
            term @ 1..=TERMS if self.of(term)[0].load(Relaxed) == me.0 => return Ok(()),
            before => {
                self.term().store(MOVING, Relaxed);
                membarrier(MembarrierCommand::GlobalExpedited).map_err(|e| {
                    self.term().store(before, Relaxed);
                    crate::mem::errno(e)
                })?;
                (1..=TERMS).try_for_each(|t| wait_outside(self.of(t)[1]))?;
            }
        }
        // The first place that nobody had.
        let free = (1..=TERMS).find(|t| self.of(*t)[0].load(Relaxed) == 0).filter(|_| prepared());
        if let Some(term) = free {
            self.of(term)[0].store(me.0, Relaxed);
        }
        self.term().store(free.unwrap_or(ALL), Release);
        Ok(())
    }
}

/// Waits until an owner is outside, or dead.
fn wait_outside(inside: &AtomicU64) -> Result<(), Errno> {
    let mut patience = Patience::default();
    loop {
        match inside.load(Acquire) {
            0 => return Ok(()),
            who if patience.is_long() && Owner(who).is_dead() => {
                inside.store(0, Relaxed);
                return Ok(());
            }
            _ => patience.wait()?,
        }
    }
}

/// Goes inside without any lock, for a write that cannot be left half-done: the word to [`leave`] by; `None` for threads whose the
/// map is not. `word` gives the n-th word of the map's [`LINE`]; the caller has no lock of the map.
#[inline(always)]
pub(crate) fn enter<'m>(word: impl Fn(u64) -> &'m AtomicU64, me: Owner) -> Option<&'m AtomicU64> {
    let at = |off: u64| word((off - LINE) / 8);
    let term = at(TERM).load(Relaxed);
    if !matches!(term, 1..=TERMS) || at(OWNERS + (term - 1) * 16).load(Relaxed) != me.0 {
        return None;
    }
    let inside = at(INSIDE + (term - 1) * 16);
    inside.store(me.0, Relaxed);
    compiler_fence(SeqCst);
    if at(TERM).load(Relaxed) == term {
        return Some(inside);
    }
    leave(inside);
    None
}

/// Goes outside again.
#[inline(always)]
pub(crate) fn leave(inside: &AtomicU64) {
    inside.store(0, Release);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use std::sync::mpsc::channel;

    /// A word of the map that is not of this module.
    const WORD: u64 = 3072;
    const COUNT: u64 = 3080;

    fn memory() -> Memory {
        let fd = memfd_create("bias", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&fd, 4096).unwrap();
        prepare();
        Memory::map(fd, 4096, None).unwrap()
    }

    fn add(mem: &Memory) {
        let _held = Bias(mem).lock(mem.u64(WORD), Owner::me()).unwrap();
        let n = mem.u64(COUNT).load(Relaxed);
        std::hint::spin_loop();
        mem.u64(COUNT).store(n + 1, Relaxed);
    }

    /// As `add`, without a lock while the map is the thread's own.
    fn add_shortly(mem: &Memory) {
        let Some(inside) = enter(|n| mem.u64(LINE + n * 8), Owner::me()) else { return add(mem) };
        let n = mem.u64(COUNT).load(Relaxed);
        std::hint::spin_loop();
        mem.u64(COUNT).store(n + 1, Relaxed);
        leave(inside);
    }

    #[test]
    fn no_addition_of_any_thread_is_lost() {
        for round in 0..20 {
            let (mem, add) = (memory(), if round % 2 == 0 { add } else { add_shortly });
            add(&mem);
            std::thread::scope(|s| {
                for _ in 0..4 {
                    s.spawn(|| (0..20_000).for_each(|_| add(&mem)));
                }
            });
            assert_eq!(mem.u64(COUNT).load(Relaxed), 80_001);
        }
    }

    #[test]
    fn threads_take_turns_and_then_share() {
        let mem = memory();
        add(&mem);
        assert_eq!(Bias(&mem).of(1)[0].load(Relaxed), Owner::me().0);
        for turn in 2..=2 * TERMS {
            std::thread::scope(|s| s.spawn(|| (0..10).for_each(|_| add(&mem))).join().unwrap());
            let term = mem.u64(TERM).load(Relaxed);
            assert_eq!(term, if turn <= TERMS { turn } else { ALL });
        }
        assert_eq!(mem.u64(COUNT).load(Relaxed), 1 + 10 * (2 * TERMS - 1));
        assert!((1..=TERMS).all(|t| Bias(&mem).of(t)[1].load(Relaxed) == 0));
    }

    /// The other thread waits for the whole section, also when it wants a second lock meanwhile.
    #[test]
    fn a_section_ends_before_the_map_moves() {
        let mem = memory();
        let outer = Bias(&mem).lock(mem.u64(WORD), Owner::me()).unwrap();
        let (sent, got) = channel();
        std::thread::scope(|s| {
            s.spawn(|| {
                sent.send(()).unwrap();
                add(&mem);
            });
            got.recv().unwrap();
            while mem.u64(TERM).load(Relaxed) != MOVING {
                std::thread::yield_now();
            }
            let inner = Bias(&mem).lock(mem.u64(WORD + 16), Owner::me()).unwrap();
            assert_eq!(mem.u64(COUNT).load(Relaxed), 0);
            assert!(Bias(&mem).lock(mem.u64(WORD), Owner::me()).is_err(), "taken twice");
            drop(inner);
            assert_eq!(mem.u64(COUNT).load(Relaxed), 0);
            drop(outer);
        });
        assert_eq!(mem.u64(COUNT).load(Relaxed), 1);
    }

    /// The first owner says that it is inside when the map has long been the third one's, which is inside: that stays so.
    #[test]
    fn a_late_owner_overwrites_nothing() {
        let mem = memory();
        add(&mem);
        let late = Owner::me();
        std::thread::scope(|s| s.spawn(|| add(&mem)).join().unwrap());
        std::thread::scope(|s| {
            let third = || {
                let held = Bias(&mem).lock(mem.u64(WORD), Owner::me()).unwrap();
                let [_, inside] = Bias(&mem).of(1);
                inside.store(late.0, Relaxed);
                inside.store(0, Relaxed);
                assert_eq!(Bias(&mem).of(3).map(|w| w.load(Relaxed)), [Owner::me().0; 2]);
                drop(held);
            };
            s.spawn(third).join().unwrap();
        });
    }

    #[test]
    fn a_dead_owner_is_succeeded_and_named() {
        let mem = memory();
        let dead = std::thread::scope(|s| {
            let die = || {
                std::mem::forget(Bias(&mem).lock(mem.u64(WORD), Owner::me()).unwrap());
                Owner::me()
            };
            s.spawn(die).join().unwrap()
        });
        let held = Bias(&mem).lock(mem.u64(WORD), Owner::me()).unwrap();
        assert_eq!(held.dead, Some(dead));
        drop(held);
        assert_eq!([mem.u64(WORD), Bias(&mem).of(1)[1]].map(|w| w.load(Relaxed)), [0, 0]);
        assert_eq!(Bias(&mem).of(2).map(|w| w.load(Relaxed)), [Owner::me().0, 0]);
    }
}
