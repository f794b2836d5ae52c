//! Names that stand in the row of a table, and not behind an address.
//!
//! A program that may be loaded anywhere writes every address of its tables at every start, page by page. A table without
//! addresses stays as it is in the file.

use std::fmt;
use std::ops::Deref;

/// Longest name in bytes.
const LONGEST: usize = 23;

/// A short name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    len: u8,
    bytes: [u8; LONGEST],
}

impl Name {
    /// At most 23 bytes. A longer one is an error of compilation where the row is a constant, as it is meant.
    pub const fn new(name: &str) -> Name {
        let from = name.as_bytes();
        assert!(from.len() <= LONGEST, "the name is too long for its row");
        let mut bytes = [0; LONGEST];
        let mut i = 0;
        while i < from.len() {
            bytes[i] = from[i];
            i += 1;
        }
        Name { len: from.len() as u8, bytes }
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        // Made of a string, whole.
        str::from_utf8(&self.bytes[..self.len as usize]).unwrap_or_default()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn a_name_is_the_text_it_was_made_of() {
        for text in ["", "len", "exactly_23_bytes_long__"] {
            assert_eq!(&*Name::new(text), text);
        }
        assert_eq!(format!("[{:>5}] {:?}", Name::new("len"), Name::new("len")), "[  len] \"len\"");
    }
}
