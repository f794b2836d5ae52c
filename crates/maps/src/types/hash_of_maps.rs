//! `BPF_MAP_TYPE_HASH_OF_MAPS`: maps by key (kernel/bpf/hashtab.c, map_in_map.c).
//!
//! Keys are in a hash table in the file; the value there is a number by which this process knows the map. As in
//! `handles`, another process that opens the file sees keys and no maps.

use crate::check::{ACCESS, Check};
use crate::file::MapFile;
use crate::handles::{Entries, fits, fresh_id};
use crate::hashmap::{self, HashMap};
use crate::storage::Storage;
use skep_platform::helper::Version;
use skep_platform::map::{Create, Handle, Map, MapDef, MapError, MapTypeDesc, Side, flags};
use skep_platform::{Errno, MapType};
use std::any::Any;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// The row.
pub static DESC: MapTypeDesc = MapTypeDesc {
    map_type: MapType::HashOfMaps,
    doc: "maps by key, all of one shape",
    since: Version(4, 12),
    create_flags: ACCESS | flags::NUMA_NODE | flags::NO_PREALLOC | flags::ZERO_SEED,
    helpers: &[1],
    exclusive_helpers: &[],
    prog_types: &[],
    sleepable: true,
    per_cpu: false,
    direct_value: false,
    direct_addr: false,
    for_each: false,
    inner: false,
    special_fields: &[],
    create: Create::Fn(|def| STORAGE.create(def, None)),
};

pub(crate) static STORAGE: Storage = Storage {
    check,
    layout: HashMap::layout,
    init: HashMap::init,
    attach: |file| Arc::new(HashOfMaps::new(file)),
};

fn check(def: &MapDef) -> Result<MapDef, MapError> {
    let check = Check(def);
    check.value_size(4)?;
    check.flags(DESC.create_flags)?;
    hashmap::check(def)?;
    check.inner()?;
    Ok(def.clone())
}

#[derive(Debug)]
struct HashOfMaps {
    keys: HashMap,
    maps: Entries<u32>,
}

impl HashOfMaps {
    fn new(file: MapFile) -> HashOfMaps {
        HashOfMaps { keys: HashMap::attach(file), maps: Entries::default() }
    }

    /// Number of the map under a key.
    fn id(&self, key: &[u8]) -> Result<u32, Errno> {
        let mut out = Vec::new();
        self.keys.copy_entry(key, &mut out)?;
        Ok(u32::from_ne_bytes(out.as_slice().try_into().map_err(|_| Errno::EINVAL)?))
    }
}

impl Map for HashOfMaps {
    fn def(&self) -> &MapDef {
        self.keys.def()
    }

    fn lookup(&self, _key: &[u8], _cpu: u32) -> Result<Option<u64>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn read(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        self.keys.read(key, out)
    }

    /// Entries are set by `set_handle`; bytes are no map.
    fn update(&self, _key: &[u8], _value: &[u8], _update: u64, side: Side) -> Result<(), Errno> {
        if side != Side::User {
            return Err(Errno::EOPNOTSUPP);
        }
        self.keys.file.may_write(side)?;
        Err(Errno::EBADF)
    }

    fn delete(&self, key: &[u8], side: Side) -> Result<(), Errno> {
        let mut maps = self.maps.write();
        let id = self.id(key);
        self.keys.delete(key, side)?;
        let removed = maps.remove(&id?);
        drop(maps);
        drop(removed);
        Ok(())
    }

    fn lookup_and_delete(&self, _key: &[u8], _out: &mut Vec<u8>) -> Result<(), Errno> {
        self.keys.file.cannot_take()
    }

    fn next_key(&self, key: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Errno> {
        self.keys.next_key(key, out)
    }

    fn set_handle(&self, key: &[u8], handle: Handle, update: u64) -> Result<(), Errno> {
        if !fits(self.def(), &handle) {
            return Err(Errno::EINVAL);
        }
        let mut maps = self.maps.write();
        let (old, new) = (self.id(key).ok(), fresh_id());
        self.keys.update(key, &new.to_ne_bytes(), update, Side::User)?;
        let replaced = old.and_then(|old| maps.remove(&old));
        maps.insert(new, (new, handle));
        drop(maps);
        drop(replaced);
        Ok(())
    }

    fn handle(&self, key: &[u8]) -> Option<Handle> {
        let maps = self.maps.read();
        maps.get(&self.id(key).ok()?).map(|entry| entry.1.clone())
    }

    fn freeze(&self) -> Result<(), Errno> {
        self.keys.freeze()
    }

    fn frozen(&self) -> bool {
        self.keys.frozen()
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        self.keys.file()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
