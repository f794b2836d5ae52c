//! The way to a refusal, read backwards from it: where the value at fault was made, through which instructions it went,
//! where its bound was lost, and which branches were taken since.

use super::trace::Step;
use super::words::assigned;
use super::{Cause, CauseKind};
use crate::machine::Vm;
use crate::reject::{Reject, Rule};
use crate::state::RefKind;
use crate::value::{Base, Reg};
use skep_isa::{AluOp, Callee, Op, Operand};

/// Most links of a chain.
const LONGEST: usize = 8;

/// Most branches told where no value leads the way.
const BRANCHES: usize = 4;

impl Vm<'_> {
    fn path(&self) -> &[Step] {
        self.trace.as_ref().map_or(&[], |t| t.path())
    }

    /// Place in the path of the refused instruction; one beyond the path when it was refused before its step.
    pub(crate) fn fault_at(&self, pc: usize) -> usize {
        let path = self.path();
        match path.last() {
            Some(s) if s.pc == pc && s.frame as usize == self.cur.depth() => path.len() - 1,
            _ => path.len(),
        }
    }

    /// The chain of a refusal.
    pub(crate) fn causes(&self, why: &Reject, culprit: Option<u8>, at: usize) -> Vec<Cause> {
        let mut out = Vec::new();
        match (why.rule, culprit) {
            (Rule::Reference | Rule::Lock, _) => self.held(at, &mut out),
            (Rule::InfiniteLoop, _) => self.loop_of_path(at, &mut out),
            (Rule::TooComplex, _) => {}
            (_, Some(reg)) => self.follow(self.cur.depth() as u8, reg, at, &mut out),
            _ => self.branches(0, at, &mut out),
        }
        out.sort_by_key(|(step, _)| *step);
        let skip = out.len().saturating_sub(LONGEST);
        out.into_iter().skip(skip).map(|(_, c)| c).collect()
    }

    fn cause(&self, kind: CauseKind, insn: usize, words: String) -> Cause {
        Cause { kind, insn, line: self.program.line_at(insn).cloned(), words }
    }

    /// The step that wrote a register of a frame, before step `at`.
    pub(super) fn writer(&self, frame: u8, reg: u8, at: usize) -> Option<usize> {
        let path = self.path();
        (0..at.min(path.len())).rev().find(|&i| {
            let s = &path[i];
            let next = path.get(i + 1).map_or(self.cur.depth() as u8, |n| n.frame);
            match self.code.op(s.pc) {
                Some(Op::Exit) => s.frame == frame + 1 && next == frame && reg == 0,
                Some(Op::Call(Callee::Local(_))) if s.frame + 1 == frame && next == frame => reg <= 5,
                Some(op) => s.frame == frame && op.defs().iter().any(|r| r.index() as u8 == reg),
                None => false,
            }
        })
    }

    /// Follows a value back to where it was made.
    fn follow(&self, mut frame: u8, mut reg: u8, mut at: usize, out: &mut Vec<(usize, Cause)>) {
        let path = self.path();
        for _ in 0..4 * LONGEST {
            let Some(i) = self.writer(frame, reg, at) else {
                self.tests(frame, reg, 0, at, out);
                self.never_written(frame, reg, out);
                return;
            };
            self.tests(frame, reg, i, at, out);
            let s = &path[i];
            let Some(op) = self.code.op(s.pc) else { return };
            let after = s.after.iter().find(|(r, _)| *r == reg).map(|(_, r)| *r);
            if let Some(after) = after {
                self.voided(&after, i, at, out);
            }
            let used = |n: u8| s.uses.iter().find(|(r, _)| *r == n).map(|(_, r)| *r);
            match *op {
                Op::Alu { op: AluOp::Mov, src: Operand::Reg(src), .. } => {
                    if let Some((before, after)) = used(src.index() as u8).zip(after)
                        && bounded(&before)
                        && !bounded(&after)
                    {
                        out.push((i, self.lost(s.pc, &before, &after)));
                    }
                    (reg, at) = (src.index() as u8, i);
                }
                Op::MovSx { src, .. } | Op::AddrSpaceCast { src, .. } => {
                    out.push((i, self.computed(s.pc, after)));
                    (reg, at) = (src.index() as u8, i);
                }
                Op::Alu { dst, src, .. } if !matches!(op, Op::Alu { op: AluOp::Mov, .. }) => {
                    let d = used(dst.index() as u8);
                    let other = match src {
                        Operand::Reg(r) => used(r.index() as u8).map(|v| (r.index() as u8, v)),
                        Operand::Imm(_) => None,
                    };
                    let lost = d.zip(after).is_some_and(|(d, a)| {
                        bounded(&d) && other.is_none_or(|(_, o)| bounded(&o)) && !bounded(&a)
                    });
                    match (lost, d, after) {
                        (true, Some(d), Some(a)) => out.push((i, self.lost(s.pc, &d, &a))),
                        _ => out.push((i, self.computed(s.pc, after))),
                    }
                    // The operand that says less leads on.
                    let wider = match (d, other) {
                        (Some(d), Some((r, o)))
                            if o.is_scalar() && (d.is_pointer() || width(&o) > width(&d)) =>
                        {
                            r
                        }
                        _ => dst.index() as u8,
                    };
                    (reg, at) = (wider, i);
                }
                Op::Neg { .. } | Op::End { .. } => {
                    out.push((i, self.computed(s.pc, after)));
                    at = i;
                }
                Op::Load { src, off, .. } => {
                    let place = used(src.index() as u8).and_then(|r| stack_place(&r, off));
                    match place.and_then(|(f, o)| self.stored(f, o, i)) {
                        Some((j, from)) => (frame, reg, at) = (path[j].frame, from, j),
                        None => {
                            out.push((i, self.loaded_from(s.pc, used(src.index() as u8), after)));
                            return;
                        }
                    }
                }
                Op::Call(Callee::Local(_)) if s.frame + 1 == frame => {
                    (frame, at) = (s.frame, i);
                }
                Op::Exit => (frame, reg, at) = (s.frame, 0, i),
                Op::Call(_) if reg != 0 => {
                    let name = self.insn_text(s.pc, op);
                    let words = format!("`{name}` destroys r{reg}, as every call does r1 to r5");
                    out.push((i, self.cause(CauseKind::Destroyed, s.pc, words)));
                    return;
                }
                _ => {
                    out.push((i, self.made(s.pc, op, reg, after)));
                    return;
                }
            }
        }
    }

    /// The call between two steps that made a pointer void without writing the register: it moved the packet, or gave
    /// back what the pointer belongs to.
    fn voided(&self, made: &Reg, from: usize, to: usize, out: &mut Vec<(usize, Cause)>) {
        let path = self.path();
        let later = path.get(to).and_then(|s| s.uses.iter().find(|(_, r)| r.is_scalar()));
        if !made.is_pointer() || later.is_none() {
            return;
        }
        for (i, s) in path.iter().enumerate().take(to).skip(from + 1) {
            let Some(op @ Op::Call(callee)) = self.code.op(s.pc) else { continue };
            let helper = if let Callee::Helper(id) = callee { self.helper(*id) } else { None };
            let moves = made.is_packet_any() && helper.is_none_or(|h| h.invalidates_packet);
            let released = |(r, v): &(u8, Reg)| {
                let args = helper.and_then(|h| h.proto_for(&self.caller())).map_or(&[][..], |p| p.args);
                let arg = usize::from(*r).checked_sub(1).and_then(|n| args.get(n));
                v.ref_id != 0 && v.ref_id == made.ref_id && arg.is_none_or(|a| a.release)
            };
            let what = if moves {
                "may move the packet: every pointer into it is void afterwards"
            } else if s.uses.iter().any(released) {
                "gives it back: every pointer to it is void afterwards"
            } else {
                continue;
            };
            let words = format!("`{}` {what}", self.insn_text(s.pc, op));
            out.push((i, self.cause(CauseKind::Destroyed, s.pc, words)));
        }
    }

    fn computed(&self, pc: usize, after: Option<Reg>) -> Cause {
        let text = self.code.op(pc).map_or_else(String::new, |op| self.insn_text(pc, op));
        let value = after.map_or_else(|| "unknown".into(), |r| self.in_words(&r));
        self.cause(CauseKind::Computed, pc, format!("`{text}` makes it {value}"))
    }

    fn lost(&self, pc: usize, before: &Reg, after: &Reg) -> Cause {
        let text = self.code.op(pc).map_or_else(String::new, |op| self.insn_text(pc, op));
        let words = format!(
            "`{text}` loses the bound: it was {}, and is {}",
            self.in_words(before),
            self.in_words(after)
        );
        self.cause(CauseKind::BoundLost, pc, words)
    }

    fn loaded_from(&self, pc: usize, from: Option<Reg>, after: Option<Reg>) -> Cause {
        let value = after.map_or_else(|| "unknown".into(), |r| self.in_words(&r));
        let place = match from.map(|r| r.base) {
            Some(Base::Ctx) => self.field_of(pc),
            Some(Base::Packet | Base::PacketMeta) => "the packet".into(),
            Some(Base::MapValue(m)) => {
                format!("map {}", self.maps.get(m as usize).map_or("", |m| m.def.name.as_str()))
            }
            Some(Base::Stack(_)) => "the stack".into(),
            _ => "memory".into(),
        };
        self.cause(CauseKind::Made, pc, format!("it is read from {place}: {value}"))
    }

    /// The context field that a load reads, by its name.
    fn field_of(&self, pc: usize) -> String {
        let Some(Op::Load { off, size, .. }) = self.code.op(pc) else { return "the context".into() };
        let off = u32::try_from(*off).ok();
        let access = skep_platform::ctx::CtxAccess::Load;
        let field = off.zip(self.layout).and_then(|(o, l)| l.access(o, size.bytes() as u32, access));
        field.map_or_else(|| "the context".into(), |f| format!("the context's field {}", f.name))
    }

    fn made(&self, pc: usize, op: &Op, reg: u8, after: Option<Reg>) -> Cause {
        let value = after.map_or_else(|| "unknown".into(), |r| self.in_words(&r));
        let words = match op {
            Op::Call(Callee::Helper(id)) => match self.helper(*id) {
                Some(h) => format!("{} returns {value}", h.name),
                None => format!("the call returns {value}"),
            },
            Op::Call(Callee::Kfunc { id, .. }) => format!("{} returns {value}", self.kfunc_name(*id)),
            Op::Call(_) => format!("the function called returns {value}"),
            op => format!("`{}` makes r{reg} {value}", self.insn_text(pc, op)),
        };
        self.cause(CauseKind::Made, pc, words)
    }

    /// A value that no step of the path wrote.
    fn never_written(&self, frame: u8, reg: u8, out: &mut Vec<(usize, Cause)>) {
        let subprog = self.cur.frames.get(frame as usize).map_or(0, |f| f.subprog);
        let start = self.code.funcs.get(subprog).map_or(0, |f| f.start);
        let value = *self.cur.reg(reg as usize);
        let name = self.code.funcs.get(subprog).map_or("", |f| f.name.as_str());
        let of = if name.is_empty() { "the program".into() } else { name.to_owned() };
        if reg == 1 && subprog == 0 && value.base == Base::Ctx {
            out.push((
                0,
                self.cause(CauseKind::Made, start, "r1 is the context that the program is given".into()),
            ));
        } else if value.base == Base::NotInit {
            let words = format!("nothing writes r{reg} on this path through {of}");
            out.push((0, self.cause(CauseKind::Missing, start, words)));
            self.branches(0, self.path().len(), out);
        } else if reg <= 5 {
            let words = format!("it is parameter {reg} of {of}: {}", self.in_words(&value));
            out.push((0, self.cause(CauseKind::Made, start, words)));
        }
    }

    /// The step that last stored a register to this place of a frame's stack, and the register.
    fn stored(&self, frame: u8, off: i64, at: usize) -> Option<(usize, u8)> {
        let path = self.path();
        for i in (0..at.min(path.len())).rev() {
            let s = &path[i];
            let Some(Op::Store { dst, off: o, src, .. }) = self.code.op(s.pc) else { continue };
            let to =
                s.uses.iter().find(|(r, _)| *r == dst.index() as u8).and_then(|(_, r)| stack_place(r, *o));
            if to == Some((frame, off)) {
                return match src {
                    Operand::Reg(r) => Some((i, r.index() as u8)),
                    Operand::Imm(_) => None,
                };
            }
        }
        None
    }

    /// Branches on a register between two steps.
    fn tests(&self, frame: u8, reg: u8, from: usize, to: usize, out: &mut Vec<(usize, Cause)>) {
        let path = self.path();
        for (i, s) in path.iter().enumerate().take(to).skip(from) {
            let Some(Op::JumpIf { dst, src, .. }) = self.code.op(s.pc) else { continue };
            let on = dst.index() as u8 == reg
                || *src == Operand::Reg(skep_isa::Reg::new(reg).unwrap_or(skep_isa::Reg::R10));
            if s.frame == frame && on {
                let value = s.after.iter().find(|(r, _)| *r == reg).map(|(_, r)| self.in_words(r));
                out.push((i, self.branch(i, value)));
            }
        }
    }

    /// A conditional jump and which way it went.
    fn branch(&self, i: usize, value: Option<String>) -> Cause {
        let path = self.path();
        let s = &path[i];
        let next = path.get(i + 1).map_or(self.cur.insn, |n| n.pc);
        let taken = next != s.pc + 1;
        let text = self.code.op(s.pc).map_or_else(String::new, |op| self.insn_text(s.pc, op));
        let way = if taken { "is taken" } else { "is not taken" };
        let then = value.map_or_else(String::new, |v| format!(", so that it is {v}"));
        self.cause(CauseKind::Branch, s.pc, format!("`{text}` {way}{then}"))
    }

    /// The last conditional jumps between two steps.
    fn branches(&self, from: usize, to: usize, out: &mut Vec<(usize, Cause)>) {
        let path = self.path();
        let is = |i: &usize| matches!(self.code.op(path[*i].pc), Some(Op::JumpIf { .. }));
        let all: Vec<usize> = (from..to.min(path.len())).filter(is).collect();
        for i in &all[all.len().saturating_sub(BRANCHES)..] {
            out.push((*i, self.branch(*i, None)));
        }
    }

    /// What is held and should not be: where it was acquired, and the branches since.
    fn held(&self, at: usize, out: &mut Vec<(usize, Cause)>) {
        let Some(r) = self.cur.refs.last() else { return self.branches(0, at, out) };
        let path = self.path();
        let from = path.iter().rposition(|s| s.pc == r.insn);
        let text = self.code.op(r.insn).map_or_else(String::new, |op| self.insn_text(r.insn, op));
        let what = match r.kind {
            RefKind::Ptr => "acquires a reference",
            RefKind::Irq => "disables interrupts",
            RefKind::Lock(_) | RefKind::ResLock(..) => "takes a lock",
        };
        let name = self.program.line_at(r.insn).and_then(assigned);
        let into = name.map_or_else(String::new, |n| format!(", kept in {n}"));
        out.push((
            from.unwrap_or(0),
            self.cause(CauseKind::Acquired, r.insn, format!("`{text}` {what}{into}")),
        ));
        self.branches(from.unwrap_or(0), at, out);
    }

    /// The jumps of the loop's last turn.
    fn loop_of_path(&self, at: usize, out: &mut Vec<(usize, Cause)>) {
        let pc = self.cur.insn;
        let from = self.path()[..at.min(self.path().len())].iter().rposition(|s| s.pc == pc).unwrap_or(0);
        let words = "the path was here before with the same values in every register and stack slot".into();
        out.push((from, self.cause(CauseKind::Made, pc, words)));
        self.branches(from, at, out);
    }

    /// The variable that a register of a frame holds before step `at`, where the source says so.
    pub(crate) fn name_of(&self, frame: u8, reg: u8, at: usize) -> Option<String> {
        let Some(i) = self.writer(frame, reg, at) else { return self.parameter_name(frame, reg) };
        let s = &self.path()[i];
        let op = self.code.op(s.pc)?;
        match op {
            Op::Alu { op: AluOp::Mov, src: Operand::Reg(src), .. } => {
                self.assigned_at(s.pc).or_else(|| self.name_of(frame, src.index() as u8, i))
            }
            Op::Call(Callee::Local(_)) if s.frame + 1 == frame => self.parameter_name(frame, reg),
            Op::Call(_) if reg == 0 => self.assigned_at(s.pc),
            Op::Load { src, off, .. } => self.assigned_at(s.pc).or_else(|| {
                let from = s.uses.iter().find(|(r, _)| *r == src.index() as u8).map(|(_, r)| *r)?;
                let (f, o) = stack_place(&from, *off)?;
                let (j, r) = self.stored(f, o, i)?;
                self.name_of(self.path()[j].frame, r, j)
            }),
            Op::Alu { .. } | Op::LoadImm64 { .. } | Op::MovSx { .. } => self.assigned_at(s.pc),
            _ => None,
        }
    }

    fn assigned_at(&self, pc: usize) -> Option<String> {
        self.program.line_at(pc).and_then(assigned)
    }

    /// Name of a parameter, by the function's BTF.
    fn parameter_name(&self, frame: u8, reg: u8) -> Option<String> {
        let subprog = self.cur.frames.get(frame as usize)?.subprog;
        let id = match self.code.funcs.get(subprog)?.btf_id {
            0 => return None,
            id => id,
        };
        let (name, _) =
            crate::btfs::params(self.own.as_ref()?, id)?.into_iter().nth(usize::from(reg).checked_sub(1)?)?;
        (!name.is_empty()).then_some(name)
    }
}

/// A place on the stack: frame and offset.
fn stack_place(r: &Reg, off: i16) -> Option<(u8, i64)> {
    let Base::Stack(f) = r.base else { return None };
    Some((f, i64::from(r.off) + r.val.as_const()? as i64 + i64::from(off)))
}

/// How many numbers it may be, as a power of two.
fn width(r: &Reg) -> u32 {
    64 - r.val.r.umax.wrapping_sub(r.val.r.umin).leading_zeros()
}

/// Are there bounds that a comparison could have set?
fn bounded(r: &Reg) -> bool {
    r.is_pointer() && width(r) < 31 || r.is_scalar() && width(r) < 31
}
