//! Contexts as text: `field=value`, as many on a line as one likes, `#` to the line's end is a comment.
//!
//! ```text
//!  regs: di=1 si=0x7ffe00001000        a word that ends in a colon says what follows, to people alone
//!  args[0]=5 cb=1,2,3                  one element, or the first ones
//!  remote_ip4=10.0.0.1                 addresses as they are written, in network order
//!  record=00ff12…                      bytes in hex, where a field is bytes
//!  @16:8=-1                            eight bytes at offset 16, whatever is there
//! ```
//!
//! Always holds: [`render`]'s text parses to the bytes it was made of.

use skep_platform::{CtxField, CtxLayout, FieldKind};
use std::fmt;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What is wrong with a context given as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextError {
    /// 1-based line.
    pub line: usize,
    /// The word in question.
    pub word: String,
    /// What is wrong with it.
    pub kind: TextErrorKind,
}

/// What is wrong with a word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TextErrorKind {
    /// Not of the form `field=value`.
    NotAnAssignment,
    /// No such field; the ones there are.
    NoField {
        /// The structure.
        layout: &'static str,
        /// Its fields.
        fields: Vec<&'static str>,
    },
    /// The field is a pointer: the engine sets it.
    Pointer,
    /// Not a number (an address, hex bytes), or one that does not fit.
    BadValue {
        /// What would fit.
        want: &'static str,
        /// Bytes there are room for.
        room: usize,
    },
    /// An element or offset outside the field or structure.
    Outside {
        /// Elements or bytes there are.
        size: usize,
    },
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: ", self.line, self.word)?;
        match &self.kind {
            TextErrorKind::NotAnAssignment => f.write_str("write field=value"),
            TextErrorKind::NoField { layout, fields } => {
                write!(f, "{layout} has no such field; it has {}", fields.join(", "))
            }
            TextErrorKind::Pointer => f.write_str("a pointer, which the engine sets itself; leave it out"),
            TextErrorKind::BadValue { want, room } => write!(f, "write {want}, in {room} bytes"),
            TextErrorKind::Outside { size } => write!(f, "outside; there are {size}"),
        }
    }
}

impl std::error::Error for TextError {}

/// A context's bytes, and which of them the text spoke of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parsed {
    /// The structure's bytes.
    pub bytes: Vec<u8>,
    /// Names of the fields that were set.
    pub set: Vec<&'static str>,
    /// Bytes up to the last that was set.
    pub used: usize,
}

/// Whether bytes are a context as text: printable, with an assignment in it.
pub fn is_text(bytes: &[u8]) -> bool {
    let printable = |c: char| !c.is_control() || c.is_ascii_whitespace();
    std::str::from_utf8(bytes).is_ok_and(|t| t.chars().all(printable) && t.contains('='))
}

/// Reads a context.
pub fn parse(layout: &'static CtxLayout, text: &str) -> Result<Parsed, TextError> {
    let mut parsed = Parsed { bytes: vec![0; layout.size as usize], set: Vec::new(), used: 0 };
    for (i, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        for word in line.split_whitespace().filter(|w| w.contains('=') || !w.ends_with(':')) {
            let error = |kind| TextError { line: i + 1, word: word.to_string(), kind };
            assign(layout, word, &mut parsed).map_err(error)?;
        }
    }
    Ok(parsed)
}

fn assign(layout: &'static CtxLayout, word: &str, parsed: &mut Parsed) -> Result<(), TextErrorKind> {
    let (name, value) = word.split_once('=').ok_or(TextErrorKind::NotAnAssignment)?;
    if let Some(place) = name.strip_prefix('@') {
        let size = parsed.bytes.len();
        let (at, len) = place_of(place, size)?;
        put_number(value, &mut parsed.bytes[at..at + len])?;
        parsed.used = parsed.used.max(at + len);
        return Ok(());
    }
    let (name, index) = match name.strip_suffix(']').and_then(|n| n.split_once('[')) {
        Some((name, index)) => (name, Some(index)),
        None => (name, None),
    };
    if name == "args" && layout.by_name("arg0").is_some() {
        parsed.used = parsed.used.max(put_elements(value, index, 8, &mut parsed.bytes)?);
        return Ok(());
    }
    let field = find(layout, name)?;
    // The packet's ends are numbers to those who give a context: where metadata ends, and how much data there is.
    if field.kind.is_pointer() && !matches!(field.kind, FieldKind::PacketData | FieldKind::PacketEnd) {
        return Err(TextErrorKind::Pointer);
    }
    let (at, size) = (field.off as usize, field.size as usize);
    let element = element(layout, field);
    let end = put_elements(value, index, element, &mut parsed.bytes[at..at + size])?;
    parsed.set.push(&field.name);
    parsed.used = parsed.used.max(at + end);
    Ok(())
}

/// Writes one element, or the first ones; where what was set ends.
fn put_elements(
    value: &str,
    index: Option<&str>,
    element: usize,
    room: &mut [u8],
) -> Result<usize, TextErrorKind> {
    let Some(index) = index else { return put(value, element, room) };
    let count = room.len() / element;
    let i =
        index.parse::<usize>().ok().filter(|i| *i < count).ok_or(TextErrorKind::Outside { size: count })?;
    put_number(value, &mut room[i * element..(i + 1) * element])?;
    Ok((i + 1) * element)
}

