//! Sending packets elsewhere.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_clone_redirect, &bpf_redirect, &bpf_redirect_map, &bpf_redirect_neigh, &bpf_redirect_peer];

helper! { bpf_clone_redirect = 13, since: (4, 2),
    signature: "long bpf_clone_redirect(struct sk_buff *skb, u32 ifindex, u64 flags)",
    doc: "Sends a copy of the packet to an interface and goes on with the packet.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 2),
          args: [CTX, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_redirect = 23, since: (4, 4),
    signature: "long bpf_redirect(u32 ifindex, u64 flags)",
    doc: "Asks for the packet to be sent from or received by another interface.",
    protos: [
        { who: who(&[P::SchedCls, P::SchedAct, P::Xdp, P::LwtXmit]), since: (4, 4),
          args: [ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_redirect_map = 51, since: (4, 14),
    signature: "long bpf_redirect_map(struct bpf_map *map, u64 key, u64 flags)",
    doc: "Sends the packet to the device, CPU or socket in a map entry.",
    protos: [
        { who: XDP, since: (4, 14),
          args: [MAP, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_redirect_neigh = 152, since: (5, 10),
    signature: "long bpf_redirect_neigh(u32 ifindex, struct bpf_redir_neigh *params, int plen, u64 flags)",
    doc: "Sends the packet to an interface and fills the link-layer addresses of the next hop in.",
    protos: [
        { who: TC, since: (5, 10),
          args: [ANY, RO_MEM_OR_NULL, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_redirect_peer = 155, since: (5, 10),
    signature: "long bpf_redirect_peer(u32 ifindex, u64 flags)",
    doc: "Hands the packet to the other end of a virtual device pair.",
    protos: [
        { who: TC, since: (5, 10),
          args: [ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}
