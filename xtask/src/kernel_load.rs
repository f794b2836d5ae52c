//! The kernel engine's loader beside libbpf's: which objects and programs load, and how long it takes.
//!
//! `cargo xtask suites kernel-load [DIR]`: every program of the folder's objects alone through libbpf (`libbpf_load.c`, built here)
//! and through the kernel engine; every object whole through `bpftool prog loadall` and `skep prog loadall`. What loads there
//! has to load here. `cargo xtask bench kernel-load [FILE…]`: the time of the two commands, one after the other in turns.
//!
//! Both work in a mount namespace with a bpf file system of their own: nothing stays mounted or pinned, however they end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the namespace: the folder where the bpf file system is mounted.
const INSIDE: &str = "SKEP_KERNEL_LOAD";
/// Times that each object is loaded by either command.
const ROUNDS: usize = 40;
/// Our time at most, in libbpf's.
const MOST: f64 = 1.2;

/// Objects of the repository that are measured beside those of the selftests' folder.
const EXAMPLES: [&str; 8] =
    ["dispatch", "firewall", "flowmon", "lb", "pktsize", "sockfilter", "switches", "tcrewrite"];
/// Objects of the selftests that bpftool loads whole, of different sizes.
const SELFTESTS: [&str; 6] = [
    "tailcall_bpf2bpf_hierarchy2",
    "test_global_func16",
    "verifier_bounds_deduction_non_const",
    "verifier_div0",
    "verifier_masking",
    "verifier_subreg",
];

/// `suites kernel-load [DIR]`.
pub(crate) fn compare(words: &[String]) -> Result<(), String> {
    let folder = words.first().map_or(crate::root().join("target/selftests"), PathBuf::from);
    let objects = crate::suites::files(&folder, ".o");
    if objects.is_empty() {
        return Err(format!(
            "{}: no objects there; `cargo xtask suites selftests` makes them",
            folder.display()
        ));
    }
    let Some(at) = inside(&["suites", "kernel-load"], std::slice::from_ref(&folder))? else { return Ok(()) };
    let list = libbpf(&objects)?;
    let told = crate::suites::in_tests_given(
        "skep",
        "kernel_loads",
        "kernel-load",
        &[("SKEP_LIBBPF", list.into()), ("SKEP_SELFTESTS", folder.into())],
    )?;
    println!("{told}");
    let (mut theirs, mut both, mut only) = (0, 0, Vec::new());
    for object in &objects {
        let (bpftool, skep) = (run(&at, &bpftool(object, &at)), run(&at, &skep(object, &at)));
        theirs += usize::from(bpftool.is_ok());
        match (bpftool, skep) {
            (Ok(_), Ok(_)) => both += 1,
            (Ok(_), Err(e)) => only.push(format!("{}: {e}", object.display())),
            _ => {}
        }
    }
    println!(
        "kernel-load: {} objects whole: bpftool loads {theirs}, of which {both} load here",
        objects.len()
    );
    if only.is_empty() { Ok(()) } else { Err(format!("bpftool alone loads\n{}", only.join("\n"))) }
}

/// `bench kernel-load [FILE…]`.
pub(crate) fn measure(words: &[String]) -> Result<(), String> {
    let mut objects: Vec<PathBuf> = words.iter().map(PathBuf::from).collect();
    if objects.is_empty() {
        let selftests =
            std::env::var_os("SKEP_SELFTESTS").map_or(crate::root().join("target/selftests"), PathBuf::from);
        objects.extend(EXAMPLES.iter().map(|e| crate::root().join(format!("examples/{e}/{e}.bpf.o"))));
        objects.extend(SELFTESTS.iter().map(|e| selftests.join(format!("{e}.bpf.o"))));
        objects.retain(|o| o.exists());
    }
    let Some(at) = inside(&["bench", "kernel-load"], &objects)? else { return Ok(()) };
    println!("{:<44} {:>9} {:>9} {:>6}", "object", "bpftool", "skep", "ratio");
    let mut ratios = Vec::new();
    for object in &objects {
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        let failed = |e| format!("{}: {e}", object.display());
        for round in 0..ROUNDS {
            // What one left behind the kernel tidies up while the other runs: each comes first in turn.
            if round % 2 == 0 {
                theirs.push(run(&at, &bpftool(object, &at)).map_err(failed)?);
                ours.push(run(&at, &skep(object, &at)).map_err(failed)?);
            } else {
                ours.push(run(&at, &skep(object, &at)).map_err(failed)?);
                theirs.push(run(&at, &bpftool(object, &at)).map_err(failed)?);
            }
        }
        let (theirs, ours) = (median(&mut theirs), median(&mut ours));
        let ratio = ours / theirs;
        let name = object.file_name().unwrap_or_default().to_string_lossy();
        println!("{name:<44} {:>6.2} ms {:>6.2} ms {ratio:>6.2}", theirs * 1e3, ours * 1e3);
        ratios.push(ratio);
    }
    let worst = ratios.iter().copied().fold(0.0, f64::max);
    let middle = ratios.len() / 2;
    ratios.sort_by(f64::total_cmp);
    let median = ratios[middle];
    println!("median {median:.2}, worst {worst:.2} of bpftool's time (asked: at most {MOST})");
    if median <= MOST { Ok(()) } else { Err(format!("more than {MOST} times bpftool's time")) }
}

