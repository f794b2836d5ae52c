//! The graph of tests. It is built from its end, so that equal tests with equal ends are one node, and every node's
//! successors have smaller numbers.

use super::super::index::{Index, mix};
use super::super::tree::{Item, Tree, Trees};
use super::super::values::{Id, Loads, Value, Values};
use super::facts::{Asked, asked};
use crate::insn::{AluOp, Cond};
use crate::machine::holds;

/// Where a test goes on: an end, or a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct To(u32);

impl To {
    pub(super) const REJECT: To = To(0);
    pub(super) const ACCEPT: To = To(1);

    pub(super) fn new(node: usize) -> To {
        To(node as u32 + 2)
    }

    pub(super) fn hash(self) -> u32 {
        self.0
    }

    /// The node, where it is none of the ends.
    pub(super) fn node(self) -> Option<usize> {
        self.0.checked_sub(2).map(|n| n as usize)
    }
}

/// Number of a test.
pub(super) type TestId = u32;

/// A comparison of two values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Test {
    pub cond: Cond,
    pub a: Id,
    pub b: Id,
    /// The constant that it compares with.
    pub k: Option<u32>,
    /// The value that it asks about, and what it asks.
    pub of: Id,
    pub asked: Asked,
    /// What it needs of the packet, and what is known to be there behind it.
    pub needs: Loads,
    pub gives: Loads,
}

/// What a node does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Test(TestId),
    /// Puts a value into a word of scratch memory; both ways lead to the same.
    Set(u8, Id),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Node {
    pub step: Step,
    pub yes: To,
    pub no: To,
}

impl Node {
    fn hash(self) -> u32 {
        let step = match self.step {
            Step::Test(test) => mix(0, test),
            Step::Set(word, value) => mix(1 + u32::from(word), value),
        };
        mix(mix(step, self.yes.0), self.no.0)
    }

    /// The nodes it goes on to.
    pub(super) fn next(self) -> impl Iterator<Item = usize> {
        self.yes.node().into_iter().chain(self.no.node())
    }
}

/// Values, tests and nodes; and lists of the passes over them, which keep their memory.
#[derive(Default)]
pub(super) struct Graph {
    pub values: Values,
    pub tests: Vec<Test>,
    known_tests: Index,
    pub nodes: Vec<Node>,
    known: Index,
    /// Nodes taken out, and where each of them is now.
    old: Vec<Node>,
    now: Vec<To>,
    kept: Vec<bool>,
    /// What is loaded on every way from each node to the acceptance of the packet, as it was when the node was made.
    pub later: Vec<Loads>,
}

impl Graph {
    /// Forgets tests and nodes.
    pub(super) fn clear(&mut self) {
        self.tests.clear();
        self.known_tests.clear();
        self.nodes.clear();
        self.later.clear();
        self.known.clear();
    }

    /// Nodes for a tree: where it begins. Words of scratch memory that are not among those `read` are not set.
    pub(super) fn build(&mut self, trees: &Trees, read: u32, mut tree: Tree, mut yes: To, mut no: To) -> To {
        loop {
            if tree.is_negated() {
                std::mem::swap(&mut yes, &mut no);
            }
            match trees.item(tree) {
                Item::True => return yes,
                Item::Test(cond, a, b) => return self.comparison(cond, a, b, yes, no),
                Item::Set(word, _) if read & 1 << word == 0 => return yes,
                Item::Set(word, value) => {
                    return self.node(Node { step: Step::Set(word, value), yes, no: yes });
                }
                // Long lists lean to the left.
                Item::And(left, right) => {
                    yes = self.build(trees, read, right, yes, no);
                    tree = left;
                }
            }
        }
    }

