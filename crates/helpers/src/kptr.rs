//! Object pointers in map values.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_kptr_xchg];

helper! { bpf_kptr_xchg = 194, since: (5, 19),
    signature: "void *bpf_kptr_xchg(void *dst, void *ptr)",
    doc: "Exchanges the object pointer in a map value for another.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [KPTR_SLOT, KPTR_RELEASE], ret: ret::KPTR_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::Yes, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(kptr_xchg),
}

/// Exchanges the slot atomically; the old pointer belongs to the program from now on.
fn kptr_xchg(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    Ok(match env.mem().xchg64(a[0], a[1])? {
        0 => Ret::Null,
        old => Ret::Scalar(old),
    })
}
