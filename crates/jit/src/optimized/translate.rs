//! One function: eBPF registers become variables, steps become Cranelift instructions.
//!
//! A function is translated block by block in reverse postorder. A subprogram that is translated in place has a [`Scope`]
//! of its own: other variables, another frame, and a block to go on at instead of a return.

use super::frame::{self, Frame};
use super::{Kind, Unit, local_target, reg};
use crate::code::Step;
use crate::flow::{Flow, Last};
use crate::head::{GO_ON, STOP};
use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    AbiParam, AliasRegion, AliasRegionData, Block, InstBuilder, InstructionData, MemFlagsData, Opcode,
    Signature, SourceLoc, StackSlot, StackSlotData, StackSlotKind, UserFuncName, Value,
};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use skep_isa::{AluOp, Callee, Cond, Op, Operand, Reg, Size, Width};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Iterations that `may_goto` allows a frame (`BPF_MAX_LOOPS`).
const MAY_GOTO: i64 = 8 << 20;

/// The state of the translation of one function.
pub(super) struct Func<'f, 'c> {
    pub(super) b: FunctionBuilder<'f>,
    pub(super) unit: &'f Unit<'c>,
    pub(super) isa: &'f OwnedTargetIsa,
    /// Address of the head.
    pub(super) head: Value,
    /// The function has a second result.
    pub(super) full: bool,
    /// The function is the program itself.
    pub(super) main: bool,
    /// Address and length of the packet, where they stay what they were at the beginning.
    pub(super) packet: Option<[Value; 2]>,
    regions: [AliasRegion; 3],
    pub(super) scope: Scope,
}

/// A function or a subprogram translated in place.
pub(super) struct Scope {
    regs: [Variable; 10],
    /// Registers whose number is the zero-extended one here, and not what their variable has: most results of 32-bit operations
    /// are only read by others of that kind.
    halves: [Option<Value>; 10],
    frame: Frame,
    cells: BTreeMap<i32, Variable>,
    slot: Option<StackSlot>,
    pub(super) flow: Rc<Flow>,
    pub(super) blocks: Vec<Block>,
    budget: Option<Variable>,
    /// Conditional jumps that ask whether a register is below its bound ([`crate::flow::Counter`]).
    below: BTreeSet<usize>,
    /// Additions to registers of which the upper half is zero, and stays so.
    short: BTreeMap<usize, i32>,
    /// Where a return goes on.
    back: Option<Block>,
}

/// Which memory an access goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Where {
    /// Frames.
    Stack,
    /// The context.
    Ctx,
    /// Anything else.
    Rest,
}

/// Translates the function at `start` into `context`.
pub(super) fn function(
    unit: &Unit<'_>,
    start: usize,
    context: &mut Context,
    builder: &mut FunctionBuilderContext,
    isa: &OwnedTargetIsa,
) -> Result<(), usize> {
    let kind = *unit.functions.get(&start).ok_or(start)?;
    context.func.signature = signature(isa, kind);
    if start == 0 && kind.tails && LEAVES {
        context.func.signature.call_conv = CallConv::Tail;
    }
    context.func.name = UserFuncName::user(0, start as u32);
    let config = isa.frontend_config();
    let mut b = FunctionBuilder::new(&mut context.func, builder);
    let first = b.create_block();
    b.append_block_params_for_function_params(first);
    b.switch_to_block(first);
    b.seal_block(first);
    let params = b.block_params(first).to_vec();
    let region = |b: &mut FunctionBuilder<'_>, id, name: &'static str| {
        let data = AliasRegionData { user_id: id, description: name.into() };
        b.func.dfg.alias_regions.insert(data)
    };
    let regions = [region(&mut b, 0, "stack"), region(&mut b, 1, "context"), region(&mut b, 2, "memory")];
    let scope = Scope::new(unit, start, &mut b)?;
    let mut f = Func {
        b,
        unit,
        isa,
        head: if kind.external { params[5] } else { params[0] },
        full: kind.full(),
        main: start == 0,
        packet: None,
        regions,
        scope,
    };
    f.packet = f.packet_at_entry();
    let args = if kind.external { &params[..kind.args] } else { &params[1..] };
    for (i, v) in args.iter().enumerate() {
        f.set(reg(i + 1), *v);
    }
    f.body()?;
    f.b.seal_all_blocks();
    f.b.finalize(config);
    Ok(())
}

