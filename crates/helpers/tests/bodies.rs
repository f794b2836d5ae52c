//! Bodies that work on maps, memory and the host, in an environment of native memory.

#[path = "bodies/world.rs"]
mod world;

use skep_platform::MapType;
use skep_platform::env::{Fault, Ret};
use skep_platform::map::Handle;
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use world::{Run, World};

const EFAULT: i64 = -14;
const EINVAL: i64 = -22;
const ENOENT: i64 = -2;
const E2BIG: i64 = -7;

#[test]
fn hash_entries_come_and_go() {
    let mut r = Run::new();
    let m = r.new_map(MapType::Hash, 4, 8, 2);
    let (key, value) = (r.memory(&[1, 0, 0, 0]), r.memory(b"eight by"));
    assert!(matches!(r.try_call("map_lookup_elem", &[m, key]), Ok(Ret::Null)));
    assert_eq!(r.call("map_update_elem", &[m, key, value, 2]), ENOENT);
    assert_eq!(r.call("map_update_elem", &[m, key, value, 1]), 0);
    assert_eq!(r.call("map_update_elem", &[m, key, value, 1]), -17);
    assert_eq!(r.call("map_update_elem", &[m, key, value, 8]), EINVAL);
    let Ok(Ret::Region(found)) = r.try_call("map_lookup_elem", &[m, key]) else { panic!("there is a value") };
    assert_eq!((r.bytes(found.addr, 8), found.len, found.writable), (b"eight by".to_vec(), 8, true));
    assert_eq!(r.call("map_delete_elem", &[m, key]), 0);
    assert_eq!(r.call("map_delete_elem", &[m, key]), ENOENT);
    let wild = r.try_call("map_lookup_elem", &[m, 0x1234]);
    assert!(matches!(wild, Err(Fault::Access { addr: 0x1234, len: 4, .. })), "{wild:?}");
}

#[test]
fn per_cpu_values_are_told_apart() {
    let mut r = Run::new();
    let m = r.new_map(MapType::PercpuArray, 4, 8, 1);
    let (key, value) = (r.memory(&[0; 4]), r.memory(b"on cpu 1"));
    assert_eq!(r.call("map_update_elem", &[m, key, value, 0]), 0);
    let own = r.call("map_lookup_elem", &[m, key]) as u64;
    assert_eq!(r.bytes(own, 8), b"on cpu 1");
    assert_eq!(r.call("map_lookup_percpu_elem", &[m, key, 1]) as u64, own);
    let other = r.call("map_lookup_percpu_elem", &[m, key, 0]) as u64;
    assert_eq!(r.bytes(other, 8), [0; 8]);
    assert!(matches!(r.try_call("map_lookup_percpu_elem", &[m, key, 2]), Ok(Ret::Null)));
    let plain = r.new_map(MapType::Array, 4, 8, 1);
    assert!(matches!(r.try_call("map_lookup_percpu_elem", &[plain, key, 0]), Err(Fault::BadArg { .. })));
}

#[test]
fn queues_give_back_what_they_took() {
    let mut r = Run::new();
    let m = r.new_map(MapType::Queue, 0, 4, 2);
    let (value, out) = (r.memory(&[1, 2, 3, 4]), r.memory(&[9; 4]));
    assert_eq!(r.call("map_push_elem", &[m, value, 0]), 0);
    assert_eq!(r.call("map_peek_elem", &[m, out]), 0);
    assert_eq!(r.bytes(out, 4), [1, 2, 3, 4]);
    assert_eq!(r.call("map_pop_elem", &[m, out]), 0);
    let again = r.memory(&[9; 4]);
    assert_eq!(r.call("map_pop_elem", &[m, again]), ENOENT);
    assert_eq!(r.bytes(again, 4), [0; 4], "nothing to take: zeros");
    let hash = r.new_map(MapType::Hash, 4, 4, 2);
    assert_eq!(r.call("map_push_elem", &[hash, value, 0]), -95);
}

