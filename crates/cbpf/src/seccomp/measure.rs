//! Running a program on calls, and how much of it runs.

use super::action::Action;
use super::calls::{Arch, calls};
use super::policy::{Data, Policy};
use crate::check::Program;
use crate::insn::{Op, Register, Size, Source};
use crate::machine::{alu, holds};

/// Bytes of `struct seccomp_data`.
const DATA_SIZE: u32 = 64;

/// Length of a program and how much of it runs.
#[derive(Clone, PartialEq, Debug)]
pub struct Measure {
    /// Instructions.
    pub length: usize,
    /// Instructions executed on average over all calls of the policy's first architecture.
    pub mean: f64,
    /// Most executed by any of them.
    pub most: usize,
    /// The mean for each architecture.
    pub by_arch: Vec<(Arch, f64)>,
}

/// Why the kernel's seccomp(2) refuses a program that is legal elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotForSeccomp {
    /// The instruction.
    pub insn: usize,
}

/// Whether seccomp(2) takes a program: words of `seccomp_data` are all that can be loaded (`seccomp_check_filter`).
///
/// # Errors
/// The first instruction that it refuses.
pub fn check(program: &Program) -> Result<(), NotForSeccomp> {
    let legal = |op: &Op| match op {
        Op::Abs(size, k) => *size == Size::W && k % 4 == 0 && *k < DATA_SIZE,
        Op::Ind(..) | Op::Ancillary(..) | Op::Msh(_) => false,
        _ => true,
    };
    match program.ops().iter().position(|op| !legal(op)) {
        Some(insn) => Err(NotForSeccomp { insn }),
        None => Ok(()),
    }
}

/// Runs a program on a call: what it returns, and how many instructions it executed.
pub fn run(program: &Program, data: &Data) -> (u32, usize) {
    let words = data.words();
    let (mut a, mut x, mut mem) = (0u32, 0u32, [0u32; 16]);
    let (mut pc, mut executed) = (0, 0);
    while let Some(op) = program.ops().get(pc) {
        executed += 1;
        pc += 1;
        let value = |s: Source, x: u32| match s {
            Source::K(k) => k,
            Source::X => x,
        };
        match *op {
            Op::Abs(Size::W, k) if k % 4 == 0 && k < DATA_SIZE => a = words[k as usize / 4],
            Op::Imm(Register::A, k) => a = k,
            Op::Imm(Register::X, k) => x = k,
            Op::Len(Register::A) => a = DATA_SIZE,
            Op::Len(Register::X) => x = DATA_SIZE,
            Op::Mem(Register::A, k) => a = mem[k as usize & 15],
            Op::Mem(Register::X, k) => x = mem[k as usize & 15],
            Op::Store(Register::A, k) => mem[k as usize & 15] = a,
            Op::Store(Register::X, k) => mem[k as usize & 15] = x,
            Op::Alu(op, s) => match alu(op, a, value(s, x)) {
                Some(v) => a = v,
                None => return (0, executed),
            },
            Op::Neg => a = a.wrapping_neg(),
            Op::Ja(k) => pc += k as usize,
            Op::Jump(cond, s, jt, jf) => pc += usize::from(if holds(cond, a, value(s, x)) { jt } else { jf }),
            Op::RetK(k) => return (k, executed),
            Op::RetA => return (a, executed),
            Op::Tax => x = a,
            Op::Txa => a = x,
            // Loads that `check` refuses.
            Op::Abs(..) | Op::Ind(..) | Op::Ancillary(..) | Op::Msh(_) => return (0, executed),
        }
    }
    (Action::KillProcess.value(), executed)
}

/// Measures a program of a policy. A call with conditions counts as its longest way over the conditions' corners.
pub fn measure(policy: &Policy, program: &Program) -> Measure {
    let mut most = 0;
    let mut by_arch = Vec::new();
    for arch in policy.archs() {
        let (mut sum, mut count) = (0, 0usize);
        for call in calls() {
            let Some(nr) = call.number(*arch) else { continue };
            let steps = corner_args(policy, call.name)
                .into_iter()
                .map(|args| run(program, &Data::new(*arch, nr, args)).1)
                .max()
                .unwrap_or(0);
            (sum, count, most) = (sum + steps, count + 1, most.max(steps));
        }
        by_arch.push((*arch, sum as f64 / count.max(1) as f64));
    }
    Measure { length: program.insns().len(), mean: by_arch.first().map_or(0.0, |(_, m)| *m), most, by_arch }
}

/// Up to so many rules of a call the values of each are tried with all others.
const CROSSED: usize = 40;

/// Arguments that make a difference for a call: all zero, and for each argument that a rule asks for its corners while
/// the others pass some rule. With many rules each argument is varied around its own rule's values alone.
pub fn corner_args(policy: &Policy, call: &str) -> Vec<[u64; 6]> {
    let mut out = vec![[0; 6]];
    let many = policy.rules_of(call).nth(CROSSED).is_some();
    for rule in policy.rules_of(call) {
        let mut base = [0; 6];
        for c in &rule.conditions {
            let corners = c.compare.corners();
            base[usize::from(c.arg)] = corners.iter().copied().find(|v| c.compare.holds(*v)).unwrap_or(0);
        }
        out.push(base);
        for other in policy.rules_of(call).filter(|o| !many || std::ptr::eq(*o, rule)) {
            for c in &other.conditions {
                for v in c.compare.corners() {
                    let mut args = base;
                    args[usize::from(c.arg)] = v;
                    out.push(args);
                }
            }
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}
