//! Leaving the straight line: tail calls and loops.

use crate::row::*;

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
    body: Body::Absent(absent::UNWRITTEN),
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
    body: Body::Absent(absent::UNWRITTEN),
}
