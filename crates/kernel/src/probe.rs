//! What the running kernel has, found out by trying: the smallest program of each type, the smallest map of each type, a call
//! of each helper from each program type. Logs are not read: error numbers tell.
//!
//! A call of a helper with whatever the registers hold is refused with `EINVAL` where the program type has no such helper,
//! since the verifier looks the helper up first (`check_helper_call`); anything else (mostly `EACCES`, for arguments that
//! were never set) says that it is there.

use crate::door::{Door, MapCreate, ProgLoad};
use crate::engine::Kernel;
use crate::map::object_name;
use skep_btf::{Btf, Kind};
use skep_isa::Insn;
use skep_isa::asm::parse_insns;
use skep_platform::map::flags;
use skep_platform::{AttachType, Errno, MapType, ProgType};
use std::os::fd::{AsFd, OwnedFd};

/// Whether the kernel has something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// It has.
    Yes,
    /// It has not, or does not let this process have it: the error number.
    No(Errno),
    /// It cannot be found out by trying.
    Unknown(&'static str),
}

/// Key, words, and the text of a program.
type Misc = (&'static str, &'static str, fn() -> String);

/// What may be asked of [`Kernel::has_misc`]: bpftool's key, its words, and a program that only such a kernel takes.
const MISC: [Misc; 4] = [
    ("large_insn_limit", "Large program size limit", || "r0 = 0\n".repeat(4096) + "exit\n"),
    ("bounded_loops", "Bounded loop support", || {
        "r0 = 10\nagain:\nr0 -= 1\nif r0 != 0 goto again\nexit\n".into()
    }),
    ("v2_isa_extension", "ISA extension v2", || "r0 = 0\nif r0 < 0 goto out\nr0 = 1\nout:\nexit\n".into()),
    ("v3_isa_extension", "ISA extension v3", || "r0 = 0\nif w0 < 0 goto out\nr0 = 1\nout:\nexit\n".into()),
];

/// What the smallest program of a type needs beside `r0 = 0; exit`.
#[derive(Default)]
struct Smallest {
    attach_type: Option<AttachType>,
    /// `r0` at the end.
    r0: i32,
    flags: u32,
    /// Name and kind of the kernel type that it attaches to.
    target: Option<(&'static str, Kind)>,
}

/// `BPF_F_SLEEPABLE`.
const SLEEPABLE: u32 = 1 << 4;

fn smallest(t: ProgType) -> Smallest {
    let none = Smallest::default();
    let attach = |a| Some(a);
    match t {
        ProgType::CgroupSockAddr => Smallest { attach_type: attach(AttachType::CgroupInet4Connect), ..none },
        ProgType::CgroupSockopt => Smallest { attach_type: attach(AttachType::CgroupGetsockopt), ..none },
        ProgType::SkLookup => Smallest { attach_type: attach(AttachType::SkLookup), ..none },
        ProgType::Netfilter => Smallest { attach_type: attach(AttachType::Netfilter), ..none },
        ProgType::Syscall => Smallest { flags: SLEEPABLE, ..none },
        ProgType::Tracing => Smallest {
            attach_type: attach(AttachType::TraceIter),
            target: Some(("bpf_iter_task", Kind::Func)),
            ..none
        },
        ProgType::Lsm => Smallest {
            attach_type: attach(AttachType::LsmMac),
            target: Some(("bpf_lsm_file_open", Kind::Func)),
            ..none
        },
        ProgType::StructOps => Smallest { target: Some(("tcp_congestion_ops", Kind::Struct)), ..none },
        _ => none,
    }
}

impl Kernel {
    /// Whether programs of a type can be loaded.
    pub fn has_prog_type(&self, t: ProgType) -> Found {
        match t {
            ProgType::Ext => Found::Unknown("it replaces a function of another program"),
            ProgType::StructOps => Found::Unknown("it implements a member of a structure"),
            _ => match self.try_program(t, None) {
                Ok(()) => Found::Yes,
                Err(e) => Found::No(e),
            },
        }
    }

    /// Whether programs of a type can call a helper. Ask only for types that the kernel has.
    pub fn has_helper(&self, t: ProgType, helper: u32) -> bool {
        !matches!(self.try_program(t, Some(helper)), Err(Errno::EINVAL | Errno::EPERM))
    }

    /// Whether maps of a type can be created.
    pub fn has_map_type(&self, t: MapType) -> Found {
        if t == MapType::StructOps {
            return Found::Unknown("its value is a structure of the kernel's");
        }
        match try_map(&**self.door(), t) {
            Ok(_) => Found::Yes,
            Err(e) => Found::No(e),
        }
    }

