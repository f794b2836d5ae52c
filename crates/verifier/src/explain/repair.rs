//! Changes of what an access is, or of what it needs: its size, place or alignment, the map that it falls out of, a context
//! that was moved, memory that only the kernel may read, loops that do not end, dynptrs that are owed.

use super::CauseKind;
use super::fix::Candidate;
use super::patch::Edit;
use crate::machine::Vm;
use crate::reject::{Reject, Rule};
use crate::state::MAX_STACK;
use crate::value::{Base, Reg};
use skep_isa::asm::parse_insns;
use skep_isa::{AluOp, Op, Operand, Size, Width};
use skep_platform::ctx::FieldKind as CtxKind;
use skep_platform::helper::Rule as Special;
use skep_platform::map::flags;

/// Largest value of a map that is suggested.
const LARGEST: i64 = 4096;

/// Addresses of the kernel begin here on 64-bit machines, with tables of five levels.
const KERNEL: u64 = 0xff00_0000_0000_0000;

/// Most loops that are tried.
const LOOPS: usize = 4;

const SIZES: [Size; 4] = [Size::Dw, Size::W, Size::H, Size::B];

/// Where a load or store goes: the register, its offset, bytes.
#[derive(Clone, Copy)]
struct Access {
    base: u8,
    off: i16,
    bytes: i64,
}

fn access(op: &Op) -> Option<Access> {
    let (base, off, bytes) = match *op {
        Op::Load { size, src, off, .. } | Op::LoadAcquire { size, src, off, .. } => (src, off, size.bytes()),
        Op::Store { size, dst, off, .. } | Op::StoreRelease { size, dst, off, .. } => {
            (dst, off, size.bytes())
        }
        Op::Atomic { width, dst, off, .. } => (dst, off, width.bytes()),
        _ => return None,
    };
    Some(Access { base: base.index() as u8, off, bytes: bytes as i64 })
}

/// The same with another offset.
fn moved(op: &Op, to: i64) -> Option<Op> {
    let to = i16::try_from(to).ok()?;
    let mut new = *op;
    match &mut new {
        Op::Load { off, .. }
        | Op::Store { off, .. }
        | Op::LoadAcquire { off, .. }
        | Op::StoreRelease { off, .. }
        | Op::Atomic { off, .. } => *off = to,
        _ => return None,
    }
    Some(new)
}

