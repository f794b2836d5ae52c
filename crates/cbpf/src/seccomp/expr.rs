//! Calls as text: with conditions, as in policies, and with values, as in questions to a policy.
//!
//! ```text
//!  socket                                   every call of socket
//!  socket(family == AF_INET, type & 0xf != 1)   names or a0 to a5; == != < <= > >=, and `& MASK ==`
//!  socket(2, 1)   socket(type=1)            one call; what is not given is 0
//! ```
//!
//! Numbers are decimal, hexadecimal (`0x`) or octal (`0o`), negative ones count as 64 bits; constants are those of
//! [`CONSTANTS`]; several are put together with `|`.

use super::calls::{Arch, Call, call, nearest};
use super::policy::{Compare, Condition};
use std::fmt;

/// A call with conditions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallPattern {
    /// The call.
    pub call: &'static Call,
    /// What has to hold.
    pub conditions: Vec<Condition>,
}

/// What is wrong with a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExprError {
    /// There is no such call; perhaps this one was meant.
    Call(String, Option<&'static str>),
    /// The call has no such argument; these it has.
    Argument(String, Vec<&'static str>),
    /// Not a number.
    Number(String),
    /// Not a comparison.
    Comparison(String),
    /// `name(…)` is wanted.
    Form(String),
}

impl fmt::Display for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExprError::Call(name, Some(near)) => {
                write!(f, "there is no system call {name:?}; did you mean {near}?")
            }
            ExprError::Call(name, None) => write!(f, "there is no system call {name:?}"),
            ExprError::Argument(name, has) if has.is_empty() => {
                write!(f, "there is no argument {name:?}; name it by its place, a0 to a5")
            }
            ExprError::Argument(name, has) => {
                write!(f, "there is no argument {name:?}; there are {}, or a0 to a5", has.join(", "))
            }
            ExprError::Number(text) => {
                write!(f, "{text:?} is neither a number nor a constant known here")
            }
            ExprError::Comparison(text) => {
                write!(
                    f,
                    "{text:?} is no condition; write ARGUMENT == VALUE, with one of == != < <= > >=, or ARGUMENT & MASK == VALUE"
                )
            }
            ExprError::Form(text) => write!(f, "{text:?} is no call; write NAME or NAME(…)"),
        }
    }
}

impl std::error::Error for ExprError {}

/// Constants that may stand for numbers.
#[rustfmt::skip]
pub static CONSTANTS: &[(&str, u64)] = &[
    ("AF_UNIX", 1), ("AF_INET", 2), ("AF_INET6", 10), ("AF_NETLINK", 16), ("AF_PACKET", 17), ("AF_ALG", 38), ("AF_VSOCK", 40),
    ("SOCK_STREAM", 1), ("SOCK_DGRAM", 2), ("SOCK_RAW", 3), ("SOCK_SEQPACKET", 5),
    ("CLONE_VM", 0x100), ("CLONE_FS", 0x200), ("CLONE_FILES", 0x400), ("CLONE_THREAD", 0x10000), ("CLONE_NEWTIME", 0x80),
    ("CLONE_NEWNS", 0x20000), ("CLONE_NEWCGROUP", 0x0200_0000), ("CLONE_NEWUTS", 0x0400_0000), ("CLONE_NEWIPC", 0x0800_0000),
    ("CLONE_NEWUSER", 0x1000_0000), ("CLONE_NEWPID", 0x2000_0000), ("CLONE_NEWNET", 0x4000_0000),
    ("PROT_READ", 1), ("PROT_WRITE", 2), ("PROT_EXEC", 4),
    ("O_RDONLY", 0), ("O_WRONLY", 1), ("O_RDWR", 2), ("O_ACCMODE", 3), ("O_CREAT", 0o100), ("O_TRUNC", 0o1000),
    ("SIGKILL", 9), ("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541c),
];

/// Reads a call with conditions; arguments have the names of `arch`.
///
/// # Errors
/// What is wrong with it.
pub fn pattern(text: &str, arch: Arch) -> Result<CallPattern, ExprError> {
    let (call, list) = parts(text)?;
    let conditions = list.into_iter().map(|c| condition(call, c, arch)).collect::<Result<_, _>>()?;
    Ok(CallPattern { call, conditions })
}

/// Reads a call with values.
///
/// # Errors
/// What is wrong with it.
pub fn values(text: &str, arch: Arch) -> Result<(&'static Call, [u64; 6]), ExprError> {
    let (call, list) = parts(text)?;
    let mut args = [0; 6];
    for (i, item) in list.into_iter().enumerate() {
        let (at, value) = match item.split_once('=') {
            Some((name, value)) => (usize::from(argument(call, name.trim(), arch)?), value),
            None => (i, item),
        };
        *args.get_mut(at).ok_or_else(|| ExprError::Argument(format!("a{at}"), Vec::new()))? = number(value)?;
    }
    Ok((call, args))
}

/// Name and what stands in the brackets.
fn parts(text: &str) -> Result<(&'static Call, Vec<&str>), ExprError> {
    let text = text.trim();
    let (name, list) = match text.split_once('(') {
        None => (text, ""),
        Some((name, rest)) => {
            (name.trim(), rest.trim_end().strip_suffix(')').ok_or_else(|| ExprError::Form(text.into()))?)
        }
    };
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(ExprError::Form(text.into()));
    }
    let found = call(name).ok_or_else(|| ExprError::Call(name.into(), nearest(name)))?;
    let list = if list.trim().is_empty() { Vec::new() } else { list.split(',').map(str::trim).collect() };
    Ok((found, list))
}

