//! Waiting for several things at once, asleep: records in buffers, the request to end, the next second.

use crate::raw::wait;
use skep_platform::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Something that was added under this number is readable.
    Ready(u64),
    /// The process was asked to end: SIGINT or SIGTERM.
    Interrupt,
    /// The time between ticks is over.
    Tick,
}

const INTERRUPT: u64 = u64::MAX;
const TICK: u64 = u64::MAX - 1;

/// Sleeps in epoll_wait(2) until something happens.
///
/// While it lives, SIGINT and SIGTERM are events rather than the end, in the thread that made it.
#[derive(Debug)]
pub struct Waiter {
    epoll: OwnedFd,
    interrupts: Option<OwnedFd>,
    ticks: Option<OwnedFd>,
}

impl Waiter {
    /// Waits for nothing yet.
    ///
    /// # Errors
    /// The system's, such as too many open files.
    pub fn new() -> Result<Waiter, Errno> {
        Ok(Waiter { epoll: wait::epoll()?, interrupts: None, ticks: None })
    }

    /// Waits for the request to end, too. Call it before threads are made.
    ///
    /// # Errors
    /// As [`Waiter::new`].
    pub fn with_interrupts(mut self) -> Result<Waiter, Errno> {
        let fd = wait::interrupts()?;
        wait::epoll_add(self.epoll.as_fd(), fd.as_fd(), INTERRUPT)?;
        self.interrupts = Some(fd);
        Ok(self)
    }

    /// Ticks every so many milliseconds.
    ///
    /// # Errors
    /// As [`Waiter::new`].
    pub fn with_ticks(mut self, millis: u32) -> Result<Waiter, Errno> {
        let fd = wait::ticks(millis)?;
        wait::epoll_add(self.epoll.as_fd(), fd.as_fd(), TICK)?;
        self.ticks = Some(fd);
        Ok(self)
    }

    /// Waits for a descriptor, which is named by `number` (below 2^64 - 2) afterwards. The caller keeps it open.
    ///
    /// # Errors
    /// `EPERM` for descriptors that are always readable, such as files.
    pub fn add(&self, fd: BorrowedFd<'_>, number: u64) -> Result<(), Errno> {
        wait::epoll_add(self.epoll.as_fd(), fd, number)
    }

    /// Sleeps until something happens, at most so many milliseconds (`None`: for ever).
    ///
    /// # Errors
    /// The system's; a signal is none.
    pub fn wait(&self, millis: Option<u32>) -> Result<Vec<Event>, Errno> {
        let millis = millis.map_or(-1, |m| m.min(i32::MAX as u32) as i32);
        let tokens = wait::epoll_wait(self.epoll.as_fd(), millis)?;
        let event = |token| match (token, &self.interrupts, &self.ticks) {
            (INTERRUPT, Some(fd), _) => {
                wait::drain(fd.as_fd());
                Event::Interrupt
            }
            (TICK, _, Some(fd)) => {
                wait::drain(fd.as_fd());
                Event::Tick
            }
            (n, ..) => Event::Ready(n),
        };
        Ok(tokens.into_iter().map(event).collect())
    }
}
