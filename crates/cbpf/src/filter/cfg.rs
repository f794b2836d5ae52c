//! [`Tree`] → graph of tests → instructions.
//!
//! The graph is built from its end, so that equal tests with equal ends are one node, and every node's successors have
//! smaller numbers: laid out by falling numbers, all jumps go forward.
//!
//! With optimisation, loads of what the registers already hold on every way to a test are left out, and jumps go past
//! tests whose outcome is known. Both keep to loads that have been done before: what is left out could not have failed.

use super::tree::{Base, Chain, Tree, Val};
use crate::insn::{AluOp, Cond, Insn, Op, Register, Size, Source};
use crate::machine::holds;
use std::collections::HashMap;

/// Where a test goes on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum To {
    Accept,
    Reject,
    Node(usize),
}

/// A test; or, with `set`, a value for a word of scratch memory, both ways leading to the same.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Node {
    cond: Cond,
    a: Val,
    b: Val,
    yes: To,
    no: To,
    set: Option<u8>,
}

/// The expression needs more scratch memory than there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooComplex;

/// Rounds of threading and merging; usual filters need two or three.
const ROUNDS: usize = 8;

/// Instructions for a tree that sets this many words of scratch memory: accepted packets return `snaplen`, others 0.
pub(super) fn compile(tree: &Tree, words: u8, snaplen: u32, optimize: bool) -> Result<Vec<Insn>, TooComplex> {
    let mut graph = Graph::default();
    let mut root = graph.build(tree, To::Accept, To::Reject);
    if optimize {
        for _ in 0..ROUNDS {
            graph.thread(root);
            let changed;
            (root, changed) = graph.merge(root);
            if !changed {
                break;
            }
        }
    }
    let To::Node(root) = root else {
        return Ok(vec![Op::RetK(if root == To::Accept { snaplen } else { 0 }).encode()]);
    };
    let mut order = graph.order(root);
    let code = graph.code(&order, words, optimize)?;
    if optimize {
        let root = graph.merge_code(root, &code);
        order = graph.order(root);
    }
    Ok(layout(&graph.nodes, &order, &code, snaplen))
}

#[derive(Default)]
struct Graph {
    nodes: Vec<Node>,
    known: HashMap<Node, usize>,
}

impl Graph {
    fn build(&mut self, tree: &Tree, yes: To, no: To) -> To {
        match tree {
            Tree::Const(true) => yes,
            Tree::Const(false) => no,
            Tree::Not(inner) => self.build(inner, no, yes),
            Tree::And(list) => list.iter().rev().fold(yes, |next, t| self.build(t, next, no)),
            Tree::Or(list) => list.iter().rev().fold(no, |next, t| self.build(t, yes, next)),
            Tree::Test(cond, Val::K(a), Val::K(b)) => {
                if holds(*cond, *a, *b) {
                    yes
                } else {
                    no
                }
            }
            // No common bit: the mask goes into the jump.
            Tree::Test(Cond::Eq, Val::Alu(AluOp::And, a, mask), Val::K(0)) if matches!(**mask, Val::K(_)) => {
                self.test(Cond::Set, a, mask, no, yes)
            }
            Tree::Test(cond @ (Cond::Eq | Cond::Set), a @ Val::K(_), b) => self.test(*cond, b, a, yes, no),
            Tree::Test(cond, a, b) => self.test(*cond, a, b, yes, no),
            Tree::Set(word, value) => self.node(Node {
                cond: Cond::Ge,
                a: value.clone(),
                b: Val::K(0),
                yes,
                no: yes,
                set: Some(*word),
            }),
        }
    }

    fn test(&mut self, cond: Cond, a: &Val, b: &Val, yes: To, no: To) -> To {
        self.node(Node { cond, a: a.clone(), b: b.clone(), yes, no, set: None })
    }

    fn node(&mut self, node: Node) -> To {
        let next = self.nodes.len();
        let id = *self.known.entry(node.clone()).or_insert(next);
        if id == next {
            self.nodes.push(node);
        }
        To::Node(id)
    }

