//! The graph of tests. It is built from its end, so that equal tests with equal ends are one node, and every node's
//! successors have smaller numbers.

use super::super::tree::{Tree, Val};
use super::values::{Fast, Id, Loads, Value, Values};
use crate::insn::{AluOp, Cond};
use crate::machine::holds;
use std::collections::HashMap;

/// Where a test goes on: an end, or a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct To(u32);

impl To {
    pub(super) const REJECT: To = To(0);
    pub(super) const ACCEPT: To = To(1);

    pub(super) fn new(node: usize) -> To {
        To(node as u32 + 2)
    }

    /// The node, where it is none of the ends.
    pub(super) fn node(self) -> Option<usize> {
        self.0.checked_sub(2).map(|n| n as usize)
    }
}

/// Number of a test.
pub(super) type TestId = u32;

/// A comparison of two values.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Test {
    pub cond: Cond,
    pub a: Id,
    pub b: Id,
}

/// What a node does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Step {
    Test(TestId),
    /// Puts a value into a word of scratch memory; both ways lead to the same.
    Set(u8, Id),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Node {
    pub step: Step,
    pub yes: To,
    pub no: To,
}

pub(super) struct Graph {
    pub values: Values,
    pub tests: Vec<Test>,
    known_tests: HashMap<Test, TestId, Fast>,
    pub nodes: Vec<Node>,
    known: HashMap<Node, usize, Fast>,
}

/// Nodes, tests and values that there is room for from the start.
const ROOM: usize = 28;

impl Graph {
    pub(super) fn new() -> Graph {
        Graph {
            values: Values::with_room(ROOM),
            tests: Vec::with_capacity(ROOM),
            known_tests: HashMap::with_capacity_and_hasher(ROOM, Fast::default()),
            nodes: Vec::with_capacity(ROOM),
            known: HashMap::with_capacity_and_hasher(ROOM, Fast::default()),
        }
    }

    pub(super) fn build(&mut self, tree: &Tree, yes: To, no: To) -> To {
        match tree {
            Tree::Const(true) => yes,
            Tree::Const(false) => no,
            Tree::Not(inner) => self.build(inner, no, yes),
            Tree::And(list) => list.iter().rev().fold(yes, |next, t| self.build(t, next, no)),
            Tree::Or(list) => list.iter().rev().fold(no, |next, t| self.build(t, yes, next)),
            Tree::Test(cond, a, b) => self.comparison(*cond, a, b, yes, no),
            Tree::Set(word, value) => {
                let value = self.values.of(value);
                self.node(Node { step: Step::Set(*word, value), yes, no: yes })
            }
        }
    }

    /// A comparison, in the form that takes the fewest instructions.
    fn comparison(&mut self, cond: Cond, a: &Val, b: &Val, yes: To, no: To) -> To {
        let (a, b) = (self.values.of(a), self.values.of(b));
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
        let test = self.test_id(Test { cond, a, b });
        self.node(Node { step: Step::Test(test), yes, no })
    }

    pub(super) fn test_id(&mut self, test: Test) -> TestId {
        let next = self.tests.len() as TestId;
        let id = *self.known_tests.entry(test).or_insert(next);
        if id == next {
            self.tests.push(test);
        }
        id
    }

    pub(super) fn node(&mut self, node: Node) -> To {
        // A load that fails rejects the packet, too.
        if node.yes == To::REJECT && node.no == To::REJECT {
            return To::REJECT;
        }
        let next = self.nodes.len();
        let id = *self.known.entry(node).or_insert(next);
        if id == next {
            self.nodes.push(node);
        }
        To::new(id)
    }

    /// Takes all nodes out, to build others.
    pub(super) fn take_nodes(&mut self) -> Vec<Node> {
        self.known.clear();
        let room = self.nodes.len();
        std::mem::replace(&mut self.nodes, Vec::with_capacity(room))
    }

    /// What a node loads: what that needs of the packet, and what is known to be there behind it.
    pub(super) fn loads(&self, id: usize) -> (Loads, Loads) {
        let of = |v: Id| (self.values.info(v).needs, self.values.info(v).gives);
        match self.nodes[id].step {
            Step::Set(_, v) => of(v),
            Step::Test(t) => {
                let Test { a, b, .. } = self.tests[t as usize];
                let (a, b) = (of(a), of(b));
                (a.0.or(b.0), a.1.or(b.1))
            }
        }
    }

    /// Nodes that are reached, by falling numbers.
    pub(super) fn order(&self, root: To) -> Vec<usize> {
        let Some(root) = root.node() else { return Vec::new() };
        let mut reached = vec![false; root + 1];
        reached[root] = true;
        let mut order = Vec::with_capacity(root + 1);
        for id in (0..=root).rev() {
            if reached[id] {
                order.push(id);
                let Node { yes, no, .. } = self.nodes[id];
                yes.node().into_iter().chain(no.node()).for_each(|n| reached[n] = true);
            }
        }
        order
    }

    /// Makes equal tests with equal ends one, after ends were changed, and leaves tests out that decide nothing. The new root,
    /// and whether anything was found.
    pub(super) fn merge(&mut self, root: To) -> (To, bool) {
        let old = self.take_nodes();
        let mut now: Vec<To> = Vec::with_capacity(old.len());
        let mut later: Vec<Loads> = Vec::with_capacity(old.len());
        let mut kept = vec![false; old.len()];
        let of = |to: To, now: &[To]| to.node().map_or(to, |n| now[n]);
        // Nodes that are not reached any more are not taken over.
        if let Some(root) = root.node() {
            kept[root] = true;
            for id in (0..=root).rev().filter(|id| *id < old.len()) {
                if kept[id] {
                    old[id].yes.node().into_iter().chain(old[id].no.node()).for_each(|n| kept[n] = true);
                }
            }
        }
        let mut changed = false;
        for (id, node) in old.iter().enumerate() {
            if !kept[id] {
                now.push(To::REJECT);
                continue;
            }
            let node = Node { yes: of(node.yes, &now), no: of(node.no, &now), ..*node };
            changed |= node.yes == node.no && matches!(node.step, Step::Test(_));
            let before = self.nodes.len();
            let mut to = self.node(node);
            if self.nodes.len() == before {
                changed = true;
            } else {
                let (needs, gives) = self.loads(before);
                let after = ahead(&later, node.yes).and(ahead(&later, node.no));
                if node.yes == node.no
                    && matches!(node.step, Step::Test(_))
                    && ahead(&later, node.yes).covers(needs)
                {
                    to = node.yes;
                    self.nodes.pop();
                    self.known.remove(&node);
                    changed = true;
                } else {
                    later.push(match node.step {
                        Step::Set(word, _) => after.without(self.values.loads_with(word)).or(gives),
                        Step::Test(_) => after.or(gives),
                    });
                }
            }
            now.push(to);
        }
        (of(root, &now), changed)
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
