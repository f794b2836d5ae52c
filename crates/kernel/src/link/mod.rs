//! Links: programs attached to the hooks of the running kernel.
//!
//! ```text
//!  AttachTo ─► attach ─► Link ─► Part …   one for most hooks; one a CPU for perf events
//!               │
//!               ├ net.rs     XDP, traffic control, cgroups, network namespaces, netfilter, sockets
//!               └ trace.rs   tracepoints, probes, perf events, iterators
//! ```
//!
//! Always holds: what a [`Link`] attached is detached when it is dropped, and when the process dies, however it dies, unless
//! it was pinned ([`Link::pin`]). Three kinds of attachment know no descriptor that the kernel could close and outlive a
//! killed process: classifiers on kernels without tcx (before 6.6), socket maps without links (before 6.10), and struct_ops
//! maps of section `.struct_ops`. The first two are taken only when the kernel has nothing better; [`Link::outlives`] says so.

mod net;
mod trace;

pub use net::{NF_HOOKS, Netfilter, XdpMode, ifindex, ifname};
pub use trace::tracefs;

use crate::door::{Door, ProgAttach, Relative, Target};
use crate::explain::{self, Asked, Rights};
use crate::pin::{self, PinError};
use crate::{KernelMap, KernelProgram};
use skep_platform::engine::{EngineError, Loaded};
use skep_platform::map::flags;
use skep_platform::{AttachType, Errno, Link as PlatformLink, MapType};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A hook, and a program's place on it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AttachTo<'a> {
    /// A network device, before the stack.
    Xdp {
        /// Device.
        ifindex: u32,
        /// Where in the receive path.
        mode: XdpMode,
    },
    /// A network device, traffic control: by tcx, on older kernels by a classifier of a clsact queue.
    Tc {
        /// Device.
        ifindex: u32,
        /// Packets that leave rather than those that come in.
        egress: bool,
        /// Beside another program; tcx only.
        beside: Option<Relative>,
    },
    /// A netkit device.
    Netkit {
        /// Device.
        ifindex: u32,
        /// Its peer's side.
        peer: bool,
    },
    /// A cgroup (version 2), by the folder that it is.
    Cgroup {
        /// The folder.
        path: &'a Path,
        /// Which of its hooks.
        attach_type: AttachType,
    },
    /// A network namespace: `sk_lookup` and flow dissectors. `/proc/self/ns/net` is the own one.
    Netns {
        /// The namespace's file.
        path: &'a Path,
        /// Which of its hooks.
        attach_type: AttachType,
    },
    /// Netfilter.
    Netfilter(Netfilter),
    /// A raw tracepoint.
    RawTracepoint(&'a str),
    /// What the program was loaded for by BTF: `fentry`, `fexit`, `fmod_ret`, `tp_btf`, `lsm`.
    Trace {
        /// `bpf_get_attach_cookie`.
        cookie: u64,
    },
    /// In the place of a function of another program.
    Replace {
        /// That program.
        target: BorrowedFd<'a>,
        /// Type of the function in the program's types.
        btf_id: u32,
    },
    /// An iterator; `union bpf_iter_link_info`, or nothing.
    Iter(&'a [u8]),
    /// A tracepoint.
    Tracepoint {
        /// Its folder in `events`.
        category: &'a str,
        /// Its name.
        name: &'a str,
        /// Of this process only.
        pid: Option<u32>,
        /// `bpf_get_attach_cookie`.
        cookie: u64,
    },
    /// A perf event, one on each CPU (or on those where the process runs).
    PerfEvent {
        /// `PERF_TYPE_*`.
        kind: u32,
        /// Which event of the type.
        config: u64,
        /// Times a second rather than every so many events.
        freq: bool,
        /// How many.
        sample: u64,
        /// Of this process only.
        pid: Option<u32>,
    },
    /// A place in a file of machine code.
    Uprobe {
        /// The file.
        path: &'a Path,
        /// Offset in the file.
        offset: u64,
        /// Where the function returns rather than at the place.
        ret: bool,
        /// Of this process only.
        pid: Option<u32>,
        /// `bpf_get_attach_cookie`.
        cookie: u64,
        /// Offset of a counter that says that somebody listens (USDT semaphores); 0: none.
        ref_ctr: u64,
    },
    /// Several places in a file.
    UprobeMulti {
        /// The file.
        path: &'a Path,
        /// Offsets in it.
        offsets: &'a [u64],
        /// Counters that say that somebody listens, one for each or none at all.
        ref_ctrs: &'a [u64],
        /// Cookies, one each or none at all.
        cookies: &'a [u64],
        /// Where the functions return.
        ret: bool,
        /// Of this process only.
        pid: Option<u32>,
    },
    /// A kernel function.
    Kprobe {
        /// The function.
        function: &'a str,
        /// Bytes into it.
        offset: u64,
        /// Where it returns.
        ret: bool,
        /// `bpf_get_attach_cookie`.
        cookie: u64,
    },
    /// Several kernel functions by name.
    KprobeMulti {
        /// The functions.
        functions: &'a [&'a str],
        /// Where they return.
        ret: bool,
    },
    /// A socket map: parser, verdict and message programs.
    Sockmap {
        /// The map.
        map: BorrowedFd<'a>,
        /// Which of its programs.
        attach_type: AttachType,
    },
    /// A socket: filters, and programs that choose among sockets that share a port.
    Socket {
        /// The socket.
        socket: BorrowedFd<'a>,
        /// It chooses among sockets.
        reuseport: bool,
    },
}

impl fmt::Display for AttachTo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = |i: &u32| ifname(*i).unwrap_or_else(|| format!("device {i}"));
        match self {
            AttachTo::Xdp { ifindex, mode } => write!(f, "{} of {}", mode.label(), device(ifindex)),
            AttachTo::Tc { ifindex, egress, .. } => {
                write!(f, "tc {} of {}", if *egress { "egress" } else { "ingress" }, device(ifindex))
            }
            AttachTo::Netkit { ifindex, .. } => write!(f, "netkit {}", device(ifindex)),
            AttachTo::Cgroup { path, attach_type } => {
                write!(f, "{} of cgroup {}", attach_type.label(), path.display())
            }
            AttachTo::Netns { path, attach_type } => {
                write!(f, "{} of network namespace {}", attach_type.label(), path.display())
            }
            AttachTo::Netfilter(n) => n.fmt(f),
            AttachTo::RawTracepoint(name) => write!(f, "raw tracepoint {name}"),
            AttachTo::Trace { .. } => f.write_str("the function that it was loaded for"),
            AttachTo::Replace { .. } => f.write_str("a function of another program"),
            AttachTo::Iter(_) => f.write_str("an iterator"),
            AttachTo::Tracepoint { category, name, .. } => write!(f, "tracepoint {category}/{name}"),
            AttachTo::PerfEvent { kind, config, .. } => write!(f, "perf event {kind}/{config}"),
            AttachTo::Uprobe { path, offset, .. } => write!(f, "uprobe {}:{offset:#x}", path.display()),
            AttachTo::UprobeMulti { path, offsets, .. } => {
                write!(f, "{} places in {}", offsets.len(), path.display())
            }
            AttachTo::Kprobe { function, .. } => write!(f, "kernel function {function}"),
            AttachTo::KprobeMulti { functions, .. } => write!(f, "{} kernel functions", functions.len()),
            AttachTo::Sockmap { attach_type, .. } => write!(f, "a socket map ({})", attach_type.label()),
            AttachTo::Socket { .. } => f.write_str("a socket"),
        }
    }
}

