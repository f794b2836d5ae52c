//! The helpers and kernel functions that a program calls, looked up once: row, prototype for this caller, parameters.

use crate::code::Code;
use skep_btf::{Btf, Type};
use skep_isa::{Callee, Op};
use skep_platform::helper::Caller;
use skep_platform::{Helper, Kfunc, Platform, Proto};
use std::rc::Rc;

/// A helper as this program calls it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Called {
    id: i32,
    pub(crate) helper: &'static Helper,
    /// `None`: not for this program.
    pub(crate) proto: Option<&'static Proto>,
}

/// What a program calls, by id.
#[derive(Debug, Default)]
pub(crate) struct CalledHelpers(Vec<Called>);

impl CalledHelpers {
    /// Of a program.
    pub(crate) fn new(code: &Code, platform: &Platform, caller: &Caller<'_>) -> CalledHelpers {
        let mut ids: Vec<i32> = (0..code.len())
            .filter_map(|pc| match code.op(pc) {
                Some(Op::Call(Callee::Helper(id))) => Some(*id),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let row = |id: i32| {
            let helper = platform.helper(u32::try_from(id).ok()?)?;
            Some(Called { id, helper, proto: helper.proto_for(caller) })
        };
        CalledHelpers(ids.into_iter().filter_map(row).collect())
    }

    /// By id; cost: a search among the helpers that the program calls.
    pub(crate) fn get(&self, id: i32) -> Option<&Called> {
        self.0.binary_search_by_key(&id, |r| r.id).ok().map(|i| &self.0[i])
    }
}

/// A parameter of a kernel function.
#[derive(Clone, Debug)]
pub(crate) struct KParam {
    pub(crate) name: String,
    /// What kind of type it has.
    pub(crate) shape: KShape,
}

/// Kinds of types of parameters and results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KShape {
    /// There is no such type.
    Missing,
    Void,
    /// Pointer to this type, modifiers skipped; 0: to void.
    Pointer(u32),
    Number,
}

impl KParam {
    /// Its name's suffix says how it is checked.
    pub(crate) fn ends(&self, suffix: &str) -> bool {
        self.name.ends_with(suffix)
    }
}

impl KShape {
    fn of(b: &Btf, ty: u32) -> KShape {
        match b.resolve(ty) {
            None => KShape::Missing,
            Some((_, Type::Void)) => KShape::Void,
            Some((_, Type::Ptr(to))) => KShape::Pointer(b.skip_mods_and_typedefs(to).unwrap_or(0)),
            Some(_) => KShape::Number,
        }
    }
}

/// A kernel function that the program calls.
#[derive(Debug)]
pub(crate) struct CalledKfunc {
    id: i32,
    pub(crate) name: String,
    /// `None`: not one that is known.
    pub(crate) row: Option<&'static Kfunc>,
    /// `None`: there is no such function in the kernel's BTF.
    pub(crate) params: Option<Vec<KParam>>,
    pub(crate) ret: KShape,
}

impl CalledKfunc {
    fn new(id: i32, b: &Btf, platform: &Platform) -> CalledKfunc {
        let name = b.name_of(id as u32);
        let proto = match b.type_by_id(id as u32) {
            Some(Type::Func(f)) => b.type_by_id(f.type_id),
            _ => None,
        };
        let (params, ret) = match proto {
            Some(Type::FuncProto(p)) => {
                let param = |p: skep_btf::Param<'_>| KParam {
                    name: p.name.to_owned(),
                    shape: KShape::of(b, p.type_id),
                };
                (Some(p.params.map(param).collect()), KShape::of(b, p.return_type_id))
            }
            _ => (None, KShape::Void),
        };
        CalledKfunc { id, name: name.to_owned(), row: platform.kfunc(name), params, ret }
    }
}

/// What a program calls of the kernel, by id.
#[derive(Debug, Default)]
pub(crate) struct CalledKfuncs(Vec<Rc<CalledKfunc>>);

impl CalledKfuncs {
    /// Of a program; none without the kernel's BTF.
    pub(crate) fn new(code: &Code, kernel: Option<&Btf>, platform: &Platform) -> CalledKfuncs {
        let Some(b) = kernel else { return CalledKfuncs::default() };
        let mut ids: Vec<i32> = (0..code.len())
            .filter_map(|pc| match code.op(pc) {
                Some(Op::Call(Callee::Kfunc { id, .. })) => Some(*id),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        CalledKfuncs(ids.into_iter().map(|id| Rc::new(CalledKfunc::new(id, b, platform))).collect())
    }

    /// By id; cost: a search among the functions that the program calls.
    pub(crate) fn get(&self, id: i32) -> Option<&Rc<CalledKfunc>> {
        self.0.binary_search_by_key(&id, |r| r.id).ok().map(|i| &self.0[i])
    }
}
