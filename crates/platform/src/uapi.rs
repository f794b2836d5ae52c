//! The UAPI's enumerations: program, map and attach types with their numbers and names (include/uapi/linux/bpf.h).
//!
//! Only identities stand here; what a type *is* stands in its row: program types in `hooks`, map types in `maps`.

/// `enum bpf_prog_type`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u32)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum ProgType {
    Unspec = 0,
    SocketFilter = 1,
    Kprobe = 2,
    SchedCls = 3,
    SchedAct = 4,
    Tracepoint = 5,
    Xdp = 6,
    PerfEvent = 7,
    CgroupSkb = 8,
    CgroupSock = 9,
    LwtIn = 10,
    LwtOut = 11,
    LwtXmit = 12,
    SockOps = 13,
    SkSkb = 14,
    CgroupDevice = 15,
    SkMsg = 16,
    RawTracepoint = 17,
    CgroupSockAddr = 18,
    LwtSeg6local = 19,
    LircMode2 = 20,
    SkReuseport = 21,
    FlowDissector = 22,
    CgroupSysctl = 23,
    RawTracepointWritable = 24,
    CgroupSockopt = 25,
    Tracing = 26,
    StructOps = 27,
    Ext = 28,
    Lsm = 29,
    SkLookup = 30,
    Syscall = 31,
    Netfilter = 32,
}

impl ProgType {
    /// Every value with its UAPI name, in the order of the UAPI enumeration.
    pub const ALL: &'static [(ProgType, &'static str)] = {
        static ROWS: [(ProgType, &str); 33] = [
            (ProgType::Unspec, "BPF_PROG_TYPE_UNSPEC"),
            (ProgType::SocketFilter, "BPF_PROG_TYPE_SOCKET_FILTER"),
            (ProgType::Kprobe, "BPF_PROG_TYPE_KPROBE"),
            (ProgType::SchedCls, "BPF_PROG_TYPE_SCHED_CLS"),
            (ProgType::SchedAct, "BPF_PROG_TYPE_SCHED_ACT"),
            (ProgType::Tracepoint, "BPF_PROG_TYPE_TRACEPOINT"),
            (ProgType::Xdp, "BPF_PROG_TYPE_XDP"),
            (ProgType::PerfEvent, "BPF_PROG_TYPE_PERF_EVENT"),
            (ProgType::CgroupSkb, "BPF_PROG_TYPE_CGROUP_SKB"),
            (ProgType::CgroupSock, "BPF_PROG_TYPE_CGROUP_SOCK"),
            (ProgType::LwtIn, "BPF_PROG_TYPE_LWT_IN"),
            (ProgType::LwtOut, "BPF_PROG_TYPE_LWT_OUT"),
            (ProgType::LwtXmit, "BPF_PROG_TYPE_LWT_XMIT"),
            (ProgType::SockOps, "BPF_PROG_TYPE_SOCK_OPS"),
            (ProgType::SkSkb, "BPF_PROG_TYPE_SK_SKB"),
            (ProgType::CgroupDevice, "BPF_PROG_TYPE_CGROUP_DEVICE"),
            (ProgType::SkMsg, "BPF_PROG_TYPE_SK_MSG"),
            (ProgType::RawTracepoint, "BPF_PROG_TYPE_RAW_TRACEPOINT"),
            (ProgType::CgroupSockAddr, "BPF_PROG_TYPE_CGROUP_SOCK_ADDR"),
            (ProgType::LwtSeg6local, "BPF_PROG_TYPE_LWT_SEG6LOCAL"),
            (ProgType::LircMode2, "BPF_PROG_TYPE_LIRC_MODE2"),
            (ProgType::SkReuseport, "BPF_PROG_TYPE_SK_REUSEPORT"),
            (ProgType::FlowDissector, "BPF_PROG_TYPE_FLOW_DISSECTOR"),
            (ProgType::CgroupSysctl, "BPF_PROG_TYPE_CGROUP_SYSCTL"),
            (ProgType::RawTracepointWritable, "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE"),
            (ProgType::CgroupSockopt, "BPF_PROG_TYPE_CGROUP_SOCKOPT"),
            (ProgType::Tracing, "BPF_PROG_TYPE_TRACING"),
            (ProgType::StructOps, "BPF_PROG_TYPE_STRUCT_OPS"),
            (ProgType::Ext, "BPF_PROG_TYPE_EXT"),
            (ProgType::Lsm, "BPF_PROG_TYPE_LSM"),
            (ProgType::SkLookup, "BPF_PROG_TYPE_SK_LOOKUP"),
            (ProgType::Syscall, "BPF_PROG_TYPE_SYSCALL"),
            (ProgType::Netfilter, "BPF_PROG_TYPE_NETFILTER"),
        ];
        &ROWS
    };

    /// The value with this UAPI number. Cost: a scan of the table.
    pub fn from_id(id: u32) -> Option<ProgType> {
        Self::ALL.iter().map(|(v, _)| *v).find(|v| *v as u32 == id)
    }

    /// Its UAPI number.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// Its UAPI name, such as `BPF_PROG_TYPE_SOCKET_FILTER`.
    pub fn uapi_name(self) -> &'static str {
        Self::ALL.iter().find(|(v, _)| *v == self).map_or("", |(_, n)| n)
    }

    /// The value with this UAPI name.
    pub fn from_uapi_name(name: &str) -> Option<ProgType> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(v, _)| *v)
    }
}

