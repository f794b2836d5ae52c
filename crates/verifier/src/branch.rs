//! What a comparison tells: whether the jump is taken, and what both operands are on each side of it.
//!
//! Both functions take the two operands as numbers. [`outcome`] says which way is certain; [`refine`] narrows both
//! operands under the assumption that the condition holds, for the other side it is called with the opposite one.

use crate::range::Range;
use crate::scalar::Dom;
use crate::tnum::{Tnum, ones};
use skep_isa::{Cond, Width};

/// What holds on one side of a conditional jump: a condition or, for `Set`, that no tested bit is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// The condition holds.
    Is(Cond),
    /// `a & b == 0`.
    Clear,
}

impl Claim {
    /// What holds where the jump is not taken.
    pub fn not(cond: Cond) -> Claim {
        cond.negate().map_or(Claim::Clear, Claim::Is)
    }
}

/// Whether `a cond b` is certainly true or false, or (`None`) neither.
pub fn outcome<const W: u32, const H: u32>(
    cond: Cond,
    width: Width,
    a: &Dom<W, H>,
    b: &Dom<W, H>,
) -> Option<bool> {
    match width {
        Width::W32 => decide(cond, &a.sub, &b.sub, a.bits.truncate(H), b.bits.truncate(H), || false),
        Width::W64 => decide(cond, &a.r, &b.r, a.bits, b.bits, || disjoint(&a.sub, &b.sub)),
    }
}

fn disjoint<const N: u32>(a: &Range<N>, b: &Range<N>) -> bool {
    a.umin > b.umax || a.umax < b.umin || a.smin > b.smax || a.smax < b.smin
}

fn decide<const N: u32>(
    cond: Cond,
    a: &Range<N>,
    b: &Range<N>,
    ta: Tnum,
    tb: Tnum,
    halves_disjoint: impl Fn() -> bool,
) -> Option<bool> {
    let order = |yes: bool, no: bool| {
        if yes {
            Some(true)
        } else if no {
            Some(false)
        } else {
            None
        }
    };
    match cond {
        Cond::Eq | Cond::Ne => {
            let equal = if ta.is_const() && tb.is_const() {
                Some(ta.value == tb.value)
            } else if !ta.overlaps(tb) || disjoint(a, b) || halves_disjoint() {
                Some(false)
            } else {
                None
            };
            equal.map(|e| e == (cond == Cond::Eq))
        }
        Cond::Set => {
            let (t, c) = if tb.is_const() { (ta, tb) } else { (tb, ta) };
            c.is_const().then(|| order(t.value & c.value != 0, (t.mask | t.value) & c.value == 0))?
        }
        Cond::Gt => order(a.umin > b.umax, a.umax <= b.umin),
        Cond::Ge => order(a.umin >= b.umax, a.umax < b.umin),
        Cond::Lt => order(a.umax < b.umin, a.umin >= b.umax),
        Cond::Le => order(a.umax <= b.umin, a.umin > b.umax),
        Cond::Sgt => order(a.smin > b.smax, a.smax <= b.smin),
        Cond::Sge => order(a.smin >= b.smax, a.smax < b.smin),
        Cond::Slt => order(a.smax < b.smin, a.smin >= b.smax),
        Cond::Sle => order(a.smax <= b.smin, a.smin > b.smax),
    }
}

/// Narrows both operands to where the claim holds. The results may be empty, when it never does.
pub fn refine<const W: u32, const H: u32>(claim: Claim, width: Width, a: &mut Dom<W, H>, b: &mut Dom<W, H>) {
    match claim {
        Claim::Is(c @ (Cond::Gt | Cond::Ge | Cond::Sgt | Cond::Sge)) => {
            return refine(Claim::Is(c.swap()), width, b, a);
        }
        Claim::Is(Cond::Eq) => equal(width, a, b),
        Claim::Is(Cond::Ne) => not_equal(width, a, b),
        Claim::Is(Cond::Set) => bit_set(width, a, b),
        Claim::Clear => bits_clear(width, a, b),
        Claim::Is(c) => match width {
            Width::W32 => less(c, &mut a.sub, &mut b.sub),
            Width::W64 => less(c, &mut a.r, &mut b.r),
        },
    }
    a.sync();
    b.sync();
}

