//! Chains of tail calls: from programs and subprograms, with constant and variable indices, to programs that make tail calls and
//! such that do not, on every tier and from one tier's code to another's. A library's code
//! and a compiler's are two tiers.

#![allow(clippy::unwrap_used)]

use skep::{Collection, Object};
use skep_platform::engine::{Loadable, Loaded};
use skep_platform::map::Handle;
use skep_platform::program::Verified;
use skep_platform::uapi::ProgType;
use skep_platform::{Facts, Fault};
use skep_testkit::programs;
use skep_vm::{FixedHost, Tier, User, UserProgram, aot};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Each program writes a digit down. `first` keeps four registers over a subprogram that `last` takes the place of.
const CHAIN: &str = "
.map path, type=array, key_size=4, value_size=16, max_entries=1
.map next, type=prog_array, key_size=4, value_size=4, max_entries=5
.value 1, second
.value 2, last
.value 3, again
.value 4, forever
.section xdp
.func first
    r9 = r1
    r6 = 3
    r7 = 5
    r1 = 1
    call note
    if r0 == 0 goto out
    r8 = r0
    r1 = r9
    call leave
    r0 += r6
    r0 += r7
    *(u64 *)(r8 +8) = r0
    r1 = r9
    r2 = next ll
    r3 = *(u32 *)(r8 +8)
    r3 &= 1
    r3 ^= 1
    call bpf_tail_call#12
out:
    r0 = 0
    exit
.func leave, local
    r6 = r1
    r1 = 2
    call note
    r7 = 77
    r1 = r6
    r2 = next ll
    r3 = 2
    call bpf_tail_call#12
    r0 = 1000
    exit
.func note, local
    r6 = r1
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = path ll
    call bpf_map_lookup_elem#1
    if r0 == 0 goto none
    r1 = *(u64 *)(r0 +0)
    r1 *= 10
    r1 += r6
    *(u64 *)(r0 +0) = r1
none:
    exit
.section \"xdp/second\"
.func second
    r6 = r1
    r7 = 7
    r8 = 8
    r9 = 9
    r1 = 3
    call note2
    r1 = r6
    r2 = next ll
    r3 = 9
    call bpf_tail_call#12
    r1 = r6
    r2 = next ll
    r3 = 0
    call bpf_tail_call#12
    r1 = r6
    r2 = next ll
    r3 = 3
    call bpf_tail_call#12
    r0 = 0
    exit
.func note2, local
    r6 = r1
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = path ll
    call bpf_map_lookup_elem#1
    if r0 == 0 goto none2
    r1 = *(u64 *)(r0 +0)
    r1 *= 10
    r1 += r6
    *(u64 *)(r0 +0) = r1
none2:
    exit
.section \"xdp/again\"
.func again
    r6 = r1
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = path ll
    call bpf_map_lookup_elem#1
    if r0 == 0 goto done
    r1 = *(u64 *)(r0 +0)
    if r1 > 100000000 goto done
    r1 *= 10
    r1 += 4
    *(u64 *)(r0 +0) = r1
    r1 = r6
    r2 = next ll
    r3 = 3
    call bpf_tail_call#12
done:
    r1 = r6
    r2 = next ll
    r3 = 2
    call bpf_tail_call#12
    r0 = 0
    exit
.section \"xdp/last\"
.func last
    r6 = 60
    r7 = 70
    r8 = 80
    r9 = 90
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = path ll
    call bpf_map_lookup_elem#1
    if r0 == 0 goto end
    r1 = *(u64 *)(r0 +0)
    r1 *= 10
    r1 += 5
    *(u64 *)(r0 +0) = r1
end:
    r0 = r6
    r0 += r7
    r0 += r8
    r0 += r9
    exit
.section \"xdp/forever\"
.func forever
    r6 = r1
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = path ll
    call bpf_map_lookup_elem#1
    if r0 == 0 goto nowhere
    r7 = r0
    r1 = *(u64 *)(r7 +0)
    r1 += 1
    *(u64 *)(r7 +0) = r1
    r1 = r6
    r2 = next ll
    r3 = 4
    call bpf_tail_call#12
    r0 = *(u64 *)(r7 +0)
    exit
nowhere:
    r0 = 0
    exit
";

struct Chain {
    engine: User,
    collection: Collection,
}

