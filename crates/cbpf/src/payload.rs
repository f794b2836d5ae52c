//! The ancillary loads that walk over a packet: netlink attributes (`bpf_skb_get_nlattr` and its nested form,
//! net/core/filter.c) and the offset of the payload behind the headers (`skb_get_poff`, net/core/flow_dissector.c).
//!
//! The payload offset is found behind VLAN tags, MPLS, ARP, IPv4, IPv6 with its extension headers, and IPv4 or IPv6
//! inside either. The kernel's dissector also goes into GRE, PPPoE, B.A.T.M.A.N., PRP/HSR, TIPC, FCoE, PTP and CFM; here
//! the first of these behind Ethernet gives 0, and GRE its own offset. `translate` builds the same walk in eBPF.
//!
//! Always ends: attributes take at least four bytes each, headers are counted.

use crate::insn::Size;
use crate::machine::Packet;

/// Most headers that are walked over (`MAX_FLOW_DISSECT_HDRS`).
const MAX_HEADERS: u32 = 15;
/// Bits of `nla_type` that are not flags (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;

/// One attribute header: length and type, in the machine's byte order.
fn header(packet: &Packet<'_>, at: u32, end: u32) -> Option<(u32, u16)> {
    let left = end.checked_sub(at)?;
    let field = packet.bytes.get(at as usize..)?.first_chunk::<4>()?;
    let [l0, l1, t0, t1] = *field;
    let len = u32::from(u16::from_ne_bytes([l0, l1]));
    (left >= 4 && len >= 4 && len <= left).then_some((len, u16::from_ne_bytes([t0, t1]) & TYPE_MASK))
}

fn find(packet: &Packet<'_>, mut at: u32, end: u32, wanted: u32) -> Option<u32> {
    loop {
        let (len, kind) = header(packet, at, end)?;
        if u32::from(kind) == wanted {
            return Some(at);
        }
        at = at.checked_add(len.next_multiple_of(4))?;
    }
}

/// Offset of the first attribute of type `wanted` in those that begin at `at`; 0 when there is none.
pub fn attribute(packet: &Packet<'_>, at: u32, wanted: u32) -> u32 {
    find(packet, at, packet.bytes.len() as u32, wanted).unwrap_or(0)
}

/// The same inside the attribute at `at`.
pub fn nested_attribute(packet: &Packet<'_>, at: u32, wanted: u32) -> u32 {
    let nested = || {
        let (len, _) = header(packet, at, packet.bytes.len() as u32)?;
        find(packet, at + 4, at + len, wanted)
    };
    nested().unwrap_or(0)
}

/// Where a walk over headers is.
#[derive(Clone, Copy)]
enum At {
    /// At a header named by an EtherType.
    Ether(u16),
    /// At a header named by an IP protocol number, inside IPv6 or not.
    Ip(u8, bool),
    /// At a transport header, the last to be stepped over.
    Transport(u8),
    /// At the end: a later fragment, or something of which nothing more is known.
    End,
}

/// Offset of the payload; 0 when the headers cannot be read.
pub fn offset(packet: &Packet<'_>) -> u32 {
    let mut pos = packet.meta.network;
    let mut at = At::Ether(first_protocol(packet));
    let mut headers = 0;
    loop {
        let next = match at {
            At::Ether(proto) => ether(packet, proto, &mut pos),
            At::Ip(proto, v6) => ip_proto(packet, proto, v6, &mut pos),
            At::Transport(proto) => return transport(packet, proto, pos),
            At::End => return pos.min(packet.bytes.len() as u32),
        };
        let Some(next) = next else { return 0 };
        headers += u32::from(!matches!((at, next), (At::Ether(_), At::Ip(..))));
        at = match next {
            At::Ip(proto, _) if headers > MAX_HEADERS => At::Transport(proto),
            At::Ether(_) if headers > MAX_HEADERS => At::End,
            _ => next,
        };
    }
}

/// EtherType of the network header: a tag that the interface took off is not in the bytes.
fn first_protocol(packet: &Packet<'_>) -> u16 {
    match packet.meta.vlan {
        None | Some((0x8100 | 0x88a8, _)) => packet.meta.protocol,
        Some((tpid, _)) => tpid,
    }
}

/// Steps over a header behind an EtherType; `None` when it is not there or not known.
fn ether(packet: &Packet<'_>, proto: u16, pos: &mut u32) -> Option<At> {
    let start = *pos;
    match proto {
        0x0800 => ipv4(packet, pos),
        0x86dd => {
            packet.load(Size::B, start + 39)?;
            *pos += 40;
            Some(At::Ip(packet.load(Size::B, start + 6)? as u8, true))
        }
        0x8100 | 0x88a8 => {
            *pos += 4;
            Some(At::Ether(packet.load(Size::H, start + 2)? as u16))
        }
        0x8847 | 0x8848 => {
            *pos += 4;
            Some(At::End)
        }
        0x0806 | 0x8035 => Some(At::End),
        _ => None,
    }
}

/// Only the first fragment has a transport header.
fn ipv4(packet: &Packet<'_>, pos: &mut u32) -> Option<At> {
    let start = *pos;
    packet.load(Size::B, start + 19)?;
    let header = (packet.load(Size::B, start)? & 0xf) * 4;
    let fragment = packet.load(Size::H, start + 6)? & 0x3fff;
    let proto = packet.load(Size::B, start + 9)? as u8;
    *pos += header;
    match fragment {
        _ if header < 20 => None,
        0 => Some(At::Ip(proto, false)),
        _ if fragment & 0x1fff == 0 => Some(At::Transport(proto)),
        _ => Some(At::End),
    }
}

fn ip_proto(packet: &Packet<'_>, proto: u8, v6: bool, pos: &mut u32) -> Option<At> {
    let start = *pos;
    match proto {
        0 | 43 | 60 if v6 => {
            *pos += (packet.load(Size::B, start + 1)? + 1) * 8;
            Some(At::Ip(packet.load(Size::B, start)? as u8, true))
        }
        44 if v6 => {
            packet.load(Size::B, start + 7)?;
            *pos += 8;
            let first = packet.load(Size::H, start + 2)? & 0xfff8 == 0;
            let proto = packet.load(Size::B, start)? as u8;
            Some(if first { At::Transport(proto) } else { At::End })
        }
        4 => Some(At::Ether(0x0800)),
        41 => Some(At::Ether(0x86dd)),
        137 => Some(At::Ether(0x8847)),
        _ => Some(At::Transport(proto)),
    }
}

/// Behind a transport header (`__skb_get_poff`), whether all of it is there or not.
fn transport(packet: &Packet<'_>, proto: u8, pos: u32) -> u32 {
    let start = pos.min(packet.bytes.len() as u32);
    start
        + match proto {
            6 => packet.load(Size::B, start + 12).map_or(0, |doff| ((doff & 0xf0) >> 2).max(20)),
            17 | 136 | 1 | 58 | 2 => 8,
            33 | 132 => 12,
            _ => 0,
        }
}
