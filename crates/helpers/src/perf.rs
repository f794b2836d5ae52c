//! Perf event arrays: samples out, counters in.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_perf_event_read,
    &bpf_perf_event_output,
    &bpf_perf_event_read_value,
    &bpf_perf_prog_read_value,
    &bpf_skb_output,
    &bpf_read_branch_records,
    &bpf_xdp_output,
];

helper! { bpf_perf_event_read = 22, since: (4, 3),
    signature: "u64 bpf_perf_event_read(struct bpf_map *map, u64 flags)",
    doc: "Reads a perf counter of a perf event array.",
    protos: [
        { who: TRACERS, since: (4, 3),
          args: [MAP, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
        { who: NOT_TRACERS, since: (6, 16),
          args: [MAP, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::PERF_COUNTERS),
}

helper! { bpf_perf_event_output = 25, since: (4, 4),
    signature: "long bpf_perf_event_output(void *ctx, struct bpf_map *map, u64 flags, void *data, u64 size)",
    doc: "Writes a sample, with packet bytes behind it if asked, into a perf event array.",
    protos: [
        { who: who(&[P::SocketFilter, P::Kprobe, P::SchedCls, P::SchedAct, P::Tracepoint, P::Xdp, P::PerfEvent, P::CgroupSkb, P::CgroupSock, P::LwtIn, P::LwtOut, P::LwtXmit, P::SockOps, P::SkSkb, P::CgroupDevice, P::SkMsg, P::RawTracepoint, P::CgroupSockAddr, P::LwtSeg6local, P::CgroupSysctl, P::RawTracepointWritable, P::CgroupSockopt, P::Tracing, P::Lsm, P::SkLookup, P::Syscall]), since: (4, 4),
          args: [CTX, MAP, ANY, RO_MEM, SIZE_OR_ZERO], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_perf_event_read_value = 55, since: (4, 15),
    signature: "long bpf_perf_event_read_value(struct bpf_map *map, u64 flags, struct bpf_perf_event_value *buf, u32 buf_size)",
    doc: "Reads a perf counter with the times it was enabled and running.",
    protos: [
        { who: TRACERS, since: (4, 15),
          args: [MAP, ANY, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
        { who: NOT_TRACERS, since: (6, 16),
          args: [MAP, ANY, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::PERF_COUNTERS),
}

helper! { bpf_perf_prog_read_value = 56, since: (4, 15),
    signature: "long bpf_perf_prog_read_value(struct bpf_perf_event_data *ctx, struct bpf_perf_event_value *buf, u32 buf_size)",
    doc: "Reads the counter of the event that the program is attached to.",
    protos: [
        { who: PERF_EVENT, since: (4, 15),
          args: [CTX, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::PERF_COUNTERS),
}

helper! { bpf_skb_output = 111, since: (5, 5),
    signature: "long bpf_skb_output(void *ctx, struct bpf_map *map, u64 flags, void *data, u64 size)",
    doc: "Writes a sample with bytes of a kernel packet into a perf event array.",
    protos: [
        { who: TRAMPOLINES, since: (5, 5),
          args: [btf(&["sk_buff"]), MAP, ANY, RO_MEM, SIZE_OR_ZERO], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_read_branch_records = 119, since: (5, 7),
    signature: "long bpf_read_branch_records(struct bpf_perf_event_data *ctx, void *buf, u32 size, u64 flags)",
    doc: "Copies the branch records of the perf event.",
    protos: [
        { who: PERF_EVENT, since: (5, 7),
          args: [CTX, MEM_OR_NULL, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::PERF_COUNTERS),
}

helper! { bpf_xdp_output = 121, since: (5, 7),
    signature: "long bpf_xdp_output(void *ctx, struct bpf_map *map, u64 flags, void *data, u64 size)",
    doc: "Writes a sample with bytes of a kernel XDP buffer into a perf event array.",
    protos: [
        { who: TRAMPOLINES, since: (5, 7),
          args: [btf(&["xdp_buff"]), MAP, ANY, RO_MEM, SIZE_OR_ZERO], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}
