//! The compilers' code for a few programs, as text: each instruction, and below it the machine instructions that stand for it, so
//! that a change of the compiler shows in a review. `SKEP_BLESS=1` writes the files anew. Addresses that differ from run to run
//! are `ADDRESS`.

#![cfg(all(target_arch = "x86_64", unix))]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says why it does nothing"
)]

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter, OpKind};
use skep::isa::Op;
use skep::vm::{MachineCode, SystemHost, Tier, User, UserProgram};
use skep::{Collection, Loadable, Loaded, Options};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// Listing, object, tier.
const LISTINGS: [(&str, &str, Tier); 5] = [
    ("pktsize", "examples/pktsize/pktsize.bpf.o", Tier::Baseline),
    ("sockfilter", "examples/sockfilter/sockfilter.bpf.o", Tier::Baseline),
    ("strcmp", "bench/objects/strcmp.bpf.o", Tier::Baseline),
    ("siphash", "bench/objects/siphash.bpf.o", Tier::Baseline),
    ("constants", "tests/objects/constants.o", Tier::Optimized),
];

#[test]
fn the_compilers_code() {
    if !std::arch::is_x86_feature_detected!("bmi2") {
        println!("skipped: the listings are of a processor with BMI2");
        return;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, object, tier) in LISTINGS {
        let now = listing(&here.join("../..").join(object), tier);
        let file = here.join(format!("tests/listings/{name}.txt"));
        if std::env::var_os("SKEP_BLESS").is_some() {
            std::fs::write(&file, &now).unwrap();
        }
        let was = std::fs::read_to_string(&file).unwrap_or_default();
        if let Some((n, (w, g))) = was.lines().zip(now.lines()).enumerate().find(|(_, (w, g))| w != g) {
            panic!("{name}.txt:{}:\n- {w}\n+ {g}\nSKEP_BLESS=1 rewrites the listings", n + 1);
        }
        assert_eq!(was.len(), now.len(), "{name}.txt: one is longer; SKEP_BLESS=1 rewrites the listings");
    }
}

fn listing(object: &Path, tier: Tier) -> String {
    let user = User::new(*skep::platform(), Arc::new(SystemHost::new())).with_tier(tier);
    let judge = &mut |p| {
        let verified = skep::verifier::verify(&Arc::new(p), skep::platform(), &Default::default());
        Ok(Loadable::Verified(verified.map_err(skep::Error::Refused)?))
    };
    let object = skep::Object::parse(&std::fs::read(object).unwrap()).unwrap();
    let collection = Collection::open(object, &user, &Options::default(), judge).unwrap();
    let mut out = String::new();
    for program in &collection.programs {
        let loaded: &UserProgram = program.loaded.as_any().downcast_ref().unwrap();
        text(loaded, &loaded.machine_code().unwrap(), &mut out);
    }
    out
}

fn text(program: &UserProgram, code: &MachineCode<'_>, out: &mut String) {
    let insns = &program.program().insns;
    writeln!(out, "{}: {} bytes", program.program().name, code.bytes.len()).unwrap();
    let mut places = code.places.iter().peekable();
    let mut decoder = Decoder::with_ip(64, code.bytes, 0, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    while decoder.can_decode() {
        let insn = decoder.decode();
        while let Some((_, slot)) = places.next_if(|(at, _)| u64::from(*at) <= insn.ip()) {
            if let Ok((op, _)) = Op::decode(insns, *slot as usize) {
                writeln!(out, "{slot}: {op}").unwrap();
            }
        }
        let mut line = String::new();
        formatter.format(&insn, &mut line);
        if insn.op1_kind() == OpKind::Immediate64 {
            line =
                format!("mov {:?},ADDRESS", insn.op0_register()).to_lowercase().replace("address", "ADDRESS");
        }
        writeln!(out, "    {:x}: {line}", insn.ip()).unwrap();
    }
}
