//! Routines for compiled code that knows its map: an operation without the search for the map and without the helper's body.
//!
//! Most are a map's own methods, compiled for that type and given the program's addresses ([`lookup`], [`update`], …). Hash
//! maps with short keys have a look-up of their own for each key size, with the hash in line ([`hash_lookup`]): the way of
//! `htab` without bounds that the layout implies. Whatever is not the usual case (a chain, an entry unlinked meanwhile)
//! goes the way of `htab`. Updates and removals are such too, for the thread whose the map is ([`own`]).
//!
//! Always holds: a routine is given out by the map whose address it is called with, for code that the verifier has accepted; bytes of
//! the program are copied before they are used, since others may write them meanwhile.

mod own;

use crate::arraymap::Array;
use crate::bias::{enter, leave};
use crate::hasher::{fold, long_words};
use crate::hashmap::HashMap;
use crate::htab::{matching, place_of, tag_of};
use crate::owner::Owner;
use crate::slab::SLOT_HEADER;
use crate::trie::{CHANGES, FORK, NODE_HEADER, ROOT};
use crate::types::lpm_trie::LpmTrie;
use own::Found;
use skep_platform::Errno;
use skep_platform::map::{FastPath, LastArg, Map, MapRoutine, RoutineFn, Side, flags};
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, fence};

/// A routine as a fast path.
pub(crate) fn path(call: RoutineFn, last: LastArg) -> Option<FastPath> {
    Some(FastPath::Call(MapRoutine { call, last, parts: [None; 2] }))
}

/// The map whose routine is called.
///
/// # Safety
/// `map` is the address of a living `M`: what [`RoutineFn`] promises.
unsafe fn this<'m, M>(map: u64) -> &'m M {
    // SAFETY: the caller's promise.
    unsafe { &*std::ptr::with_exposed_provenance::<M>(map as usize) }
}

/// Copies `N` bytes of the program.
///
/// # Safety
/// They are readable: what [`RoutineFn`] promises.
#[inline(always)]
unsafe fn copy<const N: usize>(addr: u64) -> [u8; N] {
    // SAFETY: the caller's promise; arrays of bytes have no alignment.
    unsafe { std::ptr::with_exposed_provenance::<[u8; N]>(addr as usize).read_unaligned() }
}

/// Gives a copy of `len` bytes of the program to `f`.
///
/// # Safety
/// They are readable: what [`RoutineFn`] promises.
#[inline(always)]
unsafe fn with<R>(addr: u64, len: u32, f: impl Fn(&[u8]) -> R) -> R {
    // SAFETY: the caller's promise, `len` being the size matched.
    unsafe {
        match len {
            4 => f(&copy::<4>(addr)),
            8 => f(&copy::<8>(addr)),
            16 => f(&copy::<16>(addr)),
            _ => with_many(addr, len, &f),
        }
    }
}

/// As [`with`], for any length.
#[inline(never)]
unsafe fn with_many<R>(addr: u64, len: u32, f: &dyn Fn(&[u8]) -> R) -> R {
    let from = std::ptr::with_exposed_provenance::<u8>(addr as usize);
    let len = len as usize;
    let mut short = [0u8; 128];
    if len <= short.len() {
        // SAFETY: the caller's promise for the source; the destination is as long.
        unsafe { std::ptr::copy(from, short.as_mut_ptr(), len) };
        return f(&short[..len]);
    }
    let mut long = vec![0u8; len];
    // SAFETY: as above.
    unsafe { std::ptr::copy(from, long.as_mut_ptr(), len) };
    f(&long)
}

/// Error number or 0, as `r0` has it.
fn status(done: Result<(), Errno>) -> u64 {
    done.map_or_else(Errno::to_r0, |()| 0)
}

/// `r0 = value of the key at r2` on the CPU in the last argument.
pub(crate) unsafe extern "C" fn lookup<M: Map>(map: u64, key: u64, _: u64, _: u64, _: u64, cpu: u64) -> u64 {
    // SAFETY: what `RoutineFn` promises.
    unsafe {
        let map = this::<M>(map);
        let found = with(key, map.def().key_size, |key| map.lookup(key, cpu as u32));
        found.ok().flatten().unwrap_or(0)
    }
}

