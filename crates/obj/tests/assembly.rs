//! Object files to assembly text and back: the examples' objects always, and those of a folder that
//! `SKEP_OBJECTS` names.
#![allow(clippy::unwrap_used)]

use skep_isa::asm::{self, AsmObject, Contents, Target};
use skep_obj::asm::{Detail, from_elf, to_elf};
use skep_obj::{MapOrigin, Object};
use std::path::{Path, PathBuf};

fn objects() -> Vec<PathBuf> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(examples).unwrap().map(|e| e.unwrap().path()).collect();
    folders.extend(std::env::var_os("SKEP_OBJECTS").map(PathBuf::from));
    let files = folders.iter().filter_map(|f| std::fs::read_dir(f).ok()).flatten().map(|e| e.unwrap().path());
    files.filter(|f| f.extension().is_some_and(|e| e == "o")).collect()
}

/// Every section's instructions and relocations.
type Essence = Vec<(String, Contents, Vec<(u64, u32, Target)>)>;

fn essence(object: &AsmObject) -> Essence {
    let mut all: Essence = object
        .sections
        .iter()
        .map(|s| {
            let relocs = s.relocs.iter().map(|r| (r.offset, r.kind, r.target.clone())).collect();
            (s.name.clone(), s.contents.clone(), relocs)
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn objects_survive_text() {
    let files = objects();
    assert!(files.len() >= 6);
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        if Object::parse(&bytes).is_err() {
            continue;
        }
        for detail in [Detail::Auto, Detail::Readable, Detail::Exact] {
            let object = from_elf(&bytes, detail).unwrap();
            let text = object.to_string();
            let again = asm::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            assert_eq!(again, object, "{}", file.display());
            let elf = to_elf(&again).unwrap_or_else(|e| panic!("{} {detail:?}: {e}", file.display())).write();
            let back =
                from_elf(&elf, detail).unwrap_or_else(|e| panic!("{} {detail:?}: {e}", file.display()));
            assert_eq!(essence(&back), essence(&object), "{} {detail:?}", file.display());
            same_object(&bytes, &elf, detail, &file);
        }
    }
}

/// The loader sees the same programs, references and map definitions.
fn same_object(before: &[u8], after: &[u8], detail: Detail, file: &Path) {
    let (before, after) = (Object::parse(before).unwrap(), Object::parse(after).unwrap());
    let place = format!("{} {detail:?}", file.display());
    assert_eq!(before.license, after.license, "{place}");
    assert_eq!(before.functions.len(), after.functions.len(), "{place}");
    for f in &before.functions {
        let found = after.functions.iter().find(|g| (&g.section, g.offset) == (&f.section, f.offset));
        let g = found.unwrap_or_else(|| panic!("{place}: {}", f.name));
        assert_eq!(
            (&f.insns, f.relocs.len(), f.linkage, f.hidden),
            (&g.insns, g.relocs.len(), g.linkage, g.hidden)
        );
        if detail != Detail::Readable && !f.core.is_empty() || detail == Detail::Exact {
            assert_eq!(f.core.len(), g.core.len(), "{place}: {}", f.name);
            assert_eq!(f.lines.len(), g.lines.len(), "{place}: {}", f.name);
        }
    }
    if detail == Detail::Readable && before.maps.iter().any(|m| matches!(m.origin, MapOrigin::StructOps(_))) {
        return;
    }
    let maps = |o: &Object| {
        let mut all: Vec<_> = o
            .maps
            .iter()
            .map(|m| {
                let d = &m.def;
                let inner = d.inner.as_ref().map(|i| (i.map_type, i.key_size, i.value_size, i.max_entries));
                let numbers = (d.key_size, d.value_size, d.max_entries, d.flags, d.map_extra, d.pin_by_name);
                (
                    d.name.clone(),
                    d.map_type as u32,
                    numbers,
                    inner.map(|i| (i.0 as u32, i.1, i.2, i.3)),
                    m.slots.len(),
                )
            })
            .filter(|m| detail != Detail::Readable || m.0 != ".kconfig")
            .collect();
        all.sort();
        all
    };
    assert_eq!(maps(&before), maps(&after), "{place}");
}

#[test]
fn text_makes_an_object() {
    let text = ".license GPL\n\
                .map inner, type=array, key_size=4, value_size=8, max_entries=3\n\
                .map outer, type=hash_of_maps, key_size=4, value_size=4, max_entries=9, map_flags=1, pinning=1\n\
                .inner type=array, key_size=4, value_size=8, max_entries=3\n\
                .value 2, inner\n\
                .map tails, type=prog_array, key_size=4, value_size=4, max_entries=2\n\
                .value 1, pass\n\
                .extern bpf_rdonly_cast, func, section=.ksyms\n\
                .section xdp\n.func pass\nr1 = outer ll\ncall bpf_rdonly_cast\nr0 = 2\nexit\n";
    let elf = to_elf(&asm::parse(text).unwrap()).unwrap().write();
    let object = Object::parse(&elf).unwrap();
    assert_eq!(object.license, "GPL");
    assert_eq!(object.functions.len(), 1);
    assert_eq!(object.functions[0].name, "pass");
    let outer = object.maps.iter().find(|m| m.def.name == "outer").unwrap();
    assert_eq!((outer.def.max_entries, outer.def.flags, outer.def.pin_by_name), (9, 1, true));
    assert_eq!(outer.def.inner.as_ref().unwrap().value_size, 8);
    assert_eq!(outer.slots.len(), 1);
    assert_eq!(object.maps.iter().find(|m| m.def.name == "tails").unwrap().slots.len(), 1);
    assert!(object.diagnostics.is_empty(), "{:?}", object.diagnostics);
    let again = from_elf(&elf, Detail::Readable).unwrap().to_string();
    assert!(again.contains(".value 2, inner\n") && again.contains("call bpf_rdonly_cast\n"), "{again}");
}

#[test]
fn what_cannot_be_written_says_why() {
    let cases = [
        (
            ".map m, type=colour",
            "map m: no map type is called colour; use bpftool's word, such as hash, or the number",
        ),
        (
            ".map m, type=hash, section=maps",
            "map m: definitions with .map go to .maps; write those of section maps as data in it",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(to_elf(&asm::parse(text).unwrap()).unwrap_err().to_string(), expected);
    }
}
