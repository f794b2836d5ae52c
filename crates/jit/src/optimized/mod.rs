//! The optimising compiler: Cranelift, fed with what the verifier proved.
//!
//! ```text
//! steps ── flow.rs (blocks, loops, liveness; jumps over one instruction become selections)
//!       ── frame.rs (which bytes of the frame are variables, which memory)
//!       ── turns.rs (loops that routines run many turns of at once)
//!       ── translate.rs, alu.rs, memory.rs, calls.rs ──► Cranelift ── link.rs (functions side by side) ──► bytes
//! ```
//!
//! What the engine calls is an [`EntryFn`](crate::head::EntryFn), as the baseline's programs are; so either may continue in
//! the other. Functions that only the program calls take the head and the registers that they read, and say beside `r0`
//! whether the run stops. Small subprograms have no function of their own: they are translated in place. A program that
//! continues in another one jumps to it, on machines other than x86-64 calls it: at most 33 times in a row.
//!
//! Always holds: whatever the facts do not say is taken to be possible, so that programs without facts compile, too.

mod alu;
mod calls;
mod frame;
mod link;
mod memory;
mod translate;
mod turns;

use crate::code::{Code, Step};
use crate::fault::FrameOf;
use crate::flow::{self, Flow, Skips};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use skep_isa::{Callee, Op, Reg};
use skep_platform::facts::{Facts, Ways};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::OnceLock;

/// What the compiler made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) bytes: Vec<u8>,
    pub(crate) entries: Vec<(usize, usize)>,
    /// Offsets of code with the slot that it comes from, ascending.
    pub(crate) places: Vec<(u32, u32)>,
    /// How its functions keep their callers' registers, ascending.
    pub(crate) frames: Box<[FrameOf]>,
    /// What the code reads.
    pub(crate) constants: Box<[u64]>,
    /// Offset of the program for tail calls of the baseline.
    pub(crate) bare: usize,
}

/// Largest subprogram, in instructions, that is translated in place wherever it is called.
const SMALL: usize = 48;
/// Largest one that is translated in place if it is called once.
const ONCE: usize = 600;

/// Deepest chain of calls (`MAX_CALL_FRAMES`).
const DEEPEST: usize = 8;

/// The program as a whole.
pub(super) struct Unit<'c> {
    code: &'c Code,
    facts: &'c Facts,
    /// By which compiled code names its program.
    token: u64,
    /// Addresses of map values, which the code loads from here: as constants they would be put together anew for
    /// every access, in the place of one register with many displacements.
    constants: Box<[u64]>,
    skips: Rc<Skips>,
    /// [`frame::apart`].
    apart: bool,
    flows: BTreeMap<usize, Rc<Flow>>,
    functions: BTreeMap<usize, Kind>,
}

/// What callers have to know of a function.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// The engine calls it, too: it has the full result.
    external: bool,
    /// It may be stopped, so its callers ask.
    stops: bool,
    /// It may continue in another program.
    tails: bool,
    /// Number of arguments.
    args: usize,
    /// It is translated where it is called.
    inline: bool,
}

impl Kind {
    /// Whether it returns beside `r0` that it stopped: what the engine calls notes that in the head.
    fn full(self) -> bool {
        self.stops && !self.external
    }
}

/// Compiles. On failure the slot of the instruction that could not be expressed.
pub(crate) fn compile(code: &Code, facts: &Facts, token: u64) -> Result<Made, usize> {
    let unit = Unit::new(code, facts, token)?;
    let mut parts = Vec::new();
    let mut room = ROOM.take().unwrap_or_default();
    let Room { context, builder } = &mut *room;
    for (&start, kind) in &unit.functions {
        if kind.inline && !kind.external {
            continue;
        }
        let isa = isa(start == 0 && kind.tails).ok_or(start)?;
        translate::function(&unit, start, context, builder, isa)?;
        let names: Vec<usize> =
            context.func.params.user_named_funcs().values().map(|n| n.index as usize).collect();
        let made = context.compile(&**isa, &mut Default::default()).map_err(|_| start)?;
        parts.push(link::Part::of(start, made, &names).ok_or(start)?);
        context.clear();
    }
    if code.steps.len() <= ROOM_STEPS {
        ROOM.set(Some(room));
    }
    link::join(parts, unit.constants, token)
}