    /// A comparison, in the form that takes the fewest instructions.
    fn comparison(&mut self, cond: Cond, a: Id, b: Id, yes: To, no: To) -> To {
        match (self.values.constant(a), self.values.constant(b)) {
            (Some(a), Some(b)) => {
                if holds(cond, a, b) {
                    yes
                } else {
                    no
                }
            }
            // The constant comes second.
            (Some(_), None) => match cond {
                Cond::Eq | Cond::Set => self.simplified(cond, b, a, yes, no),
                Cond::Gt => self.simplified(Cond::Ge, b, a, no, yes),
                Cond::Ge => self.simplified(Cond::Gt, b, a, no, yes),
            },
            _ => self.simplified(cond, a, b, yes, no),
        }
    }

    fn simplified(&mut self, cond: Cond, a: Id, b: Id, yes: To, no: To) -> To {
        let Some(k) = self.values.constant(b) else { return self.test(cond, a, b, yes, no) };
        let Value::Alu(op, left, right) = self.values.value(a) else { return self.test(cond, a, b, yes, no) };
        match (cond, op, self.values.constant(right)) {
            // A mask of one bit, or for which no bit is wanted, goes into the jump.
            (Cond::Eq, AluOp::And, Some(_)) if k == 0 => self.test(Cond::Set, left, right, no, yes),
            (Cond::Eq, AluOp::And, Some(mask)) if k == mask && mask.is_power_of_two() => {
                self.test(Cond::Set, left, right, yes, no)
            }
            (Cond::Set, AluOp::And, Some(mask)) => {
                let both = self.values.k(mask & k);
                self.test(Cond::Set, left, both, yes, no)
            }
            // A difference is compared by its parts.
            (Cond::Eq, AluOp::Sub, None) if k == 0 => self.test(Cond::Eq, left, right, yes, no),
            (Cond::Eq, AluOp::Sub, Some(by)) => {
                let whole = self.values.k(k.wrapping_add(by));
                self.simplified(Cond::Eq, left, whole, yes, no)
            }
            (Cond::Eq, AluOp::Add, Some(by)) => {
                let whole = self.values.k(k.wrapping_sub(by));
                self.simplified(Cond::Eq, left, whole, yes, no)
            }
            _ => self.test(cond, a, b, yes, no),
        }
    }

    fn test(&mut self, cond: Cond, a: Id, b: Id, yes: To, no: To) -> To {
        let loads = self.values.info(a).needs.or(self.values.info(b).needs);
        if yes == no && Loads::NONE.covers(loads) {
            return yes;
        }
        let test = self.test_id(cond, a, b);
        self.node(Node { step: Step::Test(test), yes, no })
    }

    pub(super) fn test_id(&mut self, cond: Cond, a: Id, b: Id) -> TestId {
        let next = self.tests.len() as TestId;
        let tests = &self.tests;
        let same = |id: TestId| {
            let t = &tests[id as usize];
            (t.a, t.b, t.cond) == (a, b, cond)
        };
        let id = self.known_tests.find_or_put(mix(mix(cond as u32, a), b), next, same);
        if id == next {
            let (left, right) = (self.values.info(a), self.values.info(b));
            let (needs, gives) = (left.needs.or(right.needs), left.gives.or(right.gives));
            let k = self.values.constant(b);
            let (of, asked) = asked(&self.values, cond, a, k);
            self.tests.push(Test { cond, a, b, k, of, asked, needs, gives });
        }
        id
    }

    /// Says of loads behind the same header that the farther one tells of the nearer. To be called when the graph is built.
    pub(super) fn relate(&mut self) {
        if self.values.relate() {
            for t in &mut self.tests {
                t.gives = self.values.info(t.a).gives.or(self.values.info(t.b).gives);
            }
            self.later.clear();
            for id in 0..self.nodes.len() {
                self.later.push(self.before(self.nodes[id]));
            }
        }
    }

    pub(super) fn node(&mut self, node: Node) -> To {
        // A load that fails rejects the packet, too.
        if node.yes == To::REJECT && node.no == To::REJECT {
            return To::REJECT;
        }
        let next = self.nodes.len() as u32;
        let nodes = &self.nodes;
        let id = self.known.find_or_put(node.hash(), next, |id| nodes[id as usize] == node);
        if id == next {
            self.later.push(self.before(node));
            self.nodes.push(node);
        }
        To::new(id as usize)
    }

