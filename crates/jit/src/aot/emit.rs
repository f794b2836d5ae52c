//! The text of a program.
//!
//! A function of the program is a C function of `r1` to `r5` and the head. A register is two variables of the same bits, the
//! number `rN` and the pointer `pN`: each is set with the other, and the compiler keeps what is used. The frame is an array,
//! zero at the beginning, since what has not been written may be read.

use super::Source;
use super::once::{own, reaches_address};
use super::types::{Kind, Kinds, kinds, operand};
use crate::code::{Code, CtxLoad, Last, Step};
use crate::head::{Head, STOP, TAILS, Tail, any_flags};
use skep_isa::{AluOp, AtomicOp, Callee, Cond, Endian, Op, Operand, Reg, Size, Width};
use skep_platform::facts::{Facts, Region, Value};
use std::fmt::Write;
use std::mem::offset_of;

/// Iterations that `may_goto` allows a frame, and most calls of `bpf_loop` (`BPF_MAX_LOOPS`).
const MAX_LOOPS: u32 = 8 << 20;
/// Bytes of a frame (`MAX_BPF_STACK`).
const FRAME: u32 = 512;

/// Where a jump of `off` goes.
pub(super) fn target(pc: usize, off: i32) -> Option<usize> {
    usize::try_from(pc as i64 + 1 + i64::from(off)).ok()
}

/// What all programs of a library share.
pub(super) fn preamble() -> String {
    let field =
        |name: &str, offset: usize, ty: &str| format!("#define {name} (*({ty} *)((char *)h + {offset}))\n");
    let mut out = String::from(include_str!("preamble.h"));
    for (name, offset) in [
        ("H_STOPPED", offset_of!(Head, stopped)),
        ("H_SITE", offset_of!(Head, site)),
        ("H_TOKEN", offset_of!(Head, token)),
        ("H_CTX", offset_of!(Head, ctx)),
        ("H_CTX_LEN", offset_of!(Head, ctx_len)),
        ("H_CPU", offset_of!(Head, cpu)),
        ("H_LOCK", offset_of!(Head, lock)),
        ("H_TAILS_LEFT", offset_of!(Head, tails_left)),
        ("H_TAIL_ID", offset_of!(Head, tail_id)),
        ("H_TAILS", offset_of!(Head, tails)),
    ] {
        out += &field(name, offset, "u64");
    }
    for (name, offset, ty) in [
        ("H_HELPER", offset_of!(Head, helper), "call_fn *"),
        ("H_CALL_REG", offset_of!(Head, call_reg), "call_fn *"),
        ("H_PACKET", offset_of!(Head, packet), "packet_fn *"),
        ("H_ANY", offset_of!(Head, any), "any_fn *"),
        ("H_TRAP", offset_of!(Head, trap), "trap_fn *"),
    ] {
        out += &field(name, offset, ty);
    }
    out
}

/// Writes a program.
pub(super) fn source(code: &Code, facts: &Facts) -> Result<Source, usize> {
    let stops = code.steps.iter().any(stops);
    let mut e =
        Emit { code, facts, out: String::new(), addresses: Vec::new(), stops, function: Function::default() };
    let ends = code.functions.iter().skip(1).copied().chain([code.steps.len()]);
    let functions: Vec<(usize, usize)> = code.functions.iter().copied().zip(ends).collect();
    for (start, _) in &functions {
        let _ = writeln!(e.out, "static u64 NAME(f{start})(u64, u64, u64, u64, u64, void *);");
    }
    for (start, end) in &functions {
        e.function(*start, *end)?;
    }
    Ok(Source { text: e.out, addresses: e.addresses, functions: code.functions.clone() })
}

/// May the step end the run?
fn stops(step: &Step) -> bool {
    match step {
        Step::Op(op) => matches!(op, Op::Call(Callee::Reg(_))),
        Step::Helper { .. } | Step::Tail { .. } | Step::Lock { .. } | Step::Trap { .. } => true,
        Step::AnyLoad { .. } | Step::AnyStore { .. } => true,
        _ => false,
    }
}

/// The function that is written.
#[derive(Default)]
struct Function {
    start: usize,
    kinds: Vec<Kinds>,
    /// Words of the table that it uses.
    words: Vec<usize>,
}

struct Emit<'c> {
    code: &'c Code,
    facts: &'c Facts,
    out: String,
    addresses: Vec<u64>,
    /// Something in the program may end the run.
    stops: bool,
    function: Function,
}

