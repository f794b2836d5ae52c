//! The verifier's working parts in one place: the program, what is known of it, the state at hand, the states kept,
//! the branches still to walk, and what has been counted. The steps themselves live in files by concern.

use crate::called::{CalledHelpers, CalledKfuncs};
use crate::cfg::{CallShape, Cfg};
use crate::code::Code;
use crate::equal::Ids;
use crate::live::{StackLife, Where};
use crate::log::Log;
use crate::maps::{Field, MapInfo};
use crate::options::{Options, Stats};
use crate::precise::Backward;
use crate::reject::{Check, refuse};
use crate::state::{Hist, Place, Places, State, StateId};
use crate::value::{BtfType, Reg};
use skep_btf::Btf;
use skep_isa::{Callee, Op};
use skep_platform::helper::{Callback, Caller};
use skep_platform::{CtxLayout, Helper, Platform, ProgTypeDesc, Program};
use skep_platform::{Kfunc, KfuncKind};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// A branch to be walked later.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) state: State,
    pub(crate) prev: Option<usize>,
    pub(crate) log_mark: usize,
    pub(crate) trace_mark: usize,
}

/// A kept state, with what tells that it covers another one.
#[derive(Debug)]
pub(crate) struct KeptState {
    pub(crate) state: State,
    /// Where it holds numbers.
    pub(crate) numbers: Places,
    /// Those of which the exact range matters to the verdict.
    pub(crate) precise: Places,
    /// What may still be read, once that is known: the rest counts as never written.
    pub(crate) alive: Places,
}

/// What is noted of a kept state, apart from it: most comparisons need no more.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The next older one at the same instruction, reached by the same call.
    pub(crate) next: Option<StateId>,
    /// Paths through it not yet walked to their end.
    pub(crate) branches: u32,
    pub(crate) hits: u32,
    pub(crate) misses: u32,
    /// It is known what of it may still be read.
    pub(crate) cleaned: bool,
    /// No longer compared with; goes when its last branch does.
    pub(crate) evicted: bool,
    pub(crate) free: bool,
    /// The outermost loop that it stands in: index into [`Vm::loops`].
    pub(crate) in_loop: Option<u32>,
    /// Where it was not like the last state that it was compared with.
    pub(crate) differs: Option<Place>,
    /// Tells most states that it does not cover.
    pub(crate) probe: Option<Probe>,
    /// A register of the innermost frame by which most states are seen not to be in the same loop, as one that nobody
    /// reads counts there, too.
    pub(crate) mark: Option<Mark>,
    /// Times that its asynchronous callback had been entered, when it is in one.
    pub(crate) async_entries: Option<u32>,
}

/// Kept states at an instruction that were reached by the same call, the youngest first.
#[derive(Debug)]
pub(crate) struct KeptList {
    /// Call that the innermost frame comes from.
    pub(crate) site: usize,
    pub(crate) youngest: Option<StateId>,
    /// The instruction's list for another call, or [`NO_LIST`].
    pub(crate) other: u32,
    /// The register by which one of them was last seen to be no turn of the same loop: the next is likely to be, too.
    pub(crate) telling: Option<u8>,
}

/// No list of kept states.
pub(crate) const NO_LIST: u32 = u32::MAX;

/// A number of a kept state: what is not in its range is not covered. Stands beside the state so that it need not be
/// looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    frame: u8,
    reg: u8,
    /// It counts whichever way states are compared.
    pub(crate) precise: bool,
    min: u64,
    max: u64,
}

impl Probe {
    /// From a register of `old` whose range is why it does not cover `cur`.
    pub(crate) fn new(old: &State, precise: &Places, cur: &State, at: &Place) -> Option<Probe> {
        let r = old.frames.get(at.frame as usize).filter(|_| !at.slot)?.regs.get(at.index as usize)?;
        let (min, max) = (r.val.r.umin, r.val.r.umax);
        let p = Probe { frame: at.frame, reg: at.index, precise: precise.has(at), min, max };
        (r.is_scalar() && p.rejects(cur)).then_some(p)
    }

    /// The state is surely not covered.
    #[inline]
    pub(crate) fn rejects(&self, cur: &State) -> bool {
        let Some(f) = cur.frames.get(self.frame as usize) else { return false };
        let r = &f.regs[self.reg as usize];
        !r.is_scalar() || r.val.r.umin < self.min || r.val.r.umax > self.max
    }
}

