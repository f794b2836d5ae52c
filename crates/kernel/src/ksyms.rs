//! The kernel's symbols by name (`/proc/kallsyms`): addresses for externs without a type, and whether system calls have wrappers.

use skep_obj::Ksym;
use std::collections::HashMap;

/// Where the kernel shows its symbols.
pub const KALLSYMS: &str = "/proc/kallsyms";

/// What compilers append to the names of functions that they moved between files, before a hash.
const MOVED: &str = ".llvm.";

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Its address; 0 for those who may not know it.
    pub address: u64,
    /// Its kind, as nm(1) prints it.
    pub kind: u8,
    /// Its name.
    pub name: &'a str,
}

/// The symbols of a table's text.
pub fn symbols(text: &str) -> impl Iterator<Item = Symbol<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let address = u64::from_str_radix(fields.next()?, 16).ok()?;
        let kind = *fields.next()?.as_bytes().first()?;
        Some(Symbol { address, kind, name: fields.next()? })
    })
}

/// The symbols of these names in a table's text. Two of one name at different addresses are ambiguous.
pub fn find(text: &str, wanted: &[&str]) -> HashMap<String, Ksym> {
    let mut found: HashMap<String, Ksym> = HashMap::new();
    for symbol in symbols(text) {
        let plain = symbol.name.split(MOVED).next().unwrap_or(symbol.name);
        let Some(name) = wanted.iter().find(|w| **w == symbol.name || **w == plain) else { continue };
        let this = if symbol.address == 0 { Ksym::Hidden } else { Ksym::At(symbol.address) };
        let kept = found.entry((*name).to_owned()).or_insert(this);
        if *kept != this {
            *kept = Ksym::Ambiguous;
        }
    }
    found
}

/// The running kernel's symbols of these names. Cost: reading the table, some ten milliseconds; nothing for no names.
///
/// # Errors
/// The file system's.
pub fn running(wanted: &[&str]) -> std::io::Result<HashMap<String, Ksym>> {
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    Ok(find(&std::fs::read_to_string(KALLSYMS)?, wanted))
}

/// Whether system calls take their arguments by `struct pt_regs` (`CONFIG_ARCH_HAS_SYSCALL_WRAPPER`), told by the name of one.
pub fn has_syscall_wrapper() -> bool {
    let name = match std::env::consts::ARCH {
        "x86_64" => "__x64_sys_bpf",
        "aarch64" => "__arm64_sys_bpf",
        "s390x" => "__s390x_sys_bpf",
        "riscv64" => "__riscv_sys_bpf",
        _ => return false,
    };
    running(&[name]).is_ok_and(|found| found.contains_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_they_stand() {
        let text = "ffffffff81000000 T _stext\nffffffff81000010 t twice\nffffffff81000020 t twice\n\
                    ffffffff81000030 t moved.llvm.123\nffffffff81000040 d other\t[module]\n0000000000000000 t hidden\nnoise\n";
        let found = find(text, &["_stext", "twice", "moved", "other", "hidden", "none"]);
        let of = |name: &str| found.get(name).copied();
        assert_eq!(of("_stext"), Some(Ksym::At(0xffff_ffff_8100_0000)));
        assert_eq!(of("twice"), Some(Ksym::Ambiguous));
        assert_eq!(of("moved"), Some(Ksym::At(0xffff_ffff_8100_0030)));
        assert_eq!(of("other"), Some(Ksym::At(0xffff_ffff_8100_0040)));
        assert_eq!(of("hidden"), Some(Ksym::Hidden));
        assert_eq!(of("none"), None);
        assert_eq!(symbols(text).count(), 6);
        assert!(symbols(text).any(|s| s == Symbol { address: 0, kind: b't', name: "hidden" }));
    }
}
