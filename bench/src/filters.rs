//! `bench filters`: the usual filters of suite `filters` beside libpcap: length, instructions executed for a packet,
//! nanoseconds to compile, and nanoseconds a packet on each tier.
//!
//! Compile times of libpcap are measured here, in the same rounds, where the machine has the library; its other figures are
//! the suite's, which were measured on another machine. A packet's figure is that of a test run, in the
//! kernel as here: the same packet many times, less the same of a filter that looks at nothing; the mean over packets from all
//! parts of the suite.

mod compile;

use crate::{ROUNDS, machine, median};
use compile::Pcap;
use serde_json::{Value, json};
use skep::Loadable;
use skep::cbpf::{Filter, FilterOptions, Meta, Packet, Target};
use skep::descriptors::Context;
use skep::descriptors::env::CtxData;
use skep::descriptors::packet::Packet as Frame;
use skep::descriptors::program::Program;
use skep::descriptors::uapi::ProgType;
use skep::kernel::{Kernel, KernelProgram};
use skep::vm::{Runner, SystemHost, Tier, User, UserProgram};
use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Tiers that run packets.
const TIERS: [Tier; 3] = [Tier::Interp, Tier::Baseline, Tier::Optimized];
/// Every so many packets of the suite are timed.
const STEP: usize = 128;
/// Runs of a packet in one sample.
const REPEAT: u32 = 256;

struct Row {
    expr: String,
    insns: [usize; 2],
    executed: [f64; 2],
    compile_us: [f64; 2],
    /// Nanoseconds a packet on each tier, in the running kernel, and in that of the suite; NaN where there is no figure.
    ns: Vec<f64>,
    live_ns: f64,
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
    let kernel =
        Kernel::open(*skep::platform()).map_err(|e| eprintln!("bench: without the running kernel: {e}")).ok();
    let libpcap = Pcap::open(FilterOptions::default().snaplen);
    let mut rows = Vec::new();
    for line in table.lines().filter(|l| !l.starts_with('#')) {
        match row(line, &packets, kernel.as_ref(), libpcap.as_ref()) {
            Ok(row) => rows.push(row),
            Err(why) => eprintln!("bench: left out: {why}"),
        }
    }
    print(&rows, libpcap.as_ref(), json);
    Ok(())
}

