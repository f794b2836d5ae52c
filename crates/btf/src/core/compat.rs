//! When a type of the target may stand for a local one. Three rules, from loose to strict: fields (may this field be
//! read as that one), types (same name and roughly the same shape), match (same shape by name).

use super::CoreErrorKind as E;
use super::matching::Fuel;
use crate::btf::Btf;
use crate::kind::Kind;
use crate::names::essential_name;
use crate::resolve::MAX_RESOLVE_DEPTH;
use crate::view::{Array, Composite, Enum, FuncProto, Fwd, Int, Type};

/// Equal kinds, or two enums of either width. `None` is void.
pub(super) fn kinds_are_compat(a: Option<Kind>, b: Option<Kind>) -> bool {
    a == b || a.is_some_and(Kind::is_any_enum) && b.is_some_and(Kind::is_any_enum)
}

/// A local BTF and its target.
#[derive(Clone, Copy)]
pub(super) struct Pair<'l, 't> {
    pub(super) local: &'l Btf,
    pub(super) target: &'t Btf,
}

/// What has to be looked at next, or the answer.
enum Step {
    Done(bool),
    Next(u32, u32),
}

impl<'l, 't> Pair<'l, 't> {
    fn resolve(&self, l: u32, t: u32) -> Result<(Type<'l>, Type<'t>), E> {
        let local = self.local.resolve(l).ok_or(E::NoSize { type_id: l })?;
        let target = self.target.resolve(t).ok_or(E::NoSize { type_id: t })?;
        Ok((local.1, target.1))
    }

    /// Follows one rule along pointers, arrays and results.
    fn follow(
        &self,
        (mut l, mut t): (u32, u32),
        mut rule: impl FnMut(Type<'l>, Type<'t>) -> Result<Step, E>,
    ) -> Result<bool, E> {
        for _ in 0..MAX_RESOLVE_DEPTH {
            let (local, target) = self.resolve(l, t)?;
            match rule(local, target)? {
                Step::Done(answer) => return Ok(answer),
                Step::Next(a, b) => (l, t) = (a, b),
            }
        }
        Err(E::TooComplex)
    }

    /// Whether a field of type `l` may be read as one of type `t`: structs and unions mix, pointers are all alike,
    /// integers of any size and sign, enums and declarations by name, arrays by their elements.
    pub(super) fn fields_are_compat(&self, l: u32, t: u32, fuel: &mut Fuel) -> Result<bool, E> {
        self.follow((l, t), |local, target| {
            fuel.burn()?;
            if local.composite().is_some() && target.composite().is_some() {
                return Ok(Step::Done(true));
            }
            if !kinds_are_compat(local.kind(), target.kind()) {
                return Ok(Step::Done(false));
            }
            Ok(match (local, target) {
                (Type::Ptr(_), _) | (Type::Float(_), _) => Step::Done(true),
                (Type::Fwd(_) | Type::Enum(_) | Type::Enum64(_), _) => {
                    let (a, b) = (essential_name(local.name()), essential_name(target.name()));
                    Step::Done(a.is_empty() || b.is_empty() || a == b)
                }
                (Type::Int(a), Type::Int(b)) => Step::Done(whole_ints(a, b)),
                (Type::Array(a), Type::Array(b)) => Step::Next(a.type_id, b.type_id),
                _ => Step::Done(false),
            })
        })
    }

    /// Whether type `t` exists as `l` for `TYPE_EXISTS`, `TYPE_SIZE` and `TYPE_ID_TARGET`: kinds must agree, also
    /// behind pointers, in arrays and in prototypes; members, sizes and names behind the root do not matter.
    pub(super) fn types_are_compat(&self, l: u32, t: u32, fuel: &mut Fuel) -> Result<bool, E> {
        if !kinds_are_compat(self.local.kind_of(l), self.target.kind_of(t)) {
            return Ok(false);
        }
        self.compat_at(l, t, fuel, MAX_RESOLVE_DEPTH)
    }

    fn compat_at(&self, l: u32, t: u32, fuel: &mut Fuel, level: usize) -> Result<bool, E> {
        self.follow((l, t), |local, target| {
            fuel.burn()?;
            if !kinds_are_compat(local.kind(), target.kind()) {
                return Ok(Step::Done(false));
            }
            Ok(match (local, target) {
                (Type::Int(a), Type::Int(b)) => Step::Done(whole_ints(a, b)),
                (Type::Ptr(a), Type::Ptr(b)) => Step::Next(a, b),
                (Type::Array(a), Type::Array(b)) => Step::Next(a.type_id, b.type_id),
                (Type::FuncProto(a), Type::FuncProto(b)) => {
                    return self.prototypes(a, b, level, |l, t, level| self.compat_at(l, t, fuel, level));
                }
                (Type::Void | Type::Struct(_) | Type::Union(_) | Type::Enum(_) | Type::Enum64(_), _)
                | (Type::Fwd(_), _) => Step::Done(true),
                _ => Step::Done(false),
            })
        })
    }

