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

/// Memory: base register, perhaps a second one (never `rsp`), and a displacement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct X {
    pub(crate) base: R,
    pub(crate) index: Option<R>,
    pub(crate) disp: i32,
}

impl From<M> for X {
    fn from(m: M) -> X {
        X { base: m.0, index: None, disp: m.1 }
    }
}

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

impl Cc {
    /// The condition that holds where this one does not.
    pub(crate) fn not(self) -> Cc {
        match self {
            Cc::B => Cc::Ae,
            Cc::Ae => Cc::B,
            Cc::E => Cc::Ne,
            Cc::Ne => Cc::E,
            Cc::Be => Cc::A,
            Cc::A => Cc::Be,
            Cc::L => Cc::Ge,
            Cc::Ge => Cc::L,
            Cc::Le => Cc::G,
            Cc::G => Cc::Le,
        }
    }
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
    /// The code, and room behind it: an instruction is written without asking for each byte.
    buf: Vec<u8>,
    at: usize,
}

/// Bytes that are free in the buffer before a part of an instruction is written.
const ROOM: usize = 16;

/// The REX prefix where one is needed, and how many bytes that is. `high`: the uppermost bits of base (bit 0) and index (bit 1).
#[inline]
fn start(wide: bool, reg: R, high: u8, force: bool) -> (u64, usize) {
    let b = 0x40 | u8::from(wide) << 3 | (reg.0 >> 3) << 2 | high;
    if b != 0x40 || force { (b.into(), 1) } else { (0, 0) }
}

impl Asm {
    /// An assembler with room for so many bytes.
    pub(crate) fn with_room(bytes: usize) -> Asm {
        Asm { buf: vec![0; bytes + ROOM], at: 0 }
    }

    /// One that goes on behind the code that there is.
    #[cfg(feature = "optimized")]
    pub(crate) fn behind(code: Vec<u8>) -> Asm {
        Asm { at: code.len(), buf: code }
    }

    pub(crate) fn here(&self) -> usize {
        self.at
    }

    /// The code.
    pub(crate) fn code(mut self) -> Vec<u8> {
        self.buf.truncate(self.at);
        self.buf
    }

    /// Writes the lower `len` bytes of a number: one store of eight.
    #[inline]
    fn put(&mut self, bytes: u64, len: usize) {
        if self.buf.len() < self.at + ROOM {
            self.grow();
        }
        if let Some(to) = self.buf[self.at..].first_chunk_mut() {
            *to = bytes.to_le_bytes();
        }
        self.at += len;
    }

    #[cold]
    fn grow(&mut self) {
        self.buf.resize(self.at * 2 + 4 * ROOM, 0);
    }

    #[inline]
    fn byte(&mut self, b: u8) {
        self.put(b.into(), 1);
    }

    #[inline]
    fn imm32(&mut self, v: i32) {
        self.put(v as u32 as u64, 4);
    }

    /// REX prefix where one is needed, opcode, ModRM of two registers.
    #[inline]
    fn op_rr(&mut self, wide: bool, opcode: &[u8], reg: R, rm: R) {
        self.op_rr_force(wide, opcode, reg, rm, false);
    }

    #[inline]
    fn op_rr_force(&mut self, wide: bool, opcode: &[u8], reg: R, rm: R, force: bool) {
        let (mut bytes, mut len) = start(wide, reg, rm.0 >> 3, force);
        for b in opcode {
            bytes |= u64::from(*b) << (8 * len);
            len += 1;
        }
        bytes |= u64::from(0xc0 | (reg.0 & 7) << 3 | rm.0 & 7) << (8 * len);
        self.put(bytes, len + 1);
    }

    /// REX prefix where one is needed, and an opcode that has its register in it.
    #[inline]
    fn op_r(&mut self, wide: bool, opcode: u8, r: R) {
        let (bytes, len) = start(wide, R::AX, r.0 >> 3, false);
        self.put(bytes | u64::from(opcode | r.0 & 7) << (8 * len), len + 1);
    }