/// An attachment. Dropping it detaches, unless it was pinned.
#[derive(Debug)]
pub struct Link {
    door: Arc<dyn Door>,
    parts: Vec<Part>,
    place: String,
    pinned: Option<PathBuf>,
}

/// What one system call attached.
#[derive(Debug)]
enum Part {
    /// A link of the kernel's.
    Link(OwnedFd),
    /// A perf event with a program on it: closing it detaches. The second is the link, where the kernel has them.
    Perf(OwnedFd, Option<OwnedFd>),
    /// By `BPF_PROG_ATTACH`.
    Attached { target: OwnedFd, prog: OwnedFd, attach_type: u32 },
    /// A classifier of a clsact queue.
    Classifier(net::Classifier),
    /// On a socket: gone when that is closed.
    Socket,
    /// A struct_ops map that was registered without a link.
    StructOps(OwnedFd),
}

/// Attaches a program. Cost: one to a few system calls.
pub(crate) fn attach(
    door: &Arc<dyn Door>,
    program: &KernelProgram,
    to: &AttachTo<'_>,
) -> Result<Link, EngineError> {
    let place = to.to_string();
    let parts = make(&**door, program, to).map_err(|e| e.into_error(program, &place))?;
    Ok(Link { door: door.clone(), parts, place, pinned: None })
}

