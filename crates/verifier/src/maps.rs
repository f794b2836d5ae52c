//! Maps as the verifier knows them: definition, access rights of programs, special fields of their values.

use skep_btf::{Btf, Kind, Type};
use skep_platform::map::{MapDef, flags};
use skep_platform::{Map, MapType};
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

/// Special fields of map values and objects (`enum btf_field_type`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum FieldKind {
    SpinLock,
    ResSpinLock,
    Timer,
    WorkQueue,
    TaskWork,
    KptrUnref,
    KptrRef,
    KptrPercpu,
    UserPtr,
    ListHead,
    ListNode,
    RbRoot,
    RbNode,
    Refcount,
}

impl FieldKind {
    /// The kernel's name of it.
    pub fn name(self) -> &'static str {
        match self {
            FieldKind::SpinLock => "bpf_spin_lock",
            FieldKind::ResSpinLock => "bpf_res_spin_lock",
            FieldKind::Timer => "bpf_timer",
            FieldKind::WorkQueue => "bpf_wq",
            FieldKind::TaskWork => "bpf_task_work",
            FieldKind::KptrUnref | FieldKind::KptrRef => "kptr",
            FieldKind::KptrPercpu => "percpu_kptr",
            FieldKind::UserPtr => "uptr",
            FieldKind::ListHead => "bpf_list_head",
            FieldKind::ListNode => "bpf_list_node",
            FieldKind::RbRoot => "bpf_rb_root",
            FieldKind::RbNode => "bpf_rb_node",
            FieldKind::Refcount => "bpf_refcount",
        }
    }

    /// A pointer into the kernel or to an object.
    pub fn is_kptr(self) -> bool {
        matches!(self, FieldKind::KptrUnref | FieldKind::KptrRef | FieldKind::KptrPercpu)
    }
}

/// One special field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// Which.
    pub kind: FieldKind,
    /// Bytes from the start of the value.
    pub off: u32,
    /// Bytes.
    pub size: u32,
    /// Type id (in the map's BTF) that a kptr points to, or that a list or tree holds.
    pub target: u32,
    /// Name of that type, and of the node member.
    pub target_name: String,
    /// Offset of the node in the target.
    pub node_off: u32,
}

/// A map.
#[derive(Clone, Debug)]
pub struct MapInfo {
    /// Its definition.
    pub def: MapDef,
    /// The map, when it is one of the program's and not an inner one.
    pub map: Option<Arc<dyn Map>>,
    /// Special fields of its values, ascending.
    pub fields: Rc<[Field]>,
    /// Index of the description of its inner maps.
    pub inner: Option<u16>,
    /// Contents that never change, once they were asked for.
    contents: OnceCell<Option<Vec<u8>>>,
}

impl MapInfo {
    /// From a bound map or an inner definition.
    pub fn new(def: MapDef, map: Option<Arc<dyn Map>>) -> MapInfo {
        let fields = def.btf.as_ref().map_or_else(Vec::new, |b| fields_of(&b.btf, b.value)).into();
        MapInfo { def, map, fields, inner: None, contents: OnceCell::new() }
    }

    /// Type.
    pub fn kind(&self) -> MapType {
        self.def.map_type
    }

    /// Programs may read values.
    pub fn readable(&self) -> bool {
        self.def.flags & flags::WRONLY_PROG == 0
    }

    /// Programs may write values.
    pub fn writable(&self) -> bool {
        self.def.flags & flags::RDONLY_PROG == 0
    }

    /// A field of this kind.
    pub fn field(&self, kind: FieldKind) -> Option<&Field> {
        self.fields.iter().find(|f| f.kind == kind)
    }

    /// Contents never change: frozen and read-only to programs.
    pub fn constant(&self) -> bool {
        !self.writable() && self.map.as_ref().is_some_and(|m| m.frozen())
    }

    /// An array whose contents are [`MapInfo::constant`].
    pub fn constant_array(&self) -> bool {
        self.kind() == MapType::Array && self.constant()
    }

