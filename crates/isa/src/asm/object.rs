//! [`AsmObject`]: what an assembly file says, as plain data: sections with their instructions or bytes, symbols,
//! relocations, map definitions and externs. The loader turns it into an object, and an ELF file into it.
//!
//! Names stand for themselves: a relocation names its symbol. What the assembler makes, and what the printer needs to
//! be read back to an equal value: section names are unique; symbols, maps and externs have unique names among them all;
//! every symbol that is referred to is one of them; symbols and relocations are in the order of their offsets.

use crate::insn::Insn;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// Relocation: 64-bit immediate of a two-slot load (`R_BPF_64_64`).
pub const R_BPF_64_64: u32 = 1;
/// Relocation: 64-bit word of data.
pub const R_BPF_64_ABS64: u32 = 2;
/// Relocation: 32-bit word of data.
pub const R_BPF_64_ABS32: u32 = 3;
/// Relocation: 32-bit word of data that loaders do not touch (BTF, DWARF).
pub const R_BPF_64_NODYLD32: u32 = 4;
/// Relocation: immediate of a call, in slots.
pub const R_BPF_64_32: u32 = 10;

/// The relocation types: number and name (LLVM's `BPF.def`).
pub const RELOC_TYPES: [(u32, &str); 5] = [
    (R_BPF_64_64, "R_BPF_64_64"),
    (R_BPF_64_ABS64, "R_BPF_64_ABS64"),
    (R_BPF_64_ABS32, "R_BPF_64_ABS32"),
    (R_BPF_64_NODYLD32, "R_BPF_64_NODYLD32"),
    (R_BPF_64_32, "R_BPF_64_32"),
];

/// A whole assembly file.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AsmObject {
    /// The licence that the kernel is told (section `license`), without the zero byte.
    pub license: Option<String>,
    /// Sections in the order of the file.
    pub sections: Vec<Section>,
    /// Map definitions in the order of the file.
    pub maps: Vec<MapDef>,
    /// What is used here and defined elsewhere.
    pub externs: Vec<Extern>,
}

impl AsmObject {
    /// The section with this name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|s| s.name == name)
    }
}

/// A section: code or data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    /// Name, as `SEC("…")` gives it.
    pub name: String,
    /// What it holds.
    pub contents: Contents,
    /// Alignment in bytes, a power of two.
    pub align: u32,
    /// Symbols defined in it, by offset.
    pub symbols: Vec<Symbol>,
    /// Relocations of it, by offset.
    pub relocs: Vec<Reloc>,
}

/// What a section holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Contents {
    /// Instructions, legal or not.
    Code(Vec<Insn>),
    /// Bytes that programs only read (`.rodata`).
    ReadOnly(Vec<u8>),
    /// Bytes that programs may write (`.data`).
    Data(Vec<u8>),
    /// This many zero bytes that take no room in the file (`.bss`).
    Bss(u64),
}

impl Contents {
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Contents::Code(insns) => insns.len() as u64 * 8,
            Contents::ReadOnly(bytes) | Contents::Data(bytes) => bytes.len() as u64,
            Contents::Bss(size) => *size,
        }
    }

    /// The word that names the kind in a `.section` line.
    pub fn word(&self) -> &'static str {
        match self {
            Contents::Code(_) => "code",
            Contents::ReadOnly(_) => "rodata",
            Contents::Data(_) => "data",
            Contents::Bss(_) => "bss",
        }
    }

    /// Empty contents of the kind that a section of this name usually has.
    pub fn usual(name: &str) -> Contents {
        let is =
            |base: &str| name == base || name.strip_prefix(base).is_some_and(|rest| rest.starts_with('.'));
        if is(".bss") {
            Contents::Bss(0)
        } else if is(".data") || matches!(name, "license" | "version" | "maps" | ".maps") {
            Contents::Data(Vec::new())
        } else if is(".rodata") || [".BTF", ".debug", ".llvm"].iter().any(|p| name.starts_with(p)) {
            Contents::ReadOnly(Vec::new())
        } else {
            Contents::Code(Vec::new())
        }
    }

    /// Alignment when none is given: 8 for code, 1 for data.
    pub fn usual_align(&self) -> u32 {
        if matches!(self, Contents::Code(_)) { 8 } else { 1 }
    }
}

/// Who sees a symbol (ELF binding).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[allow(missing_docs)]
pub enum Binding {
    #[default]
    Global,
    Local,
    Weak,
}

/// What a symbol names (ELF type).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum SymbolKind {
    Func,
    Object,
    NoType,
}

/// A symbol defined in a section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Symbol {
    /// Name, unique among the symbols, maps and externs of the object.
    pub name: String,
    /// What it names.
    pub kind: SymbolKind,
    /// Who sees it.
    pub binding: Binding,
    /// Hidden visibility: a global subprogram that is verified as a static one.
    pub hidden: bool,
    /// Bytes from the start of the section.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
    /// Program type, where the section's name does not say it.
    pub prog_type: Option<String>,
}

/// What a relocation refers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A symbol, map or extern.
    Symbol(String),
    /// A section's begin.
    Section(String),
}

impl Target {
    /// The name.
    pub fn name(&self) -> &str {
        match self {
            Target::Symbol(name) | Target::Section(name) => name,
        }
    }
}

/// A relocation. The addend is where the BPF target keeps it: in the bytes themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reloc {
    /// Bytes from the start of the section.
    pub offset: u64,
    /// Type: `R_BPF_…`.
    pub kind: u32,
    /// Whose value is put in.
    pub target: Target,
}

/// Shape of a map.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MapSpec {
    /// Type: `bpftool`'s word (`hash`, `percpu_array`) or a number in decimal.
    pub map_type: String,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Capacity.
    pub max_entries: u32,
    /// `BPF_F_…`.
    pub map_flags: u32,
    /// 1: pinned by name under the pin folder.
    pub pinning: u32,
    /// NUMA node.
    pub numa_node: u32,
    /// Type-specific (`BPF_MAP_TYPE_BLOOM_FILTER`: number of hash functions; arena: address).
    pub map_extra: u64,
}

/// A map definition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapDef {
    /// Name of the map's symbol.
    pub name: String,
    /// Section that holds the definition: `.maps`, `maps`, `maps/NAME`.
    pub section: String,
    /// Who sees it.
    pub binding: Binding,
    /// Its shape.
    pub spec: MapSpec,
    /// Shape of the maps inside (map-in-map).
    pub inner: Option<Box<MapSpec>>,
    /// Initial entries of a map-in-map or program array: index and symbol.
    pub values: Vec<(u32, String)>,
}

/// Section of map definitions when none is given.
pub const MAPS_SECTION: &str = ".maps";

impl MapDef {
    /// A map of this name and shape in `.maps`.
    pub fn new(name: &str, spec: MapSpec) -> MapDef {
        let (name, section) = (name.to_owned(), MAPS_SECTION.to_owned());
        MapDef { name, section, binding: Binding::Global, spec, inner: None, values: Vec::new() }
    }
}

/// A symbol that is used here and defined elsewhere: a kfunc, a kernel variable, a kconfig value, another object's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extern {
    /// Its name.
    pub name: String,
    /// What it names.
    pub kind: SymbolKind,
    /// Weak: it may be missing.
    pub weak: bool,
    /// `.ksyms` or `.kconfig`, where BTF says so.
    pub section: Option<String>,
}
