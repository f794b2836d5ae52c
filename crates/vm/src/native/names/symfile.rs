//! An ELF file about code that is in memory: where it is, its symbols, and as DWARF its functions, source lines and frames.

use super::{Named, frames};
use gimli::write::{
    Address, AttributeValue, CommonInformationEntry, DebugFrame, DwarfUnit, EndianVec, FrameDescriptionEntry,
    FrameTable, LineProgram, LineString, Sections,
};
use gimli::{
    DW_AT_external, DW_AT_high_pc, DW_AT_language, DW_AT_low_pc, DW_AT_name, DW_AT_producer, DW_LANG_C99,
    DW_TAG_subprogram, Encoding, Format, LineEncoding, LittleEndian, Register,
};
use std::collections::BTreeMap;

const ENCODING: Encoding = Encoding { format: Format::Dwarf32, version: 4, address_size: 8 };

/// The file; `None` where it cannot be written (a program of more than 4 GB).
pub(super) fn write(named: &Named<'_>) -> Option<Vec<u8>> {
    let mut sections = vec![Section::code(named), Section::symbols(named), Section::strings(named)];
    sections.extend(dwarf(named).ok()?);
    Some(elf(sections))
}

/// The sections that speak of functions, lines and frames.
fn dwarf(named: &Named<'_>) -> gimli::write::Result<Vec<Section>> {
    let at = |offset| Address::Constant(named.start + offset);
    let mut dwarf = DwarfUnit::new(ENCODING);
    let len = named.bytes.len() as u64;
    let root = dwarf.unit.root();
    let source = named.lines.first().map_or(named.program, |l| l.file);
    let unit = dwarf.unit.get_mut(root);
    unit.set(DW_AT_name, AttributeValue::String(source.into()));
    unit.set(DW_AT_producer, AttributeValue::String(format!("Skep, {} tier", named.tier).into()));
    unit.set(DW_AT_language, AttributeValue::Language(DW_LANG_C99));
    unit.set(DW_AT_low_pc, AttributeValue::Address(at(0)));
    unit.set(DW_AT_high_pc, AttributeValue::Udata(len));
    for f in &named.functions {
        let id = dwarf.unit.add(root, DW_TAG_subprogram);
        let entry = dwarf.unit.get_mut(id);
        entry.set(DW_AT_name, AttributeValue::String(named.name(f, ".").into()));
        entry.set(DW_AT_external, AttributeValue::Flag(true));
        entry.set(DW_AT_low_pc, AttributeValue::Address(at(f.start)));
        entry.set(DW_AT_high_pc, AttributeValue::Udata(f.end - f.start));
    }
    if !named.lines.is_empty() {
        dwarf.unit.line_program = lines(named, source);
    }
    let mut written = Sections::new(EndianVec::new(LittleEndian));
    dwarf.write(&mut written)?;
    let mut sections = Vec::new();
    written.for_each(|id, data| {
        if !data.slice().is_empty() {
            sections.push(Section::data(id.name(), data.slice().to_vec()));
        }
        Ok::<(), gimli::write::Error>(())
    })?;
    if cfg!(target_arch = "x86_64") {
        let mut data = DebugFrame::from(EndianVec::new(LittleEndian));
        frame_table(named).write_debug_frame(&mut data)?;
        sections.push(Section::data(".debug_frame", data.slice().to_vec()));
    }
    Ok(sections)
}

fn lines(named: &Named<'_>, source: &str) -> LineProgram {
    let string = |s: &str| LineString::String(s.into());
    let mut program =
        LineProgram::new(ENCODING, LineEncoding::default(), string("."), None, string(source), None);
    let folder = program.default_directory();
    let mut files = BTreeMap::new();
    program.begin_sequence(Some(Address::Constant(named.start)));
    for l in &named.lines {
        let file = *files.entry(l.file).or_insert_with(|| program.add_file(string(l.file), folder, None));
        let row = program.row();
        row.address_offset = l.at;
        (row.file, row.line, row.column) = (file, l.line.into(), l.col.into());
        program.generate_row();
    }
    program.end_sequence(named.bytes.len() as u64);
    program
}

fn frame_table(named: &Named<'_>) -> FrameTable {
    let mut table = FrameTable::default();
    let mut entry = CommonInformationEntry::new(ENCODING, 1, -8, Register(16));
    frames::at_entry().into_iter().for_each(|rule| entry.add_instruction(rule));
    let cie = table.add_cie(entry);
    // What tail calls enter is entered by a call, as a function is.
    let mut starts: Vec<u64> = named.functions.iter().map(|f| f.start).collect();
    starts.extend(Some(named.bare).filter(|at| *at < named.bytes.len() as u64));
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).copied().chain([named.bytes.len() as u64]);
    for (start, end) in starts.iter().copied().zip(ends) {
        let code = named.bytes.get(start as usize..end as usize).unwrap_or_default();
        let mut entry = FrameDescriptionEntry::new(Address::Constant(named.start + start), code.len() as u32);
        frames::rules(code).into_iter().for_each(|(at, rule)| entry.add_instruction(at, rule));
        table.add_fde(cie, entry);
    }
    table
}

