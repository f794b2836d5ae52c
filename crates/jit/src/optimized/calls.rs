//! Calls: of helpers, of the engine, of other functions of the program.

use super::Kind;
use super::translate::{Func, LEAVES, Where, entry, signature};
use crate::code::{Direct, Index, Last, Step};
use crate::head::{GO_ON, Head, STOP, TAILS, Tail};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{
    AbiParam, Block, ExtFuncData, ExternalName, InstBuilder, MemFlagsData, Signature, Type, UserExternalName,
    Value,
};
use cranelift_codegen::isa::CallConv;
use skep_isa::{Reg, Size};
use skep_platform::facts::Region;
use std::mem::offset_of;

/// Most turns of `bpf_loop` (`BPF_MAX_LOOPS`).
const MAX_LOOPS: i64 = 8 << 20;

impl Func<'_, '_> {
    /// Goes on in a block that nothing else will jump to.
    pub(super) fn begin(&mut self, block: Block) {
        self.b.switch_to_block(block);
        self.b.seal_block(block);
    }

    /// A field of the head that does not change while the program runs.
    pub(super) fn head_field(&mut self, offset: usize) -> Value {
        let flags = MemFlagsData::trusted().with_readonly().with_can_move();
        self.b.ins().load(I64, flags, self.head, offset as i32)
    }

    fn set_head_field(&mut self, offset: usize, v: Value) {
        self.b.ins().store(MemFlagsData::trusted(), v, self.head, offset as i32);
    }

    /// Calls the engine by a pointer in the head; `r0` and `next`.
    fn engine(&mut self, field: usize, params: &[Type], args: &[Value], results: usize) -> Vec<Value> {
        let mut s = Signature::new(self.isa.default_call_conv());
        s.params = params.iter().map(|t| AbiParam::new(*t)).collect();
        s.returns = vec![AbiParam::new(I64); results];
        let s = self.b.import_signature(s);
        let callee = self.head_field(field);
        let call = self.b.ins().call_indirect(s, callee, args);
        self.b.inst_results(call).to_vec()
    }

    /// Calls a helper's door with `r1` to `r5`.
    fn door(&mut self, field: usize, site: Value) -> [Value; 2] {
        self.set_head_field(offset_of!(Head, site), site);
        let mut args: Vec<Value> = (1..=5).map(|i| self.get(super::reg(i))).collect();
        args.push(self.head);
        let out = self.engine(field, &[I64; 6], &args, 2);
        [out[0], out[1]]
    }

    pub(super) fn helper(&mut self, site: u32, tail: bool) {
        let site = self.b.ins().iconst(I64, i64::from(site));
        let [r0, next] = self.door(offset_of!(Head, helper), site);
        if tail {
            self.tail(next);
        } else {
            self.stop_unless_zero(next);
        }
        self.set(Reg::R0, r0);
    }

    pub(super) fn call_reg(&mut self, r: Reg) {
        let site = self.get(r);
        let [r0, next] = self.door(offset_of!(Head, call_reg), site);
        self.stop_unless_zero(next);
        self.set(Reg::R0, r0);
    }

    /// Continues in another program if `next` is one: calls it and returns what it returns.
    fn tail(&mut self, next: Value) {
        let [leave, go_on, run, stopped] = std::array::from_fn(|_| self.b.create_block());
        self.b.set_cold_block(stopped);
        self.b.ins().brif(next, leave, &[], go_on, &[]);
        self.begin(leave);
        let stop = self.b.ins().icmp_imm_s(IntCC::Equal, next, STOP as i64);
        self.b.ins().brif(stop, stopped, &[], run, &[]);
        self.begin(stopped);
        self.stop();
        self.begin(run);
        self.continue_in(next);
        self.begin(go_on);
    }

