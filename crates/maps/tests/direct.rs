//! What maps do through the routines that compiled code calls is what they do through their methods: random operations on two
//! maps of one definition, one by each way.

use skep_maps::create;
use skep_platform::MapType::{self, *};
use skep_platform::map::{FastPath, LastArg, Map, MapDef, MapOp, MapRoutine, Side, flags};
use std::sync::Arc;

const CPU: u32 = 0;

fn def(map_type: MapType, key_size: u32, value_size: u32) -> MapDef {
    MapDef {
        name: "direct".into(),
        map_type,
        key_size,
        value_size,
        max_entries: if map_type == Ringbuf { 4096 } else { 48 },
        flags: if map_type == LpmTrie { flags::NO_PREALLOC } else { flags::ZERO_SEED },
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: None,
    }
}

fn made(def: &MapDef) -> Arc<dyn Map> {
    let hashed = matches!(def.map_type, Hash | LruHash | PercpuHash | LruPercpuHash | BloomFilter);
    let flags = if hashed { def.flags } else { def.flags & !flags::ZERO_SEED };
    create(&MapDef { flags, ..def.clone() }).expect("the definition is a map's")
}

/// Calls the routine, if the map has one for the operation.
fn by_routine(map: &Arc<dyn Map>, op: MapOp, a: [u64; 3]) -> Option<u64> {
    let addr = Arc::as_ptr(map).cast::<()>().expose_provenance() as u64;
    match map.fast_path(op)? {
        FastPath::Call(MapRoutine { call, last }) => {
            let last = match last {
                LastArg::None => 0,
                LastArg::Cpu => CPU.into(),
                LastArg::Map => addr,
            };
            let first = if matches!(op, MapOp::Submit | MapOp::Discard) { a[0] } else { addr };
            // SAFETY: the map's own routine, with its address and keys and values of its sizes.
            Some(unsafe { call(first, a[0], a[1], a[2], 0, last) })
        }
        FastPath::Index { .. } | FastPath::Ids { .. } => None,
    }
}

