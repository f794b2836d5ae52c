//! What is known of values on the ways through the graph, and jumps past tests whose outcome that decides.
//!
//! Tests of one value against constants cut its numbers into classes; a fact is the set of classes that are still
//! possible, a bit each. Where ways meet the sets are united, so that `6 or 17` stays known, and not only that it is not 1.
//!
//! A test may be passed over only where its loads cannot make a difference: they have been done on every way to it, or
//! will be on every way from there to the acceptance of the packet.

use super::super::values::{Id, Loads, Value, Values};
use super::graph::{Graph, Step, TestId, To, ahead};
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

/// The value that a test of `a` against a constant asks about, and what it asks.
pub(super) fn asked(values: &Values, cond: Cond, a: Id, k: Option<u32>) -> (Id, Asked) {
    let Some(k) = k else { return (a, Asked::Other) };
    match cond {
        Cond::Eq => prefix(values, a, k).unwrap_or((a, Asked::Range(k, k))),
        Cond::Gt if k == u32::MAX => (a, Asked::Other),
        Cond::Gt => (a, Asked::Range(k + 1, u32::MAX)),
        Cond::Ge => (a, Asked::Range(k, u32::MAX)),
        Cond::Set => (a, Asked::Bits(k)),
    }
}

/// A mask of the upper bits asks for a range.
fn prefix(values: &Values, a: Id, k: u32) -> Option<(Id, Asked)> {
    let Value::Alu(AluOp::And, of, mask) = values.value(a) else { return None };
    let mask = values.constant(mask)?;
    let bits = match values.value(of) {
        Value::Abs(size, _) | Value::Ind(size, ..) => size.bytes() * 8,
        _ => 32,
    };
    let whole = u32::MAX >> (32 - bits);
    let low = !mask & whole;
    let is_prefix = mask & !whole == 0 && low & low.wrapping_add(1) == 0;
    (is_prefix && k & !mask == 0).then_some((of, Asked::Range(k, k | low)))
}

/// Where a group's classes are in the words of facts, and which of them a test leaves when it holds.
#[derive(Clone, Copy, Default)]
struct Place {
    /// First word in a node's facts, and how many. Small groups share a word.
    at: u32,
    len: u32,
    /// Classes for which the test holds, and those for which it does not, where that is one word.
    yes: u64,
    no: u64,
    /// First word in [`Classes::masks`] otherwise: the same.
    masks: u32,
}

/// A test in a group: the value it asks about in the upper half, then a bit for what is no range and no bits, and its number.
type Member = u64;

/// The number of the test.
fn number(member: Member) -> TestId {
    member as TestId & !OTHER
}

/// Set in a [`Member`] whose test asks what only the same test asks.
const OTHER: u32 = 1 << 31;

/// A class of numbers: the lowest, and which tests of bits hold in it.
type Class = (u32, u8);

/// Classes of all tests.
#[derive(Default)]
pub(super) struct Classes {
    places: Vec<Place>,
    masks: Vec<u64>,
    /// Bits of a node's facts.
    bits: usize,
    /// For each word of scratch memory tests that ask about it, one for each place.
    about: Vec<(u8, TestId)>,
    members: Vec<Member>,
    cuts: Vec<u32>,
    classes: Vec<Class>,
}

impl Classes {
    /// Makes the classes; without `always` only where some value is tested twice, so that one test may decide another.
    /// Whether there are classes now.
    pub(super) fn update(&mut self, graph: &Graph, always: bool) -> bool {
        let mut all = std::mem::take(&mut self.members);
        all.clear();
        all.extend(graph.tests.iter().zip(0u32..).map(|(t, test)| {
            let other = if t.asked == Asked::Other { OTHER } else { 0 };
            u64::from(t.of) << 32 | u64::from(test | other)
        }));
        all.sort_unstable();
        let same = |a: &Member, b: &Member| a >> 32 == b >> 32;
        let shared = all.windows(2).any(|w| same(&w[0], &w[1])) || graph.nodes.len() > graph.tests.len();
        if shared || always {
            self.places.clear();
            self.places.resize(all.len(), Place::default());
            self.masks.clear();
            self.bits = 0;
            self.about.clear();
            let apart = all.len() / 32 * graph.nodes.len() > MAX_WORDS;
            for group in all.chunk_by(|a, b| same(a, b) && (*a | *b) as u32 & OTHER == 0 && !apart) {
                self.group(graph, group);
            }
        }
        self.members = all;
        shared || always
    }

