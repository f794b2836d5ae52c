//! Hash maps: what plain, per-CPU, LRU and per-CPU LRU hash maps share.
//!
//! File: header | free lists | buckets | used-lately bytes (LRU) | slots | for per-CPU types a region of values for each
//! CPU. A slot is its header, the key and, unless values are per CPU, the value; all padded to 8 bytes.
//!
//! **LRU** is a clock: an entry gets its used-lately byte set by program look-ups and updates (user-space look-ups do not
//! count, as in the kernel), a hand goes round the slots, clears the byte of those that have it and evicts the first that has
//! not. The kernel approximates with active and inactive lists and per-CPU batches of up to 128 free elements, which
//! makes it evict before the map is full; this clock evicts one entry when the map is full, and never one used since the hand
//! last passed. With `BPF_F_NO_COMMON_LRU` each CPU has its own range of slots and its own hand.

use crate::bias::LINE;
use crate::check::{Check, KMALLOC_MAX};
use crate::direct;
use crate::file::{BODY, Layout, MapFile, TYPE_WORDS, possible_cpus, round8};
use crate::hasher::Seed;
use crate::htab::{BUCKET, Hashed, Htab, Locked};
use crate::mem::PAGE;
use crate::owner::Owner;
use crate::slab::{SLOT_HEADER, Slab};
use skep_platform::map::{FastPath, LastArg, Map, MapDef, MapError, MapOp, MapRoutine, Side, flags};
use skep_platform::{Errno, MapType};
use std::any::Any;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

/// A hash map of any of the four types.
#[derive(Debug)]
pub(crate) struct HashMap {
    pub(crate) file: MapFile,
    pub(crate) tab: Htab,
    values: Values,
    lru: Option<Lru>,
    /// The same for compiled code.
    pub(crate) table: direct::Table,
}

/// Where values are.
#[derive(Clone, Copy, Debug)]
enum Values {
    /// In the slot, this far from its start.
    InSlot(u64),
    /// Per CPU: offset of CPU 0's region and length of a region.
    PerCpu { at: u64, region: u64 },
}

/// State of the LRU clock.
#[derive(Clone, Copy, Debug)]
struct Lru {
    /// Offset of a byte a slot: used lately.
    used: u64,
    /// Each CPU evicts from its own range.
    own_range: bool,
}

impl Lru {
    /// Offset of the hand of a list from the list lines.
    fn hand(self, list: u32) -> u64 {
        let line = if self.own_range { 1 + u64::from(list) } else { 0 };
        line * 64 + 32
    }
}

/// Parts of the file, by offset.
#[derive(Clone, Copy)]
struct Plan {
    lines: u64,
    buckets: u64,
    used: u64,
    slots: u64,
    stride: u64,
    values: u64,
    region: u64,
    end: u64,
}

fn is_lru(def: &MapDef) -> bool {
    matches!(def.map_type, MapType::LruHash | MapType::LruPercpuHash)
}

fn is_per_cpu(def: &MapDef) -> bool {
    matches!(def.map_type, MapType::PercpuHash | MapType::LruPercpuHash)
}

impl Plan {
    fn of(def: &MapDef, cpus: u32) -> Plan {
        let entries = u64::from(def.max_entries);
        let lines = BODY;
        let buckets = lines + Slab::lines_len(cpus);
        let used = buckets + Htab::buckets_for(def.max_entries) * BUCKET;
        let slots = (used + if is_lru(def) { entries } else { 0 }).next_multiple_of(64);
        let inline = if is_per_cpu(def) { 0 } else { round8(def.value_size) };
        let stride = SLOT_HEADER + round8(def.key_size) + inline;
        let values = (slots + entries * stride).next_multiple_of(PAGE);
        let region =
            if is_per_cpu(def) { (entries * round8(def.value_size)).next_multiple_of(PAGE) } else { 0 };
        Plan { lines, buckets, used, slots, stride, values, region, end: values + region * u64::from(cpus) }
    }
}

/// Most bucket heads that the kernel makes (`U32_MAX / sizeof(struct bucket)`, a power of two).
const MAX_BUCKETS: u32 = 1 << 27;