/// The signature of a function: an [`EntryFn`](crate::head::EntryFn) if the engine calls it, else head and arguments, and
/// beside `r0` whether it stopped.
pub(super) fn signature(isa: &OwnedTargetIsa, kind: Kind) -> Signature {
    let mut s = entry(isa);
    if !kind.external {
        s.params.truncate(1 + kind.args);
        s.returns = vec![AbiParam::new(I64); if kind.full() { 2 } else { 1 }];
    }
    s
}

/// The signature of an [`EntryFn`](crate::head::EntryFn).
pub(super) fn entry(isa: &OwnedTargetIsa) -> Signature {
    let mut s = Signature::new(isa.default_call_conv());
    s.params = vec![AbiParam::new(I64); 6];
    s.returns = vec![AbiParam::new(I64)];
    s
}

/// Whether a program leaves its frame before it continues in another one. That needs Cranelift's own convention, which for six
/// numbers and one result is the System V convention on this machine.
pub(super) const LEAVES: bool = cfg!(target_arch = "x86_64");

impl Scope {
    fn new(unit: &Unit<'_>, start: usize, b: &mut FunctionBuilder<'_>) -> Result<Scope, usize> {
        let flow = unit.flows.get(&start).ok_or(start)?.clone();
        let frame = Frame::of(unit, &flow);
        let blocks = flow.blocks.iter().map(|_| b.create_block()).collect();
        let may_goto =
            flow.slots(unit.code).any(|pc| matches!(unit.code.steps[pc], Step::Op(Op::MayGoto { .. })));
        Ok(Scope {
            regs: std::array::from_fn(|_| b.declare_var(I64)),
            halves: [None; 10],
            cells: frame.cells.keys().map(|off| (*off, b.declare_var(I64))).collect(),
            frame,
            slot: None,
            flow,
            blocks,
            budget: may_goto.then(|| b.declare_var(I32)),
            below: BTreeSet::new(),
            short: BTreeMap::new(),
            back: None,
        })
    }
}

impl Func<'_, '_> {
    /// Translates the current scope; on return the builder is at no block.
    fn body(&mut self) -> Result<(), usize> {
        if let Some(budget) = self.scope.budget {
            let all = self.b.ins().iconst(I32, MAY_GOTO);
            self.b.def_var(budget, all);
        }
        let flow = self.scope.flow.clone();
        self.enter_block(&flow, usize::MAX, 0)?;
        for (i, block) in flow.blocks.iter().enumerate() {
            let to = self.scope.blocks[i];
            self.b.switch_to_block(to);
            if !block.head {
                self.b.seal_block(to);
            }
            self.block(&flow, i)?;
        }
        for (i, block) in flow.blocks.iter().enumerate() {
            if block.head {
                self.b.seal_block(self.scope.blocks[i]);
            }
        }
        Ok(())
    }

    /// Jumps to a block, from block `from`.
    fn enter_block(&mut self, flow: &Flow, from: usize, to: usize) -> Result<(), usize> {
        self.settle(flow.blocks[to].live);
        let enters = from == usize::MAX || from < to;
        let mut first = Vec::new();
        if enters && !flow.blocks[to].body.is_empty() {
            self.ends_below(flow, to);
            self.many_turns(flow, to)?;
            first = flow.rotation(self.unit.code, to);
        }
        // The beginning of the first turn apart: the loop then begins where the program's order has its beginning.
        let outer: Vec<Block> = first.iter().map(|i| self.scope.blocks[*i]).collect();
        for i in &first {
            self.scope.blocks[*i] = self.b.create_block();
        }
        self.b.ins().jump(self.scope.blocks[to], &[]);
        for i in &first {
            self.begin(self.scope.blocks[*i]);
            self.block(flow, *i)?;
        }
        for (i, block) in first.into_iter().zip(outer) {
            self.scope.blocks[i] = block;
        }
        Ok(())
    }

    /// Finds the ways out of a loop that may ask whether a register is below its bound instead of whether it is equal, and the
    /// registers that may grow as numbers of 32 bits. Otherwise Cranelift makes comparisons and addresses of the register as it
    /// was before it grew, and so keeps two values where one is enough.
    fn ends_below(&mut self, flow: &Flow, head: usize) {
        let outside = flow.blocks[head].prev.iter().filter(|b| !flow.blocks[head].body.contains(b)).count();
        if outside + usize::from(head == 0) != 1 {
            return;
        }
        for c in flow.counters(self.unit.code, head) {
            let start = self.get(c.register);
            if self.known(start).is_some_and(|v| c.reaches(v as u64)) {
                self.scope.below.insert(c.jump);
                if c.width == Width::W64 && c.bound > 0 {
                    self.scope.short.insert(c.grows, c.step);
                }
            }
        }
    }

