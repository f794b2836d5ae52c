//! The sysctl that a cgroup program judges.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_sysctl_get_name,
    &bpf_sysctl_get_current_value,
    &bpf_sysctl_get_new_value,
    &bpf_sysctl_set_new_value,
];

helper! { bpf_sysctl_get_name = 101, since: (5, 2),
    signature: "long bpf_sysctl_get_name(struct bpf_sysctl *ctx, char *buf, size_t buf_len, u64 flags)",
    doc: "Name of the sysctl that is read or written.",
    protos: [
        { who: CGROUP_SYSCTL, since: (5, 2),
          args: [CTX, OUT_MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SYSCTL),
}

helper! { bpf_sysctl_get_current_value = 102, since: (5, 2),
    signature: "long bpf_sysctl_get_current_value(struct bpf_sysctl *ctx, char *buf, size_t buf_len)",
    doc: "Value of the sysctl before it is written.",
    protos: [
        { who: CGROUP_SYSCTL, since: (5, 2),
          args: [CTX, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SYSCTL),
}

helper! { bpf_sysctl_get_new_value = 103, since: (5, 2),
    signature: "long bpf_sysctl_get_new_value(struct bpf_sysctl *ctx, char *buf, size_t buf_len)",
    doc: "Value that is about to be written to the sysctl.",
    protos: [
        { who: CGROUP_SYSCTL, since: (5, 2),
          args: [CTX, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SYSCTL),
}

helper! { bpf_sysctl_set_new_value = 104, since: (5, 2),
    signature: "long bpf_sysctl_set_new_value(struct bpf_sysctl *ctx, const char *buf, size_t buf_len)",
    doc: "Replaces the value that is about to be written to the sysctl.",
    protos: [
        { who: CGROUP_SYSCTL, since: (5, 2),
          args: [CTX, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SYSCTL),
}
