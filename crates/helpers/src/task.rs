//! The process that the program runs for.

use crate::guest;
use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_get_current_pid_tgid,
    &bpf_get_current_uid_gid,
    &bpf_get_current_comm,
    &bpf_get_current_task,
    &bpf_send_signal,
    &bpf_send_signal_thread,
    &bpf_get_ns_current_pid_tgid,
    &bpf_get_current_task_btf,
    &bpf_task_pt_regs,
];

helper! { bpf_get_current_pid_tgid = 14, since: (4, 2),
    signature: "u64 bpf_get_current_pid_tgid(void)",
    doc: "Thread group and thread id of the current task, in the upper and lower half.",
    protos: [
        { who: BASE, since: (4, 2),
          args: [], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    fast: Fast::Host(Ask::PidTgid),
    body: Body::Fn(get_current_pid_tgid),
}

fn get_current_pid_tgid(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(env.host().pid_tgid()))
}

helper! { bpf_get_current_uid_gid = 15, since: (4, 2),
    signature: "u64 bpf_get_current_uid_gid(void)",
    doc: "Group and user id of the current task, in the upper and lower half.",
    protos: [
        { who: who(&[
              P::Kprobe, P::Tracepoint, P::PerfEvent, P::CgroupSock, P::CgroupDevice, P::SkMsg,
              P::RawTracepoint, P::CgroupSockAddr, P::CgroupSysctl, P::RawTracepointWritable,
              P::CgroupSockopt, P::Tracing, P::Lsm, P::Syscall,
          ]), since: (4, 2),
          args: [], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[
              P::SocketFilter, P::SchedCls, P::SchedAct, P::Xdp, P::CgroupSkb, P::LwtIn, P::LwtOut,
              P::LwtXmit, P::SockOps, P::SkSkb, P::LwtSeg6local, P::SkReuseport, P::FlowDissector,
              P::StructOps, P::SkLookup, P::Netfilter,
          ]).struct_ops(&["hid_bpf_ops", "sched_ext_ops", "tcp_congestion_ops"]), since: (6, 16),
          args: [], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    fast: Fast::Host(Ask::UidGid),
    body: Body::Fn(get_current_uid_gid),
}

fn get_current_uid_gid(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(env.host().uid_gid()))
}

helper! { bpf_get_current_comm = 16, since: (4, 2),
    signature: "long bpf_get_current_comm(void *buf, u32 size_of_buf)",
    doc: "Copies the current task's command name.",
    protos: [
        { who: who(&[
              P::Kprobe, P::Tracepoint, P::PerfEvent, P::CgroupSock, P::CgroupDevice, P::RawTracepoint,
              P::CgroupSockAddr, P::CgroupSysctl, P::RawTracepointWritable, P::CgroupSockopt, P::Tracing,
              P::Lsm, P::Syscall,
          ]), since: (4, 2),
          args: [UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: who(&[
              P::SocketFilter, P::SchedCls, P::SchedAct, P::Xdp, P::CgroupSkb, P::LwtIn, P::LwtOut,
              P::LwtXmit, P::SockOps, P::SkSkb, P::SkMsg, P::LwtSeg6local, P::SkReuseport, P::FlowDissector,
              P::StructOps, P::SkLookup, P::Netfilter,
          ]).struct_ops(&["hid_bpf_ops", "sched_ext_ops", "tcp_congestion_ops"]), since: (6, 16),
          args: [UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(get_current_comm),
}

/// The name is cut to fit, NUL-terminated, and the rest of the buffer is zeroed.
fn get_current_comm(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let size = u64::from(a[1] as u32);
    let comm = env.host().comm();
    guest::zero(env, a[0], size)?;
    let len = comm.iter().position(|b| *b == 0).unwrap_or(comm.len());
    let len = len.min((size as usize).saturating_sub(1));
    if len > 0 {
        env.mem().write(a[0], &comm[..len])?;
    }
    Ok(Ret::OK)
}

helper! { bpf_get_current_task = 35, since: (4, 8),
    signature: "u64 bpf_get_current_task(void)",
    doc: "Address of the current task structure.",
    protos: [
        { who: BASE, since: (4, 8),
          args: [], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::TASKS),
}

helper! { bpf_send_signal = 109, since: (5, 3),
    signature: "long bpf_send_signal(u32 sig)",
    doc: "Sends a signal to the current process.",
    protos: [
        { who: TRACERS, since: (5, 3),
          args: [ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: NOT_TRACERS, since: (6, 16),
          args: [ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SIGNALS),
}

helper! { bpf_send_signal_thread = 117, since: (5, 6),
    signature: "long bpf_send_signal_thread(u32 sig)",
    doc: "Sends a signal to the current thread.",
    protos: [
        { who: TRACERS, since: (5, 6),
          args: [ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: NOT_TRACERS, since: (6, 16),
          args: [ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SIGNALS),
}

helper! { bpf_get_ns_current_pid_tgid = 120, since: (5, 7),
    signature: "long bpf_get_ns_current_pid_tgid(u64 dev, u64 ino, struct bpf_pidns_info *nsdata, u32 size)",
    doc: "Process and thread id of the current task inside a PID namespace.",
    protos: [
        { who: BASE, since: (5, 7),
          args: [ANY, ANY, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(get_ns_current_pid_tgid),
}

/// The calling process is known in its own PID namespace alone; any other one is `-EINVAL`, as in the kernel.
fn get_ns_current_pid_tgid(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [dev, ino, out, size, _] = a;
    let size = u64::from(size as u32);
    if size == 8 && env.host().pid_ns() == Some((dev, ino)) {
        let id = env.host().pid_tgid();
        env.mem().write(out, &(id as u32).to_ne_bytes())?;
        env.mem().write(out.wrapping_add(4), &((id >> 32) as u32).to_ne_bytes())?;
        return Ok(Ret::OK);
    }
    guest::zero(env, out, size)?;
    Ok(Errno::EINVAL.into())
}

helper! { bpf_get_current_task_btf = 158, since: (5, 11),
    signature: "struct task_struct *bpf_get_current_task_btf(void)",
    doc: "The current task structure as a typed pointer.",
    protos: [
        { who: BASE, since: (5, 11),
          args: [], ret: ret::btf_trusted("task_struct"),
          gpl_only: true, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::TASKS),
}

helper! { bpf_task_pt_regs = 175, since: (5, 15),
    signature: "long bpf_task_pt_regs(struct task_struct *task)",
    doc: "Saved user-space registers of a task.",
    protos: [
        { who: BASE, since: (5, 15),
          args: [btf(&["task_struct"])], ret: ret::btf("pt_regs"),
          gpl_only: true, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::TASKS),
}
