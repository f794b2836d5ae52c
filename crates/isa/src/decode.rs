//! Bytes → value → bytes. [`Op::decode`] judges one instruction and names the one thing that is wrong;
//! [`Op::encode`] writes the canonical bytes. Both read [`crate::table`] and know no opcode themselves.
//!
//! Always holds (tested over all rows and over random bytes): what decodes, encodes to the same bytes again, except
//! `callx` with its register in `imm` (clang before 19), which encodes to the form with the register in `dst`.

use crate::insn::Insn;
use crate::op::{Callee, Imm64, Op, Operand, Reg};
use crate::table::{CallKind, Field, Kind, Pseudo, ROW_COUNT, ROWS, Row, Src, row_numbers, row_of, rows_of};
use core::fmt;

/// Name of a field of an instruction slot, as the UAPI's `struct bpf_insn` calls it (without `_reg`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum FieldName {
    Code,
    Dst,
    Src,
    Off,
    Imm,
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FieldName::Code => "code",
            FieldName::Dst => "dst",
            FieldName::Src => "src",
            FieldName::Off => "off",
            FieldName::Imm => "imm",
        })
    }
}

/// Why eight bytes are no legal instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Illegal {
    /// There is no instruction at this index.
    PastEnd {
        /// Number of slots in the program.
        len: usize,
    },
    /// No instruction has this opcode byte.
    UnknownOpcode,
    /// The opcode byte belongs to a class and operation that exist, but not with this size or source bit.
    BadSize,
    /// A reserved field is not zero.
    Reserved {
        /// Which.
        field: FieldName,
        /// What it holds.
        value: i32,
    },
    /// A field that selects among the instructions of this opcode holds a number that none of them has.
    UnknownVariant {
        /// Which.
        field: FieldName,
        /// What it holds.
        value: i32,
    },
    /// A register number above 10.
    Register {
        /// Where.
        field: FieldName,
        /// The number.
        number: i32,
    },
    /// `ldimm64` stands in the last slot.
    NoSecondSlot,
    /// A field of the second slot of `ldimm64` is not zero.
    SecondSlot {
        /// Which.
        field: FieldName,
        /// What it holds.
        value: i32,
    },
    /// `callx` names a register in `dst` and another in `imm`.
    TwoRegisters {
        /// Number in `dst`.
        dst: i32,
        /// Number in `imm`.
        imm: i32,
    },
}

/// An illegal instruction: where, the bytes, and what is wrong with them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DecodeError {
    /// Index of the slot.
    pub pc: usize,
    /// The slot (zero when there is none).
    pub insn: Insn,
    /// What is wrong.
    pub why: Illegal,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instruction {}", self.pc)?;
        if !matches!(self.why, Illegal::PastEnd { .. }) {
            write!(f, " ({:?})", self.insn)?;
        }
        let code = self.insn.opcode();
        match self.why {
            Illegal::PastEnd { len } => write!(f, ": the program has {len} instruction slots"),
            Illegal::UnknownOpcode => write!(f, ": unknown opcode {code:02x}"),
            Illegal::BadSize => write!(f, ": opcode {code:02x} does not exist in this size or operand kind"),
            Illegal::Reserved { field, value } => write!(f, ": reserved field {field} is {value}, must be 0"),
            Illegal::UnknownVariant { field, value } => {
                write!(f, ": {field} {value} selects no instruction of opcode {code:02x}; known: ")?;
                write_known(f, code, field)
            }
            Illegal::Register { field, number } => {
                write!(f, ": register {number} in {field}; registers are r0 to r10")
            }
            Illegal::NoSecondSlot => {
                write!(f, ": a 64-bit load takes two slots, and the program ends after the first")
            }
            Illegal::SecondSlot { field, value } => {
                write!(f, ": {field} of the second slot of a 64-bit load is {value}, must be 0")
            }
            Illegal::TwoRegisters { dst, imm } => {
                write!(f, ": callx with register {dst} in dst and {imm} in imm; one of them must be 0")
            }
        }
    }
}

fn write_known(f: &mut fmt::Formatter<'_>, opcode: u8, field: FieldName) -> fmt::Result {
    let mut last = None;
    for row in rows_of(opcode) {
        let Field::Is(n) = field_rule(row, field) else { continue };
        if last == Some(n) {
            continue;
        }
        f.write_str(if last.is_some() { ", " } else { "" })?;
        write!(f, "{n}")?;
        last = Some(n);
    }
    Ok(())
}

impl core::error::Error for DecodeError {}

