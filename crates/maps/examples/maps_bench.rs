//! Nanoseconds an operation: `cargo run --release -p skep-maps --example maps_bench`.
//!
//! One thread, through `dyn Map`, keys in random order over a working set; the best of several rounds, as noise only
//! adds. Columns: what, key size, nanoseconds.

use skep_maps::create;
use skep_platform::MapType;
use skep_platform::map::{MapDef, MapError, Side, flags};
use std::hint::black_box;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::Instant;

/// Keys in use: of hash maps, so few that they stay in the cache, and of tries.
const HOT: usize = 1000;
const SET: usize = 10_000;
/// Calls a round, at least.
const CALLS: usize = 200_000;
const ROUNDS: usize = 9;
const PROG: Side = Side::Prog { cpu: 0 };

fn def(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
    MapDef {
        name: "bench".into(),
        map_type,
        key_size,
        value_size,
        max_entries,
        flags: if map_type == MapType::LpmTrie { flags::NO_PREALLOC } else { 0 },
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: None,
    }
}

/// A small generator, so that runs are alike.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ self.0 >> 29
    }
}

/// Keys one after the other in one buffer, as packets would bring them.
fn keys(size: usize, random: &mut Random) -> Vec<u8> {
    (0..HOT * size).map(|_| random.next() as u8).collect()
}

/// Takes a result that does not matter here.
fn done<T>(_: T) {}

fn report(what: &str, key_size: usize, ns: f64) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{what:<28} {key_size:>4} {ns:>8.1}");
}

/// Best time of `CALLS` calls, in ns a call.
fn time(what: &str, key_size: usize, keys: &[u8], mut f: impl FnMut(&[u8])) {
    let passes = (CALLS * key_size).div_ceil(keys.len().max(1));
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..passes {
            keys.chunks_exact(key_size).for_each(&mut f);
        }
        best = best.min(start.elapsed().as_nanos() as f64 / (passes * keys.len() / key_size) as f64);
    }
    report(what, key_size, best);
}

fn hashes(map_type: MapType, name: &str, sizes: &[usize], random: &mut Random) -> Result<(), MapError> {
    for &size in sizes {
        let map = create(&def(map_type, size as u32, 8, HOT as u32 * 2))?;
        let keys = keys(size, random);
        time(&format!("{name} insert, then update"), size, &keys, |k| {
            done(map.update(k, &[1; 8], flags::ANY, PROG))
        });
        time(&format!("{name} get"), size, &keys, |k| done(black_box(map.lookup(k, 0))));
        time(&format!("{name} update in place"), size, &keys, |k| {
            done(map.update(k, black_box(&[2; 8]), flags::EXIST, PROG));
        });
        time(&format!("{name} delete and insert"), size, &keys, |k| {
            done(map.delete(k, PROG));
            done(map.update(k, &[1; 8], flags::NOEXIST, PROG));
        });
    }
    Ok(())
}

fn array() -> Result<(), MapError> {
    let map = create(&def(MapType::Array, 4, 8, HOT as u32))?;
    let keys: Vec<u8> = (0..HOT as u32).flat_map(u32::to_ne_bytes).collect();
    time("array get", 4, &keys, |k| done(black_box(map.lookup(k, 0))));
    time("array update", 4, &keys, |k| done(map.update(k, black_box(&[1; 8]), flags::ANY, PROG)));
    Ok(())
}

fn lru(random: &mut Random) -> Result<(), MapError> {
    let map = create(&def(MapType::LruHash, 8, 8, HOT as u32 / 2))?;
    let keys = keys(8, random);
    time("lru hash, half evicted", 8, &keys, |k| done(map.update(k, &[1; 8], flags::ANY, PROG)));
    Ok(())
}

/// Prefixes as a routing table has them: mostly /24, some shorter and longer.
fn lpm(random: &mut Random) -> Result<(), MapError> {
    let map = create(&def(MapType::LpmTrie, 8, 8, SET as u32))?;
    for n in 0..SET {
        let len = [24, 24, 24, 22, 20, 19, 16, 32][n % 8] as u32;
        let addr = (random.next() as u32) & (u32::MAX << (32 - len));
        let key = [len.to_ne_bytes(), addr.to_be_bytes()].concat();
        let _ = map.update(&key, &[1; 8], flags::ANY, Side::User);
    }
    let mut near = Vec::new();
    let mut key = Vec::new();
    while near.len() < SET * 8 {
        let from = near.len().checked_sub(8).map(|at| [&[0; 4], &near[at + 4..at + 8]].concat());
        let from = from.filter(|_| !key.is_empty()).map(|_| key.clone());
        if map.next_key(from.as_deref(), &mut key).is_err() {
            break;
        }
        near.extend_from_slice(&[32u32.to_ne_bytes(), [key[4], key[5], key[6], key[7] | 1]].concat());
    }
    shuffle(&mut near, 8, random);
    time("lpm 10k prefixes, hits", 8, &near, |k| done(black_box(map.lookup(k, 0))));
    let far: Vec<u8> =
        (0..SET).flat_map(|_| [32u32.to_ne_bytes(), (random.next() as u32).to_be_bytes()].concat()).collect();
    time("lpm 10k prefixes, random", 8, &far, |k| done(black_box(map.lookup(k, 0))));
    Ok(())
}

fn shuffle(items: &mut [u8], size: usize, random: &mut Random) {
    let count = items.len() / size;
    for at in (1..count).rev() {
        let other = random.next() as usize % (at + 1);
        for byte in 0..size {
            items.swap(at * size + byte, other * size + byte);
        }
    }
}

fn ring() -> Result<(), MapError> {
    let map = create(&def(MapType::Ringbuf, 0, 0, 1 << 20))?;
    let Some(ring) = map.ringbuf() else { return Ok(()) };
    let records = vec![7u8; HOT * 64];
    time("ringbuf output + consume", 64, &records, |r| {
        if ring.output(r, 1).is_err() {
            let _ = ring.consume(&mut |r| {
                black_box(r);
                ControlFlow::Continue(())
            });
        }
    });
    time("ringbuf reserve + submit", 64, &records, |_| match ring.reserve(64, 0) {
        Ok(at) => done(ring.submit(at, 1)),
        Err(_) => done(ring.consume(&mut |_| ControlFlow::Continue(()))),
    });
    Ok(())
}

fn main() -> Result<(), MapError> {
    let mut random = Random(1);
    hashes(MapType::Hash, "hash", &[4, 8, 16, 64], &mut random)?;
    hashes(MapType::LruHash, "lru hash", &[8], &mut random)?;
    hashes(MapType::PercpuHash, "percpu hash", &[8], &mut random)?;
    array()?;
    lru(&mut random)?;
    lpm(&mut random)?;
    ring()
}
