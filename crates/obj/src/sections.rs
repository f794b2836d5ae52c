//! The section table: which section name makes a program of which type.
//!
//! One row per name that libbpf knows, in its order; the first row that matches wins ([`SectionDef::find`]). A row
//! matches its exact name, and with [`Match::ExactOrSlash`] also `name/anything`; the part behind the slash is read
//! as the row's [`Target`] syntax by [`crate::attach`]. A leading `?` is no part of the name: the program is known
//! but not loaded unless asked for.

use skep_platform::{AttachType as A, AttachType, ProgType as P, ProgType};

use Match::{Exact, Slash};
use Target as T;

/// How a section name is compared with a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Match {
    /// It must be the row's name.
    Exact,
    /// It may go on with a slash and a target.
    Slash,
}

/// What follows the slash, and is read from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Nothing.
    None,
    /// `[module:]func[+offset]`
    Kprobe,
    /// `path:func[+offset]` or `path:func@offset`
    Uprobe,
    /// A pattern of function names.
    Glob,
    /// `path:pattern`
    UprobeGlob,
    /// A system call's name without `sys_`.
    Syscall,
    /// `path:provider:name`
    Usdt,
    /// `category/name`
    Tracepoint,
    /// `[module:]func`, the name of a raw tracepoint, or of a program's function
    Function,
    /// One name.
    Name,
}

/// One section name. Flags are the constants of this module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SectionDef {
    /// The name, or what stands before the slash.
    pub prefix: &'static str,
    /// How it is compared.
    pub matches: Match,
    /// Program type it makes.
    pub prog_type: ProgType,
    /// `expected_attach_type` it makes.
    pub attach_type: Option<AttachType>,
    /// [`SLEEPABLE`] | [`ATTACH_BTF`] | …
    pub flags: u8,
    /// Syntax of what follows the slash.
    pub target: Target,
}

/// The program may sleep (`BPF_F_SLEEPABLE`).
pub const SLEEPABLE: u8 = 1;
/// Attaches to a function that is named by its BTF id at load.
pub const ATTACH_BTF: u8 = 2;
/// Takes packets of several buffers (`BPF_F_XDP_HAS_FRAGS`).
pub const XDP_FRAGS: u8 = 4;
/// Attaches to user statically defined tracepoints.
pub const USDT: u8 = 8;
/// `expected_attach_type` is given at load.
pub const EXPECTED: u8 = 16;
/// … but left out where the kernel does not know it.
pub const OPTIONAL: u8 = 32;

impl SectionDef {
    /// The first row that matches this section name (without a leading `?`). Cost: a scan of the table.
    pub fn find(section: &str) -> Option<&'static SectionDef> {
        SECTIONS.iter().find(|row| row.covers(section))
    }

    /// The row that loaders before libbpf 1.0 took for a name that is none of today's: the longest exact name that it
    /// begins with (`socket1`, `xdp_prog`, `classifier/0`). Cost: a scan of the table.
    pub fn find_old(section: &str) -> Option<&'static SectionDef> {
        let begins = SECTIONS.iter().filter(|row| row.matches == Exact && section.starts_with(row.prefix));
        begins.max_by_key(|row| row.prefix.len())
    }

    /// Whether the row matches this section name.
    pub fn covers(&self, section: &str) -> bool {
        match section.strip_prefix(self.prefix) {
            Some("") => true,
            Some(rest) => self.matches == Slash && rest.starts_with('/'),
            None => false,
        }
    }

    /// Whether the row has this flag.
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

const fn row(
    prefix: &'static str,
    matches: Match,
    prog_type: ProgType,
    attach_type: Option<AttachType>,
    flags: u8,
    target: Target,
) -> SectionDef {
    SectionDef { prefix, matches, prog_type, attach_type, flags, target }
}

