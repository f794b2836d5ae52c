//! The kernel's log: states, instructions and what happens on the way, in the format of Linux 6.18
//! (kernel/bpf/log.c, and the places in kernel/bpf/verifier.c that write to it).
//!
//! Level 1 has the path being walked and drops those of finished branches; level 2 has all, with the functions, the live
//! registers, the marking of numbers that must be exact, and the loops. Level 0 costs nothing. What the kernel logs of its
//! stack analysis is left out: it depends on the order in which that works.
//!
//! A line of an instruction ends with the registers and slots that it concerned, once the next one begins: they are
//! collected in masks meanwhile.

use crate::machine::Vm;
use crate::options::Stats;
use crate::reject::Reject;
use crate::state::{Byte, Frame, Place, Places, State, StateId};
use crate::tnum::Tnum;
use crate::value::{ADD_CONST, Base, Dynptr, Flags, Reg};
use skep_btf::Btf;
use skep_isa::disasm::{Names, Notation};
use skep_isa::{AtomicOp, Op};
use skep_platform::Platform;
use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

/// Names of helpers and kernel functions.
pub(crate) struct LogNames<'a> {
    pub(crate) platform: &'a Platform,
    pub(crate) kernel: Option<&'a Btf>,
}

impl Names for LogNames<'_> {
    fn helper(&self, id: i32) -> Option<Cow<'_, str>> {
        self.platform.helper(u32::try_from(id).ok()?).map(|h| Cow::Borrowed(h.name))
    }

    fn kfunc(&self, id: i32, _off: i16) -> Option<Cow<'_, str>> {
        self.kernel.map(|b| Cow::Borrowed(b.name_of(id as u32)))
    }
}

/// The log being written.
#[derive(Debug, Default)]
pub(crate) struct Log {
    level: u8,
    text: String,
    /// Registers and slots of the innermost frame that the state printed next shows.
    regs: u16,
    slots: u64,
    /// Where the line of the last instruction ended, and its length; 0: nothing.
    insn_end: usize,
    insn_len: usize,
    /// Source line printed last.
    line: Option<(Arc<str>, u32)>,
    /// The whole state is printed before the next instruction.
    whole: bool,
}

/// Columns of an instruction before its state: at least this many, then multiples of [`STEP`].
const COLUMNS: usize = 40;
const STEP: usize = 8;

impl Log {
    /// A log of a level.
    pub(crate) fn new(level: u8) -> Log {
        Log { level, regs: u16::MAX, slots: u64::MAX, ..Log::default() }
    }

    /// Is anything written?
    #[inline]
    pub(crate) fn on(&self) -> bool {
        self.level > 0
    }

    /// Is everything written?
    #[inline]
    pub(crate) fn all(&self) -> bool {
        self.level > 1
    }

    /// What was written.
    pub(crate) fn text(&self) -> String {
        self.text.clone()
    }

    /// Where a branch begins.
    pub(crate) fn mark(&self) -> usize {
        self.text.len()
    }

    /// A slot was written or read.
    #[inline]
    pub(crate) fn touch_slot(&mut self, spi: usize) {
        self.slots |= 1 << spi;
    }

    /// Everything is new: another frame, another branch.
    pub(crate) fn touch_all(&mut self) {
        (self.regs, self.slots) = (u16::MAX, u64::MAX);
    }

    /// The next state is printed whole: after a return.
    pub(crate) fn whole_state(&mut self) {
        self.whole = true;
    }

    /// A finished path is left for a waiting branch.
    pub(crate) fn branch(&mut self, mark: usize) {
        if self.level == 1 {
            self.text.truncate(mark);
            self.insn_end = 0;
        }
        self.touch_all();
        self.whole = true;
    }

