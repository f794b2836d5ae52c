//! Why the kernel says no, in words: which permission, limit or option is missing, and what to do about it.

use skep_platform::Errno;

/// What the engine asked the kernel for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// To create a map.
    Map,
    /// To load types.
    Types,
    /// To load a program.
    Load,
    /// To run a program once.
    Run,
    /// To attach a program.
    Attach,
    /// To list, open by id or describe what exists.
    Info,
    /// What is attached to a cgroup or device.
    Query,
    /// To map the memory that a perf event array's records come in.
    Rings,
}

/// What this process may do, as far as bpf(2) asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rights {
    /// Effective capabilities; `None` when they cannot be read.
    pub caps: Option<u64>,
    /// A seccomp filter is at work.
    pub seccomp: bool,
    /// The kernel is locked down for confidentiality.
    pub lockdown: bool,
    /// This is not the machine's first user namespace.
    pub namespaced: bool,
    /// The kernel counts maps and programs against RLIMIT_MEMLOCK (before 5.11).
    pub counted: bool,
}

/// The capabilities that bpf(2) asks for: bit, name, what for.
const CAPS: [(u32, &str, &str); 3] = [
    (39, "CAP_BPF", "loading anything"),
    (12, "CAP_NET_ADMIN", "network programs"),
    (38, "CAP_PERFMON", "tracing programs and pointer arithmetic"),
];
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;

impl Rights {
    /// Those of this process.
    pub fn own() -> Rights {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
        let users = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Rights { counted: counts_memory(&release), ..Rights::from_texts(&status, &lockdown, &users) }
    }

    /// From `/proc/self/status`, `/sys/kernel/security/lockdown` and `/proc/self/uid_map`.
    pub fn from_texts(status: &str, lockdown: &str, uid_map: &str) -> Rights {
        let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
        Rights {
            caps: field("CapEff:").and_then(|h| u64::from_str_radix(h, 16).ok()),
            seccomp: field("Seccomp:").is_some_and(|v| v != "0"),
            lockdown: lockdown.contains("[confidentiality]"),
            counted: false,
            namespaced: uid_map.split_whitespace().nth(2).is_some_and(|n| n != "4294967295"),
        }
    }

    fn has(&self, bit: u32) -> bool {
        self.caps.is_none_or(|c| c >> bit & 1 == 1)
    }

    /// Capabilities that are missing.
    fn missing(&self) -> Vec<&'static str> {
        if self.has(CAP_SYS_ADMIN) {
            return Vec::new();
        }
        CAPS.iter().filter(|c| !self.has(c.0)).map(|c| c.1).collect()
    }
}

/// Whether an error number means that something is not allowed, rather than wrong.
pub fn is_permission(errno: Errno) -> bool {
    errno == Errno::EPERM
}

/// What a kernel's error number means for what was asked, and what to do next.
pub fn why(asked: Asked, errno: Errno, rights: &Rights) -> String {
    match errno {
        Errno::EPERM if asked == Asked::Rings && (rights.has(CAP_SYS_ADMIN) || rights.has(CAP_PERFMON)) => {
            "its pages may not be locked in memory: this user's share (RLIMIT_MEMLOCK and kernel.perf_event_mlock_kb) is \
             used up; raise it with `ulimit -l unlimited` or the sysctl, end other readers, or give the binary CAP_IPC_LOCK"
                .into()
        }
        Errno::EPERM if asked == Asked::Info && !rights.has(CAP_SYS_ADMIN) => {
            "CAP_SYS_ADMIN is missing, which listing, opening by id, name or tag, and statistics take; run as root, or name \
             what is pinned by its path: pinned PATH"
                .into()
        }
        Errno::EPERM if asked == Asked::Query && !rights.has(CAP_NET_ADMIN) && !rights.has(CAP_SYS_ADMIN) => {
            "CAP_NET_ADMIN is missing, which asking what is attached takes; run as root, or give it to the binary: setcap \
             cap_net_admin=ep PATH"
                .into()
        }
        Errno::EPERM => permission(rights),
        Errno::ENOSYS => "the kernel has no bpf(2): it was built without CONFIG_BPF_SYSCALL=y; boot one that has it, \
                          or use --engine user"
            .into(),
        Errno::E2BIG if asked == Asked::Load => "the program has more instructions than the kernel takes (a million \
                                                 for root, 4096 without CAP_BPF), or the kernel is older than a \
                                                 field that was set"
            .into(),
        Errno::E2BIG => "the kernel is older than a field that was set, or the map is too big; make it smaller".into(),
        Errno::ENOMEM => "the kernel has no memory for it; make max_entries smaller, or set BPF_F_NO_PREALLOC".into(),
        Errno::ENOTSUPP | Errno::EOPNOTSUPP if asked == Asked::Run => {
            "the kernel cannot test-run this program type (BPF_PROG_TEST_RUN); attach it, or use --engine user".into()
        }
        Errno::EINVAL => invalid(asked).into(),
        e => e.to_string(),
    }
}

