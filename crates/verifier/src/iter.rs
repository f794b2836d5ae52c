//! Open-coded iterators: made on the stack, stepped until they are drained, destroyed. A step is walked both ways: with
//! one more item (as a branch), and drained.

use crate::kfunc::Told;
use crate::machine::Vm;
use crate::reject::{Check, refuse};
use crate::state::{Byte, Slot, slot_of};
use crate::value::{Base, Flags, Reg};
use skep_btf::Btf;
use skep_platform::kfunc::{Kfunc, Places, kf};
use skep_platform::{AttachType, ProgType};

impl Vm<'_> {
    /// An iterator argument: room for a new one, or an existing one (`process_iter_arg`).
    pub(crate) fn kfunc_iter(
        &mut self,
        b: &Btf,
        row: &'static Kfunc,
        n: usize,
        r: &Reg,
        ty: u32,
        told: &mut Told,
    ) -> Check {
        let name = b.name_of(ty).strip_prefix("bpf_iter_").unwrap_or("");
        let slots = (b.size_of(ty).unwrap_or(8) as usize).div_ceil(8);
        let Base::Stack(f) = r.base else {
            refuse!(Iterator, "arg#{} expected pointer to an iterator on stack", n - 1);
        };
        let Some(var) = r.val.as_const() else {
            refuse!(Iterator, "iter_{name} has to be at a constant offset");
        };
        let off = r.off as i64 + var as i64;
        let fits = off % 8 == 0 && off <= -8 * slots as i64 && off >= -512;
        let (f, spi) = (f as usize, if fits { slot_of(off).0 } else { 0 });
        if row.places == Places::HooksIteratorsSleepable && !self.hook_iterator_sleepable() {
            refuse!(Iterator, "{name}_iter is only allowed in bpf_lsm, bpf_iter and sleepable progs");
        }
        if row.has(kf::ITER_NEW) {
            let clean = |s: &Slot| !s.is_special();
            if fits {
                self.grow(f, -off);
            }
            let ok = fits && (0..slots).all(|i| self.cur.frames[f].stack.get(spi - i).is_some_and(clean));
            if !ok {
                refuse!(Iterator, "expected uninitialized iter_{name} as arg #{}", n - 1);
            }
            told.iter = Some((f, spi));
            return self.new_iter(row, f, spi, slots, ty);
        }
        let ok = fits && (0..slots).all(|i| self.is_iter(f, spi - i, ty, i == 0));
        if !ok {
            refuse!(Iterator, "expected an initialized iter_{name} as arg #{}", n - 1);
        }
        let mask = (0..slots).fold(0u64, |m, i| m | 1 << (spi - i));
        self.stack_read(f, mask);
        told.iter = Some((f, spi));
        // Items in memory go with their iterator.
        told.ref_id = self.cur.frames[f].stack[spi].reg.ref_id;
        Ok(())
    }

    fn hook_iterator_sleepable(&self) -> bool {
        self.program.prog_type == ProgType::Lsm
            || self.program.attach_type == Some(AttachType::TraceIter)
            || self.cur.sleepable
    }

    fn is_iter(&self, f: usize, spi: usize, want: u32, head: bool) -> bool {
        let Some(s) = self.cur.frames[f].stack.get(spi) else { return false };
        let whole = s.bytes.iter().all(|b| *b == Byte::Iter);
        let untrusted = s.reg.flags.has(Flags::UNTRUSTED);
        matches!(s.reg.base, Base::IterSlot { ty, first, .. } if ty == want && first == head)
            && whole
            && !untrusted
    }

    fn new_iter(&mut self, row: &'static Kfunc, f: usize, spi: usize, slots: usize, ty: u32) -> Check {
        let id = self.acquire();
        let flags = if row.has(kf::RCU_PROTECTED) && self.in_rcu() { Flags::RCU } else { Flags::TRUSTED };
        for i in 0..slots {
            let base = Base::IterSlot { ty, active: true, first: i == 0, depth: 0 };
            let mut reg = Reg::flagged(base, flags);
            reg.ref_id = if i == 0 { id } else { 0 };
            self.life.write(f, 1 << (spi - i));
            self.cur.frame_at_mut(f).stack[spi - i] = Slot { bytes: [Byte::Iter; 8], reg: reg.into() };
            self.log.touch_slot(spi - i);
        }
        Ok(())
    }

    /// Destroys the iterator, if that is what the function does.
    pub(crate) fn iter_effect(&mut self, row: &'static Kfunc, told: &Told, _id: i32) -> Check {
        let Some((f, spi)) = told.iter.filter(|_| row.has(kf::ITER_DESTROY)) else { return Ok(()) };
        let head = *self.cur.frames[f].stack[spi].reg;
        let Base::IterSlot { ty, .. } = head.base else { return Ok(()) };
        self.release(head.ref_id);
        let slots = self.kernel.as_ref().and_then(|b| b.size_of(ty)).unwrap_or(8).div_ceil(8) as usize;
        for i in 0..slots {
            self.life.write(f, 1 << (spi - i));
            self.cur.frame_at_mut(f).stack[spi - i] = Slot::EMPTY;
            self.log.touch_slot(spi - i);
        }
        Ok(())
    }

    /// How far items of the iterator are to be trusted.
    pub(crate) fn iter_item_flags(&self, told: &Told) -> Flags {
        let head = told.iter.map(|(f, spi)| self.cur.frames[f].stack[spi].reg.flags);
        if head.is_some_and(|h| h.has(Flags::RCU)) { Flags::RCU } else { Flags::TRUSTED }
    }

    /// A step: one more item as a branch, and the end (`process_iter_next_call`).
    pub(crate) fn iterate(&mut self, f: usize, spi: usize) -> Check {
        let pc = self.cur.insn;
        let head = self.cur.frames[f].stack[spi].reg.base;
        let Base::IterSlot { ty, active, first, depth } = head else { refuse!(Internal, "no iterator") };
        if active {
            let before = self.visit_before(pc);
            self.push(pc + 1, pc)?;
            let Some(queued) = self.pending.last_mut().map(|p| &mut p.state) else {
                refuse!(Internal, "no branch")
            };
            let next = Base::IterSlot { ty, active: true, first, depth: depth + 1 };
            queued.frame_at_mut(f).stack[spi].reg.base = next;
            if let Some(id) = before {
                crate::equal::widen(&self.states[id as usize], queued);
            }
            crate::jump::not_null(&self.maps, queued.reg_mut(0));
        }
        let drained = Base::IterSlot { ty, active: false, first, depth };
        self.cur.frame_at_mut(f).stack[spi].reg.base = drained;
        self.log.touch_slot(spi);
        self.set(0, Reg::known(0));
        Ok(())
    }
}
