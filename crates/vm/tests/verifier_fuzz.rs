//! Mutated and generated programs: the verdict of the verifier against the running kernel's.
//!
//! The programs are those of the suites `test_verifier` and `samples` with up to four small changes, and generated ones
//! changed likewise. `SKEP_FUZZ_MINUTES` says how long (without it: seconds), `SKEP_SEED` where to begin,
//! `SKEP_FUZZ_OUT` names a file for the differences, `SKEP_AS` who loads (`root`, `cap-bpf`, `unprivileged`). `cargo xtask fuzz verifier --minutes N` sets these.
//!
//! No program that the kernel refuses may be accepted. Programs that only the verifier refuses are allowed for the reasons
//! listed in `verifier_fuzz.txt`. Needs root; without it the test says so and passes.

#![allow(clippy::print_stdout)]

use serde_json::{Value, json};
use skep_isa::Insn;
use skep_platform::uapi::{AttachType, MapType, ProgType};
use skep_platform::{Map, MapDef, Program};
use skep_testkit::generate::{self, Random, Seed};
use skep_testkit::kernel_oracle::{KernelMap, Load, Oracle};
use skep_testkit::rights::{self, Rights};
use skep_testkit::{fixtures, mutate, programs, suites};
use skep_verifier::{Limits, Mode, Options, Rule, verify_full};
use skep_vm::{FixedHost, Tier, User};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the verifier refuses and the kernel does not: beginnings of the message, and why.
const KNOWN: &str = include_str!("verifier_fuzz.txt");
/// The kernel did not judge: no memory, a signal, too large.
const NOT_JUDGED: [i32; 4] = [12, 4, 11, 7];
/// No right: to root this says nothing of the program.
const EPERM: i32 = 1;

/// Changed loops often have no end: longer walks are not compared.
const LIMIT: u64 = 10_000;
/// Helpers that not every kernel is built with, or that are locked away.
const OPTIONAL: [&str; 2] = ["bpf_override_return#58", "bpf_probe_write_user#36"];

/// A program to be changed.
struct Base {
    name: String,
    prog_type: ProgType,
    attach_type: Option<AttachType>,
    flags: u32,
    license: String,
    insns: Vec<Insn>,
    maps: Vec<usize>,
}

/// Maps of one definition in both engines.
#[derive(Default)]
struct Maps {
    defs: Vec<MapDef>,
    user: Vec<Arc<dyn Map>>,
    kernel: Vec<KernelMap>,
}

impl Maps {
    /// Index of such a map; `None` when one of the engines cannot make it.
    fn get(&mut self, engine: &User, oracle: &Oracle, def: MapDef) -> Option<usize> {
        let same = |d: &MapDef| {
            let key = |d: &MapDef| (d.map_type, d.key_size, d.value_size, d.max_entries, d.flags);
            key(d) == key(&def)
        };
        if let Some(i) = self.defs.iter().position(same) {
            return Some(i);
        }
        if def.inner.is_some() || matches!(def.map_type, MapType::ArrayOfMaps | MapType::HashOfMaps) {
            return None;
        }
        let user = skep_platform::Engine::create_map(engine, &def).ok()?;
        let kernel =
            oracle.create_map(def.map_type, def.key_size, def.value_size, def.max_entries, def.flags).ok()?;
        self.defs.push(def);
        self.user.push(user);
        self.kernel.push(kernel);
        Some(self.defs.len() - 1)
    }
}

fn number(row: &Value, key: &str) -> u32 {
    row[key].as_u64().unwrap_or(0) as u32
}

