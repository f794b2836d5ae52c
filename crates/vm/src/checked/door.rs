//! A run as its helpers see it: the checked door to memory, maps, context, callbacks.

use super::code::handle_of;
use super::run::Run;
use crate::region::{Door, FRAME0, Kind, Slot};
use skep_isa::{AtomicOp, Width};
use skep_platform::env::{Context, Env, Fault, Host, Memory, Region};
use skep_platform::map::Map;
use std::sync::Arc;

/// An address that a helper asks for, looked up.
struct Found {
    slot: Slot,
    frame: Option<usize>,
    at: u64,
}

impl Run<'_, '_> {
    fn locate(&self, addr: u64, len: u64, write: bool) -> Result<Found, Fault> {
        let likely = self.active.args.map(|v| v.prov);
        let refuse = |region, why: &str| Fault::Access { addr, len, write, region, why: why.into() };
        let Some((index, slot)) = self.m.table.find(addr, len, &likely) else {
            return Err(refuse(None, "no memory that this program may use"));
        };
        // Helpers write read-only regions of their own (a key lent to a callback), never what the program may not.
        if write && !slot.writable {
            return Err(refuse(slot.region(), "the region is read-only"));
        }
        let frame = (slot.door == Door::Stack).then(|| (index - FRAME0) as usize);
        Ok(Found { slot: *slot, frame, at: addr.wrapping_sub(slot.span.addr()) })
    }

    fn wrote(&mut self, f: &Found, len: u64) {
        if let Some(frame) = f.frame {
            self.m.stack.wrote(frame, f.at, len);
        }
    }

    fn atomic_at(&mut self, addr: u64, op: AtomicOp, width: Width, src: u64, r0: u64) -> Result<u64, Fault> {
        let len = width.bytes() as u64;
        let found = self.locate(addr, len, true)?;
        let old = found.slot.span.atomic(found.at, op, width, src, r0);
        self.wrote(&found, len);
        old.map_err(|_| {
            let why = "an atomic access must be aligned".into();
            Fault::Access { addr, len, write: true, region: found.slot.region(), why }
        })
    }
}

impl Memory for Run<'_, '_> {
    fn read(&mut self, addr: u64, out: &mut [u8]) -> Result<(), Fault> {
        let f = self.locate(addr, out.len() as u64, false)?;
        let region = f.slot.region();
        f.slot.span.read(f.at, out).map_err(|_| outside(addr, out.len(), false, region))
    }

    fn write(&mut self, addr: u64, data: &[u8]) -> Result<(), Fault> {
        let f = self.locate(addr, data.len() as u64, true)?;
        f.slot.span.write(f.at, data).map_err(|_| outside(addr, data.len(), true, f.slot.region()))?;
        self.wrote(&f, data.len() as u64);
        Ok(())
    }

    fn check(&mut self, addr: u64, len: u64, write: bool) -> Result<(), Fault> {
        self.locate(addr, len, write).map(drop)
    }

    fn cmpxchg32(&mut self, addr: u64, old: u32, new: u32) -> Result<u32, Fault> {
        let seen = self.atomic_at(addr, AtomicOp::Cmpxchg, Width::W32, new.into(), old.into())?;
        Ok(seen as u32)
    }

    fn xchg64(&mut self, addr: u64, new: u64) -> Result<u64, Fault> {
        self.atomic_at(addr, AtomicOp::Xchg, Width::W64, new, 0)
    }
}

impl<'r> Env<'r> for Run<'r, '_> {
    fn mem(&mut self) -> &mut dyn Memory {
        self
    }

    fn map(&mut self, handle: u64) -> Result<&'r dyn Map, Fault> {
        let is = |m: &&Arc<dyn Map>| handle_of(m) == handle;
        let own = self.code.program.maps.iter().find(is);
        let callers = || self.frames.iter().find_map(|f| f.code.program.maps.iter().find(is));
        let kept = || self.maps.find(|m| handle_of(m) == handle);
        match own.or_else(kept).or_else(callers) {
            Some(map) => Ok(&**map),
            None => {
                Err(Fault::Rule { code: "no-map", why: format!("{handle:#x} is no map of this program") })
            }
        }
    }

    fn find_map(&mut self, is: &mut dyn FnMut(&dyn Map) -> bool) -> Option<&'r dyn Map> {
        let mut is = |m: &&Arc<dyn Map>| is(&***m);
        let own = self.code.program.maps.iter().find(&mut is);
        let kept = own.or_else(|| self.maps.find(|m| is(&m)));
        kept.or_else(|| self.frames.iter().find_map(|f| f.code.program.maps.iter().find(&mut is)))
            .map(|m| &**m)
    }

    fn keep_map(&mut self, map: Arc<dyn Map>) -> u64 {
        let handle = handle_of(&map);
        if self.maps.find(|m| handle_of(m) == handle).is_none() {
            self.maps.push(map);
        }
        handle
    }

    fn ctx(&mut self) -> &mut Context {
        self.ctx
    }

    fn host(&self) -> &'r dyn Host {
        self.host
    }

    fn cpu(&self) -> u32 {
        self.cpu
    }

    fn call(&mut self, func: u64, args: [u64; 5]) -> Result<u64, Fault> {
        let ended = self.callback(func, args);
        if let Err(fault) = &ended {
            self.dead = Some(fault.clone());
        }
        ended
    }

    fn lend(&mut self, region: Region) -> Result<u64, Fault> {
        self.m.table.open(Slot::memory(region, true));
        Ok(region.addr)
    }

    fn hold(&mut self, region: Region) -> Result<(), Fault> {
        let slot = self.region_slot(region);
        self.m.table.open(slot);
        Ok(())
    }

    fn forget(&mut self, addr: u64, len: u64) {
        self.m.table.forget(addr, len);
    }
}

impl Run<'_, '_> {
    fn callback(&mut self, func: u64, args: [u64; 5]) -> Result<u64, Fault> {
        let known = self.active.args.iter().find(|v| v.is_pointer() && v.bits == func);
        let Some(Kind::Func(pc)) = known.and_then(|v| self.m.table.get(v.prov)).map(|s| s.kind) else {
            return Err(Fault::Rule {
                code: "callback",
                why: format!("{func:#x} is no function of this program"),
            });
        };
        let args = self.callback_args(args);
        let (regs, lock, active) = (self.regs, self.lock, self.active);
        let call = self.pc;
        self.enter_call(pc, true)?;
        self.regs[1..6].copy_from_slice(&args);
        for (i, v) in args.iter().enumerate() {
            self.m.history.note(i + 1, call, self.left, *v);
        }
        let r0 = self.until(self.frames.len())?;
        self.leave();
        self.regs = regs;
        self.active = active;
        if self.lock != lock {
            return Err(Fault::Rule {
                code: "lock-held",
                why: "the callback returns with another lock held".into(),
            });
        }
        Ok(r0.bits)
    }
}

fn outside(addr: u64, len: usize, write: bool, region: Option<Region>) -> Fault {
    Fault::Access { addr, len: len as u64, write, region, why: "outside the region".into() }
}