/// A section as the file's table has it.
struct Section {
    name: &'static str,
    kind: u32,
    flags: u64,
    addr: u64,
    /// Bytes in memory, where they are not the file's.
    size: u64,
    link: u32,
    info: u32,
    align: u64,
    entry: u64,
    data: Vec<u8>,
}

/// The sections in front of DWARF's.
const CODE: u16 = 1;
const STRINGS: u32 = 3;
const PROGBITS: u32 = 1;
const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;
const NOBITS: u32 = 8;
/// Bytes of the file's header, of a section's and of a symbol.
const HEADER: usize = 64;
const SYMBOL: u64 = 24;

impl Section {
    fn data(name: &'static str, data: Vec<u8>) -> Section {
        let size = data.len() as u64;
        Section { name, kind: PROGBITS, flags: 0, addr: 0, size, link: 0, info: 0, align: 1, entry: 0, data }
    }

    /// The code, which is in memory already.
    fn code(named: &Named<'_>) -> Section {
        let (addr, size) = (named.start, named.bytes.len() as u64);
        // Allocated, executable.
        Section { kind: NOBITS, flags: 6, addr, size, align: 16, ..Section::data(".text", Vec::new()) }
    }

    fn symbols(named: &Named<'_>) -> Section {
        let (mut data, mut name) = (vec![0; SYMBOL as usize], 1u32);
        for f in &named.functions {
            data.extend_from_slice(&name.to_le_bytes());
            // A global function.
            data.extend_from_slice(&[0x12, 0]);
            data.extend_from_slice(&CODE.to_le_bytes());
            data.extend_from_slice(&(named.start + f.start).to_le_bytes());
            data.extend_from_slice(&(f.end - f.start).to_le_bytes());
            name += named.name(f, ".").len() as u32 + 1;
        }
        let (link, info, align, entry) = (STRINGS, 1, 8, SYMBOL);
        Section { kind: SYMTAB, link, info, align, entry, ..Section::data(".symtab", data) }
    }

    fn strings(named: &Named<'_>) -> Section {
        let names = named.functions.iter().map(|f| format!("{}\0", named.name(f, ".")));
        let data = format!("\0{}", names.collect::<String>()).into_bytes();
        Section { kind: STRTAB, ..Section::data(".strtab", data) }
    }
}

/// The file around sections.
fn elf(mut sections: Vec<Section>) -> Vec<u8> {
    let mut names = b"\0".to_vec();
    let mut offsets = Vec::new();
    for name in sections.iter().map(|s| s.name).chain([".shstrtab"]) {
        offsets.push(names.len() as u32);
        names.extend_from_slice(name.as_bytes());
        names.push(0);
    }
    sections.push(Section { kind: STRTAB, ..Section::data(".shstrtab", names) });
    let mut out = vec![0; HEADER];
    let mut table = vec![0; HEADER];
    for (s, name) in sections.iter().zip(offsets) {
        out.resize(out.len().next_multiple_of(s.align as usize), 0);
        for word in [name, s.kind] {
            table.extend_from_slice(&word.to_le_bytes());
        }
        for word in [s.flags, s.addr, out.len() as u64, s.size] {
            table.extend_from_slice(&word.to_le_bytes());
        }
        for word in [s.link, s.info] {
            table.extend_from_slice(&word.to_le_bytes());
        }
        for word in [s.align, s.entry] {
            table.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&s.data);
    }
    out.resize(out.len().next_multiple_of(8), 0);
    let at = out.len() as u64;
    out.extend_from_slice(&table);
    let count = sections.len() as u16 + 1;
    out[..HEADER].copy_from_slice(&header(at, count));
    out
}

fn header(table: u64, sections: u16) -> [u8; HEADER] {
    // 64 bits, little-endian, version 1.
    let mut h = [0; HEADER];
    h[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    // Executable: addresses are final.
    h[16..18].copy_from_slice(&2u16.to_le_bytes());
    let machine: u16 = if cfg!(target_arch = "aarch64") {
        183
    } else if cfg!(target_arch = "riscv64") {
        243
    } else {
        62
    };
    h[18..20].copy_from_slice(&machine.to_le_bytes());
    h[20..24].copy_from_slice(&1u32.to_le_bytes());
    h[40..48].copy_from_slice(&table.to_le_bytes());
    h[52..54].copy_from_slice(&(HEADER as u16).to_le_bytes());
    h[58..60].copy_from_slice(&(HEADER as u16).to_le_bytes());
    h[60..62].copy_from_slice(&sections.to_le_bytes());
    h[62..64].copy_from_slice(&(sections - 1).to_le_bytes());
    h
}
