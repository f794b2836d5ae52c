//! Generated programs on every tier: `cargo xtask fuzz tiers [--programs N] [--seed S] [--kernel] [--aot]`.
//!
//! Every program is verified; what the verifier accepts runs on all tiers, and where it may on the running kernel, from the
//! same maps and packet. `r0`, every byte of the maps and every byte of the packet must be equal; the program itself writes
//! its registers and its stack to a map at its end. The first difference ends the run with the program's listing.

#![allow(clippy::print_stdout, reason = "a tool says what it found")]

use skep::descriptors::env::CtxData;
use skep::descriptors::map::{Side, flags};
use skep::descriptors::program::Subprog;
use skep::descriptors::{MapDef, MapType, ProgType};
use skep::isa::disasm::{self, NoNames, Style};
use skep::kernel::{Kernel, KernelProgram};
use skep::vm::{FixedHost, Tier, User, UserProgram, aot};
use skep::{Engine, Loadable, Map};
use skep_testkit::generate::{ENTRIES, PACKET, Random, Seed, VALUE, packet_program};
use skep_testkit::programs;
use std::sync::Arc;
use std::time::Instant;

const TIERS: [Tier; 4] = [Tier::Checked, Tier::Interp, Tier::Baseline, Tier::Optimized];
/// One program of so many also runs in the kernel.
const KERNEL_EVERY: u64 = 16;
/// Programs of a library that is made ahead of time.
const LIBRARY: usize = 256;

/// What a run leaves.
#[derive(PartialEq, Eq, Debug)]
struct Left {
    r0: u32,
    maps: Vec<Vec<u8>>,
    packet: Vec<u8>,
}

/// A program that waits for a library, and what the other tiers leave.
struct Waiting {
    seed: u64,
    program: Loadable,
    packet: Vec<u8>,
    left: Left,
}

fn def(name: &str, value_size: u32, max_entries: u32) -> MapDef {
    let (map_type, key_size) = (MapType::Array, 4);
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
    let make = |d: MapDef| engine.create_map(&d).map_err(|e| e.to_string());
    Ok(vec![make(def("value", VALUE as u32, 1))?, make(def("entries", 16, ENTRIES))?])
}