    /// Ends the function with what another program returns.
    fn continue_in(&mut self, program: Value) {
        let ctx = self.head_field(offset_of!(Head, ctx));
        let zero = self.b.ins().iconst(I64, 0);
        let len =
            if self.unit.code.ctx_size == 0 { self.head_field(offset_of!(Head, ctx_len)) } else { zero };
        let mut s = entry(self.isa);
        let args = [ctx, len, zero, zero, zero, self.head];
        if self.main && LEAVES {
            s.call_conv = CallConv::Tail;
            let s = self.b.import_signature(s);
            self.b.ins().return_call_indirect(s, program, &args);
            return;
        }
        let s = self.b.import_signature(s);
        let call = self.b.ins().call_indirect(s, program, &args);
        let r0 = self.b.inst_results(call)[0];
        if !self.main {
            let token = self.b.ins().iconst(I64, self.unit.token as i64);
            self.set_head_field(offset_of!(Head, token), token);
            self.stop_if_stopped();
        }
        self.return_(r0, GO_ON);
    }

    /// Leaves the function if the engine has noted that the run stops.
    fn stop_if_stopped(&mut self) {
        let stopped =
            self.b.ins().load(I64, MemFlagsData::trusted(), self.head, offset_of!(Head, stopped) as i32);
        self.stop_unless_zero(stopped);
    }

    /// A tail call: straight to the program, where the run knows it.
    pub(super) fn tail_call(&mut self, ids: u64, entries: u32, site: u32) {
        let index = self.get(Reg::R3);
        let known = self.known(index).is_some_and(|i| (i as u32) < entries);
        let index = self.low(index);
        let count = self.b.ins().iconst(I32, i64::from(entries));
        let inside = match known {
            true => self.b.ins().iconst(I8, 1),
            false => self.b.ins().icmp(IntCC::UnsignedLessThan, index, count),
        };
        let [load, known, go, slow] = std::array::from_fn(|_| self.b.create_block());
        self.b.set_cold_block(slow);
        let asked = self.b.append_block_param(slow, I64);
        let zero = self.b.ins().iconst(I64, 0);
        self.b.ins().brif(inside, load, &[], slow, &[zero.into()]);
        self.begin(load);
        let index = self.wide(index);
        let off = self.b.ins().ishl_imm_u(index, 2);
        let table = self.b.ins().iconst(I64, ids as i64);
        let at = self.b.ins().iadd(table, off);
        let id = self.load_at(Size::W, false, at, 0, Where::Rest);
        if self.main {
            let tails = self.head_field(offset_of!(Head, tails));
            let place = self.b.ins().band_imm_u(id, TAILS as i64 - 1);
            let place = self.b.ins().ishl_imm_u(place, i64::from(size_of::<Tail>().trailing_zeros()));
            let place = self.b.ins().iadd(tails, place);
            let field = |f: &mut Self, at: Value, off: usize| {
                f.b.ins().load(I64, MemFlagsData::trusted(), at, off as i32)
            };
            let its = field(self, place, offset_of!(Tail, id));
            let same = self.b.ins().icmp(IntCC::Equal, its, id);
            self.b.ins().brif(same, known, &[], slow, &[id.into()]);
            self.begin(known);
            let left = field(self, self.head, offset_of!(Head, tails_left));
            self.b.ins().brif(left, go, &[], slow, &[id.into()]);
            self.begin(go);
            let left = self.b.ins().iadd_imm_s(left, -1);
            self.set_head_field(offset_of!(Head, tails_left), left);
            let token = field(self, place, offset_of!(Tail, token));
            self.set_head_field(offset_of!(Head, token), token);
            let entry = field(self, place, offset_of!(Tail, entry));
            self.continue_in(entry);
        } else {
            self.b.ins().jump(slow, &[id.into()]);
            for unused in [known, go] {
                self.b.seal_block(unused);
            }
        }
        self.begin(slow);
        self.set_head_field(offset_of!(Head, tail_id), asked);
        self.helper(site, true);
    }

