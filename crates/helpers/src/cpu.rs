//! Where the program runs.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_get_smp_processor_id, &bpf_get_numa_node_id];

/// Program types with the prototype that may be inlined: 6.18, by trying; those that could not be loaded by the sources.
const INLINED: &[P] = &[
    P::Kprobe,
    P::SchedCls,
    P::SchedAct,
    P::Tracepoint,
    P::Xdp,
    P::PerfEvent,
    P::LwtIn,
    P::LwtOut,
    P::LwtXmit,
    P::RawTracepoint,
    P::LwtSeg6local,
    P::RawTracepointWritable,
    P::Tracing,
    P::Lsm,
];

helper! { bpf_get_smp_processor_id = 8, since: (4, 1),
    signature: "u32 bpf_get_smp_processor_id(void)",
    doc: "Number of the CPU that the program runs on.",
    protos: [
        { who: BASE, since: (4, 1),
          args: [], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::Cpu { inlined: INLINED },
    fast: Fast::Cpu,
    body: Body::Fn(get_smp_processor_id),
}

fn get_smp_processor_id(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(env.cpu().into()))
}

helper! { bpf_get_numa_node_id = 42, since: (4, 10),
    signature: "long bpf_get_numa_node_id(void)",
    doc: "Number of the NUMA node that the program runs on.",
    protos: [
        { who: BASE, since: (4, 10),
          args: [], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    fast: Fast::Host(Ask::NumaNode),
    body: Body::Fn(get_numa_node_id),
}

fn get_numa_node_id(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(env.host().numa_node().into()))
}
