//! A subprogram that is translated in place and reads now its caller's frame, now a map: it sees what was stored last.

#![allow(clippy::unwrap_used)]

use skep::{Collection, Object};
use skep_platform::engine::Loadable;
use skep_platform::uapi::ProgType;
use skep_testkit::programs;
use skep_vm::{FixedHost, Tier, User, UserProgram};
use std::sync::Arc;

const CALLS: &str = "
.map m, type=array, key_size=4, value_size=8, max_entries=1
.section xdp
.func calls
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = m ll
    call bpf_map_lookup_elem#1
    if r0 == 0 goto out
    r6 = r0
    *(u64 *)(r10 -16) = 5
    r1 = r10
    r1 += -16
    call read
    r7 = r0
    r1 = r6
    call read
    r7 += r0
    *(u64 *)(r10 -16) = 70
    r1 = r10
    r1 += -16
    call read
    r7 += r0
    r0 = r7
out:
    exit
.func read, local
    r0 = *(u64 *)(r1 +0)
    exit
";

#[test]
fn a_frame_is_read_through_its_callees() {
    for tier in [Tier::Checked, Tier::Interp, Tier::Baseline, Tier::Optimized] {
        let object = Object::from_asm(&skep_isa::asm::parse(CALLS).unwrap()).unwrap();
        let engine = User::new(*skep::platform(), Arc::new(FixedHost::new(1))).with_tier(tier);
        let mut judge = |p: skep_platform::program::Program| {
            let verified = skep::verifier::verify(&Arc::new(p), skep::platform(), &Default::default());
            verified.map(Loadable::Verified).map_err(skep::Error::Refused)
        };
        let collection = Collection::open(object, &engine, &skep::Options::default(), &mut judge).unwrap();
        let loaded = &collection.program("calls").unwrap().loaded;
        let program: &UserProgram = loaded.as_any().downcast_ref().unwrap();
        let layout = skep::platform().prog_type(ProgType::Xdp).and_then(|r| r.layout(None)).unwrap();
        let mut ctx = programs::packet(layout, &[0; 64]);
        assert_eq!(engine.runner().run(program, &mut ctx).unwrap(), 75, "{}", tier.name());
    }
}