/// The suites' programs whose maps both engines have.
fn bases(engine: &User, oracle: &Oracle, maps: &mut Maps) -> Vec<Base> {
    let mut out = Vec::new();
    let rows = |suite: &str| {
        suites::dir(suite).and_then(|d| suites::jsonl(&d.join("dev.jsonl.gz"))).unwrap_or_default()
    };
    for case in rows("test_verifier") {
        let plain = case["kfuncs"].as_array().is_none_or(Vec::is_empty) && case["has_btf"] != true;
        let Some((insns, kinds)) = fixtures::insns(&case).filter(|_| plain) else { continue };
        let mut map = |k: &String| maps.get(engine, oracle, fixtures::map_def(k)?);
        let special = ["timer", "kptr", "spin_lock", "cgroup", "storage", "in_map"];
        if kinds.iter().any(|k| special.iter().any(|s| k.contains(s))) {
            continue;
        }
        let found: Option<Vec<usize>> = kinds.iter().map(&mut map).collect();
        let (Some(found), Some(prog_type)) = (found, ProgType::from_id(number(&case, "prog_type"))) else {
            continue;
        };
        if !self_contained(prog_type) {
            continue;
        }
        let attach = number(&case, "attach_type");
        out.push(Base {
            name: case["descr"].as_str().unwrap_or("").to_owned(),
            prog_type,
            attach_type: AttachType::from_id(attach).filter(|_| attach != 0),
            flags: number(&case, "prog_flags") & 3,
            license: "GPL".into(),
            insns,
            maps: found,
        });
    }
    for case in rows("samples") {
        let insns = case["insns"].as_str().and_then(suites::hex);
        let insns = insns.and_then(|b| Insn::slice_from_bytes(&b).ok()).unwrap_or_default();
        let Some(prog_type) = ProgType::from_id(number(&case, "prog_type")) else { continue };
        if let Some(base) = sample(&case, prog_type, insns, |def| maps.get(engine, oracle, def)) {
            out.push(base);
        }
    }
    out
}

/// Programs of these types need nothing to attach to.
fn self_contained(t: ProgType) -> bool {
    use ProgType as P;
    !matches!(t, P::Tracing | P::Lsm | P::StructOps | P::Ext | P::Unspec | P::Netfilter)
}

fn sample(
    case: &Value,
    prog_type: ProgType,
    mut insns: Vec<Insn>,
    mut map: impl FnMut(MapDef) -> Option<usize>,
) -> Option<Base> {
    if !self_contained(prog_type) || insns.len() > 400 || insns.is_empty() {
        return None;
    }
    let mut found = Vec::new();
    for m in case["maps"].as_array()? {
        let map_type = MapType::ALL.iter().find(|(t, _)| *t as u32 == number(m, "type")).map(|(t, _)| *t)?;
        let mut def = fixtures::map_def("map_hash_8b")?;
        (def.map_type, def.key_size, def.value_size) = (map_type, number(m, "key"), number(m, "value"));
        (def.max_entries, def.flags) = (number(m, "max").min(64), number(m, "flags"));
        found.push(map(def)?);
    }
    for (at, which) in case["map_refs"].as_array()?.iter().filter_map(|r| {
        let pair = r.as_array()?;
        Some((pair.first()?.as_u64()? as usize, pair.get(1)?.as_u64()? as i32))
    }) {
        let slot = insns.get_mut(at)?;
        *slot = slot.with_src(5).with_imm(which);
    }
    Some(Base {
        name: format!("{}:{}", case["file"].as_str()?, case["section"].as_str()?),
        prog_type,
        attach_type: None,
        flags: 0,
        license: case["license"].as_str()?.to_owned(),
        insns,
        maps: found,
    })
}

/// File descriptors and types of the kernel mean something else to each side.
fn comparable(insns: &[Insn], maps: usize) -> bool {
    insns.iter().enumerate().all(|(pc, i)| {
        let b = i.to_bytes();
        let second = pc > 0 && insns[pc - 1].is_ldimm64();
        let kfunc = b[0] == 0x85 && b[1] >> 4 == 2;
        let wide = match b[1] >> 4 {
            _ if b[0] != 0x18 || second => true,
            5 | 6 => (i.imm() as u32) < maps as u32,
            src => src == 0 || src > 6,
        };
        wide && !kfunc
    })
}

#[derive(Default)]
struct Tally {
    programs: u64,
    accepted: u64,
    not_judged: u64,
    wrong: Vec<Value>,
    refused: BTreeMap<String, (u64, Value)>,
}

