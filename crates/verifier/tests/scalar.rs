//! The scalar domain against brute force: exhaustively at 4 bits (and 5, 6; tnums 8, by `cargo xtask fuzz scalars`), by
//! random products at 8 bits, by random cases at 64 bits.
//!
//! Always holds: what an operation can yield lies in what the domain says of it; what a branch lets through is still
//! there after the branch has been learned from.

#![allow(clippy::print_stdout)]

use skep_isa::{AluOp, Cond, Endian, Width};
use skep_testkit::generate::{Random, Seed};
use skep_verifier::branch::{self, Claim};
use skep_verifier::scalar::{Dom, Scalar};
use skep_verifier::tnum::Tnum;

const OPS: [AluOp; 14] = [
    AluOp::Add,
    AluOp::Sub,
    AluOp::Mul,
    AluOp::Div,
    AluOp::Sdiv,
    AluOp::Or,
    AluOp::And,
    AluOp::Lsh,
    AluOp::Rsh,
    AluOp::Arsh,
    AluOp::Mod,
    AluOp::Smod,
    AluOp::Xor,
    AluOp::Mov,
];
const CONDS: [Cond; 11] = [
    Cond::Eq,
    Cond::Ne,
    Cond::Gt,
    Cond::Ge,
    Cond::Lt,
    Cond::Le,
    Cond::Set,
    Cond::Sgt,
    Cond::Sge,
    Cond::Slt,
    Cond::Sle,
];

fn ones(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

fn sext(bits: u32, v: u64) -> i64 {
    ((v << (64 - bits)) as i64) >> (64 - bits)
}

/// The operation at a small width; `None` where the machine leaves it to the caller.
fn eval(op: AluOp, bits: u32, a: u64, b: u64) -> Option<u64> {
    let (a, b) = (a & ones(bits), b & ones(bits));
    let (sa, sb) = (sext(bits, a), sext(bits, b));
    let v = match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::And => a & b,
        AluOp::Or => a | b,
        AluOp::Xor => a ^ b,
        AluOp::Mov => b,
        AluOp::Lsh if b < bits as u64 => a << b,
        AluOp::Rsh if b < bits as u64 => a >> b,
        AluOp::Arsh if b < bits as u64 => (sa >> b) as u64,
        AluOp::Div if b != 0 => a / b,
        AluOp::Mod if b != 0 => a % b,
        AluOp::Sdiv if b != 0 => sa.wrapping_div(sb) as u64,
        AluOp::Smod if b != 0 => sa.wrapping_rem(sb) as u64,
        _ => return None,
    };
    Some(v & ones(bits))
}

fn holds(cond: Cond, bits: u32, a: u64, b: u64) -> bool {
    let (a, b) = (a & ones(bits), b & ones(bits));
    cond.eval(Width::W64, sext(bits, a) as u64, sext(bits, b) as u64)
        && match cond {
            Cond::Gt | Cond::Ge | Cond::Lt | Cond::Le => true,
            Cond::Set => a & b != 0,
            _ => true,
        }
}

/// Domains of width `W` (at most 6): every unsigned and signed interval, every tnum, every interval of the lower half, each
/// synced.
fn domains<const W: u32, const H: u32>() -> Vec<Dom<W, H>> {
    let mut all = Vec::new();
    let mut add = |mut d: Dom<W, H>| {
        d.sync();
        all.push(d);
    };
    let half = 1i64 << (W - 1);
    for lo in 0..=ones(W) {
        for hi in lo..=ones(W) {
            add(Dom::between(lo, hi));
            let mut s = Dom::UNKNOWN;
            s.r.clamp_s(lo as i64 - half, hi as i64 - half);
            add(s);
        }
    }
    for mask in 0..=ones(W) {
        for value in (0..=ones(W)).filter(|v| v & mask == 0) {
            add(Dom { bits: Tnum { value, mask }, ..Dom::UNKNOWN });
        }
    }
    for lo in 0..=ones(H) {
        for hi in lo..=ones(H) {
            let mut h = Dom::UNKNOWN;
            h.sub.clamp_u(lo, hi);
            add(h);
        }
    }
    all.sort_by_key(|d| format!("{d:?}"));
    all.dedup();
    all
}

