//! Suite `samples`: real programs of many years that the kernel's verifier accepts run without a fault, on an empty packet
//! and an empty context, with maps made as they ask and left empty.

#![allow(clippy::print_stdout)]

use serde_json::Value;
use skep_isa::Insn;
use skep_platform::Fault;
use skep_platform::ctx::UserRun;
use skep_platform::engine::Engine;
use skep_platform::map::{Map, MapDef};
use skep_platform::program::Program;
use skep_platform::uapi::{MapType, ProgType};
use skep_testkit::{programs, suites};
use skep_vm::{FixedHost, Options, Tier, User, report};
use std::collections::BTreeMap;
use std::sync::Arc;

mod tier;

enum Odd {
    Skipped(String),
    Failed(String),
}

fn def(m: &Value) -> Option<MapDef> {
    let n = |key: &str| m[key].as_u64().map(|n| n as u32);
    let map_type = MapType::from_id(n("type")?)?;
    let of_maps = matches!(map_type, MapType::ArrayOfMaps | MapType::HashOfMaps);
    let mut def = MapDef {
        name: m["name"].as_str()?.into(),
        map_type,
        key_size: n("key")?,
        value_size: n("value")?,
        max_entries: n("max")?,
        flags: n("flags")?,
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: None,
    };
    if of_maps {
        let inner =
            MapDef { map_type: MapType::Array, key_size: 4, value_size: 4, max_entries: 1, ..def.clone() };
        def.inner = Some(Box::new(inner));
    }
    Some(def)
}

fn program(engine: &User, case: &Value) -> Result<Program, Odd> {
    let skip = |why: &str| Odd::Skipped(why.into());
    let prog_type = case["prog_type"].as_u64().and_then(|n| ProgType::from_id(n as u32));
    let bytes = case["insns"].as_str().and_then(suites::hex).ok_or(skip("no instructions"))?;
    let mut insns = Insn::slice_from_bytes(&bytes).map_err(|e| skip(&e.to_string()))?;
    let mut maps: Vec<Arc<dyn Map>> = Vec::new();
    let mut index = BTreeMap::new();
    for m in case["maps"].as_array().into_iter().flatten() {
        let def = def(m).ok_or(skip("a map that is not known"))?;
        index.insert(def.name.clone(), maps.len());
        maps.push(engine.create_map(&def).map_err(|e| skip(&e.why))?);
    }
    for r in case["map_refs"].as_array().into_iter().flatten() {
        let at = r[0].as_u64().and_then(|n| insns.get_mut(n as usize));
        let (Some(slot), Some(i)) = (at, r[1].as_str().and_then(|n| index.get(n))) else {
            return Err(skip("a reference to a map that is not there"));
        };
        *slot = slot.with_src(if slot.src() == 2 { 6 } else { 5 }).with_imm(*i as i32);
    }
    let license = case["license"].as_str().unwrap_or("").to_string();
    let bare = programs::program(prog_type.ok_or(skip("program type"))?, insns);
    Ok(Program { license, maps, ..bare })
}

fn run(tier: Tier, engine: &User, case: &Value) -> Result<(), Odd> {
    let program = program(engine, case)?;
    let row = engine.platform().prog_type(program.prog_type).ok_or(Odd::Skipped("no row".into()))?;
    let layout = row.layouts.first().map(|(_, l)| *l).ok_or(Odd::Skipped("no layout".into()))?;
    let mut ctx = match row.user {
        UserRun::Packets => programs::packet(layout, &[0; 64]),
        _ => programs::plain(layout, &vec![0; layout.size.into()]),
    };
    if tier != Tier::Checked && row.user != UserRun::Packets {
        return Err(Odd::Skipped("needs kernel objects in its context".into()));
    }
    let loaded = engine.load(tier::loadable(tier, program));
    let loaded = loaded.map_err(|e| Odd::Failed(e.to_string()))?;
    match engine.test_run(&*loaded, &mut ctx) {
        Ok(_) => Ok(()),
        Err(e) if matches!(e.fault, Fault::NoHelper { .. }) => Err(Odd::Skipped(e.fault.to_string())),
        Err(e) => Err(Odd::Failed(report(&e))),
    }
}

#[test]
fn accepted_samples_run_without_a_fault() {
    let dir = match suites::dir("samples") {
        Ok(dir) => dir,
        Err(why) => return println!("{why}"),
    };
    let cases = suites::jsonl(&dir.join("dev.jsonl.gz")).expect("the suite is readable");
    let options = Options { unset_stack: true, ..Options::default() };
    for tier in tier::TIERS {
        all_run(*tier, options, &cases);
    }
}

fn all_run(tier: Tier, options: Options, cases: &[Value]) {
    let engine =
        User::new(*skep::platform(), Arc::new(FixedHost::new(2))).with_options(options).with_tier(tier);
    let (mut passed, mut skipped, mut failed) = (0, BTreeMap::<String, usize>::new(), Vec::new());
    for case in cases.iter().filter(|c| c["kernel_verdict"] == "accept") {
        match run(tier, &engine, case) {
            Ok(()) => passed += 1,
            Err(Odd::Skipped(why)) => *skipped.entry(why).or_default() += 1,
            Err(Odd::Failed(why)) => failed.push(format!("{} {}: {why}", case["file"], case["section"])),
        }
    }
    println!("samples, accepted, {}: {passed} passed, {} failed", tier.name(), failed.len());
    for (why, n) in &skipped {
        println!("skipped {n}: {why}");
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
