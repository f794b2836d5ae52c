//! Helpers on maps: look up, update, delete, the queue operations, and the walk over all entries.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_map_lookup_elem,
    &bpf_map_update_elem,
    &bpf_map_delete_elem,
    &bpf_map_push_elem,
    &bpf_map_pop_elem,
    &bpf_map_peek_elem,
    &bpf_for_each_map_elem,
    &bpf_map_lookup_percpu_elem,
];

helper! { bpf_map_lookup_elem = 1, since: (3, 19),
    signature: "void *bpf_map_lookup_elem(struct bpf_map *map, const void *key)",
    doc: "Finds the entry of a key; the program gets the address of its value, or NULL.",
    protos: [
        { who: ALL, since: (3, 19),
          args: [MAP, KEY], ret: ret::VALUE_OR_NULL,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::ForMapTypes(&[MapType::Sockmap, MapType::Sockhash]), lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_map_update_elem = 2, since: (3, 19),
    signature: "long bpf_map_update_elem(struct bpf_map *map, const void *key, const void *value, u64 flags)",
    doc: "Sets the value of a key, creating or replacing the entry as the flags say.",
    protos: [
        { who: ALL, since: (3, 19),
          args: [MAP, KEY, VALUE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_map_delete_elem = 3, since: (3, 19),
    signature: "long bpf_map_delete_elem(struct bpf_map *map, const void *key)",
    doc: "Removes the entry of a key.",
    protos: [
        { who: ALL, since: (3, 19),
          args: [MAP, KEY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_map_push_elem = 87, since: (4, 20),
    signature: "long bpf_map_push_elem(struct bpf_map *map, const void *value, u64 flags)",
    doc: "Adds a value to a queue, stack or bloom filter.",
    protos: [
        { who: ALL, since: (4, 20),
          args: [MAP, VALUE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_map_pop_elem = 88, since: (4, 20),
    signature: "long bpf_map_pop_elem(struct bpf_map *map, void *value)",
    doc: "Takes the next value out of a queue or stack.",
    protos: [
        { who: ALL, since: (4, 20),
          args: [MAP, UNINIT_VALUE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_map_peek_elem = 89, since: (4, 20),
    signature: "long bpf_map_peek_elem(struct bpf_map *map, void *value)",
    doc: "Copies the next value of a queue or stack, or asks a bloom filter for one.",
    protos: [
        { who: ALL, since: (4, 20),
          args: [MAP, UNINIT_VALUE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_for_each_map_elem = 164, since: (5, 13),
    signature: "long bpf_for_each_map_elem(struct bpf_map *map, void *callback_fn, void *callback_ctx, u64 flags)",
    doc: "Calls a function for every entry of a map.",
    protos: [
        { who: BASE, since: (5, 13),
          args: [MAP, FUNC, STACK_OR_NULL, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::Sync { arg: 1, params: CallbackParams::MapElem }, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_map_lookup_percpu_elem = 195, since: (5, 19),
    signature: "void *bpf_map_lookup_percpu_elem(struct bpf_map *map, const void *key, u32 cpu)",
    doc: "Finds the value of a key for a given CPU, or NULL.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [MAP, KEY, ANY], ret: ret::VALUE_OR_NULL,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}
