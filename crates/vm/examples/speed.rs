//! How many simple instructions a second the checked tier runs: `cargo run --release -p skep-vm --example speed`.

#![allow(clippy::print_stdout, missing_docs)]

use skep_isa::conformance::assemble;
use skep_platform::engine::{Engine, Loadable, Platform};
use skep_platform::helper::Version;
use skep_platform::uapi::ProgType;
use skep_testkit::programs;
use skep_vm::{FixedHost, User};
use std::sync::Arc;
use std::time::Instant;

const ROUNDS: u64 = 10_000_000;
const PROGRAMS: [(&str, u64, &str); 3] = [
    (
        "arithmetic",
        4,
        "mov %r0, 0\nlddw %r2, 10000000\nl:\nadd %r0, 7\nxor %r0, %r2\nsub %r2, 1\njne %r2, 0, l\nexit",
    ),
    (
        "stack",
        4,
        "mov %r0, 0\nlddw %r2, 10000000\nl:\nstxdw [%r10-8], %r2\nldxdw %r0, [%r10-8]\nsub %r2, 1\njne %r2, 0, l\nexit",
    ),
    (
        "memory",
        4,
        "mov %r0, 0\nlddw %r2, 10000000\nl:\nldxw %r0, [%r1+4]\nstxw [%r1], %r0\nsub %r2, 1\njne %r2, 0, l\nexit",
    ),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let platform = Platform { version: Version(6, 18), helpers: &[], prog_types: &[], map_types: &[] };
    let engine = User::new(platform, Arc::new(FixedHost::new(1)));
    for (name, per_round, text) in PROGRAMS {
        let program = Arc::new(programs::program(ProgType::Unspec, assemble(text)?));
        let loaded = engine.load(Loadable::Unverified(program))?;
        let start = Instant::now();
        engine.test_run(&*loaded, &mut programs::memory(&[0; 16]))?;
        let seconds = start.elapsed().as_secs_f64();
        println!("{name}: {:.1} million instructions a second", (ROUNDS * per_round) as f64 / seconds / 1e6);
    }
    let exit = Arc::new(programs::program(ProgType::Unspec, assemble("mov %r0, 0\nexit")?));
    let (loaded, mut ctx) = (engine.load(Loadable::Unverified(exit))?, programs::memory(&[0; 16]));
    let start = Instant::now();
    for _ in 0..1_000_000 {
        engine.test_run(&*loaded, &mut ctx)?;
    }
    println!("empty run: {:.0} ns", start.elapsed().as_secs_f64() * 1e9 / 1e6);
    Ok(())
}
