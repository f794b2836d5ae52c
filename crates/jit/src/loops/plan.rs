//! What a routine can do for a loop: [`Plan`].
//!
//! A loop qualifies when it has one way out, a comparison of a value that grows evenly with one that stays, and every
//! register that a turn hands to the next one stays, grows evenly, or adds up or picks out what the turn reads. Many turns
//! are then run at once: as many as surely follow one another. The rest, and the last turn with it, is left to the loop
//! itself, so registers that are only used behind it need no care.

use super::summary::{ALU, COND, ENDS, Id, Node, Summary, width};
use super::table::{self, Table};
use skep_isa::{AluOp, Cond, Size, eval};
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of a register from turn to turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// It stays, or nobody reads it.
    Stays,
    /// It grows by a constant.
    Grows { wide: bool, step: i64 },
    /// The elements of an array are added to it.
    Sums { wide: bool, bytes: u8, from: Id },
    /// A constant is added to it for every byte that is in the set.
    Counts { wide: bool, from: Id, set: usize, weight: u64 },
    /// It becomes a value that grows evenly whenever a byte is in the set: cut to 32 bits unless `wide`. With `cut` it is cut
    /// to 32 bits where it stays.
    Picks { from: Id, set: usize, value: Id, wide: bool, cut: bool },
}

/// What the loop does to memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    None,
    /// Elements are copied.
    Copy {
        size: Size,
        to: Id,
        from: Id,
    },
    /// Elements are set to a value that repeats after so many turns.
    Fill {
        size: Size,
        to: Id,
        value: Id,
        period: usize,
    },
}

/// How many turns surely follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    /// The turns go on while this holds of the value and the bound, of 32 or 64 bits.
    pub(crate) cond: Cond,
    pub(crate) wide: bool,
    pub(crate) value: Id,
    pub(crate) bound: Id,
    pub(crate) step: i64,
}

/// The values of expressions for every byte.
#[derive(Debug, Default)]
struct Made {
    of: Vec<Id>,
    tables: Vec<Table>,
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) summary: Summary,
    pub(crate) roles: [Role; 10],
    pub(crate) effect: Effect,
    pub(crate) count: Count,
    /// Registers of 32 bits that must not wrap around meanwhile.
    pub(crate) narrow: BTreeSet<usize>,
    /// By how much the values of [`Role::Picks`] grow.
    pub(crate) steps: BTreeMap<Id, i64>,
    /// Sets of bytes.
    pub(crate) sets: Vec<[bool; 256]>,
    /// The tables of what depends on one byte, which is a load.
    made: Option<(Id, Made)>,
}

impl Plan {
    /// The plan for a loop. `live`: registers that are read behind the beginning of a turn.
    pub(crate) fn of(summary: Summary, live: u16) -> Option<Plan> {
        let count = Count { cond: Cond::Ne, wide: true, value: 0, bound: 0, step: 1 };
        let (roles, effect) = ([Role::Stays; 10], Effect::None);
        let mut p = Plan {
            summary,
            roles,
            effect,
            count,
            narrow: BTreeSet::new(),
            steps: BTreeMap::new(),
            sets: Vec::new(),
            made: None,
        };
        let live: Vec<usize> = (0..10).filter(|r| live >> r & 1 == 1).collect();
        for &r in &live {
            if let Some(role) = p.steady(r) {
                p.roles[r] = role;
            }
        }
        let steady: Vec<usize> = live.iter().copied().filter(|r| p.steady(*r).is_some()).collect();
        for &r in live.iter().filter(|r| !steady.contains(r)) {
            p.roles[r] = p.gathers(r, &steady)?;
        }
        p.effect = p.effect(&steady)?;
        p.count = p.counted(&steady)?;
        let works = p.effect != Effect::None || live.len() > steady.len();
        works.then_some(p)
    }

    fn node(&self, id: Id) -> Node {
        self.summary.nodes[id]
    }

