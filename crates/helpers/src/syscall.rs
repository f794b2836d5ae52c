//! What a program of type syscall may ask of the kernel.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_sys_bpf, &bpf_btf_find_by_name_kind, &bpf_sys_close, &bpf_kallsyms_lookup_name];

helper! { bpf_sys_bpf = 166, since: (5, 14),
    signature: "long bpf_sys_bpf(u32 cmd, void *attr, u32 attr_size)",
    doc: "Makes a bpf(2) system call.",
    protos: [
        { who: SYSCALL, since: (5, 14),
          args: [ANY, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: true, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SYSCALLS),
}

helper! { bpf_btf_find_by_name_kind = 167, since: (5, 14),
    signature: "long bpf_btf_find_by_name_kind(char *name, int name_sz, u32 kind, int flags)",
    doc: "Finds a kernel type by name.",
    protos: [
        { who: SYSCALL, since: (5, 14),
          args: [RO_MEM, SIZE, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: true, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SYSCALLS),
}

helper! { bpf_sys_close = 168, since: (5, 14),
    signature: "long bpf_sys_close(u32 fd)",
    doc: "Closes a file descriptor.",
    protos: [
        { who: SYSCALL, since: (5, 14),
          args: [ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: true, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SYSCALLS),
}

helper! { bpf_kallsyms_lookup_name = 179, since: (5, 16),
    signature: "long bpf_kallsyms_lookup_name(const char *name, int name_sz, int flags, u64 *res)",
    doc: "Address of a kernel symbol.",
    protos: [
        { who: SYSCALL, since: (5, 16),
          args: [MEM, SIZE_OR_ZERO, ANY, fixed_out(8)], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SYSCALLS),
}
