//! Policies: random ones, whose programs must decide every call as the rules do; and the table of system calls against the
//! kernel's headers, where they are installed.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

use arbtest::arbitrary::{Result, Unstructured};
use skep_cbpf::seccomp::calls::{X32_BIT, calls};
use skep_cbpf::seccomp::measure::{check, corner_args, run};
use skep_cbpf::seccomp::{
    Action, Arch, Compare, Condition, Data, Policy, Rule, call, compile, expr, numbered,
};
use std::collections::BTreeMap;
use std::path::Path;

fn action(u: &mut Unstructured<'_>) -> Result<Action> {
    let n = u.int_in_range(0..=4095)?;
    Ok(*u.choose(&[
        Action::Allow,
        Action::Allow,
        Action::Errno(1),
        Action::Errno(n),
        Action::Trace(n),
        Action::Log,
        Action::Trap,
        Action::UserNotif,
        Action::KillThread,
        Action::KillProcess,
    ])?)
}

fn value(u: &mut Unstructured<'_>) -> Result<u64> {
    let any = u.arbitrary()?;
    Ok(*u.choose(&[0, 1, 7, 8, 0xffff_ffff, 0x1_0000_0000, 0x8000_0000_0000_0000, u64::MAX, any])?)
}

fn condition(u: &mut Unstructured<'_>, arg: u8) -> Result<Condition> {
    let k = value(u)?;
    let mask = value(u)?;
    let masked = Compare::Masked { mask, value: if u.ratio(7, 8)? { k & mask } else { k } };
    let all = [
        Compare::Eq(k),
        Compare::Ne(k),
        Compare::Lt(k),
        Compare::Le(k),
        Compare::Gt(k),
        Compare::Ge(k),
        masked,
    ];
    Ok(Condition { arg, compare: *u.choose(&all)? })
}

fn policy(u: &mut Unstructured<'_>) -> Result<Policy> {
    let archs: Vec<Arch> = match u.int_in_range(0..=5)? {
        0 => vec![Arch::X86_64],
        1 => vec![Arch::X86_64, Arch::I386, Arch::X32],
        2 => vec![Arch::X32],
        3 => vec![Arch::Aarch64],
        4 => vec![Arch::I386, Arch::X86_64],
        _ => Arch::ALL.to_vec(),
    };
    let mut rules = Vec::new();
    for _ in 0..u.int_in_range(0..=60)? {
        let name = u.choose(calls())?.name.to_string();
        let one = u.int_in_range(0..=5)?;
        let same = u.arbitrary()?;
        for _ in 0..u.int_in_range(1..=4)? {
            let mut conditions = Vec::new();
            for _ in 0..u.int_in_range(0..=2)? {
                let arg = if same { one } else { u.int_in_range(0..=5)? };
                conditions.push(condition(u, arg)?);
            }
            rules.push(Rule { call: name.clone(), action: action(u)?, conditions });
        }
    }
    Ok(Policy::new(&archs, action(u)?, action(u)?, rules).unwrap())
}

/// All numbers of all architectures, with the corners of the rules for their arguments.
fn agree(p: &Policy) -> usize {
    let c = compile(p).unwrap();
    assert_eq!(check(&c.program), Ok(()));
    let edges = [u32::MAX, u32::MAX - 1, 0x8000_0000, 0x7fff_ffff, X32_BIT - 1, X32_BIT + 5000];
    let numbers: Vec<u32> = (0..1024).flat_map(|n| [n, n | X32_BIT, n | 0x8000_0000]).chain(edges).collect();
    let mut decisions = 0;
    for audit in Arch::ALL.iter().map(|a| a.audit()).chain([0, 1, 0xc000_00f3, u32::MAX]) {
        for nr in &numbers {
            let known = Arch::of(audit, *nr).and_then(|a| numbered(a, *nr));
            for args in known.map_or(vec![[0; 6]], |c| corner_args(p, c.name)) {
                let data = Data { nr: *nr, arch: audit, ip: 0x7fff_1234_5678, args };
                let (got, steps) = run(&c.program, &data);
                assert_eq!(Action::from_value(got), p.decide(&data).action, "{data:x?}");
                assert!(steps <= c.program.insns().len());
                decisions += 1;
            }
        }
    }
    decisions
}

#[test]
fn programs_decide_as_the_rules_do() {
    arbtest::arbtest(|u| {
        agree(&policy(u)?);
        Ok(())
    })
    .size_min(200)
    .size_max(4000)
    .budget_ms(8_000);
}

/// So many conditions that jumps need hops.
#[test]
fn large_policies() {
    let rules = calls().iter().step_by(2).flat_map(|c| {
        (0..4u64).map(move |i| Rule {
            call: c.name.into(),
            action: Action::Errno((i + 1) as u16),
            conditions: vec![
                Condition { arg: (i % 6) as u8, compare: Compare::Eq(i * 77) },
                Condition { arg: 5, compare: Compare::Masked { mask: 0xff, value: i } },
            ],
        })
    });
    let p = Policy::new(&[Arch::X86_64], Action::Allow, Action::KillProcess, rules.collect()).unwrap();
    assert!(agree(&p) > 20_000);
}

