//! What holds for maps whatever the kernel says: addresses, rights, sharing by file, errors of creation.

use skep_maps::{create, open_shared, possible_cpus};
use skep_platform::map::{Handle, Map, MapBtf, MapDef, Side, flags};
use skep_platform::{Errno, MapType};
use std::ops::ControlFlow;
use std::sync::Arc;

fn def(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
    MapDef {
        name: "t".into(),
        map_type,
        key_size,
        value_size,
        max_entries,
        flags: 0,
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: None,
    }
}

fn read(map: &dyn Map, key: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut out = Vec::new();
    map.read(key, &mut out).map(|()| out)
}

fn keys(map: &dyn Map) -> Vec<Vec<u8>> {
    let (mut all, mut key): (Vec<Vec<u8>>, _) = (Vec::new(), Vec::new());
    while map.next_key(all.last().map(Vec::as_slice), &mut key).is_ok() {
        all.push(key.clone());
    }
    all
}

const PROG: Side = Side::Prog { cpu: 0 };

#[test]
fn a_hash_map_holds_max_entries_and_no_more() {
    for map_type in [MapType::Hash, MapType::PercpuHash] {
        let map = create(&def(map_type, 4, 8, 1000)).unwrap();
        for key in 0..1000u32 {
            map.update(&key.to_ne_bytes(), &u64::from(key).to_ne_bytes(), flags::ANY, PROG).unwrap();
        }
        let over = map.update(&1000u32.to_ne_bytes(), &[0; 8], flags::ANY, PROG);
        assert_eq!(over, Err(Errno::E2BIG));
        map.delete(&7u32.to_ne_bytes(), PROG).unwrap();
        map.update(&1000u32.to_ne_bytes(), &[0; 8], flags::NOEXIST, PROG).unwrap();
        let mut seen = keys(&*map);
        assert_eq!(seen.len(), 1000);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
        assert_eq!(map.for_each(0, &mut |_, _| ControlFlow::Continue(())), Ok(1000));
    }
}

#[test]
fn a_value_keeps_its_address_when_updated() {
    let map = create(&def(MapType::Hash, 16, 24, 10)).unwrap();
    map.update(&[1; 16], &[1; 24], flags::ANY, Side::User).unwrap();
    let before = map.lookup(&[1; 16], 0).unwrap();
    map.update(&[2; 16], &[2; 24], flags::ANY, Side::User).unwrap();
    map.update(&[1; 16], &[3; 24], flags::EXIST, Side::User).unwrap();
    assert_eq!(map.lookup(&[1; 16], 0).unwrap(), before);
    assert_eq!(read(&*map, &[1; 16]).unwrap(), [3; 24]);
}

#[test]
fn per_cpu_values_are_each_cpus_own() {
    let cpus = possible_cpus();
    for map_type in [MapType::PercpuHash, MapType::PercpuArray, MapType::LruPercpuHash] {
        let map = create(&def(map_type, 4, 4, 4)).unwrap();
        let last = Side::Prog { cpu: cpus - 1 };
        map.update(&1u32.to_ne_bytes(), &[7; 4], flags::ANY, last).unwrap();
        let mut expected = vec![0; 8 * cpus as usize];
        expected[8 * (cpus as usize - 1)..][..4].fill(7);
        assert_eq!(read(&*map, &1u32.to_ne_bytes()).unwrap(), expected, "{map_type:?}");
        let addresses: Vec<_> = (0..cpus).map(|cpu| map.lookup(&1u32.to_ne_bytes(), cpu).unwrap()).collect();
        assert!(addresses.windows(2).all(|w| w[0] != w[1]));
        assert_eq!(map.lookup(&1u32.to_ne_bytes(), cpus), Ok(None));
        let all: Vec<u8> = (0..8 * cpus as usize).map(|i| i as u8).collect();
        map.update(&1u32.to_ne_bytes(), &all, flags::ANY, Side::User).unwrap();
        let got = read(&*map, &1u32.to_ne_bytes()).unwrap();
        assert!(got.chunks(8).zip(all.chunks(8)).all(|(g, a)| g[..4] == a[..4]), "{map_type:?}");
    }
}