/// A set of numbers of at most 6 bits, a bit each.
type Set = u64;

fn each(set: Set) -> impl Iterator<Item = u64> {
    let mut rest = set;
    std::iter::from_fn(move || {
        let v = rest.trailing_zeros();
        (rest != 0).then(|| {
            rest &= rest - 1;
            u64::from(v)
        })
    })
}

fn set(numbers: impl Iterator<Item = u64>) -> Set {
    numbers.fold(0, |s, v| s | 1 << v)
}

fn members<const W: u32, const H: u32>(d: &Dom<W, H>) -> Set {
    set((0..=ones(W)).filter(|v| d.contains(*v)))
}

/// The members of domains without asking for each number: what each part allows is looked up.
struct Members<const W: u32, const H: u32> {
    /// By value and mask.
    tnums: Vec<Set>,
    /// By lower half.
    lower: Vec<Set>,
}

impl<const W: u32, const H: u32> Members<W, H> {
    fn new() -> Self {
        let all = || 0..=ones(W);
        let tnum = |value, mask| set(all().filter(|v| Tnum { value, mask }.contains(*v)));
        let tnums = all().flat_map(|v| all().map(move |m| tnum(v, m))).collect();
        let lower = (0..=ones(H)).map(|h| set(all().filter(|v| v & ones(H) == h))).collect();
        Members { tnums, lower }
    }

    fn of(&self, d: &Dom<W, H>) -> Set {
        let upto = |n: u64| if n >= 63 { u64::MAX } else { (1 << (n + 1)) - 1 };
        let between = |lo: u64, hi: u64| if lo > hi { 0 } else { upto(hi) & !(upto(lo) >> 1) };
        let unsigned = between(d.r.umin, d.r.umax);
        let half = 1i64 << (W - 1);
        // Negative numbers are the upper half of the set.
        let signed = between((d.r.smin + half) as u64, (d.r.smax + half) as u64);
        let turned = (signed >> half) | (signed << half) & upto(ones(W));
        let lower = (0..=ones(H)).filter(|h| d.sub.contains(*h)).fold(0, |s, h| s | self.lower[h as usize]);
        let bits =
            self.tnums[(d.bits.value & ones(W)) as usize * (1 << W) + (d.bits.mask & ones(W)) as usize];
        unsigned & turned & lower & bits
    }
}

#[test]
fn members_are_looked_up_right() {
    let m = Members::<5, 2>::new();
    for d in domains::<5, 2>() {
        assert_eq!(m.of(&d), members(&d), "{d:?}");
        assert_ne!(members(&d), 0, "{d:?} lost its numbers");
    }
}

/// Every operator on every pair of domains (or on every `step`th pair): no result is lost.
fn every_operator<const W: u32, const H: u32>(step: usize) {
    let (all, lookup) = (domains::<W, H>(), Members::<W, H>::new());
    let sets: Vec<Set> = all.iter().map(members).collect();
    let mut count = 0u64;
    for op in OPS {
        for width in [Width::W64, Width::W32] {
            let bits = if width == Width::W64 { W } else { H };
            let table: Vec<Vec<Option<u64>>> =
                (0..=ones(W)).map(|x| (0..=ones(W)).map(|y| eval(op, bits, x, y)).collect()).collect();
            for (b, mb) in all.iter().zip(&sets) {
                // What each number becomes with all of `b`.
                let images: Vec<Set> = (0..=ones(W))
                    .map(|x| set(each(*mb).filter_map(|y| table[x as usize][y as usize])))
                    .collect();
                let first = count as usize % step;
                for (a, ma) in all.iter().zip(&sets).skip(first).step_by(step) {
                    let out = a.alu(op, width, b);
                    let results = each(*ma).fold(0, |s, x| s | images[x as usize]);
                    let lost = results & !lookup.of(&out);
                    assert!(
                        lost == 0,
                        "{op:?} {width:?} of {a:?}, {b:?}: {out:?} lacks {:?}",
                        each(lost).next()
                    );
                    count += 1;
                }
                count += 1;
            }
        }
    }
    println!("scalars, {W} bits: {} domains, {count} operations, no result lost", all.len());
}

