//! What an observing program may ask about the place it is attached to, and kernel objects on the way.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_override_return,
    &bpf_d_path,
    &bpf_get_func_ip,
    &bpf_get_attach_cookie,
    &bpf_get_branch_snapshot,
    &bpf_find_vma,
    &bpf_get_func_arg,
    &bpf_get_func_ret,
    &bpf_get_func_arg_cnt,
];

helper! { bpf_override_return = 58, since: (4, 16),
    signature: "long bpf_override_return(struct pt_regs *regs, u64 rc)",
    doc: "Makes the probed kernel function return a value without running.",
    protos: [
        { who: KPROBE, since: (4, 16),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::Built("BPF_KPROBE_OVERRIDE"),
    body: Body::Absent(absent::KERNEL_HOOK),
}

helper! { bpf_d_path = 147, since: (5, 10),
    signature: "long bpf_d_path(struct path *path, char *buf, u32 sz)",
    doc: "Full name of a file's path.",
    protos: [
        { who: TRAMPOLINES, since: (5, 10),
          args: [btf(&["path"]), UNINIT_MEM, SIZE_OR_ZERO], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::Places(D_PATH_PLACES),
    body: Body::Absent(absent::KERNEL_OBJECTS),
}

/// Functions that hold no lock which walking a path takes (`btf_allowlist_d_path`).
const D_PATH_PLACES: &[&str] = &[
    "security_file_permission",
    "security_inode_getattr",
    "security_file_open",
    "security_path_truncate",
    "vfs_truncate",
    "vfs_fallocate",
    "dentry_open",
    "vfs_getattr",
    "filp_close",
];

helper! { bpf_get_func_ip = 173, since: (5, 15),
    signature: "u64 bpf_get_func_ip(void *ctx)",
    doc: "Address of the function that the program is attached to.",
    protos: [
        { who: KPROBE.attached(&[
              A::TraceKprobeMulti, A::TraceKprobeSession, A::TraceUprobeMulti,
          ]), since: (5, 15),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: TRACERS, since: (5, 15),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(get_func_ip),
}

/// 0, as in the kernel for a probe that is not at a function's entry: a context given as bytes has no function behind it.
fn get_func_ip(_: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(0))
}

helper! { bpf_get_attach_cookie = 174, since: (5, 15),
    signature: "u64 bpf_get_attach_cookie(void *ctx)",
    doc: "The number that was given when the program was attached.",
    protos: [
        { who: TRACING.attached(&[
              A::TraceRawTp, A::TraceFentry, A::TraceFexit, A::ModifyReturn,
          ]), since: (5, 15),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: LSM.attached(&[A::LsmMac]), since: (5, 15),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[
              P::Kprobe, P::Tracepoint, P::PerfEvent, P::RawTracepoint, P::RawTracepointWritable,
          ]), since: (5, 15),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(get_attach_cookie),
}

/// 0, as in the kernel for an attachment without a cookie.
fn get_attach_cookie(_: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(0))
}

helper! { bpf_get_branch_snapshot = 176, since: (5, 16),
    signature: "long bpf_get_branch_snapshot(void *entries, u32 size, u64 flags)",
    doc: "Copies the processor's record of the last branches.",
    protos: [
        { who: TRACERS, since: (5, 16),
          args: [UNINIT_MEM, SIZE_OR_ZERO], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
        { who: NOT_TRACERS, since: (6, 16),
          args: [UNINIT_MEM, SIZE_OR_ZERO], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::KERNEL_HOOK),
}

helper! { bpf_find_vma = 180, since: (5, 17),
    signature: "long bpf_find_vma(struct task_struct *task, u64 addr, void *callback_fn, void *callback_ctx, u64 flags)",
    doc: "Calls a function for the memory area of a task that holds an address.",
    protos: [
        { who: TRACERS, since: (5, 17),
          args: [btf(&["task_struct"]), ANY, FUNC, STACK_OR_NULL, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: NOT_TRACERS, since: (6, 16),
          args: [btf(&["task_struct"]), ANY, FUNC, STACK_OR_NULL, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::Sync { arg: 2, params: CallbackParams::TaskVma }, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::KERNEL_OBJECTS),
}

helper! { bpf_get_func_arg = 183, since: (5, 17),
    signature: "long bpf_get_func_arg(void *ctx, u32 n, u64 *value)",
    doc: "An argument of the traced function.",
    protos: [
        { who: who(&[
              P::Tracing, P::Lsm,
          ]).attached(&[A::TraceFentry, A::TraceFexit, A::ModifyReturn, A::LsmMac]), since: (5, 17),
          args: [CTX, ANY, fixed_out(8)], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::KERNEL_HOOK),
}

helper! { bpf_get_func_ret = 184, since: (5, 17),
    signature: "long bpf_get_func_ret(void *ctx, u64 *value)",
    doc: "The return value of the traced function.",
    protos: [
        { who: who(&[
              P::Tracing, P::Lsm,
          ]).attached(&[A::TraceFentry, A::TraceFexit, A::ModifyReturn, A::LsmMac]), since: (5, 17),
          args: [CTX, fixed_out(8)], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::KERNEL_HOOK),
}

helper! { bpf_get_func_arg_cnt = 185, since: (5, 17),
    signature: "long bpf_get_func_arg_cnt(void *ctx)",
    doc: "The number of arguments of the traced function.",
    protos: [
        { who: who(&[
              P::Tracing, P::Lsm,
          ]).attached(&[A::TraceFentry, A::TraceFexit, A::ModifyReturn, A::LsmMac]), since: (5, 17),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::KERNEL_HOOK),
}
