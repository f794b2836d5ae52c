//! Arithmetic: on numbers, and on pointers, where only moving inside of bounds is allowed.

use crate::machine::Vm;
use crate::reject::{Check, refuse};
use crate::scalar::Scalar;
use crate::value::{ADD_CONST, ADD_CONST32, ADD_CONST64, Base, Flags, Reg};
use skep_isa::{AluOp, Endian, Operand, Width};

/// Bound of offsets (`BPF_MAX_VAR_OFF`).
pub(crate) const MAX_OFF: i64 = 1 << 29;

/// How the kernel's log writes the operators.
fn symbol(op: AluOp) -> &'static str {
    match op {
        AluOp::Add => "+=",
        AluOp::Sub => "-=",
        AluOp::Mul => "*=",
        AluOp::Div | AluOp::Sdiv => "/=",
        AluOp::Or => "|=",
        AluOp::And => "&=",
        AluOp::Lsh => "<<=",
        AluOp::Rsh => ">>=",
        AluOp::Arsh => "s>>=",
        AluOp::Mod | AluOp::Smod => "%=",
        AluOp::Xor => "^=",
        AluOp::Mov => "=",
    }
}

impl Vm<'_> {
    /// Gives a number that is about to be copied an id, so that what is learned of one copy is learned of all.
    pub(crate) fn tie(&mut self, n: usize) {
        let r = *self.reg(n);
        if !r.is_scalar() {
            return;
        }
        let (mut id, mut off) = (r.id, r.off);
        if id & ADD_CONST != 0 {
            (id, off) = (0, 0);
        }
        if id == 0 && r.val.as_const().is_none() {
            id = self.new_id();
        }
        let r = self.cur.reg_mut(n);
        (r.id, r.off) = (id, off);
    }

    /// `dst = src`.
    pub(crate) fn mov(&mut self, width: Width, dst: usize, src: Operand) -> Check {
        let src = match src {
            Operand::Imm(i) => {
                self.writable(dst)?;
                self.set(dst, Reg::known(width.truncate(i as i64 as u64)));
                return Ok(());
            }
            Operand::Reg(r) => r.index(),
        };
        self.readable(src)?;
        self.writable(dst)?;
        if width == Width::W64 {
            self.tie(src);
            let r = *self.reg(src);
            self.set(dst, r);
            return Ok(());
        }
        if self.leaks(src) {
            refuse!(PointerLeak, "R{src} partial copy of pointer");
        }
        let fits = self.reg(src).bits() <= 32;
        if fits {
            self.tie(src);
        }
        let mut r = *self.reg(src);
        if !r.is_scalar() {
            r = Reg::UNKNOWN;
        }
        if !fits {
            clear_id(&mut r);
        }
        r.val.zext();
        self.set(dst, r);
        Ok(())
    }

    /// `dst = (sN)src`.
    pub(crate) fn mov_sx(&mut self, width: Width, bits: u8, dst: usize, src: usize) -> Check {
        self.readable(src)?;
        self.writable(dst)?;
        if self.leaks(src) {
            refuse!(PointerLeak, "R{src} sign-extension part of pointer");
        }
        let mut r = *self.reg(src);
        if !r.is_scalar() {
            r = Reg::UNKNOWN;
            if width == Width::W32 {
                r.val.zext();
            }
            self.set(dst, r);
            return Ok(());
        }
        let same = r.val.r.umax < 1 << (bits - 1);
        if same {
            self.tie(src);
            r = *self.reg(src);
        } else {
            clear_id(&mut r);
        }
        match width {
            Width::W64 => r.val.sign_extend(bits as u32),
            Width::W32 => r.val.sign_extend_sub(bits as u32),
        }
        self.set(dst, r);
        Ok(())
    }

    /// `dst = -dst`.
    pub(crate) fn neg(&mut self, width: Width, dst: usize) -> Check {
        self.readable(dst)?;
        self.pointer_prohibited(dst)?;
        self.writable(dst)?;
        let r = *self.reg(dst);
        let mut out = Reg::UNKNOWN;
        if r.is_scalar() {
            out.val = r.val.neg(width);
        }
        self.set(dst, out);
        Ok(())
    }

    /// Byte order of `dst`.
    pub(crate) fn end(&mut self, kind: Endian, bits: u8, dst: usize) -> Check {
        self.readable(dst)?;
        self.pointer_prohibited(dst)?;
        self.writable(dst)?;
        let r = *self.reg(dst);
        let mut out = Reg::UNKNOWN;
        if r.is_scalar() {
            out.val = r.val.end(kind, bits);
        }
        self.set(dst, out);
        Ok(())
    }

    fn pointer_prohibited(&self, n: usize) -> Check {
        if self.leaks(n) {
            refuse!(PointerArithmetic, "R{n} pointer arithmetic prohibited");
        }
        Ok(())
    }

    /// `dst op= src`.
    pub(crate) fn alu(&mut self, op: AluOp, width: Width, dst: usize, src: Operand) -> Check {
        if op == AluOp::Mov {
            return self.mov(width, dst, src);
        }
        if let Operand::Reg(r) = src {
            self.readable(r.index())?;
        }
        self.readable(dst)?;
        check_immediate(op, width, src)?;
        self.writable(dst)?;
        let d = *self.reg(dst);
        if d.base == Base::Arena && width == Width::W64 {
            return Ok(());
        }
        let s = match src {
            Operand::Imm(i) => Reg::known(i as i64 as u64),
            Operand::Reg(r) => *self.reg(r.index()),
        };
        if let Operand::Reg(r) = src {
            let src = r.index();
            if s.base == Base::Arena && width == Width::W64 {
                self.set(dst, Reg::pointer(Base::Arena));
                return Ok(());
            }
            match (d.is_pointer(), s.is_pointer()) {
                (true, true) if op == AluOp::Sub && self.leaks_allowed() => {
                    self.set(dst, Reg::UNKNOWN);
                    return Ok(());
                }
                (true, true) => {
                    refuse!(PointerArithmetic, "R{dst} pointer {} pointer prohibited", symbol(op))
                }
                (false, true) => {
                    self.precise(dst)?;
                    return self.move_pointer(op, width, dst, &s, &d, false);
                }
                (true, false) => self.precise(src)?,
                _ => {}
            }
        }
        if d.is_pointer() {
            return self.move_pointer(op, width, dst, &d, &s, true);
        }
        self.masked_number(op, dst)?;
        let d = if matches!(op, AluOp::And | AluOp::Or) { self.fork(dst, &d, &s)? } else { d };
        let mut out = number(op, width, &d, &s);
        let itself = matches!(src, Operand::Reg(r) if r.index() == dst);
        if let Some((flag, off)) = self.distance(op, width, &d, &s.val).filter(|_| !itself) {
            (out.id, out.off) = (d.id | flag, off);
        }
        self.set(dst, out);
        Ok(())
    }

    /// How far from its origin a number is when a constant is added or taken away: the flag of its id, and the
    /// difference. A sum of 32 bits has one when its origin has no upper half.
    fn distance(&self, op: AluOp, width: Width, d: &Reg, s: &Scalar) -> Option<(u32, i32)> {
        let tied = d.id != 0 && d.id & ADD_CONST == 0 && matches!(op, AluOp::Add | AluOp::Sub);
        if !tied || !self.capable() || self.lacks.ability("tied-by-constant") {
            return None;
        }
        let (flag, k) = match width {
            Width::W64 => (ADD_CONST64, i32::try_from(s.as_const()? as i64).ok()?),
            Width::W32 if d.val.r.umax <= u32::MAX.into() => (ADD_CONST32, s.sub_const()? as i32),
            Width::W32 => return None,
        };
        let off = if op == AluOp::Sub { k.checked_neg()? } else { k };
        let old = flag == ADD_CONST64 && op == AluOp::Add && k >= 0;
        (old || !self.lacks.ability("tied-by-difference")).then_some((flag, off))
    }

    /// A number that is 0 or -1 (what an arithmetic shift leaves of a sign) and is about to be masked with a constant: 0
    /// becomes a branch of its own, which walks this instruction again, and the path goes on with -1
    /// (`maybe_fork_scalars`, Linux 6.18 stable).
    fn fork(&mut self, dst: usize, d: &Reg, s: &Reg) -> Check<Reg> {
        let sign = |min: i64, max: i64| min == -1 && max == 0;
        let whole = sign(d.val.r.smin, d.val.r.smax);
        if s.val.as_const().is_none() || !(whole || sign(d.val.sub.smin, d.val.sub.smax)) {
            return Ok(*d);
        }
        let known = |v: i64| {
            let mut r = *d;
            if whole {
                clear_id(&mut r);
                r.val = Scalar::constant(v as u64);
            } else {
                r.val.know_sub(v as u64);
            }
            r
        };
        let pc = self.cur.insn;
        *self.push(pc, pc)?.reg_mut(dst) = known(0);
        Ok(known(-1))
    }

    /// `pointer op number` into `dst`; `in_place` when the pointer was there before.
    fn move_pointer(
        &mut self,
        op: AluOp,
        width: Width,
        dst: usize,
        ptr: &Reg,
        off: &Reg,
        in_place: bool,
    ) -> Check {
        if off.val.is_empty() {
            self.set(dst, Reg::UNKNOWN);
            return Ok(());
        }
        let probed = matches!(ptr.base, Base::Mem(_)) && ptr.flags.has(Flags::UNTRUSTED);
        if width == Width::W64 && probed && !ptr.maybe_null() {
            // Loads through it are checked at run time: where it points is not tracked.
            if !in_place {
                self.set(dst, Reg::UNKNOWN);
            }
            return Ok(());
        }
        if width == Width::W32 {
            if op == AluOp::Sub && self.leaks_allowed() {
                self.set(dst, Reg::UNKNOWN);
                return Ok(());
            }
            refuse!(PointerArithmetic, "R{dst} 32-bit pointer arithmetic prohibited");
        }
        self.movable(op, dst, ptr, off)?;
        sane(off, ptr)?;
        sane(ptr, ptr)?;
        self.masked(op, dst, (ptr, off), in_place, None)?;
        let mut out = *ptr;
        match op {
            AluOp::Add => self.advance(&mut out, ptr, off),
            AluOp::Sub if !in_place => {
                refuse!(PointerArithmetic, "R{dst} tried to subtract pointer from scalar")
            }
            AluOp::Sub if matches!(ptr.base, Base::Stack(_)) => {
                refuse!(PointerArithmetic, "R{dst} subtraction from stack pointer prohibited")
            }
            AluOp::Sub => self.retreat(&mut out, ptr, off),
            AluOp::And | AluOp::Or | AluOp::Xor => {
                refuse!(PointerArithmetic, "R{dst} bitwise operator {} on pointer prohibited", symbol(op))
            }
            _ => refuse!(
                PointerArithmetic,
                "R{dst} pointer arithmetic with {} operator prohibited",
                symbol(op)
            ),
        }
        sane(&out, ptr)?;
        out.val.sync();
        self.moved_inside(dst, &out)?;
        self.masked(op, dst, (ptr, off), in_place, Some(&out))?;
        self.set(dst, out);
        Ok(())
    }

    fn movable(&self, op: AluOp, dst: usize, ptr: &Reg, off: &Reg) -> Check {
        if ptr.maybe_null() {
            let t = ptr.type_name();
            refuse!(NullPointer, "R{dst} pointer arithmetic on {t} prohibited, null-check it first");
        }
        let known = off.val.as_const();
        let ok = match ptr.base {
            Base::Ctx
            | Base::MapValue(_)
            | Base::MapKey(_)
            | Base::Stack(_)
            | Base::PacketMeta
            | Base::Packet
            | Base::TpBuffer
            | Base::Btf(_)
            | Base::Mem(_)
            | Base::Buf
            | Base::Func(_)
            | Base::ConstDynptr(_) => true,
            Base::FlowKeys => known.is_some(),
            Base::MapPtr(_) => known == Some(0) && op == AluOp::Add,
            _ => false,
        };
        if !ok {
            refuse!(PointerArithmetic, "R{dst} pointer arithmetic on {} prohibited", ptr.type_name());
        }
        Ok(())
    }

    fn advance(&mut self, out: &mut Reg, ptr: &Reg, off: &Reg) {
        if let Some(sum) =
            fixed(off).and_then(|k| (ptr.off as i64).checked_add(k)).and_then(|s| s.try_into().ok())
        {
            out.off = sum;
            return;
        }
        out.val = add_exact(&ptr.val, &off.val);
        if ptr.is_packet() {
            out.id = self.new_id();
            out.range = 0;
        }
    }

    fn retreat(&mut self, out: &mut Reg, ptr: &Reg, off: &Reg) {
        if let Some(rest) =
            fixed(off).and_then(|k| (ptr.off as i64).checked_sub(k)).and_then(|s| s.try_into().ok())
        {
            out.off = rest;
            return;
        }
        out.val = sub_exact(&ptr.val, &off.val);
        if ptr.is_packet() {
            out.id = self.new_id();
            if off.val.r.smin < 0 {
                out.range = 0;
            }
        }
    }
}