    /// A number in contents that are [`MapInfo::constant`], when there is one value alone; the first call reads the whole value.
    pub fn constant_at(&self, off: u32, size: u32, signed: bool) -> Option<u64> {
        if self.def.max_entries != 1 {
            return None;
        }
        let read = || {
            let map = self.map.as_ref()?;
            map.direct()?;
            let mut bytes = Vec::new();
            map.read(&0u32.to_le_bytes(), &mut bytes).ok()?;
            Some(bytes)
        };
        let bytes = self.contents.get_or_init(read).as_ref()?;
        let b = bytes.get(off as usize..(off + size) as usize)?;
        let mut w = [0; 8];
        w[..b.len()].copy_from_slice(b);
        let v = u64::from_le_bytes(w);
        Some(if signed { skep_isa::eval::sign_extend((size * 8) as u8, v) } else { v })
    }

    /// Value size as access checks see it.
    pub fn value_size(&self) -> u32 {
        self.def.value_size
    }
}

const STRUCTS: [(&str, FieldKind); 10] = [
    ("bpf_spin_lock", FieldKind::SpinLock),
    ("bpf_res_spin_lock", FieldKind::ResSpinLock),
    ("bpf_timer", FieldKind::Timer),
    ("bpf_wq", FieldKind::WorkQueue),
    ("bpf_task_work", FieldKind::TaskWork),
    ("bpf_list_head", FieldKind::ListHead),
    ("bpf_list_node", FieldKind::ListNode),
    ("bpf_rb_root", FieldKind::RbRoot),
    ("bpf_rb_node", FieldKind::RbNode),
    ("bpf_refcount", FieldKind::Refcount),
];

const KPTR_TAGS: [(&str, FieldKind); 4] = [
    ("kptr_untrusted", FieldKind::KptrUnref),
    ("kptr", FieldKind::KptrRef),
    ("percpu_kptr", FieldKind::KptrPercpu),
    ("uptr", FieldKind::UserPtr),
];

/// Most special fields of one value (`BTF_FIELDS_MAX`).
const MAX_FIELDS: usize = 11;

/// Types looked at for one value: what the kernel would look through for longer is not looked through.
const MAX_LOOKS: u32 = 1 << 18;
/// Structures and arrays inside of each other.
const MAX_NESTING: u32 = 5;

/// Special fields of a structure, or of the variables of a data section (`btf_parse_fields`). Cost: bounded, whatever the
/// types are.
pub fn fields_of(btf: &Btf, id: u32) -> Vec<Field> {
    let mut search = Search { btf, looks: MAX_LOOKS, out: Vec::new() };
    search.collect(id, 0, 0);
    let mut out = search.out;
    out.sort_by_key(|f| f.off);
    if search.looks == 0 || out.len() > MAX_FIELDS || !consistent(&out) {
        // A record with an error counts as none at all.
        out.clear();
    }
    out
}

/// Fields that go together: one lock or timer or the like, roots with a lock and of known content.
fn consistent(fields: &[Field]) -> bool {
    use FieldKind as F;
    let count = |k: F| fields.iter().filter(|f| f.kind == k).count();
    let once = [F::SpinLock, F::ResSpinLock, F::Timer, F::WorkQueue, F::TaskWork, F::Refcount];
    let roots: Vec<&Field> = fields.iter().filter(|f| matches!(f.kind, F::ListHead | F::RbRoot)).collect();
    let locks = count(F::SpinLock) + count(F::ResSpinLock);
    let nodes = count(F::RbNode) > 0 && count(F::ListNode) > 0;
    once.into_iter().all(|k| count(k) <= 1)
        && locks <= 1
        && (roots.is_empty() || locks == 1)
        && roots.iter().all(|f| f.target != 0)
        && !(nodes && count(F::Refcount) == 0)
}

/// The search through a type for special fields.
struct Search<'a> {
    btf: &'a Btf,
    /// Types that may still be looked at.
    looks: u32,
    out: Vec<Field>,
}

