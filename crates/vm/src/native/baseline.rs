//! Runs of compiled code: how it is entered, and what it calls in the engine.
//!
//! Compiled code knows a run by its [`Head`], with which [`Run`] begins. A call of the engine gets the head's address and
//! makes the run of it again.

use super::interp::load;
use super::{MAY_GOTO, Native, Run, rule};
use crate::checked::packet::place;
use skep_isa::{Op, Reg, Size};
use skep_jit::head::{ANY_SIGNED, ANY_STORE, GO_ON, MAX_TAIL_CALLS, STOP};
use skep_jit::{Compiled, Head, Outcome};
use skep_platform::Errno;
use skep_platform::engine::RegisterNote;
use skep_platform::env::{Fault, Ret};
use skep_platform::packet::PacketCtx;
use skep_platform::program::Program;
use std::mem::offset_of;

const _: () = assert!(MAY_GOTO == 8 << 20, "the compiler's budget is the interpreter's");

/// A head whose calls come here, of a run that begins with these `r1` to `r5`.
#[inline(always)]
pub(super) fn head([ctx, ctx_len, ..]: [u64; 5]) -> Head {
    Head {
        exit: [0; 2],
        stopped: 0,
        site: 0,
        token: 0,
        ctx,
        ctx_len,
        mac_len: 0,
        cpu: CPU_UNKNOWN.into(),
        lock: 0,
        tails_left: MAX_TAIL_CALLS,
        tail_id: 0,
        tails: 0,
        helper,
        call_reg,
        packet,
        any,
        trap,
    }
}

/// A head for programs that never call the engine, but for packet loads ([`Native::leaf`]).
pub(super) fn leaf_head() -> Head {
    Head { packet: packet_of_leaf, ..head([0; 5]) }
}

/// [`Head::cpu`] of a run that has not asked.
pub(super) const CPU_UNKNOWN: u64 = u64::MAX;

const STOPPED: Outcome = Outcome { r0: 0, next: STOP };

/// Runs a program that never calls the engine ([`Native::leaf`]), with a head that outlives runs; its `r0`.
#[inline]
pub(super) fn run_leaf(machine: &Compiled, head: &mut Head, args: [u64; 5]) -> u64 {
    // SAFETY: the program was made from a `Verified`, and reads of the head what does not depend on the engine; the caller has its
    // context and maps.
    unsafe { machine.run(head, args) }
}

/// A fault of generated code in words.
#[cold]
pub(super) fn faulted(fault: &skep_jit::fault::Fault) -> Fault {
    let why = "the machine has no such memory, which the verifier should have found: please report this";
    Fault::Access { addr: fault.addr, len: 1, write: fault.write, region: None, why: why.into() }
}

/// The registers that the instruction uses.
#[cold]
pub(super) fn registers(fault: &skep_jit::fault::Fault, program: &Program, at: usize) -> Vec<RegisterNote> {
    let (Ok((op, _)), Some(regs)) = (Op::decode(&program.insns, at), fault.regs) else { return Vec::new() };
    let used = (0..11).filter(|r| Reg::new(*r).is_some_and(|r| op.uses().contains(r)));
    let note = |r: u8| {
        let value = regs[usize::from(r)];
        RegisterNote { reg: r, value, text: format!("{value:#x}"), region: None }
    };
    used.map(note).collect()
}

impl<'r> Run<'r, '_> {
    /// Runs the program that the run begins with; its `r0`, which means nothing when the run has stopped.
    #[inline(always)]
    pub(super) fn exec_first(&mut self, code: &'r Native, compiled: &Compiled) -> u64 {
        self.head.token = code.token();
        let args = self.args();
        // SAFETY: the program was made from a `Verified`. The run begins with its head (`repr(C)`); its context and maps live
        // as long as the run.
        unsafe { compiled.run(std::ptr::from_mut(self).cast::<Head>(), args) }
    }

    /// Runs the function at slot `start` of compiled code; its `r0`.
    pub(super) fn exec_compiled(
        &mut self,
        code: &'r Native,
        start: usize,
        args: [u64; 5],
    ) -> Result<u64, Fault> {
        let found = code.machine().and_then(|m| Some((m, if start == 0 { 0 } else { m.entry(start)? })));
        let Some((machine, entry)) = found else {
            return Err(rule("not-compiled", format!("there is no code for the function at {start}")));
        };
        let outer = (self.code, self.head.token, self.head.exit);
        (self.code, self.head.token) = (code, code.token());
        let head = std::ptr::from_mut(self).cast::<Head>();
        // SAFETY: the entry is this program's, which was made from a `Verified`. The run begins with its head (`repr(C)`);
        // its context and maps live as long as the run.
        let r0 = unsafe {
            match start {
                0 => machine.run(head, args),
                _ => machine.call(head, entry, args),
            }
        };
        (self.code, self.head.token, self.head.exit) = outer;
        if self.head.stopped == 0 { Ok(r0) } else { Err(self.why_stopped()) }
    }

    /// The fault by which compiled code was stopped.
    #[cold]
    pub(super) fn why_stopped(&mut self) -> Fault {
        self.head.stopped = 0;
        if let Some(fault) = skep_jit::fault::take() {
            self.faulted(&fault);
            return faulted(&fault);
        }
        let unknown = || rule("not-compiled", "the program stopped for no reason".into());
        self.end().stopped.take().unwrap_or_else(unknown)
    }

    /// Notes where generated code has faulted.
    #[cold]
    fn faulted(&mut self, fault: &skep_jit::fault::Fault) {
        let code = self.program(|c| c.slot_at(fault.pc).is_some()).unwrap_or(self.code);
        self.code = code;
        self.at = code.slot_at(fault.pc).unwrap_or(0);
        self.end().registers = registers(fault, code.program(), self.at);
    }

    /// The program that the calling code belongs to.
    fn current(&mut self) -> &'r Native {
        if self.code.token() != self.head.token {
            let token = self.head.token;
            self.code = self.program(|c| c.token() == token).unwrap_or(self.code);
        }
        self.code
    }

    fn outcome(&mut self, ended: Result<Ret, Fault>) -> Outcome {
        let r0 = match ended {
            Ok(Ret::Scalar(v)) => v,
            Ok(Ret::Null) => 0,
            Ok(Ret::Map(handle)) => handle,
            Ok(Ret::Region(region)) => region.addr,
            Ok(Ret::TailCall(program)) => match self.next_program(program) {
                Ok(Some(next)) => return self.tail(next),
                Ok(None) => Errno::ENOENT.to_r0(),
                Err(fault) => return self.stop(fault),
            },
            Err(fault) => return self.stop(fault),
        };
        Outcome { r0, next: GO_ON }
    }

    fn tail(&mut self, next: &'r Native) -> Outcome {
        match next.machine().and_then(|m| m.entry(0)) {
            Some(entry) => {
                (self.code, self.head.token) = (next, next.token());
                Outcome { r0: 0, next: entry }
            }
            None => self.stop(rule("not-compiled", "the program called has no code".into())),
        }
    }

    #[cold]
    fn stop(&mut self, fault: Fault) -> Outcome {
        (self.end().stopped, self.head.stopped) = (Some(fault), 1);
        STOPPED
    }

    fn call_reg(&mut self, value: u64, args: [u64; 5]) -> Outcome {
        let code = self.current();
        if let Some(pc) = code.function(value) {
            let ended = self.exec_compiled(code, pc, args).map(Ret::Scalar);
            return self.outcome(ended);
        }
        let Some(body) = code.body(value) else {
            return self.stop(rule("unknown-helper", format!("there is no helper #{value}")));
        };
        let ended = self.helper(crate::lower::Site { body, pc: self.at }, args);
        self.outcome(ended)
    }
}