    /// Nodes that are reached, by falling numbers.
    fn order(&self, root: usize) -> Vec<usize> {
        let mut reached = vec![false; self.nodes.len()];
        reached[root] = true;
        for id in (0..=root).rev().filter(|i| *i < self.nodes.len()) {
            if reached[id] {
                for to in [self.nodes[id].yes, self.nodes[id].no] {
                    if let To::Node(n) = to {
                        reached[n] = true;
                    }
                }
            }
        }
        (0..=root).rev().filter(|i| reached[*i]).collect()
    }

    /// Sends jumps past tests whose outcome is known on the way there. A test may be passed only where all that it loads
    /// has been loaded before, on this way.
    fn thread(&mut self, root: To) {
        let To::Node(root) = root else { return };
        let mut facts: Vec<Option<Facts>> = vec![None; self.nodes.len()];
        facts[root] = Some(Facts::default());
        for id in (0..=root).rev() {
            let Some(here) = facts[id].take() else { continue };
            for yes in [true, false] {
                let node = &self.nodes[id];
                let after = here.after(node, yes);
                let mut to = if yes { node.yes } else { node.no };
                while let To::Node(n) = to
                    && let Some(outcome) = after.outcome(&self.nodes[n])
                {
                    to = if outcome { self.nodes[n].yes } else { self.nodes[n].no };
                }
                let slot = if yes { &mut self.nodes[id].yes } else { &mut self.nodes[id].no };
                *slot = to;
                if let To::Node(n) = to {
                    facts[n] = Some(match facts[n].take() {
                        None => after,
                        Some(other) => other.both(&after),
                    });
                }
            }
        }
    }

    /// Makes equal tests with equal ends one again. The new root, and whether there was anything to merge.
    fn merge(&mut self, root: To) -> (To, bool) {
        let mut canon: Vec<To> = Vec::with_capacity(self.nodes.len());
        let mut seen: HashMap<Node, usize> = HashMap::new();
        let mut changed = false;
        for id in 0..self.nodes.len() {
            let find = |to: To| if let To::Node(n) = to { canon[n] } else { to };
            let node = &mut self.nodes[id];
            (node.yes, node.no) = (find(node.yes), find(node.no));
            let first = *seen.entry(node.clone()).or_insert(id);
            changed |= first != id;
            canon.push(To::Node(first));
        }
        let root = if let To::Node(n) = root { canon[n] } else { root };
        (root, changed)
    }

    /// Makes tests one whose instructions and ends are equal, whatever the registers hold: their successors rely on nothing
    /// that does not hold behind both. The new root.
    fn merge_code(&mut self, root: usize, code: &[Vec<Op>]) -> usize {
        let mut canon: Vec<usize> = Vec::with_capacity(self.nodes.len());
        let mut seen: HashMap<(&[Op], Op, [To; 2], Option<u8>), usize> = HashMap::new();
        for (id, (node, ops)) in self.nodes.iter_mut().zip(code).enumerate() {
            let find = |to: To| if let To::Node(n) = to { To::Node(canon[n]) } else { to };
            (node.yes, node.no) = (find(node.yes), find(node.no));
            let jump = Op::Jump(node.cond, source(&node.b), 0, 0);
            canon.push(*seen.entry((ops, jump, [node.yes, node.no], node.set)).or_insert(id));
        }
        canon[root]
    }

    /// Instructions in front of each test's jump.
    fn code(&self, order: &[usize], words: u8, optimize: bool) -> Result<Vec<Vec<Op>>, TooComplex> {
        let mut entry: Vec<Option<Regs>> = vec![None; self.nodes.len()];
        let mut out = vec![Vec::new(); self.nodes.len()];
        for id in order {
            let node = &self.nodes[*id];
            let regs = entry[*id].take().filter(|_| optimize).unwrap_or_default();
            let mut e = Emit { ops: Vec::new(), regs, mem: words.into() };
            e.operands(&node.a, &node.b)?;
            if let Some(word) = node.set {
                e.set(word);
            }
            for to in [node.yes, node.no] {
                if let To::Node(n) = to {
                    entry[n] = Some(match entry[n].take() {
                        None => e.regs.clone(),
                        Some(other) => other.both(&e.regs),
                    });
                }
            }
            out[*id] = e.ops;
        }
        Ok(out)
    }
}

/// What is known on a way through the graph.
#[derive(Clone, Default)]
struct Facts {
    /// Tests done, and their outcomes.
    tests: Vec<(Cond, Val, Val, bool)>,
}

