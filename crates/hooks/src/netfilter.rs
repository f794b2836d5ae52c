//! Netfilter: programs on the hooks of the packet filter (net/netfilter/nf_bpf_link.c). The context is two kernel pointers.

use skep_platform::ctx::{Fate, PacketAccess, RetRange, Sleepable, UserRun};
use skep_platform::helper::{Capability, Version};
use skep_platform::{AttachType, CtxField, CtxLayout, FieldKind, ProgType, ProgTypeDesc, Verdict};

use crate::rights::pointer;

const FIELDS: [CtxField; 2] = [
    pointer("state", 0, FieldKind::BtfPtr("nf_hook_state")),
    pointer("skb", 8, FieldKind::BtfPtr("sk_buff")),
];

static NF_CTX: CtxLayout = CtxLayout { name: "bpf_nf_ctx", size: 16, fields: &FIELDS };

/// `BPF_PROG_TYPE_NETFILTER`.
pub static NETFILTER: ProgTypeDesc = ProgTypeDesc {
    prog_type: ProgType::Netfilter,
    doc: "packets at a netfilter hook",
    since: Version(6, 4),
    layouts: &[(&[], &NF_CTX)],
    returns: &[(&[], RetRange { min: 0, max: 1 })],
    attach_types: &[AttachType::Netfilter],
    needs: &[Capability::Bpf, Capability::NetAdmin],
    verdicts: &[
        Verdict { value: 0, name: "NF_DROP", fate: Fate::Drop },
        Verdict { value: 1, name: "NF_ACCEPT", fate: Fate::Pass },
    ],
    other: Fate::Drop,
    packet_access: PacketAccess::None,
    legacy_loads: false,
    sleepable: Sleepable::Never,
    user: UserRun::No("its context is pointers to kernel structures; load it into the kernel"),
};
