//! Calls that do the work of others, and so get round a policy that refuses the others: what `io_uring` can do by itself,
//! and the calls of i386 that take the number of a call as an argument.

use super::calls::{Arch, call};
use super::policy::{Data, Policy};

/// Calls whose work io_uring does (`enum io_uring_op`, include/uapi/linux/io_uring.h), without the call being made.
#[rustfmt::skip]
static IO_URING: &[&str] = &[
    "accept4", "bind", "close", "connect", "epoll_ctl", "epoll_wait", "fadvise64", "fallocate", "fgetxattr", "fsetxattr", "fsync",
    "ftruncate", "futex_wait", "futex_waitv", "futex_wake", "getxattr", "linkat", "listen", "madvise", "mkdirat", "openat", "openat2",
    "pipe2", "poll", "read", "readv", "recvfrom", "recvmsg", "renameat2", "sendmsg", "sendto", "setxattr", "shutdown", "socket",
    "splice", "statx", "symlinkat", "sync_file_range", "tee", "unlinkat", "waitid", "write", "writev",
];

/// Calls behind `socketcall` of i386, by its first argument.
#[rustfmt::skip]
static SOCKETCALL: &[&str] = &[
    "socket", "bind", "connect", "listen", "accept4", "getsockname", "getpeername", "socketpair", "sendto", "recvfrom", "shutdown",
    "setsockopt", "getsockopt", "sendmsg", "recvmsg", "recvmmsg", "sendmmsg",
];

/// Calls behind `ipc` of i386.
#[rustfmt::skip]
static IPC: &[&str] = &["semget", "semctl", "semtimedop_time64", "msgget", "msgsnd", "msgrcv", "msgctl", "shmget", "shmat", "shmdt", "shmctl"];

/// A call that a policy lets pass, and the refused ones whose work it does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bypass {
    /// On which architectures.
    pub archs: Vec<Arch>,
    /// The call that passes.
    pub by: &'static str,
    /// What does not.
    pub of: Vec<&'static str>,
}

/// The ways round a policy. A call counts as refused when it is for some arguments.
pub fn bypasses(policy: &Policy) -> Vec<Bypass> {
    let ways: [(&'static str, &[&'static str]); 3] =
        [("io_uring_setup", IO_URING), ("socketcall", SOCKETCALL), ("ipc", IPC)];
    let mut out: Vec<Bypass> = Vec::new();
    for arch in policy.archs() {
        for (by, list) in ways {
            if !passes(policy, *arch, by, false) {
                continue;
            }
            let of: Vec<_> = list.iter().copied().filter(|c| !passes(policy, *arch, c, true)).collect();
            let known = |c: &&str| call(c).is_some_and(|c| c.number(*arch).is_some());
            let of: Vec<_> = of.into_iter().filter(known).collect();
            match out.iter_mut().find(|b| b.by == by && b.of == of) {
                Some(same) => same.archs.push(*arch),
                None if of.is_empty() => {}
                None => out.push(Bypass { archs: vec![*arch], by, of }),
            }
        }
    }
    out
}

/// Whether a call of an architecture passes: for all arguments that make a difference, or for one.
fn passes(policy: &Policy, arch: Arch, name: &str, always: bool) -> bool {
    let Some(nr) = call(name).and_then(|c| c.number(arch)) else { return always };
    let mut each = super::measure::corner_args(policy, name)
        .into_iter()
        .map(|args| policy.decide(&Data::new(arch, nr, args)).action.lets_pass());
    if always { each.all(|p| p) } else { each.any(|p| p) }
}