    /// Takes all nodes out, to build others. They are to be given back.
    pub(super) fn take_nodes(&mut self) -> Vec<Node> {
        self.known.clear();
        self.old.clear();
        self.later.clear();
        std::mem::replace(&mut self.nodes, std::mem::take(&mut self.old))
    }

    /// Keeps the memory of nodes taken out.
    pub(super) fn give_back(&mut self, nodes: Vec<Node>) {
        self.old = nodes;
    }

    /// What a node loads: what that needs of the packet, and what is known to be there behind it.
    pub(super) fn loads(&self, id: usize) -> (Loads, Loads) {
        self.loads_of(self.nodes[id].step)
    }

    #[inline]
    fn loads_of(&self, step: Step) -> (Loads, Loads) {
        match step {
            Step::Set(_, v) => (self.values.info(v).needs, self.values.info(v).gives),
            Step::Test(t) => {
                let t = &self.tests[t as usize];
                (t.needs, t.gives)
            }
        }
    }

    /// What is known to be there behind a node, of what was there before it.
    #[inline]
    pub(super) fn behind(&self, step: Step, before: Loads) -> Loads {
        let have = before.or(self.loads_of(step).1);
        match step {
            Step::Set(word, _) => have.without(self.values.loads_with(word)),
            Step::Test(_) => have,
        }
    }

    /// What is loaded from a node on, on every way to the acceptance of the packet.
    #[inline]
    fn before(&self, node: Node) -> Loads {
        let after = ahead(&self.later, node.yes).and(ahead(&self.later, node.no));
        let after = match node.step {
            Step::Set(word, _) if after != Loads::ALL => after.without(self.values.loads_with(word)),
            _ => after,
        };
        after.or(self.loads_of(node.step).1)
    }

    /// Nodes that are reached, by falling numbers.
    pub(super) fn order(&mut self, root: To, order: &mut Vec<usize>) {
        order.clear();
        let Some(root) = root.node() else { return };
        self.kept.clear();
        self.kept.resize(root + 1, false);
        self.kept[root] = true;
        for id in (0..=root).rev() {
            if self.kept[id] {
                order.push(id);
                self.nodes[id].next().for_each(|n| self.kept[n] = true);
            }
        }
    }

    /// Makes equal tests with equal ends one, after ends were changed, and leaves tests out that decide nothing. The new root,
    /// and whether anything was found.
    pub(super) fn merge(&mut self, root: To) -> (To, bool) {
        let old = self.take_nodes();
        let mut now = std::mem::take(&mut self.now);
        now.clear();
        // Nodes that are not reached any more are not taken over.
        self.kept.clear();
        self.kept.resize(old.len(), false);
        if let Some(root) = root.node() {
            self.kept[root] = true;
            for id in (0..=root).rev() {
                if self.kept[id] {
                    old[id].next().for_each(|n| self.kept[n] = true);
                }
            }
        }
        let of = |to: To, now: &[To]| to.node().map_or(to, |n| now[n]);
        let mut changed = false;
        for (id, node) in old.iter().enumerate() {
            if !self.kept[id] {
                now.push(To::REJECT);
                continue;
            }
            let node = Node { yes: of(node.yes, &now), no: of(node.no, &now), ..*node };
            let decides_nothing = node.yes == node.no && matches!(node.step, Step::Test(_));
            changed |= decides_nothing;
            if decides_nothing && ahead(&self.later, node.yes).covers(self.loads_of(node.step).0) {
                now.push(node.yes);
                continue;
            }
            let before = self.nodes.len();
            now.push(self.node(node));
            changed |= self.nodes.len() == before;
        }
        let root = of(root, &now);
        self.now = now;
        self.give_back(old);
        (root, changed)
    }
}

/// What is loaded on every way from here to the acceptance of the packet.
pub(super) fn ahead(later: &[Loads], to: To) -> Loads {
    match to.node() {
        Some(n) => later[n],
        None if to == To::ACCEPT => Loads::NONE,
        None => Loads::ALL,
    }
}
