//! What a person typed becomes the bytes of a value: what `map update` needs.
//!
//! Both notations are taken, also mixed: C initialisers (`{.a = 1, .b = {1, 2}}`, `{1, 2}`) and JSON
//! (`{"a": 1, "b": [1, 2]}`). Numbers are decimal, `0x…`, `0o…`, `0b…` or a character in quotes; enums and booleans go
//! by name too; `char` arrays take a string. What is not named is zero.

use std::fmt;

use super::{MAX_DEPTH, is_char};
use crate::btf::Btf;
use crate::view::{Array, Composite, Enum, Member, Type};

/// Why a text is not a value of a type: at which byte of the text, and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseValueError {
    /// Byte offset in the text.
    pub at: usize,
    /// What was expected, for people.
    pub expected: String,
}

impl fmt::Display for ParseValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at character {}: expected {}", self.at + 1, self.expected)
    }
}

impl std::error::Error for ParseValueError {}

/// The largest value that is made of a text.
const MAX_SIZE: u32 = 64 << 20;

/// The bytes of a value of type `type_id`, as typed.
///
/// # Errors
/// The text is malformed or does not fit the type; the error says where.
pub fn parse_value(btf: &Btf, type_id: u32, text: &str) -> Result<Vec<u8>, ParseValueError> {
    let mut p = Parser { btf, text, at: 0 };
    let size = btf.size_of(type_id).filter(|s| *s <= MAX_SIZE);
    let size = size.ok_or_else(|| p.expected("a type with a size of at most 64 MiB"))?;
    let mut out = vec![0; size as usize];
    p.value(type_id, &mut out, 0)?;
    p.space();
    if p.at < text.len() {
        return Err(p.expected("the end of the value"));
    }
    Ok(out)
}

struct Parser<'a> {
    btf: &'a Btf,
    text: &'a str,
    at: usize,
}

type Parsed<T> = Result<T, ParseValueError>;

impl<'a> Parser<'a> {
    fn expected(&self, what: impl Into<String>) -> ParseValueError {
        ParseValueError { at: self.at, expected: what.into() }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes `c` if it is next.
    fn take(&mut self, c: char) -> bool {
        self.space();
        let next = self.rest().starts_with(c);
        self.at += if next { c.len_utf8() } else { 0 };
        next
    }

    fn value(&mut self, id: u32, out: &mut [u8], depth: usize) -> Parsed<()> {
        let resolved = self.btf.resolve(id).filter(|_| depth < MAX_DEPTH);
        let (_, t) = resolved.ok_or_else(|| self.expected("a type that can be written"))?;
        match t {
            Type::Struct(c) | Type::Union(c) => self.composite(c, out, depth),
            Type::Array(a) => self.array(a, out, depth),
            Type::Float(f) => self.float(f.size, out),
            Type::Int(_) | Type::Enum(_) | Type::Enum64(_) | Type::Ptr(_) => {
                let bits = (out.len() * 8).min(128) as u32;
                let n = self.scalar(t, bits)?;
                set_bits(out, 0, bits, n);
                Ok(())
            }
            _ => Err(self.expected("a type that can be written")),
        }
    }

    fn composite(&mut self, c: Composite<'a>, out: &mut [u8], depth: usize) -> Parsed<()> {
        if !self.take('{') {
            return Err(self.expected("{"));
        }
        let mut next = 0;
        while !self.take('}') {
            let (member, at) = match self.key()? {
                Some(name) => {
                    let mut steps = SEARCH_STEPS;
                    let found = find(self.btf, c, name, 0, &mut steps);
                    found.ok_or_else(|| {
                        self.expected(format!("a member of {}, which has no {name}", title(c)))
                    })?
                }
                None => {
                    let m = c.members.get(next);
                    (m.ok_or_else(|| self.expected("} after the last member"))?, 0)
                }
            };
            next += 1;
            self.member(member, at, out, depth)?;
            if !self.take(',') && !self.rest().starts_with('}') {
                return Err(self.expected(", or }"));
            }
        }
        Ok(())
    }

    /// `.name =`, `"name":` or `name:`; nothing if a value follows at once.
    fn key(&mut self) -> Parsed<Option<&'a str>> {
        self.space();
        let start = self.at;
        let dot = self.take('.');
        let quoted = !dot && self.take('"');
        let name = self.word();
        let closed = !quoted || self.take('"');
        if !name.is_empty() && closed && (self.take('=') || self.take(':')) {
            return Ok(Some(name));
        }
        if dot {
            return Err(self.expected("a member's name and ="));
        }
        self.at = start;
        Ok(None)
    }