fn fixed(off: &Reg) -> Option<i64> {
    off.val.as_const().map(|v| v as i64)
}

/// Offsets: an end that overflows makes that view unknown.
fn add_exact(a: &Scalar, b: &Scalar) -> Scalar {
    let mut out = Scalar { bits: a.bits.add(b.bits), ..Scalar::UNKNOWN };
    if let (Some(lo), Some(hi)) = (a.r.smin.checked_add(b.r.smin), a.r.smax.checked_add(b.r.smax)) {
        (out.r.smin, out.r.smax) = (lo, hi);
    }
    if let (Some(lo), Some(hi)) = (a.r.umin.checked_add(b.r.umin), a.r.umax.checked_add(b.r.umax)) {
        (out.r.umin, out.r.umax) = (lo, hi);
    }
    out
}

fn sub_exact(a: &Scalar, b: &Scalar) -> Scalar {
    let mut out = Scalar { bits: a.bits.sub(b.bits), ..Scalar::UNKNOWN };
    if let (Some(lo), Some(hi)) = (a.r.smin.checked_sub(b.r.smax), a.r.smax.checked_sub(b.r.smin)) {
        (out.r.smin, out.r.smax) = (lo, hi);
    }
    if a.r.umin >= b.r.umax {
        (out.r.umin, out.r.umax) = (a.r.umin - b.r.umax, a.r.umax - b.r.umin);
    }
    out
}