    /// Adds to a register in its lower half.
    fn short_add(&mut self, pc: usize, dst: Reg) {
        let by = self.scope.short.get(&pc).copied().unwrap_or(0);
        let v = self.half(dst);
        let v = self.b.ins().iadd_imm_s(v, i64::from(by));
        self.set_half(dst, v);
    }

    fn block(&mut self, flow: &Flow, i: usize) -> Result<(), usize> {
        let block = &flow.blocks[i];
        let mut pc = block.start;
        loop {
            self.b.set_srcloc(SourceLoc::new(pc as u32));
            let last = flow.ends(self.unit.code, pc, &|pc| self.unit.decided(pc));
            match last {
                None => self.step(pc).ok_or(pc)?,
                Some(Last::Out) => return self.out(pc),
                Some(Last::To(_)) => {
                    if let Some(skip) = flow.skips.get(&pc) {
                        self.select(pc, skip.op).ok_or(pc)?;
                    }
                    return self.enter_block(flow, i, block.next[0]);
                }
                Some(Last::Either(..)) => return self.branch(flow, i, pc),
            }
            if pc == block.last {
                return self.enter_block(flow, i, block.next[0]);
            }
            pc = flow.after(self.unit.code, pc);
        }
    }

    fn branch(&mut self, flow: &Flow, i: usize, pc: usize) -> Result<(), usize> {
        let condition = match self.unit.code.steps[pc] {
            Step::Op(Op::JumpIf { cond, width, dst, src, .. }) => {
                let cond = match cond {
                    Cond::Eq if self.scope.below.contains(&pc) => Cond::Ge,
                    Cond::Ne if self.scope.below.contains(&pc) => Cond::Lt,
                    cond => cond,
                };
                self.condition(cond, width, dst, src)
            }
            Step::Op(Op::MayGoto { .. }) => self.budget().ok_or(pc)?,
            _ => return Err(pc),
        };
        let next = flow.blocks[i].next.clone();
        self.settle(flow.blocks[next[0]].live | flow.blocks[next[1]].live);
        // Edges into a loop that has something to do before it get a block of their own.
        let edge = |f: &mut Self, to: usize| -> (Block, Option<usize>) {
            match i < to && !flow.blocks[to].body.is_empty() {
                true => (f.b.create_block(), Some(to)),
                false => (f.scope.blocks[to], None),
            }
        };
        let (falls, taken) = (edge(self, next[0]), edge(self, next[1]));
        self.b.ins().brif(condition, taken.0, &[], falls.0, &[]);
        for (block, to) in [falls, taken] {
            if let Some(to) = to {
                self.b.switch_to_block(block);
                self.b.seal_block(block);
                self.enter_block(flow, i, to)?;
            }
        }
        Ok(())
    }

    /// Whether the loop budget is used up; takes one from it otherwise.
    fn budget(&mut self) -> Option<Value> {
        let budget = self.scope.budget?;
        let left = self.b.use_var(budget);
        let empty = self.b.ins().icmp_imm_s(IntCC::Equal, left, 0);
        let less = self.b.ins().iadd_imm_s(left, -1);
        let new = self.b.ins().select(empty, left, less);
        self.b.def_var(budget, new);
        Some(empty)
    }

    /// The instruction at `op` unless the condition of the jump at `pc` holds.
    fn select(&mut self, pc: usize, op: usize) -> Option<()> {
        let Step::Op(Op::JumpIf { cond, width, dst, src, .. }) = self.unit.code.steps[pc] else {
            return None;
        };
        let (_, defs) = crate::flow::effect(&self.unit.code.steps[op]);
        let written = reg(defs.trailing_zeros() as usize);
        let old = self.get(written);
        let bit = match (self.known(old), &self.unit.code.steps[op]) {
            (Some(yes), Step::Op(Op::Alu { op: AluOp::Mov, src: Operand::Imm(no), .. })) => {
                self.bit(cond, width, dst, src, yes, (*no).into())
            }
            _ => None,
        };
        if let Some(bit) = bit {
            self.set(written, bit);
            return Some(());
        }
        let condition = self.condition(cond, width, dst, src);
        self.step(op)?;
        let new = self.get(written);
        let v = self.b.ins().select(condition, old, new);
        self.set(written, v);
        Some(())
    }

