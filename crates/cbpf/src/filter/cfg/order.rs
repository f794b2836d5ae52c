//! The order of tests, where it is free: tests of the same value stand together, and decide by as few and as early
//! comparisons as there may be.
//!
//! Two rewritings, each of parts of the graph that are entered at their first test alone:
//!
//! - A *chain* is tests of which each goes on to the next or leaves for one common end. Where the loads done by then are
//!   the same, or cannot make a difference, its tests may change places.
//! - A *region* is tests of one value against constants. It maps numbers to ends, and is built anew from that map.

use super::facts::{Asked, answers, asked};
use super::graph::{Graph, Node, Step, Test, To, ahead};
use super::values::{Id, Loads};
use crate::insn::Cond;

/// What [`regroup`] has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Regrouped {
    pub root: To,
    /// Tests have changed places.
    pub moved: bool,
    /// A value is loaded twice, since tests of it may not change places with tests between them.
    pub twice: bool,
}

/// Brings tests of the same value together.
///
/// `known` keeps what is known of the graph as long as it is not rebuilt.
pub(super) fn regroup(graph: &mut Graph, root: To, known: &mut Option<Parts>) -> Regrouped {
    let parts = known.get_or_insert_with(|| Parts::of(graph, root));
    let mut inside = vec![false; graph.nodes.len()];
    let mut plans: Vec<Plan> = Vec::new();
    let mut twice = false;
    for &id in &parts.order {
        if inside[id] {
            continue;
        }
        let (down, up) = (parts.chain(graph, id, false), parts.chain(graph, id, true));
        let (chain, via_yes) = if up.len() > down.len() { (up, true) } else { (down, false) };
        if chain.len() < 3 {
            continue;
        }
        let (moved, again) = parts.grouped(graph, &chain, via_yes);
        twice |= again;
        if moved != chain {
            chain[1..].iter().for_each(|n| inside[*n] = true);
            plans.push(Plan { head: id, last: chain[chain.len() - 1], via_yes, nodes: moved });
        }
    }
    if plans.is_empty() {
        return Regrouped { root, moved: false, twice };
    }
    let rebuilt = rebuild(graph, root, parts, &inside, |graph, id, now| {
        let plan = plans.iter().find(|p| p.head == id)?;
        let last = graph.old(plan.last);
        let (common, mut next) = if plan.via_yes { (last.no, last.yes) } else { (last.yes, last.no) };
        let common = now(common);
        next = now(next);
        for n in plan.nodes.iter().rev() {
            let step = graph.old(*n).step;
            let (yes, no) = if plan.via_yes { (next, common) } else { (common, next) };
            next = graph.new.node(Node { step, yes, no });
        }
        Some(next)
    });
    Regrouped { root: rebuilt, moved: true, twice }
}

/// Builds the tests of one value anew where that takes fewer or earlier comparisons. The new root.
pub(super) fn decide(graph: &mut Graph, root: To, known: &mut Option<Parts>) -> To {
    let parts = known.get_or_insert_with(|| Parts::of(graph, root));
    let mut inside = vec![false; graph.nodes.len()];
    let mut heads: Vec<(usize, Region)> = Vec::new();
    for &id in &parts.order {
        if inside[id] {
            continue;
        }
        let Some(region) = parts.region(graph, id) else { continue };
        if let Some(better) = region.better(graph) {
            region.nodes[1..].iter().for_each(|n| inside[*n] = true);
            heads.push((id, better));
        }
    }
    if heads.is_empty() {
        return root;
    }
    let rebuilt = rebuild(graph, root, parts, &inside, |graph, id, now| {
        let (_, region) = heads.iter().find(|(head, _)| *head == id)?;
        let mut next = region.splits.build(graph.new, region.of, now);
        for (k, to) in region.equal.iter().rev() {
            next = compare(graph.new, Cond::Eq, region.of, *k, now(*to), next);
        }
        Some(next)
    });
    *known = None;
    rebuilt
}

/// A chain in its new order.
struct Plan {
    head: usize,
    /// The node that was last, whose ends are the chain's.
    last: usize,
    via_yes: bool,
    nodes: Vec<usize>,
}

/// The graph being built, and the nodes of the one before.
pub(super) struct Rebuilt<'a> {
    pub new: &'a mut Graph,
    nodes: Vec<Node>,
}

impl Rebuilt<'_> {
    fn old(&self, id: usize) -> Node {
        self.nodes[id]
    }
}

