//! The assembler: text → [`AsmObject`] ([`parse`]) or plain instructions ([`parse_insns`]), and objects → text
//! ([`print()`]). The grammar is in `docs/assembly.md`.
//!
//! Flow: a line becomes tokens ([`lex`]), tokens an instruction ([`insn`]) or a directive ([`directive`]); names are
//! resolved when all lines are read ([`resolve`]). A line with an error is skipped and reading goes on, so that all
//! errors are reported at once. Time and memory are linear in the text, up to [`MAX_SIZE`].
//!
//! Always holds (tested): `parse(print(x)) == x` for every object, and instructions that [`crate::disasm`] writes
//! assemble to the same bytes.

mod directive;
mod error;
mod insn;
mod lex;
mod object;
mod print;
mod resolve;

pub use error::{AsmError, AsmErrors, MAX_ERRORS, Why};
pub use object::*;
pub use print::{NoObjectNames, ObjectNames, ObjectStyle, print};

use crate::insn::Insn;
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use directive::SymbolDraft;
use insn::{Fix, Parsed};
use lex::{Cursor, Tok};

/// The assembler builds objects whose code and data have this many bytes at most.
pub const MAX_SIZE: u64 = 64 << 20;

/// Longest line in bytes, so that no line's tokens take much memory.
pub const MAX_LINE: usize = 256 << 10;

/// All directives, for messages.
const DIRECTIVES: &str = ".section, .text, .func, .object, .symbol, .extern, .license, .map, .inner, .value, .byte, \
                          .short, .long, .quad, .ascii, .asciz, .zero, .reloc and .insn";

type Result<T, E = AsmError> = core::result::Result<T, E>;

/// Reads a whole assembly file. Instructions before any `.section` go to `.text`.
pub fn parse(text: &str) -> Result<AsmObject, AsmErrors> {
    let mut assembler = Assembler::default();
    for (i, line) in text.lines().enumerate() {
        if let Err(e) = assembler.line(i + 1, line) {
            assembler.errors.push(e);
        }
        if assembler.errors.len() >= MAX_ERRORS {
            break;
        }
    }
    assembler.finish()
}

/// Reads instructions without an object around them: labels and functions of the text resolve, and there is no other
/// section, map or symbol to refer to.
pub fn parse_insns(text: &str) -> Result<Vec<Insn>, AsmErrors> {
    let mut assembler = Assembler { closed: true, ..Assembler::default() };
    for (i, line) in text.lines().enumerate() {
        if let Err(e) = assembler.line(i + 1, line) {
            assembler.errors.push(e);
        }
        if assembler.errors.len() >= MAX_ERRORS {
            break;
        }
    }
    let object = assembler.finish()?;
    Ok(match object.sections.into_iter().next().map(|s| s.contents) {
        Some(Contents::Code(insns)) => insns,
        _ => Vec::new(),
    })
}

/// The text read so far.
#[derive(Default)]
struct Assembler {
    object: AsmObject,
    /// Index of the section that is being filled.
    current: Option<usize>,
    /// Symbols of each section, with sizes still open.
    drafts: Vec<Vec<SymbolDraft>>,
    /// Index of each section by name.
    section_index: BTreeMap<String, usize>,
    /// Slot of each label, by section.
    labels: BTreeMap<(usize, String), usize>,
    /// Where each symbol, map and extern is defined.
    names: BTreeMap<String, Place>,
    pending: Vec<Pending>,
    /// Bytes of code and data so far.
    size: u64,
    /// Only instructions of one section, nothing outside of it.
    closed: bool,
    errors: Vec<AsmError>,
}

/// Where a name is defined.
#[derive(Clone, Copy)]
enum Place {
    /// A symbol of a section; `local` ones are resolved within it.
    Section { index: usize, offset: u64, local: bool },
    /// A map or an extern.
    Outside,
}

/// Something that refers to a name, to be resolved at the end.
struct Pending {
    section: usize,
    offset: u64,
    what: Reference,
    /// The error, should the name mean nothing.
    blame: AsmError,
}

enum Reference {
    Insn(crate::op::Op, Fix),
    Reloc(u32, Target),
    /// Entry of the map with this index.
    MapValue(usize, u32, String),
}

impl Assembler {
    fn line(&mut self, number: usize, text: &str) -> Result<()> {
        if text.len() > MAX_LINE {
            let why = Why::Token("the line is longer than 262144 bytes; split it");
            return Err(AsmError { line: number, column: 1, token: String::new(), why });
        }
        let (skipped, text) = strip_listing_prefix(text);
        if let Some(rest) = raw_insn(text) {
            let column = skipped + text.chars().count() - rest.chars().count() + 1;
            return self.raw_insn(number, column, rest);
        }
        let mut tokens = lex::tokens(number, text)?;
        tokens.iter_mut().for_each(|t| t.column += skipped);
        let end_column = skipped + text.trim_end().chars().count() + 1;
        let mut cursor = Cursor::new(number, &tokens, end_column);
        while cursor.peek_at(1) == Some(&Tok::Op(":")) {
            self.label(&mut cursor)?;
        }
        match cursor.peek() {
            None => Ok(()),
            Some(Tok::Word(w)) if w.starts_with('.') => self.directive(&mut cursor),
            Some(_) => {
                let parsed = insn::parse(&mut cursor)?;
                self.insn(&cursor, parsed)
            }
        }
    }

