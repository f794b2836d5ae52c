//! Control flow before any path is walked: what can be reached, where states are worth keeping, which instructions lie
//! in a loop, and the order in which data flow settles fastest.
//!
//! Marks follow `check_cfg` and `compute_scc` (kernel/bpf/verifier.c): targets of jumps and conditional jumps are
//! prune points; calls that call back and iterator steps force a checkpoint.

use crate::code::{Code, Func, Slot};
use crate::reject::{Check, refuse};
use skep_isa::{Callee, Op};

/// What is known of one instruction from control flow alone.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Mark {
    /// States are compared and kept here.
    pub prune: bool,
    /// History is written here: control comes from elsewhere.
    pub jump: bool,
    /// A state is kept at every visit.
    pub checkpoint: bool,
    /// A helper that calls back before it returns.
    pub callback: bool,
    /// An iterator's step.
    pub iter_next: bool,
    /// A relocation has left nothing usable here.
    pub poisoned: bool,
    /// It may write the stack.
    pub stores: bool,
    /// Loop it lies in; 0: none.
    pub scc: u32,
}

/// What a call is, as far as control flow goes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CallShape {
    /// Calls back before it returns.
    pub sync_callback: bool,
    /// Calls back later.
    pub async_callback: bool,
    /// An iterator's step.
    pub iter_next: bool,
    /// Never returns.
    pub throws: bool,
    /// Invalidates packet pointers.
    pub changes_packet: bool,
    /// May sleep.
    pub might_sleep: bool,
    /// Arguments it reads.
    pub args: u8,
}

/// Control flow of a program.
#[derive(Clone, Debug)]
pub struct Cfg {
    /// By slot.
    pub marks: Vec<Mark>,
    /// By slot: [`successors`].
    pub ways: Vec<Ways>,
    /// Instructions of every function in postorder.
    pub postorder: Vec<Vec<usize>>,
}

impl Cfg {
    /// Walks the program from its first instruction through jumps, calls and callback addresses.
    pub fn new(code: &mut Code, shape: &dyn Fn(&Op) -> CallShape) -> Check<Cfg> {
        let ways = (0..code.len()).map(|pc| successors(code, pc)).collect();
        let marks = vec![Mark::default(); code.len()];
        let mut cfg = Cfg { marks, ways, postorder: Vec::new() };
        let seen = cfg.walk(code, shape)?;
        for (pc, slot) in code.slots.iter().enumerate() {
            match slot {
                Slot::Second if seen[pc] => {
                    refuse!(ControlFlow, "jump into the middle of ldimm64 insn {}", pc - 1)
                }
                Slot::Second => {}
                _ if !seen[pc] => refuse!(Unreachable, "unreachable insn {pc}"),
                _ => {}
            }
        }
        cfg.propagate_effects(code, shape);
        cfg.loops(code);
        Ok(cfg)
    }

    fn walk(&mut self, code: &mut Code, shape: &dyn Fn(&Op) -> CallShape) -> Check<Vec<bool>> {
        let mut seen = vec![false; code.len()];
        let mut todo = vec![0];
        todo.extend(code.exception_callback.map(|f| code.funcs[f].start));
        while let Some(pc) = todo.pop() {
            if std::mem::replace(&mut seen[pc], true) {
                continue;
            }
            let Slot::Op(op, _) = code.slots[pc] else {
                todo.extend(self.ways[pc]);
                todo.extend(crate::code::target(&code.slots[pc], pc).map(|t| t as usize));
                continue;
            };
            let shape = if let Op::Call(_) = op { shape(&op) } else { CallShape::default() };
            self.mark(code, pc, &op, &shape);
            for next in self.ways[pc].0.into_iter().filter(|w| *w != Ways::NONE) {
                if next as usize >= code.len() {
                    refuse!(ControlFlow, "jump out of range from insn {pc} to {next}");
                }
                todo.push(next as usize);
            }
            if let Some(t) = op.subprog_target(pc) {
                todo.push(t as usize);
            }
        }
        Ok(seen)
    }