    /// The role of a register that stays or grows.
    fn steady(&self, r: usize) -> Option<Role> {
        match self.node(self.summary.regs[r]) {
            Node::Entry(e) if e == r => Some(Role::Stays),
            Node::Alu(0, wide, a, b) if self.node(a) == Node::Entry(r) => {
                let step = width(wide).signed(self.summary.constant(b)?);
                Some(Role::Grows { wide, step })
            }
            _ => None,
        }
    }

    /// The role of a register that gathers something.
    fn gathers(&mut self, r: usize, steady: &[usize]) -> Option<Role> {
        match self.node(self.summary.regs[r]) {
            Node::Alu(0, wide, a, b) => {
                let e = match (self.node(a), self.node(b)) {
                    (Node::Entry(e), _) if e == r => b,
                    (_, Node::Entry(e)) if e == r => a,
                    _ => return None,
                };
                if let Node::Load(bytes, false, from) = self.node(e) {
                    let even = self.slope(from, steady)? == i64::from(bytes);
                    return even.then_some(Role::Sums { wide, bytes, from });
                }
                let (from, table) = self.table(e, steady)?;
                let weight = table.iter().copied().find(|v| *v != 0)?;
                let one = table.iter().all(|v| *v == 0 || *v == weight);
                let set = self.set(&table, true);
                one.then_some(Role::Counts { wide, from, set, weight })
            }
            Node::Select(condition, yes, no) => {
                // The old value, or its lower half.
                let old = |id: Id| match self.node(id) {
                    Node::Entry(e) => (e == r).then_some(false),
                    Node::Alu(op, false, _, b) if ALU[op as usize] == AluOp::Mov => {
                        (self.node(b) == Node::Entry(r)).then_some(true)
                    }
                    _ => None,
                };
                let (value, when, cut) = match (old(yes), old(no)) {
                    (_, Some(cut)) => (yes, true, cut),
                    (Some(cut), _) => (no, false, cut),
                    _ => return None,
                };
                let (from, table) = self.table(condition, steady)?;
                // Cut to 32 bits: so is the value that grows.
                let (value, wide) = match self.node(value) {
                    Node::Alu(op, false, _, b) if ALU[op as usize] == AluOp::Mov => (b, false),
                    _ => (value, true),
                };
                let step = self.slope(value, steady)?;
                self.steps.insert(value, step);
                let set = self.set(&table, when);
                Some(Role::Picks { from, set, value, wide, cut })
            }
            _ => None,
        }
    }

    /// The set of the bytes whose value is another than 0, or with `when` false is 0.
    fn set(&mut self, table: &Table, when: bool) -> usize {
        let mut set = [false; 256];
        for (is, v) in set.iter_mut().zip(table) {
            *is = (*v != 0) == when;
        }
        if let Some(at) = self.sets.iter().position(|s| *s == set) {
            return at;
        }
        self.sets.push(set);
        self.sets.len() - 1
    }

    /// An expression that depends on nothing but one byte of an array: the byte's address, and the expression's value for
    /// every byte.
    fn table(&mut self, e: Id, steady: &[usize]) -> Option<(Id, Table)> {
        let mut byte = None;
        self.leaves(e, &mut byte)?;
        let byte = byte?;
        let Node::Load(1, _, from) = self.node(byte) else { return None };
        if self.slope(from, steady)? != 1 {
            return None;
        }
        let made = self.made.take().filter(|(of, _)| *of == byte);
        let mut made = made.map_or_else(Made::default, |(_, made)| made);
        let at = self.values(e, byte, &mut made);
        let table = at.and_then(|at| made.tables.get(at).copied());
        self.made = Some((byte, made));
        Some((from, table?))
    }

