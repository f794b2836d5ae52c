//! [`AsmObject`] → ELF file.

use std::collections::HashMap;
use std::fmt;

use skep_btf::BuildError;
use skep_isa::Insn;
use skep_isa::asm::{AsmObject, Binding, Contents, MAPS_SECTION, Section, SymbolKind, Target};

use super::types::{self, MapPlace, Types};
use crate::elf::R_BPF_64_ABS64;
use crate::write::{ElfFile, OutReloc, OutSection, OutSymbol};

const PROGBITS: u32 = 1;
const NOBITS: u32 = 8;

/// Why an assembled object makes no ELF file.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum AsmElfError {
    /// No map type has this name.
    MapType { map: String, word: String },
    /// A map outside of `.maps`: structs of older layouts are written as data, not as `.map`.
    MapSection { map: String, section: String },
    /// The types do not fit into BTF.
    Types(BuildError),
    /// A relocation or map entry names what nothing defines.
    Undefined { name: String },
}

impl fmt::Display for AsmElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AsmElfError::MapType { map, word } => {
                write!(
                    f,
                    "map {map}: no map type is called {word}; use bpftool's word, such as hash, or the number"
                )
            }
            AsmElfError::MapSection { map, section } => write!(
                f,
                "map {map}: definitions with .map go to .maps; write those of section {section} as data in it"
            ),
            AsmElfError::Types(e) => write!(f, "the types of maps and externs: {e}"),
            AsmElfError::Undefined { name } => write!(f, "{name} is referred to and defined nowhere"),
        }
    }
}

impl std::error::Error for AsmElfError {}

/// Makes an ELF file. Types for maps and externs are made, unless the object brings a section `.BTF` of its own.
/// Cost: linear in the object.
///
/// # Errors
/// See [`AsmElfError`].
pub fn to_elf(object: &AsmObject) -> Result<ElfFile, AsmElfError> {
    check_maps(object)?;
    let types = if object.section(".BTF").is_some() {
        None
    } else {
        types::make(object).map_err(AsmElfError::Types)?
    };
    let mut writer = Writer::default();
    writer.sections(object);
    writer.symbols(object);
    if let Some(types) = types {
        writer.maps(object, &types.places);
        writer.types(types);
    }
    writer.relocs(object)?;
    Ok(writer.file)
}

fn check_maps(object: &AsmObject) -> Result<(), AsmElfError> {
    for map in &object.maps {
        let specs = [Some(&map.spec), map.inner.as_deref()];
        for spec in specs.into_iter().flatten() {
            if types::map_type(&spec.map_type).is_none() {
                return Err(AsmElfError::MapType { map: map.name.clone(), word: spec.map_type.clone() });
            }
        }
        if map.section != MAPS_SECTION {
            return Err(AsmElfError::MapSection { map: map.name.clone(), section: map.section.clone() });
        }
    }
    Ok(())
}

#[derive(Default)]
struct Writer {
    file: ElfFile,
    /// Index of the section of each name.
    sections: HashMap<String, usize>,
    /// Index of the symbol of each name, and of each section's own symbol.
    symbols: HashMap<String, usize>,
    section_symbols: HashMap<String, usize>,
}

impl Writer {
    fn add_section(&mut self, section: OutSection) -> usize {
        let index = self.file.sections.len();
        self.sections.insert(section.name.clone(), index);
        self.file.symbols.push(OutSymbol { section: Some(index), kind: 3, ..OutSymbol::default() });
        self.section_symbols.insert(section.name.clone(), self.file.symbols.len() - 1);
        self.file.sections.push(section);
        index
    }

    fn add_symbol(&mut self, symbol: OutSymbol) {
        self.symbols.insert(symbol.name.clone(), self.file.symbols.len());
        self.file.symbols.push(symbol);
    }

