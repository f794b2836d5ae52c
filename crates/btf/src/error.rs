//! What can be wrong with BTF bytes: one variant a rule, with the byte offset where the rule was broken.

use std::fmt;

/// A refusal of BTF or BTF.ext bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BtfError {
    /// Byte offset from the start of the section that was given to the parser.
    pub offset: usize,
    /// Id of the type that was being read, when it was one.
    pub type_id: Option<u32>,
    /// The rule that was broken.
    pub kind: BtfErrorKind,
}

/// A part of a BTF or BTF.ext section, named in errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The fixed header.
    Header,
    /// The type records.
    Types,
    /// The strings.
    Strings,
    /// BTF.ext function records.
    FuncInfo,
    /// BTF.ext line records.
    LineInfo,
    /// BTF.ext CO-RE relocation records.
    CoreRelo,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Header => "header",
            Part::Types => "type section",
            Part::Strings => "string section",
            Part::FuncInfo => "func_info",
            Part::LineInfo => "line_info",
            Part::CoreRelo => "core_relo",
        })
    }
}

/// The rule that BTF bytes broke.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BtfErrorKind {
    /// Fewer bytes than the part needs.
    Truncated {
        /// What was being read.
        part: Part,
        /// Bytes that it needs.
        need: usize,
        /// Bytes that there are.
        have: usize,
    },
    /// The first two bytes are not 0xeb9f.
    BadMagic {
        /// What stood there (little-endian).
        found: u16,
    },
    /// The magic is that of the other byte order.
    BigEndian,
    /// A format version other than 1.
    BadVersion {
        /// The version found.
        found: u8,
    },
    /// Header flags are set; none are defined.
    BadFlags {
        /// The flags found.
        found: u8,
    },
    /// The header's own length is smaller than the fields it must have, or not a multiple of four.
    BadHeaderLen {
        /// The length found.
        found: u32,
        /// The least length.
        min: u32,
    },
    /// Header bytes behind the fields that are known are not zero.
    UnknownHeader,
    /// A part starts or ends off a four-byte boundary.
    Misaligned {
        /// The part.
        part: Part,
        /// Its offset or length.
        value: u32,
    },
    /// A part reaches behind the end of the bytes.
    OutOfBounds {
        /// The part.
        part: Part,
        /// Its end as the header claims.
        end: u64,
        /// Bytes that there are.
        have: usize,
    },
    /// The string section does not begin or end with a NUL byte, or is empty.
    BadStrings,
    /// A kind number without meaning.
    UnknownKind {
        /// The number.
        kind: u32,
    },
    /// Bits of the `info` word without meaning are set.
    BadInfo {
        /// The word.
        info: u32,
    },
    /// The name offset of a type, member, parameter or enumerator is outside the strings or inside a character, or the
    /// name is too long.
    BadName {
        /// The offset.
        name_off: u32,
        /// Size of the strings (base included).
        strings: u32,
    },
    /// A reference to a type that does not exist.
    BadTypeId {
        /// The id.
        id: u32,
        /// Number of types (void and base included).
        types: u32,
    },
    /// The bit size, bit offset or byte size of an integer type contradict one another.
    BadInt {
        /// Byte size.
        size: u32,
        /// Size in bits.
        bits: u32,
        /// Offset in bits.
        bit_offset: u32,
    },
    /// More types than ids can name.
    TooManyTypes,
    /// The strings are longer than offsets can name.
    StringsTooLong,
    /// A record size of BTF.ext that is too small or not a multiple of four.
    BadRecordSize {
        /// Which records.
        part: Part,
        /// The size found.
        found: u32,
        /// The least size.
        min: u32,
    },
    /// A section of BTF.ext without records.
    EmptySection {
        /// Which records.
        part: Part,
    },
}

impl BtfError {
    pub(crate) fn at(offset: usize, kind: BtfErrorKind) -> BtfError {
        BtfError { offset, type_id: None, kind }
    }

    pub(crate) fn in_type(offset: usize, id: u32, kind: BtfErrorKind) -> BtfError {
        BtfError { offset, type_id: Some(id), kind }
    }
}

impl fmt::Display for BtfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BTF: byte {:#x}", self.offset)?;
        if let Some(id) = self.type_id {
            write!(f, " (type {id})")?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl std::error::Error for BtfError {}

impl fmt::Display for BtfErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use BtfErrorKind as K;
        match self {
            K::Truncated { part, need, have } => {
                write!(f, "the {part} needs {need} bytes, there are {have}: the data is cut off or damaged")
            }
            K::BadMagic { found } => write!(f, "expected the magic 0xeb9f, found {found:#06x}: this is not BTF"),
            K::BigEndian => f.write_str(
                "big-endian BTF is not supported: compile with --target=bpfel or read it on a little-endian target",
            ),
            K::BadVersion { found } => write!(f, "expected version 1, found {found}"),
            K::BadFlags { found } => write!(f, "expected no header flags, found {found:#x}"),
            K::BadHeaderLen { found, min } => {
                write!(f, "expected a header length of at least {min}, a multiple of 4, found {found}")
            }
            K::UnknownHeader => f.write_str("expected zeros behind the known header fields: a newer format"),
            K::Misaligned { part, value } => {
                write!(f, "expected the {part} on a boundary of 4 bytes, found {value:#x}")
            }
            K::OutOfBounds { part, end, have } => {
                write!(f, "the {part} ends at {end:#x}, behind the end of the data ({have:#x})")
            }
            K::BadStrings => f.write_str("expected strings that begin and end with a NUL byte"),
            K::UnknownKind { kind } => write!(f, "expected a kind of 1 to 19, found {kind}"),
            K::BadInfo { info } => write!(f, "expected zeros in bits 16-23, 29 and 30 of info, found {info:#010x}"),
            K::BadName { name_off, strings } => {
                write!(
                    f,
                    "expected the offset of a name below {strings:#x}, at the start of a character, of at most \
                     {} bytes, found {name_off:#x}",
                    crate::btf::MAX_NAME_LEN
                )
            }
            K::BadTypeId { id, types } => write!(f, "expected a type id below {types}, found {id}"),
            K::BadInt { size, bits, bit_offset } => write!(
                f,
                "expected an integer of at most 16 bytes that holds its bits, found size {size}, {bits} bits at bit {bit_offset}"
            ),
            K::TooManyTypes => f.write_str("more types than type ids"),
            K::StringsTooLong => f.write_str("more string bytes than offsets can name"),
            K::BadRecordSize { part, found, min } => {
                write!(f, "expected a {part} record size of at least {min}, a multiple of 4, found {found}")
            }
            K::EmptySection { part } => write!(f, "expected at least one {part} record in the section"),
        }
    }
}