/// The same program through the translation to eBPF is what the kernel runs; here the classic one through the packet
/// machine, whose loads are big-endian.
#[test]
fn the_packet_machine_agrees() {
    let rules = vec![
        Rule { call: "read".into(), action: Action::Allow, conditions: vec![] },
        Rule {
            call: "socket".into(),
            action: Action::Allow,
            conditions: vec![Condition { arg: 0, compare: Compare::Le(2) }],
        },
    ];
    let p = Policy::new(&[Arch::X86_64], Action::Errno(1), Action::KillProcess, rules).unwrap();
    let c = compile(&p).unwrap();
    for nr in 0..600 {
        for a0 in [0, 2, 3, 1 << 32] {
            let data = Data::new(Arch::X86_64, nr, [a0, 0, 0, 0, 0, 0]);
            let bytes: Vec<u8> = data.words().iter().flat_map(|w| w.to_be_bytes()).collect();
            let meta = skep_cbpf::Meta::default();
            assert_eq!(c.program.run(&skep_cbpf::Packet::new(&bytes, &meta)), run(&c.program, &data).0);
        }
    }
}

/// Texts of every kind are read or refused, and what is read is shown so that it is read again.
#[test]
fn texts_of_calls() {
    let parts = [
        "socket", "read", "(", ")", ",", "family", "a0", "a9", "==", "<", "&", "0x", "AF_INET", "|", "-1",
        "7", " ", "é", "=",
    ];
    arbtest::arbtest(|u| {
        let mut text = String::new();
        for _ in 0..u.int_in_range(0..=12)? {
            text.push_str(u.choose(&parts)?);
        }
        let _ = expr::values(&text, Arch::X86_64);
        if let Ok(p) = expr::pattern(&text, Arch::X86_64) {
            let rule = Rule { call: p.call.name.into(), action: Action::Allow, conditions: p.conditions };
            let again = expr::pattern(&rule.show(Arch::X86_64), Arch::X86_64);
            assert_eq!(again.map(|p| p.conditions), Ok(rule.conditions), "{text}");
        }
        Ok(())
    })
    .budget_ms(1_000);
}

/// Numbers that a header defines, by the header's own arithmetic.
fn header(path: &Path, base: &str) -> Option<BTreeMap<String, u32>> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut out = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.strip_prefix("#define __NR_").unwrap_or_default().split_whitespace();
        let (Some(name), Some(value)) = (words.next(), words.next()) else { continue };
        let rest: String = std::iter::once(value).chain(words).collect();
        let digits =
            rest.trim_matches(['(', ')']).trim_start_matches(base).trim_start_matches('+').to_string();
        if let Ok(n) = digits.parse() {
            out.insert(name.to_string(), n);
        }
    }
    Some(out)
}

#[test]
fn numbers_are_those_of_the_headers() {
    let folder = ["/usr/include/x86_64-linux-gnu/asm", "/usr/include/asm"];
    let mut compared = 0;
    for (arch, file, base) in [
        (Arch::X86_64, "unistd_64.h", ""),
        (Arch::I386, "unistd_32.h", ""),
        (Arch::X32, "unistd_x32.h", "__X32_SYSCALL_BIT"),
    ] {
        let Some(theirs) = folder.iter().find_map(|f| header(&Path::new(f).join(file), base)) else {
            println!("skipped: {file} is not installed");
            continue;
        };
        assert!(theirs.len() > 300, "{file}: {}", theirs.len());
        for (name, nr) in &theirs {
            let ours = call(name).and_then(|c| c.number(arch)).map(|n| n & !X32_BIT);
            assert_eq!(ours, Some(*nr), "{name} on {}", arch.name());
            compared += 1;
        }
        // What the header does not have yet has the numbers behind its last, or none of its.
        for c in calls() {
            let Some(nr) = c.number(arch).map(|n| n & !X32_BIT) else { continue };
            let other = theirs.iter().find(|(_, n)| **n == nr);
            assert!(other.is_none_or(|(name, _)| name == c.name), "{} is {nr} on {}", c.name, arch.name());
        }
    }
    println!("{compared} numbers compared");
}

/// aarch64 takes the generic numbers; the header gives some calls other names for 32-bit machines.
#[test]
fn numbers_of_aarch64_are_the_generic_ones() {
    let Some(theirs) = header(Path::new("/usr/include/asm-generic/unistd.h"), "") else {
        println!("skipped: asm-generic/unistd.h is not installed");
        return;
    };
    let mut compared = 0;
    for (name, nr) in &theirs {
        let Some(ours) = call(name).and_then(|c| c.number(Arch::Aarch64)) else { continue };
        assert_eq!(ours, *nr, "{name}");
        compared += 1;
    }
    assert!(compared > 250, "{compared}");
}
