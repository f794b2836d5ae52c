//! Sockets: cookies, owners, states and assignment.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_get_socket_cookie,
    &bpf_get_socket_uid,
    &bpf_bind,
    &bpf_sk_select_reuseport,
    &bpf_sk_fullsock,
    &bpf_tcp_sock,
    &bpf_get_listener_sock,
    &bpf_sk_assign,
    &bpf_sk_cgroup_id,
    &bpf_sk_ancestor_cgroup_id,
];

helper! { bpf_get_socket_cookie = 46, since: (4, 12),
    signature: "u64 bpf_get_socket_cookie(struct sock *sk)",
    doc: "A number that stays with a socket for its life; 0 for a packet without one.",
    protos: [
        { who: who(&[
              P::SocketFilter, P::SchedCls, P::SchedAct, P::CgroupSkb, P::CgroupSock, P::SockOps, P::SkSkb,
              P::CgroupSockAddr,
          ]), since: (4, 12),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[P::SkReuseport, P::Tracing, P::Lsm, P::Syscall]), since: (4, 12),
          args: [BTF_SOCK_OR_NULL], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(get_socket_cookie),
}

/// Packets of the user engine have no socket.
fn get_socket_cookie(_: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(0))
}

helper! { bpf_get_socket_uid = 47, since: (4, 12),
    signature: "u32 bpf_get_socket_uid(struct sk_buff *skb)",
    doc: "Owner of the packet's socket; 65534 (nobody) for a packet without one.",
    protos: [
        { who: who(&[P::SocketFilter, P::SchedCls, P::SchedAct, P::CgroupSkb, P::SkSkb]), since: (4, 12),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(get_socket_uid),
}

/// Packets of the user engine have no socket: the overflow user id.
fn get_socket_uid(_: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(OVERFLOW_UID))
}

const OVERFLOW_UID: u64 = 65534;

helper! { bpf_bind = 64, since: (4, 17),
    signature: "long bpf_bind(struct bpf_sock_addr *ctx, struct sockaddr *addr, int addr_len)",
    doc: "Binds the socket to an address before it connects.",
    protos: [
        { who: CGROUP_SOCK_ADDR.attached(&[A::CgroupInet4Connect, A::CgroupInet6Connect]), since: (4, 17),
          args: [CTX, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_sk_select_reuseport = 82, since: (4, 19),
    signature: "long bpf_sk_select_reuseport(struct sk_reuseport_md *reuse, struct bpf_map *map, void *key, u64 flags)",
    doc: "Picks the socket of a reuseport group that receives the packet.",
    protos: [
        { who: who(&[P::SkReuseport]), since: (4, 19),
          args: [CTX, MAP, KEY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: REUSEPORT_MAPS, rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_sk_fullsock = 95, since: (5, 1),
    signature: "struct bpf_sock *bpf_sk_fullsock(struct bpf_sock *sk)",
    doc: "The full socket behind a socket pointer, or NULL.",
    protos: [
        { who: TC_CGROUP_SKB, since: (5, 1),
          args: [SOCK_COMMON], ret: ret::SOCKET_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::Cast,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_tcp_sock = 96, since: (5, 1),
    signature: "struct bpf_tcp_sock *bpf_tcp_sock(struct bpf_sock *sk)",
    doc: "TCP state of a socket, or NULL.",
    protos: [
        { who: who(&[P::SchedCls, P::SchedAct, P::CgroupSkb, P::SockOps, P::CgroupSockopt]), since: (5, 1),
          args: [SOCK_COMMON], ret: ret::TCP_SOCK_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::Cast,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_get_listener_sock = 98, since: (5, 1),
    signature: "struct bpf_sock *bpf_get_listener_sock(struct bpf_sock *sk)",
    doc: "The listening socket of a socket, or NULL.",
    protos: [
        { who: TC_CGROUP_SKB, since: (5, 1),
          args: [SOCK_COMMON], ret: ret::SOCKET_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_sk_assign = 124, since: (5, 7),
    signature: "long bpf_sk_assign(struct bpf_sk_lookup *ctx, struct bpf_sock *sk, u64 flags)",
    doc: "Gives the packet to a socket.",
    protos: [
        { who: TC, since: (5, 7),
          args: [CTX, BTF_SOCK, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[P::SkLookup]), since: (5, 7),
          args: [CTX, SOCKET_OR_NULL, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_sk_cgroup_id = 128, since: (5, 8),
    signature: "u64 bpf_sk_cgroup_id(void *sk)",
    doc: "Cgroup id of a socket.",
    protos: [
        { who: CGROUP_SKB, since: (5, 8),
          args: [BTF_SOCK], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_sk_ancestor_cgroup_id = 129, since: (5, 8),
    signature: "u64 bpf_sk_ancestor_cgroup_id(void *sk, int ancestor_level)",
    doc: "Id of an ancestor cgroup of a socket.",
    protos: [
        { who: CGROUP_SKB, since: (5, 8),
          args: [BTF_SOCK, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}