/// What a register of a kept state's innermost frame was, in short: another mark is another value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    reg: u8,
    mark: u64,
}

impl Mark {
    /// Of a register of `old` that is not the same in `cur`, where that can be told.
    pub(crate) fn new(old: &State, cur: &State, at: &Place) -> Option<Mark> {
        let m = Some(at.index).filter(|i| !at.slot && *i < 11).map(|i| Mark::of(old, i))?;
        m.differs(cur).then_some(m)
    }

    /// Of a register.
    pub(crate) fn of(st: &State, reg: u8) -> Mark {
        Mark { reg, mark: st.frame().regs[reg as usize].mark() }
    }

    /// Which register it is of.
    pub(crate) fn reg(&self) -> u8 {
        self.reg
    }

    /// The state's register is not the same.
    #[inline]
    pub(crate) fn differs(&self, cur: &State) -> bool {
        cur.frame().regs[self.reg as usize].mark() != self.mark
    }
}

/// One loop, reached by one chain of calls: back edges whose precision is still to be settled.
#[derive(Debug)]
pub(crate) struct LoopVisit {
    pub(crate) key: LoopKey,
    pub(crate) entry: Option<StateId>,
    pub(crate) backedges: Vec<(StateId, State)>,
}

/// Where a loop lies: its call sites and its number.
pub(crate) type LoopKey = Vec<u32>;

/// Is told every state before its instruction is walked.
pub(crate) struct Claims<'a>(pub(crate) &'a mut dyn FnMut(&State));

pub(crate) struct Vm<'a> {
    pub(crate) program: &'a Program,
    pub(crate) platform: &'a Platform,
    pub(crate) options: &'a Options,
    pub(crate) desc: &'static ProgTypeDesc,
    pub(crate) layout: Option<&'static CtxLayout>,
    pub(crate) code: Rc<Code>,
    pub(crate) cfg: Rc<Cfg>,
    pub(crate) live_regs: Vec<u16>,
    pub(crate) maps: Vec<MapInfo>,
    pub(crate) kernel: Option<Arc<Btf>>,
    pub(crate) own: Option<Arc<Btf>>,
    pub(crate) backward: Vec<Backward>,
    pub(crate) cur: State,
    pub(crate) prev: Option<usize>,
    pub(crate) ids: u32,
    pub(crate) kept: Vec<Kept>,
    /// The states themselves, by the same ids.
    #[expect(clippy::vec_box, reason = "thousands of them are not to be moved where the list grows")]
    pub(crate) states: Vec<Box<KeptState>>,
    pub(crate) free: Vec<StateId>,
    /// Kept states by instruction: the first of its lists, in `lists`, or [`NO_LIST`].
    pub(crate) at: Vec<u32>,
    pub(crate) lists: Vec<KeptList>,
    #[expect(clippy::vec_box, reason = "thousands of them are not to be moved where the list grows")]
    pub(crate) pending: Vec<Box<Pending>>,
    pub(crate) loops: Vec<LoopVisit>,
    pub(crate) loop_of: HashMap<LoopKey, u32>,
    /// Back edges recorded and not settled.
    pub(crate) open_edges: usize,
    /// States to be dropped when there are none.
    pub(crate) doomed: Vec<StateId>,
    pub(crate) life: StackLife,
    pub(crate) here: Where,
    /// Room for the place of another state.
    pub(crate) there: Where,
    /// Room for the ids of a comparison.
    pub(crate) same_ids: Ids,
    /// Marks of precision made in kept states so far.
    pub(crate) marks: u64,
    /// Has the instruction at hand written its history already?
    pub(crate) hist_open: bool,
    pub(crate) jumps: u64,
    pub(crate) last_jumps: u64,
    pub(crate) last_insns: u64,
    pub(crate) stats: Stats,
    pub(crate) log: Log,
    /// The path walked, when a refusal is being explained.
    pub(crate) trace: Option<Box<crate::explain::Trace>>,
    pub(crate) seen: Vec<bool>,
    /// For the compilers.
    pub(crate) facts: crate::facts::Gathered,
    pub(crate) depths: Vec<i64>,
    pub(crate) fastcall: crate::fastcall::Fastcall,
    pub(crate) global_checked: Vec<bool>,
    pub(crate) global_called: Vec<bool>,
    /// A path calls a kernel function that is not there.
    pub(crate) missing_kfunc: bool,
    /// By slot: type of the pointer that its access used, for the rule that one instruction keeps one kind.
    pub(crate) access_kind: Vec<u8>,
    /// Who wants to know every state.
    pub(crate) claims: Option<Claims<'a>>,
    /// Helpers that it calls.
    pub(crate) called: CalledHelpers,
    /// Kernel functions that it calls.
    pub(crate) kfuncs: CalledKfuncs,
    /// How pointers are bounded that an instruction moves, for loaders without `CAP_PERFMON`.
    pub(crate) masking: HashMap<usize, crate::modes::Masking>,
    /// What the kernel lacks by whose rules the program is judged.
    pub(crate) lacks: crate::versions::Lacks,
    /// Where guessed paths end.
    pub(crate) barriers: crate::speculate::Barriers,
    /// Special fields of the program's own structures.
    pub(crate) own_fields: RefCell<HashMap<u32, Rc<[Field]>>>,
    /// Kernel type looked up by name.
    pub(crate) names: HashMap<&'static str, u32>,
    /// What the attach point takes and gives back.
    pub(crate) attach: crate::attach::Attach,
}

