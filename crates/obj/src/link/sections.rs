//! Where each input section goes: behind the sections of its name that came before.

use std::collections::HashMap;

use super::error::{LinkError, LinkErrorKind};
use super::{Input, LinkErrorKind as Kind};
use crate::elf::Section;
use crate::error::Place;
use crate::write::{ElfFile, OutSection};

/// Place of an input section.
#[derive(Clone, Copy)]
pub(crate) struct Placed {
    /// Index into [`ElfFile::sections`].
    pub(crate) section: usize,
    /// Byte offset in it.
    pub(crate) offset: u64,
    /// It is the same as the one already there.
    pub(crate) shared: bool,
}

/// Places of all input sections.
pub(crate) struct Layout {
    places: Vec<Vec<Option<Placed>>>,
}

impl Layout {
    /// Place of a section; `None` if it is not taken over.
    pub(crate) fn place(&self, file: usize, section: usize) -> Option<Placed> {
        self.places[file].get(section).copied().flatten()
    }
}

/// Sections that exist once and must be the same everywhere.
pub(crate) fn is_shared(name: &str) -> bool {
    matches!(name, "license" | "version")
}

fn is_taken(section: &Section<'_>) -> bool {
    let dropped = [".debug", ".BTF", ".llvm", ".eh_frame", ".comment", ".note"];
    (section.is_progbits() || section.is_nobits()) && !dropped.iter().any(|d| section.name.starts_with(d))
}

pub(crate) fn lay_out(inputs: &[Input<'_>], out: &mut ElfFile) -> Result<Layout, LinkError> {
    let mut places = Vec::with_capacity(inputs.len());
    // Output section and first file of each name.
    let mut known: HashMap<String, (usize, usize)> = HashMap::new();
    for (file, input) in inputs.iter().enumerate() {
        let mut here = vec![None; input.elf.sections.len()];
        for (index, section) in input.elf.sections.iter().enumerate().filter(|s| is_taken(s.1)) {
            let fresh = (out.sections.len(), file);
            let (at, first) = *known.entry(section.name.to_owned()).or_insert(fresh);
            let error = |kind| LinkError { file, place: Place::section(section.name), kind };
            let placed = if at == out.sections.len() {
                out.sections.push(copy(section));
                Placed { section: at, offset: 0, shared: false }
            } else {
                append(&mut out.sections[at], section, at, first).map_err(error)?
            };
            here[index] = Some(placed);
        }
        places.push(here);
    }
    Ok(Layout { places })
}

fn copy(section: &Section<'_>) -> OutSection {
    OutSection {
        name: section.name.to_owned(),
        kind: section.kind,
        flags: section.flags,
        align: section.align,
        size: section.size,
        data: section.data.to_vec(),
        relocs: Vec::new(),
    }
}

fn append(out: &mut OutSection, section: &Section<'_>, at: usize, first: usize) -> Result<Placed, Kind> {
    if is_shared(&out.name) {
        let same = out.data == section.data;
        return if same {
            Ok(Placed { section: at, offset: 0, shared: true })
        } else {
            Err(Kind::Differs { other: first })
        };
    }
    if out.kind != section.kind {
        return Err(Kind::Mixed { other: first, what: "whether it has bytes in the file" });
    }
    if (out.flags ^ section.flags) & 7 != 0 {
        return Err(Kind::Mixed { other: first, what: "whether it holds code or may be written" });
    }
    let align = out.align.max(section.align).clamp(1, 1 << 16);
    let offset = out.size.checked_next_multiple_of(align).ok_or(Kind::TooBig)?;
    let size = offset.checked_add(section.size).filter(|&s| s <= u64::from(u32::MAX)).ok_or(Kind::TooBig)?;
    if !section.is_nobits() {
        out.data.resize(offset as usize, 0);
        out.data.extend_from_slice(section.data);
    }
    out.size = size;
    out.align = out.align.max(section.align);
    Ok(Placed { section: at, offset, shared: false })
}

/// Adds how far a section has moved to the addend of a relocation that names the section.
pub(crate) fn add_to_addend(section: &mut OutSection, offset: u64, moved: u64) -> Result<(), LinkErrorKind> {
    if moved == 0 {
        return Ok(());
    }
    let at = usize::try_from(offset).unwrap_or(usize::MAX);
    let bytes = at.checked_add(8).and_then(|end| section.data.get_mut(at..end));
    let bytes = bytes.ok_or(Kind::Relocation("a relocation lies outside its section"))?;
    if section.flags & 4 == 0 {
        return Err(Kind::Relocation("a relocation of data names a section, which cannot be moved"));
    }
    // Calls count instructions, loads bytes; both in the immediate.
    let step = if bytes[0] == 0x85 { moved / 8 } else { moved };
    let imm = i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    bytes[4..8].copy_from_slice(&imm.wrapping_add(step as i32).to_le_bytes());
    Ok(())
}
