//! Arithmetic of expressions: `tcp[tcpflags] & tcp-syn != 0`. A number that is loaded from a protocol's header comes with
//! the tests that have to hold before it can be loaded.

use super::r#gen::{ETHERTYPE_IP, ETHERTYPE_IP6, Gen, Off, Result};
use super::link::Variable;
use super::parse::Relation;
use super::tree::{Base, Tree, Val};
use super::words::Proto;
use crate::insn::{AluOp, Cond, Size};

/// A number, and tests in front of it.
pub(super) struct Number {
    value: Val,
    checks: Vec<Tree>,
}

impl Number {
    pub(super) fn constant(n: u32) -> Number {
        Number { value: Val::K(n), checks: Vec::new() }
    }

    pub(super) fn length() -> Number {
        Number { value: Val::Len, checks: Vec::new() }
    }

    pub(super) fn negated(self) -> Number {
        Number { value: Val::Neg(Box::new(self.value)), ..self }
    }
}

impl Gen<'_> {
    pub(super) fn relation(&self, relation: Relation, left: Number, right: Number) -> Tree {
        let mut tests = left.checks;
        tests.extend(right.checks);
        let test = Tree::Test(relation.cond, left.value, right.value);
        let test = if relation.reversed { test.not() } else { test };
        if tests.is_empty() {
            return test;
        }
        tests.push(test);
        Tree::And(tests)
    }

    /// Arithmetic, done now where both sides are constants.
    pub(super) fn arithmetic(&self, op: AluOp, left: Number, right: Number) -> Result<Number> {
        match (op, &right.value) {
            (AluOp::Div, Val::K(0)) => return self.fail("division by zero"),
            (AluOp::Mod, Val::K(0)) => return self.fail("modulus by zero"),
            (AluOp::Lsh | AluOp::Rsh, Val::K(32..)) => return self.fail("shift by more than 31 bits"),
            _ => {}
        }
        let mut checks = left.checks;
        checks.extend(right.checks);
        let constant = match (&left.value, &right.value) {
            (Val::K(a), Val::K(b)) => crate::machine::alu(op, *a, *b),
            _ => None,
        };
        let compute = || Val::Alu(op, Box::new(left.value), Box::new(right.value));
        let value = constant.map_or_else(compute, Val::K);
        Ok(Number { value, checks })
    }

    /// `proto[index:size]`.
    pub(super) fn load(&self, proto: Proto, index: Number, size: u32) -> Result<Number> {
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
                checks.push(self.abbreviation(proto)?);
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
                let mut all = vec![self.ether_type(ETHERTYPE_IP)?];
                all.append(&mut checks);
                all.push(self.next_header4(super::ident::number(proto)));
                all.push(self.first_fragment());
                checks = all;
                self.indexed_behind_ipv4(size, index)
            }
            Proto::Icmp6 => {
                checks.insert(0, self.ether_type(ETHERTYPE_IP6)?);
                checks.push(Tree::Test(Cond::Eq, self.payload(Size::B, 6), Val::K(58)));
                self.indexed(self.network_header().plus(40), size, index)
            }
            _ => return self.fail(format!("'{}' does not support the index operation", proto.name())),
        };
        Ok(Number { value, checks })
    }

    fn indexed(&self, off: Off, size: Size, index: Val) -> Val {
        match (index, off.word) {
            (Val::K(n), _) => self.load_at(off, size, n),
            (index, None) => Val::Load(size, Base::At(Box::new(index)), off.k),
            (index, Some(word)) => {
                Val::Load(size, Base::At(Box::new(Val::add(index, self.word(word)))), off.k)
            }
        }
    }

    fn indexed_behind_ipv4(&self, size: Size, index: Val) -> Val {
        let off = self.network_header();
        match (index, off.word) {
            (Val::K(n), _) => self.transport4(size, n),
            (index, None) => Val::Load(size, Base::AtBehindIpv4(Box::new(index), off.k), off.k),
            (index, Some(_)) => Val::Load(size, Base::At(Box::new(Val::add(index, self.ipv4_end()))), off.k),
        }
    }
}
