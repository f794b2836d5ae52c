//! Runs on several threads share maps and take no lock: atomic additions from all of them add up. An observer sees every
//! instruction.

use skep::{Collection, Object, Select};
use skep_platform::engine::{Engine, Loadable, Platform};
use skep_platform::env::Context;
use skep_platform::helper::Version;
use skep_platform::uapi::ProgType;
use skep_testkit::programs;
use skep_vm::checked::run_observed;
use skep_vm::{Code, FixedHost, Machine, Options, Tier, User, UserProgram};
use std::sync::Arc;

const COUNTER: &str = "
.map counter, type=array, key_size=4, value_size=8, max_entries=1
.section tc
.func prog
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = counter ll
    call bpf_map_lookup_elem#1
    if r0 == 0 goto out
    r1 = 1
    lock *(u64 *)(r0 +0) += r1
out:
    r0 = 0
    exit
";

#[test]
fn additions_of_many_threads_add_up() {
    const THREADS: u64 = 4;
    const RUNS: u64 = 2000;
    let engine = User::new(*skep::platform(), Arc::new(FixedHost::new(4))).with_tier(Tier::Checked);
    let object = Object::from_asm(&skep_isa::asm::parse(COUNTER).expect("assembles")).expect("is an object");
    let mut open = skep::Options::default();
    open.select = Select::Named(&["prog"]);
    let mut judge = |p| Ok(Loadable::Unverified(Arc::new(p)));
    let collection = Collection::open(object, &engine, &open, &mut judge).expect("opens");
    let loaded = collection.program("prog").expect("is there").loaded.clone();
    let program = loaded.as_any().downcast_ref::<UserProgram>().expect("is the user engine's");
    let layout = engine.platform().prog_type(ProgType::SchedCls).and_then(|r| r.layout(None)).expect("a row");
    std::thread::scope(|s| {
        for _ in 0..THREADS {
            s.spawn(|| {
                let mut runner = engine.runner();
                let mut ctx = programs::packet(layout, &[0; 64]);
                for _ in 0..RUNS {
                    assert_eq!(runner.run(program, &mut ctx).expect("runs"), 0);
                }
            });
        }
    });
    let mut value = Vec::new();
    collection.map("counter").expect("is there").read(&[0; 4], &mut value).expect("has a value");
    assert_eq!(value, (THREADS * RUNS).to_le_bytes());
}

#[test]
fn observers_see_every_instruction() {
    let text = "mov %r0, 7\nstxdw [%r10-8], %r0\nldxdw %r1, [%r10-8]\nadd %r0, %r1\nexit";
    let insns = skep_isa::conformance::assemble(text).expect("assembles");
    let program = Arc::new(programs::program(ProgType::Unspec, insns));
    let empty =
        Platform { version: Version(6, 18), helpers: &[], kfuncs: &[], prog_types: &[], map_types: &[] };
    let code = Arc::new(Code::new(program, &empty).expect("decodes"));
    let mut seen = Vec::new();
    let mut machine = Machine::default();
    let r0 = run_observed(
        &mut machine,
        &code,
        &mut Context::memory(&[]),
        &FixedHost::new(1),
        Options::default(),
        &mut |m| {
            seen.push((m.pc, m.regs[0].map(|r| r.bits), m.regs[10].and_then(|r| r.pointer).map(|p| p.1)))
        },
    );
    assert_eq!(r0.expect("runs"), 14);
    let at = |pc, r0| (pc, r0, Some(512));
    let want = [at(0, None), at(1, Some(7)), at(2, Some(7)), at(3, Some(7)), at(4, Some(14))];
    assert_eq!(seen, want);
}
