//! What each primitive means on a link type, as a [`Tree`]: where the headers are at this place of the expression, and what
//! follows the link layer. The order of tests is that of libpcap's unoptimised programs, since it shows on truncated packets.
//!
//! `vlan`, `mpls`, `pppoes`, `lane`, `geneve` and `vxlan` move the place where everything to their right looks, so that
//! state runs from left to right over the whole expression. Offsets that differ from packet to packet are kept in words of
//! scratch memory: those of radio and 802.11 headers are computed in front of all tests, those of tunnels when one is found.

use super::error::{FilterError, Span, Why};
use super::lex::Op;
use super::link::{Addresses, Follows, Link, Variable};
use super::tree::{Base, Tree, Val};
use super::words::{Key, Proto};
use super::{Options, Packets};
use crate::ancillary::{AD_OFF, Ancillary};
use crate::insn::{AluOp, Cond, Size};
use std::cell::Cell;

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
    pub(super) fn new(options: &'a Options<'a>) -> Result<Gen<'a>> {
        let name = options.link.strip_prefix("DLT_").unwrap_or(options.link);
        let Some(link) = super::link::by_name(name) else {
            return Err(FilterError { span: Span::default(), why: Why::LinkType(name.into()) });
        };
        let mut g = Gen {
            link,
            origin: link.follows,
            options,
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

    // Loads.

    pub(super) fn load_at(&self, off: Off, size: Size, at: u32) -> Val {
        let k = off.k.wrapping_add(at);
        match off.word {
            None => Val::Load(size, Base::Start, k),
            Some(word) => Val::Load(size, Base::At(Box::new(self.word(word))), k),
        }
    }

    /// A word of scratch memory, for a test.
    pub(super) fn word(&self, word: u8) -> Val {
        self.read.set(self.read.get() | 1 << word);
        Val::Word(word)
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
            None => Val::Load(size, Base::BehindIpv4(off.k), k),
            Some(_) => Val::Load(size, Base::At(Box::new(self.ipv4_end())), k),
        }
    }

    /// The variable part of the offset behind the IPv4 header.
    pub(super) fn ipv4_end(&self) -> Val {
        let length =
            Val::Alu(AluOp::Lsh, Box::new(Val::and(self.payload(Size::B, 0), 0xf)), Box::new(Val::K(2)));
        match self.payload.word {
            None => length,
            Some(word) => Val::add(length, self.word(word)),
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
        Val::Load(size, Base::Start, AD_OFF.wrapping_add(which.row().off))
    }

    /// Bytes equal to these, compared from the end in words, half words, bytes.
    pub(super) fn bytes_are(&self, load: impl Fn(Size, u32) -> Val, want: &[u8]) -> Tree {
        let (mut tests, mut end) = (Vec::with_capacity(2), want.len());
        for size in [Size::W, Size::H, Size::B] {
            let n = size.bytes() as usize;
            while end >= n {
                end -= n;
                let number = want[end..end + n].iter().fold(0, |v, b| v << 8 | u32::from(*b));
                tests.push(Tree::Test(Cond::Eq, load(size, end as u32), Val::K(number)));
            }
        }
        Tree::And(tests)
    }

    // The link layer.

    /// What follows the link layer is this: an EtherType, or an LLC service access point below 0x600.
    pub(super) fn ether_type(&self, proto: u32) -> Result<Tree> {
        if self.labels > 0 {
            return self.behind_labels(proto);
        }
        Ok(match self.link.follows {
            Follows::Ethernet => match self.is_lane_data() {
                Some(data) => Tree::And(vec![data, self.ethernet(proto)]),
                None => self.ethernet(proto),
            },
            Follows::Cooked => self.cooked(proto),
            Follows::EtherType => self.type_is(proto),
            Follows::Hdlc => self.type_is(if proto == LLC_ISO { 0xfefe } else { proto }),
            Follows::Llc => self.llc_type(proto),
            Follows::Wlan => Tree::And(vec![self.is_data_frame(), self.llc_type(proto)]),
            Follows::Atm => Tree::And(vec![self.atm_type(ATM_LLC), self.llc_type(proto)]),
            Follows::Ppp => self.type_is(ppp_number(proto)),
            // Van Jacobson's compression, and what it leaves uncompressed.
            Follows::PppCompressed if proto == ETHERTYPE_IP => self.type_in(&[0x21, 0x2d, 0x2f]),
            Follows::PppCompressed => self.type_is(ppp_number(proto)),
            Follows::Family | Follows::HostFamily => self.family(proto),
            Follows::Table(_, rows) => {
                let numbers: Vec<u32> = rows.iter().filter(|r| r.0 == proto).map(|r| r.1).collect();
                self.type_in(&numbers)
            }
            Follows::Version => self.by_version(proto),
            Follows::Only(it) => Tree::Const(u32::from(it) == proto),
            Follows::Magic(number, mask) => Tree::masked(self.type_field(), number, mask, u32::MAX),
            Follows::Unknown => return self.unknown_link(),
        })
    }

    fn unknown_link<T>(&self) -> Result<T> {
        self.fail(format!("link-layer type filtering not implemented for DLT_{}", self.link.name))
    }

    pub(super) fn type_is(&self, number: u32) -> Tree {
        Tree::Test(Cond::Eq, self.type_field(), Val::K(number))
    }

    fn type_in(&self, numbers: &[u32]) -> Tree {
        match numbers {
            [number] => self.type_is(*number),
            _ => Tree::Or(numbers.iter().map(|n| self.type_is(*n)).collect()),
        }
    }

    /// The type field is a length: LLC follows.
    pub(super) fn is_length(&self) -> Tree {
        Tree::Test(Cond::Gt, self.type_field(), Val::K(ETHER_MTU)).not()
    }

    fn sap_is(&self, size: Size, want: u32) -> Tree {
        Tree::Test(Cond::Eq, self.llc_field(size, 0), Val::K(want))
    }

    fn ethernet(&self, proto: u32) -> Tree {
        match proto {
            LLC_ISO | LLC_IP | LLC_NETBEUI => {
                Tree::And(vec![self.is_length(), self.sap_is(Size::H, proto << 8 | proto)])
            }
            LLC_IPX => Tree::Or(vec![
                self.type_is(ETHERTYPE_IPX),
                Tree::And(vec![
                    self.is_length(),
                    Tree::Or(vec![
                        self.snap(0, ETHERTYPE_IPX),
                        self.sap_is(Size::B, LLC_IPX),
                        self.sap_is(Size::H, 0xffff),
                    ]),
                ]),
            ]),
            ETHERTYPE_ATALK | ETHERTYPE_AARP => {
                Tree::Or(vec![self.type_is(proto), Tree::And(vec![self.is_length(), self.apple(proto)])])
            }
            0..=ETHER_MTU => Tree::And(vec![self.is_length(), self.sap_is(Size::B, proto)]),
            _ => self.type_is(proto),
        }
    }

    fn cooked(&self, proto: u32) -> Tree {
        let llc = || self.type_is(COOKED_LLC);
        match proto {
            LLC_ISO | LLC_IP | LLC_NETBEUI => {
                Tree::And(vec![llc(), self.sap_is(Size::H, proto << 8 | proto)])
            }
            LLC_IPX => Tree::Or(vec![
                self.type_is(ETHERTYPE_IPX),
                self.type_is(COOKED_802_3),
                Tree::And(vec![
                    llc(),
                    Tree::Or(vec![self.sap_is(Size::B, LLC_IPX), self.snap(0, ETHERTYPE_IPX)]),
                ]),
            ]),
            ETHERTYPE_ATALK | ETHERTYPE_AARP => {
                Tree::Or(vec![self.type_is(proto), Tree::And(vec![llc(), self.apple(proto)])])
            }
            0..=ETHER_MTU => Tree::And(vec![llc(), self.sap_is(Size::B, proto)]),
            _ => self.type_is(proto),
        }
    }

    /// Where there is nothing but LLC: both access points, or one, or the EtherType in SNAP.
    fn llc_type(&self, proto: u32) -> Tree {
        match proto {
            LLC_ISO | LLC_IP | LLC_NETBEUI => self.sap_is(Size::H, proto << 8 | proto),
            ETHERTYPE_ATALK => self.apple(proto),
            0..=ETHER_MTU => self.sap_is(Size::B, proto),
            _ => Tree::Test(Cond::Eq, self.llc_field(Size::H, 6), Val::K(proto)),
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
            _ => return Tree::Const(false),
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
        let version = |n| Tree::masked(self.link_header(Size::B, 0), n, 0xf0, 0xff);
        match proto {
            ETHERTYPE_IP => version(0x40),
            ETHERTYPE_IP6 => version(0x60),
            _ => Tree::Const(false),
        }
    }

    /// Behind the last MPLS label the version of IP tells.
    fn behind_labels(&self, proto: u32) -> Result<Tree> {
        let version = match proto {
            ETHERTYPE_IP => 0x40,
            ETHERTYPE_IP6 => 0x60,
            _ => return self.fail("unsupported protocol over mpls"),
        };
        Ok(Tree::And(vec![
            self.bottom_of_stack(true),
            Tree::masked(self.payload(Size::B, 0), version, 0xf0, 0xff),
        ]))
    }

    /// The label before this place is the last one, or is not.
    pub(super) fn bottom_of_stack(&self, last: bool) -> Tree {
        Tree::masked(self.payload(Size::B, 2u32.wrapping_neg()), last.into(), 1, 0xff)
    }

    // Primitives that look at the link layer.

    pub(super) fn shorter(&self, n: u32) -> Tree {
        Tree::Test(Cond::Gt, Val::Len, Val::K(n)).not()
    }

    pub(super) fn longer(&self, n: u32) -> Tree {
        Tree::Test(Cond::Ge, Val::Len, Val::K(n))
    }

    pub(super) fn broadcast(&self, proto: Proto) -> Result<Tree> {
        match proto {
            Proto::Default | Proto::Link => match self.link.addresses {
                Addresses::Byte { dst, broadcast, .. } => {
                    Ok(Tree::Test(Cond::Eq, self.link_header(Size::B, dst), Val::K(broadcast)))
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
                let is = |want| Tree::masked(self.payload(Size::W, 16), want, host, u32::MAX);
                Ok(Tree::And(vec![ip, Tree::Or(vec![is(0), is(host)])]))
            }
            _ => self.fail("only link-layer/IP broadcast filters supported"),
        }
    }

    pub(super) fn multicast(&self, proto: Proto) -> Result<Tree> {
        let group = |at| Tree::Test(Cond::Set, self.link_header(Size::B, at), Val::K(1));
        match proto {
            Proto::Default | Proto::Link => match self.link.addresses {
                Addresses::Mac { dst, .. } => self.in_frame(group(dst)),
                Addresses::Wlan => Ok(self.wlan_dst(group)),
                Addresses::Byte { multicast: true, .. } => self.broadcast(proto),
                _ => self.without("multicast"),
            },
            Proto::Ip => Ok(Tree::And(vec![
                self.ether_type(ETHERTYPE_IP)?,
                Tree::masked(self.payload(Size::B, 16), 0xe0, 0xf0, 0xff),
            ])),
            Proto::Ip6 => Ok(Tree::And(vec![
                self.ether_type(ETHERTYPE_IP6)?,
                Tree::Test(Cond::Eq, self.payload(Size::B, 24), Val::K(255)),
            ])),
            _ => self.fail("only IP multicast filters supported on ethernet/FDDI/token ring/ARCNET/802.11/ATM LANE/Fibre Channel"),
        }
    }

    pub(super) fn byte(&self, at: u32, op: Op, value: u32) -> Result<Tree> {
        self.at_most("byte argument", value, 255)?;
        let (byte, k) = (self.link_header(Size::B, at), Val::K(value));
        let some_bit = |op| {
            let bits = Val::Alu(op, Box::new(byte.clone()), Box::new(k.clone()));
            Tree::Test(Cond::Eq, bits, Val::K(0)).not()
        };
        Ok(match op {
            Op::Eq => Tree::Test(Cond::Eq, byte, k),
            Op::Lt => Tree::Test(Cond::Ge, byte, k).not(),
            Op::Gt => Tree::Test(Cond::Gt, byte, k),
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
        let test = Tree::masked(field, value, mask, u32::MAX);
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
        Ok(Tree::Test(Cond::Eq, field, Val::K(n)))
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