    /// A line of its own.
    pub(crate) fn line(&mut self, line: &str) {
        if self.level > 0 {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }
}

impl Vm<'_> {
    fn notation(&self) -> LogNames<'_> {
        LogNames { platform: self.platform, kernel: self.kernel.as_deref() }
    }

    /// `(b7) r1 = 0`.
    pub(crate) fn log_op(&self, pc: usize) -> String {
        let opcode = self.program.insns.get(pc).map_or(0, |i| i.opcode());
        let names = self.notation();
        let text = match self.code.op(pc) {
            Some(Op::LoadImm64 { dst, imm: skep_isa::Imm64::Func(off) }) => {
                format!("r{} = {off:#x}", dst.index())
            }
            // Where the kernel has an address.
            Some(Op::LoadImm64 { dst, imm }) if !matches!(imm, skep_isa::Imm64::Value(_)) => {
                format!("r{} = 0x0", dst.index())
            }
            Some(op) => op.text(pc, &names, Notation::Kernel).to_string(),
            None => String::new(),
        };
        format!("({opcode:02x}) {text}")
    }

    /// Functions and live registers, before the first step.
    pub(crate) fn log_begin(&mut self) {
        if !self.log.all() {
            return;
        }
        let mut t = String::new();
        for (i, f) in self.code.funcs.iter().enumerate() {
            let _ = writeln!(t, "func#{i} @{}", f.start);
        }
        t.push_str("Live regs before insn:\n");
        for pc in (0..self.code.len()).filter(|pc| self.code.op(*pc).is_some()) {
            match self.cfg.marks[pc].scc {
                0 => t.push_str("    "),
                scc => {
                    let _ = write!(t, "{scc:3} ");
                }
            }
            let live = self.live_regs[pc];
            let regs: String =
                (0..10u8).map(|r| if live >> r & 1 == 1 { (b'0' + r) as char } else { '.' }).collect();
            let _ = writeln!(t, "{pc:3}: {regs} {}", self.log_op(pc));
        }
        self.log.text.push_str(&t);
    }

    /// What the kernel says of the main program's own signature, which decides nothing.
    pub(crate) fn log_signature(&mut self) {
        if !self.log.on() || self.own.is_none() || self.code.funcs.first().is_none_or(|f| f.btf_id == 0) {
            return;
        }
        if let Err(why) = self.signature(0) {
            why.lines().for_each(|l| self.log.line(l));
        }
    }

    /// The instruction about to be walked, after the state that the one before it left.
    #[inline]
    pub(crate) fn log_insn(&mut self, pc: usize) {
        if self.log.on() {
            self.write_insn(pc);
        }
    }

    fn write_insn(&mut self, pc: usize) {
        if self.log.all() && self.log.whole {
            let prev = self.prev.map_or(-1, |p| p as i64);
            let state = self.state_text(&self.cur, self.cur.depth());
            let _ = writeln!(self.log.text, "\nfrom {prev} to {pc}{}:{state}", guessed(self.cur.speculative));
        }
        self.log.whole = false;
        self.log_touched(pc);
        if let Some(l) = self.program.line_at(pc)
            && self.log.line.as_ref().is_none_or(|(file, line)| *file != l.file || *line != l.line)
        {
            let file = l.file.rsplit('/').next().unwrap_or(&l.file);
            let _ = writeln!(self.log.text, "; {} @ {file}:{}", l.text.trim_start(), l.line);
            self.log.line = Some((l.file.clone(), l.line));
        }
        let line = format!("{pc}: {}\n", self.log_op(pc));
        self.log.insn_len = line.len();
        self.log.text.push_str(&line);
        self.log.insn_end = self.log.text.len();
        if let Some(op) = self.code.op(pc) {
            self.log.regs |= named(op);
        }
    }

    /// Registers and slots concerned since the last time: at the end of the instruction's line, or on a line of their own
    /// where something was written in between.
    #[inline]
    pub(crate) fn log_touched(&mut self, pc: usize) {
        if self.log.on() {
            self.write_touched(pc);
        }
    }

    fn write_touched(&mut self, pc: usize) {
        let (regs, slots) = (self.log.regs, self.log.slots);
        if regs == 0 && slots == 0 {
            return;
        }
        let state = self.masked_text(&self.cur, self.cur.depth(), regs, slots, &Places::default());
        (self.log.regs, self.log.slots) = (0, 0);
        let log = &mut self.log;
        if log.insn_end != 0 && log.insn_end == log.text.len() {
            log.text.pop();
            let len = log.insn_len;
            let width = (len + STEP / 2).max(COLUMNS).next_multiple_of(STEP) - len - 1;
            let _ = writeln!(log.text, "{:width$};{state}", "");
        } else {
            let _ = writeln!(log.text, "{pc}:{state}");
        }
    }

    /// A kept state covers this one.
    pub(crate) fn log_safe(&mut self, pc: usize) {
        if !self.log.on() {
            return;
        }
        let prev = self.prev.map_or(-1, |p| p as i64);
        let _ = match self.log.whole {
            true => writeln!(self.log.text, "\nfrom {prev} to {pc}{}: safe", guessed(self.cur.speculative)),
            false => writeln!(self.log.text, "{pc}: safe"),
        };
    }

    /// A call has opened a frame.
    pub(crate) fn log_entered(&mut self) {
        if self.log.on() {
            let top = self.cur.depth();
            let (caller, callee) = (self.state_text(&self.cur, top - 1), self.state_text(&self.cur, top));
            let _ = writeln!(self.log.text, "caller:\n{caller}\ncallee:\n{callee}");
        }
        self.log.touch_all();
    }

    /// A frame, as it was, has been left for the caller, which goes on at `to`.
    pub(crate) fn log_left(&mut self, callee: &Frame, to: usize) {
        if self.log.on() {
            let mut before = self.cur.clone();
            before.frames.push(callee.clone());
            let callee = self.state_text(&before, before.depth());
            let caller = self.state_text(&self.cur, self.cur.depth());
            let _ = writeln!(self.log.text, "returning from callee:\n{callee}\nto caller at {to}:\n{caller}");
        }
        self.log.whole_state();
    }

    /// What a refusal says, and the work done.
    pub(crate) fn log_end(&mut self, why: Option<&Reject>) {
        if !self.log.on() {
            return;
        }
        for l in why.into_iter().flat_map(Reject::lines) {
            self.log.line(l);
        }
        self.log.text.push_str(&work(&self.stats));
    }

    /// A whole frame of a state.
    pub(crate) fn state_text(&self, st: &State, frame: usize) -> String {
        self.masked_text(st, frame, u16::MAX, u64::MAX, &Places::default())
    }

    /// A whole frame of a kept state.
    pub(crate) fn kept_text(&self, id: StateId, frame: usize) -> String {
        let k = &self.states[id as usize];
        self.masked_text(&k.state, frame, u16::MAX, u64::MAX, &k.precise)
    }

    /// Registers and slots of a frame of a state.
    fn masked_text(&self, st: &State, frame: usize, regs: u16, slots: u64, precise: &Places) -> String {
        let precise = |index: usize, slot| {
            let at = Place { frame: frame as u8, index: index as u8, slot };
            if precise.has(&at) { "P" } else { "" }
        };
        let Some(f) = st.frames.get(frame) else { return String::new() };
        let mut s = String::new();
        if frame > 0 {
            let _ = write!(s, " frame{frame}:");
        }
        for (i, r) in f.regs.iter().enumerate() {
            if regs >> i & 1 == 1 && r.base != Base::NotInit {
                let _ = write!(s, " R{i}={}{}", precise(i, false), self.reg_text(r, frame));
            }
        }
        let mut i = 0;
        while i < f.stack.len() {
            if slots >> i & 1 == 1 {
                i = self.slot_text(f, i, frame, precise(i, true), &mut s);
            }
            i += 1;
        }
        for (i, r) in st.refs.iter().filter(|r| r.id != 0).enumerate() {
            let _ = write!(s, "{}{}", if i == 0 { " refs=" } else { "," }, r.id);
        }
        if f.callback {
            s.push_str(" cb");
        }
        if f.async_callback {
            s.push_str(" async_cb");
        }
        s
    }

    /// One slot, or the two of a dynptr; the index of the last one.
    fn slot_text(&self, f: &Frame, i: usize, frame: usize, precise: &str, s: &mut String) -> usize {
        let slot = &f.stack[i];
        if slot.bytes.iter().all(|b| *b == Byte::Invalid) {
            return i;
        }
        let types: String = slot.bytes.iter().map(|b| letter(*b)).collect();
        let at = |i: usize| -8 * (i as i64 + 1);
        match slot.bytes[7] {
            Byte::Spill => {
                let above = types.trim_end_matches('r');
                let _ = write!(s, " fp{}={above}{precise}{}", at(i), self.reg_text(&slot.reg, frame));
            }
            Byte::Dynptr => {
                let i = i + 1;
                let Some(main) = f.stack.get(i) else { return i };
                let kind =
                    if let Base::DynptrSlot(d, _) = main.reg.base { dynptr_name(d) } else { "<invalid>" };
                let mut parts = Vec::new();
                // Under the last name the kernel prints that this is the first slot.
                for (name, id) in [("id", main.reg.id), ("ref_id", main.reg.ref_id), ("dynptr_id", 1)] {
                    if id != 0 {
                        parts.push(format!("{name}={id}"));
                    }
                }
                let _ = write!(s, " fp{}=dynptr_{kind}({})", at(i), parts.join(","));
                return i;
            }
            Byte::Iter => {
                let Base::IterSlot { ty, active, first: true, depth } = slot.reg.base else { return i };
                let name = self.kernel.as_ref().map_or("", |b| b.name_of(ty));
                let name = name.strip_prefix("bpf_iter_").unwrap_or(name);
                let state = if active { "active" } else { "drained" };
                let id = slot.reg.ref_id;
                let _ = write!(s, " fp{}=iter_{name}(ref_id={id},state={state},depth={depth})", at(i));
            }
            _ => {
                let _ = write!(s, " fp{}={types}", at(i));
            }
        }
        i
    }

    /// A register of a frame.
    pub(crate) fn reg_text(&self, r: &Reg, frame: usize) -> String {
        if r.is_scalar()
            && let Some(v) = r.val.as_const()
        {
            return signed(v as i64);
        }
        let mut s = r.type_name();
        match r.base {
            Base::Arena => return s,
            Base::Stack(f) => {
                if f as usize != frame {
                    let _ = write!(s, "[{f}]");
                }
                if let Some(v) = r.val.as_const() {
                    return s + &signed(v as i64 + i64::from(r.off));
                }
            }
            Base::Btf(t) => s.push_str(self.btf_name(t)),
            _ => {}
        }
        s.push('(');
        s.push_str(&self.attributes(r).join(","));
        s.push(')');
        s
    }

    fn attributes(&self, r: &Reg) -> Vec<String> {
        let mut parts = Vec::new();
        if r.id != 0 {
            let plus = if r.id & ADD_CONST != 0 { format!("{:+}", r.off) } else { String::new() };
            parts.push(format!("id={}{plus}", r.id & !ADD_CONST));
        }
        if r.ref_id != 0 {
            parts.push(format!("ref_obj_id={}", r.ref_id));
        }
        if r.flags.has(Flags::NON_OWN) {
            parts.push("non_own_ref".into());
        }
        if let Base::MapPtr(m) | Base::MapValue(m) | Base::MapKey(m) = r.base
            && let Some(map) = self.maps.get(m as usize)
        {
            // The description of an inner map has no name.
            if map.map.is_some() && !map.def.name.is_empty() {
                parts.push(format!("map={}", map.def.name.get(..15).unwrap_or(&map.def.name)));
            }
            parts.push(format!("ks={},vs={}", map.def.key_size, map.value_size()));
        }
        if !r.is_scalar() && r.off != 0 {
            parts.push(format!("off={}", signed(r.off.into())));
        }
        match r.base {
            _ if r.is_packet() => parts.push(format!("r={}", unsigned(r.range as u64))),
            Base::Mem(size) => parts.push(format!("sz={}", unsigned(size.into()))),
            Base::ConstDynptr(d) => parts.push(format!("type={}", dynptr_name(d))),
            _ => {}
        }
        match r.val.as_const() {
            Some(0) => {}
            Some(v) => parts.push(format!("imm={}", signed(v as i64))),
            None => ranges(r, &mut parts),
        }
        parts
    }
}

