//! The running kernel's types, where it keeps them: mapped from Linux 6.16 on, which costs a fraction of reading their pages
//! one by one, else read.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::ptr;

/// Gives `f` the bytes of the kernel's types.
pub(crate) fn vmlinux<T>(path: &str, f: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len() as usize;
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let p =
        unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
    if p == libc::MAP_FAILED {
        let mut bytes = Vec::with_capacity(len + 1);
        file.read_to_end(&mut bytes)?;
        return Ok(f(&bytes));
    }
    let mapped = Mapped { p, len };
    // SAFETY: `len` bytes are mapped as long as `mapped` lives; the kernel's types never change while it runs.
    Ok(f(unsafe { std::slice::from_raw_parts(mapped.p.cast(), mapped.len) }))
}

struct Mapped {
    p: *mut libc::c_void,
    len: usize,
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped with this length, and no reference into it outlives `vmlinux`.
        unsafe { libc::munmap(self.p, self.len) };
    }
}
