//! A small assembler for x86-64: the instructions that the compiler emits, and no others.
//!
//! Operands are register numbers as the machine has them, 0 (`rax`) to 15 (`r15`). `wide` selects 64 bits instead of 32.

use skep_isa::Size;

/// A machine register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct R(pub(crate) u8);

#[allow(missing_docs)]
impl R {
    pub(crate) const AX: R = R(0);
    pub(crate) const CX: R = R(1);
    pub(crate) const DX: R = R(2);
    pub(crate) const BX: R = R(3);
    pub(crate) const SP: R = R(4);
    pub(crate) const BP: R = R(5);
    pub(crate) const SI: R = R(6);
    pub(crate) const DI: R = R(7);
    pub(crate) const R8: R = R(8);
    pub(crate) const R9: R = R(9);
    pub(crate) const R10: R = R(10);
    pub(crate) const R11: R = R(11);
    pub(crate) const R12: R = R(12);
    pub(crate) const R13: R = R(13);
    pub(crate) const R14: R = R(14);
    pub(crate) const R15: R = R(15);
}

/// Memory: base register plus displacement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct M(pub(crate) R, pub(crate) i32);

/// Two-operand arithmetic, by its number in the opcode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arith {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// Shifts, by their number in the opcode extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shift {
    Ror = 1,
    Shl = 4,
    Shr = 5,
    Sar = 7,
}

/// Unary operations of opcode `F7`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unary {
    Neg = 3,
    Div = 6,
    Idiv = 7,
}

/// Condition codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cc {
    B = 2,
    Ae = 3,
    E = 4,
    Ne = 5,
    Be = 6,
    A = 7,
    L = 12,
    Ge = 13,
    Le = 14,
    G = 15,
}

/// A forward jump whose target is not known yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hole {
    /// Where the displacement lies.
    at: usize,
    short: bool,
}

/// The code so far.
#[derive(Debug, Default)]
pub(crate) struct Asm {
    pub(crate) buf: Vec<u8>,
}

impl Asm {
    pub(crate) fn here(&self) -> usize {
        self.buf.len()
    }

    fn byte(&mut self, b: u8) {
        self.buf.push(b);
    }

    fn imm32(&mut self, v: i32) {
        self.buf.extend_from_slice(&v.to_le_bytes());
    }

    /// REX prefix, where one is needed.
    fn rex(&mut self, wide: bool, reg: R, base: R, force: bool) {
        let b = 0x40 | u8::from(wide) << 3 | (reg.0 >> 3) << 2 | base.0 >> 3;
        if b != 0x40 || force {
            self.byte(b);
        }
    }

    fn modrm_reg(&mut self, reg: u8, rm: R) {
        self.byte(0xc0 | (reg & 7) << 3 | rm.0 & 7);
    }

    fn modrm_mem(&mut self, reg: u8, m: M) {
        let M(base, disp) = m;
        let small = i8::try_from(disp).ok();
        let mode = match small {
            Some(0) if base.0 & 7 != 5 => 0,
            Some(_) => 0x40,
            None => 0x80,
        };
        self.byte(mode | (reg & 7) << 3 | base.0 & 7);
        if base.0 & 7 == 4 {
            self.byte(0x24);
        }
        match (mode, small) {
            (0x40, Some(d)) => self.byte(d as u8),
            (0x80, _) => self.imm32(disp),
            _ => {}
        }
    }

    fn op_rr(&mut self, wide: bool, opcode: &[u8], reg: R, rm: R) {
        self.rex(wide, reg, rm, false);
        self.buf.extend_from_slice(opcode);
        self.modrm_reg(reg.0, rm);
    }

    fn op_rm(&mut self, wide: bool, opcode: &[u8], reg: R, m: M, force: bool) {
        self.rex(wide, reg, m.0, force);
        self.buf.extend_from_slice(opcode);
        self.modrm_mem(reg.0, m);
    }

    /// `dst = src`.
    pub(crate) fn mov(&mut self, wide: bool, dst: R, src: R) {
        self.op_rr(wide, &[0x89], src, dst);
    }

    /// `dst = v` in the shortest form; leaves the flags alone.
    pub(crate) fn mov_imm(&mut self, dst: R, v: u64) {
        if let Ok(v) = u32::try_from(v) {
            self.rex(false, R::AX, dst, false);
            self.byte(0xb8 | dst.0 & 7);
            self.imm32(v as i32);
        } else if let Ok(v) = i32::try_from(v as i64) {
            self.rex(true, R::AX, dst, false);
            self.byte(0xc7);
            self.modrm_reg(0, dst);
            self.imm32(v);
        } else {
            self.rex(true, R::AX, dst, false);
            self.byte(0xb8 | dst.0 & 7);
            self.buf.extend_from_slice(&v.to_le_bytes());
        }
    }

