//! Special fields of a value: what an update leaves alone and user space sees as zero (kernel/bpf/btf.c,
//! `btf_parse_fields`; `copy_map_value`).

use skep_btf::{Btf, Type};
use skep_platform::MapDef;

/// Nesting and number of elements that are looked at; deeper types have no special fields in the kernel either.
const MAX_DEPTH: u32 = 8;
/// Most special fields of a value (`BTF_FIELDS_MAX` is 11 today).
const MAX_FIELDS: usize = 64;

/// Struct names that are special, with their sizes.
const SPECIAL: &[(&str, u32)] = &[
    ("bpf_spin_lock", 4),
    ("bpf_res_spin_lock", 8),
    ("bpf_timer", 16),
    ("bpf_wq", 16),
    ("bpf_task_work", 8),
    ("bpf_list_head", 16),
    ("bpf_list_node", 24),
    ("bpf_rb_root", 16),
    ("bpf_rb_node", 32),
    ("bpf_refcount", 4),
];

/// Type tags that make a pointer special.
const POINTER_TAGS: &[&str] = &["kptr", "kptr_untrusted", "percpu_kptr", "uptr"];

/// Special fields of a map's values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    /// Offset of the `bpf_spin_lock`.
    pub(crate) lock: Option<u32>,
    /// Offset and length of every special field, ascending.
    pub(crate) holes: Vec<(u32, u32)>,
}

impl Fields {
    /// The special fields of a definition's values; none without BTF.
    pub(crate) fn of(def: &MapDef) -> Fields {
        let mut fields = Fields::default();
        if let Some(types) = &def.btf {
            fields.find(&types.btf, types.value, 0, 0);
        }
        fields.holes.sort_unstable();
        fields.holes.retain(|(at, len)| at.checked_add(*len).is_some_and(|end| end <= def.value_size));
        fields.lock = fields.lock.filter(|at| at % 4 == 0 && fields.holes.contains(&(*at, 4)));
        fields
    }

    fn find(&mut self, btf: &Btf, id: u32, at: u32, depth: u32) {
        if depth > MAX_DEPTH || self.holes.len() >= MAX_FIELDS {
            return;
        }
        match btf.resolve(id).map(|(_, ty)| ty) {
            Some(Type::Struct(s)) => match SPECIAL.iter().find(|(name, _)| *name == s.name) {
                Some((name, len)) => self.add(name, at, *len),
                None => {
                    for m in s.members.into_iter().filter(|m| m.bitfield_size == 0) {
                        self.find(btf, m.type_id, at.saturating_add(m.bit_offset / 8), depth + 1);
                    }
                }
            },
            Some(Type::Datasec(d)) => {
                for var in d.vars {
                    if let Some(Type::Var(v)) = btf.type_by_id(var.type_id) {
                        self.find(btf, v.type_id, at.saturating_add(var.offset), depth + 1);
                    }
                }
            }
            Some(Type::Array(a)) => self.find_in_array(btf, a.type_id, a.nelems, at, depth),
            Some(Type::Ptr(to)) => {
                if matches!(btf.type_by_id(to), Some(Type::TypeTag(tag)) if POINTER_TAGS.contains(&tag.name))
                {
                    self.add("kptr", at, 8);
                }
            }
            _ => {}
        }
    }

    fn find_in_array(&mut self, btf: &Btf, element: u32, count: u32, at: u32, depth: u32) {
        let size = btf.size_of(element).unwrap_or(0);
        for i in 0..count {
            let before = self.holes.len();
            self.find(btf, element, at.saturating_add(i.saturating_mul(size)), depth + 1);
            if self.holes.len() == before || self.holes.len() >= MAX_FIELDS {
                break;
            }
        }
    }

    fn add(&mut self, name: &str, at: u32, len: u32) {
        if name == "bpf_spin_lock" {
            self.lock = Some(at);
        }
        self.holes.push((at, len));
    }

    /// Parts of a value between the special fields, with their offsets.
    pub(crate) fn parts<'v>(&self, value: &'v [u8]) -> Vec<(u32, &'v [u8])> {
        let mut parts = Vec::new();
        let mut from = 0;
        for (at, len) in self.holes.iter().copied().chain([(value.len() as u32, 0)]) {
            parts.extend(
                value.get(from as usize..at as usize).filter(|p| !p.is_empty()).map(|part| (from, part)),
            );
            from = from.max(at + len);
        }
        parts
    }

    /// Copies everything but the special fields.
    pub(crate) fn copy_around(&self, from: &[u8], to: &mut [u8]) {
        for (at, part) in self.parts(from) {
            if let Some(to) = to.get_mut(at as usize..at as usize + part.len()) {
                to.copy_from_slice(part);
            }
        }
    }

    /// Zeroes the special fields.
    pub(crate) fn hide(&self, value: &mut [u8]) {
        for (at, len) in &self.holes {
            if let Some(hole) = value.get_mut(*at as usize..(*at + *len) as usize) {
                hole.fill(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_fields_are_left_alone() {
        let fields = Fields { lock: Some(4), holes: vec![(4, 4), (16, 16)] };
        let mut to = [9u8; 40];
        fields.copy_around(&[1; 40], &mut to);
        let expect: Vec<u8> =
            (0..40).map(|i| if (4..8).contains(&i) || (16..32).contains(&i) { 9 } else { 1 }).collect();
        assert_eq!(to.as_slice(), expect);
        fields.hide(&mut to);
        assert!(to[4..8].iter().chain(&to[16..32]).all(|b| *b == 0));
    }
}
