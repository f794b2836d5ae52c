//! TCP sockets: events, acknowledgements and header options.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_sock_ops_cb_flags_set,
    &bpf_tcp_send_ack,
    &bpf_load_hdr_opt,
    &bpf_store_hdr_opt,
    &bpf_reserve_hdr_opt,
];

helper! { bpf_sock_ops_cb_flags_set = 59, since: (4, 16),
    signature: "long bpf_sock_ops_cb_flags_set(struct bpf_sock_ops *bpf_sock, int argval)",
    doc: "Chooses the events that a socket calls the program for.",
    protos: [
        { who: SOCK_OPS, since: (4, 16),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_tcp_send_ack = 116, since: (5, 6),
    signature: "long bpf_tcp_send_ack(void *tp, u32 rcv_nxt)",
    doc: "Sends a TCP acknowledgement.",
    protos: [
        { who: who(&[P::StructOps]).struct_ops(&["tcp_congestion_ops"]), since: (5, 6),
          args: [btf(&["tcp_sock"]), ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_load_hdr_opt = 142, since: (5, 10),
    signature: "long bpf_load_hdr_opt(struct bpf_sock_ops *skops, void *searchby_res, u32 len, u64 flags)",
    doc: "Finds an option in a TCP header.",
    protos: [
        { who: SOCK_OPS, since: (5, 10),
          args: [CTX, OUT_MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_store_hdr_opt = 143, since: (5, 10),
    signature: "long bpf_store_hdr_opt(struct bpf_sock_ops *skops, const void *from, u32 len, u64 flags)",
    doc: "Writes an option into a TCP header being built.",
    protos: [
        { who: SOCK_OPS, since: (5, 10),
          args: [CTX, RO_MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_reserve_hdr_opt = 144, since: (5, 10),
    signature: "long bpf_reserve_hdr_opt(struct bpf_sock_ops *skops, u32 len, u64 flags)",
    doc: "Reserves room for an option in the TCP header to be built.",
    protos: [
        { who: SOCK_OPS, since: (5, 10),
          args: [CTX, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}
