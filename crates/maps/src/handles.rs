//! Entries that are programs or maps: what program arrays and arrays of maps share.
//!
//! Programs and maps are objects of the process that loaded them, so these entries live in the process, not in the file;
//! another process that opens the file sees the map with no entries. User space reads an entry as a number that is
//! not 0 and that no other object put into an entry of this process has.

use crate::arraymap::{index, next_index};
use crate::file::{Layout, MapFile};
use skep_platform::map::{FastPath, Handle, Map, MapDef, MapOp, Side, flags};
use skep_platform::{Errno, MapType};
use std::any::Any;
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A map whose keys are indexes and whose values are programs or maps.
#[derive(Debug)]
pub(crate) struct HandleArray {
    file: MapFile,
    entries: Entries<u32>,
    /// Number of the object in each entry, 0 for none; written with `entries` locked.
    ids: Box<[AtomicU32]>,
}

/// Programs or maps by key.
#[derive(Default)]
pub(crate) struct Entries<K>(RwLock<BTreeMap<K, (u32, Handle)>>);

impl<K> std::fmt::Debug for Entries<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} entries", self.read().len())
    }
}

impl<K> Entries<K> {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, BTreeMap<K, (u32, Handle)>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<K, (u32, Handle)>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number for an object put into an entry.
pub(crate) fn fresh_id() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Relaxed).max(1)
}

/// Whether a map may stand where `template` was declared (`map_meta_equal`).
pub(crate) fn same_shape(template: &MapDef, map: &MapDef) -> bool {
    let as_array = map.map_type == MapType::Array && template.flags & flags::INNER_MAP == 0;
    template.map_type == map.map_type
        && template.key_size == map.key_size
        && template.value_size == map.value_size
        && template.flags == map.flags
        && (!as_array || template.max_entries == map.max_entries)
}

/// Whether an object may be an entry of a map with this definition.
pub(crate) fn fits(def: &MapDef, handle: &Handle) -> bool {
    match (handle, &def.inner) {
        (Handle::Prog(_), _) => def.map_type == MapType::ProgArray,
        (Handle::Map(map), Some(template)) => same_shape(template, map.def()),
        (Handle::Map(_), None) => false,
    }
}

impl HandleArray {
    pub(crate) fn layout(_def: &MapDef, _cpus: u32) -> Layout {
        Layout::plain(0)
    }

    pub(crate) fn attach(file: MapFile) -> Arc<dyn Map> {
        let ids = (0..file.def.max_entries).map(|_| AtomicU32::new(0)).collect();
        Arc::new(HandleArray { file, entries: Entries::default(), ids })
    }
}

impl Map for HandleArray {
    fn def(&self) -> &MapDef {
        &self.file.def
    }

    fn lookup(&self, _key: &[u8], _cpu: u32) -> Result<Option<u64>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn read(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.may_read()?;
        let id = self.entries.read().get(&index(key)?).map(|e| e.0).ok_or(Errno::ENOENT)?;
        out.clear();
        out.extend_from_slice(&id.to_ne_bytes());
        Ok(())
    }

    /// Entries are set by `set_handle`; bytes are no program and no map.
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
        let mut entries = self.entries.write();
        self.ids[at as usize].store(0, Relaxed);
        let removed = entries.remove(&at);
        drop(entries);
        removed.map(drop).ok_or(Errno::ENOENT)
    }

    fn lookup_and_delete(&self, _key: &[u8], _out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.cannot_take()
    }

    fn next_key(&self, key: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.may_read()?;
        next_index(key, self.file.def.max_entries, out)
    }

    fn set_handle(&self, key: &[u8], handle: Handle, update: u64) -> Result<(), Errno> {
        self.file.may_write(Side::User)?;
        if update != flags::ANY {
            return Err(Errno::EINVAL);
        }
        let at = index(key)?;
        if at >= self.file.def.max_entries {
            return Err(Errno::E2BIG);
        }
        if !fits(&self.file.def, &handle) {
            return Err(Errno::EINVAL);
        }
        let id = fresh_id();
        let mut entries = self.entries.write();
        let replaced = entries.insert(at, (id, handle));
        self.ids[at as usize].store(id, Release);
        drop(entries);
        // Dropped after the lock is released: the last handle of a map or program may do work.
        drop(replaced);
        Ok(())
    }

    fn handle(&self, key: &[u8]) -> Option<Handle> {
        let at = index(key).ok()?;
        self.entries.read().get(&at).map(|e| e.1.clone())
    }

    fn fast_path(&self, op: MapOp) -> Option<FastPath> {
        let base = self.ids.as_ptr().expose_provenance() as u64;
        (op == MapOp::TailCall).then_some(FastPath::Ids { base, entries: self.file.def.max_entries })
    }

    fn freeze(&self) -> Result<(), Errno> {
        self.file.freeze()
    }

    fn frozen(&self) -> bool {
        self.file.frozen()
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.mem.file())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
