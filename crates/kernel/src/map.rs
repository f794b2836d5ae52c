//! Maps in the kernel: creation, and the [`Map`] trait by system calls.
//!
//! Values have no address here: programs of the kernel reach them, user space copies. Everything that can be copied can be
//! read and written; `lookup`, `direct` and `for_each` by address are refused.

use crate::btf::LoadedBtf;
use crate::door::{Batch, Door, IdKind, MapCreate, RingMemory, UserRingMemory};
use crate::info;
use crate::load::KernelProgram;
use crate::perf::Rings;
use crate::ring;
use crate::struct_ops::Prepared;
use crate::user_ring;
use skep_platform::map::{Handle, MapBtf, MapDef, PerfEvents, RingBuf, Side, flags};
use skep_platform::{Errno, Map, MapType};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Smallest page, the unit of ring buffers.
const PAGE: u32 = 4096;

/// A map in the kernel. Dropping it closes its descriptor; the kernel keeps it as long as programs use it.
pub struct KernelMap {
    def: MapDef,
    fd: OwnedFd,
    door: Arc<dyn Door>,
    /// Bytes of a value as user space copies it.
    value_len: usize,
    frozen: AtomicBool,
    /// Programs and maps put into entries from here, by key: the kernel gives back their ids only.
    handles: Mutex<BTreeMap<Vec<u8>, Handle>>,
    ring: Option<Ring>,
    /// Of a perf event array: the rings that were opened.
    rings: Option<Mutex<Rings>>,
    /// Of a user ring buffer: its memory, mapped at the first record.
    user_ring: Mutex<Option<Box<dyn UserRingMemory>>>,
    /// The kernel made it, but not with its types, for this number.
    untyped: Option<Errno>,
    /// Of struct_ops: what registration writes.
    pub(crate) ops: OnceLock<Prepared>,
}

/// A ring buffer's memory, mapped at the first look.
struct Ring {
    memory: Mutex<Option<Box<dyn RingMemory>>>,
}

impl fmt::Debug for KernelMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KernelMap({}, fd {})", self.def.name, self.fd.as_raw_fd())
    }
}

impl AsFd for KernelMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Creates a map; `btf` are its types, or the number for which the kernel does not take them. A kernel that takes no types for
/// a map of this type is asked again without them.
pub(crate) fn create(
    door: &Arc<dyn Door>,
    def: &MapDef,
    btf: Result<&LoadedBtf, Errno>,
) -> Result<KernelMap, Errno> {
    let def = sized(def);
    let inner = match &def.inner {
        Some(inner) => Some(create(door, inner, btf)?),
        None => None,
    };
    let mut request = request(&def);
    request.inner = inner.as_ref().map(|m| m.fd.as_fd());
    let types = def.btf.as_ref().filter(|types| types.value != 0 && takes_types(def.map_type));
    let mut untyped = types.and_then(|_| btf.as_ref().err().copied());
    if let (Ok(loaded), Some(types)) = (btf, types) {
        request.btf = Some((loaded.fd.as_fd(), types.key, types.value));
    }
    let fd = match door.map_create(&request) {
        Err(e) if request.btf.is_some() && e != Errno::EPERM => {
            untyped = Some(e);
            door.map_create(&MapCreate { btf: None, ..request })?
        }
        other => other?,
    };
    Ok(KernelMap { untyped, ..KernelMap::new(def, fd, door) })
}

/// Whether the kernel has a use for the types of such a map; libbpf keeps them to itself for the same ones.
fn takes_types(t: MapType) -> bool {
    use MapType as M;
    !matches!(
        t,
        M::PerfEventArray
            | M::CgroupArray
            | M::StackTrace
            | M::ArrayOfMaps
            | M::HashOfMaps
            | M::Devmap
            | M::DevmapHash
            | M::Cpumap
            | M::Xskmap
            | M::Sockmap
            | M::Sockhash
            | M::Queue
            | M::Stack
    )
}

impl KernelMap {
    /// The number for which the kernel refused the map's types, if it did: the map was made without them then, so that nobody who
    /// lists it sees what is in it.
    pub fn untyped(&self) -> Option<Errno> {
        self.untyped
    }

