//! The context as the program sees it: every access names a UAPI offset, the layout says which field that is, who may
//! touch it, and where the engine keeps it.

use super::access::{Ask, Place, fault};
use super::run::Run;
use crate::mem::Order;
use crate::region::{PACKET, PACKET_END, PACKET_META, Prov, Slot, Val};
use skep_isa::{Size, Width};
use skep_platform::ctx::{CtxAccess, CtxField, FieldKind};
use skep_platform::env::{Fault, Region, RegionKind};

/// Bytes of `struct bpf_sock` (include/uapi/linux/bpf.h).
const BPF_SOCK: u64 = 80;
/// Bytes of `struct bpf_flow_keys`.
const BPF_FLOW_KEYS: u64 = 56;

impl Run<'_, '_> {
    pub(super) fn ctx_load(
        &mut self,
        place: &Place,
        size: Size,
        how: CtxAccess,
        ask: Ask,
    ) -> Result<Val, Fault> {
        let f = self.field(place, how, ask)?;
        if f.kind.is_pointer() {
            return self.pointer_field(f, place, ask);
        }
        let within = place.at - u64::from(f.off);
        let value = if f.at_size == f.size {
            place.span.load(u64::from(f.at) + within, size, Order::Plain).ok()
        } else {
            let whole = word(f.at_size).and_then(|s| place.span.load(f.at.into(), s, Order::Plain).ok());
            whole.map(|v| v >> (8 * within))
        };
        match value {
            Some(v) => Ok(Val::scalar(cut(size, v))),
            None => Err(missing(f, ask)),
        }
    }

    pub(super) fn ctx_store(&mut self, place: &Place, size: Size, v: Val, ask: Ask) -> Result<(), Fault> {
        let f = self.field(place, CtxAccess::Store, ask)?;
        let within = place.at - u64::from(f.off);
        let (at, size) = if f.at_size == f.size {
            (u64::from(f.at) + within, Some(size))
        } else {
            (f.at.into(), word(f.at_size))
        };
        match size.and_then(|s| place.span.store(at, s, v.bits, Order::Plain).ok()) {
            Some(()) => Ok(()),
            None => Err(missing(f, ask)),
        }
    }

    fn field(&self, place: &Place, how: CtxAccess, ask: Ask) -> Result<&'static CtxField, Fault> {
        let (layout, at, size) = (self.ctx.layout, place.at as u32, ask.len as u32);
        layout.access(at, size, how).ok_or_else(|| {
            let verb = if how == CtxAccess::Store { "written" } else { "read" };
            let why = match layout.field(at) {
                None => format!("{} has no field at offset {at}", layout.name),
                Some(f) => format!(
                    "field {}.{} (offset {}, {} bytes) cannot be {verb} {size} bytes at a time at offset {at}",
                    layout.name, f.name, f.off, f.size
                ),
            };
            fault(ask, self.m.table.get(ask.ptr.prov), why)
        })
    }

    fn pointer_field(&mut self, f: &CtxField, place: &Place, ask: Ask) -> Result<Val, Fault> {
        let size = word(f.at_size).unwrap_or(Size::Dw);
        let Ok(bits) = place.span.load(f.at.into(), size, Order::Plain) else {
            return Err(missing(f, ask));
        };
        let table = &mut self.m.table;
        let object = |kind, len| Region { kind, addr: bits, len, writable: false };
        let prov = match f.kind {
            FieldKind::Scalar | FieldKind::BtfArg => Prov::SCALAR,
            FieldKind::PacketData => table.prov(PACKET),
            FieldKind::PacketEnd => table.prov(PACKET_END),
            FieldKind::PacketMeta => table.prov(PACKET_META),
            _ if bits == 0 => Prov::SCALAR,
            FieldKind::SockCommonOrNull | FieldKind::Socket | FieldKind::SocketOrNull => {
                table.open(Slot::memory(object(RegionKind::Socket, BPF_SOCK), true))
            }
            FieldKind::FlowKeys => {
                let region = Region { writable: true, ..object(RegionKind::Memory, BPF_FLOW_KEYS) };
                table.open(Slot::memory(region, true))
            }
            FieldKind::BtfPtr(_) => table.open(Slot::memory(object(RegionKind::Kernel, 0), false)),
            FieldKind::Buffer | FieldKind::TpBuffer => {
                table.find(bits, 0, &[]).map_or(Prov::SCALAR, |(i, _)| table.prov(i))
            }
            FieldKind::BufferEnd => table.open(Slot::shut(bits, crate::region::Kind::PacketEnd)),
        };
        Ok(Val { bits, prov })
    }
}

fn missing(f: &CtxField, ask: Ask) -> Fault {
    fault(ask, None, format!("the context given is too short to hold field {}", f.name))
}

fn word(bytes: u16) -> Option<Size> {
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