/// Kernels before 5.11.
fn counts_memory(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|n| n.trim().parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) < (5, 11))
}

fn invalid(asked: Asked) -> &'static str {
    match asked {
        Asked::Map => {
            "the kernel takes no map of this type, sizes and flags (EINVAL): it may be older than the map type, or built \
             without the option for it; `skep feature probe` shows what it has"
        }
        Asked::Types => "the kernel does not take the types (EINVAL)",
        Asked::Load => {
            "the kernel does not take a program of this type, attach type and flags (EINVAL): it may be older than them, \
             or built without the option for them; `skep feature probe` shows what it has"
        }
        Asked::Info | Asked::Query | Asked::Rings => {
            "the kernel does not take the request (EINVAL): it may be older than it"
        }
        Asked::Attach => {
            "the kernel does not take a program of this type on this hook (EINVAL): it may be older than the hook, or built \
             without the option for it"
        }
        Asked::Run => {
            "the kernel does not run it on this input (EINVAL): packets need at least an Ethernet header and, for XDP \
             without fragments, have to fit one page; context fields that the kernel sets itself must be zero"
        }
    }
}

fn permission(rights: &Rights) -> String {
    let missing = rights.missing();
    if missing.is_empty() {
        return match rights {
            Rights { lockdown: true, .. } => "the kernel is locked down for confidentiality \
                                              (/sys/kernel/security/lockdown); boot it without lockdown=confidentiality"
                .into(),
            Rights { namespaced: true, .. } => "the capabilities are those of a user namespace, and bpf(2) asks for the \
                                                machine's; run outside of the container, or with a BPF token that \
                                                delegates this (`skep token list` shows what is delegated)"
                .into(),
            Rights { seccomp: true, .. } => "a seccomp filter keeps bpf(2) from this process; start the container with \
                                             one that allows it"
                .into(),
            Rights { counted: true, .. } => "all capabilities are there, and kernels before 5.11 count maps and programs \
                                             against RLIMIT_MEMLOCK: try `ulimit -l unlimited`"
                .into(),
            _ => "all capabilities are there; a policy of this machine forbids it (a security module, or a kernel \
                  that was built to refuse this kind of program); other program types may load nevertheless"
                .into(),
        };
    }
    let purpose: Vec<String> = CAPS
        .iter()
        .filter(|c| missing.contains(&c.1))
        .map(|(_, name, purpose)| format!("{name} (for {purpose})"))
        .collect();
    format!(
        "{} {} missing; run as root, or give them to the binary: setcap cap_bpf,cap_net_admin,cap_perfmon=ep PATH; \
         --engine user needs none",
        purpose.join(", "),
        if missing.len() == 1 { "is" } else { "are" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tskep\nCapEff:\t0000000000001000\nSeccomp:\t0\n";

    #[test]
    fn rights_are_read() {
        let r = Rights::from_texts(STATUS, "[none] integrity confidentiality\n", "0 0 4294967295\n");
        assert_eq!(
            r,
            Rights {
                caps: Some(1 << 12),
                seccomp: false,
                lockdown: false,
                namespaced: false,
                counted: false
            }
        );
        let r = Rights::from_texts("Seccomp: 2\n", "none integrity [confidentiality]\n", "0 1000 1\n");
        assert_eq!(r, Rights { caps: None, seccomp: true, lockdown: true, namespaced: true, counted: false });
    }

    #[test]
    fn missing_capabilities_are_named() {
        let r = Rights { caps: Some(1 << 12), ..Rights::default() };
        let text = why(Asked::Load, Errno::EPERM, &r);
        assert!(text.contains("CAP_BPF") && text.contains("CAP_PERFMON"), "{text}");
        assert!(!text.contains("CAP_NET_ADMIN"), "{text}");
        assert!(text.contains("setcap"), "{text}");
    }

    #[test]
    fn with_all_capabilities_the_cause_is_sought_elsewhere() {
        let all = Rights { caps: Some(u64::MAX), ..Rights::default() };
        assert!(why(Asked::Map, Errno::EPERM, &all).contains("policy"));
        assert!(why(Asked::Map, Errno::EPERM, &Rights { counted: true, ..all }).contains("ulimit -l"));
        assert!(counts_memory("5.10.0-8-amd64\n") && counts_memory("4.19.1") && !counts_memory("5.11.0"));
        assert!(!counts_memory("6.18.44") && !counts_memory(""));
        assert!(why(Asked::Map, Errno::EPERM, &Rights { seccomp: true, ..all }).contains("seccomp"));
        assert!(why(Asked::Map, Errno::EPERM, &Rights { lockdown: true, ..all }).contains("lockdown"));
        assert!(why(Asked::Map, Errno::EPERM, &Rights { namespaced: true, ..all }).contains("namespace"));
        assert!(why(Asked::Map, Errno::ENOSYS, &all).contains("CONFIG_BPF_SYSCALL"));
    }
}
