//! Dynptrs: pointers with a length that is known at run time. The layout is in [`crate::dynptr_value`].

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_dynptr_from_mem, &bpf_dynptr_read, &bpf_dynptr_write, &bpf_dynptr_data];

helper! { bpf_dynptr_from_mem = 197, since: (5, 19),
    signature: "long bpf_dynptr_from_mem(void *data, u32 size, u64 flags, struct bpf_dynptr *ptr)",
    doc: "Makes a dynptr to memory of a map value.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [UNINIT_MEM, SIZE_OR_ZERO, ANY, NEW_LOCAL_DYNPTR], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_dynptr_read = 201, since: (5, 19),
    signature: "long bpf_dynptr_read(void *dst, u32 len, const struct bpf_dynptr *src, u32 offset, u64 flags)",
    doc: "Copies bytes out of a dynptr.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [UNINIT_MEM, SIZE_OR_ZERO, DYNPTR, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_dynptr_write = 202, since: (5, 19),
    signature: "long bpf_dynptr_write(const struct bpf_dynptr *dst, u32 offset, void *src, u32 len, u64 flags)",
    doc: "Writes bytes into a dynptr.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [DYNPTR, ANY, RO_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_dynptr_data = 203, since: (5, 19),
    signature: "void *bpf_dynptr_data(const struct bpf_dynptr *ptr, u32 offset, u32 len)",
    doc: "Address of bytes inside a dynptr, or NULL.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [DYNPTR, ANY, ALLOC_SIZE], ret: ret::DYNPTR_MEM_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}