impl<'a> Vm<'a> {
    /// A fresh id.
    #[inline]
    pub(crate) fn new_id(&mut self) -> u32 {
        self.ids += 1;
        self.ids
    }

    /// Are addresses no secret to the loader?
    #[inline]
    pub(crate) fn leaks_allowed(&self) -> bool {
        self.options.mode.trusted()
    }

    /// The current register.
    #[inline]
    pub(crate) fn reg(&self, n: usize) -> &Reg {
        self.cur.reg(n)
    }

    /// The register must have been written.
    #[inline]
    pub(crate) fn readable(&self, n: usize) -> Check {
        if matches!(self.reg(n).base, crate::value::Base::NotInit) {
            refuse!(Uninitialised, "R{n} !read_ok");
        }
        Ok(())
    }

    /// The register may be written.
    #[inline]
    pub(crate) fn writable(&self, n: usize) -> Check {
        if n == 10 {
            refuse!(FramePointer, "frame pointer is read only");
        }
        Ok(())
    }

    /// Writes a register.
    #[inline]
    pub(crate) fn set(&mut self, n: usize, r: Reg) {
        self.cur.frame_mut().regs[n].set(r);
    }

    /// Would this register give an address away?
    #[inline]
    pub(crate) fn leaks(&self, n: usize) -> bool {
        !self.leaks_allowed() && self.reg(n).is_pointer()
    }

    /// Adds to the history of the instruction at hand.
    pub(crate) fn note(&mut self, f: impl FnOnce(&mut Hist)) {
        if !self.hist_open {
            let prev = self.prev.map_or(u32::MAX, |p| p as u32);
            self.cur.hist.push(Hist {
                insn: self.cur.insn as u32,
                prev,
                stack: None,
                src_stack: false,
                dst_stack: false,
                linked: [None; 6],
            });
            self.hist_open = true;
        }
        if let Some(h) = self.cur.hist.last_mut() {
            f(h);
        }
    }

    /// Keeps a branch for later. The current state goes on.
    pub(crate) fn push(&mut self, insn: usize, prev: usize) -> Check<&mut State> {
        let mut state = self.cur.clone();
        state.insn = insn;
        if let Some(p) = state.parent {
            self.kept[p as usize].branches += 1;
        }
        let trace_mark = self.trace_mark();
        self.pending.push(Box::new(Pending {
            state,
            prev: Some(prev),
            log_mark: self.log.mark(),
            trace_mark,
        }));
        if self.pending.len() > self.options.limits.branches {
            refuse!(TooComplex, "The sequence of {} jumps is too complex.", self.pending.len());
        }
        match self.pending.last_mut() {
            Some(p) => Ok(&mut p.state),
            None => refuse!(Internal, "no branch"),
        }
    }