fn at(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn value_at(addr: Option<u64>, size: usize) -> Option<Vec<u8>> {
    let from = std::ptr::with_exposed_provenance::<u8>(addr.filter(|a| *a != 0)? as usize);
    // SAFETY: the address of a value that a look-up has just given.
    Some(unsafe { std::slice::from_raw_parts(from, size) }.to_vec())
}

fn agree(map_type: MapType, key_size: u32, value_size: u32) {
    let d = def(map_type, key_size, value_size);
    let (by_method, direct) = (made(&d), made(&d));
    let mut random = Random(u64::from(key_size) << 32 | u64::from(value_size));
    let side = Side::Prog { cpu: CPU };
    for step in 0..4000 {
        let n = random.below(80);
        let mut key: Vec<u8> = n.to_ne_bytes().iter().copied().cycle().take(key_size as usize).collect();
        if map_type == LpmTrie {
            key[..4].copy_from_slice(&((n % (u64::from(key_size) * 8 - 31)) as u32).to_ne_bytes());
        }
        let value = vec![random.below(250) as u8; value_size as usize];
        let update = [0, 0, 0, 1, 2, 3, 4][random.below(7) as usize];
        let what = format!("{map_type:?}, key {key_size}, value {value_size}, step {step}");
        let status = |r: Result<(), skep_platform::Errno>| r.map_or_else(|e| e.to_r0(), |()| 0);
        match random.below(10) {
            0..4 => {
                if let Some(got) = by_routine(&direct, MapOp::Update, [at(&key), at(&value), update]) {
                    assert_eq!(got, status(by_method.update(&key, &value, update, side)), "{what}");
                }
            }
            4 => {
                if let Some(got) = by_routine(&direct, MapOp::Delete, [at(&key), 0, 0]) {
                    assert_eq!(got, status(by_method.delete(&key, side)), "{what}");
                }
            }
            _ => {
                let want = by_method.lookup(&key, CPU).ok().flatten();
                let Some(got) = by_routine(&direct, MapOp::Lookup, [at(&key), 0, 0]) else { continue };
                let size = value_size as usize;
                assert_eq!(value_at(Some(got), size), value_at(want, size), "{what}");
            }
        }
    }
}

#[test]
fn routines_do_what_methods_do() {
    for key_size in [1, 2, 3, 4, 7, 8, 12, 16, 20, 24, 32, 36, 40, 48, 64, 100] {
        for map_type in [Hash, LruHash, PercpuHash, LruPercpuHash] {
            for value_size in [4, 8, 24] {
                agree(map_type, key_size, value_size);
            }
        }
    }
    for key_size in [8, 12, 20] {
        agree(LpmTrie, key_size, 8);
    }
    for value_size in [4, 8, 40] {
        agree(Array, 4, value_size);
        agree(PercpuArray, 4, value_size);
    }
}

#[test]
fn queues_filters_and_rings_have_routines_too() {
    let value = 7u64.to_ne_bytes();
    let mut out = [0u8; 8];
    let to = out.as_mut_ptr().expose_provenance() as u64;
    for t in [Queue, Stack] {
        let map = made(&def(t, 0, 8));
        assert_eq!(by_routine(&map, MapOp::Push, [at(&value), 0, 0]), Some(0));
        assert_eq!(by_routine(&map, MapOp::Peek, [to, 0, 0]), Some(0));
        assert_eq!(by_routine(&map, MapOp::Pop, [to, 0, 0]), Some(0));
        assert_eq!(value_at(Some(to), 8), Some(value.to_vec()));
        assert_eq!(by_routine(&map, MapOp::Pop, [to, 0, 0]), Some(skep_platform::Errno::ENOENT.to_r0()));
        assert_eq!(value_at(Some(to), 8), Some(vec![0; 8]));
    }
    let bloom = made(&def(BloomFilter, 0, 8));
    assert_ne!(by_routine(&bloom, MapOp::Peek, [at(&value), 0, 0]), Some(0));
    assert_eq!(by_routine(&bloom, MapOp::Push, [at(&value), 0, 0]), Some(0));
    assert_eq!(by_routine(&bloom, MapOp::Peek, [at(&value), 0, 0]), Some(0));
}

#[test]
fn records_left_behind_are_given_up() {
    let map = made(&MapDef { flags: 0, ..def(Ringbuf, 0, 0) });
    let ring = map.ringbuf().expect("a ring buffer");
    let kept = by_routine(&map, MapOp::Reserve, [16, 0, 0]).expect("a routine");
    let left = by_routine(&map, MapOp::Reserve, [16, 0, 0]).expect("a routine");
    assert!(kept != 0 && left != 0);
    assert_eq!(by_routine(&map, MapOp::Submit, [kept, 0, 0]), Some(0));
    ring.abandon();
    assert_eq!(ring.reserved_len(left), None);
    let mut seen = 0;
    ring.consume(&mut |_| {
        seen += 1;
        std::ops::ControlFlow::Continue(())
    })
    .expect("nobody else consumes");
    assert_eq!(seen, 1);
}

/// One slot, which one thread gives to one key after the other while another one sets the first key's value: never the other's.
#[test]
fn an_update_in_place_meets_its_own_key_alone() {
    for map_type in [Hash, LruHash] {
        let map = made(&MapDef { max_entries: 1, flags: 0, ..def(map_type, 8, 8) });
        let side = Side::Prog { cpu: CPU };
        let [mine, other] = [1u64, 2].map(u64::to_ne_bytes);
        map.update(&mine, &mine, flags::ANY, side).expect("there is room");
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|s| {
            s.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    by_routine(&map, MapOp::Update, [at(&mine), at(&mine), flags::EXIST]);
                }
            });
            for _ in 0..20_000 {
                map.delete(&mine, side).expect("it is there");
                map.update(&other, &other, flags::NOEXIST, side).expect("there is room");
                std::hint::spin_loop();
                let found = map.lookup(&other, CPU).expect("a key");
                assert_eq!(value_at(found, 8), Some(other.to_vec()), "{map_type:?}");
                map.delete(&other, side).expect("it is there");
                map.update(&mine, &mine, flags::NOEXIST, side).expect("there is room");
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
