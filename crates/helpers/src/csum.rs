//! Internet checksums: differences, replacement in headers, and the checksum state of a packet.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_l3_csum_replace, &bpf_l4_csum_replace, &bpf_csum_diff, &bpf_csum_update, &bpf_csum_level];

helper! { bpf_l3_csum_replace = 10, since: (4, 1),
    signature: "long bpf_l3_csum_replace(struct sk_buff *skb, u32 offset, u64 from, u64 to, u64 size)",
    doc: "Adjusts an IPv4-style header checksum for a changed field.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 1),
          args: [CTX, ANY, ANY, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_l4_csum_replace = 11, since: (4, 1),
    signature: "long bpf_l4_csum_replace(struct sk_buff *skb, u32 offset, u64 from, u64 to, u64 flags)",
    doc: "Adjusts a TCP, UDP or ICMP checksum for a changed field or pseudo-header.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 1),
          args: [CTX, ANY, ANY, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_csum_diff = 28, since: (4, 6),
    signature: "s64 bpf_csum_diff(__be32 *from, u32 from_size, __be32 *to, u32 to_size, __wsum seed)",
    doc: "Difference of the Internet checksums of two buffers, on top of a seed.",
    protos: [
        { who: who(&[P::SchedCls, P::SchedAct, P::Xdp, P::LwtIn, P::LwtOut, P::LwtXmit, P::LwtSeg6local]), since: (4, 6),
          args: [RO_MEM_OR_NULL, SIZE_OR_ZERO, RO_MEM_OR_NULL, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_csum_update = 40, since: (4, 9),
    signature: "s64 bpf_csum_update(struct sk_buff *skb, __wsum csum)",
    doc: "Adds to the checksum of the whole packet that the interface computed.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 9),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_csum_level = 135, since: (5, 8),
    signature: "long bpf_csum_level(struct sk_buff *skb, u64 level)",
    doc: "Reads or changes how many nested checksums the interface has verified.",
    protos: [
        { who: TC_LWT_XMIT, since: (5, 8),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}
