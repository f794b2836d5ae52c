//! From a fault to words: what stands in the registers involved, how it came to be there, the chain of calls; and the
//! whole as a text for a person ([`report`]). The data comes first ([`RunError`]), the text is made at the edge.

use super::code::handle_of;
use super::history::Write;
use super::run::{Frame, Run};
use crate::region::{FRAME_BYTES, Kind, Slot, Val};
use skep_isa::disasm::{Names, Notation};
use skep_isa::{Imm64, Op, Reg};
use skep_platform::engine::{CallSite, Platform, RegisterNote, RunError};
use skep_platform::env::{Fault, RegionKind};
use skep_platform::program::Program;
use std::borrow::Cow;
use std::fmt::Write as _;

/// How many writes a report goes back.
const STEPS_BACK: usize = 8;

impl Run<'_, '_> {
    /// The report of a run that this fault has stopped.
    #[cold]
    pub(crate) fn error(&self, fault: Fault) -> RunError {
        let involved = self.involved();
        let note = |r: &Reg| {
            let v = self.regs[r.index()];
            let region = self.m.table.get(v.prov).and_then(Slot::region);
            RegisterNote { reg: r.index() as u8, value: v.bits, text: self.describe(v), region }
        };
        let site = |f: &Frame<'_>| CallSite { program: f.code.program.clone(), insn: f.call };
        RunError {
            fault,
            program: self.code.program.clone(),
            insn: self.pc,
            text: self.text(self.pc),
            calls: self.frames.iter().map(site).collect(),
            registers: involved.iter().map(note).collect(),
            history: self.story(&involved),
        }
    }

    /// Registers that the current instruction reads.
    fn involved(&self) -> Vec<Reg> {
        let Some(op) = self.current() else { return Vec::new() };
        let args = match self.code.steps.get(self.pc) {
            Some(super::code::Step::Helper(i)) => {
                self.code.helpers[*i as usize].proto.map_or(5, |p| p.args.len())
            }
            _ => 5,
        };
        let call = matches!(op, Op::Call(_));
        op.uses().iter().filter(|r| !call || r.index() > 5 || r.index() <= args).collect()
    }

    /// Where the registers' values came from: the last writes, and the writes behind those; oldest first.
    fn story(&self, involved: &[Reg]) -> Vec<(usize, String)> {
        let mut todo: Vec<(Reg, u64)> = involved.iter().map(|r| (*r, self.left)).collect();
        let mut found: Vec<(Reg, Write)> = Vec::new();
        while let Some((reg, left)) = todo.pop() {
            let Some(w) = self.m.history.before(reg.index(), left) else { continue };
            if found.len() >= STEPS_BACK || found.iter().any(|(_, f)| f.left == w.left) {
                continue;
            }
            found.push((reg, w));
            let op = Op::decode(&self.code.program.insns, w.pc as usize).ok().map(|(op, _)| op);
            if let Some(op) = op.filter(|op| !matches!(op, Op::Call(_))) {
                todo.extend(op.uses().iter().map(|r| (r, w.left)));
            }
        }
        found.sort_by_key(|(_, w)| std::cmp::Reverse(w.left));
        let line = |(reg, w): &(Reg, Write)| {
            let text = self.text(w.pc as usize);
            (w.pc as usize, format!("{text}    (r{} = {})", reg.index(), self.describe(w.val)))
        };
        found.iter().map(line).collect()
    }

    /// An instruction in words.
    fn text(&self, pc: usize) -> String {
        let words = Words { program: &self.code.program, platform: &self.code.platform };
        match Op::decode(&self.code.program.insns, pc) {
            Ok((op, _)) => op.text(pc, &words, Notation::Kernel).to_string(),
            Err(e) => e.to_string(),
        }
    }

    /// A value in words.
    pub(crate) fn describe(&self, v: Val) -> String {
        if v.is_uninit() {
            return "no value".into();
        }
        if v.is_scalar() {
            return number(v.bits);
        }
        match self.m.table.get(v.prov) {
            Some(slot) => self.pointer(slot, v.bits),
            None => match self.m.table.past(v.prov) {
                Some(slot) if slot.kind != Kind::Nothing => {
                    format!("stale pointer: {}", self.pointer(slot, v.bits))
                }
                _ => format!("stale pointer {:#x}", v.bits),
            },
        }
    }

    fn pointer(&self, slot: &Slot, bits: u64) -> String {
        let at = bits.wrapping_sub(slot.span.addr()) as i64;
        let place = match slot.kind {
            Kind::Region(RegionKind::Stack { frame }) => {
                return format!("stack of frame {frame}, r10{:+}", at - FRAME_BYTES as i64);
            }
            Kind::Map(handle) => return format!("map {}", self.map_name(handle)),
            Kind::Func(pc) => return format!("function {}", function(&self.code.program, pc)),
            Kind::PacketEnd => return format!("end of the packet {}", signed(at)),
            Kind::Nothing => return format!("{bits:#x}"),
            Kind::Region(kind) => self.region_name(kind),
        };
        let remain = (slot.len as i64 - at).clamp(0, slot.len as i64);
        format!("{place} {}, {remain} bytes remain of {}", signed(at), slot.len)
    }

