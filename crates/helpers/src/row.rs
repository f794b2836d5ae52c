//! The form of a row, and the shorthands that rows use: who may call, what the arguments are, what comes back.
//!
//! A shorthand names several descriptor fields at once; it hides none, because [`helper!`] takes no row that leaves a
//! field out. Names of arguments follow `enum bpf_arg_type`: `MEM` is `ARG_PTR_TO_MEM`, `RO_` is `MEM_RDONLY`,
//! `UNINIT_` is `MEM_UNINIT` and written, `_RELEASE` is `OBJ_RELEASE`. A buffer that a helper only writes is `UNINIT_`
//! also where the kernel leaves that flag out and the helper needs `CAP_PERFMON`, with which it does not matter.

pub(crate) use crate::absent;
pub(crate) use skep_platform::env::Ask;
pub(crate) use skep_platform::helper::{
    Acquires, Callback, CallbackParams, Capability, DynptrKind, Fast, LockEffect, Rule,
};
pub(crate) use skep_platform::map::MapOp;
pub(crate) use skep_platform::uapi::AttachType as A;
pub(crate) use skep_platform::uapi::ProgType as P;
pub(crate) use skep_platform::{Arg, ArgKind, Body, Env, Errno, Fault, Helper, MapType, Proto, Ret, Version};

/// What a body returns.
pub(crate) type Outcome = Result<Ret, Fault>;

/// One helper: `helper! { bpf_name = number, since: (major, minor), … }` with every field of [`Helper`] and [`Proto`].
macro_rules! helper {
    (
        $name:ident = $id:literal, since: ($maj:literal, $min:literal),
        signature: $sig:literal,
        doc: $doc:literal,
        protos: [$({
            who: $who:expr, since: ($pmaj:literal, $pmin:literal),
            args: [$($arg:expr),*], ret: $ret:expr,
            gpl_only: $gpl:literal, pkt_access: $pkt:literal, might_sleep: $sleep:literal, capability: $cap:expr
        },)+],
        invalidates_packet: $inv:literal, acquires: $acq:expr, lock: $lock:expr,
        callback: $callback:expr, tail_call: $tail:literal,
        map_types: $maps:expr, rule: $rule:expr,
        $(fast: $fast:expr,)?
        body: $body:expr,
    ) => {
        #[allow(non_upper_case_globals, reason = "a row is named as its helper")]
        static $name: Helper = Helper {
            id: $id,
            name: stringify!($name),
            signature: $sig,
            doc: $doc,
            since: Version($maj, $min),
            protos: &[$(Proto {
                prog_types: $who.types,
                attach_types: $who.attach,
                struct_ops: $who.struct_ops,
                sleepable: $who.sleepable,
                args: &[$($arg),*],
                ret: $ret,
                gpl_only: $gpl,
                pkt_access: $pkt,
                might_sleep: $sleep,
                since: Version($pmaj, $pmin),
                capability: $cap,
            }),+],
            invalidates_packet: $inv,
            acquires: $acq,
            lock: $lock,
            callback: $callback,
            tail_call: $tail,
            map_types: $maps,
            rule: $rule,
            fast: helper!(@fast $($fast)?),
            body: $body,
        };
    };
    (@fast $fast:expr) => { $fast };
    (@fast) => { Fast::None };
}

/// Who may call.
#[derive(Clone, Copy)]
pub(crate) struct Who {
    pub(crate) types: &'static [P],
    pub(crate) attach: &'static [A],
    pub(crate) struct_ops: &'static [&'static str],
    pub(crate) sleepable: Option<bool>,
}

/// Programs of these types.
pub(crate) const fn who(types: &'static [P]) -> Who {
    Who { types, attach: &[], struct_ops: &[], sleepable: None }
}

impl Who {
    /// Only with these attach types.
    pub(crate) const fn attached(mut self, attach: &'static [A]) -> Who {
        self.attach = attach;
        self
    }

    /// Of `StructOps`, only members of these structures.
    pub(crate) const fn struct_ops(mut self, names: &'static [&'static str]) -> Who {
        self.struct_ops = names;
        self
    }

    /// Only those loaded as sleepable, or only the others.
    pub(crate) const fn sleepable(mut self, yes: bool) -> Who {
        self.sleepable = Some(yes);
        self
    }
}

