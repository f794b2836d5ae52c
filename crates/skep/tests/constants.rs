//! What `.rodata` holds is part of the code; what users may still write is not. On every tier.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use skep::descriptors::Context;
use skep::descriptors::map::{Side, flags};
use skep::hooks::input;
use skep::vm::{SystemHost, Tier, User, UserProgram};
use skep::{Collection, Loadable, Loaded, Object, Options};
use std::path::Path;
use std::sync::Arc;

const TIERS: [Tier; 4] = [Tier::Checked, Tier::Interp, Tier::Baseline, Tier::Optimized];

struct Opened {
    user: User,
    collection: Collection,
}

fn open(user: User, set: &[&'static str]) -> Opened {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/objects/constants.o");
    let object = Object::parse(&std::fs::read(path).unwrap()).unwrap();
    let judge = &mut |p| {
        let v = skep::verifier::verify(&Arc::new(p), skep::platform(), &Default::default());
        Ok(Loadable::Verified(v.map_err(skep::Error::Refused)?))
    };
    let mut options = Options::default();
    options.set = set.to_vec();
    let collection = Collection::open(object, &user, &options, judge).unwrap();
    Opened { user, collection }
}

fn on(tier: Tier, set: &[&'static str]) -> Opened {
    open(User::new(*skep::platform(), Arc::new(SystemHost::new())).with_tier(tier), set)
}

impl Opened {
    fn program(&self) -> &UserProgram {
        self.collection.programs[0].loaded.as_any().downcast_ref().unwrap()
    }

    /// What it returns for a packet of 74 bytes, of which a socket filter sees 60.
    fn run(&self) -> u32 {
        let row = skep::platform().prog_type(self.program().program().prog_type).unwrap();
        let packet = [0; 74];
        let mut ctx: Context =
            input::context(row, None, &input::Input { data: Some(&packet), ctx: None }).unwrap();
        self.user.runner().run(self.program(), &mut ctx).unwrap() as u32
    }

    /// Writes the value of the array that users may write.
    fn limit(&self, v: u32) {
        let mut maps = self.collection.maps.iter().flatten();
        let map = maps.find(|m| m.def().name == "limits").unwrap();
        map.update(&0u32.to_ne_bytes(), &v.to_ne_bytes(), flags::ANY, Side::User).unwrap();
    }

    fn len(&self) -> usize {
        self.program().machine_code().unwrap().bytes.len()
    }
}

/// Variables, and what `decide` returns with them.
const CASES: [(&[&str], u32); 4] = [
    (&[], 2000 + 0xef0 - 3 + 10),
    (&["mode=3"], 3000 * 30 + 60 % 7 + 0xef0 - 3 + 10),
    (&["mode=4", "less=-32768", "seed=0xffffffffffffffff"], 0xfffu32.wrapping_sub(32768).wrapping_add(10)),
    (&["seed=0x80000fff", "less=32767"], 2000 + 0xfff + 32767 + 10),
];

#[test]
fn every_tier_reads_what_was_set() {
    for (set, expected) in CASES {
        for tier in TIERS {
            let o = on(tier, set);
            assert_eq!(o.run(), expected, "{set:?} on {}", tier.name());
        }
    }
}

/// An array that is read-only for programs and not frozen may change between two runs.
#[test]
fn what_users_may_write_is_read_anew() {
    for tier in TIERS {
        let o = on(tier, &[]);
        let first = o.run();
        for v in [1, 77, 4096] {
            o.limit(v);
            assert_eq!(o.run(), first + v, "{}", tier.name());
        }
    }
}

/// Branches on constants are decided, and what they would have led to is not there.
#[test]
fn optimised_code_has_no_dead_ways() {
    let (short, long) = (on(Tier::Optimized, &[]), on(Tier::Optimized, &["verbose=true"]));
    assert!(short.len() * 2 < long.len(), "{} bytes, and {} with the long way", short.len(), long.len());
}
