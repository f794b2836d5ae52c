//! Runs of verified programs: what the interpreter and compiled code share. No step is checked.
//!
//! ```text
//! Verified ── lower ──► Native ── interp.rs (steps) ────────┐
//!                          └───── baseline.rs (machine code) ┴──► helper bodies ──► door.rs (Env) ──► callbacks
//! ```
//!
//! Always holds: only a [`Verified`] becomes a [`Native`], and a context that is shorter than the program type promises
//! is refused before the run.

mod baseline;
mod door;
mod flat;
mod interp;
mod names;

pub(crate) use names::Watchers;
pub use names::{JitDump, PerfMap};

use crate::checked::keep::Chain;
use crate::lower::{Lowered, Site, func_addr, lower};
use crate::mem::{Order, Span};
use crate::user::Tier;
use skep_isa::{Op, Size};
use skep_jit::aot::{Library, Source};
use skep_jit::debugger::Registered;
use skep_jit::head::{MAX_TAIL_CALLS, TAILS, Tail};
use skep_jit::{Compiled, Head};
use skep_platform::ctx::{CtxField, FieldKind, Rights, UserRun};
use skep_platform::engine::{EngineError, Platform, RegisterNote, RunError};
use skep_platform::env::{Context, CtxData, Fault, Host};
use skep_platform::facts::Facts;
use skep_platform::helper::{Body, HelperFn};
use skep_platform::map::Map;
use skep_platform::packet::PacketCtx;
use skep_platform::program::{Program, Verified};
use skep_platform::uapi::ProgType;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Iterations that `may_goto` allows a frame (`BPF_MAX_LOOPS`).
const MAY_GOTO: u32 = 8 << 20;
/// Words of a frame (`MAX_BPF_STACK`).
const FRAME_WORDS: usize = 64;

/// A verified program, ready to run.
pub(crate) struct Native {
    /// Its code as debuggers know it: they forget it before it is freed.
    shown: Mutex<Vec<Registered>>,
    pub(crate) lowered: Box<Lowered>,
    /// Its code, in the tiers that compile.
    first_code: Option<Compiled>,
    /// Optimised code that has taken the place of the first one.
    better: OnceLock<Compiled>,
    /// When to make it.
    promotion: Option<Promotion>,
    tier: Tier,
    platform: Platform,
    /// The host of the engine that loaded it, which its code may ask directly.
    host: Arc<dyn Host>,
    /// Bytes that a plain context must have at least.
    ctx_len: usize,
    /// It is nothing but instructions: `r2` is the length of its memory.
    raw: bool,
    /// Its code never calls the engine, but for packet loads.
    leaf: bool,
    /// It has packet loads.
    loads: bool,
    /// A run on a packet is nothing but a call of its code: it asks nothing, and is no more counted for the optimising compiler.
    quick: AtomicBool,
    /// It may continue in another program.
    tails: bool,
    /// Who is told of its code.
    watchers: Watchers,
    /// Its form for the interpreter, in that tier, and loops that it runs many turns of at once.
    flat: Box<[flat::Flat]>,
    loops: Box<[skep_jit::loops::Found]>,
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Native({}, {})", self.lowered.program.name, self.tier.name())
    }
}

/// When a program that is run often is compiled again.
struct Promotion {
    /// Runs that are left; 0 once the compiler has been started.
    left: AtomicU32,
    facts: Facts,
}

impl Native {
    /// The best code that there is.
    #[inline]
    fn machine(&self) -> Option<&Compiled> {
        self.better.get().or(self.first_code.as_ref())
    }

    /// The instruction that machine code at an address stands for.
    fn slot_at(&self, pc: u64) -> Option<usize> {
        [self.better.get(), self.first_code.as_ref()].into_iter().flatten().find_map(|m| m.slot_at(pc))
    }

    /// Counts a run; starts the optimising compiler on another thread at the last one before it is worth while. Runs that
    /// count at the same time may count as one.
    #[inline]
    fn count(self: &Arc<Native>) {
        let Some(p) = &self.promotion else { return };
        let left = p.left.load(Relaxed);
        if left != 0 {
            p.left.store(left - 1, Relaxed);
            if left == 1 {
                self.quick.store(self.is_plain(), Relaxed);
                self.promote();
            }
        }
    }

