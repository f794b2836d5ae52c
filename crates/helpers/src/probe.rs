//! Reading and writing memory by addresses that nobody vouches for: an unmapped one is -EFAULT, never a fault.

use crate::guest;
use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_probe_read,
    &bpf_probe_write_user,
    &bpf_probe_read_str,
    &bpf_probe_read_user,
    &bpf_probe_read_kernel,
    &bpf_probe_read_user_str,
    &bpf_probe_read_kernel_str,
    &bpf_copy_from_user,
    &bpf_copy_from_user_task,
];

helper! { bpf_probe_read = 4, since: (4, 1),
    signature: "long bpf_probe_read(void *dst, u32 size, const void *unsafe_ptr)",
    doc: "Copies memory from any address, failing instead of faulting.",
    protos: [
        { who: TRACERS, since: (4, 1),
          args: [UNINIT_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(probe_read),
}

fn probe_read(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [dst, size, src, ..] = a;
    let size = u64::from(size as u32);
    if size == 0 {
        return Ok(Ret::OK);
    }
    env.mem().check(dst, size, true)?;
    let mut bytes = vec![0; size as usize];
    let got = guest::probe(env, src, &mut bytes).map_err(|_| Errno::EFAULT);
    if got.is_err() {
        bytes.fill(0);
    }
    env.mem().write(dst, &bytes)?;
    Ok(got.into())
}

helper! { bpf_probe_write_user = 36, since: (4, 8),
    signature: "long bpf_probe_write_user(void *dst, const void *src, u32 len)",
    doc: "Writes the memory of the current process.",
    protos: [
        { who: TRACERS, since: (4, 8),
          args: [ANY, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::NotLockedDown,
    body: Body::Fn(probe_write_user),
}

fn probe_write_user(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [dst, src, len, ..] = a;
    let bytes = guest::vec(env, src, u64::from(len as u32))?;
    Ok(env.probe_write(dst, &bytes).into())
}

helper! { bpf_probe_read_str = 45, since: (4, 11),
    signature: "long bpf_probe_read_str(void *dst, u32 size, const void *unsafe_ptr)",
    doc: "Copies a NUL-terminated string from any address, failing instead of faulting.",
    protos: [
        { who: TRACERS, since: (4, 11),
          args: [UNINIT_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::AtMostSize(1),
    body: Body::Fn(probe_read_str),
}

/// Returns the bytes written, NUL included; the buffer is zeroed when the address is bad.
fn probe_read_str(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [dst, size, src, ..] = a;
    let size = u64::from(size as u32);
    if size == 0 {
        return Ok(Ret::OK);
    }
    env.mem().check(dst, size, true)?;
    let mut bytes = vec![0; size as usize];
    match guest::probe_str(env, src, &mut bytes) {
        Ok(n) => {
            env.mem().write(dst, &bytes[..n])?;
            Ok(Ret::Scalar(n as u64))
        }
        Err(_) => {
            guest::zero(env, dst, size)?;
            Ok(Errno::EFAULT.into())
        }
    }
}

helper! { bpf_probe_read_user = 112, since: (5, 5),
    signature: "long bpf_probe_read_user(void *dst, u32 size, const void *unsafe_ptr)",
    doc: "Copies memory of the current process, failing instead of faulting.",
    protos: [
        { who: BASE, since: (5, 5),
          args: [UNINIT_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(probe_read_user),
}

fn probe_read_user(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    probe_read(env, a)
}

helper! { bpf_probe_read_kernel = 113, since: (5, 5),
    signature: "long bpf_probe_read_kernel(void *dst, u32 size, const void *unsafe_ptr)",
    doc: "Copies kernel memory, failing instead of faulting.",
    protos: [
        { who: BASE, since: (5, 5),
          args: [UNINIT_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::ReadsKernel,
    body: Body::Fn(probe_read_kernel),
}

/// The memory of the process stands for the kernel's: there is no other.
fn probe_read_kernel(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    probe_read(env, a)
}

helper! { bpf_probe_read_user_str = 114, since: (5, 5),
    signature: "long bpf_probe_read_user_str(void *dst, u32 size, const void *unsafe_ptr)",
    doc: "Copies a NUL-terminated string of the current process.",
    protos: [
        { who: BASE, since: (5, 5),
          args: [UNINIT_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::AtMostSize(1),
    body: Body::Fn(probe_read_user_str),
}

fn probe_read_user_str(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    probe_read_str(env, a)
}

helper! { bpf_probe_read_kernel_str = 115, since: (5, 5),
    signature: "long bpf_probe_read_kernel_str(void *dst, u32 size, const void *unsafe_ptr)",
    doc: "Copies a NUL-terminated string of the kernel.",
    protos: [
        { who: BASE, since: (5, 5),
          args: [UNINIT_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::AtMostSize(1),
    body: Body::Fn(probe_read_kernel_str),
}

/// The memory of the process stands for the kernel's: there is no other.
fn probe_read_kernel_str(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    probe_read_str(env, a)
}

helper! { bpf_copy_from_user = 148, since: (5, 10),
    signature: "long bpf_copy_from_user(void *dst, u32 size, const void *user_ptr)",
    doc: "Copies memory of the current process, reading it in from disk if it must.",
    protos: [
        { who: TRACERS, since: (5, 10),
          args: [UNINIT_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: true, capability: None },
        { who: NOT_TRACERS, since: (6, 16),
          args: [UNINIT_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: true, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(copy_from_user),
}

fn copy_from_user(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    probe_read(env, a)
}

helper! { bpf_copy_from_user_task = 191, since: (5, 18),
    signature: "long bpf_copy_from_user_task(void *dst, u32 size, const void *user_ptr, struct task_struct *tsk, u64 flags)",
    doc: "Copies memory of another process.",
    protos: [
        { who: TRACERS, since: (5, 18),
          args: [UNINIT_MEM, SIZE_OR_ZERO, ANY, btf(&["task_struct"]), ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: true, capability: None },
        { who: NOT_TRACERS, since: (6, 16),
          args: [UNINIT_MEM, SIZE_OR_ZERO, ANY, btf(&["task_struct"]), ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: true, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::TASKS),
}
