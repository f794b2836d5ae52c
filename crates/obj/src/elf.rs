//! ELF as far as eBPF needs it: bytes → checked header, sections, symbols, relocations.
//!
//! The `object` crate reads the tables; this file holds them to the rules of an eBPF object (64-bit, little-endian,
//! machine 247 or none, relocatable) and to bounds. What always holds of an [`Elf`]: names are UTF-8, section data lie in the
//! file, all sections together claim no more bytes than the file has, and every symbol's section exists.

use std::ffi::CStr;

use object::LittleEndian as LE;
use object::elf;
use object::read::elf::{FileHeader as _, SectionHeader as _, SectionTable, Sym as _};

use crate::error::{ObjError, ObjErrorKind, Place};

type Header = elf::FileHeader64<LE>;

/// `R_BPF_NONE`.
pub const R_BPF_NONE: u32 = 0;
/// `R_BPF_64_64`: `ldimm64` of a symbol.
pub const R_BPF_64_64: u32 = 1;
/// `R_BPF_64_ABS64`: eight bytes of data.
pub const R_BPF_64_ABS64: u32 = 2;
/// `R_BPF_64_ABS32`: four bytes of data.
pub const R_BPF_64_ABS32: u32 = 3;
/// `R_BPF_64_NODYLD32`: four bytes that no loader touches (`.BTF`, `.BTF.ext`).
pub const R_BPF_64_NODYLD32: u32 = 4;
/// `R_BPF_64_32`: a call.
pub const R_BPF_64_32: u32 = 10;

/// A checked ELF file. Cheap: borrows the bytes.
#[derive(Debug)]
pub struct Elf<'a> {
    /// All sections; index 0 is the null section.
    pub sections: Vec<Section<'a>>,
    /// All symbols; index 0 is the null symbol.
    pub symbols: Vec<Symbol<'a>>,
}

/// A section.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    /// Its name.
    pub name: &'a str,
    /// `sh_type`: 1 PROGBITS, 8 NOBITS, …
    pub kind: u32,
    /// `sh_flags`: 1 write, 2 alloc, 4 exec.
    pub flags: u64,
    /// Bytes in memory; for NOBITS more than [`Section::data`] holds.
    pub size: u64,
    /// Bytes in the file.
    pub data: &'a [u8],
    /// `sh_link`.
    pub link: u32,
    /// `sh_info`.
    pub info: u32,
    /// `sh_addralign`.
    pub align: u64,
    /// Offset in the file.
    pub offset: u64,
}

impl Section<'_> {
    /// Occupies memory without bytes in the file (`SHT_NOBITS`).
    pub fn is_nobits(&self) -> bool {
        self.kind == 8
    }

    /// Holds bytes of the program (`SHT_PROGBITS`).
    pub fn is_progbits(&self) -> bool {
        self.kind == 1
    }

    /// Holds instructions (`SHF_EXECINSTR` and `SHT_PROGBITS`).
    pub fn is_code(&self) -> bool {
        self.is_progbits() && self.flags & 4 != 0
    }

    /// Holds relocations (`SHT_REL` or `SHT_RELA`).
    pub fn is_reloc(&self) -> bool {
        matches!(self.kind, 4 | 9)
    }
}

/// Where a symbol is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// Not here: an extern.
    Undefined,
    /// In the section with this index.
    Section(usize),
    /// A number, not an address.
    Absolute,
    /// A tentative definition (`SHN_COMMON`).
    Common,
}

/// A symbol.
#[derive(Clone, Debug)]
pub struct Symbol<'a> {
    /// Its name; empty for section symbols.
    pub name: &'a str,
    /// Offset in its section.
    pub value: u64,
    /// Bytes.
    pub size: u64,
    /// `STT_*`: 0 none, 1 object, 2 function, 3 section, 4 file.
    pub kind: u8,
    /// `STB_*`: 0 local, 1 global, 2 weak.
    pub bind: u8,
    /// `STV_*`: 0 default, 1 internal, 2 hidden, 3 protected.
    pub visibility: u8,
    /// Where it is defined.
    pub home: Home,
}

