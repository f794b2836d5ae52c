//! `BPF_MAP_TYPE_QUEUE`: values in the order they came (kernel/bpf/queue_stack_maps.c). The implementation is in `fifo`.

use crate::check::ACCESS;
use crate::fifo::{Fifo, check};
use crate::storage::Storage;
use skep_platform::MapType;
use skep_platform::helper::Version;
use skep_platform::map::{Create, MapTypeDesc, flags};

/// The row.
pub static DESC: MapTypeDesc = MapTypeDesc {
    map_type: MapType::Queue,
    doc: "values in the order they came",
    since: Version(4, 20),
    create_flags: ACCESS | flags::NUMA_NODE,
    helpers: &[87, 88, 89],
    exclusive_helpers: &[87, 88, 89],
    prog_types: &[],
    sleepable: true,
    per_cpu: false,
    direct_value: false,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &[],
    create: Create::Fn(|def| STORAGE.create(def, None)),
};

pub(crate) static STORAGE: Storage = Storage {
    check: |def| check(def, DESC.create_flags),
    layout: Fifo::layout,
    init: |_| {},
    attach: Fifo::attach,
};
