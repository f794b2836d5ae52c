//! The end of assembling: names become distances or relocations, symbols get their sizes, everything gets its order.

use super::directive::SymbolDraft;
use super::error::{AsmError, AsmErrors, MAX_ERRORS, Why};
use super::insn::Fix;
use super::object::*;
use super::{Assembler, Pending, Place, Reference};
use crate::op::{Callee, Op};
use alloc::string::String;
use alloc::vec::Vec;

impl Assembler {
    pub(super) fn finish(mut self) -> Result<AsmObject, AsmErrors> {
        for pending in core::mem::take(&mut self.pending) {
            if self.errors.len() >= MAX_ERRORS {
                break;
            }
            if let Err(e) = self.resolve(pending) {
                self.errors.push(e);
            }
        }
        if !self.errors.is_empty() {
            self.errors.sort_by_key(|e| (e.line, e.column));
            return Err(AsmErrors(self.errors));
        }
        for (section, drafts) in self.object.sections.iter_mut().zip(self.drafts) {
            section.symbols = with_sizes(drafts, section.contents.size());
            section.relocs.sort_by_key(|r| r.offset);
        }
        Ok(self.object)
    }

    fn resolve(&mut self, pending: Pending) -> Result<(), AsmError> {
        let Pending { section, offset, what, blame } = pending;
        match what {
            Reference::Reloc(kind, target) => self.add_reloc(section, offset, kind, target, blame),
            Reference::MapValue(map, index, name) => {
                if !self.names.contains_key(&name) {
                    return Err(blame);
                }
                if let Some(map) = self.object.maps.get_mut(map) {
                    map.values.push((index, name));
                }
                Ok(())
            }
            Reference::Insn(op, fix) => self.resolve_insn(section, offset, op, fix, blame),
        }
    }

    fn resolve_insn(
        &mut self,
        section: usize,
        offset: u64,
        op: Op,
        fix: Fix,
        blame: AsmError,
    ) -> Result<(), AsmError> {
        match fix {
            Fix::Jump(label) => {
                let target = self.slot_of(section, &label, true).ok_or_else(|| blame.clone())?;
                self.patch(section, offset, op, target, blame)
            }
            Fix::Call(Target::Symbol(name), 0) => match self.slot_of(section, &name, self.closed) {
                Some(target) => self.patch(section, offset, op, target, blame),
                None => self.add_reloc(section, offset, R_BPF_64_32, Target::Symbol(name), blame),
            },
            Fix::Call(target, _) => self.add_reloc(section, offset, R_BPF_64_32, target, blame),
            Fix::Load(target) => self.add_reloc(section, offset, R_BPF_64_64, target, blame),
        }
    }

    /// Slot of a label or local symbol of the section; with `any`, of a global symbol too.
    fn slot_of(&self, section: usize, name: &str, any: bool) -> Option<u64> {
        if let Some(slot) = self.labels.get(&(section, String::from(name))) {
            return Some(*slot as u64);
        }
        match self.names.get(name)? {
            Place::Section { index, offset, local }
                if *index == section && offset % 8 == 0 && (*local || any) =>
            {
                Some(offset / 8)
            }
            _ => None,
        }
    }

    /// Writes the distance into the instruction.
    fn patch(
        &mut self,
        section: usize,
        offset: u64,
        op: Op,
        target: u64,
        blame: AsmError,
    ) -> Result<(), AsmError> {
        let slot = offset / 8;
        let slots = (target as i64).wrapping_sub(slot as i64 + 1);
        let far = |instead| AsmError { why: Why::Distance { slots, instead }, ..blame.clone() };
        let wide = i32::try_from(slots).map_err(|_| far("no instruction reaches that far"));
        let narrow = i16::try_from(slots).map_err(|_| far("goto and if reach 32767 slots: use gotol"));
        let op = match op {
            Op::Ja { long: true, .. } => Op::Ja { off: wide?, long: true },
            Op::Ja { .. } => Op::Ja { off: narrow?.into(), long: false },
            Op::JumpIf { cond, width, dst, src, .. } => Op::JumpIf { cond, width, dst, src, off: narrow? },
            Op::MayGoto { .. } => Op::MayGoto { off: narrow? },
            Op::Call(_) => Op::Call(Callee::Local(wide?)),
            op => op,
        };
        let encoded = op.encode();
        let place = self.code(section).and_then(|insns| insns.get_mut(slot as usize));
        if let (Some(place), Some(insn)) = (place, encoded.first()) {
            *place = *insn;
        }
        Ok(())
    }

    fn add_reloc(
        &mut self,
        section: usize,
        offset: u64,
        kind: u32,
        target: Target,
        blame: AsmError,
    ) -> Result<(), AsmError> {
        let target = match target {
            Target::Symbol(name) if !self.names.contains_key(&name) => {
                if !self.is_section(&name) {
                    return Err(blame);
                }
                Target::Section(name)
            }
            target => target,
        };
        if self.closed {
            return Err(blame);
        }
        if let Some(section) = self.object.sections.get_mut(section) {
            section.relocs.push(Reloc { offset, kind, target });
        }
        Ok(())
    }

    fn is_section(&self, name: &str) -> bool {
        self.section_index.contains_key(name)
    }
}

fn with_sizes(drafts: Vec<SymbolDraft>, section_size: u64) -> Vec<Symbol> {
    let has_size: Vec<bool> = {
        let mut order: Vec<&SymbolDraft> = drafts.iter().collect();
        order.sort_by_key(|d| d.symbol.offset);
        order.iter().map(|d| d.has_size).collect()
    };
    let mut symbols: Vec<Symbol> = drafts.into_iter().map(|d| d.symbol).collect();
    symbols.sort_by_key(|s| s.offset);
    let usual = usual_sizes(&symbols, section_size);
    for ((symbol, usual), has_size) in symbols.iter_mut().zip(usual).zip(has_size) {
        if !has_size {
            symbol.size = usual;
        }
    }
    symbols
}

/// The size of each symbol (in the order of offsets) when none is given: functions and objects reach to the next of
/// their kind or the section's end, others have none.
pub(super) fn usual_sizes(symbols: &[Symbol], section_size: u64) -> Vec<u64> {
    let mut sizes = Vec::with_capacity(symbols.len());
    // For each kind: the lowest offset seen from the end, and the next above it.
    let mut seen = [(section_size, section_size); 2];
    for symbol in symbols.iter().rev() {
        let of_kind = match symbol.kind {
            SymbolKind::Func => &mut seen[0],
            SymbolKind::Object => &mut seen[1],
            SymbolKind::NoType => {
                sizes.push(0);
                continue;
            }
        };
        if symbol.offset < of_kind.0 {
            *of_kind = (symbol.offset, of_kind.0);
        }
        sizes.push(of_kind.1.saturating_sub(symbol.offset));
    }
    sizes.reverse();
    sizes
}
