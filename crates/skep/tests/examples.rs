//! The user engine and the Linux kernel agree on the examples: on the verdict and the bytes of every packet, and on what
//! the maps hold afterwards. What the kernel said was recorded in `tests/kernel/`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::{Value as J, json};
use skep::btf::Value;
use skep::descriptors::MapType;
use skep::descriptors::Program;
use skep::hooks::capture::Capture;
use skep::hooks::input;
use skep::vm::{Options as Limits, SystemHost, Tier, User, UserProgram};
use skep::{Collection, Loadable, Loaded, Map, Options, Select};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Fields that hold times or depend on them; `tests/kernel/record.py` leaves them out, too.
const TIMES: [&str; 4] = ["first_ns", "last_ns", "filled_ns", "tokens"];

#[test]
fn dispatch() {
    agree("dispatch", "traffic.pcap", |_| false);
}

/// The flood from 10.0.0.66 is judged by the clock, and so are two rows of a table that count what became of it.
#[test]
fn firewall() {
    agree("firewall", "traffic.pcap", |packet| packet.get(26..30) == Some(&[10, 0, 0, 66]));
}

#[test]
fn flowmon() {
    agree("flowmon", "traffic.pcap", |_| false);
}

#[test]
fn lb() {
    agree("lb", "traffic.pcap", |_| false);
}

#[test]
fn pktsize() {
    agree("pktsize", "traffic.pcapng", |_| false);
}

#[test]
fn sockfilter() {
    agree("sockfilter", "traffic.pcap", |_| false);
}

#[test]
fn tcrewrite() {
    agree("tcrewrite", "traffic.pcap", |_| false);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs an example on its capture in every tier and compares with the record; `by_clock` says which packets are judged by
/// the clock.
fn agree(name: &str, capture: &str, by_clock: fn(&[u8]) -> bool) {
    for tier in [Tier::Checked, Tier::Interp, Tier::Baseline] {
        agree_in(tier, name, capture, by_clock);
    }
}

fn agree_in(tier: Tier, name: &str, capture: &str, by_clock: fn(&[u8]) -> bool) {
    let folder = root().join("examples").join(name);
    let engine = engine(tier);
    let c = open(tier, &folder.join(format!("{name}.bpf.o")), name, &engine);
    let loaded = &c.program(name).unwrap().loaded;
    let program = loaded.as_any().downcast_ref::<UserProgram>().unwrap();
    let p = program.program();
    let row = skep::platform().prog_type(p.prog_type).unwrap();
    let mut runner = engine.runner();
    let mut packets = Capture::open(&folder.join(capture)).unwrap();
    let kernel = std::fs::read_to_string(root().join(format!("tests/kernel/{name}.tsv"))).unwrap();
    let mut lines = kernel.lines();
    while let Some(record) = packets.next_packet().unwrap() {
        let given = input::Input { data: Some(record.data), ctx: None };
        let mut ctx = input::context(row, p.attach_type, &given).unwrap();
        let r0 = runner.run(program, &mut ctx).unwrap_or_else(|e| panic!("{}", skep::vm::report(&e)));
        let data = input::output(row, &mut ctx).data.unwrap();
        let theirs: Vec<&str> = lines.next().unwrap().split('\t').collect();
        let ours = [
            theirs[0].to_string(),
            (r0 as u32).to_string(),
            data.len().to_string(),
            format!("{:016x}", fnv1a64(&data)),
        ];
        assert!(
            by_clock(record.data) || ours == theirs[..],
            "{name}, {}: packet {ours:?}, the kernel says {theirs:?}",
            tier.name()
        );
    }
    assert_eq!(lines.next(), None, "the capture is shorter than the record");
    maps_agree(name, &c, engine.host().cpus() as usize);
}

fn engine(tier: Tier) -> User {
    // What a verifier for root accepts may copy padding that was never written.
    let limits = Limits { unset_stack: true, ..Limits::default() };
    User::new(*skep::platform(), Arc::new(SystemHost::new())).with_options(limits).with_tier(tier)
}

/// What is loaded: programs for the other tiers have to be accepted by the verifier.
fn judge(tier: Tier, p: Program) -> Result<Loadable, skep::Error> {
    let p = Arc::new(p);
    if tier == Tier::Checked {
        return Ok(Loadable::Unverified(p));
    }
    let verdict = skep::verifier::verify(&p, skep::platform(), &skep::verifier::Options::default());
    verdict.map(Loadable::Verified).map_err(skep::Error::Refused)
}

fn open(tier: Tier, path: &Path, program: &str, engine: &User) -> Collection {
    let object = skep::Object::parse(&std::fs::read(path).unwrap()).unwrap();
    let names = [program];
    let mut options = Options::default();
    options.select = Select::Named(&names);
    let c = Collection::open(object, engine, &options, &mut |p| judge(tier, p)).unwrap();
    assert!(c.missing.is_empty(), "{:?}", c.missing);
    c
}

fn fnv1a64(data: &[u8]) -> u64 {
    data.iter().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01B3))
}

