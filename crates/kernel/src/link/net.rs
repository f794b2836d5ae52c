//! Network hooks: XDP, traffic control, netkit, cgroups, network namespaces, netfilter, socket maps.
//!
//! Sources: `dev_xdp_attach` (net/core/dev.c), `tcx_link_attach` (kernel/bpf/tcx.c), `cls_bpf` (net/sched/cls_bpf.c),
//! `cgroup_bpf_link_attach`, `netns_bpf_link_create`, `bpf_nf_link_attach`, rtnetlink(7).

use super::{Part, Refused};
use crate::door::{Door, LinkCreate, LinkExtra, ProgAttach, Relative, Target};
use crate::mount::mounted;
use crate::netlink::{self, Message};
use crate::raw;
use skep_platform::{AttachType, Errno};
use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Where in the receive path an XDP program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum XdpMode {
    /// In the driver if it can, else behind it.
    #[default]
    Any,
    /// Behind the driver, on any device.
    Generic,
    /// In the driver.
    Native,
    /// On the card.
    Offload,
}

impl XdpMode {
    /// `XDP_FLAGS_*_MODE`.
    pub(crate) fn flags(self) -> u32 {
        match self {
            XdpMode::Any => 0,
            XdpMode::Generic => 2,
            XdpMode::Native => 4,
            XdpMode::Offload => 8,
        }
    }

    /// bpftool's word for it.
    pub fn label(self) -> &'static str {
        match self {
            XdpMode::Any => "xdp",
            XdpMode::Generic => "xdpgeneric",
            XdpMode::Native => "xdpdrv",
            XdpMode::Offload => "xdpoffload",
        }
    }
}

/// A place in netfilter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Netfilter {
    /// `NFPROTO_IPV4` (2) or `NFPROTO_IPV6` (10).
    pub pf: u32,
    /// `NF_INET_PRE_ROUTING` (0) to `NF_INET_POST_ROUTING` (4).
    pub hook: u32,
    /// Smaller ones run first; the extremes and 0 of defragmentation are taken.
    pub priority: i32,
    /// Put fragments together first.
    pub defrag: bool,
}

/// Netfilter's hooks by number (`enum nf_inet_hooks`), in iptables' words.
pub const NF_HOOKS: [&str; 5] = ["prerouting", "input", "forward", "output", "postrouting"];

impl fmt::Display for Netfilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pf = match self.pf {
            2 => "ip".to_owned(),
            10 => "ip6".to_owned(),
            n => format!("protocol {n}"),
        };
        let hook = NF_HOOKS.get(self.hook as usize).copied().unwrap_or("unknown hook");
        write!(f, "netfilter {pf} {hook} prio {}", self.priority)
    }
}

/// Index of the network device of this name in this process's network namespace.
pub fn ifindex(name: &str) -> Option<u32> {
    raw::ifindex(name)
}

/// Name of a network device.
pub fn ifname(index: u32) -> Option<String> {
    raw::ifname(index)
}

pub(super) fn xdp(
    door: &dyn Door,
    prog: BorrowedFd<'_>,
    ifindex: u32,
    mode: XdpMode,
) -> Result<Part, Refused> {
    let request = LinkCreate {
        prog,
        target: Target::Ifindex(ifindex),
        attach_type: AttachType::Xdp.id(),
        flags: mode.flags(),
        extra: LinkExtra::None,
    };
    door.link_create(&request).map(Part::Link).map_err(|e| {
        let name = ifname(ifindex).unwrap_or_else(|| ifindex.to_string());
        let why = match e {
            Errno::EBUSY | Errno::EEXIST => match netlink::xdp(door, ifindex).ok().and_then(|s| s.any()) {
                Some((id, mode)) => format!(
                    "program {id} is attached to {name} already ({}); `skep net` shows it, `skep net detach {} dev {name}` \
                     takes off what has no link, `skep link detach` what has one",
                    mode.label(),
                    mode.label()
                ),
                None => format!("another program is attached to {name} already; `skep net` shows it"),
            },
            // The kernel calls that an invalid argument.
            Errno::ENODEV | Errno::EINVAL if ifname(ifindex).is_none() => no_device(ifindex),
            Errno::EOPNOTSUPP | Errno::ENOTSUPP => format!(
                "the driver of {name} cannot run {}; try generic mode, which every driver can",
                mode.label()
            ),
            Errno::EINVAL => format!(
                "{name} does not take the program in this mode (EINVAL): an MTU above a page without xdp.frags, a program \
                 for devmap or cpumap, or large receive offload in its way; or the kernel is older than 5.9 and has no \
                 links for XDP"
            ),
            _ => String::new(),
        };
        Refused::new(e, why)
    })
}

