//! Helpers of XDP programs.

use crate::guest;
use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_xdp_adjust_head,
    &bpf_xdp_adjust_meta,
    &bpf_xdp_adjust_tail,
    &bpf_xdp_get_buff_len,
    &bpf_xdp_load_bytes,
    &bpf_xdp_store_bytes,
];

helper! { bpf_xdp_adjust_head = 44, since: (4, 10),
    signature: "long bpf_xdp_adjust_head(struct xdp_buff *xdp_md, int delta)",
    doc: "Moves the start of the packet into the headroom or towards the end.",
    protos: [
        { who: XDP, since: (4, 10),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(xdp_adjust_head),
}

fn xdp_adjust_head(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    Ok(env.packet()?.adjust_head((a[1] as i32).into()).into())
}

helper! { bpf_xdp_adjust_meta = 54, since: (4, 15),
    signature: "long bpf_xdp_adjust_meta(struct xdp_buff *xdp_md, int delta)",
    doc: "Moves the start of the metadata in front of the packet.",
    protos: [
        { who: XDP, since: (4, 15),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(xdp_adjust_meta),
}

fn xdp_adjust_meta(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    Ok(env.packet()?.adjust_meta((a[1] as i32).into()).into())
}

helper! { bpf_xdp_adjust_tail = 65, since: (4, 18),
    signature: "long bpf_xdp_adjust_tail(struct xdp_buff *xdp_md, int delta)",
    doc: "Moves the end of the packet; new bytes are zero.",
    protos: [
        { who: XDP, since: (4, 18),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(xdp_adjust_tail),
}

fn xdp_adjust_tail(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    Ok(env.packet()?.adjust_tail((a[1] as i32).into()).into())
}

helper! { bpf_xdp_get_buff_len = 188, since: (5, 18),
    signature: "u64 bpf_xdp_get_buff_len(struct xdp_buff *xdp_md)",
    doc: "Length of the packet, all fragments counted.",
    protos: [
        { who: XDP, since: (5, 18),
          args: [CTX], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
        { who: TRAMPOLINES, since: (5, 18),
          args: [btf(&["xdp_buff"])], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(xdp_get_buff_len),
}

fn xdp_get_buff_len(env: &mut dyn Env<'_>, _: [u64; 5]) -> Outcome {
    Ok(Ret::Scalar(env.packet()?.len() as u64))
}

helper! { bpf_xdp_load_bytes = 189, since: (5, 18),
    signature: "long bpf_xdp_load_bytes(struct xdp_buff *xdp_md, u32 offset, void *buf, u32 len)",
    doc: "Copies bytes out of the packet, fragments included.",
    protos: [
        { who: XDP, since: (5, 18),
          args: [CTX, ANY, UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(xdp_load_bytes),
}

fn xdp_load_bytes(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [_, offset, to, len, _] = a;
    let range = match range(env, offset, len)? {
        Ok(range) => range,
        Err(e) => return Ok(e.into()),
    };
    let bytes = env.packet()?.bytes()[range].to_vec();
    if !bytes.is_empty() {
        env.mem().write(to, &bytes)?;
    }
    Ok(Ret::OK)
}

/// The bytes meant (`bpf_xdp_pointer`).
fn range(
    env: &mut dyn Env<'_>,
    offset: u64,
    len: u64,
) -> Result<Result<std::ops::Range<usize>, Errno>, Fault> {
    let (offset, len) = (offset as u32 as usize, len as u32 as usize);
    if offset > 0xffff || len > 0xffff {
        return Ok(Err(Errno::EFAULT));
    }
    let inside = offset + len <= env.packet()?.len();
    Ok(if inside { Ok(offset..offset + len) } else { Err(Errno::EINVAL) })
}

helper! { bpf_xdp_store_bytes = 190, since: (5, 18),
    signature: "long bpf_xdp_store_bytes(struct xdp_buff *xdp_md, u32 offset, void *buf, u32 len)",
    doc: "Writes bytes into the packet, fragments included.",
    protos: [
        { who: XDP, since: (5, 18),
          args: [CTX, ANY, RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(xdp_store_bytes),
}

fn xdp_store_bytes(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [_, offset, from, len, _] = a;
    let range = match range(env, offset, len)? {
        Ok(range) => range,
        Err(e) => return Ok(e.into()),
    };
    let bytes = guest::vec(env, from, range.len() as u64)?;
    env.packet()?.bytes_mut()[range].copy_from_slice(&bytes);
    Ok(Ret::OK)
}
