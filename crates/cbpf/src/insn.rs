//! The classic instruction set: [`Insn`] is a view of the eight bytes of `struct sock_filter`, legal or not; [`Op`] holds
//! legal instructions only. `Insn` → [`Op::decode`] → `Op` → [`Op::encode`] → `Insn`, both ways without loss.
//!
//! Registers are A and X, 32 bits each; 16 words of scratch memory M; jumps go forward alone.

use crate::ancillary::Ancillary;

/// One instruction as bytes (`struct sock_filter`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when the condition holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// The constant.
    pub k: u32,
}

/// A or X.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Register {
    /// The accumulator.
    A,
    /// The index register.
    X,
}

/// Bytes of a packet load.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Size {
    /// Four, `ld`.
    W,
    /// Two, `ldh`.
    H,
    /// One, `ldb`.
    B,
}

impl Size {
    /// 1, 2 or 4.
    pub const fn bytes(self) -> u32 {
        match self {
            Size::W => 4,
            Size::H => 2,
            Size::B => 1,
        }
    }
}

/// Second operand: the constant, or X.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// The instruction's constant.
    K(u32),
    /// The index register.
    X,
}

/// Arithmetic on A.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum AluOp {
    Add,
    Sub,
    Mul,
    Div,
    Or,
    And,
    Lsh,
    Rsh,
    Mod,
    Xor,
}

/// Comparison of A, unsigned; `Set` asks whether a common bit is set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Cond {
    Eq,
    Gt,
    Ge,
    Set,
}

/// One legal instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// `A = packet[k]`, big-endian.
    Abs(Size, u32),
    /// `A = packet[X + k]`, big-endian.
    Ind(Size, u32),
    /// `A =` what Linux knows of the packet; the size does not matter, and is kept for the encoding.
    Ancillary(Size, Ancillary),
    /// `A|X = k`.
    Imm(Register, u32),
    /// `A|X = M[k]`.
    Mem(Register, u32),
    /// `A|X = ` length of the packet.
    Len(Register),
    /// `X = 4 * (packet[k] & 0xf)`: length of an IPv4 header.
    Msh(u32),
    /// `M[k] = A|X`.
    Store(Register, u32),
    /// `A = A op k|X`.
    Alu(AluOp, Source),
    /// `A = -A`.
    Neg,
    /// Skips `k` instructions.
    Ja(u32),
    /// Skips `jt` instructions when `A cond k|X`, else `jf`.
    Jump(Cond, Source, u8, u8),
    /// Ends with the constant.
    RetK(u32),
    /// Ends with A.
    RetA,
    /// `X = A`.
    Tax,
    /// `A = X`.
    Txa,
}

/// Instruction classes and fields of `code` (include/uapi/linux/bpf_common.h, filter.h).
mod code {
    pub(super) const LD: u16 = 0x00;
    pub(super) const LDX: u16 = 0x01;
    pub(super) const ST: u16 = 0x02;
    pub(super) const STX: u16 = 0x03;
    pub(super) const ALU: u16 = 0x04;
    pub(super) const JMP: u16 = 0x05;
    pub(super) const RET: u16 = 0x06;
    pub(super) const MISC: u16 = 0x07;
    pub(super) const ABS: u16 = 0x20;
    pub(super) const IND: u16 = 0x40;
    pub(super) const MEM: u16 = 0x60;
    pub(super) const LEN: u16 = 0x80;
    pub(super) const MSH: u16 = 0xa0;
    pub(super) const B: u16 = 0x10;
    pub(super) const X: u16 = 0x08;
    pub(super) const A: u16 = 0x10;
    pub(super) const NEG: u16 = 0x80;
    pub(super) const TXA: u16 = 0x80;
}
use code::{A, ABS, ALU, B, IND, JMP, LD, LDX, LEN, MEM, MISC, MSH, NEG, RET, ST, STX, TXA, X};

const SIZES: [(u16, Size); 3] = [(0x00, Size::W), (0x08, Size::H), (0x10, Size::B)];
const ALUS: [(u16, AluOp); 10] = [
    (0x00, AluOp::Add),
    (0x10, AluOp::Sub),
    (0x20, AluOp::Mul),
    (0x30, AluOp::Div),
    (0x40, AluOp::Or),
    (0x50, AluOp::And),
    (0x60, AluOp::Lsh),
    (0x70, AluOp::Rsh),
    (0x90, AluOp::Mod),
    (0xa0, AluOp::Xor),
];
const CONDS: [(u16, Cond); 4] = [(0x10, Cond::Eq), (0x20, Cond::Gt), (0x30, Cond::Ge), (0x40, Cond::Set)];

fn from_bits<T: Copy>(table: &[(u16, T)], bits: u16) -> Option<T> {
    table.iter().find(|(b, _)| *b == bits).map(|(_, v)| *v)
}

fn to_bits<T: Copy + PartialEq>(table: &[(u16, T)], value: T) -> u16 {
    table.iter().find(|(_, v)| *v == value).map_or(0, |(b, _)| *b)
}

