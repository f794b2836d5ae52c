//! Changes that might remove a refusal. Which ones are worth a try follows from the rule broken and the values at fault;
//! whether they help the verifier says ([`judged`]).

use super::patch::{Edit, apply};
use super::words::assigned;
use super::{Diagnosis, Fix, collect};
use crate::machine::Vm;
use crate::maps::FieldKind;
use crate::options::Options;
use crate::reject::{Reject, Rule};
use crate::state::{LockOf, RefKind};
use crate::value::{Base, Reg};
use skep_btf::{Kind, Type};
use skep_isa::asm::parse_insns;
use skep_isa::{AluOp, Callee, Op, Operand};
use skep_platform::ctx::FieldKind as CtxKind;
use skep_platform::helper::{LockEffect, Rule as Zero};
use skep_platform::kfunc::kf;
use skep_platform::{KfuncKind, Platform, ProgType, Program};
use std::sync::Arc;

/// A change to be tried.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) words: String,
    pub(super) insn: usize,
    pub(super) edits: Vec<Edit>,
    pub(super) text: Vec<String>,
}

/// Most changes tried for one refusal.
const TRIES: usize = 48;

/// Most places tried for giving something back.
const PLACES: usize = 4;

/// The best of the changes: one with which the program is accepted, else one with which the refusal is gone and none is
/// in its place. `purse` is the number of instructions that may be walked for all that is tried.
pub(super) fn best(
    candidates: Vec<Candidate>,
    d: &Diagnosis,
    program: &Arc<Program>,
    platform: &Platform,
    options: &Options,
    budget: u64,
    purse: &mut u64,
) -> Option<Fix> {
    let mut second = None;
    for c in candidates {
        if *purse == 0 {
            break;
        }
        match judged(c, d, program, platform, options, budget.min(*purse), purse) {
            Some(fix) if fix.accepted => return Some(fix),
            fix => second = second.or(fix),
        }
    }
    second
}

fn judged(
    c: Candidate,
    d: &Diagnosis,
    program: &Arc<Program>,
    platform: &Platform,
    options: &Options,
    budget: u64,
    purse: &mut u64,
) -> Option<Fix> {
    let patched = apply(program, &c.edits)?;
    let (left, walked) = collect(&patched.program, platform, options, budget, false);
    *purse = purse.saturating_sub(walked.max(1));
    // A refusal at the same instruction, or at what was put in, is no better than the one that is gone.
    let origin = |insn: Option<usize>| {
        insn.map_or(Some(d.insn), |i| patched.origin.get(i).copied().flatten().map(Some))
    };
    let bad = |x: &Diagnosis| x.rule == Rule::TooComplex || origin(x.insn).is_none_or(|insn| insn == d.insn);
    let helps = !left.diagnoses.iter().any(bad);
    helps.then(|| Fix {
        words: c.words,
        line: program.line_at(c.insn).cloned(),
        insn: c.insn,
        insns: c.text,
        accepted: left.diagnoses.is_empty(),
    })
}

/// A licence under which restricted functions may be called.
pub(super) fn licence(program: &Program) -> Option<Candidate> {
    (!program.gpl_compatible()).then(|| Candidate {
        words: "put the program under a GPL-compatible licence: `char LICENSE[] SEC(\"license\") = \"GPL\";`"
            .into(),
        insn: 0,
        edits: vec![Edit::License("GPL")],
        text: Vec::new(),
    })
}

impl Candidate {
    pub(super) fn insert(at: usize, asm: &str, words: String) -> Option<Candidate> {
        let insns = parse_insns(asm).ok()?;
        let text = asm.lines().map(str::to_owned).collect();
        Some(Candidate { words, insn: at, edits: vec![Edit::Insert { at, insns }], text })
    }

    /// After an instruction, on the way through it alone.
    pub(super) fn after(at: usize, asm: &str, words: String) -> Option<Candidate> {
        let insns = parse_insns(asm).ok()?;
        let text = asm.lines().map(str::to_owned).collect();
        Some(Candidate { words, insn: at, edits: vec![Edit::After { at, insns }], text })
    }

    /// One instruction in place of another.
    pub(super) fn replace(at: usize, asm: &str, words: String) -> Option<Candidate> {
        let insn = *parse_insns(asm).ok()?.first()?;
        Some(Candidate {
            words,
            insn: at,
            edits: vec![Edit::Replace { at, insn }],
            text: vec![asm.to_owned()],
        })
    }
}

/// Stands in assembly where a call of a kernel function will be.
pub(super) const STAND_IN: &str = "call 0x7fffffff";

