//! Primitives that move the place where the rest of the expression looks, words of scratch memory for offsets that differ
//! from packet to packet, and LLC.

use super::Packets;
use super::r#gen::{ETHERTYPE_IP, ETHERTYPE_IP6, Gen, Off, Result};
use super::link::{Follows, Link, Variable};
use super::tree::{Tree, Val};
use super::values::Value;
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

/// The tree of a whole expression.
#[derive(Clone, Copy)]
pub(super) struct Built {
    pub tree: Tree,
    /// How many words of scratch memory it sets.
    pub words: u8,
    /// Those of them that something reads, a bit each; the others need not be set.
    pub read: u32,
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
    pub(super) fn finish(self, tree: Tree) -> Built {
        if self.words == 0 {
            return Built { tree, words: 0, read: 0 };
        }
        let mut read = self.read.get();
        for word in (0..self.words).rev().filter(|w| self.needs[usize::from(*w)] != 0) {
            if read & 1 << word != 0 {
                read |= self.needs[usize::from(word)];
            }
        }
        let mut first = Tree::TRUE;
        let mut then = |tree| first = self.and([first, tree]);
        if self.outer == Variable::Ppi {
            then(self.test(Cond::Eq, self.load(Size::W, 4), self.k(PPI_WLAN)));
        }
        let reads = |word: u8| read & 1 << word != 0;
        match self.outer {
            Variable::No => {}
            Variable::Wlan if reads(0) => then(self.wlan_payload(None, 0)),
            Variable::Pflog if reads(0) => {
                let rounded = self.bits(self.sum(self.load(Size::B, 0), self.k(3)), !3);
                then(self.set(rounded, 0));
            }
            Variable::Wlan | Variable::Pflog => {}
            radio => {
                if reads(0) {
                    then(self.radio_length(radio));
                }
                if reads(1) {
                    then(self.wlan_payload(Some(0), 1));
                    if radio == Variable::Radiotap {
                        then(self.padding(0, 1));
                    }
                }
            }
        }
        self.zeroed.clone().filter(|w| reads(*w)).for_each(|w| then(self.set(self.k(0), w)));
        Built { tree: self.and([first, tree]), words: self.words, read }
    }

    /// What has to hold besides for tests of Ethernet addresses: that there is an Ethernet frame.
    pub(super) fn in_frame(&self, tree: Tree) -> Result<Tree> {
        let frame = match (self.tunnel, self.header.word, self.payload.word) {
            (Some(Key::Geneve), Some(header), Some(payload)) => {
                Some(self.test(Cond::Eq, self.word(header), self.word(payload)).not())
            }
            _ => self.is_lane_data(),
        };
        Ok(match frame {
            Some(frame) => self.and([frame, tree]),
            None => tree,
        })
    }

    /// No control frame of LAN emulation, where that is what is looked at.
    pub(super) fn is_lane_data(&self) -> Option<Tree> {
        let at = self.lane_at?;
        Some(self.test(Cond::Eq, self.load(Size::H, at), self.k(0xff00)).not())
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
        let is_tagged = self.any([0x8100, 0x88a8, 0x9100].map(|tpid| self.ether_type(tpid)))?;
        let in_packet = tag.map(|tag| self.masked(self.payload(Size::H, 0), tag, 0xfff, 0xffff));
        let outermost = self.tags == 0 && self.header == Off::at(0) && self.type_at == Off::at(12);
        self.tags += 1;
        if outermost && self.options.packets == Packets::Live {
            let taken = |tag| self.masked(self.ancillary(Size::H, Ancillary::VlanTag), tag, 0xfff, 0xffff);
            return self.taken_vlan(is_tagged, tag.map(taken), in_packet);
        }
        self.type_at = self.type_at.plus(4);
        self.payload = self.payload.plus(4);
        Ok(self.and([is_tagged, in_packet.unwrap_or(Tree::TRUE)]))
    }

