//! Stack use over chains of calls (`check_max_stack_depth`): the frames of a chain share 512 bytes, unless they get
//! stacks of their own.

use crate::code::Code;
use crate::machine::Vm;
use crate::reject::{Check, refuse};
use crate::state::MAX_FRAMES;
use skep_platform::ProgType;

/// A frame at least this large gets a stack of its own where that is possible.
const PRIVATE_MIN: i64 = 64;
const MAX: i64 = 512;

/// How a function's frame is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Unknown,
    No,
    Yes,
}

fn rounded(depth: i64) -> i64 {
    (depth + 15) / 16 * 16
}

impl Vm<'_> {
    /// Refuses chains that are too deep; the deepest chain otherwise.
    pub(crate) fn check_depth(&mut self) -> Check<u32> {
        let code = self.code.clone();
        let mut own = vec![Own::Unknown; code.funcs.len()];
        let private = private_stack(self.program.prog_type)
            && !self.lacks.ability("private-stack")
            && !code.funcs.iter().any(|f| f.tail_calls);
        let mut deepest = 0;
        for f in (0..code.funcs.len()).rev() {
            if f == 0 || code.funcs[f].async_callback || code.exception_callback == Some(f) {
                let allowed = private && !code.funcs[f].async_callback;
                deepest = deepest.max(self.chain(&code, f, allowed, &mut own)?);
            }
        }
        Ok(deepest as u32)
    }

    fn chain(&self, code: &Code, root: usize, private: bool, own: &mut [Own]) -> Check<i64> {
        // (function, next slot to look at, depth with its own frame)
        let mut stack = vec![(root, code.funcs[root].start, self.enter(root, 0, 0, private, own)?)];
        let is_callback = |f: usize| code.funcs[f].callback || code.exception_callback == Some(f);
        let mut deepest = stack[0].2;
        while let Some(top) = stack.last_mut() {
            let (f, pc, depth) = *top;
            if pc >= code.funcs[f].end {
                stack.pop();
                continue;
            }
            top.1 = pc + 1;
            let Some(op) = code.op(pc) else { continue };
            if self.throws(op) && stack.iter().any(|(f, ..)| is_callback(*f)) {
                refuse!(Callback, "bpf_throw kfunc (insn {pc}) cannot be called from callback subprog {f}");
            }
            let Some(callee) = op.subprog_target(pc).and_then(|t| code.func_at(t as usize)) else { continue };
            let direct = matches!(op, skep_isa::Op::Call(_));
            if code.funcs[callee].async_callback && !direct {
                continue;
            }
            let frames = stack.len();
            if frames >= MAX_FRAMES {
                refuse!(CallDepth, "the call stack of {frames} frames is too deep !");
            }
            if code.funcs[callee].tail_calls && depth >= 256 {
                refuse!(
                    StackDepth,
                    "tail_calls are not allowed when call stack of previous frames is {depth} bytes. Too large"
                );
            }
            let below = self.enter(callee, depth, frames, private, own)?;
            deepest = deepest.max(below);
            stack.push((callee, code.funcs[callee].start, below));
        }
        Ok(deepest)
    }

    fn throws(&self, op: &skep_isa::Op) -> bool {
        match op {
            skep_isa::Op::Call(skep_isa::Callee::Kfunc { id, off: 0 }) => {
                self.kfunc(*id).is_some_and(|k| k.kind == skep_platform::KfuncKind::Throw)
            }
            _ => false,
        }
    }

    fn enter(&self, f: usize, depth: i64, frames: usize, private: bool, own: &mut [Own]) -> Check<i64> {
        let size = rounded(self.fastcall.frame(f, self.depths[f]));
        if !private {
            own[f] = Own::No;
        } else if own[f] == Own::Unknown && size >= PRIVATE_MIN {
            own[f] = Own::Yes;
        }
        if own[f] == Own::Yes {
            if size > MAX {
                refuse!(StackDepth, "stack size of subprog {f} is {size}. Too large");
            }
            return Ok(depth);
        }
        let depth = depth + size;
        if depth > MAX {
            refuse!(StackDepth, "combined stack size of {} calls is {depth}. Too large", frames + 1);
        }
        Ok(depth)
    }
}

/// Program types whose frames may get stacks of their own (`bpf_enable_priv_stack`).
fn private_stack(t: ProgType) -> bool {
    matches!(
        t,
        ProgType::Kprobe
            | ProgType::Tracepoint
            | ProgType::PerfEvent
            | ProgType::RawTracepoint
            | ProgType::Tracing
            | ProgType::Lsm
            | ProgType::StructOps
    )
}