    /// Whether a run on a packet begins without anything that [`run`] would have to look up for it.
    fn is_plain(&self) -> bool {
        let fits = self.lowered.layout.is_some() || self.ctx_len == 0;
        self.leaf && fits && !self.loads && !self.raw && !self.lowered.code.cpu
    }

    /// Makes optimised code in the background. Where that fails, the program goes on as it is.
    #[cold]
    fn promote(self: &Arc<Native>) {
        let native = self.clone();
        let work = move || {
            let Some(p) = &native.promotion else { return };
            if let Ok(code) = skep_jit::optimize(&native.lowered.code, &p.facts, native.token()) {
                native.show(&code, Tier::Optimized);
                let _ = native.better.set(code);
            }
        };
        let _ = std::thread::Builder::new().name("skep-optimize".into()).spawn(work);
    }

    /// Tells of code that is about to run.
    fn show(&self, code: &Compiled, tier: Tier) {
        let shown = self.watchers.tell(self.program(), code, tier.name());
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).extend(shown);
    }

    /// Lowers a program for a tier.
    pub(crate) fn new(
        verified: &Verified,
        platform: &Platform,
        host: &Arc<dyn Host>,
        tier: Tier,
        promote_after: Option<u32>,
        library: Option<&Library>,
        watchers: &Watchers,
    ) -> Result<Native, EngineError> {
        own_memory_only(verified.program(), platform, tier)?;
        let lowered = Box::new(lower(verified, platform, &**host)?);
        let p = &lowered.program;
        let raw = p.prog_type == ProgType::Unspec;
        let layout = platform.prog_type(p.prog_type).and_then(|d| d.layout(p.attach_type));
        let ctx_len = if raw { 0 } else { layout.map_or(0, |l| l.size.into()) };
        let first_code = match tier {
            Tier::Checked | Tier::Interp => None,
            Tier::Baseline | Tier::Optimized | Tier::Auto | Tier::Aot => {
                Some(compiled(&lowered, verified.facts(), tier, library)?)
            }
        };
        let runs = promote_after.filter(|_| tier == Tier::Auto && skep_jit::OPTIMIZES);
        let promotion =
            runs.map(|n| Promotion { left: AtomicU32::new(n.max(1)), facts: verified.facts().clone() });
        let (mut flat, mut loops) = (Box::default(), Box::default());
        if first_code.is_none() {
            loops = skep_jit::loops::find(&lowered.code).into_boxed_slice();
            flat = flat::flatten(&lowered.code.steps, &loops);
        }
        let crate::lower::Calls { engine, loads, tails, .. } = lowered.calls;
        let leaf = first_code.is_some() && !engine;
        let native = Native {
            shown: Mutex::default(),
            lowered,
            first_code,
            better: OnceLock::new(),
            promotion,
            tier,
            platform: *platform,
            host: host.clone(),
            ctx_len,
            raw,
            leaf,
            loads,
            quick: AtomicBool::new(false),
            tails,
            loops,
            flat,
            watchers: watchers.clone(),
        };
        native.quick.store(native.promotion.is_none() && native.is_plain(), Relaxed);
        if let Some(code) = &native.first_code {
            native.show(code, if tier == Tier::Auto { Tier::Baseline } else { tier });
        }
        Ok(native)
    }

    /// The program it was made from.
    pub(crate) fn program(&self) -> &Arc<Program> {
        &self.lowered.program
    }

    /// Its code, in the tiers that compile.
    pub(crate) fn compiled(&self) -> Option<&Compiled> {
        self.machine()
    }

    /// By which compiled code names its program.
    fn token(&self) -> u64 {
        token(&self.lowered)
    }

    /// A helper by a number that only the run knows (`callx`).
    fn body(&self, id: u64) -> Option<HelperFn> {
        match self.platform.helper(u32::try_from(id).ok()?)?.body {
            Body::Fn(body) => Some(body),
            Body::Absent(_) => None,
        }
    }

    /// Slot of the function at a guest address.
    fn function(&self, addr: u64) -> Option<usize> {
        let at = addr.checked_sub(func_addr(self.program(), 0))? / 8;
        let at = usize::try_from(at).ok()?;
        self.lowered.code.functions.binary_search(&at).ok().map(|_| at)
    }
}

