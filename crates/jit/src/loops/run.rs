//! Turns of a loop run at once, on registers in memory: for code that keeps the loop as it is.

use super::FEWEST;
use super::plan::{Count, Effect, Plan, Role};
use super::summary::{ALU, Id, Node};
use crate::routines::{self, Pair};
use skep_isa::{AluOp, Cond, Width};

/// Most expressions of a plan.
const MOST: usize = 48;

/// A pure expression of the registers; operands are expressions before it.
#[derive(Clone, Copy, Debug)]
enum Pure {
    Entry(u8),
    Const(u64),
    Alu(AluOp, Width, u8, u8),
}

/// A value before the loop: index into the expressions.
type Slot = u8;

/// What becomes of a register.
#[derive(Clone, Copy, Debug)]
enum Change {
    Grows { step: u64 },
    Sums { bytes: u8, from: Slot },
    Counts { from: Slot, set: u8, weight: u64 },
    Picks { from: Slot, set: u8, value: Slot, step: u64, cut: bool },
}

/// A register that changes: whether all 64 bits of it do.
#[derive(Clone, Copy, Debug)]
struct Changed {
    reg: u8,
    wide: bool,
    change: Change,
}

#[derive(Clone, Copy, Debug)]
enum Memory {
    None,
    Copy { bytes: u8, to: Slot, from: Slot },
    Fill { bytes: u8, to: Slot, value: Slot, period: u8 },
}

/// How to run many turns of one loop.
#[derive(Debug)]
pub struct Turns {
    pure: Vec<Pure>,
    count: Count,
    /// Registers of 32 bits that must not wrap around, with what they grow by.
    narrow: Vec<(u8, u64)>,
    memory: Memory,
    changes: Vec<Changed>,
    /// Rows of the sets of bytes.
    sets: Vec<[u64; 4]>,
    /// Registers that are read, and those that are written.
    touched: (u16, u16),
}

impl Turns {
    pub(super) fn new(p: &Plan) -> Option<Turns> {
        let mut tape = Tape { plan: p, pure: Vec::with_capacity(8), at: vec![None; p.summary.nodes.len()] };
        let count = Count { value: tape.slot(p.count.value)?, bound: tape.slot(p.count.bound)?, ..p.count };
        let memory = match p.effect {
            Effect::None => Memory::None,
            Effect::Copy { size, to, from } => {
                Memory::Copy { bytes: size.bytes() as u8, to: tape.index(to)?, from: tape.index(from)? }
            }
            Effect::Fill { size, to, value, period } => Memory::Fill {
                bytes: size.bytes() as u8,
                to: tape.index(to)?,
                value: tape.index(value)?,
                period: period as u8,
            },
        };
        let mut changes = Vec::new();
        for (r, role) in p.roles.iter().enumerate() {
            let (wide, change) = match *role {
                Role::Stays => continue,
                Role::Grows { wide, step } => (wide, Change::Grows { step: step as u64 }),
                Role::Sums { wide, bytes, from } => (wide, Change::Sums { bytes, from: tape.index(from)? }),
                Role::Counts { wide, from, set, weight } => {
                    (wide, Change::Counts { from: tape.index(from)?, set: set as u8, weight })
                }
                Role::Picks { from, set, value, wide, cut } => {
                    let step = p.steps.get(&value).copied().unwrap_or(0) as u64;
                    let (from, value) = (tape.index(from)?, tape.index(value)?);
                    (wide, Change::Picks { from, set: set as u8, value, step, cut })
                }
            };
            changes.push(Changed { reg: r as u8, wide, change });
        }
        let narrow = p.narrow.iter().filter_map(|r| match p.roles[*r] {
            Role::Grows { step, .. } => Some((*r as u8, step as u64)),
            _ => None,
        });
        let written = changes.iter().fold(0, |all, c| all | 1 << c.reg);
        let read = tape.pure.iter().fold(written, |all, e| match e {
            Pure::Entry(r) => all | 1 << r,
            _ => all,
        });
        Some(Turns {
            count,
            narrow: narrow.collect(),
            memory,
            changes,
            sets: p.sets.iter().map(routines::rows).collect(),
            touched: (read, written),
            pure: tape.pure,
        })
    }

