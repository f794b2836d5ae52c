//! Names in filters as the system knows them: hosts by its resolver, the rest by `/etc/services`, `/etc/protocols`,
//! `/etc/networks` and `/etc/ethers`. A name that stands in none of them is not known; nor is one whose file is missing.

use skep::cbpf::filter::{Numbers, Resolver};
use std::net::{IpAddr, ToSocketAddrs};

/// The system's files and resolver. Hosts are asked for over the network where the system does so.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Files;

impl Resolver for Files {
    fn host(&self, name: &str) -> Vec<IpAddr> {
        (name, 0).to_socket_addrs().map(|all| dedup(all.map(|a| a.ip()))).unwrap_or_default()
    }

    fn ether(&self, name: &str) -> Option<[u8; 6]> {
        lines("/etc/ethers").find_map(|l| parse_ether(&l, name))
    }

    fn net(&self, name: &str) -> Option<u32> {
        lines("/etc/networks").find_map(|l| network(&l, name))
    }

    fn ports(&self, name: &str) -> Vec<(u16, String)> {
        let mut out: Vec<(u16, String)> = lines("/etc/services").filter_map(|l| service(&l, name)).collect();
        out.dedup();
        out
    }

    fn protocol(&self, name: &str) -> Option<u8> {
        Numbers.protocol(name).or_else(|| {
            lines("/etc/protocols").find_map(|l| {
                let words: Vec<String> = l.split_whitespace().map(str::to_owned).collect();
                names(&words, 1).any(|n| n == name).then(|| words.get(1)?.parse().ok()).flatten()
            })
        })
    }
}

/// All words but the one at `except`.
fn names(words: &[String], except: usize) -> impl Iterator<Item = &String> {
    words.iter().enumerate().filter(move |(i, _)| *i != except).map(|(_, w)| w)
}

fn lines(path: &str) -> impl Iterator<Item = String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let bare = |l: &str| l.split('#').next().unwrap_or("").trim().to_owned();
    text.lines().map(bare).filter(|l| !l.is_empty()).collect::<Vec<_>>().into_iter()
}

/// A network's number without the zero bytes at its end, which stand for hosts.
fn network(line: &str, name: &str) -> Option<u32> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let bytes: Vec<u8> = words.get(1)?.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let used = bytes.iter().rposition(|b| *b != 0)? + 1;
    let number = bytes[..used].iter().fold(0, |n, b| n << 8 | u32::from(*b));
    (bytes.len() <= 4 && names(&words, 1).any(|n| n == name)).then_some(number)
}

fn service(line: &str, name: &str) -> Option<(u16, String)> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let (port, proto) = words.get(1)?.split_once('/')?;
    names(&words, 1).any(|n| n == name).then(|| Some((port.parse().ok()?, proto.to_owned()))).flatten()
}

fn parse_ether(line: &str, name: &str) -> Option<[u8; 6]> {
    let (address, host) = line.split_once(char::is_whitespace)?;
    if host.trim() != name {
        return None;
    }
    let mut out = [0; 6];
    let mut parts = address.split(':');
    for byte in &mut out {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    Some(out)
}

fn dedup(addrs: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    addrs.fold(Vec::new(), |mut out, a| {
        if !out.contains(&a) {
            out.push(a);
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_files_are_read() {
        assert_eq!(service("http 80/tcp www", "www"), Some((80, "tcp".into())));
        assert_eq!(service("http 80/tcp www", "80/tcp"), None);
        assert_eq!(parse_ether("0:1:2:3:4:ff gate", "gate"), Some([0, 1, 2, 3, 4, 255]));
        assert_eq!(parse_ether("0:1:2 gate", "gate"), None);
        assert_eq!(network("loopback 127.0.0.0 lo", "lo"), Some(127));
        assert_eq!(network("office 10.1", "office"), Some(10 << 8 | 1));
    }
}
