//! Declared maps: which sections hold definitions, and how each finds its name. The definitions themselves are read
//! by [`crate::maps_btf`] (`.maps`) and [`crate::maps_legacy`] (`maps`, `maps/NAME`).

use std::collections::{BTreeMap, HashMap};

use crate::elf::Symbol;
use crate::error::{DiagnosticKind, ObjError, Place};
use crate::functions::Functions;
use crate::object::MapSpec;
use crate::open::Opening;
use crate::{maps_btf, maps_legacy};

/// All maps, found by what refers to them.
#[derive(Default)]
pub(crate) struct Maps {
    pub(crate) list: Vec<MapSpec>,
    /// Declared maps by section and offset of the definition.
    at: BTreeMap<(usize, u64), usize>,
    /// Maps whose first value is a whole section.
    data: HashMap<usize, usize>,
    /// Sections of definitions.
    declared: Vec<usize>,
}

impl Maps {
    /// The map declared at this byte of a section.
    pub(crate) fn declared_at(&self, section: usize, offset: u64) -> Option<usize> {
        self.at.get(&(section, offset)).copied()
    }

    /// The map whose definition holds this byte of a section, or lies before it.
    pub(crate) fn last_declared_before(&self, section: usize, offset: u64) -> Option<usize> {
        self.at.range((section, 0)..=(section, offset)).next_back().map(|(_, &index)| index)
    }

    /// Whether a section holds map definitions.
    pub(crate) fn declares(&self, section: usize) -> bool {
        self.declared.contains(&section)
    }

    /// The map whose first value is this section.
    pub(crate) fn of_data(&self, section: usize) -> Option<usize> {
        self.data.get(&section).copied()
    }

    pub(crate) fn declare(&mut self, section: usize, spec: MapSpec) {
        self.at.insert((section, spec.offset), self.list.len());
        self.list.push(spec);
    }

    pub(crate) fn add_data(&mut self, section: usize, spec: MapSpec) {
        self.data.insert(section, self.list.len());
        self.list.push(spec);
    }

    /// Lets a section's addresses mean the value of a map that exists.
    pub(crate) fn alias_data(&mut self, section: usize, map: usize) {
        self.data.insert(section, map);
    }
}

pub(crate) fn read(opening: &mut Opening<'_>, functions: &Functions) -> Result<Maps, ObjError> {
    let mut maps = Maps::default();
    let btf_section = opening.elf.section(".maps").map(|(index, _)| index);
    if let Some(index) = btf_section {
        maps.declared.push(index);
        maps_btf::read(opening, index, &mut maps)?;
    }
    let numeric = opening.elf.sections.iter().any(|s| maps_legacy::is_numeric(s.name));
    for index in 0..opening.elf.sections.len() {
        let section = &opening.elf.sections[index];
        if is_legacy(section.name) && section.is_progbits() {
            maps.declared.push(index);
            maps_legacy::read(opening, index, numeric, &mut maps)?;
        }
    }
    maps_legacy::link_inner(&mut maps);
    if let Some(index) = btf_section {
        read_initial(opening, index, functions, &mut maps)?;
    }
    Ok(maps)
}

fn is_legacy(name: &str) -> bool {
    name == "maps" || name.starts_with("maps/")
}

/// Relocations of `.maps`: entries that are set when the map is made.
fn read_initial(
    opening: &mut Opening<'_>,
    section: usize,
    functions: &Functions,
    maps: &mut Maps,
) -> Result<(), ObjError> {
    let values = opening.btf.as_ref().map(|btf| maps_btf::values_offsets(btf, maps)).unwrap_or_default();
    for index in 0..opening.elf.sections.len() {
        let holder = &opening.elf.sections[index];
        if !holder.is_reloc() || holder.info as usize != section {
            continue;
        }
        for rel in opening.elf.relocations(index)? {
            if let Err((place, why)) = maps_btf::initial(opening, section, rel, functions, maps, &values) {
                opening.note(place, DiagnosticKind::BadRelocation(why));
            }
        }
    }
    Ok(())
}

/// Named symbols of a section, ascending by offset, one an offset (a global one before a local one).
pub(crate) fn symbols_of<'a, 'b>(opening: &'b Opening<'a>, section: usize) -> Vec<&'b Symbol<'a>> {
    let named = |s: &&Symbol<'_>| matches!(s.kind, 0 | 1) && !s.name.is_empty();
    let mut found: Vec<&Symbol<'_>> = opening.symbols_of(section).filter(named).collect();
    found.sort_by_key(|s| (s.value, s.bind == 0));
    found.dedup_by_key(|s| s.value);
    found
}

/// Place of a map definition.
pub(crate) fn place(section: &str, name: &str, offset: u64) -> Place {
    Place::section(section).symbol(name).at(offset)
}
