//! Which loads and stores of a verified program go to the context: as the verifier found ([`Bases::Known`]), and for programs
//! without its facts by a forward data-flow analysis over registers and stack slots ([`bases`]).
//!
//! The values: nothing yet, the context plus a constant, the own frame plus a constant, memory of some stack, none of
//! these, anything. Where paths meet, values that differ become `Stack` or `Any`. An access through `Any` is decided by
//! the address when it is made, so the analysis may be coarse and is never wrong: what it calls context is the context on
//! every path, because the verifier refuses an instruction that reaches the context on one path and something else on
//! another.

use super::target;
use skep_isa::{AluOp, Callee, Imm64, Op, Operand, Reg, Size, Width};
use skep_platform::facts::{Access, Facts, InsnFact, Region};
use std::collections::{BTreeMap, BTreeSet};

/// What an access goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Base {
    /// Not the context.
    Elsewhere,
    /// The context: the base register holds it plus this many bytes.
    Ctx(i32),
    /// Decided by the address.
    Unknown,
}

/// The answer for every access.
#[derive(Debug)]
pub(super) enum Bases<'f> {
    /// No access goes to a context that is kept elsewhere.
    None,
    /// What the verifier found. Where it says nothing of an access that it has seen, the address decides.
    Known(&'f Facts),
    /// What [`bases`] found: accesses that are not listed go elsewhere.
    Found(BTreeMap<usize, Base>),
}

impl Bases<'_> {
    /// Of the load or store at a slot, with this displacement.
    #[inline]
    pub(super) fn at(&self, pc: usize, off: i16) -> Base {
        match self {
            Bases::None => Base::Elsewhere,
            Bases::Known(facts) => match facts.insns.get(pc) {
                Some(InsnFact::Access(Access { region: Region::Ctx, off: Some(at) })) => {
                    Base::Ctx(at - i32::from(off))
                }
                Some(InsnFact::Access(Access { region: Region::Ctx, off: None })) => Base::Unknown,
                // One instruction never accesses both the context and something else.
                Some(InsnFact::Access(_)) => Base::Elsewhere,
                _ if facts.is_dead(pc) => Base::Elsewhere,
                _ => Base::Unknown,
            },
            Bases::Found(all) => all.get(&pc).copied().unwrap_or(Base::Elsewhere),
        }
    }
}

/// What a register or stack slot holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum V {
    Nothing,
    Ctx(i32),
    /// `r10` plus this.
    Frame(i32),
    /// Memory of a stack, this frame's or a caller's.
    Stack,
    /// Neither context nor stack.
    Not,
    Any,
}

impl V {
    fn join(self, other: V) -> V {
        match (self, other) {
            (a, b) if a == b => a,
            (V::Nothing, v) | (v, V::Nothing) => v,
            (V::Frame(_) | V::Stack, V::Frame(_) | V::Stack) => V::Stack,
            _ => V::Any,
        }
    }

    fn plus(self, by: i32) -> V {
        match self {
            V::Ctx(o) => o.checked_add(by).map_or(V::Any, V::Ctx),
            V::Frame(o) => o.checked_add(by).map_or(V::Stack, V::Frame),
            v => v,
        }
    }

    /// Plus or minus a number that is not known.
    fn moved(self, by: V) -> V {
        match (self, by) {
            (V::Any | V::Ctx(_), _) | (_, V::Any | V::Ctx(_)) => V::Any,
            (V::Frame(_) | V::Stack, _) | (_, V::Frame(_) | V::Stack) => V::Stack,
            _ => V::Not,
        }
    }

    /// The same as a called function sees it.
    fn passed(self) -> V {
        if matches!(self, V::Frame(_)) { V::Stack } else { self }
    }
}

const SLOTS: usize = 64;

#[derive(Clone, PartialEq, Eq, Debug)]
struct State {
    regs: [V; 11],
    slots: [V; SLOTS],
}

impl State {
    fn entry(args: [V; 5]) -> State {
        let mut s = State { regs: [V::Not; 11], slots: [V::Not; SLOTS] };
        s.regs[1..6].copy_from_slice(&args);
        s.regs[10] = V::Frame(0);
        s
    }

    fn get(&self, r: Reg) -> V {
        self.regs[r.index()]
    }

    fn set(&mut self, r: Reg, v: V) {
        self.regs[r.index()] = v;
    }