    /// Calls a function of the program.
    pub(super) fn call_local(&mut self, to: usize, kind: Kind, mut args: Vec<Value>) -> Value {
        let s = signature(self.isa, kind);
        let signature = self.b.import_signature(s);
        let name = UserExternalName { namespace: 0, index: to as u32 };
        let name = self.b.func.declare_imported_user_function(name);
        let data =
            ExtFuncData { name: ExternalName::user(name), signature, colocated: true, patchable: false };
        let callee = self.b.import_function(data);
        if kind.external {
            args.resize(5, self.head);
            args.push(self.head);
        } else {
            args.insert(0, self.head);
        }
        let call = self.b.ins().call(callee, &args);
        let results = self.b.inst_results(call).to_vec();
        if kind.full() {
            self.stop_unless_zero(results[1]);
        } else if kind.stops {
            self.stop_if_stopped();
        }
        results[0]
    }

    /// The CPU that the program believes to be on.
    pub(super) fn cpu(&mut self) -> Value {
        self.head_field(offset_of!(Head, cpu))
    }

    /// A routine that needs no engine.
    pub(super) fn direct(&mut self, d: Direct) {
        let mut args: Vec<Value> = (1..=5).map(|i| self.get(super::reg(i))).collect();
        match d.last {
            Last::Nothing => {}
            Last::Cpu => args.push(self.cpu()),
            Last::Value(v) => args.push(self.b.ins().iconst(I64, v as i64)),
        }
        let mut s = Signature::new(self.isa.default_call_conv());
        s.params = vec![AbiParam::new(I64); args.len()];
        s.returns = vec![AbiParam::new(I64)];
        let s = self.b.import_signature(s);
        let callee = self.b.ins().iconst(I64, d.call as i64);
        let call = self.b.ins().call_indirect(s, callee, &args);
        let r0 = self.b.inst_results(call)[0];
        self.set(Reg::R0, r0);
    }

    /// Takes the spin lock at `r1`; the helper does it where somebody has it.
    pub(super) fn lock(&mut self, site: u32) {
        let (at, flags) = (self.get(Reg::R1), self.flags(Where::Rest));
        let (free, taken) = (self.b.ins().iconst(I32, 0), self.b.ins().iconst(I32, 1));
        let seen = self.b.ins().atomic_cas(flags, at, free, taken);
        let (wait, done) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(wait);
        self.b.ins().brif(seen, wait, &[], done, &[]);
        self.begin(wait);
        self.helper(site, false);
        self.b.ins().jump(done, &[]);
        self.begin(done);
        self.set_head_field(offset_of!(Head, lock), at);
        let zero = self.b.ins().iconst(I64, 0);
        self.set(Reg::R0, zero);
    }

    /// Gives the spin lock at `r1` back.
    pub(super) fn unlock(&mut self) {
        let (at, flags) = (self.get(Reg::R1), self.flags(Where::Rest));
        let free = self.b.ins().iconst(I32, 0);
        if cfg!(target_arch = "x86_64") {
            // Stores are ordered so by themselves; one of no region moves over no other access here.
            self.b.ins().store(MemFlagsData::new().with_notrap(), free, at, 0);
        } else {
            self.b.ins().atomic_store(flags, free, at);
        }
        let zero = self.b.ins().iconst(I64, 0);
        self.set_head_field(offset_of!(Head, lock), zero);
        self.set(Reg::R0, zero);
    }

