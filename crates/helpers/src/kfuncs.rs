//! Rows of the kernel functions that programs may call: what BTF does not say of them. One row each, sorted by name.
//!
//! Source: the sets that the kernel registers (`BTF_ID_FLAGS` in kernel/bpf, kernel/trace, fs, mm, net), and for the
//! program types what a running Linux 6.18 lets each type call. `since` is the version in which programs could call it
//! first. A kernel function without a row is refused: nothing is known of what it does to its arguments.

use skep_platform::Version;
use skep_platform::helper::DynptrKind;
use skep_platform::kfunc::KfuncKind::{self, *};
use skep_platform::kfunc::kf::*;
use skep_platform::kfunc::{Kfunc, Places};
use skep_platform::uapi::AttachType;
use skep_platform::uapi::ProgType::{self, *};

/// Whether a row's function may be called while a spin lock is held.
const LOCKED: bool = true;
/// The other way.
const FREE: bool = false;

#[allow(clippy::too_many_arguments, reason = "every field of a row is written out")]
const fn row(
    name: &'static str,
    since: (u16, u16),
    flags: u16,
    prog_types: Option<&'static [ProgType]>,
    kind: KfuncKind,
    places: Places,
    under_lock: bool,
) -> Kfunc {
    Kfunc { name, since: Version(since.0, since.1), flags, kind, prog_types, places, under_lock }
}

const COMMON: Option<&[ProgType]> = None;
const G_TRACING: Option<&[ProgType]> = Some(&[Tracing, Tracepoint, PerfEvent, Lsm]);
const G_GENERIC: Option<&[ProgType]> = Some(&[
    Tracing,
    Tracepoint,
    PerfEvent,
    Lsm,
    SchedCls,
    Xdp,
    StructOps,
    Syscall,
    CgroupSkb,
    CgroupSock,
    CgroupDevice,
    CgroupSockAddr,
    CgroupSockopt,
    CgroupSysctl,
    SockOps,
]);
const G_CPUMASK: Option<&[ProgType]> = Some(&[Tracing, Tracepoint, PerfEvent, Lsm, StructOps, Syscall]);
const G_SKB: Option<&[ProgType]> = Some(&[
    Tracing,
    Tracepoint,
    PerfEvent,
    Lsm,
    SchedCls,
    SchedAct,
    SkSkb,
    SocketFilter,
    Netfilter,
    CgroupSkb,
    CgroupSock,
    CgroupDevice,
    CgroupSockAddr,
    CgroupSockopt,
    CgroupSysctl,
    SockOps,
    LwtIn,
    LwtOut,
    LwtXmit,
    LwtSeg6local,
]);
const G_XDP: Option<&[ProgType]> = Some(&[Xdp]);
const G_TC: Option<&[ProgType]> = Some(&[SchedCls]);
const G_TC_XDP: Option<&[ProgType]> = Some(&[SchedCls, Xdp]);
const G_KPROBE: Option<&[ProgType]> = Some(&[Kprobe]);
const G_STRUCT_OPS: Option<&[ProgType]> = Some(&[StructOps]);
const G_SYSCALL: Option<&[ProgType]> = Some(&[Syscall]);
const G_CRYPTO: Option<&[ProgType]> = Some(&[SchedCls, SchedAct, Xdp]);
const G_TC_ACT: Option<&[ProgType]> = Some(&[SchedCls, SchedAct]);
const G_LSM: Option<&[ProgType]> = Some(&[Lsm]);
const G_TRACING_ONLY: Option<&[ProgType]> = Some(&[Tracing]);
const G_TEST: Option<&[ProgType]> = Some(&[SchedCls, Tracing, Tracepoint, PerfEvent, Lsm, Syscall]);
const G_CGROUP: Option<&[ProgType]> =
    Some(&[CgroupSkb, CgroupSock, CgroupDevice, CgroupSockAddr, CgroupSockopt, CgroupSysctl, SockOps]);

const ANYWHERE: Places = Places::Anywhere;
const SESSIONS: Places = Places::Attached(&[AttachType::TraceKprobeSession, AttachType::TraceUprobeSession]);
const ITERATORS: Places = Places::Attached(&[AttachType::TraceIter]);

