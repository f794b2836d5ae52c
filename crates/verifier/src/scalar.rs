//! What is known of a number in a register: bits, and the ranges of the whole and of its lower half, which learn
//! from each other.
//!
//! [`Dom`] is that product at width `W` with lower half `H`; the verifier's [`Scalar`] is `Dom<64, 32>`. [`Dom::sync`]
//! lets the parts sharpen each other and runs after every operation; it loses no number. Precision follows Linux 6.18
//! (`reg_bounds_sync` and `adjust_scalar_min_max_vals` in kernel/bpf/verifier.c).

use crate::range::Range;
use crate::tnum::{Tnum, ones};
use skep_isa::{AluOp, Endian, Width};

/// A set of `W`-bit numbers: those that all three parts allow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Dom<const W: u32, const H: u32> {
    /// Bit by bit.
    pub bits: Tnum,
    /// Range of the whole.
    pub r: Range<W>,
    /// Range of the lower half.
    pub sub: Range<H>,
}

/// What is known of a 64-bit register.
pub type Scalar = Dom<64, 32>;

impl<const W: u32, const H: u32> Dom<W, H> {
    /// Nothing known.
    pub const UNKNOWN: Self =
        Dom { bits: Tnum { value: 0, mask: ones(W) }, r: Range::<W>::FULL, sub: Range::<H>::FULL };

    /// Exactly one number.
    #[inline]
    pub const fn constant(v: u64) -> Self {
        let v = v & ones(W);
        Dom { bits: Tnum::constant(v), r: Range::constant(v), sub: Range::constant(v) }
    }

    /// Everything from `min` to `max`, unsigned.
    pub fn between(min: u64, max: u64) -> Self {
        let mut d = Self::UNKNOWN;
        d.r.clamp_u(min, max);
        d.sync();
        d
    }

    /// The number, when there is only one.
    #[inline]
    pub const fn as_const(&self) -> Option<u64> {
        if self.bits.is_const() { Some(self.bits.value) } else { None }
    }

    /// The lower half, when it can only be one.
    #[inline]
    pub const fn sub_const(&self) -> Option<u64> {
        let low = self.bits.truncate(H);
        if low.is_const() { Some(low.value) } else { None }
    }

    /// May it be this number?
    #[inline]
    pub const fn contains(&self, v: u64) -> bool {
        self.bits.contains(v) && self.r.contains(v) && self.sub.contains(v & ones(H))
    }

    /// Is everything that it may be among what `outer` may be?
    #[inline]
    pub const fn is_within(&self, outer: &Self) -> bool {
        self.r.is_within(&outer.r) && self.sub.is_within(&outer.sub) && self.bits.is_within(outer.bits)
    }

    /// Is nothing known?
    pub fn is_unknown(&self) -> bool {
        *self == Self::UNKNOWN
    }

