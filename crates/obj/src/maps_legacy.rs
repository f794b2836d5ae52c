//! Maps declared as plain structs, before BTF: sections `maps` and `maps/NAME`.
//!
//! All layouts begin with type, key size, value size, maximum entries, flags (32 bits each). What follows depends on
//! who wrote the header:
//!
//! | bytes | fields after `flags` | who |
//! |---|---|---|
//! | 16, 20 | none (16: no flags either) | libbpf's `struct bpf_map_def` |
//! | 28 | inner map index, NUMA node | the kernel's samples |
//! | 28 | id, pinning | early iproute2 |
//! | 36 | id, pinning, inner id, inner index | iproute2's `struct bpf_elf_map` |
//! | 280 | pinning, namespace (256 bytes) | gobpf |
//!
//! Definitions are delimited by their symbols, so entries of one section may differ in size. Bytes behind the known
//! fields must be zero; if they are not, a diagnostic says so.

use std::collections::HashMap;

use skep_btf::{Kind, Type};
use skep_platform::MapType;
use skep_platform::map::{MapBtf, MapDef, flags};

use crate::error::{DiagnosticKind, MapRule, ObjError, ObjErrorKind};
use crate::maps::{Maps, place, symbols_of};
use crate::object::{Iproute2, MapOrigin, MapSpec, Slot};
use crate::open::{Opening, fail};

/// Index of the inner map that a sample's outer map names, kept until all maps are known.
const INNER_INDEX: u32 = u32::MAX;

pub(crate) fn read(
    opening: &mut Opening<'_>,
    section: usize,
    numeric: bool,
    maps: &mut Maps,
) -> Result<(), ObjError> {
    let (name, data) = (opening.elf.sections[section].name, opening.elf.sections[section].data);
    let own_name = name.strip_prefix("maps/");
    let mut entries: Vec<(String, u64)> =
        symbols_of(opening, section).iter().map(|s| (s.name.to_owned(), s.value)).collect();
    if entries.is_empty()
        && let Some(own) = own_name
    {
        entries.push((own.to_owned(), 0));
    }
    let ends: Vec<u64> = entries.iter().skip(1).map(|e| e.1).chain([data.len() as u64]).collect();
    for ((symbol, start), end) in entries.iter().zip(ends) {
        let bad = |rule| fail(place(name, symbol, *start), ObjErrorKind::Map(rule));
        let bytes = data.get(*start as usize..end as usize).ok_or_else(|| bad(MapRule::Outside))?;
        let layout = Layout::of(bytes, numeric);
        let (mut spec, tail) = layout.read(symbol, bytes).map_err(bad)?;
        (spec.section, spec.offset) = (name.to_owned(), *start);
        spec.def.btf = annotated(opening, &spec.def);
        if tail {
            opening.note(place(name, symbol, *start), DiagnosticKind::MapTail);
        }
        maps.declare(section, spec);
    }
    Ok(())
}

