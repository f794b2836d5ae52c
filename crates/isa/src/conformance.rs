//! The dialect of the bpf_conformance suite: `.data` files with a program in the uBPF assembler's syntax
//! (`ldxdw %r0, [%r1+8]`, `jeq32 %r0, 5, label`), memory, and the expected result.
//!
//! A file is lines; `-- NAME` begins a section: `asm`, `raw`, `mem`, `result`, `error`; others are ignored. `#` begins a
//! comment. `-- raw` holds 64-bit numbers, one an instruction, and stands for the program when there is no `-- asm`.
//! Reading is liberal: operands are cut at white space and commas, registers may lack their `%`, numbers may be
//! negative or unsigned, in decimal or hexadecimal.
//!
//! Mnemonics come from [`crate::table`]: arithmetic and jumps are the table's names with an optional `32` or `64`,
//! loads and stores `ld[d]x`/`st[x]` with the size's letters.

use crate::insn::Insn;
use crate::op::{AluOp, Callee, Endian, Imm64, Op, Operand, Reg, Size, Width};
use crate::table::{ALU_OPS, ATOMICS, CONDS, SIZES};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A `.data` file.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Test {
    /// The program: of `-- asm`, else of `-- raw`.
    pub program: Vec<Insn>,
    /// What `-- raw` says, when it is there beside `-- asm`: the same program as numbers.
    pub raw: Option<Vec<Insn>>,
    /// Memory that `r1` points to at the start; `r2` is its length.
    pub memory: Vec<u8>,
    /// What the program must do.
    pub expected: Expected,
}

/// What a test expects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expected {
    /// This value in `r0`.
    Result(u64),
    /// A failure that this text describes.
    Error(String),
}

impl Default for Expected {
    fn default() -> Expected {
        Expected::Result(0)
    }
}

/// Why a `.data` file cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataError {
    /// Line, from 1; 0: the file as a whole.
    pub line: usize,
    /// The offending word.
    pub token: String,
    /// What is wrong.
    pub why: DataErrorKind,
}

/// What is wrong with a `.data` file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum DataErrorKind {
    UnknownMnemonic,
    /// The instruction takes another number of operands.
    OperandCount {
        expected: usize,
    },
    ExpectedRegister,
    ExpectedNumber,
    /// `[%r1+8]`
    ExpectedMemory,
    /// A label that no line defines.
    UndefinedLabel,
    DuplicateLabel,
    /// The number does not fit where it stands.
    OutOfRange,
    /// Two hexadecimal digits.
    ExpectedByte,
    /// Neither `-- asm` nor `-- raw`.
    NoProgram,
    /// Neither `-- result` nor `-- error`.
    NoExpectation,
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: `{}`: ", self.line, self.token)?;
        }
        match self.why {
            DataErrorKind::UnknownMnemonic => f.write_str("unknown mnemonic"),
            DataErrorKind::OperandCount { expected } => write!(f, "takes {expected} operands"),
            DataErrorKind::ExpectedRegister => f.write_str("expected a register, %r0 to %r10"),
            DataErrorKind::ExpectedNumber => f.write_str("expected a number, decimal or 0x and hexadecimal"),
            DataErrorKind::ExpectedMemory => f.write_str("expected a memory operand such as [%r1+8]"),
            DataErrorKind::UndefinedLabel => f.write_str("no line has this label"),
            DataErrorKind::DuplicateLabel => f.write_str("the label is defined twice"),
            DataErrorKind::OutOfRange => f.write_str("the number does not fit"),
            DataErrorKind::ExpectedByte => f.write_str("expected bytes of two hexadecimal digits each"),
            DataErrorKind::NoProgram => f.write_str("the file has neither a `-- asm` nor a `-- raw` section"),
            DataErrorKind::NoExpectation => {
                f.write_str("the file has neither a `-- result` nor a `-- error` section")
            }
        }
    }
}

impl core::error::Error for DataError {}

type Result<T, E = DataError> = core::result::Result<T, E>;

fn error<T>(line: usize, token: &str, why: DataErrorKind) -> Result<T> {
    Err(DataError { line, token: token.to_owned(), why })
}

/// Lines of a section with their numbers, comments and blank lines gone.
type Lines<'a> = Vec<(usize, &'a str)>;