fn make(door: &dyn Door, program: &KernelProgram, to: &AttachTo<'_>) -> Result<Vec<Part>, Refused> {
    let fd = program.as_fd();
    let one = |part| Ok(vec![part]);
    match to {
        AttachTo::Xdp { ifindex, mode } => one(net::xdp(door, fd, *ifindex, *mode)?),
        AttachTo::Tc { ifindex, egress, beside } => one(net::tc(door, fd, *ifindex, *egress, *beside)?),
        AttachTo::Netkit { ifindex, peer } => one(net::netkit(door, fd, *ifindex, *peer)?),
        AttachTo::Cgroup { path, attach_type } => one(net::cgroup(door, fd, path, *attach_type)?),
        AttachTo::Netns { path, attach_type } => one(net::netns(door, fd, path, *attach_type)?),
        AttachTo::Netfilter(n) => one(net::netfilter(door, fd, n)?),
        AttachTo::Sockmap { map, attach_type } => one(net::sockmap(door, fd, *map, *attach_type)?),
        AttachTo::Socket { socket, reuseport } => {
            door.socket_attach(*socket, fd, *reuseport).map_err(|e| Refused::new(e, String::new()))?;
            one(Part::Socket)
        }
        AttachTo::RawTracepoint(name) => one(trace::raw_tracepoint(door, fd, name)?),
        AttachTo::Trace { cookie } => one(trace::by_type(door, program, *cookie)?),
        AttachTo::Replace { target, btf_id } => one(trace::replace(door, fd, *target, *btf_id)?),
        AttachTo::Iter(info) => one(trace::iter(door, fd, info)?),
        _ => trace::events(door, fd, to),
    }
}

/// The kernel's refusal of an attachment, with what is known about its cause.
#[derive(Debug)]
struct Refused {
    errno: Errno,
    why: String,
}

impl Refused {
    /// With a cause; an empty one is found by the number.
    fn new(errno: Errno, why: impl Into<String>) -> Refused {
        Refused { errno, why: why.into() }
    }

    fn into_error(self, program: &KernelProgram, place: &str) -> EngineError {
        let why = if self.why.is_empty() {
            explain::why(Asked::Attach, self.errno, &Rights::own())
        } else {
            self.why
        };
        let prog = &Loaded::program(program).name;
        if self.errno == Errno::EPERM {
            return EngineError::Permission { what: format!("attaching program {prog} to {place}"), why };
        }
        EngineError::Attach { prog: prog.clone(), to: place.to_owned(), errno: self.errno, why }
    }

    fn into_struct_ops(self, map: &KernelMap, place: &str) -> EngineError {
        use skep_platform::Map;
        let known = |why: String| if why.is_empty() { None } else { Some(why) };
        let asked = || explain::why(Asked::Attach, self.errno, &Rights::own());
        let why = known(self.why).unwrap_or_else(asked);
        if self.errno == Errno::EPERM {
            return EngineError::Permission { what: format!("registering {place}"), why };
        }
        EngineError::Attach { prog: map.def().name.clone(), to: place.to_owned(), errno: self.errno, why }
    }
}

impl Link {
    /// Registers a struct_ops map: its functions become the kernel's.
    pub(crate) fn struct_ops(door: &Arc<dyn Door>, map: &KernelMap) -> Result<Link, EngineError> {
        use skep_platform::Map;
        let place = struct_ops_place(map)?;
        let part = trace::struct_ops(&**door, map, map.def().flags & flags::LINK != 0);
        let part = part.map_err(|e| e.into_struct_ops(map, &place))?;
        Ok(Link { door: door.clone(), parts: vec![part], place, pinned: None })
    }

