//! `BPF_MAP_TYPE_LPM_TRIE`: values by address prefix; a look-up finds the longest prefix that matches
//! (kernel/bpf/lpm_trie.c).
//!
//! File: header (lock, root, counters) | table | nodes. The layout is told in `trie`.

use crate::check::{ACCESS, Check, KMALLOC_MAX};
use crate::direct;
use crate::file::{BODY, Layout, MapFile, round8};
use crate::owner::Owner;
use crate::storage::Storage;
use crate::trie::{Prefix, Trie};
use skep_platform::helper::Version;
use skep_platform::map::{Create, FastPath, LastArg, Map, MapDef, MapError, MapOp, MapTypeDesc, Side, flags};
use skep_platform::{Errno, MapType};
use std::any::Any;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// The row.
pub static DESC: MapTypeDesc = MapTypeDesc {
    map_type: MapType::LpmTrie,
    doc: "values by address prefix, the longest match found",
    since: Version(4, 11),
    create_flags: ACCESS | flags::NUMA_NODE | flags::NO_PREALLOC,
    helpers: &[],
    exclusive_helpers: &[],
    prog_types: &[],
    sleepable: false,
    per_cpu: false,
    direct_value: true,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &[],
    create: Create::Fn(|def| STORAGE.create(def, None)),
};

pub(crate) static STORAGE: Storage = Storage {
    check,
    layout: |def, _| {
        let trie = plan(def);
        Layout::plain((trie.nodes + u64::from(trie.count) * trie.stride) - BODY)
    },
    init: |_| {},
    attach: |file| Arc::new(LpmTrie { trie: plan(&file.def), file }),
};

/// Bytes of the prefix length in a key.
const LEN: u32 = 4;
/// Longest address in bytes (`LPM_DATA_SIZE_MAX`).
const MAX_DATA: u32 = 256;

fn check(def: &MapDef) -> Result<MapDef, MapError> {
    let check = Check(def);
    check.flags(DESC.create_flags)?;
    check.not_empty()?;
    check.that(def.flags & flags::NO_PREALLOC != 0, Errno::EINVAL, || {
        "an LPM trie needs BPF_F_NO_PREALLOC among its flags".into()
    })?;
    check.that((LEN + 1..=LEN + MAX_DATA).contains(&def.key_size), Errno::EINVAL, || {
        format!("key_size is {} and has to be {LEN} plus 1 to {MAX_DATA}", def.key_size)
    })?;
    let most = KMALLOC_MAX - u64::from(MAX_DATA) - 40;
    check.that(u64::from(def.value_size) <= most, Errno::EINVAL, || {
        format!("value_size {} is more than {most}", def.value_size)
    })?;
    Ok(def.clone())
}

/// Parts of the file. Forks are fewer than prefixes, so twice as many nodes suffice.
pub(crate) fn plan(def: &MapDef) -> Trie {
    let data_size = def.key_size - LEN;
    let table_bits = Trie::table_bits_for(def.max_entries, data_size);
    Trie {
        table: BODY,
        table_bits,
        nodes: (BODY + (8 << table_bits)).next_multiple_of(64),
        stride: Trie::node_len(round8(data_size), round8(def.value_size)),
        count: def.max_entries.saturating_mul(2).min(u32::MAX - 1),
        data_size,
        max_entries: def.max_entries,
    }
}

#[derive(Debug)]
pub(crate) struct LpmTrie {
    pub(crate) file: MapFile,
    pub(crate) trie: Trie,
}

impl LpmTrie {
    #[inline(always)]
    fn prefix<'k>(&self, key: &'k [u8]) -> Result<Prefix<'k>, Errno> {
        match key.split_first_chunk::<4>() {
            Some((len, data)) if data.len() == self.trie.data_size as usize => {
                Ok(Prefix { len: u32::from_ne_bytes(*len), data })
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// A prefix that can be in the trie.
    fn possible<'k>(&self, key: &'k [u8]) -> Result<Prefix<'k>, Errno> {
        self.prefix(key)?.within(self.trie.data_size * 8).ok_or(Errno::EINVAL)
    }
}

impl<'k> Prefix<'k> {
    fn within(self, max: u32) -> Option<Prefix<'k>> {
        (self.len <= max).then_some(self)
    }
}

impl Map for LpmTrie {
    fn def(&self) -> &MapDef {
        &self.file.def
    }

    #[inline]
    fn lookup(&self, key: &[u8], _cpu: u32) -> Result<Option<u64>, Errno> {
        let node = self.trie.longest(&self.file.mem, self.prefix(key)?);
        Ok(node.map(|node| self.file.mem.addr(self.trie.value(node))))
    }

    fn read(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.may_read()?;
        let mut copy = |node| {
            out.clear();
            self.file.mem.append(self.trie.value(node), self.file.def.value_size as usize, out);
        };
        let found = self.trie.read_entry(&self.file.mem, self.prefix(key)?, &mut copy);
        if found { Ok(()) } else { Err(Errno::ENOENT) }
    }

    fn update(&self, key: &[u8], value: &[u8], update: u64, side: Side) -> Result<(), Errno> {
        self.file.may_write(side)?;
        self.file.check_update_flags(update, false)?;
        let key = self.possible(key)?;
        if value.len() != self.file.def.value_size as usize {
            return Err(Errno::EINVAL);
        }
        let mem = &self.file.mem;
        let trie = self.trie.lock(mem, Owner::me())?;
        match (trie.exact(key), update) {
            (Some(_), flags::NOEXIST) => Err(Errno::EEXIST),
            (None, flags::EXIST) => Err(Errno::ENOENT),
            (Some(node), _) => {
                trie.replace(node, key, |at| mem.write(at, value));
                Ok(())
            }
            (None, _) => trie.insert(key, |at| mem.write(at, value)),
        }
    }

    fn delete(&self, key: &[u8], side: Side) -> Result<(), Errno> {
        self.file.may_write(side)?;
        let key = self.possible(key)?;
        self.trie.lock(&self.file.mem, Owner::me())?.remove(key)
    }

    fn lookup_and_delete(&self, _key: &[u8], _out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.cannot_take()
    }

    fn next_key(&self, key: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.may_read()?;
        let key = key.map(|k| self.prefix(k)).transpose()?;
        let _held = self.trie.lock(&self.file.mem, Owner::me())?;
        self.trie.next_key(&self.file.mem, key, out)
    }

    fn fast_path(&self, op: MapOp) -> Option<FastPath> {
        match op {
            MapOp::Lookup if self.trie.data_size == 4 => direct::path(direct::lookup_ipv4, LastArg::None),
            MapOp::Lookup => direct::path(direct::lookup::<LpmTrie>, LastArg::None),
            MapOp::Update => direct::path(direct::update::<LpmTrie>, LastArg::Cpu),
            MapOp::Delete => direct::path(direct::delete::<LpmTrie>, LastArg::Cpu),
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
