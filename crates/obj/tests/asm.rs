//! Objects to assembly and back: `from_asm(from_elf(x))` means what `x` means, for every object of the repository.

mod stub;
mod summary;

use std::path::Path;

use skep_isa::asm::{AsmObject, parse};
use skep_obj::asm::{Detail, from_elf, to_elf};
use skep_obj::{BindEnv, Object};

fn objects() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders = vec![root.join("tests/objects")];
    let examples = std::fs::read_dir(root.join("examples")).expect("examples");
    folders.extend(examples.flatten().map(|e| e.path()));
    if let Some(more) = std::env::var_os("SKEP_OBJECTS") {
        folders.push(more.into());
    }
    let mut found = Vec::new();
    for folder in folders {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "o") {
                found.push((path.display().to_string(), std::fs::read(&path).expect("an object")));
            }
        }
    }
    found
}

/// The text gives the same assembly file back; the bytes of the object file that it makes.
fn round_trip(name: &str, asm: &AsmObject, detail: Detail) -> Vec<u8> {
    let text = asm.to_string();
    let again = parse(&text).unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
    assert!(again == *asm, "{name}: {detail:?}: the text reads back otherwise");
    to_elf(&again).unwrap_or_else(|e| panic!("{name}: {detail:?}: {e}")).write()
}

#[test]
fn exact_assembly_says_everything() {
    for (name, bytes) in objects() {
        let Ok(asm) = from_elf(&bytes, Detail::Exact) else {
            assert!(Object::parse(&bytes).is_err(), "{name} opens and has no assembly");
            continue;
        };
        let again = round_trip(&name, &asm, Detail::Exact);
        if Object::parse(&bytes).is_ok_and(|o| o.btf.is_none()) {
            // Types are made for what has none.
            assert_eq!(programs(&bytes), programs(&again), "{name}");
            continue;
        }
        let (before, after) = (summary::of(&bytes), summary::of(&again));
        assert!(before == after, "{name}:\n{before}\n---\n{after}");
    }
}

/// What the programs of an object are when bound: names, instructions, maps.
fn programs(bytes: &[u8]) -> Vec<(String, Vec<skep_isa::Insn>, Vec<String>)> {
    let object = Object::parse(bytes).expect("an object");
    let maps = stub::maps(&object);
    let mut out = Vec::new();
    for (index, function) in object.functions.iter().enumerate().filter(|f| f.1.is_program()) {
        let Ok(program) = object.bind_index(index, &mut BindEnv::new(&maps)) else { continue };
        let shape = |m: &std::sync::Arc<dyn skep_platform::map::Map>| {
            let d = m.def();
            let inner = d.inner.as_ref().map(|i| (i.map_type, i.key_size, i.value_size, i.max_entries));
            format!("{} {:?} {} {} {} {inner:?}", d.name, d.map_type, d.key_size, d.value_size, d.max_entries)
        };
        out.push((function.name.clone(), program.insns, program.maps.iter().map(shape).collect()));
    }
    out
}

#[test]
fn readable_assembly_keeps_programs_and_maps() {
    for (name, bytes) in objects() {
        let Ok(asm) = from_elf(&bytes, Detail::Readable) else { continue };
        let again = round_trip(&name, &asm, Detail::Readable);
        let externs = Object::parse(&bytes).is_ok_and(|o| !o.externs.is_empty());
        if !externs {
            assert_eq!(programs(&bytes), programs(&again), "{name}");
        }
    }
}

#[test]
fn a_program_type_in_the_text_goes_before_the_section() {
    let asm =
        parse(".license \"GPL\"\n.section anything, code\n.func f, prog_type=xdp\n    r0 = 2\n    exit\n")
            .expect("good");
    let object = Object::from_asm(&asm).expect("an object");
    let entry = object.program("f").and_then(|f| f.entry.clone()).expect("a program");
    assert_eq!(entry.prog_type, skep_platform::ProgType::Xdp);
    assert_eq!(object.license, "GPL");
    assert!(object.diagnostics.is_empty(), "{:?}", object.diagnostics);
}

#[test]
fn mistakes_are_named() {
    let refused = |text: &str| {
        let asm = parse(text).expect("good text");
        Object::from_asm(&asm).expect_err("refused").to_string()
    };
    assert!(refused(".map m, type=no_such, max_entries=1\n.text\n exit\n").contains("no_such"));
    assert!(refused(".section s, code\n.func f, prog_type=nothing\n exit\n").contains("nothing"));
}
