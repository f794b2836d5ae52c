//! Data by its type: bytes become a tree of [`Value`]s, the tree becomes text (`text.rs`), and what a person typed
//! becomes bytes (`parse.rs`).
//!
//! What always holds: a tree never has more than 16 values for each byte, and 1,024; deeper nesting than 64 is refused.
//! Data is little-endian.

mod parse;
mod text;

use std::fmt;

pub use parse::{ParseValueError, parse_value};
pub use text::TextOptions;

use crate::btf::Btf;
use crate::view::{Array, Composite, Datasec, Enum, Int, Member, Type};

/// A value and its parts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// A signed integer, bitfields included.
    Int(i128),
    /// An unsigned integer, bitfields included.
    Uint(u128),
    /// A boolean: any bit set is true.
    Bool(bool),
    /// A single `char`.
    Char(u8),
    /// A floating-point number of 4 or 8 bytes.
    Float(f64),
    /// A value of an enum, with its name if it has one.
    Enum {
        /// The enumerator; `None` for a number without name.
        name: Option<&'a str>,
        /// The number; in unsigned 64-bit enums the bits of a `u64`.
        value: i64,
    },
    /// A `char` array that holds text: up to the first NUL; behind it are zeros only.
    Str(String),
    /// A pointer.
    Pointer(u64),
    /// The elements of an array.
    Array(Vec<Value<'a>>),
    /// The members of a struct or union or the variables of a section, with their names. Members of anonymous structs
    /// and unions stand in the place of these.
    Struct(Vec<(&'a str, Value<'a>)>),
}

/// Why bytes are not a value of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueError {
    /// Fewer bytes than the type has.
    Truncated {
        /// Type of the value or part of it.
        type_id: u32,
        /// Bytes that are needed.
        need: u64,
        /// Bytes that there are.
        have: usize,
    },
    /// A type without values (void, a function, a struct that is not defined).
    NoValue {
        /// The type.
        type_id: u32,
    },
    /// Types are nested more than 64 deep, or one byte is part of too many values.
    TooComplex,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueError::Truncated { type_id, need, have } => {
                write!(f, "a value of type {type_id} needs {need} bytes, there are {have}")
            }
            ValueError::NoValue { type_id } => write!(f, "type {type_id} has no values"),
            ValueError::TooComplex => f.write_str("the type is nested too deeply to read values of it"),
        }
    }
}

impl std::error::Error for ValueError {}

const MAX_DEPTH: usize = 64;