    /// `yes` if a comparison holds, else `no`, where they are 1 and 0 in either order and the comparison is of 32-bit numbers
    /// without sign: the sign of their difference, shifted down. Machine instructions that set a byte by the flags would wait
    /// for whatever was in its register before.
    fn bit(&mut self, cond: Cond, width: Width, dst: Reg, src: Operand, yes: i64, no: i64) -> Option<Value> {
        let cond = match (yes, no) {
            (1, 0) => cond,
            (0, 1) => cond.negate()?,
            _ => return None,
        };
        if width == Width::W64 || !matches!(cond, Cond::Gt | Cond::Ge | Cond::Lt | Cond::Le) {
            return None;
        }
        let half = |f: &mut Self, o: Operand| match o {
            Operand::Reg(r) => {
                let v = f.get(r);
                let v = f.low(v);
                f.wide(v)
            }
            Operand::Imm(i) => f.b.ins().iconst(I64, i64::from(i as u32)),
        };
        let (a, b) = (half(self, Operand::Reg(dst)), half(self, src));
        let (small, big) = if matches!(cond, Cond::Lt | Cond::Le) { (a, b) } else { (b, a) };
        let difference = self.b.ins().isub(small, big);
        let difference = match cond {
            Cond::Le | Cond::Ge => self.b.ins().iadd_imm_s(difference, -1),
            _ => difference,
        };
        Some(self.b.ins().ushr_imm_u(difference, 63))
    }

