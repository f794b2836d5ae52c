//! `BPF_MAP_TYPE_HASH`: values by key (kernel/bpf/hashtab.c).

use crate::check::{ACCESS, Check};
use crate::hashmap::{self, HashMap};
use crate::storage::Storage;
use skep_platform::MapType;
use skep_platform::helper::Version;
use skep_platform::map::{Create, MapDef, MapError, MapTypeDesc, flags};

/// The row.
pub static DESC: MapTypeDesc = MapTypeDesc {
    map_type: MapType::Hash,
    doc: "values by key",
    since: Version(3, 19),
    create_flags: ACCESS | flags::NUMA_NODE | flags::NO_PREALLOC | flags::ZERO_SEED,
    helpers: &[],
    exclusive_helpers: &[],
    prog_types: &[],
    sleepable: true,
    per_cpu: false,
    direct_value: true,
    direct_addr: false,
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
    Storage { check, layout: HashMap::layout, init: HashMap::init, attach: HashMap::shared };

fn check(def: &MapDef) -> Result<MapDef, MapError> {
    Check(def).flags(DESC.create_flags)?;
    hashmap::check(def)
}
