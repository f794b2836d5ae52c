//! A policy: rules for calls, and its straightforward evaluation, which every compiled program is held against.
//!
//! Which rule decides a call: one without conditions, whatever stands beside it; else the first whose conditions all hold;
//! else the default. Rules that say what the default says are left out before that. All of this is what container
//! runtimes make of a profile through libseccomp.

use super::action::Action;
use super::calls::{Arch, Call, numbered};
use std::collections::HashMap;
use std::fmt;

/// What the kernel shows a filter (`struct seccomp_data`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Data {
    /// Number of the call.
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Where the call was made.
    pub ip: u64,
    /// Arguments.
    pub args: [u64; 6],
}

impl Data {
    /// A call of an architecture.
    pub fn new(arch: Arch, nr: u32, args: [u64; 6]) -> Data {
        Data { nr, arch: arch.audit(), ip: 0, args }
    }

    /// Its sixteen words in the order of a little-endian machine, as loads of a filter find them.
    pub fn words(&self) -> [u32; 16] {
        let mut words =
            [self.nr, self.arch, self.ip as u32, (self.ip >> 32) as u32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for (i, v) in self.args.iter().enumerate() {
            words[4 + 2 * i] = *v as u32;
            words[5 + 2 * i] = (*v >> 32) as u32;
        }
        words
    }
}

/// How an argument is compared: unsigned, 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Compare {
    /// It is the value.
    Eq(u64),
    /// It is not.
    Ne(u64),
    /// It is less.
    Lt(u64),
    /// It is less or equal.
    Le(u64),
    /// It is greater.
    Gt(u64),
    /// It is greater or equal.
    Ge(u64),
    /// Under the mask it is the value.
    Masked {
        /// Mask.
        mask: u64,
        /// Value.
        value: u64,
    },
}

impl Compare {
    /// Whether a value passes.
    pub fn holds(self, v: u64) -> bool {
        match self {
            Compare::Eq(k) => v == k,
            Compare::Ne(k) => v != k,
            Compare::Lt(k) => v < k,
            Compare::Le(k) => v <= k,
            Compare::Gt(k) => v > k,
            Compare::Ge(k) => v >= k,
            Compare::Masked { mask, value } => v & mask == value,
        }
    }

    /// The values around which the answer changes.
    pub fn corners(self) -> Vec<u64> {
        match self {
            Compare::Masked { mask, value } => {
                let bits = (0..64).map(|b| 1u64 << b);
                let near = bits.flat_map(|b| [value ^ b, (value | !mask) ^ b]);
                near.chain([value, value | !mask, mask, !mask]).collect()
            }
            Compare::Eq(k)
            | Compare::Ne(k)
            | Compare::Lt(k)
            | Compare::Le(k)
            | Compare::Gt(k)
            | Compare::Ge(k) => {
                let other_half = [k ^ (1 << 32), k ^ (1 << 63), k ^ (1 << 31)];
                [k, k.wrapping_sub(1), k.wrapping_add(1)].into_iter().chain(other_half).collect()
            }
        }
    }
}

/// A condition of a rule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub arg: u8,
    /// How it is compared.
    pub compare: Compare,
}

impl Condition {
    /// Whether it holds for these arguments.
    pub fn holds(&self, args: &[u64; 6]) -> bool {
        args.get(usize::from(self.arg)).is_some_and(|v| self.compare.holds(*v))
    }

    /// As text, with this name of the argument.
    pub fn show(&self, name: &str) -> String {
        match self.compare {
            Compare::Eq(k) => format!("{name} == {}", number(k)),
            Compare::Ne(k) => format!("{name} != {}", number(k)),
            Compare::Lt(k) => format!("{name} < {}", number(k)),
            Compare::Le(k) => format!("{name} <= {}", number(k)),
            Compare::Gt(k) => format!("{name} > {}", number(k)),
            Compare::Ge(k) => format!("{name} >= {}", number(k)),
            Compare::Masked { mask, value } => format!("{name} & {} == {}", number(mask), number(value)),
        }
    }
}

