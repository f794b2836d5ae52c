//! `cargo xtask bench`: builds the benchmarks (a workspace of their own, so that users never build them) and runs them.

use std::process::Command;

pub(crate) fn run(args: &[String]) -> Result<(), String> {
    if let [first, files @ ..] = args
        && first == "kernel-load"
    {
        return crate::kernel_load::measure(files);
    }
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--release", "--manifest-path", "bench/Cargo.toml", "--"])
        .args(args)
        .current_dir(crate::root())
        .status();
    match status {
        Ok(s) if s.success() => Ok(()),
        Ok(s) => Err(format!("the benchmark ended with {s}")),
        Err(e) => Err(format!("cannot run cargo: {e}")),
    }
}
