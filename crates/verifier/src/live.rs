//! Which stack slots may still be read: by call chain, not by path.
//!
//! Every function of every chain of calls is an [`Instance`] with, for each frame that it can reach and each of its
//! instructions, the slots that some visit read and the slots that every visit overwrote. From these, the slots alive
//! before an instruction follow by data flow; what a callee needs of its callers' frames counts as read at the call.
//! (Linux 6.18: kernel/bpf/liveness.c.) A slot that is not alive is forgotten in kept states, so that more paths meet.
//!
//! Only instructions whose masks changed, and those before them, are looked at again: the work grows with what is
//! learned, not with the number of paths. Masks of a frame are made when something is known of it.

use crate::cfg::Cfg;
use crate::code::Code;

/// A set of slots of one frame.
pub type Slots = u64;

/// Most instructions with masks at once, over all instances; beyond it everything counts as alive.
const MAX_MASKS: usize = 8 << 20;

#[derive(Clone, Copy, Default, Debug)]
struct Masks {
    read: Slots,
    written: Slots,
    live: Slots,
    /// Overwritten on every way from here to the function's end.
    later: Slots,
}

/// A set of numbers below a bound, emptied from the least up.
#[derive(Clone, Default, Debug)]
struct Set {
    words: Vec<u64>,
    /// No word before this one has a member.
    from: usize,
    members: usize,
}

impl Set {
    fn with_room(n: usize) -> Set {
        Set { words: vec![0; n.div_ceil(64)], from: 0, members: 0 }
    }

    fn has(&self, i: usize) -> bool {
        self.words[i / 64] >> (i % 64) & 1 == 1
    }

    fn insert(&mut self, i: usize) {
        let w = &mut self.words[i / 64];
        self.members += usize::from(*w >> (i % 64) & 1 == 0);
        *w |= 1 << (i % 64);
        self.from = self.from.min(i / 64);
    }

    fn pop(&mut self) -> Option<usize> {
        if self.members == 0 {
            return None;
        }
        while self.words[self.from] == 0 {
            self.from += 1;
        }
        let w = &mut self.words[self.from];
        let bit = w.trailing_zeros() as usize;
        *w &= *w - 1;
        self.members -= 1;
        Some(self.from * 64 + bit)
    }
}

#[derive(Debug)]
struct Instance {
    func: usize,
    start: usize,
    /// What it calls: call site, function, instance.
    callees: Vec<(u32, u32, u32)>,
    /// By frame, by instruction of the function, once something is known.
    frames: Vec<Vec<Masks>>,
    /// Instructions that were walked, and calls of which it is known what the callee overwrites.
    visited: Set,
    called: Set,
    /// Places in the function's postorder whose masks are to be looked at again.
    work: Set,
}

/// Control flow as data flow needs it.
#[derive(Default, Debug)]
struct Flow {
    next: Vec<[u32; 2]>,
    /// Where the predecessors of a slot begin in `preds`.
    first: Vec<u32>,
    preds: Vec<u32>,
    /// Place of a slot in its function's postorder; `u32::MAX` for second slots.
    order: Vec<u32>,
}

impl Flow {
    fn new(code: &Code, cfg: &Cfg) -> Flow {
        let n = code.len();
        let next: Vec<[u32; 2]> = cfg.ways.iter().map(|w| w.0).collect();
        let mut first = vec![0; n + 1];
        let inside = |to: &u32| (*to as usize) < n;
        for to in next.iter().flatten().filter(|t| inside(t)) {
            first[*to as usize + 1] += 1;
        }
        for i in 0..n {
            first[i + 1] += first[i];
        }
        let mut at = first.clone();
        let mut preds = vec![0; first[n] as usize];
        for (pc, ways) in next.iter().enumerate() {
            for to in ways.iter().filter(|t| inside(t)) {
                let slot = &mut at[*to as usize];
                preds[*slot as usize] = pc as u32;
                *slot += 1;
            }
        }
        let mut order = vec![u32::MAX; n];
        for f in &cfg.postorder {
            for (i, pc) in f.iter().enumerate() {
                order[*pc] = i as u32;
            }
        }
        Flow { next, first, preds, order }
    }

    fn preds(&self, pc: usize) -> &[u32] {
        &self.preds[self.first[pc] as usize..self.first[pc + 1] as usize]
    }
}

