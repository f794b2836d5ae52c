//! The live kernel as an oracle: it loads a program, or says why not, and runs it on given bytes.
//!
//! Needs root. [`Oracle::open`] says why where the kernel does not let us, and tests print that and pass. Nothing is
//! attached or pinned: programs and maps go when their values are dropped.

use crate::raw;
use skep_isa::Insn;
use skep_platform::uapi::{AttachType, MapType, ProgType};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Bytes that a program may add to a packet: as much as the kernel allows.
const GROWTH: usize = 16 * 1024;

/// Longest verifier log asked for.
const LOG: usize = 1 << 20;

/// A kernel that lets us load programs.
#[derive(Debug)]
pub struct Oracle(());

/// What to load.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    /// Program type.
    pub prog_type: ProgType,
    /// Expected attach type.
    pub attach_type: Option<AttachType>,
    /// `BPF_F_*` load flags.
    pub flags: u32,
    /// Instructions; maps are referenced by index (`Imm64::MapIdx`, `MapIdxValue`).
    pub insns: &'a [Insn],
    /// Licence.
    pub license: &'a str,
    /// Maps that the indexes stand for.
    pub maps: &'a [&'a KernelMap],
    /// Verifier log level; 0 for none.
    pub log_level: u32,
    /// The kernel's type that it attaches to; 0 for those that name none.
    pub attach_btf_id: u32,
}

impl<'a> Load<'a> {
    /// A GPL program of this type without maps, no log.
    pub fn new(prog_type: ProgType, insns: &'a [Insn]) -> Load<'a> {
        Load {
            prog_type,
            attach_type: None,
            flags: 0,
            insns,
            license: "GPL",
            maps: &[],
            log_level: 0,
            attach_btf_id: 0,
        }
    }
}

/// The kernel's refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Error number.
    pub errno: i32,
    /// The verifier's log, if one was asked for.
    pub log: String,
}

/// A program in the kernel.
#[derive(Debug)]
pub struct KernelProg {
    fd: OwnedFd,
    /// The verifier's log, if one was asked for.
    pub log: String,
}

/// A map in the kernel.
#[derive(Debug)]
pub struct KernelMap {
    fd: OwnedFd,
    key_size: usize,
    value_size: usize,
    per_cpu: bool,
}

/// Outcome of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    /// Lower 32 bits of `r0`.
    pub retval: u32,
    /// The packet afterwards.
    pub data: Vec<u8>,
    /// The context afterwards.
    pub ctx: Vec<u8>,
    /// Nanoseconds a run, averaged over the repetitions.
    pub ns: u32,
}

impl Oracle {
    /// The kernel, or why it cannot be asked.
    pub fn open() -> Result<Oracle, String> {
        let exit = [Insn::new(0xb7, 0, 0, 0, 0), Insn::new(0x95, 0, 0, 0, 0)];
        match Oracle(()).load(&Load::new(ProgType::SocketFilter, &exit)) {
            Ok(_) => Ok(Oracle(())),
            Err(e) => Err(format!("the kernel loads no program for us (error {}): needs root", e.errno)),
        }
    }

    /// The kernel, unasked: each load says whether it may be used.
    pub fn unchecked() -> Oracle {
        Oracle(())
    }

    /// Attaches a program to a device of this thread's network namespace until the descriptor is closed.
    pub fn attach(
        &self,
        program: &KernelProg,
        ifindex: u32,
        attach_type: AttachType,
        flags: u32,
    ) -> io::Result<OwnedFd> {
        raw::link_create(&program.fd, ifindex, attach_type.id(), flags)
    }

