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
use skep_isa::asm::parse_insns;
use skep_isa::{AluOp, Op, Operand};
use skep_platform::ctx::FieldKind as CtxKind;
use skep_platform::helper::LockEffect;
use skep_platform::{Platform, ProgType, Program};
use std::sync::Arc;

/// A change to be tried.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    words: String,
    insn: usize,
    edits: Vec<Edit>,
    text: Vec<String>,
}

/// Most changes tried for one refusal.
const TRIES: usize = 12;

/// The change, when with it the refusal is gone.
pub(super) fn judged(
    c: Candidate,
    d: &Diagnosis,
    program: &Arc<Program>,
    platform: &Platform,
    options: &Options,
    budget: u64,
    known: &[(Option<usize>, Rule)],
) -> Option<Fix> {
    let patched = apply(program, &c.edits)?;
    let (left, _) = collect(&patched.program, platform, options, budget, false);
    let old = |insn: Option<usize>| match insn {
        None => Some(None),
        Some(i) => patched.origin.get(i).copied().flatten().map(Some),
    };
    let helps = left.diagnoses.iter().all(|x| match old(x.insn) {
        // What was put in is refused itself.
        None => false,
        Some(insn) => {
            let same = (insn, x.rule) == (d.insn, d.rule);
            let cut = x.rule == Rule::TooComplex && !known.contains(&(insn, x.rule));
            !same && !cut
        }
    });
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
    fn insert(at: usize, asm: &str, words: String) -> Option<Candidate> {
        let insns = parse_insns(asm).ok()?;
        let text = asm.lines().map(str::to_owned).collect();
        Some(Candidate { words, insn: at, edits: vec![Edit::Insert { at, insns }], text })
    }
}

/// How the program or function is left early.
struct Leave {
    asm: String,
    c: String,
}

