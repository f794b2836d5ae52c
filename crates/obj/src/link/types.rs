//! BTF and `.BTF.ext` of the result: merged types, one data section for each section, moved records.

use std::collections::{BTreeMap, HashMap, HashSet};

use skep_btf::{
    Btf, BtfBuilder, BtfExt, BuildError, ExtSection, FuncLinkage, Kind, Type, VarLinkage, VarSecinfo,
};

use super::Input;
use super::compat;
use super::error::{LinkError, LinkErrorKind};
use super::sections::{Layout, Placed};
use super::symbols::Symbols;
use crate::error::Place;
use crate::write::{ElfFile, OutSection};

pub(crate) fn merge(
    inputs: &[Input<'_>],
    layout: &Layout,
    symbols: &Symbols,
    out: &mut ElfFile,
) -> Result<(), LinkError> {
    if inputs.iter().all(|i| i.btf.is_none()) {
        return Ok(());
    }
    let mut merging = Merging { inputs, layout, symbols, builder: BtfBuilder::new(), ids: Vec::new() };
    for file in 0..inputs.len() {
        merging.append(file)?;
    }
    merging.sections(out)?;
    // Records add strings to the BTF, which is final only after them.
    let ext = merging.ext()?;
    let btf = merging.check()?;
    out.sections.push(table(".BTF", btf));
    if let Some(ext) = ext {
        out.sections.push(table(".BTF.ext", ext));
    }
    Ok(())
}

fn table(name: &str, data: Vec<u8>) -> OutSection {
    OutSection {
        name: name.to_owned(),
        kind: 1,
        align: 4,
        size: data.len() as u64,
        data,
        ..OutSection::default()
    }
}

struct Merging<'a, 'b> {
    inputs: &'a [Input<'b>],
    layout: &'a Layout,
    symbols: &'a Symbols,
    builder: BtfBuilder,
    /// Id in the result of each input's ids.
    ids: Vec<Vec<u32>>,
}

fn btf_error(file: usize) -> impl Fn(BuildError) -> LinkError {
    move |e| LinkError { file, place: Place::section(".BTF"), kind: LinkErrorKind::Btf(e.to_string()) }
}

impl Merging<'_, '_> {
    /// Whether a name that is extern in one file is defined in another.
    fn is_defined(&self, name: &str) -> bool {
        self.symbols.globals.get(name).is_some_and(|m| m.defined)
    }

    /// Adds a file's types. Externs that the link resolves become what they mean, so that they merge with it.
    fn append(&mut self, file: usize) -> Result<(), LinkError> {
        let Some(btf) = &self.inputs[file].btf else {
            self.ids.push(vec![0]);
            return Ok(());
        };
        let error = btf_error(file);
        let mut own = BtfBuilder::from_btf(btf);
        for (id, t) in btf.types() {
            match t {
                Type::Func(f) if f.linkage == FuncLinkage::Extern && self.is_defined(f.name) => {
                    own.set_func_linkage(id, FuncLinkage::Global).map_err(&error)?;
                }
                Type::Var(v) if v.linkage == VarLinkage::GlobalExtern && self.is_defined(v.name) => {
                    own.set_var_linkage(id, VarLinkage::GlobalAllocated).map_err(&error)?;
                }
                _ => {}
            }
        }
        let patched = Btf::parse(&own.emit()).map_err(|e| LinkError {
            file,
            place: Place::section(".BTF"),
            kind: LinkErrorKind::Btf(e.to_string()),
        })?;
        let ids = self.builder.append(&patched).map_err(&error)?;
        self.ids.push(ids);
        Ok(())
    }