/// `r0 = value of the key at r2` on the CPU in `r3`.
pub(crate) unsafe extern "C" fn lookup_percpu<M: Map>(
    map: u64,
    key: u64,
    cpu: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: what `RoutineFn` promises.
    unsafe { lookup::<M>(map, key, 0, 0, 0, u64::from(cpu as u32)) }
}

/// Sets the value of the key at `r2` to that at `r3` by the flags in `r4`.
pub(crate) unsafe extern "C" fn update<M: Map>(
    map: u64,
    key: u64,
    value: u64,
    flags: u64,
    _: u64,
    cpu: u64,
) -> u64 {
    // SAFETY: what `RoutineFn` promises.
    unsafe {
        let map = this::<M>(map);
        let (def, side) = (map.def(), Side::Prog { cpu: cpu as u32 });
        status(with(key, def.key_size, |key| {
            with(value, def.value_size, |value| map.update(key, value, flags, side))
        }))
    }
}

/// Removes the key at `r2`.
pub(crate) unsafe extern "C" fn delete<M: Map>(map: u64, key: u64, _: u64, _: u64, _: u64, cpu: u64) -> u64 {
    // SAFETY: what `RoutineFn` promises.
    unsafe {
        let map = this::<M>(map);
        status(with(key, map.def().key_size, |key| map.delete(key, Side::Prog { cpu: cpu as u32 })))
    }
}

/// Adds the value at `r2` by the flags in `r3`.
pub(crate) unsafe extern "C" fn push<M: Map>(
    map: u64,
    value: u64,
    flags: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: what `RoutineFn` promises.
    unsafe {
        let map = this::<M>(map);
        status(with(value, map.def().value_size, |value| map.push(value, flags)))
    }
}

/// Asks a filter for the value at `r2`.
pub(crate) unsafe extern "C" fn ask<M: Map>(map: u64, value: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    // SAFETY: what `RoutineFn` promises.
    unsafe {
        let map = this::<M>(map);
        status(with(value, map.def().value_size, |value| {
            let mut short = [0; 64];
            match short.get_mut(..value.len()) {
                Some(short) => {
                    short.copy_from_slice(value);
                    map.peek(short)
                }
                None => map.peek(&mut value.to_vec()),
            }
        }))
    }
}

/// Takes a value out, to `r2`; zeros where there is none.
pub(crate) unsafe extern "C" fn pop<M: Map>(map: u64, value: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    // SAFETY: what `RoutineFn` promises.
    unsafe {
        let map = this::<M>(map);
        take(value, map.def().value_size as usize, |out| map.pop(out))
    }
}

/// Copies the next value to `r2`; zeros where there is none.
pub(crate) unsafe extern "C" fn peek<M: Map>(map: u64, value: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    // SAFETY: what `RoutineFn` promises.
    unsafe {
        let map = this::<M>(map);
        take(value, map.def().value_size as usize, |out| map.peek(out))
    }
}

/// # Safety
/// `len` bytes at `to` are writable.
#[inline(always)]
unsafe fn take(to: u64, len: usize, get: impl FnOnce(&mut [u8]) -> Result<(), Errno>) -> u64 {
    let (mut short, mut long) = ([0u8; 64], Vec::new());
    let buffer = match short.get_mut(..len) {
        Some(short) => short,
        None => {
            long.resize(len, 0);
            long.as_mut_slice()
        }
    };
    let got = get(buffer);
    if got.is_ok() || got == Err(Errno::ENOENT) {
        let to = std::ptr::with_exposed_provenance_mut::<u8>(to as usize);
        // SAFETY: the caller's promise; the buffer is as long.
        unsafe { std::ptr::copy(buffer.as_ptr(), to, len) };
    }
    status(got)
}

