//! One instruction of assembly text → [`Op`], with the name that it refers to when there is one ([`Fix`]), to be
//! resolved when the whole text is read. The grammar is that of [`crate::disasm`], and liberal as clang's own: `w`
//! registers in narrow loads, `r1 + 4`, hexadecimal anywhere, `<symbol>` after targets.

use super::error::{AsmError, Why};
use super::lex::{Cursor, Tok};
use super::object::Target;
use crate::op::{AluOp, AtomicOp, Callee, Endian, Imm64, Op, Operand, Reg, Size, Width};
use crate::table::{ALU_OPS, ATOMICS, CONDS, ENDIANS, SIZES};
use alloc::string::String;

/// What an instruction refers to by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fix {
    /// A jump: the label's distance goes into the offset.
    Jump(String),
    /// A call: a label of the section resolves, anything else becomes a relocation; the addend is in bytes.
    Call(Target, i64),
    /// A 64-bit load: always a relocation. The addend is already in the immediate.
    Load(Target),
}

/// An instruction as read, and the token to blame when its name resolves to nothing.
pub(super) struct Parsed {
    pub(super) op: Op,
    pub(super) fix: Option<(Fix, usize)>,
}

impl From<Op> for Parsed {
    fn from(op: Op) -> Parsed {
        Parsed { op, fix: None }
    }
}

type Result<T, E = AsmError> = core::result::Result<T, E>;

/// Reads one instruction up to the end of the line.
pub(super) fn parse(c: &mut Cursor<'_>) -> Result<Parsed> {
    let parsed = match c.peek() {
        Some(Tok::Op("*")) => store(c)?.into(),
        Some(Tok::Word(w)) => match w.as_str() {
            "if" => jump_if(c)?,
            "goto" | "gotol" | "may_goto" => jump(c)?,
            "call" => call(c)?,
            "callx" => {
                c.skip();
                Op::Call(Callee::Reg(c.reg()?)).into()
            }
            "exit" => {
                c.skip();
                Op::Exit.into()
            }
            "lock" => lock(c)?.into(),
            "store_release" => store_release(c)?.into(),
            _ if c.peek_reg().is_some() => assignment(c)?,
            _ => return c.expected("an instruction, a directive or a label"),
        },
        _ => return c.expected("an instruction, a directive or a label"),
    };
    c.end()?;
    Ok(parsed)
}

const fn width_of(wide: bool) -> Width {
    if wide { Width::W64 } else { Width::W32 }
}

/// `r1 OP …`
fn assignment(c: &mut Cursor<'_>) -> Result<Parsed> {
    let (dst, wide) = c.any_reg()?;
    let width = width_of(wide);
    let mark = c.mark();
    let symbol = c.operator("an assignment operator, such as = or +=")?;
    let Some(&(op, ..)) = ALU_OPS.iter().find(|r| r.3 == symbol) else {
        return Err(c.error_at(mark, Why::Expected("an assignment operator, such as = or +=")));
    };
    if op != AluOp::Mov {
        let src = operand(c, width)?;
        return Ok(Op::Alu { op, width, dst, src }.into());
    }
    match c.peek() {
        Some(Tok::Op("-")) if matches!(c.peek_at(1), Some(Tok::Word(_))) => negation(c, dst, width),
        Some(Tok::Num(..) | Tok::Op("-" | "+")) => number(c, dst, width),
        Some(Tok::Op("(")) => sign_extension(c, dst, width),
        Some(Tok::Op("*")) => load(c, dst, wide),
        _ if c.peek_reg().is_some() => {
            let src = operand(c, width)?;
            Ok(Op::Alu { op, width, dst, src }.into())
        }
        Some(Tok::Word(w)) => assigned_word(c, w, dst, wide),
        Some(Tok::Str(_)) => symbol_load(c, dst),
        _ => c.expected("a value: a register, number, load, atomic operation or symbol"),
    }
}

/// A register of the width, or a number.
fn operand(c: &mut Cursor<'_>, width: Width) -> Result<Operand> {
    let Some((reg, wide)) = c.peek_reg() else {
        let what = "an immediate (32 bits, sign-extended)";
        let imm = if width == Width::W64 { c.i32(what)? } else { c.pattern32("an immediate (32 bits)")? };
        return Ok(Operand::Imm(imm));
    };
    if width_of(wide) != width {
        return Err(c.error(Why::MixedWidths));
    }
    c.skip();
    Ok(Operand::Reg(reg))
}

