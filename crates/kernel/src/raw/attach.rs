//! bpf(2) for links, pins and objects that exist already. Layouts: `union bpf_attr` (include/uapi/linux/bpf.h).

use super::{Cmd, address, bpf, done, number, owned};
use crate::door::{
    Attached, Batch, Cursor, IdKind, LinkCreate, LinkExtra, ProgAttach, Relative, Target, TaskFd,
};
use skep_platform::Errno;
use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

const BEFORE: u32 = 1 << 3;
const AFTER: u32 = 1 << 4;
const BY_ID: u32 = 1 << 5;
const BY_LINK: u32 = 1 << 13;
const REPLACE: u32 = 1 << 2;

/// `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
#[derive(Default)]
struct ObjAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `BPF_LINK_CREATE`; what is particular to a kind begins at byte 16.
#[repr(C)]
#[derive(Default)]
struct CreateAttr {
    prog_fd: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    extra: [u64; 6],
}

/// `BPF_LINK_UPDATE`.
#[repr(C)]
#[derive(Default)]
struct UpdateAttr {
    link_fd: u32,
    new_fd: u32,
    flags: u32,
    old_fd: u32,
}

/// `BPF_PROG_ATTACH`, `BPF_PROG_DETACH`.
#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target: u32,
    prog_fd: u32,
    attach_type: u32,
    flags: u32,
    replace_fd: u32,
    relative: u32,
    revision: u64,
}

/// `BPF_PROG_QUERY`.
#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    pad: u32,
    prog_flags: u64,
    link_ids: u64,
    link_flags: u64,
    revision: u64,
}

/// The commands about ids and info.
#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
    token: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct RawTpAttr {
    name: u64,
    prog_fd: u32,
    pad: u32,
    cookie: u64,
}

#[repr(C)]
#[derive(Default)]
struct TaskAttr {
    pid: u32,
    fd: u32,
    flags: u32,
    buf_len: u32,
    buf: u64,
    prog_id: u32,
    fd_type: u32,
    probe_offset: u64,
    probe_addr: u64,
}

#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Two words that most small commands consist of.
#[repr(C)]
#[derive(Default)]
struct Words(u32, u32);

fn target(t: Target<'_>) -> u32 {
    match t {
        Target::None => 0,
        Target::Fd(fd) => number(fd),
        Target::Ifindex(i) => i,
    }
}

pub(super) fn obj_pin(path: &CStr, fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attr = ObjAttr { path: path.as_ptr() as u64, fd: number(fd), flags: 0 };
    // SAFETY: the path is a C string that lives through the call.
    done(unsafe { bpf(Cmd::ObjPin, &mut attr, size_of::<ObjAttr>()) })
}

pub(super) fn obj_get(path: &CStr, flags: u32) -> Result<OwnedFd, Errno> {
    let mut attr = ObjAttr { path: path.as_ptr() as u64, fd: 0, flags };
    // SAFETY: as in `obj_pin`.
    owned(unsafe { bpf(Cmd::ObjGet, &mut attr, size_of::<ObjAttr>()) })
}

pub(super) fn next_id(kind: IdKind, after: u32) -> Result<u32, Errno> {
    let cmd = match kind {
        IdKind::Prog => Cmd::ProgNextId,
        IdKind::Map => Cmd::MapNextId,
        IdKind::Btf => Cmd::BtfNextId,
        IdKind::Link => Cmd::LinkNextId,
    };
    let mut attr = IdAttr { id: after, ..IdAttr::default() };
    // SAFETY: the attribute holds no pointer.
    done(unsafe { bpf(cmd, &mut attr, std::mem::offset_of!(IdAttr, token)) })?;
    Ok(attr.next_id)
}

pub(super) fn by_id(kind: IdKind, id: u32) -> Result<OwnedFd, Errno> {
    let cmd = match kind {
        IdKind::Prog => Cmd::ProgById,
        IdKind::Map => Cmd::MapById,
        IdKind::Btf => Cmd::BtfById,
        IdKind::Link => Cmd::LinkById,
    };
    let mut attr = IdAttr { id, ..IdAttr::default() };
    // SAFETY: the attribute holds no pointer.
    owned(unsafe { bpf(cmd, &mut attr, std::mem::offset_of!(IdAttr, token)) })
}

pub(super) fn info(
    fd: BorrowedFd<'_>,
    info: &mut [u8],
    buffers: &mut [(usize, &mut [u8])],
) -> Result<usize, Errno> {
    for (at, buffer) in buffers.iter_mut() {
        let slot = info.get_mut(*at..*at + 8).ok_or(Errno::EINVAL)?;
        if !buffer.is_empty() {
            slot.copy_from_slice(&(buffer.as_mut_ptr() as u64).to_ne_bytes());
        }
    }
    let mut attr = InfoAttr { fd: number(fd), len: info.len() as u32, info: info.as_mut_ptr() as u64 };
    // SAFETY: the kernel writes at most `len` bytes of `info`. Pointers in it are those of `buffers`, set above; how many
    // elements fit them is said by count fields in `info` that `crate::info`, the only caller, derives from their lengths,
    // all other pointers being zero there.
    done(unsafe { bpf(Cmd::Info, &mut attr, size_of::<InfoAttr>()) })?;
    Ok(attr.len as usize)
}