/// Reserves `r2` bytes in a ring buffer.
pub(crate) unsafe extern "C" fn reserve<M: Map>(
    map: u64,
    len: u64,
    flags: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: what `RoutineFn` promises.
    let map = unsafe { this::<M>(map) };
    map.ringbuf().and_then(|r| r.reserve(len, flags).ok()).unwrap_or(0)
}

/// Publishes the record at `r1` in the ring buffer that is the last argument.
pub(crate) unsafe extern "C" fn submit<M: Map>(
    record: u64,
    flags: u64,
    _: u64,
    _: u64,
    _: u64,
    map: u64,
) -> u64 {
    // SAFETY: what `RoutineFn` promises.
    let map = unsafe { this::<M>(map) };
    map.ringbuf().map(|r| r.submit(record, flags));
    0
}

/// Gives the record at `r1` up.
pub(crate) unsafe extern "C" fn discard<M: Map>(
    record: u64,
    flags: u64,
    _: u64,
    _: u64,
    _: u64,
    map: u64,
) -> u64 {
    // SAFETY: what `RoutineFn` promises.
    let map = unsafe { this::<M>(map) };
    map.ringbuf().map(|r| r.discard(record, flags));
    0
}

/// Copies `r3` bytes at `r2` into a ring buffer.
pub(crate) unsafe extern "C" fn output<M: Map>(
    map: u64,
    data: u64,
    len: u64,
    flags: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: what `RoutineFn` promises.
    unsafe {
        let map = this::<M>(map);
        let Ok(len) = u32::try_from(len) else { return Errno::E2BIG.to_r0() };
        status(with(data, len, |data| map.ringbuf().map_or(Err(Errno::EINVAL), |r| r.output(data, flags))))
    }
}

/// Where a hash map's parts are in this process, for [`hash_lookup`]. Made by the map from its own layout, all of which lies in its
/// mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    /// Address of bucket 0.
    pub(crate) buckets: u64,
    /// Number of buckets minus 1.
    pub(crate) mask: u32,
    /// Number of slots.
    pub(crate) count: u32,
    /// Address of slot 0.
    pub(crate) slots: u64,
    /// Bytes from slot to slot.
    pub(crate) stride: u64,
    /// The hash's two starting words.
    pub(crate) seeds: (u64, u64),
    /// Address of the used-lately bytes.
    pub(crate) used: u64,
    /// Address of CPU 0's values and bytes from CPU to CPU and from value to value.
    pub(crate) percpu: [u64; 3],
    /// CPUs that have values.
    pub(crate) cpus: u32,
    /// Words of a value, rounded up.
    pub(crate) value_words: u32,
    /// Address of the words that say whose the map is (`bias::LINE`).
    pub(crate) bias: u64,
    /// Address of the lines of free lists, the shared one first, and number of lists that any CPU may use; 0 where each CPU has
    /// slots of its own.
    pub(crate) lines: u64,
    pub(crate) lists: u32,
    /// Address of the hand of least recently used entries.
    pub(crate) hand: u64,
}

/// Values in the slot.
pub(crate) const PLAIN: u8 = 0;
/// Values in the slot, least recently used entries dropped.
pub(crate) const LRU: u8 = 1;
/// A value per CPU.
pub(crate) const PERCPU: u8 = 2;
/// A value per CPU, least recently used entries dropped.
pub(crate) const LRU_PERCPU: u8 = 3;

/// The look-up for a key of `key_size` bytes in a map of a kind, where there is one, and those for keys made of parts.
pub(crate) fn hash_lookup_for(key_size: u32, kind: u8) -> Option<(RoutineFn, [Option<RoutineFn>; 2])> {
    macro_rules! sizes {
        ($part:literal: $($bytes:literal $words:literal),*) => {
            match (key_size, kind) {
                $(($bytes, PLAIN) => Some(hash_lookup::<$bytes, $words, PLAIN, $part> as RoutineFn),
                  ($bytes, LRU) => Some(hash_lookup::<$bytes, $words, LRU, $part> as RoutineFn),
                  ($bytes, PERCPU) => Some(hash_lookup::<$bytes, $words, PERCPU, $part> as RoutineFn),
                  ($bytes, LRU_PERCPU) => Some(hash_lookup::<$bytes, $words, LRU_PERCPU, $part> as RoutineFn),)*
                _ => None,
            }
        };
    }
    let whole = sizes!(0: 1 1, 2 1, 4 1, 8 1, 12 2, 16 2, 20 3, 24 3, 32 4, 36 5, 40 5, 48 6, 64 8)?;
    let of_two = sizes!(2: 4 1, 8 1, 12 2, 16 2, 20 3, 24 3, 36 5, 40 5);
    let of_four = sizes!(4: 8 1, 64 8);
    Some((whole, [of_two, of_four]))
}

