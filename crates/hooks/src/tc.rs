//! Traffic control: classifiers and actions on a qdisc, tcx and netkit, with the Ethernet header in front of them.
//!
//! Return values as `cls_bpf` in direct-action mode, `act_bpf` and tcx read them (net/sched/cls_bpf.c
//! `cls_bpf_exec_opcode`, include/net/tcx.h): what they do not know counts as `TC_ACT_UNSPEC`, go on.

use crate::skb::{self, SOCK_FIELDS, Skb, SkbRules};
use skep_platform::ctx::{Fate, PacketAccess, Sleepable, UserRun};
use skep_platform::helper::{Capability, Version};
use skep_platform::{AttachType, CtxField, CtxLayout, ProgType, ProgTypeDesc, Verdict};

const FIELDS: &[CtxField] = &skb::layout(&SkbRules {
    hidden: &SOCK_FIELDS,
    writes: &[
        Skb::Mark,
        Skb::QueueMapping,
        Skb::Priority,
        Skb::TcIndex,
        Skb::Cb,
        Skb::TcClassid,
        Skb::Tstamp,
    ],
    capable: &[],
    capable_writes: &[],
    tstamp_type: true,
});

static SK_BUFF: CtxLayout = CtxLayout { name: "__sk_buff", size: skb::SIZE, fields: FIELDS };
const LAYOUTS: &[(&[AttachType], &CtxLayout)] = &[(&[], &SK_BUFF)];

const fn verdict(value: i32, name: &'static str, fate: Fate) -> Verdict {
    Verdict { value, name, fate }
}

const VERDICTS: &[Verdict] = &[
    verdict(-1, "TC_ACT_UNSPEC", Fate::Pass),
    verdict(0, "TC_ACT_OK", Fate::Pass),
    verdict(1, "TC_ACT_RECLASSIFY", Fate::Pass),
    verdict(2, "TC_ACT_SHOT", Fate::Drop),
    verdict(3, "TC_ACT_PIPE", Fate::Pass),
    verdict(4, "TC_ACT_STOLEN", Fate::Drop),
    verdict(5, "TC_ACT_QUEUED", Fate::Pass),
    verdict(6, "TC_ACT_REPEAT", Fate::Pass),
    verdict(7, "TC_ACT_REDIRECT", Fate::Send),
    verdict(8, "TC_ACT_TRAP", Fate::Drop),
];

const fn row(prog_type: ProgType, doc: &'static str) -> ProgTypeDesc {
    ProgTypeDesc {
        prog_type,
        doc,
        since: Version(4, 1),
        layouts: LAYOUTS,
        returns: &[],
        attach_types: &[],
        needs: &[Capability::Bpf, Capability::NetAdmin],
        verdicts: VERDICTS,
        other: Fate::Pass,
        packet_access: PacketAccess::ReadWrite,
        legacy_loads: true,
        sleepable: Sleepable::Never,
        user: UserRun::Packets,
    }
}

/// `BPF_PROG_TYPE_SCHED_CLS`.
pub static SCHED_CLS: ProgTypeDesc =
    row(ProgType::SchedCls, "packets at a qdisc, tcx or netkit, inwards and outwards");
/// `BPF_PROG_TYPE_SCHED_ACT`.
pub static SCHED_ACT: ProgTypeDesc = row(ProgType::SchedAct, "packets that a traffic-control filter chose");
