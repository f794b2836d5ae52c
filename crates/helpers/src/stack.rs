//! Call stacks.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_get_stackid, &bpf_get_stack, &bpf_get_task_stack];

helper! { bpf_get_stackid = 27, since: (4, 6),
    signature: "long bpf_get_stackid(void *ctx, struct bpf_map *map, u64 flags)",
    doc: "Stores the call stack in a stack map and gives its id.",
    protos: [
        { who: who(&[
              P::Kprobe, P::Tracepoint, P::RawTracepoint, P::RawTracepointWritable, P::Tracing, P::Lsm,
              P::Syscall,
          ]), since: (4, 6),
          args: [CTX, MAP, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
        { who: PERF_EVENT, since: (4, 6),
          args: [CTX, MAP, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::StackTrace], rule: Rule::None,
    body: Body::Absent(absent::STACKS),
}

helper! { bpf_get_stack = 67, since: (4, 18),
    signature: "long bpf_get_stack(void *ctx, void *buf, u32 size, u64 flags)",
    doc: "Copies the call stack into a buffer.",
    protos: [
        { who: KPROBE.sleepable(true), since: (4, 18),
          args: [CTX, UNINIT_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: true, capability: None },
        { who: KPROBE.sleepable(false), since: (4, 18),
          args: [CTX, UNINIT_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[P::Tracepoint, P::PerfEvent]), since: (4, 18),
          args: [CTX, UNINIT_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[
              P::RawTracepoint, P::RawTracepointWritable, P::Tracing, P::Lsm, P::Syscall,
          ]), since: (4, 18),
          args: [CTX, UNINIT_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::AtMostSize(2),
    body: Body::Absent(absent::STACKS),
}

helper! { bpf_get_task_stack = 141, since: (5, 9),
    signature: "long bpf_get_task_stack(struct task_struct *task, void *buf, u32 size, u64 flags)",
    doc: "Copies the call stack of a task into a buffer.",
    protos: [
        { who: TRACERS.sleepable(true), since: (5, 9),
          args: [btf(&["task_struct"]), UNINIT_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: true, capability: None },
        { who: TRACERS.sleepable(false), since: (5, 9),
          args: [btf(&["task_struct"]), UNINIT_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: NOT_TRACERS.sleepable(true), since: (6, 16),
          args: [btf(&["task_struct"]), UNINIT_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: true, capability: PERFMON },
        { who: NOT_TRACERS.sleepable(false), since: (6, 16),
          args: [btf(&["task_struct"]), UNINIT_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::AtMostSize(2),
    body: Body::Absent(absent::STACKS),
}