/// The canonical bytes of an instruction: one slot or two.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Encoded {
    slots: [Insn; 2],
    len: u8,
}

impl Encoded {
    /// The slots: one, or two for `ldimm64`.
    pub fn as_slice(&self) -> &[Insn] {
        self.slots.get(..self.len as usize).unwrap_or(&[])
    }
}

impl core::ops::Deref for Encoded {
    type Target = [Insn];
    fn deref(&self) -> &[Insn] {
        self.as_slice()
    }
}

impl Op {
    /// The instruction at slot `pc`, and how many slots it takes (1 or 2). Constant time, no allocation. Fails with
    /// the first rule that the bytes break.
    pub fn decode(insns: &[Insn], pc: usize) -> Result<(Op, usize), DecodeError> {
        let Some(&insn) = insns.get(pc) else {
            let why = Illegal::PastEnd { len: insns.len() };
            return Err(DecodeError { pc, insn: Insn::default(), why });
        };
        let mut op = Op::Exit;
        if decode_usual(insn, &mut op) {
            return Ok((op, 1));
        }
        let second = pc.checked_add(1).and_then(|n| insns.get(n)).copied();
        decode_unusual(insn, second).map_err(|why| DecodeError { pc, insn, why })
    }

    /// As [`Op::decode`], into `op`, for programs that are decoded as a whole: the value is written where it stays. How many slots
    /// the instruction takes; on failure `op` is as it was.
    #[inline(always)]
    pub fn decode_into(insns: &[Insn], pc: usize, op: &mut Op) -> Result<usize, DecodeError> {
        if insns.get(pc).is_some_and(|insn| decode_usual(*insn, op)) {
            return Ok(1);
        }
        let (made, slots) = Op::decode(insns, pc)?;
        *op = made;
        Ok(slots)
    }

    /// The canonical bytes. Immediates and offsets that the variant carries are written as they are; a value that no
    /// bytes decode to (a sign-extending load of 64 bits, a byte swap of 24) encodes to some other instruction.
    pub fn encode(&self) -> Encoded {
        let row = row_of(self.kind());
        let f = Fields::of(self);
        let fixed = |rule: Field, n: i32| match rule {
            Field::Zero => 0,
            Field::Is(n) => n,
            Field::Free => n,
        };
        let first = Insn::new(
            row.opcode,
            fixed(row.dst, f.dst) as u8,
            fixed(row.src, f.src) as u8,
            fixed(row.off, f.off) as i16,
            fixed(row.imm, f.imm),
        );
        match row.next_imm {
            None => Encoded { slots: [first, Insn::default()], len: 1 },
            Some(rule) => Encoded { slots: [first, Insn::new(0, 0, 0, 0, fixed(rule, f.next_imm))], len: 2 },
        }
    }

    /// How many slots the instruction takes: 2 for `ldimm64`, else 1.
    pub const fn slots(&self) -> usize {
        if matches!(self, Op::LoadImm64 { .. }) { 2 } else { 1 }
    }

    /// The row of the opcode table that this instruction belongs to.
    pub fn row(&self) -> &'static Row {
        row_of(self.kind())
    }

    /// The shape of the instruction: everything but its operands.
    pub const fn kind(&self) -> Kind {
        match *self {
            Op::Alu { op, width, src, .. } => Kind::Alu(op, width, src_kind(src)),
            Op::Neg { width, .. } => Kind::Neg(width),
            Op::MovSx { width, bits, .. } => Kind::MovSx(width, bits),
            Op::End { kind, bits, .. } => Kind::End(kind, bits),
            Op::AddrSpaceCast { .. } => Kind::AddrSpaceCast,
            Op::LoadImm64 { imm, .. } => Kind::LoadImm64(imm.pseudo()),
            Op::Load { size, sx, .. } => Kind::Load(size, sx),
            Op::Store { size, src, .. } => Kind::Store(size, src_kind(src)),
            Op::Atomic { op, width, .. } => Kind::Atomic(op, width),
            Op::LoadAcquire { size, .. } => Kind::LoadAcquire(size),
            Op::StoreRelease { size, .. } => Kind::StoreRelease(size),
            Op::LoadAbs { size, .. } => Kind::LoadAbs(size),
            Op::LoadInd { size, .. } => Kind::LoadInd(size),
            Op::Ja { long, .. } => Kind::Ja(long),
            Op::JumpIf { cond, width, src, .. } => Kind::JumpIf(cond, width, src_kind(src)),
            Op::MayGoto { .. } => Kind::MayGoto,
            Op::Call(Callee::Helper(_)) => Kind::Call(CallKind::Helper),
            Op::Call(Callee::Local(_)) => Kind::Call(CallKind::Local),
            Op::Call(Callee::Kfunc { .. }) => Kind::Call(CallKind::Kfunc),
            Op::Call(Callee::Reg(_)) => Kind::Call(CallKind::Reg),
            Op::Exit => Kind::Exit,
        }
    }
}

