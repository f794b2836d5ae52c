//! The scalar domain against brute force: exhaustively at small widths, by random cases at 64 bits.
//!
//! Always holds: what an operation can yield lies in what the domain says of it; what a branch lets through is still
//! there after the branch has been learned from.

use skep_isa::{AluOp, Cond, Endian, Width};
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

type Small = Dom<4, 2>;

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

/// Domains of width 4: constants, every unsigned and signed interval, every tnum, each synced.
fn small_domains() -> Vec<Small> {
    let mut all = Vec::new();
    for lo in 0..16u64 {
        for hi in lo..16 {
            all.push(Small::between(lo, hi));
            let mut s = Small::UNKNOWN;
            s.r.clamp_s(lo as i64 - 8, hi as i64 - 8);
            s.sync();
            all.push(s);
        }
    }
    for mask in 0..16u64 {
        for value in (0..16).filter(|v| v & mask == 0) {
            let mut t = Small { bits: Tnum { value, mask }, ..Small::UNKNOWN };
            t.sync();
            all.push(t);
        }
    }
    for lo in 0..4u64 {
        for hi in lo..4 {
            let mut h = Small::UNKNOWN;
            h.sub.clamp_u(lo, hi);
            h.sync();
            all.push(h);
        }
    }
    all.sort_by_key(|d| format!("{d:?}"));
    all.dedup();
    all
}

fn members(d: &Small) -> Vec<u64> {
    (0..16).filter(|v| d.contains(*v)).collect()
}

#[test]
fn every_operator_at_four_bits() {
    let all = small_domains();
    for a in &all {
        let ma = members(a);
        assert!(!ma.is_empty(), "{a:?} lost its numbers");
        for b in &all {
            let mb = members(b);
            for op in OPS {
                for width in [Width::W64, Width::W32] {
                    let bits = if width == Width::W64 { 4 } else { 2 };
                    let out = a.alu(op, width, b);
                    for (x, y) in ma.iter().flat_map(|x| mb.iter().map(move |y| (*x, *y))) {
                        if let Some(v) = eval(op, bits, x, y) {
                            assert!(out.contains(v), "{x} {op:?} {y} = {v} not in {out:?} from {a:?}, {b:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn extensions_at_four_bits() {
    for d in small_domains() {
        for v in members(&d) {
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

#[test]
fn every_branch_at_four_bits() {
    let all = small_domains();
    for a in &all {
        let ma = members(a);
        for b in &all {
            let mb = members(b);
            for cond in CONDS {
                for width in [Width::W64, Width::W32] {
                    check_branch(cond, width, (a, &ma), (b, &mb));
                }
            }
        }
    }
}

fn check_branch(cond: Cond, width: Width, (a, ma): (&Small, &[u64]), (b, mb): (&Small, &[u64])) {
    let bits = if width == Width::W64 { 4 } else { 2 };
    let certain = branch::outcome(cond, width, a, b);
    let (mut ta, mut tb, mut fa, mut fb) = (*a, *b, *a, *b);
    branch::refine(Claim::Is(cond), width, &mut ta, &mut tb);
    branch::refine(Claim::not(cond), width, &mut fa, &mut fb);
    for (x, y) in ma.iter().flat_map(|x| mb.iter().map(move |y| (*x, *y))) {
        let taken = holds(cond, bits, x, y);
        assert!(certain.is_none_or(|c| c == taken), "{x} {cond:?} {y}: {certain:?} from {a:?} {b:?}");
        let (na, nb) = if taken { (&ta, &tb) } else { (&fa, &fb) };
        assert!(
            na.contains(x) && nb.contains(y),
            "{x} {cond:?} {y} taken {taken}: {na:?} {nb:?} from {a:?} {b:?}"
        );
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
