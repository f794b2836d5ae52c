//! Lightweight tunnels and segment routing.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_lwt_push_encap, &bpf_lwt_seg6_store_bytes, &bpf_lwt_seg6_adjust_srh, &bpf_lwt_seg6_action];

helper! { bpf_lwt_push_encap = 73, since: (4, 18),
    signature: "long bpf_lwt_push_encap(struct sk_buff *skb, u32 type, void *hdr, u32 len)",
    doc: "Puts the packet into an outer IP or segment routing header.",
    protos: [
        { who: who(&[P::LwtIn, P::LwtXmit]), since: (4, 18),
          args: [CTX, ANY, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SEG6),
}

helper! { bpf_lwt_seg6_store_bytes = 74, since: (4, 18),
    signature: "long bpf_lwt_seg6_store_bytes(struct sk_buff *skb, u32 offset, const void *from, u32 len)",
    doc: "Writes into the outermost segment routing header.",
    protos: [
        { who: LWT_SEG6LOCAL, since: (4, 18),
          args: [CTX, ANY, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SEG6),
}

helper! { bpf_lwt_seg6_adjust_srh = 75, since: (4, 18),
    signature: "long bpf_lwt_seg6_adjust_srh(struct sk_buff *skb, u32 offset, s32 delta)",
    doc: "Grows or shrinks the outermost segment routing header.",
    protos: [
        { who: LWT_SEG6LOCAL, since: (4, 18),
          args: [CTX, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SEG6),
}

helper! { bpf_lwt_seg6_action = 76, since: (4, 18),
    signature: "long bpf_lwt_seg6_action(struct sk_buff *skb, u32 action, void *param, u32 param_len)",
    doc: "Applies a segment routing action to the packet.",
    protos: [
        { who: LWT_SEG6LOCAL, since: (4, 18),
          args: [CTX, ANY, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SEG6),
}
