//! Copying bytes out of and into packets of socket-buffer programs.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_skb_store_bytes, &bpf_skb_load_bytes, &bpf_skb_pull_data, &bpf_skb_load_bytes_relative];

helper! { bpf_skb_store_bytes = 9, since: (4, 1),
    signature: "long bpf_skb_store_bytes(struct sk_buff *skb, u32 offset, const void *from, u32 len, u64 flags)",
    doc: "Writes bytes into the packet, keeping the checksum state true if asked.",
    protos: [
        { who: TC_LWT_XMIT_SK_SKB, since: (4, 1),
          args: [CTX, ANY, RO_MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_skb_load_bytes = 26, since: (4, 5),
    signature: "long bpf_skb_load_bytes(const void *skb, u32 offset, void *to, u32 len)",
    doc: "Copies bytes out of the packet.",
    protos: [
        { who: who(&[P::SocketFilter, P::SchedCls, P::SchedAct, P::CgroupSkb, P::LwtIn, P::LwtOut, P::LwtXmit, P::SkSkb, P::LwtSeg6local, P::SkReuseport, P::FlowDissector]), since: (4, 5),
          args: [CTX, ANY, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_skb_pull_data = 39, since: (4, 9),
    signature: "long bpf_skb_pull_data(struct sk_buff *skb, u32 len)",
    doc: "Makes the first bytes of the packet accessible through pointers.",
    protos: [
        { who: who(&[P::SchedCls, P::SchedAct, P::LwtIn, P::LwtOut, P::LwtXmit, P::SkSkb]), since: (4, 9),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: LWT_SEG6LOCAL, since: (6, 17),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_skb_load_bytes_relative = 68, since: (4, 18),
    signature: "long bpf_skb_load_bytes_relative(const void *skb, u32 offset, void *to, u32 len, u32 start_header)",
    doc: "Copies bytes out of the packet, counted from the link-layer or network header.",
    protos: [
        { who: who(&[P::SocketFilter, P::SchedCls, P::SchedAct, P::CgroupSkb, P::SkReuseport]), since: (4, 18),
          args: [CTX, ANY, UNINIT_MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}