/// Memory that Cranelift works in.
struct Room {
    context: cranelift_codegen::Context,
    builder: cranelift_frontend::FunctionBuilderContext,
}

impl Default for Room {
    fn default() -> Room {
        let context = cranelift_codegen::Context::new();
        Room { context, builder: cranelift_frontend::FunctionBuilderContext::new() }
    }
}

/// Most instructions of a program whose room is kept for the next one.
const ROOM_STEPS: usize = 4096;

thread_local! {
    /// What a compilation that failed has left is not used again.
    static ROOM: Cell<Option<Box<Room>>> = const { Cell::new(None) };
}

impl<'c> Unit<'c> {
    fn new(code: &'c Code, facts: &'c Facts, token: u64) -> Result<Unit<'c>, usize> {
        let decided = |pc: usize| decided(facts, pc);
        let skips = Rc::new(flow::skips(code, 0..code.steps.len(), 0, &decided));
        let constants = constants(code);
        let (flows, functions) = (BTreeMap::new(), BTreeMap::new());
        let mut unit = Unit { code, facts, token, constants, skips, apart: false, flows, functions };
        let mut calls: BTreeMap<usize, usize> = BTreeMap::new();
        let mut work = vec![0];
        work.extend(&code.callbacks);
        while let Some(start) = work.pop() {
            if unit.flows.contains_key(&start) {
                continue;
            }
            let flow = Flow::of(code, start, &unit.skips, &decided).ok_or(start)?;
            for pc in flow.slots(code) {
                if let Some(to) = local_target(&code.steps[pc], pc) {
                    *calls.entry(to).or_default() += 1;
                    work.push(to);
                }
            }
            unit.flows.insert(start, Rc::new(flow));
        }
        unit.apart = frame::apart(code, facts, unit.flows.values().map(|f| &**f));
        for (&start, flow) in &unit.flows {
            let external = start == 0 || code.callbacks.contains(&start);
            let live = flow.blocks.first().map_or(0, |b| b.live);
            let args = (1..=5).rev().find(|r| live >> r & 1 == 1).unwrap_or(0);
            let tails = flow
                .slots(code)
                .any(|pc| matches!(code.steps[pc], Step::Helper { tail: true, .. } | Step::Tail { .. }));
            unit.functions.insert(start, Kind { external, stops: false, tails, args, inline: false });
        }
        for start in unit.flows.keys().copied().collect::<Vec<_>>() {
            unit.grown(start, &calls, 0);
        }
        unit.find_stops();
        Ok(unit)
    }

    /// Decides whether a function is translated in place; its size with everything that is translated in place in it.
    fn grown(&mut self, start: usize, calls: &BTreeMap<usize, usize>, depth: usize) -> usize {
        let Some(flow) = self.flows.get(&start).cloned().filter(|_| depth <= DEEPEST) else {
            return usize::MAX;
        };
        let mut size = flow.size;
        for pc in flow.slots(self.code) {
            let Some(to) = local_target(&self.code.steps[pc], pc) else { continue };
            let more = self.grown(to, calls, depth + 1);
            if self.functions.get(&to).is_some_and(|k| k.inline) {
                size = size.saturating_add(more);
            }
        }
        let limit = if calls.get(&start) == Some(&1) { ONCE } else { SMALL };
        if let Some(k) = self.functions.get_mut(&start) {
            k.inline = start != 0 && !k.tails && size <= limit;
        }
        size
    }

    /// Which functions may be stopped: by what they do themselves, or by what they call.
    fn find_stops(&mut self) {
        let mut changed = true;
        while changed {
            changed = false;
            for (start, flow) in &self.flows {
                let stops = flow.slots(self.code).any(|pc| match &self.code.steps[pc] {
                    Step::Op(Op::Call(Callee::Local(_))) | Step::Loop { .. } => {
                        local_target(&self.code.steps[pc], pc)
                            .and_then(|t| self.functions.get(&t))
                            .is_some_and(|k| k.stops)
                    }
                    step => stops(step),
                });
                if let Some(k) = self.functions.get_mut(start).filter(|k| k.stops != stops) {
                    (k.stops, changed) = (stops, true);
                }
            }
        }
    }

    fn decided(&self, pc: usize) -> Option<bool> {
        decided(self.facts, pc)
    }
}

