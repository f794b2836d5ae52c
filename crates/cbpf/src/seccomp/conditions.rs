//! The rules of one call as a graph: which of them holds for the arguments.
//!
//! Where all conditions compare the same argument with constants, the 64-bit values fall into intervals: a tree over the
//! upper half, and behind it trees over the lower half. Otherwise the conditions are asked one after the other, and what
//! an answer says about the conditions behind it is used.

use super::graph::{Graph, Id};
use super::policy::{Compare, Condition, Rule};
use super::tree::{Range, Style, build};
use crate::insn::{AluOp, Cond, Op, Source};

/// Most conditions of a call for which answers are remembered; with more, rule follows rule.
const REMEMBERED: usize = 8;
/// Most conditions of a call that are looked at as intervals; with more the program would be too long in any case.
const MOST_INTERVALS: usize = 2000;

/// Offset of the lower half of an argument in `seccomp_data` on little-endian machines; the upper one is behind it.
fn low(arg: u8) -> u32 {
    16 + 8 * u32::from(arg)
}

/// Where a call with these rules goes. `sets`: whether trees may have bit sets.
pub(super) fn graph(g: &mut Graph, rules: &[&Rule], default: Id, sets: bool) -> Id {
    let conditions: usize = rules.iter().map(|r| r.conditions.len()).sum();
    if let Some(arg) = intervals_of(rules).filter(|_| conditions <= MOST_INTERVALS) {
        return intervals(g, rules, arg, default, sets);
    }
    let list: Vec<(Vec<Condition>, Id)> =
        rules.iter().map(|r| (r.conditions.clone(), g.ret(r.action.value()))).collect();
    if conditions <= REMEMBERED { remembering(g, &list, default) } else { in_turn(g, &list, default) }
}

/// The one argument that all conditions compare in order, if that is so.
fn intervals_of(rules: &[&Rule]) -> Option<u8> {
    let mut all = rules.iter().flat_map(|r| &r.conditions);
    let arg = all.clone().next()?.arg;
    all.all(|c| c.arg == arg && !matches!(c.compare, Compare::Masked { .. })).then_some(arg)
}

fn intervals(g: &mut Graph, rules: &[&Rule], arg: u8, default: Id, sets: bool) -> Id {
    let mut firsts = vec![0u64];
    for c in rules.iter().flat_map(|r| &r.conditions) {
        let (Compare::Eq(k)
        | Compare::Ne(k)
        | Compare::Lt(k)
        | Compare::Le(k)
        | Compare::Gt(k)
        | Compare::Ge(k)) = c.compare
        else {
            continue;
        };
        firsts.extend([Some(k), k.checked_add(1)].into_iter().flatten());
    }
    firsts.sort_unstable();
    firsts.dedup();
    let outcome = |g: &mut Graph, v: u64| {
        let holds = |r: &&&Rule| r.conditions.iter().all(|c| c.compare.holds(v));
        rules.iter().find(holds).map_or(default, |r| g.ret(r.action.value()))
    };
    let mut found: Vec<(u64, Id)> = Vec::new();
    for v in firsts {
        let id = outcome(g, v);
        if found.last().is_none_or(|(_, last)| *last != id) {
            found.push((v, id));
        }
    }
    let style = Style { speed: 1, bit_sets: sets };
    // Upper halves in which the outcome changes; between them it does not.
    let mut halves: Vec<Range> = Vec::new();
    let mut add = |first: u32, last: u32, id: Id| match halves.last_mut() {
        Some(r) if r.outcomes[0] == id => r.last = last,
        _ => halves.push(Range { first, last, outcomes: vec![id], weight: u64::from(first == 0) }),
    };
    let mut next = 0u64;
    let mut i = 0;
    while i < found.len() {
        let half = found[i].0 >> 32;
        if half > next {
            add(next as u32, (half - 1) as u32, found[i - 1].1);
        }
        let mut lows: Vec<Range> = Vec::new();
        if found[i].0 as u32 != 0 {
            lows.push(range(0, found[i - 1].1));
        }
        while let Some((v, id)) = found.get(i).filter(|(v, _)| v >> 32 == half) {
            lows.push(range(*v as u32, *id));
            i += 1;
        }
        for k in 1..lows.len() {
            lows[k - 1].last = lows[k].first - 1;
        }
        let tree = build(g, &lows, style);
        let id = g.load(low(arg), tree);
        add(half as u32, half as u32, id);
        next = half + 1;
    }
    if next <= u64::from(u32::MAX) {
        add(next as u32, u32::MAX, found[found.len() - 1].1);
    }
    let tree = build(g, &halves, style);
    g.load(low(arg) + 4, tree)
}

fn range(first: u32, id: Id) -> Range {
    Range { first, last: u32::MAX, outcomes: vec![id], weight: 1 }
}

