//! Merging BTF sections with removal of doubles: what linking several objects needs.
//!
//! Two types are the same if no walk through names, sizes, members and references can tell them apart, however long:
//! for cyclic structs too. That is found by refinement, as in the minimisation of automata: at first all types with
//! equal records (references left out) share a colour; then, round by round, a type's colour becomes (its colour,
//! the colours it refers to), until the number of colours stands still.
//!
//! - A declaration (`struct x;`) counts as the definition of that name, if all definitions of it look alike; so the
//!   one object that only has a declaration merges with the other that has the struct.
//! - Variables and sections are never merged as types: equal static variables of two objects are two variables.
//!   Sections of the same name become one, with the variables of both in order; their offsets and the size are the
//!   business of the linker ([`BtfBuilder::set_datasec`]).
//! - Types that are in the builder already keep their ids and are never removed.
//! - Types nested so deeply that refinement does not end in [`MAX_ROUNDS`] rounds are added without looking for doubles.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::btf::{Btf, Record};
use crate::builder::{BtfBuilder, BuildError};
use crate::kind::{Field, Kind};

/// The most rounds of refinement. A whole kernel (Linux 6.18) needs 7.
const MAX_ROUNDS: usize = 64;

impl BtfBuilder {
    /// Adds all types of `btf` that are not there yet. Gives for each id of `btf` the id here; a section's id may be
    /// that of an earlier section of the same name, whose variables come first.
    ///
    /// Cost: a few passes over all types here and there.
    ///
    /// # Errors
    /// `btf` is split on another base than this builder is, or too much of all.
    pub fn append(&mut self, btf: &Btf) -> Result<Vec<u32>, BuildError> {
        let shared = self.shared_base(btf)?;
        let old_end = self.next_id();
        let mut ids: Vec<u32> = (0..shared).collect();
        ids.extend((shared..btf.type_count()).map(|id| old_end + (id - shared)));
        for id in shared..btf.type_count() {
            self.push_translated(btf, id, &ids)?;
        }
        let same = Merge::new(self, old_end).run();
        let moved = self.drop_doubles(old_end, same)?;
        for id in ids.iter_mut().skip(shared as usize) {
            *id = moved[(*id - old_end) as usize];
        }
        Ok(ids)
    }

    /// Ids below this mean the same on both sides.
    fn shared_base(&self, btf: &Btf) -> Result<u32, BuildError> {
        match (&self.base, btf.base()) {
            (Some(a), Some(b)) if std::sync::Arc::ptr_eq(a, b) => Ok(a.type_count()),
            (None, _) => Ok(1),
            _ => Err(BuildError::OtherBase),
        }
    }

    fn push_translated(&mut self, btf: &Btf, id: u32, ids: &[u32]) -> Result<(), BuildError> {
        let Some(record) = btf.record(id) else { return Ok(()) };
        let row = record.kind().row();
        let mut words = record.0.to_vec();
        for (i, w) in words.iter_mut().enumerate() {
            match row.field(i) {
                Field::Name => *w = self.add_string(btf.name_at(*w))?,
                Field::Type => *w = ids.get(*w as usize).copied().unwrap_or(0),
                Field::Plain => {}
            }
        }
        if self.words.len() + words.len() > (u32::MAX / 4) as usize {
            return Err(BuildError::TooBig);
        }
        self.push(&words);
        Ok(())
    }

    /// Removes the types from `old_end` on that are the same as another; gives the id of each afterwards.
    fn drop_doubles(&mut self, old_end: u32, mut same: Same) -> Result<Vec<u32>, BuildError> {
        for (declaration, definition) in &same.defined {
            let words = self.record(*definition).map(|r| r.0.to_vec()).unwrap_or_default();
            self.replace(*declaration, &words);
        }
        let first = self.first_id();
        let added = self.spans.split_off((old_end - first) as usize);
        let mut moved = vec![0; added.len()];
        let mut next = old_end;
        for (i, span) in added.iter().enumerate() {
            let id = old_end + i as u32;
            if same.leader(id) == id {
                moved[i] = next;
                next += 1;
                self.spans.push(*span);
            }
        }
        for i in 0..added.len() {
            let leader = same.leader(old_end + i as u32);
            moved[i] = if leader < old_end { leader } else { moved[(leader - old_end) as usize] };
        }
        self.rewrite(old_end, &same.defined, &moved);
        for (kept, from) in std::mem::take(&mut same.sections) {
            self.join_section(kept, &added[(from - old_end) as usize], old_end, &moved)?;
        }
        Ok(moved)
    }

