//! Why a program cannot be bound.

use std::fmt;

use crate::error::Place;

/// A program that cannot be bound, and the instruction at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindError {
    /// The program.
    pub program: String,
    /// The instruction at fault.
    pub at: Option<Box<At>>,
    /// What is wrong.
    pub kind: BindErrorKind,
}

/// An instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// Section, function and byte offset in the section.
    pub place: Place,
    /// Its index in the function.
    pub insn: u32,
}

/// What is wrong with a program that cannot be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BindErrorKind {
    /// The object has no such program.
    NoProgram {
        /// Programs it has.
        have: Vec<String>,
    },
    /// A reference that could not be understood when the object was opened.
    Relocation {
        /// Symbol it names, empty if none.
        symbol: String,
        /// Why.
        why: &'static str,
    },
    /// An extern that cannot be resolved.
    Extern {
        /// Its name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// A CO-RE relocation that is malformed, ambiguous or on the wrong instruction.
    Core(String),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "program {:?}: ", self.program)?;
        if let Some(at) = &self.at {
            write!(f, "{} (instruction {}): ", at.place, at.insn)?;
        }
        self.kind.fmt(f)
    }
}

impl std::error::Error for BindError {}

impl fmt::Display for BindErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindErrorKind::NoProgram { have } if have.is_empty() => f.write_str("the object has no programs"),
            BindErrorKind::NoProgram { have } => {
                write!(f, "no such program; the object has {}", have.join(", "))
            }
            BindErrorKind::Relocation { symbol, why } if symbol.is_empty() => write!(f, "relocation: {why}"),
            BindErrorKind::Relocation { symbol, why } => write!(f, "relocation against {symbol:?}: {why}"),
            BindErrorKind::Extern { name, why } => write!(f, "extern {name:?} cannot be resolved: {why}"),
            BindErrorKind::Core(what) => write!(f, "CO-RE relocation: {what}"),
        }
    }
}
