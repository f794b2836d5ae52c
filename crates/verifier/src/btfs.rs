//! Pointers to kernel structures: walking members, matching types.

use crate::machine::Vm;
use crate::mem::How;
use crate::reject::{Check, refuse};
use crate::value::{Base, BtfType, Flags, Reg};
use skep_btf::{Btf, Type};

/// Parameters of a function: type ids.
pub(crate) fn params(btf: &Btf, func: u32) -> Option<Vec<(String, u32)>> {
    let Type::Func(f) = btf.type_by_id(func)? else { return None };
    let Type::FuncProto(p) = btf.type_by_id(f.type_id)? else { return None };
    Some(p.params.map(|p| (p.name.to_owned(), p.type_id)).collect())
}

/// What stands at an offset of a structure.
pub(crate) enum Found {
    /// A number, or part of one.
    Number,
    /// A pointer to a structure, with the type tags on the way (`rcu`, `percpu`, `user`).
    Pointer {
        target: u32,
        tags: Vec<String>,
        member: String,
        /// It is one of several members of a union.
        doubtful: bool,
    },
    /// A pointer to something else: it may be read, with checks at run time.
    Bytes,
}

const DEPTH: usize = 16;

impl Vm<'_> {
    /// Access to a kernel structure (`check_ptr_to_btf_access`).
    pub(crate) fn btf_access(
        &mut self,
        n: usize,
        r: &Reg,
        t: BtfType,
        off: i64,
        size: u32,
        how: How,
    ) -> Check {
        let name = self.btf_name(t).to_owned();
        if !self.leaks_allowed() {
            refuse!(PointerLeak, "'struct {name}' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN");
        }
        if off < 0 {
            refuse!(BadPointer, "R{n} is ptr_{name} invalid negative access: off={off}");
        }
        if r.val.as_const() != Some(0) {
            refuse!(
                BadPointer,
                "R{n} is ptr_{name} invalid variable offset: off={off}, var_off={}",
                crate::log::tnum(r.val.bits)
            );
        }
        if r.flags.has(Flags::USER) {
            refuse!(BadPointer, "R{n} is ptr_{name} access user memory: off={off}");
        }
        if r.flags.has(Flags::PERCPU) {
            refuse!(BadPointer, "R{n} is ptr_{name} access percpu memory: off={off}");
        }
        if how.writes() {
            if let (false, Some(b)) = (t.own, self.btf_of(t)) {
                return self.attach.writable(self.program.prog_type, b, &name, off, size);
            }
            if !t.own || !r.flags.has(Flags::ALLOC) {
                refuse!(BadPointer, "only read is supported");
            }
            return self.object_write(n, r, t, off, size);
        }
        let out = self.walk_struct(n, r, t, off, size)?;
        self.loaded(&how, size, out);
        Ok(())
    }

    fn object_write(&mut self, n: usize, r: &Reg, t: BtfType, off: i64, size: u32) -> Check {
        if r.ref_id == 0 && !r.flags.has(Flags::NON_OWN) {
            refuse!(Reference, "verifier internal error: ref_obj_id for allocated object must be non-zero");
        }
        self.object_fields(n, t, off, size)
    }

    /// Objects of the program's own: no special fields, inside of the object.
    fn object_fields(&self, n: usize, t: BtfType, off: i64, size: u32) -> Check {
        let Some(b) = self.btf_of(t) else { refuse!(Internal, "no BTF") };
        let len = b.size_of(t.id).unwrap_or(0) as i64;
        if off + size as i64 > len {
            refuse!(MemoryAccess, "access beyond struct {} at off {off} size {size}", b.name_of(t.id));
        }
        let fields = if t.own { self.own_fields(t.id) } else { crate::maps::fields_of(b, t.id).into() };
        for f in fields.iter() {
            if off < (f.off + f.size) as i64 && (f.off as i64) < off + size as i64 {
                refuse!(SpecialField, "direct access to {} is disallowed", f.kind.name());
            }
        }
        let _ = n;
        Ok(())
    }

    /// What a load from a structure yields (`btf_struct_access`).
    pub(crate) fn walk_struct(&mut self, n: usize, r: &Reg, t: BtfType, off: i64, size: u32) -> Check<Reg> {
        let Some(b) = self.btf_of(t).cloned() else { refuse!(NotYet, "kernel types need the kernel's BTF") };
        if r.flags.has(Flags::ALLOC) && t.own {
            self.object_fields(n, t, off, size)?;
            return Ok(match find(&b, t.id, off as u32, size)? {
                Found::Bytes if !self.lacks.ability("void-pointers") => probed(),
                _ => Reg::UNKNOWN,
            });
        }
        match find(&b, t.id, off as u32, size)? {
            Found::Number => Ok(Reg::UNKNOWN),
            Found::Bytes if !self.lacks.ability("void-pointers") => Ok(probed()),
            Found::Bytes => Ok(Reg::UNKNOWN),
            Found::Pointer { target, tags, member, doubtful } => {
                let mut flags = self.member_flags(r, t, &tags, &member);
                if doubtful && !rcu_or_null_member(self.btf_name(t), &member) {
                    flags = flags.with(Flags::UNTRUSTED);
                }
                let has = |s: &str| tags.iter().any(|t| t == s);
                if has("user") {
                    flags = flags.with(Flags::USER);
                }
                if has("percpu") {
                    flags = flags.with(Flags::PERCPU);
                }
                let mut out = Reg::flagged(Base::Btf(BtfType { own: t.own, id: target }), flags);
                if out.maybe_null() {
                    out.id = self.new_id();
                }
                Ok(out)
            }
        }
    }

    /// How far a pointer read out of a structure is to be trusted.
    fn member_flags(&self, r: &Reg, t: BtfType, tags: &[String], member: &str) -> Flags {
        let keep = |f: Flags| f.without(Flags::TRUSTED.with(Flags::RCU).with(Flags::MAYBE_NULL));
        let base = keep(r.flags.without(Flags::ALLOC.with(Flags::NON_OWN)));
        if r.flags.has(Flags::UNTRUSTED) {
            return base;
        }
        let trusted = r.ref_id != 0 || r.flags.any(Flags::TRUSTED.with(Flags::ALLOC));
        let rcu = r.flags.has(Flags::RCU);
        let name = self.btf_name(t);
        if !trusted && !rcu {
            // Plain pointers of old: reads are checked at run time.
            return base;
        }
        if trusted_member(name, member) {
            return base.with(Flags::TRUSTED);
        }
        if !self.in_rcu() {
            return Flags::UNTRUSTED;
        }
        if rcu_member(name, member) {
            return base.with(Flags::RCU);
        }
        if tags.iter().any(|t| t == "rcu") || rcu_or_null_member(name, member) {
            return base.with(Flags::RCU).with(Flags::MAYBE_NULL);
        }
        base
    }

    /// A pointer to `have` plus an offset is one to `want`: itself, or a first member (`btf_struct_ids_match`).
    pub(crate) fn struct_matches(&self, have: BtfType, off: i32, want: BtfType, strict: bool) -> bool {
        if have == want && off == 0 {
            return true;
        }
        if strict || have.own != want.own {
            return have.own != want.own && off == 0 && !strict && self.same_shape(have, want);
        }
        let Some(b) = self.btf_of(have) else { return false };
        nested(b, have.id, off.max(0) as u32, want.id, 0)
    }

    fn same_shape(&self, have: BtfType, want: BtfType) -> bool {
        !self.btf_name(have).is_empty() && self.btf_name(have) == self.btf_name(want)
    }
}

