//! The bpf_conformance dialect: every mnemonic against our own notation, the file format, its errors, and the suite
//! itself where it is at hand.
#![allow(clippy::unwrap_used)]

use skep_isa::conformance::{self, Expected};
use skep_isa::disasm::lines;
use skep_isa::{Insn, table};
use std::path::{Path, PathBuf};

const DIALECT: &str = include_str!("data/dialect.data");

#[test]
fn every_mnemonic_means_its_comment() {
    let test = conformance::parse(DIALECT).unwrap();
    let expected = DIALECT.lines().skip(1).filter_map(|l| Some(l.split_once('#')?.1.trim()));
    let actual: Vec<String> = lines(&test.program).map(|l| l.op.unwrap().to_string()).collect();
    assert_eq!(actual, expected.collect::<Vec<_>>());
    assert_eq!(test.memory, [0xaa, 0xbb, 0x0c, 0x0d]);
    assert_eq!(test.expected, Expected::Result(-2i64 as u64));
    assert_eq!(test.raw, None);
}

#[test]
fn every_row_of_the_rfc_has_a_mnemonic() {
    let test = conformance::parse(DIALECT).unwrap();
    let seen: Vec<u8> = lines(&test.program).map(|l| l.insn.opcode() & 0xf0).collect();
    for row in &table::ROWS {
        let linux_only = row.group == table::Group::Linux;
        assert!(linux_only || seen.contains(&(row.opcode & 0xf0)), "{row:?}");
    }
}

#[test]
fn raw_programs_are_numbers() {
    let text = "-- raw\n0x5566778800000018\n0x1122334400000000 0x95\r\n-- error\nno such # thing\n";
    let test = conformance::parse(text).unwrap();
    let expected = [
        Insn::new(0x18, 0, 0, 0, 0x55667788),
        Insn::new(0, 0, 0, 0, 0x11223344),
        Insn::new(0x95, 0, 0, 0, 0),
    ];
    assert_eq!(test.program, expected);
    assert_eq!(test.expected, Expected::Error("no such".into()));
    assert_eq!(
        conformance::program_from_hex("1800000088776655\n0000000044332211 9500000000000000").unwrap(),
        expected
    );
}

#[test]
fn registers_that_do_not_exist_are_encoded() {
    let text = "-- asm\nmov %r11, 1\nstxw [%r1+4], %r15\nlddw %r12, 5\n-- error\nr11 is invalid\n";
    let test = conformance::parse(text).unwrap();
    let illegal = |pc: usize| skep_isa::Op::decode(&test.program, pc).unwrap_err().to_string();
    assert!(illegal(0).ends_with("register 11 in dst; registers are r0 to r10"));
    assert!(illegal(1).ends_with("register 15 in src; registers are r0 to r10"));
    assert!(illegal(2).ends_with("register 12 in dst; registers are r0 to r10"));
    assert_eq!(test.program.len(), 4);
}

#[test]
fn errors_name_line_and_word() {
    let cases = [
        ("mov %r1", "line 2: `mov`: takes 2 operands"),
        ("mov %r16, 1", "line 2: `%r16`: expected a register, %r0 to %r10"),
        (
            "mov %r1, 0x1ffffffffffffffff",
            "line 2: `0x1ffffffffffffffff`: expected a number, decimal or 0x and hexadecimal",
        ),
        ("mov %r1, ++1", "line 2: `++1`: expected a number, decimal or 0x and hexadecimal"),
        ("movv %r1, 1", "line 2: `movv`: unknown mnemonic"),
        ("ldxw %r1, %r2", "line 2: `%r2`: expected a memory operand such as [%r1+8]"),
        ("ldxw %r1, [%r2+70000]", "line 2: `+70000`: the number does not fit"),
        ("ja nowhere", "line 2: `nowhere`: no line has this label"),
        ("a: a: exit", "line 2: `a`: the label is defined twice"),
        ("lock nand [%r1], %r2", "line 2: `nand`: unknown mnemonic"),
        ("lock fetch", "line 2: `lock`: takes 3 operands"),
        ("ja +40000", "line 2: ``: the number does not fit"),
    ];
    for (line, expected) in cases {
        let text = format!("-- asm\n{line}\n-- result\n0\n");
        assert_eq!(conformance::parse(&text).unwrap_err().to_string(), expected);
    }
    let whole = [
        ("-- result\n0\n", "the file has neither a `-- asm` nor a `-- raw` section"),
        ("-- asm\nexit\n", "the file has neither a `-- result` nor a `-- error` section"),
        (
            "-- asm\nexit\n-- mem\n123\n-- result\n0",
            "line 4: `123`: expected bytes of two hexadecimal digits each",
        ),
        ("-- asm\nexit\n-- result\nx", "line 4: `x`: expected a number, decimal or 0x and hexadecimal"),
    ];
    for (text, expected) in whole {
        assert_eq!(conformance::parse(text).unwrap_err().to_string(), expected);
    }
}

#[test]
fn the_suite_reads_and_decodes() {
    let base = std::env::var_os("SKEP_SUITES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/suites"), PathBuf::from);
    let Ok(files) = std::fs::read_dir(base.join("bpf_conformance")) else {
        println!("skipped: no bpf_conformance in {}; set SKEP_SUITES", base.display());
        return;
    };
    let mut count = 0;
    for file in files.map(|f| f.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "data")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let test = conformance::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert!(lines(&test.program).all(|l| l.is_canonical()), "{}", file.display());
        assert!(test.raw.is_none_or(|raw| raw == test.program), "{}", file.display());
        count += 1;
    }
    assert!(count > 0, "no .data file in {}", base.display());
    println!("{count} files");
}