    /// Finds the one load of an expression of loads and constants; `None`: there are several, or something else.
    fn leaves(&self, e: Id, load: &mut Option<Id>) -> Option<()> {
        match self.node(e) {
            Node::Entry(_) => return None,
            Node::Const(_) => {}
            Node::Load(..) => return (*load.get_or_insert(e) == e).then_some(()),
            Node::Alu(_, _, a, b) | Node::Compare(_, _, a, b) => {
                self.leaves(a, load)?;
                self.leaves(b, load)?;
            }
            Node::Select(a, b, c) => {
                self.leaves(a, load)?;
                self.leaves(b, load)?;
                self.leaves(c, load)?;
            }
            Node::End(_, _, a) | Node::Extend(_, _, a) => self.leaves(a, load)?,
        }
        Some(())
    }

    /// The values of an expression when the load `byte` gives 0, 1, …, 255, as a place in `made`, which has those of its parts, too.
    fn values(&self, e: Id, byte: Id, made: &mut Made) -> Option<usize> {
        if let Some(known) = made.of.iter().position(|of| *of == e) {
            return Some(known);
        }
        let part = |e: Id, made: &mut Made| self.values(e, byte, made);
        let values = match self.node(e) {
            Node::Load(_, sx, _) if e == byte => {
                let mut to = [0; 256];
                let every = to.iter_mut().zip(0u64..);
                every.for_each(|(to, v)| *to = if sx { v as u8 as i8 as u64 } else { v });
                to
            }
            Node::Const(c) => [c; 256],
            Node::Alu(op, wide, a, b) => {
                let (a, b) = (part(a, made)?, part(b, made)?);
                table::alu(ALU[op as usize], width(wide), &made.tables[a], &made.tables[b])
            }
            Node::Compare(cond, wide, a, b) => {
                let (a, b) = (part(a, made)?, part(b, made)?);
                table::compare(COND[cond as usize], width(wide), &made.tables[a], &made.tables[b])
            }
            Node::Select(c, a, b) => {
                let [c, a, b] = [part(c, made)?, part(a, made)?, part(b, made)?].map(|at| &made.tables[at]);
                let mut to = *b;
                for ((to, c), a) in to.iter_mut().zip(c).zip(a) {
                    *to = if *c != 0 { *a } else { *to };
                }
                to
            }
            Node::End(kind, bits, a) => {
                let a = part(a, made)?;
                let mut to = made.tables[a];
                to.iter_mut().for_each(|v| *v = ENDS[kind as usize].eval(bits, *v));
                to
            }
            Node::Extend(bits, wide, a) => {
                let a = part(a, made)?;
                let mut to = made.tables[a];
                to.iter_mut().for_each(|v| *v = width(wide).truncate(eval::sign_extend(bits, *v)));
                to
            }
            Node::Entry(_) | Node::Load(..) => return None,
        };
        if made.tables.capacity() == 0 {
            made.tables.reserve_exact(12);
        }
        made.tables.push(values);
        made.of.push(e);
        Some(made.tables.len() - 1)
    }

