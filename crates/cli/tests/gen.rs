//! `skep gen`: the skeletons that `crates/skep/tests/skeleton.rs` compiles and uses are what the command writes
//! (`SKEP_BLESS=1` rewrites them); linked objects are those of `skep obj link`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn skep(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skep")).args(args).current_dir(root()).output().unwrap()
}

#[test]
fn skeletons() {
    for name in ["firewall", "lb"] {
        let object = format!("examples/{name}/{name}.bpf.o");
        let made = skep(&["gen", "skeleton", &object, "--include", &format!("../../../../{object}")]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let file = root().join(format!("crates/skep/tests/skeleton/{name}.rs"));
        if std::env::var_os("SKEP_BLESS").is_some() {
            std::fs::write(&file, &made.stdout).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap();
        assert_eq!(String::from_utf8_lossy(&made.stdout), kept, "{name}");
    }
}

#[test]
fn names_and_errors() {
    let made = skep(&["gen", "skeleton", "examples/lb/lb.bpf.o", "name", "load_balancer"]);
    let text = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(
        text.contains("pub struct LoadBalancer {") && text.contains("include_bytes!(\"lb.bpf.o\")"),
        "{text}"
    );
    assert_eq!(skep(&["gen", "skeleton", "README.md"]).status.code(), Some(3));
    assert_eq!(skep(&["gen", "skeleton", "examples/lb/lb.bpf.o", "nme", "x"]).status.code(), Some(2));
}

#[test]
fn linked_objects_are_those_of_obj_link() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (a, b) = (folder.join("gen.o"), folder.join("link.o"));
    for (words, out) in [(["gen", "object"], &a), (["obj", "link"], &b)] {
        let files = [out.to_str().unwrap(), "tests/objects/link_a.o", "tests/objects/link_b.o"];
        let ran = skep(&[&words[..], &files[..]].concat());
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    let (a, b) = (std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
    assert!(!a.is_empty() && a == b);
}

#[test]
fn minimal_types_are_those_of_bpftool() {
    let vmlinux = "/sys/kernel/btf/vmlinux";
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (ours, theirs) = (folder.join("ours.btf"), folder.join("theirs.btf"));
    let paths = [ours.to_str().unwrap(), theirs.to_str().unwrap()];
    let object = "tests/objects/core.o";
    assert_eq!(skep(&["gen", "min_core_btf", "README.md", paths[0], object]).status.code(), Some(3));
    let bare = "tests/objects/instructions_no_btf.o";
    assert_eq!(skep(&["gen", "min_core_btf", object, paths[0], bare]).status.code(), Some(3));
    if !Path::new(vmlinux).exists() {
        return println!("skipped: no {vmlinux}");
    }
    let made = skep(&["-j", "gen", "min_core_btf", vmlinux, paths[0], object]);
    let written = std::fs::read(&ours).unwrap();
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(said.contains(&format!("\"bytes\":{}", written.len())) && written.len() < 10_000, "{said}");
    let mut bpftool = Command::new("bpftool");
    match bpftool.current_dir(root()).args(["gen", "min_core_btf", vmlinux, paths[1], object]).output() {
        Ok(o) if o.status.success() => {
            let [a, b] =
                paths.map(|p| String::from_utf8_lossy(&skep(&["btf", "dump", p]).stdout).into_owned());
            assert!(a.lines().count() > 10 && a == b, "{a}\n{b}");
        }
        Ok(o) => println!("skipped: {}", String::from_utf8_lossy(&o.stderr)),
        Err(e) => println!("skipped: bpftool: {e}"),
    }
}
