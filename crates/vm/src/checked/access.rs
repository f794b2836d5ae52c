//! Loads, stores and atomics of the program: the pointer's provenance decides which region is meant, the region's door
//! how it is reached. A number used as an address is a fault.

use super::run::{Reference, Run};
use crate::mem::{Order, Refused, Span};
use crate::region::{Door, FRAME0, Kind, Prov, Slot, Val};
use skep_isa::{AtomicOp, Reg, Size, Width};
use skep_platform::ctx::CtxAccess;
use skep_platform::env::{Fault, RegionKind};

/// A checked access: the memory, and where in it.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) span: Span,
    pub(super) door: Door,
    /// Slot of the table.
    pub(super) index: u32,
    pub(super) at: u64,
}

impl Place {
    /// Frame whose stack it lies in.
    pub(super) fn frame(&self) -> Option<usize> {
        (self.door == Door::Stack).then(|| (self.index - FRAME0) as usize)
    }
}

/// An access as the instruction asks for it.
#[derive(Clone, Copy)]
pub(super) struct Ask {
    pub(super) ptr: Val,
    pub(super) off: i64,
    pub(super) len: u64,
    pub(super) write: bool,
}

impl Ask {
    fn addr(self) -> u64 {
        self.ptr.bits.wrapping_add(self.off as u64)
    }
}

impl Run<'_, '_> {
    pub(crate) fn load(&mut self, size: Size, sx: bool, src: Reg, off: i16) -> Result<Val, Fault> {
        let ask = Ask { ptr: self.read(src)?, off: off.into(), len: size.bytes() as u64, write: false };
        let place = self.place(ask)?;
        match place.door {
            Door::Ctx => {
                self.ctx_load(&place, size, if sx { CtxAccess::LoadSigned } else { CtxAccess::Load }, ask)
            }
            Door::Stack => self.stack_load(&place, size, ask),
            _ => {
                let bits = place.span.load(place.at, size, Order::Plain).map_err(|r| refused(ask, r))?;
                Ok(Val::scalar(bits))
            }
        }
    }

    pub(crate) fn load_acquire(&mut self, size: Size, src: Reg, off: i16) -> Result<Val, Fault> {
        let ask = Ask { ptr: self.read(src)?, off: off.into(), len: size.bytes() as u64, write: false };
        let place = self.atomic_place(ask)?;
        let bits = place.span.load(place.at, size, Order::AcquireRelease).map_err(|r| refused(ask, r))?;
        Ok(Val::scalar(bits))
    }

    pub(crate) fn store(&mut self, size: Size, dst: Reg, off: i16, v: Val) -> Result<(), Fault> {
        let ask = Ask { ptr: self.read(dst)?, off: off.into(), len: size.bytes() as u64, write: true };
        let place = self.place(ask)?;
        if place.door == Door::Ctx {
            return self.ctx_store(&place, size, v, ask);
        }
        self.overwrite(&place, ask)?;
        place.span.store(place.at, size, v.bits, Order::Plain).map_err(|r| refused(ask, r))?;
        if let Some(frame) = place.frame() {
            if v.is_pointer() && size == Size::Dw {
                self.m.stack.spill(frame, place.at, v.prov);
            } else {
                self.m.stack.wrote(frame, place.at, ask.len);
            }
        }
        Ok(())
    }

    pub(crate) fn store_release(&mut self, size: Size, dst: Reg, off: i16, v: Val) -> Result<(), Fault> {
        let ask = Ask { ptr: self.read(dst)?, off: off.into(), len: size.bytes() as u64, write: true };
        let place = self.atomic_place(ask)?;
        self.overwrite(&place, ask)?;
        place.span.store(place.at, size, v.bits, Order::AcquireRelease).map_err(|r| refused(ask, r))?;
        if let Some(frame) = place.frame() {
            self.m.stack.wrote(frame, place.at, ask.len);
        }
        Ok(())
    }

    /// The old value; a pointer that was spilled there keeps its provenance in it.
    pub(crate) fn atomic(
        &mut self,
        op: AtomicOp,
        width: Width,
        dst: Reg,
        off: i16,
        src: Val,
        r0: Val,
    ) -> Result<Val, Fault> {
        let ask = Ask { ptr: self.read(dst)?, off: off.into(), len: width.bytes() as u64, write: true };
        let place = self.atomic_place(ask)?;
        let slot = self.m.table.get(ask.ptr.prov);
        if slot.is_some_and(|s| !s.readable) {
            return Err(fault(ask, slot, "the map is not readable by programs (BPF_F_WRONLY_PROG)"));
        }
        if let Some(frame) = place.frame() {
            self.check_set(frame, place.at, ask)?;
        }
        self.overwrite(&place, ask)?;
        let span = place.span;
        let old = span.atomic(place.at, op, width, src.bits, r0.bits).map_err(|r| refused(ask, r))?;
        let mut prov = Prov::SCALAR;
        if let Some(frame) = place.frame() {
            if width == Width::W64 {
                prov = self.m.stack.spilled(frame, place.at);
            }
            self.m.stack.wrote(frame, place.at, ask.len);
        }
        Ok(Val { bits: old, prov })
    }

