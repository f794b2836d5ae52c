//! What each primitive means on a link type, as a [`Tree`]: where the headers are at this place of the expression, and what
//! follows the link layer. The order of tests is that of libpcap's unoptimised programs, since it shows on truncated packets.
//!
//! `vlan`, `mpls`, `pppoes`, `lane`, `geneve` and `vxlan` move the place where everything to their right looks, so that
//! state runs from left to right over the whole expression. Offsets that differ from packet to packet are kept in words of
//! scratch memory: those of radio and 802.11 headers are computed in front of all tests, those of tunnels when one is found.

use super::error::{FilterError, Span, Why};
use super::lex::Op;
use super::link::{Addresses, Follows, Link, Variable};
use super::tree::{Tree, Trees, Val};
use super::values::Value;
use super::words::{Key, Proto};
use super::{Options, Packets};
use crate::ancillary::{AD_OFF, Ancillary};
use crate::insn::{AluOp, Cond, Size};
use std::cell::{Cell, RefCell};

pub(super) type Result<T> = std::result::Result<T, FilterError>;

pub(super) const ETHERTYPE_IP: u32 = 0x0800;
pub(super) const ETHERTYPE_ARP: u32 = 0x0806;
pub(super) const ETHERTYPE_RARP: u32 = 0x8035;
pub(super) const ETHERTYPE_IP6: u32 = 0x86dd;
const ETHERTYPE_ATALK: u32 = 0x809b;
const ETHERTYPE_AARP: u32 = 0x80f3;
const ETHERTYPE_IPX: u32 = 0x8137;
const ETHERTYPE_DECNET: u32 = 0x6003;
const LLC_IP: u32 = 0x06;
const LLC_ISO: u32 = 0xfe;
const LLC_STP: u32 = 0x42;
const LLC_IPX: u32 = 0xe0;
const LLC_NETBEUI: u32 = 0xf0;
/// Largest length field: larger numbers are EtherTypes.
pub(super) const ETHER_MTU: u32 = 1500;
/// `LINUX_SLL_P_802_3` and `LINUX_SLL_P_802_2`.
const COOKED_802_3: u32 = 1;
const COOKED_LLC: u32 = 4;
/// Numbers of IPv6 among address families: Linux; NetBSD and OpenBSD, FreeBSD, Darwin.
const FAMILY_IP6_LINUX: u32 = 10;
const FAMILIES_IP6: [u32; 3] = [30, 24, 28];
const FAMILY_IP: u32 = 2;
/// `PACKET_OUTGOING`.
const OUTGOING: u32 = 4;
/// Protocol type of LLC in the pseudo header of SunATM.
const ATM_LLC: u32 = 2;

/// An offset: a constant, and for some a word of scratch memory that is added to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Off {
    pub word: Option<u8>,
    pub k: u32,
}

impl Off {
    pub(super) const fn at(k: u32) -> Off {
        Off { word: None, k }
    }

    pub(super) fn plus(self, k: u32) -> Off {
        Off { k: self.k.wrapping_add(k), ..self }
    }
}

/// Where the headers are at this place of the expression.
pub(super) struct Gen<'a> {
    /// The link type whose headers are looked at.
    pub link: Link,
    /// What the packets' own link type says follows.
    pub(super) origin: Follows,
    pub options: &'a Options<'a>,
    trees: &'a RefCell<Trees>,
    pub header: Off,
    pub type_at: Off,
    pub payload: Off,
    /// Bytes between the payload and the network header: SNAP, labels.
    pub network: u32,
    /// The same for OSI.
    pub osi: u32,
    /// MPLS labels passed.
    pub labels: u32,
    /// VLAN tags passed.
    pub tags: u32,
    /// Inside a tunnel: the inner frame may begin with the network header.
    pub tunnel: Option<Key>,
    /// Where a LANE header is that tells control frames from data.
    pub lane_at: Option<u32>,
    /// How the packets' own link type varies.
    pub(super) outer: Variable,
    pub(super) words: u8,
    /// Words that a test reads, a bit each.
    pub(super) read: Cell<u32>,
    /// Words that begin as 0.
    pub(super) zeroed: std::ops::Range<u8>,
    /// Words that each word is computed from.
    pub(super) needs: [u32; 16],
    /// Place of the primitive at hand.
    pub span: Span,
}

