//! `docs/instructions.md` says what the opcode table says. `SKEP_BLESS=1` rewrites it.
#![allow(clippy::unwrap_used)]

use skep_isa::table::{Field, Group, ROWS, Row};
use skep_isa::{Insn, Op};
use std::fmt::Write;
use std::path::Path;

/// An instruction of this shape.
fn example(row: &Row) -> Op {
    let pick = |rule, free: i32| match rule {
        Field::Zero => 0,
        Field::Is(n) => n,
        Field::Free => free,
    };
    let imm = if row.group == Group::Callx { 0 } else { 8 };
    let first = Insn::new(
        row.opcode,
        pick(row.dst, 1) as u8,
        pick(row.src, 2) as u8,
        pick(row.off, 4) as i16,
        pick(row.imm, imm),
    );
    let second = Insn::new(0, 0, 0, 0, pick(row.next_imm.unwrap_or(Field::Zero), 0));
    Op::decode(&[first, second], 0).unwrap().0
}

fn field(rule: Field) -> String {
    match rule {
        Field::Zero => String::new(),
        Field::Is(n) if n > 64 => format!("{n:#x}"),
        Field::Is(n) => n.to_string(),
        Field::Free => "any".into(),
    }
}

#[test]
fn instructions() {
    let mut text = String::from(
        "# Instructions\n\nGenerated from the opcode table in `crates/isa/src/table.rs`; `cargo xtask bless` rewrites it.\n\n\
         One row for each legal shape of an instruction. An empty field is reserved and must be zero; `any` is a register \
         for `dst` and `src`, a number for `off` and `imm`; `imm 2` is the immediate of the second slot. Groups are those of \
         RFC 9669 section 2.4, `linux` what the kernel has beyond it; `since` is the first Linux with it (none has \
         `callx`).\n\n\
         | opcode | example | dst | src | off | imm | imm 2 | group | since |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in &ROWS {
        let (dst, src, off, imm) = (field(row.dst), field(row.src), field(row.off), field(row.imm));
        let next = row.next_imm.map_or(String::new(), field);
        let op = example(row).to_string().replace('|', "\\|");
        let group = row.group.name();
        let since = match row.since {
            (0, 0) => String::new(),
            (major, minor) => format!("{major}.{minor}"),
        };
        writeln!(
            text,
            "| {:#04x} | `{op}` | {dst} | {src} | {off} | {imm} | {next} | {group} | {since} |",
            row.opcode
        )
        .unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/instructions.md");
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "docs/instructions.md is not what the table says; `cargo xtask bless` rewrites it"
    );
}
