//! The kernel's log format: states and instructions as `bpf_verifier_log` writes them (6.18).
//!
//! Level 1 keeps the lines of the path being walked and drops those of finished branches; level 2 keeps all. Level 0
//! costs nothing.

use crate::code::Code;
use crate::machine::Vm;
use crate::state::{Byte, State};
use crate::tnum::Tnum;
use crate::value::{ADD_CONST, Base, Flags, Reg};
use skep_btf::Btf;
use skep_isa::disasm::{Names, Notation};
use skep_platform::{Platform, Program};
use std::borrow::Cow;
use std::fmt::Write;

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
    lines: Vec<String>,
    touched: u16,
    slots: u64,
    open: bool,
    last_line: Option<u32>,
}

impl Log {
    /// A log of a level.
    pub(crate) fn new(level: u8) -> Log {
        Log { level, ..Log::default() }
    }

    /// What was written.
    pub(crate) fn text(&self) -> String {
        let mut s = self.lines.join("\n");
        if !s.is_empty() {
            s.push('\n');
        }
        s
    }

    /// Where a branch begins.
    pub(crate) fn mark(&self) -> usize {
        self.lines.len()
    }

    /// A register was written.
    pub(crate) fn touch_reg(&mut self, n: usize) {
        self.touched |= 1 << n;
    }

    /// A slot was written.
    pub(crate) fn touch_slot(&mut self, _frame: usize, spi: usize) {
        self.slots |= 1 << spi;
    }

    /// A finished path is left for a waiting branch.
    pub(crate) fn branch(&mut self, mark: usize, prev: Option<usize>, to: usize) {
        if self.level == 0 {
            return;
        }
        if self.level == 1 {
            self.lines.truncate(mark);
        }
        let from = prev.map_or(-1, |p| p as i64);
        self.lines.push(String::new());
        self.lines.push(format!("from {from} to {to}:"));
        self.last_line = None;
    }

    /// A kept state covers this one.
    pub(crate) fn safe(&mut self, _prev: Option<usize>, pc: usize) {
        if self.level > 0 {
            self.lines.push(format!("{pc}: safe"));
        }
    }

    /// A line of its own.
    pub(crate) fn line(&mut self, line: String) {
        if self.level > 0 {
            self.lines.push(line);
        }
    }

    /// The instruction about to be walked, after the state that the one before it left.
    pub(crate) fn insn(&mut self, program: &Program, code: &Code, names: &dyn Names, st: &State, pc: usize) {
        if self.level == 0 {
            return;
        }
        self.finish(st);
        if let Some(l) = program.line_at(pc)
            && self.last_line != Some(l.insn as u32)
        {
            self.last_line = Some(l.insn as u32);
            let file = l.file.rsplit('/').next().unwrap_or(&l.file);
            self.lines.push(format!("; {} @ {file}:{}", l.text.trim_start(), l.line));
        }
        let insn = program.insns.get(pc).map_or(0, |i| i.opcode());
        let text =
            code.op(pc).map_or_else(String::new, |op| op.text(pc, names, Notation::Kernel).to_string());
        self.lines.push(format!("{pc}: ({insn:02x}) {text}"));
        self.open = true;
        (self.touched, self.slots) = (0, 0);
    }

