//! `bench maps`: what a map operation or helper costs inside of a program, beside the running kernel where that may be asked.
//!
//! Each program of `maps.bpf.c` does 256 operations; the same loop without any is taken off. Maps are filled with the keys that
//! the programs ask for. Rounds are interleaved over engines and programs, and short enough for ring buffers not to fill.
//!
//! Rows of *two threads* are look-ups in one map by two threads at once: nanoseconds an operation of both, and in the place of the
//! ratio to the kernel how many times the throughput of one thread that is.

use crate::{ROUNDS, Row, median, object};
use skep::descriptors::map::{Handle, Side, flags};
use skep::descriptors::{Context, ProgType};
use skep::hooks::input;
use skep::kernel::{Kernel, KernelProgram};
use skep::vm::{SystemHost, Tier, User, UserProgram};
use skep::{Collection, Engine, Loadable, Map, Options};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Instant;

/// Operations of one run.
const OPS: f64 = 256.0;
/// Operations of one run of a program that does another number.
const OTHER: [(&str, f64); 1] = [("tail0", 31.0)];
/// Runs of one round; of programs that do fewer operations so many more that a round is as long.
const RUNS: u32 = 200;
/// Programs that two threads run at once.
const SCALING: [&str; 6] =
    ["arr_lookup", "h8_lookup", "h64_lookup", "lru_lookup", "phash_lookup", "lpm_lookup"];
/// Prefixes in the trie.
const PREFIXES: u64 = 10_000;
/// Keys in the big map.
const BIG: u64 = 1 << 19;

/// An engine with the object opened in it.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) engine: Which,
    pub(crate) collection: Collection,
}

pub(crate) enum Which {
    Kernel(Kernel),
    User(User),
}

impl Which {
    fn engine(&self) -> &dyn Engine {
        match self {
            Which::Kernel(k) => k,
            Which::User(u) => u,
        }
    }
}

/// Nanoseconds an operation, on every engine, for every program of the object, or for those that are named.
pub(crate) fn run(path: &Path, only: &[String]) -> Result<Vec<Row>, String> {
    let sides = open_all(path, &[Tier::Interp], fill)?;
    for side in &sides {
        let tail = side.collection.map("pa").zip(side.collection.program("tail0"));
        if let Some((map, tail)) = tail {
            let _ = map.set_handle(&0u32.to_ne_bytes(), Handle::Prog(tail.loaded.clone().into_handle()), 0);
        }
    }
    let names: Vec<String> =
        sides[0].collection.programs.iter().map(|p| p.loaded.program().name.clone()).collect();
    let asked = |n: &String| only.is_empty() || n == "base" || only.contains(n);
    let names: Vec<String> = names.into_iter().filter(asked).collect();
    let mut samples = vec![vec![Vec::new(); sides.len()]; names.len()];
    for _ in 0..ROUNDS * 3 {
        for (name, samples) in names.iter().zip(&mut samples) {
            for (side, samples) in sides.iter().zip(samples) {
                samples.push(side.round(name)?);
            }
        }
    }
    let medians: Vec<Vec<f64>> = samples.into_iter().map(|s| s.into_iter().map(median).collect()).collect();
    let base =
        names.iter().position(|n| n == "base").map_or(vec![0.0; sides.len()], |at| medians[at].clone());
    let mut rows = Vec::new();
    for (name, ns) in names.iter().zip(&medians) {
        let ops = ops(name);
        let off = |side: usize| if ops == OPS && name != "base" { base[side] } else { 0.0 };
        let per = |side: usize| (ns[side] - off(side)) / ops;
        for (at, side) in sides.iter().enumerate() {
            rows.push(Row {
                engine: side.name,
                program: name.clone(),
                ns: per(at),
                ratio: per(at) / per(0),
                compile_ns: 0.0,
            });
        }
    }
    for name in SCALING.iter().filter(|n| names.iter().any(|m| m == *n)) {
        for side in &sides {
            let Some((one, two)) = side.scaling(name)? else { continue };
            rows.push(Row {
                engine: side.name,
                program: format!("{name}, two threads"),
                ns: two,
                ratio: one / two,
                compile_ns: 0.0,
            });
        }
    }
    Ok(rows)
}

/// Operations of one run of a program.
fn ops(name: &str) -> f64 {
    OTHER.iter().find(|(n, _)| *n == name).map_or(OPS, |(_, n)| *n)
}

/// Fills a map of an engine, by its name.
type Fill = fn(&dyn Map) -> Result<(), skep::descriptors::Errno>;

/// The object in the kernel, where that is permitted, in the tiers that compile, and in `more`.
pub(crate) fn open_all(path: &Path, more: &[Tier], fill: Fill) -> Result<Vec<Subject>, String> {
    let mut sides = Vec::new();
    match Kernel::open(*skep::platform()) {
        Ok(kernel) => sides.push(open("kernel", Which::Kernel(kernel), path, fill)?),
        Err(e) => eprintln!("bench: without the kernel: {e}"),
    }
    for tier in COMPILING.iter().chain(more) {
        let user = User::new(*skep::platform(), Arc::new(SystemHost::new())).with_tier(*tier);
        sides.push(open(tier.name(), Which::User(user), path, fill)?);
    }
    Ok(sides)
}

/// The tiers that compile.
const COMPILING: [Tier; 2] = [Tier::Baseline, Tier::Optimized];

