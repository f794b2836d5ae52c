//! Programs that should never have been declared verified: a fault of their code is an error with the instruction, the run's lock
//! and records are given back, and the process goes on.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::unwrap_used)]

use skep_isa::asm::parse_insns;
use skep_platform::engine::{Loadable, RunError};
use skep_platform::env::Context;
use skep_platform::program::{Program, Verified};
use skep_platform::uapi::ProgType;
use skep_platform::{Facts, Fault};
use skep_vm::{SystemHost, Tier, User};
use std::sync::Arc;

fn run(text: &str) -> Result<u64, Box<RunError>> {
    let insns = parse_insns(text).unwrap();
    let program = Arc::new(Program::from_insns("faulty", ProgType::Unspec, insns));
    // SAFETY: it is not, and that is what is tested: the address is one that no process has.
    let verified = unsafe { Verified::assume(program, Facts::default()) };
    let engine = User::new(*skep::platform(), Arc::new(SystemHost::new())).with_tier(Tier::Baseline);
    let loaded = engine.load_program(&Loadable::Verified(verified)).unwrap();
    let (mut runner, mut ctx) = (engine.runner(), Context::memory(&[0; 16]));
    let first = runner.run(&loaded, &mut ctx);
    // The second run begins as the first did.
    assert_eq!(runner.run(&loaded, &mut ctx).is_err(), first.is_err());
    first
}

#[test]
fn a_fault_names_the_instruction() {
    for calls in ["", "call 5\n"] {
        let text = format!("{calls}r6 = 8\nr0 = *(u64 *)(r6 + 0)\nexit\n");
        let error = run(&text).unwrap_err();
        let at = usize::from(!calls.is_empty()) + 1;
        assert_eq!(error.insn, at, "{error}");
        assert!(matches!(error.fault, Fault::Access { addr: 8, write: false, .. }), "{:?}", error.fault);
        assert_eq!(error.registers[0].value, 8);
        assert_eq!(error.text, "r0 = *(u64 *)(r6 +0)");
    }
}

#[test]
fn a_fault_in_a_subprogram_ends_the_run() {
    let sub = run("call fault\nexit\nfault:\nr1 = 16\n*(u64 *)(r1 + 0) = 1\nr0 = 0\nexit\n").unwrap_err();
    assert!(matches!(sub.fault, Fault::Access { addr: 16, write: true, .. }), "{:?}", sub.fault);
    assert_eq!(sub.insn, 3);
}

#[test]
fn threads_fault_apart() {
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for n in 0..200 {
                    let error = run(&format!("r6 = {}\nr0 = *(u8 *)(r6 + 0)\nexit\n", n + 1)).unwrap_err();
                    let addr = n + 1;
                    assert!(matches!(error.fault, Fault::Access { addr: a, .. } if a == addr));
                }
            });
        }
    });
}
