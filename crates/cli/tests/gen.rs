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
