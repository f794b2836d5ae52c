//! Listings as tcpdump prints them: `-d` for people, `-dd` as a C initialiser, `-ddd` as decimal numbers. Byte for byte.
//!
//! ```text
//! (000) ldh      [12]
//! (001) jeq      #0x800           jt 2    jf 5
//! ```

use crate::ancillary::Ancillary;
use crate::insn::{AluOp, Cond, Insn, Op, Register, Size, Source};
use std::fmt::{self, Write};

/// What `tcpdump -d` prints: an instruction a line, jumps with the instructions they go to.
pub fn listing(insns: &[Insn]) -> String {
    insns.iter().enumerate().fold(String::new(), |mut out, (pc, insn)| {
        let _ = writeln!(out, "{}", Line { pc, insn: *insn });
        out
    })
}

/// What `tcpdump -dd` prints: initialisers of `struct sock_filter`.
pub fn c_initialiser(insns: &[Insn]) -> String {
    insns.iter().fold(String::new(), |mut out, i| {
        let _ = writeln!(out, "{{ {:#x}, {}, {}, {:#010x} }},", i.code, i.jt, i.jf, i.k);
        out
    })
}

/// What `tcpdump -ddd` prints: the number of instructions, then four decimal numbers each.
pub fn decimal(insns: &[Insn]) -> String {
    insns.iter().fold(format!("{}\n", insns.len()), |mut out, i| {
        let _ = writeln!(out, "{} {} {} {}", i.code, i.jt, i.jf, i.k);
        out
    })
}

/// One line of a listing, without the newline.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Number of the instruction.
    pub pc: usize,
    /// Instruction.
    pub insn: Insn,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, operand) = words(self.insn, self.pc);
        let to = |by: u8| self.pc + 1 + usize::from(by);
        match Op::decode(self.insn) {
            Some(Op::Jump(_, _, jt, jf)) => {
                write!(f, "({:03}) {name:<8} {operand:<16} jt {}\tjf {}", self.pc, to(jt), to(jf))
            }
            _ => write!(f, "({:03}) {name:<8} {operand}", self.pc),
        }
    }
}

/// Operation and operand.
fn words(insn: Insn, pc: usize) -> (&'static str, String) {
    let Some(op) = Op::decode(insn) else { return ("unimp", format!("{:#x}", insn.code)) };
    match op {
        Op::Abs(size, k) => (load(size), format!("[{}]", k as i32)),
        Op::Ancillary(size, which) => (load(size), bracket(which)),
        Op::Ind(size, k) => (load(size), format!("[x + {}]", k as i32)),
        Op::Imm(reg, k) => (load_reg(reg), format!("#{k:#x}")),
        Op::Mem(reg, k) => (load_reg(reg), format!("M[{}]", k as i32)),
        Op::Len(reg) => (load_reg(reg), "#pktlen".into()),
        Op::Msh(k) => ("ldxb", format!("4*([{}]&0xf)", k as i32)),
        Op::Store(Register::A, k) => ("st", format!("M[{}]", k as i32)),
        Op::Store(Register::X, k) => ("stx", format!("M[{}]", k as i32)),
        Op::Alu(op, src) => (alu(op), operand(src, matches!(op, AluOp::And | AluOp::Or | AluOp::Xor))),
        Op::Neg => ("neg", String::new()),
        Op::Ja(k) => ("ja", format!("{}", (pc as u32).wrapping_add(1).wrapping_add(k) as i32)),
        Op::Jump(cond, src, ..) => (jump(cond), operand(src, true)),
        Op::RetK(k) => ("ret", format!("#{}", k as i32)),
        Op::RetA => ("ret", String::new()),
        Op::Tax => ("tax", String::new()),
        Op::Txa => ("txa", String::new()),
    }
}

fn bracket(which: Ancillary) -> String {
    format!("[{}]", which.row().name)
}

fn operand(src: Source, hex: bool) -> String {
    match src {
        Source::X => "x".into(),
        Source::K(k) if hex => format!("#{k:#x}"),
        Source::K(k) => format!("#{}", k as i32),
    }
}

fn load(size: Size) -> &'static str {
    match size {
        Size::W => "ld",
        Size::H => "ldh",
        Size::B => "ldb",
    }
}

fn load_reg(reg: Register) -> &'static str {
    match reg {
        Register::A => "ld",
        Register::X => "ldx",
    }
}

/// Names of the arithmetic operations.
pub(crate) const ALUS: [(&str, AluOp); 10] = [
    ("add", AluOp::Add),
    ("sub", AluOp::Sub),
    ("mul", AluOp::Mul),
    ("div", AluOp::Div),
    ("or", AluOp::Or),
    ("and", AluOp::And),
    ("lsh", AluOp::Lsh),
    ("rsh", AluOp::Rsh),
    ("mod", AluOp::Mod),
    ("xor", AluOp::Xor),
];
/// Names of the conditional jumps.
pub(crate) const JUMPS: [(&str, Cond); 4] =
    [("jeq", Cond::Eq), ("jgt", Cond::Gt), ("jge", Cond::Ge), ("jset", Cond::Set)];

fn alu(op: AluOp) -> &'static str {
    ALUS.iter().find(|(_, o)| *o == op).map_or("", |(name, _)| name)
}

fn jump(cond: Cond) -> &'static str {
    JUMPS.iter().find(|(_, c)| *c == cond).map_or("", |(name, _)| name)
}