/// The removal of a key of `key_size` bytes, where there is one.
pub(crate) fn hash_delete_for(key_size: u32) -> Option<RoutineFn> {
    macro_rules! sizes {
        ($($bytes:literal $words:literal),*) => {
            Some(match key_size {
                $($bytes => hash_delete::<$bytes, $words>,)*
                _ => return None,
            })
        };
    }
    sizes!(4 1, 8 1, 12 2, 16 2, 64 8)
}

/// The update for a key of `key_size` bytes in a map of a kind, where there is one. For values of whole words
/// without special fields.
pub(crate) fn hash_update_for(key_size: u32, kind: u8) -> Option<RoutineFn> {
    macro_rules! sizes {
        ($($bytes:literal $words:literal),*) => {
            Some(match (key_size, kind) {
                $(($bytes, PLAIN) => hash_update::<$bytes, $words, PLAIN>,
                  ($bytes, LRU) => hash_update::<$bytes, $words, LRU>,)*
                _ => return None,
            })
        };
    }
    sizes!(4 1, 8 1, 12 2, 16 2, 64 8)
}

/// `r0 = value of the N-byte key at r2`; `W` is `N` in words, rounded up. `PART`: bytes of the parts that the key is made of, or 0.
unsafe extern "C" fn hash_lookup<const N: usize, const W: usize, const KIND: u8, const PART: usize>(
    map: u64,
    key: u64,
    _: u64,
    _: u64,
    _: u64,
    cpu: u64,
) -> u64 {
    // SAFETY: what `RoutineFn` promises: the map's address and a key of as many bytes as it has; the table is the map's own.
    unsafe {
        let t = &this::<HashMap>(map).table;
        let words = key_words::<N, W, PART>(key);
        let hash = hash::<N, W>(t, &words);
        let bucket = t.bucket(hash);
        let changes = AtomicU16::from_ptr(pointer(bucket + 8));
        let before = if W > 1 { changes.load(Acquire) } else { 0 };
        if let Some(Found { slot, number, .. }) = scan(t, bucket, hash, &words) {
            fence(Acquire);
            if W > 1 && changes.load(Relaxed) != before {
                return lookup::<HashMap>(map, key, 0, 0, 0, cpu);
            }
            if KIND == LRU || KIND == LRU_PERCPU {
                touch(t, number);
            }
            return match KIND {
                PLAIN | LRU => slot + SLOT_HEADER + (W as u64) * 8,
                _ if cpu as u32 >= t.cpus => 0,
                _ => {
                    let [base, region, size] = t.percpu;
                    base + u64::from(cpu as u32) * region + number * size
                }
            };
        }
        missing(map, key, bucket, cpu)
    }
}

/// The outcome for a key that is not in its bucket: none, unless there is a chain or an entry may have moved meanwhile.
///
/// # Safety
/// As [`hash_lookup`].
#[inline(always)]
unsafe fn missing(map: u64, key: u64, bucket: u64, cpu: u64) -> u64 {
    // Entries of a bucket without a chain do not move in it: what is not in it now was not there, or has just come.
    // SAFETY: the bucket is one of the map's.
    let chain = unsafe { AtomicU32::from_ptr(pointer(bucket + 12)).load(Acquire) };
    if chain == 0 {
        return 0;
    }
    // SAFETY: the caller's promise.
    unsafe { lookup::<HashMap>(map, key, 0, 0, 0, cpu) }
}

