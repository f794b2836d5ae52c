//! What a filter returns for a call (`SECCOMP_RET_*`), its names, and the names of errors.

use std::fmt;

/// What happens with a call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Action {
    /// The whole process is killed, as if by SIGSYS.
    KillProcess,
    /// The thread is killed, as if by SIGSYS.
    KillThread,
    /// The thread gets SIGSYS.
    Trap,
    /// The call is not made and returns this error, at most [`MAX_ERRNO`].
    Errno(u16),
    /// A supervisor with the listener's descriptor decides.
    UserNotif,
    /// A tracer is told this number; without one the call fails with `ENOSYS`.
    Trace(u16),
    /// The call is made and the kernel's log says so.
    Log,
    /// The call is made.
    Allow,
}

/// Largest error number that a filter can return (`MAX_ERRNO`).
pub const MAX_ERRNO: u16 = 4095;

/// Action without its number, `SECCOMP_RET_*` (include/uapi/linux/seccomp.h), own name, names of profiles.
struct Row(Action, u32, &'static str, &'static [&'static str]);

static ACTIONS: [Row; 8] = [
    Row(Action::KillProcess, 0x8000_0000, "kill_process", &["SCMP_ACT_KILL_PROCESS"]),
    Row(Action::KillThread, 0, "kill_thread", &["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "kill"]),
    Row(Action::Trap, 0x0003_0000, "trap", &["SCMP_ACT_TRAP"]),
    Row(Action::Errno(0), 0x0005_0000, "errno", &["SCMP_ACT_ERRNO"]),
    Row(Action::UserNotif, 0x7fc0_0000, "notify", &["SCMP_ACT_NOTIFY", "user_notif"]),
    Row(Action::Trace(0), 0x7ff0_0000, "trace", &["SCMP_ACT_TRACE"]),
    Row(Action::Log, 0x7ffc_0000, "log", &["SCMP_ACT_LOG"]),
    Row(Action::Allow, 0x7fff_0000, "allow", &["SCMP_ACT_ALLOW"]),
];

impl Action {
    fn row(self) -> &'static Row {
        let same = |r: &&Row| std::mem::discriminant(&r.0) == std::mem::discriminant(&self);
        ACTIONS.iter().find(same).unwrap_or(&ACTIONS[0])
    }

    /// What the filter returns.
    pub fn value(self) -> u32 {
        self.row().1 | u32::from(self.number())
    }

    /// From what a filter returned; what the kernel does not know it treats as [`Action::KillProcess`].
    pub fn from_value(value: u32) -> Action {
        let data = value as u16;
        match ACTIONS.iter().find(|r| r.1 == value & 0xffff_0000).map_or(Action::KillProcess, |r| r.0) {
            Action::Errno(_) => Action::Errno(data.min(MAX_ERRNO)),
            Action::Trace(_) => Action::Trace(data),
            other => other,
        }
    }

    /// Error or tracer's number; 0 where there is none.
    pub fn number(self) -> u16 {
        match self {
            Action::Errno(n) | Action::Trace(n) => n,
            _ => 0,
        }
    }

    /// The same action with this number, where it has one.
    pub fn with_number(self, n: u16) -> Action {
        match self {
            Action::Errno(_) => Action::Errno(n),
            Action::Trace(_) => Action::Trace(n),
            other => other,
        }
    }

    /// By its own name or a profile's (`SCMP_ACT_*`); the number is 0.
    pub fn parse(name: &str) -> Option<Action> {
        ACTIONS.iter().find(|r| r.2 == name || r.3.contains(&name)).map(|r| r.0)
    }

    /// Name without the number.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// `SCMP_ACT_*`.
    pub fn scmp(self) -> &'static str {
        self.row().3[0]
    }

    /// Whether the call is made without anybody being asked.
    pub fn lets_pass(self) -> bool {
        matches!(self, Action::Allow | Action::Log)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Errno(n) => match errno_name(*n) {
                Some(name) => write!(f, "errno({name})"),
                None => write!(f, "errno({n})"),
            },
            Action::Trace(n) => write!(f, "trace({n})"),
            other => f.write_str(other.name()),
        }
    }
}

/// Name of an error number, as on x86 and Arm.
pub fn errno_name(n: u16) -> Option<&'static str> {
    ERRNOS.iter().find(|(m, _)| *m == n).map(|(_, name)| *name)
}

/// Number of an error, by name or as a number.
pub fn errno(text: &str) -> Option<u16> {
    let named = ERRNOS.iter().find(|(_, name)| *name == text).map(|(n, _)| *n);
    named.or_else(|| text.parse().ok()).filter(|n| *n <= MAX_ERRNO)
}

