//! Socket pointers as the kernel's own types.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_skc_to_tcp6_sock,
    &bpf_skc_to_tcp_sock,
    &bpf_skc_to_tcp_timewait_sock,
    &bpf_skc_to_tcp_request_sock,
    &bpf_skc_to_udp6_sock,
    &bpf_sock_from_file,
    &bpf_skc_to_unix_sock,
    &bpf_skc_to_mptcp_sock,
];

helper! { bpf_skc_to_tcp6_sock = 136, since: (5, 9),
    signature: "struct tcp6_sock *bpf_skc_to_tcp6_sock(void *sk)",
    doc: "A socket as the kernel's IPv6 TCP socket, or NULL.",
    protos: [
        { who: NET, since: (5, 9),
          args: [BTF_SOCK], ret: ret::btf_or_null("tcp6_sock"),
          gpl_only: false, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::Cast,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_skc_to_tcp_sock = 137, since: (5, 9),
    signature: "struct tcp_sock *bpf_skc_to_tcp_sock(void *sk)",
    doc: "A socket as the kernel's TCP socket, or NULL.",
    protos: [
        { who: NET, since: (5, 9),
          args: [BTF_SOCK], ret: ret::btf_or_null("tcp_sock"),
          gpl_only: false, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::Cast,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_skc_to_tcp_timewait_sock = 138, since: (5, 9),
    signature: "struct tcp_timewait_sock *bpf_skc_to_tcp_timewait_sock(void *sk)",
    doc: "A socket as the kernel's TCP socket in time-wait, or NULL.",
    protos: [
        { who: NET, since: (5, 9),
          args: [BTF_SOCK], ret: ret::btf_or_null("tcp_timewait_sock"),
          gpl_only: false, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::Cast,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_skc_to_tcp_request_sock = 139, since: (5, 9),
    signature: "struct tcp_request_sock *bpf_skc_to_tcp_request_sock(void *sk)",
    doc: "A socket as the kernel's TCP connection request, or NULL.",
    protos: [
        { who: NET, since: (5, 9),
          args: [BTF_SOCK], ret: ret::btf_or_null("tcp_request_sock"),
          gpl_only: false, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::Cast,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_skc_to_udp6_sock = 140, since: (5, 9),
    signature: "struct udp6_sock *bpf_skc_to_udp6_sock(void *sk)",
    doc: "A socket as the kernel's IPv6 UDP socket, or NULL.",
    protos: [
        { who: NET, since: (5, 9),
          args: [BTF_SOCK], ret: ret::btf_or_null("udp6_sock"),
          gpl_only: false, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::Cast,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_sock_from_file = 162, since: (5, 11),
    signature: "struct socket *bpf_sock_from_file(struct file *file)",
    doc: "The socket behind an open file, or NULL.",
    protos: [
        { who: TRAMPOLINES, since: (5, 11),
          args: [btf(&["file"])], ret: ret::btf_or_null("socket"),
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::KERNEL_OBJECTS),
}

helper! { bpf_skc_to_unix_sock = 178, since: (5, 16),
    signature: "struct unix_sock *bpf_skc_to_unix_sock(void *sk)",
    doc: "A socket as the kernel's UNIX socket, or NULL.",
    protos: [
        { who: NET, since: (5, 16),
          args: [BTF_SOCK], ret: ret::btf_or_null("unix_sock"),
          gpl_only: false, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_skc_to_mptcp_sock = 196, since: (5, 19),
    signature: "struct mptcp_sock *bpf_skc_to_mptcp_sock(void *sk)",
    doc: "A socket as the kernel's MPTCP socket, or NULL.",
    protos: [
        { who: NET, since: (5, 19),
          args: [SOCK_COMMON], ret: ret::btf_or_null("mptcp_sock"),
          gpl_only: false, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::Cast,
    body: Body::Absent(absent::SOCKETS),
}
