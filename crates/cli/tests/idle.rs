//! Commands that wait for records sleep: over two seconds without a record the kernel switches to none of their threads.
//!
//! In namespaces of the test's own, and where those cannot be made the test says so and passes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

use std::path::Path;
use std::process::Command;

const SCRIPT: &str = r#"
mount -t bpf bpf $B && ip link add va type veth peer name vb && ip link set va up && ip link set vb up || exit 77
[ -d /sys/kernel/tracing ] && mount -t tracefs tracefs /sys/kernel/tracing
sysctl -qw net.ipv6.conf.va.disable_ipv6=1 net.ipv6.conf.vb.disable_ipv6=1 2>/dev/null
$S map create $B/rb type ringbuf key 0 value 0 entries 4096 name rb || exit 77
$S map create $B/pe type perf_event_array key 4 value 4 entries $(nproc) name pe
switches() { awk '/ctxt_switches/ { n += $2 } END { print n }' /proc/$1/task/*/status; }
idle() {
    name=$1; shift
    $S "$@" >/dev/null 2>$B.err & p=$!
    sleep 1; a=$(switches $p); sleep 2; b=$(switches $p)
    echo "$name: $((b - a))"
    kill -TERM $p; wait $p
}
idle "ring buffer" map event_pipe pinned $B/rb
idle "perf buffer" map event_pipe pinned $B/pe
idle "follow" run examples/firewall/firewall.bpf.o --engine kernel --iface vb --follow
[ -e /sys/kernel/tracing/trace_pipe ] && idle "tracelog" prog tracelog
exit 0
"#;

#[test]
fn who_waits_for_records_sleeps() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::temp_dir().join(format!("skep-idle-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("bpf")).unwrap();
    let ran = Command::new("unshare")
        .args(["--mount", "--net", "bash", "-c", SCRIPT])
        .current_dir(root)
        .env("S", env!("CARGO_BIN_EXE_skep"))
        .env("B", folder.join("bpf"))
        .output();
    std::fs::remove_dir_all(&folder).unwrap();
    let Ok(ran) = ran.inspect_err(|e| println!("skipped: unshare: {e}")) else { return };
    let (text, said) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    if ran.status.code() == Some(77) || said.contains("unshare failed") {
        return println!("skipped: {said}");
    }
    print!("{text}");
    assert!(text.lines().count() >= 3, "{text}{said}");
    for line in text.lines() {
        // Asleep is none; one is what a busy machine may do to the beginning.
        let switches: u32 = line.rsplit_once(": ").unwrap().1.parse().unwrap();
        assert!(switches <= 1, "{line}");
    }
}
