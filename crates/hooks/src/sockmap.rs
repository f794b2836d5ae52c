//! Sockets joined by maps: stream parsers and verdicts (`sk_skb`), messages (`sk_msg`) and TCP events (`sock_ops`).
//!
//! Rights: `sk_skb_is_valid_access`, `sk_msg_is_valid_access`, `sock_ops_is_valid_access` in net/core/filter.c.

use crate::rights::{NO, R4, R8, S124, both, pointer, read};
use crate::skb::{self, Skb, SkbRules};
use skep_platform::ctx::{Fate, PacketAccess, Sleepable, UserRun};
use skep_platform::helper::{Capability, Version};
use skep_platform::{CtxField, CtxLayout, FieldKind, ProgType, ProgTypeDesc, Rights, Verdict};

const SK_SKB_FIELDS: &[CtxField] = &skb::layout(&SkbRules {
    hidden: &[Skb::TcClassid, Skb::DataMeta, Skb::Tstamp, Skb::WireLen, Skb::Hwtstamp, Skb::Mark],
    writes: &[Skb::TcIndex, Skb::Priority],
    capable: &[],
    capable_writes: &[],
    tstamp_type: false,
});

static SK_BUFF: CtxLayout = CtxLayout { name: "__sk_buff", size: skb::SIZE, fields: SK_SKB_FIELDS };

/// `SK_DROP` and `SK_PASS`.
pub(crate) const SK_VERDICTS: &[Verdict] = &[
    Verdict { value: 0, name: "SK_DROP", fate: Fate::Drop },
    Verdict { value: 1, name: "SK_PASS", fate: Fate::Pass },
];

/// `BPF_PROG_TYPE_SK_SKB`.
pub static SK_SKB: ProgTypeDesc = ProgTypeDesc {
    prog_type: ProgType::SkSkb,
    doc: "received data of sockets in a sockmap: where messages end and where they go",
    since: Version(4, 14),
    layouts: &[(&[], &SK_BUFF)],
    returns: &[],
    attach_types: &[],
    needs: &[Capability::Bpf, Capability::NetAdmin],
    verdicts: SK_VERDICTS,
    other: Fate::Drop,
    packet_access: PacketAccess::ReadWrite,
    legacy_loads: false,
    sleepable: Sleepable::Never,
    user: UserRun::No(
        "it runs on what connected sockets receive, which captures do not have; load it into the kernel",
    ),
};

const MSG_FIELDS: [CtxField; 11] = [
    pointer("data", 0, FieldKind::Buffer),
    pointer("data_end", 8, FieldKind::BufferEnd),
    read("family", 16, 4, R4),
    read("remote_ip4", 20, 4, R4),
    read("local_ip4", 24, 4, R4),
    read("remote_ip6", 28, 16, R4),
    read("local_ip6", 44, 16, R4),
    read("remote_port", 60, 4, R4),
    read("local_port", 64, 4, R4),
    read("size", 68, 4, R4),
    pointer("sk", 72, FieldKind::Socket),
];

static SK_MSG_MD: CtxLayout = CtxLayout { name: "sk_msg_md", size: 80, fields: &MSG_FIELDS };

/// `BPF_PROG_TYPE_SK_MSG`.
pub static SK_MSG: ProgTypeDesc = ProgTypeDesc {
    prog_type: ProgType::SkMsg,
    doc: "data that sockets in a sockmap send",
    since: Version(4, 17),
    layouts: &[(&[], &SK_MSG_MD)],
    returns: &[],
    attach_types: &[],
    needs: &[Capability::Bpf, Capability::NetAdmin],
    verdicts: SK_VERDICTS,
    other: Fate::Drop,
    packet_access: PacketAccess::ReadWrite,
    legacy_loads: false,
    sleepable: Sleepable::Never,
    user: UserRun::Plain,
};

const fn word(name: &'static str, off: u16) -> CtxField {
    read(name, off, 4, R4)
}

const OPS_FIELDS: [CtxField; 42] = [
    word("op", 0),
    both("reply", 4, 4, R4, R4),
    read("args", 8, 12, R4),
    word("family", 20),
    word("remote_ip4", 24),
    word("local_ip4", 28),
    read("remote_ip6", 32, 16, R4),
    read("local_ip6", 48, 16, R4),
    word("remote_port", 64),
    word("local_port", 68),
    word("is_fullsock", 72),
    word("snd_cwnd", 76),
    word("srtt_us", 80),
    word("bpf_sock_ops_cb_flags", 84),
    word("state", 88),
    word("rtt_min", 92),
    word("snd_ssthresh", 96),
    word("rcv_nxt", 100),
    word("snd_nxt", 104),
    word("snd_una", 108),
    word("mss_cache", 112),
    word("ecn_flags", 116),
    word("rate_delivered", 120),
    word("rate_interval_us", 124),
    word("packets_out", 128),
    word("retrans_out", 132),
    word("total_retrans", 136),
    word("segs_in", 140),
    word("data_segs_in", 144),
    word("segs_out", 148),
    word("data_segs_out", 152),
    word("lost_out", 156),
    word("sacked_out", 160),
    both("sk_txhash", 164, 4, R4, R4),
    read("bytes_received", 168, 8, R8),
    read("bytes_acked", 176, 8, R8),
    pointer("sk", 184, FieldKind::SocketOrNull),
    pointer("skb_data", 192, FieldKind::Buffer),
    pointer("skb_data_end", 200, FieldKind::BufferEnd),
    word("skb_len", 208),
    CtxField::plain("skb_tcp_flags", 212, 4, FieldKind::Scalar, S124, NO),
    CtxField::plain("skb_hwtstamp", 216, 8, FieldKind::Scalar, Rights::any(8), NO),
];

static SOCK_OPS_CTX: CtxLayout = CtxLayout { name: "bpf_sock_ops", size: 224, fields: &OPS_FIELDS };

/// `BPF_PROG_TYPE_SOCK_OPS`.
pub static SOCK_OPS: ProgTypeDesc = ProgTypeDesc {
    prog_type: ProgType::SockOps,
    doc: "events and parameters of a cgroup's TCP connections",
    since: Version(4, 13),
    layouts: &[(&[], &SOCK_OPS_CTX)],
    returns: crate::cgroup::ZERO_OR_ONE,
    attach_types: &[],
    needs: &[Capability::Bpf, Capability::NetAdmin],
    verdicts: &[],
    other: Fate::Pass,
    packet_access: PacketAccess::Load,
    legacy_loads: false,
    sleepable: Sleepable::Never,
    user: UserRun::Plain,
};
