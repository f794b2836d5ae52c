//! Clocks.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_ktime_get_ns,
    &bpf_jiffies64,
    &bpf_ktime_get_boot_ns,
    &bpf_ktime_get_coarse_ns,
    &bpf_ktime_get_tai_ns,
];

helper! { bpf_ktime_get_ns = 5, since: (4, 1),
    signature: "u64 bpf_ktime_get_ns(void)",
    doc: "Nanoseconds since boot, time in suspend not counted.",
    protos: [
        { who: ALL, since: (4, 1),
          args: [], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    fast: Fast::Host(Ask::Ktime),
    body: Body::Fn(ktime_get_ns),
}

fn ktime_get_ns(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(env.host().ktime_ns()))
}

helper! { bpf_jiffies64 = 118, since: (5, 6),
    signature: "u64 bpf_jiffies64(void)",
    doc: "Timer ticks since boot.",
    protos: [
        { who: BASE, since: (5, 6),
          args: [], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    fast: Fast::Host(Ask::Jiffies),
    body: Body::Fn(jiffies64),
}

fn jiffies64(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(env.host().jiffies64()))
}

helper! { bpf_ktime_get_boot_ns = 125, since: (5, 8),
    signature: "u64 bpf_ktime_get_boot_ns(void)",
    doc: "Nanoseconds since boot, time in suspend counted.",
    protos: [
        { who: ALL, since: (5, 8),
          args: [], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    fast: Fast::Host(Ask::KtimeBoot),
    body: Body::Fn(ktime_get_boot_ns),
}

fn ktime_get_boot_ns(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(env.host().ktime_boot_ns()))
}

helper! { bpf_ktime_get_coarse_ns = 160, since: (5, 11),
    signature: "u64 bpf_ktime_get_coarse_ns(void)",
    doc: "Nanoseconds since boot as of the last tick: cheap and coarse.",
    protos: [
        { who: who(&[
              P::SocketFilter, P::SchedCls, P::SchedAct, P::Xdp, P::CgroupSkb, P::CgroupSock, P::LwtIn,
              P::LwtOut, P::LwtXmit, P::SockOps, P::SkSkb, P::SkMsg, P::CgroupSockAddr, P::LwtSeg6local,
              P::SkReuseport, P::FlowDissector, P::CgroupSysctl, P::StructOps, P::SkLookup,
          ]).struct_ops(&["tcp_congestion_ops"]), since: (5, 11),
          args: [], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    fast: Fast::Host(Ask::KtimeCoarse),
    body: Body::Fn(ktime_get_coarse_ns),
}

fn ktime_get_coarse_ns(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(env.host().ktime_coarse_ns()))
}

helper! { bpf_ktime_get_tai_ns = 208, since: (6, 1),
    signature: "u64 bpf_ktime_get_tai_ns(void)",
    doc: "Nanoseconds of international atomic time.",
    protos: [
        { who: BASE, since: (6, 1),
          args: [], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    fast: Fast::Host(Ask::KtimeTai),
    body: Body::Fn(ktime_get_tai_ns),
}

fn ktime_get_tai_ns(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(env.host().ktime_tai_ns()))
}