impl<'a> Value<'a> {
    /// Reads a value of type `type_id` from the start of `bytes`; what follows is not looked at. Variables and sections
    /// count as types: a section is the struct of its variables.
    ///
    /// # Errors
    /// Too few bytes, or a type without values.
    pub fn read(btf: &'a Btf, type_id: u32, bytes: &[u8]) -> Result<Value<'a>, ValueError> {
        Reader { btf, left: bytes.len().saturating_mul(16).saturating_add(1024) }.value(type_id, bytes, 0)
    }

    /// Whether all bits that it was read from are zero.
    pub fn is_zero(&self) -> bool {
        match self {
            Value::Int(n) => *n == 0,
            Value::Uint(n) => *n == 0,
            Value::Bool(b) => !b,
            Value::Char(c) => *c == 0,
            Value::Float(x) => x.to_bits() == 0,
            Value::Enum { value, .. } => *value == 0,
            Value::Str(s) => s.is_empty(),
            Value::Pointer(p) => *p == 0,
            Value::Array(items) => items.iter().all(Value::is_zero),
            Value::Struct(fields) => fields.iter().all(|f| f.1.is_zero()),
        }
    }
}

struct Reader<'a> {
    btf: &'a Btf,
    /// Values that may still be read.
    left: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, id: u32, bytes: &[u8], depth: usize) -> Result<Value<'a>, ValueError> {
        self.left = self.left.checked_sub(1).filter(|_| depth < MAX_DEPTH).ok_or(ValueError::TooComplex)?;
        let (id, t) = self.btf.resolve(id).ok_or(ValueError::NoValue { type_id: id })?;
        match t {
            Type::Int(i) => Ok(int(i, front(bytes, i.size, id)?)),
            Type::Float(f) => float(front(bytes, f.size, id)?, id),
            Type::Enum(e) | Type::Enum64(e) => Ok(enumeration(e, front(bytes, e.size, id)?)),
            Type::Ptr(_) => Ok(Value::Pointer(low_bits(front(bytes, 8, id)?, 0, 64) as u64)),
            Type::Array(a) => self.array(id, a, bytes, depth),
            Type::Struct(c) | Type::Union(c) => {
                let bytes = front(bytes, c.size, id)?;
                let mut fields = Vec::new();
                self.members(id, c, bytes, depth, &mut fields)?;
                Ok(Value::Struct(fields))
            }
            Type::Var(v) => self.value(v.type_id, bytes, depth + 1),
            Type::Datasec(s) => self.section(s, bytes, depth),
            _ => Err(ValueError::NoValue { type_id: id }),
        }
    }

    fn array(&mut self, id: u32, a: Array, bytes: &[u8], depth: usize) -> Result<Value<'a>, ValueError> {
        let size = self.btf.size_of(a.type_id).ok_or(ValueError::NoValue { type_id: a.type_id })? as usize;
        let need = size as u64 * u64::from(a.nelems);
        let truncated = ValueError::Truncated { type_id: id, need, have: bytes.len() };
        let bytes = usize::try_from(need).ok().and_then(|n| bytes.get(..n)).ok_or(truncated)?;
        if let Some((_, Type::Int(i))) = self.btf.resolve(a.type_id)
            && is_char(i)
            && let Some(text) = text_of(bytes)
        {
            return Ok(Value::Str(text));
        }
        if size == 0 {
            return Ok(Value::Array(Vec::new()));
        }
        bytes
            .chunks_exact(size)
            .map(|b| self.value(a.type_id, b, depth + 1))
            .collect::<Result<_, _>>()
            .map(Value::Array)
    }

    fn members(
        &mut self,
        id: u32,
        c: Composite<'a>,
        bytes: &[u8],
        depth: usize,
        fields: &mut Vec<(&'a str, Value<'a>)>,
    ) -> Result<(), ValueError> {
        if depth >= MAX_DEPTH {
            return Err(ValueError::TooComplex);
        }
        for m in c.members {
            self.left = self.left.checked_sub(1).ok_or(ValueError::TooComplex)?;
            let at = m.bit_offset as usize / 8;
            let rest = bytes.get(at..).ok_or(ValueError::Truncated {
                type_id: id,
                need: at as u64 + 1,
                have: bytes.len(),
            })?;
            let inner = self.btf.resolve(m.type_id).and_then(|(_, t)| t.composite());
            match inner {
                Some(inner) if m.name.is_empty() => {
                    let rest = front(rest, inner.size, m.type_id)?;
                    self.members(m.type_id, inner, rest, depth + 1, fields)?;
                }
                _ if m.name.is_empty() => {}
                _ if m.bitfield_size > 0 => fields.push((m.name, self.bitfield(m, rest)?)),
                _ => fields.push((m.name, self.value(m.type_id, rest, depth + 1)?)),
            }
        }
        Ok(())
    }

    fn bitfield(&mut self, m: Member<'a>, bytes: &[u8]) -> Result<Value<'a>, ValueError> {
        let (id, t) = self.btf.resolve(m.type_id).ok_or(ValueError::NoValue { type_id: m.type_id })?;
        let (shift, bits) = (m.bit_offset % 8, m.bitfield_size.min(128));
        let bytes = front(bytes, (shift + bits).div_ceil(8), id)?;
        let raw = low_bits(bytes, shift, bits);
        Ok(match t {
            Type::Int(i) => number(i, raw, bits),
            Type::Enum(e) | Type::Enum64(e) => {
                named(e, if e.signed { signed(raw, bits) as i64 } else { raw as i64 })
            }
            _ => Value::Uint(raw),
        })
    }

    fn section(&mut self, s: Datasec<'a>, bytes: &[u8], depth: usize) -> Result<Value<'a>, ValueError> {
        let mut fields = Vec::new();
        for v in s.vars {
            let at = v.offset as usize;
            let need = at as u64 + u64::from(v.size);
            let truncated = ValueError::Truncated { type_id: v.type_id, need, have: bytes.len() };
            let rest = bytes.get(at..).ok_or(truncated)?;
            fields.push((self.btf.name_of(v.type_id), self.value(v.type_id, rest, depth + 1)?));
        }
        Ok(Value::Struct(fields))
    }
}

fn front(bytes: &[u8], size: u32, type_id: u32) -> Result<&[u8], ValueError> {
    let truncated = ValueError::Truncated { type_id, need: size.into(), have: bytes.len() };
    bytes.get(..size as usize).ok_or(truncated)
}

/// `bits` (up to 128) bits from bit `shift` (0 to 7) of at most 17 bytes.
fn low_bits(bytes: &[u8], shift: u32, bits: u32) -> u128 {
    let mut out: u128 = 0;
    for (i, b) in bytes.iter().enumerate().take(17) {
        let at = i as i32 * 8 - shift as i32;
        if at < 0 {
            out |= u128::from(*b) >> -at;
        } else if at < 128 {
            out |= u128::from(*b) << at;
        }
    }
    if bits < 128 { out & ((1 << bits) - 1) } else { out }
}

fn signed(raw: u128, bits: u32) -> i128 {
    if bits == 0 { 0 } else { ((raw << (128 - bits)) as i128) >> (128 - bits) }
}

fn int<'a>(i: Int<'_>, bytes: &[u8]) -> Value<'a> {
    let raw = low_bits(bytes, 0, 128);
    let raw = raw.checked_shr(i.bit_offset).unwrap_or(0);
    let raw = if i.bits < 128 { raw & ((1 << i.bits) - 1) } else { raw };
    number(i, raw, i.bits.min(128))
}

