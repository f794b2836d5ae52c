//! VLAN tags of socket-buffer programs. The outermost tag lives in the metadata, as hardware hands it over; further tags are in the packet.

use crate::row::*;
use crate::skb::{ETH_LEN, VLAN, VLAN_AD};
use skep_platform::Packet;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_skb_vlan_push, &bpf_skb_vlan_pop];

helper! { bpf_skb_vlan_push = 18, since: (4, 3),
    signature: "long bpf_skb_vlan_push(struct sk_buff *skb, __be16 vlan_proto, u16 vlan_tci)",
    doc: "Adds a VLAN tag: to the metadata if it is free, else the old tag moves into the packet.",
    protos: [
        { who: TC, since: (4, 3),
          args: [CTX, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_vlan_push),
}

fn skb_vlan_push(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let asked = u32::from(a[1] as u16);
    let proto = if is_vlan(asked) { asked } else { VLAN };
    Ok(push(env.packet()?, proto, a[2] as u16).into())
}

/// Whether an EtherType is a VLAN's (`eth_type_vlan`).
fn is_vlan(proto: u32) -> bool {
    matches!(proto, VLAN | VLAN_AD)
}

/// Bytes of a tag in the packet.
const TAG_LEN: usize = 4;

/// Where a tag stands: behind the two addresses.
const TAG_AT: usize = 12;

fn push(p: &mut Packet, proto: u32, tci: u16) -> Result<(), Errno> {
    if p.ctx.vlan_present != 0 {
        insert_tag(p)?;
        p.ctx.protocol = p.ctx.vlan_proto;
    }
    (p.ctx.vlan_present, p.ctx.vlan_proto, p.ctx.vlan_tci) = (1, proto, tci.into());
    Ok(())
}

/// Moves the tag of the metadata into the packet.
pub(crate) fn insert_tag(p: &mut Packet) -> Result<(), Errno> {
    let (proto, tci) = (p.ctx.vlan_proto as u16, p.ctx.vlan_tci as u16);
    p.insert(TAG_AT, TAG_LEN)?;
    p.bytes_mut()[TAG_AT..TAG_AT + 2].copy_from_slice(&proto.to_ne_bytes());
    p.bytes_mut()[TAG_AT + 2..TAG_AT + 4].copy_from_slice(&tci.to_be_bytes());
    Ok(())
}

helper! { bpf_skb_vlan_pop = 19, since: (4, 3),
    signature: "long bpf_skb_vlan_pop(struct sk_buff *skb)",
    doc: "Removes the outermost VLAN tag, from the metadata or from the packet.",
    protos: [
        { who: TC, since: (4, 3),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_vlan_pop),
}

fn skb_vlan_pop(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(pop(env.packet()?).into())
}

/// Drops the outermost tag; if another one follows in the packet, it becomes the metadata's.
fn pop(p: &mut Packet) -> Result<(), Errno> {
    if p.ctx.vlan_present != 0 {
        (p.ctx.vlan_present, p.ctx.vlan_proto, p.ctx.vlan_tci) = (0, 0, 0);
    } else if is_vlan(p.ctx.protocol) {
        remove_tag(p)?;
    }
    let proto = p.ctx.protocol;
    if is_vlan(proto) {
        let tci = remove_tag(p)?;
        (p.ctx.vlan_present, p.ctx.vlan_proto, p.ctx.vlan_tci) = (1, proto, tci.into());
    }
    Ok(())
}

/// Takes the tag out of the packet and sets the protocol to what stood behind it; the tag's control information.
fn remove_tag(p: &mut Packet) -> Result<u16, Errno> {
    let Some(head) = p.bytes().first_chunk::<{ ETH_LEN + TAG_LEN }>() else { return Err(Errno::ENOMEM) };
    let tci = u16::from_be_bytes([head[14], head[15]]);
    let inner = u16::from_be_bytes([head[16], head[17]]);
    let raw = p.bytes().get(18..20).is_some_and(|b| b == [0xff, 0xff]);
    p.remove(TAG_AT, TAG_LEN)?;
    let proto = match (inner >= FIRST_ETHERTYPE, raw) {
        (true, _) => inner,
        (false, true) => ETH_P_802_3,
        (false, false) => ETH_P_802_2,
    };
    p.ctx.protocol = u32::from(proto.to_be());
    p.mac_len = p.mac_len.saturating_sub(TAG_LEN).max(ETH_LEN);
    Ok(tci)
}

/// Smaller numbers are lengths (`ETH_P_802_3_MIN`).
const FIRST_ETHERTYPE: u16 = 0x600;
const ETH_P_802_3: u16 = 1;
const ETH_P_802_2: u16 = 4;
