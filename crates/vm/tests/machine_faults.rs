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

/// Tiers whose code the machine runs.
const TIERS: [Tier; 2] = [Tier::Baseline, Tier::Optimized];

fn run(text: &str, tier: Tier) -> Result<u64, Box<RunError>> {
    let insns = parse_insns(text).unwrap();
    let program = Arc::new(Program::from_insns("faulty", ProgType::Unspec, insns));
    // SAFETY: it is not, and that is what is tested: the address is one that no process has.
    let verified = unsafe { Verified::assume(program, Facts::default()) };
    let engine = User::new(*skep::platform(), Arc::new(SystemHost::new())).with_tier(tier);
    let loaded = engine.load_program(&Loadable::Verified(verified)).unwrap();
    let (mut runner, mut ctx) = (engine.runner(), Context::memory(&[0; 16]));
    let first = runner.run(&loaded, &mut ctx);
    // The second run begins as the first did.
    assert_eq!(runner.run(&loaded, &mut ctx).is_err(), first.is_err());
    first
}

#[test]
fn a_fault_names_the_instruction() {
    for (tier, calls) in TIERS.into_iter().flat_map(|t| [(t, ""), (t, "call 5\n")]) {
        let text = format!("{calls}r6 = 8\nr0 = *(u64 *)(r6 + 0)\nexit\n");
        let error = run(&text, tier).unwrap_err();
        let at = usize::from(!calls.is_empty()) + 1;
        assert_eq!(error.insn, at, "{error}");
        assert!(matches!(error.fault, Fault::Access { addr: 8, write: false, .. }), "{:?}", error.fault);
        assert_eq!(error.text, "r0 = *(u64 *)(r6 +0)");
        // Optimised code has its registers nowhere in particular.
        assert_eq!(error.registers.first().map(|r| r.value), (tier == Tier::Baseline).then_some(8));
    }
}

#[test]
fn a_fault_in_a_subprogram_ends_the_run() {
    for tier in TIERS {
        let sub =
            run("call fault\nexit\nfault:\nr1 = 16\n*(u64 *)(r1 + 0) = 1\nr0 = 0\nexit\n", tier).unwrap_err();
        assert!(matches!(sub.fault, Fault::Access { addr: 16, write: true, .. }), "{:?}", sub.fault);
        assert_eq!(sub.insn, 3);
    }
}

/// Functions that are too large to be translated in place, each of which keeps what its caller has in registers: what the
/// caller of the program had in them is back behind the fault.
#[test]
fn a_fault_goes_back_through_every_function() {
    let work: String = (0..80).map(|i| format!("r0 += {i}\nr0 *= r{}\n", 6 + i % 4)).collect();
    let keep = "r6 = r1\nr7 = r2\nr8 = r3\nr9 = r4\n";
    let fold = "r0 += r6\nr0 += r7\nr0 += r8\nr0 += r9\n";
    let call =
        |f: &str| format!("{keep}r0 = 1\n{work}r1 = r0\nr2 = r6\nr3 = r7\nr4 = r8\ncall {f}\n{fold}exit\n");
    let text = format!(
        "r1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\n{keep}call one\nr6 += r0\ncall one\nr0 += r6\nexit\none:\n{}two:\n{}three:\n{keep}r0 = 1\n{work}r5 = 24\nr0 += r9\nr1 = *(u32 *)(r5 + 0)\nr0 += r1\n{fold}exit\n",
        call("two"),
        call("three")
    );
    for tier in TIERS {
        let kept: Vec<u64> = (0..8).map(|i| std::hint::black_box(0x0101 * (i + 1))).collect();
        let [a, b, c, d, e, f, g, h] = kept[..] else { panic!("eight numbers") };
        let error = run(&text, tier).unwrap_err();
        assert!(matches!(error.fault, Fault::Access { addr: 24, write: false, .. }), "{:?}", error.fault);
        assert!(error.text.starts_with("r1 = *(u32 *)(r5"), "{}", error.text);
        assert_eq!([a, b, c, d, e, f, g, h].to_vec(), kept);
    }
}

#[test]
fn threads_fault_apart() {
    std::thread::scope(|s| {
        for tier in TIERS.into_iter().chain(TIERS) {
            s.spawn(move || {
                for n in 0..200 {
                    let text = format!("r6 = {}\nr0 = *(u8 *)(r6 + 0)\nexit\n", n + 1);
                    let error = run(&text, tier).unwrap_err();
                    let addr = n + 1;
                    assert!(matches!(error.fault, Fault::Access { addr: a, .. } if a == addr));
                }
            });
        }
    });
}