fn maps_agree(name: &str, c: &Collection, cpus: usize) {
    let kernel = std::fs::read_to_string(root().join(format!("tests/kernel/{name}.maps.json"))).unwrap();
    let kernel: J = serde_json::from_str(&kernel).unwrap();
    let mut compared = 0;
    for map in c.maps.iter().flatten() {
        let def = map.def();
        if matches!(def.map_type, MapType::Ringbuf | MapType::ProgArray) || def.name.contains(".str") {
            continue;
        }
        // A data section is named by the first eight letters of its object there.
        let section = def.name.strip_prefix('.');
        let theirs = match section {
            Some(s) => &kernel[format!("{}_{s}", &name[..name.len().min(8)])],
            None => &kernel[&def.name],
        };
        let theirs: BTreeMap<String, &J> = theirs
            .as_array()
            .unwrap_or_else(|| panic!("{name}: no record of {}", def.name))
            .iter()
            .map(|e| (e["key"].to_string(), &e["value"]))
            .collect();
        let ours = entries(&**map, cpus);
        let by_clock = |key: &str| name == "firewall" && def.name == "counters" && (key == "2" || key == "7");
        for (key, value) in &ours {
            let expected = theirs
                .get(key)
                .unwrap_or_else(|| panic!("{name}: {}[{key}] is not in the kernel's map", def.name));
            assert!(
                by_clock(key) || value == *expected,
                "{name}: {}[{key}] is {value}, the kernel has {expected}",
                def.name
            );
        }
        assert_eq!(ours.len(), theirs.len(), "{name}: number of entries of {}", def.name);
        compared += 1;
    }
    assert!(compared > 0);
}

/// A map's entries in the record's form: by the key's text, copies of the processors added up, without times.
fn entries(map: &dyn Map, cpus: usize) -> BTreeMap<String, J> {
    let def = map.def();
    let types = def.btf.as_ref().unwrap();
    let typed = |id: u32, bytes: &[u8]| json(&Value::read(&types.btf, id, bytes).unwrap());
    let (mut all, mut key, mut value) = (BTreeMap::new(), None::<Vec<u8>>, Vec::new());
    loop {
        let mut next = Vec::new();
        if map.next_key(key.as_deref(), &mut next).is_err() {
            return all;
        }
        map.read(&next, &mut value).unwrap();
        let copies = if value.len() > def.value_size as usize { cpus } else { 1 };
        let stride = value.len() / copies;
        let parts = value.chunks(stride).map(|v| typed(types.value, &v[..def.value_size as usize]));
        let total = parts.reduce(|a, b| add(&a, &b)).unwrap();
        let section = def.name.strip_prefix('.').map(|_| section_form(&def.name, &total));
        let key_text = if section.is_some() { "0".into() } else { typed(types.key, &next).to_string() };
        all.insert(key_text, section.unwrap_or(total));
        key = Some(next);
    }
}

/// A data section as bpftool writes it: a list of one-variable objects under the section's name.
fn section_form(name: &str, variables: &J) -> J {
    let list: Vec<J> = variables.as_object().unwrap().iter().map(|(k, v)| json!({k.as_str(): v})).collect();
    json!({ name: list })
}

fn json(v: &Value<'_>) -> J {
    match v {
        Value::Int(n) => json!(i64::try_from(*n).unwrap()),
        Value::Uint(n) => json!(u64::try_from(*n).unwrap()),
        Value::Bool(b) => json!(b),
        Value::Str(s) => json!(s),
        Value::Array(items) => items.iter().map(json).collect(),
        Value::Struct(fields) => {
            let kept = fields.iter().filter(|(name, _)| !TIMES.contains(name));
            J::Object(kept.map(|(name, v)| (name.to_string(), json(v))).collect())
        }
        other => json!(other.to_string()),
    }
}

fn add(a: &J, b: &J) -> J {
    match (a, b) {
        (J::Object(a), J::Object(b)) => {
            J::Object(a.iter().map(|(k, v)| (k.clone(), add(v, &b[k]))).collect())
        }
        (a, b) => json!(a.as_u64().unwrap() + b.as_u64().unwrap()),
    }
}
