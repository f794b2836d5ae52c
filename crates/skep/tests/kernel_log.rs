//! The verifier's log at level 2 against the running kernel's, line by line, for the kernel's annotated programs.
//!
//! `SKEP_SUITES` and `SKEP_SELFTESTS` as in the test of loads. Where something is missing the test says so and passes. Lines
//! with times or addresses count when they are equal without these. `SKEP_LOGS=FOLDER` writes both logs there,
//! `SKEP_ONLY` picks programs by a part of their name.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say what it did")]

use skep::btf::Btf;
use skep::kernel::{Kernel, KernelProgram, Options as KernelOptions};
use skep::verifier::Options as How;
use skep::verify::{Refusal, verify_object};
use skep::vm::{SystemHost, Tier, User};
use skep::{Collection, Error, Loadable, Object, Options, Select};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Share of equal lines that must hold.
const LEAST: f64 = 0.985;

/// Programs that the kernel walks for longer have logs that do not fit its buffer.
const LONGEST: u64 = 20_000;

fn kernels(object: &Object, prog: &str, flags: u32, btf: &Arc<Btf>) -> Option<String> {
    let mut options = KernelOptions::default();
    (options.prog_flags, options.log_level) = (flags, 2);
    let engine = Kernel::open(*skep::platform()).unwrap().with_options(options);
    let names = [prog];
    let mut options = Options::default();
    options.select = Select::Named(&names);
    options.target_btf = Some(btf.clone());
    let judge = &mut |p| Ok(Loadable::Unverified(Arc::new(p)));
    match Collection::open(object.clone(), &engine, &options, judge) {
        Ok(c) => {
            let loaded = &c.program(prog)?.loaded;
            Some(loaded.as_any().downcast_ref::<KernelProgram>()?.log().to_owned())
        }
        Err(Error::RefusedByKernel(r)) => Some(r.refusal.log.clone()),
        Err(_) => None,
    }
}

fn ours(object: &Object, prog: &str, flags: u32, btf: &Arc<Btf>) -> Option<String> {
    let engine = User::new(*skep::platform(), Arc::new(SystemHost::new())).with_tier(Tier::Checked);
    let mut options = Options::default();
    options.target_btf = Some(btf.clone());
    let how = How {
        log_level: 2,
        strict_alignment: flags & 3 == 1,
        test_state_freq: flags & 8 != 0,
        cpus: std::thread::available_parallelism().map_or(0, |n| n.get() as u32),
        ..How::default()
    };
    let all = verify_object(object, &engine, &options, &how, &|n| n == prog).ok()?;
    all.into_iter().find(|v| v.name == prog).and_then(|v| match v.outcome {
        Ok(o) => Some(o.log),
        Err(Refusal::Verifier(r)) => Some(r.log),
        Err(Refusal::Bind(_)) => None,
    })
}

/// What of a line does not differ from run to run: addresses and times are cut out.
fn plain(line: &str) -> String {
    let line = line.trim_end();
    if line.starts_with("verification time") {
        return "verification time".into();
    }
    // Loads of addresses; what stands behind them is moved by the length of the address.
    match line.find("(18) r").and_then(|at| Some(at + line[at..].find("= 0x")?)) {
        Some(at) => {
            let rest = line[at + 4..].trim_start_matches(|c: char| c.is_ascii_hexdigit());
            format!("{}{}", &line[..at], rest.trim_start())
        }
        None => line.to_string(),
    }
}

/// Lines that both have, whatever their order.
fn equal(a: &str, b: &str) -> usize {
    let mut have: HashMap<String, usize> = HashMap::new();
    a.lines().for_each(|l| *have.entry(plain(l)).or_default() += 1);
    let taken = |l: &str| match have.get_mut(&plain(l)) {
        Some(n) if *n > 0 => {
            *n -= 1;
            1
        }
        _ => 0,
    };
    b.lines().map(taken).sum()
}

#[test]
fn log_is_the_kernels() {
    let skip = |why: String| println!("skipped: {why}");
    if let Err(e) = Kernel::open(*skep::platform()) {
        return skip(e.to_string());
    }
    let Some(folder) = std::env::var_os("SKEP_SELFTESTS").map(PathBuf::from) else {
        return skip("SKEP_SELFTESTS is not set".into());
    };
    let rows = match skep_testkit::suites::dir("selftests") {
        Ok(suite) => skep_testkit::suites::jsonl(&suite.join("dev.jsonl.gz")).unwrap(),
        Err(e) => return skip(e),
    };
    let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        return skip("no BTF of the kernel".into());
    };
    let btf = Arc::new(Btf::parse(&btf).unwrap());
    let (logs, only) = (std::env::var_os("SKEP_LOGS").map(PathBuf::from), std::env::var("SKEP_ONLY").ok());
    let mut objects: HashMap<String, Option<Object>> = HashMap::new();
    let (mut programs, mut whole, mut same, mut lines) = (0, 0, 0, 0);
    for row in &rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let (obj, prog) = (text("obj"), text("prog"));
        if row["processed"].as_u64().unwrap_or(0) > LONGEST
            || only.as_ref().is_some_and(|o| !format!("{obj}:{prog}").contains(o.as_str()))
        {
            continue;
        }
        let opened = objects.entry(obj.clone()).or_insert_with(|| {
            std::fs::read(folder.join(&obj)).ok().and_then(|bytes| Object::parse(&bytes).ok())
        });
        let Some(object) = opened else { continue };
        let flags = row["flags"].as_u64().unwrap_or(0) as u32;
        let Some(theirs) = kernels(object, &prog, flags, &btf) else { continue };
        let Some(own) = ours(object, &prog, flags, &btf) else { continue };
        if let Some(folder) = &logs {
            let name = format!("{}.{prog}", obj.trim_end_matches(".bpf.o"));
            std::fs::write(folder.join(format!("{name}.kernel")), &theirs).unwrap();
            std::fs::write(folder.join(format!("{name}.ours")), &own).unwrap();
        }
        let (a, b) = (equal(&theirs, &own), theirs.lines().count().max(own.lines().count()));
        programs += 1;
        whole += usize::from(a == b);
        (same, lines) = (same + a, lines + b);
    }
    let share = same as f64 / lines.max(1) as f64;
    println!("{programs} programs, {whole} logs equal; {same} of {lines} lines, {:.1} %", share * 100.0);
    assert!(only.is_some() || programs == 0 || share >= LEAST, "{share}");
}
