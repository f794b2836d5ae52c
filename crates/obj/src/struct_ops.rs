//! `struct_ops` variables as map definitions with programs as members.
//!
//! Sections `.struct_ops` and `.struct_ops.link`, each with a leading `?` for variables that are not created unless
//! asked for. A variable whose type cannot be understood leaves a diagnostic, and nothing else is lost.

use std::collections::HashMap;

use skep_btf::{Btf, Kind, Type, VarSecinfo};
use skep_platform::MapType;
use skep_platform::map::{MapBtf, flags};

use crate::data::value_map;
use crate::error::{DiagnosticKind, ObjError, Place};
use crate::functions::Functions;
use crate::maps::Maps;
use crate::object::{MapOrigin, MapSpec, StructOps, StructOpsMember};
use crate::open::Opening;

pub(crate) fn read(
    opening: &mut Opening<'_>,
    maps: &mut Maps,
    functions: &Functions,
) -> Result<(), ObjError> {
    for index in 0..opening.elf.sections.len() {
        let name = opening.elf.sections[index].name;
        let bare = name.strip_prefix('?').unwrap_or(name);
        // BTF tells sections apart by name alone: only the first of a name has variables.
        let first = opening.elf.section(name).is_some_and(|(i, _)| i == index);
        if first && (bare == ".struct_ops" || bare == ".struct_ops.link") {
            read_section(opening, index, maps, functions)?;
        }
    }
    Ok(())
}

fn read_section(
    opening: &mut Opening<'_>,
    section: usize,
    maps: &mut Maps,
    functions: &Functions,
) -> Result<(), ObjError> {
    let name = opening.elf.sections[section].name;
    let first = maps.list.len();
    let mut end = 0;
    for info in variables(opening.btf.as_deref(), name) {
        let made = match info.offset >= end {
            true => variable(opening, section, info),
            false => Err("overlaps the variable before"),
        };
        match made {
            Ok(spec) => {
                end = info.offset.saturating_add(spec.def.value_size);
                maps.declare(section, spec);
            }
            Err(why) => {
                let place = Place::section(name).at(u64::from(info.offset));
                opening.note(place, DiagnosticKind::StructOps(why.to_owned()));
            }
        }
    }
    let holders: Vec<usize> = opening
        .elf
        .sections
        .iter()
        .enumerate()
        .filter(|(_, s)| s.is_reloc() && s.info as usize == section)
        .map(|(i, _)| i)
        .collect();
    let members = Members::of(opening.btf.as_deref(), &maps.list[first..]);
    for holder in holders {
        for rel in opening.elf.relocations(holder)? {
            if let Err(why) = member(opening, section, rel, maps, functions, &members) {
                let place = Place::section(name).symbol(opening.elf.symbols[rel.symbol].name).at(rel.offset);
                opening.note(place, DiagnosticKind::BadRelocation(why));
            }
        }
    }
    Ok(())
}

fn variables(btf: Option<&Btf>, section: &str) -> Vec<VarSecinfo> {
    let id = btf.and_then(|btf| Some((btf, btf.find_by_name_kind(section, Kind::Datasec)?)));
    match id.and_then(|(btf, id)| btf.type_by_id(id)) {
        Some(Type::Datasec(datasec)) => datasec.vars.collect(),
        _ => Vec::new(),
    }
}

fn variable(opening: &Opening<'_>, section: usize, info: VarSecinfo) -> Result<MapSpec, &'static str> {
    let section = &opening.elf.sections[section];
    let btf = opening.btf.as_ref().ok_or("needs BTF")?;
    let Some(Type::Var(var)) = btf.type_by_id(info.type_id) else { return Err("no variable") };
    let Some((type_id, Type::Struct(body))) = btf.resolve(var.type_id) else { return Err("no struct") };
    let (start, len) = (info.offset as usize, body.size as usize);
    let end = start
        .checked_add(len)
        .filter(|&end| end as u64 <= section.size)
        .ok_or("reaches outside its section")?;
    let contents = section.data.get(start..end).map(<[u8]>::to_vec);
    let mut def = value_map(var.name, body.size);
    def.map_type = MapType::StructOps;
    def.flags = if section.name.ends_with(".link") { flags::LINK } else { 0 };
    def.btf = Some(MapBtf { btf: btf.clone(), key: 0, value: type_id });
    let ops = StructOps {
        type_name: body.name.to_owned(),
        type_id,
        link: section.name.ends_with(".link"),
        autocreate: !section.name.starts_with('?'),
        programs: Vec::new(),
    };
    let (section, offset) = (section.name.to_owned(), u64::from(info.offset));
    Ok(MapSpec { def, origin: MapOrigin::StructOps(ops), section, offset, contents, slots: Vec::new() })
}

/// A relocation of the section: a member that points to a program.
fn member(
    opening: &Opening<'_>,
    section: usize,
    rel: crate::elf::Rel,
    maps: &mut Maps,
    functions: &Functions,
    members: &Members,
) -> Result<(), &'static str> {
    let symbol = &opening.elf.symbols[rel.symbol];
    let map = maps.last_declared_before(section, rel.offset).ok_or("lies in no variable")?;
    let inside = rel.offset - maps.list[map].offset;
    let MapOrigin::StructOps(ops) = &mut maps.list[map].origin else { return Err("lies in no variable") };
    let (index, name) = members.0.get(&(ops.type_id, inside)).ok_or("lies on no member")?;
    let home = symbol.section().ok_or("names something that is not in this object")?;
    let target = symbol.value.wrapping_add(rel.addend as u64);
    let function = functions.starting_at(home, target).ok_or("names no program")?;
    let (member, index) = (name.clone(), *index);
    ops.programs.push(StructOpsMember { member, index, offset: inside as u32, function });
    Ok(())
}

/// Members of the structs of a section's variables: index and name, by type and offset in bytes.
struct Members(HashMap<(u32, u64), (u32, String)>);

/// Members of a struct that are looked at; the kernel's largest has under a hundred.
const MAX_MEMBERS: usize = 1024;

impl Members {
    fn of(btf: Option<&Btf>, maps: &[MapSpec]) -> Members {
        let mut types: Vec<u32> = maps
            .iter()
            .filter_map(|m| match &m.origin {
                MapOrigin::StructOps(ops) => Some(ops.type_id),
                _ => None,
            })
            .collect();
        types.sort_unstable();
        types.dedup();
        let mut known = HashMap::new();
        for type_id in types {
            let body = btf.and_then(|btf| btf.type_by_id(type_id)?.composite());
            for (index, m) in body.into_iter().flat_map(|b| b.members.take(MAX_MEMBERS)).enumerate() {
                if m.bit_offset % 8 == 0 {
                    let at = (type_id, u64::from(m.bit_offset / 8));
                    known.entry(at).or_insert_with(|| (index as u32, m.name.to_owned()));
                }
            }
        }
        Members(known)
    }
}
