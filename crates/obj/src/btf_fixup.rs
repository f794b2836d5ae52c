//! The object's BTF, with sizes and offsets of data sections as the ELF symbols say (compilers leave them 0).

use std::collections::HashMap;

use skep_btf::{Btf, Kind};

use crate::elf::Elf;
use crate::error::{DiagnosticKind, ObjError, ObjErrorKind, Place};
use crate::open::{Opening, fail};

/// Sections that mean nothing without BTF.
const NEED_BTF: [&str; 3] = [".maps", ".kconfig", ".struct_ops"];

pub(crate) fn read(opening: &mut Opening<'_>) -> Result<Option<Btf>, ObjError> {
    let Some((_, section)) = opening.elf.section(".BTF") else { return Ok(None) };
    let mut btf = match Btf::parse(section.data) {
        Ok(btf) => btf,
        Err(e) if NEED_BTF.iter().any(|name| opening.elf.section(name).is_some()) => {
            return Err(fail(Place::section(".BTF"), ObjErrorKind::Btf(e.to_string())));
        }
        Err(e) => {
            opening.note(Place::section(".BTF"), DiagnosticKind::Btf(e.to_string()));
            return Ok(None);
        }
    };
    lay_out(&opening.elf, &mut btf);
    Ok(Some(btf))
}

fn lay_out(elf: &Elf<'_>, btf: &mut Btf) {
    // Kinds first: names of all others need not be read.
    let datasecs: Vec<(u32, String)> = (1..btf.type_count())
        .filter(|&id| btf.kind_of(id) == Some(Kind::Datasec))
        .map(|id| (id, btf.name_of(id).to_owned()))
        .collect();
    let sizes: HashMap<&str, (usize, u64)> =
        elf.sections.iter().enumerate().rev().map(|(i, s)| (s.name, (i, s.size))).collect();
    let globals = global_offsets(elf);
    for (id, name) in datasecs {
        let Some(&(section, size)) = sizes.get(name.as_str()) else { continue };
        let Ok(size) = u32::try_from(size) else { continue };
        btf.set_datasec(id, size, |var| globals.get(&(section, var)).copied());
    }
}

/// Offsets of global variables by section and name. Static ones have the right offset from the compiler, and may
/// share a name.
fn global_offsets<'a>(elf: &'a Elf<'a>) -> HashMap<(usize, &'a str), u32> {
    let of = |s: &'a crate::elf::Symbol<'a>| Some(((s.section()?, s.name), u32::try_from(s.value).ok()?));
    elf.symbols.iter().filter(|s| s.is_global() && !s.is_func()).filter_map(of).collect()
}
