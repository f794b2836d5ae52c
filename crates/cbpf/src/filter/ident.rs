//! Primitives with an identifier: hosts, networks, ports and protocols, and protocols by themselves.

use super::r#gen::{ETHER_MTU, ETHERTYPE_ARP, ETHERTYPE_IP, ETHERTYPE_IP6, ETHERTYPE_RARP, Gen, Result};
use super::link::{Addresses, Follows};
use super::names::{ETHER_PROTOCOLS, number4, partial_ipv4, words6};
use super::parse::{Dir, Ident, Kind, Quals};
use super::tree::{Tree, Val};
use super::values::{Chain, Value};
use super::words::Proto;
use crate::insn::{Cond, Size};
use std::net::{IpAddr, Ipv6Addr};

/// Number of a protocol above IP.
pub(super) fn number(proto: Proto) -> u32 {
    match proto {
        Proto::Icmp => 1,
        Proto::Igmp => 2,
        Proto::Tcp => 6,
        Proto::Igrp => 9,
        Proto::Udp => 17,
        Proto::Esp => 50,
        Proto::Ah => 51,
        Proto::Icmp6 => 58,
        Proto::Pim => 103,
        Proto::Vrrp | Proto::Carp => 112,
        Proto::Sctp => 132,
        _ => 0,
    }
}

/// EtherType, or LLC access point, of a protocol of the network layer.
fn ether_number(proto: Proto) -> Option<u32> {
    ETHER_PROTOCOLS.iter().find(|(n, _)| *n == proto.name()).map(|(_, v)| *v)
}

/// IS-IS packet types that a word stands for.
fn isis_types(proto: Proto) -> &'static [u32] {
    match proto {
        Proto::L1 => &[26, 24, 18, 15, 17],
        Proto::L2 => &[27, 25, 20, 16, 17],
        Proto::Iih => &[17, 15, 16],
        Proto::Lsp => &[18, 20],
        Proto::Snp => &[27, 26, 24, 25],
        Proto::Csnp => &[24, 25],
        Proto::Psnp => &[26, 27],
        _ => &[],
    }
}

/// A layer with IPv4 addresses: EtherType, and where the addresses are.
#[derive(Clone, Copy)]
struct Layer {
    ether: u32,
    src: u32,
    dst: u32,
}

const LAYERS4: &[Layer] = &[
    Layer { ether: ETHERTYPE_IP, src: 12, dst: 16 },
    Layer { ether: ETHERTYPE_ARP, src: 14, dst: 24 },
    Layer { ether: ETHERTYPE_RARP, src: 14, dst: 24 },
];

