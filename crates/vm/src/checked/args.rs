//! Helper arguments: each register against the kind that the helper's prototype asks for, before the body runs.

use super::access::Ask;
use super::report::headline;
use super::run::Run;
use crate::region::{CTX, FRAME_BYTES, Kind, Val};
use skep_platform::env::{Env, Fault, Region, RegionKind};
use skep_platform::helper::{Arg, ArgKind, Helper, LockEffect, Proto};

/// Longest memory argument (`BPF_MAX_VAR_SIZ`).
const MAX_SIZE: u64 = 1 << 29;

/// What is being checked: the prototype, all values, the argument's index, its row and its value.
#[derive(Clone, Copy)]
struct Case<'a> {
    proto: &'static Proto,
    args: &'a [Val; 5],
    i: usize,
    arg: Arg,
    v: Val,
}

impl Case<'_> {
    #[cold]
    fn bad(&self, why: impl Into<String>) -> Fault {
        Fault::BadArg { arg: self.i as u8 + 1, why: why.into() }
    }
}

impl Run<'_, '_> {
    pub(super) fn check_args(
        &mut self,
        helper: &'static Helper,
        proto: &'static Proto,
        args: &[Val; 5],
    ) -> Result<(), Fault> {
        for (i, arg) in proto.args.iter().enumerate().take(5) {
            let c = Case { proto, args, i, arg: *arg, v: args[i] };
            if c.v.is_uninit() {
                return Err(c.bad(format!("r{} holds no value: never written, or lost in a call", i + 1)));
            }
            if arg.nullable && c.v.is_scalar() && c.v.bits == 0 {
                continue;
            }
            self.check_arg(&c)?;
            if arg.release {
                self.whole(&c)?;
            }
        }
        if helper.lock == LockEffect::Lock && self.lock.is_some() {
            return Err(Fault::BadArg { arg: 1, why: "a spin lock is held already".into() });
        }
        Ok(())
    }

    /// What is released is named by its start.
    fn whole(&self, c: &Case<'_>) -> Result<(), Fault> {
        let moved = |s: &crate::region::Slot| s.door == crate::region::Door::Raw && s.span.addr() != c.v.bits;
        match self.m.table.get(c.v.prov) {
            Some(s) if moved(s) => {
                Err(c.bad(format!("{}: what is released is given by its start", self.describe(c.v))))
            }
            _ => Ok(()),
        }
    }

    fn check_arg(&mut self, c: &Case<'_>) -> Result<(), Fault> {
        match c.arg.kind {
            ArgKind::Anything => Ok(()),
            ArgKind::Scalar | ArgKind::AllocSizeOrZero => self.number(c).map(drop),
            ArgKind::Size => match self.number(c)? {
                0 => Err(c.bad("a length of 0 is not allowed here")),
                n => check_length(c, n),
            },
            ArgKind::SizeOrZero => self.number(c).and_then(|n| check_length(c, n)),
            ArgKind::Ctx => self.context(c),
            ArgKind::ConstMapPtr => self.map_of(c, c.v).map(drop),
            ArgKind::MapKey => self.map_size(c, |d| d.key_size).and_then(|n| self.memory(c, n)),
            ArgKind::MapValue => self.map_size(c, |d| d.value_size).and_then(|n| self.memory(c, n)),
            ArgKind::Mem => {
                let size = c.args.get(c.i + 1).copied().unwrap_or(Val::UNINIT);
                if !size.is_scalar() {
                    return Err(c.bad(format!("r{}, its length, is not a number", c.i + 2)));
                }
                check_length(c, size.bits)?;
                self.memory(c, size.bits)
            }
            ArgKind::FixedMem(n) => self.memory(c, n.into()),
            ArgKind::Func => self.function(c),
            ArgKind::ConstStr => self.string(c),
            ArgKind::Dynptr(_) => self.dynptr(c),
            ArgKind::Stack => {
                self.of_kind(c, "a pointer into the stack", |k| matches!(k, RegionKind::Stack { .. }))
            }
            ArgKind::RingbufMem => self.of_kind(c, "what bpf_ringbuf_reserve returned", |k| {
                matches!(k, RegionKind::RingbufRecord { .. })
            }),
            ArgKind::SockCommon | ArgKind::BtfIdSockCommon | ArgKind::Socket => {
                self.of_kind(c, "a socket", |k| matches!(k, RegionKind::Socket | RegionKind::Kernel))
            }
            ArgKind::BtfId(_) | ArgKind::PercpuBtfId => {
                self.of_kind(c, "a kernel object", |k| matches!(k, RegionKind::Socket | RegionKind::Kernel))
            }
            ArgKind::SpinLock => self.in_map_value(c, 4),
            ArgKind::Timer => self.in_map_value(c, 16),
            ArgKind::KptrXchgDest => self.in_map_value(c, 8),
        }
    }

    fn number(&self, c: &Case<'_>) -> Result<u64, Fault> {
        if c.v.is_scalar() {
            Ok(c.v.bits)
        } else {
            Err(c.bad(format!("{}, expected a number", self.describe(c.v))))
        }
    }

    fn context(&self, c: &Case<'_>) -> Result<(), Fault> {
        let at_start =
            self.m.table.get(c.v.prov).is_some_and(|s| c.v.prov.slot == CTX && s.span.addr() == c.v.bits);
        if at_start { Ok(()) } else { Err(c.bad(format!("{}, expected the context", self.describe(c.v)))) }
    }

