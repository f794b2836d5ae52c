//! The file of a map: a page of header, then what the type lays out.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic `skepmap\0` |
//! | 8 | 4 + 4 | layout version, CPUs that per-CPU values have |
//! | 16 | 4 × 6 | type, key size, value size, max_entries, flags, NUMA node |
//! | 40 | 8 | map_extra |
//! | 48 | 16 | name |
//! | 64 | 4 × 6 | inner map: present, type, key size, value size, max_entries, flags |
//! | 88 | 8 | inner map_extra |
//! | 96 | 8 | length of the file |
//! | 104 | 8 | offset from which the file is mapped twice, or 0 |
//! | 112 | 4 | frozen |
//! | 116 | 4 | complete: 1 once the creator has initialised the body |
//! | 192 | 64 | who has the map's locks for itself (`bias`) |
//! | 256 | | words of the type itself (seeds, locks, counters) |
//!
//! Byte order is the machine's own: a map file is shared between processes of one machine, not sent about. BTF is not in
//! it. All sizes that the process relies on later are computed from the definition, never read again from the file.

use crate::fields::Fields;
use crate::lock::Patience;
use crate::mem::{Memory, PAGE, errno};
use rustix::fs::{MemfdFlags, SealFlags};
use skep_platform::map::{MapError, Side, flags};
use skep_platform::{Errno, MapDef, MapType};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

const MAGIC: u64 = u64::from_ne_bytes(*b"skepmap\0");
const VERSION: u32 = 2;
const COMPLETE: u64 = 116;
const FROZEN: u64 = 112;

/// Most CPUs that a map has values for.
const MAX_CPUS: u32 = 4096;

/// Offset of the words that belong to the map type.
pub(crate) const TYPE_WORDS: u64 = 256;
/// Offset of the first page after the header.
pub(crate) const BODY: u64 = PAGE;

/// What a type asks of its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    /// Bytes after the header page.
    pub(crate) body: u64,
    /// Offset in the file from which everything is mapped a second time after the end.
    pub(crate) repeat_from: Option<u64>,
}

impl Layout {
    /// A body of this many bytes, mapped once.
    pub(crate) fn plain(body: u64) -> Layout {
        Layout { body, repeat_from: None }
    }
}

/// A mapped map file with its definition: what all map types share.
#[derive(Debug)]
pub(crate) struct MapFile {
    pub(crate) mem: Memory,
    pub(crate) def: MapDef,
    /// CPUs that have values of their own in per-CPU types.
    pub(crate) cpus: u32,
    /// Special fields of values.
    fields: Fields,
}

impl MapFile {
    /// Makes the memory file for a new map. `ENOMEM` when the machine cannot hold it.
    pub(crate) fn create(def: &MapDef, layout: Layout) -> Result<MapFile, MapError> {
        let fail = |errno, why: &str| MapError { map: def.name.clone(), errno, why: why.to_string() };
        let name: String = def.name.chars().filter(|c| *c != '\0').take(32).collect();
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create(format!("skep:{name}"), flags)
            .map_err(|e| fail(errno(e), "no memory file could be made"))?;
        MapFile::create_on(fd, def, layout)
    }

