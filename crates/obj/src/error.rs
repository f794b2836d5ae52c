//! What can be wrong with an object: refusals of the whole file ([`ObjError`]) and findings about a part of it
//! ([`Diagnostic`]) that leave the rest usable. Both say where ([`Place`]) and what; text is made in `Display` only.

use std::fmt;

/// Where in an object something is wrong. Parts that do not apply are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Section name.
    pub section: Option<String>,
    /// Byte offset: within the section if one is named, else within the file.
    pub offset: Option<u64>,
    /// Symbol, map, variable or program name.
    pub symbol: Option<String>,
}

impl Place {
    /// The file as a whole.
    pub fn file() -> Place {
        Place::default()
    }

    /// A section.
    pub fn section(name: &str) -> Place {
        Place { section: Some(name.to_owned()), ..Place::default() }
    }

    /// This place, at a byte offset.
    pub fn at(mut self, offset: u64) -> Place {
        self.offset = Some(offset);
        self
    }

    /// This place, about a symbol.
    pub fn symbol(mut self, name: &str) -> Place {
        self.symbol = Some(name.to_owned());
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sep = "";
        if let Some(section) = &self.section {
            write!(f, "section {section:?}")?;
            sep = ", ";
        }
        if let Some(symbol) = &self.symbol {
            write!(f, "{sep}symbol {symbol:?}")?;
            sep = ", ";
        }
        match self.offset {
            Some(offset) => write!(f, "{sep}offset {offset:#x}"),
            None if sep.is_empty() => f.write_str("file"),
            None => Ok(()),
        }
    }
}

/// Why bytes are no object that can be opened. Nothing of the file is usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjError {
    /// Where.
    pub place: Place,
    /// Which rule is broken.
    pub kind: ObjErrorKind,
}

/// The rule that a refused object breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjErrorKind {
    /// The file does not begin with the ELF magic.
    NotElf {
        /// Up to four first bytes.
        magic: Vec<u8>,
    },
    /// ELF for 32-bit machines; eBPF objects are 64-bit.
    Class32,
    /// Big-endian eBPF.
    BigEndian,
    /// ELF for another machine.
    Machine {
        /// `e_machine` found; eBPF is 247.
        found: u16,
    },
    /// Not a relocatable file.
    FileType {
        /// `e_type` found; 1 is relocatable.
        found: u16,
    },
    /// Headers or tables reach outside the file or contradict each other.
    Malformed(&'static str),
    /// Sections lie over each other in the file, or claim more bytes than it has.
    Oversized {
        /// Bytes claimed by all sections together.
        claimed: u64,
        /// Bytes in the file.
        file: u64,
    },
    /// A name is not UTF-8.
    NameEncoding,
    /// The length of a code section or function is not a multiple of 8, or a function reaches outside its section.
    CodeRange {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Bytes in the section.
        section: u64,
    },
    /// Two functions share instructions without being the same.
    OverlappingFunctions {
        /// The other function.
        other: String,
    },
    /// Type information cannot be read.
    Btf(String),
    /// A map definition cannot be read.
    Map(MapRule),
    /// Several sections of a kind that may exist once.
    Duplicate(&'static str),
    /// An extern variable or function cannot be understood.
    Extern(&'static str),
}

/// What is wrong with a map definition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapRule {
    /// Section `.maps` without BTF.
    NoBtf,
    /// A definition's symbol has no variable in the BTF of its section.
    NoType,
    /// The definition's BTF has another shape than `__uint`, `__type`, `__array` produce.
    Shape {
        /// The member.
        field: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Two members give different sizes.
    Conflict {
        /// The member.
        field: String,
        /// Size by one.
        one: u64,
        /// Size by the other.
        other: u64,
    },
    /// A legacy definition is shorter than its five 32-bit fields.
    TooShort {
        /// Bytes found.
        len: u64,
    },
    /// A legacy definition has bytes behind the known fields that are not zero.
    UnknownFields {
        /// Offset of the first such byte in the definition.
        offset: u64,
    },
    /// A definition reaches outside its section.
    Outside,
    /// A slot of a map-in-map or program array is initialised with something that it cannot hold.
    Initial(&'static str),
}

impl fmt::Display for ObjError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.kind)
    }
}

impl std::error::Error for ObjError {}