impl Symbol<'_> {
    /// The section it is defined in.
    pub fn section(&self) -> Option<usize> {
        match self.home {
            Home::Section(index) => Some(index),
            _ => None,
        }
    }

    /// Typed as a function (`STT_FUNC`).
    pub fn is_func(&self) -> bool {
        self.kind == 2
    }

    /// Stands for a section (`STT_SECTION`).
    pub fn is_section(&self) -> bool {
        self.kind == 3
    }

    /// Visible to other objects: global or weak.
    pub fn is_global(&self) -> bool {
        self.bind != 0
    }

    /// Weak.
    pub fn is_weak(&self) -> bool {
        self.bind == 2
    }
}

/// A relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rel {
    /// Byte offset in the section that it changes.
    pub offset: u64,
    /// Index into [`Elf::symbols`]; checked.
    pub symbol: usize,
    /// `R_BPF_*`.
    pub kind: u32,
    /// Explicit addend (`SHT_RELA`), 0 otherwise.
    pub addend: i64,
}

fn malformed(place: Place, what: &'static str) -> ObjError {
    ObjError { place, kind: ObjErrorKind::Malformed(what) }
}

fn refuse(kind: ObjErrorKind) -> ObjError {
    ObjError { place: Place::file(), kind }
}

/// The rules of the identification bytes and header, in the order in which they help most.
fn check_header(bytes: &[u8]) -> Result<(), ObjError> {
    if !bytes.starts_with(b"\x7fELF") {
        return Err(refuse(ObjErrorKind::NotElf { magic: bytes.iter().take(4).copied().collect() }));
    }
    if bytes.len() < 64 {
        return Err(malformed(Place::file().at(bytes.len() as u64), "it ends inside the ELF header"));
    }
    let big = bytes[5] == 2;
    let half = |at: usize| {
        let two = [bytes[at], bytes[at + 1]];
        if big { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) }
    };
    let (file_type, machine) = (half(16), half(18));
    // Compilers before LLVM 3.9 named no machine.
    if machine != 247 && machine != 0 {
        return Err(refuse(ObjErrorKind::Machine { found: machine }));
    }
    if bytes[4] != 2 {
        return Err(refuse(ObjErrorKind::Class32));
    }
    if big {
        return Err(refuse(ObjErrorKind::BigEndian));
    }
    if file_type != 1 {
        return Err(refuse(ObjErrorKind::FileType { found: file_type }));
    }
    Ok(())
}

impl<'a> Elf<'a> {
    /// Reads and checks the tables. Cost: linear in the number of sections and symbols; no section data are copied.
    pub fn parse(bytes: &'a [u8]) -> Result<Elf<'a>, ObjError> {
        check_header(bytes)?;
        let broken = |what| move |_| malformed(Place::file(), what);
        let header = Header::parse(bytes).map_err(broken("ELF version or header unknown"))?;
        let table = header
            .sections(LE, bytes)
            .map_err(broken("the section table or the table of section names lies outside the file"))?;
        let sections = read_sections(bytes, &table)?;
        let symbols = read_symbols(bytes, &table, sections.len())?;
        Ok(Elf { sections, symbols })
    }

    /// The section of this name; the first if there are several.
    pub fn section(&self, name: &str) -> Option<(usize, &Section<'a>)> {
        self.sections.iter().enumerate().find(|(_, s)| s.name == name)
    }

    /// Relocations held by section `index` (a REL or RELA section), in file order. Symbol indices are checked.
    pub fn relocations(&self, index: usize) -> Result<Vec<Rel>, ObjError> {
        let section = &self.sections[index];
        let size = if section.kind == 4 { 24 } else { 16 };
        if !section.data.len().is_multiple_of(size) {
            return Err(malformed(Place::section(section.name), "relocations of broken length"));
        }
        section
            .data
            .chunks_exact(size)
            .enumerate()
            .map(|(i, raw)| self.relocation(section, i * size, raw))
            .collect()
    }

    fn relocation(&self, section: &Section<'_>, at: usize, raw: &[u8]) -> Result<Rel, ObjError> {
        let word =
            |at: usize| raw.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
        let info = word(8);
        let rel = Rel {
            offset: word(0),
            symbol: (info >> 32) as usize,
            kind: info as u32,
            addend: word(16) as i64,
        };
        if rel.symbol >= self.symbols.len() {
            return Err(malformed(Place::section(section.name).at(at as u64), "relocation without symbol"));
        }
        Ok(rel)
    }
}

fn read_sections<'a>(
    bytes: &'a [u8],
    table: &SectionTable<'a, Header, &'a [u8]>,
) -> Result<Vec<Section<'a>>, ObjError> {
    let names = name_table(bytes, table)?;
    let mut claimed = 0u64;
    let mut sections = Vec::with_capacity(table.len());
    for (index, header) in table.enumerate() {
        let file_place = || Place::file().at(header.sh_offset(LE));
        let name = if index.0 == 0 { "" } else { name_at(names, header.sh_name(LE), file_place)? };
        let place = || Place::section(name).at(header.sh_offset(LE));
        let data = if index.0 == 0 {
            &[]
        } else {
            header.data(LE, bytes).map_err(|_| malformed(place(), "the section reaches outside the file"))?
        };
        claimed = claimed.saturating_add(data.len() as u64);
        sections.push(Section {
            name,
            kind: header.sh_type(LE).0,
            flags: header.sh_flags(LE).0,
            size: header.sh_size(LE),
            data,
            link: header.sh_link(LE),
            info: header.sh_info(LE),
            align: header.sh_addralign(LE),
            offset: header.sh_offset(LE),
        });
    }
    if claimed > bytes.len() as u64 {
        return Err(refuse(ObjErrorKind::Oversized { claimed, file: bytes.len() as u64 }));
    }
    Ok(sections)
}