impl Candidate {
    /// Calls of this kernel function in place of the stand-ins.
    pub(super) fn calling(mut self, name: &str, id: u32) -> Candidate {
        for e in &mut self.edits {
            let (Edit::Insert { insns, .. } | Edit::Edge { insns, .. } | Edit::After { insns, .. }) = e
            else {
                continue;
            };
            for i in insns.iter_mut().filter(|i| i.opcode() == 0x85 && i.imm() == i32::MAX) {
                *i = i.with_src(2).with_imm(id as i32);
            }
        }
        self.text.iter_mut().filter(|l| *l == STAND_IN).for_each(|l| *l = format!("call {name}"));
        self
    }
}

/// Where accessible bytes end.
#[derive(Clone, Copy)]
struct Bound {
    is: fn(&Reg) -> bool,
    field: CtxKind,
    start: &'static str,
    what: &'static str,
    name: &'static str,
}

/// Of packet bytes.
const END: Bound = Bound {
    is: |r| r.base == Base::PacketEnd,
    field: CtxKind::PacketEnd,
    start: "data",
    what: "end",
    name: "data_end",
};

/// Of metadata.
const START: Bound = Bound {
    is: |r| r.base == Base::Packet && r.off == 0 && r.id == 0 && r.val.as_const() == Some(0),
    field: CtxKind::PacketData,
    start: "data_meta",
    what: "start",
    name: "data",
};

/// A place to put something: a register that is needed there, and whether it lies on the way on which a jump is taken.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) pc: usize,
    pub(super) reg: u8,
    pub(super) taken: bool,
}

/// How the program or function is left early.
pub(super) struct Leave {
    pub(super) asm: String,
    pub(super) c: String,
}