/// Refuses programs whose context leads to objects of the kernel: its verifier lets them follow pointers that may be wrong,
/// and catches the fault. Here there are no such objects, and nothing catches it.
fn own_memory_only(program: &Program, platform: &Platform, tier: Tier) -> Result<(), EngineError> {
    let Some(row) = platform.prog_type(program.prog_type) else { return Ok(()) };
    let packets = row.user == UserRun::Packets;
    let own = |f: &CtxField| match f.kind {
        FieldKind::Scalar => true,
        FieldKind::PacketData | FieldKind::PacketEnd | FieldKind::PacketMeta => packets,
        // The engine's packets have no socket: the field is NULL, and a program has to ask.
        FieldKind::SockCommonOrNull => packets,
        _ => f.read == Rights::NONE,
    };
    let foreign = row.layout(program.attach_type).and_then(|l| l.fields.iter().find(|f| !own(f)));
    match foreign {
        None => Ok(()),
        Some(f) => Err(EngineError::Unsupported {
            what: format!("tier {} for programs of type {}", tier.name(), program.prog_type.label()),
            why: format!(
                "field {} of the context is a pointer that nothing guards; use --tier checked",
                f.name
            ),
        }),
    }
}

fn token(lowered: &Lowered) -> u64 {
    std::ptr::from_ref(lowered).addr() as u64
}

/// A program as C, for a library of [`skep_jit::aot::library`].
pub(crate) fn source(
    verified: &Verified,
    platform: &Platform,
    host: &Arc<dyn Host>,
) -> Result<Source, EngineError> {
    own_memory_only(verified.program(), platform, Tier::Aot)?;
    let lowered = lower(verified, platform, &**host)?;
    Source::of(&lowered.code, verified.facts())
        .map_err(|at| not_compiled(&lowered, &skep_jit::Error::Internal(at)))
}

fn not_compiled(lowered: &Lowered, e: &skep_jit::Error) -> EngineError {
    EngineError::Load { prog: lowered.program.name.clone(), insn: None, why: e.to_string() }
}

fn compiled(
    lowered: &Lowered,
    facts: &Facts,
    tier: Tier,
    library: Option<&Library>,
) -> Result<Compiled, EngineError> {
    let made = match tier {
        Tier::Aot => {
            let library = library.ok_or_else(|| EngineError::Unsupported {
                what: "tier aot".into(),
                why: "no library was given: make one with `skep build --native OBJECT` and name it with --library".into(),
            })?;
            skep_jit::load(&lowered.code, facts, library)
        }
        Tier::Optimized => skep_jit::optimize(&lowered.code, facts, token(lowered)),
        _ => skep_jit::compile(&lowered.code, token(lowered)),
    };
    made.map_err(|e| match e {
        skep_jit::Error::Machine => {
            EngineError::Unsupported { what: "the compiler".into(), why: e.to_string() }
        }
        e => not_compiled(lowered, &e),
    })
}

/// Memory that runs reuse. One per thread.
#[derive(Debug)]
pub(crate) struct Machine {
    /// The frames of the interpreter.
    frames: Vec<Box<[u64]>>,
    /// The head of programs that never call the engine.
    head: Head,
    /// Programs that tail calls have led to lately, for compiled code, and what keeps them: with [`Machine::caller`] as the
    /// first program of the run, whose context they were found to fit, and of whose tier they are.
    tails: Box<[Tail; TAILS]>,
    called: [Option<Arc<Native>>; TAILS],
    caller: Option<Arc<Native>>,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine {
            frames: Vec::new(),
            head: baseline::leaf_head(),
            tails: Box::new([Tail::NONE; TAILS]),
            called: [const { None }; TAILS],
            caller: None,
        }
    }
}

