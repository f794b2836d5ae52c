//! The examples in the user engine, packet by packet, against what a live Linux kernel made of them (`tests/kernel`):
//! return value, length and bytes of the packet afterwards, and how many entries every map has.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say what it did")]

use skep::descriptors::Version;
use skep::hooks::capture::Capture;
use skep::hooks::input::{Input, context, output};
use skep::vm::{FixedHost, User};
use skep::{Collection, Loadable, Map, Object, Options};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// FNV-1a, as the record has it.
fn fnv1a64(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ *b as u64).wrapping_mul(0x100_0000_01b3))
}

/// One line of the record: return value, length, hash.
type Row = (u32, usize, u64);

fn recorded(name: &str) -> Vec<Row> {
    let text = std::fs::read_to_string(root().join(format!("tests/kernel/{name}.tsv"))).unwrap();
    let row = |line: &str| {
        let f: Vec<&str> = line.split('\t').collect();
        (f[1].parse().unwrap(), f[2].parse().unwrap(), u64::from_str_radix(f[3], 16).unwrap())
    };
    text.lines().map(row).collect()
}

/// Opens an example's object in an engine whose clock stands still.
fn open(name: &str) -> (User, Collection) {
    assert!(skep::platform().version >= Version(6, 18));
    let bytes = std::fs::read(root().join(format!("examples/{name}/{name}.bpf.o"))).unwrap();
    let object = Object::parse(&bytes).unwrap();
    let user = User::new(*skep::platform(), Arc::new(FixedHost::new(1)))
        // The kernel lets root read stack bytes that were never written, and clang makes use of it for padding.
        .with_options(skep::vm::Options { unset_stack: true, ..skep::vm::Options::default() });
    let judge = &mut |p| Ok(Loadable::Unverified(Arc::new(p)));
    let collection = Collection::open(object, &user, &Options::default(), judge).unwrap();
    (user, collection)
}

fn capture_of(name: &str) -> PathBuf {
    let folder = root().join("examples").join(name);
    ["traffic.pcap", "traffic.pcapng"].map(|f| folder.join(f)).into_iter().find(|p| p.exists()).unwrap()
}

/// Runs every packet of the example's capture; differences from the record, but for packets that `free` lets go.
fn compare(name: &str, free: impl Fn(&[u8]) -> bool) {
    let (engine, collection) = open(name);
    let loaded = &collection.program(name).unwrap().loaded;
    let program = loaded.program();
    let row = skep::platform().prog_type(program.prog_type).unwrap();
    let want = recorded(name);
    let mut capture = Capture::open(&capture_of(name)).unwrap();
    let (mut n, mut compared, mut wrong) = (0, 0, Vec::new());
    while let Some(record) = capture.next_packet().unwrap() {
        let input = Input { data: Some(record.data), ctx: None };
        let mut ctx = context(row, program.attach_type, &input).unwrap();
        let r0 = skep::Engine::test_run(&engine, &**loaded, &mut ctx)
            .unwrap_or_else(|e| panic!("{name} {n}: {e}"));
        let data = output(row, &mut ctx).data.unwrap();
        let got: Row = (r0 as u32, data.len(), fnv1a64(&data));
        if !free(record.data) {
            compared += 1;
            if got != want[n] {
                wrong.push(format!("packet {n}: kernel {:x?}, here {got:x?}", want[n]));
            }
        }
        n += 1;
    }
    assert_eq!(n, want.len(), "{name}: packets");
    println!("{name}: {compared} of {n} packets compared");
    assert!(compared > 100, "{name}: {compared} packets compared");
    assert!(wrong.is_empty(), "{name}: {} differ\n{}", wrong.len(), wrong.join("\n"));
    for (map, entries) in recorded_maps(name) {
        let Some(map) = collection.map(&map) else { panic!("{name}: no map {map}") };
        assert_eq!(count(&**map), entries, "{name}: entries of {}", map.def().name);
    }
}

/// Names of the recorded maps of entries (data sections have names of the loader's making), and how many entries each has.
fn recorded_maps(name: &str) -> Vec<(String, usize)> {
    let text = std::fs::read_to_string(root().join(format!("tests/kernel/{name}.maps.json"))).unwrap();
    let mut maps: Vec<(String, usize)> = Vec::new();
    for line in text.lines() {
        if let Some(map) = line.strip_prefix(" \"").and_then(|l| l.strip_suffix("\": [")) {
            maps.push((map.to_string(), 0));
        } else if let (true, Some(last)) = (line.starts_with("  {"), maps.last_mut()) {
            last.1 += 1;
        }
    }
    let section = |m: &str| ["_bss", "_data", "_rodata", "_str1_1"].iter().any(|s| m.ends_with(s));
    maps.retain(|(m, _)| !section(m));
    maps
}

fn count(map: &dyn Map) -> usize {
    let (mut key, mut next, mut n) = (Vec::new(), Vec::new(), 0);
    while map.next_key((n > 0).then_some(&key[..]), &mut next).is_ok() {
        std::mem::swap(&mut key, &mut next);
        n += 1;
    }
    n
}

#[test]
fn dispatch() {
    compare("dispatch", |_| false);
}

#[test]
fn firewall() {
    // How many packets of the flood pass depends on the clock.
    compare("firewall", |p| p.windows(4).nth(26) == Some(&[10, 0, 0, 66]));
}

#[test]
fn flowmon() {
    compare("flowmon", |_| false);
}

#[test]
fn lb() {
    compare("lb", |_| false);
}

#[test]
fn pktsize() {
    compare("pktsize", |_| false);
}

#[test]
fn sockfilter() {
    compare("sockfilter", |_| false);
}

#[test]
fn tcrewrite() {
    compare("tcrewrite", |_| false);
}
