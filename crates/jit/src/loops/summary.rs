//! What one turn of a loop does, as expressions of the registers at its beginning.
//!
//! The loop's blocks are walked once, in order; where paths meet again, values become selections. Anything that is more
//! than arithmetic, loads, and stores on every path gives no summary.

use super::Source;
use crate::code::Step;
use crate::flow::{Flow, Last};
use skep_isa::{AluOp, Cond, Endian, Op, Operand, Reg, Size, Width};

/// An expression: index into [`Summary::nodes`].
pub(crate) type Id = usize;

/// An expression. All values are 64 bits wide.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Node {
    /// A register when the turn begins.
    Entry(usize),
    Const(u64),
    /// [`AluOp::eval`].
    Alu(u8, bool, Id, Id),
    /// Bytes, sign-extending, address.
    Load(u8, bool, Id),
    /// 1 or 0.
    Compare(u8, bool, Id, Id),
    /// The second if the first is not 0, else the third.
    Select(Id, Id, Id),
    /// Byte order: kind, bits.
    End(u8, u8, Id),
    /// Sign extension of so many bits, to 32 bits or 64.
    Extend(u8, bool, Id),
}

/// A store that every turn makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Store {
    pub(crate) size: Size,
    pub(crate) addr: Id,
    pub(crate) value: Id,
}

/// A way out of the loop: taken when the comparison holds, or when it does not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit {
    pub(crate) condition: Id,
    pub(crate) when: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) nodes: Vec<Node>,
    /// The registers when the turn ends.
    pub(crate) regs: [Id; 10],
    pub(crate) stores: Vec<Store>,
    pub(crate) exits: Vec<Exit>,
    /// Loads behind a store of the same turn: they may see it.
    pub(crate) loads_late: bool,
}

pub(crate) const ALU: [AluOp; 14] = [
    AluOp::Add,
    AluOp::Sub,
    AluOp::Mul,
    AluOp::Div,
    AluOp::Sdiv,
    AluOp::Or,
    AluOp::And,
    AluOp::Lsh,
    AluOp::Rsh,
    AluOp::Arsh,
    AluOp::Mod,
    AluOp::Smod,
    AluOp::Xor,
    AluOp::Mov,
];
pub(crate) const COND: [Cond; 11] = [
    Cond::Eq,
    Cond::Ne,
    Cond::Gt,
    Cond::Ge,
    Cond::Lt,
    Cond::Le,
    Cond::Set,
    Cond::Sgt,
    Cond::Sge,
    Cond::Slt,
    Cond::Sle,
];
pub(crate) const ENDS: [Endian; 3] = [Endian::ToLe, Endian::ToBe, Endian::Swap];

pub(crate) fn width(wide: bool) -> Width {
    if wide { Width::W64 } else { Width::W32 }
}

/// Where a path is: under which conditions, with which registers.
#[derive(Clone)]
struct State {
    path: Vec<(Id, bool)>,
    regs: [Id; 10],
}

/// Longest loop that is looked at, in blocks.
const BLOCKS: usize = 24;

impl Summary {
    /// The turn of the loop whose head is block `head`.
    pub(crate) fn of(source: &Source<'_>, flow: &Flow, head: usize) -> Option<Summary> {
        let body = &flow.blocks[head].body;
        if body.len() > BLOCKS {
            return None;
        }
        let mut s = Summary { nodes: Vec::with_capacity(32), ..Summary::default() };
        let entry = State { path: Vec::new(), regs: std::array::from_fn(|r| s.node(Node::Entry(r))) };
        let mut at: Vec<(usize, State)> = vec![(head, entry)];
        fn taken(at: &mut Vec<(usize, State)>, b: usize) -> Option<State> {
            let i = at.iter().position(|(of, _)| *of == b)?;
            Some(at.swap_remove(i).1)
        }
        let mut end: Option<State> = None;
        for &b in body {
            let mut state = taken(&mut at, b)?;
            for (to, next) in s.block(source, flow, b, body, &mut state)?.into_iter().flatten() {
                let before = if to == head { end.take() } else { taken(&mut at, to) };
                let merged = match before {
                    Some(old) => s.join(&old, &next)?,
                    None => next,
                };
                match to == head {
                    true => end = Some(merged),
                    false => at.push((to, merged)),
                }
            }
        }
        s.regs = end?.regs;
        Some(s)
    }