fn argument(call: &Call, name: &str, arch: Arch) -> Result<u8, ExprError> {
    call.arg(arch, name).ok_or_else(|| {
        let has = call.params(arch).unwrap_or_default().iter().map(|p| p.name).collect();
        ExprError::Argument(name.into(), has)
    })
}

fn condition(call: &Call, text: &str, arch: Arch) -> Result<Condition, ExprError> {
    // Two letters before one, so that `<=` is not read as `<`.
    type Make = fn(u64) -> Compare;
    let operators: [(&str, Make); 6] = [
        ("==", Compare::Eq),
        ("!=", Compare::Ne),
        ("<=", Compare::Le),
        (">=", Compare::Ge),
        ("<", Compare::Lt),
        (">", Compare::Gt),
    ];
    let wrong = || ExprError::Comparison(text.into());
    let (left, make, right) = operators
        .iter()
        .find_map(|(op, make)| text.split_once(op).map(|(l, r)| (l.trim(), *make, r.trim())))
        .ok_or_else(wrong)?;
    let value = number(right)?;
    let Some((name, mask)) = left.split_once('&') else {
        return Ok(Condition { arg: argument(call, left, arch)?, compare: make(value) });
    };
    let (arg, mask) = (argument(call, name.trim(), arch)?, number(mask)?);
    match make(value) {
        Compare::Eq(value) => Ok(Condition { arg, compare: Compare::Masked { mask, value } }),
        _ => Err(wrong()),
    }
}

/// A number, a constant, or several of them with `|`.
fn number(text: &str) -> Result<u64, ExprError> {
    text.split('|')
        .map(|t| one_number(t.trim()).ok_or_else(|| ExprError::Number(t.trim().into())))
        .try_fold(0, |all, n| Ok(all | n?))
}

fn one_number(text: &str) -> Option<u64> {
    if let Some((_, v)) = CONSTANTS.iter().find(|(n, _)| *n == text) {
        return Some(*v);
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok();
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return u64::from_str_radix(octal, 8).ok();
    }
    text.parse::<u64>().ok().or_else(|| text.parse::<i64>().ok().map(|v| v as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        let p = pattern(text, Arch::X86_64).map_err(|e| e.to_string())?;
        let rule = super::super::Rule {
            call: p.call.name.into(),
            action: super::super::Action::Allow,
            conditions: p.conditions,
        };
        Ok(rule.show(Arch::X86_64))
    }

    #[test]
    fn patterns_are_shown_as_they_are_written() {
        for text in [
            "read",
            "socket(family == 2, type & 15 == 1)",
            "personality(personality != 0xffffffff)",
            "kill(a5 <= 3)",
            "lseek(whence < 2, offset >= 0x8000000000000000)",
        ] {
            assert_eq!(shown(text).as_deref(), Ok(text));
        }
        assert_eq!(
            shown(" clone ( clone_flags & CLONE_NEWNS|CLONE_NEWUTS == 0 ) ").unwrap(),
            "clone(clone_flags & 0x4020000 == 0)"
        );
    }

    #[test]
    fn values_by_place_and_name() {
        let (c, args) = values("socket(2, protocol=-1)", Arch::X86_64).unwrap();
        assert_eq!((c.name, args[..3].to_vec()), ("socket", vec![2, 0, u64::MAX]));
        assert!(values("socket(1,2,3,4,5,6,7)", Arch::X86_64).is_err());
    }

    #[test]
    fn faults_are_named() {
        for (text, part) in [
            ("sokcet", "did you mean socket?"),
            ("socket(", "is no call"),
            ("", "is no call"),
            ("socket(fmaily == 2)", "there are family, type, protocol"),
            ("socket(family = 2)", "is no condition"),
            ("socket(family & 1 != 2)", "is no condition"),
            ("socket(family == AF_NONE)", "neither a number nor"),
            ("vserver(x == 2)", "a0 to a5"),
        ] {
            let said = shown(text).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
    }
}
