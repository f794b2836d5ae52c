//! The spin lock in a map value.

use crate::row::*;
use std::time::{Duration, Instant};

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
    map_types: &[], rule: Rule::None,
    body: Body::Fn(spin_lock),
}

/// The lock word is 0 when free, 1 when taken. Whoever holds it is inside a few instructions of another run, so a lock
/// that stays taken was left behind: the run is stopped instead of hanging.
fn spin_lock(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let mut round = 0u32;
    let mut started = None;
    while env.mem().cmpxchg32(a[0], 0, 1)? != 0 {
        if started.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            let why = format!(
                "the spin lock at {:#x} stays taken: its holder ended without bpf_spin_unlock()",
                a[0]
            );
            return Err(Fault::Rule { code: "lock-stuck", why });
        }
        match round {
            0..100 => std::hint::spin_loop(),
            100..200 => std::thread::yield_now(),
            _ => std::thread::sleep(Duration::from_micros(50)),
        }
        round = round.saturating_add(1);
    }
    Ok(Ret::OK)
}

/// Longest wait before a lock counts as left behind.
const PATIENCE: Duration = Duration::from_secs(2);

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
    map_types: &[], rule: Rule::None,
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
