//! Internet checksums: differences, replacement in headers, and the checksum state of a packet.

use crate::row::*;
use crate::{checksum, guest};
use skep_platform::Checksum;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_l3_csum_replace, &bpf_l4_csum_replace, &bpf_csum_diff, &bpf_csum_update, &bpf_csum_level];

helper! { bpf_l3_csum_replace = 10, since: (4, 1),
    signature: "long bpf_l3_csum_replace(struct sk_buff *skb, u32 offset, u64 from, u64 to, u64 size)",
    doc: "Adjusts an IPv4-style header checksum for a changed field.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 1),
          args: [CTX, ANY, ANY, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(l3_csum_replace),
}

fn l3_csum_replace(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [_, offset, from, to, flags] = a;
    if flags & !FIELD_SIZE != 0 {
        return Ok(Errno::EINVAL.into());
    }
    Ok(match change_field(env, offset, |field| replace(field, flags & FIELD_SIZE, from, to))? {
        Ok(_) => Ret::OK,
        Err(e) => e.into(),
    })
}

/// `BPF_F_HDR_FIELD_MASK`: bytes of the header field that changed.
const FIELD_SIZE: u64 = 0xf;

/// Rewrites the 16-bit field at `offset`; the new value.
fn change_field(
    env: &mut dyn Env<'_>,
    offset: u64,
    change: impl FnOnce(u16) -> Result<u16, Errno>,
) -> Result<Result<u16, Errno>, Fault> {
    let offset = offset as u32 as usize;
    if offset > 0xffff || offset % 2 == 1 {
        return Ok(Err(Errno::EFAULT));
    }
    let p = env.packet()?;
    let Some(field) = p.bytes_mut().get_mut(offset..offset + 2) else {
        return Ok(Err(Errno::EFAULT));
    };
    Ok(change(u16::from_ne_bytes([field[0], field[1]]))
        .inspect(|new| field.copy_from_slice(&new.to_ne_bytes())))
}

/// The checksum after a field of `size` bytes changed, or after a change of sum `to` when `size` is 0.
fn replace(field: u16, size: u64, from: u64, to: u64) -> Result<u16, Errno> {
    match size {
        0 if from != 0 => Err(Errno::EINVAL),
        0 => Ok(checksum::replace_by_diff(field, to as u32)),
        2 => Ok(checksum::replace2(field, from as u16, to as u16)),
        4 => Ok(checksum::replace4(field, from as u32, to as u32)),
        _ => Err(Errno::EINVAL),
    }
}

helper! { bpf_l4_csum_replace = 11, since: (4, 1),
    signature: "long bpf_l4_csum_replace(struct sk_buff *skb, u32 offset, u64 from, u64 to, u64 flags)",
    doc: "Adjusts a TCP, UDP or ICMP checksum for a changed field or pseudo-header.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 1),
          args: [CTX, ANY, ANY, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: true, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(l4_csum_replace),
}

fn l4_csum_replace(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [_, offset, from, to, flags] = a;
    if flags & !(FIELD_SIZE | PSEUDO_HDR | MARK_MANGLED_0 | MARK_ENFORCE | OVER_IPV6) != 0 {
        return Ok(Errno::EINVAL.into());
    }
    let size = flags & FIELD_SIZE;
    let mangled = flags & MARK_MANGLED_0 != 0;
    let skip = mangled && flags & MARK_ENFORCE == 0;
    let done = change_field(env, offset, |field| {
        if skip && field == 0 {
            return Err(UNUSED);
        }
        let new = match size {
            // As in the kernel, a 16-bit field goes through the 32-bit formula here.
            2 => replace(field, 4, u64::from(from as u16), u64::from(to as u16))?,
            _ => replace(field, size, from, to)?,
        };
        Ok(if mangled && new == 0 { 0xffff } else { new })
    })?;
    match done {
        Ok(_) if flags & PSEUDO_HDR != 0 => {
            follow_pseudo_header(env.packet()?, size, from, to, flags & OVER_IPV6 != 0);
            Ok(Ret::OK)
        }
        Ok(_) | Err(UNUSED) => Ok(Ret::OK),
        Err(e) => Ok(e.into()),
    }
}

const PSEUDO_HDR: u64 = 1 << 4;
const MARK_MANGLED_0: u64 = 1 << 5;
const MARK_ENFORCE: u64 = 1 << 6;
/// `BPF_F_IPV6`: the pseudo header is IPv6's (Linux 6.16).
const OVER_IPV6: u64 = 1 << 7;
/// Not an error: the checksum is not in use and stays 0.
const UNUSED: Errno = Errno(0);

/// The sum that the interface computed does not cover the pseudo header's change, so it moves the other way.
fn follow_pseudo_header(p: &mut skep_platform::Packet, size: u64, from: u64, to: u64, ipv6: bool) {
    let Checksum::Complete(sum) = p.checksum else { return };
    let sum = match size {
        0 if ipv6 => sum,
        0 => !checksum::sub(to as u32, sum),
        2 => !checksum::add(checksum::sub(!sum, (from as u16).into()), (to as u16).into()),
        _ => !checksum::add(checksum::sub(!sum, from as u32), to as u32),
    };
    p.checksum = Checksum::Complete(sum);
}

helper! { bpf_csum_diff = 28, since: (4, 6),
    signature: "s64 bpf_csum_diff(__be32 *from, u32 from_size, __be32 *to, u32 to_size, __wsum seed)",
    doc: "Difference of the Internet checksums of two buffers, on top of a seed.",
    protos: [
        { who: who(&[
              P::SchedCls, P::SchedAct, P::Xdp, P::LwtIn, P::LwtOut, P::LwtXmit, P::LwtSeg6local,
          ]), since: (4, 6),
          args: [RO_MEM_OR_NULL, SIZE_OR_ZERO, RO_MEM_OR_NULL, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(csum_diff),
}

/// As since Linux 6.13: the result has 16 bits on every machine, and sizes need not be multiples of four.
fn csum_diff(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [from, from_size, to, to_size, seed] = a;
    let (from_size, to_size, seed) = (u64::from(from_size as u32), u64::from(to_size as u32), seed as u32);
    let from = guest::vec(env, from, from_size)?;
    let to = guest::vec(env, to, to_size)?;
    let sum = match (from.is_empty(), to.is_empty()) {
        (false, false) => checksum::sub(checksum::partial(&to, seed), checksum::partial(&from, 0)),
        (true, false) => checksum::partial(&to, seed),
        (false, true) => !checksum::partial(&from, !seed),
        (true, true) => seed,
    };
    Ok(Ret::Scalar(checksum::narrow(sum).into()))
}

helper! { bpf_csum_update = 40, since: (4, 9),
    signature: "s64 bpf_csum_update(struct sk_buff *skb, __wsum csum)",
    doc: "Adds to the checksum of the whole packet that the interface computed.",
    protos: [
        { who: TC_LWT_XMIT, since: (4, 9),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(csum_update),
}

fn csum_update(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let p = env.packet()?;
    let Checksum::Complete(sum) = p.checksum else { return Ok(Errno::ENOTSUPP.into()) };
    let sum = checksum::add(sum, a[1] as u32);
    p.checksum = Checksum::Complete(sum);
    Ok(Ret::Scalar(sum.into()))
}

helper! { bpf_csum_level = 135, since: (5, 8),
    signature: "long bpf_csum_level(struct sk_buff *skb, u64 level)",
    doc: "Reads or changes how many nested checksums the interface has verified.",
    protos: [
        { who: TC_LWT_XMIT, since: (5, 8),
          args: [CTX, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(csum_level),
}

fn csum_level(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let p = env.packet()?;
    let state = p.checksum;
    p.checksum = match (a[1], state) {
        (LEVEL_QUERY, Checksum::Unnecessary(level)) => return Ok(Ret::Scalar(level.into())),
        (LEVEL_QUERY, _) => return Ok(Errno::EACCES.into()),
        (LEVEL_INC, Checksum::Unnecessary(level)) => Checksum::Unnecessary((level + 1).min(MAX_LEVEL)),
        (LEVEL_INC, Checksum::None) => Checksum::Unnecessary(0),
        (LEVEL_DEC, Checksum::Unnecessary(0)) | (LEVEL_RESET, Checksum::Unnecessary(_)) => Checksum::None,
        (LEVEL_DEC, Checksum::Unnecessary(level)) => Checksum::Unnecessary(level - 1),
        (LEVEL_INC | LEVEL_DEC | LEVEL_RESET, other) => other,
        _ => return Ok(Errno::EINVAL.into()),
    };
    Ok(Ret::OK)
}

const LEVEL_QUERY: u64 = 0;
const LEVEL_INC: u64 = 1;
const LEVEL_DEC: u64 = 2;
const LEVEL_RESET: u64 = 3;
/// `SKB_MAX_CSUM_LEVEL`.
const MAX_LEVEL: u8 = 3;
