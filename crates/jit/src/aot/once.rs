//! Loads that must happen once. Others may write a map's value while the program runs; a C compiler may load a value again
//! instead of keeping it, and what was compared would not be what is used. Where nothing depends on it but numbers, that does
//! no harm; a load whose value finds its way into an address is made volatile.

use super::emit::target;
use super::types::{Kind, Kinds, operand};
use crate::code::{Code, Step};
use skep_isa::{AluOp, Callee, Op, Operand, Reg, Width};
use skep_platform::facts::{Facts, Region};

/// Is this memory that the run alone writes?
pub(super) fn own(facts: &Facts, pc: usize) -> bool {
    matches!(
        facts.access(pc).region,
        Region::Stack(_) | Region::Packet | Region::PacketMeta | Region::Ctx | Region::FlowKeys
    )
}

/// Whether the value that the step at `pc` loads into `dst` may become part of an address, in the function at `start..`, whose
/// registers before each step are `kinds`.
pub(super) fn reaches_address(
    code: &Code,
    facts: &Facts,
    kinds: &[Kinds],
    start: usize,
    pc: usize,
    dst: Reg,
) -> bool {
    let mut seen = vec![0u16; kinds.len()];
    let mut work = vec![(pc + 1, 1u16 << dst.index())];
    while let Some((pc, tainted)) = work.pop() {
        let Some(before) = pc.checked_sub(start).and_then(|i| seen.get_mut(i)) else { continue };
        let all = *before | tainted;
        if tainted == 0 || all == *before {
            continue;
        }
        *before = all;
        let step = &code.steps[pc];
        let Some(after) = after(step, facts, pc, start == 0, &kinds[pc - start], all) else { return true };
        let (jumps, falls) = match step {
            Step::Op(Op::Ja { off, .. }) => (target(pc, *off), false),
            Step::Op(Op::JumpIf { off, .. } | Op::MayGoto { off }) => (target(pc, (*off).into()), true),
            Step::Op(Op::Exit) | Step::Trap { .. } => (None, false),
            _ => (None, true),
        };
        work.extend(jumps.map(|to| (to, after)));
        if falls {
            work.push((pc + 1, after));
        }
    }
    false
}

const ARGUMENTS: u16 = 0x3e;

/// What is tainted behind a step; `None` where a tainted value is, or may be, used for an address.
fn after(step: &Step, facts: &Facts, pc: usize, main: bool, k: &Kinds, tainted: u16) -> Option<u16> {
    let is = |r: Reg| tainted >> r.index() & 1 == 1;
    let of = |o: Operand| matches!(o, Operand::Reg(r) if is(r));
    let with =
        |r: Reg, taint: bool| if taint { tainted | 1 << r.index() } else { tainted & !(1 << r.index()) };
    let unless = |bad: bool, rest: u16| (!bad).then_some(rest);
    // A value that is kept in the run's own memory may come back as the load that it is, and is lost sight of. Out of a map it
    // comes by another load, which is looked at for itself.
    let kept = |v: bool| v && !matches!(facts.access(pc).region, Region::MapValue(_));
    match *step {
        Step::Op(op) => match op {
            Op::Alu { op: AluOp::Mov, dst, src, .. } => Some(with(dst, of(src))),
            Op::Alu { op, width, dst, src } => {
                let pointers = [k[dst.index()], operand(k, src)].map(|k| k != Kind::Number);
                let adds = width == Width::W64 && matches!(op, AluOp::Add | AluOp::Sub);
                let taint = is(dst) || of(src);
                unless(taint && adds && pointers.contains(&true), with(dst, taint))
            }
            Op::Neg { .. } | Op::End { .. } | Op::JumpIf { .. } | Op::Ja { .. } | Op::MayGoto { .. } => {
                Some(tainted)
            }
            Op::MovSx { dst, src, .. } => Some(with(dst, is(src))),
            Op::Load { dst, src, .. } | Op::LoadAcquire { dst, src, .. } => unless(is(src), with(dst, false)),
            Op::Store { dst, src, .. } => unless(is(dst) || kept(of(src)), tainted),
            Op::StoreRelease { dst, src, .. } => unless(is(dst) || kept(is(src)), tainted),
            Op::Atomic { dst, src, .. } => unless(is(dst) || kept(is(src)), with(src, false) & !1),
            Op::Exit => unless(!main && is(Reg::R0), 0),
            Op::Call(Callee::Local(_)) => unless(tainted & ARGUMENTS != 0, tainted & !0x3f),
            _ => None,
        },
        Step::Wide { dst, .. } => Some(with(dst, false)),
        Step::Second | Step::Trap { .. } => Some(tainted),
        Step::CtxLoad(l) => Some(with(l.dst, false)),
        Step::CtxStore { dst, src, .. } => unless(is(dst) || of(src), tainted),
        Step::Value { .. } | Step::Cpu => Some(tainted & !0x3f),
        // Whatever is in an argument's register may be an argument.
        _ => unless(
            tainted & ARGUMENTS != 0
                || matches!(step, Step::AnyLoad { .. } | Step::AnyStore { .. } | Step::PacketLoad { .. }),
            tainted & !0x3f,
        ),
    }
}
