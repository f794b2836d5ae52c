//! Programs that need nothing of the engine are entered without a detour: a context of another kind is refused all the same, on
//! every tier, one by one and in batches, and before and after the optimising compiler has taken over.

#![allow(clippy::unwrap_used)]

use skep_platform::Fault;
use skep_platform::engine::Loadable;
use skep_platform::env::{Context, CtxData, PlainCtx};
use skep_platform::program::Program;
use skep_platform::uapi::ProgType;
use skep_testkit::programs;
use skep_vm::{FixedHost, Tier, User, UserProgram};
use std::ops::ControlFlow;
use std::sync::Arc;

const TIERS: [Tier; 4] = [Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto];
/// Runs after which [`Tier::Auto`] gives a program to the optimising compiler.
const PROMOTED: u32 = 4;

fn packet() -> Context {
    let layout = skep::platform().prog_type(ProgType::Xdp).and_then(|r| r.layout(None)).unwrap();
    programs::packet(layout, &[7; 64])
}

fn plain() -> Context {
    let words = vec![0u64; 32].into_boxed_slice();
    let layout = skep::platform().prog_type(ProgType::Xdp).and_then(|r| r.layout(None)).unwrap();
    Context { layout, data: CtxData::Plain(PlainCtx { words, len: 256, buffers: Vec::new() }) }
}

fn load(engine: &User, text: &str) -> Arc<UserProgram> {
    let source = format!(".section xdp\n.func subject\n{text}\n    exit\n");
    let object = skep::Object::from_asm(&skep_isa::asm::parse(&source).unwrap()).unwrap();
    let mut found: Option<Program> = None;
    let mut judge = |p: Program| {
        found = Some(p.clone());
        Ok(Loadable::Unverified(Arc::new(p)))
    };
    let checked = User::new(*skep::platform(), Arc::new(FixedHost::new(1))).with_tier(Tier::Checked);
    skep::Collection::open(object, &checked, &skep::Options::default(), &mut judge).unwrap();
    let how = skep::verifier::Options::default();
    let verified = skep::verifier::verify(&Arc::new(found.unwrap()), skep::platform(), &how).unwrap();
    engine.load_program(&Loadable::Verified(verified)).unwrap()
}

#[test]
fn a_context_of_another_kind_is_refused() {
    let texts = [
        ("    r0 = 2", 2),
        ("    r2 = *(u32 *)(r1 +0)\n    r3 = *(u32 *)(r1 +4)\n    r3 -= r2\n    r0 = r3", 64),
        ("    call bpf_get_smp_processor_id#8", 0),
    ];
    for (tier, (text, r0)) in TIERS.into_iter().flat_map(|t| texts.map(|x| (t, x))) {
        let host = Arc::new(FixedHost::new(1));
        let engine = User::new(*skep::platform(), host).with_tier(tier).with_promotion(Some(PROMOTED));
        let (program, mut runner) = (load(&engine, text), engine.runner());
        // Well past the promotion, which takes a moment.
        for turn in 0..200 {
            let says = format!("{} {text} {turn}", tier.name());
            assert_eq!(runner.run(&program, &mut packet()).unwrap(), r0, "{says}");
            let refused = runner.run(&program, &mut plain()).unwrap_err();
            assert!(matches!(refused.fault, Fault::Rule { code: "context", .. }), "{says}: {refused}");
            let mut contexts = [packet(), plain(), packet()];
            let mut got = Vec::new();
            runner.run_batch(&program, &mut contexts, |outcome| {
                got.push(outcome.ok());
                ControlFlow::Continue(())
            });
            assert_eq!(got, [Some(r0), None, Some(r0)], "{says}");
        }
    }
}
