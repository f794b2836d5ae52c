//! The disassembler: instructions in the kernel's notation, as the verifier's log and `bpftool prog dump xlated`
//! write them.
//!
//! [`Op::text`] renders one instruction, [`listing`] a program. Names come from the caller through [`Names`]: this
//! crate knows no helper, map or function. [`Notation::Assembler`] (the default) says a little more where the
//! kernel's words leave the instruction open (`ll` after 64-bit immediates, `kfunc` calls), so that the assembler reads
//! back the same bytes; [`Notation::Kernel`] is the kernel's own text to the letter.

use crate::decode::DecodeError;
use crate::insn::Insn;
use crate::op::{AtomicOp, Callee, Imm64, Op, Operand, Reg, Size, Width};
use crate::table::{ALU_OPS, ATOMICS, CONDS, ENDIANS, SIZES};
use alloc::borrow::Cow;
use core::fmt;

/// Where names come from. Every method may say `None`: then numbers are written.
pub trait Names {
    /// Name of the helper with this number (`bpf_map_lookup_elem`).
    fn helper(&self, _id: i32) -> Option<Cow<'_, str>> {
        None
    }
    /// Name of the kernel function with this BTF id in module `off` (0: vmlinux).
    fn kfunc(&self, _id: i32, _off: i16) -> Option<Cow<'_, str>> {
        None
    }
    /// Name of the map or variable that a 64-bit load refers to; it is added as a comment.
    fn imm64(&self, _imm: Imm64) -> Option<Cow<'_, str>> {
        None
    }
    /// Name of the label or subprogram at this slot, for jumps and calls. A name given here must be one that the
    /// assembler would take as a label.
    fn label(&self, _slot: i64) -> Option<Cow<'_, str>> {
        None
    }
    /// Text of the source line that begins at this slot.
    fn source_line(&self, _slot: usize) -> Option<Cow<'_, str>> {
        None
    }
}

/// Names nothing.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoNames;

impl Names for NoNames {}

/// Whose words.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Notation {
    /// What the assembler reads back to the same bytes: `goto +5`, `r1 = 0x10 ll`, `call kfunc bpf_x#7`.
    #[default]
    Assembler,
    /// The kernel's verifier log: `goto pc+5`, `r1 = 0x10`, `call bpf_x#7`. What a 64-bit load refers to is in
    /// bpftool's words (`map[fd:3]`), where the log has an address.
    Kernel,
}

/// How a listing looks.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Style {
    /// Whose words.
    pub notation: Notation,
    /// Begin each line with the slot number and the opcode byte, as the kernel does: `12: (bf) `.
    pub numbers: bool,
    /// Add the bytes as a comment.
    pub bytes: bool,
    /// Put source lines between, as comments.
    pub source: bool,
}

impl Op {
    /// The instruction at slot `pc` as text, to be written with `{}`.
    pub fn text<'a>(&'a self, pc: usize, names: &'a dyn Names, notation: Notation) -> Text<'a> {
        Text { op: self, pc, names, notation }
    }
}

impl fmt::Display for Op {
    /// The instruction without names, in the assembler's notation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text(0, &NoNames, Notation::Assembler).fmt(f)
    }
}

