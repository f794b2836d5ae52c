//! Random expressions of the filter language, and random packets for them.

use arbtest::arbitrary::{Result, Unstructured};

/// Primitives; `#` is a small number, `@` an address.
const PRIMITIVES: &[&str] = &[
    "ip",
    "ip6",
    "arp",
    "rarp",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "esp or ah",
    "vlan",
    "vlan #",
    "mpls",
    "mpls #",
    "pppoes",
    "host @",
    "src host @",
    "dst host @",
    "src or dst host @",
    "src and dst host @",
    "ip host @",
    "arp host @",
    "net 10.0.0.0/8",
    "src net 10.0.0.0/15",
    "net 10",
    "dst net 10.0.0.128/25",
    "ip6 host ::#",
    "net ::/16",
    "port #",
    "tcp port #",
    "udp src port #",
    "dst port #",
    "src and dst port #",
    "portrange #-5",
    "tcp src portrange 2-#",
    "ether host 0:0:0:0:0:#",
    "ether src 0:0:0:1:0:1",
    "ether multicast",
    "ether broadcast",
    "ip multicast",
    "ip broadcast",
    "ip proto #",
    "ip6 proto #",
    "proto #",
    "ether proto #",
    "ether proto 0x80f3",
    "ip protochain #",
    "less #",
    "greater #",
    "len = #",
    "ip[#] = #",
    "ip[#:2] & # != 0",
    "ip[#] & 0x0f = #",
    "ip[#] & 0xf0 = 0x40",
    "tcp[#] = #",
    "tcp[tcpflags] & # != 0",
    "udp[#:2] > #",
    "ether[#:4] >= #",
    "ether[#] != ether[#]",
    "ip[0] & 0xf << 2 > #",
    "tcp[ip[#]] = #",
    "ip[ether[#]:2] < #",
    "ip[2:2] - # = #",
    "len - # > ether[#]",
    "ether[#] / ether[#] = #",
    "ether[#] % # = 1",
    "ip[ip[#] + #] = #",
    "stp",
    "llc",
    "ipx",
    "atalk",
    "iso",
    "decnet",
    "isis",
    "ether[12:2] = 0x800",
    "icmp[icmptype] = #",
    "link[#:2] = 0x0800",
    "-ip[#] < #",
];

fn number(u: &mut Unstructured<'_>) -> Result<u32> {
    if u.ratio(4, 5)? {
        u.int_in_range(0..=6)
    } else {
        u.choose(&[9, 12, 14, 17, 20, 23, 26, 30, 40, 60, 132, 255]).copied()
    }
}

fn primitive(u: &mut Unstructured<'_>) -> Result<String> {
    let mut out = String::new();
    for c in u.choose(PRIMITIVES)?.chars() {
        match c {
            '#' => out += &number(u)?.to_string(),
            '@' => out += &format!("10.0.0.{}", u.int_in_range(0..=4)?),
            c => out.push(c),
        }
    }
    Ok(out)
}

pub(crate) fn expression(u: &mut Unstructured<'_>, depth: u32) -> Result<String> {
    let not = if u.ratio(1, 4)? { "not " } else { "" };
    if depth == 0 || u.ratio(1, 4)? {
        return Ok(format!("{not}({})", primitive(u)?));
    }
    let mut out = expression(u, depth - 1)?;
    for _ in 0..u.int_in_range(1..=3)? {
        out = format!("{out} {} {}", u.choose(&["and", "or"])?, expression(u, depth - 1)?);
    }
    Ok(format!("{not}({out})"))
}

/// A frame whose bytes are small numbers, so that tests hold now and then, with headers that filters look for; cut somewhere.
pub(crate) fn packet(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut out: Vec<u8> =
        (0..96).map(|_| if u.ratio(1, 2)? { u.int_in_range(0..=4) } else { Ok(0) }).collect::<Result<_>>()?;
    let mut at = 12;
    loop {
        let kind = *u.choose(&[
            0x0800u16, 0x0800, 0x86dd, 0x0806, 0x8100, 0x8847, 0x8864, 0x8035, 0x80f3, 40, 0x8137,
        ])?;
        out[at..at + 2].copy_from_slice(&kind.to_be_bytes());
        match kind {
            0x8100 if at < 24 => at += 4,
            _ => break,
        }
    }
    let ip = at + 2;
    out[ip] = *u.choose(&[0x45, 0x45, 0x46, 0x4f, 0x60, 0xaa])?;
    let proto = *u.choose(&[6, 6, 17, 132, 1, 58, 51, 0, 44])?;
    (out[ip + 9], out[ip + 6]) = (proto, *u.choose(&[0, 0, 0x40, 0x20, proto])?);
    for field in [ip + 12, ip + 16, ip + 14, ip + 24] {
        if u.ratio(2, 3)? {
            out[field] = 10;
        }
    }
    let len = u.int_in_range(0..=out.len())?;
    out.truncate(len);
    Ok(out)
}
