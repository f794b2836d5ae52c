//! Expression → [`Tree`]: what each primitive means on a link type. The order of tests is that of libpcap's unoptimised
//! programs, since it shows on truncated packets.
//!
//! `vlan`, `mpls` and `pppoes` move the place where everything to their right looks, so that state runs from left to
//! right over the whole expression.

use super::error::{FilterError, Span, Why};
use super::link::{Kind as LinkKind, Link};
use super::parse::{Arith, Expr, Prim};
use super::tree::{Base, Tree, Val};
use super::words::Proto;
use crate::insn::{AluOp, Cond, Size};

pub(super) type Result<T> = std::result::Result<T, FilterError>;

pub(super) const ETHERTYPE_IP: u32 = 0x0800;
pub(super) const ETHERTYPE_IP6: u32 = 0x86dd;
const LLC_ISO: u32 = 0xfe;
const LLC_STP: u32 = 0x42;
const LLC_IPX: u32 = 0xe0;
const LLC_NETBEUI: u32 = 0xf0;
/// Largest length field: larger numbers are EtherTypes.
const ETHER_MTU: u32 = 1500;

/// Where the headers are at this place of the expression.
pub(super) struct Gen<'a> {
    pub link: Link,
    /// Its name as given.
    pub link_name: &'a str,
    pub options: &'a super::Options<'a>,
    /// How the field at `type_at` names what follows.
    kind: LinkKind,
    type_at: u32,
    payload_at: u32,
    /// MPLS labels between the link layer and the network header.
    labels: u32,
    /// Place of the primitive at hand.
    pub span: Span,
}

