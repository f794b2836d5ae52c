//! Memory for code: written once, then executable and read-only until it is given back. A page that may not be touched lies
//! on each side. A few mappings that were given back are kept for the next programs, as memory that may not be executed.

use crate::fault::{FrameOf, Registered};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

/// A mapping that nobody uses: address and bytes.
static FREE: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());
/// Most of them, and their most bytes.
const KEPT: usize = 16;
const SMALL: usize = 1 << 16;
const WRITABLE: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;

/// A kept mapping of so many bytes.
fn kept(len: usize) -> Option<NonNull<u8>> {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let at = free.iter().position(|(_, l)| *l == len)?;
    NonNull::new(std::ptr::with_exposed_provenance_mut(free.swap_remove(at).0))
}

/// Keeps a mapping; whether there was room.
fn keep(base: NonNull<u8>, len: usize) -> bool {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let room = len <= SMALL && free.len() < KEPT;
    if room {
        free.push((base.as_ptr().expose_provenance(), len));
    }
    room
}

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
    /// Copies code into fresh pages and makes them executable. `frames`: those of its functions; `None`: the code notes how it
    /// is left ([`crate::Head::exit`]). Cost: one system call, or three where no mapping was kept.
    pub(crate) fn new(code: &[u8], frames: Option<Box<[FrameOf]>>) -> std::io::Result<Pages> {
        // SAFETY: asks for a constant of the system.
        let guard = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let inner = code.len().next_multiple_of(guard);
        let len = inner + 2 * guard;
        let known = kept(len);
        let base = match known {
            Some(base) => base,
            None => fresh(len)?,
        };
        let mut pages = Pages { base, len, guard, registered: None };
        if known.is_none() {
            pages.protect(inner, WRITABLE)?;
        }
        // SAFETY: `inner` bytes behind the first guard are writable, by the call before or since the mapping was given back, and
        // nobody else knows them; the code is not longer than they are.
        unsafe {
            std::ptr::write_bytes(pages.start().cast_mut(), 0xcc, inner);
            std::ptr::copy_nonoverlapping(code.as_ptr(), pages.start().cast_mut(), code.len());
        }
        pages.protect(inner, libc::PROT_READ | libc::PROT_EXEC)?;
        pages.registered = Some(Registered::new(pages.start(), code.len(), frames));
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

/// A new mapping that may not be touched.
fn fresh(len: usize) -> std::io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new private mapping at an address that the system chooses.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error());
    }
    NonNull::new(base.cast::<u8>()).ok_or_else(|| std::io::Error::other("mmap returned address 0"))
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.registered = None;
        if self.protect(self.len - 2 * self.guard, WRITABLE).is_ok() && keep(self.base, self.len) {
            return;
        }
        // SAFETY: the mapping was made by `new` and is used by nobody any more. A failure cannot be mended here.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
