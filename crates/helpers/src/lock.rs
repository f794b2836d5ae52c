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
    body: Body::Fn(spin_lock),
}

/// The lock word is 0 when free, 1 when taken. Whoever holds it is inside a few instructions of another run, so a lock
/// that stays taken was left behind: the run is stopped instead of hanging.
fn spin_lock(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    for round in 0..SPINS {
        if env.mem().cmpxchg32(a[0], 0, 1)? == 0 {
            return Ok(Ret::OK);
        }
        if round % 64 == 63 {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
    let why = format!("the spin lock at {:#x} stays taken: its holder ended without bpf_spin_unlock()", a[0]);
    Err(Fault::Rule { code: "lock-stuck", why })
}

/// Tries before a lock counts as left behind: seconds, not minutes.
const SPINS: u32 = 1 << 22;

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
    body: Body::Fn(spin_unlock),
}

fn spin_unlock(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    match env.mem().cmpxchg32(a[0], 1, 0)? {
        1 => Ok(Ret::OK),
        _ => {
            let why = format!("bpf_spin_unlock() of a lock that is not taken, at {:#x}", a[0]);
            Err(Fault::Rule { code: "lock-not-held", why })
        }
    }
}
