//! A policy to a classic program: the architecture first, then a tree over the numbers of its calls, then the arguments.
//!
//! ```text
//!  ld arch ─ jeq ─► ld nr ─ tree of numbers ─► end
//!             │                    ├─► ld argument, tree of values ─► end
//!             │                    └─► x32: sub #0x40000000, tree of what x32 does otherwise ─► first tree
//!             └─► next architecture: tree of what it does otherwise ─► first tree … ─► end for unknown ones
//! ```
//!
//! Parts that are the same are there once. Several ways of weighing length against speed are tried, with and without bit
//! sets, and measured ([`super::measure`]).

use super::calls::{Arch, X32_BIT, calls};
use super::conditions;
use super::graph::{Graph, Id, Node};
use super::measure::{Measure, measure};
use super::policy::{Policy, PolicyError};
use super::tree::{Range, Style, build};
use crate::Program;
use crate::insn::{AluOp, Cond, Op, Source};
use std::collections::BTreeMap;

/// Offset of the call's number in `seccomp_data`.
const NR: u32 = 0;
/// Offset of the architecture.
const ARCH: u32 = 4;

/// What one instruction executed for every call is worth, in instructions of length: what is tried for the first
/// architecture. The others weigh 1 at most: their calls are few.
const SPEEDS: [u64; 3] = [1, 8, 16];
/// A program of this length and mean is good: among good ones the fastest is taken.
const GOOD: (usize, f64) = (150, 12.0);
/// Among others, by how much the mean counts against the length.
const MEAN_WORTH: f64 = 8.0;

/// A compiled policy.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The program.
    pub program: Program,
    /// Its length and how much of it runs.
    pub measure: Measure,
}

/// Compiles a policy. Its decisions are those of [`Policy::decide`]. Cost: some milliseconds.
///
/// # Errors
/// A program longer than the kernel takes.
pub fn compile(policy: &Policy) -> Result<Compiled, PolicyError> {
    let sets = [None, Some(true), Some(false)];
    // With one architecture the last is the same as the first.
    let sets = &sets[..if policy.archs().len() > 1 { 3 } else { 2 }];
    let mut best: Option<((bool, f64), Compiled)> = None;
    let mut shortest = usize::MAX;
    for (speed, bit_sets) in SPEEDS.iter().flat_map(|s| sets.iter().map(|b| (*s, *b))) {
        let insns = one(policy, speed, bit_sets);
        shortest = shortest.min(insns.len());
        let Ok(program) = Program::new(insns) else { continue };
        let measure = measure(policy, &program);
        let cost = if measure.length <= GOOD.0 && measure.mean <= GOOD.1 {
            (false, measure.mean)
        } else {
            (true, measure.length as f64 + MEAN_WORTH * measure.mean)
        };
        if best.as_ref().is_none_or(|(c, _)| cost < *c) {
            best = Some((cost, Compiled { program, measure }));
        }
    }
    best.map(|(_, c)| c).ok_or(PolicyError::TooLong(shortest))
}

/// One program. `bit_sets`: for no architecture, for all but the first, or for all.
fn one(policy: &Policy, speed: u64, bit_sets: Option<bool>) -> Vec<crate::Insn> {
    let mut g = Graph::default();
    let first = policy.archs()[0];
    let style = |arch: Arch| Style {
        speed: if arch == first { speed } else { 1 },
        bit_sets: bit_sets.is_some_and(|all| all || arch != first),
    };
    let has = |arch| policy.archs().contains(&arch);
    let unknown = g.ret(policy.unknown_arch().value());
    let sets = bit_sets.is_some();
    // New calls have the same numbers everywhere: the first architecture's tree serves the others in part.
    let own = numbers(policy, &mut g, first, sets);
    let alone = build(&mut g, &own, style(first));
    let tree = |g: &mut Graph, arch: Arch| {
        let mut ranges = numbers(policy, g, arch, sets);
        if let Node::Test { .. } = g.node(alone) {
            ranges = alike(&ranges, &own, alone);
        }
        build(g, &ranges, style(arch))
    };
    let mut chain = unknown;
    for arch in policy.archs().iter().rev() {
        // Calls of x32 come with the architecture of x86_64, and are told by their numbers.
        let (low, high) = match arch {
            Arch::X32 if has(Arch::X86_64) => continue,
            Arch::X86_64 | Arch::X32 => (has(Arch::X86_64), has(Arch::X32)),
            _ => (true, false),
        };
        let high = if high {
            let tree = tree(&mut g, Arch::X32);
            match g.node(tree) {
                Node::Ret(_) => tree,
                _ => g.step(Op::Alu(AluOp::Sub, Source::K(X32_BIT)), tree),
            }
        } else {
            unknown
        };
        let root = match arch {
            Arch::X86_64 | Arch::X32 => {
                let default = g.ret(policy.default_action().value());
                let below =
                    if low { numbers(policy, &mut g, Arch::X86_64, sets) } else { vec![whole(unknown)] };
                let ranges = above(below, high, if low { default } else { unknown });
                build(&mut g, &ranges, style(*arch))
            }
            arch => tree(&mut g, *arch),
        };
        let root = g.load(NR, root);
        chain = g.test(Cond::Eq, arch.audit(), root, chain);
    }
    let root = g.load(ARCH, chain);
    g.emit(root)
}

