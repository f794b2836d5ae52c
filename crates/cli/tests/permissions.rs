//! What is said where the kernel says no, each case brought about for real: capabilities taken away, a user namespace, bpf(2)
//! forbidden by seccomp, the kernel's types hidden, memory that may not be locked, a hook that is taken, a device that is not
//! there, a program that is refused. A sentence names the cause and what to do next.
//!
//! Everything happens in namespaces of the test's own; where it cannot, the test says so and passes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

use std::path::Path;
use std::process::Command;

/// Name of the case, what is run (bash), exit code, and parts of what is said: cause, then next step.
const CASES: &[(&str, &str, i32, &[&str])] = &[
    (
        "no capabilities",
        "setpriv --bounding-set=-bpf,-sys_admin,-net_admin,-perfmon $S prog load $LB $B/x",
        4,
        &["CAP_BPF (for loading anything)", "CAP_NET_ADMIN", "CAP_PERFMON", "run as root", "setcap cap_bpf"],
    ),
    (
        "one capability missing",
        "setpriv --bounding-set=-bpf,-sys_admin $S map create $B/m type array key 4 value 4 entries 1 name m",
        4,
        &["CAP_BPF (for loading anything) is missing", "setcap"],
    ),
    (
        "listing without rights",
        "setpriv --bounding-set=-sys_admin $S prog show",
        4,
        &["CAP_SYS_ADMIN is missing", "run as root", "pinned PATH"],
    ),
    (
        "a program by its id",
        "setpriv --bounding-set=-sys_admin $S prog profile id 1 cycles",
        4,
        &["CAP_SYS_ADMIN is missing", "pinned PATH"],
    ),
    (
        "programs on a cgroup, as nobody",
        "C=$(awk '$3 == \"cgroup2\" { print $2; exit }' /proc/mounts); [ -n \"$C\" ] || exit 77; $NOBODY $S cgroup show $C",
        4,
        &["CAP_NET_ADMIN is missing", "setcap cap_net_admin"],
    ),
    ("programs on devices, as nobody", "$NOBODY $S net show", 0, &["not shown", "CAP_NET_ADMIN is missing"]),
    (
        "somebody else's pin",
        "$S prog load $LB $B/lb && $NOBODY $S prog show pinned $B/lb",
        4,
        &["no access to the folder or file", "its owner change its mode"],
    ),
    (
        "network programs without CAP_NET_ADMIN",
        "setpriv --bounding-set=-net_admin,-sys_admin $S prog load $LB $B/x",
        4,
        &["CAP_NET_ADMIN (for network programs) is missing", "setcap"],
    ),
    (
        "maps take CAP_BPF alone",
        "setpriv --bounding-set=-net_admin,-sys_admin,-perfmon $S map create $B/m type array key 4 value 4 entries 1 name m",
        0,
        &[],
    ),
    (
        "tracing programs take no CAP_NET_ADMIN",
        "P='setpriv --bounding-set=-net_admin,-sys_admin,-syslog'; head -c 64 /dev/zero >$T/ctx\n\
         $P grep -q ' T ' /proc/kallsyms && $P head -1 /proc/kallsyms | grep -q '^0* ' || exit 77\n\
         $P $S run --engine kernel tests/objects/ksyms.o --prog typeless --ctx-in $T/ctx",
        3,
        &["hides the addresses of its symbols", "CAP_SYSLOG"],
    ),
    (
        "a user namespace's capabilities",
        "unshare -r $S prog load $LB $B/x",
        4,
        &["those of a user namespace", "run outside of the container, or with a BPF token"],
    ),
    (
        "bpf(2) forbidden by seccomp",
        "$S seccomp run -P $T/eperm.toml -- $S prog load $LB $B/x",
        4,
        &["a seccomp filter keeps bpf(2) from this process", "start the container with one that allows it"],
    ),
    (
        "a kernel without bpf(2)",
        "$S seccomp run -P $T/enosys.toml -- $S prog load $LB $B/x",
        6,
        &["built without CONFIG_BPF_SYSCALL=y", "boot one that has it, or use --engine user"],
    ),
    (
        "a kernel without a program type",
        // Where the kernel has infrared receivers there is nothing to see.
        "$S prog load $T/lirc.o $B/x; c=$?; [ $c = 0 ] && exit 77; exit $c",
        3,
        &["built without the option", "`skep feature probe` shows what it has"],
    ),
    (
        "a kernel without types, CO-RE",
        "hide_types; $S prog load examples/switches/switches.bpf.o $B/x",
        6,
        &["CONFIG_DEBUG_INFO_BTF=y", "/sys/kernel/btf/vmlinux", "--btf FILE"],
    ),
    (
        "a kernel without types, CO-RE in a run",
        "hide_types; $S run examples/switches/switches.bpf.o --engine kernel --ctx-in examples/switches/context.bin",
        6,
        &["CONFIG_DEBUG_INFO_BTF=y", "--engine user"],
    ),
    (
        "a kernel without types, kernel functions",
        "hide_types; $S prog loadall tests/objects/kfuncs.o $B/x",
        3,
        &["it needs the kernel's types", "name them with --btf"],
    ),
    (
        "memory that may not be locked",
        "$S map create $B/pe type perf_event_array key 4 value 4 entries $(nproc) name pe || exit\n\
         ulimit -l 0; R=\"timeout 20 setpriv --bounding-set=-ipc_lock,-sys_admin $S map event_pipe pinned $B/pe\"\n\
         P=; for i in $(seq 40); do $R 2>$T/locked.$i & P=\"$P $!\"; done; sleep 0.5\n\
         for i in $(seq 100); do grep -q locked $T/locked.*  && break; sleep 0.1; done\n\
         kill -INT $P 2>/dev/null; C=0; for p in $P; do wait $p; c=$?; [ $c = 4 ] && C=4; done\n\
         grep -h locked $T/locked.* | head -1 >&2; exit $C",
        4,
        &["RLIMIT_MEMLOCK", "kernel.perf_event_mlock_kb", "ulimit -l unlimited", "CAP_IPC_LOCK"],
    ),
    (
        "a hook that is taken, without a link",
        "$S prog load $LB $B/lb && $S net attach xdp pinned $B/lb dev va && $S net attach xdp pinned $B/lb dev va",
        1,
        &["va: a program is there already", "`overwrite` replaces it"],
    ),
    (
        "a hook that is taken, by a link",
        "$S prog load $LB $B/lb && $S net attach xdp pinned $B/lb dev va && $S run $LB --engine kernel --iface va",
        1,
        &["is attached to va already", "`skep net detach xdp"],
    ),
    (
        "a device that is not there",
        "$S run $LB --engine kernel --iface none",
        3,
        &["there is no network device \"none\" in this network namespace", "`ip link` lists those there are"],
    ),
    (
        "no bpf file system",
        "umount $B; umount -a -t bpf; $S prog load $LB $B/x",
        4,
        &["pins live in a bpf file system, and none is mounted", "mount -t bpf bpf"],
    ),
    (
        "a name that is taken",
        "$S prog load $LB $B/x && $S prog load $LB $B/x",
        3,
        &["something is pinned there already", "choose another name"],
    ),
    (
        "a program that is refused",
        "$S run tests/objects/refused.o --prog no_null_check --ctx-in /dev/null --engine kernel",
        5,
        &["R0 invalid mem access 'map_value_or_null'", "refused.c:61", "fix: refused.c:61"],
    ),
];

