//! `BPF_MAP_TYPE_ARRAY`: values by index, all there from the start (kernel/bpf/arraymap.c).

use crate::arraymap::Array;
use crate::check::{ACCESS, Check};
use crate::storage::Storage;
use skep_platform::MapType;
use skep_platform::helper::Version;
use skep_platform::map::{Create, MapDef, MapError, MapTypeDesc, flags};

/// The row.
pub static DESC: MapTypeDesc = MapTypeDesc {
    map_type: MapType::Array,
    doc: "values by index, zero at first; also the global variables of an object",
    since: Version(3, 19),
    create_flags: ACCESS | flags::NUMA_NODE | flags::MMAPABLE | flags::INNER_MAP,
    helpers: &[],
    exclusive_helpers: &[],
    prog_types: &[],
    sleepable: true,
    per_cpu: false,
    direct_value: true,
    direct_addr: true,
    for_each: true,
    inner: true,
    special_fields: &[
        "bpf_spin_lock",
        "bpf_timer",
        "bpf_wq",
        "kptr",
        "bpf_list_head",
        "bpf_rb_root",
        "bpf_refcount",
    ],
    create: Create::Fn(|def| STORAGE.create(def, None)),
};

pub(crate) static STORAGE: Storage =
    Storage { check, layout: Array::layout, init: |_| {}, attach: Array::attach };

fn check(def: &MapDef) -> Result<MapDef, MapError> {
    let check = Check(def);
    check.flags(DESC.create_flags)?;
    check.array()?;
    Ok(def.clone())
}