#[test]
fn bloom_filters_are_asked_for_a_value() {
    let mut r = Run::new();
    let m = r.new_map(MapType::BloomFilter, 0, 4, 100);
    let (yes, no) = (r.memory(&[1, 2, 3, 4]), r.memory(&[4, 3, 2, 1]));
    assert_eq!(r.call("map_push_elem", &[m, yes, 0]), 0);
    assert_eq!(r.call("map_peek_elem", &[m, yes]), 0);
    assert_eq!(r.call("map_peek_elem", &[m, no]), ENOENT);
    assert_eq!(r.bytes(no, 4), [4, 3, 2, 1]);
}

#[test]
fn walks_show_every_entry_until_the_callback_stops() {
    let mut r = Run::new();
    let m = r.new_map(MapType::Array, 4, 8, 5);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = seen.clone();
    r.callback = Some(Box::new(move |mem, [map, key, value, ctx, _]| {
        use skep_platform::env::Memory;
        let mut k = [0; 4];
        mem.read(key, &mut k).expect("the key is lent");
        mem.write(value, &[7; 8]).expect("the value is lent");
        assert!(mem.write(key, &k).is_err(), "keys are read-only");
        log.borrow_mut().push(u32::from_ne_bytes(k));
        assert_eq!((map, ctx), (1, 99));
        u64::from(k[0] == 3)
    }));
    assert_eq!(r.call("for_each_map_elem", &[m, 1, 99, 0]), 4);
    assert_eq!(*seen.borrow(), [0, 1, 2, 3]);
    assert_eq!(r.call("for_each_map_elem", &[m, 1, 99, 1]), EINVAL);
    let queue = r.new_map(MapType::Queue, 0, 4, 2);
    assert!(matches!(r.try_call("for_each_map_elem", &[queue, 1, 0, 0]), Err(Fault::BadArg { .. })));
}

#[test]
fn loops_count_their_rounds() {
    let mut r = Run::new();
    r.callback = Some(Box::new(|_, [i, ctx, ..]| u64::from(i == ctx)));
    assert_eq!(r.call("loop", &[10, 1, 100, 0]), 10);
    assert_eq!(r.call("loop", &[10, 1, 3, 0]), 4);
    assert_eq!(r.call("loop", &[0, 1, 3, 0]), 0);
    assert_eq!(r.call("loop", &[10, 1, 3, 1]), EINVAL);
    assert_eq!(r.call("loop", &[8 * 1024 * 1024 + 1, 1, 3, 0]), E2BIG);
    r.callback = None;
    assert!(r.try_call("loop", &[1, 1, 0, 0]).is_err(), "a fault in the callback is passed on");
}

#[test]
fn tail_calls_find_programs() {
    let mut r = Run::new();
    let m = r.new_map(MapType::ProgArray, 4, 4, 2);
    let program: Arc<dyn std::any::Any + Send + Sync> = Arc::new("a program");
    r.map_of(m).set_handle(&1u32.to_ne_bytes(), Handle::Prog(program), 0).expect("an entry");
    assert!(matches!(r.try_call("tail_call", &[0, m, 1]), Ok(Ret::TailCall(_))));
    assert!(matches!(r.try_call("tail_call", &[0, m, 1 << 32 | 1]), Ok(Ret::TailCall(_))), "32 bits count");
    assert_eq!(r.call("tail_call", &[0, m, 0]), ENOENT);
    assert_eq!(r.call("tail_call", &[0, m, 2]), ENOENT);
    let array = r.new_map(MapType::Array, 4, 4, 2);
    assert!(matches!(r.try_call("tail_call", &[0, array, 0]), Err(Fault::BadArg { .. })));
}

fn records(r: &Run, m: u64) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let ring = r.map_of(m).ringbuf().expect("a ring buffer");
    ring.consume(&mut |b| {
        out.push(b.to_vec());
        ControlFlow::Continue(())
    })
    .expect("consumes");
    out
}

