//! One line of assembly text to tokens, with the columns where they stand. Words are cut at anything that is not a
//! letter, digit, `_`, `.` or `$`; names with other characters are written as strings.

use super::error::{AsmError, Why};
use crate::op::Reg;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

/// A token. Operators are the longest that match, so `s>>=` is one.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Tok {
    Word(String),
    Str(Vec<u8>),
    /// A number without sign, and whether it was written in hexadecimal.
    Num(u64, bool),
    Op(&'static str),
}

/// A token and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Token {
    pub(super) tok: Tok,
    /// Column in characters, from 1.
    pub(super) column: usize,
    /// As written.
    pub(super) text: String,
}

/// All operators; of two that match, the longer stands first.
const OPS: [&str; 37] = [
    "s>>=", ">>=", "<<=", "s>=", "s<=", "s/=", "s%=", "==", "!=", ">=", "<=", "+=", "-=", "*=", "/=", "|=",
    "&=", "%=", "^=", "s>", "s<", ">", "<", "=", "&", "+", "-", "*", "(", ")", "[", "]", ",", ":", "#", "{",
    "}",
];

/// The tokens of one line, without its comment.
pub(super) fn tokens(line: usize, text: &str) -> Result<Vec<Token>, AsmError> {
    let mut lexer = Lexer { line, rest: text, column: 1, spaced: true };
    let mut all = Vec::new();
    while let Some(token) = lexer.next()? {
        all.push(token);
    }
    Ok(all)
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == '.' || c == '$'
}

fn is_word(c: char) -> bool {
    is_word_start(c) || c.is_ascii_digit()
}

/// Can this name stand without quotes?
pub(super) fn is_plain_name(name: &str) -> bool {
    // `s` before an operator is part of it.
    name != "s" && name.chars().next().is_some_and(is_word_start) && name.chars().all(is_word)
}

struct Lexer<'a> {
    line: usize,
    rest: &'a str,
    column: usize,
    /// Did white space (or the line's begin) stand before?
    spaced: bool,
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<Option<Token>, AsmError> {
        self.skip_space();
        let Some(c) = self.rest.chars().next() else { return Ok(None) };
        if c == ';' || self.rest.starts_with("//") || (c == '#' && self.spaced) {
            return Ok(None);
        }
        self.spaced = false;
        let rest = self.rest;
        if let Some(op) = OPS.iter().find(|op| rest.starts_with(**op)) {
            return Ok(Some(self.take(op.len(), Tok::Op(op))));
        }
        if c == '"' {
            return self.string().map(Some);
        }
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or("");
        if c.is_ascii_digit() {
            let tok =
                number(word).ok_or_else(|| self.error(word, "a number is decimal, or 0x and hexadecimal"))?;
            return Ok(Some(self.take(end, tok)));
        }
        if is_word_start(c) {
            return Ok(Some(self.take(end, Tok::Word(word.to_owned()))));
        }
        let mut bad = [0; 4];
        Err(self.error(c.encode_utf8(&mut bad), "this character begins no token"))
    }

    fn skip_space(&mut self) {
        let trimmed = self.rest.trim_start();
        if trimmed.len() < self.rest.len() {
            let skipped = self.rest.get(..self.rest.len() - trimmed.len()).unwrap_or("");
            self.column += skipped.chars().count();
            self.rest = trimmed;
            self.spaced = true;
        }
    }

    /// Takes `len` bytes as this token.
    fn take(&mut self, len: usize, tok: Tok) -> Token {
        let (text, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        let token = Token { tok, column: self.column, text: text.to_owned() };
        self.column += text.chars().count();
        self.rest = rest;
        token
    }

    fn string(&mut self) -> Result<Token, AsmError> {
        let mut bytes = Vec::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return Ok(self.take(at + 1, Tok::Str(bytes))),
                '\\' => {
                    let escaped = chars.next().map(|(_, c)| c);
                    let digits = [(); 2].map(|()| if escaped == Some('x') { chars.next() } else { None });
                    let byte = escape(escaped, digits.map(|d| d.and_then(|(_, c)| c.to_digit(16))));
                    bytes.push(byte.ok_or_else(|| {
                        self.error(
                            r"\",
                            r#"escapes are \\, \", \n, \t, \r, \0 and \x with two hexadecimal digits"#,
                        )
                    })?);
                }
                c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Err(self.error(self.rest, "the string does not end on this line"))
    }

    fn error(&self, token: &str, what: &'static str) -> AsmError {
        AsmError { line: self.line, column: self.column, token: token.to_owned(), why: Why::Token(what) }
    }
}

fn escape(c: Option<char>, hex: [Option<u32>; 2]) -> Option<u8> {
    match (c?, hex) {
        ('n', _) => Some(b'\n'),
        ('t', _) => Some(b'\t'),
        ('r', _) => Some(b'\r'),
        ('0', _) => Some(0),
        ('\\', _) => Some(b'\\'),
        ('"', _) => Some(b'"'),
        ('x', [Some(high), Some(low)]) => u8::try_from(high << 4 | low).ok(),
        _ => None,
    }
}

fn number(word: &str) -> Option<Tok> {
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok().map(|n| Tok::Num(n, true)),
        None => word.parse().ok().map(|n| Tok::Num(n, false)),
    }
}

