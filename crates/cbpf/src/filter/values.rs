//! Values by number: equal values have the same number, so that comparing is comparing numbers; and what computing each
//! asks of the packet and of the registers.

use super::index::{Index, mix};
use crate::insn::{AluOp, Size};

/// Number of a value.
pub(super) type Id = u32;

/// A number computed from the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    /// What was put into this word of scratch memory.
    Word(u8),
    /// Number of the header behind the network header and its extension headers.
    Chain(Chain),
}

impl Value {
    fn hash(self) -> u32 {
        match self {
            Value::K(k) => mix(0, k),
            Value::Len => 1,
            Value::Abs(size, k) => mix(2 + size as u32, k),
            Value::Ind(size, k, index) => mix(mix(5 + size as u32, k), index),
            Value::Header(k) => mix(8, k),
            Value::Alu(op, a, b) => mix(mix(16 + op as u32, a), b),
            Value::Neg(a) => mix(9, a),
            Value::Word(word) => mix(10, word.into()),
            Value::Chain(chain) => mix(11 + u32::from(chain.v6), chain.at),
        }
    }
}

/// A walk over extension headers (`protochain`): a loop, which the kernel's classic machine does not run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chain {
    /// IPv6, not IPv4.
    pub v6: bool,
    /// Offset of the network header.
    pub at: u32,
    /// The walk ends at this number, even where it is an extension header's.
    pub until: u32,
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
#[derive(Default)]
pub(super) struct Values {
    all: Vec<Info>,
    known: Index,
    /// Loads at computed places, in the order of their bits.
    indirect: Vec<Id>,
}

impl Values {
    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.known.clear();
        self.indirect.clear();
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

    /// Arithmetic; what changes nothing is left out, and `(byte & 0xf) << 2` is the length of a header.
    pub(super) fn alu(&mut self, op: AluOp, a: Id, b: Id) -> Id {
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

    /// Number of a value.
    pub(super) fn intern(&mut self, value: Value) -> Id {
        let next = self.all.len() as Id;
        let id = self.known.find_or_put(value.hash(), next, |id| self.all[id as usize].value == value);
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

    /// Says of loads behind the same header that the farther one tells of the nearer; whether there are any. To be called
    /// when all values are known.
    pub(super) fn relate(&mut self) -> bool {
        let place = |all: &[Info], id: usize| match all[id].value {
            Value::Ind(size, k, x) if k < FAR && matches!(all[x as usize].value, Value::Header(_)) => {
                Some((x, k + size.bytes()))
            }
            _ => None,
        };
        let mut found = false;
        for (n, near) in self.indirect.iter().enumerate() {
            let Some((header, end)) = place(&self.all, *near as usize) else { continue };
            for far in 0..self.all.len() {
                if place(&self.all, far).is_some_and(|(other, e)| other == header && end <= e) {
                    found |= self.all[far].gives.others & 1 << n == 0;
                    self.all[far].gives.others |= 1 << n;
                }
            }
        }
        found
    }
}