/// `2/7`, as iproute2 names the programs of a tail-call map.
pub(crate) fn is_numeric(section: &str) -> bool {
    section.split_once('/').is_some_and(|(a, b)| {
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|c| c.is_ascii_digit());
        digits(a) && digits(b)
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Plain,
    Samples,
    Iproute2,
    Gobpf,
}

impl Layout {
    fn of(bytes: &[u8], numeric_sections: bool) -> Layout {
        match bytes.len() {
            36 => Layout::Iproute2,
            280 => Layout::Gobpf,
            28 if numeric_sections => Layout::Iproute2,
            28 => {
                // The samples' extra fields mean something for few maps; elsewhere the bytes are iproute2's.
                let (map_type, map_flags) = (word(bytes, 0), word(bytes, 4));
                let inner = matches!(map_type, 12 | 13);
                let zero = word(bytes, 5) == 0 && word(bytes, 6) == 0;
                if inner || zero || map_flags & flags::NUMA_NODE != 0 {
                    Layout::Samples
                } else {
                    Layout::Iproute2
                }
            }
            _ => Layout::Plain,
        }
    }

    /// Bytes that the layout knows.
    fn known(self) -> usize {
        match self {
            Layout::Plain => 20,
            Layout::Samples => 28,
            Layout::Iproute2 => 36,
            Layout::Gobpf => 280,
        }
    }

    /// The map, and whether there are unknown bytes that are not zero.
    fn read(self, name: &str, bytes: &[u8]) -> Result<(MapSpec, bool), MapRule> {
        if bytes.len() < 16 {
            return Err(MapRule::TooShort { len: bytes.len() as u64 });
        }
        let map_type = MapType::from_id(word(bytes, 0))
            .ok_or(MapRule::Shape { field: "type".to_owned(), expected: "the number of a map type" })?;
        let mut def = MapDef {
            name: name.to_owned(),
            map_type,
            key_size: word(bytes, 1),
            value_size: word(bytes, 2),
            max_entries: word(bytes, 3),
            flags: word(bytes, 4),
            map_extra: 0,
            numa_node: 0,
            pin_by_name: false,
            inner: None,
            btf: None,
        };
        let mut origin = MapOrigin::Legacy;
        match self {
            Layout::Plain => {}
            Layout::Samples if def.flags & flags::NUMA_NODE != 0 => def.numa_node = word(bytes, 6),
            Layout::Samples => {}
            Layout::Gobpf => def.pin_by_name = word(bytes, 5) != 0,
            Layout::Iproute2 => {
                let extra = Iproute2 {
                    id: word(bytes, 5),
                    pinning: word(bytes, 6),
                    inner_id: word(bytes, 7),
                    inner_idx: word(bytes, 8),
                };
                def.pin_by_name = extra.pinning != 0;
                origin = MapOrigin::Iproute2(extra);
            }
        }
        let tail = bytes.get(self.known()..).is_some_and(|rest| rest.iter().any(|&b| b != 0));
        let mut spec =
            MapSpec { def, origin, section: String::new(), offset: 0, contents: None, slots: Vec::new() };
        if self == Layout::Samples && matches!(spec.def.map_type, MapType::ArrayOfMaps | MapType::HashOfMaps)
        {
            spec.slots.push((INNER_INDEX, Slot::Map(word(bytes, 5) as usize)));
        }
        Ok((spec, tail))
    }
}

/// Field `index` of 32 bits; 0 beyond the end.
fn word(bytes: &[u8], index: usize) -> u32 {
    bytes.get(index * 4..index * 4 + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// Key and value types by `struct ____btf_map_NAME { key; value; }`.
fn annotated(opening: &Opening<'_>, def: &MapDef) -> Option<MapBtf> {
    let btf = opening.btf.as_ref()?;
    let id = btf.find_by_name_kind(&format!("____btf_map_{}", def.name), Kind::Struct)?;
    let Type::Struct(pair) = btf.type_by_id(id)? else { return None };
    let (key, value) = (pair.members.get(0)?, pair.members.get(1)?);
    let fits =
        btf.size_of(key.type_id) == Some(def.key_size) && btf.size_of(value.type_id) == Some(def.value_size);
    fits.then(|| MapBtf { btf: btf.clone(), key: key.type_id, value: value.type_id })
}

/// Gives outer maps the definitions of their inner maps, which they name by index or id.
pub(crate) fn link_inner(maps: &mut Maps) {
    let by_id: HashMap<u32, usize> = maps
        .list
        .iter()
        .enumerate()
        .filter_map(|(index, m)| match &m.origin {
            MapOrigin::Iproute2(i) if i.id != 0 => Some((i.id, index)),
            _ => None,
        })
        .collect();
    let outer_by_inner: HashMap<u32, usize> = maps
        .list
        .iter()
        .enumerate()
        .filter_map(|(index, m)| match &m.origin {
            MapOrigin::Iproute2(i) if i.inner_id != 0 => Some((i.inner_id, index)),
            _ => None,
        })
        .collect();
    for outer in 0..maps.list.len() {
        let Some(inner) = inner_of(&maps.list[outer], &by_id) else { continue };
        maps.list[outer].slots.retain(|(key, _)| *key != INNER_INDEX);
        if inner != outer
            && let Some(spec) = maps.list.get(inner)
        {
            let mut def = spec.def.clone();
            def.inner = None;
            maps.list[outer].def.inner = Some(Box::new(def));
        }
    }
    place_inner(maps, &outer_by_inner);
}

fn inner_of(map: &MapSpec, by_id: &HashMap<u32, usize>) -> Option<usize> {
    match (&map.origin, map.slots.first()) {
        (_, Some((INNER_INDEX, Slot::Map(index)))) => Some(*index),
        (MapOrigin::Iproute2(i), _) if i.inner_id != 0 => by_id.get(&i.inner_id).copied(),
        _ => None,
    }
}

/// iproute2 puts each map into the slot `inner_idx` of the outer map that names its id; -1 is "not there".
fn place_inner(maps: &mut Maps, outer_by_inner: &HashMap<u32, usize>) {
    for index in 0..maps.list.len() {
        let MapOrigin::Iproute2(i) = &maps.list[index].origin else { continue };
        let (id, slot) = (i.id, i.inner_idx);
        if slot != u32::MAX
            && let Some(&outer) = outer_by_inner.get(&id)
            && outer != index
        {
            maps.list[outer].slots.push((slot, Slot::Map(index)));
        }
    }
}
