//! Why the user engine has no body for a helper, and what to use instead. One reason stands for all helpers that lack the
//! same thing.

pub(crate) const KERNEL_PACKETS: &str = "the user engine traces no kernel functions that hold packets; \
     bpf_perf_event_output() samples the packet a program runs on";
pub(crate) const PERF_COUNTERS: &str =
    "the user engine has no perf counters; count in a map, or run the program with --engine kernel";
pub(crate) const STACKS: &str =
    "the user engine has no kernel and user call stacks to walk; run the program with --engine kernel";
pub(crate) const CGROUPS: &str = "the user engine has no cgroup arrays and no cgroup hierarchy; compare \
     bpf_get_current_cgroup_id() with ids in a hash map";
pub(crate) const TASKS: &str = "the user engine has no task structures; bpf_get_current_pid_tgid(), \
     bpf_get_current_uid_gid() and bpf_get_current_comm() tell about the current task";
pub(crate) const SIGNALS: &str =
    "the user engine would signal its own process; report through a ring buffer instead";
pub(crate) const SOCKETS: &str = "the user engine has no sockets yet; run the program with --engine kernel";
pub(crate) const SEG6: &str = "the user engine has no lightweight tunnels; change the packet with \
     bpf_skb_adjust_room() in a traffic control program, or run it with --engine kernel";
pub(crate) const LIRC: &str = "the user engine has no infrared devices; run the program with --engine kernel";
pub(crate) const STORAGE: &str =
    "the user engine has no cgroup, socket, inode or task storage yet; keep the values in a hash map";
pub(crate) const SYSCTL: &str =
    "the user engine has no sysctl hook yet; run the program with --engine kernel";
pub(crate) const KERNEL_HOOK: &str =
    "only a hook inside the kernel knows it; run the program with --engine kernel";
pub(crate) const KERNEL_OBJECTS: &str =
    "the user engine has no kernel objects; run the program with --engine kernel";
pub(crate) const ITERATORS: &str =
    "the user engine has no iterators yet; run the program with --engine kernel";
pub(crate) const SNPRINTF_BTF: &str =
    "the user engine has no kernel types at run time; print the fields with bpf_snprintf()";
pub(crate) const LSM_HOOKS: &str =
    "the user engine has no security hooks; run the program with --engine kernel";
pub(crate) const SYSCALLS: &str = "the user engine makes no system calls for programs; do it in the loader, or run the program with --engine kernel";
pub(crate) const TIMERS: &str =
    "the user engine has no timers yet; run the program again instead, or use --engine kernel";
pub(crate) const CGROUP_RETVAL: &str = "the user engine has no system call to return from; return the verdict, or run the program with --engine kernel";
pub(crate) const SYNCOOKIES: &str =
    "the user engine lacks the kernel's SYN cookie secret; run the program with --engine kernel";