/// Every comparison of every pair of domains: no number is lost on either way, and no way is wrongly excluded.
fn every_branch<const W: u32, const H: u32>(step: usize) {
    let (all, lookup) = (domains::<W, H>(), Members::<W, H>::new());
    let sets: Vec<Set> = all.iter().map(members).collect();
    let mut count = 0u64;
    for cond in CONDS {
        for width in [Width::W64, Width::W32] {
            let bits = if width == Width::W64 { W } else { H };
            let taken: Vec<Set> =
                (0..=ones(W)).map(|x| set((0..=ones(W)).filter(|y| holds(cond, bits, x, *y)))).collect();
            for (i, (b, mb)) in all.iter().zip(&sets).enumerate() {
                for (a, ma) in all.iter().zip(&sets).skip(i % step).step_by(step) {
                    let certain = branch::outcome(cond, width, a, b);
                    for way in [true, false] {
                        let (mut na, mut nb) = (*a, *b);
                        let claim = if way { Claim::Is(cond) } else { Claim::not(cond) };
                        branch::refine(claim, width, &mut na, &mut nb);
                        let (mut left, mut right) = (0, 0);
                        for x in each(*ma) {
                            let ys = mb & if way { taken[x as usize] } else { !taken[x as usize] };
                            left |= u64::from(ys != 0) << x;
                            right |= ys;
                        }
                        assert!(
                            left & !lookup.of(&na) == 0 && right & !lookup.of(&nb) == 0,
                            "{cond:?} {width:?} {way}: {na:?} {nb:?} from {a:?} {b:?}"
                        );
                        let excluded = certain == Some(!way);
                        assert!(!excluded || left == 0, "{cond:?} {width:?}: {certain:?} from {a:?} {b:?}");
                    }
                    count += 1;
                }
            }
        }
    }
    println!("scalars, {W} bits: {} domains, {count} comparisons, no number lost", all.len());
}

#[test]
fn operators_at_four_bits() {
    every_operator::<4, 2>(1);
}

#[test]
fn branches_at_four_bits() {
    every_branch::<4, 2>(1);
}

/// One pair in some hundreds at 6 bits; `cargo xtask fuzz scalars` takes them all.
#[test]
fn some_pairs_at_six_bits() {
    every_operator::<6, 3>(997);
    every_branch::<6, 3>(997);
}

#[test]
#[ignore = "minutes; cargo xtask fuzz scalars"]
fn all_operators_at_five_and_six_bits() {
    every_operator::<5, 2>(1);
    every_operator::<6, 3>(1);
}

#[test]
#[ignore = "minutes; cargo xtask fuzz scalars"]
fn all_branches_at_five_and_six_bits() {
    every_branch::<5, 2>(1);
    every_branch::<6, 3>(1);
}

/// A domain of 8 bits around a number: bits, two intervals and a lower half that all hold it.
fn around(random: &mut Seed, v: u64) -> Dom<8, 4> {
    let mut d = Dom::<8, 4>::UNKNOWN;
    let (kinds, noise) = (random.bits(), random.bits());
    let byte = |n: u32| noise >> (8 * n) & 0xff;
    if kinds & 1 != 0 {
        let mask = byte(0) & byte(1);
        d.bits = Tnum { value: v & !mask, mask };
    }
    if kinds & 2 != 0 {
        d.r.clamp_u(v - byte(2) % (v + 1), v + byte(3) % (256 - v));
    }
    if kinds & 4 != 0 {
        let s = sext(8, v);
        d.r.clamp_s(s - byte(4) as i64 % (s + 129), s + byte(5) as i64 % (128 - s));
    }
    if kinds & 8 != 0 {
        let l = v & 15;
        d.sub.clamp_u(l - byte(6) % (l + 1), l + byte(7) % (16 - l));
    }
    d.sync();
    d
}

