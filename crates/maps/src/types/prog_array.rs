//! `BPF_MAP_TYPE_PROG_ARRAY`: programs by index (kernel/bpf/arraymap.c).

use crate::check::Check;
use crate::handles::HandleArray;
use crate::storage::Storage;
use skep_platform::MapType;
use skep_platform::helper::Version;
use skep_platform::map::{Create, MapDef, MapError, MapTypeDesc, flags};

/// The row.
pub static DESC: MapTypeDesc = MapTypeDesc {
    map_type: MapType::ProgArray,
    doc: "programs by index, to tail-call into",
    since: Version(4, 2),
    create_flags: flags::NUMA_NODE | flags::RDONLY | flags::WRONLY,
    helpers: &[12],
    exclusive_helpers: &[12],
    prog_types: &[],
    sleepable: false,
    per_cpu: false,
    direct_value: false,
    direct_addr: false,
    for_each: false,
    inner: false,
    special_fields: &[],
    create: Create::Fn(|def| STORAGE.create(def, None)),
};

pub(crate) static STORAGE: Storage =
    Storage { check, layout: HandleArray::layout, init: |_| {}, attach: HandleArray::attach };

fn check(def: &MapDef) -> Result<MapDef, MapError> {
    let check = Check(def);
    check.flags(DESC.create_flags)?;
    check.fd_array()?;
    Ok(def.clone())
}
