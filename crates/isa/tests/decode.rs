//! The opcode table, and decoding and encoding against it: every row, every illegal change of a row, random bytes.

use arbtest::arbtest;
use skep_isa::insn::LDIMM64;
use skep_isa::table::{Field, Kind, ROWS, Row, row_of, rows_of};
use skep_isa::{DecodeError, FieldName, Illegal, Insn, Op};

/// Bytes of a row with these operands.
fn slots(row: &Row, dst: u8, src: u8, off: i16, imm: i32, next: i32) -> Vec<Insn> {
    let pick = |rule, free: i32| match rule {
        Field::Zero => 0,
        Field::Is(n) => n,
        Field::Free => free,
    };
    // Of the two places of callx's register, the canonical one.
    let imm = if row.opcode == 0x8d { 0 } else { imm };
    let dst = pick(row.dst, dst.into()) as u8;
    let src = pick(row.src, src.into()) as u8;
    let first = Insn::new(row.opcode, dst, src, pick(row.off, off.into()) as i16, pick(row.imm, imm));
    let second = row.next_imm.map(|rule| Insn::new(0, 0, 0, 0, pick(rule, next)));
    [first].into_iter().chain(second).collect()
}

#[test]
fn every_row_round_trips() {
    let numbers = [0, 1, -1, 7, i32::MAX, i32::MIN];
    for row in &ROWS {
        for reg in 0..=10u8 {
            for n in numbers {
                let bytes = slots(row, reg, 10 - reg, n as i16, n, n.wrapping_mul(3));
                let (op, len) = Op::decode(&bytes, 0).unwrap_or_else(|e| panic!("{row:?}: {e}"));
                assert_eq!(len, bytes.len(), "{row:?}");
                assert_eq!(len, op.slots());
                assert_eq!(op.kind(), row.kind);
                assert_eq!(op.encode().as_slice(), bytes, "{row:?} {op:?}");
            }
        }
    }
}

#[test]
fn the_table_is_consistent() {
    assert!(ROWS.is_sorted_by_key(|r| r.opcode));
    for (i, row) in ROWS.iter().enumerate() {
        assert_eq!(row_of(row.kind), row, "one row for each kind");
        assert!(rows_of(row.opcode).contains(row));
        assert_eq!(row.next_imm.is_some(), row.opcode == LDIMM64);
        for other in &ROWS[i + 1..] {
            assert_ne!(row.kind, other.kind);
            assert!(row.opcode != other.opcode || told_apart(row, other), "{row:?} {other:?}");
        }
        assert!(row.since != (0, 0) || matches!(row.kind, Kind::Call(_)), "{row:?}");
    }
}

fn told_apart(a: &Row, b: &Row) -> bool {
    let pairs = [(a.src, b.src), (a.off, b.off), (a.imm, b.imm)];
    pairs.iter().any(|p| matches!(p, (Field::Is(m), Field::Is(n)) if m != n))
}

#[test]
fn registers_above_ten_are_named() {
    for row in &ROWS {
        for n in 11..=15u8 {
            for (rule, field, dst, src) in [(row.dst, FieldName::Dst, n, 1), (row.src, FieldName::Src, 1, n)]
            {
                if rule != Field::Free {
                    continue;
                }
                let why = Op::decode(&slots(row, dst, src, 1, 1, 1), 0).unwrap_err().why;
                assert_eq!(why, Illegal::Register { field, number: n.into() }, "{row:?}");
            }
        }
    }
}

#[test]
fn reserved_fields_are_named() {
    for row in &ROWS {
        let good = slots(row, 1, 2, 3, 4, 5);
        let check = |field, rule, changed: Insn, value| {
            if rule == Field::Zero {
                let mut bytes = good.clone();
                bytes[0] = changed;
                let why = Op::decode(&bytes, 0).unwrap_err().why;
                assert_eq!(why, Illegal::Reserved { field, value }, "{row:?}");
            }
        };
        let i = good[0];
        check(FieldName::Dst, row.dst, Insn::new(i.opcode(), 9, i.src(), i.off(), i.imm()), 9);
        check(FieldName::Src, row.src, i.with_src(9), 9);
        check(FieldName::Off, row.off, i.with_off(-300), -300);
        check(FieldName::Imm, row.imm, i.with_imm(1 << 20), 1 << 20);
    }
}

