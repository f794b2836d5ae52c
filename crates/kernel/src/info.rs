//! What the kernel says of objects that exist: `BPF_OBJ_GET_INFO_BY_FD` and walks over ids.
//!
//! Layouts: `struct bpf_prog_info`, `bpf_map_info`, `bpf_btf_info`, `bpf_link_info` (include/uapi/linux/bpf.h). A kernel that
//! knows fewer fields leaves the rest zero.

use crate::door::{Door, IdKind};
use skep_btf::Btf;
use skep_platform::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes of an info structure: more than any kernel has.
const ROOM: usize = 512;
/// How often a buffer that was too small is made bigger.
const TRIES: usize = 3;

/// A structure of the kernel's, as it came.
#[derive(Clone, Debug)]
struct Raw(Vec<u8>);

impl Raw {
    fn u32(&self, at: usize) -> u32 {
        self.0.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
    }

    fn u64(&self, at: usize) -> u64 {
        self.0.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
    }

    fn set(&mut self, at: usize, n: u32) {
        self.0[at..at + 4].copy_from_slice(&n.to_ne_bytes());
    }

    fn text(&self, at: usize, len: usize) -> String {
        text(&self.0[at..at + len])
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn plain(door: &dyn Door, fd: BorrowedFd<'_>) -> Result<Raw, Errno> {
    let mut raw = Raw(vec![0; ROOM]);
    door.info(fd, &mut raw.0, &mut [])?;
    Ok(raw)
}

/// A program as the kernel keeps it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProgInfo {
    /// `BPF_PROG_TYPE_*`.
    pub prog_type: u32,
    /// Id.
    pub id: u32,
    /// First bytes of a hash over its instructions.
    pub tag: [u8; 8],
    /// Bytes of machine code; 0 without rights or a compiler.
    pub jited_len: u32,
    /// Bytes of instructions as the kernel rewrote them; 0 without rights.
    pub xlated_len: u32,
    /// Nanoseconds since boot (`CLOCK_BOOTTIME`) when it was loaded.
    pub load_time: u64,
    /// Who loaded it.
    pub uid: u32,
    /// Its maps' ids.
    pub map_ids: Vec<u32>,
    /// At most 15 bytes.
    pub name: String,
    /// Device that it is offloaded to.
    pub ifindex: u32,
    /// Its licence is GPL-compatible.
    pub gpl_compatible: bool,
    /// Id of its types; 0: none.
    pub btf_id: u32,
    /// Runs were counted: their time in nanoseconds.
    pub run_time_ns: u64,
    /// Number of runs counted.
    pub run_cnt: u64,
    /// Runs left out because it ran on that CPU already.
    pub recursion_misses: u64,
    /// Instructions that the verifier walked.
    pub verified_insns: u32,
    /// Id of the types that it attaches to.
    pub attach_btf_obj_id: u32,
    /// Type that it attaches to.
    pub attach_btf_id: u32,
}

/// Code of a program as the kernel keeps it. Empty parts need more rights (`CAP_PERFMON`, `kptr_restrict`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProgCode {
    /// Instructions.
    pub xlated: Vec<u8>,
    /// Machine code of all functions in a row.
    pub jited: Vec<u8>,
    /// Addresses of the functions.
    pub ksyms: Vec<u64>,
    /// Bytes of machine code of each function.
    pub func_lens: Vec<u32>,
    /// `struct bpf_func_info`: instruction, type.
    pub func_info: Vec<[u32; 2]>,
    /// `struct bpf_line_info`: instruction, file, text, line and column.
    pub line_info: Vec<[u32; 4]>,
    /// Addresses of the lines in machine code, one for each of `line_info`.
    pub jited_lines: Vec<u64>,
}

/// A map as the kernel keeps it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MapInfo {
    /// `BPF_MAP_TYPE_*`.
    pub map_type: u32,
    /// Id.
    pub id: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// At most 15 bytes.
    pub name: String,
    /// Device that it is offloaded to.
    pub ifindex: u32,
    /// Of struct_ops: the kernel's type.
    pub vmlinux_value_type: u32,
    /// Id of its types; 0: none.
    pub btf_id: u32,
    /// Type of its keys.
    pub btf_key: u32,
    /// Type of its values.
    pub btf_value: u32,
    /// Type-specific extra.
    pub extra: u64,
}

