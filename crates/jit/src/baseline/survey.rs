//! What one look at the steps tells before code is made.

use super::frame::Needs;
use super::turns::DETOUR;
use crate::code::{Code, Step};
use crate::flow::jump_target;
use crate::loops::Found;
use skep_isa::{AluOp, Callee, Op, Operand, Reg};

#[derive(Clone, Debug)]
pub(super) struct Survey {
    /// Slots that jumps go to.
    pub(super) lands: Vec<bool>,
    /// Upper bounds of code sizes, summed up to each slot; empty for long jumps alone.
    pub(super) bounds: Vec<u32>,
    pub(super) needs: Needs,
    /// What each function uses.
    pub(super) uses: Vec<Uses>,
}

/// What the steps of a function use of its frame.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Uses {
    /// Registers that are written, calls apart, and from bit 16 on those that are read, as far as they may be `r10`; bit `n` is
    /// register `n`.
    regs: u32,
    /// There are tail calls.
    pub(super) tail: bool,
    /// There is a loop budget.
    pub(super) budget: bool,
}

impl Survey {
    /// Cost: one pass.
    pub(super) fn of(code: &Code, loops: &[Found]) -> Survey {
        let len = code.steps.len();
        let mut lands = vec![false; len];
        for pc in &code.jumps {
            if let Some(l) = jump_target(code, *pc as usize).and_then(|to| lands.get_mut(to)) {
                *l = true;
            }
        }
        let mut bounds = vec![0; len + 1];
        let mut needs = Needs { head: false, exit: false };
        let mut uses = Vec::with_capacity(code.functions.len());
        let mut sum = 0;
        for (i, start) in code.functions.iter().enumerate() {
            let end = code.functions.get(i + 1).copied().unwrap_or(len);
            let mut of = Uses::default();
            for (step, to) in code.steps[*start..end].iter().zip(&mut bounds[start + 1..]) {
                sum += of.look(step, &mut needs);
                *to = sum;
            }
            uses.push(of);
        }
        let ends = loops.iter().skip(1).map(|l| l.head).chain([len]);
        for (i, (l, end)) in loops.iter().zip(ends).enumerate() {
            let more = DETOUR * (i as u32 + 1);
            bounds[l.head + 1..=end].iter_mut().for_each(|b| *b += more);
        }
        Survey { lands, bounds, needs, uses }
    }

    /// The same with long jumps alone.
    pub(super) fn long(self) -> Survey {
        Survey { bounds: Vec::new(), ..self }
    }
}

const fn writes(r: Reg) -> u32 {
    1 << r.index()
}

const fn reads(r: Reg) -> u32 {
    1 << 16 << r.index()
}

fn operand(o: Operand) -> u32 {
    match o {
        Operand::Reg(r) => reads(r),
        Operand::Imm(_) => 0,
    }
}

impl Uses {
    /// Registers that are written, calls apart; bit `n` is register `n`.
    pub(super) fn written(self) -> u16 {
        self.regs as u16
    }

    /// Whether the frame's address is read.
    pub(super) fn frame(self) -> bool {
        self.regs & reads(Reg::R10) != 0
    }

    /// Takes in a step; the most bytes that its code can take.
    #[inline(always)]
    fn look(&mut self, step: &Step, needs: &mut Needs) -> u32 {
        let (regs, bytes) = match *step {
            Step::Op(Op::Alu { op, dst, src, .. }) => {
                let divides = matches!(op, AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod);
                (writes(dst) | operand(src), if divides { 80 } else { 12 })
            }
            Step::Op(Op::JumpIf { dst, src, .. }) => (reads(dst) | operand(src), 16),
            Step::Op(Op::Load { dst, src, .. }) => {
                needs.exit = true;
                (writes(dst) | reads(src), 12)
            }
            Step::Op(Op::Store { dst, src, .. }) => {
                needs.exit = true;
                (reads(dst) | operand(src), 12)
            }
            Step::Op(Op::Ja { .. }) => (0, 5),
            Step::Wide { dst, .. } => (writes(dst), 12),
            Step::Second => (0, 0),
            _ => return self.rare(step, needs),
        };
        self.regs |= regs;
        bytes
    }

    /// The same for what is not plain arithmetic, a jump, a load or a store.
    #[inline(never)]
    fn rare(&mut self, step: &Step, needs: &mut Needs) -> u32 {
        self.regs |= match *step {
            Step::Op(op) => {
                self.budget |= matches!(op, Op::MayGoto { .. });
                u32::from(op.uses().bits()) << 16 | u32::from(op.defs().bits())
            }
            Step::CtxLoad(l) => writes(l.dst),
            Step::CtxStore { src, .. } => operand(src),
            Step::AnyLoad { dst, src, .. } => writes(dst) | reads(src),
            Step::AnyStore { dst, src, .. } => reads(dst) | operand(src),
            Step::Helper { tail: true, .. } | Step::Tail { .. } => {
                self.tail = true;
                0
            }
            _ => 0,
        };
        needs.note(step);
        bound(step)
    }
}

/// Most bytes that a step can take.
fn bound(step: &Step) -> u32 {
    match step {
        Step::Op(op) => match op {
            Op::Alu { op: AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod, .. } => 80,
            Op::Alu { .. } => 12,
            Op::JumpIf { .. } => 16,
            Op::Ja { .. } | Op::Call(Callee::Local(_)) => 5,
            Op::Atomic { .. } | Op::Call(_) | Op::Exit => 60,
            Op::MayGoto { .. } => 24,
            _ => 12,
        },
        Step::Wide { .. } | Step::CtxLoad(_) | Step::CtxStore { .. } => 12,
        Step::Second => 0,
        Step::Helper { tail: false, .. }
        | Step::Index(_)
        | Step::Direct(_)
        | Step::Value { .. }
        | Step::Cpu
        | Step::Unlock { .. } => 56,
        Step::Lock { .. } => 90,
        Step::Tail { .. } => 300,
        Step::Loop { .. } => 110,
        Step::Helper { tail: true, .. } | Step::AnyLoad { .. } | Step::AnyStore { .. } => 140,
        Step::PacketLoad { .. } => 140,
        Step::Trap { .. } => 70,
    }
}
