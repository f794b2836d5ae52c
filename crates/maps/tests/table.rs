//! The table of map types: complete, in order, and every row true to its own promises.

use skep_maps::{MAP_TYPES, create};
use skep_platform::map::{Create, MapDef, flags};
use skep_platform::{Errno, MapType};

fn def(map_type: MapType) -> MapDef {
    MapDef {
        name: "t".into(),
        map_type,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        flags: 0,
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: None,
    }
}

#[test]
fn every_map_type_has_one_row_in_order() {
    let rows: Vec<u32> = MAP_TYPES.iter().map(|d| d.map_type.id()).collect();
    let expected: Vec<u32> = MapType::ALL.iter().map(|(t, _)| t.id()).filter(|id| *id != 0).collect();
    assert_eq!(rows, expected);
}

#[test]
fn an_exclusive_helper_is_one_that_the_row_allows() {
    for d in MAP_TYPES {
        for id in d.exclusive_helpers {
            assert!(d.helpers.is_empty() || d.helpers.contains(id), "{:?}: helper {id}", d.map_type);
        }
    }
}

#[test]
fn rows_hang_together() {
    for d in MAP_TYPES {
        let name = d.map_type.uapi_name();
        assert!(!d.doc.is_empty() && !d.doc.ends_with('.'), "{name}: doc");
        assert!(
            d.special_fields.is_empty() || d.direct_value,
            "{name}: fields in values that nobody can reach"
        );
        assert!(!d.for_each || d.direct_value, "{name}: iteration hands out value addresses");
        assert!(d.per_cpu == name.contains("PERCPU"), "{name}: per_cpu");
        let by_cpu = d.per_cpu && !name.contains("CGROUP");
        assert_eq!(by_cpu, d.exclusive_helpers.contains(&195), "{name}: bpf_map_lookup_percpu_elem");
    }
}

#[test]
fn absent_types_say_why() {
    for d in MAP_TYPES {
        if let Create::Absent(why) = d.create {
            let error = create(&def(d.map_type)).unwrap_err();
            assert_eq!(error.errno, Errno::EOPNOTSUPP);
            assert!(error.to_string().contains(why));
        }
    }
}

#[test]
fn flags_outside_the_row_are_refused() {
    for d in MAP_TYPES.iter().filter(|d| matches!(d.create, Create::Fn(_))) {
        for bit in (0..19).map(|b| 1 << b).filter(|bit| d.create_flags & bit == 0) {
            let error = create(&MapDef { flags: bit, ..def(d.map_type) }).unwrap_err();
            assert_eq!(error.errno, Errno::EINVAL, "{:?} with flag {bit:#x}", d.map_type);
        }
        let both = flags::RDONLY | flags::WRONLY;
        if d.create_flags & both == both {
            let error = create(&MapDef { flags: both, ..def(d.map_type) }).unwrap_err();
            assert_eq!(error.errno, Errno::EINVAL, "{:?}", d.map_type);
        }
    }
}