/// The bpf file system, in the namespace; outside of it the chore is run again in one, and there is nothing left to do.
fn inside(chore: &[&str], paths: &[PathBuf]) -> Result<Option<PathBuf>, String> {
    if let Some(at) = std::env::var_os(INSIDE) {
        return Ok(Some(at.into()));
    }
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--release", "--package", "skep-cli"])
        .current_dir(crate::root())
        .status();
    if !built.is_ok_and(|s| s.success()) {
        return Err("skep cannot be built".into());
    }
    let at = std::env::temp_dir().join(format!("skep-kernel-load-{}", std::process::id()));
    std::fs::create_dir_all(&at).map_err(|e| format!("{}: {e}", at.display()))?;
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    let full = |p: &PathBuf| p.canonicalize().map_err(|e| format!("{}: {e}", p.display()));
    let paths = paths.iter().map(full).collect::<Result<Vec<_>, _>>()?;
    let ran = Command::new("unshare")
        .args(["--mount", "sh", "-c", "mount -t bpf bpf \"$0\" && exec \"$@\""])
        .arg(&at)
        .arg(me)
        .args(chore)
        .args(paths)
        .env(INSIDE, &at)
        .status();
    // The file system was the namespace's and has gone with it.
    std::fs::remove_dir(&at).map_err(|e| format!("{}: {e}", at.display()))?;
    match ran {
        Ok(s) if s.success() => Ok(None),
        Ok(_) => Err("it takes root, bpftool, libbpf-dev and a C compiler; see above".into()),
        Err(e) => Err(format!("unshare: {e}")),
    }
}

/// Builds the judge and lets it judge; the list that it writes.
fn libbpf(objects: &[PathBuf]) -> Result<PathBuf, String> {
    let folder = target().join("kernel-load");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let (judge, list) = (folder.join("libbpf_load"), folder.join("libbpf.tsv"));
    let source = crate::root().join("xtask/src/libbpf_load.c");
    let built = Command::new("cc").args(["-O1", "-o"]).arg(&judge).arg(source).arg("-lbpf").status();
    if !built.is_ok_and(|s| s.success()) {
        return Err("libbpf_load.c cannot be built; install libbpf-dev and a C compiler".into());
    }
    let said = Command::new(&judge).args(objects).stderr(Stdio::null()).output();
    let said = said.map_err(|e| format!("{}: {e}", judge.display()))?;
    std::fs::write(&list, said.stdout).map_err(|e| format!("{}: {e}", list.display()))?;
    Ok(list)
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or(crate::root().join("target"), PathBuf::from)
}

fn bpftool(object: &Path, at: &Path) -> Vec<PathBuf> {
    vec!["bpftool".into(), "prog".into(), "loadall".into(), object.into(), at.join("x")]
}

fn skep(object: &Path, at: &Path) -> Vec<PathBuf> {
    let pins = at.to_path_buf();
    let skep = target().join("release/skep");
    vec![skep, "prog".into(), "loadall".into(), object.into(), at.join("x"), "--pin-root".into(), pins]
}

/// Runs a command that pins below `at`, and takes the pins away again; how long it took, or the last thing it said.
fn run(at: &Path, words: &[PathBuf]) -> Result<Duration, String> {
    let began = Instant::now();
    let ran = Command::new(&words[0]).args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let took = began.elapsed();
    if at.join("x").exists() {
        std::fs::remove_dir_all(at.join("x")).map_err(|e| e.to_string())?;
    }
    let ran = ran.map_err(|e| format!("{}: {e}", words[0].display()))?;
    if ran.status.success() {
        return Ok(took);
    }
    Err(String::from_utf8_lossy(&ran.stderr).lines().last().unwrap_or_default().to_owned())
}

/// Seconds in the middle.
fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}