fn negation(c: &mut Cursor<'_>, dst: Reg, width: Width) -> Result<Parsed> {
    c.skip();
    let mark = c.mark();
    if c.any_reg()? != (dst, width == Width::W64) {
        return Err(c.error_at(mark, Why::SameRegister));
    }
    Ok(Op::Neg { width, dst }.into())
}

/// `= 5` is a move, `= 5 ll` the two-slot load.
fn number(c: &mut Cursor<'_>, dst: Reg, width: Width) -> Result<Parsed> {
    let mark = c.mark();
    let value = c.pattern64("a number (64 bits)")?;
    if c.eat_word("ll") {
        return if width == Width::W64 {
            Ok(Op::LoadImm64 { dst, imm: Imm64::Value(value) }.into())
        } else {
            Err(c.error_at(mark, Why::NoSuchForm("64-bit loads take r registers only")))
        };
    }
    let signed = value as i64;
    let imm = match (i32::try_from(signed), width) {
        (Ok(imm), _) => imm,
        (Err(_), Width::W32) if value <= u32::MAX.into() => value as u32 as i32,
        _ => {
            return Err(c.error_at(
                mark,
                Why::NoSuchForm(
                    "does not fit in 32 signed bits: add `ll` for a 64-bit load, or write it negative",
                ),
            ));
        }
    };
    Ok(Op::Alu { op: AluOp::Mov, width, dst, src: Operand::Imm(imm) }.into())
}

/// `= (s8)r2`
fn sign_extension(c: &mut Cursor<'_>, dst: Reg, width: Width) -> Result<Parsed> {
    c.expect("(", "(")?;
    let mark = c.mark();
    let bits = match c.peek() {
        Some(Tok::Word(w)) if w == "s8" => 8,
        Some(Tok::Word(w)) if w == "s16" => 16,
        Some(Tok::Word(w)) if w == "s32" => 32,
        _ => return c.expected("s8, s16 or s32"),
    };
    c.skip();
    c.expect(")", ")")?;
    if bits == 32 && width == Width::W32 {
        return Err(c.error_at(mark, Why::NoSuchForm("32-bit moves extend s8 and s16 only")));
    }
    let mark = c.mark();
    let (src, wide) = c.any_reg()?;
    if width_of(wide) != width {
        return Err(c.error_at(mark, Why::MixedWidths));
    }
    Ok(Op::MovSx { width, bits, dst, src }.into())
}

/// Size of `u32` or `s32`, and whether it was the signed one.
fn memory_type(c: &mut Cursor<'_>) -> Result<(Size, bool)> {
    let found = match c.peek() {
        Some(Tok::Word(w)) => SIZES.iter().find_map(|&(size, .., bits)| match w.strip_suffix(bits)? {
            "u" => Some((size, false)),
            "s" if size != Size::Dw => Some((size, true)),
            _ => None,
        }),
        _ => None,
    };
    match found {
        Some(found) => {
            c.skip();
            Ok(found)
        }
        None => c.expected("a memory type: u8, u16, u32, u64, s8, s16 or s32"),
    }
}

/// `(u32 *)`, after the star of the access or as an argument.
fn pointer_type(c: &mut Cursor<'_>) -> Result<(Size, bool)> {
    c.expect("(", "( and a memory type")?;
    let found = memory_type(c)?;
    c.expect("*", "*")?;
    c.expect(")", ")")?;
    Ok(found)
}

fn unsigned(c: &mut Cursor<'_>) -> Result<Size> {
    let mark = c.mark();
    match pointer_type(c)? {
        (size, false) => Ok(size),
        (_, true) => Err(c.error_at(mark + 1, Why::NoSuchForm("signed types belong to loads only"))),
    }
}

/// `(r1 +4)`, `(r1 + 4)`, `(r1 - 4)` or `(r1)`.
fn address(c: &mut Cursor<'_>) -> Result<(Reg, i16)> {
    c.expect("(", "( and an address such as (r1 +4)")?;
    let reg = c.reg()?;
    let off = match c.peek() {
        Some(Tok::Op("+" | "-")) => c.i16("an offset (16 bits)")?,
        _ => 0,
    };
    c.expect(")", ") or an offset such as +4")?;
    Ok((reg, off))
}