fn read_symbols<'a>(
    bytes: &'a [u8],
    table: &SectionTable<'a, Header, &'a [u8]>,
    sections: usize,
) -> Result<Vec<Symbol<'a>>, ObjError> {
    let symbols = table.symbols(LE, bytes, elf::SHT_SYMTAB).map_err(|_| {
        malformed(Place::section(".symtab"), "the symbol table or its names lie outside the file")
    })?;
    let names = table.section(symbols.string_section()).and_then(|s| s.data(LE, bytes)).unwrap_or_default();
    let mut out = Vec::with_capacity(symbols.len());
    let mut total = 0;
    for (index, symbol) in symbols.enumerate() {
        let place = || Place::section(".symtab").at(index.0 as u64 * 24);
        let home = match symbols.symbol_section(LE, symbol, index) {
            Ok(Some(section)) if section.0 < sections => Home::Section(section.0),
            Ok(None) => home_without_section(symbol.st_shndx(LE).0),
            _ => return Err(malformed(place(), "a symbol lies in a section that does not exist")),
        };
        let name = name_at(names, symbol.st_name(LE), place)?;
        total += name.len();
        if total > MAX_NAMES {
            return Err(malformed(place(), "too many symbols of too long names"));
        }
        out.push(Symbol {
            name,
            value: symbol.st_value(LE),
            size: symbol.st_size(LE),
            kind: symbol.st_type().0,
            bind: symbol.st_bind().0,
            visibility: symbol.st_visibility().0,
            home,
        });
    }
    Ok(out)
}

fn home_without_section(shndx: u16) -> Home {
    match shndx {
        0xfff1 => Home::Absolute,
        0xfff2 => Home::Common,
        _ => Home::Undefined,
    }
}

/// Bytes of the table of section names.
fn name_table<'a>(bytes: &'a [u8], table: &SectionTable<'a, Header, &'a [u8]>) -> Result<&'a [u8], ObjError> {
    let header = Header::parse(bytes).and_then(|h| h.section_strings_index(LE, bytes));
    match header.and_then(|index| table.section(index)).and_then(|s| s.data(LE, bytes)) {
        Ok(data) => Ok(data),
        Err(_) if table.is_empty() => Ok(&[]),
        Err(_) => Err(malformed(Place::file(), "the table of section names lies outside the file")),
    }
}

/// Longest name that is read, so that many symbols with one endless name cost no time.
const MAX_NAME: usize = 4096;

/// Bytes of all symbols' names together, so that many symbols with one long name cost no memory.
const MAX_NAMES: usize = 16 << 20;

fn name_at(names: &[u8], at: u32, place: impl Fn() -> Place) -> Result<&str, ObjError> {
    if at == 0 {
        return Ok("");
    }
    let rest = names.get(at as usize..).unwrap_or_default();
    let rest = rest.get(..MAX_NAME).unwrap_or(rest);
    let name = CStr::from_bytes_until_nul(rest)
        .map_err(|_| malformed(place(), "a name lies outside the table of names or is endless"))?;
    name.to_str().map_err(|_| ObjError { place: place(), kind: ObjErrorKind::NameEncoding })
}
