//! Tristate numbers: what is known of each bit of a register.
//!
//! A [`Tnum`] stands for all numbers `x` with `x & !mask == value`; a bit of `mask` says "not known", and `value` has
//! no bit in common with `mask`. Operations return a tnum that holds every possible result (kernel/bpf/tnum.c has the
//! proofs); they work modulo 2^64, callers cut the result to a smaller width with [`Tnum::truncate`].

/// A number of which some bits are not known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tnum {
    /// Bits known to be one.
    pub value: u64,
    /// Bits not known.
    pub mask: u64,
}

/// The lowest `bits` bits set.
#[inline]
pub(crate) const fn ones(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

impl Tnum {
    /// Nothing known.
    pub const UNKNOWN: Tnum = Tnum { value: 0, mask: u64::MAX };

    /// Exactly `v`.
    #[inline]
    pub const fn constant(v: u64) -> Tnum {
        Tnum { value: v, mask: 0 }
    }

    /// From bits known to be one or not known; bits in both count as not known.
    #[inline]
    const fn make(value: u64, mask: u64) -> Tnum {
        Tnum { value: value & !mask, mask }
    }

    /// The best tnum that holds every number from `min` to `max`.
    #[inline]
    pub const fn range(min: u64, max: u64) -> Tnum {
        let differing = 64 - (min ^ max).leading_zeros();
        let mask = ones(differing);
        Tnum { value: min & !mask, mask }
    }

    /// The least number above `v`; `None` when there is none.
    #[inline]
    pub const fn above(self, v: u64) -> Option<u64> {
        if v == u64::MAX {
            return None;
        }
        let v = v + 1;
        let wrong = (v ^ self.value) & !self.mask;
        if wrong == 0 {
            return Some(v);
        }
        // The highest bit where a known bit differs decides whether the bits below start anew or one above must grow.
        let top = 63 - wrong.leading_zeros();
        if self.value >> top & 1 == 1 {
            return Some(v & !ones(top + 1) | self.value & ones(top + 1));
        }
        let free = self.mask & !v & !ones(top);
        if free == 0 {
            return None;
        }
        let grows = free.trailing_zeros();
        Some(v & !ones(grows + 1) | 1 << grows | self.value & ones(grows))
    }

    /// All bits known.
    #[inline]
    pub const fn is_const(self) -> bool {
        self.mask == 0
    }

    /// Nothing known of any bit.
    #[inline]
    pub const fn is_unknown(self) -> bool {
        self.mask == u64::MAX
    }

    /// Every number of `self` is a number of `outer`.
    #[inline]
    pub const fn is_within(self, outer: Tnum) -> bool {
        self.mask & !outer.mask == 0 && outer.value == self.value & !outer.mask
    }

    /// Is `v` one of its numbers?
    #[inline]
    pub const fn contains(self, v: u64) -> bool {
        v & !self.mask == self.value
    }

    /// Has the two a number in common?
    #[inline]
    pub const fn overlaps(self, other: Tnum) -> bool {
        (self.value ^ other.value) & !self.mask & !other.mask == 0
    }

    /// Is every number a multiple of `size`, a power of two?
    pub const fn is_aligned(self, size: u64) -> bool {
        size == 0 || (self.value | self.mask) & (size - 1) == 0
    }

    /// What both say. Means nothing when they do not overlap.
    #[must_use]
    #[inline]
    pub const fn intersect(self, other: Tnum) -> Tnum {
        Tnum::make(self.value | other.value, self.mask & other.mask)
    }

    /// Numbers of either.
    #[must_use]
    #[inline]
    pub const fn union(self, other: Tnum) -> Tnum {
        let mask = (self.value ^ other.value) | self.mask | other.mask;
        Tnum { value: self.value & !mask, mask }
    }

    /// The lowest `bits` bits, zero above.
    #[must_use]
    #[inline]
    pub const fn truncate(self, bits: u32) -> Tnum {
        Tnum { value: self.value & ones(bits), mask: self.mask & ones(bits) }
    }

    /// The bits from `bits` upwards, zero below.
    #[must_use]
    #[inline]
    pub const fn clear_low(self, bits: u32) -> Tnum {
        Tnum { value: self.value & !ones(bits), mask: self.mask & !ones(bits) }
    }

    /// The lowest `bits` bits replaced.
    #[must_use]
    #[inline]
    pub const fn with_low(self, bits: u32, low: Tnum) -> Tnum {
        self.clear_low(bits).or(low.truncate(bits))
    }

    /// Left shift by less than 64.
    #[must_use]
    #[inline]
    pub const fn lsh(self, by: u32) -> Tnum {
        Tnum { value: self.value << by, mask: self.mask << by }
    }

    /// Right shift by less than 64.
    #[must_use]
    #[inline]
    pub const fn rsh(self, by: u32) -> Tnum {
        Tnum { value: self.value >> by, mask: self.mask >> by }
    }

    /// Arithmetic right shift of a number `bits` wide, by less than that.
    #[must_use]
    pub const fn arsh(self, by: u32, bits: u32) -> Tnum {
        let up = 64 - bits;
        let value = ((self.value << up) as i64 >> by >> up) as u64;
        let mask = ((self.mask << up) as i64 >> by >> up) as u64;
        Tnum { value, mask }.truncate(bits)
    }

    /// Sum: a carry may or may not come into every bit where the extreme sums differ.
    #[must_use]
    #[inline]
    pub const fn add(self, other: Tnum) -> Tnum {
        let values = self.value.wrapping_add(other.value);
        let masks = self.mask.wrapping_add(other.mask);
        let carries = values.wrapping_add(masks) ^ values;
        Tnum::make(values, carries | self.mask | other.mask)
    }

    /// Difference: the same with borrows.
    #[must_use]
    #[inline]
    pub const fn sub(self, other: Tnum) -> Tnum {
        let values = self.value.wrapping_sub(other.value);
        let most = values.wrapping_add(self.mask);
        let least = values.wrapping_sub(other.mask);
        Tnum::make(values, (most ^ least) | self.mask | other.mask)
    }

    /// `0 - self`.
    #[must_use]
    pub const fn neg(self) -> Tnum {
        Tnum::constant(0).sub(self)
    }

    /// Bitwise and.
    #[must_use]
    #[inline]
    pub const fn and(self, other: Tnum) -> Tnum {
        let possible = (self.value | self.mask) & (other.value | other.mask);
        let certain = self.value & other.value;
        Tnum { value: certain, mask: possible & !certain }
    }

    /// Bitwise or.
    #[must_use]
    #[inline]
    pub const fn or(self, other: Tnum) -> Tnum {
        let certain = self.value | other.value;
        Tnum { value: certain, mask: (self.mask | other.mask) & !certain }
    }

    /// Bitwise exclusive or.
    #[must_use]
    #[inline]
    pub const fn xor(self, other: Tnum) -> Tnum {
        Tnum::make(self.value ^ other.value, self.mask | other.mask)
    }

    /// Product by long multiplication: an unknown bit of `self` may or may not add its partial product.
    #[must_use]
    pub const fn mul(mut self, mut other: Tnum) -> Tnum {
        let mut sum = Tnum::constant(0);
        while self.value | self.mask != 0 {
            if self.value & 1 == 1 {
                sum = sum.add(other);
            } else if self.mask & 1 == 1 {
                sum = sum.union(sum.add(other));
            }
            self = self.rsh(1);
            other = other.lsh(1);
        }
        sum
    }
}