/// Most facts carried along, so that time stays linear in practice.
const MAX_FACTS: usize = 32;

impl Facts {
    fn after(&self, node: &Node, yes: bool) -> Facts {
        let mut out = self.clone();
        if let Some(word) = node.set {
            out.tests.retain(|(_, a, b, _)| !a.mentions(word) && !b.mentions(word));
            return out;
        }
        if out.tests.len() >= MAX_FACTS {
            out.tests.remove(0);
        }
        out.tests.push((node.cond, node.a.clone(), node.b.clone(), yes));
        out
    }

    fn both(mut self, other: &Facts) -> Facts {
        self.tests.retain(|t| other.tests.contains(t));
        self
    }

    /// The outcome of a test of a value that was tested before (and so loaded).
    fn outcome(&self, node: &Node) -> Option<bool> {
        if node.set.is_some() {
            return None;
        }
        let same = self.tests.iter().filter(|(_, a, ..)| *a == node.a);
        same.into_iter().find_map(|(cond, _, b, outcome)| {
            if *cond == node.cond && *b == node.b {
                return Some(*outcome);
            }
            let (Val::K(known), Val::K(asked)) = (b, &node.b) else { return None };
            implied(*cond, *known, *outcome, node.cond, *asked)
        })
    }
}

/// What `v cond k` being `outcome` says of `v asked_cond asked`.
fn implied(cond: Cond, k: u32, outcome: bool, asked_cond: Cond, asked: u32) -> Option<bool> {
    // Values that v may have, as a closed range.
    let (min, max) = match (cond, outcome) {
        // Tests of bits: all those asked for are known to be clear, or some of those asked for is set.
        (Cond::Set, false) if asked_cond == Cond::Set => return (asked & !k == 0).then_some(false),
        (Cond::Set, true) if asked_cond == Cond::Set => return (k & !asked == 0).then_some(true),
        (Cond::Eq, true) => (k, k),
        (Cond::Gt, true) => (k.checked_add(1)?, u32::MAX),
        (Cond::Gt, false) => (0, k),
        (Cond::Ge, true) => (k, u32::MAX),
        (Cond::Ge, false) => (0, k.checked_sub(1)?),
        _ => return None,
    };
    match asked_cond {
        _ if min == max => Some(holds(asked_cond, min, asked)),
        Cond::Eq => (asked < min || asked > max).then_some(false),
        Cond::Gt | Cond::Ge => {
            let (low, high) = (holds(asked_cond, min, asked), holds(asked_cond, max, asked));
            (low == high).then_some(low)
        }
        Cond::Set => None,
    }
}

/// What the registers hold.
#[derive(Clone, Default)]
struct Regs {
    a: Option<Val>,
    /// X is the length of the IPv4 header at this offset.
    x: Option<u32>,
}

impl Regs {
    fn both(mut self, other: &Regs) -> Regs {
        if self.a != other.a {
            self.a = None;
        }
        if self.x != other.x {
            self.x = None;
        }
        self
    }
}

struct Emit {
    ops: Vec<Op>,
    regs: Regs,
    /// First word of scratch memory that is free.
    mem: u32,
}

impl Emit {
    /// A becomes the first; the second stays a constant or becomes X.
    fn operands(&mut self, a: &Val, b: &Val) -> Result<(), TooComplex> {
        match b {
            Val::K(_) => self.eval(a),
            _ => self.both(a, b),
        }
    }

    /// A goes into a word of scratch memory.
    fn set(&mut self, word: u8) {
        self.ops.push(Op::Store(Register::A, word.into()));
        self.regs.a = self.regs.a.take().filter(|a| !a.mentions(word));
    }

    /// A becomes the first, X the second. Which is computed first does not show: a failing load in either rejects.
    fn both(&mut self, a: &Val, b: &Val) -> Result<(), TooComplex> {
        if let Some(header) = ipv4_header(b) {
            self.eval(a)?;
            if self.regs.x != Some(header) {
                self.ops.push(Op::Msh(header));
            }
            self.regs = Regs { a: Some(a.clone()), x: Some(header) };
            return Ok(());
        }
        if !needs_x(a) {
            self.eval(b)?;
            self.ops.push(Op::Tax);
            self.eval(a)?;
            self.regs = Regs { a: Some(a.clone()), x: None };
            return Ok(());
        }
        self.eval(a)?;
        let slot = self.mem;
        if slot >= crate::check::MEM_WORDS {
            return Err(TooComplex);
        }
        self.mem += 1;
        self.ops.push(Op::Store(Register::A, slot));
        self.eval(b)?;
        self.ops.extend([Op::Tax, Op::Mem(Register::A, slot)]);
        self.regs = Regs { a: Some(a.clone()), x: None };
        self.mem = slot;
        Ok(())
    }

