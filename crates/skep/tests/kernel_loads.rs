//! The kernel's annotated BPF programs, loaded into the running kernel by our own loader: what libbpf loads, loads; what the
//! verifier refuses, is refused with the phrase that was recorded.
//!
//! `SKEP_SUITES` names the suites' folder, `SKEP_SELFTESTS` the folder of the objects that the suite's `build.sh` made. Where
//! one of them is missing, or the kernel lets us load nothing, the test says so and passes. `SKEP_LIST=1` lists differences.
//!
//! `SKEP_LIBBPF` names a list that libbpf made on this machine (`cargo xtask suites kernel-load` makes it): object, program and
//! outcome, divided by tabs. What loads there has to load here; exceptions stand with their reasons in
//! `data/kernel_loads.tsv`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say what it did")]

use serde_json::Value;
use skep::btf::Btf;
use skep::kernel::{Kernel, Options as KernelOptions};
use skep::{Collection, Error, Loadable, Object, Options, Select};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Programs that libbpf loads and we do not, or the other way round, and why. One that goes away fails the test.
const KNOWN: &[(&str, &str)] = &[];

/// Outcome of a load: accepted, or the verifier's phrase, or an error of the loader's.
enum Outcome {
    Accepted,
    Refused(String),
    Failed(String),
}

fn load(object: &Object, prog: &str, flags: u32, btf: &Arc<Btf>) -> Outcome {
    let mut options = KernelOptions::default();
    options.prog_flags = flags;
    let engine = Kernel::open(*skep::platform()).unwrap().with_options(options);
    let names = [prog];
    let mut options = Options::default();
    options.select = Select::Named(&names);
    options.target_btf = Some(btf.clone());
    let judge = &mut |p| Ok(Loadable::Unverified(Arc::new(p)));
    match Collection::open(object.clone(), &engine, &options, judge) {
        Ok(_) => Outcome::Accepted,
        Err(Error::RefusedByKernel(r)) => Outcome::Refused(r.refusal.message.clone()),
        Err(e) => Outcome::Failed(e.to_string()),
    }
}

fn rows() -> Option<(Vec<Value>, PathBuf, Arc<Btf>)> {
    let skip = |why: String| println!("skipped: {why}");
    Kernel::open(*skep::platform()).map_err(|e| skip(e.to_string())).ok()?;
    let folder = std::env::var_os("SKEP_SELFTESTS").map(PathBuf::from);
    let folder = folder.ok_or("SKEP_SELFTESTS is not set".to_string()).map_err(skip).ok()?;
    let suite = skep_testkit::suites::dir("selftests").map_err(skip).ok()?;
    let rows = skep_testkit::suites::jsonl(&suite.join("dev.jsonl.gz")).map_err(skip).ok()?;
    let btf = std::fs::read("/sys/kernel/btf/vmlinux").map_err(|e| skip(e.to_string())).ok()?;
    Some((rows, folder, Arc::new(Btf::parse(&btf).unwrap())))
}

fn object(path: &Path) -> Result<Object, String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    Object::parse(&bytes).map_err(|e| e.to_string())
}

