//! Two fields that lie in one word of the packet are compared together: `ld [20]; and #0x1fff00ff; jeq #6` asks for TCP
//! and for the first fragment.
//!
//! The first field may be one of several numbers; the second is asked only behind the first, and both fail alike. What the
//! wider load needs of the packet is what the two needed.

use super::super::values::{Id, Value, Values};
use super::facts::refill;
use super::graph::{Graph, Node, Step, Test, To, ahead};
use super::order::{Parts, rebuild, weight};
use crate::insn::{AluOp, Cond, Size};

/// Bits of the packet that are to have a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Field {
    /// What the offset counts from, where that is computed.
    index: Option<Id>,
    at: u32,
    size: Size,
    mask: u32,
    want: u32,
}

impl Field {
    fn end(self) -> u32 {
        self.at + self.size.bytes()
    }

    /// Mask and value in a window of this many bytes that ends there.
    fn within(self, end: u32) -> (u32, u32) {
        let shift = (end - self.end()) * 8;
        (self.mask << shift, self.want << shift)
    }

    /// Instructions until the jump.
    fn cost(self) -> u32 {
        if self.mask == whole(self.size) { 1 } else { 2 }
    }
}

fn whole(size: Size) -> u32 {
    u32::MAX >> (32 - 8 * size.bytes())
}

/// For each test the field that has its value when the test holds, and the one that has when it does not.
#[derive(Default)]
pub(super) struct Fields {
    of: Vec<[Option<Field>; 2]>,
}

impl Fields {
    pub(super) fn clear(&mut self) {
        self.of.clear();
    }

    /// Fields of tests that are new.
    fn update(&mut self, graph: &Graph) {
        let new = graph.tests.iter().skip(self.of.len());
        self.of.extend(new.map(|t| field(&graph.values, t).unwrap_or_default()));
    }

    /// A field that a node asks for, where it goes on when the field has the value, and where when not.
    fn at(&self, node: Node) -> impl Iterator<Item = (Field, To, To)> {
        let [set, clear] = match node.step {
            Step::Test(t) => self.of[t as usize],
            Step::Set(..) => [None; 2],
        };
        let set = set.map(|f| (f, node.yes, node.no));
        let clear = clear.map(|f| (f, node.no, node.yes));
        set.into_iter().chain(clear)
    }
}

fn field(values: &Values, test: &Test) -> Option<[Option<Field>; 2]> {
    let k = test.k?;
    let (load, masked) = match values.value(test.a) {
        Value::Alu(AluOp::And, load, mask) => (load, Some(values.constant(mask)?)),
        _ => (test.a, None),
    };
    let (index, at, size) = match values.value(load) {
        Value::Abs(size, at) => (None, at, size),
        Value::Ind(size, at, x) => (Some(x), at, size),
        _ => return None,
    };
    let all = whole(size);
    if at > u32::from(u16::MAX) {
        return None;
    }
    let is = |mask, want| Field { index, at, size, mask, want };
    match (test.cond, masked) {
        (Cond::Eq, mask) => {
            let mask = mask.unwrap_or(all) & all;
            (k & !mask == 0).then_some([Some(is(mask, k)), None])
        }
        (Cond::Set, None) if k & !all == 0 => Some([k.is_power_of_two().then_some(is(k, k)), Some(is(k, 0))]),
        _ => None,
    }
}

/// Two fields in one: the numbers that they may have, and where it goes on.
struct Fused {
    /// Nodes that ask for the first field; the node that asks for the second.
    first: Vec<usize>,
    second: usize,
    both: Field,
    wants: Vec<u32>,
    pass: To,
    fail: To,
}