fn constants(code: &Code) -> Box<[u64]> {
    let mut all: Vec<u64> = code
        .values
        .iter()
        .filter_map(|pc| match code.steps.get(*pc) {
            Some(Step::Wide { bits, .. }) => Some(*bits),
            _ => None,
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all.into()
}

fn decided(facts: &Facts, pc: usize) -> Option<bool> {
    match facts.ways(pc) {
        Ways::Jumps => Some(true),
        Ways::Falls => Some(false),
        Ways::Both => None,
    }
}

/// May it end the run?
fn stops(step: &Step) -> bool {
    match step {
        Step::Op(Op::Call(Callee::Reg(_))) => true,
        Step::Op(_)
        | Step::Wide { .. }
        | Step::Second
        | Step::Index(_)
        | Step::Value { .. }
        | Step::PacketLoad { .. } => false,
        Step::Direct(_) | Step::Cpu | Step::Unlock { .. } | Step::Loop { .. } => false,
        Step::CtxLoad(_) | Step::CtxStore { .. } => false,
        Step::Helper { .. } | Step::Tail { .. } | Step::Lock { .. } => true,
        Step::AnyLoad { .. } | Step::AnyStore { .. } | Step::Trap { .. } => true,
    }
}

/// The function that a step calls.
fn local_target(step: &Step, pc: usize) -> Option<usize> {
    match step {
        Step::Op(Op::Call(Callee::Local(off))) => usize::try_from(pc as i64 + 1 + i64::from(*off)).ok(),
        Step::Loop { func, .. } => Some(*func),
        _ => None,
    }
}

fn reg(n: usize) -> Reg {
    Reg::new(n as u8).unwrap_or(Reg::R0)
}

/// This machine, as Cranelift sees it, for functions that jump to other programs or do not; `None` where it has no code for it.
fn isa(leaves: bool) -> Option<&'static OwnedTargetIsa> {
    static ISA: [OnceLock<Option<OwnedTargetIsa>>; 2] = [const { OnceLock::new() }; 2];
    ISA[usize::from(leaves)].get_or_init(|| host(leaves)).as_ref()
}

fn host(leaves: bool) -> Option<OwnedTargetIsa> {
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "speed"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ("enable_probestack", "false"),
        // What its jumps to other functions rely on.
        ("preserve_frame_pointers", if leaves { "true" } else { "false" }),
        // For `crate::fault`.
        ("unwind_info", "true"),
        ("enable_heap_access_spectre_mitigation", "false"),
        ("enable_table_access_spectre_mitigation", "false"),
    ] {
        flags.set(name, value).ok()?;
    }
    let mut builder = cranelift_codegen::isa::lookup_by_name(std::env::consts::ARCH).ok()?;
    for name in features() {
        builder.enable(name).ok()?;
    }
    builder.finish(settings::Flags::new(flags)).ok()
}

/// Instructions that this processor has beside the basic ones, by Cranelift's names.
fn features() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! ask {
            ($($feature:tt $name:literal),*) => {
                $(if std::arch::is_x86_feature_detected!($feature) { found.push($name); })*
            };
        }
        ask!("sse3" "has_sse3", "ssse3" "has_ssse3", "sse4.1" "has_sse41", "sse4.2" "has_sse42", "popcnt" "has_popcnt",
            "avx" "has_avx", "avx2" "has_avx2", "bmi1" "has_bmi1", "bmi2" "has_bmi2", "lzcnt" "has_lzcnt");
    }
    found
}
