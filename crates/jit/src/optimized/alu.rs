//! Arithmetic.

use super::translate::Func;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{InstBuilder, Type, Value};
use skep_isa::{AluOp, Endian, Operand, Reg, Width};

fn ty(width: Width) -> Type {
    match width {
        Width::W32 => I32,
        Width::W64 => I64,
    }
}

impl Func<'_, '_> {
    pub(super) fn alu(&mut self, op: AluOp, width: Width, dst: Reg, src: Operand) {
        let v = match (op, width, src) {
            (AluOp::Mov, Width::W64, src) => self.operand(src),
            (AluOp::Mov, Width::W32, Operand::Imm(i)) => self.b.ins().iconst(I64, i64::from(i as u32)),
            (AluOp::Mov, Width::W32, Operand::Reg(r)) => {
                let v = self.half(r);
                return self.set_half(dst, v);
            }
            _ => {
                let a = self.part(width, dst);
                let v = match src {
                    Operand::Imm(i) => self.with_imm(op, width, a, i),
                    Operand::Reg(r) => {
                        let b = self.part(width, r);
                        self.with_value(op, width, a, b)
                    }
                };
                return self.set_part(width, dst, v);
            }
        };
        self.set(dst, v);
    }

    /// As much of a register as an operation works on.
    fn part(&mut self, width: Width, r: Reg) -> Value {
        if width == Width::W32 { self.half(r) } else { self.get(r) }
    }

    fn set_part(&mut self, width: Width, r: Reg, v: Value) {
        if width == Width::W32 { self.set_half(r, v) } else { self.set(r, v) }
    }

    fn imm(&mut self, width: Width, i: i32) -> Value {
        let bits = if width == Width::W32 { i64::from(i as u32) } else { i64::from(i) };
        self.b.ins().iconst(ty(width), bits)
    }

    fn with_imm(&mut self, op: AluOp, width: Width, a: Value, i: i32) -> Value {
        let b = self.imm(width, i);
        match op {
            AluOp::Div | AluOp::Sdiv if i == 0 => b,
            AluOp::Mod | AluOp::Smod if i == 0 => a,
            AluOp::Div => self.b.ins().udiv(a, b),
            AluOp::Mod => self.b.ins().urem(a, b),
            AluOp::Sdiv if i == -1 => self.b.ins().ineg(a),
            AluOp::Smod if i == -1 => self.imm(width, 0),
            AluOp::Sdiv => self.b.ins().sdiv(a, b),
            AluOp::Smod => self.b.ins().srem(a, b),
            op => self.with_value(op, width, a, b),
        }
    }

    fn with_value(&mut self, op: AluOp, width: Width, a: Value, b: Value) -> Value {
        match op {
            AluOp::Add => self.b.ins().iadd(a, b),
            AluOp::Sub => self.b.ins().isub(a, b),
            AluOp::Mul => self.b.ins().imul(a, b),
            AluOp::Or => self.b.ins().bor(a, b),
            AluOp::And => self.b.ins().band(a, b),
            AluOp::Xor => self.b.ins().bxor(a, b),
            AluOp::Lsh => self.b.ins().ishl(a, b),
            AluOp::Rsh => self.b.ins().ushr(a, b),
            AluOp::Arsh => self.b.ins().sshr(a, b),
            AluOp::Mov => b,
            AluOp::Div | AluOp::Mod => self.divide(op, width, a, b),
            AluOp::Sdiv | AluOp::Smod => self.divide_signed(op, width, a, b),
        }
    }

    /// Division by a register: by 0 it gives 0, and the rest is the dividend.
    fn divide(&mut self, op: AluOp, width: Width, a: Value, b: Value) -> Value {
        let (some, done) = (self.b.create_block(), self.b.create_block());
        let v = self.b.append_block_param(done, ty(width));
        let none = if op == AluOp::Div { self.imm(width, 0) } else { a };
        self.b.ins().brif(b, some, &[], done, &[none.into()]);
        self.b.switch_to_block(some);
        self.b.seal_block(some);
        let ins = self.b.ins();
        let quotient = if op == AluOp::Div { ins.udiv(a, b) } else { ins.urem(a, b) };
        self.b.ins().jump(done, &[quotient.into()]);
        self.b.switch_to_block(done);
        self.b.seal_block(done);
        v
    }

    /// As [`Func::divide`]; and by -1 it is a negation, which wraps, with the rest 0.
    fn divide_signed(&mut self, op: AluOp, width: Width, a: Value, b: Value) -> Value {
        let (usual, done) = (self.b.create_block(), self.b.create_block());
        let v = self.b.append_block_param(done, ty(width));
        // 0 and -1 are the divisors d with d + 1 < 2, unsigned.
        let above = self.b.ins().iadd_imm_s(b, 1);
        let odd = self.b.ins().icmp_imm_s(IntCC::UnsignedLessThan, above, 2);
        let zero = self.imm(width, 0);
        let (of_zero, of_minus) = match op {
            AluOp::Sdiv => (zero, self.b.ins().ineg(a)),
            _ => (a, zero),
        };
        let other = self.b.ins().select(b, of_minus, of_zero);
        self.b.ins().brif(odd, done, &[other.into()], usual, &[]);
        self.b.switch_to_block(usual);
        self.b.seal_block(usual);
        let ins = self.b.ins();
        let quotient = if op == AluOp::Sdiv { ins.sdiv(a, b) } else { ins.srem(a, b) };
        self.b.ins().jump(done, &[quotient.into()]);
        self.b.switch_to_block(done);
        self.b.seal_block(done);
        v
    }

    pub(super) fn neg(&mut self, width: Width, dst: Reg) {
        let a = self.part(width, dst);
        let v = self.b.ins().ineg(a);
        self.set_part(width, dst, v);
    }

    pub(super) fn mov_sx(&mut self, width: Width, bits: u8, dst: Reg, src: Reg) {
        let narrow = match bits {
            8 => I8,
            16 => I16,
            _ => I32,
        };
        let a = self.get(src);
        let a = self.b.ins().ireduce(narrow, a);
        let v = if narrow == ty(width) { a } else { self.b.ins().sextend(ty(width), a) };
        self.set_part(width, dst, v);
    }

    pub(super) fn end(&mut self, kind: Endian, bits: u8, dst: Reg) {
        let little = cfg!(target_endian = "little");
        let swap = match kind {
            Endian::ToLe => !little,
            Endian::ToBe => little,
            Endian::Swap => true,
        };
        let narrow = match bits {
            16 => I16,
            32 => I32,
            _ => I64,
        };
        let a = self.get(dst);
        let v = if narrow == I64 { a } else { self.b.ins().ireduce(narrow, a) };
        let v = if swap { self.b.ins().bswap(v) } else { v };
        let v = if narrow == I64 { v } else { self.wide(v) };
        self.set(dst, v);
    }
}
