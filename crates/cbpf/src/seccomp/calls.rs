//! System calls by name and number: one table for all architectures (`syscalls.tsv`).

use std::collections::HashMap;
use std::sync::OnceLock;

/// An architecture's way to number system calls.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit x86 with 32-bit pointers: the same `AUDIT_ARCH`, numbers with [`X32_BIT`].
    X32,
    /// 32-bit x86.
    I386,
    /// 64-bit Arm.
    Aarch64,
}

/// What numbers of x32 have set (`__X32_SYSCALL_BIT`).
pub const X32_BIT: u32 = 0x4000_0000;

/// A row of the architectures: [`Arch`], `AUDIT_ARCH_*` (include/uapi/linux/audit.h), name, libseccomp's name, further
/// names.
struct Row(Arch, u32, &'static str, &'static str, &'static [&'static str]);

static ARCHS: [Row; 4] = [
    Row(Arch::X86_64, 0xc000_003e, "x86_64", "SCMP_ARCH_X86_64", &["amd64", "x86-64"]),
    Row(Arch::X32, 0xc000_003e, "x32", "SCMP_ARCH_X32", &[]),
    Row(Arch::I386, 0x4000_0003, "i386", "SCMP_ARCH_X86", &["x86", "i686"]),
    Row(Arch::Aarch64, 0xc000_00b7, "aarch64", "SCMP_ARCH_AARCH64", &["arm64"]),
];

impl Arch {
    /// All of them.
    pub const ALL: [Arch; 4] = [Arch::X86_64, Arch::X32, Arch::I386, Arch::Aarch64];

    fn row(self) -> &'static Row {
        &ARCHS[self as usize]
    }

    /// The architecture of this build, where the table has it.
    pub fn native() -> Option<Arch> {
        Arch::parse(std::env::consts::ARCH)
    }

    /// `x86_64`, `x32`, `i386` or `aarch64`.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// `SCMP_ARCH_*`.
    pub fn scmp(self) -> &'static str {
        self.row().3
    }

    /// Docker's name, as in `includes.arches`.
    pub fn docker(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::X32 => "x32",
            Arch::I386 => "x86",
            Arch::Aarch64 => "arm64",
        }
    }

    /// By any of its names.
    pub fn parse(name: &str) -> Option<Arch> {
        let named = |r: &&Row| r.2 == name || r.3 == name || r.4.contains(&name);
        ARCHS.iter().find(named).map(|r| r.0)
    }

    /// `AUDIT_ARCH_*`: what `seccomp_data.arch` holds.
    pub fn audit(self) -> u32 {
        self.row().1
    }

    /// Where its numbers begin.
    pub fn base(self) -> u32 {
        if self == Arch::X32 { X32_BIT } else { 0 }
    }

    /// Whose call a filter sees: by `seccomp_data.arch`, and the number for x32.
    pub fn of(audit: u32, nr: u32) -> Option<Arch> {
        match ARCHS.iter().find(|r| r.1 == audit)?.0 {
            // -1 is what a tracer sets to have a call skipped.
            Arch::X86_64 if nr >= X32_BIT && nr != u32::MAX => Some(Arch::X32),
            other => Some(other),
        }
    }
}

/// What an argument is, for people who read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// File descriptor.
    Fd,
    /// 32 bits, signed.
    Int,
    /// 32 bits, unsigned.
    Uint,
    /// 64 bits, signed.
    Long,
    /// A machine word.
    Word,
    /// Mode bits of a file.
    Mode,
    /// Address.
    Pointer,
    /// Address of a string that ends with a zero byte.
    Text,
}

impl Kind {
    fn parse(letter: &str) -> Option<Kind> {
        Some(match letter {
            "f" => Kind::Fd,
            "d" => Kind::Int,
            "u" => Kind::Uint,
            "l" => Kind::Long,
            "x" => Kind::Word,
            "o" => Kind::Mode,
            "p" => Kind::Pointer,
            "s" => Kind::Text,
            _ => return None,
        })
    }

