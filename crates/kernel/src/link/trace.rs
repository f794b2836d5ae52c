//! Tracing hooks: raw and classic tracepoints, functions by BTF, perf events, probes, iterators, struct_ops.
//!
//! Sources: `bpf_raw_tp_link_attach`, `bpf_perf_link_attach`, `bpf_uprobe_multi_link_attach`, `bpf_iter_link_attach`
//! (kernel/bpf, kernel/trace), perf_event_open(2), Documentation/trace/uprobetracer.rst.

use super::{AttachTo, Part, Refused};
use crate::door::{Door, LinkCreate, LinkExtra, PerfEvent, Target};
use crate::mount::mounted;
use crate::{KernelMap, KernelProgram};
use skep_platform::engine::Loaded;
use skep_platform::{AttachType, Errno, ProgType};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `BPF_F_KPROBE_MULTI_RETURN`, `BPF_F_UPROBE_MULTI_RETURN`.
const RETURN: u32 = 1;
const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_SAMPLE_RAW: u64 = 1 << 10;

/// Where tracefs is mounted, if it is.
pub fn tracefs() -> Option<PathBuf> {
    let usual = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].map(Path::new);
    if let Some(p) = usual.into_iter().find(|p| p.join("events").is_dir()) {
        return Some(p.into());
    }
    mounted("tracefs").into_iter().next()
}

fn c_string(text: impl AsRef<[u8]>) -> Result<CString, Refused> {
    CString::new(text.as_ref()).map_err(|_| Refused::new(Errno::EINVAL, "the name has a NUL in it"))
}

pub(super) fn raw_tracepoint(door: &dyn Door, prog: BorrowedFd<'_>, name: &str) -> Result<Part, Refused> {
    let c = c_string(name)?;
    door.raw_tracepoint_open(Some(&c), prog).map(Part::Link).map_err(|e| {
        let why = match e {
            Errno::ENOENT => {
                format!("the kernel has no tracepoint {name:?}; its types name them all: btf_trace_NAME")
            }
            Errno::EINVAL => {
                "the program reads more arguments than the tracepoint has, or its type is no raw tracepoint's"
                    .into()
            }
            _ => String::new(),
        };
        Refused::new(e, why)
    })
}

pub(super) fn by_type(door: &dyn Door, program: &KernelProgram, cookie: u64) -> Result<Part, Refused> {
    let p = Loaded::program(program);
    let attach_type = p.attach_type.map_or(0, |a| a.id());
    let made = if cookie != 0 {
        door.link_create(&LinkCreate {
            prog: program.as_fd(),
            target: Target::None,
            attach_type,
            flags: 0,
            extra: LinkExtra::Tracing { target_btf_id: 0, cookie },
        })
    } else {
        // Known since 4.17, long before links have a command of their own.
        door.raw_tracepoint_open(None, program.as_fd())
    };
    made.map(Part::Link).map_err(|e| {
        let target = p.attach_target.as_deref().unwrap_or("the function");
        let why = match e {
            Errno::EPERM if p.prog_type == ProgType::Tracing || p.prog_type == ProgType::Lsm => format!(
                "this kernel does not let anybody change the start of {target} (trampolines need \
                 CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS and a kernel that is not sealed); a raw tracepoint or tp_btf works \
                 without"
            ),
            Errno::EBUSY => format!(
                "{target} cannot take another program: another tracer holds its entry, or 38 programs are attached"
            ),
            Errno::ENOENT | Errno::EINVAL => format!(
                "{target} cannot be attached to: it may be inlined, marked notrace, or in a module that is gone"
            ),
            Errno::E2BIG => format!("{target} has as many programs as the kernel takes (38)"),
            _ => String::new(),
        };
        Refused::new(e, why)
    })
}

pub(super) fn replace(
    door: &dyn Door,
    prog: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    btf_id: u32,
) -> Result<Part, Refused> {
    let request = LinkCreate {
        prog,
        target: Target::Fd(target),
        attach_type: 0,
        flags: 0,
        extra: LinkExtra::Tracing { target_btf_id: btf_id, cookie: 0 },
    };
    door.link_create(&request).map(Part::Link).map_err(|e| {
        let why = match e {
            Errno::EBUSY => "the function is replaced already, or its program sits in a program array".into(),
            Errno::EINVAL => "the function's signature differs from the program's, or the program was loaded for another target".into(),
            _ => String::new(),
        };
        Refused::new(e, why)
    })
}

