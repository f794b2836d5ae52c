//! The memory of a map: a file mapped shared, reached by offset. The only `unsafe` code of this crate.
//!
//! An offset is checked against the mapping at every access; one that lies outside is a bug of this crate (indexes that
//! come out of the file itself are checked by those who read them), so it panics. All accesses are atomic: words that
//! programs and other processes write at the same time are torn at most between words, never undefined.
//!
//! Always holds: `base .. base + len` is mapped readable and writable for as long as the `Memory` lives; offsets are
//! relative to `base`, which is page-aligned.

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use skep_platform::Errno;
use std::ffi::c_void;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Bytes of a page, and of every part of a map file that has to start on one.
pub(crate) const PAGE: u64 = 4096;

/// A shared mapping of a whole map file.
#[derive(Debug)]
pub(crate) struct Memory {
    base: NonNull<u8>,
    len: usize,
    file: OwnedFd,
}

// SAFETY: the mapping belongs to the value and moves with it; every access through it is atomic.
unsafe impl Send for Memory {}
// SAFETY: as above; no method hands out a plain reference into the mapping.
unsafe impl Sync for Memory {}

/// The error number of a failed system call.
pub(crate) fn errno(e: rustix::io::Errno) -> Errno {
    Errno(e.raw_os_error())
}

