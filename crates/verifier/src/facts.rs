//! Facts for the compilers, gathered on the way: each visit of an instruction joins what it saw to what is known of it.
//!
//! What makes that sound although a path may end at a kept state that covers it: types and offsets of pointers are
//! compared there whenever the register is alive, and numbers are recorded only after they were marked precise.

use crate::call::Args;
use crate::machine::Vm;
use crate::value::{Base, Flags, Reg};
use skep_isa::Op;
use skep_platform::Facts;
use skep_platform::facts::{Access, CallFacts, InsnFact, Region, SubprogFacts, Value, Ways};

/// The facts being gathered, and what the call at hand has told so far.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    insns: Vec<InsnFact>,
    calls: Vec<CallFacts>,
    /// Arguments of the call at hand: whether the number was marked precise, and bytes touched.
    exact: [bool; 6],
    touched: [Option<u32>; 6],
}

impl Gathered {
    /// For a program of so many slots.
    pub(crate) fn new(slots: usize) -> Gathered {
        Gathered { insns: vec![InsnFact::Nothing; slots], ..Gathered::default() }
    }

    /// A conditional jump was decided, or not.
    pub(crate) fn branch(&mut self, pc: usize, way: Ways) {
        let fact = &mut self.insns[pc];
        *fact = InsnFact::Branch(match *fact {
            InsnFact::Branch(w) => w.join(way),
            _ => way,
        });
    }

    fn access(&mut self, pc: usize, a: Access) {
        let fact = &mut self.insns[pc];
        *fact = InsnFact::Access(match *fact {
            InsnFact::Access(b) => a.join(b),
            _ => a,
        });
    }

    fn call(&mut self, pc: usize, now: CallFacts) {
        match self.insns[pc] {
            InsnFact::Call(i) => {
                let known = &mut self.calls[i as usize];
                *known = now.join(known);
            }
            _ => {
                self.insns[pc] = InsnFact::Call(self.calls.len() as u32);
                self.calls.push(now);
            }
        }
    }

    /// A helper call begins.
    pub(crate) fn begin_call(&mut self) {
        (self.exact, self.touched) = ([false; 6], [None; 6]);
    }

    /// The number in a register has been marked precise.
    pub(crate) fn exact(&mut self, n: usize) {
        if let Some(e) = self.exact.get_mut(n) {
            *e = true;
        }
    }

    /// The call at hand touches so much memory through a register.
    pub(crate) fn touched(&mut self, n: usize, size: i64) {
        if let Some(t) = self.touched.get_mut(n) {
            *t = Some(t.unwrap_or(0).max(u32::try_from(size).unwrap_or(u32::MAX)));
        }
    }
}

impl Vm<'_> {
    /// The instruction at hand accesses memory at this register plus `off`.
    pub(crate) fn fact_access(&mut self, r: &Reg, off: i16) {
        let off = total(r).and_then(|o| o.checked_add(off.into()));
        let region = self.region_of(r);
        self.facts.access(self.cur.insn, Access { region, off });
    }

    /// The helper call at hand has passed all checks of its arguments; `used` of them there are.
    pub(crate) fn fact_call(&mut self, used: usize, args: &Args, key: Option<u32>) {
        let map = args.map.and_then(|(m, _)| self.own_map(m));
        let mut now = CallFacts { map, key, args: [Value::Any; 5] };
        for n in 1..=used.min(5) {
            let r = self.reg(n);
            now.args[n - 1] = match r.val.as_const() {
                Some(v) if r.is_scalar() && self.facts.exact[n] => Value::Const(v),
                _ if r.is_pointer() && !r.flags.has(Flags::MAYBE_NULL) => {
                    Value::Pointer { region: self.region_of(r), off: total(r), len: self.facts.touched[n] }
                }
                _ => Value::Any,
            };
        }
        self.facts.call(self.cur.insn, now);
    }

    /// Index of a map of the program's own; inner maps have none.
    fn own_map(&self, m: u16) -> Option<u16> {
        self.maps.get(m as usize).filter(|i| i.map.is_some()).map(|_| m)
    }

    fn region_of(&self, r: &Reg) -> Region {
        match r.base {
            Base::Stack(f) => Region::Stack(Some((self.cur.depth() as u8).wrapping_sub(f))),
            Base::Ctx => Region::Ctx,
            Base::Packet => Region::Packet,
            Base::PacketMeta => Region::PacketMeta,
            Base::MapValue(m) => Region::MapValue(self.own_map(m)),
            Base::MapKey(m) => Region::MapKey(self.own_map(m)),
            Base::MapPtr(m) => Region::Map(self.own_map(m)),
            Base::Mem(_) => Region::Memory,
            Base::Buf | Base::TpBuffer => Region::Buffer,
            Base::FlowKeys => Region::FlowKeys,
            Base::Socket | Base::SockCommon | Base::TcpSock | Base::XdpSock => Region::Socket,
            Base::Btf(_) => Region::Btf,
            Base::Arena => Region::Arena,
            _ => Region::Mixed,
        }
    }

    /// What was gathered, once the program is accepted.
    pub(crate) fn finish_facts(&mut self, stack_depth: u32) -> Facts {
        let funcs = self.code.funcs.iter().zip(&self.depths);
        Facts {
            stack_depth,
            subprogs: funcs.map(|(f, d)| SubprogFacts { start: f.start, stack: *d as u32 }).collect(),
            dead: self.seen.iter().map(|s| !s).collect(),
            constants: self.constants(),
            insns: std::mem::take(&mut self.facts.insns),
            calls: std::mem::take(&mut self.facts.calls),
        }
    }
}

impl Vm<'_> {
    /// Loads that go to one place of a constant map, with what is there.
    fn constants(&self) -> Vec<(usize, u64)> {
        let place = |fact: &InsnFact| match *fact {
            InsnFact::Access(Access { region: Region::MapValue(Some(m)), off: Some(off) }) => {
                let map = self.maps.get(m as usize).filter(|map| map.constant_array())?;
                Some((map, u32::try_from(off).ok()?))
            }
            _ => None,
        };
        let number = |(pc, fact): (usize, &InsnFact)| {
            let (map, off) = place(fact)?;
            match self.code.op(pc)? {
                Op::Load { size, sx, .. } => Some((pc, map.constant_at(off, size.bytes() as u32, *sx)?)),
                _ => None,
            }
        };
        self.facts.insns.iter().enumerate().filter_map(number).collect()
    }
}

/// Offset from the region's start, when there is only one.
fn total(r: &Reg) -> Option<i32> {
    r.off.checked_add(i32::try_from(r.val.as_const()? as i64).ok()?)
}
