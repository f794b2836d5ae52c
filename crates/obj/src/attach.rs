//! What a section name says beyond the program type: the attach target behind the slash, as data.
//!
//! Nothing is looked up here: whether a function or file of that name exists is the engine's business.

use crate::sections::{SectionDef, Target};

/// The attach target a section name spells, by the syntax of its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachTarget {
    /// None given: the caller names it when attaching.
    None,
    /// A kernel function at an offset: `kprobe/[module:]func+off`.
    Kprobe {
        /// Module that has it.
        module: Option<String>,
        /// Function.
        func: String,
        /// Bytes into it.
        offset: u64,
    },
    /// A function of a file at an offset: `uprobe/path:func+off`, `uprobe/path:func@off`.
    Uprobe {
        /// Executable or library; `libc.so.6` without a slash is searched for.
        path: String,
        /// Function; empty when only an offset is given.
        func: String,
        /// Bytes into it.
        offset: u64,
    },
    /// Kernel functions by pattern: `kprobe.multi/tcp_*`.
    Glob(String),
    /// Functions of a file by pattern: `uprobe.multi/path:pattern`.
    UprobeGlob {
        /// Executable or library.
        path: String,
        /// Pattern of function names.
        pattern: String,
    },
    /// A system call: `ksyscall/openat`.
    Syscall(String),
    /// A user statically defined tracepoint: `usdt/path:provider:name`.
    Usdt {
        /// Executable or library.
        path: String,
        /// Provider.
        provider: String,
        /// Name.
        name: String,
    },
    /// A tracepoint: `tp/category/name`.
    Tracepoint {
        /// Category.
        category: String,
        /// Name.
        name: String,
    },
    /// A function known by its BTF: `fentry/[module:]func`, `tp_btf/name`, `freplace/func`.
    Function {
        /// Module that has it.
        module: Option<String>,
        /// Function, tracepoint or program function.
        name: String,
    },
    /// One name: raw tracepoint, security hook, iterator.
    Name(String),
    /// Text that does not have the syntax of its row, whole.
    Malformed(String),
}

impl AttachTarget {
    /// Reads what follows `row`'s name in `section`. Never fails: unreadable text is [`AttachTarget::Malformed`].
    pub fn parse(row: &SectionDef, section: &str) -> AttachTarget {
        let Some(text) = section.strip_prefix(row.prefix).and_then(|rest| rest.strip_prefix('/')) else {
            return AttachTarget::None;
        };
        if text.is_empty() || row.target == Target::None {
            return AttachTarget::None;
        }
        Self::parse_as(row.target, text).unwrap_or_else(|| AttachTarget::Malformed(text.to_owned()))
    }

    fn parse_as(syntax: Target, text: &str) -> Option<AttachTarget> {
        Some(match syntax {
            Target::None => return None,
            Target::Kprobe => kprobe(text)?,
            Target::Uprobe => uprobe(text)?,
            Target::Glob => AttachTarget::Glob(text.to_owned()),
            Target::UprobeGlob => {
                let (path, pattern) = text.rsplit_once(':')?;
                AttachTarget::UprobeGlob { path: path.to_owned(), pattern: pattern.to_owned() }
            }
            Target::Syscall => AttachTarget::Syscall(text.to_owned()),
            Target::Usdt => usdt(text)?,
            Target::Tracepoint => {
                let (category, name) = text.split_once('/')?;
                AttachTarget::Tracepoint { category: category.to_owned(), name: name.to_owned() }
            }
            Target::Function => {
                let (module, name) = module_and_name(text);
                AttachTarget::Function { module, name }
            }
            Target::Name => AttachTarget::Name(text.to_owned()),
        })
    }
}

fn module_and_name(text: &str) -> (Option<String>, String) {
    match text.split_once(':') {
        Some((module, name)) if !module.is_empty() => (Some(module.to_owned()), name.to_owned()),
        _ => (None, text.to_owned()),
    }
}

fn kprobe(text: &str) -> Option<AttachTarget> {
    let (module, rest) = module_and_name(text);
    let (func, offset) = match rest.split_once('+') {
        Some((func, offset)) => (func.to_owned(), number(offset)?),
        None => (rest, 0),
    };
    if func.is_empty() || func.contains([' ', '/']) {
        return None;
    }
    Some(AttachTarget::Kprobe { module, func, offset })
}

fn uprobe(text: &str) -> Option<AttachTarget> {
    let (path, rest) = text.rsplit_once(':')?;
    let (func, offset) = match rest.split_once('+') {
        Some((func, offset)) => (func, number(offset)?),
        // `@` also stands in versioned symbols (`memcpy@GLIBC_2.14`): only a number behind it is an offset.
        None => match rest.split_once('@').map(|(func, offset)| (func, number(offset))) {
            Some((func, Some(offset))) => (func, offset),
            _ => number(rest).map_or((rest, 0), |offset| ("", offset)),
        },
    };
    Some(AttachTarget::Uprobe { path: path.to_owned(), func: func.to_owned(), offset })
}

fn usdt(text: &str) -> Option<AttachTarget> {
    let (rest, name) = text.rsplit_once(':')?;
    let (path, provider) = rest.rsplit_once(':')?;
    Some(AttachTarget::Usdt { path: path.to_owned(), provider: provider.to_owned(), name: name.to_owned() })
}

/// A decimal, `0x` or leading-zero octal number.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => u64::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(section: &str) -> AttachTarget {
        AttachTarget::parse(SectionDef::find(section).expect("a row"), section)
    }

    #[test]
    fn targets_by_syntax() {
        let s = str::to_owned;
        let cases = [
            ("kprobe", AttachTarget::None),
            (
                "kprobe/tcp_v4_connect",
                AttachTarget::Kprobe { module: None, func: s("tcp_v4_connect"), offset: 0 },
            ),
            (
                "kprobe/nf:hook+0x10",
                AttachTarget::Kprobe { module: Some(s("nf")), func: s("hook"), offset: 16 },
            ),
            (
                "uprobe//bin/sh:main+8",
                AttachTarget::Uprobe { path: s("/bin/sh"), func: s("main"), offset: 8 },
            ),
            (
                "uprobe/libc.so.6:f@GLIBC_2.2",
                AttachTarget::Uprobe { path: s("libc.so.6"), func: s("f@GLIBC_2.2"), offset: 0 },
            ),
            ("kprobe.multi/tcp_*", AttachTarget::Glob(s("tcp_*"))),
            (
                "usdt/./a:prov:name",
                AttachTarget::Usdt { path: s("./a"), provider: s("prov"), name: s("name") },
            ),
            (
                "tp/sched/sched_switch",
                AttachTarget::Tracepoint { category: s("sched"), name: s("sched_switch") },
            ),
            ("tp/sched", AttachTarget::Malformed(s("sched"))),
            ("fentry/mod:func", AttachTarget::Function { module: Some(s("mod")), name: s("func") }),
            ("lsm.s/file_open", AttachTarget::Name(s("file_open"))),
            ("iter/task", AttachTarget::Name(s("task"))),
            ("kprobe/a b", AttachTarget::Malformed(s("a b"))),
            ("xdp.frags", AttachTarget::None),
        ];
        for (section, expected) in cases {
            assert_eq!(parse(section), expected, "{section}");
        }
    }
}
