//! Functions of the program itself: calls, callbacks, returns, and what the program may return.

use crate::frames::Frames;
use crate::machine::{Pending, Vm};
use crate::reject::{Check, Reject, Rule, refuse};
use crate::state::{Frame, State, Tracked};
use crate::step::Flow;
use crate::value::{Base, Dynptr, Flags, Reg};
use skep_platform::ProgType;
use skep_platform::helper::CallbackParams;
use std::rc::Rc;

impl Vm<'_> {
    /// `call` of the function that begins at `target`.
    pub(crate) fn local_call(&mut self, target: usize) -> Check<Flow> {
        let pc = self.cur.insn;
        let Some(f) = self.code.func_at(target) else { refuse!(Internal, "no function at {target}") };
        if self.code.exception_callback == Some(f) {
            refuse!(Callback, "insn {pc} cannot call exception cb directly");
        }
        if self.code.funcs[f].global {
            return self.global_call(f);
        }
        self.room_for_frame()?;
        let mut frame = Frame::new(f, pc, self.cur.frames.len());
        frame.regs[1..=5].clone_from_slice(&self.cur.frame().regs[1..=5]);
        self.clear_caller_saved();
        self.cur.frames.push(frame);
        self.log_entered();
        Ok(Flow::To(target))
    }

    /// A global function is judged on its own; the call only checks the arguments.
    fn global_call(&mut self, f: usize) -> Check<Flow> {
        let pc = self.cur.insn;
        let func = &self.code.funcs[f];
        let (name, sleeps, moves) = (func.name.clone(), func.might_sleep, func.changes_packet);
        let fits = self.global_arguments(f);
        if self.cur.locks() > 0 {
            refuse!(
                Lock,
                "global function calls are not allowed while holding a lock,\nuse static function instead"
            );
        }
        let section = self.cur.rcu > 0 || self.cur.preempt > 0 || self.cur.irq > 0;
        if sleeps && (section || !self.cur.sleepable) {
            refuse!(
                HelperRestricted,
                "global functions that may sleep are not allowed in non-sleepable context,\ni.e., in a RCU/IRQ/preempt-disabled section, or in\na non-sleepable BPF program context"
            );
        }
        if let Err(e) = fits {
            let mut out = Reject::new(
                Rule::GlobalFunction,
                format!("Caller passes invalid args into func#{f} ('{name}')"),
            );
            out.before = e.lines().map(str::to_owned).collect();
            return Err(out);
        }
        if moves {
            self.forget_packets();
        }
        self.log.line(&format!("Func#{f} ('{name}') is global and assumed valid."));
        self.global_called[f] = true;
        self.clear_caller_saved();
        self.set(0, Reg::UNKNOWN);
        Ok(Flow::To(pc + 1))
    }

    /// The callback is walked as a branch; the call itself goes on.
    pub(crate) fn sync_callback(&mut self, f: usize, params: CallbackParams) -> Check {
        let pc = self.cur.insn;
        let start = self.code.funcs[f].start;
        let regs = self.callback_regs(params, 1)?;
        self.room_for_frame()?;
        let depth = self.cur.frames.len();
        let ret = if params == CallbackParams::Timer { (0, 0) } else { (0, 1) };
        let state = self.push(start, pc)?;
        state.callback_unroll += 1;
        state.frame_mut().callback_depth += 1;
        let mut frame = Frame::new(f, pc, depth);
        frame.regs[1..=5].iter_mut().zip(regs).for_each(|(to, r)| to.set(r));
        frame.callback = true;
        frame.callback_ret = Some(ret);
        state.frames.push(frame);
        self.cur.frame_mut().callback_depth = 0;
        self.log.touch_all();
        Ok(())
    }

    /// The callback runs later: it is walked as a program of its own. `map`: the register that names the map.
    pub(crate) fn async_callback(
        &mut self,
        f: usize,
        params: CallbackParams,
        map: usize,
        sleepable: bool,
    ) -> Check {
        let regs = self.callback_regs(params, map)?;
        let code = Rc::make_mut(&mut self.code);
        code.funcs[f].async_callback = true;
        let start = code.funcs[f].start;
        let mut frame = Frame::new(f, usize::MAX, 0);
        frame.regs[1..=5].iter_mut().zip(regs).for_each(|(to, r)| to.set(r));
        frame.async_callback = true;
        frame.async_entries = self.cur.frame().async_entries + 1;
        frame.callback_ret = Some((0, 0));
        let mut state = State::new(frame, start, false);
        state.sleepable = sleepable;
        let trace_mark = self.trace_mark();
        self.pending.push(Box::new(Pending { state, prev: None, log_mark: self.log.mark(), trace_mark }));
        if self.pending.len() > self.options.limits.branches {
            refuse!(TooComplex, "The sequence of {} jumps is too complex for async cb.", self.pending.len());
        }
        Ok(())
    }

    fn callback_regs(&mut self, params: CallbackParams, map: usize) -> Check<[Reg; 5]> {
        let none = Reg::NOT_INIT;
        let r = |n: usize| *self.reg(n);
        Ok(match params {
            CallbackParams::Index => [Reg::UNKNOWN, r(3), none, none, none],
            CallbackParams::MapElem | CallbackParams::Timer => {
                let map = r(map);
                let m = match map.base {
                    Base::MapPtr(m) | Base::MapValue(m) => m,
                    _ => refuse!(Internal, "callback without a map"),
                };
                let mut ptr = Reg::pointer(Base::MapPtr(m));
                ptr.origin = map.origin;
                let (mut key, mut value) = (Reg::pointer(Base::MapKey(m)), Reg::pointer(Base::MapValue(m)));
                (key.origin, value.origin) = (map.origin, map.origin);
                let ctx = if params == CallbackParams::MapElem { r(3) } else { none };
                [ptr, key, value, ctx, none]
            }
            CallbackParams::TaskVma => {
                let (task, ctx) = (r(1), r(4));
                let Some(vma) = self.kernel_type("vm_area_struct") else {
                    refuse!(NotYet, "bpf_find_vma needs the kernel's BTF");
                };
                [task, Reg::pointer(Base::Btf(vma)), ctx, none, none]
            }
            CallbackParams::Dynptr => {
                let ctx = r(3);
                let mut d = Reg::pointer(Base::ConstDynptr(Dynptr::Local));
                d.id = self.new_id();
                [d, ctx, none, none, none]
            }
        })
    }

    /// Return to the caller (`prepare_func_exit`).
    pub(crate) fn leave(&mut self) -> Check<Flow> {
        let callee = self.cur.frame();
        let r0 = *callee.regs[0];
        let (site, callback, bounds) = (callee.callsite, callee.callback, callee.callback_ret);
        if matches!(r0.base, Base::Stack(_)) {
            refuse!(ReturnValue, "cannot return stack pointer to the caller");
        }
        if callback {
            if !r0.is_scalar() {
                refuse!(Callback, "R0 not a scalar value");
            }
            self.precise(0)?;
            if let Some((lo, hi)) = bounds {
                let r = r0.val.r;
                if r.smin < lo as i64 || r.smax > hi as i64 {
                    return Err(out_of_range(0, &r0, lo, hi, "At callback return"));
                }
            }
        }
        self.life.update(&self.code, &self.cfg, &self.here);
        let left = self.cur.frames.pop();
        if !callback {
            self.set(0, r0);
        }
        let to = if callback { site } else { site + 1 };
        if let Some(left) = left.filter(|_| self.log.on()) {
            self.log_left(&left, to);
        }
        if !callback {
            return Ok(Flow::To(to));
        }
        if let Some(id) = self.earlier_visit(site, self.cur.dfs_depth) {
            crate::equal::widen(&self.states[id as usize], &mut self.cur);
        }
        Ok(Flow::To(site))
    }

    /// What the program returns (`check_return_code`).
    pub(crate) fn return_code(&mut self, n: usize) -> Check {
        let frame = self.cur.frame();
        let is_async = frame.async_callback;
        let sub = frame.subprog != 0;
        let root = !sub || frame.exception_callback;
        if root && self.attach.returns_nothing() {
            return Ok(());
        }
        self.readable(n)?;
        if self.leaks(n) {
            refuse!(PointerLeak, "R{n} leaks addr as return value");
        }
        let r = *self.reg(n);
        if is_async {
            let range = self.cur.frame().callback_ret.unwrap_or((0, 0));
            return self.in_range(n, &r, range, "At async callback return");
        }
        if sub && !self.cur.frame().exception_callback {
            if !r.is_scalar() {
                refuse!(
                    GlobalFunction,
                    "At subprogram exit the register R{n} is not a scalar value ({})",
                    r.type_name()
                );
            }
            return Ok(());
        }
        let range = match self.attach.returns() {
            Some(r) => Some(r),
            None => self.desc.ret_range(self.program.attach_type).map(|r| (r.min, r.max)),
        };
        let free = matches!(self.program.prog_type, ProgType::Ext);
        match range {
            Some(range) if !free => self.in_range(n, &r, range, "At program exit"),
            _ => Ok(()),
        }
    }

    fn in_range(&mut self, n: usize, r: &Reg, (lo, hi): (i32, i32), when: &str) -> Check {
        if !r.is_scalar() {
            refuse!(ReturnValue, "{when} the register R{n} is not a known value ({})", r.type_name());
        }
        self.precise(n)?;
        let narrow = self.program.prog_type == ProgType::Lsm;
        let (min, max) = if narrow { (r.val.sub.smin, r.val.sub.smax) } else { (r.val.r.smin, r.val.r.smax) };
        if min < lo as i64 || max > hi as i64 {
            return Err(out_of_range(n, r, lo, hi, when));
        }
        Ok(())
    }
}