    /// Equal numbers of parameters, each of which fits; the results are next.
    fn prototypes(
        &self,
        a: FuncProto<'_>,
        b: FuncProto<'_>,
        level: usize,
        mut fits: impl FnMut(u32, u32, usize) -> Result<bool, E>,
    ) -> Result<Step, E> {
        if a.params.len() != b.params.len() {
            return Ok(Step::Done(false));
        }
        for (p, q) in a.params.zip(b.params) {
            let level = level.checked_sub(1).ok_or(E::TooComplex)?;
            if !fits(p.type_id, q.type_id, level)? {
                return Ok(Step::Done(false));
            }
        }
        Ok(Step::Next(a.return_type_id, b.return_type_id))
    }

    /// Whether type `t` matches `l` for `TYPE_MATCHES`: all local members, enumerators and parameters exist on the
    /// target with the same names and matching types; behind pointers names and kinds of structs are enough.
    pub(super) fn types_match(&self, l: u32, t: u32, fuel: &mut Fuel) -> Result<bool, E> {
        self.match_at(l, t, false, fuel, MAX_RESOLVE_DEPTH)
    }

    fn match_at(
        &self,
        l: u32,
        t: u32,
        mut behind_ptr: bool,
        fuel: &mut Fuel,
        level: usize,
    ) -> Result<bool, E> {
        if level == 0 {
            return Err(E::TooComplex);
        }
        self.follow((l, t), |local, target| {
            fuel.burn()?;
            if !names_match(local.name(), target.name()) {
                return Ok(Step::Done(false));
            }
            Ok(match (local, target) {
                (Type::Void, Type::Void) => Step::Done(true),
                (Type::Fwd(a), _) => Step::Done(fwd_matches(a, target, behind_ptr)),
                (Type::Enum(a) | Type::Enum64(a), Type::Enum(b) | Type::Enum64(b)) => {
                    Step::Done(enums_match(a, b, fuel)?)
                }
                (Type::Struct(_) | Type::Union(_), _) if behind_ptr => {
                    Step::Done(opaque_matches(local, target))
                }
                (Type::Struct(a), Type::Struct(b)) | (Type::Union(a), Type::Union(b)) => {
                    Step::Done(self.composites_match(a, b, fuel, level)?)
                }
                (Type::Int(a), Type::Int(b)) => {
                    Step::Done(a.size == b.size && a.encoding.signed == b.encoding.signed)
                }
                (Type::Ptr(a), Type::Ptr(b)) => {
                    behind_ptr = true;
                    Step::Next(a, b)
                }
                (Type::Array(a), Type::Array(b)) => arrays_match(a, b),
                (Type::FuncProto(a), Type::FuncProto(b)) => {
                    return self
                        .prototypes(a, b, level, |l, t, level| self.match_at(l, t, behind_ptr, fuel, level));
                }
                _ => Step::Done(false),
            })
        })
    }

    fn composites_match(
        &self,
        a: Composite<'_>,
        b: Composite<'_>,
        fuel: &mut Fuel,
        level: usize,
    ) -> Result<bool, E> {
        if a.members.len() > b.members.len() {
            return Ok(false);
        }
        for m in a.members {
            let mut found = false;
            for n in b.members {
                fuel.burn()?;
                found = names_match(m.name, n.name)
                    && self.match_at(m.type_id, n.type_id, false, fuel, level - 1)?;
                if found {
                    break;
                }
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Integers that fill their bytes; the bitfield integers of old compilers are no fields of their own.
fn whole_ints(a: Int<'_>, b: Int<'_>) -> bool {
    a.bit_offset == 0 && b.bit_offset == 0
}

fn names_match(local: &str, target: &str) -> bool {
    if target.is_empty() { local.is_empty() } else { essential_name(local) == essential_name(target) }
}

fn fwd_matches(local: Fwd<'_>, target: Type<'_>, behind_ptr: bool) -> bool {
    match target {
        Type::Fwd(t) => local.is_union == t.is_union,
        Type::Struct(_) => behind_ptr && !local.is_union,
        Type::Union(_) => behind_ptr && local.is_union,
        _ => false,
    }
}

/// A struct or union behind a pointer against whatever the target has there.
fn opaque_matches(local: Type<'_>, target: Type<'_>) -> bool {
    match target {
        Type::Fwd(t) => t.is_union == (local.kind() == Some(Kind::Union)),
        _ => local.kind() == target.kind(),
    }
}

fn arrays_match(a: Array, b: Array) -> Step {
    if a.nelems == b.nelems { Step::Next(a.type_id, b.type_id) } else { Step::Done(false) }
}

fn enums_match(a: Enum<'_>, b: Enum<'_>, fuel: &mut Fuel) -> Result<bool, E> {
    if a.size != b.size || a.enumerators.len() > b.enumerators.len() {
        return Ok(false);
    }
    for v in a.enumerators {
        let mut found = false;
        for w in b.enumerators {
            fuel.burn()?;
            found |= names_match(v.name, w.name);
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}
