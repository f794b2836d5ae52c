//! The cases of suite `test_verifier` as programs, and the maps that they refer to.

use serde_json::Value;
use skep_isa::Insn;
pub use skep_maps::fixtures::{map_def, test_value};

use crate::suites;

/// Instructions of a case and the kinds of the maps that they refer to by index.
pub fn insns(case: &Value) -> Option<(Vec<Insn>, Vec<String>)> {
    let mut insns = Insn::slice_from_bytes(&suites::hex(case["insns"].as_str()?)?).ok()?;
    let mut kinds = Vec::new();
    for (kind, places) in case["fixups"].as_object()? {
        for at in places.as_array()? {
            let slot = insns.get_mut(at.as_u64()? as usize)?;
            // By descriptor (1, 2) becomes by index (5, 6).
            *slot = slot.with_src(slot.src() + 4).with_imm(kinds.len() as i32);
        }
        kinds.push(kind.clone());
    }
    Some((insns, kinds))
}
