//! Every program of folders of objects, judged by this verifier and by the running kernel, one after the other.
//!
//! `SKEP_OBJECTS` names the folders, divided by colons; without it, or without root, the test says so and checks nothing.
//! Each program is loaded alone, as libbpf does with the others' autoload off. Annotations of the kernel's own tests
//! (BTF decl tags `test_prog_flags=`) decide the load flags. `SKEP_LIST=1` lists every difference, `SKEP_ONLY` picks
//! programs; `SKEP_AS=cap-bpf` or `unprivileged` loads with fewer rights. Nothing is attached or pinned.
#![allow(clippy::print_stdout)]

use skep::btf::{Btf, Type};
use skep::descriptors::{EngineError, Platform, Program};
use skep::kernel::{self, Kernel};
use skep::obj::BindEnv;
use skep::verifier::{Mode, Options, verify_full};
use skep::vm::{SystemHost, Tier, User};
use skep::{Object, obj::Kconfig};
use skep_testkit::rights::{self, Rights};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Differences of verdict, and why: `object:program`. One that is in a folder and agrees fails the test.
const KNOWN: &[(&str, &str)] = &[(
    "arena_htab_asm.bpf.o:arena_htab_asm",
    "the kernel engine does not map arenas, which gives them their address",
)];

/// Load flags that both sides know (`BPF_F_*`).
const STRICT: u32 = 1;
const ANY: u32 = 2;
const STATE_FREQ: u32 = 8;

#[derive(Default)]
struct Tally {
    programs: usize,
    accepted: usize,
    refused: usize,
    phrases: usize,
    unreached: usize,
    /// Not even looked at: the loader lacks a right.
    barred: usize,
    unbound: usize,
    differ: BTreeMap<&'static str, Vec<String>>,
    agreed: Vec<String>,
}

struct Judges {
    /// The kernel, by load flags.
    kernels: HashMap<u32, Kernel>,
    types: Arc<Btf>,
    config: Option<Arc<str>>,
    /// Of whoever loads.
    rights: Rights,
}

#[test]
fn agrees_with_the_running_kernel() {
    let Some(folders) = std::env::var_os("SKEP_OBJECTS") else {
        return println!("live_objects: skipped: SKEP_OBJECTS names no folder");
    };
    let mut judges = match judges() {
        Ok(j) => j,
        Err(why) => return println!("live_objects: skipped: {why}"),
    };
    let _open = match (judges.rights == Rights::None).then(rights::Opened::new).transpose() {
        Ok(open) => open,
        Err(e) => return println!("live_objects: skipped: unprivileged programs are locked out: {e}"),
    };
    for folder in std::env::split_paths(&folders) {
        let mut tally = Tally::default();
        for path in objects(&folder) {
            judge_object(&path, &mut judges, &mut tally);
        }
        report(&folder, &tally);
    }
}

fn judges() -> Result<Judges, String> {
    let kernel = Kernel::open(platform()).map_err(|e| e.to_string())?;
    let bytes = std::fs::read("/sys/kernel/btf/vmlinux").map_err(|e| e.to_string())?;
    let types = Arc::new(Btf::parse(&bytes).map_err(|e| e.to_string())?);
    Ok(Judges { kernels: HashMap::from([(0, kernel)]), types, config: config(), rights: Rights::asked() })
}

fn platform() -> Platform {
    *skep::platform()
}

/// Configuration that the kernel shows of itself.
fn config() -> Option<Arc<str>> {
    let out = std::process::Command::new("gzip").args(["-dc", "/proc/config.gz"]).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into())
}

fn objects(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is readable");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "o"));
    paths.sort();
    paths
}

/// Flags that an annotation of the kernel's tests asks for.
fn flags(btf: Option<&Btf>, func: u32) -> u32 {
    let tags = btf.into_iter().flat_map(|b| b.own_types()).filter_map(|(_, t)| match t {
        Type::DeclTag(t) if t.type_id == func => t.name.rsplit_once("test_prog_flags=").map(|(_, f)| f),
        _ => None,
    });
    let one = |f: &str| match f {
        "BPF_F_STRICT_ALIGNMENT" => STRICT,
        "BPF_F_ANY_ALIGNMENT" => ANY,
        "BPF_F_TEST_STATE_FREQ" => STATE_FREQ,
        _ => 0,
    };
    tags.map(one).fold(0, |a, b| a | b)
}

fn judge_object(path: &Path, judges: &mut Judges, tally: &mut Tally) {
    let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let only = std::env::var("SKEP_ONLY").ok();
    let bytes = std::fs::read(path).expect("the object is readable");
    let Ok(object) = Object::parse(&bytes) else {
        return tally.differ.entry("object not read").or_default().push(file);
    };
    let text = judges.config.clone().unwrap_or_default();
    let mut options = skep::Options::default();
    options.target_btf = Some(judges.types.clone());
    options.kconfig =
        Kconfig { text: &text, kernel_version: 0x6_12_00, has_bpf_cookie: true, has_syscall_wrapper: true };
    // Both bind the program to maps of their own: the verifier reads constants in those of the user engine.
    let user = User::new(platform(), Arc::new(SystemHost::new())).with_tier(Tier::Checked);
    let paper = skep::verify::filled_maps(&object, &user, &options);
    let made = judges.kernels.get(&0).map(|k| {
        // The kernel notes on maps, too, who made them.
        let made = rights::with(judges.rights, || skep::verify::filled_maps(&object, k, &options).ok());
        made.expect("capabilities can be dropped").ok_or(())
    });
    let (Ok(paper), Some(Ok(maps))) = (paper, made) else {
        return tally.differ.entry("maps not made").or_default().push(file);
    };
    let symbols = judges.types.clone();
    let symbol = |name: &str| skep::verify::symbol(&symbols, name);
    let (mut ours, mut theirs) = (BindEnv::new(&paper), BindEnv::new(&maps));
    for env in [&mut ours, &mut theirs] {
        env.target_btf = options.target_btf.clone();
        env.ksym = Some(&symbol);
    }
    for f in object.programs() {
        let name = format!("{file}:{}", f.name);
        if only.as_ref().is_some_and(|o| !name.contains(o.as_str())) {
            continue;
        }
        let flags = flags(object.btf.as_deref(), f.type_id);
        match (object.bind(&f.name, &mut ours), object.bind(&f.name, &mut theirs)) {
            (Ok(a), Ok(b)) => judge_program(&name, [Arc::new(a), Arc::new(b)], flags, judges, tally),
            _ => tally.unbound += 1,
        }
    }
}

