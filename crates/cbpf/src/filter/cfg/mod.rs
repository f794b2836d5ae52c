//! Tree → graph of tests → instructions.
//!
//! ```text
//!  tree ─ graph, values ─► tests by number ─ facts, order ─► fewer tests ─ emit ─► instructions ─ layout ─► program
//! ```
//!
//! Always holds: the packets accepted are those of the tree, whatever is cut off of them. A load outside the packet
//! rejects it; so a test is left out, or moved, only where its loads are done in any case before the packet is accepted.

mod emit;
mod facts;
mod fuse;
mod graph;
mod layout;
mod order;

use super::index::{Index, mix};
use super::layers::Built;
use super::tree::Trees;
use crate::insn::Op;
use emit::{Emit, Regs};
use facts::{Classes, Facts, refill};
use fuse::Fields;
use graph::{Graph, Step, To};
use layout::{Code, layout, source};
use order::Parts;

/// Why there is no program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The expression needs more scratch memory than there is.
    TooComplex,
    /// No packet is accepted, as its tests by themselves tell.
    RejectsAll,
}

/// The expression needs more scratch memory than there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct TooComplex;

/// Rounds of threading and merging; usual filters need two.
const ROUNDS: usize = 8;

/// The graph, and lists that are used for one filter after the other.
#[derive(Default)]
pub(super) struct CodeGen {
    graph: Graph,
    classes: Classes,
    facts: Facts,
    parts: Parts,
    fields: Fields,
    order: Vec<usize>,
    code: Code,
    entry: Vec<Option<Regs>>,
    now: Vec<usize>,
    alike: Index,
}

impl CodeGen {
    /// Instructions for a tree: accepted packets return `snaplen`, others 0.
    pub(super) fn compile(
        &mut self,
        trees: &mut Trees,
        built: &Built,
        snaplen: u32,
        optimize: bool,
    ) -> Result<Vec<Op>, Fault> {
        // The values are those of the trees.
        std::mem::swap(&mut self.graph.values, &mut trees.values);
        let out = self.instructions(trees, built, snaplen, optimize);
        std::mem::swap(&mut self.graph.values, &mut trees.values);
        out
    }

    fn instructions(
        &mut self,
        trees: &Trees,
        built: &Built,
        snaplen: u32,
        optimize: bool,
    ) -> Result<Vec<Op>, Fault> {
        let mut root = self.build(trees, built);
        if optimize {
            root = self.optimised(root);
            if root == To::REJECT && snaplen != 0 && self.rejects_plainly(trees, built) {
                return Err(Fault::RejectsAll);
            }
        }
        if root.node().is_none() {
            return Ok(vec![Op::RetK(if root == To::ACCEPT { snaplen } else { 0 })]);
        }
        self.graph.order(root, &mut self.order);
        self.code(built.words, optimize).map_err(|_| Fault::TooComplex)?;
        if optimize {
            root = self.merge_code(root);
            self.graph.order(root, &mut self.order);
        }
        Ok(layout(&self.graph, &self.order, &mut self.code, snaplen))
    }

    fn build(&mut self, trees: &Trees, built: &Built) -> To {
        self.graph.clear();
        self.parts.known = false;
        self.fields.clear();
        self.graph.build(trees, built.read, built.tree, To::ACCEPT, To::REJECT)
    }

    /// Leaves out what need not be asked. The new root.
    fn shorten(&mut self, mut root: To, plainly: bool) -> To {
        for _ in 0..ROUNDS {
            if !facts::thread(&mut self.graph, root, &self.classes, &mut self.facts, plainly) {
                break;
            }
            self.parts.known = false;
            let merged;
            (root, merged) = self.graph.merge(root);
            if !merged {
                break;
            }
        }
        root
    }

    /// Whether what single tests tell is enough to see that no packet is accepted: then the expression is refused, as by
    /// libpcap. Where it takes more than that, the program is one that accepts nothing.
    fn rejects_plainly(&mut self, trees: &Trees, built: &Built) -> bool {
        let root = self.build(trees, built);
        self.graph.relate();
        self.classes.update(&self.graph, true);
        self.shorten(root, true) == To::REJECT
    }

    /// Leaves out what need not be asked, puts tests into their best order, and fields together. The new root.
    fn optimised(&mut self, mut root: To) -> To {
        if self.graph.nodes.len() < 2 {
            return root;
        }
        self.graph.relate();
        let mut twice = false;
        // Where no value is tested twice, only the fields of one word are left to look for.
        if self.classes.update(&self.graph, false) {
            root = self.shorten(root, false);
            let regrouped = order::regroup(&mut self.graph, root, &mut self.parts);
            (root, twice) = (regrouped.root, regrouped.twice);
            if regrouped.moved {
                root = self.shorten(root, false);
            }
            root = order::decide(&mut self.graph, root, &mut self.parts);
        }
        let mut fused = true;
        while fused && root.node().is_some() {
            (root, fused) = fuse::fuse(&mut self.graph, root, twice, &mut self.parts, &mut self.fields);
        }
        root
    }

    /// Instructions in front of each node's jump.
    fn code(&mut self, words: u8, optimize: bool) -> Result<(), TooComplex> {
        let CodeGen { graph, order, code, entry, .. } = self;
        refill(entry, graph.nodes.len(), None);
        refill(&mut code.ranges, graph.nodes.len(), layout::NONE);
        code.ops.clear();
        for &id in &*order {
            let regs = entry[id].filter(|_| optimize).unwrap_or_default();
            let start = code.ops.len() as u32;
            let mut e = Emit { values: &graph.values, ops: &mut code.ops, regs, free: words.into() };
            e.node(graph, id)?;
            let regs = e.regs;
            for n in graph.nodes[id].next() {
                entry[n] = Some(entry[n].map_or(regs, |other| other.both(regs)));
            }
            code.ranges[id] = (start, code.ops.len() as u32);
        }
        Ok(())
    }

    /// Makes nodes one whose instructions and ends are equal, whatever the registers hold: their successors rely on nothing
    /// that does not hold behind both. The new root.
    fn merge_code(&mut self, root: To) -> To {
        let CodeGen { graph, code, now, alike, .. } = self;
        let Some(root) = root.node() else { return root };
        now.clear();
        alike.clear();
        for id in 0..=root {
            // Nodes that are not reached have no code.
            if !code.reached(id) {
                now.push(id);
                continue;
            }
            let find = |to: To| to.node().map_or(to, |n| To::new(now[n]));
            let ends = (find(graph.nodes[id].yes), find(graph.nodes[id].no));
            (graph.nodes[id].yes, graph.nodes[id].no) = ends;
            let same = |other: u32| {
                let n = graph.nodes[other as usize];
                (n.yes, n.no) == ends
                    && jump(graph, other as usize) == jump(graph, id)
                    && code.of(other as usize) == code.of(id)
            };
            let hash = mix(ends.0.hash(), ends.1.hash());
            now.push(alike.find_or_put(hash, id as u32, same) as usize);
        }
        To::new(now[root])
    }
}

/// The jump behind a node's instructions.
fn jump(graph: &Graph, id: usize) -> Op {
    let node = graph.nodes[id];
    match node.step {
        Step::Test(t) if node.yes != node.no => {
            Op::Jump(graph.tests[t as usize].cond, source(graph, t), 0, 0)
        }
        _ => Op::Ja(0),
    }
}
