//! Timers in map values.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_timer_init, &bpf_timer_set_callback, &bpf_timer_start, &bpf_timer_cancel];

helper! { bpf_timer_init = 169, since: (5, 15),
    signature: "long bpf_timer_init(struct bpf_timer *timer, struct bpf_map *map, u64 flags)",
    doc: "Prepares a timer in a map value.",
    protos: [
        { who: BASE, since: (5, 15),
          args: [TIMER, MAP, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::TIMERS),
}

helper! { bpf_timer_set_callback = 170, since: (5, 15),
    signature: "long bpf_timer_set_callback(struct bpf_timer *timer, void *callback_fn)",
    doc: "Sets the function that a timer calls.",
    protos: [
        { who: BASE, since: (5, 15),
          args: [TIMER, FUNC], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::Async { arg: 1, params: CallbackParams::Timer }, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::TIMERS),
}

helper! { bpf_timer_start = 171, since: (5, 15),
    signature: "long bpf_timer_start(struct bpf_timer *timer, u64 nsecs, u64 flags)",
    doc: "Starts a timer, or starts it afresh.",
    protos: [
        { who: BASE, since: (5, 15),
          args: [TIMER, ANY, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::TIMERS),
}

helper! { bpf_timer_cancel = 172, since: (5, 15),
    signature: "long bpf_timer_cancel(struct bpf_timer *timer)",
    doc: "Stops a timer and waits for its function.",
    protos: [
        { who: BASE, since: (5, 15),
          args: [TIMER], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::TIMERS),
}
