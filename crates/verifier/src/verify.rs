//! The way through: passes in the kernel's order, and the outcome.

use crate::attach::Attach;
use crate::called::{CalledHelpers, CalledKfuncs};
use crate::cfg::{CallShape, Cfg, live_registers};
use crate::code::Code;
use crate::equal::Ids;
use crate::explain::Explanation;
use crate::fastcall::Fastcall;
use crate::live::{StackLife, Where};
use crate::log::{Log, words};
use crate::machine::{Claims, NO_LIST, Vm, call_shape};
use crate::maps::{FieldKind, MapInfo};
use crate::options::{Options, Stats};
use crate::reject::{Check, Reject, Rule, refuse};
use crate::speculate::Barriers;
use crate::state::{Frame, State};
use crate::value::{Base, Reg};
use skep_isa::{Callee, Imm64, Op};
use skep_platform::helper::Caller;
use skep_platform::map::MapDef;
use skep_platform::{Facts, LineInfo, MapType, Platform, ProgType, Program, Verified};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// A register where a program was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegisterWords {
    /// Its number.
    pub reg: u8,
    /// As the kernel's log writes it.
    pub kernel: String,
    /// In words.
    pub words: String,
}

/// Why a program was refused, where, and what the work was.
#[derive(Clone)]
pub struct Rejection {
    /// The program.
    pub program: Arc<Program>,
    /// How it was judged.
    pub options: Options,
    /// The rule broken and the kernel's phrases.
    pub reject: Reject,
    /// Instruction, when the refusal belongs to one.
    pub insn: Option<usize>,
    /// Source position of it.
    pub line: Option<LineInfo>,
    /// Registers that the instruction uses, before it.
    pub registers: Vec<RegisterWords>,
    /// Instructions by which the innermost frames were entered, outermost first.
    pub calls: Vec<usize>,
    /// What was counted.
    pub stats: Stats,
    /// The log, in the kernel's format.
    pub log: String,
}

impl Rejection {
    /// Rule broken.
    pub fn rule(&self) -> Rule {
        self.reject.rule
    }

    /// The kernel's main phrase.
    pub fn message(&self) -> &str {
        &self.reject.message
    }

    /// Why, in full: see [`crate::explain::explain`]. Cost: some times that of the verdict.
    pub fn explain(&self, platform: &Platform) -> Explanation {
        crate::explain::explain(&self.program, platform, &self.options, self.stats.insns)
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rejection of {}: {self}", self.program.name)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.reject.message, self.reject.rule.name())?;
        if let Some(i) = self.insn {
            write!(f, " at instruction {i}")?;
        }
        if let Some(l) = &self.line {
            write!(f, " ({}:{}:{})", l.file, l.line, l.col)?;
        }
        for r in &self.registers {
            write!(f, "\n  r{} holds {}", r.reg, r.words)?;
        }
        write!(f, "\n  rule: {}", self.reject.rule.doc())
    }
}

impl std::error::Error for Rejection {}

/// An accepted program with what was counted and logged.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The program with what was proved of it.
    pub verified: Verified,
    /// What was counted.
    pub stats: Stats,
    /// The log, in the kernel's format.
    pub log: String,
}

/// Judges a program. Fails with the first rule that it breaks. Time grows with the instructions walked, at most
/// [`crate::Limits::insns`].
///
/// ```no_run
/// # fn f(program: std::sync::Arc<skep_verifier::Program>, platform: skep_verifier::Platform) {
/// match skep_verifier::verify(&program, &platform, &skep_verifier::Options::default()) {
///     Ok(verified) => println!("accepted, {} bytes of stack", verified.facts().stack_depth),
///     Err(why) => println!("{why}"),
/// }
/// # }
/// ```
pub fn verify(
    program: &Arc<Program>,
    platform: &Platform,
    options: &Options,
) -> Result<Verified, Box<Rejection>> {
    verify_full(program, platform, options).map(|o| o.verified)
}