/// A classifier of a clsact queue.
#[derive(Debug)]
pub(super) struct Classifier {
    ifindex: u32,
    parent: u32,
    handle: u32,
    /// Priority and protocol, as `tcm_info` has them.
    info: u32,
}

pub(super) fn tc(
    door: &dyn Door,
    prog: BorrowedFd<'_>,
    ifindex: u32,
    egress: bool,
    beside: Option<Relative>,
) -> Result<Part, Refused> {
    let attach_type = if egress { AttachType::TcxEgress } else { AttachType::TcxIngress };
    let request = LinkCreate {
        prog,
        target: Target::Ifindex(ifindex),
        attach_type: attach_type.id(),
        flags: 0,
        extra: LinkExtra::Beside { relative: beside, revision: 0 },
    };
    match door.link_create(&request) {
        Ok(fd) => Ok(Part::Link(fd)),
        // A kernel without tcx does not know the attach type.
        Err(Errno::EINVAL) if beside.is_none() => classifier(door, prog, ifindex, egress),
        Err(Errno::ENODEV) => Err(Refused::new(Errno::ENODEV, no_device(ifindex))),
        Err(Errno::EEXIST) => Err(Refused::new(Errno::EEXIST, "this program is attached there already")),
        Err(Errno::ENOENT) => {
            Err(Refused::new(Errno::ENOENT, "the program or link that it goes beside is not attached there"))
        }
        Err(e) => Err(Refused::new(e, "")),
    }
}

fn no_device(ifindex: u32) -> String {
    format!(
        "there is no device with index {ifindex} in this network namespace; `ip link` lists those there are"
    )
}

/// Parents of classifiers in a clsact queue (include/uapi/linux/pkt_sched.h).
const CLSACT: u32 = 0xffff_fff1;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
const NEW_QDISC: u16 = 36;
const NEW_FILTER: u16 = 44;
const DEL_FILTER: u16 = 45;
const CREATE_ONLY: u16 = 0x600;
const REPLACE: u16 = 0x100;
const ECHO: u16 = 8;
/// `ETH_P_ALL`, in network order, without a priority: the kernel chooses it.
const ALL_PROTOCOLS: u32 = (3u16).to_be() as u32;

fn tcmsg(ifindex: u32, handle: u32, parent: u32, info: u32) -> Message {
    let mut m = Message::default();
    for word in [0, ifindex, handle, parent, info] {
        m.u32(word);
    }
    m
}

fn bpf_filter(mut m: Message, prog: BorrowedFd<'_>) -> Message {
    use std::os::fd::AsRawFd;
    m.attr(1, b"bpf\0");
    let mut options = Message::default();
    options.attr(6, &prog.as_raw_fd().to_ne_bytes());
    options.attr(7, b"skep\0");
    // TCA_BPF_FLAG_ACT_DIRECT: what the program returns is what happens.
    options.attr(8, &1u32.to_ne_bytes());
    m.attr(2, options.bytes());
    m
}

