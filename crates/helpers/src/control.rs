//! Leaving the straight line: tail calls and loops.

use crate::map::bad_map;
use crate::row::*;
use skep_platform::map::Handle;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_tail_call, &bpf_loop];

helper! { bpf_tail_call = 12, since: (4, 2),
    signature: "long bpf_tail_call(void *ctx, struct bpf_map *prog_array_map, u32 index)",
    doc: "Continues in another program of a program array; comes back only when it fails.",
    protos: [
        { who: ALL, since: (4, 2),
          args: [CTX, MAP, ANY], ret: ret::VOID,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: true,
    map_types: &[MapType::ProgArray], rule: Rule::None,
    body: Body::Fn(tail_call),
}

/// The engine counts the calls and switches programs; a missing entry lets the caller go on.
fn tail_call(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let map = env.map(a[1])?;
    if map.def().map_type != MapType::ProgArray {
        return Err(bad_map(map, "a tail call needs a program array"));
    }
    let index = a[2] as u32;
    if index >= map.def().max_entries {
        return Ok(Errno::ENOENT.into());
    }
    Ok(match map.handle(&index.to_ne_bytes()) {
        Some(Handle::Prog(p)) => Ret::TailCall(p),
        _ => Errno::ENOENT.into(),
    })
}

helper! { bpf_loop = 181, since: (5, 17),
    signature: "long bpf_loop(u32 nr_loops, void *callback_fn, void *callback_ctx, u64 flags)",
    doc: "Calls a function a number of times, or until it returns 1.",
    protos: [
        { who: BASE, since: (5, 17),
          args: [SCALAR, FUNC, STACK_OR_NULL, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::Sync { arg: 1, params: CallbackParams::Index }, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(r#loop),
}

fn r#loop(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [count, func, ctx, flags, _] = a;
    let count = count as u32;
    if flags != 0 {
        return Ok(Errno::EINVAL.into());
    }
    if count > MAX_LOOPS {
        return Ok(Errno::E2BIG.into());
    }
    for i in 0..count {
        if env.call(func, [i.into(), ctx, 0, 0, 0])? != 0 {
            return Ok(Ret::Scalar(u64::from(i) + 1));
        }
    }
    Ok(Ret::Scalar(count.into()))
}

/// `BPF_MAX_LOOPS`.
const MAX_LOOPS: u32 = 8 * 1024 * 1024;
