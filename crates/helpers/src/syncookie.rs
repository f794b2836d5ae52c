//! SYN cookies.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_tcp_check_syncookie,
    &bpf_tcp_gen_syncookie,
    &bpf_tcp_raw_gen_syncookie_ipv4,
    &bpf_tcp_raw_gen_syncookie_ipv6,
    &bpf_tcp_raw_check_syncookie_ipv4,
    &bpf_tcp_raw_check_syncookie_ipv6,
];

helper! { bpf_tcp_check_syncookie = 100, since: (5, 2),
    signature: "long bpf_tcp_check_syncookie(void *sk, void *iph, u32 iph_len, struct tcphdr *th, u32 th_len)",
    doc: "Checks that an ACK answers a SYN cookie of a listening socket.",
    protos: [
        { who: TC_XDP, since: (5, 2),
          args: [BTF_SOCK, RO_MEM, SIZE, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: true, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_tcp_gen_syncookie = 110, since: (5, 3),
    signature: "s64 bpf_tcp_gen_syncookie(void *sk, void *iph, u32 iph_len, struct tcphdr *th, u32 th_len)",
    doc: "Makes a SYN cookie for a SYN to a listening socket.",
    protos: [
        { who: TC_XDP, since: (5, 3),
          args: [BTF_SOCK, RO_MEM, SIZE, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: true, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_tcp_raw_gen_syncookie_ipv4 = 204, since: (6, 0),
    signature: "s64 bpf_tcp_raw_gen_syncookie_ipv4(struct iphdr *iph, struct tcphdr *th, u32 th_len)",
    doc: "Makes an IPv4 SYN cookie without a socket.",
    protos: [
        { who: TC_XDP, since: (6, 0),
          args: [fixed(20), MEM, SIZE_OR_ZERO], ret: ret::INTEGER,
          gpl_only: true, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SYNCOOKIES),
}

helper! { bpf_tcp_raw_gen_syncookie_ipv6 = 205, since: (6, 0),
    signature: "s64 bpf_tcp_raw_gen_syncookie_ipv6(struct ipv6hdr *iph, struct tcphdr *th, u32 th_len)",
    doc: "Makes an IPv6 SYN cookie without a socket.",
    protos: [
        { who: TC_XDP, since: (6, 0),
          args: [fixed(40), MEM, SIZE_OR_ZERO], ret: ret::INTEGER,
          gpl_only: true, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SYNCOOKIES),
}

helper! { bpf_tcp_raw_check_syncookie_ipv4 = 206, since: (6, 0),
    signature: "long bpf_tcp_raw_check_syncookie_ipv4(struct iphdr *iph, struct tcphdr *th)",
    doc: "Checks an IPv4 SYN cookie without a socket.",
    protos: [
        { who: TC_XDP, since: (6, 0),
          args: [fixed(20), fixed(20)], ret: ret::INTEGER,
          gpl_only: true, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SYNCOOKIES),
}

helper! { bpf_tcp_raw_check_syncookie_ipv6 = 207, since: (6, 0),
    signature: "long bpf_tcp_raw_check_syncookie_ipv6(struct ipv6hdr *iph, struct tcphdr *th)",
    doc: "Checks an IPv6 SYN cookie without a socket.",
    protos: [
        { who: TC_XDP, since: (6, 0),
          args: [fixed(40), fixed(20)], ret: ret::INTEGER,
          gpl_only: true, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SYNCOOKIES),
}
