//! Primitives that move the place where the rest of the expression looks, words of scratch memory for offsets that differ
//! from packet to packet, and LLC.

use super::Packets;
use super::r#gen::{ETHERTYPE_IP, ETHERTYPE_IP6, Gen, Off, Result};
use super::link::{Follows, Link, Variable};
use super::tree::{Base, Tree, Val};
use super::words::Key;
use crate::ancillary::Ancillary;
use crate::check::MEM_WORDS;
use crate::insn::{AluOp, Cond, Size};

/// Ports of the tunnels (IANA).
const GENEVE_PORT: u32 = 6081;
const VXLAN_PORT: u32 = 4789;
/// EtherType of a bridged Ethernet frame.
const ETHERTYPE_TEB: u32 = 0x6558;
/// `LINKTYPE_IEEE802_11` in the little-endian field of PPI headers.
const PPI_WLAN: u32 = 105u32.swap_bytes();
/// Bytes of a Prism header.
const PRISM_LEN: u32 = 144;

fn load(size: Size, at: u32) -> Val {
    Val::Load(size, Base::Start, at)
}

fn set(value: Val, word: u8) -> Tree {
    Tree::Set(word, value)
}

/// Control fields of LLC by name: what they hold under a mask.
const LLC_CONTROL: &[(&str, u32, u32)] = &[
    ("i", 0x00, 0x01),
    ("s", 0x01, 0x03),
    ("u", 0x03, 0x03),
    ("rr", 0x01, 0x0f),
    ("rnr", 0x05, 0x0f),
    ("rej", 0x09, 0x0f),
    ("ui", 0x03, 0xef),
    ("ua", 0x63, 0xef),
    ("disc", 0x43, 0xef),
    ("dm", 0x0f, 0xef),
    ("sabme", 0x6f, 0xef),
    ("test", 0xe3, 0xef),
    ("xid", 0xaf, 0xef),
    ("frmr", 0x87, 0xef),
];

/// Where the headers are at a place of the expression: what [`Gen::layer`] moves.
#[derive(Clone, Copy)]
pub(super) struct Place {
    link: Link,
    at: [Off; 3],
    counts: [u32; 4],
    tunnel: Option<Key>,
    lane_at: Option<u32>,
}

