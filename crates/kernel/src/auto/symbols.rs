//! Functions of executables and libraries: where they are in the file, for probes.

use object::elf::FileHeader64;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{Endianness, elf};
use std::path::{Path, PathBuf};

type Header = FileHeader64<Endianness>;

/// Folders of libraries that are named without a path, beside `LD_LIBRARY_PATH`.
const LIBRARIES: [&str; 6] =
    ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"];
/// Folders of programs that are named without a path, beside `PATH`.
const PROGRAMS: [&str; 4] = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];

/// The file that is meant: a path, a library's name (`libc.so.6`, `libc`), a program's name. With a process, relative to
/// what that process sees.
pub fn find_file(name: &str, pid: Option<u32>) -> Option<PathBuf> {
    if name.contains('/') {
        let seen = pid.map(|p| PathBuf::from(format!("/proc/{p}/root{name}"))).filter(|p| p.exists());
        return seen.or_else(|| Some(PathBuf::from(name)).filter(|p| p.exists()));
    }
    let library = name.contains(".so") || name.starts_with("lib");
    let (variable, usual) =
        if library { ("LD_LIBRARY_PATH", &LIBRARIES[..]) } else { ("PATH", &PROGRAMS[..]) };
    let asked = std::env::var_os(variable).unwrap_or_default();
    let folders = std::env::split_paths(&asked).chain(usual.iter().map(PathBuf::from));
    let folders: Vec<PathBuf> = folders.collect();
    let names = [name.to_owned(), format!("{name}.so"), format!("{name}.so.6")];
    let tries = if library { &names[..] } else { &names[..1] };
    tries.iter().flat_map(|n| folders.iter().map(move |f| f.join(n))).find(|p| p.is_file())
}

/// An ELF file, read whole.
pub(super) struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl File {
    pub(super) fn open(path: &Path) -> Result<File, String> {
        let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(File { path: path.into(), bytes })
    }

    fn bad(&self, e: impl std::fmt::Display) -> String {
        format!("{}: {e}", self.path.display())
    }

    pub(super) fn header(&self) -> Result<(&Header, Endianness), String> {
        let header =
            Header::parse(&*self.bytes).map_err(|e| self.bad(format!("no 64-bit ELF file ({e})")))?;
        let endian = header.endian().map_err(|e| self.bad(e))?;
        Ok((header, endian))
    }

    /// Where an address of the program is in the file.
    pub(super) fn offset_of(&self, address: u64) -> Result<u64, String> {
        let (header, endian) = self.header()?;
        let segments = header.program_headers(endian, &*self.bytes).map_err(|e| self.bad(e))?;
        let holds = |s: &&elf::ProgramHeader64<Endianness>| {
            let start = s.p_vaddr(endian);
            s.p_type(endian) == elf::PT_LOAD && address >= start && address - start < s.p_memsz(endian)
        };
        let s = segments.iter().find(holds);
        let s = s.ok_or_else(|| self.bad(format!("address {address:#x} is in no segment")))?;
        Ok(address - s.p_vaddr(endian) + s.p_offset(endian))
    }

    /// Functions: name and address, of both symbol tables.
    fn functions(&self) -> Result<Vec<(String, u64)>, String> {
        let (header, endian) = self.header()?;
        let sections = header.sections(endian, &*self.bytes).map_err(|e| self.bad(e))?;
        let mut all = Vec::new();
        for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
            let table = sections.symbols(endian, &*self.bytes, kind).map_err(|e| self.bad(e))?;
            for symbol in table.iter() {
                let function = matches!(symbol.st_type(), elf::STT_FUNC | elf::STT_GNU_IFUNC);
                if !function || symbol.st_value(endian) == 0 || symbol.is_undefined(endian) {
                    continue;
                }
                let name = table.symbol_name(endian, symbol).unwrap_or_default();
                all.push((String::from_utf8_lossy(name).into_owned(), symbol.st_value(endian)));
            }
        }
        Ok(all)
    }

    /// A section's address and bytes.
    pub(super) fn section(&self, name: &str) -> Result<Option<(u64, &[u8])>, String> {
        let (header, endian) = self.header()?;
        let sections = header.sections(endian, &*self.bytes).map_err(|e| self.bad(e))?;
        let Some((_, s)) = sections.section_by_name(endian, name.as_bytes()) else { return Ok(None) };
        let data = s.data(endian, &*self.bytes).map_err(|e| self.bad(e))?;
        Ok(Some((s.sh_addr(endian), data)))
    }
}

/// Offset of a function in a file; `name` may have a version (`memcpy@GLIBC_2.14`).
///
/// # Errors
/// In words: no such file or function, no ELF.
pub fn function_offset(path: &Path, name: &str) -> Result<u64, String> {
    let file = File::open(path)?;
    let plain = name.split('@').next().unwrap_or(name);
    let all = file.functions()?;
    let found = all.iter().find(|(n, _)| n == name || n == plain);
    let (_, address) = found.ok_or_else(|| {
        format!(
            "{} has no function {name}; `nm -C{} {}` lists what it has",
            path.display(),
            if all.is_empty() { "D" } else { "" },
            path.display()
        )
    })?;
    file.offset_of(*address)
}

/// Functions of a file that a pattern with `*` and `?` covers: name and offset, each offset once.
///
/// # Errors
/// As [`function_offset`].
pub fn functions_like(path: &Path, pattern: &str) -> Result<Vec<(String, u64)>, String> {
    let file = File::open(path)?;
    let mut found = Vec::new();
    for (name, address) in file.functions()? {
        if covers(pattern, &name) {
            let at = file.offset_of(address)?;
            if !found.iter().any(|(_, o)| *o == at) {
                found.push((name, at));
            }
        }
    }
    if found.is_empty() {
        return Err(format!("{} has no function like {pattern}", path.display()));
    }
    Ok(found)
}

/// Whether a pattern with `*` and `?` covers a text. Cost: the product of their lengths at worst.
pub(super) fn covers(pattern: &str, text: &str) -> bool {
    let (p, t) = (pattern.as_bytes(), text.as_bytes());
    let (mut i, mut j) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while j < t.len() {
        match p.get(i) {
            Some(b'*') => {
                retry = Some((i, j));
                i += 1;
            }
            Some(c) if *c == b'?' || *c == t[j] => (i, j) = (i + 1, j + 1),
            _ => {
                let Some((star, from)) = retry else { return false };
                retry = Some((star, from + 1));
                (i, j) = (star + 1, from + 1);
            }
        }
    }
    p[i..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("tcp_*", "tcp_v4_connect", true),
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*connect*4", "tcp_connect_v4", true),
            ("*a*b", "xaxxbx", false),
            ("", "a", false),
        ] {
            assert_eq!(covers(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn own_functions_are_found() {
        let me = std::env::current_exe().unwrap_or_default();
        assert!(function_offset(&me, "main").is_ok_and(|at| at > 0));
        assert!(function_offset(&me, "no such function").is_err());
        assert!(function_offset(Path::new("/proc/self/status"), "main").is_err());
    }
}