/// `= *(u32 *)(r1 +4)`, `= *(u32 *)skb[14]`, `= *(u32 *)skb[r6 + 14]`
fn load(c: &mut Cursor<'_>, dst: Reg, wide: bool) -> Result<Parsed> {
    c.expect("*", "*")?;
    let mark = c.mark();
    let (size, sx) = pointer_type(c)?;
    if !wide && (sx || size == Size::Dw) {
        return Err(c.error_at(mark + 1, Why::NoSuchForm("this load writes 64 bits: use the r register")));
    }
    if !c.eat_word("skb") {
        let (src, off) = address(c)?;
        return Ok(Op::Load { size, sx, dst, src, off }.into());
    }
    if dst != Reg::R0 || !wide || sx || size == Size::Dw {
        return Err(c.error_at(mark, Why::NoSuchForm("packet loads are r0 = *(u8 *)skb[…], u16 or u32")));
    }
    packet_load(c, size).map(Parsed::from)
}

fn packet_load(c: &mut Cursor<'_>, size: Size) -> Result<Op> {
    c.expect("[", "[")?;
    let what = "an offset (32 bits)";
    let op = if c.peek_reg().is_some() {
        let src = c.reg()?;
        let imm = match c.peek() {
            Some(Tok::Op("+")) => {
                c.skip();
                c.i32(what)?
            }
            Some(Tok::Op("-")) => c.i32(what)?,
            _ => 0,
        };
        Op::LoadInd { size, src, imm }
    } else {
        Op::LoadAbs { size, imm: c.i32(what)? }
    };
    c.expect("]", "]")?;
    Ok(op)
}

/// `*(u32 *)(r1 +4) = r2`
fn store(c: &mut Cursor<'_>) -> Result<Op> {
    c.expect("*", "*")?;
    let size = unsigned(c)?;
    let (dst, off) = address(c)?;
    c.expect("=", "=")?;
    let src = match c.peek_reg() {
        Some((reg, wide)) => {
            if !wide && size == Size::Dw {
                return c.expected("a 64-bit register, r0 to r10");
            }
            c.skip();
            Operand::Reg(reg)
        }
        None if size == Size::Dw => Operand::Imm(c.i32("an immediate (32 bits, sign-extended)")?),
        None => Operand::Imm(c.pattern32("a register or an immediate (32 bits)")?),
    };
    Ok(Op::Store { size, dst, off, src })
}

/// Width of an atomic operation on this size.
fn atomic_width(c: &Cursor<'_>, mark: usize, size: Size) -> Result<Width> {
    match size {
        Size::W => Ok(Width::W32),
        Size::Dw => Ok(Width::W64),
        _ => Err(c.error_at(mark, Why::NoSuchForm("atomic operations work on u32 and u64"))),
    }
}

/// A register of an atomic operation: `w` registers are clang's spelling of the 32-bit ones.
fn atomic_reg(c: &mut Cursor<'_>, width: Width) -> Result<Reg> {
    let mark = c.mark();
    let (reg, wide) = c.any_reg()?;
    if !wide && width == Width::W64 {
        return Err(c.error_at(mark, Why::MixedWidths));
    }
    Ok(reg)
}

/// `lock *(u64 *)(r10 -8) += r1`
fn lock(c: &mut Cursor<'_>) -> Result<Op> {
    c.skip();
    c.expect("*", "* and a memory type")?;
    let mark = c.mark() + 1;
    let size = unsigned(c)?;
    let width = atomic_width(c, mark, size)?;
    let (dst, off) = address(c)?;
    let mark = c.mark();
    let symbol = c.operator("+=, |=, &= or ^=")?;
    let found = ATOMICS.iter().find(|r| !r.0.fetches() && r.0.symbol() == symbol);
    let Some(&(op, ..)) = found else { return Err(c.error_at(mark, Why::Expected("+=, |=, &= or ^="))) };
    let src = atomic_reg(c, width)?;
    Ok(Op::Atomic { op, width, dst, src, off })
}

/// `store_release((u64 *)(r10 -8), r1)`
fn store_release(c: &mut Cursor<'_>) -> Result<Op> {
    c.skip();
    c.expect("(", "(")?;
    let size = unsigned(c)?;
    let (dst, off) = address(c)?;
    c.expect(",", ",")?;
    let src = atomic_reg(c, if size == Size::Dw { Width::W64 } else { Width::W32 })?;
    c.expect(")", ")")?;
    Ok(Op::StoreRelease { size, dst, src, off })
}

