//! Write locks of a map that one thread alone writes: taken and given back by plain stores.
//!
//! A locked instruction costs more than a look-up. So the first thread that writes a map has all its locks for itself: it says that
//! it is *inside*, and looks whether the map is still its own, with no barrier in between. Another thread that wants to write takes
//! the map away first: it clears the owner's word, has the kernel run a barrier on every thread (`membarrier`), and waits until the
//! owner is outside. From then on the owner sees that the map is no longer its own. After [`MOVES`] such moves the locks are
//! everybody's, taken by compare-and-swap, for good. Where the kernel has no such barrier they are so from the beginning.
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

/// Where the words are in the header page, in a line of their own.
const OWNER: u64 = 192;
const INSIDE: u64 = OWNER + 8;
const MOVER: u64 = OWNER + 16;
const MOVED: u64 = OWNER + 24;

/// Owner of a map that nobody has written yet.
const NOBODY: u64 = 0;
/// Owner of a map whose locks are everybody's.
const ALL: u64 = u64::MAX;
/// Owner of a map that is being taken away from somebody.
const MOVING: u64 = u64::MAX - 1;

/// Times that a map may get another owner: a map is often filled by one thread and then written by another.
const MOVES: u64 = 4;

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
    fn owner(self) -> &'m AtomicU64 {
        self.0.u64(OWNER)
    }

    #[inline(always)]
    fn inside(self) -> &'m AtomicU64 {
        self.0.u64(INSIDE)
    }

    /// Addresses of the words that say whose the map is, and that the owner is inside: for [`enter`].
    pub(crate) fn words(self) -> [u64; 2] {
        [OWNER, INSIDE].map(|off| self.0.addr(off))
    }

    /// Takes the lock in `word`, which is one of the map's and taken by this way alone. Cost: some loads and stores for the owner.
    #[inline(always)]
    pub(crate) fn lock(self, word: &'m AtomicU64, me: Owner) -> Result<Guard<'m>, Errno> {
        match self.owner().load(Relaxed) {
            own if own == me.0 => {
                let before = self.inside().load(Relaxed);
                self.inside().store(me.0, Relaxed);
                // The barrier of whoever takes the map away is between these two, or after both.
                compiler_fence(SeqCst);
                if self.owner().load(Relaxed) == me.0 && word.load(Relaxed) == 0 {
                    word.store(me.0, Relaxed);
                    compiler_fence(SeqCst);
                    return Ok(Guard::inside(word, self.inside(), before));
                }
                self.inside().store(before, Release);
                self.lock_slowly(word, me)
            }
            ALL => lock(word, me),
            _ => self.lock_slowly(word, me),
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_slowly(self, word: &'m AtomicU64, me: Owner) -> Result<Guard<'m>, Errno> {
        loop {
            let before = self.inside().load(Relaxed);
            // Who wants the map waits until this thread is outside: so it is inside for one more lock.
            let nested = before == me.0;
            let owner = self.owner().load(Acquire);
            if !nested && owner == ALL {
                return lock(word, me);
            }
            if !nested && owner != me.0 {
                self.settle(me)?;
                continue;
            }
            self.inside().store(me.0, Relaxed);
            compiler_fence(SeqCst);
            if nested || self.owner().load(Relaxed) == me.0 {
                // Taken already by this thread, or by one that died.
                return match lock(word, me) {
                    Ok(guard) => Ok(guard.also_inside(self.inside(), before)),
                    Err(e) => {
                        self.inside().store(before, Release);
                        Err(e)
                    }
                };
            }
            self.inside().store(before, Release);
        }
    }

    /// Makes the map this thread's own, or everybody's.
    fn settle(self, me: Owner) -> Result<(), Errno> {
        let _held = lock(self.0.u64(MOVER), me)?;
        let (owner, moved) = (self.owner(), self.0.u64(MOVED));
        match owner.load(Acquire) {
            ALL => return Ok(()),
            own if own == me.0 => return Ok(()),
            NOBODY => {}
            _ => {
                owner.store(MOVING, Relaxed);
                membarrier(MembarrierCommand::GlobalExpedited).map_err(crate::mem::errno)?;
                let mut patience = Patience::default();
                loop {
                    let inside = self.inside().load(Acquire);
                    if inside == 0 {
                        break;
                    }
                    if patience.is_long() && Owner(inside).is_dead() {
                        self.inside().store(0, Relaxed);
                        break;
                    }
                    patience.wait()?;
                }
                moved.store(moved.load(Relaxed) + 1, Relaxed);
            }
        }
        let own = moved.load(Relaxed) <= MOVES && prepared();
        owner.store(if own { me.0 } else { ALL }, Release);
        Ok(())
    }
}

/// Goes inside without any lock, for a write that cannot be left half-done; `false` for threads whose the map is not. The words are
/// those of [`Bias::words`]; the caller has no lock of the map.
#[inline(always)]
pub(crate) fn enter(owner: &AtomicU64, inside: &AtomicU64, me: Owner) -> bool {
    if owner.load(Relaxed) != me.0 {
        return false;
    }
    inside.store(me.0, Relaxed);
    compiler_fence(SeqCst);
    let own = owner.load(Relaxed) == me.0;
    if !own {
        leave(inside);
    }
    own
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
        let (owner, inside) = (mem.u64(OWNER), mem.u64(INSIDE));
        if !enter(owner, inside, Owner::me()) {
            return add(mem);
        }
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
        assert_eq!(mem.u64(OWNER).load(Relaxed), Owner::me().0);
        for turn in 1..=2 * MOVES {
            std::thread::scope(|s| s.spawn(|| (0..10).for_each(|_| add(&mem))).join().unwrap());
            let owner = mem.u64(OWNER).load(Relaxed);
            assert_eq!(owner == ALL, turn > MOVES, "turn {turn}");
        }
        assert_eq!(mem.u64(COUNT).load(Relaxed), 1 + 20 * MOVES);
        assert_eq!(mem.u64(INSIDE).load(Relaxed), 0);
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
            while mem.u64(OWNER).load(Relaxed) != MOVING {
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
        assert_eq!([mem.u64(WORD), mem.u64(INSIDE)].map(|w| w.load(Relaxed)), [0, 0]);
        assert_eq!(mem.u64(OWNER).load(Relaxed), Owner::me().0);
    }
}