    #[inline]
    fn op_rm(&mut self, wide: bool, opcode: &[u8], reg: R, m: impl Into<X>, force: bool) {
        let X { base, index, disp } = m.into();
        let high = base.0 >> 3 | index.map_or(0, |i| i.0 >> 3 << 1);
        let (mut bytes, mut len) = start(wide, reg, high, force);
        for b in opcode {
            bytes |= u64::from(*b) << (8 * len);
            len += 1;
        }
        let (mode, more) = match i8::try_from(disp) {
            Ok(0) if base.0 & 7 != 5 => (0, 0),
            Ok(_) => (0x40, 1),
            Err(_) => (0x80, 4),
        };
        let sib = match index {
            Some(i) => Some((i.0 & 7) << 3 | base.0 & 7),
            None if base.0 & 7 == 4 => Some(0x24),
            None => None,
        };
        let rm = if sib.is_some() { 4 } else { base.0 & 7 };
        bytes |= u64::from(mode | (reg.0 & 7) << 3 | rm) << (8 * len);
        len += 1;
        if let Some(sib) = sib {
            bytes |= u64::from(sib) << (8 * len);
            len += 1;
        }
        self.put(bytes, len);
        self.put(disp as u32 as u64, more);
    }

    /// `dst = src`.
    pub(crate) fn mov(&mut self, wide: bool, dst: R, src: R) {
        self.op_rr(wide, &[0x89], src, dst);
    }

