//! Values by number: equal values have the same number, so that comparing is comparing numbers; and what computing each
//! asks of the packet and of the registers.

use super::super::tree::{Base, Chain, Val};
use crate::insn::{AluOp, Size};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Number of a value.
pub(super) type Id = u32;

/// A number computed from the packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Value {
    K(u32),
    Len,
    /// Big-endian number at an offset.
    Abs(Size, u32),
    /// Big-endian number at an offset from a computed place.
    Ind(Size, u32, Id),
    /// Length of the IPv4 header at an offset.
    Header(u32),
    Alu(AluOp, Id, Id),
    Neg(Id),
    Word(u8),
    Chain(Chain),
}

/// What has to be in the packet: the largest end of loads at constant offsets, and a bit for each other load.
///
/// A set that is ordered by inclusion: [`Loads::NONE`] is the smallest, [`Loads::ALL`] the largest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Loads {
    end: u32,
    others: u64,
}

/// Loads beyond the 63rd share this bit, which never counts as done.
const ANY: u64 = 1 << 63;
/// Constant offsets from here on are counted by [`Loads::others`]: the machine takes them for negative ones.
const FAR: u32 = 0x7fff_0000;

impl Loads {
    pub(super) const NONE: Loads = Loads { end: 0, others: 0 };
    pub(super) const ALL: Loads = Loads { end: u32::MAX, others: u64::MAX };

    /// In one or the other.
    pub(super) fn or(self, other: Loads) -> Loads {
        Loads { end: self.end.max(other.end), others: self.others | other.others }
    }

    /// In both.
    pub(super) fn and(self, other: Loads) -> Loads {
        Loads { end: self.end.min(other.end), others: self.others & other.others }
    }

    /// Whether all of `needed` is there.
    pub(super) fn covers(self, needed: Loads) -> bool {
        needed.end <= self.end && needed.others & !self.others == 0
    }

    /// Without these of the loads at computed places.
    pub(super) fn without(self, others: u64) -> Loads {
        Loads { others: self.others & !others, ..self }
    }
}

/// What is known of a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Info {
    pub value: Value,
    /// What computing it needs of the packet.
    pub needs: Loads,
    /// What is known to be there once it has been computed.
    pub gives: Loads,
    /// Computing it uses the index register.
    pub uses_x: bool,
    /// Words of scratch memory that are part of it, a bit each.
    pub words: u16,
}

/// All values of a filter.
pub(super) struct Values {
    all: Vec<Info>,
    known: HashMap<Value, Id, Fast>,
    /// Loads at computed places, in the order of their bits.
    indirect: Vec<Id>,
}

impl Values {
    pub(super) fn with_room(room: usize) -> Values {
        let known = HashMap::with_capacity_and_hasher(room, Fast::default());
        Values { all: Vec::with_capacity(room), known, indirect: Vec::new() }
    }

    pub(super) fn info(&self, id: Id) -> &Info {
        &self.all[id as usize]
    }

    pub(super) fn value(&self, id: Id) -> Value {
        self.info(id).value
    }

    /// The constant that a value is.
    pub(super) fn constant(&self, id: Id) -> Option<u32> {
        if let Value::K(k) = self.value(id) { Some(k) } else { None }
    }

    pub(super) fn k(&mut self, k: u32) -> Id {
        self.intern(Value::K(k))
    }

    /// A number in the packet, at an offset or behind an index, under a mask.
    pub(super) fn masked(&mut self, index: Option<Id>, at: u32, size: Size, mask: u32) -> Id {
        let load = self.intern(match index {
            Some(x) => Value::Ind(size, at, x),
            None => Value::Abs(size, at),
        });
        if mask == u32::MAX >> (32 - 8 * size.bytes()) {
            return load;
        }
        let mask = self.k(mask);
        self.intern(Value::Alu(AluOp::And, load, mask))
    }

    /// Number of a value as the tree has it.
    pub(super) fn of(&mut self, v: &Val) -> Id {
        let value = match v {
            Val::K(k) => Value::K(*k),
            Val::Len => Value::Len,
            Val::Word(w) => Value::Word(*w),
            Val::Chain(chain) => Value::Chain(*chain),
            Val::Neg(a) => Value::Neg(self.of(a)),
            Val::Alu(op, a, b) => {
                let (a, b) = (self.of(a), self.of(b));
                return self.alu(*op, a, b);
            }
            Val::Load(size, Base::Start, k) => Value::Abs(*size, *k),
            Val::Load(size, Base::BehindIpv4(at), k) => {
                Value::Ind(*size, *k, self.intern(Value::Header(*at)))
            }
            Val::Load(size, Base::At(at), k) => Value::Ind(*size, *k, self.of(at)),
            Val::Load(size, Base::AtBehindIpv4(at, header), k) => {
                let (at, header) = (self.of(at), self.intern(Value::Header(*header)));
                Value::Ind(*size, *k, self.alu(AluOp::Add, at, header))
            }
        };
        self.intern(value)
    }

