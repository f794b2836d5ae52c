//! Reading and writing the stack: spills and fills of registers, plain bytes, and what helpers do to it.
//!
//! Offsets are those of the frame: -512 to -1. Sources of the rules: `check_stack_read_fixed_off`,
//! `check_stack_write_fixed_off` and their neighbours in kernel/bpf/verifier.c.

use crate::alu::{MAX_OFF, clear_id};
use crate::log::tnum;
use crate::machine::Vm;
use crate::reject::{Check, refuse};
use crate::state::{Byte, MAX_STACK, slot_of};
use crate::value::{Base, Reg};

/// What is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Store {
    /// A register.
    Reg(usize),
    /// An immediate.
    Imm(i32),
    /// Something.
    Unknown,
}

impl Vm<'_> {
    /// Frame that a stack pointer points into.
    pub(crate) fn frame_of(&self, r: &Reg) -> usize {
        if let Base::Stack(f) = r.base { f as usize } else { self.cur.depth() }
    }

    /// The access stays inside of the frame; room is made for it (`check_stack_access_within_bounds`).
    pub(crate) fn stack_bounds(&mut self, n: usize, off: i64, size: i64, write: bool) -> Check {
        let r = *self.reg(n);
        let extra = if write { " write to" } else { " read from" };
        let fixed = r.val.as_const().map(|v| v as i64);
        let (min, max) = match fixed {
            Some(v) => (v + off, v + off + size),
            None if r.val.r.smax >= MAX_OFF || r.val.r.smin <= -MAX_OFF => {
                refuse!(StackAccess, "invalid unbounded variable-offset{extra} stack R{n}")
            }
            None => (r.val.r.smin + off, r.val.r.smax + off + size),
        };
        // Who may not read what was never written may not read below it either.
        let deepest = match r.base {
            Base::Stack(f) if !write && !self.reads_unwritten() => {
                self.cur.frames[f as usize].stack.len() as i64 * 8
            }
            _ => MAX_STACK,
        };
        if !(-deepest..=-1).contains(&min) || max > 0 || size < 0 {
            if fixed.is_some() {
                refuse!(StackAccess, "invalid{extra} stack R{n} off={} size={size}", off);
            }
            refuse!(
                StackAccess,
                "invalid variable-offset{extra} stack R{n} var_off={} off={off} size={size}",
                tnum(r.val.bits)
            );
        }
        let frame = self.frame_of(&r);
        self.grow(frame, -min);
        Ok(())
    }

    pub(crate) fn grow(&mut self, frame: usize, bytes: i64) {
        if self.cur.frames[frame].stack.len() * 8 < bytes as usize {
            self.cur.frame_at_mut(frame).stack.grow(bytes);
        }
        let f = self.cur.frames[frame].subprog;
        self.depths[f] = self.depths[f].max(bytes);
    }

    /// A load into `dst`, or only its check.
    pub(crate) fn stack_load(&mut self, n: usize, off: i64, size: u32, dst: Option<usize>) -> Check {
        let r = *self.reg(n);
        let frame = self.frame_of(&r);
        match (r.val.as_const(), dst) {
            (Some(v), _) => self.load_fixed(frame, v as i64 + off, size, dst),
            (None, None) => refuse!(
                StackAccess,
                "variable offset stack pointer cannot be passed into helper function; var_off={} off={off} size={size}",
                tnum(r.val.bits)
            ),
            (None, Some(d)) => {
                self.initialised(n, off, size as i64, false, false, false)?;
                let (min, max) = (r.val.r.smin + off, r.val.r.smax + off);
                self.fastcall_access(frame, min);
                let zero = self.all_zero(frame, min, max + size as i64);
                self.set(d, if zero { Reg::known(0) } else { Reg::UNKNOWN });
                Ok(())
            }
        }
    }

    fn all_zero(&self, frame: usize, min: i64, max: i64) -> bool {
        let stack = &self.cur.frames[frame].stack;
        (min..max).all(|o| {
            let (spi, b) = slot_of(o);
            stack.get(spi).is_some_and(|s| s.bytes[b] == Byte::Zero)
        })
    }

    fn load_fixed(&mut self, frame: usize, off: i64, size: u32, dst: Option<usize>) -> Check {
        let (spi, byte) = slot_of(off);
        // As in Linux, of the reader's frame, whichever is read.
        self.fastcall_access(self.cur.depth(), off);
        self.stack_read(frame, 1 << spi);
        self.log.touch_slot(spi);
        let slot = self.cur.frames[frame].stack[spi].clone();
        if !slot.is_spill() {
            self.bytes_readable(&slot.bytes, byte, off, size)?;
            if let Some(d) = dst {
                let zero = self.all_zero(frame, off, off + size as i64);
                self.set(d, if zero { Reg::known(0) } else { Reg::UNKNOWN });
            }
            return Ok(());
        }
        let spilled = slot.bytes.iter().rev().take_while(|b| **b == Byte::Spill).count() as u32;
        if size == 8 && spilled == 8 {
            match dst {
                Some(d) => {
                    self.cur.frame_mut().regs[d] = slot.reg;
                    self.note(|h| h.stack = Some((frame as u8, spi as u8)));
                }
                None if !self.leaks_allowed() && slot.reg.is_pointer() => {
                    refuse!(PointerLeak, "leaking pointer from stack off {off}")
                }
                None => {
                    self.note(|h| h.stack = Some((frame as u8, spi as u8)));
                }
            }
            return Ok(());
        }
        if !slot.reg.is_scalar() {
            refuse!(StackAccess, "invalid size of register fill");
        }
        let Some(d) = dst else { return Ok(()) };
        self.fill_part(frame, off, size, d, spilled)
    }

    /// A load of part of a spilled number, or across its edge.
    fn fill_part(&mut self, frame: usize, off: i64, size: u32, dst: usize, spilled: u32) -> Check {
        let (spi, byte) = slot_of(off);
        let slot = self.cur.frames[frame].stack[spi].clone();
        // Little-endian: the lowest bytes of the number lie at the start of the slot.
        let narrow_ok = off % 8 == 0;
        let mut tracked = true;
        if size <= spilled && narrow_ok {
            let mut r = *slot.reg;
            if r.bits() > size * 8 {
                clear_id(&mut r);
            }
            self.set(dst, r);
        } else {
            self.bytes_readable(&slot.bytes, byte, off, size)?;
            let kinds: Vec<Byte> = (0..size as usize).map(|i| slot.bytes[byte - i]).collect();
            if kinds.iter().all(|b| *b == Byte::Spill) && slot.reg.is_null() {
                self.set(dst, Reg::known(0));
            } else if kinds.iter().all(|b| *b == Byte::Zero) {
                self.set(dst, Reg::known(0));
                tracked = false;
            } else {
                self.set(dst, Reg::UNKNOWN);
                tracked = false;
            }
        }
        if tracked {
            self.note(|h| h.stack = Some((frame as u8, spi as u8)));
        }
        Ok(())
    }

    fn bytes_readable(&self, bytes: &[Byte; 8], byte: usize, off: i64, size: u32) -> Check {
        for i in 0..size as usize {
            let b = bytes[byte.wrapping_sub(i) & 7];
            let ok = match b {
                Byte::Misc | Byte::Zero | Byte::Spill => true,
                Byte::Invalid => self.reads_unwritten(),
                _ => false,
            };
            if !ok {
                refuse!(StackAccess, "invalid read from stack off {off}+{i} size {size}");
            }
        }
        Ok(())
    }

    /// A store.
    pub(crate) fn stack_store(&mut self, n: usize, off: i64, size: u32, what: Store) -> Check {
        let r = *self.reg(n);
        let frame = self.frame_of(&r);
        match r.val.as_const() {
            Some(v) => self.store_fixed(frame, v as i64 + off, size, what),
            None => self.store_variable(frame, r.val.r.smin + off, r.val.r.smax + off + size as i64, what),
        }
    }

    fn store_fixed(&mut self, frame: usize, off: i64, size: u32, what: Store) -> Check {
        let (spi, byte) = slot_of(off);
        let old = self.cur.frames[frame].stack[spi].clone();
        if !self.leaks_allowed() && old.is_spill() && !old.reg.is_scalar() && size != 8 {
            refuse!(PointerLeak, "attempt to corrupt spilled pointer on stack");
        }
        self.break_dynptr(frame, spi)?;
        self.fastcall_access(frame, off);
        if !self.leaks_allowed() {
            let pointer = matches!(what, Store::Reg(v) if self.reg(v).is_pointer());
            let plain = (0..size as usize)
                .all(|i| matches!(old.bytes[byte.wrapping_sub(i) & 7], Byte::Misc | Byte::Zero));
            if pointer || !plain {
                self.guess_ends_after();
            }
        }
        self.log.touch_slot(spi);
        if size == 8 {
            self.life.write(frame, 1 << spi);
        }
        let aligned = off % 8 == 0 && (size == 8 || !self.lacks.ability("narrow-spill"));
        match what {
            Store::Reg(v) if aligned && self.capable() && self.reg(v).is_scalar() => {
                let fits = self.reg(v).bits() <= 8 * size;
                if fits {
                    self.tie(v);
                }
                let mut reg = *self.reg(v);
                if !fits {
                    reg.id = 0;
                    reg.off = 0;
                }
                self.spill(frame, spi, reg, size);
            }
            Store::Imm(i) if aligned && self.capable() && !self.lacks.ability("immediate-spill") => {
                self.spill(frame, spi, Reg::known(i as i64 as u64), size)
            }
            Store::Reg(v) if self.reg(v).is_pointer() => {
                if size != 8 {
                    refuse!(StackAccess, "invalid size of register spill");
                }
                if frame != self.cur.depth() && matches!(self.reg(v).base, Base::Stack(_)) {
                    refuse!(StackAccess, "cannot spill pointers to stack into stack frame of the caller");
                }
                let reg = *self.reg(v);
                self.spill(frame, spi, reg, size);
            }
            _ => return self.store_bytes(frame, spi, byte, size, what),
        }
        self.note(|h| h.stack = Some((frame as u8, spi as u8)));
        Ok(())
    }

    /// A helper has written something into these bytes, which the frame has room for.
    pub(crate) fn scribble(&mut self, frame: usize, off: i64, size: i64) -> Check {
        let mut o = off;
        self.fastcall_access(frame, off);
        while o < off + size {
            let (spi, byte) = slot_of(o);
            let here = (off + size - o).min(byte as i64 + 1);
            o += here;
            let old = &self.cur.frames[frame].stack[spi];
            if !self.leaks_allowed() && old.is_spill() && !old.reg.is_scalar() {
                refuse!(PointerLeak, "attempt to corrupt spilled pointer on stack");
            }
            self.break_dynptr(frame, spi)?;
            self.log.touch_slot(spi);
            let written = byte + 1 - here as usize..=byte;
            let old = &self.cur.frames[frame].stack[spi];
            let plain = !old.is_spill() && !old.is_special();
            if plain && old.bytes[written.clone()].iter().all(|b| *b == Byte::Misc) {
                // Nothing changes, so that nothing that is shared is copied.
                continue;
            }
            let slot = &mut self.cur.frame_at_mut(frame).stack[spi];
            slot.scrub();
            slot.bytes[written].fill(Byte::Misc);
        }
        Ok(())
    }

    fn spill(&mut self, frame: usize, spi: usize, reg: Reg, size: u32) {
        let slot = &mut self.cur.frame_at_mut(frame).stack[spi];
        slot.reg.set(reg);
        let size = size as usize;
        for (i, b) in slot.bytes.iter_mut().enumerate() {
            if i >= 8 - size {
                *b = Byte::Spill;
            } else if *b != Byte::Zero && *b != Byte::Invalid {
                *b = Byte::Misc;
            }
        }
    }

    fn store_bytes(&mut self, frame: usize, spi: usize, byte: usize, size: u32, what: Store) -> Check {
        let zero = match what {
            Store::Reg(v) => self.reg(v).is_null(),
            Store::Imm(i) => i == 0,
            Store::Unknown => false,
        };
        if let (true, Store::Reg(v)) = (zero, what) {
            self.precise(v)?;
        }
        let slot = &mut self.cur.frame_at_mut(frame).stack[spi];
        slot.scrub();
        for i in 0..size as usize {
            slot.bytes[(byte.wrapping_sub(i)) & 7] = if zero { Byte::Zero } else { Byte::Misc };
        }
        Ok(())
    }

    fn store_variable(&mut self, frame: usize, min: i64, max: i64, what: Store) -> Check {
        let zero = match what {
            Store::Reg(v) => self.reg(v).is_null(),
            Store::Imm(i) => i == 0,
            Store::Unknown => false,
        };
        let mut used = false;
        for o in min..max {
            self.break_dynptr(frame, slot_of(o).0)?;
        }
        self.fastcall_access(frame, min);
        for o in min..max {
            let (spi, byte) = slot_of(o);
            self.log.touch_slot(spi);
            let slot = self.cur.frames[frame].stack[spi].clone();
            let b = slot.bytes[byte];
            if !self.leaks_allowed() && !matches!(b, Byte::Misc | Byte::Zero) {
                let insn = self.cur.insn;
                refuse!(
                    PointerLeak,
                    "spilled ptr in range of var-offset stack write; insn {insn}, ptr off: {o}"
                );
            }
            if zero && b == Byte::Spill && slot.is_scalar_spill() && slot.reg.is_null() {
                used = true;
                continue;
            }
            let slot = &mut self.cur.frame_at_mut(frame).stack[spi];
            slot.scrub();
            slot.bytes[byte] = match slot.bytes[byte] {
                Byte::Zero if zero => {
                    used = true;
                    Byte::Zero
                }
                _ => Byte::Misc,
            };
        }
        match what {
            Store::Reg(v) if used => self.precise(v),
            _ => Ok(()),
        }
    }

    /// What a helper or a variable load reads was written; a helper that writes leaves something else
    /// (`check_stack_range_initialized`). With `raw` the helper writes without reading: then the answer is true and
    /// the caller marks the bytes.
    pub(crate) fn initialised(
        &mut self,
        n: usize,
        off: i64,
        size: i64,
        zero_ok: bool,
        write: bool,
        raw: bool,
    ) -> Check<bool> {
        let r = *self.reg(n);
        if size == 0 && !zero_ok {
            refuse!(StackAccess, "invalid zero-sized read");
        }
        self.stack_bounds(n, off, size, write)?;
        let (min, max, raw) = match r.val.as_const() {
            Some(v) => (v as i64 + off, v as i64 + off, raw),
            None => (r.val.r.smin + off, r.val.r.smax + off, false),
        };
        let frame = self.frame_of(&r);
        if raw {
            let mut o = min;
            while o < max + size {
                let (spi, b) = slot_of(o);
                if o % 8 == 0 && self.cur.frames[frame].stack.get(spi).is_none_or(|s| s.is_blank()) {
                    o += 8;
                    continue;
                }
                if self.cur.frames[frame].stack.get(spi).is_some_and(|s| s.bytes[b] == Byte::Dynptr) {
                    refuse!(Dynptr, "potential write to dynptr at off={o} disallowed");
                }
                o += 1;
            }
            return Ok(true);
        }
        let mut last = usize::MAX;
        let mut o = min;
        while o < max + size {
            let spi = slot_of(o).0;
            if last != spi {
                last = spi;
                self.stack_read(frame, 1 << spi);
            }
            if o % 8 == 0 && o + 8 <= max + size && self.cur.frames[frame].stack[spi].is_misc() {
                o += 8;
                continue;
            }
            self.helper_byte(frame, n, &r, (min, o, size), write)?;
            o += 1;
        }
        Ok(false)
    }

    fn helper_byte(
        &mut self,
        frame: usize,
        n: usize,
        r: &Reg,
        (min, o, size): (i64, i64, i64),
        clobber: bool,
    ) -> Check {
        let (spi, b) = slot_of(o);
        let slot = &self.cur.frames[frame].stack[spi];
        let uninit = self.reads_unwritten();
        match slot.bytes[b] {
            Byte::Misc => {}
            Byte::Zero => {
                if clobber {
                    self.cur.frame_at_mut(frame).stack[spi].bytes[b] = Byte::Misc;
                }
            }
            Byte::Invalid if uninit => {
                if clobber {
                    self.cur.frame_at_mut(frame).stack[spi].bytes[b] = Byte::Misc;
                }
            }
            _ if slot.is_spill() && (slot.reg.is_scalar() || self.leaks_allowed()) => {
                if clobber {
                    let s = &mut self.cur.frame_at_mut(frame).stack[spi];
                    s.reg.set(Reg::UNKNOWN);
                    s.misc();
                }
            }
            _ => {
                let at = o - min;
                if r.val.as_const().is_some() {
                    refuse!(StackAccess, "invalid read from stack R{n} off {min}+{at} size {size}");
                }
                refuse!(
                    StackAccess,
                    "invalid read from stack R{n} var_off {}+{at} size {size}",
                    tnum(r.val.bits)
                );
            }
        }
        Ok(())
    }
}
