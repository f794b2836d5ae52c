//! What helpers ask for beyond their descriptors: one row each, by UAPI name.

/// A rule that no descriptor field says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Quirk {
    /// This argument must be zero: the helper cannot fail.
    ZeroArg(u8),
    /// Returns an error, or at most the size that it was given.
    RetUpToSize,
    /// Returns a CPU number.
    RetCpu,
    /// The result is its argument in another type, and the same reference.
    Cast,
    /// Format string in argument 3, its arguments in 4, their size in 5.
    Format,
    /// Writing through a dynptr over a packet moves the packet.
    DynptrWrite,
    /// The memory argument is a map value.
    DynptrFromMem,
    /// Gives a reference id of the dynptr to what it returns.
    DynptrData,
    /// Adds or takes a kernel pointer.
    KptrXchg,
    /// Releases any kind of socket.
    SkRelease,
    /// Stores into a map that holds sockets.
    SockMapUpdate,
    /// May be given a NULL pointer of a field.
    TimerInit,
    /// Sets a callback.
    TimerCallback,
    /// Peeks: argument is the value in bloom filters too.
    Peek,
    /// Looks up: a constant key makes the result certain in arrays.
    Lookup,
    /// Pointer to a per-CPU variable.
    PerCpu,
    /// Only where paths are whole.
    DPath,
    /// Not while the socket is being released.
    SockOpt,
}

const QUIRKS: &[(&str, Quirk)] = &[
    ("bpf_get_local_storage", Quirk::ZeroArg(2)),
    ("bpf_get_stack", Quirk::RetUpToSize),
    ("bpf_get_task_stack", Quirk::RetUpToSize),
    ("bpf_probe_read_str", Quirk::RetUpToSize),
    ("bpf_probe_read_kernel_str", Quirk::RetUpToSize),
    ("bpf_probe_read_user_str", Quirk::RetUpToSize),
    ("bpf_get_smp_processor_id", Quirk::RetCpu),
    ("bpf_tcp_sock", Quirk::Cast),
    ("bpf_sk_fullsock", Quirk::Cast),
    ("bpf_skc_to_tcp_sock", Quirk::Cast),
    ("bpf_skc_to_tcp6_sock", Quirk::Cast),
    ("bpf_skc_to_udp6_sock", Quirk::Cast),
    ("bpf_skc_to_mptcp_sock", Quirk::Cast),
    ("bpf_skc_to_tcp_timewait_sock", Quirk::Cast),
    ("bpf_skc_to_tcp_request_sock", Quirk::Cast),
    ("bpf_snprintf", Quirk::Format),
    ("bpf_dynptr_write", Quirk::DynptrWrite),
    ("bpf_dynptr_from_mem", Quirk::DynptrFromMem),
    ("bpf_dynptr_data", Quirk::DynptrData),
    ("bpf_kptr_xchg", Quirk::KptrXchg),
    ("bpf_sk_release", Quirk::SkRelease),
    ("bpf_map_update_elem", Quirk::SockMapUpdate),
    ("bpf_map_delete_elem", Quirk::SockMapUpdate),
    ("bpf_timer_init", Quirk::TimerInit),
    ("bpf_timer_set_callback", Quirk::TimerCallback),
    ("bpf_map_peek_elem", Quirk::Peek),
    ("bpf_map_lookup_elem", Quirk::Lookup),
    ("bpf_d_path", Quirk::DPath),
    ("bpf_setsockopt", Quirk::SockOpt),
    ("bpf_getsockopt", Quirk::SockOpt),
    ("bpf_per_cpu_ptr", Quirk::PerCpu),
    ("bpf_this_cpu_ptr", Quirk::PerCpu),
];

/// The rule of a helper.
pub(crate) fn quirk(name: &str) -> Option<Quirk> {
    QUIRKS.iter().find(|(n, _)| *n == name).map(|(_, q)| *q)
}