/// Every row.
#[rustfmt::skip]
pub static KFUNCS: &[Kfunc] = &[
    row("__bpf_trap", (6, 17), 0, COMMON, Trap, ANYWHERE, FREE),
    row("bbr_cwnd_event", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("bbr_init", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("bbr_main", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("bbr_min_tso_segs", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("bbr_set_state", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("bbr_sndbuf_expand", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("bbr_ssthresh", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("bbr_undo_cwnd", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("bpf_arena_alloc_pages", (6, 9), TRUSTED_ARGS | SLEEPABLE, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_arena_free_pages", (6, 9), TRUSTED_ARGS | SLEEPABLE, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_arena_reserve_pages", (6, 17), TRUSTED_ARGS | SLEEPABLE, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_cast_to_kern_ctx", (6, 2), FASTCALL, COMMON, CastToKernCtx, ANYWHERE, FREE),
    row("bpf_cgroup_acquire", (6, 2), ACQUIRE | RCU | RET_NULL, G_GENERIC, Plain, ANYWHERE, FREE),
    row("bpf_cgroup_ancestor", (6, 2), ACQUIRE | RCU | RET_NULL, G_GENERIC, Plain, ANYWHERE, FREE),
    row("bpf_cgroup_from_id", (6, 4), ACQUIRE | RET_NULL, G_GENERIC, Plain, ANYWHERE, FREE),
    row("bpf_cgroup_read_xattr", (6, 17), RCU, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_cgroup_release", (6, 2), RELEASE, G_GENERIC, Plain, ANYWHERE, FREE),
    row("bpf_copy_from_user_dynptr", (6, 16), SLEEPABLE, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_copy_from_user_str", (6, 12), SLEEPABLE, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_copy_from_user_str_dynptr", (6, 16), SLEEPABLE, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_copy_from_user_task_dynptr", (6, 16), SLEEPABLE | TRUSTED_ARGS, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_copy_from_user_task_str", (6, 15), SLEEPABLE, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_copy_from_user_task_str_dynptr", (6, 16), SLEEPABLE | TRUSTED_ARGS, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_acquire", (6, 3), ACQUIRE | TRUSTED_ARGS, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_and", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_any_and_distribute", (6, 5), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_any_distribute", (6, 5), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_clear", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_clear_cpu", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_copy", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_create", (6, 3), ACQUIRE | RET_NULL, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_empty", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_equal", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_first", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_first_and", (6, 5), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_first_zero", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_full", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_intersects", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_or", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_populate", (6, 14), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_release", (6, 3), RELEASE, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_set_cpu", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_setall", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_subset", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_test_and_clear_cpu", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_test_and_set_cpu", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_test_cpu", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_weight", (6, 8), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_cpumask_xor", (6, 3), RCU, G_CPUMASK, Plain, ANYWHERE, FREE),
    row("bpf_crypto_ctx_acquire", (6, 10), ACQUIRE | RCU | RET_NULL, G_SYSCALL, Plain, ANYWHERE, FREE),
    row("bpf_crypto_ctx_create", (6, 10), ACQUIRE | RET_NULL | SLEEPABLE, G_SYSCALL, Plain, ANYWHERE, FREE),
    row("bpf_crypto_ctx_release", (6, 10), RELEASE, G_SYSCALL, Plain, ANYWHERE, FREE),
    row("bpf_crypto_decrypt", (6, 10), RCU, G_CRYPTO, Plain, ANYWHERE, FREE),
    row("bpf_crypto_encrypt", (6, 10), RCU, G_CRYPTO, Plain, ANYWHERE, FREE),
    row("bpf_ct_change_status", (6, 0), TRUSTED_ARGS, G_TC_XDP, Plain, ANYWHERE, FREE),
    row("bpf_ct_change_timeout", (6, 0), TRUSTED_ARGS, G_TC_XDP, Plain, ANYWHERE, FREE),
    row("bpf_ct_insert_entry", (6, 0), ACQUIRE | RET_NULL | RELEASE, G_TC_XDP, Plain, ANYWHERE, FREE),
    row("bpf_ct_release", (5, 18), RELEASE, G_TC_XDP, Plain, ANYWHERE, FREE),
    row("bpf_ct_set_nat_info", (6, 1), TRUSTED_ARGS, G_TC_XDP, Plain, ANYWHERE, FREE),
    row("bpf_ct_set_status", (6, 0), TRUSTED_ARGS, G_TC_XDP, Plain, ANYWHERE, FREE),
    row("bpf_ct_set_timeout", (6, 0), TRUSTED_ARGS, G_TC_XDP, Plain, ANYWHERE, FREE),
    row("bpf_dynptr_adjust", (6, 5), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_dynptr_clone", (6, 5), 0, COMMON, DynptrClone, ANYWHERE, FREE),
    row("bpf_dynptr_copy", (6, 16), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_dynptr_from_skb", (6, 4), TRUSTED_ARGS, G_SKB, DynptrFrom(DynptrKind::Skb), ANYWHERE, FREE),
    row("bpf_dynptr_from_skb_meta", (6, 18), TRUSTED_ARGS, G_TC_ACT, DynptrFrom(DynptrKind::SkbMeta), ANYWHERE, FREE),
    row("bpf_dynptr_from_xdp", (6, 4), 0, G_XDP, DynptrFrom(DynptrKind::Xdp), ANYWHERE, FREE),
    row("bpf_dynptr_is_null", (6, 5), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_dynptr_is_rdonly", (6, 5), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_dynptr_memset", (6, 17), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_dynptr_size", (6, 5), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_dynptr_slice", (6, 4), RET_NULL, COMMON, DynptrSlice { writable: false }, ANYWHERE, FREE),
    row("bpf_dynptr_slice_rdwr", (6, 4), RET_NULL, COMMON, DynptrSlice { writable: true }, ANYWHERE, FREE),
    row("bpf_get_dentry_xattr", (6, 12), SLEEPABLE | TRUSTED_ARGS, G_LSM, Plain, ANYWHERE, FREE),
    row("bpf_get_file_xattr", (6, 8), SLEEPABLE | TRUSTED_ARGS, G_LSM, Plain, ANYWHERE, FREE),
    row("bpf_get_kmem_cache", (6, 13), RET_NULL, COMMON, ReturnsUntrusted, ANYWHERE, FREE),
    row("bpf_get_task_exe_file", (6, 12), ACQUIRE | TRUSTED_ARGS | RET_NULL, G_LSM, Plain, ANYWHERE, FREE),
    row("bpf_iter_bits_destroy", (6, 11), ITER_DESTROY, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_bits_new", (6, 11), ITER_NEW, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_bits_next", (6, 11), ITER_NEXT | RET_NULL, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_css_destroy", (6, 7), ITER_DESTROY, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_css_new", (6, 7), ITER_NEW | TRUSTED_ARGS | RCU_PROTECTED, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_css_next", (6, 7), ITER_NEXT | RET_NULL, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_css_task_destroy", (6, 7), ITER_DESTROY, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_css_task_new", (6, 7), ITER_NEW | TRUSTED_ARGS, COMMON, Plain, Places::HooksIteratorsSleepable, FREE),
    row("bpf_iter_css_task_next", (6, 7), ITER_NEXT | RET_NULL, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_dmabuf_destroy", (6, 16), ITER_DESTROY | SLEEPABLE, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_dmabuf_new", (6, 16), ITER_NEW | SLEEPABLE, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_dmabuf_next", (6, 16), ITER_NEXT | RET_NULL | SLEEPABLE, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_kmem_cache_destroy", (6, 13), ITER_DESTROY | SLEEPABLE, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_kmem_cache_new", (6, 13), ITER_NEW | SLEEPABLE, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_kmem_cache_next", (6, 13), ITER_NEXT | RET_NULL | SLEEPABLE, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_num_destroy", (6, 4), ITER_DESTROY, COMMON, Plain, ANYWHERE, LOCKED),
    row("bpf_iter_num_new", (6, 4), ITER_NEW, COMMON, Plain, ANYWHERE, LOCKED),
    row("bpf_iter_num_next", (6, 4), ITER_NEXT | RET_NULL, COMMON, Plain, ANYWHERE, LOCKED),
    row("bpf_iter_task_destroy", (6, 7), ITER_DESTROY, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_task_new", (6, 7), ITER_NEW | TRUSTED_ARGS | RCU_PROTECTED, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_task_next", (6, 7), ITER_NEXT | RET_NULL, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_task_vma_destroy", (6, 7), ITER_DESTROY, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_task_vma_new", (6, 7), ITER_NEW | RCU, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_iter_task_vma_next", (6, 7), ITER_NEXT | RET_NULL, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_key_put", (6, 1), RELEASE, G_GENERIC, Plain, ANYWHERE, FREE),
    row("bpf_kfunc_call_memb_release", (6, 0), RELEASE, G_TEST, Plain, ANYWHERE, FREE),
    row("bpf_kfunc_call_test_release", (6, 0), RELEASE, G_TEST, Plain, ANYWHERE, FREE),
    row("bpf_list_back", (6, 16), RET_NULL, G_GENERIC, ListPeek, ANYWHERE, LOCKED),
    row("bpf_list_front", (6, 16), RET_NULL, G_GENERIC, ListPeek, ANYWHERE, LOCKED),
    row("bpf_list_pop_back", (6, 2), ACQUIRE | RET_NULL, G_GENERIC, ListPop, ANYWHERE, LOCKED),
    row("bpf_list_pop_front", (6, 2), ACQUIRE | RET_NULL, G_GENERIC, ListPop, ANYWHERE, LOCKED),
    row("bpf_list_push_back_impl", (6, 2), 0, G_GENERIC, ListPush, ANYWHERE, LOCKED),
    row("bpf_list_push_front_impl", (6, 2), 0, G_GENERIC, ListPush, ANYWHERE, LOCKED),
    row("bpf_local_irq_restore", (6, 14), 0, COMMON, IrqRestore, ANYWHERE, FREE),
    row("bpf_local_irq_save", (6, 14), 0, COMMON, IrqSave, ANYWHERE, FREE),
    row("bpf_lookup_system_key", (6, 1), ACQUIRE | RET_NULL, G_GENERIC, Plain, ANYWHERE, FREE),
    row("bpf_lookup_user_key", (6, 1), ACQUIRE | RET_NULL | SLEEPABLE, G_GENERIC, Plain, ANYWHERE, FREE),
    row("bpf_map_sum_elem_count", (6, 6), TRUSTED_ARGS, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_modify_return_test_tp", (6, 9), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_obj_drop_impl", (6, 2), RELEASE, G_GENERIC, ObjDrop, ANYWHERE, FREE),
    row("bpf_obj_new_impl", (6, 2), ACQUIRE | RET_NULL, G_GENERIC, ObjNew, ANYWHERE, FREE),
    row("bpf_path_d_path", (6, 12), TRUSTED_ARGS, G_LSM, Plain, ANYWHERE, FREE),
    row("bpf_percpu_obj_drop_impl", (6, 7), RELEASE, G_GENERIC, PercpuObjDrop, ANYWHERE, FREE),
    row("bpf_percpu_obj_new_impl", (6, 7), ACQUIRE | RET_NULL, G_GENERIC, PercpuObjNew, ANYWHERE, FREE),
    row("bpf_preempt_disable", (6, 10), 0, COMMON, PreemptDisable, ANYWHERE, FREE),
    row("bpf_preempt_enable", (6, 10), 0, COMMON, PreemptEnable, ANYWHERE, FREE),
    row("bpf_probe_read_kernel_dynptr", (6, 16), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_probe_read_kernel_str_dynptr", (6, 16), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_probe_read_user_dynptr", (6, 16), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_probe_read_user_str_dynptr", (6, 16), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_put_file", (6, 12), RELEASE, G_LSM, Plain, ANYWHERE, FREE),
    row("bpf_rbtree_add_impl", (6, 3), 0, G_GENERIC, RbtreeAdd, ANYWHERE, LOCKED),
    row("bpf_rbtree_first", (6, 3), RET_NULL, G_GENERIC, RbtreePeek, ANYWHERE, LOCKED),
    row("bpf_rbtree_left", (6, 16), RET_NULL, G_GENERIC, RbtreePeek, ANYWHERE, LOCKED),
    row("bpf_rbtree_remove", (6, 3), ACQUIRE | RET_NULL, G_GENERIC, RbtreeRemove, ANYWHERE, LOCKED),
    row("bpf_rbtree_right", (6, 16), RET_NULL, G_GENERIC, RbtreePeek, ANYWHERE, LOCKED),
    row("bpf_rbtree_root", (6, 16), RET_NULL, G_GENERIC, RbtreePeek, ANYWHERE, LOCKED),
    row("bpf_rcu_read_lock", (6, 2), 0, COMMON, RcuLock, ANYWHERE, FREE),
    row("bpf_rcu_read_unlock", (6, 2), 0, COMMON, RcuUnlock, ANYWHERE, FREE),
    row("bpf_rdonly_cast", (6, 2), FASTCALL, COMMON, RdonlyCast, ANYWHERE, FREE),
    row("bpf_refcount_acquire_impl", (6, 4), ACQUIRE | RET_NULL | RCU, G_GENERIC, RefcountAcquire, ANYWHERE, LOCKED),
    row("bpf_remove_dentry_xattr", (6, 14), SLEEPABLE | TRUSTED_ARGS, G_LSM, Plain, ANYWHERE, FREE),
    row("bpf_res_spin_lock", (6, 15), 0, COMMON, ResLock { irq: false }, ANYWHERE, LOCKED),
    row("bpf_res_spin_lock_irqsave", (6, 15), 0, COMMON, ResLock { irq: true }, ANYWHERE, LOCKED),
    row("bpf_res_spin_unlock", (6, 15), 0, COMMON, ResUnlock { irq: false }, ANYWHERE, LOCKED),
    row("bpf_res_spin_unlock_irqrestore", (6, 15), 0, COMMON, ResUnlock { irq: true }, ANYWHERE, LOCKED),
    row("bpf_send_signal_task", (6, 13), TRUSTED_ARGS, G_GENERIC, Plain, ANYWHERE, FREE),
    row("bpf_session_cookie", (6, 10), 0, G_KPROBE, ReturnsMem(8), SESSIONS, FREE),
    row("bpf_session_is_return", (6, 10), 0, G_KPROBE, Plain, SESSIONS, FREE),
    row("bpf_set_dentry_xattr", (6, 14), SLEEPABLE | TRUSTED_ARGS, G_LSM, Plain, ANYWHERE, FREE),
    row("bpf_sk_assign_tcp_reqsk", (6, 9), TRUSTED_ARGS, G_TC, Plain, ANYWHERE, FREE),
    row("bpf_skb_ct_alloc", (6, 0), ACQUIRE | RET_NULL, G_TC_XDP, Plain, ANYWHERE, FREE),
    row("bpf_skb_ct_lookup", (5, 18), ACQUIRE | RET_NULL, G_TC_XDP, Plain, ANYWHERE, FREE),
    row("bpf_skb_get_fou_encap", (6, 4), 0, G_TC, Plain, ANYWHERE, FREE),
    row("bpf_skb_set_fou_encap", (6, 4), 0, G_TC, Plain, ANYWHERE, FREE),
    row("bpf_sock_addr_set_sun_path", (6, 7), 0, G_CGROUP, Plain, ANYWHERE, FREE),
    row("bpf_sock_destroy", (6, 5), TRUSTED_ARGS, G_TRACING_ONLY, Plain, ITERATORS, FREE),
    row("bpf_sock_ops_enable_tx_tstamp", (6, 15), TRUSTED_ARGS, G_CGROUP, Plain, ANYWHERE, FREE),
    row("bpf_strcasecmp", (6, 18), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_strchr", (6, 17), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_strchrnul", (6, 17), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_strcmp", (6, 17), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_strcspn", (6, 17), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_stream_vprintk_impl", (6, 17), TRUSTED_ARGS, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_strlen", (6, 17), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_strnchr", (6, 17), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_strnlen", (6, 17), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_strnstr", (6, 17), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_strrchr", (6, 17), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_strspn", (6, 17), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_strstr", (6, 17), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_task_acquire", (6, 2), ACQUIRE | RCU | RET_NULL, G_GENERIC, Plain, ANYWHERE, FREE),
    row("bpf_task_from_pid", (6, 2), ACQUIRE | RET_NULL, G_GENERIC, Plain, ANYWHERE, FREE),
    row("bpf_task_from_vpid", (6, 14), ACQUIRE | RET_NULL, G_GENERIC, Plain, ANYWHERE, FREE),
    row("bpf_task_get_cgroup1", (6, 8), ACQUIRE | RCU | RET_NULL, G_GENERIC, Plain, ANYWHERE, FREE),
    row("bpf_task_release", (6, 2), RELEASE, G_GENERIC, Plain, ANYWHERE, FREE),
    row("bpf_task_under_cgroup", (6, 5), RCU, G_GENERIC, Plain, ANYWHERE, FREE),
    row("bpf_task_work_schedule_resume_impl", (6, 18), TRUSTED_ARGS, COMMON, AsyncCallback { map: 2, returns_zero: false }, ANYWHERE, FREE),
    row("bpf_task_work_schedule_signal_impl", (6, 18), TRUSTED_ARGS, COMMON, AsyncCallback { map: 2, returns_zero: false }, ANYWHERE, FREE),
    row("bpf_throw", (6, 7), 0, G_GENERIC, Throw, ANYWHERE, FREE),
    row("bpf_verify_pkcs7_signature", (6, 1), SLEEPABLE, G_GENERIC, Plain, ANYWHERE, FREE),
    row("bpf_wq_init", (6, 10), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_wq_set_callback_impl", (6, 10), 0, COMMON, AsyncCallback { map: 0, returns_zero: true }, ANYWHERE, FREE),
    row("bpf_wq_start", (6, 10), 0, COMMON, Plain, ANYWHERE, FREE),
    row("bpf_xdp_ct_alloc", (6, 0), ACQUIRE | RET_NULL, G_TC_XDP, Plain, ANYWHERE, FREE),
    row("bpf_xdp_ct_lookup", (5, 18), ACQUIRE | RET_NULL, G_TC_XDP, Plain, ANYWHERE, FREE),
    row("bpf_xdp_flow_lookup", (6, 11), TRUSTED_ARGS | RET_NULL, G_XDP, Plain, ANYWHERE, FREE),
    row("bpf_xdp_get_xfrm_state", (6, 8), RET_NULL | ACQUIRE, G_XDP, Plain, ANYWHERE, FREE),
    row("bpf_xdp_metadata_rx_hash", (6, 3), TRUSTED_ARGS, G_XDP, DeviceBound, ANYWHERE, FREE),
    row("bpf_xdp_metadata_rx_timestamp", (6, 3), TRUSTED_ARGS, G_XDP, DeviceBound, ANYWHERE, FREE),
    row("bpf_xdp_metadata_rx_vlan_tag", (6, 8), TRUSTED_ARGS, G_XDP, DeviceBound, ANYWHERE, FREE),
    row("bpf_xdp_pull_data", (6, 18), 0, G_XDP, ChangesPacket, ANYWHERE, FREE),
    row("bpf_xdp_xfrm_state_release", (6, 8), RELEASE, G_XDP, Plain, ANYWHERE, FREE),
    row("crash_kexec", (6, 1), DESTRUCTIVE, G_GENERIC, Plain, ANYWHERE, FREE),
    row("css_rstat_flush", (6, 0), SLEEPABLE, G_TRACING, Plain, ANYWHERE, FREE),
    row("css_rstat_updated", (6, 0), 0, G_TRACING, Plain, ANYWHERE, FREE),
    row("cubictcp_acked", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("cubictcp_cong_avoid", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("cubictcp_cwnd_event", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("cubictcp_init", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("cubictcp_recalc_ssthresh", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("cubictcp_state", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("dctcp_cwnd_event", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("dctcp_cwnd_undo", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("dctcp_init", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("dctcp_ssthresh", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("dctcp_state", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("dctcp_update_alpha", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("tcp_cong_avoid_ai", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("tcp_reno_cong_avoid", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("tcp_reno_ssthresh", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("tcp_reno_undo_cwnd", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
    row("tcp_slow_start", (5, 13), 0, G_STRUCT_OPS, Plain, ANYWHERE, FREE),
];

#[cfg(test)]
mod tests {
    use super::KFUNCS;

    #[test]
    fn rows_are_sorted_and_once() {
        assert!(KFUNCS.windows(2).all(|w| w[0].name < w[1].name));
    }

    #[test]
    fn iterators_come_in_threes() {
        for k in KFUNCS.iter().filter(|k| k.has(super::ITER_NEW)) {
            let stem = k.name.strip_suffix("_new").expect("a constructor's name ends so");
            for (end, flag) in [("_next", super::ITER_NEXT), ("_destroy", super::ITER_DESTROY)] {
                let name = format!("{stem}{end}");
                assert!(KFUNCS.iter().any(|k| k.name == name && k.has(flag)), "{name}");
            }
        }
    }
}