/// Sets the value of the N-byte key at `r2` to that at `r3`.
unsafe extern "C" fn hash_update<const N: usize, const W: usize, const KIND: u8>(
    map: u64,
    key: u64,
    value: u64,
    flags: u64,
    _: u64,
    cpu: u64,
) -> u64 {
    // SAFETY: what `RoutineFn` promises; the table is the map's own.
    unsafe {
        let t = &this::<HashMap>(map).table;
        let me = Owner::me();
        if flags <= flags::EXIST
            && let Some(inside) = t.enter(me)
        {
            let words = key_words::<N, W, 0>(key);
            let hash = hash::<N, W>(t, &words);
            let done = match scan(t, t.bucket(hash), hash, &words) {
                Some(found) if t.value_words == 1 && flags != flags::NOEXIST => {
                    // One store: there is no half of it that another thread could see, or this one could leave behind.
                    copy_words(found.slot + SLOT_HEADER + (W as u64) * 8, value, 1);
                    if KIND == LRU {
                        touch(t, found.number);
                    }
                    true
                }
                None if flags != flags::EXIST => own::add::<KIND>(t, hash, &words, value, cpu, me),
                _ => false,
            };
            leave(inside);
            if done {
                return 0;
            }
        }
        hash_update_locked::<N, W, KIND>(map, key, value, flags, cpu)
    }
}

/// Removes the N-byte key at `r2`.
unsafe extern "C" fn hash_delete<const N: usize, const W: usize>(
    map: u64,
    key: u64,
    _: u64,
    _: u64,
    _: u64,
    cpu: u64,
) -> u64 {
    // SAFETY: what `RoutineFn` promises; the table is the map's own.
    unsafe {
        let t = &this::<HashMap>(map).table;
        let me = Owner::me();
        if let Some(inside) = t.enter(me) {
            let words = key_words::<N, W, 0>(key);
            let hash = hash::<N, W>(t, &words);
            let bucket = t.bucket(hash);
            let found = scan(t, bucket, hash, &words);
            let done = found.is_some_and(|entry| own::remove(t, bucket, entry, cpu, me));
            leave(inside);
            if done {
                return 0;
            }
        }
        delete::<HashMap>(map, key, 0, 0, 0, cpu)
    }
}

impl Table {
    /// Goes inside of the map if it is the thread's own.
    ///
    /// # Safety
    /// The table is a living map's.
    #[inline(always)]
    unsafe fn enter<'m>(&self, me: Owner) -> Option<&'m AtomicU64> {
        // SAFETY: the words of the map's line.
        enter(|n| unsafe { AtomicU64::from_ptr(pointer(self.bias + n * 8)) }, me)
    }
}

/// As [`hash_update`], of a map that several threads write, of a value of several words, or of a new key.
///
/// # Safety
/// As [`hash_update`].
#[inline(never)]
unsafe fn hash_update_locked<const N: usize, const W: usize, const KIND: u8>(
    map: u64,
    key: u64,
    value: u64,
    flags: u64,
    cpu: u64,
) -> u64 {
    // SAFETY: what `RoutineFn` promises; the table is the map's own, the value has the map's number of words.
    unsafe {
        let map = this::<HashMap>(map);
        let t = &map.table;
        let words = key_words::<N, W, 0>(key);
        let hash = hash::<N, W>(t, &words);
        if flags & !flags::EXIST == 0
            && let Ok(held) = map.tab.lock(&map.file.mem, hash as u32, Owner::me())
            && let Some(Found { slot, number, .. }) = scan(t, t.bucket(hash), hash, &words)
        {
            let to = slot + SLOT_HEADER + (W as u64) * 8;
            if t.value_words == 1 {
                copy_words(to, value, 1);
            } else {
                held.write_value(|| copy_words(to, value, t.value_words));
            }
            if KIND == LRU {
                touch(t, number);
            }
            return 0;
        }
        update::<HashMap>(std::ptr::from_ref(map).expose_provenance() as u64, key, value, flags, 0, cpu)
    }
}