/// What may follow `=` as a word: a byte swap, an atomic operation, a pseudo source, a symbol.
fn assigned_word(c: &mut Cursor<'_>, word: &str, dst: Reg, wide: bool) -> Result<Parsed> {
    if let Some((kind, bits)) = byte_order(word) {
        return byte_swap(c, kind, bits, dst, wide);
    }
    match (word, c.peek_at(1)) {
        ("load_acquire", Some(Tok::Op("("))) => load_acquire(c, dst, wide),
        ("addr_space_cast", Some(Tok::Op("("))) => addr_space_cast(c, dst, wide),
        ("map" | "subprog" | "ksym", Some(Tok::Op("["))) => pseudo(c, word, dst, wide),
        ("section", Some(Tok::Op("("))) => symbol_load(c, dst),
        (_, Some(Tok::Op("("))) => match atomic_name(word) {
            Some((op, width)) => atomic(c, op, width, dst),
            None => c.expected("atomic_…, atomic64_…, load_acquire, addr_space_cast or section"),
        },
        _ => symbol_load(c, dst),
    }
}

fn byte_order(word: &str) -> Option<(Endian, u8)> {
    ENDIANS.iter().find_map(|r| {
        let bits = match word.strip_prefix(r.3)? {
            "16" => 16,
            "32" => 32,
            "64" => 64,
            _ => return None,
        };
        Some((r.0, bits))
    })
}

fn byte_swap(c: &mut Cursor<'_>, kind: Endian, bits: u8, dst: Reg, wide: bool) -> Result<Parsed> {
    c.skip();
    let mark = c.mark();
    if !wide || c.reg()? != dst {
        return Err(c.error_at(mark, Why::SameRegister));
    }
    Ok(Op::End { kind, bits, dst }.into())
}

fn atomic_name(word: &str) -> Option<(AtomicOp, Width)> {
    let (name, width) = match (word.strip_prefix("atomic64_"), word.strip_prefix("atomic_")) {
        (Some(name), _) => (name, Width::W64),
        (_, Some(name)) => (name, Width::W32),
        _ => return None,
    };
    ATOMICS.iter().find(|r| r.0.fetches() && r.2 == name).map(|r| (r.0, width))
}

/// `r1 = atomic64_fetch_add((u64 *)(r10 -8), r1)`, `r0 = atomic64_cmpxchg((u64 *)(r10 -8), r0, r1)`
fn atomic(c: &mut Cursor<'_>, op: AtomicOp, width: Width, result: Reg) -> Result<Parsed> {
    c.skip();
    c.expect("(", "(")?;
    let mark = c.mark() + 1;
    if unsigned(c)? != width.size() {
        return Err(c.error_at(mark, Why::NoSuchForm("atomic_… works on u32, atomic64_… on u64")));
    }
    let (dst, off) = address(c)?;
    c.expect(",", ",")?;
    let mut must_be = result;
    if op == AtomicOp::Cmpxchg {
        let mark = c.mark();
        if result != Reg::R0 || atomic_reg(c, width)? != Reg::R0 {
            return Err(c.error_at(mark, Why::NoSuchForm("compare-and-exchange works with r0")));
        }
        c.expect(",", ",")?;
    }
    let mark = c.mark();
    let src = atomic_reg(c, width)?;
    if op == AtomicOp::Cmpxchg {
        must_be = src;
    }
    if src != must_be {
        return Err(c.error_at(mark, Why::SameRegister));
    }
    c.expect(")", ")")?;
    Ok(Op::Atomic { op, width, dst, src, off }.into())
}

fn load_acquire(c: &mut Cursor<'_>, dst: Reg, wide: bool) -> Result<Parsed> {
    c.skip();
    c.expect("(", "(")?;
    let mark = c.mark() + 1;
    let size = unsigned(c)?;
    if !wide && size == Size::Dw {
        return Err(c.error_at(mark, Why::MixedWidths));
    }
    let (src, off) = address(c)?;
    c.expect(")", ")")?;
    Ok(Op::LoadAcquire { size, dst, src, off }.into())
}

fn addr_space_cast(c: &mut Cursor<'_>, dst: Reg, wide: bool) -> Result<Parsed> {
    if !wide {
        return c.expected("a 64-bit destination register for addr_space_cast");
    }
    c.skip();
    c.expect("(", "(")?;
    let src = c.reg()?;
    c.expect(",", ",")?;
    let to = c.u16("an address space (16 bits)")?;
    c.expect(",", ",")?;
    let from = c.u16("an address space (16 bits)")?;
    c.expect(")", ")")?;
    Ok(Op::AddrSpaceCast { dst, src, to, from }.into())
}