    /// Registers that [`Turns::run`] reads, and those among them that it may write; bit `n` is register `n`.
    pub fn touched(&self) -> (u16, u16) {
        self.touched
    }

    /// The registers and constants whose difference is at least so much where it is worth while to call [`Turns::run`]:
    /// the bound, the value that grows, whether all 64 bits count, the difference. `None`: only `run` can tell.
    pub(crate) fn worth(&self) -> Option<([Plain; 2], bool, i32)> {
        let plain = |e: Id| match self.pure[e] {
            Pure::Entry(r) => Some(Plain::Register(r)),
            Pure::Const(c) => Some(Plain::Constant(c)),
            Pure::Alu(AluOp::Add, Width::W64, a, b) => {
                match (self.pure[usize::from(a)], self.pure[usize::from(b)]) {
                    (Pure::Entry(r), Pure::Const(c)) => Some(Plain::Sum(r, i32::try_from(c as i64).ok()?)),
                    _ => None,
                }
            }
            Pure::Alu(..) => None,
        };
        let least = i32::try_from((FEWEST - 1).checked_mul(self.count.step)?).ok()?;
        Some(([plain(self.count.bound)?, plain(self.count.value)?], self.count.wide, least))
    }

    /// Runs the turns that surely follow, if they are enough; `regs` are `r0` to `r9` at the loop's beginning.
    ///
    /// # Safety
    /// The program was verified, its memory is where it believes it to be, and it is about to enter the loop with these
    /// registers: the routine does accesses that the loop would have done.
    pub unsafe fn run(&self, regs: &mut [u64; 10]) {
        let values = self.values(regs);
        let count = self.count(&values);
        if (count as i64) < FEWEST {
            return;
        }
        let wraps =
            |(r, step): &(u8, u64)| regs[usize::from(*r)].wrapping_add(count.wrapping_mul(*step)) >> 32 != 0;
        if self.narrow.iter().any(wraps) {
            return;
        }
        // SAFETY: the caller's promise: each of the turns would have made these accesses.
        unsafe { self.memory(regs, &values, count) };
        let mut last: Option<(u8, u8, Pair)> = None;
        let mut classify = |from: Slot, set: u8| match last {
            Some((f, s, pair)) if (f, s) == (from, set) => pair,
            _ => {
                let at = std::ptr::with_exposed_provenance(values[usize::from(from)] as usize);
                let [a, b, c, d] = self.sets[usize::from(set)];
                // SAFETY: the caller's promise: every turn reads one of these bytes.
                let pair = unsafe { routines::classify()(at, count as usize, a, b, c, d) };
                last = Some((from, set, pair));
                pair
            }
        };
        for c in &self.changes {
            let old = regs[usize::from(c.reg)];
            let new = match c.change {
                Change::Grows { step } => old.wrapping_add(count.wrapping_mul(step)),
                Change::Sums { bytes, from } => {
                    let at = std::ptr::with_exposed_provenance(values[usize::from(from)] as usize);
                    // SAFETY: the caller's promise: every turn reads one of these elements.
                    old.wrapping_add(unsafe { routines::sum(bytes)(at, count as usize) })
                }
                Change::Counts { from, set, weight } => {
                    old.wrapping_add(classify(from, set).0.wrapping_mul(weight))
                }
                Change::Picks { from, set, value, step, cut } => match classify(from, set).1 {
                    // The register stays, or is cut to its lower half; not as `wide` says, which is about the new value.
                    0 => {
                        regs[usize::from(c.reg)] = if cut { Width::W32.truncate(old) } else { old };
                        continue;
                    }
                    behind => values[usize::from(value)].wrapping_add((behind - 1).wrapping_mul(step)),
                },
            };
            regs[usize::from(c.reg)] = if c.wide { new } else { Width::W32.truncate(new) };
        }
    }