impl Vm<'_> {
    /// What else might help against a refusal at the current instruction.
    pub(super) fn repairs(&self, why: &Reject, culprit: Option<u8>, out: &mut Vec<Candidate>) {
        match why.rule {
            Rule::ContextAccess => self.reads_field(out),
            Rule::Alignment => self.aligns(out),
            Rule::StackAccess => self.stays_in_frame(out),
            Rule::InfiniteLoop | Rule::TooComplex => self.bounds_loops(out),
            Rule::Dynptr | Rule::Reference => {
                self.gives_dynptrs_back(out);
                self.takes_call_out(out);
            }
            Rule::PointerArithmetic => self.turns_around(out),
            Rule::MemoryAccess => self.reads_part(out),
            _ => {}
        }
        // A call that may not write into a map does not say which of its arguments that is.
        let in_map = |n: &u8| matches!(self.cur.reg(*n as usize).base, Base::MapValue(_));
        let argument = || (1..6u8).find(in_map).filter(|_| why.rule == Rule::MapAccess);
        let Some(n) = culprit.or_else(argument) else { return };
        let r = *self.cur.reg(n as usize);
        match r.base {
            Base::MapValue(m) => self.changes_map(m, n, &r, why, out),
            Base::Ctx => self.moves_back(n, &r, out),
            Base::Scalar if why.rule == Rule::BadPointer => {
                let at = self.fault_at(self.cur.insn);
                let void = self.causes(why, culprit, at).iter().any(|c| c.kind == CauseKind::Destroyed);
                if void { self.loads_packet_again(n, out) } else { self.asks_kernel(n, out) }
            }
            _ => {}
        }
    }

    /// One instruction in place of the one at hand.
    fn instead(&self, op: &Op, words: String) -> Option<Candidate> {
        let pc = self.cur.insn;
        let encoded = op.encode();
        let insn = *encoded.to_vec().first()?;
        let text = vec![self.insn_text(pc, op)];
        Some(Candidate { words, insn: pc, edits: vec![Edit::Replace { at: pc, insn }], text })
    }

    /// Fields of the context are read whole, or in parts that the kernel allows, without a sign.
    fn reads_field(&self, out: &mut Vec<Candidate>) {
        let Some(Op::Load { size, dst, src, off, .. }) = self.code.op(self.cur.insn).copied() else { return };
        let r = self.cur.reg(src.index());
        let Some(start) = r.val.as_const().map(|v| i64::from(r.off) + v as i64) else { return };
        let (from, to) = (start + i64::from(off), start + i64::from(off) + size.bytes() as i64);
        let fields = self.layout.map_or(&[][..], |l| l.fields);
        let meant = fields.iter().filter(|f| i64::from(f.off) < to && from < i64::from(f.off + f.size));
        for f in meant {
            let same = i64::from(f.off) <= from;
            for size in SIZES.into_iter().filter(|s| s.bytes() as i64 <= i64::from(f.size)) {
                let bytes = size.bytes() as i64;
                // The part that was meant, then the field's beginning.
                let part = from.div_euclid(bytes) * bytes;
                for at in [part, i64::from(f.off)].into_iter().filter(|at| same || *at == i64::from(f.off)) {
                    let Ok(off) = i16::try_from(at - start) else { continue };
                    let op = Op::Load { size, sx: false, dst, src, off };
                    let bits = 8 * bytes;
                    let words = format!(
                        "read `{}` as the kernel lets programs read it: {bits} bits at offset {at}, unsigned",
                        f.name
                    );
                    out.extend(self.instead(&op, words));
                }
            }
        }
    }

    fn aligns(&self, out: &mut Vec<Candidate>) {
        let Some(op) = self.code.op(self.cur.insn) else { return };
        let Some(a) = access(op) else { return };
        let r = self.cur.reg(a.base as usize);
        let Some(var) = r.val.as_const().map(|v| v as i64) else { return };
        let over = (i64::from(r.off) + var + i64::from(a.off)).rem_euclid(a.bytes);
        let words =
            format!("align it: what is accessed {} bytes at once begins at a multiple of {0}", a.bytes);
        for to in [i64::from(a.off) - over, i64::from(a.off) - over + a.bytes] {
            out.extend(moved(op, to).and_then(|op| self.instead(&op, words.clone())));
        }
    }

    /// A pointer taken from a number is the other way round.
    fn turns_around(&self, out: &mut Vec<Candidate>) {
        let pc = self.cur.insn;
        let Some(Op::Alu { op: AluOp::Sub, width: Width::W64, dst, src: Operand::Reg(src) }) =
            self.code.op(pc)
        else {
            return;
        };
        let (d, s) = (dst.index(), src.index());
        if !self.cur.reg(d).is_scalar() || !self.cur.reg(s).is_pointer() {
            return;
        }
        let words = "take the number from the pointer, not the pointer from the number".to_owned();
        let Some(mut c) = Candidate::replace(pc, &format!("r{d} += r{s}"), words) else { return };
        let negated = format!("r{d} = -r{d}");
        let Ok(insns) = parse_insns(&negated) else { return };
        c.edits.push(Edit::Insert { at: pc, insns });
        c.text.insert(0, negated);
        out.push(c);
    }

    /// Structures of sockets are read field by field.
    fn reads_part(&self, out: &mut Vec<Candidate>) {
        let Some(Op::Load { size, dst, src, off, .. }) = self.code.op(self.cur.insn).copied() else { return };
        if !matches!(self.cur.reg(src.index()).base, Base::Socket | Base::SockCommon | Base::TcpSock) {
            return;
        }
        for new in SIZES.into_iter().filter(|s| *s != size) {
            let bytes = new.bytes() as i64;
            let at = i64::from(off).div_euclid(bytes) * bytes;
            let Ok(off) = i16::try_from(at) else { continue };
            let words = format!("read the field with its own size: {} bits at offset {at}", 8 * bytes);
            out.extend(self.instead(&Op::Load { size: new, sx: false, dst, src, off }, words));
        }
    }

    /// A pointer on the stack is read whole; an access through `r10` itself is put into the frame.
    fn stays_in_frame(&self, out: &mut Vec<Candidate>) {
        let Some(op) = self.code.op(self.cur.insn) else { return };
        if let Op::Load { dst, src, off, .. } = *op
            && off % 8 == 0
        {
            let whole = Op::Load { size: Size::Dw, sx: false, dst, src, off };
            out.extend(self.instead(&whole, "read the pointer whole: 8 bytes".to_owned()));
        }
        let Some(a) = access(op).filter(|a| a.base == 10) else { return };
        let off = i64::from(a.off);
        let to = if off < -MAX_STACK { -MAX_STACK } else { -a.bytes };
        if off < -MAX_STACK || off + a.bytes > 0 {
            let words = format!("stay inside of the frame, which has offsets from -{MAX_STACK} to -1");
            out.extend(moved(op, to).and_then(|op| self.instead(&op, words)));
        }
    }

    /// The loop ends when the kernel's counter does.
    fn bounds_loops(&self, out: &mut Vec<Candidate>) {
        let func = &self.code.funcs[self.cur.frame().subprog];
        let pc = self.cur.insn;
        let leave = self.leave_early();
        let backwards = (func.start..func.end).filter_map(|from| {
            let to = usize::try_from(self.code.op(from)?.jump_target(from)?).ok()?;
            (to <= from && to <= pc && pc <= from).then_some(to)
        });
        let mut heads: Vec<usize> = backwards.collect();
        heads.sort_unstable_by(|a, b| b.cmp(a));
        heads.dedup();
        for head in heads.into_iter().take(LOOPS) {
            let words = "bound the loop: `bpf_for (i, 0, N)`, or `while (… && can_loop)`".to_owned();
            let asm = format!("may_goto +1\ngoto +2\n{}", leave.asm);
            out.extend(Candidate::insert(head, &asm, words));
        }
    }

    /// The map is made such that the access is allowed: a larger value, or rights.
    fn changes_map(&self, m: u16, n: u8, r: &Reg, why: &Reject, out: &mut Vec<Candidate>) {
        let index = m as usize;
        let Some(info) = self.maps.get(index).filter(|i| i.map.is_some()) else { return };
        let mut def = info.def.clone();
        let forbidden = flags::RDONLY_PROG | flags::WRONLY_PROG;
        let words = if why.message.contains("forbidden") && def.flags & forbidden != 0 {
            def.flags &= !forbidden;
            match def.name.contains(".rodata") {
                true => "declare the variable without `const`: programs may not write what is".to_owned(),
                false => {
                    format!("create the map `{}` without BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG", def.name)
                }
            }
        } else {
            let end = || {
                let last = i64::try_from(r.val.r.umax).ok()?.checked_add(r.off.into())?;
                last.checked_add(self.touched(n)?)
            };
            let size = end().filter(|e| (i64::from(def.value_size) + 1..=LARGEST).contains(e));
            let Some(size) = size else { return };
            let size = (size + 7) / 8 * 8;
            let words = format!("give the map `{}` values of {size} bytes, not {}", def.name, def.value_size);
            def.value_size = size as u32;
            words
        };
        let edits = vec![Edit::Map { index, def: Box::new(def) }];
        out.push(Candidate { words, insn: self.cur.insn, edits, text: Vec::new() });
    }

    /// The context is handed on as it came.
    fn moves_back(&self, n: u8, r: &Reg, out: &mut Vec<Candidate>) {
        let Some(by) = r.val.as_const().map(|v| i64::from(r.off) + v as i64) else { return };
        if by == 0 || n == 10 {
            return;
        }
        let words =
            "use the context itself: pointers into it, with something added, are not taken".to_owned();
        out.extend(Candidate::insert(self.cur.insn, &format!("r{n} += {}", -by), words));
    }

    /// Pointers into the packet that a call has voided are loaded and compared anew.
    fn loads_packet_again(&self, n: u8, out: &mut Vec<Candidate>) {
        let path = self.trace.as_ref().map_or(&[][..], |t| t.path());
        let mut then = path.iter().rev().flat_map(|s| s.after.iter().chain(&s.uses));
        let old = then.find(|(r, v)| *r == n && v.base == Base::Packet).map(|(_, v)| *v);
        let Some(off) = old.and_then(|v| Some(i64::from(v.off) + v.val.as_const()? as i64)) else { return };
        let field = |kind| Some(self.layout?.fields.iter().find(|f| f.kind == kind)?.off);
        let ends = field(CtxKind::PacketData).zip(field(CtxKind::PacketEnd));
        let Some(((start, end), need)) = ends.zip(self.touched_soon(n)) else { return };
        let Some(ctx) = self.holder(|r| r.base == Base::Ctx && r.off == 0) else { return };
        let mut but = vec![n];
        but.extend(ctx.ok());
        let Some(last) = self.free(&but) else { return };
        but.push(last);
        let Some(spare) = self.free(&but) else { return };
        let (load, from) = match ctx {
            Ok(r) => (String::new(), r),
            Err(slot) => (format!("r{spare} = *(u64 *)(r10 {slot:+})\n"), spare),
        };
        let leave = self.leave_early();
        let asm = format!(
            "{load}r{n} = *(u32 *)(r{from} +{start})\nr{last} = *(u32 *)(r{from} +{end})\nr{n} += {off}\n\
             r{spare} = r{n}\nr{spare} += {need}\nif r{spare} <= r{last} goto +2\n{}",
            leave.asm
        );
        let words = format!(
            "load `data` and `data_end` again after the call, and compare again: `if (data + {} > data_end) {}`",
            off + need,
            leave.c
        );
        out.extend(Candidate::insert(self.cur.insn, &asm, words));
    }

    /// Memory at an address that nothing is known of is read by a helper. What is needed afterwards is put aside on the
    /// stack, below what the function uses.
    fn asks_kernel(&self, n: u8, out: &mut Vec<Candidate>) {
        let pc = self.cur.insn;
        let Some(Op::Load { size, sx: false, dst, src, off }) = self.code.op(pc).copied() else { return };
        if self.cur.reg(n as usize).val.r.umax < KERNEL {
            return;
        }
        let caller = self.caller();
        let reads =
            |h: &&&skep_platform::Helper| h.rule == Special::ReadsKernel && h.proto_for(&caller).is_some();
        let Some(helper) = self.platform.helpers.iter().find(reads) else { return };
        let after = self.live_regs.get(pc + 1).copied().unwrap_or(u16::MAX);
        let kept: Vec<u8> = (0..6).filter(|r| after >> r & 1 == 1 && *r != dst.index() as u8).collect();
        let used = (self.depths[self.cur.frame().subprog] + 7) / 8 * 8;
        let slot = |i: usize| -(used + 8 + 8 * i as i64);
        if slot(kept.len()) < -MAX_STACK || src.index() as u8 != n {
            return;
        }
        let mut asm = String::new();
        for (i, r) in kept.iter().enumerate() {
            asm += &format!("*(u64 *)(r10 {:+}) = r{r}\n", slot(i + 1));
        }
        let (here, bytes) = (slot(0), size.bytes());
        asm += &format!("r3 = r{n}\nr3 += {off}\nr2 = {bytes}\nr1 = r10\nr1 += {here}\n");
        asm += &format!("*(u64 *)(r10 {here:+}) = 0\ncall {}\n", helper.id);
        for (i, r) in kept.iter().enumerate() {
            asm += &format!("r{r} = *(u64 *)(r10 {:+})\n", slot(i + 1));
        }
        let load = format!("r{} = *(u{} *)(r10 {here:+})", dst.index(), 8 * bytes);
        let words = format!(
            "if this is an address in the kernel, read it with `{}(&value, {bytes}, pointer)` (or BPF_CORE_READ)",
            helper.name
        );
        let Some(mut c) = Candidate::replace(pc, &load, words) else { return };
        let Ok(insns) = parse_insns(&asm) else { return };
        c.edits.push(Edit::Insert { at: pc, insns });
        c.text.splice(0..0, asm.lines().map(str::to_owned));
        out.push(c);
    }

    /// Records that a dynptr of this frame owes are given up here.
    fn gives_dynptrs_back(&self, out: &mut Vec<Candidate>) {
        let caller = self.caller();
        let owed = |id: u32| id != 0 && self.cur.refs.iter().any(|r| r.id == id);
        let stack = self.cur.frame().stack.iter().enumerate();
        let first = |r: &Reg| matches!(r.base, Base::DynptrSlot(_, true)) && owed(r.ref_id);
        for (spi, _) in stack.filter(|(_, s)| s.is_special() && first(&s.reg)) {
            let releasing = |h: &&&skep_platform::Helper| {
                h.proto_for(&caller).and_then(|p| p.args.first()).is_some_and(|a| a.release)
            };
            for h in self.platform.helpers.iter().filter(releasing) {
                let spot = super::fix::Spot { pc: self.cur.insn, reg: 10, taken: false };
                let off = -8 * (spi as i64 + 1);
                let call = format!("r1 = r10\nr1 += {off}\nr2 = 0\ncall {}\n", h.id);
                let words = format!("give the record up first: `{}(&ptr, 0);`", h.name);
                out.extend(Candidate::insert(spot.pc, &self.guarded(spot, &call), words));
            }
        }
    }
}
