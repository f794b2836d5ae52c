//! The object's types in the form that the kernel takes, loaded once for all maps and programs of an object.
//!
//! What compilers write and kernels refuse is changed as libbpf changes it: externs of `.ksyms` and `.kconfig` become plain
//! variables of four bytes, extern functions global ones, and functions that the object hides are declared static, so that
//! they are not verified on their own. Parameters without a name are given one, which libbpf does not: kernels refuse such types.

use crate::door::Door;
use skep_btf::{Btf, BtfBuilder, BuildError, FuncLinkage, IntEncoding, Type, VarLinkage, VarSecinfo};
use skep_platform::{Errno, LineInfo, Program};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

/// Most objects' types that are kept: an engine is used for one object, or a handful.
const KEPT: usize = 16;

/// Where the running kernel shows its types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel's types. Cost: some milliseconds.
///
/// # Errors
/// The file system's, where there are none (the kernel was built without CONFIG_DEBUG_INFO_BTF=y), and `InvalidData` for what
/// is not BTF.
pub fn vmlinux() -> std::io::Result<Arc<Btf>> {
    let parsed = crate::raw::types::vmlinux(VMLINUX, Btf::parse)?;
    parsed.map(Arc::new).map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e))
}

/// Types in the kernel.
#[derive(Debug)]
pub(crate) struct LoadedBtf {
    pub(crate) fd: OwnedFd,
    /// The types as they were loaded, for the offsets of their strings.
    types: BtfBuilder,
}

impl LoadedBtf {
    /// `struct bpf_line_info` records. Text that the types do not have is left out.
    pub(crate) fn lines(&self, lines: &[LineInfo]) -> Vec<[u32; 4]> {
        let offset = |s: &str| self.types.string_offset(s).unwrap_or(0);
        let record = |l: &LineInfo| {
            let place = l.line.min(0x3f_ffff) << 10 | l.col.min(0x3ff);
            [l.insn as u32, offset(&l.file), offset(&l.text), place]
        };
        lines.iter().map(record).collect()
    }
}

/// Types that were loaded, or refused, by where they are in memory and which functions were made static.
#[derive(Debug, Default)]
pub(crate) struct BtfCache(Mutex<Vec<Kept>>);

#[derive(Debug)]
struct Kept {
    btf: Arc<Btf>,
    made_static: BTreeSet<u32>,
    loaded: Result<Arc<LoadedBtf>, Errno>,
}

impl BtfCache {
    /// Loads types, or gives what came of it the last time.
    pub(crate) fn get(
        &self,
        door: &dyn Door,
        btf: &Arc<Btf>,
        made_static: BTreeSet<u32>,
    ) -> Result<Arc<LoadedBtf>, Errno> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |k: &&Kept| Arc::ptr_eq(&k.btf, btf) && k.made_static == made_static;
        if let Some(k) = kept.iter().find(same) {
            return k.loaded.clone();
        }
        let loaded = load(door, btf, &made_static).map(Arc::new);
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(Kept { btf: btf.clone(), made_static, loaded: loaded.clone() });
        loaded
    }
}

/// Functions of a program that its types call global and the object hides.
pub(crate) fn hidden(program: &Program, btf: &Btf) -> BTreeSet<u32> {
    let is_global =
        |id| matches!(btf.type_by_id(id), Some(Type::Func(f)) if f.linkage == FuncLinkage::Global);
    let subprogs = program.subprogs.iter().skip(1).filter(|s| !s.global);
    subprogs.map(|s| s.btf_id).filter(|id| is_global(*id)).collect()
}

fn load(door: &dyn Door, btf: &Btf, made_static: &BTreeSet<u32>) -> Result<LoadedBtf, Errno> {
    let fitted = fit(btf, made_static).map_err(|_| Errno::EINVAL)?;
    let bytes = fitted.emit();
    let fd = door.btf_load(&bytes, &mut [])?;
    Ok(LoadedBtf { fd, types: fitted })
}

/// The same types as kernels take them.
fn fit(btf: &Btf, made_static: &BTreeSet<u32>) -> Result<BtfBuilder, BuildError> {
    let mut out = BtfBuilder::from_btf(btf);
    let mut externs = Externs::default();
    for (id, ty) in btf.own_types() {
        match ty {
            Type::Func(f) if f.linkage == FuncLinkage::Extern => {
                out.set_func_linkage(id, FuncLinkage::Global)?;
                // Declarations, and what is not used, need no names in C; kernels want them.
                out.name_params(f.type_id, "arg")?;
            }
            Type::Func(f) => {
                out.name_params(f.type_id, "arg")?;
                if made_static.contains(&id) {
                    out.set_func_linkage(id, FuncLinkage::Static)?;
                }
            }
            Type::Datasec(d) if d.name == ".ksyms" => {
                let vars: Vec<VarSecinfo> = d.vars.collect();
                externs.section(&mut out, btf, id, &vars)?;
            }
            Type::Var(v) if v.linkage == VarLinkage::GlobalExtern => {
                out.set_var_linkage(id, VarLinkage::GlobalAllocated)?;
            }
            Type::Datasec(d) if d.name.starts_with('?') => {
                let name = d.name.replace('?', "_");
                out.rename(id, &name)?;
            }
            _ => {}
        }
    }
    Ok(out)
}

/// Stand-ins for externs of the kernel.
#[derive(Default)]
struct Externs {
    int: Option<u32>,
    dummy: Option<u32>,
}

impl Externs {
    /// Gives `.ksyms` a size, and its variables and functions places of four bytes.
    fn section(
        &mut self,
        out: &mut BtfBuilder,
        btf: &Btf,
        id: u32,
        vars: &[VarSecinfo],
    ) -> Result<(), BuildError> {
        let int = match self.int {
            Some(int) => int,
            None => *self.int.insert(out.add_int(
                "int",
                4,
                IntEncoding { signed: true, ..IntEncoding::default() },
            )?),
        };
        let mut placed = Vec::with_capacity(vars.len());
        for (n, var) in vars.iter().enumerate() {
            let mut type_id = var.type_id;
            if matches!(btf.type_by_id(type_id), Some(Type::Func(_))) {
                type_id = match self.dummy {
                    Some(dummy) => dummy,
                    None => {
                        *self.dummy.insert(out.add_var("dummy_ksym", int, VarLinkage::GlobalAllocated)?)
                    }
                };
            } else {
                out.set_var_type(type_id, int)?;
            }
            placed.push(VarSecinfo { type_id, offset: n as u32 * 4, size: 4 });
        }
        out.set_datasec(id, placed.len() as u32 * 4, &placed)
    }
}
