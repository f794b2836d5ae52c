//! What the verifier claims holds: accepted programs run in the checked tier, and before every instruction registers and
//! stack lie in a state that the verifier walked there; no run faults.
//!
//! The programs are those of suite `test_verifier`, changed ones of them, and generated ones, changed or not, on memory or
//! packets of random bytes. `SKEP_FUZZ_MINUTES` says how long (without it: seconds), `SKEP_SEED` where to begin;
//! `cargo xtask fuzz verifier --minutes N` sets them.

#![allow(clippy::print_stdout)]

use skep_isa::Insn;
use skep_platform::ctx::UserRun;
use skep_platform::env::{Context, RegionKind};
use skep_platform::uapi::ProgType;
use skep_platform::{Engine, Fault, Map, Program};
use skep_testkit::generate::{self, Random, Seed};
use skep_testkit::{fixtures, mutate, programs, suites};
use skep_verifier::shared::Shared;
use skep_verifier::state::{Byte, Frame, State};
use skep_verifier::value::{Base, Reg};
use skep_verifier::{Limits, Options, verify_claims};
use skep_vm::checked::code::Code;
use skep_vm::checked::run::{Machine, Moment, Options as RunOptions, Seen};
use skep_vm::checked::run_observed;
use skep_vm::{FixedHost, Tier, User};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer walks are not checked.
const LIMIT: u64 = 5_000;
/// Bytes of a packet.
const PACKET: usize = 96;

/// States walked, by instruction: the depth and the innermost frame.
type Claims = Vec<Vec<(usize, Shared<Frame>)>>;

/// Why a claim does not hold; `None`: it does.
fn broken(frame: &Frame, m: &Moment<'_>) -> Option<String> {
    for (i, (claim, seen)) in frame.regs.iter().zip(&m.regs).enumerate() {
        let held = match seen {
            Some(seen) => holds(claim, seen),
            None => matches!(claim.base, Base::NotInit) || (claim.is_scalar() && claim.val.is_unknown()),
        };
        if !held {
            return Some(format!("r{i} is {seen:x?}, claimed {claim:?}"));
        }
    }
    for (i, slot) in frame.stack.iter().enumerate() {
        let bits = m.stack[63 - i];
        let spilled = slot.bytes.iter().filter(|b| **b == Byte::Spill).count() as u32;
        // The spilled bytes are the lowest ones of the slot.
        let low = if spilled == 8 { bits } else { bits & ((1 << (8 * spilled)) - 1) };
        if slot.is_scalar_spill() && !narrowed(&slot.reg, spilled).contains(low) {
            return Some(format!("slot {i} holds {low:#x}, claimed {:?}", slot.reg));
        }
        let zero = |b: usize| bits >> (8 * (7 - b)) & 0xff == 0;
        if let Some(b) = (0..8).find(|b| slot.bytes[*b] == Byte::Zero && !zero(*b)) {
            return Some(format!("byte {b} of slot {i} is not zero: {bits:#x}"));
        }
    }
    None
}

/// The number that a spill of fewer bytes leaves.
fn narrowed(r: &Reg, bytes: u32) -> skep_verifier::scalar::Scalar {
    let mut v = r.val;
    if bytes < 8 {
        v.truncate(8 * bytes);
    }
    v
}

fn holds(claim: &Reg, seen: &Seen) -> bool {
    let within = |off: i64| claim.val.contains(off.wrapping_sub(claim.off.into()) as u64);
    let place = seen.pointer.and_then(|(region, off)| Some((region?, off)));
    match (claim.base, place) {
        (Base::NotInit, _) => true,
        (Base::Scalar, _) => claim.val.contains(seen.bits),
        _ if seen.bits == 0 => claim.maybe_null(),
        (Base::Stack(f), Some((r, off))) => {
            let own = matches!(r.kind, RegionKind::Stack { frame } if frame == f);
            own && within(off - 512)
        }
        (Base::Ctx, Some((r, off))) => r.kind == RegionKind::Ctx && within(off),
        (Base::MapValue(_), Some((r, off))) => matches!(r.kind, RegionKind::MapValue { .. }) && within(off),
        (Base::Packet, Some((r, off))) => {
            let room = r.len as i64 - (off - i64::from(claim.off));
            let reaches = claim.range <= 0 || i64::from(claim.range) <= room;
            r.kind == RegionKind::Packet && within(off) && reaches
        }
        // Others have no memory that both sides name alike.
        _ => seen.pointer.is_some(),
    }
}

#[derive(Default)]
struct Tally {
    programs: u64,
    accepted: u64,
    instructions: u64,
    wrong: Vec<String>,
}

struct Checker {
    engine: User,
    machine: Machine,
    tally: Tally,
}

impl Checker {
    /// Judges, and runs what is accepted.
    fn one(&mut self, name: &str, program: Program, random: &mut Seed) {
        let program = Arc::new(program);
        self.tally.programs += 1;
        let mut claims: Claims = vec![Vec::new(); program.insns.len()];
        let options =
            Options { cpus: 2, limits: Limits { insns: LIMIT, ..Limits::default() }, ..Options::default() };
        let claim = &mut |s: &State| claims[s.insn].push((s.depth(), s.frames[s.depth()].clone()));
        if verify_claims(&program, skep::platform(), &options, claim).is_err() {
            return;
        }
        self.tally.accepted += 1;
        for _ in 0..3 {
            if let Err(why) = self.run(&program, &claims, random) {
                let hex: String =
                    program.insns.iter().flat_map(|i| i.to_bytes()).map(|b| format!("{b:02x}")).collect();
                self.tally.wrong.push(format!("{name}: {why}\n  {:?} {hex}", program.prog_type));
                return;
            }
        }
    }

