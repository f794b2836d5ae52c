//! Ranges of an `N`-bit number, as unsigned and as signed, kept side by side.
//!
//! `N` is 64 and 32 in the verifier; the tests run the same code at 4 to 8 bits against brute force. A [`Range`] stands
//! for the numbers that lie in both intervals. Unsigned bounds are zero above bit `N`, signed ones sign-extended.

use crate::tnum::{Tnum, ones};

/// Unsigned and signed interval of an `N`-bit number. All bounds are inclusive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Range<const N: u32> {
    /// Least, unsigned.
    pub umin: u64,
    /// Greatest, unsigned.
    pub umax: u64,
    /// Least, signed.
    pub smin: i64,
    /// Greatest, signed.
    pub smax: i64,
}

impl<const N: u32> Range<N> {
    /// All `N` bits.
    pub const MAX: u64 = ones(N);
    /// Least signed number.
    pub const SMIN: i64 = -1 << (N - 1);
    /// Greatest signed number.
    pub const SMAX: i64 = !Self::SMIN;
    /// Every number.
    pub const FULL: Self = Range { umin: 0, umax: Self::MAX, smin: Self::SMIN, smax: Self::SMAX };

    /// `v`'s lower `N` bits as a signed number.
    #[inline]
    pub const fn sext(v: u64) -> i64 {
        ((v << (64 - N)) as i64) >> (64 - N)
    }

    /// A signed number's `N` bits.
    #[inline]
    pub const fn zext(v: i64) -> u64 {
        v as u64 & Self::MAX
    }

    /// Exactly one number.
    #[inline]
    pub const fn constant(v: u64) -> Self {
        let v = v & Self::MAX;
        Range { umin: v, umax: v, smin: Self::sext(v), smax: Self::sext(v) }
    }

