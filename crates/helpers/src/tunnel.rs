//! Metadata of tunnel devices: the key and options a packet came with or leaves with.

use crate::guest;
use crate::row::*;
use crate::skb::clear;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_skb_get_tunnel_key, &bpf_skb_set_tunnel_key, &bpf_skb_get_tunnel_opt, &bpf_skb_set_tunnel_opt];

helper! { bpf_skb_get_tunnel_key = 20, since: (4, 3),
    signature: "long bpf_skb_get_tunnel_key(struct sk_buff *skb, struct bpf_tunnel_key *key, u32 size, u64 flags)",
    doc: "Reads the tunnel metadata that the packet came with.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 3),
          args: [CTX, UNINIT_MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_get_tunnel_key),
}

/// After the program has set metadata itself, it reads it as the other end would: remote and local change places.
fn skb_get_tunnel_key(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [_, to, size, flags, _] = a;
    let size = u64::from(size as u32);
    let tunnel = &env.packet()?.tunnel;
    let (ipv6, set) = (tunnel.ipv6, tunnel.set);
    let Some(key) = tunnel.key.first_chunk::<KEY_LEN>().copied() else {
        return clear(env, to, size, Errno::EINVAL);
    };
    if flags & !(TUN_IPV6 | TUN_FLAGS) != 0 {
        return clear(env, to, size, Errno::EINVAL);
    }
    if ipv6 != (flags & TUN_IPV6 != 0) {
        return clear(env, to, size, Errno::EPROTO);
    }
    let known = OLD_SIZES.contains(&size) || size == KEY_LEN as u64;
    if !known || (size == 8 && ipv6) {
        return clear(env, to, size, Errno::EINVAL);
    }
    let mut key = if set { swapped(key) } else { key };
    if flags & TUN_FLAGS == 0 {
        key[EXT..EXT + 2].fill(0);
    }
    if !ipv6 {
        key[REMOTE + 4..REMOTE + 16].fill(0);
        key[LOCAL + 4..].fill(0);
        key[LABEL..LABEL + 4].fill(0);
    }
    env.mem().write(to, &key[..size as usize])?;
    Ok(Ret::OK)
}

/// Bytes of `struct bpf_tunnel_key`: u32 id, remote (16), u8 tos, u8 ttl, u16 ext or flags, u32 label, local (16).
const KEY_LEN: usize = 44;
const REMOTE: usize = 4;
const EXT: usize = 22;
const LABEL: usize = 24;
const LOCAL: usize = 28;
/// Sizes that older versions of the structure had.
const OLD_SIZES: [u64; 4] = [8, 22, 24, 28];
/// `BPF_F_TUNINFO_IPV6` and `BPF_F_TUNINFO_FLAGS`.
const TUN_IPV6: u64 = 1 << 0;
const TUN_FLAGS: u64 = 1 << 4;

fn swapped(key: [u8; KEY_LEN]) -> [u8; KEY_LEN] {
    let mut out = key;
    out[REMOTE..REMOTE + 16].copy_from_slice(&key[LOCAL..]);
    out[LOCAL..].copy_from_slice(&key[REMOTE..REMOTE + 16]);
    out
}

helper! { bpf_skb_set_tunnel_key = 21, since: (4, 3),
    signature: "long bpf_skb_set_tunnel_key(struct sk_buff *skb, struct bpf_tunnel_key *key, u32 size, u64 flags)",
    doc: "Sets the tunnel metadata that the packet leaves with.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 3),
          args: [CTX, RO_MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_set_tunnel_key),
}

fn skb_set_tunnel_key(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [_, from, size, flags, _] = a;
    let size = u64::from(size as u32);
    let known = OLD_SIZES.contains(&size) || size == KEY_LEN as u64;
    if flags & !SET_FLAGS != 0 || !known {
        return Ok(Errno::EINVAL.into());
    }
    let mut key = [0; KEY_LEN];
    env.mem().read(from, &mut key[..size as usize])?;
    let ipv6 = flags & TUN_IPV6 != 0;
    let label = key[LABEL..LABEL + 4].iter().any(|b| *b != 0);
    let ext = key[EXT..EXT + 2].iter().any(|b| *b != 0);
    if (!ipv6 && label) || ext {
        return Ok(Errno::EINVAL.into());
    }
    let tunnel = &mut env.packet()?.tunnel;
    (tunnel.key, tunnel.ipv6, tunnel.set) = (key.to_vec(), ipv6, true);
    tunnel.opt.clear();
    Ok(Ret::OK)
}

/// `TUNINFO_IPV6`, `ZERO_CSUM_TX`, `DONT_FRAGMENT`, `SEQ_NUMBER`, `NO_TUNNEL_KEY`.
const SET_FLAGS: u64 = TUN_IPV6 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5;

helper! { bpf_skb_get_tunnel_opt = 29, since: (4, 6),
    signature: "long bpf_skb_get_tunnel_opt(struct sk_buff *skb, void *opt, u32 size)",
    doc: "Reads the tunnel options that the packet came with.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 6),
          args: [CTX, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_get_tunnel_opt),
}

fn skb_get_tunnel_opt(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let (to, size) = (a[1], u64::from(a[2] as u32));
    let opt = env.packet()?.tunnel.opt.clone();
    if opt.is_empty() {
        return clear(env, to, size, Errno::ENOENT);
    }
    if size < opt.len() as u64 {
        return clear(env, to, size, Errno::ENOMEM);
    }
    guest::zero(env, to, size)?;
    env.mem().write(to, &opt)?;
    Ok(Ret::Scalar(opt.len() as u64))
}

helper! { bpf_skb_set_tunnel_opt = 30, since: (4, 6),
    signature: "long bpf_skb_set_tunnel_opt(struct sk_buff *skb, void *opt, u32 size)",
    doc: "Sets the tunnel options that the packet leaves with.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 6),
          args: [CTX, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_set_tunnel_opt),
}

fn skb_set_tunnel_opt(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let (from, size) = (a[1], u64::from(a[2] as u32));
    if !env.packet()?.tunnel.set || size % 4 != 0 {
        return Ok(Errno::EINVAL.into());
    }
    if size > MAX_OPTIONS {
        return Ok(Errno::ENOMEM.into());
    }
    let opt = guest::vec(env, from, size)?;
    env.packet()?.tunnel.opt = opt;
    Ok(Ret::OK)
}

/// `IP_TUNNEL_OPTS_MAX`.
const MAX_OPTIONS: u64 = 255;
