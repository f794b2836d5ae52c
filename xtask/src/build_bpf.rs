//! `cargo xtask build-bpf [--check]`: builds every BPF object of the repository from its C source, with clang 19 or newer.
//!
//! Three sets, one list of [`Build`]s: the examples (`examples/NAME/NAME.bpf.c` → `.bpf.o` beside it), the benchmark
//! programs (`bench/` → `bench/objects/`), and the objects of the loader's tests (`tests/objects/src/*.c` → `tests/objects/`).
//! A source says itself how it wants to be built, in lines `// build: OUTPUT FLAGS…`; without one it is built once,
//! with [`DEFAULT_FLAGS`].
//!
//! What always holds: clang runs in the root of the repository on relative paths, so the same compiler gives the same bytes
//! in any folder. `TOOLCHAIN` names the compiler that made the committed objects. `--check` writes nothing there: it
//! builds into `target/` and compares. With that very compiler every byte must be equal; with another one only
//! what runs is compared (code, data, map sections), as debug information and BTF order may differ.

use object::{Object as _, ObjectSection as _, SectionKind};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const OLDEST_CLANG: u32 = 19;
const TOOLCHAIN: &str = "xtask/bpf-toolchain.txt";
const DEFAULT_FLAGS: &[&str] = &["-O2", "-g", "-mcpu=v3"];
const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-missing-field-initializers"];
const HOW_TO_INSTALL: &str = "clang 19 or newer and llvm-strip are needed, and the headers of libbpf and Linux:\n  \
    Debian, Ubuntu:  apt-get install clang-19 llvm-19 libbpf-dev linux-libc-dev\n  \
    Fedora:          dnf install clang llvm libbpf-devel kernel-headers\n\
    CLANG and LLVM_STRIP name others than those found by PATH.";

/// One object to be made.
struct Build {
    source: PathBuf,
    output: PathBuf,
    flags: Vec<String>,
    /// Whether debug information (DWARF) stays in.
    keep_debug: bool,
}

/// The compiler and its strip, found once.
struct Toolchain {
    clang: String,
    strip: String,
    version: String,
    includes: Vec<String>,
}

/// Builds all objects, or with `--check` compares them with the committed ones.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let check = match args {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err("usage: cargo xtask build-bpf [--check]".into()),
    };
    let root = crate::root();
    let tools = Toolchain::find()?;
    let builds = all_builds(root)?;
    if check {
        return check_all(root, &tools, &builds);
    }
    for build in &builds {
        tools.build(root, build, &root.join(&build.output))?;
    }
    write(&root.join(TOOLCHAIN), format!("{}\n", tools.version).as_bytes())?;
    println!("{} objects built with {}", builds.len(), tools.version);
    Ok(())
}

// ---- what there is to build

fn all_builds(root: &Path) -> Result<Vec<Build>, String> {
    let mut builds = Vec::new();
    for folder in entries(root, "examples")? {
        for source in sources(root, &folder)? {
            let output = source.with_extension("o");
            builds.push(Build::plain(source, output));
        }
    }
    for source in
        sources(root, Path::new("bench/programs"))?.into_iter().chain(sources(root, Path::new("bench"))?)
    {
        let name = stem(&source);
        let mut build = Build::plain(source, format!("bench/objects/{name}.bpf.o").into());
        // These sources are written for three targets at once: what one of them leaves unused is no news.
        build.flags.extend(["-DKERNEL", "-Wno-unused-variable", "-Wno-unused-function"].map(String::from));
        builds.push(build);
    }
    for source in sources(root, Path::new("tests/objects/src"))? {
        builds.extend(declared(root, &source)?);
    }
    Ok(builds)
}

impl Build {
    fn plain(source: PathBuf, output: PathBuf) -> Build {
        let flags = DEFAULT_FLAGS.iter().map(|f| f.to_string()).collect();
        Build { source, output, flags, keep_debug: false }
    }
}

/// The builds that a source asks for: `// build: OUTPUT FLAGS…`; the word `keep-debug` keeps DWARF in.
fn declared(root: &Path, source: &Path) -> Result<Vec<Build>, String> {
    let text = String::from_utf8(read(&root.join(source))?)
        .map_err(|_| format!("{}: not UTF-8", source.display()))?;
    let folder = Path::new("tests/objects");
    let mut builds = Vec::new();
    for line in text.lines().filter_map(|l| l.strip_prefix("// build:")) {
        let (keep, mut words): (Vec<_>, Vec<_>) = line.split_whitespace().partition(|w| *w == "keep-debug");
        if words.is_empty() {
            return Err(format!("{}: `// build:` names no output", source.display()));
        }
        let output = folder.join(words.remove(0));
        let flags = words.into_iter().map(String::from).collect();
        builds.push(Build { source: source.into(), output, flags, keep_debug: !keep.is_empty() });
    }
    if builds.is_empty() {
        builds.push(Build::plain(source.into(), folder.join(format!("{}.o", stem(source)))));
    }
    Ok(builds)
}