    /// Words of a node's facts.
    fn words(&self) -> usize {
        self.bits.div_ceil(64)
    }

    fn group(&mut self, graph: &Graph, group: &[Member]) {
        let asked = |member: &Member| graph.tests[number(*member) as usize].asked;
        let (mut masks, mut count) = ([0; MAX_MASKS], 0);
        for member in group {
            if let Asked::Bits(m) = asked(member) {
                if let Some(place) = masks.get_mut(count) {
                    *place = m;
                }
                count += 1;
            }
        }
        if count > MAX_MASKS || group.len() == 1 {
            for member in group {
                self.place(graph, std::slice::from_ref(member), &[(0, 0), (0, 1)], |_, c| c.1 != 0);
            }
        } else {
            let masks = &masks[..count];
            let mut classes = std::mem::take(&mut self.classes);
            classes_of(group.iter().map(asked), masks, &mut self.cuts, &mut classes);
            self.place(graph, group, &classes, |asked, (low, bits)| match asked {
                Asked::Range(min, max) => (min..=max).contains(low),
                Asked::Bits(m) => {
                    masks.iter().position(|other| *other == m).is_some_and(|n| bits & 1 << n != 0)
                }
                Asked::Other => false,
            });
            self.classes = classes;
        }
    }

    /// Gives these tests a place of their own with these classes.
    fn place(
        &mut self,
        graph: &Graph,
        group: &[Member],
        classes: &[Class],
        holds: impl Fn(Asked, &Class) -> bool,
    ) {
        if self.bits % 64 + classes.len() > 64 {
            self.bits = self.bits.next_multiple_of(64);
        }
        let (at, first) = (self.bits / 64, self.bits % 64);
        let len = (first + classes.len()).div_ceil(64);
        for test in group.iter().map(|m| number(*m) as usize) {
            let asked = graph.tests[test].asked;
            let mut place = Place { at: at as u32, len: len as u32, ..Place::default() };
            if len == 1 {
                for (n, class) in classes.iter().enumerate() {
                    let half = if holds(asked, class) { &mut place.yes } else { &mut place.no };
                    *half |= 1 << (first + n);
                }
            } else {
                let start = self.masks.len();
                place.masks = start as u32;
                self.masks.resize(start + 2 * len, 0);
                for (n, class) in classes.iter().enumerate() {
                    let half = if holds(asked, class) { 0 } else { len };
                    self.masks[start + half + (first + n) / 64] |= 1 << ((first + n) % 64);
                }
            }
            self.places[test] = place;
        }
        self.bits += classes.len();
        let test = number(group[0]);
        let t = &graph.tests[test as usize];
        let mut mentioned = graph.values.info(t.a).words | graph.values.info(t.b).words;
        while mentioned != 0 {
            self.about.push((mentioned.trailing_zeros() as u8, test));
            mentioned &= mentioned - 1;
        }
    }

    /// The classes of a test that takes several words: those that hold, and those that do not.
    fn wide(&self, p: &Place) -> (&[u64], &[u64]) {
        let (len, start) = (p.len as usize, p.masks as usize);
        self.masks[start..start + 2 * len].split_at(len)
    }

    /// The outcome of a test, where what is known decides it.
    #[inline]
    fn outcome(&self, facts: &[u64], test: TestId) -> Option<bool> {
        let p = &self.places[test as usize];
        let facts = &facts[p.at as usize..];
        let (none_fails, none_holds) = if p.len == 1 {
            (facts[0] & p.no == 0, facts[0] & p.yes == 0)
        } else {
            let (yes, no) = self.wide(p);
            let none = |of: &[u64]| facts.iter().zip(of).all(|(f, o)| f & o == 0);
            (none(no), none(yes))
        };
        match (none_fails, none_holds) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }

    /// Narrows what is known by an outcome.
    #[inline]
    fn learn(&self, facts: &mut [u64], test: TestId, holds: bool) {
        let p = &self.places[test as usize];
        let facts = &mut facts[p.at as usize..];
        if p.len == 1 {
            facts[0] &= !if holds { p.no } else { p.yes };
        } else {
            let (yes, no) = self.wide(p);
            facts.iter_mut().zip(if holds { no } else { yes }).for_each(|(f, m)| *f &= !m);
        }
    }

