//! Cgroup hooks: packets (`cgroup_skb`), devices, sysctls, socket options and socket addresses of a cgroup's processes.
//!
//! Rights: kernel/bpf/cgroup.c (`cgroup_dev_is_valid_access`, `sysctl_is_valid_access`, `cg_sockopt_is_valid_access`) and
//! net/core/filter.c (`cg_skb_is_valid_access`). Ranges of return values: `check_return_code`.

use crate::rights::{NO, R4, R124, both, pointer, read};
use crate::skb::{self, Skb, SkbRules};
use crate::sock::DENY_ALLOW;
use skep_platform::ctx::{Fate, PacketAccess, RetRange, Sleepable, UserRun};
use skep_platform::helper::{Capability, Version};
use skep_platform::{AttachType, CtxField, CtxLayout, FieldKind, ProgType, ProgTypeDesc, Verdict};

/// Most cgroup programs say no or yes.
pub(crate) const ZERO_OR_ONE: &[(&[AttachType], RetRange)] = &[(&[], RetRange { min: 0, max: 1 })];

const SKB_FIELDS: &[CtxField] = &skb::layout(&SkbRules {
    hidden: &[Skb::TcClassid, Skb::DataMeta, Skb::WireLen],
    writes: &[Skb::Mark, Skb::Priority, Skb::Cb, Skb::Tstamp],
    capable: &[Skb::Data, Skb::DataEnd],
    capable_writes: &[Skb::Tstamp],
    tstamp_type: false,
});

static SK_BUFF: CtxLayout = CtxLayout { name: "__sk_buff", size: skb::SIZE, fields: SKB_FIELDS };

/// `BPF_PROG_TYPE_CGROUP_SKB`.
pub static CGROUP_SKB: ProgTypeDesc = ProgTypeDesc {
    prog_type: ProgType::CgroupSkb,
    doc: "packets that sockets of a cgroup receive and send, from the network header on",
    since: Version(4, 10),
    layouts: &[(&[], &SK_BUFF)],
    returns: &[
        (&[AttachType::CgroupInetEgress], RetRange { min: 0, max: 3 }),
        (&[], RetRange { min: 0, max: 1 }),
    ],
    attach_types: &[AttachType::CgroupInetIngress, AttachType::CgroupInetEgress],
    needs: &[],
    // 2 and 3: egress only, with congestion notification (BPF_PROG_CGROUP_INET_EGRESS_RUN_ARRAY).
    verdicts: &[
        Verdict { value: 0, name: "deny", fate: Fate::Drop },
        Verdict { value: 1, name: "allow", fate: Fate::Pass },
        Verdict { value: 2, name: "deny+cn", fate: Fate::Drop },
        Verdict { value: 3, name: "allow+cn", fate: Fate::Pass },
    ],
    other: Fate::Pass,
    packet_access: PacketAccess::Read,
    legacy_loads: false,
    sleepable: Sleepable::Never,
    user: UserRun::Packets,
};

/// What the cgroup rows on plain contexts share.
const fn row(
    prog_type: ProgType,
    doc: &'static str,
    since: Version,
    layouts: &'static [(&'static [AttachType], &'static CtxLayout)],
    attach_types: &'static [AttachType],
) -> ProgTypeDesc {
    ProgTypeDesc {
        prog_type,
        doc,
        since,
        layouts,
        returns: ZERO_OR_ONE,
        attach_types,
        needs: &[Capability::Bpf, Capability::NetAdmin],
        verdicts: DENY_ALLOW,
        other: Fate::Pass,
        packet_access: PacketAccess::None,
        legacy_loads: false,
        sleepable: Sleepable::Never,
        user: UserRun::Plain,
    }
}

static DEV_CTX: CtxLayout = CtxLayout {
    name: "bpf_cgroup_dev_ctx",
    size: 12,
    fields: &[read("access_type", 0, 4, R124), read("major", 4, 4, R4), read("minor", 8, 4, R4)],
};

/// `BPF_PROG_TYPE_CGROUP_DEVICE`.
pub static CGROUP_DEVICE: ProgTypeDesc = row(
    ProgType::CgroupDevice,
    "device files that processes of a cgroup open and make",
    Version(4, 15),
    &[(&[], &DEV_CTX)],
    &[],
);

static SYSCTL_CTX: CtxLayout = CtxLayout {
    name: "bpf_sysctl",
    size: 8,
    fields: &[read("write", 0, 4, R124), both("file_pos", 4, 4, R124, R4)],
};

/// `BPF_PROG_TYPE_CGROUP_SYSCTL`.
pub static CGROUP_SYSCTL: ProgTypeDesc = row(
    ProgType::CgroupSysctl,
    "sysctls that processes of a cgroup read and write",
    Version(5, 2),
    &[(&[], &SYSCTL_CTX)],
    &[],
);

const SOCKOPT_FIELDS: [CtxField; 7] = [
    pointer("sk", 0, FieldKind::Socket),
    pointer("optval", 8, FieldKind::Buffer),
    pointer("optval_end", 16, FieldKind::BufferEnd),
    read("level", 24, 4, R4),
    read("optname", 28, 4, R4),
    both("optlen", 32, 4, R4, R4),
    read("retval", 36, 4, NO),
];

const SETSOCKOPT_FIELDS: [CtxField; 7] = {
    let mut fields = SOCKOPT_FIELDS;
    fields[3].write = R4;
    fields[4].write = R4;
    fields
};

const GETSOCKOPT_FIELDS: [CtxField; 7] = {
    let mut fields = SOCKOPT_FIELDS;
    (fields[6].read, fields[6].write) = (R4, R4);
    fields
};

static SETSOCKOPT: CtxLayout = CtxLayout { name: "bpf_sockopt", size: 40, fields: &SETSOCKOPT_FIELDS };
static GETSOCKOPT: CtxLayout = CtxLayout { name: "bpf_sockopt", size: 40, fields: &GETSOCKOPT_FIELDS };

/// `BPF_PROG_TYPE_CGROUP_SOCKOPT`.
pub static CGROUP_SOCKOPT: ProgTypeDesc = {
    let mut sockopt = row(
        ProgType::CgroupSockopt,
        "socket options that processes of a cgroup get and set",
        Version(5, 3),
        &[(&[AttachType::CgroupSetsockopt], &SETSOCKOPT), (&[AttachType::CgroupGetsockopt], &GETSOCKOPT)],
        &[AttachType::CgroupSetsockopt, AttachType::CgroupGetsockopt],
    );
    sockopt.packet_access = PacketAccess::ReadWrite;
    sockopt
};