/// Random products of bits and intervals at 8 bits, every pair of members tried.
fn random_at_eight_bits(rounds: u32) {
    let mut random = Seed(u64::from(rounds) | 1);
    let all = |d: &Dom<8, 4>| (0..256).filter(|v| d.contains(*v)).collect::<Vec<u64>>();
    for _ in 0..rounds {
        let (v, w) = (random.bits() & 0xff, random.bits() & 0xff);
        let (a, b) = (around(&mut random, v), around(&mut random, w));
        let (ma, mb) = (all(&a), all(&b));
        assert!(ma.contains(&v) && mb.contains(&w), "{v} or {w} lost: {a:?} {b:?}");
        let width = if random.bits() & 1 == 0 { Width::W64 } else { Width::W32 };
        let bits = if width == Width::W64 { 8 } else { 4 };
        let (op, cond) = (random.pick(&OPS), random.pick(&CONDS));
        let out = a.alu(op, width, &b);
        let certain = branch::outcome(cond, width, &a, &b);
        let (mut ta, mut tb, mut fa, mut fb) = (a, b, a, b);
        branch::refine(Claim::Is(cond), width, &mut ta, &mut tb);
        branch::refine(Claim::not(cond), width, &mut fa, &mut fb);
        for x in &ma {
            for y in &mb {
                if let Some(r) = eval(op, bits, *x, *y) {
                    assert!(out.contains(r), "{x} {op:?} {y} = {r} not in {out:?} from {a:?}, {b:?}");
                }
                let taken = holds(cond, bits, *x, *y);
                assert!(certain.is_none_or(|c| c == taken), "{x} {cond:?} {y}: {certain:?} from {a:?} {b:?}");
                let (na, nb) = if taken { (&ta, &tb) } else { (&fa, &fb) };
                assert!(
                    na.contains(*x) && nb.contains(*y),
                    "{x} {cond:?} {y}: {na:?} {nb:?} from {a:?} {b:?}"
                );
            }
        }
    }
    println!("scalars, 8 bits: {rounds} random pairs, one operator and one comparison each, nothing lost");
}

#[test]
fn random_pairs_at_eight_bits() {
    random_at_eight_bits(3_000);
}

#[test]
#[ignore = "minutes; cargo xtask fuzz scalars"]
fn many_random_pairs_at_eight_bits() {
    random_at_eight_bits(2_000_000);
}