struct Fuzz<'a> {
    oracle: &'a Oracle,
    maps: &'a Maps,
    types: Option<Arc<skep::btf::Btf>>,
    rights: Rights,
    tally: Tally,
}

impl Fuzz<'_> {
    fn one(&mut self, base: &Base, insns: Vec<Insn>) {
        let maps: Vec<_> = base.maps.iter().map(|m| self.maps.user[*m].clone()).collect();
        let program = Program {
            maps,
            attach_type: base.attach_type,
            license: base.license.clone(),
            kernel_btf: self.types.clone(),
            ..programs::program(base.prog_type, insns.clone())
        };
        let cpus = std::thread::available_parallelism().map_or(1, usize::from) as u32;
        let limits = Limits { insns: LIMIT, ..Limits::default() };
        let strict_alignment = base.flags & 3 == 1;
        let mode = match self.rights {
            Rights::All => Mode::Privileged,
            Rights::Bpf => Mode::Bpf,
            Rights::None => Mode::Unprivileged,
        };
        let options = Options { mode, strict_alignment, cpus, limits, ..Options::default() };
        let ours = verify_full(&Arc::new(program), skep::platform(), &options);
        if ours.as_ref().is_err_and(|e| e.rule() == Rule::TooComplex) {
            return;
        }
        let kernel: Vec<&KernelMap> = base.maps.iter().map(|m| &self.maps.kernel[*m]).collect();
        let mut load = Load {
            attach_type: base.attach_type,
            flags: base.flags,
            license: &base.license,
            maps: &kernel,
            ..Load::new(base.prog_type, &insns)
        };
        let theirs = self.oracle.load(&load);
        self.tally.programs += 1;
        let open = |errno: i32| NOT_JUDGED.contains(&errno) || (errno == EPERM && self.rights == Rights::All);
        if theirs.as_ref().is_err_and(|e| open(e.errno) && ours.is_ok()) {
            self.tally.not_judged += 1;
            return;
        }
        self.tally.accepted += u64::from(theirs.is_ok());
        if theirs.is_ok() == ours.is_ok() {
            return;
        }
        load.log_level = 1;
        let log = match self.oracle.load(&load) {
            Ok(p) => p.log,
            Err(e) => format!("{}\nerror {}", e.log, e.errno),
        };
        if ours.is_ok() && OPTIONAL.iter().any(|h| log.contains(&format!("cannot use helper {h}"))) {
            self.tally.not_judged += 1;
            return;
        }
        let tail: Vec<&str> = log.lines().rev().take(6).collect();
        let hex: String = insns.iter().flat_map(|i| i.to_bytes()).map(|b| format!("{b:02x}")).collect();
        let message = ours.as_ref().map_or_else(|e| e.message().to_owned(), |_| String::new());
        let row = json!({"base": base.name, "prog_type": base.prog_type as u32, "attach": base.attach_type.map(|a| a.id()),
            "maps": base.maps.iter().map(|m| self.maps.defs[*m].name.clone()).collect::<Vec<_>>(),
            "insns": hex, "ours": message, "kernel": tail});
        if ours.is_ok() {
            self.tally.wrong.push(row);
        } else {
            let plain: String = message.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
            self.tally.refused.entry(plain).or_insert((0, row)).0 += 1;
        }
    }
}

#[test]
fn verdicts_are_the_kernels() {
    judged_as(Rights::asked());
}

/// Addresses are secret to this loader, and paths that a CPU only guesses are walked.
#[test]
fn with_cap_bpf_alone_too() {
    if std::env::var_os("SKEP_AS").is_none() {
        judged_as(Rights::Bpf);
    }
}

fn judged_as(rights: Rights) {
    let oracle = match Oracle::open() {
        Ok(o) => o,
        Err(why) => return println!("{why}: nothing was checked"),
    };
    let _open = match (rights == Rights::None).then(rights::Opened::new).transpose() {
        Ok(open) => open,
        Err(e) => return println!("unprivileged programs are locked out: {e}: nothing was checked"),
    };
    // Maps, too, are made with these rights: the kernel notes on them whether they need hardening.
    rights::with(rights, || compare(&oracle, rights)).expect("capabilities can be dropped");
}