    /// The place that an access means, its bounds and rights checked.
    pub(super) fn place(&self, ask: Ask) -> Result<Place, Fault> {
        let Some(slot) = self.m.table.get(ask.ptr.prov) else { return Err(self.no_pointer(ask)) };
        let at = ask.addr().wrapping_sub(slot.span.addr());
        if slot.door == Door::Shut || at > slot.len || ask.len > slot.len - at {
            return Err(self.out_of_bounds(ask, slot));
        }
        if ask.write && !slot.writable {
            return Err(fault(ask, Some(slot), "the region is read-only"));
        }
        if !ask.write && !slot.readable {
            return Err(fault(ask, Some(slot), "the map is not readable by programs (BPF_F_WRONLY_PROG)"));
        }
        let place = Place { span: slot.span, door: slot.door, index: ask.ptr.prov.slot, at };
        Ok(place)
    }

    /// Dynptrs that a write to the stack hits are no more; one that has to be given back may not be lost like that.
    pub(super) fn overwrite(&mut self, place: &Place, ask: Ask) -> Result<(), Fault> {
        let Some(frame) = place.frame() else { return Ok(()) };
        while let Some(start) = self.m.stack.dynptr_in(frame, place.at, ask.len) {
            let addr = place.span.addr() + start;
            if self.references.iter().any(|r| matches!(r, Reference::Dynptr { addr: a, .. } if *a == addr)) {
                let why = "overwrites a dynptr that must be submitted or discarded";
                return Err(fault(ask, self.m.table.get(ask.ptr.prov), why));
            }
            self.m.stack.clear_dynptr(frame, start);
        }
        Ok(())
    }

    fn atomic_place(&self, ask: Ask) -> Result<Place, Fault> {
        let place = self.place(ask)?;
        let slot = self.m.table.get(ask.ptr.prov);
        let why = match slot.map_or(Kind::Nothing, |s| s.kind) {
            Kind::Region(RegionKind::Ctx) => "atomic access to the context is not allowed",
            Kind::Region(RegionKind::Packet | RegionKind::PacketMeta) => {
                "atomic access to the packet is not allowed"
            }
            _ => return Ok(place),
        };
        Err(fault(ask, slot, why))
    }

    fn stack_load(&self, place: &Place, size: Size, ask: Ask) -> Result<Val, Fault> {
        let frame = (place.index - FRAME0) as usize;
        self.check_set(frame, place.at, ask)?;
        let bits = place.span.load(place.at, size, Order::Plain).map_err(|r| refused(ask, r))?;
        let prov = if size == Size::Dw { self.m.stack.spilled(frame, place.at) } else { Prov::SCALAR };
        Ok(Val { bits, prov })
    }

    /// Have all bytes of a stack access been written?
    pub(super) fn check_set(&self, frame: usize, at: u64, ask: Ask) -> Result<(), Fault> {
        if self.options.unset_stack {
            return Ok(());
        }
        match self.m.stack.first_unset(frame, at, ask.len) {
            None => Ok(()),
            Some(first) => Err(self.never_written(frame, first, ask)),
        }
    }

    #[cold]
    fn never_written(&self, frame: usize, first: u64, ask: Ask) -> Fault {
        let below = first as i64 - crate::region::FRAME_BYTES as i64;
        let why = format!("the byte at r10{below:+} of frame {frame}'s stack was never written");
        fault(ask, self.m.table.get(ask.ptr.prov), why)
    }

    #[cold]
    fn no_pointer(&self, ask: Ask) -> Fault {
        let past = self.m.table.past(ask.ptr.prov).filter(|_| ask.ptr.is_pointer());
        if past.is_none() {
            let why = match ask.ptr.bits {
                0 => "not a pointer: NULL, perhaps a result that was not checked".to_string(),
                v => format!("not a pointer: the number {v:#x}"),
            };
            return fault(ask, None, why);
        }
        fault(ask, None, stale(ask.ptr.prov.slot))
    }

    #[cold]
    fn out_of_bounds(&self, ask: Ask, slot: &Slot) -> Fault {
        let at = ask.addr().wrapping_sub(slot.span.addr()) as i64;
        let why = match slot.kind {
            Kind::Map(_) => "a pointer to a map is good as a helper's argument only".to_string(),
            Kind::Func(_) => "a pointer to a function cannot be read or written".to_string(),
            Kind::PacketEnd => "the end of the packet is good for comparison only".to_string(),
            Kind::Region(RegionKind::Kernel) => {
                "kernel memory cannot be reached in the user engine".to_string()
            }
            Kind::Region(kind) => {
                format!("offset {at} of the {}, which has {} bytes", self.region_name(kind), slot.len)
            }
            Kind::Nothing => "not a pointer".to_string(),
        };
        fault(ask, Some(slot), why)
    }
}

fn stale(index: u32) -> &'static str {
    use crate::region::{PACKET, PACKET_END, PACKET_META};
    match index {
        PACKET | PACKET_META | PACKET_END => {
            "stale packet pointer: a helper has moved the packet since; load data and data_end again"
        }
        _ if (index as usize) < crate::region::FIXED => {
            "stale pointer into the stack of a function that has returned"
        }
        _ => "stale pointer: the region was released",
    }
}

/// A refused access.
#[cold]
pub(super) fn fault(ask: Ask, slot: Option<&Slot>, why: impl Into<String>) -> Fault {
    let region = slot.and_then(Slot::region);
    Fault::Access { addr: ask.addr(), len: ask.len, write: ask.write, region, why: why.into() }
}

#[cold]
fn refused(ask: Ask, r: Refused) -> Fault {
    let why = match r {
        Refused::Outside => "outside the region".to_string(),
        Refused::Unaligned => format!("atomic access must be aligned to {} bytes", ask.len),
    };
    fault(ask, None, why)
}