fn whole(id: Id) -> Range {
    Range { first: 0, last: u32::MAX, outcomes: vec![id], weight: 0 }
}

/// Ranges of x86_64, with another outcome for the numbers from x32's first on, and one for -1.
fn above(mut ranges: Vec<Range>, x32: Id, last: Id) -> Vec<Range> {
    if let Some(r) = ranges.last_mut() {
        r.last = X32_BIT - 1;
    }
    ranges.push(Range { first: X32_BIT, last: u32::MAX - 1, outcomes: vec![x32], weight: 0 });
    ranges.push(Range { first: u32::MAX, last: u32::MAX, outcomes: vec![last], weight: 0 });
    ranges
}

/// The ranges of an architecture, where `other`, the tree of ranges `own`, is right as well for numbers with the same
/// outcome.
fn alike(ranges: &[Range], own: &[Range], other: Id) -> Vec<Range> {
    let mut firsts: Vec<u32> = ranges.iter().chain(own).map(|r| r.first).collect();
    firsts.sort_unstable();
    firsts.dedup();
    let at = |list: &[Range], v: u32| {
        let i = list.partition_point(|r| r.last < v);
        list.get(i).map(|r| (r.outcomes[0], r.weight, u64::from(r.last - r.first) + 1))
    };
    let mut out: Vec<Range> = Vec::new();
    for (i, first) in firsts.iter().copied().enumerate() {
        let last = firsts.get(i + 1).map_or(u32::MAX, |n| n - 1);
        let (Some((mine, weight, length)), theirs) = (at(ranges, first), at(own, first)) else { continue };
        let mut outcomes = vec![mine];
        if theirs.is_some_and(|(o, ..)| o == mine) {
            outcomes.push(other);
        }
        let weight = weight * (u64::from(last - first) + 1) / length;
        out.push(Range { first, last, outcomes, weight });
    }
    out
}

/// What happens with each number of an architecture (x32: without its bit), from 0 to `u32::MAX`.
fn numbers(policy: &Policy, g: &mut Graph, arch: Arch, sets: bool) -> Vec<Range> {
    let known: BTreeMap<u32, &str> =
        calls().iter().filter_map(|c| Some((c.number(arch)? - arch.base(), c.name))).collect();
    let default = g.ret(policy.default_action().value());
    let mut out: Vec<Range> = Vec::new();
    let mut push = |first: u32, last: u32, outcome: Id, weight: u64| match out.last_mut() {
        Some(r) if r.outcomes[0] == outcome => {
            (r.last, r.weight) = (last, r.weight + weight);
        }
        _ => out.push(Range { first, last, outcomes: vec![outcome], weight }),
    };
    let mut next = 0;
    for (nr, name) in known {
        if nr > next {
            push(next, nr - 1, default, 0);
        }
        let rules: Vec<_> = policy.rules_of(name).collect();
        push(nr, nr, conditions::graph(g, &rules, default, sets), 1);
        next = nr + 1;
    }
    push(next, u32::MAX, default, 0);
    out
}
