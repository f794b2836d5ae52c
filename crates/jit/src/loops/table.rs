//! Operations on all values that an expression of one byte can have, in the byte's order. The operation is fixed inside of each
//! loop, so that the loops become vector instructions.

use skep_isa::{AluOp, Cond, Width};

/// A value for every byte.
pub(super) type Table = [u64; 256];

fn each(a: &Table, b: &Table, f: impl Fn(u64, u64) -> u64) -> Table {
    let mut out = [0; 256];
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = f(*a, *b);
    }
    out
}

macro_rules! by_kind {
    ($kind:expr, $width:expr, $a:expr, $b:expr; $ty:ident: $($name:ident)*) => {
        match ($kind, $width) {
            $(($ty::$name, Width::W64) => each($a, $b, |a, b| u64::from($ty::$name.eval(Width::W64, a, b))),
              ($ty::$name, Width::W32) => each($a, $b, |a, b| u64::from($ty::$name.eval(Width::W32, a, b))),)*
        }
    };
}

/// [`AluOp::eval`].
pub(super) fn alu(op: AluOp, width: Width, a: &Table, b: &Table) -> Table {
    by_kind!(op, width, a, b; AluOp: Add Sub Mul Div Sdiv Or And Lsh Rsh Arsh Mod Smod Xor Mov)
}

/// [`Cond::eval`].
pub(super) fn compare(cond: Cond, width: Width, a: &Table, b: &Table) -> Table {
    by_kind!(cond, width, a, b; Cond: Eq Ne Gt Ge Lt Le Set Sgt Sge Slt Sle)
}
