//! The plain interpreter for verified programs: lowered once, no shadow state.

use super::flat::Flat;
use super::{MAY_GOTO, Native, Run, rule};
use crate::checked::packet;
use crate::lower::place;
use crate::mem::{self, Order, Span};
use crate::region::ALL_FRAMES;
use skep_isa::{AluOp, AtomicOp, Callee, Op, Operand, Reg, Size, Width, eval};
use skep_jit::{CtxLoad, Direct, Last, Step};
use skep_platform::Errno;
use skep_platform::ctx::CtxAccess;
use skep_platform::env::{CtxData, Fault, Ret};

/// Registers of a frame. Sixteen, so that an index of four bits needs no check.
pub(super) struct Regs(pub(super) [u64; 16]);

impl Regs {
    #[inline(always)]
    fn get(&self, r: Reg) -> u64 {
        self.0[r.index() & 15]
    }

    #[inline(always)]
    fn set(&mut self, r: Reg, v: u64) {
        self.0[r.index() & 15] = v;
    }

    #[inline(always)]
    fn operand(&self, src: Operand) -> u64 {
        match src {
            Operand::Reg(r) => self.get(r),
            Operand::Imm(i) => i64::from(i) as u64,
        }
    }

    fn args(&self) -> [u64; 5] {
        let mut args = [0; 5];
        args.copy_from_slice(&self.0[1..6]);
        args
    }
}

/// A frame: what a step may change beside memory.
pub(super) struct Frame<'r> {
    pub(super) regs: Regs,
    pub(super) code: &'r Native,
    /// The instruction after this one.
    pub(super) next: usize,
    may_goto: u32,
}

impl Frame<'_> {
    /// Runs as many turns of a loop as can be run at once.
    #[inline(never)]
    pub(super) fn turns(&mut self, number: usize) {
        let (Some(l), Some(regs)) = (self.code.loops.get(number), self.regs.0.first_chunk_mut()) else {
            return;
        };
        // SAFETY: the program was verified (`Native::new`), and control is about to enter the loop with these registers.
        unsafe { l.turns.run(regs) }
    }

    #[inline(always)]
    fn jump(&mut self, off: i32) {
        self.next = self.next.wrapping_add_signed(off as isize);
    }
}

/// A function that waits for one that it has called.
pub(super) struct Caller<'r> {
    /// Where it goes on.
    ip: *const Flat,
    code: &'r Native,
    /// `r6` to `r10`.
    kept: [u64; 5],
    may_goto: u32,
}

