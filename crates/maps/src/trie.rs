//! A binary trie over bit prefixes, path-compressed, with a table that skips its first levels.
//!
//! **Node**: `child[2] u32 (node + 1), length u32 (bits 0-15 prefix length, bit 31 set when the node is only a fork), next free
//! u32, data, value`. Forks have two children. The children of a node continue its prefix; the bit after it chooses.
//!
//! **Table**: for each value of the first bits of an address (at most 16) a word with the node where the walk goes on, the
//! first on its path that is at least that long (low half), and the longest shorter prefix that matches (high half). A
//! look-up is one load from the table and a few nodes. A change rewrites the table's words under its prefix.
//!
//! **Readers** take no lock. A change becomes visible by single stores; an unlinked node keeps its contents until
//! `changes` has moved, so a reader that finds `changes` unmoved has seen only nodes as they were.
//!
//! **Writers** hold the trie's lock. Who succeeds a dead holder counts, frees and tabulates anew from the links, which are
//! whole after every store.

use crate::file::TYPE_WORDS;
use crate::lock::{Guard, lock};
use crate::mem::{Memory, load_word};
use crate::owner::Owner;
use skep_platform::Errno;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, fence};

const LOCK: u64 = TYPE_WORDS;
pub(crate) const ROOT: u64 = TYPE_WORDS + 8;
const ENTRIES: u64 = TYPE_WORDS + 12;
const FREE: u64 = TYPE_WORDS + 16;
const FRESH: u64 = TYPE_WORDS + 20;
pub(crate) const CHANGES: u64 = TYPE_WORDS + 24;
const VALUE_CHANGES: u64 = TYPE_WORDS + 28;

pub(crate) const NODE_HEADER: u64 = 16;
pub(crate) const FORK: u32 = 1 << 31;
/// Rounds of a look-up that is disturbed by writers before it takes what it sees.
const TRIES: u32 = 64;

/// Where table and nodes are; the same in every process that maps the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trie {
    /// Offset of the table.
    pub(crate) table: u64,
    /// First bits of an address that index the table; at least 1.
    pub(crate) table_bits: u32,
    /// Offset of node 0.
    pub(crate) nodes: u64,
    /// Bytes from node to node.
    pub(crate) stride: u64,
    /// Number of nodes.
    pub(crate) count: u32,
    /// Bytes of an address.
    pub(crate) data_size: u32,
    /// Most prefixes.
    pub(crate) max_entries: u32,
}

/// A prefix or an address: its bits and how many of them count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prefix<'k> {
    pub(crate) len: u32,
    pub(crate) data: &'k [u8],
}

/// Up to 8 bytes as a number whose top bit is the first bit.
#[inline(always)]
fn bits(word: u64) -> u64 {
    u64::from_be(word)
}

impl Prefix<'_> {
    /// The bit at `at`, which lies within the data.
    #[inline(always)]
    fn bit(&self, at: u32) -> u64 {
        u64::from(self.data[at as usize / 8] >> (7 - at % 8) & 1)
    }
}

impl Trie {
    /// Bytes of a node with so much data and value.
    pub(crate) fn node_len(data: u64, value: u64) -> u64 {
        NODE_HEADER + data + value
    }

    /// Bits that index the table of a trie with so many prefixes: enough for one prefix a word.
    pub(crate) fn table_bits_for(max_entries: u32, data_size: u32) -> u32 {
        let wanted = 34 - max_entries.leading_zeros();
        wanted.clamp(4, 16).min(data_size * 8)
    }

    fn max_len(&self) -> u32 {
        self.data_size * 8
    }

    #[inline(always)]
    fn at(&self, node: u32) -> u64 {
        self.nodes + u64::from(node) * self.stride
    }

    /// A node number out of the file, stored plus 1.
    #[inline(always)]
    fn checked(&self, plus_one: u32) -> Option<u32> {
        plus_one.checked_sub(1).filter(|node| *node < self.count)
    }

    /// The value of a node.
    #[inline]
    pub(crate) fn value(&self, node: u32) -> u64 {
        self.at(node) + NODE_HEADER + u64::from(self.data_size).next_multiple_of(8)
    }

