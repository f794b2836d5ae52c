//! The filter language by example: `data/language.txt` has link types and expressions, and below each the instructions it
//! compiles to without optimisation, or what is wrong with it and where. `SKEP_BLESS=1` writes what it is now.

use skep_cbpf::filter::{Numbers, Packets};
use skep_cbpf::{Filter, FilterOptions, text};
use std::fmt::Write;

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
