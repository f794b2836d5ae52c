//! Names in filters: hosts, networks, ports and protocols. A [`Resolver`] answers: the program's own, which asks the system,
//! or [`Numbers`], which knows the names of the language alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Answers for names.
pub trait Resolver {
    /// Addresses of a host, in the order of the answer; none when it is not known.
    fn host(&self, name: &str) -> Vec<IpAddr>;
    /// Ethernet address of a host.
    fn ether(&self, name: &str) -> Option<[u8; 6]>;
    /// IPv4 network by name, as `/etc/networks` writes it: 10 for 10.0.0.0.
    fn net(&self, name: &str) -> Option<u32>;
    /// Ports of a service: number, and protocol (`tcp`, `udp`, `sctp`).
    fn ports(&self, name: &str) -> Vec<(u16, String)>;
    /// Number of an IP protocol.
    fn protocol(&self, name: &str) -> Option<u8>;
}

/// No look-ups at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers;

impl Resolver for Numbers {
    fn host(&self, _: &str) -> Vec<IpAddr> {
        Vec::new()
    }

    fn ether(&self, _: &str) -> Option<[u8; 6]> {
        None
    }

    fn net(&self, _: &str) -> Option<u32> {
        None
    }

    fn ports(&self, _: &str) -> Vec<(u16, String)> {
        Vec::new()
    }

    fn protocol(&self, name: &str) -> Option<u8> {
        PROTOCOLS.iter().find(|(n, _)| *n == name).map(|(_, number)| *number)
    }
}

/// IP protocols that the language knows without any file.
const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("igrp", 9),
    ("udp", 17),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", 58),
    ("ipv6-icmp", 58),
    ("pim", 103),
    ("vrrp", 112),
    ("carp", 112),
    ("sctp", 132),
];

/// Protocols of the link layer by name (`pcap_nametoeproto`, and LLC service access points).
pub(super) const ETHER_PROTOCOLS: &[(&str, u32)] = &[
    ("aarp", 0x80f3),
    ("arp", 0x0806),
    ("atalk", 0x809b),
    ("decnet", 0x6003),
    ("ip", 0x0800),
    ("ip6", 0x86dd),
    ("lat", 0x6004),
    ("loopback", 0x9000),
    ("mopdl", 0x6001),
    ("moprc", 0x6002),
    ("rarp", 0x8035),
    ("sca", 0x6007),
    ("lldp", 0x88cc),
    ("slow", 0x8809),
    ("iso", 0xfe),
    ("stp", 0x42),
    ("ipx", 0xe0),
    ("netbeui", 0xf0),
];

/// An IPv4 address or its beginning: the number, and how many bits were given.
pub(super) fn partial_ipv4(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    let (value, bits) = parts.try_fold((0u32, 0), |(v, n), p| {
        let byte = super::lex::number(p).ok().filter(|b| *b <= 255)?;
        (n < 32).then_some((v << 8 | byte, n + 8))
    })?;
    Some((value, bits))
}

/// The numbers of an IPv6 address, four words.
pub(super) fn words6(a: Ipv6Addr) -> [u32; 4] {
    let o = a.octets();
    std::array::from_fn(|i| u32::from_be_bytes([o[4 * i], o[4 * i + 1], o[4 * i + 2], o[4 * i + 3]]))
}

pub(super) fn number4(a: Ipv4Addr) -> u32 {
    u32::from(a)
}
