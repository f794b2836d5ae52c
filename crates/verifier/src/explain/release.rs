//! Changes about what is given back too early, twice, or without being the program's own.

use super::fix::{Candidate, Spot};
use super::patch::Edit;
use crate::machine::Vm;
use skep_isa::asm::parse_insns;
use skep_isa::{AluOp, Callee, Op, Operand, Width};
use skep_platform::kfunc::kf;

/// Most instructions that set up the arguments of a call.
const ARGUMENTS: usize = 8;

/// Stands where a call was.
const NO_CALL: &str = "r0 = 0";

impl Vm<'_> {
    /// Name of what a call gives back to, when it gives something back.
    fn releaser(&self, pc: usize) -> Option<&str> {
        match *self.code.op(pc)? {
            Op::Call(Callee::Helper(id)) => {
                let h = self.helper(id)?;
                let p = h.proto_for(&self.caller())?;
                p.args.iter().any(|a| a.release).then_some(h.name)
            }
            Op::Call(Callee::Kfunc { id, .. }) => {
                self.kfunc(id).filter(|k| k.has(kf::RELEASE)).map(|k| k.name)
            }
            _ => None,
        }
    }

    /// The call at hand gives back what the program does not own: it is left out.
    pub(super) fn takes_call_out(&self, out: &mut Vec<Candidate>) {
        let pc = self.cur.insn;
        let Some(name) = self.releaser(pc) else { return };
        let words = format!(
            "take `{name}` out here: what it is given is not, or no longer, the program's to release"
        );
        out.extend(Candidate::replace(pc, NO_CALL, words));
    }

    /// Something is used after it was given back: it is given back after that.
    pub(super) fn releases_later(&self, n: u8, at: usize, out: &mut Vec<Candidate>) {
        let path = self.trace.as_ref().map_or(&[][..], |t| t.path());
        let frame = self.cur.depth() as u8;
        let since = self.writer(frame, n, at).unwrap_or(0);
        let early = (since..at.min(path.len()))
            .rev()
            .find(|i| path[*i].frame == frame && self.releaser(path[*i].pc).is_some());
        let Some(call) = early.map(|i| path[i].pc) else { return };
        let Some(name) = self.releaser(call) else { return };
        // With the pointer that is still in use, or with what the call was given.
        for again in [self.call_with(call, n), self.call_again(call)].into_iter().flatten() {
            out.extend(self.later(call, n, name, &again));
        }
    }

    fn later(&self, call: usize, n: u8, name: &str, again: &str) -> Option<Candidate> {
        let spot = Spot { pc: self.cur.insn + 1, reg: n, taken: false };
        let words = format!("give it back after its last use, not before: `{name}` belongs behind this");
        let mut c = Candidate::after(self.cur.insn, &self.guarded(spot, again), words)?;
        if let Op::Call(Callee::Kfunc { id, .. }) = self.code.op(call).copied().unwrap_or(Op::Exit) {
            c = c.calling(name, id as u32);
        }
        c.edits.extend(
            parse_insns(NO_CALL).ok().and_then(|i| i.first().map(|i| Edit::Replace { at: call, insn: *i })),
        );
        Some(c)
    }

    /// The call with this register for its first argument, and zeros.
    fn call_with(&self, call: usize, n: u8) -> Option<String> {
        let Op::Call(Callee::Helper(id)) = *self.code.op(call)? else { return None };
        let args = self.helper(id)?.proto_for(&self.caller())?.args.len();
        let zeros: String = (2..=args).map(|a| format!("r{a} = 0\n")).collect();
        Some(format!("r1 = r{n}\n{zeros}call {id}\n"))
    }

    /// A call with the instructions before it that set up its arguments, to be written elsewhere.
    fn call_again(&self, call: usize) -> Option<String> {
        let mut lines = Vec::new();
        for pc in (call.saturating_sub(ARGUMENTS)..call).rev() {
            let Some(Op::Alu { op, width, dst, src }) = self.code.op(pc) else { break };
            if !(1..=5).contains(&dst.index()) {
                break;
            }
            let n = dst.index();
            lines.push(match (op, width, src) {
                (AluOp::Mov, Width::W64, Operand::Reg(r)) => format!("r{n} = r{}", r.index()),
                (AluOp::Mov, Width::W64, Operand::Imm(i)) => format!("r{n} = {i}"),
                (AluOp::Mov, Width::W32, Operand::Imm(i)) => format!("w{n} = {i}"),
                (AluOp::Add, Width::W64, Operand::Imm(i)) => format!("r{n} += {i}"),
                _ => break,
            });
        }
        lines.reverse();
        lines.push(match *self.code.op(call)? {
            Op::Call(Callee::Helper(id)) => format!("call {id}"),
            Op::Call(Callee::Kfunc { .. }) => super::fix::STAND_IN.to_owned(),
            _ => return None,
        });
        Some(lines.join("\n") + "\n")
    }
}
