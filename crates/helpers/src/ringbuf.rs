//! Ring buffers, by pointer and by dynptr.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_ringbuf_output,
    &bpf_ringbuf_reserve,
    &bpf_ringbuf_submit,
    &bpf_ringbuf_discard,
    &bpf_ringbuf_query,
    &bpf_ringbuf_reserve_dynptr,
    &bpf_ringbuf_submit_dynptr,
    &bpf_ringbuf_discard_dynptr,
];

helper! { bpf_ringbuf_output = 130, since: (5, 8),
    signature: "long bpf_ringbuf_output(void *ringbuf, void *data, u64 size, u64 flags)",
    doc: "Copies a record into a ring buffer.",
    protos: [
        { who: BASE, since: (5, 8),
          args: [MAP, RO_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_ringbuf_reserve = 131, since: (5, 8),
    signature: "void *bpf_ringbuf_reserve(void *ringbuf, u64 size, u64 flags)",
    doc: "Reserves a record in a ring buffer to be filled in place.",
    protos: [
        { who: BASE, since: (5, 8),
          args: [MAP, ALLOC_SIZE, ANY], ret: ret::RINGBUF_MEM_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::Yes, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_ringbuf_submit = 132, since: (5, 8),
    signature: "void bpf_ringbuf_submit(void *data, u64 flags)",
    doc: "Publishes a reserved record.",
    protos: [
        { who: BASE, since: (5, 8),
          args: [RINGBUF_RELEASE, ANY], ret: ret::VOID,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_ringbuf_discard = 133, since: (5, 8),
    signature: "void bpf_ringbuf_discard(void *data, u64 flags)",
    doc: "Gives a reserved record up.",
    protos: [
        { who: BASE, since: (5, 8),
          args: [RINGBUF_RELEASE, ANY], ret: ret::VOID,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_ringbuf_query = 134, since: (5, 8),
    signature: "u64 bpf_ringbuf_query(void *ringbuf, u64 flags)",
    doc: "Fill level, size or positions of a ring buffer.",
    protos: [
        { who: BASE, since: (5, 8),
          args: [MAP, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_ringbuf_reserve_dynptr = 198, since: (5, 19),
    signature: "long bpf_ringbuf_reserve_dynptr(void *ringbuf, u32 size, u64 flags, struct bpf_dynptr *ptr)",
    doc: "Reserves a record of a size known at run time in a ring buffer.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [MAP, ANY, ANY, NEW_RINGBUF_DYNPTR], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_ringbuf_submit_dynptr = 199, since: (5, 19),
    signature: "void bpf_ringbuf_submit_dynptr(struct bpf_dynptr *ptr, u64 flags)",
    doc: "Publishes a record reserved through a dynptr.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [RINGBUF_DYNPTR_RELEASE, ANY], ret: ret::VOID,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_ringbuf_discard_dynptr = 200, since: (5, 19),
    signature: "void bpf_ringbuf_discard_dynptr(struct bpf_dynptr *ptr, u64 flags)",
    doc: "Gives a record reserved through a dynptr up.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [RINGBUF_DYNPTR_RELEASE, ANY], ret: ret::VOID,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}
