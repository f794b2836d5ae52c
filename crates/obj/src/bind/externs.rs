//! Externs in instructions: configuration variables, kernel variables and functions.

use skep_btf::core::types_are_compat;
use skep_btf::{Kind, essential_name};

use super::{BindEnv, BindErrorKind, Binding, Ksym};
use crate::object::{Extern, ExternKind, MapOrigin};

/// Helper numbers of calls of weak functions that the target lacks, plus the extern's index (libbpf's).
pub const POISON_KFUNC: i32 = 2_002_000_000;
/// `BPF_PSEUDO_KFUNC_CALL`.
const KFUNC_CALL: u8 = 2;
/// `BPF_PSEUDO_BTF_ID`.
const BTF_ID: u8 = 3;

impl Binding<'_> {
    /// Resolves the reference at `at` to extern `index`.
    pub(super) fn extern_ref(
        &mut self,
        at: usize,
        index: usize,
        call: bool,
        env: &BindEnv<'_>,
    ) -> Result<(), BindErrorKind> {
        let object = self.object;
        let e = &object.externs[index];
        match e.kind {
            ExternKind::Kconfig { offset, .. } if !call => {
                let map = object.maps.iter().position(|m| m.origin == MapOrigin::Kconfig);
                let map = map.ok_or_else(|| unresolved(e, "there is no .kconfig map"))?;
                self.map(at, map, Some(offset), env);
                Ok(())
            }
            ExternKind::Kfunc { type_id } => self.kfunc(at, index, type_id, call, env),
            ExternKind::KsymTyped { type_id } if !call => {
                let found = env.target_btf.as_ref().and_then(|btf| btf.find_by_name_kind(&e.name, Kind::Var));
                match found {
                    Some(id) if !self.fits(type_id, id, env) => {
                        return Err(unresolved(e, "the target's variable of that name has another type"));
                    }
                    Some(id) => self.load(at, BTF_ID, id as i32, 0),
                    None if e.weak => self.load(at, 0, 0, 0),
                    None => return Err(unresolved(e, missing(env, "no variable of that name"))),
                }
                Ok(())
            }
            ExternKind::KsymTypeless if !call => match env.ksym.and_then(|find| find(&e.name)) {
                Some(symbol) => self.address(at, e, symbol),
                None if e.weak => {
                    self.load(at, 0, 0, 0);
                    Ok(())
                }
                None if env.ksym.is_none() => Err(unresolved(e, "the kernel's symbols are not known here")),
                None => Err(unresolved(e, "the kernel has no symbol of that name (/proc/kallsyms)")),
            },
            ExternKind::Undefined => self.untyped(at, index, call, env),
            _ => Err(unresolved(e, "it is a variable, and called")),
        }
    }

    /// The address of a kernel symbol.
    fn address(&mut self, at: usize, e: &Extern, symbol: Ksym) -> Result<(), BindErrorKind> {
        match symbol {
            Ksym::At(address) => self.load(at, 0, address as i32, (address >> 32) as i32),
            Ksym::Hidden => {
                return Err(unresolved(
                    e,
                    "the kernel hides the addresses of its symbols from this process (/proc/kallsyms shows zeros); \
                     run with CAP_SYSLOG, or lower kernel.kptr_restrict",
                ));
            }
            Ksym::Ambiguous => {
                return Err(unresolved(
                    e,
                    "the kernel has several symbols of that name, at different addresses",
                ));
            }
        }
        Ok(())
    }

    /// Whether a type of the object may stand for that of a variable or function of the target.
    fn fits(&self, local: u32, found: u32, env: &BindEnv<'_>) -> bool {
        let (Some(own), Some(target)) = (&self.object.btf, &env.target_btf) else { return false };
        // `const` and typedefs at the root do not count.
        let ours = own.skip_mods_and_typedefs(local);
        let theirs = target.type_by_id(found).and_then(|t| target.skip_mods_and_typedefs(t.referent()?));
        ours.zip(theirs).is_some_and(|(ours, theirs)| types_are_compat(own, ours, target, theirs))
    }

    fn kfunc(
        &mut self,
        at: usize,
        index: usize,
        type_id: u32,
        call: bool,
        env: &BindEnv<'_>,
    ) -> Result<(), BindErrorKind> {
        let e = &self.object.externs[index];
        let found = env.target_btf.as_ref().and_then(|btf| {
            let exact = btf.find_by_name_kind(&e.name, Kind::Func);
            exact.or_else(|| btf.find_by_name_kind(essential_name(&e.name), Kind::Func))
        });
        let proto = self.object.btf.as_ref().and_then(|btf| btf.type_by_id(type_id)?.referent());
        match found {
            Some(id) if !self.fits(proto.unwrap_or(0), id, env) => {
                if !e.weak {
                    return Err(unresolved(
                        e,
                        "the target's function of that name has other parameters or result",
                    ));
                }
                self.absent(at, index, call);
            }
            Some(id) if call => {
                let insn = &mut self.program.insns[at];
                *insn = insn.with_src(KFUNC_CALL).with_off(0).with_imm(id as i32);
            }
            Some(id) => self.load(at, BTF_ID, id as i32, 0),
            None if e.weak => self.absent(at, index, call),
            None => return Err(unresolved(e, missing(env, "no function of that name"))),
        }
        Ok(())
    }

    /// An extern that the object's BTF does not know, of hand-written assembly: found in the target by name alone.
    fn untyped(
        &mut self,
        at: usize,
        index: usize,
        call: bool,
        env: &BindEnv<'_>,
    ) -> Result<(), BindErrorKind> {
        let e = &self.object.externs[index];
        let find = |kind| env.target_btf.as_ref().and_then(|btf| btf.find_by_name_kind(&e.name, kind));
        match (find(Kind::Func), find(Kind::Var), env.ksym.and_then(|ksym| ksym(&e.name))) {
            (Some(id), ..) if call => {
                let insn = &mut self.program.insns[at];
                *insn = insn.with_src(KFUNC_CALL).with_off(0).with_imm(id as i32);
            }
            (Some(id), ..) | (None, Some(id), _) if !call => self.load(at, BTF_ID, id as i32, 0),
            (None, None, Some(symbol)) if !call => return self.address(at, e, symbol),
            _ if e.weak => self.absent(at, index, call),
            _ if env.target_btf.is_none() => {
                return Err(unresolved(e, missing(env, "no function of that name")));
            }
            _ => return Err(unresolved(e, "neither this object, nor its BTF, nor the target has it")),
        }
        Ok(())
    }

    /// A weak extern that is not there: its address is 0, and a call of it is poisoned.
    fn absent(&mut self, at: usize, index: usize, call: bool) {
        if call {
            let name = &self.object.externs[index].name;
            let why = format!("kfunc '{name}' is referenced but wasn't resolved");
            self.poison(at, POISON_KFUNC + index as i32, why);
        } else {
            self.load(at, 0, 0, 0);
        }
    }
}

fn unresolved(e: &Extern, why: &'static str) -> BindErrorKind {
    BindErrorKind::Extern { name: e.name.clone(), why }
}

fn missing(env: &BindEnv<'_>, in_target: &'static str) -> &'static str {
    match env.target_btf {
        Some(_) if in_target.contains("variable") => "the target's BTF has no variable of that name",
        Some(_) => "the target's BTF has no function of that name",
        None => "it needs the kernel's types; name them with --btf",
    }
}
