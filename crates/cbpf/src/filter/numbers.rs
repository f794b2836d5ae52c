//! Arithmetic of expressions: `tcp[tcpflags] & tcp-syn != 0`. A number that is loaded from a protocol's header comes with
//! the tests that have to hold before it can be loaded.

use super::r#gen::{ETHERTYPE_IP, ETHERTYPE_IP6, Gen, Off, Result};
use super::link::Variable;
use super::parse::Relation;
use super::tree::{Tree, Val};
use super::values::Value;
use super::words::Proto;
use crate::insn::{AluOp, Cond, Size};

/// A number, and tests in front of it.
#[derive(Clone, Copy)]
pub(super) struct Number {
    value: Val,
    checks: Tree,
}

impl Gen<'_> {
    pub(super) fn number_of(&self, value: Val) -> Number {
        Number { value, checks: Tree::TRUE }
    }

    pub(super) fn negated(&self, n: Number) -> Number {
        Number { value: self.value(Value::Neg(n.value.0)), ..n }
    }

    pub(super) fn relation(&self, relation: Relation, left: Number, right: Number) -> Tree {
        let test = self.test(relation.cond, left.value, right.value);
        let test = if relation.reversed { test.not() } else { test };
        self.and([left.checks, right.checks, test])
    }

    /// Arithmetic, done now where both sides are constants.
    pub(super) fn arithmetic(&self, op: AluOp, left: Number, right: Number) -> Result<Number> {
        let (a, b) = (self.constant(left.value), self.constant(right.value));
        match (op, b) {
            (AluOp::Div, Some(0)) => return self.fail("division by zero"),
            (AluOp::Mod, Some(0)) => return self.fail("modulus by zero"),
            (AluOp::Lsh | AluOp::Rsh, Some(32..)) => return self.fail("shift by more than 31 bits"),
            _ => {}
        }
        let constant = match (a, b) {
            (Some(a), Some(b)) => crate::machine::alu(op, a, b),
            _ => None,
        };
        let value = constant.map_or_else(|| self.alu(op, left.value, right.value), |k| self.k(k));
        Ok(Number { value, checks: self.and([left.checks, right.checks]) })
    }

    /// `proto[index:size]`.
    pub(super) fn loaded(&self, proto: Proto, index: Number, size: u32) -> Result<Number> {
        let size = match size {
            1 => Size::B,
            2 => Size::H,
            4 => Size::W,
            _ => return self.fail("data size must be 1, 2, or 4"),
        };
        let Number { value: index, mut checks } = index;
        let value = match proto {
            Proto::Radio => {
                if !matches!(self.outer, Variable::Radiotap | Variable::Avs | Variable::Prism) {
                    return self.fail("radio information not present in capture");
                }
                self.indexed(Off::at(0), size, index)
            }
            Proto::Link => self.indexed(self.header, size, index),
            Proto::Atalk
            | Proto::Arp
            | Proto::Rarp
            | Proto::Decnet
            | Proto::Lat
            | Proto::Sca
            | Proto::Moprc
            | Proto::Mopdl
            | Proto::Ip
            | Proto::Ip6 => {
                checks = self.and([checks, self.abbreviation(proto)?]);
                self.indexed(self.network_header(), size, index)
            }
            Proto::Tcp
            | Proto::Udp
            | Proto::Sctp
            | Proto::Icmp
            | Proto::Igmp
            | Proto::Igrp
            | Proto::Pim
            | Proto::Vrrp
            | Proto::Carp => {
                let ip = self.ether_type(ETHERTYPE_IP)?;
                let next = self.next_header4(super::ident::number(proto));
                checks = self.and([ip, checks, next, self.first_fragment()]);
                self.indexed_behind_ipv4(size, index)
            }
            Proto::Icmp6 => {
                let ip6 = self.ether_type(ETHERTYPE_IP6)?;
                let next = self.test(Cond::Eq, self.payload(Size::B, 6), self.k(58));
                checks = self.and([ip6, checks, next]);
                self.indexed(self.network_header().plus(40), size, index)
            }
            _ => return self.fail(format!("'{}' does not support the index operation", proto.name())),
        };
        Ok(Number { value, checks })
    }

    fn indexed(&self, off: Off, size: Size, index: Val) -> Val {
        match (self.constant(index), off.word) {
            (Some(n), _) => self.load_at(off, size, n),
            (None, None) => self.load_from(size, index, off.k),
            (None, Some(word)) => self.load_from(size, self.sum(index, self.word(word)), off.k),
        }
    }

    fn indexed_behind_ipv4(&self, size: Size, index: Val) -> Val {
        let off = self.network_header();
        let header = match (self.constant(index), off.word) {
            (Some(n), _) => return self.transport4(size, n),
            (None, None) => self.value(Value::Header(off.k)),
            (None, Some(_)) => self.ipv4_end(),
        };
        self.load_from(size, self.sum(index, header), off.k)
    }
}
