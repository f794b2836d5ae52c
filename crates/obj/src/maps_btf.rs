//! BTF map definitions: a variable of `.maps` whose struct type spells the map.
//!
//! `__uint(name, n)` is a member `int (*name)[n]`, `__type(name, T)` a member `T *name`, `__ulong(name, n)` an enum
//! with one value, a plain number of early definitions has its value in the section, and `__array(values, T)` a last member `T *values[]`, whose initial elements are relocations.
//! Fields and rules are those of libbpf's `parse_btf_map_def`.

use std::collections::HashMap;
use std::sync::Arc;

use skep_btf::{Btf, Member, Type};
use skep_platform::MapType;
use skep_platform::map::{MapBtf, MapDef};

use crate::elf::Rel;
use crate::error::{MapRule, ObjError, ObjErrorKind, Place};
use crate::functions::Functions;
use crate::maps::{Maps, place, symbols_of};
use crate::object::{MapOrigin, MapSpec, Slot};
use crate::open::{Opening, fail};

pub(crate) fn read(opening: &Opening<'_>, section: usize, maps: &mut Maps) -> Result<(), ObjError> {
    let symbols = symbols_of(opening, section);
    let types = opening.btf.as_ref().map(|btf| variable_types(btf, ".maps")).unwrap_or_default();
    for symbol in symbols {
        let bad = |rule| fail(place(".maps", symbol.name, symbol.value), ObjErrorKind::Map(rule));
        let btf = opening.btf.as_ref().ok_or_else(|| bad(MapRule::NoBtf))?;
        let type_id = *types.get(symbol.name).ok_or_else(|| bad(MapRule::NoType))?;
        let bytes = opening.elf.sections[section].data.get(symbol.value as usize..).unwrap_or_default();
        let def = definition(btf, symbol.name, type_id, 0, bytes).map_err(bad)?;
        maps.declare(section, spec(def, symbol.value));
    }
    Ok(())
}

fn spec(def: MapDef, offset: u64) -> MapSpec {
    MapSpec {
        def,
        origin: MapOrigin::Btf,
        section: ".maps".to_owned(),
        offset,
        contents: None,
        slots: Vec::new(),
    }
}

/// Types of the variables of a section, by name.
pub(crate) fn variable_types<'a>(btf: &'a Btf, section: &str) -> HashMap<&'a str, u32> {
    let id = btf.find_by_name_kind(section, skep_btf::Kind::Datasec);
    let Some(Type::Datasec(datasec)) = id.and_then(|id| btf.type_by_id(id)) else { return HashMap::new() };
    let variable = |info: skep_btf::VarSecinfo| match btf.type_by_id(info.type_id)? {
        Type::Var(var) => Some((var.name, var.type_id)),
        _ => None,
    };
    datasec.vars.filter_map(variable).collect()
}

/// Fields that a definition may have: each of those that exist, and some again.
const MAX_FIELDS: usize = 32;

/// A definition while its members are read.
struct Draft<'a> {
    btf: &'a Arc<Btf>,
    bytes: &'a [u8],
    def: MapDef,
    map_type: Option<u64>,
    key: Option<u32>,
    value: Option<u32>,
    key_type: u32,
    value_type: u32,
    depth: u8,
}

/// Reads the definition of type `type_id`, whose initial bytes are `bytes`.
pub(crate) fn definition(
    btf: &Arc<Btf>,
    name: &str,
    type_id: u32,
    depth: u8,
    bytes: &[u8],
) -> Result<MapDef, MapRule> {
    let shape = |expected| MapRule::Shape { field: name.to_owned(), expected };
    let Some((_, Type::Struct(body))) = btf.resolve(type_id) else {
        return Err(shape("a struct"));
    };
    let mut draft = Draft {
        btf,
        bytes,
        def: empty(name),
        map_type: None,
        key: None,
        value: None,
        key_type: 0,
        value_type: 0,
        depth,
    };
    let count = body.members.len();
    if count > MAX_FIELDS {
        return Err(shape("a struct of fewer fields"));
    }
    for (i, member) in body.members.enumerate() {
        draft.member(&member, i + 1 == count)?;
    }
    draft.finish()
}

