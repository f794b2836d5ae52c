//! The verifier accepts every example, with the kernel's own count of instructions where that was recorded.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use skep::verifier::Options as How;
use skep::verify::verify_object;
use skep::vm::{SystemHost, Tier, User};
use skep::{Object, Options};
use std::path::Path;
use std::sync::Arc;

/// Object and program, and the instructions and states that Linux 6.18 counts for it.
const COUNTED: &[(&str, &str, u64, u64)] = &[
    ("firewall", "firewall", 12469, 742),
    ("flowmon", "flowmon", 802, 47),
    ("lb", "lb", 9858, 183),
    ("pktsize", "pktsize", 205, 22),
    ("tcrewrite", "tcrewrite", 1354, 104),
];

#[test]
fn examples_are_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let engine = User::new(*skep::platform(), Arc::new(SystemHost::new())).with_tier(Tier::Checked);
    let mut judged = 0;
    for name in ["dispatch", "firewall", "flowmon", "lb", "pktsize", "sockfilter", "tcrewrite"] {
        let bytes = std::fs::read(folder.join(name).join(format!("{name}.bpf.o"))).unwrap();
        let object = Object::parse(&bytes).unwrap();
        let all = verify_object(&object, &engine, &Options::default(), &How::default(), &|_| true).unwrap();
        for v in all {
            let outcome = v.outcome.unwrap_or_else(|e| panic!("{name}: {}: {e:?}", v.name));
            if let Some(c) = COUNTED.iter().find(|c| c.0 == name && c.1 == v.name) {
                assert_eq!(
                    (outcome.stats.insns, outcome.stats.total_states),
                    (c.2, c.3),
                    "{name}: {}",
                    v.name
                );
            }
            judged += 1;
        }
    }
    assert_eq!(judged, 11);
}
