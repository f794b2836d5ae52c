//! Infrared remote controls.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_rc_repeat, &bpf_rc_keydown, &bpf_rc_pointer_rel];

helper! { bpf_rc_repeat = 77, since: (4, 18),
    signature: "long bpf_rc_repeat(void *ctx)",
    doc: "Reports that the last remote control key is repeated.",
    protos: [
        { who: LIRC_MODE2, since: (4, 18),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::LIRC),
}

helper! { bpf_rc_keydown = 78, since: (4, 18),
    signature: "long bpf_rc_keydown(void *ctx, u32 protocol, u64 scancode, u32 toggle)",
    doc: "Reports a key press of a remote control.",
    protos: [
        { who: LIRC_MODE2, since: (4, 18),
          args: [CTX, ANY, ANY, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::LIRC),
}

helper! { bpf_rc_pointer_rel = 92, since: (5, 0),
    signature: "long bpf_rc_pointer_rel(void *ctx, s32 rel_x, s32 rel_y)",
    doc: "Reports a pointer movement of a remote control.",
    protos: [
        { who: LIRC_MODE2, since: (5, 0),
          args: [CTX, ANY, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::LIRC),
}
