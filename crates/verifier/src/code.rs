//! The program as the verifier walks it: instructions decoded once, functions, and the refusals that need no path.
//!
//! Order of checks, as in `bpf_check` of kernel/bpf/verifier.c: functions found, jumps inside their functions
//! ([`Code::new`]), 64-bit loads and opcodes ([`Code::resolve`]), then control flow ([`crate::cfg`]).

use crate::reject::{Check, refuse};
use skep_isa::{Callee, DecodeError, Imm64, Insn, Op};
use skep_platform::Program;

/// One slot of the program.
#[derive(Clone, Copy, Debug)]
pub enum Slot {
    /// An instruction and the slots it takes.
    Op(Op, u8),
    /// Second half of a 64-bit load.
    Second,
    /// No legal instruction; a refusal where a path reaches it.
    Illegal(DecodeError),
}

/// A function of the program.
#[derive(Clone, Debug, Default)]
pub struct Func {
    /// First instruction.
    pub start: usize,
    /// One past its last instruction.
    pub end: usize,
    /// Its name, or empty.
    pub name: String,
    /// BTF id of its FUNC, 0 when not known.
    pub btf_id: u32,
    /// Judged on its own, by its signature.
    pub global: bool,
    /// Makes tail calls.
    pub tail_calls: bool,
    /// Has legacy packet loads.
    pub ld_abs: bool,
    /// Has its address taken.
    pub callback: bool,
    /// Run later, on a stack of its own.
    pub async_callback: bool,
    /// May move the packet: it, or what it calls.
    pub changes_packet: bool,
    /// May sleep: it, or what it calls.
    pub might_sleep: bool,
}

/// The decoded program.
#[derive(Clone, Debug)]
pub struct Code {
    /// By slot.
    pub slots: Vec<Slot>,
    /// Functions, ascending; the first is the main program.
    pub funcs: Vec<Func>,
    /// Function that exceptions end in.
    pub exception_callback: Option<usize>,
}

/// Call of the function that a register holds: the kernel knows no such instruction.
const CALLX: u8 = 0x8d;
const LD_IMM: u8 = 0x18;

impl Code {
    /// Decodes and finds the functions; refuses calls and jumps that leave where they must stay.
    pub fn new(program: &Program, tail_call: impl Fn(i32) -> bool) -> Check<Code> {
        let mut code = Code { slots: decode(&program.insns), funcs: Vec::new(), exception_callback: None };
        code.find_funcs(program)?;
        code.check_jumps(&program.insns, tail_call)?;
        Ok(code)
    }

    /// Number of slots.
    #[inline]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// No slots?
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The instruction at a slot.
    #[inline]
    pub fn op(&self, pc: usize) -> Option<&Op> {
        match self.slots.get(pc) {
            Some(Slot::Op(op, _)) => Some(op),
            _ => None,
        }
    }

    /// The function that begins at a slot.
    pub fn func_at(&self, pc: usize) -> Option<usize> {
        self.funcs.binary_search_by_key(&pc, |f| f.start).ok()
    }

    /// The function that a slot belongs to.
    pub fn func_of(&self, pc: usize) -> usize {
        self.funcs.partition_point(|f| f.start <= pc).saturating_sub(1)
    }

    fn find_funcs(&mut self, program: &Program) -> Check {
        let mut starts = vec![0];
        let exception = exception_callback(program)?;
        starts.extend(exception);
        for (pc, slot) in self.slots.iter().enumerate() {
            let Some(target) = target(slot, pc) else { continue };
            match usize::try_from(target) {
                Ok(t) if t < self.slots.len() => starts.push(t),
                _ => refuse!(ControlFlow, "call to invalid destination"),
            }
        }
        starts.sort_unstable();
        starts.dedup();
        self.exception_callback = exception.and_then(|e| starts.binary_search(&e).ok());
        for (i, &start) in starts.iter().enumerate() {
            let end = starts.get(i + 1).copied().unwrap_or(self.slots.len());
            let known = program.subprogs.iter().find(|s| s.start == start);
            self.funcs.push(Func {
                start,
                end,
                name: known.map(|s| s.name.clone()).unwrap_or_default(),
                btf_id: known.map_or(0, |s| s.btf_id),
                global: start != 0 && known.is_some_and(|s| s.global),
                ..Func::default()
            });
        }
        Ok(())
    }

