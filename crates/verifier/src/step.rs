//! One instruction: decoded, checked and applied to the current state.

use crate::code::{Slot, illegal};
use crate::held::Held;
use crate::machine::Vm;
use crate::mem::How;
use crate::reject::{Check, Reject, Rule, refuse};
use crate::stackmem::Store;
use crate::state::MAX_FRAMES;
use crate::value::{Base, Flags, Reg};
use skep_isa::{AtomicOp, Callee, Imm64, Op, Operand, Size, Width};

/// Where the path goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flow {
    /// At this instruction.
    To(usize),
    /// Nowhere: it has ended.
    End,
}

impl Vm<'_> {
    /// Walks the instruction at `self.cur.insn`.
    pub(crate) fn step(&mut self) -> Check<Flow> {
        let pc = self.cur.insn;
        let (op, len) = match self.code.slots[pc] {
            Slot::Op(op, len) => (op, len as usize),
            Slot::Illegal(e) => return Err(self.illegal_step(&e)),
            Slot::Second => refuse!(Internal, "second half of a load reached"),
        };
        if self.cfg.marks[pc].poisoned {
            return Err(self.poisoned(pc, &op));
        }
        self.lacks.form(&op)?;
        let next = Flow::To(pc + len);
        match op {
            Op::Alu { op, width, dst, src } => self.alu(op, width, dst.index(), src)?,
            Op::Neg { width, dst } => self.neg(width, dst.index())?,
            Op::End { kind, bits, dst } => self.end(kind, bits, dst.index())?,
            Op::MovSx { width, bits, dst, src } => self.mov_sx(width, bits, dst.index(), src.index())?,
            Op::AddrSpaceCast { dst, src, to, .. } => self.addr_space_cast(dst.index(), src.index(), to)?,
            Op::LoadImm64 { dst, imm } => self.load_imm64(dst.index(), &imm)?,
            Op::Load { size, sx, dst, src, off } => self.load(size, sx, dst.index(), src.index(), off)?,
            Op::Store { size, dst, off, src } => self.store(size, dst.index(), off, src)?,
            Op::Atomic { op, width, dst, src, off } => {
                self.atomic(op, width, dst.index(), src.index(), off)?;
            }
            Op::LoadAcquire { size, dst, src, off } => {
                self.ordered(dst.index(), src.index(), src.index(), "loads from")?;
                self.load(size, false, dst.index(), src.index(), off)?;
            }
            Op::StoreRelease { size, dst, src, off } => {
                self.ordered(src.index(), dst.index(), dst.index(), "stores into")?;
                self.store(size, dst.index(), off, Operand::Reg(src))?;
            }
            Op::LoadAbs { .. } => return self.legacy_load(None),
            Op::LoadInd { src, .. } => return self.legacy_load(Some(src.index())),
            Op::Ja { off, .. } => {
                self.jumps += 1;
                return Ok(Flow::To((pc as i64 + 1 + off as i64) as usize));
            }
            Op::MayGoto { off } => return self.may_goto(off),
            Op::JumpIf { cond, width, dst, src, off } => {
                self.jumps += 1;
                return self.jump_if(cond, width, dst.index(), src, (pc as i64 + 1 + off as i64) as usize);
            }
            Op::Call(callee) => {
                self.jumps += 1;
                return self.call(callee);
            }
            Op::Exit => {
                self.jumps += 1;
                return self.exit(false);
            }
        }
        Ok(next)
    }

    fn illegal_step(&self, e: &skep_isa::DecodeError) -> Box<Reject> {
        Reject::new(Rule::Encoding, illegal(e))
    }

    /// An instruction that a failed relocation left behind: libbpf makes it a call of a helper that does not exist.
    fn poisoned(&self, pc: usize, op: &Op) -> Box<Reject> {
        let why = self.program.poisoned.iter().find(|(at, _)| *at == pc).map_or("", |(_, why)| why);
        let id = if let Op::Call(Callee::Helper(id)) = op { *id } else { 195_896_080 };
        Reject::new(Rule::HelperUnknown, why).after_line(format!("invalid func unknown#{id}"))
    }

    fn addr_space_cast(&mut self, dst: usize, src: usize, to: u16) -> Check {
        if !self.maps.iter().any(|m| m.kind() == skep_platform::MapType::Arena) {
            refuse!(
                Encoding,
                "addr_space_cast insn can only be used in a program that has an associated arena"
            );
        }
        self.readable(src)?;
        self.writable(dst)?;
        // Into address space 0 the number becomes an arena pointer, the other way a number.
        let r = if to == 0 { Reg::pointer(Base::Arena) } else { Reg::UNKNOWN };
        self.set(dst, r);
        Ok(())
    }

    fn load_imm64(&mut self, dst: usize, imm: &Imm64) -> Check {
        self.writable(dst)?;
        let r = match *imm {
            Imm64::Value(v) => Reg::known(v),
            Imm64::Func(off) => self.func_address(off)?,
            Imm64::BtfId { id, .. } => self.kernel_variable(id)?,
            Imm64::MapFd(_) | Imm64::MapFdValue { .. } => {
                refuse!(MapBinding, "the program's maps are not bound")
            }
            Imm64::MapIdx(i) => Reg::pointer(Base::MapPtr(i as u16)),
            Imm64::MapIdxValue { idx, off } => {
                if self.maps[idx as usize].kind() == skep_platform::MapType::Arena {
                    Reg::UNKNOWN
                } else {
                    let mut r = Reg::pointer(Base::MapValue(idx as u16));
                    r.off = off as i32;
                    r
                }
            }
        };
        self.set(dst, r);
        Ok(())
    }

    fn func_address(&mut self, off: i32) -> Check<Reg> {
        let target = (self.cur.insn as i64 + 1 + off as i64) as usize;
        let Some(f) = self.code.func_at(target) else { refuse!(Internal, "no function at {target}") };
        if self.own.is_none() || self.code.funcs[f].btf_id == 0 {
            refuse!(Callback, "missing btf func_info");
        }
        if self.code.funcs[f].global {
            refuse!(Callback, "callback function not static");
        }
        if f == 0 {
            refuse!(Callback, "callback function cannot be the main program");
        }
        Ok(Reg::pointer(Base::Func(f as u32)))
    }

    fn load(&mut self, size: Size, sx: bool, dst: usize, src: usize, off: i16) -> Check {
        self.readable(src)?;
        self.writable(dst)?;
        let r = *self.reg(src);
        let how = How::Load { dst: Some(dst), signed: sx };
        self.access(src, off as i64, size.bytes() as u32, how, false)?;
        self.fact_access(&r, off);
        self.one_kind(&r, true)
    }

    fn store(&mut self, size: Size, dst: usize, off: i16, src: Operand) -> Check {
        let what = match src {
            Operand::Reg(s) => {
                self.readable(s.index())?;
                Store::Reg(s.index())
            }
            Operand::Imm(i) => Store::Imm(i),
        };
        self.readable(dst)?;
        let r = *self.reg(dst);
        self.access(dst, off as i64, size.bytes() as u32, How::Store(what), false)?;
        self.fact_access(&r, off);
        self.one_kind(&r, false)
    }

    /// An instruction whose context access is rewritten sees one kind of pointer on every path
    /// (`save_aux_ptr_type`).
    fn one_kind(&mut self, r: &Reg, _load: bool) -> Check {
        let kind = match r.base {
            Base::Ctx => 1,
            Base::Socket => 2,
            Base::SockCommon => 3,
            Base::TcpSock => 4,
            Base::XdpSock => 5,
            Base::Btf(_) if !r.flags.has(Flags::ALLOC) => 6,
            Base::Arena => 7,
            _ => 8,
        };
        let seen = &mut self.access_kind[self.cur.insn];
        if *seen == 0 {
            *seen = kind;
        }
        if *seen != kind {
            refuse!(BadPointer, "same insn cannot be used with different pointers");
        }
        Ok(())
    }

    fn atomic(&mut self, op: AtomicOp, width: Width, dst: usize, src: usize, off: i16) -> Check {
        self.readable(src)?;
        self.readable(dst)?;
        if op == AtomicOp::Cmpxchg {
            self.readable(0)?;
            if self.leaks(0) {
                refuse!(PointerLeak, "R0 leaks addr into mem");
            }
        }
        if self.leaks(src) {
            refuse!(PointerLeak, "R{src} leaks addr into mem");
        }
        self.atomic_target(dst, "stores into")?;
        let size = width.bytes() as u32;
        let back = match op {
            AtomicOp::Cmpxchg => Some(0),
            _ if op.fetches() => Some(src),
            _ => None,
        };
        if let Some(b) = back {
            self.writable(b)?;
            // What will come back takes the register's place first: it is no address any more if it was one.
            self.set(b, Reg::UNKNOWN);
        }
        let ptr = *self.reg(dst);
        self.access(dst, off as i64, size, How::Load { dst: None, signed: false }, true)?;
        if back.is_some() {
            // The old value comes back, as a spilled register where one was there.
            self.access(dst, off as i64, size, How::Load { dst: back, signed: false }, true)?;
        }
        self.fact_access(&ptr, off);
        self.one_kind(&ptr, false)?;
        self.access(dst, off as i64, size, How::Store(Store::Unknown), true)
    }

    fn atomic_target(&self, n: usize, what: &str) -> Check {
        let r = self.reg(n);
        let bad =
            matches!(r.base, Base::Ctx | Base::Packet | Base::PacketMeta | Base::FlowKeys) || r.is_socket();
        if bad {
            refuse!(BadPointer, "BPF_ATOMIC {what} R{n} {} is not allowed", r.type_name());
        }
        Ok(())
    }

    fn ordered(&self, _val: usize, n: usize, ptr: usize, what: &str) -> Check {
        self.readable(ptr)?;
        self.atomic_target(n, what)
    }

    /// `r0 = skb[…]`: may end the program.
    fn legacy_load(&mut self, index: Option<usize>) -> Check<Flow> {
        let pc = self.cur.insn;
        if !self.desc.legacy_loads {
            refuse!(PacketLoad, "BPF_LD_[ABS|IND] instructions not allowed for this program type");
        }
        if self.cur.frames.iter().skip(1).any(|f| f.callback) {
            refuse!(PacketLoad, "cannot use BPF_LD_[ABS|IND] within callback");
        }
        self.readable(6)?;
        self.no_resources("BPF_LD_[ABS|IND]", true)?;
        if self.reg(6).base != Base::Ctx {
            refuse!(PacketLoad, "at the time of BPF_LD_ABS|IND R6 != pointer to skb");
        }
        if let Some(i) = index {
            self.readable(i)?;
        }
        let r6 = *self.reg(6);
        self.unmoved(&r6, 6, false)?;
        self.clear_caller_saved();
        let mut r = Reg::UNKNOWN;
        r.val.truncate(32);
        r.val = crate::scalar::Scalar::UNKNOWN;
        self.set(0, r);
        if self.cur.depth() > 0 {
            self.push(pc + 1, pc)?;
            self.set(0, Reg::known(0));
            return self.leave();
        }
        Ok(Flow::To(pc + 1))
    }

    fn may_goto(&mut self, off: i16) -> Check<Flow> {
        self.jumps += 1;
        let pc = self.cur.insn;
        let before = self.visit_before(pc);
        self.push(pc + 1, pc)?;
        if let Some(p) = self.pending.last_mut() {
            p.state.may_goto_depth += 1;
            if let Some(id) = before {
                crate::equal::widen(&self.states[id as usize], &mut p.state);
            }
        }
        Ok(Flow::To((pc as i64 + 1 + off as i64) as usize))
    }

    /// `r0` to `r5` after a call.
    pub(crate) fn clear_caller_saved(&mut self) {
        self.cur.frame_mut().regs[..6].fill(Held::NOT_INIT);
    }

    fn call(&mut self, callee: Callee) -> Check<Flow> {
        if self.cur.lock.is_some() {
            let allowed = match callee {
                Callee::Helper(id) => {
                    self.helper(id).is_some_and(|h| h.lock == skep_platform::helper::LockEffect::Unlock)
                }
                Callee::Kfunc { id, .. } => self.kfunc_under_lock(id),
                _ => true,
            };
            if !allowed {
                refuse!(Lock, "function calls are not allowed while holding a lock");
            }
        }
        match callee {
            Callee::Helper(id) => self.helper_call(id),
            Callee::Local(off) => self.local_call((self.cur.insn as i64 + 1 + off as i64) as usize),
            Callee::Kfunc { id, off } => self.kfunc_call(id, off),
            Callee::Reg(_) => refuse!(Encoding, "unknown opcode 8d"),
        }
    }

    /// `exit`, or an exception.
    pub(crate) fn exit(&mut self, exception: bool) -> Check<Flow> {
        let outer = exception || self.cur.depth() == 0;
        let what = if exception { "bpf_throw" } else { "BPF_EXIT instruction in main prog" };
        if outer {
            self.no_resources(what, true)?;
        }
        if exception {
            return Ok(Flow::End);
        }
        if self.cur.depth() > 0 {
            return self.leave();
        }
        self.return_code(0)?;
        Ok(Flow::End)
    }

    /// Nothing is held that would be lost here (`check_resource_leak`).
    pub(crate) fn no_resources(&mut self, what: &str, locks: bool) -> Check {
        use crate::state::RefKind;
        if locks && self.cur.locks() > 0 {
            refuse!(Lock, "{what} cannot be used inside bpf_spin_lock-ed region");
        }
        let lost: Vec<String> = self
            .cur
            .refs
            .iter()
            .filter(|r| r.kind == RefKind::Ptr)
            .map(|r| format!("Unreleased reference id={} alloc_insn={}", r.id, r.insn))
            .collect();
        if !lost.is_empty() {
            let mut e = Reject::new(Rule::Reference, format!("{what} would lead to reference leak"));
            e.before = lost;
            return Err(e);
        }
        let inside = [
            (self.cur.irq > 0, "bpf_local_irq_save"),
            (self.cur.rcu > 0, "bpf_rcu_read_lock"),
            (self.cur.preempt > 0, "bpf_preempt_disable"),
        ];
        for (held, name) in inside {
            if locks && held {
                refuse!(Lock, "{what} cannot be used inside {name}-ed region");
            }
        }
        Ok(())
    }

    /// Another frame fits.
    pub(crate) fn room_for_frame(&self) -> Check {
        let depth = self.cur.frames.len() + 1;
        if depth > MAX_FRAMES {
            refuse!(CallDepth, "the call stack of {depth} frames is too deep");
        }
        Ok(())
    }
}
