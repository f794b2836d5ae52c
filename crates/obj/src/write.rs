//! Objects → bytes of a relocatable ELF file, for the linker and the assembler.
//!
//! Sections come in the order given, each followed by its relocations; then the symbol table (local symbols first, as
//! ELF demands) and one string table. What always holds: the file reads back with [`crate::elf::Elf::parse`] to
//! the same sections, symbols and relocations.

use std::collections::HashMap;

/// An ELF file to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ElfFile {
    /// Sections but the null one and the tables of ELF itself.
    pub sections: Vec<OutSection>,
    /// Symbols but the null one.
    pub symbols: Vec<OutSymbol>,
}

/// A section to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutSection {
    /// Name.
    pub name: String,
    /// `sh_type`: 1 PROGBITS, 8 NOBITS.
    pub kind: u32,
    /// `sh_flags`.
    pub flags: u64,
    /// Alignment, a power of two.
    pub align: u64,
    /// Bytes in memory; those of `data` unless it is NOBITS.
    pub size: u64,
    /// Bytes in the file.
    pub data: Vec<u8>,
    /// Relocations.
    pub relocs: Vec<OutReloc>,
}

/// A relocation to be (`SHT_REL`: the addend lies in the bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutReloc {
    /// Byte offset in the section.
    pub offset: u64,
    /// Index into [`ElfFile::symbols`].
    pub symbol: usize,
    /// `R_BPF_*`.
    pub kind: u32,
}

/// A symbol to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutSymbol {
    /// Name; empty for section symbols.
    pub name: String,
    /// Index into [`ElfFile::sections`]; `None` for externs.
    pub section: Option<usize>,
    /// Offset in the section.
    pub value: u64,
    /// Bytes.
    pub size: u64,
    /// `STT_*`.
    pub kind: u8,
    /// `STB_*`.
    pub bind: u8,
    /// `STV_*`.
    pub visibility: u8,
}

/// The most sections that [`ElfFile::write`] takes: each may need another for its relocations, and their number has 16
/// bits.
pub const MAX_SECTIONS: usize = 32_000;

/// Header of a section as it is written.
#[derive(Clone, Copy, Default)]
struct Header {
    name: u32,
    kind: u32,
    flags: u64,
    offset: u64,
    size: u64,
    link: u32,
    info: u32,
    align: u64,
    entry: u64,
}

const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;
const NOBITS: u32 = 8;
const REL: u32 = 9;

/// Names, each once.
struct Strings {
    bytes: Vec<u8>,
    known: HashMap<String, u32>,
}

impl Strings {
    fn add(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if let Some(&at) = self.known.get(text) {
            return at;
        }
        let at = self.bytes.len() as u32;
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        self.known.insert(text.to_owned(), at);
        at
    }
}

impl ElfFile {
    /// The file's bytes. Cost: linear in its size. There may be [`MAX_SECTIONS`] sections.
    pub fn write(&self) -> Vec<u8> {
        let mut out = vec![0; 64];
        let mut strings = Strings { bytes: vec![0], known: HashMap::new() };
        let mut headers = vec![Header::default()];
        let (order, positions) = self.symbol_order();
        let relocated = self.sections.iter().filter(|s| !s.relocs.is_empty()).count();
        let symtab = 1 + self.sections.len() + relocated;
        for section in &self.sections {
            headers.push(body(&mut out, &mut strings, section));
        }
        for (index, section) in self.sections.iter().enumerate().filter(|s| !s.1.relocs.is_empty()) {
            let mut header = Header {
                name: strings.add(&format!(".rel{}", section.name)),
                kind: REL,
                flags: 0x40,
                link: symtab as u32,
                info: index as u32 + 1,
                align: 8,
                entry: 16,
                ..Header::default()
            };
            begin(&mut out, &mut header);
            for reloc in &section.relocs {
                let info = (positions[reloc.symbol] as u64 + 1) << 32 | u64::from(reloc.kind);
                out.extend(reloc.offset.to_le_bytes());
                out.extend(info.to_le_bytes());
            }
            headers.push(end(&out, header));
        }
        headers.push(self.symbol_table(&mut out, &mut strings, &order, symtab as u32 + 1));
        let mut header = Header { name: strings.add(".strtab"), kind: STRTAB, align: 1, ..Header::default() };
        begin(&mut out, &mut header);
        out.extend_from_slice(&strings.bytes);
        headers.push(end(&out, header));
        finish(out, &headers)
    }

