//! `bench filters`: the usual filters of suite `filters` beside libpcap: length, instructions executed for a packet,
//! nanoseconds to compile, and nanoseconds a packet on each tier.
//!
//! libpcap's figures are the suite's; they were measured on another machine. Figures of tiers are less those of a filter that
//! looks at nothing, as the kernel's are.

use crate::{ROUNDS, machine, median};
use serde_json::{Value, json};
use skep::Loadable;
use skep::cbpf::{Filter, FilterOptions, Meta, Packet, Target};
use skep::descriptors::Context;
use skep::descriptors::env::CtxData;
use skep::descriptors::packet::Packet as Frame;
use skep::descriptors::program::Program;
use skep::descriptors::uapi::ProgType;
use skep::vm::{SystemHost, Tier, User};
use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Compilations in one sample.
const BATCH: usize = 20;
/// Tiers that run packets.
const TIERS: [Tier; 2] = [Tier::Interp, Tier::Baseline];
/// Every so many packets of the suite are timed.
const STEP: usize = 16;

struct Row {
    expr: String,
    insns: [usize; 2],
    executed: [f64; 2],
    compile_us: [f64; 2],
    /// Nanoseconds a packet on each tier, and in the kernel.
    ns: Vec<f64>,
    kernel_ns: f64,
}

/// Measures and prints.
pub(crate) fn run(json: bool) -> Result<(), String> {
    let dir = std::env::var_os("SKEP_SUITES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/suites"), PathBuf::from);
    let dir = dir.join("filters");
    let table = std::fs::read_to_string(dir.join("usual_64_libpcap.tsv"))
        .map_err(|e| format!("suite filters is not there ({}): {e}; set SKEP_SUITES", dir.display()))?;
    let packets = packets(&dir.join("eth_mut.bin.gz"))?;
    let mut rows = Vec::new();
    for line in table.lines().filter(|l| !l.starts_with('#')) {
        match row(line, &packets) {
            Ok(row) => rows.push(row),
            Err(why) => eprintln!("bench: left out: {why}"),
        }
    }
    print(&rows, json);
    Ok(())
}

fn row(line: &str, packets: &[(u32, Vec<u8>)]) -> Result<Row, String> {
    let cells: Vec<&str> = line.split('\t').collect();
    let number =
        |n: usize| cells.get(n).and_then(|c| c.parse::<f64>().ok()).ok_or(format!("not a row: {line}"));
    let expr = cells.last().copied().unwrap_or_default();
    let options = FilterOptions { netmask: Some(0xffff_ff00), ..FilterOptions::default() };
    let filter = Filter::compile(expr, &options).map_err(|e| format!("{expr}: {e}"))?;
    let meta = Meta::default();
    let steps = packets.iter().map(|(len, bytes)| {
        filter.program().run_counting(&Packet { len: *len, ..Packet::new(bytes, &meta) }).1
    });
    let executed = steps.sum::<usize>() as f64 / packets.len() as f64;
    let compile = median(
        (0..ROUNDS * 3)
            .map(|_| {
                let began = Instant::now();
                for _ in 0..BATCH {
                    black_box(Filter::compile(black_box(expr), &options).is_ok());
                }
                began.elapsed().as_nanos() as f64 / (BATCH * 1000) as f64
            })
            .collect(),
    );
    let nothing = Filter::compile("", &options).map_err(|e| e.to_string())?;
    // What a verifier refuses has no figure; the suite has none of the kernel's either for such a filter.
    let ns = |t: &Tier| Ok::<f64, String>(on_tier(*t, &filter, packets)? - on_tier(*t, &nothing, packets)?);
    let ns = TIERS.iter().map(|t| ns(t).unwrap_or(f64::NAN));
    Ok(Row {
        expr: expr.to_owned(),
        insns: [filter.insns().len(), number(0)? as usize],
        executed: [executed, number(5)?],
        compile_us: [compile, number(2)?],
        ns: ns.collect(),
        kernel_ns: number(9)?,
    })
}