impl<'a> Gen<'a> {
    pub(super) fn new(options: &'a Options<'a>, trees: &'a RefCell<Trees>) -> Result<Gen<'a>> {
        let name = options.link.strip_prefix("DLT_").unwrap_or(options.link);
        let Some(link) = super::link::by_name(name) else {
            return Err(FilterError { span: Span::default(), why: Why::LinkType(name.into()) });
        };
        let mut g = Gen {
            link,
            origin: link.follows,
            options,
            trees,
            header: Off::at(link.header),
            type_at: Off::at(link.type_at),
            payload: Off::at(link.payload_at),
            network: link.snap,
            osi: link.osi,
            labels: 0,
            tags: 0,
            tunnel: None,
            lane_at: None,
            outer: link.variable,
            words: 0,
            read: Cell::new(0),
            zeroed: 0..0,
            needs: [0; 16],
            span: Span::default(),
        };
        g.set_up_words();
        Ok(g)
    }

    pub(super) fn fail<T>(&self, text: impl Into<String>) -> Result<T> {
        Err(FilterError { span: self.span, why: Why::Text(text.into()) })
    }

    pub(super) fn at_most(&self, what: &str, n: u32, max: u32) -> Result<()> {
        if n > max { self.fail(format!("{what} {n} greater than maximum {max}")) } else { Ok(()) }
    }

    /// A part of the language that the link type does not have.
    pub(super) fn without<T>(&self, what: &str) -> Result<T> {
        self.fail(format!("'{what}' not supported on DLT_{}", self.link.name))
    }

    // Rows of [`Trees`].

    pub(super) fn k(&self, k: u32) -> Val {
        self.value(Value::K(k))
    }

    pub(super) fn value(&self, value: Value) -> Val {
        self.trees.borrow_mut().value(value)
    }

    /// The constant that a number is.
    pub(super) fn constant(&self, value: Val) -> Option<u32> {
        self.trees.borrow().values.constant(value.0)
    }

    pub(super) fn length(&self) -> Val {
        self.value(Value::Len)
    }

    pub(super) fn alu(&self, op: AluOp, a: Val, b: Val) -> Val {
        self.trees.borrow_mut().alu(op, a, b)
    }

    pub(super) fn sum(&self, a: Val, b: Val) -> Val {
        self.alu(AluOp::Add, a, b)
    }

    pub(super) fn bits(&self, value: Val, mask: u32) -> Val {
        self.alu(AluOp::And, value, self.k(mask))
    }

    pub(super) fn test(&self, cond: Cond, a: Val, b: Val) -> Tree {
        self.trees.borrow_mut().test(cond, a, b)
    }

    /// `value & mask == want`; a mask of all ones is left out.
    pub(super) fn masked(&self, value: Val, want: u32, mask: u32, all: u32) -> Tree {
        let value = if mask & all == all { value } else { self.bits(value, mask) };
        self.test(Cond::Eq, value, self.k(want))
    }

    pub(super) fn set(&self, value: Val, word: u8) -> Tree {
        self.trees.borrow_mut().set(word, value)
    }

    pub(super) fn decided(&self, tree: Tree) -> Option<bool> {
        self.trees.borrow().decided(tree)
    }

    /// All hold.
    pub(super) fn and(&self, list: impl IntoIterator<Item = Tree>) -> Tree {
        list.into_iter().fold(Tree::TRUE, |all, t| self.trees.borrow_mut().and(all, t))
    }

    /// One holds at least.
    pub(super) fn or(&self, list: impl IntoIterator<Item = Tree>) -> Tree {
        list.into_iter().fold(Tree::FALSE, |any, t| self.trees.borrow_mut().or(any, t))
    }

    /// The same of trees that cannot be made on every link type.
    pub(super) fn any(&self, list: impl IntoIterator<Item = Result<Tree>>) -> Result<Tree> {
        list.into_iter().try_fold(Tree::FALSE, |any, t| Ok(self.trees.borrow_mut().or(any, t?)))
    }

    // Loads.

    /// A load at an offset from the first byte.
    pub(super) fn load(&self, size: Size, k: u32) -> Val {
        self.value(Value::Abs(size, k))
    }

    /// A load at an offset from a computed place.
    pub(super) fn load_from(&self, size: Size, index: Val, k: u32) -> Val {
        self.value(Value::Ind(size, k, index.0))
    }

    pub(super) fn load_at(&self, off: Off, size: Size, at: u32) -> Val {
        let k = off.k.wrapping_add(at);
        match off.word {
            None => self.load(size, k),
            Some(word) => self.load_from(size, self.word(word), k),
        }
    }

    /// A word of scratch memory, for a test.
    pub(super) fn word(&self, word: u8) -> Val {
        self.read.set(self.read.get() | 1 << word);
        self.value(Value::Word(word))
    }

    pub(super) fn network_header(&self) -> Off {
        self.payload.plus(self.network)
    }

    /// Behind the link layer, SNAP and labels.
    pub(super) fn payload(&self, size: Size, at: u32) -> Val {
        self.load_at(self.network_header(), size, at)
    }

    /// Behind the IPv4 header.
    pub(super) fn transport4(&self, size: Size, at: u32) -> Val {
        let off = self.network_header();
        let k = off.k.wrapping_add(at);
        match off.word {
            None => self.load_from(size, self.value(Value::Header(off.k)), k),
            Some(_) => self.load_from(size, self.ipv4_end(), k),
        }
    }

    /// The variable part of the offset behind the IPv4 header.
    pub(super) fn ipv4_end(&self) -> Val {
        let length = self.alu(AluOp::Lsh, self.bits(self.payload(Size::B, 0), 0xf), self.k(2));
        match self.payload.word {
            None => length,
            Some(word) => self.sum(length, self.word(word)),
        }
    }

    /// Behind the fixed IPv6 header.
    pub(super) fn transport6(&self, size: Size, at: u32) -> Val {
        self.payload(size, at.wrapping_add(40))
    }

    pub(super) fn link_header(&self, size: Size, at: u32) -> Val {
        self.load_at(self.header, size, at)
    }

    pub(super) fn llc_field(&self, size: Size, at: u32) -> Val {
        self.load_at(self.payload, size, at)
    }

    /// Behind LLC of OSI.
    pub(super) fn osi_field(&self, at: u32) -> Val {
        self.load_at(self.payload.plus(self.osi), Size::B, at)
    }

    pub(super) fn type_field(&self) -> Val {
        let size = match self.link.follows {
            Follows::Family | Follows::HostFamily | Follows::Magic(..) => Size::W,
            Follows::Table(size, _) => size,
            _ => Size::H,
        };
        self.load_at(self.type_at, size, 0)
    }

    pub(super) fn ancillary(&self, size: Size, which: Ancillary) -> Val {
        self.load(size, AD_OFF.wrapping_add(which.row().off))
    }

    /// Bytes equal to these, compared from the end in words, half words, bytes.
    pub(super) fn bytes_are(&self, load: impl Fn(Size, u32) -> Val, want: &[u8]) -> Tree {
        let (mut all, mut end) = (Tree::TRUE, want.len());
        for size in [Size::W, Size::H, Size::B] {
            let n = size.bytes() as usize;
            while end >= n {
                end -= n;
                let number = want[end..end + n].iter().fold(0, |v, b| v << 8 | u32::from(*b));
                all = self.and([all, self.test(Cond::Eq, load(size, end as u32), self.k(number))]);
            }
        }
        all
    }

    // The link layer.

    /// What follows the link layer is this: an EtherType, or an LLC service access point below 0x600.
    pub(super) fn ether_type(&self, proto: u32) -> Result<Tree> {
        if self.labels > 0 {
            return self.behind_labels(proto);
        }
        Ok(match self.link.follows {
            Follows::Ethernet => match self.is_lane_data() {
                Some(data) => self.and([data, self.ethernet(proto)]),
                None => self.ethernet(proto),
            },
            Follows::Cooked => self.cooked(proto),
            Follows::EtherType => self.type_is(proto),
            Follows::Hdlc => self.type_is(if proto == LLC_ISO { 0xfefe } else { proto }),
            Follows::Llc => self.llc_type(proto),
            Follows::Wlan => self.and([self.is_data_frame(), self.llc_type(proto)]),
            Follows::Atm => self.and([self.atm_type(ATM_LLC), self.llc_type(proto)]),
            Follows::Ppp => self.type_is(ppp_number(proto)),
            // Van Jacobson's compression, and what it leaves uncompressed.
            Follows::PppCompressed if proto == ETHERTYPE_IP => self.type_in(&[0x21, 0x2d, 0x2f]),
            Follows::PppCompressed => self.type_is(ppp_number(proto)),
            Follows::Family | Follows::HostFamily => self.family(proto),
            Follows::Table(_, rows) => {
                self.or(rows.iter().filter(|r| r.0 == proto).map(|r| self.type_is(r.1)))
            }
            Follows::Version => self.by_version(proto),
            Follows::Only(it) => Tree::of(u32::from(it) == proto),
            Follows::Magic(number, mask) => self.masked(self.type_field(), number, mask, u32::MAX),
            Follows::Unknown => return self.unknown_link(),
        })
    }

    fn unknown_link<T>(&self) -> Result<T> {
        self.fail(format!("link-layer type filtering not implemented for DLT_{}", self.link.name))
    }

    pub(super) fn type_is(&self, number: u32) -> Tree {
        self.test(Cond::Eq, self.type_field(), self.k(number))
    }

    fn type_in(&self, numbers: &[u32]) -> Tree {
        self.or(numbers.iter().map(|n| self.type_is(*n)))
    }

    /// The type field is a length: LLC follows.
    pub(super) fn is_length(&self) -> Tree {
        self.test(Cond::Gt, self.type_field(), self.k(ETHER_MTU)).not()
    }

    fn sap_is(&self, size: Size, want: u32) -> Tree {
        self.test(Cond::Eq, self.llc_field(size, 0), self.k(want))
    }

    fn ethernet(&self, proto: u32) -> Tree {
        match proto {
            LLC_ISO | LLC_IP | LLC_NETBEUI => {
                self.and([self.is_length(), self.sap_is(Size::H, proto << 8 | proto)])
            }
            LLC_IPX => self.or([
                self.type_is(ETHERTYPE_IPX),
                self.and([
                    self.is_length(),
                    self.or([
                        self.snap(0, ETHERTYPE_IPX),
                        self.sap_is(Size::B, LLC_IPX),
                        self.sap_is(Size::H, 0xffff),
                    ]),
                ]),
            ]),
            ETHERTYPE_ATALK | ETHERTYPE_AARP => {
                self.or([self.type_is(proto), self.and([self.is_length(), self.apple(proto)])])
            }
            0..=ETHER_MTU => self.and([self.is_length(), self.sap_is(Size::B, proto)]),
            _ => self.type_is(proto),
        }
    }

    fn cooked(&self, proto: u32) -> Tree {
        let llc = || self.type_is(COOKED_LLC);
        match proto {
            LLC_ISO | LLC_IP | LLC_NETBEUI => self.and([llc(), self.sap_is(Size::H, proto << 8 | proto)]),
            LLC_IPX => self.or([
                self.type_is(ETHERTYPE_IPX),
                self.type_is(COOKED_802_3),
                self.and([llc(), self.or([self.sap_is(Size::B, LLC_IPX), self.snap(0, ETHERTYPE_IPX)])]),
            ]),
            ETHERTYPE_ATALK | ETHERTYPE_AARP => {
                self.or([self.type_is(proto), self.and([llc(), self.apple(proto)])])
            }
            0..=ETHER_MTU => self.and([llc(), self.sap_is(Size::B, proto)]),
            _ => self.type_is(proto),
        }
    }

    /// Where there is nothing but LLC: both access points, or one, or the EtherType in SNAP.
    fn llc_type(&self, proto: u32) -> Tree {
        match proto {
            LLC_ISO | LLC_IP | LLC_NETBEUI => self.sap_is(Size::H, proto << 8 | proto),
            ETHERTYPE_ATALK => self.apple(proto),
            0..=ETHER_MTU => self.sap_is(Size::B, proto),
            _ => self.test(Cond::Eq, self.llc_field(Size::H, 6), self.k(proto)),
        }
    }

    /// AppleTalk in SNAP has an organisation of its own, its ARP has not.
    fn apple(&self, proto: u32) -> Tree {
        self.snap(if proto == ETHERTYPE_ATALK { 0x08_0007 } else { 0 }, proto)
    }

    /// LLC with SNAP: this organisation and protocol.
    fn snap(&self, org: u32, proto: u32) -> Tree {
        let ([_, o0, o1, o2], [_, _, p0, p1]) = (org.to_be_bytes(), proto.to_be_bytes());
        self.bytes_are(|size, at| self.llc_field(size, at), &[0xaa, 0xaa, 3, o0, o1, o2, p0, p1])
    }

    /// The address family in front of a packet. A capture file may come from a host of another kind.
    fn family(&self, proto: u32) -> Tree {
        let file = self.options.packets == Packets::File;
        let families: &[u32] = match (proto, file) {
            (ETHERTYPE_IP, _) => &[FAMILY_IP],
            (ETHERTYPE_IP6, true) => &FAMILIES_IP6,
            (ETHERTYPE_IP6, false) => &[FAMILY_IP6_LINUX],
            _ => return Tree::FALSE,
        };
        let host = self.link.follows == Follows::HostFamily;
        let mut numbers = families.to_vec();
        if host {
            numbers.iter_mut().for_each(|n| *n = n.to_be());
        }
        if host && file {
            numbers.extend(families.iter().map(|n| n.to_be().swap_bytes()));
        }
        self.type_in(&numbers)
    }

    fn by_version(&self, proto: u32) -> Tree {
        let version = |n| self.masked(self.link_header(Size::B, 0), n, 0xf0, 0xff);
        match proto {
            ETHERTYPE_IP => version(0x40),
            ETHERTYPE_IP6 => version(0x60),
            _ => Tree::FALSE,
        }
    }

    /// Behind the last MPLS label the version of IP tells.
    fn behind_labels(&self, proto: u32) -> Result<Tree> {
        let version = match proto {
            ETHERTYPE_IP => 0x40,
            ETHERTYPE_IP6 => 0x60,
            _ => return self.fail("unsupported protocol over mpls"),
        };
        Ok(self.and([self.bottom_of_stack(true), self.masked(self.payload(Size::B, 0), version, 0xf0, 0xff)]))
    }

    /// The label before this place is the last one, or is not.
    pub(super) fn bottom_of_stack(&self, last: bool) -> Tree {
        self.masked(self.payload(Size::B, 2u32.wrapping_neg()), last.into(), 1, 0xff)
    }

    // Primitives that look at the link layer.

    pub(super) fn shorter(&self, n: u32) -> Tree {
        self.test(Cond::Gt, self.length(), self.k(n)).not()
    }

    pub(super) fn longer(&self, n: u32) -> Tree {
        self.test(Cond::Ge, self.length(), self.k(n))
    }

    pub(super) fn broadcast(&self, proto: Proto) -> Result<Tree> {
        match proto {
            Proto::Default | Proto::Link => match self.link.addresses {
                Addresses::Byte { dst, broadcast, .. } => {
                    Ok(self.test(Cond::Eq, self.link_header(Size::B, dst), self.k(broadcast)))
                }
                Addresses::Mac { .. } | Addresses::Wlan => {
                    self.in_frame(self.mac_is(super::parse::Dir::Dst, &[0xff; 6]))
                }
                Addresses::None => self.without("broadcast"),
            },
            Proto::Ip => {
                let Some(netmask) = self.options.netmask else {
                    return self.fail("netmask not known, so 'ip broadcast' not supported");
                };
                let ip = self.ether_type(ETHERTYPE_IP)?;
                let host = !netmask;
                let is = |want| self.masked(self.payload(Size::W, 16), want, host, u32::MAX);
                Ok(self.and([ip, self.or([is(0), is(host)])]))
            }
            _ => self.fail("only link-layer/IP broadcast filters supported"),
        }
    }

    pub(super) fn multicast(&self, proto: Proto) -> Result<Tree> {
        let group = |at| self.test(Cond::Set, self.link_header(Size::B, at), self.k(1));
        match proto {
            Proto::Default | Proto::Link => match self.link.addresses {
                Addresses::Mac { dst, .. } => self.in_frame(group(dst)),
                Addresses::Wlan => Ok(self.wlan_dst(group)),
                Addresses::Byte { multicast: true, .. } => self.broadcast(proto),
                _ => self.without("multicast"),
            },
            Proto::Ip => Ok(self.and([
                self.ether_type(ETHERTYPE_IP)?,
                self.masked(self.payload(Size::B, 16), 0xe0, 0xf0, 0xff),
            ])),
            Proto::Ip6 => Ok(self.and([
                self.ether_type(ETHERTYPE_IP6)?,
                self.test(Cond::Eq, self.payload(Size::B, 24), self.k(255)),
            ])),
            _ => self.fail("only IP multicast filters supported on ethernet/FDDI/token ring/ARCNET/802.11/ATM LANE/Fibre Channel"),
        }
    }

    pub(super) fn byte(&self, at: u32, op: Op, value: u32) -> Result<Tree> {
        self.at_most("byte argument", value, 255)?;
        let (byte, k) = (self.link_header(Size::B, at), self.k(value));
        let some_bit = |op| self.test(Cond::Eq, self.alu(op, byte, k), self.k(0)).not();
        Ok(match op {
            Op::Eq => self.test(Cond::Eq, byte, k),
            Op::Lt => self.test(Cond::Ge, byte, k).not(),
            Op::Gt => self.test(Cond::Gt, byte, k),
            Op::And => some_bit(AluOp::And),
            _ => some_bit(AluOp::Or),
        })
    }

    /// `inbound` and `outbound`.
    pub(super) fn direction(&self, key: Key) -> Result<Tree> {
        let inbound = key == Key::Inbound;
        let (field, (mask, value, other)) = match self.link.direction {
            Some(d) => (self.link_header(d.size, d.at), if inbound { d.inbound } else { d.outbound }),
            None if self.options.packets == Packets::Live => {
                (self.ancillary(Size::H, Ancillary::PktType), (u32::MAX, OUTGOING, inbound))
            }
            None => {
                let (word, link) = (key.name(), self.link.name);
                return self.fail(format!("not a live capture, '{word}' not supported on DLT_{link}"));
            }
        };
        let test = self.masked(field, value, mask, u32::MAX);
        Ok(if other { test.not() } else { test })
    }

    pub(super) fn ifindex(&self, n: u32) -> Result<Tree> {
        let field = match self.link.name {
            "LINUX_SLL2" => self.link_header(Size::W, 4),
            _ if self.options.packets == Packets::Live => self.ancillary(Size::W, Ancillary::Ifindex),
            _ => {
                let link = self.link.name;
                return self.fail(format!("not a live capture, 'ifindex' not supported on DLT_{link}"));
            }
        };
        Ok(self.test(Cond::Eq, field, self.k(n)))
    }
}

/// PPP protocol number of an EtherType.
fn ppp_number(proto: u32) -> u32 {
    match proto {
        ETHERTYPE_IP => 0x21,
        ETHERTYPE_IP6 => 0x57,
        ETHERTYPE_DECNET => 0x27,
        ETHERTYPE_ATALK => 0x29,
        0x0600 => 0x25,
        LLC_ISO => 0x23,
        LLC_STP => 0x31,
        LLC_IPX => 0x2b,
        other => other,
    }
}