impl Machine {
    /// The programs that tail calls of runs of `code` have led to; forgets those of other programs' runs.
    #[inline(always)]
    fn tails_for(&mut self, code: &Arc<Native>) -> u64 {
        if code.tails && !self.caller.as_ref().is_some_and(|c| Arc::ptr_eq(c, code)) {
            self.forget(code);
        }
        self.tails.as_ptr().expose_provenance() as u64
    }

    #[cold]
    #[inline(never)]
    fn forget(&mut self, code: &Arc<Native>) {
        self.tails.fill(Tail::NONE);
        self.called.fill(None);
        self.caller = Some(code.clone());
    }

    /// One past the top of a frame.
    fn frame(&mut self, depth: usize) -> u64 {
        while self.frames.len() <= depth {
            self.frames.push(vec![0; FRAME_WORDS].into());
        }
        let frame = self.frames[depth].as_mut_ptr().expose_provenance();
        (frame + FRAME_WORDS * 8) as u64
    }
}

/// One run. Begins with its head, by which compiled code knows it.
#[repr(C)]
pub(crate) struct Run<'r, 'm> {
    head: Head,
    machine: &'m mut Machine,
    ctx: &'m mut Context,
    maps: &'r Chain<Arc<dyn Map>>,
    /// The program that the run began with, and those that it has continued in.
    first: &'r Arc<Native>,
    codes: &'r Chain<Arc<Native>>,
    /// The program in whose function the run is.
    code: &'r Native,
    depth: usize,
    /// The last helper call, or the instruction that stopped the run.
    at: usize,
    /// Why the run ends, once it has to.
    end: Option<Box<End>>,
}

/// What is known of a run that ends before its program does.
#[derive(Default)]
struct End {
    /// The fault that ended the run inside of a callback.
    dead: Option<Fault>,
    /// Why compiled code was left.
    stopped: Option<Fault>,
    /// Registers of the instruction that stopped the run, where they are known.
    registers: Vec<RegisterNote>,
}

/// Runs a program on `ctx` from its beginning; the value of `r0` at its end.
#[inline]
pub(crate) fn run(
    machine: &mut Machine,
    code: &Arc<Native>,
    ctx: &mut Context,
) -> Result<u64, Box<RunError>> {
    if code.quick.load(Relaxed)
        && let (Some(compiled), CtxData::Packet(p)) = (code.machine(), &mut ctx.data)
    {
        return run_quick(compiled, code, &mut machine.head, &mut p.ctx);
    }
    run_prepared(machine, code, ctx)
}

/// As [`run`], of a program that is [`Native::quick`].
#[inline(always)]
fn run_quick(
    compiled: &Compiled,
    code: &Native,
    head: &mut Head,
    ctx: &mut PacketCtx,
) -> Result<u64, Box<RunError>> {
    let r1 = std::ptr::from_mut(ctx).expose_provenance() as u64;
    let r0 = baseline::run_leaf(compiled, head, [r1, 0, 0, 0, 0]);
    if head.stopped == 0 { Ok(r0) } else { Err(leaf_fault(compiled, code, head)) }
}

/// As [`run`], of any program.
#[inline(never)]
fn run_prepared(machine: &mut Machine, code: &Arc<Native>, ctx: &mut Context) -> Result<u64, Box<RunError>> {
    code.count();
    if let Some(compiled) = code.machine().filter(|_| code.leaf)
        && code.fits(ctx)
    {
        let head = &mut machine.head;
        if code.lowered.code.cpu {
            head.cpu.set(code.host.current_cpu().into());
        }
        let args = code.args(entry(ctx));
        if let (true, CtxData::Packet(p)) = (code.loads, &ctx.data) {
            (head.ctx, head.mac_len) = (args[0], p.mac_len as u64);
        }
        let r0 = baseline::run_leaf(compiled, head, args);
        return if head.stopped == 0 { Ok(r0) } else { Err(leaf_fault(compiled, code, head)) };
    }
    run_once(machine, code, ctx)
}

