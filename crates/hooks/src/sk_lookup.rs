//! Choosing sockets: `sk_lookup` before the kernel looks, `sk_reuseport` among sockets that share a port.
//!
//! Rights: `sk_lookup_is_valid_access`, `sk_reuseport_is_valid_access` in net/core/filter.c.

use crate::rights::{R4, R124, pointer, read};
use crate::sockmap::SK_VERDICTS;
use skep_platform::ctx::{Fate, PacketAccess, RetRange, Sleepable, UserRun};
use skep_platform::helper::{Capability, Version};
use skep_platform::{AttachType, CtxField, CtxLayout, FieldKind, ProgType, ProgTypeDesc, Rights};

const LOOKUP_FIELDS: [CtxField; 11] = [
    pointer("sk", 0, FieldKind::SocketOrNull),
    read("family", 8, 4, R124),
    read("protocol", 12, 4, R124),
    read("remote_ip4", 16, 4, R124),
    read("remote_ip6", 20, 16, R124),
    // Network byte order in two bytes, once declared as four.
    read("remote_port", 36, 2, Rights { any: 1 | 2, start: 4 }),
    read("remote_port_pad", 38, 2, Rights::any(1 | 2)),
    read("local_ip4", 40, 4, R124),
    read("local_ip6", 44, 16, R124),
    read("local_port", 60, 4, R124),
    read("ingress_ifindex", 64, 4, R124),
];

static LOOKUP: CtxLayout = CtxLayout { name: "bpf_sk_lookup", size: 72, fields: &LOOKUP_FIELDS };

/// `BPF_PROG_TYPE_SK_LOOKUP`.
pub static SK_LOOKUP: ProgTypeDesc = ProgTypeDesc {
    prog_type: ProgType::SkLookup,
    doc: "incoming connections and datagrams: the socket that takes them",
    since: Version(5, 9),
    layouts: &[(&[], &LOOKUP)],
    returns: &[(&[], RetRange { min: 0, max: 1 })],
    attach_types: &[AttachType::SkLookup],
    needs: &[Capability::Bpf, Capability::NetAdmin],
    verdicts: SK_VERDICTS,
    other: Fate::Drop,
    packet_access: PacketAccess::None,
    legacy_loads: false,
    sleepable: Sleepable::Never,
    user: UserRun::Plain,
};

const REUSEPORT_FIELDS: [CtxField; 9] = [
    pointer("data", 0, FieldKind::Buffer),
    pointer("data_end", 8, FieldKind::BufferEnd),
    read("len", 16, 4, R124),
    read("eth_protocol", 20, 4, Rights::any(2 | 4)),
    read("ip_protocol", 24, 4, R124),
    read("bind_inany", 28, 4, R124),
    read("hash", 32, 4, R4),
    pointer("sk", 40, FieldKind::Socket),
    pointer("migrating_sk", 48, FieldKind::SockCommonOrNull),
];

static REUSEPORT: CtxLayout = CtxLayout { name: "sk_reuseport_md", size: 56, fields: &REUSEPORT_FIELDS };

/// `BPF_PROG_TYPE_SK_REUSEPORT`.
pub static SK_REUSEPORT: ProgTypeDesc = ProgTypeDesc {
    prog_type: ProgType::SkReuseport,
    doc: "which of the sockets on one port takes a packet",
    since: Version(4, 19),
    layouts: &[(&[], &REUSEPORT)],
    returns: &[],
    attach_types: &[AttachType::SkReuseportSelect, AttachType::SkReuseportSelectOrMigrate],
    needs: &[Capability::Bpf],
    verdicts: SK_VERDICTS,
    other: Fate::Drop,
    packet_access: PacketAccess::Read,
    legacy_loads: false,
    sleepable: Sleepable::Never,
    user: UserRun::Plain,
};
