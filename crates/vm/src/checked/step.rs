//! What one instruction does: arithmetic with provenance, jumps, memory, calls.
//!
//! Provenance: a pointer plus or minus a number stays a pointer into the same region; everything else that is computed
//! is a number. 32-bit results are numbers.

use super::run::{Flow, Run, rule};
use crate::region::{Kind, Prov, Val};
use skep_isa::{AluOp, AtomicOp, Callee, Endian, Op, Operand, Reg, Size, Width, eval};
use skep_platform::env::Fault;

impl Run<'_, '_> {
    pub(crate) fn op(&mut self, op: Op) -> Result<Flow, Fault> {
        match op {
            Op::Alu { op, width, dst, src } => self.alu(op, width, dst, src)?,
            Op::Load { size, sx, dst, src, off } => self.load_op(size, sx, dst, src, off)?,
            Op::Store { size, dst, off, src } => {
                let v = self.operand(src)?;
                self.store(size, dst, off, v)?;
            }
            Op::JumpIf { cond, width, dst, src, off } => {
                let (a, b) = (self.read(dst)?, self.operand(src)?);
                let taken = cond.eval(width, a.bits, b.bits);
                return Ok(if taken { self.jump(off.into()) } else { Flow::Next });
            }
            Op::Ja { off, .. } => return Ok(self.jump(off)),
            Op::Neg { width, dst } => self.scalar_op(dst, dst, |v| eval::neg(width, v))?,
            Op::MovSx { width, bits, dst, src } => {
                self.scalar_op(dst, src, |v| width.truncate(eval::sign_extend(bits, v)))?
            }
            Op::End { kind, bits, dst } => self.end(kind, bits, dst)?,
            Op::Atomic { op, width, dst, src, off } => self.atomic_op(op, width, dst, src, off)?,
            Op::LoadAcquire { size, dst, src, off } => {
                let v = self.load_acquire(size, src, off)?;
                self.write(dst, v)?;
            }
            Op::StoreRelease { size, dst, src, off } => {
                let v = self.read(src)?;
                self.store_release(size, dst, off, v)?;
            }
            Op::LoadAbs { size, imm } => return self.packet_load(size, imm, 0),
            Op::LoadInd { size, src, imm } => {
                let x = self.read(src)?;
                return self.packet_load(size, imm, x.bits as u32);
            }
            Op::MayGoto { off } => return Ok(self.may_goto(off)),
            Op::Call(callee) => return self.call_op(callee),
            Op::Exit => return Ok(Flow::Exit),
            Op::LoadImm64 { dst, imm } => {
                return Err(rule("ldimm64", format!("r{}: {imm:?} was not resolved", dst.index())));
            }
            Op::AddrSpaceCast { .. } => {
                return Err(rule("arena", "addr_space_cast: the user engine has no arenas yet".into()));
            }
        }
        Ok(Flow::Next)
    }

    fn jump(&self, off: i32) -> Flow {
        Flow::To(self.pc as i64 + 1 + i64::from(off))
    }

    pub(crate) fn operand(&self, src: Operand) -> Result<Val, Fault> {
        match src {
            Operand::Reg(r) => self.read(r),
            Operand::Imm(i) => Ok(Val::scalar(i64::from(i) as u64)),
        }
    }

    fn alu(&mut self, op: AluOp, width: Width, dst: Reg, src: Operand) -> Result<(), Fault> {
        let b = self.operand(src)?;
        if op == AluOp::Mov {
            let v = if width == Width::W64 { b } else { Val::scalar(width.truncate(b.bits)) };
            return self.write(dst, v);
        }
        let a = self.read(dst)?;
        let bits = op.eval(width, a.bits, b.bits);
        self.write(dst, Val { bits, prov: origin(op, width, a, b) })
    }

    fn scalar_op(&mut self, dst: Reg, src: Reg, f: impl Fn(u64) -> u64) -> Result<(), Fault> {
        let v = self.read(src)?;
        self.write(dst, Val::scalar(f(v.bits)))
    }

    fn end(&mut self, kind: Endian, bits: u8, dst: Reg) -> Result<(), Fault> {
        self.scalar_op(dst, dst, |v| kind.eval(bits, v))
    }

    fn load_op(&mut self, size: Size, sx: bool, dst: Reg, src: Reg, off: i16) -> Result<(), Fault> {
        let v = self.load(size, sx, src, off)?;
        let v = if sx { Val::scalar(eval::sign_extend(size.bytes() as u8 * 8, v.bits)) } else { v };
        self.write(dst, v)
    }

    fn atomic_op(&mut self, op: AtomicOp, width: Width, dst: Reg, src: Reg, off: i16) -> Result<(), Fault> {
        let v = self.read(src)?;
        let r0 = if op == AtomicOp::Cmpxchg { self.read(Reg::R0)? } else { Val::scalar(0) };
        let old = self.atomic(op, width, dst, off, v, r0)?;
        if op == AtomicOp::Cmpxchg {
            self.write(Reg::R0, old)?;
        } else if op.fetches() {
            self.write(src, old)?;
        }
        Ok(())
    }

    fn call_op(&mut self, callee: Callee) -> Result<Flow, Fault> {
        match callee {
            Callee::Local(off) => self.local_call(self.pc as i64 + 1 + i64::from(off)),
            Callee::Helper(id) => self.helper_by_number(id),
            Callee::Reg(r) => {
                let v = self.read(r)?;
                match self.m.table.get(v.prov).map(|s| s.kind) {
                    Some(Kind::Func(pc)) => self.local_call(pc as i64),
                    _ if v.is_scalar() => self.helper_by_number(i32::try_from(v.bits).unwrap_or(-1)),
                    _ => Err(rule(
                        "callx",
                        format!("r{} is neither a function nor a helper's number", r.index()),
                    )),
                }
            }
            Callee::Kfunc { id, .. } => {
                Err(rule("kfunc", format!("kernel function with BTF id {id} has no body in the user engine")))
            }
        }
    }

    fn local_call(&mut self, target: i64) -> Result<Flow, Fault> {
        let pc = usize::try_from(target).ok().filter(|t| *t < self.code.steps.len());
        let Some(pc) = pc else {
            return Err(rule("call-outside", format!("call of instruction {target}, outside the program")));
        };
        let global = self.code.program.subprogs.iter().any(|s| s.start == pc && s.global);
        if self.lock.is_some() && global {
            return Err(rule("call-with-lock", "call of a global function while a spin lock is held".into()));
        }
        Ok(Flow::Call(pc))
    }
}

/// Provenance of a result.
fn origin(op: AluOp, width: Width, a: Val, b: Val) -> Prov {
    if width == Width::W32 {
        return Prov::SCALAR;
    }
    match op {
        AluOp::Add if b.is_scalar() => a.prov,
        AluOp::Add if a.is_scalar() => b.prov,
        AluOp::Sub if b.is_scalar() => a.prov,
        _ => Prov::SCALAR,
    }
}