    /// `bpf_loop`: the order of the checks is the helper's, flags before the number.
    pub(super) fn counted_loop(&mut self, pc: usize) -> Option<()> {
        let func = super::local_target(&self.unit.code.steps[pc], pc)?;
        let args = self.unit.functions.get(&func)?.args;
        let [count, ctx, flags] = [Reg::R1, Reg::R3, Reg::R4].map(|r| self.get(r));
        let count = self.low(count);
        let [sized, turn, call, more, done] = std::array::from_fn(|_| self.b.create_block());
        let result = self.b.append_block_param(done, I64);
        let i = self.b.append_block_param(turn, I32);
        let invalid = self.b.ins().iconst(I64, -22);
        self.b.ins().brif(flags, done, &[invalid.into()], sized, &[]);
        self.begin(sized);
        let many = self.b.ins().icmp_imm_u(IntCC::UnsignedGreaterThan, count, MAX_LOOPS);
        let too_big = self.b.ins().iconst(I64, -7);
        let first = self.b.ins().iconst(I32, 0);
        self.b.ins().brif(many, done, &[too_big.into()], turn, &[first.into()]);
        self.b.switch_to_block(turn);
        let goes = self.b.ins().icmp(IntCC::UnsignedLessThan, i, count);
        let so_far = self.wide(i);
        self.b.ins().brif(goes, call, &[], done, &[so_far.into()]);
        self.begin(call);
        let zero = self.b.ins().iconst(I64, 0);
        let given = [so_far, ctx, zero, zero, zero];
        let stop = self.call_function(func, given[..args].to_vec())?;
        let next = self.b.ins().iadd_imm_s(i, 1);
        let ran = self.wide(next);
        self.b.ins().brif(stop, done, &[ran.into()], more, &[]);
        self.begin(more);
        self.b.ins().jump(turn, &[next.into()]);
        self.b.seal_block(turn);
        self.begin(done);
        self.set(Reg::R0, result);
        Some(())
    }

    /// A look-up in an array.
    pub(super) fn index(&mut self, i: Index, pc: usize) {
        let facts = self.unit.facts.call(pc);
        let v = match facts.key.filter(|k| *k < i.entries) {
            Some(key) => {
                let at = i.base + u64::from(key) * u64::from(i.stride);
                let at = self.b.ins().iconst(I64, at as i64);
                self.percpu(at, i.percpu)
            }
            None => {
                let key = self.key(pc);
                let end = self.b.ins().iconst(I32, i64::from(i.entries));
                let inside = self.b.ins().icmp(IntCC::UnsignedLessThan, key, end);
                let key = self.wide(key);
                let at = self.b.ins().imul_imm_s(key, i64::from(i.stride));
                let base = self.b.ins().iconst(I64, i.base as i64);
                let at = self.b.ins().iadd(base, at);
                let at = self.percpu(at, i.percpu);
                let none = self.b.ins().iconst(I64, 0);
                self.b.ins().select(inside, at, none)
            }
        };
        self.set(Reg::R0, v);
    }

    /// The same value of the CPU that the program is on.
    pub(super) fn percpu(&mut self, at: Value, stride: u64) -> Value {
        if stride == 0 {
            return at;
        }
        let cpu = self.cpu();
        let stride = self.b.ins().iconst(I64, stride as i64);
        let off = self.b.ins().imul(cpu, stride);
        self.b.ins().iadd(at, off)
    }

    /// The 32-bit key that `r2` points to.
    fn key(&mut self, pc: usize) -> Value {
        use skep_platform::facts::Value as Fact;
        let v = match self.unit.facts.call(pc).args[1] {
            Fact::Pointer { region: Region::Stack(Some(0)), off: Some(off), .. } => {
                match self.cell(off, Size::W) {
                    Some(var) => self.b.use_var(var),
                    None => {
                        let at = self.frame_addr(off);
                        self.load_at(Size::W, false, at, 0, Where::Stack)
                    }
                }
            }
            Fact::Pointer { region: Region::Stack(_), .. } => {
                let at = self.get(Reg::R2);
                self.load_at(Size::W, false, at, 0, Where::Stack)
            }
            _ => {
                let at = self.get(Reg::R2);
                self.load_at(Size::W, false, at, 0, Where::Rest)
            }
        };
        self.low(v)
    }

