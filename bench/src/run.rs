//! `bench run`: the benchmark programs on every engine there is: native code by clang, the running kernel, the tiers.
//!
//! All engines run on the same memory contents, and return the same checksums. Ratios are to native code where there is a
//! clang, else to the first engine.

use crate::{ROUNDS, Row, median, object};
use skep::descriptors::map::{Side, flags};
use skep::descriptors::{Context, ProgType};
use skep::hooks::input;
use skep::kernel::{Kernel, KernelProgram};
use skep::vm::{SystemHost, Tier, User, UserProgram, aot};
use skep::{Collection, Engine, Loadable, Options};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

mod native;
mod peers;
use native::Native;
use peers::{Rbpf, Sbpf};

/// Time that one round of one subject takes at least, in nanoseconds: little beside the slices of time that the system
/// gives to processes, so that most rounds are not interrupted.
const ROUND_NS: u64 = 150_000;
/// What the other benchmarks run.
const OTHERS: [&str; 3] = ["maps.bpf.o", "packets.bpf.o", "load.bpf.o"];
/// Every engine runs a program as often a round as the fastest one does, but no longer than so many of its own rounds.
const MORE: u32 = 16;
/// Bytes of the programs' memory.
const MEMORY: usize = 65536;
/// Bytes of the packet that packet programs get.
const PACKET: usize = 128;
/// The tiers that are measured.
const TIERS: [Tier; 3] = [Tier::Interp, Tier::Baseline, Tier::Optimized];

/// A program on an engine, ready to run.
struct Subject {
    engine: &'static str,
    how: How,
    compile_ns: f64,
    runs: u32,
}

enum How {
    Native(Native),
    Kernel(Kernel, Collection),
    Rbpf(Box<Rbpf>),
    Sbpf(Box<Sbpf>),
    User(User, Collection, Box<Context>),
}

/// Nanoseconds a run, of every program on every engine.
pub(crate) fn run(files: &[PathBuf]) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for path in files.iter().filter(|p| !OTHERS.iter().any(|other| p.ends_with(other))) {
        let name = path.file_name().map_or(String::new(), |n| n.to_string_lossy().replace(".bpf.o", ""));
        let mut subjects = subjects(path, &name)?;
        let mut sums = Vec::new();
        for s in &mut subjects {
            sums.push(s.run_once().map_err(|e| format!("{name} on {}: {e}", s.engine))?);
            s.calibrate()?;
        }
        if let Some(at) = sums.iter().position(|s| *s != sums[0]) {
            let (first, other) = (subjects[0].engine, subjects[at].engine);
            return Err(format!("{name}: {first} returns {:#x}, {other} {:#x}", sums[0], sums[at]));
        }
        // What the processor's branch predictor learns in a round's first runs counts the same for all engines.
        let most = subjects.iter().map(|s| s.runs).max().unwrap_or(1);
        subjects.iter_mut().for_each(|s| s.runs = most.min(s.runs * MORE));
        let mut samples = vec![Vec::new(); subjects.len()];
        for _ in 0..ROUNDS * 5 {
            for (s, samples) in subjects.iter_mut().zip(&mut samples) {
                samples.push(s.round()?);
            }
        }
        let medians: Vec<f64> = samples.into_iter().map(median).collect();
        for (s, ns) in subjects.iter().zip(&medians) {
            let (engine, program, ratio) = (s.engine, name.clone(), ns / medians[0]);
            rows.push(Row { engine, program, ns: *ns, ratio, compile_ns: s.compile_ns });
        }
    }
    Ok(rows)
}

fn subjects(path: &Path, name: &str) -> Result<Vec<Subject>, String> {
    let mut all = Vec::new();
    match Native::build(name, &memory()) {
        Ok(native) => all.push(Subject::new("native", How::Native(native), 0.0)),
        Err(e) => eprintln!("bench: {name} without native code: {e}"),
    }
    match Kernel::open(*skep::platform()) {
        Ok(kernel) => {
            let (collection, _) = open(path, &kernel, false)?;
            all.push(Subject::new("kernel", How::Kernel(kernel, collection), 0.0));
        }
        Err(e) => eprintln!("bench: without the kernel: {e}"),
    }
    all.extend(others(name));
    for tier in TIERS {
        let user = User::new(*skep::platform(), Arc::new(SystemHost::new())).with_tier(tier);
        let (collection, verified) = open(path, &user, true)?;
        let compile = (0..ROUNDS).map(|_| {
            let began = Instant::now();
            let loaded = verified.iter().try_for_each(|v| user.load_program(v).map(drop));
            loaded.map(|()| began.elapsed().as_nanos() as f64).map_err(|e| e.to_string())
        });
        let compile_ns = median(compile.collect::<Result<Vec<_>, _>>()?);
        all.push(Subject::new(tier.name(), How::User(user, collection, Box::new(packet()?)), compile_ns));
    }
    match ahead(path) {
        Ok(aot) => all.push(aot),
        Err(e) => eprintln!("bench: {name} without code made ahead of time: {e}"),
    }
    Ok(all)
}

