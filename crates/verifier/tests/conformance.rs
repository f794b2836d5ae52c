//! The programs of bpf_conformance: the memory is a map's value, to which `r1` points; `r2` is its length. All are accepted, but what the kernel refuses too: calls by register, and shifts by
//! a constant of the width or more.
//!
//! Found as the other suites are (`SKEP_SUITES`); without it the test says so and checks nothing.
#![allow(clippy::print_stdout)]

mod support;

use skep_isa::conformance::{self, Test};
use skep_isa::{AluOp, Callee, Insn, Op, Operand, Width};
use skep_platform::{MapType, ProgType, Program};
use skep_verifier::{Options, verify_full};
use std::path::PathBuf;
use std::sync::Arc;
use support::map::{def, paper};
use support::raw::PLATFORM;

#[test]
fn accepts_what_linux_accepts() {
    let folder = std::env::var_os("SKEP_SUITES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/suites"),
        PathBuf::from,
    );
    let folder = folder.join("bpf_conformance");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return println!("{} is not there: nothing was checked", folder.display());
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "data"));
    paths.sort();
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for path in &paths {
        let text = std::fs::read_to_string(path).expect("a file of the suite is text");
        let Ok(test) = conformance::parse(&text) else { continue };
        let program = Arc::new(loaded(&test));
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        match (verify_full(&program, &PLATFORM, &Options::default()), refused_by_linux(&test.program)) {
            (Ok(_), false) => accepted += 1,
            (Err(_), true) => refused += 1,
            (Ok(_), true) => wrong.push(format!("{name}: accepted")),
            (Err(e), false) => wrong.push(format!("{name}: {e}")),
        }
    }
    println!(
        "bpf_conformance verdicts: {accepted} accepted, {refused} refused as the kernel does, {} otherwise",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(accepted > 0, "no file of the suite was read");
}

/// With the memory as the value of a map.
fn loaded(test: &Test) -> Program {
    let length = test.memory.len() as u32;
    let mut insns = match length {
        0 => vec![Insn::new(0xb7, 1, 0, 0, 0)],
        _ => vec![Insn::new(0x18, 1, 6, 0, 0), Insn::new(0, 0, 0, 0, 0)],
    };
    insns.push(Insn::new(0xb7, 2, 0, 0, length as i32));
    insns.extend_from_slice(&test.program);
    let mut program = Program::from_insns("test", ProgType::Xdp, insns);
    program.maps = vec![paper(def("memory", MapType::Array, 4, length.max(1), 1))];
    program
}

fn refused_by_linux(insns: &[Insn]) -> bool {
    let shift = |op| matches!(op, AluOp::Lsh | AluOp::Rsh | AluOp::Arsh);
    let bits = |w| if w == Width::W64 { 64 } else { 32 };
    let mut pc = 0;
    while pc < insns.len() {
        let Ok((op, len)) = Op::decode(insns, pc) else { return true };
        pc += len;
        let bad = match op {
            Op::Call(Callee::Reg(_)) => true,
            Op::Alu { op, width, src: Operand::Imm(i), .. } if shift(op) => !(0..bits(width)).contains(&i),
            _ => false,
        };
        if bad {
            return true;
        }
    }
    false
}