/// [`verify`] with what was counted and logged in both outcomes.
pub fn verify_full(
    program: &Arc<Program>,
    platform: &Platform,
    options: &Options,
) -> Result<Outcome, Box<Rejection>> {
    let started = Instant::now();
    let mut vm = match prepare(program, platform, options) {
        Ok(vm) => vm,
        Err(reject) => return Err(early(program, options, *reject, started)),
    };
    let result = vm.judge();
    vm.stats.time = started.elapsed();
    if result.is_ok() {
        vm.log_end(None);
    }
    match result {
        Ok(facts) => {
            #[allow(unsafe_code, reason = "the one door by which programs become verified")]
            // SAFETY: `judge` has walked every path of the program, or found it covered by one that was walked, and
            // refused nothing; `facts` are what it counted on the way.
            let verified = unsafe { Verified::assume(program.clone(), facts) };
            Ok(Outcome { verified, stats: vm.stats, log: vm.log.text() })
        }
        Err(reject) => Err(vm.rejection(program, *reject)),
    }
}

/// The verdict alone, for tests that hold its claims against what happens: `claim` is told the state before every walked
/// instruction, and a path ends only where a kept state covers it in all that is known, dead registers and slots
/// included. So every state of a run lies in one of the claims at its instruction. More states are kept and more
/// instructions walked than for a verdict.
pub fn verify_claims(
    program: &Arc<Program>,
    platform: &Platform,
    options: &Options,
    claim: &mut dyn FnMut(&State),
) -> Result<(), Box<Rejection>> {
    let started = Instant::now();
    let mut vm = prepare(program, platform, options).map_err(|r| early(program, options, *r, started))?;
    vm.claims = Some(Claims(claim));
    vm.judge().map(drop).map_err(|reject| vm.rejection(program, *reject))
}

fn early(program: &Arc<Program>, options: &Options, reject: Reject, started: Instant) -> Box<Rejection> {
    let stats = Stats { time: started.elapsed(), ..Stats::default() };
    let mut log = reject.lines().fold(String::new(), |s, l| s + l + "\n");
    if options.log_level > 0 {
        log += &crate::log::work(&stats);
    }
    Box::new(Rejection {
        program: program.clone(),
        options: options.clone(),
        reject,
        insn: None,
        line: None,
        registers: Vec::new(),
        calls: Vec::new(),
        stats,
        log,
    })
}