/// `enum bpf_map_type`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u32)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum MapType {
    Unspec = 0,
    Hash = 1,
    Array = 2,
    ProgArray = 3,
    PerfEventArray = 4,
    PercpuHash = 5,
    PercpuArray = 6,
    StackTrace = 7,
    CgroupArray = 8,
    LruHash = 9,
    LruPercpuHash = 10,
    LpmTrie = 11,
    ArrayOfMaps = 12,
    HashOfMaps = 13,
    Devmap = 14,
    Sockmap = 15,
    Cpumap = 16,
    Xskmap = 17,
    Sockhash = 18,
    CgroupStorage = 19,
    ReuseportSockarray = 20,
    PercpuCgroupStorage = 21,
    Queue = 22,
    Stack = 23,
    SkStorage = 24,
    DevmapHash = 25,
    StructOps = 26,
    Ringbuf = 27,
    InodeStorage = 28,
    TaskStorage = 29,
    BloomFilter = 30,
    UserRingbuf = 31,
    CgrpStorage = 32,
    Arena = 33,
}

impl MapType {
    /// Every value with its UAPI name, in the order of the UAPI enumeration.
    pub const ALL: &'static [(MapType, &'static str)] = {
        static ROWS: [(MapType, &str); 34] = [
            (MapType::Unspec, "BPF_MAP_TYPE_UNSPEC"),
            (MapType::Hash, "BPF_MAP_TYPE_HASH"),
            (MapType::Array, "BPF_MAP_TYPE_ARRAY"),
            (MapType::ProgArray, "BPF_MAP_TYPE_PROG_ARRAY"),
            (MapType::PerfEventArray, "BPF_MAP_TYPE_PERF_EVENT_ARRAY"),
            (MapType::PercpuHash, "BPF_MAP_TYPE_PERCPU_HASH"),
            (MapType::PercpuArray, "BPF_MAP_TYPE_PERCPU_ARRAY"),
            (MapType::StackTrace, "BPF_MAP_TYPE_STACK_TRACE"),
            (MapType::CgroupArray, "BPF_MAP_TYPE_CGROUP_ARRAY"),
            (MapType::LruHash, "BPF_MAP_TYPE_LRU_HASH"),
            (MapType::LruPercpuHash, "BPF_MAP_TYPE_LRU_PERCPU_HASH"),
            (MapType::LpmTrie, "BPF_MAP_TYPE_LPM_TRIE"),
            (MapType::ArrayOfMaps, "BPF_MAP_TYPE_ARRAY_OF_MAPS"),
            (MapType::HashOfMaps, "BPF_MAP_TYPE_HASH_OF_MAPS"),
            (MapType::Devmap, "BPF_MAP_TYPE_DEVMAP"),
            (MapType::Sockmap, "BPF_MAP_TYPE_SOCKMAP"),
            (MapType::Cpumap, "BPF_MAP_TYPE_CPUMAP"),
            (MapType::Xskmap, "BPF_MAP_TYPE_XSKMAP"),
            (MapType::Sockhash, "BPF_MAP_TYPE_SOCKHASH"),
            (MapType::CgroupStorage, "BPF_MAP_TYPE_CGROUP_STORAGE"),
            (MapType::ReuseportSockarray, "BPF_MAP_TYPE_REUSEPORT_SOCKARRAY"),
            (MapType::PercpuCgroupStorage, "BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE"),
            (MapType::Queue, "BPF_MAP_TYPE_QUEUE"),
            (MapType::Stack, "BPF_MAP_TYPE_STACK"),
            (MapType::SkStorage, "BPF_MAP_TYPE_SK_STORAGE"),
            (MapType::DevmapHash, "BPF_MAP_TYPE_DEVMAP_HASH"),
            (MapType::StructOps, "BPF_MAP_TYPE_STRUCT_OPS"),
            (MapType::Ringbuf, "BPF_MAP_TYPE_RINGBUF"),
            (MapType::InodeStorage, "BPF_MAP_TYPE_INODE_STORAGE"),
            (MapType::TaskStorage, "BPF_MAP_TYPE_TASK_STORAGE"),
            (MapType::BloomFilter, "BPF_MAP_TYPE_BLOOM_FILTER"),
            (MapType::UserRingbuf, "BPF_MAP_TYPE_USER_RINGBUF"),
            (MapType::CgrpStorage, "BPF_MAP_TYPE_CGRP_STORAGE"),
            (MapType::Arena, "BPF_MAP_TYPE_ARENA"),
        ];
        &ROWS
    };

    /// The value with this UAPI number. Cost: a scan of the table.
    pub fn from_id(id: u32) -> Option<MapType> {
        Self::ALL.iter().map(|(v, _)| *v).find(|v| *v as u32 == id)
    }

    /// Its UAPI number.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// Its UAPI name, such as `BPF_MAP_TYPE_HASH`.
    pub fn uapi_name(self) -> &'static str {
        Self::ALL.iter().find(|(v, _)| *v == self).map_or("", |(_, n)| n)
    }

    /// The value with this UAPI name.
    pub fn from_uapi_name(name: &str) -> Option<MapType> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(v, _)| *v)
    }
}

