//! Helpers on maps: look up, update, delete, the queue operations, and the walk over all entries.

use crate::guest;
use crate::row::*;
use skep_platform::Map;
use skep_platform::env::{Region, RegionKind};
use skep_platform::map::{Handle, Side, flags};
use std::ops::ControlFlow;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[
    &bpf_map_lookup_elem,
    &bpf_map_update_elem,
    &bpf_map_delete_elem,
    &bpf_map_push_elem,
    &bpf_map_pop_elem,
    &bpf_map_peek_elem,
    &bpf_for_each_map_elem,
    &bpf_map_lookup_percpu_elem,
];

helper! { bpf_map_lookup_elem = 1, since: (3, 19),
    signature: "void *bpf_map_lookup_elem(struct bpf_map *map, const void *key)",
    doc: "Finds the entry of a key; the program gets the address of its value, or NULL.",
    protos: [
        { who: ALL, since: (3, 19),
          args: [MAP, KEY], ret: ret::VALUE_OR_NULL,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::ForMapTypes(&[MapType::Sockmap, MapType::Sockhash]), lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::LooksUp,
    fast: Fast::Map(MapOp::Lookup),
    body: Body::Fn(map_lookup_elem),
}

fn map_lookup_elem(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let map = env.map(a[0])?;
    let key = guest::bytes(env, a[1], map.def().key_size.into())?;
    if matches!(map.def().map_type, MapType::ArrayOfMaps | MapType::HashOfMaps) {
        return Ok(match map.handle(key.get()) {
            Some(Handle::Map(inner)) => Ret::Map(env.keep_map(inner)),
            _ => Ret::Null,
        });
    }
    let cpu = env.cpu();
    value(map, a[0], map.lookup(key.get(), cpu))
}

/// A looked-up value as the program gets it.
fn value(map: &dyn Map, handle: u64, found: Result<Option<u64>, Errno>) -> Outcome {
    let def = map.def();
    match found {
        Ok(Some(addr)) => Ok(Ret::Region(Region {
            kind: RegionKind::MapValue { map: handle },
            addr,
            len: def.value_size.into(),
            writable: def.flags & flags::RDONLY_PROG == 0,
        })),
        Ok(None) => Ok(Ret::Null),
        Err(_) => Err(bad_map(map, "programs cannot look values up in it")),
    }
}

/// A map whose type the helper is not for; the verifier refuses the program.
pub(crate) fn bad_map(map: &dyn Map, why: &str) -> Fault {
    let def = map.def();
    Fault::BadArg { arg: 1, why: format!("map {} is of type {}: {why}", def.name, def.map_type.label()) }
}

helper! { bpf_map_update_elem = 2, since: (3, 19),
    signature: "long bpf_map_update_elem(struct bpf_map *map, const void *key, const void *value, u64 flags)",
    doc: "Sets the value of a key, creating or replacing the entry as the flags say.",
    protos: [
        { who: ALL, since: (3, 19),
          args: [MAP, KEY, VALUE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::WritesMap,
    fast: Fast::Map(MapOp::Update),
    body: Body::Fn(map_update_elem),
}

fn map_update_elem(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let map = env.map(a[0])?;
    let key = guest::bytes(env, a[1], map.def().key_size.into())?;
    let value = guest::bytes(env, a[2], map.def().value_size.into())?;
    let side = Side::Prog { cpu: env.cpu() };
    Ok(map.update(key.get(), value.get(), a[3], side).into())
}

helper! { bpf_map_delete_elem = 3, since: (3, 19),
    signature: "long bpf_map_delete_elem(struct bpf_map *map, const void *key)",
    doc: "Removes the entry of a key.",
    protos: [
        { who: ALL, since: (3, 19),
          args: [MAP, KEY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::WritesMap,
    fast: Fast::Map(MapOp::Delete),
    body: Body::Fn(map_delete_elem),
}

fn map_delete_elem(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let map = env.map(a[0])?;
    let key = guest::bytes(env, a[1], map.def().key_size.into())?;
    let side = Side::Prog { cpu: env.cpu() };
    Ok(map.delete(key.get(), side).into())
}

helper! { bpf_map_push_elem = 87, since: (4, 20),
    signature: "long bpf_map_push_elem(struct bpf_map *map, const void *value, u64 flags)",
    doc: "Adds a value to a queue, stack or bloom filter.",
    protos: [
        { who: ALL, since: (4, 20),
          args: [MAP, VALUE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::Queue, MapType::Stack, MapType::BloomFilter], rule: Rule::WritesMap,
    fast: Fast::Map(MapOp::Push),
    body: Body::Fn(map_push_elem),
}

fn map_push_elem(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let map = env.map(a[0])?;
    let value = guest::bytes(env, a[1], map.def().value_size.into())?;
    Ok(map.push(value.get(), a[2]).into())
}

helper! { bpf_map_pop_elem = 88, since: (4, 20),
    signature: "long bpf_map_pop_elem(struct bpf_map *map, void *value)",
    doc: "Takes the next value out of a queue or stack.",
    protos: [
        { who: ALL, since: (4, 20),
          args: [MAP, UNINIT_VALUE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::Queue, MapType::Stack], rule: Rule::WritesMap,
    fast: Fast::Map(MapOp::Pop),
    body: Body::Fn(map_pop_elem),
}

fn map_pop_elem(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let map = env.map(a[0])?;
    take(env, map, a[1], &|value| map.pop(value))
}

/// Gives the program a value of a queue or stack; zeros when there is none.
fn take(
    env: &mut dyn Env<'_>,
    map: &dyn Map,
    addr: u64,
    get: &dyn Fn(&mut [u8]) -> Result<(), Errno>,
) -> Outcome {
    let len = u64::from(map.def().value_size);
    env.mem().check(addr, len, true)?;
    let mut value = vec![0; len as usize];
    let got = get(&mut value);
    match got {
        Ok(()) => env.mem().write(addr, &value)?,
        Err(Errno::ENOENT) => guest::zero(env, addr, len)?,
        Err(_) => {}
    }
    Ok(got.into())
}

helper! { bpf_map_peek_elem = 89, since: (4, 20),
    signature: "long bpf_map_peek_elem(struct bpf_map *map, void *value)",
    doc: "Copies the next value of a queue or stack, or asks a bloom filter for one.",
    protos: [
        { who: ALL, since: (4, 20),
          args: [MAP, UNINIT_VALUE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[MapType::Queue, MapType::Stack, MapType::BloomFilter], rule: Rule::None,
    fast: Fast::Map(MapOp::Peek),
    body: Body::Fn(map_peek_elem),
}

/// A bloom filter reads the value and answers 0 or `-ENOENT`; a queue or stack writes it.
fn map_peek_elem(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let map = env.map(a[0])?;
    if map.def().map_type != MapType::BloomFilter {
        return take(env, map, a[1], &|value| map.peek(value));
    }
    let mut value = guest::vec(env, a[1], map.def().value_size.into())?;
    Ok(map.peek(&mut value).into())
}

helper! { bpf_for_each_map_elem = 164, since: (5, 13),
    signature: "long bpf_for_each_map_elem(struct bpf_map *map, void *callback_fn, void *callback_ctx, u64 flags)",
    doc: "Calls a function for every entry of a map.",
    protos: [
        { who: BASE, since: (5, 13),
          args: [MAP, FUNC, STACK_OR_NULL, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: BPF },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::Sync { arg: 1, params: CallbackParams::MapElem }, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(for_each_map_elem),
}

/// Every entry is shown to the callback with a copy of its key; the count includes the entry it stopped at.
fn for_each_map_elem(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [handle, func, ctx, walk_flags, _] = a;
    if walk_flags != 0 {
        return Ok(Errno::EINVAL.into());
    }
    let map = env.map(handle)?;
    let cpu = env.cpu();
    let mut fault = None;
    let visited = map.for_each(cpu, &mut |key, value| match visit(env, map, handle, key, value, func, ctx) {
        Ok(0) => ControlFlow::Continue(()),
        Ok(_) => ControlFlow::Break(()),
        Err(f) => {
            fault = Some(f);
            ControlFlow::Break(())
        }
    });
    match (fault, visited) {
        (Some(f), _) => Err(f),
        (None, Ok(n)) => Ok(Ret::Scalar(n)),
        (None, Err(_)) => Err(bad_map(map, "it cannot be walked")),
    }
}

fn visit(
    env: &mut dyn Env<'_>,
    map: &dyn Map,
    handle: u64,
    key: &[u8],
    value: u64,
    func: u64,
    ctx: u64,
) -> Result<u64, Fault> {
    let def = map.def();
    let mut copy = vec![0u64; key.len().div_ceil(8)];
    for (word, bytes) in copy.iter_mut().zip(key.chunks(8)) {
        let mut b = [0; 8];
        b[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(b);
    }
    let key = env.lend(Region {
        kind: RegionKind::MapKey { map: handle },
        addr: copy.as_mut_ptr().expose_provenance() as u64,
        len: key.len() as u64,
        writable: false,
    })?;
    let value = env.lend(Region {
        kind: RegionKind::MapValue { map: handle },
        addr: value,
        len: def.value_size.into(),
        writable: def.flags & flags::RDONLY_PROG == 0,
    })?;
    let r0 = env.call(func, [handle, key, value, ctx, 0]);
    env.forget(key, copy.len() as u64 * 8);
    r0
}

helper! { bpf_map_lookup_percpu_elem = 195, since: (5, 19),
    signature: "void *bpf_map_lookup_percpu_elem(struct bpf_map *map, const void *key, u32 cpu)",
    doc: "Finds the value of a key for a given CPU, or NULL.",
    protos: [
        { who: BASE, since: (5, 19),
          args: [MAP, KEY, ANY], ret: ret::VALUE_OR_NULL,
          gpl_only: false, pkt_access: true, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: PERCPU_MAPS, rule: Rule::None,
    fast: Fast::Map(MapOp::LookupPercpu),
    body: Body::Fn(map_lookup_percpu_elem),
}

fn map_lookup_percpu_elem(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let map = env.map(a[0])?;
    let key = guest::bytes(env, a[1], map.def().key_size.into())?;
    let per_cpu =
        matches!(map.def().map_type, MapType::PercpuArray | MapType::PercpuHash | MapType::LruPercpuHash);
    if !per_cpu {
        return Err(bad_map(map, "it has no value per CPU"));
    }
    let cpu = a[2] as u32;
    if cpu >= env.host().cpus() {
        return Ok(Ret::Null);
    }
    value(map, a[0], map.lookup(key.get(), cpu))
}
