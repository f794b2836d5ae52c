//! Finds in a candidate of the target what a local spec refers to.

use super::compat;
use super::spec::{Accessor, MAX_STEPS, Spec};
use super::{About, CoreErrorKind as E, CoreReloKind};
use crate::btf::Btf;
use crate::names::essential_name;
use crate::view::{Member, Type};

/// Steps that the matching of one relocation may take: far more than any real type needs, and over at once for types
/// that were made to nest exponentially.
pub(super) struct Fuel(u32);

impl Fuel {
    pub(super) fn new() -> Fuel {
        Fuel(1 << 20)
    }

    pub(super) fn burn(&mut self) -> Result<(), E> {
        self.0 = self.0.checked_sub(1).ok_or(E::TooComplex)?;
        Ok(())
    }
}

/// The spec in `target`'s type `id` that corresponds to `local`; `None` if the candidate has no such thing.
pub(super) fn match_spec<'t>(
    local: &Spec<'_>,
    target: &'t Btf,
    id: u32,
    fuel: &mut Fuel,
) -> Result<Option<Spec<'t>>, E> {
    let spec = Spec::new(target, id, local.kind);
    match local.kind.about() {
        About::Type => {
            let pair = compat::Pair { local: local.btf, target };
            let same = if local.kind == CoreReloKind::TypeMatches {
                pair.types_match(local.root, id, fuel)?
            } else {
                pair.types_are_compat(local.root, id, fuel)?
            };
            Ok(same.then_some(spec))
        }
        About::Enumval => Ok(match_enumerator(local, spec)),
        About::Field => match_field(local, spec, fuel),
    }
}

fn match_enumerator<'t>(local: &Spec<'_>, mut spec: Spec<'t>) -> Option<Spec<'t>> {
    let wanted = essential_name(local.accessors.first()?.name?);
    let (id, t) = spec.btf.resolve(spec.root)?;
    let e = t.any_enum()?;
    let (index, found) = e.enumerators.enumerate().find(|(_, v)| essential_name(v.name) == wanted)?;
    spec.accessors.push(Accessor { type_id: id, index: index as u32, name: Some(found.name) });
    spec.raw.push(index as u32);
    Some(spec)
}

fn match_field<'t>(local: &Spec<'_>, mut spec: Spec<'t>, fuel: &mut Fuel) -> Result<Option<Spec<'t>>, E> {
    let mut id = spec.root;
    for (i, acc) in local.accessors.iter().enumerate() {
        let next = match acc.name {
            Some(_) => WantedMember::new(local, acc)?.find(&mut spec, id, fuel)?,
            None => match_index(&mut spec, id, acc.index, i == 0)?,
        };
        match next {
            Some(next) => id = next,
            None => return Ok(None),
        }
    }
    Ok(Some(spec))
}

/// Goes into an array (or, first, over whole roots); gives the element's type.
fn match_index(spec: &mut Spec<'_>, id: u32, index: u32, first: bool) -> Result<Option<u32>, E> {
    let (mut id, t) = spec.btf.resolve(id).ok_or(E::NoSize { type_id: id })?;
    if !first {
        let Type::Array(a) = t else { return Ok(None) };
        if index >= a.nelems && !spec.is_flexible(a) {
            return Ok(None);
        }
        id = spec.btf.skip_mods_and_typedefs(a.type_id).ok_or(E::NoSize { type_id: a.type_id })?;
    }
    if spec.raw.len() == MAX_STEPS {
        return Err(E::TooComplex);
    }
    spec.accessors.push(Accessor { type_id: id, index, name: None });
    spec.raw.push(index);
    spec.skip_elements(id, index)?;
    Ok(Some(id))
}

/// A named member of the local type that is looked for.
struct WantedMember<'l> {
    btf: &'l Btf,
    member: Member<'l>,
}

impl<'l> WantedMember<'l> {
    fn new(local: &Spec<'l>, acc: &Accessor<'_>) -> Result<Self, E> {
        let c = local.btf.type_by_id(acc.type_id).and_then(|t| t.composite());
        let member = c.and_then(|c| c.members.get(acc.index as usize)).ok_or(E::NotComposite { level: 0 })?;
        Ok(WantedMember { btf: local.btf, member })
    }

    /// Looks for the member in the target's type, through anonymous members; gives the member's type.
    fn find(&self, spec: &mut Spec<'_>, id: u32, fuel: &mut Fuel) -> Result<Option<u32>, E> {
        let (id, t) = spec.btf.resolve(id).ok_or(E::NoSize { type_id: id })?;
        let Some(c) = t.composite() else { return Ok(None) };
        if spec.raw.len() == MAX_STEPS && !c.members.is_empty() {
            return Err(E::TooComplex);
        }
        for (i, m) in c.members.enumerate() {
            fuel.burn()?;
            let before = (spec.raw.len(), spec.accessors.len(), spec.bit_offset);
            spec.raw.push(i as u32);
            spec.bit_offset += u64::from(m.bit_offset);
            let found = if m.name.is_empty() {
                self.find(spec, m.type_id, fuel)?
            } else if m.name == self.member.name {
                spec.accessors.push(Accessor { type_id: id, index: i as u32, name: Some(m.name) });
                let pair = compat::Pair { local: self.btf, target: spec.btf };
                pair.fields_are_compat(self.member.type_id, m.type_id, fuel)?.then_some(m.type_id)
            } else {
                None
            };
            if found.is_some() {
                return Ok(found);
            }
            spec.raw.truncate(before.0);
            spec.accessors.truncate(before.1);
            spec.bit_offset = before.2;
        }
        Ok(None)
    }
}