fn find(layout: &'static CtxLayout, name: &str) -> Result<&'static CtxField, TextErrorKind> {
    // Registers also go by the names of the 64-bit UAPI: rdi, rflags.
    let plain = |n: &str| n.strip_prefix('r').and_then(|n| layout.by_name(n));
    let found =
        layout.by_name(name).or_else(|| if layout.by_name("di").is_some() { plain(name) } else { None });
    found.ok_or_else(|| TextErrorKind::NoField {
        layout: layout.name,
        fields: layout.fields.iter().filter(|f| !f.kind.is_pointer()).map(|f| &*f.name).collect(),
    })
}

/// `OFFSET:SIZE`.
fn place_of(place: &str, size: usize) -> Result<(usize, usize), TextErrorKind> {
    let outside = TextErrorKind::Outside { size };
    let (at, len) = place.split_once(':').ok_or(TextErrorKind::NotAnAssignment)?;
    let number = |s: &str| unsigned(s).and_then(|v| usize::try_from(v).ok());
    let (Some(at), Some(len @ (1 | 2 | 4 | 8))) = (number(at), number(len)) else { return Err(outside) };
    if at.checked_add(len).is_some_and(|end| end <= size) { Ok((at, len)) } else { Err(outside) }
}

/// Bytes of an element of a field.
fn element(layout: &CtxLayout, field: &CtxField) -> usize {
    match (layout.name, field.size) {
        (_, 1..=8) => field.size as usize,
        ("bpf_raw_tracepoint_args" | "args", _) => 8,
        ("tracepoint" | "syscall", _) => 1,
        _ => 4,
    }
}

/// Writes a field's value; how many bytes of the field it set.
fn put(value: &str, element: usize, room: &mut [u8]) -> Result<usize, TextErrorKind> {
    if element == 1 && room.len() > 1 {
        let want = "hex bytes";
        let bytes = hex(value).ok_or(TextErrorKind::BadValue { want, room: room.len() })?;
        let size = room.len();
        let to = room.get_mut(..bytes.len()).ok_or(TextErrorKind::Outside { size })?;
        to.copy_from_slice(&bytes);
        return Ok(bytes.len());
    }
    if let (16, Ok(address)) = (room.len(), value.parse::<Ipv6Addr>()) {
        room.copy_from_slice(&address.octets());
        return Ok(16);
    }
    let mut end = 0;
    for part in value.split(',') {
        let size = room.len() / element;
        let to = room.get_mut(end..end + element).ok_or(TextErrorKind::Outside { size })?;
        put_number(part, to)?;
        end += element;
    }
    Ok(end)
}

fn put_number(value: &str, room: &mut [u8]) -> Result<(), TextErrorKind> {
    if let (4, Ok(address)) = (room.len(), value.parse::<Ipv4Addr>()) {
        room.copy_from_slice(&address.octets());
        return Ok(());
    }
    let bits = room.len() as u32 * 8;
    let number = match value.strip_prefix('-') {
        Some(magnitude) => unsigned(magnitude)
            .filter(|m| *m <= 1 << (bits - 1).min(63))
            .map(|m| (m as i128).wrapping_neg() as u64),
        None => unsigned(value).filter(|v| bits >= 64 || v >> bits == 0),
    };
    let want = if bits == 32 { "a number or an IPv4 address" } else { "a number" };
    let number = number.ok_or(TextErrorKind::BadValue { want, room: room.len() })?;
    let n = room.len().min(8);
    room[..n].copy_from_slice(&number.to_le_bytes()[..n]);
    Ok(())
}

fn unsigned(s: &str) -> Option<u64> {
    let s = s.replace('_', "");
    match s.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => s.parse().ok(),
    }
}

fn hex(s: &str) -> Option<Vec<u8>> {
    let s = s.strip_prefix("0x").unwrap_or(s);
    if !s.len().is_multiple_of(2) || !s.is_ascii() {
        return None;
    }
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(s.get(i..i + 2)?, 16).ok()).collect()
}

/// The text of a context: a line for every field that is not zero; pointers are left out.
pub fn render(layout: &CtxLayout, bytes: &[u8]) -> String {
    let mut out = String::new();
    for field in layout.fields.iter().filter(|f| !f.kind.is_pointer()) {
        let (at, end) = (field.off as usize, (field.off + field.size) as usize);
        let value = &bytes[at.min(bytes.len())..end.min(bytes.len())];
        if value.iter().all(|b| *b == 0) {
            continue;
        }
        let element = element(layout, field);
        let _ = write!(out, "{}=", field.name);
        if element == 1 && field.size > 1 {
            let used = value.iter().rposition(|b| *b != 0).map_or(0, |i| i + 1);
            value[..used].iter().for_each(|b| {
                let _ = write!(out, "{b:02x}");
            });
        } else {
            let parts = value.chunks(element).map(|part| {
                let mut all = [0; 8];
                all[..part.len()].copy_from_slice(part);
                format!("{:#x}", u64::from_le_bytes(all))
            });
            out.push_str(&parts.collect::<Vec<_>>().join(","));
        }
        out.push('\n');
    }
    out
}