impl<'r> Run<'r, '_> {
    /// Begins a function of the same program, whose arguments are in place; what to go back to, at `ip`.
    #[inline]
    pub(super) fn call_in_place(&mut self, f: &mut Frame<'r>, ip: *const Flat) -> Result<Caller<'r>, Fault> {
        if self.depth >= ALL_FRAMES {
            return Err(rule("call-depth", "too many frames of calls".into()));
        }
        let mut caller = Caller { ip, code: f.code, kept: [0; 5], may_goto: f.may_goto };
        caller.kept.copy_from_slice(&f.regs.0[6..11]);
        f.regs.0[10] = self.machine.frame(self.depth);
        f.may_goto = MAY_GOTO;
        self.depth += 1;
        Ok(caller)
    }

    /// Ends a function that was begun so: where its caller goes on.
    #[inline]
    pub(super) fn back(&mut self, f: &mut Frame<'r>, caller: Caller<'r>) -> *const Flat {
        self.depth -= 1;
        (f.code, self.code, f.may_goto) = (caller.code, caller.code, caller.may_goto);
        f.regs.0[6..11].copy_from_slice(&caller.kept);
        caller.ip
    }

    /// Runs the function at `start` until it returns; its `r0`.
    pub(super) fn exec(&mut self, code: &'r Native, start: usize, args: [u64; 5]) -> Result<u64, Fault> {
        if self.depth >= ALL_FRAMES {
            return Err(rule("call-depth", "too many frames of calls".into()));
        }
        let mut f = Frame { regs: Regs([0; 16]), code, next: start, may_goto: MAY_GOTO };
        f.regs.0[1..6].copy_from_slice(&args);
        f.regs.0[10] = self.machine.frame(self.depth);
        let outer = std::mem::replace(&mut self.code, code);
        self.depth += 1;
        self.steps(&mut f)?;
        self.depth -= 1;
        self.code = outer;
        Ok(f.regs.0[0])
    }

    /// The step before the next one, which has no code of its own; whether the function goes on.
    #[inline(never)]
    pub(super) fn rare(&mut self, f: &mut Frame<'r>) -> Result<bool, Fault> {
        let pc = f.next - 1;
        let Some(step) = f.code.lowered.code.steps.get(pc).copied() else { return Err(self.outside(pc)) };
        match step {
            Step::Op(op) => self.op(f, op)?,
            Step::Index(i) => {
                let at = load(f.regs.0[2], Size::W);
                let cpu = if i.percpu == 0 { 0 } else { u64::from(self.current_cpu()) };
                f.regs.0[0] = match at < i.entries.into() {
                    true => i.base + at * u64::from(i.stride) + cpu * i.percpu,
                    false => 0,
                };
            }
            Step::Value { addr, percpu } => {
                let cpu = if percpu == 0 { 0 } else { u64::from(self.current_cpu()) };
                f.regs.0[0] = addr + cpu * percpu;
            }
            Step::Tail { site, .. } => self.call_helper(f, site)?,
            Step::Direct(d) => f.regs.0[0] = direct(&f.regs, d, self.head.cpu.get()),
            Step::Cpu => f.regs.0[0] = self.current_cpu().into(),
            Step::Lock { site } => {
                let at = f.regs.0[1];
                self.call_helper(f, site)?;
                self.head.lock = at;
            }
            Step::Unlock { site } => {
                self.call_helper(f, site)?;
                self.head.lock = 0;
            }
            Step::Loop { site, .. } => self.call_helper(f, site)?,
            Step::CtxLoad(l) => ctx_load(f, l),
            Step::CtxStore { dst, disp, size, src } => {
                let v = f.regs.operand(src);
                store(at(f.regs.get(dst), disp), size, v);
            }
            Step::Helper { site, .. } => self.call_helper(f, site)?,
            Step::PacketLoad { size, imm, index } => {
                let value = self.packet_load(size, imm, index.map_or(0, |r| f.regs.get(r)));
                f.regs.0[0] = value.unwrap_or(0);
                return Ok(value.is_some());
            }
            Step::AnyLoad { size, sx, dst, src, off } => {
                let v = self.any_load(f.code, at(f.regs.get(src), off.into()), size, sx)?;
                f.regs.set(dst, v);
            }
            Step::AnyStore { size, dst, off, src } => {
                let v = f.regs.operand(src);
                self.any_store(f.code, at(f.regs.get(dst), off.into()), size, v)?;
            }
            Step::Wide { .. } | Step::Second => return Err(self.outside(pc)),
            Step::Trap { reason } => return Err(self.trap(f.code, reason)),
        }
        Ok(true)
    }

    fn op(&mut self, f: &mut Frame<'r>, op: Op) -> Result<(), Fault> {
        let regs = &mut f.regs;
        match op {
            Op::Load { size, dst, src, off, .. } => {
                let v = load(at(regs.get(src), off.into()), size);
                regs.set(dst, eval::sign_extend(size.bytes() as u8 * 8, v));
            }
            Op::Alu { op, width, dst, src } => alu(regs, op, width, dst, src),
            Op::Neg { width, dst } => regs.set(dst, eval::neg(width, regs.get(dst))),
            Op::MovSx { width, bits, dst, src } => {
                regs.set(dst, width.truncate(eval::sign_extend(bits, regs.get(src))));
            }
            Op::End { kind, bits, dst } => regs.set(dst, kind.eval(bits, regs.get(dst))),
            Op::Atomic { op, width, dst, src, off } => {
                atomic(regs, op, width, at(regs.get(dst), off.into()), src)?;
            }
            Op::LoadAcquire { size, dst, src, off } => {
                let span = Span::declare(at(regs.get(src), off.into()), size.bytes() as u64);
                regs.set(dst, span.load(0, size, Order::AcquireRelease).map_err(not_verified)?);
            }
            Op::StoreRelease { size, dst, off, src } => {
                let span = Span::declare(at(regs.get(dst), off.into()), size.bytes() as u64);
                span.store(0, size, regs.get(src), Order::AcquireRelease).map_err(not_verified)?;
            }
            Op::MayGoto { off } => match f.may_goto.checked_sub(1) {
                Some(left) => f.may_goto = left,
                None => f.jump(off.into()),
            },
            Op::Call(callee) => return self.call(f, callee),
            // Have codes of their own, or were made other steps of by lowering.
            Op::Store { .. }
            | Op::JumpIf { .. }
            | Op::Ja { .. }
            | Op::Exit
            | Op::LoadImm64 { .. }
            | Op::LoadAbs { .. }
            | Op::LoadInd { .. }
            | Op::AddrSpaceCast { .. } => {
                return Err(self.outside(f.next));
            }
        }
        Ok(())
    }

    fn call(&mut self, f: &mut Frame<'r>, callee: Callee) -> Result<(), Fault> {
        let target = match callee {
            Callee::Local(off) => f.next.wrapping_add_signed(off as isize),
            Callee::Reg(r) => match f.code.function(f.regs.get(r)) {
                Some(pc) => pc,
                None => return self.call_number(f, f.regs.get(r)),
            },
            Callee::Helper(_) | Callee::Kfunc { .. } => return Err(self.outside(f.next)),
        };
        f.regs.0[0] = self.exec(f.code, target, f.regs.args())?;
        Ok(())
    }

    /// `callx` with the number of a helper.
    fn call_number(&mut self, f: &mut Frame<'r>, id: u64) -> Result<(), Fault> {
        let body =
            f.code.body(id).ok_or_else(|| rule("unknown-helper", format!("there is no helper #{id}")))?;
        let site = crate::lower::Site { body, pc: f.next - 1 };
        let ret = self.helper(site, f.regs.args())?;
        self.take(f, ret)
    }

    fn call_helper(&mut self, f: &mut Frame<'r>, site: u32) -> Result<(), Fault> {
        let Some(site) = f.code.lowered.sites.get(site as usize).copied() else {
            return Err(self.outside(f.next));
        };
        let ret = self.helper(site, f.regs.args())?;
        self.take(f, ret)
    }

    fn take(&mut self, f: &mut Frame<'r>, ret: Ret) -> Result<(), Fault> {
        f.regs.0[0] = match ret {
            Ret::Scalar(v) => v,
            Ret::Null => 0,
            Ret::Map(handle) => handle,
            Ret::Region(region) => region.addr,
            Ret::TailCall(program) => match self.next_program(program)? {
                Some(code) => {
                    (f.code, self.code) = (code, code);
                    (f.next, f.may_goto) = (0, MAY_GOTO);
                    let args = self.args();
                    f.regs.0[1..6].copy_from_slice(&args);
                    return Ok(());
                }
                None => Errno::ENOENT.to_r0(),
            },
        };
        Ok(())
    }

    pub(super) fn packet_load(&self, size: Size, imm: i32, index: u64) -> Option<u64> {
        let CtxData::Packet(p) = &self.ctx.data else { return None };
        packet::load_at(p, (imm as u32).wrapping_add(index as u32) as i32, size)
    }

    /// Offset in the context as the program sees it, if the address lies there.
    fn in_context(&self, code: &Native, addr: u64) -> Option<i32> {
        let at = addr.wrapping_sub(self.head.ctx);
        (at < code.lowered.code.ctx_size.into()).then_some(at as i32)
    }

    pub(super) fn any_load(&self, code: &Native, addr: u64, size: Size, sx: bool) -> Result<u64, Fault> {
        let signed = |v: u64| if sx { eval::sign_extend(size.bytes() as u8 * 8, v) } else { v };
        let Some(off) = self.in_context(code, addr) else {
            return Ok(signed(load(addr, size)));
        };
        let how = if sx { CtxAccess::LoadSigned } else { CtxAccess::Load };
        let p = code.lowered.layout.and_then(|l| place(l, off, size, how)).ok_or_else(|| no_field(off))?;
        let v = load(at(self.head.ctx, p.at.into()), p.size) >> p.shift;
        Ok(signed(cut(p.cut, v)))
    }

    pub(super) fn any_store(&self, code: &Native, addr: u64, size: Size, v: u64) -> Result<(), Fault> {
        let Some(off) = self.in_context(code, addr) else {
            store(addr, size, v);
            return Ok(());
        };
        let layout = code.lowered.layout;
        let p = layout.and_then(|l| place(l, off, size, CtxAccess::Store)).ok_or_else(|| no_field(off))?;
        store(at(self.head.ctx, p.at.into()), p.size, v);
        Ok(())
    }

    #[cold]
    pub(super) fn trap(&mut self, code: &Native, reason: u32) -> Fault {
        match code.lowered.reasons.get(reason as usize) {
            Some((fault, pc)) => {
                self.at = *pc;
                fault.clone()
            }
            None => self.outside(0),
        }
    }

    /// Where no verified program comes.
    #[cold]
    fn outside(&mut self, pc: usize) -> Fault {
        self.at = pc;
        rule(
            "not-verified",
            format!("control came to instruction {pc}, which the verifier cannot have allowed"),
        )
    }
}