    /// `dst = v` in the shortest form; leaves the flags alone.
    pub(crate) fn mov_imm(&mut self, dst: R, v: u64) {
        if let Ok(v) = u32::try_from(v) {
            self.op_r(false, 0xb8, dst);
            self.put(v.into(), 4);
        } else if let Ok(v) = i32::try_from(v as i64) {
            self.op_rr(true, &[0xc7], R(0), dst);
            self.imm32(v);
        } else {
            self.op_r(true, 0xb8, dst);
            self.put(v, 8);
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
        if i8::try_from(imm).is_ok() {
            self.op_rr(wide, &[0x83], R(op as u8), dst);
            self.byte(imm as u8);
        } else {
            self.op_rr(wide, &[0x81], R(op as u8), dst);
            self.imm32(imm);
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
        self.op_rr(wide, &[0xf7], R(0), a);
        self.imm32(imm);
    }

    pub(crate) fn unary(&mut self, op: Unary, wide: bool, r: R) {
        self.op_rr(wide, &[0xf7], R(op as u8), r);
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
        if i8::try_from(imm).is_ok() {
            self.op_rr(wide, &[0x6b], dst, src);
            self.byte(imm as u8);
        } else {
            self.op_rr(wide, &[0x69], dst, src);
            self.imm32(imm);
        }
    }

    /// Sign of `ax` into `dx`.
    pub(crate) fn sign_to_dx(&mut self, wide: bool) {
        if wide {
            self.byte(0x48);
        }
        self.byte(0x99);
    }

    pub(crate) fn shift_imm(&mut self, op: Shift, wide: bool, r: R, by: u8) {
        self.op_rr(wide, &[0xc1], R(op as u8), r);
        self.byte(by);
    }

    /// Rotates the lower 16 bits by 8.
    pub(crate) fn swap16(&mut self, r: R) {
        self.byte(0x66);
        self.shift_imm(Shift::Ror, false, r, 8);
    }

    /// `r = r op cl`.
    pub(crate) fn shift_cl(&mut self, op: Shift, wide: bool, r: R) {
        self.op_rr(wide, &[0xd3], R(op as u8), r);
    }

    /// `dst = src op by` without flags (BMI2).
    pub(crate) fn shift_bmi2(&mut self, op: Shift, wide: bool, dst: R, src: R, by: R) {
        let prefix = match op {
            Shift::Shl => 1,
            Shift::Sar => 2,
            Shift::Shr | Shift::Ror => 3,
        };
        let inverted = |r: R| (!r.0 >> 3) & 1;
        let prefixes = [
            0xc4,
            inverted(dst) << 7 | 0x40 | inverted(src) << 5 | 2,
            u8::from(wide) << 7 | (!by.0 & 15) << 3 | prefix,
        ];
        self.vex(prefixes, 0xf7, dst, src);
    }

    /// `dst = src` rotated to the right, without flags (BMI2).
    pub(crate) fn rotate_bmi2(&mut self, wide: bool, dst: R, src: R, by: u8) {
        let inverted = |r: R| (!r.0 >> 3) & 1;
        let prefixes = [0xc4, inverted(dst) << 7 | 0x40 | inverted(src) << 5 | 3, u8::from(wide) << 7 | 0x7b];
        self.vex(prefixes, 0xf0, dst, src);
        self.byte(by);
    }

    fn vex(&mut self, [a, b, c]: [u8; 3], opcode: u8, reg: R, rm: R) {
        let modrm = 0xc0 | (reg.0 & 7) << 3 | rm.0 & 7;
        self.put(u64::from_le_bytes([a, b, c, opcode, modrm, 0, 0, 0]), 5);
    }

    pub(crate) fn bswap(&mut self, wide: bool, r: R) {
        let (bytes, len) = start(wide, R::AX, r.0 >> 3, false);
        self.put(bytes | (u64::from(0xc8 | r.0 & 7) << 8 | 0x0f) << (8 * len), len + 2);
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
        self.op_rr_force(wide, opcode, dst, src, size == Size::B && src.0 >= 4);
    }

    /// `dst = *(size *)m`, extended to 64 bits.
    pub(crate) fn load(&mut self, size: Size, signed: bool, dst: R, m: impl Into<X>) {
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
    pub(crate) fn store(&mut self, size: Size, m: impl Into<X>, src: R) {
        if size == Size::H {
            self.byte(0x66);
        }
        let opcode = if size == Size::B { 0x88 } else { 0x89 };
        self.op_rm(size == Size::Dw, &[opcode], src, m, size == Size::B && src.0 >= 4);
    }

    /// `*(size *)m = imm`, sign-extended.
    pub(crate) fn store_imm(&mut self, size: Size, m: impl Into<X>, imm: i32) {
        if size == Size::H {
            self.byte(0x66);
        }
        let opcode = if size == Size::B { 0xc6 } else { 0xc7 };
        self.op_rm(size == Size::Dw, &[opcode], R::AX, m, false);
        match size {
            Size::B => self.byte(imm as u8),
            Size::H => self.put(u64::from(imm as u16), 2),
            Size::W | Size::Dw => self.imm32(imm),
        }
    }

    /// `dst = m`'s address.
    pub(crate) fn lea(&mut self, dst: R, m: M) {
        self.lea_sum(true, dst, m.into());
    }

    /// `dst = ` the sum of the parts of `m`.
    pub(crate) fn lea_sum(&mut self, wide: bool, dst: R, m: X) {
        self.op_rm(wide, &[0x8d], dst, m, false);
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
        let rex = 0x40 | dst.0 >> 3 << 2 | index.0 >> 3 << 1 | base.0 >> 3;
        let modrm = (dst.0 & 7) << 3 | 4;
        let sib = 0x80 | (index.0 & 7) << 3 | base.0 & 7;
        self.put(u32::from_le_bytes([rex, 0x8b, modrm, sib]).into(), 4);
    }

    pub(crate) fn push(&mut self, r: R) {
        self.op_r(false, 0x50, r);
    }

    pub(crate) fn pop(&mut self, r: R) {
        self.op_r(false, 0x58, r);
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
        self.op_rr(false, &[0xff], R(2), r);
    }

    pub(crate) fn call_mem(&mut self, m: M) {
        self.op_rm(false, &[0xff], R(2), m, false);
    }

    pub(crate) fn jump_mem(&mut self, m: M) {
        self.op_rm(false, &[0xff], R(4), m, false);
    }

    /// `dst = ` the address of code that comes later, or ([`Asm::lea_back`]) came before.
    pub(crate) fn lea_ahead(&mut self, dst: R) -> Hole {
        let (bytes, len) = start(true, dst, 0, false);
        self.put(bytes | (u64::from((dst.0 & 7) << 3 | 5) << 8 | 0x8d) << (8 * len), len + 2);
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
            (Some(cc), false) => self.put(0x800f | (cc as u64) << 8, 2),
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
        self.put(0, if short { 1 } else { 4 });
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