impl Search<'_> {
    fn collect(&mut self, id: u32, base: u32, depth: u32) {
        let Some((id, ty)) = self.btf.resolve(id).filter(|_| depth < MAX_NESTING) else { return };
        match ty {
            Type::Struct(s) => {
                for (i, m) in s.members.enumerate() {
                    let off = base.saturating_add(m.bit_offset / 8);
                    self.one(m.type_id, off, depth, (id, Some(i as u32)));
                }
            }
            Type::Datasec(d) => {
                for v in d.vars {
                    let Some(Type::Var(var)) = self.btf.type_by_id(v.type_id) else { continue };
                    self.one(var.type_id, base.saturating_add(v.offset), depth, (v.type_id, None));
                }
            }
            _ => {}
        }
    }

    /// A member or variable; `owner` is where its tags stand.
    fn one(&mut self, id: u32, off: u32, depth: u32, owner: (u32, Option<u32>)) {
        if self.looks == 0 || self.out.len() > MAX_FIELDS || depth > MAX_NESTING {
            return;
        }
        self.looks -= 1;
        let Some((real, ty)) = self.btf.resolve(id) else { return };
        match ty {
            Type::Struct(_) => {
                let name = self.btf.name_of(real);
                let Some((_, kind)) = STRUCTS.iter().find(|(n, _)| *n == name) else {
                    return self.collect(real, off, depth + 1);
                };
                let size = self.btf.size_of(real).unwrap_or(0);
                let mut f =
                    Field { kind: *kind, off, size, target: 0, target_name: String::new(), node_off: 0 };
                if matches!(kind, FieldKind::ListHead | FieldKind::RbRoot) {
                    contains(self.btf, owner, &mut f);
                }
                self.out.push(f);
            }
            Type::Array(a) => {
                // The first element tells what is in all of them.
                let before = self.out.len();
                self.one(a.type_id, off, depth + 1, owner);
                let first = self.out[before..].to_vec();
                let size = self.btf.size_of(a.type_id).unwrap_or(0);
                let rest = if first.is_empty() { 1 } else { a.nelems.min(MAX_FIELDS as u32 + 1) };
                for i in 1..rest {
                    self.out.extend(first.iter().map(|f| {
                        let off = f.off.saturating_add(i.saturating_mul(size));
                        Field { off, ..f.clone() }
                    }));
                }
                if a.nelems == 0 {
                    self.out.truncate(before);
                }
            }
            Type::Ptr(to) => kptr(self.btf, to, off, &mut self.out),
            _ => {}
        }
    }
}

fn kptr(btf: &Btf, to: u32, off: u32, out: &mut Vec<Field>) {
    let Some(Type::TypeTag(tag)) = btf.type_by_id(to) else { return };
    let Some((_, kind)) = KPTR_TAGS.iter().find(|(n, _)| *n == tag.name) else { return };
    let Some((target, _)) = btf.resolve(tag.type_id) else { return };
    let target_name = btf.name_of(target).to_owned();
    out.push(Field { kind: *kind, off, size: 8, target, target_name, node_off: 0 });
}

/// `contains:TYPE:MEMBER` on a list head or tree root names what it holds.
fn contains(btf: &Btf, (owner, component): (u32, Option<u32>), f: &mut Field) {
    for tag in btf.own_decl_tags_of(owner).filter(|t| t.component == component) {
        let Some(rest) = tag.name.strip_prefix("contains:") else { continue };
        let Some((name, member)) = rest.split_once(':') else { continue };
        let Some(id) = btf.find_by_name_kind(name, Kind::Struct) else { continue };
        let node = if f.kind == FieldKind::ListHead { "bpf_list_node" } else { "bpf_rb_node" };
        let Some(Type::Struct(s)) = btf.type_by_id(id) else { continue };
        let Some(m) = s.members.into_iter().find(|m| m.name == member) else { continue };
        let fits = btf.resolve(m.type_id).is_some_and(|(t, _)| btf.name_of(t) == node);
        if fits && m.bit_offset % 64 == 0 {
            (f.target, f.target_name, f.node_off) = (id, name.to_owned(), m.bit_offset / 8);
        }
    }
}
