//! Setting global variables of an object before its programs are loaded: `NAME=VALUE`, found by the object's BTF in
//! `.rodata`, `.data` and `.bss`, and members of struct_ops variables: `NAME.MEMBER=VALUE`.

use skep_btf::{Type, parse_value};
use skep_obj::{MapOrigin, MapSpec, Object, StructOpsMember};
use std::fmt;

/// Why a variable cannot be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// Not of the form `NAME=VALUE`.
    Form(String),
    /// No data section has a variable of this name.
    Unknown {
        /// The name.
        name: String,
        /// Variables there are.
        have: Vec<String>,
    },
    /// The value does not fit the variable's type.
    Value {
        /// The variable.
        name: String,
        /// What is wrong with the value.
        why: String,
    },
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetError::Form(text) => write!(f, "{text:?} is not VARIABLE=VALUE"),
            SetError::Unknown { name, have } if have.is_empty() => {
                write!(f, "no variable {name:?}: the object has no global variables with types")
            }
            SetError::Unknown { name, have } => {
                write!(f, "no variable {name:?}; there are {}", have.join(", "))
            }
            SetError::Value { name, why } => write!(f, "variable {name}: {why}"),
        }
    }
}

impl std::error::Error for SetError {}

/// A variable of a data section.
struct Variable<'o> {
    map: &'o MapSpec,
    name: &'o str,
    type_id: u32,
    offset: usize,
    size: usize,
}

/// New contents of the data sections that assignments change, by map name.
pub(crate) fn patches(object: &Object, set: &[&str]) -> Result<Vec<(String, Vec<u8>)>, SetError> {
    let variables: Vec<Variable<'_>> = object.maps.iter().flat_map(variables).collect();
    let mut out: Vec<(String, Vec<u8>)> = Vec::new();
    for assignment in set {
        let (name, text) = halves(assignment)?;
        if member(object, name).is_some() {
            continue;
        }
        let v = variables.iter().find(|v| v.name == name).ok_or_else(|| SetError::Unknown {
            name: name.into(),
            have: variables.iter().map(|v| v.name.to_string()).chain(struct_ops_members(object)).collect(),
        })?;
        let bytes = value(v, text).map_err(|why| SetError::Value { name: name.into(), why })?;
        let at = out.iter().position(|(map, _)| *map == v.map.def.name).unwrap_or_else(|| {
            let zeros = || vec![0; v.map.def.value_size as usize];
            out.push((v.map.def.name.clone(), v.map.contents.clone().unwrap_or_else(zeros)));
            out.len() - 1
        });
        let place = out[at].1.get_mut(v.offset..v.offset + bytes.len());
        let outside = || SetError::Value { name: name.into(), why: "lies outside its section".into() };
        place.ok_or_else(outside)?.copy_from_slice(&bytes);
    }
    Ok(out)
}

fn halves(assignment: &str) -> Result<(&str, &str), SetError> {
    assignment.split_once('=').ok_or_else(|| SetError::Form(assignment.to_string()))
}

/// The struct_ops variable and the member that `NAME.MEMBER` means.
fn member<'a>(object: &Object, name: &'a str) -> Option<(usize, &'a str)> {
    let (variable, member) = name.split_once('.')?;
    let is = |m: &MapSpec| m.def.name == variable && matches!(m.origin, MapOrigin::StructOps(_));
    Some((object.maps.iter().position(is)?, member))
}

/// `NAME.MEMBER` of all members of struct_ops variables.
fn struct_ops_members(object: &Object) -> impl Iterator<Item = String> {
    let named = |m: &MapSpec| {
        let types = m.def.btf.as_ref().filter(|_| matches!(m.origin, MapOrigin::StructOps(_)));
        let members = types.and_then(|t| t.btf.type_by_id(t.value)?.composite()).map(|c| c.members);
        let names = members.into_iter().flatten().map(|member| format!("{}.{}", m.def.name, member.name));
        names.collect::<Vec<_>>()
    };
    object.maps.iter().flat_map(named)
}

/// Sets members of struct_ops variables: numbers and texts in their contents, functions in their list of programs.
pub(crate) fn struct_ops(object: &mut Object, set: &[&str]) -> Result<(), SetError> {
    for assignment in set {
        let (name, text) = halves(assignment)?;
        let Some((map, member)) = member(object, name) else { continue };
        set_member(object, map, member, text)
            .map_err(|why| SetError::Value { name: name.to_owned(), why })?;
    }
    Ok(())
}

fn set_member(object: &mut Object, map: usize, name: &str, text: &str) -> Result<(), String> {
    let types = object.maps[map].def.btf.clone().ok_or("has no type")?;
    let body = types.btf.type_by_id(types.value).and_then(|t| t.composite()).ok_or("is no struct")?;
    let size = body.size as usize;
    let found = body.members.enumerate().find(|(_, m)| m.name == name);
    let (index, member) = found.ok_or_else(|| format!("struct {} has no such member", body.name))?;
    if member.bitfield_size != 0 || member.bit_offset % 8 != 0 {
        return Err("is a bit field".into());
    }
    let offset = member.bit_offset / 8;
    if matches!(types.btf.resolve(member.type_id), Some((_, Type::Ptr(_)))) {
        let none = matches!(text, "0" | "NULL" | "null");
        let function = object.functions.iter().position(|f| f.is_program() && f.name == text);
        if function.is_none() && !none {
            return Err(format!("{text:?} is no program of the object, nor 0"));
        }
        let MapOrigin::StructOps(ops) = &mut object.maps[map].origin else {
            return Err("is no member".into());
        };
        let before =
            ops.programs.iter().position(|p| p.offset == offset).map(|i| ops.programs.remove(i).function);
        let made = |function| StructOpsMember { member: name.into(), index: index as u32, offset, function };
        ops.programs.extend(function.map(made));
        // Nobody calls it any more, unless it is on another member.
        if let Some(entry) = before.and_then(|f| object.functions.get_mut(f)?.entry.as_mut()) {
            entry.autoload = false;
        }
        return Ok(());
    }
    let mut bytes = parse_value(&types.btf, member.type_id, text).map_err(|e| e.to_string())?;
    bytes.truncate(types.btf.size_of(member.type_id).unwrap_or(0) as usize);
    let contents = object.maps[map].contents.get_or_insert_with(|| vec![0; size]);
    let place = contents.get_mut(offset as usize..offset as usize + bytes.len());
    place.ok_or("lies outside its variable")?.copy_from_slice(&bytes);
    Ok(())
}

fn variables(map: &MapSpec) -> Vec<Variable<'_>> {
    let Some(types) = map.def.btf.as_ref().filter(|_| map.origin.is_data()) else { return Vec::new() };
    let Some(Type::Datasec(section)) = types.btf.type_by_id(types.value) else { return Vec::new() };
    let variable = |entry: skep_btf::VarSecinfo| match types.btf.type_by_id(entry.type_id) {
        Some(Type::Var(v)) => Some(Variable {
            map,
            name: v.name,
            type_id: v.type_id,
            offset: entry.offset as usize,
            size: entry.size as usize,
        }),
        _ => None,
    };
    section.vars.into_iter().filter_map(variable).collect()
}

fn value(v: &Variable<'_>, text: &str) -> Result<Vec<u8>, String> {
    let types = v.map.def.btf.as_ref().ok_or("has no type")?;
    let mut bytes = parse_value(&types.btf, v.type_id, text).map_err(|e| e.to_string())?;
    bytes.truncate(v.size);
    Ok(bytes)
}
