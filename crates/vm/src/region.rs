//! Where pointers come from: [`Val`] is a register's value with its [`Prov`], and [`Table`] says which memory a
//! provenance stands for right now.
//!
//! A provenance is a slot of the table and the slot's age when the pointer was made. Ending a region raises the age of
//! its slot, so every older pointer is stale at once, whoever holds it. Slots below [`FIXED`] have fixed meaning (the
//! context, the packet, the frames' stacks); a program's maps follow; what helpers hand out comes last.
//!
//! Always holds: a slot that is `live` has a span that may be touched (see [`crate::mem`]); slots that are pointers
//! to nothing readable (maps, functions, the packet's end) have an empty span.

use crate::mem::Span;
use skep_platform::env::{Region, RegionKind};
use std::collections::BTreeMap;

/// Where a value comes from: a slot and its age.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Prov {
    pub(crate) slot: u32,
    pub(crate) age: u32,
}

impl Prov {
    /// A number.
    pub(crate) const SCALAR: Prov = Prov { slot: 0, age: 0 };
    /// Not written yet, or destroyed by a call.
    pub(crate) const UNINIT: Prov = Prov { slot: 1, age: 0 };
}

/// A value with its provenance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Val {
    pub(crate) bits: u64,
    pub(crate) prov: Prov,
}

impl Val {
    pub(crate) const UNINIT: Val = Val { bits: 0, prov: Prov::UNINIT };

    pub(crate) const fn scalar(bits: u64) -> Val {
        Val { bits, prov: Prov::SCALAR }
    }

    pub(crate) fn is_scalar(self) -> bool {
        self.prov.slot == Prov::SCALAR.slot
    }

    pub(crate) fn is_uninit(self) -> bool {
        self.prov.slot == Prov::UNINIT.slot
    }

    /// Neither a number nor unset.
    pub(crate) fn is_pointer(self) -> bool {
        self.prov.slot > Prov::UNINIT.slot
    }
}

pub(crate) const CTX: u32 = 2;
pub(crate) const PACKET: u32 = 3;
pub(crate) const PACKET_META: u32 = 4;
pub(crate) const PACKET_END: u32 = 5;
/// First slot of the frames' stacks.
pub(crate) const FRAME0: u32 = 6;
/// Most frames of one program (`MAX_CALL_FRAMES`).
pub(crate) const FRAMES: usize = 8;
/// Most frames of a run: a subprogram may tail-call, 33 times in a row, and the program it calls has frames of its own.
pub(crate) const ALL_FRAMES: usize = 34 * FRAMES;
/// Bytes of a frame's stack (`MAX_BPF_STACK`).
pub(crate) const FRAME_BYTES: usize = 512;
/// Slots with a fixed meaning.
pub(crate) const FIXED: usize = FRAME0 as usize + ALL_FRAMES;

/// How memory of a slot is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    /// In place.
    Raw,
    /// In place, with the shadow of the stack beside it.
    Stack,
    /// Field by field through the context's layout.
    Ctx,
    /// Not at all: the pointer is good for comparison or as an argument only.
    Shut,
}

/// What a slot stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Memory.
    Region(RegionKind),
    /// A map itself, by its handle.
    Map(u64),
    /// A subprogram: its first instruction.
    Func(usize),
    /// The end of the packet.
    PacketEnd,
    /// Numbers, unset values, slots not in use.
    Nothing,
}

/// A slot of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// What pointers into it are measured from, and what they may reach.
    pub(crate) span: Span,
    /// Bytes as the program sees them: of the span, but of the UAPI structure for a context.
    pub(crate) len: u64,
    pub(crate) kind: Kind,
    pub(crate) door: Door,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) live: bool,
    pub(crate) age: u32,
}

impl Slot {
    const NOTHING: Slot = Slot {
        span: Span::EMPTY,
        len: 0,
        kind: Kind::Nothing,
        door: Door::Shut,
        readable: false,
        writable: false,
        live: false,
        age: 0,
    };

    /// Plain memory.
    pub(crate) fn memory(r: Region, readable: bool) -> Slot {
        let span = Span::declare(r.addr, r.len);
        let door = if span.len() == 0 { Door::Shut } else { Door::Raw };
        let (len, writable) = (span.len(), r.writable);
        Slot { span, len, kind: Kind::Region(r.kind), door, readable, writable, live: true, age: 0 }
    }

    /// A pointer that opens no memory: a map, a function, the packet's end, an object of the kernel.
    pub(crate) fn shut(addr: u64, kind: Kind) -> Slot {
        Slot { span: Span::declare(addr, 0), kind, live: true, ..Slot::NOTHING }
    }

    /// The region as helpers and messages see it.
    pub(crate) fn region(&self) -> Option<Region> {
        let Kind::Region(kind) = self.kind else { return None };
        Some(Region { kind, addr: self.span.addr(), len: self.len, writable: self.writable })
    }
}

/// Key of a dynamic slot: address, length, what it is.
type Key = (u64, u64, Kind2);
type Kind2 = (u8, u64);