    /// A map that exists already. Its types come from the kernel, where it has some.
    ///
    /// Cost: two system calls, and reading the types.
    ///
    /// # Errors
    /// `EINVAL` if the descriptor is none of a map, or of a type that is not known here.
    pub fn open(door: &Arc<dyn Door>, fd: OwnedFd) -> Result<KernelMap, Errno> {
        let info = info::map(&**door, fd.as_fd())?;
        let map_type = MapType::from_id(info.map_type).ok_or(Errno::EINVAL)?;
        let def = MapDef {
            name: info.name,
            map_type,
            key_size: info.key_size,
            value_size: info.value_size,
            max_entries: info.max_entries,
            flags: info.flags,
            map_extra: info.extra,
            numa_node: 0,
            pin_by_name: false,
            inner: None,
            btf: types(&**door, info.btf_id, info.btf_key, info.btf_value),
        };
        let frozen = info::fdinfo(&fd, "frozen").is_some_and(|f| f == "1");
        let map = KernelMap::new(def, fd, door);
        map.frozen.store(frozen, Ordering::Relaxed);
        Ok(map)
    }

    /// Entries in batches, a system call for up to `batch` of them: `f` gets key and value as [`Map::read`] gives it.
    /// Returns how many there were. Entries that come or go meanwhile may be seen or not, as in any walk.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for map types without batches.
    pub fn batches(&self, batch: u32, f: &mut dyn FnMut(&[u8], &[u8])) -> Result<u64, Errno> {
        let (key, value) = (self.def.key_size as usize, self.value_len);
        if key == 0 || value == 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let (mut cursor, mut count, mut seen) = (None, batch.max(1), 0);
        loop {
            let (mut keys, mut values) = (vec![0; key * count as usize], vec![0; value * count as usize]);
            let (done, n) = self.door.map_batch(
                Batch::Lookup,
                self.fd.as_fd(),
                &mut cursor,
                key + 8,
                &mut keys,
                &mut values,
                count,
                0,
            );
            match done {
                Ok(()) | Err(Errno::ENOENT) => {}
                // A bucket of a hash holds more than was asked for.
                Err(Errno::ENOSPC) if count < 1 << 20 => {
                    count *= 2;
                    if seen == 0 {
                        cursor = None;
                    }
                    continue;
                }
                Err(Errno::ENOTSUPP) => return Err(Errno::EOPNOTSUPP),
                Err(e) => return Err(e),
            }
            for (k, v) in keys.chunks(key).zip(values.chunks(value)).take(n as usize) {
                f(k, v);
            }
            seen += u64::from(n);
            if done.is_err() || n == 0 {
                return Ok(seen);
            }
        }
    }
}

/// The types of a map as the kernel keeps them.
fn types(door: &dyn Door, id: u32, key: u32, value: u32) -> Option<MapBtf> {
    if id == 0 {
        return None;
    }
    let fd = door.by_id(IdKind::Btf, id).ok()?;
    let bytes = info::btf(door, fd.as_fd(), true).ok()?.bytes;
    let btf = Arc::new(skep_btf::Btf::parse(&bytes).ok()?);
    Some(MapBtf { btf, key, value })
}

/// The definition with the sizes that loaders fill in.
fn sized(def: &MapDef) -> MapDef {
    let mut def = def.clone();
    match def.map_type {
        MapType::PerfEventArray if def.max_entries == 0 => def.max_entries = crate::possible_cpus() as u32,
        // Whole pages, and a power of two.
        MapType::Ringbuf | MapType::UserRingbuf if def.max_entries > 0 => {
            let up = def.max_entries.max(PAGE).checked_next_power_of_two();
            def.max_entries = up.unwrap_or(def.max_entries);
        }
        _ => {}
    }
    def
}

fn request(def: &MapDef) -> MapCreate<'static> {
    MapCreate {
        map_type: def.map_type.id(),
        key_size: def.key_size,
        value_size: def.value_size,
        max_entries: def.max_entries,
        flags: def.flags,
        numa_node: if def.flags & flags::NUMA_NODE == 0 { 0 } else { def.numa_node },
        extra: def.map_extra,
        name: object_name(&def.name),
        inner: None,
        btf: None,
        vmlinux_value_type: 0,
    }
}