    fn member(&mut self, m: Member<'a>, at: u32, out: &mut [u8], depth: usize) -> Parsed<()> {
        let start = at.saturating_add(m.bit_offset);
        let byte = start as usize / 8;
        if m.bitfield_size > 0 {
            let (_, t) =
                self.btf.resolve(m.type_id).ok_or_else(|| self.expected("a type that can be written"))?;
            let n = self.scalar(t, m.bitfield_size.min(128))?;
            set_bits(out, start as usize, m.bitfield_size.min(128), n);
            return Ok(());
        }
        let size = self.btf.size_of(m.type_id).unwrap_or(0) as usize;
        let part = byte.checked_add(size).and_then(|end| out.get_mut(byte..end));
        let Some(part) = part else { return Err(self.expected("a member that lies in its struct")) };
        self.value(m.type_id, part, depth + 1)
    }

    fn array(&mut self, a: Array, out: &mut [u8], depth: usize) -> Parsed<()> {
        self.space();
        if self.rest().starts_with('"') {
            return self.string(a, out);
        }
        let close = match (self.take('['), self.rest().starts_with('{')) {
            (true, _) => ']',
            (false, true) => {
                self.at += 1;
                '}'
            }
            _ => return Err(self.expected("[ or a string")),
        };
        let size = self.btf.size_of(a.type_id).unwrap_or(0) as usize;
        let mut i = 0;
        while !self.take(close) {
            let part = out.get_mut(i * size..(i + 1) * size).filter(|_| i < a.nelems as usize);
            let Some(part) = part else {
                return Err(self.expected(format!("at most {} elements", a.nelems)));
            };
            self.value(a.type_id, part, depth + 1)?;
            i += 1;
            if !self.take(',') && !self.rest().starts_with(close) {
                return Err(self.expected(format!(", or {close}")));
            }
        }
        Ok(())
    }

    fn string(&mut self, a: Array, out: &mut [u8]) -> Parsed<()> {
        let is_text =
            matches!(self.btf.resolve(a.type_id), Some((_, Type::Int(i))) if i.size == 1 || is_char(i));
        if !is_text {
            return Err(self.expected("[ : only arrays of bytes take a string"));
        }
        let start = self.at;
        let bytes = self.quoted('"')?;
        if bytes.len() > out.len() {
            self.at = start;
            return Err(self.expected(format!(
                "a string of at most {} bytes, this one has {}",
                out.len(),
                bytes.len()
            )));
        }
        out[..bytes.len()].copy_from_slice(&bytes);
        Ok(())
    }

