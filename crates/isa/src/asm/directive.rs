//! The directives: sections, symbols, externs, maps, data, relocations. Each reads its line and changes the object.

use super::error::{AsmError, Why};
use super::lex::{Cursor, Tok};
use super::object::*;
use super::{Assembler, Pending, Place, Reference, insn};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

type Result<T, E = AsmError> = core::result::Result<T, E>;

/// A symbol whose size may follow from the next symbol.
pub(super) struct SymbolDraft {
    pub(super) symbol: Symbol,
    pub(super) has_size: bool,
}

impl Assembler {
    pub(super) fn directive(&mut self, c: &mut Cursor<'_>) -> Result<()> {
        let Some(Tok::Word(word)) = c.peek() else { return c.expected("a directive") };
        let mark = c.mark();
        c.skip();
        if self.closed && word != ".func" && word != ".text" {
            return Err(
                c.error_at(mark, Why::Place("only instructions, labels and .func stand here, no object"))
            );
        }
        match word.as_str() {
            ".section" => self.section(c)?,
            ".text" => {
                self.open_section(".text");
            }
            ".func" => self.symbol(c, SymbolKind::Func)?,
            ".object" => self.symbol(c, SymbolKind::Object)?,
            ".symbol" => self.symbol(c, SymbolKind::NoType)?,
            ".extern" => self.extern_(c)?,
            ".license" => self.license(c)?,
            ".map" => self.map(c)?,
            ".inner" => self.inner(c)?,
            ".value" => self.value(c)?,
            ".byte" => self.numbers(c, 1)?,
            ".short" => self.numbers(c, 2)?,
            ".long" => self.numbers(c, 4)?,
            ".quad" => self.numbers(c, 8)?,
            ".ascii" => self.string(c, false)?,
            ".asciz" => self.string(c, true)?,
            ".zero" => self.zero(c)?,
            ".reloc" => self.reloc(c)?,
            _ => return Err(c.error_at(mark, Why::Directive)),
        }
        c.end()
    }

    /// `.section NAME[, code|rodata|data|bss][, align=N]`
    fn section(&mut self, c: &mut Cursor<'_>) -> Result<()> {
        let name = c.name("the section's name")?;
        let is_new = !self.section_index.contains_key(&name);
        let index = self.open_section(&name);
        let Some(section) = self.object.sections.get_mut(index) else { return Ok(()) };
        let mut aligned = !is_new;
        while c.eat(",") {
            let mark = c.mark();
            match attribute(c)?.as_str() {
                "align" => {
                    c.expect("=", "=")?;
                    let align = c.u32("an alignment")?;
                    if !align.is_power_of_two() {
                        return Err(c.error_at(mark, Why::NoSuchForm("an alignment is a power of two")));
                    }
                    section.align = align;
                    aligned = true;
                }
                word @ ("code" | "rodata" | "data" | "bss") => {
                    let contents = contents(word);
                    if !is_new && section.contents.word() != word {
                        return Err(
                            c.error_at(mark, Why::Place("the section was opened as another kind before"))
                        );
                    }
                    if is_new {
                        section.contents = contents;
                    }
                }
                _ => {
                    return Err(
                        c.error_at(mark, Why::Attribute { known: "code, rodata, data, bss and align=N" })
                    );
                }
            }
        }
        if !aligned {
            section.align = section.contents.usual_align();
        }
        Ok(())
    }

