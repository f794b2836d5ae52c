//! What the door takes for attaching programs and for objects that exist in the kernel already.

use skep_platform::Errno;
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

/// Objects of the kernel that have ids.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum IdKind {
    /// Programs.
    Prog,
    /// Maps.
    Map,
    /// Types.
    Btf,
    /// Links.
    Link,
}

impl IdKind {
    /// bpftool's word for it.
    pub fn label(self) -> &'static str {
        match self {
            IdKind::Prog => "prog",
            IdKind::Map => "map",
            IdKind::Btf => "btf",
            IdKind::Link => "link",
        }
    }
}

/// Where a link goes.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Nowhere that has a descriptor or an index.
    None,
    /// A descriptor: of a cgroup, a network namespace, a perf event, a map.
    Fd(BorrowedFd<'a>),
    /// A network device.
    Ifindex(u32),
}

/// A place beside another program: `BPF_F_BEFORE`, `BPF_F_AFTER`, by a program's or link's id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Relative {
    /// Id of a program or link.
    pub id: u32,
    /// It is a link's.
    pub link: bool,
    /// In front of it rather than behind it.
    pub before: bool,
}

/// What is particular to a kind of link.
#[derive(Clone, Copy, Debug)]
pub enum LinkExtra<'a> {
    /// Nothing.
    None,
    /// fentry, fexit, fmod_ret, tp_btf, LSM: a cookie, and for freplace the function to replace.
    Tracing {
        /// Type id of the function in the target program; 0 for the one of the load.
        target_btf_id: u32,
        /// `bpf_get_attach_cookie`.
        cookie: u64,
    },
    /// An iterator's parameters, `union bpf_iter_link_info`.
    Iter(&'a [u8]),
    /// A perf event's cookie.
    PerfEvent(u64),
    /// Kernel functions by name.
    KprobeMulti {
        /// `BPF_F_KPROBE_MULTI_*`.
        flags: u32,
        /// Names.
        symbols: &'a [&'a CStr],
        /// One each, or none at all.
        cookies: &'a [u64],
    },
    /// Places in a file.
    UprobeMulti {
        /// The file.
        path: &'a CStr,
        /// Offsets in it.
        offsets: &'a [u64],
        /// Semaphores' offsets, one each or none at all.
        ref_ctrs: &'a [u64],
        /// One each, or none at all.
        cookies: &'a [u64],
        /// `BPF_F_UPROBE_MULTI_*`.
        flags: u32,
        /// Of this process only; 0 for all.
        pid: u32,
    },
    /// `NFPROTO_*`, hook, priority and `BPF_F_NETFILTER_*`.
    Netfilter {
        /// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
        pf: u32,
        /// `NF_INET_*`.
        hook: u32,
        /// Smaller ones run first.
        priority: i32,
        /// `BPF_F_NETFILTER_IP_DEFRAG`.
        flags: u32,
    },
    /// tcx, netkit and cgroups: beside another.
    Beside {
        /// Which.
        relative: Option<Relative>,
        /// Only if the hook is at this revision; 0 for any.
        revision: u64,
    },
}

/// `BPF_LINK_CREATE`.
#[derive(Clone, Copy, Debug)]
pub struct LinkCreate<'a> {
    /// The program; for struct_ops the map.
    pub prog: BorrowedFd<'a>,
    /// Where to.
    pub target: Target<'a>,
    /// `BPF_*` attach type.
    pub attach_type: u32,
    /// Flags of the link's kind.
    pub flags: u32,
    /// The rest.
    pub extra: LinkExtra<'a>,
}

/// `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`: attachments without a link.
#[derive(Clone, Copy, Debug)]
pub struct ProgAttach<'a> {
    /// Where to.
    pub target: Target<'a>,
    /// The program; on detaching it may be left out where the hook has one only.
    pub prog: Option<BorrowedFd<'a>>,
    /// `BPF_*` attach type.
    pub attach_type: u32,
    /// `BPF_F_*`.
    pub flags: u32,
}

/// What `BPF_PROG_QUERY` says of a hook.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attached {
    /// Ids of programs, in the order they run.
    pub progs: Vec<u32>,
    /// Ids of links, for tcx and netkit; 0 for programs without one.
    pub links: Vec<u32>,
    /// Flags each, where the hook has them.
    pub flags: Vec<u32>,
    /// Flags of the hook.
    pub attach_flags: u32,
    /// Counts up with every change; 0 where the hook has none.
    pub revision: u64,
}

/// A perf event to make (`struct perf_event_attr`, the fields used here).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PerfEvent<'a> {
    /// `PERF_TYPE_*` or a dynamic one.
    pub kind: u32,
    /// Event of that type.
    pub config: u64,
    /// Period or, with `freq`, times a second.
    pub sample: u64,
    /// `sample` is a frequency.
    pub freq: bool,
    /// `PERF_SAMPLE_*`.
    pub sample_type: u64,
    /// Wake the reader up after so many records.
    pub wakeup: u32,
    /// Name or path that a probe is on.
    pub name: Option<&'a CStr>,
    /// Offset of the probe.
    pub offset: u64,
    /// This process; -1 for all.
    pub pid: i32,
    /// This CPU; -1 for all.
    pub cpu: i32,
}

/// What `BPF_TASK_FD_QUERY` says of a perf event's descriptor.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TaskFd {
    /// Id of its program.
    pub prog: u32,
    /// `BPF_FD_TYPE_*`.
    pub kind: u32,
    /// Offset of a probe.
    pub offset: u64,
    /// Address of a probe.
    pub address: u64,
    /// Tracepoint, function or file.
    pub name: String,
}

/// Operations on many entries at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Batch {
    /// `BPF_MAP_LOOKUP_BATCH`.
    Lookup,
    /// `BPF_MAP_LOOKUP_AND_DELETE_BATCH`.
    LookupAndDelete,
    /// `BPF_MAP_UPDATE_BATCH`.
    Update,
    /// `BPF_MAP_DELETE_BATCH`.
    Delete,
}

/// Where a walk in batches stands: opaque bytes of the kernel's.
pub type Cursor = Option<Vec<u8>>;

/// A refusal of a network request: the number, and the kernel's own words where it has some.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetError {
    /// Error number.
    pub errno: Errno,
    /// `NLMSGERR_ATTR_MSG`.
    pub text: String,
}
