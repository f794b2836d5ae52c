//! Calls that change few registers, with the spills that clang puts around them for kernels that do not know this
//! (`bpf_fastcall`):
//!
//! ```text
//!     *(u64 *)(r10 -8) = r1
//!     call bpf_get_smp_processor_id
//!     r1 = *(u64 *)(r10 -8)
//! ```
//!
//! Linux takes the spills out where nothing else uses their slots, and counts the frame without them. They stay in our
//! code: frames keep room for them ([`skep_platform::facts::SubprogFacts::stack`]), only the depth of calls is counted
//! as Linux does. Source: `mark_fastcall_pattern_for_call` and its neighbours, kernel/bpf/verifier.c.

use crate::called::{CalledKfuncs, KShape};
use crate::code::Code;
use crate::machine::Vm;
use skep_isa::{Callee, Op, Operand, Size};
use skep_platform::helper::{Caller, RetType, Rule};
use skep_platform::kfunc::kf;
use skep_platform::{Platform, Program};

/// Registers that a call may change.
const CALLER_SAVED: u8 = 0b11_1111;

/// The part of a frame that holds such spills alone.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Area {
    /// Spills lie below this offset; 0: there are none.
    top: i64,
    /// A call in between is one that Linux leaves as it is.
    kept: bool,
    /// Some spills are taken out.
    removed: bool,
}

/// Spills of a program. Empty where there are none, which costs nothing then.
#[derive(Default, Debug)]
pub(crate) struct Fastcall {
    /// By function.
    areas: Vec<Area>,
    /// By slot: is it one of the spills or fills?
    part: Vec<bool>,
}

/// What a call leaves alone: the registers, and whether Linux puts code in its place that really does.
struct Spared {
    regs: u8,
    inlined: bool,
}

impl Fastcall {
    pub(crate) fn new(
        program: &Program,
        code: &Code,
        platform: &Platform,
        caller: &Caller<'_>,
        kfuncs: &CalledKfuncs,
    ) -> Fastcall {
        let mut found = Fastcall::default();
        for (f, func) in code.funcs.iter().enumerate() {
            let mut lowest = None;
            for pc in func.start + 1..func.end {
                let Some(Op::Call(callee)) = code.op(pc) else { continue };
                if spill(code, pc - 1).is_none() {
                    continue;
                }
                let Some(spared) = spared(callee, program, platform, caller, kfuncs) else { continue };
                let lowest = *lowest.get_or_insert_with(|| {
                    (func.start..func.end).filter_map(|pc| spill(code, pc)).map(|s| s.1).min().unwrap_or(0)
                });
                let pairs = pairs(code, pc, spared.regs, lowest);
                if pairs == 0 {
                    continue;
                }
                if found.areas.is_empty() {
                    found = Fastcall {
                        areas: vec![Area::default(); code.funcs.len()],
                        part: vec![false; code.len()],
                    };
                }
                found.part[pc - pairs..pc].fill(true);
                found.part[pc + 1..=pc + pairs].fill(true);
                let area = &mut found.areas[f];
                area.top = area.top.min(lowest + 8 * pairs as i64);
                area.removed |= spared.inlined;
                area.kept |= !spared.inlined;
            }
        }
        found
    }

    /// A function's frame as Linux counts it; `depth` is what it touches.
    pub(crate) fn frame(&self, f: usize, depth: i64) -> i64 {
        match self.areas.get(f) {
            Some(a) if a.removed && !a.kept => depth.min(-a.top),
            _ => depth,
        }
    }
}

/// Register and offset of a spill.
fn spill(code: &Code, pc: usize) -> Option<(u8, i64)> {
    match code.op(pc)? {
        Op::Store { size: Size::Dw, dst, off, src: Operand::Reg(r) } if dst.index() == 10 => {
            Some((r.index() as u8, (*off).into()))
        }
        _ => None,
    }
}

/// How many pairs of a spill and a fill surround a call: the innermost at the lowest offset.
/// Linux 6.18.44 does not ask whether something jumps between them; nor need we, since nothing is taken out here.
fn pairs(code: &Code, call: usize, mut regs: u8, lowest: i64) -> usize {
    let mut n = 0;
    while n < 6 {
        let (before, after) = (call.checked_sub(n + 1), call + n + 1);
        let Some((r, off)) = before.and_then(|pc| spill(code, pc)) else { break };
        let fill = matches!(code.op(after), Some(Op::Load { size: Size::Dw, sx: false, dst, src, off: o })
            if src.index() == 10 && dst.index() == r as usize && i64::from(*o) == off);
        if !fill || r > 5 || regs >> r & 1 == 0 || off != lowest + 8 * n as i64 {
            break;
        }
        regs &= !(1 << r);
        n += 1;
    }
    n
}

/// `None`: not known, or nothing is left alone.
fn spared(
    callee: &Callee,
    program: &Program,
    platform: &Platform,
    caller: &Caller<'_>,
    kfuncs: &CalledKfuncs,
) -> Option<Spared> {
    let (args, void, inlined) = match *callee {
        Callee::Helper(id) => {
            let h = platform.helper(u32::try_from(id).ok()?)?;
            let p = h.proto_for(caller)?;
            let inlined = matches!(h.rule, Rule::Cpu { inlined } if inlined.contains(&program.prog_type));
            (p.args.len(), p.ret == RetType::Void, inlined)
        }
        Callee::Kfunc { id, .. } => {
            let k = kfuncs.get(id)?;
            let inlined = k.row.is_some_and(|r| r.has(kf::FASTCALL));
            (k.params.as_ref()?.len(), matches!(k.ret, KShape::Void), inlined)
        }
        _ => return None,
    };
    let changed = (1..=args.min(5)).fold(u8::from(!void), |m, r| m | 1 << r);
    let regs = CALLER_SAVED & !changed;
    (regs != 0).then_some(Spared { regs, inlined })
}

impl Vm<'_> {
    /// The instruction at hand uses the stack from an offset on. Spills whose slots anything else uses stay.
    #[inline]
    pub(crate) fn fastcall_access(&mut self, frame: usize, off: i64) {
        if !self.fastcall.areas.is_empty() {
            self.fastcall_used(self.cur.frames[frame].subprog, off);
        }
    }

    fn fastcall_used(&mut self, f: usize, off: i64) {
        let area = &mut self.fastcall.areas[f];
        if off < area.top && !self.fastcall.part[self.cur.insn] && (area.removed || area.kept) {
            *area = Area::default();
            let func = &self.code.funcs[f];
            self.fastcall.part[func.start..func.end].fill(false);
        }
    }
}
