//! Moving packets of a stream between sockets.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_sk_redirect_map, &bpf_sk_redirect_hash];

helper! { bpf_sk_redirect_map = 52, since: (4, 14),
    signature: "long bpf_sk_redirect_map(struct sk_buff *skb, struct bpf_map *map, u32 key, u64 flags)",
    doc: "Moves a packet of a stream to the socket in a map entry.",
    protos: [
        { who: SK_SKB, since: (4, 14),
          args: [CTX, MAP, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::Sockmap], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_sk_redirect_hash = 72, since: (4, 18),
    signature: "long bpf_sk_redirect_hash(struct sk_buff *skb, struct bpf_map *map, void *key, u64 flags)",
    doc: "Moves a packet of a stream to the socket in a hash entry.",
    protos: [
        { who: SK_SKB, since: (4, 18),
          args: [CTX, MAP, KEY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::Sockhash], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}
