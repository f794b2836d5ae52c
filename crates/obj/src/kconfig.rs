//! Values of configuration externs (`.kconfig`): a kernel configuration text → the contents of the `.kconfig` map.
//!
//! `CONFIG_*` are read from the text, `LINUX_*` from what the caller says of the kernel. Rules of which value fits
//! which type are libbpf's: `y`/`m`/`n` for bool, char and tristate, numbers for integers within range, quoted text for
//! strings. A strong extern without a value is an error, a weak one reads as zero.

use std::collections::HashMap;
use std::fmt;

use crate::object::{ExternKind, KconfigKind, Object};

/// What configuration externs are read from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kconfig<'a> {
    /// A kernel configuration, as `/boot/config-*`: `CONFIG_NAME=value` lines.
    pub text: &'a str,
    /// `LINUX_KERNEL_VERSION`: `major << 16 | minor << 8 | patch`.
    pub kernel_version: u32,
    /// `LINUX_HAS_BPF_COOKIE`.
    pub has_bpf_cookie: bool,
    /// `LINUX_HAS_SYSCALL_WRAPPER`.
    pub has_syscall_wrapper: bool,
}

/// A configuration extern that has no value, or one that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KconfigError {
    /// The extern.
    pub name: String,
    /// The value found; `None` if there is none.
    pub value: Option<String>,
    /// Why it does not fit.
    pub why: &'static str,
}

impl fmt::Display for KconfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "extern {:?}: value {value} {}", self.name, self.why),
            None => write!(f, "extern {:?} {}", self.name, self.why),
        }
    }
}

impl std::error::Error for KconfigError {}

impl Object {
    /// Contents of the `.kconfig` map; `None` if the object has none.
    ///
    /// # Errors
    /// A strong extern without a value, or a value that its type cannot hold.
    pub fn kconfig(&self, config: &Kconfig<'_>) -> Result<Option<Vec<u8>>, KconfigError> {
        let Some(map) = self.maps.iter().find(|m| m.origin == crate::MapOrigin::Kconfig) else {
            return Ok(None);
        };
        let mut contents = vec![0; map.def.value_size as usize];
        let values = parse(config.text);
        for e in &self.externs {
            let ExternKind::Kconfig { offset, size, kind } = e.kind else { continue };
            let fail = |value: Option<&str>, why| {
                Err(KconfigError { name: e.name.clone(), value: value.map(str::to_owned), why })
            };
            let (at, size) = (offset as usize, size as usize);
            let Some(out) = contents.get_mut(at..at + size) else { continue };
            let text = match builtin(&e.name, config) {
                Some(number) => number.to_string(),
                None => match values.get(e.name.as_str()) {
                    Some(value) => (*value).to_owned(),
                    None if e.weak => continue,
                    None => return fail(None, without_value(&e.name, config.text)),
                },
            };
            if let Err(why) = write(kind, &text, out) {
                return fail(Some(&text), why);
            }
        }
        Ok(Some(contents))
    }
}

/// Why an extern has no value, and what can be done.
fn without_value(name: &str, text: &str) -> &'static str {
    match (name.starts_with("CONFIG_"), text.is_empty()) {
        (false, _) => {
            "is no value that loaders provide; they know CONFIG_*, LINUX_KERNEL_VERSION, LINUX_HAS_BPF_COOKIE and LINUX_HAS_SYSCALL_WRAPPER"
        }
        (true, true) => {
            "has no value, since no kernel configuration was found (/boot/config-RELEASE, /proc/config.gz); name one with --kconfig"
        }
        (true, false) => "is not set in the kernel's configuration; declare it __weak if it may read as zero",
    }
}

fn parse(text: &str) -> HashMap<&str, &str> {
    let entry = |line: &'_ str| -> Option<(usize, usize)> {
        let eq = line.find('=')?;
        line.starts_with("CONFIG_").then_some((eq, line.len()))
    };
    text.lines()
        .filter_map(|line| entry(line).map(|(eq, end)| (&line[..eq], line[eq + 1..end].trim_end())))
        .collect()
}

