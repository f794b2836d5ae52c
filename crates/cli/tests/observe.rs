//! Compiled programs as perf and gdb see them: names, source lines and frames. Where a tool is missing the test says so and
//! passes.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SKEP: &str = env!("CARGO_BIN_EXE_skep");
const FIREWALL: [&str; 4] =
    ["run", "examples/firewall/firewall.bpf.o", "--pcap", "examples/firewall/traffic.pcap"];

/// Runs a command in the root of the repository; `None` where there is no such command.
fn said(command: &str, args: &[&str]) -> Option<Output> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match Command::new(command).args(args).current_dir(root).output() {
        Ok(o) => Some(o),
        Err(e) => {
            println!("skipped: {command}: {e}");
            None
        }
    }
}

fn text(o: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr))
}

/// A folder of the test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("skep-observe-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// The file whose name has this beginning and end.
    fn only(&self, begins: &str, ends: &str) -> Option<PathBuf> {
        let name = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().to_owned();
        let mut all = std::fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().path());
        all.find(|p| name(p).starts_with(begins) && name(p).ends_with(ends))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Names and lines go from the dump through perf's own tool into its report; each tier is called by its name.
#[test]
fn perf_reports_programs_by_name_and_line() {
    let folder = Folder::new("perf");
    let (data, named) = (folder.file("perf.data"), folder.file("named.data"));
    let dump = format!("--jitdump={}", folder.0.display());
    for tier in ["baseline", "optimized"] {
        let record = ["record", "-q", "-k", "mono", "-e", "cpu-clock", "-o", &data, SKEP];
        let run = [&FIREWALL[..], &["--repeat", "1000", "--tier", tier, &dump]].concat();
        let Some(recorded) = said("perf", &[&record[..], &run].concat()) else { return };
        let Some(file) = folder.only("jit-", ".dump").filter(|_| Path::new(&data).exists()) else {
            println!("skipped: perf record: {}", text(&recorded));
            return;
        };
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let injected = said("perf", &["inject", "-f", "--jit", "-i", &data, "-o", &named]).unwrap();
        if !injected.status.success() {
            println!("skipped: perf inject: {}", text(&injected));
            return;
        }
        let report = said("perf", &["report", "-f", "--stdio", "-i", &named, "--sort", "symbol"]).unwrap();
        let name = format!("bpf_prog_firewall [{tier}]");
        assert!(text(&report).contains(&name), "{}", text(&report));
        let object = folder.only("jitted-", "-0.so").unwrap();
        let args = ["--debug-dump=decodedline", object.to_str().unwrap()];
        if let Some(lines) = said("readelf", &args) {
            assert!(text(&lines).contains("firewall.bpf.c"), "{}", text(&lines));
        }
        for file in std::fs::read_dir(&folder.0).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

/// A map for `perf report` alone, which finds it by the process's number.
#[test]
fn the_perf_map_is_its_owners() {
    let run = [&FIREWALL[..], &["--tier", "baseline", "--perf-map"]].concat();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let child = Command::new(SKEP).args(run).current_dir(root).stdout(std::process::Stdio::null()).spawn();
    let mut child = child.unwrap();
    let path = PathBuf::from(format!("/tmp/perf-{}.map", child.id()));
    assert!(child.wait().unwrap().success());
    let names = std::fs::read_to_string(&path).unwrap();
    let mode = path.metadata().unwrap().permissions().mode() & 0o777;
    std::fs::remove_file(&path).unwrap();
    for name in ["bpf_prog_firewall [baseline]", "bpf_prog_firewall::describe [baseline]"] {
        assert!(names.lines().any(|l| l.ends_with(&format!(" {name}"))), "{names}");
    }
    assert_eq!(mode, 0o600);
}

/// What gdb says to commands, at a breakpoint of a run.
fn gdb(commands: &[&str], run: &[&str]) -> Option<String> {
    let mut args = vec!["-batch", "-nx", "-ex", "set breakpoint pending on", "-ex", "set pagination off"];
    commands.iter().for_each(|c| args.extend(["-ex", c]));
    args.extend(["-ex", "kill", "--args", SKEP]);
    args.extend(run);
    let said = text(&said("gdb", &args)?);
    if said.contains("ptrace: Operation not permitted") || said.contains("Could not trace the inferior") {
        println!("skipped: gdb may not trace: {said}");
        return None;
    }
    Some(said)
}

#[test]
fn gdb_stops_at_source_lines_and_knows_the_callers() {
    for tier in ["baseline", "optimized"] {
        let run = [&FIREWALL[..], &["--tier", tier, "--gdb"]].concat();
        let commands = ["break firewall.bpf.c:598", "run", "bt", "info symbol $pc"];
        let Some(said) = gdb(&commands, &run) else { return };
        let stopped = "Breakpoint 1, bpf_prog_firewall () at ./examples/firewall/firewall.bpf.c:598";
        assert!(said.contains(stopped), "{tier}: {said}");
        assert!(said.contains("in-memory@"), "{tier}: {said}");
        // The frames behind it are those of the engine, down to the process's first.
        assert!(said.contains("run_leaf") && said.contains("main"), "{tier}: {said}");
    }
}

/// A program that is reached by a tail call has its own name, and its callers are known, too.
#[test]
fn gdb_stops_in_programs_that_are_tail_called() {
    for tier in ["baseline", "optimized"] {
        let run = ["run", "examples/dispatch/dispatch.bpf.o", "--pcap", "examples/dispatch/traffic.pcap"];
        let run = [&run[..], &["--prog", "dispatch", "--tier", tier, "--gdb"]].concat();
        let Some(said) = gdb(&["break bpf_prog_on_tcp", "run", "bt"], &run) else { return };
        assert!(said.contains("Breakpoint 1, bpf_prog_on_tcp () at"), "{tier}: {said}");
        assert!(said.contains("skep_vm::native") && said.contains("main"), "{tier}: {said}");
    }
}

/// Nothing is written unasked, and tiers without code say so.
#[test]
fn only_compiled_code_has_names() {
    for flag in ["--perf-map", "--jitdump", "--gdb"] {
        let refused = said(SKEP, &[&FIREWALL[..], &["--tier", "checked", flag]].concat()).unwrap();
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused).contains("goes with the tiers that compile, not checked"), "{flag}");
    }
    let missing = said(SKEP, &[&FIREWALL[..], &["--jitdump=/no/such/folder"]].concat()).unwrap();
    assert!(text(&missing).contains("/no/such/folder"), "{}", text(&missing));
    assert_eq!(missing.status.code(), Some(3));
}

