//! BPF tokens, for real: a process in a user namespace, whose bpf file system the test mounts with delegation, makes maps and loads
//! programs by its token, and none that the token does not cover.
//!
//! The test is the privileged side. It runs itself in the namespace ([`in_the_namespace`]), takes the descriptor of the file
//! system being made from there, sets what is delegated, and lets the other side mount it. Where a kernel or a policy is in the
//! way the test says so and passes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

use std::ffi::CStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Set in the process that is in the namespace: where it mounts.
const PLACE: &str = "SKEP_TEST_TOKEN_PLACE";

/// `FSCONFIG_SET_STRING`, `FSCONFIG_CMD_CREATE` (include/uapi/linux/mount.h).
const SET_STRING: libc::c_long = 1;
const CREATE: libc::c_long = 6;

/// A system call that takes numbers and the addresses of C strings that live through it.
fn call(number: libc::c_long, args: [libc::c_long; 5]) -> std::io::Result<libc::c_long> {
    // SAFETY: every address among the arguments is that of a C string of the caller's.
    match unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4]) } {
        -1 => Err(std::io::Error::last_os_error()),
        n => Ok(n),
    }
}

fn text(s: &CStr) -> libc::c_long {
    s.as_ptr() as libc::c_long
}

/// What the token gives leave to.
const DELEGATED: &[(&CStr, &CStr)] = &[
    (c"delegate_cmds", c"map_create:prog_load:btf_load"),
    (c"delegate_maps", c"array:hash:percpu_array:lru_hash:lpm_trie:ringbuf"),
    (c"delegate_progs", c"xdp:sched_cls"),
    (c"delegate_attachs", c"any"),
];

