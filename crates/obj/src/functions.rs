//! Functions: which symbols of which code sections are programs, and which subprograms.
//!
//! A code section's functions are its `STT_FUNC` symbols. Old compilers typed none: then its global symbols without
//! type begin functions that reach to the next one, and a section without any is one program of the section's name.
//! Symbols for the same instructions are aliases; any other overlap is refused, so that all functions together hold
//! no more instructions than the file.
//!
//! Functions in `.text` are subprograms, unless it is the only code (a single function without a section name).

use std::collections::HashMap;

use skep_isa::Insn;
use skep_platform::ProgType;

use crate::attach::AttachTarget;
use crate::elf::{Section, Symbol};
use crate::error::{DiagnosticKind, ObjError, ObjErrorKind, Place};
use crate::object::{Entry, Function, Linkage, MapOrigin, MapSpec, TailSlot};
use crate::open::{Opening, fail};
use crate::sections::SectionDef;

/// All functions, found by where they start.
#[derive(Default)]
pub(crate) struct Functions {
    pub(crate) list: Vec<Function>,
    /// ELF section index of each.
    pub(crate) sections: Vec<usize>,
    starts: HashMap<(usize, u64), usize>,
}

impl Functions {
    /// The function that starts at byte `at` of section `section`.
    pub(crate) fn starting_at(&self, section: usize, at: u64) -> Option<usize> {
        self.starts.get(&(section, at)).copied()
    }

    /// Functions of a section in ascending order, as a range of indices.
    pub(crate) fn of_section(&self, section: usize) -> std::ops::Range<usize> {
        let from = self.sections.partition_point(|&s| s < section);
        let to = self.sections.partition_point(|&s| s <= section);
        from..to
    }

    /// The function that holds byte `at` of section `section`.
    pub(crate) fn covering(&self, section: usize, at: u64) -> Option<usize> {
        let range = self.of_section(section);
        let list = &self.list[range.clone()];
        let after = list.partition_point(|f| u64::from(f.offset) * 8 <= at);
        let index = after.checked_sub(1)?;
        let f = &list[index];
        let end = (u64::from(f.offset) + f.insns.len() as u64) * 8;
        (at < end).then_some(range.start + index)
    }
}

/// A function's extent in its section.
struct Extent<'a> {
    symbol: Option<&'a Symbol<'a>>,
    start: u64,
    end: u64,
}

pub(crate) fn read(opening: &mut Opening<'_>) -> Result<Functions, ObjError> {
    let mut out = Functions::default();
    let mut names = 0;
    for (index, section) in opening.elf.sections.iter().enumerate() {
        if !section.is_code() || section.size == 0 {
            continue;
        }
        let callable = |s: &&Symbol<'_>| s.is_func() || s.kind == 0 && s.is_global() && !s.name.is_empty();
        let symbols: Vec<&Symbol<'_>> = opening.symbols_of(index).filter(callable).collect();
        names += section.name.len() * symbols.len();
        if names > MAX_SECTION_NAMES {
            return Err(fail(
                Place::section(section.name),
                ObjErrorKind::Malformed("too many functions of too long a name"),
            ));
        }
        for function in section_functions(section, &symbols)? {
            out.starts.insert((index, u64::from(function.offset) * 8), out.list.len());
            out.list.push(function);
            out.sections.push(index);
        }
    }
    name_entries(&mut out.list);
    type_tail_programs(&mut out.list);
    for function in &out.list {
        if let Some(kind) = function.entry.as_ref().and_then(|e| doubt(e, &function.section)) {
            opening.note_about(Some(&function.name), Place::section(&function.section), kind);
        }
    }
    Ok(out)
}

/// Bytes of section names that functions repeat, all together.
const MAX_SECTION_NAMES: usize = 16 << 20;

/// What is to be said about a program's section name.
fn doubt(entry: &Entry, section: &str) -> Option<DiagnosticKind> {
    match entry.row {
        None if entry.prog_type != ProgType::Unspec => None,
        None => Some(DiagnosticKind::UnknownSection),
        Some(row) if row.covers(section.strip_prefix('?').unwrap_or(section)) => None,
        Some(row) => Some(DiagnosticKind::OldSection { prefix: row.prefix }),
    }
}

fn section_functions(section: &Section<'_>, symbols: &[&Symbol<'_>]) -> Result<Vec<Function>, ObjError> {
    let mut functions: Vec<Function> = Vec::new();
    let mut end_before = 0;
    for extent in extents(section, symbols) {
        let name = extent.symbol.map_or(section.name, |s| s.name);
        let place = || Place::section(section.name).symbol(name).at(extent.start);
        if let Some(last) = functions.last_mut()
            && extent.start < end_before
        {
            if u64::from(last.offset) * 8 == extent.start && end_before == extent.end {
                add_alias(last, extent.symbol);
                continue;
            }
            return Err(fail(place(), ObjErrorKind::OverlappingFunctions { other: last.name.clone() }));
        }
        end_before = extent.end;
        functions.push(function(section, &extent, name).ok_or_else(|| {
            let (start, end) = (extent.start, extent.end);
            fail(place(), ObjErrorKind::CodeRange { start, end, section: section.size })
        })?);
    }
    Ok(functions)
}

