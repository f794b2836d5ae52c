//! The project's chores, run as `cargo xtask NAME`. One table, one file a chore.

#![allow(clippy::print_stdout, reason = "chores talk on standard output")]

mod bench;
mod bless;
mod build_bpf;
mod fuzz;
mod kernel_load;
mod suites;
mod tidy;

use std::process::ExitCode;

/// A chore: its name, what it does, what it runs. An error is a text that says what is wrong and what to do.
struct Chore {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<(), String>,
}

static CHORES: &[Chore] = &[
    Chore {
        name: "tidy",
        about: "check what no compiler checks: crate edges, unsafe, tables, documents",
        run: tidy::run,
    },
    Chore {
        name: "bless",
        about: "rewrite the expectations of data-driven tests and the generated references",
        run: bless::run,
    },
    Chore {
        name: "bench",
        about: "measure: run (the benchmark programs), load (objects) or verifier (beside the kernel's)",
        run: bench::run,
    },
    Chore {
        name: "fuzz",
        about: "tiers (on generated programs, compared), scalars (all at small widths), or verifier (its claims, its verdicts)",
        run: fuzz::run,
    },
    Chore { name: "suites", about: "run other people's suites, one line each", run: suites::run },
    Chore {
        name: "build-bpf",
        about: "build the BPF objects of examples, benchmarks and tests with clang; --check compares only",
        run: build_bpf::run,
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(chore) = args.first().and_then(|n| CHORES.iter().find(|c| c.name == n)) else {
        eprintln!("usage: cargo xtask CHORE [ARGUMENT…]");
        for c in CHORES {
            eprintln!("  {:<12} {}", c.name, c.about);
        }
        return ExitCode::from(2);
    };
    match (chore.run)(&args[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask {}: {e}", chore.name);
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(std::path::Path::new("."))
}