#[test]
fn second_slots_are_checked() {
    for row in rows_of(LDIMM64) {
        let good = slots(row, 1, 2, 3, 4, 5);
        assert_eq!(Op::decode(&good[..1], 0).unwrap_err().why, Illegal::NoSecondSlot);
        let bad = [
            (Insn::new(0x95, 0, 0, 0, 0), FieldName::Code, 0x95),
            (Insn::new(0, 3, 0, 0, 0), FieldName::Dst, 3),
            (Insn::new(0, 0, 4, 0, 0), FieldName::Src, 4),
            (Insn::new(0, 0, 0, 5, 0), FieldName::Off, 5),
        ];
        for (second, field, value) in bad {
            let why = Op::decode(&[good[0], second], 0).unwrap_err().why;
            assert_eq!(why, Illegal::SecondSlot { field, value });
        }
        let with_imm = Op::decode(&[good[0], Insn::new(0, 0, 0, 0, 6)], 0);
        assert_eq!(with_imm.is_ok(), row.next_imm == Some(Field::Free));
    }
}

#[test]
fn opcodes_without_a_row_are_refused() {
    for opcode in 0..=255u8 {
        let why = Op::decode(&[Insn::new(opcode, 1, 1, 0, 0), Insn::default()], 0).err().map(|e| e.why);
        let unknown = matches!(why, Some(Illegal::UnknownOpcode | Illegal::BadSize));
        assert_eq!(unknown, rows_of(opcode).is_empty(), "{opcode:02x} {why:?}");
    }
}

#[test]
fn messages_say_what_where_and_what_is_known() {
    let say = |bytes: [u8; 8]| Op::decode(&[Insn(bytes)], 0).unwrap_err().to_string();
    let cases = [
        ([0xff, 0, 0, 0, 0, 0, 0, 0], "instruction 0 (ff 00 00 00 00 00 00 00): unknown opcode ff"),
        (
            [0x99, 0, 0, 0, 0, 0, 0, 0],
            "instruction 0 (99 00 00 00 00 00 00 00): opcode 99 does not exist in this size or operand kind",
        ),
        (
            [0xd4, 1, 0, 0, 24, 0, 0, 0],
            "instruction 0 (d4 01 00 00 18 00 00 00): imm 24 selects no instruction of opcode d4; known: 16, 32, 64",
        ),
        (
            [0x95, 0, 0, 0, 1, 0, 0, 0],
            "instruction 0 (95 00 00 00 01 00 00 00): reserved field imm is 1, must be 0",
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(say(bytes), expected);
    }
    let past = DecodeError { pc: 4, insn: Insn::default(), why: Illegal::PastEnd { len: 4 } };
    assert_eq!(Op::decode(&[Insn::default(); 4], 4), Err(past));
    assert_eq!(past.to_string(), "instruction 4: the program has 4 instruction slots");
}

#[test]
fn callx_is_read_in_both_encodings() {
    let in_dst = Insn::new(0x8d, 3, 0, 0, 0);
    let in_imm = Insn::new(0x8d, 0, 0, 0, 3);
    let (op, _) = Op::decode(&[in_dst], 0).unwrap();
    assert_eq!(Op::decode(&[in_imm], 0), Ok((op, 1)));
    assert_eq!(op.encode().as_slice(), [in_dst]);
    let both = Op::decode(&[Insn::new(0x8d, 3, 0, 0, 4)], 0).unwrap_err();
    assert_eq!(both.why, Illegal::TwoRegisters { dst: 3, imm: 4 });
}

#[test]
fn random_bytes_round_trip_or_are_refused() {
    arbtest(|u| {
        let mut bytes: [u8; 16] = u.arbitrary()?;
        if u.ratio(3, 4)? {
            bytes[0] = u.choose(&ROWS)?.opcode;
        }
        for i in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] {
            if u.ratio(1, 2)? {
                bytes[i] = if u.ratio(1, 3)? { 1 } else { 0 };
            }
        }
        let insns = Insn::slice_from_bytes(&bytes).unwrap();
        if let Ok((op, n)) = Op::decode(&insns, 0) {
            let legacy_callx = insns[0].opcode() == 0x8d && insns[0].imm() != 0;
            assert!(legacy_callx || op.encode().as_slice() == &insns[..n], "{insns:?} {op:?}");
            assert_eq!(Op::decode(&op.encode(), 0), Ok((op, n)));
        }
        Ok(())
    });
}

#[test]
fn partial_instructions_are_refused() {
    assert_eq!(Insn::slice_from_bytes(&[0; 17]).unwrap_err().len, 17);
    let insns = Insn::slice_from_bytes(&[7; 16]).unwrap();
    assert_eq!(Insn::slice_to_bytes(&insns), [7; 16]);
}
