//! Loads and stores.

use super::translate::{Func, Where};
use crate::code::CtxLoad;
use crate::head::{Head, any_flags};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{AtomicRmwOp, InstBuilder, Type, Value};
use skep_isa::{AtomicOp, Operand, Reg, Size, Width};
use skep_platform::facts::Region;
use std::mem::offset_of;

fn ty(size: Size) -> Type {
    match size {
        Size::B => I8,
        Size::H => I16,
        Size::W => I32,
        Size::Dw => I64,
    }
}

impl Func<'_, '_> {
    /// A load, extended to 64 bits.
    pub(super) fn load_at(&mut self, size: Size, sx: bool, base: Value, off: i32, w: Where) -> Value {
        let flags = self.flags(w);
        let ins = self.b.ins();
        match (size, sx) {
            (Size::B, false) => ins.uload8(I64, flags, base, off),
            (Size::B, true) => ins.sload8(I64, flags, base, off),
            (Size::H, false) => ins.uload16(I64, flags, base, off),
            (Size::H, true) => ins.sload16(I64, flags, base, off),
            (Size::W, false) => ins.uload32(flags, base, off),
            (Size::W, true) => ins.sload32(flags, base, off),
            (Size::Dw, _) => ins.load(I64, flags, base, off),
        }
    }

    /// A store of the lower part of `v`.
    pub(super) fn store_at(&mut self, size: Size, v: Value, base: Value, off: i32, w: Where) {
        let flags = self.flags(w);
        let narrow = self.b.func.dfg.value_type(v) == I32;
        let ins = self.b.ins();
        match size {
            Size::B => ins.istore8(flags, v, base, off),
            Size::H => ins.istore16(flags, v, base, off),
            Size::W if narrow => ins.store(flags, v, base, off),
            Size::W => ins.istore32(flags, v, base, off),
            Size::Dw => ins.store(flags, v, base, off),
        };
    }

    /// The address of an access and its displacement.
    fn address(&mut self, pc: usize, base: Reg, off: i16) -> (Value, i32, Where) {
        let fact = self.unit.facts.access(pc);
        match fact.region {
            Region::Stack(Some(0)) => match fact.off {
                Some(at) => (self.frame_addr(at), 0, Where::Stack),
                None => (self.get(base), off.into(), Where::Stack),
            },
            Region::Stack(_) => (self.get(base), off.into(), Where::Stack),
            _ if base == Reg::R10 => (self.frame_addr(off.into()), 0, Where::Rest),
            _ => (self.get(base), off.into(), Where::Rest),
        }
    }

    /// The variable that an access means.
    fn variable(&self, pc: usize, size: Size) -> Option<cranelift_frontend::Variable> {
        let fact = self.unit.facts.access(pc);
        match fact.region {
            Region::Stack(Some(0)) => self.cell(fact.off?, size),
            _ => None,
        }
    }

    pub(super) fn load(&mut self, pc: usize, size: Size, sx: bool, dst: Reg, src: Reg, off: i16) {
        if let Some(bits) = self.unit.facts.constant(pc) {
            let v = self.b.ins().iconst(I64, bits as i64);
            return self.set(dst, v);
        }
        let v = match self.variable(pc, size) {
            Some(var) => {
                let v = self.b.use_var(var);
                if sx {
                    let v = self.b.ins().ireduce(ty(size), v);
                    self.b.ins().sextend(I64, v)
                } else {
                    v
                }
            }
            None => {
                let (base, off, w) = self.address(pc, src, off);
                self.load_at(size, sx, base, off, w)
            }
        };
        self.set(dst, v);
    }

    pub(super) fn store(&mut self, pc: usize, size: Size, dst: Reg, off: i16, src: Operand) {
        let v = match src {
            Operand::Reg(r) if size != Size::Dw => self.least(r),
            src => self.operand(src),
        };
        match self.variable(pc, size) {
            Some(var) => {
                let v = match size {
                    Size::Dw => v,
                    Size::W if self.b.func.dfg.value_type(v) == I32 => self.wide(v),
                    _ => {
                        let v = self.b.ins().ireduce(ty(size), v);
                        self.wide(v)
                    }
                };
                self.b.def_var(var, v);
            }
            None => {
                let (base, off, w) = self.address(pc, dst, off);
                self.store_at(size, v, base, off, w);
            }
        }
    }

