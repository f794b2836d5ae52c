//! Words of a filter expression: the longest one at each place (pcap-filter(7) and libpcap's scanner are the model).
//! A word is a keyword, a number, an address of some kind, an operator, or a name.

use super::error::{FilterError, Span, Why};
use super::words;
use std::net::Ipv6Addr;

/// What a word is.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Tok {
    /// A reserved word, in lower case, aliases resolved (`&&` is `and`).
    Key(&'static str),
    /// A number, or a name that stands for one (`tcp-syn`).
    Num(u32),
    /// An IPv4 address or part of one, as written.
    Hid(String),
    /// An IPv6 address, as written.
    Hid6(String),
    /// An Ethernet address.
    Eid([u8; 6]),
    /// An ARCnet address (`$fe`), as written.
    Aid(String),
    /// A name.
    Id(String),
    /// An operator.
    Op(&'static str),
}

/// A word and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Token {
    pub tok: Tok,
    pub span: Span,
}

/// Operators, longer ones first.
const OPS: &[(&str, &str)] = &[
    (">=", ">="),
    ("<=", "<="),
    ("!=", "!="),
    ("==", "="),
    ("<<", "<<"),
    (">>", ">>"),
    ("&&", "and"),
    ("||", "or"),
    ("!", "not"),
    ("%", "%"),
    ("&", "&"),
    ("(", "("),
    (")", ")"),
    ("*", "*"),
    ("+", "+"),
    ("-", "-"),
    ("/", "/"),
    (":", ":"),
    ("<", "<"),
    ("=", "="),
    (">", ">"),
    ("[", "["),
    ("]", "]"),
    ("^", "^"),
    ("|", "|"),
];

/// All words of an expression. Linear in its length.
pub(super) fn words(text: &str) -> Result<Vec<Token>, FilterError> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(b) = bytes.get(at) {
        if matches!(b, b' ' | b'\t' | b'\r' | b'\n') {
            at += 1;
            continue;
        }
        let (tok, len) = word(&bytes[at..], at)?;
        out.push(Token { tok, span: Span { start: at, end: at + len } });
        at += len;
    }
    Ok(out)
}

fn word(rest: &[u8], at: usize) -> Result<(Tok, usize), FilterError> {
    if rest[0] == b'\\' {
        let len = run(&rest[1..], |b| !matches!(b, b' ' | b'!' | b'(' | b')' | b'\n' | b'\t'));
        return match ascii(&rest[1..1 + len]) {
            Some(name) if len > 0 => Ok((Tok::Id(name.into()), 1 + len)),
            _ => Err(illegal(rest, at)),
        };
    }
    let longest = longest_word(rest, at)?;
    if let Some(found) = longest {
        return Ok(found);
    }
    let op = OPS.iter().find(|(text, _)| rest.starts_with(text.as_bytes()));
    match op {
        Some((text, word @ ("and" | "or" | "not"))) => Ok((Tok::Key(word), text.len())),
        Some((text, op)) => Ok((Tok::Op(op), text.len())),
        None => Err(illegal(rest, at)),
    }
}