const fn src_kind(src: Operand) -> Src {
    match src {
        Operand::Reg(_) => Src::Reg,
        Operand::Imm(_) => Src::Imm,
    }
}

impl Imm64 {
    /// The pseudo source.
    pub const fn pseudo(self) -> Pseudo {
        match self {
            Imm64::Value(_) => Pseudo::Value,
            Imm64::MapFd(_) => Pseudo::MapFd,
            Imm64::MapFdValue { .. } => Pseudo::MapFdValue,
            Imm64::BtfId { .. } => Pseudo::BtfId,
            Imm64::Func(_) => Pseudo::Func,
            Imm64::MapIdx(_) => Pseudo::MapIdx,
            Imm64::MapIdxValue { .. } => Pseudo::MapIdxValue,
        }
    }

    /// The immediates of the two slots.
    pub const fn halves(self) -> (i32, i32) {
        match self {
            Imm64::Value(v) => (v as i32, (v >> 32) as i32),
            Imm64::MapFd(n) | Imm64::Func(n) | Imm64::MapIdx(n) => (n, 0),
            Imm64::MapFdValue { fd: n, off } | Imm64::MapIdxValue { idx: n, off } => (n, off as i32),
            Imm64::BtfId { id, fd } => (id, fd),
        }
    }

    const fn from_halves(pseudo: Pseudo, low: i32, high: i32) -> Imm64 {
        match pseudo {
            Pseudo::Value => Imm64::Value((high as u32 as u64) << 32 | low as u32 as u64),
            Pseudo::MapFd => Imm64::MapFd(low),
            Pseudo::MapFdValue => Imm64::MapFdValue { fd: low, off: high as u32 },
            Pseudo::BtfId => Imm64::BtfId { id: low, fd: high },
            Pseudo::Func => Imm64::Func(low),
            Pseudo::MapIdx => Imm64::MapIdx(low),
            Pseudo::MapIdxValue => Imm64::MapIdxValue { idx: low, off: high as u32 },
        }
    }
}

/// The operands of an instruction in the fields where they stand.
#[derive(Clone, Copy, Default)]
struct Fields {
    dst: i32,
    src: i32,
    off: i32,
    imm: i32,
    next_imm: i32,
}

impl Fields {
    fn of(op: &Op) -> Fields {
        let n = |r: Reg| r.index() as i32;
        let mut f = Fields::default();
        match *op {
            Op::Alu { dst, src, .. } => (f.dst, (f.src, f.imm)) = (n(dst), operand(src)),
            Op::Neg { dst, .. } | Op::End { dst, .. } => f.dst = n(dst),
            Op::MovSx { dst, src, .. } => (f.dst, f.src) = (n(dst), n(src)),
            Op::AddrSpaceCast { dst, src, to, from } => {
                (f.dst, f.src) = (n(dst), n(src));
                f.imm = (u32::from(to) << 16 | u32::from(from)) as i32;
            }
            Op::LoadImm64 { dst, imm } => (f.dst, (f.imm, f.next_imm)) = (n(dst), imm.halves()),
            Op::Store { dst, off, src, .. } => {
                (f.dst, f.off, (f.src, f.imm)) = (n(dst), i32::from(off), operand(src));
            }
            Op::Load { dst, src, off, .. }
            | Op::Atomic { dst, src, off, .. }
            | Op::LoadAcquire { dst, src, off, .. }
            | Op::StoreRelease { dst, src, off, .. } => {
                (f.dst, f.src, f.off) = (n(dst), n(src), i32::from(off))
            }
            Op::LoadAbs { imm, .. } => f.imm = imm,
            Op::LoadInd { src, imm, .. } => (f.src, f.imm) = (n(src), imm),
            Op::Ja { off, .. } => (f.off, f.imm) = (off, off),
            Op::JumpIf { dst, src, off, .. } => {
                (f.dst, f.off, (f.src, f.imm)) = (n(dst), i32::from(off), operand(src))
            }
            Op::MayGoto { off } => f.off = i32::from(off),
            Op::Call(Callee::Helper(id) | Callee::Local(id)) => f.imm = id,
            Op::Call(Callee::Kfunc { id, off }) => (f.imm, f.off) = (id, i32::from(off)),
            Op::Call(Callee::Reg(r)) => f.dst = n(r),
            Op::Exit => {}
        }
        f
    }
}