/// Memory of unknown size, read with checks at run time.
fn probed() -> Reg {
    Reg::flagged(Base::Mem(0), Flags::RDONLY.with(Flags::UNTRUSTED))
}

/// The structure `want` begins at `off` inside of `id`.
fn nested(b: &Btf, id: u32, off: u32, want: u32, depth: usize) -> bool {
    if depth > DEPTH {
        return false;
    }
    let Some((id, ty)) = b.resolve(id) else { return false };
    if id == want && off == 0 {
        return true;
    }
    match ty {
        Type::Struct(s) | Type::Union(s) => s.members.into_iter().any(|m| {
            let at = m.bit_offset / 8;
            let len = b.size_of(m.type_id).unwrap_or(0);
            off >= at && off < at + len.max(1) && nested(b, m.type_id, off - at, want, depth + 1)
        }),
        Type::Array(a) => {
            let len = b.size_of(a.type_id).unwrap_or(0).max(1);
            nested(b, a.type_id, off % len, want, depth + 1)
        }
        _ => false,
    }
}

/// The member at an offset (`btf_struct_walk`).
pub(crate) fn find(b: &Btf, id: u32, off: u32, size: u32) -> Check<Found> {
    let (mut id, mut off, mut doubtful) = (id, off, false);
    for _ in 0..DEPTH {
        let Some((real, ty)) = b.resolve(id) else { refuse!(TypeInfo, "type {id} does not exist") };
        let s = match ty {
            Type::Struct(s) | Type::Union(s) => s,
            _ => return Ok(Found::Number),
        };
        if off + size > s.size {
            match flexible(b, &ty) {
                Some((at, elem)) if off >= at && elem > 0 => return Ok(Found::Number),
                _ => {}
            }
            refuse!(MemoryAccess, "access beyond struct {} at off {off} size {size}", b.name_of(real));
        }
        // Which member of a union counts, nobody knows.
        doubtful |= s.is_union && s.members.len() != 1;
        let mut next = None;
        for m in s.members {
            let at = m.bit_offset / 8;
            if m.bitfield_size > 0 {
                let end = (m.bit_offset + m.bitfield_size).div_ceil(8);
                if off >= at && off < end {
                    return Ok(Found::Number);
                }
                continue;
            }
            if off < at && !s.is_union {
                break;
            }
            let len = b.size_of(m.type_id).unwrap_or(0);
            if off >= at + len {
                continue;
            }
            match member(b, real, m.type_id, m.name, (off, at), size, len)? {
                Step::Done(Found::Pointer { target, tags, member, .. }) => {
                    return Ok(Found::Pointer { target, tags, member, doubtful });
                }
                Step::Done(f) => return Ok(f),
                Step::Into(t, o) => {
                    next = Some((t, o));
                    if !s.is_union {
                        break;
                    }
                    // In a union a pointer to a structure counts, numbers are numbers.
                    break;
                }
                Step::Skip => {}
            }
        }
        match next {
            Some((t, o)) => (id, off) = (t, o),
            None => refuse!(TypeInfo, "struct {} doesn't have field at offset {off}", b.name_of(real)),
        }
    }
    Ok(Found::Number)
}

