//! The order of tests, where it is free: tests of the same value stand together, and decide by as few and as early
//! comparisons as there may be.
//!
//! Two rewritings, each of parts of the graph that are entered at their first test alone:
//!
//! - A *chain* is tests of which each goes on to the next or leaves for one common end. Where the loads done by then are
//!   the same, or cannot make a difference, its tests may change places.
//! - A *region* is tests of one value against constants. It maps numbers to ends, and is built anew from that map.

use super::super::values::{Id, Loads};
use super::facts::{Asked, answers, refill};
use super::graph::{Graph, Node, Step, To, ahead};
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
pub(super) fn regroup(graph: &mut Graph, root: To, parts: &mut Parts) -> Regrouped {
    parts.update(graph, root);
    let mut plans: Vec<Plan> = Vec::new();
    let mut twice = false;
    let Parts { inside, settled, .. } = parts;
    let (mut inside, mut settled) = (std::mem::take(inside), std::mem::take(settled));
    refill(&mut inside, graph.nodes.len(), false);
    // The ways in which a node is part of a chain that is in order: so are chains that begin inside it.
    refill(&mut settled, graph.nodes.len(), [false; 2]);
    let mut moved = Vec::new();
    for &id in &parts.order {
        if inside[id] {
            continue;
        }
        let (down, up) = (parts.chain(graph, id, false).count(), parts.chain(graph, id, true).count());
        let via_yes = up > down;
        if down.max(up) < 3 || settled[id][usize::from(via_yes)] {
            continue;
        }
        let again = parts.group(graph, id, via_yes, &mut moved);
        twice |= again;
        let chain = || parts.chain(graph, id, via_yes);
        if chain().eq(moved.iter().copied()) {
            chain().for_each(|n| settled[n][usize::from(via_yes)] = true);
        } else {
            chain().skip(1).for_each(|n| inside[n] = true);
            let last = chain().last().unwrap_or(id);
            plans.push(Plan { head: id, last, via_yes, nodes: moved.clone() });
        }
    }
    (parts.inside, parts.settled) = (inside, settled);
    if plans.is_empty() {
        return Regrouped { root, moved: false, twice };
    }
    let rebuilt = rebuild(graph, root, parts, |graph, id, now| {
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

/// Regions with more tests are judged as wholes alone, and not also from each of their tests on.
const WHOLE: usize = 64;

/// Builds the tests of one value anew where that takes fewer or earlier comparisons. The new root.
pub(super) fn decide(graph: &mut Graph, root: To, parts: &mut Parts) -> To {
    parts.update(graph, root);
    let mut inside = std::mem::take(&mut parts.inside);
    let mut settled = std::mem::take(&mut parts.settled);
    refill(&mut inside, graph.nodes.len(), false);
    // Nodes of regions whose parts need no look of their own.
    refill(&mut settled, graph.nodes.len(), [false; 2]);
    let mut heads: Vec<(usize, Region)> = Vec::new();
    let mut nodes = Vec::new();
    for &id in &parts.order {
        if inside[id] || settled[id][0] {
            continue;
        }
        let Some(of) = parts.region(graph, id, &mut nodes) else { continue };
        let tests = Tests { graph, entries: &parts.entries, of, nodes: &nodes };
        match tests.better() {
            Better::Built(better) => {
                nodes[1..].iter().for_each(|n| inside[*n] = true);
                heads.push((id, better));
            }
            Better::InOrder => nodes.iter().for_each(|n| settled[*n][0] = true),
            Better::No if nodes.len() > WHOLE => nodes.iter().for_each(|n| settled[*n][0] = true),
            Better::No => {}
        }
    }
    (parts.inside, parts.settled) = (inside, settled);
    if heads.is_empty() {
        return root;
    }
    rebuild(graph, root, parts, |graph, id, now| {
        let (_, region) = heads.iter().find(|(head, _)| *head == id)?;
        let mut next = region.splits.build(graph.new, region.of, now);
        for (k, to) in region.equal.iter().rev() {
            next = compare(graph.new, Cond::Eq, region.of, *k, now(*to), next);
        }
        Some(next)
    })
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

/// Takes the nodes over, from the end, but for those `inside` of rewritten parts; `part` builds what stands for a node that
/// begins one. The new root.
pub(super) fn rebuild(
    graph: &mut Graph,
    root: To,
    parts: &mut Parts,
    part: impl Fn(&mut Rebuilt<'_>, usize, &dyn Fn(To) -> To) -> Option<To>,
) -> To {
    parts.known = false;
    let nodes = graph.take_nodes();
    let now = &mut parts.now;
    refill(now, nodes.len(), To::REJECT);
    let mut graph = Rebuilt { new: graph, nodes };
    for &id in parts.order.iter().rev().filter(|id| !parts.inside[**id]) {
        let find = |to: To| to.node().map_or(to, |n| now[n]);
        now[id] = match part(&mut graph, id, &find) {
            Some(to) => to,
            None => {
                let node = graph.old(id);
                graph.new.node(Node { yes: find(node.yes), no: find(node.no), ..node })
            }
        };
    }
    let Rebuilt { new, nodes } = graph;
    new.give_back(nodes);
    root.node().map_or(root, |n| now[n])
}

/// What the rewritings ask of the graph, as long as it is not rebuilt.
#[derive(Default)]
pub(super) struct Parts {
    /// Whether the lists are those of the graph as it is.
    pub known: bool,
    pub order: Vec<usize>,
    /// How many nodes go on to each.
    pub entries: Vec<u32>,
    /// What is loaded on every way to each node.
    pub done: Vec<Loads>,
    /// Nodes that are rewritten with one before them.
    pub inside: Vec<bool>,
    settled: Vec<[bool; 2]>,
    now: Vec<To>,
}

impl Parts {
    pub(super) fn update(&mut self, graph: &mut Graph, root: To) {
        if self.known {
            return;
        }
        self.known = true;
        graph.order(root, &mut self.order);
        let n = graph.nodes.len();
        refill(&mut self.entries, n, 0);
        refill(&mut self.done, n, Loads::ALL);
        if let Some(root) = root.node() {
            self.done[root] = Loads::NONE;
        }
        for &id in &self.order {
            let node = graph.nodes[id];
            let have = graph.behind(node.step, self.done[id]);
            for n in node.next() {
                self.entries[n] += 1;
                self.done[n] = self.done[n].and(have);
            }
        }
    }

    /// The chain that begins here, each going on by `yes` or by `no`.
    fn chain(&self, graph: &Graph, head: usize, via_yes: bool) -> impl Iterator<Item = usize> {
        let ends = move |id: usize| {
            let n = graph.nodes[id];
            if via_yes { (n.no, n.yes) } else { (n.yes, n.no) }
        };
        let is_test = move |n: usize| matches!(graph.nodes[n].step, Step::Test(_));
        let common = ends(head).0;
        std::iter::successors(Some(head), move |n| {
            let next = ends(*n).1.node().filter(|_| is_test(*n))?;
            (self.entries[next] == 1 && is_test(next) && ends(next).0 == common).then_some(next)
        })
    }

    /// The chain with tests of the same value together, as far as they may move; and whether that is not far enough.
    fn group(&self, graph: &Graph, head: usize, via_yes: bool, out: &mut Vec<usize>) -> bool {
        let first = graph.nodes[head];
        let common = if via_yes { first.no } else { first.yes };
        let mut have = self.done[head].or(ahead(&graph.later, common));
        out.clear();
        // What is loaded before a level may not be loaded later, nor the other way round.
        let mut level = 0;
        for id in self.chain(graph, head, via_yes) {
            let (needs, gives) = graph.loads(id);
            if !have.covers(needs) {
                together(graph, &mut out[level..]);
                level = out.len();
            }
            have = have.or(gives);
            out.push(id);
        }
        together(graph, &mut out[level..]);
        let value = |id: &usize| match graph.nodes[*id].step {
            Step::Test(test) => graph.tests[test as usize].of,
            Step::Set(_, v) => v,
        };
        let apart = |i: usize| {
            value(&out[i]) != value(&out[i - 1]) && out[..i].iter().any(|n| value(n) == value(&out[i]))
        };
        (1..out.len()).any(apart)
    }

    /// Tests of one value against constants, from this one on: the value, and the nodes, where there are two at least.
    fn region(&self, graph: &Graph, head: usize, nodes: &mut Vec<usize>) -> Option<Id> {
        let of = ranged(graph, head)?.0;
        nodes.clear();
        nodes.push(head);
        let mut at = 0;
        while at < nodes.len() {
            for n in graph.nodes[nodes[at]].next() {
                if self.entries[n] == 1 && ranged(graph, n).is_some_and(|(v, ..)| v == of) {
                    nodes.push(n);
                }
            }
            at += 1;
        }
        (nodes.len() > 1).then_some(of)
    }
}

/// Puts the nodes of a level together: values in the order in which they come first, tests of the value itself before those
/// under a mask.
fn together(graph: &Graph, level: &mut [usize]) {
    let value = |id: usize| match graph.nodes[id].step {
        Step::Test(test) => {
            let t = &graph.tests[test as usize];
            if t.asked == Asked::Other { (Id::MAX - id as Id, true) } else { (t.of, t.a != t.of) }
        }
        Step::Set(_, v) => (v, false),
    };
    let mut done = 0;
    while done < level.len() {
        let of = value(level[done]).0;
        for masked in [false, true] {
            let (mut at, end) = (done, level.len());
            while at < end {
                if value(level[at]) == (of, masked) {
                    level[done..=at].rotate_right(1);
                    done += 1;
                }
                at += 1;
            }
        }
    }
}

/// The value and the range that a node asks about, if it does.
fn ranged(graph: &Graph, id: usize) -> Option<(Id, u32, u32)> {
    let Step::Test(test) = graph.nodes[id].step else { return None };
    let t = &graph.tests[test as usize];
    if let Asked::Range(min, max) = t.asked { Some((t.of, min, max)) } else { None }
}

/// Tests of one value as they are built anew: first numbers that are singled out, then numbers divided by size.
struct Region {
    of: Id,
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

/// What building tests anew brings.
enum Better {
    Built(Region),
    /// Nothing: they are numbers in a row, frequent ones first, and so is what begins at any of them.
    InOrder,
    /// Nothing for all of them.
    No,
}

/// Tests of one value as they are: nodes of the graph, the first of which is where they begin.
struct Tests<'a> {
    graph: &'a Graph,
    entries: &'a [u32],
    of: Id,
    nodes: &'a [usize],
}

impl Tests<'_> {
    /// The tests built anew, if that is better.
    fn better(&self) -> Better {
        if let Some(end) = self.numbers_in_a_row() {
            return self.by_weight(end);
        }
        let classes = self.runs();
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
                .position(|n| ranged(self.graph, *n).is_some_and(|(_, min, max)| (min, max) == (k, k)))
        };
        equal.sort_by_cached_key(|(k, _)| (std::cmp::Reverse(weight(*k, *k)), place(*k)));
        let gt = |low: u32| {
            let is = |n: &usize| {
                matches!(self.graph.nodes[*n].step, Step::Test(t)
                    if self.graph.tests[t as usize].cond == Cond::Gt
                        && self.graph.tests[t as usize].k == low.checked_sub(1))
            };
            self.nodes.iter().any(is)
        };
        let splits = Splits::of(&runs, &gt);
        // What decides nothing is there for its load.
        if equal.is_empty() && splits.size() == 0 {
            return Better::No;
        }
        let new = Region { of: self.of, equal, splits };
        let (old, now) = (self.cost(&classes), new.cost(&classes));
        if now < old { Better::Built(new) } else { Better::No }
    }

    /// Where the last of the tests ends, if each asks for one number and the next is asked when it is another, and if these
    /// numbers are apart, so that no two of them, nor what lies between them, are better asked for together.
    fn numbers_in_a_row(&self) -> Option<To> {
        let last = self.graph.nodes[*self.nodes.last()?];
        for (i, id) in self.nodes.iter().enumerate() {
            let k = self.number(*id)?;
            let node = self.graph.nodes[*id];
            let goes_on = self.nodes.get(i + 1).is_none_or(|next| node.no == To::new(*next));
            if !goes_on || node.yes == last.no || !(2..=u32::MAX - 2).contains(&k) {
                return None;
            }
        }
        let numbers = self.nodes.iter().filter_map(|id| self.number(*id));
        let apart = match self.nodes {
            [a, b] => self.number(*a)?.abs_diff(self.number(*b)?) > 2,
            _ => {
                let mut sorted: Vec<u32> = numbers.collect();
                sorted.sort_unstable();
                sorted.windows(2).all(|w| w[1] - w[0] > 2)
            }
        };
        apart.then_some(last.no)
    }

    /// The number that a node asks for.
    fn number(&self, id: usize) -> Option<u32> {
        let Step::Test(t) = self.graph.nodes[id].step else { return None };
        let t = &self.graph.tests[t as usize];
        if t.cond == Cond::Eq && t.a == self.of { t.k } else { None }
    }

    /// Numbers in a row, frequent ones first, if they are not in that order.
    fn by_weight(&self, end: To) -> Better {
        let of = |id: &usize| self.number(*id).map(|k| (k, self.graph.nodes[*id].yes));
        let heavy = |id: &usize| self.number(*id).map_or(0, |k| weight(k, k));
        if self.nodes.is_sorted_by(|a, b| heavy(a) >= heavy(b)) {
            return Better::InOrder;
        }
        let mut equal: Vec<(u32, To)> = self.nodes.iter().filter_map(of).collect();
        equal.sort_by_cached_key(|(k, _)| std::cmp::Reverse(weight(*k, *k)));
        Better::Built(Region { of: self.of, equal, splits: Splits::To(end) })
    }

    /// Where numbers go: the classes that the tests make of them, ascending.
    fn runs(&self) -> Vec<Run> {
        let mut cuts = Vec::with_capacity(2 * self.nodes.len() + 1);
        cuts.push(0);
        for n in self.nodes {
            if let Some((_, min, max)) = ranged(self.graph, *n) {
                cuts.push(min);
                cuts.extend(max.checked_add(1));
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        let ends = cuts.iter().skip(1).map(|c| c - 1).chain([u32::MAX]);
        cuts.iter().zip(ends).map(|(low, high)| (*low, high, self.walk(*low).0)).collect()
    }

    /// Where a number goes, and the instructions on the way.
    fn walk(&self, number: u32) -> (To, u32) {
        let (mut to, mut steps) = (To::new(self.nodes[0]), 0);
        while let Some(n) = to.node()
            && (n == self.nodes[0] || self.entries[n] == 1)
            && let Some((of, min, max)) = ranged(self.graph, n)
            && of == self.of
        {
            let node = self.graph.nodes[n];
            to = if (min..=max).contains(&number) { node.yes } else { node.no };
            steps += self.size(n);
        }
        (to, steps)
    }

    /// Instructions of a node: a mask is one more, and the value is loaded again behind it.
    fn size(&self, n: usize) -> u32 {
        let Step::Test(t) = self.graph.nodes[n].step else { return 0 };
        if self.graph.tests[t as usize].a == self.of { 1 } else { 3 }
    }

    /// Instructions, and steps by weight.
    fn cost(&self, classes: &[Run]) -> (u32, u32) {
        let size: u32 = self.nodes.iter().map(|n| self.size(*n)).sum();
        // The value is loaded once in any case.
        let masked = self.nodes.iter().any(|n| self.size(*n) > 1);
        (size - u32::from(masked), classes.iter().map(|c| self.walk(c.0).1 * weight(c.0, c.1)).sum())
    }
}

impl Region {
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
    let step = Step::Test(graph.test_id(cond, of, b));
    graph.node(Node { step, yes, no })
}