    /// `dst = 0`; changes the flags.
    pub(crate) fn zero(&mut self, dst: R) {
        self.arith(Arith::Xor, false, dst, dst);
    }

    /// `dst = dst op src`.
    pub(crate) fn arith(&mut self, op: Arith, wide: bool, dst: R, src: R) {
        self.op_rr(wide, &[(op as u8) << 3 | 1], src, dst);
    }

    /// `dst = dst op imm`, sign-extended.
    pub(crate) fn arith_imm(&mut self, op: Arith, wide: bool, dst: R, imm: i32) {
        self.rex(wide, R::AX, dst, false);
        match i8::try_from(imm) {
            Ok(b) => {
                self.byte(0x83);
                self.modrm_reg(op as u8, dst);
                self.byte(b as u8);
            }
            Err(_) => {
                self.byte(0x81);
                self.modrm_reg(op as u8, dst);
                self.imm32(imm);
            }
        }
    }

    /// Compares memory with a byte-sized immediate, as 32 bits.
    pub(crate) fn arith_mem_imm(&mut self, op: Arith, wide: bool, m: M, imm: i8) {
        self.op_rm(wide, &[0x83], R(op as u8), m, false);
        self.byte(imm as u8);
    }

    /// `reg = reg op memory`.
    pub(crate) fn arith_load(&mut self, op: Arith, wide: bool, reg: R, m: M) {
        self.op_rm(wide, &[(op as u8) << 3 | 3], reg, m, false);
    }

    /// Flags of `a & b`.
    pub(crate) fn test(&mut self, wide: bool, a: R, b: R) {
        self.op_rr(wide, &[0x85], b, a);
    }

    /// Flags of `a & imm`.
    pub(crate) fn test_imm(&mut self, wide: bool, a: R, imm: i32) {
        self.rex(wide, R::AX, a, false);
        self.byte(0xf7);
        self.modrm_reg(0, a);
        self.imm32(imm);
    }

    pub(crate) fn unary(&mut self, op: Unary, wide: bool, r: R) {
        self.rex(wide, R::AX, r, false);
        self.byte(0xf7);
        self.modrm_reg(op as u8, r);
    }

    /// `dst = dst * src`.
    pub(crate) fn imul(&mut self, wide: bool, dst: R, src: R) {
        self.op_rr(wide, &[0x0f, 0xaf], dst, src);
    }

    /// `reg = reg * memory`.
    pub(crate) fn imul_load(&mut self, reg: R, m: M) {
        self.op_rm(true, &[0x0f, 0xaf], reg, m, false);
    }

    /// `dst = src * imm`.
    pub(crate) fn imul_imm(&mut self, wide: bool, dst: R, src: R, imm: i32) {
        self.op_rr(wide, &[0x69], dst, src);
        self.imm32(imm);
    }

    /// Sign of `ax` into `dx`.
    pub(crate) fn sign_to_dx(&mut self, wide: bool) {
        self.rex(wide, R::AX, R::AX, false);
        self.byte(0x99);
    }

    pub(crate) fn shift_imm(&mut self, op: Shift, wide: bool, r: R, by: u8) {
        self.rex(wide, R::AX, r, false);
        self.byte(0xc1);
        self.modrm_reg(op as u8, r);
        self.byte(by);
    }

    /// Rotates the lower 16 bits by 8.
    pub(crate) fn swap16(&mut self, r: R) {
        self.byte(0x66);
        self.shift_imm(Shift::Ror, false, r, 8);
    }

    /// `r = r op cl`.
    pub(crate) fn shift_cl(&mut self, op: Shift, wide: bool, r: R) {
        self.rex(wide, R::AX, r, false);
        self.byte(0xd3);
        self.modrm_reg(op as u8, r);
    }

    /// `dst = src op by` without flags (BMI2).
    pub(crate) fn shift_bmi2(&mut self, op: Shift, wide: bool, dst: R, src: R, by: R) {
        let prefix = match op {
            Shift::Shl => 1,
            Shift::Sar => 2,
            Shift::Shr | Shift::Ror => 3,
        };
        let inverted = |r: R| (!r.0 >> 3) & 1;
        self.byte(0xc4);
        self.byte(inverted(dst) << 7 | 0x40 | inverted(src) << 5 | 2);
        self.byte(u8::from(wide) << 7 | (!by.0 & 15) << 3 | prefix);
        self.byte(0xf7);
        self.modrm_reg(dst.0, src);
    }

