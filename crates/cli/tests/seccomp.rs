//! `skep seccomp` with real programs: curl, python3 and nginx under the repository's own policy and under Docker's profile,
//! forbidden calls refused, shown and counted, recordings that can be run. What is not installed or not allowed here is
//! said, and passed over.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Where Debian's packages and CI put profiles of container runtimes; `SKEP_DOCKER_PROFILE` names another file.
const PROFILES: [&str; 2] = [
    "/usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json",
    "/usr/share/containers/seccomp.json",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn skep(args: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_skep"));
    c.args(args).current_dir(root());
    c
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether commands can be run under a filter here; says so if not.
fn allowed() -> bool {
    let ran = skep(&["seccomp", "run", "-P", OWN, "--", "true"]).output().unwrap();
    if matches!(ran.status.code(), Some(4 | 6)) {
        println!("skipped: {}", text(&ran.stderr));
        return false;
    }
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    true
}

fn installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).chain(["/usr/sbin".into()]).any(|d| d.join(program).exists());
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

const OWN: &str = "tests/seccomp/container.toml";

/// The repository's own policy, and the runtimes' profiles that are there.
fn policies() -> Vec<String> {
    let named = std::env::var("SKEP_DOCKER_PROFILE").ok();
    let found: Vec<String> =
        named.into_iter().chain(PROFILES.map(String::from)).filter(|p| Path::new(p).exists()).collect();
    if found.is_empty() {
        println!(
            "skipped: no profile of Docker or Podman is installed; the repository's own policy is used alone"
        );
    }
    std::iter::once(OWN.to_string()).chain(found).collect()
}

fn under(policy: &str, command: &[&str]) -> Output {
    skep(&["seccomp", "run", "-P", policy, "--"]).args(command).output().unwrap()
}

/// A server that answers one request after the other, here in the test.
fn serve(answers: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for _ in 0..answers {
            let (mut s, _) = listener.accept().unwrap();
            let _ = s.read(&mut [0; 4096]);
            let _ = s.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    });
    port
}

#[test]
fn curl() {
    if !allowed() || !installed("curl") {
        return;
    }
    let policies = policies();
    let port = serve(policies.len());
    for p in policies {
        let ran = under(&p, &["curl", "-s", "--noproxy", "*", &format!("http://127.0.0.1:{port}/")]);
        assert_eq!(
            (text(&ran.stdout).as_str(), ran.status.code()),
            ("hello", Some(0)),
            "{p}: {}",
            text(&ran.stderr)
        );
    }
}

/// Threads, a child process, files, and a call that is refused with the policy's error.
#[test]
fn python() {
    if !allowed() || !installed("python3") {
        return;
    }
    let script = "import threading, subprocess, socket, tempfile, ctypes\n\
        t = threading.Thread(target=lambda: print('thread')); t.start(); t.join()\n\
        print(subprocess.run(['echo', 'child'], capture_output=True, text=True).stdout.strip())\n\
        f = tempfile.TemporaryFile(); f.write(b'x'); f.flush()\n\
        a, b = socket.socketpair(); a.send(b'pair'); print(b.recv(9).decode())\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        print(libc.mount(b'none', b'/mnt', b'tmpfs', 0, None), ctypes.get_errno())\n\
        print(libc.swapoff(b'/nowhere'), ctypes.get_errno())\n";
    for p in policies() {
        // Podman's profile lets pass what it trusts capabilities with; both of these it refuses.
        let ran = under(&p, &["python3", "-c", script]);
        let said = text(&ran.stdout);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[..3], ["thread", "child", "pair"], "{p}: {}", text(&ran.stderr));
        for refused in &lines[3..5] {
            assert!(matches!(*refused, "-1 1" | "-1 38"), "{p}: {said}");
        }
    }
}

