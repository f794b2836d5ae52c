//! Every object of the repository, in words: `tests/summaries/NAME.txt`. `SKEP_BLESS=1` writes them anew.

mod stub;
mod summary;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Objects below a folder, with a name for each.
fn objects(folder: &Path, found: &mut Vec<(String, PathBuf)>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            objects(&path, found);
        } else if path.extension().is_some_and(|e| e == "o") {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            found.push((name.trim_end_matches(".o").to_owned(), path.clone()));
        }
    }
}

#[test]
fn objects_say_what_they_said() {
    let mut found = Vec::new();
    objects(&root().join("tests/objects"), &mut found);
    objects(&root().join("examples"), &mut found);
    found.sort();
    assert!(found.len() > 30, "the objects of tests/objects and examples are missing");
    let summaries = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/summaries");
    let bless = std::env::var_os("SKEP_BLESS").is_some();
    let mut differ = Vec::new();
    for (name, path) in found {
        let text = summary::of(&std::fs::read(&path).expect("an object"));
        let expected = summaries.join(format!("{name}.txt"));
        if bless {
            std::fs::write(&expected, &text).expect("a summary");
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != text {
            differ.push(name);
        }
    }
    assert!(differ.is_empty(), "differ from their summaries (SKEP_BLESS=1 writes them anew): {differ:?}");
}