#[test]
fn records_are_submitted_or_given_up() {
    let mut r = Run::new();
    let m = r.new_map(MapType::Ringbuf, 0, 0, 4096);
    let data = r.memory(b"copied");
    assert_eq!(r.call("ringbuf_output", &[m, data, 6, 0]), 0);
    assert_eq!(r.call("ringbuf_output", &[m, data, 6, 4]), EINVAL);
    let first = r.call("ringbuf_reserve", &[m, 8, 0]) as u64;
    let second = r.call("ringbuf_reserve", &[m, 8, 0]) as u64;
    r.mem_write(first, b"in place");
    r.call("ringbuf_submit", &[first, 0]);
    r.call("ringbuf_discard", &[second, 0]);
    assert_eq!(records(&r, m), [b"copied".to_vec(), b"in place".to_vec()]);
    assert!(
        matches!(r.try_call("ringbuf_submit", &[first, 0]), Err(Fault::BadArg { arg: 1, .. })),
        "only once"
    );
    assert!(matches!(r.try_call("ringbuf_submit", &[0x1000, 0]), Err(Fault::BadArg { arg: 1, .. })));
    assert_eq!(r.call("ringbuf_reserve", &[m, 8, 1]), 0);
    assert_eq!(r.call("ringbuf_reserve", &[m, 5000, 0]), 0);
    assert_eq!(r.call("ringbuf_query", &[m, 1]), 4096);
    assert_eq!(r.call("ringbuf_query", &[m, 0]), 0);
    let hash = r.new_map(MapType::Hash, 4, 4, 1);
    assert!(matches!(r.try_call("ringbuf_reserve", &[hash, 8, 0]), Err(Fault::BadArg { .. })));
}

#[test]
fn records_behind_dynptrs() {
    let mut r = Run::new();
    let m = r.new_map(MapType::Ringbuf, 0, 0, 4096);
    let (ptr, data, out) = (r.memory(&[0xee; 16]), r.memory(b"abcdefgh"), r.memory(&[0; 8]));
    assert_eq!(r.call("ringbuf_reserve_dynptr", &[m, 12, 0, ptr]), 0);
    assert_eq!(r.call("dynptr_write", &[ptr, 4, data, 8, 0]), 0);
    assert_eq!(r.call("dynptr_write", &[ptr, 5, data, 8, 0]), E2BIG);
    assert_eq!(r.call("dynptr_write", &[ptr, 0, data, 4, 1]), EINVAL);
    assert_eq!(r.call("dynptr_read", &[out, 4, ptr, 6, 0]), 0);
    assert_eq!(r.bytes(out, 4), b"cdef");
    assert_eq!(r.call("dynptr_read", &[out, 4, ptr, 9, 0]), E2BIG);
    assert_eq!(r.call("dynptr_read", &[out, 4, ptr, 0, 1]), EINVAL);
    let slice = r.call("dynptr_data", &[ptr, 0, 4]) as u64;
    r.mem_write(slice, b"head");
    assert_eq!(r.call("dynptr_data", &[ptr, 9, 4]), 0);
    r.call("ringbuf_submit_dynptr", &[ptr, 0]);
    assert_eq!(records(&r, m), [b"headabcdefgh".to_vec()]);
    assert_eq!(r.bytes(ptr, 16), [0; 16], "null now");
    assert_eq!(r.call("dynptr_read", &[out, 1, ptr, 0, 0]), EINVAL);
    assert_eq!(r.call("dynptr_data", &[ptr, 0, 0]), 0);
    r.call("ringbuf_discard_dynptr", &[ptr, 0]);

    for (size, flags, want) in [(12, 1, EINVAL), (1 << 24, 0, E2BIG), (8192, 0, EINVAL)] {
        let failed = r.memory(&[0xee; 16]);
        assert_eq!(r.call("ringbuf_reserve_dynptr", &[m, size, flags, failed]), want);
        assert_eq!(r.bytes(failed, 16), [0; 16]);
        r.call("ringbuf_submit_dynptr", &[failed, 0]);
    }
}