/// The last line: the work done.
pub(crate) fn work(s: &Stats) -> String {
    format!(
        "processed {} insns (limit 1000000) max_states_per_insn {} total_states {} peak_states {} mark_read 0\n",
        s.insns, s.max_states_per_insn, s.total_states, s.peak_states
    )
}

/// Registers that an instruction names: those of which the log shows what became of them.
fn named(op: &Op) -> u16 {
    match op {
        Op::Call(_) => 0b11_1111,
        // What is returned is seen in the caller.
        Op::Exit => 0,
        Op::LoadAbs { .. } | Op::LoadInd { .. } => 0b11_1111 | op.uses().bits(),
        Op::Atomic { op: AtomicOp::Cmpxchg, .. } => op.uses().bits() | 1,
        op => op.uses().bits() | op.defs().bits(),
    }
}

fn letter(b: Byte) -> char {
    match b {
        Byte::Invalid => '?',
        Byte::Spill => 'r',
        Byte::Misc => 'm',
        Byte::Zero => '0',
        Byte::Dynptr => 'd',
        Byte::Iter => 'i',
        Byte::IrqFlag => 'f',
    }
}

fn dynptr_name(d: Dynptr) -> &'static str {
    match d {
        Dynptr::Local => "local",
        Dynptr::Ringbuf => "ringbuf",
        Dynptr::Skb => "skb",
        Dynptr::Xdp => "xdp",
        Dynptr::SkbMeta => "skb_meta",
    }
}