/// `htab_map_alloc_check` and what `htab_map_alloc` adds; the definition with the entries as the kernel rounds them.
pub(crate) fn check(def: &MapDef) -> Result<MapDef, MapError> {
    let check = Check(def);
    let has = |flag: u32| def.flags & flag != 0;
    check.that(is_lru(def) || !has(flags::NO_COMMON_LRU), Errno::EINVAL, || {
        "BPF_F_NO_COMMON_LRU is for LRU maps only".into()
    })?;
    check.that(!is_lru(def) || !has(flags::NO_PREALLOC), Errno::ENOTSUPP, || {
        "LRU maps are always preallocated: leave BPF_F_NO_PREALLOC out".into()
    })?;
    check.that(!has(flags::NO_COMMON_LRU) || !has(flags::NUMA_NODE), Errno::EINVAL, || {
        "BPF_F_NUMA_NODE is not for LRU lists of their own for each CPU".into()
    })?;
    check.that(def.key_size != 0, Errno::EINVAL, || "key_size is 0 and has to be at least 1".into())?;
    check.not_empty()?;
    let entry = u64::from(def.key_size) + u64::from(def.value_size);
    check.that(entry < KMALLOC_MAX - 48, Errno::E2BIG, || {
        format!("key and value have {entry} bytes together and may have {}", KMALLOC_MAX - 49)
    })?;
    if is_per_cpu(def) {
        check.per_cpu_value()?;
    }
    let mut rounded = def.clone();
    if has(flags::NO_COMMON_LRU) {
        let cpus = possible_cpus();
        let up = def.max_entries.checked_next_multiple_of(cpus);
        rounded.max_entries = up.unwrap_or(def.max_entries / cpus * cpus);
    }
    check.that(rounded.max_entries <= MAX_BUCKETS, Errno::E2BIG, || {
        format!("max_entries {} is more than the {MAX_BUCKETS} a hash map may have", def.max_entries)
    })?;
    Ok(rounded)
}

impl HashMap {
    /// What the map needs of its file. Cannot overflow: entries are at most 2^27, an entry at most 4 MiB.
    pub(crate) fn layout(def: &MapDef, cpus: u32) -> Layout {
        Layout::plain(Plan::of(def, cpus).end - BODY)
    }

    /// Initialises a new file.
    pub(crate) fn init(file: &MapFile) {
        let seed = if file.def.flags & flags::ZERO_SEED != 0 { Seed(0) } else { Seed::random() };
        file.mem.u64(TYPE_WORDS).store(seed.0, Relaxed);
        Self::table(file, seed).slab.init(&file.mem);
    }

    fn table(file: &MapFile, seed: Seed) -> Htab {
        let plan = Plan::of(&file.def, file.cpus);
        let (count, lists) = (file.def.max_entries, file.cpus);
        let slab = Slab { lines: plan.lines, lists, slots: plan.slots, stride: plan.stride, count };
        let mask = (Htab::buckets_for(count) - 1) as u32;
        Htab { buckets: plan.buckets, mask, slab, key_size: file.def.key_size, seed }
    }

    /// The map in an initialised file.
    pub(crate) fn attach(file: MapFile) -> HashMap {
        let plan = Plan::of(&file.def, file.cpus);
        let seed = Seed(file.mem.u64(TYPE_WORDS).load(Relaxed));
        let tab = HashMap::table(&file, seed);
        let values = match is_per_cpu(&file.def) {
            true => Values::PerCpu { at: plan.values, region: plan.region },
            false => Values::InSlot(SLOT_HEADER + round8(file.def.key_size)),
        };
        let own_range = file.def.flags & flags::NO_COMMON_LRU != 0;
        let lru = is_lru(&file.def).then_some(Lru { used: plan.used, own_range });
        let mem = &file.mem;
        let table = direct::Table {
            buckets: mem.addr(plan.buckets),
            mask: tab.mask,
            count: tab.slab.count,
            slots: mem.addr(plan.slots),
            stride: plan.stride,
            seeds: seed.start(file.def.key_size as usize),
            used: mem.addr(plan.used),
            percpu: [mem.addr(plan.values), plan.region, round8(file.def.value_size)],
            cpus: file.cpus,
            value_words: file.def.value_size.div_ceil(8),
            bias: mem.addr(LINE),
            lines: mem.addr(plan.lines),
            lists: if own_range { 0 } else { file.cpus },
            hand: lru.map_or(0, |lru| mem.addr(tab.slab.lines + Lru::hand(lru, 0))),
        };
        HashMap { file, tab, values, lru, table }
    }

