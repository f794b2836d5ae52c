//! `BPF_MAP_TYPE_PERCPU_HASH`: values by key, one for each CPU (kernel/bpf/hashtab.c).

use crate::check::{ACCESS, Check};
use crate::hashmap::{self, HashMap};
use crate::storage::Storage;
use skep_platform::MapType;
use skep_platform::helper::Version;
use skep_platform::map::{Create, MapDef, MapError, MapTypeDesc, flags};

/// The row.
pub static DESC: MapTypeDesc = MapTypeDesc {
    map_type: MapType::PercpuHash,
    doc: "values by key, one for each CPU",
    since: Version(4, 6),
    create_flags: ACCESS | flags::NO_PREALLOC | flags::ZERO_SEED,
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
    Storage { check, layout: HashMap::layout, init: HashMap::init, attach: HashMap::shared };

fn check(def: &MapDef) -> Result<MapDef, MapError> {
    Check(def).flags(DESC.create_flags)?;
    hashmap::check(def)
}
