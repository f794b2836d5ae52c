//! XDP: programs on a frame as it comes from the driver, before there is a socket buffer.
//!
//! Context `struct xdp_md`, all fields four bytes and read-only (`xdp_is_valid_access`, net/core/filter.c). Programs may
//! move the packet's ends and leave metadata in front of it.

use crate::rights::{NO, R4};
use skep_platform::ctx::{Fate, PacketAccess, Sleepable, UserRun};
use skep_platform::helper::{Capability, Version};
use skep_platform::packet::PacketCtx;
use skep_platform::{AttachType, CtxField, CtxLayout, FieldKind, ProgType, ProgTypeDesc, Verdict};
use std::mem::offset_of;

const fn word(name: &'static str, off: u16, kind: FieldKind, at: usize, at_size: u16) -> CtxField {
    CtxField::plain(name, off, 4, kind, R4, NO).kept_at(at, at_size)
}

const FIELDS: [CtxField; 6] = [
    word("data", 0, FieldKind::PacketData, offset_of!(PacketCtx, data), 8),
    word("data_end", 4, FieldKind::PacketEnd, offset_of!(PacketCtx, data_end), 8),
    word("data_meta", 8, FieldKind::PacketMeta, offset_of!(PacketCtx, data_meta), 8),
    word("ingress_ifindex", 12, FieldKind::Scalar, offset_of!(PacketCtx, ingress_ifindex), 4),
    word("rx_queue_index", 16, FieldKind::Scalar, offset_of!(PacketCtx, rx_queue_index), 4),
    word("egress_ifindex", 20, FieldKind::Scalar, offset_of!(PacketCtx, egress_ifindex), 4),
];

/// Everywhere but in a device map the packet has no egress interface yet.
const INGRESS_FIELDS: [CtxField; 6] = {
    let mut fields = FIELDS;
    fields[5].read = NO;
    fields
};

static DEVMAP_MD: CtxLayout = CtxLayout { name: "xdp_md", size: 24, fields: &FIELDS };
static XDP_MD: CtxLayout = CtxLayout { name: "xdp_md", size: 24, fields: &INGRESS_FIELDS };

const fn verdict(value: i32, name: &'static str, fate: Fate) -> Verdict {
    Verdict { value, name, fate }
}

/// `BPF_PROG_TYPE_XDP`.
pub static XDP: ProgTypeDesc = ProgTypeDesc {
    prog_type: ProgType::Xdp,
    doc: "frames as the driver receives them, and in device and CPU maps",
    since: Version(4, 8),
    layouts: &[(&[AttachType::XdpDevmap], &DEVMAP_MD), (&[], &XDP_MD)],
    returns: &[],
    attach_types: &[],
    needs: &[Capability::Bpf, Capability::NetAdmin],
    verdicts: &[
        verdict(0, "XDP_ABORTED", Fate::Drop),
        verdict(1, "XDP_DROP", Fate::Drop),
        verdict(2, "XDP_PASS", Fate::Pass),
        verdict(3, "XDP_TX", Fate::Send),
        verdict(4, "XDP_REDIRECT", Fate::Send),
    ],
    // bpf_prog_run_xdp and the drivers: an action they do not know is counted as aborted.
    other: Fate::Drop,
    packet_access: PacketAccess::ReadWrite,
    legacy_loads: false,
    sleepable: Sleepable::Never,
    user: UserRun::Packets,
};
