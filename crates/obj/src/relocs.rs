//! Relocations of code, as data: what each instruction refers to.
//!
//! As in libbpf the instruction decides what a relocation means, not its type: calls name functions, `ldimm64` names
//! maps, variables, functions and externs. A symbol of a section carries its addend in the instruction's immediate.
//! Calls inside a section that need no relocation become references too, so that linking moves them alike.

use std::collections::HashSet;

use skep_isa::Insn;

use crate::elf::{Home, Rel, Section, Symbol};
use crate::error::{DiagnosticKind, ObjError, Place};
use crate::externs::Externs;
use crate::functions::Functions;
use crate::maps::Maps;
use crate::object::{Reloc, RelocTarget};
use crate::open::Opening;

/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// `src` of a call of a subprogram.
const PSEUDO_CALL: u8 = 1;
/// `src` of an `ldimm64` of a function's address.
const PSEUDO_FUNC: u8 = 4;

pub(crate) fn read(
    opening: &mut Opening<'_>,
    functions: &mut Functions,
    maps: &Maps,
    externs: &Externs,
) -> Result<(), ObjError> {
    for index in 0..opening.elf.sections.len() {
        let holder = &opening.elf.sections[index];
        if !holder.is_reloc() {
            continue;
        }
        let target = holder.info as usize;
        match opening.elf.sections.get(target) {
            Some(section) if section.is_code() => {
                read_section(opening, index, target, functions, maps, externs)?
            }
            Some(section) => ignored(opening, index, section.name.to_owned(), maps),
            None => {}
        }
    }
    for function in &mut functions.list {
        function.relocs.sort_by_key(|r| r.insn);
    }
    local_calls(functions);
    report(opening, functions);
    Ok(())
}

/// Relocations of sections that are not code and that no other step reads.
fn ignored(opening: &mut Opening<'_>, holder: usize, section: String, maps: &Maps) {
    let quiet =
        ["debug", "BTF", "eh_frame", "llvm", "struct_ops"].iter().any(|known| section.contains(known));
    let count = opening.elf.sections[holder].data.len() / 16;
    if !quiet && count > 0 && !maps.declares(opening.elf.sections[holder].info as usize) {
        opening.note(Place::section(&section), DiagnosticKind::IgnoredRelocations { count });
    }
}

fn read_section(
    opening: &mut Opening<'_>,
    holder: usize,
    target: usize,
    functions: &mut Functions,
    maps: &Maps,
    externs: &Externs,
) -> Result<(), ObjError> {
    let code = &opening.elf.sections[target];
    let mut outside = Vec::new();
    for rel in opening.elf.relocations(holder)? {
        let Some(index) = functions.covering(target, rel.offset) else {
            outside.push((Place::section(code.name).at(rel.offset), "lies in no function"));
            continue;
        };
        let start = u64::from(functions.list[index].offset) * 8;
        let insn = ((rel.offset - start) / 8) as u32;
        let slots = &functions.list[index].insns[insn as usize..];
        let symbol = &opening.elf.symbols[rel.symbol];
        let context = Context { sections: &opening.elf.sections, functions, maps, externs };
        let target = match context.target(slots, symbol, &rel) {
            Ok(target) => target,
            Err(why) => RelocTarget::Bad { symbol: symbol_name(&opening.elf.sections, symbol), why },
        };
        functions.list[index].relocs.push(Reloc { insn, target });
    }
    for (place, why) in outside {
        opening.note(place, DiagnosticKind::BadRelocation(why));
    }
    Ok(())
}

/// A symbol's name; the section's for section symbols.
fn symbol_name(sections: &[Section<'_>], symbol: &Symbol<'_>) -> String {
    let name = match symbol.section().and_then(|index| sections.get(index)) {
        Some(section) if symbol.name.is_empty() => section.name,
        _ => symbol.name,
    };
    // Any number of relocations may name it.
    name.chars().take(128).collect()
}

/// What relocations may refer to.
struct Context<'a> {
    sections: &'a [Section<'a>],
    functions: &'a Functions,
    maps: &'a Maps,
    externs: &'a Externs,
}