/// `enum bpf_attach_type`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u32)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum AttachType {
    CgroupInetIngress = 0,
    CgroupInetEgress = 1,
    CgroupInetSockCreate = 2,
    CgroupSockOps = 3,
    SkSkbStreamParser = 4,
    SkSkbStreamVerdict = 5,
    CgroupDevice = 6,
    SkMsgVerdict = 7,
    CgroupInet4Bind = 8,
    CgroupInet6Bind = 9,
    CgroupInet4Connect = 10,
    CgroupInet6Connect = 11,
    CgroupInet4PostBind = 12,
    CgroupInet6PostBind = 13,
    CgroupUdp4Sendmsg = 14,
    CgroupUdp6Sendmsg = 15,
    LircMode2 = 16,
    FlowDissector = 17,
    CgroupSysctl = 18,
    CgroupUdp4Recvmsg = 19,
    CgroupUdp6Recvmsg = 20,
    CgroupGetsockopt = 21,
    CgroupSetsockopt = 22,
    TraceRawTp = 23,
    TraceFentry = 24,
    TraceFexit = 25,
    ModifyReturn = 26,
    LsmMac = 27,
    TraceIter = 28,
    CgroupInet4Getpeername = 29,
    CgroupInet6Getpeername = 30,
    CgroupInet4Getsockname = 31,
    CgroupInet6Getsockname = 32,
    XdpDevmap = 33,
    CgroupInetSockRelease = 34,
    XdpCpumap = 35,
    SkLookup = 36,
    Xdp = 37,
    SkSkbVerdict = 38,
    SkReuseportSelect = 39,
    SkReuseportSelectOrMigrate = 40,
    PerfEvent = 41,
    TraceKprobeMulti = 42,
    LsmCgroup = 43,
    StructOps = 44,
    Netfilter = 45,
    TcxIngress = 46,
    TcxEgress = 47,
    TraceUprobeMulti = 48,
    CgroupUnixConnect = 49,
    CgroupUnixSendmsg = 50,
    CgroupUnixRecvmsg = 51,
    CgroupUnixGetpeername = 52,
    CgroupUnixGetsockname = 53,
    NetkitPrimary = 54,
    NetkitPeer = 55,
    TraceKprobeSession = 56,
    TraceUprobeSession = 57,
    TraceFsession = 58,
    TraceFentryMulti = 59,
    TraceFexitMulti = 60,
    TraceFsessionMulti = 61,
}