/// `map[fd:3]`, `map[fd:3][0]+8`, `map[idx:3]`, `subprog[+5]`, `ksym[btf_id:7, fd:3]`
fn pseudo(c: &mut Cursor<'_>, word: &str, dst: Reg, wide: bool) -> Result<Parsed> {
    if !wide {
        return c.expected("a 64-bit destination register for a 64-bit load");
    }
    c.skip();
    c.expect("[", "[")?;
    let imm = match word {
        "map" => map_reference(c)?,
        "subprog" => Imm64::Func(c.i32("a distance in slots (32 bits)")?),
        _ => ksym_reference(c)?,
    };
    if !matches!(imm, Imm64::MapFdValue { .. } | Imm64::MapIdxValue { .. }) {
        c.expect("]", "]")?;
    }
    Ok(Op::LoadImm64 { dst, imm }.into())
}

fn map_reference(c: &mut Cursor<'_>) -> Result<Imm64> {
    let by_index = c.eat_word("idx");
    if !by_index && !c.eat_word("fd") && !c.eat_word("id") {
        return c.expected("fd: or idx: and a number");
    }
    c.expect(":", ":")?;
    let n = c.pattern32("a map number (32 bits)")?;
    if c.peek_at(1) != Some(&Tok::Op("[")) {
        return Ok(if by_index { Imm64::MapIdx(n) } else { Imm64::MapFd(n) });
    }
    c.expect("]", "]")?;
    c.expect("[", "[")?;
    c.number("the index of the value, which is 0", 0, 0)?;
    c.expect("]", "]")?;
    c.expect("+", "+ and an offset into the value")?;
    let off = c.u32("an offset (32 bits)")?;
    Ok(if by_index { Imm64::MapIdxValue { idx: n, off } } else { Imm64::MapFdValue { fd: n, off } })
}

fn ksym_reference(c: &mut Cursor<'_>) -> Result<Imm64> {
    if !c.eat_word("btf_id") {
        return c.expected("btf_id: and a number");
    }
    c.expect(":", ":")?;
    let id = c.pattern32("a BTF id (32 bits)")?;
    let mut fd = 0;
    if c.eat(",") {
        if !c.eat_word("fd") {
            return c.expected("fd: and a number");
        }
        c.expect(":", ":")?;
        fd = c.pattern32("a file descriptor (32 bits)")?;
    }
    Ok(Imm64::BtfId { id, fd })
}

/// `= counters ll`, `= .rodata+8 ll`
fn symbol_load(c: &mut Cursor<'_>, dst: Reg) -> Result<Parsed> {
    let mark = c.mark();
    let target = target(c)?;
    let addend = match c.peek() {
        Some(Tok::Op("+" | "-")) => c.pattern64("an offset (64 bits)")?,
        _ => 0,
    };
    if !c.eat_word("ll") {
        return c.expected("ll after the symbol of a 64-bit load");
    }
    let op = Op::LoadImm64 { dst, imm: Imm64::Value(addend) };
    Ok(Parsed { op, fix: Some((Fix::Load(target), mark)) })
}

/// A symbol's name, or `section(NAME)`.
pub(super) fn target(c: &mut Cursor<'_>) -> Result<Target> {
    let is_section =
        matches!(c.peek(), Some(Tok::Word(w)) if w == "section") && c.peek_at(1) == Some(&Tok::Op("("));
    if !is_section {
        return c.name("a symbol").map(Target::Symbol);
    }
    c.skip();
    c.skip();
    let name = c.name("a section's name")?;
    c.expect(")", ")")?;
    Ok(Target::Section(name))
}

/// `if r1 s> r2 goto +5`
fn jump_if(c: &mut Cursor<'_>) -> Result<Parsed> {
    c.skip();
    let (dst, wide) = c.any_reg()?;
    let width = width_of(wide);
    let mark = c.mark();
    let symbol = c.operator("a comparison, such as == or s>")?;
    let Some(&(cond, ..)) = CONDS.iter().find(|r| r.2 == symbol) else {
        return Err(c.error_at(mark, Why::Expected("a comparison, such as == or s>")));
    };
    let src = match c.peek_reg() {
        Some(_) => operand(c, width)?,
        None => Operand::Imm(c.pattern32("a register or an immediate (32 bits)")?),
    };
    if !c.eat_word("goto") {
        return c.expected("goto");
    }
    let (off, fix) = short_target(c)?;
    Ok(Parsed { op: Op::JumpIf { cond, width, dst, src, off }, fix })
}

