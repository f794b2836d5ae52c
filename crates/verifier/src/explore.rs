//! The walk over all paths: branches kept for later, states kept for comparison, loops that settle or never end.
//!
//! [`Vm::run`] walks the current state to the end of its path, then the youngest waiting branch, until none is left.
//! At prune points [`Vm::visited`] looks for a kept state that covers the current one (`is_state_visited`,
//! kernel/bpf/verifier.c) and keeps the current one now and then. Loops that are only known to settle once they are
//! left (iterators, callbacks, `may_goto`) record their back edges; precision found later is carried over them when
//! the loop's entry is done.

use crate::equal::{Compare, Mode, iterators_differ, maybe_looping};
use crate::frames::Frames;
use crate::machine::{Kept, KeptList, KeptState, LoopKey, LoopVisit, Mark, Probe, Vm};
use crate::reject::{Check, refuse};
use crate::state::{Place, Places, State, StateId, Tracked};
use crate::step::Flow;
use crate::value::{ADD_CONST, Base, Reg};

/// Turns in which precision is carried over back edges before all numbers are marked.
const MAX_BACKEDGE_TURNS: usize = 64;

impl Vm<'_> {
    /// Walks everything that can be reached from the current state.
    pub(crate) fn run(&mut self) -> Check {
        self.relocate();
        loop {
            let flow = match self.one() {
                Ok(flow) => flow,
                Err(why) => self.caught(why)?,
            };
            if let Flow::To(next) = flow {
                self.prev = Some(self.cur.insn);
                let frames = self.here_frames();
                self.cur.insn = next;
                if frames {
                    self.relocate();
                } else if let Some(at) = self.here_at() {
                    *at = next;
                }
                continue;
            }
            self.life.update(&self.code, &self.cfg, &self.here);
            self.done_with(self.cur.parent)?;
            let Some(mut p) = self.pending.pop() else { return Ok(()) };
            self.log.branch(p.log_mark);
            // The path that has ended leaves the room of its history to the next.
            let mut hist = std::mem::take(&mut self.cur.hist);
            hist.clone_from(&p.state.hist);
            std::mem::swap(&mut self.cur, &mut p.state);
            self.cur.hist = hist;
            self.prev = p.prev;
            self.trace_back(p.trace_mark);
            self.relocate();
        }
    }

    fn here_frames(&self) -> bool {
        self.here.depth() != self.cur.frames.len()
    }

    fn here_at(&mut self) -> Option<&mut usize> {
        self.here.innermost()
    }

    fn one(&mut self) -> Check<Flow> {
        let pc = self.cur.insn;
        if pc >= self.code.len() {
            refuse!(ControlFlow, "invalid insn idx {pc} insn_cnt {}", self.code.len());
        }
        self.hist_open = false;
        self.stats.insns += 1;
        if self.stats.insns > self.options.limits.insns {
            refuse!(TooComplex, "BPF program is too large. Processed {} insn", self.stats.insns);
        }
        let mark = self.cfg.marks[pc];
        if mark.prune && self.visited(pc)? {
            self.log_safe(pc);
            return Ok(Flow::End);
        }
        if let Some(c) = &mut self.claims {
            c.0(&self.cur);
        }
        if mark.jump {
            self.note(|_| {});
        }
        if !self.cur.speculative {
            self.seen[pc] = true;
            if let Some(crate::code::Slot::Second) = self.code.slots.get(pc + 1) {
                self.seen[pc + 1] = true;
            }
        }
        self.log_insn(pc);
        self.trace_step(pc);
        if !mark.stores {
            return self.step_or_barrier(pc);
        }
        self.life.begin();
        let flow = self.step_or_barrier(pc)?;
        self.life.commit(&self.here);
        Ok(flow)
    }

    /// A path through a kept state has ended; so have, maybe, all of its ancestors' (`update_branch_counts`).
    fn done_with(&mut self, mut at: Option<StateId>) -> Check {
        while let Some(id) = at {
            let k = &mut self.kept[id as usize];
            k.branches -= 1;
            if k.branches > 0 {
                break;
            }
            at = self.states[id as usize].state.parent;
            self.leave_loop(id)?;
            if self.kept[id as usize].evicted {
                self.drop_state(id);
            }
        }
        Ok(())
    }

    /// Gives a state's memory back, once no open back edge can have it for an ancestor.
    fn drop_state(&mut self, id: StateId) {
        if self.open_edges > 0 {
            self.doomed.push(id);
            return;
        }
        self.kept[id as usize].free = true;
        let state = &mut self.states[id as usize].state;
        state.frames = Frames::default();
        state.hist = Vec::new();
        state.refs = Vec::new();
        self.free.push(id);
    }

    /// The list of states kept at an instruction, reached by the call that the innermost frame comes from.
    #[inline]
    fn list_at(&self, pc: usize) -> Option<usize> {
        let site = self.cur.frame().callsite;
        let mut at = self.at[pc];
        while let Some(l) = self.lists.get(at as usize) {
            if l.site == site {
                return Some(at as usize);
            }
            at = l.other;
        }
        None
    }

    fn list_made_at(&mut self, pc: usize) -> usize {
        self.list_at(pc).unwrap_or_else(|| {
            let site = self.cur.frame().callsite;
            self.lists.push(KeptList { site, youngest: None, other: self.at[pc], telling: None });
            self.at[pc] = self.lists.len() as u32 - 1;
            self.lists.len() - 1
        })
    }

    /// States kept at an instruction, reached by the call that the innermost frame comes from.
    fn kept_at(&self, pc: usize) -> impl Iterator<Item = StateId> {
        let youngest = self.list_at(pc).and_then(|l| self.lists[l].youngest);
        std::iter::successors(youngest, |id| self.kept[*id as usize].next)
    }

    /// Has an equal or wider state been here? If not, keeps this one when it is worth it.
    fn visited(&mut self, pc: usize) -> Check<bool> {
        let mark = self.cfg.marks[pc];
        let force = self.options.test_state_freq || mark.checkpoint || self.cur.hist.len() > 40;
        let worth = self.jumps - self.last_jumps >= 2 && self.stats.insns - self.last_insns >= 8;
        let mut keep = force || worth;
        let mut before = 0;
        if let Some(list) = self.list_at(pc) {
            before = self.clean(list);
            if let Some((id, in_loop)) = self.meet(list, pc, force, &mut keep)? {
                self.kept[id as usize].hits += 1;
                self.trace_pruned(pc);
                if mark.jump {
                    self.note(|_| {});
                }
                self.propagate_precision(id)?;
                if in_loop {
                    self.back_edge(id);
                }
                return Ok(true);
            }
            self.stats.max_states_per_insn = self.stats.max_states_per_insn.max(before as u64);
        }
        if keep && !self.enough_states(before) {
            self.keep(pc);
        }
        Ok(false)
    }

    /// The first of the states that covers the current one, and whether its precision is not final. Those before it that
    /// are no longer worth a comparison leave the list.
    fn meet(
        &mut self,
        list: usize,
        pc: usize,
        force: bool,
        keep: &mut bool,
    ) -> Check<Option<(StateId, bool)>> {
        let checkpoint = self.cfg.marks[pc].checkpoint;
        let (mut at, mut before) = (self.lists[list].youngest, None);
        while let Some(id) = at {
            let met = if self.rejected(id) {
                if self.kept[id as usize].branches > 0 {
                    self.space_out(force, keep);
                }
                Ok(None)
            } else {
                self.meets(id, pc, force, keep)
            };
            let Ok(None) = met else { return met.map(|m| m.map(|in_loop| (id, in_loop))) };
            self.trace_missed(id, pc);
            at = self.kept[id as usize].next;
            if !self.miss(id, checkpoint, *keep) {
                before = Some(id);
                continue;
            }
            match before {
                Some(b) => self.kept[b as usize].next = at,
                None => self.lists[list].youngest = at,
            }
        }
        Ok(None)
    }

    /// A glance at a kept state tells that it does not cover the current one, in whichever mode they would be compared.
    #[inline]
    fn rejected(&self, id: StateId) -> bool {
        let k = &self.kept[id as usize];
        k.probe.is_some_and(|p| (p.precise || k.branches > 0) && p.rejects(&self.cur))
    }

    /// Whether a kept state covers the current one: `Some(true)` when its precision is not final.
    fn meets(&mut self, id: StateId, pc: usize, force: bool, keep: &mut bool) -> Check<Option<bool>> {
        let mark = self.cfg.marks[pc];
        let k = &self.kept[id as usize];
        if k.branches > 0 {
            if k.async_entries.is_some_and(|n| n != self.cur.frame().async_entries) {
                self.space_out(force, keep);
                return Ok(None);
            }
            if mark.iter_next {
                if self.covers(id, Mode::Within) && self.iterating(pc) {
                    return Ok(Some(true));
                }
                self.space_out(force, keep);
                return Ok(None);
            }
            if matches!(self.code.op(pc), Some(skep_isa::Op::MayGoto { .. })) {
                let old = self.states[id as usize].state.may_goto_depth;
                if old != self.cur.may_goto_depth && self.covers(id, Mode::Within) {
                    return Ok(Some(true));
                }
            }
            if mark.callback {
                // The return to a callback's caller is no back edge of a loop in the graph: precision is carried to the
                // kept state, and that is all (Linux 6.18).
                if self.covers(id, Mode::Within) {
                    return Ok(Some(false));
                }
                self.space_out(force, keep);
                return Ok(None);
            }
            self.endless(id, pc)?;
            self.space_out(force, keep);
            return Ok(None);
        }
        let in_loop = self.unsettled(id);
        let mode = if in_loop { Mode::Within } else { Mode::Finished };
        Ok(self.covers(id, mode).then_some(in_loop))
    }

    /// In loops states are kept less often.
    #[inline]
    fn space_out(&self, force: bool, keep: &mut bool) {
        if !force && self.jumps - self.last_jumps < 20 && self.stats.insns - self.last_insns < 100 {
            *keep = false;
        }
    }

    fn endless(&mut self, id: StateId, pc: usize) -> Check {
        let (k, old) = (&mut self.kept[id as usize], &self.states[id as usize]);
        if k.mark.is_some_and(|m| m.differs(&self.cur)) {
            return Ok(());
        }
        if !maybe_looping(&old.state, &self.cur, &mut k.differs) {
            let live = |at: &Place| {
                at.frame as usize == old.state.depth() && self.live_regs[old.state.insn] >> at.index & 1 == 1
            };
            let probe = |at: Place| Probe::new(&old.state, &old.precise, &self.cur, &at);
            k.probe = k.differs.filter(live).and_then(probe).or(k.probe);
            k.mark = k.differs.and_then(|at| Mark::new(&old.state, &self.cur, &at));
            if let (Some(m), Some(list)) = (k.mark, self.list_at(pc)) {
                self.lists[list].telling = Some(m.reg());
            }
            return Ok(());
        }
        if !self.covers(id, Mode::Exact) {
            return Ok(());
        }
        let old = &self.states[id as usize].state;
        let same = !iterators_differ(old, &self.cur)
            && old.may_goto_depth == self.cur.may_goto_depth
            && old.callback_unroll == self.cur.callback_unroll;
        if !same {
            return Ok(());
        }
        let mut e = crate::reject::Reject::new(
            crate::reject::Rule::InfiniteLoop,
            format!("infinite loop detected at insn {pc}"),
        );
        e.after.push(format!("cur state:{}", self.state_text(&self.cur, self.cur.depth())));
        let old = self.kept_text(id, old.depth());
        e.after.push(format!("old state:{old}"));
        Err(e)
    }

    /// The iterator that this instruction steps is still running.
    fn iterating(&self, _pc: usize) -> bool {
        let r = self.reg(1);
        let Base::Stack(f) = r.base else { return false };
        let off = r.off as i64 + r.val.as_const().unwrap_or(0) as i64;
        if off >= 0 {
            return false;
        }
        let slot = self.cur.frames[f as usize].stack.get(crate::state::slot_of(off).0);
        slot.is_some_and(|s| matches!(s.reg.base, Base::IterSlot { active: true, .. }))
    }

    #[inline]
    fn covers(&mut self, id: StateId, mode: Mode) -> bool {
        let (mode, live) = match (mode, self.claims.is_some()) {
            (Mode::Exact, _) | (_, false) => (mode, self.live_regs.as_slice()),
            _ => (Mode::Within, [].as_slice()),
        };
        let (all_precise, uninit_ok) = (!self.capable(), self.reads_unwritten());
        let exact_numbers = self.barriers.exact_numbers;
        let (k, old) = (&mut self.kept[id as usize], &self.states[id as usize]);
        let (precise, alive) = (&old.precise, &old.alive);
        let c = Compare { mode, precise, alive, all_precise, exact_numbers, live, uninit_ok };
        let covered = c.states(&old.state, &self.cur, &mut self.same_ids, &mut k.differs);
        if !covered {
            k.probe = k.differs.and_then(|at| Probe::new(&old.state, &old.precise, &self.cur, &at));
        }
        covered
    }

    /// Counts a miss; true when the state is no longer worth a comparison.
    #[inline]
    fn miss(&mut self, id: StateId, checkpoint: bool, keep: bool) -> bool {
        let k = &mut self.kept[id as usize];
        if keep {
            k.misses += 1;
        }
        let n = if checkpoint && k.branches > 0 { 64 } else { 3 };
        if k.misses <= k.hits * n + n {
            return false;
        }
        k.evicted = true;
        if k.branches == 0 {
            self.drop_state(id);
        }
        true
    }

    fn keep(&mut self, pc: usize) {
        self.last_jumps = self.jumps;
        self.last_insns = self.stats.insns;
        clear_single_ids(&mut self.cur);
        self.cur.tracked = Tracked::default();
        let mut state = self.cur.clone();
        (state.insn, state.last_insn) = (pc, self.prev);
        self.cur.hist.clear();
        let in_loop = self.loop_of(&state);
        let list = self.list_made_at(pc);
        let telling = self.lists[list].telling;
        let numbers = Places::numbers(&state);
        let state = Box::new(KeptState { state, numbers, precise: Places::default(), alive: Places::ALL });
        let top = self.cur.frame();
        let kept = Kept {
            next: self.lists[list].youngest,
            branches: 1,
            hits: 0,
            misses: 0,
            cleaned: false,
            evicted: false,
            free: false,
            in_loop,
            differs: telling.map(|index| Place { frame: self.cur.depth() as u8, index, slot: false }),
            probe: None,
            mark: telling.map(|r| Mark::of(&self.cur, r)),
            async_entries: top.async_callback.then_some(top.async_entries),
        };
        let id = match self.free.pop() {
            Some(id) => {
                (self.kept[id as usize], self.states[id as usize]) = (kept, state);
                id
            }
            None => {
                self.kept.push(kept);
                self.states.push(state);
                (self.kept.len() - 1) as StateId
            }
        };
        self.lists[list].youngest = Some(id);
        self.stats.total_states += 1;
        self.trace_kept(pc);
        self.stats.peak_states = self.stats.peak_states.max((self.kept.len() - self.free.len()) as u64);
        if let Some(v) = in_loop.map(|l| &mut self.loops[l as usize])
            && v.entry.is_none()
        {
            v.entry = Some(id);
            if self.log.all() {
                let name = loop_name(&v.key);
                self.log.line(&format!("SCC enter {name}"));
            }
        }
        self.cur.parent = Some(id);
        self.cur.first_insn = pc;
        self.cur.dfs_depth += 1;
        self.hist_open = false;
    }

    /// The last visit of a path through this instruction by the same calls (`find_prev_entry`).
    pub(crate) fn earlier_visit(&self, pc: usize, below: u32) -> Option<StateId> {
        self.kept_at(pc).find(|id| {
            let s = &self.states[*id as usize].state;
            self.kept[*id as usize].branches > 0
                && s.dfs_depth < below
                && s.frames.len() == self.cur.frames.len()
                && s.frames.iter().zip(&self.cur.frames).all(|(a, b)| a.callsite == b.callsite)
        })
    }

    /// The visit before the state that was just kept here.
    pub(crate) fn visit_before(&self, pc: usize) -> Option<StateId> {
        let parent = self.cur.parent?;
        self.earlier_visit(pc, self.states[parent as usize].state.dfs_depth)
    }

    /// Of finished states it is known what cannot be read any more (`clean_live_states`). How many states the list has.
    fn clean(&mut self, list: usize) -> usize {
        let (mut at, mut states) = (self.lists[list].youngest, 0);
        while let Some(id) = at {
            states += 1;
            let k = &self.kept[id as usize];
            at = k.next;
            if k.branches == 0 && !k.cleaned && self.claims.is_none() && !self.unsettled(id) {
                self.clean_state(id);
            }
        }
        states
    }

    fn clean_state(&mut self, id: StateId) {
        (self.kept[id as usize].cleaned, self.kept[id as usize].probe) = (true, None);
        let st = &self.states[id as usize].state;
        let mut w = std::mem::take(&mut self.there);
        self.life.locate(&self.code, st.chain(), &mut w);
        self.life.update(&self.code, &self.cfg, &w);
        for f in 0..w.depth() {
            let pc = w.frame(f);
            let alive = self.life.alive(&self.cfg, &w, f);
            let regs = self.live_regs.get(pc).copied().unwrap_or(u16::MAX);
            let k = &mut self.states[id as usize];
            for set in [&mut k.alive, &mut k.numbers, &mut k.precise] {
                set.retain(f, regs, alive);
            }
        }
        self.there = w;
    }

    // Loops that settle later.

    /// The outermost loop that a state stands in, made known when it is new.
    fn loop_of(&mut self, st: &State) -> Option<u32> {
        let in_loop = |i: &usize| self.cfg.marks[st.insn_of_frame(*i)].scc != 0;
        let frame = (0..st.frames.len()).find(in_loop)?;
        let mut key: LoopKey = (0..frame).map(|i| st.insn_of_frame(i) as u32).collect();
        key.push(self.cfg.marks[st.insn_of_frame(frame)].scc | 1 << 31);
        if let Some(l) = self.loop_of.get(&key) {
            return Some(*l);
        }
        let l = self.loops.len() as u32;
        self.loop_of.insert(key.clone(), l);
        self.loops.push(LoopVisit { key, entry: None, backedges: Vec::new() });
        Some(l)
    }

    fn leave_loop(&mut self, id: StateId) -> Check {
        let Some(l) = self.kept[id as usize].in_loop else { return Ok(()) };
        let v = &mut self.loops[l as usize];
        if v.entry != Some(id) {
            return Ok(());
        }
        v.entry = None;
        let edges = std::mem::take(&mut v.backedges);
        if self.log.all() {
            let name = loop_name(&v.key);
            self.log.line(&format!("SCC exit {name}"));
        }
        let count = edges.len();
        self.settle(edges)?;
        self.open_edges -= count;
        if self.open_edges == 0 {
            for id in std::mem::take(&mut self.doomed) {
                self.drop_state(id);
            }
        }
        Ok(())
    }

    /// Precision is carried from the loop's states over its back edges until nothing changes.
    fn settle(&mut self, mut edges: Vec<(StateId, State)>) -> Check {
        if edges.is_empty() {
            return Ok(());
        }
        let saved = (self.prev, self.hist_open);
        for turn in 0.. {
            if turn >= MAX_BACKEDGE_TURNS {
                for (_, st) in &edges {
                    self.mark_ancestors(st.parent);
                }
                break;
            }
            let before = self.marks;
            for (to, st) in &mut edges {
                std::mem::swap(&mut self.cur, st);
                let r = self.propagate_precision(*to);
                std::mem::swap(&mut self.cur, st);
                r?;
            }
            if self.marks == before {
                break;
            }
        }
        (self.prev, self.hist_open) = saved;
        Ok(())
    }

    fn mark_ancestors(&mut self, mut at: Option<StateId>) {
        while let Some(id) = at {
            let k = &mut self.states[id as usize];
            k.precise = k.numbers;
            at = k.state.parent;
        }
    }

    /// Precision of this state is not final: back edges of its loop are still open.
    fn unsettled(&self, id: StateId) -> bool {
        let open = |l: u32| !self.loops[l as usize].backedges.is_empty();
        self.open_edges > 0 && self.kept[id as usize].in_loop.is_some_and(open)
    }

    fn back_edge(&mut self, to: StateId) {
        let Some(l) = self.kept[to as usize].in_loop else { return };
        if self.log.all() {
            let name = loop_name(&self.loops[l as usize].key);
            self.log.line(&format!("SCC backedge {name}"));
        }
        let st = self.cur.clone();
        self.loops[l as usize].backedges.push((to, st));
        self.open_edges += 1;
    }
}

/// `(12,3)`: call sites, and the number of the loop.
fn loop_name(key: &LoopKey) -> String {
    let parts: Vec<String> = key.iter().map(|k| (k & !(1 << 31)).to_string()).collect();
    format!("({})", parts.join(","))
}

/// An id that only one number has says nothing.
fn clear_single_ids(st: &mut State) {
    let mut seen: Vec<(u32, u32)> = Vec::new();
    let mut count = |r: &Reg| {
        if r.is_scalar() && r.id != 0 {
            let id = r.id & !ADD_CONST;
            match seen.iter_mut().find(|(i, _)| *i == id) {
                Some((_, n)) => *n += 1,
                None => seen.push((id, 1)),
            }
        }
    };
    for f in &st.frames {
        f.regs.iter().for_each(|r| count(r));
        f.stack.iter().filter(|s| s.is_spill()).for_each(|s| count(&s.reg));
    }
    let single = |id: u32| seen.iter().any(|(i, n)| *i == id & !ADD_CONST && *n == 1);
    if seen.iter().any(|(_, n)| *n == 1) {
        st.for_each_reg(|r| r.is_scalar() && r.id != 0 && single(r.id), |r| (r.id, r.off) = (0, 0));
    }
}
