//! Calls of kernel functions: by their types in the kernel's BTF, suffixes of argument names, and their rows
//! (`check_kfunc_call` and `check_kfunc_args`, kernel/bpf/verifier.c).

use crate::call::Args;
use crate::called::{CalledKfunc, KParam, KShape};
use crate::held::Held;
use crate::machine::Vm;
use crate::maps::FieldKind;
use crate::reject::{Check, Reject, Rule, refuse};
use crate::special::LockKind;
use crate::step::Flow;
use crate::value::{Base, BtfType, Dynptr, Flags, Reg};
use skep_btf::{Btf, Kind, Type};
use skep_platform::ctx::PacketAccess;
use skep_platform::helper::CallbackParams;
use skep_platform::kfunc::{Kfunc, KfuncKind as K, Places, kf};
use skep_platform::{Arg, ArgKind};
use std::sync::Arc;

/// What the arguments have told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) ref_id: u32,
    pub(crate) release: Option<usize>,
    pub(crate) constant: Option<u64>,
    pub(crate) ret_size: Option<(u32, bool)>,
    pub(crate) dynptr: Option<(u32, u32, Dynptr)>,
    pub(crate) func: Option<usize>,
    pub(crate) object: Option<BtfType>,
    pub(crate) owning: bool,
    /// Frame and first slot of the iterator.
    pub(crate) iter: Option<(usize, usize)>,
    /// The list or tree.
    pub(crate) root: Option<crate::maps::Field>,
    /// The work queue or task work: what it is, its map, the look-up that it came from.
    pub(crate) field: Option<(&'static str, u16, u32)>,
}

