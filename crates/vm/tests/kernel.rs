//! Generated programs on the live kernel and on every tier: the same `r0`. Needs root; says so where it skips.

#![allow(clippy::print_stdout)]

use skep_platform::engine::{Engine, Platform};
use skep_platform::helper::Version;
use skep_platform::uapi::ProgType;
use skep_testkit::generate::{self, Seed};
use skep_testkit::kernel_oracle::{Load, Oracle};
use skep_testkit::programs;
use skep_vm::{FixedHost, Tier, User, report};
use std::sync::Arc;

mod tier;

const EMPTY: Platform =
    Platform { version: Version(6, 18), helpers: &[], kfuncs: &[], prog_types: &[], map_types: &[] };
/// An Ethernet frame that the kernel takes for a test run.
const FRAME: [u8; 64] = [0; 64];

#[test]
fn generated_programs_agree_with_the_kernel() {
    let kernel = match Oracle::open() {
        Ok(kernel) => kernel,
        Err(why) => return println!("skipped: {why}"),
    };
    let rounds = std::env::var("SKEP_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let engine = |tier: &Tier| User::new(EMPTY, Arc::new(FixedHost::new(1))).with_tier(*tier);
    let engines: Vec<(Tier, User)> = tier::TIERS.iter().map(|t| (*t, engine(t))).collect();
    let mut compared = 0;
    for seed in 0..rounds {
        let mut random = Seed(seed);
        let insns = generate::program(&mut random, 10 + seed as usize % 60);
        let loaded = match kernel.load(&Load::new(ProgType::SocketFilter, &insns)) {
            Ok(p) => p,
            Err(_) => continue,
        };
        let theirs = loaded.test_run(&FRAME, &[]).expect("a loaded program runs").retval;
        for (tier, engine) in &engines {
            let program = tier::loadable(*tier, programs::program(ProgType::Unspec, insns.clone()));
            let mine = engine.load(program).expect("what the kernel loads decodes");
            let ours = engine.test_run(&*mine, &mut programs::memory(&[]));
            let ours = ours.unwrap_or_else(|e| panic!("seed {seed}: {}", report(&e)));
            assert_eq!(ours as u32, theirs, "seed {seed}, {}", tier.name());
        }
        compared += 1;
    }
    println!("{compared} of {rounds} programs compared");
    assert!(
        compared * 10 >= rounds * 9,
        "the kernel refused more than a tenth: {compared} of {rounds} compared"
    );
}
