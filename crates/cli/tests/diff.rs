//! `skep diff` over all examples: no packet, verdict or map entry differs between the user engine and the running kernel.
//! Where the kernel lets us load nothing the tests say so and pass.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Fields that hold times or depend on them.
const TIMES: [&str; 5] = ["time_ns", "first_ns", "last_ns", "filled_ns", "tokens"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What an example's programs run on, and the object's and the input's place.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("dispatch", "--pcap", "traffic.pcap"),
    ("firewall", "--pcap", "traffic.pcap"),
    ("flowmon", "--pcap", "traffic.pcap"),
    ("lb", "--pcap", "traffic.pcap"),
    ("pktsize", "--pcap", "traffic.pcapng"),
    ("sockfilter", "--pcap", "traffic.pcap"),
    ("switches", "--ctx-in", "context.bin"),
    ("tcrewrite", "--pcap", "traffic.pcap"),
];

/// What `skep diff` says of an example; `None` where the kernel may not be used.
fn diff(name: &str, option: &str, input: &Path, args: &[&str]) -> Option<Output> {
    let object = format!("examples/{name}/{name}.bpf.o");
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.args(["diff", &object, option]).arg(input).args(args);
    let ran = command.current_dir(root()).output().unwrap();
    if matches!(ran.status.code(), Some(4 | 6)) {
        println!("skipped: {}", String::from_utf8_lossy(&ran.stderr));
        return None;
    }
    Some(ran)
}

fn example(name: &str, input: &str) -> PathBuf {
    root().join("examples").join(name).join(input)
}

/// Every folder of `examples` that has a program stands in the table, so that a new one is compared, too.
#[test]
fn every_example_is_compared() {
    let entries = std::fs::read_dir(root().join("examples")).unwrap().map(|e| e.unwrap());
    let with_object = entries.filter_map(|e| {
        let name = e.file_name().into_string().unwrap();
        e.path().join(format!("{name}.bpf.c")).exists().then_some(name)
    });
    let mut found: Vec<String> = with_object.collect();
    found.sort();
    assert_eq!(found, EXAMPLES.iter().map(|e| e.0).collect::<Vec<_>>());
}

#[test]
fn the_engines_agree_on_every_example() {
    for (name, option, input) in EXAMPLES {
        let mut input = example(name, input);
        if *name == "firewall" {
            input = calm(&input);
        }
        let ignore: Vec<&str> = TIMES.iter().flat_map(|t| ["--ignore", t]).collect();
        let Some(ran) = diff(name, option, &input, &ignore) else { return };
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&ran.stderr));
        let runs: u64 = said.split_whitespace().nth(2).unwrap().parse().unwrap();
        let compared = said.lines().next_back().unwrap().starts_with("maps: ");
        assert!(compared && !said.contains("left out") && !said.contains("maps: 0 "), "{name}: {said}");
        assert!(if *option == "--pcap" { runs > 100 } else { runs == 1 }, "{name}: {said}");
        println!("{name}: {}", said.trim_end().replace('\n', "; "));
    }
}

/// The capture without the flood from 10.0.0.66, which the firewall judges by the clock.
fn calm(capture: &Path) -> PathBuf {
    let all = std::fs::read(capture).unwrap();
    let calm = Path::new(env!("CARGO_TARGET_TMPDIR")).join("calm.pcap");
    std::fs::write(&calm, without(&all, [10, 0, 0, 66])).unwrap();
    calm
}

/// A pcap file without the IPv4 packets from an address.
fn without(pcap: &[u8], source: [u8; 4]) -> Vec<u8> {
    let (header, mut rest) = pcap.split_at(24);
    let mut out = header.to_vec();
    while let Some(length) = rest.get(8..12) {
        let end = 16 + u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let (record, after) = rest.split_at(end);
        if record.get(16 + 26..16 + 30) != Some(&source) {
            out.extend_from_slice(record);
        }
        rest = after;
    }
    assert!(out.len() < pcap.len());
    out
}

/// The clock goes on between the two engines: a field that holds a time differs, and is shown.
#[test]
fn a_difference_is_shown_and_ends_with_one() {
    let Some(ran) =
        diff("flowmon", "--pcap", &example("flowmon", "traffic.pcap"), &["--ignore", "new_flows"])
    else {
        return;
    };
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{said}");
    for part in ["map flows, key ", "  user    {", "  kernel  {", ".first_ns = "] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
}
