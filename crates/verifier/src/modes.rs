//! Who loads the program: what is open to processes without `CAP_PERFMON`, and to those without any capability.
//!
//! Rules that follow from addresses being secret stand where the addresses are; here stand those about the program as a
//! whole, and about pointers that must not leave their memory even on paths that a CPU only guesses.

use crate::cfg::successors;
use crate::code::Code;
use crate::machine::Vm;
use crate::options::Mode;
use crate::reject::{Check, refuse};
use crate::value::{Base, Reg};
use skep_isa::{AluOp, Insn, Op, Operand};
use skep_platform::helper::Capability;
use skep_platform::{ProgTypeDesc, Proto};

const CALL: u8 = 0x85;
const LDIMM64: u8 = 0x18;
/// States kept at one instruction for him (`BPF_COMPLEXITY_LIMIT_STATES`).
const FEW_STATES: usize = 64;
/// Instructions of a program of a process without capabilities (`BPF_MAXINSNS`).
const SHORT: usize = 4096;

impl Mode {
    /// Has he the capability? Who has `CAP_BPF` is taken to have what his network programs ask for.
    pub(crate) fn holds(self, c: Capability) -> bool {
        match self {
            Mode::Privileged => true,
            Mode::Bpf => c != Capability::Perfmon,
            Mode::Unprivileged => false,
        }
    }
}

/// The program type is open to him, and the program's shape (`bpf_prog_load`, `add_subprog_and_kfunc`, `check_cfg`).
pub(crate) fn open_to(mode: Mode, desc: &ProgTypeDesc, code: &Code, insns: &[Insn]) -> Check {
    if let Some(c) = desc.needs.iter().find(|c| !mode.holds(**c)) {
        let name = match c {
            Capability::Bpf => "CAP_BPF",
            Capability::NetAdmin => "CAP_NET_ADMIN",
            Capability::Perfmon => "CAP_PERFMON",
        };
        refuse!(Load, "programs of type {} need {name}", desc.prog_type.label());
    }
    if mode != Mode::Unprivileged {
        return Ok(());
    }
    if code.len() > SHORT {
        refuse!(Load, "{} instructions; without CAP_BPF there may be {SHORT}", code.len());
    }
    // As the kernel looks for them: legal or not, reached or not.
    let refers = |i: &Insn| matches!((i.opcode(), i.src()), (CALL, 1 | 2) | (LDIMM64, 4));
    if insns.iter().any(refers) {
        refuse!(
            Load,
            "loading/calling other bpf or kernel functions are allowed for CAP_BPF and CAP_SYS_ADMIN"
        );
    }
    match back_edge(code) {
        Some((from, to)) => refuse!(ControlFlow, "back-edge from insn {from} to {to}"),
        None => Ok(()),
    }
}

/// The first jump back that a walk in the kernel's order meets.
fn back_edge(code: &Code) -> Option<(usize, usize)> {
    #[derive(Clone, Copy, PartialEq)]
    enum Colour {
        New,
        Open,
        Done,
    }
    let mut colour = vec![Colour::New; code.len()];
    let mut path = vec![(0, 0)];
    while let Some((pc, nth)) = path.last_mut() {
        let at = *pc;
        *colour.get_mut(at)? = Colour::Open;
        let Some(next) = successors(code, at).into_iter().nth(*nth) else {
            colour[at] = Colour::Done;
            path.pop();
            continue;
        };
        *nth += 1;
        match colour.get(next) {
            Some(Colour::New) => path.push((next, 0)),
            Some(Colour::Open) => return Some((at, next)),
            _ => {}
        }
    }
    None
}