/// Makes a program ready on an engine; nanoseconds that compiling it took.
type Make<'a> = dyn Fn() -> Result<(f64, How), String> + 'a;

/// The program on other machines of user space, as far as they can run it: calls of maps and functions they do not have.
fn others(name: &str) -> Vec<Subject> {
    let code = match peers::flat(name) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("bench: {name} without rbpf and sbpf: {e}");
            return Vec::new();
        }
    };
    let rbpf = || Rbpf::build(&code, &memory()).map(|r| (r.compile_ns, How::Rbpf(Box::new(r))));
    let sbpf = || Sbpf::build(&code, &memory()).map(|s| (s.compile_ns, How::Sbpf(Box::new(s))));
    let makers: [(&str, &Make<'_>); 2] = [("rbpf", &rbpf), ("sbpf", &sbpf)];
    let mut all = Vec::new();
    for (peer, make) in makers {
        let subject = || make().map(|(ns, how)| Subject::new(peer, how, ns));
        // A run on a memory of its own says whether it can run the program.
        match subject().and_then(|mut s| s.run_once()).and_then(|_| subject()) {
            Ok(s) => all.push(s),
            Err(e) => eprintln!("bench: {name} without {peer}: {e}"),
        }
    }
    all
}

/// The program out of a library that is made of it now.
fn ahead(path: &Path) -> Result<Subject, String> {
    let user = || User::new(*skep::platform(), Arc::new(SystemHost::new()));
    let engine = user();
    let (_collection, verified) = open(path, &engine, true)?;
    let [Loadable::Verified(program)] = verified.as_slice() else { return Err("not one program".into()) };
    let source = engine.native_source(program).map_err(|e| e.to_string())?;
    let file = std::env::temp_dir().join(format!("skep-bench-{}.so", std::process::id()));
    let began = Instant::now();
    let built = aot::build(&aot::library(&[("program", &source)]), &file, None);
    let compile_ns = began.elapsed().as_nanos() as f64;
    let library =
        built.map_err(|e| e.to_string()).and_then(|_| aot::Library::open(&file).map_err(|e| e.to_string()));
    let _ = std::fs::remove_file(&file);
    let user = user().with_tier(Tier::Aot).with_library(Arc::new(library?));
    let (collection, _) = open(path, &user, true)?;
    Ok(Subject::new("aot", How::User(user, collection, Box::new(packet()?)), compile_ns))
}

/// The packet that packet programs get.
fn packet() -> Result<Context, String> {
    let row = skep::platform().prog_type(ProgType::Xdp).ok_or("no XDP")?;
    let memory = memory();
    let given = input::Input { data: Some(&memory[..PACKET]), ctx: None };
    input::context(row, None, &given).map_err(|e| e.to_string())
}

fn open(path: &Path, engine: &dyn Engine, verify: bool) -> Result<(Collection, Vec<Loadable>), String> {
    let mut verified = Vec::new();
    let judge = &mut |p| {
        if !verify {
            return Ok(Loadable::Unverified(Arc::new(p)));
        }
        let how = skep::verifier::Options::default();
        let v = skep::verifier::verify(&Arc::new(p), skep::platform(), &how);
        let v = Loadable::Verified(v.map_err(skep::Error::Refused)?);
        verified.push(v.clone());
        Ok(v)
    };
    let fail = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let c = Collection::open(object(path)?, engine, &Options::default(), judge).map_err(|e| fail(&e))?;
    for map in c.maps.iter().flatten() {
        let def = map.def();
        let put = |key: &[u8], value: &[u8]| map.update(key, value, flags::ANY, Side::User);
        let done = if def.value_size as usize == MEMORY {
            put(&0u32.to_ne_bytes(), &memory())
        } else if def.name == "hmap" {
            (0..512u64).try_for_each(|i| put(&hash_key(i).to_ne_bytes(), &[0; 8]))
        } else {
            Ok(())
        };
        done.map_err(|e| fail(&e))?;
    }
    Ok((c, verified))
}

/// A key of the hash map of `maphash.c`.
fn hash_key(i: u64) -> u64 {
    i.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// What the programs find in their memory: numbers without pattern, where the programs want nothing else.
fn memory() -> Vec<u8> {
    let mut state = 1u64;
    let mut m: Vec<u8> = (0..MEMORY).map(|_| next(&mut state) as u8).collect();
    // divmod.c divides by the lower halves of words: native code must not divide by zero.
    for at in (16384..16384 + 4096).step_by(4) {
        m[at] |= 1;
    }
    // pktparse.c and parse64.c: Ethernet frames, IPv4 and IPv6, some with a VLAN tag.
    for (i, at) in std::iter::once(0).chain((57344..65536).step_by(128)).enumerate() {
        frame(&mut m[at..at + 128], i);
    }
    // strcmp.c: a string, and strings that are equal to it for a while.
    let mut key = [0u8; 64];
    for (i, b) in key.iter_mut().enumerate().take(40) {
        *b = b'a' + (i % 26) as u8;
    }
    m[49152..49216].copy_from_slice(&key);
    for k in 0..64 {
        let at = 49216 + k * 64;
        m[at..at + 64].copy_from_slice(&key);
        if k % 4 != 0 {
            m[at + (next(&mut state) % 40) as usize] = b'#';
        }
    }
    m
}

fn frame(f: &mut [u8], i: usize) {
    let tagged = i % 4 == 3;
    let at = if tagged { 18 } else { 14 };
    if tagged {
        f[12..14].copy_from_slice(&[0x81, 0]);
    }
    let proto = [6, 17, 6, 1][i / 2 % 4];
    if i % 5 == 4 {
        f[at - 2..at].copy_from_slice(&[0x86, 0xdd]);
        f[at + 6] = proto;
    } else {
        f[at - 2..at].copy_from_slice(&[0x08, 0]);
        f[at] = 0x45;
        f[at + 9] = proto;
    }
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
}

impl Subject {
    fn new(engine: &'static str, how: How, compile_ns: f64) -> Subject {
        Subject { engine, how, compile_ns, runs: 1 }
    }

    /// The checksum of one run: the lower half of what it returns.
    fn run_once(&mut self) -> Result<u32, String> {
        match &mut self.how {
            How::Native(n) => Ok(n.run() as u32),
            How::Kernel(k, c) => kernel_run(k, c, 1).map(|r| r.0),
            How::Rbpf(r) => r.run().map(|v| v as u32),
            How::Sbpf(s) => s.run().map(|v| v as u32),
            How::User(u, c, ctx) => {
                u.runner().run(program(c)?, ctx).map(|v| v as u32).map_err(|e| e.to_string())
            }
        }
    }

    /// Finds out how many runs a round takes.
    fn calibrate(&mut self) -> Result<(), String> {
        loop {
            let ns = self.round()? * f64::from(self.runs);
            if ns >= ROUND_NS as f64 || self.runs >= 1 << 20 {
                return Ok(());
            }
            self.runs *= 2;
        }
    }

    /// Nanoseconds a run over one round.
    fn round(&mut self) -> Result<f64, String> {
        let runs = self.runs;
        let began = Instant::now();
        match &mut self.how {
            How::Native(n) => {
                for _ in 0..runs {
                    std::hint::black_box(n.run());
                }
            }
            How::Kernel(k, c) => return kernel_run(k, c, runs).map(|r| r.1),
            How::Rbpf(r) => {
                for _ in 0..runs {
                    std::hint::black_box(r.run()?);
                }
            }
            How::Sbpf(s) => {
                for _ in 0..runs {
                    std::hint::black_box(s.run()?);
                }
            }
            How::User(u, c, ctx) => {
                let (program, mut runner) = (program(c)?, u.runner());
                for _ in 0..runs {
                    runner.run(program, ctx).map_err(|e| e.to_string())?;
                }
            }
        }
        Ok(began.elapsed().as_nanos() as f64 / f64::from(runs))
    }
}

fn program(c: &Collection) -> Result<&UserProgram, String> {
    let loaded = &c.programs.first().ok_or("no program")?.loaded;
    loaded.as_any().downcast_ref().ok_or("not a program of the engine".into())
}

fn kernel_run(k: &Kernel, c: &Collection, runs: u32) -> Result<(u32, f64), String> {
    let loaded = &c.programs.first().ok_or("no program")?.loaded;
    let program = loaded.as_any().downcast_ref::<KernelProgram>().ok_or("not the kernel's")?;
    let ran = k.run(program, &memory()[..PACKET], &[], runs).map_err(|e| e.to_string())?;
    Ok((ran.retval, f64::from(ran.ns)))
}