/// One instruction, ready to be written. Made by [`Op::text`].
#[derive(Clone, Copy)]
pub struct Text<'a> {
    op: &'a Op,
    pc: usize,
    names: &'a dyn Names,
    notation: Notation,
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.op {
            Op::Alu { op, width, dst, src } => {
                write!(f, "{} {} {}", R(width, dst), op.symbol(), Rhs(width, src))
            }
            Op::Neg { width, dst } => write!(f, "{0} = -{0}", R(width, dst)),
            Op::MovSx { width, bits, dst, src } => {
                write!(f, "{} = (s{bits}){}", R(width, dst), R(width, src))
            }
            Op::End { kind, bits, dst } => write!(f, "{dst} = {}{bits} {dst}", kind.name()),
            Op::AddrSpaceCast { dst, src, to, from } => {
                write!(f, "{dst} = addr_space_cast({src}, {to}, {from})")
            }
            Op::LoadImm64 { dst, imm } => self.load_imm64(f, dst, imm),
            Op::Load { size, sx, dst, src, off } => write!(f, "{dst} = {}", Place(size, sx, src, off)),
            Op::Store { size, dst, off, src } => {
                write!(f, "{} = {}", Place(size, false, dst, off), Rhs(Width::W64, src))
            }
            Op::Atomic { op, width, dst, src, off } => {
                atomic(f, op, Cell(width.size(), dst, off), width, src)
            }
            Op::LoadAcquire { size, dst, src, off } => {
                write!(f, "{dst} = load_acquire({})", Cell(size, src, off))
            }
            Op::StoreRelease { size, dst, src, off } => {
                write!(f, "store_release({}, {src})", Cell(size, dst, off))
            }
            Op::LoadAbs { size, imm } => write!(f, "r0 = *(u{} *)skb[{imm}]", size.c_bits()),
            Op::LoadInd { size, src, imm } => write!(f, "r0 = *(u{} *)skb[{src} + {imm}]", size.c_bits()),
            Op::Ja { off, long } => {
                f.write_str(if long { "gotol " } else { "goto " })?;
                self.target(f, off)
            }
            Op::JumpIf { cond, width, dst, src, off } => {
                write!(f, "if {} {} {} goto ", R(width, dst), cond.symbol(), CondRhs(width, src))?;
                self.target(f, off.into())
            }
            Op::MayGoto { off } => {
                f.write_str("may_goto ")?;
                self.target(f, off.into())
            }
            Op::Call(callee) => self.call(f, callee),
            Op::Exit => f.write_str("exit"),
        }
    }
}

impl Text<'_> {
    fn target(&self, f: &mut fmt::Formatter<'_>, off: i32) -> fmt::Result {
        match (self.notation, self.label(off)) {
            (Notation::Assembler, Some(label)) => f.write_str(&label),
            (Notation::Assembler, None) => write!(f, "{off:+}"),
            (Notation::Kernel, _) => write!(f, "pc{off:+}"),
        }
    }

    fn label(&self, off: i32) -> Option<Cow<'_, str>> {
        let pc = i64::try_from(self.pc).ok()?;
        self.names.label(pc.checked_add(1)?.checked_add(off.into())?)
    }

    fn call(&self, f: &mut fmt::Formatter<'_>, callee: Callee) -> fmt::Result {
        match callee {
            Callee::Helper(id) => match self.names.helper(id) {
                Some(name) => write!(f, "call {name}#{id}"),
                None => write!(f, "call unknown#{id}"),
            },
            Callee::Local(off) => match (self.notation, self.label(off)) {
                (Notation::Assembler, Some(label)) => write!(f, "call {label}"),
                _ => write!(f, "call pc{off:+}"),
            },
            Callee::Kfunc { id, off } => self.kfunc(f, id, off),
            Callee::Reg(r) => write!(f, "callx {r}"),
        }
    }

    fn kfunc(&self, f: &mut fmt::Formatter<'_>, id: i32, off: i16) -> fmt::Result {
        let name = self.names.kfunc(id, off);
        if self.notation == Notation::Kernel {
            return write!(f, "call {}#{id}", name.as_deref().unwrap_or("kernel-function"));
        }
        f.write_str("call kfunc")?;
        if let Some(name) = name {
            write!(f, " {name}")?;
        }
        write!(f, "#{id}")?;
        if off == 0 { Ok(()) } else { write!(f, " off={off}") }
    }

    fn load_imm64(&self, f: &mut fmt::Formatter<'_>, dst: Reg, imm: Imm64) -> fmt::Result {
        write!(f, "{dst} = {imm}")?;
        if let (Imm64::Value(_), Notation::Assembler) = (imm, self.notation) {
            f.write_str(" ll")?;
        }
        match self.names.imm64(imm) {
            Some(name) => write!(f, " ; {name}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Imm64 {
    /// As `bpftool` writes it: `0x2a`, `map[fd:3]`, `map[fd:3][0]+8`, `subprog[+5]`, `ksym[btf_id:7]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Imm64::Value(v) => write!(f, "{v:#x}"),
            Imm64::MapFd(fd) => write!(f, "map[fd:{fd}]"),
            Imm64::MapFdValue { fd, off } => write!(f, "map[fd:{fd}][0]+{off}"),
            Imm64::BtfId { id, fd: 0 } => write!(f, "ksym[btf_id:{id}]"),
            Imm64::BtfId { id, fd } => write!(f, "ksym[btf_id:{id}, fd:{fd}]"),
            Imm64::Func(off) => write!(f, "subprog[{off:+}]"),
            Imm64::MapIdx(idx) => write!(f, "map[idx:{idx}]"),
            Imm64::MapIdxValue { idx, off } => write!(f, "map[idx:{idx}][0]+{off}"),
        }
    }
}

