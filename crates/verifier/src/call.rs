//! Calls of helpers, by descriptor: arguments, effects on references and packets, the result.
//!
//! A call checks its arguments from left to right and remembers in [`Args`] what later ones and the result refer to
//! (the map, the reference given up, the constant size), as `check_helper_call` of kernel/bpf/verifier.c does.

use crate::called::Called;
use crate::machine::Vm;
use crate::reject::Rule as Broken;
use crate::reject::{Check, Reject, refuse};
use crate::scalar::Scalar;
use crate::special::LockKind;
use crate::state::{Place, Ref, RefKind};
use crate::step::Flow;
use crate::value::{Base, Dynptr, Flags, Reg, type_name};
use skep_platform::ctx::PacketAccess;
use skep_platform::helper::{Acquires, Callback, CallbackParams, LockEffect, Rule};
use skep_platform::{Arg, ArgKind, Helper, MapType, Proto, RetType};

/// Most bytes of a variable size (`BPF_MAX_VAR_SIZ`).
const MAX_SIZE: u64 = 1 << 29;

/// What the arguments of one call have told.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Args {
    pub(crate) map: Option<(u16, u32)>,
    pub(crate) ref_id: u32,
    pub(crate) release: Option<usize>,
    pub(crate) raw: bool,
    /// Stack memory that the helper fills: register and bytes.
    pub(crate) fill: Option<(usize, i64)>,
    pub(crate) mem_size: u64,
    pub(crate) size_max: u64,
    pub(crate) func: Option<usize>,
    pub(crate) dynptr_id: u32,
    pub(crate) dynptr: Option<Dynptr>,
    pub(crate) ret_btf: Option<crate::value::BtfType>,
    /// What holds the kernel pointer's slot, and which of its fields that is.
    pub(crate) kptr: Option<(Base, usize)>,
    pub(crate) key: Option<(u64, Option<Place>)>,
}

/// Types that a memory argument takes, in the kernel's order.
const MEM: [(Base, Flags); 9] = [
    (Base::Stack(0), Flags::NONE),
    (Base::Packet, Flags::NONE),
    (Base::PacketMeta, Flags::NONE),
    (Base::MapKey(0), Flags::NONE),
    (Base::MapValue(0), Flags::NONE),
    (Base::Mem(0), Flags::NONE),
    (Base::Mem(0), Flags::RINGBUF),
    (Base::Buf, Flags::NONE),
    (Base::Btf(ANY), Flags::TRUSTED),
];
const ANY: crate::value::BtfType = crate::value::BtfType { own: false, id: 0 };
const SOCKS: [(Base, Flags); 4] = [
    (Base::SockCommon, Flags::NONE),
    (Base::Socket, Flags::NONE),
    (Base::TcpSock, Flags::NONE),
    (Base::XdpSock, Flags::NONE),
];
const BTF_SOCKS: [(Base, Flags); 6] = [
    (Base::SockCommon, Flags::NONE),
    (Base::Socket, Flags::NONE),
    (Base::TcpSock, Flags::NONE),
    (Base::XdpSock, Flags::NONE),
    (Base::Btf(ANY), Flags::NONE),
    (Base::Btf(ANY), Flags::TRUSTED),
];
const BTFS: [(Base, Flags); 3] =
    [(Base::Btf(ANY), Flags::NONE), (Base::Btf(ANY), Flags::TRUSTED), (Base::Btf(ANY), Flags::RCU)];
const PERCPU: [(Base, Flags); 3] = [
    (Base::Btf(ANY), Flags::PERCPU),
    (Base::Btf(ANY), Flags::PERCPU.with(Flags::RCU)),
    (Base::Btf(ANY), Flags::PERCPU.with(Flags::TRUSTED)),
];
const LOCKED: [(Base, Flags); 2] = [(Base::MapValue(0), Flags::NONE), (Base::Btf(ANY), Flags::ALLOC)];
const DYNPTRS: [(Base, Flags); 2] =
    [(Base::Stack(0), Flags::NONE), (Base::ConstDynptr(Dynptr::Local), Flags::NONE)];

