//! The scalar semantics of the instruction set (RFC 9669 sections 4.1 to 4.3), pure: every tier, the constant folding
//! of the verifier and the tests use these functions and no others.
//!
//! Registers are 64-bit patterns (`u64`). A 32-bit operation reads the lower halves and returns a result with the
//! upper half zero.

use crate::op::{AluOp, AtomicOp, Cond, Endian, Size, Width};

impl Width {
    /// In bits: 32 or 64.
    pub const fn bits(self) -> u32 {
        match self {
            Width::W32 => 32,
            Width::W64 => 64,
        }
    }

    /// In bytes: 4 or 8.
    pub const fn bytes(self) -> usize {
        self.bits() as usize / 8
    }

    /// The size of a memory access of this width.
    pub const fn size(self) -> Size {
        match self {
            Width::W32 => Size::W,
            Width::W64 => Size::Dw,
        }
    }

    /// `v` cut to the width.
    pub const fn truncate(self, v: u64) -> u64 {
        match self {
            Width::W32 => v as u32 as u64,
            Width::W64 => v,
        }
    }

    /// `v` cut to the width, read as a signed number.
    pub const fn signed(self, v: u64) -> i64 {
        match self {
            Width::W32 => v as i32 as i64,
            Width::W64 => v as i64,
        }
    }
}

impl AluOp {
    /// `a op b` (`b` for [`AluOp::Mov`]). Shift amounts are masked to the width; division by zero gives 0; modulo
    /// zero gives `a`; `MIN / -1` gives `MIN` and `MIN % -1` gives 0.
    pub const fn eval(self, width: Width, a: u64, b: u64) -> u64 {
        let (a, b) = (width.truncate(a), width.truncate(b));
        let shift = (b & (width.bits() as u64 - 1)) as u32;
        let (sa, sb) = (width.signed(a), width.signed(b));
        let wide = match self {
            AluOp::Add => a.wrapping_add(b),
            AluOp::Sub => a.wrapping_sub(b),
            AluOp::Mul => a.wrapping_mul(b),
            AluOp::Div | AluOp::Sdiv if b == 0 => 0,
            AluOp::Mod | AluOp::Smod if b == 0 => a,
            AluOp::Div => a / b,
            AluOp::Mod => a % b,
            AluOp::Sdiv => sa.wrapping_div(sb) as u64,
            AluOp::Smod => sa.wrapping_rem(sb) as u64,
            AluOp::Or => a | b,
            AluOp::And => a & b,
            AluOp::Xor => a ^ b,
            AluOp::Lsh => a << shift,
            AluOp::Rsh => a >> shift,
            AluOp::Arsh => (sa >> shift) as u64,
            AluOp::Mov => b,
        };
        width.truncate(wide)
    }
}

impl Cond {
    /// Is the jump taken? `Set` is `a & b != 0`; the conditions with `S` compare signed numbers.
    pub const fn eval(self, width: Width, a: u64, b: u64) -> bool {
        let (a, b) = (width.truncate(a), width.truncate(b));
        let (sa, sb) = (width.signed(a), width.signed(b));
        match self {
            Cond::Eq => a == b,
            Cond::Ne => a != b,
            Cond::Gt => a > b,
            Cond::Ge => a >= b,
            Cond::Lt => a < b,
            Cond::Le => a <= b,
            Cond::Set => a & b != 0,
            Cond::Sgt => sa > sb,
            Cond::Sge => sa >= sb,
            Cond::Slt => sa < sb,
            Cond::Sle => sa <= sb,
        }
    }

    /// The condition that holds exactly when this one does not; `None` for `Set`, which has no opposite instruction.
    pub const fn negate(self) -> Option<Cond> {
        Some(match self {
            Cond::Eq => Cond::Ne,
            Cond::Ne => Cond::Eq,
            Cond::Gt => Cond::Le,
            Cond::Le => Cond::Gt,
            Cond::Ge => Cond::Lt,
            Cond::Lt => Cond::Ge,
            Cond::Sgt => Cond::Sle,
            Cond::Sle => Cond::Sgt,
            Cond::Sge => Cond::Slt,
            Cond::Slt => Cond::Sge,
            Cond::Set => return None,
        })
    }

    /// The condition with its operands exchanged: `a cond b` holds exactly when `b cond.swap() a` does.
    pub const fn swap(self) -> Cond {
        match self {
            Cond::Gt => Cond::Lt,
            Cond::Lt => Cond::Gt,
            Cond::Ge => Cond::Le,
            Cond::Le => Cond::Ge,
            Cond::Sgt => Cond::Slt,
            Cond::Slt => Cond::Sgt,
            Cond::Sge => Cond::Sle,
            Cond::Sle => Cond::Sge,
            Cond::Eq | Cond::Ne | Cond::Set => self,
        }
    }
}

impl Endian {
    /// The byte order instruction on a little-endian machine: the lower `bits` (16, 32, 64; others count as 64),
    /// swapped or not, with everything above them zero.
    pub const fn eval(self, bits: u8, v: u64) -> u64 {
        let swap = !matches!(self, Endian::ToLe);
        match (bits, swap) {
            (16, false) => v as u16 as u64,
            (16, true) => (v as u16).swap_bytes() as u64,
            (32, false) => v as u32 as u64,
            (32, true) => (v as u32).swap_bytes() as u64,
            (_, false) => v,
            (_, true) => v.swap_bytes(),
        }
    }
}

impl AtomicOp {
    /// What memory holds afterwards: `old` is the value in memory, `src` the source register, `r0` the register that
    /// [`AtomicOp::Cmpxchg`] compares with. All are cut to the width, as is the result.
    pub const fn eval(self, width: Width, old: u64, src: u64, r0: u64) -> u64 {
        match self {
            AtomicOp::Add { .. } => AluOp::Add.eval(width, old, src),
            AtomicOp::Or { .. } => AluOp::Or.eval(width, old, src),
            AtomicOp::And { .. } => AluOp::And.eval(width, old, src),
            AtomicOp::Xor { .. } => AluOp::Xor.eval(width, old, src),
            AtomicOp::Xchg => width.truncate(src),
            AtomicOp::Cmpxchg if width.truncate(old) == width.truncate(r0) => width.truncate(src),
            AtomicOp::Cmpxchg => width.truncate(old),
        }
    }

    /// Does the old value come back in a register (the source, or `r0` for [`AtomicOp::Cmpxchg`])?
    pub const fn fetches(self) -> bool {
        match self {
            AtomicOp::Add { fetch }
            | AtomicOp::Or { fetch }
            | AtomicOp::And { fetch }
            | AtomicOp::Xor { fetch } => fetch,
            AtomicOp::Xchg | AtomicOp::Cmpxchg => true,
        }
    }
}

/// The lower `bits` (8, 16, 32; others count as 64) of `v`, sign-extended to 64 bits.
pub const fn sign_extend(bits: u8, v: u64) -> u64 {
    match bits {
        8 => v as i8 as i64 as u64,
        16 => v as i16 as i64 as u64,
        32 => v as i32 as i64 as u64,
        _ => v,
    }
}

/// `BPF_NEG`: `0 - v`, cut to the width.
pub const fn neg(width: Width, v: u64) -> u64 {
    width.truncate(v.wrapping_neg())
}
