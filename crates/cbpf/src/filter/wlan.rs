//! 802.11: types and directions of frames, and the places where they keep addresses.

use super::r#gen::{Gen, Result};
use super::link::Follows;
use super::parse::{Dir, Value};
use super::tree::Tree;
use super::words::Key;
use crate::insn::{Cond, Size};

/// Types of frames by name, as bits of the first byte.
const TYPES: &[(&str, u32)] =
    &[("mgt", 0x00), ("management", 0x00), ("ctl", 0x04), ("control", 0x04), ("data", 0x08)];
const TYPE_MASK: u32 = 0x0c;
const SUBTYPE_MASK: u32 = 0xf0;

/// Subtypes by type and name, as bits of the first byte.
const SUBTYPES: &[(u32, &str, u32)] = &[
    (0x00, "assoc-req", 0x00),
    (0x00, "assocreq", 0x00),
    (0x00, "assoc-resp", 0x10),
    (0x00, "assocresp", 0x10),
    (0x00, "reassoc-req", 0x20),
    (0x00, "reassocreq", 0x20),
    (0x00, "reassoc-resp", 0x30),
    (0x00, "reassocresp", 0x30),
    (0x00, "probe-req", 0x40),
    (0x00, "probereq", 0x40),
    (0x00, "probe-resp", 0x50),
    (0x00, "proberesp", 0x50),
    (0x00, "beacon", 0x80),
    (0x00, "atim", 0x90),
    (0x00, "disassoc", 0xa0),
    (0x00, "disassociation", 0xa0),
    (0x00, "auth", 0xb0),
    (0x00, "authentication", 0xb0),
    (0x00, "deauth", 0xc0),
    (0x00, "deauthentication", 0xc0),
    (0x04, "bar", 0x80),
    (0x04, "ba", 0x90),
    (0x04, "ps-poll", 0xa0),
    (0x04, "pspoll", 0xa0),
    (0x04, "rts", 0xb0),
    (0x04, "cts", 0xc0),
    (0x04, "ack", 0xd0),
    (0x04, "cf-end", 0xe0),
    (0x04, "cf-end-ack", 0xf0),
    (0x08, "data", 0x00),
    (0x08, "data-cf-ack", 0x10),
    (0x08, "data-cf-poll", 0x20),
    (0x08, "data-cf-ack-poll", 0x30),
    (0x08, "null", 0x40),
    (0x08, "cf-ack", 0x50),
    (0x08, "cf-poll", 0x60),
    (0x08, "cf-ack-poll", 0x70),
    (0x08, "qos-data", 0x80),
    (0x08, "qos-data-cf-ack", 0x90),
    (0x08, "qos-data-cf-poll", 0xa0),
    (0x08, "qos-data-cf-ack-poll", 0xb0),
    (0x08, "qos", 0xc0),
    (0x08, "qos-cf-poll", 0xe0),
    (0x08, "qos-cf-ack-poll", 0xf0),
];

/// Directions by name, as bits of the second byte.
const DIRECTIONS: &[(&str, u32)] = &[("nods", 0), ("tods", 1), ("fromds", 2), ("dstods", 3)];
const DIRECTION_MASK: u32 = 3;
/// Bits of the second byte: to and from the distribution system.
const TO_DS: u32 = 1;
const FROM_DS: u32 = 2;

