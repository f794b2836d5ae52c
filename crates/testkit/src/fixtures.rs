//! The maps that the cases of suite `test_verifier` refer to, by the names of its `fixups` (as the kernel's
//! test_verifier.c creates them), and the cases as programs.

use serde_json::Value;
use skep_isa::Insn;
use skep_platform::map::{MapDef, flags};
use skep_platform::uapi::MapType;

use crate::suites;

/// A kind of map: name in `fixups`, type, key size, value size, entries, flags.
pub type Kind = (&'static str, MapType, u32, u32, u32, u32);

/// Every kind.
pub static MAPS: &[Kind] = &[
    ("map_hash_8b", MapType::Hash, 8, 8, 1, 0),
    ("map_hash_48b", MapType::Hash, 8, 48, 1, 0),
    ("map_hash_16b", MapType::Hash, 8, 16, 1, 0),
    ("map_array_48b", MapType::Array, 4, 48, 1, 0),
    ("prog1", MapType::ProgArray, 4, 4, 4, 0),
    ("prog2", MapType::ProgArray, 4, 4, 8, 0),
    ("map_in_map", MapType::ArrayOfMaps, 4, 4, 1, 0),
    ("cgroup_storage", MapType::CgroupStorage, 16, 64, 0, 0),
    ("percpu_cgroup_storage", MapType::PercpuCgroupStorage, 16, 64, 0, 0),
    ("map_sockmap", MapType::Sockmap, 4, 4, 1, 0),
    ("map_sockhash", MapType::Sockhash, 4, 4, 1, 0),
    ("map_xskmap", MapType::Xskmap, 4, 4, 1, 0),
    ("map_stacktrace", MapType::StackTrace, 4, 8, 1, 0),
    ("map_spin_lock", MapType::Array, 4, 8, 1, 0),
    ("map_array_ro", MapType::Array, 4, 48, 1, flags::RDONLY_PROG),
    ("map_array_wo", MapType::Array, 4, 48, 1, flags::WRONLY_PROG),
    ("map_array_small", MapType::Array, 4, 1, 1, 0),
    ("sk_storage_map", MapType::SkStorage, 4, 8, 0, flags::NO_PREALLOC),
    ("map_event_output", MapType::PerfEventArray, 4, 4, 1, 0),
    ("map_reuseport_array", MapType::ReuseportSockarray, 4, 8, 1, 0),
    ("map_ringbuf", MapType::Ringbuf, 0, 0, 4096, 0),
    ("map_timer", MapType::Array, 4, 16, 1, 0),
    ("map_kptr", MapType::Array, 4, 24, 1, 0),
];

/// Bytes of an array's value that the kernel's test puts into every 48-byte array: an index, and one element.
pub fn test_value() -> [u8; 48] {
    let mut v = [0; 48];
    v[..4].copy_from_slice(&28u32.to_le_bytes());
    v[28..32].copy_from_slice(&0xabcd_ef12u32.to_le_bytes());
    v
}

/// Definition of a map by its kind.
pub fn map_def(kind: &str) -> Option<MapDef> {
    let (name, map_type, key_size, value_size, max_entries, flags) =
        *MAPS.iter().find(|m| m.0 == kind.trim_start_matches("fixup_"))?;
    let inner = (map_type == MapType::ArrayOfMaps)
        .then(|| Box::new(def("inner", MapType::Array, (4, 4, 1), 0, None)));
    Some(def(name, map_type, (key_size, value_size, max_entries), flags, inner))
}

fn def(
    name: &str,
    map_type: MapType,
    (key_size, value_size, max_entries): (u32, u32, u32),
    flags: u32,
    inner: Option<Box<MapDef>>,
) -> MapDef {
    MapDef {
        name: name.into(),
        map_type,
        key_size,
        value_size,
        max_entries,
        flags,
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner,
        btf: None,
    }
}

/// Instructions of a case and the kinds of the maps that they refer to by index.
pub fn insns(case: &Value) -> Option<(Vec<Insn>, Vec<String>)> {
    let mut insns = Insn::slice_from_bytes(&suites::hex(case["insns"].as_str()?)?).ok()?;
    let mut kinds = Vec::new();
    for (kind, places) in case["fixups"].as_object()? {
        for at in places.as_array()? {
            let slot = insns.get_mut(at.as_u64()? as usize)?;
            // By descriptor (1, 2) becomes by index (5, 6).
            *slot = slot.with_src(slot.src() + 4).with_imm(kinds.len() as i32);
        }
        kinds.push(kind.clone());
    }
    Some((insns, kinds))
}
