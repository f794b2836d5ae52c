//! Externs: undefined symbols, and what BTF says they are: configuration variables (`.kconfig`), kernel variables
//! and functions (`.ksyms`).
//!
//! Configuration variables get a place each in a map `.kconfig`, as libbpf lays them out: widest alignment first,
//! then smallest, then by name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use skep_btf::{Aligner, Btf, Kind, Type};
use skep_platform::map::{MapBtf, flags};

use crate::data::value_map;
use crate::elf::{Elf, Home};
use crate::error::{ObjError, ObjErrorKind, Place};
use crate::object::{Extern, ExternKind, KconfigKind, MapOrigin, MapSpec};
use crate::open::fail;

/// All externs, found by symbol.
#[derive(Default)]
pub(crate) struct Externs {
    pub(crate) list: Vec<Extern>,
    by_symbol: HashMap<usize, usize>,
    /// Bytes of all configuration variables.
    kconfig_size: u32,
}

impl Externs {
    /// The extern that a symbol (by index) stands for.
    pub(crate) fn of_symbol(&self, symbol: usize) -> Option<usize> {
        self.by_symbol.get(&symbol).copied()
    }

    /// The map of the configuration variables, if there are any.
    pub(crate) fn kconfig_map(&self, btf: Option<&Arc<Btf>>) -> Option<MapSpec> {
        if self.kconfig_size == 0 {
            return None;
        }
        let mut def = value_map(".kconfig", self.kconfig_size);
        def.flags = flags::RDONLY_PROG;
        def.btf = btf.and_then(|btf| {
            let value = btf.find_by_name_kind(".kconfig", Kind::Datasec)?;
            Some(MapBtf { btf: Arc::clone(btf), key: 0, value })
        });
        let section = ".kconfig".to_owned();
        Some(MapSpec {
            def,
            origin: MapOrigin::Kconfig,
            section,
            offset: 0,
            contents: None,
            slots: Vec::new(),
        })
    }
}

/// Reads the undefined symbols; writes the layout of the configuration variables into the BTF.
pub(crate) fn read(elf: &Elf<'_>, btf: Option<&mut Btf>) -> Result<Externs, ObjError> {
    let mut externs = Externs::default();
    let wanted: HashSet<&str> =
        elf.symbols.iter().filter(|s| s.home == Home::Undefined).map(|s| s.name).collect();
    let declared = btf.as_deref().map(|btf| declarations(btf, &wanted)).unwrap_or_default();
    for (index, symbol) in elf.symbols.iter().enumerate() {
        if symbol.home != Home::Undefined || !symbol.is_global() || symbol.name.is_empty() {
            continue;
        }
        let kind = match (&btf, declared.get(symbol.name)) {
            (Some(btf), Some(declared)) => kind(btf, symbol.name, declared)?,
            _ => ExternKind::Undefined,
        };
        externs.by_symbol.insert(index, externs.list.len());
        externs.list.push(Extern { name: symbol.name.to_owned(), weak: symbol.is_weak(), kind });
    }
    if let Some(btf) = btf {
        externs.kconfig_size = lay_out(btf, &mut externs.list, &declared);
    }
    Ok(externs)
}

/// An extern as BTF declares it.
struct Declared {
    /// VAR or FUNC.
    id: u32,
    kconfig: bool,
}

fn declarations(btf: &Btf, wanted: &HashSet<&str>) -> HashMap<String, Declared> {
    let mut out = HashMap::new();
    for section in [".kconfig", ".ksyms"] {
        let id = btf.find_by_name_kind(section, Kind::Datasec);
        if let Some(Type::Datasec(datasec)) = id.and_then(|id| btf.type_by_id(id)) {
            for info in datasec.vars {
                let name = btf.name_of(info.type_id);
                if wanted.contains(name) {
                    let declared = Declared { id: info.type_id, kconfig: section == ".kconfig" };
                    out.insert(name.to_owned(), declared);
                }
            }
        }
    }
    out
}

fn kind(btf: &Btf, name: &str, declared: &Declared) -> Result<ExternKind, ObjError> {
    let bad = |section, what| fail(Place::section(section).symbol(name), ObjErrorKind::Extern(what));
    match btf.type_by_id(declared.id) {
        Some(Type::Func(_)) => Ok(ExternKind::Kfunc { type_id: declared.id }),
        Some(Type::Var(var)) if declared.kconfig => {
            let size = btf.size_of(var.type_id).filter(|&size| size > 0);
            let size = size.ok_or_else(|| bad(".kconfig", "a variable without size"))?;
            let kind = kconfig_kind(btf, var.type_id, size);
            let kind = kind
                .ok_or_else(|| bad(".kconfig", "a type that is no number, bool, char, tristate or string"))?;
            Ok(ExternKind::Kconfig { offset: 0, size, kind })
        }
        Some(Type::Var(var)) => match btf.skip_mods(var.type_id) {
            Some(0) => Ok(ExternKind::KsymTypeless),
            Some(_) => Ok(ExternKind::KsymTyped { type_id: var.type_id }),
            None => Err(bad(".ksyms", "a variable without type")),
        },
        _ => Err(bad(".ksyms", "neither a variable nor a function")),
    }
}

fn kconfig_kind(btf: &Btf, type_id: u32, size: u32) -> Option<KconfigKind> {
    match btf.resolve(type_id)?.1 {
        Type::Int(int) if int.encoding.bool => (size == 1).then_some(KconfigKind::Bool),
        Type::Int(int) if int.encoding.char || (size == 1 && int.name.ends_with("char")) => {
            Some(KconfigKind::Char)
        }
        Type::Int(int) => {
            (size.is_power_of_two() && size <= 8).then_some(KconfigKind::Int { signed: int.encoding.signed })
        }
        Type::Enum(e) => (size == 4 && e.name == "libbpf_tristate").then_some(KconfigKind::Tristate),
        Type::Array(array) => match btf.resolve(array.type_id)?.1 {
            Type::Int(int) if int.size == 1 && !int.encoding.bool => Some(KconfigKind::Str),
            _ => None,
        },
        _ => None,
    }
}

/// Lays configuration variables out; bytes of all.
fn lay_out(btf: &mut Btf, externs: &mut [Extern], declared: &HashMap<String, Declared>) -> u32 {
    let mut order: Vec<(u32, u32, usize)> = Vec::new();
    let mut aligner = Aligner::new(btf);
    for (index, e) in externs.iter().enumerate() {
        if let ExternKind::Kconfig { size, .. } = e.kind {
            let align = declared.get(&e.name).and_then(|d| aligner.align_of(d.id));
            order.push((align.unwrap_or(1).max(1), size, index));
        }
    }
    order.sort_by(|a, b| (b.0, a.1).cmp(&(a.0, b.1)).then_with(|| externs[a.2].name.cmp(&externs[b.2].name)));
    let mut end = 0u32;
    let mut offsets = HashMap::new();
    for (align, size, index) in order {
        let at = end.checked_next_multiple_of(align).unwrap_or(end);
        if let ExternKind::Kconfig { offset, .. } = &mut externs[index].kind {
            *offset = at;
        }
        offsets.insert(externs[index].name.as_str(), at);
        end = at.saturating_add(size);
    }
    if let Some(id) = btf.find_by_name_kind(".kconfig", Kind::Datasec) {
        btf.set_datasec(id, end, |name| offsets.get(name).copied());
    }
    end
}