    /// A becomes the value.
    fn eval(&mut self, v: &Val) -> Result<(), TooComplex> {
        if self.regs.a.as_ref() == Some(v) {
            return Ok(());
        }
        match v {
            Val::K(k) => self.ops.push(Op::Imm(Register::A, *k)),
            Val::Len => self.ops.push(Op::Len(Register::A)),
            Val::Word(w) => self.ops.push(Op::Mem(Register::A, (*w).into())),
            Val::Chain(chain) => self.chain(chain)?,
            Val::Neg(inner) => {
                self.eval(inner)?;
                self.ops.push(Op::Neg);
            }
            Val::Alu(op, a, b) => self.alu(*op, a, b)?,
            Val::Load(size, base, k) => match base {
                Base::Start => self.ops.push(Op::Abs(*size, *k)),
                Base::BehindIpv4(header) => {
                    if self.regs.x != Some(*header) {
                        self.ops.push(Op::Msh(*header));
                        self.regs.x = Some(*header);
                    }
                    self.ops.push(Op::Ind(*size, *k));
                }
                Base::At(at) => {
                    self.eval(at)?;
                    self.ops.extend([Op::Tax, Op::Ind(*size, *k)]);
                    self.regs.x = None;
                }
                Base::AtBehindIpv4(at, header) => {
                    self.eval(at)?;
                    self.ops.extend([Op::Msh(*header), Op::Alu(AluOp::Add, Source::X), Op::Tax]);
                    self.ops.push(Op::Ind(*size, *k));
                    self.regs.x = None;
                }
            },
        }
        self.regs.a = Some(v.clone());
        Ok(())
    }

    /// Walks over extension headers. A is a header's number and X its offset behind `at`; lengths are in units of 8 bytes
    /// less one, authentication headers' in units of 4 less two. X grows with every round, so that a load ends the walk at
    /// the latest.
    fn chain(&mut self, chain: &Chain) -> Result<(), TooComplex> {
        let (at, word) = (chain.at, self.mem);
        if word >= crate::check::MEM_WORDS {
            return Err(TooComplex);
        }
        let is = |k, jt, jf| Op::Jump(Cond::Eq, Source::K(k), jt, jf);
        let step = |extra: u32, shift: u32| {
            let add = |source| Op::Alu(AluOp::Add, source);
            [
                Op::Ind(Size::B, at),
                Op::Store(Register::A, word),
                Op::Ind(Size::B, at.wrapping_add(1)),
                add(Source::K(extra)),
                Op::Alu(AluOp::Lsh, Source::K(shift)),
                add(Source::X),
                Op::Tax,
                Op::Mem(Register::A, word),
            ]
        };
        let back = |by: i32| Op::Ja(-by as u32);
        if chain.v6 {
            self.ops.extend([Op::Abs(Size::B, at.wrapping_add(6)), Op::Imm(Register::X, 40)]);
            self.ops.extend([is(chain.until, 23, 0), is(0, 3, 0), is(60, 2, 0), is(43, 1, 0), is(44, 0, 9)]);
            self.ops.extend(step(1, 3));
            self.ops.extend([back(14), is(51, 0, 9)]);
            self.ops.extend(step(2, 2));
            self.ops.push(back(24));
        } else {
            self.ops.extend([Op::Abs(Size::B, at.wrapping_add(9)), Op::Msh(at)]);
            self.ops.extend([is(chain.until, 10, 0), is(51, 0, 9)]);
            self.ops.extend(step(2, 2));
            self.ops.push(back(11));
        }
        self.regs.x = None;
        Ok(())
    }

    fn alu(&mut self, op: AluOp, a: &Val, b: &Val) -> Result<(), TooComplex> {
        if let Val::K(k) = b {
            self.eval(a)?;
            self.ops.push(Op::Alu(op, Source::K(*k)));
        } else {
            self.both(a, b)?;
            self.ops.push(Op::Alu(op, Source::X));
        }
        Ok(())
    }
}