/// Reads a `.data` file. Linear time.
pub fn parse(text: &str) -> Result<Test> {
    let sections = sections(text);
    let of = |name: &str| sections.iter().find(|s| s.0 == name).map(|s| s.1.as_slice());
    let raw = of("raw").filter(|l| !l.is_empty()).map(raw_program).transpose()?;
    let asm = of("asm").filter(|l| !l.is_empty()).map(assemble_lines).transpose()?;
    let program = match (asm, &raw) {
        (Some(program), _) => program,
        (None, Some(raw)) => raw.clone(),
        (None, None) => return error(0, "", DataErrorKind::NoProgram),
    };
    let memory = of("mem").map_or(Ok(Vec::new()), memory)?;
    let expected = match (of("error").filter(|l| !l.is_empty()), of("result").and_then(|l| l.last())) {
        (Some(lines), _) => Expected::Error(lines.iter().map(|l| l.1).collect::<Vec<_>>().join(" ")),
        (None, Some(&(line, text))) => {
            Expected::Result(number(line, text, i64::MIN.into(), u64::MAX.into())? as u64)
        }
        (None, None) => return error(0, "", DataErrorKind::NoExpectation),
    };
    Ok(Test { program, raw, memory, expected })
}

/// Assembles the text of an `-- asm` section alone.
pub fn assemble(text: &str) -> Result<Vec<Insn>> {
    let lines: Lines<'_> = text.lines().enumerate().filter_map(|(i, l)| Some((i + 1, strip(l)?))).collect();
    assemble_lines(&lines)
}

/// The line without its comment, unless nothing is left.
fn strip(line: &str) -> Option<&str> {
    let code = line.split('#').next().unwrap_or("").trim();
    (!code.is_empty()).then_some(code)
}

fn sections(text: &str) -> Vec<(&str, Lines<'_>)> {
    let mut all: Vec<(&str, Lines<'_>)> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if let Some(title) = line.trim_start().strip_prefix("--") {
            let name = title.split_whitespace().next().unwrap_or("");
            let name =
                ["asm", "raw", "mem", "result", "error"].into_iter().find(|n| name == *n).unwrap_or("");
            all.push((name, Vec::new()));
        } else if let (Some((_, lines)), Some(code)) = (all.last_mut(), strip(line)) {
            lines.push((i + 1, code));
        }
    }
    all
}

fn raw_program(lines: &[(usize, &str)]) -> Result<Vec<Insn>> {
    let words = lines.iter().flat_map(|&(line, text)| words(text).map(move |w| (line, w)));
    words
        .map(|(line, w)| {
            number(line, w, i64::MIN.into(), u64::MAX.into()).map(|n| Insn((n as u64).to_le_bytes()))
        })
        .collect()
}

fn memory(lines: &[(usize, &str)]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for &(line, text) in lines {
        for word in words(text) {
            let digits = word.strip_prefix("0x").unwrap_or(word);
            match u8::from_str_radix(digits, 16) {
                Ok(byte) if digits.len() <= 2 => bytes.push(byte),
                _ => return error(line, word, DataErrorKind::ExpectedByte),
            }
        }
    }
    Ok(bytes)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || c == ',').filter(|w| !w.is_empty())
}

fn number(line: usize, word: &str, min: i128, max: i128) -> Result<i128> {
    let word = word.trim();
    let (negative, digits) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    };
    // `parse` takes a second sign.
    let Some(value) = value.filter(|_| !digits.starts_with(['+', '-'])) else {
        return error(line, word, DataErrorKind::ExpectedNumber);
    };
    let value = if negative { -i128::from(value) } else { value.into() };
    if value < min || value > max { error(line, word, DataErrorKind::OutOfRange) } else { Ok(value) }
}

/// An immediate: the lower 32 bits of the number, as the suite's own assembler takes them.
fn imm32(line: usize, word: &str) -> Result<i32> {
    number(line, word, i64::MIN.into(), u64::MAX.into()).map(|n| n as i32)
}

fn register(line: usize, word: &str) -> Result<Reg> {
    let digits = word.strip_prefix('%').unwrap_or(word).strip_prefix('r').unwrap_or("");
    match digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit())).and_then(Reg::new) {
        Some(reg) => Ok(reg),
        None => error(line, word, DataErrorKind::ExpectedRegister),
    }
}

