//! Link-layer headers: what a captured packet begins with, the Ethernet header it is given when it has none, and the
//! way back to a frame of the capture's link type.
//!
//! ```text
//!  captured:  [ prefix | network header … ]        prefix: Ethernet, Linux cooked, loopback, or nothing (raw IP)
//!  a program: [ Ethernet | network header … ]      XDP, traffic control, packet sockets
//!             [ network header … ]                 cgroups, tunnels, other sockets
//! ```
//!
//! Ethernet headers are made for the other link types: addresses zero where the capture has none (Linux cooked tells the
//! sender's), the destination by the packet's kind, the EtherType by the capture or the IP version. On the way back the
//! capture's own prefix returns in front of what the program left of the network packet.

use crate::link::LinkType;
use std::fmt;

/// Bytes of an Ethernet header.
pub(crate) const ETH_LEN: usize = 14;
/// Bytes of a VLAN tag.
pub(crate) const TAG_LEN: usize = 4;
/// Longest prefix: Linux cooked, version 2.
const MAX_PREFIX: usize = 20;

/// EtherTypes.
pub(crate) const ETH_P_IP: u16 = 0x0800;
pub(crate) const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;
/// Least EtherType; below it the field is a length.
const ETH_P_802_3_MIN: u16 = 0x0600;
const ETH_P_802_3: u16 = 0x0001;
const ETH_P_802_2: u16 = 0x0004;

/// Kinds of packets (`PACKET_HOST` and so on).
pub(crate) const PACKET_HOST: u32 = 0;
pub(crate) const PACKET_BROADCAST: u32 = 1;
pub(crate) const PACKET_MULTICAST: u32 = 2;
pub(crate) const PACKET_OTHERHOST: u32 = 3;
pub(crate) const PACKET_OUTGOING: u32 = 4;

/// Why a captured packet cannot be given to a program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unfit {
    /// Its link type is not known here.
    LinkType(LinkType),
    /// It is shorter than its link-layer header.
    Short(LinkType),
    /// A raw IP or loopback packet that is neither IPv4 nor IPv6.
    NotIp,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::LinkType(t) => {
                write!(f, "link type {t} is not known here; ")?;
                f.write_str("programs run on Ethernet, raw IP, loopback and Linux cooked captures")
            }
            Unfit::Short(t) => write!(f, "shorter than its {t} header"),
            Unfit::NotIp => f.write_str("neither IPv4 nor IPv6"),
        }
    }
}

/// The link layer of one captured packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub link: LinkType,
    prefix: [u8; MAX_PREFIX],
    /// Bytes in front of the network header.
    pub len: usize,
    /// Kind of packet, where the capture says it.
    pub kind: Option<u32>,
    /// EtherType field: a protocol, or a length below [`ETH_P_802_3_MIN`].
    ethertype: u16,
    /// Sender, where the capture says it.
    sender: [u8; 6],
}

impl Link {
    /// Takes a captured packet's link layer apart.
    pub(crate) fn of(link: LinkType, data: &[u8]) -> Result<Link, Unfit> {
        let len = prefix_len(link).ok_or(Unfit::LinkType(link))?;
        let head = data.get(..len).ok_or(Unfit::Short(link))?;
        let mut prefix = [0; MAX_PREFIX];
        prefix[..len].copy_from_slice(head);
        let mut it = Link { link, prefix, len, kind: None, ethertype: 0, sender: [0; 6] };
        match link {
            LinkType::ETHERNET => it.ethertype = be16(head, 12),
            LinkType::LINUX_SLL => it.cooked(be16(head, 0) as u32, be16(head, 14), be16(head, 4), 6),
            LinkType::LINUX_SLL2 => it.cooked(head[10] as u32, be16(head, 0), head[11] as u16, 12),
            _ => it.ethertype = ip_version(&data[len..]).ok_or(Unfit::NotIp)?,
        }
        Ok(it)
    }

    /// What a Linux cooked header says: `at` is where the sender's address stands.
    fn cooked(&mut self, kind: u32, ethertype: u16, address_len: u16, at: usize) {
        (self.kind, self.ethertype) = (Some(kind), ethertype);
        if address_len == 6 {
            self.sender.copy_from_slice(&self.prefix[at..at + 6]);
        }
    }

