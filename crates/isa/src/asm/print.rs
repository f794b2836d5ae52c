//! [`AsmObject`] → text that [`super::parse`] reads back to an equal object.
//!
//! Instructions are in the notation of [`crate::disasm`]; a relocated one names its target (`r1 = counters ll`,
//! `call .text+16`) where that text gives the same bytes and relocation, and follows a `.reloc` line where not.

use super::directive::SPEC_FIELDS;
use super::lex;
use super::object::*;
use super::resolve::usual_sizes;
use crate::disasm::{Line, Names, Notation, lines};
use crate::insn::Insn;
use crate::op::{Callee, Imm64, Op};
use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

/// Names that the object does not hold itself.
pub trait ObjectNames {
    /// Name of the helper with this number.
    fn helper(&self, _id: i32) -> Option<Cow<'_, str>> {
        None
    }
    /// Text of the source line that begins at this slot of this section.
    fn source_line(&self, _section: &str, _slot: usize) -> Option<Cow<'_, str>> {
        None
    }
}

/// Names nothing.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoObjectNames;

impl ObjectNames for NoObjectNames {}

/// How the text looks. All choices read back to the same object.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ObjectStyle {
    /// Labels at jump targets instead of distances.
    pub labels: bool,
    /// Source lines between, as comments.
    pub source: bool,
    /// Slot number and bytes of every instruction, as a comment.
    pub bytes: bool,
}

/// Writes the object. Linear in its size.
pub fn print(object: &AsmObject, names: &dyn ObjectNames, style: ObjectStyle) -> String {
    let defined = defined(object);
    let sections = object.sections.iter().map(|s| s.name.as_str()).filter(|n| !defined.contains(n)).collect();
    let mut printer = Printer { out: String::new(), names, style, defined, sections, object };
    // Writing to a string cannot fail.
    let _ = printer.object();
    printer.out
}

impl fmt::Display for AsmObject {
    /// The object without names from outside.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self, &NoObjectNames, ObjectStyle::default()))
    }
}

/// All names that a reference without `section(…)` means as symbols.
fn defined(object: &AsmObject) -> BTreeSet<&str> {
    let symbols = object.sections.iter().flat_map(|s| &s.symbols).map(|s| s.name.as_str());
    let maps = object.maps.iter().map(|m| m.name.as_str());
    let externs = object.externs.iter().map(|e| e.name.as_str());
    symbols.chain(maps).chain(externs).collect()
}

/// Bytes of text in one line of data.
const MAX_TEXT: usize = 4096;

struct Printer<'a> {
    out: String,
    object: &'a AsmObject,
    names: &'a dyn ObjectNames,
    style: ObjectStyle,
    defined: BTreeSet<&'a str>,
    /// Sections that a bare name means.
    sections: BTreeSet<&'a str>,
}

impl<'a> Printer<'a> {
    fn object(&mut self) -> fmt::Result {
        let object = self.object;
        if let Some(license) = &object.license {
            writeln!(self.out, ".license {}", Quoted(license.as_bytes()))?;
        }
        object.externs.iter().try_for_each(|e| self.extern_(e))?;
        object.maps.iter().try_for_each(|m| self.map(m))?;
        object.sections.iter().try_for_each(|s| self.section(s))
    }

    fn extern_(&mut self, e: &Extern) -> fmt::Result {
        write!(self.out, ".extern {}", Name(&e.name))?;
        match e.kind {
            SymbolKind::Func => self.out.push_str(", func"),
            SymbolKind::Object => self.out.push_str(", object"),
            SymbolKind::NoType => {}
        }
        if e.weak {
            self.out.push_str(", weak");
        }
        if let Some(section) = &e.section {
            write!(self.out, ", section={}", Name(section))?;
        }
        self.out.write_char('\n')
    }

    fn map(&mut self, map: &MapDef) -> fmt::Result {
        write!(self.out, ".map {}, ", Name(&map.name))?;
        self.spec(&map.spec)?;
        if map.section != MAPS_SECTION {
            write!(self.out, ", section={}", Name(&map.section))?;
        }
        self.out.push_str(binding(map.binding));
        self.out.push('\n');
        if let Some(inner) = &map.inner {
            self.out.push_str(".inner ");
            self.spec(inner)?;
            self.out.push('\n');
        }
        map.values.iter().try_for_each(|(index, name)| writeln!(self.out, ".value {index}, {}", Name(name)))
    }

