//! Programs as graphs: nodes that are the same are one node, and jumps know no distances. [`Graph::emit`] lays a graph out.
//!
//! Always holds: a node is made after its successors, so there is no cycle; what is laid out begins with the root, jumps
//! go forward, and conditional jumps at most 255 instructions far.

use crate::insn::{Cond, Insn, Op, Register, Size, Source};
use std::collections::HashMap;

/// A node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Id(u32);

/// What a node does. It means the same wherever it is reached from: it reads A, X and M[0] as they are then.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Node {
    /// Ends.
    Ret(u32),
    /// Compares A with a constant.
    Test { cond: Cond, k: u32, yes: Id, no: Id },
    /// One instruction, then the next node.
    Step(Op, Id),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    ids: HashMap<Node, Id>,
}

impl Graph {
    pub(super) fn node(&self, id: Id) -> Node {
        self.nodes[id.0 as usize]
    }

    fn add(&mut self, node: Node) -> Id {
        let next = Id(self.nodes.len() as u32);
        *self.ids.entry(node).or_insert_with(|| {
            self.nodes.push(node);
            next
        })
    }

    pub(super) fn ret(&mut self, value: u32) -> Id {
        self.add(Node::Ret(value))
    }

    /// A test, unless it does not matter.
    pub(super) fn test(&mut self, cond: Cond, k: u32, yes: Id, no: Id) -> Id {
        if yes == no { yes } else { self.add(Node::Test { cond, k, yes, no }) }
    }

    pub(super) fn step(&mut self, op: Op, next: Id) -> Id {
        self.add(Node::Step(op, next))
    }

    /// A load of a word of `seccomp_data` into A, unless what follows is an end.
    pub(super) fn load(&mut self, offset: u32, next: Id) -> Id {
        match self.node(next) {
            Node::Ret(_) => next,
            _ => self.step(Op::Abs(Size::W, offset), next),
        }
    }

    /// Whether what happens from a node on depends on A as it is there.
    pub(super) fn reads_a(&self, id: Id) -> bool {
        match self.node(id) {
            Node::Ret(_) | Node::Step(Op::Abs(..), _) => false,
            Node::Test { .. } | Node::Step(..) => true,
        }
    }

    /// Goes from a node through the tests of A that all values from `first` to `last` answer alike.
    pub(super) fn narrow(&self, mut id: Id, first: u32, last: u32) -> Id {
        while let Node::Test { cond, k, yes, no } = self.node(id) {
            let (low, high) = match cond {
                Cond::Eq if first != last && (first..=last).contains(&k) => return id,
                Cond::Eq => (first == k, first == k),
                Cond::Gt => (first > k, last > k),
                Cond::Ge => (first >= k, last >= k),
                Cond::Set => return id,
            };
            if low != high {
                return id;
            }
            id = if low { yes } else { no };
        }
        id
    }

    /// The instructions. Made from the end, so that every successor has its place when a node gets its own.
    pub(super) fn emit(&self, root: Id) -> Vec<Insn> {
        let mut layout =
            Layout { graph: self, back: Vec::new(), place: HashMap::new(), near: HashMap::new() };
        for id in self.order(root) {
            layout.node(id);
        }
        layout.back.reverse();
        layout.back
    }

    /// The nodes that the root reaches, each after its successors, and a step directly after its own where that is
    /// possible.
    fn order(&self, root: Id) -> Vec<Id> {
        let (mut out, mut done) = (Vec::new(), vec![false; self.nodes.len()]);
        let mut stack = vec![(root, false)];
        while let Some((id, ready)) = stack.pop() {
            if done[id.0 as usize] {
                continue;
            }
            if ready {
                done[id.0 as usize] = true;
                out.push(id);
                continue;
            }
            stack.push((id, true));
            match self.node(id) {
                Node::Ret(_) => {}
                Node::Test { yes, no, .. } => stack.extend([(yes, false), (no, false)]),
                Node::Step(_, next) => stack.push((next, false)),
            }
        }
        out
    }
}