fn source(b: &Val) -> Source {
    match b {
        Val::K(k) => Source::K(*k),
        _ => Source::X,
    }
}

/// Whether computing a value uses X.
fn needs_x(v: &Val) -> bool {
    match v {
        Val::K(_) | Val::Len | Val::Word(_) | Val::Load(_, Base::Start, _) => false,
        Val::Load(..) | Val::Chain(_) => true,
        Val::Neg(a) => needs_x(a),
        Val::Alu(_, a, b) => needs_x(a) || !matches!(**b, Val::K(_)),
    }
}

/// The offset of the IPv4 header whose length a value is: `(byte & 0xf) << 2`.
fn ipv4_header(v: &Val) -> Option<u32> {
    let Val::Alu(AluOp::Lsh, a, two) = v else { return None };
    let (Val::Alu(AluOp::And, byte, mask), Val::K(2)) = (&**a, &**two) else { return None };
    match (&**byte, &**mask) {
        (Val::Load(Size::B, Base::Start, at), Val::K(0xf)) => Some(*at),
        _ => None,
    }
}

/// Places the tests, then `ret` for accepted packets, then for the others. A jump over more than 255 instructions goes
/// through a `ja` behind it.
fn layout(nodes: &[Node], order: &[usize], code: &[Vec<Op>], snaplen: u32) -> Vec<Insn> {
    let mut long = vec![(false, false); nodes.len()];
    // Behind what is no test nothing jumps where the next node is where it goes on.
    let mut falls = vec![false; nodes.len()];
    for (i, id) in order.iter().enumerate() {
        let next = order.get(i + 1).map_or(To::Accept, |n| To::Node(*n));
        falls[*id] = nodes[*id].set.is_some() && nodes[*id].yes == next;
    }
    loop {
        let mut at = vec![0usize; nodes.len()];
        let mut end = 0;
        for id in order {
            at[*id] = end;
            let jumps = usize::from(!falls[*id]) + usize::from(long[*id].0) + usize::from(long[*id].1);
            end += code[*id].len() + jumps;
        }
        let place = |to: To| match to {
            To::Node(n) => at[n],
            To::Accept => end,
            To::Reject => end + 1,
        };
        let mut stable = true;
        for id in order.iter().filter(|id| nodes[**id].set.is_none()) {
            let jump = at[*id] + code[*id].len();
            let (yes, no) = (place(nodes[*id].yes), place(nodes[*id].no));
            let needs = (yes - jump - 1 > 253, no - jump - 1 > 253);
            let grown = (needs.0 || long[*id].0, needs.1 || long[*id].1);
            stable &= grown == long[*id];
            long[*id] = grown;
        }
        if stable {
            return write(nodes, order, code, (&long, &falls), place, snaplen);
        }
    }
}

fn write(
    nodes: &[Node],
    order: &[usize],
    code: &[Vec<Op>],
    (long, falls): (&[(bool, bool)], &[bool]),
    place: impl Fn(To) -> usize,
    snaplen: u32,
) -> Vec<Insn> {
    let mut out: Vec<Op> = Vec::new();
    for id in order {
        let node = &nodes[*id];
        out.extend_from_slice(&code[*id]);
        let src = source(&node.b);
        let next = out.len() + 1;
        let (yes, no) = (place(node.yes), place(node.no));
        let (ja_yes, ja_no) = long[*id];
        if node.set.is_some() {
            if !falls[*id] {
                out.push(Op::Ja((yes - next) as u32));
            }
            continue;
        }
        // A far target is reached by the `ja` behind the jump: first that of yes, then that of no.
        let jt = if ja_yes { 0 } else { yes - next };
        let jf = if ja_no { usize::from(ja_yes) } else { no - next };
        out.push(Op::Jump(node.cond, src, jt as u8, jf as u8));
        if ja_yes {
            out.push(Op::Ja((yes - out.len() - 1) as u32));
        }
        if ja_no {
            out.push(Op::Ja((no - out.len() - 1) as u32));
        }
    }
    out.extend([Op::RetK(snaplen), Op::RetK(0)]);
    out.into_iter().map(Op::encode).collect()
}
