//! Look-up of types by name: one index by *essential* name (the name without a flavour suffix), made at the first
//! look-up, serves both exact look-up and the search for CO-RE candidates.
//!
//! The index is a sorted list of (hash, id): eight bytes a named type, no string is copied.

use crate::btf::Btf;
use crate::kind::Kind;

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

/// The index over the own types of one [`Btf`].
#[derive(Debug)]
pub(crate) struct Names {
    /// `hash << 32 | id`, sorted.
    keys: Box<[u64]>,
}

impl Names {
    pub(crate) fn new(btf: &Btf) -> Names {
        let mut keys = Vec::new();
        for id in btf.first_id()..btf.type_count() {
            let off = btf.record(id).map_or(0, |r| r.name_off());
            if off != 0 {
                keys.push(u64::from(hash_at(btf, off)) << 32 | u64::from(id));
            }
        }
        keys.sort_unstable();
        Names { keys: keys.into() }
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
    /// The first type (the base's first) of this name and kind. The first call makes the index (some milliseconds for
    /// a kernel), then it costs a binary search.
    pub fn find_by_name_kind(&self, name: &str, kind: Kind) -> Option<u32> {
        if name.is_empty() {
            return None;
        }
        if let Some(id) = self.base().and_then(|b| b.find_by_name_kind(name, kind)) {
            return Some(id);
        }
        let mut ids = self.names().candidates(essential_name(name));
        ids.find(|id| self.kind_of(*id) == Some(kind) && self.name_of(*id) == name)
    }

    /// All own types (not the base's) of this name, in the order of their ids.
    pub fn find_by_name<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        self.names().candidates(essential_name(name)).filter(move |id| self.name_of(*id) == name)
    }

    /// All own types (not the base's) whose name without flavour is `essential`, in the order of their ids.
    pub fn find_by_essential_name<'a>(&'a self, essential: &'a str) -> impl Iterator<Item = u32> + 'a {
        self.names().candidates(essential).filter(move |id| essential_name(self.name_of(*id)) == essential)
    }
}

#[cfg(test)]
mod tests {
    use super::essential_name;

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
