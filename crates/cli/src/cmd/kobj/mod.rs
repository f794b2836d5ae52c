//! Objects of the running kernel by bpftool's words: `id N`, `pinned PATH`, `name NAME`, `tag TAG`; what all the nouns share.

pub(crate) mod attach;
pub(crate) mod btf;
pub(crate) mod events;
mod graph;
pub(crate) mod link;
pub(crate) mod load;
pub(crate) mod map;
pub(crate) mod net;
pub(crate) mod profile;
pub(crate) mod prog;
pub(crate) mod struct_ops;
pub(crate) mod token;
mod words;

use crate::failure::Failure;
use clap::{Arg, ArgMatches, value_parser};
use skep::descriptors::{EngineError, Errno};
use skep::kernel::dispatcher;
use skep::kernel::door::{Door, IdKind};
use skep::kernel::explain::{self, Asked, Rights};
use skep::kernel::pin::PinError;
use skep::kernel::token as tokens;
use skep::kernel::{Kernel, Live, info, pin};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
pub(crate) use words::{Words, words_arg};

/// Folder of the sets of XDP programs that share a device.
pub(crate) fn xdp_root() -> Arg {
    Arg::new("xdp-root")
        .long("xdp-root")
        .value_name("FOLDER")
        .value_parser(value_parser!(PathBuf))
        .default_value(dispatcher::ROOT)
        .help("Folder of a bpf file system that keeps which XDP programs share a device")
}

/// What [`xdp_root`] was given.
pub(crate) fn root_of(m: &ArgMatches) -> PathBuf {
    m.get_one::<PathBuf>("xdp-root").cloned().unwrap_or_else(|| dispatcher::ROOT.into())
}

/// The way to the kernel.
pub(crate) fn door() -> Arc<dyn Door> {
    Arc::new(Live::default())
}

/// Variables that name a bpf file system whose token is used; empty, they say that none is. The second is libbpf's.
const TOKEN_PATHS: [&str; 2] = ["SKEP_BPF_TOKEN_PATH", "LIBBPF_BPF_TOKEN_PATH"];

/// The way to the kernel for what creates or loads: by the rights of a BPF token, if one is asked for or can be had.
pub(crate) fn creating_door() -> Result<Arc<dyn Door>, Failure> {
    let token = match TOKEN_PATHS.iter().find_map(std::env::var_os) {
        Some(path) if path.is_empty() => None,
        Some(path) => {
            let token = tokens::create(&Live::default(), Path::new(&path));
            Some(token.map_err(|e| match e.errno {
                Errno::EPERM | Errno::EACCES => Failure::Permission(e.to_string()),
                Errno::EOPNOTSUPP => Failure::Unsupported(e.to_string()),
                _ => Failure::Input(e.to_string()),
            })?)
        }
        None => tokens::find(&Live::default()),
    };
    Ok(token.map_or_else(door, |token| Arc::new(Live::with_token(token))))
}

/// The kernel engine, without a question whether it may be used.
pub(crate) fn unchecked() -> Result<Kernel, Failure> {
    Ok(Kernel::with_door(*skep::platform(), creating_door()?))
}

/// The kernel engine.
pub(crate) fn kernel() -> Result<Kernel, Failure> {
    let kernel = unchecked()?;
    kernel.check().map_err(|e| engine(&e))?;
    Ok(kernel)
}

/// An engine's refusal without a file.
pub(crate) fn engine(e: &EngineError) -> Failure {
    match e {
        EngineError::Permission { .. } => Failure::Permission(e.to_string()),
        EngineError::Unsupported { .. } => Failure::Unsupported(e.to_string()),
        EngineError::Refused(_) => Failure::Refused(e.to_string()),
        EngineError::Attach { errno: Errno::EDESTADDRREQ, .. } => Failure::Usage(e.to_string()),
        EngineError::Attach { errno: Errno::ENOENT | Errno::ENODEV | Errno::ESRCH, .. } => {
            Failure::Input(e.to_string())
        }
        _ => Failure::Failed(e.to_string()),
    }
}

/// The kernel's number for something that was asked of it.
pub(crate) fn refused(what: &str, errno: Errno) -> Failure {
    refused_as(Asked::Info, what, errno)
}