    fn spec(&mut self, spec: &MapSpec) -> fmt::Result {
        if spec.map_type.bytes().all(|b| b.is_ascii_digit()) {
            write!(self.out, "type={}", spec.map_type)?;
        } else {
            write!(self.out, "type={}", Name(&spec.map_type))?;
        }
        let mut copy = spec.clone();
        for (word, field) in SPEC_FIELDS {
            let value = *field(&mut copy);
            match (value, word) {
                (0, _) => {}
                (_, "map_flags") => write!(self.out, ", {word}={value:#x}")?,
                _ => write!(self.out, ", {word}={value}")?,
            }
        }
        if spec.map_extra != 0 {
            write!(self.out, ", map_extra={:#x}", spec.map_extra)?;
        }
        Ok(())
    }

    fn section(&mut self, section: &'a Section) -> fmt::Result {
        let usual = Contents::usual(&section.name);
        write!(self.out, "\n.section {}", Name(&section.name))?;
        if usual.word() != section.contents.word() {
            write!(self.out, ", {}", section.contents.word())?;
        }
        if section.align != section.contents.usual_align() {
            write!(self.out, ", align={}", section.align)?;
        }
        self.out.push('\n');
        let marks = Marks::new(section);
        match &section.contents {
            Contents::Code(insns) => self.code(section, insns, &marks)?,
            Contents::ReadOnly(bytes) | Contents::Data(bytes) => {
                // Map definitions of the older kind are structs of 32-bit numbers.
                let words = section.name == "maps" || section.name.starts_with("maps/");
                self.data(bytes, &marks, words)?;
            }
            Contents::Bss(size) => self.bss(*size, &marks)?,
        }
        self.out_of_place(section, &marks)
    }

    fn code(&mut self, section: &'a Section, insns: &[Insn], marks: &Marks<'a>) -> fmt::Result {
        let targets = if self.style.labels { jump_targets(insns) } else { BTreeSet::new() };
        let names =
            SectionNames { section, names: self.names, targets: &targets, prefix: self.label_prefix() };
        // Compilers give a line for every column: one text is written once.
        let mut last_source = None;
        for line in lines(insns) {
            let offset = line.pc as u64 * 8;
            self.symbols_at(marks, offset, offset)?;
            if let Some(label) = names.own_label(line.pc as i64) {
                writeln!(self.out, "{label}:")?;
            }
            let source = self.style.source.then(|| self.names.source_line(&section.name, line.pc)).flatten();
            if let Some(text) = source.filter(|text| last_source.as_ref() != Some(text)) {
                text.lines().try_for_each(|l| writeln!(self.out, "    ; {}", l.trim()))?;
                last_source = Some(text);
            }
            let relocs = marks.relocs_at(offset);
            match self.relocated(marks, &line, relocs) {
                Some(text) => write!(self.out, "    {text}")?,
                None => {
                    relocs.iter().try_for_each(|r| self.reloc(r, None))?;
                    self.insn(&line, &names)?;
                }
            }
            self.bytes_comment(&line)?;
            self.out.push('\n');
        }
        let end = insns.len() as u64 * 8;
        if let Some(label) = names.own_label(insns.len() as i64) {
            writeln!(self.out, "{label}:")?;
        }
        self.symbols_at(marks, end, end)?;
        marks.relocs_at(end).iter().try_for_each(|r| self.reloc(r, None))
    }

    fn insn(&mut self, line: &Line, names: &SectionNames<'_>) -> fmt::Result {
        match line.op {
            Ok(op) if line.is_canonical() => {
                write!(self.out, "    {}", op.text(line.pc, names, Notation::Assembler))?;
                match op.subprog_target(line.pc).and_then(|slot| names.function(slot)) {
                    Some(name) if names.label(op.subprog_target(line.pc).unwrap_or(-1)).is_none() => {
                        write!(self.out, " ; {}", name.escape_debug())
                    }
                    _ => Ok(()),
                }
            }
            Ok(op) => write!(self.out, "    .insn {:?} ; {op}, in an older encoding", line.insn),
            Err(e) => write!(self.out, "    .insn {:?} ; {e}", line.insn),
        }
    }

    fn bytes_comment(&mut self, line: &Line) -> fmt::Result {
        if !self.style.bytes {
            return Ok(());
        }
        write!(self.out, " ; {}: {:?}", line.pc, line.insn)?;
        line.second.map_or(Ok(()), |second| write!(self.out, " {second:?}"))
    }