impl Context<'_> {
    fn target(&self, slots: &[Insn], symbol: &Symbol<'_>, rel: &Rel) -> Result<RelocTarget, &'static str> {
        let insn = slots[0];
        if !rel.offset.is_multiple_of(8) {
            return Err("lies on no instruction");
        }
        match insn.opcode() {
            CALL => self.call(insn, symbol, rel),
            _ if insn.is_ldimm64() && slots.len() > 1 => self.load(insn, symbol, rel),
            _ if insn.is_ldimm64() => Err("a two-slot load is cut off by the end of the function"),
            _ => Err("the instruction is neither a call nor a two-slot load"),
        }
    }

    fn call(&self, insn: Insn, symbol: &Symbol<'_>, rel: &Rel) -> Result<RelocTarget, &'static str> {
        match symbol.home {
            Home::Undefined => {
                let index = self.externs.of_symbol(rel.symbol).ok_or("calls a symbol without a name")?;
                Ok(RelocTarget::ExternCall(index))
            }
            Home::Section(home) => {
                let at = i128::from(symbol.value) + i128::from(rel.addend) + (i128::from(insn.imm()) + 1) * 8;
                let at = u64::try_from(at).map_err(|_| "calls something outside its section")?;
                let function =
                    self.functions.starting_at(home, at).ok_or("calls something that is no function")?;
                Ok(RelocTarget::Call(function))
            }
            Home::Absolute | Home::Common => Err("calls a symbol that is no function"),
        }
    }

    fn load(&self, insn: Insn, symbol: &Symbol<'_>, rel: &Rel) -> Result<RelocTarget, &'static str> {
        let home = match symbol.home {
            Home::Section(home) => home,
            Home::Undefined => {
                let index = self.externs.of_symbol(rel.symbol).ok_or("loads a symbol without a name")?;
                return Ok(RelocTarget::ExternAddr(index));
            }
            Home::Absolute | Home::Common => return Err("loads a symbol that lies in no section"),
        };
        let addend = i128::from(rel.addend) + i128::from(insn.imm());
        let at = i128::from(symbol.value) + addend;
        if self.maps.declares(home) {
            // The immediate of a reference to a map has no meaning; only a section symbol needs it as addend.
            let at = if symbol.is_section() { at } else { i128::from(symbol.value) };
            let map = u64::try_from(at).ok().and_then(|at| self.maps.declared_at(home, at));
            return map.map(RelocTarget::Map).ok_or("loads the middle of a map definition");
        }
        if let Some(map) = self.maps.of_data(home) {
            let offset = u32::try_from(at).map_err(|_| "loads something outside its section")?;
            return Ok(RelocTarget::MapValue { map, offset });
        }
        if self.sections[home].is_code() {
            let function = u64::try_from(at).ok().and_then(|at| self.functions.starting_at(home, at));
            return function
                .map(RelocTarget::FuncAddr)
                .ok_or("loads the address of something that is no function");
        }
        Err("loads from a section that becomes no map")
    }
}

/// Calls and function addresses without a relocation: relative inside their section.
fn local_calls(functions: &mut Functions) {
    for index in 0..functions.list.len() {
        let function = &functions.list[index];
        let section = functions.sections[index];
        let known: HashSet<u32> = function.relocs.iter().map(|r| r.insn).collect();
        let mut found = Vec::new();
        for (at, insn) in function.insns.iter().enumerate() {
            let call = insn.opcode() == CALL && insn.src() == PSEUDO_CALL;
            let address = insn.is_ldimm64() && insn.src() == PSEUDO_FUNC;
            if (call || address) && !known.contains(&(at as u32)) {
                let target = i64::from(function.offset) + at as i64 + i64::from(insn.imm()) + 1;
                let start = u64::try_from(target).ok().and_then(|at| functions.starting_at(section, at * 8));
                let target = match start {
                    Some(start) if call => RelocTarget::Call(start),
                    Some(start) => RelocTarget::FuncAddr(start),
                    None => {
                        RelocTarget::Bad { symbol: String::new(), why: "calls something that is no function" }
                    }
                };
                found.push(Reloc { insn: at as u32, target });
            }
        }
        if !found.is_empty() {
            let relocs = &mut functions.list[index].relocs;
            relocs.extend(found);
            relocs.sort_by_key(|r| r.insn);
        }
    }
}

/// Says what cannot be resolved, about each function that has it.
fn report(opening: &mut Opening<'_>, functions: &Functions) {
    for function in &functions.list {
        for reloc in &function.relocs {
            if let RelocTarget::Bad { why, .. } = reloc.target {
                let kind = DiagnosticKind::BadRelocation(why);
                opening.note_about(Some(&function.name), function.place(reloc.insn), kind);
            }
        }
    }
}
