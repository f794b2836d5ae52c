//! A policy from the calls that were made: every call by name, and those arguments that say what a call is asked to do.

use super::action::Action;
use super::calls::{Arch, Call, numbered};
use super::policy::{Compare, Condition, Data, Rule};
use std::collections::{BTreeMap, BTreeSet};

/// Arguments that choose what a call does, rather than on what: conditions are made of them.
static SELECTORS: &[(&str, &[&str])] = &[
    ("arch_prctl", &["option"]),
    ("bpf", &["cmd"]),
    ("clone", &["clone_flags"]),
    ("fcntl", &["cmd"]),
    ("fcntl64", &["cmd"]),
    ("ioctl", &["cmd"]),
    ("ipc", &["call"]),
    ("keyctl", &["option"]),
    ("madvise", &["behavior"]),
    ("mprotect", &["prot"]),
    ("personality", &["personality"]),
    ("prctl", &["option"]),
    ("prlimit64", &["resource"]),
    ("ptrace", &["request"]),
    ("seccomp", &["op"]),
    ("setns", &["flags"]),
    ("setsockopt", &["level", "optname"]),
    ("socket", &["family", "type", "protocol"]),
    ("socketcall", &["call"]),
    ("socketpair", &["family", "type", "protocol"]),
    ("unshare", &["unshare_flags"]),
];

/// With more different values than this a call is allowed whatever its arguments.
const MOST_VALUES: usize = 24;

/// Calls made, with how often, and the values of their selecting arguments.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    calls: BTreeMap<(Arch, &'static str), Made>,
    /// Calls whose number or architecture is not known here: `AUDIT_ARCH_*` and number.
    pub unknown: BTreeSet<(u32, u32)>,
}

#[derive(Clone, Debug, Default)]
struct Made {
    count: u64,
    values: BTreeSet<Vec<u64>>,
}

/// One call of a recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Architecture.
    pub arch: Arch,
    /// Name.
    pub call: &'static str,
    /// How often it was made.
    pub count: u64,
}

/// The selecting arguments of a call: their places.
fn selectors(call: &Call, arch: Arch) -> Vec<u8> {
    let names = SELECTORS.iter().find(|(n, _)| *n == call.name).map_or(&[][..], |(_, names)| names);
    names.iter().filter_map(|n| call.arg(arch, n)).collect()
}

impl Recorded {
    /// Adds a call.
    pub fn add(&mut self, data: &Data) {
        let found = Arch::of(data.arch, data.nr).and_then(|a| Some((a, numbered(a, data.nr)?)));
        let Some((arch, call)) = found else {
            self.unknown.insert((data.arch, data.nr));
            return;
        };
        let made = self.calls.entry((arch, call.name)).or_default();
        made.count += 1;
        if made.values.len() <= MOST_VALUES {
            made.values.insert(selectors(call, arch).iter().map(|i| data.args[usize::from(*i)]).collect());
        }
    }

    /// Every call, by architecture and name.
    pub fn calls(&self) -> impl Iterator<Item = Entry> {
        self.calls.iter().map(|((arch, call), made)| Entry { arch: *arch, call, count: made.count })
    }

    /// The architectures.
    pub fn archs(&self) -> Vec<Arch> {
        let all: BTreeSet<Arch> = self.calls.keys().map(|(a, _)| *a).collect();
        all.into_iter().collect()
    }

    /// Rules that allow what was recorded; with `arguments`, only for the values that were seen. A rule counts for all
    /// architectures, so values of the same call on different ones are put together.
    pub fn rules(&self, arguments: bool) -> Vec<Rule> {
        let mut by_name: BTreeMap<&str, Option<BTreeSet<Vec<Condition>>>> = BTreeMap::new();
        for ((arch, name), made) in &self.calls {
            let places = super::call(name).map(|c| selectors(c, *arch)).unwrap_or_default();
            let known = arguments && !places.is_empty() && made.values.len() <= MOST_VALUES;
            let entry = by_name.entry(name).or_insert_with(|| Some(BTreeSet::new()));
            match (entry.as_mut(), known) {
                (Some(all), true) => all.extend(made.values.iter().map(|values| {
                    let each = places.iter().zip(values);
                    each.map(|(arg, v)| Condition { arg: *arg, compare: Compare::Eq(*v) }).collect()
                })),
                _ => *entry = None,
            }
        }
        let rule = |call: &str, conditions| Rule { call: call.into(), action: Action::Allow, conditions };
        by_name
            .into_iter()
            .flat_map(|(name, sets)| match sets {
                None => vec![rule(name, Vec::new())],
                Some(sets) => sets.into_iter().map(|c| rule(name, c)).collect(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::{Policy, call};

    fn data(name: &str, args: [u64; 6]) -> Data {
        Data::new(Arch::X86_64, call(name).and_then(|c| c.number(Arch::X86_64)).unwrap(), args)
    }

    #[test]
    fn what_was_recorded_passes_and_nothing_else() {
        let mut r = Recorded::default();
        let made = [
            data("read", [3, 4, 5, 0, 0, 0]),
            data("socket", [2, 1, 0, 0, 0, 0]),
            data("socket", [1, 2, 0, 0, 0, 0]),
            data("prctl", [15, 99, 0, 0, 0, 0]),
        ];
        made.iter().chain(&made[..1]).for_each(|d| r.add(d));
        r.add(&Data { nr: 5000, ..made[0] });
        assert_eq!(r.unknown.len(), 1);
        assert_eq!(
            r.calls().map(|e| (e.call, e.count)).collect::<Vec<_>>(),
            [("prctl", 1), ("read", 2), ("socket", 2)]
        );
        let p = Policy::new(&r.archs(), Action::Errno(1), Action::KillProcess, r.rules(true)).unwrap();
        assert!(made.iter().all(|d| p.decide(d).action == Action::Allow));
        assert_eq!(p.decide(&data("read", [9, 9, 9, 9, 9, 9])).action, Action::Allow);
        assert_eq!(p.decide(&data("socket", [2, 2, 0, 0, 0, 0])).action, Action::Errno(1));
        assert_eq!(p.decide(&data("write", [0; 6])).action, Action::Errno(1));
        assert_eq!(r.rules(false).len(), 3);
    }

    /// The names of selecting arguments are the table's.
    #[test]
    fn selectors_exist() {
        for (name, args) in SELECTORS {
            let c = call(name).unwrap();
            let arch = Arch::ALL.into_iter().find(|a| c.number(*a).is_some()).unwrap();
            assert!(args.iter().all(|a| c.arg(arch, a).is_some()), "{name}");
        }
        assert!(SELECTORS.is_sorted_by_key(|(n, _)| *n));
    }
}