fn empty(name: &str) -> MapDef {
    MapDef {
        name: name.to_owned(),
        map_type: MapType::Unspec,
        key_size: 0,
        value_size: 0,
        max_entries: 0,
        flags: 0,
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: None,
    }
}

impl Draft<'_> {
    fn member(&mut self, member: &Member<'_>, last: bool) -> Result<(), MapRule> {
        match member.name {
            "type" => self.map_type = Some(self.number(member)?),
            "max_entries" => self.def.max_entries = self.small(member)?,
            "map_flags" => self.def.flags = self.small(member)?,
            "numa_node" => self.def.numa_node = self.small(member)?,
            "map_extra" => self.def.map_extra = self.number(member)?,
            "key_size" => self.key = Some(agree(member, self.key, self.small(member)?)?),
            "value_size" => self.value = Some(agree(member, self.value, self.small(member)?)?),
            "key" => {
                let (id, size) = self.typed(member)?;
                self.key = Some(agree(member, self.key, size)?);
                self.key_type = id;
            }
            "value" => {
                let (id, size) = self.typed(member)?;
                self.value = Some(agree(member, self.value, size)?);
                self.value_type = id;
            }
            "values" => self.values(member, last)?,
            "pinning" => self.def.pin_by_name = self.pinning(member)?,
            _ => return Err(shape(member, "a field that map definitions have")),
        }
        Ok(())
    }

    /// `int (*name)[n]`, or an enum of one value, or (early BTF definitions) a number with an initial value.
    fn number(&self, member: &Member<'_>) -> Result<u64, MapRule> {
        let wrong = || shape(member, "a number written with __uint or __ulong");
        match self.btf.resolve(member.type_id) {
            Some((_, Type::Ptr(array))) => match self.btf.resolve(array) {
                Some((_, Type::Array(array))) => Ok(u64::from(array.nelems)),
                _ => Err(wrong()),
            },
            Some((_, Type::Int(int))) => {
                let at = (member.bit_offset / 8) as usize;
                let value = self.bytes.get(at..at + (int.size as usize).min(8)).ok_or_else(wrong)?;
                Ok(value.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
            }
            Some((_, t)) => match t.any_enum().and_then(|e| e.enumerators.get(0)) {
                Some(only) => Ok(only.value as u64),
                None => Err(wrong()),
            },
            None => Err(wrong()),
        }
    }

    fn small(&self, member: &Member<'_>) -> Result<u32, MapRule> {
        u32::try_from(self.number(member)?).map_err(|_| shape(member, "a number of 32 bits"))
    }

    /// `T *name`: the type and its size.
    fn typed(&self, member: &Member<'_>) -> Result<(u32, u32), MapRule> {
        let wrong = || shape(member, "a type of known size written with __type");
        let Some((_, Type::Ptr(id))) = self.btf.resolve(member.type_id) else { return Err(wrong()) };
        Ok((id, self.btf.size_of(id).ok_or_else(wrong)?))
    }

    fn pinning(&self, member: &Member<'_>) -> Result<bool, MapRule> {
        match self.number(member)? {
            0 => Ok(false),
            1 if self.depth == 0 => Ok(true),
            _ => Err(shape(member, "LIBBPF_PIN_NONE or LIBBPF_PIN_BY_NAME, and not of an inner map")),
        }
    }

    fn values(&mut self, member: &Member<'_>, last: bool) -> Result<(), MapRule> {
        let wrong = |expected| shape(member, expected);
        if !last || self.depth > 0 {
            return Err(wrong("the last field, and not of an inner map"));
        }
        let Some((_, Type::Array(array))) = self.btf.resolve(member.type_id) else {
            return Err(wrong("an array written with __array"));
        };
        let Some((_, Type::Ptr(element))) = self.btf.resolve(array.type_id) else {
            return Err(wrong("an array of pointers"));
        };
        self.value = Some(agree(member, self.value, 4)?);
        match (self.map_type.map(|t| t as u32).and_then(MapType::from_id), self.btf.resolve(element)) {
            (Some(MapType::ProgArray), Some((_, Type::FuncProto(_)))) => Ok(()),
            (Some(MapType::ArrayOfMaps | MapType::HashOfMaps), Some((id, Type::Struct(_)))) => {
                let inner =
                    definition(self.btf, &format!("{}.inner", self.def.name), id, self.depth + 1, &[])?;
                self.def.inner = Some(Box::new(inner));
                Ok(())
            }
            _ => Err(wrong("programs of a program array or maps of an array or hash of maps")),
        }
    }

    fn finish(mut self) -> Result<MapDef, MapRule> {
        let unknown = || MapRule::Shape { field: "type".to_owned(), expected: "the number of a map type" };
        let id = self.map_type.and_then(|t| u32::try_from(t).ok()).ok_or_else(unknown)?;
        self.def.map_type = MapType::from_id(id).ok_or_else(unknown)?;
        self.def.key_size = self.key.unwrap_or(0);
        self.def.value_size = self.value.unwrap_or(0);
        if matches!(self.def.map_type, MapType::Ringbuf | MapType::UserRingbuf) {
            self.def.max_entries = ring_size(self.def.max_entries);
        }
        if self.key_type != 0 || self.value_type != 0 {
            self.def.btf =
                Some(MapBtf { btf: Arc::clone(self.btf), key: self.key_type, value: self.value_type });
        }
        Ok(self.def)
    }
}

