//! Sections without interrupts: the flags saved on the stack are a slot that only the restoring function takes, in
//! reverse order (`process_irq_flag`, kernel/bpf/verifier.c).

use crate::machine::Vm;
use crate::reject::{Check, refuse};
use crate::stackmem::Store;
use crate::state::{Byte, Ref, RefKind, Slot, slot_of};
use crate::value::{Base, Reg};

impl Vm<'_> {
    /// Saved flags as an argument. `save`: they are made here; `lock`: by a lock and not on their own.
    pub(crate) fn irq_flag(&mut self, n: usize, r: &Reg, save: bool, lock: bool) -> Check {
        let Base::Stack(f) = r.base else {
            refuse!(ArgumentType, "arg#{} doesn't point to an irq flag on stack", n - 1);
        };
        let Some(var) = r.val.as_const() else {
            refuse!(StackAccess, "irq_flag has to be at a constant offset");
        };
        let off = r.off as i64 + var as i64;
        if off % 8 != 0 {
            refuse!(StackAccess, "cannot pass in irq_flag at an offset={off}");
        }
        let (frame, inside) = (f as usize, (-512..=-8).contains(&off));
        if save {
            self.save_irq(n, frame, off, inside, lock)
        } else {
            self.restore_irq(n, frame, off, inside, lock)
        }
    }

    fn save_irq(&mut self, n: usize, f: usize, off: i64, inside: bool, lock: bool) -> Check {
        let taken = |s: &Slot| s.bytes.contains(&Byte::IrqFlag);
        if inside && self.cur.frames[f].stack.get(slot_of(off).0).is_some_and(taken) {
            refuse!(Uninitialised, "expected uninitialized irq flag as arg#{}", n - 1);
        }
        let at = self.reg(n).off as i64;
        self.stack_bounds(n, at, 8, true)?;
        self.stack_store(n, at, 8, Store::Unknown)?;
        let id = self.new_id();
        self.cur.refs.push(Ref { id, insn: self.cur.insn, kind: RefKind::Irq });
        self.cur.irq = id;
        let spi = slot_of(off).0;
        let mut reg = Reg::pointer(Base::IrqSlot { lock });
        reg.ref_id = id;
        self.life.write(f, 1 << spi);
        self.cur.frame_at_mut(f).stack[spi] = Slot { bytes: [Byte::IrqFlag; 8], reg: reg.into() };
        Ok(())
    }

    fn restore_irq(&mut self, n: usize, f: usize, off: i64, inside: bool, lock: bool) -> Check {
        let slot = self.cur.frames[f].stack.get(slot_of(off.min(-8)).0).cloned().unwrap_or(Slot::EMPTY);
        let Base::IrqSlot { lock: made } = slot.reg.base else {
            refuse!(Uninitialised, "expected an initialized irq flag as arg#{}", n - 1);
        };
        if !inside || slot.bytes != [Byte::IrqFlag; 8] {
            refuse!(Uninitialised, "expected an initialized irq flag as arg#{}", n - 1);
        }
        let spi = slot_of(off).0;
        self.stack_read(f, 1 << spi);
        if made != lock {
            let name = |l: bool| if l { "lock" } else { "native" };
            refuse!(
                Lock,
                "irq flag acquired by {} kfuncs cannot be restored with {} kfuncs",
                name(made),
                name(lock)
            );
        }
        let id = slot.reg.ref_id;
        if id != self.cur.irq {
            let insn = self.cur.refs.iter().find(|r| r.id == self.cur.irq).map_or(0, |r| r.insn);
            refuse!(
                Lock,
                "cannot restore irq state out of order, expected id={} acquired at insn_idx={insn}",
                self.cur.irq
            );
        }
        self.cur.refs.retain(|r| !(r.id == id && r.kind == RefKind::Irq));
        self.cur.irq = self.cur.refs.iter().rev().find(|r| r.kind == RefKind::Irq).map_or(0, |r| r.id);
        self.life.write(f, 1 << spi);
        self.cur.frame_at_mut(f).stack[spi] = Slot::EMPTY;
        Ok(())
    }
}
