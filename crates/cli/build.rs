//! How the binary is linked: with as little to do at every start as the target allows. What is not to be had is left out.
//!
//! - Addresses in tables are packed (`DT_RELR`): of 20,000 relocations of 24 bytes remain 7 KB. Dynamic loaders know it since
//!   glibc 2.36; a binary that is built with an older one has to run there, and keeps the long form.
//! - The unwinder comes with the binary. The shared libgcc asks the processor for its features when it is loaded, which costs a
//!   tenth of a millisecond in a virtual machine, and nothing here uses them.
//! - Two symbols by which gdb finds compiled programs stay where a binary is stripped of all others.

use std::env::var;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| var(name).is_ok_and(|v| v == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    // Of another machine nothing is known.
    if var("HOST") != var("TARGET") {
        return;
    }
    let libc = said("getconf", &["GNU_LIBC_VERSION"]);
    if libc.and_then(|v| version(&v)).is_some_and(|v| v >= (2, 36)) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    if said("cc", &["-Wl,--help"]).is_some_and(|help| help.contains("--export-dynamic-symbol")) {
        for name in ["__jit_debug_register_code", "__jit_debug_descriptor"] {
            println!("cargo::rustc-link-arg-bins=-Wl,--export-dynamic-symbol={name}");
        }
    }
    // The whole path where there is such a file, else the name alone.
    let unwinder = said("cc", &["-print-file-name=libgcc_eh.a"]);
    if !is("CARGO_CFG_TARGET_FEATURE", "crt-static")
        && unwinder.is_some_and(|p| Path::new(p.trim()).is_absolute())
    {
        println!("cargo::rustc-link-lib=dylib:+verbatim=libgcc_eh.a");
    }
}

/// Standard output of a command; `None` where it fails.
fn said(command: &str, words: &[&str]) -> Option<String> {
    let ran = Command::new(command).args(words).output().ok()?;
    ran.status.success().then(|| String::from_utf8_lossy(&ran.stdout).into_owned())
}

/// Of `glibc 2.36`.
fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