/// Ends when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nginx() {
    if !allowed() || !installed("nginx") {
        return;
    }
    for (i, p) in policies().into_iter().enumerate() {
        let folder = std::env::temp_dir().join(format!("skep-nginx-{}-{i}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("index.html"), "served under a policy\n").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = folder.display();
        let temps: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|t| format!("{t}_temp_path {dir}/{t};"))
            .concat();
        let user = if std::env::var("USER").is_ok_and(|u| u == "root") { "user root;" } else { "" };
        let conf = format!(
            "{user} daemon off; master_process off; worker_processes 1; pid {dir}/pid; error_log {dir}/log; \
             events {{ worker_connections 32; }} \
             http {{ access_log off; {temps} server {{ listen 127.0.0.1:{port}; root {dir}; }} }}"
        );
        std::fs::write(folder.join("conf"), conf).unwrap();
        let conf = folder.join("conf");
        let mut command = skep(&["seccomp", "run", "-P", &p, "--"]);
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        command.args(["nginx", "-e", "stderr", "-c", conf.to_str().unwrap()]).stderr(Stdio::piped());
        let mut server = Server(command.spawn().unwrap());
        let until = Instant::now() + Duration::from_secs(20);
        let answer = loop {
            if let Some(a) = get(port) {
                break a;
            }
            if server.0.try_wait().unwrap().is_some() || Instant::now() > until {
                let _ = server.0.kill();
                let mut said = String::new();
                server.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                panic!("{p}: nginx does not answer: {said}");
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("served under a policy\n"),
            "{p}: {answer}"
        );
        drop(server);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

fn get(port: u16) -> Option<String> {
    let mut s = TcpStream::connect(("127.0.0.1", port)).ok()?;
    s.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut out = String::new();
    s.read_to_string(&mut out).ok()?;
    Some(out)
}

/// The figures that the compiler is held to, for the machine's own architecture as other compilers are measured, and that
/// no decision differs, with and without the further architectures.
#[test]
fn programs_are_short_fast_and_right() {
    for p in policies() {
        for (only, arch) in [(true, "x86_64"), (false, "x86_64"), (true, "aarch64")] {
            let mut args = vec!["--arch", arch];
            args.extend(only.then_some("--only-arch"));
            let shown = skep(&["seccomp", "show", &p, "--stats", "-j"]).args(&args).output().unwrap();
            let stats: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
            let (length, mean) =
                (stats["instructions"].as_u64().unwrap(), stats["executed_mean"].as_f64().unwrap());
            println!("{p} {args:?}: {length} instructions, {mean} executed on average");
            if only {
                assert!(length <= 90 && mean <= 10.0, "{p}: {stats}");
            }
            let most = if p.contains("docker") { 150 } else { 180 };
            assert!(length <= most && mean <= 12.0, "{p}: {stats}");
            let tested = skep(&["seccomp", "test", &p]).args(&args).output().unwrap();
            assert!(tested.status.success(), "{p}: {}", text(&tested.stdout));
        }
    }
}

#[test]
fn a_call_that_kills_is_named_by_notify() {
    if !allowed() || !installed("python3") {
        return;
    }
    let folder = std::env::temp_dir().join(format!("skep-kill-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (policy, report) = (folder.join("p.toml"), folder.join("report.jsonl"));
    std::fs::write(&policy, "default = \"allow\"\nkill_process = [\"uname\"]\n").unwrap();
    let (p, r) = (policy.to_str().unwrap(), report.to_str().unwrap());
    let uname = ["python3", "-c", "import os; os.uname()"];
    let ran = under(p, &uname);
    assert_eq!(ran.status.code(), Some(128 + 31));
    assert!(text(&ran.stderr).contains("ended by SIGSYS"), "{}", text(&ran.stderr));

    let ran = skep(&["seccomp", "run", "-P", p, "--mode", "notify", "--report", r, "--"])
        .args(uname)
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(128 + 9));
    let said = text(&ran.stderr);
    assert!(said.contains("uname(name=0x") && said.contains("kill_process, rule uname"), "{said}");
    let row: serde_json::Value =
        serde_json::from_str(std::fs::read_to_string(&report).unwrap().trim()).unwrap();
    assert_eq!(
        (row["action"].as_str(), row["nr"].as_u64()),
        (Some("kill_process"), Some(if cfg!(target_arch = "x86_64") { 63 } else { 160 }))
    );

    // In mode log the same command runs to its end, and says what the policy would do.
    let ran = skep(&["seccomp", "run", "-P", p, "--mode", "log", "--"]).args(uname).output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    assert!(text(&ran.stderr).contains("kill_process, rule uname → allow"), "{}", text(&ran.stderr));

    std::fs::remove_dir_all(&folder).unwrap();
}

/// Strings and errors; on other machines the C library makes other calls of these.
#[test]
#[cfg(target_arch = "x86_64")]
fn refused_calls_are_shown_and_decided() {
    if !allowed() || !installed("python3") {
        return;
    }
    let policy = std::env::temp_dir().join(format!("skep-decide-{}.toml", std::process::id()));
    std::fs::write(&policy, "default = \"allow\"\n[errno]\nEXDEV = [\"rename\", \"mkdir(mode == 0o700)\"]\n")
        .unwrap();
    let script = "import os\n\
        for f in (lambda: os.rename('/nowhere/a', 'b'), lambda: os.mkdir('/nowhere/c', 0o700), lambda: os.mkdir('/nowhere/d', 0o711)):\n    \
            try: f()\n    \
            except OSError as e: print(e.errno)";
    for decide in [None, Some("deny"), Some("allow")] {
        let mut c = skep(&["seccomp", "run", "-P", policy.to_str().unwrap(), "--mode", "notify"]);
        c.args(decide.map(|d| format!("--decide={d}")));
        let ran = c.args(["--", "python3", "-c", script]).output().unwrap();
        let said = text(&ran.stderr);
        assert_eq!(
            text(&ran.stdout),
            if decide == Some("allow") { "2\n2\n2\n" } else { "18\n18\n2\n" },
            "{said}"
        );
        for part in [
            "rename(oldname=\"/nowhere/a\", newname=\"b\"): errno(EXDEV), rule rename",
            "mkdir(pathname=\"/nowhere/c\", mode=0o700): errno(EXDEV), rule mkdir(mode == 448)",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains("/nowhere/d"), "{said}");
    }
    std::fs::remove_file(&policy).unwrap();
}

#[test]
fn a_recording_runs_what_it_recorded() {
    if !allowed() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("skep-record-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let command = ["sh", "-c", "cat Cargo.toml | wc -l > /dev/null; exit 3"];
    for name in ["policy.toml", "profile.json"] {
        let file = folder.join(name);
        let f = file.to_str().unwrap();
        let ran = skep(&["seccomp", "record", "-w", f, "--"]).args(command).output().unwrap();
        assert_eq!(ran.status.code(), Some(3), "{}", text(&ran.stderr));
        for _ in 0..2 {
            let again = under(f, &command);
            assert_eq!(again.status.code(), Some(3), "{}", text(&again.stderr));
        }
        // Something else needs other calls.
        let other = under(f, &["mkdir", folder.join("made").to_str().unwrap()]);
        assert!(!other.status.success() && !folder.join("made").exists(), "{}", text(&other.stderr));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn commands_that_cannot_be_started() {
    if !allowed() {
        return;
    }
    for (command, code, part) in
        [("no-such-program", 3, "there is no program"), ("./Cargo.toml", 4, "Permission denied")]
    {
        let ran = under(OWN, &[command]);
        assert_eq!(ran.status.code(), Some(code), "{}", text(&ran.stderr));
        assert!(text(&ran.stderr).contains(part), "{}", text(&ran.stderr));
    }
}
