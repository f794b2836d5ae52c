//! What is known of values on the ways through the graph, and jumps past tests whose outcome that decides.
//!
//! Tests of one value against constants cut its numbers into classes; a fact is the set of classes that are still
//! possible, a bit each. Where ways meet the sets are united, so that `6 or 17` stays known, and not only that it is not 1.
//!
//! A test may be passed over only where its loads cannot make a difference: they have been done on every way to it, or
//! will be on every way from there to the acceptance of the packet.

use super::graph::{Graph, Step, TestId, To, ahead};
use super::values::{Id, Loads, Value};
use crate::insn::{AluOp, Cond};
use crate::machine::holds;

/// Tests of bits that share classes with the tests of numbers of a value; further ones are looked at alone.
const MAX_MASKS: usize = 3;
/// Words of facts, at most, for the whole graph; beyond that every test is looked at alone.
const MAX_WORDS: usize = 1 << 22;

/// What is asked of the number that a group of tests has in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// It lies between two, both included.
    Range(u32, u32),
    /// It has a bit in common with this.
    Bits(u32),
    /// Something that only the same test asks.
    Other,
}

/// The value that a test asks about, and what it asks.
pub(super) fn asked(graph: &Graph, test: TestId) -> (Id, Asked) {
    let t = graph.tests[test as usize];
    let Some(k) = graph.values.constant(t.b) else { return (t.a, Asked::Other) };
    match t.cond {
        Cond::Eq => prefix(graph, t.a, k).unwrap_or((t.a, Asked::Range(k, k))),
        Cond::Gt if k == u32::MAX => (t.a, Asked::Other),
        Cond::Gt => (t.a, Asked::Range(k + 1, u32::MAX)),
        Cond::Ge => (t.a, Asked::Range(k, u32::MAX)),
        Cond::Set => (t.a, Asked::Bits(k)),
    }
}

/// A mask of the upper bits asks for a range.
fn prefix(graph: &Graph, a: Id, k: u32) -> Option<(Id, Asked)> {
    let Value::Alu(AluOp::And, of, mask) = graph.values.value(a) else { return None };
    let mask = graph.values.constant(mask)?;
    let bits = match graph.values.value(of) {
        Value::Abs(size, _) | Value::Ind(size, ..) => size.bytes() * 8,
        _ => 32,
    };
    let whole = u32::MAX >> (32 - bits);
    let low = !mask & whole;
    let is_prefix = mask & !whole == 0 && low & low.wrapping_add(1) == 0;
    (is_prefix && k & !mask == 0).then_some((of, Asked::Range(k, k | low)))
}

/// Where a group's classes are in the words of facts, and which of them a test leaves when it holds.
#[derive(Clone, Copy)]
struct Place {
    /// First word in a node's facts, and how many.
    at: u32,
    len: u32,
    /// First word in [`Classes::masks`]: classes for which the test holds, then those for which it does not.
    masks: u32,
}

/// Classes of all tests.
pub(super) struct Classes {
    places: Vec<Place>,
    masks: Vec<u64>,
    /// Words of a node's facts.
    words: usize,
    /// For each word of scratch memory the words of facts about it: first and behind the last.
    about: Vec<(u8, u32, u32)>,
    /// Some value is tested twice.
    shared: bool,
}

impl Classes {
    pub(super) fn new(graph: &Graph) -> Classes {
        let mut all: Vec<(Id, bool, Asked, TestId)> = Vec::with_capacity(graph.tests.len());
        for test in 0..graph.tests.len() as TestId {
            let (of, asked) = asked(graph, test);
            all.push((of, asked == Asked::Other, asked, test));
        }
        all.sort_unstable_by_key(|(of, other, _, test)| (*of, *other, *test));
        let mut out = Classes {
            places: vec![Place { at: 0, len: 0, masks: 0 }; graph.tests.len()],
            masks: Vec::with_capacity(all.len() * 2),
            words: 0,
            about: Vec::new(),
            shared: all.windows(2).any(|w| w[0].0 == w[1].0) || graph.nodes.len() > graph.tests.len(),
        };
        let apart = all.len() / 32 * graph.nodes.len() > MAX_WORDS;
        for group in all.chunk_by(|a, b| a.0 == b.0 && !a.1 && !b.1 && !apart) {
            out.group(graph, group);
        }
        out
    }