    /// Gives each data section the variables of all files that the result keeps.
    fn sections(&mut self, out: &ElfFile) -> Result<(), LinkError> {
        let sizes: HashMap<&str, u64> = out.sections.iter().map(|s| (s.name.as_str(), s.size)).collect();
        let mut kept: BTreeMap<u32, Datasec> = BTreeMap::new();
        for file in 0..self.inputs.len() {
            let Some(btf) = &self.inputs[file].btf else { continue };
            for (id, t) in btf.types() {
                if let Type::Datasec(section) = t {
                    let merged = kept.entry(self.ids[file][id as usize]).or_insert_with(|| Datasec {
                        size: sizes.get(section.name).copied().unwrap_or(0) as u32,
                        ..Datasec::default()
                    });
                    self.variables(file, btf, section, out, merged);
                }
            }
        }
        for (id, mut section) in kept {
            section.vars.sort_by_key(|v| v.offset);
            self.builder.set_datasec(id, section.size, &section.vars).map_err(btf_error(0))?;
        }
        Ok(())
    }

    fn variables(
        &self,
        file: usize,
        btf: &Btf,
        section: skep_btf::Datasec<'_>,
        out: &ElfFile,
        merged: &mut Datasec,
    ) {
        let elf = &self.inputs[file].elf;
        let home = elf.section(section.name).map(|(index, _)| index);
        let placed = home.and_then(|index| self.layout.place(file, index));
        for var in section.vars {
            let id = self.ids[file][var.type_id as usize];
            let (name, is_static, is_extern) = match btf.type_by_id(var.type_id) {
                Some(Type::Var(v)) => {
                    (v.name, v.linkage == VarLinkage::Static, v.linkage == VarLinkage::GlobalExtern)
                }
                Some(Type::Func(f)) => (f.name, false, f.linkage == FuncLinkage::Extern),
                _ => continue,
            };
            let kept = if is_static {
                let moved = placed.map_or(0, |p| p.offset as u32);
                Some(VarSecinfo { type_id: id, offset: var.offset.saturating_add(moved), size: var.size })
            } else if is_extern {
                let first = !self.is_defined(name) && merged.externs.insert(name.to_owned());
                first.then_some(VarSecinfo { type_id: id, offset: 0, size: var.size })
            } else {
                self.global(file, name, out).map(|offset| VarSecinfo { type_id: id, offset, size: var.size })
            };
            merged.vars.extend(kept);
        }
    }

    /// Offset in the result of a global variable that `file` defines; `None` if another definition was chosen.
    fn global(&self, file: usize, name: &str, out: &ElfFile) -> Option<u32> {
        let meaning = self.symbols.globals.get(name).filter(|m| m.defined && m.file == file)?;
        let symbol = self.symbols.out(file, meaning.symbol)?;
        u32::try_from(out.symbols[symbol].value).ok()
    }

    /// Holds each resolved extern against its definition; the bytes of the merged BTF.
    fn check(&self) -> Result<Vec<u8>, LinkError> {
        let bytes = self.builder.emit();
        let merged = Btf::parse(&bytes).map_err(|e| LinkError {
            file: 0,
            place: Place::section(".BTF"),
            kind: LinkErrorKind::Btf(e.to_string()),
        })?;
        let merged = std::sync::Arc::new(merged);
        let declared: Vec<HashMap<&str, Declared>> =
            self.inputs.iter().map(|i| i.btf.as_ref().map(declarations).unwrap_or_default()).collect();
        for (file, names) in declared.iter().enumerate() {
            for (name, here) in names.iter().filter(|n| n.1.is_extern) {
                // What stays extern is held against its first declaration.
                let Some(meaning) = self.symbols.globals.get(*name) else { continue };
                let Some(there) = declared[meaning.file].get(name) else { continue };
                let ours = self.ids[file][here.id as usize];
                let theirs = self.ids[meaning.file][there.id as usize];
                compat::check(&merged, name, here.in_maps || there.in_maps, ours, theirs).map_err(
                    |what| LinkError::symbol(file, name, LinkErrorKind::Types { other: meaning.file, what }),
                )?;
            }
        }
        Ok(bytes)
    }