fn is_register(word: &str) -> bool {
    word.starts_with('%') || register(0, word).is_ok()
}

fn operand(line: usize, word: &str) -> Result<Operand> {
    if is_register(word) {
        register(line, word).map(Operand::Reg)
    } else {
        imm32(line, word).map(Operand::Imm)
    }
}

/// `[%r1+8]`, with or without white space.
fn cell(line: usize, word: &str) -> Result<(Reg, i16)> {
    let Some(inner) = word.strip_prefix('[').and_then(|w| w.strip_suffix(']')) else {
        return error(line, word, DataErrorKind::ExpectedMemory);
    };
    let inner = inner.trim();
    let cut = inner.find(['+', '-']).unwrap_or(inner.len());
    let (reg, off) = inner.split_at_checked(cut).unwrap_or((inner, ""));
    let compact: String = off.chars().filter(|c| !c.is_whitespace()).collect();
    let off = match compact.as_str() {
        "" => 0,
        off => number(line, off, i16::MIN.into(), u16::MAX.into())? as u16 as i16,
    };
    Ok((register(line, reg.trim())?, off))
}

/// Where a jump or call goes.
enum Goal<'a> {
    Slots(i128),
    Label(&'a str),
}

/// One instruction with its label still open.
struct Draft<'a> {
    line: usize,
    slot: usize,
    op: Op,
    goal: Option<Goal<'a>>,
    fake: Option<Fake>,
}

/// A register that does not exist, which tests of refused programs name: its field, and its number, 11 to 15.
#[derive(Clone, Copy)]
struct Fake {
    is_src: bool,
    number: u8,
}

fn assemble_lines(lines: &[(usize, &str)]) -> Result<Vec<Insn>> {
    let mut drafts: Vec<Draft<'_>> = Vec::new();
    let mut labels: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut slot, mut first_exit) = (0, None);
    for &(line, text) in lines {
        let mut text = text;
        while let Some((label, rest)) = text.split_once(':') {
            if labels.insert(label.trim(), slot).is_some() {
                return error(line, label, DataErrorKind::DuplicateLabel);
            }
            text = rest.trim();
        }
        if text.is_empty() {
            continue;
        }
        let mut fake = None;
        let (op, goal) = match instruction(line, text) {
            Err(e) if e.why == DataErrorKind::ExpectedRegister => {
                let (op, found) = fake_instruction(text, &e).ok_or(e)?;
                fake = Some(found);
                (op, None)
            }
            read => read?,
        };
        if op == Op::Exit && first_exit.is_none() {
            first_exit = Some(slot);
        }
        drafts.push(Draft { line, slot, op, goal, fake });
        slot += op.slots();
    }
    if let Some(exit) = first_exit {
        // The label that every program has.
        labels.entry("exit").or_insert(exit);
    }
    let mut insns = Vec::with_capacity(slot);
    for draft in drafts {
        insns.extend_from_slice(&resolve(&draft, &labels)?.encode());
        if let (Some(fake), Some(insn)) = (draft.fake, insns.get_mut(draft.slot)) {
            let (dst, src) = if fake.is_src { (insn.dst(), fake.number) } else { (fake.number, insn.src()) };
            *insn = Insn::new(insn.opcode(), dst, src, insn.off(), insn.imm());
        }
    }
    Ok(insns)
}

/// An instruction that names one of `%r11` … `%r15`: read with a register that exists in its place, twice, to see which
/// field it stands in.
fn fake_instruction(text: &str, e: &DataError) -> Option<(Op, Fake)> {
    let number = e.token.strip_prefix("%r")?.parse().ok().filter(|n| (11..=15).contains(n))?;
    let with = |register| instruction(e.line, &text.replace(&e.token, register)).ok().map(|(op, _)| op);
    let (op, other) = (with("%r9")?, with("%r8")?);
    let is_src = op.encode().first()?.dst() == other.encode().first()?.dst();
    Some((op, Fake { is_src, number }))
}

