//! Memory for code: written once, then executable and read-only for ever. A page that may not be touched lies on each
//! side.

use crate::fault::Registered;
use std::ptr::NonNull;

/// Executable memory.
#[derive(Debug)]
pub(crate) struct Pages {
    base: NonNull<u8>,
    /// Bytes mapped, both guards included.
    len: usize,
    guard: usize,
    /// Faults of the code are caught; `None` while there is none.
    registered: Option<Registered>,
}

// SAFETY: the memory is never written after `Pages::new` has returned.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// Copies code into fresh pages and makes them executable. `leaves`: the code notes how it is left ([`crate::Head::exit`]),
    /// so that its faults can be caught. Cost: three system calls.
    pub(crate) fn new(code: &[u8], leaves: bool) -> std::io::Result<Pages> {
        // SAFETY: asks for a constant of the system.
        let guard = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let inner = code.len().next_multiple_of(guard);
        let len = inner + 2 * guard;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new private mapping at an address that the system chooses.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        let Some(base) = NonNull::new(base.cast::<u8>()) else {
            return Err(std::io::Error::other("mmap returned address 0"));
        };
        let mut pages = Pages { base, len, guard, registered: None };
        pages.protect(inner, libc::PROT_READ | libc::PROT_WRITE)?;
        // SAFETY: `inner` bytes behind the first guard were just made writable, and nobody else knows them; the code is
        // not longer than they are.
        unsafe {
            std::ptr::write_bytes(pages.start().cast_mut(), 0xcc, inner);
            std::ptr::copy_nonoverlapping(code.as_ptr(), pages.start().cast_mut(), code.len());
        }
        pages.protect(inner, libc::PROT_READ | libc::PROT_EXEC)?;
        pages.registered = leaves.then(|| Registered::new(pages.start(), code.len()));
        Ok(pages)
    }

    /// The first byte of the code.
    pub(crate) fn start(&self) -> *const u8 {
        // SAFETY: the mapping is longer than one guard.
        unsafe { self.base.as_ptr().add(self.guard) }
    }

    fn protect(&self, inner: usize, rights: libc::c_int) -> std::io::Result<()> {
        if inner == 0 {
            return Ok(());
        }
        // SAFETY: the range lies between the guards of this mapping.
        match unsafe { libc::mprotect(self.start().cast_mut().cast(), inner, rights) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.registered = None;
        // SAFETY: the mapping was made by `new` and is used by nobody any more. A failure cannot be mended here.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