fn classifier(door: &dyn Door, prog: BorrowedFd<'_>, ifindex: u32, egress: bool) -> Result<Part, Refused> {
    let mut queue = tcmsg(ifindex, 0xffff_0000, CLSACT, 0);
    queue.attr(1, b"clsact\0");
    match door.netlink(NEW_QDISC, CREATE_ONLY, queue.bytes()) {
        Ok(_) => {}
        Err(e) if e.errno == Errno::EEXIST => {}
        Err(e) => return Err(Refused::new(e.errno, e.text)),
    }
    let parent = if egress { EGRESS } else { INGRESS };
    let filter = bpf_filter(tcmsg(ifindex, 1, parent, ALL_PROTOCOLS), prog);
    let answers = door
        .netlink(NEW_FILTER, CREATE_ONLY | ECHO, filter.bytes())
        .map_err(|e| Refused::new(e.errno, e.text))?;
    let made = answers.iter().find(|(kind, _)| *kind == NEW_FILTER);
    let word = |at: usize| {
        let bytes = made.and_then(|(_, b)| b.get(at..at + 4)).and_then(|b| b.try_into().ok());
        bytes.map(u32::from_ne_bytes)
    };
    let (Some(handle), Some(info)) = (word(8), word(16)) else {
        return Err(Refused::new(Errno::EPROTO, "the kernel did not say where it put the classifier"));
    };
    Ok(Part::Classifier(Classifier { ifindex, parent, handle, info }))
}

/// Another program in a classifier's place.
pub(super) fn change(door: &dyn Door, c: &Classifier, prog: BorrowedFd<'_>) -> Result<(), Errno> {
    let m = bpf_filter(tcmsg(c.ifindex, c.handle, c.parent, c.info), prog);
    door.netlink(NEW_FILTER, REPLACE, m.bytes()).map(drop).map_err(|e| e.errno)
}

/// Takes a classifier away; the queue stays, others may use it.
pub(super) fn remove(door: &dyn Door, c: &Classifier) -> Result<(), Errno> {
    let mut m = tcmsg(c.ifindex, c.handle, c.parent, c.info);
    m.attr(1, b"bpf\0");
    match door.netlink(DEL_FILTER, 0, m.bytes()) {
        Err(e) if e.errno != Errno::ENOENT => Err(e.errno),
        _ => Ok(()),
    }
}

pub(super) fn netkit(
    door: &dyn Door,
    prog: BorrowedFd<'_>,
    ifindex: u32,
    peer: bool,
) -> Result<Part, Refused> {
    let attach_type = if peer { AttachType::NetkitPeer } else { AttachType::NetkitPrimary };
    let request = LinkCreate {
        prog,
        target: Target::Ifindex(ifindex),
        attach_type: attach_type.id(),
        flags: 0,
        extra: LinkExtra::Beside { relative: None, revision: 0 },
    };
    door.link_create(&request).map(Part::Link).map_err(|e| {
        let why = match e {
            Errno::ENODEV => no_device(ifindex),
            Errno::EINVAL => "it is no netkit device, or the kernel was built without CONFIG_NETKIT=y".into(),
            _ => String::new(),
        };
        Refused::new(e, why)
    })
}

fn open(path: &Path, what: &str) -> Result<File, Refused> {
    File::open(path).map_err(|e| {
        let errno = Errno(e.raw_os_error().unwrap_or(Errno::EIO.0));
        Refused::new(errno, format!("{what} {}: {errno}", path.display()))
    })
}

pub(super) fn cgroup(
    door: &dyn Door,
    prog: BorrowedFd<'_>,
    path: &Path,
    attach_type: AttachType,
) -> Result<Part, Refused> {
    let folder = open(path, "cgroup")?;
    let request = LinkCreate {
        prog,
        target: Target::Fd(folder.as_fd()),
        attach_type: attach_type.id(),
        flags: 0,
        extra: LinkExtra::None,
    };
    door.link_create(&request).map(Part::Link).map_err(|e| {
        let why = match e {
            Errno::EBADF => format!("{} is no cgroup of version 2{}", path.display(), cgroup2_hint()),
            Errno::EPERM => "an attachment higher up does not allow others below it (it was made without \
                             BPF_F_ALLOW_MULTI), or a capability is missing"
                .into(),
            Errno::E2BIG => {
                "the cgroup has 64 programs on this hook, which is the most that the kernel takes".into()
            }
            Errno::EINVAL => {
                "the kernel does not take this program type and attach type on a cgroup by a link \
                              (links need Linux 5.7)"
                    .into()
            }
            _ => String::new(),
        };
        Refused::new(e, why)
    })
}

