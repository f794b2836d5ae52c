//! Numbers in text, and comparison.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_strtol, &bpf_strtoul, &bpf_strncmp];

helper! { bpf_strtol = 105, since: (5, 2),
    signature: "long bpf_strtol(const char *buf, size_t buf_len, u64 flags, long *res)",
    doc: "Reads a signed number from text.",
    protos: [
        { who: BASE, since: (5, 2),
          args: [RO_MEM, SIZE, ANY, fixed_out(8)], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_strtoul = 106, since: (5, 2),
    signature: "long bpf_strtoul(const char *buf, size_t buf_len, u64 flags, unsigned long *res)",
    doc: "Reads an unsigned number from text.",
    protos: [
        { who: BASE, since: (5, 2),
          args: [RO_MEM, SIZE, ANY, fixed_out(8)], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_strncmp = 182, since: (5, 17),
    signature: "long bpf_strncmp(const char *s1, u32 s1_sz, const char *s2)",
    doc: "Compares memory with a constant string.",
    protos: [
        { who: BASE, since: (5, 17),
          args: [RO_MEM, SIZE, CONST_STR], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}
