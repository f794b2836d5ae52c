//! Filling socket maps from socket events.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_sock_map_update, &bpf_sock_hash_update];

helper! { bpf_sock_map_update = 53, since: (4, 14),
    signature: "long bpf_sock_map_update(struct bpf_sock_ops *skops, struct bpf_map *map, void *key, u64 flags)",
    doc: "Puts the socket that an event is about into a socket map.",
    protos: [
        { who: SOCK_OPS, since: (4, 14),
          args: [CTX, MAP, KEY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::Sockmap], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_sock_hash_update = 70, since: (4, 18),
    signature: "long bpf_sock_hash_update(struct bpf_sock_ops *skops, struct bpf_map *map, void *key, u64 flags)",
    doc: "Puts the socket that an event is about into a socket hash.",
    protos: [
        { who: SOCK_OPS, since: (4, 18),
          args: [CTX, MAP, KEY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::Sockhash], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}