/// Takes the nodes over, from the end; `part` builds what stands for a node that begins a rewritten part.
pub(super) fn rebuild(
    graph: &mut Graph,
    root: To,
    parts: &Parts,
    inside: &[bool],
    part: impl Fn(&mut Rebuilt<'_>, usize, &dyn Fn(To) -> To) -> Option<To>,
) -> To {
    let nodes = graph.take_nodes();
    let mut now = vec![To::REJECT; nodes.len()];
    let mut graph = Rebuilt { new: graph, nodes };
    for &id in parts.order.iter().rev().filter(|id| !inside[**id]) {
        let find = |to: To| to.node().map_or(to, |n| now[n]);
        now[id] = match part(&mut graph, id, &find) {
            Some(to) => to,
            None => {
                let node = graph.old(id);
                graph.new.node(Node { yes: find(node.yes), no: find(node.no), ..node })
            }
        };
    }
    root.node().map_or(root, |n| now[n])
}

/// What both rewritings ask of the graph.
pub(super) struct Parts {
    pub order: Vec<usize>,
    /// How many nodes go on to each.
    pub entries: Vec<u32>,
    /// What is loaded on every way to each node, and on every way from it to the acceptance of the packet.
    pub done: Vec<Loads>,
    pub later: Vec<Loads>,
}

impl Parts {
    pub(super) fn of(graph: &Graph, root: To) -> Parts {
        let order = graph.order(root);
        let n = graph.nodes.len();
        let mut parts =
            Parts { entries: vec![0; n], done: vec![Loads::ALL; n], later: vec![Loads::NONE; n], order };
        if let Some(root) = root.node() {
            parts.done[root] = Loads::NONE;
        }
        for &id in &parts.order {
            let node = graph.nodes[id];
            let mut have = parts.done[id].or(graph.loads(id).1);
            if let Step::Set(word, _) = node.step {
                have = have.without(graph.values.loads_with(word));
            }
            for n in node.yes.node().into_iter().chain(node.no.node()) {
                parts.entries[n] += 1;
                parts.done[n] = parts.done[n].and(have);
            }
        }
        for &id in parts.order.iter().rev() {
            let node = graph.nodes[id];
            let mut after = ahead(&parts.later, node.yes).and(ahead(&parts.later, node.no));
            if let Step::Set(word, _) = node.step {
                after = after.without(graph.values.loads_with(word));
            }
            parts.later[id] = after.or(graph.loads(id).1);
        }
        parts
    }

    /// The chain that begins here, each going on by `yes` or by `no`.
    fn chain(&self, graph: &Graph, head: usize, via_yes: bool) -> Vec<usize> {
        let ends = |id: usize| {
            let n = graph.nodes[id];
            if via_yes { (n.no, n.yes) } else { (n.yes, n.no) }
        };
        let mut out = vec![head];
        if matches!(graph.nodes[head].step, Step::Set(..)) {
            return out;
        }
        let (common, mut next) = ends(head);
        while let Some(n) = next.node()
            && self.entries[n] == 1
            && matches!(graph.nodes[n].step, Step::Test(_))
            && ends(n).0 == common
        {
            out.push(n);
            next = ends(n).1;
        }
        out
    }

    /// The chain with tests of the same value together, as far as they may move; and whether that is not far enough.
    fn grouped(&self, graph: &Graph, chain: &[usize], via_yes: bool) -> (Vec<usize>, bool) {
        let first = graph.nodes[chain[0]];
        let common = if via_yes { first.no } else { first.yes };
        let mut have = self.done[chain[0]].or(ahead(&self.later, common));
        let mut out: Vec<usize> = Vec::with_capacity(chain.len());
        // What is loaded before a level may not be loaded later, nor the other way round.
        let mut level: Vec<(Id, bool, usize)> = Vec::new();
        for &id in chain {
            let (needs, gives) = graph.loads(id);
            if !have.covers(needs) {
                close(&mut level, &mut out);
            }
            have = have.or(gives);
            let Step::Test(test) = graph.nodes[id].step else { continue };
            let (of, kind) = asked(graph, test);
            let of = if kind == Asked::Other { Id::MAX - id as Id } else { of };
            level.push((of, graph.tests[test as usize].a != of, id));
        }
        close(&mut level, &mut out);
        let value = |id: &usize| match graph.nodes[*id].step {
            Step::Test(test) => asked(graph, test).0,
            Step::Set(_, v) => v,
        };
        let apart = |i: usize| {
            value(&out[i]) != value(&out[i - 1]) && out[..i].iter().any(|n| value(n) == value(&out[i]))
        };
        let twice = (1..out.len()).any(apart);
        (out, twice)
    }

    /// Tests of one value against constants, from this one on.
    fn region(&self, graph: &Graph, head: usize) -> Option<Region> {
        let of = ranged(graph, head)?.0;
        let mut region = Region { of, nodes: vec![head], equal: Vec::new(), splits: Splits::To(To::REJECT) };
        let mut at = 0;
        while at < region.nodes.len() {
            let Node { yes, no, .. } = graph.nodes[region.nodes[at]];
            for n in yes.node().into_iter().chain(no.node()) {
                if self.entries[n] == 1 && ranged(graph, n).is_some_and(|(v, ..)| v == of) {
                    region.nodes.push(n);
                }
            }
            at += 1;
        }
        (region.nodes.len() > 1).then_some(region)
    }
}

/// Appends a level: values in the order in which they come first, tests of the value itself before those under a mask.
fn close(level: &mut Vec<(Id, bool, usize)>, out: &mut Vec<usize>) {
    while let Some(&(of, ..)) = level.first() {
        for masked in [false, true] {
            out.extend(level.iter().filter(|l| l.0 == of && l.1 == masked).map(|l| l.2));
        }
        level.retain(|l| l.0 != of);
    }
}

/// The value and the range that a node asks about, if it does.
fn ranged(graph: &Graph, id: usize) -> Option<(Id, u32, u32)> {
    let Step::Test(test) = graph.nodes[id].step else { return None };
    match asked(graph, test) {
        (of, Asked::Range(min, max)) => Some((of, min, max)),
        _ => None,
    }
}

/// Tests of one value: first numbers that are singled out, then numbers divided by size.
struct Region {
    of: Id,
    /// Nodes of the graph; the first is where it begins.
    nodes: Vec<usize>,
    equal: Vec<(u32, To)>,
    splits: Splits,
}

enum Splits {
    To(To),
    /// Numbers from here on, and those below.
    From(Cond, u32, Box<[Splits; 2]>),
}

/// Numbers from the first to the second go there.
type Run = (u32, u32, To);

impl Region {
    /// The region built anew, if that is better.
    fn better(&self, graph: &Graph) -> Option<Region> {
        let classes = self.runs(graph);
        let mut runs: Vec<Run> = Vec::with_capacity(classes.len());
        let mut equal: Vec<(u32, To)> = Vec::new();
        classes.iter().for_each(|r| join(&mut runs, *r));
        // Single numbers are compared for; what they stood between may be one then.
        let all = std::mem::take(&mut runs);
        for r in all {
            if r.0 == r.1 && r.0 != 0 && r.1 != u32::MAX {
                equal.push((r.0, r.2));
                if let Some(last) = runs.last_mut() {
                    last.1 = r.1;
                }
            } else {
                join(&mut runs, r);
            }
        }
        let place = |k: u32| {
            self.nodes
                .iter()
                .position(|n| ranged(graph, *n).is_some_and(|(_, min, max)| (min, max) == (k, k)))
        };
        equal.sort_by_key(|(k, _)| (std::cmp::Reverse(weight(*k, *k)), place(*k)));
        let gt = |low: u32| {
            let is = |n: &usize| {
                matches!(graph.nodes[*n].step, Step::Test(t) if graph.tests[t as usize].cond == Cond::Gt
                && graph.values.constant(graph.tests[t as usize].b) == low.checked_sub(1))
            };
            self.nodes.iter().any(is)
        };
        let splits = Splits::of(&runs, &gt);
        // What decides nothing is there for its load.
        if equal.is_empty() && splits.size() == 0 {
            return None;
        }
        let new = Region { of: self.of, nodes: self.nodes.clone(), equal, splits };
        let (old, now) = (self.cost_before(graph, &classes), new.cost(&classes));
        (now < old).then_some(new)
    }

    /// Where numbers go: the classes that the tests make of them, ascending.
    fn runs(&self, graph: &Graph) -> Vec<Run> {
        let mut cuts = vec![0];
        for n in &self.nodes {
            if let Some((_, min, max)) = ranged(graph, *n) {
                cuts.push(min);
                cuts.extend(max.checked_add(1));
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        let ends = cuts.iter().skip(1).map(|c| c - 1).chain([u32::MAX]);
        cuts.iter().zip(ends).map(|(low, high)| (*low, high, self.walk(graph, *low).0)).collect()
    }

    /// Where a number goes, and the instructions on the way.
    fn walk(&self, graph: &Graph, number: u32) -> (To, u32) {
        let (mut to, mut steps) = (To::new(self.nodes[0]), 0);
        while let Some(n) = to.node().filter(|n| self.nodes.contains(n)) {
            let Some((_, min, max)) = ranged(graph, n) else { break };
            let node = graph.nodes[n];
            to = if (min..=max).contains(&number) { node.yes } else { node.no };
            steps += self.size(graph, n);
        }
        (to, steps)
    }

    /// Instructions of a node: a mask is one more, and the value is loaded again behind it.
    fn size(&self, graph: &Graph, n: usize) -> u32 {
        let Step::Test(t) = graph.nodes[n].step else { return 0 };
        if graph.tests[t as usize].a == self.of { 1 } else { 3 }
    }

    /// Instructions, and steps by weight.
    fn cost_before(&self, graph: &Graph, classes: &[Run]) -> (u32, u32) {
        let size: u32 = self.nodes.iter().map(|n| self.size(graph, *n)).sum();
        // The value is loaded once in any case.
        let masked = self.nodes.iter().any(|n| self.size(graph, *n) > 1);
        (size - u32::from(masked), classes.iter().map(|c| self.walk(graph, c.0).1 * weight(c.0, c.1)).sum())
    }

    fn cost(&self, classes: &[Run]) -> (u32, u32) {
        let size = self.equal.len() as u32 + self.splits.size();
        let steps = |number: u32| match self.equal.iter().position(|(k, _)| *k == number) {
            Some(n) => n as u32 + 1,
            None => self.equal.len() as u32 + self.splits.steps(number),
        };
        (size, classes.iter().map(|c| steps(c.0) * weight(c.0, c.1)).sum())
    }
}

/// Appends a run, to the last one where that goes to the same place.
fn join(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if last.2 == run.2 => last.1 = run.1,
        Some(last) => {
            last.1 = run.0 - 1;
            runs.push(run);
        }
        None => runs.push((0, run.1, run.2)),
    }
}

/// How often numbers are met in packets, roughly: EtherTypes and IP protocols that are frequent come first.
pub(super) fn weight(low: u32, high: u32) -> u32 {
    match low {
        _ if low != high => 4,
        0x0800 => 64,
        0x86dd | 6 => 32,
        0x0806 | 17 => 16,
        1 | 58 => 4,
        _ => 1,
    }
}

impl Splits {
    fn of(runs: &[Run], gt: &impl Fn(u32) -> bool) -> Splits {
        match runs {
            [] => Splits::To(To::REJECT),
            [run] => Splits::To(run.2),
            _ => {
                let (low, high) = runs.split_at(runs.len() / 2);
                let from = high[0].0;
                let (cond, k) = if gt(from) { (Cond::Gt, from - 1) } else { (Cond::Ge, from) };
                Splits::From(cond, k, Box::new([Splits::of(high, gt), Splits::of(low, gt)]))
            }
        }
    }

    fn size(&self) -> u32 {
        match self {
            Splits::To(_) => 0,
            Splits::From(.., ways) => 1 + ways[0].size() + ways[1].size(),
        }
    }

    fn steps(&self, number: u32) -> u32 {
        match self {
            Splits::To(_) => 0,
            Splits::From(cond, k, ways) => 1 + ways[usize::from(!answers(*cond, number, *k))].steps(number),
        }
    }

    fn build(&self, graph: &mut Graph, of: Id, now: &dyn Fn(To) -> To) -> To {
        match self {
            Splits::To(to) => now(*to),
            Splits::From(cond, k, ways) => {
                let (yes, no) = (ways[0].build(graph, of, now), ways[1].build(graph, of, now));
                compare(graph, *cond, of, *k, yes, no)
            }
        }
    }
}

fn compare(graph: &mut Graph, cond: Cond, of: Id, k: u32, yes: To, no: To) -> To {
    let b = graph.values.k(k);
    let step = Step::Test(graph.test_id(Test { cond, a: of, b }));
    graph.node(Node { step, yes, no })
}
