//! What a running program is to the helpers it calls: memory behind a checked door, maps, the context, the host.
//!
//! A helper body gets `&mut dyn Env` and five numbers. A number that should be an address is an allegation
//! until [`Memory`] has turned it into bytes; the engine behind the door knows the live regions (checked tier) or relies on
//! the verifier (compiled tiers).

use crate::ctx::CtxLayout;
use crate::errno::Errno;
use crate::map::Map;
use crate::packet::Packet;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The checked door to guest memory.
pub trait Memory {
    /// Copies `out.len()` bytes from guest address `addr`.
    fn read(&mut self, addr: u64, out: &mut [u8]) -> Result<(), Fault>;
    /// Copies `data` to guest address `addr`.
    fn write(&mut self, addr: u64, data: &[u8]) -> Result<(), Fault>;
    /// Whether `len` bytes at `addr` may be read (and written) right now, without touching them.
    fn check(&mut self, addr: u64, len: u64, write: bool) -> Result<(), Fault>;
    /// Atomic compare-and-swap of an aligned 32-bit word; the old value.
    fn cmpxchg32(&mut self, addr: u64, old: u32, new: u32) -> Result<u32, Fault>;
    /// Atomic exchange of an aligned 64-bit word (kptrs); the old value.
    fn xchg64(&mut self, addr: u64, new: u64) -> Result<u64, Fault>;

    /// Copies `len` bytes out, at most `max` (guards against giant lengths in unverified programs).
    fn read_vec(&mut self, addr: u64, len: u64, max: u64) -> Result<Vec<u8>, Fault> {
        if len > max {
            return Err(Fault::TooLong { len, max });
        }
        let mut v = vec![0; len as usize];
        self.read(addr, &mut v)?;
        Ok(v)
    }

    /// Copies the bytes of a NUL-terminated string, without the NUL; at most `max` bytes are looked at.
    fn read_str(&mut self, addr: u64, max: usize) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        let mut b = [0];
        while out.len() < max {
            self.read(addr.wrapping_add(out.len() as u64), &mut b)?;
            if b[0] == 0 {
                break;
            }
            out.push(b[0]);
        }
        Ok(out)
    }
}

/// A running program, as its helpers see it. `'r` is the run: maps stay alive that long.
pub trait Env<'r> {
    /// Guest memory.
    fn mem(&mut self) -> &mut dyn Memory;
    /// The map behind a map pointer that the program holds.
    fn map(&mut self, handle: u64) -> Result<&'r dyn Map, Fault>;
    /// First map of this run for which `is` holds: those of the program, of programs that tail-called it, kept inner ones.
    /// Finds the ring buffer that a record was reserved in.
    fn find_map(&mut self, is: &mut dyn FnMut(&dyn Map) -> bool) -> Option<&'r dyn Map>;
    /// Keeps an inner map alive for the run and gives the pointer by which the program knows it.
    fn keep_map(&mut self, map: Arc<dyn Map>) -> u64;
    /// The context it runs on.
    fn ctx(&mut self) -> &mut Context;
    /// The outside world.
    fn host(&self) -> &'r dyn Host;
    /// CPU number the program believes to be on; constant during a run.
    fn cpu(&self) -> u32;
    /// Calls the subprogram at guest address `func`; its `r0`.
    fn call(&mut self, func: u64, args: [u64; 5]) -> Result<u64, Fault>;
    /// Guest address of a region that the helper hands to a callback (a map key copied for iteration); readable until
    /// the helper returns.
    fn lend(&mut self, region: Region) -> Result<u64, Fault>;
    /// Opens a region to helpers for the rest of the run (memory behind a dynptr); the program itself gets no pointer
    /// to it. Engines that trust the verifier have nothing to do.
    fn hold(&mut self, region: Region) -> Result<(), Fault> {
        let _ = region;
        Ok(())
    }
    /// Ends every region that lies inside `len` bytes at `addr`, those handed to the program too: pointers into them
    /// are stale from now on.
    fn forget(&mut self, addr: u64, len: u64) {
        let _ = (addr, len);
    }

    /// Copies from any address of the process, this program's memory or not, without faulting: `EFAULT` where nothing
    /// is mapped.
    fn probe_read(&mut self, addr: u64, out: &mut [u8]) -> Result<(), Errno> {
        match self.mem().read(addr, out) {
            Ok(()) => Ok(()),
            Err(_) => self.host().probe_read(addr, out),
        }
    }

    /// Copies to any address of the process, as [`Env::probe_read`] reads.
    fn probe_write(&mut self, addr: u64, data: &[u8]) -> Result<(), Errno> {
        match self.mem().write(addr, data) {
            Ok(()) => Ok(()),
            Err(_) => self.host().probe_write(addr, data),
        }
    }

    /// The packet it runs on; a fault in programs that have none.
    fn packet(&mut self) -> Result<&mut Packet, Fault> {
        match &mut self.ctx().data {
            CtxData::Packet(p) => Ok(p),
            CtxData::Plain(_) => Err(Fault::NoPacket),
        }
    }
}