    /// Jumps stay in their function; functions end in `exit` or `goto` (`check_subprogs`).
    fn check_jumps(&mut self, insns: &[Insn], tail_call: impl Fn(i32) -> bool) -> Check {
        for f in &mut self.funcs {
            for (pc, insn) in insns.iter().enumerate().take(f.end).skip(f.start) {
                let is_op = !matches!(self.slots[pc], Slot::Second);
                let class = insn.class();
                match self.slots[pc] {
                    Slot::Op(Op::Call(Callee::Helper(id)), _) if tail_call(id) => f.tail_calls = true,
                    Slot::Op(Op::LoadAbs { .. } | Op::LoadInd { .. }, _) => f.ld_abs = true,
                    _ => {}
                }
                let jump = is_op && matches!(class, 5 | 6) && !matches!(insn.opcode() & 0xf0, 0x80 | 0x90);
                if jump {
                    let long = insn.opcode() == 0x06;
                    let off = if long { insn.imm() as i64 } else { insn.off() as i64 };
                    let target = pc as i64 + 1 + off;
                    if target < f.start as i64 || target >= f.end as i64 {
                        refuse!(ControlFlow, "jump out of range from insn {pc} to {target}");
                    }
                }
            }
            let last = insns.get(f.end.wrapping_sub(1)).map_or(0, |i| i.opcode());
            if !matches!(last, 0x95 | 0x05 | 0x06) && !may_not_return(insns, f.end.wrapping_sub(1)) {
                refuse!(ControlFlow, "last insn is not an exit or jmp");
            }
        }
        Ok(())
    }

    /// 64-bit loads are well formed and every opcode exists (`resolve_pseudo_ldimm64`).
    pub fn resolve(&self, insns: &[Insn]) -> Check {
        for (pc, insn) in insns.iter().enumerate() {
            let Slot::Illegal(e) = self.slots[pc] else { continue };
            let code = insn.opcode();
            if code == LD_IMM {
                if insn.off() != 0 && second_ok(insns, pc) {
                    continue;
                }
                if !second_ok(insns, pc) {
                    refuse!(Encoding, "invalid bpf_ld_imm64 insn");
                }
                refuse!(Encoding, "unrecognized bpf_ld_imm64 insn");
            }
            if code & 7 == 1 && matches!(code & 0xe0, 0x60 | 0x80) && insn.imm() != 0 {
                refuse!(Encoding, "BPF_LDX uses reserved fields");
            }
            if code == CALLX
                || skep_isa::table::rows_of(code).is_empty()
                || e.why == skep_isa::Illegal::UnknownOpcode
            {
                refuse!(Encoding, "unknown opcode {code:02x}");
            }
        }
        for (pc, insn) in insns.iter().enumerate() {
            if matches!(self.slots[pc], Slot::Op(Op::Call(Callee::Reg(_)), _)) {
                refuse!(Encoding, "unknown opcode {:02x}", insn.opcode());
            }
        }
        Ok(())
    }

    /// Map that a 64-bit load refers to, and the offset into its first value.
    pub fn map_ref(imm: &Imm64) -> Option<(i32, Option<u32>)> {
        match *imm {
            Imm64::MapIdx(i) | Imm64::MapFd(i) => Some((i, None)),
            Imm64::MapIdxValue { idx, off } => Some((idx, Some(off))),
            Imm64::MapFdValue { fd, off } => Some((fd, Some(off))),
            _ => None,
        }
    }
}

