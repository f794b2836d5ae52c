//! Decision trees over one 32-bit value in A: ranges with outcomes become tests, by dynamic programming over the ranges.
//!
//! The cost of a tree is its length and, weighted, the instructions that it executes on average. A part of the tree is
//! one of
//! - an end: all ranges of the part have an outcome in common;
//! - a few single values tested by `jeq`, the rest alike;
//! - a bit set: at most 32 values in a row with two outcomes, one bit each, and one shared sequence that picks the bit;
//! - a test that splits the part in two, anywhere: also in the middle of a range, of which both sides then have a share.

use super::graph::{BIT_TEST_STEPS, Graph, Id, bit_test};
use crate::insn::{Cond, Op, Register};
use std::collections::HashSet;

/// Values in a row.
#[derive(Clone, Debug)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) last: u32,
    /// Any of these is right.
    pub(super) outcomes: Vec<Id>,
    /// How often values of the range occur.
    pub(super) weight: u64,
}

/// How trees are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// What one instruction executed for everything that occurs is worth, in instructions of length.
    pub(super) speed: u64,
    /// Whether bit sets may be used.
    pub(super) bit_sets: bool,
}

/// Units of cost that an instruction of length takes.
const LENGTH: u64 = 1 << 16;
/// Most single values tested in a row.
const SINGLES: usize = 6;
/// Ranges are cut at multiples of this, so that splits and bit sets can begin inside of them.
const GRAIN: u32 = 16;
/// Ranges longer than this are not cut.
const LONG: u32 = 512;
/// More ranges than this are split in the middle first: the exact way takes time with the third power.
const MOST: usize = 400;

/// How a part is done.
#[derive(Clone, Copy, Debug)]
enum Way {
    End(Id),
    Singles(Id),
    Bits(Id, Id),
    /// Split before this range.
    Split(usize),
}

/// A tree over ranges that follow each other without gaps, from 0 to `u32::MAX` or what else can occur.
///
/// Cost: the third power of the number of ranges, up to [`MOST`].
pub(super) fn build(g: &mut Graph, ranges: &[Range], style: Style) -> Id {
    let parts = cut(ranges);
    large(g, &parts, style)
}

fn large(g: &mut Graph, parts: &[Range], style: Style) -> Id {
    if parts.len() <= MOST {
        return Plan::new(g, parts, style).emit(g);
    }
    let (left, right) = parts.split_at(parts.len() / 2);
    let (no, yes) = (large(g, left, style), large(g, right, style));
    g.test(Cond::Ge, right[0].first, yes, no)
}

/// Cuts ranges of middle length into pieces; weights are shared out by length.
fn cut(ranges: &[Range]) -> Vec<Range> {
    let mut out = Vec::new();
    for r in ranges {
        let length = u64::from(r.last - r.first) + 1;
        let mut first = r.first;
        let mut left = r.weight;
        while r.last - r.first < LONG && ranges.len() < MOST / 2 {
            let last = first | (GRAIN - 1);
            if last >= r.last {
                break;
            }
            let weight = (r.weight * u64::from(last - first + 1) / length).min(left);
            out.push(Range { first, last, outcomes: r.outcomes.clone(), weight });
            (first, left) = (last + 1, left - weight);
        }
        out.push(Range { first, last: r.last, outcomes: r.outcomes.clone(), weight: left });
    }
    out
}

struct Plan<'a> {
    parts: &'a [Range],
    /// Cost of an instruction executed by one unit of weight.
    step: u64,
    /// Outcomes that bit sets may have.
    in_sets: HashSet<Id>,
    /// Way for the ranges `i..=j` at `i * n + j`.
    ways: Vec<Way>,
    /// Sum of the weights before each range.
    before: Vec<u64>,
}

