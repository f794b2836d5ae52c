//! The scalar semantics by brute force against formulas over wide integers.

use skep_isa::{AluOp, AtomicOp, Cond, Endian, Width, eval, table};

/// Numbers where things happen, and a few that are nothing special.
fn numbers() -> Vec<u64> {
    let mut all = vec![0x1122_3344_5566_7788, 0xdead_beef_0000_0003, 10, 1_000_003];
    for bit in 0..64 {
        let p = 1u64 << bit;
        all.extend([p, p.wrapping_sub(1), p + 1, p.wrapping_neg(), !p]);
    }
    all
}

/// Value of a register as the operation reads it: unsigned, signed.
fn read(width: Width, v: u64) -> (i128, i128) {
    let modulus = 1i128 << width.bits();
    let unsigned = i128::from(v) % modulus;
    (unsigned, if unsigned >= modulus / 2 { unsigned - modulus } else { unsigned })
}

fn alu_formula(op: AluOp, width: Width, a: u64, b: u64) -> u64 {
    let bits = width.bits() as i128;
    let ((ua, sa), (ub, sb)) = (read(width, a), read(width, b));
    let exact = match op {
        AluOp::Add => ua + ub,
        AluOp::Sub => ua - ub,
        AluOp::Mul => return (u128::wrapping_mul(ua as u128, ub as u128) % (1 << bits)) as u64,
        AluOp::Div => ua.checked_div(ub).unwrap_or(0),
        AluOp::Sdiv => sa.checked_div(sb).unwrap_or(0),
        AluOp::Mod => ua.checked_rem(ub).unwrap_or(ua),
        AluOp::Smod => sa.checked_rem(sb).unwrap_or(sa),
        AluOp::Or => ua | ub,
        AluOp::And => ua & ub,
        AluOp::Xor => ua ^ ub,
        AluOp::Mov => ub,
        AluOp::Lsh => return (((ua as u128) << (ub % bits)) % (1 << bits)) as u64,
        AluOp::Rsh => ua.div_euclid(1 << (ub % bits)),
        AluOp::Arsh => sa.div_euclid(1 << (ub % bits)),
    };
    exact.rem_euclid(1 << bits) as u64
}

#[test]
fn arithmetic() {
    let numbers = numbers();
    for (op, ..) in table::ALU_OPS {
        for width in [Width::W32, Width::W64] {
            for &a in &numbers {
                for &b in &numbers {
                    let expected = alu_formula(op, width, a, b);
                    assert_eq!(op.eval(width, a, b), expected, "{op:?} {width:?} {a:#x} {b:#x}");
                }
            }
        }
    }
}

#[test]
fn conditions() {
    let numbers = numbers();
    for (cond, ..) in table::CONDS {
        for width in [Width::W32, Width::W64] {
            for &a in &numbers {
                for &b in &numbers {
                    let ((ua, sa), (ub, sb)) = (read(width, a), read(width, b));
                    let expected = match cond {
                        Cond::Eq => ua == ub,
                        Cond::Ne => ua != ub,
                        Cond::Gt => ua > ub,
                        Cond::Ge => ua >= ub,
                        Cond::Lt => ua < ub,
                        Cond::Le => ua <= ub,
                        Cond::Set => ua & ub != 0,
                        Cond::Sgt => sa > sb,
                        Cond::Sge => sa >= sb,
                        Cond::Slt => sa < sb,
                        Cond::Sle => sa <= sb,
                    };
                    assert_eq!(cond.eval(width, a, b), expected, "{cond:?} {width:?} {a:#x} {b:#x}");
                    assert_eq!(cond.swap().eval(width, b, a), expected);
                    assert!(cond.negate().is_none_or(|n| n.eval(width, a, b) != expected));
                }
            }
        }
    }
}

#[test]
fn byte_order() {
    for v in numbers() {
        for bits in [16, 32, 64] {
            let n = usize::from(bits) / 8;
            let mut low = v.to_le_bytes();
            low[n..].fill(0);
            let kept = u64::from_le_bytes(low);
            low[..n].reverse();
            let swapped = u64::from_le_bytes(low);
            assert_eq!(Endian::ToLe.eval(bits, v), kept);
            assert_eq!(Endian::ToBe.eval(bits, v), swapped);
            assert_eq!(Endian::Swap.eval(bits, v), swapped);
        }
    }
}

#[test]
fn sign_extension_and_negation() {
    for v in numbers() {
        for bits in [8u8, 16, 32, 64] {
            let modulus = 1i128 << bits;
            let low = i128::from(v) % modulus;
            let signed = if low >= modulus / 2 { low - modulus } else { low };
            assert_eq!(eval::sign_extend(bits, v), signed as i64 as u64);
        }
        assert_eq!(eval::neg(Width::W64, v), 0u64.wrapping_sub(v));
        assert_eq!(eval::neg(Width::W32, v), u64::from(0u32.wrapping_sub(v as u32)));
    }
}

#[test]
fn atomics() {
    let width = Width::W32;
    let add = AtomicOp::Add { fetch: true };
    assert_eq!(add.eval(width, 0xffff_ffff, 2, 0), 1);
    assert_eq!(AtomicOp::Xchg.eval(width, 1, 0x5_0000_0002, 0), 2);
    assert_eq!(AtomicOp::Cmpxchg.eval(width, 7, 9, 0x1_0000_0007), 9, "only the lower half is compared");
    assert_eq!(AtomicOp::Cmpxchg.eval(Width::W64, 7, 9, 0x1_0000_0007), 7);
    assert!(add.fetches() && !AtomicOp::Or { fetch: false }.fetches() && AtomicOp::Cmpxchg.fetches());
}
