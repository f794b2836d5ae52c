//! Memory of a user ring buffer: the kernel's page with the consumer's position, which user space may only read; the producer's page and
//! the data behind it, mapped twice so that no record wraps, which user space writes.

use crate::door::UserRingMemory;
use skep_platform::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The mappings.
#[derive(Debug)]
pub(super) struct UserRing {
    consumer: *const u8,
    producer: *mut u8,
    page: usize,
    /// Bytes of data, a power of two.
    bytes: usize,
}

// SAFETY: the mappings belong to this value alone, and its methods touch the positions by atomic operations and the data through
// `&mut self`.
unsafe impl Send for UserRing {}

impl UserRing {
    pub(super) fn map(fd: BorrowedFd<'_>, bytes: usize) -> Result<UserRing, Errno> {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(4096) as usize;
        if !bytes.is_power_of_two() || bytes < page {
            return Err(Errno::EINVAL);
        }
        let shared = |len, rights, at: usize| {
            // SAFETY: a fresh mapping at an address of the kernel's choice.
            let p = unsafe {
                libc::mmap(ptr::null_mut(), len, rights, libc::MAP_SHARED, fd.as_raw_fd(), at as libc::off_t)
            };
            if p == libc::MAP_FAILED { Err(super::last()) } else { Ok(p.cast::<u8>()) }
        };
        let consumer = shared(page, libc::PROT_READ, 0)?;
        match shared(page + 2 * bytes, libc::PROT_READ | libc::PROT_WRITE, page) {
            Ok(producer) => Ok(UserRing { consumer, producer, page, bytes }),
            Err(e) => {
                // SAFETY: mapped above and given to nobody.
                unsafe { libc::munmap(consumer.cast(), page) };
                Err(e)
            }
        }
    }
}

impl UserRingMemory for UserRing {
    fn consumer(&self) -> u64 {
        // SAFETY: the first eight bytes of a page that is mapped as long as `self` lives; only read.
        unsafe { &*self.consumer.cast::<AtomicU64>() }.load(Ordering::Acquire)
    }

    fn producer(&self) -> u64 {
        // SAFETY: as in `consumer`, of the producer's page.
        unsafe { &*self.producer.cast::<AtomicU64>() }.load(Ordering::Acquire)
    }

    fn set_producer(&mut self, at: u64) {
        // SAFETY: as in `producer`; the page may be written.
        unsafe { &*self.producer.cast::<AtomicU64>() }.store(at, Ordering::Release);
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        let (from, len) = (self.page + (at as usize & (self.bytes - 1)), bytes.len().min(self.bytes));
        // SAFETY: from any offset into the first copy of the data on `self.bytes` bytes are mapped and may be written, and the source
        // is memory of this process that is not part of the mapping.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.producer.add(from), len) };
    }
}

impl Drop for UserRing {
    fn drop(&mut self) {
        // SAFETY: both were mapped with these lengths, and no reference into them outlives `self`.
        unsafe {
            libc::munmap(self.consumer.cast_mut().cast(), self.page);
            libc::munmap(self.producer.cast(), self.page + 2 * self.bytes);
        }
    }
}
