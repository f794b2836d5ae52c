//! Ring buffers that user space fills.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_user_ringbuf_drain];

helper! { bpf_user_ringbuf_drain = 209, since: (6, 1),
    signature: "long bpf_user_ringbuf_drain(struct bpf_map *map, void *callback_fn, void *ctx, u64 flags)",
    doc: "Calls a function for every record that user space put into a ring buffer.",
    protos: [
        { who: BASE, since: (6, 1),
          args: [MAP, FUNC, STACK_OR_NULL, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::Sync { arg: 1, params: CallbackParams::Dynptr }, tail_call: false,
    map_types: &[MapType::UserRingbuf], rule: Rule::None,
    body: Body::Absent(absent::USER_RINGBUF),
}
