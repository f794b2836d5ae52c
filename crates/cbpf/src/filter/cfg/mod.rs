//! [`Tree`] → graph of tests → instructions.
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
mod values;

use super::tree::Tree;
use crate::insn::{Insn, Op};
use emit::{Emit, Regs};
use facts::Classes;
use graph::{Graph, Step, To};
use layout::{Code, layout, source};
use std::collections::HashMap;
use values::Fast;

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

/// Instructions for a tree that sets this many words of scratch memory: accepted packets return `snaplen`, others 0.
pub(super) fn compile(tree: &Tree, words: u8, snaplen: u32, optimize: bool) -> Result<Vec<Insn>, Fault> {
    let mut graph = Graph::new();
    let mut root = graph.build(tree, To::ACCEPT, To::REJECT);
    if optimize {
        root = optimised(&mut graph, root);
        if root == To::REJECT && snaplen != 0 && rejects_plainly(tree) {
            return Err(Fault::RejectsAll);
        }
    }
    if root.node().is_none() {
        return Ok(vec![Op::RetK(if root == To::ACCEPT { snaplen } else { 0 }).encode()]);
    }
    let mut order = graph.order(root);
    let code = code(&graph, &order, words, optimize).map_err(|_| Fault::TooComplex)?;
    if optimize {
        root = merge_code(&mut graph, root, &code);
        order = graph.order(root);
    }
    Ok(layout(&graph, &order, &code, snaplen))
}

/// Leaves out what need not be asked. The new root.
fn shorten(graph: &mut Graph, mut root: To, classes: &Classes, plainly: bool) -> To {
    for _ in 0..ROUNDS {
        if !facts::thread(graph, root, classes, plainly) {
            break;
        }
        let merged;
        (root, merged) = graph.merge(root);
        if !merged {
            break;
        }
    }
    root
}

/// Whether what single tests tell is enough to see that no packet is accepted: then the expression is refused, as by
/// libpcap. Where it takes more than that, the program is one that accepts nothing.
fn rejects_plainly(tree: &Tree) -> bool {
    let mut graph = Graph::new();
    let root = graph.build(tree, To::ACCEPT, To::REJECT);
    graph.values.relate();
    let classes = Classes::new(&graph);
    shorten(&mut graph, root, &classes, true) == To::REJECT
}

/// Leaves out what need not be asked, puts tests into their best order, and fields together. The new root.
fn optimised(graph: &mut Graph, mut root: To) -> To {
    if graph.nodes.len() < 2 {
        return root;
    }
    graph.values.relate();
    let classes = Classes::new(graph);
    let mut parts = None;
    let mut twice = false;
    // Where no value is tested twice, only the fields of one word are left to look for.
    if classes.shared() {
        root = shorten(graph, root, &classes, false);
        let regrouped = order::regroup(graph, root, &mut parts);
        (root, twice) = (regrouped.root, regrouped.twice);
        if regrouped.moved {
            root = shorten(graph, root, &classes, false);
            parts = None;
        }
        root = order::decide(graph, root, &mut parts);
    }
    let mut fused = true;
    while fused && root.node().is_some() {
        (root, fused) = fuse::fuse(graph, root, twice, &mut parts);
    }
    root
}

/// Instructions in front of each node's jump.
fn code(graph: &Graph, order: &[usize], words: u8, optimize: bool) -> Result<Code, TooComplex> {
    let mut entry: Vec<Option<Regs>> = vec![None; graph.nodes.len()];
    let mut code =
        Code { ops: Vec::with_capacity(2 * order.len()), ranges: vec![layout::NONE; graph.nodes.len()] };
    for &id in order {
        let regs = entry[id].filter(|_| optimize).unwrap_or_default();
        let start = code.ops.len() as u32;
        let mut e =
            Emit { values: &graph.values, ops: std::mem::take(&mut code.ops), regs, free: words.into() };
        e.node(graph, id)?;
        for n in [graph.nodes[id].yes, graph.nodes[id].no].iter().filter_map(|to| to.node()) {
            entry[n] = Some(entry[n].map_or(e.regs, |other| other.both(e.regs)));
        }
        code.ops = e.ops;
        code.ranges[id] = (start, code.ops.len() as u32);
    }
    Ok(code)
}

/// Makes nodes one whose instructions and ends are equal, whatever the registers hold: their successors rely on nothing
/// that does not hold behind both. The new root.
fn merge_code(graph: &mut Graph, root: To, code: &Code) -> To {
    let Some(root) = root.node() else { return root };
    let mut now: Vec<usize> = Vec::with_capacity(root + 1);
    let mut seen: HashMap<(To, To), Vec<usize>, Fast> = HashMap::default();
    let mut few: Vec<usize> = Vec::with_capacity((root + 1).min(FEW));
    for id in 0..=root {
        let find = |to: To| to.node().map_or(to, |n| To::new(now[n]));
        let ends = (find(graph.nodes[id].yes), find(graph.nodes[id].no));
        (graph.nodes[id].yes, graph.nodes[id].no) = ends;
        let same = |other: &&usize| {
            let n = graph.nodes[**other];
            (n.yes, n.no) == ends
                && jump(graph, **other) == jump(graph, id)
                && code.of(**other) == code.of(id)
        };
        // Nodes that are not reached have no code.
        if !code.reached(id) {
            now.push(id);
            continue;
        }
        let alike = if root < FEW { &mut few } else { seen.entry(ends).or_default() };
        let first = alike.iter().find(same).copied();
        if first.is_none() {
            alike.push(id);
        }
        now.push(first.unwrap_or(id));
    }
    To::new(now[root])
}

/// Up to so many nodes are compared with each other one by one.
const FEW: usize = 64;

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