    /// The instruction with its relocation as one text, when that text reads back to both.
    fn relocated(&self, marks: &Marks<'_>, line: &Line, relocs: &[&Reloc]) -> Option<String> {
        let ([reloc], true) = (relocs, line.is_canonical()) else { return None };
        let target = self.target(&reloc.target);
        match (reloc.kind, line.op.ok()?) {
            (R_BPF_64_64, Op::LoadImm64 { dst, imm: Imm64::Value(v) }) => {
                Some(alloc::format!("{dst} = {target}{} ll", Addend(v as i64)))
            }
            (R_BPF_64_32, Op::Call(Callee::Local(imm))) if !marks.resolves_here(&reloc.target, imm) => {
                Some(alloc::format!("call {target}{}", Addend((i64::from(imm) + 1) * 8)))
            }
            _ => None,
        }
    }

    fn target(&self, target: &Target) -> String {
        match target {
            Target::Symbol(name) => alloc::format!("{}", Name(name)),
            Target::Section(name) if !self.sections.contains(name.as_str()) => {
                alloc::format!("section({})", Name(name))
            }
            Target::Section(name) => alloc::format!("{}", Name(name)),
        }
    }

    fn reloc(&mut self, reloc: &Reloc, offset: Option<u64>) -> fmt::Result {
        let target = self.target(&reloc.target);
        match RELOC_TYPES.iter().find(|r| r.0 == reloc.kind) {
            Some((_, name)) => write!(self.out, ".reloc {name}, {target}")?,
            None => write!(self.out, ".reloc {}, {target}", reloc.kind)?,
        }
        if let Some(offset) = offset {
            write!(self.out, ", offset={offset}")?;
        }
        self.out.write_char('\n')
    }

    /// Symbols at `offset`, when the text stands at `here`.
    fn symbols_at(&mut self, marks: &Marks<'a>, offset: u64, here: u64) -> fmt::Result {
        let Some(symbols) = marks.symbols.get(&offset) else { return Ok(()) };
        for (symbol, usual) in symbols {
            let word = match symbol.kind {
                SymbolKind::Func => ".func",
                SymbolKind::Object => ".object",
                SymbolKind::NoType => ".symbol",
            };
            write!(self.out, "{word} {}{}", Name(&symbol.name), binding(symbol.binding))?;
            if symbol.hidden {
                self.out.push_str(", hidden");
            }
            if symbol.size != *usual {
                write!(self.out, ", size={}", symbol.size)?;
            }
            if offset != here {
                write!(self.out, ", offset={offset}")?;
            }
            if let Some(prog_type) = &symbol.prog_type {
                write!(self.out, ", prog_type={}", Name(prog_type))?;
            }
            self.out.push('\n');
        }
        Ok(())
    }

    fn data(&mut self, bytes: &[u8], marks: &Marks<'a>, words: bool) -> fmt::Result {
        let size = bytes.len() as u64;
        let mut at = 0;
        loop {
            self.symbols_at(marks, at, at)?;
            let end = marks.next_after(at).min(size);
            let chunk = bytes.get(at as usize..end as usize).unwrap_or(&[]);
            let done = self.data_relocs(marks.relocs_at(at), chunk)?;
            let rest = chunk.get(done..).unwrap_or(&[]);
            if words {
                self.words(rest)?
            } else {
                self.bytes(rest)?
            }
            if at >= size {
                return Ok(());
            }
            at = end;
        }
    }

    /// Relocations where a chunk of data begins. Returns how many bytes of it are written with them.
    fn data_relocs(&mut self, relocs: &[&Reloc], chunk: &[u8]) -> Result<usize, fmt::Error> {
        if let [reloc] = relocs {
            let target = self.target(&reloc.target);
            if let (R_BPF_64_ABS64, Some(word)) = (reloc.kind, chunk.first_chunk::<8>()) {
                writeln!(self.out, "    .quad {target}{}", Addend(i64::from_le_bytes(*word)))?;
                return Ok(8);
            }
            if let (R_BPF_64_ABS32, Some(word)) = (reloc.kind, chunk.first_chunk::<4>()) {
                writeln!(self.out, "    .long {target}{}", Addend(i32::from_le_bytes(*word).into()))?;
                return Ok(4);
            }
        }
        relocs.iter().try_for_each(|r| self.reloc(r, None))?;
        Ok(0)
    }

    /// Bytes as 32-bit numbers; what is left over as single ones.
    fn words(&mut self, bytes: &[u8]) -> fmt::Result {
        let (words, rest) = bytes.as_chunks::<4>();
        for line in words.chunks(9) {
            let numbers: Vec<String> =
                line.iter().map(|w| alloc::format!("{}", u32::from_le_bytes(*w))).collect();
            writeln!(self.out, "    .long {}", numbers.join(", "))?;
        }
        self.bytes(rest)
    }

