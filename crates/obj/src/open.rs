//! Bytes → [`Object`]: the order of steps, and the sections that need one step only.
//!
//! ELF tables → BTF with true data sections → externs → functions → maps → relocations and source records, which
//! refer to all of the former. A step that fails for one function or section leaves a diagnostic; a step fails the
//! whole object only where nothing after it could be trusted.

use std::sync::Arc;

use skep_btf::Btf;

use crate::elf::{Elf, Section, Symbol};
use crate::error::{Diagnostic, DiagnosticKind, ObjError, ObjErrorKind, Place};
use crate::object::{Object, SectionInfo};
use crate::{btf_fixup, data, ext, externs, functions, maps, relocs, struct_ops};

/// What steps share while an object is opened.
pub(crate) struct Opening<'a> {
    /// The file.
    pub(crate) elf: Elf<'a>,
    /// Type information, sections fixed up.
    pub(crate) btf: Option<Arc<Btf>>,
    /// Findings so far.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Findings that were too many to keep.
    untold: usize,
    /// Symbols (by index) of each section.
    by_section: Vec<Vec<usize>>,
}

/// Findings that are kept of one object.
const MAX_DIAGNOSTICS: usize = 1000;

fn symbols_by_section(elf: &Elf<'_>) -> Vec<Vec<usize>> {
    let mut by_section = vec![Vec::new(); elf.sections.len()];
    for (index, symbol) in elf.symbols.iter().enumerate() {
        if let Some(section) = symbol.section() {
            by_section[section].push(index);
        }
    }
    by_section
}

impl<'a> Opening<'a> {
    /// Symbols of a section, in the order of the table.
    pub(crate) fn symbols_of(&self, section: usize) -> impl Iterator<Item = &Symbol<'a>> {
        self.by_section[section].iter().map(|&index| &self.elf.symbols[index])
    }

    pub(crate) fn note(&mut self, place: Place, kind: DiagnosticKind) {
        self.note_about(None, place, kind);
    }

    /// A finding about a program. The first [`MAX_DIAGNOSTICS`] are kept, the rest counted.
    pub(crate) fn note_about(&mut self, program: Option<&str>, place: Place, kind: DiagnosticKind) {
        if self.diagnostics.len() < MAX_DIAGNOSTICS {
            self.diagnostics.push(Diagnostic { place, program: program.map(str::to_owned), kind });
        } else {
            self.untold += 1;
        }
    }

    fn finish(mut self) -> Vec<Diagnostic> {
        if self.untold > 0 {
            let kind = DiagnosticKind::More { count: self.untold };
            self.diagnostics.push(Diagnostic { place: Place::file(), program: None, kind });
        }
        self.diagnostics
    }
}

impl Object {
    /// Opens an object file. Cost: linear in its size; memory at most a few times its size.
    ///
    /// # Errors
    /// Files that are no eBPF object, damaged tables, unreadable map definitions. Whatever concerns one program or
    /// section alone is in [`Object::diagnostics`] instead.
    pub fn parse(bytes: &[u8]) -> Result<Object, ObjError> {
        let elf = Elf::parse(bytes)?;
        let by_section = symbols_by_section(&elf);
        let mut opening = Opening { elf, btf: None, diagnostics: Vec::new(), untold: 0, by_section };
        let mut btf = btf_fixup::read(&mut opening)?;
        let externs = externs::read(&opening.elf, btf.as_mut())?;
        opening.btf = btf.map(Arc::new);
        let mut functions = functions::read(&mut opening)?;
        let mut maps = maps::read(&mut opening, &functions)?;
        data::read(&mut opening, &mut maps)?;
        maps.list.extend(externs.kconfig_map(opening.btf.as_ref()));
        struct_ops::read(&mut opening, &mut maps, &functions)?;
        functions::bind_tail_slots(&mut functions.list, &maps.list);
        relocs::read(&mut opening, &mut functions, &maps, &externs)?;
        ext::read(&mut opening, &mut functions);
        Ok(Object {
            license: license(&opening.elf),
            version: version(&opening.elf),
            sections: section_infos(&opening.elf),
            functions: functions.list,
            maps: maps.list,
            externs: externs.list,
            btf: opening.btf.clone(),
            diagnostics: opening.finish(),
        })
    }
}

fn license(elf: &Elf<'_>) -> String {
    let data = elf.section("license").map_or(&[][..], |(_, s)| s.data);
    let text = data.split(|&b| b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

fn version(elf: &Elf<'_>) -> Option<u32> {
    let (_, section) = elf.section("version")?;
    Some(u32::from_le_bytes(section.data.get(..4)?.try_into().ok()?))
}

fn section_infos(elf: &Elf<'_>) -> Vec<SectionInfo> {
    let own = |s: &&Section<'_>| s.kind == 1 || s.kind == 8;
    elf.sections
        .iter()
        .filter(own)
        .map(|s| SectionInfo { name: s.name.to_owned(), size: s.size, flags: s.flags })
        .collect()
}

/// Error about a section.
pub(crate) fn fail(place: Place, kind: ObjErrorKind) -> ObjError {
    ObjError { place, kind }
}
