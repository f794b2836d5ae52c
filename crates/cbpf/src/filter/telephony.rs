//! Words of the telephone network: circuits of ATM with SunATM's pseudo header, signal units of MTP2, fields of both and of
//! MTP3.

use super::r#gen::{Gen, Result};
use super::link::Follows;
use super::parse::Relation;
use super::tree::Tree;
use super::words::{Atm, Field, Mtp2};
use crate::insn::{Cond, Size};

/// Where SunATM's pseudo header keeps what, and where signalling messages keep their type.
const ATM_TYPE_AT: u32 = 0;
const VPI_AT: u32 = 1;
const VCI_AT: u32 = 2;
const MESSAGE_TYPE_AT: u32 = 9;

/// Types of Q.2931 messages that set circuits up and tear them down.
const CONNECT_MESSAGES: &[u32] = &[0x05, 0x02, 0x07, 0x0f, 0x4d, 0x5a];
const METACONNECT_MESSAGES: &[u32] = &[0x05, 0x02, 0x07, 0x4d, 0x5a];

/// Virtual channels of a circuit (all on path 0), and types of messages there.
fn circuit(atm: Atm) -> (&'static [u32], &'static [u32]) {
    match atm {
        Atm::Metac => (&[1], &[]),
        Atm::Bcc => (&[2], &[]),
        Atm::Oamf4sc => (&[3], &[]),
        Atm::Oamf4ec => (&[4], &[]),
        Atm::Oam | Atm::Oamf4 => (&[3, 4], &[]),
        Atm::Sc => (&[5], &[]),
        Atm::Ilmic => (&[16], &[]),
        Atm::Connectmsg => (&[5], CONNECT_MESSAGES),
        Atm::Metaconnect => (&[1], METACONNECT_MESSAGES),
    }
}

/// A field of MTP3: offset behind that of plain MTP2, size, mask, largest number, and how a number is written in it.
struct Row {
    at: u32,
    size: Size,
    mask: u32,
    max: u32,
    write: fn(u32) -> u32,
}

fn mtp3(field: Field) -> Row {
    let row = |at, size, mask, max, write| Row { at, size, mask, max, write };
    match field {
        // 14 bits, the lower byte first.
        Field::Dpc | Field::Hdpc => {
            row(4, Size::H, 0xff3f, 0x3fff, |n: u32| u32::from((n as u16).swap_bytes()))
        }
        // 14 bits in the three bytes behind the destination's first.
        Field::Opc | Field::Hopc => {
            row(4, Size::W, 0x00c0_ff0f, 0x3fff, |n| n >> 10 & 0xf | (n & 0x3fc) << 6 | (n & 3) << 22)
        }
        Field::Sls | Field::Hsls => row(7, Size::B, 0xf0, 15, |n| n << 4),
        _ => row(3, Size::B, 0xff, 255, |n| n),
    }
}

impl Gen<'_> {
    /// What the packet of ATM holds.
    pub(super) fn atm_type(&self, kind: u32) -> Tree {
        self.masked(self.link_header(Size::B, ATM_TYPE_AT), kind, 0x0f, 0xff)
    }

    fn is_one_of(&self, size: Size, at: u32, numbers: &[u32]) -> Tree {
        let is = |n: &u32| self.test(Cond::Eq, self.link_header(size, at), self.k(*n));
        self.or(numbers.iter().map(is))
    }

    pub(super) fn atm(&self, atm: Atm) -> Result<Tree> {
        if self.origin != Follows::Atm {
            return self.fail(format!("'{}' supported only on SUNATM", atm.name()));
        }
        let (channels, messages) = circuit(atm);
        let message = match messages {
            [] => Tree::TRUE,
            _ => self.is_one_of(Size::B, MESSAGE_TYPE_AT, messages),
        };
        Ok(self.and([
            self.is_one_of(Size::B, VPI_AT, &[0]),
            self.is_one_of(Size::H, VCI_AT, channels),
            message,
        ]))
    }

    /// Signal units, told by the length indicator: none, one or two bytes, more.
    pub(super) fn mtp2(&self, unit: Mtp2) -> Result<Tree> {
        let Some(base) = self.link.ss7 else {
            return self.fail(format!("'{}' supported only on SS7", unit.name()));
        };
        let fast = matches!(unit, Mtp2::Hfisu | Mtp2::Hlssu | Mtp2::Hmsu);
        // Of high-speed links nine bits of a half word, the lowest of them 0x80.
        let (at, size, mask, two) = if fast { (4, Size::H, 0xff80, 0x100) } else { (2, Size::B, 0x3f, 2) };
        let length = || self.bits(self.link_header(size, base + at), mask);
        let more = |n| self.test(Cond::Gt, length(), self.k(n));
        Ok(match unit {
            Mtp2::Fisu | Mtp2::Hfisu => self.test(Cond::Eq, length(), self.k(0)),
            Mtp2::Lssu | Mtp2::Hlssu => self.and([more(0), more(two).not()]),
            Mtp2::Msu | Mtp2::Hmsu => more(two),
        })
    }

    /// A field compared with a number.
    pub(super) fn field(&self, field: Field, relation: Relation, n: u32) -> Result<Tree> {
        let (value, n) = match field {
            Field::Vpi | Field::Vci => {
                if self.origin != Follows::Atm {
                    return self.fail(format!("'{}' supported only on SUNATM", field.name()));
                }
                let (what, max, size, at) = match field {
                    Field::Vpi => ("VPI", 255, Size::B, VPI_AT),
                    _ => ("VCI", 65535, Size::H, VCI_AT),
                };
                self.at_most(what, n, max)?;
                (self.link_header(size, at), n)
            }
            _ => {
                let Some(base) = self.link.ss7 else {
                    return self.fail(format!("'{}' supported only on SS7", field.name()));
                };
                let row = mtp3(field);
                self.at_most(field.name(), n, row.max)?;
                // High-speed links have longer sequence numbers and lengths.
                let fast = matches!(field, Field::Hsio | Field::Hopc | Field::Hdpc | Field::Hsls);
                let value = self.link_header(row.size, base + row.at + if fast { 3 } else { 0 });
                (if row.mask == 0xff { value } else { self.bits(value, row.mask) }, (row.write)(n))
            }
        };
        let test = self.test(relation.cond, value, self.k(n));
        Ok(if relation.reversed { test.not() } else { test })
    }
}