    /// No unsigned or no signed number left: the path cannot be taken, or the state is broken.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.umin > self.umax || self.smin > self.smax
    }

    /// Nothing known.
    #[inline]
    pub fn is_full(&self) -> bool {
        *self == Self::FULL
    }

    /// Is the number in it?
    #[inline]
    pub const fn contains(&self, v: u64) -> bool {
        let s = Self::sext(v);
        self.umin <= v && v <= self.umax && self.smin <= s && s <= self.smax
    }

    /// Lies it in `outer`, bound by bound?
    #[inline]
    pub const fn is_within(&self, outer: &Self) -> bool {
        outer.umin <= self.umin
            && self.umax <= outer.umax
            && outer.smin <= self.smin
            && self.smax <= outer.smax
    }

    /// Keeps what also lies between unsigned bounds.
    #[inline]
    pub fn clamp_u(&mut self, min: u64, max: u64) {
        self.umin = self.umin.max(min);
        self.umax = self.umax.min(max);
    }

    /// Keeps what also lies between signed bounds.
    #[inline]
    pub fn clamp_s(&mut self, min: i64, max: i64) {
        self.smin = self.smin.max(min);
        self.smax = self.smax.min(max);
    }

    /// Keeps what is in both.
    #[inline]
    pub fn intersect(&mut self, other: &Self) {
        self.clamp_u(other.umin, other.umax);
        self.clamp_s(other.smin, other.smax);
    }

    /// Unsigned bounds not known.
    #[inline]
    pub fn forget_u(&mut self) {
        (self.umin, self.umax) = (0, Self::MAX);
    }

    /// Signed bounds not known.
    #[inline]
    pub fn forget_s(&mut self) {
        (self.smin, self.smax) = (Self::SMIN, Self::SMAX);
    }

    /// Learns from what is known bit by bit (`__update_reg_bounds`).
    #[inline]
    pub fn learn_bits(&mut self, t: Tnum) {
        let t = t.truncate(N);
        let sign = 1 << (N - 1);
        self.clamp_u(t.value, t.value | t.mask);
        self.clamp_s(Self::sext(t.value | (t.mask & sign)), Self::sext(t.value | (t.mask & !sign)));
    }

    /// Signed bounds from unsigned ones and back, where the interval does not wrap in the other view.
    #[inline]
    pub fn deduce(&mut self) {
        self.deduce_signed();
        if Self::zext(self.smin) <= Self::zext(self.smax) {
            self.clamp_u(Self::zext(self.smin), Self::zext(self.smax));
        }
    }

    #[inline]
    fn deduce_signed(&mut self) {
        if Self::sext(self.umin) <= Self::sext(self.umax) {
            self.clamp_s(Self::sext(self.umin), Self::sext(self.umax));
        }
    }

    /// [`Range::deduce`], and for a signed interval that crosses zero: when the unsigned interval meets only one of
    /// its two ends, the other end goes (Linux 6.17).
    #[inline]
    pub fn deduce_crossing(&mut self) {
        self.deduce();
        let (lo, hi) = (Self::zext(self.smin), Self::zext(self.smax));
        if lo <= hi {
            return;
        }
        if self.umax < lo {
            self.smin = Self::sext(self.umin);
            self.umax = self.umax.min(hi);
        } else if hi < self.umin {
            self.smax = Self::sext(self.umax);
            self.umin = self.umin.max(lo);
        }
    }

    /// Sum or difference modulo 2^N, and whether it wrapped.
    #[inline]
    fn wrapping_u(a: u64, b: u64, op: fn(u64, u64) -> (u64, bool)) -> (u64, bool) {
        let (v, over) = op(a, b);
        (v & Self::MAX, over | (v & !Self::MAX != 0))
    }

    /// The same of signed numbers: how many times it wrapped, downwards negative.
    #[inline]
    fn wrapping_s(a: i64, b: i64, op: fn(i64, i64) -> (i64, bool)) -> (i64, i64) {
        let (v, over) = op(a, b);
        let wraps = match over {
            // Only at 64 bits: the sign of what came out is the opposite of what it should be.
            true => {
                if v < 0 {
                    1
                } else {
                    -1
                }
            }
            false if N == 64 => 0,
            false => (v + (1 << (N - 1))) >> N,
        };
        (Self::sext(v as u64), wraps)
    }

    #[inline]
    fn from_parts(u: Option<(u64, u64)>, s: Option<(i64, i64)>) -> Self {
        let (umin, umax) = u.unwrap_or((0, Self::MAX));
        let (smin, smax) = s.unwrap_or((Self::SMIN, Self::SMAX));
        Range { umin, umax, smin, smax }
    }

    /// From the ends of both intervals; where both ends wrapped as many times it stays one (Linux 6.17).
    #[inline]
    fn from_ends([ulo, uhi]: [(u64, bool); 2], [slo, shi]: [(i64, i64); 2]) -> Self {
        let u = (ulo.1 == uhi.1).then_some((ulo.0, uhi.0));
        let s = (slo.1 == shi.1).then_some((slo.0, shi.0));
        Self::from_parts(u, s)
    }

    /// Sum.
    #[must_use]
    pub fn add(&self, o: &Self) -> Self {
        let u = |a, b| Self::wrapping_u(a, b, u64::overflowing_add);
        let s = |a, b| Self::wrapping_s(a, b, i64::overflowing_add);
        Self::from_ends(
            [u(self.umin, o.umin), u(self.umax, o.umax)],
            [s(self.smin, o.smin), s(self.smax, o.smax)],
        )
    }

    /// Difference.
    #[must_use]
    pub fn sub(&self, o: &Self) -> Self {
        let u = |a, b| Self::wrapping_u(a, b, u64::overflowing_sub);
        let s = |a, b| Self::wrapping_s(a, b, i64::overflowing_sub);
        Self::from_ends(
            [u(self.umin, o.umax), u(self.umax, o.umin)],
            [s(self.smin, o.smax), s(self.smax, o.smin)],
        )
    }

    /// Product; nothing is known once it may overflow.
    #[must_use]
    pub fn mul(&self, o: &Self) -> Self {
        let top = self.umax as u128 * o.umax as u128;
        let u = (top <= Self::MAX as u128).then(|| (self.umin * o.umin, top as u64));
        let ends = [(self.smin, o.smin), (self.smin, o.smax), (self.smax, o.smin), (self.smax, o.smax)]
            .map(|(a, b)| a as i128 * b as i128);
        let (lo, hi) = ends.iter().fold((ends[0], ends[0]), |(l, h), e| (l.min(*e), h.max(*e)));
        let fits = lo >= Self::SMIN as i128 && hi <= Self::SMAX as i128;
        Self::from_parts(u, fits.then_some((lo as i64, hi as i64)))
    }

    fn signed_from_unsigned(umin: u64, umax: u64) -> Self {
        let mut r = Range { umin, umax, ..Self::FULL };
        if Self::sext(umin) <= Self::sext(umax) {
            (r.smin, r.smax) = (Self::sext(umin), Self::sext(umax));
        }
        r
    }

    /// Bitwise and, of which `bits` is known.
    #[must_use]
    pub fn and(&self, o: &Self, bits: Tnum) -> Self {
        Self::signed_from_unsigned(bits.truncate(N).value, self.umax.min(o.umax))
    }

    /// Bitwise or.
    #[must_use]
    pub fn or(&self, o: &Self, bits: Tnum) -> Self {
        let t = bits.truncate(N);
        Self::signed_from_unsigned(self.umin.max(o.umin), t.value | t.mask)
    }

    /// Bitwise exclusive or.
    #[must_use]
    pub fn xor(&self, bits: Tnum) -> Self {
        let t = bits.truncate(N);
        Self::signed_from_unsigned(t.value, t.value | t.mask)
    }

    /// Left shift by a constant less than `N`.
    #[must_use]
    pub fn lsh(&self, by: u32) -> Self {
        let u = (self.umax <= Self::MAX >> by).then(|| (self.umin << by, self.umax << by));
        Self::from_parts(u, None)
    }

    /// Right shift by a constant less than `N`.
    #[must_use]
    pub fn rsh(&self, by: u32) -> Self {
        Self::from_parts(Some((self.umin >> by, self.umax >> by)), None)
    }

    /// Arithmetic right shift by a constant less than `N`.
    #[must_use]
    pub fn arsh(&self, by: u32) -> Self {
        Self::from_parts(None, Some((self.smin >> by, self.smax >> by)))
    }
}
