//! One line a packet, as tcpdump writes them: time (UTC), addresses, ports, and the beginnings of the transport headers.

use etherparse::{
    ArpOperation, ArpPacketSlice, EtherType, LaxNetSlice, LaxSlicedPacket, LinkSlice, TcpSlice,
    TransportSlice,
};
use skep::hooks::capture::Record;
use skep::hooks::link::LinkType;
use std::fmt::Write;
use std::net::IpAddr;

/// The line, without its end.
pub(super) fn line(record: &Record<'_>) -> String {
    let mut out = time(record.time_ns);
    let told = match slices(record) {
        Some(p) => packet(&mut out, &p, record),
        None => None,
    };
    if told.is_none() {
        let _ = write!(out, "{} packet, length {}", record.link, record.orig_len);
    }
    out
}

fn time(ns: u64) -> String {
    let (day, micros) = (ns / 1_000_000_000 % 86_400, ns / 1000 % 1_000_000);
    format!("{:02}:{:02}:{:02}.{micros:06} ", day / 3600, day / 60 % 60, day % 60)
}

/// The packet's headers, as far as its link type is known here.
fn slices<'a>(record: &Record<'a>) -> Option<LaxSlicedPacket<'a>> {
    let data = record.data;
    let cooked = |at: usize, header: usize| {
        let kind = data.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)?;
        Some(LaxSlicedPacket::from_ether_type(EtherType(kind), data.get(header..)?))
    };
    match record.link {
        LinkType::ETHERNET => LaxSlicedPacket::from_ethernet(data).ok(),
        LinkType::RAW | LinkType::IPV4 | LinkType::IPV6 => LaxSlicedPacket::from_ip(data).ok(),
        LinkType::NULL | LinkType::LOOP => LaxSlicedPacket::from_ip(data.get(4..)?).ok(),
        LinkType::LINUX_SLL => cooked(14, 16),
        LinkType::LINUX_SLL2 => cooked(0, 20),
        _ => None,
    }
}

fn packet(out: &mut String, p: &LaxSlicedPacket<'_>, record: &Record<'_>) -> Option<()> {
    let (family, src, dst, payload) = match &p.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let h = ip.header();
            ("IP", IpAddr::from(h.source_addr()), IpAddr::from(h.destination_addr()), ip.payload())
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let h = ip.header();
            ("IP6", IpAddr::from(h.source_addr()), IpAddr::from(h.destination_addr()), ip.payload())
        }
        Some(LaxNetSlice::Arp(arp)) => return arp_line(out, arp, record),
        None => return link(out, p, record),
    };
    // What was not captured counts, too.
    let cut = (record.orig_len as usize).saturating_sub(record.data.len());
    let cut = if payload.incomplete { cut } else { 0 };
    let _ = match &p.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            write!(out, "{family} {src}.{} > {dst}.{}: ", tcp.source_port(), tcp.destination_port())
                .and(tcp_text(out, tcp, cut))
        }
        Some(TransportSlice::Udp(udp)) => write!(
            out,
            "{family} {src}.{} > {dst}.{}: UDP, length {}",
            udp.source_port(),
            udp.destination_port(),
            udp.length().saturating_sub(8)
        ),
        Some(TransportSlice::Icmpv4(icmp)) => {
            write!(
                out,
                "{family} {src} > {dst}: ICMP {}, length {}",
                echo(icmp.type_u8(), icmp.code_u8(), [8, 0], icmp.bytes5to8()),
                icmp.slice().len() + cut
            )
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            write!(
                out,
                "{family} {src} > {dst}: ICMP6, {}, length {}",
                echo(icmp.type_u8(), icmp.code_u8(), [128, 129], icmp.bytes5to8()),
                icmp.slice().len() + cut
            )
        }
        _ if payload.fragmented => write!(
            out,
            "{family} {src} > {dst}: ip-proto-{}, fragment, length {}",
            payload.ip_number.0,
            payload.payload.len() + cut
        ),
        _ => write!(
            out,
            "{family} {src} > {dst}: ip-proto-{}, length {}",
            payload.ip_number.0,
            payload.payload.len() + cut
        ),
    };
    Some(())
}

/// `Flags [S.], seq 1:11, ack 2, win 512, length 10`; numbers are the packet's own.
fn tcp_text(out: &mut String, tcp: &TcpSlice<'_>, cut: usize) -> std::fmt::Result {
    let flags = [
        (tcp.fin(), 'F'),
        (tcp.syn(), 'S'),
        (tcp.rst(), 'R'),
        (tcp.psh(), 'P'),
        (tcp.ack(), '.'),
        (tcp.urg(), 'U'),
        (tcp.ece(), 'E'),
        (tcp.cwr(), 'W'),
    ];
    let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, c)| *c).collect();
    let length = tcp.payload().len() + cut;
    write!(out, "Flags [{}]", if flags.is_empty() { "none" } else { &flags })?;
    let seq = tcp.sequence_number();
    if length > 0 {
        write!(out, ", seq {seq}:{}", seq.wrapping_add(length as u32))?;
    } else if tcp.syn() || tcp.fin() || tcp.rst() {
        write!(out, ", seq {seq}")?;
    }
    if tcp.ack() {
        write!(out, ", ack {}", tcp.acknowledgment_number())?;
    }
    write!(out, ", win {}, length {length}", tcp.window_size())
}

/// An echo with its numbers, else type and code.
fn echo(kind: u8, code: u8, [request, reply]: [u8; 2], rest: [u8; 4]) -> String {
    let word = match kind {
        k if k == request => "request",
        k if k == reply => "reply",
        _ => return format!("type {kind} code {code}"),
    };
    let [i0, i1, s0, s1] = rest;
    format!("echo {word}, id {}, seq {}", u16::from_be_bytes([i0, i1]), u16::from_be_bytes([s0, s1]))
}

fn arp_line(out: &mut String, arp: &ArpPacketSlice<'_>, record: &Record<'_>) -> Option<()> {
    let ip = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    let (sender, target) = (ip(arp.sender_protocol_addr())?, ip(arp.target_protocol_addr())?);
    let length = (record.orig_len as usize).saturating_sub(14);
    let _ = match arp.operation() {
        ArpOperation::REQUEST => write!(out, "ARP, Request who-has {target} tell {sender}, length {length}"),
        ArpOperation::REPLY => {
            write!(out, "ARP, Reply {sender} is-at {}, length {length}", mac(arp.sender_hw_addr()))
        }
        other => write!(out, "ARP, operation {}, length {length}", other.0),
    };
    Some(())
}

/// A frame whose network layer is not known.
fn link(out: &mut String, p: &LaxSlicedPacket<'_>, record: &Record<'_>) -> Option<()> {
    let Some(LinkSlice::Ethernet2(eth)) = &p.link else { return None };
    let kind = eth.ether_type().0;
    let kind = if kind > 1500 { format!("ethertype {kind:#06x}") } else { "802.3".into() };
    let (src, dst) = (mac(&eth.source()), mac(&eth.destination()));
    let _ = write!(out, "{src} > {dst}, {kind}, length {}", record.orig_len);
    Some(())
}

fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}