    /// Address and length of the packet as the function begins; `None` where they may change, or nobody loads from it.
    pub(super) fn packet_at_entry(&mut self) -> Option<[Value; 2]> {
        let bounds = self.unit.code.packet.filter(|_| self.unit.code.packet_stays())?;
        let loads = self.unit.code.steps.iter().any(|s| matches!(s, Step::PacketLoad { .. }));
        loads.then(|| self.packet_now(bounds))
    }

    /// Address and length of the packet.
    fn packet_now(&mut self, [data, end]: [i32; 2]) -> [Value; 2] {
        let flags = MemFlagsData::trusted();
        let ctx = self.head_field(offset_of!(Head, ctx));
        let data = self.b.ins().load(I64, flags, ctx, data);
        let end = self.b.ins().load(I64, flags, ctx, end);
        [data, self.b.ins().isub(end, data)]
    }

    /// A load from the packet. Where the offset is known to count from the packet's start, one outside of it leaves the function
    /// with 0; what else lies outside the engine looks at.
    pub(super) fn packet_load(&mut self, size: Size, imm: i32, index: Option<Reg>) {
        let at = self.b.ins().iconst(I32, i64::from(imm as u32));
        let at = match index {
            Some(r) => {
                let i = self.get(r);
                let i = self.low(i);
                self.b.ins().iadd(at, i)
            }
            None => at,
        };
        let done = self.b.create_block();
        let v = self.b.append_block_param(done, I64);
        if let Some(bounds) = self.unit.code.packet {
            self.within_packet(size, at, bounds, done);
        }
        let zero = self.b.ins().iconst(I64, 0);
        if self.unit.code.packet.is_none() || index.is_some() || imm < 0 {
            let bytes = self.b.ins().iconst(I32, size.bytes() as i64);
            let out = self.engine(offset_of!(Head, packet), &[I64, I32, I32], &[self.head, at, bytes], 2);
            let outside = self.b.create_block();
            self.b.set_cold_block(outside);
            self.b.ins().brif(out[1], outside, &[], done, &[out[0].into()]);
            self.begin(outside);
        }
        self.leave(zero);
        self.begin(done);
        self.set(Reg::R0, v);
    }

    /// Loads from an offset if it lies in the packet, and goes to `done` with what was there; goes on where it does not. Offsets
    /// that count from a header are negative, which is beyond every packet when taken without sign.
    fn within_packet(&mut self, size: Size, at: Value, bounds: [i32; 2], done: Block) {
        let [data, len] = self.packet.unwrap_or_else(|| self.packet_now(bounds));
        let at = self.b.ins().uextend(I64, at);
        let behind = self.b.ins().iadd_imm_s(at, size.bytes() as i64);
        let fits = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, len, behind);
        let (inside, beyond) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(beyond);
        self.b.ins().brif(fits, inside, &[], beyond, &[]);
        self.begin(inside);
        let place = self.b.ins().iadd(data, at);
        let t = match size {
            Size::B => I8,
            Size::H => I16,
            Size::W => I32,
            Size::Dw => I64,
        };
        let v = self.b.ins().load(t, MemFlagsData::trusted(), place, 0);
        let v = if size == Size::B { v } else { self.b.ins().bswap(v) };
        let v = if size == Size::Dw { v } else { self.b.ins().uextend(I64, v) };
        self.b.ins().jump(done, &[v.into()]);
        self.begin(beyond);
    }

    /// Accesses the context through an address.
    pub(super) fn call_any(&mut self, at: Value, flags: u32, v: Value) -> Value {
        let flags = self.b.ins().iconst(I32, i64::from(flags));
        let args = [self.head, at, flags, v];
        let out = self.engine(offset_of!(Head, any), &[I64, I64, I32, I64], &args, 2);
        self.stop_unless_zero(out[1]);
        out[0]
    }

    pub(super) fn trap(&mut self, reason: u32) {
        let reason = self.b.ins().iconst(I32, i64::from(reason));
        self.engine(offset_of!(Head, trap), &[I64, I32], &[self.head, reason], 0);
        self.stop();
    }
}
