//! Legacy packet loads (`BPF_LD | BPF_ABS`, `BPF_IND`): `r0 = ntoh(*(size *)(skb + k))`, bounds checked.
//!
//! The context has to be in `r6`; `r1` to `r5` are lost. A load outside the packet ends the current function with 0, as
//! the kernel's expansion does (`bpf_gen_ld_abs`, net/core/filter.c). Negative offsets count from the network header
//! (`SKF_NET_OFF`) or the link-layer header (`SKF_LL_OFF`), as in `bpf_internal_load_pointer_neg_helper`.

use super::run::{Flow, Run, rule};
use crate::region::{CTX, Val};
use skep_isa::{Reg, Size};
use skep_platform::env::{CtxData, Fault};
use skep_platform::packet::Packet;

/// `SKF_NET_OFF`.
const NET_OFF: i32 = -0x10_0000;
/// `SKF_LL_OFF`.
const LL_OFF: i32 = -0x20_0000;

impl Run<'_, '_> {
    pub(super) fn packet_load(&mut self, size: Size, imm: i32, index: u32) -> Result<Flow, Fault> {
        if self.read(Reg::R6)?.prov != self.m.table.prov(CTX) {
            return Err(rule("packet-load", "packet loads need the context in r6".into()));
        }
        let CtxData::Packet(p) = &self.ctx.data else { return Err(Fault::NoPacket) };
        let at = (imm as u32).wrapping_add(index) as i32;
        let value = load_at(p, at, size);
        self.regs[1..6].fill(Val::UNINIT);
        self.write(Reg::R0, Val::scalar(value.unwrap_or(0)))?;
        Ok(if value.is_some() { Flow::Next } else { Flow::Exit })
    }
}

/// The value at an offset as the instruction counts it, in host byte order; `None` outside the packet.
pub(crate) fn load_at(p: &Packet, at: i32, size: Size) -> Option<u64> {
    let at = place(at, p.mac_len, p.len(), size)?;
    let field = p.bytes().get(at..at + size.bytes())?;
    Some(field.iter().fold(0, |v, b| v << 8 | u64::from(*b)))
}

/// Where a load starts in a packet of `len` bytes, by the offset as the instruction counts it; `None` outside the packet.
pub(crate) fn place(at: i32, mac_len: usize, len: usize, size: Size) -> Option<usize> {
    position(at, mac_len).filter(|at| at.checked_add(size.bytes()).is_some_and(|end| end <= len))
}

/// Offset from the packet's start.
fn position(at: i32, mac_len: usize) -> Option<usize> {
    let from = |base: usize, off: i32| usize::try_from(base as i64 + i64::from(off)).ok();
    match at {
        0.. => usize::try_from(at).ok(),
        NET_OFF.. => from(mac_len, at - NET_OFF),
        LL_OFF.. => from(0, at - LL_OFF),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_byte_order() {
        let mut p = Packet::new();
        p.set(&[1, 2, 3, 4]);
        assert_eq!(load_at(&p, 1, Size::H), Some(0x0203));
        assert_eq!(load_at(&p, 1, Size::W), None);
        assert_eq!(place(0, 14, 4, Size::W), Some(0));
        assert_eq!(place(i32::MAX, 14, 4, Size::W), None);
        assert_eq!(position(5, 14), Some(5));
        assert_eq!(position(NET_OFF, 14), Some(14));
        assert_eq!(position(NET_OFF + 9, 14), Some(23));
        assert_eq!(position(LL_OFF + 12, 14), Some(12));
        assert_eq!(position(-1, 14), Some(14 + 0xf_ffff));
        assert_eq!(position(i32::MIN, 14), None);
    }
}
