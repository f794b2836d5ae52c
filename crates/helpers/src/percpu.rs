//! Kernel per-CPU variables.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_per_cpu_ptr, &bpf_this_cpu_ptr];

helper! { bpf_per_cpu_ptr = 153, since: (5, 10),
    signature: "void *bpf_per_cpu_ptr(const void *percpu_ptr, u32 cpu)",
    doc: "A kernel per-CPU variable of a CPU, or NULL.",
    protos: [
        { who: BASE, since: (5, 10),
          args: [PERCPU, ANY], ret: ret::PERCPU_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::KERNEL_OBJECTS),
}

helper! { bpf_this_cpu_ptr = 154, since: (5, 10),
    signature: "void *bpf_this_cpu_ptr(const void *percpu_ptr)",
    doc: "A kernel per-CPU variable of this CPU.",
    protos: [
        { who: BASE, since: (5, 10),
          args: [PERCPU], ret: ret::PERCPU,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::KERNEL_OBJECTS),
}