fn builtin(name: &str, config: &Kconfig<'_>) -> Option<u32> {
    match name {
        "LINUX_KERNEL_VERSION" => Some(config.kernel_version),
        "LINUX_HAS_BPF_COOKIE" => Some(u32::from(config.has_bpf_cookie)),
        "LINUX_HAS_SYSCALL_WRAPPER" => Some(u32::from(config.has_syscall_wrapper)),
        _ => None,
    }
}

/// Writes `text` as a value of `kind` into `out`.
fn write(kind: KconfigKind, text: &str, out: &mut [u8]) -> Result<(), &'static str> {
    match (kind, text) {
        (KconfigKind::Str, _) => write_string(text, out),
        (KconfigKind::Bool, "y") => number(1, false, out),
        (KconfigKind::Bool, "n") => number(0, false, out),
        (KconfigKind::Tristate, "y") => number(1, false, out),
        (KconfigKind::Tristate, "m") => number(2, false, out),
        (KconfigKind::Tristate, "n") => number(0, false, out),
        (KconfigKind::Char, "y" | "m" | "n") => number(i128::from(text.as_bytes()[0]), false, out),
        (KconfigKind::Int { signed }, _) => number(integer(text)?, signed, out),
        (KconfigKind::Char, _) => number(integer(text)?, false, out),
        (KconfigKind::Bool, _) => match integer(text) {
            Ok(n @ (0 | 1)) => number(n, false, out),
            _ => Err("is not y or n"),
        },
        (KconfigKind::Tristate, _) => Err("is not y, m or n"),
    }
}

fn integer(text: &str) -> Result<i128, &'static str> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let parsed = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let value = i128::from(parsed.map_err(|_| "is not a number")?);
    Ok(if negative { -value } else { value })
}

fn number(value: i128, signed: bool, out: &mut [u8]) -> Result<(), &'static str> {
    let bits = out.len() as u32 * 8;
    let (min, max) = match signed {
        true => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
        false => (0, (1i128 << bits) - 1),
    };
    if value < min || value > max {
        return Err("does not fit the variable");
    }
    out.copy_from_slice(&value.to_le_bytes()[..out.len()]);
    Ok(())
}

/// Quoted text; cut off where the variable ends, always with a zero.
fn write_string(text: &str, out: &mut [u8]) -> Result<(), &'static str> {
    let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).ok_or("is not quoted text")?;
    let len = inner.len().min(out.len().saturating_sub(1));
    out[..len].copy_from_slice(&inner.as_bytes()[..len]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(kind: KconfigKind, text: &str, size: usize) -> Result<Vec<u8>, &'static str> {
        let mut out = vec![0; size];
        write(kind, text, &mut out).map(|()| out)
    }

    #[test]
    fn values_by_type() {
        assert_eq!(value(KconfigKind::Bool, "y", 1), Ok(vec![1]));
        assert!(value(KconfigKind::Bool, "m", 1).is_err());
        assert_eq!(value(KconfigKind::Tristate, "m", 4), Ok(vec![2, 0, 0, 0]));
        assert_eq!(value(KconfigKind::Char, "m", 1), Ok(vec![b'm']));
        assert_eq!(value(KconfigKind::Int { signed: true }, "-2", 2), Ok(vec![0xfe, 0xff]));
        assert!(value(KconfigKind::Int { signed: true }, "0x8000", 2).is_err());
        assert_eq!(value(KconfigKind::Int { signed: false }, "0x8000", 2), Ok(vec![0, 0x80]));
        assert!(value(KconfigKind::Int { signed: false }, "y", 4).is_err());
        assert_eq!(value(KconfigKind::Str, "\"abcdef\"", 4), Ok(b"abc\0".to_vec()));
        assert!(value(KconfigKind::Str, "abc", 4).is_err());
    }

    #[test]
    fn the_text_is_lines_of_assignments() {
        let values = parse("# CONFIG_A is not set\nCONFIG_B=y\r\nCONFIG_C=\"x=y\"\nnoise\n");
        assert_eq!(values.get("CONFIG_B"), Some(&"y"));
        assert_eq!(values.get("CONFIG_C"), Some(&"\"x=y\""));
        assert_eq!(values.len(), 2);
    }
}