enum Step {
    Done(Found),
    Into(u32, u32),
    Skip,
}

fn member(
    b: &Btf,
    owner: u32,
    ty: u32,
    name: &str,
    (whole, at): (u32, u32),
    size: u32,
    len: u32,
) -> Check<Step> {
    let off = whole - at;
    let Some((real, t)) = b.resolve(ty) else { return Ok(Step::Skip) };
    match t {
        Type::Struct(_) | Type::Union(_) => Ok(Step::Into(real, off)),
        Type::Array(a) => {
            let mut elem = a.type_id;
            while let Some((_, Type::Array(x))) = b.resolve(elem) {
                elem = x.type_id;
            }
            let el = b.size_of(elem).unwrap_or(0);
            if el == 0 {
                return Ok(Step::Skip);
            }
            if off + size > len {
                refuse!(
                    MemoryAccess,
                    "access beyond the end of member {name} (mend:{}) in struct {} with off {whole} size {size}",
                    at + len,
                    b.name_of(owner)
                );
            }
            match b.resolve(elem) {
                Some((id, Type::Struct(_) | Type::Union(_))) => Ok(Step::Into(id, off % el)),
                Some((_, Type::Ptr(to))) => Ok(pointer(b, to, name, off % el, size)),
                _ => Ok(Step::Done(Found::Number)),
            }
        }
        Type::Ptr(to) => {
            if size != 8 || off != 0 {
                refuse!(
                    MemoryAccess,
                    "cannot access ptr member {name} with moff {at} in struct {} with off {whole} size {size}",
                    b.name_of(owner)
                );
            }
            Ok(pointer(b, to, name, off, size))
        }
        _ if off + size > len => refuse!(
            MemoryAccess,
            "access beyond the end of member {name} (mend:{}) in struct {} with off {whole} size {size}",
            at + len,
            b.name_of(owner)
        ),
        _ => Ok(Step::Done(Found::Number)),
    }
}

fn pointer(b: &Btf, mut to: u32, name: &str, off: u32, size: u32) -> Step {
    if off != 0 || size != 8 {
        return Step::Done(Found::Number);
    }
    let mut tags = Vec::new();
    for _ in 0..DEPTH {
        match b.type_by_id(to) {
            Some(Type::TypeTag(t)) => {
                tags.push(t.name.to_owned());
                to = t.type_id;
            }
            Some(Type::Const(t) | Type::Volatile(t) | Type::Restrict(t)) => to = t,
            Some(Type::Typedef(t)) => to = t.type_id,
            Some(Type::Struct(_)) => {
                let member = name.to_owned();
                return Step::Done(Found::Pointer { target: to, tags, member, doubtful: false });
            }
            _ => break,
        }
    }
    Step::Done(Found::Bytes)
}

/// Offset and element size of a flexible array at the end of a structure.
fn flexible(b: &Btf, ty: &Type<'_>) -> Option<(u32, u32)> {
    let Type::Struct(s) = ty else { return None };
    let last = s.members.last()?;
    let (_, Type::Array(a)) = b.resolve(last.type_id)? else { return None };
    (a.nelems == 0).then_some((last.bit_offset / 8, b.size_of(a.type_id)?))
}

/// Members that stay trusted when their structure is (`BTF_TYPE_SAFE_TRUSTED`).
fn trusted_member(ty: &str, member: &str) -> bool {
    matches!(
        (ty, member),
        ("bpf_iter_meta", "seq")
            | ("bpf_iter__task", "meta")
            | ("bpf_iter__task", "task")
            | ("linux_binprm", "file")
            | ("file", "f_inode")
            | ("file", "f_path")
            | ("dentry", "d_inode")
            | ("path", "dentry")
            | ("path", "mnt")
            | ("vm_area_struct", "vm_mm")
            | ("vm_area_struct", "vm_file")
    )
}

/// Members protected by RCU when their structure is (`BTF_TYPE_SAFE_RCU`).
fn rcu_member(ty: &str, member: &str) -> bool {
    matches!(
        (ty, member),
        ("task_struct", "cpus_ptr" | "cgroups" | "real_parent" | "group_leader")
            | ("cgroup", "kn")
            | ("css_set", "dfl_cgrp")
            | ("cgroup_subsys_state", "cgroup")
            | ("kernfs_node", "parent")
    )
}

/// The same, maybe NULL (`BTF_TYPE_SAFE_RCU_OR_NULL`).
fn rcu_or_null_member(ty: &str, member: &str) -> bool {
    matches!((ty, member), ("mm_struct", "exe_file") | ("sk_buff", "sk") | ("request_sock", "sk"))
}