    /// Bytes as zeros, text or numbers, whichever is shortest to read.
    fn bytes(&mut self, mut bytes: &[u8]) -> fmt::Result {
        while !bytes.is_empty() {
            let zeros = bytes.iter().take_while(|b| **b == 0).count();
            let text = bytes
                .iter()
                .take(MAX_TEXT)
                .take_while(|b| (0x20..0x7f).contains(*b) || **b == b'\n' || **b == b'\t')
                .count();
            let ends = bytes.get(text) == Some(&0);
            let taken = if zeros >= 4 || zeros == bytes.len() {
                writeln!(self.out, "    .zero {zeros}")?;
                zeros
            } else if text >= 4 || text >= 2 && ends {
                let word = if ends { ".asciz" } else { ".ascii" };
                writeln!(self.out, "    {word} {}", Quoted(bytes.get(..text).unwrap_or(&[])))?;
                text + usize::from(ends)
            } else {
                self.numbers(bytes)?
            };
            bytes = bytes.get(taken..).unwrap_or(&[]);
        }
        Ok(())
    }

    /// Up to sixteen bytes, ending before a run of zeros.
    fn numbers(&mut self, bytes: &[u8]) -> Result<usize, fmt::Error> {
        let near = bytes.get(..bytes.len().min(20)).unwrap_or(bytes);
        let taken = near.windows(4).position(|w| w == [0; 4]).unwrap_or(near.len()).clamp(1, 16);
        self.out.push_str("    .byte ");
        for (i, byte) in bytes.iter().take(taken).enumerate() {
            self.out.push_str(if i == 0 { "" } else { ", " });
            write!(self.out, "{byte:#04x}")?;
        }
        self.out.push('\n');
        Ok(taken)
    }

    fn bss(&mut self, size: u64, marks: &Marks<'a>) -> fmt::Result {
        let mut at = 0;
        loop {
            self.symbols_at(marks, at, at)?;
            marks.relocs_at(at).iter().try_for_each(|r| self.reloc(r, None))?;
            if at >= size {
                return Ok(());
            }
            let end = marks.next_after(at).min(size);
            writeln!(self.out, "    .zero {}", end - at)?;
            at = end;
        }
    }

    /// Symbols and relocations at offsets that the text does not pass: inside an instruction, beyond the end.
    fn out_of_place(&mut self, section: &'a Section, marks: &Marks<'a>) -> fmt::Result {
        let size = section.contents.size();
        let passed: BTreeSet<u64> = match &section.contents {
            Contents::Code(insns) => lines(insns).map(|l| l.pc as u64 * 8).chain([size]).collect(),
            _ => BTreeSet::new(),
        };
        let is_passed = |o: u64| {
            if matches!(section.contents, Contents::Code(_)) { passed.contains(&o) } else { o <= size }
        };
        for offset in marks.symbols.keys().copied().filter(|o| !is_passed(*o)) {
            self.symbols_at(marks, offset, size)?;
        }
        for (&offset, relocs) in marks.relocs.iter().filter(|(o, _)| !is_passed(**o)) {
            relocs.iter().try_for_each(|r| self.reloc(r, Some(offset)))?;
        }
        Ok(())
    }

    /// A beginning for labels that no name has.
    fn label_prefix(&self) -> String {
        let mut prefix = String::from("L");
        while self.defined.range(prefix.as_str()..).next().is_some_and(|name| name.starts_with(&prefix)) {
            prefix.push('_');
        }
        prefix
    }
}

/// What stands at which offset of a section.
struct Marks<'a> {
    /// Symbols with the size that they would have if none were written.
    symbols: BTreeMap<u64, Vec<(&'a Symbol, u64)>>,
    relocs: BTreeMap<u64, Vec<&'a Reloc>>,
    /// Symbols that a call reaches without a relocation.
    local: BTreeSet<&'a str>,
}