/// Error numbers (include/uapi/asm-generic/errno.h).
#[rustfmt::skip]
static ERRNOS: &[(u16, &str)] = &[
    (1, "EPERM"), (2, "ENOENT"), (3, "ESRCH"), (4, "EINTR"), (5, "EIO"), (6, "ENXIO"), (7, "E2BIG"), (8, "ENOEXEC"), (9,
    "EBADF"), (10, "ECHILD"), (11, "EAGAIN"), (12, "ENOMEM"), (13, "EACCES"), (14, "EFAULT"), (15, "ENOTBLK"), (16,
    "EBUSY"), (17, "EEXIST"), (18, "EXDEV"), (19, "ENODEV"), (20, "ENOTDIR"), (21, "EISDIR"), (22, "EINVAL"), (23,
    "ENFILE"), (24, "EMFILE"), (25, "ENOTTY"), (26, "ETXTBSY"), (27, "EFBIG"), (28, "ENOSPC"), (29, "ESPIPE"), (30,
    "EROFS"), (31, "EMLINK"), (32, "EPIPE"), (33, "EDOM"), (34, "ERANGE"), (35, "EDEADLK"), (36, "ENAMETOOLONG"), (37,
    "ENOLCK"), (38, "ENOSYS"), (39, "ENOTEMPTY"), (40, "ELOOP"), (42, "ENOMSG"), (43, "EIDRM"), (44, "ECHRNG"), (45,
    "EL2NSYNC"), (46, "EL3HLT"), (47, "EL3RST"), (48, "ELNRNG"), (49, "EUNATCH"), (50, "ENOCSI"), (51, "EL2HLT"), (52,
    "EBADE"), (53, "EBADR"), (54, "EXFULL"), (55, "ENOANO"), (56, "EBADRQC"), (57, "EBADSLT"), (59, "EBFONT"), (60,
    "ENOSTR"), (61, "ENODATA"), (62, "ETIME"), (63, "ENOSR"), (64, "ENONET"), (65, "ENOPKG"), (66, "EREMOTE"), (67,
    "ENOLINK"), (68, "EADV"), (69, "ESRMNT"), (70, "ECOMM"), (71, "EPROTO"), (72, "EMULTIHOP"), (73, "EDOTDOT"), (74,
    "EBADMSG"), (75, "EOVERFLOW"), (76, "ENOTUNIQ"), (77, "EBADFD"), (78, "EREMCHG"), (79, "ELIBACC"), (80, "ELIBBAD"),
    (81, "ELIBSCN"), (82, "ELIBMAX"), (83, "ELIBEXEC"), (84, "EILSEQ"), (85, "ERESTART"), (86, "ESTRPIPE"), (87, "EUSERS"),
    (88, "ENOTSOCK"), (89, "EDESTADDRREQ"), (90, "EMSGSIZE"), (91, "EPROTOTYPE"), (92, "ENOPROTOOPT"), (93,
    "EPROTONOSUPPORT"), (94, "ESOCKTNOSUPPORT"), (95, "EOPNOTSUPP"), (96, "EPFNOSUPPORT"), (97, "EAFNOSUPPORT"), (98,
    "EADDRINUSE"), (99, "EADDRNOTAVAIL"), (100, "ENETDOWN"), (101, "ENETUNREACH"), (102, "ENETRESET"), (103,
    "ECONNABORTED"), (104, "ECONNRESET"), (105, "ENOBUFS"), (106, "EISCONN"), (107, "ENOTCONN"), (108, "ESHUTDOWN"), (109,
    "ETOOMANYREFS"), (110, "ETIMEDOUT"), (111, "ECONNREFUSED"), (112, "EHOSTDOWN"), (113, "EHOSTUNREACH"), (114,
    "EALREADY"), (115, "EINPROGRESS"), (116, "ESTALE"), (117, "EUCLEAN"), (118, "ENOTNAM"), (119, "ENAVAIL"), (120,
    "EISNAM"), (121, "EREMOTEIO"), (122, "EDQUOT"), (123, "ENOMEDIUM"), (124, "EMEDIUMTYPE"), (125, "ECANCELED"), (126,
    "ENOKEY"), (127, "EKEYEXPIRED"), (128, "EKEYREVOKED"), (129, "EKEYREJECTED"), (130, "EOWNERDEAD"), (131,
    "ENOTRECOVERABLE"), (132, "ERFKILL"), (133, "EHWPOISON"),

];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_names_lead_back() {
        for a in ACTIONS.iter().map(|r| r.0.with_number(5)) {
            assert_eq!(Action::from_value(a.value()), a);
            assert_eq!(Action::parse(a.name()).map(|b| b.with_number(5)), Some(a));
            assert_eq!(Action::parse(a.scmp()).map(|b| b.with_number(5)), Some(a));
        }
        assert_eq!(Action::from_value(0x1234_0000), Action::KillProcess);
        assert_eq!(Action::Errno(38).to_string(), "errno(ENOSYS)");
        assert_eq!(errno("EPERM"), Some(1));
        assert_eq!(errno("4096"), None);
    }
}