    /// Walks through a block: where it leads inside of the loop, with the state there.
    fn block(
        &mut self,
        source: &Source<'_>,
        flow: &Flow,
        b: usize,
        body: &[usize],
        state: &mut State,
    ) -> Option<[Option<(usize, State)>; 2]> {
        let one = |to: usize, state: &mut State| {
            let path = std::mem::take(&mut state.path);
            Some([Some((to, State { path, regs: state.regs })), None])
        };
        let block = &flow.blocks[b];
        let mut pc = block.start;
        loop {
            let step = &source.code.steps[pc];
            match flow.ends(source.code, pc, source.decided) {
                None => self.step(source, pc, step, state)?,
                Some(Last::Out) => return None,
                Some(Last::To(_)) => {
                    if let Some(skip) = flow.skips.get(&pc) {
                        let condition = self.condition(step, state)?;
                        let before = state.regs;
                        self.step(source, skip.op, &source.code.steps[skip.op], state)?;
                        for (new, old) in state.regs.iter_mut().zip(before) {
                            *new = self.select(condition, old, *new);
                        }
                    }
                    return one(block.next[0], state);
                }
                Some(Last::Either(..)) => {
                    let condition = self.condition(step, state)?;
                    let [falls, taken] = [block.next[0], block.next[1]];
                    return match (body.contains(&falls), body.contains(&taken)) {
                        (true, true) => {
                            let (mut no, mut yes) = (state.clone(), state.clone());
                            no.path.push((condition, false));
                            yes.path.push((condition, true));
                            Some([Some((falls, no)), Some((taken, yes))])
                        }
                        (inside, _) => {
                            // Turns that are run at once take no way out, so the path goes on unconditionally.
                            if !state.path.is_empty() {
                                return None;
                            }
                            self.exits.push(Exit { condition, when: inside });
                            one(if inside { falls } else { taken }, state)
                        }
                    };
                }
            }
            if pc == block.last {
                return one(block.next[0], state);
            }
            pc = flow.after(source.code, pc);
        }
    }

    /// Two paths that parted at one condition and meet again.
    fn join(&mut self, a: &State, b: &State) -> Option<State> {
        let ((last_a, path_a), (last_b, path_b)) = (a.path.split_last()?, b.path.split_last()?);
        if path_a != path_b || last_a.0 != last_b.0 || last_a.1 == last_b.1 {
            return None;
        }
        let (yes, no) = if last_a.1 { (a, b) } else { (b, a) };
        let regs = std::array::from_fn(|r| self.select(last_a.0, yes.regs[r], no.regs[r]));
        Some(State { path: path_a.to_vec(), regs })
    }

    pub(crate) fn node(&mut self, n: Node) -> Id {
        // There are few, and what is asked for was mostly made lately.
        if let Some(id) = self.nodes.iter().rposition(|m| *m == n) {
            return id;
        }
        self.nodes.push(n);
        self.nodes.len() - 1
    }

    pub(crate) fn constant(&self, id: Id) -> Option<u64> {
        match self.nodes[id] {
            Node::Const(c) => Some(c),
            _ => None,
        }
    }

    fn select(&mut self, condition: Id, yes: Id, no: Id) -> Id {
        if yes == no {
            return yes;
        }
        self.node(Node::Select(condition, yes, no))
    }

    fn alu(&mut self, op: AluOp, wide: bool, a: Id, b: Id) -> Id {
        if op == AluOp::Mov && (wide || self.narrow(b)) {
            return b;
        }
        let a = if op == AluOp::Mov { b } else { a };
        if let (Some(a), Some(b)) = (self.constant(a), self.constant(b)) {
            return self.node(Node::Const(op.eval(width(wide), a, b)));
        }
        // A mask that takes nothing away.
        if op == AluOp::And
            && let (Some(mask), Node::Load(bytes, false, _)) = (self.constant(b), self.nodes[a])
            && bytes < 8
            && mask & ((1 << (bytes * 8)) - 1) == (1 << (bytes * 8)) - 1
        {
            return a;
        }
        // Sums of a value and constants are kept as one sum.
        if op == AluOp::Add
            && let (Some(c), Node::Alu(0, w, x, y)) = (self.constant(b), self.nodes[a])
            && w == wide
            && let Some(d) = self.constant(y)
        {
            let sum = self.node(Node::Const(width(wide).truncate(c.wrapping_add(d))));
            return self.node(Node::Alu(0, wide, x, sum));
        }
        let kind = ALU.iter().position(|o| *o == op).unwrap_or(0) as u8;
        self.node(Node::Alu(kind, wide, a, b))
    }