    /// Puts another struct_ops map of the same structure in the place of this link's; users of the structure see one or the
    /// other. Both maps must have been made for links.
    ///
    /// # Errors
    /// As [`crate::Kernel::attach_struct_ops`]; `EINVAL` when the maps do not fit each other.
    pub fn replace_struct_ops(&mut self, map: &KernelMap) -> Result<(), EngineError> {
        let place = struct_ops_place(map)?;
        let fd = self.fds().next();
        let done = match fd {
            None => Err(Refused::new(
                Errno::EOPNOTSUPP,
                "only links can be given another map (section .struct_ops.link)",
            )),
            Some(fd) => trace::replace_struct_ops(&*self.door, fd, map),
        };
        done.map_err(|e| e.into_struct_ops(map, &place))?;
        self.place = place;
        Ok(())
    }

    /// Lets go of it without detaching: what was attached without a link stays until somebody detaches it; links of the
    /// kernel's end, unless they are pinned.
    pub fn disconnect(mut self) {
        self.parts.clear();
    }

    /// A link that exists already.
    pub fn from_fd(door: &Arc<dyn Door>, fd: OwnedFd, place: impl Into<String>) -> Link {
        Link { door: door.clone(), parts: vec![Part::Link(fd)], place: place.into(), pinned: None }
    }

    /// In words: `xdp of veth0`.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Descriptors of the kernel's links; empty for attachments that are none.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.parts.iter().filter_map(|p| match p {
            Part::Link(fd) | Part::Perf(_, Some(fd)) => Some(fd.as_fd()),
            _ => None,
        })
    }

    /// Whether it would stay when the process were killed.
    pub fn outlives(&self) -> bool {
        self.pinned.is_some()
            || self
                .parts
                .iter()
                .any(|p| matches!(p, Part::Attached { .. } | Part::Classifier(_) | Part::StructOps(_)))
    }

    /// Pins it: it outlives this value and this process, until [`Link::unpin`] or somebody removes the file. Attachments of
    /// several parts get a pin each: `PATH`, `PATH_1`, ….
    ///
    /// # Errors
    /// `EOPNOTSUPP` for attachments that are no links of the kernel's; else that of [`pin::pin`].
    pub fn pin(&mut self, path: &Path) -> Result<(), PinError> {
        let all: Vec<BorrowedFd<'_>> = self.fds().collect();
        if all.len() != self.parts.len() || all.is_empty() {
            let why = format!("{} is attached without a link, which only newer kernels have", self.place);
            return Err(PinError { path: path.into(), errno: Errno::EOPNOTSUPP, why });
        }
        for (i, fd) in all.iter().enumerate() {
            pin::pin(&*self.door, &numbered(path, i), *fd)?;
        }
        self.pinned = Some(path.into());
        Ok(())
    }

    /// Takes the pin away; the attachment goes with this value again.
    ///
    /// # Errors
    /// That of removing the file.
    pub fn unpin(&mut self) -> Result<(), PinError> {
        let Some(path) = self.pinned.take() else { return Ok(()) };
        (0..self.parts.len()).try_for_each(|i| pin::unpin(&numbered(&path, i)))
    }

    /// Puts another program in its place; every event sees the old one or the new one.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the hook cannot do that.
    pub fn replace(&mut self, program: &KernelProgram) -> Result<(), EngineError> {
        let swap = |part: &Part| match part {
            Part::Link(fd) => self.door.link_update(fd.as_fd(), program.as_fd(), None),
            Part::Classifier(c) => net::change(&*self.door, c, program.as_fd()),
            Part::Attached { target, attach_type, .. } => {
                let (target, prog) = (Target::Fd(target.as_fd()), Some(program.as_fd()));
                self.door.prog_attach(&ProgAttach { target, prog, attach_type: *attach_type, flags: 0 })
            }
            Part::Perf(..) | Part::Socket | Part::StructOps(_) => Err(Errno::EOPNOTSUPP),
        };
        self.parts.iter().try_for_each(swap).map_err(|errno| {
            let why = match errno {
                Errno::EINVAL | Errno::EOPNOTSUPP => {
                    "the kernel cannot exchange programs on this kind of hook; attach the new one, then detach this".into()
                }
                e => explain::why(Asked::Attach, e, &Rights::own()),
            };
            Refused::new(errno, why).into_error(program, &self.place)
        })
    }

    /// Two attachments as one value.
    pub(crate) fn with(mut self, mut other: Link) -> Link {
        self.parts.append(&mut other.parts);
        self
    }

    /// Detaches now. Parts that are gone already are no failure.
    ///
    /// # Errors
    /// The kernel's number.
    pub fn detach(mut self) -> Result<(), Errno> {
        let _ = self.unpin();
        let parts = std::mem::take(&mut self.parts);
        parts.into_iter().try_for_each(|p| close(&*self.door, p, true))
    }

    /// Reads an iterator's whole output.
    ///
    /// # Errors
    /// `EINVAL` if the link is none of an iterator.
    pub fn read_iter(&self) -> Result<std::fs::File, Errno> {
        let fd = self.fds().next().ok_or(Errno::EINVAL)?;
        Ok(self.door.iter_create(fd)?.into())
    }
}

