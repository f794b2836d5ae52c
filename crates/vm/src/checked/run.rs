//! A run: registers, frames, the loop. [`Machine`] is the memory that runs reuse; [`Run`] is one run of one program.
//!
//! [`Run::start`] sets up the outermost frame; [`Run::until`] steps until a given frame has exited; helpers come back
//! through [`skep_platform::env::Env`] and may enter `until` again for a callback. A fault leaves registers and frames
//! as they were, for the report; nobody steps on after one.
//!
//! Always holds: `frames` has one entry for each caller, so the current frame is number `frames.len()`; registers of
//! callers that a callee may not change are kept in it.

use super::code::{Code, Step};
use super::history::{History, Saved};
use super::keep::Chain;
use super::shadow::Stack;
use crate::mem::Order;
use crate::region::{
    ALL_FRAMES, CTX, FRAME_BYTES, FRAME0, FRAMES, Kind, PACKET, PACKET_END, PACKET_META, Prov, Slot, Table,
    Val,
};
use skep_isa::{Op, Reg, Size};
use skep_platform::ctx::PacketAccess;
use skep_platform::env::{Context, CtxData, Fault, Host, Region, RegionKind};
use skep_platform::helper::Helper;
use skep_platform::map::Map;
use skep_platform::uapi::ProgType;
use std::sync::Arc;

/// Limits and rules of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Most instructions a run may execute, subprograms, callbacks and tail calls included.
    pub budget: u64,
    /// Reading bytes of the stack that were never written is allowed, as Linux 6.3 and later allow it to programs
    /// loaded by root; they then hold what earlier calls left there.
    pub unset_stack: bool,
    /// Registers hold 0 at the beginning of a frame instead of no value: for programs that no verifier has to accept,
    /// as those of the kernel's lib/test_bpf.c.
    pub unset_registers: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { budget: 100_000_000, unset_stack: false, unset_registers: false }
    }
}

/// Iterations that `may_goto` allows a frame (`BPF_MAX_LOOPS`).
const MAY_GOTO: u32 = 8 << 20;

/// Memory that runs reuse: stack, region table, history. One per thread.
#[derive(Debug)]
pub struct Machine {
    pub(crate) stack: Stack,
    pub(crate) table: Table,
    pub(crate) history: History,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine { stack: Stack::default(), table: Table::new(), history: History::default() }
    }
}

/// A caller, waiting.
#[derive(Debug)]
pub(crate) struct Frame<'r> {
    pub(crate) code: &'r Code,
    /// The call instruction.
    pub(crate) call: usize,
    pub(crate) saved: [Val; 5],
    pub(crate) history: Saved,
    pub(crate) own: u32,
    pub(crate) may_goto: u32,
    pub(crate) depth: usize,
    /// The callee is a callback, called by a helper.
    pub(crate) callback: bool,
}

/// A reference that the program has to give back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reference {
    /// Memory or object behind a pointer.
    Pointer { addr: u64, helper: &'static str, pc: usize },
    /// A dynptr on the stack at this address.
    Dynptr { addr: u64, helper: &'static str, pc: usize },
}

/// The helper call in progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Active {
    pub(crate) args: [Val; 5],
    pub(crate) helper: Option<&'static Helper>,
}

/// A register as an observer sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its value; pointers are native addresses.
    pub bits: u64,
    /// `None` for a number; else the region that it points into, if that is memory, and the offset from its start.
    pub pointer: Option<(Option<Region>, i64)>,
}

/// A run just before an instruction.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Program that runs: after a tail call, not the first.
    pub code: &'a Code,
    /// Instruction that comes next.
    pub pc: usize,
    /// Frames of callers.
    pub depth: usize,
    /// `r0` … `r10`; `None` where there is no value.
    pub regs: [Option<Seen>; 11],
    /// The current frame, from its lowest address: `r10 - 512` is the first word. Bytes never written hold anything.
    pub stack: [u64; FRAME_BYTES / 8],
}

/// Is told of every instruction before it runs.
pub type Observer<'o> = dyn FnMut(&Moment<'_>) + 'o;

