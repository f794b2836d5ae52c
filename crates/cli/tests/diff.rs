//! `skep diff` over the examples: no packet, verdict or map entry differs between the user engine and the running kernel.
//! Where the kernel lets us load nothing the tests say so and pass.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Fields that hold times or depend on them.
const TIMES: [&str; 5] = ["time_ns", "first_ns", "last_ns", "filled_ns", "tokens"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What `skep diff` says of an example; `None` where the kernel may not be used.
fn diff(name: &str, capture: &Path, args: &[&str]) -> Option<Output> {
    let object = format!("examples/{name}/{name}.bpf.o");
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.args(["diff", &object, "--pcap"]).arg(capture).args(args);
    let ran = command.current_dir(root()).output().unwrap();
    if matches!(ran.status.code(), Some(4 | 6)) {
        println!("skipped: {}", String::from_utf8_lossy(&ran.stderr));
        return None;
    }
    Some(ran)
}

fn agree(name: &str, capture: &Path) {
    let ignore: Vec<&str> = TIMES.iter().flat_map(|t| ["--ignore", t]).collect();
    let Some(ran) = diff(name, capture, &ignore) else { return };
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&ran.stderr));
    let packets: u64 = said.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert!(packets > 100 && said.contains(" agree\n") && !said.contains("left out"), "{name}: {said}");
}

fn example(name: &str, capture: &str) -> PathBuf {
    root().join("examples").join(name).join(capture)
}

#[test]
fn dispatch() {
    agree("dispatch", &example("dispatch", "traffic.pcap"));
}

/// Without the flood from 10.0.0.66, which is judged by the clock.
#[test]
fn firewall() {
    let all = std::fs::read(example("firewall", "traffic.pcap")).unwrap();
    let calm = std::env::temp_dir().join(format!("skep-diff-{}.pcap", std::process::id()));
    std::fs::write(&calm, without(&all, [10, 0, 0, 66])).unwrap();
    agree("firewall", &calm);
    std::fs::remove_file(&calm).unwrap();
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

#[test]
fn flowmon() {
    agree("flowmon", &example("flowmon", "traffic.pcap"));
}

#[test]
fn lb() {
    agree("lb", &example("lb", "traffic.pcap"));
}

#[test]
fn pktsize() {
    agree("pktsize", &example("pktsize", "traffic.pcapng"));
}

#[test]
fn sockfilter() {
    agree("sockfilter", &example("sockfilter", "traffic.pcap"));
}

#[test]
fn tcrewrite() {
    agree("tcrewrite", &example("tcrewrite", "traffic.pcap"));
}

/// The clock goes on between the two engines: a field that holds a time differs, and is shown.
#[test]
fn a_difference_is_shown_and_ends_with_one() {
    let Some(ran) = diff("flowmon", &example("flowmon", "traffic.pcap"), &["--ignore", "new_flows"]) else {
        return;
    };
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{said}");
    for part in ["map flows, key ", "  user    {", "  kernel  {", ".first_ns = "] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
}
