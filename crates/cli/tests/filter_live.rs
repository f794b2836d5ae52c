//! `skep filter -i` on a pair of devices in a network namespace that the test makes and takes away again.

#![allow(clippy::print_stdout)]

use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A namespace with two devices, each the other's peer; gone with the value.
struct Namespace(String);

impl Namespace {
    fn new() -> Result<Namespace, String> {
        let name = format!("skep-filter-{}", std::process::id());
        run(&["ip", "netns", "add", &name])?;
        let ns = Namespace(name);
        for line in [
            "ip link add one type veth peer name two",
            "ip link set one address 02:00:00:00:00:01 arp off up",
            "ip link set two address 02:00:00:00:00:02 arp off up",
            "ip addr add 10.9.0.1/24 dev one",
            "ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev one",
        ] {
            ns.run(line)?;
        }
        Ok(ns)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut c = Command::new("ip");
        c.args(["netns", "exec", &self.0]).args(words);
        c
    }

    fn run(&self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split(' ').collect();
        told(self.command(&words).output())
    }

    /// Datagrams from the first device, to these ports.
    fn send(&self, ports: &[u16]) {
        for port in ports {
            let sent = self.command(&["bash", "-c", &format!("echo x > /dev/udp/10.9.0.2/{port}")]).output();
            told(sent).expect("a datagram is sent");
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run(&["ip", "netns", "del", &self.0]).ok();
    }
}

fn run(words: &[&str]) -> Result<(), String> {
    told(Command::new(words[0]).args(&words[1..]).output())
}

fn told(out: std::io::Result<Output>) -> Result<(), String> {
    let out = out.map_err(|e| e.to_string())?;
    if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).trim().to_owned()) }
}

/// Runs the command in the namespace while datagrams are sent; ends it by a signal where it is to be ended.
fn listen(ns: &Namespace, args: &[&str], signal: bool) -> Output {
    let skep = env!("CARGO_BIN_EXE_skep");
    let words: Vec<&str> = [&[skep, "filter", "-i", "two"], args].concat();
    let child = ns.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(50));
        ns.send(&[53, 1234]);
    }
    if signal {
        run(&["kill", "-INT", &child.id().to_string()]).expect("the signal is sent");
    }
    child.wait_with_output().expect("ends")
}

#[test]
fn live_packets_are_filtered_in_the_kernel() {
    let ns = match Namespace::new() {
        Ok(ns) => ns,
        Err(why) => return println!("skipped: no network namespace: {why}"),
    };
    let out = listen(&ns, &["-n", "-c", "3", "udp", "port", "53"], false);
    let (text, said) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said}");
    assert_eq!(text.lines().count(), 3, "{text}{said}");
    assert!(
        text.lines().all(|l| l.contains("IP 10.9.0.1.") && l.contains("> 10.9.0.2.53: UDP, length 2")),
        "{text}"
    );
    assert!(said.contains("3 packets captured") && said.contains("0 packets dropped by kernel"), "{said}");

    let file = std::env::temp_dir().join(format!("{}.pcap", ns.0));
    let name = file.display().to_string();
    let out = listen(&ns, &["-n", "-w", &name, "udp", "dst", "port", "1234"], true);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    let again = Command::new(env!("CARGO_BIN_EXE_skep"))
        .args(["filter", "udp", "port", "1234", "--run", &name])
        .output();
    let again = String::from_utf8_lossy(&again.expect("runs").stdout).into_owned();
    std::fs::remove_file(&file).ok();
    let counts: Vec<u64> = again.split(' ').filter_map(|w| w.parse().ok()).collect();
    assert!(counts[0] > 0 && counts[0] == counts[1], "{again}{said}");
    assert!(said.contains(&format!("{} packets captured", counts[0])), "{again}{said}");
}
