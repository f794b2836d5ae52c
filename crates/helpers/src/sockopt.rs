//! Socket options.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_setsockopt, &bpf_getsockopt];

helper! { bpf_setsockopt = 49, since: (4, 13),
    signature: "long bpf_setsockopt(void *bpf_socket, int level, int optname, void *optval, int optlen)",
    doc: "Sets an option of a socket.",
    protos: [
        { who: CGROUP_SOCKOPT.attached(&[A::CgroupSetsockopt]), since: (4, 13),
          args: [BTF_SOCK, ANY, ANY, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: LSM.attached(&[A::LsmCgroup]), since: (4, 13),
          args: [BTF_SOCK, ANY, ANY, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[P::SockOps, P::CgroupSockAddr]), since: (4, 13),
          args: [CTX, ANY, ANY, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[P::StructOps]).struct_ops(&["tcp_congestion_ops"]), since: (4, 13),
          args: [BTF_SOCK, ANY, ANY, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[P::Tracing]).attached(&[A::TraceIter]).struct_ops(&["tcp", "unix"]), since: (5, 15),
          args: [BTF_SOCK, ANY, ANY, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::NotMember("tcp_congestion_ops/release"),
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_getsockopt = 57, since: (4, 15),
    signature: "long bpf_getsockopt(void *bpf_socket, int level, int optname, void *optval, int optlen)",
    doc: "Reads an option of a socket.",
    protos: [
        { who: CGROUP_SOCKOPT.attached(&[A::CgroupSetsockopt]), since: (4, 15),
          args: [BTF_SOCK, ANY, ANY, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: LSM.attached(&[A::LsmCgroup]), since: (4, 15),
          args: [BTF_SOCK, ANY, ANY, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[P::SockOps, P::CgroupSockAddr]), since: (4, 15),
          args: [CTX, ANY, ANY, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[P::StructOps]).struct_ops(&["tcp_congestion_ops"]), since: (4, 15),
          args: [BTF_SOCK, ANY, ANY, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[P::Tracing]).attached(&[A::TraceIter]).struct_ops(&["tcp", "unix"]), since: (5, 15),
          args: [BTF_SOCK, ANY, ANY, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::NotMember("tcp_congestion_ops/release"),
    body: Body::Absent(absent::SOCKETS),
}