/// Every section name, in the order of comparison (libbpf `section_defs`, version 1.8).
#[rustfmt::skip]
pub static SECTIONS: &[SectionDef] = &[
    row("socket", Exact, P::SocketFilter, None, 0, T::None),
    row("sk_reuseport/migrate", Exact, P::SkReuseport, Some(A::SkReuseportSelectOrMigrate), EXPECTED, T::None),
    row("sk_reuseport", Exact, P::SkReuseport, Some(A::SkReuseportSelect), EXPECTED, T::None),
    row("kprobe", Slash, P::Kprobe, None, 0, T::Kprobe),
    row("uprobe", Slash, P::Kprobe, None, 0, T::Uprobe),
    row("uprobe.s", Slash, P::Kprobe, None, SLEEPABLE, T::Uprobe),
    row("kretprobe", Slash, P::Kprobe, None, 0, T::Kprobe),
    row("uretprobe", Slash, P::Kprobe, None, 0, T::Uprobe),
    row("uretprobe.s", Slash, P::Kprobe, None, SLEEPABLE, T::Uprobe),
    row("kprobe.multi", Slash, P::Kprobe, Some(A::TraceKprobeMulti), 0, T::Glob),
    row("kretprobe.multi", Slash, P::Kprobe, Some(A::TraceKprobeMulti), 0, T::Glob),
    row("kprobe.session", Slash, P::Kprobe, Some(A::TraceKprobeSession), 0, T::Glob),
    row("uprobe.multi", Slash, P::Kprobe, Some(A::TraceUprobeMulti), 0, T::UprobeGlob),
    row("uretprobe.multi", Slash, P::Kprobe, Some(A::TraceUprobeMulti), 0, T::UprobeGlob),
    row("uprobe.session", Slash, P::Kprobe, Some(A::TraceUprobeSession), 0, T::UprobeGlob),
    row("uprobe.multi.s", Slash, P::Kprobe, Some(A::TraceUprobeMulti), SLEEPABLE, T::UprobeGlob),
    row("uretprobe.multi.s", Slash, P::Kprobe, Some(A::TraceUprobeMulti), SLEEPABLE, T::UprobeGlob),
    row("uprobe.session.s", Slash, P::Kprobe, Some(A::TraceUprobeSession), SLEEPABLE, T::UprobeGlob),
    row("ksyscall", Slash, P::Kprobe, None, 0, T::Syscall),
    row("kretsyscall", Slash, P::Kprobe, None, 0, T::Syscall),
    row("usdt", Slash, P::Kprobe, None, USDT, T::Usdt),
    row("usdt.s", Slash, P::Kprobe, None, SLEEPABLE | USDT, T::Usdt),
    row("tc/ingress", Exact, P::SchedCls, Some(A::TcxIngress), 0, T::None),
    row("tc/egress", Exact, P::SchedCls, Some(A::TcxEgress), 0, T::None),
    row("tcx/ingress", Exact, P::SchedCls, Some(A::TcxIngress), 0, T::None),
    row("tcx/egress", Exact, P::SchedCls, Some(A::TcxEgress), 0, T::None),
    row("tc", Exact, P::SchedCls, None, 0, T::None),
    row("classifier", Exact, P::SchedCls, None, 0, T::None),
    row("action", Exact, P::SchedAct, None, 0, T::None),
    row("netkit/primary", Exact, P::SchedCls, Some(A::NetkitPrimary), 0, T::None),
    row("netkit/peer", Exact, P::SchedCls, Some(A::NetkitPeer), 0, T::None),
    row("tracepoint", Slash, P::Tracepoint, None, 0, T::Tracepoint),
    row("tp", Slash, P::Tracepoint, None, 0, T::Tracepoint),
    row("tracepoint.s", Slash, P::Tracepoint, None, SLEEPABLE, T::Tracepoint),
    row("tp.s", Slash, P::Tracepoint, None, SLEEPABLE, T::Tracepoint),
    row("raw_tracepoint", Slash, P::RawTracepoint, None, 0, T::Name),
    row("raw_tp", Slash, P::RawTracepoint, None, 0, T::Name),
    row("raw_tracepoint.s", Slash, P::RawTracepoint, None, SLEEPABLE, T::Name),
    row("raw_tp.s", Slash, P::RawTracepoint, None, SLEEPABLE, T::Name),
    row("raw_tracepoint.w", Slash, P::RawTracepointWritable, None, 0, T::Name),
    row("raw_tp.w", Slash, P::RawTracepointWritable, None, 0, T::Name),
    row("tp_btf", Slash, P::Tracing, Some(A::TraceRawTp), ATTACH_BTF, T::Function),
    row("tp_btf.s", Slash, P::Tracing, Some(A::TraceRawTp), SLEEPABLE | ATTACH_BTF, T::Function),
    row("fentry", Slash, P::Tracing, Some(A::TraceFentry), ATTACH_BTF, T::Function),
    row("fmod_ret", Slash, P::Tracing, Some(A::ModifyReturn), ATTACH_BTF, T::Function),
    row("fexit", Slash, P::Tracing, Some(A::TraceFexit), ATTACH_BTF, T::Function),
    row("fentry.s", Slash, P::Tracing, Some(A::TraceFentry), SLEEPABLE | ATTACH_BTF, T::Function),
    row("fmod_ret.s", Slash, P::Tracing, Some(A::ModifyReturn), SLEEPABLE | ATTACH_BTF, T::Function),
    row("fexit.s", Slash, P::Tracing, Some(A::TraceFexit), SLEEPABLE | ATTACH_BTF, T::Function),
    row("fsession", Slash, P::Tracing, Some(A::TraceFsession), ATTACH_BTF, T::Function),
    row("fsession.s", Slash, P::Tracing, Some(A::TraceFsession), SLEEPABLE | ATTACH_BTF, T::Function),
    row("fsession.multi", Slash, P::Tracing, Some(A::TraceFsessionMulti), 0, T::Glob),
    row("fsession.multi.s", Slash, P::Tracing, Some(A::TraceFsessionMulti), SLEEPABLE, T::Glob),
    row("fentry.multi", Slash, P::Tracing, Some(A::TraceFentryMulti), 0, T::Glob),
    row("fexit.multi", Slash, P::Tracing, Some(A::TraceFexitMulti), 0, T::Glob),
    row("fentry.multi.s", Slash, P::Tracing, Some(A::TraceFentryMulti), SLEEPABLE, T::Glob),
    row("fexit.multi.s", Slash, P::Tracing, Some(A::TraceFexitMulti), SLEEPABLE, T::Glob),
    row("freplace", Slash, P::Ext, None, ATTACH_BTF, T::Function),
    row("lsm", Slash, P::Lsm, Some(A::LsmMac), ATTACH_BTF, T::Name),
    row("lsm.s", Slash, P::Lsm, Some(A::LsmMac), SLEEPABLE | ATTACH_BTF, T::Name),
    row("lsm_cgroup", Slash, P::Lsm, Some(A::LsmCgroup), ATTACH_BTF, T::Name),
    row("iter", Slash, P::Tracing, Some(A::TraceIter), ATTACH_BTF, T::Name),
    row("iter.s", Slash, P::Tracing, Some(A::TraceIter), SLEEPABLE | ATTACH_BTF, T::Name),
    row("syscall", Exact, P::Syscall, None, SLEEPABLE, T::None),
    row("xdp.frags/devmap", Exact, P::Xdp, Some(A::XdpDevmap), XDP_FRAGS, T::None),
    row("xdp/devmap", Exact, P::Xdp, Some(A::XdpDevmap), EXPECTED, T::None),
    row("xdp.frags/cpumap", Exact, P::Xdp, Some(A::XdpCpumap), XDP_FRAGS, T::None),
    row("xdp/cpumap", Exact, P::Xdp, Some(A::XdpCpumap), EXPECTED, T::None),
    row("xdp.frags", Exact, P::Xdp, Some(A::Xdp), XDP_FRAGS, T::None),
    row("xdp", Exact, P::Xdp, Some(A::Xdp), EXPECTED | OPTIONAL, T::None),
    row("perf_event", Exact, P::PerfEvent, None, 0, T::None),
    row("lwt_in", Exact, P::LwtIn, None, 0, T::None),
    row("lwt_out", Exact, P::LwtOut, None, 0, T::None),
    row("lwt_xmit", Exact, P::LwtXmit, None, 0, T::None),
    row("lwt_seg6local", Exact, P::LwtSeg6local, None, 0, T::None),
    row("sockops", Exact, P::SockOps, Some(A::CgroupSockOps), EXPECTED | OPTIONAL, T::None),
    row("sk_skb/stream_parser", Exact, P::SkSkb, Some(A::SkSkbStreamParser), EXPECTED | OPTIONAL, T::None),
    row("sk_skb/stream_verdict", Exact, P::SkSkb, Some(A::SkSkbStreamVerdict), EXPECTED | OPTIONAL, T::None),
    row("sk_skb/verdict", Exact, P::SkSkb, Some(A::SkSkbVerdict), EXPECTED | OPTIONAL, T::None),
    row("sk_skb", Exact, P::SkSkb, None, 0, T::None),
    row("sk_msg", Exact, P::SkMsg, Some(A::SkMsgVerdict), EXPECTED | OPTIONAL, T::None),
    row("lirc_mode2", Exact, P::LircMode2, Some(A::LircMode2), EXPECTED | OPTIONAL, T::None),
    row("flow_dissector", Exact, P::FlowDissector, Some(A::FlowDissector), EXPECTED | OPTIONAL, T::None),
    row("cgroup_skb/ingress", Exact, P::CgroupSkb, Some(A::CgroupInetIngress), EXPECTED | OPTIONAL, T::None),
    row("cgroup_skb/egress", Exact, P::CgroupSkb, Some(A::CgroupInetEgress), EXPECTED | OPTIONAL, T::None),
    row("cgroup/skb", Exact, P::CgroupSkb, None, 0, T::None),
    row("cgroup/sock_create", Exact, P::CgroupSock, Some(A::CgroupInetSockCreate), EXPECTED, T::None),
    row("cgroup/sock_release", Exact, P::CgroupSock, Some(A::CgroupInetSockRelease), EXPECTED, T::None),
    row("cgroup/sock", Exact, P::CgroupSock, Some(A::CgroupInetSockCreate), EXPECTED | OPTIONAL, T::None),
    row("cgroup/post_bind4", Exact, P::CgroupSock, Some(A::CgroupInet4PostBind), EXPECTED, T::None),
    row("cgroup/post_bind6", Exact, P::CgroupSock, Some(A::CgroupInet6PostBind), EXPECTED, T::None),
    row("cgroup/bind4", Exact, P::CgroupSockAddr, Some(A::CgroupInet4Bind), EXPECTED, T::None),
    row("cgroup/bind6", Exact, P::CgroupSockAddr, Some(A::CgroupInet6Bind), EXPECTED, T::None),
    row("cgroup/connect4", Exact, P::CgroupSockAddr, Some(A::CgroupInet4Connect), EXPECTED, T::None),
    row("cgroup/connect6", Exact, P::CgroupSockAddr, Some(A::CgroupInet6Connect), EXPECTED, T::None),
    row("cgroup/connect_unix", Exact, P::CgroupSockAddr, Some(A::CgroupUnixConnect), EXPECTED, T::None),
    row("cgroup/sendmsg4", Exact, P::CgroupSockAddr, Some(A::CgroupUdp4Sendmsg), EXPECTED, T::None),
    row("cgroup/sendmsg6", Exact, P::CgroupSockAddr, Some(A::CgroupUdp6Sendmsg), EXPECTED, T::None),
    row("cgroup/sendmsg_unix", Exact, P::CgroupSockAddr, Some(A::CgroupUnixSendmsg), EXPECTED, T::None),
    row("cgroup/recvmsg4", Exact, P::CgroupSockAddr, Some(A::CgroupUdp4Recvmsg), EXPECTED, T::None),
    row("cgroup/recvmsg6", Exact, P::CgroupSockAddr, Some(A::CgroupUdp6Recvmsg), EXPECTED, T::None),
    row("cgroup/recvmsg_unix", Exact, P::CgroupSockAddr, Some(A::CgroupUnixRecvmsg), EXPECTED, T::None),
    row("cgroup/getpeername4", Exact, P::CgroupSockAddr, Some(A::CgroupInet4Getpeername), EXPECTED, T::None),
    row("cgroup/getpeername6", Exact, P::CgroupSockAddr, Some(A::CgroupInet6Getpeername), EXPECTED, T::None),
    row("cgroup/getpeername_unix", Exact, P::CgroupSockAddr, Some(A::CgroupUnixGetpeername), EXPECTED, T::None),
    row("cgroup/getsockname4", Exact, P::CgroupSockAddr, Some(A::CgroupInet4Getsockname), EXPECTED, T::None),
    row("cgroup/getsockname6", Exact, P::CgroupSockAddr, Some(A::CgroupInet6Getsockname), EXPECTED, T::None),
    row("cgroup/getsockname_unix", Exact, P::CgroupSockAddr, Some(A::CgroupUnixGetsockname), EXPECTED, T::None),
    row("cgroup/sysctl", Exact, P::CgroupSysctl, Some(A::CgroupSysctl), EXPECTED, T::None),
    row("cgroup/getsockopt", Exact, P::CgroupSockopt, Some(A::CgroupGetsockopt), EXPECTED, T::None),
    row("cgroup/setsockopt", Exact, P::CgroupSockopt, Some(A::CgroupSetsockopt), EXPECTED, T::None),
    row("cgroup/dev", Exact, P::CgroupDevice, Some(A::CgroupDevice), EXPECTED | OPTIONAL, T::None),
    row("struct_ops", Slash, P::StructOps, None, 0, T::Name),
    row("struct_ops.s", Slash, P::StructOps, None, SLEEPABLE, T::Name),
    row("sk_lookup", Exact, P::SkLookup, Some(A::SkLookup), EXPECTED, T::None),
    row("netfilter", Exact, P::Netfilter, Some(A::Netfilter), 0, T::None),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_reached_by_its_own_name() {
        for row in SECTIONS {
            assert_eq!(SectionDef::find(row.prefix), Some(row), "{}", row.prefix);
            let with_target = format!("{}/x", row.prefix);
            let found = SectionDef::find(&with_target);
            assert_eq!(found == Some(row), row.matches == Slash, "{with_target}");
        }
        assert_eq!(SECTIONS.len(), 116);
    }

    #[test]
    fn flags_agree_with_each_other() {
        for row in SECTIONS {
            assert!(!row.has(OPTIONAL) || row.has(EXPECTED), "{}", row.prefix);
            assert!(!row.has(EXPECTED) || row.attach_type.is_some(), "{}", row.prefix);
            assert!(row.target == T::None || row.matches == Slash, "{}", row.prefix);
            assert_eq!(
                row.has(SLEEPABLE),
                row.prefix.ends_with(".s") || row.prefix == "syscall",
                "{}",
                row.prefix
            );
        }
    }

    #[test]
    fn old_names_match_by_their_beginning() {
        let old = |name| SectionDef::find_old(name).map(|row| row.prefix);
        assert_eq!(old("socket1"), Some("socket"));
        assert_eq!(old("xdp_prog"), Some("xdp"));
        assert_eq!(old("cgroup/sock1"), Some("cgroup/sock"));
        assert_eq!(old("xdp/devmap2"), Some("xdp/devmap"));
        assert_eq!(old("2/7"), None);
        assert_eq!(old("kprobes"), None);
    }

    #[test]
    fn names_beyond_the_table_match_nothing() {
        for name in ["", "xd", "xdp/x", "xdpx", "kprobe.", "classifier/0", "2/7", "?xdp", "tc/", "text"] {
            assert_eq!(SectionDef::find(name), None, "{name}");
        }
    }
}
