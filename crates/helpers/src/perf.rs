//! Perf event arrays: samples out, counters in.

use crate::guest;
use crate::map::bad_map;
use crate::row::*;
use skep_platform::env::CtxData;

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
    map_types: &[MapType::PerfEventArray], rule: Rule::None,
    body: Body::Absent(absent::PERF_COUNTERS),
}

helper! { bpf_perf_event_output = 25, since: (4, 4),
    signature: "long bpf_perf_event_output(void *ctx, struct bpf_map *map, u64 flags, void *data, u64 size)",
    doc: "Writes a sample, with packet bytes behind it if asked, into a perf event array.",
    protos: [
        { who: who(&[
              P::SocketFilter, P::Kprobe, P::SchedCls, P::SchedAct, P::Tracepoint, P::Xdp, P::PerfEvent,
              P::CgroupSkb, P::CgroupSock, P::LwtIn, P::LwtOut, P::LwtXmit, P::SockOps, P::SkSkb,
              P::CgroupDevice, P::SkMsg, P::RawTracepoint, P::CgroupSockAddr, P::LwtSeg6local,
              P::CgroupSysctl, P::RawTracepointWritable, P::CgroupSockopt, P::Tracing, P::Lsm, P::SkLookup,
              P::Syscall,
          ]), since: (4, 4),
          args: [CTX, MAP, ANY, RO_MEM, SIZE_OR_ZERO], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::PerfEventArray], rule: Rule::None,
    body: Body::Fn(perf_event_output),
}

/// Bits 32 to 51 of the flags ask for that many packet bytes behind the data. Only the ring of the CPU that the program
/// runs on takes samples, as in the kernel.
fn perf_event_output(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [_, handle, flags, data, size] = a;
    let has_packet = matches!(env.ctx().data, CtxData::Packet(_));
    let known = if has_packet { INDEX | PACKET_LEN } else { INDEX };
    if flags & !known != 0 {
        return Ok(Errno::EINVAL.into());
    }
    let packet_len = ((flags & PACKET_LEN) >> 32) as usize;
    let packet = match packet_len {
        0 => Vec::new(),
        n => match env.packet()?.bytes().get(..n) {
            Some(b) => b.to_vec(),
            None => return Ok(Errno::EFAULT.into()),
        },
    };
    let map = env.map(handle)?;
    let events = map.perf_events().ok_or_else(|| bad_map(map, "it is no perf event array"))?;
    let cpu = env.cpu();
    let index = match (flags & INDEX) as u32 {
        CURRENT_CPU => cpu,
        index => index,
    };
    if index >= map.def().max_entries {
        return Ok(Errno::E2BIG.into());
    }
    if index != cpu {
        return Ok(Errno::EOPNOTSUPP.into());
    }
    let data = guest::vec(env, data, size)?;
    Ok(events.output(index, &[&data, &packet]).into())
}

/// `BPF_F_INDEX_MASK` and `BPF_F_CTXLEN_MASK`.
const INDEX: u64 = 0xffff_ffff;
const PACKET_LEN: u64 = 0xf_ffff << 32;
const CURRENT_CPU: u32 = u32::MAX;

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
    map_types: &[MapType::PerfEventArray], rule: Rule::None,
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
    map_types: &[], rule: Rule::None,
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
    map_types: &[MapType::PerfEventArray], rule: Rule::None,
    body: Body::Absent(absent::KERNEL_PACKETS),
}

helper! { bpf_read_branch_records = 119, since: (5, 7),
    signature: "long bpf_read_branch_records(struct bpf_perf_event_data *ctx, void *buf, u32 size, u64 flags)",
    doc: "Copies the branch records of the perf event.",
    protos: [
        { who: PERF_EVENT, since: (5, 7),
          args: [CTX, UNINIT_MEM_OR_NULL, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
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
    map_types: &[MapType::PerfEventArray], rule: Rule::None,
    body: Body::Absent(absent::KERNEL_PACKETS),
}