/// The longest word of letters, digits and address punctuation; of equally long ones the first kind counts.
fn longest_word(rest: &[u8], at: usize) -> Result<Option<(Tok, usize)>, FilterError> {
    if let Some(len) = rest.strip_prefix(b"$").map(|r| run(r, |b| b.is_ascii_hexdigit()))
        && (1..=2).contains(&len)
        && let Some(text) = ascii(&rest[..=len])
    {
        return Ok(Some((Tok::Aid(text.into()), len + 1)));
    }
    let len = name_len(rest);
    let colons = &rest[..run(rest, |b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.' | b'-')).min(64)];
    let address = ethernet(colons).into_iter().chain(ipv6(colons)).max_by_key(|(_, n)| *n);
    if let Some((tok, n)) = address
        && n >= len
        && n > 0
    {
        return Ok(Some((tok, n)));
    }
    let Some(text) = ascii(&rest[..len]).filter(|t| !t.is_empty()) else { return Ok(None) };
    let span = Span { start: at, end: at + len };
    Ok(Some((named(text, span)?, len)))
}

/// A word of name characters alone.
fn named(text: &str, span: Span) -> Result<Tok, FilterError> {
    if let Some(key) = words::keyword(text) {
        return Ok(Tok::Key(key));
    }
    if let Some(n) = words::constant(text) {
        return Ok(Tok::Num(n));
    }
    if is_number(text) {
        let n = number(text).ok_or(FilterError { span, why: Why::BadNumber(text.into()) })?;
        return Ok(Tok::Num(n));
    }
    let parts = text.split('.').count();
    let dotted = (2..=4).contains(&parts) && text.split('.').all(is_number);
    Ok(if dotted { Tok::Hid(text.into()) } else { Tok::Id(text.into()) })
}

/// Length of a name: it begins and ends with a letter, digit or (at the end) a dot.
fn name_len(rest: &[u8]) -> usize {
    if !rest.first().is_some_and(u8::is_ascii_alphanumeric) {
        return 0;
    }
    let all = run(rest, |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let last = rest[..all].iter().rposition(|b| b.is_ascii_alphanumeric() || *b == b'.');
    last.map_or(0, |n| n + 1)
}

fn run(bytes: &[u8], is: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|b| !is(*b)).unwrap_or(bytes.len())
}

fn ascii(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn illegal(rest: &[u8], at: usize) -> FilterError {
    let c = String::from_utf8_lossy(rest).chars().next().unwrap_or('\0');
    FilterError { span: Span { start: at, end: at + c.len_utf8().min(rest.len()) }, why: Why::IllegalChar(c) }
}

fn is_number(text: &str) -> bool {
    match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(hex) => !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// Decimal, `0x` hexadecimal, or octal with a leading 0.
pub(super) fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => u32::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    }
}

/// The longest IPv6 address at the start.
fn ipv6(run: &[u8]) -> Option<(Tok, usize)> {
    if !run.contains(&b':') {
        return None;
    }
    (2..=run.len().min(46)).rev().find_map(|n| {
        let text = ascii(&run[..n])?;
        text.parse::<Ipv6Addr>().ok().map(|_| (Tok::Hid6(text.into()), n))
    })
}

/// An Ethernet address at the start: six groups of one or two digits, three of four, or twelve digits.
fn ethernet(run: &[u8]) -> Option<(Tok, usize)> {
    let end = run.iter().position(|b| !b.is_ascii_hexdigit());
    let separator = end.and_then(|e| run.get(e)).copied();
    let grouped = |sep: u8, count: usize, widths: std::ops::RangeInclusive<usize>| {
        let mut digits = Vec::new();
        let (mut at, mut groups) = (0, 0);
        loop {
            let n = run[at..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
            if !widths.contains(&n) {
                return None;
            }
            let width = *widths.end();
            digits.extend(std::iter::repeat_n(b'0', width - n).chain(run[at..at + n].iter().copied()));
            (at, groups) = (at + n, groups + 1);
            match run.get(at) {
                _ if groups == count => return Some((digits, at)),
                Some(s) if *s == sep => at += 1,
                _ => return None,
            }
        }
    };
    let found = match separator {
        Some(b'.') => grouped(b'.', 3, 4..=4).or_else(|| grouped(b'.', 6, 1..=2)),
        Some(sep) => grouped(sep, 6, 1..=2),
        None => None,
    };
    let plain = || (end.unwrap_or(run.len()) == 12).then(|| (run[..12].to_vec(), 12));
    let (digits, n) = found.or_else(plain)?;
    let mut mac = [0; 6];
    for (byte, pair) in mac.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(ascii(pair)?, 16).ok()?;
    }
    Some((Tok::Eid(mac), n))
}