    /// Whether some value is tested twice, so that one test may decide another.
    pub(super) fn shared(&self) -> bool {
        self.shared
    }

    fn group(&mut self, graph: &Graph, group: &[(Id, bool, Asked, TestId)]) {
        let first = self.words as u32;
        let masks: Vec<u32> =
            group.iter().filter_map(|g| if let Asked::Bits(m) = g.2 { Some(m) } else { None }).collect();
        if masks.len() > MAX_MASKS || group[0].1 {
            group.iter().for_each(|g| self.place(std::slice::from_ref(g), &[false, true], |_, c| *c));
        } else {
            let classes = classes(group, &masks);
            self.place(group, &classes, |asked, (low, bits)| match asked {
                Asked::Range(min, max) => (min..=max).contains(low),
                Asked::Bits(m) => {
                    masks.iter().position(|other| *other == m).is_some_and(|n| bits & 1 << n != 0)
                }
                Asked::Other => false,
            });
        }
        let t = graph.tests[group[0].3 as usize];
        let mut mentioned = graph.values.info(t.a).words | graph.values.info(t.b).words;
        while mentioned != 0 {
            let word = mentioned.trailing_zeros() as u8;
            self.about.push((word, first, self.words as u32));
            mentioned &= mentioned - 1;
        }
    }

    /// Gives these tests a place of their own with these classes.
    fn place<C>(
        &mut self,
        group: &[(Id, bool, Asked, TestId)],
        classes: &[C],
        holds: impl Fn(Asked, &C) -> bool,
    ) {
        let len = classes.len().div_ceil(64);
        for (_, _, asked, test) in group {
            let start = self.masks.len();
            self.places[*test as usize] =
                Place { at: self.words as u32, len: len as u32, masks: start as u32 };
            self.masks.resize(start + 2 * len, 0);
            for (n, class) in classes.iter().enumerate() {
                let half = if holds(*asked, class) { 0 } else { len };
                self.masks[start + half + n / 64] |= 1 << (n % 64);
            }
        }
        self.words += len;
    }

    fn mask(&self, test: TestId, yes: bool) -> (usize, &[u64]) {
        let p = self.places[test as usize];
        let (len, start) = (p.len as usize, p.masks as usize + if yes { 0 } else { p.len as usize });
        (p.at as usize, &self.masks[start..start + len])
    }

    /// The outcome of a test, where what is known decides it.
    fn outcome(&self, facts: &[u64], test: TestId) -> Option<bool> {
        [true, false].into_iter().find(|yes| {
            let (at, other) = self.mask(test, !yes);
            facts[at..].iter().zip(other).all(|(f, o)| f & o == 0)
        })
    }

    /// Narrows what is known by an outcome.
    fn learn(&self, facts: &mut [u64], test: TestId, yes: bool) {
        let (at, mask) = self.mask(test, yes);
        facts[at..].iter_mut().zip(mask).for_each(|(f, m)| *f &= m);
    }

    /// Forgets what depends on a word of scratch memory.
    fn forget(&self, facts: &mut [u64], word: u8) {
        for (_, first, end) in self.about.iter().filter(|(w, ..)| *w == word) {
            facts[*first as usize..*end as usize].fill(u64::MAX);
        }
    }

    /// Keeps of each set only what single tests tell: how libpcap knows things, which decides what it refuses.
    fn widen(&self, facts: &mut [u64]) {
        let mut wide = vec![u64::MAX; facts.len()];
        for test in 0..self.places.len() as TestId {
            if let Some(yes) = self.outcome(facts, test) {
                self.learn(&mut wide, test, yes);
            }
        }
        facts.copy_from_slice(&wide);
    }
}

