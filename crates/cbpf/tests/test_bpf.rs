//! The classic cases of the kernel's lib/test_bpf.c (suite `test_bpf`) on the classic machine.

#![allow(clippy::print_stdout)]

use serde_json::Value;
use skep_cbpf::{Insn, Meta, Packet, Program};
use skep_testkit::suites;

/// The bytes that the kernel's tests put behind the packet's own in a fragment; the suite's file leaves them out.
const FRAGMENTS: [(&str, &[u8]); 2] = [
    ("mixed head/frag", &[0x19, 0x82]),
    ("frag", &[0x42, 0, 0, 0, 0x43, 0x44, 0, 0, 0x21, 0x07, 0x19, 0x83]),
];

/// Bytes of a test's packet, `size` of them and then the fragment.
fn packet(case: &Value, size: usize) -> Vec<u8> {
    let mut bytes = case["data"].as_str().and_then(suites::hex).unwrap_or_default();
    bytes.resize(size, 0);
    let name = case["descr"].as_str().unwrap_or_default();
    if case["skb_frag"] == true
        && let Some((_, frag)) = FRAGMENTS.iter().find(|(end, _)| name.ends_with(end))
    {
        bytes.extend_from_slice(frag);
        bytes.resize(size + 128, 0);
    }
    bytes
}

/// What is wrong with a case, if anything is.
fn verdict(case: &Value) -> Result<(), String> {
    let bytes = case["insns"].as_str().and_then(suites::hex).ok_or("no insns")?;
    let insns = bytes.as_chunks().0.iter().map(|b| Insn::from_bytes(*b)).collect();
    let program = match (Program::new(insns), case["expected_fail"] == true) {
        (Err(_), true) => return Ok(()),
        (Ok(_), true) => return Err("accepted, to be refused".into()),
        (program, false) => program.map_err(|e| e.to_string())?,
    };
    for test in case["tests"].as_array().ok_or("no tests")? {
        let (size, want) =
            (test["size"].as_u64().ok_or("no size")?, test["result"].as_i64().ok_or("no result")?);
        let meta = Meta {
            protocol: 0x0800,
            pkt_type: 3,
            ifindex: Some(577),
            hatype: 588,
            mark: 0x1234_aaaa,
            queue: 123,
            hash: 0x1234_aaab,
            vlan: Some((0x0800, 0xffff)),
            network: size.min(14) as u32,
            ..Meta::default()
        };
        let got = program.run(&Packet::new(&packet(case, size as usize), &meta));
        if got != want as u32 {
            return Err(format!("size {size}: {got:#x}, expected {:#x}", want as u32));
        }
    }
    Ok(())
}

#[test]
fn the_kernels_classic_tests() {
    let dir = match suites::dir("test_bpf") {
        Ok(dir) => dir,
        Err(why) => return println!("{why}"),
    };
    let cases = suites::jsonl(&dir.join("dev.jsonl.gz")).expect("the suite is readable");
    let classic: Vec<&Value> = cases.iter().filter(|c| c["kind"] == "classic").collect();
    let failed: Vec<String> =
        classic.iter().filter_map(|c| Some(format!("{}: {}", c["descr"], verdict(c).err()?))).collect();
    println!("test_bpf, classic machine: {} passed, {} failed", classic.len() - failed.len(), failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