fn resolve(draft: &Draft<'_>, labels: &BTreeMap<&str, usize>) -> Result<Op> {
    let (slots, token) = match draft.goal {
        None => return Ok(draft.op),
        Some(Goal::Slots(n)) => (n, ""),
        Some(Goal::Label(name)) => match labels.get(name) {
            Some(target) => (*target as i128 - draft.slot as i128 - 1, name),
            None => return error(draft.line, name, DataErrorKind::UndefinedLabel),
        },
    };
    let far = || DataError { line: draft.line, token: token.to_owned(), why: DataErrorKind::OutOfRange };
    let narrow = i16::try_from(slots).map_err(|_| far());
    let wide = i32::try_from(slots).map_err(|_| far())?;
    Ok(match draft.op {
        Op::Ja { long: true, .. } => Op::Ja { off: wide, long: true },
        Op::Ja { .. } => Op::Ja { off: narrow?.into(), long: false },
        Op::JumpIf { cond, width, dst, src, .. } => Op::JumpIf { cond, width, dst, src, off: narrow? },
        Op::MayGoto { .. } => Op::MayGoto { off: narrow? },
        Op::Call(Callee::Local(_)) => Op::Call(Callee::Local(wide)),
        op => op,
    })
}

/// The words of an instruction: a memory operand is one word.
fn operands(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = match rest.strip_prefix('[') {
            Some(_) => rest.find(']').map_or(rest.len(), |i| i + 1),
            None => rest.find(|c: char| c.is_whitespace() || c == ',').unwrap_or(rest.len()),
        };
        let (word, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if !word.is_empty() {
            all.push(word);
        }
        rest = tail.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    }
    all
}

type Drafted<'a> = (Op, Option<Goal<'a>>);

fn instruction(line: usize, text: &str) -> Result<Drafted<'_>> {
    let all = operands(text);
    let (mnemonic, args) = all.split_first().map_or(("", [].as_slice()), |(m, args)| (*m, args));
    let ops = Operands { line, mnemonic, args };
    for read in [Operands::special, Operands::arithmetic, Operands::jump, Operands::memory] {
        if let Some(found) = read(&ops) {
            return found;
        }
    }
    error(line, mnemonic, DataErrorKind::UnknownMnemonic)
}

/// `add32` → `add`, 32 bits; without a number the width is 64.
fn with_width(mnemonic: &str) -> (&str, Width) {
    match (mnemonic.strip_suffix("32"), mnemonic.strip_suffix("64")) {
        (Some(name), _) => (name, Width::W32),
        (_, Some(name)) => (name, Width::W64),
        _ => (mnemonic, Width::W64),
    }
}

/// The names of sign-extending moves: bits of the source, width of the result.
const MOVSX: [(&str, u8, Width); 5] = [
    ("movsx832", 8, Width::W32),
    ("movsx1632", 16, Width::W32),
    ("movsx864", 8, Width::W64),
    ("movsx1664", 16, Width::W64),
    ("movsx3264", 32, Width::W64),
];

/// The names of byte order instructions, with the bits behind.
const SWAPS: [(&str, Endian); 4] =
    [("le", Endian::ToLe), ("be", Endian::ToBe), ("bswap", Endian::Swap), ("swap", Endian::Swap)];

/// An instruction cut to words. Each reader says `None` when the mnemonic is none of its own.
struct Operands<'a, 's> {
    line: usize,
    mnemonic: &'a str,
    args: &'s [&'a str],
}