/// The C sources in a folder, sorted, as paths relative to the root.
fn sources(root: &Path, folder: &Path) -> Result<Vec<PathBuf>, String> {
    if !root.join(folder).is_dir() {
        return Ok(Vec::new());
    }
    let mut found = entries(root, folder)?;
    found.retain(|p| p.extension() == Some(OsStr::new("c")));
    Ok(found)
}

fn entries(root: &Path, folder: impl AsRef<Path>) -> Result<Vec<PathBuf>, String> {
    let folder = folder.as_ref();
    let failed = |e| format!("{}: {e}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join(folder)).map_err(failed)? {
        found.push(folder.join(entry.map_err(failed)?.file_name()));
    }
    found.sort();
    Ok(found)
}

/// `bench/maps.bpf.c` → `maps`.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_string()
}

// ---- building

impl Toolchain {
    fn find() -> Result<Toolchain, String> {
        let named = std::env::var("CLANG").ok();
        let usual = (OLDEST_CLANG..OLDEST_CLANG + 10).map(|n| format!("clang-{n}")).chain(["clang".into()]);
        let candidates: Vec<String> = named.map_or_else(|| usual.collect(), |clang| vec![clang]);
        for clang in &candidates {
            let Some(version) = output(clang, &["--version"]).as_deref().and_then(clang_version) else {
                continue;
            };
            if major(&version) < OLDEST_CLANG {
                continue;
            }
            let strip = find_strip(clang)
                .ok_or_else(|| format!("{clang} is here, but no llvm-strip beside it\n{HOW_TO_INSTALL}"))?;
            return Ok(Toolchain { clang: clang.clone(), strip, version, includes: multiarch_includes() });
        }
        Err(format!("no usable clang among {}\n{HOW_TO_INSTALL}", candidates.join(", ")))
    }

    fn build(&self, root: &Path, build: &Build, to: &Path) -> Result<(), String> {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(|e| format!("{}: {e}", parent.display()))?;
        }
        let mut clang = Command::new(&self.clang);
        clang.current_dir(root).args(["--target=bpf", "-c"]).args(WARNINGS).args(&self.includes);
        clang.args(&build.flags).arg(format!("-ffile-prefix-map={}=.", root.display()));
        execute(clang.arg(&build.source).arg("-o").arg(to), &build.source)?;
        if !build.keep_debug {
            execute(Command::new(&self.strip).arg("-g").arg(to), &build.source)?;
        }
        Ok(())
    }
}

fn execute(command: &mut Command, source: &Path) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("{}: {e}", command.get_program().to_string_lossy()))?;
    if status.success() { Ok(()) } else { Err(format!("{} was not built ({status})", source.display())) }
}

/// Standard output of a program; None where it cannot be run or fails.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

/// `Debian clang version 19.1.7 (3~deb12u1)` → `clang 19.1.7`.
fn clang_version(text: &str) -> Option<String> {
    let number = text.split_once("clang version ")?.1.split_whitespace().next()?;
    Some(format!("clang {number}"))
}

