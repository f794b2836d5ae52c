//! What maps do through the routines that compiled code calls is what they do through their methods: random operations on two
//! maps of one definition, one by each way.

mod routines;

use routines::{CPU, at, by_routine};
use skep_maps::create;
use skep_platform::Errno;
use skep_platform::MapType::{self, *};
use skep_platform::map::{Map, MapDef, MapOp, Side, flags};
use std::sync::Arc;

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
        let status = |r: Result<(), Errno>| r.map_or_else(|e| e.to_r0(), |()| 0);
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
        assert_eq!(by_routine(&map, MapOp::Pop, [to, 0, 0]), Some(Errno::ENOENT.to_r0()));
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

/// A map that begins as the first thread's own and goes from one thread to the next while they add, remove and drop entries: every
/// slot is still there in the end, and every key is found.
#[test]
fn threads_that_take_turns_lose_no_slot() {
    let side = Side::Prog { cpu: CPU };
    for (map_type, key_size, value_size) in [(Hash, 8, 8), (Hash, 16, 24), (LruHash, 8, 8), (LruHash, 64, 16)]
    {
        for round in 0..40u64 {
            let map = made(&MapDef { flags: 0, ..def(map_type, key_size, value_size) });
            let key = |n: u64| -> Vec<u8> { n.to_ne_bytes().repeat(key_size as usize / 8) };
            std::thread::scope(|s| {
                for thread in 0..4u64 {
                    let (map, key) = (&map, &key);
                    s.spawn(move || {
                        let mut random = Random(round << 8 | thread);
                        (0..random.below(20_000) * thread).for_each(|_| std::hint::spin_loop());
                        for _ in 0..1500 {
                            let key = key(random.below(120));
                            let value = vec![key[0]; value_size as usize];
                            match random.below(3) {
                                0 => by_routine(map, MapOp::Delete, [at(&key), 0, 0]),
                                _ => by_routine(map, MapOp::Update, [at(&key), at(&value), flags::ANY]),
                            };
                        }
                    });
                }
            });
            let what = format!("{map_type:?}, key {key_size}, round {round}");
            for n in (0..120).filter(|n| map.lookup(&key(*n), CPU).expect("a key").is_some()) {
                assert_eq!(by_routine(&map, MapOp::Delete, [at(&key(n)), 0, 0]), Some(0), "{what}");
            }
            assert!(map.next_key(None, &mut Vec::new()).is_err(), "{what}: not empty");
            let value = vec![1; value_size as usize];
            for n in 1000..1048 {
                let done = by_routine(&map, MapOp::Update, [at(&key(n)), at(&value), flags::NOEXIST]);
                assert_eq!(done, Some(0), "{what}: {n}");
            }
            let more = map.update(&key(2000), &value, flags::NOEXIST, side);
            assert_eq!(more, if map_type == Hash { Err(Errno::E2BIG) } else { Ok(()) }, "{what}");
            let left = (1000..1048).filter(|n| map.lookup(&key(*n), CPU).expect("a key").is_some()).count();
            assert_eq!(left, if map_type == Hash { 48 } else { 47 }, "{what}");
        }
    }
}
