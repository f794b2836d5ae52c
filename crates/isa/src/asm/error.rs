//! What can be wrong with assembly text: one variant a rule, with the line, the column and the token.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// After this many errors the assembler gives up on the file.
pub const MAX_ERRORS: usize = 100;

/// One error in assembly text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AsmError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The offending token; empty at the end of the line.
    pub token: String,
    /// What is wrong with it.
    pub why: Why,
}

/// The rule that a token breaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// Something else must stand here.
    Expected(&'static str),
    /// A character that begins no token, or a literal that does not end.
    Token(&'static str),
    /// A number that its place cannot hold.
    Range {
        /// What the number is.
        what: &'static str,
        /// Smallest that is allowed.
        min: i128,
        /// Largest that is allowed.
        max: i128,
    },
    /// Unknown directive.
    Directive,
    /// Unknown attribute of a directive.
    Attribute {
        /// The attributes that the directive knows.
        known: &'static str,
    },
    /// The directive or instruction must not stand in this section, or before any section.
    Place(&'static str),
    /// No label, symbol, map, extern or section has this name.
    Undefined,
    /// The name is defined twice.
    Duplicate,
    /// A jump or call whose target is too far away for its offset field.
    Distance {
        /// Distance in slots.
        slots: i64,
        /// What to use instead.
        instead: &'static str,
    },
    /// The register of a negation or byte swap must stand on both sides.
    SameRegister,
    /// Register letters of different widths in one instruction.
    MixedWidths,
    /// The instruction does not exist in this width, size or form.
    NoSuchForm(&'static str),
    /// The object would be larger than the assembler builds.
    TooLarge {
        /// Limit in bytes.
        limit: u64,
    },
}

impl fmt::Display for AsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        match self.token.as_str() {
            "" if self.column > 1 => f.write_str("end of line: ")?,
            "" => {}
            token => write!(f, "`{token}`: ")?,
        }
        match &self.why {
            Why::Expected(what) => write!(f, "expected {what}"),
            Why::Token(what) => f.write_str(what),
            Why::Range { what, min, max } => write!(f, "{what} must be from {min} to {max}"),
            Why::Directive => {
                f.write_str("unknown directive; known are ")?;
                f.write_str(super::DIRECTIVES)
            }
            Why::Attribute { known } => write!(f, "unknown attribute; known are {known}"),
            Why::Place(rule) => f.write_str(rule),
            Why::Undefined => {
                f.write_str("nothing has this name: define a label, or declare it with .extern")
            }
            Why::Duplicate => f.write_str("defined twice"),
            Why::Distance { slots, instead } => write!(f, "the target is {slots} slots away; {instead}"),
            Why::SameRegister => f.write_str("the same register must stand on both sides"),
            Why::MixedWidths => f.write_str("r and w registers cannot be mixed in one instruction"),
            Why::NoSuchForm(what) => f.write_str(what),
            Why::TooLarge { limit } => write!(f, "the object would be larger than {limit} bytes"),
        }
    }
}

impl core::error::Error for AsmError {}

/// Everything wrong with a text, in the order of the lines, [`MAX_ERRORS`] at most. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AsmErrors(pub Vec<AsmError>);

impl fmt::Display for AsmErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, e) in self.0.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "\n" })?;
            e.fmt(f)?;
        }
        Ok(())
    }
}

impl core::error::Error for AsmErrors {}
