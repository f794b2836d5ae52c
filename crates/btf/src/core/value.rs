//! The value that a relocation asks for, worked out of a spec.

use super::spec::{Accessor, Spec};
use super::{About, CoreErrorKind as E, CoreReloKind as K, Relocated};
use crate::btf::Btf;
use crate::view::{Member, Type};

/// The asked value of one spec.
#[derive(Default)]
struct Answer {
    value: u64,
    /// Field size and type, for offsets of fields that are no bitfields.
    field: Option<(u32, u32)>,
    /// Whether the compiler must have come to the same value.
    validate: bool,
}

/// The answer to a relocation, for the local spec and what was found in the target (`None`: nothing was).
pub(super) fn calculate(local: &Spec<'_>, target: Option<&Spec<'_>>) -> Result<Relocated, E> {
    let orig = answer(local)?;
    let mut out = Relocated {
        orig: orig.value,
        validate: orig.validate,
        target_type_id: target.map(|t| t.root),
        ..Relocated::default()
    };
    match target {
        Some(t) => {
            let new = answer(t)?;
            out.new = new.value;
            out.orig_size = orig.field.map_or(0, |f| f.0);
            out.new_size = new.field.map_or(0, |f| f.0);
            out.fail_memsz_adjust = out.orig_size != out.new_size && !may_adjust(local.btf, orig, t.btf, new);
        }
        // without a match, questions have the answer no (0), all else is poisoned
        None => out.poison = !matches!(local.kind.about(), About::Type) && !is_existence(local.kind),
    }
    Ok(out)
}

fn is_existence(kind: K) -> bool {
    matches!(kind, K::FieldExists | K::EnumvalExists)
}

/// Whether an access may change its size: pointers, and integers that are not signed, are extended with zeros.
fn may_adjust(local: &Btf, orig: Answer, target: &Btf, new: Answer) -> bool {
    let (Some((_, a)), Some((_, b))) = (orig.field, new.field) else { return false };
    match (local.type_by_id(a), target.type_by_id(b)) {
        (Some(Type::Ptr(_)), Some(Type::Ptr(_))) => true,
        (Some(Type::Int(a)), Some(Type::Int(b))) => {
            !is_plain_signed(a.encoding) && !is_plain_signed(b.encoding)
        }
        _ => false,
    }
}

fn is_plain_signed(e: crate::view::IntEncoding) -> bool {
    e.signed && !e.char && !e.bool
}

fn answer(spec: &Spec<'_>) -> Result<Answer, E> {
    match spec.kind {
        K::FieldExists | K::TypeExists | K::TypeMatches | K::EnumvalExists => {
            Ok(Answer { value: 1, validate: true, field: None })
        }
        K::TypeIdTarget | K::TypeIdLocal => {
            Ok(Answer { value: spec.root.into(), validate: false, field: None })
        }
        K::TypeSize => {
            Ok(Answer { value: size_of(spec.btf, spec.root)?.into(), validate: true, field: None })
        }
        K::EnumvalValue => Ok(Answer { value: enumerator(spec)?, validate: true, field: None }),
        _ => field_answer(spec),
    }
}

fn enumerator(spec: &Spec<'_>) -> Result<u64, E> {
    let acc = spec.accessors.first().ok_or(E::BadAccess)?;
    let e = spec.btf.type_by_id(acc.type_id).and_then(|t| t.any_enum()).ok_or(E::NotEnum)?;
    Ok(e.enumerators.get(acc.index as usize).ok_or(E::NotEnum)?.value as u64)
}

fn size_of(btf: &Btf, type_id: u32) -> Result<u32, E> {
    btf.size_of(type_id).ok_or(E::NoSize { type_id })
}

fn field_answer(spec: &Spec<'_>) -> Result<Answer, E> {
    let acc = spec.accessors.last().ok_or(E::BadAccess)?;
    if acc.name.is_none() {
        return element_answer(spec, acc);
    }
    let c = spec.btf.type_by_id(acc.type_id).and_then(|t| t.composite());
    let member = c.and_then(|c| c.members.get(acc.index as usize)).ok_or(E::BadAccess)?;
    let place = Place::of(spec, member)?;
    let bitfield = member.bitfield_size > 0;
    let (value, validate) = match spec.kind {
        K::FieldByteOffset => (place.byte_offset, !bitfield),
        K::FieldByteSize => (place.byte_size, !bitfield),
        K::FieldSigned => (u64::from(is_signed(spec.btf, place.type_id)), true),
        K::FieldLshiftU64 => (place.lshift()?, !bitfield),
        _ => (64u64.checked_sub(place.bit_size).ok_or(E::BitfieldTooWide)?, true),
    };
    let field =
        (spec.kind == K::FieldByteOffset && !bitfield).then_some((place.byte_size as u32, place.type_id));
    Ok(Answer { value, validate, field })
}

fn element_answer(spec: &Spec<'_>, acc: &Accessor<'_>) -> Result<Answer, E> {
    let size = size_of(spec.btf, acc.type_id)?;
    match spec.kind {
        K::FieldByteOffset => {
            Ok(Answer { value: spec.bit_offset / 8, field: Some((size, acc.type_id)), validate: true })
        }
        K::FieldByteSize => Ok(Answer { value: size.into(), field: None, validate: true }),
        _ => Err(E::ArrayAccess),
    }
}

fn is_signed(btf: &Btf, id: u32) -> bool {
    match btf.type_by_id(id) {
        Some(Type::Int(i)) => i.encoding.signed,
        Some(Type::Enum(e) | Type::Enum64(e)) => e.signed,
        _ => false,
    }
}

/// Where a field lies and how it can be loaded; all in the target's layout.
struct Place {
    type_id: u32,
    bit_offset: u64,
    bit_size: u64,
    byte_offset: u64,
    byte_size: u64,
}

impl Place {
    fn of(spec: &Spec<'_>, member: Member<'_>) -> Result<Place, E> {
        let type_id =
            spec.btf.skip_mods_and_typedefs(member.type_id).ok_or(E::NoSize { type_id: member.type_id })?;
        let size = u64::from(size_of(spec.btf, type_id)?);
        let whole = Place {
            type_id,
            bit_offset: spec.bit_offset,
            bit_size: size * 8,
            byte_offset: spec.bit_offset / 8,
            byte_size: size,
        };
        if member.bitfield_size == 0 { Ok(whole) } else { whole.bitfield(member.bitfield_size.into()) }
    }

    /// The smallest aligned load, from that of the field's type up to 8 bytes, that has all bits.
    fn bitfield(mut self, bit_size: u64) -> Result<Place, E> {
        self.bit_size = bit_size;
        if !self.byte_size.is_power_of_two() {
            return Err(E::BitfieldTooWide);
        }
        loop {
            self.byte_offset = self.bit_offset / 8 / self.byte_size * self.byte_size;
            if self.bit_offset + bit_size - self.byte_offset * 8 <= self.byte_size * 8 {
                return Ok(self);
            }
            if self.byte_size >= 8 {
                return Err(E::BitfieldTooWide);
            }
            self.byte_size *= 2;
        }
    }

    /// On a little-endian target.
    fn lshift(&self) -> Result<u64, E> {
        let end = self.bit_offset + self.bit_size - self.byte_offset * 8;
        64u64.checked_sub(end).ok_or(E::BitfieldTooWide)
    }
}
