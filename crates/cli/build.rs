//! The binary is linked at a fixed address. The tables of helpers, types, commands and machine code hold some twenty thousand
//! addresses in a hundred pages, which a position-independent program has to write at every start: a fifth of the time that a
//! short command takes. Stack, heap, libraries and compiled programs lie at random addresses as before.
//!
//! `SKEP_PIE=1` in the environment of the build keeps the binary position-independent.

fn main() {
    println!("cargo::rerun-if-env-changed=SKEP_PIE");
    println!("cargo::rerun-if-changed=build.rs");
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("OS") == "linux" && target("ENV") == "gnu" && std::env::var_os("SKEP_PIE").is_none() {
        println!("cargo::rustc-link-arg-bin=skep=-no-pie");
    }
}
