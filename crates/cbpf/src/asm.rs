//! Reads listings back: what `tcpdump -d` and `-ddd` print becomes instructions again.
//!
//! In a listing the numbers in front (`(000)`) may be left out; jumps name instructions by their place in the listing.
//! `;` begins a comment.

use crate::ancillary::Ancillary;
use crate::insn::{Insn, Op, Register, Size, Source};
use crate::text::{ALUS, JUMPS};
use std::fmt;

/// What is wrong in a listing, and on which line (from 1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AsmError {
    /// Line.
    pub line: usize,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// No such operation.
    Operation(String),
    /// The operand does not fit the operation.
    Operand(String),
    /// A jump backwards, to itself, or too far.
    Jump(String),
    /// A decimal line is not four numbers in range, or the first not the count.
    Decimal,
}

impl fmt::Display for AsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.why {
            Why::Operation(word) => write!(f, "there is no operation {word:?}"),
            Why::Operand(text) => write!(f, "operand {text:?} does not fit the operation"),
            Why::Jump(text) => {
                write!(
                    f,
                    "jump {text:?}: write `jt N jf M` (`ja N`) with the numbers of instructions that follow"
                )
            }
            Why::Decimal => {
                f.write_str("expected the number of instructions, then `code jt jf k` in decimal each")
            }
        }
    }
}

impl std::error::Error for AsmError {}

/// Reads a listing in the notation of `tcpdump -d`. Stops at the first line that is wrong.
pub fn parse(text: &str) -> Result<Vec<Insn>, AsmError> {
    let mut insns = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let code = line.split(';').next().unwrap_or("").trim();
        let code = match code.strip_prefix('(').and_then(|c| c.split_once(')')) {
            Some((_, rest)) => rest.trim(),
            None => code,
        };
        if !code.is_empty() {
            let op = instruction(code, insns.len()).map_err(|why| AsmError { line: n + 1, why })?;
            insns.push(op.encode());
        }
    }
    Ok(insns)
}

/// Reads what `tcpdump -ddd` prints.
pub fn parse_decimal(text: &str) -> Result<Vec<Insn>, AsmError> {
    let bad = |line| AsmError { line, why: Why::Decimal };
    let mut lines = text.lines();
    let count: usize = lines.next().and_then(|l| l.trim().parse().ok()).ok_or(bad(1))?;
    let insns: Vec<Insn> =
        lines.enumerate().map(|(n, l)| decimal_line(l).ok_or(bad(n + 2))).collect::<Result<_, _>>()?;
    if insns.len() == count { Ok(insns) } else { Err(bad(1)) }
}

fn decimal_line(line: &str) -> Option<Insn> {
    let mut numbers = line.split_whitespace();
    let insn = Insn {
        code: numbers.next()?.parse().ok()?,
        jt: numbers.next()?.parse().ok()?,
        jf: numbers.next()?.parse().ok()?,
        k: numbers.next()?.parse().ok()?,
    };
    numbers.next().is_none().then_some(insn)
}

fn instruction(code: &str, pc: usize) -> Result<Op, Why> {
    let (name, rest) = code.split_once(char::is_whitespace).unwrap_or((code, ""));
    let rest = rest.trim();
    let bad = || Why::Operand(rest.into());
    if let Some((_, op)) = ALUS.iter().find(|(n, _)| *n == name) {
        return Ok(Op::Alu(*op, source(rest).ok_or_else(bad)?));
    }
    if let Some((_, cond)) = JUMPS.iter().find(|(n, _)| *n == name) {
        let (src, to) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let (jt, jf) = targets(to, pc).ok_or_else(|| Why::Jump(to.into()))?;
        return Ok(Op::Jump(*cond, source(src).ok_or_else(bad)?, jt, jf));
    }
    match name {
        "ld" => load(Size::W, rest).or_else(|| either(Register::A, rest)).ok_or_else(bad),
        "ldh" => load(Size::H, rest).ok_or_else(bad),
        "ldb" => load(Size::B, rest).ok_or_else(bad),
        "ldx" => either(Register::X, rest).ok_or_else(bad),
        "ldxb" => inside(rest, "4*([", "]&0xf)").and_then(number).map(Op::Msh).ok_or_else(bad),
        "st" => memory(rest).map(|k| Op::Store(Register::A, k)).ok_or_else(bad),
        "stx" => memory(rest).map(|k| Op::Store(Register::X, k)).ok_or_else(bad),
        "ja" => distance(rest, pc).map(Op::Ja).ok_or_else(|| Why::Jump(rest.into())),
        "ret" if rest.is_empty() => Ok(Op::RetA),
        "ret" => immediate(rest).map(Op::RetK).ok_or_else(bad),
        "neg" | "tax" | "txa" if !rest.is_empty() => Err(bad()),
        "neg" => Ok(Op::Neg),
        "tax" => Ok(Op::Tax),
        "txa" => Ok(Op::Txa),
        _ => Err(Why::Operation(name.into())),
    }
}

fn load(size: Size, text: &str) -> Option<Op> {
    let place = inside(text, "[", "]")?;
    if let Some(which) = Ancillary::by_name(place) {
        return Some(Op::Ancillary(size, which));
    }
    match place.strip_prefix('x').map(|p| p.trim_start().strip_prefix('+')) {
        Some(k) => number(k?.trim()).map(|k| Op::Ind(size, k)),
        None => number(place).map(|k| Ancillary::at(k).map_or(Op::Abs(size, k), |a| Op::Ancillary(size, a))),
    }
}

fn either(reg: Register, text: &str) -> Option<Op> {
    if text == "#pktlen" {
        return Some(Op::Len(reg));
    }
    memory(text).map(|k| Op::Mem(reg, k)).or_else(|| immediate(text).map(|k| Op::Imm(reg, k)))
}

fn source(text: &str) -> Option<Source> {
    if text == "x" { Some(Source::X) } else { immediate(text).map(Source::K) }
}

fn memory(text: &str) -> Option<u32> {
    inside(text, "M[", "]").and_then(number)
}

fn immediate(text: &str) -> Option<u32> {
    text.strip_prefix('#').and_then(number)
}

fn inside<'a>(text: &'a str, before: &str, behind: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.strip_suffix(behind)
}

/// Decimal, negative decimal, or hexadecimal with `0x`.
fn number(text: &str) -> Option<u32> {
    match (text.strip_prefix("0x"), text.strip_prefix('-')) {
        (Some(hex), _) => u32::from_str_radix(hex, 16).ok(),
        (_, Some(_)) => text.parse::<i32>().ok().map(|n| n as u32),
        _ => text.parse().ok(),
    }
}

/// The same for `ja`, which may go back: whether it may is the checker's to say.
fn distance(text: &str, pc: usize) -> Option<u32> {
    text.parse::<u32>().ok().map(|to| to.wrapping_sub(pc as u32).wrapping_sub(1))
}

/// How many instructions a jump to instruction `text` skips.
fn forward(text: &str, pc: usize) -> Option<u32> {
    text.parse::<u32>().ok()?.checked_sub(u32::try_from(pc).ok()?)?.checked_sub(1)
}

fn targets(text: &str, pc: usize) -> Option<(u8, u8)> {
    let mut words = text.split_whitespace();
    let mut next = |name| (words.next() == Some(name)).then(|| words.next()).flatten();
    let (jt, jf) = (next("jt")?, next("jf")?);
    let skip = |to| u8::try_from(forward(to, pc)?).ok();
    words.next().is_none().then_some((skip(jt)?, skip(jf)?))
}