/// One run.
pub(crate) struct Run<'r, 'm> {
    pub(crate) m: &'m mut Machine,
    pub(crate) ctx: &'m mut Context,
    pub(crate) host: &'r dyn Host,
    pub(crate) maps: &'r Chain<Arc<dyn Map>>,
    pub(crate) codes: &'r Chain<Arc<Code>>,
    pub(crate) options: Options,
    pub(crate) code: &'r Code,
    pub(crate) pc: usize,
    pub(crate) regs: [Val; 11],
    pub(crate) frames: Vec<Frame<'r>>,
    /// First of the current program's own slots.
    pub(crate) own: u32,
    pub(crate) may_goto: u32,
    /// Frames of the current program below the current one: a tail call begins at 0 again.
    pub(crate) depth: usize,
    pub(crate) left: u64,
    pub(crate) tail_calls: u32,
    pub(crate) cpu: u32,
    pub(crate) active: Active,
    pub(crate) references: Vec<Reference>,
    /// Address of the spin lock held.
    pub(crate) lock: Option<u64>,
    /// The fault that ended the run inside of a callback.
    pub(crate) dead: Option<Fault>,
    pub(crate) observer: Option<&'m mut Observer<'m>>,
}

/// Where control goes after an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flow {
    Next,
    To(i64),
    /// Into a subprogram.
    Call(usize),
    /// The program counter was set already (tail call).
    Stay,
    Exit,
}