/// Every pair of 8-bit tnums under every operator of tnums: 43 million pairs.
#[test]
#[ignore = "minutes; cargo xtask fuzz scalars"]
fn all_tnums_at_eight_bits() {
    type Op = (&'static str, fn(Tnum, Tnum) -> Tnum, fn(u64, u64) -> u64);
    let ops: [Op; 6] = [
        ("add", Tnum::add, u64::wrapping_add),
        ("sub", Tnum::sub, u64::wrapping_sub),
        ("mul", Tnum::mul, u64::wrapping_mul),
        ("and", Tnum::and, |a, b| a & b),
        ("or", Tnum::or, |a, b| a | b),
        ("xor", Tnum::xor, |a, b| a ^ b),
    ];
    let all: Vec<Tnum> = (0..256u64)
        .flat_map(|mask| (0..256).filter(move |v| v & mask == 0).map(move |value| Tnum { value, mask }))
        .collect();
    let numbers: Vec<Vec<u64>> = all.iter().map(|t| (0..256).filter(|v| t.contains(*v)).collect()).collect();
    for (name, abs, real) in ops {
        for (a, na) in all.iter().zip(&numbers) {
            for (b, nb) in all.iter().zip(&numbers) {
                let out = abs(*a, *b);
                let wrong = |x: u64, y: u64| (real(x, y) ^ out.value) & !out.mask & 0xff != 0;
                let lost = na.iter().any(|x| nb.iter().any(|y| wrong(*x, *y)));
                assert!(!lost, "{a:?} {name} {b:?}: {out:?}");
            }
        }
    }
    println!(
        "scalars, 8 bits: {} pairs of tnums, {} operators, nothing lost",
        all.len() * all.len(),
        ops.len()
    );
}

#[test]
fn extensions_at_four_bits() {
    for d in domains::<4, 2>() {
        for v in each(members(&d)) {
            for bits in 1..4 {
                let (mut t, mut s) = (d, d);
                t.truncate(bits);
                s.sign_extend(bits);
                assert!(t.contains(v & ones(bits)), "{d:?} cut to {bits}: {t:?} lacks {v}");
                assert!(s.contains(sext(bits, v) as u64 & 15), "{d:?} extended from {bits}: {s:?} lacks {v}");
            }
            let mut s = d;
            s.sign_extend_sub(1);
            assert!(s.contains(sext(1, v) as u64 & 3), "{d:?} {s:?} {v}");
            let mut z = d;
            z.zext();
            assert!(z.contains(v & 3));
        }
    }
}

/// A domain around a number, sharpened by random operations whose result is known.
fn random(u: &mut arbtest::arbitrary::Unstructured<'_>) -> arbtest::arbitrary::Result<(Scalar, u64)> {
    let v: u64 = if u.ratio(1, 2)? { u.arbitrary()? } else { u.arbitrary::<i8>()? as i64 as u64 };
    let mut d = Scalar::UNKNOWN;
    match u.int_in_range(0..=4)? {
        0 => d = Scalar::constant(v),
        1 => d.bits = Tnum { value: v, mask: 0 }.union(Tnum::constant(u.arbitrary()?)),
        2 => d.r.clamp_u(
            v.saturating_sub(u.arbitrary::<u32>()? as u64),
            v.saturating_add(u.arbitrary::<u8>()? as u64),
        ),
        3 => {
            let s = v as i64;
            d.r.clamp_s(
                s.saturating_sub(u.arbitrary::<u16>()? as i64),
                s.saturating_add(u.arbitrary::<u32>()? as i64),
            );
        }
        _ => {
            let l = v as u32;
            d.sub.clamp_u(l.saturating_sub(u.arbitrary::<u8>()? as u32) as u64, l.saturating_add(9) as u64);
        }
    }
    d.sync();
    Ok((d, v))
}

#[test]
fn random_chains_at_64_bits() {
    arbtest::arbtest(|u| {
        let (mut d, mut v) = random(u)?;
        for _ in 0..12 {
            let (e, w) = random(u)?;
            let op = *u.choose(&OPS)?;
            let width = if u.arbitrary()? { Width::W64 } else { Width::W32 };
            let shift = matches!(op, AluOp::Lsh | AluOp::Rsh | AluOp::Arsh);
            let (e, w) = if shift { (Scalar::constant(w & 31), w & 31) } else { (e, w) };
            let out = d.alu(op, width, &e);
            let r = op.eval(width, v, w);
            assert!(out.contains(r), "{v:#x} {op:?} {w:#x} = {r:#x} not in {out:?} from {d:?}, {e:?}");
            (d, v) = (out, r);
            let (mut o, x) = random(u)?;
            let cond = *u.choose(&CONDS)?;
            let taken = cond.eval(width, v, x);
            assert!(branch::outcome(cond, width, &d, &o).is_none_or(|t| t == taken));
            let claim = if taken { Claim::Is(cond) } else { Claim::not(cond) };
            branch::refine(claim, width, &mut d, &mut o);
            assert!(d.contains(v) && o.contains(x), "{v:#x} {cond:?} {x:#x}: {d:?} {o:?}");
            let bits = *u.choose(&[8, 16, 32])?;
            if u.ratio(1, 4)? {
                let kind = *u.choose(&[Endian::ToLe, Endian::ToBe, Endian::Swap])?;
                let bits = *u.choose(&[16, 32, 64])?;
                (d, v) = (d.end(kind, bits), kind.eval(bits, v));
                assert!(d.contains(v), "{v:#x} after {kind:?} {bits} not in {d:?}");
            }
            if u.ratio(1, 4)? {
                d.sign_extend(bits);
                v = skep_isa::eval::sign_extend(bits as u8, v);
                assert!(d.contains(v));
            }
        }
        Ok(())
    })
    .budget_ms(3_000);
}

#[test]
fn the_next_member_of_a_tnum() {
    for mask in 0..16u64 {
        for value in (0..16u64).filter(|v| v & mask == 0) {
            let t = Tnum { value, mask };
            for v in 0..17 {
                let want = (v + 1..16).find(|m| t.contains(*m));
                assert_eq!(t.above(v), want, "{t:?} above {v}");
            }
        }
    }
    assert_eq!(Tnum::UNKNOWN.above(u64::MAX), None);
    assert_eq!(Tnum { value: 1 << 63, mask: 1 }.above(5), Some(1 << 63));
}