fn open(name: &'static str, engine: Which, path: &Path, fill: Fill) -> Result<Subject, String> {
    let user = matches!(engine, Which::User(_));
    let judge = &mut |p| match user {
        false => Ok(Loadable::Unverified(Arc::new(p))),
        true => {
            let how = skep::verifier::Options::default();
            let v = skep::verifier::verify(&Arc::new(p), skep::platform(), &how);
            Ok(Loadable::Verified(v.map_err(skep::Error::Refused)?))
        }
    };
    let collection = Collection::open(object(path)?, engine.engine(), &Options::default(), judge)
        .map_err(|e| format!("{name}: {e}"))?;
    if let Some((program, why)) = collection.skipped.first() {
        return Err(format!("{name}: {program}: {why}"));
    }
    for map in collection.maps.iter().flatten() {
        fill(&**map).map_err(|e| format!("{name}: map {}: {e}", map.def().name))?;
    }
    Ok(Subject { name, engine, collection })
}

/// The key that `maps.bpf.c` asks for in iteration `i`.
fn key(i: u64) -> u64 {
    ((i * 13 + 5) & 4095).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn fill(map: &dyn Map) -> Result<(), skep::descriptors::Errno> {
    let def = map.def();
    let row = skep::platform().map_type(def.map_type);
    let copies = if row.is_some_and(|r| r.per_cpu) { skep::kernel::possible_cpus() } else { 1 };
    let value = vec![1; (def.value_size as usize).next_multiple_of(8) * copies];
    let value = if copies == 1 { &value[..def.value_size as usize] } else { &value[..] };
    let put = |key: &[u8]| map.update(key, value, flags::ANY, Side::User);
    let words = |first: u64, rest: &[u64]| -> Vec<u8> {
        std::iter::once(&first).chain(rest).flat_map(|w| w.to_ne_bytes()).collect()
    };
    match def.name.as_str() {
        "h4" => (0..4096).try_for_each(|i: u32| put(&i.to_ne_bytes())),
        "h8" | "lru" | "phash" => (0..256).try_for_each(|i| put(&words(key(i), &[]))),
        "h16" => (0..256).try_for_each(|i| put(&words(key(i), &[7]))),
        "h64" => (0..256).try_for_each(|i| put(&words(key(i), &[1, 2, 3, 4, 5, 6, 7]))),
        "hbig" => (0..BIG).try_for_each(|i| put(&words(i.wrapping_mul(0x9e37_79b9_7f4a_7c15), &[]))),
        "lpm" => (0..PREFIXES).try_for_each(|i| {
            let x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let (len, ip) = (8 + (x >> 32) as u32 % 25, (x >> 8) as u32);
            put(&[len.to_ne_bytes(), ip.to_ne_bytes()].concat())
        }),
        _ => Ok(()),
    }
}

impl Subject {
    /// Nanoseconds an operation by one thread, and by two at once, for each operation of either; `None` in the kernel.
    fn scaling(&self, name: &str) -> Result<Option<(f64, f64)>, String> {
        let Which::User(user) = &self.engine else { return Ok(None) };
        let loaded = &self.collection.program(name).ok_or("no such program")?.loaded;
        let program = loaded.as_any().downcast_ref().ok_or("not a program of the engine")?;
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS * 3 {
            one.push(user_round(user, program, RUNS)? / OPS);
            let barrier = Barrier::new(2);
            let both: Vec<_> = std::thread::scope(|s| {
                let run = || {
                    barrier.wait();
                    user_round(user, program, RUNS)
                };
                let threads = [s.spawn(run), s.spawn(run)];
                threads
                    .into_iter()
                    .map(|t| t.join().unwrap_or_else(|_| Err("a thread failed".into())))
                    .collect()
            });
            let slower =
                both.into_iter().collect::<Result<Vec<f64>, String>>()?.into_iter().fold(0.0, f64::max);
            two.push(slower / OPS / 2.0);
        }
        Ok(Some((median(one), median(two))))
    }

    /// Nanoseconds a run.
    fn round(&self, name: &str) -> Result<f64, String> {
        let loaded = &self.collection.program(name).ok_or("no such program")?.loaded;
        let runs = (f64::from(RUNS) * OPS / ops(name)) as u32;
        if let Some(ring) = self.collection.map("rb").and_then(|m| m.ringbuf()) {
            let _ = ring.consume(&mut |_| ControlFlow::Continue(()));
        }
        match &self.engine {
            Which::Kernel(kernel) => {
                let program = loaded.as_any().downcast_ref::<KernelProgram>().ok_or("not the kernel's")?;
                let ran = kernel.run(program, &[0; 64], &[], runs).map_err(|e| format!("{name}: {e}"))?;
                Ok(f64::from(ran.ns))
            }
            Which::User(user) => {
                let program = loaded.as_any().downcast_ref().ok_or("not a program of the engine")?;
                user_round(user, program, runs)
            }
        }
    }
}

fn user_round(user: &User, program: &UserProgram, runs: u32) -> Result<f64, String> {
    let mut runner = user.runner();
    let row = skep::platform().prog_type(ProgType::Xdp).ok_or("no XDP")?;
    let given = input::Input { data: Some(&[0; 64]), ctx: None };
    let mut ctx: Context = input::context(row, None, &given).map_err(|e| e.to_string())?;
    let began = Instant::now();
    for _ in 0..runs {
        runner.run(program, &mut ctx).map_err(|e| e.to_string())?;
    }
    Ok(began.elapsed().as_nanos() as f64 / f64::from(runs))
}