/// Bytes of a ring buffer: a power of two and whole pages, as the kernel wants it.
fn ring_size(bytes: u32) -> u32 {
    match bytes {
        0 => 0,
        n => n.max(4096).checked_next_power_of_two().unwrap_or(n),
    }
}

fn shape(member: &Member<'_>, expected: &'static str) -> MapRule {
    MapRule::Shape { field: member.name.to_owned(), expected }
}

fn agree(member: &Member<'_>, before: Option<u32>, now: u32) -> Result<u32, MapRule> {
    match before {
        Some(before) if before != now => Err(MapRule::Conflict {
            field: member.name.to_owned(),
            one: u64::from(now),
            other: u64::from(before),
        }),
        _ => Ok(now),
    }
}

/// Byte offset of member `values` in the definition of each map that has one, by index of the map.
pub(crate) fn values_offsets(btf: &Btf, maps: &Maps) -> HashMap<usize, u64> {
    let types = variable_types(btf, ".maps");
    let values = |(index, map): (usize, &MapSpec)| {
        let (_, body) = btf.resolve(*types.get(map.def.name.as_str())?)?;
        let member = body.composite()?.members.find(|m| m.name == "values")?;
        Some((index, u64::from(member.bit_offset / 8)))
    };
    maps.list.iter().enumerate().filter(|(_, m)| m.origin == MapOrigin::Btf).filter_map(values).collect()
}

/// A relocation of `.maps`: the entry of the map around it gets the program or map that the symbol names.
pub(crate) fn initial(
    opening: &Opening<'_>,
    section: usize,
    rel: Rel,
    functions: &Functions,
    maps: &mut Maps,
    values: &HashMap<usize, u64>,
) -> Result<(), (Place, &'static str)> {
    let symbol = &opening.elf.symbols[rel.symbol];
    let at = place(".maps", symbol.name, rel.offset);
    let bad = |why| (at.clone(), why);
    let home = symbol.section().ok_or_else(|| bad("names something that is not in this object"))?;
    let outer = maps.last_declared_before(section, rel.offset).ok_or_else(|| bad("lies in no map"))?;
    let values = values.get(&outer).ok_or_else(|| bad("the map takes no values"))?;
    let inside = (rel.offset - maps.list[outer].offset)
        .checked_sub(*values)
        .filter(|inside| inside % 8 == 0)
        .ok_or_else(|| bad("lies on no element of the map's values"))?;
    let key = u32::try_from(inside / 8).map_err(|_| bad("lies outside the map"))?;
    let target = symbol.value.wrapping_add(rel.addend as u64);
    let slot = if maps.list[outer].def.map_type == MapType::ProgArray {
        let function = functions.starting_at(home, target).ok_or_else(|| bad("names no program"))?;
        Slot::Function(function)
    } else if home == section {
        Slot::Map(maps.declared_at(section, target).ok_or_else(|| bad("names no map"))?)
    } else {
        return Err(bad("names no map"));
    };
    maps.list[outer].slots.push((key, slot));
    Ok(())
}