    fn mark(&mut self, code: &mut Code, pc: usize, op: &Op, shape: &CallShape) {
        match *op {
            Op::Ja { .. } => self.target(op, pc),
            Op::JumpIf { .. } => {
                self.marks[pc].prune = true;
                self.target(op, pc);
            }
            Op::MayGoto { .. } => {
                self.marks[pc].prune = true;
                self.marks[pc].checkpoint = true;
                self.target(op, pc);
            }
            Op::Call(_) => {
                let m = &mut self.marks[pc];
                m.prune |= shape.async_callback || shape.sync_callback || shape.iter_next;
                m.checkpoint |= shape.sync_callback || shape.iter_next;
                m.callback = shape.sync_callback;
                m.iter_next = shape.iter_next;
                m.jump |= shape.sync_callback;
                self.comes_back(op, pc, pc + 1);
            }
            Op::LoadImm64 { .. } if op.subprog_target(pc).is_some() => {
                let f = op.subprog_target(pc).and_then(|t| code.func_at(t as usize));
                if let Some(f) = f {
                    code.funcs[f].callback = true;
                }
                self.comes_back(op, pc, pc + 2);
            }
            _ => {}
        }
        self.marks[pc].stores =
            matches!(op, Op::Store { .. } | Op::StoreRelease { .. } | Op::Atomic { .. } | Op::Call(_));
        if let (Op::LoadAbs { .. } | Op::LoadInd { .. }, Some(next)) = (op, self.marks.get_mut(pc + 1)) {
            next.jump = true;
        }
    }

    /// After a call states are worth keeping and control has come from elsewhere; the callee's entry likewise.
    fn comes_back(&mut self, op: &Op, pc: usize, next: usize) {
        let callee = op.subprog_target(pc).map(|t| t as usize);
        if callee.is_some() {
            self.marks[pc].prune = true;
        }
        for at in callee.into_iter().chain([next]) {
            if let Some(m) = self.marks.get_mut(at) {
                m.prune = true;
                m.jump = true;
            }
        }
    }

    fn target(&mut self, op: &Op, pc: usize) {
        if let Some(m) = op.jump_target(pc).and_then(|t| self.marks.get_mut(t as usize)) {
            m.prune = true;
            m.jump = true;
        }
    }

    /// A function changes packets or sleeps when it or anything it calls does.
    fn propagate_effects(&mut self, code: &mut Code, shape: &dyn Fn(&Op) -> CallShape) {
        let mut calls = Vec::new();
        for f in 0..code.funcs.len() {
            for pc in code.funcs[f].start..code.funcs[f].end {
                let Some(op @ (Op::Call(_) | Op::LoadImm64 { .. })) = code.op(pc).copied() else { continue };
                if let Op::Call(_) = op {
                    let s = shape(&op);
                    code.funcs[f].changes_packet |= s.changes_packet;
                    code.funcs[f].might_sleep |= s.might_sleep;
                }
                if let Some(callee) = op.subprog_target(pc).and_then(|t| code.func_at(t as usize)) {
                    calls.push((f, callee));
                }
            }
        }
        loop {
            let mut changed = false;
            for &(from, to) in &calls {
                let (c, m) = (code.funcs[to].changes_packet, code.funcs[to].might_sleep);
                let f = &mut code.funcs[from];
                changed |= (c && !f.changes_packet) || (m && !f.might_sleep);
                f.changes_packet |= c;
                f.might_sleep |= m;
            }
            if !changed {
                return;
            }
        }
    }

    /// Every function in postorder, and its loops numbered (Tarjan's algorithm, without recursion).
    fn loops(&mut self, code: &Code) {
        let mut walk = Walk { index: vec![0; code.len()], ..Walk::default() };
        for f in &code.funcs {
            walk.order = Vec::with_capacity(f.end - f.start);
            walk.function(self, f);
            self.postorder.push(std::mem::take(&mut walk.order));
        }
    }
}

/// A walk in depth through the instructions of a function.
#[derive(Default)]
struct Walk {
    /// By instruction: its place in the order of visits, from 1; 0: not visited; [`Walk::CLOSED`].
    index: Vec<u32>,
    /// Instructions on the way from the first one: which of its ways comes next, and the least visit that it reaches.
    way: Vec<(usize, usize, u32)>,
    /// Visited, and not known to be in no loop or another one than the rest.
    open: Vec<usize>,
    order: Vec<usize>,
    visits: u32,
    loops: u32,
}

impl Walk {
    /// Its loop is known.
    const CLOSED: u32 = u32::MAX;

    fn visit(&mut self, pc: usize) {
        self.visits += 1;
        self.index[pc] = self.visits;
        self.open.push(pc);
        self.way.push((pc, 0, self.visits));
    }

    fn function(&mut self, cfg: &mut Cfg, f: &Func) {
        if f.start == f.end || self.index[f.start] != 0 {
            return;
        }
        self.visit(f.start);
        while let Some((pc, edge, least)) = self.way.last_mut() {
            if let Some(to) = cfg.ways[*pc].0.get(*edge) {
                *edge += 1;
                let to = *to as usize;
                if to < f.start || to >= f.end {
                    continue;
                }
                match self.index[to] {
                    0 => self.visit(to),
                    Walk::CLOSED => {}
                    visit => *least = visit.min(*least),
                }
                continue;
            }
            let (pc, least) = (*pc, *least);
            self.way.pop();
            self.order.push(pc);
            if let Some((_, _, l)) = self.way.last_mut() {
                *l = least.min(*l);
            }
            if least == self.index[pc] {
                self.close(cfg, pc);
            }
        }
    }