impl Vm<'_> {
    /// What might help against a refusal at the current instruction.
    pub(super) fn candidates(&self, why: &Reject, culprit: Option<u8>, at: usize) -> Vec<Candidate> {
        let mut out = Vec::new();
        match why.rule {
            Rule::HelperRestricted => out.extend(licence(self.program)),
            Rule::Reference => self.releases(&mut out),
            Rule::Lock => self.unlocks(&mut out),
            Rule::ReturnValue => self.returns(&mut out),
            Rule::Uninitialised if matches!(self.code.op(self.cur.insn), Some(Op::Exit)) => {
                self.sets_result(&mut out)
            }
            _ => {}
        }
        if let Some(n) = culprit {
            let r = *self.cur.reg(n as usize);
            match r.base {
                Base::NotInit => self.initialises(n, &mut out),
                Base::Scalar => self.limits_size(n, at, &mut out),
                _ if r.maybe_null() => self.null_check(n, at, &mut out),
                Base::Packet => self.packet_check(n, &r, &mut out),
                Base::Stack(_) if r.val.as_const().is_some() => self.zeroes(&r, &mut out),
                _ => {}
            }
            if r.is_pointer() && r.val.as_const().is_none() {
                self.limits_offset(n, &r, at, &mut out);
            }
        }
        out.truncate(TRIES);
        out
    }

    /// Leaves with a value that may be returned.
    fn leave_early(&self) -> Leave {
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
    fn free(&self, but: &[u8]) -> Option<u8> {
        let live = self.live_regs.get(self.cur.insn).copied().unwrap_or(u16::MAX);
        (0..10u8).find(|r| live >> r & 1 == 0 && !but.contains(r))
    }

    /// A register, or a stack slot of the innermost frame, that holds something.
    fn holder(&self, is: impl Fn(&Reg) -> bool) -> Option<Result<u8, i64>> {
        let f = self.cur.frame();
        if let Some(n) = (0..10u8).find(|n| is(&f.regs[*n as usize])) {
            return Some(Ok(n));
        }
        let slot = f.stack.iter().position(|s| s.is_spill() && is(&s.reg))?;
        Some(Err(-8 * (slot as i64 + 1)))
    }

    /// Bytes that the instruction touches from a register on: its offset and its size.
    fn touched(&self, n: u8) -> Option<i64> {
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

    fn packet_check(&self, n: u8, r: &Reg, out: &mut Vec<Candidate>) {
        let Some(need) = self.touched(n).filter(|n| *n > 0) else { return };
        let Some(tmp) = self.free(&[n]) else { return };
        let (end, load) = match self.holder(|r| r.base == Base::PacketEnd) {
            Some(Ok(end)) => (end, String::new()),
            Some(Err(off)) => {
                let Some(end) = self.free(&[n, tmp]) else { return };
                (end, format!("r{end} = *(u64 *)(r10 {off:+})\n"))
            }
            None => {
                let Some((end, load)) = self.load_end(&[n, tmp]) else { return };
                (end, load)
            }
        };
        let leave = self.leave_early();
        let total = i64::from(r.off) + need;
        let from =
            if r.val.as_const().is_some() { format!("data + {total}") } else { format!("pointer + {need}") };
        let words = format!("compare with the packet's end first: `if ({from} > data_end) {}`", leave.c);
        let asm =
            format!("{load}r{tmp} = r{n}\nr{tmp} += {need}\nif r{tmp} <= r{end} goto +2\n{}", leave.asm);
        out.extend(Candidate::insert(self.cur.insn, &asm, words));
    }

    /// Loads the packet's end from the context, where that is still at hand.
    fn load_end(&self, but: &[u8]) -> Option<(u8, String)> {
        let field = self.layout?.fields.iter().find(|f| f.kind == CtxKind::PacketEnd)?;
        let end = self.free(but)?;
        match self.holder(|r| r.base == Base::Ctx && r.off == 0)? {
            Ok(ctx) => Some((end, format!("r{end} = *(u32 *)(r{ctx} + {})\n", field.off))),
            Err(off) => Some((
                end,
                format!("r{end} = *(u64 *)(r10 {off:+})\nr{end} = *(u32 *)(r{end} + {})\n", field.off),
            )),
        }
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
                    if max >= 0 {
                        self.limits_scaled(number, i, max, out);
                        self.limit(path[i].pc, number, max, self.named(number, i), out);
                    }
                    return;
                }
                _ => return,
            }
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
        self.limit(pc, n, max, self.named(n, at), out);
        let (leave, what) = (self.leave_early(), self.named(n, at).unwrap_or_else(|| "size".into()));
        let words = format!("bound it first: `if ({what} == 0 || {what} > {max}) {}`", leave.c);
        let asm = format!("if r{n} == 0 goto +1\nif r{n} <= {max} goto +2\n{}", leave.asm);
        out.extend(Candidate::insert(pc, &asm, words));
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

    /// Where something held was last in a register, and in which: the place to give it back.
    fn last_held(&self, is: impl Fn(&Reg) -> bool) -> Vec<(usize, u8)> {
        let f = self.cur.frame();
        let mut places: Vec<(usize, u8)> =
            (1..10u8).filter(|n| is(&f.regs[*n as usize])).map(|n| (self.cur.insn, n)).collect();
        let path = self.trace.as_ref().map_or(&[][..], |t| t.path());
        let depth = self.cur.depth() as u8;
        for (i, s) in path.iter().enumerate().rev() {
            let after = s.after.iter().find(|(_, r)| is(r) && !r.maybe_null());
            if let (Some((n, _)), Some(next)) = (after, path.get(i + 1))
                && next.frame == depth
            {
                places.push((next.pc, *n));
                break;
            }
            let used = s.uses.iter().find(|(_, r)| is(r) && !r.maybe_null());
            if let (Some((n, _)), true) = (used, s.frame == depth) {
                let kept =
                    self.code.op(s.pc).is_some_and(|op| !op.defs().iter().any(|d| d.index() as u8 == *n));
                let next = path.get(i + 1).map_or(self.cur.insn, |n| n.pc);
                places.push((if kept { next } else { s.pc }, *n));
                break;
            }
        }
        places
    }

    fn releases(&self, out: &mut Vec<Candidate>) {
        let Some(held) = self.cur.refs.iter().rev().find(|r| r.kind == RefKind::Ptr) else { return };
        let name = self.program.line_at(held.insn).and_then(|l| assigned(&l.text));
        let what = name.unwrap_or_else(|| "it".into());
        let caller = self.caller();
        let releasing = |h: &&&skep_platform::Helper| {
            h.proto_for(&caller).is_some_and(|p| p.args.first().is_some_and(|a| a.release))
        };
        for (pc, n) in self.last_held(|r| r.ref_id == held.id && r.is_pointer()) {
            for h in self.platform.helpers.iter().filter(releasing) {
                let more = h.proto_for(&caller).map_or(0, |p| p.args.len());
                let rest: String = (2..=more).map(|a| format!("r{a} = 0\n")).collect();
                let zeros = if more > 1 { ", 0" } else { "" };
                let words = format!("give it back on every way out: `{}({what}{zeros});`", h.name);
                out.extend(Candidate::insert(
                    pc,
                    &self.guarded(pc, &format!("r1 = r{n}\n{rest}call {}\n", h.id), n),
                    words,
                ));
            }
        }
    }

    /// A call that leaves what is in `r0` alone, where that is still needed.
    fn guarded(&self, pc: usize, call: &str, but: u8) -> String {
        let live = self.live_regs.get(pc).copied().unwrap_or(u16::MAX);
        let keep = (6..10u8).find(|r| live >> r & 1 == 0 && *r != but).filter(|_| live & 1 == 1);
        match keep {
            Some(k) => format!("r{k} = r0\n{call}r0 = r{k}"),
            None => call.trim_end().to_owned(),
        }
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
        for (pc, n) in self.last_held(|r| r.base == Base::MapValue(m) && (r.id == id || r.id == 0)) {
            let Some(at) = self.register_offset(n) else { continue };
            let call = format!("r1 = r{n}\nr1 += {}\ncall {}\n", i64::from(field.off) - at, unlock.id);
            let words = format!("give the lock back on every way out: `{}(…);`", unlock.name);
            out.extend(Candidate::insert(pc, &self.guarded(pc, &call, n), words));
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