impl Vm<'_> {
    /// May the kernel function be called while a spin lock is held?
    pub(crate) fn kfunc_under_lock(&self, id: i32) -> bool {
        self.kfunc(id).is_some_and(|k| k.under_lock)
    }

    /// Call of the kernel function with this BTF id.
    pub(crate) fn kfunc_call(&mut self, id: i32, off: i16) -> Check<Flow> {
        let pc = self.cur.insn;
        if id == 0 {
            // A weak kernel function that is not there: fine as long as no path calls it.
            self.missing_kfunc = true;
            return Ok(Flow::To(pc + 1));
        }
        let (Some(b), Some(called)) = (self.kernel.clone(), self.kfuncs.get(id).cloned()) else {
            refuse!(NotYet, "kernel functions need the kernel's BTF")
        };
        let name = called.name.as_str();
        if off != 0 {
            refuse!(NotYet, "kernel function {name} of a module is not judged yet");
        }
        let Some(row) = called.row else {
            if callable(&b, id as u32) {
                refuse!(NotYet, "kernel function {name} is not judged yet");
            }
            refuse!(Kfunc, "calling kernel function {name} is not allowed");
        };
        self.kfunc_allowed(row)?;
        match row.kind {
            K::ResLock { .. } => self.lock_may_fail()?,
            K::Trap => refuse!(Kfunc, "unexpected __bpf_trap() due to uninitialized variable?"),
            _ => {}
        }
        let mut told = Told::default();
        self.kfunc_arguments(&b, &called, row, &mut told)?;
        if let (K::AsyncCallback { map, returns_zero }, Some(f)) = (row.kind, told.func) {
            let ret = if returns_zero { (0, 0) } else { (i32::MIN, i32::MAX) };
            self.async_callback(f, CallbackParams::Timer, map as usize + 1, true)?;
            if let Some(p) = self.pending.last_mut() {
                p.state.frame_mut().callback_ret = Some(ret);
            }
        }
        self.kfunc_sections(row)?;
        if let Some(n) = told.release {
            let ref_id = self.reg(n).ref_id;
            if !self.release(ref_id) {
                refuse!(Reference, "kfunc {name}#{id} reference has not been acquired before");
            }
        }
        if row.kind == K::RbtreeAdd {
            self.tree_callback(&told)?;
        }
        if matches!(row.kind, K::ListPush | K::RbtreeAdd) {
            self.give_to_root(name, id)?;
        }
        if row.kind == K::Throw {
            if self.code.exception_callback.is_none() {
                // What is thrown becomes the program's result.
                self.return_code(1)?;
            }
            return self.exit(true);
        }
        let iter = told.iter;
        self.iter_effect(row, &told, id)?;
        self.clear_caller_saved();
        self.kfunc_result(&b, called.ret, row, &told)?;
        if row.kind == K::ChangesPacket {
            self.forget_packets();
        }
        if row.iter_next()
            && let Some((f, spi)) = iter
        {
            self.iterate(f, spi)?;
        }
        Ok(Flow::To(pc + 1))
    }

    /// A resilient lock that is not got: the branch goes on with an error number and without the lock.
    fn lock_may_fail(&mut self) -> Check {
        let pc = self.cur.insn;
        let branch = self.push(pc + 1, pc)?;
        let regs = &mut branch.frame_mut().regs;
        regs[..6].fill(Held::NOT_INIT);
        regs[0].set(Vm::number_in(-4095, -1));
        Ok(())
    }

    fn kfunc_allowed(&self, row: &Kfunc) -> Check {
        let t = self.program.prog_type;
        let attached = match row.places {
            Places::Attached(list) => self.program.attach_type.is_some_and(|a| list.contains(&a)),
            _ => true,
        };
        if row.prog_types.is_some_and(|l| !l.contains(&t)) || !attached || row.since > self.version() {
            let phrase = format!("calling kernel function {} is not allowed", row.name);
            return Err(self.told_version(Reject::new(Rule::Kfunc, phrase), row.since));
        }
        if row.sleepable() && !self.cur.sleepable {
            refuse!(Kfunc, "program must be sleepable to call sleepable kfunc {}", row.name);
        }
        if row.has(kf::RCU_PROTECTED) && !self.in_rcu() {
            refuse!(Kfunc, "expected an RCU CS when using {}", row.name);
        }
        Ok(())
    }

    /// RCU protects: explicitly, or because the program cannot sleep.
    pub(crate) fn in_rcu(&self) -> bool {
        self.cur.rcu > 0 || self.cur.locks() > 0 || !self.program.sleepable
    }

    fn kfunc_arguments(
        &mut self,
        b: &Arc<Btf>,
        called: &CalledKfunc,
        row: &'static Kfunc,
        told: &mut Told,
    ) -> Check {
        let list = called.params.as_deref().unwrap_or_default();
        if list.len() > 5 {
            refuse!(Kfunc, "Function {} has {} > 5 args", row.name, list.len());
        }
        let mut i = 0;
        while i < list.len() {
            if !list[i].ends("__ign") && !list[i].ends("__prog") {
                self.readable(i + 1)?;
                i += self.kfunc_argument(b, row, list, i, told)?;
            }
            i += 1;
        }
        if row.has(kf::RELEASE) && told.release.is_none() {
            refuse!(Kfunc, "release kernel function {} expects refcounted PTR_TO_BTF_ID", row.name);
        }
        Ok(())
    }

    /// Checks one argument; 1 when the next one, its size, has been checked with it.
    fn kfunc_argument(
        &mut self,
        b: &Arc<Btf>,
        row: &'static Kfunc,
        list: &[KParam],
        i: usize,
        told: &mut Told,
    ) -> Check<usize> {
        let (p, n) = (&list[i], i + 1);
        let r = *self.reg(n);
        let target = match p.shape {
            KShape::Missing => refuse!(TypeInfo, "arg#{i} has no type"),
            KShape::Pointer(target) => target,
            KShape::Void | KShape::Number => {
                self.kfunc_number(p, n, &r, told)?;
                return Ok(0);
            }
        };
        let shares = matches!(r.base, Base::MapPtr(_) | Base::MapValue(_) | Base::MapKey(_) | Base::Btf(_));
        if p.ends("__map") && !shares {
            refuse!(ArgumentType, "pointer in R{n} isn't map pointer");
        }
        let nullable = p.ends("__nullable");
        let trusting = row.has(kf::TRUSTED_ARGS) || row.has(kf::RELEASE) || row.has(kf::RCU);
        if trusting && (r.is_null() || r.maybe_null()) && !nullable && !p.ends("__opt") {
            refuse!(Kfunc, "Possibly NULL pointer passed to trusted arg{i}");
        }
        if r.ref_id != 0 {
            if row.has(kf::RELEASE) && told.ref_id != 0 {
                refuse!(Internal, "more than one arg with ref_obj_id R{n} {} {}", r.ref_id, told.ref_id);
            }
            told.ref_id = r.ref_id;
            if row.has(kf::RELEASE) {
                told.release = Some(n);
            }
        }
        let tname = b.name_of(target);
        let mut arg = Arg::new(ArgKind::Anything);
        arg.release = row.has(kf::RELEASE) && r.ref_id != 0;
        if row.kind == K::CastToKernCtx || self.ctx_type(b, target, tname) {
            return self.kfunc_ctx(i, n, &r).map(|()| 0);
        }
        if nullable && r.is_null() {
            return Ok(0);
        }
        if p.ends("__alloc") {
            self.argument_offset(&r, n, &arg)?;
            let each_cpu = row.kind == K::PercpuObjDrop;
            return self.kfunc_object(i, &r, each_cpu, told).map(|()| 0);
        }
        if p.ends("__refcounted_kptr") {
            return self.kfunc_refcounted(i, &r, told).map(|()| 0);
        }
        self.argument_offset(&r, n, &arg)?;
        match tname {
            "bpf_wq" | "bpf_task_work" => return self.kfunc_async(i, n, &r, tname, told).map(|()| 0),
            "bpf_res_spin_lock" => return self.kfunc_lock(i, n, &r, row).map(|()| 0),
            "bpf_dynptr" | "bpf_dynptr_kern" => return self.kfunc_dynptr(p, row, n, &r, told).map(|()| 0),
            "bpf_list_head" => {
                return self.graph_root(i, n, &r, FieldKind::ListHead, told).map(|()| 0);
            }
            "bpf_rb_root" => {
                return self.graph_root(i, n, &r, FieldKind::RbRoot, told).map(|()| 0);
            }
            "bpf_list_node" | "bpf_rb_node" => {
                return self.graph_node(i, n, &r, row, told).map(|()| 0);
            }
            _ => {}
        }
        let is_iter = row.has(kf::ITER_NEW) || row.has(kf::ITER_NEXT) || row.has(kf::ITER_DESTROY);
        if (is_iter && i == 0) || p.ends("__iter") {
            return self.kfunc_iter(b, row, n, &r, target, told).map(|()| 0);
        }
        if p.ends("__str") {
            if !matches!(r.base, Base::MapValue(_)) {
                refuse!(ArgumentType, "arg#{i} doesn't point to a const string");
            }
            return self.const_str(n, &r).map(|()| 0);
        }
        if p.ends("__irq_flag") {
            let save = matches!(row.kind, K::IrqSave | K::ResLock { .. });
            let lock = matches!(row.kind, K::ResLock { .. } | K::ResUnlock { .. });
            return self.irq_flag(n, &r, save, lock).map(|()| 0);
        }
        if p.ends("__map") {
            self.kfunc_map(n, &r, told)?;
            let (target, name) = self.kernel_type("bpf_map").map_or((0, ""), |t| (t.id, "bpf_map"));
            return self.kfunc_pointer(b, row, i, n, &r, target, name).map(|()| 0);
        }
        if matches!(b.type_by_id(target), Some(Type::FuncProto(_))) {
            let Base::Func(f) = r.base else { refuse!(ArgumentType, "arg{i} expected pointer to func") };
            told.func = Some(f as usize);
            return Ok(0);
        }
        if matches!(r.base, Base::Btf(_) | Base::MapPtr(_)) || r.is_socket() {
            return self.kfunc_pointer(b, row, i, n, &r, target, tname).map(|()| 0);
        }
        self.kfunc_memory(b, list, i, n, &r, target, tname, told)
    }

    fn kfunc_number(&mut self, p: &KParam, n: usize, r: &Reg, told: &mut Told) -> Check {
        if !r.is_scalar() {
            refuse!(ArgumentType, "R{n} is not a scalar");
        }
        let buf = ["rdonly_buf_size", "rdwr_buf_size"].iter().position(|s| p.name == *s);
        if p.ends("__k") {
            let Some(v) = r.val.as_const() else { refuse!(ArgumentRange, "R{n} must be a known constant") };
            self.precise(n)?;
            told.constant = Some(v);
        } else if let Some(which) = buf {
            let Some(v) = r.val.as_const() else { refuse!(ArgumentRange, "R{n} is not a const") };
            if v > u32::MAX as u64 {
                refuse!(ArgumentRange, "R{n} rdonly/rdwr_buf_size exceeds u32 max");
            }
            self.precise(n)?;
            told.ret_size = Some((v as u32, which == 0));
        }
        Ok(())
    }

    fn ctx_type(&self, b: &Btf, target: u32, name: &str) -> bool {
        self.layout.is_some_and(|l| l.name == name) && b.kind_of(target) == Some(Kind::Struct)
    }

    fn kfunc_ctx(&mut self, i: usize, n: usize, r: &Reg) -> Check {
        self.argument_offset(r, n, &Arg::new(ArgKind::Ctx))?;
        if r.base != Base::Ctx {
            refuse!(ArgumentType, "arg#{i} expected pointer to ctx, but got {}", r.type_name());
        }
        Ok(())
    }

    /// The map argument belongs to the field before it.
    fn kfunc_map(&mut self, n: usize, r: &Reg, told: &mut Told) -> Check {
        let Base::MapPtr(m) = r.base else { return Ok(()) };
        if let Some((what, other, uid)) = told.field
            && (other != m || uid != r.origin)
        {
            refuse!(
                ArgumentType,
                "{what} pointer in R{} map_uid={uid} doesn't match map pointer in R{n} map_uid={}",
                n - 1,
                r.origin
            );
        }
        Ok(())
    }

    /// A work queue or task work in a map value.
    fn kfunc_async(&mut self, i: usize, n: usize, r: &Reg, name: &str, told: &mut Told) -> Check {
        if !matches!(r.base, Base::MapValue(_)) || r.flags != Flags::NONE {
            refuse!(ArgumentType, "arg#{i} doesn't point to a map value");
        }
        let (kind, what) = match name {
            "bpf_wq" => (FieldKind::WorkQueue, "workqueue"),
            _ => (FieldKind::TaskWork, "bpf_task_work"),
        };
        told.field = self.async_field(n, r, kind)?.map(|(m, uid)| (what, m, uid));
        Ok(())
    }

    fn kfunc_lock(&mut self, i: usize, n: usize, r: &Reg, row: &'static Kfunc) -> Check {
        let value = matches!(r.base, Base::MapValue(_)) && r.flags == Flags::NONE;
        let object = matches!(r.base, Base::Btf(_)) && r.flags == Flags::ALLOC;
        if !value && !object {
            refuse!(ArgumentType, "arg#{i} doesn't point to map value or allocated object");
        }
        match row.kind {
            K::ResLock { irq } => self.spin_lock(n, r, LockKind::Resilient { irq }, true),
            K::ResUnlock { irq } => self.spin_lock(n, r, LockKind::Resilient { irq }, false),
            _ => Ok(()),
        }
    }

    fn kfunc_object(&mut self, i: usize, r: &Reg, each_cpu: bool, told: &mut Told) -> Check {
        let Base::Btf(t) = r.base else {
            refuse!(ArgumentType, "arg#{i} expected pointer to allocated object")
        };
        let percpu = Flags::ALLOC.with(Flags::PERCPU);
        if r.flags != Flags::ALLOC && r.flags != percpu {
            refuse!(ArgumentType, "arg#{i} expected pointer to allocated object");
        }
        if (r.flags == percpu) != each_cpu {
            let what = if r.flags == percpu { "bpf_percpu_obj_drop_impl" } else { "bpf_obj_drop_impl" };
            refuse!(ArgumentType, "arg#{i} expected for {what}()");
        }
        if r.ref_id == 0 {
            refuse!(Reference, "allocated object must be referenced");
        }
        told.object = Some(t);
        Ok(())
    }

    fn kfunc_refcounted(&mut self, i: usize, r: &Reg, told: &mut Told) -> Check {
        let Base::Btf(t) = r.base else {
            refuse!(ArgumentType, "arg#{i} is neither owning or non-owning ref")
        };
        if !r.flags.has(Flags::ALLOC) || r.maybe_null() {
            refuse!(ArgumentType, "arg#{i} is neither owning or non-owning ref");
        }
        if !self.fields(r).iter().any(|f| f.kind == FieldKind::Refcount) {
            refuse!(ArgumentType, "arg#{i} doesn't point to a type with bpf_refcount field");
        }
        told.owning = !r.flags.has(Flags::NON_OWN) && r.ref_id != 0;
        told.object = Some(t);
        Ok(())
    }

    fn kfunc_dynptr(&mut self, p: &KParam, row: &'static Kfunc, n: usize, r: &Reg, told: &mut Told) -> Check {
        if p.ends("__uninit") {
            let (kind, clone) = match (row.kind, told.dynptr) {
                (K::DynptrFrom(k), _) => (Dynptr::of(k), 0),
                (K::DynptrClone, Some((_, ref_id, k))) => (k, ref_id),
                _ => (Dynptr::Local, 0),
            };
            return self.make_dynptr(r, kind, clone);
        }
        let rdonly = matches!(r.base, Base::ConstDynptr(_));
        self.initialised_dynptr(n, r, rdonly)?;
        let (id, ref_id) = self.dynptr_ids(r);
        told.dynptr = self.dynptr_kind(r).map(|k| (id, ref_id, k));
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn kfunc_pointer(
        &mut self,
        b: &Arc<Btf>,
        row: &'static Kfunc,
        i: usize,
        n: usize,
        r: &Reg,
        target: u32,
        tname: &str,
    ) -> Check {
        if !matches!(b.kind_of(target), Some(Kind::Struct)) {
            let kind = b.kind_of(target).map_or("UNKNOWN".into(), |k| format!("{k:?}").to_uppercase());
            refuse!(
                Kfunc,
                "kernel function {} args#{i} pointer type {kind} {tname} is not supported",
                row.name
            );
        }
        if row.has(kf::TRUSTED_ARGS) || row.has(kf::RELEASE) || row.has(kf::RCU) {
            let unsafe_flags =
                r.flags.any(Flags::UNTRUSTED.with(Flags::USER).with(Flags::PERCPU).with(Flags::MAYBE_NULL));
            let marked = r.flags.any(Flags::TRUSTED.with(Flags::ALLOC))
                || r.is_socket()
                || matches!(r.base, Base::MapPtr(_));
            let trusted = r.ref_id != 0 || (marked && !unsafe_flags);
            if !trusted && !row.has(kf::RCU) {
                refuse!(Kfunc, "R{n} must be referenced or trusted");
            }
            if !trusted && !r.flags.has(Flags::RCU) {
                refuse!(Kfunc, "R{n} must be a rcu pointer");
            }
        }
        let have = match r.base {
            Base::Btf(t) => {
                let bad = r
                    .flags
                    .any(Flags::UNTRUSTED.with(Flags::USER).with(Flags::PERCPU).with(Flags::MAYBE_NULL));
                if bad
                    && !r.flags.has(Flags::RCU)
                    && (r.flags.has(Flags::MAYBE_NULL) || r.flags.has(Flags::UNTRUSTED))
                {
                    let plain = crate::value::type_name(r.base, r.flags.without(bad_flags()));
                    refuse!(ArgumentType, "arg#{i} is {} expected {plain} or socket", r.type_name());
                }
                t
            }
            Base::MapPtr(_) => self.kernel_type("bpf_map").unwrap_or(BtfType { own: false, id: 0 }),
            Base::Socket => self.kernel_type("sock").unwrap_or(BtfType { own: false, id: 0 }),
            Base::TcpSock => self.kernel_type("tcp_sock").unwrap_or(BtfType { own: false, id: 0 }),
            _ => self.kernel_type("sock_common").unwrap_or(BtfType { own: false, id: 0 }),
        };
        let want = BtfType { own: false, id: target };
        let strict = row.has(kf::RELEASE) && r.ref_id != 0;
        let off = if matches!(r.base, Base::Btf(_)) { r.off } else { 0 };
        let strict = strict || no_cast_alias(tname, self.btf_name(have));
        let underlying =
            matches!((tname, self.btf_name(have)), ("__sk_buff", "sk_buff") | ("xdp_md", "xdp_buff"));
        if !underlying && !self.struct_matches(have, off, want, strict) {
            let has = self.btf_name(have).to_owned();
            refuse!(
                ArgumentType,
                "kernel function {} args#{i} expected pointer to STRUCT {tname} but R{n} has a pointer to STRUCT {has}",
                row.name
            );
        }
        Ok(())
    }

    /// Memory: of a size in the next argument, or of the size of its type.
    #[allow(clippy::too_many_arguments)]
    fn kfunc_memory(
        &mut self,
        b: &Arc<Btf>,
        list: &[KParam],
        i: usize,
        n: usize,
        r: &Reg,
        target: u32,
        tname: &str,
        told: &mut Told,
    ) -> Check<usize> {
        let sized = list.get(i + 1).is_some_and(|s| s.ends("__sz") || s.ends("__szk"));
        let scalar = self.scalar_struct(b, target, 0);
        let fits = scalar || (sized && target == 0);
        if !fits {
            let kind = b.kind_of(target).map_or("UNKNOWN".into(), |k| format!("{k:?}").to_uppercase());
            let void = if sized { "void, " } else { "" };
            refuse!(
                ArgumentType,
                "arg#{i} pointer type {kind} {tname} must point to {void}scalar, or struct with scalar"
            );
        }
        if !sized {
            let Some(size) = b.size_of(target) else {
                refuse!(ArgumentType, "arg#{i} reference type size cannot be determined: -22")
            };
            self.memory_argument(n, r, size)?;
            return Ok(0);
        }
        self.readable(n + 1)?;
        let size = *self.reg(n + 1);
        if !size.is_scalar() {
            refuse!(ArgumentType, "R{} is not a scalar", n + 1);
        }
        let optional = list[i].ends("__opt");
        if !(r.is_null() && optional) {
            let mut args = Args::default();
            let out = self
                .size_argument(n + 1, &size, false, true, &mut args)
                .and_then(|()| self.size_argument(n + 1, &size, true, true, &mut args));
            if let Err(e) = out {
                let line = format!("arg#{i} arg#{} memory, len pair leads to invalid memory access", i + 1);
                let mut full = Reject::new(Rule::ArgumentRange, line);
                full.before = e.lines().map(str::to_owned).collect();
                return Err(full);
            }
        }
        if list[i + 1].ends("__szk") {
            let Some(v) = size.val.as_const() else {
                refuse!(ArgumentRange, "R{} must be a known constant", n + 1)
            };
            told.constant = Some(v);
            self.precise(n + 1)?;
        }
        Ok(1)
    }

    fn scalar_struct(&self, b: &Btf, id: u32, depth: u32) -> bool {
        match b.resolve(id) {
            Some((_, Type::Int(_) | Type::Enum(_) | Type::Enum64(_))) => true,
            Some((_, Type::Struct(s) | Type::Union(s))) if depth < 4 => {
                s.members.into_iter().all(|m| self.scalar_struct(b, m.type_id, depth + 1))
            }
            Some((_, Type::Array(a))) if depth > 0 => self.scalar_struct(b, a.type_id, depth + 1),
            _ => false,
        }
    }

    /// Objects of every CPU hold numbers alone, and not many (`BPF_GLOBAL_PERCPU_MA_MAX_SIZE`).
    fn percpu_object(&self, own: &Btf, id: u32) -> Check {
        const MOST: u32 = 512;
        let size = own.size_of(id).unwrap_or(0);
        if size > MOST {
            refuse!(Kfunc, "bpf_percpu_obj_new type size ({size}) is greater than {MOST}");
        }
        if !self.scalar_struct(own, id, 0) {
            refuse!(Kfunc, "bpf_percpu_obj_new type ID argument must be of a struct of scalars");
        }
        if !crate::maps::fields_of(own, id).is_empty() {
            refuse!(Kfunc, "bpf_percpu_obj_new type ID argument must not contain special fields");
        }
        Ok(())
    }

    /// RCU, preemption and interrupts.
    fn kfunc_sections(&mut self, row: &'static Kfunc) -> Check {
        let name = row.name;
        if self.cur.rcu > 0 && row.sleepable() {
            refuse!(Kfunc, "kernel func {name} is sleepable within rcu_read_lock region");
        }
        if self.cur.preempt > 0 && row.sleepable() {
            refuse!(Kfunc, "kernel func {name} is sleepable within non-preemptible region");
        }
        if self.cur.irq > 0 && row.sleepable() {
            refuse!(Kfunc, "kernel func {name} is sleepable within IRQ-disabled region");
        }
        match row.kind {
            K::RcuLock => self.cur.rcu += 1,
            K::RcuUnlock => {
                if self.cur.rcu == 0 {
                    refuse!(Lock, "unmatched rcu read unlock (kernel function {name})");
                }
                self.cur.rcu -= 1;
                if self.cur.rcu == 0 {
                    self.end_rcu();
                }
            }
            K::PreemptDisable => self.cur.preempt += 1,
            K::PreemptEnable => {
                if self.cur.preempt == 0 {
                    refuse!(Lock, "unmatched attempt to enable preemption (kernel function {name})");
                }
                self.cur.preempt -= 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn end_rcu(&mut self) {
        self.cur.for_each_reg(
            |r| r.flags.has(Flags::RCU),
            |r| r.flags = r.flags.without(Flags::RCU.with(Flags::MAYBE_NULL)).with(Flags::UNTRUSTED),
        );
    }

    fn kfunc_result(&mut self, b: &Arc<Btf>, ret: KShape, row: &'static Kfunc, told: &Told) -> Check {
        let mut r = match ret {
            KShape::Missing | KShape::Void => return Ok(()),
            KShape::Pointer(target) => self.kfunc_pointer_result(b, row, target, told)?,
            KShape::Number => {
                let got = matches!(row.kind, K::ResLock { .. });
                self.set(0, if got { Reg::known(0) } else { Reg::UNKNOWN });
                return Ok(());
            }
        };
        if !r.is_pointer() {
            self.set(0, r);
            return Ok(());
        }
        let owned = row.kind == K::RefcountAcquire && told.owning;
        if row.has(kf::RET_NULL) && !owned {
            r.flags = r.flags.with(Flags::MAYBE_NULL);
            r.id = self.new_id();
        }
        if row.has(kf::ACQUIRE) {
            let id = self.acquire();
            if r.maybe_null() {
                r.id = id;
            }
            r.ref_id = id;
        } else if row.kind == K::RbtreePeek || row.kind == K::ListPeek {
            self.not_owning(&mut r)?;
        }
        if r.flags.has(Flags::ALLOC) && r.id == 0 {
            r.id = self.new_id();
        }
        self.set(0, r);
        Ok(())
    }

    fn kfunc_pointer_result(
        &mut self,
        b: &Arc<Btf>,
        row: &'static Kfunc,
        target: u32,
        told: &Told,
    ) -> Check<Reg> {
        Ok(match row.kind {
            K::ObjNew | K::PercpuObjNew => {
                let id = told.constant.unwrap_or(0);
                if id > u32::MAX as u64 {
                    refuse!(Kfunc, "local type ID argument must be in range [0, U32_MAX]");
                }
                let Some(own) = &self.own else {
                    refuse!(Kfunc, "bpf_obj_new/bpf_percpu_obj_new requires prog BTF")
                };
                if u32::try_from(id).ok().and_then(|i| own.kind_of(i)) != Some(Kind::Struct) {
                    refuse!(Kfunc, "bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct");
                }
                let mut flags = Flags::ALLOC;
                if row.kind == K::PercpuObjNew {
                    self.percpu_object(own, id as u32)?;
                    flags = flags.with(Flags::PERCPU);
                }
                Reg::flagged(Base::Btf(BtfType { own: true, id: id as u32 }), flags)
            }
            K::ReturnsMem(size) => Reg::flagged(Base::Mem(size), Flags::NONE),
            K::RefcountAcquire => {
                let Some(t) = told.object else { refuse!(Internal, "no object") };
                Reg::flagged(Base::Btf(t), Flags::ALLOC)
            }
            K::ListPop | K::ListPeek | K::RbtreeRemove | K::RbtreePeek => {
                let Some(f) = &told.root else { refuse!(Internal, "no list or tree") };
                let mut r = Reg::flagged(Base::Btf(BtfType { own: true, id: f.target }), Flags::ALLOC);
                r.off = f.node_off as i32;
                r
            }
            K::CastToKernCtx => {
                let name = match self.layout.map(|l| l.name) {
                    Some("bpf_sock_addr") => "bpf_sock_addr_kern",
                    Some("sk_msg_md") => "sk_msg",
                    Some("bpf_sockopt") => "bpf_sockopt_kern",
                    Some("bpf_sysctl") => "bpf_sysctl_kern",
                    Some("pt_regs") => "pt_regs",
                    Some("bpf_nf_ctx") => "bpf_nf_ctx",
                    Some("bpf_sk_lookup") => "bpf_sk_lookup_kern",
                    Some("sk_reuseport_md") => "sk_reuseport_kern",
                    Some("__sk_buff") => "sk_buff",
                    Some("xdp_md") => "xdp_buff",
                    Some("bpf_sock_ops") => "bpf_sock_ops_kern",
                    Some("bpf_raw_tracepoint_args") => "u64",
                    _ => refuse!(NotYet, "the kernel's own context of this program type"),
                };
                match self.kernel_type(name) {
                    Some(t) => Reg::flagged(Base::Btf(t), Flags::TRUSTED),
                    None => refuse!(NotYet, "type {name} is not in the kernel's BTF"),
                }
            }
            K::RdonlyCast => {
                let id = told.constant.unwrap_or(0) as u32;
                match b.kind_of(id) {
                    Some(Kind::Struct | Kind::Union) => {
                        Reg::flagged(Base::Btf(BtfType { own: false, id }), Flags::UNTRUSTED)
                    }
                    _ if id == 0 => Reg::flagged(Base::Mem(0), Flags::RDONLY.with(Flags::UNTRUSTED)),
                    _ => refuse!(Kfunc, "kfunc bpf_rdonly_cast type ID argument must be of a struct or void"),
                }
            }
            K::DynptrSlice { writable } => {
                let Some((id, _, kind)) = told.dynptr else { refuse!(Internal, "no dynptr") };
                let mut flags = Vm::dynptr_flags(kind);
                if !writable {
                    flags = flags.with(Flags::RDONLY);
                } else if self.desc.packet_access != PacketAccess::ReadWrite {
                    refuse!(Dynptr, "the prog does not allow writes to packet data");
                }
                let mut r = Reg::flagged(Base::Mem(told.constant.unwrap_or(0) as u32), flags);
                r.origin = id;
                r
            }
            _ if target == 0 => Reg::UNKNOWN,
            _ => match b.kind_of(target) {
                Some(Kind::Struct) => {
                    let flags = if row.kind == K::ReturnsUntrusted {
                        Flags::UNTRUSTED
                    } else if row.iter_next() {
                        self.iter_item_flags(told)
                    } else if row.has(kf::RCU_PROTECTED) {
                        Flags::RCU
                    } else {
                        Flags::NONE
                    };
                    Reg::flagged(Base::Btf(BtfType { own: false, id: target }), flags)
                }
                _ => {
                    let (size, rdonly) = match told.ret_size {
                        Some(s) => s,
                        None => match b.size_of(target) {
                            Some(s) => (s, true),
                            None => refuse!(
                                Kfunc,
                                "kernel function {} returns pointer type {} is not supported",
                                row.name,
                                b.name_of(target)
                            ),
                        },
                    };
                    let mut r =
                        Reg::flagged(Base::Mem(size), if rdonly { Flags::RDONLY } else { Flags::NONE });
                    r.ref_id = told.ref_id;
                    r
                }
            },
        })
    }
}

/// Is the function marked as one that programs call? In BTF without such marks nothing is known of it.
fn callable(b: &Btf, id: u32) -> bool {
    let mut marks = b.own_decl_tags().filter(|t| t.name == "bpf_kfunc").map(|t| t.type_id);
    let first = marks.next();
    first.is_none_or(|f| f == id) || marks.any(|m| m == id)
}

/// A structure and the same one not yet in use: `struct nf_conn` and `struct nf_conn___init`, never cast into one
/// another.
fn no_cast_alias(a: &str, b: &str) -> bool {
    let init = |long: &str, short: &str| long.strip_suffix("___init") == Some(short);
    init(a, b) || init(b, a)
}

fn bad_flags() -> Flags {
    Flags::UNTRUSTED.with(Flags::USER).with(Flags::PERCPU).with(Flags::MAYBE_NULL)
}
