//! Messages on their way into a socket.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_msg_redirect_map,
    &bpf_msg_apply_bytes,
    &bpf_msg_cork_bytes,
    &bpf_msg_pull_data,
    &bpf_msg_redirect_hash,
    &bpf_msg_push_data,
    &bpf_msg_pop_data,
];

helper! { bpf_msg_redirect_map = 60, since: (4, 17),
    signature: "long bpf_msg_redirect_map(struct sk_msg_buff *msg, struct bpf_map *map, u32 key, u64 flags)",
    doc: "Moves a message to the socket in a map entry.",
    protos: [
        { who: SK_MSG, since: (4, 17),
          args: [CTX, MAP, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::Sockmap], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_msg_apply_bytes = 61, since: (4, 17),
    signature: "long bpf_msg_apply_bytes(struct sk_msg_buff *msg, u32 bytes)",
    doc: "Applies the verdict to this many of the next bytes.",
    protos: [
        { who: SK_MSG, since: (4, 17),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_msg_cork_bytes = 62, since: (4, 17),
    signature: "long bpf_msg_cork_bytes(struct sk_msg_buff *msg, u32 bytes)",
    doc: "Waits for this many bytes before the program is called again.",
    protos: [
        { who: SK_MSG, since: (4, 17),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_msg_pull_data = 63, since: (4, 17),
    signature: "long bpf_msg_pull_data(struct sk_msg_buff *msg, u32 start, u32 end, u64 flags)",
    doc: "Makes a range of message bytes accessible through pointers.",
    protos: [
        { who: SK_MSG, since: (4, 17),
          args: [CTX, ANY, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_msg_redirect_hash = 71, since: (4, 18),
    signature: "long bpf_msg_redirect_hash(struct sk_msg_buff *msg, struct bpf_map *map, void *key, u64 flags)",
    doc: "Moves a message to the socket in a hash entry.",
    protos: [
        { who: SK_MSG, since: (4, 18),
          args: [CTX, MAP, KEY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::Sockhash], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_msg_push_data = 90, since: (4, 20),
    signature: "long bpf_msg_push_data(struct sk_msg_buff *msg, u32 start, u32 len, u64 flags)",
    doc: "Opens a gap in a message.",
    protos: [
        { who: SK_MSG, since: (4, 20),
          args: [CTX, ANY, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}

helper! { bpf_msg_pop_data = 91, since: (5, 0),
    signature: "long bpf_msg_pop_data(struct sk_msg_buff *msg, u32 start, u32 len, u64 flags)",
    doc: "Takes bytes out of a message.",
    protos: [
        { who: SK_MSG, since: (5, 0),
          args: [CTX, ANY, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SOCKETS),
}