#[test]
fn dynptrs_to_memory() {
    let mut r = Run::new();
    let (ptr, data) = (r.memory(&[0xee; 16]), r.memory(b"0123456789"));
    assert_eq!(r.call("dynptr_from_mem", &[data, 10, 0, ptr]), 0);
    assert_eq!(r.call("dynptr_data", &[ptr, 3, 7]) as u64, data + 3);
    assert_eq!(r.call("dynptr_write", &[ptr, 0, data + 2, 4, 0]), 0, "overlapping");
    assert_eq!(r.bytes(data, 10), b"2345456789");
    assert_eq!(r.call("dynptr_from_mem", &[data, 10, 1, ptr]), EINVAL);
    assert_eq!(r.bytes(ptr, 16), [0; 16]);
    assert_eq!(r.call("dynptr_from_mem", &[data, 1 << 24, 0, ptr]), E2BIG);
    assert!(r.try_call("dynptr_from_mem", &[data, 11, 0, ptr]).is_err(), "more than there is");
    let forged = r.memory(&[[0x40; 8].to_vec(), vec![0xff, 0, 0, 0x10, 0, 0, 0, 0]].concat());
    assert!(
        r.try_call("dynptr_read", &[data, 4, forged, 0, 0]).is_err(),
        "a forged address is only an allegation"
    );
}

#[test]
fn unmapped_memory_is_an_error_number() {
    let mut r = Run::new();
    let (out, near) = (r.memory(&[0xee; 8]), r.memory(b"near\0"));
    assert_eq!(r.call("probe_read_kernel", &[out, 8, 0x5000_0000]), 0);
    assert_eq!(r.bytes(out, 8), b"far away");
    assert_eq!(r.call("probe_read_user", &[out, 8, 0x10]), EFAULT);
    assert_eq!(r.bytes(out, 8), [0; 8]);
    assert_eq!(r.call("probe_read", &[out, 0, 0x10]), 0);
    assert_eq!(r.call("copy_from_user", &[out, 4, near]), 0);
    assert_eq!(r.call("probe_read_user_str", &[out, 8, near]), 5);
    assert_eq!(r.bytes(out, 5), b"near\0");
    assert_eq!(r.call("probe_read_kernel_str", &[out, 3, near]), 3);
    assert_eq!(r.bytes(out, 3), b"ne\0");
    assert_eq!(r.call("probe_read_str", &[out, 8, 0x5000_0ffc]), 1, "the string ends before the page does");
    assert_eq!(r.call("probe_read_str", &[out, 8, 0x5000_1000]), EFAULT);
    assert_eq!(r.call("probe_write_user", &[0x10, near, 4]), EFAULT);
    assert!(
        r.try_call("probe_read", &[0x10, 8, near]).is_err(),
        "the destination is the program's own fault"
    );
}

#[test]
fn lines_are_traced() {
    let mut r = Run::new();
    let (fmt, name) = (r.memory(b"%s is %d\n\0"), r.memory(b"seven\0"));
    assert_eq!(r.call("trace_printk", &[fmt, 10, name, 7, 0]), 11);
    assert_eq!(r.call("trace_printk", &[fmt, 9, name, 7, 0]), EINVAL, "no NUL inside the size");
    let args: Vec<u8> = [name, 7].iter().flat_map(|v| v.to_ne_bytes()).collect();
    let args = r.memory(&args);
    assert_eq!(r.call("trace_vprintk", &[fmt, 10, args, 16]), 11);
    assert_eq!(r.call("trace_vprintk", &[fmt, 10, args, 8]), EINVAL);
    assert_eq!(r.call("trace_vprintk", &[fmt, 10, args, 12]), EINVAL);
    assert_eq!(r.call("trace_vprintk", &[fmt, 10, 0, 16]), EINVAL);
    assert_eq!(r.lines(), ["seven is 7", "seven is 7"]);
}