    /// Arithmetic; what changes nothing is left out, and `(byte & 0xf) << 2` is the length of a header.
    fn alu(&mut self, op: AluOp, a: Id, b: Id) -> Id {
        match (op, self.value(a), self.value(b)) {
            (AluOp::Add | AluOp::Sub | AluOp::Or | AluOp::Xor | AluOp::Lsh | AluOp::Rsh, _, Value::K(0))
            | (AluOp::Mul | AluOp::Div, _, Value::K(1)) => return a,
            (AluOp::Lsh, Value::Alu(AluOp::And, byte, mask), Value::K(2)) => {
                if let (Value::Abs(Size::B, at), Value::K(0xf)) = (self.value(byte), self.value(mask)) {
                    return self.intern(Value::Header(at));
                }
            }
            _ => {}
        }
        self.intern(Value::Alu(op, a, b))
    }

    fn intern(&mut self, value: Value) -> Id {
        let next = self.all.len() as Id;
        let id = *self.known.entry(value).or_insert(next);
        if id == next {
            let info = self.describe(id, value);
            self.all.push(info);
        }
        id
    }

    fn describe(&mut self, id: Id, value: Value) -> Info {
        let plain = Info { value, needs: Loads::NONE, gives: Loads::NONE, uses_x: false, words: 0 };
        match value {
            Value::K(_) | Value::Len => plain,
            Value::Word(w) => Info { words: 1 << (w & 15), ..plain },
            Value::Abs(size, k) => self.fixed(id, plain, k, size.bytes()),
            Value::Header(k) => Info { uses_x: true, ..self.fixed(id, plain, k, 1) },
            Value::Neg(a) => Info { value, ..*self.info(a) },
            Value::Alu(op, a, b) => {
                let (a, constant, b) = (*self.info(a), self.constant(b).is_some(), *self.info(b));
                // A division by zero ends the program, as a load outside the packet does.
                let fails = !constant && matches!(op, AluOp::Div | AluOp::Mod);
                let own = Loads { end: 0, others: if fails { self.bit(id) } else { 0 } };
                Info {
                    value,
                    needs: a.needs.or(b.needs).or(own),
                    gives: a.gives.or(b.gives).or(own),
                    uses_x: a.uses_x || !constant,
                    words: a.words | b.words,
                }
            }
            Value::Ind(size, k, index) => {
                let x = *self.info(index);
                let bit = self.bit(id);
                let mut own = Loads { end: 0, others: bit };
                if matches!(x.value, Value::Header(_)) && k < FAR {
                    own.end = k + size.bytes();
                }
                Info { value, needs: x.needs.or(own), gives: x.gives.or(own), uses_x: true, words: x.words }
            }
            Value::Chain(_) => {
                let own = Loads { end: 0, others: self.bit(id) };
                Info { needs: own, gives: own, uses_x: true, ..plain }
            }
        }
    }

    /// A load at a constant offset.
    fn fixed(&mut self, id: Id, plain: Info, k: u32, bytes: u32) -> Info {
        let own = match k {
            ..FAR => Loads { end: k + bytes, others: 0 },
            _ => Loads { end: 0, others: self.bit(id) },
        };
        Info { needs: own, gives: own, ..plain }
    }

    /// The bit of a load at a computed place.
    fn bit(&mut self, id: Id) -> u64 {
        let n = self.indirect.len();
        if n >= 63 {
            return ANY;
        }
        self.indirect.push(id);
        1 << n
    }

    /// Bits of the loads whose place depends on a word of scratch memory.
    pub(super) fn loads_with(&self, word: u8) -> u64 {
        let mentions = |id: &Id| self.info(*id).words & 1 << (word & 15) != 0;
        let bits = self.indirect.iter().enumerate().filter(|(_, id)| mentions(id));
        bits.fold(0, |bits, (n, _)| bits | 1 << n)
    }

    /// Says of loads behind the same header that the farther one tells of the nearer. To be called when all values are known.
    pub(super) fn relate(&mut self) {
        let place = |v: &Values, id: Id| match v.value(id) {
            Value::Ind(size, k, x) if k < FAR && matches!(v.value(x), Value::Header(_)) => {
                Some((x, k + size.bytes()))
            }
            _ => None,
        };
        for far in 0..self.all.len() as Id {
            let Some((x, end)) = place(self, far) else { continue };
            for n in 0..self.indirect.len() {
                if place(self, self.indirect[n]).is_some_and(|(other, e)| other == x && e <= end) {
                    self.all[far as usize].gives.others |= 1 << n;
                }
            }
        }
    }
}

/// A quick hash for small keys of our own making; what is hashed is bounded by the length of the expression.
#[derive(Clone, Copy, Default)]
pub(super) struct Quick(u64);

/// Builds [`Quick`].
pub(super) type Fast = BuildHasherDefault<Quick>;

impl Quick {
    fn add(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.add(u64::from(*b)));
    }

    fn write_u8(&mut self, n: u8) {
        self.add(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.add(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.add(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.add(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.add(n as u64);
    }
}
