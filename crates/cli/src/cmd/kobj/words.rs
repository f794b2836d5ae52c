//! bpftool's way of arguments: words in a row, read one after the other.

use super::Which;
use crate::failure::Failure;
use clap::{Arg, ArgMatches};
use std::path::PathBuf;

/// The argument that takes a command's words.
pub(crate) fn words_arg(value_name: &'static str, help: &'static str) -> Arg {
    Arg::new("words").value_name(value_name).num_args(0..).allow_hyphen_values(false).help(help)
}

/// Words that are left.
pub(crate) struct Words<'a> {
    rest: std::collections::VecDeque<&'a str>,
}

impl<'a> Words<'a> {
    pub(crate) fn new(m: &'a ArgMatches) -> Words<'a> {
        Words { rest: m.get_many::<String>("words").into_iter().flatten().map(String::as_str).collect() }
    }

    /// Whether the words name objects of the kernel: none at all does, and so does one of bpftool's words in front.
    pub(crate) fn in_kernel(&self) -> bool {
        matches!(self.peek(), None | Some("id" | "pinned" | "name" | "tag"))
    }

    /// All words as paths.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.rest.iter().map(PathBuf::from).collect()
    }

    pub(crate) fn peek(&self) -> Option<&'a str> {
        self.rest.front().copied()
    }

    pub(crate) fn next(&mut self) -> Option<&'a str> {
        self.rest.pop_front()
    }

    /// Takes a word if it is the next one.
    pub(crate) fn take(&mut self, word: &str) -> bool {
        let is = self.peek() == Some(word);
        if is {
            self.next();
        }
        is
    }

    /// The word behind another, which has been read.
    pub(crate) fn value(&mut self, of: &str) -> Result<&'a str, Failure> {
        self.next().ok_or_else(|| Failure::Usage(format!("{of} needs a value behind it")))
    }

    pub(crate) fn number(&mut self, of: &str) -> Result<u32, Failure> {
        let text = self.value(of)?;
        number(text).ok_or_else(|| Failure::Usage(format!("{of} {text}: not a number")))
    }

    /// No more words may follow.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        match self.peek() {
            None => Ok(()),
            Some(w) => Err(Failure::Usage(format!("{w:?} is not expected here; see --help"))),
        }
    }

    /// `id N`, `pinned PATH`, `name NAME`, `tag TAG`; nothing of it is [`Which::All`].
    pub(crate) fn which(&mut self) -> Result<Which, Failure> {
        Ok(match self.peek() {
            Some("id") => {
                self.next();
                Which::Id(self.number("id")?)
            }
            Some("pinned") => {
                self.next();
                Which::Pinned(PathBuf::from(self.value("pinned")?))
            }
            Some("name") => {
                self.next();
                Which::Name(self.value("name")?.to_owned())
            }
            Some("tag") => {
                self.next();
                Which::Tag(self.value("tag")?.to_owned())
            }
            _ => Which::All,
        })
    }

    /// Bytes of a record, as many as there are.
    pub(crate) fn record(&mut self) -> Result<Vec<u8>, Failure> {
        let (_, values) = self.numbers();
        let bytes: Option<Vec<u8>> = values.iter().map(|v| u8::try_from(*v).ok()).collect();
        bytes.ok_or_else(|| Failure::Usage("value: a record is given byte by byte, each at most 255".into()))
    }

    /// Numbers up to the first word that is none; whether they are hexadecimal.
    fn numbers(&mut self) -> (bool, Vec<u64>) {
        let (hex, mut values) = (self.take("hex"), Vec::new());
        while let Some(text) = self.peek() {
            let value = if hex { u64::from_str_radix(text, 16).ok() } else { long(text) };
            let Some(value) = value else { break };
            values.push(value);
            self.next();
        }
        (hex, values)
    }

    /// Bytes, up to a word that is none: `01 02`, `0x1 0x2`, `hex 1 ff`. A single number that is no byte or stands alone is
    /// written in the size that is asked for, in this machine's order.
    pub(crate) fn bytes(&mut self, of: &str, size: usize) -> Result<Vec<u8>, Failure> {
        let (hex, values) = self.numbers();
        if let [one] = values[..]
            && matches!(size, 1 | 2 | 4 | 8)
            && (size == 8 || one >> (8 * size) == 0)
            && !hex
        {
            let wide = if cfg!(target_endian = "little") {
                one.to_le_bytes()[..size].to_vec()
            } else {
                one.to_be_bytes()[8 - size..].to_vec()
            };
            return Ok(wide);
        }
        let bytes: Option<Vec<u8>> = values.iter().map(|v| u8::try_from(*v).ok()).collect();
        match bytes {
            Some(b) if b.len() == size => Ok(b),
            Some(b) => Err(Failure::Usage(format!(
                "{of}: {} bytes were given, and the map's have {size}; give that many, or one number for sizes 1, 2, 4 and 8",
                b.len()
            ))),
            None => Err(Failure::Usage(format!(
                "{of}: each number is one byte, 0 to 255 (or 0 to ff behind `hex`)"
            ))),
        }
    }
}

/// Decimal, `0x` hexadecimal or `0` octal.
fn long(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(h) => u64::from_str_radix(h, 16).ok(),
        None => text.parse().ok(),
    }
}

pub(crate) fn number(text: &str) -> Option<u32> {
    long(text).and_then(|n| u32::try_from(n).ok())
}