/// Every program type.
pub(crate) const ALL: Who = who(&[
    P::SocketFilter,
    P::Kprobe,
    P::SchedCls,
    P::SchedAct,
    P::Tracepoint,
    P::Xdp,
    P::PerfEvent,
    P::CgroupSkb,
    P::CgroupSock,
    P::LwtIn,
    P::LwtOut,
    P::LwtXmit,
    P::SockOps,
    P::SkSkb,
    P::CgroupDevice,
    P::SkMsg,
    P::RawTracepoint,
    P::CgroupSockAddr,
    P::LwtSeg6local,
    P::LircMode2,
    P::SkReuseport,
    P::FlowDissector,
    P::CgroupSysctl,
    P::RawTracepointWritable,
    P::CgroupSockopt,
    P::Tracing,
    P::StructOps,
    P::Lsm,
    P::SkLookup,
    P::Syscall,
    P::Netfilter,
])
.struct_ops(&["hid_bpf_ops", "sched_ext_ops", "tcp_congestion_ops"]);
/// Every program type but infrared decoders.
pub(crate) const BASE: Who = who(&[
    P::SocketFilter,
    P::Kprobe,
    P::SchedCls,
    P::SchedAct,
    P::Tracepoint,
    P::Xdp,
    P::PerfEvent,
    P::CgroupSkb,
    P::CgroupSock,
    P::LwtIn,
    P::LwtOut,
    P::LwtXmit,
    P::SockOps,
    P::SkSkb,
    P::CgroupDevice,
    P::SkMsg,
    P::RawTracepoint,
    P::CgroupSockAddr,
    P::LwtSeg6local,
    P::SkReuseport,
    P::FlowDissector,
    P::CgroupSysctl,
    P::RawTracepointWritable,
    P::CgroupSockopt,
    P::Tracing,
    P::StructOps,
    P::Lsm,
    P::SkLookup,
    P::Syscall,
    P::Netfilter,
])
.struct_ops(&["hid_bpf_ops", "sched_ext_ops", "tcp_congestion_ops"]);
/// Programs that observe the kernel.
pub(crate) const TRACERS: Who = who(&[
    P::Kprobe,
    P::Tracepoint,
    P::PerfEvent,
    P::RawTracepoint,
    P::RawTracepointWritable,
    P::Tracing,
    P::Lsm,
    P::Syscall,
]);
/// `BASE` without the observers.
pub(crate) const NOT_TRACERS: Who = who(&[
    P::SocketFilter,
    P::SchedCls,
    P::SchedAct,
    P::Xdp,
    P::CgroupSkb,
    P::CgroupSock,
    P::LwtIn,
    P::LwtOut,
    P::LwtXmit,
    P::SockOps,
    P::SkSkb,
    P::CgroupDevice,
    P::SkMsg,
    P::CgroupSockAddr,
    P::LwtSeg6local,
    P::SkReuseport,
    P::FlowDissector,
    P::CgroupSysctl,
    P::CgroupSockopt,
    P::StructOps,
    P::SkLookup,
    P::Netfilter,
])
.struct_ops(&["hid_bpf_ops", "sched_ext_ops", "tcp_congestion_ops"]);
/// `NOT_TRACERS` without schedulers.
pub(crate) const NOT_TRACERS_NOR_SCX: Who = who(&[
    P::SocketFilter,
    P::SchedCls,
    P::SchedAct,
    P::Xdp,
    P::CgroupSkb,
    P::CgroupSock,
    P::LwtIn,
    P::LwtOut,
    P::LwtXmit,
    P::SockOps,
    P::SkSkb,
    P::CgroupDevice,
    P::SkMsg,
    P::CgroupSockAddr,
    P::LwtSeg6local,
    P::SkReuseport,
    P::FlowDissector,
    P::CgroupSysctl,
    P::CgroupSockopt,
    P::StructOps,
    P::SkLookup,
    P::Netfilter,
])
.struct_ops(&["hid_bpf_ops", "tcp_congestion_ops"]);
/// Traffic control.
pub(crate) const TC: Who = who(&[P::SchedCls, P::SchedAct]);
/// Traffic control and XDP.
pub(crate) const TC_XDP: Who = who(&[P::SchedCls, P::SchedAct, P::Xdp]);
/// Traffic control and transmitting tunnels.
pub(crate) const TC_LWT_XMIT: Who = who(&[P::SchedCls, P::SchedAct, P::LwtXmit]);
/// Those and stream parsers.
pub(crate) const TC_LWT_XMIT_SK_SKB: Who = who(&[P::SchedCls, P::SchedAct, P::LwtXmit, P::SkSkb]);
/// Traffic control and all tunnels.
pub(crate) const TC_LWT: Who =
    who(&[P::SchedCls, P::SchedAct, P::LwtIn, P::LwtOut, P::LwtXmit, P::LwtSeg6local]);
