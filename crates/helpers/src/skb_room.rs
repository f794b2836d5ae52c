//! Making and removing room in packets of socket-buffer programs.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_skb_change_proto, &bpf_skb_change_tail, &bpf_skb_change_head, &bpf_skb_adjust_room];

helper! { bpf_skb_change_proto = 31, since: (4, 8),
    signature: "long bpf_skb_change_proto(struct sk_buff *skb, __be16 proto, u64 flags)",
    doc: "Turns an IPv4 packet into room for an IPv6 one, or the other way round.",
    protos: [
        { who: TC, since: (4, 8),
          args: [CTX, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_skb_change_tail = 38, since: (4, 9),
    signature: "long bpf_skb_change_tail(struct sk_buff *skb, u32 len, u64 flags)",
    doc: "Sets the length of the packet by cutting or zero-padding its end.",
    protos: [
        { who: TC_LWT_XMIT_SK_SKB, since: (4, 9),
          args: [CTX, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_skb_change_head = 43, since: (4, 10),
    signature: "long bpf_skb_change_head(struct sk_buff *skb, u32 len, u64 flags)",
    doc: "Grows room for a link-layer header in front of the packet.",
    protos: [
        { who: TC_LWT_XMIT_SK_SKB, since: (4, 10),
          args: [CTX, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_skb_adjust_room = 50, since: (4, 13),
    signature: "long bpf_skb_adjust_room(struct sk_buff *skb, s32 len_diff, u32 mode, u64 flags)",
    doc: "Grows or shrinks the packet behind its link-layer or network header.",
    protos: [
        { who: who(&[P::SchedCls, P::SchedAct, P::SkSkb]), since: (4, 13),
          args: [CTX, ANY, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}