fn number(v: u64) -> String {
    if v < 1024 { v.to_string() } else { format!("{v:#x}") }
}

/// One rule: what happens with a call when all conditions hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Name of the call.
    pub call: String,
    /// What happens.
    pub action: Action,
    /// What has to hold; empty: always.
    pub conditions: Vec<Condition>,
}

impl Rule {
    /// `call(condition, …)`, with the names that the arguments have on an architecture.
    pub fn show(&self, arch: Arch) -> String {
        if self.conditions.is_empty() {
            return self.call.clone();
        }
        let params = super::calls::call(&self.call).and_then(|c| c.params(arch)).unwrap_or_default();
        let one = |c: &Condition| match params.get(usize::from(c.arg)) {
            Some(p) => c.show(p.name),
            None => c.show(&format!("a{}", c.arg)),
        };
        format!("{}({})", self.call, self.conditions.iter().map(one).collect::<Vec<_>>().join(", "))
    }
}

/// Why a policy decides as it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// This rule, by its place in [`Policy::rules`].
    Rule(usize),
    /// There are rules for the call, and the conditions of none hold.
    NoneHolds,
    /// There is no rule for the call.
    NoRule,
    /// The architecture has no call of this number known here.
    UnknownNumber,
    /// The policy has nothing for this architecture.
    UnknownArch,
}

/// A decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// What happens.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The call, where it is known.
    pub call: Option<&'static Call>,
}

/// A policy for some architectures.
#[derive(Clone, Debug)]
pub struct Policy {
    archs: Vec<Arch>,
    default: Action,
    unknown_arch: Action,
    rules: Vec<Rule>,
    /// Rules of a call in the order in which they are asked.
    by_call: HashMap<String, Vec<usize>>,
}

/// Why rules make no policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PolicyError {
    /// There is no architecture.
    NoArch,
    /// A condition on an argument that calls do not have: the rule, and its argument.
    Argument(usize, u8),
    /// The program would be longer than the kernel takes: its length.
    TooLong(usize),
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyError::NoArch => f.write_str("the policy is for no architecture that is known here"),
            PolicyError::Argument(rule, arg) => {
                write!(f, "rule {rule}: there is no argument {arg}; calls have arguments 0 to 5")
            }
            PolicyError::TooLong(n) => write!(
                f,
                "the program would have {n} instructions, of which {} are allowed; use fewer conditions",
                crate::check::MAX_INSNS
            ),
        }
    }
}

impl std::error::Error for PolicyError {}

