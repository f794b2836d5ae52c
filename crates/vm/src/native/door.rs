//! A run as its helpers see it: memory without checks, maps, context, callbacks.

use super::{Run, rule};
use crate::checked::code::handle_of;
use crate::mem::{Refused, Span};
use skep_isa::{AtomicOp, Width};
use skep_platform::Errno;
use skep_platform::env::{Context, Env, Fault, Host, Memory, Region};
use skep_platform::map::Map;
use std::sync::Arc;

/// Addresses below this are no memory anywhere; helpers get a fault for them instead of a crash.
const LOWEST: u64 = 4096;

/// Memory that the verifier has allowed.
fn span(addr: u64, len: u64, write: bool) -> Result<Span, Fault> {
    if addr < LOWEST && len > 0 {
        return Err(refused(addr, len, write));
    }
    Ok(Span::declare(addr, len))
}

#[cold]
fn refused(addr: u64, len: u64, write: bool) -> Fault {
    Fault::Access { addr, len, write, region: None, why: "there is no memory".into() }
}

impl Memory for Run<'_, '_> {
    #[inline]
    fn read(&mut self, addr: u64, out: &mut [u8]) -> Result<(), Fault> {
        let len = out.len() as u64;
        span(addr, len, false)?.read(0, out).map_err(|_| refused(addr, len, false))
    }

    #[inline]
    fn write(&mut self, addr: u64, data: &[u8]) -> Result<(), Fault> {
        let len = data.len() as u64;
        span(addr, len, true)?.write(0, data).map_err(|_| refused(addr, len, true))
    }

    fn check(&mut self, addr: u64, len: u64, write: bool) -> Result<(), Fault> {
        span(addr, len, write).map(drop)
    }

    fn cmpxchg32(&mut self, addr: u64, old: u32, new: u32) -> Result<u32, Fault> {
        let seen = span(addr, 4, true)?.atomic(0, AtomicOp::Cmpxchg, Width::W32, new.into(), old.into());
        seen.map(|v| v as u32).map_err(|r| unaligned(addr, 4, r))
    }

    fn xchg64(&mut self, addr: u64, new: u64) -> Result<u64, Fault> {
        let seen = span(addr, 8, true)?.atomic(0, AtomicOp::Xchg, Width::W64, new, 0);
        seen.map_err(|r| unaligned(addr, 8, r))
    }
}

fn unaligned(addr: u64, len: u64, why: Refused) -> Fault {
    match why {
        Refused::Outside => refused(addr, len, true),
        Refused::Unaligned => {
            let why = "an atomic access must be aligned".into();
            Fault::Access { addr, len, write: true, region: None, why }
        }
    }
}

impl<'r> Env<'r> for Run<'r, '_> {
    fn mem(&mut self) -> &mut dyn Memory {
        self
    }

    fn map(&mut self, handle: u64) -> Result<&'r dyn Map, Fault> {
        let is = |m: &&Arc<dyn Map>| handle_of(m) == handle;
        if let Some(map) = self.code.program().maps.iter().find(is) {
            return Ok(&**map);
        }
        self.find_map(&mut |m| std::ptr::from_ref(m).addr() as u64 == handle)
            .ok_or_else(|| rule("no-map", format!("{handle:#x} is no map of this program")))
    }

    fn find_map(&mut self, is: &mut dyn FnMut(&dyn Map) -> bool) -> Option<&'r dyn Map> {
        let maps = self.maps;
        let holder = Run::program(self, |c| c.program().maps.iter().any(|m| is(&**m)));
        let own = holder.and_then(|c| c.program().maps.iter().find(|m| is(&***m)));
        own.or_else(|| maps.find(|m| is(&**m))).map(|m| &**m)
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
        self.world()
    }

    fn cpu(&self) -> u32 {
        self.current_cpu()
    }

    fn call(&mut self, func: u64, args: [u64; 5]) -> Result<u64, Fault> {
        let Some(code) = self.program(|c| c.function(func).is_some()) else {
            return Err(rule("callback", format!("{func:#x} is no function of this program")));
        };
        let at = self.at;
        let ended = self.enter(code, code.function(func).unwrap_or(0), args);
        match &ended {
            Ok(_) => self.at = at,
            Err(fault) => self.end().dead = Some(fault.clone()),
        }
        ended
    }

    fn lend(&mut self, region: Region) -> Result<u64, Fault> {
        Ok(region.addr)
    }

    // Any address may be asked for here, so none is touched directly.
    fn probe_read(&mut self, addr: u64, out: &mut [u8]) -> Result<(), Errno> {
        self.world().probe_read(addr, out)
    }

    fn probe_write(&mut self, addr: u64, data: &[u8]) -> Result<(), Errno> {
        self.world().probe_write(addr, data)
    }
}
