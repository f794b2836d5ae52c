//! Attaching by section name, as libbpf's `bpf_program__attach` does: the section says which hook, [`Given`] what it leaves
//! open (which device, which cgroup, which process).
//!
//! ```text
//!  section name ─► SectionDef, AttachTarget (skep-obj) ─┐
//!  Given ───────────────────────────────────────────────┴► AttachTo ─► Link
//!                    symbols.rs: functions of a file     usdt.rs: tracepoints of a file
//! ```

mod symbols;
mod usdt;

pub use symbols::{find_file, function_offset, functions_like};

use crate::door::Relative;
use crate::ksyms;
use crate::link::{AttachTo, Netfilter, XdpMode, ifindex};
use crate::{Kernel, KernelProgram, Link};
use skep_obj::attach::AttachTarget;
use skep_obj::sections::{self, SectionDef};
use skep_platform::engine::{EngineError, Loaded};
use skep_platform::{AttachType, Errno, ProgType, Program};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// What a section name leaves open.
#[derive(Clone, Debug, Default)]
pub struct Given<'a> {
    /// Network device by name.
    pub device: Option<&'a str>,
    /// XDP: where in the receive path.
    pub mode: XdpMode,
    /// Traffic control, for sections that do not say which way: packets that leave.
    pub egress: Option<bool>,
    /// Beside another program (tcx).
    pub beside: Option<Relative>,
    /// Cgroup's folder.
    pub cgroup: Option<&'a Path>,
    /// Which of a cgroup's hooks, for sections that do not say.
    pub attach_type: Option<AttachType>,
    /// Network namespace's file; the own one if not given.
    pub netns: Option<&'a Path>,
    /// Place in netfilter.
    pub netfilter: Option<Netfilter>,
    /// Only this process.
    pub pid: Option<u32>,
    /// What the section would name: a function, `CATEGORY/NAME`, `PATH:FUNCTION`.
    pub target: Option<&'a str>,
    /// Socket map.
    pub map: Option<BorrowedFd<'a>>,
    /// Perf event: type, number, and how many; with `freq` times a second.
    pub perf: Option<(u32, u64, u64)>,
    /// The last number of `perf` is a frequency.
    pub freq: bool,
    /// Iterator's parameters, `union bpf_iter_link_info`.
    pub iter: &'a [u8],
    /// `bpf_get_attach_cookie`.
    pub cookie: u64,
}

impl<'a> Given<'a> {
    /// One word, read by the program's type: device, cgroup, namespace, or what the section would name.
    pub fn from_target(program: &Program, word: &'a str) -> Given<'a> {
        let mut given = Given::default();
        if word.is_empty() {
            return given;
        }
        match place_of(program.prog_type) {
            Open::Device => given.device = Some(word),
            Open::Cgroup => given.cgroup = Some(Path::new(word)),
            Open::Netns => given.netns = Some(Path::new(word)),
            Open::Target => given.target = Some(word),
        }
        given
    }
}

/// What a program type leaves open in its section's name.
enum Open {
    Device,
    Cgroup,
    Netns,
    Target,
}

fn place_of(t: ProgType) -> Open {
    match t {
        ProgType::Xdp | ProgType::SchedCls | ProgType::SchedAct => Open::Device,
        ProgType::CgroupSkb
        | ProgType::CgroupSock
        | ProgType::CgroupSockAddr
        | ProgType::CgroupSockopt
        | ProgType::CgroupSysctl
        | ProgType::CgroupDevice
        | ProgType::SockOps => Open::Cgroup,
        ProgType::SkLookup | ProgType::FlowDissector => Open::Netns,
        _ => Open::Target,
    }
}

/// Attaches a program where its section says.
///
/// Cost: one to a few system calls; for probes in files also reading their symbols.
///
/// # Errors
/// [`EngineError::Attach`] with `EDESTADDRREQ` when something is not given, with what it is, and with `ENODEV` or `ENOENT`
/// when it is not there; else as [`Kernel::attach_to`].
pub fn attach(kernel: &Kernel, program: &KernelProgram, given: &Given<'_>) -> Result<Link, EngineError> {
    let p = Loaded::program(program);
    let name = p.section.strip_prefix('?').unwrap_or(&p.section);
    let row = SectionDef::find(name).or_else(|| SectionDef::find_old(name));
    let target = match (row, given.target) {
        (Some(row), Some(text)) => AttachTarget::parse(row, &format!("{}/{text}", row.prefix)),
        (Some(row), None) => AttachTarget::parse(row, name),
        (None, Some(text)) => AttachTarget::Name(text.to_owned()),
        (None, None) => AttachTarget::None,
    };
    let job = Job { kernel, program, p, row, given };
    if let AttachTarget::Malformed(text) = &target {
        return Err(job.open(&format!("{text:?} is not what such a section names")));
    }
    job.attach(&target)
}

struct Job<'a> {
    kernel: &'a Kernel,
    program: &'a KernelProgram,
    p: &'a Program,
    row: Option<&'static SectionDef>,
    given: &'a Given<'a>,
}

