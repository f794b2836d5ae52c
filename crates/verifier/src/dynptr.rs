//! Dynptrs on the stack: two slots each, made and given back by helpers, never written by the program itself.

use crate::call::Args;
use crate::machine::Vm;
use crate::reject::{Check, refuse};
use crate::state::{Byte, Ref, RefKind, Slot, slot_of};
use crate::value::{Base, Dynptr, Reg};
use skep_platform::Arg;
use skep_platform::helper::DynptrKind;

impl Vm<'_> {
    /// Frame, slot and contents of the dynptr that a stack pointer points at.
    pub(crate) fn dynptr_at(&self, r: &Reg) -> Option<(usize, usize, Reg)> {
        let Base::Stack(f) = r.base else { return None };
        let off = r.off as i64 + r.val.as_const()? as i64;
        if off % 8 != 0 || !(-512..-8).contains(&off) {
            return None;
        }
        // The pointer is to the lower half, which is the deeper slot: the first one.
        let spi = slot_of(off).0;
        let stack = &self.cur.frames[f as usize].stack;
        let (first, second) = (stack.get(spi)?, stack.get(spi.checked_sub(1)?)?);
        let whole = first.bytes.iter().chain(&second.bytes).all(|b| *b == Byte::Dynptr);
        let start = matches!(first.reg.base, Base::DynptrSlot(_, true));
        (whole && start).then_some((f as usize, spi, *first.reg))
    }

    /// Ids by which slices refer to the dynptr, and by which it is released.
    pub(crate) fn dynptr_ids(&self, r: &Reg) -> (u32, u32) {
        match r.base {
            Base::ConstDynptr(_) => (r.id, r.ref_id),
            _ => self.dynptr_at(r).map_or((0, 0), |(_, _, s)| (s.id, s.ref_id)),
        }
    }

    /// Kind of the dynptr.
    pub(crate) fn dynptr_kind(&self, r: &Reg) -> Option<Dynptr> {
        match r.base {
            Base::ConstDynptr(k) => Some(k),
            _ => self.dynptr_at(r).and_then(|(_, _, s)| match s.base {
                Base::DynptrSlot(k, _) => Some(k),
                _ => None,
            }),
        }
    }

    /// A helper's dynptr argument.
    pub(crate) fn dynptr_argument(
        &mut self,
        n: usize,
        r: &Reg,
        arg: &Arg,
        kind: DynptrKind,
        args: &mut Args,
    ) -> Check {
        if arg.uninit {
            return self.make_dynptr(r, Dynptr::of(kind), 0);
        }
        self.initialised_dynptr(n, r, arg.rdonly)?;
        let have = self.dynptr_kind(r);
        let wanted = match kind {
            DynptrKind::Any => None,
            DynptrKind::Local => Some((Dynptr::Local, "local")),
            DynptrKind::Ringbuf => Some((Dynptr::Ringbuf, "ringbuf")),
            DynptrKind::Skb => Some((Dynptr::Skb, "skb ")),
            DynptrKind::Xdp => Some((Dynptr::Xdp, "xdp ")),
            DynptrKind::SkbMeta => Some((Dynptr::SkbMeta, "skb_meta ")),
        };
        if let Some((k, name)) = wanted
            && have != Some(k)
        {
            refuse!(Dynptr, "Expected a dynptr of type {name} as arg #{}", n - 1);
        }
        args.dynptr = have;
        Ok(())
    }

    /// The register points at a whole dynptr; the access counts as a read of it.
    pub(crate) fn initialised_dynptr(&mut self, n: usize, r: &Reg, rdonly: bool) -> Check {
        if let Base::ConstDynptr(_) = r.base {
            if !rdonly {
                refuse!(Dynptr, "cannot pass pointer to const bpf_dynptr, the helper mutates it");
            }
            return Ok(());
        }
        if !matches!(r.base, Base::Stack(_)) {
            refuse!(Dynptr, "arg#{} expected pointer to stack or const struct bpf_dynptr", n - 1);
        }
        let Some((f, spi, _)) = self.dynptr_at(r) else {
            refuse!(Dynptr, "Expected an initialized dynptr as arg #{}", n - 1);
        };
        self.stack_read(f, 0b11 << (spi - 1));
        Ok(())
    }

    /// The call makes a dynptr there (`mark_stack_slots_dynptr`).
    pub(crate) fn make_dynptr(&mut self, r: &Reg, kind: Dynptr, clone_ref: u32) -> Check {
        let (frame, spi) = self.dynptr_room(r)?;
        // The slots may hold others' halves; those dynptrs are broken, unless they are owed.
        self.break_dynptr(frame, spi)?;
        self.break_dynptr(frame, spi - 1)?;
        let id = self.new_id();
        let mut ref_id = clone_ref;
        if kind.counted() && clone_ref == 0 {
            ref_id = self.acquire();
        }
        let mut reg = Reg::pointer(Base::DynptrSlot(kind, true));
        (reg.id, reg.ref_id) = (id, ref_id);
        let mut second = reg;
        second.base = Base::DynptrSlot(kind, false);
        self.life.write(frame, 0b11 << (spi - 1));
        let f = self.cur.frame_at_mut(frame);
        f.stack[spi] = Slot { bytes: [Byte::Dynptr; 8], reg: reg.into() };
        f.stack[spi - 1] = Slot { bytes: [Byte::Dynptr; 8], reg: second.into() };
        self.log.touch_slot(spi);
        self.log.touch_slot(spi - 1);
        Ok(())
    }

    fn dynptr_room(&mut self, r: &Reg) -> Check<(usize, usize)> {
        let Base::Stack(f) = r.base else { refuse!(Dynptr, "Dynptr has to be an uninitialized dynptr") };
        let Some(var) = r.val.as_const() else { refuse!(Dynptr, "dynptr has to be at a constant offset") };
        let off = r.off as i64 + var as i64;
        if off % 8 != 0 {
            refuse!(Dynptr, "cannot pass in dynptr at an offset={off}");
        }
        if !(-512..=-16).contains(&off) {
            refuse!(Dynptr, "cannot pass in dynptr at an offset={off}");
        }
        self.grow(f as usize, -off);
        let spi = slot_of(off).0;
        Ok((f as usize, spi))
    }

    /// A store breaks the dynptr in this slot; an owed one must not be lost (`destroy_if_dynptr_stack_slot`).
    pub(crate) fn break_dynptr(&mut self, frame: usize, spi: usize) -> Check {
        let Some(slot) = self.cur.frames[frame].stack.get(spi) else { return Ok(()) };
        let Base::DynptrSlot(kind, first) = slot.reg.base else { return Ok(()) };
        if slot.bytes[7] != Byte::Dynptr {
            return Ok(());
        }
        let (id, ref_id) = (slot.reg.id, slot.reg.ref_id);
        if kind.counted() {
            let copies = self.dynptrs_of(ref_id);
            if copies <= 1 {
                refuse!(Dynptr, "cannot overwrite referenced dynptr");
            }
        }
        let other = if first { spi - 1 } else { spi + 1 };
        self.forget_slices(id);
        let f = self.cur.frame_at_mut(frame);
        for i in [spi, other] {
            if let Some(s) = f.stack.get_mut(i) {
                *s = Slot::EMPTY;
            }
        }
        Ok(())
    }

    fn dynptrs_of(&self, ref_id: u32) -> usize {
        let first = |s: &Slot| matches!(s.reg.base, Base::DynptrSlot(_, true)) && s.reg.ref_id == ref_id;
        self.cur.frames.iter().map(|f| f.stack.iter().filter(|s| first(s)).count()).sum()
    }

    /// Slices of the dynptr are no longer valid.
    fn forget_slices(&mut self, id: u32) {
        let leaks = self.leaks_allowed();
        self.cur.for_each_reg(
            |r| r.origin == id && id != 0 && matches!(r.base, Base::Mem(_)),
            |r| *r = if leaks { Reg::UNKNOWN } else { Reg::NOT_INIT },
        );
    }

    /// The call gives the dynptr back, with all its clones (`unmark_stack_slots_dynptr`).
    pub(crate) fn unmark_dynptr(&mut self, r: &Reg) -> Check {
        let Some((frame, spi, slot)) = self.dynptr_at(r) else {
            refuse!(Dynptr, "Expected an initialized dynptr");
        };
        if slot.ref_id == 0 {
            self.forget_slices(slot.id);
            self.clear_dynptr(frame, spi);
            return Ok(());
        }
        let ref_id = slot.ref_id;
        self.cur.refs.retain(|x: &Ref| !(x.id == ref_id && x.kind == RefKind::Ptr));
        self.invalidate(ref_id);
        for f in 0..self.cur.frames.len() {
            for s in 0..self.cur.frames[f].stack.len() {
                let reg = *self.cur.frames[f].stack[s].reg;
                if matches!(reg.base, Base::DynptrSlot(_, true)) && reg.ref_id == ref_id {
                    self.forget_slices(reg.id);
                    self.clear_dynptr(f, s);
                }
            }
        }
        Ok(())
    }

    fn clear_dynptr(&mut self, frame: usize, spi: usize) {
        self.life.write(frame, 0b11 << (spi - 1));
        let f = self.cur.frame_at_mut(frame);
        f.stack[spi] = Slot::EMPTY;
        f.stack[spi - 1] = Slot::EMPTY;
        self.log.touch_slot(spi);
        self.log.touch_slot(spi - 1);
    }
}
