//! VLAN tags of socket-buffer programs. The outermost tag lives in the metadata, as hardware hands it over; further tags are in the packet.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_skb_vlan_push, &bpf_skb_vlan_pop];

helper! { bpf_skb_vlan_push = 18, since: (4, 3),
    signature: "long bpf_skb_vlan_push(struct sk_buff *skb, __be16 vlan_proto, u16 vlan_tci)",
    doc: "Adds a VLAN tag: to the metadata if it is free, else the old tag moves into the packet.",
    protos: [
        { who: TC, since: (4, 3),
          args: [CTX, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_skb_vlan_pop = 19, since: (4, 3),
    signature: "long bpf_skb_vlan_pop(struct sk_buff *skb)",
    doc: "Removes the outermost VLAN tag, from the metadata or from the packet.",
    protos: [
        { who: TC, since: (4, 3),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}