    /// `dst = src` rotated to the right, without flags (BMI2).
    pub(crate) fn rotate_bmi2(&mut self, wide: bool, dst: R, src: R, by: u8) {
        let inverted = |r: R| (!r.0 >> 3) & 1;
        self.byte(0xc4);
        self.byte(inverted(dst) << 7 | 0x40 | inverted(src) << 5 | 3);
        self.byte(u8::from(wide) << 7 | 0x7b);
        self.byte(0xf0);
        self.modrm_reg(dst.0, src);
        self.byte(by);
    }

    pub(crate) fn bswap(&mut self, wide: bool, r: R) {
        self.rex(wide, R::AX, r, false);
        self.byte(0x0f);
        self.byte(0xc8 | r.0 & 7);
    }

    /// `dst = src`, extended from 8, 16 or 32 bits to 32 or 64.
    pub(crate) fn extend(&mut self, size: Size, signed: bool, wide: bool, dst: R, src: R) {
        let opcode: &[u8] = match (size, signed) {
            (Size::B, false) => &[0x0f, 0xb6],
            (Size::B, true) => &[0x0f, 0xbe],
            (Size::H, false) => &[0x0f, 0xb7],
            (Size::H, true) => &[0x0f, 0xbf],
            (Size::W, true) if wide => &[0x63],
            (Size::W, _) => return self.mov(false, dst, src),
            (Size::Dw, _) => return self.mov(true, dst, src),
        };
        self.rex(wide, dst, src, size == Size::B && src.0 >= 4);
        self.buf.extend_from_slice(opcode);
        self.modrm_reg(dst.0, src);
    }

    /// `dst = *(size *)m`, extended to 64 bits.
    pub(crate) fn load(&mut self, size: Size, signed: bool, dst: R, m: M) {
        match (size, signed) {
            (Size::B, false) => self.op_rm(false, &[0x0f, 0xb6], dst, m, false),
            (Size::B, true) => self.op_rm(true, &[0x0f, 0xbe], dst, m, false),
            (Size::H, false) => self.op_rm(false, &[0x0f, 0xb7], dst, m, false),
            (Size::H, true) => self.op_rm(true, &[0x0f, 0xbf], dst, m, false),
            (Size::W, false) => self.op_rm(false, &[0x8b], dst, m, false),
            (Size::W, true) => self.op_rm(true, &[0x63], dst, m, false),
            (Size::Dw, _) => self.op_rm(true, &[0x8b], dst, m, false),
        }
    }

    /// `*(size *)m = src`.
    pub(crate) fn store(&mut self, size: Size, m: M, src: R) {
        if size == Size::H {
            self.byte(0x66);
        }
        let opcode = if size == Size::B { 0x88 } else { 0x89 };
        self.op_rm(size == Size::Dw, &[opcode], src, m, size == Size::B && src.0 >= 4);
    }

    /// `*(size *)m = imm`, sign-extended.
    pub(crate) fn store_imm(&mut self, size: Size, m: M, imm: i32) {
        if size == Size::H {
            self.byte(0x66);
        }
        let opcode = if size == Size::B { 0xc6 } else { 0xc7 };
        self.op_rm(size == Size::Dw, &[opcode], R::AX, m, false);
        match size {
            Size::B => self.byte(imm as u8),
            Size::H => self.buf.extend_from_slice(&(imm as u16).to_le_bytes()),
            Size::W | Size::Dw => self.imm32(imm),
        }
    }

    /// `dst = m`'s address.
    pub(crate) fn lea(&mut self, dst: R, m: M) {
        self.op_rm(true, &[0x8d], dst, m, false);
    }

    /// `lock op m, src`.
    pub(crate) fn lock_arith(&mut self, op: Arith, wide: bool, m: M, src: R) {
        self.byte(0xf0);
        self.op_rm(wide, &[(op as u8) << 3 | 1], src, m, false);
    }

    /// `lock xadd m, src`.
    pub(crate) fn lock_xadd(&mut self, wide: bool, m: M, src: R) {
        self.byte(0xf0);
        self.op_rm(wide, &[0x0f, 0xc1], src, m, false);
    }

    /// `lock cmpxchg m, src`.
    pub(crate) fn lock_cmpxchg(&mut self, wide: bool, m: M, src: R) {
        self.byte(0xf0);
        self.op_rm(wide, &[0x0f, 0xb1], src, m, false);
    }

    /// `xchg m, src`, which locks by itself.
    pub(crate) fn xchg(&mut self, wide: bool, m: M, src: R) {
        self.op_rm(wide, &[0x87], src, m, false);
    }