/// Sets the value of the index at `r2` in an array whose values are whole words, `words` of them.
///
/// # Safety
/// `to` has them, `from` is a value of the program.
#[inline(always)]
pub(crate) unsafe fn copy_words(to: u64, from: u64, words: u32) {
    for at in (0..u64::from(words)).map(|i| i * 8) {
        // SAFETY: the caller's promise; values of a map are aligned to 8 bytes.
        unsafe {
            let word = pointer::<u64>(from + at).read_unaligned();
            AtomicU64::from_ptr(pointer(to + at)).store(word, Relaxed);
        }
    }
}

/// An array's update, for values of whole words without special fields.
pub(crate) unsafe extern "C" fn array_update(
    map: u64,
    key: u64,
    value: u64,
    flags: u64,
    _: u64,
    cpu: u64,
) -> u64 {
    // SAFETY: what `RoutineFn` promises.
    unsafe {
        let array = this::<Array>(map);
        let index = u32::from_ne_bytes(copy::<4>(key));
        match array.word_place(index, cpu as u32) {
            Some((to, words)) if flags & !flags::EXIST == 0 => {
                copy_words(to, value, words);
                0
            }
            _ => update::<Array>(map, key, value, flags, 0, cpu),
        }
    }
}

/// The longest prefix of the IPv4 address at `r2` in a trie: `trie`'s walk with the address in a register.
pub(crate) unsafe extern "C" fn lookup_ipv4(map: u64, key: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    // SAFETY: what `RoutineFn` promises. Table and nodes lie in the mapping where the layout says; the table's index has as many bits
    // as the table has, and a node's number is compared with the number of nodes.
    unsafe {
        let t = this::<LpmTrie>(map);
        let [len, addr] = [key, key + 4].map(|at| pointer::<u32>(at).read_unaligned());
        let (trie, mem, addr) = (&t.trie, &t.file.mem, u32::from_be(addr));
        let base = mem.addr(0);
        let u32_at = |at: u64| AtomicU32::from_ptr(pointer(at)).load(Acquire);
        let before = u32_at(base + CHANGES);
        let (mut next, mut found) = if len >= trie.table_bits {
            let index = u64::from(addr >> (32 - trie.table_bits));
            let word = AtomicU64::from_ptr(pointer(base + trie.table + index * 8)).load(Acquire);
            (word as u32, (word >> 32) as u32)
        } else {
            (u32_at(base + ROOT), 0)
        };
        let (mut at_least, nodes) = (0, base + trie.nodes);
        while next.wrapping_sub(1) < trie.count {
            let node = nodes + u64::from(next - 1) * trie.stride;
            let word = u32_at(node + 8);
            let (here, same) =
                (word & 0xffff, (u32::from_be(u32_at(node + NODE_HEADER)) ^ addr).leading_zeros());
            // Lengths grow along a path; anything else is not a trie.
            if here > len || here < at_least || same < here {
                break;
            }
            found = if word & FORK == 0 { next } else { found };
            if here >= 32 {
                break;
            }
            at_least = here + 1;
            next = u32_at(node + u64::from(addr << here >> 31) * 4);
        }
        fence(Acquire);
        if len > 32 || u32_at(base + CHANGES) != before {
            return lookup::<LpmTrie>(map, key, 0, 0, 0, 0);
        }
        match found.wrapping_sub(1) < trie.count {
            true => nodes + u64::from(found - 1) * trie.stride + NODE_HEADER + 8,
            false => 0,
        }
    }
}

/// A number at any address.
#[repr(C, packed)]
struct Unaligned<T: Copy>(T);

impl<T: Copy + Into<u64>> From<Unaligned<T>> for u64 {
    #[inline(always)]
    fn from(part: Unaligned<T>) -> u64 {
        let Unaligned(part) = part;
        part.into()
    }
}

fn pointer<T>(addr: u64) -> *mut T {
    std::ptr::with_exposed_provenance_mut(addr as usize)
}

