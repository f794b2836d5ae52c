//! Setting global variables of an object before its programs are loaded: `NAME=VALUE`, found by the object's BTF in
//! `.rodata`, `.data` and `.bss`.

use skep_btf::{Type, parse_value};
use skep_obj::{MapSpec, Object};
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
        let (name, text) =
            assignment.split_once('=').ok_or_else(|| SetError::Form(assignment.to_string()))?;
        let v = variables.iter().find(|v| v.name == name).ok_or_else(|| SetError::Unknown {
            name: name.into(),
            have: variables.iter().map(|v| v.name.to_string()).collect(),
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
