//! Ring buffers, by pointer and by dynptr.

use crate::map::bad_map;
use crate::row::*;
use crate::{dynptr_value::Dynptr, guest};
use skep_platform::Map;
use skep_platform::env::{Region, RegionKind};
use skep_platform::map::RingBuf;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_ringbuf_output,
    &bpf_ringbuf_reserve,
    &bpf_ringbuf_submit,
    &bpf_ringbuf_discard,
    &bpf_ringbuf_query,
    &bpf_ringbuf_reserve_dynptr,
    &bpf_ringbuf_submit_dynptr,
    &bpf_ringbuf_discard_dynptr,
];

helper! { bpf_ringbuf_output = 130, since: (5, 8),
    signature: "long bpf_ringbuf_output(void *ringbuf, void *data, u64 size, u64 flags)",
    doc: "Copies a record into a ring buffer.",
    protos: [
        { who: BASE, since: (5, 8),
          args: [MAP, RO_MEM, SIZE_OR_ZERO, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::Ringbuf], rule: Rule::None,
    fast: Fast::Map(MapOp::Output),
    body: Body::Fn(ringbuf_output),
}

fn ringbuf_output(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [map, data, size, flags, _] = a;
    let map = env.map(map)?;
    let data = guest::vec(env, data, size)?;
    Ok(ring(map)?.output(&data, flags).into())
}

/// The ring buffer side of a map.
fn ring(map: &dyn Map) -> Result<&dyn RingBuf, Fault> {
    map.ringbuf().ok_or_else(|| bad_map(map, "it is no ring buffer"))
}

helper! { bpf_ringbuf_reserve = 131, since: (5, 8),
    signature: "void *bpf_ringbuf_reserve(void *ringbuf, u64 size, u64 flags)",
    doc: "Reserves a record in a ring buffer to be filled in place.",
    protos: [
        { who: BASE, since: (5, 8),
          args: [MAP, ALLOC_SIZE, ANY], ret: ret::RINGBUF_MEM_OR_NULL,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::Yes, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::Ringbuf], rule: Rule::None,
    fast: Fast::Map(MapOp::Reserve),
    body: Body::Fn(ringbuf_reserve),
}

fn ringbuf_reserve(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [handle, size, flags, ..] = a;
    let map = env.map(handle)?;
    Ok(match ring(map)?.reserve(size, flags) {
        Ok(addr) => Ret::Region(record(handle, addr, size)),
        Err(_) => Ret::Null,
    })
}

fn record(map: u64, addr: u64, len: u64) -> Region {
    Region { kind: RegionKind::RingbufRecord { map }, addr, len, writable: true }
}

helper! { bpf_ringbuf_submit = 132, since: (5, 8),
    signature: "void bpf_ringbuf_submit(void *data, u64 flags)",
    doc: "Publishes a reserved record.",
    protos: [
        { who: BASE, since: (5, 8),
          args: [RINGBUF_RELEASE, ANY], ret: ret::VOID,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    fast: Fast::Record(MapOp::Submit),
    body: Body::Fn(ringbuf_submit),
}

fn ringbuf_submit(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    finish(env, a[0], |ring| ring.submit(a[0], a[1]))
}

/// Ends a record at `addr`, whichever ring buffer it belongs to.
fn finish(env: &mut dyn Env<'_>, addr: u64, end: impl FnOnce(&dyn RingBuf) -> Result<(), Errno>) -> Outcome {
    let mut len = 0;
    let owner = env.find_map(&mut |m| match m.ringbuf().and_then(|r| r.reserved_len(addr)) {
        Some(n) => {
            len = n;
            true
        }
        None => false,
    });
    let Some(map) = owner else {
        let why = format!("{addr:#x} is no record that was reserved and not yet submitted or discarded");
        return Err(Fault::BadArg { arg: 1, why });
    };
    env.forget(addr, len);
    end(ring(map)?)
        .map_err(|e| Fault::BadArg { arg: 2, why: format!("the ring buffer refuses the flags: {e}") })?;
    Ok(Ret::OK)
}

helper! { bpf_ringbuf_discard = 133, since: (5, 8),
    signature: "void bpf_ringbuf_discard(void *data, u64 flags)",
    doc: "Gives a reserved record up.",
    protos: [
        { who: BASE, since: (5, 8),
          args: [RINGBUF_RELEASE, ANY], ret: ret::VOID,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    fast: Fast::Record(MapOp::Discard),
    body: Body::Fn(ringbuf_discard),
}

fn ringbuf_discard(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    finish(env, a[0], |ring| ring.discard(a[0], a[1]))
}

helper! { bpf_ringbuf_query = 134, since: (5, 8),
    signature: "u64 bpf_ringbuf_query(void *ringbuf, u64 flags)",
    doc: "Fill level, size or positions of a ring buffer.",
    protos: [
        { who: BASE, since: (5, 8),
          args: [MAP, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::Ringbuf], rule: Rule::None,
    body: Body::Fn(ringbuf_query),
}

fn ringbuf_query(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let map = env.map(a[0])?;
    Ok(Ret::Scalar(ring(map)?.query(a[1])))
}

helper! { bpf_ringbuf_reserve_dynptr = 198, since: (5, 19),
    signature: "long bpf_ringbuf_reserve_dynptr(void *ringbuf, u32 size, u64 flags, struct bpf_dynptr *ptr)",
    doc: "Reserves a record of a size known at run time in a ring buffer.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [MAP, ANY, ANY, NEW_RINGBUF_DYNPTR], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::Ringbuf], rule: Rule::None,
    body: Body::Fn(ringbuf_reserve_dynptr),
}

/// On failure the dynptr is null, and must be given back all the same.
fn ringbuf_reserve_dynptr(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [handle, size, flags, ptr, _] = a;
    let size = size as u32;
    let map = env.map(handle)?;
    let got = match flags {
        0 if size <= Dynptr::MAX_SIZE => ring(map)?.reserve(size.into(), 0).map_err(|_| Errno::EINVAL),
        0 => Err(Errno::E2BIG),
        _ => Err(Errno::EINVAL),
    };
    match got {
        Ok(addr) => {
            env.hold(record(handle, addr, size.into()))?;
            Dynptr::ringbuf(addr, size).store(env, ptr)?;
            Ok(Ret::OK)
        }
        Err(e) => {
            Dynptr::NULL.store(env, ptr)?;
            Ok(e.into())
        }
    }
}

helper! { bpf_ringbuf_submit_dynptr = 199, since: (5, 19),
    signature: "void bpf_ringbuf_submit_dynptr(struct bpf_dynptr *ptr, u64 flags)",
    doc: "Publishes a record reserved through a dynptr.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [RINGBUF_DYNPTR_RELEASE, ANY], ret: ret::VOID,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(ringbuf_submit_dynptr),
}

fn ringbuf_submit_dynptr(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    finish_dynptr(env, a[0], |ring, addr| ring.submit(addr, a[1]))
}

fn finish_dynptr(
    env: &mut dyn Env<'_>,
    ptr: u64,
    end: impl FnOnce(&dyn RingBuf, u64) -> Result<(), Errno>,
) -> Outcome {
    let d = Dynptr::load(env, ptr)?;
    if d.is_null() {
        return Ok(Ret::OK);
    }
    Dynptr::NULL.store(env, ptr)?;
    finish(env, d.data, |ring| end(ring, d.data))
}

helper! { bpf_ringbuf_discard_dynptr = 200, since: (5, 19),
    signature: "void bpf_ringbuf_discard_dynptr(struct bpf_dynptr *ptr, u64 flags)",
    doc: "Gives a record reserved through a dynptr up.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [RINGBUF_DYNPTR_RELEASE, ANY], ret: ret::VOID,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(ringbuf_discard_dynptr),
}

fn ringbuf_discard_dynptr(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    finish_dynptr(env, a[0], |ring, addr| ring.discard(addr, a[1]))
}