/// Where cgroups of version 2 are.
pub(crate) fn cgroup2() -> Option<String> {
    mounted("cgroup2").first().map(|at| at.display().to_string())
}

fn cgroup2_hint() -> String {
    match cgroup2() {
        Some(at) => format!("; those are below {at}"),
        None => "; none is mounted: mount -t cgroup2 none FOLDER".into(),
    }
}

pub(super) fn netns(
    door: &dyn Door,
    prog: BorrowedFd<'_>,
    path: &Path,
    attach_type: AttachType,
) -> Result<Part, Refused> {
    let file = open(path, "network namespace")?;
    let request = LinkCreate {
        prog,
        target: Target::Fd(file.as_fd()),
        attach_type: attach_type.id(),
        flags: 0,
        extra: LinkExtra::None,
    };
    door.link_create(&request).map(Part::Link).map_err(|e| {
        let why = match e {
            Errno::EEXIST | Errno::EBUSY => {
                "the namespace has a program on this hook already; `skep link` shows it".into()
            }
            Errno::EINVAL => format!("{} is no network namespace", path.display()),
            Errno::E2BIG => "the namespace has as many programs on this hook as the kernel takes (64)".into(),
            _ => String::new(),
        };
        Refused::new(e, why)
    })
}

pub(super) fn netfilter(door: &dyn Door, prog: BorrowedFd<'_>, n: &Netfilter) -> Result<Part, Refused> {
    let request = LinkCreate {
        prog,
        target: Target::None,
        attach_type: AttachType::Netfilter.id(),
        flags: 0,
        extra: LinkExtra::Netfilter {
            pf: n.pf,
            hook: n.hook,
            priority: n.priority,
            flags: u32::from(n.defrag),
        },
    };
    door.link_create(&request).map(Part::Link).map_err(|e| {
        let why = match e {
            Errno::EBUSY => {
                "a program sits on this hook with this priority already; choose another priority".into()
            }
            Errno::ERANGE => {
                "the lowest and the highest priority are the kernel's own; choose one between them".into()
            }
            Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT => {
                "the protocol family is neither IPv4 nor IPv6".into()
            }
            Errno::EINVAL => {
                "the kernel has no links for netfilter (Linux 6.4, CONFIG_NETFILTER_BPF_LINK=y), or the \
                              priority is not above defragmentation's although that was asked for"
                    .into()
            }
            _ => String::new(),
        };
        Refused::new(e, why)
    })
}

pub(super) fn sockmap(
    door: &dyn Door,
    prog: BorrowedFd<'_>,
    map: BorrowedFd<'_>,
    attach_type: AttachType,
) -> Result<Part, Refused> {
    let request = LinkCreate {
        prog,
        target: Target::Fd(map),
        attach_type: attach_type.id(),
        flags: 0,
        extra: LinkExtra::None,
    };
    let refused = match door.link_create(&request) {
        Ok(fd) => return Ok(Part::Link(fd)),
        Err(e) => e,
    };
    if refused != Errno::EINVAL {
        let why = match refused {
            Errno::EBUSY => "the map has a program of this kind already".into(),
            Errno::EOPNOTSUPP => "the map is no sockmap or sockhash".into(),
            _ => String::new(),
        };
        return Err(Refused::new(refused, why));
    }
    // Before 6.10 there were no links for socket maps.
    let a = ProgAttach { target: Target::Fd(map), prog: Some(prog), attach_type: attach_type.id(), flags: 0 };
    door.prog_attach(&a).map_err(|e| Refused::new(e, ""))?;
    let own = |fd: BorrowedFd<'_>| {
        fd.try_clone_to_owned().map_err(|e| Refused::new(Errno(e.raw_os_error().unwrap_or(Errno::EIO.0)), ""))
    };
    Ok(Part::Attached { target: own(map)?, prog: own(prog)?, attach_type: attach_type.id() })
}