pub(crate) fn prepare<'a>(
    program: &'a Arc<Program>,
    platform: &'a Platform,
    options: &'a Options,
) -> Check<Vm<'a>> {
    let Some(desc) = platform.prog_type(program.prog_type) else {
        refuse!(Load, "program type {:?} is not known", program.prog_type);
    };
    if program.insns.is_empty() {
        refuse!(Load, "the program is empty");
    }
    let kernel = program.kernel_btf.clone();
    let attach = Attach::of(program, kernel.as_deref(), options)?;
    let caller = Caller {
        prog_type: program.prog_type,
        attach: program.attach_type,
        struct_ops: program.attach_target.as_deref().and_then(|t| t.split('/').next()),
        sleepable: program.sleepable,
        version: options.as_kernel.unwrap_or(platform.version),
    };
    let tail = |id: i32| u32::try_from(id).ok().and_then(|i| platform.helper(i)).is_some_and(|h| h.tail_call);
    let lacks = crate::versions::Lacks::new(caller.version);
    let maps = map_infos(program);
    lacks.program(program, platform, desc, &maps)?;
    let mut code = Code::new(program, tail)?;
    code.resolve(&program.insns)?;
    crate::modes::open_to(options.mode, desc, &code, &program.insns)?;
    let kfuncs = CalledKfuncs::new(&code, kernel.as_deref(), platform);
    kernel_functions(&code, kernel.as_deref(), &kfuncs)?;
    kernel_variables(&code, kernel.as_deref(), options)?;
    resolve_maps(&code, &maps, program.prog_type)?;
    arena(&code, &maps, options.mode)?;
    let shapes = RefCell::new(Vec::<(Callee, CallShape)>::new());
    let shape = |op: &Op| {
        let Op::Call(callee @ (Callee::Helper(_) | Callee::Kfunc { .. })) = *op else {
            return call_shape(platform, &caller, &kfuncs, op);
        };
        if let Some((_, s)) = shapes.borrow().iter().find(|(c, _)| *c == callee) {
            return *s;
        }
        let s = call_shape(platform, &caller, &kfuncs, op);
        shapes.borrow_mut().push((callee, s));
        s
    };
    let mut cfg = Cfg::new(&mut code, &shape)?;
    for (at, _) in &program.poisoned {
        if let Some(m) = cfg.marks.get_mut(*at) {
            m.poisoned = true;
        }
    }
    let live_regs = live_registers(&code, &cfg, &shape);
    let life = StackLife::new(&code, &cfg);
    let called = CalledHelpers::new(&code, platform, &caller);
    let fastcall = match lacks.ability("fastcall") {
        true => Fastcall::default(),
        false => Fastcall::new(program, &code, platform, &caller, &kfuncs),
    };
    let backward = crate::precise::Backward::table(&code.slots);
    let n = code.len();
    let funcs = code.funcs.len();
    let cur = State::new(Frame::new(0, usize::MAX, 0), 0, program.sleepable);
    Ok(Vm {
        program,
        platform,
        options,
        desc,
        layout: desc.layout(program.attach_type),
        code: Rc::new(code),
        cfg: Rc::new(cfg),
        live_regs,
        maps,
        kernel,
        own: program.btf.clone(),
        backward,
        cur,
        prev: None,
        ids: 0,
        kept: Vec::new(),
        states: Vec::new(),
        free: Vec::new(),
        at: vec![NO_LIST; n],
        lists: Vec::new(),
        pending: Vec::new(),
        loops: Vec::new(),
        loop_of: HashMap::new(),
        open_edges: 0,
        doomed: Vec::new(),
        life,
        here: Where::default(),
        there: Where::default(),
        same_ids: Ids::default(),
        marks: 0,
        hist_open: false,
        jumps: 0,
        last_jumps: 0,
        last_insns: 0,
        stats: Stats::default(),
        log: Log::new(options.log_level),
        trace: None,
        seen: vec![false; n],
        facts: crate::facts::Gathered::new(n),
        depths: vec![0; funcs],
        fastcall,
        global_checked: vec![false; funcs],
        global_called: vec![false; funcs],
        missing_kfunc: false,
        access_kind: vec![0; n],
        called,
        kfuncs,
        claims: None,
        masking: HashMap::new(),
        lacks,
        barriers: if options.mode.trusted() { Barriers::default() } else { Barriers::new(n) },
        own_fields: RefCell::default(),
        names: HashMap::new(),
        attach,
    })
}

/// Calls of kernel functions name functions, reached or not (`add_kfunc_call`).
fn kernel_functions(code: &Code, kernel: Option<&skep_btf::Btf>, kfuncs: &CalledKfuncs) -> Check {
    for pc in 0..code.len() {
        let Some(Op::Call(Callee::Kfunc { id, off })) = code.op(pc) else { continue };
        if *id == 0 {
            continue;
        }
        let Some(b) = kernel.filter(|_| *off == 0) else { continue };
        if b.kind_of(*id as u32) != Some(skep_btf::Kind::Func) {
            refuse!(Kfunc, "kernel btf_id {id} is not a function");
        }
        let row = kfuncs.get(*id).and_then(|k| k.row);
        if row.is_some_and(|k| k.kind == skep_platform::KfuncKind::DeviceBound) {
            refuse!(Kfunc, "metadata kfuncs require device-bound program");
        }
    }
    Ok(())
}

