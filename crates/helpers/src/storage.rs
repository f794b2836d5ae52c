//! Values that maps keep for sockets, inodes, tasks and cgroups.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_get_local_storage,
    &bpf_sk_storage_get,
    &bpf_sk_storage_delete,
    &bpf_inode_storage_get,
    &bpf_inode_storage_delete,
    &bpf_task_storage_get,
    &bpf_task_storage_delete,
    &bpf_cgrp_storage_get,
    &bpf_cgrp_storage_delete,
];

helper! { bpf_get_local_storage = 81, since: (4, 19),
    signature: "void *bpf_get_local_storage(void *map, u64 flags)",
    doc: "The value of cgroup storage for the cgroup and attachment of this run.",
    protos: [
        { who: LSM.attached(&[A::LsmCgroup]), since: (4, 19),
          args: [MAP, ANY], ret: ret::VALUE,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[
              P::CgroupSkb, P::CgroupSock, P::SockOps, P::CgroupDevice, P::CgroupSockAddr, P::CgroupSysctl,
              P::CgroupSockopt,
          ]), since: (4, 19),
          args: [MAP, ANY], ret: ret::VALUE,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: CGROUP_STORAGES, rule: Rule::ZeroArg(1),
    body: Body::Absent(absent::STORAGE),
}

helper! { bpf_sk_storage_get = 107, since: (5, 2),
    signature: "void *bpf_sk_storage_get(struct bpf_map *map, void *sk, void *value, u64 flags)",
    doc: "The value that a map keeps for a socket, created if asked.",
    protos: [
        { who: who(&[
              P::SchedCls, P::SchedAct, P::CgroupSkb, P::SockOps, P::SkMsg, P::CgroupSockAddr,
              P::CgroupSockopt, P::StructOps, P::Lsm,
          ]).struct_ops(&["tcp_congestion_ops"]), since: (5, 2),
          args: [MAP, BTF_SOCK, VALUE_OR_NULL, ANY], ret: ret::VALUE_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[P::CgroupSock]), since: (5, 2),
          args: [MAP, CTX, VALUE_OR_NULL, ANY], ret: ret::VALUE_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[P::Tracing, P::Syscall]), since: (5, 2),
          args: [MAP, btf(&["sock_common"]).nullable(), VALUE_OR_NULL, ANY], ret: ret::VALUE_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::SkStorage], rule: Rule::NotInside("bpf_sk_storage"),
    body: Body::Absent(absent::STORAGE),
}

helper! { bpf_sk_storage_delete = 108, since: (5, 2),
    signature: "long bpf_sk_storage_delete(struct bpf_map *map, void *sk)",
    doc: "Removes the value that a map keeps for a socket.",
    protos: [
        { who: who(&[
              P::SchedCls, P::SchedAct, P::CgroupSkb, P::SockOps, P::SkMsg, P::CgroupSockAddr,
              P::CgroupSockopt, P::StructOps, P::Lsm,
          ]).struct_ops(&["tcp_congestion_ops"]), since: (5, 2),
          args: [MAP, BTF_SOCK], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[P::Tracing, P::Syscall]), since: (5, 2),
          args: [MAP, btf(&["sock_common"]).nullable()], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::SkStorage], rule: Rule::NotInside("bpf_sk_storage"),
    body: Body::Absent(absent::STORAGE),
}

helper! { bpf_inode_storage_get = 145, since: (5, 10),
    signature: "void *bpf_inode_storage_get(struct bpf_map *map, void *inode, void *value, u64 flags)",
    doc: "The value that a map keeps for an inode, created if asked.",
    protos: [
        { who: LSM, since: (5, 10),
          args: [MAP, btf(&["inode"]).nullable(), VALUE_OR_NULL, ANY], ret: ret::VALUE_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::InodeStorage], rule: Rule::None,
    body: Body::Absent(absent::STORAGE),
}

helper! { bpf_inode_storage_delete = 146, since: (5, 10),
    signature: "int bpf_inode_storage_delete(struct bpf_map *map, void *inode)",
    doc: "Removes the value that a map keeps for an inode.",
    protos: [
        { who: LSM, since: (5, 10),
          args: [MAP, btf(&["inode"]).nullable()], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::InodeStorage], rule: Rule::None,
    body: Body::Absent(absent::STORAGE),
}

helper! { bpf_task_storage_get = 156, since: (5, 11),
    signature: "void *bpf_task_storage_get(struct bpf_map *map, struct task_struct *task, void *value, u64 flags)",
    doc: "The value that a map keeps for a task, created if asked.",
    protos: [
        { who: who(&[
              P::Kprobe, P::Tracepoint, P::PerfEvent, P::RawTracepoint, P::RawTracepointWritable, P::Tracing,
              P::StructOps, P::Lsm, P::Syscall,
          ]).struct_ops(&["sched_ext_ops"]), since: (5, 11),
          args: [MAP, btf(&["task_struct"]).nullable(), VALUE_OR_NULL, ANY], ret: ret::VALUE_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: NOT_TRACERS_NOR_SCX, since: (6, 16),
          args: [MAP, btf(&["task_struct"]).nullable(), VALUE_OR_NULL, ANY], ret: ret::VALUE_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::TaskStorage], rule: Rule::None,
    body: Body::Absent(absent::STORAGE),
}

helper! { bpf_task_storage_delete = 157, since: (5, 11),
    signature: "long bpf_task_storage_delete(struct bpf_map *map, struct task_struct *task)",
    doc: "Removes the value that a map keeps for a task.",
    protos: [
        { who: who(&[
              P::Kprobe, P::Tracepoint, P::PerfEvent, P::RawTracepoint, P::RawTracepointWritable, P::Tracing,
              P::StructOps, P::Lsm, P::Syscall,
          ]).struct_ops(&["sched_ext_ops"]), since: (5, 11),
          args: [MAP, btf(&["task_struct"]).nullable()], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: NOT_TRACERS_NOR_SCX, since: (6, 16),
          args: [MAP, btf(&["task_struct"]).nullable()], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::TaskStorage], rule: Rule::None,
    body: Body::Absent(absent::STORAGE),
}

helper! { bpf_cgrp_storage_get = 210, since: (6, 2),
    signature: "void *bpf_cgrp_storage_get(struct bpf_map *map, struct cgroup *cgroup, void *value, u64 flags)",
    doc: "The value that a map keeps for a cgroup, created if asked.",
    protos: [
        { who: BASE, since: (6, 2),
          args: [MAP, btf(&["cgroup"]).nullable(), VALUE_OR_NULL, ANY], ret: ret::VALUE_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::CgrpStorage], rule: Rule::None,
    body: Body::Absent(absent::STORAGE),
}

helper! { bpf_cgrp_storage_delete = 211, since: (6, 2),
    signature: "long bpf_cgrp_storage_delete(struct bpf_map *map, struct cgroup *cgroup)",
    doc: "Removes the value that a map keeps for a cgroup.",
    protos: [
        { who: BASE, since: (6, 2),
          args: [MAP, btf(&["cgroup"]).nullable()], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::CgrpStorage], rule: Rule::None,
    body: Body::Absent(absent::STORAGE),
}