#[test]
fn what_libbpf_loads_loads_here() {
    let Some((rows, folder, btf)) = rows() else { return };
    let list = std::env::var_os("SKEP_LIST").is_some();
    let mut objects: HashMap<String, Result<Object, String>> = HashMap::new();
    let (mut same, mut refused, mut phrases, mut differ) = (0, 0, 0, Vec::new());
    for row in &rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let (obj, prog) = (text("obj"), text("prog"));
        let opened = objects.entry(obj.clone()).or_insert_with(|| object(&folder.join(&obj)));
        let flags = row["flags"].as_u64().unwrap_or(0) as u32;
        let outcome = match opened {
            Ok(o) => load(o, &prog, flags, &btf),
            Err(e) => Outcome::Failed(e.clone()),
        };
        let log = text("log_tail");
        match (outcome, text("expect") == "accept") {
            (Outcome::Accepted, true) => same += 1,
            (Outcome::Refused(message), false) => {
                same += 1;
                refused += 1;
                phrases += usize::from(log.lines().any(|l| l.trim_end() == message));
                if list && !log.lines().any(|l| l.trim_end() == message) {
                    println!("phrase: {obj}:{prog}: {message}\n    recorded: {:?}", log.lines().last());
                }
            }
            (Outcome::Failed(_), false) => same += 1,
            (Outcome::Accepted, false) => differ.push((format!("{obj}:{prog}"), "accepted".to_string())),
            (Outcome::Refused(e) | Outcome::Failed(e), true) => differ.push((format!("{obj}:{prog}"), e)),
        }
    }
    println!(
        "{} programs: {same} as libbpf; {refused} refused, {phrases} with the recorded phrase",
        rows.len()
    );
    if list {
        differ.iter().for_each(|(name, e)| println!("differs: {name}: {e}"));
    }
    let unknown: Vec<_> = differ.iter().filter(|(n, _)| KNOWN.iter().all(|(k, _)| k != n)).collect();
    assert!(unknown.is_empty(), "{} differ: {unknown:?}", unknown.len());
    let gone: Vec<_> = KNOWN.iter().filter(|(k, _)| differ.iter().all(|(n, _)| k != n)).collect();
    assert!(gone.is_empty(), "no longer differ, take them off the list: {gone:?}");
}

/// Programs of the list that libbpf loads and we do not, and why.
fn exceptions() -> Vec<(String, String)> {
    let rows = include_str!("data/kernel_loads.tsv").lines().filter(|l| !l.starts_with('#'));
    rows.filter_map(|l| l.split_once('\t')).map(|(name, why)| (name.into(), why.into())).collect()
}

#[test]
fn what_libbpf_loads_now_loads_here() {
    let (Some(list), Some(folder)) = (std::env::var_os("SKEP_LIBBPF"), std::env::var_os("SKEP_SELFTESTS"))
    else {
        return println!("skipped: SKEP_LIBBPF and SKEP_SELFTESTS are not set");
    };
    let list = std::fs::read_to_string(list).unwrap();
    let btf = Arc::new(Btf::parse(&std::fs::read("/sys/kernel/btf/vmlinux").unwrap()).unwrap());
    let mut objects: HashMap<&str, Result<Object, String>> = HashMap::new();
    let (mut programs, mut libbpf, mut both, mut more, mut differ) = (0, 0, 0, 0, Vec::new());
    for line in list.lines() {
        let [file, prog, said] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let opened = objects.entry(file).or_insert_with(|| object(&Path::new(&folder).join(file)));
        programs += 1;
        let outcome = match opened {
            Ok(o) if prog != "-" => load(o, prog, 0, &btf),
            Ok(_) => continue,
            Err(e) => Outcome::Failed(e.clone()),
        };
        libbpf += usize::from(said == "loads");
        match outcome {
            Outcome::Accepted if said == "loads" => both += 1,
            Outcome::Accepted => {
                more += 1;
                if std::env::var_os("SKEP_LIST").is_some() {
                    println!("  loads here only: {file}:{prog} (libbpf: {said})");
                }
            }
            Outcome::Refused(e) | Outcome::Failed(e) if said == "loads" => {
                differ.push((format!("{file}:{prog}"), e));
            }
            _ => {}
        }
    }
    let known = exceptions();
    println!(
        "kernel-load: {programs} programs of {} objects: libbpf loads {libbpf}, of which {both} load here, {} are \
         exceptions; {more} load here only",
        objects.len(),
        differ.iter().filter(|(n, _)| known.iter().any(|(k, _)| k == n)).count()
    );
    let unknown: Vec<_> = differ.iter().filter(|(n, _)| known.iter().all(|(k, _)| k != n)).collect();
    assert!(unknown.is_empty(), "{} differ: {unknown:#?}", unknown.len());
    let listed =
        |name: &str| list.lines().any(|l| l.replacen('\t', ":", 1).starts_with(&format!("{name}\t")));
    let gone: Vec<_> =
        known.iter().filter(|(k, _)| listed(k) && differ.iter().all(|(n, _)| k != n)).collect();
    assert!(gone.is_empty(), "no longer differ, take them off the list: {gone:?}");
}