impl Vm<'_> {
    /// The loader has `CAP_BPF`: numbers are followed on the stack, across additions and back to where they came from.
    #[inline]
    pub(crate) fn capable(&self) -> bool {
        self.options.mode != Mode::Unprivileged
    }

    /// No more states are kept where there are so many.
    pub(crate) fn enough_states(&self, kept: usize) -> bool {
        !self.capable() && kept > FEW_STATES
    }

    /// The loader may use this prototype of a helper.
    pub(crate) fn helper_open(&self, p: &Proto) -> bool {
        p.capability.is_none_or(|c| self.options.mode.holds(c))
    }

    /// A pointer moved by a number stays in its memory (`sanitize_check_bounds`).
    pub(crate) fn moved_inside(&mut self, n: usize, r: &Reg) -> Check {
        if self.leaks_allowed() {
            return Ok(());
        }
        match r.base {
            Base::Stack(_) => {
                let Some(var) = r.val.as_const() else {
                    let bits = crate::log::tnum(r.val.bits);
                    refuse!(
                        PointerArithmetic,
                        "R{n} variable stack access prohibited for !root, var_off={bits} off={}",
                        r.off as i64 + r.val.bits.value as i64
                    );
                };
                let off = r.off as i64 + var as i64;
                if !(-512..0).contains(&off) {
                    refuse!(
                        PointerArithmetic,
                        "R{n} stack pointer arithmetic goes out of range, prohibited for !root; off={off}"
                    );
                }
            }
            Base::MapValue(m) => {
                let len = self.maps[m as usize].value_size();
                let off = r.off as i64;
                let fits = self.region(n, r, off, 1, len, false);
                let fits = fits.and_then(|()| self.special_field(r, m, off, 1, false).map(drop));
                if let Err(mut e) = fits {
                    let first = std::mem::replace(
                        &mut e.message,
                        format!(
                            "R{n} pointer arithmetic of map value goes out of range, prohibited for !root"
                        ),
                    );
                    e.before.push(first);
                    return Err(e);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A pointer is moved by a register: only where the bounds can be enforced on paths that a CPU only guesses, and by the
    /// same bounds on every path (`sanitize_ptr_alu` before the move, `after` with what came out).
    pub(crate) fn masked(
        &mut self,
        op: AluOp,
        dst: usize,
        (ptr, off): (&Reg, &Reg),
        in_place: bool,
        after: Option<&Reg>,
    ) -> Check {
        let Some(src) = self.by_register().filter(|_| self.masks(op)) else { return Ok(()) };
        let (pointer, number) = if in_place { (dst, src) } else { (src, dst) };
        let fixed = off.val.as_const().is_some();
        if self.cur.speculative {
            return if fixed || after.is_some() { Ok(()) } else { self.guess_unmoved(dst, ptr) };
        }
        let negative = off.val.r.smin < 0;
        if !fixed && negative != (off.val.r.smax < 0) {
            refuse!(
                PointerArithmetic,
                "R{number} has unknown scalar with mixed signed bounds, pointer arithmetic with it prohibited for !root"
            );
        }
        let word = if op == AluOp::Add { "add" } else { "sub" };
        let left = (op == AluOp::Add) == negative;
        let before = self.window(word, (dst, pointer), ptr, left)?;
        let Some(out) = after else {
            if fixed {
                return Ok(());
            }
            self.barriers.exact_numbers = true;
            return self.guess_unmoved(dst, ptr);
        };
        let limit = (before - self.window(word, (dst, pointer), out, left)?).unsigned_abs();
        self.every_path_alike(word, dst, Some((negative, fixed, limit)))
    }

    /// A number is added to or taken from a number: no other path may have a pointer there.
    pub(crate) fn masked_number(&mut self, op: AluOp, dst: usize) -> Check {
        if !self.masks(op) || self.by_register().is_none() {
            return Ok(());
        }
        self.every_path_alike(if op == AluOp::Add { "add" } else { "sub" }, dst, None)
    }

    /// The operation is bounded by a mask: nothing else keeps a CPU from guessing with it.
    #[inline]
    fn masks(&self, op: AluOp) -> bool {
        !self.leaks_allowed() && matches!(op, AluOp::Add | AluOp::Sub) && !self.barriers.before(self.cur.insn)
    }

    /// The register that is added or taken, when it is one and no constant of the instruction.
    fn by_register(&self) -> Option<usize> {
        match self.code.op(self.cur.insn) {
            Some(Op::Alu { src: Operand::Reg(r), .. }) => Some(r.index()),
            _ => None,
        }
    }

    /// How far the pointer may be moved in that direction (`retrieve_ptr_limit`).
    fn window(&self, word: &str, (dst, pointer): (usize, usize), ptr: &Reg, left: bool) -> Check<i64> {
        let (limit, most) = match ptr.base {
            Base::Stack(_) => (-(ptr.val.bits.value as i64 + ptr.off as i64), 512 + i64::from(left)),
            Base::MapValue(m) => {
                let at = if left { ptr.val.r.smin } else { ptr.val.r.umax as i64 };
                (at + ptr.off as i64, self.maps[m as usize].value_size() as i64)
            }
            _ => refuse!(
                PointerArithmetic,
                "R{pointer} has pointer with unsupported alu operation, pointer arithmetic with it prohibited for !root"
            ),
        };
        if limit as u64 >= most as u64 {
            refuse!(
                PointerArithmetic,
                "R{dst} tried to {word} beyond pointer bounds, pointer arithmetic with it prohibited for !root"
            );
        }
        Ok(limit)
    }

    /// One instruction is bounded in one way (`update_alu_sanitation_state`).
    fn every_path_alike(&mut self, word: &str, dst: usize, how: Masking) -> Check {
        let before = self.masking.insert(self.cur.insn, how);
        if before.is_some_and(|b| b != how) {
            refuse!(
                PointerArithmetic,
                "R{dst} tried to {word} from different maps, paths or scalars, pointer arithmetic with it prohibited for !root"
            );
        }
        Ok(())
    }

    /// A tail call that index checks are built into takes the same map on every path.
    pub(crate) fn one_program_array(&mut self, m: u16) -> Check {
        if self.leaks_allowed() {
            return Ok(());
        }
        let limit = u64::from(m);
        if self
            .masking
            .insert(self.cur.insn, Some((false, true, limit)))
            .is_some_and(|b| b != Some((false, true, limit)))
        {
            refuse!(MapHelper, "tail_call abusing map_ptr");
        }
        Ok(())
    }
}

/// How the move of a pointer is bounded: by a negative number, by a constant one, how far; `None`: no pointer is moved.
pub(crate) type Masking = Option<(bool, bool, u64)>;