fn equal<const W: u32, const H: u32>(width: Width, a: &mut Dom<W, H>, b: &mut Dom<W, H>) {
    match width {
        Width::W32 => {
            a.sub.intersect(&b.sub);
            b.sub = a.sub;
            let t = a.bits.truncate(H).intersect(b.bits.truncate(H));
            a.bits = a.bits.with_low(H, t);
            b.bits = b.bits.with_low(H, t);
        }
        Width::W64 => {
            a.r.intersect(&b.r);
            b.r = a.r;
            a.bits = a.bits.intersect(b.bits);
            b.bits = a.bits;
        }
    }
}

fn constant_at<const W: u32, const H: u32>(width: Width, d: &Dom<W, H>) -> Option<u64> {
    match width {
        Width::W32 => d.sub_const(),
        Width::W64 => d.as_const(),
    }
}

fn with_constant<const W: u32, const H: u32>(
    width: Width,
    a: &mut Dom<W, H>,
    b: &mut Dom<W, H>,
    f: impl Fn(&mut Dom<W, H>, u64),
) {
    if let Some(v) = constant_at(width, b) {
        f(a, v);
    } else if let Some(v) = constant_at(width, a) {
        f(b, v);
    }
}

fn not_equal<const W: u32, const H: u32>(width: Width, a: &mut Dom<W, H>, b: &mut Dom<W, H>) {
    with_constant(width, a, b, |d, v| match width {
        Width::W32 => exclude(&mut d.sub, v),
        Width::W64 => exclude(&mut d.r, v),
    });
}

fn exclude<const N: u32>(r: &mut Range<N>, v: u64) {
    let s = Range::<N>::sext(v);
    if r.umin == v {
        r.umin = r.umin.saturating_add(1);
    }
    if r.umax == v {
        r.umax = r.umax.saturating_sub(1);
    }
    if r.smin == s {
        r.smin = r.smin.saturating_add(1);
    }
    if r.smax == s {
        r.smax = r.smax.saturating_sub(1);
    }
}

fn bit_set<const W: u32, const H: u32>(width: Width, a: &mut Dom<W, H>, b: &mut Dom<W, H>) {
    with_constant(width, a, b, |d, v| {
        if !v.is_power_of_two() {
            return;
        }
        match width {
            Width::W32 => d.bits = d.bits.with_low(H, d.bits.truncate(H).or(Tnum::constant(v))),
            Width::W64 => d.bits = d.bits.or(Tnum::constant(v)),
        }
    });
}

fn bits_clear<const W: u32, const H: u32>(width: Width, a: &mut Dom<W, H>, b: &mut Dom<W, H>) {
    with_constant(width, a, b, |d, v| {
        d.forget_ranges();
        match width {
            Width::W32 => d.bits = d.bits.with_low(H, d.bits.truncate(H).and(Tnum::constant(!v & ones(H)))),
            Width::W64 => d.bits = d.bits.and(Tnum::constant(!v)),
        }
    });
}

fn less<const N: u32>(cond: Cond, a: &mut Range<N>, b: &mut Range<N>) {
    match cond {
        Cond::Le => {
            a.umax = a.umax.min(b.umax);
            b.umin = a.umin.max(b.umin);
        }
        Cond::Lt => {
            a.umax = a.umax.min(b.umax.saturating_sub(1));
            b.umin = b.umin.max(a.umin.saturating_add(1));
        }
        Cond::Sle => {
            a.smax = a.smax.min(b.smax);
            b.smin = a.smin.max(b.smin);
        }
        Cond::Slt => {
            a.smax = a.smax.min(b.smax.saturating_sub(1));
            b.smin = b.smin.max(a.smin.saturating_add(1));
        }
        _ => {}
    }
}