    /// The expressions, of these registers.
    fn values(&self, regs: &[u64; 10]) -> [u64; MOST] {
        let mut values = [0; MOST];
        for (i, e) in self.pure.iter().enumerate() {
            values[i] = match *e {
                Pure::Entry(r) => regs[usize::from(r)],
                Pure::Const(c) => c,
                Pure::Alu(op, width, a, b) => op.eval(width, values[usize::from(a)], values[usize::from(b)]),
            };
        }
        values
    }

    /// The number of turns that surely follow.
    fn count(&self, values: &[u64; MOST]) -> u64 {
        let c = &self.count;
        let width = if c.wide { Width::W64 } else { Width::W32 };
        let (value, bound) = (width.truncate(values[c.value]), width.truncate(values[c.bound]));
        let (way, step) = (width.truncate(bound.wrapping_sub(value)), c.step as u64);
        match c.cond {
            Cond::Ne if way & (step - 1) == 0 => way >> step.trailing_zeros(),
            Cond::Ne => 0,
            cond if !cond.eval(width, value, bound) => 0,
            Cond::Lt | Cond::Slt => (way - 1) / step + 1,
            _ => width.truncate((way / step).wrapping_add(1)),
        }
    }

    /// # Safety
    /// As for [`Turns::run`].
    unsafe fn memory(&self, regs: &[u64; 10], values: &[u64; MOST], count: u64) {
        let address = |e: Slot| std::ptr::with_exposed_provenance_mut::<u8>(values[usize::from(e)] as usize);
        match self.memory {
            Memory::None => {}
            // SAFETY: the caller's promise: every turn reads and writes one of these elements.
            Memory::Copy { bytes, to, from } => unsafe {
                routines::copy()(address(to), address(from), count as usize, bytes.into());
            },
            Memory::Fill { bytes, to, value, period } => {
                let (bytes, mut pattern) = (usize::from(bytes), [0; 16]);
                let mut later = *regs;
                for turn in 0..usize::from(period) {
                    let v = self.values(&later)[usize::from(value)].to_le_bytes();
                    pattern[turn * bytes..][..bytes].copy_from_slice(&v[..bytes]);
                    for c in &self.changes {
                        let Change::Grows { step } = c.change else { continue };
                        let new = later[usize::from(c.reg)].wrapping_add(step);
                        later[usize::from(c.reg)] = if c.wide { new } else { Width::W32.truncate(new) };
                    }
                }
                let whole = usize::from(period) * bytes;
                (whole..16).for_each(|i| pattern[i] = pattern[i - whole]);
                let half = |at: usize| {
                    let mut word = [0; 8];
                    word.copy_from_slice(&pattern[at..at + 8]);
                    u64::from_le_bytes(word)
                };
                // SAFETY: as above; the elements lie one behind the other.
                unsafe { routines::fill()(address(to), count as usize * bytes, half(0), half(8)) };
            }
        }
    }
}

/// A value that compiled code has at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plain {
    Register(u8),
    Constant(u64),
    Sum(u8, i32),
}

/// Numbers the expressions that are needed.
struct Tape<'p> {
    plan: &'p Plan,
    pure: Vec<Pure>,
    at: Vec<Option<u8>>,
}

impl Tape<'_> {
    fn slot(&mut self, e: Id) -> Option<Id> {
        self.index(e).map(Id::from)
    }

    fn index(&mut self, e: Id) -> Option<Slot> {
        if let Some(known) = self.at[e] {
            return Some(known);
        }
        let pure = match self.plan.summary.nodes[e] {
            Node::Entry(r) => Pure::Entry(r as u8),
            Node::Const(c) => Pure::Const(c),
            Node::Alu(op, wide, a, b) => {
                let op = ALU[op as usize];
                if matches!(op, AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod) {
                    return None;
                }
                let width = if wide { Width::W64 } else { Width::W32 };
                Pure::Alu(op, width, self.index(a)?, self.index(b)?)
            }
            _ => return None,
        };
        if self.pure.len() == MOST {
            return None;
        }
        self.pure.push(pure);
        self.at[e] = Some(self.pure.len() as u8 - 1);
        self.at[e]
    }
}
