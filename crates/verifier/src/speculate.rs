//! Paths that a CPU only guesses: for loaders to whom addresses are secret, the way that a decided jump does not take and
//! the pointer that a mask has not let move are walked too (`sanitize_speculative_path`, kernel/bpf/verifier.c).
//!
//! What would be refused there is not refused: a barrier stands before that instruction from then on, and guessed paths
//! end at it (Linux 6.17). Guessed states never end a real path; a store that could be guessed past has its barrier
//! behind it. Refusals that are about the work as a whole stay refusals.

use crate::machine::Vm;
use crate::reject::{Check, Reject, Rule};
use crate::step::Flow;
use crate::value::Reg;
use skep_isa::Operand;

/// What was found out on guessed paths, by instruction. Empty for loaders who need none of it.
#[derive(Debug, Default)]
pub(crate) struct Barriers {
    before: Vec<bool>,
    after: Vec<bool>,
    /// A pointer is moved by a number that is not known: numbers are compared exactly from here on
    /// (`explore_alu_limits`).
    pub(crate) exact_numbers: bool,
}

impl Barriers {
    /// For a program of that many slots.
    pub(crate) fn new(slots: usize) -> Barriers {
        Barriers { before: vec![false; slots], after: vec![false; slots], exact_numbers: false }
    }

    /// Stands a barrier before this instruction?
    pub(crate) fn before(&self, pc: usize) -> bool {
        self.before.get(pc).copied().unwrap_or(false)
    }
}

/// Could a barrier prevent what was refused (`error_recoverable_with_nospec`)?
fn preventable(why: &Reject) -> bool {
    !matches!(why.rule, Rule::TooComplex | Rule::Internal | Rule::NotYet)
}

impl Vm<'_> {
    /// One instruction of a path that may be a guessed one.
    pub(crate) fn step_or_barrier(&mut self, pc: usize) -> Check<Flow> {
        if !self.cur.speculative {
            return self.step();
        }
        if self.barriers.before(pc) {
            return Ok(Flow::End);
        }
        match self.step() {
            Err(why) if preventable(&why) && !self.lacks.ability("barrier") => {
                self.barriers.before[pc] = true;
                self.masking.remove(&pc);
                Ok(Flow::End)
            }
            Ok(_) if self.barriers.after[pc] => Ok(Flow::End),
            flow => flow,
        }
    }

    /// The way that the jump does not take: whoever guesses it knows nothing of what was compared.
    pub(crate) fn guess_jump(&mut self, dst: usize, src: Operand, to: usize) -> Check {
        if self.leaks_allowed() {
            return Ok(());
        }
        let pc = self.cur.insn;
        let state = self.push(to, pc)?;
        state.speculative = true;
        let compared = [Some(dst), if let Operand::Reg(r) = src { Some(r.index()) } else { None }];
        compared.into_iter().flatten().for_each(|r| *state.reg_mut(r) = Reg::UNKNOWN);
        Ok(())
    }

    /// The pointer stays where it was: the mask found the number out of its bounds.
    pub(crate) fn guess_unmoved(&mut self, dst: usize, ptr: &Reg) -> Check {
        let pc = self.cur.insn;
        let state = self.push(pc + 1, pc)?;
        state.speculative = true;
        *state.reg_mut(dst) = *ptr;
        Ok(())
    }

    /// A store after which a CPU could still see what was there before (`nospec_result`).
    pub(crate) fn guess_ends_after(&mut self) {
        if let Some(after) = self.barriers.after.get_mut(self.cur.insn) {
            *after = true;
        }
    }
}