/// All regions of a run.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    /// Fixed slots that were in use since the last reset: those below.
    used: usize,
    /// Dynamic slots in use, by address.
    open: BTreeMap<Key, u32>,
    free: Vec<u32>,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table { slots: vec![Slot::NOTHING; FIXED], used: 0, open: BTreeMap::new(), free: Vec::new() }
    }

    /// Forgets everything but the ages of the fixed slots.
    pub(crate) fn reset(&mut self) {
        self.slots.truncate(FIXED);
        for s in self.slots.iter_mut().take(self.used) {
            *s = Slot { age: s.age.wrapping_add(1), ..Slot::NOTHING };
        }
        self.used = 0;
        self.open.clear();
        self.free.clear();
    }

    /// Gives a fixed slot a new meaning; pointers to the old one become stale.
    pub(crate) fn set(&mut self, slot: u32, new: Slot) -> Prov {
        if (slot as usize) < FIXED {
            self.used = self.used.max(slot as usize + 1);
        }
        let s = &mut self.slots[slot as usize];
        *s = Slot { age: s.age.wrapping_add(1), ..new };
        Prov { slot, age: s.age }
    }

    /// Ends a slot. What it was is kept, for messages about stale pointers.
    pub(crate) fn shut(&mut self, slot: u32) {
        if let Some(s) = self.slots.get_mut(slot as usize) {
            (s.live, s.age) = (false, s.age.wrapping_add(1));
        }
    }

    /// Appends a program's own slots; index of the first.
    pub(crate) fn append(&mut self, slots: &[Slot]) -> u32 {
        let base = self.slots.len() as u32;
        self.slots.extend_from_slice(slots);
        base
    }

    /// The slot that a pointer belongs to, if it is not stale.
    pub(crate) fn get(&self, p: Prov) -> Option<&Slot> {
        self.slots.get(p.slot as usize).filter(|s| s.live && s.age == p.age)
    }

    /// The slot that a pointer belonged to, stale or not.
    pub(crate) fn past(&self, p: Prov) -> Option<&Slot> {
        self.slots.get(p.slot as usize)
    }

    /// Provenance of a slot as it is now.
    pub(crate) fn prov(&self, slot: u32) -> Prov {
        Prov { slot, age: self.slots.get(slot as usize).map_or(0, |s| s.age) }
    }

    /// Opens a region: the same slot again when it is open already.
    pub(crate) fn open(&mut self, new: Slot) -> Prov {
        let key = key(&new);
        if let Some(&slot) = self.open.get(&key) {
            let s = &mut self.slots[slot as usize];
            *s = Slot { age: s.age, ..new };
            return Prov { slot, age: s.age };
        }
        let slot = match self.free.pop() {
            Some(slot) => {
                self.set(slot, new);
                slot
            }
            None => self.append(&[new]),
        };
        self.open.insert(key, slot);
        self.prov(slot)
    }

    /// The regions that helpers have opened.
    pub(crate) fn opened(&self) -> impl Iterator<Item = &Slot> {
        self.open.values().map(|i| &self.slots[*i as usize])
    }

    /// Ends every dynamic region inside `len` bytes at `addr`.
    pub(crate) fn forget(&mut self, addr: u64, len: u64) {
        let end = addr.saturating_add(len);
        let inside = |k: &Key| k.0.saturating_add(k.1) <= end;
        let gone: Vec<Key> =
            self.open.range((addr, 0, (0, 0))..(end, 0, (0, 0))).map(|(k, _)| *k).filter(inside).collect();
        for k in gone {
            if let Some(slot) = self.open.remove(&k) {
                self.shut(slot);
                self.free.push(slot);
            }
        }
    }

    /// The slot that holds `len` bytes at an address whose provenance is not known, for helpers: `likely` slots first,
    /// then the fixed and the program's own, then what was opened.
    pub(crate) fn find(&self, addr: u64, len: u64, likely: &[Prov]) -> Option<(u32, &Slot)> {
        let holds = |s: &Slot| {
            let at = addr.wrapping_sub(s.span.addr());
            s.live && matches!(s.door, Door::Raw | Door::Stack) && at <= s.len && len <= s.len - at
        };
        let known = likely.iter().filter_map(|p| Some((p.slot, self.get(*p)?)));
        if let Some(found) = known.into_iter().find(|(_, s)| holds(s)) {
            return Some(found);
        }
        let before = self.open.range(..=(addr, u64::MAX, (u8::MAX, u64::MAX))).rev().take(NEIGHBOURS);
        let opened = before.map(|(_, &i)| i);
        let fixed = CTX..self.used as u32;
        let own = FIXED as u32..self.slots.len().min(FIXED + STATICS) as u32;
        let rest = fixed.chain(own).chain(opened);
        rest.map(|i| (i, &self.slots[i as usize])).find(|(_, s)| holds(s))
    }
}

/// How many opened regions that start before an address are tried: regions that start at one place or nest are few.
const NEIGHBOURS: usize = 16;
/// How many of a program's own regions are tried by address.
const STATICS: usize = 256;

fn key(s: &Slot) -> Key {
    let kind = match s.kind {
        Kind::Region(RegionKind::Stack { frame }) => (0, u64::from(frame)),
        Kind::Region(RegionKind::Ctx) => (1, 0),
        Kind::Region(RegionKind::Packet) => (2, 0),
        Kind::Region(RegionKind::PacketMeta) => (3, 0),
        Kind::Region(RegionKind::MapValue { map }) => (4, map),
        Kind::Region(RegionKind::MapKey { map }) => (5, map),
        Kind::Region(RegionKind::RingbufRecord { map }) => (6, map),
        Kind::Region(RegionKind::Dynptr) => (7, 0),
        Kind::Region(RegionKind::Memory) => (8, 0),
        Kind::Region(RegionKind::Socket) => (9, 0),
        Kind::Region(RegionKind::Kernel) => (10, 0),
        Kind::Map(handle) => (11, handle),
        Kind::Func(pc) => (12, pc as u64),
        Kind::PacketEnd => (13, 0),
        Kind::Nothing => (14, 0),
    };
    (s.span.addr(), s.len, kind)
}
