//! Words of a filter expression: the longest one at each place (pcap-filter(7) and libpcap's scanner are the model).
//! A word is a keyword, a number, an address of some kind, an operator, or a name. A word knows its place; its text is read
//! from the expression there.

use super::error::{FilterError, Span, Why};
use super::words::{self, Atm, Field, Key, Mtp2, Proto, Word};
use std::net::Ipv6Addr;

/// What a word is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Tok {
    Key(Key),
    Proto(Proto),
    Atm(Atm),
    Mtp2(Mtp2),
    Field(Field),
    /// A number, or a name that stands for one (`tcp-syn`).
    Num(u32),
    /// An IPv4 address or part of one.
    Hid,
    /// An IPv6 address.
    Hid6(Ipv6Addr),
    /// An Ethernet address.
    Eid([u8; 6]),
    /// An ARCnet address (`$fe`).
    Aid(u8),
    /// A name, which a backslash may precede.
    Id,
    /// An operator.
    Op(Op),
}

/// Operators. `&&`, `||` and `!` are keywords.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    Ge,
    Le,
    Ne,
    Eq,
    Gt,
    Lt,
    Lsh,
    Rsh,
    Mod,
    And,
    Or,
    Xor,
    Mul,
    Add,
    Sub,
    Div,
    Open,
    Close,
    Index,
    EndIndex,
    Colon,
}

/// A word and where it stands.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Token {
    pub tok: Tok,
    start: u32,
    end: u32,
}

impl Token {
    pub(super) fn span(&self) -> Span {
        Span { start: self.start as usize, end: self.end as usize }
    }

    /// Its text in the expression, without a backslash in front.
    pub(super) fn text<'a>(&self, expr: &'a str) -> &'a str {
        let text = &expr[self.start as usize..self.end as usize];
        text.strip_prefix('\\').unwrap_or(text)
    }
}

/// Longest expression, so that places fit into 32 bits.
pub(super) const MAX_LEN: usize = u32::MAX as usize;

/// Longest text that is looked at as an address.
const MAX_ADDRESS: usize = 64;

/// Appends all words of an expression. Linear in its length.
pub(super) fn words(text: &str, out: &mut Vec<Token>) -> Result<(), FilterError> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(b) = bytes.get(at) {
        if matches!(b, b' ' | b'\t' | b'\r' | b'\n') {
            at += 1;
            continue;
        }
        let (tok, len) = word(text, at)?;
        out.push(Token { tok, start: at as u32, end: (at + len) as u32 });
        at += len;
    }
    Ok(())
}

fn word(text: &str, at: usize) -> Result<(Tok, usize), FilterError> {
    let rest = &text.as_bytes()[at..];
    if let Some(found) = operator(rest) {
        return Ok(found);
    }
    if rest[0] == b'\\' {
        let len = run(&rest[1..], |b| !matches!(b, b' ' | b'!' | b'(' | b')' | b'\n' | b'\t'));
        return match text.get(at + 1..at + 1 + len) {
            Some(_) if len > 0 => Ok((Tok::Id, 1 + len)),
            _ => Err(illegal(text, at)),
        };
    }
    if let Some(len) = rest.strip_prefix(b"$").map(|r| run(r, |b| b.is_ascii_hexdigit()))
        && (1..=2).contains(&len)
    {
        let byte = rest[1..=len].iter().fold(0, |n, b| n << 4 | hex(*b));
        return Ok((Tok::Aid(byte), len + 1));
    }
    let len = name_len(rest);
    if (rest[0].is_ascii_hexdigit() || rest[0] == b':')
        && let Some(found) = address(text, at, len)?
    {
        return Ok(found);
    }
    if len > 0 {
        let span = Span { start: at, end: at + len };
        return Ok((named(&text[at..at + len], span)?, len));
    }
    // A colon begins an address, or stands for itself.
    if rest[0] == b':' { Ok((Tok::Op(Op::Colon), 1)) } else { Err(illegal(text, at)) }
}