impl Insn {
    /// From the eight bytes in little-endian order, as on the machines that the kernel's files come from.
    pub fn from_bytes(b: [u8; 8]) -> Insn {
        let [c0, c1, jt, jf, k @ ..] = b;
        Insn { code: u16::from_le_bytes([c0, c1]), jt, jf, k: u32::from_le_bytes(k) }
    }

    /// The eight bytes in little-endian order.
    pub fn to_bytes(self) -> [u8; 8] {
        let ([c0, c1], [k0, k1, k2, k3]) = (self.code.to_le_bytes(), self.k.to_le_bytes());
        [c0, c1, self.jt, self.jf, k0, k1, k2, k3]
    }
}

impl Op {
    /// The instruction, if the kernel knows its code (`chk_code_allowed`, net/core/filter.c). Constants are not judged:
    /// that is [`crate::Program::new`].
    pub fn decode(insn: Insn) -> Option<Op> {
        let (class, rest, k) = (insn.code & 0x07, insn.code & !0x07, insn.k);
        match class {
            LD => decode_ld(rest, k),
            LDX => decode_ldx(rest, k),
            ST if rest == 0 => Some(Op::Store(Register::A, k)),
            STX if rest == 0 => Some(Op::Store(Register::X, k)),
            ALU if rest == NEG => Some(Op::Neg),
            ALU => Some(Op::Alu(from_bits(&ALUS, rest & !X)?, source(rest, k))),
            JMP if rest == 0 => Some(Op::Ja(k)),
            JMP => Some(Op::Jump(from_bits(&CONDS, rest & !X)?, source(rest, k), insn.jt, insn.jf)),
            RET if rest == 0 => Some(Op::RetK(k)),
            RET if rest == A => Some(Op::RetA),
            MISC if rest == 0 => Some(Op::Tax),
            MISC if rest == TXA => Some(Op::Txa),
            _ => None,
        }
    }

    /// Its bytes.
    pub fn encode(self) -> Insn {
        let plain = |code, k| Insn { code, jt: 0, jf: 0, k };
        let load = |reg| if reg == Register::A { LD } else { LDX };
        match self {
            Op::Abs(size, k) => plain(LD | ABS | to_bits(&SIZES, size), k),
            Op::Ancillary(size, which) => plain(LD | ABS | to_bits(&SIZES, size), which.k()),
            Op::Ind(size, k) => plain(LD | IND | to_bits(&SIZES, size), k),
            Op::Imm(reg, k) => plain(load(reg), k),
            Op::Mem(reg, k) => plain(load(reg) | MEM, k),
            Op::Len(reg) => plain(load(reg) | LEN, 0),
            Op::Msh(k) => plain(LDX | MSH | B, k),
            Op::Store(Register::A, k) => plain(ST, k),
            Op::Store(Register::X, k) => plain(STX, k),
            Op::Alu(op, src) => plain(ALU | to_bits(&ALUS, op) | bit(src), constant(src)),
            Op::Neg => plain(ALU | NEG, 0),
            Op::Ja(k) => plain(JMP, k),
            Op::Jump(cond, src, jt, jf) => {
                Insn { code: JMP | to_bits(&CONDS, cond) | bit(src), jt, jf, k: constant(src) }
            }
            Op::RetK(k) => plain(RET, k),
            Op::RetA => plain(RET | A, 0),
            Op::Tax => plain(MISC, 0),
            Op::Txa => plain(MISC | TXA, 0),
        }
    }
}

fn source(rest: u16, k: u32) -> Source {
    if rest & X != 0 { Source::X } else { Source::K(k) }
}

fn bit(src: Source) -> u16 {
    if src == Source::X { X } else { 0 }
}

fn constant(src: Source) -> u32 {
    match src {
        Source::K(k) => k,
        Source::X => 0,
    }
}

fn decode_ld(rest: u16, k: u32) -> Option<Op> {
    let size = from_bits(&SIZES, rest & 0x18);
    match rest & 0xe0 {
        _ if rest & !0xf8 != 0 => None,
        ABS => match Ancillary::at(k) {
            Some(which) => Some(Op::Ancillary(size?, which)),
            None => Some(Op::Abs(size?, k)),
        },
        IND => Some(Op::Ind(size?, k)),
        _ => decode_either(Register::A, rest, k),
    }
}

fn decode_ldx(rest: u16, k: u32) -> Option<Op> {
    if rest == MSH | B { Some(Op::Msh(k)) } else { decode_either(Register::X, rest, k) }
}

fn decode_either(reg: Register, rest: u16, k: u32) -> Option<Op> {
    match rest {
        0 => Some(Op::Imm(reg, k)),
        MEM => Some(Op::Mem(reg, k)),
        LEN => Some(Op::Len(reg)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of all codes just the kernel's list is legal, and each comes back from its `Op`.
    #[test]
    fn codes() {
        let legal: Vec<u16> =
            (0..=u16::MAX).filter(|c| Op::decode(Insn { code: *c, ..Insn::default() }).is_some()).collect();
        assert_eq!(legal.len(), 49);
        for code in legal {
            let insn = Insn { code, ..Insn::default() };
            assert_eq!(Op::decode(insn).map(Op::encode), Some(insn));
            assert_eq!(Insn::from_bytes(insn.to_bytes()), insn);
        }
    }
}