    fn sections(&mut self, object: &AsmObject) {
        for section in &object.sections {
            let index = self.add_section(out_section(section));
            for symbol in &section.symbols {
                self.add_symbol(OutSymbol {
                    name: symbol.name.clone(),
                    section: Some(index),
                    value: symbol.offset,
                    size: symbol.size,
                    kind: kind(symbol.kind),
                    bind: bind(symbol.binding),
                    visibility: if symbol.hidden { 2 } else { 0 },
                });
            }
        }
        if let Some(license) = &object.license {
            let data: Vec<u8> = license.bytes().chain([0]).collect();
            let (name, size) = ("license".to_owned(), data.len() as u64);
            let (flags, align, relocs) = (3, 1, Vec::new());
            self.add_section(OutSection { name, kind: PROGBITS, flags, align, size, data, relocs });
        }
    }

    fn symbols(&mut self, object: &AsmObject) {
        for e in &object.externs {
            let bind = if e.weak { 2 } else { 1 };
            let name = e.name.clone();
            // Compilers give externs no type.
            self.add_symbol(OutSymbol { name, bind, ..OutSymbol::default() });
        }
    }

    fn maps(&mut self, object: &AsmObject, places: &[MapPlace]) {
        let Some(size) = places.last().map(|p| p.offset + p.size) else { return };
        let index = self.add_section(OutSection {
            name: MAPS_SECTION.to_owned(),
            kind: PROGBITS,
            flags: 3,
            align: 8,
            size,
            data: vec![0; size as usize],
            relocs: Vec::new(),
        });
        for (map, place) in object.maps.iter().zip(places) {
            self.add_symbol(OutSymbol {
                name: map.name.clone(),
                section: Some(index),
                value: place.offset,
                size: place.size,
                kind: 1,
                bind: bind(map.binding),
                visibility: 0,
            });
        }
        let places = object.maps.iter().zip(places);
        let values = places.flat_map(|(m, p)| m.values.iter().map(move |v| (p.offset + p.values, v)));
        for (base, (key, name)) in values {
            if let Some(&symbol) = self.symbols.get(name) {
                let offset = base + u64::from(*key) * 8;
                self.file.sections[index].relocs.push(OutReloc { offset, symbol, kind: R_BPF_64_ABS64 });
            }
        }
    }

    fn types(&mut self, types: Types) {
        let size = types.btf.len() as u64;
        let (name, relocs) = (".BTF".to_owned(), Vec::new());
        let section = OutSection { name, kind: PROGBITS, flags: 0, align: 4, size, data: types.btf, relocs };
        self.add_section(section);
    }

    fn relocs(&mut self, object: &AsmObject) -> Result<(), AsmElfError> {
        for section in &object.sections {
            let Some(&index) = self.sections.get(&section.name) else { continue };
            for reloc in &section.relocs {
                let known = match &reloc.target {
                    Target::Symbol(name) => self.symbols.get(name),
                    Target::Section(name) => self.section_symbols.get(name),
                };
                let undefined = || AsmElfError::Undefined { name: reloc.target.name().to_owned() };
                let symbol = *known.ok_or_else(undefined)?;
                self.file.sections[index].relocs.push(OutReloc {
                    offset: reloc.offset,
                    symbol,
                    kind: reloc.kind,
                });
            }
        }
        Ok(())
    }
}

fn out_section(section: &Section) -> OutSection {
    let loaded = !section.name.starts_with(".BTF") && !section.name.starts_with(".debug");
    let (flags, data) = match &section.contents {
        Contents::Code(insns) => (6, Insn::slice_to_bytes(insns)),
        Contents::ReadOnly(data) => (if loaded { 2 } else { 0 }, data.clone()),
        Contents::Data(data) => (3, data.clone()),
        Contents::Bss(_) => (3, Vec::new()),
    };
    OutSection {
        name: section.name.clone(),
        kind: if matches!(section.contents, Contents::Bss(_)) { NOBITS } else { PROGBITS },
        flags,
        align: section.align.into(),
        size: section.contents.size(),
        data,
        relocs: Vec::new(),
    }
}

fn kind(kind: SymbolKind) -> u8 {
    match kind {
        SymbolKind::NoType => 0,
        SymbolKind::Object => 1,
        SymbolKind::Func => 2,
    }
}

fn bind(binding: Binding) -> u8 {
    match binding {
        Binding::Local => 0,
        Binding::Global => 1,
        Binding::Weak => 2,
    }
}