    /// Records of all files, moved.
    fn ext(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        let mut merged = BtfExt::default();
        let mut strings: HashMap<String, u32> = HashMap::new();
        for file in 0..self.inputs.len() {
            let (Some(btf), Some(ext)) = (&self.inputs[file].btf, &self.inputs[file].ext) else { continue };
            let mut ext = ext.clone();
            let dead = self.symbols.dead_code(file, &self.inputs[file].elf);
            self.shift(file, btf, &mut ext, &dead);
            let builder = &mut self.builder;
            let mut failed = None;
            let mut string = |off: u32| {
                let text = btf.string(off).unwrap_or("");
                if let Some(&known) = strings.get(text) {
                    return known;
                }
                let added = builder.add_string(text).unwrap_or_else(|e| {
                    failed = Some(e);
                    0
                });
                strings.insert(text.to_owned(), added);
                added
            };
            let ids = &self.ids[file];
            ext.remap(|id| ids.get(id as usize).copied().unwrap_or(0), &mut string);
            if let Some(e) = failed {
                return Err(btf_error(file)(e));
            }
            append_sections(&mut merged.func_info, ext.func_info);
            append_sections(&mut merged.line_info, ext.line_info);
            append_sections(&mut merged.core_relo, ext.core_relo);
        }
        let empty = merged == BtfExt::default();
        Ok((!empty).then(|| merged.emit()))
    }

    /// Moves records to where their sections went, without those of dead code.
    fn shift(&self, file: usize, btf: &Btf, ext: &mut BtfExt, dead: &Ranges) {
        let elf = &self.inputs[file].elf;
        let place = |name: &str| {
            let code = elf.sections.iter().position(|s| s.name == name && s.is_code())?;
            Some((code, self.layout.place(file, code)?))
        };
        move_part(&mut ext.func_info, btf, dead, place, |r| &mut r.insn_off);
        move_part(&mut ext.line_info, btf, dead, place, |r| &mut r.insn_off);
        move_part(&mut ext.core_relo, btf, dead, place, |r| &mut r.insn_off);
    }
}

/// Byte ranges by section.
type Ranges = HashMap<usize, Vec<(u64, u64)>>;

/// A data section of the result.
#[derive(Default)]
struct Datasec {
    size: u32,
    vars: Vec<VarSecinfo>,
    externs: HashSet<String>,
}

/// A global function or variable as BTF declares it.
struct Declared {
    id: u32,
    is_extern: bool,
    in_maps: bool,
}

fn declarations(btf: &Btf) -> HashMap<&str, Declared> {
    let mut maps = HashSet::new();
    if let Some(Type::Datasec(section)) =
        btf.find_by_name_kind(".maps", Kind::Datasec).and_then(|id| btf.type_by_id(id))
    {
        maps.extend(section.vars.map(|v| v.type_id));
    }
    let mut out = HashMap::new();
    for (id, t) in btf.types() {
        let (name, is_extern) = match t {
            Type::Func(f) if f.linkage != FuncLinkage::Static => (f.name, f.linkage == FuncLinkage::Extern),
            Type::Var(v) if v.linkage != VarLinkage::Static => {
                (v.name, v.linkage == VarLinkage::GlobalExtern)
            }
            _ => continue,
        };
        out.insert(name, Declared { id, is_extern, in_maps: maps.contains(&id) });
    }
    out
}

fn move_part<T>(
    part: &mut Vec<ExtSection<T>>,
    btf: &Btf,
    dead: &Ranges,
    place: impl Fn(&str) -> Option<(usize, Placed)>,
    offset: impl Fn(&mut T) -> &mut u32,
) {
    part.retain_mut(|section| {
        let Some((index, placed)) = place(section.section(btf)) else { return false };
        let gone = dead.get(&index).map_or(&[][..], Vec::as_slice);
        section.records.retain_mut(|record| {
            let at = offset(record);
            let alive = !gone.iter().any(|&(from, to)| (from..to).contains(&u64::from(*at)));
            *at = at.saturating_add(placed.offset as u32);
            alive
        });
        true
    });
}

/// Puts records of one section together, in the order of the files and so of their offsets.
fn append_sections<T>(merged: &mut Vec<ExtSection<T>>, more: Vec<ExtSection<T>>) {
    for section in more {
        match merged.iter_mut().find(|m| m.sec_name_off == section.sec_name_off) {
            Some(known) => known.records.extend(section.records),
            None => merged.push(section),
        }
    }
}
