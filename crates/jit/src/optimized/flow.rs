//! The control flow of one function: basic blocks, the order in which they are translated, what is live at their
//! beginnings, loops.
//!
//! A jump over one cheap instruction is no jump here but a selection ([`Skip`]): eBPF has no conditional move, so clang
//! writes booleans, minima and the like as jumps, which processors cannot foresee.

use crate::code::{Code, Step};
use skep_isa::{AluOp, Op};
use skep_isa::{Reg, Regs};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A conditional jump that skips one instruction: where its condition does not hold, `op` is executed; either way control
/// goes on at `to`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Skip {
    pub(super) op: usize,
    pub(super) to: usize,
}

/// The conditional jumps that are selections, by slot.
pub(super) type Skips = BTreeMap<usize, Skip>;

/// A basic block.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    pub(super) start: usize,
    /// The last instruction.
    pub(super) last: usize,
    /// Indexes of the blocks that control may go to: for a conditional jump the one behind it, then the target.
    pub(super) next: Vec<usize>,
    pub(super) prev: Vec<usize>,
    /// Registers that are read before they are written, from here on; bit `n` is register `n`.
    pub(super) live: u16,
    /// Control comes back to it.
    pub(super) head: bool,
    /// Indexes of the blocks of the innermost loop that it is the head of, itself included, in translation order; empty
    /// if it is the head of none.
    pub(super) body: Vec<usize>,
}

/// One function.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// Reachable blocks in reverse postorder; the first is the function's beginning.
    pub(super) blocks: Vec<Block>,
    pub(super) skips: Rc<Skips>,
    /// Instructions that are part of it.
    pub(super) size: usize,
    index: BTreeMap<usize, usize>,
}

/// Where control goes behind an instruction that ends a block.
pub(super) enum Last {
    /// To this slot only.
    To(usize),
    /// To the first, or if the condition holds to the second.
    Either(usize, usize),
    /// Nowhere: return or stop.
    Out,
}

impl Flow {
    /// The function that begins at `start`. `decided` says of a conditional jump whether it always or never jumps.
    pub(super) fn of(
        code: &Code,
        start: usize,
        skips: &Rc<Skips>,
        decided: &dyn Fn(usize) -> Option<bool>,
    ) -> Option<Flow> {
        let skips = skips.clone();
        let leaders = leaders(code, start, &skips, decided)?;
        let mut flow = Flow { blocks: Vec::new(), skips, size: 0, index: BTreeMap::new() };
        let mut raw: BTreeMap<usize, (usize, Vec<usize>)> = BTreeMap::new();
        for &at in &leaders {
            let mut pc = at;
            let next = loop {
                flow.size += 1;
                match flow.ends(code, pc, decided) {
                    Some(Last::To(to)) => break vec![to],
                    Some(Last::Either(a, b)) => break vec![a, b],
                    Some(Last::Out) => break Vec::new(),
                    None => {}
                }
                let after = follow(code, pc);
                if leaders.contains(&after) {
                    break vec![after];
                }
                pc = after;
            };
            raw.insert(at, (pc, next));
        }
        flow.number(start, &raw)?;
        flow.find_loops();
        flow.liveness(code);
        Some(flow)
    }

    /// What an instruction does to control when it ends a block.
    pub(super) fn ends(
        &self,
        code: &Code,
        pc: usize,
        decided: &dyn Fn(usize) -> Option<bool>,
    ) -> Option<Last> {
        ends(code, pc, &self.skips, decided)
    }

    /// Orders the blocks.
    fn number(&mut self, start: usize, raw: &BTreeMap<usize, (usize, Vec<usize>)>) -> Option<()> {
        let mut post = Vec::new();
        let mut seen = BTreeSet::from([start]);
        let mut stack = vec![(start, 0)];
        while let Some((at, i)) = stack.pop() {
            let next = &raw.get(&at)?.1;
            // The target of a jump first, so that what lies behind the jump is placed right behind it.
            match next.get(next.len().wrapping_sub(1 + i)) {
                Some(&to) => {
                    stack.push((at, i + 1));
                    if seen.insert(to) {
                        stack.push((to, 0));
                    }
                }
                None => post.push(at),
            }
        }
        post.reverse();
        self.index = post.iter().enumerate().map(|(i, at)| (*at, i)).collect();
        for at in &post {
            let (last, next) = raw.get(at)?;
            let next = next.iter().map(|n| self.index.get(n).copied()).collect::<Option<Vec<_>>>()?;
            self.blocks.push(Block { start: *at, last: *last, next, ..Block::default() });
        }
        for i in 0..self.blocks.len() {
            for n in self.blocks[i].next.clone() {
                self.blocks[n].prev.push(i);
                self.blocks[n].head |= n <= i;
            }
        }
        Some(())
    }

    /// Immediate dominators, by index; the first block's is itself.
    fn dominators(&self) -> Vec<usize> {
        let n = self.blocks.len();
        let mut dom = vec![usize::MAX; n];
        dom[0] = 0;
        let mut changed = true;
        while changed {
            changed = false;
            for i in 1..n {
                let mut new = usize::MAX;
                for &p in self.blocks[i].prev.iter().filter(|p| dom[**p] != usize::MAX) {
                    new = if new == usize::MAX { p } else { meet(&dom, new, p) };
                }
                if new != dom[i] {
                    dom[i] = new;
                    changed = true;
                }
            }
        }
        dom
    }

