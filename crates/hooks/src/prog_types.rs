//! The table of program types: every row, ascending by number. The rows stand with their hooks.

use crate::{
    cgroup, flow_dissector, lwt, netfilter, sk_lookup, sock, sock_addr, socket_filter, sockmap, tc, tracing,
    xdp,
};
use skep_platform::ProgTypeDesc;

/// All program types, ascending by [`skep_platform::ProgType::id`].
pub static PROG_TYPES: &[&ProgTypeDesc] = &[
    &socket_filter::SOCKET_FILTER,
    &tracing::KPROBE,
    &tc::SCHED_CLS,
    &tc::SCHED_ACT,
    &tracing::TRACEPOINT,
    &xdp::XDP,
    &tracing::PERF_EVENT,
    &cgroup::CGROUP_SKB,
    &sock::CGROUP_SOCK,
    &lwt::LWT_IN,
    &lwt::LWT_OUT,
    &lwt::LWT_XMIT,
    &sockmap::SOCK_OPS,
    &sockmap::SK_SKB,
    &cgroup::CGROUP_DEVICE,
    &sockmap::SK_MSG,
    &tracing::RAW_TRACEPOINT,
    &sock_addr::CGROUP_SOCK_ADDR,
    &lwt::LWT_SEG6LOCAL,
    &tracing::LIRC_MODE2,
    &sk_lookup::SK_REUSEPORT,
    &flow_dissector::FLOW_DISSECTOR,
    &cgroup::CGROUP_SYSCTL,
    &tracing::RAW_TRACEPOINT_WRITABLE,
    &cgroup::CGROUP_SOCKOPT,
    &tracing::TRACING,
    &tracing::STRUCT_OPS,
    &tracing::EXT,
    &tracing::LSM,
    &sk_lookup::SK_LOOKUP,
    &tracing::SYSCALL,
    &netfilter::NETFILTER,
];