    /// What the last instruction changed, at the end of its line.
    pub(crate) fn finish(&mut self, st: &State) {
        if !std::mem::take(&mut self.open) || (self.touched | self.slots as u16) == 0 && self.slots == 0 {
            return;
        }
        let f = st.frame();
        let mut s = String::new();
        for (i, r) in f.regs.iter().enumerate() {
            if self.touched >> i & 1 == 1 && r.base != Base::NotInit {
                let _ = write!(s, " R{i}={}", reg_text(r));
            }
        }
        if let Some(line) = self.lines.last_mut().filter(|_| !s.is_empty()) {
            let pad = 40usize.saturating_sub(line.len());
            let _ = write!(line, "{:pad$};{s}", "");
        }
    }
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

/// A register as the log writes it.
pub(crate) fn reg_text(r: &Reg) -> String {
    if r.is_scalar()
        && let Some(v) = r.val.as_const()
    {
        return format!("{}{}", if r.precise { "P" } else { "" }, signed(v as i64));
    }
    if let Base::Stack(f) = r.base
        && r.val.as_const() == Some(0)
    {
        let frame = if f > 0 { format!("[{f}]") } else { String::new() };
        return format!("fp{frame}{}", r.off);
    }
    let mut parts = Vec::new();
    if r.id != 0 {
        let plus = if r.id & ADD_CONST != 0 { format!("+{}", r.off) } else { String::new() };
        parts.push(format!("id={}{plus}", r.id & !ADD_CONST));
    }
    if r.ref_id != 0 {
        parts.push(format!("ref_obj_id={}", r.ref_id));
    }
    if !r.is_scalar() && r.off != 0 {
        parts.push(format!("off={}", r.off));
    }
    if r.is_packet() {
        parts.push(format!("r={}", r.range));
    }
    if let Base::Mem(sz) = r.base {
        parts.push(format!("sz={sz}"));
    }
    if r.val.as_const().is_none_or(|v| v != 0) {
        ranges(r, &mut parts);
    }
    format!("{}{}({})", if r.precise { "P" } else { "" }, r.type_name(), parts.join(","))
}

/// Bounds that say something, equal ones written together.
fn ranges(r: &Reg, parts: &mut Vec<String>) {
    let (v, s) = (&r.val.r, &r.val.sub);
    let all = [
        ("smin", signed(v.smin), v.smin == i64::MIN),
        ("smax", signed(v.smax), v.smax == i64::MAX),
        ("umin", unsigned(v.umin), v.umin == 0),
        ("umax", unsigned(v.umax), v.umax == u64::MAX),
        ("smin32", signed32(s.smin), s.smin == i32::MIN as i64 || s.smin == v.smin),
        ("smax32", signed32(s.smax), s.smax == i32::MAX as i64 || s.smax == v.smax),
        ("umin32", unsigned(s.umin), s.umin == 0 || s.umin == v.umin),
        ("umax32", unsigned(s.umax), s.umax == u32::MAX as u64 || s.umax == v.umax),
    ];
    let mut done = [false; 8];
    for i in 0..all.len() {
        if all[i].2 || done[i] {
            continue;
        }
        let mut names = all[i].0.to_owned();
        for j in i + 1..all.len() {
            if !all[j].2 && !done[j] && all[j].1 == all[i].1 {
                done[j] = true;
                names = format!("{names}={}", all[j].0);
            }
        }
        parts.push(format!("{names}={}", all[i].1));
    }
    if !r.val.bits.is_unknown() {
        parts.push(format!("var_off={}", tnum(r.val.bits)));
    }
}

fn signed32(v: i64) -> String {
    if (i16::MIN as i64..=i16::MAX as i64).contains(&v) { v.to_string() } else { format!("{:#x}", v as i32) }
}

/// A whole state on one line: registers, then slots.
pub(crate) fn state_line(_vm: &Vm<'_>, st: &State) -> String {
    let f = st.frame();
    let mut s = String::new();
    if st.depth() > 0 {
        let _ = write!(s, " frame{}:", st.depth());
    }
    for (i, r) in f.regs.iter().enumerate() {
        if r.base != Base::NotInit {
            let _ = write!(s, " R{i}={}", reg_text(r));
        }
    }
    for (i, slot) in f.stack.iter().enumerate() {
        if slot.bytes.iter().all(|b| *b == Byte::Invalid) {
            continue;
        }
        let _ = write!(s, " fp{}=", -8 * (i as i64 + 1));
        if slot.is_spill() {
            s.push_str(&reg_text(&slot.reg));
        } else {
            s.extend(slot.bytes.iter().rev().map(|b| match b {
                Byte::Invalid => '?',
                Byte::Spill => 'r',
                Byte::Misc => 'm',
                Byte::Zero => '0',
                Byte::Dynptr => 'd',
                Byte::Iter => 'i',
                Byte::IrqFlag => 'f',
            }));
        }
    }
    if f.callback {
        s.push_str(" cb");
    }
    s
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
