//! epoll(7), signalfd(2) and timerfd_create(2): sleeping until something is there.

use super::{done, last, owned};
use skep_platform::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

pub(crate) fn epoll() -> Result<OwnedFd, Errno> {
    // SAFETY: makes a descriptor.
    owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }.into())
}

pub(crate) fn epoll_add(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, token: u64) -> Result<(), Errno> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
    // SAFETY: the event lives through the call.
    done(
        unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event) }
            .into(),
    )
}

/// Tokens of what is ready; none when the time is over. A negative time waits for ever.
pub(crate) fn epoll_wait(epoll: BorrowedFd<'_>, millis: i32) -> Result<Vec<u64>, Errno> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
    // SAFETY: the array and its length.
    let n = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), events.len() as i32, millis) };
    if n < 0 {
        return match last() {
            Errno::EINTR => Ok(Vec::new()),
            e => Err(e),
        };
    }
    Ok(events[..n as usize].iter().map(|e| e.u64).collect())
}

/// A descriptor that becomes readable when this process is asked to end (SIGINT, SIGTERM), instead of being ended.
pub(crate) fn interrupts() -> Result<OwnedFd, Errno> {
    // SAFETY: a set of signals is plain bits, and `sigemptyset` fills it in.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is a live value; the signals' numbers are valid.
    unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
    }
    // SAFETY: changes the mask of this thread; threads made later inherit it.
    let n = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
    if n != 0 {
        return Err(Errno(n));
    }
    // SAFETY: makes a descriptor for the set.
    owned(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) }.into())
}

/// A descriptor that becomes readable every so many milliseconds.
pub(crate) fn ticks(millis: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: makes a descriptor.
    let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
    let fd = owned(fd.into())?;
    let each =
        libc::timespec { tv_sec: i64::from(millis / 1000), tv_nsec: i64::from(millis % 1000) * 1_000_000 };
    let spec = libc::itimerspec { it_interval: each, it_value: each };
    // SAFETY: the specification lives through the call.
    done(unsafe { libc::timerfd_settime(fd.as_raw_fd(), 0, &raw const spec, ptr::null_mut()) }.into())?;
    Ok(fd)
}

/// Takes what made a descriptor readable.
pub(crate) fn drain(fd: BorrowedFd<'_>) {
    let mut bytes = [0u8; 512];
    // SAFETY: a buffer and its length. The descriptor does not block.
    unsafe { libc::read(fd.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
}