#[test]
fn rights_are_those_of_flags_and_freezing() {
    let write = |flags: u32, side| {
        let map = create(&MapDef { flags, ..def(MapType::Array, 4, 4, 1) }).unwrap();
        map.update(&[0; 4], &[1; 4], flags::ANY, side)
    };
    assert_eq!(write(flags::RDONLY, Side::User), Err(Errno::EPERM));
    assert_eq!(write(flags::RDONLY, PROG), Ok(()));
    assert_eq!(write(flags::RDONLY_PROG, Side::User), Ok(()));
    assert_eq!(write(flags::RDONLY_PROG, PROG), Err(Errno::EPERM));

    let map = create(&def(MapType::Hash, 4, 4, 1)).unwrap();
    assert!(!map.frozen());
    map.freeze().unwrap();
    assert!(map.frozen());
    assert_eq!(map.freeze(), Err(Errno::EPERM));
    assert_eq!(map.update(&[0; 4], &[1; 4], flags::ANY, Side::User), Err(Errno::EPERM));
    assert_eq!(map.delete(&[0; 4], Side::User), Err(Errno::EPERM));
    assert_eq!(map.update(&[0; 4], &[1; 4], flags::ANY, PROG), Ok(()));

    let map = create(&MapDef { flags: flags::WRONLY, ..def(MapType::Hash, 4, 4, 1) }).unwrap();
    assert_eq!(read(&*map, &[0; 4]), Err(Errno::EPERM));
    assert_eq!(map.next_key(None, &mut Vec::new()), Err(Errno::EPERM));
}

#[test]
fn a_second_mapping_is_the_same_map() {
    for map_type in [MapType::Hash, MapType::PercpuHash, MapType::LruHash] {
        let first = create(&def(map_type, 8, 16, 100)).unwrap();
        let second = open_shared(first.file().unwrap().try_clone_to_owned().unwrap()).unwrap();
        let size = second.def().value_size as usize
            * if map_type == MapType::PercpuHash { possible_cpus() as usize } else { 1 };
        for key in 0..50u64 {
            first.update(&key.to_ne_bytes(), &vec![key as u8; size], flags::ANY, Side::User).unwrap();
            assert_eq!(read(&*second, &key.to_ne_bytes()).unwrap(), vec![key as u8; size]);
        }
        second.delete(&3u64.to_ne_bytes(), Side::User).unwrap();
        assert_eq!(first.lookup(&3u64.to_ne_bytes(), 0), Ok(None));
        let (a, b) = (first.lookup(&[0; 8], 0).unwrap(), second.lookup(&[0; 8], 0).unwrap());
        assert!(a.is_some() && b.is_some() && a != b);
        drop(first);
        assert_eq!(keys(&*second).len(), 49);
        second.freeze().unwrap();
    }
}

#[test]
fn what_is_no_map_file_is_refused() {
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(open_shared(file.into()).map(drop), Err(Errno::EINVAL));
    let map = create(&def(MapType::Hash, 4, 4, 4)).unwrap();
    let fd = map.file().unwrap().try_clone_to_owned().unwrap();
    rustix::io::pwrite(&fd, &(1u32 << 20).to_ne_bytes(), 28).unwrap();
    assert_eq!(open_shared(fd).map(drop), Err(Errno::EINVAL), "max_entries changed behind its back");
}