#[test]
fn a_user_namespace_loads_by_a_token() {
    if std::env::var_os(PLACE).is_some() {
        return;
    }
    let place = std::env::temp_dir().join(format!("skep-token-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let done = delegate(&place);
    std::fs::remove_dir(&place).unwrap();
    if let Err(why) = done {
        println!("skipped: {why}");
    }
}

fn delegate(place: &Path) -> Result<(), String> {
    let myself = std::env::current_exe().unwrap();
    let mut child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--net"])
        .arg(myself)
        .args(["--exact", "in_the_namespace", "--nocapture", "--test-threads=1"])
        .env(PLACE, place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("unshare: {e}"))?;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let Some(number) = lines.find_map(|l| l.strip_prefix("context ")?.parse::<libc::c_long>().ok()) else {
        child.wait().unwrap();
        return Err("no user namespace, or no fsopen(2) of a bpf file system in it".into());
    };
    let set = configure(child.id(), number);
    let word = if set.is_ok() { "go\n" } else { "stop\n" };
    child.stdin.take().unwrap().write_all(word.as_bytes()).unwrap();
    let said: Vec<String> = lines.collect();
    let ended = child.wait().unwrap();
    set.map_err(|e| format!("setting what is delegated: {e}"))?;
    if let Some(why) = said.iter().find_map(|l| l.strip_prefix("skipped: ")) {
        return Err(why.to_owned());
    }
    assert!(ended.success() && said.iter().any(|l| l == "all of it"), "{}", said.join("\n"));
    Ok(())
}

/// Sets what the file system in the making, a descriptor of another process, delegates, and makes it.
fn configure(pid: u32, number: libc::c_long) -> std::io::Result<()> {
    let process = call(libc::SYS_pidfd_open, [libc::c_long::from(pid), 0, 0, 0, 0])?;
    let context = call(libc::SYS_pidfd_getfd, [process, number, 0, 0, 0])?;
    for (key, value) in DELEGATED {
        call(libc::SYS_fsconfig, [context, SET_STRING, text(key), text(value), 0])?;
    }
    call(libc::SYS_fsconfig, [context, CREATE, 0, 0, 0]).map(drop)
}

fn skep(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.args(args).envs(variables.iter().copied()).current_dir(root).output().unwrap()
}

fn expect(args: &[&str], variables: &[(&str, &str)], code: i32, words: &[&str]) {
    let ran = skep(args, variables);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    println!("{args:?}: {:?} {said}", ran.status.code());
    assert_eq!(ran.status.code(), Some(code), "{args:?} {variables:?}: {said}");
    assert!(words.iter().all(|w| said.contains(w)), "{args:?}: {said}");
}

/// The other side; nothing unless the test above runs it.
#[test]
fn in_the_namespace() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let Ok(context) = call(libc::SYS_fsopen, [text(c"bpf"), 0, 0, 0, 0]) else { return };
    println!("\ncontext {context}");
    let mut word = String::new();
    std::io::stdin().read_line(&mut word).unwrap();
    if word != "go\n" {
        return;
    }
    let place = place.into_string().unwrap();
    let at = std::ffi::CString::new(place.clone()).unwrap();
    let tree = call(libc::SYS_fsmount, [context, 0, 0, 0, 0]).unwrap();
    let here = libc::c_long::from(libc::AT_FDCWD);
    // MOVE_MOUNT_F_EMPTY_PATH is 4.
    call(libc::SYS_move_mount, [tree, text(c""), here, text(&at), 4]).unwrap();

    let (ours, libbpfs) = ("SKEP_BPF_TOKEN_PATH", "LIBBPF_BPF_TOKEN_PATH");
    let pin = |name: &str| format!("{place}/{name}");
    let load = |name: &str| ["prog", "load", "examples/firewall/firewall.bpf.o", name].map(str::to_owned);
    let map = |name: &str, kind: &str| {
        ["map", "create", name, "type", kind, "key", "4", "value", "4", "entries", "1", "name", "m"]
            .map(str::to_owned)
    };
    let words = |all: &[String], variables: &[(&str, &str)], code, said: &[&str]| {
        expect(&all.iter().map(String::as_str).collect::<Vec<_>>(), variables, code, said);
    };
    expect(
        &["token", "list"],
        &[],
        0,
        &["token_info  ", &place, "allowed_progs:\n\t  ", "sched_cls", "map_create"],
    );
    expect(
        &["-j", "token", "show"],
        &[],
        0,
        &["\"allowed_maps\":[\"hash\",\"array\",", "\"allowed_attachs\":[\"any\"]"],
    );
    // Without a token the namespace's capabilities count for nothing.
    words(&load(&pin("a")), &[(ours, "")], 4, &["those of a user namespace", "BPF token"]);
    // By the variable, by libbpf's, and found without one.
    words(&load(&pin("a")), &[(ours, &place)], 0, &[]);
    words(&load(&pin("b")), &[(libbpfs, &place)], 0, &[]);
    words(&load(&pin("c")), &[], 0, &[]);
    words(&map(&pin("m"), "array"), &[], 0, &[]);
    words(&["map", "dump", "pinned", &pin("m")].map(str::to_owned), &[], 0, &["0"]);
    // A program with its types runs there.
    let run = ["run", "examples/lb/lb.bpf.o", "--engine", "kernel", "--pcap", "examples/lb/traffic.pcap"];
    if Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/lb/traffic.pcap").exists() {
        expect(&run, &[], 0, &[]);
    }
    // What the token does not cover.
    words(&map(&pin("l"), "percpu_hash"), &[], 4, &["token list"]);
    // What is no delegating file system.
    words(&load(&pin("d")), &[(ours, "/proc")], 3, &["no BPF token from /proc", "token list"]);
    words(&load(&pin("d")), &[(ours, "/no/such")], 3, &["no BPF token from /no/such", "no such folder"]);
    expect(&["doctor"], &[], 0, &["BPF token"]);
    println!("\nall of it");
}

#[test]
fn in_the_first_namespace_there_is_no_token() {
    let users = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if users.split_whitespace().nth(2) != Some("4294967295") || std::env::var_os(PLACE).is_some() {
        return println!("skipped: this is not the machine's first user namespace");
    }
    let script = "mount -t bpf bpf $B && exec $S prog load examples/lb/lb.bpf.o $B/x";
    let place = std::env::temp_dir().join(format!("skep-no-token-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let ran = Command::new("unshare")
        .args(["--mount", "bash", "-c", script])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .env("S", env!("CARGO_BIN_EXE_skep"))
        .env("B", &place)
        .env("SKEP_BPF_TOKEN_PATH", &place)
        .output();
    std::fs::remove_dir(&place).unwrap();
    let ran = match ran {
        Ok(r) if !String::from_utf8_lossy(&r.stderr).contains("unshare failed") => r,
        other => return println!("skipped: unshare: {other:?}"),
    };
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.code() == Some(6) && said.contains("it needs none"), "{:?}: {said}", ran.status);
}
