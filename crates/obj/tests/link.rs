//! Static linking: what is bound to what, and what is refused.

mod stub;
mod summary;

use std::path::Path;

use skep_obj::{BindEnv, LinkErrorKind, Linkage, Object, link};

fn object(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/objects").join(name);
    std::fs::read(path).expect("an object of tests/objects")
}

/// `tests/summaries/linked.txt`; `SKEP_BLESS=1` writes it anew.
#[test]
fn two_halves_become_one_object() {
    let linked = link(&[&object("link_a.o"), &object("link_b.o")]).expect("linked");
    let text = summary::of(&linked);
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/summaries/linked.txt");
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write(&expected, &text).expect("a summary");
    }
    assert_eq!(text, std::fs::read_to_string(&expected).unwrap_or_default());
}

#[test]
fn nothing_stays_extern_that_is_defined() {
    let linked = link(&[&object("link_a.o"), &object("link_b.o")]).expect("linked");
    let object = Object::parse(&linked).expect("an object");
    assert!(object.externs.is_empty(), "{:?}", object.externs);
    let maps = stub::maps(&object);
    for index in 0..object.functions.len() {
        object.bind_index(index, &mut BindEnv::new(&maps)).expect("bound");
    }
    let mut names: Vec<_> =
        object.functions.iter().filter(|f| f.linkage != Linkage::Static).map(|f| &f.name).collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "a global name twice");
}

#[test]
fn one_object_linked_alone_means_the_same() {
    for name in [
        "globals.o",
        "map_in_map.o",
        "prog_array.o",
        "kfuncs.o",
        "callbacks.o",
        "instructions_v4.o",
        "core.o",
    ] {
        let bytes = object(name);
        let linked = link(&[&bytes]).unwrap_or_else(|e| panic!("{name}: {e}"));
        let bound = |bytes: &[u8]| {
            let object = Object::parse(bytes).expect("an object");
            let maps = stub::maps(&object);
            let all = object.functions.iter().enumerate().filter(|f| f.1.is_program());
            let programs =
                all.map(|(index, _)| object.bind_index(index, &mut BindEnv::new(&maps)).map(|p| p.insns));
            programs.collect::<Vec<_>>()
        };
        assert_eq!(bound(&bytes), bound(&linked), "{name}");
    }
}

#[test]
fn order_does_not_change_what_is_bound() {
    let (a, b) = (object("link_a.o"), object("link_b.o"));
    let names = |parts: [&[u8]; 2]| {
        let object = Object::parse(&link(&parts).expect("linked")).expect("an object");
        let mut names: Vec<String> = object.functions.iter().map(|f| f.name.clone()).collect();
        names.extend(object.maps.iter().map(|m| m.def.name.clone()));
        names.sort();
        names
    };
    assert_eq!(names([&a, &b]), names([&b, &a]));
}

#[test]
fn contradictions_name_the_files() {
    let twice = object("globals.o");
    let e = link(&[&twice, &twice]).expect_err("two definitions");
    assert_eq!((e.file, &e.kind), (1, &LinkErrorKind::Duplicate { other: 0 }));
    assert!(e.to_string().contains("also defined in input 1"), "{e}");
    let e = link(&[&object("globals.o"), b"nothing"]).expect_err("no object");
    assert!(e.to_string().starts_with("input 2: ") && e.to_string().contains("not an ELF file"), "{e}");
    let mut other_license = object("link_b.o");
    let at = other_license.windows(4).position(|w| w == b"GPL\0").expect("a license");
    other_license[at] = b'g';
    let e = link(&[&object("link_a.o"), &other_license]).expect_err("licenses differ");
    assert!(matches!(e.kind, LinkErrorKind::Differs { other: 0 }), "{e}");
}