/// Traffic control and cgroup packet filters.
pub(crate) const TC_CGROUP_SKB: Who = who(&[P::SchedCls, P::SchedAct, P::CgroupSkb]);
/// Network programs, and observers of trampolines.
pub(crate) const NET: Who = who(&[
    P::SocketFilter,
    P::SchedCls,
    P::SchedAct,
    P::Xdp,
    P::CgroupSkb,
    P::LwtIn,
    P::LwtOut,
    P::LwtXmit,
    P::SockOps,
    P::SkSkb,
    P::SkMsg,
    P::CgroupSockAddr,
    P::LwtSeg6local,
    P::FlowDissector,
    P::Tracing,
    P::Lsm,
    P::SkLookup,
    P::Syscall,
]);
/// Observers through trampolines, and system call programs.
pub(crate) const TRAMPOLINES: Who = who(&[P::Tracing, P::Lsm, P::Syscall]);
/// Programs that look sockets up.
pub(crate) const SK_LOOKUPS: Who = who(&[P::SchedCls, P::SchedAct, P::Xdp, P::CgroupSkb, P::SkSkb]);
pub(crate) const XDP: Who = who(&[P::Xdp]);
pub(crate) const SK_MSG: Who = who(&[P::SkMsg]);
pub(crate) const SOCK_OPS: Who = who(&[P::SockOps]);
pub(crate) const LSM: Who = who(&[P::Lsm]);
pub(crate) const KPROBE: Who = who(&[P::Kprobe]);
pub(crate) const CGROUP_SOCK_ADDR: Who = who(&[P::CgroupSockAddr]);
pub(crate) const CGROUP_SYSCTL: Who = who(&[P::CgroupSysctl]);
pub(crate) const TRACING: Who = who(&[P::Tracing]);
pub(crate) const SYSCALL: Who = who(&[P::Syscall]);
pub(crate) const PERF_EVENT: Who = who(&[P::PerfEvent]);
pub(crate) const LIRC_MODE2: Who = who(&[P::LircMode2]);
pub(crate) const LWT_SEG6LOCAL: Who = who(&[P::LwtSeg6local]);
pub(crate) const SK_SKB: Who = who(&[P::SkSkb]);
pub(crate) const CGROUP_SOCKOPT: Who = who(&[P::CgroupSockopt]);
pub(crate) const CGROUP_SKB: Who = who(&[P::CgroupSkb]);

pub(crate) const BPF: Option<Capability> = Some(Capability::Bpf);
pub(crate) const PERFMON: Option<Capability> = Some(Capability::Perfmon);

pub(crate) const ANY: Arg = Arg::new(ArgKind::Anything);
pub(crate) const SCALAR: Arg = Arg::new(ArgKind::Scalar);
pub(crate) const CTX: Arg = Arg::new(ArgKind::Ctx);
pub(crate) const CTX_OR_NULL: Arg = CTX.nullable();
pub(crate) const MAP: Arg = Arg::new(ArgKind::ConstMapPtr);
pub(crate) const KEY: Arg = Arg::new(ArgKind::MapKey);
pub(crate) const VALUE: Arg = Arg::new(ArgKind::MapValue);
pub(crate) const VALUE_OR_NULL: Arg = VALUE.nullable();
pub(crate) const UNINIT_VALUE: Arg = VALUE.uninit();
pub(crate) const MEM: Arg = Arg::new(ArgKind::Mem);
pub(crate) const OUT_MEM: Arg = MEM.write();
pub(crate) const RO_MEM: Arg = MEM.rdonly();
pub(crate) const RO_MEM_OR_NULL: Arg = RO_MEM.nullable();
pub(crate) const UNINIT_MEM: Arg = MEM.uninit();
pub(crate) const UNINIT_MEM_OR_NULL: Arg = UNINIT_MEM.nullable();
pub(crate) const SIZE: Arg = Arg::new(ArgKind::Size);
pub(crate) const SIZE_OR_ZERO: Arg = Arg::new(ArgKind::SizeOrZero);
pub(crate) const ALLOC_SIZE: Arg = Arg::new(ArgKind::AllocSizeOrZero);
pub(crate) const SOCK_COMMON: Arg = Arg::new(ArgKind::SockCommon);
pub(crate) const BTF_SOCK: Arg = Arg::new(ArgKind::BtfIdSockCommon);
pub(crate) const BTF_SOCK_OR_NULL: Arg = BTF_SOCK.nullable();
pub(crate) const BTF_SOCK_RELEASE: Arg = BTF_SOCK.release();
pub(crate) const SOCKET_OR_NULL: Arg = Arg::new(ArgKind::Socket).nullable();
pub(crate) const SPIN_LOCK: Arg = Arg::new(ArgKind::SpinLock);
pub(crate) const TIMER: Arg = Arg::new(ArgKind::Timer);
pub(crate) const FUNC: Arg = Arg::new(ArgKind::Func);
pub(crate) const STACK_OR_NULL: Arg = Arg::new(ArgKind::Stack).nullable();
pub(crate) const RINGBUF_RELEASE: Arg = Arg::new(ArgKind::RingbufMem).release();
pub(crate) const PERCPU: Arg = Arg::new(ArgKind::PercpuBtfId);
pub(crate) const CONST_STR: Arg = Arg::new(ArgKind::ConstStr);
pub(crate) const KPTR_SLOT: Arg = Arg::new(ArgKind::KptrXchgDest);
pub(crate) const KPTR_RELEASE: Arg = Arg::new(ArgKind::BtfId(&[])).nullable().release();
pub(crate) const DYNPTR: Arg = Arg::new(ArgKind::Dynptr(DynptrKind::Any)).rdonly();
pub(crate) const NEW_LOCAL_DYNPTR: Arg = Arg::new(ArgKind::Dynptr(DynptrKind::Local)).uninit();
pub(crate) const NEW_RINGBUF_DYNPTR: Arg = Arg::new(ArgKind::Dynptr(DynptrKind::Ringbuf)).uninit();
pub(crate) const RINGBUF_DYNPTR_RELEASE: Arg = Arg::new(ArgKind::Dynptr(DynptrKind::Ringbuf)).release();