    /// The value as people write it.
    pub fn show(self, value: u64) -> String {
        match self {
            Kind::Fd if value as u32 as i32 == -100 => "AT_FDCWD".into(),
            Kind::Fd | Kind::Int => (value as u32 as i32).to_string(),
            Kind::Uint if value as u32 > 9999 => format!("{:#x}", value as u32),
            Kind::Uint => (value as u32).to_string(),
            Kind::Long => (value as i64).to_string(),
            Kind::Word if value <= 9999 => value.to_string(),
            Kind::Mode => format!("{:#o}", value as u16),
            Kind::Pointer | Kind::Text if value == 0 => "NULL".into(),
            Kind::Word | Kind::Pointer | Kind::Text => format!("{value:#x}"),
        }
    }
}

/// One argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Param {
    /// The kernel's name of it.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
}

/// One system call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Name.
    pub name: &'static str,
    numbers: [Option<u32>; 4],
    params: Option<Vec<Param>>,
    i386: Option<Vec<Param>>,
}

impl Call {
    /// Its number as a filter sees it (with [`X32_BIT`] on x32), if the architecture has it.
    pub fn number(&self, arch: Arch) -> Option<u32> {
        self.numbers[arch as usize].map(|n| n | arch.base())
    }

    /// Its arguments, where they are known.
    pub fn params(&self, arch: Arch) -> Option<&[Param]> {
        match &self.i386 {
            Some(own) if arch == Arch::I386 => Some(own),
            _ => self.params.as_deref(),
        }
    }

    /// `name(argument=value, …)`; where the arguments are not known all six words are shown.
    pub fn show(&self, arch: Arch, args: &[u64; 6]) -> String {
        self.show_with(arch, args, |_| None)
    }

    /// The same, with the strings that are found at addresses.
    pub fn show_with(
        &self,
        arch: Arch,
        args: &[u64; 6],
        mut text: impl FnMut(u64) -> Option<String>,
    ) -> String {
        let mut one = |p: &Param, v: u64| {
            let found = if p.kind == Kind::Text && v != 0 { text(v) } else { None };
            format!("{}={}", p.name, found.map_or_else(|| p.kind.show(v), |t| format!("{t:?}")))
        };
        let shown: Vec<String> = match self.params(arch) {
            Some(p) => p.iter().zip(args).map(|(p, v)| one(p, *v)).collect(),
            None => args.iter().map(|v| Kind::Word.show(*v)).collect(),
        };
        format!("{}({})", self.name, shown.join(", "))
    }

    /// Index of an argument by its name, or `a0` to `a5`.
    pub fn arg(&self, arch: Arch, name: &str) -> Option<u8> {
        if let Some(n) = name.strip_prefix('a').and_then(|d| d.parse::<u8>().ok()) {
            return (n < 6).then_some(n);
        }
        self.params(arch)?.iter().position(|p| p.name == name).map(|i| i as u8)
    }
}

/// The whole table.
struct Table {
    calls: Vec<Call>,
    by_name: HashMap<&'static str, usize>,
    by_number: [HashMap<u32, usize>; 4],
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let calls: Vec<Call> = include_str!("syscalls.tsv").lines().filter_map(row).collect();
        let mut t = Table { by_name: HashMap::new(), by_number: Default::default(), calls };
        for (i, c) in t.calls.iter().enumerate() {
            t.by_name.insert(c.name, i);
            for a in Arch::ALL {
                t.by_number[a as usize].extend(c.number(a).map(|n| (n, i)));
            }
        }
        t
    })
}

fn row(line: &'static str) -> Option<Call> {
    let mut fields = line.split('\t');
    let name = fields.next().filter(|n| !n.starts_with('#'))?;
    let mut number = || fields.next().and_then(|f| f.parse().ok());
    let numbers = [number(), number(), number(), number()];
    let mut params = || params(fields.next()?);
    Some(Call { name, numbers, params: params(), i386: params() })
}