    /// The part that is asked for lies `shift` bits above the start, on a little-endian machine.
    pub(super) fn ctx_load(&mut self, l: CtxLoad) {
        let base = self.get(l.src);
        let v = self.load_at(l.cut, l.sx, base, l.disp + i32::from(l.shift / 8), Where::Ctx);
        self.set(l.dst, v);
    }

    fn at(&mut self, base: Reg, off: i16) -> Value {
        let base = self.get(base);
        if off == 0 { base } else { self.b.ins().iadd_imm_s(base, i64::from(off)) }
    }

    pub(super) fn atomic(&mut self, op: AtomicOp, width: Width, dst: Reg, src: Reg, off: i16) {
        let narrow = width == Width::W32;
        let t = if narrow { I32 } else { I64 };
        let at = self.at(dst, off);
        let flags = self.flags(Where::Rest);
        let v = self.get(src);
        let v = if narrow { self.low(v) } else { v };
        let (old, into) = match op {
            AtomicOp::Cmpxchg => {
                let expected = self.get(Reg::R0);
                let expected = if narrow { self.low(expected) } else { expected };
                (self.b.ins().atomic_cas(flags, at, expected, v), Reg::R0)
            }
            op => {
                let kind = match op {
                    AtomicOp::Add { .. } => AtomicRmwOp::Add,
                    AtomicOp::Or { .. } => AtomicRmwOp::Or,
                    AtomicOp::And { .. } => AtomicRmwOp::And,
                    AtomicOp::Xor { .. } => AtomicRmwOp::Xor,
                    AtomicOp::Xchg | AtomicOp::Cmpxchg => AtomicRmwOp::Xchg,
                };
                (self.b.ins().atomic_rmw(t, flags, kind, at, v), src)
            }
        };
        if op.fetches() {
            let old = if narrow { self.wide(old) } else { old };
            self.set(into, old);
        }
    }

    pub(super) fn load_acquire(&mut self, size: Size, dst: Reg, src: Reg, off: i16) {
        let at = self.at(src, off);
        let flags = self.flags(Where::Rest);
        let v = self.b.ins().atomic_load(ty(size), flags, at);
        let v = if size == Size::Dw { v } else { self.wide(v) };
        self.set(dst, v);
    }

    pub(super) fn store_release(&mut self, size: Size, dst: Reg, off: i16, src: Reg) {
        let at = self.at(dst, off);
        let flags = self.flags(Where::Rest);
        let v = self.get(src);
        let v = if size == Size::Dw { v } else { self.b.ins().ireduce(ty(size), v) };
        self.b.ins().atomic_store(flags, v, at);
    }

    // ---- accesses that may go to the context

    pub(super) fn any_load(&mut self, size: Size, sx: bool, dst: Reg, src: Reg, off: i16) {
        let at = self.at(src, off);
        let [ctx, plain, done] = std::array::from_fn(|_| self.b.create_block());
        let v = self.b.append_block_param(done, I64);
        let inside = self.in_context(at);
        self.b.ins().brif(inside, ctx, &[], plain, &[]);
        self.begin(ctx);
        let zero = self.b.ins().iconst(I64, 0);
        let got = self.call_any(at, any_flags(size.bytes(), sx, false), zero);
        self.b.ins().jump(done, &[got.into()]);
        self.begin(plain);
        let got = self.load_at(size, sx, at, 0, Where::Rest);
        self.b.ins().jump(done, &[got.into()]);
        self.begin(done);
        self.set(dst, v);
    }

    pub(super) fn any_store(&mut self, size: Size, dst: Reg, off: i16, src: Operand) {
        let (at, v) = (self.at(dst, off), self.operand(src));
        let [ctx, plain, done] = std::array::from_fn(|_| self.b.create_block());
        let inside = self.in_context(at);
        self.b.ins().brif(inside, ctx, &[], plain, &[]);
        self.begin(ctx);
        self.call_any(at, any_flags(size.bytes(), false, true), v);
        self.b.ins().jump(done, &[]);
        self.begin(plain);
        self.store_at(size, v, at, 0, Where::Rest);
        self.b.ins().jump(done, &[]);
        self.begin(done);
    }

    fn in_context(&mut self, at: Value) -> Value {
        let ctx = self.head_field(offset_of!(Head, ctx));
        let within = self.b.ins().isub(at, ctx);
        self.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, within, i64::from(self.unit.code.ctx_size))
    }
}
