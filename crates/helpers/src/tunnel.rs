//! Metadata of tunnel devices: the key and options a packet came with or leaves with.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_skb_get_tunnel_key, &bpf_skb_set_tunnel_key, &bpf_skb_get_tunnel_opt, &bpf_skb_set_tunnel_opt];

helper! { bpf_skb_get_tunnel_key = 20, since: (4, 3),
    signature: "long bpf_skb_get_tunnel_key(struct sk_buff *skb, struct bpf_tunnel_key *key, u32 size, u64 flags)",
    doc: "Reads the tunnel metadata that the packet came with.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 3),
          args: [CTX, UNINIT_MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_skb_set_tunnel_key = 21, since: (4, 3),
    signature: "long bpf_skb_set_tunnel_key(struct sk_buff *skb, struct bpf_tunnel_key *key, u32 size, u64 flags)",
    doc: "Sets the tunnel metadata that the packet leaves with.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 3),
          args: [CTX, RO_MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_skb_get_tunnel_opt = 29, since: (4, 6),
    signature: "long bpf_skb_get_tunnel_opt(struct sk_buff *skb, void *opt, u32 size)",
    doc: "Reads the tunnel options that the packet came with.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 6),
          args: [CTX, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_skb_set_tunnel_opt = 30, since: (4, 6),
    signature: "long bpf_skb_set_tunnel_opt(struct sk_buff *skb, void *opt, u32 size)",
    doc: "Sets the tunnel options that the packet leaves with.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 6),
          args: [CTX, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}
