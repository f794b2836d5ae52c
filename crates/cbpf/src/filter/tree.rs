//! What a filter asks, before it is code: values loaded from the packet, tests of them, and tests joined.
//!
//! Tests keep the order in which the language asks them. That order is meaning: a load outside the packet rejects the
//! packet, whatever other tests say.

use crate::insn::{AluOp, Cond, Size};

/// A number computed from the packet.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Val {
    /// A constant.
    K(u32),
    /// Length of the packet.
    Len,
    /// Big-endian number at `base + k`.
    Load(Size, Base, u32),
    /// Arithmetic.
    Alu(AluOp, Box<Val>, Box<Val>),
    /// Negation.
    Neg(Box<Val>),
    /// What [`Tree::Set`] has put into this word of scratch memory.
    Word(u8),
    /// Number of the header behind the network header and its extension headers.
    Chain(Chain),
}

/// A walk over extension headers (`protochain`): a loop, which the kernel's classic machine does not run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Chain {
    /// IPv6, not IPv4.
    pub v6: bool,
    /// Offset of the network header.
    pub at: u32,
    /// The walk ends at this number, even where it is an extension header's.
    pub until: u32,
}

/// Where an offset counts from.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Base {
    /// From the first byte.
    Start,
    /// From the end of the IPv4 header that begins at this offset.
    BehindIpv4(u32),
    /// From a computed offset.
    At(Box<Val>),
    /// From a computed offset behind the IPv4 header at the other.
    AtBehindIpv4(Box<Val>, u32),
}

/// Tests joined. Evaluated from left to right, and no further than needed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Tree {
    /// Always true or false.
    Const(bool),
    /// A comparison.
    Test(Cond, Val, Val),
    /// Puts a value into a word of scratch memory; always true. A word may be set in several places.
    Set(u8, Val),
    Not(Box<Tree>),
    And(Vec<Tree>),
    Or(Vec<Tree>),
}

impl Tree {
    pub(super) fn not(self) -> Tree {
        Tree::Not(Box::new(self))
    }

    /// What the link type alone decides, whatever the packet. Then nothing is loaded for it.
    pub(super) fn decided(&self) -> Option<bool> {
        let all = |list: &[Tree], is: bool| {
            let mut out = Some(is);
            for t in list {
                match t.decided() {
                    Some(b) if b == is => {}
                    Some(b) => return Some(b),
                    None => out = None,
                }
            }
            out
        };
        match self {
            Tree::Const(b) => Some(*b),
            Tree::Not(inner) => inner.decided().map(|b| !b),
            Tree::And(list) => all(list, true),
            Tree::Or(list) => all(list, false),
            Tree::Test(..) | Tree::Set(..) => None,
        }
    }

    /// `value & mask == want`; a mask of all ones is left out.
    pub(super) fn masked(value: Val, want: u32, mask: u32, all: u32) -> Tree {
        let value = if mask & all == all { value } else { Val::and(value, mask) };
        Tree::Test(Cond::Eq, value, Val::K(want))
    }
}

impl Val {
    pub(super) fn add(a: Val, b: Val) -> Val {
        Val::Alu(AluOp::Add, Box::new(a), Box::new(b))
    }

    pub(super) fn and(value: Val, mask: u32) -> Val {
        Val::Alu(AluOp::And, Box::new(value), Box::new(Val::K(mask)))
    }
}