fn params(field: &'static str) -> Option<Vec<Param>> {
    match field {
        "-" => None,
        "void" => Some(Vec::new()),
        list => {
            let one = |p: &'static str| {
                let (name, kind) = p.split_once(':')?;
                Some(Param { name, kind: Kind::parse(kind)? })
            };
            list.split(',').map(one).collect()
        }
    }
}

/// Every call, by name.
pub fn calls() -> &'static [Call] {
    &table().calls
}

/// A call by its name; constant time.
pub fn call(name: &str) -> Option<&'static Call> {
    table().by_name.get(name).map(|i| &table().calls[*i])
}

/// A call by architecture and number as a filter sees it; constant time.
pub fn numbered(arch: Arch, nr: u32) -> Option<&'static Call> {
    table().by_number[arch as usize].get(&nr).map(|i| &table().calls[*i])
}

/// The known name that differs least from one that is not known: at most two letters.
pub fn nearest(name: &str) -> Option<&'static str> {
    let distance = |other: &str| {
        let (a, b): (Vec<char>, Vec<char>) = (name.chars().collect(), other.chars().collect());
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.iter().enumerate() {
            let mut left = i;
            row[0] = i + 1;
            for (j, y) in b.iter().enumerate() {
                let best = (left + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
                left = row[j + 1];
                row[j + 1] = best;
            }
        }
        row[b.len()]
    };
    calls().iter().map(|c| (distance(c.name), c.name)).min().filter(|(d, _)| *d <= 2).map(|(_, n)| n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_table_is_whole_sorted_and_without_doubles() {
        let lines = include_str!("syscalls.tsv").lines().filter(|l| !l.starts_with('#'));
        for line in lines.clone() {
            let fields: Vec<&str> = line.split('\t').collect();
            assert_eq!(fields.len(), 7, "{line}");
            assert!(fields[1..5].iter().all(|n| *n == "-" || n.parse::<u32>().is_ok()), "{line}");
            for f in &fields[5..] {
                assert!(*f == "-" || params(f).is_some_and(|p| p.len() <= 6), "{line}");
            }
        }
        assert_eq!(lines.count(), calls().len());
        assert!(calls().is_sorted_by(|a, b| a.name < b.name));
        for arch in Arch::ALL {
            let numbers: Vec<u32> = calls().iter().filter_map(|c| c.number(arch)).collect();
            assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len(), "{}", arch.name());
            assert!(numbers.iter().all(|n| Arch::of(arch.audit(), *n) == Some(arch)));
            assert_eq!(Arch::parse(arch.name()), Some(arch));
            assert_eq!(Arch::parse(arch.scmp()), Some(arch));
            assert_eq!(Arch::parse(arch.docker()), Some(arch));
        }
    }

    #[test]
    fn look_ups() {
        assert_eq!(call("openat").and_then(|c| c.number(Arch::Aarch64)), Some(56));
        assert_eq!(call("ioctl").and_then(|c| c.number(Arch::X32)), Some(X32_BIT | 514));
        assert_eq!(numbered(Arch::I386, 11).map(|c| c.name), Some("execve"));
        assert_eq!(nearest("opneat"), Some("openat"));
        assert_eq!(nearest("no_such_thing_at_all"), None);
    }

    #[test]
    fn calls_as_text() {
        let openat = call("openat").unwrap();
        let args = [0xffff_ff9c, 0x7000, 0, 0o644, 9, 9];
        assert_eq!(
            openat.show(Arch::X86_64, &args),
            "openat(dfd=AT_FDCWD, filename=0x7000, flags=0, mode=0o644)"
        );
        assert_eq!(openat.arg(Arch::X86_64, "flags"), Some(2));
        assert_eq!(openat.arg(Arch::X86_64, "a5"), Some(5));
        assert_eq!(openat.arg(Arch::X86_64, "a6"), None);
    }
}