/// What the engine is asked to give as `r0`.
#[derive(Clone)]
pub enum Ret {
    /// A number.
    Scalar(u64),
    /// Pointer into a region that the program may now access.
    Region(Region),
    /// NULL where a pointer could have been.
    Null,
    /// Pointer to a map (look-up in a map of maps).
    Map(u64),
    /// Continue in this program instead.
    TailCall(Arc<dyn Any + Send + Sync>),
}

impl fmt::Debug for Ret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ret::Scalar(v) => write!(f, "Scalar({v:#x})"),
            Ret::Region(r) => write!(f, "{r:?}"),
            Ret::Null => f.write_str("Null"),
            Ret::Map(h) => write!(f, "Map({h:#x})"),
            Ret::TailCall(_) => f.write_str("TailCall"),
        }
    }
}

impl Ret {
    /// 0.
    pub const OK: Ret = Ret::Scalar(0);
}

impl From<Errno> for Ret {
    fn from(e: Errno) -> Ret {
        Ret::Scalar(e.to_r0())
    }
}

impl From<Result<(), Errno>> for Ret {
    fn from(r: Result<(), Errno>) -> Ret {
        r.map_or_else(Ret::from, |()| Ret::OK)
    }
}

/// A piece of memory that a program may access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// What it is.
    pub kind: RegionKind,
    /// Native address of its first byte.
    pub addr: u64,
    /// Bytes.
    pub len: u64,
    /// May be written.
    pub writable: bool,
}

/// What a region is, for messages and for rules that depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum RegionKind {
    Stack {
        frame: u8,
    },
    Ctx,
    Packet,
    PacketMeta,
    MapValue {
        map: u64,
    },
    MapKey {
        map: u64,
    },
    RingbufRecord {
        map: u64,
    },
    Dynptr,
    /// Memory given with the run (`mem` of a conformance test, a plain context's buffer).
    Memory,
    Socket,
    Kernel,
}

/// Why a running program was stopped. The engine adds where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Access outside every region the pointer may be used for.
    Access {
        /// Address used.
        addr: u64,
        /// Bytes.
        len: u64,
        /// A write.
        write: bool,
        /// Region that the pointer belongs to, if it belongs to one.
        region: Option<Region>,
        /// What is wrong.
        why: String,
    },
    /// A helper argument is not what it has to be.
    BadArg {
        /// 1-based argument number.
        arg: u8,
        /// What is wrong.
        why: String,
    },
    /// A length beyond what the helper can take.
    TooLong {
        /// Bytes asked for.
        len: u64,
        /// Most bytes allowed.
        max: u64,
    },
    /// The helper works on packets and the program has none.
    NoPacket,
    /// The helper has no body in this engine.
    NoHelper {
        /// Helper number.
        id: u32,
        /// Why, and what to use.
        why: &'static str,
    },
    /// A rule of the platform other than memory access was broken: reference leaked, lock held, budget used up, ….
    Rule {
        /// Stable code, `lock-held-at-exit`.
        code: &'static str,
        /// What happened.
        why: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Access { addr, len, write, why, .. } => {
                let what = if *write { "write" } else { "read" };
                write!(f, "invalid {what} of {len} bytes at {addr:#x}: {why}")
            }
            Fault::BadArg { arg, why } => write!(f, "argument {arg}: {why}"),
            Fault::TooLong { len, max } => write!(f, "length {len} is more than the {max} bytes allowed"),
            Fault::NoPacket => f.write_str("the helper needs a packet and this program type has none"),
            Fault::NoHelper { id, why } => write!(f, "helper #{id} is not in this engine: {why}"),
            Fault::Rule { code, why } => write!(f, "{why} [{code}]"),
        }
    }
}

impl std::error::Error for Fault {}

/// What a program runs on.
#[derive(Debug)]
pub struct Context {
    /// UAPI layout by which the program sees it.
    pub layout: &'static CtxLayout,
    /// The data behind it.
    pub data: CtxData,
}

/// Data behind a context.
#[derive(Debug)]
pub enum CtxData {
    /// A packet with the engine's own context structure.
    Packet(Packet),
    /// The context's own bytes (identity layout), 8-byte aligned, and buffers that its pointers refer to.
    Plain(PlainCtx),
}

/// A context that is plain memory.
#[derive(Debug, Default)]
pub struct PlainCtx {
    /// Bytes of the context, in 64-bit words for alignment.
    pub words: Box<[u64]>,
    /// Length in bytes.
    pub len: usize,
    /// Other memory that the program may access: where it is and whether it may be written. `r2` gets the length of
    /// the context for raw programs.
    pub buffers: Vec<(Box<[u64]>, usize, bool)>,
}

impl PlainCtx {
    /// A context with these bytes and no buffers.
    pub fn new(bytes: &[u8]) -> PlainCtx {
        PlainCtx { words: words(bytes), len: bytes.len(), buffers: Vec::new() }
    }

    /// The bytes as they are now.
    pub fn bytes(&self) -> Vec<u8> {
        let mut all: Vec<u8> = self.words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        all.truncate(self.len);
        all
    }
}