    fn label(&mut self, c: &mut Cursor<'_>) -> Result<()> {
        let section = self.code_section(c)?;
        let mark = c.mark();
        let name = c.name("a label")?;
        let known = matches!(self.names.get(&name), Some(Place::Section { index, .. }) if *index == section);
        let slot = self.code(section).map_or(0, |code| code.len());
        if known || self.labels.insert((section, name), slot).is_some() {
            return Err(c.error_at(mark, Why::Duplicate));
        }
        c.expect(":", ":")
    }

    fn insn(&mut self, c: &Cursor<'_>, parsed: Parsed) -> Result<()> {
        let section = self.code_section(c)?;
        let encoded = parsed.op.encode();
        self.grow(c, encoded.len() as u64 * 8)?;
        let Some(code) = self.code(section) else { return Ok(()) };
        let slot = code.len();
        code.extend_from_slice(&encoded);
        if let Some((fix, mark)) = parsed.fix {
            let what = Reference::Insn(parsed.op, fix);
            let blame = c.error_at(mark, Why::Undefined);
            self.pending.push(Pending { section, offset: slot as u64 * 8, what, blame });
        }
        Ok(())
    }

    /// `.insn` and eight bytes in hexadecimal.
    fn raw_insn(&mut self, line: usize, column: usize, rest: &str) -> Result<()> {
        let c = Cursor::new(line, &[], column);
        let bad = |token: &str| AsmError {
            line,
            column,
            token: token.to_owned(),
            why: Why::Expected("eight bytes of two hexadecimal digits each"),
        };
        let code = rest.split([';', '#']).next().unwrap_or("");
        let mut bytes = [0; 8];
        let mut words = code.split_ascii_whitespace();
        for byte in &mut bytes {
            let word = words.next().unwrap_or("");
            let digits = word.len() == 2 && word.bytes().all(|b| b.is_ascii_hexdigit());
            let value = if digits { u8::from_str_radix(word, 16).ok() } else { None };
            *byte = value.ok_or_else(|| bad(word))?;
        }
        if let Some(word) = words.next() {
            return Err(bad(word));
        }
        let section = self.code_section(&c)?;
        self.grow(&c, 8)?;
        self.code(section).into_iter().for_each(|code| code.push(Insn(bytes)));
        Ok(())
    }

    /// The section that instructions go to.
    fn code_section(&mut self, c: &Cursor<'_>) -> Result<usize> {
        let index = match self.current {
            Some(index) => index,
            None => self.open_section(".text"),
        };
        match self.object.sections.get(index).map(|s| &s.contents) {
            Some(Contents::Code(_)) => Ok(index),
            _ => Err(c.error_at(
                0,
                Why::Place("instructions and labels belong to code sections, and this one holds data"),
            )),
        }
    }

    /// Makes the section of this name the current one; a new one is empty and of the usual kind.
    fn open_section(&mut self, name: &str) -> usize {
        let next = self.object.sections.len();
        let index = *self.section_index.entry(name.to_owned()).or_insert(next);
        if index == next {
            let contents = Contents::usual(name);
            let align = contents.usual_align();
            let (name, symbols, relocs) = (name.to_owned(), Vec::new(), Vec::new());
            self.object.sections.push(Section { name, contents, align, symbols, relocs });
            self.drafts.push(Vec::new());
        }
        self.current = Some(index);
        index
    }

    /// Instructions of a section; `None` when it holds data.
    fn code(&mut self, section: usize) -> Option<&mut Vec<Insn>> {
        match self.object.sections.get_mut(section).map(|s| &mut s.contents) {
            Some(Contents::Code(insns)) => Some(insns),
            _ => None,
        }
    }

    /// Counts bytes against [`MAX_SIZE`].
    fn grow(&mut self, c: &Cursor<'_>, bytes: u64) -> Result<()> {
        match self.size.checked_add(bytes) {
            Some(size) if size <= MAX_SIZE => {
                self.size = size;
                Ok(())
            }
            _ => Err(c.error(Why::TooLarge { limit: MAX_SIZE })),
        }
    }
}

/// Takes `12: (bf) ` off, with which the kernel begins its lines. Returns the number of characters taken, and the rest.
fn strip_listing_prefix(text: &str) -> (usize, &str) {
    let trimmed = text.trim_start();
    let rest = trimmed.trim_start_matches(|c: char| c.is_ascii_digit());
    let Some(after) = rest.strip_prefix(':').filter(|_| rest.len() < trimmed.len()) else { return (0, text) };
    let after = after.trim_start();
    let opcode = after
        .strip_prefix('(')
        .and_then(|s| s.split_at_checked(2))
        .filter(|(hex, tail)| hex.bytes().all(|b| b.is_ascii_hexdigit()) && tail.starts_with(')'));
    let after = opcode.and_then(|(_, tail)| tail.strip_prefix(')')).unwrap_or(after);
    (text.chars().count() - after.chars().count(), after)
}

/// What follows `.insn`, whose bytes are no tokens.
fn raw_insn(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix(".insn").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}