/// Puts the maps back to where every run begins.
fn reset(maps: &[Arc<dyn Map>], seed: u64) -> Result<(), String> {
    let mut random = Seed(seed);
    for map in maps {
        let d = map.def();
        for key in 0..d.max_entries {
            let value: Vec<u8> = (0..d.value_size).map(|_| random.bits() as u8).collect();
            map.update(&key.to_ne_bytes(), &value, flags::ANY, Side::User).map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

fn contents(maps: &[Arc<dyn Map>]) -> Result<Vec<Vec<u8>>, String> {
    let mut all = Vec::new();
    for map in maps {
        for key in 0..map.def().max_entries {
            let mut value = Vec::new();
            map.read(&key.to_ne_bytes(), &mut value).map_err(|e| e.to_string())?;
            all.push(value);
        }
    }
    Ok(all)
}

struct Fuzz {
    engines: Vec<(&'static str, User)>,
    kernel: Option<(Kernel, Vec<Arc<dyn Map>>)>,
    maps: Vec<Arc<dyn Map>>,
    /// Programs for the next library, where libraries are made.
    ahead: Option<Vec<Waiting>>,
    /// Why the last program was refused that was.
    refused: Option<String>,
}

impl Fuzz {
    fn new(kernel: bool, aot: bool) -> Result<Fuzz, String> {
        let user =
            |t: Tier| (t.name(), User::new(*skep::platform(), Arc::new(FixedHost::new(1))).with_tier(t));
        let engines: Vec<(&'static str, User)> = TIERS.map(user).into();
        let kernel = match kernel {
            false => None,
            true => {
                let kernel = Kernel::open(*skep::platform()).map_err(|e| e.to_string())?;
                let maps = maps(&kernel)?;
                Some((kernel, maps))
            }
        };
        let maps = maps(&engines[0].1)?;
        Ok(Fuzz { engines, kernel, maps, ahead: aot.then(Vec::new), refused: None })
    }

    /// Whether the program was accepted; an error is a difference.
    fn one(&mut self, seed: u64) -> Result<bool, String> {
        let mut random = Seed(seed);
        let len = 4 + random.below(40);
        let (insns, starts) = packet_program(&mut random, len);
        let mut program = programs::program(ProgType::Xdp, insns);
        let sub =
            |(i, start): (usize, usize)| Subprog { name: format!("f{i}"), start, btf_id: 0, global: false };
        program.subprogs = starts.into_iter().enumerate().map(sub).collect();
        program.maps = self.maps.clone();
        let how = skep::verifier::Options::default();
        let verified = match skep::verifier::verify(&Arc::new(program.clone()), skep::platform(), &how) {
            Ok(verified) => verified,
            Err(refused) => {
                self.refused = Some(refused.to_string());
                return Ok(false);
            }
        };
        let packet: Vec<u8> = (0..PACKET + 16).map(|_| random.bits() as u8).collect();
        let verified = Loadable::Verified(verified);
        let mut first: Option<Left> = None;
        for (name, engine) in &self.engines {
            let left =
                run(engine, &verified, &self.maps, &packet, seed).map_err(|e| format!("{name}: {e}"))?;
            compare(&mut first, left, name)?;
        }
        if let Some((kernel, maps)) = self.kernel.as_ref().filter(|_| seed.is_multiple_of(KERNEL_EVERY)) {
            program.maps = maps.clone();
            let left = in_kernel(kernel, program, maps, &packet, seed)?;
            compare(&mut first, left, "kernel")?;
        }
        if let (Some(ahead), Some(left)) = (&mut self.ahead, first) {
            ahead.push(Waiting { seed, program: verified, packet, left });
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
        for Waiting { seed, program, .. } in &waiting {
            let Loadable::Verified(v) = program else { return Err("not verified".into()) };
            sources.push(user().native_source(v).map_err(|e| format!("aot, seed {seed}: {e}"))?);
        }
        let rows: Vec<(&str, &aot::Source)> = sources.iter().map(|s| ("program", s)).collect();
        let file = std::env::temp_dir().join(format!("skep-tiers-{}.so", std::process::id()));
        aot::build(&aot::library(&rows), &file, None).map_err(|e| e.to_string())?;
        let library = aot::Library::open(&file).map_err(|e| e.to_string());
        let _ = std::fs::remove_file(&file);
        let engine = user().with_tier(Tier::Aot).with_library(Arc::new(library?));
        for Waiting { seed, program, packet, left } in waiting {
            let seeded = |e| format!("aot, seed {seed}: {e}");
            let here = run(&engine, &program, &self.maps, &packet, seed).map_err(seeded)?;
            compare(&mut Some(left), here, "aot").map_err(seeded)?;
        }
        Ok(())
    }
}

fn compare(first: &mut Option<Left>, left: Left, name: &str) -> Result<(), String> {
    match first {
        None => *first = Some(left),
        Some(f) if *f == left => {}
        Some(f) => return Err(format!("checked leaves\n{f:x?}\n{name} leaves\n{left:x?}")),
    }
    Ok(())
}

fn run(
    engine: &User,
    program: &Loadable,
    maps: &[Arc<dyn Map>],
    packet: &[u8],
    seed: u64,
) -> Result<Left, String> {
    reset(maps, seed)?;
    let loaded: Arc<UserProgram> = engine.load_program(program).map_err(|e| e.to_string())?;
    let row = skep::platform().prog_type(ProgType::Xdp).ok_or("no XDP")?;
    let layout = row.layout(None).ok_or("no layout")?;
    let mut ctx = programs::packet(layout, packet);
    let r0 = engine.runner().run(&loaded, &mut ctx).map_err(|e| e.to_string())? as u32;
    let packet = match &ctx.data {
        CtxData::Packet(p) => p.bytes().to_vec(),
        CtxData::Plain(_) => Vec::new(),
    };
    Ok(Left { r0, maps: contents(maps)?, packet })
}

fn in_kernel(
    kernel: &Kernel,
    program: skep::descriptors::Program,
    maps: &[Arc<dyn Map>],
    packet: &[u8],
    seed: u64,
) -> Result<Left, String> {
    reset(maps, seed)?;
    let loaded: KernelProgram =
        kernel.load_program(&Arc::new(program)).map_err(|e| format!("kernel: {e}"))?;
    let ran = kernel.run(&loaded, packet, &[], 1).map_err(|e| format!("kernel: {e}"))?;
    Ok(Left { r0: ran.retval, maps: contents(maps)?, packet: ran.data })
}

/// The program of a seed, as the assembler takes it.
fn listing(seed: u64) -> String {
    let mut random = Seed(seed);
    let len = 4 + random.below(40);
    let style = Style { numbers: true, ..Style::default() };
    disasm::listing(&packet_program(&mut random, len).0, &NoNames, style).to_string()
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
    if let Some(why) = fuzz.refused {
        println!("the last one that was refused: {why}");
    }
    Ok(())
}