fn judge_program(
    name: &str,
    [ours, theirs]: [Arc<Program>; 2],
    flags: u32,
    judges: &mut Judges,
    tally: &mut Tally,
) {
    tally.programs += 1;
    let how = Options {
        mode: match judges.rights {
            Rights::All => Mode::Privileged,
            Rights::Bpf => Mode::Bpf,
            Rights::None => Mode::Unprivileged,
        },
        strict_alignment: flags & (STRICT | ANY) == STRICT,
        test_state_freq: flags & STATE_FREQ != 0,
        config: judges.config.clone(),
        cpus: u32::try_from(kernel::possible_cpus()).unwrap_or(0),
        ..Options::default()
    };
    let ours = verify_full(&ours, skep::platform(), &how);
    let kernel = judges.kernels.entry(flags).or_insert_with(|| {
        let mut asked = kernel::Options::default();
        asked.prog_flags = flags;
        Kernel::open(platform()).expect("it has just been opened").with_options(asked)
    });
    let why = |e: &skep::verifier::Rejection| e.to_string().lines().next().unwrap_or("").to_owned();
    let mut differ =
        |kind, line: String| tally.differ.entry(kind).or_default().push(format!("{name}\n    {line}"));
    let loaded = rights::with(judges.rights, || kernel.load_program(&theirs));
    match (ours, loaded.expect("capabilities can be dropped")) {
        (Ok(_), Ok(_)) => tally.accepted += 1,
        (Err(e), Ok(_)) => differ("we refuse", why(&e)),
        (Ok(_), Err(EngineError::Refused(r))) => differ("WE ACCEPT", r.message),
        (Err(e), Err(EngineError::Refused(r))) => {
            tally.refused += 1;
            let said = |l: &str| r.log.lines().any(|k| k == l || k.strip_suffix('\n') == Some(l));
            // A phrase without a newline of its own runs into the counts.
            let glued = || {
                r.log.lines().any(|k| {
                    k.starts_with(e.message())
                        && (k.contains("verification time") || k.contains("processed "))
                })
            };
            if e.reject.lines().flat_map(str::lines).any(said) || glued() {
                tally.phrases += 1;
            } else {
                differ("phrase", format!("kernel: {}\n    ours:   {}", r.message, e.message()));
            }
        }
        (Err(_), Err(EngineError::Permission { .. })) if judges.rights != Rights::All => tally.barred += 1,
        (Ok(_), Err(EngineError::Permission { why, .. })) if judges.rights != Rights::All => {
            differ("WE ACCEPT", why);
        }
        (_, Err(_)) => {
            tally.unreached += 1;
            return;
        }
    }
    let kinds = ["WE ACCEPT", "we refuse"];
    let off = kinds
        .iter()
        .any(|k| tally.differ.get(k).is_some_and(|v| v.last().is_some_and(|l| l.starts_with(name))));
    if !off {
        tally.agreed.push(name.to_owned());
    }
}

fn report(folder: &Path, t: &Tally) {
    let list = std::env::var_os("SKEP_LIST").is_some();
    let count = |kind: &str| t.differ.get(kind).map_or(0, Vec::len);
    let (wrong, refuse) = (count("WE ACCEPT"), count("we refuse"));
    let judged = t.accepted + t.refused + t.barred + wrong + refuse;
    println!(
        "live_objects: {}: {} programs, {judged} judged by both: {} accepted, {} refused, phrase {}, {} barred by both; \
         we alone accept {wrong}, we alone refuse {refuse}; {} stopped before the kernel's verifier, {} not bound",
        folder.display(),
        t.programs,
        t.accepted,
        t.refused,
        t.phrases,
        t.barred,
        t.unreached,
        t.unbound
    );
    for (kind, cases) in t.differ.iter().filter(|_| list) {
        println!("{kind}: {}", cases.len());
        cases.iter().for_each(|c| println!("  {c}"));
    }
    let listed = |c: &&String| KNOWN.iter().any(|(k, _)| c.lines().next() == Some(k));
    let accepted: Vec<&String> =
        t.differ.get("WE ACCEPT").into_iter().flatten().filter(|c| !listed(c)).collect();
    assert!(accepted.is_empty(), "accepted, and the kernel refuses: {accepted:#?}");
    assert!(refuse * 200 <= judged, "{refuse} of {judged} refused that the kernel accepts");
    assert!(t.phrases * 10 >= t.refused * 9, "{} phrases of {}", t.phrases, t.refused);
    if std::env::var_os("SKEP_AS").is_some() {
        return;
    }
    let gone: Vec<&str> = KNOWN.iter().map(|(k, _)| *k).filter(|k| t.agreed.iter().any(|a| a == k)).collect();
    assert!(gone.is_empty(), "no longer differ, take them off the list: {gone:?}");
}