    /// By how much an expression grows from turn to turn, if it grows evenly; 32-bit registers that it relies on are noted.
    pub(crate) fn slope(&mut self, e: Id, steady: &[usize]) -> Option<i64> {
        // What a register of 32 bits becomes: as even as the register, while that does not wrap around.
        let becomes = steady.iter().find(|r| self.summary.regs[**r] == e);
        if let Some((r, Role::Grows { wide: false, step })) = becomes.map(|r| (*r, self.roles[*r])) {
            self.narrow.insert(r);
            return (step > 0).then_some(step);
        }
        match self.node(e) {
            Node::Const(_) => Some(0),
            Node::Entry(r) if steady.contains(&r) => match self.roles[r] {
                Role::Grows { wide: true, step } => Some(step),
                Role::Grows { wide: false, step } if step > 0 => {
                    self.narrow.insert(r);
                    Some(step)
                }
                Role::Stays => Some(0),
                _ => None,
            },
            Node::Alu(op, wide, a, b) => {
                let (x, y) = (self.slope(a, steady)?, self.slope(b, steady)?);
                match (ALU[op as usize], self.summary.constant(b)) {
                    _ if x == 0 && y == 0 => Some(0),
                    (AluOp::Add, _) if wide => x.checked_add(y),
                    (AluOp::Sub, _) if wide => x.checked_sub(y),
                    (AluOp::Lsh, Some(c)) if wide && c < 32 => x.checked_mul(1 << c),
                    (AluOp::Mul, Some(c)) if wide => x.checked_mul(i64::try_from(c).ok()?),
                    // Cutting off what is zero already.
                    (AluOp::Mov, _) => self.zero_extended(b).then_some(y),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// A 32-bit register that grows, and does not wrap around.
    fn zero_extended(&self, e: Id) -> bool {
        matches!(self.node(e), Node::Entry(r) if matches!(self.roles[r], Role::Grows { wide: false, .. }))
    }

    fn effect(&mut self, steady: &[usize]) -> Option<Effect> {
        let store = match self.summary.stores[..] {
            [] => return Some(Effect::None),
            [one] => one,
            _ => return None,
        };
        // What is gathered could be read from what is stored.
        if self.summary.loads_late
            || (0..10).any(|r| !matches!(self.roles[r], Role::Stays | Role::Grows { .. }))
        {
            return None;
        }
        let (size, to) = (store.size, store.addr);
        if self.slope(to, steady)? != size.bytes() as i64 {
            return None;
        }
        if let Node::Load(bytes, _, from) = self.node(store.value) {
            let same = usize::from(bytes) == size.bytes() && self.slope(from, steady)? == i64::from(bytes);
            return same.then_some(Effect::Copy { size, to, from });
        }
        let bits = self.depth(store.value, size.bytes() as u32 * 8, steady)?;
        let period = 1usize.checked_shl(bits).filter(|p| p * size.bytes() <= 16)?;
        Some(Effect::Fill { size, to, value: store.value, period })
    }

    /// How many low bits of the number of the turn the low `bits` of an expression depend on, at most.
    fn depth(&self, e: Id, bits: u32, steady: &[usize]) -> Option<u32> {
        match self.node(e) {
            Node::Const(_) => Some(0),
            Node::Entry(r) if steady.contains(&r) => match self.roles[r] {
                Role::Stays => Some(0),
                Role::Grows { step, .. } => Some(bits.saturating_sub(step.trailing_zeros())),
                _ => None,
            },
            Node::Alu(op, wide, a, b) => {
                let bits = if wide { bits } else { bits.min(32) };
                match (ALU[op as usize], self.summary.constant(b)) {
                    (AluOp::And, Some(mask)) => self.depth(a, bits.min(64 - mask.leading_zeros()), steady),
                    (AluOp::Lsh, Some(c)) => self.depth(a, bits.saturating_sub(c as u32 & 63), steady),
                    (AluOp::Mov, _) => self.depth(b, bits, steady),
                    (AluOp::Add | AluOp::Sub | AluOp::Mul | AluOp::Or | AluOp::And | AluOp::Xor, _) => {
                        Some(self.depth(a, bits, steady)?.max(self.depth(b, bits, steady)?))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The way out, which must be the only one.
    fn counted(&mut self, steady: &[usize]) -> Option<Count> {
        let [exit] = self.summary.exits[..] else { return None };
        let Node::Compare(kind, wide, a, b) = self.node(exit.condition) else { return None };
        let cond = COND[kind as usize];
        let cond = if exit.when { cond.negate()? } else { cond };
        let (x, y) = (self.slope(a, steady)?, self.slope(b, steady)?);
        let (cond, value, bound, step) = match (x, y) {
            (step, 0) if step != 0 => (cond, a, b, step),
            (0, step) if step != 0 => (cond.swap(), b, a, step),
            _ => return None,
        };
        let counts = match cond {
            Cond::Ne => step > 0 && (step as u64).is_power_of_two(),
            Cond::Lt | Cond::Le | Cond::Slt | Cond::Sle => step > 0 && step < 1 << 31,
            _ => false,
        };
        counts.then_some(Count { cond, wide, value, bound, step })
    }
}
