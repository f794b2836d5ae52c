//! perf_event_open(2), its ioctls and its pages. Layouts: include/uapi/linux/perf_event.h.

use super::{done, last, owned};
use crate::door::{PerfEvent, RingMemory};
use skep_platform::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// `struct perf_event_attr`, its first 64 bytes and a little more (`PERF_ATTR_SIZE_VER1`).
#[repr(C)]
#[derive(Default)]
struct Attr {
    kind: u32,
    size: u32,
    config: u64,
    sample: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    bp_type: u32,
    config1: u64,
    config2: u64,
}

/// `disabled`, `freq` and `watermark` among the flag bits.
const DISABLED: u64 = 1;
const FREQ: u64 = 1 << 10;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOEXEC: u64 = 8;
const ENABLE: u64 = 0x2400;
const DISABLE: u64 = 0x2401;
const SET_BPF: u64 = 0x4004_2408;

pub(super) fn open(e: &PerfEvent<'_>) -> Result<OwnedFd, Errno> {
    let attr = Attr {
        kind: e.kind,
        size: size_of::<Attr>() as u32,
        config: e.config,
        sample: e.sample,
        sample_type: e.sample_type,
        flags: DISABLED | if e.freq { FREQ } else { 0 },
        wakeup: e.wakeup,
        config1: e.name.map_or(0, |n| n.as_ptr() as u64),
        config2: e.offset,
        ..Attr::default()
    };
    // SAFETY: the attribute and the name in it live through the call; `size` is the attribute's.
    owned(unsafe {
        libc::syscall(libc::SYS_perf_event_open, ptr::from_ref(&attr), e.pid, e.cpu, -1, CLOEXEC)
    })
}

pub(super) fn set_bpf(event: BorrowedFd<'_>, prog: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the ioctl takes a descriptor as its argument.
    done(unsafe { libc::ioctl(event.as_raw_fd(), SET_BPF, prog.as_raw_fd()) }.into())
}

pub(super) fn enable(event: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
    // SAFETY: the ioctl takes a number.
    done(unsafe { libc::ioctl(event.as_raw_fd(), if on { ENABLE } else { DISABLE }, 0) }.into())
}

/// A perf event's pages: one of positions, then the data.
#[derive(Debug)]
pub(super) struct PerfRing {
    base: *mut u8,
    page: usize,
    bytes: usize,
}

// SAFETY: the mapping belongs to this value alone; positions are touched by atomic operations, record bytes after the read
// of the position that says that they are written.
unsafe impl Send for PerfRing {}

/// `data_head` and `data_tail` in `struct perf_event_mmap_page`.
const HEAD: usize = 1024;
const TAIL: usize = 1032;

impl PerfRing {
    pub(super) fn map(event: BorrowedFd<'_>, pages: usize) -> Result<PerfRing, Errno> {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(4096) as usize;
        if !pages.is_power_of_two() {
            return Err(Errno::EINVAL);
        }
        let len = page * (pages + 1);
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let p = unsafe { libc::mmap(ptr::null_mut(), len, rights, libc::MAP_SHARED, event.as_raw_fd(), 0) };
        if p == libc::MAP_FAILED {
            return Err(last());
        }
        Ok(PerfRing { base: p.cast(), page, bytes: page * pages })
    }

    fn position(&self, at: usize) -> &AtomicU64 {
        // SAFETY: eight aligned bytes of the first page, which is mapped as long as `self` lives.
        unsafe { &*self.base.add(at).cast::<AtomicU64>() }
    }
}

impl RingMemory for PerfRing {
    fn consumer(&self) -> u64 {
        self.position(TAIL).load(Ordering::Acquire)
    }

    fn set_consumer(&mut self, at: u64) {
        self.position(TAIL).store(at, Ordering::Release);
    }

    fn producer(&self) -> u64 {
        self.position(HEAD).load(Ordering::Acquire)
    }

    fn word(&self, at: u64) -> u32 {
        let mut out = Vec::with_capacity(4);
        self.copy(at, 4, &mut out);
        out.try_into().map_or(0, u32::from_ne_bytes)
    }

    fn copy(&self, at: u64, len: usize, out: &mut Vec<u8>) {
        let len = len.min(self.bytes);
        let start = at as usize & (self.bytes - 1);
        let first = len.min(self.bytes - start);
        // SAFETY: both parts lie in the data pages, and the kernel does not write where the tail has not passed.
        unsafe {
            let data = self.base.add(self.page);
            out.extend_from_slice(std::slice::from_raw_parts(data.add(start), first));
            out.extend_from_slice(std::slice::from_raw_parts(data, len - first));
        }
    }
}

impl Drop for PerfRing {
    fn drop(&mut self) {
        // SAFETY: mapped with this length, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.base.cast(), self.page + self.bytes) };
    }
}