impl<'a> Gen<'a> {
    pub(super) fn new(options: &'a super::Options<'a>) -> Gen<'a> {
        let link_name = options.link.strip_prefix("DLT_").unwrap_or(options.link);
        let link = super::link::by_name(link_name).copied().unwrap_or(super::link::UNKNOWN);
        let (kind, type_at, payload_at) = (link.kind, link.type_at, link.payload_at);
        Gen { link, link_name, options, kind, type_at, payload_at, labels: 0, span: Span::default() }
    }

    pub(super) fn fail<T>(&self, text: impl Into<String>) -> Result<T> {
        Err(FilterError { span: self.span, why: Why::Text(text.into()) })
    }

    fn not_yet<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(FilterError { span: self.span, why: Why::NotYet(what.into()) })
    }

    /// A tree for an expression. Long chains of `and` and `or` lean to the left and are walked without recursion.
    pub(super) fn expr(&mut self, expr: &Expr) -> Result<Tree> {
        let (mut first, mut rest) = (expr, Vec::new());
        while let Expr::And(l, r) | Expr::Or(l, r) = first {
            rest.push((matches!(first, Expr::And(..)), r));
            first = l;
        }
        let mut tree = match first {
            Expr::True => Tree::Const(true),
            Expr::Not(inner) => self.expr(inner)?.not(),
            Expr::Prim(prim, span) => {
                self.span = *span;
                self.prim(prim)?
            }
            Expr::And(..) | Expr::Or(..) => Tree::Const(true),
        };
        for (and, right) in rest.into_iter().rev() {
            let right = self.expr(right)?;
            tree = match (and, tree) {
                (true, Tree::And(mut list)) => {
                    list.push(right);
                    Tree::And(list)
                }
                (false, Tree::Or(mut list)) => {
                    list.push(right);
                    Tree::Or(list)
                }
                (true, tree) => Tree::And(vec![tree, right]),
                (false, tree) => Tree::Or(vec![tree, right]),
            };
        }
        Ok(tree)
    }

    fn prim(&mut self, prim: &Prim) -> Result<Tree> {
        match prim {
            Prim::Id(quals, ident) => self.ident(*quals, ident),
            Prim::Proto(proto) => self.abbreviation(*proto),
            Prim::Relation(cond, reversed, a, b) => self.relation(*cond, *reversed, a, b),
            Prim::Broadcast(proto) => self.broadcast(*proto),
            Prim::Multicast(proto) => self.multicast(*proto),
            Prim::Less(n) => Ok(Tree::Test(Cond::Gt, Val::Len, Val::K(*n)).not()),
            Prim::Greater(n) => Ok(Tree::Test(Cond::Ge, Val::Len, Val::K(*n))),
            Prim::Byte(at, op, value) => self.byte(*at, op, *value),
            Prim::Vlan(tag) => self.vlan(*tag),
            Prim::Mpls(label) => self.mpls(*label),
            Prim::Pppoed => self.ether_type(0x8863),
            Prim::Pppoes(session) => self.pppoes(*session),
            Prim::Llc(kind) => self.llc(kind.as_deref()),
            Prim::Tunnel(word, id) => {
                self.at_most(
                    if *word == "geneve" { "Geneve VNI" } else { "VXLAN VNI" },
                    id.unwrap_or(0),
                    0xff_ffff,
                )?;
                self.not_yet(format!("'{word}'"))
            }
            Prim::List => self.fail("can't parse filter expression: syntax error"),
            Prim::Other(word) => self.other(word),
        }
    }

    /// Words that other link types have.
    fn other(&self, word: &str) -> Result<Tree> {
        let name = self.link_name;
        match word {
            // Words of a link type whose headers are not known yet are not judged.
            _ if self.has_words(word) => self.not_yet(format!("'{word}' on {name}")),
            "fisu" | "lssu" | "msu" | "hfisu" | "hlssu" | "hmsu" | "sio" | "opc" | "dpc" | "sls" | "hsio"
            | "hopc" | "hdpc" | "hsls" => self.fail(format!("'{word}' supported only on SS7")),
            "vpi" | "vci" | "lane" | "oam" | "oamf4" | "metac" | "bcc" | "oamf4ec" | "oamf4sc" | "sc"
            | "ilmic" | "connectmsg" | "metaconnect" => {
                self.fail(format!("'{word}' supported only on SUNATM"))
            }
            "reason" | "rnum" | "ruleset" | "subrulenum" | "action" | "ifname" => {
                self.fail(format!("'{word}' supported only on PFLOG linktype"))
            }
            "ifindex" => self.fail("not a live capture"),
            "type/subtype" | "dir" => self.without(word, word),
            "inbound" | "outbound" if !super::link::later("bound", name) => {
                self.fail(format!("not a live capture, '{word}' not supported on DLT_{name}"))
            }
            _ => self.not_yet(format!("'{word}' on {name}")),
        }
    }

    /// The link type may have this word.
    fn has_words(&self, word: &str) -> bool {
        match self.link_name {
            "MTP2" | "MTP2_WITH_PHDR" | "ERF" => !matches!(word, "ifindex" | "reason" | "vpi"),
            "SUNATM" => !matches!(word, "ifindex" | "reason" | "fisu"),
            "PFLOG" => !matches!(word, "ifindex" | "vpi" | "fisu"),
            "LINUX_SLL2" => word == "ifindex",
            _ => false,
        }
    }

    // Loads.

    fn base(&self) -> Base {
        Base::Start
    }

    /// Offset of the network header.
    pub(super) fn network_at(&self) -> u32 {
        self.payload_at + self.labels * 4
    }

    /// Behind the link layer, and labels.
    pub(super) fn payload(&self, size: Size, at: u32) -> Val {
        Val::Load(size, self.base(), self.payload_at + self.labels * 4 + at)
    }

    /// Behind the IPv4 header.
    pub(super) fn transport4(&self, size: Size, at: u32) -> Val {
        let payload = self.payload_at + self.labels * 4;
        Val::Load(size, Base::BehindIpv4(payload), payload + at)
    }

    /// Behind the fixed IPv6 header.
    pub(super) fn transport6(&self, size: Size, at: u32) -> Val {
        self.payload(size, 40 + at)
    }

    pub(super) fn link_header(&self, size: Size, at: u32) -> Val {
        Val::Load(size, self.base(), at)
    }

    fn type_field(&self) -> Val {
        let size = if self.kind == LinkKind::Ppp { Size::H } else { self.link.type_size() };
        Val::Load(size, self.base(), self.type_at)
    }

    fn llc_field(&self, size: Size, at: u32) -> Val {
        Val::Load(size, self.base(), self.payload_at + at)
    }

    /// Bytes equal to these, compared from the end in words, half words, bytes.
    pub(super) fn bytes_are(&self, load: impl Fn(&Self, Size, u32) -> Val, want: &[u8]) -> Tree {
        let (mut tests, mut end) = (Vec::new(), want.len());
        for size in [Size::W, Size::H, Size::B] {
            let n = size.bytes() as usize;
            while end >= n {
                end -= n;
                let number = want[end..end + n].iter().fold(0, |v, b| v << 8 | u32::from(*b));
                tests.push(Tree::Test(Cond::Eq, load(self, size, end as u32), Val::K(number)));
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
        match self.kind {
            LinkKind::Ethernet => Ok(self.ethernet(proto)),
            LinkKind::Cooked => self.cooked(proto),
            LinkKind::EtherType => Ok(self.type_is(proto)),
            LinkKind::Hdlc => Ok(self.type_is(if proto == LLC_ISO { 0xfefe } else { proto })),
            LinkKind::Ppp => Ok(self.type_is(ppp_number(proto))),
            LinkKind::Family => self.family(proto),
            LinkKind::Raw => Ok(self.by_version(proto)),
            LinkKind::Unknown => self.unknown_link(),
            LinkKind::Only(it) => Ok(Tree::Const(u32::from(it) == proto)),
        }
    }

    /// A part of the language that the link type does not have, or does not have yet.
    pub(super) fn without<T>(&self, part: &str, what: &str) -> Result<T> {
        if super::link::later(part, self.link_name) {
            return self.not_yet(format!("'{what}' on {}", self.link_name));
        }
        self.fail(format!("'{what}' not supported on DLT_{}", self.link_name))
    }

    /// The headers of the link type are not known.
    pub(super) fn unknown_link<T>(&self) -> Result<T> {
        if !super::link::later("headers", self.link_name) {
            return self
                .fail(format!("link-layer type filtering not implemented for DLT_{}", self.link_name));
        }
        Err(FilterError { span: self.span, why: Why::LinkType(self.link_name.into()) })
    }

    fn type_is(&self, number: u32) -> Tree {
        Tree::Test(Cond::Eq, self.type_field(), Val::K(number))
    }

    /// The type field is a length: LLC follows.
    fn is_length(&self) -> Tree {
        Tree::Test(Cond::Gt, self.type_field(), Val::K(ETHER_MTU)).not()
    }

    fn ethernet(&self, proto: u32) -> Tree {
        let llc = |size, want| Tree::Test(Cond::Eq, self.llc_field(size, 0), Val::K(want));
        match proto {
            LLC_ISO | 6 | LLC_NETBEUI => Tree::And(vec![self.is_length(), llc(Size::H, proto << 8 | proto)]),
            LLC_IPX => Tree::Or(vec![
                self.type_is(0x8137),
                Tree::And(vec![
                    self.is_length(),
                    Tree::Or(vec![self.snap(0, 0x8137), llc(Size::B, LLC_IPX), llc(Size::H, 0xffff)]),
                ]),
            ]),
            0x809b => Tree::Or(vec![
                self.type_is(proto),
                Tree::And(vec![self.is_length(), self.snap(0x08_0007, proto)]),
            ]),
            0x80f3 => {
                Tree::Or(vec![self.type_is(proto), Tree::And(vec![self.is_length(), self.snap(0, proto)])])
            }
            0..=ETHER_MTU => Tree::And(vec![self.is_length(), llc(Size::B, proto)]),
            _ => self.type_is(proto),
        }
    }

    /// LLC with SNAP: this organisation and protocol.
    fn snap(&self, org: u32, proto: u32) -> Tree {
        let ([_, o0, o1, o2], [_, _, p0, p1]) = (org.to_be_bytes(), proto.to_be_bytes());
        self.bytes_are(Self::llc_field, &[0xaa, 0xaa, 3, o0, o1, o2, p0, p1])
    }

    fn cooked(&self, proto: u32) -> Result<Tree> {
        if proto <= ETHER_MTU {
            return self.not_yet(format!("LLC on {}", self.link_name));
        }
        Ok(self.type_is(proto))
    }

    /// Address families of the BSD loopback, in network byte order: IPv6 has three numbers in the field.
    fn family(&self, proto: u32) -> Result<Tree> {
        let is = |n| Tree::Test(Cond::Eq, self.type_field(), Val::K(n));
        match proto {
            ETHERTYPE_IP => Ok(is(2)),
            ETHERTYPE_IP6 => self.not_yet(format!("IPv6 on {}", self.link_name)),
            _ => Ok(Tree::Const(false)),
        }
    }

    fn by_version(&self, proto: u32) -> Tree {
        let version = |n| Tree::masked(Val::Load(Size::B, self.base(), self.payload_at), n, 0xf0, 0xff);
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
            self.bottom_of_stack(1),
            Tree::masked(self.payload(Size::B, 0), version, 0xf0, 0xff),
        ]))
    }

    /// The label before this place says whether it is the last.
    fn bottom_of_stack(&self, bit: u32) -> Tree {
        let at = self.payload_at + self.labels * 4 - 2;
        Tree::masked(Val::Load(Size::B, self.base(), at), bit, 1, 0xff)
    }

    fn vlan(&mut self, tag: Option<u32>) -> Result<Tree> {
        if self.labels > 0 {
            return self.fail("no VLAN match after MPLS");
        }
        if self.kind != LinkKind::Ethernet {
            return self.without("vlan", "vlan");
        }
        let mut tests =
            vec![Tree::Or(vec![self.type_is(0x8100), self.type_is(0x88a8), self.type_is(0x9100)])];
        if let Some(tag) = tag {
            self.at_most("VLAN tag", tag, 0xfff)?;
            tests.push(Tree::masked(self.payload(Size::H, 0), tag, 0xfff, 0xffff));
        }
        self.type_at += 4;
        self.payload_at += 4;
        Ok(Tree::And(tests))
    }

    fn mpls(&mut self, label: Option<u32>) -> Result<Tree> {
        let first = match self.kind {
            _ if self.labels > 0 => self.bottom_of_stack(0),
            LinkKind::Ethernet => self.type_is(0x8847),
            LinkKind::Ppp if self.link_name != "PPP_ETHER" => self.type_is(0x0281),
            LinkKind::Hdlc => self.type_is(0x8847),
            _ => return self.without("mpls", "mpls"),
        };
        let mut tests = vec![first];
        if let Some(label) = label {
            self.at_most("MPLS label", label, 0xf_ffff)?;
            tests.push(Tree::masked(self.payload(Size::W, 0), label << 12, 0xffff_f000, u32::MAX));
        }
        self.labels += 1;
        Ok(Tree::And(tests))
    }

    fn pppoes(&mut self, session: Option<u32>) -> Result<Tree> {
        let mut tests = vec![self.ether_type(0x8864)?];
        if let Some(session) = session {
            self.at_most("PPPoE session number", session, 0xffff)?;
            tests.push(Tree::masked(self.payload(Size::W, 0), session, 0xffff, u32::MAX));
        }
        self.kind = LinkKind::Ppp;
        self.type_at = self.payload_at + self.labels * 4 + 6;
        self.payload_at = self.type_at + 2;
        self.labels = 0;
        Ok(Tree::And(tests))
    }

    pub(super) fn at_most(&self, what: &str, n: u32, max: u32) -> Result<()> {
        if n > max { self.fail(format!("{what} {n} greater than maximum {max}")) } else { Ok(()) }
    }

    fn llc(&self, kind: Option<&str>) -> Result<Tree> {
        if self.kind != LinkKind::Ethernet {
            return self.without("llc", "llc");
        }
        let not_netware = Tree::Test(Cond::Eq, self.llc_field(Size::H, 0), Val::K(0xffff)).not();
        let mut tests = vec![self.is_length(), not_netware];
        let control = |want, mask| Tree::masked(self.llc_field(Size::B, 2), want, mask, 0xff);
        let unnumbered = [
            ("ui", 0x03),
            ("ua", 0x63),
            ("disc", 0x43),
            ("dm", 0x0f),
            ("sabme", 0x6f),
            ("test", 0xe3),
            ("xid", 0xaf),
            ("frmr", 0x87),
        ];
        let supervisory = [("rr", 0x01), ("rnr", 0x05), ("rej", 0x09)];
        let find = |list: &[(&str, u32)]| list.iter().find(|(n, _)| Some(*n) == kind).map(|(_, v)| *v);
        match (kind, find(&unnumbered), find(&supervisory)) {
            (None, ..) => {}
            (Some("i"), ..) => tests.push(control(0, 1)),
            (Some("s"), ..) => tests.push(control(1, 3)),
            (Some("u"), ..) => tests.push(control(3, 3)),
            (_, Some(want), _) => tests.push(control(want, 0xef)),
            (_, _, Some(want)) => tests.push(control(want, 0x0f)),
            (Some(name), ..) => return self.fail(format!("unknown LLC type name \"{name}\"")),
        }
        Ok(Tree::And(tests))
    }

    fn broadcast(&self, proto: Proto) -> Result<Tree> {
        match proto {
            Proto::Default | Proto::Link => match self.kind {
                LinkKind::Ethernet => Ok(self.bytes_are(Self::link_header, &[0xff; 6])),
                _ => self.without("broadcast", "broadcast"),
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

    fn multicast(&self, proto: Proto) -> Result<Tree> {
        match proto {
            Proto::Default | Proto::Link => match self.kind {
                LinkKind::Ethernet => {
                    Ok(Tree::Test(Cond::Set, self.link_header(Size::B, 0), Val::K(1)))
                }
                _ => self.without("multicast", "multicast"),
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

    fn byte(&self, at: u32, op: &str, value: u32) -> Result<Tree> {
        self.at_most("byte argument", value, 255)?;
        if self.kind == LinkKind::Unknown {
            return self.unknown_link();
        }
        let (byte, k) = (self.link_header(Size::B, at), Val::K(value));
        let differs = |op| {
            Tree::Test(Cond::Eq, Val::Alu(op, Box::new(byte.clone()), Box::new(k.clone())), Val::K(0)).not()
        };
        Ok(match op {
            "=" => Tree::Test(Cond::Eq, byte, k),
            "<" => Tree::Test(Cond::Ge, byte, k).not(),
            ">" => Tree::Test(Cond::Gt, byte, k),
            "&" => differs(AluOp::And),
            _ => differs(AluOp::Or),
        })
    }

    // Numbers.

    fn relation(&mut self, cond: Cond, reversed: bool, a: &Arith, b: &Arith) -> Result<Tree> {
        let mut checks = Vec::new();
        let (a, b) = (self.arith(a, &mut checks)?, self.arith(b, &mut checks)?);
        let test = Tree::Test(cond, a, b);
        checks.push(if reversed { test.not() } else { test });
        Ok(Tree::And(checks))
    }

    /// A number, and the tests that have to hold before it can be computed.
    fn arith(&self, a: &Arith, checks: &mut Vec<Tree>) -> Result<Val> {
        match a {
            Arith::Num(n) => Ok(Val::K(*n)),
            Arith::Len => Ok(Val::Len),
            Arith::Neg(inner) => Ok(Val::Neg(Box::new(self.arith(inner, checks)?))),
            Arith::Op(op, a, b, span) => {
                let (a, b) = (self.arith(a, checks)?, self.arith(b, checks)?);
                let bad = match (op, &b) {
                    (AluOp::Div, Val::K(0)) => "division by zero",
                    (AluOp::Mod, Val::K(0)) => "modulus by zero",
                    (AluOp::Lsh | AluOp::Rsh, Val::K(32..)) => "shift by more than 31 bits",
                    _ => return Ok(fold(*op, a, b)),
                };
                Err(FilterError { span: *span, why: Why::Text(bad.into()) })
            }
            Arith::Load(proto, index, size, span) => {
                let index = self.arith(index, checks)?;
                let size = match size {
                    1 => Size::B,
                    2 => Size::H,
                    4 => Size::W,
                    _ => {
                        let why = Why::Text("data size must be 1, 2, or 4".into());
                        return Err(FilterError { span: *span, why });
                    }
                };
                self.load(*proto, index, size, checks)
            }
        }
    }

    fn load(&self, proto: Proto, index: Val, size: Size, checks: &mut Vec<Tree>) -> Result<Val> {
        let payload = self.payload_at + self.labels * 4;
        let at = |k: u32| match &index {
            Val::K(n) => Val::Load(size, Base::Start, k.wrapping_add(*n)),
            _ => Val::Load(size, Base::At(Box::new(index.clone())), k),
        };
        match proto {
            Proto::Link if self.kind == LinkKind::Unknown => self.unknown_link(),
            Proto::Link => Ok(at(0)),
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
                Ok(at(payload))
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
                let inner = std::mem::take(checks);
                checks.push(self.ether_type(ETHERTYPE_IP)?);
                checks.extend(inner);
                checks.push(self.next_header4(super::ident::number(proto)));
                checks.push(self.first_fragment());
                Ok(match index {
                    Val::K(n) => Val::Load(size, Base::BehindIpv4(payload), payload.wrapping_add(n)),
                    index => Val::Load(size, Base::AtBehindIpv4(Box::new(index), payload), payload),
                })
            }
            Proto::Icmp6 => {
                checks.insert(0, self.ether_type(ETHERTYPE_IP6)?);
                checks.push(Tree::Test(Cond::Eq, self.payload(Size::B, 6), Val::K(58)));
                Ok(at(payload + 40))
            }
            Proto::Radio if super::link::later("dir", self.link_name) => self.without("dir", "radio"),
            Proto::Radio => self.fail("radio information not present in capture"),
            _ => self.fail(format!("'{}' does not support the index operation", proto.name())),
        }
    }

    pub(super) fn next_header4(&self, proto: u32) -> Tree {
        Tree::Test(Cond::Eq, self.payload(Size::B, 9), Val::K(proto))
    }

    /// Not a later fragment.
    pub(super) fn first_fragment(&self) -> Tree {
        Tree::Test(Cond::Set, self.payload(Size::H, 6), Val::K(0x1fff)).not()
    }

    pub(super) fn link_kind(&self) -> LinkKind {
        self.kind
    }

    pub(super) fn labelled(&self) -> bool {
        self.labels > 0
    }

    /// OSI behind LLC: the first byte (3 bytes further in for the network header proper).
    pub(super) fn osi(&self, at: u32, want: u32, mask: u32) -> Tree {
        let behind_llc = if self.kind == LinkKind::Ethernet { 3 } else { 0 };
        let field = Val::Load(Size::B, Base::Start, self.payload_at + self.labels * 4 + behind_llc + at);
        Tree::masked(field, want, mask, 0xff)
    }
}

/// Arithmetic, done now where both sides are constants.
fn fold(op: AluOp, a: Val, b: Val) -> Val {
    if let (Val::K(a), Val::K(b)) = (&a, &b)
        && let Some(n) = crate::machine::alu(op, *a, *b)
    {
        return Val::K(n);
    }
    Val::Alu(op, Box::new(a), Box::new(b))
}

/// PPP protocol number of an EtherType.
fn ppp_number(proto: u32) -> u32 {
    match proto {
        ETHERTYPE_IP => 0x21,
        ETHERTYPE_IP6 => 0x57,
        0x6003 => 0x27,
        0x809b => 0x29,
        0x0600 => 0x25,
        LLC_ISO => 0x23,
        LLC_STP => 0x31,
        LLC_IPX => 0x2b,
        other => other,
    }
}