/// A line of the function.
macro_rules! put {
    ($e:expr, $($arg:tt)*) => {{
        let _ = writeln!($e.out, "\t{}", format_args!($($arg)*));
    }};
}

fn bits(size: Size) -> usize {
    size.bytes() * 8
}

/// The number in a register.
fn r(r: Reg) -> String {
    match r.index() {
        10 => "(u64)p10".into(),
        i => format!("r{i}"),
    }
}

/// The pointer in a register.
fn p(r: Reg) -> String {
    format!("p{}", r.index())
}

fn imm(width: Width, i: i32) -> String {
    match width {
        Width::W64 => format!("{:#x}ull", i64::from(i) as u64),
        Width::W32 => format!("{:#x}u", i as u32),
    }
}

/// An operand of an operation of a width.
fn value(width: Width, src: Operand) -> String {
    match (width, src) {
        (_, Operand::Imm(i)) => imm(width, i),
        (Width::W64, Operand::Reg(s)) => r(s),
        (Width::W32, Operand::Reg(s)) => format!("(u32){}", r(s)),
    }
}

impl Emit<'_> {
    /// The word of the table with an address, as an expression: a variable of the function, which no store can change.
    fn address(&mut self, address: u64) -> String {
        let known = self.addresses.iter().position(|a| *a == address);
        let at = known.unwrap_or_else(|| {
            self.addresses.push(address);
            self.addresses.len() - 1
        });
        if !self.function.words.contains(&at) {
            self.function.words.push(at);
        }
        format!("w{at}")
    }

    fn function(&mut self, start: usize, end: usize) -> Result<(), usize> {
        self.function = Function { start, kinds: kinds(self.code, start, end), words: Vec::new() };
        let steps = &self.code.steps[start..end];
        let mut lands = vec![false; end - start];
        for (pc, step) in (start..).zip(steps) {
            let off = match step {
                Step::Op(Op::Ja { off, .. }) => *off,
                Step::Op(Op::JumpIf { off, .. } | Op::MayGoto { off }) => (*off).into(),
                _ => continue,
            };
            let at = target(pc, off).and_then(|t| t.checked_sub(start)).ok_or(pc)?;
            *lands.get_mut(at).ok_or(pc)? = true;
        }
        let _ = writeln!(
            self.out,
            "\nstatic u64 NAME(f{start})(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, void *h)\n{{"
        );
        put!(self, "u64 r0 = 0, r6 = 0, r7 = 0, r8 = 0, r9 = 0;");
        put!(self, "char *p0 = 0, *p1 = (char *)r1, *p2 = (char *)r2, *p3 = (char *)r3, *p4 = (char *)r4;");
        put!(self, "char *p5 = (char *)r5, *p6 = 0, *p7 = 0, *p8 = 0, *p9 = 0;");
        let frame = self.frame(start);
        put!(
            self,
            "char frame[{frame}] __attribute__((aligned(16))) = {{ 0 }}, *const p10 = frame + {frame};"
        );
        put!(self, "u32 budget = {MAX_LOOPS};");
        put!(self, "const u64 token = H_TOKEN;");
        let before = std::mem::take(&mut self.out);
        for pc in start..end {
            if lands[pc - start] {
                let _ = writeln!(self.out, "L{pc}:;");
            }
            let step = self.code.steps[pc];
            self.step(step, pc).ok_or(pc)?;
        }
        put!(self, "return r0;");
        let body = std::mem::replace(&mut self.out, before);
        for at in std::mem::take(&mut self.function.words) {
            put!(self, "const u64 w{at} = NAME(words)[{at}];");
        }
        self.out.push_str(&body);
        self.out.push_str("}\n");
        Ok(())
    }

    /// Bytes of a function's frame that are ever touched, as the verifier says.
    fn frame(&self, start: usize) -> u32 {
        let known = self.facts.subprogs.iter().find(|s| s.start == start);
        known.map_or(FRAME, |s| s.stack.next_multiple_of(16).clamp(16, FRAME))
    }

    /// The registers before an instruction of the function.
    fn kinds(&self, pc: usize) -> Kinds {
        self.function.kinds[pc - self.function.start]
    }

    /// How the load at `pc` is done: once, where that matters.
    fn loader(&self, pc: usize, dst: Reg) -> &'static str {
        let Function { start, kinds, .. } = &self.function;
        match own(self.facts, pc) || !reaches_address(self.code, self.facts, kinds, *start, pc, dst) {
            true => "ld",
            false => "once",
        }
    }

    /// Sets a register to a number.
    fn number(&mut self, dst: Reg, v: &str) {
        let d = dst.index();
        put!(self, "r{d} = {v}; p{d} = (char *)r{d};");
    }

    /// Sets a register to a pointer.
    fn pointer(&mut self, dst: Reg, v: &str) {
        let d = dst.index();
        put!(self, "p{d} = {v}; r{d} = (u64)p{d};");
    }

    fn goto(&mut self, condition: &str, pc: usize, off: i32) -> Option<()> {
        let to = target(pc, off)?;
        put!(self, "{condition}goto L{to};");
        Some(())
    }

    fn step(&mut self, step: Step, pc: usize) -> Option<()> {
        let main = self.function.start == 0;
        match step {
            Step::Op(op) => return self.op(op, pc),
            Step::Wide { dst, bits } => match self.code.addresses.binary_search(&pc) {
                Ok(_) => {
                    let word = self.address(bits);
                    self.pointer(dst, &format!("(char *){word}"));
                }
                Err(_) => self.number(dst, &format!("{bits:#x}ull")),
            },
            Step::Second => {}
            Step::Helper { site, tail } => self.helper(site, tail, main),
            Step::Index(i) => {
                let base = self.address(i.base);
                let percpu = percpu(i.percpu);
                let at = format!("(char *){base} + i * {}u{percpu}", i.stride);
                let load = if self.key_is_own(pc) { "ld" } else { "once" };
                put!(self, "{{ const u64 i = {load}32(p2);");
                self.pointer(Reg::R0, &format!("i < {}u ? {at} : 0", i.entries));
                put!(self, "}}");
            }
            Step::Value { addr, percpu: stride } => {
                let base = self.address(addr);
                self.pointer(Reg::R0, &format!("(char *){base}{}", percpu(stride)));
            }
            Step::Direct(d) => {
                let call = self.address(d.call);
                let last = match d.last {
                    Last::Nothing => "0".into(),
                    Last::Cpu => "(u32)H_CPU".into(),
                    Last::Value(v) => self.address(v),
                };
                self.number(Reg::R0, &format!("((routine_fn *){call})(r1, r2, r3, r4, r5, {last})"));
            }
            Step::Cpu => self.number(Reg::R0, "(u32)H_CPU"),
            Step::Lock { site } => {
                put!(self, "if (!take((u32m *)p1)) {{");
                self.helper(site, false, main);
                put!(self, "}}");
                put!(self, "H_LOCK = r1; r0 = 0; p0 = 0;");
            }
            Step::Unlock { .. } => {
                put!(self, "__atomic_store_n((u32m *)p1, 0, __ATOMIC_RELEASE); H_LOCK = 0; r0 = 0; p0 = 0;");
            }
            Step::Tail { ids, entries, site } => self.tail_call(ids, entries, site, main),
            Step::Loop { func, .. } => self.counted_loop(func),
            Step::CtxLoad(l) => self.ctx_load(l),
            Step::CtxStore { dst, disp, size, src } => {
                put!(self, "st{}({} + {disp}, {});", bits(size), p(dst), value(Width::W64, src));
            }
            Step::AnyLoad { size, sx, dst, src, off } => self.any_load(size, sx, dst, src, off),
            Step::AnyStore { size, dst, off, src } => self.any_store(size, dst, off, src),
            Step::PacketLoad { size, imm, index } => self.packet_load(size, imm, index),
            Step::Trap { reason } => {
                put!(self, "H_TRAP(h, {reason}u);");
                put!(self, "return 0;");
            }
        }
        Some(())
    }

    /// Whether the key of a look-up is in the frame.
    fn key_is_own(&self, pc: usize) -> bool {
        matches!(self.facts.call(pc).args[1], Value::Pointer { region: Region::Stack(_), .. })
    }

    fn op(&mut self, op: Op, pc: usize) -> Option<()> {
        match op {
            Op::Alu { op, width, dst, src } => self.alu(op, width, dst, src, &self.kinds(pc)),
            Op::Neg { width: Width::W64, dst } => self.number(dst, &format!("-{}", r(dst))),
            Op::Neg { width: Width::W32, dst } => self.number(dst, &format!("(u32)-(u32){}", r(dst))),
            Op::MovSx { width, bits, dst, src } => {
                let cut = if width == Width::W32 { "(u32)" } else { "(u64)(s64)" };
                self.number(dst, &format!("{cut}(s{bits}){}", r(src)));
            }
            Op::End { kind, bits, dst } => {
                let swap = match kind {
                    Endian::ToLe => "le",
                    Endian::ToBe => "be",
                    Endian::Swap => "swap",
                };
                self.number(dst, &format!("{swap}{bits}((u{bits}){})", r(dst)));
            }
            Op::Load { size, sx, dst, src, off } => {
                let sign = if sx { "s" } else { "" };
                let load = self.loader(pc, dst);
                self.number(dst, &format!("{load}{sign}{}({} + {off})", bits(size), p(src)));
            }
            Op::Store { size, dst, off, src } => {
                put!(self, "st{}({} + {off}, {});", bits(size), p(dst), value(Width::W64, src));
            }
            Op::Atomic { op, width, dst, src, off } => self.atomic(op, width, dst, src, off),
            Op::LoadAcquire { size, dst, src, off } => {
                let b = bits(size);
                self.number(
                    dst,
                    &format!("__atomic_load_n((u{b}m *)({} + {off}), __ATOMIC_ACQUIRE)", p(src)),
                );
            }
            Op::StoreRelease { size, dst, off, src } => {
                let b = bits(size);
                put!(
                    self,
                    "__atomic_store_n((u{b}m *)({} + {off}), (u{b}){}, __ATOMIC_RELEASE);",
                    p(dst),
                    r(src)
                );
            }
            Op::Ja { off, .. } => return self.goto("", pc, off),
            Op::JumpIf { cond, width, dst, src, off } => {
                let condition = condition(cond, width, dst, src);
                return self.goto(&format!("if ({condition}) "), pc, off.into());
            }
            Op::MayGoto { off } => {
                self.goto("if (budget == 0) ", pc, off.into())?;
                put!(self, "budget--;");
            }
            Op::Call(Callee::Local(off)) => {
                let to = target(pc, off)?;
                self.number(Reg::R0, &format!("NAME(f{to})(r1, r2, r3, r4, r5, h)"));
                self.return_if_stopped();
            }
            Op::Call(Callee::Reg(reg)) => {
                put!(
                    self,
                    "{{ H_SITE = {}; const struct outcome o = H_CALL_REG(r1, r2, r3, r4, r5, h);",
                    r(reg)
                );
                put!(self, "  if (o.next) return 0;");
                put!(self, "  r0 = o.r0; p0 = (char *)r0; }}");
            }
            Op::Exit => put!(self, "return r0;"),
            _ => return None,
        }
        Some(())
    }

    fn return_if_stopped(&mut self) {
        if self.stops {
            put!(self, "if (H_STOPPED) return 0;");
        }
    }

    fn alu(&mut self, op: AluOp, width: Width, dst: Reg, src: Operand, k: &Kinds) {
        let (a, b) = (r(dst), value(width, src));
        let (kind, other) = (k[dst.index()], operand(k, src));
        let by_pointer = |kind| matches!(kind, Kind::Pointer | Kind::Either);
        match (op, width, src) {
            (AluOp::Mov, Width::W64, Operand::Reg(s)) => {
                let d = dst.index();
                return put!(self, "p{d} = {}; r{d} = {};", p(s), r(s));
            }
            (AluOp::Mov, ..) => return self.number(dst, &b),
            (AluOp::Add, Width::W64, Operand::Reg(s)) if other == Kind::Pointer && kind != Kind::Pointer => {
                return self.pointer(dst, &format!("{} + {a}", p(s)));
            }
            (AluOp::Add, Width::W64, Operand::Reg(s)) if other == Kind::Either && kind == Kind::Number => {
                return self.pointer(dst, &format!("{} + {a}", p(s)));
            }
            (AluOp::Add, Width::W64, _) if by_pointer(kind) => {
                return self.pointer(dst, &format!("{} + {b}", p(dst)));
            }
            (AluOp::Sub, Width::W64, _) if by_pointer(kind) && other == Kind::Number => {
                return self.pointer(dst, &format!("{} - {b}", p(dst)));
            }
            _ => {}
        }
        let a = if width == Width::W32 { format!("(u32){a}") } else { a };
        let w = if width == Width::W32 { 32 } else { 64 };
        let v = match op {
            AluOp::Add => format!("{a} + {b}"),
            AluOp::Sub => format!("{a} - {b}"),
            AluOp::Mul => format!("{a} * {b}"),
            AluOp::Or => format!("{a} | {b}"),
            AluOp::And => format!("{a} & {b}"),
            AluOp::Xor => format!("{a} ^ {b}"),
            AluOp::Lsh => format!("{a} << ({b} & {})", w - 1),
            AluOp::Rsh => format!("{a} >> ({b} & {})", w - 1),
            AluOp::Arsh => format!("(u{w})((s{w})({a}) >> ({b} & {}))", w - 1),
            AluOp::Div => format!("div{w}({a}, {b})"),
            AluOp::Mod => format!("mod{w}({a}, {b})"),
            AluOp::Sdiv => format!("sdiv{w}({a}, {b})"),
            AluOp::Smod => format!("smod{w}({a}, {b})"),
            AluOp::Mov => b,
        };
        let v = if width == Width::W32 { format!("(u32)({v})") } else { v };
        self.number(dst, &v);
    }

    fn atomic(&mut self, op: AtomicOp, width: Width, dst: Reg, src: Reg, off: i16) {
        let w = if width == Width::W32 { 32 } else { 64 };
        let (at, v) = (format!("(u{w}m *)({} + {off})", p(dst)), format!("(u{w}){}", r(src)));
        let name = match op {
            AtomicOp::Add { .. } => "fetch_add",
            AtomicOp::Or { .. } => "fetch_or",
            AtomicOp::And { .. } => "fetch_and",
            AtomicOp::Xor { .. } => "fetch_xor",
            AtomicOp::Xchg => "exchange_n",
            AtomicOp::Cmpxchg => {
                return self.number(Reg::R0, &format!("exchange{w}({at}, (u{w})r0, {v})"));
            }
        };
        if op.fetches() {
            self.number(src, &format!("__atomic_{name}({at}, {v}, __ATOMIC_SEQ_CST)"));
        } else {
            put!(self, "__atomic_{name}({at}, {v}, __ATOMIC_SEQ_CST);");
        }
    }

    /// Calls a helper; goes on where it says.
    fn helper(&mut self, site: u32, tail: bool, main: bool) {
        put!(self, "{{ H_SITE = {site}; const struct outcome o = H_HELPER(r1, r2, r3, r4, r5, h);");
        if tail {
            put!(self, "  if (o.next == {STOP}) return 0;");
            put!(self, "  if (o.next) {{");
            self.continue_in("o.next", main);
            put!(self, "  }}");
        } else {
            put!(self, "  if (o.next) return 0;");
        }
        put!(self, "  r0 = o.r0; p0 = (char *)r0; }}");
    }

    /// Returns what another program returns.
    fn continue_in(&mut self, entry: &str, main: bool) {
        let call = format!("((entry_fn *){entry})(H_CTX, H_CTX_LEN, 0, 0, 0, h)");
        if main {
            return put!(self, "  TAIL return {call};");
        }
        put!(self, "  const u64 v = {call};");
        put!(self, "  H_TOKEN = token;");
        put!(self, "  return v;");
    }

    /// As the other compilers do it: straight to a program that the run knows; a subprogram always asks.
    fn tail_call(&mut self, ids: u64, entries: u32, site: u32, main: bool) {
        let ids = self.address(ids);
        put!(self, "{{ const u32 i = (u32)r3;");
        put!(self, "  const u64 id = i < {entries}u ? once32((char *){ids} + (u64)i * 4) : 0;");
        put!(self, "  H_TAIL_ID = id;");
        if main {
            let shift = size_of::<Tail>().trailing_zeros();
            let [of_id, of_entry, of_token] =
                [offset_of!(Tail, id), offset_of!(Tail, entry), offset_of!(Tail, token)];
            put!(self, "  char *const t = (char *)H_TAILS + ((id & {}) << {shift});", TAILS - 1);
            put!(self, "  if (ld64(t + {of_id}) == id && H_TAILS_LEFT) {{");
            put!(self, "  H_TAILS_LEFT--; H_TOKEN = ld64(t + {of_token});");
            self.continue_in(&format!("ld64(t + {of_entry})"), main);
            put!(self, "  }}");
        }
        put!(self, "}}");
        self.helper(site, true, main);
    }

    /// `bpf_loop`: the order of the checks is the helper's, flags before the number.
    fn counted_loop(&mut self, func: usize) {
        put!(self, "if (r4) r0 = (u64)-22;");
        put!(self, "else if ((u32)r1 > {MAX_LOOPS}) r0 = (u64)-7;");
        put!(self, "else for (r0 = 0; r0 < (u32)r1;) {{");
        put!(self, "  const u64 v = NAME(f{func})(r0, r3, 0, 0, 0, h);");
        self.return_if_stopped();
        put!(self, "  r0++;");
        put!(self, "  if (v) break;");
        put!(self, "}}");
        put!(self, "p0 = (char *)r0;");
    }

    fn ctx_load(&mut self, l: CtxLoad) {
        let sign = if l.sx { "s" } else { "" };
        let disp = l.disp + i32::from(l.shift / 8);
        self.number(l.dst, &format!("ld{sign}{}({} + {disp})", bits(l.cut), p(l.src)));
    }

    fn any_load(&mut self, size: Size, sx: bool, dst: Reg, src: Reg, off: i16) {
        let (sign, b, d) = (if sx { "s" } else { "" }, bits(size), dst.index());
        put!(self, "{{ char *const at = {} + {off};", p(src));
        put!(self, "  if ((u64)at - H_CTX < {}) {{", self.code.ctx_size);
        put!(
            self,
            "  const struct outcome o = H_ANY(h, (u64)at, {}u, 0);",
            any_flags(size.bytes(), sx, false)
        );
        put!(self, "  if (o.next) return 0;");
        put!(self, "  r{d} = o.r0;");
        put!(self, "  }} else r{d} = once{sign}{b}(at);");
        put!(self, "  p{d} = (char *)r{d}; }}");
    }

    fn any_store(&mut self, size: Size, dst: Reg, off: i16, src: Operand) {
        put!(self, "{{ char *const at = {} + {off}; const u64 v = {};", p(dst), value(Width::W64, src));
        put!(self, "  if ((u64)at - H_CTX < {}) {{", self.code.ctx_size);
        put!(self, "  if (H_ANY(h, (u64)at, {}u, v).next) return 0;", any_flags(size.bytes(), false, true));
        put!(self, "  }} else st{}(at, v); }}", bits(size));
    }

    fn packet_load(&mut self, size: Size, imm: i32, index: Option<Reg>) {
        let (b, n) = (bits(size), size.bytes());
        let index = index.map_or(String::new(), |i| format!(" + (u32){}", r(i)));
        put!(self, "{{ const u32 at = {:#x}u{index};", imm as u32);
        if let Some([data, end]) = self.code.packet {
            put!(self, "  const u64 data = ld64((char *)H_CTX + {data}), end = ld64((char *)H_CTX + {end});");
            put!(self, "  if ((u64)at + {n} <= end - data) r0 = be{b}((u{b})ld{b}((char *)data + at));");
            put!(self, "  else {{");
        } else {
            put!(self, "  {{");
        }
        put!(self, "  const struct outcome o = H_PACKET(h, (s32)at, {n});");
        put!(self, "  if (o.next) return 0;");
        put!(self, "  r0 = o.r0; }} p0 = (char *)r0; }}");
    }
}

/// The part of an address that depends on the CPU.
fn percpu(stride: u64) -> String {
    if stride == 0 { String::new() } else { format!(" + H_CPU * {stride}u") }
}

fn condition(cond: Cond, width: Width, dst: Reg, src: Operand) -> String {
    let (unsigned, signed) = if width == Width::W32 { ("(u32)", "(s32)") } else { ("", "(s64)") };
    let (cast, op) = match cond {
        Cond::Eq => (unsigned, "=="),
        Cond::Ne => (unsigned, "!="),
        Cond::Gt => (unsigned, ">"),
        Cond::Ge => (unsigned, ">="),
        Cond::Lt => (unsigned, "<"),
        Cond::Le => (unsigned, "<="),
        Cond::Sgt => (signed, ">"),
        Cond::Sge => (signed, ">="),
        Cond::Slt => (signed, "<"),
        Cond::Sle => (signed, "<="),
        Cond::Set => return format!("({unsigned}{} & {}) != 0", r(dst), value(width, src)),
    };
    format!("{cast}{} {op} {cast}{}", r(dst), value(width, src))
}