/// The same, of a kind of question.
pub(crate) fn refused_as(asked: Asked, what: &str, errno: Errno) -> Failure {
    let why = explain::why(asked, errno, &Rights::own());
    let text = format!("{what}: {why}");
    match errno {
        Errno::EPERM | Errno::EACCES => Failure::Permission(text),
        Errno::ENOENT | Errno::EBADF => Failure::Input(text),
        Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::ENOTSUPP => Failure::Unsupported(text),
        _ => Failure::Failed(text),
    }
}

pub(crate) fn pinning(e: &PinError) -> Failure {
    match e.errno {
        Errno::EPERM | Errno::EACCES => Failure::Permission(e.to_string()),
        Errno::ENOENT | Errno::EINVAL | Errno::EEXIST => Failure::Input(e.to_string()),
        _ => Failure::Failed(e.to_string()),
    }
}

/// Which objects are meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    /// All of the kernel.
    All,
    /// By id.
    Id(u32),
    /// By the path of a pin.
    Pinned(PathBuf),
    /// By name.
    Name(String),
    /// Programs by tag.
    Tag(String),
}

/// Several of a kind, in words.
fn plural(noun: &str) -> String {
    match noun {
        "prog" => "programs".into(),
        "btf" => "types".into(),
        noun => format!("{noun}s"),
    }
}

impl Which {
    /// Opens the objects of a kind that are meant.
    pub(crate) fn open(&self, door: &dyn Door, kind: IdKind) -> Result<Vec<OwnedFd>, Failure> {
        let noun = kind.label();
        match self {
            Which::All => info::all(door, kind).map_err(|e| refused(&format!("listing {}", plural(noun)), e)),
            Which::Id(id) => match door.by_id(kind, *id) {
                Ok(fd) => Ok(vec![fd]),
                Err(Errno::ENOENT) => Err(Failure::Input(format!(
                    "the kernel has no {noun} with id {id}; `skep {noun} show` lists those it has"
                ))),
                Err(e) => Err(refused(&format!("opening {noun} {id}"), e)),
            },
            Which::Pinned(path) => {
                let fd = pin::open(door, path).map_err(|e| pinning(&e))?;
                if kind_of(&fd) != Some(kind) {
                    let is = kind_of(&fd).map_or("something else", IdKind::label);
                    return Err(Failure::Input(format!(
                        "{}: a {is} is pinned there, no {noun}",
                        path.display()
                    )));
                }
                Ok(vec![fd])
            }
            Which::Name(name) => self.matching(door, kind, &|i| i.name == *name || i.name == cut(name)),
            Which::Tag(tag) => self.matching(door, kind, &|i| hex_tag(&i.tag) == *tag),
        }
    }

    fn matching(
        &self,
        door: &dyn Door,
        kind: IdKind,
        fits: &dyn Fn(&info::ProgInfo) -> bool,
    ) -> Result<Vec<OwnedFd>, Failure> {
        let mut found = Vec::new();
        for fd in Which::All.open(door, kind)? {
            let as_prog = match kind {
                IdKind::Map => info::map(door, fd.as_fd())
                    .map(|m| info::ProgInfo { name: m.name, ..info::ProgInfo::default() }),
                _ => info::prog(door, fd.as_fd()),
            };
            if as_prog.is_ok_and(|i| fits(&i)) {
                found.push(fd);
            }
        }
        if found.is_empty() {
            let noun = kind.label();
            return Err(Failure::Input(format!(
                "the kernel has no {noun} with {self}; `skep {noun} show` lists those it has"
            )));
        }
        Ok(found)
    }

    /// The one object that is meant.
    pub(crate) fn one(&self, door: &dyn Door, kind: IdKind) -> Result<OwnedFd, Failure> {
        let noun = kind.label();
        if *self == Which::All {
            return Err(Failure::Usage(format!("name the {noun}: id N, pinned PATH or name NAME")));
        }
        let mut found = self.open(door, kind)?;
        match (found.pop(), found.len()) {
            (Some(fd), 0) => Ok(fd),
            (_, more) => Err(Failure::Input(format!(
                "{} {noun}s have {self}; name one of them by its id (`skep {noun} show {self}` lists them)",
                more + 1
            ))),
        }
    }
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Which::All => f.write_str("all"),
            Which::Id(id) => write!(f, "id {id}"),
            Which::Pinned(path) => write!(f, "pinned {}", path.display()),
            Which::Name(name) => write!(f, "name {name}"),
            Which::Tag(tag) => write!(f, "tag {tag}"),
        }
    }
}

/// The kernel keeps 15 bytes of a name.
fn cut(name: &str) -> &str {
    name.get(..15).unwrap_or(name)
}