impl Chain {
    fn open(tier: Tier) -> Chain {
        let object = Object::from_asm(&skep_isa::asm::parse(CHAIN).unwrap()).unwrap();
        let engine =
            User::new(*skep::platform(), Arc::new(FixedHost::new(1))).with_tier(tier).with_promotion(Some(1));
        let mut judge = |p: skep_platform::program::Program| {
            if p.name == "first" && tier != Tier::Checked {
                // SAFETY: it ends, and accesses a map's value and its own frame alone. The verifier wants types for tail calls
                // from subprograms, and assembly has none.
                let verified = unsafe { Verified::assume(Arc::new(p), Facts::default()) };
                return Ok(Loadable::Verified(verified));
            }
            if tier == Tier::Checked {
                return Ok(Loadable::Unverified(Arc::new(p)));
            }
            let how = skep::verifier::Options::default();
            let verified = skep::verifier::verify(&Arc::new(p), skep::platform(), &how);
            verified.map(Loadable::Verified).map_err(skep::Error::Refused)
        };
        let collection = Collection::open(object, &engine, &skep::Options::default(), &mut judge).unwrap();
        assert!(collection.skipped.is_empty(), "{:?}", collection.skipped);
        Chain { engine, collection }
    }

    fn program(&self, name: &str) -> &UserProgram {
        self.collection.program(name).unwrap().loaded.as_any().downcast_ref().unwrap()
    }

    /// What `name` returns, twice, and what was written down in the second run.
    fn run(&self, name: &str) -> [u64; 3] {
        let layout = skep::platform().prog_type(ProgType::Xdp).and_then(|r| r.layout(None)).unwrap();
        let (mut runner, mut ctx) = (self.engine.runner(), programs::packet(layout, &[0; 64]));
        let path = self.collection.map("path").unwrap();
        let mut run = || {
            path.update(&[0; 4], &[0; 16], 0, skep_platform::map::Side::User).unwrap();
            runner.run(self.program(name), &mut ctx).unwrap()
        };
        let r0 = [run(), run()];
        let mut value = Vec::new();
        path.read(&[0; 4], &mut value).unwrap();
        [r0[0], r0[1], u64::from_le_bytes(value[..8].try_into().unwrap())]
    }
}

#[test]
fn chains_are_equal_on_every_tier() {
    for tier in [Tier::Checked, Tier::Interp, Tier::Baseline, Tier::Optimized] {
        let chain = Chain::open(tier);
        assert_eq!(chain.run("first"), FIRST, "{}", tier.name());
        assert_eq!(chain.run("second"), SECOND, "{}", tier.name());
        assert_eq!(chain.run("forever"), FOREVER, "{}", tier.name());
    }
}

