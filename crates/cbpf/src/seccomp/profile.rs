//! Profiles as Docker, Podman and the OCI runtime specification have them, as data; a [`Profile`] becomes a [`Policy`]
//! on a [`Host`].

use super::action::{Action, MAX_ERRNO};
use super::calls::Arch;
use super::policy::{Condition, Policy, PolicyError, Rule};
use std::fmt;

/// `EPERM`: what `SCMP_ACT_ERRNO` without a number returns.
pub const EPERM: u16 = 1;

/// A profile as read from a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Profile {
    /// For calls without a rule.
    pub default: Action,
    /// For calls of other architectures.
    pub unknown_arch: Action,
    /// Architectures by name (`architectures` of OCI profiles), if listed.
    pub archs: Vec<String>,
    /// Architecture of the host, and those that go with it (`archMap`).
    pub arch_map: Vec<(String, Vec<String>)>,
    /// Rules for several calls each, in their order.
    pub entries: Vec<Entry>,
}

/// One entry of `syscalls`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Calls.
    pub names: Vec<String>,
    /// What happens.
    pub action: Action,
    /// What has to hold.
    pub conditions: Vec<Condition>,
    /// The entry counts only where all of this is so.
    pub includes: Filter,
    /// The entry does not count where any of this is so.
    pub excludes: Filter,
}

/// `includes` or `excludes`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Docker's names of architectures.
    pub arches: Vec<String>,
    /// Capabilities, `CAP_…`.
    pub caps: Vec<String>,
    /// Version of the kernel, from which on.
    pub min_kernel: Option<(u32, u32)>,
}

/// What a profile is resolved for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// The machine's architecture.
    pub arch: Arch,
    /// Capabilities of the process.
    pub caps: Vec<String>,
    /// Version of the kernel.
    pub kernel: (u32, u32),
}

/// Capabilities that Docker leaves a container.
pub static DOCKER_CAPS: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// What a profile says and the policy does not do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// An architecture that is not known here.
    Arch(String),
    /// Calls that no architecture known here has.
    Calls(Vec<String>),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Arch(name) => write!(
                f,
                "architecture {name} is not known here; its calls count as those of an unknown architecture"
            ),
            Note::Calls(names) => write!(f, "no architecture known here has {}", names.join(", ")),
        }
    }
}

impl Profile {
    /// The policy of a host, with what was left out.
    ///
    /// # Errors
    /// Those of [`Policy::new`].
    pub fn resolve(&self, host: &Host) -> Result<(Policy, Vec<Note>), PolicyError> {
        let mut notes = Vec::new();
        let mut archs = Vec::new();
        let named = |n: &str| Arch::parse(n) == Some(host.arch);
        let mapped = self.arch_map.iter().find(|(n, _)| named(n)).map(|(_, subs)| subs.as_slice());
        // libseccomp filters the machine's own architecture whether it is listed or not.
        archs.push(host.arch);
        for name in self.archs.iter().chain(mapped.unwrap_or_default()) {
            match Arch::parse(name) {
                Some(a) => archs.push(a),
                None => notes.push(Note::Arch(name.clone())),
            }
        }
        let mut rules = Vec::new();
        let mut unknown = Vec::new();
        for e in self.entries.iter().filter(|e| e.counts(host)) {
            for name in &e.names {
                if super::calls::call(name).is_none() {
                    unknown.push(name.clone());
                }
                rules.push(Rule { call: name.clone(), action: e.action, conditions: e.conditions.clone() });
            }
        }
        unknown.sort();
        unknown.dedup();
        if !unknown.is_empty() {
            notes.push(Note::Calls(unknown));
        }
        Ok((Policy::new(&archs, self.default, self.unknown_arch, rules)?, notes))
    }
}

impl Entry {
    /// Whether the entry counts on a host.
    pub fn counts(&self, host: &Host) -> bool {
        let arch = |list: &[String]| list.iter().any(|a| a == host.arch.docker());
        let has = |cap: &String| host.caps.contains(cap);
        let (i, e) = (&self.includes, &self.excludes);
        (i.arches.is_empty() || arch(&i.arches))
            && i.caps.iter().all(has)
            && i.min_kernel.is_none_or(|v| host.kernel >= v)
            && !arch(&e.arches)
            && !e.caps.iter().any(has)
            && e.min_kernel.is_none_or(|v| host.kernel < v)
    }
}

/// An action of a profile with its number: what `errnoRet` says, else `EPERM` for errors and 0 for tracers.
///
/// # Errors
/// A number that the action cannot carry, in words.
pub fn action(name: &str, number: Option<u64>) -> Result<Action, String> {
    let plain = Action::parse(name).ok_or_else(|| format!("there is no action {name:?}"))?;
    let fits = |n: u64, most: u16| u16::try_from(n).ok().filter(|n| *n <= most);
    match (plain, number) {
        (Action::Errno(_), None) => Ok(Action::Errno(EPERM)),
        (Action::Errno(_), Some(n)) => fits(n, MAX_ERRNO)
            .map(Action::Errno)
            .ok_or_else(|| format!("{n} is no error number; they go up to {MAX_ERRNO}")),
        (Action::Trace(_), Some(n)) => fits(n, u16::MAX)
            .map(Action::Trace)
            .ok_or_else(|| format!("{n} is more than 65535, the most a tracer can be told")),
        (other, _) => Ok(other),
    }
}
