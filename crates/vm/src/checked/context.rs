//! The context as the program sees it: every access names a UAPI offset, the layout says which field that is, who may
//! touch it, and where the engine keeps it.

use super::access::{Ask, Place, fault};
use super::run::Run;
use crate::mem::{Order, Span};
use crate::region::{PACKET, PACKET_END, PACKET_META, Prov, Slot, Val};
use skep_isa::{Size, Width};
use skep_platform::ctx::{Access, CtxField, FieldKind};
use skep_platform::env::{Fault, Region, RegionKind};

/// Bytes of `struct bpf_sock` (include/uapi/linux/bpf.h).
const BPF_SOCK: u64 = 80;
/// Bytes of `struct bpf_flow_keys`.
const BPF_FLOW_KEYS: u64 = 56;

impl Run<'_, '_> {
    pub(super) fn ctx_load(&mut self, place: &Place, size: Size, ask: Ask) -> Result<Val, Fault> {
        let f = self.field(place, ask)?;
        if !matches!(f.access, Access::Read | Access::ReadWrite) {
            return Err(fault(ask, Some(&place.slot), format!("field {} cannot be read", f.name)));
        }
        let least = u64::from(f.narrow).max(1);
        if ask.len < least || f.kind != FieldKind::Scalar && ask.len != u64::from(f.size) {
            let why =
                format!("field {} is read {} bytes at a time, at least", f.name, least.min(f.size.into()));
            return Err(fault(ask, Some(&place.slot), why));
        }
        let span = place.slot.span;
        let within = place.at - u64::from(f.off);
        if f.kind != FieldKind::Scalar {
            return self.pointer_field(f, span, ask);
        }
        let value = if u64::from(f.at_size) == u64::from(f.size) {
            span.load(u64::from(f.at) + within, size, Order::Plain).ok()
        } else {
            word(f.at_size)
                .and_then(|s| span.load(f.at.into(), s, Order::Plain).ok())
                .map(|v| v >> (8 * within))
        };
        match value {
            Some(v) => Ok(Val::scalar(cut(size, v))),
            None => Err(missing(f, place, ask)),
        }
    }

    pub(super) fn ctx_store(&mut self, place: &Place, size: Size, v: Val, ask: Ask) -> Result<(), Fault> {
        let f = self.field(place, ask)?;
        if !matches!(f.access, Access::Write | Access::ReadWrite) || f.kind != FieldKind::Scalar {
            return Err(fault(ask, Some(&place.slot), format!("field {} cannot be written", f.name)));
        }
        let array = f.size > 8;
        let fits = if array { ask.len >= f.narrow.into() } else { ask.len == f.size.into() };
        if !fits {
            let why = format!("field {} is written whole, {} bytes", f.name, f.size);
            return Err(fault(ask, Some(&place.slot), why));
        }
        let (at, size) = if u64::from(f.at_size) == u64::from(f.size) {
            (u64::from(f.at) + place.at - u64::from(f.off), Some(size))
        } else {
            (f.at.into(), word(f.at_size))
        };
        let span = place.slot.span;
        match size.and_then(|s| span.store(at, s, v.bits, Order::Plain).ok()) {
            Some(()) => Ok(()),
            None => Err(missing(f, place, ask)),
        }
    }

    fn field(&self, place: &Place, ask: Ask) -> Result<&'static CtxField, Fault> {
        let layout = self.ctx.layout;
        let size = ask.len as u32;
        let found = layout.field(place.at as u32, size).filter(|_| place.at.is_multiple_of(ask.len));
        found.ok_or_else(|| {
            let why = format!("{size} bytes at offset {} are no field of {}", place.at, layout.name);
            fault(ask, Some(&place.slot), why)
        })
    }

    fn pointer_field(&mut self, f: &CtxField, span: Span, ask: Ask) -> Result<Val, Fault> {
        let size = word(f.at_size).unwrap_or(Size::Dw);
        let Ok(bits) = span.load(f.at.into(), size, Order::Plain) else {
            return Err(fault(ask, None, format!("the context given is too short to hold field {}", f.name)));
        };
        let table = &mut self.m.table;
        let object = |kind, len| Region { kind, addr: bits, len, writable: false };
        let prov = match f.kind {
            FieldKind::Scalar => Prov::SCALAR,
            FieldKind::PacketData => table.prov(PACKET),
            FieldKind::PacketEnd => table.prov(PACKET_END),
            FieldKind::PacketMeta => table.prov(PACKET_META),
            _ if bits == 0 => Prov::SCALAR,
            FieldKind::SockCommonOrNull | FieldKind::Socket => {
                table.open(Slot::memory(object(RegionKind::Socket, BPF_SOCK), true))
            }
            FieldKind::FlowKeys => {
                let region = Region { writable: true, ..object(RegionKind::Memory, BPF_FLOW_KEYS) };
                table.open(Slot::memory(region, true))
            }
            FieldKind::BtfPtr(_) => table.open(Slot::memory(object(RegionKind::Kernel, 0), false)),
            FieldKind::Buffer => table.find(bits, 0, &[]).map_or(Prov::SCALAR, |(i, _)| table.prov(i)),
            FieldKind::BufferEnd => table.open(Slot::shut(bits, crate::region::Kind::PacketEnd)),
        };
        Ok(Val { bits, prov })
    }
}

fn missing(f: &CtxField, place: &Place, ask: Ask) -> Fault {
    fault(ask, Some(&place.slot), format!("the context given is too short to hold field {}", f.name))
}

fn word(bytes: u8) -> Option<Size> {
    [Size::B, Size::H, Size::W, Size::Dw].into_iter().find(|s| s.bytes() == bytes as usize)
}

fn cut(size: Size, v: u64) -> u64 {
    match size {
        Size::B => v & 0xff,
        Size::H => v & 0xffff,
        Size::W => Width::W32.truncate(v),
        Size::Dw => v,
    }
}