impl Memory {
    /// Maps `file_len` bytes of `file`; with `repeat_from`, the bytes from there to the end appear a second time right
    /// after the end, so that what wraps around is contiguous. Lengths are multiples of the page size.
    pub(crate) fn map(file: OwnedFd, file_len: u64, repeat_from: Option<u64>) -> Result<Memory, Errno> {
        let repeated = repeat_from.map_or(0, |from| file_len.saturating_sub(from));
        let total = file_len.checked_add(repeated).ok_or(Errno::E2BIG)?;
        if file_len == 0 || !file_len.is_multiple_of(PAGE) || !repeated.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        let total = usize::try_from(total).map_err(|_| Errno::E2BIG)?;
        // SAFETY: a fresh mapping at an address that the kernel chooses touches nothing that exists.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                total,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }
        .map_err(errno)?;
        // From here on the value owns the reservation and unmaps it when a step below fails.
        let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::ENOMEM)?;
        let memory = Memory { base, len: total, file };
        memory.place(0, file_len, 0)?;
        if let Some(from) = repeat_from {
            memory.place(file_len, repeated, from)?;
        }
        Ok(memory)
    }

    /// Puts `len` bytes of the file from `file_off` at offset `at` of the reservation.
    fn place(&self, at: u64, len: u64, file_off: u64) -> Result<(), Errno> {
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::FIXED);
        let ptr = self.ptr(at, len as usize).cast::<c_void>();
        // SAFETY: `ptr` checked that the range lies in the reservation that this value owns, and nothing else uses it yet.
        unsafe { mmap(ptr, len as usize, prot, flags, &self.file, file_off) }.map_err(errno)?;
        Ok(())
    }

    /// The map file.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Native address of an offset.
    pub(crate) fn addr(&self, off: u64) -> u64 {
        self.base.as_ptr() as u64 + off
    }

    /// Offset of a native address, when it lies in the mapping.
    pub(crate) fn offset_of(&self, addr: u64) -> Option<u64> {
        addr.checked_sub(self.base.as_ptr() as u64).filter(|off| *off < self.len as u64)
    }

    /// Pointer to `len` bytes at `off`.
    #[inline(always)]
    fn ptr(&self, off: u64, len: usize) -> *mut u8 {
        match (off as usize).checked_add(len) {
            Some(end) if end <= self.len => {}
            _ => outside(off, len),
        }
        // SAFETY: `off + len <= self.len`, so the pointer stays inside the mapping.
        unsafe { self.base.as_ptr().add(off as usize) }
    }

    /// Says that the line at `off` will be written soon. Costs nothing that anybody waits for.
    #[inline(always)]
    pub(crate) fn prefetch(&self, off: u64) {
        let at = self.ptr(off, 1);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint that touches nothing; every x86-64 processor takes it.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(at.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }

    /// The byte at `off`.
    #[inline(always)]
    pub(crate) fn u8(&self, off: u64) -> &AtomicU8 {
        // SAFETY: `ptr` checked the bounds; the mapping lives as long as `self`.
        unsafe { AtomicU8::from_ptr(self.ptr(off, 1)) }
    }

    /// The 16-bit word at `off`.
    #[inline(always)]
    pub(crate) fn u16(&self, off: u64) -> &AtomicU16 {
        aligned(off, 2);
        // SAFETY: bounds and alignment are checked (`base` is page-aligned); the mapping lives as long as `self`.
        unsafe { AtomicU16::from_ptr(self.ptr(off, 2).cast()) }
    }

    /// The 32-bit word at `off`.
    #[inline(always)]
    pub(crate) fn u32(&self, off: u64) -> &AtomicU32 {
        aligned(off, 4);
        // SAFETY: as in `u16`.
        unsafe { AtomicU32::from_ptr(self.ptr(off, 4).cast()) }
    }

    /// The 64-bit word at `off`.
    #[inline(always)]
    pub(crate) fn u64(&self, off: u64) -> &AtomicU64 {
        aligned(off, 8);
        // SAFETY: as in `u16`.
        unsafe { AtomicU64::from_ptr(self.ptr(off, 8).cast()) }
    }

    /// `count` 64-bit words at `off`.
    #[inline]
    pub(crate) fn words(&self, off: u64, count: usize) -> &[AtomicU64] {
        aligned(off, 8);
        let ptr = self.ptr(off, count.saturating_mul(8));
        // SAFETY: bounds and alignment are checked, and atomics may be shared; the mapping lives as long as `self`.
        unsafe { std::slice::from_raw_parts(ptr.cast::<AtomicU64>(), count) }
    }

    /// Writes `bytes` at `off` (a multiple of 8), zero-padded to a whole number of words.
    #[inline]
    pub(crate) fn write(&self, off: u64, bytes: &[u8]) {
        let words = self.words(off, bytes.len().div_ceil(8));
        for (word, chunk) in words.iter().zip(bytes.chunks(8)) {
            word.store(load_word(chunk), Relaxed);
        }
    }

    /// Writes exactly `bytes` at any offset.
    pub(crate) fn write_bytes(&self, off: u64, bytes: &[u8]) {
        for (at, byte) in (off..).zip(bytes) {
            self.u8(at).store(*byte, Relaxed);
        }
    }

    /// Reads `out.len()` bytes at `off` (a multiple of 8).
    #[inline]
    pub(crate) fn read(&self, off: u64, out: &mut [u8]) {
        let words = self.words(off, out.len().div_ceil(8));
        for (word, chunk) in words.iter().zip(out.chunks_mut(8)) {
            let bytes = word.load(Relaxed).to_ne_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    /// Whether the zero-padded words at `off` (a multiple of 8) are `bytes`.
    #[inline(always)]
    pub(crate) fn equals(&self, off: u64, bytes: &[u8]) -> bool {
        let words = self.words(off, bytes.len().div_ceil(8));
        let whole = bytes.chunks_exact(8);
        let rest = whole.remainder();
        let last = words.len().saturating_sub(1);
        let same = words.iter().zip(whole).all(|(word, chunk)| word.load(Relaxed) == load_word(chunk));
        same && (rest.is_empty() || words[last].load(Relaxed) == load_word(rest))
    }

    /// Zeroes `len` bytes (rounded up to 8) at `off`.
    pub(crate) fn zero(&self, off: u64, len: usize) {
        for word in self.words(off, len.div_ceil(8)) {
            word.store(0, Relaxed);
        }
    }

    /// Appends `len` bytes at `off` (a multiple of 8) to `out`.
    pub(crate) fn append(&self, off: u64, len: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + len, 0);
        self.read(off, &mut out[start..]);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the range is the reservation made in `map`; accessors borrow `self`, so none of theirs is left.
        // Nothing can be done about a failure.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Up to 8 bytes as a word, padded with zeroes.
#[inline(always)]
pub(crate) fn load_word(bytes: &[u8]) -> u64 {
    if let Some(word) = bytes.first_chunk::<8>() {
        return u64::from_ne_bytes(*word);
    }
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // Two overlapping halves; a copy of a length not known at compile time would be a call.
        (Some(low), Some(high)) if cfg!(target_endian = "little") => {
            let (low, high) = (u32::from_ne_bytes(*low), u32::from_ne_bytes(*high));
            u64::from(low) | u64::from(high) << ((bytes.len() - 4) * 8)
        }
        _ => {
            let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
            u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(byte))
        }
    }
}

#[inline(always)]
fn aligned(off: u64, to: u64) {
    if off & (to - 1) != 0 {
        outside(off, to as usize);
    }
}

#[cold]
#[inline(never)]
fn outside(off: u64, len: usize) -> ! {
    panic!("map memory: {len} bytes at offset {off:#x} lie outside the mapping or are misaligned");
}

/// A word that is zero in every new process: the kernel wipes its page on fork. `None` where it cannot.
pub(crate) fn wiped_on_fork() -> Option<&'static AtomicU64> {
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a fresh private mapping at an address that the kernel chooses; advice on it changes nothing that exists.
    let page = unsafe {
        let page = mmap_anonymous(std::ptr::null_mut(), PAGE as usize, prot, MapFlags::PRIVATE).ok()?;
        if madvise(page, PAGE as usize, Advice::LinuxWipeOnFork).is_err() {
            let _ = munmap(page, PAGE as usize);
            return None;
        }
        page
    };
    // SAFETY: the page is aligned, readable, writable and never unmapped.
    Some(unsafe { AtomicU64::from_ptr(page.cast()) })
}