/// Compares fields together where that takes fewer instructions and is not likely to execute more; with `short`, wherever it
/// takes fewer. The new root, and whether it did.
pub(super) fn fuse(
    graph: &mut Graph,
    root: To,
    short: bool,
    parts: &mut Parts,
    fields: &mut Fields,
) -> (To, bool) {
    parts.update(graph, root);
    fields.update(graph);
    let mut inside = std::mem::take(&mut parts.inside);
    refill(&mut inside, graph.nodes.len(), false);
    let mut all: Vec<Fused> = Vec::new();
    let pairs = Pairs { graph, parts, fields, short };
    for &id in &parts.order {
        if inside[id] {
            continue;
        }
        if let Some(found) = fields.at(graph.nodes[id]).find_map(|f| pairs.fused(id, f)) {
            found.first[1..].iter().for_each(|n| inside[*n] = true);
            inside[found.second] = true;
            all.push(found);
        }
    }
    parts.inside = inside;
    if all.is_empty() {
        return (root, false);
    }
    let rebuilt = rebuild(graph, root, parts, |graph, id, now| {
        let f = all.iter().find(|f| f.first[0] == id)?;
        let (pass, mut next) = (now(f.pass), now(f.fail));
        let a = graph.new.values.masked(f.both.index, f.both.at, f.both.size, f.both.mask);
        for want in f.wants.iter().rev() {
            let b = graph.new.values.k(*want);
            let step = Step::Test(graph.new.test_id(Cond::Eq, a, b));
            next = graph.new.node(Node { step, yes: pass, no: next });
        }
        Some(next)
    });
    (rebuilt, true)
}

/// Where pairs of fields are looked for.
struct Pairs<'a> {
    graph: &'a Graph,
    parts: &'a Parts,
    fields: &'a Fields,
    short: bool,
}

impl Pairs<'_> {
    /// The field that a node asks for with the field that is asked for behind it.
    fn fused(&self, head: usize, (first, pass, fail): (Field, To, To)) -> Option<Fused> {
        let (graph, parts) = (self.graph, self.parts);
        let second = pass.node()?;
        // Most have no partner: no list is made for them.
        self.fields.at(graph.nodes[second]).find(|(other, ..)| together(first, *other).is_some())?;
        let (mut nodes, mut wants, mut fail) = (vec![head], vec![first.want], fail);
        // Other numbers of the same field.
        while let Some(n) = fail.node().filter(|n| parts.entries[*n] == 1)
            && let mut asked = self.fields.at(graph.nodes[n])
            && let Some((more, _, next)) =
                asked.find(|(f, p, _)| Field { want: first.want, ..*f } == first && *p == pass)
        {
            nodes.push(n);
            wants.push(more.want);
            fail = next;
        }
        if parts.entries[second] as usize != nodes.len() {
            return None;
        }
        let (other, pass, _) = self.fields.at(graph.nodes[second]).find(|(_, _, f)| *f == fail)?;
        let (both, shift) = together(first, other)?;
        let loads = graph.loads(head).0.or(graph.loads(second).0);
        let unlikely = wants.iter().map(|w| weight(*w, *w)).sum::<u32>() <= 32;
        if !parts.done[head].or(ahead(&graph.later, fail)).covers(loads)
            || (both.cost() > first.cost() && unlikely && !self.short)
            || self.held(head)
        {
            return None;
        }
        let wants = wants.into_iter().map(|w| w << shift | both.want).collect();
        Some(Fused { first: nodes, second, both, wants, pass, fail })
    }

    /// Whether a node before this one has loaded what it asks for.
    fn held(&self, head: usize) -> bool {
        let of =
            |id: usize| self.fields.at(self.graph.nodes[id]).next().map(|(f, ..)| (f.index, f.at, f.size));
        let leads = |id: &&usize| {
            let node = self.graph.nodes[**id];
            node.yes == To::new(head) || node.no == To::new(head)
        };
        self.parts.order.iter().filter(leads).any(|id| of(*id) == of(head))
    }
}

/// The load that has both fields, with what the other has to be, and by how much the first is shifted in it.
fn together(first: Field, other: Field) -> Option<(Field, u32)> {
    let end = first.end().max(other.end());
    let span = end - first.at.min(other.at);
    let size = [Size::B, Size::H, Size::W].into_iter().find(|s| s.bytes() >= span && s.bytes() <= end)?;
    let ((mask, _), (other_mask, want)) = (first.within(end), other.within(end));
    if first.index != other.index || (first.index.is_some() && span != size.bytes()) || mask & other_mask != 0
    {
        return None;
    }
    let both = Field { index: first.index, at: end - size.bytes(), size, mask: mask | other_mask, want };
    Some((both, (end - first.end()) * 8))
}