fn beside(r: Option<Relative>) -> (u32, u32) {
    let Some(r) = r else { return (0, 0) };
    let place = if r.before { BEFORE } else { AFTER };
    (r.id, place | BY_ID | if r.link { BY_LINK } else { 0 })
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn words(w: &[u64]) -> u64 {
    if w.is_empty() { 0 } else { w.as_ptr() as u64 }
}

pub(super) fn link_create(l: &LinkCreate<'_>) -> Result<OwnedFd, Errno> {
    let mut attr = CreateAttr {
        prog_fd: number(l.prog),
        target: target(l.target),
        attach_type: l.attach_type,
        flags: l.flags,
        ..CreateAttr::default()
    };
    // Names live until the call.
    let mut names = Vec::new();
    match l.extra {
        LinkExtra::None => {}
        LinkExtra::Tracing { target_btf_id, cookie } => {
            (attr.extra[0], attr.extra[1]) = (target_btf_id.into(), cookie);
        }
        LinkExtra::Iter([]) => {}
        LinkExtra::Iter(bytes) => {
            (attr.extra[0], attr.extra[1]) = (address(bytes), bytes.len() as u64);
        }
        LinkExtra::PerfEvent(cookie) => attr.extra[0] = cookie,
        LinkExtra::KprobeMulti { flags, symbols, cookies } => {
            if !cookies.is_empty() && cookies.len() != symbols.len() {
                return Err(Errno::EINVAL);
            }
            names.extend(symbols.iter().map(|s| s.as_ptr() as u64));
            attr.extra = [pair(flags, names.len() as u32), words(&names), 0, words(cookies), 0, 0];
        }
        LinkExtra::UprobeMulti { path, offsets, ref_ctrs, cookies, flags, pid } => {
            let fits = |w: &[u64]| w.is_empty() || w.len() == offsets.len();
            if !fits(ref_ctrs) || !fits(cookies) {
                return Err(Errno::EINVAL);
            }
            let count = pair(offsets.len() as u32, flags);
            let path = path.as_ptr() as u64;
            attr.extra = [path, words(offsets), words(ref_ctrs), words(cookies), count, pid.into()];
        }
        LinkExtra::Netfilter { pf, hook, priority, flags } => {
            attr.extra[0] = pair(pf, hook);
            attr.extra[1] = pair(priority as u32, flags);
        }
        LinkExtra::Beside { relative, revision } => {
            let (id, flags) = beside(relative);
            attr.flags |= flags;
            (attr.extra[0], attr.extra[1]) = (id.into(), revision);
        }
    }
    // SAFETY: pointers are those of slices and C strings borrowed through the call; arrays beside each other have one
    // length, checked above.
    owned(unsafe { bpf(Cmd::LinkCreate, &mut attr, size_of::<CreateAttr>()) })
}

pub(super) fn link_update(
    link: BorrowedFd<'_>,
    new: BorrowedFd<'_>,
    old: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut attr = UpdateAttr {
        link_fd: number(link),
        new_fd: number(new),
        flags: if old.is_some() { REPLACE } else { 0 },
        old_fd: old.map_or(0, number),
    };
    // SAFETY: the attribute holds no pointer.
    done(unsafe { bpf(Cmd::LinkUpdate, &mut attr, size_of::<UpdateAttr>()) })
}

pub(super) fn link_detach(link: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attr = Words(number(link), 0);
    // SAFETY: the attribute holds no pointer.
    done(unsafe { bpf(Cmd::LinkDetach, &mut attr, 4) })
}

pub(super) fn prog_attach(a: &ProgAttach<'_>, detach: bool) -> Result<(), Errno> {
    let mut attr = AttachAttr {
        target: target(a.target),
        prog_fd: a.prog.map_or(0, number),
        attach_type: a.attach_type,
        flags: a.flags,
        ..AttachAttr::default()
    };
    let cmd = if detach { Cmd::ProgDetach } else { Cmd::ProgAttach };
    // SAFETY: the attribute holds no pointer. Kernels before 6.6 know nothing behind `replace_fd`.
    done(unsafe { bpf(cmd, &mut attr, std::mem::offset_of!(AttachAttr, relative)) })
}

/// Programs that a hook is asked for; cgroups take 64, tcx 63.
const MOST: usize = 1024;

pub(super) fn prog_query(t: Target<'_>, attach_type: u32, flags: u32) -> Result<Attached, Errno> {
    let (mut progs, mut prog_flags) = (vec![0u32; MOST], vec![0u32; MOST]);
    let mut links = vec![0u32; MOST];
    let mprog = matches!(attach_type, 46 | 47 | 54 | 55);
    let mut attr = QueryAttr {
        target: target(t),
        attach_type,
        query_flags: flags,
        prog_ids: progs.as_mut_ptr() as u64,
        count: MOST as u32,
        // Asking for effective programs and for flags excludes each other (`cgroup_bpf_prog_query`).
        prog_flags: if mprog || flags != 0 { 0 } else { prog_flags.as_mut_ptr() as u64 },
        link_ids: if mprog { links.as_mut_ptr() as u64 } else { 0 },
        ..QueryAttr::default()
    };
    // SAFETY: the arrays have `count` elements each and live through the call.
    let asked = done(unsafe { bpf(Cmd::ProgQuery, &mut attr, size_of::<QueryAttr>()) });
    let old_kernel = matches!(asked, Err(Errno::EINVAL | Errno::E2BIG)) && !mprog;
    let asked = if old_kernel {
        (attr.prog_flags, attr.count) = (0, MOST as u32);
        // SAFETY: as above; kernels before 6.1 know nothing behind the count.
        done(unsafe { bpf(Cmd::ProgQuery, &mut attr, std::mem::offset_of!(QueryAttr, prog_flags)) })
    } else {
        asked
    };
    asked?;
    let n = (attr.count as usize).min(MOST);
    progs.truncate(n);
    prog_flags.truncate(if attr.prog_flags == 0 { 0 } else { n });
    links.truncate(if mprog { n } else { 0 });
    let (attach_flags, revision) = (attr.attach_flags, attr.revision);
    Ok(Attached { progs, links, flags: prog_flags, attach_flags, revision })
}

pub(super) fn raw_tracepoint_open(name: Option<&CStr>, prog: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let name = name.map_or(0, |n| n.as_ptr() as u64);
    let mut attr = RawTpAttr { name, prog_fd: number(prog), ..RawTpAttr::default() };
    // SAFETY: the name is a C string that lives through the call, or null.
    owned(unsafe { bpf(Cmd::RawTracepointOpen, &mut attr, std::mem::offset_of!(RawTpAttr, pad)) })
}

pub(super) fn iter_create(link: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut attr = Words(number(link), 0);
    // SAFETY: the attribute holds no pointer.
    owned(unsafe { bpf(Cmd::IterCreate, &mut attr, size_of::<Words>()) })
}

pub(super) fn task_fd_query(pid: u32, fd: u32) -> Result<TaskFd, Errno> {
    let mut buf = vec![0u8; 4096];
    let mut attr =
        TaskAttr { pid, fd, buf_len: buf.len() as u32, buf: buf.as_mut_ptr() as u64, ..TaskAttr::default() };
    // SAFETY: the buffer is given with its length and lives through the call.
    done(unsafe { bpf(Cmd::TaskFdQuery, &mut attr, size_of::<TaskAttr>()) })?;
    let name = CStr::from_bytes_until_nul(&buf).map(|c| c.to_string_lossy().into_owned());
    Ok(TaskFd {
        prog: attr.prog_id,
        kind: attr.fd_type,
        offset: attr.probe_offset,
        address: attr.probe_addr,
        name: name.unwrap_or_default(),
    })
}

pub(super) fn enable_stats() -> Result<OwnedFd, Errno> {
    // BPF_STATS_RUN_TIME is 0.
    let mut attr = Words::default();
    // SAFETY: the attribute holds no pointer.
    owned(unsafe { bpf(Cmd::EnableStats, &mut attr, 4) })
}

pub(super) fn token_create(bpffs: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut attr = Words(0, number(bpffs));
    // SAFETY: the attribute holds no pointer.
    owned(unsafe { bpf(Cmd::TokenCreate, &mut attr, size_of::<Words>()) })
}

#[allow(clippy::too_many_arguments, reason = "as many as the command has")]
pub(super) fn map_batch(
    op: Batch,
    map: BorrowedFd<'_>,
    cursor: &mut Cursor,
    cursor_len: usize,
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
    flags: u64,
) -> (Result<(), Errno>, u32) {
    let cmd = match op {
        Batch::Lookup => Cmd::MapLookupBatch,
        Batch::LookupAndDelete => Cmd::MapLookupDeleteBatch,
        Batch::Update => Cmd::MapUpdateBatch,
        Batch::Delete => Cmd::MapDeleteBatch,
    };
    let mut next = vec![0u8; cursor_len.max(64)];
    let mut attr = BatchAttr {
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count,
        map_fd: number(map),
        elem_flags: flags,
        ..BatchAttr::default()
    };
    let walks = matches!(op, Batch::Lookup | Batch::LookupAndDelete);
    if walks {
        attr.in_batch = cursor.as_ref().map_or(0, |c| c.as_ptr() as u64);
        attr.out_batch = next.as_mut_ptr() as u64;
    }
    // SAFETY: keys and values hold `count` entries of the map's sizes, as the trait asks for and `KernelMap`, the only
    // caller, makes them; the cursors have room for a key and eight bytes.
    let done = done(unsafe { bpf(cmd, &mut attr, size_of::<BatchAttr>()) });
    if walks {
        *cursor = Some(next);
    }
    (done, attr.count)
}