impl Gen<'_> {
    fn is_wlan(&self) -> bool {
        self.link.follows == Follows::Wlan
    }

    fn control(&self, mask: u32, want: u32) -> Tree {
        self.masked(self.link_header(Size::B, 0), want, mask, 0xff)
    }

    pub(super) fn is_data_frame(&self) -> Tree {
        self.control(TYPE_MASK, 0x08)
    }

    /// `type`, and `subtype` with it.
    pub(super) fn frame_type(&self, kind: Value<'_>, subtype: Option<Value<'_>>) -> Result<Tree> {
        if !self.is_wlan() {
            return self.without("type/subtype");
        }
        let find = |name| TYPES.iter().find(|(n, _)| *n == name).map(|(_, bits)| *bits);
        let kind = match kind {
            Value::Num(n) if n & !TYPE_MASK == 0 => n,
            Value::Num(n) => return self.fail(format!("invalid 802.11 type value {n:#04x}")),
            Value::Name(name) => match find(name) {
                Some(bits) => bits,
                None => return self.fail(format!("unknown 802.11 type name \"{name}\"")),
            },
        };
        let subtype = match subtype {
            None => return Ok(self.control(TYPE_MASK, kind)),
            Some(Value::Num(n)) if n & !SUBTYPE_MASK == 0 => n,
            Some(Value::Num(n)) => return self.fail(format!("invalid 802.11 subtype value {n:#04x}")),
            Some(Value::Name(_)) if !TYPES.iter().any(|t| t.1 == kind) => {
                return self.fail(format!("unknown 802.11 type {kind:#04x}: it has no names for subtypes"));
            }
            Some(Value::Name(name)) => match SUBTYPES.iter().find(|(k, n, _)| *k == kind && *n == name) {
                Some((.., bits)) => *bits,
                None => {
                    return self.fail(format!("unknown 802.11 subtype name \"{name}\""));
                }
            },
        };
        Ok(self.control(TYPE_MASK | SUBTYPE_MASK, kind | subtype))
    }

    /// `subtype` alone: its name tells the type.
    pub(super) fn subtype(&self, subtype: Value<'_>) -> Result<Tree> {
        if !self.is_wlan() {
            return self.without("type/subtype");
        }
        match subtype {
            Value::Num(_) => {
                Err(super::error::FilterError { span: self.span, why: super::error::Why::Syntax })
            }
            Value::Name(name) => match SUBTYPES.iter().find(|(_, n, _)| *n == name) {
                Some((kind, _, bits)) => Ok(self.control(TYPE_MASK | SUBTYPE_MASK, kind | bits)),
                None => self.fail(format!("unknown 802.11 type name \"{name}\"")),
            },
        }
    }

    /// `dir`.
    pub(super) fn frame_direction(&self, dir: Value<'_>) -> Result<Tree> {
        if !self.is_wlan() {
            return self.without("dir");
        }
        let bits = match dir {
            Value::Num(n) if n & !DIRECTION_MASK == 0 => n,
            Value::Num(n) => return self.fail(format!("invalid 802.11 direction value {n}")),
            Value::Name(name) => match DIRECTIONS.iter().find(|(n, _)| *n == name) {
                Some((_, bits)) => *bits,
                None => return self.fail(format!("unknown 802.11 direction \"{name}\"")),
            },
        };
        Ok(self.masked(self.link_header(Size::B, 1), bits, DIRECTION_MASK, 0xff))
    }

    fn bit(&self, byte: u32, bit: u32) -> Tree {
        self.test(Cond::Set, self.link_header(Size::B, byte), self.k(bit))
    }

    /// A test of the source address. Control frames have none.
    pub(super) fn wlan_src(&self, at: impl Fn(u32) -> Tree) -> Tree {
        let from_ds = self.either(TO_DS, at(24), at(16));
        let data = self.either(FROM_DS, from_ds, at(10));
        self.management_or_data(at(10), data)
    }

    /// A test of the destination address. Control frames have none.
    pub(super) fn wlan_dst(&self, at: impl Fn(u32) -> Tree) -> Tree {
        let data = self.either(TO_DS, at(16), at(4));
        self.management_or_data(at(4), data)
    }

    /// One test where a bit of the second byte is set, the other where it is not.
    fn either(&self, bit: u32, set: Tree, clear: Tree) -> Tree {
        let is = || self.bit(1, bit);
        self.or([self.and([is().not(), clear]), self.and([is(), set])])
    }

    fn management_or_data(&self, management: Tree, data: Tree) -> Tree {
        let is_data = || self.bit(0, 0x08);
        let management = self.and([is_data().not(), management]);
        let data = self.and([is_data(), data]);
        self.and([self.bit(0, 0x04).not(), self.or([management, data])])
    }

    /// An Ethernet address in the places that a direction names.
    pub(super) fn wlan_host(&self, dir: Dir, mac: &[u8; 6]) -> Tree {
        let at = |off: u32| self.bytes_are(move |size, k| self.link_header(size, off + k), mac);
        match dir {
            Dir::Src => self.wlan_src(at),
            Dir::Dst => self.wlan_dst(at),
            Dir::And => self.and([self.wlan_src(at), self.wlan_dst(at)]),
            Dir::Default | Dir::Or => self.or([self.wlan_src(at), self.wlan_dst(at)]),
            Dir::Wlan(Key::Addr1) => at(4),
            Dir::Wlan(Key::Addr2) => self.and([self.has_addr2(), at(10)]),
            Dir::Wlan(Key::Addr3) => self.and([self.control(TYPE_MASK, 0x04).not(), at(16)]),
            Dir::Wlan(Key::Addr4) => {
                let both = self.masked(self.link_header(Size::B, 1), 3, DIRECTION_MASK, 0xff);
                self.and([both, at(24)])
            }
            // Receivers and transmitters: not of management frames.
            Dir::Wlan(Key::Ra) => self.and([self.bit(0, 0x08), at(4)]),
            Dir::Wlan(_) => self.and([self.bit(0, 0x08), self.has_addr2(), at(10)]),
        }
    }

    /// All frames but clear-to-send and acknowledgements have a second address.
    fn has_addr2(&self) -> Tree {
        let subtype = |bits| self.control(SUBTYPE_MASK, bits);
        let short = self.and([self.control(TYPE_MASK, 0x04), self.or([subtype(0xc0), subtype(0xd0)])]);
        short.not()
    }
}