fn compare(oracle: &Oracle, rights: Rights) {
    let minutes = std::env::var("SKEP_FUZZ_MINUTES").ok().and_then(|m| m.parse::<f64>().ok());
    let time = Duration::from_secs_f64(minutes.map_or(2.0, |m| m * 60.0));
    let seed = std::env::var("SKEP_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x5eed);
    let engine = User::new(*skep::platform(), Arc::new(FixedHost::new(2))).with_tier(Tier::Checked);
    let mut maps = Maps::default();
    let bases = bases(&engine, oracle, &mut maps);
    let types = std::fs::read("/sys/kernel/btf/vmlinux").ok();
    let types = types.and_then(|b| skep::btf::Btf::parse(&b).ok()).map(Arc::new);
    let mut fuzz = Fuzz { oracle, maps: &maps, types, rights, tally: Tally::default() };
    let (mut random, began) = (Seed(seed), Instant::now());
    bases.iter().filter(|b| comparable(&b.insns, b.maps.len())).for_each(|b| fuzz.one(b, b.insns.clone()));
    while began.elapsed() < time {
        let generated = bases.is_empty() || random.below(4) == 0;
        let made;
        let base = if generated {
            let insns = generate::program(&mut random, 24);
            let types = [ProgType::SocketFilter, ProgType::Xdp, ProgType::SchedCls];
            let (name, license) = ("generated".to_owned(), "GPL".to_owned());
            let prog_type = random.pick(&types);
            made = Base { name, prog_type, attach_type: None, flags: 0, license, insns, maps: Vec::new() };
            &made
        } else {
            // The smaller of two: more programs in the same time.
            let (a, b) = (&bases[random.below(bases.len())], &bases[random.below(bases.len())]);
            if a.insns.len() < b.insns.len() { a } else { b }
        };
        let mut insns = base.insns.clone();
        for _ in 0..1 + random.below(3) {
            mutate::mutate(&mut insns, &mut random);
        }
        if comparable(&insns, base.maps.len()) {
            fuzz.one(base, insns);
        }
    }
    report(&fuzz.tally, bases.len(), rights);
}

fn report(t: &Tally, bases: usize, rights: Rights) {
    let listed = |m: &str| KNOWN.lines().filter(|l| !l.starts_with('#')).any(|l| known(l, m));
    println!(
        "verifier fuzz, rights {rights:?}: {} programs from {bases} and generated ones, {} accepted by the kernel, {} not judged; accepted \
         here and refused there: {}; the other way round: {} in {} kinds",
        t.programs,
        t.accepted,
        t.not_judged,
        t.wrong.len(),
        t.refused.values().map(|r| r.0).sum::<u64>(),
        t.refused.len()
    );
    if let Some(path) = std::env::var_os("SKEP_FUZZ_OUT") {
        let mut f = std::fs::File::create(path).expect("the file can be made");
        for row in t.wrong.iter().chain(t.refused.values().map(|r| &r.1)) {
            writeln!(f, "{row}").expect("the file can be written");
        }
    }
    let unlisted: Vec<_> = t.refused.iter().filter(|(m, _)| !listed(m)).collect();
    for (m, (n, row)) in &unlisted {
        println!("refused here only, {n} times: {m}\n  {row}");
    }
    assert!(t.wrong.is_empty(), "the kernel refuses: {:#?}", t.wrong);
    assert!(unlisted.is_empty(), "{} kinds of refusals are not in verifier_fuzz.txt", unlisted.len());
}

/// `PHRASE # why`; digits of messages read `#` as well, so the reason begins after two spaces and `--`.
fn known(line: &str, message: &str) -> bool {
    let phrase = line.split("  --").next().unwrap_or("").trim();
    !phrase.is_empty() && message.starts_with(phrase)
}