    /// Linux takes the outermost tag out of the packet on most interfaces, but not on all: the tag's four bytes are a word
    /// of scratch memory.
    fn taken_vlan(&mut self, is_tagged: Tree, taken: Option<Tree>, in_packet: Option<Tree>) -> Result<Tree> {
        let word = self.new_word()?;
        self.zeroed = word..self.words;
        let is_taken = || self.test(Cond::Eq, self.ancillary(Size::B, Ancillary::VlanTagPresent), self.k(1));
        let here = self.and([self.set(self.k(4), word), is_tagged]);
        let mut tests = self.or([is_taken(), here]);
        if let (Some(taken), Some(in_packet)) = (taken, in_packet) {
            let taken = self.and([is_taken(), taken]);
            tests = self.and([tests, self.or([taken, self.and([is_taken().not(), in_packet])])]);
        }
        self.type_at.word = Some(word);
        self.payload.word = Some(word);
        Ok(tests)
    }

    fn mpls(&mut self, label: Option<u32>) -> Result<Tree> {
        let first = match self.link.mpls {
            _ if self.labels > 0 => self.bottom_of_stack(false),
            Some(number) => self.type_is(number),
            None => return self.without("mpls"),
        };
        let mut tests = first;
        if let Some(label) = label {
            self.at_most("MPLS label", label, 0xf_ffff)?;
            let is = self.masked(self.payload(Size::W, 0), label << 12, 0xffff_f000, u32::MAX);
            tests = self.and([tests, is]);
        }
        self.network += 4;
        self.osi += 4;
        self.labels += 1;
        Ok(tests)
    }

    pub(super) fn pppoed(&self) -> Result<Tree> {
        self.ether_type(0x8863)
    }

    fn pppoes(&mut self, session: Option<u32>) -> Result<Tree> {
        let mut tests = self.ether_type(0x8864)?;
        if let Some(session) = session {
            self.at_most("PPPoE session number", session, 0xffff)?;
            let is = self.masked(self.payload(Size::W, 0), session, 0xffff, u32::MAX);
            tests = self.and([tests, is]);
        }
        // Behind the header's six bytes PPP begins with the protocol number.
        let header = self.network_header().plus(6);
        self.enter("PPP", header);
        (self.type_at, self.payload) = (header, header.plus(2));
        Ok(tests)
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
            let is = |field, want| self.test(Cond::Eq, field, self.k(want));
            let udp = if v6 {
                self.and([self.ether_type(ETHERTYPE_IP6)?, is(self.payload(Size::B, 6), 17)])
            } else {
                self.and([self.ether_type(ETHERTYPE_IP)?, self.next_header4(17), self.first_fragment()])
            };
            let ours = is(field(Size::H, 2), port);
            let version = match key {
                Key::Geneve => self.masked(field(Size::B, 8), 0, 0xc0, 0xff),
                _ => is(field(Size::B, 8), 8),
            };
            let tests = self.and([udp, ours, version]);
            let tests = match id {
                Some(id) => {
                    self.and([tests, self.masked(field(Size::W, 12), id << 8, 0xffff_ff00, u32::MAX)])
                }
                None => tests,
            };
            let udp = match (v6, self.payload.word) {
                (false, _) => self.ipv4_end(),
                (true, None) => self.k(40),
                (true, Some(word)) => self.sum(self.word(word), self.k(40)),
            };
            Ok(match key {
                Key::Geneve => self.and([tests, self.geneve_words(first, udp, field)]),
                _ => self.and([tests, self.set(udp, first)]),
            })
        };
        let tree = self.or([branch(false)?, branch(true)?]);
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
    fn geneve_words(&self, first: u8, udp: Val, field: impl Fn(Size, u32) -> Val) -> Tree {
        let start = self.network_header().k.wrapping_add(8);
        let options = self.alu(AluOp::Lsh, self.bits(field(Size::B, 8), 0x3f), self.k(2));
        let end = self.sum(self.sum(options, self.k(start.wrapping_add(8))), udp);
        let inner_start = self.value(Value::Word(first));
        let inner = |k| self.sum(inner_start, self.k(k));
        let ethernet = self.and([
            self.test(Cond::Eq, field(Size::H, 10), self.k(ETHERTYPE_TEB)),
            self.set(inner(12), first + 1),
            self.set(inner(14), first + 2),
        ]);
        let other = self.and([
            self.set(self.sum(udp, self.k(start.wrapping_add(2))), first + 1),
            self.set(inner_start, first + 2),
        ]);
        self.and([self.set(end, first), self.or([ethernet, other])])
    }

