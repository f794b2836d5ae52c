//! Programs of older loaders (legacy maps, other people's compilers) against what a live Linux 6.18 said of them.
//!
//! Found as the other suites are (`SKEP_SUITES`); without it the test says so and checks nothing.
#![allow(clippy::print_stdout)]

mod support;

use skep_platform::map::MapDef;
use skep_platform::{Map, MapType, ProgType};
use skep_verifier::{Options, verify_full};
use std::sync::Arc;
use support::json::Json;
use support::map::{def, paper};
use support::raw::{PLATFORM, program};

/// Differences of verdict, and why. One that goes away fails the test, as does a new one.
const KNOWN: &[(&str, &str)] = &[];

/// How the kernel that judged the suite is configured, where that decides: locked down, and without the option by which
/// kprobes override results.
const JUDGE: &str = "CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY=y\n# CONFIG_BPF_KPROBE_OVERRIDE is not set\n";

fn maps(row: &Json) -> (Vec<String>, Vec<Arc<dyn Map>>) {
    let list = row.get("maps").0.as_array().cloned().unwrap_or_default();
    let mut out: (Vec<String>, Vec<Arc<dyn Map>>) = Default::default();
    for m in list.into_iter().map(Json) {
        let t =
            MapType::ALL.iter().find(|(t, _)| *t as i64 == m.num("type")).map_or(MapType::Array, |(t, _)| *t);
        let mut d = def(m.str("name"), t, m.num("key") as u32, m.num("value") as u32, m.num("max") as u32);
        d.flags = m.num("flags") as u32;
        if matches!(t, MapType::ArrayOfMaps | MapType::HashOfMaps) {
            d.inner = Some(Box::new(inner(m.str("name"))));
        }
        out.0.push(m.str("name").to_owned());
        out.1.push(paper(d));
    }
    out
}

/// What the maps in a map look like. The suite does not say; Cilium's look-up tables hold one entry of this size.
fn inner(outer: &str) -> MapDef {
    let table = outer.ends_with("_maglev");
    def("inner", MapType::Array, 4, if table { 4 * 32_749 } else { 4 }, 1)
}

#[test]
fn agrees_with_linux() {
    let Some(text) = support::suite("samples/dev.jsonl.gz") else { return };
    let list = std::env::var_os("SKEP_LIST").is_some();
    let (mut total, mut verdicts) = (0, 0);
    let mut off = Vec::new();
    for line in text.lines() {
        let row = Json::parse(line).expect("a line of the suite is JSON");
        let name = format!("{}:{}", row.str("file"), row.str("section"));
        let mut p = program(&row);
        p.license = row.str("license").to_owned();
        p.prog_type = ProgType::from_id(row.num("prog_type") as u32).unwrap_or(ProgType::SocketFilter);
        let (names, maps) = maps(&row);
        p.maps = maps;
        for r in row.get("map_refs").0.as_array().into_iter().flatten() {
            let (Some(pc), Some(map)) = (r[0].as_u64(), r[1].as_str()) else { continue };
            let Some(i) = names.iter().position(|n| n == map) else { continue };
            let insn = p.insns[pc as usize];
            let src = if matches!(insn.src(), 2 | 6) { 6 } else { 5 };
            p.insns[pc as usize] = insn.with_src(src).with_imm(i as i32);
        }
        total += 1;
        let accepted = row.str("kernel_verdict") == "accept";
        let options = Options { cpus: 2, config: Some(JUDGE.into()), ..Options::default() };
        match verify_full(&Arc::new(p), &PLATFORM, &options) {
            Ok(_) if accepted => verdicts += 1,
            Err(_) if !accepted => verdicts += 1,
            Ok(_) => off.push((name, "WE ACCEPT: ".to_owned() + row.str("log_tail"))),
            Err(e) => off.push((name, e.to_string())),
        }
    }
    println!("samples: {total} programs, verdict {verdicts}");
    if list {
        off.iter().for_each(|(n, w)| println!("  {n}\n    {w}"));
    }
    let unknown: Vec<_> = off.iter().filter(|(n, _)| !KNOWN.iter().any(|(k, _)| k == n)).collect();
    assert!(unknown.is_empty(), "verdicts differ: {unknown:?}");
    let gone: Vec<_> = KNOWN.iter().filter(|(k, _)| !off.iter().any(|(n, _)| n == k)).collect();
    assert!(gone.is_empty(), "no longer differ, take them off the list: {gone:?}");
}
