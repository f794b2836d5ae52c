//! Finding sockets and giving them back.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_sk_lookup_tcp, &bpf_sk_lookup_udp, &bpf_sk_release, &bpf_skc_lookup_tcp];

helper! { bpf_sk_lookup_tcp = 84, since: (4, 20),
    signature: "struct bpf_sock *bpf_sk_lookup_tcp(void *ctx, struct bpf_sock_tuple *tuple, u32 tuple_size, u64 netns, u64 flags)",
    doc: "Finds a TCP socket by addresses and ports.",
    protos: [
        { who: SK_LOOKUPS, since: (4, 20),
          args: [CTX, RO_MEM, SIZE_OR_ZERO, ANY, ANY], ret: ret::SOCKET_OR_NULL,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
        { who: CGROUP_SOCK_ADDR, since: (4, 20),
          args: [CTX, RO_MEM, SIZE_OR_ZERO, ANY, ANY], ret: ret::SOCKET_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::Yes, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_sk_lookup_udp = 85, since: (4, 20),
    signature: "struct bpf_sock *bpf_sk_lookup_udp(void *ctx, struct bpf_sock_tuple *tuple, u32 tuple_size, u64 netns, u64 flags)",
    doc: "Finds a UDP socket by addresses and ports.",
    protos: [
        { who: SK_LOOKUPS, since: (4, 20),
          args: [CTX, RO_MEM, SIZE_OR_ZERO, ANY, ANY], ret: ret::SOCKET_OR_NULL,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
        { who: CGROUP_SOCK_ADDR, since: (4, 20),
          args: [CTX, RO_MEM, SIZE_OR_ZERO, ANY, ANY], ret: ret::SOCKET_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::Yes, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_sk_release = 86, since: (4, 20),
    signature: "long bpf_sk_release(void *sock)",
    doc: "Gives back the reference to a socket that a look-up returned.",
    protos: [
        { who: who(&[
              P::SchedCls, P::SchedAct, P::Xdp, P::CgroupSkb, P::SkSkb, P::CgroupSockAddr, P::SkLookup,
          ]), since: (4, 20),
          args: [BTF_SOCK_RELEASE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_skc_lookup_tcp = 99, since: (5, 2),
    signature: "struct bpf_sock *bpf_skc_lookup_tcp(void *ctx, struct bpf_sock_tuple *tuple, u32 tuple_size, u64 netns, u64 flags)",
    doc: "Finds a TCP socket, half-open and waiting ones included.",
    protos: [
        { who: SK_LOOKUPS, since: (5, 2),
          args: [CTX, RO_MEM, SIZE_OR_ZERO, ANY, ANY], ret: ret::SOCK_COMMON_OR_NULL,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
        { who: CGROUP_SOCK_ADDR, since: (5, 2),
          args: [CTX, RO_MEM, SIZE_OR_ZERO, ANY, ANY], ret: ret::SOCK_COMMON_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::Yes, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}