    /// Makes a new map in an empty file: a memfd, or a file made with `O_TMPFILE`.
    pub(crate) fn create_on(fd: OwnedFd, def: &MapDef, layout: Layout) -> Result<MapFile, MapError> {
        let fail = |errno, why: String| MapError { map: def.name.clone(), errno, why };
        let len = layout.body.checked_next_multiple_of(PAGE).and_then(|b| b.checked_add(BODY));
        let len = len.filter(|l| *l <= largest_file(def)).ok_or_else(|| {
            fail(
                Errno::ENOMEM,
                "it does not fit into this machine's memory: lower max_entries or value_size".into(),
            )
        })?;
        let made = rustix::fs::ftruncate(&fd, len).map_err(errno).and_then(|()| {
            // A file that cannot shrink cannot take pages away from those who map it. Only memfds can be sealed.
            let _ = rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW);
            Memory::map(fd, len, layout.repeat_from)
        });
        let mem = made.map_err(|e| fail(e, format!("a memory file of {len} bytes could not be mapped")))?;
        let file = MapFile { mem, def: def.clone(), cpus: possible_cpus(), fields: Fields::of(def) };
        file.write_header(len, layout.repeat_from);
        crate::bias::prepare();
        Ok(file)
    }

    fn write_header(&self, len: u64, repeat_from: Option<u64>) {
        let (mem, def) = (&self.mem, &self.def);
        mem.u32(8).store(VERSION, Relaxed);
        mem.u32(12).store(self.cpus, Relaxed);
        let sizes =
            [def.map_type.id(), def.key_size, def.value_size, def.max_entries, def.flags, def.numa_node];
        self.write_u32s(16, &sizes);
        mem.u64(40).store(def.map_extra, Relaxed);
        let mut name = [0; 16];
        let bytes = def.name.as_bytes();
        let n = bytes.len().min(15);
        name[..n].copy_from_slice(&bytes[..n]);
        mem.write(48, &name);
        if let Some(inner) = &def.inner {
            let of_inner =
                [1, inner.map_type.id(), inner.key_size, inner.value_size, inner.max_entries, inner.flags];
            self.write_u32s(64, &of_inner);
            mem.u64(88).store(inner.map_extra, Relaxed);
        }
        mem.u64(96).store(len, Relaxed);
        mem.u64(104).store(repeat_from.unwrap_or(0), Relaxed);
        mem.u64(0).store(MAGIC, Release);
    }

    fn write_u32s(&self, off: u64, values: &[u32]) {
        for (at, value) in (off..).step_by(4).zip(values) {
            self.mem.u32(at).store(*value, Relaxed);
        }
    }

    /// Says that the body is initialised and others may open the file.
    pub(crate) fn complete(&self) {
        self.mem.u32(COMPLETE).store(1, Release);
    }

    /// Maps an existing map file. `EINVAL` when it is none, or one of another layout version.
    pub(crate) fn open(fd: OwnedFd) -> Result<MapFile, Errno> {
        let size = rustix::fs::fstat(&fd).map_err(errno)?.st_size as u64;
        let mut page = vec![0; BODY as usize];
        if size < BODY || rustix::io::pread(&fd, &mut page, 0).map_err(errno)? < page.len() {
            return Err(Errno::EINVAL);
        }
        let u32_at =
            |off: usize| u32::from_ne_bytes([page[off], page[off + 1], page[off + 2], page[off + 3]]);
        let u64_at = |off: usize| crate::mem::load_word(&page[off..off + 8]);
        let known = u64_at(0) == MAGIC && u32_at(8) == VERSION && u32_at(COMPLETE as usize) == 1;
        if !known || u64_at(96) != size || !(1..=MAX_CPUS).contains(&u32_at(12)) {
            return Err(Errno::EINVAL);
        }
        let def = read_def(&u32_at, &u64_at, &page[48..64])?;
        let repeat_from = Some(u64_at(104)).filter(|from| *from != 0);
        if repeat_from.is_some_and(|from| from < BODY || from >= size) {
            return Err(Errno::EINVAL);
        }
        let mem = Memory::map(fd, size, repeat_from)?;
        crate::bias::prepare();
        Ok(MapFile { mem, def, cpus: u32_at(12), fields: Fields::default() })
    }

    /// Whether the file has the layout that its type computes from the definition; a type opens no other.
    pub(crate) fn check_layout(&self, layout: Layout) -> Result<(), Errno> {
        let repeat = self.mem.u64(104).load(Relaxed);
        let len = layout.body.checked_next_multiple_of(PAGE).and_then(|b| b.checked_add(BODY));
        let same = len == Some(self.mem.u64(96).load(Relaxed)) && repeat == layout.repeat_from.unwrap_or(0);
        if same { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Whether compiled code may write values word by word: they are whole words without special fields, and programs may write.
    pub(crate) fn plain_words(&self) -> bool {
        let words = self.def.value_size.is_multiple_of(8) && self.fields.holes.is_empty();
        words && self.may_write(Side::Prog { cpu: 0 }).is_ok()
    }

    /// Whether user space may no longer write.
    pub(crate) fn frozen(&self) -> bool {
        self.mem.u32(FROZEN).load(Acquire) != 0
    }

    /// Ends writes from user space; `EPERM` the second time, as it is a write itself. `ENOTSUPP` for values with special
    /// fields.
    pub(crate) fn freeze(&self) -> Result<(), Errno> {
        if !self.fields.holes.is_empty() {
            return Err(Errno::ENOTSUPP);
        }
        self.may_write(Side::User)?;
        self.mem.u32(FROZEN).compare_exchange(0, 1, Acquire, Relaxed).map(drop).map_err(|_| Errno::EBUSY)
    }

    /// `EPERM` when that side may not write.
    #[inline]
    pub(crate) fn may_write(&self, side: Side) -> Result<(), Errno> {
        let refused = match side {
            Side::Prog { .. } => self.def.flags & flags::RDONLY_PROG != 0,
            Side::User => self.def.flags & flags::RDONLY != 0 || self.frozen(),
        };
        if refused { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// `BPF_MAP_LOOKUP_AND_DELETE_ELEM` for types that do not have it.
    pub(crate) fn cannot_take(&self) -> Result<(), Errno> {
        self.may_read()?;
        self.may_write(Side::User)?;
        Err(Errno::ENOTSUPP)
    }

    /// Flags of an update: `ANY`, `NOEXIST` or `EXIST`; `LOCK` with them where the type takes it and values have a lock.
    #[inline]
    pub(crate) fn check_update_flags(&self, update: u64, lockable: bool) -> Result<(), Errno> {
        let locks = update & flags::LOCK != 0;
        let known = update & !flags::LOCK <= flags::EXIST;
        if known && (!locks || lockable && self.fields.lock.is_some()) { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Writes a value. The special fields of an existing value stay; those of a new one are zeroed.
    #[inline]
    pub(crate) fn put(&self, off: u64, value: &[u8], new: bool) {
        if self.fields.holes.is_empty() {
            return self.mem.write(off, value);
        }
        let mut bytes = vec![0; value.len()];
        if !new {
            self.mem.read(off, &mut bytes);
        }
        self.fields.copy_around(value, &mut bytes);
        self.mem.write(off, &bytes);
    }

    /// Writes a value while holding its `bpf_spin_lock` (`BPF_F_LOCK`). `EBUSY` when the lock is held for too long.
    pub(crate) fn put_locked(&self, off: u64, value: &[u8]) -> Result<(), Errno> {
        let lock = self.fields.lock.ok_or(Errno::EINVAL)?;
        let word = self.mem.u32(off + u64::from(lock));
        let mut patience = Patience::default();
        while word.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            patience.wait()?;
        }
        for (at, part) in self.fields.parts(value) {
            self.mem.write_bytes(off + u64::from(at), part);
        }
        word.store(0, Release);
        Ok(())
    }

    /// Zeroes the special fields in a copy of a value for user space.
    pub(crate) fn hide(&self, value: &mut [u8]) {
        self.fields.hide(value);
    }

    /// `EPERM` when user space may not read.
    pub(crate) fn may_read(&self) -> Result<(), Errno> {
        if self.def.flags & flags::WRONLY != 0 { Err(Errno::EPERM) } else { Ok(()) }
    }
}

/// Definition in a header.
fn read_def(
    u32_at: &dyn Fn(usize) -> u32,
    u64_at: &dyn Fn(usize) -> u64,
    name: &[u8],
) -> Result<MapDef, Errno> {
    let base = |at: usize, numa_node: u32, extra: usize| -> Result<MapDef, Errno> {
        Ok(MapDef {
            name: String::new(),
            map_type: MapType::from_id(u32_at(at)).ok_or(Errno::EINVAL)?,
            key_size: u32_at(at + 4),
            value_size: u32_at(at + 8),
            max_entries: u32_at(at + 12),
            flags: u32_at(at + 16),
            map_extra: u64_at(extra),
            numa_node,
            pin_by_name: false,
            inner: None,
            btf: None,
        })
    };
    let mut def = base(16, u32_at(36), 40)?;
    let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    def.name = String::from_utf8_lossy(&name[..end]).into_owned();
    if u32_at(64) != 0 {
        def.inner = Some(Box::new(base(68, 0, 88)?));
    }
    Ok(def)
}

/// Longest file made for a definition: a map that allocates as it fills may be larger than memory, others not.
fn largest_file(def: &MapDef) -> u64 {
    let info = rustix::system::sysinfo();
    let ram = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit)).max(1 << 28);
    if def.flags & flags::NO_PREALLOC != 0 { 1 << 44 } else { ram }
}

/// CPUs that per-CPU maps have values for: the machine's possible CPUs, as the kernel counts them
/// (`/sys/devices/system/cpu/possible`); where that cannot be read, those the process may use.
pub fn possible_cpus() -> u32 {
    static CPUS: OnceLock<u32> = OnceLock::new();
    *CPUS.get_or_init(|| {
        let listed = std::fs::read_to_string("/sys/devices/system/cpu/possible").ok();
        let last = listed.and_then(|l| l.trim().rsplit([',', '-']).next()?.parse::<u32>().ok());
        let usable = || std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        last.map_or_else(usable, |last| last.saturating_add(1)).clamp(1, MAX_CPUS)
    })
}

/// Rounds up to 8 bytes, the stride of values.
pub(crate) fn round8(n: u32) -> u64 {
    u64::from(n).next_multiple_of(8)
}
