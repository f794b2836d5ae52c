//! The BTF that map definitions, variables and externs need. Maps have the shape that `__uint(max_entries, 4)` and its like have in C:
//! a number is a pointer to an array of that many elements, or an enum's value where 32 bits are too few.

use skep_btf::{BtfBuilder, BuildError, FuncLinkage, IntEncoding, Member, VarLinkage, VarSecinfo};
use skep_btf::{Enumerator, Param};
use skep_isa::asm::{AsmObject, Binding, Contents, MapDef, MapSpec, Section, Symbol, SymbolKind};
use skep_platform::MapType;

/// A map definition in `.maps`: place and size of its struct, and offset of `values` in it.
pub(super) struct MapPlace {
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) values: u64,
}

/// The BTF of an object, and where each map of `.maps` lies.
pub(super) struct Types {
    pub(super) btf: Vec<u8>,
    pub(super) places: Vec<MapPlace>,
}

struct Maker {
    btf: BtfBuilder,
    int: u32,
}

/// Makes the types. `None` when no map, variable or extern needs any.
pub(super) fn make(object: &AsmObject) -> Result<Option<Types>, BuildError> {
    let has_extern = object.externs.iter().any(|e| e.section.is_some());
    if object.maps.is_empty() && !has_extern && !object.sections.iter().any(|s| variables(s).next().is_some())
    {
        return Ok(None);
    }
    let mut btf = BtfBuilder::new();
    let int = btf.add_int("int", 4, IntEncoding { signed: true, char: false, bool: false })?;
    let mut maker = Maker { btf, int };
    let places = maker.maps(&object.maps)?;
    for section in &object.sections {
        maker.data(section)?;
    }
    maker.externs(object)?;
    Ok(Some(Types { btf: maker.btf.emit(), places }))
}

/// The variables of a data section.
fn variables(section: &Section) -> impl Iterator<Item = &Symbol> {
    let is_data = matches!(section.contents, Contents::Data(_) | Contents::ReadOnly(_) | Contents::Bss(_))
        && [".data", ".rodata", ".bss"].iter().any(|p| section.name.starts_with(p));
    section.symbols.iter().filter(move |s| is_data && s.kind == SymbolKind::Object && s.size > 0)
}

/// Number of a map type: `hash`, or the number itself.
pub(super) fn map_type(word: &str) -> Option<u32> {
    let known = MapType::ALL.iter().find(|(t, _)| t.label() == word).map(|(t, _)| *t as u32);
    known.or_else(|| word.parse().ok())
}

impl Maker {
    fn maps(&mut self, maps: &[MapDef]) -> Result<Vec<MapPlace>, BuildError> {
        let (mut places, mut vars, mut offset) = (Vec::new(), Vec::new(), 0u32);
        for map in maps {
            let (struct_id, size, values) = self.map(map)?;
            let type_id = self.btf.add_var(&map.name, struct_id, linkage(map.binding))?;
            vars.push(VarSecinfo { type_id, offset, size });
            places.push(MapPlace { offset: offset.into(), size: size.into(), values: values.into() });
            offset = offset.saturating_add(size);
        }
        if !vars.is_empty() {
            self.btf.add_datasec(".maps", offset, &vars)?;
        }
        Ok(places)
    }