    /// LLC, and a kind of its control field.
    pub(super) fn llc(&self, kind: Option<&str>) -> Result<Tree> {
        if !self.link.llc {
            return self.without("llc");
        }
        let is = match self.link.follows {
            Follows::Ethernet => {
                let netware = self.test(Cond::Eq, self.llc_field(Size::H, 0), self.k(0xffff));
                self.and([self.is_length(), netware.not()])
            }
            Follows::Wlan => self.is_data_frame(),
            Follows::Atm => self.atm_type(2),
            _ => Tree::TRUE,
        };
        let Some(kind) = kind else { return Ok(is) };
        let Some((_, want, mask)) = LLC_CONTROL.iter().find(|(name, ..)| *name == kind) else {
            return self.fail(format!("unknown LLC type name \"{kind}\""));
        };
        Ok(self.and([is, self.masked(self.llc_field(Size::B, 2), *want, *mask, 0xff)]))
    }

    /// Length of what precedes an 802.11 header, into word 0.
    fn radio_length(&self, kind: Variable) -> Tree {
        match kind {
            Variable::Avs => self.set(self.load(Size::W, 4), 0),
            Variable::Prism => {
                let cookie = self.bits(self.load(Size::W, 0), 0xffff_f000);
                let avs = self.test(Cond::Eq, cookie, self.k(0x8021_1000));
                let avs = self.and([avs, self.set(self.load(Size::W, 4), 0)]);
                self.or([avs, self.set(self.k(PRISM_LEN), 0)])
            }
            // Two bytes, the lower one first.
            _ => {
                let high = self.alu(AluOp::Lsh, self.load(Size::B, 3), self.k(8));
                self.set(self.alu(AluOp::Or, high, self.load(Size::B, 2)), 0)
            }
        }
    }

    /// Bits of the first byte of an 802.11 header.
    fn frame_control(&self, header: Option<u8>, mask: u32, want: u32) -> Tree {
        let byte = match header {
            None => self.load(Size::B, 0),
            Some(word) => self.load_from(Size::B, self.value(Value::Word(word)), 0),
        };
        self.masked(byte, want, mask, 0xff)
    }

    /// The end of an 802.11 header: 24 bytes, two more in data frames with quality of service.
    fn wlan_payload(&self, header: Option<u8>, word: u8) -> Tree {
        let end = header.map_or(self.k(24), |h| self.sum(self.value(Value::Word(h)), self.k(24)));
        let longer = self.set(self.sum(self.value(Value::Word(word)), self.k(2)), word);
        self.and([self.set(end, word), self.or([self.frame_control(header, 0x8c, 0x88).not(), longer])])
    }

    /// Atheros pads the header of data frames to four bytes, and says so in the flags of radiotap: the field stands first, or
    /// behind the eight bytes of a time stamp.
    fn padding(&self, header: u8, word: u8) -> Tree {
        let present = |bits| self.test(Cond::Set, self.load(Size::W, 4), self.k(bits));
        let flag = |at| self.test(Cond::Set, self.load(Size::B, at), self.k(0x20));
        let padded = self.and([
            self.frame_control(Some(header), 0x0c, 0x08),
            present(0x0200_0000),
            present(0x0000_0080).not(),
            self.or([
                self.and([present(0x0100_0000), flag(16)]),
                self.and([present(0x0100_0000).not(), flag(8)]),
            ]),
        ]);
        let rounded = self.bits(self.sum(self.value(Value::Word(word)), self.k(3)), !3);
        self.or([padded.not(), self.set(rounded, word)])
    }
}
