//! Conditional jumps: which way is certain, and what each side learns about both operands, about those tied to them,
//! about pointers that may be NULL, and about the packet's end.

use crate::alu::clear_id;
use crate::branch::{self, Claim};
use crate::held::Held;
use crate::machine::Vm;
use crate::reject::{Check, refuse};
use crate::scalar::Scalar;
use crate::state::{Place, State};
use crate::step::Flow;
use crate::tnum::Tnum;
use crate::value::{ADD_CONST, ADD_CONST32, AT_END, BEYOND_END, Base, Flags, Reg};
use skep_isa::{AluOp, Cond, Operand, Width};
use skep_platform::MapType;
use skep_platform::facts::Ways;

const MAX_PACKET_OFF: u64 = 0xffff;
const MAX_LINKED: usize = 6;

impl Vm<'_> {
    /// `if dst cond src goto target`.
    pub(crate) fn jump_if(
        &mut self,
        cond: Cond,
        width: Width,
        dst: usize,
        src: Operand,
        target: usize,
    ) -> Check<Flow> {
        let pc = self.cur.insn;
        self.readable(dst)?;
        let (sreg, s) = match src {
            Operand::Reg(r) => {
                let n = r.index();
                self.readable(n)?;
                let both = self.reg(dst).is_packet_any() && self.reg(n).is_packet_any();
                if !both && self.leaks(n) {
                    refuse!(PointerLeak, "R{n} pointer comparison prohibited");
                }
                (Some(n), *self.reg(n))
            }
            Operand::Imm(i) => (None, Reg::known(i as i64 as u64)),
        };
        let d = *self.reg(dst);
        let (ds, ss) = (matches!(d.base, Base::Stack(_)), matches!(s.base, Base::Stack(_)));
        if ds || ss {
            self.note(|h| (h.dst_stack, h.src_stack) = (ds, ss));
        }
        if let Some(taken) = taken(cond, width, &d, &s) {
            if !d.is_pointer() {
                self.precise(dst)?;
            }
            if let Some(n) = sreg.filter(|_| !s.is_pointer()) {
                self.precise(n)?;
            }
            self.guess_jump(dst, src, if taken { pc + 1 } else { target })?;
            self.facts.branch(pc, if taken { Ways::Jumps } else { Ways::Falls });
            self.log_touched(pc);
            return Ok(Flow::To(if taken { target } else { pc + 1 }));
        }
        self.facts.branch(pc, Ways::Both);
        let linked = self.tied(&d, sreg.map(|_| &s));
        if linked.len() > 1 {
            self.note(|h| {
                for (slot, p) in h.linked.iter_mut().zip(&linked) {
                    *slot = Some(*p);
                }
            });
        }
        self.push(target, pc)?;
        let Some(mut branch) = self.pending.pop() else { refuse!(Internal, "no branch") };
        narrow(cond, width, dst, sreg, &s, &mut self.cur, &mut branch.state, &linked);
        self.pointers(cond, width, dst, sreg, (&d, &s), &mut branch.state)?;
        self.pending.push(branch);
        self.log_touched(pc);
        Ok(Flow::To(pc + 1))
    }

    /// Registers that may still be read, and slots, that are tied to either operand. There is room for a few: the ties of
    /// the others are cut (`collect_linked_regs`).
    fn tied(&mut self, d: &Reg, s: Option<&Reg>) -> Vec<Place> {
        let mut out = Vec::new();
        for r in s.into_iter().chain([d]) {
            if r.is_scalar() && r.id != 0 {
                self.collect(r.id & !ADD_CONST, &mut out);
            }
        }
        if out.len() > MAX_LINKED {
            for p in out.split_off(MAX_LINKED) {
                clear_id(place(&mut self.cur, &p));
            }
        }
        out
    }

    fn collect(&self, id: u32, out: &mut Vec<Place>) {
        let same = |r: &Reg| r.is_scalar() && r.id & !ADD_CONST == id;
        for (f, frame) in self.cur.frames.iter().enumerate().rev() {
            let live = self.live_regs.get(self.cur.insn_of_frame(f)).copied().unwrap_or(u16::MAX);
            let regs = frame.regs.iter().take(10).enumerate();
            let regs = regs.filter(|(i, r)| live >> i & 1 == 1 && same(r)).map(|(i, _)| (i, false));
            let slots = frame.stack.iter().enumerate();
            let slots = slots.filter(|(_, s)| s.is_spill() && same(&s.reg)).map(|(i, _)| (i, true));
            out.extend(regs.chain(slots).map(|(i, slot)| Place { frame: f as u8, index: i as u8, slot }));
        }
    }

    /// What pointers learn: NULL or not, how far the packet reaches.
    fn pointers(
        &mut self,
        cond: Cond,
        width: Width,
        dst: usize,
        sreg: Option<usize>,
        (d, s): (&Reg, &Reg),
        other: &mut State,
    ) -> Check {
        let wide = width == Width::W64;
        let equality = matches!(cond, Cond::Eq | Cond::Ne);
        if let (true, true, Some(n)) = (wide, equality, sreg) {
            let btf = |r: &Reg| matches!(r.base, Base::Btf(_));
            if d.is_pointer() && s.is_pointer() && !btf(d) && !btf(s) {
                let equal = if cond == Cond::Eq { &mut *other } else { &mut self.cur };
                if d.not_null() && s.maybe_null() {
                    not_null(&self.maps, equal.reg_mut(n));
                }
                if s.not_null() && d.maybe_null() {
                    not_null(&self.maps, equal.reg_mut(dst));
                }
            }
        }
        let null_check = wide && sreg.is_none() && s.is_null() && equality && d.maybe_null();
        if null_check {
            null_or_not(&self.maps, &mut self.cur, d, cond == Cond::Ne);
            null_or_not(&self.maps, other, d, cond == Cond::Eq);
            return Ok(());
        }
        let packets = wide && sreg.is_some_and(|n| packet_ends(cond, (dst, d), (n, s), &mut self.cur, other));
        if !packets && self.leaks(dst) {
            refuse!(PointerLeak, "R{dst} pointer comparison prohibited");
        }
        Ok(())
    }
}