/// The fault of a program that never calls the engine.
#[cold]
fn leaf_fault(compiled: &Compiled, code: &Native, head: &mut Head) -> Box<RunError> {
    head.stopped = 0;
    let mut error = misfit(code);
    let Some(fault) = skep_jit::fault::take() else { return error };
    error.fault = baseline::faulted(&fault);
    error.insn = compiled.slot_at(fault.pc).unwrap_or(0);
    error.registers = baseline::registers(&fault, code.program(), error.insn);
    error.text = text(code.program(), error.insn);
    let_go(std::mem::take(&mut head.lock), code);
    error
}

/// The instruction in words.
fn text(program: &Program, at: usize) -> String {
    Op::decode(&program.insns, at).map_or(String::new(), |(op, _)| op.to_string())
}

/// Gives back a spin lock, and the records of a program's ring buffers that the thread has not ended.
#[cold]
fn let_go(lock: u64, code: &Native) {
    if lock != 0 {
        let _ = Span::declare(lock, 4).store(0, Size::W, 0, Order::AcquireRelease);
    }
    code.program().maps.iter().filter_map(|m| m.ringbuf()).for_each(|ring| ring.abandon());
}

/// As [`run`], with all that a run may need.
#[inline(never)]
fn run_once(machine: &mut Machine, code: &Arc<Native>, ctx: &mut Context) -> Result<u64, Box<RunError>> {
    let (maps, codes) = (Chain::new(), Chain::new());
    Run::new(machine, code, ctx, &maps, &codes).begin()
}

/// Runs a program on one context after the other, and gives each outcome to `each` until that says that it is enough.
pub(crate) fn run_all<'c>(
    machine: &mut Machine,
    code: &Arc<Native>,
    contexts: impl Iterator<Item = &'c mut Context>,
    mut each: impl FnMut(Result<u64, Box<RunError>>) -> ControlFlow<()>,
) {
    if code.quick.load(Relaxed)
        && let Some(compiled) = code.machine()
    {
        for ctx in contexts {
            let outcome = match &mut ctx.data {
                CtxData::Packet(p) => run_quick(compiled, code, &mut machine.head, &mut p.ctx),
                CtxData::Plain(_) => Err(misfit(code)),
            };
            if each(outcome).is_break() {
                return;
            }
        }
        return;
    }
    if code.leaf {
        for ctx in contexts {
            let outcome = if code.fits(ctx) { run(machine, code, ctx) } else { Err(misfit(code)) };
            if each(outcome).is_break() {
                return;
            }
        }
        return;
    }
    let (maps, codes) = (Chain::new(), Chain::new());
    let mut contexts = contexts;
    let Some(ctx) = contexts.next() else { return };
    let mut run = Run::new(machine, code, ctx, &maps, &codes);
    while each(run.begin()).is_continue() {
        let Some(ctx) = contexts.next() else { return };
        code.count();
        run.renew(ctx);
    }
}

/// A context of another kind than the program's.
#[cold]
fn misfit(code: &Native) -> Box<RunError> {
    let (calls, registers, history) = (Vec::new(), Vec::new(), Vec::new());
    let (program, text) = (code.program().clone(), String::new());
    Box::new(RunError { fault: no_fit(code), program, insn: 0, text, calls, registers, history })
}

fn no_fit(code: &Native) -> Fault {
    let t = code.program().prog_type.label();
    rule("context", format!("the context given is not one of a program of type {t}"))
}

impl Native {
    /// Whether this program may run on this context.
    #[inline]
    fn fits(&self, ctx: &Context) -> bool {
        match &ctx.data {
            CtxData::Packet(_) => self.lowered.layout.is_some() || self.ctx_len == 0,
            CtxData::Plain(p) => self.lowered.layout.is_none() && p.len >= self.ctx_len,
        }
    }

    /// `r1` to `r5` at the beginning, for a context's address and length.
    #[inline]
    fn args(&self, [addr, len]: [u64; 2]) -> [u64; 5] {
        [addr, if self.raw { len } else { 0 }, 0, 0, 0]
    }
}

