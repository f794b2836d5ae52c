//! What is recorded of a walk that is being explained: the path at hand step by step, refusals met, and for each
//! instruction how often it was visited, kept and covered. A verifier that explains nothing has no [`Trace`].

use super::Diagnosis;
use super::further::Passed;
use crate::machine::Vm;
use crate::reject::{Check, Reject, Rule};
use crate::state::{Place, StateId};
use crate::value::Reg;
use skep_isa::Op;
use std::collections::HashMap;

/// Steps of the path that are remembered; older ones are forgotten.
const LONGEST: usize = 1 << 14;

/// Most refusals that are collected.
const MOST: usize = 16;

/// One instruction of the path.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Instruction.
    pub(crate) pc: usize,
    /// Frame that it ran in.
    pub(crate) frame: u8,
    /// Registers that it read, before it.
    pub(crate) uses: Vec<(u8, Reg)>,
    /// Registers that it wrote, or compared, after it; in the caller's frame after `exit`.
    pub(crate) after: Vec<(u8, Reg)>,
}

/// Counts at one instruction.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Count {
    pub(crate) visits: u64,
    pub(crate) kept: u64,
    pub(crate) pruned: u64,
    pub(crate) missed: u64,
}

/// The record.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Number of the first step that is remembered.
    first: usize,
    steps: Vec<Step>,
    /// The last step's `after` is filled in.
    filled: bool,
    /// Refusals are explained; else only noted.
    pub(crate) in_detail: bool,
    /// Refusals met.
    pub(crate) found: Vec<Diagnosis>,
    pub(crate) counts: Vec<Count>,
    /// What kept a state from being covered: instruction and place.
    pub(crate) blame: HashMap<(usize, Place), u64>,
    /// Refused instructions that this path went on after.
    pub(super) passed: Vec<Passed>,
    /// The walk went to its end.
    pub(crate) whole: bool,
}

impl Trace {
    pub(crate) fn new(slots: usize, in_detail: bool) -> Trace {
        Trace { counts: vec![Count::default(); slots], in_detail, whole: true, ..Trace::default() }
    }

    /// The path, oldest step first.
    pub(crate) fn path(&self) -> &[Step] {
        &self.steps
    }

    /// Number of a step of the path.
    pub(super) fn number(&self, at: usize) -> usize {
        self.first + at
    }

    fn mark(&self) -> usize {
        self.first + self.steps.len()
    }

    fn cut(&mut self, mark: usize) {
        self.passed.retain(|p| p.step < mark);
        self.steps.truncate(mark.saturating_sub(self.first));
        if self.steps.is_empty() {
            self.first = mark;
        }
        // What follows is the other way out of the last step.
        self.filled = false;
    }

    fn push(&mut self, step: Step) {
        if self.steps.len() >= LONGEST {
            self.steps.drain(..LONGEST / 2);
            self.first += LONGEST / 2;
        }
        self.steps.push(step);
        self.filled = false;
    }
}

