//! The packets that cases name.

fn eth(proto: u16) -> Vec<u8> {
    let mut p = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    p.extend(proto.to_be_bytes());
    p
}

fn ipv4(proto: u8, payload: usize) -> Vec<u8> {
    let len = (20 + payload) as u16;
    let mut h = vec![0x45, 0x02, 0, 0, 0x12, 0x34, 0x40, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    h[2..4].copy_from_slice(&len.to_be_bytes());
    h
}

fn ipv6(next: u8, payload: usize) -> Vec<u8> {
    let mut h = vec![0x60, 0x10, 0, 0, 0, payload as u8, next, 64];
    h.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    h.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    h
}

fn tcp() -> Vec<u8> {
    vec![0x04, 0xd2, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0x20, 0, 0xab, 0xcd, 0, 0]
}

fn udp(check: u16) -> Vec<u8> {
    let mut u = vec![0x13, 0x88, 0, 53, 0, 16];
    u.extend(check.to_be_bytes());
    u
}

/// A packet by name.
pub(crate) fn named(name: &str) -> Vec<u8> {
    let data = b"payload!";
    match name {
        "tcp4" => [eth(0x0800), ipv4(6, 28), tcp(), data.to_vec()].concat(),
        "udp4" => [eth(0x0800), ipv4(17, 16), udp(0x1234), data.to_vec()].concat(),
        "udp4-nosum" => [eth(0x0800), ipv4(17, 16), udp(0), data.to_vec()].concat(),
        "tcp6" => [eth(0x86dd), ipv6(6, 28), tcp(), data.to_vec()].concat(),
        "vlan" => [eth(0x8100), vec![0x20, 5, 8, 0], ipv4(6, 28), tcp(), data.to_vec()].concat(),
        "qinq" => [eth(0x88a8), vec![0, 7, 0x81, 0, 0, 9, 8, 0], ipv4(6, 28), tcp()].concat(),
        "vlan-llc" => [eth(0x8100), vec![0, 5, 0, 10, 0xaa, 0xaa], vec![3; 40]].concat(),
        "arp" => [eth(0x0806), vec![0, 1, 8, 0, 6, 4, 0, 1], vec![7; 20]].concat(),
        "eth" => eth(0x1234),
        "big" => [eth(0x0800), ipv4(17, 1400), udp(9), vec![0x5a; 1392]].concat(),
        other => panic!("no packet {other}"),
    }
}