    /// `dst = ` the 32-bit word at `base + 4 * index`; `base` is neither `rbp` nor `r13`.
    pub(crate) fn load_word_at(&mut self, dst: R, base: R, index: R) {
        debug_assert!(base.0 & 7 != 5 && index != R::SP, "encodings that mean something else");
        self.byte(0x40 | dst.0 >> 3 << 2 | index.0 >> 3 << 1 | base.0 >> 3);
        self.buf.extend_from_slice(&[0x8b, (dst.0 & 7) << 3 | 4, 0x80 | (index.0 & 7) << 3 | base.0 & 7]);
    }

    pub(crate) fn push(&mut self, r: R) {
        self.rex(false, R::AX, r, false);
        self.byte(0x50 | r.0 & 7);
    }

    pub(crate) fn pop(&mut self, r: R) {
        self.rex(false, R::AX, r, false);
        self.byte(0x58 | r.0 & 7);
    }

    pub(crate) fn push_mem(&mut self, m: M) {
        self.op_rm(false, &[0xff], R(6), m, false);
    }

    pub(crate) fn pop_mem(&mut self, m: M) {
        self.op_rm(false, &[0x8f], R(0), m, false);
    }

    pub(crate) fn ret(&mut self) {
        self.byte(0xc3);
    }

    pub(crate) fn call_reg(&mut self, r: R) {
        self.rex(false, R::AX, r, false);
        self.byte(0xff);
        self.modrm_reg(2, r);
    }

    pub(crate) fn call_mem(&mut self, m: M) {
        self.op_rm(false, &[0xff], R(2), m, false);
    }

    pub(crate) fn jump_mem(&mut self, m: M) {
        self.op_rm(false, &[0xff], R(4), m, false);
    }

    /// `dst = ` the address of code that comes later, or ([`Asm::lea_back`]) came before.
    pub(crate) fn lea_ahead(&mut self, dst: R) -> Hole {
        self.rex(true, dst, R::AX, false);
        self.byte(0x8d);
        self.byte((dst.0 & 7) << 3 | 5);
        self.hole(false)
    }

    pub(crate) fn lea_back(&mut self, dst: R, target: usize) {
        let hole = self.lea_ahead(dst);
        self.fill(hole, target);
    }

    /// A jump (`None`) or conditional jump back to `target`, short where it reaches.
    pub(crate) fn jump_back(&mut self, cc: Option<Cc>, target: usize) {
        let from = self.here() + 2;
        if let Ok(d) = i8::try_from(target as i64 - from as i64) {
            let hole = self.jump(cc, true);
            self.buf[hole.at] = d as u8;
        } else {
            let hole = self.jump(cc, false);
            self.fill(hole, target);
        }
    }

    /// A jump forward; the target comes later by [`Asm::fill`]. `short` promises that it will be in reach of a byte.
    pub(crate) fn jump(&mut self, cc: Option<Cc>, short: bool) -> Hole {
        match (cc, short) {
            (Some(cc), true) => self.byte(0x70 | cc as u8),
            (Some(cc), false) => self.buf.extend_from_slice(&[0x0f, 0x80 | cc as u8]),
            (None, true) => self.byte(0xeb),
            (None, false) => self.byte(0xe9),
        }
        self.hole(short)
    }

    /// A call of code that comes later, or came before.
    pub(crate) fn call(&mut self) -> Hole {
        self.byte(0xe8);
        self.hole(false)
    }

    fn hole(&mut self, short: bool) -> Hole {
        let at = self.here();
        self.buf.extend_from_slice(if short { &[0] } else { &[0; 4] });
        Hole { at, short }
    }

    /// Sets a jump's target; `false` when it is out of reach.
    #[must_use = "a jump out of reach would go astray"]
    pub(crate) fn try_fill(&mut self, hole: Hole, target: usize) -> bool {
        let d = target as i64 - (hole.at + if hole.short { 1 } else { 4 }) as i64;
        match (hole.short, i8::try_from(d), i32::try_from(d)) {
            (true, Ok(d), _) => self.buf[hole.at] = d as u8,
            (false, _, Ok(d)) => self.buf[hole.at..hole.at + 4].copy_from_slice(&d.to_le_bytes()),
            _ => return false,
        }
        true
    }

    /// Sets the target of a jump that is known to reach it.
    pub(crate) fn fill(&mut self, hole: Hole, target: usize) {
        let reached = self.try_fill(hole, target);
        debug_assert!(reached, "a jump inside one instruction's code is short");
    }

    /// Sets the target of a jump to here.
    pub(crate) fn land(&mut self, hole: Hole) {
        let here = self.here();
        self.fill(hole, here);
    }
}

#[cfg(test)]
#[path = "asm_tests.rs"]
mod tests;
