//! `skep run --engine kernel --iface`: programs on a device of the test's own network namespace, until interrupted, until the
//! time is over, and when the process is killed.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

use std::path::Path;
use std::process::Command;

const SCRIPT: &str = r#"
ip link add va type veth peer name vb && ip link set va up && ip link set vb up || { echo no devices; exit 77; }
R="$S run examples/firewall/firewall.bpf.o --engine kernel --iface vb"
waits() { for i in $(seq 100); do $S net show dev vb | grep -q firewall && return; sleep 0.1; done; echo never attached; }
attached() { $S net show dev vb | grep -c firewall; }
echo "timed: $($R --duration 0.5 -j 2>/dev/null | head -c 60) left $(attached)"
$R --duration 60 >out 2>err & p=$!; waits; echo "while: $(attached)"; kill -TERM $p; wait $p
echo "interrupted: code $? left $(attached) $(head -n1 out | cut -d: -f1)"
$R --duration 60 >out 2>&1 & p=$!; waits; kill -KILL $p; wait $p 2>/dev/null; for i in $(seq 50); do [ $(attached) = 0 ] && break; sleep 0.1; done
echo "killed: left $(attached)"
$S run examples/firewall/firewall.bpf.o --engine kernel --iface none; echo "none: $?"
$S run examples/firewall/firewall.bpf.o --engine kernel --attach; echo "open: $?"
$S run examples/firewall/firewall.bpf.o --iface vb; echo "user: $?"
"#;

#[test]
fn until_the_end() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tmp = std::env::temp_dir().join(format!("skep-live-{}", std::process::id()));
    std::fs::create_dir_all(&tmp).unwrap();
    let script = SCRIPT
        .replace(" >out", &format!(" >{}/out", tmp.display()))
        .replace("2>err", &format!("2>{}/err", tmp.display()));
    let script = script.replace("n1 out", &format!("n1 {}/out", tmp.display()));
    let out = Command::new("unshare")
        .args(["-n", "bash", "-c", &script])
        .current_dir(&root)
        .env("S", env!("CARGO_BIN_EXE_skep"))
        .output();
    std::fs::remove_dir_all(&tmp).unwrap();
    let Ok(out) = out.inspect_err(|e| println!("skipped: unshare: {e}")) else { return };
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    if out.status.code() == Some(77) || said.contains("unshare failed") || said.contains("CAP_BPF") {
        println!("skipped: {text}{said}");
        return;
    }
    let wanted = [
        r#"timed: {"apiVersion":1,"programs":[{"prog":"firewall","place":"xdp  left 0"#,
        "while: 1",
        "interrupted: code 130 left 0 firewall on xdp of vb",
        "killed: left 0",
        "none: 3",
        "open: 2",
        "user: 6",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), wanted, "{said}");
    assert!(said.contains("there is no network device \"none\""), "{said}");
    assert!(said.contains("name the network device"), "{said}");
}