/// Start of the function that the main program's tag `exception_callback:NAME` names
/// (`bpf_find_exception_callback_insn_off`).
fn exception_callback(program: &Program) -> Check<Option<usize>> {
    let Some((b, main)) = program.btf.as_ref().zip(program.subprogs.first()) else { return Ok(None) };
    let mut name = None;
    for t in b.own_decl_tags_of(main.btf_id).filter(|t| t.component.is_none()) {
        let Some(n) = t.name.strip_prefix("exception_callback:") else { continue };
        if name.replace(n).is_some() {
            refuse!(Callback, "multiple exception callback tags for main subprog");
        }
    }
    let Some(name) = name else { return Ok(None) };
    match program.subprogs.iter().find(|s| s.name == name && s.start != 0) {
        Some(s) if s.global => Ok(Some(s.start)),
        Some(_) => refuse!(Callback, "exception callback '{name}' must be global function"),
        None => refuse!(Callback, "exception callback '{name}' could not be found in BTF"),
    }
}

/// First slot of the function that a slot calls or takes the address of; also of a call with reserved fields in use.
pub fn target(slot: &Slot, pc: usize) -> Option<i64> {
    match slot {
        Slot::Op(op, _) => op.subprog_target(pc),
        Slot::Illegal(e) if e.insn.opcode() == 0x85 && e.insn.src() == 1 => {
            Some(pc as i64 + 1 + e.insn.imm() as i64)
        }
        _ => None,
    }
}

/// A call of a kernel function may never come back (`bpf_throw`); whether it does is judged where it is called.
fn may_not_return(insns: &[Insn], last: usize) -> bool {
    insns.get(last).is_some_and(|i| i.opcode() == 0x85 && i.src() == 2)
}

fn second_ok(insns: &[Insn], pc: usize) -> bool {
    insns.get(pc + 1).is_some_and(|s| s.opcode() == 0 && s.dst() == 0 && s.src() == 0 && s.off() == 0)
}

fn decode(insns: &[Insn]) -> Vec<Slot> {
    let mut out: Vec<Slot> = Vec::with_capacity(insns.len());
    while out.len() < insns.len() {
        let pc = out.len();
        match Op::decode(insns, pc) {
            Ok((op, 2)) => out.extend([Slot::Op(op, 2), Slot::Second]),
            Ok((op, _)) => out.push(Slot::Op(op, 1)),
            // Linux does not look at the offset of `exit`.
            Err(_) if insns[pc].with_off(0) == Insn::new(0x95, 0, 0, 0, 0) => out.push(Slot::Op(Op::Exit, 1)),
            Err(e) => {
                out.push(Slot::Illegal(e));
                if insns[pc].is_ldimm64() && second_ok(insns, pc) {
                    out.push(Slot::Second);
                }
            }
        }
    }
    out
}

/// Refusal of an illegal instruction that a path has reached, in the kernel's words.
pub fn illegal(e: &DecodeError) -> String {
    use skep_isa::Illegal;
    if let Illegal::Register { number, .. } = e.why {
        return format!("R{number} is invalid");
    }
    let code = e.insn.opcode();
    let op = code & 0xf0;
    match code & 7 {
        0 if code == LD_IMM => "BPF_LD_IMM64 uses reserved fields".into(),
        0 => "BPF_LD_[ABS|IND] uses reserved fields".into(),
        1 => "BPF_LDX uses reserved fields".into(),
        2 => "BPF_ST uses reserved fields".into(),
        3 if code & 0xe0 == 0xc0 => format!("BPF_ATOMIC uses invalid atomic opcode {:02x}", e.insn.imm()),
        3 => "BPF_STX uses reserved fields".into(),
        4 | 7 => match op {
            0x80 => "BPF_NEG uses reserved fields".into(),
            0xd0 => "BPF_END uses reserved fields".into(),
            0xb0 => "BPF_MOV uses reserved fields".into(),
            0xe0 | 0xf0 => format!("invalid BPF_ALU opcode {op:x}"),
            _ => "BPF_ALU uses reserved fields".into(),
        },
        _ => match op {
            0x80 => "BPF_CALL uses reserved fields".into(),
            0x90 => "BPF_EXIT uses reserved fields".into(),
            0x00 => "BPF_JA uses reserved fields".into(),
            _ => "BPF_JMP/JMP32 uses reserved fields".into(),
        },
    }
}
