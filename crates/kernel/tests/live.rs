//! The running kernel: maps by system calls, programs, test runs, ring buffers. Where it lets us load nothing the tests say
//! so and pass. Nothing is attached or pinned.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

use skep_isa::Insn;
use skep_kernel::Kernel;
use skep_platform::map::{MapDef, Side};
use skep_platform::{Engine, EngineError, Errno, MapType, Platform, ProgType, Program, Version};
use std::ops::ControlFlow;
use std::sync::Arc;

fn kernel() -> Option<Kernel> {
    let platform =
        Platform { version: Version(6, 18), helpers: &[], kfuncs: &[], prog_types: &[], map_types: &[] };
    Kernel::open(platform).inspect_err(|e| println!("skipped: {e}")).ok()
}

fn def(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
    MapDef {
        name: "test".into(),
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

fn program(prog_type: ProgType, insns: Vec<Insn>) -> Program {
    Program { license: "GPL".into(), ..Program::from_insns("test", prog_type, insns) }
}

#[test]
fn a_hash_map() {
    let Some(kernel) = kernel() else { return };
    let map = kernel.create_map(&def(MapType::Hash, 4, 8, 2)).unwrap();
    let (mut value, mut key) = (Vec::new(), Vec::new());
    assert_eq!(map.next_key(None, &mut key), Err(Errno::ENOENT));
    assert_eq!(map.read(&[1; 4], &mut value), Err(Errno::ENOENT));
    map.update(&[1; 4], &[5; 8], 0, Side::User).unwrap();
    assert_eq!(map.update(&[1; 4], &[5; 8], 1, Side::User), Err(Errno::EEXIST));
    map.update(&[2; 4], &[6; 8], 0, Side::User).unwrap();
    assert_eq!(map.update(&[3; 4], &[7; 8], 0, Side::User), Err(Errno::E2BIG));
    map.read(&[2; 4], &mut value).unwrap();
    assert_eq!(value, [6; 8]);
    map.next_key(None, &mut key).unwrap();
    map.delete(&key, Side::User).unwrap();
    map.next_key(None, &mut key).unwrap();
    map.lookup_and_delete(&key, &mut value).unwrap();
    assert_eq!(map.next_key(None, &mut key), Err(Errno::ENOENT));
    assert_eq!(map.lookup(&[2; 4], 0), Err(Errno::EOPNOTSUPP));
}

#[test]
fn values_of_every_cpu_and_frozen_maps() {
    let Some(kernel) = kernel() else { return };
    let map = kernel.create_map(&def(MapType::PercpuArray, 4, 4, 1)).unwrap();
    let values: Vec<u8> =
        (0..skep_kernel::possible_cpus() as u64).flat_map(|c| (c + 1).to_ne_bytes()).collect();
    map.update(&[0; 4], &values, 0, Side::User).unwrap();
    let mut out = Vec::new();
    map.read(&[0; 4], &mut out).unwrap();
    assert_eq!(out, values);

    let map = kernel.create_map(&def(MapType::Array, 4, 8, 1)).unwrap();
    map.freeze().unwrap();
    assert!(map.frozen());
    assert_eq!(map.update(&[0; 4], &[0; 8], 0, Side::User), Err(Errno::EPERM));
}

#[test]
fn a_program_runs_and_its_records_are_read() {
    let Some(kernel) = kernel() else { return };
    let ring = kernel.create_map(&def(MapType::Ringbuf, 0, 0, 4096)).unwrap();
    let insns = vec![
        Insn::new(0x7a, 10, 0, -8, 42),
        Insn::new(0x18, 1, 5, 0, 0),
        Insn::new(0, 0, 0, 0, 0),
        Insn::new(0xbf, 2, 10, 0, 0),
        Insn::new(0x07, 2, 0, 0, -8),
        Insn::new(0xb7, 3, 0, 0, 8),
        Insn::new(0xb7, 4, 0, 0, 0),
        Insn::new(0x85, 0, 0, 0, 130),
        Insn::new(0xb7, 0, 0, 0, 2),
        Insn::new(0x95, 0, 0, 0, 0),
    ];
    let program = Program { maps: vec![ring.clone()], ..program(ProgType::Xdp, insns) };
    let loaded = kernel.load_program(&Arc::new(program)).unwrap();
    let ran = kernel.run(&loaded, &[1; 64], &[], 300).unwrap();
    assert_eq!((ran.retval, ran.data), (2, vec![1; 64]));
    let mut records = Vec::new();
    let keep = &mut |r: &[u8]| {
        records.push(r.to_vec());
        ControlFlow::Continue(())
    };
    // A record takes 16 bytes; those beyond the 4096 were lost to the program.
    assert_eq!(ring.ringbuf().unwrap().consume(keep), Ok(255));
    assert!(records.iter().all(|r| *r == 42u64.to_ne_bytes()));
    kernel.run(&loaded, &[1; 64], &[], 1).unwrap();
    assert_eq!(ring.ringbuf().unwrap().consume(&mut |_| ControlFlow::Continue(())), Ok(1));
}

#[test]
fn a_refusal_has_its_phrase_and_place() {
    let Some(kernel) = kernel() else { return };
    let insns = vec![Insn::new(0xb7, 0, 0, 0, 0), Insn::new(0x61, 0, 0, 0, 0), Insn::new(0x95, 0, 0, 0, 0)];
    match kernel.load_program(&Arc::new(program(ProgType::Xdp, insns))) {
        Err(EngineError::Refused(r)) => {
            assert_eq!((r.message.as_str(), r.insn), ("R0 invalid mem access 'scalar'", Some(1)));
            assert!(r.log.contains("processed "));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_kernel_does_not_take_is_told() {
    let Some(kernel) = kernel() else { return };
    let e = kernel.create_map(&def(MapType::Array, 3, 8, 1)).unwrap_err();
    assert!(e.why.contains("EINVAL"), "{e}");
}

#[test]
fn what_the_kernel_has_is_found_out_by_trying() {
    use skep_kernel::Found;
    let Some(kernel) = kernel() else { return };
    assert_eq!(kernel.has_prog_type(ProgType::Xdp), Found::Yes);
    assert!(matches!(kernel.has_prog_type(ProgType::Unspec), Found::No(_)));
    assert_eq!(kernel.has_map_type(MapType::LpmTrie), Found::Yes);
    assert_eq!(kernel.has_map_type(MapType::HashOfMaps), Found::Yes);
    assert!(matches!(kernel.has_map_type(MapType::Unspec), Found::No(_)));
    // bpf_map_lookup_elem, bpf_redirect_map, bpf_skb_store_bytes, one that does not exist.
    let xdp = [1, 51, 9, 60_000].map(|id| kernel.has_helper(ProgType::Xdp, id));
    assert_eq!(xdp, [true, true, false, false]);
    let tc = [1, 51, 9, 60_000].map(|id| kernel.has_helper(ProgType::SchedCls, id));
    assert_eq!(tc, [true, false, true, false]);
}
