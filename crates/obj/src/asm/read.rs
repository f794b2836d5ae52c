//! ELF file → [`AsmObject`].

use std::collections::{HashMap, HashSet};

use skep_isa::Insn;
use skep_isa::asm::{
    AsmObject, Binding, Contents, Extern, MapDef, MapSpec, Reloc, Section, Symbol, SymbolKind, Target,
};
use skep_platform::map;

use crate::elf::{self, Elf, Home};
use crate::error::ObjError;
use crate::object::{ExternKind, MapOrigin, Object, Slot};

/// How much of an object file becomes text.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Detail {
    /// [`Detail::Readable`], unless the object would mean something else without its types: CO-RE records, configuration
    /// variables, `struct_ops`.
    #[default]
    Auto,
    /// Maps as definitions, no types: text to read and to write.
    Readable,
    /// Every byte that a loader looks at: maps and types as they are encoded.
    Exact,
}

/// Takes an object file apart. Names that several symbols have get a number behind. Cost: linear in the file.
///
/// # Errors
/// Those of [`Object::parse`].
pub fn from_elf(bytes: &[u8], detail: Detail) -> Result<AsmObject, ObjError> {
    let object = Object::parse(bytes)?;
    let elf = Elf::parse(bytes)?;
    let detail = match detail {
        Detail::Auto if needs_types(&object) => Detail::Exact,
        Detail::Auto => Detail::Readable,
        detail => detail,
    };
    let mut reader = Reader {
        elf: &elf,
        object: &object,
        detail,
        sections: HashMap::new(),
        names: HashMap::new(),
        relocs: HashMap::new(),
        referenced: HashSet::new(),
        by_section: HashMap::new(),
        places: HashMap::new(),
        maps: HashMap::new(),
    };
    reader.name_sections();
    reader.read_relocs()?;
    reader.name_symbols();
    Ok(reader.read())
}

/// Would the object mean something else with other types?
fn needs_types(object: &Object) -> bool {
    object.functions.iter().any(|f| !f.core.is_empty())
        || object.maps.iter().any(|m| matches!(m.origin, MapOrigin::StructOps(_) | MapOrigin::Kconfig))
}

struct Reader<'a> {
    elf: &'a Elf<'a>,
    object: &'a Object,
    detail: Detail,
    /// Name of each section that is kept.
    sections: HashMap<usize, String>,
    /// Name of each symbol.
    names: HashMap<usize, String>,
    relocs: HashMap<usize, Vec<elf::Rel>>,
    /// Symbols that relocations name.
    referenced: HashSet<usize>,
    /// Symbols of each section, in the order of the file.
    by_section: HashMap<usize, Vec<usize>>,
    /// The first symbol at each place: section and offset.
    places: HashMap<(usize, u64), usize>,
    /// Map definitions by the symbol that names them: index into [`Object::maps`].
    maps: HashMap<usize, usize>,
}

/// A longer licence section is data like any other.
const MAX_LICENSE: usize = 4096;

/// `name`, or with a number behind when it is taken.
fn unique(taken: &mut HashSet<String>, counts: &mut HashMap<String, u32>, name: &str) -> String {
    let mut found = name.to_owned();
    let count = counts.entry(name.to_owned()).or_insert(0);
    while !taken.insert(found.clone()) {
        *count += 1;
        found = format!("{name}.{count}");
    }
    found
}