/// A name as the kernel takes it: 15 bytes of letters, digits, `_` and `.`.
pub(crate) fn object_name(name: &str) -> [u8; 16] {
    let mut out = [0; 16];
    for (to, c) in out[..15].iter_mut().zip(name.bytes()) {
        *to = if c.is_ascii_alphanumeric() || c == b'_' || c == b'.' { c } else { b'_' };
    }
    out
}

/// Values are one a CPU, in rows of eight bytes.
fn per_cpu(t: MapType) -> bool {
    matches!(
        t,
        MapType::PercpuHash | MapType::PercpuArray | MapType::LruPercpuHash | MapType::PercpuCgroupStorage
    )
}

impl KernelMap {
    pub(crate) fn new(def: MapDef, fd: OwnedFd, door: &Arc<dyn Door>) -> KernelMap {
        let size = def.value_size as usize;
        let value_len =
            if per_cpu(def.map_type) { size.next_multiple_of(8) * crate::possible_cpus() } else { size };
        let ring = (def.map_type == MapType::Ringbuf).then(|| Ring { memory: Mutex::default() });
        let rings = (def.map_type == MapType::PerfEventArray).then(Mutex::default);
        let (door, frozen, handles) = (door.clone(), AtomicBool::default(), Mutex::default());
        let (user_ring, ops, untyped) = (Mutex::default(), OnceLock::new(), None);
        KernelMap { def, fd, door, value_len, frozen, handles, ring, rings, user_ring, untyped, ops }
    }