    /// `.func NAME[, local|weak][, hidden][, size=N][, offset=N][, prog_type=NAME]`
    fn symbol(&mut self, c: &mut Cursor<'_>, kind: SymbolKind) -> Result<()> {
        let index = match self.current {
            Some(index) => index,
            None => self.open_section(".text"),
        };
        let Some(section) = self.object.sections.get(index) else { return Ok(()) };
        let offset = section.contents.size();
        let name_mark = c.mark();
        let name = c.name("the symbol's name")?;
        let mut symbol =
            Symbol { name, kind, binding: Binding::Global, hidden: false, offset, size: 0, prog_type: None };
        let mut has_size = false;
        while c.eat(",") {
            let mark = c.mark();
            match attribute(c)?.as_str() {
                "local" => symbol.binding = Binding::Local,
                "weak" => symbol.binding = Binding::Weak,
                "hidden" => symbol.hidden = true,
                "size" => {
                    symbol.size = number(c, "a size")?;
                    has_size = true;
                }
                "offset" => symbol.offset = number(c, "an offset")?,
                "prog_type" => {
                    c.expect("=", "=")?;
                    symbol.prog_type = Some(c.name("a program type")?);
                }
                _ => {
                    let known = "local, weak, hidden, size=N, offset=N and prog_type=NAME";
                    return Err(c.error_at(mark, Why::Attribute { known }));
                }
            }
        }
        let is_label = self.labels.contains_key(&(index, symbol.name.clone()));
        let place = Place::Section { index, offset: symbol.offset, local: symbol.binding == Binding::Local };
        self.define(c, name_mark, &symbol.name, place)?;
        if is_label {
            return Err(c.error_at(name_mark, Why::Duplicate));
        }
        if let Some(drafts) = self.drafts.get_mut(index) {
            drafts.push(SymbolDraft { symbol, has_size });
        }
        Ok(())
    }

    fn define(&mut self, c: &Cursor<'_>, mark: usize, name: &str, place: Place) -> Result<()> {
        if self.names.contains_key(name) {
            return Err(c.error_at(mark, Why::Duplicate));
        }
        self.names.insert(name.into(), place);
        Ok(())
    }

    /// `.extern NAME[, func|object][, weak][, section=NAME]`
    fn extern_(&mut self, c: &mut Cursor<'_>) -> Result<()> {
        let name_mark = c.mark();
        let mut new = Extern {
            name: c.name("the extern's name")?,
            kind: SymbolKind::NoType,
            weak: false,
            section: None,
        };
        while c.eat(",") {
            let mark = c.mark();
            match attribute(c)?.as_str() {
                "func" => new.kind = SymbolKind::Func,
                "object" => new.kind = SymbolKind::Object,
                "weak" => new.weak = true,
                "section" => {
                    c.expect("=", "=")?;
                    new.section = Some(c.name("a section's name")?);
                }
                _ => {
                    return Err(
                        c.error_at(mark, Why::Attribute { known: "func, object, weak and section=NAME" })
                    );
                }
            }
        }
        self.define(c, name_mark, &new.name, Place::Outside)?;
        self.object.externs.push(new);
        Ok(())
    }

    /// `.license "GPL"`
    fn license(&mut self, c: &mut Cursor<'_>) -> Result<()> {
        let mark = c.mark();
        let text = match c.peek() {
            Some(Tok::Str(bytes)) => String::from_utf8(bytes.clone()).ok(),
            Some(Tok::Word(w)) => Some(w.clone()),
            _ => None,
        };
        let Some(text) = text.filter(|t| !t.contains('\0')) else {
            return c.expected("the licence as a string, such as \"GPL\"");
        };
        c.skip();
        if self.object.license.is_some() {
            return Err(c.error_at(mark, Why::Duplicate));
        }
        self.object.license = Some(text);
        Ok(())
    }

    /// `.map NAME, type=TYPE, key_size=N, value_size=N, max_entries=N, …`
    fn map(&mut self, c: &mut Cursor<'_>) -> Result<()> {
        let name_mark = c.mark();
        let name = c.name("the map's name")?;
        let mut map = MapDef::new(&name, MapSpec::default());
        while c.eat(",") {
            let mark = c.mark();
            let word = attribute(c)?;
            match word.as_str() {
                "local" => map.binding = Binding::Local,
                "weak" => map.binding = Binding::Weak,
                "section" => {
                    c.expect("=", "=")?;
                    map.section = c.name("a section's name")?;
                }
                word => spec_attribute(c, mark, word, &mut map.spec)?,
            }
        }
        if map.spec.map_type.is_empty() {
            return c.expected("type=TYPE among the map's attributes");
        }
        self.define(c, name_mark, &name, Place::Outside)?;
        self.object.maps.push(map);
        Ok(())
    }