pub(super) fn iter(door: &dyn Door, prog: BorrowedFd<'_>, info: &[u8]) -> Result<Part, Refused> {
    let request = LinkCreate {
        prog,
        target: Target::None,
        attach_type: AttachType::TraceIter.id(),
        flags: 0,
        extra: LinkExtra::Iter(info),
    };
    door.link_create(&request).map(Part::Link).map_err(|e| {
        let why = match e {
            Errno::EBADF | Errno::EINVAL => {
                "this iterator walks a map, a cgroup or a task, which has to be named; or what was \
                                             named does not fit it"
                    .into()
            }
            Errno::EACCES => "the program reads or writes beyond the keys or values of the map".into(),
            _ => String::new(),
        };
        Refused::new(e, why)
    })
}

/// Writes the map's value, which registers it unless it is for a link.
fn ready(map: &KernelMap) -> Result<(), Refused> {
    map.write_struct_ops().map_err(|e| {
        let why = match e {
            Errno::EEXIST => "the kernel has one of this name registered already",
            Errno::EBUSY => "the map is registered already, or was written before",
            Errno::EINVAL => {
                "the kernel's structure needs a function that is missing, or a member is set that has to be zero"
            }
            Errno::ENOTSUPP | Errno::EOPNOTSUPP => {
                "the kernel calls no program for one of the functions, or misses one that it needs"
            }
            _ => "",
        };
        Refused::new(e, why)
    })
}

pub(super) fn struct_ops(door: &dyn Door, map: &KernelMap, link: bool) -> Result<Part, Refused> {
    ready(map)?;
    if !link {
        let own = map.as_fd().try_clone_to_owned();
        let own = own.map_err(|e| Refused::new(Errno(e.raw_os_error().unwrap_or(Errno::EIO.0)), ""))?;
        return Ok(Part::StructOps(own));
    }
    let request = LinkCreate {
        prog: map.as_fd(),
        target: Target::None,
        attach_type: AttachType::StructOps.id(),
        flags: 0,
        extra: LinkExtra::None,
    };
    door.link_create(&request).map(Part::Link).map_err(|e| {
        let why = match e {
            Errno::EEXIST => "the kernel has one of this name registered already",
            Errno::EBUSY => "it is registered already",
            Errno::EINVAL => {
                "the map was made without BPF_F_LINK (section .struct_ops.link), or is not filled yet"
            }
            Errno::EOPNOTSUPP => "the kernel's structure takes no links, or lacks a member that it needs",
            _ => "",
        };
        Refused::new(e, why)
    })
}

pub(super) fn replace_struct_ops(
    door: &dyn Door,
    link: BorrowedFd<'_>,
    map: &KernelMap,
) -> Result<(), Refused> {
    ready(map)?;
    door.link_update(link, map.as_fd(), None).map_err(|e| {
        let why = match e {
            Errno::EINVAL => {
                "the map is of another structure or of another name, was made without BPF_F_LINK, or the link is detached"
            }
            Errno::EOPNOTSUPP | Errno::ENOTSUPP => "the kernel cannot exchange this structure while it is in use",
            _ => "",
        };
        Refused::new(e, why)
    })
}

