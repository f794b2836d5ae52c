//! Registers that instructions read and write, and where they may go: one line each.
#![allow(clippy::unwrap_used)]

use skep_isa::{Op, Regs, asm};

const TABLE: &str = include_str!("data/flow.txt");

fn names(regs: Regs) -> String {
    regs.iter().map(|r| r.to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn flow_is_as_listed() {
    let mut actual = String::new();
    for line in TABLE.lines() {
        let text = line.split(" | ").next().unwrap();
        if line.starts_with('#') {
            actual.push_str(&format!("{line}\n"));
            continue;
        }
        let (op, _) = Op::decode(&asm::parse_insns(text).unwrap(), 0).unwrap();
        let jump = op.jump_target(10).map(|t| format!("{t}"));
        let call = op.subprog_target(10).map(|t| format!("function at {t}"));
        let next = if op.is_terminator() { None } else { Some("next".to_owned()) };
        let goes: Vec<String> = [jump, call, next].into_iter().flatten().collect();
        let (uses, defs) = (names(op.uses()), names(op.defs()));
        actual.push_str(&format!("{text} | {uses} | {defs} | {}\n", goes.join(", ")));
        assert!(op.uses().iter().all(|r| op.uses().contains(r)));
    }
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write("tests/data/flow.txt", &actual).unwrap();
        return;
    }
    assert!(actual == TABLE, "expectations differ (SKEP_BLESS=1 rewrites them):\n{actual}");
}

#[test]
fn register_sets() {
    let set = Regs::NONE.with(skep_isa::Reg::R10).with(skep_isa::Reg::R0);
    assert_eq!((set.bits(), names(set).as_str(), set.is_empty()), (0b100_0000_0001, "r0 r10", false));
    assert!(Regs::NONE.is_empty() && names(Regs::ARGS) == "r1 r2 r3 r4 r5");
}
