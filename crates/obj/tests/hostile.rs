//! Objects that lie: whatever the bytes, opening, binding and linking end, soon, with an object or a located error.

mod stub;

use std::path::Path;
use std::time::{Duration, Instant};

use skep_isa::asm::parse;
use skep_obj::asm::{Detail, from_elf};
use skep_obj::{BindEnv, ObjErrorKind, Object, link};

fn object(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/objects").join(name);
    std::fs::read(path).expect("an object of tests/objects")
}

/// Everything that can be done with bytes.
fn exercise(bytes: &[u8]) {
    if let Ok(object) = Object::parse(bytes) {
        let maps = stub::maps(&object);
        for index in 0..object.functions.len() {
            let mut env = BindEnv::new(&maps);
            if let Ok(program) = object.bind_index(index, &mut env) {
                assert!(program.subprogs.iter().all(|s| s.start < program.insns.len()));
            }
            env.target_btf = object.btf.clone();
            let _ = object.bind_index(index, &mut env);
        }
        let _ = object.kconfig(&skep_obj::Kconfig::default());
    }
    for detail in [Detail::Exact, Detail::Readable] {
        if let Ok(asm) = from_elf(bytes, detail) {
            assert!(parse(&asm.to_string()).expect("what is printed assembles") == asm);
        }
    }
    if let Ok(linked) = link(&[bytes]) {
        Object::parse(&linked).expect("what was linked opens");
    }
}

const SEEDS: [&str; 8] = [
    "globals.o",
    "subprograms.o",
    "map_in_map.o",
    "kconfig.o",
    "struct_ops.o",
    "core.o",
    "legacy_maps.o",
    "instructions_debug.o",
];

#[test]
fn truncated_at_every_byte() {
    for seed in ["globals.o", "legacy_maps.o"] {
        let bytes = object(seed);
        for len in 0..bytes.len() {
            if let Err(e) = Object::parse(&bytes[..len]) {
                assert!(!e.to_string().is_empty());
            }
        }
    }
}

#[test]
fn changed_at_random() {
    let seeds: Vec<Vec<u8>> = SEEDS.iter().map(|name| object(name)).collect();
    arbtest::arbtest(|u| {
        let mut bytes = u.choose(&seeds)?.clone();
        for _ in 0..u.int_in_range(1..=8)? {
            let at = u.choose_index(bytes.len())?;
            bytes[at] = match u.int_in_range(0..=3)? {
                0 => 0xff,
                1 => 0,
                2 => bytes[at].wrapping_add(1),
                _ => u.arbitrary()?,
            };
        }
        exercise(&bytes);
        Ok(())
    })
    .budget_ms(2_000);
}

/// A word of a section header of the file.
fn set_header_word(bytes: &mut [u8], section: usize, at: usize, value: u64) {
    let table = u64::from_le_bytes(bytes[40..48].try_into().expect("eight bytes")) as usize;
    let from = table + section * 64 + at;
    bytes[from..from + 8].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn section_headers_with_extreme_values() {
    for seed in ["legacy_maps.o", "ksyms.o"] {
        let bytes = object(seed);
        let count = usize::from(u16::from_le_bytes([bytes[60], bytes[61]]));
        for section in 0..count {
            for at in (0..64).step_by(8) {
                for value in [0, 7, u64::MAX, 1 << 32] {
                    let mut changed = bytes.clone();
                    set_header_word(&mut changed, section, at, value);
                    exercise(&changed);
                }
            }
        }
    }
}

/// An ELF file of a megabyte: `sections` headers that all claim the whole file, and symbols in all of it.
fn overlapping(sections: u16) -> Vec<u8> {
    let mut bytes = object("globals.o")[..64].to_vec();
    bytes.resize(1 << 20, 0x85);
    let table = (1u64 << 20) - u64::from(sections) * 64;
    bytes[40..48].copy_from_slice(&table.to_le_bytes());
    bytes[60..62].copy_from_slice(&sections.to_le_bytes());
    bytes[62..64].copy_from_slice(&1u16.to_le_bytes());
    for index in 0..usize::from(sections) {
        let at = table as usize + index * 64;
        let kind: u32 = if index == 2 { 2 } else { 1 };
        bytes[at..at + 64].fill(0);
        bytes[at + 4..at + 8].copy_from_slice(&kind.to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&6u64.to_le_bytes());
        bytes[at + 32..at + 40].copy_from_slice(&(1u64 << 20).to_le_bytes());
    }
    bytes
}

#[test]
fn a_megabyte_of_overlapping_sections_is_refused_at_once() {
    let bytes = overlapping(16_000);
    let start = Instant::now();
    let refused = Object::parse(&bytes).expect_err("refused");
    assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    assert!(matches!(refused.kind, ObjErrorKind::Malformed(_) | ObjErrorKind::Oversized { .. }), "{refused}");
}

#[test]
fn refusals_say_what_was_found_and_what_to_do() {
    let text = |bytes: &[u8]| Object::parse(bytes).expect_err("refused").to_string();
    assert!(text(b"#!/bin/sh").contains("not an ELF file"));
    assert!(text(b"").contains("not an ELF file"));
    assert!(text(&object("big_endian.o")).contains("--target=bpfel"));
    assert!(text(&object("host_object.o")).contains("machine 62 (x86-64)"));
    let mut executable = object("globals.o");
    executable[16] = 2;
    assert!(text(&executable).contains("type 2 (executable)"));
    let mut short = object("globals.o");
    short[4] = 1;
    assert!(text(&short).contains("32-bit"));
    assert!(text(&object("globals.o")[..100]).contains("section table"));
}

/// Inputs that fuzzing found faults with.
#[test]
fn found_by_fuzzing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/found");
    for entry in std::fs::read_dir(folder).expect("inputs").flatten() {
        exercise(&std::fs::read(entry.path()).expect("an input"));
    }
}