#[test]
fn the_host_answers() {
    let mut r = Run::new();
    for (name, want) in [
        ("ktime_get_ns", 1_000),
        ("ktime_get_boot_ns", 2_000),
        ("ktime_get_coarse_ns", 3_000),
        ("ktime_get_tai_ns", 4_000),
        ("jiffies64", 5_000),
        ("get_prandom_u32", 0xdead_beef),
        ("get_smp_processor_id", 1),
        ("get_numa_node_id", 3),
        ("get_current_pid_tgid", 11 << 32 | 12),
        ("get_current_uid_gid", 21 << 32 | 22),
        ("get_current_cgroup_id", 31),
        ("get_netns_cookie", 41),
    ] {
        assert_eq!(r.call(name, &[]), want, "{name}");
    }
    let out = r.memory(&[0xee; 20]);
    assert_eq!(r.call("get_current_comm", &[out, 20]), 0);
    assert_eq!(r.bytes(out, 20), *b"fifteen-letters\0\0\0\0\0");
    assert_eq!(r.call("get_current_comm", &[out, 4]), 0);
    assert_eq!(r.bytes(out, 5), *b"fif\0e");
    assert_eq!(r.call("get_ns_current_pid_tgid", &[4, 4_026_531_836, out, 8]), 0);
    assert_eq!(r.bytes(out, 8), [12, 0, 0, 0, 11, 0, 0, 0]);
    assert_eq!(r.call("get_ns_current_pid_tgid", &[4, 1, out, 8]), EINVAL);
    assert_eq!(r.bytes(out, 8), [0; 8]);
    assert_eq!(r.call("get_ns_current_pid_tgid", &[4, 4_026_531_836, out, 4]), EINVAL);
}

#[test]
fn locks_and_object_slots() {
    let mut r = Run::new();
    let word = r.memory(&[0; 8]);
    r.call("spin_lock", &[word]);
    assert_eq!(r.bytes(word, 4), [1, 0, 0, 0]);
    r.call("spin_unlock", &[word]);
    assert!(matches!(r.try_call("spin_unlock", &[word]), Err(Fault::Rule { code: "lock-not-held", .. })));
    r.call("spin_lock", &[word]);
    assert!(matches!(r.try_call("spin_lock", &[word]), Err(Fault::Rule { code: "lock-stuck", .. })));
    let slot = r.memory(&[0; 8]);
    assert!(matches!(r.try_call("kptr_xchg", &[slot, 0x77]), Ok(Ret::Null)));
    assert_eq!(r.call("kptr_xchg", &[slot, 0]), 0x77);
}

#[test]
fn samples_carry_packet_bytes() {
    let mut r = Run::on(World::default(), b"a packet of some bytes");
    let m = r.new_map(MapType::PerfEventArray, 4, 4, 2);
    let data = r.memory(b"meta");
    const CURRENT: u64 = 0xffff_ffff;
    assert_eq!(r.call("perf_event_output", &[0, m, CURRENT, data, 4]), ENOENT, "nobody listens");
    r.map_of(m).perf_events().expect("events").open(1, 4096).expect("opens");
    assert_eq!(r.call("perf_event_output", &[0, m, CURRENT | 8 << 32, data, 4]), 0);
    assert_eq!(r.call("perf_event_output", &[0, m, 1, data, 0]), 0);
    assert_eq!(r.call("perf_event_output", &[0, m, 0, data, 4]), -95, "another CPU's ring");
    assert_eq!(r.call("perf_event_output", &[0, m, 2, data, 4]), E2BIG);
    assert_eq!(r.call("perf_event_output", &[0, m, CURRENT | 23 << 32, data, 4]), EFAULT);
    assert_eq!(r.call("perf_event_output", &[0, m, 1 << 52, data, 4]), EINVAL);
    let mut samples = Vec::new();
    let events = r.map_of(m).perf_events().expect("events");
    let lost = events.consume(&mut |cpu, b| {
        samples.push((cpu, b.to_vec()));
        ControlFlow::Continue(())
    });
    assert_eq!(lost, Ok(0));
    assert_eq!(samples.len(), 2);
    assert!(samples[0].1.starts_with(b"metaa packet"), "{:?}", samples[0]);
}

/// `struct bpf_fib_lookup` with this family, length and destination.
fn fib_params(family: u8, total: u16, dst: &[u8]) -> Vec<u8> {
    let mut p = vec![0; 64];
    p[0] = family;
    p[6..8].copy_from_slice(&total.to_ne_bytes());
    p[8..12].copy_from_slice(&3u32.to_ne_bytes());
    p[32..32 + dst.len()].copy_from_slice(dst);
    p[48..52].fill(0xee);
    p
}