/// The analysis.
#[derive(Default, Debug)]
pub struct StackLife {
    flow: Flow,
    instances: Vec<Instance>,
    /// Outermost functions: call site (`u32::MAX`: none), function, instance.
    roots: Vec<(u32, u32, u32)>,
    /// Frames overwritten by the instruction at hand.
    pending: Vec<Slots>,
    masks: usize,
}

/// The place that a question is about: the chain of calls and where each frame stands.
#[derive(Clone, Debug, Default)]
pub struct Where {
    /// Instances, outermost first.
    chain: Vec<u32>,
    /// Instruction by frame.
    at: Vec<usize>,
}

impl Where {
    /// Frames of the chain.
    pub fn depth(&self) -> usize {
        self.chain.len()
    }

    /// Where the innermost frame stands.
    pub fn innermost(&mut self) -> Option<&mut usize> {
        self.at.last_mut()
    }

    /// Where a frame stands.
    pub fn frame(&self, i: usize) -> usize {
        self.at[i]
    }
}

impl Instance {
    fn new(code: &Code, func: usize, depth: usize) -> Instance {
        let f = &code.funcs[func];
        let n = f.end - f.start;
        let set = || Set::with_room(n);
        let frames = vec![Vec::new(); depth + 1];
        Instance {
            func,
            start: f.start,
            callees: Vec::new(),
            frames,
            visited: set(),
            called: set(),
            work: set(),
        }
    }

    fn masks(&self, frame: usize, pc: usize) -> Masks {
        let m = self.frames.get(frame).and_then(|f| f.get(pc.wrapping_sub(self.start)));
        m.copied().unwrap_or_default()
    }
}

impl StackLife {
    /// For a program.
    pub fn new(code: &Code, cfg: &Cfg) -> StackLife {
        StackLife { flow: Flow::new(code, cfg), ..StackLife::default() }
    }

    /// The instances of a chain of call sites with their functions, and where each frame stands, into `w`.
    pub fn locate(&mut self, code: &Code, chain: impl Iterator<Item = (usize, usize, usize)>, w: &mut Where) {
        w.chain.clear();
        w.at.clear();
        let mut outer = u32::MAX;
        for (depth, (callsite, func, at)) in chain.enumerate() {
            let site = if depth == 0 { u32::MAX } else { callsite as u32 };
            let next = self.instances.len() as u32;
            let known = match self.instances.get_mut(outer as usize) {
                Some(i) => &mut i.callees,
                None => &mut self.roots,
            };
            let call = |k: &&(u32, u32, u32)| (k.0, k.1) == (site, func as u32);
            outer = match known.iter().find(call) {
                Some(k) => k.2,
                None => {
                    known.push((site, func as u32, next));
                    self.instances.push(Instance::new(code, func, depth));
                    next
                }
            };
            w.chain.push(outer);
            w.at.push(at);
        }
    }

    /// Masks to be changed, made when there are none. `None` when there is no room for more: then reads are not known,
    /// and [`StackLife::alive`] says that all slots are.
    fn masks(&mut self, id: u32, frame: usize, pc: usize) -> Option<&mut Masks> {
        let inst = &mut self.instances[id as usize];
        let masks = inst.frames.get_mut(frame)?;
        if masks.is_empty() {
            let n = inst.visited.words.len() * 64;
            self.masks += n;
            if self.masks > MAX_MASKS {
                return None;
            }
            masks.resize(n, Masks::default());
        }
        masks.get_mut(pc.checked_sub(inst.start)?)
    }

    fn full(&self) -> bool {
        self.masks > MAX_MASKS
    }

    fn look_again(&mut self, id: u32, pc: usize) {
        if let Some(i) = self.flow.order.get(pc).filter(|i| **i != u32::MAX) {
            self.instances[id as usize].work.insert(*i as usize);
        }
    }

    /// The instruction reads slots of a frame.
    pub fn read(&mut self, w: &Where, frame: usize, slots: Slots) {
        let (Some(&pc), Some(&id)) = (w.at.last(), w.chain.last()) else { return };
        self.add_read(id, frame, pc, slots);
    }

    fn add_read(&mut self, id: u32, frame: usize, pc: usize, slots: Slots) {
        if slots == 0 {
            return;
        }
        let Some(m) = self.masks(id, frame, pc) else { return };
        if m.read | slots != m.read {
            m.read |= slots;
            self.look_again(id, pc);
        }
    }