    /// Loads a program.
    pub fn load(&self, load: &Load<'_>) -> Result<KernelProg, Refused> {
        let slots: Vec<[u8; 8]> = load.insns.iter().map(|i| i.to_bytes()).collect();
        let fds: Vec<i32> = load.maps.iter().map(|m| m.fd.as_raw_fd()).collect();
        let license = CString::new(load.license).unwrap_or_default();
        let mut log = vec![0; if load.log_level == 0 { 0 } else { LOG }];
        let raw = raw::Load {
            prog_type: load.prog_type.id(),
            attach_type: load.attach_type.map_or(0, |a| a.id()),
            flags: load.flags,
            insns: &slots,
            license: &license,
            log_level: load.log_level,
            fds: &fds,
            attach_btf_id: load.attach_btf_id,
        };
        let loaded = raw::prog_load(&raw, &mut log);
        let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
        let log = String::from_utf8_lossy(&log[..end]).into_owned();
        match loaded {
            Ok(fd) => Ok(KernelProg { fd, log }),
            Err(e) => Err(Refused { errno: e.raw_os_error().unwrap_or(0), log }),
        }
    }

    /// Creates a map.
    pub fn create_map(
        &self,
        map_type: MapType,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        flags: u32,
    ) -> io::Result<KernelMap> {
        self.create_outer_map(map_type, key_size, value_size, max_entries, flags, None)
    }

    /// Creates a map of maps like `inner`.
    pub fn create_outer_map(
        &self,
        map_type: MapType,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        flags: u32,
        inner: Option<&KernelMap>,
    ) -> io::Result<KernelMap> {
        let inner = inner.map(|m| m.fd.as_raw_fd());
        let create = raw::Create { map_type: map_type.id(), key_size, value_size, max_entries, flags, inner };
        let fd = raw::map_create(&create)?;
        let per_cpu = map_type.uapi_name().contains("PERCPU");
        Ok(KernelMap { fd, key_size: key_size as usize, value_size: value_size as usize, per_cpu })
    }
}

impl KernelProg {
    /// Runs it once on a packet and a context; either may be empty where the program type takes none.
    pub fn test_run(&self, data: &[u8], ctx: &[u8]) -> io::Result<Ran> {
        self.test_run_repeat(data, ctx, 1)
    }

    /// Runs it `repeat` times.
    pub fn test_run_repeat(&self, data: &[u8], ctx: &[u8], repeat: u32) -> io::Result<Ran> {
        self.test_run_flags(data, ctx, repeat, 0)
    }

    /// Runs it `repeat` times with `BPF_F_TEST_*` flags.
    pub fn test_run_flags(&self, data: &[u8], ctx: &[u8], repeat: u32, flags: u32) -> io::Result<Ran> {
        self.run(data, ctx, ctx.len(), repeat, flags)
    }

    /// Runs it once on a packet and gives `room` bytes of the context that the kernel made for it.
    pub fn test_run_ctx_out(&self, data: &[u8], room: usize) -> io::Result<Ran> {
        self.run(data, &[], room, 1, 0)
    }

    fn run(&self, data: &[u8], ctx: &[u8], room: usize, repeat: u32, flags: u32) -> io::Result<Ran> {
        let mut data_out = vec![0; if data.is_empty() { 0 } else { data.len() + GROWTH }];
        let mut ctx_out = vec![0; room];
        let ran = raw::test_run(&self.fd, data, &mut data_out, ctx, &mut ctx_out, repeat, flags)?;
        data_out.truncate(ran.data_len);
        ctx_out.truncate(ran.ctx_len);
        Ok(Ran { retval: ran.retval, data: data_out, ctx: ctx_out, ns: ran.ns })
    }

    /// Its descriptor, as the value of a program array's entry.
    pub fn fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

impl KernelMap {
    /// Its descriptor, as the value of an outer map's entry.
    pub fn fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// Sets a value. `InvalidInput` when the sizes are not the map's; per-CPU maps are not taken.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
        self.check(key.len(), value.len())?;
        raw::map_update(&self.fd, key, value, flags)
    }

    /// Copies a value out.
    pub fn lookup(&self, key: &[u8]) -> io::Result<Vec<u8>> {
        self.check(key.len(), self.value_size)?;
        let mut value = vec![0; self.value_size];
        raw::map_lookup(&self.fd, key, &mut value)?;
        Ok(value)
    }

    /// `BPF_MAP_FREEZE`.
    pub fn freeze(&self) -> io::Result<()> {
        raw::map_freeze(&self.fd)
    }

    fn check(&self, key: usize, value: usize) -> io::Result<()> {
        if key != self.key_size || value != self.value_size || self.per_cpu {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        Ok(())
    }
}
