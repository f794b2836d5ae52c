//! Helper calls: who may call, the body, and what is true afterwards. Arguments are judged in [`super::args`].
//!
//! Nothing here knows a helper by name; the row says everything. After a call `r1` to `r5` hold no value.

use super::code::{Code, Resolved, map_slot};
use super::run::{Active, Flow, Reference, Run, rule};
use crate::mem::Order;
use crate::region::{Door, FRAME0, Slot, Val};
use crate::user::UserProgram;
use skep_isa::{Reg, Size};
use skep_platform::env::{Env, Fault, Region, RegionKind, Ret};
use skep_platform::helper::{Acquires, ArgKind, Body, Callback, Helper, LockEffect, Proto, RetType};
use skep_platform::map::flags;
use std::any::Any;
use std::sync::Arc;

/// Tail calls in a row (`MAX_TAIL_CALL_CNT`).
const MAX_TAIL_CALLS: u32 = 33;

impl<'r> Run<'r, '_> {
    /// A helper whose number was not known before (`callx`).
    pub(super) fn helper_by_number(&mut self, id: i32) -> Result<Flow, Fault> {
        match self.code.resolve(id) {
            Some(r) => self.helper(r),
            None => Err(rule("unknown-helper", format!("there is no helper #{id}"))),
        }
    }

    pub(super) fn helper(&mut self, r: Resolved) -> Result<Flow, Fault> {
        let helper = r.helper;
        let body = match helper.body {
            Body::Fn(f) => f,
            Body::Absent(why) => return Err(Fault::NoHelper { id: helper.id, why }),
        };
        let proto = self.may_call(helper, r.proto)?;
        let mut args = [Val::UNINIT; 5];
        args.copy_from_slice(&self.regs[1..6]);
        self.check_args(helper, proto, &args)?;
        self.before(helper, &args)?;
        let outer = std::mem::replace(&mut self.active, Active { args, helper: Some(helper) });
        let ret = body(self, args.map(|v| v.bits));
        self.active = outer;
        if let Some(fault) = self.dead.take() {
            return Err(fault);
        }
        let ret = ret?;
        if helper.invalidates_packet || self.packet_moved() {
            self.open_packet();
        }
        self.after(helper, proto, &args);
        self.take(helper, proto, ret)
    }

    fn may_call(
        &self,
        helper: &'static Helper,
        proto: Option<&'static Proto>,
    ) -> Result<&'static Proto, Fault> {
        let Some(proto) = proto else {
            let t = self.code.program.prog_type.label();
            return Err(rule(
                "helper-not-allowed",
                format!("a program of type {t} may not call {}", helper.name),
            ));
        };
        if proto.gpl_only && !self.code.gpl {
            let why = format!(
                "{} is for programs under a GPL-compatible licence; this one says {:?}",
                helper.name, self.code.program.license
            );
            return Err(rule("gpl-only", why));
        }
        if self.lock.is_some() && helper.lock != LockEffect::Unlock {
            let why = format!("{} is called while a spin lock is held", helper.name);
            return Err(rule("call-with-lock", why));
        }
        if helper.tail_call {
            self.check_end()?;
            if self.frames.iter().any(|f| f.callback) {
                return Err(rule("tail-call-in-callback", "tail call from a callback".into()));
            }
        }
        Ok(proto)
    }

    /// Locks and references, before the body runs.
    fn before(&mut self, helper: &'static Helper, args: &[Val; 5]) -> Result<(), Fault> {
        let lock = args[0].bits;
        match helper.lock {
            LockEffect::None => {}
            LockEffect::Lock => self.lock = Some(lock),
            LockEffect::Unlock if self.lock == Some(lock) => self.lock = None,
            LockEffect::Unlock => {
                return Err(rule("unlock", format!("the spin lock at {lock:#x} is released and not held")));
            }
        }
        Ok(())
    }

    /// What the arguments have become.
    fn after(&mut self, helper: &'static Helper, proto: &'static Proto, args: &[Val; 5]) {
        for (i, arg) in proto.args.iter().enumerate().take(5) {
            let v = args[i];
            match arg.kind {
                ArgKind::Dynptr(kind) if arg.uninit => self.made_dynptr(helper, kind, v),
                ArgKind::Dynptr(_) if arg.release => self.released_dynptr(v),
                ArgKind::Mem if arg.uninit => self.filled(v, args.get(i + 1).map_or(0, |s| s.bits)),
                ArgKind::FixedMem(n) if arg.uninit => self.filled(v, n.into()),
                _ if arg.release => self.released(v),
                _ => {}
            }
        }
    }

    /// `r0` and where to go on.
    fn take(&mut self, helper: &'static Helper, proto: &'static Proto, ret: Ret) -> Result<Flow, Fault> {
        let r0 = match ret {
            Ret::Scalar(_) if proto.ret == RetType::Void => Val::UNINIT,
            Ret::Scalar(v) => Val::scalar(v),
            Ret::Null => Val::scalar(0),
            Ret::Map(handle) => Val { bits: handle, prov: self.m.table.open(map_slot(handle)) },
            Ret::Region(region) => {
                let slot = self.region_slot(region);
                let prov = self.m.table.open(slot);
                if self.acquires(helper) {
                    let made = Reference::Pointer { addr: region.addr, helper: helper.name, pc: self.pc };
                    self.references.push(made);
                }
                Val { bits: region.addr, prov }
            }
            Ret::TailCall(program) => match self.next_program(program)? {
                Some(code) => {
                    self.tail_call(code);
                    return Ok(Flow::Stay);
                }
                None => Val::scalar(skep_platform::Errno::ENOENT.to_r0()),
            },
        };
        self.regs[1..6].fill(Val::UNINIT);
        self.regs[0] = r0;
        self.m.history.note(Reg::R0.index(), self.pc, self.left, r0);
        Ok(Flow::Next)
    }

    /// Memory that a helper hands out, with the rights that a map's flags give to programs.
    pub(super) fn region_slot(&mut self, region: Region) -> Slot {
        let handle = match region.kind {
            RegionKind::MapValue { map } => map,
            _ => return Slot::memory(region, true),
        };
        let bits = self.map(handle).map_or(0, |m| m.def().flags);
        let writable = region.writable && bits & flags::RDONLY_PROG == 0;
        Slot::memory(Region { writable, ..region }, bits & flags::WRONLY_PROG == 0)
    }

    fn acquires(&mut self, helper: &'static Helper) -> bool {
        match helper.acquires {
            Acquires::No => false,
            Acquires::Yes => true,
            Acquires::ForMapTypes(types) => {
                let map = self.regs[1].bits;
                self.map(map).is_ok_and(|m| types.contains(&m.def().map_type))
            }
        }
    }

    /// The program to continue in, or `None` when this would be one tail call too many.
    fn next_program(&mut self, program: Arc<dyn Any + Send + Sync>) -> Result<Option<&'r Code>, Fault> {
        if self.tail_calls >= MAX_TAIL_CALLS {
            return Ok(None);
        }
        let program = program.downcast::<UserProgram>().map_err(|_| {
            rule("tail-call-engine", "the program array holds a program that another engine loaded".into())
        })?;
        let next = program.checked().ok_or_else(|| {
            rule(
                "tail-call-tier",
                "the program array holds a program that was loaded for another tier".into(),
            )
        })?;
        self.tail_calls += 1;
        let codes = self.codes;
        let known = codes.find(|c| Arc::ptr_eq(c, next));
        Ok(Some(known.unwrap_or_else(|| codes.push(next.clone()))))
    }

    /// A dynptr was made at `v`. Ring buffer dynptrs have to be given back, even when reserving failed.
    fn made_dynptr(&mut self, helper: &'static Helper, kind: skep_platform::helper::DynptrKind, v: Val) {
        let Some((frame, at)) = self.stack_at(v) else { return };
        self.m.stack.set_dynptr(frame, at);
        if kind == skep_platform::helper::DynptrKind::Ringbuf {
            self.references.push(Reference::Dynptr { addr: v.bits, helper: helper.name, pc: self.pc });
        }
    }

    fn released_dynptr(&mut self, v: Val) {
        if let Some((frame, at)) = self.stack_at(v) {
            self.m.stack.clear_dynptr(frame, at);
        }
        self.references.retain(|r| !matches!(r, Reference::Dynptr { addr, .. } if *addr == v.bits));
    }

    /// The reference was given back; pointers into what it stood for are stale.
    fn released(&mut self, v: Val) {
        self.references.retain(|r| !matches!(r, Reference::Pointer { addr, .. } if *addr == v.bits));
        let span = self.m.table.get(v.prov).map(|s| (s.span.addr(), s.len));
        if let Some((addr, len)) = span {
            self.m.table.forget(addr, len.max(1));
        }
    }

    /// The helper has written memory that was not set before.
    fn filled(&mut self, v: Val, len: u64) {
        let Some((frame, at)) = self.stack_at(v) else { return };
        self.m.stack.wrote(frame, at, len);
    }

    /// Frame and offset that a pointer into a stack means.
    pub(super) fn stack_at(&self, v: Val) -> Option<(usize, u64)> {
        let slot = self.m.table.get(v.prov)?;
        let frame = (slot.door == Door::Stack).then(|| (v.prov.slot - FRAME0) as usize)?;
        Some((frame, v.bits.wrapping_sub(slot.span.addr())))
    }

    /// Gives back what a stopped program still holds, so that others are not blocked: lock words become 0, reserved
    /// ring buffer records are discarded.
    pub(crate) fn clean_up(&mut self) {
        let lock = self.lock.take();
        if let Some((addr, (_, slot))) = lock.and_then(|a| Some((a, self.m.table.find(a, 4, &[])?))) {
            let at = addr.wrapping_sub(slot.span.addr());
            // The word is in a live region and aligned (it was taken): a refusal cannot be, and has no remedy here.
            let _ = slot.span.store(at, Size::W, 0, Order::AcquireRelease);
        }
        self.references.clear();
        let records: Vec<Region> = self.m.table.opened().filter_map(Slot::region).collect();
        for Region { kind, addr, .. } in records {
            let RegionKind::RingbufRecord { map } = kind else { continue };
            if let Some(ring) = self.map(map).ok().and_then(|m| m.ringbuf()) {
                // Refused when it is no record any more: then nothing is left to give back.
                let _ = ring.discard(addr, 0);
            }
        }
    }

    /// Provenance of the numbers that a helper passes to a callback.
    pub(super) fn callback_args(&mut self, raw: [u64; 5]) -> [Val; 5] {
        let active = self.active;
        let known = |bits: u64| active.args.iter().find(|v| v.is_pointer() && v.bits == bits).copied();
        let mut args = raw.map(|bits| known(bits).unwrap_or(Val::scalar(bits)));
        let params = match active.helper.map(|h| h.callback) {
            Some(Callback::Sync { params, .. } | Callback::Async { params, .. }) => params,
            _ => return args,
        };
        use skep_platform::helper::CallbackParams as P;
        match params {
            P::Index => args[0] = Val::scalar(raw[0]),
            P::MapElem | P::Timer => (args[1], args[2]) = self.element(raw),
            P::Dynptr => {
                let lent = self.m.table.find(raw[0], 16, &[]).map(|(i, _)| self.m.table.prov(i));
                args[0] = lent.map_or(args[0], |prov| Val { bits: raw[0], prov });
            }
            P::TaskVma => {}
        }
        args
    }

    /// Key and value of a map's element, as a callback gets them.
    fn element(&mut self, raw: [u64; 5]) -> (Val, Val) {
        let Ok(map) = self.map(raw[0]) else { return (Val::scalar(raw[1]), Val::scalar(raw[2])) };
        let (key_size, value_size) = (map.def().key_size, map.def().value_size);
        let key = self.m.table.find(raw[1], key_size.into(), &[]).map(|(i, _)| i);
        let key = key.map_or(Val::scalar(raw[1]), |i| Val { bits: raw[1], prov: self.m.table.prov(i) });
        let kind = RegionKind::MapValue { map: raw[0] };
        let region = Region { kind, addr: raw[2], len: value_size.into(), writable: true };
        let slot = self.region_slot(region);
        (key, Val { bits: raw[2], prov: self.m.table.open(slot) })
    }
}
