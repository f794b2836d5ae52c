//! Data sections as maps: `.rodata*`, `.data*`, `.bss*` become arrays of one value, their contents; `.addr_space.1`
//! becomes the contents of the object's arena.

use skep_btf::{Kind, Type};
use skep_platform::MapType;
use skep_platform::map::{MapBtf, MapDef, flags};

use crate::elf::Section;
use crate::error::{DiagnosticKind, MapRule, ObjError, ObjErrorKind, Place};
use crate::maps::Maps;
use crate::object::{MapOrigin, MapSpec};
use crate::open::{Opening, fail};

/// Section whose variables lie in the arena.
const ARENA: &str = ".addr_space.1";

pub(crate) fn read(opening: &mut Opening<'_>, maps: &mut Maps) -> Result<(), ObjError> {
    for index in 0..opening.elf.sections.len() {
        let section = &opening.elf.sections[index];
        if section.name == ARENA && section.size > 0 {
            arena(opening, index, maps);
        } else if let Some(origin) = origin(section)
            && section.size > 0
        {
            let spec = spec(opening, section, origin)?;
            maps.add_data(index, spec);
        }
    }
    Ok(())
}

fn origin(section: &Section<'_>) -> Option<MapOrigin> {
    if section.is_code() || !(section.is_progbits() || section.is_nobits()) {
        return None;
    }
    let is = |base: &str| {
        section.name.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    match () {
        () if is(".rodata") => Some(MapOrigin::Rodata),
        () if is(".data") => Some(MapOrigin::Data),
        () if is(".bss") => Some(MapOrigin::Bss),
        () => None,
    }
}

fn spec(opening: &Opening<'_>, section: &Section<'_>, origin: MapOrigin) -> Result<MapSpec, ObjError> {
    let size = u32::try_from(section.size).ok().filter(|&size| size < 1 << 31);
    let size = size.ok_or_else(|| {
        let rule = MapRule::Shape { field: "size".to_owned(), expected: "below 2 GiB" };
        fail(Place::section(section.name), ObjErrorKind::Map(rule))
    })?;
    let mut def = value_map(section.name, size);
    if origin == MapOrigin::Rodata {
        def.flags |= flags::RDONLY_PROG;
    }
    if let Some(btf) = &opening.btf
        && let Some(id) = btf.find_by_name_kind(section.name, Kind::Datasec)
    {
        def.btf = Some(MapBtf { btf: btf.clone(), key: 0, value: id });
        if has_visible_variable(btf, id) {
            def.flags |= flags::MMAPABLE;
        }
    }
    let contents = (!section.is_nobits()).then(|| section.data.to_vec());
    let contents = contents.filter(|bytes| bytes.iter().any(|&b| b != 0));
    Ok(MapSpec { def, origin, section: section.name.to_owned(), offset: 0, contents, slots: Vec::new() })
}

/// An array of one value.
pub(crate) fn value_map(name: &str, size: u32) -> MapDef {
    MapDef {
        name: name.to_owned(),
        map_type: MapType::Array,
        key_size: 4,
        value_size: size,
        max_entries: 1,
        flags: 0,
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: None,
    }
}

/// User space gets at a section through memory only if something in it has a name outside the object.
fn has_visible_variable(btf: &skep_btf::Btf, datasec: u32) -> bool {
    let Some(Type::Datasec(datasec)) = btf.type_by_id(datasec) else { return false };
    datasec.vars.into_iter().any(|info| match btf.type_by_id(info.type_id) {
        Some(Type::Var(var)) => var.linkage != skep_btf::VarLinkage::Static,
        _ => false,
    })
}

fn arena(opening: &mut Opening<'_>, index: usize, maps: &mut Maps) {
    let section = &opening.elf.sections[index];
    let Some(map) = maps.list.iter().position(|m| m.def.map_type == MapType::Arena) else {
        return opening.note(Place::section(ARENA), DiagnosticKind::IgnoredSection);
    };
    if !section.is_nobits() {
        maps.list[map].contents = Some(section.data.to_vec());
    }
    maps.alias_data(index, map);
}