impl<'a> Operands<'a, '_> {
    /// Exactly this many operands.
    fn args<const N: usize>(&self) -> Result<[&'a str; N]> {
        match <[&str; N]>::try_from(self.args) {
            Ok(args) => Ok(args),
            Err(_) => error(self.line, self.mnemonic, DataErrorKind::OperandCount { expected: N }),
        }
    }

    fn special(&self) -> Option<Result<Drafted<'a>>> {
        Some(match self.mnemonic {
            "exit" => self.args::<0>().map(|[]| (Op::Exit, None)),
            "lddw" => self.lddw(),
            "call" | "callx" => self.call(),
            "ja" | "ja32" | "jal" | "goto" | "gotol" | "ja64" => self.ja(),
            "may_goto" | "jcond" => {
                self.args().and_then(|[to]| Ok((Op::MayGoto { off: 0 }, Some(self.goal(to)?))))
            }
            "lock" | "atomic" => self.lock(),
            "neg" | "neg32" | "neg64" => {
                let width = with_width(self.mnemonic).1;
                // The suite also writes a second operand, which says nothing.
                let dst = self.args.first().copied().unwrap_or("");
                register(self.line, dst).map(|dst| (Op::Neg { width, dst }, None))
            }
            _ => return None,
        })
    }

    fn arithmetic(&self) -> Option<Result<Drafted<'a>>> {
        let line = self.line;
        if let Some((_, bits, width)) = MOVSX.into_iter().find(|r| r.0 == self.mnemonic) {
            let read = |[dst, src]: [&str; 2]| {
                let (dst, src) = (register(line, dst)?, register(line, src)?);
                Ok((Op::MovSx { width, bits, dst, src }, None))
            };
            return Some(self.args().and_then(read));
        }
        if let Some((kind, bits)) = swap(self.mnemonic) {
            let read = |[dst]: [&str; 1]| Ok((Op::End { kind, bits, dst: register(line, dst)? }, None));
            return Some(self.args().and_then(read));
        }
        let (name, width) = with_width(self.mnemonic);
        let op: AluOp = ALU_OPS.iter().find(|r| r.4 == name)?.0;
        let read = |[dst, src]: [&str; 2]| {
            Ok((Op::Alu { op, width, dst: register(line, dst)?, src: operand(line, src)? }, None))
        };
        Some(self.args().and_then(read))
    }

    fn jump(&self) -> Option<Result<Drafted<'a>>> {
        let (name, width) = with_width(self.mnemonic);
        let cond = CONDS.iter().find(|r| r.3 == name)?.0;
        let read = |[dst, src, to]: [&'a str; 3]| {
            let (dst, src) = (register(self.line, dst)?, operand(self.line, src)?);
            Ok((Op::JumpIf { cond, width, dst, src, off: 0 }, Some(self.goal(to)?)))
        };
        Some(self.args().and_then(read))
    }

    /// Loads `ldxw`, `ldxsw`, stores `stw`, `stxw`, packet loads `ldabsw`, `ldindw`.
    fn memory(&self) -> Option<Result<Drafted<'a>>> {
        let m = self.mnemonic;
        let of = |prefix: &str| size(m.strip_prefix(prefix)?);
        let infix = || of("ldxs");
        let suffix = || size(m.strip_prefix("ldx")?.strip_suffix("sx")?);
        Some(if let Some(size) = of("ldx") {
            self.load(size, false)
        } else if let Some(size) = infix().or_else(suffix).filter(|s| *s != Size::Dw) {
            self.load(size, true)
        } else if let Some(size) = of("stx") {
            self.store(size, true)
        } else if let Some(size) = of("st") {
            self.store(size, false)
        } else if let Some(size) = of("ldabs").filter(|s| *s != Size::Dw) {
            self.args().and_then(|[imm]| Ok((Op::LoadAbs { size, imm: imm32(self.line, imm)? }, None)))
        } else if let Some(size) = of("ldind").filter(|s| *s != Size::Dw) {
            self.args().and_then(|[src, imm]| {
                Ok((Op::LoadInd { size, src: register(self.line, src)?, imm: imm32(self.line, imm)? }, None))
            })
        } else {
            return None;
        })
    }

    fn load(&self, size: Size, sx: bool) -> Result<Drafted<'a>> {
        let [dst, place] = self.args()?;
        let (dst, (src, off)) = (register(self.line, dst)?, cell(self.line, place)?);
        Ok((Op::Load { size, sx, dst, src, off }, None))
    }

    fn store(&self, size: Size, is_register: bool) -> Result<Drafted<'a>> {
        let [place, value] = self.args()?;
        let (dst, off) = cell(self.line, place)?;
        let src = if is_register {
            Operand::Reg(register(self.line, value)?)
        } else {
            Operand::Imm(imm32(self.line, value)?)
        };
        Ok((Op::Store { size, dst, off, src }, None))
    }

    fn lddw(&self) -> Result<Drafted<'a>> {
        let [dst, value] = self.args()?;
        let value = number(self.line, value, i64::MIN.into(), u64::MAX.into())? as u64;
        Ok((Op::LoadImm64 { dst: register(self.line, dst)?, imm: Imm64::Value(value) }, None))
    }

    fn ja(&self) -> Result<Drafted<'a>> {
        let [to] = self.args()?;
        let long = matches!(self.mnemonic, "ja32" | "jal" | "gotol");
        Ok((Op::Ja { off: 0, long }, Some(self.goal(to)?)))
    }

    /// `call 5`, `call helper 5`, `call local label`, `call runtime 7`, `call %r2`, `call helper %r2`, `callx %r2`
    fn call(&self) -> Result<Drafted<'a>> {
        let line = self.line;
        let callee = match *self.args {
            ["local", to] => return Ok((Op::Call(Callee::Local(0)), Some(self.goal(to)?))),
            ["runtime" | "kfunc", id] => Callee::Kfunc { id: imm32(line, id)?, off: 0 },
            ["helper", reg] | [reg] if is_register(reg) => Callee::Reg(register(line, reg)?),
            ["helper", id] | [id] => Callee::Helper(imm32(line, id)?),
            _ => return error(line, self.mnemonic, DataErrorKind::OperandCount { expected: 1 }),
        };
        Ok((Op::Call(callee), None))
    }

    /// `lock fetch add32 [%r10-8], %r1`; the name and its `fetch` may be joined by `_`.
    fn lock(&self) -> Result<Drafted<'a>> {
        let (fetch, rest) = match *self.args {
            ["fetch", ref rest @ ..] => ("fetch_", rest),
            ref rest => ("", rest),
        };
        let &[name, place, src] = rest else {
            return error(self.line, self.mnemonic, DataErrorKind::OperandCount { expected: 3 });
        };
        let (base, width) = with_width(name);
        let is_named = |full: &str| match full.strip_prefix(fetch) {
            Some(short) => short == base,
            // The exchanges always fetch.
            None => full == base && !full.starts_with("fetch_") && (full == "xchg" || full == "cmpxchg"),
        };
        let Some(&(op, ..)) = ATOMICS.iter().find(|r| is_named(r.2)) else {
            return error(self.line, name, DataErrorKind::UnknownMnemonic);
        };
        let ((dst, off), src) = (cell(self.line, place)?, register(self.line, src)?);
        Ok((Op::Atomic { op, width, dst, src, off }, None))
    }

    /// A label, or `+N`, `-N`, `N` slots.
    fn goal(&self, to: &'a str) -> Result<Goal<'a>> {
        if to.starts_with(|c: char| c == '+' || c == '-' || c.is_ascii_digit()) {
            return number(self.line, to, i32::MIN.into(), i32::MAX.into()).map(Goal::Slots);
        }
        Ok(Goal::Label(to))
    }
}