fn major(version: &str) -> u32 {
    let number = version.trim_start_matches("clang ").split('.').next();
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// `clang-19` goes with `llvm-strip-19`, `/opt/bin/clang` with `/opt/bin/llvm-strip`.
fn find_strip(clang: &str) -> Option<String> {
    let named = std::env::var("LLVM_STRIP").ok();
    let beside = clang.rfind("clang").map(|at| format!("{}llvm-strip{}", &clang[..at], &clang[at + 5..]));
    let mut candidates = named.into_iter().chain(beside).chain(["llvm-strip".into()]);
    candidates.find(|strip| output(strip, &["--version"]).is_some())
}

/// Debian keeps `asm/types.h` in a folder named after the host, which clang does not search for another target.
fn multiarch_includes() -> Vec<String> {
    let Ok(found) = fs::read_dir("/usr/include") else { return Vec::new() };
    let names = found.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    let host = format!("{}-linux-gnu", std::env::consts::ARCH);
    names.filter(|n| *n == host).flat_map(|n| ["-idirafter".into(), format!("/usr/include/{n}")]).collect()
}

// ---- checking

fn check_all(root: &Path, tools: &Toolchain, builds: &[Build]) -> Result<(), String> {
    let committed_with = String::from_utf8_lossy(&read(&root.join(TOOLCHAIN))?).trim().to_string();
    let same_tools = committed_with == tools.version;
    let scratch = root.join("target/build-bpf");
    let mut stale = Vec::new();
    for build in builds {
        let fresh = scratch.join(&build.output);
        tools.build(root, build, &fresh)?;
        if let Some(why) = difference(&root.join(&build.output), &fresh, same_tools) {
            stale.push(format!("  {}: {why}", build.output.display()));
        }
    }
    stale.extend(unclaimed(root, builds)?);
    if stale.is_empty() {
        println!(
            "{} objects are current ({}, committed ones: {committed_with})",
            builds.len(),
            tools.version
        );
        return Ok(());
    }
    let advice = if same_tools {
        "run `cargo xtask build-bpf` and commit the objects (or the headers of libbpf or Linux are others here)".into()
    } else {
        format!(
            "the committed objects were built with {committed_with}; judge with that one, or rebuild and commit"
        )
    };
    Err(format!(
        "{} of {} objects are not current\n{}\n{advice}",
        stale.len(),
        builds.len(),
        stale.join("\n")
    ))
}

/// Why the committed object is not what its source gives; None where it is.
fn difference(committed: &Path, fresh: &Path, same_tools: bool) -> Option<String> {
    let (old, new) = match (fs::read(committed), fs::read(fresh)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(e), _) => return Some(format!("cannot be read: {e}")),
        (_, Err(e)) => return Some(format!("the rebuilt one cannot be read: {e}")),
    };
    if old == new {
        return None;
    }
    let (Ok(old), Ok(new)) = (sections(&old), sections(&new)) else {
        return Some("is not an ELF object".into());
    };
    let names: Vec<&str> =
        old.keys().chain(new.keys()).filter(|n| old.get(*n) != new.get(*n)).map(String::as_str).collect();
    match names.as_slice() {
        [] if same_tools => {
            Some("differs outside of code and data (BTF, symbols or debug information)".into())
        }
        [] => None,
        _ => Some(format!("differs in {}", names.join(", "))),
    }
}

/// The contents of all sections that run or are data, by name.
fn sections(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, object::Error> {
    let file = object::File::parse(bytes)?;
    let mut found = BTreeMap::new();
    for section in file.sections() {
        let counts = matches!(
            section.kind(),
            SectionKind::Text | SectionKind::Data | SectionKind::ReadOnlyData | SectionKind::ReadOnlyString
        );
        let name = section.name()?;
        if counts && !name.starts_with(".BTF") {
            found.insert(name.to_string(), section.data()?.to_vec());
        }
    }
    Ok(found)
}

/// Committed objects that no source makes.
fn unclaimed(root: &Path, builds: &[Build]) -> Result<Vec<String>, String> {
    let mut left = Vec::new();
    for folder in ["bench/objects", "tests/objects"] {
        for path in entries(root, folder)? {
            let is_object = path.extension() == Some(OsStr::new("o"));
            if is_object && !builds.iter().any(|b| b.output == path) {
                left.push(format!("  {}: no source makes it", path.display()));
            }
        }
    }
    Ok(left)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_clang_versions_of_several_vendors() {
        let debian = "Debian clang version 19.1.7 (3~deb12u1)\nTarget: x86_64-pc-linux-gnu";
        assert_eq!(clang_version(debian).as_deref(), Some("clang 19.1.7"));
        assert_eq!(clang_version("clang version 20.1.0\n").as_deref(), Some("clang 20.1.0"));
        assert_eq!(clang_version("gcc (GCC) 14.2"), None);
        assert_eq!(major("clang 19.1.7"), 19);
    }

    #[test]
    fn every_source_has_its_committed_object_and_every_object_its_source() {
        let builds = all_builds(crate::root()).unwrap();
        let missing: Vec<_> = builds.iter().filter(|b| !crate::root().join(&b.output).is_file()).collect();
        assert!(missing.is_empty(), "not built: {:?}", missing.iter().map(|b| &b.output).collect::<Vec<_>>());
        assert_eq!(unclaimed(crate::root(), &builds).unwrap(), Vec::<String>::new());
        let mut outputs: Vec<_> = builds.iter().map(|b| &b.output).collect();
        let all = outputs.len();
        outputs.sort();
        outputs.dedup();
        assert_eq!(outputs.len(), all, "two builds write the same object");
    }
}
