//! The engine: maps and programs of one kernel, and runs by `BPF_PROG_TEST_RUN`.

use crate::btf::{BtfCache, hidden, vmlinux};
use crate::door::{Door, TestRun};
use crate::explain::{self, Asked, Rights};
use crate::info;
use crate::link::{self, AttachTo, Link};
use crate::load::{self, KernelProgram, Surroundings};
use crate::map::{self, KernelMap};
use crate::raw::Live;
use crate::struct_ops;
use skep_btf::Btf;
use skep_isa::Insn;
use skep_platform::engine::{self, Engine, EngineError, Loadable, Loaded, Platform, RunError, RunStats};
use skep_platform::env::{Context, CtxData};
use skep_platform::map::{Map, MapBtf, MapDef, MapError};
use skep_platform::{Errno, Fault, MapType, Packet, ProgType, Program};
use std::collections::BTreeSet;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Bytes that a program may add to a packet: as much as the kernel allows.
const GROWTH: usize = 16 << 10;
/// Bytes of an Ethernet header.
const ETH_LEN: usize = 14;
/// `struct xdp_md`.
const XDP_MD: usize = 24;

/// How programs are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Log level of accepted programs; 0, the default, asks for a log of refused ones only.
    pub log_level: u32,
    /// `BPF_F_*` flags for every program, such as `BPF_F_TEST_RND_HI32`.
    pub prog_flags: u32,
}

/// The kernel as an engine.
pub struct Kernel {
    platform: Platform,
    door: Arc<dyn Door>,
    options: Options,
    btf: BtfCache,
    vmlinux: OnceLock<Option<Arc<Btf>>>,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel({:?}, {:?})", self.door, self.options)
    }
}

/// What a test run left.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ran {
    /// Lower half of `r0` of the last run.
    pub retval: u32,
    /// Packet or buffer afterwards.
    pub data: Vec<u8>,
    /// Context afterwards.
    pub ctx: Vec<u8>,
    /// Nanoseconds a run, on average.
    pub ns: u32,
}

impl Kernel {
    /// The running kernel, if it lets this process load programs.
    ///
    /// # Errors
    /// [`EngineError::Permission`] and [`EngineError::Unsupported`], with what is missing.
    pub fn open(platform: Platform) -> Result<Kernel, EngineError> {
        let kernel = Kernel::unchecked(platform);
        kernel.check()?;
        Ok(kernel)
    }

    /// The running kernel, without a question whether it may be used: [`Kernel::check`] asks, for instance after something
    /// went wrong. Costs nothing.
    pub fn unchecked(platform: Platform) -> Kernel {
        Kernel::with_door(platform, Arc::new(Live::default()))
    }

    /// An engine behind another door.
    pub fn with_door(platform: Platform, door: Arc<dyn Door>) -> Kernel {
        let (options, btf, vmlinux) = (Options::default(), BtfCache::default(), OnceLock::new());
        Kernel { platform, door, options, btf, vmlinux }
    }