    fn find_loops(&mut self) {
        if !self.blocks.iter().any(|b| b.head) {
            return;
        }
        let dom = self.dominators();
        let mut bodies: Vec<(usize, Vec<usize>)> = Vec::new();
        for head in 0..self.blocks.len() {
            let latches: Vec<usize> = self.blocks[head].prev.iter().copied().filter(|p| *p >= head).collect();
            if latches.is_empty() || !latches.iter().all(|l| dominates(&dom, head, *l)) {
                continue;
            }
            let mut body = BTreeSet::from([head]);
            let mut work = latches;
            while let Some(b) = work.pop() {
                if body.insert(b) {
                    work.extend(&self.blocks[b].prev);
                }
            }
            bodies.push((head, body.into_iter().collect()));
        }
        // Innermost ones: no other head inside.
        let heads: Vec<usize> = (0..self.blocks.len()).filter(|b| self.blocks[*b].head).collect();
        for (head, body) in bodies {
            if !body.iter().any(|b| *b != head && heads.contains(b)) {
                self.blocks[head].body = body;
            }
        }
    }

    fn liveness(&mut self, code: &Code) {
        let effects: Vec<(u16, u16)> = self.blocks.iter().map(|b| self.effect(code, b)).collect();
        let mut changed = true;
        while changed {
            changed = false;
            for i in (0..self.blocks.len()).rev() {
                let out = self.blocks[i].next.iter().fold(0, |l, n| l | self.blocks[*n].live);
                let (uses, defs) = effects[i];
                let live = uses | (out & !defs);
                changed |= live != self.blocks[i].live;
                self.blocks[i].live = live;
            }
        }
    }

    /// Registers that a block reads before it writes them, and those that it writes.
    fn effect(&self, code: &Code, b: &Block) -> (u16, u16) {
        let (mut uses, mut defs) = (0, 0);
        let mut pc = b.start;
        loop {
            let (u, d) = effect(&code.steps[pc]);
            uses |= u & !defs;
            defs |= d;
            if let Some(skip) = self.skips.get(&pc) {
                // It may not be executed, so it reads what it writes.
                let (u, d) = effect(&code.steps[skip.op]);
                uses |= (u | d) & !defs;
            }
            if pc == b.last {
                return (uses, defs);
            }
            pc = self.after(code, pc);
        }
    }

    /// Calls `f` with every instruction of a block, those that are skipped over included.
    pub(super) fn each(&self, code: &Code, block: &Block, f: &mut dyn FnMut(usize)) {
        let mut pc = block.start;
        loop {
            f(pc);
            if let Some(skip) = self.skips.get(&pc) {
                f(skip.op);
            }
            if pc == block.last {
                return;
            }
            pc = self.after(code, pc);
        }
    }

    /// Every reachable instruction.
    pub(super) fn slots(&self, code: &Code) -> impl Iterator<Item = usize> {
        let mut all = Vec::with_capacity(self.size);
        for b in &self.blocks {
            self.each(code, b, &mut |pc| all.push(pc));
        }
        all.into_iter()
    }

    /// The next instruction of the same block.
    pub(super) fn after(&self, code: &Code, pc: usize) -> usize {
        self.skips.get(&pc).map_or_else(|| follow(code, pc), |s| s.to)
    }
}

fn meet(dom: &[usize], mut a: usize, mut b: usize) -> usize {
    while a != b {
        if a > b {
            a = dom[a];
        } else {
            b = dom[b];
        }
    }
    a
}

fn dominates(dom: &[usize], a: usize, mut b: usize) -> bool {
    while b > a {
        b = dom[b];
    }
    a == b
}

/// The next slot that holds an instruction.
fn follow(code: &Code, pc: usize) -> usize {
    if matches!(code.steps.get(pc + 1), Some(Step::Second)) { pc + 2 } else { pc + 1 }
}

fn target(pc: usize, off: i64) -> usize {
    usize::try_from(pc as i64 + 1 + off).unwrap_or(usize::MAX)
}

fn jump_target(code: &Code, pc: usize) -> Option<usize> {
    match code.steps.get(pc)? {
        Step::Op(op) => op.jump_target(pc).map(|t| usize::try_from(t).unwrap_or(usize::MAX)),
        _ => None,
    }
}

fn ends(code: &Code, pc: usize, skips: &Skips, decided: &dyn Fn(usize) -> Option<bool>) -> Option<Last> {
    let through = |to: usize| through(code, to);
    match code.steps.get(pc)? {
        Step::Op(Op::Exit) | Step::Trap { .. } => Some(Last::Out),
        Step::Op(Op::Ja { off, .. }) => Some(Last::To(through(target(pc, (*off).into())))),
        Step::Op(Op::JumpIf { off, .. }) => match (skips.get(&pc), decided(pc)) {
            (_, Some(true)) => Some(Last::To(through(target(pc, (*off).into())))),
            (_, Some(false)) => Some(Last::To(through(pc + 1))),
            (Some(s), None) => Some(Last::To(through(s.to))),
            (None, None) => Some(Last::Either(through(pc + 1), through(target(pc, (*off).into())))),
        },
        Step::Op(Op::MayGoto { off }) => {
            Some(Last::Either(through(pc + 1), through(target(pc, (*off).into()))))
        }
        _ => None,
    }
}