fn out_of_range(n: usize, r: &Reg, lo: i32, hi: i32, when: &str) -> Box<Reject> {
    let mut s = format!("{when} the register R{n} has");
    let (min, max) = (r.val.r.smin, r.val.r.smax);
    if min > i64::MIN {
        s += &format!(" smin={min}");
    }
    if max < i64::MAX {
        s += &format!(" smax={max}");
    }
    if min == i64::MIN && max == i64::MAX {
        s += " unknown scalar value";
    }
    s += &format!(" should have been in [{lo}, {hi}]");
    Reject::new(Rule::ReturnValue, s)
}

impl State {
    /// A state at the entry of a function.
    pub(crate) fn new(frame: Frame, insn: usize, sleepable: bool) -> State {
        State {
            frames: Frames::of(frame),
            refs: Vec::new(),
            rcu: 0,
            preempt: 0,
            irq: 0,
            lock: None,
            sleepable,
            tracked: Tracked::default(),
            may_goto_depth: 0,
            callback_unroll: 0,
            parent: None,
            first_insn: insn,
            last_insn: None,
            insn,
            hist: Vec::new(),
            dfs_depth: 0,
            speculative: false,
        }
    }
}

/// Flags of a pointer argument that may be NULL.
pub(crate) fn nullable(yes: bool) -> Flags {
    if yes { Flags::MAYBE_NULL } else { Flags::NONE }
}