    /// The struct of a map: its id, its size, and the offset of `values`.
    fn map(&mut self, map: &MapDef) -> Result<(u32, u32, u32), BuildError> {
        let mut members = self.numbers(&map.spec)?;
        let values = members.len() as u32 * 8;
        let element = match &map.inner {
            Some(inner) => {
                let inner = self.numbers(inner)?;
                let inner = self.structure(&inner)?;
                Some(self.btf.add_ptr(inner)?)
            }
            None if !map.values.is_empty() => {
                let proto = self.btf.add_func_proto(self.int, &[] as &[Param<'_>])?;
                Some(self.btf.add_ptr(proto)?)
            }
            None => None,
        };
        let mut size = values;
        if let Some(element) = element {
            // Room for the initial entries, of which the highest index counts.
            let entries = map.values.iter().map(|v| v.0.saturating_add(1)).max().unwrap_or(0).min(1 << 20);
            members.push(("values", self.btf.add_array(element, self.int, 0)?));
            size += entries * 8;
        }
        Ok((self.sized(&members, size)?, size, values))
    }

    /// The numbers of a map as members; those that are zero are left out.
    fn numbers(&mut self, spec: &MapSpec) -> Result<Vec<(&'static str, u32)>, BuildError> {
        let fields = [
            ("type", map_type(&spec.map_type).unwrap_or(0)),
            ("key_size", spec.key_size),
            ("value_size", spec.value_size),
            ("max_entries", spec.max_entries),
            ("map_flags", spec.map_flags),
            ("pinning", spec.pinning),
            ("numa_node", spec.numa_node),
        ];
        let mut members = Vec::new();
        for (name, value) in fields {
            if value != 0 || name == "type" {
                let array = self.btf.add_array(self.int, self.int, value)?;
                members.push((name, self.btf.add_ptr(array)?));
            }
        }
        if spec.map_extra != 0 {
            let value = Enumerator { name: "map_extra_value", value: spec.map_extra as i64 };
            members.push(("map_extra", self.btf.add_enum("", 8, false, &[value])?));
        }
        Ok(members)
    }

    fn structure(&mut self, members: &[(&str, u32)]) -> Result<u32, BuildError> {
        self.sized(members, members.len() as u32 * 8)
    }

    fn sized(&mut self, members: &[(&str, u32)], size: u32) -> Result<u32, BuildError> {
        let place = |(i, &(name, type_id)): (usize, &(_, u32))| Member {
            name,
            type_id,
            bit_offset: i as u32 * 64,
            bitfield_size: 0,
        };
        let members: Vec<Member<'_>> = members.iter().enumerate().map(place).collect();
        self.btf.add_struct("", size, &members)
    }

    /// The variables of a data section, as arrays of bytes.
    fn data(&mut self, section: &Section) -> Result<(), BuildError> {
        let mut vars = Vec::new();
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        for symbol in variables(section) {
            let byte = self.btf.add_int(
                "unsigned char",
                1,
                IntEncoding { signed: false, char: false, bool: false },
            )?;
            let array = self.btf.add_array(byte, self.int, number(symbol.size))?;
            let type_id = self.btf.add_var(&symbol.name, array, linkage(symbol.binding))?;
            vars.push(VarSecinfo { type_id, offset: number(symbol.offset), size: number(symbol.size) });
        }
        if vars.is_empty() {
            return Ok(());
        }
        self.btf.add_datasec(&section.name, number(section.contents.size()), &vars).map(|_| ())
    }

    /// `.ksyms` and `.kconfig`. What the text does not say of types is as general as can be: functions without
    /// parameters, variables without type, configuration values of 64 bits.
    fn externs(&mut self, object: &AsmObject) -> Result<(), BuildError> {
        for section in [".ksyms", ".kconfig"] {
            let mut vars = Vec::new();
            for e in object.externs.iter().filter(|e| e.section.as_deref() == Some(section)) {
                let (type_id, size) = match (e.kind, section) {
                    (SymbolKind::Func, _) => {
                        let proto = self.btf.add_func_proto(self.int, &[] as &[Param<'_>])?;
                        (self.btf.add_func(&e.name, proto, FuncLinkage::Extern)?, 0)
                    }
                    (_, ".kconfig") => {
                        let encoding = IntEncoding { signed: false, char: false, bool: false };
                        let long = self.btf.add_int("unsigned long", 8, encoding)?;
                        (self.btf.add_var(&e.name, long, VarLinkage::GlobalExtern)?, 8)
                    }
                    _ => (self.btf.add_var(&e.name, 0, VarLinkage::GlobalExtern)?, 0),
                };
                vars.push(VarSecinfo { type_id, offset: 0, size });
            }
            if !vars.is_empty() {
                self.btf.add_datasec(section, 0, &vars)?;
            }
        }
        Ok(())
    }
}

fn linkage(binding: Binding) -> VarLinkage {
    if binding == Binding::Local { VarLinkage::Static } else { VarLinkage::GlobalAllocated }
}