    fn child<'m>(&self, mem: &'m Memory, node: u32, bit: u64) -> &'m AtomicU32 {
        mem.u32(self.at(node) + (bit & 1) * 4)
    }

    fn child_node(&self, mem: &Memory, node: u32, bit: u64) -> Option<u32> {
        self.checked(self.child(mem, node, bit).load(Acquire))
    }

    /// Prefix length of a node and whether it is only a fork.
    #[inline(always)]
    fn length(&self, mem: &Memory, node: u32) -> (u32, bool) {
        let word = mem.u32(self.at(node) + 8).load(Acquire);
        (word & 0xffff, word & FORK != 0)
    }

    /// Leading bits that a node's data and an address have in common, `limit` at most.
    #[inline(always)]
    fn common(&self, mem: &Memory, node: u32, data: &[u8], limit: u32) -> u32 {
        let stored = mem.words(self.at(node) + NODE_HEADER, data.len().div_ceil(8));
        let mut same = 0;
        for (word, chunk) in stored.iter().zip(data.chunks(8)) {
            let differ = bits(word.load(Relaxed)) ^ bits(load_word(chunk));
            same += differ.leading_zeros();
            if differ != 0 || same >= limit {
                break;
            }
        }
        same.min(limit)
    }

    /// Node of the longest prefix of `key` that is in the trie. Takes no lock.
    #[inline]
    pub(crate) fn longest(&self, mem: &Memory, key: Prefix<'_>) -> Option<u32> {
        if key.len > self.max_len() {
            return None;
        }
        let changes = mem.u32(CHANGES);
        let mut found = None;
        for _ in 0..TRIES {
            let before = changes.load(Acquire);
            found = self.walk(mem, key);
            fence(Acquire);
            if changes.load(Relaxed) == before {
                break;
            }
        }
        found
    }

    #[inline(always)]
    fn walk(&self, mem: &Memory, key: Prefix<'_>) -> Option<u32> {
        let (mut node, mut found) = if key.len >= self.table_bits {
            let word = mem.u64(self.table + self.index(key.data) * 8).load(Acquire);
            (self.checked(word as u32), self.checked((word >> 32) as u32))
        } else {
            (self.checked(mem.u32(ROOT).load(Acquire)), None)
        };
        let mut at_least = 0;
        while let Some(here) = node {
            let (len, fork) = self.length(mem, here);
            // Lengths grow along a path; anything else is not a trie.
            if len > key.len || len < at_least || self.common(mem, here, key.data, len) < len {
                break;
            }
            if !fork {
                found = Some(here);
            }
            if len >= self.max_len() {
                break;
            }
            at_least = len + 1;
            node = self.child_node(mem, here, key.bit(len));
        }
        found
    }

    /// The table's index for an address.
    #[inline(always)]
    fn index(&self, data: &[u8]) -> u64 {
        let first = bits(load_word(&data[..data.len().min(8)]));
        first >> (64 - self.table_bits)
    }

    /// Takes the write lock, mending what a dead holder left.
    pub(crate) fn lock<'m>(&self, mem: &'m Memory, me: Owner) -> Result<Locked<'m>, Errno> {
        let guard = lock(mem.u64(LOCK), me)?;
        let locked = Locked { trie: *self, mem, _guard: guard };
        if locked._guard.dead.is_some() {
            locked.mend();
        }
        Ok(locked)
    }

    /// Copies a value that no update tears, `copy` being called with its node. Whether there is one.
    pub(crate) fn read_entry(&self, mem: &Memory, key: Prefix<'_>, copy: &mut dyn FnMut(u32)) -> bool {
        let counters = [mem.u32(CHANGES), mem.u32(VALUE_CHANGES)];
        for _ in 0..TRIES {
            let before = counters.map(|c| c.load(Acquire));
            let Some(node) = self.longest(mem, key) else { return false };
            copy(node);
            fence(Acquire);
            if before[1] & 1 == 0 && counters.map(|c| c.load(Relaxed)) == before {
                return true;
            }
            std::hint::spin_loop();
        }
        let _held = self.lock(mem, Owner::me());
        self.longest(mem, key).map(copy).is_some()
    }

    /// Length and data of a node's prefix, as a key.
    fn copy_key(&self, mem: &Memory, node: u32, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.length(mem, node).0.to_ne_bytes());
        mem.append(self.at(node) + NODE_HEADER, self.data_size as usize, out);
    }

    /// Key after `key`, more specific prefixes before the ones they lie in, zeroes before ones
    /// (`trie_get_next_key`); the first for a key that is not there. The trie is locked by the caller.
    pub(crate) fn next_key(
        &self,
        mem: &Memory,
        key: Option<Prefix<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        let root = self.checked(mem.u32(ROOT).load(Acquire)).ok_or(Errno::ENOENT)?;
        let path = key.filter(|k| k.len <= self.max_len()).and_then(|k| self.path_to(mem, k));
        let next = match path {
            None => Some(self.first_below(mem, root)),
            Some(path) => self.after(mem, &path),
        };
        self.copy_key(mem, next.ok_or(Errno::ENOENT)?, out);
        Ok(())
    }

    /// Nodes from the root to the one that is exactly `key`.
    fn path_to(&self, mem: &Memory, key: Prefix<'_>) -> Option<Vec<u32>> {
        let (mut path, mut node) = (Vec::new(), self.checked(mem.u32(ROOT).load(Acquire)));
        while let Some(here) = node {
            path.push(here);
            let (len, fork) = self.length(mem, here);
            let same = self.common(mem, here, key.data, len.min(key.len));
            if len == key.len {
                return (same == len && !fork).then_some(path);
            }
            if same < len || path.len() as u32 > self.max_len() {
                return None;
            }
            node = self.child_node(mem, here, key.bit(len));
        }
        None
    }

    /// What follows the last node of a path.
    fn after(&self, mem: &Memory, path: &[u32]) -> Option<u32> {
        for pair in path.windows(2).rev() {
            let (parent, node) = (pair[0], pair[1]);
            let from_left = self.child_node(mem, parent, 0) == Some(node);
            if let Some(right) = self.child_node(mem, parent, 1).filter(|_| from_left) {
                return Some(self.first_below(mem, right));
            }
            if !self.length(mem, parent).1 {
                return Some(parent);
            }
        }
        None
    }

    /// The first prefix in the order of keys at or below a node.
    fn first_below(&self, mem: &Memory, mut node: u32) -> u32 {
        for _ in 0..=self.max_len() {
            match self.child_node(mem, node, 0).or_else(|| self.child_node(mem, node, 1)) {
                Some(child) => node = child,
                None => break,
            }
        }
        node
    }
}