impl Gen<'_> {
    fn new_word(&mut self) -> Result<u8> {
        if u32::from(self.words) >= MEM_WORDS {
            return self.fail("out of registers needed to evaluate expression");
        }
        self.words += 1;
        Ok(self.words - 1)
    }

    /// Words for the offsets of the packets' own link type.
    pub(super) fn set_up_words(&mut self) {
        match self.outer {
            Variable::No => {}
            Variable::Wlan | Variable::Pflog => {
                self.payload.word = Some(0);
                self.words = 1;
            }
            Variable::Radiotap | Variable::Ppi | Variable::Avs | Variable::Prism => {
                (self.header.word, self.payload.word) = (Some(0), Some(1));
                self.needs[1] = 1 << 0;
                self.words = 2;
            }
        }
    }

    /// The whole expression: what computes words that are read, in front of it, and without what sets others.
    pub(super) fn finish(self, tree: Tree) -> Result<(Tree, u8)> {
        if self.words == 0 {
            return Ok((tree, 0));
        }
        let mut read = self.read.get();
        for word in (0..self.words).rev().filter(|w| self.needs[usize::from(*w)] != 0) {
            if read & 1 << word != 0 {
                read |= self.needs[usize::from(word)];
            }
        }
        let mut list = Vec::new();
        if self.outer == Variable::Ppi {
            list.push(Tree::Test(Cond::Eq, load(Size::W, 4), Val::K(PPI_WLAN)));
        }
        let reads = |word: u8| read & 1 << word != 0;
        match self.outer {
            Variable::No => {}
            Variable::Wlan if reads(0) => list.extend(wlan_payload(None, 0)),
            Variable::Pflog if reads(0) => {
                let rounded = Val::and(Val::add(load(Size::B, 0), Val::K(3)), !3);
                list.push(set(rounded, 0));
            }
            Variable::Wlan | Variable::Pflog => {}
            radio => {
                if reads(0) {
                    list.push(radio_length(radio));
                }
                if reads(1) {
                    list.extend(wlan_payload(Some(0), 1));
                    if radio == Variable::Radiotap {
                        list.push(padding(0, 1));
                    }
                }
            }
        }
        list.extend(self.zeroed.filter(|w| reads(*w)).map(|w| set(Val::K(0), w)));
        let tree = without_unread(tree, read);
        if list.is_empty() {
            return Ok((tree, self.words));
        }
        list.push(tree);
        Ok((Tree::And(list), self.words))
    }

    /// What has to hold besides for tests of Ethernet addresses: that there is an Ethernet frame.
    pub(super) fn in_frame(&self, tree: Tree) -> Result<Tree> {
        let frame = match (self.tunnel, self.header.word, self.payload.word) {
            (Some(Key::Geneve), Some(header), Some(payload)) => {
                Some(Tree::Test(Cond::Eq, self.word(header), self.word(payload)).not())
            }
            _ => self.is_lane_data(),
        };
        Ok(match frame {
            Some(frame) => Tree::And(vec![frame, tree]),
            None => tree,
        })
    }

    /// No control frame of LAN emulation, where that is what is looked at.
    pub(super) fn is_lane_data(&self) -> Option<Tree> {
        let at = self.lane_at?;
        Some(Tree::Test(Cond::Eq, load(Size::H, at), Val::K(0xff00)).not())
    }

    /// Where the headers are now.
    pub(super) fn place(&self) -> Place {
        Place {
            link: self.link,
            at: [self.header, self.type_at, self.payload],
            counts: [self.network, self.osi, self.labels, self.tags],
            tunnel: self.tunnel,
            lane_at: self.lane_at,
        }
    }

    /// What follows is looked for where it was at another place of the expression.
    pub(super) fn return_to(&mut self, place: Place) {
        (self.link, self.tunnel, self.lane_at) = (place.link, place.tunnel, place.lane_at);
        [self.header, self.type_at, self.payload] = place.at;
        [self.network, self.osi, self.labels, self.tags] = place.counts;
    }

    /// Ethernet frames, or PPP, at an offset from here on.
    pub(super) fn enter(&mut self, name: &str, header: Off) {
        if let Some(link) = super::link::by_name(name) {
            self.type_at = header.plus(link.type_at);
            self.payload = header.plus(link.payload_at);
            (self.network, self.osi) = (link.snap, link.osi);
            self.link = link;
        }
        self.header = header;
        (self.labels, self.lane_at) = (0, None);
    }

    /// `vlan`, `mpls`, `pppoes`, `geneve`, `vxlan`, with or without a number.
    pub(super) fn layer(&mut self, key: Key, n: Option<u32>) -> Result<Tree> {
        match key {
            Key::Vlan => self.vlan(n),
            Key::Mpls => self.mpls(n),
            Key::Pppoes => self.pppoes(n),
            _ => self.enter_tunnel(key, n),
        }
    }

    fn vlan(&mut self, tag: Option<u32>) -> Result<Tree> {
        if self.labels > 0 {
            return self.fail("no VLAN match after MPLS");
        }
        if !self.link.vlan {
            return self.without("vlan");
        }
        if let Some(tag) = tag {
            self.at_most("VLAN tag", tag, 0xfff)?;
        }
        let tpids = [0x8100, 0x88a8, 0x9100].map(|tpid| self.ether_type(tpid));
        let is_tagged = Tree::Or(tpids.into_iter().collect::<Result<_>>()?);
        let id = |field, tag| Tree::masked(field, tag, 0xfff, 0xffff);
        let in_packet = tag.map(|tag| id(self.payload(Size::H, 0), tag));
        let outermost = self.tags == 0 && self.header == Off::at(0) && self.type_at == Off::at(12);
        self.tags += 1;
        if outermost && self.options.packets == Packets::Live {
            return self.taken_vlan(
                is_tagged,
                tag.map(|tag| id(self.ancillary(Size::H, Ancillary::VlanTag), tag)),
                in_packet,
            );
        }
        self.type_at = self.type_at.plus(4);
        self.payload = self.payload.plus(4);
        Ok(Tree::And(std::iter::once(is_tagged).chain(in_packet).collect()))
    }

    /// Linux takes the outermost tag out of the packet on most interfaces, but not on all: the tag's four bytes are a word
    /// of scratch memory.
    fn taken_vlan(&mut self, is_tagged: Tree, taken: Option<Tree>, in_packet: Option<Tree>) -> Result<Tree> {
        let word = self.new_word()?;
        self.zeroed = word..self.words;
        let is_taken = || Tree::Test(Cond::Eq, self.ancillary(Size::B, Ancillary::VlanTagPresent), Val::K(1));
        let here = Tree::And(vec![set(Val::K(4), word), is_tagged]);
        let mut tests = vec![Tree::Or(vec![is_taken(), here])];
        if let (Some(taken), Some(in_packet)) = (taken, in_packet) {
            let taken = Tree::And(vec![is_taken(), taken]);
            tests.push(Tree::Or(vec![taken, Tree::And(vec![is_taken().not(), in_packet])]));
        }
        self.type_at.word = Some(word);
        self.payload.word = Some(word);
        Ok(Tree::And(tests))
    }

    fn mpls(&mut self, label: Option<u32>) -> Result<Tree> {
        let first = match self.link.mpls {
            _ if self.labels > 0 => self.bottom_of_stack(false),
            Some(number) => self.type_is(number),
            None => return self.without("mpls"),
        };
        let mut tests = vec![first];
        if let Some(label) = label {
            self.at_most("MPLS label", label, 0xf_ffff)?;
            tests.push(Tree::masked(self.payload(Size::W, 0), label << 12, 0xffff_f000, u32::MAX));
        }
        self.network += 4;
        self.osi += 4;
        self.labels += 1;
        Ok(Tree::And(tests))
    }

    pub(super) fn pppoed(&self) -> Result<Tree> {
        self.ether_type(0x8863)
    }

    fn pppoes(&mut self, session: Option<u32>) -> Result<Tree> {
        let mut tests = vec![self.ether_type(0x8864)?];
        if let Some(session) = session {
            self.at_most("PPPoE session number", session, 0xffff)?;
            tests.push(Tree::masked(self.payload(Size::W, 0), session, 0xffff, u32::MAX));
        }
        // Behind the header's six bytes PPP begins with the protocol number.
        let header = self.network_header().plus(6);
        self.enter("PPP", header);
        (self.type_at, self.payload) = (header, header.plus(2));
        Ok(Tree::And(tests))
    }

    /// LAN emulation on ATM: Ethernet behind two bytes.
    pub(super) fn lane(&mut self) -> Result<Tree> {
        if self.origin != Follows::Atm {
            return self.fail("'lane' supported only on SUNATM");
        }
        let is = self.atm_type(1);
        self.enter("EN10MB", Off::at(6));
        self.lane_at = Some(4);
        Ok(is)
    }

    /// `geneve` and `vxlan`, over IPv4 and IPv6.
    fn enter_tunnel(&mut self, key: Key, id: Option<u32>) -> Result<Tree> {
        let (port, what) =
            if key == Key::Geneve { (GENEVE_PORT, "Geneve VNI") } else { (VXLAN_PORT, "VXLAN VNI") };
        self.at_most(what, id.unwrap_or(0), 0xff_ffff)?;
        let words = if key == Key::Geneve { 3 } else { 1 };
        let first = self.new_word()?;
        for _ in 1..words {
            self.new_word()?;
        }
        let branch = |v6: bool| -> Result<Tree> {
            let field = |size, at| if v6 { self.transport6(size, at) } else { self.transport4(size, at) };
            let is = |field, want| Tree::Test(Cond::Eq, field, Val::K(want));
            let mut tests = if v6 {
                vec![self.ether_type(ETHERTYPE_IP6)?, is(self.payload(Size::B, 6), 17)]
            } else {
                vec![self.ether_type(ETHERTYPE_IP)?, self.next_header4(17), self.first_fragment()]
            };
            tests.push(is(field(Size::H, 2), port));
            tests.push(match key {
                Key::Geneve => Tree::masked(field(Size::B, 8), 0, 0xc0, 0xff),
                _ => is(field(Size::B, 8), 8),
            });
            if let Some(id) = id {
                tests.push(Tree::masked(field(Size::W, 12), id << 8, 0xffff_ff00, u32::MAX));
            }
            let udp = match (v6, self.payload.word) {
                (false, _) => self.ipv4_end(),
                (true, None) => Val::K(40),
                (true, Some(word)) => Val::add(self.word(word), Val::K(40)),
            };
            match key {
                Key::Geneve => tests.extend(self.geneve_words(first, udp, field)),
                _ => tests.push(set(udp, first)),
            }
            Ok(Tree::And(tests))
        };
        let tree = Tree::Or(vec![branch(false)?, branch(true)?]);
        let behind_udp = self.network_header().k.wrapping_add(8);
        let at = |word, k| Off { word: Some(word), k };
        match key {
            Key::Geneve => {
                self.enter("EN10MB", at(first, 0));
                (self.type_at, self.payload) = (at(first + 1, 0), at(first + 2, 0));
                self.needs[usize::from(first) + 1] = 1 << first;
                self.needs[usize::from(first) + 2] = 1 << first;
            }
            _ => self.enter("EN10MB", at(first, behind_udp.wrapping_add(8))),
        }
        self.tunnel = Some(key);
        Ok(tree)
    }

    /// Offsets behind a Geneve header, whose options differ in length: the inner frame, its EtherType, its payload. Where
    /// no Ethernet frame follows, the header itself has the EtherType.
    fn geneve_words(&self, first: u8, udp: Val, field: impl Fn(Size, u32) -> Val) -> [Tree; 2] {
        let start = self.network_header().k.wrapping_add(8);
        let options = Val::Alu(AluOp::Lsh, Box::new(Val::and(field(Size::B, 8), 0x3f)), Box::new(Val::K(2)));
        let end = Val::add(Val::add(options, Val::K(start.wrapping_add(8))), udp.clone());
        let inner = |k| Val::add(Val::Word(first), Val::K(k));
        let ethernet = Tree::And(vec![
            Tree::Test(Cond::Eq, field(Size::H, 10), Val::K(ETHERTYPE_TEB)),
            set(inner(12), first + 1),
            set(inner(14), first + 2),
        ]);
        let other = Tree::And(vec![
            set(Val::add(udp, Val::K(start.wrapping_add(2))), first + 1),
            set(Val::Word(first), first + 2),
        ]);
        [set(end, first), Tree::Or(vec![ethernet, other])]
    }

    /// LLC, and a kind of its control field.
    pub(super) fn llc(&self, kind: Option<&str>) -> Result<Tree> {
        if !self.link.llc {
            return self.without("llc");
        }
        let mut tests = match self.link.follows {
            Follows::Ethernet => {
                let netware = Tree::Test(Cond::Eq, self.llc_field(Size::H, 0), Val::K(0xffff));
                vec![self.is_length(), netware.not()]
            }
            Follows::Wlan => vec![self.is_data_frame()],
            Follows::Atm => vec![self.atm_type(2)],
            _ => Vec::new(),
        };
        if let Some(kind) = kind {
            let Some((_, want, mask)) = LLC_CONTROL.iter().find(|(name, ..)| *name == kind) else {
                return self.fail(format!("unknown LLC type name \"{kind}\""));
            };
            tests.push(Tree::masked(self.llc_field(Size::B, 2), *want, *mask, 0xff));
        }
        Ok(Tree::And(tests))
    }
}