fn operand(src: Operand) -> (i32, i32) {
    match src {
        Operand::Reg(r) => (r.index() as i32, 0),
        Operand::Imm(i) => (0, i),
    }
}

const FIELDS: [FieldName; 4] = [FieldName::Dst, FieldName::Src, FieldName::Off, FieldName::Imm];

fn field_rule(row: &Row, field: FieldName) -> Field {
    match field {
        FieldName::Code => Field::Is(i32::from(row.opcode)),
        FieldName::Dst => row.dst,
        FieldName::Src => row.src,
        FieldName::Off => row.off,
        FieldName::Imm => row.imm,
    }
}

fn field_value(insn: Insn, field: FieldName) -> i32 {
    match field {
        FieldName::Code => i32::from(insn.opcode()),
        FieldName::Dst => i32::from(insn.dst()),
        FieldName::Src => i32::from(insn.src()),
        FieldName::Off => i32::from(insn.off()),
        FieldName::Imm => insn.imm(),
    }
}

/// What decides over an instruction of one slot.
struct Usual {
    /// These bits of the slot, as a little-endian number, are …
    mask: u64,
    /// … this: what the fields hold that are not free. Nothing is this of a row of two slots.
    value: u64,
    kind: Kind,
}

static USUAL: [Usual; ROW_COUNT] = {
    let mut all = [const { Usual { mask: 0, value: 0, kind: Kind::Exit } }; ROW_COUNT];
    let mut i = 0;
    while i < ROW_COUNT {
        let row = &ROWS[i];
        let fields =
            [(row.dst, 8, 0xf), (row.src, 12, 0xf), (row.off, 16, 0xffff), (row.imm, 32, 0xffff_ffff)];
        let mut f = 0;
        while f < fields.len() {
            let (rule, at, mask) = fields[f];
            match rule {
                Field::Free => {}
                Field::Zero => all[i].mask |= mask << at,
                Field::Is(n) => {
                    all[i].mask |= mask << at;
                    all[i].value |= (n as i64 as u64 & mask) << at;
                }
            }
            f += 1;
        }
        if row.next_imm.is_some() {
            (all[i].mask, all[i].value) = (0, 1);
        }
        all[i].kind = row.kind;
        i += 1;
    }
    all
};

/// Writes the instruction if it is one of one slot, and legal.
#[inline(always)]
fn decode_usual(insn: Insn, op: &mut Op) -> bool {
    let bits = u64::from_le_bytes(insn.0);
    for row in &USUAL[row_numbers(insn.opcode())] {
        if bits & row.mask == row.value {
            return build(row.kind, insn, 0, op).is_ok();
        }
    }
    false
}

/// An instruction of two slots, or an illegal one.
#[inline(never)]
fn decode_unusual(insn: Insn, second: Option<Insn>) -> Result<(Op, usize), Illegal> {
    let mut op = Op::Exit;
    let rows = rows_of(insn.opcode());
    let row = rows.iter().find(|r| selects(r, insn)).ok_or_else(|| no_row(rows, insn))?;
    for field in FIELDS {
        let value = field_value(insn, field);
        if field_rule(row, field) == Field::Zero && value != 0 {
            return Err(Illegal::Reserved { field, value });
        }
    }
    let Some(rule) = row.next_imm else {
        build(row.kind, insn, 0, &mut op)?;
        return Ok((op, 1));
    };
    let next = second.ok_or(Illegal::NoSecondSlot)?;
    for field in [FieldName::Code, FieldName::Dst, FieldName::Src, FieldName::Off, FieldName::Imm] {
        let value = field_value(next, field);
        if value != 0 && (field != FieldName::Imm || rule == Field::Zero) {
            return Err(Illegal::SecondSlot { field, value });
        }
    }
    build(row.kind, insn, next.imm(), &mut op)?;
    Ok((op, 2))
}

/// Do the selecting fields hold this row's numbers?
fn selects(row: &Row, insn: Insn) -> bool {
    FIELDS.iter().all(|&f| match field_rule(row, f) {
        Field::Is(n) => n == field_value(insn, f),
        _ => true,
    })
}

