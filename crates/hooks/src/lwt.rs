//! Lightweight tunnels: programs on routes, from the network header on.

use crate::skb::{self, SOCK_FIELDS, Skb, SkbRules};
use skep_platform::ctx::{Fate, PacketAccess, Sleepable, UserRun};
use skep_platform::helper::{Capability, Version};
use skep_platform::{AttachType, CtxField, CtxLayout, ProgType, ProgTypeDesc, Verdict};

const FIELDS: &[CtxField] = &skb::layout(&SkbRules {
    hidden: &[
        Skb::TcClassid,
        SOCK_FIELDS[0],
        SOCK_FIELDS[1],
        SOCK_FIELDS[2],
        SOCK_FIELDS[3],
        SOCK_FIELDS[4],
        SOCK_FIELDS[5],
        SOCK_FIELDS[6],
        Skb::DataMeta,
        Skb::Tstamp,
        Skb::WireLen,
        Skb::Hwtstamp,
    ],
    writes: &[Skb::Mark, Skb::Priority, Skb::Cb],
    capable: &[],
    capable_writes: &[],
    tstamp_type: false,
});

static SK_BUFF: CtxLayout = CtxLayout { name: "__sk_buff", size: skb::SIZE, fields: FIELDS };
const LAYOUTS: &[(&[AttachType], &CtxLayout)] = &[(&[], &SK_BUFF)];

const VERDICTS: &[Verdict] = &[
    Verdict { value: 0, name: "BPF_OK", fate: Fate::Pass },
    Verdict { value: 2, name: "BPF_DROP", fate: Fate::Drop },
    Verdict { value: 7, name: "BPF_REDIRECT", fate: Fate::Send },
    Verdict { value: 128, name: "BPF_LWT_REROUTE", fate: Fate::Pass },
];

const fn row(
    prog_type: ProgType,
    doc: &'static str,
    since: Version,
    packet_access: PacketAccess,
) -> ProgTypeDesc {
    ProgTypeDesc {
        prog_type,
        doc,
        since,
        layouts: LAYOUTS,
        returns: &[],
        attach_types: &[],
        needs: &[Capability::Bpf, Capability::NetAdmin],
        verdicts: VERDICTS,
        // run_lwt_bpf and input_action_end_bpf (net/core/lwt_bpf.c, net/ipv6/seg6_local.c) drop what they do not know.
        other: Fate::Drop,
        packet_access,
        legacy_loads: false,
        sleepable: Sleepable::Never,
        user: UserRun::Packets,
    }
}

/// `BPF_PROG_TYPE_LWT_IN`.
pub static LWT_IN: ProgTypeDesc =
    row(ProgType::LwtIn, "packets that a route takes in", Version(4, 10), PacketAccess::Read);
/// `BPF_PROG_TYPE_LWT_OUT`.
pub static LWT_OUT: ProgTypeDesc =
    row(ProgType::LwtOut, "packets of this machine that a route takes", Version(4, 10), PacketAccess::Read);
/// `BPF_PROG_TYPE_LWT_XMIT`.
pub static LWT_XMIT: ProgTypeDesc =
    row(ProgType::LwtXmit, "packets that a route sends", Version(4, 10), PacketAccess::ReadWrite);
/// `BPF_PROG_TYPE_LWT_SEG6LOCAL`.
pub static LWT_SEG6LOCAL: ProgTypeDesc =
    row(ProgType::LwtSeg6local, "IPv6 segment routing endpoints", Version(4, 18), PacketAccess::Read);
