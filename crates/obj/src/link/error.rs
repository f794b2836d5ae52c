//! Why objects cannot be linked.

use std::fmt;

use crate::error::{ObjError, Place};

/// Objects that cannot be linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkError {
    /// Index of the file at fault.
    pub file: usize,
    /// Where in it.
    pub place: Place,
    /// What is wrong.
    pub kind: LinkErrorKind,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkErrorKind {
    /// The file is no object.
    Object(Box<ObjError>),
    /// The parts are good and what they make together is not.
    Result(Box<ObjError>),
    /// Two strong definitions of one name.
    Duplicate {
        /// Index of the file that defines it first.
        other: usize,
    },
    /// `license` or `version` differ between files.
    Differs {
        /// Index of the file with the other one.
        other: usize,
    },
    /// Sections of one name that cannot lie together.
    Mixed {
        /// Index of the file with the other one.
        other: usize,
        /// What differs.
        what: &'static str,
    },
    /// An extern and the definition that it means have other types.
    Types {
        /// Index of the file that defines it.
        other: usize,
        /// What differs.
        what: &'static str,
    },
    /// One name is a function here and a variable there.
    Kind {
        /// Index of the other file.
        other: usize,
    },
    /// A relocation against a section that cannot move.
    Relocation(&'static str),
    /// The result would be too large.
    TooBig,
    /// Type information cannot be merged.
    Btf(String),
}

impl LinkError {
    pub(super) fn object(file: usize, e: ObjError) -> LinkError {
        LinkError { file, place: e.place.clone(), kind: LinkErrorKind::Object(Box::new(e)) }
    }

    pub(super) fn at(file: usize, section: &str, offset: u64, kind: LinkErrorKind) -> LinkError {
        LinkError { file, place: Place::section(section).at(offset), kind }
    }

    pub(super) fn symbol(file: usize, name: &str, kind: LinkErrorKind) -> LinkError {
        LinkError { file, place: Place::file().symbol(name), kind }
    }
}

impl fmt::Display for LinkError {
    /// Files are counted from 1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let LinkErrorKind::Result(e) = &self.kind {
            return write!(f, "the linked object: {e}");
        }
        write!(f, "input {}: ", self.file + 1)?;
        if let LinkErrorKind::Object(e) = &self.kind {
            return e.fmt(f);
        }
        write!(f, "{}: ", self.place)?;
        match &self.kind {
            LinkErrorKind::Object(_) | LinkErrorKind::Result(_) => Ok(()),
            LinkErrorKind::Duplicate { other } => {
                write!(f, "also defined in input {}; make one of them static or weak", other + 1)
            }
            LinkErrorKind::Differs { other } => write!(f, "differs from that of input {}", other + 1),
            LinkErrorKind::Mixed { other, what } => {
                write!(f, "{what} differs from that of input {}", other + 1)
            }
            LinkErrorKind::Types { other, what } => {
                write!(f, "declared here otherwise than defined in input {}: {what}", other + 1)
            }
            LinkErrorKind::Kind { other } => {
                write!(f, "a function here or in input {}, and a variable in the other", other + 1)
            }
            LinkErrorKind::Relocation(what) => f.write_str(what),
            LinkErrorKind::TooBig => {
                f.write_str("the linked object would have more than 4 GiB or 32,000 sections")
            }
            LinkErrorKind::Btf(what) => write!(f, "types cannot be merged: {what}"),
        }
    }
}

impl std::error::Error for LinkError {}