    /// A helper's row.
    #[inline]
    pub(crate) fn helper(&self, id: i32) -> Option<&'static Helper> {
        self.called.get(id).map(|c| c.helper)
    }

    /// Who calls helpers.
    pub(crate) fn caller(&self) -> Caller<'a> {
        Caller {
            prog_type: self.program.prog_type,
            attach: self.program.attach_type,
            struct_ops: self.program.attach_target.as_deref().and_then(|t| t.split('/').next()),
            sleepable: self.program.sleepable,
            version: self.version(),
        }
    }

    /// Linux version by whose rules the program is judged.
    pub(crate) fn version(&self) -> skep_platform::Version {
        self.options.as_kernel.unwrap_or(self.platform.version)
    }

    /// Name of a kernel function.
    pub(crate) fn kfunc_name(&self, id: i32) -> &str {
        self.kernel.as_ref().map_or("", |b| b.name_of(id as u32))
    }

    /// Row of a kernel function.
    pub(crate) fn kfunc(&self, id: i32) -> Option<&'static Kfunc> {
        match self.kfuncs.get(id) {
            Some(k) => k.row,
            None => self.platform.kfunc(self.kfunc_name(id)),
        }
    }

    /// A kernel type by its name, structures first.
    pub(crate) fn kernel_type(&mut self, name: &'static str) -> Option<BtfType> {
        let kernel = self.kernel.clone()?;
        let id = *self.names.entry(name).or_insert_with(|| {
            use skep_btf::Kind;
            [Kind::Struct, Kind::Union, Kind::Typedef]
                .into_iter()
                .find_map(|k| kernel.find_by_name_kind(name, k))
                .unwrap_or(0)
        });
        (id != 0).then_some(BtfType { own: false, id })
    }

    /// The BTF that a type belongs to.
    pub(crate) fn btf_of(&self, t: BtfType) -> Option<&Arc<Btf>> {
        if t.own { self.own.as_ref() } else { self.kernel.as_ref() }
    }

    /// Name of a type.
    pub(crate) fn btf_name(&self, t: BtfType) -> &str {
        self.btf_of(t).map_or("", |b| b.name_of(t.id))
    }

    /// Brings the chain of instances up to date after a call, a return or a change of branch.
    pub(crate) fn relocate(&mut self) {
        self.life.locate(&self.code, self.cur.chain(), &mut self.here);
    }

    /// The instruction reads stack slots of a frame.
    #[inline]
    pub(crate) fn stack_read(&mut self, frame: usize, slots: u64) {
        self.life.read(&self.here, frame, slots);
    }

    /// The value must be exact from where it was made (`mark_chain_precision`).
    pub(crate) fn precise(&mut self, reg: usize) -> Check {
        if !self.reg(reg).is_scalar() {
            return Ok(());
        }
        self.facts.exact(reg);
        let place = Place { frame: self.cur.depth() as u8, index: reg as u8, slot: false };
        self.make_precise(&[place])
    }
}

/// What a call is to control flow.
pub(crate) fn call_shape(
    platform: &Platform,
    caller: &Caller<'_>,
    kfuncs: &CalledKfuncs,
    op: &Op,
) -> CallShape {
    match *op {
        Op::Call(Callee::Helper(id)) => {
            let Some(h) = u32::try_from(id).ok().and_then(|id| platform.helper(id)) else {
                return CallShape { args: 5, ..CallShape::default() };
            };
            let proto = h.proto_for(caller).or(h.protos.first());
            CallShape {
                sync_callback: matches!(h.callback, Callback::Sync { .. }),
                async_callback: matches!(h.callback, Callback::Async { .. }),
                changes_packet: h.invalidates_packet,
                might_sleep: proto.is_some_and(|p| p.might_sleep),
                args: proto.map_or(5, |p| p.args.len() as u8),
                ..CallShape::default()
            }
        }
        Op::Call(Callee::Kfunc { id, .. }) => {
            let called = kfuncs.get(id);
            let row = called.and_then(|k| k.row);
            let params = called.and_then(|k| k.params.as_ref());
            let args = params.map_or(5, |p| p.len().min(5) as u8);
            CallShape {
                sync_callback: row.is_some_and(|r| r.kind == KfuncKind::RbtreeAdd),
                iter_next: row.is_some_and(|r| r.iter_next()),
                async_callback: row.is_some_and(|r| matches!(r.kind, KfuncKind::AsyncCallback { .. })),
                throws: row.is_some_and(|r| r.kind == KfuncKind::Throw),
                changes_packet: row.is_some_and(|r| r.kind == KfuncKind::ChangesPacket),
                might_sleep: row.is_some_and(|r| r.sleepable()),
                args,
            }
        }
        _ => CallShape { args: 5, ..CallShape::default() },
    }
}
