//! What a socket buffer knows beside its bytes: hash, type, realm, time stamp.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_get_route_realm,
    &bpf_skb_change_type,
    &bpf_get_hash_recalc,
    &bpf_set_hash_invalid,
    &bpf_set_hash,
    &bpf_skb_get_xfrm_state,
    &bpf_skb_ecn_set_ce,
    &bpf_skb_set_tstamp,
];

helper! { bpf_get_route_realm = 24, since: (4, 4),
    signature: "u32 bpf_get_route_realm(struct sk_buff *skb)",
    doc: "Routing realm of the packet's destination.",
    protos: [
        { who: TC_LWT, since: (4, 4),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_skb_change_type = 32, since: (4, 8),
    signature: "long bpf_skb_change_type(struct sk_buff *skb, u32 type)",
    doc: "Changes who the packet is addressed to: this host, all, a group, another host.",
    protos: [
        { who: TC, since: (4, 8),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_get_hash_recalc = 34, since: (4, 8),
    signature: "u32 bpf_get_hash_recalc(struct sk_buff *skb)",
    doc: "The packet's flow hash, computed when it is not known.",
    protos: [
        { who: TC_LWT, since: (4, 8),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_set_hash_invalid = 41, since: (4, 9),
    signature: "void bpf_set_hash_invalid(struct sk_buff *skb)",
    doc: "Forgets the packet's flow hash, so that it is computed afresh.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 9),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_set_hash = 48, since: (4, 13),
    signature: "long bpf_set_hash(struct sk_buff *skb, u32 hash)",
    doc: "Sets the packet's flow hash.",
    protos: [
        { who: TC, since: (4, 13),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_skb_get_xfrm_state = 66, since: (4, 18),
    signature: "long bpf_skb_get_xfrm_state(struct sk_buff *skb, u32 index, struct bpf_xfrm_state *xfrm_state, u32 size, u64 flags)",
    doc: "Reads the IPsec state that the packet was received under.",
    protos: [
        { who: TC, since: (4, 18),
          args: [CTX, ANY, UNINIT_MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_skb_ecn_set_ce = 97, since: (5, 1),
    signature: "long bpf_skb_ecn_set_ce(struct sk_buff *skb)",
    doc: "Marks an ECN-capable packet as having met congestion.",
    protos: [
        { who: TC_CGROUP_SKB, since: (5, 1),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_skb_set_tstamp = 192, since: (5, 18),
    signature: "long bpf_skb_set_tstamp(struct sk_buff *skb, u64 tstamp, u32 tstamp_type)",
    doc: "Sets the time stamp of the packet and the clock that it is of.",
    protos: [
        { who: TC, since: (5, 18),
          args: [CTX, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}
