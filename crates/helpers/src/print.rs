//! Text: trace lines and formatted buffers. The formatter itself is in [`crate::format`].

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_trace_printk, &bpf_snprintf_btf, &bpf_snprintf, &bpf_trace_vprintk];

helper! { bpf_trace_printk = 6, since: (4, 1),
    signature: "long bpf_trace_printk(const char *fmt, u32 fmt_size, ...)",
    doc: "Formats up to three values and writes the line to the trace output.",
    protos: [
        { who: ALL, since: (4, 1),
          args: [RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_snprintf_btf = 149, since: (5, 10),
    signature: "long bpf_snprintf_btf(char *str, u32 str_size, struct btf_ptr *ptr, u32 btf_ptr_size, u64 flags)",
    doc: "Writes a kernel object as text by its BTF type.",
    protos: [
        { who: BASE, since: (5, 10),
          args: [MEM, SIZE, RO_MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::SNPRINTF_BTF),
}

helper! { bpf_snprintf = 165, since: (5, 13),
    signature: "long bpf_snprintf(char *str, u32 str_size, const char *fmt, u64 *data, u32 data_len)",
    doc: "Formats values into a buffer.",
    protos: [
        { who: BASE, since: (5, 13),
          args: [MEM_OR_NULL, SIZE_OR_ZERO, CONST_STR, RO_MEM_OR_NULL, SIZE_OR_ZERO], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_trace_vprintk = 177, since: (5, 16),
    signature: "long bpf_trace_vprintk(const char *fmt, u32 fmt_size, const void *data, u32 data_len)",
    doc: "Formats any number of values and writes the line to the trace output.",
    protos: [
        { who: BASE, since: (5, 16),
          args: [RO_MEM, SIZE, RO_MEM_OR_NULL, SIZE_OR_ZERO], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}