fn atomic(f: &mut fmt::Formatter<'_>, op: AtomicOp, cell: Cell, width: Width, src: Reg) -> fmt::Result {
    let wide = if width == Width::W64 { "64" } else { "" };
    match op {
        AtomicOp::Cmpxchg => write!(f, "r0 = atomic{wide}_cmpxchg({cell}, r0, {src})"),
        _ if op.fetches() => write!(f, "{src} = atomic{wide}_{}({cell}, {src})", op.name()),
        _ => write!(f, "lock *{cell} {} {src}", op.symbol()),
    }
}

/// A register in the letter of the width.
struct R(Width, Reg);

impl fmt::Display for R {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.0 == Width::W32 { 'w' } else { 'r' }, self.1.index())
    }
}

impl fmt::Display for Reg {
    /// `r0` … `r10`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.index())
    }
}

/// Second operand of arithmetic and stores: numbers signed and decimal.
struct Rhs(Width, Operand);

impl fmt::Display for Rhs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Operand::Reg(r) => R(self.0, r).fmt(f),
            Operand::Imm(i) => i.fmt(f),
        }
    }
}

/// Second operand of a comparison: numbers as the 32 bits in hexadecimal.
struct CondRhs(Width, Operand);

impl fmt::Display for CondRhs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Operand::Reg(r) => R(self.0, r).fmt(f),
            Operand::Imm(i) => write!(f, "{i:#x}"),
        }
    }
}

/// `(u32 *)(r1 +4)`
struct Cell(Size, Reg, i16);

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(u{} *)({} {:+})", self.0.c_bits(), self.1, self.2)
    }
}

/// `*(u32 *)(r1 +4)`, or with `s` when sign-extending.
struct Place(Size, bool, Reg, i16);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.1 { 's' } else { 'u' };
        write!(f, "*({sign}{} *)({} {:+})", self.0.c_bits(), self.2, self.3)
    }
}

impl crate::op::AluOp {
    /// The operator of the assignment: `+=`, `s>>=`, `=`, …
    pub fn symbol(self) -> &'static str {
        ALU_OPS.iter().find(|r| r.0 == self).map_or("", |r| r.3)
    }
}

impl crate::op::Cond {
    /// The operator of the comparison: `==`, `s>=`, `&`, …
    pub fn symbol(self) -> &'static str {
        CONDS.iter().find(|r| r.0 == self).map_or("", |r| r.2)
    }
}

impl AtomicOp {
    /// `add`, `fetch_add`, `xchg`, …
    pub fn name(self) -> &'static str {
        ATOMICS.iter().find(|r| r.0 == self).map_or("", |r| r.2)
    }

    /// The operator of the form without fetch: `+=`, `|=`, `&=`, `^=`; empty for the exchanges.
    pub fn symbol(self) -> &'static str {
        let name = self.name();
        let name = name.strip_prefix("fetch_").unwrap_or(name);
        ALU_OPS.iter().find(|r| r.4 == name).map_or("", |r| r.3)
    }
}

