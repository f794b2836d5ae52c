//! `struct __sk_buff`: one table of its fields, and what each kind of program may do with them.
//!
//! The table holds what holds for all of them (`bpf_skb_is_valid_access`, net/core/filter.c); a [`SkbRules`] says what a
//! program type takes away or grants (`sk_filter_is_valid_access` and its neighbours there). [`layout`] combines the two
//! at compile time.
//!
//! Always holds: fields ascend, and `Skb as usize` is a field's place in the table.

use crate::rights::{NO, R4, R8, R124, RALL};
use skep_platform::ctx::Unprivileged;
use skep_platform::packet::PacketCtx;
use skep_platform::{CtxField, FieldKind, Rights};
use std::mem::offset_of;

/// Bytes of `struct __sk_buff`.
pub(crate) const SIZE: u16 = 192;

/// Fields of `struct __sk_buff`, in order. Not every field has a rule that names it.
#[allow(dead_code)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skb {
    Len,
    PktType,
    Mark,
    QueueMapping,
    Protocol,
    VlanPresent,
    VlanTci,
    VlanProto,
    Priority,
    IngressIfindex,
    Ifindex,
    TcIndex,
    Cb,
    Hash,
    TcClassid,
    Data,
    DataEnd,
    NapiId,
    Family,
    RemoteIp4,
    LocalIp4,
    RemoteIp6,
    LocalIp6,
    RemotePort,
    LocalPort,
    DataMeta,
    FlowKeys,
    Tstamp,
    WireLen,
    GsoSegs,
    Sk,
    GsoSize,
    TstampType,
    Hwtstamp,
}

const COUNT: usize = Skb::Hwtstamp as usize + 1;

/// How a program type differs from the table.
pub(crate) struct SkbRules {
    /// Fields it cannot access at all.
    pub hidden: &'static [Skb],
    /// Fields it may write, of those the table lets anybody write.
    pub writes: &'static [Skb],
    /// Fields that need `CAP_BPF`.
    pub capable: &'static [Skb],
    /// Fields whose writes need `CAP_BPF`.
    pub capable_writes: &'static [Skb],
    /// `tstamp_type` can be read.
    pub tstamp_type: bool,
}

/// What a socket sees of its peers: hidden wherever a program may run without a socket.
pub(crate) const SOCK_FIELDS: [Skb; 7] = [
    Skb::Family,
    Skb::RemoteIp4,
    Skb::LocalIp4,
    Skb::RemoteIp6,
    Skb::LocalIp6,
    Skb::RemotePort,
    Skb::LocalPort,
];

/// The layout's fields for a program type.
pub(crate) const fn layout(rules: &SkbRules) -> [CtxField; COUNT] {
    let mut fields = FIELDS;
    let mut i = 0;
    while i < COUNT {
        let f = &mut fields[i];
        if !has(rules.writes, i) {
            f.write = NO;
        }
        if has(rules.hidden, i) {
            (f.read, f.write) = (NO, NO);
        }
        if has(rules.capable_writes, i) {
            f.unprivileged = Unprivileged::NoWrite;
        }
        if has(rules.capable, i) {
            f.unprivileged = Unprivileged::NoAccess;
        }
        if i == Skb::TstampType as usize && rules.tstamp_type {
            f.read = Rights::any(1);
        }
        i += 1;
    }
    fields
}

const fn has(list: &[Skb], index: usize) -> bool {
    let mut i = 0;
    while i < list.len() {
        if list[i] as usize == index {
            return true;
        }
        i += 1;
    }
    false
}

/// A 32-bit number: narrow reads, whole writes.
const fn num(name: &'static str, off: u16, at: usize) -> CtxField {
    CtxField::plain(name, off, 4, FieldKind::Scalar, R124, R4).kept_at(at, 4)
}

/// Numbers that are accessed in whole words.
const fn words(name: &'static str, off: u16, size: u16, at: usize) -> CtxField {
    CtxField::plain(name, off, size, FieldKind::Scalar, R4, NO).kept_at(at, size)
}

/// A packet pointer: four bytes to the program, an address to the engine.
const fn packet(name: &'static str, off: u16, kind: FieldKind, at: usize) -> CtxField {
    CtxField::plain(name, off, 4, kind, R4, NO).kept_at(at, 8)
}

/// Eight bytes as a whole.
const fn long(name: &'static str, off: u16, kind: FieldKind, write: Rights, at: usize) -> CtxField {
    CtxField::plain(name, off, 8, kind, R8, write).kept_at(at, 8)
}

macro_rules! at {
    ($field:ident) => {
        offset_of!(PacketCtx, $field)
    };
}

const FIELDS: [CtxField; COUNT] = [
    num("len", 0, at!(len)),
    num("pkt_type", 4, at!(pkt_type)),
    num("mark", 8, at!(mark)),
    num("queue_mapping", 12, at!(queue_mapping)),
    num("protocol", 16, at!(protocol)),
    num("vlan_present", 20, at!(vlan_present)),
    num("vlan_tci", 24, at!(vlan_tci)),
    num("vlan_proto", 28, at!(vlan_proto)),
    num("priority", 32, at!(priority)),
    num("ingress_ifindex", 36, at!(ingress_ifindex)),
    num("ifindex", 40, at!(ifindex)),
    num("tc_index", 44, at!(tc_index)),
    CtxField::plain("cb", 48, 20, FieldKind::Scalar, RALL, RALL).kept_at(at!(cb), 20),
    num("hash", 68, at!(hash)),
    num("tc_classid", 72, at!(tc_classid)),
    packet("data", 76, FieldKind::PacketData, at!(data)),
    packet("data_end", 80, FieldKind::PacketEnd, at!(data_end)),
    num("napi_id", 84, at!(napi_id)),
    num("family", 88, at!(family)),
    words("remote_ip4", 92, 4, at!(remote_ip4)),
    words("local_ip4", 96, 4, at!(local_ip4)),
    words("remote_ip6", 100, 16, at!(remote_ip6)),
    words("local_ip6", 116, 16, at!(local_ip6)),
    num("remote_port", 132, at!(remote_port)),
    num("local_port", 136, at!(local_port)),
    packet("data_meta", 140, FieldKind::PacketMeta, at!(data_meta)),
    CtxField::plain("flow_keys", 144, 8, FieldKind::FlowKeys, NO, NO).kept_at(at!(flow_keys), 8),
    long("tstamp", 152, FieldKind::Scalar, R8, at!(tstamp)),
    num("wire_len", 160, at!(wire_len)),
    num("gso_segs", 164, at!(gso_segs)),
    long("sk", 168, FieldKind::SockCommonOrNull, NO, at!(sk)),
    num("gso_size", 176, at!(gso_size)),
    CtxField::plain("tstamp_type", 180, 1, FieldKind::Scalar, NO, NO).kept_at(at!(tstamp_type), 4),
    long("hwtstamp", 184, FieldKind::Scalar, NO, at!(hwtstamp)),
];
