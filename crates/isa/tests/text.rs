//! Instructions as text: the kernel's and the assembler's notation of every form, and back.
#![allow(clippy::unwrap_used)]

use arbtest::arbitrary::Unstructured;
use arbtest::arbtest;
use skep_isa::disasm::listing;
use skep_isa::table::{Field, ROWS};
use skep_isa::{Insn, Names, NoNames, Notation, Op, Style, asm};
use std::borrow::Cow;
use std::fmt::Write;

/// `bytes | assembler's notation | kernel's notation`, the last only where it differs.
const NOTATION: &str = include_str!("data/notation.txt");

struct Known;

impl Names for Known {
    fn helper(&self, id: i32) -> Option<Cow<'_, str>> {
        (id == 1).then_some("bpf_map_lookup_elem".into())
    }
    fn kfunc(&self, id: i32, _: i16) -> Option<Cow<'_, str>> {
        (id == 77).then_some("bpf_task_acquire".into())
    }
}

fn insns(hex: &str) -> Vec<Insn> {
    let digits: String = hex.split_whitespace().collect();
    let bytes: Vec<u8> =
        (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect();
    Insn::slice_from_bytes(&bytes).unwrap()
}

#[test]
fn both_notations_are_as_listed() {
    let mut actual = String::new();
    for line in NOTATION.lines() {
        if line.starts_with('#') || line.is_empty() {
            writeln!(actual, "{line}").unwrap();
            continue;
        }
        let hex = line.split('|').next().unwrap().trim();
        let insns = insns(hex);
        let (op, slots) = Op::decode(&insns, 0).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(slots, insns.len(), "{line}");
        let text = op.text(0, &Known, Notation::Assembler).to_string();
        let kernel = op.text(0, &Known, Notation::Kernel).to_string();
        write!(actual, "{hex} | {text}").unwrap();
        if kernel != text {
            write!(actual, " | {kernel}").unwrap();
        }
        actual.push('\n');
        assert_eq!(asm::parse_insns(&text).map_err(|e| e.to_string()), Ok(insns), "{text}");
    }
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write("tests/data/notation.txt", &actual).unwrap();
        return;
    }
    assert!(actual == NOTATION, "expectations differ (SKEP_BLESS=1 rewrites them):\n{actual}");
}

#[test]
fn the_list_has_every_row_of_the_table() {
    let listed: Vec<_> = NOTATION
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty())
        .map(|l| Op::decode(&insns(l.split('|').next().unwrap()), 0).unwrap().0.kind())
        .collect();
    for row in &ROWS {
        assert!(listed.contains(&row.kind), "{row:?}");
    }
}

/// Instructions that are legal, mostly; numbers small, mostly.
fn random_insns(u: &mut Unstructured<'_>) -> arbtest::arbitrary::Result<Vec<Insn>> {
    let mut all = Vec::new();
    for _ in 0..u.int_in_range(0..=30)? {
        if u.ratio(1, 20)? {
            all.push(Insn(u.arbitrary()?));
            continue;
        }
        let row = u.choose(&ROWS)?;
        let small = u.ratio(3, 4)?;
        let mut field = |rule: Field, low: i64, high: i64| -> arbtest::arbitrary::Result<i64> {
            Ok(match rule {
                Field::Zero => 0,
                Field::Is(n) => n.into(),
                Field::Free if small => u.int_in_range(low.max(-20)..=high.min(20))?,
                Field::Free => u.int_in_range(low..=high)?,
            })
        };
        let (dst, src) = (field(row.dst, 0, 10)? as u8, field(row.src, 0, 10)? as u8);
        let off = field(row.off, i16::MIN.into(), i16::MAX.into())? as i16;
        let imm = field(row.imm, i32::MIN.into(), i32::MAX.into())? as i32;
        all.push(Insn::new(row.opcode, dst, src, off, imm));
        if let Some(rule) = row.next_imm {
            let imm = field(rule, i32::MIN.into(), i32::MAX.into())? as i32;
            all.push(Insn::new(0, 0, 0, 0, imm));
        }
    }
    Ok(all)
}

#[test]
fn listings_assemble_to_the_same_bytes() {
    arbtest(|u| {
        let insns = random_insns(u)?;
        let (numbers, bytes) = (u.arbitrary()?, u.arbitrary()?);
        let style = Style { numbers, bytes, ..Style::default() };
        let text = listing(&insns, &NoNames, style).to_string();
        let back = asm::parse_insns(&text).unwrap_or_else(|e| panic!("{text}\n{e}"));
        assert_eq!(back, insns, "{text}");
        Ok(())
    });
}

#[test]
fn the_kernels_log_assembles() {
    let log = "0: R1=ctx() R10=fp0\n\
               0: (b7) r0 = 0                        ; R0=0\n\
               1: (61) r2 = *(u32 *)(r1 +4)\n\
               2: (15) if r2 == 0xffffffff goto pc+1\n\
               3: (0f) r0 += r2\n\
               4: (95) exit\n";
    let log: String = log.lines().skip(1).map(|l| format!("{l}\n")).collect();
    let insns = asm::parse_insns(&log).unwrap();
    let style = Style { notation: Notation::Kernel, numbers: true, ..Style::default() };
    let expected = "   0: (b7) r0 = 0\n   1: (61) r2 = *(u32 *)(r1 +4)\n   2: (15) if r2 == 0xffffffff goto pc+1\n   \
                    3: (0f) r0 += r2\n   4: (95) exit\n";
    assert_eq!(listing(&insns, &NoNames, style).to_string(), expected);
}

#[test]
fn other_spellings_are_taken() {
    let same = [
        ("w1 = *(u32 *)(r2 + 8)", "r1 = *(u32 *)(r2 +8)"),
        ("*(u8*)(r10-1) = w3", "*(u8 *)(r10 -1) = r3"),
        ("r1 = *(u64 *)(r2)", "r1 = *(u64 *)(r2 +0)"),
        ("if r1 == -1 goto +0x2 <LBB0_1>", "if r1 == 0xffffffff goto pc+2"),
        ("w1 = 0xffffffff", "w1 = -1"),
        ("call 5", "call bpf_ktime_get_ns#5"),
        ("w1 = atomic_fetch_add((u32 *)(r2 + 0), w1)", "r1 = atomic_fetch_add((u32 *)(r2 +0), r1)"),
        ("r1 = -5 ll", "r1 = 0xfffffffffffffffb ll"),
        ("r1 = map[id:5]", "r1 = map[fd:5]"),
        ("  goto L // comment\n r0 = 1 # comment\nL: exit", "goto +1\nr0 = 1 ; comment\nexit"),
    ];
    for (a, b) in same {
        assert_eq!(asm::parse_insns(a), asm::parse_insns(b), "{a}");
        assert!(asm::parse_insns(a).is_ok(), "{a}");
    }
}
