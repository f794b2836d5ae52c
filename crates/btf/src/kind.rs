//! The kinds of BTF types as one table: what each record holds, word by word. Parser, builder and merger read it, so
//! that none of them knows a kind by heart.

use std::fmt;

/// The kind of a type record (`BTF_KIND_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)] // the names are those of uapi/linux/btf.h
pub enum Kind {
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Fwd = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    Func = 12,
    FuncProto = 13,
    Var = 14,
    Datasec = 15,
    Float = 16,
    DeclTag = 17,
    TypeTag = 18,
    Enum64 = 19,
}

/// What the third word of a record means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word3 {
    /// A size in bytes.
    Size,
    /// A type id.
    Type,
    /// Nothing.
    Unused,
}

/// What a word behind the three header words means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// A string offset.
    Name,
    /// A type id.
    Type,
    /// A number.
    Plain,
}

/// The shape of a kind's record.
#[derive(Debug, Clone, Copy)]
pub struct KindRow {
    /// The kind.
    pub kind: Kind,
    /// Its name in listings.
    pub name: &'static str,
    /// Meaning of the third header word.
    pub word3: Word3,
    /// Words that always follow.
    pub fixed: &'static [Field],
    /// Words that follow `vlen` times.
    pub entry: &'static [Field],
}

use Field::{Name as N, Plain as P, Type as T};

const fn row(
    kind: Kind,
    name: &'static str,
    word3: Word3,
    fixed: &'static [Field],
    entry: &'static [Field],
) -> KindRow {
    KindRow { kind, name, word3, fixed, entry }
}

/// All kinds, in the order of their numbers, from 1.
pub static KINDS: [KindRow; 19] = [
    row(Kind::Int, "INT", Word3::Size, &[P], &[]),
    row(Kind::Ptr, "PTR", Word3::Type, &[], &[]),
    row(Kind::Array, "ARRAY", Word3::Unused, &[T, T, P], &[]),
    row(Kind::Struct, "STRUCT", Word3::Size, &[], &[N, T, P]),
    row(Kind::Union, "UNION", Word3::Size, &[], &[N, T, P]),
    row(Kind::Enum, "ENUM", Word3::Size, &[], &[N, P]),
    row(Kind::Fwd, "FWD", Word3::Unused, &[], &[]),
    row(Kind::Typedef, "TYPEDEF", Word3::Type, &[], &[]),
    row(Kind::Volatile, "VOLATILE", Word3::Type, &[], &[]),
    row(Kind::Const, "CONST", Word3::Type, &[], &[]),
    row(Kind::Restrict, "RESTRICT", Word3::Type, &[], &[]),
    row(Kind::Func, "FUNC", Word3::Type, &[], &[]),
    row(Kind::FuncProto, "FUNC_PROTO", Word3::Type, &[], &[N, T]),
    row(Kind::Var, "VAR", Word3::Type, &[P], &[]),
    row(Kind::Datasec, "DATASEC", Word3::Size, &[], &[T, P, P]),
    row(Kind::Float, "FLOAT", Word3::Size, &[], &[]),
    row(Kind::DeclTag, "DECL_TAG", Word3::Type, &[P], &[]),
    row(Kind::TypeTag, "TYPE_TAG", Word3::Type, &[], &[]),
    row(Kind::Enum64, "ENUM64", Word3::Size, &[], &[N, P, P]),
];

impl Kind {
    /// The kind with this number, if there is one.
    pub fn from_raw(n: u32) -> Option<Kind> {
        KINDS.get(n.checked_sub(1)? as usize).map(|r| r.kind)
    }

    /// The kind's row of [`KINDS`].
    pub fn row(self) -> &'static KindRow {
        &KINDS[self as usize - 1]
    }

    /// `volatile`, `const`, `restrict` and type tags: kinds that stand before a type and change neither size nor layout.
    pub fn is_modifier(self) -> bool {
        matches!(self, Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag)
    }

    /// A struct or a union.
    pub fn is_composite(self) -> bool {
        matches!(self, Kind::Struct | Kind::Union)
    }

    /// An enum of 32 or of 64 bits.
    pub fn is_any_enum(self) -> bool {
        matches!(self, Kind::Enum | Kind::Enum64)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().name)
    }
}

impl KindRow {
    /// Words of a whole record with `vlen` entries.
    pub fn words(&self, vlen: u32) -> usize {
        3 + self.fixed.len() + self.entry.len() * vlen as usize
    }

    /// Meaning of word `i` of a record, counted from its beginning (0 is the name, 1 the info word).
    pub fn field(&self, i: usize) -> Field {
        match i {
            0 => Field::Name,
            1 => Field::Plain,
            2 if self.word3 == Word3::Type => Field::Type,
            2 => Field::Plain,
            _ => {
                let i = i - 3;
                match self.fixed.get(i) {
                    Some(f) => *f,
                    None if self.entry.is_empty() => Field::Plain,
                    None => self.entry[(i - self.fixed.len()) % self.entry.len()],
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_numbers() {
        for (i, r) in KINDS.iter().enumerate() {
            assert_eq!(r.kind as usize, i + 1);
            assert_eq!(Kind::from_raw(i as u32 + 1), Some(r.kind));
            assert_eq!(r.kind.row().name, r.name);
        }
        assert_eq!(Kind::from_raw(0), None);
        assert_eq!(Kind::from_raw(20), None);
    }

    #[test]
    fn fields_repeat_for_each_entry() {
        let s = Kind::Struct.row();
        assert_eq!(s.words(2), 9);
        assert_eq!((s.field(2), s.field(3), s.field(4), s.field(7)), (P, N, T, T));
        assert_eq!(Kind::Array.row().field(4), T);
        assert_eq!(Kind::Array.row().field(2), P);
    }
}
