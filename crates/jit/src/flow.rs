//! The control flow of one function, or of a loop alone: basic blocks, the order in which they are translated, what is live
//! at their beginnings, loops.
//!
//! A jump over one cheap instruction is no jump here but a selection ([`Skip`]): eBPF has no conditional move, so clang
//! writes booleans, minima and the like as jumps, which processors cannot foresee.

use crate::code::{Code, Step};
use skep_isa::{AluOp, Cond, Op, Operand, Reg, Regs, Width};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

/// A conditional jump that skips one instruction: where its condition does not hold, `op` is executed; either way control
/// goes on at `to`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Skip {
    pub(crate) op: usize,
    pub(crate) to: usize,
}

/// Most instructions of a loop that are translated twice so that it begins where the program has its beginning.
const TURNED: usize = 16;

/// The conditional jumps that are selections, by slot.
pub(crate) type Skips = BTreeMap<usize, Skip>;

/// A basic block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    pub(crate) start: usize,
    /// The last instruction.
    pub(crate) last: usize,
    /// Indexes of the blocks that control may go to: for a conditional jump the one behind it, then the target.
    pub(crate) next: Next,
    pub(crate) prev: Vec<usize>,
    /// Registers that are read before they are written, from here on; bit `n` is register `n`.
    pub(crate) live: u16,
    /// Control comes back to it.
    pub(crate) head: bool,
    /// Indexes of the blocks of the innermost loop that it is the head of, itself included, in translation order; empty
    /// if it is the head of none.
    pub(crate) body: Vec<usize>,
}

/// Two blocks at most.
#[derive(Clone, Debug, Default)]
pub(crate) struct Next {
    to: [usize; 2],
    len: usize,
}

impl std::ops::Deref for Next {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.to[..self.len]
    }
}

impl<'n> IntoIterator for &'n Next {
    type Item = &'n usize;
    type IntoIter = std::slice::Iter<'n, usize>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One function.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// Reachable blocks in reverse postorder; the first is the function's beginning.
    pub(crate) blocks: Vec<Block>,
    pub(crate) skips: Rc<Skips>,
    /// Instructions that are part of it.
    pub(crate) size: usize,
}

/// A block before it has its place in the order.
#[derive(Clone, Copy)]
struct Raw {
    start: usize,
    last: usize,
    /// Slots that it leads to: as [`Block::next`].
    next: [Option<usize>; 2],
}

/// Of a block that has no place in the order yet: whether it was come to.
const UNSEEN: usize = usize::MAX;
const SEEN: usize = usize::MAX - 1;

/// Where control goes behind an instruction that ends a block.
pub(crate) enum Last {
    /// To this slot only.
    To(usize),
    /// To the first, or if the condition holds to the second.
    Either(usize, usize),
    /// Nowhere: return or stop.
    Out,
}

/// A register that counts up to a constant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counter {
    /// The conditional jump that leaves the loop, or goes on, when it is reached.
    pub(crate) jump: usize,
    /// The addition before it.
    pub(crate) grows: usize,
    pub(crate) register: Reg,
    pub(crate) width: Width,
    /// It grows by this, which is more than 0, in every turn.
    pub(crate) step: i32,
    pub(crate) bound: i32,
}

impl Counter {
    /// Is the bound the first value that is not below it, without sign, when the register begins with `start`? Then the jump
    /// may as well ask for that, and the register never is more than the bound.
    pub(crate) fn reaches(&self, start: u64) -> bool {
        let bound = self.width.truncate(i64::from(self.bound) as u64);
        let start = self.width.truncate(start);
        start < bound && (bound - start).is_multiple_of(self.step as u64)
    }
}

impl Flow {
    /// The function that begins at `start`. `decided` says of a conditional jump whether it always or never jumps.
    pub(crate) fn of(
        code: &Code,
        start: usize,
        skips: &Rc<Skips>,
        decided: &dyn Fn(usize) -> Option<bool>,
    ) -> Option<Flow> {
        Flow::within(code, start, 0..code.steps.len(), skips, decided, &|_| 0)
    }

    /// What is reached from `start` inside of `window`, whose last step is a jump. A slot outside that is jumped to becomes a
    /// block that goes nowhere, and reads the registers that `live` says.
    pub(crate) fn within(
        code: &Code,
        start: usize,
        window: Range<usize>,
        skips: &Rc<Skips>,
        decided: &dyn Fn(usize) -> Option<bool>,
        live: &dyn Fn(usize) -> u16,
    ) -> Option<Flow> {
        let skips = skips.clone();
        let leaders = leaders(code, start, &window, &skips, decided)?;
        let mut flow = Flow { blocks: Vec::new(), skips, size: 0 };
        let mut raw: Vec<Raw> = Vec::with_capacity(leaders.len());
        for &at in &leaders {
            if !window.contains(&at) {
                raw.push(Raw { start: at, last: at, next: [None; 2] });
                continue;
            }
            let mut pc = at;
            let next = loop {
                flow.size += 1;
                match flow.ends(code, pc, decided) {
                    Some(Last::To(to)) => break [Some(to), None],
                    Some(Last::Either(a, b)) => break [Some(a), Some(b)],
                    Some(Last::Out) => break [None; 2],
                    None => {}
                }
                let after = follow(code, pc);
                if leaders.binary_search(&after).is_ok() {
                    break [Some(after), None];
                }
                pc = after;
            };
            raw.push(Raw { start: at, last: pc, next });
        }
        flow.number(start, &raw)?;
        flow.find_loops();
        let outside = |b: &Block| (!window.contains(&b.start)).then(|| live(b.start));
        flow.liveness(code, &outside);
        Some(flow)
    }

