//! What only old compilers and loaders made.

use skep_obj::elf::Elf;
use skep_obj::write::{ElfFile, OutSection, OutSymbol};
use skep_obj::{MapOrigin, Object, Slot};
use skep_platform::MapType;

/// An object with map definitions of these words in section `maps`, and a program in each of the sections named.
fn with_maps(maps: &[(&str, &[u32])], programs: &[&str]) -> Vec<u8> {
    let mut file = ElfFile::default();
    let mut data = Vec::new();
    for (name, words) in maps {
        file.symbols.push(OutSymbol {
            name: (*name).to_owned(),
            section: Some(0),
            value: data.len() as u64,
            size: 0,
            kind: 0,
            bind: 1,
            visibility: 0,
        });
        data.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    }
    let section = |name: &str, flags, data: Vec<u8>| OutSection {
        name: name.to_owned(),
        kind: 1,
        flags,
        align: 8,
        size: data.len() as u64,
        data,
        relocs: Vec::new(),
    };
    file.sections.push(section("maps", 3, data));
    for name in programs {
        file.sections.push(section(name, 6, vec![0x95, 0, 0, 0, 0, 0, 0, 0]));
    }
    file.write()
}

fn open(maps: &[(&str, &[u32])], programs: &[&str]) -> Object {
    Object::parse(&with_maps(maps, programs)).expect("an object")
}

#[test]
fn definitions_of_every_size() {
    let object = open(
        &[("four", &[2, 4, 8, 16]), ("five", &[1, 4, 8, 16, 1]), ("six", &[1, 4, 8, 16, 0, 0])],
        &["xdp1"],
    );
    let entries: Vec<_> =
        object.maps.iter().map(|m| (m.def.name.as_str(), m.def.max_entries, m.def.flags)).collect();
    assert_eq!(entries, [("four", 16, 0), ("five", 16, 1), ("six", 16, 0)]);
    assert_eq!(object.programs().count(), 1);
    let program = object.programs().next().expect("one");
    assert_eq!(
        (program.name.as_str(), program.entry.as_ref().map(|e| e.prog_type)),
        ("xdp1", Some(skep_platform::ProgType::Xdp))
    );
}

#[test]
fn unknown_fields_are_said_unless_zero() {
    let notes = |words: &[u32]| open(&[("m", words)], &["xdp"]).diagnostics.len();
    assert_eq!(notes(&[1, 4, 8, 16, 0, 0, 0, 0]), 0);
    assert_eq!(notes(&[1, 4, 8, 16, 0, 0, 9, 0]), 1);
}

#[test]
fn samples_name_inner_maps_by_index_and_nodes_by_flag() {
    let object = open(
        &[
            ("inner", &[2, 4, 4, 7, 0, 0, 0]),
            ("outer", &[12, 4, 0, 3, 0, 0, 0]),
            ("node", &[1, 4, 4, 8, 4, 0, 1]),
        ],
        &["xdp"],
    );
    let outer = object.map("outer").expect("a map");
    assert_eq!(outer.def.inner.as_ref().map(|i| (i.map_type, i.max_entries)), Some((MapType::Array, 7)));
    assert!(outer.slots.is_empty());
    assert_eq!(object.map("node").map(|m| m.def.numa_node), Some(1));
}

#[test]
fn iproute2_names_inner_maps_by_id_and_puts_them_in_place() {
    let outer = [12u32, 4, 4, 3, 0, 1, 0, 2, 0];
    let inner = [2u32, 4, 4, 7, 0, 2, 2, 0, 1];
    let object = open(&[("outer", &outer), ("inner", &inner)], &["classifier", "1/2"]);
    let outer = object.map("outer").expect("a map");
    assert_eq!(outer.def.inner.as_ref().map(|i| i.max_entries), Some(7));
    assert_eq!(outer.slots, [(1, Slot::Map(1))]);
    assert!(matches!(&object.maps[1].origin, MapOrigin::Iproute2(i) if i.id == 2 && i.pinning == 2));
    let tail = object.program("1/2").and_then(|p| p.entry.clone()).expect("a tail program");
    assert_eq!(tail.tail_slot.map(|t| (t.slot, t.map)), Some((2, Some(0))));
    assert_eq!(tail.prog_type, skep_platform::ProgType::SchedCls);
}

#[test]
fn a_file_without_machine_is_taken_for_ours() {
    let mut bytes = with_maps(&[("m", &[1, 4, 8, 16, 0])], &["socket"]);
    bytes[18] = 0;
    assert_eq!(Object::parse(&bytes).expect("opens").maps.len(), 1);
}

#[test]
fn what_is_written_reads_back() {
    let bytes = with_maps(&[("a", &[1, 4, 8, 16, 0]), ("b", &[1, 4, 8, 16, 0])], &["xdp", "tc"]);
    let elf = Elf::parse(&bytes).expect("good");
    let names: Vec<&str> = elf.sections.iter().map(|s| s.name).collect();
    assert_eq!(names, ["", "maps", "xdp", "tc", ".symtab", ".strtab"]);
    let symbols: Vec<(&str, u64)> = elf.symbols.iter().map(|s| (s.name, s.value)).collect();
    assert_eq!(symbols, [("", 0), ("a", 0), ("b", 20)]);
}
