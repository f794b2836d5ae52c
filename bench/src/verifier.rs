//! `bench verifier`: every program of the given objects judged by Skep and by the running kernel, side by side.
//!
//! Each program is bound twice, to maps of the user engine and to maps in the kernel. Both judge it once a round; the
//! kernel's figure is the "verification time" of its own log (`BPF_LOG_STATS`). Sums count the programs that both accept.

use crate::median;
use serde_json::{Value, json};
use skep::descriptors::{Engine, EngineError};
use skep::kernel::Kernel;
use skep::obj::BindEnv;
use skep::verifier::Stats;
use skep::vm::{SystemHost, Tier, User};
use skep::{Object, Options};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `BPF_LOG_STATS`.
const LOG_STATS: u32 = 4;
/// From so many walked instructions on a program counts as large.
const LARGE: u64 = 20_000;
/// How many of the slowest programs the text lists.
const LISTED: usize = 40;

/// What was asked for on the command line.
pub struct Plan {
    /// Objects, or folders of objects.
    pub paths: Vec<PathBuf>,
    /// Rounds of which the median is taken.
    pub rounds: usize,
    /// Only programs whose `object:name` has this in it.
    pub only: String,
    /// Ask the kernel, too.
    pub kernel: bool,
}

/// One judge's figures.
#[derive(Clone, Default)]
struct Figures {
    accepted: bool,
    us: f64,
    insns: u64,
    states: u64,
    peak: u64,
    /// Most memory beyond what was there before, in KiB; not measured of the kernel.
    memory: u64,
}

/// One program.
struct Row {
    name: String,
    ours: Figures,
    theirs: Option<Figures>,
}

impl Row {
    fn both(&self) -> Option<(&Figures, &Figures)> {
        let theirs = self.theirs.as_ref()?;
        (self.ours.accepted && theirs.accepted).then_some((&self.ours, theirs))
    }
}

/// Measures and prints.
pub fn run(plan: &Plan, as_json: bool) -> Result<(), String> {
    let kernel = match plan.kernel {
        true => {
            let k = Kernel::open(*skep::platform()).map_err(|e| e.to_string())?;
            let mut how = skep::kernel::Options::default();
            how.log_level = LOG_STATS;
            Some(k.with_options(how))
        }
        false => None,
    };
    let types = std::fs::read("/sys/kernel/btf/vmlinux").ok();
    let target = types.and_then(|b| skep::btf::Btf::parse(&b).ok()).map(Arc::new);
    let user = User::new(*skep::platform(), Arc::new(SystemHost::new())).with_tier(Tier::Checked);
    let mut rows = Vec::new();
    for path in objects(&plan.paths) {
        let mut options = Options::default();
        options.target_btf = target.clone();
        match object(plan, &path, &user, kernel.as_ref(), &options) {
            Ok(more) => rows.extend(more),
            Err(e) => eprintln!("{}: {e}", path.display()),
        }
    }
    if as_json {
        json_out(&rows)
    } else {
        text_out(&rows)
    }
    Ok(())
}

fn objects(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for p in paths {
        if p.is_dir() {
            let inside = std::fs::read_dir(p).into_iter().flatten().flatten().map(|e| e.path());
            out.extend(inside.filter(|p| p.to_string_lossy().ends_with(".bpf.o")));
        } else {
            out.push(p.clone());
        }
    }
    out.sort();
    out
}

fn object(
    plan: &Plan,
    path: &Path,
    user: &User,
    kernel: Option<&Kernel>,
    options: &Options<'_>,
) -> Result<Vec<Row>, String> {
    let file = path.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned());
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let object = Object::parse(&bytes).map_err(|e| e.to_string())?;
    let maps_in = |e: &dyn Engine| skep::verify::filled_maps(&object, e, options);
    let (ours, theirs) = (maps_in(user), kernel.map(|k| maps_in(k)));
    let ours = ours.map_err(|e| e.to_string())?;
    let mut rows = Vec::new();
    for (index, f) in object.functions.iter().enumerate().filter(|(_, f)| f.is_program()) {
        let name = format!("{file}:{}", f.name);
        if !name.contains(&plan.only) {
            continue;
        }
        let bind = |maps| {
            let mut env = BindEnv::new(maps);
            env.target_btf = options.target_btf.clone();
            object.bind_index(index, &mut env).map(Arc::new)
        };
        let Ok(program) = bind(&ours) else { continue };
        let same = theirs.as_ref().and_then(|m| m.as_ref().ok()).and_then(|m| bind(m).ok());
        let (mut us, mut them) = (Vec::new(), Vec::new());
        let (mut mine, mut kernels) = (Figures::default(), None);
        for round in 0..plan.rounds {
            let before = (round == 0).then(reset_peak);
            let out = skep::verifier::verify_full(&program, skep::platform(), &how());
            if let Some(before) = before {
                mine.memory = peak_kib().saturating_sub(before);
            }
            let (accepted, stats) = match &out {
                Ok(o) => (true, o.stats),
                Err(e) => (false, e.stats),
            };
            (mine.accepted, mine.insns) = (accepted, stats.insns);
            (mine.states, mine.peak) = (stats.total_states, stats.peak_states);
            us.push(micros(&stats));
            drop(out);
            if let (Some(k), Some(p)) = (kernel, &same) {
                let f = ask(k, p);
                them.extend(f.as_ref().map(|f| f.us));
                kernels = f;
            }
        }
        mine.us = median(us);
        if let Some(k) = &mut kernels {
            k.us = median(them);
        }
        rows.push(Row { name, ours: mine, theirs: kernels });
    }
    Ok(rows)
}