    /// No number fits: the branch that led here cannot be taken.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.r.is_empty() || self.sub.is_empty()
    }

    /// Ranges not known; bits stay.
    #[inline]
    pub fn forget_ranges(&mut self) {
        (self.r, self.sub) = (Range::FULL, Range::FULL);
    }

    /// Lets the parts learn from each other.
    pub fn sync(&mut self) {
        self.settle();
    }

    /// [`Dom::sync`]; whether it is known that once more would change nothing.
    fn settle(&mut self) -> bool {
        if self.is_settled() {
            return true;
        }
        self.learn_bits();
        if self.is_settled() {
            return true;
        }
        let (mut before, mut steady) = (*self, self.is_small());
        for _ in 0..3 {
            if steady {
                break;
            }
            before = *self;
            self.deduce_sub();
            self.r.deduce_crossing();
            self.deduce_whole();
            steady = *self == before;
        }
        self.learn_ranges();
        self.learn_bits();
        steady && *self == before
    }

    /// One number, or nothing known, or nothing but that the upper half is zero: there is nothing to learn.
    #[inline]
    fn is_settled(&self) -> bool {
        const { assert!(H < W) };
        let low = Range { umin: 0, umax: ones(H), smin: 0, smax: ones(H) as i64 };
        match self.bits.mask {
            0 => self.r == Range::constant(self.bits.value) && self.sub == Range::constant(self.bits.value),
            m if m == ones(W) => self.r.is_full() && self.sub.is_full(),
            m if m == ones(H) => self.bits.value == 0 && self.r == low && self.sub.is_full(),
            _ => false,
        }
    }

    /// One interval of numbers that are positive in the lower half's signed view, known alike in all four: they have
    /// nothing to learn from each other.
    #[inline]
    fn is_small(&self) -> bool {
        let (r, sub) = (&self.r, &self.sub);
        r.umax <= Range::<H>::SMAX as u64
            && r.umin <= r.umax
            && (r.smin, r.smax) == (r.umin as i64, r.umax as i64)
            && (sub.umin, sub.umax, sub.smin, sub.smax) == (r.umin, r.umax, r.smin, r.smax)
    }

    #[inline]
    fn learn_bits(&mut self) {
        self.sub.learn_bits(self.bits);
        self.r.learn_bits(self.bits);
        if !self.bits.is_const() && !self.bits.is_unknown() {
            self.learn_only();
        }
    }

    /// When a single number has these bits and lies between the unsigned bounds, it is that one (Linux 6.18 stable,
    /// `__update_reg64_bounds`).
    fn learn_only(&mut self) {
        let (lo, hi) = (self.r.umin, self.r.umax);
        if lo < hi && self.bits.contains(lo) && self.bits.contains(hi) {
            return;
        }
        let first = if self.bits.contains(lo) { Some(lo) } else { self.bits.above(lo) };
        let Some(first) = first.filter(|v| *v <= hi) else { return };
        if self.bits.above(first).is_none_or(|next| next > hi) {
            *self = Self::constant(first);
        }
    }

    #[inline]
    fn learn_ranges(&mut self) {
        let whole = self.bits.intersect(Tnum::range(self.r.umin, self.r.umax));
        let low = whole.truncate(H).intersect(Tnum::range(self.sub.umin, self.sub.umax));
        self.bits = whole.clear_low(H).or(low);
    }

    /// Lower half from the whole: where the upper halves of both ends agree, the lower halves bound it; where they
    /// are neighbours, a signed interval around zero remains (`__reg32_deduce_bounds`).
    fn deduce_sub(&mut self) {
        let (ulo, uhi) = (self.r.umin, self.r.umax);
        let (slo, shi) = (Range::<W>::zext(self.r.smin), Range::<W>::zext(self.r.smax));
        self.sub_from_ends(ulo, uhi);
        self.sub_from_ends(slo, shi);
        self.sub_across_zero(ulo, uhi);
        self.sub_across_zero(slo, shi);
        self.sub.deduce_crossing();
    }

    #[inline]
    fn sub_from_ends(&mut self, lo: u64, hi: u64) {
        if lo >> H != hi >> H {
            return;
        }
        let (l, h) = (lo & ones(H), hi & ones(H));
        if l <= h {
            self.sub.clamp_u(l, h);
        }
        if Range::<H>::sext(l) <= Range::<H>::sext(h) {
            self.sub.clamp_s(Range::<H>::sext(l), Range::<H>::sext(h));
        }
    }

    #[inline]
    fn sub_across_zero(&mut self, lo: u64, hi: u64) {
        let next = ((lo >> H) + 1) & ones(W - H);
        let (l, h) = (Range::<H>::sext(lo), Range::<H>::sext(hi));
        if next == hi >> H && l < 0 && h >= 0 {
            self.sub.clamp_s(l, h);
        }
    }

    /// The whole from its lower half (`__reg_deduce_mixed_bounds`).
    fn deduce_whole(&mut self) {
        self.whole_from_low(self.sub.umin, self.sub.umax);
        let (l, h) = (Range::<H>::zext(self.sub.smin), Range::<H>::zext(self.sub.smax));
        if l <= h {
            self.whole_from_low(l, h);
        }
        let fits = self.r.smin >= Range::<H>::SMIN && self.r.smax <= Range::<H>::SMAX;
        if self.sub.smin >= 0 && fits {
            (self.r.smin, self.r.smax) = (self.sub.smin, self.sub.smax);
            (self.r.umin, self.r.umax) = (self.sub.smin as u64, self.sub.smax as u64);
            self.bits = self.bits.intersect(Tnum::range(self.r.umin, self.r.umax));
        }
    }

    #[inline]
    fn whole_from_low(&mut self, lo: u64, hi: u64) {
        let up = !ones(H);
        self.r.clamp_u(self.r.umin & up | lo, self.r.umax & up | hi);
        self.r.clamp_s(self.r.smin & up as i64 | lo as i64, self.r.smax & up as i64 | hi as i64);
    }

    /// The lower half is this number; the rest stays as known (`__mark_reg32_known`).
    #[inline]
    pub fn know_sub(&mut self, v: u64) {
        let v = v & ones(H);
        self.bits = self.bits.with_low(H, Tnum::constant(v));
        self.sub = Range::constant(v);
    }

    /// Upper half becomes zero: what a 32-bit operation does.
    pub fn zext(&mut self) {
        self.settle_zext();
    }

    /// [`Dom::zext`], and what [`Dom::settle`] says.
    fn settle_zext(&mut self) -> bool {
        self.bits = self.bits.truncate(H);
        self.r.forget_s();
        (self.r.umin, self.r.umax) = (self.sub.umin, self.sub.umax);
        (self.r.smin, self.r.smax) = match self.sub.smin >= 0 {
            true => (self.sub.smin, self.sub.smax),
            false => (self.sub.umin as i64, self.sub.umax as i64),
        };
        self.settle()
    }

    /// Keeps the lowest `bits` bits, zero above (`coerce_reg_to_size`).
    pub fn truncate(&mut self, bits: u32) {
        if bits >= W {
            return;
        }
        let mask = ones(bits);
        self.bits = self.bits.truncate(bits);
        if self.r.umin & !mask == self.r.umax & !mask {
            self.r.umin &= mask;
            self.r.umax &= mask;
        } else {
            (self.r.umin, self.r.umax) = (0, mask);
        }
        (self.r.smin, self.r.smax) = (self.r.umin as i64, self.r.umax as i64);
        if bits < H {
            self.sub = Range::FULL;
        }
        self.sync();
    }

    /// Sign-extends the lowest `bits` bits to the whole width (`coerce_reg_to_size_sx`).
    pub fn sign_extend(&mut self, bits: u32) {
        let sext = |v: u64| ((v << (64 - bits)) as i64) >> (64 - bits);
        if let Some(v) = self.as_const() {
            *self = Self::constant(sext(v) as u64);
            return;
        }
        let (a, b) = (sext(self.r.smin as u64), sext(self.r.smax as u64));
        let same_top = self.r.smin >> bits == self.r.smax >> bits;
        *self = Self::UNKNOWN;
        match same_top && (a >= 0) == (b >= 0) {
            true => self.r.clamp_s(a.min(b), a.max(b)),
            false => self.r.clamp_s(-1 << (bits - 1), !(-1 << (bits - 1))),
        }
        self.sync();
    }

    /// Sign-extends the lowest `bits` bits to the lower half, upper half zero (`coerce_subreg_to_size_sx`).
    pub fn sign_extend_sub(&mut self, bits: u32) {
        let sext = |v: u64| ((v << (64 - bits)) as i64) >> (64 - bits);
        let (a, b) = (sext(self.sub.smin as u64), sext(self.sub.smax as u64));
        let same_top = self.sub.smin >> bits == self.sub.smax >> bits;
        let known = self.sub_const();
        *self = Self::UNKNOWN;
        match same_top && (a >= 0) == (b >= 0) {
            true => self.sub.clamp_s(a.min(b), a.max(b)),
            false => self.sub.clamp_s(-1 << (bits - 1), !(-1 << (bits - 1))),
        }
        if let Some(v) = known {
            *self = Self::constant(Range::<H>::zext(sext(v)));
        }
        self.bits = self.bits.truncate(H);
        self.zext();
    }

    /// `self op src` at a width; the result of a 32-bit operation is zero-extended. Division, modulo and shifts by
    /// what is not a constant within the width give no knowledge, as in Linux 6.18.
    #[must_use]
    pub fn alu(&self, op: AluOp, width: Width, src: &Self) -> Self {
        let narrow = width == Width::W32;
        let shift = self.shift_amount(narrow, src);
        let shifts = matches!(op, AluOp::Lsh | AluOp::Rsh | AluOp::Arsh);
        let divides = matches!(op, AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod);
        if divides || (shifts && shift.is_none()) {
            // Not even that a 32-bit result has no upper half is remembered.
            return Self::UNKNOWN;
        }
        if let (64, 32, Some(a), Some(b)) = (W, H, self.as_const(), src.as_const()) {
            return Self::constant(op.eval(width, a, b));
        }
        // What a 32-bit operation leaves of the whole follows from the lower half.
        let whole = |of: fn(&Range<W>, &Range<W>) -> Range<W>| match narrow {
            true => Range::FULL,
            false => of(&self.r, &src.r),
        };
        let mut out = match op {
            AluOp::Mov => *src,
            AluOp::Add => {
                Dom { bits: self.bits.add(src.bits), r: whole(Range::add), sub: self.sub.add(&src.sub) }
            }
            AluOp::Sub => {
                Dom { bits: self.bits.sub(src.bits), r: whole(Range::sub), sub: self.sub.sub(&src.sub) }
            }
            AluOp::Mul => {
                Dom { bits: self.bits.mul(src.bits), r: whole(Range::mul), sub: self.sub.mul(&src.sub) }
            }
            AluOp::And | AluOp::Or | AluOp::Xor => self.bitwise(op, src),
            _ if narrow => self.shift_sub(op, shift.unwrap_or(0)),
            _ => self.shift_whole(op, shift.unwrap_or(0)),
        };
        out.bits = out.bits.truncate(W);
        if !(narrow && out.settle_zext()) {
            out.sync();
        }
        out
    }

    fn shift_amount(&self, narrow: bool, src: &Self) -> Option<u32> {
        // The amount is the lower half's, but the kernel asks the whole number whether it is in bounds.
        let (by, width) = if narrow { (src.sub_const(), H) } else { (src.as_const(), W) };
        by.filter(|b| *b < width as u64 && src.r.umax < width as u64).map(|b| b as u32)
    }

    fn bitwise(&self, op: AluOp, src: &Self) -> Self {
        let (bits, r, sub) = match op {
            AluOp::And => {
                let t = self.bits.and(src.bits);
                (t, self.r.and(&src.r, t), self.sub.and(&src.sub, t))
            }
            AluOp::Or => {
                let t = self.bits.or(src.bits);
                (t, self.r.or(&src.r, t), self.sub.or(&src.sub, t))
            }
            _ => {
                let t = self.bits.xor(src.bits);
                (t, self.r.xor(t), self.sub.xor(t))
            }
        };
        Dom { bits, r, sub }
    }

    fn shift_whole(&self, op: AluOp, by: u32) -> Self {
        let (bits, mut r) = match op {
            AluOp::Lsh => (self.bits.lsh(by), self.r.lsh(by)),
            AluOp::Rsh => (self.bits.rsh(by), self.r.rsh(by)),
            _ => (self.bits.arsh(by, W), self.r.arsh(by)),
        };
        if op == AluOp::Lsh && by == H && W == 2 * H {
            // Sign extension is compiled to a left shift by half and an arithmetic right shift.
            (r.smin, r.smax) = (self.sub.smin << by, self.sub.smax << by);
        }
        Dom { bits, r, sub: Range::FULL }
    }

    fn shift_sub(&self, op: AluOp, by: u32) -> Self {
        let low = self.bits.truncate(H);
        let (bits, sub) = match op {
            AluOp::Lsh => (low.lsh(by), self.sub.lsh(by)),
            AluOp::Rsh => (low.rsh(by), self.sub.rsh(by)),
            _ => (low.arsh(by, H), self.sub.arsh(by)),
        };
        Dom { bits: bits.truncate(H), r: Range::FULL, sub }
    }

    /// `-self` at a width.
    #[must_use]
    pub fn neg(&self, width: Width) -> Self {
        Self::constant(0).alu(AluOp::Sub, width, self)
    }
}

impl Scalar {
    /// A byte order instruction on the lowest `bits` bits: what is known bit by bit moves along with the bytes, ranges
    /// follow from that.
    #[must_use]
    pub fn end(&self, kind: Endian, bits: u8) -> Self {
        // Bytes are moved and zeros come in above: both maps do the same to every bit.
        let moved = Tnum { value: kind.eval(bits, self.bits.value), mask: kind.eval(bits, self.bits.mask) };
        let mut out = Dom { bits: moved, ..Self::UNKNOWN };
        out.sync();
        out
    }
}
