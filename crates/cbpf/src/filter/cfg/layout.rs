//! Nodes and their instructions in a row: tests by falling numbers, so that all jumps go forward, then `ret` for accepted
//! packets, then for the others. A jump over more than 255 instructions goes through a `ja` behind it.

use super::facts::refill;
use super::graph::{Graph, Node, Step, To};
use crate::insn::{Op, Source};

/// The instructions in front of each node's jump.
#[derive(Default)]
pub(super) struct Code {
    pub ops: Vec<Op>,
    /// For each node its first instruction, and behind its last.
    pub ranges: Vec<(u32, u32)>,
    places: Vec<Place>,
}

/// The range of nodes that are not reached.
pub(super) const NONE: (u32, u32) = (u32::MAX, u32::MAX);

impl Code {
    pub(super) fn of(&self, node: usize) -> &[Op] {
        match self.ranges[node] {
            NONE => &[],
            (start, end) => &self.ops[start as usize..end as usize],
        }
    }

    /// Whether there is code of a node; it may be empty.
    pub(super) fn reached(&self, node: usize) -> bool {
        self.ranges[node] != NONE
    }
}

/// A node's place, and what its jump takes.
#[derive(Clone, Copy, Default)]
struct Place {
    at: usize,
    /// Nothing jumps: what follows is where it goes on.
    falls: bool,
    /// The ways that go through a `ja`.
    far_yes: bool,
    far_no: bool,
}

impl Place {
    /// Instructions of the jump.
    fn jump(self) -> usize {
        usize::from(!self.falls) + usize::from(self.far_yes) + usize::from(self.far_no)
    }
}

/// All instructions of a filter.
pub(super) fn layout(graph: &Graph, order: &[usize], code: &mut Code, snaplen: u32) -> Vec<Op> {
    let mut places = std::mem::take(&mut code.places);
    refill(&mut places, graph.nodes.len(), Place::default());
    for (i, id) in order.iter().enumerate() {
        let next = order.get(i + 1).map_or(To::ACCEPT, |n| To::new(*n));
        let Node { yes, no, .. } = graph.nodes[*id];
        places[*id].falls = yes == no && yes == next;
    }
    let end = settle(graph, order, code, &mut places);
    let out = write(graph, order, code, &places, end, snaplen);
    code.places = places;
    out
}

/// Finds the places of nodes, and which jumps are far. The place behind the last.
fn settle(graph: &Graph, order: &[usize], code: &Code, places: &mut [Place]) -> usize {
    loop {
        let mut end = 0;
        for id in order {
            places[*id].at = end;
            end += code.of(*id).len() + places[*id].jump();
        }
        // No jump is far in most filters.
        if end <= 253 {
            return end;
        }
        let mut stable = true;
        for id in order.iter().filter(|id| graph.nodes[**id].yes != graph.nodes[**id].no) {
            let jump = places[*id].at + code.of(*id).len();
            let Node { yes, no, .. } = graph.nodes[*id];
            let far = |to: To| place(places, to, end) - jump - 1 > 253;
            let (far_yes, far_no) = (far(yes), far(no));
            let p = &mut places[*id];
            let grown = (p.far_yes || far_yes, p.far_no || far_no);
            stable &= grown == (p.far_yes, p.far_no);
            (p.far_yes, p.far_no) = grown;
        }
        if stable {
            return end;
        }
    }
}

fn place(places: &[Place], to: To, end: usize) -> usize {
    match to.node() {
        Some(n) => places[n].at,
        None if to == To::ACCEPT => end,
        None => end + 1,
    }
}

fn write(graph: &Graph, order: &[usize], code: &Code, places: &[Place], end: usize, snaplen: u32) -> Vec<Op> {
    let mut out: Vec<Op> = Vec::with_capacity(end + 2);
    for id in order {
        out.extend_from_slice(code.of(*id));
        let Node { step, yes, no } = graph.nodes[*id];
        let (yes, no, p) = (place(places, yes, end), place(places, no, end), places[*id]);
        let next = out.len() + 1;
        // What decides nothing is there for its loads, or for the word that it sets.
        let (Step::Test(test), true) = (step, yes != no) else {
            if !p.falls {
                out.push(Op::Ja((yes - next) as u32));
            }
            continue;
        };
        // A far target is reached by the `ja` behind the jump: first that of yes, then that of no.
        let jt = if p.far_yes { 0 } else { yes - next };
        let jf = if p.far_no { usize::from(p.far_yes) } else { no - next };
        out.push(Op::Jump(graph.tests[test as usize].cond, source(graph, test), jt as u8, jf as u8));
        for (far, to) in [(p.far_yes, yes), (p.far_no, no)] {
            if far {
                out.push(Op::Ja((to - out.len() - 1) as u32));
            }
        }
    }
    out.extend([Op::RetK(snaplen), Op::RetK(0)]);
    out
}

/// What a test compares A with.
pub(super) fn source(graph: &Graph, test: super::graph::TestId) -> Source {
    graph.tests[test as usize].k.map_or(Source::X, Source::K)
}
