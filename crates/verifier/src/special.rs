//! What stands in map values and objects for helpers alone: spin locks, timers, kernel pointers, constant strings.

use crate::call::Args;
use crate::log::tnum;
use crate::machine::Vm;
use crate::maps::{Field, FieldKind};
use crate::mem::How;
use crate::reject::{Check, refuse};
use crate::stackmem::Store;
use crate::state::{LockOf, Ref, RefKind};
use crate::value::{Base, BtfType, Flags, Reg};
use skep_platform::{MapType, ProgType};
use std::rc::Rc;

impl Vm<'_> {
    /// Fields of what a pointer points to: a map value's, or an allocated object's.
    pub(crate) fn fields(&self, r: &Reg) -> Rc<[Field]> {
        match r.base {
            Base::MapValue(m) => self.maps[m as usize].fields.clone(),
            Base::Btf(t) if t.own => self.own_fields(t.id),
            _ => Rc::default(),
        }
    }

    /// Fields of a structure of the program's own.
    pub(crate) fn own_fields(&self, id: u32) -> Rc<[Field]> {
        let Some(own) = &self.own else { return Rc::default() };
        let find = || crate::maps::fields_of(own, id).into();
        self.own_fields.borrow_mut().entry(id).or_insert_with(find).clone()
    }

    /// Taking a lock or giving it back (`process_spin_lock`).
    pub(crate) fn spin_lock(&mut self, n: usize, r: &Reg, what: LockKind, take: bool) -> Check {
        let (name, kind) = match what {
            LockKind::Plain => ("bpf_spin_lock", FieldKind::SpinLock),
            LockKind::Resilient { .. } => ("bpf_res_spin_lock", FieldKind::ResSpinLock),
        };
        if what == LockKind::Plain && self.in_tree_callback() {
            refuse!(Lock, "can't spin_{{lock,unlock}} in rbtree cb");
        }
        let f = self.field_argument(n, r, kind, name)?;
        let _ = f;
        if self.program.prog_type == ProgType::SocketFilter {
            refuse!(Lock, "socket filter progs cannot use bpf_spin_lock yet");
        }
        if is_tracing(self.program.prog_type) {
            refuse!(Lock, "tracing progs cannot use bpf_spin_lock yet");
        }
        let of = match r.base {
            Base::MapValue(m) => LockOf::Map(m),
            Base::Btf(t) => LockOf::Object(t.id),
            _ => refuse!(Internal, "no lock"),
        };
        if take { self.lock(r.id, of, what) } else { self.unlock(r.id, of, what) }
    }

    /// A pointer to a special field of its own: the field at that very offset (`check_map_field_pointer`).
    fn field_argument(&mut self, n: usize, r: &Reg, kind: FieldKind, name: &str) -> Check<Field> {
        let Some(var) = r.val.as_const() else {
            refuse!(
                SpecialField,
                "R{n} doesn't have constant offset. {name} has to be at the constant offset"
            );
        };
        let (what, which) = match r.base {
            Base::MapValue(m) => {
                let def = &self.maps[m as usize].def;
                if def.btf.is_none() {
                    refuse!(SpecialField, "map '{}' has to have BTF in order to use {name}", def.name);
                }
                ("map", def.name.clone())
            }
            _ => ("local", "kptr".to_owned()),
        };
        let Some(f) = self.fields(r).iter().find(|f| f.kind == kind).cloned() else {
            refuse!(SpecialField, "{what} '{which}' has no valid {name}");
        };
        let at = var as i64 + r.off as i64;
        if f.off as i64 != at {
            refuse!(SpecialField, "off {at} doesn't point to 'struct {name}' that is at {}", f.off);
        }
        Ok(f)
    }

    fn lock(&mut self, id: u32, of: LockOf, what: LockKind) -> Check {
        let plain = self.cur.refs.iter().any(|r| matches!(r.kind, RefKind::Lock(_)));
        if what == LockKind::Plain && plain {
            refuse!(Lock, "Locking two bpf_spin_locks are not allowed");
        }
        let again = |r: &Ref| r.id == id && matches!(r.kind, RefKind::ResLock(o, _) if o == of);
        if what != LockKind::Plain && self.cur.refs.iter().any(again) {
            refuse!(Lock, "Acquiring the same lock again, AA deadlock detected");
        }
        self.cur.lock = Some((id, of));
        self.cur.refs.push(Ref { id, insn: self.cur.insn, kind: what.held(of) });
        Ok(())
    }

    fn unlock(&mut self, id: u32, of: LockOf, what: LockKind) -> Check {
        let name = if what == LockKind::Plain { "bpf_spin" } else { "bpf_res_spin" };
        let Some(current) = self.cur.lock else { refuse!(Lock, "{name}_unlock without taking a lock") };
        let kind = what.held(of);
        let Some(at) = self.cur.refs.iter().rposition(|r| r.id == id && r.kind == kind) else {
            refuse!(Lock, "{name}_unlock of different lock");
        };
        if current != (id, of) {
            refuse!(Lock, "{name}_unlock cannot be out of order");
        }
        self.cur.refs.remove(at);
        self.cur.lock = self.cur.refs.iter().rev().find_map(|r| match r.kind {
            RefKind::Lock(of) | RefKind::ResLock(of, _) => Some((r.id, of)),
            _ => None,
        });
        // References not owned live only as long as the lock.
        let leaks = self.leaks_allowed();
        self.cur.for_each_reg(
            |r| r.flags.has(Flags::NON_OWN),
            |r| *r = if leaks { Reg::UNKNOWN } else { Reg::NOT_INIT },
        );
        Ok(())
    }

    /// A timer, work queue or the like in a map value (`process_timer_func` and its neighbours). The map, and the
    /// number of the look-up that the value came from.
    pub(crate) fn async_field(&mut self, n: usize, r: &Reg, kind: FieldKind) -> Check<Option<(u16, u32)>> {
        let Base::MapValue(m) = r.base else { return Ok(None) };
        self.field_argument(n, r, kind, kind.name())?;
        if kind == FieldKind::Timer && is_tracing(self.program.prog_type) {
            refuse!(HelperRestricted, "tracing progs cannot use bpf_timer yet");
        }
        Ok(Some((m, r.origin)))
    }

    /// A constant string: in a constant map, with its NUL inside (`check_reg_const_str`).
    pub(crate) fn const_str(&mut self, n: usize, r: &Reg) -> Check {
        let Base::MapValue(m) = r.base else { return Ok(()) };
        let map = &self.maps[m as usize];
        if !map.constant() {
            refuse!(ArgumentType, "R{n} does not point to a readonly map'");
        }
        let Some(var) = r.val.as_const() else { refuse!(ArgumentType, "R{n} is not a constant address'") };
        if map.def.max_entries != 1 || map.map.as_ref().is_none_or(|x| x.direct().is_none()) {
            refuse!(ArgumentType, "no direct value access support for this map type");
        }
        let at = r.off as i64 + var as i64;
        let len = map.value_size() as i64;
        self.region(n, r, r.off as i64, len - at, len as u32, false)?;
        let mut bytes = Vec::new();
        let read = self.maps[m as usize].map.as_ref().and_then(|x| x.read(&[0; 4], &mut bytes).ok());
        if read.is_none() || !bytes.get(at as usize..).is_some_and(|b| b.contains(&0)) {
            refuse!(ArgumentType, "string is not zero-terminated");
        }
        Ok(())
    }

    /// Direct access to a kernel pointer in a map value (`check_map_kptr_access`).
    pub(crate) fn kptr_access(
        &mut self,
        n: usize,
        field: usize,
        m: u16,
        _off: i64,
        size: u32,
        how: How,
    ) -> Check {
        let f = self.maps[m as usize].fields[field].clone();
        let _ = (n, size);
        match how {
            How::Load { dst, .. } => {
                let r = self.kptr_loaded(&f)?;
                if let Some(d) = dst {
                    self.set(d, r);
                }
                Ok(())
            }
            How::Store(_) if f.kind == FieldKind::KptrRef || f.kind == FieldKind::KptrPercpu => {
                refuse!(SpecialField, "store to referenced kptr disallowed")
            }
            How::Store(Store::Imm(i)) if i != 0 => {
                refuse!(SpecialField, "BPF_ST imm must be 0 when storing to kptr at off={}", f.off)
            }
            How::Store(Store::Imm(_)) => Ok(()),
            How::Store(Store::Reg(v)) => {
                if self.reg(v).is_null() {
                    return Ok(());
                }
                let r = *self.reg(v);
                self.kptr_matches(&f, &r, v)
            }
            How::Store(Store::Unknown) => {
                refuse!(SpecialField, "kptr in map can only be accessed using BPF_MEM instruction mode")
            }
        }
    }

    /// Type that a kernel pointer field points to: in the kernel's BTF, or the program's own for objects of its own.
    pub(crate) fn kptr_type(&self, f: &Field) -> Option<BtfType> {
        let kernel = self.kernel.as_ref()?;
        if let Some(id) = kernel.find_by_name_kind(&f.target_name, skep_btf::Kind::Struct) {
            return Some(BtfType { own: false, id });
        }
        Some(BtfType { own: true, id: f.target })
    }

    fn kptr_loaded(&mut self, f: &Field) -> Check<Reg> {
        let Some(t) = self.kptr_type(f) else {
            refuse!(NotYet, "a kernel pointer in a map needs the kernel's BTF");
        };
        let mut flags = Flags::MAYBE_NULL;
        let rcu = self.cur.rcu > 0 || !self.program.sleepable;
        flags = match f.kind {
            FieldKind::KptrPercpu if rcu => flags.with(Flags::PERCPU).with(Flags::RCU),
            FieldKind::KptrRef if rcu && self.rcu_safe(t) => {
                let own = if t.own { Flags::ALLOC } else { Flags::NONE };
                flags.with(Flags::RCU).with(own)
            }
            _ => flags.with(Flags::UNTRUSTED),
        };
        let mut r = Reg::flagged(Base::Btf(t), flags);
        r.id = self.new_id();
        Ok(r)
    }

    /// Objects of this type stay until the RCU section ends.
    pub(crate) fn rcu_safe(&self, t: BtfType) -> bool {
        const SAFE: [&str; 6] =
            ["cgroup", "bpf_cpumask", "task_struct", "bpf_crypto_ctx", "prog_test_ref_kfunc", "css_set"];
        t.own || SAFE.contains(&self.btf_name(t))
    }

    /// A pointer may be stored in a kernel pointer field (`map_kptr_match_type`).
    pub(crate) fn kptr_matches(&mut self, f: &Field, r: &Reg, n: usize) -> Check {
        let Some(want) = self.kptr_type(f) else {
            refuse!(NotYet, "a kernel pointer in a map needs the kernel's BTF");
        };
        let target = f.target_name.clone();
        let mut fits = false;
        if let Base::Btf(t) = r.base {
            let may = match (t.own, f.kind) {
                (true, FieldKind::KptrPercpu) => Flags::ALLOC.with(Flags::PERCPU),
                (true, _) => Flags::ALLOC,
                (false, FieldKind::KptrUnref) => Flags::TRUSTED.with(Flags::RCU).with(Flags::UNTRUSTED),
                (false, _) => Flags::TRUSTED.with(Flags::RCU),
            };
            if r.flags.without(may.with(Flags::MAYBE_NULL)) == Flags::NONE {
                self.unmoved(r, n, true)?;
                fits = self.struct_matches(t, r.off, want, f.kind == FieldKind::KptrRef);
            }
        }
        if fits {
            return Ok(());
        }
        let have = match r.base {
            Base::Btf(t) => format!("{}{}", r.type_name(), self.btf_name(t)),
            _ => r.type_name(),
        };
        let also = if f.kind == FieldKind::KptrUnref {
            format!(" or untrusted_ptr_{target}")
        } else {
            String::new()
        };
        refuse!(SpecialField, "invalid kptr access, R{n} type={have} expected=ptr_{target}{also}")
    }

    /// Destination of `bpf_kptr_xchg` (`process_kptr_func`): in a map value or an object.
    pub(crate) fn kptr_slot(&mut self, n: usize, r: &Reg, args: &mut Args) -> Check {
        if let Base::MapValue(m) = r.base
            && self.maps[m as usize].def.btf.is_none()
        {
            let name = &self.maps[m as usize].def.name;
            refuse!(SpecialField, "map '{name}' has to have BTF in order to use bpf_kptr_xchg");
        }
        let Some(var) = r.val.as_const() else {
            refuse!(SpecialField, "R{n} doesn't have constant offset. kptr has to be at the constant offset");
        };
        let at = var as i64 + r.off as i64;
        let fields = self.fields(r);
        if !fields.iter().any(|f| f.kind.is_kptr()) {
            refuse!(SpecialField, "R{n} has no valid kptr");
        }
        let Some(i) = fields.iter().position(|f| f.kind.is_kptr() && f.off as i64 == at) else {
            refuse!(SpecialField, "off={at} doesn't point to kptr");
        };
        if !matches!(fields[i].kind, FieldKind::KptrRef | FieldKind::KptrPercpu) {
            refuse!(SpecialField, "off={at} kptr isn't referenced kptr");
        }
        args.kptr = Some((r.base, i));
        Ok(())
    }

    /// The field that [`Vm::kptr_slot`] found.
    pub(crate) fn kptr_field(&self, (owner, i): (Base, usize)) -> Field {
        self.fields(&Reg::pointer(owner))[i].clone()
    }

    /// What `bpf_kptr_xchg` gives back.
    pub(crate) fn kptr_result(&mut self, args: &Args, null: bool) -> Check<Reg> {
        let Some(slot) = args.kptr else { refuse!(Internal, "no kptr field") };
        let f = self.kptr_field(slot);
        let Some(t) = self.kptr_type(&f) else {
            refuse!(NotYet, "a kernel pointer in a map needs the kernel's BTF");
        };
        let mut flags = crate::func::nullable(null);
        if t.own {
            flags = flags.with(Flags::ALLOC);
            if f.kind == FieldKind::KptrPercpu {
                flags = flags.with(Flags::PERCPU);
            }
        }
        Ok(Reg::flagged(Base::Btf(t), flags))
    }

    /// What `bpf_per_cpu_ptr` gives back.
    pub(crate) fn percpu_result(&mut self, args: &Args, null: bool) -> Check<Reg> {
        let Some(t) = args.ret_btf else { refuse!(Internal, "no per-CPU variable") };
        let Some(b) = self.btf_of(t) else { refuse!(NotYet, "per-CPU variables need the kernel's BTF") };
        let flags = crate::func::nullable(null);
        let r = match b.resolve(t.id) {
            Some((id, skep_btf::Type::Struct(_) | skep_btf::Type::Union(_))) => {
                let rcu = self.reg(1).flags.has(Flags::RCU);
                let extra = if rcu { Flags::ALLOC.with(Flags::RCU) } else { Flags::NONE };
                Reg::flagged(Base::Btf(BtfType { id, ..t }), flags.with(extra))
            }
            _ => match b.size_of(t.id) {
                Some(size) => Reg::flagged(Base::Mem(size), flags.with(Flags::RDONLY)),
                None => refuse!(TypeInfo, "unable to resolve the size of type '{}': -22", b.name_of(t.id)),
            },
        };
        Ok(r)
    }

    /// Reading a map's own structure through its pointer.
    pub(crate) fn map_ptr_access(
        &mut self,
        n: usize,
        r: &Reg,
        _m: u16,
        off: i64,
        size: u32,
        how: How,
    ) -> Check {
        if !self.leaks_allowed() {
            let name = map_struct(self.maps[_m as usize].kind());
            refuse!(PointerLeak, "'struct {name}' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN");
        }
        if self.kernel.is_none() {
            refuse!(NotYet, "map pointer access not supported without CONFIG_DEBUG_INFO_BTF");
        }
        let kind = self.maps[_m as usize].kind();
        let name = map_struct(kind);
        if how.writes() {
            refuse!(MapAccess, "only read from {name} is supported");
        }
        if off < 0 {
            refuse!(MapAccess, "R{n} is {name} invalid negative access: off={off}");
        }
        if r.val.as_const() != Some(0) {
            refuse!(
                MapAccess,
                "R{n} is {name} invalid variable offset: off={off}, var_off={}",
                tnum(r.val.bits)
            );
        }
        let t = match name {
            "bpf_array" => self.kernel_type("bpf_array"),
            "bpf_htab" => self.kernel_type("bpf_htab"),
            _ => self.kernel_type("bpf_map"),
        };
        let Some(t) = t else { refuse!(NotYet, "type {name} is not in the kernel's BTF") };
        let mut p = Reg::flagged(Base::Btf(t), Flags::NONE);
        p.off = off as i32;
        let out = self.walk_struct(n, &p, t, off, size)?;
        self.loaded(&how, size, out);
        Ok(())
    }
}

/// The kernel's own structure of a map of this type, as far as programs may read it.
fn map_struct(kind: MapType) -> &'static str {
    match kind {
        MapType::Array | MapType::PercpuArray => "bpf_array",
        MapType::Hash | MapType::LruHash | MapType::PercpuHash | MapType::LruPercpuHash => "bpf_htab",
        _ => "bpf_map",
    }
}

/// The two kinds of lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LockKind {
    Plain,
    /// One that fails rather than blocks for ever; with interrupts off?
    Resilient {
        irq: bool,
    },
}

impl LockKind {
    fn held(self, of: LockOf) -> RefKind {
        match self {
            LockKind::Plain => RefKind::Lock(of),
            LockKind::Resilient { irq } => RefKind::ResLock(of, irq),
        }
    }
}

/// Program types in which locks and timers are not allowed.
pub(crate) fn is_tracing(t: ProgType) -> bool {
    matches!(
        t,
        ProgType::Kprobe
            | ProgType::Tracepoint
            | ProgType::PerfEvent
            | ProgType::RawTracepoint
            | ProgType::RawTracepointWritable
    )
}
