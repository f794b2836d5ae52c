//! Map types that the user engine does not have: their rows, with the reason. The kernel engine has them.

use skep_platform::MapType;
use skep_platform::helper::Version;
use skep_platform::map::{Create, MapTypeDesc, flags};

/// `BPF_MAP_TYPE_STACK_TRACE`.
pub static STACK_TRACE: MapTypeDesc = MapTypeDesc {
    map_type: MapType::StackTrace,
    doc: "stack traces by id",
    since: Version(4, 6),
    create_flags: flags::NUMA_NODE | flags::RDONLY | flags::WRONLY | flags::STACK_BUILD_ID,
    helpers: &[27],
    exclusive_helpers: &[27],
    prog_types: &[],
    sleepable: false,
    per_cpu: false,
    direct_value: false,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &[],
    create: Create::Absent("no call stacks of a traced process are walked in user space yet"),
};

/// `BPF_MAP_TYPE_CGROUP_ARRAY`.
pub static CGROUP_ARRAY: MapTypeDesc = MapTypeDesc {
    map_type: MapType::CgroupArray,
    doc: "cgroups by index, to ask whether a socket or task is below one",
    since: Version(4, 8),
    create_flags: flags::NUMA_NODE | flags::RDONLY | flags::WRONLY,
    helpers: &[33, 37],
    exclusive_helpers: &[33, 37],
    prog_types: &[],
    sleepable: false,
    per_cpu: false,
    direct_value: false,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &[],
    create: Create::Absent("cgroups are the kernel's; use --engine kernel"),
};

/// `BPF_MAP_TYPE_DEVMAP`.
pub static DEVMAP: MapTypeDesc = MapTypeDesc {
    map_type: MapType::Devmap,
    doc: "network devices by index, to redirect packets to",
    since: Version(4, 14),
    create_flags: flags::NUMA_NODE | flags::RDONLY | flags::WRONLY,
    helpers: &[51, 1],
    exclusive_helpers: &[51],
    prog_types: &[],
    sleepable: false,
    per_cpu: false,
    direct_value: false,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &[],
    create: Create::Absent("packets are not redirected between devices in user space yet"),
};

/// `BPF_MAP_TYPE_SOCKMAP`.
pub static SOCKMAP: MapTypeDesc = MapTypeDesc {
    map_type: MapType::Sockmap,
    doc: "sockets by index",
    since: Version(4, 14),
    create_flags: flags::NUMA_NODE | flags::RDONLY | flags::WRONLY,
    helpers: &[52, 53, 60, 82, 1, 2, 3],
    exclusive_helpers: &[52, 53, 60, 82],
    prog_types: &[],
    sleepable: false,
    per_cpu: false,
    direct_value: false,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &[],
    create: Create::Absent("sockets are the kernel's; use --engine kernel"),
};

/// `BPF_MAP_TYPE_CPUMAP`.
pub static CPUMAP: MapTypeDesc = MapTypeDesc {
    map_type: MapType::Cpumap,
    doc: "CPUs by index, to hand packets to",
    since: Version(4, 15),
    create_flags: flags::NUMA_NODE,
    helpers: &[51],
    exclusive_helpers: &[51],
    prog_types: &[],
    sleepable: false,
    per_cpu: false,
    direct_value: false,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &[],
    create: Create::Absent("packets are not handed to other CPUs in user space"),
};

/// `BPF_MAP_TYPE_XSKMAP`.
pub static XSKMAP: MapTypeDesc = MapTypeDesc {
    map_type: MapType::Xskmap,
    doc: "AF_XDP sockets by index",
    since: Version(4, 18),
    create_flags: flags::NUMA_NODE | flags::RDONLY | flags::WRONLY,
    helpers: &[51, 1],
    exclusive_helpers: &[51],
    prog_types: &[],
    sleepable: false,
    per_cpu: false,
    direct_value: false,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &[],
    create: Create::Absent("AF_XDP sockets are not fed by the user engine yet"),
};

/// `BPF_MAP_TYPE_SOCKHASH`.
pub static SOCKHASH: MapTypeDesc = MapTypeDesc {
    map_type: MapType::Sockhash,
    doc: "sockets by key",
    since: Version(4, 18),
    create_flags: flags::NUMA_NODE | flags::RDONLY | flags::WRONLY,
    helpers: &[70, 71, 72, 82, 1, 2, 3],
    exclusive_helpers: &[70, 71, 72, 82],
    prog_types: &[],
    sleepable: false,
    per_cpu: false,
    direct_value: false,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &[],
    create: Create::Absent("sockets are the kernel's; use --engine kernel"),
};

/// `BPF_MAP_TYPE_CGROUP_STORAGE`.
pub static CGROUP_STORAGE: MapTypeDesc = MapTypeDesc {
    map_type: MapType::CgroupStorage,
    doc: "a value for each cgroup a program is attached to",
    since: Version(4, 19),
    create_flags: flags::NUMA_NODE | flags::RDONLY | flags::WRONLY | flags::RDONLY_PROG | flags::WRONLY_PROG,
    helpers: &[81],
    exclusive_helpers: &[81],
    prog_types: &[],
    sleepable: false,
    per_cpu: false,
    direct_value: true,
    direct_addr: false,
    for_each: false,
    inner: false,
    special_fields: &["bpf_spin_lock"],
    create: Create::Absent("cgroups are the kernel's; use --engine kernel"),
};

