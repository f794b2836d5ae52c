//! Runs and their time are counted when they are asked for, on every tier, one by one and in batches, on many threads, and for
//! the program that a run begins with alone.

#![allow(clippy::unwrap_used)]

use skep::{Collection, Object};
use skep_platform::engine::{Engine, Loadable};
use skep_platform::env::Context;
use skep_platform::uapi::ProgType;
use skep_testkit::programs;
use skep_vm::{FixedHost, Tier, User, UserProgram};
use std::ops::ControlFlow;
use std::sync::Arc;

const TIERS: [Tier; 5] = [Tier::Checked, Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto];

const TWO: &str = "
.map next, type=prog_array, key_size=4, value_size=4, max_entries=1
.value 0, second
.section xdp
.func first
    r2 = next ll
    r3 = 0
    call bpf_tail_call#12
    r0 = 1
    exit
.section \"xdp/second\"
.func second
    r0 = 2
    exit
";

fn open(engine: &User) -> Collection {
    let object = Object::from_asm(&skep_isa::asm::parse(TWO).unwrap()).unwrap();
    let mut judge = |p| {
        let how = skep::verifier::Options::default();
        let verified = skep::verifier::verify(&Arc::new(p), skep::platform(), &how);
        verified.map(Loadable::Verified).map_err(skep::Error::Refused)
    };
    Collection::open(object, engine, &skep::Options::default(), &mut judge).unwrap()
}

fn user(tier: Tier) -> User {
    User::new(*skep::platform(), Arc::new(FixedHost::new(1))).with_tier(tier)
}

fn program<'c>(c: &'c Collection, name: &str) -> &'c UserProgram {
    c.program(name).unwrap().loaded.as_any().downcast_ref().unwrap()
}

fn context() -> Context {
    let layout = skep::platform().prog_type(ProgType::Xdp).and_then(|r| r.layout(None)).unwrap();
    programs::packet(layout, &[0; 64])
}

#[test]
fn runs_are_counted_while_they_are_asked_for() {
    for tier in TIERS {
        let engine = user(tier).with_run_stats();
        let c = open(&engine);
        let (first, second) = (program(&c, "first"), program(&c, "second"));
        let mut runner = engine.runner();
        for _ in 0..5 {
            assert_eq!(runner.run(first, &mut context()).unwrap(), 2);
        }
        let mut contexts: Vec<Context> = (0..7).map(|_| context()).collect();
        let mut left = 4;
        runner.run_batch(first, &mut contexts, |r0| {
            assert_eq!(r0.unwrap(), 2);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        engine.test_run(&*c.program("first").unwrap().loaded, &mut context()).unwrap();
        let counted = engine.run_stats(&*c.program("first").unwrap().loaded).unwrap();
        assert_eq!((counted, counted.runs, counted.recursion_misses), (first.run_stats(), 10, 0));
        assert!(counted.ns > 0, "{}", tier.name());
        // Runs belong to the program that they begin with.
        assert_eq!(second.run_stats().runs, 0, "{}", tier.name());
        first.count_runs(false);
        runner.run(first, &mut context()).unwrap();
        runner.run_batch(first, &mut contexts, |_| ControlFlow::Continue(()));
        assert_eq!(first.run_stats(), counted, "{}", tier.name());
        first.count_runs(true);
        runner.run_batch(first, &mut contexts, |_| ControlFlow::Continue(()));
        assert_eq!(first.run_stats().runs, 17, "{}", tier.name());
    }
}

#[test]
fn nothing_is_counted_unasked() {
    let engine = user(Tier::Auto);
    let c = open(&engine);
    engine.runner().run(program(&c, "first"), &mut context()).unwrap();
    assert_eq!(program(&c, "first").run_stats(), Default::default());
}

#[test]
fn no_run_of_any_thread_is_lost() {
    let engine = user(Tier::Baseline).with_run_stats();
    let c = open(&engine);
    let second = program(&c, "second");
    std::thread::scope(|s| {
        for _ in 0..20 {
            s.spawn(|| {
                let (mut runner, mut ctx) = (engine.runner(), context());
                (0..500).for_each(|_| assert_eq!(runner.run(second, &mut ctx).unwrap(), 2));
            });
        }
    });
    assert_eq!(second.run_stats().runs, 10_000);
}