    fn run(&mut self, program: &Arc<Program>, claims: &Claims, random: &mut Seed) -> Result<(), String> {
        let Some(mut ctx) = self.context(program, random) else { return Ok(()) };
        // Illegal instructions that no path reaches are accepted, but not decoded here.
        let Ok(code) = Code::new(program.clone(), skep::platform()) else { return Ok(()) };
        let (mut first, mut steps, own) = (None, 0, program.clone());
        let tell = &mut |m: &Moment<'_>| {
            if first.is_some() || !Arc::ptr_eq(m.code.program(), &own) {
                return;
            }
            steps += 1;
            let here = claims[m.pc].iter().filter(|(depth, _)| *depth == m.depth);
            let mut why = None;
            for (_, frame) in here {
                match broken(frame, m) {
                    None => return,
                    Some(w) => why = Some(w),
                }
            }
            first = Some(format!(
                "at instruction {}: {}",
                m.pc,
                why.unwrap_or("never walked at this depth".into())
            ));
        };
        let how = RunOptions { unset_stack: true, budget: 200_000, ..RunOptions::default() };
        let ran = run_observed(&mut self.machine, &Arc::new(code), &mut ctx, &FixedHost::new(2), how, tell);
        self.tally.instructions += steps;
        if let Some(why) = first {
            return Err(why);
        }
        match ran {
            Err(e) if !excused(&e.fault) => Err(format!("faults: {}", e.fault)),
            _ => Ok(()),
        }
    }

    fn context(&self, program: &Program, random: &mut Seed) -> Option<Context> {
        let row = self.engine.platform().prog_type(program.prog_type)?;
        let layout = row.layout(program.attach_type)?;
        let data: Vec<u8> = (0..random.below(PACKET)).map(|_| random.bits() as u8).collect();
        match row.user {
            UserRun::Packets => Some(programs::packet(layout, &data)),
            _ => None,
        }
    }
}

/// What the user engine does not have, and runs that take too long.
fn excused(f: &Fault) -> bool {
    matches!(f, Fault::NoHelper { .. } | Fault::Rule { code: "budget", .. })
}

fn suite_programs(engine: &User) -> Vec<(String, Program)> {
    let cases = suites::dir("test_verifier").and_then(|d| suites::jsonl(&d.join("dev.jsonl.gz")));
    let one = |case: &serde_json::Value| {
        let plain = case["kfuncs"].as_array().is_none_or(Vec::is_empty) && case["has_btf"] != true;
        let prog_type = ProgType::from_id(case["prog_type"].as_u64()? as u32).filter(|_| plain)?;
        let (insns, kinds) = fixtures::insns(case)?;
        let map = |k: &String| engine.create_map(&fixtures::map_def(k)?).ok();
        let maps: Option<Vec<Arc<dyn Map>>> = kinds.iter().map(map).collect();
        let program = Program { maps: maps?, ..programs::program(prog_type, insns) };
        Some((case["descr"].as_str().unwrap_or("").to_owned(), program))
    };
    cases.unwrap_or_default().iter().filter_map(one).collect()
}

#[test]
fn runs_stay_in_what_was_claimed() {
    let minutes = std::env::var("SKEP_FUZZ_MINUTES").ok().and_then(|m| m.parse::<f64>().ok());
    let time = Duration::from_secs_f64(minutes.map_or(2.0, |m| m * 60.0));
    let seed = std::env::var("SKEP_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x5eed);
    let engine = User::new(*skep::platform(), Arc::new(FixedHost::new(2))).with_tier(Tier::Checked);
    let suite = suite_programs(&engine);
    let mut c = Checker { engine, machine: Machine::default(), tally: Tally::default() };
    let (mut random, began) = (Seed(seed), Instant::now());
    for (name, program) in &suite {
        c.one(name, program.clone(), &mut random);
    }
    while began.elapsed() < time && c.tally.wrong.len() < 20 {
        let (name, mut program) = match suite.is_empty() || random.below(2) == 0 {
            true => {
                let insns: Vec<Insn> = generate::program(&mut random, 24);
                ("generated".to_owned(), programs::program(ProgType::Xdp, insns))
            }
            false => suite[random.below(suite.len())].clone(),
        };
        for _ in 0..random.below(4) {
            mutate::mutate(&mut program.insns, &mut random);
        }
        c.one(&name, program, &mut random);
    }
    let t = &c.tally;
    println!(
        "verifier state: {} programs, {} accepted, {} instructions run, {} claims broken",
        t.programs,
        t.accepted,
        t.instructions,
        t.wrong.len()
    );
    assert!(t.accepted > 0 && t.instructions > 0, "nothing was run");
    assert!(t.wrong.is_empty(), "{}", t.wrong.join("\n"));
}