impl Policy {
    /// From rules in their order. `unknown_arch` is for calls of architectures that are not in `archs`.
    ///
    /// # Errors
    /// No architecture, or a condition on an argument above 5.
    pub fn new(
        archs: &[Arch],
        default: Action,
        unknown_arch: Action,
        rules: Vec<Rule>,
    ) -> Result<Policy, PolicyError> {
        if archs.is_empty() {
            return Err(PolicyError::NoArch);
        }
        let mut by_call: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, r) in rules.iter().enumerate() {
            if let Some(c) = r.conditions.iter().find(|c| c.arg > 5) {
                return Err(PolicyError::Argument(i, c.arg));
            }
            if r.action != default {
                by_call.entry(r.call.clone()).or_default().push(i);
            }
        }
        for list in by_call.values_mut() {
            if let Some(i) = list.iter().copied().find(|i| rules[*i].conditions.is_empty()) {
                *list = vec![i];
            }
        }
        let mut unique: Vec<Arch> = Vec::new();
        for a in archs {
            if !unique.contains(a) {
                unique.push(*a);
            }
        }
        Ok(Policy { archs: unique, default, unknown_arch, rules, by_call })
    }

    /// The same policy with other actions: which rule decides a call stays as it is.
    pub fn mapped(&self, with: impl Fn(Action) -> Action) -> Policy {
        let mut out = self.clone();
        (out.default, out.unknown_arch) = (with(self.default), with(self.unknown_arch));
        out.rules.iter_mut().for_each(|r| r.action = with(r.action));
        out
    }

    /// Architectures, the first one first.
    pub fn archs(&self) -> &[Arch] {
        &self.archs
    }

    /// What happens with calls that no rule decides.
    pub fn default_action(&self) -> Action {
        self.default
    }

    /// What happens with calls of other architectures.
    pub fn unknown_arch(&self) -> Action {
        self.unknown_arch
    }

    /// Every rule as given.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules that are asked for a call, in their order: just one if it has no conditions.
    pub fn rules_of(&self, call: &str) -> impl Iterator<Item = &Rule> {
        self.by_call.get(call).into_iter().flatten().map(|i| &self.rules[*i])
    }

    /// Rules that never decide anything, because one without conditions for the same call says something else.
    pub fn shadowed(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|r| {
            let asked = self.by_call.get(&r.call).map(Vec::as_slice);
            let other = match asked {
                Some([i]) => &self.rules[*i],
                _ => return false,
            };
            other.conditions.is_empty() && other.action != r.action && r.action != self.default
        })
    }

    /// The decision on a call: rule after rule, as written.
    pub fn decide(&self, data: &Data) -> Decision {
        let arch = Arch::of(data.arch, data.nr).filter(|a| self.archs.contains(a));
        let Some(arch) = arch else {
            return Decision { action: self.unknown_arch, reason: Reason::UnknownArch, call: None };
        };
        let other = |reason, call| Decision { action: self.default, reason, call };
        let Some(call) = numbered(arch, data.nr) else { return other(Reason::UnknownNumber, None) };
        let Some(list) = self.by_call.get(call.name) else { return other(Reason::NoRule, Some(call)) };
        let holds = |i: &&usize| self.rules[**i].conditions.iter().all(|c| c.holds(&data.args));
        match list.iter().find(holds) {
            Some(i) => Decision { action: self.rules[*i].action, reason: Reason::Rule(*i), call: Some(call) },
            None => other(Reason::NoneHolds, Some(call)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::calls::call;

    fn rule(name: &str, action: Action, conditions: &[(u8, Compare)]) -> Rule {
        let conditions = conditions.iter().map(|(arg, compare)| Condition { arg: *arg, compare: *compare });
        Rule { call: name.into(), action, conditions: conditions.collect() }
    }

    fn decide(p: &Policy, name: &str, a0: u64) -> Action {
        let nr = call(name).and_then(|c| c.number(Arch::X86_64)).unwrap();
        p.decide(&Data::new(Arch::X86_64, nr, [a0, 0, 0, 0, 0, 0])).action
    }

    #[test]
    fn which_rule_decides() {
        let eperm = Action::Errno(1);
        let rules = vec![
            rule("socket", Action::Log, &[(0, Compare::Lt(3))]),
            rule("socket", Action::Allow, &[(0, Compare::Le(3))]),
            rule("read", Action::Log, &[(0, Compare::Eq(0))]),
            rule("read", Action::Allow, &[]),
            rule("write", eperm, &[]),
            rule("write", Action::Allow, &[(0, Compare::Masked { mask: 6, value: 2 })]),
        ];
        let p = Policy::new(&[Arch::X86_64], eperm, Action::KillThread, rules).unwrap();
        assert_eq!([2, 3, 4].map(|v| decide(&p, "socket", v)), [Action::Log, Action::Allow, eperm]);
        // A rule without conditions wins, one that says what the default says does not count.
        assert_eq!(decide(&p, "read", 0), Action::Allow);
        assert_eq!([0, 3].map(|v| decide(&p, "write", v)), [eperm, Action::Allow]);
        assert_eq!(p.shadowed().map(|r| r.call.as_str()).collect::<Vec<_>>(), ["read"]);
        let x32 = Data::new(Arch::X32, 0x4000_0000, [0; 6]);
        assert_eq!(p.decide(&x32).reason, Reason::UnknownArch);
        assert_eq!(p.decide(&Data { nr: u32::MAX, ..x32 }).reason, Reason::UnknownNumber);
    }
}