    fn set_written(&mut self, id: u32, frame: usize, pc: usize, slots: Slots) {
        if slots == 0 && self.instances[id as usize].frames[frame].is_empty() {
            return;
        }
        let Some(m) = self.masks(id, frame, pc) else { return };
        if m.written != slots {
            m.written = slots;
            self.look_again(id, pc);
        }
    }

    /// The instruction overwrites all of these slots.
    pub fn write(&mut self, frame: usize, slots: Slots) {
        if self.pending.len() <= frame {
            self.pending.resize(frame + 1, 0);
        }
        self.pending[frame] |= slots;
    }

    /// The instruction begins.
    pub fn begin(&mut self) {
        self.pending.clear();
    }

    /// The instruction is done: what it did not overwrite this time it does not surely overwrite. Only instructions that
    /// may write the stack need this.
    pub fn commit(&mut self, w: &Where) {
        let (Some(&pc), Some(&id)) = (w.at.last(), w.chain.last()) else { return };
        let inst = &mut self.instances[id as usize];
        let at = pc.wrapping_sub(inst.start);
        if inst.called.has(at) {
            return;
        }
        let first = !inst.visited.has(at);
        inst.visited.insert(at);
        for frame in 0..w.chain.len() {
            let now = self.pending.get(frame).copied().unwrap_or(0);
            let before = self.instances[id as usize].masks(frame, pc).written;
            self.set_written(id, frame, pc, if first { now } else { before & now });
        }
        self.pending.clear();
    }

    /// Brings what is alive up to date for a chain, innermost function first.
    pub fn update(&mut self, code: &Code, cfg: &Cfg, w: &Where) {
        for i in (0..w.chain.len()).rev() {
            let id = w.chain[i];
            self.settle(id, &cfg.postorder[self.instances[id as usize].func]);
            if i == 0 {
                continue;
            }
            // What the callee may read of outer frames is read by the call.
            let (outer, callsite) = (w.chain[i - 1], w.at[i - 1]);
            let start = self.instances[outer as usize].start;
            let f = &code.funcs[self.instances[outer as usize].func];
            if !(f.start..f.end).contains(&callsite) {
                continue;
            }
            let called = self.instances[outer as usize].called.has(callsite - start);
            for frame in 0..i {
                let entry = self.instances[id as usize].masks(frame, self.instances[id as usize].start);
                let before = self.instances[outer as usize].masks(frame, callsite).written;
                self.add_read(outer, frame, callsite, entry.live);
                let written = if called { before & entry.later } else { entry.later };
                self.set_written(outer, frame, callsite, written);
            }
            self.instances[outer as usize].called.insert(callsite - start);
        }
    }

    fn settle(&mut self, id: u32, postorder: &[usize]) {
        let (inst, flow) = (&mut self.instances[id as usize], &self.flow);
        while let Some(i) = inst.work.pop() {
            let pc = postorder[i];
            let mut changed = false;
            for masks in inst.frames.iter_mut().filter(|m| !m.is_empty()) {
                let (mut live, mut later, mut ways) = (0, Slots::MAX, 0);
                for n in flow.next[pc] {
                    if let Some(m) = masks.get((n as usize).wrapping_sub(inst.start)) {
                        (live, later, ways) = (live | m.live, later & m.later, ways + 1);
                    }
                }
                let m = &mut masks[pc - inst.start];
                live = live & !m.written | m.read;
                later = m.written | if ways > 0 { later } else { 0 };
                changed |= live != m.live || later != m.later;
                (m.live, m.later) = (live, later);
            }
            if changed {
                for p in flow.preds(pc) {
                    let i = flow.order[*p as usize];
                    if i != u32::MAX {
                        inst.work.insert(i as usize);
                    }
                }
            }
        }
    }

    /// Slots of a frame that may still be read from where the chain stands.
    pub fn alive(&self, cfg: &Cfg, w: &Where, frame: usize) -> Slots {
        if self.full() {
            return Slots::MAX;
        }
        let live_at = |i: usize, pc: usize| self.instances[w.chain[i] as usize].masks(frame, pc).live;
        let top = w.chain.len() - 1;
        let mut live = live_at(top, w.at[top]);
        for i in frame..top {
            let site = w.at[i];
            let pc = if cfg.marks[site].callback { site } else { site + 1 };
            live |= live_at(i, pc);
        }
        live
    }
}