    /// Puts final ids into the new records and into definitions that took the place of declarations.
    fn rewrite(&mut self, old_end: u32, defined: &[(u32, u32)], moved: &[u32]) {
        let old = defined.iter().map(|d| d.0).filter(|id| *id < old_end);
        let ids = (old_end..self.next_id()).chain(old);
        for id in ids.collect::<Vec<_>>() {
            let (start, len) = self.spans[(id - self.first_id()) as usize];
            let words = &mut self.words[start as usize..(start + len) as usize];
            let row = Record(words).kind().row();
            for (i, w) in words.iter_mut().enumerate() {
                if row.field(i) == Field::Type && *w >= old_end {
                    *w = moved[(*w - old_end) as usize];
                }
            }
        }
    }

    fn join_section(
        &mut self,
        kept: u32,
        from: &(u32, u32),
        old_end: u32,
        moved: &[u32],
    ) -> Result<(), BuildError> {
        let id = if kept < old_end { kept } else { moved[(kept - old_end) as usize] };
        let (size, mut vars) = self.datasec(id)?;
        let more = Record(&self.words[from.0 as usize..(from.0 + from.1) as usize]);
        let more_size = more.word3();
        for w in more.entries().chunks_exact(3) {
            let type_id = if w[0] >= old_end { moved[(w[0] - old_end) as usize] } else { w[0] };
            vars.push(crate::view::VarSecinfo { type_id, offset: w[1], size: w[2] });
        }
        self.set_datasec(id, size.saturating_add(more_size), &vars)
    }
}

/// Which types are the same, as found by [`Merge::run`].
struct Same {
    first: u32,
    /// For each id, the type it is the same as; itself if it stays.
    leaders: Vec<u32>,
    /// Old declarations, each with the new definition that takes its place.
    defined: Vec<(u32, u32)>,
    /// Sections, each with a later one of the same name.
    sections: Vec<(u32, u32)>,
}

impl Same {
    fn leader(&self, id: u32) -> u32 {
        self.leaders[(id - self.first) as usize]
    }
}

/// Colouring of all own types of a builder.
struct Merge<'a> {
    builder: &'a BtfBuilder,
    first: u32,
    /// Ids below this keep their places.
    old_end: u32,
    colours: Vec<u32>,
    /// For each own type the one that it is read as: declarations as definitions.
    alias: Vec<u32>,
}

impl<'a> Merge<'a> {
    fn new(builder: &'a BtfBuilder, old_end: u32) -> Self {
        let first = builder.first_id();
        let alias = (first..builder.next_id()).collect();
        Merge { builder, first, old_end, colours: Vec::new(), alias }
    }

    fn run(mut self) -> Same {
        let hashers = (RandomState::new(), RandomState::new());
        self.round(&hashers, true);
        let mut count = self.alias_declarations();
        let mut settled = false;
        for _ in 0..MAX_ROUNDS {
            let next = self.round(&hashers, false);
            settled = next == count;
            if settled {
                break;
            }
            count = next;
        }
        if settled { self.leaders() } else { self.all_differ() }
    }

    /// Gives each type the colour of its record; without references at first. Gives the number of colours.
    fn round(&mut self, hashers: &(RandomState, RandomState), at_first: bool) -> usize {
        let mut seen: HashMap<(u64, u64), u32> = HashMap::new();
        let mut next = Vec::with_capacity(self.alias.len());
        let mut key = Vec::new();
        for (i, alias) in self.alias.iter().enumerate() {
            key.clear();
            if at_first {
                self.shape(self.first + i as u32, &mut key)
            } else {
                self.view(*alias, &mut key)
            };
            let key = (hashers.0.hash_one(&key), hashers.1.hash_one(&key));
            let fresh = seen.len() as u32;
            next.push(*seen.entry(key).or_insert(fresh));
        }
        self.colours = next;
        seen.len()
    }