/// `r1,r2`.
pub(crate) fn reg_list(mask: u16) -> String {
    let all: Vec<String> = (0..16).filter(|r| mask >> r & 1 == 1).map(|r| format!("r{r}")).collect();
    all.join(",")
}

/// `-8,-24`.
pub(crate) fn slot_list(mask: u64) -> String {
    let all: Vec<String> =
        (0..64i64).filter(|i| mask >> i & 1 == 1).map(|i| (-8 * (i + 1)).to_string()).collect();
    all.join(",")
}

/// Bounds that say something; of the signed and of the unsigned ones those that are equal stand together.
fn ranges(r: &Reg, parts: &mut Vec<String>) {
    let (v, s) = (&r.val.r, &r.val.sub);
    // 32-bit numbers that are written in hexadecimal are not sign-extended.
    let half = |n: i64| if is_short(n) { n as u64 } else { n as i32 as u32 as u64 };
    let rows = [
        ("smin", v.smin as u64, v.smin == i64::MIN),
        ("smax", v.smax as u64, v.smax == i64::MAX),
        ("umin", v.umin, v.umin == 0),
        ("umax", v.umax, v.umax == u64::MAX),
        ("smin32", half(s.smin), s.smin == i64::from(i32::MIN)),
        ("smax32", half(s.smax), s.smax == i64::from(i32::MAX)),
        ("umin32", s.umin, s.umin == 0),
        ("umax32", s.umax, s.umax == u64::from(u32::MAX)),
    ];
    let is_signed = |i: usize| rows[i].0.starts_with('s');
    let negative = |i: usize| is_signed(i) && (rows[i].1 as i64) < 0;
    let mut told = rows.map(|(_, _, nothing)| nothing);
    for i in 0..rows.len() {
        if std::mem::replace(&mut told[i], true) {
            continue;
        }
        let mut text = format!("{}=", rows[i].0);
        // A lower bound goes with lower bounds, an upper one with upper ones.
        for j in (i + 2..rows.len()).step_by(2) {
            if !told[j] && rows[j].1 == rows[i].1 && negative(j) == negative(i) {
                told[j] = true;
                text += &format!("{}=", rows[j].0);
            }
        }
        let value = if is_signed(i) { signed(rows[i].1 as i64) } else { unsigned(rows[i].1) };
        parts.push(text + &value);
    }
    if !r.val.bits.is_unknown() {
        parts.push(format!("var_off={}", tnum(r.val.bits)));
    }
}

