//! Which definition each global name means, and the symbols of the result.
//!
//! A strong definition wins over weak ones, the first weak one over the later; an extern means whatever is defined,
//! and stays extern (weak if all who use it say so) when nothing is. The most hidden visibility of all definitions holds.

use std::collections::HashMap;

use super::Input;
use super::error::{LinkError, LinkErrorKind};
use super::sections::{Layout, is_shared};
use crate::elf::{Elf, Home, Symbol};
use crate::write::{ElfFile, OutSymbol};

/// What a global name means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meaning {
    /// File of the definition, or of the first use.
    pub(crate) file: usize,
    /// Symbol there.
    pub(crate) symbol: usize,
    /// It is defined.
    pub(crate) defined: bool,
    weak: bool,
    visibility: u8,
}

/// The symbols of the result.
pub(crate) struct Symbols {
    /// Index in the result, by file and symbol.
    out: Vec<Vec<Option<usize>>>,
    /// Global names.
    pub(crate) globals: HashMap<String, Meaning>,
}

impl Symbols {
    /// The symbol of the result that an input's symbol means.
    pub(crate) fn out(&self, file: usize, symbol: usize) -> Option<usize> {
        self.out[file][symbol]
    }

    /// Code of weak functions that another definition replaces: byte ranges by section.
    pub(crate) fn dead_code(&self, file: usize, elf: &Elf<'_>) -> HashMap<usize, Vec<(u64, u64)>> {
        let mut dead: HashMap<usize, Vec<(u64, u64)>> = HashMap::new();
        for (index, symbol) in elf.symbols.iter().enumerate().filter(|s| s.1.is_global() && s.1.is_func()) {
            let chosen = self.globals.get(symbol.name).is_none_or(|m| m.file == file && m.symbol == index);
            if let Some(section) = symbol.section()
                && !chosen
            {
                let range = (symbol.value, symbol.value.saturating_add(symbol.size));
                dead.entry(section).or_default().push(range);
            }
        }
        dead
    }
}

pub(crate) fn resolve(
    inputs: &[Input<'_>],
    layout: &Layout,
    out: &mut ElfFile,
) -> Result<Symbols, LinkError> {
    let globals = meanings(inputs)?;
    let mut symbols =
        Symbols { out: inputs.iter().map(|i| vec![None; i.elf.symbols.len()]).collect(), globals };
    let section_symbols = section_symbols(out);
    for (file, input) in inputs.iter().enumerate() {
        for (index, symbol) in input.elf.symbols.iter().enumerate().filter(|s| !s.1.is_global()) {
            let place = symbol.section().and_then(|s| layout.place(file, s));
            symbols.out[file][index] = match place {
                Some(place) if symbol.is_section() => Some(section_symbols[place.section]),
                Some(place) => {
                    out.symbols.push(at(symbol, Some(place.section), place.offset));
                    Some(out.symbols.len() - 1)
                }
                None => None,
            };
        }
    }
    global_symbols(inputs, layout, &mut symbols, out);
    Ok(symbols)
}

/// One symbol for each section of the result.
fn section_symbols(out: &mut ElfFile) -> Vec<usize> {
    (0..out.sections.len())
        .map(|section| {
            out.symbols.push(OutSymbol { section: Some(section), kind: 3, ..OutSymbol::default() });
            out.symbols.len() - 1
        })
        .collect()
}

fn at(symbol: &Symbol<'_>, section: Option<usize>, offset: u64) -> OutSymbol {
    OutSymbol {
        name: symbol.name.to_owned(),
        section,
        value: symbol.value.saturating_add(offset),
        size: symbol.size,
        kind: symbol.kind,
        bind: symbol.bind,
        visibility: symbol.visibility,
    }
}

fn global_symbols(inputs: &[Input<'_>], layout: &Layout, symbols: &mut Symbols, out: &mut ElfFile) {
    let mut known: HashMap<&str, usize> = HashMap::new();
    for (file, input) in inputs.iter().enumerate() {
        for (index, symbol) in input.elf.symbols.iter().enumerate().filter(|s| s.1.is_global()) {
            let Some(meaning) = symbols.globals.get(symbol.name) else { continue };
            let position = *known.entry(symbol.name).or_insert_with(|| {
                let chosen = &inputs[meaning.file].elf.symbols[meaning.symbol];
                let place = chosen.section().and_then(|s| layout.place(meaning.file, s));
                let mut made = at(chosen, place.map(|p| p.section), place.map_or(0, |p| p.offset));
                made.bind = if meaning.weak { 2 } else { 1 };
                made.visibility = meaning.visibility;
                out.symbols.push(made);
                out.symbols.len() - 1
            });
            symbols.out[file][index] = Some(position);
        }
    }
}

fn meanings(inputs: &[Input<'_>]) -> Result<HashMap<String, Meaning>, LinkError> {
    let mut globals: HashMap<String, Meaning> = HashMap::new();
    for (file, input) in inputs.iter().enumerate() {
        for (index, symbol) in input.elf.symbols.iter().enumerate() {
            if !symbol.is_global()
                || symbol.name.is_empty()
                || !matches!(symbol.home, Home::Undefined | Home::Section(_))
            {
                continue;
            }
            let fresh = Meaning {
                file,
                symbol: index,
                defined: symbol.home != Home::Undefined,
                weak: symbol.is_weak(),
                visibility: symbol.visibility,
            };
            match globals.get_mut(symbol.name) {
                None => {
                    globals.insert(symbol.name.to_owned(), fresh);
                }
                Some(known) => {
                    let before = &inputs[known.file].elf.symbols[known.symbol];
                    if before.kind != 0 && symbol.kind != 0 && before.is_func() != symbol.is_func() {
                        let kind = LinkErrorKind::Kind { other: known.file };
                        return Err(LinkError::symbol(file, symbol.name, kind));
                    }
                    // License and version are the same everywhere, and so are the symbols of theirs.
                    let shared = |file: usize, s: &Symbol<'_>| {
                        s.section().is_some_and(|index| is_shared(inputs[file].elf.sections[index].name))
                    };
                    if shared(known.file, before) && shared(file, symbol) {
                        continue;
                    }
                    merge(known, fresh).map_err(|kind| LinkError::symbol(file, symbol.name, kind))?;
                }
            }
        }
    }
    Ok(globals)
}

fn merge(known: &mut Meaning, fresh: Meaning) -> Result<(), LinkErrorKind> {
    let visibility = hidden_most(known.visibility, fresh.visibility);
    match (known.defined, fresh.defined) {
        (true, true) if !known.weak && !fresh.weak => {
            return Err(LinkErrorKind::Duplicate { other: known.file });
        }
        (true, true) if known.weak && !fresh.weak => *known = fresh,
        (false, true) => *known = fresh,
        (false, false) => known.weak &= fresh.weak,
        _ => {}
    }
    known.visibility = visibility;
    Ok(())
}

/// `STV_INTERNAL` (1) before `STV_HIDDEN` (2) before `STV_PROTECTED` (3) before `STV_DEFAULT` (0).
fn hidden_most(a: u8, b: u8) -> u8 {
    match (a, b) {
        (0, other) | (other, 0) => other,
        _ => a.min(b),
    }
}
