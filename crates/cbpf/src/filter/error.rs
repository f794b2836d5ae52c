//! What is wrong with a filter expression: libpcap's texts, and where.

use std::fmt;

/// Bytes of the expression.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// First.
    pub start: usize,
    /// Behind the last.
    pub end: usize,
}

/// A refusal of an expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilterError {
    /// Where.
    pub span: Span,
    /// Why.
    pub why: Why,
}

/// Rules of the filter language. The texts are libpcap's where it has one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// The words make no expression.
    Syntax,
    /// A character that begins no word.
    IllegalChar(char),
    /// More words, or more parentheses inside each other, than the limits.
    TooDeep,
    /// The rest of libpcap's texts.
    Text(String),
    /// No link type has this name.
    LinkType(String),
    /// The program would have more instructions than the kernel takes.
    TooLong(usize),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Syntax => f.write_str("can't parse filter expression: syntax error"),
            Why::IllegalChar(c) => write!(f, "can't parse filter expression: syntax error at {c:?}"),
            Why::TooDeep => f.write_str("the expression is too long, or nested too deeply"),
            Why::Text(text) => f.write_str(text),
            Why::LinkType(name) => {
                write!(f, "unknown data link type {name}; names are libpcap's, such as EN10MB")
            }
            Why::TooLong(n) => write!(f, "the filter has {n} instructions; split it up"),
        }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl std::error::Error for FilterError {}

impl FilterError {
    /// The error with the expression and a caret under the place.
    ///
    /// ```text
    /// syntax error
    ///     tcp prot 80
    ///         ^^^^
    /// ```
    pub fn with_caret(&self, expr: &str) -> String {
        let line_start = expr.get(..self.span.start).and_then(|s| s.rfind('\n')).map_or(0, |n| n + 1);
        let line = expr.get(line_start..).and_then(|l| l.lines().next()).unwrap_or("");
        let before = expr.get(line_start..self.span.start).unwrap_or("");
        let pad: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let width = expr.get(self.span.start..self.span.end).map_or(1, |s| s.chars().count().max(1));
        format!("{self}\n    {line}\n    {pad}{}", "^".repeat(width))
    }
}
