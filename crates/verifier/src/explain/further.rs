//! After a refusal the path goes on, when refusals are explained: what the refused instruction would have written is a
//! number of which nothing is known. Refusals that are met then count when they do not follow from the first: when no
//! register in them comes from what it wrote or worked on, and none is the same pointer.

use crate::machine::Vm;
use crate::reject::{Reject, Rule};
use crate::step::Flow;
use crate::value::{Base, Reg};
use skep_isa::{Callee, Op};

/// A refused instruction that the path went on after.
#[derive(Clone, Debug)]
pub(crate) struct Passed {
    /// Number of its step.
    pub(super) step: usize,
    /// Pointers that it worked on: type and id. What is refused of one is refused of its copies.
    spent: Vec<(Base, u32)>,
}

/// Most refused instructions that one path goes on after.
const MOST: usize = 32;

/// Refusals of one instruction's operands, after which its neighbours can still be judged.
fn passable(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::BadPointer
            | Rule::MapAccess
            | Rule::MemoryAccess
            | Rule::PacketAccess
            | Rule::StackAccess
            | Rule::ContextAccess
            | Rule::NullPointer
            | Rule::PointerArithmetic
            | Rule::Uninitialised
            | Rule::Alignment
            | Rule::Division
            | Rule::Shift
            | Rule::SpecialField
    )
}

/// Registers that an instruction works on, in contrast to what it stores.
fn worked_on(op: &Op) -> impl Iterator<Item = u8> + use<> {
    let stored = match op {
        Op::Store { dst, .. } | Op::StoreRelease { dst, .. } => Some(dst.index() as u8),
        _ => None,
    };
    let used: Vec<u8> = op.uses().iter().map(|r| r.index() as u8).collect();
    used.into_iter().filter(move |n| stored.is_none_or(|s| s == *n))
}

impl Vm<'_> {
    /// Does the refusal at the current instruction follow from an earlier one of this path?
    pub(super) fn follows(&self, why: &Reject) -> bool {
        let Some(t) = self.trace.as_ref().filter(|t| !t.passed.is_empty()) else { return false };
        let Some(op) = self.code.op(self.cur.insn) else { return true };
        // What is owed or held at the end may be because of what was passed over.
        if !passable(why.rule) && !matches!(op, Op::Call(_)) {
            return true;
        }
        let depth = self.cur.depth() as u8;
        let tainted = self.tainted();
        op.uses().iter().any(|r| {
            let reg = self.cur.reg(r.index());
            let spent = |p: &Passed| p.spent.contains(&(reg.base, reg.id));
            tainted.contains(&(depth, r.index() as u8)) || t.passed.iter().any(spent)
        })
    }

    /// Registers, with their frames, that hold something made of what refused instructions wrote or worked on.
    fn tainted(&self) -> Vec<(u8, u8)> {
        let mut set: Vec<(u8, u8)> = Vec::new();
        let mut stack = false;
        let Some(t) = &self.trace else { return set };
        let path = t.path();
        for (i, s) in path.iter().enumerate() {
            let Some(op) = self.code.op(s.pc) else { continue };
            let refused = t.passed.iter().any(|p| p.step == t.number(i));
            if refused {
                let at_fault = worked_on(op)
                    .filter(|n| s.uses.iter().any(|(u, r)| u == n && *n != 10 && r.base != Base::Ctx));
                set.extend(at_fault.map(|n| (s.frame, n)));
            }
            let from = s.uses.iter().any(|(n, _)| set.contains(&(s.frame, *n)));
            let reads = stack && s.uses.iter().any(|(_, r)| matches!(r.base, Base::Stack(_)));
            stack |= from && matches!(op, Op::Store { .. });
            let next = path.get(i + 1).map_or(self.cur.depth() as u8, |n| n.frame);
            match op {
                Op::Call(Callee::Local(_)) if next == s.frame + 1 => {
                    let arguments: Vec<u8> = (1..6).filter(|n| set.contains(&(s.frame, *n))).collect();
                    set.retain(|(f, _)| *f != next);
                    set.extend(arguments.into_iter().map(|n| (next, n)));
                }
                Op::Exit if next + 1 == s.frame => {
                    let result = set.contains(&(s.frame, 0));
                    set.retain(|p| p.0 != s.frame && *p != (next, 0));
                    set.extend(result.then_some((next, 0)));
                }
                _ => {
                    for d in op.defs().iter().map(|d| (s.frame, d.index() as u8)) {
                        set.retain(|p| *p != d);
                        if from || reads || refused {
                            set.push(d);
                        }
                    }
                }
            }
        }
        set
    }

    /// The path after a refused instruction, where it can go on.
    pub(super) fn passes(&mut self, why: &Reject) -> Flow {
        let pc = self.cur.insn;
        let room = self.trace.as_ref().is_some_and(|t| t.passed.len() < MOST);
        let op = self.code.op(pc).copied().filter(|_| room && passable(why.rule));
        let Some(op) = op else { return Flow::End };
        let written = match op {
            Op::Load { dst, .. } | Op::LoadAcquire { dst, .. } => Some(dst),
            Op::Store { .. } | Op::StoreRelease { .. } => None,
            Op::Alu { dst, .. } | Op::Neg { dst, .. } | Op::MovSx { dst, .. } | Op::End { dst, .. } => {
                Some(dst)
            }
            _ => return Flow::End,
        };
        if written.is_some_and(|r| r.index() == 10) || pc + 1 >= self.code.len() {
            return Flow::End;
        }
        let pointer = |r: &Reg| r.is_pointer() && !matches!(r.base, Base::Stack(_) | Base::Ctx);
        let used = worked_on(&op).map(|n| *self.cur.reg(n as usize));
        let spent = used.filter(pointer).map(|r| (r.base, r.id)).collect();
        let at = self.fault_at(pc);
        if let Some(t) = &mut self.trace {
            let step = t.number(at);
            t.passed.push(Passed { step, spent });
        }
        if let Some(r) = written {
            self.set(r.index(), Reg::UNKNOWN);
        }
        Flow::To(pc + 1)
    }
}