/// An operator, and its length: longer ones first.
fn operator(rest: &[u8]) -> Option<(Tok, usize)> {
    let tok = match rest {
        [b'>', b'=', ..] => Tok::Op(Op::Ge),
        [b'<', b'=', ..] => Tok::Op(Op::Le),
        [b'!', b'=', ..] => Tok::Op(Op::Ne),
        [b'=', b'=', ..] => Tok::Op(Op::Eq),
        [b'<', b'<', ..] => Tok::Op(Op::Lsh),
        [b'>', b'>', ..] => Tok::Op(Op::Rsh),
        [b'&', b'&', ..] => Tok::Key(Key::And),
        [b'|', b'|', ..] => Tok::Key(Key::Or),
        [first, ..] => return one(*first).map(|tok| (tok, 1)),
        [] => return None,
    };
    Some((tok, 2))
}

fn one(byte: u8) -> Option<Tok> {
    Some(Tok::Op(match byte {
        b'!' => return Some(Tok::Key(Key::Not)),
        b'%' => Op::Mod,
        b'&' => Op::And,
        b'(' => Op::Open,
        b')' => Op::Close,
        b'*' => Op::Mul,
        b'+' => Op::Add,
        b'-' => Op::Sub,
        b'/' => Op::Div,
        b'<' => Op::Lt,
        b'=' => Op::Eq,
        b'>' => Op::Gt,
        b'[' => Op::Index,
        b']' => Op::EndIndex,
        b'^' => Op::Xor,
        b'|' => Op::Or,
        _ => return None,
    }))
}