/// Classes of a value: the first number of each, and which tests of bits hold in it.
fn classes(group: &[(Id, bool, Asked, TestId)], masks: &[u32]) -> Vec<(u32, u8)> {
    let mut cuts = Vec::with_capacity(2 * group.len() + 1);
    cuts.push(0);
    for g in group {
        if let Asked::Range(min, max) = g.2 {
            cuts.push(min);
            cuts.extend(max.checked_add(1));
        }
    }
    cuts.sort_unstable();
    cuts.dedup();
    let mut out = Vec::with_capacity(cuts.len());
    for (i, low) in cuts.iter().enumerate() {
        let alone = cuts.get(i + 1).map_or(*low == u32::MAX, |next| next - low == 1);
        let set = |bits: u8, n: usize| bits & 1 << n != 0;
        let possible = |bits: u8| {
            let exact = masks.iter().enumerate().all(|(n, m)| set(bits, n) == (low & m != 0));
            let nested = |(n, m): (usize, &u32)| {
                set(bits, n) && masks.iter().enumerate().any(|(o, other)| m & !other == 0 && !set(bits, o))
            };
            if alone { exact } else { !masks.iter().enumerate().any(nested) }
        };
        out.extend((0..1u8 << masks.len()).filter(|b| possible(*b)).map(|b| (*low, b)));
    }
    out
}

/// Sends jumps past tests whose outcome is known on the way there. Returns whether any was changed.
///
/// With `plainly`, what is known where ways meet is only what single tests tell.
pub(super) fn thread(graph: &mut Graph, root: To, classes: &Classes, plainly: bool) -> bool {
    let Some(root) = root.node() else { return false };
    let later = later(graph, root);
    let words = classes.words;
    let mut facts = vec![0u64; (root + 1) * words];
    facts[root * words..].fill(u64::MAX);
    let mut done = vec![Loads::ALL; root + 1];
    done[root] = Loads::NONE;
    let mut reached = vec![false; root + 1];
    reached[root] = true;
    let mut after = vec![0u64; words];
    let mut changed = false;
    for id in (0..=root).rev() {
        if !reached[id] {
            continue;
        }
        let (before, here) = facts.split_at_mut(id * words);
        let here = &mut here[..words];
        if plainly {
            classes.widen(here);
        }
        let node = graph.nodes[id];
        let mut have = done[id].or(graph.loads(id).1);
        if let Step::Set(word, _) = node.step {
            have = have.without(graph.values.loads_with(word));
            classes.forget(here, word);
        }
        let mut ends = [node.yes, node.no];
        let outcome = if let Step::Test(test) = node.step { classes.outcome(here, test) } else { None };
        if let Some(yes) = outcome {
            // Only the loads of this test count: both ways are the one that it takes.
            ends = [ends[usize::from(!yes)]; 2];
        }
        for (end, yes) in ends.iter_mut().zip([true, false]) {
            after.copy_from_slice(here);
            if let Step::Test(test) = node.step
                && outcome.is_none()
            {
                classes.learn(&mut after, test, yes);
            }
            *end = beyond(graph, classes, &later, *end, &after, have);
            if let Some(n) = end.node() {
                reached[n] = true;
                done[n] = done[n].and(have);
                before[n * words..][..words].iter_mut().zip(&after).for_each(|(f, a)| *f |= a);
            }
        }
        let node = &mut graph.nodes[id];
        changed |= [node.yes, node.no] != ends;
        [node.yes, node.no] = ends;
    }
    changed
}

/// Where a jump ends that passes over what need not be asked.
fn beyond(graph: &Graph, classes: &Classes, later: &[Loads], mut to: To, facts: &[u64], have: Loads) -> To {
    while let Some(n) = to.node()
        && let node = graph.nodes[n]
        && let Step::Test(test) = node.step
    {
        let next = match classes.outcome(facts, test) {
            Some(true) => node.yes,
            Some(false) => node.no,
            None if node.yes == node.no => node.yes,
            None => return to,
        };
        if !have.or(ahead(later, next)).covers(graph.loads(n).0) {
            return to;
        }
        to = next;
    }
    to
}

/// What is loaded on every way from each node to the acceptance of the packet.
fn later(graph: &Graph, root: usize) -> Vec<Loads> {
    let mut out: Vec<Loads> = Vec::with_capacity(root + 1);
    for id in 0..=root {
        let node = graph.nodes[id];
        let after = ahead(&out, node.yes).and(ahead(&out, node.no));
        let after = match node.step {
            Step::Set(word, _) if after != Loads::ALL => after.without(graph.values.loads_with(word)),
            _ => after,
        };
        out.push(after.or(graph.loads(id).1));
    }
    out
}

/// Whether a number is among those that a test asks for; tests of two values are not asked here.
pub(super) fn answers(cond: Cond, number: u32, k: u32) -> bool {
    holds(cond, number, k)
}
