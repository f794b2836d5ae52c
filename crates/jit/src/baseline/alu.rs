//! Arithmetic: what takes more than one machine instruction.

use super::emit::{Emit, map};
use crate::asm::{Arith, Cc, R, Shift, Unary};
use crate::code::Step;
use skep_isa::{AluOp, Endian, Op, Operand, Reg, Size, Width};

const SCRATCH: R = R::R11;

/// Steps that together rotate a register: eBPF shifts it both ways, and joins the halves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotation {
    /// The first of the steps that one instruction stands for, and the one behind the last.
    pub(super) first: usize,
    pub(super) end: usize,
    width: Width,
    dst: Reg,
    src: Reg,
    /// Bits, to the right.
    by: u8,
}

impl Emit<'_> {
    pub(super) fn alu(&mut self, op: AluOp, width: Width, dst: Reg, src: Operand) {
        let (wide, d) = (width == Width::W64, map(dst));
        let known = self.upper_zero(dst);
        match op {
            AluOp::Mov => return self.mov(wide, dst, src),
            AluOp::Add => self.arith(Arith::Add, wide, d, src),
            AluOp::Sub => self.arith(Arith::Sub, wide, d, src),
            AluOp::Or => self.arith(Arith::Or, wide, d, src),
            AluOp::And => self.arith(Arith::And, wide, d, src),
            AluOp::Xor => self.arith(Arith::Xor, wide, d, src),
            AluOp::Mul => match src {
                Operand::Reg(r) => self.a.imul(wide, d, map(r)),
                Operand::Imm(i) => self.a.imul_imm(wide, d, d, i),
            },
            AluOp::Lsh => self.shift(Shift::Shl, wide, d, src),
            AluOp::Rsh => self.shift(Shift::Shr, wide, d, src),
            AluOp::Arsh => self.shift(Shift::Sar, wide, d, src),
            AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod => self.division(op, wide, d, src),
        }
        let masks = op == AluOp::And && matches!(src, Operand::Imm(i) if i >= 0);
        let keeps = known && matches!(op, AluOp::And | AluOp::Rsh);
        self.set_upper_zero(dst, !wide || masks || keeps);
    }

    fn mov(&mut self, wide: bool, dst: Reg, src: Operand) {
        let d = map(dst);
        match src {
            Operand::Imm(i) => {
                let v = if wide { i64::from(i) as u64 } else { u64::from(i as u32) };
                self.constant(dst, v);
            }
            Operand::Reg(r) => {
                let known = self.upper_zero(r);
                if dst != r || !wide && !known {
                    self.a.mov(wide, d, map(r));
                }
                self.set_upper_zero(dst, !wide || known);
            }
        }
    }

    /// `dst = v`.
    pub(super) fn constant(&mut self, dst: Reg, v: u64) {
        match v {
            0 => self.a.zero(map(dst)),
            v => self.a.mov_imm(map(dst), v),
        }
        self.set_upper_zero(dst, u32::try_from(v).is_ok());
    }

    fn arith(&mut self, op: Arith, wide: bool, d: R, src: Operand) {
        match src {
            Operand::Reg(r) => self.a.arith(op, wide, d, map(r)),
            Operand::Imm(i) => self.a.arith_imm(op, wide, d, i),
        }
    }

    fn shift(&mut self, op: Shift, wide: bool, d: R, src: Operand) {
        let s = match src {
            Operand::Imm(i) => {
                let mask = if wide { 63 } else { 31 };
                return self.a.shift_imm(op, wide, d, i as u8 & mask);
            }
            Operand::Reg(r) => map(r),
        };
        let a = &mut self.a;
        if self.bmi2 {
            return a.shift_bmi2(op, wide, d, d, s);
        }
        match (d == R::CX, s == R::CX) {
            (false, true) => a.shift_cl(op, wide, d),
            (false, false) => {
                a.mov(true, SCRATCH, R::CX);
                a.mov(true, R::CX, s);
                a.shift_cl(op, wide, d);
                a.mov(true, R::CX, SCRATCH);
            }
            (true, _) => {
                a.mov(true, SCRATCH, R::CX);
                a.mov(true, R::CX, s);
                a.shift_cl(op, wide, SCRATCH);
                a.mov(true, R::CX, SCRATCH);
            }
        }
    }

    /// The rotation whose first half is made by the steps at `pc` and behind it.
    pub(super) fn rotation(&self, pc: usize, end: usize) -> Option<Rotation> {
        let alu = |at: usize| match self.code.steps.get(at).filter(|_| at < end && !self.lands[at])? {
            Step::Op(Op::Alu { op, width, dst, src }) => Some((*op, *width, *dst, *src)),
            _ => None,
        };
        let imm = |at: usize, what: (AluOp, Width, Reg)| match alu(at)? {
            (op, width, dst, Operand::Imm(i)) if (op, width, dst) == what => Some(i),
            _ => None,
        };
        let Step::Op(Op::Alu { op: AluOp::Mov, width, dst: low, src: Operand::Reg(src) }) =
            self.code.steps[pc]
        else {
            return None;
        };
        let right = imm(pc + 1, (AluOp::Rsh, width, low))?;
        let (dst, left) = match alu(pc + 2)? {
            (AluOp::Mov, w, dst, Operand::Reg(s)) if (w, s) == (width, src) => (dst, pc + 3),
            // In place, where nothing is cut off before.
            (AluOp::Lsh, w, dst, _) if (w, dst) == (width, src) => (src, pc + 2),
            _ => return None,
        };
        let bits = imm(left, (AluOp::Lsh, width, dst))?;
        let joined = alu(left + 1)? == (AluOp::Or, width, dst, Operand::Reg(low));
        let apart = low != src && low != dst;
        let whole = right > 0 && bits > 0 && right.checked_add(bits) == Some(width.bits() as i32);
        let (first, end, by) = (pc + 2, left + 2, right as u8);
        (joined && apart && whole).then_some(Rotation { first, end, width, dst, src, by })
    }

    pub(super) fn rotate(&mut self, r: Rotation) {
        let (wide, d, s) = (r.width == Width::W64, map(r.dst), map(r.src));
        if self.bmi2 {
            self.a.rotate_bmi2(wide, d, s, r.by);
        } else {
            if d != s {
                self.a.mov(wide, d, s);
            }
            self.a.shift_imm(Shift::Ror, wide, d, r.by);
        }
        self.set_upper_zero(r.dst, !wide);
    }

    fn division(&mut self, op: AluOp, wide: bool, d: R, src: Operand) {
        if let Operand::Imm(i) = src
            && self.simple_division(op, wide, d, i)
        {
            return;
        }
        let signed = matches!(op, AluOp::Sdiv | AluOp::Smod);
        let quotient = matches!(op, AluOp::Div | AluOp::Sdiv);
        match src {
            Operand::Reg(r) => self.a.mov(wide, SCRATCH, map(r)),
            Operand::Imm(i) => self.a.mov_imm(SCRATCH, i64::from(i) as u64),
        }
        let mut ends = Vec::new();
        if let Operand::Reg(_) = src {
            self.a.test(wide, SCRATCH, SCRATCH);
            let some = self.a.jump(Some(Cc::Ne), true);
            self.by_zero(quotient, wide, d);
            ends.push(self.a.jump(None, true));
            self.a.land(some);
        }
        if signed {
            self.a.arith_imm(Arith::Cmp, wide, SCRATCH, -1);
            let other = self.a.jump(Some(Cc::Ne), true);
            if quotient {
                self.a.unary(Unary::Neg, wide, d)
            } else {
                self.a.zero(d)
            }
            ends.push(self.a.jump(None, true));
            self.a.land(other);
        }
        self.divide(signed, quotient, wide, d);
        for end in ends {
            self.a.land(end);
        }
    }

    /// Division by zero gives 0, the remainder is the dividend.
    fn by_zero(&mut self, quotient: bool, wide: bool, d: R) {
        if quotient {
            self.a.zero(d);
        } else if !wide {
            self.a.mov(false, d, d);
        }
    }

    /// Divides by the scratch register, which holds neither 0 nor, signed, -1.
    fn divide(&mut self, signed: bool, quotient: bool, wide: bool, d: R) {
        let a = &mut self.a;
        if d != R::AX {
            a.mov(true, R::R10, R::AX);
            a.mov(true, R::AX, d);
        }
        if d != R::DX {
            a.mov(true, R::R9, R::DX);
        }
        if signed {
            a.sign_to_dx(wide);
            a.unary(Unary::Idiv, wide, SCRATCH);
        } else {
            a.zero(R::DX);
            a.unary(Unary::Div, wide, SCRATCH);
        }
        a.mov(true, SCRATCH, if quotient { R::AX } else { R::DX });
        if d != R::DX {
            a.mov(true, R::DX, R::R9);
        }
        if d != R::AX {
            a.mov(true, R::AX, R::R10);
        }
        a.mov(true, d, SCRATCH);
    }

    /// Divisions by a constant that are no division; whether it was one.
    fn simple_division(&mut self, op: AluOp, wide: bool, d: R, by: i32) -> bool {
        let unsigned = if wide { i64::from(by) as u64 } else { u64::from(by as u32) };
        let bits = unsigned.trailing_zeros() as u8;
        match op {
            AluOp::Div | AluOp::Sdiv if by == 0 => self.by_zero(true, wide, d),
            AluOp::Mod | AluOp::Smod if by == 0 => self.by_zero(false, wide, d),
            AluOp::Div if unsigned.is_power_of_two() => self.a.shift_imm(Shift::Shr, wide, d, bits),
            AluOp::Mod if by > 0 && unsigned.is_power_of_two() => {
                self.a.arith_imm(Arith::And, wide, d, by - 1);
            }
            _ => return false,
        }
        true
    }

    pub(super) fn neg(&mut self, width: Width, dst: Reg) {
        let wide = width == Width::W64;
        self.a.unary(Unary::Neg, wide, map(dst));
        self.set_upper_zero(dst, !wide);
    }

    pub(super) fn mov_sx(&mut self, width: Width, bits: u8, dst: Reg, src: Reg) {
        let wide = width == Width::W64;
        let size = match bits {
            8 => Size::B,
            16 => Size::H,
            _ => Size::W,
        };
        self.a.extend(size, true, wide, map(dst), map(src));
        self.set_upper_zero(dst, !wide);
    }

    pub(super) fn end(&mut self, kind: Endian, bits: u8, dst: Reg) {
        let (d, a) = (map(dst), &mut self.a);
        match (bits, kind == Endian::ToLe) {
            (16, true) => a.extend(Size::H, false, false, d, d),
            (16, false) => {
                a.swap16(d);
                a.extend(Size::H, false, false, d, d);
            }
            (32, true) => a.mov(false, d, d),
            (32, false) => a.bswap(false, d),
            (_, true) => {}
            (_, false) => a.bswap(true, d),
        }
        let known = self.upper_zero(dst);
        self.set_upper_zero(dst, bits != 64 || known && kind == Endian::ToLe);
    }
}