/// Jumps in a row that are followed.
const HOPS: usize = 8;

/// Where control comes to that goes to a slot with nothing but jumps: loops end with one jump then, not two.
fn through(code: &Code, mut to: usize) -> usize {
    for _ in 0..HOPS {
        match code.steps.get(to) {
            Some(Step::Op(Op::Ja { off, .. })) => to = target(to, (*off).into()),
            _ => break,
        }
    }
    to
}

/// The conditional jumps that are selections, and whose sides are both taken.
pub(super) fn skips(code: &Code, decided: &dyn Fn(usize) -> Option<bool>) -> Skips {
    let mut landings: BTreeMap<usize, u32> = BTreeMap::new();
    for pc in 0..code.steps.len() {
        if let Some(to) = jump_target(code, pc) {
            *landings.entry(to).or_default() += 1;
        }
    }
    let mut skips = BTreeMap::new();
    for pc in 0..code.steps.len() {
        let Step::Op(Op::JumpIf { off, .. }) = code.steps[pc] else { continue };
        let (op, to) = (pc + 1, target(pc, off.into()));
        let cheap = code.steps.get(op).is_some_and(cheap) && !landings.contains_key(&op);
        let meets = match to {
            t if t == pc + 2 => true,
            t => {
                let goes = matches!(code.steps.get(pc + 2), Some(Step::Op(Op::Ja { .. })));
                goes && jump_target(code, pc + 2) == Some(t) && !landings.contains_key(&(pc + 2))
            }
        };
        if cheap && meets && to != pc && decided(pc).is_none() {
            skips.insert(pc, Skip { op, to });
        }
    }
    skips
}

/// One machine instruction, or little more, that nobody notices when its result is not used.
fn cheap(step: &Step) -> bool {
    match step {
        Step::Op(Op::Alu { op, .. }) => {
            !matches!(op, AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod | AluOp::Mul)
        }
        Step::Op(Op::Neg { .. } | Op::MovSx { .. }) => true,
        _ => false,
    }
}

/// Slots where reachable blocks begin.
fn leaders(
    code: &Code,
    start: usize,
    skips: &Skips,
    decided: &dyn Fn(usize) -> Option<bool>,
) -> Option<BTreeSet<usize>> {
    let mut leaders = BTreeSet::from([start]);
    let mut seen = vec![false; code.steps.len()];
    let mut work = vec![start];
    while let Some(mut pc) = work.pop() {
        while !*seen.get(pc)? {
            seen[pc] = true;
            match ends(code, pc, skips, decided) {
                Some(Last::To(to)) => {
                    if leaders.insert(to) {
                        work.push(to);
                    }
                }
                Some(Last::Either(a, b)) => {
                    for to in [a, b] {
                        if leaders.insert(to) {
                            work.push(to);
                        }
                    }
                }
                Some(Last::Out) => {}
                None => {
                    pc = follow(code, pc);
                    continue;
                }
            }
            break;
        }
    }
    Some(leaders)
}

const ARGS: u16 = Regs::ARGS.bits();
const CALLER_SAVED: u16 = Regs::CALLER_SAVED.bits();

const fn bit(r: Reg) -> u16 {
    1 << r.index()
}

fn operand(o: &skep_isa::Operand) -> u16 {
    match o {
        skep_isa::Operand::Reg(r) => bit(*r),
        skep_isa::Operand::Imm(_) => 0,
    }
}

/// Registers that a step reads, and those that it writes.
pub(super) fn effect(step: &Step) -> (u16, u16) {
    match step {
        Step::Op(op) => (op.uses().bits(), op.defs().bits()),
        Step::Wide { dst, .. } => (0, bit(*dst)),
        Step::Second | Step::Trap { .. } => (0, 0),
        Step::Helper { .. } | Step::Tail { .. } | Step::Direct(_) => (ARGS, CALLER_SAVED),
        Step::Index(_) => (bit(Reg::R2), CALLER_SAVED),
        Step::Cpu | Step::Value { .. } => (0, CALLER_SAVED),
        Step::Lock { .. } | Step::Unlock { .. } => (bit(Reg::R1), CALLER_SAVED),
        Step::Loop { .. } => (ARGS & !bit(Reg::R2) & !bit(Reg::R5), CALLER_SAVED),
        Step::CtxLoad(l) => (bit(l.src), bit(l.dst)),
        Step::CtxStore { dst, src, .. } => (bit(*dst) | operand(src), 0),
        Step::AnyLoad { dst, src, .. } => (bit(*src), bit(*dst)),
        Step::AnyStore { dst, src, .. } => (bit(*dst) | operand(src), 0),
        Step::PacketLoad { index, .. } => (index.map_or(0, bit), CALLER_SAVED),
    }
}