    /// Takes in what comes on another path; whether anything changed.
    fn merge(&mut self, other: &State) -> bool {
        let mine = self.regs.iter_mut().chain(&mut self.slots);
        let theirs = other.regs.iter().chain(&other.slots);
        let mut changed = false;
        for (a, b) in mine.zip(theirs) {
            let v = a.join(*b);
            changed |= v != *a;
            *a = v;
        }
        changed
    }

    fn load(&self, base: V, off: i16, size: Size) -> V {
        if size != Size::Dw {
            return V::Not;
        }
        match base {
            V::Frame(o) => slot(o + i32::from(off)).map_or(V::Not, |i| self.slots[i]),
            V::Stack | V::Any => V::Any,
            V::Ctx(_) | V::Not | V::Nothing => V::Not,
        }
    }

    fn store(&mut self, base: V, off: i16, size: Size, v: V) {
        let v = if size == Size::Dw { v } else { V::Not };
        match base {
            V::Frame(o) => {
                let at = o + i32::from(off);
                match slot(at & !7) {
                    Some(i) => self.slots[i] = v,
                    None => self.weaken(v),
                }
            }
            V::Stack | V::Any => self.weaken(v),
            V::Ctx(_) | V::Not | V::Nothing => {}
        }
    }

    /// Some slot may have become `v`.
    fn weaken(&mut self, v: V) {
        for s in &mut self.slots {
            *s = s.join(v);
        }
    }

    fn alu(&mut self, op: AluOp, width: Width, dst: Reg, src: Operand) {
        let a = self.get(dst);
        let b = match src {
            Operand::Reg(r) => self.get(r),
            Operand::Imm(_) => V::Not,
        };
        let v = match (op, width, src) {
            (_, Width::W32, _) => V::Not,
            (AluOp::Mov, _, _) => b,
            (AluOp::Add, _, Operand::Imm(i)) => a.plus(i),
            (AluOp::Sub, _, Operand::Imm(i)) => a.plus(i.wrapping_neg()),
            (AluOp::Add | AluOp::Sub, _, _) => a.moved(b),
            _ => V::Not,
        };
        self.set(dst, v);
    }

    /// After a call: `r1` to `r5` are lost.
    fn returned(&mut self, r0: V) {
        self.regs[0] = r0;
        self.regs[1..6].fill(V::Not);
    }
}

/// The slot of an aligned offset from `r10`.
fn slot(off: i32) -> Option<usize> {
    let at = off + SLOTS as i32 * 8;
    (at >= 0 && off < 0 && at % 8 == 0).then_some(at as usize / 8)
}

struct Flow<'p> {
    ops: &'p [Option<Op>],
    /// Where paths meet, and where functions begin.
    meets: &'p [bool],
    at: BTreeMap<usize, State>,
    /// Places to walk on from.
    work: BTreeSet<usize>,
    /// The program has functions that helpers call.
    callbacks: bool,
    /// Function of an instruction: its first slot.
    starts: &'p [usize],
    /// What functions return, and who calls them.
    returns: BTreeMap<usize, V>,
    callers: BTreeMap<usize, Vec<usize>>,
    out: BTreeMap<usize, Base>,
}

/// Finds the context accesses. Cost: a few passes over the instructions; memory for the places where paths meet.
/// `starts` are the first slots of functions, `meets` the slots where paths meet, those of calls included.
pub(super) fn bases(ops: &[Option<Op>], starts: &[usize], meets: &[bool]) -> BTreeMap<usize, Base> {
    let mut f = Flow {
        ops,
        meets,
        at: BTreeMap::new(),
        work: BTreeSet::new(),
        callbacks: ops.iter().any(|o| matches!(o, Some(Op::LoadImm64 { imm: Imm64::Func(_), .. }))),
        starts,
        returns: BTreeMap::new(),
        callers: BTreeMap::new(),
        out: BTreeMap::new(),
    };
    f.arrive(0, &State::entry([V::Ctx(0), V::Not, V::Not, V::Not, V::Not]));
    while let Some(pc) = f.work.pop_first() {
        f.walk(pc);
    }
    f.out
}