impl crate::op::Endian {
    /// `le`, `be` or `bswap`; the bits follow.
    pub fn name(self) -> &'static str {
        ENDIANS.iter().find(|r| r.0 == self).map_or("", |r| r.3)
    }
}

impl Size {
    /// Bits as C's integer types name them: `8`, `16`, `32`, `64`.
    pub fn c_bits(self) -> &'static str {
        SIZES.iter().find(|r| r.0 == self).map_or("", |r| r.3)
    }
}

/// One instruction of a program, or the bytes that are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// Its first slot.
    pub pc: usize,
    /// The first slot's bytes.
    pub insn: Insn,
    /// The second slot's bytes, when there is one.
    pub second: Option<Insn>,
    /// The instruction, or why there is none.
    pub op: Result<Op, DecodeError>,
}

impl Line {
    /// Does the text of the instruction assemble to the same bytes? Not when it is illegal, and not for `callx` with
    /// its register in `imm`.
    pub fn is_canonical(&self) -> bool {
        self.op.is_ok_and(|op| op.encode().first() == Some(&self.insn))
    }
}

/// The instructions of a program, one after the other; illegal bytes take one slot. Linear time.
pub fn lines(insns: &[Insn]) -> impl Iterator<Item = Line> + '_ {
    let mut next = 0;
    core::iter::from_fn(move || {
        let pc = next;
        let insn = *insns.get(pc)?;
        let decoded = Op::decode(insns, pc);
        let slots = decoded.map_or(1, |(_, slots)| slots);
        next += slots;
        let second = if slots == 2 { insns.get(pc + 1).copied() } else { None };
        Some(Line { pc, insn, second, op: decoded.map(|(op, _)| op) })
    })
}

/// A whole program as text, one instruction a line. Illegal instructions are written as `.insn` with their bytes and
/// the reason as a comment, so that in the assembler's notation the text always assembles to the same bytes.
pub fn listing<'a>(insns: &'a [Insn], names: &'a dyn Names, style: Style) -> Listing<'a> {
    Listing { insns, names, style }
}

/// A program, ready to be written. Made by [`listing`].
#[derive(Clone, Copy)]
pub struct Listing<'a> {
    insns: &'a [Insn],
    names: &'a dyn Names,
    style: Style,
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        lines(self.insns).try_for_each(|line| write_line(f, &line, self.names, self.style))
    }
}

/// Writes one line of a program with everything that belongs before and after it, newline included.
pub fn write_line(f: &mut dyn fmt::Write, line: &Line, names: &dyn Names, style: Style) -> fmt::Result {
    let pc = line.pc;
    if let Some(source) = style.source.then(|| names.source_line(pc)).flatten() {
        for text in source.lines() {
            writeln!(f, "; {}", text.trim())?;
        }
    }
    if let (Notation::Assembler, Some(label)) = (style.notation, names.label(pc as i64)) {
        writeln!(f, "{label}:")?;
    }
    if style.numbers {
        write!(f, "{pc:4}: ({:02x}) ", line.insn.opcode())?;
    } else if style.notation == Notation::Assembler {
        f.write_str("    ")?;
    }
    match (line.op, style.notation) {
        (Ok(op), Notation::Kernel) => write!(f, "{}", op.text(pc, names, style.notation))?,
        (Ok(op), _) if line.is_canonical() => write!(f, "{}", op.text(pc, names, style.notation))?,
        (Ok(op), _) => write!(f, ".insn {:?} ; {op}, in an older encoding", line.insn)?,
        (Err(e), _) => write!(f, ".insn {:?} ; {e}", line.insn)?,
    }
    if style.bytes {
        write!(f, " ; {:?}", line.insn)?;
        if let Some(second) = line.second {
            write!(f, " {second:?}")?;
        }
    }
    f.write_char('\n')
}