    /// Is the upper half zero?
    fn narrow(&self, id: Id) -> bool {
        match self.nodes[id] {
            Node::Const(c) => c >> 32 == 0,
            Node::Alu(_, wide, ..) => !wide,
            Node::Load(bytes, sx, _) => bytes < 8 && !sx,
            Node::Compare(..) => true,
            Node::Select(_, a, b) => self.narrow(a) && self.narrow(b),
            Node::End(_, bits, _) => bits < 64,
            Node::Extend(_, wide, _) => !wide,
            Node::Entry(_) => false,
        }
    }

    fn operand(&mut self, o: Operand, wide: bool, state: &State) -> Option<Id> {
        match o {
            Operand::Reg(r) => state.regs.get(r.index()).copied(),
            Operand::Imm(i) => Some(self.node(Node::Const(width(wide).truncate(i64::from(i) as u64)))),
        }
    }

    fn condition(&mut self, step: &Step, state: &State) -> Option<Id> {
        let Step::Op(Op::JumpIf { cond, width, dst, src, .. }) = *step else { return None };
        let wide = width == Width::W64;
        let a = self.operand(Operand::Reg(dst), wide, state)?;
        let b = self.operand(src, wide, state)?;
        let kind = COND.iter().position(|c| *c == cond)? as u8;
        Some(self.node(Node::Compare(kind, wide, a, b)))
    }

    fn step(&mut self, source: &Source<'_>, pc: usize, step: &Step, state: &mut State) -> Option<()> {
        match *step {
            Step::Op(Op::Alu { op, width, dst, src }) => {
                let wide = width == Width::W64;
                let (a, b) = (self.operand(Operand::Reg(dst), wide, state)?, self.operand(src, wide, state)?);
                *state.regs.get_mut(dst.index())? = self.alu(op, wide, a, b);
            }
            Step::Op(Op::End { kind, bits, dst }) => {
                let a = self.operand(Operand::Reg(dst), true, state)?;
                let kind = ENDS.iter().position(|k| *k == kind)? as u8;
                *state.regs.get_mut(dst.index())? = self.node(Node::End(kind, bits, a));
            }
            Step::Op(Op::MovSx { width, bits, dst, src }) => {
                let a = self.operand(Operand::Reg(src), true, state)?;
                *state.regs.get_mut(dst.index())? = self.node(Node::Extend(bits, width == Width::W64, a));
            }
            Step::Wide { dst, bits } => *state.regs.get_mut(dst.index())? = self.node(Node::Const(bits)),
            Step::Second => {}
            Step::Op(Op::Load { size, sx, dst, src, off }) => {
                (!(source.variable)(pc, size)).then_some(())?;
                // A load that not every turn makes may be of bytes that must not be touched.
                if !state.path.is_empty() {
                    return None;
                }
                let addr = self.address(src, off, state)?;
                self.loads_late |= !self.stores.is_empty();
                *state.regs.get_mut(dst.index())? = self.node(Node::Load(size.bytes() as u8, sx, addr));
            }
            Step::Op(Op::Store { size, dst, off, src }) => {
                (!(source.variable)(pc, size)).then_some(())?;
                if !state.path.is_empty() {
                    return None;
                }
                let (addr, value) = (self.address(dst, off, state)?, self.operand(src, true, state)?);
                self.stores.push(Store { size, addr, value });
            }
            _ => return None,
        }
        Some(())
    }

    fn address(&mut self, base: Reg, off: i16, state: &State) -> Option<Id> {
        let base = *state.regs.get(base.index())?;
        if off == 0 {
            return Some(base);
        }
        let off = self.node(Node::Const(i64::from(off) as u64));
        Some(self.alu(AluOp::Add, true, base, off))
    }
}