    /// Forgets what depends on a word of scratch memory.
    fn forget(&self, facts: &mut [u64], word: u8) {
        for (_, test) in self.about.iter().filter(|(w, _)| *w == word) {
            let p = &self.places[*test as usize];
            let facts = &mut facts[p.at as usize..];
            if p.len == 1 {
                facts[0] |= p.yes | p.no;
            } else {
                let (yes, no) = self.wide(p);
                facts.iter_mut().zip(yes.iter().zip(no)).for_each(|(f, (y, n))| *f |= y | n);
            }
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

/// Classes of a value about which this is asked; what asks for bits has these masks.
fn classes_of(asked: impl Iterator<Item = Asked>, masks: &[u32], cuts: &mut Vec<u32>, out: &mut Vec<Class>) {
    cuts.clear();
    cuts.push(0);
    for a in asked {
        if let Asked::Range(min, max) = a {
            cuts.push(min);
            cuts.extend(max.checked_add(1));
        }
    }
    cuts.sort_unstable();
    cuts.dedup();
    out.clear();
    if masks.is_empty() {
        return out.extend(cuts.iter().map(|low| (*low, 0)));
    }
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
}

/// Lists of [`thread`].
#[derive(Default)]
pub(super) struct Facts {
    facts: Vec<u64>,
    after: Vec<u64>,
    done: Vec<Loads>,
    reached: Vec<bool>,
}

/// A list with so many equal items.
pub(super) fn refill<T: Clone>(list: &mut Vec<T>, len: usize, item: T) {
    list.clear();
    list.resize(len, item);
}

/// Sends jumps past tests whose outcome is known on the way there. Returns whether any was changed.
///
/// With `plainly`, what is known where ways meet is only what single tests tell.
pub(super) fn thread(
    graph: &mut Graph,
    root: To,
    classes: &Classes,
    room: &mut Facts,
    plainly: bool,
) -> bool {
    let Some(root) = root.node() else { return false };
    let Facts { facts, after, done, reached } = room;
    let words = classes.words();
    refill(facts, (root + 1) * words, 0);
    facts[root * words..].fill(u64::MAX);
    refill(done, root + 1, Loads::ALL);
    done[root] = Loads::NONE;
    refill(reached, root + 1, false);
    reached[root] = true;
    refill(after, words, 0);
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
        let have = graph.behind(node.step, done[id]);
        let mut ends = [node.yes, node.no];
        let mut outcome = None;
        match node.step {
            Step::Set(word, _) => classes.forget(here, word),
            Step::Test(test) => outcome = classes.outcome(here, test),
        }
        if let Some(yes) = outcome {
            // Only the loads of this test count: both ways are the one that it takes.
            ends = [ends[usize::from(!yes)]; 2];
        }
        for (end, yes) in ends.iter_mut().zip([true, false]) {
            // Nothing is to be seen at an end.
            if end.node().is_none() {
                continue;
            }
            after.iter_mut().zip(&*here).for_each(|(a, h)| *a = *h);
            if let Step::Test(test) = node.step
                && outcome.is_none()
            {
                classes.learn(after, test, yes);
            }
            *end = beyond(graph, classes, *end, after, have);
            if let Some(n) = end.node() {
                reached[n] = true;
                done[n] = done[n].and(have);
                before[n * words..][..words].iter_mut().zip(&*after).for_each(|(f, a)| *f |= a);
            }
        }
        let node = &mut graph.nodes[id];
        changed |= [node.yes, node.no] != ends;
        [node.yes, node.no] = ends;
    }
    changed
}

/// Where a jump ends that passes over what need not be asked.
fn beyond(graph: &Graph, classes: &Classes, mut to: To, facts: &[u64], have: Loads) -> To {
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
        if !have.or(ahead(&graph.later, next)).covers(graph.tests[test as usize].needs) {
            return to;
        }
        to = next;
    }
    to
}

/// Whether a number is among those that a test asks for; tests of two values are not asked here.
pub(super) fn answers(cond: Cond, number: u32, k: u32) -> bool {
    holds(cond, number, k)
}