/// The tokens of a line, read from left to right.
pub(super) struct Cursor<'a> {
    line: usize,
    tokens: &'a [Token],
    end_column: usize,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: usize, tokens: &'a [Token], end_column: usize) -> Cursor<'a> {
        Cursor { line, tokens, end_column, at: 0 }
    }

    pub(super) fn peek(&self) -> Option<&'a Tok> {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<&'a Tok> {
        self.tokens.get(self.at + ahead).map(|t| &t.tok)
    }

    pub(super) fn skip(&mut self) {
        self.at += 1;
    }

    /// Index of the next token, for [`Cursor::error_at`].
    pub(super) fn mark(&self) -> usize {
        self.at
    }

    /// An error about the next token.
    pub(super) fn error(&self, why: Why) -> AsmError {
        self.error_at(self.at, why)
    }

    pub(super) fn error_at(&self, mark: usize, why: Why) -> AsmError {
        let (column, token) = match self.tokens.get(mark) {
            Some(t) => (t.column, t.text.clone()),
            None => (self.end_column, String::new()),
        };
        AsmError { line: self.line, column, token, why }
    }

    pub(super) fn expected<T>(&self, what: &'static str) -> Result<T, AsmError> {
        Err(self.error(Why::Expected(what)))
    }

    /// Is the next token this operator? Then it is taken.
    pub(super) fn eat(&mut self, op: &str) -> bool {
        let is = matches!(self.peek(), Some(Tok::Op(o)) if *o == op);
        self.at += usize::from(is);
        is
    }

    /// Is the next token this word? Then it is taken.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Some(Tok::Word(w)) if w == word);
        self.at += usize::from(is);
        is
    }

    pub(super) fn expect(&mut self, op: &str, what: &'static str) -> Result<(), AsmError> {
        if self.eat(op) { Ok(()) } else { self.expected(what) }
    }

    pub(super) fn operator(&mut self, what: &'static str) -> Result<&'static str, AsmError> {
        match self.peek() {
            Some(Tok::Op(op)) => {
                self.skip();
                Ok(op)
            }
            _ => self.expected(what),
        }
    }

    pub(super) fn end(&self) -> Result<(), AsmError> {
        if self.at >= self.tokens.len() { Ok(()) } else { self.expected("the end of the line") }
    }

    /// A name: a word, or a string of valid UTF-8.
    pub(super) fn name(&mut self, what: &'static str) -> Result<String, AsmError> {
        let name = match self.peek() {
            Some(Tok::Word(w)) => w.clone(),
            Some(Tok::Str(bytes)) => match String::from_utf8(bytes.clone()) {
                Ok(s) if !s.is_empty() && !s.contains('\0') => s,
                _ => return self.expected("a name of valid UTF-8, not empty and without zero bytes"),
            },
            _ => return self.expected(what),
        };
        self.skip();
        Ok(name)
    }

    /// A number with optional sign, from `min` to `max`.
    pub(super) fn number(&mut self, what: &'static str, min: i128, max: i128) -> Result<i128, AsmError> {
        let negative = self.eat("-");
        if !negative {
            self.eat("+");
        }
        let mark = self.at;
        let Some(&Tok::Num(n, _)) = self.peek() else { return self.expected(what) };
        self.skip();
        let value = if negative { -i128::from(n) } else { i128::from(n) };
        if value < min || value > max {
            return Err(self.error_at(mark, Why::Range { what, min, max }));
        }
        Ok(value)
    }

    pub(super) fn i32(&mut self, what: &'static str) -> Result<i32, AsmError> {
        self.number(what, i32::MIN.into(), i32::MAX.into()).map(|n| n as i32)
    }

    /// A 32-bit pattern: signed, or unsigned up to 0xffffffff.
    pub(super) fn pattern32(&mut self, what: &'static str) -> Result<i32, AsmError> {
        self.number(what, i32::MIN.into(), u32::MAX.into()).map(|n| n as u32 as i32)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, AsmError> {
        self.number(what, 0, u32::MAX.into()).map(|n| n as u32)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, AsmError> {
        self.number(what, 0, u16::MAX.into()).map(|n| n as u16)
    }

    pub(super) fn i16(&mut self, what: &'static str) -> Result<i16, AsmError> {
        self.number(what, i16::MIN.into(), i16::MAX.into()).map(|n| n as i16)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, AsmError> {
        self.number(what, 0, u64::MAX.into()).map(|n| n as u64)
    }

    /// A 64-bit pattern: signed, or unsigned up to 2^64 - 1.
    pub(super) fn pattern64(&mut self, what: &'static str) -> Result<u64, AsmError> {
        self.number(what, i64::MIN.into(), u64::MAX.into()).map(|n| n as u64)
    }

    /// The register that the next token names, with its letter: `r3` is 64-bit (`true`).
    pub(super) fn peek_reg(&self) -> Option<(Reg, bool)> {
        match self.peek() {
            Some(Tok::Word(w)) => register(w),
            _ => None,
        }
    }

    pub(super) fn any_reg(&mut self) -> Result<(Reg, bool), AsmError> {
        match self.peek_reg() {
            Some(found) => {
                self.skip();
                Ok(found)
            }
            None => self.expected("a register, r0 to r10 or w0 to w10"),
        }
    }

    /// A 64-bit register.
    pub(super) fn reg(&mut self) -> Result<Reg, AsmError> {
        match self.peek_reg() {
            Some((reg, true)) => {
                self.skip();
                Ok(reg)
            }
            _ => self.expected("a 64-bit register, r0 to r10"),
        }
    }
}

fn register(word: &str) -> Option<(Reg, bool)> {
    let (digits, wide) = match (word.strip_prefix('r'), word.strip_prefix('w')) {
        (Some(digits), _) => (digits, true),
        (_, Some(digits)) => (digits, false),
        _ => return None,
    };
    if digits.len() > 1 && digits != "10" || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((Reg::new(digits.parse().ok()?)?, wide))
}

/// Is this word a register, so that it cannot be a name without quotes?
pub(super) fn is_register(word: &str) -> bool {
    register(word).is_some()
}
