//! Look-up of types by name, exact and by *essential* name (the name without a flavour suffix), for CO-RE candidates.
//!
//! The first look-ups in many types (a kernel's) search the strings for the name and the types for its offsets. Whoever asks
//! more often is served by an index: a sorted list of (hash of the essential name, id), eight bytes a named type; no string
//! is copied. Making it takes as long as a dozen searches.

use crate::btf::Btf;
use crate::kind::Kind;
use memchr::memmem;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The name without a flavour suffix: what stands before the last `___` with something on either side that is not an
/// underscore (`task_struct___old` → `task_struct`). Rule of libbpf's `bpf_core_essential_name_len`.
pub fn essential_name(name: &str) -> &str {
    let b = name.as_bytes();
    let is_separator = |i: usize| {
        b[i + 1] == b'_' && b[i + 2] == b'_' && b[i + 3] == b'_' && b[i] != b'_' && b[i + 4] != b'_'
    };
    match (0..b.len().saturating_sub(4)).rev().find(|i| is_separator(*i)) {
        Some(i) => name.get(..i + 1).unwrap_or(name),
        None => name,
    }
}

/// Types from which on searching comes before the index.
const MANY: u32 = 8192;
/// Searches before the index is made.
const SEARCHES: u32 = 8;

/// Look-ups in the own types of one [`Btf`].
#[derive(Debug, Default)]
pub(crate) struct Names {
    searched: AtomicU32,
    index: OnceLock<Index>,
}

impl Names {
    /// Own types whose essential name may be `essential`, in the order of their ids.
    fn candidates(&self, btf: &Btf, essential: &str) -> Vec<u32> {
        let few = btf.type_count() - btf.first_id() < MANY || essential.is_empty();
        if self.index.get().is_none() && !few && self.searched.fetch_add(1, Relaxed) < SEARCHES {
            return search(btf, essential);
        }
        self.index.get_or_init(|| Index::new(btf)).candidates(essential).collect()
    }
}

/// The same without an index: where the strings have the name with or without a flavour, and which types begin there.
fn search(btf: &Btf, essential: &str) -> Vec<u32> {
    let strings = btf.own_strings();
    let ends = |at: usize| {
        let rest = &strings.as_bytes()[at + essential.len()..];
        rest.first() == Some(&0) || rest.starts_with(b"___")
    };
    let first = btf.strings_end() - strings.len() as u32;
    let (finder, mut from, mut offsets) = (memmem::Finder::new(essential), 0, Vec::new());
    while let Some(at) = finder.find(&strings.as_bytes()[from..]).map(|n| from + n) {
        if ends(at) {
            offsets.push(first + at as u32);
        }
        from = at + 1;
    }
    let named = |id: &u32| btf.record(*id).is_some_and(|r| offsets.contains(&r.name_off()));
    (btf.first_id()..btf.type_count()).filter(named).collect()
}

/// The index.
#[derive(Debug)]
struct Index {
    /// `hash << 32 | id`, sorted.
    keys: Box<[u64]>,
}

impl Index {
    fn new(btf: &Btf) -> Index {
        let mut keys = Vec::new();
        for id in btf.first_id()..btf.type_count() {
            let off = btf.record(id).map_or(0, |r| r.name_off());
            if off != 0 {
                keys.push(u64::from(hash_at(btf, off)) << 32 | u64::from(id));
            }
        }
        keys.sort_unstable();
        Index { keys: keys.into() }
    }

    /// Own types whose essential name may be `essential` (the hash is equal), in the order of their ids.
    fn candidates(&self, essential: &str) -> impl Iterator<Item = u32> {
        let h = u64::from(hash(essential));
        let from = self.keys.partition_point(|k| k >> 32 < h);
        self.keys[from..].iter().take_while(move |k| *k >> 32 == h).map(|k| *k as u32)
    }
}

const SEED: u32 = 0x811c_9dc5;

/// FNV-1a.
fn hash(name: &str) -> u32 {
    name.bytes().fold(SEED, hash_byte)
}

fn hash_byte(h: u32, b: u8) -> u32 {
    (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
}

/// The hash of the essential name at a string offset: one pass over the name, unless it may have a flavour.
fn hash_at(btf: &Btf, off: u32) -> u32 {
    let (mut h, mut underscores) = (SEED, 0u32);
    let strings = btf.own_strings_from(off);
    for b in strings.iter().copied() {
        if b == 0 {
            return h;
        }
        underscores = if b == b'_' { underscores + 1 } else { 0 };
        if underscores == 3 {
            break;
        }
        h = hash_byte(h, b);
    }
    hash(essential_name(btf.name_at(off)))
}

impl Btf {
    /// The first type (the base's first) of this name and kind. The first calls search a kernel's types (half a millisecond
    /// each), then an index is made (some milliseconds) and they cost a binary search.
    pub fn find_by_name_kind(&self, name: &str, kind: Kind) -> Option<u32> {
        if name.is_empty() {
            return None;
        }
        if let Some(id) = self.base().and_then(|b| b.find_by_name_kind(name, kind)) {
            return Some(id);
        }
        let ids = self.names().candidates(self, essential_name(name));
        ids.into_iter().find(|id| self.kind_of(*id) == Some(kind) && self.name_of(*id) == name)
    }

    /// All own types (not the base's) of this name, in the order of their ids.
    pub fn find_by_name<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        self.names()
            .candidates(self, essential_name(name))
            .into_iter()
            .filter(move |id| self.name_of(*id) == name)
    }

    /// All own types (not the base's) whose name without flavour is `essential`, in the order of their ids.
    pub fn find_by_essential_name<'a>(&'a self, essential: &'a str) -> impl Iterator<Item = u32> + 'a {
        let ids = self.names().candidates(self, essential);
        ids.into_iter().filter(move |id| essential_name(self.name_of(*id)) == essential)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::{Index, essential_name, search};
    use crate::{BtfBuilder, IntEncoding};

    #[test]
    fn searching_finds_what_the_index_finds() {
        let mut b = BtfBuilder::new();
        for name in ["a", "aa", "a___a", "aa___a___b", "a___", "b", "___a", "a____b"] {
            b.add_int(name, 4, IntEncoding::default()).unwrap();
        }
        let btf = b.finish().unwrap();
        for name in ["a", "aa", "b", "aa___a", "___a", "a____b", "c"] {
            let named = |ids: Vec<u32>| -> Vec<u32> {
                ids.into_iter().filter(|id| essential_name(btf.name_of(*id)) == name).collect()
            };
            let indexed = named(Index::new(&btf).candidates(name).collect());
            assert_eq!(named(search(&btf, name)), indexed, "{name}");
            assert_eq!(indexed.is_empty(), name == "c");
        }
    }

    #[test]
    fn flavours_are_cut_at_the_last_separator() {
        for (name, want) in [
            ("task_struct", "task_struct"),
            ("task_struct___old", "task_struct"),
            ("a___b___c", "a___b"),
            ("a____b", "a____b"),
            ("___b", "___b"),
            ("a___", "a___"),
            ("a___é", "a"),
            ("é___b", "é"),
            ("", ""),
        ] {
            assert_eq!(essential_name(name), want, "{name}");
        }
    }
}
