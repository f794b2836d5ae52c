//! Copying bytes out of and into packets of socket-buffer programs.

use crate::row::*;
use crate::skb::{clear, clear_hash};
use crate::{checksum, guest};

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_skb_store_bytes, &bpf_skb_load_bytes, &bpf_skb_pull_data, &bpf_skb_load_bytes_relative];

helper! { bpf_skb_store_bytes = 9, since: (4, 1),
    signature: "long bpf_skb_store_bytes(struct sk_buff *skb, u32 offset, const void *from, u32 len, u64 flags)",
    doc: "Writes bytes into the packet, keeping the checksum state true if asked.",
    protos: [
        { who: TC_LWT_XMIT_SK_SKB, since: (4, 1),
          args: [CTX, ANY, RO_MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_store_bytes),
}

fn skb_store_bytes(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [_, offset, from, len, flags] = a;
    if flags & !(RECOMPUTE_CSUM | INVALIDATE_HASH) != 0 {
        return Ok(Errno::EINVAL.into());
    }
    let (offset, len) = (offset as u32 as usize, len as u32 as usize);
    if offset > i32::MAX as usize || offset + len > env.packet()?.len() {
        return Ok(Errno::EFAULT.into());
    }
    let bytes = guest::bytes(env, from, len as u64)?;
    let p = env.packet()?;
    let place = &mut p.bytes_mut()[offset..offset + len];
    let old = place.to_vec();
    place.copy_from_slice(bytes.get());
    if flags & RECOMPUTE_CSUM != 0 {
        p.checksum = checksum::replaced(p.checksum, offset, &old, bytes.get());
    }
    if flags & INVALIDATE_HASH != 0 {
        clear_hash(p);
    }
    Ok(Ret::OK)
}

const RECOMPUTE_CSUM: u64 = 1;
const INVALIDATE_HASH: u64 = 2;

helper! { bpf_skb_load_bytes = 26, since: (4, 5),
    signature: "long bpf_skb_load_bytes(const void *skb, u32 offset, void *to, u32 len)",
    doc: "Copies bytes out of the packet.",
    protos: [
        { who: who(&[
              P::SocketFilter, P::SchedCls, P::SchedAct, P::CgroupSkb, P::LwtIn, P::LwtOut, P::LwtXmit,
              P::SkSkb, P::LwtSeg6local, P::SkReuseport, P::FlowDissector,
          ]), since: (4, 5),
          args: [CTX, ANY, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_load_bytes),
}

fn skb_load_bytes(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [_, offset, to, len, _] = a;
    let (offset, len) = (offset as u32 as usize, len as u32 as usize);
    if offset > i32::MAX as usize {
        return clear(env, to, len as u64, Errno::EFAULT);
    }
    load(env, offset, to, len)
}

fn load(env: &mut dyn Env<'_>, offset: usize, to: u64, len: usize) -> Outcome {
    let bytes = env.packet()?.bytes().get(offset..).and_then(|b| b.get(..len)).map(<[u8]>::to_vec);
    match bytes {
        Some(b) => {
            env.mem().write(to, &b)?;
            Ok(Ret::OK)
        }
        None => clear(env, to, len as u64, Errno::EFAULT),
    }
}

helper! { bpf_skb_pull_data = 39, since: (4, 9),
    signature: "long bpf_skb_pull_data(struct sk_buff *skb, u32 len)",
    doc: "Makes the first bytes of the packet accessible through pointers.",
    protos: [
        { who: who(&[P::SchedCls, P::SchedAct, P::LwtIn, P::LwtOut, P::LwtXmit, P::SkSkb]), since: (4, 9),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        // Not in 6.12, seen in 6.18.
        { who: LWT_SEG6LOCAL, since: (6, 18),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_pull_data),
}

/// Packets of the user engine are in one piece: only the length is checked.
fn skb_pull_data(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let fits = a[1] as u32 as usize <= env.packet()?.len();
    Ok(if fits { Ret::OK } else { Errno::ENOMEM.into() })
}

helper! { bpf_skb_load_bytes_relative = 68, since: (4, 18),
    signature: "long bpf_skb_load_bytes_relative(const void *skb, u32 offset, void *to, u32 len, u32 start_header)",
    doc: "Copies bytes out of the packet, counted from the link-layer or network header.",
    protos: [
        { who: who(&[
              P::SocketFilter, P::SchedCls, P::SchedAct, P::CgroupSkb, P::SkReuseport,
          ]), since: (4, 18),
          args: [CTX, ANY, UNINIT_MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(skb_load_bytes_relative),
}

fn skb_load_bytes_relative(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [_, offset, to, len, start] = a;
    let (offset, len) = (offset as u32 as usize, len as u32 as usize);
    let base = match start as u32 {
        START_MAC => 0,
        START_NET => env.packet()?.mac_len,
        _ => return clear(env, to, len as u64, Errno::EFAULT),
    };
    if offset > 0xffff {
        return clear(env, to, len as u64, Errno::EFAULT);
    }
    load(env, base + offset, to, len)
}

const START_MAC: u32 = 0;
const START_NET: u32 = 1;