#[cold]
fn no_field(off: i32) -> Fault {
    rule("context", format!("no field of the context may be accessed so at offset {off}"))
}

#[inline(always)]
fn at(base: u64, disp: i32) -> u64 {
    base.wrapping_add(i64::from(disp) as u64)
}

#[inline(always)]
pub(super) fn load(addr: u64, size: Size) -> u64 {
    // SAFETY: only programs that were verified come here (`Native::new`), so the access is one that the verifier allowed.
    unsafe { mem::load(addr, size) }
}

#[inline(always)]
pub(super) fn store(addr: u64, size: Size, v: u64) {
    // SAFETY: as in `load`.
    unsafe { mem::store(addr, size, v) }
}

fn direct(regs: &Regs, d: Direct, cpu: u64) -> u64 {
    type Call = unsafe extern "C" fn(u64, u64, u64, u64, u64, u64) -> u64;
    let last = match d.last {
        Last::Nothing => 0,
        Last::Cpu => cpu,
        Last::Value(v) => v,
    };
    let [r1, r2, r3, r4, r5] = regs.args();
    let call = std::ptr::with_exposed_provenance::<()>(d.call as usize);
    // SAFETY: lowering made the step of a routine with this signature, for this program, which was verified; one with fewer
    // parameters leaves the other registers alone.
    let call = unsafe { std::mem::transmute::<*const (), Call>(call) };
    // SAFETY: as above.
    unsafe { call(r1, r2, r3, r4, r5, last) }
}