impl AttachType {
    /// Every value with its UAPI name, in the order of the UAPI enumeration.
    pub const ALL: &'static [(AttachType, &'static str)] = {
        static ROWS: [(AttachType, &str); 62] = [
            (AttachType::CgroupInetIngress, "BPF_CGROUP_INET_INGRESS"),
            (AttachType::CgroupInetEgress, "BPF_CGROUP_INET_EGRESS"),
            (AttachType::CgroupInetSockCreate, "BPF_CGROUP_INET_SOCK_CREATE"),
            (AttachType::CgroupSockOps, "BPF_CGROUP_SOCK_OPS"),
            (AttachType::SkSkbStreamParser, "BPF_SK_SKB_STREAM_PARSER"),
            (AttachType::SkSkbStreamVerdict, "BPF_SK_SKB_STREAM_VERDICT"),
            (AttachType::CgroupDevice, "BPF_CGROUP_DEVICE"),
            (AttachType::SkMsgVerdict, "BPF_SK_MSG_VERDICT"),
            (AttachType::CgroupInet4Bind, "BPF_CGROUP_INET4_BIND"),
            (AttachType::CgroupInet6Bind, "BPF_CGROUP_INET6_BIND"),
            (AttachType::CgroupInet4Connect, "BPF_CGROUP_INET4_CONNECT"),
            (AttachType::CgroupInet6Connect, "BPF_CGROUP_INET6_CONNECT"),
            (AttachType::CgroupInet4PostBind, "BPF_CGROUP_INET4_POST_BIND"),
            (AttachType::CgroupInet6PostBind, "BPF_CGROUP_INET6_POST_BIND"),
            (AttachType::CgroupUdp4Sendmsg, "BPF_CGROUP_UDP4_SENDMSG"),
            (AttachType::CgroupUdp6Sendmsg, "BPF_CGROUP_UDP6_SENDMSG"),
            (AttachType::LircMode2, "BPF_LIRC_MODE2"),
            (AttachType::FlowDissector, "BPF_FLOW_DISSECTOR"),
            (AttachType::CgroupSysctl, "BPF_CGROUP_SYSCTL"),
            (AttachType::CgroupUdp4Recvmsg, "BPF_CGROUP_UDP4_RECVMSG"),
            (AttachType::CgroupUdp6Recvmsg, "BPF_CGROUP_UDP6_RECVMSG"),
            (AttachType::CgroupGetsockopt, "BPF_CGROUP_GETSOCKOPT"),
            (AttachType::CgroupSetsockopt, "BPF_CGROUP_SETSOCKOPT"),
            (AttachType::TraceRawTp, "BPF_TRACE_RAW_TP"),
            (AttachType::TraceFentry, "BPF_TRACE_FENTRY"),
            (AttachType::TraceFexit, "BPF_TRACE_FEXIT"),
            (AttachType::ModifyReturn, "BPF_MODIFY_RETURN"),
            (AttachType::LsmMac, "BPF_LSM_MAC"),
            (AttachType::TraceIter, "BPF_TRACE_ITER"),
            (AttachType::CgroupInet4Getpeername, "BPF_CGROUP_INET4_GETPEERNAME"),
            (AttachType::CgroupInet6Getpeername, "BPF_CGROUP_INET6_GETPEERNAME"),
            (AttachType::CgroupInet4Getsockname, "BPF_CGROUP_INET4_GETSOCKNAME"),
            (AttachType::CgroupInet6Getsockname, "BPF_CGROUP_INET6_GETSOCKNAME"),
            (AttachType::XdpDevmap, "BPF_XDP_DEVMAP"),
            (AttachType::CgroupInetSockRelease, "BPF_CGROUP_INET_SOCK_RELEASE"),
            (AttachType::XdpCpumap, "BPF_XDP_CPUMAP"),
            (AttachType::SkLookup, "BPF_SK_LOOKUP"),
            (AttachType::Xdp, "BPF_XDP"),
            (AttachType::SkSkbVerdict, "BPF_SK_SKB_VERDICT"),
            (AttachType::SkReuseportSelect, "BPF_SK_REUSEPORT_SELECT"),
            (AttachType::SkReuseportSelectOrMigrate, "BPF_SK_REUSEPORT_SELECT_OR_MIGRATE"),
            (AttachType::PerfEvent, "BPF_PERF_EVENT"),
            (AttachType::TraceKprobeMulti, "BPF_TRACE_KPROBE_MULTI"),
            (AttachType::LsmCgroup, "BPF_LSM_CGROUP"),
            (AttachType::StructOps, "BPF_STRUCT_OPS"),
            (AttachType::Netfilter, "BPF_NETFILTER"),
            (AttachType::TcxIngress, "BPF_TCX_INGRESS"),
            (AttachType::TcxEgress, "BPF_TCX_EGRESS"),
            (AttachType::TraceUprobeMulti, "BPF_TRACE_UPROBE_MULTI"),
            (AttachType::CgroupUnixConnect, "BPF_CGROUP_UNIX_CONNECT"),
            (AttachType::CgroupUnixSendmsg, "BPF_CGROUP_UNIX_SENDMSG"),
            (AttachType::CgroupUnixRecvmsg, "BPF_CGROUP_UNIX_RECVMSG"),
            (AttachType::CgroupUnixGetpeername, "BPF_CGROUP_UNIX_GETPEERNAME"),
            (AttachType::CgroupUnixGetsockname, "BPF_CGROUP_UNIX_GETSOCKNAME"),
            (AttachType::NetkitPrimary, "BPF_NETKIT_PRIMARY"),
            (AttachType::NetkitPeer, "BPF_NETKIT_PEER"),
            (AttachType::TraceKprobeSession, "BPF_TRACE_KPROBE_SESSION"),
            (AttachType::TraceUprobeSession, "BPF_TRACE_UPROBE_SESSION"),
            (AttachType::TraceFsession, "BPF_TRACE_FSESSION"),
            (AttachType::TraceFentryMulti, "BPF_TRACE_FENTRY_MULTI"),
            (AttachType::TraceFexitMulti, "BPF_TRACE_FEXIT_MULTI"),
            (AttachType::TraceFsessionMulti, "BPF_TRACE_FSESSION_MULTI"),
        ];
        &ROWS
    };

    /// The value with this UAPI number. Cost: a scan of the table.
    pub fn from_id(id: u32) -> Option<AttachType> {
        Self::ALL.iter().map(|(v, _)| *v).find(|v| *v as u32 == id)
    }

    /// Its UAPI number.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// Its UAPI name, such as `BPF_CGROUP_INET_EGRESS`.
    pub fn uapi_name(self) -> &'static str {
        Self::ALL.iter().find(|(v, _)| *v == self).map_or("", |(_, n)| n)
    }

    /// The value with this UAPI name.
    pub fn from_uapi_name(name: &str) -> Option<AttachType> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(v, _)| *v)
    }
}

impl ProgType {
    /// bpftool's word for it: `xdp`, `sched_cls`, `socket_filter`.
    pub fn label(self) -> String {
        label(self.uapi_name(), "BPF_PROG_TYPE_")
    }
}

impl MapType {
    /// bpftool's word for it: `hash`, `lpm_trie`, `percpu_array`.
    pub fn label(self) -> String {
        label(self.uapi_name(), "BPF_MAP_TYPE_")
    }
}

impl AttachType {
    /// The name that libbpf and bpftool print: `cgroup_inet_ingress`.
    pub fn label(self) -> String {
        let name = AttachType::ALL.iter().find(|(t, _)| *t == self).map_or("", |(_, name)| *name);
        label(name, "BPF_")
    }
}

fn label(uapi: &str, prefix: &str) -> String {
    uapi.strip_prefix(prefix).unwrap_or(uapi).to_ascii_lowercase()
}
