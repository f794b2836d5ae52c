//! Why a relocation could not be resolved.

use std::fmt;

use crate::btf::Btf;
use crate::ext::CoreRelo;

/// A relocation that could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreError {
    /// The relocation.
    pub relo: CoreRelo,
    /// Kind and name of the local type, such as `struct sk_buff`.
    pub type_name: String,
    /// The access string.
    pub access: String,
    /// The rule that was broken.
    pub kind: CoreErrorKind,
}

/// The rule that a relocation broke.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoreErrorKind {
    /// A relocation kind newer than this code.
    UnknownKind(u32),
    /// The access string is not numbers between colons, or not `0` for a type.
    BadAccess,
    /// The access string goes deeper than 64 levels.
    TooDeep,
    /// Level `level` of the access string selects member, element or enumerator `index` of a type with `len` of them.
    IndexOutOfRange {
        /// Position in the access string.
        level: usize,
        /// The index there.
        index: u32,
        /// What there is.
        len: u32,
    },
    /// Level `level` of the access string goes into a type that has neither members nor elements.
    NotComposite {
        /// Position in the access string.
        level: usize,
    },
    /// An enumerator is asked for of a type that is no enum.
    NotEnum,
    /// A type of the relocation has no size, or a chain of typedefs has no end.
    NoSize {
        /// The type.
        type_id: u32,
    },
    /// An offset that does not fit.
    OffsetOverflow,
    /// The root type has no name: nothing can be looked for.
    Anonymous,
    /// The kind cannot be asked of an array element.
    ArrayAccess,
    /// A bitfield that no load of 8 bytes or fewer can read.
    BitfieldTooWide,
    /// Types of the target are nested too deeply, or search took too many steps.
    TooComplex,
    /// Candidates have the field at different offsets.
    AmbiguousOffset {
        /// Bits.
        first: u64,
        /// Bits.
        second: u64,
    },
    /// Candidates give different values.
    AmbiguousValue {
        /// The first candidate's.
        first: u64,
        /// A later one's.
        second: u64,
    },
}

impl CoreError {
    pub(crate) fn new(local: &Btf, relo: &CoreRelo, kind: CoreErrorKind) -> CoreError {
        CoreError {
            relo: *relo,
            type_name: super::spec::type_title(local, relo.type_id),
            access: relo.access_str(local).to_owned(),
            kind,
        }
    }
}

impl fmt::Display for CoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.relo.kind().map_or("unknown", |k| k.name());
        write!(f, "CO-RE relocation <{kind}> of {} + {}: {}", self.type_name, self.access, self.kind)
    }
}

impl std::error::Error for CoreError {}

impl fmt::Display for CoreErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CoreErrorKind as K;
        match self {
            K::UnknownKind(n) => {
                write!(f, "relocation kind {n} is not known: the object needs a newer loader")
            }
            K::BadAccess => f.write_str("the access string is malformed"),
            K::TooDeep => f.write_str("the access string has more than 64 levels"),
            K::IndexOutOfRange { level, index, len } => {
                write!(f, "level {level} of the access string selects {index}, there are {len}")
            }
            K::NotComposite { level } => {
                write!(f, "level {level} of the access string goes into a type without members")
            }
            K::NotEnum => f.write_str("the type is not an enum"),
            K::NoSize { type_id } => write!(f, "type {type_id} has no size"),
            K::OffsetOverflow => f.write_str("the offset does not fit"),
            K::Anonymous => {
                f.write_str("the type has no name: give it one, or relocate a named type that contains it")
            }
            K::ArrayAccess => f.write_str("this cannot be asked of an array element"),
            K::BitfieldTooWide => f.write_str("no load of 8 bytes can read the bitfield"),
            K::TooComplex => f.write_str("the types of the target are nested too deeply"),
            K::AmbiguousOffset { first, second } => write!(
                f,
                "the target has several types of that name, with the field at bits {first} and {second}: \
                 only one may match"
            ),
            K::AmbiguousValue { first, second } => write!(
                f,
                "the target has several types of that name, which give {first} and {second}: only one may match"
            ),
        }
    }
}