/// Types as the kernel keeps them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BtfInfo {
    /// Id.
    pub id: u32,
    /// Name of the module; `vmlinux`; empty for a program's.
    pub name: String,
    /// They are the kernel's own.
    pub kernel: bool,
    /// Their bytes.
    pub bytes: Vec<u8>,
}

/// A link as the kernel keeps it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkInfo {
    /// `BPF_LINK_TYPE_*`.
    pub link_type: u32,
    /// Id.
    pub id: u32,
    /// Its program.
    pub prog_id: u32,
    /// What it is attached to.
    pub place: Place,
}

/// What a link is attached to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Place {
    /// A kind that is not known here.
    #[default]
    Other,
    /// A raw tracepoint.
    RawTracepoint(String),
    /// A function: attach type, types' id, function in them.
    Tracing(u32, u32, u32),
    /// A cgroup's id and attach type.
    Cgroup(u64, u32),
    /// An iterator's target, and the id of the map it walks.
    Iter(String, u32),
    /// A network namespace's inode and attach type.
    Netns(u32, u32),
    /// A device by XDP.
    Xdp(u32),
    /// A struct_ops map.
    StructOps(u32),
    /// `NFPROTO_*`, hook, priority, flags.
    Netfilter(u32, u32, i32, u32),
    /// Kernel functions: how many, flags, missed runs.
    KprobeMulti(u32, u32, u64),
    /// Places in a file: it, how many, flags, process.
    UprobeMulti(String, u32, u32, u32),
    /// A perf event: `BPF_PERF_EVENT_*`, name, offset (of events: type), address (of events: configuration), cookie.
    PerfEvent(u32, String, u32, u64, u64),
    /// A device by tcx, and the attach type.
    Tcx(u32, u32),
    /// A device by netkit, and the attach type.
    Netkit(u32, u32),
    /// A socket map, and the attach type.
    Sockmap(u32, u32),
}

/// Ids of all objects of a kind, ascending. Cost: a system call each.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`.
pub fn ids(door: &dyn Door, kind: IdKind) -> Result<Vec<u32>, Errno> {
    let mut ids = Vec::new();
    let mut last = 0;
    loop {
        match door.next_id(kind, last) {
            Ok(id) => {
                ids.push(id);
                last = id;
            }
            Err(Errno::ENOENT) => return Ok(ids),
            Err(e) => return Err(e),
        }
    }
}