/// Nanoseconds a packet.
fn on_tier(tier: Tier, filter: &Filter, packets: &[(u32, Vec<u8>)]) -> Result<f64, String> {
    let engine = User::new(*skep::platform(), Arc::new(SystemHost::new())).with_tier(tier);
    let insns = filter.to_ebpf(&Target::SOCKET_FILTER).map_err(|e| e.to_string())?;
    let layout = skep::platform().prog_type(ProgType::SocketFilter).and_then(|r| r.layout(None));
    let layout = layout.ok_or("no socket filters")?;
    let program = Arc::new(Program::from_insns("filter", ProgType::SocketFilter, insns));
    let verified = skep::verifier::verify(&program, skep::platform(), &skep::verifier::Options::default());
    let verified = Loadable::Verified(verified.map_err(|e| e.to_string())?);
    let loaded = engine.load_program(&verified).map_err(|e| e.to_string())?;

    let context = |(_, bytes): &(u32, Vec<u8>)| {
        let mut frame = Frame::new();
        frame.set(bytes);
        Context { layout, data: CtxData::Packet(frame) }
    };
    let mut contexts: Vec<Context> = packets.iter().step_by(STEP).map(context).collect();
    let mut runner = engine.runner();
    let mut samples = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for ctx in &mut contexts {
            black_box(runner.run(&loaded, ctx).map_err(|e| e.to_string())?);
        }
        samples.push(began.elapsed().as_nanos() as f64 / contexts.len() as f64);
    }
    Ok(median(samples))
}

fn packets(path: &Path) -> Result<Vec<(u32, Vec<u8>)>, String> {
    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut all = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).map_err(fail)?)
        .read_to_end(&mut all)
        .map_err(fail)?;
    let (mut out, mut rest) = (Vec::new(), all.as_slice());
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let [c0, c1, c2, c3, l0, l1, l2, l3] = *head;
        let (bytes, next) = tail
            .split_at_checked(u32::from_le_bytes([c0, c1, c2, c3]) as usize)
            .ok_or_else(|| format!("{}: cut short", path.display()))?;
        out.push((u32::from_le_bytes([l0, l1, l2, l3]), bytes.to_vec()));
        rest = next;
    }
    Ok(out)
}

fn print(rows: &[Row], json: bool) {
    if json {
        let rows: Vec<Value> = rows.iter().flat_map(|r| {
            TIERS.iter().zip(&r.ns).map(move |(tier, ns)| json!({
                "engine": tier.name(), "program": r.expr, "ns": ns, "ratio": ns / r.kernel_ns, "compile_ns": r.compile_us[0] * 1000.0,
                "insns": r.insns[0], "executed": r.executed[0],
            }))
        }).collect();
        println!("{}", json!({"apiVersion": 1, "machine": machine(), "rows": rows}));
        return;
    }
    println!("{}; libpcap's figures and the kernel's are the suite's", machine());
    let tiers: String = TIERS.iter().map(|t| format!("{:>9}", t.name())).collect();
    println!(
        "{:>5} {:>7}  {:>8} {:>7}  {:>10} {:>7} {tiers} {:>7}  expression",
        "insns", "libpcap", "executed", "libpcap", "compile us", "libpcap", "kernel"
    );
    for r in rows {
        let ns: String = r.ns.iter().map(|n| format!("{n:>9.1}")).collect();
        println!(
            "{:>5} {:>7}  {:>8.2} {:>7.2}  {:>10.2} {:>7.1} {ns} {:>7.1}  {}",
            r.insns[0],
            r.insns[1],
            r.executed[0],
            r.executed[1],
            r.compile_us[0],
            r.compile_us[1],
            r.kernel_ns,
            r.expr
        );
    }
    let sum = |f: fn(&Row) -> f64| rows.iter().map(f).sum::<f64>();
    let mid = |f: fn(&Row) -> f64| median(rows.iter().map(f).collect());
    println!(
        "sum of instructions {} (libpcap {}), executed {:.1} ({:.1})",
        sum(|r| r.insns[0] as f64),
        sum(|r| r.insns[1] as f64),
        sum(|r| r.executed[0]),
        sum(|r| r.executed[1])
    );
    println!(
        "compile time, us: sum {:.0} (libpcap {:.0}), median {:.2} ({:.1})",
        sum(|r| r.compile_us[0]),
        sum(|r| r.compile_us[1]),
        mid(|r| r.compile_us[0]),
        mid(|r| r.compile_us[1])
    );
    for (n, tier) in TIERS.iter().enumerate() {
        println!(
            "a packet on {}: median {:.1} ns (kernel {:.1})",
            tier.name(),
            median(rows.iter().map(|r| r.ns[n]).filter(|ns| !ns.is_nan()).collect()),
            mid(|r| r.kernel_ns)
        );
    }
}
