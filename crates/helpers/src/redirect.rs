//! Sending packets elsewhere.

use crate::guest;
use crate::map::bad_map;
use crate::row::*;
use crate::skb::{is_gso, is_xdp};
use skep_platform::packet::Redirect;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_clone_redirect, &bpf_redirect, &bpf_redirect_map, &bpf_redirect_neigh, &bpf_redirect_peer];

helper! { bpf_clone_redirect = 13, since: (4, 2),
    signature: "long bpf_clone_redirect(struct sk_buff *skb, u32 ifindex, u64 flags)",
    doc: "Sends a copy of the packet to an interface and goes on with the packet.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 2),
          args: [CTX, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(clone_redirect),
}

/// Any interface but 0 counts as there; the copy leaves with its VLAN tag in the packet, as on a wire.
fn clone_redirect(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let (ifindex, flags) = (a[1] as u32, a[2]);
    let p = env.packet()?;
    if flags & !INGRESS != 0 || (ifindex == 0 && !is_gso(p)) {
        return Ok(Errno::EINVAL.into());
    }
    if is_gso(p) {
        return Ok(Errno::EBADMSG.into());
    }
    let mut copy = p.bytes().to_vec();
    if p.ctx.vlan_present != 0 && copy.len() >= 12 {
        let (proto, tci) = (p.ctx.vlan_proto as u16, p.ctx.vlan_tci as u16);
        copy.splice(12..12, [proto.to_ne_bytes(), tci.to_be_bytes()].concat());
    }
    p.clones.push((ifindex, copy));
    Ok(Ret::OK)
}

/// `BPF_F_INGRESS`.
const INGRESS: u64 = 1;
/// What [`Redirect::Interface`] carries for `bpf_redirect_neigh`, `bpf_redirect_peer` and a next hop given with it.
const NEIGH: u64 = 1 << 16;
const PEER: u64 = 1 << 17;
const NEXTHOP: u64 = 1 << 18;

const TC_ACT_SHOT: u64 = 2;
const TC_ACT_REDIRECT: u64 = 7;
const XDP_ABORTED: u64 = 0;
const XDP_REDIRECT: u64 = 4;

helper! { bpf_redirect = 23, since: (4, 4),
    signature: "long bpf_redirect(u32 ifindex, u64 flags)",
    doc: "Asks for the packet to be sent from or received by another interface.",
    protos: [
        { who: who(&[P::SchedCls, P::SchedAct, P::Xdp, P::LwtXmit]), since: (4, 4),
          args: [ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(redirect),
}

/// XDP takes no flags, traffic control only `BPF_F_INGRESS`; anything else drops the packet.
fn redirect(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [ifindex, flags, ..] = a;
    let (allowed, yes, no) = match is_xdp(env) {
        true => (0, XDP_REDIRECT, XDP_ABORTED),
        false => (INGRESS, TC_ACT_REDIRECT, TC_ACT_SHOT),
    };
    if flags & !allowed != 0 {
        return Ok(Ret::Scalar(no));
    }
    to_interface(env, ifindex, flags)?;
    Ok(Ret::Scalar(yes))
}

fn to_interface(env: &mut dyn Env<'_>, ifindex: u64, flags: u64) -> Result<(), Fault> {
    env.packet()?.redirect = Some(Redirect::Interface { ifindex: ifindex as u32, flags });
    Ok(())
}

helper! { bpf_redirect_map = 51, since: (4, 14),
    signature: "long bpf_redirect_map(struct bpf_map *map, u64 key, u64 flags)",
    doc: "Sends the packet to the device, CPU or socket in a map entry.",
    protos: [
        { who: XDP, since: (4, 14),
          args: [MAP, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: REDIRECT_MAPS, rule: Rule::None,
    body: Body::Fn(redirect_map),
}

/// The lower bits of the flags are the verdict for a missing entry; a broadcast needs none.
fn redirect_map(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [handle, key, flags, ..] = a;
    let map = env.map(handle)?;
    let own_flags = match map.def().map_type {
        MapType::Devmap | MapType::DevmapHash => BROADCAST | EXCLUDE_INGRESS,
        MapType::Cpumap | MapType::Xskmap => 0,
        _ => return Err(bad_map(map, "packets cannot be redirected into it")),
    };
    if flags & !(own_flags | ON_MISS) != 0 {
        return Ok(Ret::Scalar(XDP_ABORTED));
    }
    let index = key as u32;
    let found = map.read(&index.to_ne_bytes(), &mut Vec::new()).is_ok();
    let name = map.def().name.clone();
    let p = env.packet()?;
    if !found && flags & BROADCAST == 0 {
        p.redirect = None;
        return Ok(Ret::Scalar(flags & ON_MISS));
    }
    p.redirect = Some(Redirect::MapEntry { map: name, index: index.into(), flags });
    Ok(Ret::Scalar(XDP_REDIRECT))
}

const ON_MISS: u64 = 3;
const BROADCAST: u64 = 1 << 3;
const EXCLUDE_INGRESS: u64 = 1 << 4;

helper! { bpf_redirect_neigh = 152, since: (5, 10),
    signature: "long bpf_redirect_neigh(u32 ifindex, struct bpf_redir_neigh *params, int plen, u64 flags)",
    doc: "Sends the packet to an interface and fills the link-layer addresses of the next hop in.",
    protos: [
        { who: TC, since: (5, 10),
          args: [ANY, RO_MEM_OR_NULL, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(redirect_neigh),
}

fn redirect_neigh(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [ifindex, params, len, flags, _] = a;
    let len = len as i32;
    if (len != 0 && len < NEXTHOP_LEN) || flags != 0 {
        return Ok(Ret::Scalar(TC_ACT_SHOT));
    }
    if len != 0 {
        guest::bytes(env, params, NEXTHOP_LEN as u64)?;
    }
    to_interface(env, ifindex, if len != 0 { NEIGH | NEXTHOP } else { NEIGH })?;
    Ok(Ret::Scalar(TC_ACT_REDIRECT))
}

/// Bytes of `struct bpf_redir_neigh`.
const NEXTHOP_LEN: i32 = 20;

helper! { bpf_redirect_peer = 155, since: (5, 10),
    signature: "long bpf_redirect_peer(u32 ifindex, u64 flags)",
    doc: "Hands the packet to the other end of a virtual device pair.",
    protos: [
        { who: TC, since: (5, 10),
          args: [ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(redirect_peer),
}

fn redirect_peer(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    if a[1] != 0 {
        return Ok(Ret::Scalar(TC_ACT_SHOT));
    }
    to_interface(env, a[0], PEER)?;
    Ok(Ret::Scalar(TC_ACT_REDIRECT))
}