#[test]
fn routes_are_looked_up() {
    let bytes = [0; 200];
    let mut without = Run::on(World::default(), &bytes);
    let p = without.memory(&fib_params(2, 0, &[10, 0, 0, 1]));
    assert_eq!(without.call("fib_lookup", &[0, p, 64, 0]), 5, "no route table: forwarding is off");

    let mut r = Run::on(World { routes: true, ..World::default() }, &bytes);
    let p = r.memory(&fib_params(2, 0, &[10, 0, 0, 1]));
    assert_eq!(r.call("fib_lookup", &[0, p, 64, 1 << 4]), 0);
    let got = r.bytes(p, 64);
    assert_eq!(got[6..8], 1400u16.to_ne_bytes(), "the interface's MTU");
    assert_eq!(got[8..12], 7u32.to_ne_bytes());
    assert_eq!((&got[16..20], &got[32..36]), (&[10, 0, 0, 77][..], &[10, 0, 0, 254][..]));
    assert_eq!((&got[48..52], &got[52..58], &got[58..64]), (&[0; 4][..], &[1; 6][..], &[2; 6][..]));

    let mut code = |family, total, dst: &[u8], flags| {
        let p = r.memory(&fib_params(family, total, dst));
        r.call("fib_lookup", &[0, p, 64, flags])
    };
    assert_eq!(code(2, 0, &[192, 168, 0, 1], 0), 2);
    assert_eq!(code(2, 1400, &[10, 0, 0, 1], 0), 0);
    assert_eq!(code(2, 1401, &[10, 0, 0, 1], 0), 8);
    assert_eq!(code(2, 0, &[10, 0, 0, 99], 0), 7);
    assert_eq!(code(2, 0, &[10, 0, 0, 99], 4), 0);
    assert_eq!(code(1, 0, &[10, 0, 0, 1], 0), -97);
    assert_eq!(code(2, 0, &[10, 0, 0, 1], 0x40), EINVAL);
    let global: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(code(10, 0, &global, 4), 0);
    assert_eq!(code(10, 0, &global, 4 | 16), 9);
    let link_local: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(code(10, 0, &link_local, 0), 4);
    let short = r.memory(&[0; 64]);
    assert_eq!(r.call("fib_lookup", &[0, short, 63, 0]), EINVAL);
    let by6 = r.memory(&fib_params(2, 0, &[10, 0, 9, 1]));
    assert_eq!(r.call("fib_lookup", &[0, by6, 64, 0]), 0);
    assert_eq!(r.bytes(by6, 64)[32..48], [0xfe; 16], "an IPv6 gateway");
    assert_eq!(r.bytes(by6, 1), [10]);
}

#[test]
fn packet_helpers_need_a_packet() {
    let mut r = Run::new();
    for name in ["skb_vlan_pop", "xdp_get_buff_len", "get_hash_recalc", "skb_pull_data", "csum_level"] {
        assert_eq!(r.try_call(name, &[]).map(drop), Err(Fault::NoPacket), "{name}");
    }
}

#[test]
fn flow_hashes_are_symmetric_and_known_afterwards() {
    let mut packet = vec![0; 14];
    packet.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 53, 4, 1]);
    let mut back = packet.clone();
    back[26..30].copy_from_slice(&packet[30..34]);
    back[30..34].copy_from_slice(&packet[26..30]);
    back[34..36].copy_from_slice(&packet[36..38]);
    back[36..38].copy_from_slice(&packet[34..36]);
    let hash = |bytes: &[u8]| Run::on(World::default(), bytes).call("get_hash_recalc", &[]);
    assert_eq!(hash(&packet), hash(&back));
    back[37] = 9;
    assert_ne!(hash(&packet), hash(&back));
    assert_ne!(hash(&[]), 0);
    let mut r = Run::on(World::default(), &packet);
    r.call("set_hash", &[0, 0]);
    assert_eq!(r.call("get_hash_recalc", &[]), 0, "a hash that was set is known, even 0");
}

#[test]
fn copies_leave_with_their_tag() {
    use skep_platform::Env;
    let mut r = Run::on(World::default(), &[7; 60]);
    r.call("skb_vlan_push", &[0, 0x81, 0x0203]);
    assert_eq!(r.call("clone_redirect", &[0, 5, 0]), 0);
    let p = r.packet().expect("a packet");
    let (ifindex, bytes) = &p.clones[0];
    assert_eq!((*ifindex, bytes.len(), &bytes[12..16]), (5, 64, &[0x81, 0, 2, 3][..]));
    assert_eq!(p.len(), 60);
}