    /// The look-up of compiled code.
    fn direct_lookup(&self) -> Option<FastPath> {
        let kind = match (self.values, self.lru) {
            (Values::InSlot(_), None) => direct::PLAIN,
            (Values::InSlot(_), Some(_)) => direct::LRU,
            (Values::PerCpu { .. }, None) => direct::PERCPU,
            (Values::PerCpu { .. }, Some(_)) => direct::LRU_PERCPU,
        };
        let last = if self.copies() > 1 { LastArg::Cpu } else { LastArg::None };
        let (call, parts) = direct::hash_lookup_for(self.file.def.key_size, kind)
            .unwrap_or((direct::lookup::<HashMap>, [None; 2]));
        Some(FastPath::Call(MapRoutine { call, last, parts }))
    }

    /// As a map for everybody.
    pub(crate) fn shared(file: MapFile) -> Arc<dyn Map> {
        Arc::new(HashMap::attach(file))
    }

    /// The key with its hash; `EINVAL` for one of another length.
    #[inline(always)]
    pub(crate) fn hashed<'k>(&self, key: &'k [u8]) -> Result<Hashed<'k>, Errno> {
        if key.len() != self.tab.key_size as usize {
            return Err(Errno::EINVAL);
        }
        Ok(self.tab.hashed(key))
    }

    /// Offset of a slot's value as `cpu` sees it.
    #[inline(always)]
    fn value(&self, slot: u32, cpu: u32) -> u64 {
        match self.values {
            Values::InSlot(off) => self.tab.slab.at(slot) + off,
            Values::PerCpu { at, region } => {
                at + u64::from(cpu) * region + u64::from(slot) * round8(self.file.def.value_size)
            }
        }
    }

    /// CPUs that have a value of their own: 1 where values are not per CPU.
    fn copies(&self) -> u32 {
        if matches!(self.values, Values::PerCpu { .. }) { self.file.cpus } else { 1 }
    }

    fn touch(&self, slot: u32) {
        if let Some(lru) = self.lru {
            let used = self.file.mem.u8(lru.used + u64::from(slot));
            if used.load(Relaxed) == 0 {
                used.store(1, Relaxed);
            }
        }
    }

    /// Free list that a caller uses first.
    fn list(&self, side: Side, me: Owner) -> u32 {
        match side {
            Side::Prog { cpu } => cpu % self.file.cpus,
            Side::User => me.tid() % self.file.cpus,
        }
    }

    /// Checks flags and the length of a value.
    fn check_update(&self, value: &[u8], update: u64, side: Side) -> Result<(), Errno> {
        self.file.may_write(side)?;
        let lockable = self.file.def.map_type == MapType::Hash;
        self.file.check_update_flags(update, lockable)?;
        let per_cpu = matches!(self.values, Values::PerCpu { .. });
        let expected = match (side, per_cpu) {
            (Side::User, true) => round8(self.file.def.value_size) * u64::from(self.file.cpus),
            _ => u64::from(self.file.def.value_size),
        };
        if value.len() as u64 == expected { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Writes a value, or the values of all CPUs. A new entry's other CPUs are zeroed.
    fn store(&self, slot: u32, value: &[u8], side: Side, new: bool) {
        match (self.values, side) {
            (Values::InSlot(_), _) => self.file.put(self.value(slot, 0), value, new),
            (Values::PerCpu { .. }, Side::User) => {
                let size = round8(self.file.def.value_size) as usize;
                for (cpu, part) in (0..).zip(value.chunks(size)) {
                    self.file.put(self.value(slot, cpu), part, new);
                }
            }
            (Values::PerCpu { .. }, Side::Prog { cpu: own }) => {
                for cpu in (0..self.file.cpus).filter(|cpu| new && *cpu != own) {
                    self.file.mem.zero(self.value(slot, cpu), self.file.def.value_size as usize);
                }
                self.file.put(self.value(slot, own.min(self.file.cpus - 1)), value, new);
            }
        }
    }

    /// Changes an existing entry in place.
    fn replace(
        &self,
        bucket: &Locked<'_>,
        slot: u32,
        value: &[u8],
        update: u64,
        side: Side,
    ) -> Result<(), Errno> {
        self.touch(slot);
        if update & flags::LOCK != 0 {
            return self.file.put_locked(self.value(slot, 0), value);
        }
        match value.len() {
            0..=8 => self.store(slot, value, side, false),
            _ => bucket.write_value(|| self.store(slot, value, side, false)),
        }
        Ok(())
    }

    /// Update of a checked request; `spare` is a slot in flight that is used first and left when it was not needed.
    fn upsert(
        &self,
        key: Hashed<'_>,
        value: &[u8],
        update: u64,
        side: Side,
        spare: &mut Option<u32>,
    ) -> Result<(), Errno> {
        let me = Owner::me();
        loop {
            let bucket = self.tab.lock(&self.file.mem, key.hash as u32, me)?;
            let exists = bucket.find(key);
            match (exists, update & !flags::LOCK) {
                (Some(_), flags::NOEXIST) => return Err(Errno::EEXIST),
                (None, flags::EXIST) => return Err(Errno::ENOENT),
                (Some(slot), _) => return self.replace(&bucket, slot, value, update, side),
                (None, _) => {}
            }
            let list = self.list(side, me);
            if spare.is_none() {
                *spare = self.tab.slab.take(&self.file.mem, list, !self.own_range(), me)?;
            }
            if let Some(slot) = spare.take() {
                self.store(slot, value, side, true);
                bucket.insert(key, slot);
                self.begin_life(slot);
                return Ok(());
            }
            drop(bucket);
            *spare = Some(self.make_room(list, me)?);
        }
    }

    /// A new entry is not yet used: only a look-up or a second update spares it from the hand.
    fn begin_life(&self, slot: u32) {
        if let Some(lru) = self.lru {
            self.file.mem.u8(lru.used + u64::from(slot)).store(0, Relaxed);
        }
    }

    fn own_range(&self) -> bool {
        self.lru.is_some_and(|lru| lru.own_range)
    }

    /// A slot in flight for a map that has none left.
    #[cold]
    fn make_room(&self, list: u32, me: Owner) -> Result<u32, Errno> {
        let mem = &self.file.mem;
        match self.lru {
            Some(lru) => self.evict(lru, list, me)?.ok_or(Errno::ENOMEM),
            None => self.tab.slab.reclaim(mem, me, &|hash| self.mend(hash, me))?.ok_or(Errno::E2BIG),
        }
    }

    /// Takes and releases a bucket's lock, which mends it when its holder is dead.
    fn mend(&self, hash: u32, me: Owner) {
        drop(self.tab.lock(&self.file.mem, hash, me));
    }

    /// Unlinks the first entry under the hand that was not used lately. `None` when three rounds found none.
    fn evict(&self, lru: Lru, list: u32, me: Owner) -> Result<Option<u32>, Errno> {
        let (mem, slab) = (&self.file.mem, &self.tab.slab);
        let (start, end) = if lru.own_range { slab.range(list) } else { (0, slab.count) };
        let span = end - start;
        let hand = mem.u32(self.hand(lru, list));
        for _ in 0..3 * u64::from(span) {
            let slot = start + hand.fetch_add(1, Relaxed) % span.max(1);
            if slab.owner(mem, slot).load(Acquire) != 0 {
                if slab.reclaim_one(mem, slot, me, &|hash| self.mend(hash, me))? {
                    return Ok(Some(slot));
                }
                continue;
            }
            let used = mem.u8(lru.used + u64::from(slot));
            if used.load(Relaxed) != 0 {
                used.store(0, Relaxed);
                continue;
            }
            let bucket = self.tab.lock(mem, slab.hash(mem, slot).load(Relaxed), me)?;
            if bucket.remove_slot(slot) {
                return Ok(Some(slot));
            }
        }
        slab.take(mem, list, !lru.own_range, me)
    }

    /// Offset of the hand: one for the map, or one a list at the end of its line.
    fn hand(&self, lru: Lru, list: u32) -> u64 {
        self.tab.slab.lines + lru.hand(list)
    }

    /// Number of entries. Cost: a pass over all buckets.
    #[cfg(test)]
    pub(crate) fn len(&self) -> u64 {
        self.tab.len(&self.file.mem)
    }

    /// Gives a slot in flight back: one that an update did not need, or that a removal freed.
    fn give_back(&self, spare: Option<u32>, side: Side) {
        if let Some(slot) = spare {
            let me = Owner::me();
            // A failure leaves the slot in flight, where it is found once this thread has ended.
            let _ = self.tab.slab.give(&self.file.mem, self.home(slot, self.list(side, me)), slot, me);
        }
    }

    /// List that a freed slot goes to: with ranges of their own, the range it is from.
    fn home(&self, slot: u32, list: u32) -> u32 {
        if !self.own_range() {
            return list;
        }
        let within =
            |list: &u32| (self.tab.slab.range(*list).0..self.tab.slab.range(*list).1).contains(&slot);
        (0..self.file.cpus).find(within).unwrap_or(list)
    }

    /// Value, or all CPUs' values, of a slot. Per-CPU values are read as they are written: padding included.
    fn copy_values(&self, slot: u32, out: &mut Vec<u8>) {
        let size = match self.values {
            Values::InSlot(_) => u64::from(self.file.def.value_size),
            Values::PerCpu { .. } => round8(self.file.def.value_size),
        };
        out.clear();
        for cpu in 0..self.copies() {
            let start = out.len();
            self.file.mem.append(self.value(slot, cpu), size as usize, out);
            self.file.hide(&mut out[start..]);
        }
    }
}

impl HashMap {
    /// Copies the value, or all CPUs' values, of a key, whoever asks.
    pub(crate) fn copy_entry(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        let key = self.hashed(key)?;
        let found = self.tab.read_entry(&self.file.mem, key, &mut |slot| self.copy_values(slot, out));
        if found { Ok(()) } else { Err(Errno::ENOENT) }
    }
}

impl Map for HashMap {
    fn def(&self) -> &MapDef {
        &self.file.def
    }

    #[inline]
    fn lookup(&self, key: &[u8], cpu: u32) -> Result<Option<u64>, Errno> {
        let Some(slot) = self.tab.find(&self.file.mem, self.hashed(key)?) else { return Ok(None) };
        if cpu >= self.file.cpus && self.copies() > 1 {
            return Ok(None);
        }
        self.touch(slot);
        Ok(Some(self.file.mem.addr(self.value(slot, cpu))))
    }

    fn read(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.may_read()?;
        self.copy_entry(key, out)
    }

    fn update(&self, key: &[u8], value: &[u8], update: u64, side: Side) -> Result<(), Errno> {
        self.check_update(value, update, side)?;
        let mut spare = None;
        let done = self.upsert(self.hashed(key)?, value, update, side, &mut spare);
        self.give_back(spare, side);
        done
    }

    fn delete(&self, key: &[u8], side: Side) -> Result<(), Errno> {
        self.file.may_write(side)?;
        let (key, me) = (self.hashed(key)?, Owner::me());
        let bucket = self.tab.lock(&self.file.mem, key.hash as u32, me)?;
        let slot = bucket.remove(key).ok_or(Errno::ENOENT)?;
        self.give_back(Some(slot), side);
        Ok(())
    }

    fn lookup_and_delete(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.may_read()?;
        self.file.may_write(Side::User)?;
        let (key, me) = (self.hashed(key)?, Owner::me());
        let bucket = self.tab.lock(&self.file.mem, key.hash as u32, me)?;
        let slot = bucket.remove(key).ok_or(Errno::ENOENT)?;
        self.copy_values(slot, out);
        self.give_back(Some(slot), Side::User);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.may_read()?;
        let (tab, mem) = (&self.tab, &self.file.mem);
        let mut slots = Vec::new();
        let mut first = 0u64;
        let mut take = |slots: &[u32]| {
            slots.first().map(|slot| {
                out.clear();
                mem.append(tab.key_at(*slot), tab.key_size as usize, out);
            })
        };
        if let Some(key) = key {
            let bucket = tab.bucket_of(self.hashed(key)?.hash);
            tab.entries(mem, bucket, &mut slots);
            // A key that is not there (any more) starts again, as in the kernel.
            if let Some(at) = slots.iter().position(|slot| mem.equals(tab.key_at(*slot), key)) {
                if take(&slots[at + 1..]).is_some() {
                    return Ok(());
                }
                first = u64::from(bucket) + 1;
            }
        }
        for bucket in first..tab.bucket_count() {
            tab.entries(mem, bucket as u32, &mut slots);
            if take(&slots).is_some() {
                return Ok(());
            }
        }
        Err(Errno::ENOENT)
    }

    fn for_each(&self, cpu: u32, f: &mut dyn FnMut(&[u8], u64) -> ControlFlow<()>) -> Result<u64, Errno> {
        let (tab, mem) = (&self.tab, &self.file.mem);
        let (mut slots, mut key, mut seen) = (Vec::new(), Vec::new(), 0);
        for bucket in 0..tab.bucket_count() {
            tab.entries(mem, bucket as u32, &mut slots);
            for slot in &slots {
                key.clear();
                mem.append(tab.key_at(*slot), tab.key_size as usize, &mut key);
                seen += 1;
                let value = self.value(*slot, cpu.min(self.file.cpus - 1));
                if f(&key, mem.addr(value)).is_break() {
                    return Ok(seen);
                }
            }
        }
        Ok(seen)
    }

    fn fast_path(&self, op: MapOp) -> Option<FastPath> {
        match op {
            MapOp::Lookup => self.direct_lookup(),
            MapOp::LookupPercpu if self.copies() > 1 => {
                direct::path(direct::lookup_percpu::<HashMap>, LastArg::None)
            }
            MapOp::Update => {
                let (size, plain) = (self.file.def.key_size, self.file.plain_words());
                let kind = if self.lru.is_some() { direct::LRU } else { direct::PLAIN };
                let short =
                    direct::hash_update_for(size, kind).filter(|_| plain && !is_per_cpu(&self.file.def));
                direct::path(short.unwrap_or(direct::update::<HashMap>), LastArg::Cpu)
            }
            MapOp::Delete => {
                let may = self.file.may_write(Side::Prog { cpu: 0 }).is_ok();
                let short = direct::hash_delete_for(self.file.def.key_size).filter(|_| may);
                direct::path(short.unwrap_or(direct::delete::<HashMap>), LastArg::Cpu)
            }
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

#[cfg(test)]
mod tests {
    //! Threads against each other, and death in the middle: no slot may be lost, no value torn.
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU64};
    use std::time::{Duration, Instant};

    fn map(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> HashMap {
        let def = MapDef {
            name: "t".into(),
            map_type,
            key_size,
            value_size,
            max_entries,
            flags: 0,
            map_extra: 0,
            numa_node: 0,
            pin_by_name: false,
            inner: None,
            btf: None,
        };
        let def = check(&def).unwrap();
        let file = MapFile::create(&def, HashMap::layout(&def, possible_cpus())).unwrap();
        HashMap::init(&file);
        file.complete();
        HashMap::attach(file)
    }

    fn assert_no_slot_lost(map: &HashMap) {
        let free = map.tab.slab.free(&map.file.mem);
        assert_eq!(
            free + map.len(),
            u64::from(map.file.def.max_entries),
            "{free} free, {} in use",
            map.len()
        );
    }

    /// A key all of whose words say `n`, and a value all of whose bytes are alike.
    fn key(n: u64, size: u32) -> Vec<u8> {
        n.to_ne_bytes().iter().copied().cycle().take(size as usize).collect()
    }

    fn churn(map: &HashMap, keys: u64, run: Duration) {
        let stop = AtomicBool::new(false);
        let (size, value_size) = (map.file.def.key_size, map.file.def.value_size as usize);
        std::thread::scope(|scope| {
            for seed in 0..3u64 {
                let stop = &stop;
                scope.spawn(move || {
                    let mut x = seed * 77 + 1;
                    while !stop.load(Relaxed) {
                        x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                        let key = key(x >> 33 & (keys - 1), size);
                        let side = Side::Prog { cpu: (seed % 2) as u32 };
                        match x >> 60 {
                            0..4 => drop(map.delete(&key, side)),
                            4..8 => drop(map.update(&key, &vec![x as u8; value_size], flags::EXIST, side)),
                            _ => drop(map.update(&key, &vec![x as u8; value_size], flags::ANY, side)),
                        }
                    }
                });
            }
            for seed in 0..2u64 {
                let stop = &stop;
                scope.spawn(move || {
                    let (mut x, mut out) = (seed + 5, Vec::new());
                    while !stop.load(Relaxed) {
                        x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                        let key = key(x >> 33 & (keys - 1), size);
                        let _ = map.lookup(&key, 0);
                        if map.read(&key, &mut out).is_ok() {
                            assert!(out.iter().all(|b| *b == out[0]), "torn value {out:?}");
                        }
                    }
                });
            }
            std::thread::sleep(run);
            stop.store(true, Relaxed);
        });
    }

    #[test]
    fn many_writers_lose_no_slot() {
        for (key_size, value_size) in [(8, 8), (16, 8), (64, 40)] {
            let map = map(MapType::Hash, key_size, value_size, 64);
            churn(&map, 128, Duration::from_millis(250));
            assert_no_slot_lost(&map);
        }
    }

    #[test]
    fn many_writers_evict_and_lose_no_slot() {
        let map = map(MapType::LruHash, 8, 16, 64);
        churn(&map, 1024, Duration::from_millis(300));
        assert_no_slot_lost(&map);
        for n in 0..1000 {
            map.update(&key(n, 8), &[1; 16], flags::ANY, Side::User).unwrap();
            assert!(map.lookup(&key(n, 8), 0).unwrap().is_some());
        }
        assert_eq!(map.len(), 64);
    }

    #[test]
    fn entries_that_stay_are_always_found() {
        // With two buckets nearly all entries hang on chains, and slots move from one chain to the other.
        for buckets in [64, 2] {
            let mut map = map(MapType::Hash, 16, 8, 256);
            map.tab.mask = buckets - 1;
            stay_and_churn(&map);
        }
    }

    fn stay_and_churn(map: &HashMap) {
        let all: Vec<_> = (0..64).map(|n| key(n, 16)).collect();
        for key in &all {
            map.update(key, &[1; 8], flags::ANY, Side::User).unwrap();
        }
        let stop = AtomicBool::new(false);
        let rounds = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let lost = all.iter().filter(|key| map.lookup(key, 0).unwrap().is_none()).count();
                    if lost > 0 {
                        stop.store(true, Relaxed);
                        panic!("{lost} entries were not found");
                    }
                    rounds.fetch_add(1, Relaxed);
                }
            });
            let until = Instant::now() + Duration::from_millis(300);
            let mut x = 1u64;
            while Instant::now() < until && !stop.load(Relaxed) {
                x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let key = key(1000 + (x >> 40) % 190, 16);
                if map.update(&key, &[2; 8], flags::NOEXIST, Side::User).is_err() {
                    map.delete(&key, Side::User).unwrap();
                }
            }
            stop.store(true, Relaxed);
        });
        assert!(rounds.load(Relaxed) > 0);
        assert_no_slot_lost(map);
    }

    #[test]
    fn buckets_that_overflow_find_everything() {
        let mut map = map(MapType::Hash, 8, 8, 200);
        map.tab.mask = 0;
        for n in 0..200 {
            map.update(&key(n, 8), &n.to_ne_bytes(), flags::NOEXIST, Side::User).unwrap();
        }
        for n in (0..200).filter(|n| n % 3 == 0) {
            map.delete(&key(n, 8), Side::User).unwrap();
        }
        for n in 0..200 {
            assert_eq!(map.lookup(&key(n, 8), 0).unwrap().is_some(), n % 3 != 0);
        }
        assert_no_slot_lost(&map);
    }

    /// What a thread leaves that dies between any two steps of an insert or delete.
    #[test]
    fn a_writer_that_dies_blocks_nobody_and_loses_nothing() {
        for step in 0..4 {
            let map = map(MapType::Hash, 8, 8, 8);
            for n in 0..7 {
                map.update(&key(n, 8), &[1; 8], flags::ANY, Side::User).unwrap();
            }
            std::thread::scope(|scope| {
                // Joined: a thread lives on for a moment after its scope has ended.
                scope.spawn(|| die_at(&map, step)).join().unwrap();
            });
            // The dead thread's key and its neighbours can be used at once, and the map still holds all it can.
            for n in 0..8 {
                map.update(&key(n, 8), &[2; 8], flags::ANY, Side::User)
                    .unwrap_or_else(|e| panic!("step {step}: {e}"));
            }
            assert_eq!(map.len(), 8, "step {step}");
            assert_eq!(map.update(&key(9, 8), &[2; 8], flags::ANY, Side::User), Err(Errno::E2BIG));
            assert_no_slot_lost(&map);
        }
    }

    fn die_at(map: &HashMap, step: u32) {
        let me = Owner::me();
        let key = key(7, 8);
        let hashed = map.tab.hashed(&key);
        let bucket = map.tab.lock(&map.file.mem, hashed.hash as u32, me).unwrap();
        let slot = map.tab.slab.take(&map.file.mem, 0, true, me).unwrap().unwrap();
        if step > 0 {
            bucket.insert(hashed, slot);
        }
        if step > 1 {
            map.tab.slab.owner(&map.file.mem, slot).store(me.0, Relaxed);
        }
        if step > 2 {
            bucket.remove(hashed);
        }
        std::mem::forget(bucket);
    }
}