/// Hooks by perf events, and those that take many places at once.
pub(super) fn events(door: &dyn Door, prog: BorrowedFd<'_>, to: &AttachTo<'_>) -> Result<Vec<Part>, Refused> {
    match to {
        AttachTo::Tracepoint { category, name, pid, cookie } => {
            tracepoint(door, prog, category, name, *pid, *cookie).map(|p| vec![p])
        }
        AttachTo::PerfEvent { kind, config, freq, sample, pid } => {
            let event = PerfEvent {
                kind: *kind,
                config: *config,
                sample: *sample,
                freq: *freq,
                pid: pid.map_or(-1, |p| p as i32),
                ..PerfEvent::default()
            };
            perf_events(door, prog, &event)
        }
        AttachTo::Uprobe { path, offset, ret, pid, cookie, ref_ctr } => {
            let name = c_string(path.as_os_str().as_bytes())?;
            let (kind, ret_bit) = probe_type("uprobe")?;
            let event = PerfEvent {
                kind,
                config: if *ret { 1 << ret_bit } else { 0 } | ref_ctr << 32,
                name: Some(&name),
                offset: *offset,
                pid: pid.map_or(-1, |p| p as i32),
                cpu: if pid.is_some() { -1 } else { 0 },
                ..PerfEvent::default()
            };
            let part = perf_link(door, prog, &event, *cookie);
            part.map(|p| vec![p]).map_err(|e| uprobe_refused(e, path, *offset))
        }
        AttachTo::UprobeMulti { path, offsets, ref_ctrs, cookies, ret, pid } => {
            let name = c_string(path.as_os_str().as_bytes())?;
            let request = LinkCreate {
                prog,
                target: Target::None,
                attach_type: AttachType::TraceUprobeMulti.id(),
                flags: 0,
                extra: LinkExtra::UprobeMulti {
                    path: &name,
                    offsets,
                    ref_ctrs,
                    cookies,
                    flags: if *ret { RETURN } else { 0 },
                    pid: pid.unwrap_or(0),
                },
            };
            let made = door.link_create(&request).map(|fd| vec![Part::Link(fd)]);
            made.map_err(|e| uprobe_refused(e, path, offsets.first().copied().unwrap_or(0)))
        }
        AttachTo::Kprobe { function, offset, ret, cookie } => {
            let name = c_string(function)?;
            let (kind, ret_bit) = probe_type("kprobe")?;
            let event = PerfEvent {
                kind,
                config: if *ret { 1 << ret_bit } else { 0 },
                name: Some(&name),
                offset: *offset,
                pid: -1,
                ..PerfEvent::default()
            };
            perf_link(door, prog, &event, *cookie).map(|p| vec![p]).map_err(|e| {
                let why = match e {
                    Errno::ENOENT | Errno::EINVAL => {
                        format!("the kernel has no function {function}, or it may not be probed")
                    }
                    _ => String::new(),
                };
                Refused::new(e, why)
            })
        }
        AttachTo::KprobeMulti { functions, ret } => kprobe_multi(door, prog, functions, *ret),
        other => Err(Refused::new(Errno::EOPNOTSUPP, format!("{other} is no perf event"))),
    }
}

fn uprobe_refused(e: Errno, path: &Path, offset: u64) -> Refused {
    let why = match e {
        Errno::ENOENT => format!("there is no file {}", path.display()),
        Errno::EINVAL => format!(
            "{} has no machine code at offset {offset:#x}, or an instruction there that cannot be probed",
            path.display()
        ),
        Errno::EACCES => format!("{} cannot be opened", path.display()),
        Errno::ESRCH => "there is no process with this number".into(),
        _ => String::new(),
    };
    Refused::new(e, why)
}

/// Number of a dynamic kind of perf event, and the bit of its configuration that says "at the return".
fn probe_type(name: &str) -> Result<(u32, u32), Refused> {
    let folder = Path::new("/sys/bus/event_source/devices").join(name);
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).ok();
    let kind = read("type").and_then(|t| t.trim().parse().ok()).ok_or_else(|| {
        let option = name.to_uppercase();
        Refused::new(
            Errno::EOPNOTSUPP,
            format!("the kernel has no {name}s: it was built without CONFIG_{option}S=y (or CONFIG_{option}_EVENTS=y)"),
        )
    })?;
    let bit = read("format/retprobe").and_then(|t| t.trim().strip_prefix("config:")?.parse().ok());
    Ok((kind, bit.unwrap_or(0)))
}

/// A perf event with a program on it, enabled.
fn perf_link(
    door: &dyn Door,
    prog: BorrowedFd<'_>,
    event: &PerfEvent<'_>,
    cookie: u64,
) -> Result<Part, Errno> {
    let fd = door.perf_event(event)?;
    let request = LinkCreate {
        prog,
        target: Target::Fd(fd.as_fd()),
        attach_type: AttachType::PerfEvent.id(),
        flags: 0,
        extra: LinkExtra::PerfEvent(cookie),
    };
    let link = match door.link_create(&request) {
        Ok(link) => Some(link),
        // Before 5.15 perf events took programs by an ioctl, without cookies.
        Err(Errno::EINVAL) if cookie == 0 => {
            door.perf_set_bpf(fd.as_fd(), prog)?;
            None
        }
        Err(e) => return Err(e),
    };
    door.perf_enable(fd.as_fd(), true)?;
    Ok(Part::Perf(fd, link))
}