    /// Symbols in the order of the table, and the place of each in it.
    fn symbol_order(&self) -> (Vec<usize>, Vec<usize>) {
        let mut order: Vec<usize> = (0..self.symbols.len()).collect();
        order.sort_by_key(|&i| self.symbols[i].bind != 0);
        let mut positions = vec![0; order.len()];
        for (position, &index) in order.iter().enumerate() {
            positions[index] = position;
        }
        (order, positions)
    }

    fn symbol_table(&self, out: &mut Vec<u8>, strings: &mut Strings, order: &[usize], strtab: u32) -> Header {
        let locals = self.symbols.iter().filter(|s| s.bind == 0).count();
        let mut header = Header {
            name: strings.add(".symtab"),
            kind: SYMTAB,
            link: strtab,
            info: locals as u32 + 1,
            align: 8,
            entry: 24,
            ..Header::default()
        };
        begin(out, &mut header);
        out.extend([0; 24]);
        for &index in order {
            let symbol = &self.symbols[index];
            let section = symbol.section.map_or(0, |s| s as u16 + 1);
            out.extend(strings.add(&symbol.name).to_le_bytes());
            out.push(symbol.bind << 4 | symbol.kind);
            out.push(symbol.visibility);
            out.extend(section.to_le_bytes());
            out.extend(symbol.value.to_le_bytes());
            out.extend(symbol.size.to_le_bytes());
        }
        end(out, header)
    }
}

fn body(out: &mut Vec<u8>, strings: &mut Strings, section: &OutSection) -> Header {
    let mut header = Header {
        name: strings.add(&section.name),
        kind: section.kind,
        flags: section.flags,
        align: section.align.max(1),
        ..Header::default()
    };
    begin(out, &mut header);
    if section.kind == NOBITS {
        header.size = section.size;
        return header;
    }
    out.extend_from_slice(&section.data);
    end(out, header)
}

fn begin(out: &mut Vec<u8>, header: &mut Header) {
    let align = usize::try_from(header.align).unwrap_or(1).clamp(1, 4096);
    out.resize(out.len().next_multiple_of(align), 0);
    header.offset = out.len() as u64;
}

fn end(out: &[u8], mut header: Header) -> Header {
    header.size = out.len() as u64 - header.offset;
    header
}

/// Appends the section headers and fills the file header in.
fn finish(mut out: Vec<u8>, headers: &[Header]) -> Vec<u8> {
    out.resize(out.len().next_multiple_of(8), 0);
    let table = out.len() as u64;
    for h in headers {
        out.extend(h.name.to_le_bytes());
        out.extend(h.kind.to_le_bytes());
        for word in [h.flags, 0, h.offset, h.size] {
            out.extend(word.to_le_bytes());
        }
        out.extend(h.link.to_le_bytes());
        out.extend(h.info.to_le_bytes());
        out.extend(h.align.to_le_bytes());
        out.extend(h.entry.to_le_bytes());
    }
    let mut head = Vec::with_capacity(64);
    head.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    for half in [1u16, 247] {
        head.extend(half.to_le_bytes());
    }
    head.extend(1u32.to_le_bytes());
    for word in [0u64, 0, table] {
        head.extend(word.to_le_bytes());
    }
    head.extend(0u32.to_le_bytes());
    for half in [64u16, 0, 0, 64, headers.len() as u16, headers.len() as u16 - 1] {
        head.extend(half.to_le_bytes());
    }
    out[..64].copy_from_slice(&head);
    out
}