impl Vm<'_> {
    /// What might help against a refusal at the current instruction.
    pub(super) fn candidates(&self, why: &Reject, culprit: Option<u8>, at: usize) -> Vec<Candidate> {
        let mut out = Vec::new();
        match why.rule {
            Rule::HelperRestricted => out.extend(licence(self.program)),
            Rule::Reference => {
                self.releases(&mut out);
                self.releases_by_kfunc(&mut out);
            }
            Rule::Lock if matches!(self.code.op(self.cur.insn), Some(Op::Exit)) => {
                self.unlocks(&mut out);
                self.leaves_sections(&mut out);
            }
            Rule::ReturnValue => self.returns(&mut out),
            Rule::ArgumentRange => self.zero_argument(&mut out),
            Rule::Uninitialised if matches!(self.code.op(self.cur.insn), Some(Op::Exit)) => {
                self.sets_result(&mut out)
            }
            _ => {}
        }
        if let Some(n) = culprit {
            let r = *self.cur.reg(n as usize);
            if n == 1 && !r.maybe_null() && r.ref_id == 0 {
                self.takes_call_out(&mut out);
            }
            if matches!(r.base, Base::NotInit | Base::Scalar) {
                self.releases_later(n, at, &mut out);
            }
            match r.base {
                Base::NotInit => self.initialises(n, &mut out),
                Base::Scalar => {
                    self.limits_size(n, at, &mut out);
                    self.limits_addend(n, at, &mut out);
                }
                _ if r.maybe_null() => self.null_check(n, at, &mut out),
                _ if self.is_sized(n) => self.limits_size(n + 1, at, &mut out),
                Base::Packet => self.packet_check(n, &r, at, END, &mut out),
                Base::PacketMeta => self.packet_check(n, &r, at, START, &mut out),
                Base::Stack(_) if r.val.as_const().is_some() => self.zeroes(&r, &mut out),
                _ => {}
            }
            if r.is_pointer() && r.val.as_const().is_none() {
                self.limits_offset(n, &r, at, &mut out);
            }
        }
        self.repairs(why, culprit, &mut out);
        out.truncate(TRIES);
        out
    }

    /// Leaves with a value that may be returned.
    pub(super) fn leave_early(&self) -> Leave {
        let range = match self.attach.returns() {
            Some(r) => Some(r),
            None => self.desc.ret_range(self.program.attach_type).map(|r| (r.min, r.max)),
        };
        let main = self.cur.depth() == 0 && self.cur.frame().subprog == 0;
        let (value, name) = match range {
            _ if main && self.program.prog_type == ProgType::Xdp => (2, "XDP_PASS".to_string()),
            Some((lo, hi)) if main && !(lo..=hi).contains(&0) => (lo, lo.to_string()),
            _ => (0, "0".to_string()),
        };
        Leave { asm: format!("r0 = {value}\nexit"), c: format!("return {name};") }
    }

    fn named(&self, n: u8, at: usize) -> Option<String> {
        self.name_of(self.cur.depth() as u8, n, at)
    }

    fn null_check(&self, n: u8, at: usize, out: &mut Vec<Candidate>) {
        let (pc, leave) = (self.cur.insn, self.leave_early());
        let words = match self.named(n, at) {
            Some(v) => format!("compare it with NULL first: `if (!{v}) {}`", leave.c),
            None => {
                format!("compare the pointer in r{n} with NULL first, and leave (`{}`) where it is", leave.c)
            }
        };
        out.extend(Candidate::insert(pc, &format!("if r{n} != 0 goto +2\n{}", leave.asm), words));
    }

    /// A register that nothing reads from here on.
    pub(super) fn free(&self, but: &[u8]) -> Option<u8> {
        let live = self.live_regs.get(self.cur.insn).copied().unwrap_or(u16::MAX);
        (0..10u8).find(|r| live >> r & 1 == 0 && !but.contains(r))
    }

    /// A register, or a stack slot of the innermost frame, that holds something.
    pub(super) fn holder(&self, is: impl Fn(&Reg) -> bool) -> Option<Result<u8, i64>> {
        let f = self.cur.frame();
        if let Some(n) = (0..10u8).find(|n| is(&f.regs[*n as usize])) {
            return Some(Ok(n));
        }
        let slot = f.stack.iter().position(|s| s.is_spill() && is(&s.reg))?;
        Some(Err(-8 * (slot as i64 + 1)))
    }

    /// Bytes that the instruction touches from a register on: its offset and its size.
    pub(super) fn touched(&self, n: u8) -> Option<i64> {
        match self.code.op(self.cur.insn)? {
            Op::Load { size, off, .. }
            | Op::Store { size, off, .. }
            | Op::LoadAcquire { size, off, .. }
            | Op::StoreRelease { size, off, .. } => Some(i64::from(*off) + size.bytes() as i64),
            Op::Atomic { width, off, .. } => Some(i64::from(*off) + width.bytes() as i64),
            Op::Call(_) => {
                let size = self.cur.frame().regs.get(n as usize + 1)?;
                size.is_scalar().then(|| i64::try_from(size.val.r.umax).ok()).flatten()
            }
            _ => None,
        }
    }

    /// The same with what the instructions that follow touch through the register.
    pub(super) fn touched_soon(&self, n: u8) -> Option<i64> {
        let mut need = self.touched(n)?;
        for pc in self.cur.insn..self.code.len() {
            let Some(op) = self.code.op(pc) else { break };
            match op {
                Op::Load { src, size, off, .. } if src.index() as u8 == n => {
                    need = need.max(i64::from(*off) + size.bytes() as i64);
                }
                Op::Store { dst, size, off, .. } if dst.index() as u8 == n => {
                    need = need.max(i64::from(*off) + size.bytes() as i64);
                }
                Op::Ja { .. } | Op::JumpIf { .. } | Op::Call(_) | Op::Exit => break,
                _ => {}
            }
            if op.defs().iter().any(|d| d.index() as u8 == n) {
                break;
            }
        }
        Some(need)
    }

    /// The pointer is compared with where its bytes end: packet bytes at the packet's end, metadata at its start.
    fn packet_check(&self, n: u8, r: &Reg, at: usize, bound: Bound, out: &mut Vec<Candidate>) {
        let Some(need) = self.touched_soon(n).filter(|n| i64::from(r.off) + n > 0) else { return };
        let leave = self.leave_early();
        let total = i64::from(r.off) + need;
        let from = if r.val.as_const().is_some() {
            format!("{} + {total}", bound.start)
        } else {
            format!("pointer + {need}")
        };
        let words = format!(
            "compare with the packet's {} first: `if ({from} > {}) {}`",
            bound.what, bound.name, leave.c
        );
        let check = |load: &str, tmp: u8, end: u8| {
            format!("{load}r{tmp} = r{n}\nr{tmp} += {need}\nif r{tmp} <= r{end} goto +2\n{}", leave.asm)
        };
        let pc = self.cur.insn;
        let held = self.holder(bound.is);
        if let Some(Ok(end)) = held
            && let Some(tmp) = self.free(&[n, end])
        {
            out.extend(Candidate::insert(pc, &check("", tmp, end), words));
            return;
        }
        let Some(end) = self.free(&[n]) else { return };
        let Some(tmp) = self.free(&[n, end]) else { return };
        if let Some(Err(off)) = held {
            out.extend(Candidate::insert(
                pc,
                &check(&format!("r{end} = *(u64 *)(r10 {off:+})\n"), tmp, end),
                words,
            ));
        } else if let Some(load) = self.load_end(end, bound) {
            out.extend(Candidate::insert(pc, &check(&load, tmp, end), words));
        } else if let Some((early, load)) = self.load_end_early(n, end, at, bound) {
            let first = Candidate::insert(early, &load, String::new());
            let second = Candidate::insert(pc, &check("", tmp, end), words);
            if let Some((mut c, first)) = second.zip(first) {
                c.edits.extend(first.edits);
                out.push(c);
            }
        }
    }

    fn end_field(&self, bound: Bound) -> Option<u16> {
        self.layout?.fields.iter().find(|f| f.kind == bound.field).map(|f| f.off)
    }

    /// Loads the packet's end where its start is loaded from the context, for when the context is gone by now.
    fn load_end_early(&self, n: u8, end: u8, at: usize, bound: Bound) -> Option<(usize, String)> {
        let path = self.trace.as_ref()?.path();
        let (mut reg, mut before) = (n, at);
        loop {
            let i = self.writer(self.cur.depth() as u8, reg, before)?;
            match *self.code.op(path[i].pc)? {
                Op::Load { src, .. } => {
                    let ctx =
                        path[i].uses.iter().any(|(r, v)| *r == src.index() as u8 && v.base == Base::Ctx);
                    let load = format!("r{end} = *(u32 *)(r{} + {})", src.index(), self.end_field(bound)?);
                    return ctx.then_some((path[i].pc, load));
                }
                Op::Alu { op: AluOp::Mov, src: Operand::Reg(src), .. } => {
                    (reg, before) = (src.index() as u8, i)
                }
                Op::Alu { op: AluOp::Add, dst, .. }
                    if path[i].uses.iter().any(|(r, v)| *r == dst.index() as u8 && v.is_pointer()) =>
                {
                    before = i;
                }
                _ => return None,
            }
        }
    }

    /// Loads the packet's end from the context into a register, where the context is still at hand.
    fn load_end(&self, end: u8, bound: Bound) -> Option<String> {
        let field = self.end_field(bound)?;
        Some(match self.holder(|r| r.base == Base::Ctx && r.off == 0)? {
            Ok(ctx) => format!("r{end} = *(u32 *)(r{ctx} + {field})\n"),
            Err(off) => format!("r{end} = *(u64 *)(r10 {off:+})\nr{end} = *(u32 *)(r{end} + {field})\n"),
        })
    }

    /// Bytes behind a pointer's start.
    fn behind(&self, r: &Reg) -> Option<i64> {
        match r.base {
            Base::MapValue(m) => Some(i64::from(self.maps.get(m as usize)?.value_size())),
            Base::MapKey(m) => Some(i64::from(self.maps.get(m as usize)?.def.key_size)),
            Base::Mem(size) => Some(i64::from(size)),
            Base::Stack(_) => Some(0),
            Base::Packet if r.range > 0 => Some(i64::from(r.range)),
            _ => None,
        }
    }

    /// The number that was added to a pointer is bounded before it is.
    fn limits_offset(&self, n: u8, r: &Reg, at: usize, out: &mut Vec<Candidate>) {
        let Some((size, need)) = self.behind(r).zip(self.touched(n)) else { return };
        let max = size - need - i64::from(r.off);
        let frame = self.cur.depth() as u8;
        let path = self.trace.as_ref().map_or(&[][..], |t| t.path());
        let (mut reg, mut before) = (n, at);
        while let Some(i) = self.writer(frame, reg, before) {
            let Some(op) = self.code.op(path[i].pc) else { return };
            let value = |n: u8| path[i].uses.iter().find(|(r, _)| *r == n).map(|(_, r)| *r);
            match *op {
                Op::Alu { op: AluOp::Mov, src: Operand::Reg(src), .. } => {
                    (reg, before) = (src.index() as u8, i)
                }
                Op::Alu { op: AluOp::Add, src: Operand::Imm(_), .. } => before = i,
                Op::Alu { op: AluOp::Add, dst, src: Operand::Reg(src), .. } => {
                    let (d, s) = (dst.index() as u8, src.index() as u8);
                    let number = if value(d).is_some_and(|r| r.is_scalar()) { d } else { s };
                    let fixed = value(number).is_some_and(|r| self.is_fixed(number, &r, i));
                    if max >= 0 && !fixed {
                        self.limits_scaled(number, i, max, out);
                        self.limit(path[i].pc, number, max, self.named(number, i), out);
                    }
                    return;
                }
                _ => return,
            }
        }
    }

    /// Whether a number is a constant that no loop counts: with a bound on it nothing would be left of what follows.
    fn is_fixed(&self, reg: u8, number: &Reg, at: usize) -> bool {
        let path = self.trace.as_ref().map_or(&[][..], |t| t.path());
        let writer = self.writer(self.cur.depth() as u8, reg, at).map(|i| path[i].pc);
        let turns = path.iter().filter(|step| Some(step.pc) == writer).count();
        number.val.as_const().is_some() && turns < 2
    }

    /// A number about to be added to a pointer is bounded by what the access that follows leaves room for.
    fn limits_addend(&self, n: u8, at: usize, out: &mut Vec<Candidate>) {
        let pc = self.cur.insn;
        let Some(Op::Alu { op: AluOp::Add, dst, src: Operand::Reg(src), .. }) = self.code.op(pc) else {
            return;
        };
        let (d, s) = (*self.cur.reg(dst.index()), *self.cur.reg(src.index()));
        let (pointer, number) = if d.is_pointer() { (d, s) } else { (s, d) };
        if self.is_fixed(n, &number, at) {
            return;
        }
        let Some(size) = self.behind(&pointer) else { return };
        let next = (pc + 1..self.code.len().min(pc + 5)).find_map(|pc| match self.code.op(pc)? {
            Op::Load { src, size, off, .. } if src == dst => Some(i64::from(*off) + size.bytes() as i64),
            Op::Store { dst: to, size, off, .. } if to == dst => Some(i64::from(*off) + size.bytes() as i64),
            _ => None,
        });
        let max = size - i64::from(pointer.off) - next.unwrap_or(8);
        if max >= 0 {
            self.limits_scaled(n, at, max, out);
            self.limit(pc, n, max, self.named(n, at), out);
        }
    }

    /// The index that a multiplied offset was made of is bounded before it is multiplied.
    fn limits_scaled(&self, reg: u8, at: usize, max: i64, out: &mut Vec<Candidate>) {
        let path = self.trace.as_ref().map_or(&[][..], |t| t.path());
        let Some(i) = self.writer(self.cur.depth() as u8, reg, at) else { return };
        let scale = match self.code.op(path[i].pc) {
            Some(Op::Alu { op: AluOp::Lsh, src: Operand::Imm(k), .. }) if (0..32).contains(k) => 1i64 << k,
            Some(Op::Alu { op: AluOp::Mul, src: Operand::Imm(k), .. }) if *k > 0 => i64::from(*k),
            _ => return,
        };
        self.limit(path[i].pc, reg, max / scale, self.named(reg, i), out);
    }

    fn limit(&self, pc: usize, reg: u8, max: i64, name: Option<String>, out: &mut Vec<Candidate>) {
        let leave = self.leave_early();
        let what = name.unwrap_or_else(|| "index".into());
        let words = format!("bound it first: `if ({what} > {max}) {}`", leave.c);
        out.extend(Candidate::insert(pc, &format!("if r{reg} <= {max} goto +2\n{}", leave.asm), words));
        if max > 0 && (max as u64 + 1).is_power_of_two() {
            let words = format!("bound it first: `{what} &= {max:#x};`");
            out.extend(Candidate::insert(pc, &format!("r{reg} &= {max}"), words));
        }
    }

    /// A size or number given to a function is bounded before the call.
    fn limits_size(&self, n: u8, at: usize, out: &mut Vec<Candidate>) {
        let pc = self.cur.insn;
        if !matches!(self.code.op(pc), Some(Op::Call(_))) || n < 2 {
            return;
        }
        let r = *self.cur.reg(n as usize - 1);
        let Some(size) = self.behind(&r) else { return };
        let max = size - i64::from(r.off) - r.val.as_const().unwrap_or(0) as i64;
        if max <= 0 {
            return;
        }
        let number = self.cur.reg(n as usize);
        if self.is_fixed(n, number, at) {
            if number.val.r.smin > max {
                let words = format!("there are {max} bytes: pass that as the size");
                out.extend(Candidate::insert(pc, &format!("r{n} = {max}"), words));
            }
            return;
        }
        let what = self.named(n, at).unwrap_or_else(|| "size".into());
        self.limit(pc, n, max, Some(what.clone()), out);
        let leave = self.leave_early();
        let words = format!("bound it first: `if ({what} == 0 || {what} > {max}) {}`", leave.c);
        let asm = format!("if r{n} == 0 goto +1\nif r{n} <= {max} goto +2\n{}", leave.asm);
        out.extend(Candidate::insert(pc, &asm, words));
    }

    /// The call at hand is given memory in this register and, in the next, a size that is not known.
    fn is_sized(&self, n: u8) -> bool {
        let call = matches!(self.code.op(self.cur.insn), Some(Op::Call(_)));
        let size = (1..5).contains(&n).then(|| self.cur.reg(n as usize + 1));
        call && size.is_some_and(|s| s.is_scalar() && s.val.as_const().is_none())
    }

    /// An argument that must be zero is.
    fn zero_argument(&self, out: &mut Vec<Candidate>) {
        let pc = self.cur.insn;
        let Some(Op::Call(Callee::Helper(id))) = self.code.op(pc) else { return };
        let Some(Zero::ZeroArg(n)) = self.helper(*id).map(|h| h.rule) else { return };
        let n = n + 1;
        out.extend(Candidate::insert(pc, &format!("r{n} = 0"), format!("pass 0 for argument {n}")));
    }

    fn initialises(&self, n: u8, out: &mut Vec<Candidate>) {
        let exit = matches!(self.code.op(self.cur.insn), Some(Op::Exit));
        if !exit {
            let words = format!("give the variable in r{n} a value on every way that leads here");
            out.extend(Candidate::insert(self.cur.insn, &format!("r{n} = 0"), words));
        }
    }

    fn sets_result(&self, out: &mut Vec<Candidate>) {
        let leave = self.leave_early();
        let asm = leave.asm.lines().next().unwrap_or("r0 = 0").to_owned();
        let words = format!("return a value on every way out: `{}`", leave.c);
        out.extend(Candidate::insert(self.cur.insn, &asm, words));
    }

    fn returns(&self, out: &mut Vec<Candidate>) {
        let range = match self.attach.returns() {
            Some(r) => Some(r),
            None => self.desc.ret_range(self.program.attach_type).map(|r| (r.min, r.max)),
        };
        let Some((lo, hi)) = range.or(self.cur.frame().callback_ret) else { return };
        let pc = self.cur.insn;
        if lo == 0 && hi > 0 && (hi as u32 + 1).is_power_of_two() {
            let words = format!("return a value from {lo} to {hi}, such as `& {hi}` makes it");
            out.extend(Candidate::insert(pc, &format!("r0 &= {hi}"), words));
        }
        let words =
            if lo == hi { format!("return {lo}") } else { format!("return a value from {lo} to {hi}") };
        out.extend(Candidate::insert(pc, &format!("r0 = {lo}"), words));
    }

    /// Bytes of the stack are set to zero where the function begins.
    fn zeroes(&self, r: &Reg, out: &mut Vec<Candidate>) {
        let Base::Stack(f) = r.base else { return };
        if f as usize != self.cur.depth() {
            return;
        }
        let off = i64::from(r.off) + r.val.as_const().unwrap_or(0) as i64;
        let low = off.div_euclid(8) * 8;
        if !(-512..0).contains(&low) {
            return;
        }
        let start = self.code.funcs[self.cur.frame().subprog].start;
        let slots: Vec<String> = (0..8)
            .map(|i| low + 8 * i)
            .filter(|o| *o < 0)
            .map(|o| format!("*(u64 *)(r10 {o:+}) = 0"))
            .collect();
        let words = format!("initialise the variable at fp{low}, as with `= {{}}`");
        out.extend(Candidate::insert(start, &slots.join("\n"), words));
    }

    /// A change at a spot.
    fn at_spot(&self, s: Spot, asm: &str, what: &str) -> Option<Candidate> {
        if !s.taken {
            return Candidate::insert(s.pc, asm, format!("give it back on every way out: `{what}`"));
        }
        let insns = parse_insns(asm).ok()?;
        let end = self.code.funcs.get(self.code.func_of(s.pc))?.end;
        Some(Candidate {
            words: format!("give it back on the way out that begins here: `{what}`"),
            insn: s.pc,
            edits: vec![Edit::Edge { jump: s.pc, end, insns }],
            text: asm.lines().map(str::to_owned).collect(),
        })
    }

    /// Where something held is in a register, the latest place first: places to give it back.
    fn last_held(&self, is: impl Fn(&Reg) -> bool) -> Vec<Spot> {
        let f = self.cur.frame();
        let now = (1..10u8).filter(|n| is(&f.regs[*n as usize]));
        let mut places: Vec<Spot> = now.map(|reg| Spot { pc: self.cur.insn, reg, taken: false }).collect();
        let path = self.trace.as_ref().map_or(&[][..], |t| t.path());
        let depth = self.cur.depth() as u8;
        // Best where it is known to be there, else where it may be.
        let last = [false, true].into_iter().find_map(|null| {
            let held = |(_, r): &&(u8, Reg)| is(r) && r.maybe_null() == null;
            path.iter().enumerate().rev().find_map(|(i, s)| {
                let found = s.after.iter().find(held).or_else(|| s.uses.iter().find(held))?;
                (s.frame == depth).then_some((i, found.0))
            })
        });
        let Some((from, n)) = last else { return places };
        // From there on until something else is written into it.
        let writes = |s: &super::trace::Step| {
            self.code.op(s.pc).is_some_and(|op| op.defs().iter().any(|d| d.index() as u8 == n))
        };
        let mut later = Vec::new();
        for (i, s) in path.iter().enumerate().skip(from).take_while(|(_, s)| s.frame == depth) {
            let next = path.get(i + 1).map_or(self.cur.insn, |n| n.pc);
            if matches!(self.code.op(s.pc), Some(Op::JumpIf { .. })) && next != s.pc + 1 {
                later.push(Spot { pc: s.pc, reg: n, taken: true });
            }
            if i > from {
                later.push(Spot { pc: s.pc, reg: n, taken: false });
            }
            if i > from && writes(s) {
                break;
            }
        }
        places.extend(later.into_iter().rev().take(PLACES));
        places
    }

    fn releases(&self, out: &mut Vec<Candidate>) {
        let Some(held) = self.cur.refs.iter().rev().find(|r| r.kind == RefKind::Ptr) else { return };
        let name = self.program.line_at(held.insn).and_then(assigned);
        let what = name.unwrap_or_else(|| "it".into());
        let caller = self.caller();
        let releasing = |h: &&&skep_platform::Helper| {
            h.proto_for(&caller).is_some_and(|p| p.args.first().is_some_and(|a| a.release))
        };
        let rest = |h: &skep_platform::Helper| -> String {
            let more = h.proto_for(&caller).map_or(0, |p| p.args.len());
            (2..=more).map(|a| format!("r{a} = 0\n")).collect()
        };
        let mut stack = self.cur.frame().stack.iter();
        if let Some(spi) = stack.position(|s| s.is_spill() && s.reg.ref_id == held.id) {
            let (off, spot) = (-8 * (spi as i64 + 1), Spot { pc: self.cur.insn, reg: 10, taken: false });
            for h in self.platform.helpers.iter().filter(releasing) {
                let (rest, id) = (rest(h), h.id);
                let skip = rest.lines().count() + 1;
                let call = format!("r1 = *(u64 *)(r10 {off:+})\nif r1 == 0 goto +{skip}\n{rest}call {id}\n");
                let c = format!("if ({what}) {}({what});", h.name);
                out.extend(self.at_spot(spot, &self.guarded(spot, &call), &c));
            }
        }
        for spot in self.last_held(|r| r.ref_id == held.id && r.is_pointer()) {
            let n = spot.reg;
            for h in self.platform.helpers.iter().filter(releasing) {
                let rest = rest(h);
                let zeros = if rest.is_empty() { "" } else { ", 0" };
                let call = format!("r1 = r{n}\n{rest}call {}\n", h.id);
                let guarded = self.guarded(spot, &call);
                let c = format!("{}({what}{zeros});", h.name);
                out.extend(self.at_spot(spot, &guarded, &c));
                // Ways meet here on which there is nothing to give back.
                let asm = format!("if r{n} == 0 goto +{}\n{guarded}", guarded.lines().count());
                out.extend(self.at_spot(spot, &asm, &format!("if ({what}) {c}")));
            }
        }
    }

    /// Kernel functions that take back what is held, by the type of their first argument.
    fn releases_by_kfunc(&self, out: &mut Vec<Candidate>) {
        let Some(held) = self.cur.refs.iter().rev().find(|r| r.kind == RefKind::Ptr) else { return };
        let Some(kernel) = self.kernel.as_ref() else { return };
        let what = self.program.line_at(held.insn).and_then(assigned).unwrap_or_else(|| "it".into());
        for spot in self.last_held(|r| r.ref_id == held.id && matches!(r.base, Base::Btf(_))) {
            let path = self.trace.as_ref().map_or(&[][..], |t| t.path());
            let mut seen = path.iter().rev().flat_map(|s| s.after.iter().chain(&s.uses));
            let Some(Base::Btf(ty)) = seen.find(|(_, r)| r.ref_id == held.id).map(|(_, r)| r.base) else {
                continue;
            };
            for row in self.platform.kfuncs {
                let Some(id) = kernel.find_by_name_kind(row.name, Kind::Func) else { continue };
                let Some(params) = crate::btfs::params(kernel, id) else { continue };
                let takes = || {
                    let (_, Type::Ptr(to)) = kernel.resolve(params.first()?.1)? else { return None };
                    kernel.skip_mods_and_typedefs(to)
                };
                let fits = match ty.own {
                    true => row.kind == KfuncKind::ObjDrop,
                    false => row.has(kf::RELEASE) && row.kind == KfuncKind::Plain && takes() == Some(ty.id),
                };
                if !fits {
                    continue;
                }
                let n = spot.reg;
                let rest: String = (2..=params.len()).map(|a| format!("r{a} = 0\n")).collect();
                let guarded = self.guarded(spot, &format!("r1 = r{n}\n{rest}{STAND_IN}\n"));
                let c = format!("{}({what});", row.name);
                out.extend(self.at_spot(spot, &guarded, &c).map(|c| c.calling(row.name, id)));
                let asm = format!("if r{n} == 0 goto +{}\n{guarded}", guarded.lines().count());
                out.extend(
                    self.at_spot(spot, &asm, &format!("if ({what}) {c}")).map(|c| c.calling(row.name, id)),
                );
            }
        }
    }

    /// Sections that are open at the end are closed there.
    fn leaves_sections(&self, out: &mut Vec<Candidate>) {
        let open = [(self.cur.preempt, KfuncKind::PreemptEnable), (self.cur.rcu, KfuncKind::RcuUnlock)];
        let Some((times, kind)) = open.into_iter().find(|(times, _)| *times > 0) else { return };
        let kernel = self.kernel.as_ref();
        let found = self
            .platform
            .kfuncs
            .iter()
            .filter(|k| k.kind == kind)
            .find_map(|k| Some((k.name, kernel?.find_by_name_kind(k.name, Kind::Func)?)));
        let Some((name, id)) = found else { return };
        let spot = Spot { pc: self.cur.insn, reg: 10, taken: false };
        let calls = format!("{STAND_IN}\n").repeat(times as usize);
        let words = format!("close the section before you leave: `{name}();`");
        let c = Candidate::insert(spot.pc, &self.guarded(spot, &calls), words);
        out.extend(c.map(|c| c.calling(name, id)));
    }

    /// A call that leaves alone what is in `r0` to `r5` and still needed where the spot leads to.
    pub(super) fn guarded(&self, s: Spot, call: &str) -> String {
        let to = if s.taken { self.code.op(s.pc).and_then(|op| op.jump_target(s.pc)) } else { None };
        let to = to.and_then(|t| usize::try_from(t).ok()).unwrap_or(s.pc);
        let live = self.live_regs.get(to).copied().unwrap_or(u16::MAX);
        let used = |r: &u8| call.lines().any(|l| l.ends_with(&format!(" r{r}")));
        let mut free = (6..10u8).filter(|r| live >> r & 1 == 0 && *r != s.reg && !used(r));
        let (mut before, mut after) = (String::new(), String::new());
        for r in (0..6u8).filter(|r| live >> r & 1 == 1) {
            let Some(k) = free.next() else { break };
            before += &format!("r{k} = r{r}\n");
            after += &format!("r{r} = r{k}\n");
        }
        format!("{before}{call}{after}").trim_end().to_owned()
    }

    fn unlocks(&self, out: &mut Vec<Candidate>) {
        let lock = self.cur.refs.iter().rev().find_map(|r| match r.kind {
            RefKind::Lock(LockOf::Map(m)) => Some((r.id, m)),
            _ => None,
        });
        let Some((id, m)) = lock else { return };
        let Some(field) = self.maps.get(m as usize).and_then(|m| m.field(FieldKind::SpinLock)) else {
            return;
        };
        let Some(unlock) = self.platform.helpers.iter().find(|h| h.lock == LockEffect::Unlock) else {
            return;
        };
        for spot in self.last_held(|r| r.base == Base::MapValue(m) && (r.id == id || r.id == 0)) {
            let n = spot.reg;
            let Some(at) = self.register_offset(n) else { continue };
            let call = format!("r1 = r{n}\nr1 += {}\ncall {}\n", i64::from(field.off) - at, unlock.id);
            out.extend(self.at_spot(spot, &self.guarded(spot, &call), &format!("{}(…);", unlock.name)));
        }
    }

    /// Fixed offset of the map value pointer that a register holds, or last held.
    fn register_offset(&self, n: u8) -> Option<i64> {
        let now = self.cur.reg(n as usize);
        let path = self.trace.as_ref().map_or(&[][..], |t| t.path());
        let then = path.iter().rev().flat_map(|s| s.after.iter().chain(&s.uses)).find(|(r, _)| *r == n);
        let is = |r: &&Reg| matches!(r.base, Base::MapValue(_));
        Some(now).filter(is).or_else(|| then.map(|(_, r)| r).filter(is)).map(|r| i64::from(r.off))
    }
}
