//! Finds loops for compilers that keep the order of the program's steps, at little cost: nothing but the steps between a jump
//! back and its target is looked at closely.

use super::Source;
use super::plan::Plan;
use super::run::Turns;
use super::summary::Summary;
use crate::code::{Code, Step};
use crate::flow::{self, Flow, effect, jump_target};
use skep_isa::{AluOp, Op, Operand, Reg};
use std::ops::Range;
use std::rc::Rc;

/// Most slots of a loop that is looked at.
const LONGEST: usize = 64;
/// Most slots behind a way out, and conditional jumps among them, that are followed for what is read there.
const BEHIND: usize = 24;
const FORKS: u32 = 2;
/// All registers that a program can write.
const ALL: u16 = 0x3ff;

/// A loop whose turns [`Turns`] can run.
#[derive(Debug)]
pub struct Found {
    /// The slot at which control comes into the loop; no jump from outside of `body` leads to another one of it.
    pub head: usize,
    /// Its slots.
    pub body: Range<usize>,
    /// What is to be done before.
    pub turns: Turns,
}

/// The loops of a program, ascending. Cost: nanoseconds an instruction for programs without such loops, some microseconds a
/// loop.
pub fn find(code: &Code) -> Vec<Found> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    for pc in code.jumps.iter().map(|pc| *pc as usize) {
        if let Some(to) = jump_target(code, pc).filter(|to| *to <= pc) {
            spans.push(to..pc + 1);
        }
    }
    if spans.is_empty() {
        return Vec::new();
    }
    // Several jumps back to one place are one loop.
    spans.sort_unstable_by_key(|s| (s.start, s.end));
    let mut outer: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for s in spans {
        match outer.last_mut().filter(|o| o.start == s.start) {
            Some(o) => o.end = s.end,
            None => outer.push(s),
        }
    }
    let innermost = |i: usize| outer.get(i + 1).is_none_or(|next| next.start >= outer[i].end);
    let inner = (0..outer.len()).filter(|i| innermost(*i)).map(|i| outer[i].clone());
    let few: Vec<Range<usize>> = inner.filter(|s| promises(code, s)).collect();
    if few.is_empty() {
        return Vec::new();
    }
    let mut jumps: Vec<(usize, usize)> =
        code.jumps.iter().filter_map(|pc| Some((jump_target(code, *pc as usize)?, *pc as usize))).collect();
    jumps.sort_unstable();
    let mut all = Vec::with_capacity(few.len());
    all.extend(few.into_iter().filter_map(|body| found(code, &jumps, body)));
    all
}

/// Whether a loop may be one that a routine can run: short, with memory that it reads or writes at one place, one way out,
/// something that a constant is added to, and nothing but simple steps. It is the cheap part of what [`Plan::of`] asks, of the steps from which control comes back.
fn promises(code: &Code, body: &Range<usize>) -> bool {
    if body.len() > LONGEST {
        return false;
    }
    let (mut comes_back, mut memory, mut stores, mut ways, mut grows) = (0u64, false, 0, 0, false);
    let again = |to: usize, comes_back: u64| {
        to == body.start || body.contains(&to) && comes_back >> (to - body.start) & 1 == 1
    };
    for pc in body.clone().rev() {
        let step = &code.steps[pc];
        let jumps = jump_target(code, pc).is_some_and(|to| again(to, comes_back));
        let falls = !matches!(step, Step::Op(Op::Ja { .. } | Op::Exit))
            && pc + 1 < body.end
            && again(pc + 1, comes_back);
        if !jumps && !falls {
            continue;
        }
        comes_back |= 1 << (pc - body.start);
        match step {
            Step::Op(Op::Load { .. }) => memory = true,
            Step::Op(Op::Store { .. }) => (memory, stores) = (true, stores + 1),
            Step::Op(Op::JumpIf { .. }) => ways += usize::from(jumps != falls),
            Step::Op(Op::Alu { op: AluOp::Add | AluOp::Sub, src: Operand::Imm(_), .. }) => grows = true,
            Step::Op(Op::Alu { .. } | Op::Neg { .. } | Op::MovSx { .. } | Op::End { .. } | Op::Ja { .. }) => {
            }
            Step::Wide { .. } | Step::Second => {}
            _ => return false,
        }
    }
    memory && stores <= 1 && ways == 1 && grows
}

fn found(code: &Code, jumps: &[(usize, usize)], body: Range<usize>) -> Option<Found> {
    let head = entry(code, jumps, &body)?;
    let decided = |_: usize| None;
    let skips = Rc::new(flow::skips(code, body.clone(), head, &decided));
    let live = |pc: usize| live_at(code, pc, FORKS);
    let flow = Flow::within(code, head, body.clone(), &skips, &decided, &live)?;
    let first = flow.blocks.first().filter(|b| !b.body.is_empty())?;
    let source = Source { code, decided: &decided, variable: &|_, _| false };
    let plan = Plan::of(Summary::of(&source, &flow, 0)?, first.live)?;
    Some(Found { head, body, turns: Turns::new(&plan)? })
}

/// The only slot at which control comes into a loop.
fn entry(code: &Code, jumps: &[(usize, usize)], body: &Range<usize>) -> Option<usize> {
    let first = jumps.partition_point(|(to, _)| *to < body.start);
    let into = jumps[first..].iter().take_while(|(to, _)| *to < body.end);
    let mut heads: Vec<usize> = into.filter(|(_, pc)| !body.contains(pc)).map(|(to, _)| *to).collect();
    heads.extend(code.functions.iter().chain(&code.callbacks).filter(|f| body.contains(f)));
    let falls = |before: &Step| !matches!(before, Step::Op(Op::Ja { .. } | Op::Exit) | Step::Trap { .. });
    if body.start.checked_sub(1).and_then(|pc| code.steps.get(pc)).is_none_or(falls) {
        heads.push(body.start);
    }
    let head = *heads.first()?;
    heads.iter().all(|h| *h == head).then_some(head)
}

/// Registers that may be read from a slot on before they are written.
fn live_at(code: &Code, mut pc: usize, forks: u32) -> u16 {
    let (mut uses, mut defs) = (0, 0);
    for _ in 0..BEHIND {
        let Some(step) = code.steps.get(pc) else { break };
        if let Step::Op(Op::Exit) = step {
            return uses | 1 << Reg::R0.index() & !defs;
        }
        let (u, d) = effect(step);
        uses |= u & ALL & !defs;
        match (step, jump_target(code, pc)) {
            (Step::Trap { .. }, _) => return uses,
            (Step::Op(Op::Ja { .. }), Some(to)) => pc = to,
            (_, Some(to)) if forks > 0 => {
                let later = live_at(code, pc + 1, forks - 1) | live_at(code, to, forks - 1);
                return uses | later & !defs;
            }
            (_, Some(_)) => break,
            _ => {
                defs |= d;
                pc += 1;
            }
        }
    }
    uses | ALL & !defs
}