    /// `.inner type=TYPE, …`: the shape of the maps in the map above.
    fn inner(&mut self, c: &mut Cursor<'_>) -> Result<()> {
        let Some(map) = self.object.maps.last_mut() else {
            return Err(c.error(Why::Place(".inner and .value belong below a .map")));
        };
        if map.inner.is_some() {
            return Err(c.error(Why::Duplicate));
        }
        let mut spec = MapSpec::default();
        loop {
            let mark = c.mark();
            let word = attribute(c)?;
            spec_attribute(c, mark, &word, &mut spec)?;
            if !c.eat(",") {
                break;
            }
        }
        if spec.map_type.is_empty() {
            return c.expected("type=TYPE among the map's attributes");
        }
        map.inner = Some(Box::new(spec));
        Ok(())
    }

    /// `.value INDEX, SYMBOL`: an initial entry of the map above.
    fn value(&mut self, c: &mut Cursor<'_>) -> Result<()> {
        let Some(map) = self.object.maps.len().checked_sub(1) else {
            return Err(c.error(Why::Place(".inner and .value belong below a .map")));
        };
        let index = c.u32("an index")?;
        c.expect(",", ",")?;
        let blame = c.error(Why::Undefined);
        let what = Reference::MapValue(map, index, c.name("a map or program")?);
        self.pending.push(Pending { section: 0, offset: 0, what, blame });
        Ok(())
    }

    /// `.byte N, N, …`; `.long` and `.quad` also take a symbol with offset.
    fn numbers(&mut self, c: &mut Cursor<'_>, size: usize) -> Result<()> {
        loop {
            let value = match c.peek() {
                Some(Tok::Word(_) | Tok::Str(_)) if size >= 4 => self.pointer(c, size)?,
                _ => {
                    let (min, max) = (-(1i128 << (size * 8 - 1)), (1i128 << (size * 8)) - 1);
                    c.number("a number of this size", min, max)?
                }
            };
            self.append(c, value.to_le_bytes().get(..size).unwrap_or(&[]))?;
            if !c.eat(",") {
                return Ok(());
            }
        }
    }

    /// A symbol in data: a relocation, and its addend as the number.
    fn pointer(&mut self, c: &mut Cursor<'_>, size: usize) -> Result<i128> {
        let kind = if size == 8 { R_BPF_64_ABS64 } else { R_BPF_64_ABS32 };
        let mark = c.mark();
        let target = insn::target(c)?;
        let (min, max) = (-(1i128 << (size * 8 - 1)), (1i128 << (size * 8)) - 1);
        let addend = match c.peek() {
            Some(Tok::Op("+" | "-")) => c.number("an offset", min, max)?,
            _ => 0,
        };
        self.refer(c, mark, Reference::Reloc(kind, target), None)?;
        Ok(addend)
    }

    /// `.reloc TYPE, TARGET[, offset=N]`: a relocation of what comes next.
    fn reloc(&mut self, c: &mut Cursor<'_>) -> Result<()> {
        let known = match c.peek() {
            Some(Tok::Word(w)) => RELOC_TYPES.iter().find(|r| r.1 == w).map(|r| r.0),
            _ => None,
        };
        let kind = match known {
            Some(kind) => {
                c.skip();
                kind
            }
            None => c.u32("a relocation type: R_BPF_64_64, R_BPF_64_32, R_BPF_64_ABS64, … or its number")?,
        };
        c.expect(",", ",")?;
        let mark = c.mark();
        let target = insn::target(c)?;
        let mut offset = None;
        if c.eat(",") {
            if !c.eat_word("offset") {
                return c.expected("offset=N");
            }
            offset = Some(number(c, "an offset")?);
        }
        self.refer(c, mark, Reference::Reloc(kind, target), offset)
    }

    /// Notes a reference at the current end of the section, or at `offset`.
    fn refer(&mut self, c: &Cursor<'_>, mark: usize, what: Reference, offset: Option<u64>) -> Result<()> {
        let Some((section, contents)) =
            self.current.and_then(|i| self.object.sections.get(i).map(|s| (i, &s.contents)))
        else {
            return Err(c.error(Why::Place("a relocation stands in a section: begin one with .section")));
        };
        let offset = offset.unwrap_or(contents.size());
        let blame = c.error_at(mark, Why::Undefined);
        self.pending.push(Pending { section, offset, what, blame });
        Ok(())
    }

    /// `.ascii "…"`, `.asciz "…"`
    fn string(&mut self, c: &mut Cursor<'_>, zero: bool) -> Result<()> {
        let Some(Tok::Str(bytes)) = c.peek() else { return c.expected("a string") };
        self.append(c, bytes)?;
        c.skip();
        if zero { self.append(c, &[0]) } else { Ok(()) }
    }