fn tracepoint(
    door: &dyn Door,
    prog: BorrowedFd<'_>,
    category: &str,
    name: &str,
    pid: Option<u32>,
    cookie: u64,
) -> Result<Part, Refused> {
    let folder = tracefs().ok_or_else(|| {
        Refused::new(
            Errno::ENOENT,
            "tracefs is not mounted, and tracepoints have their numbers there: mount -t tracefs tracefs \
             /sys/kernel/tracing; raw_tp/NAME needs no tracefs",
        )
    })?;
    let path = folder.join("events").join(category).join(name).join("id");
    let id = std::fs::read_to_string(&path).map_err(|e| {
        let errno = Errno(e.raw_os_error().unwrap_or(Errno::EIO.0));
        let why = match errno {
            Errno::ENOENT => {
                format!(
                    "the kernel has no tracepoint {category}/{name}; {} lists them",
                    folder.join("available_events").display()
                )
            }
            e => format!("{}: {e}", path.display()),
        };
        Refused::new(errno, why)
    })?;
    let config = id
        .trim()
        .parse()
        .map_err(|_| Refused::new(Errno::EPROTO, format!("{}: no number", path.display())))?;
    let event = PerfEvent {
        kind: PERF_TYPE_TRACEPOINT,
        config,
        sample: 1,
        sample_type: PERF_SAMPLE_RAW,
        pid: pid.map_or(-1, |p| p as i32),
        cpu: if pid.is_some() { -1 } else { 0 },
        ..PerfEvent::default()
    };
    perf_link(door, prog, &event, cookie).map_err(|e| {
        let why = match e {
            Errno::EACCES => "the program reads beyond the tracepoint's record".into(),
            Errno::EEXIST => "this program is attached there already".into(),
            Errno::E2BIG => "the tracepoint has as many programs as the kernel takes (64)".into(),
            _ => String::new(),
        };
        Refused::new(e, why)
    })
}

fn perf_events(door: &dyn Door, prog: BorrowedFd<'_>, event: &PerfEvent<'_>) -> Result<Vec<Part>, Refused> {
    let refused = |e| {
        let why = match e {
            Errno::ENOENT | Errno::EOPNOTSUPP | Errno::ENODEV => {
                "this machine has no such event (virtual machines often have no hardware counters); software events \
                 such as cpu-clock are everywhere"
            }
            Errno::EINVAL => "the kernel does not take an event of this type, number and period",
            Errno::ESRCH => "there is no process with this number",
            _ => "",
        };
        Refused::new(e, why)
    };
    if event.pid >= 0 {
        let one = PerfEvent { cpu: -1, ..*event };
        return perf_link(door, prog, &one, 0).map(|p| vec![p]).map_err(refused);
    }
    let mut parts = Vec::new();
    for cpu in 0..crate::possible_cpus() as i32 {
        match perf_link(door, prog, &PerfEvent { cpu, ..*event }, 0) {
            Ok(part) => parts.push(part),
            // The CPU is not there now.
            Err(Errno::ENODEV | Errno::ENXIO) if !parts.is_empty() || cpu > 0 => {}
            Err(e) => return Err(refused(e)),
        }
    }
    Ok(parts)
}

fn kprobe_multi(
    door: &dyn Door,
    prog: BorrowedFd<'_>,
    functions: &[&str],
    ret: bool,
) -> Result<Vec<Part>, Refused> {
    let names = functions.iter().map(c_string).collect::<Result<Vec<_>, _>>()?;
    let symbols: Vec<_> = names.iter().map(|n| n.as_c_str()).collect();
    let request = LinkCreate {
        prog,
        target: Target::None,
        attach_type: AttachType::TraceKprobeMulti.id(),
        flags: 0,
        extra: LinkExtra::KprobeMulti {
            flags: if ret { RETURN } else { 0 },
            symbols: &symbols,
            cookies: &[],
        },
    };
    door.link_create(&request).map(|fd| vec![Part::Link(fd)]).map_err(|e| {
        let why = match e {
            Errno::EOPNOTSUPP => "the kernel was built without CONFIG_FPROBE=y, which kprobe.multi needs",
            Errno::ESRCH | Errno::ENOENT => "the kernel has no function of one of these names",
            _ => "",
        };
        Refused::new(e, why)
    })
}