/// Length of what precedes an 802.11 header, into word 0.
fn radio_length(kind: Variable) -> Tree {
    match kind {
        Variable::Avs => set(load(Size::W, 4), 0),
        Variable::Prism => {
            let cookie = Val::and(load(Size::W, 0), 0xffff_f000);
            let avs = Tree::Test(Cond::Eq, cookie, Val::K(0x8021_1000));
            let avs = Tree::And(vec![avs, set(load(Size::W, 4), 0)]);
            Tree::Or(vec![avs, set(Val::K(PRISM_LEN), 0)])
        }
        // Two bytes, the lower one first.
        _ => {
            let high = Val::Alu(AluOp::Lsh, Box::new(load(Size::B, 3)), Box::new(Val::K(8)));
            set(Val::Alu(AluOp::Or, Box::new(high), Box::new(load(Size::B, 2))), 0)
        }
    }
}

/// Bits of the first byte of an 802.11 header.
fn frame_control(header: Option<u8>, mask: u32, want: u32) -> Tree {
    let byte = match header {
        None => load(Size::B, 0),
        Some(word) => Val::Load(Size::B, Base::At(Box::new(Val::Word(word))), 0),
    };
    Tree::masked(byte, want, mask, 0xff)
}

/// The end of an 802.11 header: 24 bytes, two more in data frames with quality of service.
fn wlan_payload(header: Option<u8>, word: u8) -> [Tree; 2] {
    let end = header.map_or(Val::K(24), |h| Val::add(Val::Word(h), Val::K(24)));
    let longer = set(Val::add(Val::Word(word), Val::K(2)), word);
    [set(end, word), Tree::Or(vec![frame_control(header, 0x8c, 0x88).not(), longer])]
}

