//! Generated code has names for `perf`: a line for each function, whose addresses are those of the code.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::unwrap_used)]

use skep_isa::asm::parse_insns;
use skep_platform::engine::Loadable;
use skep_platform::program::{Program, Subprog, Verified};
use skep_platform::uapi::ProgType;
use skep_testkit::programs;
use skep_vm::{FixedHost, PerfMap, Tier, User};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The lines of a program, as address, bytes and name.
fn named(map: &PerfMap, program: &str) -> Vec<(u64, u64, String)> {
    let text = std::fs::read_to_string(map.path()).unwrap();
    let line = |l: &str| {
        let mut words = l.splitn(3, ' ');
        let mut hex = || u64::from_str_radix(words.next().unwrap(), 16).unwrap();
        (hex(), hex(), words.next().unwrap().to_string())
    };
    text.lines().map(line).filter(|l| l.2.starts_with(&format!("bpf_prog_{program}"))).collect()
}

fn verified(name: &str) -> Verified {
    // The subprogram's addition is long enough not to be translated in place.
    let work: String = (0..700).map(|i| format!("r0 += {i}\nr0 *= r1\n")).collect();
    let insns = parse_insns(&format!("r1 = 3\ncall add\nr0 += 1\nexit\nadd:\nr0 = 1\n{work}exit\n")).unwrap();
    let mut program = Program::from_insns(name, ProgType::Xdp, insns);
    program.subprogs = vec![Subprog { name: "add".into(), start: 4, btf_id: 0, global: false }];
    let how = skep_verifier::Options::default();
    skep_verifier::verify(&Arc::new(program), skep::platform(), &how).unwrap()
}

#[test]
fn every_function_of_every_tier_has_a_line() {
    let map = Arc::new(PerfMap::open().unwrap());
    let engine = |tier| User::new(*skep::platform(), Arc::new(FixedHost::new(1))).with_tier(tier);
    for tier in [Tier::Baseline, Tier::Optimized] {
        let name = format!("named_{}", tier.name());
        let program = engine(tier)
            .with_perf_map(map.clone())
            .load_program(&Loadable::Verified(verified(&name)))
            .unwrap();
        let code = program.machine_code().unwrap();
        let end = code.address + code.bytes.len() as u64;
        let lines = named(&map, &name);
        let names: Vec<&str> = lines.iter().map(|l| &*l.2).collect();
        let tier = tier.name();
        assert_eq!(names, [format!("bpf_prog_{name} [{tier}]"), format!("bpf_prog_{name}::add [{tier}]")]);
        for (at, len, name) in &lines {
            assert!(*len > 0 && *at >= code.address && at + len <= end, "{name}: {at:#x} {len}");
        }
    }
    // Not asked for, not named.
    engine(Tier::Baseline).load_program(&Loadable::Verified(verified("unnamed"))).unwrap();
    assert_eq!(named(&map, "unnamed"), []);
    // Code that takes the place of the first is named, too.
    let auto = engine(Tier::Auto).with_promotion(Some(1)).with_perf_map(map.clone());
    let program = auto.load_program(&Loadable::Verified(verified("promoted"))).unwrap();
    let layout = skep::platform().prog_type(ProgType::Xdp).and_then(|r| r.layout(None)).unwrap();
    auto.runner().run(&program, &mut programs::packet(layout, &[0; 64])).unwrap();
    let began = Instant::now();
    while named(&map, "promoted").len() < 4 {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", named(&map, "promoted"));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(named(&map, "promoted")[2].2.ends_with("[optimized]"));
    std::fs::remove_file(map.path()).unwrap();
}
