//! Static linking: several objects → one relocatable object, as `bpftool gen object` makes it.
//!
//! Flow: [`symbols`] decides which definition each global name means → [`sections`] lays sections of one name behind
//! each other → relocations move along and name the chosen symbols → [`types`] merges BTF and `.BTF.ext`, and holds
//! every extern against its definition ([`compat`]) → [`crate::write`].
//!
//! What always holds: the result opens with [`crate::Object::parse`], and means what the parts meant: every reference
//! that one definition satisfies is bound, the rest stay extern. Two strong definitions, differing licenses, and
//! externs of another type than their definition are errors that name the files.

mod compat;
mod error;
mod sections;
mod symbols;
mod types;

use skep_btf::{Btf, BtfExt};

use crate::elf::Elf;
use crate::error::{ObjErrorKind, Place};
use crate::open::fail;
use crate::write::{ElfFile, OutReloc};

pub use error::{LinkError, LinkErrorKind};

/// One object to link.
pub(crate) struct Input<'a> {
    pub(crate) elf: Elf<'a>,
    pub(crate) btf: Option<Btf>,
    pub(crate) ext: Option<BtfExt>,
}

impl<'a> Input<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Input<'a>, crate::ObjError> {
        // An object that cannot be opened alone is refused here, where the file can be named.
        crate::Object::parse(bytes)?;
        let elf = Elf::parse(bytes)?;
        let bad =
            |name: &str, e: skep_btf::BtfError| fail(Place::section(name), ObjErrorKind::Btf(e.to_string()));
        let btf = match elf.section(".BTF") {
            Some((_, section)) => Some(Btf::parse(section.data).map_err(|e| bad(".BTF", e))?),
            None => None,
        };
        let ext = match (&btf, elf.section(".BTF.ext")) {
            (Some(btf), Some((_, section))) => {
                Some(BtfExt::parse(section.data, btf).map_err(|e| bad(".BTF.ext", e))?)
            }
            _ => None,
        };
        Ok(Input { elf, btf, ext })
    }
}

/// Links objects, given as the bytes of their files, into one. Cost: linear in their sizes, and what merging types
/// takes.
///
/// # Errors
/// A file that is no object, and definitions that contradict each other; the error names files by their index.
pub fn link(files: &[&[u8]]) -> Result<Vec<u8>, LinkError> {
    let inputs: Vec<Input<'_>> = files
        .iter()
        .enumerate()
        .map(|(file, bytes)| Input::parse(bytes).map_err(|e| LinkError::object(file, e)))
        .collect::<Result<_, _>>()?;
    let mut out = ElfFile::default();
    let layout = sections::lay_out(&inputs, &mut out)?;
    let symbols = symbols::resolve(&inputs, &layout, &mut out)?;
    relocate(&inputs, &layout, &symbols, &mut out)?;
    types::merge(&inputs, &layout, &symbols, &mut out)?;
    if out.sections.len() > crate::write::MAX_SECTIONS {
        return Err(LinkError { file: 0, place: Place::file(), kind: LinkErrorKind::TooBig });
    }
    let bytes = out.write();
    match crate::Object::parse(&bytes) {
        Ok(_) => Ok(bytes),
        Err(e) => {
            Err(LinkError { file: 0, place: e.place.clone(), kind: LinkErrorKind::Result(Box::new(e)) })
        }
    }
}

/// Moves relocations, and the addends in the bytes of those that name a section.
fn relocate(
    inputs: &[Input<'_>],
    layout: &sections::Layout,
    symbols: &symbols::Symbols,
    out: &mut ElfFile,
) -> Result<(), LinkError> {
    for (file, input) in inputs.iter().enumerate() {
        let dead = symbols.dead_code(file, &input.elf);
        for (index, holder) in input.elf.sections.iter().enumerate().filter(|s| s.1.is_reloc()) {
            let Some(place) = layout.place(file, holder.info as usize) else { continue };
            if place.shared {
                continue;
            }
            let rels = input.elf.relocations(index).map_err(|e| LinkError::object(file, e))?;
            let gone = dead.get(&(holder.info as usize)).map_or(&[][..], Vec::as_slice);
            for rel in rels {
                if gone.iter().any(|&(from, to)| (from..to).contains(&rel.offset)) {
                    continue;
                }
                let symbol = &input.elf.symbols[rel.symbol];
                let Some(target) = symbols.out(file, rel.symbol) else { continue };
                let offset = place.offset.saturating_add(rel.offset);
                let moved =
                    symbol.section().filter(|_| symbol.is_section()).and_then(|s| layout.place(file, s));
                let section = &mut out.sections[place.section];
                if let Some(moved) = moved {
                    let done = sections::add_to_addend(section, offset, moved.offset);
                    done.map_err(|kind| {
                        LinkError::at(file, input.elf.sections[holder.info as usize].name, rel.offset, kind)
                    })?;
                }
                section.relocs.push(OutReloc { offset, symbol: target, kind: rel.kind });
            }
        }
    }
    for section in &mut out.sections {
        section.relocs.sort_by_key(|r| r.offset);
    }
    Ok(())
}