/// The trie held by this thread.
pub(crate) struct Locked<'m> {
    trie: Trie,
    mem: &'m Memory,
    _guard: Guard<'m>,
}

/// Where a prefix belongs.
struct Spot<'m> {
    /// Link that leads there.
    link: &'m AtomicU32,
    /// Node it leads to.
    node: Option<u32>,
    /// Bits that node and prefix have in common.
    common: u32,
    /// Link to the node before, and that node.
    parent: Option<(&'m AtomicU32, u32)>,
}

/// What is known of the path above a node.
#[derive(Clone, Copy)]
struct Above {
    /// Node of the longest prefix on it, plus 1; 0 for none.
    best: u32,
    /// Least length that a node below has.
    at_least: u32,
}

impl<'m> Locked<'m> {
    fn count(&self, by: u32) {
        let entries = self.mem.u32(ENTRIES);
        entries.store(entries.load(Relaxed).wrapping_add(by), Relaxed);
    }

    /// Walks to where `key` is or belongs.
    fn spot(&self, key: Prefix<'_>) -> Spot<'m> {
        let (trie, mem) = (self.trie, self.mem);
        let mut spot = Spot { link: mem.u32(ROOT), node: None, common: 0, parent: None };
        for _ in 0..=trie.max_len() + 1 {
            spot.node = trie.checked(spot.link.load(Relaxed));
            let Some(node) = spot.node else { break };
            let (len, _) = trie.length(mem, node);
            spot.common = trie.common(mem, node, key.data, len.min(key.len));
            if spot.common != len || len == key.len || len == trie.max_len() {
                break;
            }
            spot.parent = Some((spot.link, node));
            spot.link = trie.child(mem, node, key.bit(len));
        }
        spot
    }

    /// The node that is exactly `key`.
    pub(crate) fn exact(&self, key: Prefix<'_>) -> Option<u32> {
        let spot = self.spot(key);
        let node = spot.node?;
        let (len, fork) = self.trie.length(self.mem, node);
        (len == key.len && spot.common == len && !fork).then_some(node)
    }

    /// Replaces a value in place with what `write` stores at its offset; the prefix gets the data of `key`.
    pub(crate) fn replace(&self, node: u32, key: Prefix<'_>, write: impl FnOnce(u64)) {
        let counter = self.mem.u32(VALUE_CHANGES);
        counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
        fence(Release);
        self.mem.write(self.trie.at(node) + NODE_HEADER, key.data);
        write(self.trie.value(node));
        counter.store(counter.load(Relaxed).wrapping_add(1), Release);
    }

    /// Adds a prefix that is not there. `ENOSPC` when the trie is full.
    pub(crate) fn insert(&self, key: Prefix<'_>, write: impl FnOnce(u64)) -> Result<(), Errno> {
        let (trie, mem) = (self.trie, self.mem);
        if mem.u32(ENTRIES).load(Relaxed) >= trie.max_entries {
            return Err(Errno::ENOSPC);
        }
        let spot = self.spot(key);
        let here = spot.node.map(|node| (node, trie.length(mem, node)));
        if let Some((fork, (len, true))) = here.filter(|(_, (len, _))| *len == spot.common && *len == key.len)
        {
            // A fork becomes a prefix.
            mem.write(trie.at(fork) + NODE_HEADER, key.data);
            write(trie.value(fork));
            mem.u32(trie.at(fork) + 8).store(len, Release);
        } else {
            let leaf = self.take()?;
            self.fill_node(leaf, key.len, key.data);
            write(trie.value(leaf));
            let top = match here {
                Some((node, _)) => self.join(leaf, node, key, spot.common)?,
                None => leaf,
            };
            spot.link.store(top + 1, Release);
        }
        self.count(1);
        self.tabulate(key);
        Ok(())
    }

    /// The node under which both a new leaf and the node in its place hang: the leaf itself or a new fork.
    fn join(&self, leaf: u32, node: u32, key: Prefix<'_>, common: u32) -> Result<u32, Errno> {
        let (trie, mem) = (self.trie, self.mem);
        if common == key.len {
            let bit = self.data_bit(node, common);
            trie.child(mem, leaf, bit).store(node + 1, Release);
            return Ok(leaf);
        }
        let Ok(fork) = self.take() else {
            self.give(leaf);
            return Err(Errno::ENOMEM);
        };
        let bit = key.bit(common);
        self.fill_node(fork, common | FORK, key.data);
        trie.child(mem, fork, bit).store(leaf + 1, Relaxed);
        trie.child(mem, fork, bit ^ 1).store(node + 1, Relaxed);
        Ok(fork)
    }

    fn data_bit(&self, node: u32, at: u32) -> u64 {
        let at = at.min(self.trie.max_len() - 1);
        let word = self.mem.u64(self.trie.at(node) + NODE_HEADER + u64::from(at / 64) * 8).load(Relaxed);
        bits(word) >> (63 - at % 64) & 1
    }

    fn fill_node(&self, node: u32, length: u32, data: &[u8]) {
        let at = self.trie.at(node);
        // Whoever reads a word of the new node also sees that `changes` has moved since the node was in use.
        fence(Release);
        self.mem.u64(at).store(0, Relaxed);
        self.mem.u32(at + 8).store(length, Relaxed);
        self.mem.write(at + NODE_HEADER, data);
    }

    /// Removes a prefix. `ENOENT` when it is not there.
    pub(crate) fn remove(&self, key: Prefix<'_>) -> Result<(), Errno> {
        let (trie, mem) = (self.trie, self.mem);
        let node = self.exact(key).ok_or(Errno::ENOENT)?;
        let spot = self.spot(key);
        let children = [0, 1].map(|bit| trie.child(mem, node, bit).load(Relaxed));
        let fork_above = spot.parent.filter(|(_, parent)| trie.length(mem, *parent).1);
        let mut freed = [Some(node), None];
        match (children, fork_above) {
            ([a, b], _) if a != 0 && b != 0 => {
                mem.u32(trie.at(node) + 8).store(key.len | FORK, Release);
                freed = [None, None];
            }
            ([0, 0], Some((link, parent))) => {
                let own = trie.child_node(mem, parent, 0) == Some(node);
                let sibling = trie.child(mem, parent, u64::from(own)).load(Relaxed);
                link.store(sibling, Release);
                freed[1] = Some(parent);
            }
            ([a, b], _) => spot.link.store(a | b, Release),
        }
        self.count(u32::MAX);
        self.tabulate(key);
        self.moved();
        freed.into_iter().flatten().for_each(|node| self.give(node));
        Ok(())
    }

    fn moved(&self) {
        let changes = self.mem.u32(CHANGES);
        changes.store(changes.load(Relaxed).wrapping_add(1), Release);
    }

    fn take(&self) -> Result<u32, Errno> {
        let (free, fresh) = (self.mem.u32(FREE), self.mem.u32(FRESH));
        if let Some(node) = self.trie.checked(free.load(Relaxed)) {
            free.store(self.mem.u32(self.trie.at(node) + 12).load(Relaxed), Relaxed);
            return Ok(node);
        }
        let node = fresh.load(Relaxed);
        if node >= self.trie.count {
            return Err(Errno::ENOMEM);
        }
        fresh.store(node + 1, Relaxed);
        Ok(node)
    }

    fn give(&self, node: u32) {
        let free = self.mem.u32(FREE);
        self.mem.u32(self.trie.at(node) + 12).store(free.load(Relaxed), Relaxed);
        free.store(node + 1, Relaxed);
    }

    /// Writes the table's words for addresses under `key`.
    fn tabulate(&self, key: Prefix<'_>) {
        let trie = self.trie;
        let index = trie.index(key.data);
        let span = 1u64 << trie.table_bits.saturating_sub(key.len);
        let root = trie.checked(self.mem.u32(ROOT).load(Relaxed));
        let first = index & !(span - 1);
        self.fill_table(root, Above { best: 0, at_least: 0 }, first, first + span);
    }

    /// Writes words `from..to`, all under the parent of `node`.
    fn fill_table(&self, node: Option<u32>, above: Above, from: u64, to: u64) {
        let (trie, mem, best) = (self.trie, self.mem, above.best);
        let put = |from: u64, to: u64, start: u32| {
            for index in from..to {
                mem.u64(trie.table + index * 8).store(u64::from(best) << 32 | u64::from(start), Release);
            }
        };
        // Lengths grow along a path; anything else is not a trie, and would have no end.
        let grows = |node: &u32| trie.length(mem, *node).0 >= above.at_least;
        let Some(node) = node.filter(grows) else { return put(from, to, 0) };
        let (len, fork) = trie.length(mem, node);
        let own = bits(mem.u64(trie.at(node) + NODE_HEADER).load(Relaxed)) >> (64 - trie.table_bits);
        let span = 1u64 << trie.table_bits.saturating_sub(len);
        let first = (own & !(span - 1)).clamp(from, to);
        let last = ((own & !(span - 1)) + span).clamp(from, to);
        put(from, first, 0);
        put(last, to, 0);
        if len >= trie.table_bits {
            return put(first, last, node + 1);
        }
        let above = Above { best: if fork { best } else { node + 1 }, at_least: len + 1 };
        let middle = ((own & !(span - 1)) + span / 2).clamp(first, last);
        for (bit, from, to) in [(0, first, middle), (1, middle, last)] {
            if from < to {
                self.fill_table(trie.child_node(mem, node, bit), above, from, to);
            }
        }
    }

    /// Counts, frees and tabulates anew from the links.
    #[cold]
    fn mend(&self) {
        let (trie, mem) = (self.trie, self.mem);
        let values = mem.u32(VALUE_CHANGES);
        values.store(values.load(Relaxed).next_multiple_of(2), Release);
        let fresh = mem.u32(FRESH).load(Relaxed).min(trie.count);
        let mut reached = vec![false; fresh as usize];
        let mut entries = 0;
        let mut todo: Vec<u32> = trie.checked(mem.u32(ROOT).load(Relaxed)).into_iter().collect();
        while let Some(node) = todo.pop() {
            match reached.get_mut(node as usize) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            entries += u32::from(!trie.length(mem, node).1);
            todo.extend([0, 1].into_iter().filter_map(|bit| trie.child_node(mem, node, bit)));
        }
        mem.u32(ENTRIES).store(entries, Relaxed);
        mem.u32(FREE).store(0, Relaxed);
        self.moved();
        for node in (0..fresh).filter(|node| !reached[*node as usize]) {
            self.give(node);
        }
        let root = trie.checked(mem.u32(ROOT).load(Relaxed));
        self.fill_table(root, Above { best: 0, at_least: 0 }, 0, 1 << trie.table_bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{Layout, MapFile};
    use crate::types::lpm_trie::{STORAGE, plan};
    use skep_platform::map::{MapDef, flags};

    fn file() -> (MapFile, Trie) {
        let def = MapDef {
            name: "t".into(),
            map_type: skep_platform::MapType::LpmTrie,
            key_size: 8,
            value_size: 8,
            max_entries: 4,
            flags: flags::NO_PREALLOC,
            map_extra: 0,
            numa_node: 0,
            pin_by_name: false,
            inner: None,
            btf: None,
        };
        let layout: Layout = (STORAGE.layout)(&def, 1);
        (MapFile::create(&def, layout).unwrap(), plan(&def))
    }

    fn add(trie: &Trie, mem: &Memory, len: u32, data: [u8; 4]) -> Result<(), Errno> {
        trie.lock(mem, Owner::me())?.insert(Prefix { len, data: &data }, |_| {})
    }

    fn find(trie: &Trie, mem: &Memory, data: [u8; 4]) -> Option<u32> {
        trie.longest(mem, Prefix { len: 32, data: &data }).map(|node| trie.length(mem, node).0)
    }

    /// What a thread leaves that dies between any two steps of an insert.
    #[test]
    fn a_writer_that_dies_leaves_a_whole_trie() {
        for step in 0..4 {
            let (file, trie) = file();
            let mem = &file.mem;
            add(&trie, mem, 8, [10, 0, 0, 0]).unwrap();
            std::thread::scope(|scope| {
                // Joined: a thread lives on for a moment after its scope has ended.
                scope.spawn(|| die_at(&trie, mem, step)).join().unwrap();
            });
            let whole = |len| if step >= 2 { Some(len) } else { Some(8) };
            add(&trie, mem, 32, [11, 0, 0, 1]).unwrap();
            assert_eq!(find(&trie, mem, [10, 1, 2, 3]), whole(16), "step {step}");
            assert_eq!(find(&trie, mem, [10, 2, 2, 3]), Some(8));
            let left = if step >= 2 { 1 } else { 2 };
            for n in 0..left {
                add(&trie, mem, 32, [200, n, 0, 1]).unwrap();
            }
            assert_eq!(add(&trie, mem, 32, [201, 0, 0, 1]), Err(Errno::ENOSPC), "step {step}");
        }
    }

    fn die_at(trie: &Trie, mem: &Memory, step: u32) {
        let key = Prefix { len: 16, data: &[10, 1, 0, 0] };
        let locked = trie.lock(mem, Owner::me()).unwrap();
        if step > 0 {
            let leaf = locked.take().unwrap();
            locked.fill_node(leaf, key.len, key.data);
            if step > 1 {
                locked.spot(key).link.store(leaf + 1, Release);
            }
        }
        if step > 2 {
            locked.count(1);
        }
        std::mem::forget(locked);
    }

    /// Readers against a writer: the longest prefix that stays is found, or a longer one that comes and goes.
    #[test]
    fn prefixes_that_stay_are_always_found() {
        use std::sync::atomic::AtomicBool;
        let (file, trie) = file();
        let mem = &file.mem;
        add(&trie, mem, 16, [10, 1, 0, 0]).unwrap();
        let stop = AtomicBool::new(false);
        let (mut short, mut long, mut late) = (0u64, 0u64, 0u64);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0u32.. {
                    // Another address each time, so that nodes are used again for other prefixes.
                    let [_, _, a, b] = n.wrapping_mul(0x9e37_79b9).to_be_bytes();
                    let keys = [(24, [10, 1, a, 0]), (20, [10, b, 0x10, 0]), (12, [a, 0, 0, 0])];
                    for (len, data) in &keys {
                        let _ = add(&trie, mem, *len, *data);
                    }
                    for (len, data) in &keys {
                        let _ = trie.lock(mem, Owner::me()).unwrap().remove(Prefix { len: *len, data });
                    }
                    if stop.load(Relaxed) {
                        break;
                    }
                }
            });
            let until = std::time::Instant::now() + std::time::Duration::from_millis(400);
            let mut n = 0u8;
            while std::time::Instant::now() < until {
                n = n.wrapping_add(37);
                let before = mem.u32(CHANGES).load(Acquire);
                match find(&trie, mem, [10, 1, n, 5]) {
                    Some(16) => short += 1,
                    Some(20 | 24) => long += 1,
                    // Found, and another prefix's by the time that this thread asked for its length.
                    Some(_) if mem.u32(CHANGES).load(Acquire) != before => late += 1,
                    other => {
                        stop.store(true, Relaxed);
                        panic!("found {other:?} after {short} and {long}");
                    }
                }
            }
            stop.store(true, Relaxed);
        });
        assert!(short > 0);
        assert!(late * 1000 < short + long, "{late} late of {short} and {long}");
    }

    /// Nodes of dead writers come back: more of them die than there are nodes.
    #[test]
    fn dead_writers_do_not_use_the_nodes_up() {
        let (file, trie) = file();
        for _ in 0..20 {
            std::thread::scope(|scope| {
                // Joined: a thread lives on for a moment after its scope has ended.
                scope.spawn(|| die_at(&trie, &file.mem, 1)).join().unwrap();
            });
        }
        for n in 0..4 {
            add(&trie, &file.mem, 32, [n, 0, 0, 1]).unwrap();
        }
    }
}
