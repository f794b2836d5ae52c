//! `skep run --engine kernel`: the same report as the user engine's, refusals with exit code 5, missing rights with 4. Where
//! the kernel lets us load nothing the tests say so and pass.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

use std::path::Path;
use std::process::{Command, Output};

fn skep(args: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new(env!("CARGO_BIN_EXE_skep")).args(args).current_dir(root).output().unwrap()
}

/// Whether programs can be loaded here; says so if not.
fn kernel() -> bool {
    let (object, capture) = ("examples/pktsize/pktsize.bpf.o", "examples/pktsize/traffic.pcapng");
    let ran = skep(&["run", object, "--pcap", capture, "--engine", "kernel"]);
    let said = String::from_utf8_lossy(&ran.stderr);
    match ran.status.code() {
        Some(0) => true,
        Some(4 | 6) => {
            println!("skipped: {said}");
            false
        }
        code => panic!("exit {code:?}: {said}"),
    }
}

/// A report without its times.
fn report(name: &str, engine: &str, capture: &str) -> String {
    let object = format!("examples/{name}/{name}.bpf.o");
    let capture = format!("examples/{name}/{capture}");
    let ran = skep(&["run", &object, "--pcap", &capture, "--engine", engine, "--cpu", "0"]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = String::from_utf8(ran.stdout).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    format!("{}\n{rest}", first.rsplit_once(", ").unwrap().0)
}

#[test]
fn the_same_report_from_both_engines() {
    if !kernel() {
        return;
    }
    // Those whose maps hold no times.
    for (name, capture) in [
        ("dispatch", "traffic.pcap"),
        ("lb", "traffic.pcap"),
        ("pktsize", "traffic.pcapng"),
        ("sockfilter", "traffic.pcap"),
        ("tcrewrite", "traffic.pcap"),
    ] {
        assert_eq!(report(name, "user", capture), report(name, "kernel", capture), "{name}");
    }
}

/// The kernel counts as the user engine does: every run of the program that is called, and its time.
#[test]
fn runs_are_counted_on_both_engines() {
    let engines: &[&str] = if kernel() { &["user", "kernel"] } else { &["user"] };
    for engine in engines {
        let (object, capture) = ("examples/pktsize/pktsize.bpf.o", "examples/pktsize/traffic.pcapng");
        let args = ["run", object, "--pcap", capture, "--engine", engine, "--repeat", "3"];
        let ran = skep(&[&args[..], &["--stats", "-j"]].concat());
        let row: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!(row["run_cnt"].as_u64().unwrap(), 3 * row["packets"].as_u64().unwrap(), "{engine}");
        assert!(row["run_time_ns"].as_u64().unwrap() > 0, "{engine}");
        let shown = text(&skep(&[&args[..], &["--stats"]].concat()).stdout);
        let line = format!(" run_cnt {}", row["run_cnt"]);
        let has = |l: &str| l.starts_with("  run_time_ns ") && l.ends_with(&line);
        assert!(shown.lines().any(has), "{shown}");
        let unasked = &args[..args.len() - 2];
        assert!(!text(&skep(unasked).stdout).contains("run_cnt"), "nobody asked");
    }
}

/// What both verifiers say of each program: the kernel's refusal is told with line, values, causes and fix as our own is.
/// `tests/objects/src/refused.c` has the cases.
#[test]
fn refusals_of_the_kernel_are_explained_as_our_own() {
    if !kernel() {
        return;
    }
    let object = "tests/objects/refused.o";
    let listed = skep(&["obj", "show", object, "-j"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let names: Vec<&str> =
        listed["programs"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    let (mut equal, mut with_line, mut rules, mut differ) =
        (0, 0, std::collections::BTreeSet::new(), Vec::new());
    for name in &names {
        let ours = skep(&["verify", object, "--prog", name]);
        let theirs = skep(&["run", object, "--prog", name, "--ctx-in", "/dev/null", "--engine", "kernel"]);
        assert_eq!((ours.status.code(), theirs.status.code()), (Some(5), Some(5)), "{name}");
        let (ours, theirs) = (text(&ours.stdout), text(&theirs.stderr));
        // `OBJ: PROG (type): refused [SK-304 rule]` and `skep: OBJ: PROG: refused [SK-304 rule]`.
        let report = |t: &str| t.split_once("refused [").map(|(_, r)| r.trim_end().to_owned());
        match (report(&ours), report(&theirs)) {
            (Some(a), Some(b)) if a == b => {
                rules.insert(a.split(']').next().unwrap().to_owned());
                let explained =
                    ["because\n", " holds ", "  reached by ", "  fix: "].iter().any(|p| a.contains(p));
                equal += 1;
                with_line += usize::from(explained && a.contains("  --> ./tests/objects/src/refused.c:"));
            }
            _ => differ.push(format!("{name}\n{ours}\n{theirs}")),
        }
    }
    println!(
        "{equal} of {} refusals are told alike, {with_line} with source line and cause, of {} rules",
        names.len(),
        rules.len()
    );
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(with_line >= 20 && rules.len() >= 10);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_refusal_shows_line_phrase_and_fix() {
    if !kernel() {
        return;
    }
    let ran = skep(&[
        "run",
        "tests/objects/no_license.o",
        "--prog",
        "wants_gpl",
        "--ctx-in",
        "/dev/null",
        "--engine",
        "kernel",
    ]);
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(5), "{said}");
    for part in
        ["cannot call GPL-restricted function", "no_license.c:6:54", "bpf_printk(", "fix: put the program"]
    {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
}

#[test]
fn options_of_the_other_engine_are_usage_errors() {
    let ran = skep(&[
        "run",
        "examples/lb/lb.bpf.o",
        "--data-in",
        "/dev/null",
        "--engine",
        "kernel",
        "--tier",
        "checked",
    ]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("--tier"));
}

#[test]
fn redirected_packets_go_somewhere_without_a_target() {
    if !kernel() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("skep-redirect-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let text = ".license \"GPL\"\n.section xdp\n.func away\n    r0 = 4\n    exit\n";
    std::fs::write(file("away.s"), text).unwrap();
    let made = skep(&["asm", &file("away.s"), &file("away.o")]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (object, out) = (file("away.o"), file("out.pcap"));
    let capture = "examples/lb/traffic.pcap";
    let ran = skep(&["run", &object, "--pcap", capture, "--pcap-out", &out, "--engine", "kernel", "-j"]);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(said.contains("\"retval\":{\"XDP_REDIRECT\":387}") && said.contains("\"written\":387"), "{said}");
    assert!(!said.contains("redirects"), "{said}");
}