#[cold]
fn not_verified(_: mem::Refused) -> Fault {
    rule(
        "not-verified",
        "an atomic access that is not aligned, which the verifier cannot have allowed".into(),
    )
}

#[inline(always)]
fn alu(regs: &mut Regs, op: AluOp, width: Width, dst: Reg, src: Operand) {
    let b = regs.operand(src);
    regs.set(dst, op.eval(width, regs.get(dst), b));
}

#[inline(always)]
fn ctx_load(f: &mut Frame<'_>, l: CtxLoad) {
    let v = load(at(f.regs.get(l.src), l.disp), l.size) >> l.shift;
    let v = cut(l.cut, v);
    f.regs.set(l.dst, if l.sx { eval::sign_extend(l.cut.bytes() as u8 * 8, v) } else { v });
}

fn atomic(regs: &mut Regs, op: AtomicOp, width: Width, addr: u64, src: Reg) -> Result<(), Fault> {
    let span = Span::declare(addr, width.bytes() as u64);
    let old = span.atomic(0, op, width, regs.get(src), regs.0[0]).map_err(not_verified)?;
    if op == AtomicOp::Cmpxchg {
        regs.0[0] = old;
    } else if op.fetches() {
        regs.set(src, old);
    }
    Ok(())
}

#[inline(always)]
fn cut(size: Size, v: u64) -> u64 {
    match size {
        Size::B => v & 0xff,
        Size::H => v & 0xffff,
        Size::W => Width::W32.truncate(v),
        Size::Dw => v,
    }
}