    /// `.zero N`
    fn zero(&mut self, c: &mut Cursor<'_>) -> Result<()> {
        let mark = c.mark();
        let n = c.u64("a number of bytes")?;
        if let Some(Contents::Bss(size)) = self.current_contents() {
            let limit = u64::from(u32::MAX);
            *size = size
                .checked_add(n)
                .filter(|s| *s <= limit)
                .ok_or_else(|| c.error_at(mark, Why::TooLarge { limit }))?;
            return Ok(());
        }
        let data = self.data(c)?.len();
        self.grow(c, n)?;
        // `grow` has bounded `n`.
        self.data(c)?.resize(data + n as usize, 0);
        Ok(())
    }

    fn append(&mut self, c: &Cursor<'_>, bytes: &[u8]) -> Result<()> {
        self.data(c)?;
        self.grow(c, bytes.len() as u64)?;
        self.data(c)?.extend_from_slice(bytes);
        Ok(())
    }

    fn current_contents(&mut self) -> Option<&mut Contents> {
        let index = self.current?;
        self.object.sections.get_mut(index).map(|s| &mut s.contents)
    }

    /// Bytes of the current section.
    fn data(&mut self, c: &Cursor<'_>) -> Result<&mut Vec<u8>> {
        match self.current_contents() {
            Some(Contents::ReadOnly(bytes) | Contents::Data(bytes)) => Ok(bytes),
            Some(Contents::Bss(_)) => {
                Err(c.error_at(0, Why::Place("this section holds zeros only: use .zero")))
            }
            Some(Contents::Code(_)) => {
                Err(c.error_at(0, Why::Place("data belongs to data sections, and this one holds code")))
            }
            None => Err(c.error_at(0, Why::Place("data stands in a section: begin one with .section"))),
        }
    }
}

fn contents(word: &str) -> Contents {
    match word {
        "rodata" => Contents::ReadOnly(Vec::new()),
        "data" => Contents::Data(Vec::new()),
        "bss" => Contents::Bss(0),
        _ => Contents::Code(Vec::new()),
    }
}

fn attribute(c: &mut Cursor<'_>) -> Result<String> {
    match c.peek() {
        Some(Tok::Word(w)) => {
            c.skip();
            Ok(w.clone())
        }
        _ => c.expected("an attribute"),
    }
}

/// `=` and a number.
fn number(c: &mut Cursor<'_>, what: &'static str) -> Result<u64> {
    c.expect("=", "=")?;
    c.u64(what)
}

/// The numbers of a map: attribute and field.
type SpecField = (&'static str, fn(&mut MapSpec) -> &mut u32);

/// The 32-bit attributes of a map, in the order in which they are printed.
pub(super) const SPEC_FIELDS: [SpecField; 6] = [
    ("key_size", |s| &mut s.key_size),
    ("value_size", |s| &mut s.value_size),
    ("max_entries", |s| &mut s.max_entries),
    ("map_flags", |s| &mut s.map_flags),
    ("pinning", |s| &mut s.pinning),
    ("numa_node", |s| &mut s.numa_node),
];

fn spec_attribute(c: &mut Cursor<'_>, mark: usize, word: &str, spec: &mut MapSpec) -> Result<()> {
    if let Some((_, field)) = SPEC_FIELDS.iter().find(|f| f.0 == word) {
        c.expect("=", "=")?;
        *field(spec) = c.u32("a number (32 bits)")?;
        return Ok(());
    }
    match word {
        "type" => {
            c.expect("=", "=")?;
            spec.map_type = match c.peek() {
                Some(&Tok::Num(n, _)) => {
                    c.skip();
                    alloc::format!("{n}")
                }
                _ => c.name("a map type, such as hash")?,
            };
        }
        "map_extra" => spec.map_extra = number(c, "a number (64 bits)")?,
        _ => {
            let known = "type, key_size, value_size, max_entries, map_flags, pinning, numa_node, map_extra, \
                         and for .map also section, local and weak";
            return Err(c.error_at(mark, Why::Attribute { known }));
        }
    }
    Ok(())
}