impl Reader<'_> {
    /// Chooses the sections that become text.
    fn name_sections(&mut self) {
        let (mut taken, mut counts) = (HashSet::new(), HashMap::new());
        for (index, section) in self.elf.sections.iter().enumerate() {
            let types = self.detail == Detail::Exact && section.name.starts_with(".BTF");
            let loaded = section.flags & 6 != 0;
            let as_maps = self.detail == Detail::Readable && section.name == ".maps";
            if (section.kind == 1 || section.kind == 8)
                && (loaded || types)
                && !as_maps
                && !section.name.is_empty()
            {
                self.sections.insert(index, unique(&mut taken, &mut counts, section.name));
            }
        }
    }

    fn read_relocs(&mut self) -> Result<(), ObjError> {
        for (index, section) in self.elf.sections.iter().enumerate() {
            let target = section.info as usize;
            if !section.is_reloc() || !self.sections.contains_key(&target) {
                continue;
            }
            let relocs = self.elf.relocations(index)?;
            self.referenced.extend(relocs.iter().map(|r| r.symbol));
            self.relocs.entry(target).or_default().extend(relocs);
        }
        Ok(())
    }

    /// Symbols worth a name: all but labels inside functions that nothing refers to, sections and files.
    fn name_symbols(&mut self) {
        let (mut taken, mut counts) = (HashSet::new(), HashMap::new());
        for (index, symbol) in self.elf.symbols.iter().enumerate() {
            let label = symbol.kind == 0 && symbol.bind == 0;
            let named = index > 0 && !symbol.is_section() && symbol.kind != 4;
            if !named || label && !self.referenced.contains(&index) {
                continue;
            }
            let name = if symbol.name.is_empty() { "unnamed" } else { symbol.name };
            self.names.insert(index, unique(&mut taken, &mut counts, name));
            if let Some(section) = symbol.section() {
                self.places.entry((section, symbol.value)).or_insert(index);
                self.by_section.entry(section).or_default().push(index);
            }
        }
        for (number, map) in self.object.maps.iter().enumerate() {
            if map.origin == MapOrigin::Btf
                && self.detail == Detail::Readable
                && let Some(index) = self.symbol_at(&map.section, map.offset)
            {
                self.maps.insert(index, number);
            }
        }
    }

    /// The first symbol at this place.
    fn symbol_at(&self, section: &str, offset: u64) -> Option<usize> {
        let (section, _) = self.elf.section(section)?;
        self.places.get(&(section, offset)).copied()
    }

    fn read(&self) -> AsmObject {
        let mut out = AsmObject::default();
        let mut kept: Vec<usize> = self.sections.keys().copied().collect();
        kept.sort_unstable();
        for index in kept {
            match self.license(index) {
                Some(license) if out.license.is_none() => out.license = Some(license),
                _ => out.sections.push(self.section(index)),
            }
        }
        let mut maps: Vec<(usize, usize)> = self.maps.iter().map(|(symbol, map)| (*map, *symbol)).collect();
        maps.sort_unstable();
        out.maps = maps.iter().map(|&(map, symbol)| self.map(map, symbol)).collect();
        out.externs = self.externs(&out);
        out
    }

    /// Text of a licence section that is nothing else.
    fn license(&self, index: usize) -> Option<String> {
        let section = &self.elf.sections[index];
        let referenced = self.referenced.iter().any(|&s| self.elf.symbols[s].section() == Some(index));
        let text = section
            .data
            .strip_suffix(&[0])
            .filter(|t| section.name == "license" && !t.contains(&0) && t.len() <= MAX_LICENSE)?;
        if referenced || self.relocs.contains_key(&index) {
            return None;
        }
        std::str::from_utf8(text).ok().map(str::to_owned)
    }

    fn section(&self, index: usize) -> Section {
        let section = &self.elf.sections[index];
        let data = section.data.to_vec();
        let contents = match Insn::slice_from_bytes(section.data) {
            _ if section.is_nobits() => Contents::Bss(section.size.min(u32::MAX.into())),
            Ok(insns) if section.flags & 4 != 0 => Contents::Code(insns),
            _ if section.flags & 1 != 0 => Contents::Data(data),
            _ => Contents::ReadOnly(data),
        };
        let align = u32::try_from(section.align.max(1)).ok().filter(|a| a.is_power_of_two()).unwrap_or(1);
        let own = self.by_section.get(&index).map_or(&[][..], Vec::as_slice);
        let mut symbols: Vec<Symbol> = own.iter().map(|&i| self.symbol(i, &self.names[&i])).collect();
        symbols.sort_by_key(|s| s.offset);
        let relocs = self.relocs.get(&index).map_or(&[][..], Vec::as_slice);
        let mut relocs: Vec<Reloc> = relocs
            .iter()
            .map(|r| Reloc { offset: r.offset, kind: r.kind, target: self.target(r.symbol) })
            .collect();
        relocs.sort_by_key(|r| r.offset);
        Section { name: self.sections[&index].clone(), contents, align, symbols, relocs }
    }

    fn symbol(&self, index: usize, name: &str) -> Symbol {
        let symbol = &self.elf.symbols[index];
        Symbol {
            name: name.to_owned(),
            kind: kind(symbol.kind),
            binding: binding(symbol.bind),
            hidden: symbol.visibility == 2,
            offset: symbol.value,
            size: symbol.size,
            prog_type: None,
        }
    }

    fn target(&self, symbol: usize) -> Target {
        let section = self.elf.symbols[symbol].section();
        match (self.names.get(&symbol), section.and_then(|s| self.sections.get(&s))) {
            (Some(name), _) => Target::Symbol(name.clone()),
            (None, Some(section)) => Target::Section(section.clone()),
            (None, None) => {
                let name = section.map_or("", |s| self.elf.sections[s].name);
                Target::Section(if name.is_empty() { "*ABS*" } else { name }.to_owned())
            }
        }
    }

    fn map(&self, map: usize, symbol: usize) -> MapDef {
        let spec = &self.object.maps[map];
        let mut def = MapDef::new(&self.names[&symbol], map_spec(&spec.def));
        def.binding = binding(self.elf.symbols[symbol].bind);
        def.inner = spec.def.inner.as_deref().map(|inner| Box::new(map_spec(inner)));
        def.values = spec.slots.iter().filter_map(|(key, slot)| Some((*key, self.slot(*slot)?))).collect();
        def
    }

    /// Name of what an initial entry refers to.
    fn slot(&self, slot: Slot) -> Option<String> {
        let place = match slot {
            Slot::Function(f) => {
                let function = self.object.functions.get(f)?;
                (function.section.as_str(), u64::from(function.offset) * 8)
            }
            Slot::Map(m) => self.object.maps.get(m).map(|m| (m.section.as_str(), m.offset))?,
        };
        let symbol = self.symbol_at(place.0, place.1)?;
        self.names.get(&symbol).cloned()
    }

    /// Undefined symbols, and those whose section is no part of the text.
    fn externs(&self, out: &AsmObject) -> Vec<Extern> {
        let maps: HashSet<&str> = out.maps.iter().map(|m| m.name.as_str()).collect();
        let mut indices: Vec<usize> = self.names.keys().copied().collect();
        indices.sort_unstable();
        let kinds: HashMap<&str, ExternKind> =
            self.object.externs.iter().map(|e| (e.name.as_str(), e.kind)).collect();
        let mut externs = Vec::new();
        for index in indices {
            let (symbol, name) = (&self.elf.symbols[index], &self.names[&index]);
            let kept = symbol.section().is_some_and(|s| self.sections.contains_key(&s));
            let wanted = symbol.home == Home::Undefined || self.referenced.contains(&index);
            if kept || !wanted || maps.contains(name.as_str()) {
                continue;
            }
            let (kind, section) = match kinds.get(symbol.name) {
                Some(ExternKind::Kfunc { .. }) => (SymbolKind::Func, Some(".ksyms".to_owned())),
                Some(ExternKind::KsymTyped { .. } | ExternKind::KsymTypeless) => {
                    (SymbolKind::Object, Some(".ksyms".to_owned()))
                }
                Some(ExternKind::Kconfig { .. }) => (SymbolKind::Object, Some(".kconfig".to_owned())),
                _ => (kind(symbol.kind), None),
            };
            externs.push(Extern { name: name.clone(), kind, weak: symbol.is_weak(), section });
        }
        externs
    }
}

fn kind(kind: u8) -> SymbolKind {
    match kind {
        1 => SymbolKind::Object,
        2 => SymbolKind::Func,
        _ => SymbolKind::NoType,
    }
}

fn binding(bind: u8) -> Binding {
    match bind {
        0 => Binding::Local,
        2 => Binding::Weak,
        _ => Binding::Global,
    }
}

fn map_spec(def: &map::MapDef) -> MapSpec {
    MapSpec {
        map_type: def.map_type.label(),
        key_size: def.key_size,
        value_size: def.value_size,
        max_entries: def.max_entries,
        map_flags: def.flags,
        pinning: u32::from(def.pin_by_name),
        numa_node: def.numa_node,
        map_extra: def.map_extra,
    }
}
