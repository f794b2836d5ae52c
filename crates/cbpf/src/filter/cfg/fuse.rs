//! Two fields that lie in one word of the packet are compared together: `ld [20]; and #0x1fff00ff; jeq #6` asks for TCP
//! and for the first fragment.
//!
//! The first field may be one of several numbers; the second is asked only behind the first, and both fail alike. What the
//! wider load needs of the packet is what the two needed.

use super::graph::{Graph, Node, Step, Test, To, ahead};
use super::order::{Parts, rebuild, weight};
use super::values::{Id, Loads, Value};
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

/// A field that a node asks for, where it goes on when the field has the value, and where when not.
fn fields(graph: &Graph, id: usize) -> impl Iterator<Item = (Field, To, To)> {
    let node = graph.nodes[id];
    let found = match node.step {
        Step::Test(t) => {
            let Test { cond, a, b } = graph.tests[t as usize];
            graph.values.constant(b).and_then(|k| field(graph, cond, a, k))
        }
        Step::Set(..) => None,
    };
    let [first, second] = found.unwrap_or_default();
    let set = first.map(|f| (f, node.yes, node.no));
    let clear = second.map(|f| (f, node.no, node.yes));
    set.into_iter().chain(clear)
}

/// The field that has its value when the condition holds, and the one that has when it does not.
fn field(graph: &Graph, cond: Cond, a: Id, k: u32) -> Option<[Option<Field>; 2]> {
    let (load, masked) = match graph.values.value(a) {
        Value::Alu(AluOp::And, load, mask) => (load, Some(graph.values.constant(mask)?)),
        _ => (a, None),
    };
    let (index, at, size) = match graph.values.value(load) {
        Value::Abs(size, at) => (None, at, size),
        Value::Ind(size, at, x) => (Some(x), at, size),
        _ => return None,
    };
    let all = whole(size);
    if at > u32::from(u16::MAX) {
        return None;
    }
    let is = |mask, want| Field { index, at, size, mask, want };
    match (cond, masked) {
        (Cond::Eq, mask) => {
            let mask = mask.unwrap_or(all) & all;
            (k & !mask == 0).then_some([Some(is(mask, k)), None])
        }
        (Cond::Set, None) if k & !all == 0 => Some([k.is_power_of_two().then_some(is(k, k)), Some(is(k, 0))]),
        _ => None,
    }
}

/// Two fields in one: the numbers that the first may have, and where it goes on.
struct Fused {
    /// Nodes that ask for the first field; the node that asks for the second.
    first: Vec<usize>,
    second: usize,
    index: Option<Id>,
    at: u32,
    size: Size,
    mask: u32,
    wants: Vec<u32>,
    pass: To,
    fail: To,
}

/// Compares fields together where that takes fewer instructions and is not likely to execute more; with `short`, wherever it
/// takes fewer. The new root, and whether it did.
pub(super) fn fuse(graph: &mut Graph, root: To, short: bool, known: &mut Option<Parts>) -> (To, bool) {
    let parts = known.get_or_insert_with(|| Parts::of(graph, root));
    let mut inside = vec![false; graph.nodes.len()];
    let mut all: Vec<Fused> = Vec::new();
    for &id in &parts.order {
        if inside[id] {
            continue;
        }
        if let Some(found) = fields(graph, id).find_map(|f| fused(graph, parts, id, f, short)) {
            found.first[1..].iter().for_each(|n| inside[*n] = true);
            inside[found.second] = true;
            all.push(found);
        }
    }
    if all.is_empty() {
        return (root, false);
    }
    let rebuilt = rebuild(graph, root, parts, &inside, |graph, id, now| {
        let f = all.iter().find(|f| f.first[0] == id)?;
        let (pass, mut next) = (now(f.pass), now(f.fail));
        let a = graph.new.values.masked(f.index, f.at, f.size, f.mask);
        for want in f.wants.iter().rev() {
            let b = graph.new.values.k(*want);
            let step = Step::Test(graph.new.test_id(Test { cond: Cond::Eq, a, b }));
            next = graph.new.node(Node { step, yes: pass, no: next });
        }
        Some(next)
    });
    *known = None;
    (rebuilt, true)
}

fn fused(
    graph: &Graph,
    parts: &Parts,
    head: usize,
    (first, pass, fail): (Field, To, To),
    short: bool,
) -> Option<Fused> {
    let (mut nodes, mut wants, mut fail) = (vec![head], vec![first.want], fail);
    // Other numbers of the same field.
    while let Some(n) = fail.node().filter(|n| parts.entries[*n] == 1)
        && let Some((more, _, next)) =
            fields(graph, n).find(|(f, p, _)| Field { want: first.want, ..*f } == first && *p == pass)
    {
        nodes.push(n);
        wants.push(more.want);
        fail = next;
    }
    let second = pass.node().filter(|n| parts.entries[*n] as usize == nodes.len())?;
    let (other, pass, _) = fields(graph, second).find(|(_, _, f)| *f == fail)?;
    let end = first.end().max(other.end());
    let span = end - first.at.min(other.at);
    let size = [Size::B, Size::H, Size::W].into_iter().find(|s| s.bytes() >= span && s.bytes() <= end)?;
    let ((mask, _), (other_mask, other_want)) = (first.within(end), other.within(end));
    if first.index != other.index || (first.index.is_some() && span != size.bytes()) || mask & other_mask != 0
    {
        return None;
    }
    let both = Field { index: first.index, at: end - size.bytes(), size, mask: mask | other_mask, want: 0 };
    let loads = loads(graph, head).or(loads(graph, second));
    let unlikely = wants.iter().map(|w| weight(*w, *w)).sum::<u32>() <= 32;
    if !parts.done[head].or(ahead(&parts.later, fail)).covers(loads)
        || (both.cost() > first.cost() && unlikely && !short)
        || held(graph, parts, head)
    {
        return None;
    }
    let shift = (end - first.end()) * 8;
    let wants = wants.into_iter().map(|w| w << shift | other_want).collect();
    Some(Fused {
        first: nodes,
        second,
        index: both.index,
        at: both.at,
        size,
        mask: both.mask,
        wants,
        pass,
        fail,
    })
}

fn loads(graph: &Graph, id: usize) -> Loads {
    graph.loads(id).0
}

/// Whether a node before this one has loaded what it asks for.
fn held(graph: &Graph, parts: &Parts, head: usize) -> bool {
    let of = |id: usize| fields(graph, id).next().map(|(f, ..)| (f.index, f.at, f.size));
    let leads = |id: &&usize| [graph.nodes[**id].yes, graph.nodes[**id].no].contains(&To::new(head));
    parts.order.iter().filter(leads).any(|id| of(*id) == of(head))
}