    /// What was visited from here on is one loop, or a single instruction.
    fn close(&mut self, cfg: &mut Cfg, root: usize) {
        let alone = self.open.last() == Some(&root);
        let looping = !alone || cfg.marks[root].callback || cfg.ways[root].0.contains(&(root as u32));
        self.loops += u32::from(looping);
        while let Some(pc) = self.open.pop() {
            self.index[pc] = Walk::CLOSED;
            cfg.marks[pc].scc = if looping { self.loops } else { 0 };
            if pc == root {
                break;
            }
        }
    }
}

/// Slots that may come next inside the same function.
pub fn successors(code: &Code, pc: usize) -> Ways {
    let (op, len) = match code.slots[pc] {
        Slot::Op(op, len) => (op, len as usize),
        Slot::Illegal(e) if matches!(e.insn.class(), 5 | 6) => return illegal_jump(&e.insn, pc, code.len()),
        _ => {
            let next = if matches!(code.slots.get(pc + 1), Some(Slot::Second)) { pc + 2 } else { pc + 1 };
            return Ways::new(Some(next).filter(|n| *n < code.len()), None);
        }
    };
    let next = (!op.is_terminator()).then_some(pc + len);
    Ways::new(next, op.jump_target(pc).map(|t| t as usize))
}

/// Where control may go from an instruction: on, and to its target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ways(pub [u32; 2]);

impl Ways {
    /// No way.
    pub const NONE: u32 = u32::MAX;

    fn new(next: Option<usize>, target: Option<usize>) -> Ways {
        let slot = |w: Option<usize>| w.and_then(|w| u32::try_from(w).ok()).unwrap_or(Ways::NONE);
        Ways([slot(next), slot(target)])
    }
}

impl IntoIterator for Ways {
    type Item = usize;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<usize>, 2>>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        let slot = |w: u32| (w != Ways::NONE).then_some(w as usize);
        [slot(self.0[0]), slot(self.0[1])].into_iter().flatten()
    }
}

/// A jump whose distance is its immediate.
const GOTOL: u8 = 0x06;

/// Where a jump with reserved fields in use would go: control flow is looked at before the fields are.
fn illegal_jump(insn: &skep_isa::Insn, pc: usize, len: usize) -> Ways {
    let far = insn.opcode() == GOTOL;
    let off = if far { insn.imm().into() } else { i64::from(insn.off()) };
    let jump = usize::try_from(pc as i64 + 1 + off).ok();
    let (fall, jump) = match insn.opcode() & 0xf0 {
        0x90 => (None, None),
        0x80 => (Some(pc + 1), None),
        0x00 => (None, jump),
        _ => (Some(pc + 1), jump),
    };
    let inside = |t: &usize| *t < len;
    Ways::new(fall.filter(inside), jump.filter(inside))
}

/// Registers that may still be read, before each instruction (`compute_live_registers`).
pub fn live_registers(code: &Code, cfg: &Cfg, shape: &dyn Fn(&Op) -> CallShape) -> Vec<u16> {
    let mut live = vec![0u16; code.len()];
    let mut steps = Vec::new();
    for order in &cfg.postorder {
        let loops = order.iter().any(|pc| cfg.marks[*pc].scc != 0);
        steps.clear();
        steps.reserve(order.len());
        steps.extend(order.iter().filter_map(|pc| {
            let op = code.op(*pc)?;
            let (uses, defs) = match op {
                Op::Call(_) => use_def(op, &shape(op)),
                _ => use_def(op, &CallShape::default()),
            };
            Some((*pc, cfg.ways[*pc], uses, defs))
        }));
        loop {
            let mut changed = false;
            for &(pc, ways, uses, defs) in &steps {
                let after = ways.0.iter().fold(0, |l, n| l | live.get(*n as usize).copied().unwrap_or(0));
                let before = after & !defs | uses;
                changed |= before != live[pc];
                live[pc] = before;
            }
            // Without loops every instruction comes after all those that it goes to.
            if !changed || !loops {
                break;
            }
        }
    }
    live
}

fn use_def(op: &Op, shape: &CallShape) -> (u16, u16) {
    match op {
        Op::Call(Callee::Helper(_) | Callee::Kfunc { .. }) => {
            (((1u16 << shape.args) - 1) << 1, op.defs().bits())
        }
        Op::Call(_) => (0b11_1110, op.defs().bits()),
        Op::LoadAbs { .. } | Op::LoadInd { .. } => (op.uses().bits(), 0b11_1111),
        _ => (op.uses().bits(), op.defs().bits()),
    }
}