/// Instructions from the last to the first.
struct Layout<'a> {
    graph: &'a Graph,
    back: Vec<Insn>,
    /// Number of instructions from a node to the end, itself included.
    place: HashMap<Id, usize>,
    /// The same of the last hop to it, which conditional jumps may take.
    near: HashMap<Id, usize>,
}

impl Layout<'_> {
    fn node(&mut self, id: Id) {
        match self.graph.node(id) {
            Node::Ret(v) => self.back.push(Op::RetK(v).encode()),
            Node::Step(op, next) => {
                let distance = self.back.len() - self.place[&next];
                if distance > 0 {
                    self.back.push(self.to(next, distance).encode());
                }
                self.back.push(op.encode());
            }
            Node::Test { cond, k, yes, no } => {
                // The second hop makes the distance to the first one longer.
                for target in [yes, no] {
                    if self.distance(target) >= 254 {
                        let distance = self.back.len() - self.place[&target];
                        self.back.push(self.to(target, distance).encode());
                        self.near.insert(target, self.back.len());
                    }
                }
                let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
                self.back.push(Op::Jump(cond, Source::K(k), jt, jf).encode());
            }
        }
        self.place.insert(id, self.back.len());
    }

    /// How far a conditional jump has to go.
    fn distance(&self, id: Id) -> usize {
        self.back.len() - self.near.get(&id).unwrap_or(&self.place[&id])
    }

    /// An instruction that leads to a node so far away: an end is simply there once more.
    fn to(&self, id: Id, distance: usize) -> Op {
        match self.graph.node(id) {
            Node::Ret(v) => Op::RetK(v),
            _ => Op::Ja(distance as u32),
        }
    }
}

/// `A = (X >> (A & 31)) & 1 ? yes : no`, where X holds a bit for each of 32 values in a row.
pub(super) fn bit_test(g: &mut Graph, yes: Id, no: Id) -> Id {
    let test = g.test(Cond::Set, 1, yes, no);
    let steps = [
        Op::Alu(crate::insn::AluOp::And, Source::K(31)),
        Op::Store(Register::A, 0),
        Op::Txa,
        Op::Mem(Register::X, 0),
        Op::Alu(crate::insn::AluOp::Rsh, Source::X),
    ];
    steps.into_iter().rev().fold(test, |next, op| g.step(op, next))
}

/// Instructions that [`bit_test`] executes, with the load of X before it and the jump to it.
pub(super) const BIT_TEST_STEPS: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Program;

    /// A tree so large that jumps to its shared ends are too far for one instruction.
    #[test]
    fn far_targets_are_reached_by_hops() {
        let mut g = Graph::default();
        let (a, b) = (g.ret(1), g.ret(2));
        let shared = g.step(Op::Tax, a);
        let mut id = b;
        for k in (0..700).rev() {
            id = g.test(Cond::Eq, 3 * k, if k % 2 == 0 { shared } else { b }, id);
        }
        let root = g.load(0, id);
        let program = Program::new(g.emit(root)).unwrap();
        let meta = crate::Meta::default();
        for k in 0..2100u32 {
            let expected = if k % 3 == 0 && k % 2 == 0 { 1 } else { 2 };
            assert_eq!(program.run(&crate::Packet::new(&k.to_be_bytes(), &meta)), expected, "{k}");
        }
    }

    #[test]
    fn narrowing_follows_tests_that_are_decided() {
        let mut g = Graph::default();
        let (a, b, c) = (g.ret(1), g.ret(2), g.ret(3));
        let low = g.test(Cond::Eq, 5, a, b);
        let root = g.test(Cond::Ge, 10, c, low);
        assert_eq!(g.narrow(root, 10, 20), c);
        assert_eq!(g.narrow(root, 5, 5), a);
        assert_eq!(g.narrow(root, 6, 9), b);
        assert_eq!(g.narrow(root, 0, 9), low);
        assert_eq!(g.narrow(root, 0, 10), root);
    }
}
