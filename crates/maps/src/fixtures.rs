//! The maps that raw verifier programs refer to by kind, as the kernel's test_verifier.c creates them
//! (tools/testing/selftests/bpf/test_verifier.c, `do_test_fixup`): one row a kind.

use skep_btf::{Btf, BtfBuilder, BuildError, IntEncoding, Kind, Member};
use skep_platform::map::{MapBtf, MapDef, flags};
use skep_platform::uapi::MapType;
use std::sync::{Arc, OnceLock};

/// A kind of map.
#[derive(Clone, Copy, Debug)]
pub struct Fixture {
    /// Its name in `fixups`, without the prefix `fixup_`.
    pub kind: &'static str,
    /// Type.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Structure that values are; empty: bytes.
    pub value: &'static str,
}

const fn row(
    kind: &'static str,
    map_type: MapType,
    (key_size, value_size, max_entries): (u32, u32, u32),
    flags: u32,
    value: &'static str,
) -> Fixture {
    Fixture { kind, map_type, key_size, value_size, max_entries, flags, value }
}

/// Every kind.
pub static FIXTURES: &[Fixture] = &[
    row("map_hash_8b", MapType::Hash, (8, 8, 1), 0, ""),
    row("map_hash_48b", MapType::Hash, (8, 48, 1), 0, ""),
    row("map_hash_16b", MapType::Hash, (8, 16, 1), 0, ""),
    row("map_array_48b", MapType::Array, (4, 48, 1), 0, ""),
    row("prog1", MapType::ProgArray, (4, 4, 4), 0, ""),
    row("prog2", MapType::ProgArray, (4, 4, 8), 0, ""),
    row("map_in_map", MapType::ArrayOfMaps, (4, 4, 1), 0, ""),
    row("cgroup_storage", MapType::CgroupStorage, (16, 64, 0), 0, ""),
    row("percpu_cgroup_storage", MapType::PercpuCgroupStorage, (16, 64, 0), 0, ""),
    row("map_sockmap", MapType::Sockmap, (4, 4, 1), 0, ""),
    row("map_sockhash", MapType::Sockhash, (4, 4, 1), 0, ""),
    row("map_xskmap", MapType::Xskmap, (4, 4, 1), 0, ""),
    row("map_stacktrace", MapType::StackTrace, (4, 8, 1), 0, ""),
    row("map_spin_lock", MapType::Array, (4, 8, 1), 0, "val"),
    row("map_array_ro", MapType::Array, (4, 48, 1), flags::RDONLY_PROG, ""),
    row("map_array_wo", MapType::Array, (4, 48, 1), flags::WRONLY_PROG, ""),
    row("map_array_small", MapType::Array, (4, 1, 1), 0, ""),
    row("sk_storage_map", MapType::SkStorage, (4, 8, 0), flags::NO_PREALLOC, "val"),
    row("map_event_output", MapType::PerfEventArray, (4, 4, 1), 0, ""),
    row("map_reuseport_array", MapType::ReuseportSockarray, (4, 8, 1), 0, ""),
    row("map_ringbuf", MapType::Ringbuf, (0, 0, 4096), 0, ""),
    row("map_timer", MapType::Array, (4, 16, 1), 0, "timer"),
    row("map_kptr", MapType::Array, (4, 24, 1), 0, "btf_ptr"),
];

/// Definition of a map by its kind, with or without the prefix `fixup_`. `None` for an unknown kind.
///
/// ```
/// let def = skep_maps::fixtures::map_def("fixup_map_spin_lock").expect("a known kind");
/// assert_eq!(def.value_size, 8);
/// assert!(def.btf.is_some());
/// ```
pub fn map_def(kind: &str) -> Option<MapDef> {
    let kind = kind.trim_start_matches("fixup_");
    let f = FIXTURES.iter().find(|f| f.kind == kind)?;
    let mut def = plain(f.kind, f.map_type, f.key_size, f.value_size, f.max_entries);
    def.flags = f.flags;
    if f.map_type == MapType::ArrayOfMaps {
        def.inner = Some(Box::new(plain("inner", MapType::Array, 4, 4, 1)));
    }
    if !f.value.is_empty() {
        let btf = types()?;
        let value = btf.find_by_name_kind(f.value, Kind::Struct)?;
        def.btf = Some(MapBtf { btf, key: 1, value });
    }
    Some(def)
}

fn plain(name: &str, map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
    MapDef {
        name: name.into(),
        map_type,
        key_size,
        value_size,
        max_entries,
        flags: 0,
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: None,
    }
}

/// Bytes of an array's value that the kernel's test puts into every 48-byte array: an index, and one element.
pub fn test_value() -> [u8; 48] {
    let mut v = [0; 48];
    v[..4].copy_from_slice(&28u32.to_le_bytes());
    v[28..32].copy_from_slice(&0xabcd_ef12u32.to_le_bytes());
    v
}

/// Types of the values with special fields.
fn types() -> Option<Arc<Btf>> {
    static TYPES: OnceLock<Option<Arc<Btf>>> = OnceLock::new();
    TYPES.get_or_init(|| build().ok()?.finish().ok().map(Arc::new)).clone()
}

fn build() -> Result<BtfBuilder, BuildError> {
    let mut b = BtfBuilder::new();
    let member = |name: &'static str, type_id, bytes: u32| Member {
        name,
        type_id,
        bit_offset: bytes * 8,
        bitfield_size: 0,
    };
    let int = b.add_int("int", 4, IntEncoding { signed: true, char: false, bool: false })?;
    let lock = b.add_struct("bpf_spin_lock", 4, &[member("val", int, 0)])?;
    b.add_struct("val", 8, &[member("cnt", int, 0), member("l", lock, 4)])?;
    let timer = b.add_struct("bpf_timer", 16, &[])?;
    b.add_struct("timer", 16, &[member("t", timer, 0)])?;
    let object = b.add_struct("prog_test_ref_kfunc", 0, &[])?;
    let part = b.add_struct("prog_test_member", 0, &[])?;
    let mut tagged = |tag: &str, to: u32| {
        let tag = b.add_type_tag(tag, to)?;
        b.add_ptr(tag)
    };
    let (plain, counted, inside) =
        (tagged("kptr_untrusted", object)?, tagged("kptr", object)?, tagged("kptr", part)?);
    let fields = [member("ptr", plain, 0), member("ptr", counted, 8), member("ptr", inside, 16)];
    b.add_struct("btf_ptr", 24, &fields)?;
    Ok(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_definition() {
        for (i, f) in FIXTURES.iter().enumerate() {
            assert!(FIXTURES[..i].iter().all(|o| o.kind != f.kind), "{} twice", f.kind);
            let def = map_def(f.kind).unwrap_or_else(|| panic!("{} has no definition", f.kind));
            let value = def.btf.map(|b| b.btf.size_of(b.value));
            assert!(value.is_none_or(|size| size == Some(f.value_size)), "{}: {value:?}", f.kind);
        }
    }
}
