//! Loops that routines run many turns of at once: copies, fills, sums, counts and searches over arrays.
//!
//! ```text
//! steps ── find.rs (loops of few simple steps) ── summary.rs (what one turn does) ── plan.rs (what a routine can do)
//!       ├──► optimized/turns.rs (in line, before the loop)
//!       └──► run.rs (`Turns`: called before the loop by the baseline's code and the interpreter)
//! ```
//!
//! Before such a loop is entered, the number of turns that surely follow is worked out, a routine does their work, and
//! the registers are set to what they hold behind them; then the loop goes on as it is written.

mod find;
pub(crate) mod plan;
mod run;
pub(crate) mod summary;
mod table;
#[cfg(all(test, target_arch = "x86_64", unix))]
mod tests;

pub use find::{Found, find};
pub(crate) use run::Plain;
pub use run::Turns;

use crate::code::Code;
use skep_isa::Size;

/// Fewer turns are left to the loop.
pub(crate) const FEWEST: i64 = 8;

/// Where a loop is, and what is known of its steps.
pub(crate) struct Source<'s> {
    pub(crate) code: &'s Code,
    /// Of a conditional jump: whether it always or never jumps.
    pub(crate) decided: &'s dyn Fn(usize) -> Option<bool>,
    /// Whether an access is not one to memory, but to a variable of the compiler's.
    pub(crate) variable: &'s dyn Fn(usize, Size) -> bool,
}
