//! Output of iterators.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_seq_printf, &bpf_seq_write, &bpf_seq_printf_btf];

helper! { bpf_seq_printf = 126, since: (5, 8),
    signature: "long bpf_seq_printf(struct seq_file *m, const char *fmt, u32 fmt_size, const void *data, u32 data_len)",
    doc: "Formats values into the file of an iterator.",
    protos: [
        { who: TRACING.attached(&[A::TraceIter]), since: (5, 8),
          args: [btf(&["seq_file"]), RO_MEM, SIZE, RO_MEM_OR_NULL, SIZE_OR_ZERO], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::ITERATORS),
}

helper! { bpf_seq_write = 127, since: (5, 8),
    signature: "long bpf_seq_write(struct seq_file *m, const void *data, u32 len)",
    doc: "Writes bytes into the file of an iterator.",
    protos: [
        { who: TRACING.attached(&[A::TraceIter]), since: (5, 8),
          args: [btf(&["seq_file"]), RO_MEM, SIZE_OR_ZERO], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::ITERATORS),
}

helper! { bpf_seq_printf_btf = 150, since: (5, 10),
    signature: "long bpf_seq_printf_btf(struct seq_file *m, struct btf_ptr *ptr, u32 ptr_size, u64 flags)",
    doc: "Writes a kernel object as text by its BTF type into the file of an iterator.",
    protos: [
        { who: TRACING.attached(&[A::TraceIter]), since: (5, 10),
          args: [btf(&["seq_file"]), RO_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::ITERATORS),
}
