//! A static route table for `bpf_fib_lookup`, read from lines as `ip route` and `ip -6 route` print them.
//!
//! ```text
//! default via 192.0.2.1 dev eth0 src 192.0.2.7
//! 198.51.100.0/24 dev eth1 mtu 1400
//! 2001:db8::/32 via fe80::1 dev eth0
//! blackhole 203.0.113.0/24
//! link eth0 2 02:00:00:00:00:01                interface: name, index, own hardware address
//! neigh 192.0.2.1 dev eth0 lladdr 02:00:00:00:00:fe
//! ```
//! `#` begins a comment. Words that the table has no use for (`proto`, `scope`, `metric`, …) are skipped with their value.

use skep_platform::env::{Fib, FibResult};
use std::fmt;
use std::net::IpAddr;

/// `BPF_FIB_LKUP_RET_*` (include/uapi/linux/bpf.h).
mod ret {
    pub(super) const BLACKHOLE: i64 = 1;
    pub(super) const UNREACHABLE: i64 = 2;
    pub(super) const PROHIBIT: i64 = 3;
    pub(super) const NOT_FWDED: i64 = 4;
}

/// A route table.
#[derive(Clone, Debug, Default)]
pub struct FibTable {
    routes: Vec<Route>,
    links: Vec<Link>,
    neighbours: Vec<(IpAddr, [u8; 6])>,
}

#[derive(Clone, Debug)]
struct Route {
    net: IpAddr,
    bits: u8,
    refused: Option<i64>,
    gateway: Option<IpAddr>,
    dev: Option<String>,
    mtu: u32,
    src: Option<IpAddr>,
    metric: u32,
}

#[derive(Clone, Debug)]
struct Link {
    name: String,
    index: u32,
    mac: Option<[u8; 6]>,
}

/// A line that is no route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FibError {
    /// 1-based line.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for FibError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for FibError {}

impl FibTable {
    /// Reads a table. Fails at the first line that makes no sense.
    pub fn parse(text: &str) -> Result<FibTable, FibError> {
        let mut table = FibTable::default();
        for (n, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or("");
            let words: Vec<&str> = line.split_whitespace().collect();
            if !words.is_empty() {
                table.add(&words).map_err(|why| FibError { line: n + 1, why })?;
            }
        }
        table.number_links();
        Ok(table)
    }

    /// Number of routes.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether it has no routes.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    fn add(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            ["link", name, index, rest @ ..] => {
                let index = index.parse().map_err(|_| format!("{index} is no interface index"))?;
                let mac = rest.first().map(|m| mac(m)).transpose()?;
                self.links.push(Link { name: (*name).into(), index, mac });
            }
            ["neigh", ip, rest @ ..] => {
                let at = rest.iter().position(|w| *w == "lladdr");
                let mac = at.and_then(|i| rest.get(i + 1)).ok_or("a neighbour needs lladdr")?;
                self.neighbours.push((address(ip)?, self::mac(mac)?));
            }
            [kind @ ("blackhole" | "unreachable" | "prohibit"), rest @ ..] => {
                let code = match *kind {
                    "blackhole" => ret::BLACKHOLE,
                    "unreachable" => ret::UNREACHABLE,
                    _ => ret::PROHIBIT,
                };
                self.routes.push(route(rest, Some(code))?);
            }
            [_, ..] => self.routes.push(route(words, None)?),
            [] => {}
        }
        Ok(())
    }

    /// Interfaces that no `link` line names get indexes above those that are named, in order of appearance.
    fn number_links(&mut self) {
        let devs: Vec<String> = self.routes.iter().filter_map(|r| r.dev.clone()).collect();
        for name in devs {
            if !self.links.iter().any(|l| l.name == name) {
                let index = self.links.iter().map(|l| l.index).max().unwrap_or(0).saturating_add(1);
                self.links.push(Link { name, index, mac: None });
            }
        }
    }

    fn best(&self, dst: IpAddr) -> Option<&Route> {
        let fits = self.routes.iter().filter(|r| covers(r.net, r.bits, dst));
        fits.min_by_key(|r| (std::cmp::Reverse(r.bits), r.metric))
    }

    fn hop(&self, r: &Route, dst: IpAddr) -> FibResult {
        let Some(link) = self.links.iter().find(|l| Some(&l.name) == r.dev.as_ref()) else {
            return FibResult::Refused(ret::NOT_FWDED);
        };
        let next = r.gateway.unwrap_or(dst);
        let there = self.neighbours.iter().find(|(ip, _)| *ip == next).map(|(_, m)| *m);
        FibResult::Hop {
            ifindex: link.index,
            gateway: octets(next),
            mtu: r.mtu,
            mac: link.mac.zip(there),
            src: r.src.map(octets).unwrap_or_default(),
        }
    }
}