fn size(letters: &str) -> Option<Size> {
    SIZES.iter().find(|r| r.2 == letters).map(|r| r.0)
}

fn swap(mnemonic: &str) -> Option<(Endian, u8)> {
    SWAPS.into_iter().find_map(|(name, kind)| match mnemonic.strip_prefix(name)? {
        "16" => Some((kind, 16)),
        "32" => Some((kind, 32)),
        "64" => Some((kind, 64)),
        _ => None,
    })
}

/// Reads a program from hexadecimal text, sixteen digits an instruction in the order of the bytes, as the suite's
/// plug-ins get it on standard input. White space is ignored.
pub fn program_from_hex(text: &str) -> Result<Vec<Insn>> {
    let mut bytes = Vec::new();
    for (i, line) in text.lines().enumerate() {
        for word in words(line) {
            let (pairs, rest) = word.as_bytes().as_chunks::<2>();
            if !rest.is_empty() {
                return error(i + 1, word, DataErrorKind::ExpectedByte);
            }
            for pair in pairs {
                match (digit(pair[0]), digit(pair[1])) {
                    (Some(high), Some(low)) => bytes.push(high << 4 | low),
                    _ => return error(i + 1, word, DataErrorKind::ExpectedByte),
                }
            }
        }
    }
    Insn::slice_from_bytes(&bytes).or_else(|_| error(0, "", DataErrorKind::ExpectedByte))
}

fn digit(c: u8) -> Option<u8> {
    char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok())
}