/// Each program's code is replaced by optimised code in turn: all ways from one compiler's code to the other's.
#[test]
fn chains_lead_from_one_compiler_to_the_other() {
    let chain = Chain::open(Tier::Auto);
    let address = |name: &str| chain.program(name).machine_code().unwrap().address;
    let names = ["last", "first", "again", "second", "forever"];
    for (name, before) in names.map(|name| (name, address(name))) {
        chain.run(name);
        let began = Instant::now();
        while skep_jit::OPTIMIZES && address(name) == before {
            assert!(began.elapsed() < Duration::from_secs(60), "{name} is not optimised");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(chain.run("first"), FIRST, "{name} is optimised");
        assert_eq!(chain.run("second"), SECOND, "{name} is optimised");
        assert_eq!(chain.run("forever"), FOREVER, "{name} is optimised");
    }
}

/// One, the subprogram, the program in its place, and what follows the return.
const FIRST: [u64; 3] = [300, 300, 1_253_444_445];
const SECOND: [u64; 3] = [300, 300, 3_444_444_445];
/// 33 tail calls behind the first run of it.
const FOREVER: [u64; 3] = [34, 34, 34];

/// `either` does not say by which array it goes on, so that the engine is asked; `through` does.
const MIXED: &str = "
.map next, type=prog_array, key_size=4, value_size=4, max_entries=2
.map other, type=prog_array, key_size=4, value_size=4, max_entries=2
.section xdp
.func either
    r3 = *(u32 *)(r1 +12)
    if r3 == 77 goto next
    r2 = other ll
    goto on
next:
    r2 = next ll
on:
    r3 = 0
    call bpf_tail_call#12
    r0 = 1
    exit
.section \"xdp/through\"
.func through
    r6 = r1
    r2 = next ll
    r3 = 1
    call bpf_tail_call#12
    r0 = 2
    exit
.section \"xdp/last\"
.func last
    r6 = 3
    r7 = 4
    r0 = r6
    r0 += r7
    exit
";

/// Programs of [`MIXED`], in one engine.
struct Programs(Vec<Arc<UserProgram>>);

impl Programs {
    fn of(engine: &User, verified: &[Verified]) -> Programs {
        let load = |v: &Verified| engine.load_program(&Loadable::Verified(v.clone())).unwrap();
        Programs(verified.iter().map(load).collect())
    }

    fn get(&self, name: &str) -> &Arc<UserProgram> {
        self.0.iter().find(|p| p.program().name == name).unwrap()
    }
}

/// A program array whose programs are of a library and of compilers: a run goes to those of its own tier alone, whatever the
/// runner has learnt in runs of the others.
#[test]
fn a_library_and_compilers_share_an_array_and_not_their_code() {
    let engine = || User::new(*skep::platform(), Arc::new(FixedHost::new(1)));
    let object = Object::from_asm(&skep_isa::asm::parse(MIXED).unwrap()).unwrap();
    let mut verified = Vec::new();
    let mut judge = |p: skep_platform::program::Program| {
        let how = skep::verifier::Options::default();
        let v = skep::verifier::verify(&Arc::new(p), skep::platform(), &how).map_err(skep::Error::Refused)?;
        verified.push(v.clone());
        Ok(Loadable::Verified(v))
    };
    let collection =
        Collection::open(object, &engine().with_tier(Tier::Interp), &skep::Options::default(), &mut judge)
            .unwrap();
    assert!(collection.skipped.is_empty(), "{:?}", collection.skipped);
    let library = match library(&engine(), &verified) {
        Ok(library) => library,
        Err(why) => return eprintln!("not tested: {why}"),
    };
    let ahead = Programs::of(&engine().with_tier(Tier::Aot).with_library(library), &verified);
    let set = |map: &str, at: u32, program: &Arc<UserProgram>| {
        let handle = Handle::Prog(program.clone().into_handle());
        collection.map(map).unwrap().set_handle(&at.to_ne_bytes(), handle, 0).unwrap();
    };
    let layout = skep::platform().prog_type(ProgType::Xdp).and_then(|r| r.layout(None)).unwrap();
    for tier in [Tier::Baseline, Tier::Optimized, Tier::Auto] {
        let compiled = Programs::of(&engine().with_tier(tier), &verified);
        for (mine, others) in [(&compiled, &ahead), (&ahead, &compiled)] {
            let (mut runner, mut ctx) = (engine().runner(), programs::packet(layout, &[0; 64]));
            set("next", 1, others.get("last"));
            // The runner learns where the array's program is.
            for _ in 0..2 {
                assert_eq!(runner.run(others.get("through"), &mut ctx).unwrap(), 7, "{}", tier.name());
            }
            set("other", 0, mine.get("through"));
            let refused = runner.run(mine.get("either"), &mut ctx).unwrap_err();
            assert!(matches!(refused.fault, Fault::Rule { code: "tail-call-tier", .. }), "{refused}");
            // The same run, of one tier.
            set("next", 1, mine.get("last"));
            assert_eq!(runner.run(mine.get("either"), &mut ctx).unwrap(), 7, "{}", tier.name());
        }
    }
}

/// A library of programs; why there is none, where no C compiler is installed.
fn library(engine: &User, verified: &[Verified]) -> Result<Arc<aot::Library>, String> {
    let sources: Vec<aot::Source> = verified.iter().map(|v| engine.native_source(v).unwrap()).collect();
    let rows: Vec<(&str, &aot::Source)> = sources.iter().map(|s| ("program", s)).collect();
    let file = std::env::temp_dir().join(format!("skep-aot-mixed-{}.so", std::process::id()));
    match aot::build(&aot::library(&rows), &file, None) {
        Err(e @ aot::BuildError::NoCompiler(_)) => return Err(e.to_string()),
        built => built.unwrap(),
    };
    let library = aot::Library::open(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    Ok(Arc::new(library))
}