impl Job<'_> {
    /// Something is not given, or not there.
    fn open(&self, what: &str) -> EngineError {
        self.refuse(Errno::EDESTADDRREQ, what)
    }

    fn refuse(&self, errno: Errno, why: &str) -> EngineError {
        EngineError::Attach {
            prog: self.p.name.clone(),
            to: format!("its hook (section {:?})", self.p.section),
            errno,
            why: why.to_owned(),
        }
    }

    fn to(&self, to: &AttachTo<'_>) -> Result<Link, EngineError> {
        self.kernel.attach_to(self.program, to)
    }

    fn device(&self) -> Result<u32, EngineError> {
        let name = self.given.device.ok_or_else(|| self.open("name the network device that it goes to"))?;
        ifindex(name).ok_or_else(|| {
            let why = format!(
                "there is no network device {name:?} in this network namespace; `ip link` lists those there are"
            );
            self.refuse(Errno::ENODEV, &why)
        })
    }

    fn attach_type(&self) -> Option<AttachType> {
        self.given.attach_type.or(self.p.attach_type)
    }

    fn attach(&self, target: &AttachTarget) -> Result<Link, EngineError> {
        let given = self.given;
        match self.p.prog_type {
            ProgType::Xdp => self.to(&AttachTo::Xdp { ifindex: self.device()?, mode: given.mode }),
            ProgType::SchedCls | ProgType::SchedAct => self.traffic_control(),
            ProgType::CgroupSkb
            | ProgType::CgroupSock
            | ProgType::CgroupSockAddr
            | ProgType::CgroupSockopt
            | ProgType::CgroupSysctl
            | ProgType::CgroupDevice
            | ProgType::SockOps => self.cgroup(),
            ProgType::SkLookup | ProgType::FlowDissector => {
                let path = given.netns.unwrap_or(Path::new("/proc/self/ns/net"));
                let attach_type = self.attach_type().unwrap_or(match self.p.prog_type {
                    ProgType::SkLookup => AttachType::SkLookup,
                    _ => AttachType::FlowDissector,
                });
                self.to(&AttachTo::Netns { path, attach_type })
            }
            ProgType::Netfilter => {
                let place = given.netfilter.ok_or_else(|| {
                    self.open("name the place in netfilter: protocol family, hook and priority")
                })?;
                self.to(&AttachTo::Netfilter(place))
            }
            ProgType::RawTracepoint | ProgType::RawTracepointWritable => match target {
                AttachTarget::Name(name) => self.to(&AttachTo::RawTracepoint(name)),
                _ => Err(self.open("name the raw tracepoint: raw_tp/NAME")),
            },
            ProgType::Tracing if self.p.attach_type == Some(AttachType::TraceIter) => {
                self.to(&AttachTo::Iter(given.iter))
            }
            ProgType::Lsm if self.p.attach_type == Some(AttachType::LsmCgroup) => self.cgroup(),
            ProgType::Tracing | ProgType::Lsm => self.to(&AttachTo::Trace { cookie: given.cookie }),
            ProgType::SkSkb | ProgType::SkMsg => {
                let map = given.map.ok_or_else(|| self.open("name the socket map that it goes to"))?;
                let attach_type = self.attach_type().ok_or_else(|| {
                    self.open("its section does not say whether it is a parser or a verdict")
                })?;
                self.to(&AttachTo::Sockmap { map, attach_type })
            }
            ProgType::Tracepoint => match target {
                AttachTarget::Tracepoint { category, name } => {
                    self.to(&AttachTo::Tracepoint { category, name, pid: given.pid, cookie: given.cookie })
                }
                _ => Err(self.open("name the tracepoint: tp/CATEGORY/NAME")),
            },
            ProgType::PerfEvent => {
                let (kind, config, sample) = given.perf.ok_or_else(|| {
                    self.open("name the perf event, such as cpu-clock at 99 times a second")
                })?;
                self.to(&AttachTo::PerfEvent { kind, config, freq: given.freq, sample, pid: given.pid })
            }
            ProgType::Kprobe => self.probe(target),
            other => Err(self.open(match other {
                ProgType::SocketFilter | ProgType::SkReuseport => {
                    "it goes to a socket, which the program that opens the socket does (SO_ATTACH_BPF)"
                }
                ProgType::LwtIn | ProgType::LwtOut | ProgType::LwtXmit | ProgType::LwtSeg6local => {
                    "it goes to a route: pin it, then `ip route add … encap bpf`"
                }
                ProgType::Ext => {
                    "it replaces a function of another program, which has to be named when it is loaded"
                }
                ProgType::StructOps => "its map is what is attached; the programs go with it",
                ProgType::Syscall => "it is run, not attached: skep prog run",
                ProgType::LircMode2 => "it goes to an infrared receiver, /dev/lircN",
                _ => "the program type has no hook of its own",
            })),
        }
    }

    fn traffic_control(&self) -> Result<Link, EngineError> {
        let ifindex = self.device()?;
        match self.p.attach_type {
            Some(AttachType::NetkitPrimary) => self.to(&AttachTo::Netkit { ifindex, peer: false }),
            Some(AttachType::NetkitPeer) => self.to(&AttachTo::Netkit { ifindex, peer: true }),
            attach_type => {
                let said = attach_type.map(|a| a == AttachType::TcxEgress);
                let egress = self.given.egress.or(said).unwrap_or(false);
                self.to(&AttachTo::Tc { ifindex, egress, beside: self.given.beside })
            }
        }
    }

    fn cgroup(&self) -> Result<Link, EngineError> {
        let path =
            self.given.cgroup.ok_or_else(|| self.open("name the cgroup that it goes to, by its folder"))?;
        let fallback = match self.p.prog_type {
            ProgType::SockOps => Some(AttachType::CgroupSockOps),
            ProgType::CgroupDevice => Some(AttachType::CgroupDevice),
            ProgType::CgroupSysctl => Some(AttachType::CgroupSysctl),
            ProgType::CgroupSock => Some(AttachType::CgroupInetSockCreate),
            _ => None,
        };
        let attach_type = self.attach_type().or(fallback).ok_or_else(|| {
            self.open(
                "its section does not say which hook of the cgroup; name it, such as cgroup_inet_ingress",
            )
        })?;
        self.to(&AttachTo::Cgroup { path, attach_type })
    }

    fn probe(&self, target: &AttachTarget) -> Result<Link, EngineError> {
        let prefix = self.row.map_or("", |r| r.prefix);
        let ret = prefix.contains("ret");
        let given = self.given;
        match target {
            AttachTarget::Kprobe { func, offset, .. } => {
                self.to(&AttachTo::Kprobe { function: func, offset: *offset, ret, cookie: given.cookie })
            }
            AttachTarget::Syscall(name) => {
                let function = format!("__{}_sys_{name}", syscall_prefix());
                self.to(&AttachTo::Kprobe { function: &function, offset: 0, ret, cookie: given.cookie })
            }
            AttachTarget::Glob(pattern) => {
                let all = kernel_functions_like(pattern).map_err(|why| self.refuse(Errno::ENOENT, &why))?;
                let names: Vec<&str> = all.iter().map(String::as_str).collect();
                self.to(&AttachTo::KprobeMulti { functions: &names, ret })
            }
            AttachTarget::Uprobe { path, func, offset } => {
                let path = self.file(path)?;
                let start = if func.is_empty() {
                    0
                } else {
                    function_offset(&path, func).map_err(|why| self.refuse(Errno::ENOENT, &why))?
                };
                let (offset, pid, cookie) = (start + offset, given.pid, given.cookie);
                self.to(&AttachTo::Uprobe { path: &path, offset, ret, pid, cookie, ref_ctr: 0 })
            }
            AttachTarget::UprobeGlob { path, pattern } => {
                let path = self.file(path)?;
                let all = functions_like(&path, pattern).map_err(|why| self.refuse(Errno::ENOENT, &why))?;
                let offsets: Vec<u64> = all.into_iter().map(|(_, at)| at).collect();
                self.to(&AttachTo::UprobeMulti {
                    path: &path,
                    offsets: &offsets,
                    ref_ctrs: &[],
                    cookies: &[],
                    ret,
                    pid: given.pid,
                })
            }
            AttachTarget::Usdt { path, provider, name } => {
                let path = self.file(path)?;
                usdt::attach(self.kernel, self.program, &path, provider, name, given)
            }
            _ if self.row.is_some_and(|r| r.has(sections::USDT)) => {
                Err(self.open("name the tracepoint: usdt/PATH:PROVIDER:NAME"))
            }
            _ if prefix.starts_with('u') => Err(self.open("name file and function: uprobe/PATH:FUNCTION")),
            _ => Err(self.open("name the function: kprobe/FUNCTION")),
        }
    }

    fn file(&self, path: &str) -> Result<PathBuf, EngineError> {
        find_file(path, self.given.pid).ok_or_else(|| {
            let why = format!("there is no file {path}; give its path, or a library's name as in libc.so.6");
            self.refuse(Errno::ENOENT, &why)
        })
    }
}

/// What the kernel puts before the names of system calls' functions.
fn syscall_prefix() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        "riscv64" => "riscv",
        "s390x" => "s390x",
        other => other,
    }
}

/// Kernel functions that a pattern with `*` and `?` covers and that may be traced.
fn kernel_functions_like(pattern: &str) -> Result<Vec<String>, String> {
    let table = crate::link::tracefs().map(|t| t.join("available_filter_functions"));
    let text = table.and_then(|t| std::fs::read_to_string(t).ok());
    let text = match text {
        Some(t) => t,
        // Without tracefs: every function that there is; the kernel refuses those that it cannot trace.
        None => {
            let all =
                std::fs::read_to_string(ksyms::KALLSYMS).map_err(|e| format!("{}: {e}", ksyms::KALLSYMS))?;
            let functions = ksyms::symbols(&all).filter(|s| matches!(s.kind, b't' | b'T'));
            functions.map(|s| format!("{}\n", s.name)).collect()
        }
    };
    let names = text.lines().filter_map(|l| l.split_whitespace().next());
    let found: Vec<String> = names.filter(|n| symbols::covers(pattern, n)).map(str::to_owned).collect();
    if found.is_empty() { Err(format!("no function of the kernel is like {pattern}")) } else { Ok(found) }
}
