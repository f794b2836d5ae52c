//! A spec: what an access string means in a type: the steps that matter (named fields, array indices) and the bit
//! offset that they lead to.

use std::fmt;

use super::{About, CoreErrorKind as E, CoreReloKind};
use crate::btf::Btf;
use crate::ext::CoreRelo;
use crate::view::{Array, Type};

/// The most steps of an access string.
pub(super) const MAX_STEPS: usize = 64;

/// A step that matters: a named field of a struct, or an array index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accessor<'a> {
    /// The struct or union with the field; the type of the element for an index.
    pub(super) type_id: u32,
    /// Which member or element.
    pub(super) index: u32,
    /// The field's name; `None` for an index.
    pub(super) name: Option<&'a str>,
}

/// What a relocation refers to, in one [`Btf`].
#[derive(Debug, Clone)]
pub(super) struct Spec<'a> {
    pub(super) btf: &'a Btf,
    pub(super) root: u32,
    pub(super) kind: CoreReloKind,
    pub(super) accessors: Vec<Accessor<'a>>,
    /// All steps, through anonymous members too.
    pub(super) raw: Vec<u32>,
    pub(super) bit_offset: u64,
}

impl<'a> Spec<'a> {
    pub(super) fn new(btf: &'a Btf, root: u32, kind: CoreReloKind) -> Spec<'a> {
        Spec { btf, root, kind, accessors: Vec::new(), raw: Vec::new(), bit_offset: 0 }
    }

    /// The spec of a relocation in its own object.
    pub(super) fn parse(btf: &'a Btf, relo: &CoreRelo) -> Result<Spec<'a>, E> {
        let kind = relo.kind().ok_or(E::UnknownKind(relo.raw_kind))?;
        let mut spec = Spec::new(btf, relo.type_id, kind);
        let access = relo.access_str(btf);
        if kind.about() == About::Type {
            return if access == "0" { Ok(spec) } else { Err(E::BadAccess) };
        }
        spec.raw = parse_access(access)?;
        let id = btf.skip_mods_and_typedefs(relo.type_id).ok_or(E::NoSize { type_id: relo.type_id })?;
        if kind.about() == About::Enumval {
            spec.enumerator(id)?
        } else {
            spec.walk(id)?
        }
        Ok(spec)
    }

    fn enumerator(&mut self, id: u32) -> Result<(), E> {
        let e = self.btf.type_by_id(id).and_then(|t| t.any_enum()).ok_or(E::NotEnum)?;
        let &[index] = self.raw.as_slice() else { return Err(E::BadAccess) };
        let len = e.enumerators.len() as u32;
        let found = e.enumerators.get(index as usize).ok_or(E::IndexOutOfRange { level: 0, index, len })?;
        self.accessors.push(Accessor { type_id: id, index, name: Some(found.name) });
        Ok(())
    }

    fn walk(&mut self, mut id: u32) -> Result<(), E> {
        self.accessors.push(Accessor { type_id: id, index: self.raw[0], name: None });
        self.skip_elements(id, self.raw[0])?;
        for level in 1..self.raw.len() {
            let index = self.raw[level];
            let (at, t) = self.btf.resolve(id).ok_or(E::NoSize { type_id: id })?;
            id = match t {
                Type::Struct(_) | Type::Union(_) => self.member(at, level, index)?,
                Type::Array(a) => self.element(a, level, index)?,
                _ => return Err(E::NotComposite { level }),
            };
        }
        Ok(())
    }

    /// Goes into a member; gives its type.
    fn member(&mut self, type_id: u32, level: usize, index: u32) -> Result<u32, E> {
        let c = self.btf.type_by_id(type_id).and_then(|t| t.composite()).ok_or(E::NotComposite { level })?;
        let len = c.members.len() as u32;
        let m = c.members.get(index as usize).ok_or(E::IndexOutOfRange { level, index, len })?;
        self.bit_offset += u64::from(m.bit_offset);
        if !m.name.is_empty() {
            self.accessors.push(Accessor { type_id, index, name: Some(m.name) });
        }
        Ok(m.type_id)
    }

    /// Goes into an array element; gives its type.
    fn element(&mut self, a: Array, level: usize, index: u32) -> Result<u32, E> {
        if index >= a.nelems && !self.is_flexible(a) {
            return Err(E::IndexOutOfRange { level, index, len: a.nelems });
        }
        let id = self.btf.skip_mods_and_typedefs(a.type_id).ok_or(E::NoSize { type_id: a.type_id })?;
        self.accessors.push(Accessor { type_id: id, index, name: None });
        self.skip_elements(id, index)?;
        Ok(id)
    }

    /// Whether the array that was just reached is a flexible one: no elements, last member of its struct.
    pub(super) fn is_flexible(&self, a: Array) -> bool {
        let Some(last) = self.accessors.last().filter(|acc| acc.name.is_some() && a.nelems == 0) else {
            return false;
        };
        let owner = self.btf.type_by_id(last.type_id).and_then(|t| t.composite());
        owner.is_some_and(|c| last.index as usize + 1 == c.members.len())
    }

    /// Moves the offset over `count` elements of a type.
    pub(super) fn skip_elements(&mut self, type_id: u32, count: u32) -> Result<(), E> {
        let size = self.btf.size_of(type_id).ok_or(E::NoSize { type_id })?;
        let bits = u64::from(size).checked_mul(8).and_then(|b| b.checked_mul(u64::from(count)));
        let sum = bits.and_then(|b| b.checked_add(self.bit_offset)).filter(|b| *b <= u64::from(u32::MAX));
        self.bit_offset = sum.ok_or(E::OffsetOverflow)?;
        Ok(())
    }
}

fn parse_access(s: &str) -> Result<Vec<u32>, E> {
    let mut out = Vec::new();
    for part in s.split(':') {
        if out.len() == MAX_STEPS {
            return Err(E::TooDeep);
        }
        let n: u32 = part.parse().map_err(|_| E::BadAccess)?;
        out.push(i32::try_from(n).map_err(|_| E::BadAccess)? as u32);
    }
    Ok(out)
}

/// `struct sk_buff`; `typedef u32`; `struct <anon>`.
pub(super) fn type_title(btf: &Btf, id: u32) -> String {
    let kind = btf.kind_of(id).map_or_else(|| "void".to_owned(), |k| k.row().name.to_lowercase());
    let name = btf.name_of(id);
    format!("{kind} {}", if name.is_empty() { "<anon>" } else { name })
}

impl fmt::Display for Spec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}> [{}] {}", self.kind.name(), self.root, type_title(self.btf, self.root))?;
        match self.kind.about() {
            About::Type => Ok(()),
            About::Enumval => self.fmt_enumerator(f),
            About::Field => self.fmt_field(f),
        }
    }
}

impl Spec<'_> {
    fn fmt_enumerator(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(acc) = self.accessors.first() else { return Ok(()) };
        let e = self.btf.type_by_id(acc.type_id).and_then(|t| t.any_enum());
        match e.and_then(|e| Some((e.enumerators.get(acc.index as usize)?, e.signed))) {
            Some((v, true)) => write!(f, "::{} = {}", v.name, v.value),
            Some((v, false)) => write!(f, "::{} = {}", v.name, v.value as u64),
            None => Ok(()),
        }
    }

    fn fmt_field(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, acc) in self.accessors.iter().enumerate() {
            match acc.name {
                Some(name) => write!(f, ".{name}")?,
                None if i > 0 || acc.index > 0 => write!(f, "[{}]", acc.index)?,
                None => {}
            }
        }
        f.write_str(" (")?;
        for (i, step) in self.raw.iter().enumerate() {
            write!(f, "{}{step}", if i == 0 { "" } else { ":" })?;
        }
        write!(f, " @ offset {}", self.bit_offset / 8)?;
        if !self.bit_offset.is_multiple_of(8) {
            write!(f, ".{}", self.bit_offset % 8)?;
        }
        f.write_str(")")
    }
}