impl<'a> Marks<'a> {
    fn new(section: &'a Section) -> Marks<'a> {
        let (mut symbols, mut relocs) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        let usual = usual_sizes(&section.symbols, section.contents.size());
        for (symbol, usual) in section.symbols.iter().zip(usual) {
            symbols.entry(symbol.offset).or_default().push((symbol, usual));
        }
        for reloc in &section.relocs {
            relocs.entry(reloc.offset).or_default().push(reloc);
        }
        let is_local = |s: &&Symbol| s.binding == Binding::Local && s.offset.is_multiple_of(8);
        let local = section.symbols.iter().filter(is_local).map(|s| s.name.as_str()).collect();
        Marks { symbols, relocs, local }
    }

    /// Would `call NAME` mean a distance within the section rather than a relocation?
    fn resolves_here(&self, target: &Target, imm: i32) -> bool {
        matches!(target, Target::Symbol(name) if imm == -1 && self.local.contains(name.as_str()))
    }

    fn relocs_at(&self, offset: u64) -> &[&'a Reloc] {
        self.relocs.get(&offset).map_or(&[], Vec::as_slice)
    }

    /// The next offset above, where something stands.
    fn next_after(&self, offset: u64) -> u64 {
        let above = (core::ops::Bound::Excluded(offset), core::ops::Bound::Unbounded);
        let symbol = self.symbols.range(above).next().map(|(o, _)| *o);
        let reloc = self.relocs.range(above).next().map(|(o, _)| *o);
        symbol.unwrap_or(u64::MAX).min(reloc.unwrap_or(u64::MAX))
    }
}

/// Slots that jumps of the section go to, the end included.
fn jump_targets(insns: &[Insn]) -> BTreeSet<i64> {
    let starts: BTreeSet<i64> = lines(insns).map(|l| l.pc as i64).chain([insns.len() as i64]).collect();
    let targets = lines(insns).filter_map(|l| l.op.ok()?.jump_target(l.pc));
    targets.filter(|t| starts.contains(t)).collect()
}

/// The names that instructions of one section can use.
struct SectionNames<'a> {
    section: &'a Section,
    names: &'a dyn ObjectNames,
    targets: &'a BTreeSet<i64>,
    prefix: String,
}

impl SectionNames<'_> {
    /// The label that is printed at this slot.
    fn own_label(&self, slot: i64) -> Option<String> {
        self.targets.contains(&slot).then(|| alloc::format!("{}{slot}", self.prefix))
    }

    fn symbols_at(&self, slot: i64) -> &[Symbol] {
        let Some(offset) = u64::try_from(slot).ok().and_then(|s| s.checked_mul(8)) else { return &[] };
        let symbols = &self.section.symbols;
        let from = symbols.partition_point(|s| s.offset < offset);
        let to = symbols.partition_point(|s| s.offset <= offset);
        symbols.get(from..to).unwrap_or(&[])
    }

    /// The function at this slot, whatever its binding.
    fn function(&self, slot: i64) -> Option<&str> {
        self.symbols_at(slot).iter().find(|s| s.kind == SymbolKind::Func).map(|s| s.name.as_str())
    }
}

impl Names for SectionNames<'_> {
    fn helper(&self, id: i32) -> Option<Cow<'_, str>> {
        self.names.helper(id)
    }

    /// Labels, and local functions: these resolve within the section.
    fn label(&self, slot: i64) -> Option<Cow<'_, str>> {
        let local = |s: &&Symbol| s.kind == SymbolKind::Func && s.binding == Binding::Local;
        let function = self.symbols_at(slot).iter().find(local).map(|s| alloc::format!("{}", Name(&s.name)));
        function.or_else(|| self.own_label(slot)).map(Cow::Owned)
    }
}

fn binding(binding: Binding) -> &'static str {
    match binding {
        Binding::Global => "",
        Binding::Local => ", local",
        Binding::Weak => ", weak",
    }
}

/// `+8`, `-8` or nothing.
struct Addend(i64);

impl fmt::Display for Addend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, "{:+}", self.0) }
    }
}

/// A name, quoted where it could be read as something else.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reserved = ["le", "be", "bswap", "pc", "kfunc", "section", "map", "subprog", "ksym"];
        let begins =
            |word: &&str| self.0.strip_prefix(*word).is_some_and(|r| r.bytes().all(|b| b.is_ascii_digit()));
        let plain = lex::is_plain_name(self.0) && !lex::is_register(self.0) && !reserved.iter().any(begins);
        if plain { f.write_str(self.0) } else { Quoted(self.0.as_bytes()).fmt(f) }
    }
}

/// Bytes as a string literal. Text stays readable; everything else is escaped.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '"' | '\\' => write!(f, "\\{c}")?,
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    '\r' => f.write_str("\\r")?,
                    c if c.is_control() || c.is_whitespace() && c != ' ' => {
                        let mut bytes = [0; 4];
                        c.encode_utf8(&mut bytes).bytes().try_for_each(|b| write!(f, "\\x{b:02x}"))?;
                    }
                    c => f.write_char(c)?,
                }
            }
            chunk.invalid().iter().try_for_each(|b| write!(f, "\\x{b:02x}"))?;
        }
        f.write_char('"')
    }
}
