//! Cgroups and namespaces of the current task and of packets.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_get_cgroup_classid,
    &bpf_skb_under_cgroup,
    &bpf_current_task_under_cgroup,
    &bpf_skb_cgroup_id,
    &bpf_get_current_cgroup_id,
    &bpf_skb_ancestor_cgroup_id,
    &bpf_get_netns_cookie,
    &bpf_get_current_ancestor_cgroup_id,
    &bpf_skb_cgroup_classid,
];

helper! { bpf_get_cgroup_classid = 17, since: (4, 3),
    signature: "u32 bpf_get_cgroup_classid(struct sk_buff *skb)",
    doc: "Class id that the net_cls cgroup gives to the packet's sender or the current task.",
    protos: [
        { who: TC_LWT, since: (4, 3),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[
              P::CgroupSock, P::CgroupDevice, P::SkMsg, P::CgroupSockAddr, P::CgroupSysctl, P::CgroupSockopt,
          ]), since: (4, 3),
          args: [], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[
              P::SocketFilter, P::Kprobe, P::Tracepoint, P::Xdp, P::PerfEvent, P::CgroupSkb, P::SockOps,
              P::SkSkb, P::RawTracepoint, P::SkReuseport, P::FlowDissector, P::RawTracepointWritable,
              P::Tracing, P::StructOps, P::Lsm, P::SkLookup, P::Syscall, P::Netfilter,
          ]).struct_ops(&["hid_bpf_ops", "sched_ext_ops", "tcp_congestion_ops"]), since: (6, 16),
          args: [], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(get_cgroup_classid),
}

/// No process is in a net_cls cgroup here, and no packet has a socket: the class is 0, the root's.
fn get_cgroup_classid(_: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(0))
}

helper! { bpf_skb_under_cgroup = 33, since: (4, 8),
    signature: "long bpf_skb_under_cgroup(struct sk_buff *skb, struct bpf_map *map, u32 index)",
    doc: "Whether the packet's socket lives under a cgroup of a cgroup array.",
    protos: [
        { who: TC_LWT, since: (4, 8),
          args: [CTX, MAP, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::CgroupArray], rule: Rule::None,
    body: Body::Absent(absent::CGROUPS),
}

helper! { bpf_current_task_under_cgroup = 37, since: (4, 9),
    signature: "long bpf_current_task_under_cgroup(struct bpf_map *map, u32 index)",
    doc: "Whether the current task lives under a cgroup of a cgroup array.",
    protos: [
        { who: who(&[
              P::Kprobe, P::Tracepoint, P::PerfEvent, P::CgroupSock, P::CgroupDevice, P::RawTracepoint,
              P::CgroupSockAddr, P::CgroupSysctl, P::RawTracepointWritable, P::CgroupSockopt, P::Tracing,
              P::Lsm, P::Syscall,
          ]), since: (4, 9),
          args: [MAP, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[
              P::SocketFilter, P::SchedCls, P::SchedAct, P::Xdp, P::CgroupSkb, P::LwtIn, P::LwtOut,
              P::LwtXmit, P::SockOps, P::SkSkb, P::SkMsg, P::LwtSeg6local, P::SkReuseport, P::FlowDissector,
              P::StructOps, P::SkLookup, P::Netfilter,
          ]).struct_ops(&["hid_bpf_ops", "sched_ext_ops", "tcp_congestion_ops"]), since: (6, 16),
          args: [MAP, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::CgroupArray], rule: Rule::None,
    body: Body::Absent(absent::CGROUPS),
}

helper! { bpf_skb_cgroup_id = 79, since: (4, 18),
    signature: "u64 bpf_skb_cgroup_id(struct sk_buff *skb)",
    doc: "Cgroup id of the packet's socket; 0 for a packet without one.",
    protos: [
        { who: TC_CGROUP_SKB, since: (4, 18),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_cgroup_id),
}

/// Packets of the user engine have no socket.
fn skb_cgroup_id(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    env.packet()?;
    Ok(Ret::Scalar(0))
}

helper! { bpf_get_current_cgroup_id = 80, since: (4, 18),
    signature: "u64 bpf_get_current_cgroup_id(void)",
    doc: "Cgroup id of the current task.",
    protos: [
        { who: BASE, since: (4, 18),
          args: [], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(get_current_cgroup_id),
}

fn get_current_cgroup_id(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(env.host().cgroup_id()))
}

helper! { bpf_skb_ancestor_cgroup_id = 83, since: (4, 19),
    signature: "u64 bpf_skb_ancestor_cgroup_id(struct sk_buff *skb, int ancestor_level)",
    doc: "Id of an ancestor cgroup of the packet's socket; 0 for a packet without one.",
    protos: [
        { who: TC_CGROUP_SKB, since: (4, 19),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_ancestor_cgroup_id),
}

/// Packets of the user engine have no socket.
fn skb_ancestor_cgroup_id(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    env.packet()?;
    Ok(Ret::Scalar(0))
}

helper! { bpf_get_netns_cookie = 122, since: (5, 7),
    signature: "u64 bpf_get_netns_cookie(void *ctx)",
    doc: "A number that stays with a network namespace for its life.",
    protos: [
        { who: who(&[
              P::CgroupSock, P::SockOps, P::SkMsg, P::CgroupSockAddr, P::CgroupSockopt,
          ]), since: (5, 7),
          args: [CTX_OR_NULL], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[P::SocketFilter, P::SchedCls, P::SchedAct, P::CgroupSkb]), since: (6, 15),
          args: [CTX_OR_NULL], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(get_netns_cookie),
}

fn get_netns_cookie(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(env.host().netns_cookie()))
}

helper! { bpf_get_current_ancestor_cgroup_id = 123, since: (5, 7),
    signature: "u64 bpf_get_current_ancestor_cgroup_id(int ancestor_level)",
    doc: "Id of an ancestor cgroup of the current task.",
    protos: [
        { who: BASE, since: (5, 7),
          args: [ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::CGROUPS),
}

helper! { bpf_skb_cgroup_classid = 151, since: (5, 10),
    signature: "u64 bpf_skb_cgroup_classid(struct sk_buff *skb)",
    doc: "Class id that the net_cls cgroup gives to the packet's socket.",
    protos: [
        { who: TC, since: (5, 10),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_cgroup_classid),
}

/// Packets of the user engine have no socket.
fn skb_cgroup_classid(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    env.packet()?;
    Ok(Ret::Scalar(0))
}