    pub(super) fn region_name(&self, kind: RegionKind) -> String {
        match kind {
            RegionKind::Stack { frame } => format!("stack of frame {frame}"),
            RegionKind::Ctx => format!("context ({})", self.ctx.layout.name),
            RegionKind::Packet => "packet".into(),
            RegionKind::PacketMeta => "packet metadata".into(),
            RegionKind::MapValue { map } => format!("value of map {}", self.map_name(map)),
            RegionKind::MapKey { map } => format!("key of map {}", self.map_name(map)),
            RegionKind::RingbufRecord { map } => format!("record of ring buffer {}", self.map_name(map)),
            RegionKind::Dynptr => "dynptr memory".into(),
            RegionKind::Memory => "memory".into(),
            RegionKind::Socket => "socket".into(),
            RegionKind::Kernel => "kernel object".into(),
        }
    }

    fn map_name(&self, handle: u64) -> &str {
        let own = self.code.program.maps.iter().find(|m| handle_of(m) == handle);
        let map = own.or_else(|| self.maps.find(|m| handle_of(m) == handle));
        map.map_or("(gone)", |m| m.def().name.as_str())
    }
}

fn number(v: u64) -> String {
    match v as i64 {
        0 => "0".into(),
        s @ -4095..0 => format!("{s} ({v:#x})"),
        s @ 1..10_000 => format!("{s}"),
        s @ 10_000..0x1_0000_0000 => format!("{s} ({v:#x})"),
        _ => format!("{v:#x}"),
    }
}

fn signed(n: i64) -> String {
    if n < 0 { format!("- {}", n.unsigned_abs()) } else { format!("+ {n}") }
}

/// Names of helpers, functions and maps in the text of a program.
struct Words<'a> {
    program: &'a Program,
    platform: &'a Platform,
}

impl Names for Words<'_> {
    fn helper(&self, id: i32) -> Option<Cow<'_, str>> {
        Some(self.platform.helper(u32::try_from(id).ok()?)?.name.into())
    }

    fn kfunc(&self, id: i32, _: i16) -> Option<Cow<'_, str>> {
        let name = self.program.kernel_btf.as_ref()?.name_of(u32::try_from(id).ok()?);
        (!name.is_empty()).then(|| name.into())
    }

    fn imm64(&self, imm: Imm64) -> Option<Cow<'_, str>> {
        let (Imm64::MapIdx(idx) | Imm64::MapIdxValue { idx, .. }) = imm else { return None };
        let map = self.program.maps.get(usize::try_from(idx).ok()?)?;
        Some(map.def().name.as_str().into())
    }

    fn label(&self, slot: i64) -> Option<Cow<'_, str>> {
        let at = usize::try_from(slot).ok()?;
        let start = self.program.subprogs.iter().find(|s| s.start == at && at > 0)?;
        Some(start.name.as_str().into())
    }
}

fn function(program: &Program, pc: usize) -> String {
    match program.subprog_at(pc) {
        Some(s) if s.start == pc => s.name.clone(),
        _ => format!("at instruction {pc}"),
    }
}

/// The report as a text of several lines: what, where in the source, the instruction, registers, how their values
/// came about, the chain of calls.
pub fn report(e: &RunError) -> String {
    let mut out = String::new();
    let _ = write_report(&mut out, e);
    out
}

fn write_report(out: &mut String, e: &RunError) -> std::fmt::Result {
    let p = &e.program;
    writeln!(out, "error: {}", headline(&e.fault))?;
    writeln!(out, "  --> {}", position(p, e.insn))?;
    if let Some(line) = p.line_at(e.insn).map(|l| l.text.trim()).filter(|t| !t.is_empty()) {
        writeln!(out, "   |  {line}")?;
    }
    writeln!(out, "  instruction {}: {}", e.insn, e.text)?;
    if !e.registers.is_empty() {
        writeln!(out, "registers:")?;
    }
    for r in &e.registers {
        writeln!(out, "  r{} = {}", r.reg, r.text)?;
    }
    if !e.history.is_empty() {
        writeln!(out, "how their values came about:")?;
    }
    for (pc, line) in &e.history {
        writeln!(out, "  {pc}: {line}")?;
    }
    if !e.calls.is_empty() {
        writeln!(out, "called from (outermost first):")?;
    }
    for call in &e.calls {
        writeln!(out, "  {}", position(&call.program, call.insn))?;
    }
    Ok(())
}

/// The fault without the native address: registers and regions say where.
pub(super) fn headline(fault: &Fault) -> String {
    match fault {
        Fault::Access { len, write, why, .. } => {
            format!("invalid {} of {len} bytes: {why}", if *write { "write" } else { "read" })
        }
        other => other.to_string(),
    }
}

fn position(p: &Program, insn: usize) -> String {
    let within = match p.subprog_at(insn) {
        Some(s) if s.start != 0 && s.name != p.name => format!("{} of program {}", s.name, p.name),
        _ => format!("program {}", p.name),
    };
    match p.line_at(insn) {
        Some(l) if l.col > 0 => format!("{}:{}:{}, in {within}, instruction {insn}", l.file, l.line, l.col),
        Some(l) => format!("{}:{}, in {within}, instruction {insn}", l.file, l.line),
        None => format!("{within}, instruction {insn}"),
    }
}