fn row(
    line: &str,
    packets: &[(u32, Vec<u8>)],
    kernel: Option<&Kernel>,
    libpcap: Option<&Pcap>,
) -> Result<Row, String> {
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
    let (compile, theirs) = compile::times(expr, &options, libpcap)?;
    let nothing = Filter::compile("", &options).map_err(|e| e.to_string())?;
    // What a verifier refuses has no figure; the suite has none of the kernel's either for such a filter.
    let mut sides: Vec<Option<[Side<'_>; 2]>> = Vec::new();
    for tier in TIERS {
        sides.push(
            Side::user(tier, &filter, packets).ok().zip(Side::user(tier, &nothing, packets).ok()).map(pair),
        );
    }
    let live = kernel.and_then(|k| {
        Side::kernel(k, &filter, packets).ok().zip(Side::kernel(k, &nothing, packets).ok()).map(pair)
    });
    sides.push(live);
    let mut ns = net(&mut sides)?;
    let live_ns = ns.pop().unwrap_or(f64::NAN);
    Ok(Row {
        expr: expr.to_owned(),
        insns: [filter.insns().len(), number(0)? as usize],
        executed: [executed, number(5)?],
        compile_us: [compile, theirs.unwrap_or(number(2)?)],
        ns,
        live_ns,
        kernel_ns: number(9)?,
    })
}

fn pair<T>((a, b): (T, T)) -> [T; 2] {
    [a, b]
}

/// Nanoseconds a packet of the first of each pair, less those of the second; rounds are interleaved.
fn net(sides: &mut [Option<[Side<'_>; 2]>]) -> Result<Vec<f64>, String> {
    let mut samples = vec![Vec::new(); sides.len()];
    for _ in 0..ROUNDS {
        for (side, samples) in sides.iter_mut().zip(&mut samples) {
            let Some([filter, nothing]) = side else { continue };
            samples.push(filter.round()? - nothing.round()?);
        }
    }
    Ok(samples.into_iter().map(|s| if s.is_empty() { f64::NAN } else { median(s) }).collect())
}

/// A filter in an engine, and the packets for it.
enum Side<'k> {
    User { runner: Box<Runner>, loaded: Arc<UserProgram>, contexts: Vec<Context> },
    Kernel { kernel: &'k Kernel, loaded: KernelProgram, packets: Vec<Vec<u8>> },
}

impl<'k> Side<'k> {
    fn user(tier: Tier, filter: &Filter, packets: &[(u32, Vec<u8>)]) -> Result<Side<'k>, String> {
        let engine = User::new(*skep::platform(), Arc::new(SystemHost::new())).with_tier(tier);
        let layout = skep::platform().prog_type(ProgType::SocketFilter).and_then(|r| r.layout(None));
        let layout = layout.ok_or("no socket filters")?;
        let program = program(filter)?;
        let verified =
            skep::verifier::verify(&program, skep::platform(), &skep::verifier::Options::default());
        let verified = Loadable::Verified(verified.map_err(|e| e.to_string())?);
        let loaded = engine.load_program(&verified).map_err(|e| e.to_string())?;
        let context = |(_, bytes): &(u32, Vec<u8>)| {
            let mut frame = Frame::new();
            frame.set(bytes);
            Context { layout, data: CtxData::Packet(frame) }
        };
        let contexts = packets.iter().step_by(STEP).map(context).collect();
        Ok(Side::User { runner: Box::new(engine.runner()), loaded, contexts })
    }

    fn kernel(kernel: &'k Kernel, filter: &Filter, packets: &[(u32, Vec<u8>)]) -> Result<Side<'k>, String> {
        let loaded = kernel.load_program(&program(filter)?).map_err(|e| e.to_string())?;
        // A test run takes the first Ethernet header away from a socket filter.
        let framed = |(_, bytes): &(u32, Vec<u8>)| [&[0; 14], bytes.as_slice()].concat();
        let short = |(_, bytes): &&(u32, Vec<u8>)| bytes.len() < 3000;
        let packets = packets.iter().step_by(STEP).filter(short).map(framed).collect();
        Ok(Side::Kernel { kernel, loaded, packets })
    }

    /// Nanoseconds a packet.
    fn round(&mut self) -> Result<f64, String> {
        match self {
            Side::User { runner, loaded, contexts } => {
                let began = Instant::now();
                for ctx in contexts.iter_mut() {
                    for _ in 0..REPEAT {
                        black_box(runner.run(loaded, ctx).map_err(|e| e.to_string())?);
                    }
                }
                Ok(began.elapsed().as_nanos() as f64 / (contexts.len() as f64 * f64::from(REPEAT)))
            }
            Side::Kernel { kernel, loaded, packets } => {
                let mut sum = 0.0;
                for packet in packets.iter() {
                    let ran = kernel.run(loaded, packet, &[], REPEAT).map_err(|e| e.to_string())?;
                    sum += f64::from(ran.ns);
                }
                Ok(sum / packets.len() as f64)
            }
        }
    }
}

fn program(filter: &Filter) -> Result<Arc<Program>, String> {
    let insns = filter.to_ebpf(&Target::SOCKET_FILTER).map_err(|e| e.to_string())?;
    Ok(Arc::new(Program::from_insns("filter", ProgType::SocketFilter, insns)))
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

fn print(rows: &[Row], libpcap: Option<&Pcap>, json: bool) {
    if json {
        let rows: Vec<Value> = rows.iter().flat_map(|r| {
            TIERS.iter().zip(&r.ns).map(move |(tier, ns)| json!({
                "engine": tier.name(), "program": r.expr, "ns": ns, "ratio": ns / r.kernel_ns, "compile_ns": r.compile_us[0] * 1000.0,
                "insns": r.insns[0], "executed": r.executed[0], "libpcap_compile_ns": r.compile_us[1] * 1000.0,
            }))
        }).collect();
        println!("{}", json!({"apiVersion": 1, "machine": machine(), "rows": rows}));
        return;
    }
    println!(
        "{}; libpcap's figures and those of `kernel` are the suite's, `live` is the running kernel; {}",
        machine(),
        match libpcap {
            Some(p) => format!("compile times beside ours are those of {} here", p.version),
            None => "compile times, too: there is no libpcap.so here".into(),
        }
    );
    let tiers: String = TIERS.iter().map(|t| format!("{:>9}", t.name())).collect();
    println!(
        "{:>5} {:>7}  {:>8} {:>7}  {:>10} {:>7} {tiers} {:>7} {:>7}  expression",
        "insns", "libpcap", "executed", "libpcap", "compile us", "libpcap", "live", "kernel"
    );
    for r in rows {
        let ns: String = r.ns.iter().map(|n| format!("{n:>9.1}")).collect();
        println!(
            "{:>5} {:>7}  {:>8.2} {:>7.2}  {:>10.2} {:>7.1} {ns} {:>7.1} {:>7.1}  {}",
            r.insns[0],
            r.insns[1],
            r.executed[0],
            r.executed[1],
            r.compile_us[0],
            r.compile_us[1],
            r.live_ns,
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
    let above = rows.iter().filter(|r| r.compile_us[0] > r.compile_us[1]).count();
    println!(
        "compile time, us: sum {:.0} (libpcap {:.0}), median {:.2} ({:.1}); above libpcap's: {above} of {}",
        sum(|r| r.compile_us[0]),
        sum(|r| r.compile_us[1]),
        mid(|r| r.compile_us[0]),
        mid(|r| r.compile_us[1]),
        rows.len()
    );
    let seen = |f: &dyn Fn(&Row) -> f64| median(rows.iter().map(f).filter(|ns| !ns.is_nan()).collect());
    let (live, kernel) = (seen(&|r| r.live_ns), mid(|r| r.kernel_ns));
    for (n, tier) in TIERS.iter().enumerate() {
        println!(
            "a packet on {}: median {:.1} ns (running kernel {live:.1}, the suite's {kernel:.1})",
            tier.name(),
            seen(&|r| r.ns[n])
        );
    }
}