/// `BPF_MAP_TYPE_REUSEPORT_SOCKARRAY`.
pub static REUSEPORT_SOCKARRAY: MapTypeDesc = MapTypeDesc {
    map_type: MapType::ReuseportSockarray,
    doc: "sockets of a reuseport group by index",
    since: Version(4, 19),
    create_flags: flags::NUMA_NODE
        | flags::RDONLY
        | flags::WRONLY
        | flags::RDONLY_PROG
        | flags::WRONLY_PROG
        | flags::MMAPABLE
        | flags::INNER_MAP,
    helpers: &[82],
    exclusive_helpers: &[82],
    prog_types: &[],
    sleepable: false,
    per_cpu: false,
    direct_value: false,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &[],
    create: Create::Absent("sockets are the kernel's; use --engine kernel"),
};

/// `BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE`.
pub static PERCPU_CGROUP_STORAGE: MapTypeDesc = MapTypeDesc {
    map_type: MapType::PercpuCgroupStorage,
    doc: "a value for each cgroup and CPU",
    since: Version(4, 20),
    create_flags: flags::NUMA_NODE | flags::RDONLY | flags::WRONLY | flags::RDONLY_PROG | flags::WRONLY_PROG,
    helpers: &[81],
    exclusive_helpers: &[81],
    prog_types: &[],
    sleepable: false,
    per_cpu: true,
    direct_value: true,
    direct_addr: false,
    for_each: false,
    inner: false,
    special_fields: &[],
    create: Create::Absent("cgroups are the kernel's; use --engine kernel"),
};

/// `BPF_MAP_TYPE_SK_STORAGE`.
pub static SK_STORAGE: MapTypeDesc = MapTypeDesc {
    map_type: MapType::SkStorage,
    doc: "a value for each socket",
    since: Version(5, 2),
    create_flags: flags::NO_PREALLOC | flags::CLONE,
    helpers: &[107, 108, 194],
    exclusive_helpers: &[107, 108],
    prog_types: &[],
    sleepable: true,
    per_cpu: false,
    direct_value: true,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &["bpf_spin_lock", "kptr", "bpf_refcount"],
    create: Create::Absent("sockets are the kernel's; use --engine kernel"),
};

/// `BPF_MAP_TYPE_DEVMAP_HASH`.
pub static DEVMAP_HASH: MapTypeDesc = MapTypeDesc {
    map_type: MapType::DevmapHash,
    doc: "network devices by key, to redirect packets to",
    since: Version(5, 4),
    create_flags: flags::NUMA_NODE | flags::RDONLY | flags::WRONLY,
    helpers: &[51, 1],
    exclusive_helpers: &[51],
    prog_types: &[],
    sleepable: false,
    per_cpu: false,
    direct_value: false,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &[],
    create: Create::Absent("packets are not redirected between devices in user space yet"),
};

/// `BPF_MAP_TYPE_STRUCT_OPS`.
pub static STRUCT_OPS: MapTypeDesc = MapTypeDesc {
    map_type: MapType::StructOps,
    doc: "functions of a kernel interface, implemented by programs",
    since: Version(5, 6),
    create_flags: flags::VTYPE_BTF_OBJ_FD | flags::LINK,
    helpers: &[],
    exclusive_helpers: &[],
    prog_types: &[],
    sleepable: false,
    per_cpu: false,
    direct_value: false,
    direct_addr: false,
    for_each: false,
    inner: false,
    special_fields: &[],
    create: Create::Absent("the interfaces are the kernel's; use --engine kernel"),
};

/// `BPF_MAP_TYPE_INODE_STORAGE`.
pub static INODE_STORAGE: MapTypeDesc = MapTypeDesc {
    map_type: MapType::InodeStorage,
    doc: "a value for each inode",
    since: Version(5, 10),
    create_flags: flags::NO_PREALLOC | flags::CLONE,
    helpers: &[145, 146, 194],
    exclusive_helpers: &[145, 146],
    prog_types: &[],
    sleepable: true,
    per_cpu: false,
    direct_value: true,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &["bpf_spin_lock", "kptr", "bpf_refcount"],
    create: Create::Absent("inodes are the kernel's; use --engine kernel"),
};

/// `BPF_MAP_TYPE_TASK_STORAGE`.
pub static TASK_STORAGE: MapTypeDesc = MapTypeDesc {
    map_type: MapType::TaskStorage,
    doc: "a value for each task",
    since: Version(5, 11),
    create_flags: flags::NO_PREALLOC | flags::CLONE,
    helpers: &[156, 157, 194],
    exclusive_helpers: &[156, 157],
    prog_types: &[],
    sleepable: true,
    per_cpu: false,
    direct_value: true,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &["bpf_spin_lock", "kptr", "bpf_refcount"],
    create: Create::Absent("no tasks are known to the user engine yet"),
};

/// `BPF_MAP_TYPE_CGRP_STORAGE`.
pub static CGRP_STORAGE: MapTypeDesc = MapTypeDesc {
    map_type: MapType::CgrpStorage,
    doc: "a value for each cgroup",
    since: Version(6, 2),
    create_flags: flags::NO_PREALLOC | flags::CLONE,
    helpers: &[210, 211, 194],
    exclusive_helpers: &[210, 211],
    prog_types: &[],
    sleepable: true,
    per_cpu: false,
    direct_value: true,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &["bpf_spin_lock", "kptr", "bpf_refcount"],
    create: Create::Absent("cgroups are the kernel's; use --engine kernel"),
};

/// `BPF_MAP_TYPE_ARENA`.
pub static ARENA: MapTypeDesc = MapTypeDesc {
    map_type: MapType::Arena,
    doc: "sparse memory shared by programs and user space",
    since: Version(6, 9),
    create_flags: flags::SEGV_ON_FAULT | flags::MMAPABLE | flags::NO_USER_CONV,
    helpers: &[],
    exclusive_helpers: &[],
    prog_types: &[],
    sleepable: true,
    per_cpu: false,
    direct_value: false,
    direct_addr: true,
    for_each: false,
    inner: true,
    special_fields: &[],
    create: Create::Absent("the user engine has no arenas yet"),
};