fn is_short(v: i64) -> bool {
    (i64::from(i16::MIN)..=i64::from(i16::MAX)).contains(&v)
}

/// A tnum as the log writes it.
pub(crate) fn tnum(t: Tnum) -> String {
    if !t.is_const() {
        return format!("({:#x}; {:#x})", t.value, t.mask);
    }
    unsigned(t.value)
}

fn unsigned(v: u64) -> String {
    if v <= u16::MAX as u64 { v.to_string() } else { format!("{v:#x}") }
}

fn signed(v: i64) -> String {
    if (i16::MIN as i64..=i16::MAX as i64).contains(&v) { v.to_string() } else { format!("{v:#x}") }
}

/// A value in words, for people.
pub(crate) fn words(r: &Reg) -> String {
    match r.base {
        Base::NotInit => "never written".into(),
        Base::Scalar => match r.val.as_const() {
            Some(v) => format!("the number {}", v as i64),
            None if r.val.is_unknown() => "any number".into(),
            None => format!("a number from {} to {}", r.val.r.smin, r.val.r.smax),
        },
        _ => {
            let null = if r.flags.has(Flags::MAYBE_NULL) { ", or NULL" } else { "" };
            format!("a pointer ({}) at offset {}{null}", r.type_name(), r.off)
        }
    }
}

fn guessed(speculative: bool) -> &'static str {
    if speculative { " (speculative execution)" } else { "" }
}
