//! A target cut down to what some objects' relocations look at: [`Minimal`], for machines whose kernel shows no types.
//!
//! Flow: for each relocation every candidate that matches is found as in [`resolve`](super::resolve()) → the types and members on
//! the way to the answer are marked, and the types that decide whether they match → what is marked is written anew, in the
//! old order.
//!
//! What always holds: a relocation that was added gets the same answer from the new BTF as from the whole one, but for ids of
//! the target's types, which are those of the BTF asked. A candidate that did not match does not begin to, since it only
//! loses members. Structs keep their size and members their offsets; a pointer's target is kept only where it decides
//! something, and is `void` otherwise.

use std::collections::{BTreeMap, BTreeSet};

use super::matching::{self, Fuel};
use super::spec::Spec;
use super::{About, CoreError, CoreReloKind, find_candidates};
use crate::btf::{Btf, Record};
use crate::builder::{BtfBuilder, BuildError, info};
use crate::ext::CoreRelo;
use crate::kind::{Field, Kind};
use crate::view::Type;

/// Words of a member of a struct or union.
const MEMBER: usize = 3;

/// Which types and members of a target are needed.
#[derive(Debug)]
pub struct Minimal<'t> {
    target: &'t Btf,
    /// Types, each with the members that are kept of it (structs and unions alone).
    kept: BTreeMap<u32, BTreeSet<u32>>,
    /// Types whose references have been followed, and how.
    followed: BTreeSet<(u32, Follow)>,
}

/// How far a type's references are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Follow {
    /// To what has a size: what it is made of, but not what a pointer points to.
    Size,
    /// Behind pointers too; of structs the name and kind alone.
    Shape,
    /// All members of a struct as well.
    Members,
}

impl<'t> Minimal<'t> {
    /// Nothing of `target` is needed yet.
    pub fn new(target: &'t Btf) -> Minimal<'t> {
        Minimal { target, kept: BTreeMap::new(), followed: BTreeSet::new() }
    }

    /// Marks what a relocation of `local` looks at.
    ///
    /// # Errors
    /// The relocation is malformed or the target's types nest too deeply.
    pub fn add(&mut self, local: &Btf, relo: &CoreRelo) -> Result<(), CoreError> {
        let fail = |kind| CoreError::new(local, relo, kind);
        let spec = Spec::parse(local, relo).map_err(fail)?;
        if spec.kind == CoreReloKind::TypeIdLocal {
            return Ok(());
        }
        let mut fuel = Fuel::new();
        for id in find_candidates(local, relo.type_id, self.target) {
            match matching::match_spec(&spec, self.target, id, &mut fuel).map_err(fail)? {
                Some(found) if spec.kind.about() == About::Field => self.path(&found),
                Some(_) if spec.kind == CoreReloKind::TypeMatches => self.follow(id, Follow::Members),
                Some(_) => self.follow(id, Follow::Shape),
                None => {}
            }
        }
        Ok(())
    }

    /// Types that are needed, without void.
    pub fn type_count(&self) -> usize {
        self.kept.len()
    }

    /// BTF of the marked types alone, with new ids and no base.
    ///
    /// # Errors
    /// More types or strings than BTF can hold.
    pub fn build(&self) -> Result<BtfBuilder, BuildError> {
        let ids: BTreeMap<u32, u32> = self.kept.keys().copied().zip(1..).collect();
        let mut out = BtfBuilder::new();
        for (id, members) in &self.kept {
            let Some(record) = self.target.record(*id) else { continue };
            let mut words = shortened(record, members);
            let row = record.kind().row();
            for (i, word) in words.iter_mut().enumerate() {
                match row.field(i) {
                    Field::Name => *word = out.add_string(self.target.name_at(*word))?,
                    Field::Type => *word = ids.get(word).copied().unwrap_or(0),
                    Field::Plain => {}
                }
            }
            out.push(&words);
        }
        Ok(out)
    }

    /// Marks the types and members that lead to a field.
    fn path(&mut self, found: &Spec<'_>) {
        self.follow(found.root, Follow::Size);
        let mut at = found.root;
        for index in found.raw.iter().skip(1) {
            let Some((id, ty)) = self.target.resolve(at) else { return };
            match ty {
                Type::Array(array) => at = array.type_id,
                _ => match self.member(id, *index) {
                    Some(next) => at = next,
                    None => return,
                },
            }
        }
    }

    /// Marks a member and what it is made of; gives its type.
    fn member(&mut self, id: u32, index: u32) -> Option<u32> {
        let c = self.target.type_by_id(id)?.composite()?;
        let m = c.members.get(index as usize)?;
        let mut marked = vec![(index, m.type_id)];
        // An array without elements is a flexible one if it stands last; one that does not must not come to.
        let empty = matches!(self.target.resolve(m.type_id), Some((_, Type::Array(a))) if a.nelems == 0);
        let last = c.members.len() - 1;
        if let Some(other) = c.members.get(last).filter(|_| empty && last != index as usize) {
            marked.push((last as u32, other.type_id));
        }
        for (index, type_id) in marked {
            self.kept.entry(id).or_default().insert(index);
            self.follow(type_id, Follow::Size);
        }
        Some(m.type_id)
    }

    /// Marks a type and what it refers to.
    fn follow(&mut self, id: u32, how: Follow) {
        let mut next = vec![(id, how)];
        while let Some((id, how)) = next.pop() {
            if id == 0 || !self.followed.insert((id, how)) {
                continue;
            }
            let kept = self.kept.entry(id).or_default();
            match self.target.type_by_id(id) {
                Some(Type::Ptr(to)) if how != Follow::Size => next.push((to, Follow::Shape)),
                Some(Type::Ptr(_)) | None => {}
                Some(Type::Array(a)) => next.extend([(a.type_id, how), (a.index_type_id, Follow::Size)]),
                Some(Type::FuncProto(f)) => {
                    next.push((f.return_type_id, how));
                    next.extend(f.params.map(|p| (p.type_id, how)));
                }
                Some(Type::Struct(c) | Type::Union(c)) if how == Follow::Members => {
                    kept.extend(0..c.members.len() as u32);
                    next.extend(c.members.map(|m| (m.type_id, how)));
                }
                Some(ty) => next.extend(ty.referent().map(|to| (to, how))),
            }
        }
    }
}

/// The record with these of its members, if it is one that has members.
fn shortened(record: Record<'_>, members: &BTreeSet<u32>) -> Vec<u32> {
    if !matches!(record.kind(), Kind::Struct | Kind::Union) {
        return record.0.to_vec();
    }
    let mut words =
        vec![record.0[0], info(record.kind(), record.kind_flag(), members.len() as u32), record.word3()];
    let all: Vec<&[u32]> = record.entries().chunks_exact(MEMBER).collect();
    members.iter().filter_map(|i| all.get(*i as usize)).for_each(|m| words.extend_from_slice(m));
    words
}
