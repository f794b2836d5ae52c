//! A value as text, in the notation of C initialisers: `{.pid = 7, .comm = "bash", .flags = [1, 0]}`. The text can be
//! read back (`parse.rs`).

use std::fmt::{self, Write};

use super::Value;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TextOptions {
    /// One member a line, indented with tabs; else all on one line.
    pub indented: bool,
    /// Members that are zero are left out; elements of arrays are not.
    pub omit_zero: bool,
}

impl fmt::Display for Value<'_> {
    /// On one line, or with `{:#}` indented.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text(TextOptions { indented: f.alternate(), omit_zero: false }))
    }
}

impl Value<'_> {
    /// The value as text.
    pub fn to_text(&self, options: TextOptions) -> String {
        let mut writer = Writer { out: String::new(), options };
        // writing to a string does not fail
        let _ = writer.value(self, 0);
        writer.out
    }
}

/// Elements on one line in the indented form.
const PER_LINE: usize = 16;

struct Writer {
    out: String,
    options: TextOptions,
}

impl Writer {
    fn value(&mut self, value: &Value<'_>, depth: usize) -> fmt::Result {
        match value {
            Value::Int(n) => write!(self.out, "{n}"),
            Value::Uint(n) => write!(self.out, "{n}"),
            Value::Bool(b) => write!(self.out, "{b}"),
            Value::Char(c) => self.char(*c),
            Value::Float(x) => write!(self.out, "{x:?}"),
            Value::Enum { name: Some(name), .. } => self.out.write_str(name),
            Value::Enum { name: None, value } => write!(self.out, "{value}"),
            Value::Str(s) => self.string(s),
            Value::Pointer(p) => write!(self.out, "{p:#x}"),
            Value::Array(items) => self.array(items, depth),
            Value::Struct(fields) => self.fields(fields, depth),
        }
    }

    fn char(&mut self, c: u8) -> fmt::Result {
        match c {
            b'\'' | b'\\' => write!(self.out, "'\\{}'", c as char),
            0x20..=0x7e => write!(self.out, "'{}'", c as char),
            _ => write!(self.out, "'\\x{c:02x}'"),
        }
    }

    fn string(&mut self, s: &str) -> fmt::Result {
        self.out.push('"');
        for c in s.chars() {
            match c {
                '"' | '\\' => write!(self.out, "\\{c}")?,
                '\n' => self.out.push_str("\\n"),
                '\t' => self.out.push_str("\\t"),
                c if c.is_ascii_control() => write!(self.out, "\\x{:02x}", c as u32)?,
                c => self.out.push(c),
            }
        }
        self.out.write_char('"')
    }

    fn array(&mut self, items: &[Value<'_>], depth: usize) -> fmt::Result {
        let long = self.options.indented
            && (items.len() > PER_LINE
                || items.iter().any(|i| matches!(i, Value::Array(_) | Value::Struct(_))));
        let simple = items.iter().all(|i| !matches!(i, Value::Array(_) | Value::Struct(_)));
        self.out.push('[');
        for (i, item) in items.iter().enumerate() {
            if long && (!simple || i % PER_LINE == 0) {
                self.new_line(depth + 1);
            } else if i > 0 {
                self.out.push(' ');
            }
            self.value(item, depth + 1)?;
            if i + 1 < items.len() {
                self.out.push(',');
            }
        }
        if long {
            self.new_line(depth);
        }
        self.out.write_char(']')
    }

    fn fields(&mut self, fields: &[(&str, Value<'_>)], depth: usize) -> fmt::Result {
        self.out.push('{');
        let mut first = true;
        let omit_zero = self.options.omit_zero;
        for (name, value) in fields.iter().filter(|f| !(omit_zero && f.1.is_zero())) {
            if !first {
                self.out.push(',');
            }
            if self.options.indented {
                self.new_line(depth + 1);
            } else if !first {
                self.out.push(' ');
            }
            first = false;
            write!(self.out, ".{name} = ")?;
            self.value(value, depth + 1)?;
        }
        if self.options.indented && !first {
            self.new_line(depth);
        }
        self.out.write_char('}')
    }

    fn new_line(&mut self, depth: usize) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n('\t', depth));
    }
}
