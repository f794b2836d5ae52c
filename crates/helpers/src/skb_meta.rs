//! What a socket buffer knows beside its bytes: hash, type, realm, time stamp.

use crate::checksum;
use crate::row::*;
use crate::skb::{IPV4, IPV4_LEN, IPV6, IPV6_LEN, clear, clear_hash};
use skep_platform::{Checksum, Packet};

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_get_route_realm,
    &bpf_skb_change_type,
    &bpf_get_hash_recalc,
    &bpf_set_hash_invalid,
    &bpf_set_hash,
    &bpf_skb_get_xfrm_state,
    &bpf_skb_ecn_set_ce,
    &bpf_skb_set_tstamp,
];

helper! { bpf_get_route_realm = 24, since: (4, 4),
    signature: "u32 bpf_get_route_realm(struct sk_buff *skb)",
    doc: "Routing realm of the packet's destination.",
    protos: [
        { who: TC_LWT, since: (4, 4),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(get_route_realm),
}

/// Packets of the user engine were not routed: realm 0.
fn get_route_realm(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    env.packet()?;
    Ok(Ret::Scalar(0))
}

helper! { bpf_skb_change_type = 32, since: (4, 8),
    signature: "long bpf_skb_change_type(struct sk_buff *skb, u32 type)",
    doc: "Changes who the packet is addressed to: this host, all, a group, another host.",
    protos: [
        { who: TC, since: (4, 8),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_change_type),
}

fn skb_change_type(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let (p, to) = (env.packet()?, a[1] as u32);
    if p.ctx.pkt_type > OTHERHOST || to > OTHERHOST {
        return Ok(Errno::EINVAL.into());
    }
    p.ctx.pkt_type = to;
    Ok(Ret::OK)
}

/// `PACKET_OTHERHOST`, the last type that may be changed.
const OTHERHOST: u32 = 3;

helper! { bpf_get_hash_recalc = 34, since: (4, 8),
    signature: "u32 bpf_get_hash_recalc(struct sk_buff *skb)",
    doc: "The packet's flow hash, computed when it is not known.",
    protos: [
        { who: TC_LWT, since: (4, 8),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(get_hash_recalc),
}

/// The kernel's hash is keyed by a secret; this one depends on addresses, protocol and ports alone, so runs repeat. Both
/// directions of a flow have the same hash.
fn get_hash_recalc(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    let p = env.packet()?;
    if !p.hash_known && p.ctx.hash == 0 {
        p.ctx.hash = flow_hash(p);
    }
    p.hash_known = true;
    Ok(Ret::Scalar(p.ctx.hash.into()))
}

/// Never 0: that stands for "not known".
fn flow_hash(p: &Packet) -> u32 {
    let net = p.bytes().get(p.mac_len..).unwrap_or_default();
    let (src, dst, proto, ports_at) = match (net.first().map(|b| b >> 4), net.len()) {
        (Some(4), IPV4_LEN..) => (&net[12..16], &net[16..20], net[9], usize::from(net[0] & 15) * 4),
        (Some(6), IPV6_LEN..) => (&net[8..24], &net[24..40], net[6], IPV6_LEN),
        _ => (net, net, 0, net.len()),
    };
    let ports = match (proto, net.get(ports_at..ports_at + 4)) {
        (TCP | UDP | SCTP, Some(b)) => (&b[..2], &b[2..]),
        _ => (&[][..], &[][..]),
    };
    let (a, b) = ((src, ports.0), (dst, ports.1));
    let ((a, ap), (b, bp)) = if a <= b { (a, b) } else { (b, a) };
    let mut hash = 0x811c_9dc5_u32;
    for byte in [a, b, ap, bp, &[proto]].into_iter().flatten() {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    (hash ^ hash >> 15).wrapping_mul(0x2c1b_3c6d).max(1)
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

helper! { bpf_set_hash_invalid = 41, since: (4, 9),
    signature: "void bpf_set_hash_invalid(struct sk_buff *skb)",
    doc: "Forgets the packet's flow hash, so that it is computed afresh.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 9),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(set_hash_invalid),
}

fn set_hash_invalid(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    clear_hash(env.packet()?);
    Ok(Ret::OK)
}

helper! { bpf_set_hash = 48, since: (4, 13),
    signature: "long bpf_set_hash(struct sk_buff *skb, u32 hash)",
    doc: "Sets the packet's flow hash.",
    protos: [
        { who: TC, since: (4, 13),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(set_hash),
}

fn set_hash(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let p = env.packet()?;
    (p.ctx.hash, p.hash_known) = (a[1] as u32, true);
    Ok(Ret::OK)
}

helper! { bpf_skb_get_xfrm_state = 66, since: (4, 18),
    signature: "long bpf_skb_get_xfrm_state(struct sk_buff *skb, u32 index, struct bpf_xfrm_state *xfrm_state, u32 size, u64 flags)",
    doc: "Reads the IPsec state that the packet was received under.",
    protos: [
        { who: TC, since: (4, 18),
          args: [CTX, ANY, UNINIT_MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_get_xfrm_state),
}

/// No packet of the user engine came through IPsec.
fn skb_get_xfrm_state(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    env.packet()?;
    clear(env, a[2], u64::from(a[3] as u32), Errno::EINVAL)
}

helper! { bpf_skb_ecn_set_ce = 97, since: (5, 1),
    signature: "long bpf_skb_ecn_set_ce(struct sk_buff *skb)",
    doc: "Marks an ECN-capable packet as having met congestion.",
    protos: [
        { who: TC_CGROUP_SKB, since: (5, 1),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_ecn_set_ce),
}

/// 1 when the packet is marked afterwards, 0 when its flow does not take marks or it is not IP.
fn skb_ecn_set_ce(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    let p = env.packet()?;
    let (proto, at) = (p.ctx.protocol, p.mac_len);
    let marked = match (proto, p.len().saturating_sub(at)) {
        (IPV4, IPV4_LEN..) => mark_ipv4(&mut p.bytes_mut()[at..]),
        (IPV6, IPV6_LEN..) => mark_ipv6(p, at),
        _ => false,
    };
    Ok(Ret::Scalar(marked.into()))
}

/// Both bits of the ECN field.
const CE: u8 = 3;

fn mark_ipv4(header: &mut [u8]) -> bool {
    let ecn = header[1] & CE;
    if ecn == 0 || ecn == CE {
        return ecn == CE;
    }
    let check = u16::from_be_bytes([header[10], header[11]]);
    // One word grew by `CE - ecn`, so its complement's sum shrinks by as much.
    let check = checksum::add16(check, !u16::from(CE - ecn));
    header[10..12].copy_from_slice(&check.to_be_bytes());
    header[1] |= CE;
    true
}

fn mark_ipv6(p: &mut Packet, at: usize) -> bool {
    let header = &mut p.bytes_mut()[at..at + 4];
    let old = [header[0], header[1], header[2], header[3]];
    if (old[1] >> 4) & CE == 0 {
        return false;
    }
    header[1] |= CE << 4;
    let new = [header[0], header[1], header[2], header[3]];
    if let Checksum::Complete(sum) = p.checksum {
        let sum = checksum::sub(sum, u32::from_ne_bytes(old));
        p.checksum = Checksum::Complete(checksum::add(sum, u32::from_ne_bytes(new)));
    }
    true
}

helper! { bpf_skb_set_tstamp = 192, since: (5, 18),
    signature: "long bpf_skb_set_tstamp(struct sk_buff *skb, u64 tstamp, u32 tstamp_type)",
    doc: "Sets the time stamp of the packet and the clock that it is of.",
    protos: [
        { who: TC, since: (5, 18),
          args: [CTX, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_set_tstamp),
}

fn skb_set_tstamp(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let (p, tstamp, clock) = (env.packet()?, a[1], a[2] as u32);
    if !matches!(p.ctx.protocol, IPV4 | IPV6) {
        return Ok(Errno::EOPNOTSUPP.into());
    }
    if clock > CLOCK_TAI || (clock != CLOCK_REALTIME && tstamp == 0) {
        return Ok(Errno::EINVAL.into());
    }
    (p.ctx.tstamp, p.ctx.tstamp_type) = (tstamp, clock);
    Ok(Ret::OK)
}

const CLOCK_REALTIME: u32 = 0;
const CLOCK_TAI: u32 = 2;