#[test]
fn ring_buffer_records_arrive_in_order_of_reservation() {
    let map = create(&def(MapType::Ringbuf, 0, 0, 4096)).unwrap();
    let ring = map.ringbuf().unwrap();
    let collect = || {
        let mut got = Vec::new();
        ring.consume(&mut |r| {
            got.push(r.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
        got
    };
    let first = ring.reserve(5, 0).unwrap();
    ring.output(b"second", 0).unwrap();
    let third = ring.reserve(8, 0).unwrap();
    assert_eq!(collect(), Vec::<Vec<u8>>::new());
    assert_eq!(ring.reserved_len(first), Some(5));
    ring.submit(first, 0).unwrap();
    assert_eq!(ring.reserved_len(first), None);
    assert_eq!(ring.submit(first, 0), Err(Errno::EINVAL));
    ring.discard(third, 0).unwrap();
    let got = collect();
    assert_eq!(got.len(), 2);
    assert_eq!(got[1], b"second");
    assert_eq!(ring.query(0), 0);
    assert_eq!(ring.query(1), 4096);
}

#[test]
fn a_full_ring_buffer_says_so() {
    let map = create(&def(MapType::Ringbuf, 0, 0, 4096)).unwrap();
    let ring = map.ringbuf().unwrap();
    assert_eq!(ring.reserve(4089, 0), Err(Errno::E2BIG));
    assert_eq!(ring.output(&[0; 8], 4), Err(Errno::EINVAL));
    let mut sent = 0;
    while ring.output(&[1; 24], 0).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 4095 / 32);
    assert_eq!(ring.output(&[1; 24], 0), Err(Errno::EAGAIN));
    // The one that ended the loop, and this one.
    assert_eq!((ring.lost(), ring.lost()), (Some(2), Some(0)));
    assert_eq!(ring.reserve(24, 0), Err(Errno::ENOSPC));
    assert_eq!(ring.consume(&mut |_| ControlFlow::Continue(())), Ok(sent));
    // Records that wrap around the end are contiguous.
    for round in 0..100u8 {
        ring.output(&[round; 1000], 0).unwrap();
        let mut whole = false;
        ring.consume(&mut |r| {
            whole = r == [round; 1000];
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(whole);
    }
}

#[test]
fn the_ring_buffers_descriptor_polls_readable() {
    let map = create(&def(MapType::Ringbuf, 0, 0, 4096)).unwrap();
    let ring = map.ringbuf().unwrap();
    let fd = ring.wake_fd().unwrap();
    let readable = || {
        let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    };
    assert!(!readable());
    ring.output(b"x", 1).unwrap();
    assert!(!readable(), "BPF_RB_NO_WAKEUP");
    ring.output(b"x", 2).unwrap();
    assert!(readable(), "BPF_RB_FORCE_WAKEUP");
    ring.consume(&mut |_| ControlFlow::Continue(())).unwrap();
    assert!(!readable());
    ring.output(b"x", 0).unwrap();
    assert!(readable(), "the consumer had read everything");
}

#[test]
fn program_arrays_hold_programs_only() {
    let progs = create(&def(MapType::ProgArray, 4, 4, 3)).unwrap();
    let key = 1u32.to_ne_bytes();
    let prog = || Handle::Prog(Arc::new("a program"));
    assert!(progs.handle(&key).is_none());
    progs.set_handle(&key, prog(), flags::ANY).unwrap();
    assert!(matches!(progs.handle(&key), Some(Handle::Prog(p)) if p.downcast_ref::<&str>().is_some()));
    assert_eq!(progs.set_handle(&key, prog(), flags::NOEXIST), Err(Errno::EINVAL));
    assert_eq!(progs.set_handle(&3u32.to_ne_bytes(), prog(), flags::ANY), Err(Errno::E2BIG));
    let map = create(&def(MapType::Array, 4, 4, 1)).unwrap();
    assert_eq!(progs.set_handle(&key, Handle::Map(map), flags::ANY), Err(Errno::EINVAL));
    assert_eq!(progs.delete(&key, Side::User), Ok(()));
    assert_eq!(progs.delete(&key, Side::User), Err(Errno::ENOENT));
}

#[test]
fn maps_of_maps_take_maps_of_the_declared_shape() {
    let inner = def(MapType::Array, 4, 8, 5);
    let outer = MapDef { inner: Some(Box::new(inner.clone())), ..def(MapType::ArrayOfMaps, 4, 4, 2) };
    assert_eq!(create(&MapDef { inner: None, ..outer.clone() }).map(drop).unwrap_err().errno, Errno::EINVAL);
    let nested = MapDef { inner: Some(Box::new(outer.clone())), ..outer.clone() };
    assert_eq!(create(&nested).map(drop).unwrap_err().errno, Errno::EINVAL);
    let of_progs = MapDef { inner: Some(Box::new(def(MapType::ProgArray, 4, 4, 1))), ..outer.clone() };
    assert_eq!(create(&of_progs).map(drop).unwrap_err().errno, Errno::ENOTSUPP);

    let map = create(&outer).unwrap();
    let other = create(&MapDef { max_entries: 6, ..inner.clone() }).unwrap();
    assert_eq!(map.set_handle(&[0; 4], Handle::Map(other), flags::ANY), Err(Errno::EINVAL));
    let same = create(&inner).unwrap();
    map.set_handle(&[0; 4], Handle::Map(same.clone()), flags::ANY).unwrap();
    same.update(&[0; 4], &[9; 8], flags::ANY, Side::User).unwrap();
    let Some(Handle::Map(found)) = map.handle(&[0; 4]) else { panic!("no map") };
    assert_eq!(read(&*found, &[0; 4]).unwrap(), [9; 8]);
}

#[test]
fn perf_event_arrays_deliver_to_who_listens() {
    let map = create(&def(MapType::PerfEventArray, 4, 4, 2)).unwrap();
    let perf = map.perf_events().unwrap();
    assert_eq!(perf.output(0, &[b"x"]), Err(Errno::ENOENT));
    assert_eq!(perf.output(2, &[b"x"]), Err(Errno::E2BIG));
    perf.open(0, 64).unwrap();
    perf.output(0, &[b"head", b"tail"]).unwrap();
    perf.output(0, &[&[0; 16]]).unwrap();
    assert_eq!(perf.output(0, &[b"no room"]), Err(Errno::ENOSPC));
    let mut got = Vec::new();
    let lost = perf.consume(&mut |cpu, data| {
        got.push((cpu, data.to_vec()));
        ControlFlow::Continue(())
    });
    assert_eq!(lost, Ok(1));
    assert_eq!(got, [(0, b"headtail".to_vec()), (0, vec![0; 16])]);
    assert_eq!(perf.consume(&mut |_, _| ControlFlow::Continue(())), Ok(0));
}

#[test]
fn a_map_larger_than_the_machine_is_refused() {
    let huge = MapDef { ..def(MapType::Array, 4, 1 << 30, u32::MAX) };
    assert_eq!(create(&huge).map(drop).unwrap_err().errno, Errno::ENOMEM);
}

/// BTF of `struct { struct bpf_spin_lock lock; __u32 a; __u64 b; struct bpf_timer t[2]; }` (type 6).
fn btf_with_special_fields() -> skep_btf::Btf {
    let strings = b"\0int\0bpf_spin_lock\0val\0bpf_timer\0value\0lock\0a\0t\0";
    let name = |s: &str| {
        let padded = [&[0], s.as_bytes(), &[0]].concat();
        strings.windows(padded.len()).position(|w| w == padded).expect("a string") as u32 + 1
    };
    let (int, composite, array) = (1 << 24, 4 << 24, 3 << 24);
    let types: Vec<u32> = [
        // 1: int, 2: bpf_spin_lock, 3: u64, 4: bpf_timer, 5: bpf_timer[2], 6: the value
        vec![name("int"), int, 4, 32],
        vec![name("bpf_spin_lock"), composite | 1, 4, name("val"), 1, 0],
        vec![name("a"), int, 8, 64],
        vec![name("bpf_timer"), composite | 2, 16, name("a"), 3, 0, name("t"), 3, 64],
        vec![0, array, 0, 4, 1, 2],
        [
            vec![name("value"), composite | 4, 48],
            vec![name("lock"), 2, 0, name("a"), 1, 32, name("val"), 3, 64, name("t"), 5, 128],
        ]
        .concat(),
    ]
    .concat();
    let len = types.len() as u32 * 4;
    let header = [0x0001_eb9f, 24, 0, len, len, strings.len() as u32];
    let mut bytes: Vec<u8> = header.iter().chain(&types).flat_map(|w| w.to_ne_bytes()).collect();
    bytes.extend_from_slice(strings);
    skep_btf::Btf::parse(&bytes).expect("BTF")
}

#[test]
fn special_fields_survive_updates_and_locks_are_honoured() {
    let btf = MapBtf { btf: Arc::new(btf_with_special_fields()), key: 1, value: 6 };
    for map_type in [MapType::Hash, MapType::Array] {
        let map = create(&MapDef { btf: Some(btf.clone()), ..def(map_type, 4, 48, 2) }).unwrap();
        let key = 1u32.to_ne_bytes();
        map.update(&key, &[1; 48], flags::ANY, Side::User).unwrap();
        let address = map.lookup(&key, 0).unwrap().unwrap();
        // SAFETY: the value has 48 bytes at its address for as long as the entry exists, and this thread alone uses it.
        let value = unsafe { &mut *(address as *mut [u8; 48]) };
        assert_eq!(value[..4], [0; 4], "{map_type:?}: a new lock is free");
        value[16..].fill(5);
        map.update(&key, &[2; 48], flags::EXIST, Side::User).unwrap();
        assert_eq!((value[..4].to_vec(), value[4..16].to_vec()), (vec![0; 4], vec![2; 12]));
        assert_eq!(value[16..], [5; 32], "{map_type:?}: timers stay");
        let mut expected = [0; 48];
        expected[4..16].fill(2);
        assert_eq!(read(&*map, &key).unwrap(), expected, "{map_type:?}: user space sees zeroes");

        map.update(&key, &[3; 48], flags::LOCK, Side::User).unwrap();
        assert_eq!((value[..4].to_vec(), value[4..16].to_vec()), (vec![0; 4], vec![3; 12]));
        value[0] = 1;
        assert_eq!(map.update(&key, &[4; 48], flags::LOCK, Side::User), Err(Errno::EBUSY));
        assert_eq!(map.freeze(), Err(Errno::ENOTSUPP));
    }
    let plain = create(&def(MapType::Hash, 4, 48, 2)).unwrap();
    assert_eq!(plain.update(&[0; 4], &[1; 48], flags::LOCK, Side::User), Err(Errno::EINVAL));
}

/// Bytes of a map's file, as somebody sees them who maps it.
fn in_file(map: &dyn Map, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rustix::io::pread(map.file().expect("a map in a file"), &mut bytes, at).expect("readable");
    bytes
}

#[test]
fn pages_after_the_header_are_as_in_the_kernels_mmap() {
    let array = create(&def(MapType::Array, 4, 5, 3)).unwrap();
    array.update(&2u32.to_ne_bytes(), &[7; 5], flags::ANY, Side::User).unwrap();
    assert_eq!(in_file(&*array, 4096 + 2 * 8, 8), [7, 7, 7, 7, 7, 0, 0, 0]);

    let map = create(&def(MapType::Ringbuf, 0, 0, 4096)).unwrap();
    let ring = map.ringbuf().unwrap();
    ring.output(&[1; 4000], 0).unwrap();
    ring.consume(&mut |_| ControlFlow::Continue(())).unwrap();
    let at = ring.reserve(80, 0).unwrap();
    let word = |at: u64| u64::from_ne_bytes(in_file(&*map, at, 8).try_into().expect("8 bytes"));
    assert_eq!((word(4096), word(2 * 4096)), (4008, 4008 + 88), "consumer and producer position");
    // Length with the busy bit, then the page of the record counted from the header page.
    assert_eq!(word(3 * 4096 + 4008), (1 << 31 | 80) | 3 << 32);
    // SAFETY: the record was reserved by this thread and has 80 bytes, the last ones of the ring.
    unsafe { std::ptr::write_bytes(at as *mut u8, 9, 80) };
    assert_eq!(in_file(&*map, 3 * 4096 + 4016, 80), [9; 80]);
    ring.submit(at, 0).unwrap();
    assert_eq!(word(3 * 4096 + 4008) as u32, 80);
}

#[test]
fn records_that_wrap_are_contiguous_to_who_writes_them() {
    let map = create(&def(MapType::Ringbuf, 0, 0, 4096)).unwrap();
    let ring = map.ringbuf().unwrap();
    ring.output(&[1; 3992], 0).unwrap();
    ring.consume(&mut |_| ControlFlow::Continue(())).unwrap();
    let at = ring.reserve(200, 0).unwrap();
    // SAFETY: the record was reserved by this thread and has 200 bytes; the last 112 lie in the second mapping.
    unsafe { std::ptr::write_bytes(at as *mut u8, 8, 200) };
    ring.submit(at, 0).unwrap();
    assert_eq!(in_file(&*map, 3 * 4096 + 4008, 88), [8; 88]);
    assert_eq!(in_file(&*map, 3 * 4096, 113), [vec![8; 112], vec![1]].concat());
}
