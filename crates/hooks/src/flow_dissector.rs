//! Flow dissectors: a program that finds addresses and ports in a packet and leaves them in `struct bpf_flow_keys`.

use crate::rights::{NO, R4, R8};
use skep_platform::ctx::{Fate, PacketAccess, Sleepable, UserRun};
use skep_platform::helper::{Capability, Version};
use skep_platform::packet::PacketCtx;
use skep_platform::{CtxField, CtxLayout, FieldKind, ProgType, ProgTypeDesc, Verdict};
use std::mem::offset_of;

const FIELDS: [CtxField; 3] = [
    CtxField::plain("data", 76, 4, FieldKind::PacketData, R4, NO).kept_at(offset_of!(PacketCtx, data), 8),
    CtxField::plain("data_end", 80, 4, FieldKind::PacketEnd, R4, NO)
        .kept_at(offset_of!(PacketCtx, data_end), 8),
    CtxField::plain("flow_keys", 144, 8, FieldKind::FlowKeys, R8, NO)
        .kept_at(offset_of!(PacketCtx, flow_keys), 8),
];

static SK_BUFF: CtxLayout = CtxLayout { name: "__sk_buff", size: crate::skb::SIZE, fields: &FIELDS };

/// `BPF_PROG_TYPE_FLOW_DISSECTOR`.
pub static FLOW_DISSECTOR: ProgTypeDesc = ProgTypeDesc {
    prog_type: ProgType::FlowDissector,
    doc: "headers of a packet into flow keys, in place of the kernel's dissector",
    since: Version(4, 20),
    layouts: &[(&[], &SK_BUFF)],
    returns: &[],
    attach_types: &[],
    needs: &[Capability::Bpf, Capability::NetAdmin],
    verdicts: &[
        Verdict { value: 0, name: "BPF_OK", fate: Fate::Pass },
        Verdict { value: 2, name: "BPF_DROP", fate: Fate::Drop },
        Verdict { value: 129, name: "BPF_FLOW_DISSECTOR_CONTINUE", fate: Fate::Pass },
    ],
    other: Fate::Drop,
    packet_access: PacketAccess::Read,
    legacy_loads: false,
    sleepable: Sleepable::Never,
    user: UserRun::No(
        "it writes flow keys, which only the kernel's dissector reads; load it into the kernel",
    ),
};