/// Whether the jump is certainly taken, or certainly not.
fn taken(cond: Cond, width: Width, d: &Reg, s: &Reg) -> Option<bool> {
    if d.is_packet_any() && s.is_packet_any() && width == Width::W64 {
        return packet_taken(cond, d, s);
    }
    if !d.is_pointer() && !s.is_pointer() {
        return branch::outcome(cond, width, &d.val, &s.val);
    }
    if width == Width::W32 {
        return None;
    }
    let (p, k, cond) =
        if s.is_scalar() && s.val.as_const().is_some() { (d, s, cond) } else { (s, d, cond.swap()) };
    if !k.is_scalar() || k.val.as_const() != Some(0) || !p.not_null() {
        return None;
    }
    match cond {
        Cond::Eq => Some(false),
        Cond::Ne => Some(true),
        _ => None,
    }
}

fn packet_taken(cond: Cond, d: &Reg, s: &Reg) -> Option<bool> {
    let (p, cond) = match (d.base, s.base) {
        (_, Base::PacketEnd) => (d, cond),
        (Base::PacketEnd, _) => (s, cond.swap()),
        _ => return None,
    };
    match cond {
        Cond::Le | Cond::Gt if p.range == BEYOND_END => Some(cond == Cond::Gt),
        Cond::Lt | Cond::Ge if p.range == BEYOND_END || p.range == AT_END => Some(cond == Cond::Ge),
        _ => None,
    }
}

/// Numbers on both sides of the jump.
#[allow(clippy::too_many_arguments)]
fn narrow(
    cond: Cond,
    width: Width,
    dst: usize,
    sreg: Option<usize>,
    s: &Reg,
    stay: &mut State,
    go: &mut State,
    linked: &[Place],
) {
    if !stay.reg(dst).is_scalar() || !s.is_scalar() {
        return;
    }
    for (state, claim) in [(stay, Claim::not(cond)), (go, Claim::Is(cond))] {
        let mut a = state.reg(dst).val;
        let mut b = sreg.map_or(s.val, |n| state.reg(n).val);
        branch::refine(claim, width, &mut a, &mut b);
        state.reg_mut(dst).val = settled(a);
        if let Some(n) = sreg {
            state.reg_mut(n).val = settled(b);
        }
        for n in sreg.into_iter().chain([dst]) {
            let known = *state.reg(n);
            if known.id != 0 {
                spread(state, &known, n, linked);
            }
        }
    }
}

/// A set that came out empty belongs to a way that cannot be taken: its ranges are forgotten, as in the kernel.
fn settled(mut v: Scalar) -> Scalar {
    let broken =
        v.is_empty() || v.as_const().is_some_and(|c| !v.r.contains(c) || !v.sub.contains(c & 0xffff_ffff));
    if broken {
        v.forget_ranges();
    }
    v
}