/// A global name goes before a static one.
fn add_alias(function: &mut Function, symbol: Option<&Symbol<'_>>) {
    let Some(symbol) = symbol else { return };
    let mut name = symbol.name.to_owned();
    if function.linkage == Linkage::Static && symbol.is_global() {
        std::mem::swap(&mut function.name, &mut name);
        function.linkage = linkage(symbol);
    }
    function.aliases.push(name);
}

/// Extents of a section's functions, ascending; not yet checked.
fn extents<'a>(section: &Section<'_>, symbols: &[&'a Symbol<'a>]) -> Vec<Extent<'a>> {
    let typed = symbols.iter().any(|s| s.is_func());
    let mut chosen: Vec<&Symbol<'_>> = symbols.iter().copied().filter(|s| s.is_func() == typed).collect();
    chosen.sort_by_key(|s| (s.value, s.size));
    if chosen.is_empty() {
        return vec![Extent { symbol: None, start: 0, end: section.size }];
    }
    let next_after = |value: u64| {
        let after = chosen.partition_point(|s| s.value <= value);
        chosen.get(after).map_or(section.size, |s| s.value)
    };
    let end = |s: &Symbol<'_>| if s.size > 0 { s.value.saturating_add(s.size) } else { next_after(s.value) };
    chosen.iter().map(|s| Extent { symbol: Some(s), start: s.value, end: end(s) }).collect()
}

fn function(section: &Section<'_>, extent: &Extent<'_>, name: &str) -> Option<Function> {
    let bytes = section.data.get(usize::try_from(extent.start).ok()?..usize::try_from(extent.end).ok()?)?;
    if bytes.is_empty() || !extent.start.is_multiple_of(8) {
        return None;
    }
    Some(Function {
        name: name.to_owned(),
        aliases: Vec::new(),
        section: section.name.to_owned(),
        offset: u32::try_from(extent.start / 8).ok()?,
        linkage: extent.symbol.map_or(Linkage::Global, linkage),
        hidden: extent.symbol.is_some_and(|s| matches!(s.visibility, 1 | 2)),
        entry: None,
        insns: Insn::slice_from_bytes(bytes).ok()?,
        relocs: Vec::new(),
        type_id: 0,
        lines: Vec::new(),
        core: Vec::new(),
    })
}

/// Linkage of a symbol by its binding.
pub(crate) fn linkage(symbol: &Symbol<'_>) -> Linkage {
    match symbol.bind {
        0 => Linkage::Static,
        2 => Linkage::Weak,
        _ => Linkage::Global,
    }
}

/// Makes programs of the functions that are entry points. Static functions are subprograms, unless nothing else is in
/// their section and the section's name says what they are.
fn name_entries(functions: &mut [Function]) {
    let only_text = functions.iter().all(|f| f.section == ".text");
    let mut in_section: HashMap<String, usize> = HashMap::new();
    for function in functions.iter() {
        *in_section.entry(function.section.clone()).or_default() += 1;
    }
    for function in functions {
        let alone = in_section.get(&function.section) == Some(&1);
        let entry = entry_of(&function.section);
        let seen = function.linkage != Linkage::Static;
        let is_entry = match function.section.as_str() {
            ".text" => only_text && (alone || seen),
            _ => seen || alone && entry.row.is_some(),
        };
        function.entry = is_entry.then_some(entry);
    }
}

/// Programs of iproute2's tail-call sections are of the type of all others, as one tail calls the other.
fn type_tail_programs(functions: &mut [Function]) {
    let mut types = functions.iter().filter_map(|f| f.entry.as_ref()?.row).map(|row| row.prog_type);
    let Some(first) = types.next() else { return };
    if !types.all(|other| other == first) {
        return;
    }
    for entry in functions.iter_mut().filter_map(|f| f.entry.as_mut()) {
        if entry.row.is_none() && entry.tail_slot.is_some() {
            entry.prog_type = first;
        }
    }
}

/// What a section name makes of a program.
pub(crate) fn entry_of(section: &str) -> Entry {
    let (name, autoload) = match section.strip_prefix('?') {
        Some(name) => (name, false),
        None => (section, true),
    };
    let row = SectionDef::find(name).or_else(|| SectionDef::find_old(name));
    Entry {
        row,
        prog_type: row.map_or(ProgType::Unspec, |r| r.prog_type),
        attach_type: row.and_then(|r| r.attach_type),
        target: row.map_or(AttachTarget::None, |r| AttachTarget::parse(r, name)),
        autoload,
        tail_slot: tail_slot(name),
        exception_callback: None,
    }
}

/// `2/7`: slot 7 of the map with id 2. Numbers as iproute2 reads them: decimal or `0x`.
fn tail_slot(section: &str) -> Option<TailSlot> {
    let (map, slot) = section.split_once('/')?;
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    Some(TailSlot { map_id: number(map)?, slot: number(slot)?, map: None })
}

/// Finds the maps that tail slots name.
pub(crate) fn bind_tail_slots(functions: &mut [Function], maps: &[MapSpec]) {
    let by_id: HashMap<u32, usize> = maps
        .iter()
        .enumerate()
        .rev()
        .filter_map(|(index, m)| match &m.origin {
            MapOrigin::Iproute2(i) => Some((i.id, index)),
            _ => None,
        })
        .collect();
    for function in functions {
        if let Some(slot) = function.entry.as_mut().and_then(|e| e.tail_slot.as_mut()) {
            slot.map = by_id.get(&slot.map_id).copied();
        }
    }
}