impl Gen<'_> {
    /// A protocol by itself.
    pub(super) fn abbreviation(&self, proto: Proto) -> Result<Tree> {
        match proto {
            Proto::Tcp | Proto::Udp | Proto::Sctp | Proto::Pim | Proto::Ah | Proto::Esp => {
                self.protocol(number(proto), Proto::Default)
            }
            Proto::Icmp | Proto::Igmp | Proto::Igrp | Proto::Vrrp | Proto::Carp => {
                self.protocol(number(proto), Proto::Ip)
            }
            Proto::Icmp6 => self.protocol(number(proto), Proto::Ip6),
            Proto::Clnp => self.protocol(0x81, Proto::Iso),
            Proto::Esis => self.protocol(0x82, Proto::Iso),
            Proto::Isis => self.protocol(0x83, Proto::Iso),
            Proto::Link | Proto::Default => self.fail("'link' cannot be used as an abbreviation"),
            Proto::Radio => self.fail("'radio' is not a valid protocol type"),
            _ => match ether_number(proto) {
                Some(n) => self.ether_type(n),
                None => self.any(isis_types(proto).iter().map(|t| self.protocol(*t, Proto::Isis))),
            },
        }
    }

    /// A protocol number inside the layer that qualifies it.
    fn protocol(&self, n: u32, layer: Proto) -> Result<Tree> {
        match layer {
            Proto::Default => Ok(self.or([self.protocol(n, Proto::Ip)?, self.protocol(n, Proto::Ip6)?])),
            Proto::Link => {
                use Follows::*;
                match self.link.follows {
                    Ppp | PppCompressed => self.at_most("PPP protocol", n, 0xffff)?,
                    Hdlc => self.at_most("HDLC protocol", n, 0xffff)?,
                    Ethernet | Cooked | Llc | Wlan | Atm if n <= ETHER_MTU => {
                        self.at_most("LLC DSAP", n, 255)?;
                    }
                    Ethernet | Cooked | EtherType | Llc | Wlan | Atm => {
                        self.at_most("EtherType", n, 0xffff)?;
                    }
                    _ => {}
                }
                self.ether_type(n)
            }
            Proto::Ip => {
                self.at_most("protocol number", n, 255)?;
                Ok(self.and([self.ether_type(ETHERTYPE_IP)?, self.next_header4(n)]))
            }
            Proto::Ip6 => {
                self.at_most("protocol number", n, 255)?;
                let next = |want| self.test(Cond::Eq, self.payload(Size::B, 6), self.k(want));
                let behind = self.test(Cond::Eq, self.payload(Size::B, 40), self.k(n));
                let found = self.or([next(n), self.and([next(44), behind])]);
                Ok(self.and([self.ether_type(ETHERTYPE_IP6)?, found]))
            }
            Proto::Iso => {
                self.at_most("ISO protocol", n, 255)?;
                // Frame Relay names the protocol by itself.
                if matches!(self.link.follows, Follows::Table(Size::H, _)) {
                    return Ok(self.type_is(0x0300 | n));
                }
                // C-HDLC has a byte of padding there.
                let at = u32::from(self.link.follows == Follows::Hdlc);
                Ok(self.and([self.ether_type(0xfe)?, self.masked(self.osi_field(at), n, 0xff, 0xff)]))
            }
            Proto::Isis => {
                self.at_most("IS-IS PDU type", n, 31)?;
                let kind = self.masked(self.osi_field(4), n, 0x1f, 0xff);
                Ok(self.and([self.protocol(0x83, Proto::Iso)?, kind]))
            }
            _ => self.fail(format!("'{}' is not a valid qualifier for 'proto'", layer.name())),
        }
    }

    pub(super) fn ident(&self, q: Quals, ident: &Ident<'_>) -> Result<Tree> {
        self.direction_fits(q)?;
        match ident {
            Ident::Num(n) => self.number(q, *n),
            Ident::Name(name) => self.name(q, name),
            Ident::Hid(text) if q.proto == Proto::Decnet && matches!(q.kind, Kind::Default | Kind::Host) => {
                self.decnet(q, text)
            }
            Ident::Hid(text) => {
                let (n, bits) = self.ipv4(text)?;
                if q.proto == Proto::Link && q.kind != Kind::Gateway && !is_number_kind(q.kind) {
                    return self.fail(format!("illegal link-layer address '{text}'"));
                }
                self.address_kind(q, "IPv4 address", text)?;
                self.net4(
                    q,
                    n << ((32 - bits) % 32),
                    mask(bits),
                    if q.kind == Kind::Net { "net <IPv4 address>" } else { "host <IPv4 address>" },
                )
            }
            Ident::HidLen(text, len) => {
                let (n, bits) = self.ipv4(text)?;
                self.address_kind(q, "IPv4 address and prefix length", &format!("{text}/{len}"))?;
                self.at_most("netmask length", *len, 32)?;
                let n = n << ((32 - bits) % 32);
                self.network(q, n, mask(*len), &format!("{text}/{len}"))
            }
            Ident::HidMask(text, m) => {
                let ((n, bits), (m, mask_bits)) = (self.ipv4(text)?, self.ipv4(m)?);
                let whole = format!("{text} mask {}", mask_text(ident));
                self.address_kind(q, "IPv4 address and netmask", &whole)?;
                self.network(q, n << ((32 - bits) % 32), m << ((32 - mask_bits) % 32), &whole)
            }
            Ident::Hid6(text, address) => self.address6(q, text, *address, None),
            Ident::Hid6Len(text, address, len) => self.address6(q, text, *address, Some(*len)),
            Ident::Eid(mac) => self.ether(q, mac, "link host XX:XX:XX:XX:XX:XX"),
            Ident::Aid(byte) => match q.kind {
                Kind::Default | Kind::Host if q.proto != Proto::Link => {
                    self.fail("'link' is the only valid proto qualifier for 'host $XX'")
                }
                Kind::Default | Kind::Host => match self.link.addresses {
                    Addresses::Byte { src, dst, .. } => {
                        let is =
                            |at| self.test(Cond::Eq, self.link_header(Size::B, at), self.k((*byte).into()));
                        Ok(self.pair(q.dir, || is(src), || is(dst)))
                    }
                    _ => self.without("link host $XX"),
                },
                other => self.fail(format!("'{}' is not a valid qualifier for '$XX'", other.name())),
            },
        }
    }

    /// Qualifiers that do not fit each other.
    fn direction_fits(&self, q: Quals) -> Result<()> {
        let Dir::Wlan(key) = q.dir else { return Ok(()) };
        let word = key.name();
        match q.kind {
            Kind::Port | Kind::PortRange => {
                self.fail(format!("'{word}' is not a valid qualifier for '{}'", q.kind.name()))
            }
            _ if q.proto == Proto::Link && self.link.addresses == Addresses::Wlan => Ok(()),
            _ => self.fail(format!("'{word}' is valid for 802.11 syntax only")),
        }
    }

    fn ipv4(&self, text: &str) -> Result<(u32, u32)> {
        match partial_ipv4(text) {
            Some(found) => Ok(found),
            None => self.fail(format!("invalid IPv4 address '{text}'")),
        }
    }

    /// What cannot be said of an address.
    fn address_kind(&self, q: Quals, what: &str, text: &str) -> Result<()> {
        match q.kind {
            Kind::Port | Kind::PortRange | Kind::Proto | Kind::ProtoChain => {
                self.fail(format!("'{}' qualifier applied to {what}", q.kind.name()))
            }
            Kind::Gateway if q.proto == Proto::Decnet && what.starts_with("IPv4 address and") => {
                self.fail("'decnet' is not a valid qualifier for 'gateway'")
            }
            Kind::Gateway => self.fail(format!("'gateway' is not a valid qualifier for '{text}'")),
            _ => Ok(()),
        }
    }

    fn network(&self, q: Quals, n: u32, mask: u32, text: &str) -> Result<Tree> {
        if q.proto == Proto::Decnet {
            return self.fail(format!("'decnet' is not a valid qualifier for '{}'", q.kind.name()));
        }
        if q.kind != Kind::Net {
            return self.fail(format!("'host' is not a valid qualifier for '{text}'"));
        }
        if n & !mask != 0 {
            return self.fail(format!("non-network bits set in \"{text}\""));
        }
        self.net4(q, n, mask, "net <IPv4 prefix>")
    }

    fn number(&self, q: Quals, n: u32) -> Result<Tree> {
        match q.kind {
            Kind::Port => self.ports(q, n, n),
            Kind::PortRange => self.ports(q, n, n),
            Kind::Proto => self.protocol(n, q.proto),
            Kind::Gateway => self.fail("'gateway' requires a name"),
            Kind::ProtoChain => self.protochain(q, n),
            Kind::Net => {
                let (mut n, mut mask) = (n, u32::MAX);
                while n != 0 && n & 0xff00_0000 == 0 {
                    (n, mask) = (n << 8, mask << 8);
                }
                self.net4(q, n, mask, "net")
            }
            Kind::Default | Kind::Host if q.proto == Proto::Link => {
                self.fail(format!("illegal link-layer address '{n}'"))
            }
            Kind::Default | Kind::Host => self.net4(q, n, u32::MAX, "host"),
        }
    }

    /// The header behind all extension headers, or one of them, has this number.
    fn protochain(&self, q: Quals, n: u32) -> Result<Tree> {
        if !matches!(q.proto, Proto::Default | Proto::Ip | Proto::Ip6) {
            return self.fail(format!("'{}' is not a valid qualifier for 'protochain'", q.proto.name()));
        }
        self.at_most("protocol number", n, 255)?;
        if self.payload.word.is_some() {
            return self.fail("'protochain' not supported with variable length headers");
        }
        let walk = |v6: bool, ether| {
            let chain = self.value(Value::Chain(Chain { v6, at: self.network_header().k, until: n }));
            Ok(self.and([self.ether_type(ether)?, self.test(Cond::Eq, chain, self.k(n))]))
        };
        Ok(match q.proto {
            Proto::Ip => walk(false, ETHERTYPE_IP)?,
            Proto::Ip6 => walk(true, ETHERTYPE_IP6)?,
            _ => self.or([walk(false, ETHERTYPE_IP)?, walk(true, ETHERTYPE_IP6)?]),
        })
    }

    /// IPv4 address under a mask, in the layers that the qualifiers name.
    fn net4(&self, q: Quals, n: u32, mask: u32, kind: &str) -> Result<Tree> {
        self.any(self.layers4(q, kind)?.map(|l| self.any4(l, q.dir, &[(n, mask)])))
    }

    /// Layers with IPv4 addresses that qualifiers name.
    fn layers4(&self, q: Quals, kind: &str) -> Result<impl Iterator<Item = Layer>> {
        let layers = match q.proto {
            Proto::Default if self.labels > 0 => &LAYERS4[..1],
            Proto::Default => LAYERS4,
            Proto::Ip => &LAYERS4[..1],
            Proto::Arp => &LAYERS4[1..2],
            Proto::Rarp => &LAYERS4[2..],
            other => return self.fail(format!("'{}' is not a valid qualifier for '{kind}'", other.name())),
        };
        Ok(layers.iter().copied())
    }

    /// The layer follows, and has one of these addresses under their masks.
    fn any4(&self, layer: Layer, dir: Dir, addresses: &[(u32, u32)]) -> Result<Tree> {
        Ok(self.and([self.ether_type(layer.ether)?, self.addresses4(layer, dir, addresses)]))
    }

    fn addresses4(&self, layer: Layer, dir: Dir, addresses: &[(u32, u32)]) -> Tree {
        let one = |(n, mask): &(u32, u32)| {
            let field = |at| self.masked(self.payload(Size::W, at), *n, *mask, u32::MAX);
            self.pair(dir, || field(layer.src), || field(layer.dst))
        };
        self.or(addresses.iter().map(one))
    }

    /// A DECnet address (area and node) in the four places where routing headers keep it: short and long format, with and
    /// without a byte of padding.
    fn decnet(&self, q: Quals, text: &str) -> Result<Tree> {
        // Decimal both, with leading zeros or without.
        let parts =
            text.split_once('.').and_then(|(a, n)| Some((a.parse::<u32>().ok()?, n.parse::<u32>().ok()?)));
        let Some((area @ 0..=63, node @ 0..=1023)) = parts else {
            return self.fail(format!("invalid DECnet address '{text}'"));
        };
        let n = u32::from(((area << 10 | node) as u16).swap_bytes());
        let byte = |want| self.masked(self.payload(Size::B, 2), want, 7, 0xff);
        let half = |want| self.masked(self.payload(Size::H, 2), want, 0xff07, 0xffff);
        let is = |at| self.test(Cond::Eq, self.payload(Size::H, at), self.k(n));
        let word = |want, mask| self.masked(self.payload(Size::W, 2), want, mask, u32::MAX);
        let long = |flags: Tree, padded: Tree, at| {
            self.or([self.and([flags, is(at)]), self.and([padded, is(at + 1)])])
        };
        let src = || self.or([long(byte(2), half(0x8102), 5), long(byte(6), half(0x8106), 17)]);
        let dst = || {
            let short = [word(0x0200_0000 | n << 8, 0x07ff_ff00), word(0x8102_0000 | n, 0xff07_ffff)];
            self.or([self.or(short), long(byte(6), half(0x8106), 9)])
        };
        Ok(self.and([self.ether_type(0x6003)?, self.pair(q.dir, src, dst)]))
    }

    fn address6(&self, q: Quals, text: &str, address: Ipv6Addr, len: Option<u32>) -> Result<Tree> {
        let whole = len.map_or(text.to_owned(), |n| format!("{text}/{n}"));
        let what = if len.is_some() { "IPv6 address and prefix length" } else { "IPv6 address" };
        self.address_kind(q, what, &whole)?;
        if len.is_some_and(|n| n > 128) {
            return self.fail("mask length must be <= 128");
        }
        if q.kind != Kind::Net && len.is_some_and(|n| n != 128) {
            return self.fail(format!("'host' is not a valid qualifier for '{whole}'"));
        }
        let (n, mask) = (words6(address), words6(Ipv6Addr::from(mask128(len.unwrap_or(128)))));
        if n.iter().zip(mask).any(|(n, m)| n & !m != 0) {
            return self.fail(format!("non-network bits set in \"{whole}\""));
        }
        self.host6(
            q,
            n,
            mask,
            match (len, q.kind) {
                (Some(128) | None, Kind::Host | Kind::Default) => "host <IPv6 address>",
                _ => "net <IPv6 prefix>",
            },
        )
    }

    fn host6(&self, q: Quals, n: [u32; 4], mask: [u32; 4], kind: &str) -> Result<Tree> {
        if !matches!(q.proto, Proto::Default | Proto::Ip6) {
            return self.fail(format!("'{}' is not a valid qualifier for '{kind}'", q.proto.name()));
        }
        self.any6(q.dir, &[n], mask)
    }

    /// IPv6 follows, with one of these addresses under a mask.
    fn any6(&self, dir: Dir, addresses: &[[u32; 4]], mask: [u32; 4]) -> Result<Tree> {
        let one = |n: &[u32; 4]| {
            let address = |at| {
                let field = |i: usize| self.payload(Size::W, at + 4 * i as u32);
                let word = |i: usize| self.masked(field(i), n[i], mask[i], u32::MAX);
                self.and((0..4).filter(|i| mask[*i] != 0).map(word))
            };
            self.pair(dir, || address(8), || address(24))
        };
        let any = self.or(addresses.iter().map(one));
        Ok(self.and([self.ether_type(ETHERTYPE_IP6)?, any]))
    }

    fn ether(&self, q: Quals, mac: &[u8; 6], what: &str) -> Result<Tree> {
        if !matches!(q.kind, Kind::Default | Kind::Host) || q.proto != Proto::Link {
            return self.fail("Ethernet address used in non-ether expression");
        }
        match self.link.addresses {
            Addresses::Mac { .. } | Addresses::Wlan => self.in_frame(self.mac_is(q.dir, mac)),
            _ => self.without(what),
        }
    }

    /// The link layer's addresses that a direction names are this one.
    pub(super) fn mac_is(&self, dir: Dir, mac: &[u8; 6]) -> Tree {
        let Addresses::Mac { src, dst } = self.link.addresses else { return self.wlan_host(dir, mac) };
        let at = |off: u32| self.bytes_are(move |size, k| self.link_header(size, off + k), mac);
        match dir {
            Dir::Src => at(src),
            Dir::Dst => at(dst),
            Dir::And => self.and([at(src), at(dst)]),
            Dir::Default | Dir::Or | Dir::Wlan(_) => self.or([at(src), at(dst)]),
        }
    }

    pub(super) fn next_header4(&self, proto: u32) -> Tree {
        self.test(Cond::Eq, self.payload(Size::B, 9), self.k(proto))
    }

    /// Not a later fragment.
    pub(super) fn first_fragment(&self) -> Tree {
        self.test(Cond::Set, self.payload(Size::H, 6), self.k(0x1fff)).not()
    }

    /// Ports of a range, which may be one port.
    fn ports(&self, q: Quals, from: u32, to: u32) -> Result<Tree> {
        let protos: &[u32] = match q.proto {
            Proto::Default => &[132, 6, 17],
            Proto::Tcp => &[6],
            Proto::Udp => &[17],
            Proto::Sctp => &[132],
            other => {
                let (kind, name) = (q.kind.name(), other.name());
                return self.fail(format!("'{name}' is not a valid qualifier for '{kind}'"));
            }
        };
        self.ports_of(q, protos, from, to)
    }

    fn ports_of(&self, q: Quals, protos: &[u32], from: u32, to: u32) -> Result<Tree> {
        self.at_most("port number", from, 65535)?;
        self.at_most("port number", to, 65535)?;
        // The tests are the same for each protocol.
        let ports = |at: fn(&Self, Size, u32) -> Val| {
            let range = |k| self.port_test(at(self, Size::H, k), from.min(to), from.max(to));
            self.pair(q.dir, || range(0), || range(2))
        };
        let (ports4, ports6) = (ports(Gen::transport4), ports(Gen::transport6));
        let first = self.first_fragment();
        let v4 = |proto: &u32| self.and([self.next_header4(*proto), first, ports4]);
        let v6 = |proto: &u32| {
            let next = self.test(Cond::Eq, self.payload(Size::B, 6), self.k(*proto));
            self.and([next, ports6])
        };
        Ok(self.or([
            self.and([self.ether_type(ETHERTYPE_IP6)?, self.or(protos.iter().map(v6))]),
            self.and([self.ether_type(ETHERTYPE_IP)?, self.or(protos.iter().map(v4))]),
        ]))
    }

    fn name(&self, q: Quals, name: &str) -> Result<Tree> {
        match q.kind {
            Kind::Net => self.named_net(q, name),
            Kind::Port => {
                let (port, protos) = self.service(name, q)?;
                self.ports_of(q, &protos, port, port)
            }
            Kind::PortRange => self.named_range(q, name),
            Kind::Proto => self.named_protocol(q, name),
            Kind::ProtoChain if q.proto == Proto::Decnet => {
                self.fail("'decnet' is not a valid qualifier for 'protochain'")
            }
            Kind::ProtoChain => {
                let n = self.protocol_number(q, name)?;
                self.protochain(q, n)
            }
            Kind::Gateway => self.gateway(q, name),
            Kind::Default | Kind::Host
                if q.proto == Proto::Link
                    && !matches!(self.link.addresses, Addresses::Mac { .. } | Addresses::Wlan) =>
            {
                self.without("link host NAME")
            }
            Kind::Default | Kind::Host if q.proto == Proto::Link => match self.options.resolver.ether(name) {
                Some(mac) => self.ether(q, &mac, "link host NAME"),
                None => self.fail(format!("unknown Ethernet-like host '{name}'")),
            },
            Kind::Default | Kind::Host => self.named_host(q, name),
        }
    }

    fn named_net(&self, q: Quals, name: &str) -> Result<Tree> {
        match q.proto {
            Proto::Default | Proto::Ip | Proto::Arp | Proto::Rarp => {}
            Proto::Decnet => return self.fail("'decnet' is not a valid qualifier for 'net'"),
            other => {
                let name = other.name();
                return self.fail(format!("'{name}' is not a valid qualifier for 'net <IPv4 network name>'"));
            }
        }
        let Some(mut n) = self.options.resolver.net(name) else {
            return self.fail(format!("unknown network '{name}'"));
        };
        let mut mask = u32::MAX;
        while n != 0 && n & 0xff00_0000 == 0 {
            (n, mask) = (n << 8, mask << 8);
        }
        self.net4(q, n, mask, "net")
    }

    fn named_host(&self, q: Quals, name: &str) -> Result<Tree> {
        match q.proto {
            Proto::Default | Proto::Ip | Proto::Ip6 | Proto::Arp | Proto::Rarp => {}
            Proto::Decnet => return self.fail("'decnet' is not a valid qualifier for 'host'"),
            other => {
                let name = other.name();
                return self
                    .fail(format!("'{name}' is not a valid qualifier for 'host <Internet hostname>'"));
            }
        }
        let found = self.options.resolver.host(name);
        if found.is_empty() {
            return self.fail(format!("unknown host '{name}'"));
        }
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in found {
            match address {
                IpAddr::V4(a) => v4.push((number4(a), u32::MAX)),
                IpAddr::V6(a) => v6.push(words6(a)),
            }
        }
        let mut all = Tree::FALSE;
        let mut families = 0;
        if !v4.is_empty() && q.proto != Proto::Ip6 {
            for layer in self.layers4(q, "host")? {
                all = self.or([all, self.any4(layer, q.dir, &v4)?]);
            }
            families += 1;
        }
        if !v6.is_empty() && matches!(q.proto, Proto::Default | Proto::Ip6) {
            all = self.or([all, self.any6(q.dir, &v6, [u32::MAX; 4])?]);
            families += 1;
        }
        if families == 0 {
            return self.fail(format!("unknown host '{name}' for specified address family"));
        }
        Ok(all)
    }

    /// Sent through a gateway: to or from its Ethernet address, and neither to nor from its own IPv4 addresses.
    fn gateway(&self, q: Quals, name: &str) -> Result<Tree> {
        if !matches!(self.link.addresses, Addresses::Mac { .. } | Addresses::Wlan) {
            return self.without("gateway");
        }
        if self.labels > 0 {
            return self.fail("'gateway' cannot be used within MPLS");
        }
        if self.tunnel.is_some() {
            return self.fail("'gateway' cannot be used within VXLAN or Geneve");
        }
        if !matches!(q.proto, Proto::Default | Proto::Ip | Proto::Arp | Proto::Rarp) {
            return self.fail(format!("'{}' is not a valid qualifier for 'gateway'", q.proto.name()));
        }
        let Some(mac) = self.options.resolver.ether(name) else {
            return self.fail(format!("unknown Ethernet-like host '{name}'"));
        };
        let found = self.options.resolver.host(name);
        let v4 = found.iter().filter_map(|a| if let IpAddr::V4(a) = a { Some(number4(*a)) } else { None });
        let v4: Vec<(u32, u32)> = v4.map(|n| (n, u32::MAX)).collect();
        if v4.is_empty() {
            return self.fail(format!("unknown host '{name}'"));
        }
        let mut passed = Tree::FALSE;
        for layer in self.layers4(q, "gateway")? {
            let own = self.addresses4(layer, Dir::Or, &v4);
            passed = self.or([passed, self.and([self.ether_type(layer.ether)?, own.not()])]);
        }
        let frame = self.in_frame(self.mac_is(Dir::Or, &mac))?;
        Ok(self.and([frame, passed]))
    }

    /// Port of a service, and the protocols it has it for.
    fn service(&self, name: &str, q: Quals) -> Result<(u32, Vec<u32>)> {
        let wanted: &[(&str, u32)] = match q.proto {
            Proto::Tcp => &[("tcp", 6)],
            Proto::Udp => &[("udp", 17)],
            Proto::Sctp => &[("sctp", 132)],
            Proto::Default => &[("sctp", 132), ("tcp", 6), ("udp", 17)],
            other => {
                return self.fail(format!(
                    "'{}' is not a valid qualifier for '{}'",
                    other.name(),
                    q.kind.name()
                ));
            }
        };
        let found = self.options.resolver.ports(name);
        let of = |p: &&(&str, u32)| found.iter().any(|(_, proto)| proto == p.0);
        let Some((port, _)) = found.iter().find(|(_, p)| wanted.iter().any(|(w, _)| w == p)) else {
            return self.fail(format!("unknown port '{name}'"));
        };
        Ok((u32::from(*port), wanted.iter().filter(of).map(|(_, n)| *n).collect()))
    }

    fn named_range(&self, q: Quals, name: &str) -> Result<Tree> {
        let port = |text: &str| match super::lex::number(text) {
            Ok(n) => Ok(n),
            Err(_) => self.service(text, q).map(|(n, _)| n),
        };
        match name.split_once('-') {
            Some((a, b)) => self.ports(q, port(a)?, port(b)?),
            None => {
                let n = port(name)?;
                self.ports(q, n, n)
            }
        }
    }

    fn named_protocol(&self, q: Quals, name: &str) -> Result<Tree> {
        if q.proto == Proto::Decnet {
            return self.fail("'decnet' is not a valid qualifier for 'proto'");
        }
        self.protocol(self.protocol_number(q, name)?, q.proto)
    }

    /// Source, destination, one of them or both, as the direction says.
    fn pair(&self, dir: Dir, src: impl Fn() -> Tree, dst: impl Fn() -> Tree) -> Tree {
        match dir {
            Dir::Src => src(),
            Dir::Dst => dst(),
            Dir::And => self.and([src(), dst()]),
            Dir::Default | Dir::Or | Dir::Wlan(_) => self.or([src(), dst()]),
        }
    }

    fn port_test(&self, port: Val, from: u32, to: u32) -> Tree {
        if from == to {
            return self.test(Cond::Eq, port, self.k(from));
        }
        let above = self.test(Cond::Gt, port, self.k(to)).not();
        self.and([self.test(Cond::Ge, port, self.k(from)), above])
    }

    /// Number of a protocol by its name, in the layer that qualifies it.
    fn protocol_number(&self, q: Quals, name: &str) -> Result<u32> {
        let iso = [("esis", 0x82), ("isis", 0x83), ("clnp", 0x81)];
        let find = |list: &[(&str, u32)]| list.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let found = match q.proto {
            Proto::Link => find(ETHER_PROTOCOLS),
            Proto::Iso => find(&iso),
            _ => self.options.resolver.protocol(name).map(u32::from),
        };
        let what = match q.proto {
            Proto::Default => q.kind.name().to_owned(),
            proto => format!("{} {}", proto.name(), q.kind.name()),
        };
        found.map_or_else(|| self.fail(format!("unknown '{what}' value '{name}'")), Ok)
    }
}

/// Kinds of identifiers that are numbers.
fn is_number_kind(kind: Kind) -> bool {
    matches!(kind, Kind::Port | Kind::PortRange | Kind::Proto | Kind::ProtoChain)
}

/// The first `bits` bits.
fn mask(bits: u32) -> u32 {
    u32::MAX.checked_shl(32 - bits).unwrap_or(0)
}

fn mask128(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

fn mask_text<'a>(ident: &Ident<'a>) -> &'a str {
    if let Ident::HidMask(_, mask) = ident { mask } else { "" }
}
