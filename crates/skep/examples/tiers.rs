//! Generated programs on every tier: `cargo xtask fuzz tiers [--programs N] [--seed S] [--kernel] [--aot]`.
//!
//! Every program is verified; what the verifier accepts runs on all tiers, and where it may on the running kernel, from the
//! same maps and packet. A third of them make tail calls, to themselves and to others that are generated with them; each runs
//! a few times, on other bytes. `r0`, every byte of the maps and every byte of the packet must be equal; the program itself writes
//! its registers and its stack to a map at its end. The first difference ends the run with the program's listing.

#![allow(clippy::print_stdout, reason = "a tool says what it found")]

use skep::btf::{Btf, BtfBuilder, BuildError, FuncLinkage, IntEncoding, Param};
use skep::descriptors::env::CtxData;
use skep::descriptors::map::{Handle, Side, flags};
use skep::descriptors::program::{Program, Subprog};
use skep::descriptors::{MapDef, MapType, ProgType};
use skep::isa::disasm::{self, NoNames, Style};
use skep::kernel::{Kernel, KernelProgram};
use skep::verifier::Limits;
use skep::vm::{FixedHost, Runner, Tier, User, UserProgram, aot};
use skep::{Engine, Loadable, Map};
use skep_testkit::generate::{ENTRIES, Made, PACKET, PROGRAMS, Random, Seed, VALUE, packet_programs};
use skep_testkit::programs;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

const TIERS: [Tier; 4] = [Tier::Checked, Tier::Interp, Tier::Baseline, Tier::Optimized];
/// One program of so many also runs in the kernel.
const KERNEL_EVERY: u64 = 16;
/// Runs of each program, with other packets and maps: compilers take far longer.
const RUNS: usize = 4;
/// Programs of a library that is made ahead of time.
const LIBRARY: usize = 256;

/// What a run leaves.
#[derive(PartialEq, Eq, Debug)]
struct Left {
    r0: u32,
    maps: Vec<Vec<u8>>,
    packet: Vec<u8>,
}

/// Programs that wait for a library, and what the other tiers leave.
struct Waiting {
    seed: u64,
    set: Vec<Loadable>,
    inputs: Vec<Input>,
    left: Vec<Left>,
}

/// What a run begins with.
struct Input {
    packet: Vec<u8>,
    /// Of the maps' bytes.
    seed: u64,
}

fn def(name: &str, map_type: MapType, value_size: u32, max_entries: u32) -> MapDef {
    let key_size = 4;
    let (flags, map_extra, numa_node, pin_by_name, inner, btf) = (0, 0, 0, false, None, None);
    let name = name.to_string();
    MapDef {
        name,
        map_type,
        key_size,
        value_size,
        max_entries,
        flags,
        map_extra,
        numa_node,
        pin_by_name,
        inner,
        btf,
    }
}

fn maps(engine: &dyn Engine) -> Result<Vec<Arc<dyn Map>>, String> {
    let make = |name, map_type, value_size, entries| {
        engine.create_map(&def(name, map_type, value_size, entries)).map_err(|e| e.to_string())
    };
    Ok(vec![
        make("value", MapType::Array, VALUE as u32, 1)?,
        make("entries", MapType::Array, 16, ENTRIES)?,
        make("programs", MapType::ProgArray, 4, PROGRAMS)?,
    ])
}

/// The maps that hold data; the last one holds programs.
fn data(maps: &[Arc<dyn Map>]) -> &[Arc<dyn Map>] {
    &maps[..2]
}