/// What each case finds: a bpf file system `$B`, devices `va` and `vb`, a folder `$T`.
const BEFORE: &str = "NOBODY='setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all'\n\
                      mount -t bpf bpf $B && ip link add va type veth peer name vb && ip link set va up && \
                      ip link set vb up || { echo no namespace >&2; exit 77; }\n\
                      LB=examples/lb/lb.bpf.o; hide_types() { mount -t tmpfs none /sys/kernel/btf || exit 77; }\n";

const LIRC: &str = ".license \"GPL\"\n.section lirc_mode2\n.func l\n    r0 = 0\n    exit\n";

#[test]
fn every_no_has_a_cause_and_a_next_step() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tmp = std::env::temp_dir().join(format!("skep-no-{}", std::process::id()));
    std::fs::create_dir_all(tmp.join("bpf")).unwrap();
    std::fs::write(tmp.join("eperm.toml"), "default = \"allow\"\n[errno]\nEPERM = [\"bpf\"]\n").unwrap();
    std::fs::write(tmp.join("enosys.toml"), "default = \"allow\"\n[errno]\nENOSYS = [\"bpf\"]\n").unwrap();
    std::fs::write(tmp.join("lirc.s"), LIRC).unwrap();
    let skep = env!("CARGO_BIN_EXE_skep");
    let made = Command::new(skep).arg("asm").args([tmp.join("lirc.s"), tmp.join("lirc.o")]).status();
    assert!(made.unwrap().success());
    let mut wrong = Vec::new();
    for (name, script, code, parts) in CASES {
        let ran = Command::new("unshare")
            .args(["--mount", "--net", "bash", "-c", &format!("{BEFORE}{script}")])
            .current_dir(&root)
            .env("S", skep)
            .env("B", tmp.join("bpf"))
            .env("T", &tmp)
            .output();
        let Ok(ran) = ran.inspect_err(|e| println!("skipped: unshare: {e}")) else { break };
        println!("{name}: {}", String::from_utf8_lossy(&ran.stderr).trim_end());
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        if ran.status.code() == Some(77) || said.contains("unshare failed") {
            println!("skipped: {name}: {said}");
            continue;
        }
        let missing: Vec<_> = parts.iter().filter(|p| !said.contains(**p)).collect();
        if ran.status.code() != Some(*code) || !missing.is_empty() {
            wrong.push(format!(
                "{name}: {:?} instead of {code}, lacks {missing:?}: {said}",
                ran.status.code()
            ));
        }
    }
    std::fs::remove_dir_all(&tmp).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
