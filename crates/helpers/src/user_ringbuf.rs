//! Ring buffers that user space fills.

use crate::dynptr_value::Dynptr;
use crate::map::bad_map;
use crate::row::*;
use skep_platform::env::{Region, RegionKind};
use std::ops::ControlFlow;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_user_ringbuf_drain];

helper! { bpf_user_ringbuf_drain = 209, since: (6, 1),
    signature: "long bpf_user_ringbuf_drain(struct bpf_map *map, void *callback_fn, void *ctx, u64 flags)",
    doc: "Calls a function for every record that user space put into a ring buffer.",
    protos: [
        { who: BASE, since: (6, 1),
          args: [MAP, FUNC, STACK_OR_NULL, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::Sync { arg: 1, params: CallbackParams::Dynptr }, tail_call: false,
    map_types: &[MapType::UserRingbuf], rule: Rule::None,
    body: Body::Fn(user_ringbuf_drain),
}

/// Records that one call drains at most (`BPF_MAX_USER_RINGBUF_SAMPLES`).
const MOST: usize = 128 * 1024;
/// `BPF_RB_NO_WAKEUP` and `BPF_RB_FORCE_WAKEUP`: user space that waits for room looks for itself here.
const FLAGS: u64 = 3;

/// The callback gets a dynptr to a copy of each record, until it returns 1; the count includes the record it stopped at.
fn user_ringbuf_drain(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [handle, func, ctx, flags, _] = a;
    let map = env.map(handle)?;
    let ring = map.user_ringbuf().ok_or_else(|| bad_map(map, "it is no user ring buffer"))?;
    if flags & !FLAGS != 0 {
        return Ok(Errno::EINVAL.into());
    }
    let (mut fault, mut count) = (None, 0);
    let drained = ring.consume(&mut |record| {
        count += 1;
        match show(env, record, func, ctx) {
            Ok(0) if count < MOST => ControlFlow::Continue(()),
            Ok(_) => ControlFlow::Break(()),
            Err(f) => {
                fault = Some(f);
                ControlFlow::Break(())
            }
        }
    });
    match (fault, drained) {
        (Some(f), _) => Err(f),
        (None, Ok(n)) => Ok(Ret::Scalar(n as u64)),
        (None, Err(e)) => Ok(e.into()),
    }
}

/// Calls the callback with a record.
fn show(env: &mut dyn Env<'_>, record: &[u8], func: u64, ctx: u64) -> Result<u64, Fault> {
    let (mut copy, mut dynptr) = (record.to_vec(), [0u64; 2]);
    let address = |at: *mut u8| at.expose_provenance() as u64;
    let (data, at) = (address(copy.as_mut_ptr()), address(dynptr.as_mut_ptr().cast()));
    let len = record.len() as u32;
    env.hold(Region { kind: RegionKind::Dynptr, addr: data, len: u64::from(len), writable: true })?;
    let at = env.lend(Region { kind: RegionKind::Dynptr, addr: at, len: 16, writable: true })?;
    Dynptr::local(data, len & Dynptr::MAX_SIZE).store(env, at)?;
    let r0 = env.call(func, [at, ctx, 0, 0, 0]);
    env.forget(at, 16);
    env.forget(data, u64::from(len));
    r0
}
