//! The tiers under test, and programs for them.

use skep_platform::engine::Loadable;
use skep_platform::{Facts, Program, Verified};
use skep_vm::Tier;
use std::sync::Arc;

/// Every tier that this build has.
pub(crate) const TIERS: &[Tier] = &[Tier::Checked, Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto];

/// A program for a tier: declared verified for those that take nothing else.
pub(crate) fn loadable(tier: Tier, program: Program) -> Loadable {
    let program = Arc::new(program);
    if tier == Tier::Checked {
        return Loadable::Unverified(program);
    }
    // SAFETY: the programs of these tests are loaded by the live kernel, or belong to suites that the kernel's own
    // interpreter runs; the checked tier has run them without a fault.
    Loadable::Verified(unsafe { Verified::assume(program, Facts::default()) })
}
