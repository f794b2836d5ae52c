//! `skep`: one table of commands (`commands.rs`), one file a command (`cmd/`).
//!
//! Standard output carries data only, in the format asked for; standard error carries everything said to a person.
//! Exit codes: 0 ok, 1 failed, 2 usage, 3 not found or malformed input, 4 permission, 5 refused by the verifier,
//! 6 not supported here, 130 interrupted.

#![cfg_attr(not(test), no_main)]

mod bpftool;
mod cmd;
mod commands;
#[cfg(not(test))]
mod entry;
mod failure;
mod input;
mod maps;
mod names;
mod output;
mod progress;
mod stream;
mod table;

use std::ffi::OsString;

/// Runs a command line; the exit code.
fn run(line: &[OsString]) -> u8 {
    let line = &bpftool::plain(line);
    let matches = match commands::matches(line) {
        Ok(m) => m,
        Err(e) => {
            let code = if e.use_stderr() { 2 } else { 0 };
            let _ = e.print();
            return code;
        }
    };
    let Some((cmd, inner)) = commands::find(&matches) else {
        eprintln!("skep: no such command; `skep --help` lists them");
        return 2;
    };
    let mut out = output::Out::new(inner);
    let done = (cmd.run)(inner, &mut out);
    let done = match (done, out.finish()) {
        (Ok(()), flushed) => flushed,
        (failed, _) => failed,
    };
    match done {
        Ok(()) => 0,
        Err(f) => {
            let text = f.to_string();
            if !text.is_empty() {
                eprintln!("skep: {text}");
            }
            f.exit_code()
        }
    }
}
