//! Mutated programs of the raw suite with our verdicts, for a comparison with a kernel elsewhere.
//!
//! `SKEP_MUTANTS=N` writes N rows a program to the file that `SKEP_MUTANTS_OUT` names: JSON lines with `insns` (hex),
//! `prog_type`, `fixups` as in the suite, and `accept`, `message` of ours. Same seed, same mutants. Without it, a
//! short run only asserts that nothing panics.
#![allow(clippy::print_stdout)]

mod support;

use std::fmt::Write as _;
use std::io::Write as _;
use support::{json::Json, raw};

struct Rng(u64);

impl Rng {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// One byte-level change that keeps most programs legal.
fn mutate(code: &mut [u8], rng: &mut Rng) {
    let slots = (code.len() / 8) as u64;
    let at = rng.next(slots) as usize * 8;
    let other = rng.next(slots) as usize * 8;
    match rng.next(8) {
        0 => code[at + 1] = (code[at + 1] & 0xf0) | rng.next(11) as u8,
        1 => code[at + 1] = (code[at + 1] & 0x0f) | (rng.next(11) as u8) << 4,
        2 => code[at + 4] = code[at + 4].wrapping_add(rng.next(5) as u8).wrapping_sub(2),
        3 => code[at + 2] = code[at + 2].wrapping_add(rng.next(17) as u8).wrapping_sub(8),
        4 => code[at + 4..at + 8].copy_from_slice(&(rng.next(1 << 32) as u32).to_le_bytes()),
        5 if code[at] & 7 == 5 => code[at] = (code[at] & 0x0f) | ((rng.next(14) as u8) << 4),
        6 if code[at] & 7 == 7 => code[at] ^= 3,
        5 | 6 => code[at] = (code[at] & 0x0f) | ((rng.next(14) as u8) << 4),
        _ => {
            let copy: [u8; 8] = code[other..other + 8].try_into().unwrap_or_default();
            code[at..at + 8].copy_from_slice(&copy);
        }
    }
}

#[test]
fn mutants_are_judged() {
    let Some(text) = support::suite("test_verifier/dev.jsonl.gz") else { return };
    let count: u64 = std::env::var("SKEP_MUTANTS").ok().and_then(|v| v.parse().ok()).unwrap_or(1);
    let seed: u64 = std::env::var("SKEP_SEED").ok().and_then(|v| v.parse().ok()).unwrap_or(0x5eed);
    let mut out =
        std::env::var_os("SKEP_MUTANTS_OUT").map(|p| std::fs::File::create(p).expect("the file can be made"));
    let mut rng = Rng(seed);
    let mut judged = 0;
    for line in text.lines() {
        let row = Json::parse(line).expect("a line of the suite is JSON");
        let kinds_known = row.get("fixups").0.as_object().is_none_or(|f| {
            f.keys().all(|k| {
                ["map_hash_8b", "map_hash_48b", "map_array_48b", "map_array_small"].contains(&k.as_str())
            })
        });
        let plain = row.get("kfuncs").0.as_array().is_none_or(Vec::is_empty) && !row.bool("has_btf");
        if !kinds_known || !plain || row.num("prog_type") > 25 {
            continue;
        }
        let hex = row.str("insns");
        let code: Vec<u8> =
            (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap_or(0)).collect();
        for _ in 0..count {
            let mut code = code.clone();
            for _ in 0..1 + rng.next(3) {
                mutate(&mut code, &mut rng);
            }
            let fixups_hold = row.get("fixups").0.as_object().is_none_or(|f| {
                f.values().flat_map(|v| v.as_array().cloned().unwrap_or_default()).all(|pc| {
                    let at = pc.as_u64().unwrap_or(0) as usize * 8;
                    code[at] == 0x18 && matches!(code[at + 1] >> 4, 1 | 2)
                })
            });
            if !fixups_hold {
                continue;
            }
            let mut row = row.clone();
            let hex = code.iter().fold(String::new(), |mut s, b| {
                let _ = write!(s, "{b:02x}");
                s
            });
            row.0["insns"] = hex.into();
            let ours = raw::verify(&row);
            judged += 1;
            if let Some(f) = &mut out {
                let message = ours.as_ref().map_or_else(|e| e.message().to_owned(), |_| String::new());
                row.0["accept"] = ours.is_ok().into();
                row.0["message"] = message.into();
                row.0["kernel"] = serde_json::Value::Null;
                row.0["data"] = serde_json::Value::Null;
                writeln!(f, "{}", row.0).expect("the file can be written");
            }
        }
    }
    println!("{judged} mutants judged");
    assert!(judged > 100);
}