/// Opens every object of a kind. One that goes away between the walk and the opening is left out.
///
/// # Errors
/// As [`ids`].
pub fn all(door: &dyn Door, kind: IdKind) -> Result<Vec<OwnedFd>, Errno> {
    let mut out = Vec::new();
    for id in ids(door, kind)? {
        match door.by_id(kind, id) {
            Ok(fd) => out.push(fd),
            Err(Errno::ENOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(out)
}

/// A program's. Cost: two system calls.
///
/// # Errors
/// `EINVAL` if the descriptor is another object's.
pub fn prog(door: &dyn Door, fd: BorrowedFd<'_>) -> Result<ProgInfo, Errno> {
    let mut raw = plain(door, fd)?;
    let mut maps = vec![0u8; raw.u32(52) as usize * 4];
    if !maps.is_empty() {
        let n = raw.u32(52);
        raw = Raw(vec![0; ROOM]);
        raw.set(52, n);
        door.info(fd, &mut raw.0, &mut [(56, &mut maps)])?;
    }
    Ok(ProgInfo {
        prog_type: raw.u32(0),
        id: raw.u32(4),
        tag: raw.u64(8).to_ne_bytes(),
        jited_len: raw.u32(16),
        xlated_len: raw.u32(20),
        load_time: raw.u64(40),
        uid: raw.u32(48),
        map_ids: words(&maps, raw.u32(52)),
        name: raw.text(64, 16),
        ifindex: raw.u32(80),
        gpl_compatible: raw.u32(84) & 1 == 1,
        btf_id: raw.u32(128),
        run_time_ns: raw.u64(192),
        run_cnt: raw.u64(200),
        recursion_misses: raw.u64(208),
        verified_insns: raw.u32(216),
        attach_btf_obj_id: raw.u32(220),
        attach_btf_id: raw.u32(224),
    })
}

/// The whole name of a program: the function's in its types, where the kernel keeps 15 bytes only; `None` for one without a name.
/// Cost: some system calls and reading its types, for long names only.
pub fn full_name(door: &dyn Door, fd: BorrowedFd<'_>, info: &ProgInfo) -> Option<String> {
    if info.name.len() == 15 && info.btf_id != 0 {
        let id = prog_code(door, fd).ok()?.func_info.first()?[1];
        let types = door.by_id(IdKind::Btf, info.btf_id).ok()?;
        let types = Btf::parse(&btf(door, types.as_fd(), true).ok()?.bytes).ok()?;
        return Some(types.name_of(id).to_owned()).filter(|n| !n.is_empty());
    }
    Some(info.name.clone()).filter(|n| !n.is_empty())
}

fn words(bytes: &[u8], n: u32) -> Vec<u32> {
    let all = bytes.as_chunks::<4>().0;
    all.iter().take(n as usize).map(|b| u32::from_ne_bytes(*b)).collect()
}

fn longs(bytes: &[u8], n: u32) -> Vec<u64> {
    let all = bytes.as_chunks::<8>().0;
    all.iter().take(n as usize).map(|b| u64::from_ne_bytes(*b)).collect()
}

/// Where counts stand in `struct bpf_prog_info`, where the pointers, and the bytes of an element.
const CODE: [(usize, usize, usize); 7] =
    [(20, 32, 1), (16, 24, 1), (104, 112, 8), (108, 120, 4), (144, 136, 8), (148, 152, 16), (168, 160, 8)];
const FUNC_REC: usize = 132;
const LINE_REC: usize = 172;
const JITED_LINE_REC: usize = 176;

/// A program's code. Cost: two system calls and copies.
///
/// # Errors
/// As [`prog`].
pub fn prog_code(door: &dyn Door, fd: BorrowedFd<'_>) -> Result<ProgCode, Errno> {
    let sizes = plain(door, fd)?;
    let mut raw = Raw(vec![0; ROOM]);
    let mut room = CODE.map(|(count, _, size)| {
        let n = sizes.u32(count);
        raw.set(count, n);
        vec![0u8; n as usize * size]
    });
    raw.set(FUNC_REC, 8);
    raw.set(LINE_REC, 16);
    raw.set(JITED_LINE_REC, 8);
    {
        let mut buffers: Vec<(usize, &mut [u8])> =
            CODE.iter().zip(&mut room).map(|(c, b)| (c.1, b.as_mut_slice())).collect();
        door.info(fd, &mut raw.0, &mut buffers)?;
    }
    let [mut xlated, mut jited, ksyms, lens, funcs, lines, jited_lines] = room;
    // Without rights the kernel takes the pointers' parts away and says so by zeros.
    let kept = |at: usize| raw.u32(at);
    xlated.truncate(if raw.u64(32) == 0 { 0 } else { kept(20) as usize });
    jited.truncate(if raw.u64(24) == 0 { 0 } else { kept(16) as usize });
    Ok(ProgCode {
        xlated,
        jited,
        ksyms: longs(&ksyms, kept(104)),
        func_lens: words(&lens, kept(108)),
        func_info: funcs
            .as_chunks::<8>()
            .0
            .iter()
            .take(kept(144) as usize)
            .map(|r| {
                let w = words(r, 2);
                [w[0], w[1]]
            })
            .collect(),
        line_info: lines
            .as_chunks::<16>()
            .0
            .iter()
            .take(kept(148) as usize)
            .map(|r| {
                let w = words(r, 4);
                [w[0], w[1], w[2], w[3]]
            })
            .collect(),
        jited_lines: longs(&jited_lines, kept(168)),
    })
}

/// A map's. Cost: a system call.
///
/// # Errors
/// `EINVAL` if the descriptor is another object's.
pub fn map(door: &dyn Door, fd: BorrowedFd<'_>) -> Result<MapInfo, Errno> {
    let raw = plain(door, fd)?;
    Ok(MapInfo {
        map_type: raw.u32(0),
        id: raw.u32(4),
        key_size: raw.u32(8),
        value_size: raw.u32(12),
        max_entries: raw.u32(16),
        flags: raw.u32(20),
        name: raw.text(24, 16),
        ifindex: raw.u32(40),
        vmlinux_value_type: raw.u32(44),
        btf_id: raw.u32(64),
        btf_key: raw.u32(68),
        btf_value: raw.u32(72),
        extra: raw.u64(80),
    })
}

/// Types. With `bytes` also their bytes. Cost: system calls, and a copy of all of it.
///
/// # Errors
/// `EINVAL` if the descriptor is another object's.
pub fn btf(door: &dyn Door, fd: BorrowedFd<'_>, bytes: bool) -> Result<BtfInfo, Errno> {
    let mut len = if bytes { plain(door, fd)?.u32(8) } else { 0 };
    for _ in 0..TRIES {
        let mut raw = Raw(vec![0; ROOM]);
        let (mut name, mut content) = (vec![0u8; 64], vec![0u8; len as usize]);
        raw.set(24, name.len() as u32);
        raw.set(8, len);
        door.info(fd, &mut raw.0, &mut [(16, &mut name), (0, &mut content)])?;
        if bytes && raw.u32(8) > len {
            len = raw.u32(8);
            continue;
        }
        content.truncate(raw.u32(8) as usize);
        let kernel = raw.u32(28) != 0;
        return Ok(BtfInfo { id: raw.u32(12), name: text(&name), kernel, bytes: content });
    }
    Err(Errno::EAGAIN)
}

/// Bytes of types, without reading them.
///
/// # Errors
/// `EINVAL` if the descriptor is another object's.
pub fn btf_size(door: &dyn Door, fd: BorrowedFd<'_>) -> Result<u32, Errno> {
    Ok(plain(door, fd)?.u32(8))
}

/// `BPF_LINK_TYPE_*` that have text beside them: where its pointer and its length stand.
fn link_text(link_type: u32, perf: u32) -> Option<(usize, usize)> {
    match link_type {
        1 | 4 => Some((16, 24)),
        7 if (1..=5).contains(&perf) => Some((24, 32)),
        12 => Some((16, 48)),
        _ => None,
    }
}

/// A link's. Cost: one or two system calls.
///
/// # Errors
/// `EINVAL` if the descriptor is another object's.
pub fn link(door: &dyn Door, fd: BorrowedFd<'_>) -> Result<LinkInfo, Errno> {
    let mut raw = plain(door, fd)?;
    let mut name = vec![0u8; 4096];
    if let Some((pointer, len)) = link_text(raw.u32(0), raw.u32(16)) {
        raw = Raw(vec![0; ROOM]);
        raw.set(len, name.len() as u32);
        door.info(fd, &mut raw.0, &mut [(pointer, &mut name)])?;
    }
    let name = text(&name);
    let place = match raw.u32(0) {
        1 => Place::RawTracepoint(name),
        2 => Place::Tracing(raw.u32(16), raw.u32(20), raw.u32(24)),
        3 => Place::Cgroup(raw.u64(16), raw.u32(24)),
        4 => Place::Iter(name, raw.u32(28)),
        5 => Place::Netns(raw.u32(16), raw.u32(20)),
        6 => Place::Xdp(raw.u32(16)),
        7 => perf_place(&raw, name),
        8 => Place::KprobeMulti(raw.u32(24), raw.u32(28), raw.u64(32)),
        9 => Place::StructOps(raw.u32(16)),
        10 => Place::Netfilter(raw.u32(16), raw.u32(20), raw.u32(24) as i32, raw.u32(28)),
        11 => Place::Tcx(raw.u32(16), raw.u32(20)),
        12 => Place::UprobeMulti(name, raw.u32(52), raw.u32(56), raw.u32(60)),
        13 => Place::Netkit(raw.u32(16), raw.u32(20)),
        14 => Place::Sockmap(raw.u32(16), raw.u32(20)),
        _ => Place::Other,
    };
    Ok(LinkInfo { link_type: raw.u32(0), id: raw.u32(4), prog_id: raw.u32(8), place })
}

fn perf_place(raw: &Raw, name: String) -> Place {
    match raw.u32(16) {
        // BPF_PERF_EVENT_UPROBE, _URETPROBE.
        k @ (1 | 2) => Place::PerfEvent(k, name, raw.u32(36), 0, raw.u64(40)),
        // BPF_PERF_EVENT_KPROBE, _KRETPROBE.
        k @ (3 | 4) => Place::PerfEvent(k, name, raw.u32(36), raw.u64(40), raw.u64(56)),
        // BPF_PERF_EVENT_TRACEPOINT.
        5 => Place::PerfEvent(5, name, 0, 0, raw.u64(40)),
        // BPF_PERF_EVENT_EVENT.
        6 => Place::PerfEvent(6, String::new(), raw.u32(32), raw.u64(24), raw.u64(40)),
        k => Place::PerfEvent(k, String::new(), 0, 0, 0),
    }
}

/// What a descriptor of `/proc/PID/fdinfo` is, and bytes that it is counted with (`memlock`), `frozen` and the like.
///
/// Returns `None` where the file cannot be read.
pub fn fdinfo(fd: impl AsFd, field: &str) -> Option<String> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}
