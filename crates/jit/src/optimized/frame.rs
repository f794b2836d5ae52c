//! Which bytes of a function's frame are variables, and which memory.
//!
//! Bytes that are only ever accessed at constant offsets, always as the same value of the same size, are a variable
//! ([`Frame::cells`]). Bytes that a pointer may reach from elsewhere are memory: helpers reach what the verifier says,
//! called functions everything. Where a pointer goes that the verifier's facts say nothing of is followed by a taint:
//! registers that may hold an address in the frame.

use super::Unit;
use crate::code::{Code, Step};
use crate::flow::{Flow, effect};
use skep_isa::{AluOp, Callee, Op, Operand, Reg, Size};
use skep_platform::facts::{Facts, Region, Value};
use std::collections::BTreeMap;

/// Bytes of a frame.
pub(super) const BYTES: i32 = 512;

/// The plan for one function's frame. Offsets are from `r10`, negative.
#[derive(Clone, Debug, Default)]
pub(super) struct Frame {
    /// Variables: offset and size.
    pub(super) cells: BTreeMap<i32, Size>,
}

/// Bytes that are memory.
struct Memory([bool; BYTES as usize]);

impl Memory {
    fn add(&mut self, off: i32, len: i32) {
        let from = (off + BYTES).clamp(0, BYTES) as usize;
        let to = off.saturating_add(len).saturating_add(BYTES).clamp(0, BYTES) as usize;
        self.0[from..to.max(from)].fill(true);
    }

    fn all(&mut self) {
        self.0.fill(true);
    }

    fn any(&self, off: i32, len: i32) -> bool {
        (off..off + len)
            .any(|o| usize::try_from(o + BYTES).ok().and_then(|i| self.0.get(i)).is_none_or(|m| *m))
    }
}

impl Frame {
    /// Looks through a function.
    pub(super) fn of(unit: &Unit<'_>, flow: &Flow) -> Frame {
        let r10 = 1 << Reg::R10.index();
        if !flow.slots(unit.code).any(|pc| effect(&unit.code.steps[pc]).0 & r10 != 0) {
            return Frame::default();
        }
        let memory = Memory([false; BYTES as usize]);
        let mut notes = Notes { memory, cells: BTreeMap::new() };
        let (tainted, stored) = taints(unit, flow);
        for (block, taint) in flow.blocks.iter().zip(&tainted) {
            let mut taint = *taint;
            flow.each(unit.code, block, &mut |pc| {
                let step = &unit.code.steps[pc];
                if let Some(base) = base(step) {
                    access(unit, pc, step, base, taint, &mut notes);
                }
                escapes(unit, pc, step, taint, &mut notes);
                taint = after(step, taint, stored);
            });
        }
        let Notes { memory, mut cells } = notes;
        cells.retain(|off, size| !memory.any(*off, size.bytes() as i32));
        Frame { cells }
    }

    /// The variable that an access to the frame means.
    pub(super) fn cell(&self, off: i32, size: Size) -> Option<i32> {
        (self.cells.get(&off) == Some(&size)).then_some(off)
    }
}

/// The base register of an access.
fn base(step: &Step) -> Option<(Reg, Size)> {
    Some(match *step {
        Step::Op(Op::Load { size, src, .. } | Op::LoadAcquire { size, src, .. }) => (src, size),
        Step::Op(Op::Store { size, dst, .. } | Op::StoreRelease { size, dst, .. }) => (dst, size),
        Step::Op(Op::Atomic { width, dst, .. }) => (dst, width.size()),
        Step::AnyLoad { size, src, .. } => (src, size),
        Step::AnyStore { size, dst, .. } => (dst, size),
        _ => return None,
    })
}

/// What is known so far.
struct Notes {
    memory: Memory,
    cells: BTreeMap<i32, Size>,
}

impl Notes {
    /// An access at a constant offset. `plain`: a load or store, which a variable can do.
    fn at(&mut self, off: i32, size: Size, plain: bool) {
        let len = size.bytes() as i32;
        let met: Vec<(i32, Size)> = self
            .cells
            .range(off - 7..off + len)
            .map(|(o, s)| (*o, *s))
            .filter(|(o, s)| (*o, *s) != (off, size) && o + s.bytes() as i32 > off)
            .collect();
        for (o, s) in &met {
            self.memory.add(*o, s.bytes() as i32);
        }
        if !met.is_empty() || !plain {
            self.memory.add(off, len);
        }
        self.cells.entry(off).or_insert(size);
    }
}

fn access(unit: &Unit<'_>, pc: usize, step: &Step, (base, size): (Reg, Size), taint: u16, notes: &mut Notes) {
    let fact = unit.facts.access(pc);
    match fact.off.filter(|_| fact.region == Region::Stack(Some(0))) {
        Some(off) => {
            let plain = matches!(step, Step::Op(Op::Load { .. } | Op::Store { .. }));
            notes.at(off, size, plain);
        }
        None if is(taint, base) => notes.memory.all(),
        None => {}
    }
}

/// Whether every access of these functions goes to frames alone, or never to one: then accesses to frames and others never meet,
/// in whichever function that is translated in place in another.
pub(super) fn apart<'f>(code: &Code, facts: &Facts, mut functions: impl Iterator<Item = &'f Flow>) -> bool {
    let clear = |pc| {
        let step = &code.steps[pc];
        let region = match step {
            // It reads its key.
            Step::Index(_) => match facts.call(pc).args[1] {
                Value::Pointer { region, .. } => region,
                _ => Region::Mixed,
            },
            Step::AnyLoad { .. } | Step::AnyStore { .. } => Region::Mixed,
            step if base(step).is_none() => return true,
            _ => facts.access(pc).region,
        };
        matches!(region, Region::Stack(_)) || elsewhere(region)
    };
    functions.all(|flow| flow.slots(code).all(clear))
}

