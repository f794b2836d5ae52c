//! The filter language by example: `data/language.txt` has link types and expressions, and below each the instructions it
//! compiles to without optimisation, or what is wrong with it and where. `SKEP_BLESS=1` writes what it is now.

use skep_cbpf::filter::{Numbers, Packets, Resolver};
use skep_cbpf::{Filter, FilterOptions, text};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

#[test]
fn expressions_compile_to_what_is_written_below_them() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/language.txt");
    let text = std::fs::read_to_string(path).expect("the examples");
    let mut now = String::new();
    for line in text.lines() {
        match line.strip_prefix("$ ") {
            Some(example) => write!(now, "{line}\n{}", compiled(example)).expect("fits in memory"),
            None if line.starts_with('#') || line.is_empty() => now += &format!("{line}\n"),
            None => {}
        }
    }
    if std::env::var_os("SKEP_BLESS").is_some() {
        return std::fs::write(path, &now).expect("writes the examples");
    }
    let different = text.lines().zip(now.lines()).position(|(a, b)| a != b);
    let line = different.unwrap_or(text.lines().count().min(now.lines().count()));
    assert!(text == now, "line {}: now it is\n{now}", line + 1);
}

/// Names everything by a filter of its own.
struct Filters;

impl Resolver for Filters {
    fn host(&self, name: &str) -> Vec<IpAddr> {
        let inner = Filter::compile("port 53 or host 10.0.0.1", &FilterOptions::default()).expect("compiles");
        assert_eq!(name, "a");
        vec![Ipv4Addr::from(inner.insns().len() as u32).into()]
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

    fn protocol(&self, _: &str) -> Option<u8> {
        None
    }
}

/// Compilations share memory; what one of them leaves shows in no other: neither one inside, nor one that fails, nor a
/// large one.
#[test]
fn compilations_do_not_see_each_other() {
    let compile = |expr: &str| {
        let filter = Filter::compile(expr, &FilterOptions { resolver: &Filters, ..FilterOptions::default() });
        filter.map(|f| text::listing(f.insns())).map_err(|e| e.to_string())
    };
    let inner = Filter::compile("port 53 or host 10.0.0.1", &FilterOptions::default()).expect("compiles");
    let by_number = format!("tcp port 80 and host 0.0.0.{}", inner.insns().len());
    let want = std::thread::spawn(move || Filter::compile(&by_number, &FilterOptions::default()));
    let want = want.join().expect("ends").expect("compiles");
    let large: Vec<String> = (0..200).map(|n| format!("host 10.0.0.{n}")).collect();
    for before in
        ["", "tcp port", "ip[0:3] = 1", "vlan and geneve and (udp or port 5-90)", &large.join(" or ")]
    {
        let _ = compile(before);
        assert_eq!(compile("tcp port 80 and host a"), Ok(text::listing(want.insns())), "after {before}");
    }
}

/// `LINK EXPR`; `LINK+live` is a live capture, `LINK+file` a capture file.
fn compiled(example: &str) -> String {
    let (link, expr) = example.split_once(' ').unwrap_or((example, ""));
    let (link, packets) = match link.split_once('+') {
        Some((link, "live")) => (link, Packets::Live),
        Some((link, _)) => (link, Packets::File),
        None => (link, Packets::Any),
    };
    let options = FilterOptions {
        link,
        packets,
        optimize: false,
        netmask: Some(0xffff_ff00),
        resolver: &Numbers,
        ..FilterOptions::default()
    };
    match Filter::compile(expr, &options) {
        Ok(f) => text::listing(f.insns()),
        Err(e) => e.with_caret(expr).lines().map(|l| format!("! {l}\n")).collect(),
    }
}