/// Rule after rule; a condition that does not hold leads to the next rule.
fn in_turn(g: &mut Graph, rules: &[(Vec<Condition>, Id)], default: Id) -> Id {
    let mut next = default;
    for (conditions, action) in rules.iter().rev() {
        let otherwise = next;
        next = *action;
        for c in conditions.iter().rev() {
            next = condition(g, *c, next, otherwise);
        }
    }
    next
}

/// Asks the first condition of the first rule; behind either answer only the rules that can still hold are left.
fn remembering(g: &mut Graph, rules: &[(Vec<Condition>, Id)], default: Id) -> Id {
    let Some((conditions, action)) = rules.first() else { return default };
    let Some(asked) = conditions.first().copied() else { return *action };
    let mut after = |holds: bool| {
        let left: Vec<(Vec<Condition>, Id)> = rules
            .iter()
            .filter(|(list, _)| list.iter().all(|c| known(*c, asked, holds) != Some(false)))
            .map(|(list, id)| {
                (list.iter().copied().filter(|c| known(*c, asked, holds).is_none()).collect(), *id)
            })
            .collect();
        remembering(g, &left, default)
    };
    let (yes, no) = (after(true), after(false));
    condition(g, asked, yes, no)
}

/// What the answer to one condition says about another: the same one, or its opposite.
fn known(c: Condition, asked: Condition, holds: bool) -> Option<bool> {
    if c.arg != asked.arg {
        return None;
    }
    let opposite = match asked.compare {
        Compare::Eq(k) => Some(Compare::Ne(k)),
        Compare::Ne(k) => Some(Compare::Eq(k)),
        Compare::Lt(k) => Some(Compare::Ge(k)),
        Compare::Ge(k) => Some(Compare::Lt(k)),
        Compare::Le(k) => Some(Compare::Gt(k)),
        Compare::Gt(k) => Some(Compare::Le(k)),
        Compare::Masked { .. } => None,
    };
    if c.compare == asked.compare {
        return Some(holds);
    }
    if Some(c.compare) == opposite {
        return Some(!holds);
    }
    // An argument that equals one value equals no other and compares as that value does.
    match asked.compare {
        Compare::Eq(k) if holds => Some(c.compare.holds(k)),
        Compare::Ne(k) if !holds => Some(c.compare.holds(k)),
        _ => None,
    }
}

/// One condition on both halves of an argument.
fn condition(g: &mut Graph, c: Condition, yes: Id, no: Id) -> Id {
    let (at, up) = (low(c.arg), low(c.arg) + 4);
    let halves = |v: u64| (v as u32, (v >> 32) as u32);
    match c.compare {
        Compare::Eq(k) => {
            let (l, h) = halves(k);
            let rest = g.test(Cond::Eq, l, yes, no);
            let rest = g.load(at, rest);
            let first = g.test(Cond::Eq, h, rest, no);
            g.load(up, first)
        }
        Compare::Ne(k) => condition(g, Condition { compare: Compare::Eq(k), ..c }, no, yes),
        Compare::Lt(k) => condition(g, Condition { compare: Compare::Ge(k), ..c }, no, yes),
        Compare::Le(k) => condition(g, Condition { compare: Compare::Gt(k), ..c }, no, yes),
        Compare::Gt(k) => order(g, c.arg, Cond::Gt, k, yes, no),
        Compare::Ge(k) => order(g, c.arg, Cond::Ge, k, yes, no),
        Compare::Masked { mask, value } if value & !mask != 0 => no,
        Compare::Masked { mask, value } => {
            let ((ml, mh), (vl, vh)) = (halves(mask), halves(value));
            let rest = masked(g, at, ml, vl, yes, no);
            masked(g, up, mh, vh, rest, no)
        }
    }
}

fn order(g: &mut Graph, arg: u8, cond: Cond, k: u64, yes: Id, no: Id) -> Id {
    let (l, h) = (k as u32, (k >> 32) as u32);
    let rest = g.test(cond, l, yes, no);
    let rest = g.load(low(arg), rest);
    let same = g.test(Cond::Eq, h, rest, no);
    let first = g.test(Cond::Gt, h, yes, same);
    g.load(low(arg) + 4, first)
}

/// `A & mask == value` for one half.
fn masked(g: &mut Graph, at: u32, mask: u32, value: u32, yes: Id, no: Id) -> Id {
    if mask == 0 {
        return yes;
    }
    let test = match value {
        0 => g.test(Cond::Set, mask, no, yes),
        v if v == mask && mask.is_power_of_two() => g.test(Cond::Set, mask, yes, no),
        v => {
            let test = g.test(Cond::Eq, v, yes, no);
            if test == yes { test } else { g.step(Op::Alu(AluOp::And, Source::K(mask)), test) }
        }
    };
    // Where the answer does not matter nothing is loaded.
    if test == yes || test == no { test } else { g.load(at, test) }
}