/// No row takes the instruction: because of the opcode, or because of the field that tells its rows apart.
fn no_row(rows: &[Row], insn: Insn) -> Illegal {
    let selector = |row: &Row| FIELDS.into_iter().find(|&f| matches!(field_rule(row, f), Field::Is(_)));
    match rows.first().and_then(selector) {
        Some(field) => Illegal::UnknownVariant { field, value: field_value(insn, field) },
        None if has_neighbour(insn.opcode()) => Illegal::BadSize,
        None => Illegal::UnknownOpcode,
    }
}

/// Does the same operation exist with another size (loads, stores) or another source bit (arithmetic, jumps)?
fn has_neighbour(opcode: u8) -> bool {
    let differs: &[u8] = if opcode & 0x07 < 4 { &[0x08, 0x10, 0x18] } else { &[0x08] };
    differs.iter().any(|d| !rows_of(opcode ^ d).is_empty())
}

#[inline]
fn reg(field: FieldName, number: i32) -> Result<Reg, Illegal> {
    u8::try_from(number).ok().and_then(Reg::new).ok_or(Illegal::Register { field, number })
}

/// The value, once the row is chosen and the reserved fields are zero.
#[inline(always)]
fn build(kind: Kind, insn: Insn, next_imm: i32, to: &mut Op) -> Result<(), Illegal> {
    let dst = || reg(FieldName::Dst, i32::from(insn.dst()));
    let src = || reg(FieldName::Src, i32::from(insn.src()));
    let (off, imm) = (insn.off(), insn.imm());
    let operand = |s| match s {
        Src::Reg => src().map(Operand::Reg),
        Src::Imm => Ok(Operand::Imm(imm)),
    };
    match kind {
        Kind::Alu(op, width, s) => *to = Op::Alu { op, width, dst: dst()?, src: operand(s)? },
        Kind::Neg(width) => *to = Op::Neg { width, dst: dst()? },
        Kind::MovSx(width, bits) => *to = Op::MovSx { width, bits, dst: dst()?, src: src()? },
        Kind::End(kind, bits) => *to = Op::End { kind, bits, dst: dst()? },
        Kind::AddrSpaceCast => {
            let (space, from) = ((imm as u32 >> 16) as u16, imm as u16);
            *to = Op::AddrSpaceCast { dst: dst()?, src: src()?, to: space, from };
        }
        Kind::LoadImm64(pseudo) => {
            *to = Op::LoadImm64 { dst: dst()?, imm: Imm64::from_halves(pseudo, imm, next_imm) };
        }
        Kind::Load(size, sx) => *to = Op::Load { size, sx, dst: dst()?, src: src()?, off },
        Kind::Store(size, s) => *to = Op::Store { size, dst: dst()?, off, src: operand(s)? },
        Kind::Atomic(op, width) => *to = Op::Atomic { op, width, dst: dst()?, src: src()?, off },
        Kind::LoadAcquire(size) => *to = Op::LoadAcquire { size, dst: dst()?, src: src()?, off },
        Kind::StoreRelease(size) => *to = Op::StoreRelease { size, dst: dst()?, src: src()?, off },
        Kind::LoadAbs(size) => *to = Op::LoadAbs { size, imm },
        Kind::LoadInd(size) => *to = Op::LoadInd { size, src: src()?, imm },
        Kind::Ja(long) => *to = Op::Ja { off: if long { imm } else { i32::from(off) }, long },
        Kind::JumpIf(cond, width, s) => *to = Op::JumpIf { cond, width, dst: dst()?, src: operand(s)?, off },
        Kind::MayGoto => *to = Op::MayGoto { off },
        Kind::Call(CallKind::Helper) => *to = Op::Call(Callee::Helper(imm)),
        Kind::Call(CallKind::Local) => *to = Op::Call(Callee::Local(imm)),
        Kind::Call(CallKind::Kfunc) => *to = Op::Call(Callee::Kfunc { id: imm, off }),
        Kind::Call(CallKind::Reg) => *to = Op::Call(Callee::Reg(callx_register(i32::from(insn.dst()), imm)?)),
        Kind::Exit => *to = Op::Exit,
    }
    Ok(())
}

/// The register of `callx`: in `dst` (clang 19 and later, RFC 9669), or in `imm` (clang before).
fn callx_register(dst: i32, imm: i32) -> Result<Reg, Illegal> {
    match (dst, imm) {
        (dst, 0) => reg(FieldName::Dst, dst),
        (0, imm) => reg(FieldName::Imm, imm),
        (dst, imm) => Err(Illegal::TwoRegisters { dst, imm }),
    }
}
