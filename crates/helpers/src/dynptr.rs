//! Dynptrs: pointers with a length that is known at run time. The layout is in [`crate::dynptr_value`].

use crate::row::*;
use crate::{dynptr_value::Dynptr, guest};
use skep_platform::env::{Region, RegionKind};

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_dynptr_from_mem, &bpf_dynptr_read, &bpf_dynptr_write, &bpf_dynptr_data];

helper! { bpf_dynptr_from_mem = 197, since: (5, 19),
    signature: "long bpf_dynptr_from_mem(void *data, u32 size, u64 flags, struct bpf_dynptr *ptr)",
    doc: "Makes a dynptr to memory of a map value.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [UNINIT_MEM, SIZE_OR_ZERO, ANY, NEW_LOCAL_DYNPTR], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::MapValueArg(0),
    body: Body::Fn(dynptr_from_mem),
}

/// On failure the dynptr is null.
fn dynptr_from_mem(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [data, size, flags, ptr, _] = a;
    let size = size as u32;
    let refused = match (size > Dynptr::MAX_SIZE, flags) {
        (true, _) => Some(Errno::E2BIG),
        (false, 0) => None,
        _ => Some(Errno::EINVAL),
    };
    if let Some(e) = refused {
        Dynptr::NULL.store(env, ptr)?;
        return Ok(e.into());
    }
    env.mem().check(data, size.into(), true)?;
    Dynptr::local(data, size).store(env, ptr)?;
    Ok(Ret::OK)
}

helper! { bpf_dynptr_read = 201, since: (5, 19),
    signature: "long bpf_dynptr_read(void *dst, u32 len, const struct bpf_dynptr *src, u32 offset, u64 flags)",
    doc: "Copies bytes out of a dynptr.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [UNINIT_MEM, SIZE_OR_ZERO, DYNPTR, ANY, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(dynptr_read),
}

fn dynptr_read(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [dst, len, src, offset, flags] = a;
    let d = Dynptr::load(env, src)?;
    if d.is_null() || flags != 0 {
        return Ok(Errno::EINVAL.into());
    }
    let from = match d.at(offset as u32, len as u32) {
        Ok(from) => from,
        Err(e) => return Ok(e.into()),
    };
    let bytes = guest::vec(env, from, u64::from(len as u32))?;
    if !bytes.is_empty() {
        env.mem().write(dst, &bytes)?;
    }
    Ok(Ret::OK)
}

helper! { bpf_dynptr_write = 202, since: (5, 19),
    signature: "long bpf_dynptr_write(const struct bpf_dynptr *dst, u32 offset, void *src, u32 len, u64 flags)",
    doc: "Writes bytes into a dynptr.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [DYNPTR, ANY, RO_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::WritesDynptr,
    body: Body::Fn(dynptr_write),
}

fn dynptr_write(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [dst, offset, src, len, flags] = a;
    let d = Dynptr::load(env, dst)?;
    if d.is_null() || d.read_only() {
        return Ok(Errno::EINVAL.into());
    }
    let to = match d.at(offset as u32, len as u32) {
        Ok(to) => to,
        Err(e) => return Ok(e.into()),
    };
    if flags != 0 {
        return Ok(Errno::EINVAL.into());
    }
    let bytes = guest::vec(env, src, u64::from(len as u32))?;
    if !bytes.is_empty() {
        env.mem().write(to, &bytes)?;
    }
    Ok(Ret::OK)
}

helper! { bpf_dynptr_data = 203, since: (5, 19),
    signature: "void *bpf_dynptr_data(const struct bpf_dynptr *ptr, u32 offset, u32 len)",
    doc: "Address of bytes inside a dynptr, or NULL.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [DYNPTR, ANY, ALLOC_SIZE], ret: ret::DYNPTR_MEM_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(dynptr_data),
}

fn dynptr_data(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [ptr, offset, len, ..] = a;
    let d = Dynptr::load(env, ptr)?;
    if d.is_null() || d.read_only() || !d.is_memory() {
        return Ok(Ret::Null);
    }
    Ok(match d.at(offset as u32, len as u32) {
        Ok(addr) => {
            Ret::Region(Region { kind: RegionKind::Dynptr, addr, len: u64::from(len as u32), writable: true })
        }
        Err(_) => Ret::Null,
    })
}
