//! Which helpers take which maps (`check_map_func_compatibility`), where a map type's row does not say.
//!
//! Two tables, as the kernel asks from both sides: map types that only certain helpers take, and helpers that only
//! certain map types suit. A map type's row in the platform, when it lists helpers, is the first table's word.

use skep_platform::{MapType as M, Platform, ProgType as P};

const BY_MAP: &[(M, &[&str])] = &[
    (M::ProgArray, &["tail_call"]),
    (
        M::PerfEventArray,
        &["perf_event_read", "perf_event_output", "skb_output", "perf_event_read_value", "xdp_output"],
    ),
    (M::Ringbuf, RINGBUF),
    (M::UserRingbuf, &["user_ringbuf_drain"]),
    (M::StackTrace, &["get_stackid"]),
    (M::CgroupArray, &["skb_under_cgroup", "current_task_under_cgroup"]),
    (M::CgroupStorage, &["get_local_storage"]),
    (M::PercpuCgroupStorage, &["get_local_storage"]),
    (M::Devmap, &["redirect_map", "map_lookup_elem"]),
    (M::DevmapHash, &["redirect_map", "map_lookup_elem"]),
    (M::Cpumap, &["redirect_map"]),
    (M::Xskmap, &["redirect_map", "map_lookup_elem"]),
    (M::ArrayOfMaps, &["map_lookup_elem"]),
    (M::HashOfMaps, &["map_lookup_elem"]),
    (
        M::Sockmap,
        &["sk_redirect_map", "sock_map_update", "msg_redirect_map", "sk_select_reuseport", "map_lookup_elem"],
    ),
    (
        M::Sockhash,
        &[
            "sk_redirect_hash",
            "sock_hash_update",
            "msg_redirect_hash",
            "sk_select_reuseport",
            "map_lookup_elem",
        ],
    ),
    (M::ReuseportSockarray, &["sk_select_reuseport"]),
    (M::Queue, &["map_peek_elem", "map_pop_elem", "map_push_elem"]),
    (M::Stack, &["map_peek_elem", "map_pop_elem", "map_push_elem"]),
    (M::SkStorage, &["sk_storage_get", "sk_storage_delete", "kptr_xchg"]),
    (M::InodeStorage, &["inode_storage_get", "inode_storage_delete", "kptr_xchg"]),
    (M::TaskStorage, &["task_storage_get", "task_storage_delete", "kptr_xchg"]),
    (M::CgrpStorage, &["cgrp_storage_get", "cgrp_storage_delete", "kptr_xchg"]),
    (M::BloomFilter, &["map_peek_elem", "map_push_elem"]),
];

const RINGBUF: &[&str] = &[
    "ringbuf_output",
    "ringbuf_reserve",
    "ringbuf_query",
    "ringbuf_reserve_dynptr",
    "ringbuf_submit_dynptr",
    "ringbuf_discard_dynptr",
];

const BY_HELPER: &[(&[&str], &[M])] = &[
    (&["tail_call"], &[M::ProgArray]),
    (
        &["perf_event_read", "perf_event_output", "skb_output", "perf_event_read_value", "xdp_output"],
        &[M::PerfEventArray],
    ),
    (RINGBUF, &[M::Ringbuf]),
    (&["user_ringbuf_drain"], &[M::UserRingbuf]),
    (&["get_stackid"], &[M::StackTrace]),
    (&["skb_under_cgroup", "current_task_under_cgroup"], &[M::CgroupArray]),
    (&["redirect_map"], &[M::Devmap, M::DevmapHash, M::Cpumap, M::Xskmap]),
    (&["sk_redirect_map", "msg_redirect_map", "sock_map_update"], &[M::Sockmap]),
    (&["sk_redirect_hash", "msg_redirect_hash", "sock_hash_update"], &[M::Sockhash]),
    (&["get_local_storage"], &[M::CgroupStorage, M::PercpuCgroupStorage]),
    (&["sk_select_reuseport"], &[M::ReuseportSockarray, M::Sockmap, M::Sockhash]),
    (&["map_pop_elem"], &[M::Queue, M::Stack]),
    (&["map_peek_elem", "map_push_elem"], &[M::Queue, M::Stack, M::BloomFilter]),
    (&["map_lookup_percpu_elem"], &[M::PercpuArray, M::PercpuHash, M::LruPercpuHash]),
    (&["sk_storage_get", "sk_storage_delete"], &[M::SkStorage]),
    (&["inode_storage_get", "inode_storage_delete"], &[M::InodeStorage]),
    (&["task_storage_get", "task_storage_delete"], &[M::TaskStorage]),
    (&["cgrp_storage_get", "cgrp_storage_delete"], &[M::CgrpStorage]),
];

/// Program types that may add sockets to socket maps and remove them (`may_update_sockmap`).
const SOCKMAP_WRITERS: &[P] = &[
    P::Tracing,
    P::SockOps,
    P::SocketFilter,
    P::SchedCls,
    P::SchedAct,
    P::Xdp,
    P::SkReuseport,
    P::FlowDissector,
    P::SkLookup,
];

/// May the helper be given such a map?
pub(crate) fn compatible(_platform: &Platform, helper: &str, map: M, prog: P, iter: bool) -> bool {
    let name = helper.strip_prefix("bpf_").unwrap_or(helper);
    let sockmap = matches!(map, M::Sockmap | M::Sockhash);
    let writer = match name {
        "map_update_elem" => {
            SOCKMAP_WRITERS.contains(&prog) && prog != P::SockOps && (prog != P::Tracing || iter)
        }
        "map_delete_elem" => SOCKMAP_WRITERS.contains(&prog) && (prog != P::Tracing || iter),
        _ => false,
    };
    let takes = BY_MAP.iter().find(|(m, _)| *m == map).is_none_or(|(_, h)| h.contains(&name));
    let takes = takes || (sockmap && writer);
    if !takes {
        return false;
    }
    BY_HELPER.iter().find(|(h, _)| h.contains(&name)).is_none_or(|(_, m)| m.contains(&map))
}