fn number<'a>(i: Int<'_>, raw: u128, bits: u32) -> Value<'a> {
    if i.encoding.bool || i.name == "_Bool" {
        Value::Bool(raw != 0)
    } else if is_char(i) && bits == 8 {
        Value::Char(raw as u8)
    } else if i.encoding.signed {
        Value::Int(signed(raw, bits))
    } else {
        Value::Uint(raw)
    }
}

/// Whether an integer is a `char`, which compilers tell by the name alone.
fn is_char(i: Int<'_>) -> bool {
    i.size == 1 && (i.name == "char" || i.encoding.char)
}

fn float<'a>(bytes: &[u8], type_id: u32) -> Result<Value<'a>, ValueError> {
    let raw = low_bits(bytes, 0, 64) as u64;
    match bytes.len() {
        4 => Ok(Value::Float(f32::from_bits(raw as u32).into())),
        8 => Ok(Value::Float(f64::from_bits(raw))),
        _ => Err(ValueError::NoValue { type_id }),
    }
}

fn enumeration<'a>(e: Enum<'a>, bytes: &[u8]) -> Value<'a> {
    let bits = e.size.min(8) * 8;
    let raw = low_bits(bytes, 0, bits);
    named(e, if e.signed { signed(raw, bits) as i64 } else { raw as i64 })
}

fn named(e: Enum<'_>, value: i64) -> Value<'_> {
    let name = e.enumerators.clone().find(|v| v.value == value).map(|v| v.name);
    Value::Enum { name, value }
}

/// The text of a `char` array: printable UTF-8, then zeros only.
fn text_of(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(end);
    if rest.iter().any(|b| *b != 0) {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let printable = |c: char| !c.is_control() || c.is_ascii_whitespace();
    text.chars().all(printable).then(|| text.to_owned())
}