/// An Ethernet or IPv6 address at the start that is at least as long as the name there.
fn address(text: &str, at: usize, name: usize) -> Result<Option<(Tok, usize)>, FilterError> {
    let rest = &text.as_bytes()[at..];
    let all = run(rest, |b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.' | b'-')).min(MAX_ADDRESS);
    if all < 2 || all < name {
        return Ok(None);
    }
    let chars = &rest[..all];
    let ether = ethernet(chars).filter(|(_, n)| *n >= name);
    let v6 = ipv6_len(chars).filter(|n| *n >= name);
    if let Some((tok, n)) = ether
        && v6.is_none_or(|v| v < n)
    {
        return Ok(Some((tok, n)));
    }
    let wrong = |len, text: String| {
        Err(FilterError { span: Span { start: at, end: at + len }, why: Why::Text(text) })
    };
    let pairs = colon_pairs(chars);
    if let Some(n) = v6.filter(|n| *n >= pairs) {
        let address = &text[at..at + n];
        return match address.parse() {
            Ok(parsed) => Ok(Some((Tok::Hid6(parsed), n))),
            Err(_) => wrong(n, format!("invalid IPv6 address {address}")),
        };
    }
    if pairs > name {
        return wrong(pairs, format!("invalid Ethernet address {}", &text[at..at + pairs]));
    }
    Ok(None)
}

/// A word of name characters alone.
fn named(text: &str, span: Span) -> Result<Tok, FilterError> {
    match words::reserved(text) {
        Some(Word::Proto(p)) => return Ok(Tok::Proto(p)),
        Some(Word::Key(k)) => return Ok(Tok::Key(k)),
        Some(Word::Atm(a)) => return Ok(Tok::Atm(a)),
        Some(Word::Mtp2(m)) => return Ok(Tok::Mtp2(m)),
        Some(Word::Field(f)) => return Ok(Tok::Field(f)),
        Some(Word::Num(n)) => return Ok(Tok::Num(n)),
        None => {}
    }
    if !text.as_bytes()[0].is_ascii_digit() {
        return Ok(Tok::Id);
    }
    if is_number(text) {
        return number(text).map(Tok::Num).map_err(|why| FilterError { span, why: Why::Text(why) });
    }
    let dots = text.bytes().filter(|b| *b == b'.').count();
    let dotted = (1..=3).contains(&dots) && text.split('.').all(is_number);
    Ok(if dotted { Tok::Hid } else { Tok::Id })
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

fn illegal(text: &str, at: usize) -> FilterError {
    let c = text[at..].chars().next().unwrap_or('\0');
    FilterError { span: Span { start: at, end: at + c.len_utf8() }, why: Why::IllegalChar(c) }
}

fn is_number(text: &str) -> bool {
    match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(hex) => !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// Decimal, `0x` hexadecimal, or octal with a leading 0; what is wrong with it otherwise.
pub(super) fn number(text: &str) -> Result<u32, String> {
    let (kind, digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(hex) => ("hexadecimal", hex, 16),
        None if text.len() > 1 && text.starts_with('0') => ("octal", text, 8),
        None => ("decimal", text, 10),
    };
    let mut n = 0u32;
    for c in digits.chars() {
        let Some(digit) = c.to_digit(radix) else {
            return Err(format!("number {text} contains non-{kind} digit"));
        };
        let Some(next) = n.checked_mul(radix).and_then(|n| n.checked_add(digit)) else {
            return Err(format!("{kind} number {text} overflows 32 bits"));
        };
        n = next;
    }
    if digits.is_empty() { Err(format!("number {text} contains no digit")) } else { Ok(n) }
}

fn hex(digit: u8) -> u8 {
    (digit as char).to_digit(16).map_or(0, |n| n as u8)
}

/// Length of what has the form of pairs of hexadecimal digits, each with colons behind, two of them at least.
fn colon_pairs(chars: &[u8]) -> usize {
    let (mut at, mut pairs) = (0, 0);
    loop {
        let digits = run(&chars[at..], |b| b.is_ascii_hexdigit());
        let colons = run(&chars[at + digits..], |b| b == b':');
        if !(1..=2).contains(&digits) || colons == 0 {
            return if pairs >= 2 { at } else { 0 };
        }
        (at, pairs) = (at + digits + colons, pairs + 1);
    }
}

/// Length of the longest text at the start that has the form of an IPv6 address.
fn ipv6_len(chars: &[u8]) -> Option<usize> {
    if !chars.contains(&b':') {
        return None;
    }
    (2..=chars.len()).rev().find(|n| is_ipv6_form(&chars[..*n]))
}

/// Eight groups of up to four digits, some of which `::` stands for; the last two may be an IPv4 address.
fn is_ipv6_form(text: &[u8]) -> bool {
    let (mut at, mut groups, mut gap) = (0, 0, false);
    if text.starts_with(b"::") {
        (at, gap) = (2, true);
    }
    while at < text.len() {
        let digits = run(&text[at..], |b| b.is_ascii_hexdigit());
        if text.get(at + digits) == Some(&b'.') {
            return is_dotted_quad(&text[at..]) && if gap { groups <= 5 } else { groups == 6 };
        }
        if !(1..=4).contains(&digits) {
            return false;
        }
        (at, groups) = (at + digits, groups + 1);
        match &text[at..] {
            [] => break,
            [b':', b':', ..] if !gap => (at, gap) = (at + 2, true),
            [b':', next, ..] if *next != b':' => at += 1,
            _ => return false,
        }
    }
    if gap { groups <= 7 } else { groups == 8 }
}

fn is_dotted_quad(text: &[u8]) -> bool {
    let mut parts = 0;
    let digits = text.split(|b| *b == b'.').all(|part| {
        parts += 1;
        !part.is_empty() && part.iter().all(u8::is_ascii_digit)
    });
    digits && parts == 4
}

/// An Ethernet address at the start: six groups of one or two digits, three of four, or twelve digits.
fn ethernet(chars: &[u8]) -> Option<(Tok, usize)> {
    let first = run(chars, |b| b.is_ascii_hexdigit());
    if first == 12 {
        let digits = std::array::from_fn(|i| hex(chars[2 * i]) << 4 | hex(chars[2 * i + 1]));
        return Some((Tok::Eid(digits), 12));
    }
    let separator = *chars.get(first)?;
    let fours = || groups::<3>(chars, separator, 4..=4).filter(|_| separator == b'.');
    let (numbers, n) = match first {
        4 => {
            let (n, len) = fours()?;
            (std::array::from_fn(|i| n[i / 2].to_be_bytes()[i % 2]), len)
        }
        _ => {
            let (n, len) = groups::<6>(chars, separator, 1..=2)?;
            (n.map(|n| n as u8), len)
        }
    };
    Some((Tok::Eid(numbers), n))
}

/// Numbers of so many hexadecimal digits with a separator between them, and the length of all.
fn groups<const N: usize>(
    chars: &[u8],
    separator: u8,
    widths: std::ops::RangeInclusive<usize>,
) -> Option<([u16; N], usize)> {
    let (mut out, mut at) = ([0; N], 0);
    for (i, number) in out.iter_mut().enumerate() {
        if i > 0 {
            (chars.get(at) == Some(&separator)).then_some(())?;
            at += 1;
        }
        let width = run(&chars[at..], |b| b.is_ascii_hexdigit());
        widths.contains(&width).then_some(())?;
        *number = chars[at..at + width].iter().fold(0, |n, b| n << 4 | u16::from(hex(*b)));
        at += width;
    }
    Some((out, at))
}