impl Vm<'_> {
    /// Where a branch of the path begins.
    pub(crate) fn trace_mark(&self) -> usize {
        self.trace.as_ref().map_or(0, |t| t.mark())
    }

    /// The path is now that of a waiting branch.
    pub(crate) fn trace_back(&mut self, mark: usize) {
        if let Some(t) = &mut self.trace {
            t.cut(mark);
        }
    }

    /// An instruction is about to be walked.
    #[inline]
    pub(crate) fn trace_step(&mut self, pc: usize) {
        if self.trace.is_some() {
            self.record_step(pc);
        }
    }

    fn record_step(&mut self, pc: usize) {
        self.trace_after();
        let Some(t) = &mut self.trace else { return };
        t.counts[pc].visits += 1;
        let uses = self.code.op(pc).map(Op::uses).unwrap_or_default();
        let frame = self.cur.frame();
        t.push(Step {
            pc,
            frame: self.cur.depth() as u8,
            uses: uses.iter().map(|r| (r.index() as u8, *frame.regs[r.index()])).collect(),
            after: Vec::new(),
        });
    }

    /// What the last step left in the registers that it concerned.
    fn trace_after(&mut self) {
        let depth = self.cur.depth() as u8;
        let Some(t) = self.trace.as_mut().filter(|t| !t.filled) else { return };
        t.filled = true;
        let Some(step) = t.steps.last_mut() else { return };
        let frame = self.cur.frame();
        let op = self.code.op(step.pc);
        let regs = match op {
            Some(op @ Op::JumpIf { .. }) if step.frame == depth => op.uses(),
            Some(Op::Exit) if step.frame == depth + 1 => {
                step.after = vec![(0, *frame.regs[0])];
                return;
            }
            Some(op) if step.frame == depth => op.defs(),
            _ => return,
        };
        step.after = regs.iter().map(|r| (r.index() as u8, *frame.regs[r.index()])).collect();
    }

    /// A path has ended at a kept state.
    pub(crate) fn trace_pruned(&mut self, pc: usize) {
        if let Some(t) = &mut self.trace {
            t.counts[pc].pruned += 1;
        }
    }

    /// A state is kept.
    pub(crate) fn trace_kept(&mut self, pc: usize) {
        if let Some(t) = &mut self.trace {
            t.counts[pc].kept += 1;
        }
    }

    /// A kept state does not cover the current one.
    #[inline]
    pub(crate) fn trace_missed(&mut self, id: StateId, pc: usize) {
        if self.trace.is_some() {
            self.record_missed(id, pc);
        }
    }

    fn record_missed(&mut self, id: StateId, pc: usize) {
        let place = self.difference(id);
        if let Some(t) = &mut self.trace {
            t.counts[pc].missed += 1;
            if let Some(place) = place {
                *t.blame.entry((pc, place)).or_default() += 1;
            }
        }
    }

    /// First register or slot in which the current state goes beyond a kept one.
    fn difference(&self, id: StateId) -> Option<Place> {
        let (old, precise) = (&self.states[id as usize].state, &self.states[id as usize].precise);
        let place = |frame: usize, index: usize, slot| Place { frame: frame as u8, index: index as u8, slot };
        for (f, (a, b)) in old.frames.iter().zip(&self.cur.frames).enumerate() {
            let live = self.live_regs.get(old.insn_of_frame(f)).copied().unwrap_or(u16::MAX);
            let reg = (0..10).find(|i| {
                live >> i & 1 == 1 && beyond(&a.regs[*i], &b.regs[*i], precise.regs[f] >> i & 1 == 1)
            });
            if let Some(i) = reg {
                return Some(place(f, i, false));
            }
            let slot = a.stack.iter().zip(b.stack.iter()).enumerate().position(|(i, (x, y))| {
                x.is_spill() && beyond(&x.reg, &y.reg, precise.slots[f] >> i & 1 == 1)
            });
            if let Some(i) = slot {
                return Some(place(f, i, true));
            }
        }
        None
    }

    /// A refusal: when refusals are collected, this path goes on as if it were not ([`super::further`]), or ends; the end
    /// of all, when not.
    pub(crate) fn caught(&mut self, why: Box<Reject>) -> Check<crate::step::Flow> {
        let Some(t) = &self.trace else { return Err(why) };
        let last = match why.rule {
            Rule::TooComplex => true,
            // What was passed over may have left things that do not fit together.
            Rule::Internal => t.passed.is_empty(),
            _ => false,
        };
        let pc = Some(self.cur.insn);
        let detail = t.in_detail;
        let known = t.found.iter().any(|d| d.insn == pc && d.rule == why.rule);
        let follows = !known && !last && self.follows(&why);
        let new = !known && !follows;
        let t = self.trace.as_ref();
        if let Some(t) = t.filter(|_| new) {
            let found = if t.in_detail { self.diagnose(&why) } else { Diagnosis::short(&why, pc) };
            if let Some(t) = &mut self.trace {
                t.found.push(found);
            }
        }
        let full = self.trace.as_ref().is_some_and(|t| t.found.len() >= MOST);
        if last || full {
            if let Some(t) = &mut self.trace {
                t.whole = false;
            }
            return Err(why);
        }
        // Fixes are judged by paths as Linux walks them.
        Ok(if (new || follows) && detail { self.passes(&why) } else { crate::step::Flow::End })
    }
}

/// May `new` be something that `old` was not? Numbers count where they matter.
fn beyond(old: &Reg, new: &Reg, precise: bool) -> bool {
    use crate::value::Base;
    match (old.base, new.base) {
        (Base::NotInit, _) => false,
        (Base::Scalar, Base::Scalar) => precise && !new.val.is_within(&old.val),
        (a, b) => {
            std::mem::discriminant(&a) != std::mem::discriminant(&b)
                || old.flags != new.flags
                || old.off != new.off
                || !new.val.is_within(&old.val)
                || (old.is_packet() && old.range > new.range)
        }
    }
}
