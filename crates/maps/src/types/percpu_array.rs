//! `BPF_MAP_TYPE_PERCPU_ARRAY`: values by index, one for each CPU (kernel/bpf/arraymap.c).

use crate::arraymap::Array;
use crate::check::{ACCESS, Check};
use crate::storage::Storage;
use skep_platform::MapType;
use skep_platform::helper::Version;
use skep_platform::map::{Create, MapDef, MapError, MapTypeDesc};

/// The row.
pub static DESC: MapTypeDesc = MapTypeDesc {
    map_type: MapType::PercpuArray,
    doc: "values by index, one for each CPU",
    since: Version(4, 6),
    create_flags: ACCESS,
    helpers: &[],
    exclusive_helpers: &[195],
    prog_types: &[],
    sleepable: true,
    per_cpu: true,
    direct_value: true,
    direct_addr: false,
    for_each: true,
    inner: true,
    special_fields: &["kptr", "bpf_refcount"],
    create: Create::Fn(|def| STORAGE.create(def, None)),
};

pub(crate) static STORAGE: Storage =
    Storage { check, layout: Array::layout, init: |_| {}, attach: Array::attach };

fn check(def: &MapDef) -> Result<MapDef, MapError> {
    let check = Check(def);
    check.flags(DESC.create_flags)?;
    check.array()?;
    check.per_cpu_value()?;
    Ok(def.clone())
}