/// Variables have an address in kernels that list the symbols of data (`check_pseudo_btf_id`).
fn kernel_variables(code: &Code, kernel: Option<&skep_btf::Btf>, options: &Options) -> Check {
    let Some(b) = kernel.filter(|_| options.config_has("KALLSYMS_ALL") == Some(false)) else { return Ok(()) };
    for pc in 0..code.len() {
        let Some(Op::LoadImm64 { imm: Imm64::BtfId { id, .. }, .. }) = code.op(pc) else { continue };
        if b.kind_of(*id as u32) == Some(skep_btf::Kind::Var) {
            let name = b.name_of(*id as u32);
            let phrase = format!("ldimm64 failed to find the address for kernel symbol '{name}'.");
            let mut e = Reject::new(Rule::TypeInfo, phrase);
            e.after.push("the kernel is built without CONFIG_KALLSYMS_ALL".into());
            return Err(e);
        }
    }
    Ok(())
}

/// The program's maps, then the descriptions of inner maps.
fn map_infos(program: &Program) -> Vec<MapInfo> {
    let mut maps: Vec<MapInfo> =
        program.maps.iter().map(|m| MapInfo::new(m.def().clone(), Some(m.clone()))).collect();
    for i in 0..maps.len() {
        let inner: Option<MapDef> = maps[i].def.inner.as_deref().cloned();
        if let Some(def) = inner {
            maps[i].inner = Some(maps.len() as u16);
            maps.push(MapInfo::new(def, None));
        }
    }
    maps
}

/// 64-bit loads of maps refer to maps that are there (`resolve_pseudo_ldimm64`).
fn resolve_maps(code: &Code, maps: &[MapInfo], prog: ProgType) -> Check {
    for pc in 0..code.len() {
        let Some(Op::LoadImm64 { imm, .. }) = code.op(pc) else { continue };
        let Some((index, off)) = Code::map_ref(imm) else { continue };
        let bound = matches!(imm, Imm64::MapIdx(_) | Imm64::MapIdxValue { .. });
        let map = usize::try_from(index).ok().and_then(|i| maps.get(i)).filter(|_| bound);
        let Some(map) = map else { refuse!(MapBinding, "fd {index} is not pointing to valid bpf_map") };
        fields_allowed(map, prog)?;
        let Some(off) = off else { continue };
        if off >= 1 << 29 {
            refuse!(MapBinding, "direct value offset of {off} is not allowed");
        }
        if map.kind() == MapType::Arena {
            continue;
        }
        if !matches!(map.kind(), MapType::Array) {
            refuse!(MapBinding, "no direct value access support for this map type");
        }
        let size = map.value_size();
        if map.def.max_entries != 1 || off >= size {
            refuse!(MapBinding, "invalid access to map value pointer, value_size={size} off={off}");
        }
    }
    Ok(())
}

/// One arena a program, for loaders to whom addresses are no secret.
fn arena(code: &Code, maps: &[MapInfo], mode: crate::options::Mode) -> Check {
    let mut seen = None;
    for pc in 0..code.len() {
        let Some(Op::LoadImm64 { imm, .. }) = code.op(pc) else { continue };
        let Some((index, _)) = Code::map_ref(imm) else { continue };
        let arena =
            usize::try_from(index).ok().and_then(|i| maps.get(i)).filter(|m| m.kind() == MapType::Arena);
        if arena.is_none() {
            continue;
        }
        if seen.is_some_and(|s| s != index) {
            refuse!(MapBinding, "Only one arena per program");
        }
        seen = Some(index);
        if !mode.trusted() {
            refuse!(MapBinding, "CAP_BPF and CAP_PERFMON are required to use arena");
        }
    }
    Ok(())
}