/// Address and length of the context.
#[inline]
fn entry(ctx: &mut Context) -> [u64; 2] {
    match &mut ctx.data {
        CtxData::Packet(p) => {
            let addr = std::ptr::from_mut(&mut *p.ctx).expose_provenance() as u64;
            [addr, size_of::<PacketCtx>() as u64]
        }
        CtxData::Plain(p) => {
            for (words, ..) in &mut p.buffers {
                words.as_mut_ptr().expose_provenance();
            }
            let len = p.len.min(p.words.len() * 8) as u64;
            let addr = p.words.as_mut_ptr().expose_provenance() as u64;
            [if len == 0 { 0 } else { addr }, len]
        }
    }
}

impl<'r, 'm> Run<'r, 'm> {
    /// A run that is about to begin.
    #[inline(always)]
    fn new(
        machine: &'m mut Machine,
        code: &'r Arc<Native>,
        ctx: &'m mut Context,
        maps: &'r Chain<Arc<dyn Map>>,
        codes: &'r Chain<Arc<Native>>,
    ) -> Run<'r, 'm> {
        let tails = machine.tails_for(code);
        let head = Head { tails, ..baseline::head(code.args(entry(ctx))) };
        Run { head, machine, ctx, maps, first: code, codes, code, depth: 0, at: 0, end: None }
    }

    /// Makes a run that has ended begin again, on another context.
    fn renew(&mut self, ctx: &'m mut Context) {
        let [at, len, ..] = self.first.args(entry(ctx));
        (self.ctx, self.head.ctx, self.head.ctx_len) = (ctx, at, len);
        self.head.tails_left = MAX_TAIL_CALLS;
        self.head.cpu.set(baseline::CPU_UNKNOWN);
        (self.code, self.depth, self.at) = (self.first, 0, 0);
    }

    /// Runs the program that the run is for on the context that it has now.
    #[inline(always)]
    fn begin(&mut self) -> Result<u64, Box<RunError>> {
        let code: &'r Native = self.first;
        self.know_cpu(code);
        match code.machine() {
            Some(compiled) if code.fits(self.ctx) => {
                let r0 = self.exec_first(code, compiled);
                if self.head.stopped == 0 { Ok(r0) } else { Err(self.ended_early()) }
            }
            _ => self.begin_otherwise(),
        }
    }

    /// As [`Run::begin`], where there is no code, or the context is none for it.
    #[inline(never)]
    fn begin_otherwise(&mut self) -> Result<u64, Box<RunError>> {
        let code: &'r Native = self.first;
        let ended = self.accept(code).and_then(|()| self.enter(code, 0, self.args()));
        ended.map_err(|fault| self.failed(fault))
    }

    /// `r1` to `r5` of a program that begins.
    #[inline(always)]
    fn args(&self) -> [u64; 5] {
        [self.head.ctx, self.head.ctx_len, 0, 0, 0]
    }

