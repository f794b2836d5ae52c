//! Programs of seccomp policies in eBPF: as socket filters over packets that hold the words of `seccomp_data` in network
//! order. Our verifier and the kernel's accept them, and every tier decides as the rules do.

#![allow(clippy::print_stdout)]

use skep_cbpf::seccomp::calls::calls;
use skep_cbpf::seccomp::measure::corner_args;
use skep_cbpf::seccomp::{Action, Arch, Compare, Condition, Data, Policy, Rule, compile};
use skep_cbpf::{Target, translate};
use skep_platform::engine::Engine;
use skep_platform::uapi::ProgType;
use skep_testkit::kernel_oracle::{Load, Oracle};
use skep_testkit::programs;
use skep_vm::{FixedHost, User, report};
use std::sync::Arc;
use tier::TIERS;

mod tier;

/// Every third call refused, a few with conditions of all kinds.
fn policy() -> Policy {
    let mut rules: Vec<Rule> = calls()
        .iter()
        .enumerate()
        .filter(|(i, _)| i % 3 != 0)
        .map(|(_, c)| Rule { call: c.name.into(), action: Action::Allow, conditions: vec![] })
        .collect();
    let compares = [
        Compare::Eq(16),
        Compare::Ne(1 << 33),
        Compare::Lt(3),
        Compare::Ge(0xffff_ffff),
        Compare::Masked { mask: 0x7e02_0000, value: 0 },
    ];
    for (i, c) in calls().iter().enumerate().filter(|(i, _)| i % 30 == 0) {
        for (j, compare) in compares.into_iter().enumerate().filter(|(j, _)| (i / 30 + j) % 2 == 0) {
            let condition = Condition { arg: (i / 30 % 6) as u8, compare };
            rules.push(Rule {
                call: c.name.into(),
                action: Action::Errno(j as u16 + 20),
                conditions: vec![condition],
            });
        }
    }
    let archs = [Arch::X86_64, Arch::I386, Arch::X32, Arch::Aarch64];
    Policy::new(&archs, Action::Errno(1), Action::KillProcess, rules).expect("a policy")
}

#[test]
fn every_tier_decides_as_the_rules_do() {
    let policy = policy();
    let program = compile(&policy).expect("compiles").program;
    let insns = translate(&program, &Target::SOCKET_FILTER).expect("translates");
    match Oracle::open() {
        Ok(o) => assert!(o.load(&Load::new(ProgType::SocketFilter, &insns)).is_ok(), "the kernel refuses it"),
        Err(why) => println!("skipped: the kernel's verifier: {why}"),
    }
    let bound = Arc::new(programs::program(ProgType::SocketFilter, insns));
    let options = skep_verifier::options::Options::default();
    skep_verifier::verify(&bound, skep::platform(), &options).unwrap_or_else(|e| panic!("refused: {e}"));
    let layout = skep::platform().prog_type(ProgType::SocketFilter).and_then(|r| r.layout(None));
    let layout = layout.expect("socket filters have a context");
    for tier in TIERS {
        let engine = User::new(*skep::platform(), Arc::new(FixedHost::new(1))).with_tier(*tier);
        let loaded = engine.load(tier::loadable(*tier, (*bound).clone())).expect("loads");
        let mut decisions = 0;
        for arch in policy.archs() {
            for (nr, args) in (0..600).flat_map(|n| {
                let nr = n | arch.base();
                let call = skep_cbpf::seccomp::numbered(*arch, nr);
                let corners = call.map_or(vec![[0; 6]], |c| corner_args(&policy, c.name));
                corners.into_iter().map(move |a| (nr, a))
            }) {
                let data = Data::new(*arch, nr, args);
                let bytes: Vec<u8> = data.words().iter().flat_map(|w| w.to_be_bytes()).collect();
                let mut ctx = programs::packet(layout, &bytes);
                let r0 = engine.test_run(&*loaded, &mut ctx).unwrap_or_else(|e| panic!("{}", report(&e)));
                assert_eq!(r0 as u32, policy.decide(&data).action.value(), "{tier:?} {data:x?}");
                decisions += 1;
            }
        }
        assert!(decisions > 2400, "{decisions}");
    }
}