    /// Gives a type's record without references; variables and sections are told apart by their ids.
    fn shape(&self, id: u32, out: &mut Vec<u32>) {
        let Some(r) = self.builder.record(id) else { return };
        let row = r.kind().row();
        out.extend(r.0.iter().enumerate().map(|(i, w)| if row.field(i) == Field::Type { 0 } else { *w }));
        if matches!(r.kind(), Kind::Var | Kind::Datasec) {
            out.push(id);
        }
    }

    /// Gives a type's colour and those it refers to.
    fn view(&self, id: u32, out: &mut Vec<u32>) {
        out.push(self.colours[(id - self.first) as usize]);
        let Some(r) = self.builder.record(id) else { return };
        let row = r.kind().row();
        for (i, w) in r.0.iter().enumerate() {
            if row.field(i) == Field::Type {
                match w.checked_sub(self.first) {
                    // one type of the base or void is the same as itself only
                    None => out.extend([0, *w]),
                    Some(own) => out.extend([1, self.colours.get(own as usize).copied().unwrap_or(0)]),
                }
            }
        }
    }

    /// Reads each declaration as the first definition of its name, if all definitions have the same shape. Gives the
    /// number of colours that are left.
    fn alias_declarations(&mut self) -> usize {
        let mut definitions: HashMap<(u32, bool), Option<u32>> = HashMap::new();
        let ids = || self.first..self.builder.next_id();
        for id in ids() {
            let Some(r) = self.builder.record(id).filter(|r| r.kind().is_composite() && r.name_off() != 0)
            else {
                continue;
            };
            let colour = |id: u32| self.colours[(id - self.first) as usize];
            let entry = definitions.entry((r.name_off(), r.kind() == Kind::Union)).or_insert(Some(id));
            if entry.is_some_and(|known| colour(known) != colour(id)) {
                *entry = None;
            }
        }
        for id in ids() {
            let Some(r) = self.builder.record(id).filter(|r| r.kind() == Kind::Fwd) else { continue };
            if let Some(Some(definition)) = definitions.get(&(r.name_off(), r.kind_flag())) {
                self.alias[(id - self.first) as usize] = *definition;
            }
        }
        for i in 0..self.alias.len() {
            self.colours[i] = self.colours[(self.alias[i] - self.first) as usize];
        }
        self.colours.iter().collect::<std::collections::HashSet<_>>().len()
    }

    /// The first type of each colour leads; a definition before declarations, unless a declaration is old already:
    /// then the definition takes its place.
    fn leaders(&self) -> Same {
        let mut same = self.all_differ();
        let mut by_colour: HashMap<u32, u32> = HashMap::new();
        for i in 0..self.alias.len() {
            let id = self.first + i as u32;
            let is_declaration = self.alias[i] != id;
            let Some(leader) = by_colour.get(&self.colours[i]).copied() else {
                by_colour.insert(self.colours[i], id);
                continue;
            };
            if id < self.old_end {
                // what exists stays; a definition leads rather than a declaration
                if self.is_declaration(leader) && !is_declaration {
                    by_colour.insert(self.colours[i], id);
                }
            } else {
                self.follow(&mut same, id, leader, is_declaration);
            }
        }
        // declarations that led new definitions
        for i in 0..same.leaders.len() {
            let l = same.leaders[i];
            same.leaders[i] = same.leaders[(l - self.first) as usize];
        }
        same
    }

    fn is_declaration(&self, id: u32) -> bool {
        self.alias[(id - self.first) as usize] != id
    }

    fn follow(&self, same: &mut Same, id: u32, leader: u32, is_declaration: bool) {
        same.leaders[(id - self.first) as usize] = leader;
        let undefined = self.is_declaration(leader) && !same.defined.iter().any(|d| d.0 == leader);
        if undefined && !is_declaration {
            same.defined.push((leader, id));
        }
    }

    fn all_differ(&self) -> Same {
        let leaders = (self.first..self.builder.next_id()).collect();
        let mut same = Same { first: self.first, leaders, defined: Vec::new(), sections: Vec::new() };
        let mut by_name: HashMap<u32, u32> = HashMap::new();
        for id in self.first..self.builder.next_id() {
            let Some(r) = self.builder.record(id).filter(|r| r.kind() == Kind::Datasec) else { continue };
            let kept = *by_name.entry(r.name_off()).or_insert(id);
            if kept != id && id >= self.old_end {
                same.leaders[(id - self.first) as usize] = kept;
                same.sections.push((kept, id));
            }
        }
        same
    }
}