    /// The number that a value is, where it is a constant.
    pub(super) fn known(&self, v: Value) -> Option<i64> {
        let inst = self.b.func.dfg.value_def(v).inst()?;
        match self.b.func.dfg.insts[inst] {
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits()),
            _ => None,
        }
    }

    fn step(&mut self, pc: usize) -> Option<()> {
        let step = self.unit.code.steps[pc];
        if !matches!(
            step,
            Step::Op(_) | Step::Wide { .. } | Step::Second | Step::CtxLoad(_) | Step::CtxStore { .. }
        ) {
            // It may read registers on one of several ways, on which their variables would be written.
            self.settle(u16::MAX);
        }
        match step {
            Step::Op(op) => return self.op(op, pc),
            Step::Wide { dst, bits } => {
                let v = self.constant(bits);
                self.set(dst, v);
            }
            Step::Second => {}
            Step::Helper { site, tail } => self.helper(site, tail),
            Step::Index(i) => self.index(i, pc),
            Step::Value { addr, percpu } => {
                let at = self.constant(addr);
                let at = self.percpu(at, percpu);
                self.set(Reg::R0, at);
            }
            Step::Tail { ids, entries, site } => self.tail_call(ids, entries, site),
            Step::Direct(d) => self.direct(d),
            Step::Cpu => {
                let cpu = self.cpu();
                self.set(Reg::R0, cpu);
            }
            Step::Lock { site } => self.lock(site),
            Step::Unlock { .. } => self.unlock(),
            Step::Loop { .. } => self.counted_loop(pc)?,
            Step::CtxLoad(l) => self.ctx_load(l),
            Step::CtxStore { dst, disp, size, src } => {
                let (base, v) = (self.get(dst), self.operand(src));
                self.store_at(size, v, base, disp, Where::Ctx);
            }
            Step::AnyLoad { size, sx, dst, src, off } => self.any_load(size, sx, dst, src, off),
            Step::AnyStore { size, dst, off, src } => self.any_store(size, dst, off, src),
            Step::PacketLoad { size, imm, index } => self.packet_load(size, imm, index),
            Step::Trap { .. } => return None,
        }
        Some(())
    }

    fn op(&mut self, op: Op, pc: usize) -> Option<()> {
        match op {
            Op::Alu { dst, .. } if self.scope.short.contains_key(&pc) => self.short_add(pc, dst),
            Op::Alu { op, width, dst, src } => self.alu(op, width, dst, src),
            Op::Neg { width, dst } => self.neg(width, dst),
            Op::MovSx { width, bits, dst, src } => self.mov_sx(width, bits, dst, src),
            Op::End { kind, bits, dst } => self.end(kind, bits, dst),
            Op::Load { size, sx, dst, src, off } => self.load(pc, size, sx, dst, src, off),
            Op::Store { size, dst, off, src } => self.store(pc, size, dst, off, src),
            Op::Atomic { op, width, dst, src, off } => self.atomic(op, width, dst, src, off),
            Op::LoadAcquire { size, dst, src, off } => self.load_acquire(size, dst, src, off),
            Op::StoreRelease { size, dst, off, src } => self.store_release(size, dst, off, src),
            Op::Call(Callee::Local(_)) => self.local(pc)?,
            Op::Call(Callee::Reg(r)) => self.call_reg(r),
            _ => return None,
        }
        Some(())
    }

    /// Leaves the function.
    fn out(&mut self, pc: usize) -> Result<(), usize> {
        match self.unit.code.steps[pc] {
            Step::Op(Op::Exit) => {
                let r0 = self.get(Reg::R0);
                self.settle(0);
                self.leave(r0);
                Ok(())
            }
            Step::Trap { reason } => {
                self.trap(reason);
                Ok(())
            }
            _ => Err(pc),
        }
    }

    /// Returns from the function that the scope is.
    pub(super) fn leave(&mut self, r0: Value) {
        match self.scope.back {
            Some(back) => {
                self.b.ins().jump(back, &[r0.into()]);
            }
            None => self.return_(r0, GO_ON),
        }
    }

    /// Returns from the function itself.
    pub(super) fn return_(&mut self, r0: Value, next: u64) {
        if self.full {
            let next = self.b.ins().iconst(I64, next as i64);
            self.b.ins().return_(&[r0, next]);
        } else {
            self.b.ins().return_(&[r0]);
        }
    }

    /// Returns because the engine has noted a stop.
    pub(super) fn stop(&mut self) {
        let zero = self.b.ins().iconst(I64, 0);
        self.return_(zero, STOP);
    }

    /// Goes on in a new block if `next` is 0, and leaves the function otherwise.
    pub(super) fn stop_unless_zero(&mut self, next: Value) {
        let (stop, go_on) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(stop);
        self.b.ins().brif(next, stop, &[], go_on, &[]);
        self.b.switch_to_block(stop);
        self.b.seal_block(stop);
        self.stop();
        self.b.switch_to_block(go_on);
        self.b.seal_block(go_on);
    }

    fn local(&mut self, pc: usize) -> Option<()> {
        let to = local_target(&self.unit.code.steps[pc], pc)?;
        let kind = *self.unit.functions.get(&to)?;
        let args: Vec<Value> = (1..=kind.args).map(|i| self.get(reg(i))).collect();
        let r0 = self.call_function(to, args)?;
        self.set(Reg::R0, r0);
        Some(())
    }

    /// Calls a function of the program, or translates it in place; its `r0`.
    pub(super) fn call_function(&mut self, to: usize, args: Vec<Value>) -> Option<Value> {
        let kind = *self.unit.functions.get(&to)?;
        if !kind.inline {
            return Some(self.call_local(to, kind, args));
        }
        let scope = Scope::new(self.unit, to, &mut self.b).ok()?;
        let outer = std::mem::replace(&mut self.scope, scope);
        let back = self.b.create_block();
        let r0 = self.b.append_block_param(back, I64);
        self.scope.back = Some(back);
        for (i, v) in args.into_iter().enumerate() {
            self.set(reg(i + 1), v);
        }
        self.body().ok()?;
        self.scope = outer;
        self.b.switch_to_block(back);
        self.b.seal_block(back);
        Some(r0)
    }

    // ---- registers and the frame

    /// The value of a register.
    pub(super) fn get(&mut self, r: Reg) -> Value {
        let Some(&var) = self.scope.regs.get(r.index()) else { return self.frame_addr(0) };
        match self.scope.halves[r.index()].take() {
            Some(half) => {
                let v = self.wide(half);
                self.b.def_var(var, v);
                v
            }
            None => self.b.use_var(var),
        }
    }

    /// Gives a register a value.
    pub(super) fn set(&mut self, r: Reg, v: Value) {
        if let Some(var) = self.scope.regs.get(r.index()) {
            self.scope.halves[r.index()] = None;
            self.b.def_var(*var, v);
        }
    }

    /// The lower half of a register.
    pub(super) fn half(&mut self, r: Reg) -> Value {
        match self.scope.halves.get(r.index()) {
            Some(Some(half)) => *half,
            _ => {
                let v = self.get(r);
                self.low(v)
            }
        }
    }

    /// A register, or its lower half, whichever is at hand.
    pub(super) fn least(&mut self, r: Reg) -> Value {
        match self.scope.halves.get(r.index()) {
            Some(Some(half)) => *half,
            _ => self.get(r),
        }
    }

    /// Gives a register a number of 32 bits.
    pub(super) fn set_half(&mut self, r: Reg, v: Value) {
        if let Some(half) = self.scope.halves.get_mut(r.index()) {
            *half = Some(v);
        }
    }

    /// Before control goes several ways, or to another block: what registers that are still read have is in their variables.
    fn settle(&mut self, live: u16) {
        for i in 0..10 {
            if let Some(half) = self.scope.halves[i].take()
                && live >> i & 1 == 1
            {
                let v = self.wide(half);
                self.b.def_var(self.scope.regs[i], v);
            }
        }
    }

    /// A 64-bit constant.
    pub(super) fn constant(&mut self, bits: u64) -> Value {
        match self.unit.constants.binary_search(&bits) {
            Ok(at) => {
                let table = self.unit.constants.as_ptr().expose_provenance() as i64;
                let table = self.b.ins().iconst(I64, table);
                let flags = MemFlagsData::trusted().with_readonly().with_can_move();
                self.b.ins().load(I64, flags, table, at as i32 * 8)
            }
            Err(_) => self.b.ins().iconst(I64, bits as i64),
        }
    }

    pub(super) fn operand(&mut self, src: Operand) -> Value {
        match src {
            Operand::Reg(r) => self.get(r),
            Operand::Imm(i) => self.b.ins().iconst(I64, i64::from(i)),
        }
    }

    /// An address in the frame, from `r10`.
    pub(super) fn frame_addr(&mut self, off: i32) -> Value {
        let slot = match self.scope.slot {
            Some(slot) => slot,
            None => {
                let data = StackSlotData::new(StackSlotKind::ExplicitSlot, frame::BYTES as u32, 4);
                let slot = self.b.create_sized_stack_slot(data);
                self.scope.slot = Some(slot);
                slot
            }
        };
        self.b.ins().stack_addr(I64, slot, frame::BYTES + off)
    }

    /// The plan of the frame.
    pub(super) fn frame(&self) -> &Frame {
        &self.scope.frame
    }

    /// The variable that an access at a constant offset of the frame means.
    pub(super) fn cell(&self, off: i32, size: Size) -> Option<Variable> {
        self.scope.cells.get(&self.scope.frame.cell(off, size)?).copied()
    }

    /// Flags of an access.
    pub(super) fn flags(&self, w: Where) -> MemFlagsData {
        let region = match w {
            Where::Stack if self.unit.apart => 0,
            Where::Stack | Where::Rest => 2,
            Where::Ctx => 1,
        };
        MemFlagsData::new().with_notrap().with_alias_region(Some(self.regions[region]))
    }

    /// The lower half of a number.
    pub(super) fn low(&mut self, v: Value) -> Value {
        let dfg = &self.b.func.dfg;
        match dfg.value_def(v).inst().map(|i| dfg.insts[i]) {
            Some(InstructionData::Unary { opcode: Opcode::Uextend, arg }) if dfg.value_type(arg) == I32 => {
                arg
            }
            Some(InstructionData::UnaryImm { opcode: Opcode::Iconst, imm }) => {
                self.b.ins().iconst(I32, i64::from(imm.bits() as u32))
            }
            _ => self.b.ins().ireduce(I32, v),
        }
    }

    pub(super) fn wide(&mut self, v: Value) -> Value {
        self.b.ins().uextend(I64, v)
    }

    /// A value that is not zero exactly if a comparison holds.
    fn condition(&mut self, cond: Cond, width: Width, dst: Reg, src: Operand) -> Value {
        let part = |f: &mut Self, r| if width == Width::W32 { f.half(r) } else { f.get(r) };
        let a = part(self, dst);
        let ty = if width == Width::W32 { I32 } else { I64 };
        let b = match src {
            Operand::Reg(r) => part(self, r),
            Operand::Imm(i) => {
                let bits = if width == Width::W32 { i64::from(i as u32) } else { i64::from(i) };
                self.b.ins().iconst(ty, bits)
            }
        };
        let cc = match cond {
            Cond::Eq => IntCC::Equal,
            Cond::Ne => IntCC::NotEqual,
            Cond::Gt => IntCC::UnsignedGreaterThan,
            Cond::Ge => IntCC::UnsignedGreaterThanOrEqual,
            Cond::Lt => IntCC::UnsignedLessThan,
            Cond::Le => IntCC::UnsignedLessThanOrEqual,
            Cond::Sgt => IntCC::SignedGreaterThan,
            Cond::Sge => IntCC::SignedGreaterThanOrEqual,
            Cond::Slt => IntCC::SignedLessThan,
            Cond::Sle => IntCC::SignedLessThanOrEqual,
            Cond::Set => return self.b.ins().band(a, b),
        };
        self.b.ins().icmp(cc, a, b)
    }
}