impl Fib for FibTable {
    fn route(&self, dst: &[u8], _ifindex: u32, _output: bool) -> FibResult {
        let dst = match (<[u8; 4]>::try_from(dst), <[u8; 16]>::try_from(dst)) {
            (Ok(v4), _) => IpAddr::from(v4),
            (_, Ok(v6)) => IpAddr::from(v6),
            _ => return FibResult::Refused(ret::NOT_FWDED),
        };
        match self.best(dst) {
            None => FibResult::Refused(ret::NOT_FWDED),
            Some(Route { refused: Some(code), .. }) => FibResult::Refused(*code),
            Some(r) => self.hop(r, dst),
        }
    }
}

fn route(words: &[&str], refused: Option<i64>) -> Result<Route, String> {
    let (first, rest) = words.split_first().ok_or("a route needs a destination")?;
    let word = |name: &str| rest.iter().position(|w| *w == name).and_then(|i| rest.get(i + 1)).copied();
    let number =
        |name: &str| word(name).map_or(Ok(0), |w| w.parse().map_err(|_| format!("{name} {w}: no number")));
    let gateway = word("via").map(address).transpose()?;
    let src = word("src").map(address).transpose()?;
    let (net, bits) = match (*first, gateway.or(src)) {
        ("default", Some(IpAddr::V6(_))) => (IpAddr::from([0; 16]), 0),
        ("default", _) => (IpAddr::from([0; 4]), 0),
        (text, _) => prefix(text)?,
    };
    if refused.is_none() && word("dev").is_none() {
        return Err("a route needs dev NAME".into());
    }
    let dev = word("dev").map(str::to_string);
    Ok(Route { net, bits, refused, gateway, dev, mtu: number("mtu")?, src, metric: number("metric")? })
}

fn prefix(text: &str) -> Result<(IpAddr, u8), String> {
    let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
    let ip = address(ip)?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Ok(most), |b| b.parse().map_err(|_| format!("/{b} is no prefix length")))?;
    if bits > most {
        return Err(format!("/{bits} is longer than an address of {most} bits"));
    }
    Ok((ip, bits))
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text} is no IP address"))
}

fn mac(text: &str) -> Result<[u8; 6], String> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|b| u8::from_str_radix(b, 16).ok()).collect();
    let bytes = bytes.and_then(|b| <[u8; 6]>::try_from(b).ok());
    bytes.ok_or_else(|| format!("{text} is no hardware address"))
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn covers(net: IpAddr, bits: u8, ip: IpAddr) -> bool {
    let (net, ip) = (octets(net), octets(ip));
    let bit = |bytes: &[u8], i: usize| bytes[i / 8] >> (7 - i % 8) & 1;
    net.len() == ip.len() && (0..bits as usize).all(|i| bit(&net, i) == bit(&ip, i))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
link eth0 2 02:00:00:00:00:01
default via 192.0.2.1 dev eth0 proto static src 192.0.2.7
192.0.2.0/24 dev eth0 proto kernel scope link mtu 1400
blackhole 203.0.113.0/24
2001:db8::/32 via fe80::1 dev eth1   # another
neigh 192.0.2.1 dev eth0 lladdr 02:00:00:00:00:fe
";

    #[test]
    fn the_longest_prefix_wins() {
        let t = FibTable::parse(TABLE).unwrap();
        let hop = t.route(&[8, 8, 8, 8], 0, false);
        let mac = Some(([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 0xfe]));
        let (gateway, src) = (vec![192, 0, 2, 1], vec![192, 0, 2, 7]);
        assert_eq!(hop, FibResult::Hop { ifindex: 2, gateway, mtu: 0, mac, src });
        let FibResult::Hop { gateway, mtu, .. } = t.route(&[192, 0, 2, 9], 0, false) else { panic!() };
        assert_eq!((gateway, mtu), (vec![192, 0, 2, 9], 1400));
        assert_eq!(t.route(&[203, 0, 113, 5], 0, false), FibResult::Refused(ret::BLACKHOLE));
        let v6: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
        assert!(matches!(t.route(&v6.octets(), 0, false), FibResult::Hop { ifindex: 3, .. }));
        assert_eq!(t.route(&[0; 16], 0, false), FibResult::Refused(ret::NOT_FWDED));
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, line) in
            [("\n10.0.0.0/33 dev x", 2), ("10.0.0.0/8", 1), ("link a b", 1), ("neigh 1.2.3.4", 1)]
        {
            assert_eq!(FibTable::parse(text).unwrap_err().line, line, "{text}");
        }
    }
}