fn how() -> skep::verifier::Options {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    skep::verifier::Options { cpus, ..skep::verifier::Options::default() }
}

fn micros(stats: &Stats) -> f64 {
    stats.time.as_nanos() as f64 / 1e3
}

/// The kernel's figures, when its verifier was reached.
fn ask(kernel: &Kernel, program: &Arc<skep::descriptors::Program>) -> Option<Figures> {
    let (accepted, log) = match kernel.load_program(program) {
        Ok(p) => (true, p.log().to_owned()),
        Err(EngineError::Refused(r)) => (false, r.log),
        Err(_) => return Some(Figures::default()),
    };
    let number = |after: &str| -> Option<u64> {
        let rest = &log[log.rfind(after)? + after.len()..];
        rest.split_whitespace().next()?.parse().ok()
    };
    Some(Figures {
        accepted,
        us: number("verification time ")? as f64,
        insns: number("processed ")?,
        states: number("total_states ")?,
        peak: number("peak_states ")?,
        memory: 0,
    })
}

/// Resident memory now, with the mark of its peak set back to it.
fn reset_peak() -> u64 {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    status("VmRSS:")
}

fn peak_kib() -> u64 {
    status("VmHWM:")
}

fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(field));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn text_out(rows: &[Row]) {
    println!("{}", crate::machine());
    println!(
        "{:<58} {:>10} {:>10} {:>6} {:>9} {:>9} {:>8} {:>8} {:>8}",
        "program", "skep us", "kernel us", "ratio", "insns", "kernel", "states", "kernel", "KiB"
    );
    let mut slow: Vec<&Row> = rows.iter().collect();
    slow.sort_by(|a, b| b.ours.us.total_cmp(&a.ours.us));
    for r in slow.iter().take(LISTED) {
        line(r);
    }
    let both: Vec<_> = rows.iter().filter_map(Row::both).collect();
    let sum = |f: &dyn Fn(&(&Figures, &Figures)) -> f64| both.iter().map(f).sum::<f64>();
    let (us, them) = (sum(&|p| p.0.us), sum(&|p| p.1.us));
    println!(
        "accepted by both: {} of {} programs; {:.1} ms and {:.1} ms, ratio {:.3}; {} and {} instructions, {} and {} states",
        both.len(),
        rows.len(),
        us / 1e3,
        them / 1e3,
        us / them,
        sum(&|p| p.0.insns as f64),
        sum(&|p| p.1.insns as f64),
        sum(&|p| p.0.states as f64),
        sum(&|p| p.1.states as f64),
    );
    let large: Vec<&Row> = rows.iter().filter(|r| r.ours.insns >= LARGE).collect();
    let speed = |r: &&Row| r.ours.insns as f64 / r.ours.us;
    if let Some(slowest) = large.iter().min_by(|a, b| speed(a).total_cmp(&speed(b))) {
        let all = large.iter().map(|r| r.ours.insns as f64).sum::<f64>();
        let time = large.iter().map(|r| r.ours.us).sum::<f64>();
        println!(
            "{} large ones: {:.2} million instructions a second; slowest {} with {:.2}",
            large.len(),
            all / time,
            slowest.name,
            speed(slowest)
        );
    }
    if let Some(r) = rows.iter().max_by_key(|r| r.ours.memory) {
        println!("most memory: {} MiB for {}", r.ours.memory / 1024, r.name);
    }
    let off = |a: u64, b: u64| a.max(b) > 2 * a.min(b).max(8);
    let differ = rows.iter().filter(|r| {
        r.both().is_some_and(|(a, b)| off(a.insns, b.insns) || off(a.states, b.states))
            || r.theirs.as_ref().is_some_and(|t| t.insns > 0 && t.accepted != r.ours.accepted)
    });
    println!("verdict differs, or instructions or states by more than a factor of two:");
    differ.for_each(line);
}

fn line(r: &Row) {
    let t = r.theirs.clone().unwrap_or_default();
    let verdict = |f: &Figures| if f.accepted { ' ' } else { '!' };
    println!(
        "{:<58} {:>9.0}{} {:>9.0}{} {:>6.2} {:>9} {:>9} {:>8} {:>8} {:>8}",
        r.name,
        r.ours.us,
        verdict(&r.ours),
        t.us,
        verdict(&t),
        r.ours.us / t.us,
        r.ours.insns,
        t.insns,
        r.ours.states,
        t.states,
        r.ours.memory
    );
}

fn json_out(rows: &[Row]) {
    let row = |engine: &str, name: &str, f: &Figures, ratio: f64| {
        json!({"engine": engine, "program": name, "ns": f.us * 1e3, "ratio": ratio, "accepted": f.accepted,
               "insns": f.insns, "states": f.states, "peak_states": f.peak, "memory_kib": f.memory})
    };
    let mut out: Vec<Value> = Vec::new();
    for r in rows {
        let ratio = r.theirs.as_ref().map_or(f64::NAN, |t| r.ours.us / t.us);
        out.push(row("skep", &r.name, &r.ours, ratio));
        out.extend(r.theirs.as_ref().map(|t| row("kernel", &r.name, t, 1.0)));
    }
    println!("{}", json!({"apiVersion": 1, "machine": crate::machine(), "rows": out}));
}