/// The run that a head begins.
///
/// # Safety
/// `head` is what [`Run::exec_compiled`] gave to the code that calls, and the run is used by nobody else until the call
/// returns: `exec_compiled` itself waits for the code.
unsafe fn run<'a>(head: *mut Head) -> &'a mut Run<'a, 'a> {
    // SAFETY: the caller's promise; `Run` is `repr(C)` and begins with its head.
    unsafe { &mut *head.cast::<Run<'a, 'a>>() }
}

unsafe extern "C" fn helper(a1: u64, a2: u64, a3: u64, a4: u64, a5: u64, head: *mut Head) -> Outcome {
    // SAFETY: compiled code passes the head that it was entered with.
    let run = unsafe { run(head) };
    let Some(site) = run.current().lowered.sites.get(run.head.site as usize).copied() else {
        return run.stop(rule("not-compiled", "a call of no helper".into()));
    };
    let ended = run.helper(site, [a1, a2, a3, a4, a5]);
    run.outcome(ended)
}

unsafe extern "C" fn call_reg(a1: u64, a2: u64, a3: u64, a4: u64, a5: u64, head: *mut Head) -> Outcome {
    // SAFETY: compiled code passes the head that it was entered with.
    let run = unsafe { run(head) };
    run.call_reg(run.head.site, [a1, a2, a3, a4, a5])
}

unsafe extern "C" fn packet(head: *mut Head, at: i32, bytes: u32) -> Outcome {
    // SAFETY: compiled code passes the head that it was entered with.
    let run = unsafe { run(head) };
    match run.packet_load(size(bytes), at, 0) {
        Some(r0) => Outcome { r0, next: GO_ON },
        None => STOPPED,
    }
}

/// As [`packet`], of a program that calls nothing else of the engine: the head is all that there is of its run.
unsafe extern "C" fn packet_of_leaf(head: *mut Head, at: i32, bytes: u32) -> Outcome {
    // SAFETY: compiled code passes the head that it was entered with, which nobody writes meanwhile.
    let head = unsafe { &*head };
    let [data, end] = [offset_of!(PacketCtx, data), offset_of!(PacketCtx, data_end)]
        .map(|field| load(head.ctx + field as u64, Size::Dw));
    match place(at, head.mac_len as usize, (end - data) as usize, size(bytes)) {
        Some(at) => {
            let byte = |i: u64| load(data + at as u64 + i, Size::B);
            let r0 = (0..u64::from(bytes)).fold(0, |v, i| v << 8 | byte(i));
            Outcome { r0, next: GO_ON }
        }
        None => STOPPED,
    }
}

unsafe extern "C" fn any(head: *mut Head, addr: u64, flags: u32, value: u64) -> Outcome {
    // SAFETY: compiled code passes the head that it was entered with.
    let run = unsafe { run(head) };
    let (code, size) = (run.current(), size(flags & 0xff));
    let ended = match flags & ANY_STORE {
        0 => run.any_load(code, addr, size, flags & ANY_SIGNED != 0),
        _ => run.any_store(code, addr, size, value).map(|()| 0),
    };
    match ended {
        Ok(r0) => Outcome { r0, next: GO_ON },
        Err(fault) => run.stop(fault),
    }
}

unsafe extern "C" fn trap(head: *mut Head, reason: u32) {
    // SAFETY: compiled code passes the head that it was entered with.
    let run = unsafe { run(head) };
    let code = run.current();
    let fault = run.trap(code, reason);
    let _ = run.stop(fault);
}

fn size(bytes: u32) -> Size {
    match bytes {
        1 => Size::B,
        2 => Size::H,
        4 => Size::W,
        _ => Size::Dw,
    }
}
