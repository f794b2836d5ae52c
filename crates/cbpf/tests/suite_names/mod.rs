//! What libpcap's tests of filters (suite `filters`) are compiled with.

use serde_json::Value;
use skep_cbpf::FilterOptions;
use skep_cbpf::filter::{Packets, Resolver};
use std::net::{IpAddr, Ipv4Addr};

/// Netmask that the oracle's `ip broadcast` was compiled with.
pub(crate) const NETMASK: u32 = 0xffff_ff00;

/// The names of libpcap's tests: `noeth-ipv4-ipv6.host123.libpcap.test` says itself what it has, `x4` how many of them.
pub(crate) struct TestNames;

impl Resolver for TestNames {
    fn host(&self, name: &str) -> Vec<IpAddr> {
        let name = name.to_ascii_lowercase();
        let Some((has, _)) = name.split_once(".host").filter(|_| name.ends_with(".libpcap.test")) else {
            return Vec::new();
        };
        let count = |kind: &str| {
            let word = has.split('-').find_map(|w| w.strip_prefix(kind));
            word.map_or(0, |w| w.strip_prefix('x').and_then(|n| n.parse().ok()).unwrap_or(1))
        };
        let several = name.contains(".host357.");
        let v4: &[[u8; 4]] = match several {
            true => &[[192, 168, 241, 3], [192, 168, 242, 4], [192, 168, 243, 1], [192, 168, 244, 2]],
            false => &[[10, 20, 30, 40]],
        };
        let v6: &[[u16; 8]] = match several {
            true => &[
                [0xfd00, 0xa1b2, 0xc3d4, 0, 0xa0b0, 0xc0d0, 0xe0f0, 0x1278],
                [0xfd00, 0xa1b2, 0xc3d4, 0, 0xa0b0, 0xc0d0, 0xe0f0, 0x3456],
            ],
            false => &[[0xfd00, 0xa1b2, 0xc3d4, 0, 0x1020, 0x3040, 0x5060, 0x7080]],
        };
        let v4 = v4.iter().take(count("ipv4")).map(|a| IpAddr::from(*a));
        v4.chain(v6.iter().take(count("ipv6")).map(|a| IpAddr::from(*a))).collect()
    }

    fn ether(&self, name: &str) -> Option<[u8; 6]> {
        let name = name.to_ascii_lowercase();
        let mac =
            if name.contains(".host357.") { [0xaa, 0, 4, 0, 1, 8] } else { [0xaa, 0, 4, 0, 0x14, 0x0e] };
        name.starts_with("eth-").then_some(mac)
    }

    fn net(&self, name: &str) -> Option<u32> {
        let name = name.to_ascii_lowercase();
        let numbers = name.strip_prefix("net-")?.strip_suffix(".libpcap.test")?;
        let all: Vec<u32> = numbers.split('-').map(|n| n.parse().ok()).collect::<Option<_>>()?;
        // All four bytes, unlike those of `/etc/networks`.
        Some(all.iter().fold(0, |v, n| v << 8 | n))
    }

    fn ports(&self, name: &str) -> Vec<(u16, String)> {
        let rows: &[(&str, u16, &[&str])] = &[
            ("smtp", 25, &["tcp"]),
            ("domain", 53, &["tcp", "udp"]),
            ("bootps", 67, &["udp"]),
            ("bootpc", 68, &["udp"]),
        ];
        let found = rows.iter().filter(|r| r.0 == name);
        found.flat_map(|(_, port, protos)| protos.iter().map(|p| (*port, (*p).to_owned()))).collect()
    }

    fn protocol(&self, name: &str) -> Option<u8> {
        skep_cbpf::filter::Numbers.protocol(name)
    }
}

/// Options on a link type.
pub(crate) fn options<'a>(link: &'a str, names: &'a TestNames) -> FilterOptions<'a> {
    FilterOptions { link, resolver: names, netmask: Some(NETMASK), ..FilterOptions::default() }
}

/// Options of a case.
pub(crate) fn options_of(case: &Value) -> FilterOptions<'_> {
    let text = |key: &str| case[key].as_str().unwrap_or_default();
    let netmask = case["netmask"].as_str().and_then(|m| m.parse::<Ipv4Addr>().ok()).map(u32::from);
    let packets = match (text("linuxext"), text("generate_offline_filter")) {
        ("1", _) => Packets::Live,
        (_, "") => Packets::Any,
        _ => Packets::File,
    };
    FilterOptions {
        optimize: case["optimize"] != 0,
        // All ones: not known.
        netmask: netmask.filter(|m| *m != u32::MAX),
        snaplen: case["snaplen"].as_u64().unwrap_or(262_144) as u32,
        packets,
        ..options(text("DLT"), &TestNames)
    }
}
