//! Maps shared by processes, one of which is killed in the middle of its work.
//!
//! The child is this test program run again with `SKEP_TEST_MAP` naming the parent's map file.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

mod routines;

use routines::{at, by_routine};
use skep_maps::{create, open_shared};
use skep_platform::map::{Map, MapDef, MapOp, Side, flags};
use skep_platform::{Errno, MapType};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const FILE: &str = "SKEP_TEST_MAP";
const PROG: Side = Side::Prog { cpu: 0 };
const MAX: u32 = 64;

fn def(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
    MapDef {
        name: "p".into(),
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

/// Runs test `role` of this program in a process of its own, on the same map.
fn child(map: &dyn Map, role: &str) -> Child {
    let fd = map.file().unwrap().as_raw_fd();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", role, "--ignored", "--nocapture"])
        .env(FILE, format!("/proc/{}/fd/{fd}", std::process::id()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The parent's map, in the child.
fn parents_map() -> Option<Arc<dyn Map>> {
    let path = std::env::var(FILE).ok()?;
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    Some(open_shared(file.into()).unwrap())
}

fn key(map: &dyn Map, n: u32) -> Vec<u8> {
    match map.def().map_type {
        MapType::LpmTrie => [(n % 33).to_ne_bytes(), n.wrapping_mul(0x9e37_79b9).to_ne_bytes()].concat(),
        _ => n.to_ne_bytes().to_vec(),
    }
}

#[test]
#[ignore = "the child of other tests"]
fn child_that_writes() {
    let Some(map) = parents_map() else { return };
    let value = vec![7; map.def().value_size as usize];
    // A parent that failed kills nobody.
    let until = Instant::now() + Duration::from_secs(10);
    for n in (0..).map(|n: u32| n.wrapping_mul(2_654_435_761) >> 7).take_while(|_| Instant::now() < until) {
        let key = key(&*map, n % 200);
        if n % 3 == 0 {
            let _ = map.delete(&key, PROG);
        } else {
            let _ = map.update(&key, &value, flags::ANY, PROG);
        }
    }
}

/// As a compiled program does, and for a map that is its own.
#[test]
#[ignore = "the child of other tests"]
fn child_that_calls_routines() {
    let Some(map) = parents_map() else { return };
    let value = vec![7; map.def().value_size as usize];
    let until = Instant::now() + Duration::from_secs(10);
    for n in (0..).map(|n: u32| n.wrapping_mul(2_654_435_761) >> 7).take_while(|_| Instant::now() < until) {
        for n in n..n + 50 {
            let key = key(&*map, n % 200);
            let done = if n % 3 == 0 {
                by_routine(&map, MapOp::Delete, [at(&key), 0, 0])
            } else {
                by_routine(&map, MapOp::Update, [at(&key), at(&value), flags::ANY])
            };
            done.unwrap();
        }
    }
}

#[test]
#[ignore = "the child of other tests"]
fn child_that_reserves() {
    let Some(map) = parents_map() else { return };
    let ring = map.ringbuf().unwrap();
    ring.output(b"before", 0).unwrap();
    ring.reserve(16, 0).unwrap();
    ring.output(b"after", 0).unwrap();
}

/// Lets a child write until it is killed, again and again; nothing may take long afterwards and nothing may be lost.
fn survive_kills(map: &dyn Map, check: impl Fn(&dyn Map)) {
    for round in 0..12u64 {
        survive_a_kill(map, "child_that_writes", round, &check);
    }
}

fn survive_a_kill(map: &dyn Map, role: &str, round: u64, check: &impl Fn(&dyn Map)) {
    let mut writer = child(map, role);
    let started = Instant::now();
    while map.next_key(None, &mut Vec::new()).is_err() && started.elapsed() < Duration::from_secs(5) {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_micros(500 + round * 137));
    writer.kill().unwrap();
    let dead = Instant::now();
    // Not waited for yet: a zombie holds no lock either.
    check(map);
    assert!(dead.elapsed() < Duration::from_secs(5), "round {round} took {:?}", dead.elapsed());
    writer.wait().unwrap();
}

fn keys(map: &dyn Map) -> Vec<Vec<u8>> {
    let (mut all, mut key): (Vec<Vec<u8>>, _) = (Vec::new(), Vec::new());
    while map.next_key(all.last().map(Vec::as_slice), &mut key).is_ok() {
        all.push(key.clone());
    }
    all
}

fn empty_and_fill(map: &dyn Map, full: Errno) {
    for key in keys(map) {
        map.delete(&key, PROG).unwrap();
    }
    assert_eq!(keys(map).len(), 0);
    let value = vec![1; map.def().value_size as usize];
    // What the killed child held is found at most so often, so the last ones may have to try again.
    let started = Instant::now();
    for n in 0..MAX {
        while let Err(e) = map.update(&key(map, 10_031 + n * 33), &value, flags::ANY, PROG) {
            assert!(e == full && started.elapsed() < Duration::from_secs(3), "entry {n} of {MAX}: {e}");
        }
    }
    assert_eq!(map.update(&key(map, 5), &value, flags::NOEXIST, PROG), Err(full));
    for key in keys(map) {
        map.delete(&key, PROG).unwrap();
    }
}

#[test]
fn a_killed_writer_leaves_a_hash_map_whole() {
    let map = create(&def(MapType::Hash, 4, 64, MAX)).unwrap();
    survive_kills(&*map, |map| empty_and_fill(map, Errno::E2BIG));
}

#[test]
fn a_killed_writer_leaves_an_lru_map_whole() {
    let map = create(&def(MapType::LruHash, 4, 64, MAX)).unwrap();
    survive_kills(&*map, drop_and_empty);
}

fn drop_and_empty(map: &dyn Map) {
    for n in 0..500u32 {
        map.update(&n.to_ne_bytes(), &[3; 64], flags::ANY, PROG).unwrap();
        assert!(map.lookup(&n.to_ne_bytes(), 0).unwrap().is_some());
    }
    assert!(keys(map).len() as u32 > MAX - 4, "{} of {MAX} entries", keys(map).len());
    keys(map).iter().for_each(|key| map.delete(key, PROG).unwrap());
}

/// Each map is new: the child has it for itself, and is killed inside of it.
#[test]
fn a_killed_owner_leaves_its_maps_whole() {
    for round in 0..16u64 {
        let map = create(&def(MapType::Hash, 4, 64, MAX)).unwrap();
        survive_a_kill(&*map, "child_that_calls_routines", round, &|map| empty_and_fill(map, Errno::E2BIG));
        let map = create(&def(MapType::LruHash, 4, 64, MAX)).unwrap();
        survive_a_kill(&*map, "child_that_calls_routines", round, &drop_and_empty);
    }
}

#[test]
fn a_killed_writer_leaves_a_trie_whole() {
    let map = create(&def(MapType::LpmTrie, 8, 64, MAX)).unwrap();
    survive_kills(&*map, |map| empty_and_fill(map, Errno::ENOSPC));
}

#[test]
fn a_record_of_a_dead_process_is_discarded() {
    let map = create(&def(MapType::Ringbuf, 0, 0, 4096)).unwrap();
    let ring = map.ringbuf().unwrap();
    child(&*map, "child_that_reserves").wait().unwrap();
    let mut got = Vec::new();
    let count = ring.consume(&mut |record| {
        got.push(record.to_vec());
        ControlFlow::Continue(())
    });
    assert_eq!((count, got), (Ok(2), vec![b"before".to_vec(), b"after".to_vec()]));
}

#[test]
fn threads_fill_a_ring_and_one_empties_it() {
    let map = create(&def(MapType::Ringbuf, 0, 0, 1 << 14)).unwrap();
    let ring_map = &map;
    let (sent, mut received, mut last) = (std::sync::atomic::AtomicU64::new(0), 0, [0u64; 3]);
    let left = std::sync::atomic::AtomicU32::new(3);
    std::thread::scope(|scope| {
        for producer in 0..3u64 {
            let (sent, left) = (&sent, &left);
            scope.spawn(move || {
                let ring = ring_map.ringbuf().unwrap();
                for n in 1..20_000u64 {
                    let record = [producer.to_ne_bytes(), n.to_ne_bytes()].concat();
                    let done = match n % 3 {
                        0 => ring.output(&record, 0),
                        kind => ring.reserve(16, 0).and_then(|at| {
                            assert_eq!(ring.reserved_len(at), Some(16));
                            // SAFETY: the record was reserved for this thread alone and has 16 bytes.
                            unsafe { std::ptr::copy_nonoverlapping(record.as_ptr(), at as *mut u8, 16) };
                            if kind == 1 { ring.submit(at, 0) } else { ring.discard(at, 0) }
                        }),
                    };
                    let counts = done.is_ok() && n % 3 != 2;
                    sent.fetch_add(u64::from(counts), std::sync::atomic::Ordering::Relaxed);
                }
                left.fetch_sub(1, std::sync::atomic::Ordering::Release);
            });
        }
        let ring = map.ringbuf().unwrap();
        loop {
            let finished = left.load(std::sync::atomic::Ordering::Acquire) == 0;
            let count = ring.consume(&mut |record| {
                let (producer, n) = record.split_at(8);
                let producer = u64::from_ne_bytes(producer.try_into().unwrap()) as usize;
                let n = u64::from_ne_bytes(n.try_into().unwrap());
                assert!(n > last[producer], "records of one producer out of order");
                last[producer] = n;
                ControlFlow::Continue(())
            });
            received += count.unwrap() as u64;
            if finished && ring.query(0) == 0 {
                break;
            }
        }
    });
    assert_eq!(received, sent.into_inner());
    assert!(received > 0);
}

#[test]
fn a_forked_child_acts_in_its_own_name() {
    let map = create(&def(MapType::Hash, 4, 64, MAX)).unwrap();
    // The parent's name is known before the fork, and must not be the child's.
    map.update(&0u32.to_ne_bytes(), &[1; 64], flags::ANY, PROG).unwrap();
    for round in 0..12u64 {
        // SAFETY: the child only writes into the shared map until it is killed or ends by `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            for n in 0..50_000_000u32 {
                let _ = map.update(&(n % 8).to_ne_bytes(), &[2; 64], flags::ANY, PROG);
            }
            // SAFETY: ends this process, with nothing to clean up.
            unsafe { libc::_exit(0) };
        }
        std::thread::sleep(Duration::from_micros(2000 + round * 137));
        // SAFETY: kills and waits for the child made above, by its id.
        let waited = unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0)
        };
        assert_eq!(waited, child);
        for n in 0..8u32 {
            map.update(&n.to_ne_bytes(), &[3; 64], flags::ANY, PROG).unwrap();
        }
    }
}