/// Puts the maps back to where every run begins: the last 16 bytes of the first one's value are the programs' counters.
fn reset(maps: &[Arc<dyn Map>], seed: u64) -> Result<(), String> {
    let mut random = Seed(seed);
    let mut value = Vec::new();
    for (i, map) in data(maps).iter().enumerate() {
        let d = map.def();
        for key in 0..d.max_entries {
            value.clear();
            (0..d.value_size / 8).for_each(|_| value.extend_from_slice(&random.bits().to_ne_bytes()));
            if i == 0 {
                value[VALUE as usize - 16..].fill(0);
            }
            map.update(&key.to_ne_bytes(), &value, flags::ANY, Side::User).map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

fn contents(maps: &[Arc<dyn Map>]) -> Result<Vec<Vec<u8>>, String> {
    let mut all = Vec::new();
    for map in data(maps) {
        for key in 0..map.def().max_entries {
            let mut value = Vec::new();
            map.read(&key.to_ne_bytes(), &mut value).map_err(|e| e.to_string())?;
            all.push(value);
        }
    }
    Ok(all)
}

/// Puts the programs of a set into the array of programs, and takes those of the last set out.
fn fill(maps: &[Arc<dyn Map>], set: impl Iterator<Item = Handle>) -> Result<(), String> {
    let mut set = set.fuse();
    for key in 0..PROGRAMS {
        let key = key.to_ne_bytes();
        match set.next() {
            Some(program) => maps[2].set_handle(&key, program, flags::ANY).map_err(|e| e.to_string())?,
            // There may have been none.
            None => drop(maps[2].delete(&key, Side::User)),
        }
    }
    Ok(())
}

/// The programs of a seed, with what they run on.
fn generate(seed: u64) -> (Vec<Made>, Vec<Input>) {
    let mut random = Seed(seed);
    let len = 4 + random.below(40);
    let set = packet_programs(&mut random, len);
    let mut input = |_| {
        let packet = (0..PACKET + 16).map(|_| random.bits() as u8).collect();
        Input { packet, seed: random.bits() }
    };
    (set, (0..RUNS).map(&mut input).collect())
}

fn program(made: Made, maps: &[Arc<dyn Map>], types: &Types) -> Program {
    let mut program = programs::program(ProgType::Xdp, made.insns);
    let sub = |(i, start): (usize, usize)| {
        let btf_id = types.functions.get(i).copied().unwrap_or(0);
        Subprog { name: format!("f{i}"), start, btf_id, global: false }
    };
    program.subprogs = made.starts.into_iter().enumerate().map(sub).collect();
    program.maps = maps.to_vec();
    program.btf = Some(types.btf.clone());
    program
}

/// Types of the functions: tail calls are allowed in those alone that are known to return `int`.
struct Types {
    btf: Arc<Btf>,
    functions: Vec<u32>,
}

impl Types {
    fn new() -> Result<Types, String> {
        let build = || -> Result<(BtfBuilder, Vec<u32>), BuildError> {
            let mut b = BtfBuilder::new();
            let int = b.add_int("int", 4, IntEncoding { signed: true, ..IntEncoding::default() })?;
            let long = b.add_int("long", 8, IntEncoding::default())?;
            let proto = |b: &mut BtfBuilder, types: &[u32]| {
                let params: Vec<Param<'_>> = types.iter().map(|t| Param { name: "a", type_id: *t }).collect();
                b.add_func_proto(int, &params)
            };
            let (entry, function) = (proto(&mut b, &[long])?, proto(&mut b, &[long, long])?);
            let mut ids = vec![b.add_func("f0", entry, FuncLinkage::Static)?];
            for name in ["f1", "f2"] {
                ids.push(b.add_func(name, function, FuncLinkage::Static)?);
            }
            Ok((b, ids))
        };
        let (builder, functions) = build().map_err(|e| e.to_string())?;
        Ok(Types { btf: Arc::new(builder.finish().map_err(|e| e.to_string())?), functions })
    }
}

struct Fuzz {
    engines: Vec<(&'static str, User, Runner)>,
    kernel: Option<(Kernel, Vec<Arc<dyn Map>>)>,
    maps: Vec<Arc<dyn Map>>,
    types: Types,
    /// Programs for the next library, where libraries are made.
    ahead: Option<Vec<Waiting>>,
    /// Programs that were refused by rule, with the seed and the words of the last one.
    refused: BTreeMap<&'static str, (u64, u64, String)>,
    /// Sets that made tail calls, and the tail calls that they made.
    chains: (u64, u64),
}

impl Fuzz {
    fn new(kernel: bool, aot: bool) -> Result<Fuzz, String> {
        let user = |t: Tier| {
            let user = User::new(*skep::platform(), Arc::new(FixedHost::new(1))).with_tier(t);
            let runner = user.runner();
            (t.name(), user, runner)
        };
        let engines: Vec<(&'static str, User, Runner)> = TIERS.map(user).into();
        let kernel = match kernel {
            false => None,
            true => {
                let kernel = Kernel::open(*skep::platform()).map_err(|e| e.to_string())?;
                let maps = maps(&kernel)?;
                Some((kernel, maps))
            }
        };
        let maps = maps(&engines[0].1)?;
        let (ahead, chains) = (aot.then(Vec::new), (0, 0));
        Ok(Fuzz { engines, kernel, maps, types: Types::new()?, ahead, refused: BTreeMap::new(), chains })
    }

    /// Whether the programs were accepted; an error is a difference.
    fn one(&mut self, seed: u64) -> Result<bool, String> {
        let (made, inputs) = generate(seed);
        let (mut set, mut programs) = (Vec::new(), Vec::new());
        // Loops that go on for long are not worth the wait.
        let limits = Limits { insns: 20_000, ..Limits::default() };
        let how = skep::verifier::Options { limits, ..skep::verifier::Options::default() };
        for made in made {
            let program = Arc::new(program(made, &self.maps, &self.types));
            match skep::verifier::verify(&program, skep::platform(), &how) {
                Ok(verified) => set.push(Loadable::Verified(verified)),
                Err(refused) => {
                    let row = self.refused.entry(refused.rule().code()).or_default();
                    *row = (row.0 + 1, seed, refused.message().to_string());
                    return Ok(false);
                }
            }
            programs.push(program);
        }
        let mut first: Option<Vec<Left>> = None;
        for (name, engine, runner) in &mut self.engines {
            let left = run(engine, runner, &set, &self.maps, &inputs);
            compare(&mut first, left.map_err(|e| format!("{name}: {e}"))?, name)?;
        }
        let calls: u64 = first.iter().flatten().map(|left| left.begun().saturating_sub(1)).sum();
        self.chains = (self.chains.0 + u64::from(calls > 0), self.chains.1 + calls);
        if let Some((kernel, maps)) = self.kernel.as_ref().filter(|_| seed.is_multiple_of(KERNEL_EVERY)) {
            let left = in_kernel(kernel, &programs, maps, &inputs)?;
            compare(&mut first, left, "kernel")?;
        }
        if let (Some(ahead), Some(left)) = (&mut self.ahead, first) {
            ahead.push(Waiting { seed, set, inputs, left });
            if ahead.len() == LIBRARY {
                self.ahead_of_time()?;
            }
        }
        Ok(true)
    }

    /// Makes a library of the programs that wait for one, and compares.
    fn ahead_of_time(&mut self) -> Result<(), String> {
        let waiting = self.ahead.as_mut().map(std::mem::take).unwrap_or_default();
        if waiting.is_empty() {
            return Ok(());
        }
        let user = || User::new(*skep::platform(), Arc::new(FixedHost::new(1)));
        let mut sources = Vec::new();
        for Waiting { seed, set, .. } in &waiting {
            for program in set {
                let Loadable::Verified(v) = program else { return Err("not verified".into()) };
                sources.push(user().native_source(v).map_err(|e| format!("aot, seed {seed}: {e}"))?);
            }
        }
        let rows: Vec<(&str, &aot::Source)> = sources.iter().map(|s| ("program", s)).collect();
        let file = std::env::temp_dir().join(format!("skep-tiers-{}.so", std::process::id()));
        aot::build(&aot::library(&rows), &file, None).map_err(|e| e.to_string())?;
        let library = aot::Library::open(&file).map_err(|e| e.to_string());
        let _ = std::fs::remove_file(&file);
        let engine = user().with_tier(Tier::Aot).with_library(Arc::new(library?));
        let mut runner = engine.runner();
        for Waiting { seed, set, inputs, left } in waiting {
            let seeded = |e| format!("aot, seed {seed}: {e}");
            let here = run(&engine, &mut runner, &set, &self.maps, &inputs).map_err(seeded)?;
            compare(&mut Some(left), here, "aot").map_err(seeded)?;
        }
        Ok(())
    }
}

impl Left {
    /// Programs that began, of sets that make tail calls.
    fn begun(&self) -> u64 {
        let count = self.maps[0].get(VALUE as usize - 16..).and_then(|b| b.first_chunk());
        count.map_or(0, |b| u64::from_ne_bytes(*b))
    }
}

fn compare(first: &mut Option<Vec<Left>>, left: Vec<Left>, name: &str) -> Result<(), String> {
    let Some(first) = first else {
        *first = Some(left);
        return Ok(());
    };
    let other = first.iter().zip(&left).enumerate().find(|(_, (f, l))| f != l);
    match other {
        None => Ok(()),
        Some((n, (f, l))) => Err(format!("run {n}: checked leaves\n{f:x?}\n{name} leaves\n{l:x?}")),
    }
}

fn run(
    engine: &User,
    runner: &mut Runner,
    set: &[Loadable],
    maps: &[Arc<dyn Map>],
    inputs: &[Input],
) -> Result<Vec<Left>, String> {
    let load = |p: &Loadable| engine.load_program(p).map_err(|e| e.to_string());
    let loaded: Vec<Arc<UserProgram>> = set.iter().map(load).collect::<Result<_, _>>()?;
    fill(maps, loaded.iter().map(|p| Handle::Prog(p.clone())))?;
    let row = skep::platform().prog_type(ProgType::Xdp).ok_or("no XDP")?;
    let layout = row.layout(None).ok_or("no layout")?;
    let run = |input: &Input| {
        reset(maps, input.seed)?;
        let mut ctx = programs::packet(layout, &input.packet);
        let r0 = runner.run(&loaded[0], &mut ctx).map_err(|e| e.to_string())? as u32;
        let packet = match &ctx.data {
            CtxData::Packet(p) => p.bytes().to_vec(),
            CtxData::Plain(_) => Vec::new(),
        };
        Ok(Left { r0, maps: contents(maps)?, packet })
    };
    inputs.iter().map(run).collect()
}

fn in_kernel(
    kernel: &Kernel,
    set: &[Arc<Program>],
    maps: &[Arc<dyn Map>],
    inputs: &[Input],
) -> Result<Vec<Left>, String> {
    let load = |p: &Arc<Program>| {
        let here = Program { maps: maps.to_vec(), ..Program::clone(p) };
        kernel.load_program(&Arc::new(here)).map(Arc::new).map_err(|e| format!("kernel: {e}"))
    };
    let loaded: Vec<Arc<KernelProgram>> = set.iter().map(load).collect::<Result<_, _>>()?;
    fill(maps, loaded.iter().map(|p| Handle::Prog(p.clone())))?;
    let run = |input: &Input| {
        reset(maps, input.seed)?;
        let ran = kernel.run(&loaded[0], &input.packet, &[], 1).map_err(|e| format!("kernel: {e}"))?;
        Ok(Left { r0: ran.retval, maps: contents(maps)?, packet: ran.data })
    };
    inputs.iter().map(run).collect()
}

/// The programs of a seed, as the assembler takes them.
fn listing(seed: u64) -> String {
    let style = Style { numbers: true, ..Style::default() };
    let one = |(n, made): (usize, Made)| {
        format!(
            "program {n}, functions at {:?}\n{}",
            made.starts,
            disasm::listing(&made.insns, &NoNames, style)
        )
    };
    generate(seed).0.into_iter().enumerate().map(one).collect()
}

fn main() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "tiers").collect();
    let number = |name: &str, otherwise: u64| -> Result<u64, String> {
        let Some(at) = args.iter().position(|a| a == name) else { return Ok(otherwise) };
        let value = args.get(at + 1).ok_or(format!("{name} wants a number"))?;
        value.parse().map_err(|e| format!("{name} {value}: {e}"))
    };
    let (programs, seed) = (number("--programs", 10_000)?, number("--seed", 0)?);
    let given = |name: &str| args.iter().any(|a| a == name);
    let mut fuzz = Fuzz::new(given("--kernel"), given("--aot"))?;
    let (began, mut accepted) = (Instant::now(), 0u64);
    for n in 0..programs {
        let ok = fuzz.one(seed + n).map_err(|e| {
            println!("{}", listing(seed + n));
            format!("seed {}: {e}", seed + n)
        })?;
        accepted += u64::from(ok);
        if n % 10_000 == 9_999 {
            println!("{} programs, {accepted} accepted, {:.0?}", n + 1, began.elapsed());
        }
    }
    fuzz.ahead_of_time()?;
    println!(
        "{programs} programs from seed {seed}: {accepted} accepted, no difference, {:.0?}",
        began.elapsed()
    );
    println!("{} of them made {} tail calls", fuzz.chains.0, fuzz.chains.1);
    for (rule, (programs, seed, why)) in fuzz.refused {
        println!("{programs} refused by {rule}, the last one of seed {seed}: {why}");
    }
    Ok(())
}
