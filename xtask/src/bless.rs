//! `cargo xtask bless`: runs the tests with `SKEP_BLESS=1`, which makes data-driven tests rewrite their expectations.
//! Read the difference before you commit it.

use std::process::Command;

pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let status = Command::new("cargo")
        .arg("test")
        .args(args)
        .env("SKEP_BLESS", "1")
        .current_dir(crate::root())
        .status();
    match status {
        Ok(s) if s.success() => Ok(()),
        Ok(s) => Err(format!("cargo test ended with {s}; what failed is not a matter of expectations")),
        Err(e) => Err(format!("cannot run cargo: {e}")),
    }
}