/// Atheros pads the header of data frames to four bytes, and says so in the flags of radiotap: the field stands first, or
/// behind the eight bytes of a time stamp.
fn padding(header: u8, word: u8) -> Tree {
    let present = |bits| Tree::Test(Cond::Set, load(Size::W, 4), Val::K(bits));
    let flag = |at| Tree::Test(Cond::Set, load(Size::B, at), Val::K(0x20));
    let padded = Tree::And(vec![
        frame_control(Some(header), 0x0c, 0x08),
        present(0x0200_0000),
        present(0x0000_0080).not(),
        Tree::Or(vec![
            Tree::And(vec![present(0x0100_0000), flag(16)]),
            Tree::And(vec![present(0x0100_0000).not(), flag(8)]),
        ]),
    ]);
    let rounded = Val::and(Val::add(Val::Word(word), Val::K(3)), !3);
    Tree::Or(vec![padded.not(), set(rounded, word)])
}

/// The same tree without setting words that nothing reads.
fn without_unread(tree: Tree, read: u32) -> Tree {
    let all = |list: Vec<Tree>| list.into_iter().map(|t| without_unread(t, read)).collect();
    match tree {
        Tree::Set(word, _) if read & 1 << word == 0 => Tree::Const(true),
        Tree::Not(inner) => without_unread(*inner, read).not(),
        Tree::And(list) => Tree::And(all(list)),
        Tree::Or(list) => Tree::Or(all(list)),
        other => other,
    }
}
