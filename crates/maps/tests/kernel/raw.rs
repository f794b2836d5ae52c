//! bpf(2), as far as these tests need it.

use skep_platform::Errno;
use skep_platform::map::MapDef;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A kernel object: a map or a program.
pub(crate) struct Kernel(OwnedFd);

/// `union bpf_attr`, filled by offset.
struct Attr([u8; 128]);

impl Attr {
    fn new() -> Attr {
        Attr([0; 128])
    }

    fn u32(mut self, at: usize, value: u32) -> Attr {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn u64(mut self, at: usize, value: u64) -> Attr {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn call(mut self, command: libc::c_long) -> Result<i64, Errno> {
        // SAFETY: the kernel reads and writes the attribute, and the buffers that callers put into it, which are as
        // long as the map's keys and values and outlive the call.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), self.0.len()) };
        if result < 0 {
            Err(Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)))
        } else {
            Ok(result)
        }
    }

    fn open(self, command: libc::c_long) -> Result<Kernel, Errno> {
        let fd = self.call(command)?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(Kernel(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }
}

impl Kernel {
    pub(crate) fn create(def: &MapDef, inner: Option<&Kernel>) -> Result<Kernel, Errno> {
        Attr::new()
            .u32(0, def.map_type.id())
            .u32(4, def.key_size)
            .u32(8, def.value_size)
            .u32(12, def.max_entries)
            .u32(16, def.flags)
            .u32(20, inner.map_or(0, Kernel::number))
            .u64(64, def.map_extra)
            .open(0)
    }

    /// A socket filter that returns 0.
    pub(crate) fn program() -> Result<Kernel, Errno> {
        let insns: [u64; 2] = [0xb7, 0x95];
        Attr::new().u32(0, 1).u32(4, 2).u64(8, insns.as_ptr() as u64).u64(16, c"GPL".as_ptr() as u64).open(5)
    }

    pub(crate) fn number(&self) -> u32 {
        self.0.as_raw_fd() as u32
    }

    fn element(&self, key: Option<&[u8]>, value: *const u8, flags: u64) -> Attr {
        let key = key.map_or(std::ptr::null(), <[u8]>::as_ptr);
        // An empty key is no key to the kernel: copying nothing from it must not fail.
        Attr::new().u32(0, self.number()).u64(8, key as u64).u64(16, value as u64).u64(24, flags)
    }

    /// A key for the kernel: none at all where the map has none.
    fn some(key: &[u8]) -> Option<&[u8]> {
        Some(key).filter(|k| !k.is_empty())
    }

    pub(crate) fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.element(Self::some(key), value.as_ptr(), flags).call(2).map(drop)
    }

    pub(crate) fn lookup(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.element(Self::some(key), value.as_mut_ptr(), 0).call(1).map(drop)
    }

    pub(crate) fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.element(Self::some(key), std::ptr::null(), 0).call(3).map(drop)
    }

    pub(crate) fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        self.element(key.and_then(Self::some), next.as_mut_ptr(), 0).call(4).map(drop)
    }

    pub(crate) fn lookup_and_delete(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.element(Self::some(key), value.as_mut_ptr(), 0).call(21).map(drop)
    }

    pub(crate) fn freeze(&self) -> Result<(), Errno> {
        Attr::new().u32(0, self.number()).call(22).map(drop)
    }
}
