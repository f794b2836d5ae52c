//! Which stack slots may still be read: by call chain, not by path.
//!
//! Every function of every chain of calls is an [`Instance`] with, for each frame that it can reach and each of its
//! instructions, the slots that some visit read and the slots that every visit overwrote. From these, the slots alive
//! before an instruction follow by data flow; what a callee needs of its callers' frames counts as read at the call.
//! (Linux 6.18: kernel/bpf/liveness.c.) A slot that is not alive is forgotten in kept states, so that more paths meet.

use crate::cfg::Cfg;
use crate::code::Code;
use std::collections::HashMap;

/// A set of slots of one frame.
pub type Slots = u64;

/// Call sites from the outermost frame inwards, then the first instruction of the function.
type Chain = Vec<usize>;

#[derive(Clone, Copy, Default, Debug)]
struct Masks {
    read: Slots,
    written: Slots,
    live: Slots,
    /// Overwritten on every way from here to the function's end.
    later: Slots,
    visited: bool,
    /// It is a call, and what its callee overwrites is known.
    called: bool,
}

#[derive(Debug)]
struct Instance {
    func: usize,
    /// By frame, by instruction of the function.
    frames: Vec<Vec<Masks>>,
    dirty: bool,
}

/// The analysis.
#[derive(Default, Debug)]
pub struct StackLife {
    instances: Vec<Instance>,
    by_chain: HashMap<Chain, usize>,
    /// Frames overwritten by the instruction at hand.
    pending: Vec<Slots>,
}

/// The place that a question is about: the chain of calls and where each frame stands.
#[derive(Clone, Debug, Default)]
pub struct Where {
    /// Instances, outermost first.
    chain: Vec<usize>,
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
}

impl StackLife {
    /// The instances of a chain of call sites that ends in function `entry`.
    pub fn locate(&mut self, code: &Code, sites: &[(usize, usize)], at: Vec<usize>) -> Where {
        let mut chain = Vec::with_capacity(sites.len());
        let mut key = Chain::new();
        for (i, &(callsite, func)) in sites.iter().enumerate() {
            if i > 0 {
                key.push(callsite);
            }
            let mut full = key.clone();
            full.push(usize::MAX - func);
            let next = self.instances.len();
            let id = *self.by_chain.entry(full).or_insert(next);
            if id == next {
                let f = &code.funcs[func];
                let frames = vec![vec![Masks::default(); f.end - f.start]; i + 1];
                self.instances.push(Instance { func, frames, dirty: false });
            }
            chain.push(id);
        }
        Where { chain, at }
    }

    fn masks(&mut self, code: &Code, w: &Where, frame: usize, pc: usize) -> Option<(&mut Masks, &mut bool)> {
        let inst = self.instances.get_mut(*w.chain.last()?)?;
        let start = code.funcs[inst.func].start;
        let m = inst.frames.get_mut(frame)?.get_mut(pc.checked_sub(start)?)?;
        Some((m, &mut inst.dirty))
    }

    /// The instruction reads slots of a frame.
    pub fn read(&mut self, code: &Code, w: &Where, frame: usize, slots: Slots) {
        let Some(&pc) = w.at.last() else { return };
        if let Some((m, dirty)) = self.masks(code, w, frame, pc) {
            *dirty |= m.read | slots != m.read;
            m.read |= slots;
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

    /// The instruction is done: what it did not overwrite this time it does not surely overwrite.
    pub fn commit(&mut self, code: &Code, w: &Where) {
        let Some(&pc) = w.at.last() else { return };
        for frame in 0..w.chain.len() {
            let now = self.pending.get(frame).copied().unwrap_or(0);
            let Some((m, dirty)) = self.masks(code, w, frame, pc) else { continue };
            if m.called {
                continue;
            }
            let next = if m.visited { m.written & now } else { now };
            *dirty |= !m.visited || next != m.written;
            (m.written, m.visited) = (next, true);
        }
        self.pending.clear();
    }

    /// Brings what is alive up to date for a chain, innermost function first.
    pub fn update(&mut self, code: &Code, cfg: &Cfg, next: &[[u32; 2]], w: &Where) {
        for i in (0..w.chain.len()).rev() {
            let id = w.chain[i];
            if self.instances[id].dirty {
                self.settle(id, code, cfg, next);
            }
            if i == 0 {
                continue;
            }
            // What the callee may read of outer frames is read by the call.
            let callsite = w.at[i - 1];
            for frame in 0..i {
                let Masks { live: entry, later, .. } = self.instances[id].frames[frame][0];
                let outer = &mut self.instances[w.chain[i - 1]];
                let start = code.funcs[outer.func].start;
                if let Some(m) = callsite.checked_sub(start).and_then(|p| outer.frames[frame].get_mut(p)) {
                    let written = if m.called { m.written & later } else { later };
                    outer.dirty |= m.read | entry != m.read || written != m.written;
                    m.read |= entry;
                    (m.written, m.called, m.visited) = (written, true, true);
                }
            }
        }
    }

    fn settle(&mut self, id: usize, code: &Code, cfg: &Cfg, next: &[[u32; 2]]) {
        let inst = &mut self.instances[id];
        inst.dirty = false;
        let start = code.funcs[inst.func].start;
        for masks in &mut inst.frames {
            loop {
                let mut changed = false;
                for &pc in &cfg.postorder[inst.func] {
                    let after = next[pc]
                        .iter()
                        .filter_map(|n| masks.get((*n as usize).wrapping_sub(start)))
                        .fold(0, |l, m| l | m.live);
                    let ways = next[pc].iter().filter_map(|n| masks.get((*n as usize).wrapping_sub(start)));
                    let all = ways.map(|m| m.later).reduce(|a, b| a & b).unwrap_or(0);
                    let m = &mut masks[pc - start];
                    let live = after & !m.written | m.read;
                    let later = m.written | all;
                    changed |= live != m.live || later != m.later;
                    (m.live, m.later) = (live, later);
                }
                if !changed {
                    break;
                }
            }
        }
    }

    fn live_at(&self, code: &Code, id: usize, frame: usize, pc: usize) -> Slots {
        let inst = &self.instances[id];
        let start = code.funcs[inst.func].start;
        let masks = inst.frames.get(frame).and_then(|f| f.get(pc.wrapping_sub(start)));
        masks.map_or(0, |m| m.live)
    }

    /// Slots of a frame that may still be read from where the chain stands.
    pub fn alive(&self, code: &Code, cfg: &Cfg, w: &Where, frame: usize) -> Slots {
        let top = w.chain.len() - 1;
        let mut live = self.live_at(code, w.chain[top], frame, w.at[top]);
        for i in frame..top {
            let site = w.at[i];
            let pc = if cfg.marks[site].callback { site } else { site + 1 };
            live |= self.live_at(code, w.chain[i], frame, pc);
        }
        live
    }
}
