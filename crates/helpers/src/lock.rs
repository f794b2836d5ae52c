//! The spin lock in a map value.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_spin_lock, &bpf_spin_unlock];

helper! { bpf_spin_lock = 93, since: (5, 1),
    signature: "long bpf_spin_lock(struct bpf_spin_lock *lock)",
    doc: "Takes the spin lock of a map value.",
    protos: [
        { who: BASE, since: (5, 1),
          args: [SPIN_LOCK], ret: ret::VOID,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::Lock,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_spin_unlock = 94, since: (5, 1),
    signature: "long bpf_spin_unlock(struct bpf_spin_lock *lock)",
    doc: "Gives the spin lock of a map value back.",
    protos: [
        { who: BASE, since: (5, 1),
          args: [SPIN_LOCK], ret: ret::VOID,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::Unlock,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}