/// Types that an argument takes.
fn accepted(kind: ArgKind) -> &'static [(Base, Flags)] {
    match kind {
        ArgKind::MapKey | ArgKind::MapValue | ArgKind::Mem | ArgKind::FixedMem(_) => &MEM,
        ArgKind::Size
        | ArgKind::SizeOrZero
        | ArgKind::AllocSizeOrZero
        | ArgKind::Scalar
        | ArgKind::Anything => &[(Base::Scalar, Flags::NONE)],
        ArgKind::ConstMapPtr => &[(Base::MapPtr(0), Flags::NONE)],
        ArgKind::Ctx => &[(Base::Ctx, Flags::NONE)],
        ArgKind::SockCommon => &SOCKS,
        ArgKind::BtfIdSockCommon => &BTF_SOCKS,
        ArgKind::Socket => &[(Base::Socket, Flags::NONE)],
        ArgKind::BtfId(_) => &BTFS,
        ArgKind::PercpuBtfId => &PERCPU,
        ArgKind::SpinLock | ArgKind::KptrXchgDest => &LOCKED,
        ArgKind::Timer | ArgKind::ConstStr => &[(Base::MapValue(0), Flags::NONE)],
        ArgKind::Func => &[(Base::Func(0), Flags::NONE)],
        ArgKind::Stack => &[(Base::Stack(0), Flags::NONE)],
        ArgKind::RingbufMem => &[(Base::Mem(0), Flags::RINGBUF)],
        ArgKind::Dynptr(_) => &DYNPTRS,
    }
}

/// Kernel and object pointers that may have been moved by a constant, by their flags.
const MOVABLE: [Flags; 6] = [
    Flags::NONE,
    Flags::ALLOC,
    Flags::TRUSTED,
    Flags::RCU,
    Flags::ALLOC.with(Flags::NON_OWN),
    Flags::ALLOC.with(Flags::NON_OWN).with(Flags::RCU),
];

fn same_base(a: Base, b: Base) -> bool {
    std::mem::discriminant(&a) == std::mem::discriminant(&b)
}