/// `PATH`, `PATH_1`, `PATH_2`, …
fn numbered(path: &Path, i: usize) -> PathBuf {
    if i == 0 {
        return path.into();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!("_{i}"));
    name.into()
}

/// Ends an attachment; `force` also where pins hold it.
fn close(door: &dyn Door, part: Part, force: bool) -> Result<(), Errno> {
    match part {
        Part::Link(fd) if force => match door.link_detach(fd.as_fd()) {
            // Kinds that cannot be detached by force go with their last descriptor.
            Err(Errno::EOPNOTSUPP | Errno::ENOLINK) | Ok(()) => Ok(()),
            e => e,
        },
        Part::Perf(event, _) if force => door.perf_enable(event.as_fd(), false),
        Part::Link(_) | Part::Perf(..) | Part::Socket => Ok(()),
        Part::Attached { target, prog, attach_type } => {
            let (target, prog) = (Target::Fd(target.as_fd()), Some(prog.as_fd()));
            match door.prog_detach(&ProgAttach { target, prog, attach_type, flags: 0 }) {
                Err(Errno::ENOENT) => Ok(()),
                e => e,
            }
        }
        Part::Classifier(c) => net::remove(door, &c),
        Part::StructOps(map) => match door.map_delete(map.as_fd(), &0u32.to_ne_bytes()) {
            Err(Errno::ENOENT) => Ok(()),
            e => e,
        },
    }
}

/// Where a struct_ops map goes, in words.
fn struct_ops_place(map: &KernelMap) -> Result<String, EngineError> {
    use skep_platform::Map;
    let (name, map_type) = (&map.def().name, map.def().map_type);
    if map_type != MapType::StructOps {
        let why = format!("it is a map of type {}", map_type.label());
        return Err(EngineError::Unsupported { what: format!("struct_ops {name}"), why });
    }
    Ok(format!("struct_ops {name}"))
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.pinned.is_some() {
            return;
        }
        for part in self.parts.drain(..) {
            // Nobody is left to be told.
            let _ = close(&*self.door, part, false);
        }
    }
}

impl PlatformLink for Link {
    fn update(&mut self, program: Arc<dyn Loaded>) -> Result<(), EngineError> {
        match program.as_any().downcast_ref::<KernelProgram>() {
            Some(mine) => self.replace(mine),
            None => Err(EngineError::Unsupported {
                what: format!("program {} on {}", program.program().name, self.place),
                why: "it was loaded by another engine".into(),
            }),
        }
    }

    fn detach(self: Box<Self>) -> Result<(), EngineError> {
        let place = self.place.clone();
        Link::detach(*self).map_err(|errno| EngineError::Attach {
            prog: String::new(),
            to: place,
            errno,
            why: explain::why(Asked::Attach, errno, &Rights::own()),
        })
    }
}