/// Is this never a frame?
fn elsewhere(region: Region) -> bool {
    matches!(
        region,
        Region::Packet
            | Region::PacketMeta
            | Region::MapValue(_)
            | Region::MapKey(_)
            | Region::Map(_)
            | Region::Ctx
            | Region::Socket
            | Region::FlowKeys
    )
}

/// Lets go of what a step hands to others.
fn escapes(unit: &Unit<'_>, pc: usize, step: &Step, taint: u16, notes: &mut Notes) {
    let tainted = |r: usize| taint >> r & 1 == 1;
    match step {
        Step::Op(Op::Call(Callee::Local(_) | Callee::Reg(_))) if (1..=5).any(tainted) => notes.memory.all(),
        Step::Loop { .. } if (1..=5).any(tainted) => notes.memory.all(),
        Step::Helper { .. }
        | Step::Tail { .. }
        | Step::Direct(_)
        | Step::Lock { .. }
        | Step::Unlock { .. } => {
            let facts = unit.facts.call(pc);
            for (r, arg) in (1..=5).zip(facts.args) {
                if !tainted(r) {
                    continue;
                }
                match arg {
                    Value::Pointer { region: Region::Stack(Some(0)), off: Some(off), len: Some(len) } => {
                        notes.memory.add(off, i32::try_from(len).unwrap_or(BYTES));
                    }
                    Value::Const(_) => {}
                    Value::Pointer { region, .. } if elsewhere(region) => {}
                    _ => notes.memory.all(),
                }
            }
        }
        Step::Index(_) if tainted(2) => match unit.facts.call(pc).args[1] {
            Value::Pointer { region: Region::Stack(Some(0)), off: Some(off), .. } => {
                notes.at(off, Size::W, true)
            }
            _ => notes.memory.all(),
        },
        _ => {}
    }
}

/// Registers that may hold an address in the frame, at the beginning of each block; and whether loads may give one.
fn taints(unit: &Unit<'_>, flow: &Flow) -> (Vec<u16>, bool) {
    const R10: u16 = 1 << 10;
    let mut at: Vec<Option<u16>> = vec![None; flow.blocks.len()];
    if let Some(first) = at.first_mut() {
        *first = Some(R10);
    }
    // Whether an address has been stored anywhere, so that any load may give it back.
    let mut stored = false;
    let mut changed = true;
    while changed {
        changed = false;
        for (i, block) in flow.blocks.iter().enumerate() {
            let Some(mut taint) = at[i] else { continue };
            flow.each(unit.code, block, &mut |pc| {
                let step = &unit.code.steps[pc];
                let stores = stores(step, taint);
                changed |= stores && !stored;
                stored |= stores;
                taint = after(step, taint, stored);
            });
            for n in &block.next {
                let new = at[*n].unwrap_or(0) | taint;
                changed |= at[*n] != Some(new);
                at[*n] = Some(new);
            }
        }
    }
    (at.into_iter().map(|t| t.unwrap_or(u16::MAX)).collect(), stored)
}

fn is(taint: u16, r: Reg) -> bool {
    taint >> r.index() & 1 == 1
}

/// Does the step store an address of the frame? A called function may do so with one that it is given.
fn stores(step: &Step, taint: u16) -> bool {
    match *step {
        Step::Op(Op::Store { src: Operand::Reg(r), .. } | Op::StoreRelease { src: r, .. }) => is(taint, r),
        Step::AnyStore { src: Operand::Reg(r), .. } | Step::CtxStore { src: Operand::Reg(r), .. } => {
            is(taint, r)
        }
        Step::Op(Op::Atomic { src, .. }) => is(taint, src),
        Step::Op(Op::Call(_)) | Step::Helper { .. } | Step::Tail { .. } | Step::Loop { .. } => {
            taint >> 1 & 0x1f != 0
        }
        _ => false,
    }
}

/// The taint behind a step. `stored`: loads may give an address.
fn after(step: &Step, taint: u16, stored: bool) -> u16 {
    let (_, defs) = effect(step);
    let load = |size: Size| stored && size == Size::Dw;
    let gives = match *step {
        Step::Op(Op::Alu { op: AluOp::Mov, src: Operand::Reg(s), .. }) => is(taint, s),
        Step::Op(Op::Alu { op: AluOp::Mov, .. }) => false,
        Step::Op(Op::Alu { dst, src: Operand::Reg(s), .. }) => is(taint, dst) || is(taint, s),
        Step::Op(Op::Alu { dst, .. } | Op::Neg { dst, .. } | Op::End { dst, .. }) => is(taint, dst),
        Step::Op(Op::MovSx { src, .. }) => is(taint, src),
        Step::Op(Op::Load { size, .. } | Op::LoadAcquire { size, .. }) => load(size),
        Step::AnyLoad { size, .. } => load(size),
        Step::Op(Op::Atomic { .. }) => stored,
        Step::Op(Op::Call(_)) | Step::Helper { .. } | Step::Direct(_) => {
            // It returns, at most, what it could reach; `r1` to `r5` are lost.
            let r0 = u16::from(stored || taint >> 1 & 0x1f != 0);
            return (taint & !defs) | r0;
        }
        _ => false,
    };
    // A 32-bit operation gives no address, but nothing is lost by taking it for one.
    let kept = taint & !defs;
    if gives { kept | defs } else { kept }
}