impl<'a> Plan<'a> {
    fn new(g: &Graph, parts: &'a [Range], style: Style) -> Plan<'a> {
        let n = parts.len();
        let mut before = vec![0];
        for p in parts {
            before.push(before[before.len() - 1] + p.weight);
        }
        let step = LENGTH * style.speed / before[n].max(1);
        let end = Way::End(parts[0].outcomes[0]);
        let outcomes = parts.iter().flat_map(|p| &p.outcomes).copied();
        // The sequence that picks a bit changes A.
        let in_sets = outcomes.filter(|id| style.bit_sets && !g.reads_a(*id)).collect();
        let mut plan = Plan { parts, step, in_sets, ways: vec![end; n * n], before };
        // Costs of `i..=j`, once by i and once by j, so that both sides of the splits of a part lie in rows.
        let (mut by_first, mut by_last) = (vec![0; n * n], vec![0; n * n]);
        for i in (0..n).rev() {
            // Outcomes that all of `i..=j` have.
            let mut common = parts[i].outcomes.clone();
            for j in i..n {
                common.retain(|id| parts[j].outcomes.contains(id));
                let (cost, way) = match common.first() {
                    Some(id) => (0, Way::End(*id)),
                    None => plan.choose(
                        i,
                        j,
                        &by_first[i * n + i..i * n + j],
                        &by_last[j * n + i + 1..=j * n + j],
                    ),
                };
                (by_first[i * n + j], by_last[j * n + i]) = (cost, cost);
                plan.ways[i * n + j] = way;
            }
        }
        plan
    }

    fn weight(&self, i: usize, j: usize) -> u64 {
        self.before[j + 1] - self.before[i]
    }

    /// The cheapest way for ranges without a common outcome: `left` are the costs of `i..=k`, `right` those of
    /// `k + 1..=j`, for each k.
    fn choose(&self, i: usize, j: usize, left: &[u64], right: &[u64]) -> (u64, Way) {
        let (mut cost, mut at) = (u64::MAX, 0);
        for k in 0..left.len() {
            let sum = left[k] + right[k];
            if sum < cost {
                (cost, at) = (sum, k);
            }
        }
        let split = cost.saturating_add(LENGTH + self.step * self.weight(i, j));
        let mut best = (split, Way::Split(i + at + 1));
        for found in [self.singles(i, j), self.bits(i, j)].into_iter().flatten() {
            if found.0 < best.0 {
                best = found;
            }
        }
        best
    }

    /// Ranges without an outcome, if they are few and of one value each; the most frequent first.
    fn exceptions(&self, i: usize, j: usize, id: Id) -> Option<Vec<&Range>> {
        let mut found: Vec<&Range> = Vec::new();
        for p in self.parts[i..=j].iter().filter(|p| !p.outcomes.contains(&id)) {
            if p.first != p.last || found.len() == SINGLES {
                return None;
            }
            found.push(p);
        }
        found.sort_by_key(|p| std::cmp::Reverse(p.weight));
        Some(found)
    }

    fn singles(&self, i: usize, j: usize) -> Option<(u64, Way)> {
        let mut best = None;
        for id in self.bases(i, j) {
            let Some(found) = self.exceptions(i, j, id) else { continue };
            let mut rest = self.weight(i, j);
            let mut cost = LENGTH * found.len() as u64;
            for p in found {
                cost += self.step * rest;
                rest -= p.weight;
            }
            if best.is_none_or(|(c, _)| cost < c) {
                best = Some((cost, Way::Singles(id)));
            }
        }
        best
    }

    /// Outcomes that the ranges at either end have: one of them is the outcome of most.
    fn bases(&self, i: usize, j: usize) -> Vec<Id> {
        let mut out: Vec<Id> = Vec::new();
        for p in [i, i + 1, j].iter().filter(|k| **k <= j).map(|k| &self.parts[*k]) {
            for id in &p.outcomes {
                if !out.contains(id) {
                    out.push(*id);
                }
            }
        }
        out
    }

    fn bits(&self, i: usize, j: usize) -> Option<(u64, Way)> {
        if self.in_sets.is_empty() || self.parts[j].last - self.parts[i].first >= 32 {
            return None;
        }
        let fit = |p: &Range| p.outcomes.iter().find(|id| self.in_sets.contains(id)).copied();
        let yes = fit(&self.parts[i])?;
        let no = fit(self.parts[i..=j].iter().find(|p| !p.outcomes.contains(&yes))?)?;
        let two = self.parts[i..=j].iter().all(|p| p.outcomes.contains(&yes) || p.outcomes.contains(&no));
        let cost = 2 * LENGTH + self.step * BIT_TEST_STEPS * self.weight(i, j);
        // Always the same way round, so that the sequence is shared.
        two.then_some((cost, Way::Bits(yes.min(no), yes.max(no))))
    }

    fn emit(&self, g: &mut Graph) -> Id {
        self.part(g, 0, self.parts.len() - 1)
    }

    fn part(&self, g: &mut Graph, i: usize, j: usize) -> Id {
        let (first, last) = (self.parts[i].first, self.parts[j].last);
        match self.ways[i * self.parts.len() + j] {
            Way::End(id) => g.narrow(id, first, last),
            Way::Singles(id) => {
                let mut rest = g.narrow(id, first, last);
                for p in self.exceptions(i, j, id).unwrap_or_default().into_iter().rev() {
                    let yes = g.narrow(p.outcomes[0], p.first, p.last);
                    rest = g.test(Cond::Eq, p.first, yes, rest);
                }
                rest
            }
            Way::Bits(yes, no) => {
                let mut set = 0u32;
                for p in self.parts[i..=j].iter().filter(|p| p.outcomes.contains(&yes)) {
                    (p.first..=p.last).for_each(|v| set |= 1 << (v & 31));
                }
                let test = bit_test(g, yes, no);
                g.step(Op::Imm(Register::X, set), test)
            }
            Way::Split(k) => {
                let (no, yes) = (self.part(g, i, k - 1), self.part(g, k, j));
                g.test(Cond::Ge, self.parts[k].first, yes, no)
            }
        }
    }
}
