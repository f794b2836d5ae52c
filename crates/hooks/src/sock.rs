//! `struct bpf_sock`: the context of cgroup socket programs, and what socket pointers point to.
//!
//! Which fields a cgroup program may touch depends on its attach type (`__sock_filter_check_attach_type`,
//! net/core/filter.c); a pointer to a socket shows them all (`bpf_sock_is_valid_access`), one to a socket that may be a
//! request or timewait socket fewer (`bpf_sock_common_is_valid_access`).

use crate::rights::{NO, R4, R8, R124, S124, read};
use skep_platform::ctx::{Fate, PacketAccess, Sleepable, UserRun};
use skep_platform::helper::{Capability, Version};
use skep_platform::{AttachType, CtxField, CtxLayout, FieldKind, ProgType, ProgTypeDesc, Rights, Verdict};

const COUNT: usize = 14;
const BOUND_DEV_IF: usize = 0;
const TYPE: usize = 2;
const PROTOCOL: usize = 3;
const MARK: usize = 4;
const PRIORITY: usize = 5;
const SRC_IP4: usize = 6;
const SRC_IP6: usize = 7;
const SRC_PORT: usize = 8;

const FIELDS: [CtxField; COUNT] = [
    read("bound_dev_if", 0, 4, R4),
    read("family", 4, 4, S124),
    read("type", 8, 4, S124),
    read("protocol", 12, 4, S124),
    read("mark", 16, 4, R4),
    read("priority", 20, 4, R4),
    read("src_ip4", 24, 4, R124),
    read("src_ip6", 28, 16, R124),
    read("src_port", 44, 4, S124),
    // Two bytes and two of padding: a four-byte load reads both.
    read("dst_port", 48, 2, Rights { any: 1 | 2, start: 4 }),
    read("dst_ip4", 52, 4, R124),
    read("dst_ip6", 56, 16, R124),
    read("state", 72, 4, S124),
    read("rx_queue_mapping", 76, 4, S124),
];

const fn hide(mut fields: [CtxField; COUNT], which: &[usize]) -> [CtxField; COUNT] {
    let mut i = 0;
    while i < which.len() {
        fields[which[i]].read = NO;
        i += 1;
    }
    fields
}

const CREATE_FIELDS: [CtxField; COUNT] = {
    let mut fields = hide(FIELDS, &[SRC_IP4, SRC_IP6, SRC_PORT]);
    fields[BOUND_DEV_IF].write = R4;
    fields[MARK].write = R4;
    fields[PRIORITY].write = R4;
    fields
};
const BIND4_FIELDS: [CtxField; COUNT] = hide(FIELDS, &[BOUND_DEV_IF, MARK, PRIORITY, SRC_IP6]);
const BIND6_FIELDS: [CtxField; COUNT] = hide(FIELDS, &[BOUND_DEV_IF, MARK, PRIORITY, SRC_IP4]);
const COMMON_FIELDS: [CtxField; COUNT] = hide(FIELDS, &[TYPE, PROTOCOL, MARK, PRIORITY]);

const fn bpf_sock(fields: &'static [CtxField]) -> CtxLayout {
    CtxLayout { name: "bpf_sock", size: 80, fields }
}

static CREATE: CtxLayout = bpf_sock(&CREATE_FIELDS);
static BIND4: CtxLayout = bpf_sock(&BIND4_FIELDS);
static BIND6: CtxLayout = bpf_sock(&BIND6_FIELDS);

/// What a pointer to a full socket (`PTR_TO_SOCKET`) shows; read-only.
pub static SOCKET: CtxLayout = bpf_sock(&FIELDS);
/// What a pointer to a socket of any state (`PTR_TO_SOCK_COMMON`) shows; read-only.
pub static SOCK_COMMON: CtxLayout = bpf_sock(&COMMON_FIELDS);
/// What a pointer to a TCP socket (`PTR_TO_TCP_SOCK`, `bpf_tcp_sock_is_valid_access`) shows; read-only.
pub static TCP_SOCK: CtxLayout = CtxLayout { name: "bpf_tcp_sock", size: 112, fields: &TCP_FIELDS };
/// What a pointer to an AF_XDP socket (`PTR_TO_XDP_SOCK`) shows; read-only.
pub static XDP_SOCK: CtxLayout =
    CtxLayout { name: "bpf_xdp_sock", size: 4, fields: &[read("queue_id", 0, 4, R4)] };

/// What loading a context field of this kind lets a program see behind the pointer, once it is checked for NULL.
pub fn pointee(kind: FieldKind) -> Option<&'static CtxLayout> {
    match kind {
        FieldKind::SockCommonOrNull => Some(&SOCK_COMMON),
        FieldKind::Socket | FieldKind::SocketOrNull => Some(&SOCKET),
        _ => None,
    }
}

const TCP_FIELDS: [CtxField; 26] = [
    read("snd_cwnd", 0, 4, R4),
    read("srtt_us", 4, 4, R4),
    read("rtt_min", 8, 4, R4),
    read("snd_ssthresh", 12, 4, R4),
    read("rcv_nxt", 16, 4, R4),
    read("snd_nxt", 20, 4, R4),
    read("snd_una", 24, 4, R4),
    read("mss_cache", 28, 4, R4),
    read("ecn_flags", 32, 4, R4),
    read("rate_delivered", 36, 4, R4),
    read("rate_interval_us", 40, 4, R4),
    read("packets_out", 44, 4, R4),
    read("retrans_out", 48, 4, R4),
    read("total_retrans", 52, 4, R4),
    read("segs_in", 56, 4, R4),
    read("data_segs_in", 60, 4, R4),
    read("segs_out", 64, 4, R4),
    read("data_segs_out", 68, 4, R4),
    read("lost_out", 72, 4, R4),
    read("sacked_out", 76, 4, R4),
    read("bytes_received", 80, 8, R8),
    read("bytes_acked", 88, 8, R8),
    read("dsack_dups", 96, 4, R4),
    read("delivered", 100, 4, R4),
    read("delivered_ce", 104, 4, R4),
    read("icsk_retransmits", 108, 4, R4),
];

/// `BPF_PROG_TYPE_CGROUP_SOCK`.
pub static CGROUP_SOCK: ProgTypeDesc = ProgTypeDesc {
    prog_type: ProgType::CgroupSock,
    doc: "sockets that processes of a cgroup create, release and bind",
    since: Version(4, 10),
    layouts: &[
        (&[AttachType::CgroupInet4PostBind], &BIND4),
        (&[AttachType::CgroupInet6PostBind], &BIND6),
        // Programs loaded without an attach type are for socket creation (bpf_prog_load_fixup_attach_type).
        (&[], &CREATE),
    ],
    returns: crate::cgroup::ZERO_OR_ONE,
    attach_types: &[
        AttachType::CgroupInetSockCreate,
        AttachType::CgroupInetSockRelease,
        AttachType::CgroupInet4PostBind,
        AttachType::CgroupInet6PostBind,
    ],
    needs: &[Capability::Bpf, Capability::NetAdmin],
    verdicts: DENY_ALLOW,
    other: Fate::Pass,
    packet_access: PacketAccess::None,
    legacy_loads: false,
    sleepable: Sleepable::Never,
    user: UserRun::Plain,
};

/// 0 and 1 where the UAPI has no names for them.
pub(crate) const DENY_ALLOW: &[Verdict] = &[
    Verdict { value: 0, name: "deny", fate: Fate::Drop },
    Verdict { value: 1, name: "allow", fate: Fate::Pass },
];