/// The key at an address as words, padded with zeros. Each word is read as the program wrote it (`PART`), or most likely did, so
/// that the machine can forward what was just stored.
///
/// # Safety
/// `N` bytes are readable there.
#[inline(always)]
unsafe fn key_words<const N: usize, const W: usize, const PART: usize>(addr: u64) -> [u64; W] {
    let mut words = [0; W];
    for (i, word) in words.iter_mut().enumerate() {
        let at = addr + 8 * i as u64;
        // SAFETY: the caller's promise: no more than the rest of the key is read.
        *word = unsafe {
            match (N - 8 * i, PART) {
                (1, _) => pointer::<u8>(at).read().into(),
                (2, _) => pointer::<u16>(at).read_unaligned().into(),
                (4, 2) => parts::<Unaligned<u16>, 2>(at),
                (_, 2) => parts::<Unaligned<u16>, 4>(at),
                (4, _) => pointer::<u32>(at).read_unaligned().into(),
                // Keys as long as these are mostly words and strings.
                (_, 0) if N == 8 || N == 64 => pointer::<u64>(at).read_unaligned(),
                // Long keys are often put together of fields of 4 bytes.
                _ => parts::<Unaligned<u32>, 2>(at),
            }
        };
    }
    words
}

/// `N` parts as one number. Volatile, so that no wider load is made of them: that would wait for the stores to reach the cache.
///
/// # Safety
/// They are readable.
#[inline(always)]
unsafe fn parts<T: Into<u64>, const N: usize>(at: u64) -> u64 {
    let part = |i: usize| {
        // SAFETY: the caller's promise; parts have no alignment.
        let part: u64 = unsafe { pointer::<T>(at + (i * size_of::<T>()) as u64).read_volatile() }.into();
        part << (8 * i * size_of::<T>())
    };
    (0..N).fold(0, |word, i| word | part(i))
}

#[inline(always)]
fn hash<const N: usize, const W: usize>(t: &Table, key: &[u64; W]) -> u64 {
    let (a, b) = t.seeds;
    match N {
        0..=8 => fold(key[0] ^ a, b),
        9..=16 => fold(key[0] ^ a, key[1] ^ b),
        _ => long_words(a, b, key),
    }
}

/// Sets the used-lately byte of a slot.
///
/// # Safety
/// The slot is one of the map's.
#[inline(always)]
unsafe fn touch(t: &Table, number: u64) {
    // SAFETY: there is a byte for each slot, in the mapping.
    let used = unsafe { AtomicU8::from_ptr(pointer(t.used + number)) };
    if used.load(Relaxed) == 0 {
        used.store(1, Relaxed);
    }
}

/// The entry of a key in the places of its bucket.
///
/// # Safety
/// `t` is the table of a living map, `bucket` one of its buckets.
#[inline(always)]
unsafe fn scan<const W: usize>(t: &Table, bucket: u64, hash: u64, key: &[u64; W]) -> Option<Found> {
    // SAFETY: words of a bucket lie in its 64 bytes; a slot's number is compared with the number of slots, and a slot holds
    // the whole key. All of it is in the map's mapping, and aligned.
    unsafe {
        let tags = |off: u64| AtomicU64::from_ptr(pointer(bucket + off)).load(Acquire);
        let tag = tag_of(hash);
        let mut hits = matching(tags(16), tag) | matching(tags(24), tag) >> 1;
        while hits != 0 {
            let place = place_of(hits.trailing_zeros());
            let number = AtomicU32::from_ptr(pointer::<u32>(bucket + 32 + place * 4)).load(Acquire);
            if number < t.count {
                let number = u64::from(number);
                let slot = t.slots + number * t.stride;
                let stored =
                    |i: usize| AtomicU64::from_ptr(pointer(slot + SLOT_HEADER + 8 * i as u64)).load(Relaxed);
                if (0..W).fold(0, |differs, i| differs | (stored(i) ^ key[i])) == 0 {
                    return Some(Found { slot, number, place });
                }
            }
            hits &= hits - 1;
        }
        None
    }
}
