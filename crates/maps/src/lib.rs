//! Maps of the user engine.
//!
//! A map is one memory file (a memfd, or a file made with `O_TMPFILE`): a header page, then what its type lays out, by
//! offset, never by pointer. Any process that has the file can map it ([`open_shared`]); the map lives as long as
//! somebody holds the file open or maps it. Array and ring buffer pages have the kernel's mmap layout.
//!
//! Flow: [`create`] finds the type's row and its `Storage`, which checks the definition as the kernel does, makes the
//! file and gives the map. Everybody else sees `dyn Map`.
//!
//! ```
//! use skep_platform::map::{MapDef, Side, flags};
//! use skep_platform::MapType;
//!
//! let def = MapDef {
//!     name: "counts".into(), map_type: MapType::Hash, key_size: 4, value_size: 8, max_entries: 1000,
//!     flags: 0, map_extra: 0, numa_node: 0, pin_by_name: false, inner: None, btf: None,
//! };
//! let map = skep_maps::create(&def)?;
//! map.update(&1u32.to_ne_bytes(), &7u64.to_ne_bytes(), flags::NOEXIST, Side::User)?;
//!
//! // Anybody who has the file sees the same entries.
//! let file = map.file().expect("a map in a file").try_clone_to_owned()?;
//! let same = skep_maps::open_shared(file)?;
//! let mut value = Vec::new();
//! same.read(&1u32.to_ne_bytes(), &mut value)?;
//! assert_eq!(value, 7u64.to_ne_bytes());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Memory is taken as a map fills, preallocated or not: pages that nobody wrote cost nothing. A machine that runs out of
//! memory while a map fills kills the process that writes (SIGBUS), so sizes beyond the machine's memory are refused.
//!
//! Always holds:
//! - look-ups take no lock and no locked instruction; a value's address is stable for the life of its entry;
//! - a writer that dies, however abruptly, blocks nobody: locks name their holders (`lock`, `owner`), and what a dead
//!   holder left half-done is mended by its successor (`htab`, `slab`, `types::ringbuf`);
//! - numbers read from the file are checked before they are used as indexes: another process that scribbles over a map
//!   can spoil its contents, not our memory;
//! - `unsafe` is in `mem`, and in `direct` for what compiled code calls.

mod arraymap;
mod bias;
mod check;
mod direct;
mod fields;
mod fifo;
mod file;
pub mod fixtures;
mod handles;
mod hasher;
mod hashmap;
mod htab;
mod lock;
mod mem;
mod owner;
mod slab;
mod storage;
mod trie;
pub mod types;

pub use file::possible_cpus;

use file::MapFile;
use skep_platform::map::{Create, Map, MapDef, MapError, MapTypeDesc};
use skep_platform::{Errno, MapType};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use storage::Storage;
use types::*;

macro_rules! types {
    ($($row:path $(, $storage:path)?;)*) => {
        /// Every map type, ascending by number.
        pub static MAP_TYPES: &[&MapTypeDesc] = &[$(&$row),*];
        /// Ways into a file, in the order of [`MAP_TYPES`].
        static STORAGES: &[Option<&Storage>] = &[$(types!(@storage $($storage)?)),*];
    };
    (@storage $storage:path) => { Some(&$storage) };
    (@storage) => { None };
}

types! {
    hash::DESC, hash::STORAGE;
    array::DESC, array::STORAGE;
    prog_array::DESC, prog_array::STORAGE;
    perf_event_array::DESC, perf_event_array::STORAGE;
    percpu_hash::DESC, percpu_hash::STORAGE;
    percpu_array::DESC, percpu_array::STORAGE;
    absent::STACK_TRACE;
    absent::CGROUP_ARRAY;
    lru_hash::DESC, lru_hash::STORAGE;
    lru_percpu_hash::DESC, lru_percpu_hash::STORAGE;
    lpm_trie::DESC, lpm_trie::STORAGE;
    array_of_maps::DESC, array_of_maps::STORAGE;
    hash_of_maps::DESC, hash_of_maps::STORAGE;
    absent::DEVMAP;
    absent::SOCKMAP;
    absent::CPUMAP;
    absent::XSKMAP;
    absent::SOCKHASH;
    absent::CGROUP_STORAGE;
    absent::REUSEPORT_SOCKARRAY;
    absent::PERCPU_CGROUP_STORAGE;
    queue::DESC, queue::STORAGE;
    stack::DESC, stack::STORAGE;
    absent::SK_STORAGE;
    absent::DEVMAP_HASH;
    absent::STRUCT_OPS;
    ringbuf::DESC, ringbuf::STORAGE;
    absent::INODE_STORAGE;
    absent::TASK_STORAGE;
    bloom_filter::DESC, bloom_filter::STORAGE;
    user_ringbuf::DESC, user_ringbuf::STORAGE;
    absent::CGRP_STORAGE;
    absent::ARENA;
}

/// The row of a map type.
pub fn desc(map_type: MapType) -> Option<&'static MapTypeDesc> {
    MAP_TYPES.iter().find(|d| d.map_type == map_type).copied()
}

fn storage(map_type: MapType) -> Option<&'static Storage> {
    let at = MAP_TYPES.iter().position(|d| d.map_type == map_type)?;
    STORAGES[at]
}

/// Makes a map.
///
/// Errors: the kernel's numbers for definitions that it refuses (`map_alloc_check` of the type); `EOPNOTSUPP` for types
/// that the user engine lacks, with the reason; `ENOMEM` for maps larger than the machine's memory.
pub fn create(def: &MapDef) -> Result<Arc<dyn Map>, MapError> {
    match desc(def.map_type).map(|d| d.create) {
        Some(Create::Fn(create)) => create(def),
        other => Err(absent_error(def, other)),
    }
}

/// Makes a map in `file`, an empty file that stays under the caller's control: one made with `O_TMPFILE` can be linked
/// into a folder, which pins the map.
pub fn create_in(def: &MapDef, file: OwnedFd) -> Result<Arc<dyn Map>, MapError> {
    match storage(def.map_type) {
        Some(storage) => storage.create(def, Some(file)),
        None => Err(absent_error(def, desc(def.map_type).map(|d| d.create))),
    }
}

/// Opens the map in a map file, which any process may have made.
///
/// Its BTF is not in the file, and entries that are programs or maps are not shared (`handles`). `EINVAL` for files
/// that are no map, are of another layout version or not complete.
pub fn open_shared(file: OwnedFd) -> Result<Arc<dyn Map>, Errno> {
    let file = MapFile::open(file)?;
    storage(file.def.map_type).ok_or(Errno::EOPNOTSUPP)?.open(file)
}

/// Checks a definition without making the map; gives it with sizes as its type rounds them.
pub fn check(def: &MapDef) -> Result<MapDef, MapError> {
    match storage(def.map_type) {
        Some(storage) => (storage.check)(def),
        None => Ok(def.clone()),
    }
}

fn absent_error(def: &MapDef, create: Option<Create>) -> MapError {
    let name = def.map_type.uapi_name();
    let (errno, why) = match create {
        Some(Create::Absent(why)) => (Errno::EOPNOTSUPP, format!("{name} is not in the user engine: {why}")),
        _ => (Errno::EINVAL, format!("{name} is not a map type that can be made")),
    };
    MapError { map: def.name.clone(), errno, why }
}
