//! `BPF_MAP_TYPE_PERF_EVENT_ARRAY`: samples from programs to user space, a ring for each CPU somebody listens on.
//!
//! In the kernel the entries are perf events with rings of their own. Here `open` takes the place of perf_event_open
//! and mmap: it makes a ring of so many bytes in this process. A sample that does not fit is dropped and counted.

use crate::arraymap::{index, next_index};
use crate::check::Check;
use crate::file::MapFile;
use crate::handles::HandleArray;
use crate::storage::Storage;
use skep_platform::helper::Version;
use skep_platform::map::{Create, Map, MapDef, MapError, MapTypeDesc, PerfEvents, Side, flags};
use skep_platform::{Errno, MapType};
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The row.
pub static DESC: MapTypeDesc = MapTypeDesc {
    map_type: MapType::PerfEventArray,
    doc: "samples from programs to user space, a ring for each CPU",
    since: Version(4, 3),
    create_flags: flags::NUMA_NODE | flags::RDONLY | flags::WRONLY | flags::PRESERVE_ELEMS,
    helpers: &[22, 25, 55, 111, 121],
    exclusive_helpers: &[22, 25, 55, 111, 121],
    prog_types: &[],
    sleepable: false,
    per_cpu: false,
    direct_value: false,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &[],
    create: Create::Fn(|def| STORAGE.create(def, None)),
};

pub(crate) static STORAGE: Storage = Storage {
    check,
    layout: HandleArray::layout,
    init: |_| {},
    attach: |file| Arc::new(PerfArray { file, rings: Mutex::default() }),
};

fn check(def: &MapDef) -> Result<MapDef, MapError> {
    Check(def).flags(DESC.create_flags)?;
    Check(def).fd_array()?;
    Ok(def.clone())
}

/// Bytes that a sample takes in a ring beside its data: record header and size.
const SAMPLE_HEADER: usize = 12;
/// Largest ring.
const MAX_RING: usize = 1 << 30;

#[derive(Debug)]
struct PerfArray {
    file: MapFile,
    rings: Mutex<BTreeMap<u32, Ring>>,
}

#[derive(Debug, Default)]
struct Ring {
    bytes: usize,
    used: usize,
    samples: VecDeque<Vec<u8>>,
    lost: u64,
}

fn footprint(len: usize) -> usize {
    (len + SAMPLE_HEADER).next_multiple_of(8)
}

impl PerfArray {
    fn rings(&self) -> MutexGuard<'_, BTreeMap<u32, Ring>> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest sample of the first CPU from `from` on that has one.
    fn pop(&self, from: u32) -> Option<(u32, Vec<u8>)> {
        let mut rings = self.rings();
        rings.range_mut(from..).find_map(|(cpu, ring)| {
            let sample = ring.samples.pop_front()?;
            ring.used -= footprint(sample.len());
            Some((*cpu, sample))
        })
    }
}

impl PerfEvents for PerfArray {
    fn output(&self, index: u32, data: &[&[u8]]) -> Result<(), Errno> {
        if index >= self.file.def.max_entries {
            return Err(Errno::E2BIG);
        }
        let mut rings = self.rings();
        let ring = rings.get_mut(&index).ok_or(Errno::ENOENT)?;
        let len = data.iter().map(|part| part.len()).sum();
        if ring.used + footprint(len) > ring.bytes {
            ring.lost += 1;
            return Err(Errno::ENOSPC);
        }
        ring.used += footprint(len);
        ring.samples.push_back(data.concat());
        Ok(())
    }

    fn open(&self, index: u32, bytes: usize) -> Result<(), Errno> {
        if index >= self.file.def.max_entries {
            return Err(Errno::E2BIG);
        }
        if bytes == 0 || bytes > MAX_RING {
            return Err(Errno::EINVAL);
        }
        self.file.may_write(Side::User)?;
        self.rings().insert(index, Ring { bytes, ..Ring::default() });
        Ok(())
    }

    fn consume(&self, f: &mut dyn FnMut(u32, &[u8]) -> ControlFlow<()>) -> Result<u64, Errno> {
        let mut from = 0;
        while let Some((cpu, sample)) = self.pop(from) {
            from = cpu;
            if f(cpu, &sample).is_break() {
                break;
            }
        }
        Ok(self.rings().values_mut().map(|ring| std::mem::take(&mut ring.lost)).sum())
    }
}

impl Map for PerfArray {
    fn def(&self) -> &MapDef {
        &self.file.def
    }

    fn lookup(&self, _key: &[u8], _cpu: u32) -> Result<Option<u64>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn read(&self, _key: &[u8], _out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.may_read()?;
        Err(Errno::ENOTSUPP)
    }

    /// Rings are opened with [`PerfEvents::open`]; bytes are no event.
    fn update(&self, key: &[u8], _value: &[u8], update: u64, side: Side) -> Result<(), Errno> {
        if side != Side::User {
            return Err(Errno::EOPNOTSUPP);
        }
        self.file.may_write(side)?;
        if update != flags::ANY {
            return Err(Errno::EINVAL);
        }
        Err(if index(key)? < self.file.def.max_entries { Errno::EBADF } else { Errno::E2BIG })
    }

    fn delete(&self, key: &[u8], side: Side) -> Result<(), Errno> {
        self.file.may_write(side)?;
        let at = index(key)?;
        if at >= self.file.def.max_entries {
            return Err(Errno::E2BIG);
        }
        self.rings().remove(&at).map(drop).ok_or(Errno::ENOENT)
    }

    fn lookup_and_delete(&self, _key: &[u8], _out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.cannot_take()
    }

    fn next_key(&self, key: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.may_read()?;
        next_index(key, self.file.def.max_entries, out)
    }

    fn freeze(&self) -> Result<(), Errno> {
        self.file.freeze()
    }

    fn frozen(&self) -> bool {
        self.file.frozen()
    }

    fn perf_events(&self) -> Option<&dyn PerfEvents> {
        Some(self)
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.mem.file())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