fn check_immediate(op: AluOp, width: Width, src: Operand) -> Check {
    let Operand::Imm(imm) = src else { return Ok(()) };
    match op {
        AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod if imm == 0 => refuse!(Division, "div by zero"),
        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh if imm < 0 || imm as u32 >= width.bits() => {
            refuse!(Shift, "invalid shift {imm}")
        }
        _ => Ok(()),
    }
}

/// The number that an operation leaves.
fn number(op: AluOp, width: Width, d: &Reg, s: &Reg) -> Reg {
    if s.val.is_empty() || d.val.is_empty() {
        return Reg::UNKNOWN;
    }
    Reg::scalar(d.val.alu(op, width, &s.val))
}

/// Not tied to anything.
pub(crate) fn clear_id(r: &mut Reg) {
    (r.id, r.off) = (0, 0);
}

/// Offsets stay far from where they could wrap (`check_reg_sane_offset`).
fn sane(r: &Reg, ptr: &Reg) -> Check {
    if let Some(v) = r.val.as_const().map(|v| v as i64)
        && (v >= MAX_OFF || v <= -MAX_OFF)
    {
        refuse!(PointerArithmetic, "math between {ptr} pointer and {v} is not allowed");
    }
    if !r.is_scalar() && (r.off as i64 >= MAX_OFF || r.off as i64 <= -MAX_OFF) {
        refuse!(PointerArithmetic, "{ptr} pointer offset {} is not allowed", r.off);
    }
    let smin = r.val.r.smin;
    if smin == i64::MIN {
        refuse!(
            PointerArithmetic,
            "math between {ptr} pointer and register with unbounded min value is not allowed"
        );
    }
    if smin >= MAX_OFF || smin <= -MAX_OFF {
        refuse!(PointerArithmetic, "value {smin} makes {ptr} pointer be out of bounds");
    }
    Ok(())
}