    fn key<'k>(&self, key: &'k [u8]) -> Result<&'k [u8], Errno> {
        if key.len() == self.def.key_size as usize { Ok(key) } else { Err(Errno::EINVAL) }
    }

    fn copy_out(&self, key: &[u8], out: &mut Vec<u8>, take: bool) -> Result<(), Errno> {
        out.clear();
        out.resize(self.value_len, 0);
        self.door.map_lookup(self.fd.as_fd(), self.key(key)?, out, take)
    }

    fn handles(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Map for KernelMap {
    fn def(&self) -> &MapDef {
        &self.def
    }

    fn lookup(&self, _: &[u8], _: u32) -> Result<Option<u64>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn read(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        self.copy_out(key, out, false)
    }

    fn update(&self, key: &[u8], value: &[u8], flags: u64, side: Side) -> Result<(), Errno> {
        if side != Side::User {
            return Err(Errno::EOPNOTSUPP);
        }
        if value.len() != self.value_len {
            return Err(Errno::EINVAL);
        }
        self.door.map_update(self.fd.as_fd(), self.key(key)?, value, flags)
    }

    fn delete(&self, key: &[u8], side: Side) -> Result<(), Errno> {
        if side != Side::User {
            return Err(Errno::EOPNOTSUPP);
        }
        self.door.map_delete(self.fd.as_fd(), self.key(key)?)?;
        self.handles().remove(key);
        Ok(())
    }

    fn lookup_and_delete(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        self.copy_out(key, out, true)
    }

    fn next_key(&self, key: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Errno> {
        let key = key.map(|k| self.key(k)).transpose()?;
        out.clear();
        out.resize(self.def.key_size as usize, 0);
        self.door.map_next_key(self.fd.as_fd(), key, out)
    }

    fn push(&self, value: &[u8], flags: u64) -> Result<(), Errno> {
        if self.def.map_type == MapType::UserRingbuf {
            return self.push_record(value);
        }
        self.update(&[], value, flags, Side::User)
    }

    fn pop(&self, value: &mut [u8]) -> Result<(), Errno> {
        self.take(value, true)
    }

    fn peek(&self, value: &mut [u8]) -> Result<(), Errno> {
        self.take(value, false)
    }

    fn freeze(&self) -> Result<(), Errno> {
        self.door.map_freeze(self.fd.as_fd())?;
        self.frozen.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn frozen(&self) -> bool {
        self.frozen.load(Ordering::Relaxed)
    }

    fn set_handle(&self, key: &[u8], handle: Handle, flags: u64) -> Result<(), Errno> {
        let fd = match &handle {
            Handle::Prog(p) => p.downcast_ref::<KernelProgram>().map(|p| p.as_fd()),
            Handle::Map(m) => m.as_any().downcast_ref::<KernelMap>().map(|m| m.as_fd()),
        };
        let value = fd.ok_or(Errno::EINVAL)?.as_raw_fd().to_ne_bytes();
        self.update(key, &value, flags, Side::User)?;
        self.handles().insert(key.to_vec(), handle);
        Ok(())
    }

    fn handle(&self, key: &[u8]) -> Option<Handle> {
        self.handles().get(key).cloned()
    }

    fn ringbuf(&self) -> Option<&dyn RingBuf> {
        self.ring.as_ref().map(|_| self as &dyn RingBuf)
    }

    fn perf_events(&self) -> Option<&dyn PerfEvents> {
        self.rings.as_ref().map(|_| self as &dyn PerfEvents)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The consumer's side only: samples are made by programs.
impl PerfEvents for KernelMap {
    fn output(&self, _: u32, _: &[&[u8]]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn open(&self, index: u32, bytes: usize) -> Result<(), Errno> {
        let pages = bytes.div_ceil(PAGE as usize).next_power_of_two();
        self.rings()?.open(&*self.door, self.fd.as_fd(), index, pages)
    }

    fn consume(&self, f: &mut dyn FnMut(u32, &[u8]) -> ControlFlow<()>) -> Result<u64, Errno> {
        self.rings()?.consume(f)
    }
}

impl KernelMap {
    fn rings(&self) -> Result<MutexGuard<'_, Rings>, Errno> {
        let rings = self.rings.as_ref().ok_or(Errno::EOPNOTSUPP)?;
        Ok(rings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens the rings of all CPUs of a perf event array that are there, each with so many bytes; those that were opened
    /// already stay. A ring buffer needs none of that.
    ///
    /// # Errors
    /// `EMFILE`, `EPERM` (perf_event_mlock_kb), `ENOMEM`.
    pub fn open_rings(&self, bytes: usize) -> Result<(), Errno> {
        for cpu in 0..self.def.max_entries.min(crate::possible_cpus() as u32) {
            match PerfEvents::open(self, cpu, bytes) {
                // The CPU is not there now.
                Ok(()) | Err(Errno::ENODEV) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// A record into a user ring buffer, of any length; programs see it at their next `bpf_user_ringbuf_drain`.
    fn push_record(&self, record: &[u8]) -> Result<(), Errno> {
        let size = self.def.max_entries;
        let mut memory = self.user_ring.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = match &mut *memory {
            Some(ring) => ring,
            none => none.insert(self.door.user_ring(self.fd.as_fd(), size as usize)?),
        };
        user_ring::push(&mut **ring, u64::from(size), record)
    }

    /// Descriptors that become readable when records wait.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for maps that have none; the system's.
    pub fn wake_fds(&self) -> Result<Vec<OwnedFd>, Errno> {
        let own = |fd: BorrowedFd<'_>| {
            fd.try_clone_to_owned().map_err(|e| Errno(e.raw_os_error().unwrap_or(Errno::EIO.0)))
        };
        match self.def.map_type {
            MapType::Ringbuf => Ok(vec![own(self.fd.as_fd())?]),
            MapType::PerfEventArray => self.rings()?.fds().map(own).collect(),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn take(&self, value: &mut [u8], take: bool) -> Result<(), Errno> {
        if value.len() != self.value_len || self.def.key_size != 0 {
            return Err(Errno::EINVAL);
        }
        self.door.map_lookup(self.fd.as_fd(), &[], value, take)
    }
}

/// The consumer's side only: records are made by programs.
impl RingBuf for KernelMap {
    fn reserve(&self, _: u64, _: u64) -> Result<u64, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn submit(&self, _: u64, _: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn discard(&self, _: u64, _: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn reserved_len(&self, _: u64) -> Option<u64> {
        None
    }

    fn output(&self, _: &[u8], _: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn abandon(&self) {}

    fn query(&self, _: u64) -> u64 {
        0
    }

    fn consume(&self, f: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<usize, Errno> {
        let ring = self.ring.as_ref().ok_or(Errno::EOPNOTSUPP)?;
        let mut memory = ring.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = match &mut *memory {
            Some(memory) => memory,
            none => none.insert(self.door.ring(self.fd.as_fd(), self.def.max_entries as usize)?),
        };
        ring::consume(&mut **memory, f)
    }

    /// The map's own descriptor: epoll says when records are there.
    fn wake_fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        Ok(self.fd.as_fd())
    }
}