    /// What the kernel's verifier and instruction set are up to. Cost: four programs, one of them of 4,097 instructions.
    pub fn has_misc(&self) -> [(&'static str, &'static str, bool); 4] {
        let takes = |text: &str| {
            let insns = parse_insns(text).unwrap_or_default();
            let insns: Vec<[u8; 8]> = insns.iter().map(|i| i.to_bytes()).collect();
            !insns.is_empty() && self.load_socket_filter(&insns).is_ok()
        };
        MISC.map(|(key, words, program)| (key, words, takes(&program())))
    }

    fn load_socket_filter(&self, insns: &[[u8; 8]]) -> Result<(), Errno> {
        let request = ProgLoad {
            prog_type: ProgType::SocketFilter.id(),
            attach_type: 0,
            flags: 0,
            name: object_name("probe"),
            insns,
            license: c"GPL",
            maps: &[],
            btf: None,
            func_info: &[],
            line_info: &[],
            attach_btf_id: 0,
            attach_prog: None,
            log_level: 0,
        };
        self.door().prog_load(&request, &mut []).0.map(drop)
    }

    /// Loads the smallest program of a type, or one that calls a helper first.
    fn try_program(&self, t: ProgType, helper: Option<u32>) -> Result<(), Errno> {
        let small = smallest(t);
        let call = helper.map(|id| Insn::new(0x85, 0, 0, 0, id as i32));
        let end = [Insn::new(0xb7, 0, 0, 0, small.r0), Insn::new(0x95, 0, 0, 0, 0)];
        let insns: Vec<[u8; 8]> = call.into_iter().chain(end).map(|i| i.to_bytes()).collect();
        let request = ProgLoad {
            prog_type: t.id(),
            attach_type: small.attach_type.map_or(0, |a| a.id()),
            flags: small.flags,
            name: object_name("probe"),
            insns: &insns,
            license: c"GPL",
            maps: &[],
            btf: None,
            func_info: &[],
            line_info: &[],
            attach_btf_id: match small.target {
                Some((name, kind)) => {
                    let find = |b: &Btf| b.find_by_name_kind(name, kind);
                    self.vmlinux().map(|btf| &**btf).and_then(find).ok_or(Errno::ENOENT)?
                }
                None => 0,
            },
            attach_prog: None,
            log_level: 0,
        };
        self.door().prog_load(&request, &mut []).0.map(drop)
    }
}

/// Creates the smallest map of a type.
fn try_map(door: &dyn Door, t: MapType) -> Result<OwnedFd, Errno> {
    let page = 4096;
    let (key_size, value_size, max_entries, map_flags) = match t {
        MapType::StackTrace => (4, 8, 1, 0),
        MapType::LpmTrie => (8, 8, 1, flags::NO_PREALLOC),
        MapType::Queue | MapType::Stack | MapType::BloomFilter => (0, 4, 1, 0),
        MapType::Ringbuf | MapType::UserRingbuf => (0, 0, page, 0),
        MapType::CgroupStorage | MapType::PercpuCgroupStorage => (8, 8, 0, 0),
        MapType::Arena => (0, 0, 1, flags::MMAPABLE),
        MapType::SkStorage | MapType::InodeStorage | MapType::TaskStorage | MapType::CgrpStorage => {
            return try_storage(door, t);
        }
        _ => (4, 4, 1, 0),
    };
    let outer = matches!(t, MapType::ArrayOfMaps | MapType::HashOfMaps);
    let inner = if outer { Some(try_map(door, MapType::Array)?) } else { None };
    door.map_create(&MapCreate {
        map_type: t.id(),
        key_size,
        value_size,
        max_entries,
        flags: map_flags,
        numa_node: 0,
        extra: 0,
        name: object_name("probe"),
        inner: inner.as_ref().map(AsFd::as_fd),
        btf: None,
        vmlinux_value_type: 0,
    })
}

/// Storage of objects wants to know the types of key and value.
fn try_storage(door: &dyn Door, t: MapType) -> Result<OwnedFd, Errno> {
    let mut types = skep_btf::BtfBuilder::new();
    let signed = skep_btf::IntEncoding { signed: true, ..Default::default() };
    let int = types.add_int("int", 4, signed).map_err(|_| Errno::EINVAL)?;
    let btf = door.btf_load(&types.emit(), &mut [])?;
    door.map_create(&MapCreate {
        map_type: t.id(),
        key_size: 4,
        value_size: 4,
        max_entries: 0,
        flags: flags::NO_PREALLOC,
        numa_node: 0,
        extra: 0,
        name: object_name("probe"),
        inner: None,
        btf: Some((btf.as_fd(), int, int)),
        vmlinux_value_type: 0,
    })
}
