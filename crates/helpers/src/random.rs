//! Random numbers.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_get_prandom_u32];

helper! { bpf_get_prandom_u32 = 7, since: (4, 1),
    signature: "u32 bpf_get_prandom_u32(void)",
    doc: "A pseudo-random 32-bit number.",
    protos: [
        { who: ALL, since: (4, 1),
          args: [], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    fast: Fast::Host(Ask::Prandom),
    body: Body::Fn(get_prandom_u32),
}

fn get_prandom_u32(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(env.host().prandom_u32().into()))
}
