//! Operations on all values that an expression of one byte can have, in the byte's order. The operation is fixed inside of each
//! loop, so that the loops become vector instructions.

use skep_isa::{AluOp, Cond, Width};

/// A value for every byte.
pub(super) type Table = [u64; 256];

#[inline(always)]
fn each(a: &Table, b: &Table, f: impl Fn(u64, u64) -> u64) -> Table {
    let mut out = [0; 256];
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = f(*a, *b);
    }
    out
}

/// A function of an operation, its width and two tables: with the vector instructions of this processor where it has them.
macro_rules! by_kind {
    ($(#[$doc:meta])* $ty:ident $name:ident $vector:ident $plain:ident: $($kind:ident)*) => {
        #[inline(always)]
        fn $plain(kind: $ty, width: Width, a: &Table, b: &Table) -> Table {
            match (kind, width) {
                $(($ty::$kind, Width::W64) => each(a, b, |a, b| u64::from($ty::$kind.eval(Width::W64, a, b))),
                  ($ty::$kind, Width::W32) => each(a, b, |a, b| u64::from($ty::$kind.eval(Width::W32, a, b))),)*
            }
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,bmi2")]
        fn $vector(kind: $ty, width: Width, a: &Table, b: &Table) -> Table {
            $plain(kind, width, a, b)
        }

        $(#[$doc])*
        pub(super) fn $name(kind: $ty, width: Width, a: &Table, b: &Table) -> Table {
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("bmi2") {
                // SAFETY: the processor has just been asked for them.
                return unsafe { $vector(kind, width, a, b) };
            }
            $plain(kind, width, a, b)
        }
    };
}

by_kind!(
    /// [`AluOp::eval`].
    AluOp alu alu_vector alu_plain: Add Sub Mul Div Sdiv Or And Lsh Rsh Arsh Mod Smod Xor Mov
);
by_kind!(
    /// [`Cond::eval`].
    Cond compare compare_vector compare_plain: Eq Ne Gt Ge Lt Le Set Sgt Sge Slt Sle
);
