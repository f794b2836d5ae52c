//! `BPF_MAP_TYPE_BLOOM_FILTER`: whether a value was surely never, or probably, pushed (kernel/bpf/bloom_filter.c).
//!
//! File: header with the seed | bits. As many bits as the kernel takes: 7/5 of entries times hash functions, rounded up to
//! a power of two; the hash functions are our own, so which other values seem to be there differs.

use crate::check::{ACCESS, Check, KMALLOC_MAX};
use crate::direct;
use crate::file::{BODY, Layout, MapFile, TYPE_WORDS};
use crate::hasher::Seed;
use crate::storage::Storage;
use skep_platform::helper::Version;
use skep_platform::map::{Create, FastPath, LastArg, Map, MapDef, MapError, MapOp, MapTypeDesc, Side, flags};
use skep_platform::{Errno, MapType};
use std::any::Any;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The row.
pub static DESC: MapTypeDesc = MapTypeDesc {
    map_type: MapType::BloomFilter,
    doc: "whether a value was surely never, or probably, pushed",
    since: Version(5, 16),
    create_flags: ACCESS | flags::NUMA_NODE | flags::ZERO_SEED,
    helpers: &[87, 89],
    exclusive_helpers: &[87, 89],
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
    layout: |def, _| Layout::plain(bits(def) / 8),
    init: |file| {
        let seed = if file.def.flags & flags::ZERO_SEED != 0 { Seed(0) } else { Seed::random() };
        file.mem.u64(TYPE_WORDS).store(seed.0, Relaxed);
    },
    attach: |file| {
        let (seed, mask) = (Seed(file.mem.u64(TYPE_WORDS).load(Relaxed)), bits(&file.def) - 1);
        Arc::new(Bloom { seed, mask, hashes: hashes(&file.def), file })
    },
};

fn check(def: &MapDef) -> Result<MapDef, MapError> {
    let check = Check(def);
    check.that(u64::from(def.value_size) <= KMALLOC_MAX, Errno::E2BIG, || {
        format!("value_size {} is more than {KMALLOC_MAX}", def.value_size)
    })?;
    check.flags(DESC.create_flags)?;
    check.key_size(0)?;
    check.not_empty()?;
    check.that(def.map_extra & !0xf == 0, Errno::EINVAL, || {
        format!("map_extra {:#x} has more than a number of hash functions (1 to 15) in it", def.map_extra)
    })?;
    Ok(def.clone())
}

/// Hash functions asked for; 5 when the definition leaves it open.
fn hashes(def: &MapDef) -> u32 {
    match def.map_extra as u32 & 0xf {
        0 => 5,
        n => n,
    }
}

/// Bits of the filter (`bloom_map_alloc`).
fn bits(def: &MapDef) -> u64 {
    let wanted = def.max_entries.checked_mul(hashes(def)).and_then(|n| (n / 5).checked_mul(7));
    match wanted.filter(|n| *n <= 1 << 31) {
        Some(n) => u64::from(n).next_power_of_two().max(64),
        None => 1 << 32,
    }
}

#[derive(Debug)]
struct Bloom {
    file: MapFile,
    seed: Seed,
    mask: u64,
    hashes: u32,
}

impl Bloom {
    /// Word and bit of each hash function.
    fn places(&self, value: &[u8]) -> impl Iterator<Item = (u64, u64)> {
        let hash = self.seed.hash(value);
        let (step, mask) = (hash.rotate_left(32) | 1, self.mask);
        (0..u64::from(self.hashes)).map(move |i| {
            let bit = hash.wrapping_add(step.wrapping_mul(i)) >> 7 & mask;
            (BODY + bit / 64 * 8, 1 << (bit % 64))
        })
    }

    fn add(&self, value: &[u8], update: u64) -> Result<(), Errno> {
        if update != flags::ANY || value.len() != self.file.def.value_size as usize {
            return Err(Errno::EINVAL);
        }
        for (word, bit) in self.places(value) {
            self.file.mem.u64(word).fetch_or(bit, Relaxed);
        }
        Ok(())
    }

    fn has(&self, value: &[u8]) -> Result<(), Errno> {
        if value.len() != self.file.def.value_size as usize {
            return Err(Errno::EINVAL);
        }
        let all = self.places(value).all(|(word, bit)| self.file.mem.u64(word).load(Relaxed) & bit != 0);
        if all { Ok(()) } else { Err(Errno::ENOENT) }
    }
}

impl Map for Bloom {
    fn def(&self) -> &MapDef {
        &self.file.def
    }

    fn lookup(&self, _key: &[u8], _cpu: u32) -> Result<Option<u64>, Errno> {
        Err(Errno::EINVAL)
    }

    /// `out` holds the value that is asked for, as in the kernel.
    fn read(&self, _key: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.may_read()?;
        self.has(out)
    }

    /// User space pushes by updating; programs have `push`.
    fn update(&self, _key: &[u8], value: &[u8], update: u64, side: Side) -> Result<(), Errno> {
        self.file.may_write(side)?;
        if side == Side::User { self.add(value, update) } else { Err(Errno::EINVAL) }
    }

    fn delete(&self, _key: &[u8], side: Side) -> Result<(), Errno> {
        self.file.may_write(side)?;
        Err(Errno::EOPNOTSUPP)
    }

    fn lookup_and_delete(&self, _key: &[u8], _out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.cannot_take()
    }

    fn next_key(&self, _key: Option<&[u8]>, _out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.may_read()?;
        Err(Errno::EOPNOTSUPP)
    }

    fn push(&self, value: &[u8], update: u64) -> Result<(), Errno> {
        self.file.may_write(Side::Prog { cpu: 0 })?;
        self.add(value, update)
    }

    fn peek(&self, value: &mut [u8]) -> Result<(), Errno> {
        self.has(value)
    }

    fn fast_path(&self, op: MapOp) -> Option<FastPath> {
        match op {
            MapOp::Push => direct::path(direct::push::<Bloom>, LastArg::None),
            MapOp::Peek => direct::path(direct::ask::<Bloom>, LastArg::None),
            _ => None,
        }
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
