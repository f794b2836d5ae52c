//! A program that fits its stack only because Linux takes spills out: here they stay, on every tier, and have room.

#![allow(clippy::print_stdout)]

use skep_isa::asm::parse_insns;
use skep_platform::engine::{Engine, Loadable};
use skep_platform::uapi::ProgType;
use skep_testkit::programs;
use skep_verifier::{Options, verify};
use skep_vm::{FixedHost, Tier, User};
use std::sync::Arc;

mod tier;

/// Every frame of the chain is written from end to end around the spill.
const TEXT: &str = "r6 = 0
r1 = 40
r2 = 5
*(u64 *)(r10 -8) = 1000
*(u64 *)(r10 -488) = r6
*(u64 *)(r10 -496) = r1
*(u64 *)(r10 -504) = r2
call bpf_get_smp_processor_id#8
r2 = *(u64 *)(r10 -504)
r1 = *(u64 *)(r10 -496)
r1 += r2
r6 = r1
call pc+6
r0 += r6
r1 = *(u64 *)(r10 -8)
r0 += r1
r1 = *(u64 *)(r10 -488)
r0 += r1
exit
*(u64 *)(r10 -8) = 7
*(u64 *)(r10 -16) = 70000
r0 = *(u64 *)(r10 -8)
r1 = *(u64 *)(r10 -16)
r0 += r1
exit
";
const SUM: u64 = 40 + 5 + 1000 + 7 + 70000;

#[test]
fn spills_have_room_on_every_tier() {
    let insns = parse_insns(TEXT).expect("it is assembly");
    let program = Arc::new(programs::program(ProgType::SchedCls, insns));
    let user = || User::new(*skep::platform(), Arc::new(FixedHost::new(2)));
    let verified = verify(&program, skep::platform(), &Options::default()).expect("Linux accepts it");
    assert_eq!(verified.facts().stack_depth, 512);
    assert_eq!(verified.facts().stack_of(0), Some(504));
    let layout =
        skep::platform().prog_type(ProgType::SchedCls).expect("a row").layout(None).expect("it has one");
    let run = |engine: &User, tier: Tier| {
        let loadable = match tier {
            Tier::Checked => Loadable::Unverified(program.clone()),
            _ => Loadable::Verified(verified.clone()),
        };
        let loaded = engine.load(loadable).unwrap_or_else(|e| panic!("{tier:?}: {e}"));
        let ran = engine.test_run(&*loaded, &mut programs::packet(layout, &[0; 64]));
        assert_eq!(ran.unwrap_or_else(|e| panic!("{tier:?}: {e}")), SUM, "{tier:?}");
    };
    for tier in tier::TIERS {
        run(&user().with_tier(*tier), *tier);
    }
    match tier::ahead_of(user, std::iter::once(verified.clone())) {
        Ok(engine) => run(&engine, Tier::Aot),
        Err(why) => println!("not compiled ahead of time: {why}"),
    }
}