    /// What the program asks the outside world.
    #[inline(always)]
    fn world(&self) -> &'r dyn Host {
        &*self.first.host
    }

    /// Notes why the run ends.
    #[cold]
    fn end(&mut self) -> &mut End {
        self.end.get_or_insert_default()
    }

    /// Why compiled code was left.
    #[cold]
    fn ended_early(&mut self) -> Box<RunError> {
        let fault = self.why_stopped();
        self.failed(fault)
    }

    #[cold]
    fn failed(&mut self, fault: Fault) -> Box<RunError> {
        self.let_go();
        Box::new(self.error(fault))
    }

    /// Whether this program may run on this context.
    #[inline]
    fn accept(&self, code: &Native) -> Result<(), Fault> {
        if code.fits(self.ctx) { Ok(()) } else { Err(no_fit(code)) }
    }

    /// Runs the function at a slot in the tier that the program was made for; its `r0`.
    fn enter(&mut self, code: &'r Native, start: usize, args: [u64; 5]) -> Result<u64, Fault> {
        match code.machine() {
            None => self.exec(code, start, args),
            Some(_) => self.exec_compiled(code, start, args),
        }
    }

    /// Finds out the CPU before a program begins that reads it without asking.
    fn know_cpu(&self, code: &Native) {
        if code.lowered.code.cpu {
            self.current_cpu();
        }
    }

    /// The CPU that the program believes to be on: the one that it was on when it first asked.
    fn current_cpu(&self) -> u32 {
        if self.head.cpu.get() == baseline::CPU_UNKNOWN {
            self.head.cpu.set(self.world().current_cpu().into());
        }
        self.head.cpu.get() as u32
    }

    /// Calls a helper's body.
    #[inline]
    fn helper(&mut self, site: Site, args: [u64; 5]) -> Result<skep_platform::Ret, Fault> {
        self.at = site.pc;
        let ret = (site.body)(self, args);
        match self.end.as_mut().and_then(|end| end.dead.take()) {
            Some(fault) => Err(fault),
            None => ret,
        }
    }

    /// The program to continue in, or `None` when this would be one tail call too many.
    fn next_program(
        &mut self,
        program: Arc<dyn std::any::Any + Send + Sync>,
    ) -> Result<Option<&'r Native>, Fault> {
        if self.head.tails_left == 0 {
            return Ok(None);
        }
        let program = program.downcast::<crate::user::UserProgram>().map_err(|_| {
            rule("tail-call-engine", "the program array holds a program that another engine loaded".into())
        })?;
        let next = program.native().filter(|n| n.tier == self.code.tier).ok_or_else(|| {
            rule(
                "tail-call-tier",
                "the program array holds a program that was loaded for another tier".into(),
            )
        })?;
        self.accept(next)?;
        self.know_cpu(next);
        self.head.tails_left -= 1;
        self.remember(next);
        let known = self.program(|c| std::ptr::eq(c, &**next));
        Ok(Some(known.unwrap_or_else(|| self.codes.push(next.clone()))))
    }

    /// Lets compiled code go to this program by itself the next time, if it is one that this run's context fits for certain: of
    /// the type of the first.
    fn remember(&mut self, next: &Arc<Native>) {
        let id = std::mem::take(&mut self.head.tail_id);
        let (first, program) = (self.first.program(), next.program());
        let alike = first.prog_type == program.prog_type && first.attach_type == program.attach_type;
        let Some(code) = next.machine().filter(|_| id != 0 && alike) else { return };
        let Some(entry) = code.entry(0) else { return };
        let at = id as usize % TAILS;
        self.machine.tails[at] = Tail { id, entry, token: next.token(), bare: code.bare() };
        // The one that it takes the place of may be running.
        if let Some(before) = self.machine.called[at].replace(next.clone()) {
            self.codes.push(before);
        }
    }

    /// The first program of the run for which `is` holds.
    fn program(&self, mut is: impl FnMut(&Native) -> bool) -> Option<&'r Native> {
        if is(self.first) {
            return Some(self.first);
        }
        if let Some(code) = self.codes.find(|c| is(c)) {
            return Some(code);
        }
        let called = self.machine.called.iter().flatten().find(|c| is(c))?;
        Some(self.codes.push(called.clone()))
    }

    /// Gives back what a stopped run holds: its spin lock and its ring buffer records.
    #[cold]
    fn let_go(&mut self) {
        let mut lock = std::mem::take(&mut self.head.lock);
        let mut of = |code: &Native| let_go(std::mem::take(&mut lock), code);
        of(self.first);
        of(self.code);
        self.codes.find(|c| {
            of(c);
            false
        });
    }

    fn error(&self, fault: Fault) -> RunError {
        let program = self.code.program().clone();
        let registers = self.end.as_ref().map_or(Vec::new(), |end| end.registers.clone());
        let text = text(&program, self.at);
        RunError { fault, program, insn: self.at, text, calls: Vec::new(), registers, history: Vec::new() }
    }
}

/// A broken rule.
#[cold]
fn rule(code: &'static str, why: String) -> Fault {
    Fault::Rule { code, why }
}