    /// The same with other options.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Kernel {
        self.options = options;
        self
    }

    /// The way to the kernel.
    pub fn door(&self) -> &Arc<dyn Door> {
        &self.door
    }

    /// Attaches a program. Cost: one to a few system calls.
    ///
    /// # Errors
    /// [`EngineError::Permission`], [`EngineError::Attach`] and [`EngineError::Unsupported`], with cause and remedy.
    pub fn attach_to(&self, program: &KernelProgram, to: &AttachTo<'_>) -> Result<Link, EngineError> {
        link::attach(&self.door, program, to)
    }

    /// Registers a struct_ops map that was filled ([`KernelMap::fill_struct_ops`]): its functions become the kernel's. Of a map
    /// with `BPF_F_LINK` by a link of the kernel's; else the registration outlives a killed process ([`Link::outlives`]).
    ///
    /// # Errors
    /// As [`Kernel::attach_to`].
    pub fn attach_struct_ops(&self, map: &KernelMap) -> Result<Link, EngineError> {
        Link::struct_ops(&self.door, map)
    }

    /// Whether this process may use the kernel at all: loads the smallest program of the type that asks for the fewest rights.
    ///
    /// # Errors
    /// As [`Kernel::open`].
    pub fn check(&self) -> Result<(), EngineError> {
        if self.door.has_token() {
            // It may give leave to less than what would be tried here.
            return Ok(());
        }
        let exit = vec![Insn::new(0xb7, 0, 0, 0, 0), Insn::new(0x95, 0, 0, 0, 0)];
        let program = Arc::new(Program::from_insns("probe", ProgType::SocketFilter, exit));
        match self.load_program(&program) {
            Err(EngineError::Permission { why, .. }) => {
                Err(EngineError::Permission { what: "using the kernel".into(), why })
            }
            Err(e) => Err(EngineError::Unsupported { what: "the kernel engine".into(), why: e.to_string() }),
            Ok(_) => Ok(()),
        }
    }

    /// Has the kernel count the runs of every program of the machine, and their time, while what is returned lives
    /// (`BPF_ENABLE_STATS`). Cost: about 20 ns a run.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN.
    pub fn count_runs(&self) -> Result<OwnedFd, Errno> {
        self.door.enable_stats()
    }

    /// Loads a program, with its concrete type.
    ///
    /// # Errors
    /// [`EngineError::Refused`] when the kernel's verifier refuses it, [`EngineError::Permission`] when a right is missing,
    /// else [`EngineError::Load`].
    pub fn load_program(&self, program: &Arc<Program>) -> Result<KernelProgram, EngineError> {
        self.load_onto(program, None)
    }

    /// Loads a program, in the place of a program's function (`BPF_PROG_TYPE_EXT`) if one is named by its type.
    pub(crate) fn load_onto(
        &self,
        program: &Arc<Program>,
        onto: Option<(BorrowedFd<'_>, u32)>,
    ) -> Result<KernelProgram, EngineError> {
        let types = program.btf.as_ref();
        let btf = types.and_then(|t| self.btf.get(&*self.door, t, hidden(program, t)).ok());
        let kernel = program.kernel_btf.as_deref().or_else(|| match program.prog_type {
            ProgType::Tracing | ProgType::Lsm | ProgType::StructOps => self.vmlinux().map(|btf| &**btf),
            _ => None,
        });
        let with = Surroundings {
            door: &*self.door,
            btf: btf.as_deref(),
            kernel,
            log_level: self.options.log_level,
            flags: self.options.prog_flags,
            onto,
        };
        load::load(program, &with)
    }

    /// The running kernel's types, read at the first call.
    pub(crate) fn vmlinux(&self) -> Option<&Arc<Btf>> {
        self.vmlinux.get_or_init(|| vmlinux().ok()).as_ref()
    }

    /// Runs a program `repeat` times on data and context, either of which may be empty where the program type takes none.
    ///
    /// Kernels run no classic tracepoint's program by request. Its instructions are loaded as a raw tracepoint's beside it, of
    /// whose context (12 words) they may read the same places, and run there.
    ///
    /// # Errors
    /// The kernel's error number; [`explain::why`] has the words.
    pub fn run(&self, program: &KernelProgram, data: &[u8], ctx: &[u8], repeat: u32) -> Result<Ran, Errno> {
        if program.program().prog_type == ProgType::Tracepoint {
            let twin = program.twin(|p| self.load_program(p).ok()).ok_or(Errno::ENOTSUPP)?;
            return self.run_on_context(twin, ctx, repeat);
        }
        if runs_on_context_alone(program.program().prog_type) {
            return self.run_on_context(program, ctx, repeat);
        }
        let mut data_out = vec![0; if data.is_empty() { 0 } else { data.len() + GROWTH }];
        let mut ctx_out = vec![0; ctx.len()];
        let mut run = TestRun { data, data_out: &mut data_out, ctx, ctx_out: &mut ctx_out, repeat, flags: 0 };
        let ran = self.door.test_run(program.as_fd(), &mut run)?;
        data_out.truncate(ran.data_len as usize);
        ctx_out.truncate(ran.ctx_len as usize);
        Ok(Ran { retval: ran.retval, data: data_out, ctx: ctx_out, ns: ran.duration })
    }

    /// These types take neither a repetition nor room for what they leave, and are not timed by the kernel.
    fn run_on_context(&self, program: &KernelProgram, ctx: &[u8], repeat: u32) -> Result<Ran, Errno> {
        let began = Instant::now();
        let mut retval = 0;
        for _ in 0..repeat.max(1) {
            let mut run =
                TestRun { data: &[], data_out: &mut [], ctx, ctx_out: &mut [], repeat: 0, flags: 0 };
            retval = self.door.test_run(program.as_fd(), &mut run)?.retval;
        }
        let ns = began.elapsed().as_nanos() / u128::from(repeat.max(1));
        Ok(Ran { retval, data: Vec::new(), ctx: ctx.to_vec(), ns: ns.min(u32::MAX.into()) as u32 })
    }

    /// [`Kernel::run_context`] with its error in words.
    pub fn run_packet(
        &self,
        program: &KernelProgram,
        ctx: &mut Context,
        repeat: u32,
    ) -> Result<(u64, u32), Box<RunError>> {
        self.run_context(program, ctx, repeat)
            .map_err(|e| Box::new(stopped(program.program(), explain::why(Asked::Run, e, &Rights::own()))))
    }

    /// Runs a program on a context of the user engine's and puts what it left there: packet bytes, and of contexts that
    /// are plain memory all of it. Returns `r0` (its lower half) and nanoseconds a run.
    ///
    /// What the kernel does not tell stays as it was: where a packet was redirected to, tags beside the packet.
    pub fn run_context(
        &self,
        program: &KernelProgram,
        ctx: &mut Context,
        repeat: u32,
    ) -> Result<(u64, u32), Errno> {
        let prog_type = program.program().prog_type;
        match &mut ctx.data {
            CtxData::Packet(p) => {
                let (data, before, md) = packet_in(prog_type, p);
                let ran = self.run(program, &data, &md, repeat)?;
                let meta = ran.ctx.get(..4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
                let front = before + if md.is_empty() { 0 } else { meta as usize };
                packet_out(p, ran.data.get(front..).unwrap_or_default())?;
                Ok((u64::from(ran.retval), ran.ns))
            }
            CtxData::Plain(plain) => {
                let ran = self.run(program, &[], &plain.bytes(), repeat)?;
                plain.words = skep_platform::env::words(&ran.ctx);
                Ok((u64::from(ran.retval), ran.ns))
            }
        }
    }
}

/// `bpf_prog_test_run_raw_tp`, `bpf_prog_test_run_syscall` (net/bpf/test_run.c).
fn runs_on_context_alone(t: ProgType) -> bool {
    matches!(t, ProgType::RawTracepoint | ProgType::RawTracepointWritable | ProgType::Syscall)
}

/// A packet as test runs take it: the frame, the bytes of it that the program does not see, and the context.
fn packet_in(prog_type: ProgType, p: &Packet) -> (Vec<u8>, usize, Vec<u8>) {
    match prog_type {
        ProgType::Xdp => {
            let mut md = vec![0; XDP_MD];
            md[4..8].copy_from_slice(&(p.len() as u32).to_ne_bytes());
            (p.bytes().to_vec(), 0, md)
        }
        ProgType::SchedCls | ProgType::SchedAct => (p.bytes().to_vec(), 0, Vec::new()),
        _ => {
            let mut frame = vec![0; ETH_LEN];
            // The kernel derives `pkt_type` from the destination, the loopback's own address being zero.
            frame[0] = match p.ctx.pkt_type {
                2 => 1,
                3 => 2,
                _ => 0,
            };
            frame[12..].copy_from_slice(&(p.ctx.protocol as u16).to_ne_bytes());
            frame.extend_from_slice(p.bytes());
            (frame, ETH_LEN, Vec::new())
        }
    }
}

fn packet_out(p: &mut Packet, bytes: &[u8]) -> Result<(), Errno> {
    p.resize(bytes.len())?;
    p.bytes_mut().copy_from_slice(bytes);
    Ok(())
}

impl Engine for Kernel {
    fn platform(&self) -> &Platform {
        &self.platform
    }

    fn create_map(&self, def: &MapDef) -> Result<Arc<dyn Map>, MapError> {
        let refuse = |errno, why: String| MapError { map: def.name.clone(), errno, why };
        // Inner maps are of the same object, and so are their types.
        let types = def.btf.as_ref().or(def.inner.as_ref().and_then(|i| i.btf.as_ref()));
        // A number that nobody is told of: a map without types misses none.
        let load = |t: &MapBtf| self.btf.get(&*self.door, &t.btf, BTreeSet::new());
        let btf = types.map_or(Err(Errno::ENOENT), load);
        if def.map_type == MapType::StructOps {
            let map = struct_ops::create(&self.door, def, btf.as_deref().ok(), self.vmlinux())?;
            return Ok(Arc::new(map));
        }
        match map::create(&self.door, def, btf.as_deref().map_err(|e| *e)) {
            Ok(map) => Ok(Arc::new(map)),
            Err(errno) => {
                let why = explain::why(Asked::Map, errno, &Rights::own());
                Err(refuse(errno, format!("{}: {why}", def.map_type.label())))
            }
        }
    }

    /// The running kernel's, read at the first call.
    fn target_btf(&self) -> Result<Option<Arc<Btf>>, EngineError> {
        self.vmlinux().cloned().map(Some).ok_or_else(|| EngineError::Unsupported {
            what: "fitting accesses to the kernel's types (CO-RE)".into(),
            why: format!(
                "this kernel shows none: it was built without CONFIG_DEBUG_INFO_BTF=y ({}); give its types with --btf FILE, or use \
                 --engine user",
                crate::btf::VMLINUX
            ),
        })
    }

    fn load(&self, program: Loadable) -> Result<Arc<dyn Loaded>, EngineError> {
        Ok(Arc::new(self.load_program(program.program())?))
    }

    fn test_run(&self, program: &dyn Loaded, ctx: &mut Context) -> Result<u64, Box<RunError>> {
        let Some(mine) = program.as_any().downcast_ref::<KernelProgram>() else {
            let why = "the program was loaded by another engine".into();
            return Err(Box::new(stopped(program.program(), why)));
        };
        self.run_packet(mine, ctx, 1).map(|(r0, _)| r0)
    }

    /// What the kernel counted while it was told to ([`Kernel::count_runs`]).
    fn run_stats(&self, program: &dyn Loaded) -> Result<RunStats, Errno> {
        let mine = program.as_any().downcast_ref::<KernelProgram>().ok_or(Errno::EINVAL)?;
        let mut all = RunStats::default();
        for p in [Some(mine), mine.known_twin()].into_iter().flatten() {
            let i = info::prog(&*self.door, p.as_fd())?;
            all.runs += i.run_cnt;
            all.ns += i.run_time_ns;
            all.recursion_misses += i.recursion_misses;
        }
        Ok(all)
    }

    /// `target` is what the section name leaves open, by program type: a device for XDP and traffic control, a cgroup's
    /// folder, a network namespace's file; empty where it leaves nothing open.
    fn attach(&self, program: Arc<dyn Loaded>, target: &str) -> Result<Box<dyn engine::Link>, EngineError> {
        let Some(mine) = program.as_any().downcast_ref::<KernelProgram>() else {
            return Err(EngineError::Unsupported {
                what: format!("attaching program {} to {target}", program.program().name),
                why: "it was loaded by another engine".into(),
            });
        };
        let link =
            crate::auto::attach(self, mine, &crate::auto::Given::from_target(program.program(), target))?;
        Ok(Box::new(link))
    }
}

/// A run that the kernel did not do.
fn stopped(program: &Arc<Program>, why: String) -> RunError {
    RunError {
        fault: Fault::Rule { code: "kernel-test-run", why },
        program: program.clone(),
        insn: 0,
        text: String::new(),
        calls: Vec::new(),
        registers: Vec::new(),
        history: Vec::new(),
    }
}
