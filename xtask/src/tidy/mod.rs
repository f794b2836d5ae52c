//! `cargo xtask tidy`: the rules of the house that no compiler checks. Each check gives a list of faults; all are shown.

mod documents;
mod layers;
mod sections;
mod sources;
mod tables;

use std::path::Path;

/// A check: what it is about, and the faults it finds.
type Check = (&'static str, fn(&Path) -> Result<Vec<String>, String>);

static CHECKS: &[Check] = &[
    ("crates import downwards only", layers::check),
    ("unsafe code stands where it is allowed", sources::check_unsafe),
    ("files begin with a comment and are of one concern", sources::check_files),
    ("documents name files that exist", documents::check),
    ("section names are libbpf's", sections::check),
    ("tables agree with the kernel's source", tables::check),
];

pub(crate) fn run(_: &[String]) -> Result<(), String> {
    let mut faults = 0;
    for (about, check) in CHECKS {
        let found = check(crate::root())?;
        println!("{} {about}", if found.is_empty() { "ok    " } else { "FAULTY" });
        for f in &found {
            println!("       {f}");
        }
        faults += found.len();
    }
    if faults == 0 { Ok(()) } else { Err(format!("{faults} faults")) }
}

/// Every file below a folder with this ending, in order; build folders left out.
fn files(folder: &Path, ending: &str) -> Vec<std::path::PathBuf> {
    let mut out = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && name != ".git" {
                open.push(path);
            } else if name.to_string_lossy().ends_with(ending) {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}