impl Vm<'_> {
    /// Call of helper `id`.
    pub(crate) fn helper_call(&mut self, id: i32) -> Check<Flow> {
        let pc = self.cur.insn;
        let Some(&Called { helper: h, proto, .. }) = self.called.get(id) else {
            refuse!(HelperUnknown, "invalid func unknown#{id}")
        };
        let Some(proto) = proto else {
            let phrase = format!("program of this type cannot use helper {}#{id}", h.name);
            let (prog, attach) = (self.program.prog_type, self.program.attach_type);
            let since = h.proto(prog, attach).map_or(h.since, |p| p.since.max(h.since));
            return Err(self.told_version(Reject::new(Broken::HelperUnknown, phrase), since));
        };
        self.helper_allowed(h, proto)?;
        let mut args = Args::default();
        self.facts.begin_call();
        for (i, arg) in proto.args.iter().enumerate() {
            self.argument(h, proto, i, arg, &mut args)?;
        }
        if let Some((n, size)) = args.fill {
            self.fill(n, size)?;
        }
        self.release_argument(h, proto, &args)?;
        self.before(h, proto, &mut args)?;
        let key = if h.rule == Rule::LooksUp { self.certain_lookup(&args) } else { None };
        self.fact_call(proto.args.len(), &args, key);
        let moved =
            h.invalidates_packet || (h.rule == Rule::WritesDynptr && args.dynptr == Some(Dynptr::Skb));
        let callback = self.callback(h, &args)?;
        if let Some(flow) = callback {
            return Ok(flow);
        }
        self.clear_caller_saved();
        self.result(h, proto, &args)?;
        if let Some((m, _)) = args.map {
            self.map_suits(h, self.maps[m as usize].kind())?;
        }
        if moved {
            self.forget_packets();
        }
        if h.tail_call && self.cur.depth() > 0 {
            // The program called instead returns to this function's caller.
            self.push(pc + 1, pc)?;
            self.forget_packets();
            self.set(0, Reg::UNKNOWN);
            return self.leave();
        }
        Ok(Flow::To(pc + 1))
    }

    fn helper_allowed(&self, h: &Helper, p: &Proto) -> Check {
        if p.gpl_only && !self.program.gpl_compatible() {
            refuse!(HelperRestricted, "cannot call GPL-restricted function from non-GPL compatible program");
        }
        if !self.helper_open(p) {
            refuse!(HelperUnknown, "program of this type cannot use helper {}#{}", h.name, h.id);
        }
        self.helper_built(h)?;
        let placed = match h.rule {
            Rule::Places(list) => self.attach.sleeps_or_is(self.program, list),
            Rule::NotInside(prefix) => !self.attach.traces(self.program, prefix),
            _ => true,
        };
        if !placed {
            refuse!(HelperRestricted, "helper call is not allowed in probe");
        }
        if p.might_sleep && !self.cur.sleepable {
            refuse!(HelperRestricted, "helper call might sleep in a non-sleepable prog");
        }
        let inside = [
            (self.cur.rcu > 0, "rcu_read_lock"),
            (self.cur.preempt > 0, "non-preemptible"),
            (self.cur.irq > 0, "IRQ-disabled"),
        ];
        for (held, what) in inside {
            if held && p.might_sleep {
                refuse!(HelperRestricted, "sleepable helper {}#{} in {what} region", h.name, h.id);
            }
        }
        Ok(())
    }

    /// The kernel at hand has the helper for this program (`get_func_proto` beyond program types).
    fn helper_built(&self, h: &Helper) -> Check {
        let why = match h.rule {
            Rule::Built(option) if self.options.config_has(option) == Some(false) => {
                format!("the kernel is built without CONFIG_{option}")
            }
            Rule::NotLockedDown if self.options.locked_down() => {
                "the kernel is locked down by its configuration".to_owned()
            }
            Rule::NotMember(m) if self.attach.is_member(m) => format!("{m} may not call it"),
            _ => return Ok(()),
        };
        let phrase = format!("program of this type cannot use helper {}#{}", h.name, h.id);
        let mut e = Reject::new(Broken::HelperUnknown, phrase);
        e.after.push(why);
        Err(e)
    }

    /// Helper and map type go together (`check_map_func_compatibility`).
    fn map_suits(&self, h: &Helper, kind: MapType) -> Check {
        let phrase = || format!("cannot pass map_type {} into func {}#{}", kind as u32, h.name, h.id);
        let row = self.platform.map_type(kind);
        let listed = row.is_none_or(|r| r.helpers.is_empty() || r.helpers.contains(&h.id));
        let wanted = h.map_types.is_empty() || h.map_types.contains(&kind);
        let sockets = matches!(kind, MapType::Sockmap | MapType::Sockhash);
        if sockets && h.rule == Rule::WritesMap && h.map_types.is_empty() {
            if self.may_write_sockets(h) {
                return Ok(());
            }
            let e = Reject::new(Broken::MapHelper, phrase());
            return Err(e.after_line("cannot update sockmap in this context"));
        }
        if !listed || !wanted {
            refuse!(MapHelper, "{}", phrase());
        }
        Ok(())
    }

    /// Programs that may add sockets to maps and remove them (`may_update_sockmap`).
    fn may_write_sockets(&self, h: &Helper) -> bool {
        use skep_platform::ProgType as P;
        match self.program.prog_type {
            P::Tracing => self.program.attach_type == Some(skep_platform::AttachType::TraceIter),
            // New entries come by helpers of their own there.
            P::SockOps => h.protos.iter().all(|p| !p.args.iter().any(|a| a.kind == ArgKind::MapValue)),
            P::SocketFilter
            | P::SchedCls
            | P::SchedAct
            | P::Xdp
            | P::SkReuseport
            | P::FlowDissector
            | P::SkLookup => true,
            _ => false,
        }
    }

    fn argument(&mut self, h: &Helper, p: &Proto, i: usize, arg: &Arg, args: &mut Args) -> Check {
        let n = i + 1;
        self.readable(n)?;
        if arg.kind == ArgKind::Anything {
            if self.leaks(n) {
                refuse!(PointerLeak, "R{n} leaks addr into helper function");
            }
            return Ok(());
        }
        let r = *self.reg(n);
        if r.is_packet() && !(p.pkt_access && self.packets_readable()) {
            refuse!(PacketAccess, "helper access to the packet is not allowed");
        }
        let mut arg = *arg;
        if arg.kind == ArgKind::MapValue && self.map_holds_sockets(args) {
            arg.kind = ArgKind::BtfIdSockCommon;
        }
        if r.is_null() && arg.nullable {
            self.precise(n)?;
        } else {
            self.argument_type(h, n, &r, &arg, args)?;
            self.argument_offset(&r, n, &arg)?;
        }
        self.argument_reference(n, &r, &arg, args)?;
        self.argument_value(h, p, i, &r, &arg, args)
    }

    fn packets_readable(&self) -> bool {
        matches!(self.desc.packet_access, PacketAccess::Read | PacketAccess::ReadWrite)
    }

    fn map_holds_sockets(&self, args: &Args) -> bool {
        args.map.is_some_and(|(m, _)| {
            matches!(self.maps[m as usize].kind(), MapType::Sockmap | MapType::Sockhash)
        })
    }

    /// The register's type is one that the argument takes (`check_reg_type`).
    fn argument_type(&mut self, h: &Helper, n: usize, r: &Reg, arg: &Arg, args: &Args) -> Check {
        let list = accepted(arg.kind);
        let mut flags = r.flags;
        if arg.rdonly {
            flags = flags.without(Flags::RDONLY);
        }
        if arg.nullable {
            flags = flags.without(Flags::MAYBE_NULL);
        }
        let mem = matches!(arg.kind, ArgKind::Mem | ArgKind::FixedMem(_));
        if mem {
            flags = flags.without(Flags::DYN_SKB.with(Flags::DYN_XDP));
        }
        let xchg = args.kptr.is_some() && n == 2;
        if xchg {
            flags = flags.without(Flags::ALLOC.with(Flags::PERCPU));
        }
        if !list.iter().any(|(b, f)| same_base(*b, r.base) && *f == flags) {
            let names: Vec<String> = list.iter().map(|(b, f)| type_name(*b, *f)).collect();
            refuse!(ArgumentType, "R{n} type={} expected={}", r.type_name(), names.join(", "));
        }
        let Base::Btf(t) = r.base else { return Ok(()) };
        if mem || matches!(arg.kind, ArgKind::MapKey | ArgKind::MapValue) {
            if !arg.rdonly {
                refuse!(
                    ArgumentType,
                    "{}() may write into memory pointed by R{n} type={}",
                    h.name,
                    r.type_name()
                );
            }
            return Ok(());
        }
        if r.maybe_null() && (!arg.nullable || arg.release) && !r.flags.has(Flags::ALLOC) {
            refuse!(ArgumentType, "Possibly NULL pointer passed to helper arg{n}");
        }
        if let (true, Some(slot)) = (xchg, args.kptr) {
            let f = self.kptr_field(slot);
            return self.kptr_matches(&f, r, n);
        }
        if r.flags.any(Flags::PERCPU) || r.flags.has(Flags::ALLOC) {
            return Ok(());
        }
        let wanted: &'static [&'static str] = match arg.kind {
            ArgKind::BtfId(names) => names,
            ArgKind::BtfIdSockCommon => &["sock_common"],
            _ => return Ok(()),
        };
        let strict = arg.release && arg.kind != ArgKind::BtfIdSockCommon;
        for name in wanted {
            if let Some(w) = self.kernel_type(name)
                && self.struct_matches(t, r.off, w, strict)
            {
                return Ok(());
            }
        }
        let first = wanted.first().copied().unwrap_or("");
        refuse!(ArgumentType, "R{n} is of type {} but {first} is expected", self.btf_name(t))
    }

    /// Only some pointers may have been moved (`check_func_arg_reg_off`).
    pub(crate) fn argument_offset(&self, r: &Reg, n: usize, arg: &Arg) -> Check {
        if arg.release {
            if matches!(arg.kind, ArgKind::Dynptr(_)) && matches!(r.base, Base::Stack(_)) {
                return Ok(());
            }
            if r.off != 0 {
                refuse!(
                    Reference,
                    "R{n} must have zero offset when passed to release func or trusted arg to kfunc"
                );
            }
            return self.unmoved(r, n, false);
        }
        let free = Flags::RDONLY
            .with(Flags::RINGBUF)
            .with(Flags::DYN_SKB)
            .with(Flags::DYN_XDP)
            .with(Flags::MAYBE_NULL);
        match r.base {
            Base::Stack(_)
            | Base::Packet
            | Base::PacketMeta
            | Base::MapKey(_)
            | Base::MapValue(_)
            | Base::Mem(_)
            | Base::Buf
            | Base::Arena
            | Base::Scalar
                if r.flags.without(free) == Flags::NONE =>
            {
                Ok(())
            }
            Base::Btf(_) => self.unmoved(r, n, MOVABLE.contains(&r.flags)),
            _ => self.unmoved(r, n, false),
        }
    }

    fn argument_reference(&mut self, n: usize, r: &Reg, arg: &Arg, args: &mut Args) -> Check {
        if arg.release {
            if matches!(arg.kind, ArgKind::Dynptr(_)) {
                if !matches!(r.base, Base::Stack(_)) {
                    refuse!(Dynptr, "cannot release unowned const bpf_dynptr");
                }
                let owned = self.dynptr_at(r).is_some_and(|(_, _, slot)| slot.ref_id != 0);
                if !owned {
                    refuse!(Reference, "arg {n} is an unacquired reference");
                }
            } else if r.ref_id == 0 && !r.is_null() {
                refuse!(Reference, "R{n} must be referenced when passed to release function");
            }
            args.release = Some(n);
        }
        if r.ref_id != 0 && arg.kind != ArgKind::KptrXchgDest {
            if args.ref_id != 0 {
                refuse!(Internal, "more than one arg with ref_obj_id R{n} {} {}", r.ref_id, args.ref_id);
            }
            args.ref_id = r.ref_id;
        }
        Ok(())
    }

    fn argument_value(
        &mut self,
        h: &Helper,
        p: &Proto,
        i: usize,
        r: &Reg,
        arg: &Arg,
        args: &mut Args,
    ) -> Check {
        let n = i + 1;
        match arg.kind {
            ArgKind::ConstMapPtr => self.map_argument(r, args)?,
            ArgKind::MapKey => {
                let Some((m, _)) = args.map else {
                    refuse!(ArgumentType, "invalid map_ptr to access map->key")
                };
                let size = self.maps[m as usize].def.key_size as i64;
                if !(arg.nullable && r.is_null()) {
                    self.helper_access(n, size, false, false, false)?;
                    args.key = self.constant_key(n, m).filter(|_| !self.lacks.ability("array-elements"));
                    // Of every helper that takes a key, and of keys beyond the array's end: what is known of it matters.
                    if let Some((_, Some(place))) = args.key {
                        self.make_precise(&[place])?;
                    }
                }
            }
            ArgKind::MapValue => {
                if arg.nullable && r.is_null() {
                    return Ok(());
                }
                let Some((m, _)) = args.map else {
                    refuse!(ArgumentType, "invalid map_ptr to access map->value")
                };
                let size = self.maps[m as usize].def.value_size as i64;
                if self.helper_access(n, size, arg.write, false, arg.uninit)? {
                    args.fill = Some((n, size));
                }
            }
            ArgKind::Mem => args.raw = arg.uninit,
            ArgKind::FixedMem(size) if !(arg.nullable && r.is_null()) => {
                if self.helper_access(n, size as i64, arg.write, false, arg.uninit)? {
                    args.fill = Some((n, size as i64));
                }
                if arg.aligned {
                    self.aligned(r, 0, size, true)?;
                }
            }
            ArgKind::Size | ArgKind::SizeOrZero => {
                let zero_ok = arg.kind == ArgKind::SizeOrZero;
                let before = p.args.get(i.wrapping_sub(1)).copied().unwrap_or(*arg);
                self.size_argument(n, r, before.write, zero_ok, args)?;
            }
            ArgKind::AllocSizeOrZero => {
                let Some(v) = r.val.as_const() else {
                    refuse!(ArgumentRange, "R{n} is not a known constant'")
                };
                args.mem_size = v;
                self.precise(n)?;
            }
            ArgKind::Func => args.func = if let Base::Func(f) = r.base { Some(f as usize) } else { None },
            ArgKind::SpinLock => {
                self.spin_lock(n, r, LockKind::Plain, h.lock == LockEffect::Lock)?;
            }
            ArgKind::Timer => {
                args.map = self.async_field(n, r, crate::maps::FieldKind::Timer)?.or(args.map);
            }
            ArgKind::Dynptr(kind) => self.dynptr_argument(n, r, arg, kind, args)?,
            ArgKind::ConstStr => self.const_str(n, r)?,
            ArgKind::KptrXchgDest => self.kptr_slot(n, r, args)?,
            ArgKind::PercpuBtfId => {
                args.ret_btf = if let Base::Btf(t) = r.base { Some(t) } else { None };
            }
            _ => {}
        }
        Ok(())
    }

    fn map_argument(&mut self, r: &Reg, args: &mut Args) -> Check {
        let Base::MapPtr(m) = r.base else { return Ok(()) };
        if let Some((old, uid)) = args.map
            && (old != m || uid != r.origin)
        {
            refuse!(
                ArgumentType,
                "timer pointer in R1 map_uid={uid} doesn't match map pointer in R2 map_uid={}",
                r.origin
            );
        }
        args.map = Some((m, r.origin));
        Ok(())
    }

    /// A size and the memory before it (`check_mem_size_reg`).
    pub(crate) fn size_argument(
        &mut self,
        n: usize,
        r: &Reg,
        write: bool,
        zero_ok: bool,
        args: &mut Args,
    ) -> Check {
        args.size_max = r.val.r.umax;
        let raw = args.raw && r.val.as_const().is_some();
        if r.val.r.smin < 0 {
            refuse!(ArgumentRange, "R{n} min value is negative, either use unsigned or 'var &= const'");
        }
        if r.val.r.umin == 0 && !zero_ok {
            let (lo, hi) = (r.val.r.umin as i64, r.val.r.umax as i64);
            refuse!(ArgumentRange, "R{n} invalid zero-sized read: u64=[{lo},{hi}]");
        }
        if r.val.r.umax >= MAX_SIZE {
            refuse!(ArgumentRange, "R{n} unbounded memory access, use 'var &= const' or 'if (var < const)'");
        }
        let size = r.val.r.umax as i64;
        if self.helper_access(n - 1, size, write, zero_ok, raw)? {
            args.fill = Some((n - 1, size));
        }
        self.precise(n)
    }

    /// The helper has written stack memory.
    pub(crate) fn fill(&mut self, n: usize, size: i64) -> Check {
        let r = *self.reg(n);
        match r.val.as_const() {
            Some(v) => self.scribble(self.frame_of(&r), r.off as i64 + v as i64, size),
            None => Ok(()),
        }
    }

    fn release_argument(&mut self, h: &Helper, p: &Proto, args: &Args) -> Check {
        let Some(n) = args.release else { return Ok(()) };
        let dynptr = p.args.get(n - 1).is_some_and(|a| matches!(a.kind, ArgKind::Dynptr(_)));
        let ok = if dynptr {
            let r = *self.reg(n);
            self.unmark_dynptr(&r)?;
            true
        } else if args.ref_id != 0 {
            self.release(args.ref_id)
        } else {
            self.reg(n).is_null()
        };
        if !ok {
            refuse!(Reference, "func {}#{} reference has not been acquired before", h.name, h.id);
        }
        Ok(())
    }

    /// Gives a reference up: every pointer of it is gone.
    pub(crate) fn release(&mut self, id: u32) -> bool {
        let before = self.cur.refs.len();
        self.cur.refs.retain(|r| !(r.id == id && r.kind == RefKind::Ptr));
        if self.cur.refs.len() == before {
            return false;
        }
        self.invalidate(id);
        true
    }

    /// Pointers of a reference are no longer valid.
    pub(crate) fn invalidate(&mut self, id: u32) {
        let leaks = self.leaks_allowed();
        self.cur.for_each_reg(
            |r| r.ref_id == id && !matches!(r.base, Base::DynptrSlot(..) | Base::IterSlot { .. }),
            |r| *r = if leaks { Reg::UNKNOWN } else { Reg::NOT_INIT },
        );
        self.drop_invalid_spills();
    }

    /// A new reference.
    pub(crate) fn acquire(&mut self) -> u32 {
        let id = self.new_id();
        self.cur.refs.push(Ref { id, insn: self.cur.insn, kind: RefKind::Ptr });
        id
    }

    /// Packet pointers, and slices of packets, are no longer valid.
    pub(crate) fn forget_packets(&mut self) {
        let leaks = self.leaks_allowed();
        self.cur.for_each_reg(
            |r| r.is_packet_any() || r.flags.any(Flags::DYN_SKB.with(Flags::DYN_XDP)),
            |r| *r = if leaks { Reg::UNKNOWN } else { Reg::NOT_INIT },
        );
        self.drop_invalid_spills();
    }

    fn drop_invalid_spills(&mut self) {
        use crate::state::Byte;
        for f in 0..self.cur.frames.len() {
            let hit = |s: &crate::state::Slot| s.is_spill() && s.reg.base == Base::NotInit;
            if self.cur.frames[f].stack.iter().any(hit) {
                let plain = |b| if b == Byte::Spill { Byte::Misc } else { b };
                self.cur.frame_at_mut(f).stack.change(|_, s| hit(s), |_, s| s.bytes = s.bytes.map(plain));
            }
        }
    }

    /// Rules of single helpers, before the result.
    fn before(&mut self, h: &Helper, p: &Proto, args: &mut Args) -> Check {
        if h.tail_call {
            self.no_resources("tail_call", true)?;
            self.constant_slot(args)?;
            if let Some((m, _)) = args.map {
                self.one_program_array(m)?;
            }
        }
        if p.ret == RetType::DynptrMemOrNull {
            let r = *self.reg(1);
            (args.dynptr_id, args.ref_id) = self.dynptr_ids(&r);
        }
        match h.rule {
            Rule::ZeroArg(n) => {
                let n = n as usize + 1;
                if !self.reg(n).is_null() {
                    let name = h.name.strip_prefix("bpf_").unwrap_or(h.name);
                    refuse!(ArgumentRange, "{name}() doesn't support non-zero flags");
                }
                self.precise(n)?;
            }
            Rule::MapValueArg(n) if !matches!(self.reg(n as usize + 1).base, Base::MapValue(_)) => {
                let have = self.reg(n as usize + 1).type_name();
                refuse!(Dynptr, "Unsupported reg type {have} for {} data", h.name);
            }
            Rule::Format { size, .. } => self.format(size as usize + 1)?,
            _ => {}
        }
        Ok(())
    }

    /// Calls back: the callback is walked as a branch of its own.
    fn callback(&mut self, h: &Helper, args: &Args) -> Check<Option<Flow>> {
        match h.callback {
            Callback::None => Ok(None),
            Callback::Async { params, .. } => {
                let Some(f) = args.func else { return Ok(None) };
                self.async_callback(f, params, 1, false)?;
                Ok(None)
            }
            Callback::Sync { params, .. } => {
                let Some(f) = args.func else { return Ok(None) };
                if params == CallbackParams::Index {
                    self.precise(1)?;
                    let limit = self.reg(1).val.r.umax;
                    if self.cur.frame().callback_depth as u64 >= limit {
                        self.cur.frame_mut().callback_depth = 0;
                        return Ok(None);
                    }
                }
                self.sync_callback(f, params)?;
                Ok(None)
            }
        }
    }

    fn result(&mut self, h: &Helper, p: &Proto, args: &Args) -> Check {
        let mut r = self.result_type(h, p, args)?;
        if r.maybe_null() {
            r.id = self.new_id();
        }
        let slice = p.ret == RetType::DynptrMemOrNull;
        if slice {
            r.origin = args.dynptr_id;
        }
        let acquires = match h.acquires {
            Acquires::No => false,
            Acquires::Yes => true,
            Acquires::ForMapTypes(types) => {
                args.map.is_some_and(|(m, _)| types.contains(&self.maps[m as usize].kind()))
            }
        };
        if slice || h.rule == Rule::Cast {
            r.ref_id = args.ref_id;
        } else if acquires {
            let id = self.acquire();
            (r.id, r.ref_id) = (id, id);
        }
        match h.rule {
            Rule::AtMostSize(_) => r = upto(args.size_max),
            Rule::Cpu { .. } if self.options.cpus > 0 => {
                r = Vm::number_in(0, self.options.cpus as i64 - 1);
            }
            _ => {}
        }
        self.set(0, r);
        Ok(())
    }

    fn result_type(&mut self, h: &Helper, p: &Proto, args: &Args) -> Check<Reg> {
        let null = |yes: bool| if yes { Flags::MAYBE_NULL } else { Flags::NONE };
        Ok(match p.ret {
            RetType::Integer => Reg::UNKNOWN,
            RetType::Void => Reg::NOT_INIT,
            RetType::MapValue { nullable } => {
                let Some((m, uid)) = args.map else { refuse!(Internal, "no map to look up in") };
                let certain = h.rule == Rule::LooksUp && self.certain_key(m, args.key);
                let mut r = Reg::flagged(Base::MapValue(m), null(nullable && !certain));
                r.origin = uid;
                if !r.maybe_null() && self.maps[m as usize].field(crate::maps::FieldKind::SpinLock).is_some()
                {
                    r.id = self.new_id();
                }
                r
            }
            RetType::SocketOrNull => Reg::flagged(Base::Socket, Flags::MAYBE_NULL),
            RetType::SockCommonOrNull => Reg::flagged(Base::SockCommon, Flags::MAYBE_NULL),
            RetType::TcpSockOrNull => Reg::flagged(Base::TcpSock, Flags::MAYBE_NULL),
            RetType::RingbufMemOrNull => {
                Reg::flagged(Base::Mem(args.mem_size as u32), Flags::MAYBE_NULL.with(Flags::RINGBUF))
            }
            RetType::DynptrMemOrNull => {
                let kind = args.dynptr.map_or(Flags::NONE, Vm::dynptr_flags);
                Reg::flagged(Base::Mem(args.mem_size as u32), Flags::MAYBE_NULL.with(kind))
            }
            RetType::MemOrBtfId { nullable } => self.percpu_result(args, nullable)?,
            RetType::BtfId { name: "", nullable, .. } => self.kptr_result(args, nullable)?,
            RetType::BtfId { name, nullable, trusted } => {
                let Some(t) = self.kernel_type(name) else {
                    refuse!(NotYet, "{}'s result needs the kernel's BTF", h.name);
                };
                let t1 = if trusted { Flags::TRUSTED } else { Flags::NONE };
                Reg::flagged(Base::Btf(t), null(nullable).with(t1))
            }
        })
    }

    /// Reading a constant key off the stack (`get_constant_map_key`).
    fn constant_key(&self, n: usize, m: u16) -> Option<(u64, Option<Place>)> {
        let map = &self.maps[m as usize];
        if map.kind() != MapType::Array && map.kind() != MapType::PercpuArray {
            return None;
        }
        let r = self.reg(n);
        let Base::Stack(f) = r.base else { return None };
        let off = r.off as i64 + r.val.as_const()? as i64;
        if off % 4 != 0 || off >= 0 {
            return None;
        }
        let (spi, byte) = crate::state::slot_of(off);
        let slot = self.cur.frames[f as usize].stack.get(spi)?;
        let bytes = slot.bytes.get(byte.checked_sub(3)?..=byte)?;
        // A spill must be of the key's own size.
        let longer = byte > 3 && slot.bytes[byte - 4] == crate::state::Byte::Spill;
        if bytes.iter().all(|b| *b == crate::state::Byte::Zero) {
            return Some((0, None));
        }
        let spilled = !longer
            && slot.is_scalar_spill()
            && off % 8 == 0
            && bytes.iter().all(|b| *b == crate::state::Byte::Spill);
        let place = Place { frame: f, index: spi as u8, slot: true };
        if spilled { slot.reg.val.sub_const().map(|k| (k, Some(place))) } else { None }
    }

    /// The constant key of a look-up that cannot fail.
    fn certain_lookup(&self, args: &Args) -> Option<u32> {
        let (m, _) = args.map?;
        let (key, _) = args.key.filter(|_| self.certain_key(m, args.key))?;
        u32::try_from(key).ok()
    }

    /// A tail call into a slot known beforehand is compiled as one: the slot matters (`record_func_key`).
    fn constant_slot(&mut self, args: &Args) -> Check {
        let Some((m, _)) = args.map else { return Ok(()) };
        let entries = self.maps[m as usize].def.max_entries;
        match self.reg(3).val.as_const() {
            Some(slot) if slot < entries.into() => self.precise(3),
            _ => Ok(()),
        }
    }

    fn certain_key(&self, m: u16, key: Option<(u64, Option<Place>)>) -> bool {
        let map = &self.maps[m as usize];
        let array = matches!(map.kind(), MapType::Array | MapType::PercpuArray);
        array && map.inner.is_none() && key.is_some_and(|(k, _)| k < map.def.max_entries as u64)
    }
}

/// An error number, or up to a size.
fn upto(max: u64) -> Reg {
    let mut s = Scalar::UNKNOWN;
    s.r.clamp_s(-4095, max as i64);
    s.sub.clamp_s(-4095, (max as u32) as i32 as i64);
    s.sync();
    Reg::scalar(s)
}

impl Vm<'_> {
    /// Arguments of a printing helper: their size is in register `n`.
    fn format(&mut self, n: usize) -> Check {
        let size = self.reg(n).val.as_const();
        let Some(size) = size else { return Ok(()) };
        if size % 8 != 0 {
            return Err(Reject::new(Broken::ArgumentRange, "invalid format arguments size"));
        }
        Ok(())
    }
}
