//! Routes and MTUs.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_fib_lookup, &bpf_check_mtu];

helper! { bpf_fib_lookup = 69, since: (4, 18),
    signature: "long bpf_fib_lookup(void *ctx, struct bpf_fib_lookup *params, int plen, u32 flags)",
    doc: "Looks the route of a packet up, with the next hop's hardware address.",
    protos: [
        { who: TC_XDP, since: (4, 18),
          args: [CTX, MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_check_mtu = 163, since: (5, 12),
    signature: "long bpf_check_mtu(void *ctx, u32 ifindex, u32 *mtu_len, s32 len_diff, u64 flags)",
    doc: "Compares the packet's length, maybe changed, with an interface's or route's MTU.",
    protos: [
        { who: TC_XDP, since: (5, 12),
          args: [CTX, ANY, fixed_inout(4), ANY, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}