/// Pointer to one of these kernel types.
pub(crate) const fn btf(names: &'static [&'static str]) -> Arg {
    Arg::new(ArgKind::BtfId(names))
}

/// Memory of this many bytes, only read.
pub(crate) const fn fixed(bytes: u32) -> Arg {
    Arg::new(ArgKind::FixedMem(bytes))
}

/// Aligned memory of this many bytes, only written.
pub(crate) const fn fixed_out(bytes: u32) -> Arg {
    fixed(bytes).uninit().aligned()
}

/// Aligned memory of this many bytes, read and written.
pub(crate) const fn fixed_inout(bytes: u32) -> Arg {
    fixed(bytes).write().aligned()
}

/// Maps of packets, CPUs and sockets to redirect to.
pub(crate) const REDIRECT_MAPS: &[MapType] =
    &[MapType::Devmap, MapType::DevmapHash, MapType::Cpumap, MapType::Xskmap];
pub(crate) const CGROUP_STORAGES: &[MapType] = &[MapType::CgroupStorage, MapType::PercpuCgroupStorage];
pub(crate) const REUSEPORT_MAPS: &[MapType] =
    &[MapType::ReuseportSockarray, MapType::Sockmap, MapType::Sockhash];
pub(crate) const PERCPU_MAPS: &[MapType] =
    &[MapType::PercpuArray, MapType::PercpuHash, MapType::LruPercpuHash];

/// What comes back.
pub(crate) mod ret {
    use skep_platform::RetType;

    pub(crate) const INTEGER: RetType = RetType::Integer;
    pub(crate) const VOID: RetType = RetType::Void;
    pub(crate) const VALUE: RetType = RetType::MapValue { nullable: false };
    pub(crate) const VALUE_OR_NULL: RetType = RetType::MapValue { nullable: true };
    pub(crate) const SOCKET_OR_NULL: RetType = RetType::SocketOrNull;
    pub(crate) const SOCK_COMMON_OR_NULL: RetType = RetType::SockCommonOrNull;
    pub(crate) const TCP_SOCK_OR_NULL: RetType = RetType::TcpSockOrNull;
    pub(crate) const RINGBUF_MEM_OR_NULL: RetType = RetType::RingbufMemOrNull;
    pub(crate) const DYNPTR_MEM_OR_NULL: RetType = RetType::DynptrMemOrNull;
    pub(crate) const PERCPU: RetType = RetType::MemOrBtfId { nullable: false };
    pub(crate) const PERCPU_OR_NULL: RetType = RetType::MemOrBtfId { nullable: true };
    pub(crate) const KPTR_OR_NULL: RetType = btf_or_null("");

    /// Pointer to a kernel type.
    pub(crate) const fn btf(name: &'static str) -> RetType {
        RetType::BtfId { name, nullable: false, trusted: false }
    }

    /// Pointer to a kernel type, or NULL.
    pub(crate) const fn btf_or_null(name: &'static str) -> RetType {
        RetType::BtfId { name, nullable: true, trusted: false }
    }

    /// Trusted pointer to a kernel type.
    pub(crate) const fn btf_trusted(name: &'static str) -> RetType {
        RetType::BtfId { name, nullable: false, trusted: true }
    }
}