/// Bytes in aligned words, the last one padded with zeros.
pub fn words(bytes: &[u8]) -> Box<[u64]> {
    let word = |chunk: &[u8]| {
        let mut w = [0; 8];
        w[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(w)
    };
    bytes.chunks(8).map(word).collect()
}

/// Layout of a context without fields: memory that a raw program gets.
static RAW: CtxLayout = CtxLayout { name: "memory", size: 0, fields: &[] };

impl Context {
    /// Plain memory for a program that is nothing but instructions: `r1` its address, `r2` its length.
    pub fn memory(bytes: &[u8]) -> Context {
        Context { layout: &RAW, data: CtxData::Plain(PlainCtx::new(bytes)) }
    }
}

/// A question that a program asks the host by a helper without arguments.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ask {
    /// [`Host::ktime_ns`]
    Ktime,
    /// [`Host::ktime_boot_ns`]
    KtimeBoot,
    /// [`Host::ktime_coarse_ns`]
    KtimeCoarse,
    /// [`Host::ktime_tai_ns`]
    KtimeTai,
    /// [`Host::jiffies64`]
    Jiffies,
    /// [`Host::prandom_u32`]
    Prandom,
    /// [`Host::numa_node`]
    NumaNode,
    /// [`Host::pid_tgid`]
    PidTgid,
    /// [`Host::uid_gid`]
    UidGid,
}

/// The answer to a question, for compiled code.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// What this routine returns.
    Call(extern "C" fn() -> u64),
    /// Always this number.
    Constant(u64),
}

/// The outside world as helpers see it; replaced in tests to make runs repeatable.
pub trait Host: Send + Sync {
    /// `CLOCK_MONOTONIC` in ns.
    fn ktime_ns(&self) -> u64;
    /// `CLOCK_BOOTTIME` in ns.
    fn ktime_boot_ns(&self) -> u64;
    /// `CLOCK_MONOTONIC_COARSE` in ns.
    fn ktime_coarse_ns(&self) -> u64;
    /// `CLOCK_TAI` in ns.
    fn ktime_tai_ns(&self) -> u64;
    /// Jiffies since boot (`CONFIG_HZ` 250 unless the host knows better).
    fn jiffies64(&self) -> u64;
    /// A pseudo-random number.
    fn prandom_u32(&self) -> u32;
    /// Number of CPUs per-CPU maps have.
    fn cpus(&self) -> u32;
    /// CPU the calling thread is on.
    fn current_cpu(&self) -> u32;
    /// NUMA node of that CPU.
    fn numa_node(&self) -> u32;
    /// `tgid << 32 | pid`.
    fn pid_tgid(&self) -> u64;
    /// `gid << 32 | uid`.
    fn uid_gid(&self) -> u64;
    /// Command name, NUL-padded.
    fn comm(&self) -> [u8; 16];
    /// Cgroup id of the calling process.
    fn cgroup_id(&self) -> u64;
    /// Device and inode of the PID namespace of the calling process (`/proc/self/ns/pid`), `None` when not known.
    fn pid_ns(&self) -> Option<(u64, u64)> {
        None
    }
    /// Cookie of the network namespace.
    fn netns_cookie(&self) -> u64;
    /// How compiled code answers a question without the methods; `None` where it has to go through them.
    fn direct(&self, ask: Ask) -> Option<Answer> {
        let _ = ask;
        None
    }
    /// Reads memory of the calling process without faulting; `EFAULT` for unmapped addresses.
    fn probe_read(&self, addr: u64, out: &mut [u8]) -> Result<(), Errno>;
    /// Writes it.
    fn probe_write(&self, addr: u64, data: &[u8]) -> Result<(), Errno>;
    /// A line from `bpf_trace_printk`.
    fn trace(&self, line: &str);
    /// MTU of an interface, 0 being the one that the packet is on; `None` when there is no such interface.
    fn mtu(&self, ifindex: u32) -> Option<u32> {
        (ifindex == 0).then_some(1500)
    }
    /// Route look-up for `bpf_fib_lookup`: `None` when no table was given to the engine.
    fn fib(&self) -> Option<&dyn Fib> {
        None
    }
}

/// A route table.
pub trait Fib: Send + Sync {
    /// Next hop for a destination: 4 or 16 bytes of address, ingress interface, whether output rules apply.
    fn route(&self, dst: &[u8], ifindex: u32, output: bool) -> FibResult;
}

/// Outcome of a route look-up (`BPF_FIB_LKUP_RET_*`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FibResult {
    /// Next hop.
    Hop {
        /// Outgoing interface.
        ifindex: u32,
        /// Gateway or the destination itself: 4 or 16 bytes.
        gateway: Vec<u8>,
        /// Path MTU, 0 when not known.
        mtu: u32,
        /// Source and destination hardware address when the neighbour is known.
        mac: Option<([u8; 6], [u8; 6])>,
        /// Preferred source address, empty when none.
        src: Vec<u8>,
    },
    /// Blackhole, unreachable, prohibited, not forwarded: the return code.
    Refused(i64),
}