    /// What an instruction does to control when it ends a block.
    pub(crate) fn ends(
        &self,
        code: &Code,
        pc: usize,
        decided: &dyn Fn(usize) -> Option<bool>,
    ) -> Option<Last> {
        ends(code, pc, &self.skips, decided)
    }

    /// Orders the blocks, which are given ascending.
    fn number(&mut self, start: usize, raw: &[Raw]) -> Option<()> {
        let find = |slot: usize| raw.binary_search_by_key(&slot, |r| r.start).ok();
        let first = find(start)?;
        let mut post = Vec::with_capacity(raw.len());
        // The place of a block in the order; until it has one, whether it was seen.
        let mut index = vec![UNSEEN; raw.len()];
        index[first] = SEEN;
        let mut stack = vec![(first, 0)];
        while let Some((at, i)) = stack.pop() {
            // The target of a jump first, so that what lies behind the jump is placed right behind it.
            let next = raw[at].next;
            let next = if next[1].is_some() { [next[1], next[0]] } else { next };
            match next.get(i).copied().flatten() {
                Some(to) => {
                    let to = find(to)?;
                    stack.push((at, i + 1));
                    if index[to] == UNSEEN {
                        index[to] = SEEN;
                        stack.push((to, 0));
                    }
                }
                None => post.push(at),
            }
        }
        post.reverse();
        post.iter().enumerate().for_each(|(i, at)| index[*at] = i);
        self.blocks.reserve_exact(post.len());
        for at in &post {
            let Raw { start, last, next: slots } = raw[*at];
            let mut next = Next::default();
            for slot in slots.into_iter().flatten() {
                next.to[next.len] = index[find(slot)?];
                next.len += 1;
            }
            self.blocks.push(Block { start, last, next, ..Block::default() });
        }
        for i in 0..self.blocks.len() {
            for at in 0..self.blocks[i].next.len() {
                let n = self.blocks[i].next[at];
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
            let mut inside = vec![false; self.blocks.len()];
            inside[head] = true;
            let mut work = latches;
            while let Some(b) = work.pop() {
                if !std::mem::replace(&mut inside[b], true) {
                    work.extend(&self.blocks[b].prev);
                }
            }
            bodies.push((head, (0..inside.len()).filter(|b| inside[*b]).collect()));
        }
        // Innermost ones: no other head inside.
        let heads: Vec<usize> = (0..self.blocks.len()).filter(|b| self.blocks[*b].head).collect();
        for (head, body) in bodies {
            if !body.iter().any(|b| *b != head && heads.contains(b)) {
                self.blocks[head].body = body;
            }
        }
    }

    fn liveness(&mut self, code: &Code, outside: &dyn Fn(&Block) -> Option<u16>) {
        let effect = |b: &Block| outside(b).map_or_else(|| self.effect(code, b), |live| (live, 0));
        let effects: Vec<(u16, u16)> = self.blocks.iter().map(effect).collect();
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
    pub(crate) fn each(&self, code: &Code, block: &Block, f: &mut dyn FnMut(usize)) {
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

    /// The blocks of the loop with this head that come before its first one in the order of the program, in translation order,
    /// when control comes into the loop at one place, in its middle, and they are short: compilers order loops so that a turn
    /// jumps once. Empty if there is nothing to gain.
    pub(crate) fn rotation(&self, code: &Code, head: usize) -> Vec<usize> {
        let body = &self.blocks[head].body;
        let first = body.iter().copied().min_by_key(|b| self.blocks[*b].start);
        let entries = self.blocks[head].prev.iter().filter(|b| !body.contains(b)).count();
        let Some(first) = first.filter(|f| *f != head && entries + usize::from(head == 0) == 1) else {
            return Vec::new();
        };
        let (mut before, mut work) = (BTreeSet::from([head]), vec![head]);
        while let Some(b) = work.pop() {
            for to in self.blocks[b].next.iter().filter(|to| body.contains(to) && **to != first) {
                if *to == head {
                    return Vec::new();
                }
                if before.insert(*to) {
                    work.push(*to);
                }
            }
        }
        let mut size = 0;
        let mut calls = false;
        for b in &before {
            self.each(code, &self.blocks[*b], &mut |pc| {
                size += 1;
                calls |= !matches!(code.steps[pc], Step::Op(_) | Step::Wide { .. } | Step::Second);
                calls |= matches!(code.steps[pc], Step::Op(Op::Call(_)));
            });
        }
        if calls || size > TURNED { Vec::new() } else { before.into_iter().collect() }
    }

    /// The ways out of the loop with this head that compare a register with a constant right where it grows, the only place in
    /// the loop where it changes.
    pub(crate) fn counters(&self, code: &Code, head: usize) -> Vec<Counter> {
        let body = &self.blocks[head].body;
        let mut defs = [0u32; 11];
        for b in body {
            self.each(code, &self.blocks[*b], &mut |pc| {
                let (_, d) = effect(&code.steps[pc]);
                (0..11).filter(|r| d >> r & 1 == 1).for_each(|r| defs[r] += 1);
            });
        }
        body.iter().filter_map(|b| self.counter(code, body, &self.blocks[*b], &defs)).collect()
    }

    fn counter(&self, code: &Code, body: &[usize], block: &Block, defs: &[u32; 11]) -> Option<Counter> {
        let jump = block.last;
        let Step::Op(Op::JumpIf { cond, width, dst, src: Operand::Imm(bound), .. }) = code.steps[jump] else {
            return None;
        };
        let [falls, taken] = block.next[..] else { return None };
        let out = match cond {
            Cond::Eq => taken,
            Cond::Ne => falls,
            _ => return None,
        };
        if body.contains(&out) || defs[dst.index()] != 1 || self.skips.contains_key(&jump) {
            return None;
        }
        let mut step = None;
        self.each(code, block, &mut |pc| {
            if let Step::Op(Op::Alu { op: AluOp::Add, width: w, dst: d, src: Operand::Imm(by) }) =
                code.steps[pc]
                && (w, d) == (width, dst)
                && by > 0
            {
                step = Some((pc, by));
            }
        });
        let (grows, step) = step?;
        Some(Counter { jump, grows, register: dst, width, step, bound })
    }

    /// Every reachable instruction.
    pub(crate) fn slots(&self, code: &Code) -> impl Iterator<Item = usize> {
        let mut all = Vec::with_capacity(self.size);
        for b in &self.blocks {
            self.each(code, b, &mut |pc| all.push(pc));
        }
        all.into_iter()
    }

    /// The next instruction of the same block.
    pub(crate) fn after(&self, code: &Code, pc: usize) -> usize {
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

pub(crate) fn jump_target(code: &Code, pc: usize) -> Option<usize> {
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

/// The conditional jumps of a range of slots that are selections, and whose sides are both taken. Jumps from elsewhere go to
/// `entry` alone.
pub(crate) fn skips(
    code: &Code,
    window: Range<usize>,
    entry: usize,
    decided: &dyn Fn(usize) -> Option<bool>,
) -> Skips {
    let mut landings = vec![entry];
    landings.extend(window.clone().filter_map(|pc| jump_target(code, pc)));
    landings.sort_unstable();
    let lands = |pc: usize| landings.binary_search(&pc).is_ok();
    let mut skips = BTreeMap::new();
    for pc in window {
        let Step::Op(Op::JumpIf { off, .. }) = code.steps[pc] else { continue };
        let (op, to) = (pc + 1, target(pc, off.into()));
        let cheap = code.steps.get(op).is_some_and(cheap) && !lands(op);
        let meets = match to {
            t if t == pc + 2 => true,
            t => {
                let goes = matches!(code.steps.get(pc + 2), Some(Step::Op(Op::Ja { .. })));
                goes && jump_target(code, pc + 2) == Some(t) && !lands(pc + 2)
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

/// Slots where reachable blocks begin, ascending; `None`: control leaves the program.
fn leaders(
    code: &Code,
    start: usize,
    window: &Range<usize>,
    skips: &Skips,
    decided: &dyn Fn(usize) -> Option<bool>,
) -> Option<Vec<usize>> {
    let mut leaders = vec![start];
    let mut leads = vec![false; code.steps.len()];
    *leads.get_mut(start)? = true;
    let mut seen = vec![false; window.len()];
    let mut work = vec![start];
    while let Some(mut pc) = work.pop() {
        if !window.contains(&pc) && pc < code.steps.len() {
            continue;
        }
        while !*seen.get(pc.wrapping_sub(window.start))? {
            seen[pc - window.start] = true;
            let next = match ends(code, pc, skips, decided) {
                Some(Last::To(to)) => [Some(to), None],
                Some(Last::Either(a, b)) => [Some(a), Some(b)],
                Some(Last::Out) => [None; 2],
                None => {
                    pc = follow(code, pc);
                    continue;
                }
            };
            for to in next.into_iter().flatten() {
                if !std::mem::replace(leads.get_mut(to)?, true) {
                    leaders.push(to);
                    work.push(to);
                }
            }
            break;
        }
    }
    leaders.sort_unstable();
    Some(leaders)
}

const ARGS: u16 = Regs::ARGS.bits();
const CALLER_SAVED: u16 = Regs::CALLER_SAVED.bits();

const fn bit(r: Reg) -> u16 {
    1 << r.index()
}

fn operand(o: &Operand) -> u16 {
    match o {
        Operand::Reg(r) => bit(*r),
        Operand::Imm(_) => 0,
    }
}

/// Registers that a step reads, and those that it writes.
pub(crate) fn effect(step: &Step) -> (u16, u16) {
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