    fn map_of(&self, c: &Case<'_>, v: Val) -> Result<u64, Fault> {
        match self.m.table.get(v.prov).map(|s| s.kind) {
            Some(Kind::Map(handle)) => Ok(handle),
            _ => Err(c.bad(format!("{}, expected a map", self.describe(v)))),
        }
    }

    /// Key or value size of the map argument before this one.
    fn map_size(&mut self, c: &Case<'_>, size: fn(&skep_platform::MapDef) -> u32) -> Result<u64, Fault> {
        let before = c.proto.args.iter().take(c.i).rposition(|a| a.kind == ArgKind::ConstMapPtr);
        let v = before.and_then(|i| c.args.get(i)).copied().unwrap_or(c.args[0]);
        let handle = self.map_of(c, v)?;
        Ok(size(self.map(handle)?.def()).into())
    }

    /// `len` bytes that may be read, or written, as the argument's row says.
    fn memory(&mut self, c: &Case<'_>, len: u64) -> Result<(), Fault> {
        let write = c.arg.write && !c.arg.rdonly;
        let ask = Ask { ptr: c.v, off: 0, len, write };
        if len == 0 && self.m.table.get(c.v.prov).is_some() {
            return Ok(());
        }
        let place =
            self.place(ask).map_err(|f| c.bad(format!("{}: {}", self.describe(c.v), headline(&f))))?;
        match self.m.table.get(c.v.prov).map_or(Kind::Nothing, |s| s.kind) {
            Kind::Region(RegionKind::Ctx) => return Err(c.bad("the context is not plain memory")),
            Kind::Region(RegionKind::Packet | RegionKind::PacketMeta) if !c.proto.pkt_access => {
                return Err(c.bad("this helper takes no pointer into the packet; copy to the stack first"));
            }
            _ => {}
        }
        if write {
            self.overwrite(&place, ask).map_err(|f| c.bad(headline(&f)))?;
        }
        match place.frame() {
            Some(frame) if !c.arg.uninit => {
                self.check_set(frame, place.at, ask).map_err(|f| c.bad(headline(&f)))
            }
            _ => Ok(()),
        }
    }

    fn function(&self, c: &Case<'_>) -> Result<(), Fault> {
        match self.m.table.get(c.v.prov).map(|s| s.kind) {
            Some(Kind::Func(_)) => Ok(()),
            _ => Err(c.bad(format!("{}, expected a function of this program", self.describe(c.v)))),
        }
    }

    fn string(&mut self, c: &Case<'_>) -> Result<(), Fault> {
        let mut ask = Ask { ptr: c.v, off: 0, len: 1, write: false };
        loop {
            let place = self
                .place(ask)
                .map_err(|f| c.bad(format!("expected a string that ends in NUL: {}", headline(&f))))?;
            let mut byte = [0];
            if place.span.read(place.at, &mut byte).is_err() || byte[0] == 0 {
                return Ok(());
            }
            ask.off += 1;
        }
    }

    fn dynptr(&mut self, c: &Case<'_>) -> Result<(), Fault> {
        let Some((frame, at)) = self.stack_at(c.v) else {
            let lent = self.m.table.get(c.v.prov).map(|s| s.kind);
            if lent == Some(Kind::Region(RegionKind::Dynptr)) && !c.arg.uninit {
                return Ok(());
            }
            return Err(c.bad(format!("{}, expected a dynptr on the stack", self.describe(c.v))));
        };
        if !at.is_multiple_of(8) || at > FRAME_BYTES as u64 - 16 {
            return Err(c.bad("a dynptr is 16 bytes of the stack, aligned to 8"));
        }
        if c.arg.uninit {
            let ask = Ask { ptr: c.v, off: 0, len: 16, write: true };
            let place = self.place(ask).map_err(|f| c.bad(headline(&f)))?;
            return self.overwrite(&place, ask).map_err(|f| c.bad(headline(&f)));
        }
        if !self.m.stack.is_dynptr(frame, at) {
            return Err(c.bad("the stack holds no initialised dynptr here"));
        }
        Ok(())
    }

    fn of_kind(&self, c: &Case<'_>, what: &str, is: impl Fn(&RegionKind) -> bool) -> Result<(), Fault> {
        match self.m.table.get(c.v.prov).and_then(|s| s.region()) {
            Some(Region { kind, .. }) if is(&kind) => Ok(()),
            _ => Err(c.bad(format!("{}, expected {what}", self.describe(c.v)))),
        }
    }

    /// `len` aligned bytes of a map's value.
    fn in_map_value(&self, c: &Case<'_>, len: u64) -> Result<(), Fault> {
        self.of_kind(c, "a pointer into a map value", |k| matches!(k, RegionKind::MapValue { .. }))?;
        if !c.v.bits.is_multiple_of(len.min(8)) {
            return Err(c.bad(format!("must be aligned to {} bytes", len.min(8))));
        }
        let ask = Ask { ptr: c.v, off: 0, len, write: true };
        self.place(ask).map(drop).map_err(|f| c.bad(headline(&f)))
    }
}

fn check_length(c: &Case<'_>, n: u64) -> Result<(), Fault> {
    if n <= MAX_SIZE {
        Ok(())
    } else {
        Err(c.bad(format!("length {} (as signed: {}) is beyond {MAX_SIZE}", n, n as i64)))
    }
}