/// What congestion marking does to the header checksum is what computing it afresh gives.
#[test]
fn marking_keeps_the_header_checksum() {
    use skep_platform::Env;
    for (tos, marked) in [(0u8, 0), (1, 1), (2, 1), (3, 1)] {
        let mut header = [0x45, tos, 0, 20, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let check = header_checksum(&header);
        header[10..12].copy_from_slice(&check.to_be_bytes());
        let mut r = Run::on(World::default(), &[&[0; 14][..], &header].concat());
        r.packet().expect("a packet").ctx.protocol = u32::from(0x0800u16.to_be());
        assert_eq!(r.call("skb_ecn_set_ce", &[]), marked, "{tos}");
        let after = r.packet().expect("a packet").bytes()[14..].to_vec();
        assert_eq!(header_checksum(&after), 0, "{tos}");
        assert_eq!(after[1], if marked == 1 { 3 } else { tos });
    }
}

fn header_checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Whatever a program that nobody verified gives a helper: an answer or a fault, never a panic, never a long wait.
#[test]
fn no_arguments_make_a_body_panic() {
    use skep_helpers::HELPERS;
    use skep_platform::{Body, Env};
    // A lock that is taken is waited for on purpose.
    let bodies = HELPERS.iter().filter(|h| matches!(h.body, Body::Fn(_)) && h.name != "bpf_spin_lock");
    let names: Vec<&str> = bodies.map(|h| h.name.trim_start_matches("bpf_")).collect();
    const TYPES: &[(MapType, u32, u32, u32)] = &[
        (MapType::Hash, 4, 8, 4),
        (MapType::Array, 4, 8, 4),
        (MapType::PercpuArray, 4, 8, 4),
        (MapType::Queue, 0, 8, 4),
        (MapType::BloomFilter, 0, 8, 4),
        (MapType::Ringbuf, 0, 0, 4096),
        (MapType::PerfEventArray, 4, 4, 4),
        (MapType::ProgArray, 4, 4, 4),
    ];
    let mut owner = Run::new();
    let maps = TYPES.iter().map(|(t, key, value, entries)| owner.new_map(*t, *key, *value, *entries));
    let maps: Vec<u64> = maps.collect();
    let maps: Vec<_> = maps.iter().map(|m| owner.map_of(*m)).collect();
    let ms = std::env::var("SKEP_FUZZ_MS").ok().and_then(|v| v.parse().ok()).unwrap_or(1_000);
    arbtest::arbtest(|u| {
        let mut r = if u.arbitrary()? {
            let len = u.int_in_range(0..=80)?;
            let mut r = Run::on(World { routes: true, ..World::default() }, &vec![u.arbitrary()?; len]);
            let p = r.packet().expect("a packet");
            p.ctx.protocol = *u.choose(&[0x0008, 0xdd86, 0x0081, 0xa888, 0])?;
            p.ctx.gso_size = *u.choose(&[0, 0, 0, 1400])?;
            p.mac_len = *u.choose(&[14, 14, 0, 18, 100])?;
            r
        } else {
            Run::new()
        };
        let map = r.adopt(u.choose(&maps)?);
        let memory = r.memory(&u.arbitrary::<[u8; 32]>()?);
        for _ in 0..u.int_in_range(1..=8)? {
            let mut args = [0; 5];
            for a in &mut args {
                *a = match u.int_in_range(0..=7)? {
                    0 => map,
                    1 | 2 => memory,
                    3 => memory + u.int_in_range(0..=40)?,
                    4 => u.int_in_range(0..=64)?,
                    5 => 1 << u.int_in_range(0..=63)?,
                    6 => 0u64.wrapping_sub(u.int_in_range(0..=64)?),
                    _ => u.arbitrary()?,
                };
            }
            let _ = r.try_call(u.choose(&names)?, &args);
        }
        Ok(())
    })
    .budget_ms(ms);
}