/// Special fields that programs of some types may not even have a map with (`check_map_prog_compatibility`).
fn fields_allowed(map: &MapInfo, prog: ProgType) -> Check {
    use FieldKind as F;
    let tracing = crate::special::is_tracing(prog);
    let has = |kinds: &[F]| kinds.iter().any(|k| map.field(*k).is_some());
    if tracing && has(&[F::ListHead, F::RbRoot]) {
        refuse!(SpecialField, "tracing progs cannot use bpf_{{list_head,rb_root}} yet");
    }
    if has(&[F::SpinLock, F::ResSpinLock]) && prog == ProgType::SocketFilter {
        refuse!(Lock, "socket filter progs cannot use bpf_spin_lock yet");
    }
    if tracing && has(&[F::SpinLock, F::ResSpinLock]) {
        refuse!(Lock, "tracing progs cannot use bpf_spin_lock yet");
    }
    if tracing && has(&[F::Timer]) {
        refuse!(SpecialField, "tracing progs cannot use bpf_timer yet");
    }
    if tracing && has(&[F::WorkQueue]) {
        refuse!(SpecialField, "tracing progs cannot use bpf_wq yet");
    }
    Ok(())
}

impl Vm<'_> {
    pub(crate) fn judge(&mut self) -> Check<Facts> {
        self.abnormal_returns()?;
        self.log_begin();
        self.log_signature();
        self.main_entry();
        self.run()?;
        if let Some(f) = self.code.exception_callback {
            self.judge_exception(f)?;
            self.global_checked[f] = true;
        }
        self.globals()?;
        let unknown = self.kernel.is_none();
        let foreign = |op: &Op| matches!(op, Op::Call(Callee::Kfunc { id, off }) if (*id == 0 && *off != 0) || (*id != 0 && unknown));
        if (0..self.code.len()).any(|pc| self.code.op(pc).is_some_and(foreign)) && !self.missing_kfunc {
            refuse!(Kfunc, "failed to find BTF for kernel function");
        }
        if self.missing_kfunc {
            refuse!(Kfunc, "invalid kernel function call not eliminated in verifier pass");
        }
        let depth = self.check_depth()?;
        self.stats.stack_depth = depth;
        Ok(self.finish_facts(depth))
    }

    fn main_entry(&mut self) {
        *self.cur.reg_mut(1) = Reg::pointer(Base::Ctx);
    }

    /// Global functions that something has called are judged by their signatures.
    fn globals(&mut self) -> Check {
        loop {
            let next = (1..self.code.funcs.len())
                .find(|f| self.code.funcs[*f].global && self.global_called[*f] && !self.global_checked[*f]);
            let Some(f) = next else { return Ok(()) };
            self.global_checked[f] = true;
            self.judge_global(f)?;
        }
    }

    fn rejection(&mut self, program: &Arc<Program>, reject: Reject) -> Box<Rejection> {
        let pc = self.cur.insn;
        let late = matches!(reject.rule, Rule::StackDepth);
        let insn = (!late && pc < self.code.len()).then_some(pc);
        let uses = insn.and_then(|pc| self.code.op(pc)).map(|op| op.uses());
        let registers = uses.into_iter().flat_map(|u| u.iter().collect::<Vec<_>>()).map(|r| {
            let reg = self.cur.reg(r.index());
            RegisterWords {
                reg: r.index() as u8,
                kernel: self.reg_text(reg, self.cur.depth()),
                words: words(reg),
            }
        });
        let registers = registers.collect();
        self.log_end(Some(&reject));
        let log = if self.options.log_level > 0 {
            self.log.text()
        } else {
            reject.lines().fold(String::new(), |s, l| s + l + "\n")
        };
        Box::new(Rejection {
            program: program.clone(),
            options: self.options.clone(),
            reject,
            insn,
            line: insn.and_then(|i| self.program.line_at(i)).cloned(),
            registers,
            calls: self.cur.frames.iter().skip(1).map(|f| f.callsite).collect(),
            stats: self.stats,
            log,
        })
    }
}
