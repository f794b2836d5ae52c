//! What `perf` has to see of a file of generated code: that the process maps it executable, which is recorded and leads
//! `perf inject` to the file; and times by the clock of `perf record -k mono`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// A file's first page, mapped readable and executable, and never touched.
#[derive(Debug)]
pub struct Marker {
    at: NonNull<libc::c_void>,
    len: usize,
}

// SAFETY: the mapping is only made and given back.
unsafe impl Send for Marker {}
// SAFETY: as above.
unsafe impl Sync for Marker {}

impl Marker {
    /// Maps the file.
    ///
    /// # Errors
    /// `EPERM` on a file system that is mounted `noexec`.
    pub fn new(file: &File) -> io::Result<Marker> {
        let (len, rights) = (4096, libc::PROT_READ | libc::PROT_EXEC);
        // SAFETY: a new private mapping at an address that the system chooses; nobody reads or runs it.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), len, rights, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at).ok_or_else(|| io::Error::other("mmap returned address 0"))?;
        Ok(Marker { at, len })
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` and is used by nobody. A failure cannot be mended here.
        unsafe { libc::munmap(self.at.as_ptr(), self.len) };
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is written, and nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The calling thread, as the system numbers it.
#[cfg(target_os = "linux")]
pub fn thread_id() -> u32 {
    // SAFETY: asks for a number.
    unsafe { libc::gettid() as u32 }
}

/// The calling thread: the process, where threads have no such number.
#[cfg(not(target_os = "linux"))]
pub fn thread_id() -> u32 {
    std::process::id()
}

/// The user whose rights the process has.
pub fn user_id() -> u32 {
    // SAFETY: asks for a number.
    unsafe { libc::geteuid() }
}
