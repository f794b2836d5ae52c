//! Externs of the kernel in objects: values of its configuration, addresses of its symbols, its variables; what is said of those
//! that there are not. Without leave to use the kernel, the user engine alone is asked.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says why it skips")]

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output};

fn skep(args: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new(env!("CARGO_BIN_EXE_skep")).args(args).current_dir(root).output().unwrap()
}

fn json(args: &[&str]) -> serde_json::Value {
    let ran = skep(args);
    assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

/// Engines that may be used here.
fn engines() -> Vec<&'static str> {
    let may = skep(&["run", "--engine", "kernel", "tests/objects/kconfig.o", "--data-in", "README.md"]);
    if may.status.code() == Some(4) || may.status.code() == Some(6) {
        println!("the kernel engine is skipped: {}", String::from_utf8_lossy(&may.stderr));
        return vec!["user"];
    }
    vec!["user", "kernel"]
}

/// `CONFIG_HZ` of the running kernel.
fn hz() -> Option<u64> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let text = std::fs::read_to_string(format!("/boot/config-{}", release.trim())).ok().or_else(|| {
        let mut text = String::new();
        let file = std::fs::File::open("/proc/config.gz").ok()?;
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).ok()?;
        Some(text)
    })?;
    text.lines().find_map(|l| l.strip_prefix("CONFIG_HZ=")?.parse().ok())
}

#[test]
fn configuration_and_version() {
    let Some(hz) = hz() else {
        return println!("skipped: no configuration of the kernel, or none with CONFIG_HZ");
    };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let own: u64 = release.split('.').next().unwrap().parse().unwrap();
    let packet = Path::new(env!("CARGO_TARGET_TMPDIR")).join("externs.packet");
    std::fs::write(&packet, [0; 64]).unwrap();
    for engine in engines() {
        let run = ["-j", "run", "--engine", engine, "tests/objects/kconfig.o", "--data-in"];
        let ran = json(&[&run[..], &[packet.to_str().unwrap()]].concat());
        let major = if engine == "kernel" { own } else { 6 };
        let value = (major * 10_000 + hz).to_string();
        assert_eq!(
            ran["retval"].as_object().unwrap().keys().collect::<Vec<_>>(),
            [&value],
            "{engine}: {ran}"
        );
    }
}

#[test]
fn addresses_of_symbols() {
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return println!("skipped: no /sys/kernel/btf/vmlinux");
    }
    let table = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let line = table.lines().find(|l| l.ends_with(" bpf_prog_array_free"));
    let shown = line.and_then(|l| u64::from_str_radix(l.split(' ').next()?, 16).ok());
    let Some(shown @ 1..) = shown else { return println!("skipped: /proc/kallsyms shows no addresses") };
    let context = Path::new(env!("CARGO_TARGET_TMPDIR")).join("externs.ctx");
    std::fs::write(&context, [0; 16]).unwrap();
    for engine in engines() {
        let run = ["-j", "run", "--engine", engine, "tests/objects/ksyms.o", "--prog", "typeless"];
        let ran = json(&[&run[..], &["--ctx-in", context.to_str().unwrap()]].concat()).to_string();
        assert!(
            ran.contains("\"retval\":{\"0\":1}") && ran.contains(&shown.to_string()),
            "{shown:#x}: {ran}"
        );
    }
}

#[test]
fn what_there_is_not_is_named() {
    let says = |args: &[&str], code: i32, words: &[&str]| {
        let ran = skep(args);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned() + &String::from_utf8_lossy(&ran.stdout);
        assert_eq!(ran.status.code(), Some(code), "{args:?}: {said}");
        assert!(words.iter().all(|w| said.contains(w)), "{args:?}: {said}");
    };
    let no_hz = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_hz.config");
    std::fs::write(&no_hz, "CONFIG_BPF=y\nCONFIG_BPF_SYSCALL=y\n").unwrap();
    let no_hz = no_hz.to_str().unwrap();
    for engine in engines() {
        let run = ["run", "--engine", engine];
        let more = ["tests/objects/kconfig.o", "--data-in", "README.md", "--kconfig"];
        says(&[&run[..], &more[..], &[no_hz]].concat(), 3, &["CONFIG_HZ", "not set", "__weak"]);
        says(&[&run[..], &more[..], &["/dev/null"]].concat(), 3, &["no kernel configuration", "--kconfig"]);
        if !Path::new("/sys/kernel/btf/vmlinux").exists() {
            continue;
        }
        for (prog, words) in [
            ("symbol", ["skep_no_such_symbol", "no symbol of that name (/proc/kallsyms)"]),
            ("variable", ["skep_no_such_variable", "no variable of that name"]),
            ("function", ["skep_no_such_function", "no function of that name"]),
        ] {
            let more = ["tests/objects/missing.o", "--prog", prog, "--data-in", "README.md"];
            says(&[&run[..], &more[..]].concat(), 3, &words);
        }
    }
}