    /// The Ethernet header a program sees.
    pub(crate) fn ethernet(&self) -> [u8; ETH_LEN] {
        let mut h = [0; ETH_LEN];
        if self.link == LinkType::ETHERNET {
            h.copy_from_slice(&self.prefix[..ETH_LEN]);
            return h;
        }
        match self.kind {
            Some(PACKET_BROADCAST) => h[..6].fill(0xff),
            Some(PACKET_MULTICAST) => h[0] = 0x01,
            _ => {}
        }
        h[6..12].copy_from_slice(&self.sender);
        h[12..].copy_from_slice(&self.ethertype.to_be_bytes());
        h
    }

    /// Appends the captured frame of a packet whose program saw it from the network header on: what stood in front of it
    /// returns, `tag` (a VLAN tag and the EtherType behind it) with it.
    pub(crate) fn frame_of_network(&self, packet: &[u8], tag: Option<[u8; TAG_LEN]>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix[..self.len]);
        out.extend(tag.iter().flatten());
        out.extend_from_slice(packet);
    }

    /// Appends the captured frame of a packet that begins with an Ethernet header. `tag` is the VLAN tag kept beside it:
    /// its protocol as in a file, then the tag.
    pub(crate) fn frame_of_ethernet(&self, packet: &[u8], tag: Option<[u8; TAG_LEN]>, out: &mut Vec<u8>) {
        let Some((ethernet, rest)) = packet.split_at_checked(ETH_LEN) else {
            // Cut inside the header, by a socket filter: a beginning of a frame, if frames have such a header.
            out.extend(packet.iter().filter(|_| self.link == LinkType::ETHERNET));
            return;
        };
        let inner = [ethernet[12], ethernet[13]];
        let outer = tag.map_or(inner, |t| [t[0], t[1]]);
        if self.link == LinkType::ETHERNET {
            out.extend_from_slice(&ethernet[..12]);
            out.extend(outer);
        } else {
            let mut prefix = self.prefix;
            if let Some(at) = protocol_at(self.link) {
                prefix[at..at + 2].copy_from_slice(&outer);
            }
            out.extend_from_slice(&prefix[..self.len]);
        }
        if let (Some([_, _, a, b]), Some(_)) = (tag, protocol_at(self.link)) {
            out.extend([a, b, inner[0], inner[1]]);
        }
        out.extend_from_slice(rest);
    }
}

/// Bytes in front of the network header.
fn prefix_len(link: LinkType) -> Option<usize> {
    Some(match link {
        LinkType::ETHERNET => ETH_LEN,
        LinkType::RAW | LinkType::IPV4 | LinkType::IPV6 => 0,
        LinkType::NULL | LinkType::LOOP => 4,
        LinkType::LINUX_SLL => 16,
        LinkType::LINUX_SLL2 => 20,
        _ => return None,
    })
}

/// Where a prefix holds the protocol, if it does.
fn protocol_at(link: LinkType) -> Option<usize> {
    match link {
        LinkType::ETHERNET => Some(12),
        LinkType::LINUX_SLL => Some(14),
        LinkType::LINUX_SLL2 => Some(0),
        _ => None,
    }
}

/// EtherType of an IP packet, by its version.
fn ip_version(packet: &[u8]) -> Option<u16> {
    match packet.first()? >> 4 {
        4 => Some(ETH_P_IP),
        6 => Some(ETH_P_IPV6),
        _ => None,
    }
}

/// What the kernel makes of an EtherType field and the bytes behind it (`eth_type_trans`, `vlan_set_encap_proto`).
pub(crate) fn protocol(field: u16, rest: &[u8]) -> u16 {
    match field {
        ETH_P_802_3_MIN.. => field,
        _ if rest.starts_with(&[0xff, 0xff]) => ETH_P_802_3,
        _ => ETH_P_802_2,
    }
}

/// Whether an EtherType announces a VLAN tag that the kernel takes out (`eth_type_vlan`).
pub(crate) fn is_vlan(protocol: u16) -> bool {
    matches!(protocol, ETH_P_8021Q | ETH_P_8021AD)
}

/// Two bytes in network order, as a number. The caller has checked the length.
pub(crate) fn be16(b: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([b[at], b[at + 1]])
}