impl Flow<'_> {
    fn arrive(&mut self, pc: usize, s: &State) {
        let changed = match self.at.get_mut(&pc) {
            Some(old) => old.merge(s),
            None => {
                self.at.insert(pc, s.clone());
                true
            }
        };
        if changed {
            self.work.insert(pc);
        }
    }

    /// Walks from a place where paths meet to the next ones.
    fn walk(&mut self, from: usize) {
        let Some(mut s) = self.at.get(&from).cloned() else { return };
        let mut pc = from;
        while let Some(op) = self.ops.get(pc).copied() {
            if pc != from && self.meets[pc] {
                return self.arrive(pc, &s);
            }
            let Some(op) = op else {
                pc += 1;
                continue;
            };
            let jump = |off: i32| usize::try_from(pc as i64 + 1 + i64::from(off)).unwrap_or(usize::MAX);
            match op {
                Op::Ja { off, .. } => return self.arrive(jump(off), &s),
                Op::JumpIf { off, .. } | Op::MayGoto { off } => self.arrive(jump(off.into()), &s),
                Op::Exit => return self.exit(pc, &s),
                op => self.straight(op, pc, &mut s),
            }
            pc += 1;
        }
    }

    fn exit(&mut self, pc: usize, s: &State) {
        let f = self.start_of(pc);
        let old = self.returns.get(&f).copied().unwrap_or(V::Nothing);
        let new = old.join(s.regs[0].passed());
        if new != old {
            self.returns.insert(f, new);
            let callers = self.callers.get(&f).cloned().unwrap_or_default();
            self.work.extend(callers);
        }
    }

    fn start_of(&self, pc: usize) -> usize {
        let after = self.starts.partition_point(|s| *s <= pc);
        self.starts[after.saturating_sub(1)]
    }

    fn straight(&mut self, op: Op, pc: usize, s: &mut State) {
        match op {
            Op::Alu { op, width, dst, src } => s.alu(op, width, dst, src),
            Op::Neg { dst, .. } | Op::MovSx { dst, .. } | Op::End { dst, .. } => s.set(dst, V::Not),
            Op::AddrSpaceCast { dst, .. } => s.set(dst, V::Not),
            Op::LoadImm64 { dst, imm } => {
                if let (Imm64::Func(_), Some(f)) = (imm, target(pc, op)) {
                    // What callbacks are given is never the context.
                    self.arrive(f, &State::entry([V::Stack; 5]));
                }
                s.set(dst, V::Not);
            }
            Op::Load { size, dst, src, off, .. } => {
                let base = s.get(src);
                self.note(pc, base);
                let v = s.load(base, off, size);
                s.set(dst, v);
            }
            Op::Store { size, dst, off, src } => {
                let base = s.get(dst);
                self.note(pc, base);
                let v = match src {
                    Operand::Reg(r) => s.get(r),
                    Operand::Imm(_) => V::Not,
                };
                s.store(base, off, size, v);
            }
            Op::Atomic { op, src, .. } if op.fetches() => {
                let into = if op == skep_isa::AtomicOp::Cmpxchg { Reg::R0 } else { src };
                s.set(into, V::Not);
            }
            Op::LoadAcquire { size, dst, src, off } => {
                let v = s.load(s.get(src), off, size);
                s.set(dst, v);
            }
            Op::StoreRelease { size, dst, off, src } => s.store(s.get(dst), off, size, s.get(src)),
            Op::LoadAbs { .. } | Op::LoadInd { .. } => s.returned(V::Not),
            Op::Call(callee) => self.call(callee, pc, s),
            _ => {}
        }
    }

    fn note(&mut self, pc: usize, base: V) {
        let base = match base {
            V::Ctx(o) => Base::Ctx(o),
            V::Any => Base::Unknown,
            _ => return,
        };
        self.out.insert(pc, base);
    }

    fn call(&mut self, callee: Callee, pc: usize, s: &mut State) {
        let reaches = s.regs[1..6].iter().any(|v| matches!(v, V::Frame(_) | V::Stack | V::Any));
        match callee {
            Callee::Local(_) => {
                let Some(f) = target(pc, Op::Call(callee)) else { return };
                let mut args = [V::Not; 5];
                args.copy_from_slice(&s.regs[1..6]);
                self.arrive(f, &State::entry(args.map(V::passed)));
                let callers = self.callers.entry(f).or_default();
                if !callers.contains(&pc) {
                    callers.push(pc);
                }
                if reaches {
                    s.slots.fill(V::Any);
                }
                s.returned(self.returns.get(&f).copied().unwrap_or(V::Nothing));
            }
            Callee::Reg(_) => {
                s.slots.fill(V::Any);
                s.returned(V::Any);
            }
            // A helper with a callback lets the program itself write the frame.
            Callee::Helper(_) | Callee::Kfunc { .. } => {
                if reaches && self.callbacks {
                    s.slots.fill(V::Any);
                }
                s.returned(V::Not);
            }
        }
    }
}