impl fmt::Display for ObjErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjErrorKind::NotElf { magic } => {
                write!(
                    f,
                    "not an ELF file: it begins with {magic:02x?}; give an object compiled with `clang --target=bpf -c`"
                )
            }
            ObjErrorKind::Class32 => f.write_str(
                "a 32-bit ELF file; eBPF objects are 64-bit: compile with `clang --target=bpf -c`",
            ),
            ObjErrorKind::BigEndian => f.write_str(
                "a big-endian object; only little-endian ones can be used: compile with `--target=bpfel`",
            ),
            ObjErrorKind::Machine { found } => {
                write!(
                    f,
                    "an ELF file for machine {found}{}; eBPF is machine 247: compile with `clang --target=bpf -c`",
                    machine_name(*found)
                )
            }
            ObjErrorKind::FileType { found } => {
                write!(
                    f,
                    "ELF type {found}{}; an eBPF object is relocatable (type 1): compile with `-c`, without linking",
                    type_name(*found)
                )
            }
            ObjErrorKind::Malformed(what) => {
                write!(f, "damaged ELF file: {what}; build or copy the object anew")
            }
            ObjErrorKind::Oversized { claimed, file } => {
                write!(
                    f,
                    "damaged ELF file: its sections claim {claimed} bytes, the file has {file}; build or copy it anew"
                )
            }
            ObjErrorKind::NameEncoding => f.write_str("a name that is not UTF-8"),
            ObjErrorKind::CodeRange { start, end, section } => {
                write!(
                    f,
                    "code at {start:#x}..{end:#x} is no whole number of 8-byte instructions inside a section of {section:#x} bytes"
                )
            }
            ObjErrorKind::OverlappingFunctions { other } => {
                write!(f, "shares instructions with function {other:?}")
            }
            ObjErrorKind::Btf(what) => write!(f, "bad type information: {what}; compile anew with `-g`"),
            ObjErrorKind::Map(rule) => write!(f, "bad map definition: {rule}"),
            ObjErrorKind::Duplicate(what) => write!(f, "more than one {what} section"),
            ObjErrorKind::Extern(what) => write!(f, "bad extern: {what}"),
        }
    }
}

impl fmt::Display for MapRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MapRule::NoBtf => f.write_str("the object has no BTF; compile with `-g`"),
            MapRule::NoType => f.write_str("no variable of that name in the BTF of the section"),
            MapRule::Shape { field, expected } => write!(f, "member {field:?} should be {expected}"),
            MapRule::Conflict { field, one, other } => {
                write!(f, "member {field:?} says {one} where another says {other}")
            }
            MapRule::TooShort { len } => {
                write!(f, "{len} bytes are too short: type, key_size, value_size and max_entries take 16")
            }
            MapRule::UnknownFields { offset } => write!(f, "unknown field at byte {offset} is not zero"),
            MapRule::Outside => f.write_str("reaches outside its section"),
            MapRule::Initial(what) => write!(f, "initial value: {what}"),
        }
    }
}

fn machine_name(machine: u16) -> &'static str {
    match machine {
        0 => " (none)",
        3 => " (i386)",
        8 => " (MIPS)",
        21 => " (PowerPC64)",
        22 => " (S390)",
        40 => " (ARM)",
        62 => " (x86-64)",
        183 => " (AArch64)",
        243 => " (RISC-V)",
        258 => " (LoongArch)",
        263 => " (Solana sBPF)",
        _ => "",
    }
}

fn type_name(file_type: u16) -> &'static str {
    match file_type {
        2 => " (executable)",
        3 => " (shared object)",
        4 => " (core dump)",
        _ => "",
    }
}

/// A finding about one part of an object; the rest is usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where.
    pub place: Place,
    /// The program that cannot be used because of it; `None` when it concerns no program.
    pub program: Option<String>,
    /// What.
    pub kind: DiagnosticKind,
}

/// What a [`Diagnostic`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiagnosticKind {
    /// The section name is no row of the section table: the program has no type until the caller gives one.
    UnknownSection,
    /// The section name has a program type only by the rules of loaders before libbpf 1.0.
    OldSection {
        /// The name it is taken for.
        prefix: &'static str,
    },
    /// A data or custom section that the loader does not use.
    IgnoredSection,
    /// Relocations of a section that holds neither code nor maps.
    IgnoredRelocations {
        /// How many.
        count: usize,
    },
    /// A relocation that cannot be understood; binding the program fails there.
    BadRelocation(&'static str),
    /// `.BTF` could not be read, and nothing in the object needs it.
    Btf(String),
    /// `.BTF.ext` could not be read: no source lines, function types or CO-RE relocations.
    BtfExt(String),
    /// A struct_ops map whose definition cannot be read.
    StructOps(String),
    /// More findings than are kept.
    More {
        /// How many more.
        count: usize,
    },
    /// A legacy map definition has a tail that is not zero; the tail is kept apart.
    MapTail,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(program) = &self.program {
            write!(f, "program {program:?}: ")?;
        }
        self.kind.fmt(f)
    }
}

impl fmt::Display for DiagnosticKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiagnosticKind::UnknownSection => {
                f.write_str("no program type has this section name; name the type to load the program")
            }
            DiagnosticKind::OldSection { prefix } => {
                write!(f, "an old section name, taken for {prefix:?}; today's loaders want that name alone")
            }
            DiagnosticKind::IgnoredSection => f.write_str("section not used"),
            DiagnosticKind::IgnoredRelocations { count } => write!(f, "{count} relocations not used"),
            DiagnosticKind::BadRelocation(what) => write!(f, "relocation: {what}"),
            DiagnosticKind::Btf(what) => write!(f, "no type information: {what}"),
            DiagnosticKind::BtfExt(what) => write!(f, "no source lines or CO-RE relocations: {what}"),
            DiagnosticKind::StructOps(what) => write!(f, "struct_ops definition: {what}"),
            DiagnosticKind::More { count } => write!(f, "{count} more findings"),
            DiagnosticKind::MapTail => f.write_str("map definition has unknown trailing fields"),
        }
    }
}