/// What is known of one number holds of those tied to it (`sync_linked_regs`).
fn spread(state: &mut State, known: &Reg, at: usize, linked: &[Place]) {
    let top = state.depth() as u8;
    for p in linked {
        if *p == (Place { frame: top, index: at as u8, slot: false }) {
            continue;
        }
        let r = place(state, p);
        if !r.is_scalar() || r.id & !ADD_CONST != known.id & !ADD_CONST {
            continue;
        }
        // A difference of 64 bits and one of 32 say nothing of each other.
        if (r.id ^ known.id) & ADD_CONST == ADD_CONST {
            continue;
        }
        if r.off == known.off {
            r.set(*known);
            continue;
        }
        let delta = Scalar::constant((r.off as i64 - known.off as i64) as u64);
        let width = if (r.id | known.id) & ADD_CONST32 != 0 { Width::W32 } else { Width::W64 };
        r.val = known.val.alu(AluOp::Add, width, &delta);
    }
}

/// A register or a slot's contents.
fn place<'a>(state: &'a mut State, p: &Place) -> &'a mut Held {
    let frame = state.frame_at_mut(p.frame as usize);
    if p.slot { &mut frame.stack[p.index as usize].reg } else { &mut frame.regs[p.index as usize] }
}

/// The pointer is not NULL any more; look-ups in maps of maps and of sockets yield other things.
pub(crate) fn not_null(maps: &[crate::maps::MapInfo], r: &mut Reg) {
    r.flags = r.flags.without(Flags::MAYBE_NULL);
    let Base::MapValue(m) = r.base else { return };
    let map = &maps[m as usize];
    if let Some(inner) = map.inner {
        r.base = Base::MapPtr(inner);
        r.origin = r.id;
    } else if map.kind() == MapType::Xskmap {
        r.base = Base::XdpSock;
    } else if matches!(map.kind(), MapType::Sockmap | MapType::Sockhash) {
        r.base = Base::Socket;
    }
}

/// All copies of a pointer that may be NULL become one or the other.
fn null_or_not(maps: &[crate::maps::MapInfo], state: &mut State, p: &Reg, null: bool) {
    let id = p.id;
    if null && p.ref_id != 0 && p.ref_id == id {
        state.refs.retain(|r| r.id != id);
    }
    state.for_each_reg(
        |r| r.maybe_null() && r.id == id,
        |r| {
            if null {
                *r = Reg::known(0);
                return;
            }
            let lock = match r.base {
                Base::MapValue(m) => {
                    use crate::maps::FieldKind;
                    let m = &maps[m as usize];
                    m.field(FieldKind::SpinLock).is_some() || m.field(FieldKind::ResSpinLock).is_some()
                }
                Base::Btf(_) => r.flags.has(Flags::ALLOC),
                _ => false,
            };
            not_null(maps, r);
            if !lock {
                r.id = 0;
            }
        },
    );
}

/// A packet pointer compared with the packet's end, or metadata with the packet's start: both sides learn how many
/// bytes are there. False when it is no such comparison.
fn packet_ends(
    cond: Cond,
    (dn, d): (usize, &Reg),
    (sn, s): (usize, &Reg),
    stay: &mut State,
    go: &mut State,
) -> bool {
    let start =
        |r: &Reg| r.base == Base::Packet && r.id == 0 && r.off == 0 && r.val.bits == Tnum::constant(0);
    let pair = |a: &Reg, b: &Reg| {
        (a.base == Base::Packet && b.base == Base::PacketEnd) || (a.base == Base::PacketMeta && start(b))
    };
    let (p, n, cond) = if pair(d, s) {
        (d, dn, cond)
    } else if pair(s, d) {
        (s, sn, cond.swap())
    } else {
        return false;
    };
    // On the side where p <= end (or p < end) that much is there; on the other p is beyond (or at) the end.
    let (inside, outside, open) = match cond {
        Cond::Gt => (stay, go, false),
        Cond::Ge => (stay, go, true),
        Cond::Lt => (go, stay, true),
        Cond::Le => (go, stay, false),
        _ => return false,
    };
    reaches(inside, p, open);
    if p.base == Base::Packet {
        outside.reg_mut(n).range = if open { AT_END } else { BEYOND_END };
    }
    true
}

fn reaches(state: &mut State, p: &Reg, open: bool) {
    if p.off < 0 || (p.off == 0 && open) {
        return;
    }
    let most = p.val.r.umax;
    if most > MAX_PACKET_OFF || most + p.off as u64 > MAX_PACKET_OFF {
        return;
    }
    let range = p.off + i32::from(open);
    let (base, id) = (p.base, p.id);
    state.for_each_reg(|r| r.base == base && r.id == id, |r| r.range = r.range.max(range));
}