/// `goto +5`, `gotol label`, `may_goto +2`
fn jump(c: &mut Cursor<'_>) -> Result<Parsed> {
    if c.eat_word("gotol") {
        let (off, fix) = jump_target(c, i32::MIN.into(), i32::MAX.into())?;
        return Ok(Parsed { op: Op::Ja { off: off as i32, long: true }, fix });
    }
    let may = c.eat_word("may_goto");
    if !may {
        c.skip();
    }
    let (off, fix) = short_target(c)?;
    let op = if may { Op::MayGoto { off } } else { Op::Ja { off: off.into(), long: false } };
    Ok(Parsed { op, fix })
}

fn short_target(c: &mut Cursor<'_>) -> Result<(i16, Option<(Fix, usize)>)> {
    jump_target(c, i16::MIN.into(), i16::MAX.into()).map(|(off, fix)| (off as i16, fix))
}

/// A label, or a distance: `+5`, `pc-3`.
fn jump_target(c: &mut Cursor<'_>, min: i128, max: i128) -> Result<(i128, Option<(Fix, usize)>)> {
    let mark = c.mark();
    c.eat_word("pc");
    let found = match c.peek() {
        Some(Tok::Op("+" | "-")) => (c.number("a distance in slots", min, max)?, None),
        Some(Tok::Word(_) | Tok::Str(_)) if mark == c.mark() => {
            (0, Some((Fix::Jump(c.name("a label")?), mark)))
        }
        _ => return c.expected("a label, or a distance such as +5"),
    };
    angle_comment(c)?;
    Ok(found)
}

/// `<LBB0_1>`, which llvm-objdump writes after targets.
fn angle_comment(c: &mut Cursor<'_>) -> Result<()> {
    if !c.eat("<") {
        return Ok(());
    }
    while !c.eat(">") {
        if c.peek().is_none() {
            return c.expected(">");
        }
        c.skip();
    }
    Ok(())
}

/// `call bpf_x#1`, `call pc+3`, `call kfunc bpf_x#7 off=2`, `call symbol`, `call section+16`, `call 1`
fn call(c: &mut Cursor<'_>) -> Result<Parsed> {
    c.skip();
    let mark = c.mark();
    if c.eat_word("kfunc") {
        return kfunc(c).map(Parsed::from);
    }
    if matches!(c.peek(), Some(Tok::Num(..) | Tok::Op("-"))) {
        return Ok(Op::Call(Callee::Helper(c.i32("a helper number (32 bits)")?)).into());
    }
    if matches!(c.peek(), Some(Tok::Word(w)) if w == "pc") {
        c.skip();
        let off = c.i32("a distance in slots, such as +3")?;
        angle_comment(c)?;
        return Ok(Op::Call(Callee::Local(off)).into());
    }
    let target = target(c)?;
    if c.eat("#") {
        return Ok(Op::Call(Callee::Helper(c.i32("a helper number (32 bits)")?)).into());
    }
    let addend = match c.peek() {
        Some(Tok::Op("+" | "-")) => c.number("an offset in bytes", -(1 << 34), 1 << 34)? as i64,
        _ => 0,
    };
    if addend % 8 != 0 {
        return Err(c.error_at(mark, Why::NoSuchForm("an offset into code is a multiple of 8 bytes")));
    }
    let Ok(imm) = i32::try_from(addend / 8 - 1) else {
        return Err(c.error_at(mark, Why::NoSuchForm("the offset does not fit in 32 bits of slots")));
    };
    Ok(Parsed { op: Op::Call(Callee::Local(imm)), fix: Some((Fix::Call(target, addend), mark)) })
}

fn kfunc(c: &mut Cursor<'_>) -> Result<Op> {
    if c.peek() != Some(&Tok::Op("#")) {
        c.name("# and a BTF id, or the function's name")?;
    }
    c.expect("#", "# and a BTF id")?;
    let id = c.i32("a BTF id (32 bits)")?;
    let mut off = 0;
    if c.eat_word("off") {
        c.expect("=", "=")?;
        off = c.i16("a module index (16 bits)")?;
    }
    Ok(Op::Call(Callee::Kfunc { id, off }))
}
