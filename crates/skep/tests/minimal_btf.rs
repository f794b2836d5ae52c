//! Objects fitted to a minimal BTF have the instructions that they have when they are fitted to the kernel's whole BTF.
//!
//! The objects are those of the repository, and those of the folders in `SKEP_OBJECTS` (divided by colons). Each has a minimal
//! BTF of its own, and all together have one. Without `/sys/kernel/btf/vmlinux` the test says so and checks nothing.
#![allow(clippy::print_stdout)]

use skep::Object;
use skep::btf::Btf;
use skep::btf::core::{Cache, CoreError, CoreReloKind, Minimal, Relocated, resolve};
use std::path::{Path, PathBuf};

/// Answers to all relocations of an object, without what is an id or an error's place.
fn answers(object: &Object, target: &Btf) -> Vec<Result<Relocated, String>> {
    let Some(local) = &object.btf else { return Vec::new() };
    let mut cache = Cache::default();
    let plain = |kind, r: Relocated| Relocated {
        target_type_id: None,
        new: if kind == Some(CoreReloKind::TypeIdTarget) { u64::from(r.poison) } else { r.new },
        ..r
    };
    let relocs = object.functions.iter().flat_map(|f| &f.core).map(|c| &c.record);
    let answer =
        |r| resolve(local, r, target, &mut cache).map(|a| plain(r.kind(), a)).map_err(|e| e.to_string());
    relocs.map(answer).collect()
}

fn mark(minimal: &mut Minimal<'_>, object: &Object) -> Result<(), CoreError> {
    let Some(local) = &object.btf else { return Ok(()) };
    object.functions.iter().flat_map(|f| &f.core).try_for_each(|c| minimal.add(local, &c.record))
}

fn objects() -> Vec<(PathBuf, Object)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders = vec![root.join("tests/objects"), root.join("bench/objects")];
    folders
        .extend(std::fs::read_dir(root.join("examples")).expect("it is there").flatten().map(|e| e.path()));
    let given = std::env::var_os("SKEP_OBJECTS").unwrap_or_default();
    folders.extend(std::env::split_paths(&given).filter(|p| !p.as_os_str().is_empty()));
    let files =
        folders.iter().filter_map(|f| std::fs::read_dir(f).ok()).flat_map(|d| d.flatten().map(|e| e.path()));
    let mut files: Vec<PathBuf> = files.filter(|p| p.extension().is_some_and(|e| e == "o")).collect();
    files.sort();
    let open = |p: PathBuf| Some((Object::parse(&std::fs::read(&p).ok()?).ok()?, p));
    files.into_iter().filter_map(open).map(|(o, p)| (p, o)).collect()
}

#[test]
fn answers_are_those_of_the_whole() {
    let bytes = match std::fs::read(skep::kernel::VMLINUX) {
        Ok(bytes) => bytes,
        Err(e) => return println!("minimal_btf: skipped: {}: {e}", skep::kernel::VMLINUX),
    };
    let whole = Btf::parse(&bytes).expect("the kernel's BTF is sound");
    let (mut relocs, mut found, mut largest, mut malformed) = (0, 0, 0, 0);
    let mut of_all = Minimal::new(&whole);
    let mut expected = Vec::new();
    for (path, object) in objects() {
        let mut minimal = Minimal::new(&whole);
        if mark(&mut minimal, &object).is_err() {
            malformed += 1;
            continue;
        }
        mark(&mut of_all, &object).expect("it has just worked");
        let built = minimal.build().expect("less than the whole").emit();
        let small = Btf::parse(&built).expect("what was built is sound");
        let whole = answers(&object, &whole);
        assert_eq!(answers(&object, &small), whole, "{}", path.display());
        relocs += whole.len();
        found += whole.iter().flatten().filter(|a| !a.poison).count();
        largest = largest.max(built.len());
        expected.push((object, whole));
    }
    let built = of_all.build().expect("less than the whole").emit();
    let small = Btf::parse(&built).expect("what was built is sound");
    assert!(expected.iter().all(|(object, whole)| answers(object, &small) == *whole));
    assert!(found > 10 && built.len() < bytes.len() / 8, "{found} found, {} bytes", built.len());
    println!(
        "minimal_btf: {} objects, {relocs} relocations ({found} with an answer), equal; {malformed} objects malformed; \
         {largest} bytes at most, {} of all together, of {}",
        expected.len(),
        built.len(),
        bytes.len()
    );
}
