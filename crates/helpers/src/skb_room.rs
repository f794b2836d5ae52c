//! Making and removing room in packets of socket-buffer programs.

use crate::row::*;
use crate::skb::{IPV4, IPV4_LEN, IPV6, IPV6_LEN, MAX_LEN, clear_hash, is_gso, reset_unnecessary};
use skep_platform::Packet;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_skb_change_proto, &bpf_skb_change_tail, &bpf_skb_change_head, &bpf_skb_adjust_room];

helper! { bpf_skb_change_proto = 31, since: (4, 8),
    signature: "long bpf_skb_change_proto(struct sk_buff *skb, __be16 proto, u64 flags)",
    doc: "Turns an IPv4 packet into room for an IPv6 one, or the other way round.",
    protos: [
        { who: TC, since: (4, 8),
          args: [CTX, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_change_proto),
}

fn skb_change_proto(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    if a[2] != 0 {
        return Ok(Errno::EINVAL.into());
    }
    let (p, to) = (env.packet()?, u32::from(a[1] as u16));
    let room = IPV6_LEN - IPV4_LEN;
    let done = match (p.ctx.protocol, to) {
        (IPV4, IPV6) => p.insert(p.mac_len, room),
        (IPV6, IPV4) => shrink(p, p.mac_len, room),
        _ => Err(Errno::ENOTSUPP),
    };
    if done.is_ok() {
        p.ctx.protocol = to;
        clear_hash(p);
    }
    Ok(done.into())
}

/// Takes `n` bytes out (`bpf_skb_generic_pop`).
fn shrink(p: &mut Packet, at: usize, n: usize) -> Result<(), Errno> {
    p.remove(at, n).map_err(|_| Errno::ENOMEM)
}

helper! { bpf_skb_change_tail = 38, since: (4, 9),
    signature: "long bpf_skb_change_tail(struct sk_buff *skb, u32 len, u64 flags)",
    doc: "Sets the length of the packet by cutting or zero-padding its end.",
    protos: [
        { who: TC_LWT_XMIT_SK_SKB, since: (4, 9),
          args: [CTX, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_change_tail),
}

fn skb_change_tail(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let (p, len) = (env.packet()?, a[1] as u32 as usize);
    if a[2] != 0 || len > MAX_LEN || len < p.mac_len {
        return Ok(Errno::EINVAL.into());
    }
    if p.encapsulated {
        return Ok(Errno::ENOTSUPP.into());
    }
    let done = p.resize(len);
    if done.is_ok() {
        (p.ctx.gso_size, p.ctx.gso_segs) = (0, 0);
    }
    Ok(done.into())
}

helper! { bpf_skb_change_head = 43, since: (4, 10),
    signature: "long bpf_skb_change_head(struct sk_buff *skb, u32 len, u64 flags)",
    doc: "Grows room for a link-layer header in front of the packet.",
    protos: [
        { who: TC_LWT_XMIT_SK_SKB, since: (4, 10),
          args: [CTX, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_change_head),
}

fn skb_change_head(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let (p, room) = (env.packet()?, a[1] as u32 as usize);
    let len = p.len() + room;
    if a[2] != 0 || (!is_gso(p) && len > MAX_LEN) || len > u32::MAX as usize {
        return Ok(Errno::EINVAL.into());
    }
    let done = p.insert(0, room).map_err(|_| Errno::ENOMEM);
    if done.is_ok() {
        p.mac_len += room;
    }
    Ok(done.into())
}

helper! { bpf_skb_adjust_room = 50, since: (4, 13),
    signature: "long bpf_skb_adjust_room(struct sk_buff *skb, s32 len_diff, u32 mode, u64 flags)",
    doc: "Grows or shrinks the packet behind its link-layer or network header.",
    protos: [
        { who: who(&[P::SchedCls, P::SchedAct, P::SkSkb]), since: (4, 13),
          args: [CTX, ANY, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_adjust_room),
}

fn skb_adjust_room(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [_, diff, mode, flags, _] = a;
    let p = env.packet()?;
    let room = match Room::new(p, diff as i32, mode as u32, flags) {
        Ok(room) => room,
        Err(e) => return Ok(e.into()),
    };
    let done = if room.shrink { room.shrink(p) } else { room.grow(p) };
    if done.is_ok() && flags & NO_CSUM_RESET == 0 {
        reset_unnecessary(p);
    }
    Ok(done.into())
}

const FIXED_GSO: u64 = 1 << 0;
const ENCAP_IPV4: u64 = 1 << 1;
const ENCAP_IPV6: u64 = 1 << 2;
const ENCAP_GRE: u64 = 1 << 3;
const ENCAP_UDP: u64 = 1 << 4;
const NO_CSUM_RESET: u64 = 1 << 5;
const ENCAP_L2_ETH: u64 = 1 << 6;
const DECAP_IPV4: u64 = 1 << 7;
const DECAP_IPV6: u64 = 1 << 8;
/// The length of the inner link-layer header stands in the highest byte.
const ENCAP_L2_SHIFT: u32 = 56;
const ENCAP_L2: u64 = 0xff << ENCAP_L2_SHIFT;
const ENCAP: u64 = ENCAP_IPV4 | ENCAP_IPV6;
const DECAP: u64 = DECAP_IPV4 | DECAP_IPV6;
const GROW: u64 = FIXED_GSO | ENCAP | ENCAP_GRE | ENCAP_UDP | ENCAP_L2_ETH | ENCAP_L2 | DECAP | NO_CSUM_RESET;
const SHRINK: u64 = FIXED_GSO | DECAP | NO_CSUM_RESET;
/// Room is made behind the network header.
const MODE_NET: u32 = 0;
/// Room is made behind the link-layer header.
const MODE_MAC: u32 = 1;
/// Most bytes at a time.
const MAX_DIFF: u32 = 0xfff;

/// A change of room whose arguments were checked.
struct Room {
    at: usize,
    n: usize,
    shrink: bool,
    flags: u64,
}

impl Room {
    /// Checks in the kernel's order.
    fn new(p: &Packet, diff: i32, mode: u32, flags: u64) -> Result<Room, Errno> {
        let (n, shrink) = (diff.unsigned_abs(), diff < 0);
        if flags & !GROW != 0 {
            return Err(Errno::EINVAL);
        }
        if n > MAX_DIFF {
            return Err(Errno::EFAULT);
        }
        let base = match p.ctx.protocol {
            IPV4 => IPV4_LEN,
            IPV6 => IPV6_LEN,
            _ => return Err(Errno::ENOTSUPP),
        };
        let at = match mode {
            MODE_NET => p.mac_len + base,
            MODE_MAC => p.mac_len,
            _ => return Err(Errno::ENOTSUPP),
        };
        let least = match flags & DECAP {
            0 => base,
            _ if !shrink => return Err(Errno::EINVAL),
            DECAP_IPV4 => IPV4_LEN,
            DECAP_IPV6 => IPV6_LEN,
            _ => return Err(Errno::EINVAL),
        };
        let (n, net_len) = (n as usize, p.len().saturating_sub(p.mac_len));
        let too_short = shrink && (n >= net_len || net_len - n < least);
        let too_long = !shrink && p.len() + n > MAX_LEN && !is_gso(p);
        if too_short || too_long {
            return Err(Errno::ENOTSUPP);
        }
        Ok(Room { at, n, shrink, flags })
    }

    fn has(&self, flags: u64) -> bool {
        self.flags & flags != 0
    }

    fn grow(&self, p: &mut Packet) -> Result<(), Errno> {
        no_gso(p)?;
        if self.has(ENCAP) {
            self.check_encap(p)?;
        }
        p.insert(self.at, self.n)?;
        if self.has(ENCAP) {
            p.encapsulated = true;
            p.ctx.protocol = if self.has(ENCAP_IPV6) { IPV6 } else { IPV4 };
        }
        Ok(())
    }

    fn check_encap(&self, p: &Packet) -> Result<(), Errno> {
        let inner_mac = (self.flags >> ENCAP_L2_SHIFT) as usize;
        let both = |a, b| self.has(a) && self.has(b);
        if both(ENCAP_IPV4, ENCAP_IPV6) || both(ENCAP_GRE, ENCAP_UDP) {
            return Err(Errno::EINVAL);
        }
        if self.has(ENCAP_L2_ETH) && inner_mac < crate::skb::ETH_LEN {
            return Err(Errno::EINVAL);
        }
        if p.encapsulated {
            return Err(Errno::EALREADY);
        }
        if inner_mac > self.n { Err(Errno::EINVAL) } else { Ok(()) }
    }

    fn shrink(&self, p: &mut Packet) -> Result<(), Errno> {
        if self.flags & !SHRINK != 0 {
            return Err(Errno::EINVAL);
        }
        no_gso(p)?;
        shrink(p, self.at, self.n)?;
        match self.flags & DECAP {
            DECAP_IPV4 => p.ctx.protocol = IPV4,
            DECAP_IPV6 => p.ctx.protocol = IPV6,
            _ => {}
        }
        Ok(())
    }
}

/// Packets to be segmented have no segment type here, and the kernel refuses those.
fn no_gso(p: &Packet) -> Result<(), Errno> {
    if is_gso(p) { Err(Errno::ENOTSUPP) } else { Ok(()) }
}