/// What a descriptor is of, by the link in `/proc`.
pub(crate) fn kind_of(fd: &OwnedFd) -> Option<IdKind> {
    use std::os::fd::AsRawFd;
    let target = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
    match target.to_str()? {
        "anon_inode:bpf-map" => Some(IdKind::Map),
        "anon_inode:bpf-prog" => Some(IdKind::Prog),
        "anon_inode:btf" => Some(IdKind::Btf),
        t if t.starts_with("anon_inode:bpf_link") || t.starts_with("anon_inode:bpf-link") => {
            Some(IdKind::Link)
        }
        _ => None,
    }
}

pub(crate) fn hex_tag(tag: &[u8]) -> String {
    tag.iter().map(|b| format!("{b:02x}")).collect()
}

/// Paths of pins by kind and id: all bpf file systems are walked.
pub(crate) fn pins(door: &dyn Door, kind: IdKind) -> BTreeMap<u32, Vec<String>> {
    let mut found: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for root in pin::mounts() {
        pin::walk(door, &root, &mut |path, fd| {
            if kind_of(&fd) != Some(kind) {
                return;
            }
            let id = match kind {
                IdKind::Map => info::map(door, fd.as_fd()).map(|i| i.id),
                IdKind::Link => info::link(door, fd.as_fd()).map(|i| i.id),
                _ => info::prog(door, fd.as_fd()).map(|i| i.id),
            };
            if let Ok(id) = id {
                found.entry(id).or_default().push(path.display().to_string());
            }
        });
    }
    found
}

/// Name of a program by its id, as far as it can be told.
pub(crate) fn prog_name(door: &dyn Door, id: u32) -> Option<String> {
    let fd = door.by_id(IdKind::Prog, id).ok()?;
    let info = info::prog(door, fd.as_fd()).ok()?;
    info::full_name(door, fd.as_fd(), &info)
}

/// Types by their id.
pub(crate) fn load_btf(door: &dyn Door, id: u32) -> Option<skep::btf::Btf> {
    let fd = door.by_id(IdKind::Btf, id).ok()?;
    skep::btf::Btf::parse(&info::btf(door, fd.as_fd(), true).ok()?.bytes).ok()
}

/// Seconds since 1970 as `2026-11-20T10:44:32+0000`.
pub(crate) fn time_text(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of year 0, in eras of 400 years (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    let (h, m, s) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}+0000")
}

/// The time at which a program was loaded, given in nanoseconds since boot, in seconds since 1970.
pub(crate) fn load_time(since_boot: u64) -> u64 {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let up: f64 = uptime.split(' ').next().and_then(|s| s.parse().ok()).unwrap_or(0.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let boot = now.saturating_sub(std::time::Duration::from_secs_f64(up));
    (boot + std::time::Duration::from_nanos(since_boot)).as_secs()
}

/// Pins objects; with one object at the path, with several at `PATH/NAME`.
pub(crate) fn pin_at(door: &dyn Door, path: &Path, fd: &OwnedFd) -> Result<(), Failure> {
    pin::pin(door, path, fd.as_fd()).map_err(|e| pinning(&e))
}

/// Machine code (x86-64) as text: a line an instruction, with offsets from the base, with its bytes below it if asked for, and with
/// what there is to say before it by its address. The code stands `from` bytes behind the base.
pub(crate) fn native_text(
    code: &[u8],
    base: u64,
    from: u64,
    opcodes: bool,
    note: &dyn Fn(u64) -> Option<String>,
) -> String {
    use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
    let mut decoder = Decoder::with_ip(64, code, base + from, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    let mut out = String::new();
    while decoder.can_decode() {
        let insn = decoder.decode();
        let mut line = String::new();
        formatter.format(&insn, &mut line);
        if let Some(note) = note(insn.ip()) {
            out.push_str(&format!("; {note}\n"));
        }
        out.push_str(&format!("{:4x}:\t{line}\n", insn.ip() - base));
        if opcodes {
            let start = (insn.ip() - base - from) as usize;
            let bytes = code.get(start..start + insn.len()).unwrap_or_default();
            let bytes: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
            out.push_str(&format!("\t{}\n", bytes.join(" ")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn times() {
        assert_eq!(super::time_text(0), "1970-01-01T00:00:00+0000");
        assert_eq!(super::time_text(1_795_171_472), "2026-11-20T10:44:32+0000");
        assert_eq!(super::time_text(951_782_400), "2000-02-29T00:00:00+0000");
    }
}