    /// A text in quotes, with `\n`, `\t`, `\0`, `\xNN`, and any other character after a backslash as it is.
    fn quoted(&mut self, quote: char) -> Parsed<Vec<u8>> {
        let mut out = Vec::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((i, c)) = chars.next() {
            if c == quote {
                self.at += i + c.len_utf8();
                return Ok(out);
            }
            let c = if c == '\\' { chars.next().map(|e| e.1) } else { None }.map_or(Ok(c), Err);
            match c {
                Err('n') => out.push(b'\n'),
                Err('t') => out.push(b'\t'),
                Err('0') => out.push(0),
                Err('x') => {
                    let digits: String = chars.by_ref().take(2).map(|e| e.1).collect();
                    out.push(
                        u8::from_str_radix(&digits, 16).map_err(|_| self.expected("two digits after \\x"))?,
                    );
                }
                Ok(c) | Err(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Err(self.expected(format!("a closing {quote}")))
    }

    fn float(&mut self, size: u32, out: &mut [u8]) -> Parsed<()> {
        self.space();
        let start = self.at;
        let len = self.rest().find([',', '}', ']', ' ']).unwrap_or(self.rest().len());
        let parsed = self.rest()[..len].trim().parse::<f64>();
        let Ok(x) = parsed else { return Err(self.expected("a number")) };
        self.at = start + len;
        match size {
            4 => out.copy_from_slice(&(x as f32).to_le_bytes()),
            8 => out.copy_from_slice(&x.to_le_bytes()),
            _ => return Err(self.expected("a float of 4 or 8 bytes")),
        }
        Ok(())
    }

    /// A number, name of an enumerator, boolean or character that fits `bits`.
    fn scalar(&mut self, t: Type<'a>, bits: u32) -> Parsed<u128> {
        self.space();
        let start = self.at;
        let signed = match t {
            Type::Int(i) => i.encoding.signed || is_char(i),
            Type::Enum(e) | Type::Enum64(e) => e.signed,
            _ => false,
        };
        if self.rest().starts_with('\'') {
            let c = self.quoted('\'')?;
            return c.first().map(|c| u128::from(*c)).ok_or_else(|| self.expected("a character"));
        }
        let negative = self.take('-');
        let word = self.word();
        let magnitude = match number(word) {
            Some(n) => n,
            None => {
                let named = (!negative).then(|| name_value(t, word)).flatten();
                self.at = if named.is_some() { self.at } else { start };
                return named.ok_or_else(|| self.expected(choices(t)));
            }
        };
        let max = if bits >= 128 { u128::MAX } else { (1 << bits) - 1 };
        let fits = if negative {
            magnitude == 0 || signed && magnitude - 1 <= max >> 1
        } else {
            magnitude <= if signed && !matches!(t, Type::Int(i) if is_char(i)) { max >> 1 } else { max }
        };
        if !fits {
            self.at = start;
            return Err(self.expected(format!("a number that fits {bits} bits")));
        }
        Ok(if negative { magnitude.wrapping_neg() & max } else { magnitude })
    }

    fn word(&mut self) -> &'a str {
        self.space();
        let rest = self.rest();
        let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }
}

/// A member by name, through anonymous members; with the bit offset of the struct that has it. `steps` bounds the search.
fn find<'a>(
    btf: &'a Btf,
    c: Composite<'a>,
    name: &str,
    at: u32,
    steps: &mut u32,
) -> Option<(Member<'a>, u32)> {
    for m in c.members {
        *steps = steps.checked_sub(1)?;
        if m.name == name {
            return Some((m, at));
        }
        let inner =
            if m.name.is_empty() { btf.resolve(m.type_id).and_then(|(_, t)| t.composite()) } else { None };
        // a struct that contains itself would be without end
        let Some(inner) = inner.filter(|_| *steps > STEPS_PER_LEVEL) else { continue };
        *steps -= STEPS_PER_LEVEL;
        if let Some(found) = find(btf, inner, name, at.checked_add(m.bit_offset)?, steps) {
            return Some(found);
        }
    }
    None
}

/// Members that are looked at for one name, and what a level of nesting costs of it.
const SEARCH_STEPS: u32 = 1 << 16;
const STEPS_PER_LEVEL: u32 = 1 << 9;

fn title(c: Composite<'_>) -> String {
    format!(
        "{} {}",
        if c.is_union { "union" } else { "struct" },
        if c.name.is_empty() { "{…}" } else { c.name }
    )
}

fn number(word: &str) -> Option<u128> {
    let radix = |prefix: &str, radix| Some(u128::from_str_radix(word.strip_prefix(prefix)?, radix).ok());
    let prefixed = radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2));
    prefixed.unwrap_or_else(|| word.parse().ok())
}

fn name_value(t: Type<'_>, word: &str) -> Option<u128> {
    match t {
        Type::Enum(e) | Type::Enum64(e) => {
            let value = e.enumerators.clone().find(|v| v.name == word)?.value;
            Some(value as u128)
        }
        Type::Int(_) if word == "true" => Some(1),
        Type::Int(_) if word == "false" => Some(0),
        Type::Ptr(_) if word == "null" || word == "NULL" => Some(0),
        _ => None,
    }
}

/// What may be typed for a type.
fn choices(t: Type<'_>) -> String {
    let names = |e: Enum<'_>| e.enumerators.map(|v| v.name).take(8).collect::<Vec<_>>().join(", ");
    match t {
        Type::Enum(e) | Type::Enum64(e) => format!("a number or one of {}", names(e)),
        _ => "a number".to_owned(),
    }
}

/// Writes the low `bits` bits of `n` at bit `at`.
fn set_bits(out: &mut [u8], at: usize, bits: u32, n: u128) {
    for i in 0..bits as usize {
        if let Some(byte) = out.get_mut((at + i) / 8) {
            let mask = 1 << ((at + i) % 8);
            *byte = if n >> i & 1 != 0 { *byte | mask } else { *byte & !mask };
        }
    }
}
