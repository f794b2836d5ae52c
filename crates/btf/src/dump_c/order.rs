//! What must be printed before what.
//!
//! A type is needed either *in full* (a member by value, an array element: its size matters) or by name only (behind a
//! pointer, in a prototype), for which `struct foo;` is enough. Before a struct is printed, its members' types are
//! needed in full; before a typedef, what it stands for, as far as the user of the typedef needs it.

use super::{DumpError, Dumper, State};
use crate::kind::Kind;
use crate::view::{Composite, FuncProto, Type};

impl Dumper<'_> {
    /// The order in which people find types: enums, then typedefs, then structs, by name; or as they come.
    pub(super) fn reading_order(&self, sorted: bool) -> Vec<u32> {
        let mut ids: Vec<u32> = (1..self.btf.type_count()).collect();
        if sorted {
            ids.sort_by_cached_key(|id| {
                let rank = match self.btf.kind_of(*id) {
                    Some(k) if k.is_any_enum() => 0,
                    Some(Kind::Typedef) => 1,
                    _ => 2,
                };
                (rank, self.btf.name_of(*id))
            });
        }
        ids
    }

    /// Prints a type for its own sake.
    pub(super) fn top_level(&mut self, id: u32) -> Result<(), DumpError> {
        let Some(kind) = self.btf.kind_of(id) else { return Ok(()) };
        match kind {
            Kind::Func | Kind::Var | Kind::Datasec | Kind::DeclTag => Ok(()),
            _ if self.btf.name_of(id).is_empty() => Ok(()),
            _ => self.need(id, true, 0),
        }
    }

    /// Prints the enums without name that nothing printed so far has inside it: their constants are of use.
    pub(super) fn left_over_enums(&mut self) -> Result<(), DumpError> {
        for id in 1..self.btf.type_count() {
            let is_enum = self.btf.kind_of(id).is_some_and(Kind::is_any_enum);
            if is_enum && self.states[id as usize] == State::Untouched && self.btf.name_of(id).is_empty() {
                self.define_enum(id)?;
            }
        }
        Ok(())
    }

    /// Prints all that a mention of type `id` needs. `inside` is the struct that will be printed next: inside it its own
    /// name is known.
    pub(super) fn need(&mut self, id: u32, full: bool, inside: u32) -> Result<(), DumpError> {
        let Some(t) = self.btf.type_by_id(id) else { return Ok(()) };
        self.deeper(id, |d| match t {
            Type::Ptr(to) => d.need(to, false, inside),
            Type::Volatile(to) | Type::Const(to) | Type::Restrict(to) => d.need(to, full, inside),
            Type::TypeTag(t) => d.need(t.type_id, full, inside),
            Type::Array(a) => d.need(a.type_id, true, inside),
            Type::FuncProto(p) => d.need_prototype(p, inside),
            Type::Typedef(t) => d.need_typedef(id, t.type_id, full),
            Type::Enum(e) | Type::Enum64(e) if !e.name.is_empty() => d.define_enum(id),
            Type::Struct(c) | Type::Union(c) => d.need_composite(id, c, full, inside),
            Type::Fwd(f) => {
                d.declare_tag(id, f.is_union);
                Ok(())
            }
            _ => Ok(()),
        })
    }

    fn need_prototype(&mut self, p: FuncProto<'_>, inside: u32) -> Result<(), DumpError> {
        self.need(p.return_type_id, false, inside)?;
        for param in p.params {
            self.need(param.type_id, false, inside)?;
        }
        Ok(())
    }

    fn need_typedef(&mut self, id: u32, to: u32, full: bool) -> Result<(), DumpError> {
        let state = self.states[id as usize];
        if state == State::Defined || state == State::InProgress || state == State::Declared && !full {
            return Ok(());
        }
        self.states[id as usize] = State::InProgress;
        self.need(to, full, 0)?;
        if state == State::Untouched {
            let name = self.name_of(id);
            let text = self.declare(to, &name, 0)?;
            self.guarded(&name, &format!("typedef {text};\n\n"));
        }
        self.states[id as usize] = if full { State::Defined } else { State::Declared };
        Ok(())
    }

    fn define_enum(&mut self, id: u32) -> Result<(), DumpError> {
        if self.states[id as usize] == State::Untouched {
            let text = self.enum_body(id, 0)?;
            let first = self.btf.type_by_id(id).and_then(|t| t.any_enum()?.enumerators.next());
            self.guarded(first.map_or("", |v| v.name), &format!("{text};\n\n"));
        }
        Ok(())
    }

    fn need_composite(
        &mut self,
        id: u32,
        c: Composite<'_>,
        full: bool,
        inside: u32,
    ) -> Result<(), DumpError> {
        if c.name.is_empty() {
            return self.need_members(c, inside);
        }
        match self.states[id as usize] {
            State::Defined => Ok(()),
            _ if id == inside => Ok(()),
            State::Untouched if full => {
                self.states[id as usize] = State::InProgress;
                self.need_members(c, id)?;
                let text = self.struct_body(id, c, 0)?;
                self.out.push_str(&format!("{text};\n\n"));
                self.tags.insert(self.tag(id, c.is_union));
                self.states[id as usize] = State::Defined;
                Ok(())
            }
            _ => {
                self.declare_tag(id, c.is_union);
                Ok(())
            }
        }
    }

    fn need_members(&mut self, c: Composite<'_>, inside: u32) -> Result<(), DumpError> {
        for m in c.members {
            self.need(m.type_id, true, inside)?;
        }
        Ok(())
    }

    /// `struct foo;`, once.
    fn declare_tag(&mut self, id: u32, is_union: bool) {
        let tag = self.tag(id, is_union);
        if !self.tags.contains(&tag) {
            self.out.push_str(&format!("{tag};\n\n"));
            self.tags.insert(tag);
        }
    }

    pub(super) fn tag(&self, id: u32, is_union: bool) -> String {
        format!("{} {}", if is_union { "union" } else { "struct" }, self.name_of(id))
    }

    /// Prints a text that declares `name`, which may be a keyword of the newest C.
    fn guarded(&mut self, name: &str, text: &str) {
        if super::names::C23_WORDS.contains(&name) {
            self.out.push_str(&format!(
                "#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 202311L\n{}\n#endif\n\n",
                text.trim_end()
            ));
        } else {
            self.out.push_str(text);
        }
    }
}
