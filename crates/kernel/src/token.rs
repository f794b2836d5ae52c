//! BPF tokens: rights that a bpf file system hands to a user namespace (Linux 6.9 and later).
//!
//! Somebody with the machine's capabilities mounts a bpf file system for a user namespace with `delegate_cmds`, `delegate_maps`,
//! `delegate_progs` and `delegate_attachs`; a process in that namespace with the namespace's CAP_BPF gets a token from its root, and
//! names it when it creates maps and loads types and programs. [`crate::Live::with_token`] does the latter.

use crate::door::Door;
use crate::mount;
use skep_platform::Errno;
use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A bpf file system that delegates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// Where it is mounted.
    pub path: PathBuf,
    /// What it delegates: commands, map types, program types and attach types, as the kernel spells them, or `any`.
    pub allowed: [Vec<String>; 4],
}

/// The mount options of [`Delegation::allowed`], in its order, without `delegate_`.
pub const DELEGATED: [&str; 4] = ["cmds", "maps", "progs", "attachs"];

/// A token that was not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenError {
    /// The file system that was asked.
    pub path: PathBuf,
    /// The error number.
    pub errno: Errno,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no BPF token from {}: ", self.path.display())?;
        f.write_str(match self.errno {
            Errno::ENOENT if !self.path.exists() => "there is no such folder; name where the bpf file system is mounted",
            Errno::ENOENT => {
                "its bpf file system delegates nothing; have it mounted with delegate_cmds, delegate_maps, delegate_progs and \
                 delegate_attachs"
            }
            Errno::EINVAL | Errno::ENOTDIR => {
                "it is not where a bpf file system is mounted, or the kernel is older than tokens (6.9); \
                 `skep token list` shows the file systems that delegate"
            }
            Errno::EOPNOTSUPP => {
                "tokens are for processes in a user namespace, and this one is in the machine's first; it needs none: \
                 run with CAP_BPF instead"
            }
            Errno::EPERM => {
                "its bpf file system belongs to another user namespace than this process, or CAP_BPF is missing in the \
                 namespace; mount one for this namespace, and run as its root"
            }
            Errno::EACCES => "its folder may not be read and written; change its mode or owner (mount options mode, uid, gid)",
            errno => return errno.fmt(f),
        })
    }
}

impl std::error::Error for TokenError {}

/// The token of the bpf file system that is mounted at `path`. Cost: three system calls.
///
/// # Errors
/// There is none for this process; the text says why.
pub fn create(door: &dyn Door, path: &Path) -> Result<OwnedFd, TokenError> {
    let fail = |errno| TokenError { path: path.into(), errno };
    let opened = File::open(path).map_err(|e| fail(Errno(e.raw_os_error().unwrap_or(0))))?;
    door.token_create(opened.as_fd()).map_err(fail)
}

/// The first token that one of the mounted file systems gives; none in the machine's first user namespace, where one system
/// call tells.
pub fn find(door: &dyn Door) -> Option<OwnedFd> {
    if in_first_namespace() {
        return None;
    }
    delegations().iter().find_map(|d| create(door, &d.path).ok())
}

/// Number of the file that stands for the machine's first user namespace (`PROC_USER_INIT_INO`).
const FIRST_NAMESPACE: u64 = 0xeffffffd;

fn in_first_namespace() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/user").is_ok_and(|m| m.ino() == FIRST_NAMESPACE)
}

/// The mounted bpf file systems that delegate something.
pub fn delegations() -> Vec<Delegation> {
    from_mounts(mount::with_options("bpf"))
}

fn from_mounts(mounts: Vec<(PathBuf, String)>) -> Vec<Delegation> {
    let read = |(path, options): (PathBuf, String)| {
        let of = |what: &str| {
            let value = options
                .split(',')
                .find_map(|o| o.strip_prefix("delegate_")?.strip_prefix(what)?.strip_prefix('='));
            value.map_or_else(Vec::new, |v| v.split(':').map(str::to_owned).collect())
        };
        let allowed = DELEGATED.map(of);
        allowed.iter().any(|a| !a.is_empty()).then_some(Delegation { path, allowed })
    };
    mounts.into_iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_mounts() {
        let mounts = [
            ("/sys/fs/bpf", "rw,relatime,mode=700"),
            ("/t", "rw,uid=1,delegate_cmds=map_create:prog_load,delegate_maps=any,delegate_attachs=0x3"),
        ];
        let found = from_mounts(mounts.map(|(p, o)| (PathBuf::from(p), o.to_owned())).to_vec());
        let words = |w: &[&str]| w.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let allowed = [words(&["map_create", "prog_load"]), words(&["any"]), Vec::new(), words(&["0x3"])];
        assert_eq!(found, [Delegation { path: "/t".into(), allowed }]);
    }

    #[test]
    fn every_refusal_names_a_next_step() {
        for errno in [Errno::ENOENT, Errno::EINVAL, Errno::EOPNOTSUPP, Errno::EPERM, Errno::EACCES] {
            let text = TokenError { path: "/".into(), errno }.to_string();
            assert!(text.starts_with("no BPF token from /: ") && text.contains(';'), "{text}");
        }
    }
}