impl<'r> Run<'r, '_> {
    /// Runs the program from its beginning; `r0`.
    pub(crate) fn start(&mut self) -> Result<u64, Fault> {
        self.m.table.reset();
        self.open_context();
        self.own = self.m.table.append(&self.code.own);
        self.enter(0);
        (self.regs[1], self.regs[2]) = self.entry_args();
        let r0 = self.until(0)?;
        self.check_end()?;
        Ok(r0.bits)
    }

    /// Steps until the frame at `depth` has exited; its `r0`.
    pub(crate) fn until(&mut self, depth: usize) -> Result<Val, Fault> {
        loop {
            let Some(&step) = self.code.steps.get(self.pc) else { return Err(self.outside(self.pc as i64)) };
            self.left = match self.left.checked_sub(1) {
                Some(left) => left,
                None => return Err(self.out_of_budget()),
            };
            if self.observer.is_some() {
                self.observe();
            }
            match self.step(step)? {
                Flow::Next => self.pc += 1,
                Flow::To(target) => match usize::try_from(target) {
                    Ok(pc) if pc < self.code.steps.len() => self.pc = pc,
                    _ => return Err(self.outside(target)),
                },
                Flow::Call(target) => self.enter_call(target, false)?,
                Flow::Stay => {}
                Flow::Exit => {
                    if self.frames.len() == depth {
                        return self.read(Reg::R0);
                    }
                    self.leave();
                    self.pc += 1;
                }
            }
        }
    }

    fn step(&mut self, step: Step) -> Result<Flow, Fault> {
        match step {
            Step::Op(op) => self.op(op),
            Step::Wide { dst, bits, own } => {
                let prov = own.map_or(Prov::SCALAR, |i| self.m.table.prov(self.own + i));
                self.write(dst, Val { bits, prov })?;
                self.pc += 1;
                Ok(Flow::Next)
            }
            Step::Helper(i) => {
                let resolved = self.code.helpers[i as usize];
                self.helper(resolved)
            }
            Step::Refused(i) => {
                let (code, why) = self.code.refused[i as usize].clone();
                Err(Fault::Rule { code, why })
            }
            Step::Second => {
                Err(rule("jump-into-ldimm64", "jump into the second half of a 64-bit load".into()))
            }
        }
    }

    #[cold]
    fn observe(&mut self) {
        let Some(observer) = self.observer.take() else { return };
        let regs = self.regs.map(|v| self.seen(v));
        let mut stack = [0; FRAME_BYTES / 8];
        if let Some(slot) = self.m.table.past(self.regs[10].prov) {
            for (at, word) in (0u64..).step_by(8).zip(&mut stack) {
                *word = slot.span.load(at, Size::Dw, Order::Plain).unwrap_or(0);
            }
        }
        observer(&Moment { code: self.code, pc: self.pc, depth: self.frames.len(), regs, stack });
        self.observer = Some(observer);
    }

    fn seen(&self, v: Val) -> Option<Seen> {
        if v.is_uninit() {
            return None;
        }
        let pointer = v.is_pointer().then(|| match self.m.table.past(v.prov) {
            Some(s) => (s.region(), v.bits.wrapping_sub(s.span.addr()) as i64),
            None => (None, 0),
        });
        Some(Seen { bits: v.bits, pointer })
    }

    /// A register's value; a fault when it has none.
    pub(crate) fn read(&self, r: Reg) -> Result<Val, Fault> {
        let v = self.regs[r.index()];
        if v.is_uninit() { Err(unset(r)) } else { Ok(v) }
    }

    /// Sets a register.
    pub(crate) fn write(&mut self, r: Reg, v: Val) -> Result<(), Fault> {
        if r == Reg::R10 {
            return Err(rule("frame-pointer", "r10 is the frame pointer and cannot be written".into()));
        }
        self.regs[r.index()] = v;
        self.m.history.note(r.index(), self.pc, self.left, v);
        Ok(())
    }

    /// Enters the subprogram at `target`: the return address is the current instruction.
    pub(crate) fn enter_call(&mut self, target: usize, callback: bool) -> Result<(), Fault> {
        if self.depth + 1 >= FRAMES || self.frames.len() + 1 >= ALL_FRAMES {
            return Err(rule("call-depth", format!("more than {FRAMES} frames of calls")));
        }
        let mut saved = [Val::UNINIT; 5];
        saved.copy_from_slice(&self.regs[6..]);
        self.frames.push(Frame {
            code: self.code,
            call: self.pc,
            saved,
            history: self.m.history.save(),
            own: self.own,
            may_goto: self.may_goto,
            depth: self.depth,
            callback,
        });
        self.depth += 1;
        let args = self.regs;
        self.enter(target);
        self.regs[1..6].copy_from_slice(&args[1..6]);
        Ok(())
    }

    /// Makes the current frame a fresh one that begins at `pc`.
    fn enter(&mut self, pc: usize) {
        let n = self.frames.len();
        let span = self.m.stack.open(n);
        let region = Region {
            kind: RegionKind::Stack { frame: n.min(255) as u8 },
            addr: span.addr(),
            len: span.len(),
            writable: true,
        };
        let slot = Slot { door: crate::region::Door::Stack, ..Slot::memory(region, true) };
        let prov = self.m.table.set(FRAME0 + n as u32, slot);
        let start = if self.options.unset_registers { Val::scalar(0) } else { Val::UNINIT };
        self.regs = [start; 11];
        self.regs[10] = Val { bits: span.addr() + FRAME_BYTES as u64, prov };
        self.may_goto = MAY_GOTO;
        self.pc = pc;
    }

    /// Goes back to the caller: `r1` to `r5` are lost, `r6` to `r10` are as they were, the frame's stack is gone.
    pub(crate) fn leave(&mut self) {
        self.m.table.shut(FRAME0 + self.frames.len() as u32);
        let Some(f) = self.frames.pop() else { return };
        self.regs[1..6].fill(Val::UNINIT);
        self.regs[6..].copy_from_slice(&f.saved);
        self.m.history.restore(&f.history);
        (self.code, self.pc, self.own) = (f.code, f.call, f.own);
        (self.may_goto, self.depth) = (f.may_goto, f.depth);
    }

    /// Replaces the current frame by the beginning of another program.
    pub(crate) fn tail_call(&mut self, code: &'r Code) {
        self.code = code;
        self.own = self.m.table.append(&code.own);
        self.m.history.clear();
        self.depth = 0;
        self.enter(0);
        (self.regs[1], self.regs[2]) = self.entry_args();
    }

    /// `may_goto`: stays in the loop until the frame's share, or half of the budget, is used up.
    pub(crate) fn may_goto(&mut self, off: i16) -> Flow {
        if self.may_goto == 0 || self.left < self.options.budget / 2 {
            return Flow::To(self.pc as i64 + 1 + i64::from(off));
        }
        self.may_goto -= 1;
        Flow::Next
    }

    /// Slots of the context and of what it leads to.
    fn open_context(&mut self) {
        let layout = self.ctx.layout;
        let raw = self.code.program.prog_type == ProgType::Unspec;
        let table = &mut self.m.table;
        let (addr, bytes) = match &mut self.ctx.data {
            CtxData::Packet(p) => {
                let addr = std::ptr::from_mut(&mut *p.ctx).expose_provenance() as u64;
                (addr, size_of::<skep_platform::PacketCtx>())
            }
            CtxData::Plain(p) => {
                for (words, len, writable) in &mut p.buffers {
                    let addr = words.as_mut_ptr().expose_provenance() as u64;
                    let len = (*len).min(words.len() * 8) as u64;
                    table.open(Slot::memory(
                        Region { kind: RegionKind::Memory, addr, len, writable: *writable },
                        true,
                    ));
                }
                (p.words.as_mut_ptr().expose_provenance() as u64, p.len.min(p.words.len() * 8))
            }
        };
        let kind = if raw { RegionKind::Memory } else { RegionKind::Ctx };
        let mut slot = Slot::memory(Region { kind, addr, len: bytes as u64, writable: true }, true);
        if !raw {
            (slot.door, slot.len) = (crate::region::Door::Ctx, u64::from(layout.size));
        }
        if bytes > 0 {
            table.set(CTX, slot);
        }
        self.open_packet();
    }

    /// Slots of the packet as it lies now; older packet pointers become stale.
    pub(crate) fn open_packet(&mut self) {
        let CtxData::Packet(p) = &self.ctx.data else { return };
        let (data, end, meta) = (p.ctx.data, p.ctx.data_end, p.ctx.data_meta);
        let access = self.code.platform.prog_type(self.code.program.prog_type).map(|d| d.packet_access);
        let writable = !matches!(access, Some(PacketAccess::Read));
        let region = |kind, addr, len| Slot::memory(Region { kind, addr, len, writable }, true);
        let table = &mut self.m.table;
        table.set(PACKET, region(RegionKind::Packet, data, end.saturating_sub(data)));
        table.set(PACKET_META, region(RegionKind::PacketMeta, meta, data.saturating_sub(meta)));
        table.set(PACKET_END, Slot::shut(end, Kind::PacketEnd));
    }

    /// Is the packet where its slots say? Helpers that move it have rows that say so; this is the net below them.
    pub(crate) fn packet_moved(&self) -> bool {
        let CtxData::Packet(p) = &self.ctx.data else { return false };
        let slot = self.m.table.past(self.m.table.prov(PACKET));
        slot.is_some_and(|s| {
            s.span.addr() != p.ctx.data || s.len != p.ctx.data_end.saturating_sub(p.ctx.data)
        })
    }

    /// `r1` and `r2` at the beginning: the context; for raw programs the memory and its length.
    fn entry_args(&self) -> (Val, Val) {
        let prov = self.m.table.prov(CTX);
        match self.m.table.get(prov) {
            None => (Val::scalar(0), self.entry_len(0)),
            Some(s) => (Val { bits: s.span.addr(), prov }, self.entry_len(s.len)),
        }
    }

    fn entry_len(&self, len: u64) -> Val {
        if self.code.program.prog_type == ProgType::Unspec { Val::scalar(len) } else { Val::UNINIT }
    }

    /// What must hold when the program has ended, and before another takes its place.
    pub(crate) fn check_end(&self) -> Result<(), Fault> {
        if let Some(addr) = self.lock {
            return Err(rule("lock-held", format!("the spin lock at {addr:#x} is still held")));
        }
        match self.references.first() {
            None => Ok(()),
            Some(Reference::Pointer { helper, pc, .. }) => Err(rule(
                "reference-leak",
                format!("what {helper} gave at instruction {pc} was neither released nor submitted"),
            )),
            Some(Reference::Dynptr { helper, pc, .. }) => Err(rule(
                "reference-leak",
                format!(
                    "the dynptr made by {helper} at instruction {pc} was neither submitted nor discarded"
                ),
            )),
        }
    }

    #[cold]
    fn outside(&self, target: i64) -> Fault {
        let n = self.code.steps.len();
        rule("jump-outside", format!("control leaves the program: instruction {target} of {n}"))
    }

    #[cold]
    fn out_of_budget(&self) -> Fault {
        let n = self.options.budget;
        rule(
            "budget",
            format!("more than {n} instructions in one run: a loop that does not end, or raise the budget"),
        )
    }

    /// The instruction at the program counter, where there is one.
    pub(crate) fn current(&self) -> Option<Op> {
        Op::decode(&self.code.program.insns, self.pc).ok().map(|(op, _)| op)
    }
}

/// A broken rule.
#[cold]
pub(crate) fn rule(code: &'static str, why: String) -> Fault {
    Fault::Rule { code, why }
}

#[cold]
fn unset(r: Reg) -> Fault {
    rule(
        "unset-register",
        format!("r{} is read and holds no value: never written, or lost in a call", r.index()),
    )
}