/// Functions by name, source lines and eBPF instructions stand beside machine code; targets of jumps are offsets in it.
#[test]
fn machine_code_is_shown_beside_instructions_and_lines() {
    for (tier, functions) in
        [("baseline", &["firewall", "fill_tables", "describe"][..]), ("optimized", &["firewall"])]
    {
        let dump = ["prog", "dump", "jited", FIREWALL[1], "--tier", tier];
        let shown = text(&said(SKEP, &dump).unwrap());
        let named: Vec<&str> =
            shown.lines().filter_map(|l| l.strip_suffix(':')).filter(|l| !l.contains(';')).collect();
        assert_eq!(named, functions, "{tier}");
        let lines = shown
            .lines()
            .filter(|l| l.contains("[file:./examples/firewall/firewall.bpf.c line_num:"))
            .count();
        let insns: std::collections::BTreeSet<usize> =
            shown.lines().filter_map(|l| l.strip_prefix("; ")?.split_once(": ")?.0.parse().ok()).collect();
        let jumps = shown.lines().filter(|l| l.contains("\tjmp ") || l.contains("\tje ")).count();
        assert!(lines > 100 && insns.len() > 400 && jumps > 10, "{tier}: {lines} {} {jumps}", insns.len());
        assert!(insns.iter().all(|i| *i < 1000), "{tier}");
        let bytes = text(&said(SKEP, &[&dump[..], &["--opcodes"]].concat()).unwrap());
        assert!(bytes.lines().any(|l| l == "\t55"), "{tier}: push rbp");
        // Addresses of maps are others each time.
        let code = |text: &str| text.lines().filter(|l| !l.starts_with('\t')).count();
        assert_eq!(code(&bytes), code(&shown), "{tier}");
    }
}
