//! Helpers of XDP programs.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_xdp_adjust_head,
    &bpf_xdp_adjust_meta,
    &bpf_xdp_adjust_tail,
    &bpf_xdp_get_buff_len,
    &bpf_xdp_load_bytes,
    &bpf_xdp_store_bytes,
];

helper! { bpf_xdp_adjust_head = 44, since: (4, 10),
    signature: "long bpf_xdp_adjust_head(struct xdp_buff *xdp_md, int delta)",
    doc: "Moves the start of the packet into the headroom or towards the end.",
    protos: [
        { who: XDP, since: (4, 10),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_xdp_adjust_meta = 54, since: (4, 15),
    signature: "long bpf_xdp_adjust_meta(struct xdp_buff *xdp_md, int delta)",
    doc: "Moves the start of the metadata in front of the packet.",
    protos: [
        { who: XDP, since: (4, 15),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_xdp_adjust_tail = 65, since: (4, 18),
    signature: "long bpf_xdp_adjust_tail(struct xdp_buff *xdp_md, int delta)",
    doc: "Moves the end of the packet; new bytes are zero.",
    protos: [
        { who: XDP, since: (4, 18),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_xdp_get_buff_len = 188, since: (5, 18),
    signature: "u64 bpf_xdp_get_buff_len(struct xdp_buff *xdp_md)",
    doc: "Length of the packet, all fragments counted.",
    protos: [
        { who: XDP, since: (5, 18),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: TRAMPOLINES, since: (5, 18),
          args: [btf(&["xdp_buff"])], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_xdp_load_bytes = 189, since: (5, 18),
    signature: "long bpf_xdp_load_bytes(struct xdp_buff *xdp_md, u32 offset, void *buf, u32 len)",
    doc: "Copies bytes out of the packet, fragments included.",
    protos: [
        { who: XDP, since: (5, 18),
          args: [CTX, ANY, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}

helper! { bpf_xdp_store_bytes = 190, since: (5, 18),
    signature: "long bpf_xdp_store_bytes(struct xdp_buff *xdp_md, u32 offset, void *buf, u32 len)",
    doc: "Writes bytes into the packet, fragments included.",
    protos: [
        { who: XDP, since: (5, 18),
          args: [CTX, ANY, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    body: Body::Absent(absent::UNWRITTEN),
}
