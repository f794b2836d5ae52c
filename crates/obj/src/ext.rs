//! `.BTF.ext`: function types, source lines and CO-RE relocations, given to the functions they belong to.

use std::collections::HashMap;

use skep_btf::{Btf, BtfExt, ExtSection, Kind, Type};

use crate::error::{DiagnosticKind, Place};
use crate::functions::Functions;
use crate::object::{CoreReloc, Function, Line};
use crate::open::Opening;

pub(crate) fn read(opening: &mut Opening<'_>, functions: &mut Functions) {
    let (Some(btf), Some((_, section))) = (opening.btf.clone(), opening.elf.section(".BTF.ext")) else {
        return;
    };
    let ext = match BtfExt::parse(section.data, &btf) {
        Ok(ext) => ext,
        Err(e) => return opening.note(Place::section(".BTF.ext"), DiagnosticKind::BtfExt(e.to_string())),
    };
    let code: HashMap<&str, usize> = opening
        .elf
        .sections
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, s)| s.is_code())
        .map(|(index, s)| (s.name, index))
        .collect();
    let mut give = Giver { btf: &btf, code: &code, functions };
    give.all(
        &ext.func_info,
        |r| r.insn_off,
        |f, insn, r| {
            if insn == 0 {
                f.type_id = r.type_id;
            }
        },
    );
    give.all(
        &ext.line_info,
        |r| r.insn_off,
        |f, insn, r| {
            let (file, text) = (r.file_name_off, r.line_off);
            f.lines.push(Line { insn, file, text, line: r.line(), column: r.column() });
        },
    );
    give.all(&ext.core_relo, |r| r.insn_off, |f, insn, r| f.core.push(CoreReloc { insn, record: *r }));
    for function in &mut functions.list {
        function.lines.sort_by_key(|l| l.insn);
    }
    exception_callbacks(&btf, functions);
}

/// Programs name the function that handles their exceptions by a tag, `exception_callback:NAME`.
fn exception_callbacks(btf: &Btf, functions: &mut Functions) {
    let tag = |id| match btf.type_by_id(id)? {
        Type::DeclTag(tag) if tag.component.is_none() => {
            let callback = tag.name.strip_prefix("exception_callback:")?;
            Some((tag.type_id, callback.to_owned()))
        }
        _ => None,
    };
    // Kinds first: names of all others need not be read.
    let tagged = (1..btf.type_count()).filter(|&id| btf.kind_of(id) == Some(Kind::DeclTag));
    let tags: HashMap<u32, String> = tagged.filter_map(tag).collect();
    if tags.is_empty() {
        return;
    }
    let by_name: HashMap<String, usize> =
        functions.list.iter().enumerate().rev().map(|(index, f)| (f.name.clone(), index)).collect();
    for function in &mut functions.list {
        if let (Some(entry), Some(callback)) = (&mut function.entry, tags.get(&function.type_id)) {
            entry.exception_callback = by_name.get(callback).copied();
        }
    }
}

/// Gives records to the functions that their offsets lie in.
struct Giver<'a> {
    btf: &'a Btf,
    code: &'a HashMap<&'a str, usize>,
    functions: &'a mut Functions,
}

impl Giver<'_> {
    fn all<T>(
        &mut self,
        sections: &[ExtSection<T>],
        offset: impl Fn(&T) -> u32,
        mut give: impl FnMut(&mut Function, u32, &T),
    ) {
        for section in sections {
            let Some(&index) = self.code.get(section.section(self.btf)) else { continue };
            for record in &section.records {
                let at = u64::from(offset(record));
                if let Some(function) = self.functions.covering(index, at) {
                    let function = &mut self.functions.list[function];
                    give(function, (at / 8) as u32 - function.offset, record);
                }
            }
        }
    }
}
