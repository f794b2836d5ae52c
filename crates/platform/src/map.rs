//! What a map is to everybody else: its definition, its type's row, and the trait that engines and helpers use.
//!
//! Addresses: a value's address is a native address, stable for as long as the entry exists (for arrays: as long as the
//! map). Memory behind it is shared with running programs and, by the memory file, with other processes; it is read and
//! written in place. Error numbers are the kernel's for the same call (kernel/bpf/*.c of each map type).

use crate::errno::Errno;
use crate::helper::Version;
use crate::uapi::{MapType, ProgType};
use skep_btf::Btf;
use std::any::Any;
use std::fmt;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Definition of a map, as an object declares it or as a caller writes it.
#[derive(Clone, Debug)]
pub struct MapDef {
    /// Name, at most 15 bytes in the kernel.
    pub name: String,
    /// Type.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Number of entries; bytes for ring buffers; pages for arenas.
    pub max_entries: u32,
    /// `BPF_F_*` creation flags.
    pub flags: u32,
    /// Type-specific extra (`map_extra`: bloom hashes, arena address).
    pub map_extra: u64,
    /// NUMA node asked for; taken and ignored by the user engine.
    pub numa_node: u32,
    /// Pin by name (`LIBBPF_PIN_BY_NAME`).
    pub pin_by_name: bool,
    /// Inner map of `*_OF_MAPS`.
    pub inner: Option<Box<MapDef>>,
    /// Types of key and value.
    pub btf: Option<MapBtf>,
}

/// BTF types of a map's key and value; id 0 is "not known".
#[derive(Clone, Debug)]
pub struct MapBtf {
    /// Type information they index.
    pub btf: Arc<Btf>,
    /// Type id of the key.
    pub key: u32,
    /// Type id of the value; a datasec for `.data`, `.rodata`, `.bss`.
    pub value: u32,
}

/// Map creation flags (`BPF_F_*`, include/uapi/linux/bpf.h).
#[allow(missing_docs)]
pub mod flags {
    pub const NO_PREALLOC: u32 = 1 << 0;
    pub const NO_COMMON_LRU: u32 = 1 << 1;
    pub const NUMA_NODE: u32 = 1 << 2;
    pub const RDONLY: u32 = 1 << 3;
    pub const WRONLY: u32 = 1 << 4;
    pub const STACK_BUILD_ID: u32 = 1 << 5;
    pub const ZERO_SEED: u32 = 1 << 6;
    pub const RDONLY_PROG: u32 = 1 << 7;
    pub const WRONLY_PROG: u32 = 1 << 8;
    pub const CLONE: u32 = 1 << 9;
    pub const MMAPABLE: u32 = 1 << 10;
    pub const PRESERVE_ELEMS: u32 = 1 << 11;
    pub const INNER_MAP: u32 = 1 << 12;
    pub const LINK: u32 = 1 << 13;
    pub const PATH_FD: u32 = 1 << 14;
    pub const VTYPE_BTF_OBJ_FD: u32 = 1 << 15;
    pub const TOKEN_FD: u32 = 1 << 16;
    pub const SEGV_ON_FAULT: u32 = 1 << 17;
    pub const NO_USER_CONV: u32 = 1 << 18;

    /// Update flag: create or replace.
    pub const ANY: u64 = 0;
    /// Update flag: create only.
    pub const NOEXIST: u64 = 1;
    /// Update flag: replace only.
    pub const EXIST: u64 = 2;
    /// Look-up and update flag: take the value's spin lock.
    pub const LOCK: u64 = 4;
}

/// What a map type is: one row, next to its implementation in `skep-maps`.
#[derive(Debug)]
pub struct MapTypeDesc {
    /// Which.
    pub map_type: MapType,
    /// One line of what it is for.
    pub doc: &'static str,
    /// First Linux version that has it.
    pub since: Version,
    /// Creation flags it takes.
    pub create_flags: u32,
    /// The only helpers that may be given such a map, by id; empty: no limit from this side. A call passes when this holds
    /// and `exclusive_helpers` of the rows do not forbid it (`check_map_func_compatibility` checks both ways).
    pub helpers: &'static [u32],
    /// Helpers that take maps of no other types than those whose rows list them here.
    pub exclusive_helpers: &'static [u32],
    /// Program types that may use it; empty: all.
    pub prog_types: &'static [ProgType],
    /// Sleepable programs may use it (`check_map_prog_compatibility`).
    pub sleepable: bool,
    /// A value per CPU.
    pub per_cpu: bool,
    /// Values may be read and written through a pointer from look-up.
    pub direct_value: bool,
    /// Programs may hold addresses inside it as constants (`map_direct_value_addr`: `BPF_PSEUDO_MAP_VALUE`).
    pub direct_addr: bool,
    /// `bpf_for_each_map_elem` goes over it.
    pub for_each: bool,
    /// May be the inner map of a map of maps (`map_meta_equal` exists).
    pub inner: bool,
    /// Special fields that values may have (`bpf_spin_lock`, `bpf_timer`, …).
    pub special_fields: &'static [&'static str],
    /// Creates one, or the reason why the user engine has none.
    pub create: Create,
}

/// How the user engine creates a map of a type.
#[derive(Clone, Copy)]
pub enum Create {
    /// Checks the definition as the kernel's `map_alloc_check` does and creates the map.
    Fn(fn(&MapDef) -> Result<Arc<dyn Map>, MapError>),
    /// Not in the user engine, and why.
    Absent(&'static str),
}

impl fmt::Debug for Create {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Create::Fn(_) => f.write_str("Fn"),
            Create::Absent(why) => write!(f, "Absent({why:?})"),
        }
    }
}

/// A definition that cannot become a map.
#[derive(Clone, Debug)]
pub struct MapError {
    /// The map's name.
    pub map: String,
    /// Error number the kernel gives for it.
    pub errno: Errno,
    /// What is wrong and what would be right.
    pub why: String,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "map {}: {} [{}]", self.map, self.why, self.errno.name())
    }
}

impl std::error::Error for MapError {}

/// Who asks: decides access rights (`RDONLY_PROG` against `RDONLY`, frozen) and which CPU's value is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// A running program on this CPU.
    Prog {
        /// CPU whose value is meant in per-CPU maps.
        cpu: u32,
    },
    /// User space: per-CPU values are all CPUs' values in a row, each rounded up to 8 bytes.
    User,
}

/// Program or map as the value of a `PROG_ARRAY` or `*_OF_MAPS` entry.
#[derive(Clone)]
pub enum Handle {
    /// A loaded program; the engine that made it knows its concrete type.
    Prog(Arc<dyn Any + Send + Sync>),
    /// A map.
    Map(Arc<dyn Map>),
}

/// A map. Methods never block on another process for ever, and look-ups take no lock.
///
/// A method that a type does not have gives the kernel's error for it (`EOPNOTSUPP`, `EINVAL`, `ENOTSUPP`).
pub trait Map: Any + Send + Sync + fmt::Debug {
    /// Definition it was made from, sizes as rounded by its type.
    fn def(&self) -> &MapDef;

    /// Address of the value for `key` as a program on `cpu` sees it, or `None`. `key` has `key_size` bytes.
    fn lookup(&self, key: &[u8], cpu: u32) -> Result<Option<u64>, Errno>;

    /// Copies the value(s) for `key` as user space gets them: `value_size` bytes, or all CPUs' for per-CPU types.
    /// `ENOENT` when there is none.
    fn read(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), Errno>;

    /// Sets the value for `key` (`BPF_MAP_UPDATE_ELEM`, `bpf_map_update_elem`).
    fn update(&self, key: &[u8], value: &[u8], flags: u64, side: Side) -> Result<(), Errno>;

    /// Removes the entry.
    fn delete(&self, key: &[u8], side: Side) -> Result<(), Errno>;

    /// Takes an entry out: its value as `read` gives it, then it is gone (`BPF_MAP_LOOKUP_AND_DELETE_ELEM`). User space
    /// only; queues and stacks pop.
    fn lookup_and_delete(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        let _ = (key, out);
        Err(Errno::ENOTSUPP)
    }

    /// Key after `key` in the map's order, into `out`; the first for `None`; `ENOENT` after the last.
    fn next_key(&self, key: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Errno>;

    /// Calls `f` with key and value address of every entry as a program on `cpu` sees them, until it breaks.
    /// Returns the number of entries visited. `EINVAL` for types without iteration.
    fn for_each(&self, cpu: u32, f: &mut dyn FnMut(&[u8], u64) -> ControlFlow<()>) -> Result<u64, Errno> {
        let _ = (cpu, f);
        Err(Errno::EINVAL)
    }

    /// `bpf_map_push_elem`.
    fn push(&self, value: &[u8], flags: u64) -> Result<(), Errno> {
        let _ = (value, flags);
        Err(Errno::EOPNOTSUPP)
    }

    /// `bpf_map_pop_elem`.
    fn pop(&self, value: &mut [u8]) -> Result<(), Errno> {
        let _ = value;
        Err(Errno::EOPNOTSUPP)
    }

    /// `bpf_map_peek_elem`.
    fn peek(&self, value: &mut [u8]) -> Result<(), Errno> {
        let _ = value;
        Err(Errno::EOPNOTSUPP)
    }

    /// `BPF_MAP_FREEZE`: no more writes from user space.
    fn freeze(&self) -> Result<(), Errno>;

    /// Whether it was frozen.
    fn frozen(&self) -> bool;

    /// Address and length of the values as one memory, for arrays (`map_direct_value_addr`).
    fn direct(&self) -> Option<(u64, u64)> {
        None
    }

    /// How compiled code does an operation of a program on this map without the helper's body, if it may.
    fn fast_path(&self, op: MapOp) -> Option<FastPath> {
        let _ = op;
        None
    }

    /// Puts a program or map into an entry (`PROG_ARRAY`, `*_OF_MAPS`).
    fn set_handle(&self, key: &[u8], handle: Handle, flags: u64) -> Result<(), Errno> {
        let _ = (key, handle, flags);
        Err(Errno::EINVAL)
    }

    /// Program or map in an entry. Lives at least as long as the caller holds it.
    fn handle(&self, key: &[u8]) -> Option<Handle> {
        let _ = key;
        None
    }

    /// The ring buffer side of a ring buffer.
    fn ringbuf(&self) -> Option<&dyn RingBuf> {
        None
    }

    /// A ring buffer that programs consume; user space produces by [`Map::push`].
    fn user_ringbuf(&self) -> Option<&dyn RingBuf> {
        None
    }

    /// The event side of a perf event array.
    fn perf_events(&self) -> Option<&dyn PerfEvents> {
        None
    }

    /// The map's memory file, by which other processes open it; `None` for maps that are not in a file.
    fn file(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// For downcasts by the crate that made it.
    fn as_any(&self) -> &dyn Any;
}

/// What a program does with a map through a helper. Arguments are the helper's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MapOp {
    /// Value of a key: address or 0.
    Lookup,
    /// Value of a key for a CPU that the program names: address or 0.
    LookupPercpu,
    /// Sets the value of a key.
    Update,
    /// Removes a key.
    Delete,
    /// Adds a value.
    Push,
    /// Takes a value out.
    Pop,
    /// Shows a value.
    Peek,
    /// Reserves a record: address or 0.
    Reserve,
    /// Publishes a reserved record, which is argument 0 in the place of the map.
    Submit,
    /// Gives a reserved record up; as [`MapOp::Submit`].
    Discard,
    /// Copies a record in.
    Output,
    /// Continues in the program of an entry; the map is argument 1 there.
    TailCall,
}

/// An operation on a map as a description that compilers translate. Holds as long as the map lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FastPath {
    /// The key is a 32-bit index: below `entries` the value is at `base + index * stride`, else there is none.
    Index {
        /// Address of the first value.
        base: u64,
        /// Bytes from value to value.
        stride: u32,
        /// Number of values.
        entries: u32,
        /// Bytes from one CPU's values to the next one's; 0 where all share them.
        percpu: u64,
    },
    /// A routine does it.
    Call(MapRoutine),
    /// An array of 32-bit words tells what stands in the entries: 0 for nothing, else a number that no other program or map
    /// that was ever put into an entry of this process has.
    Ids {
        /// Address of the word of entry 0.
        base: u64,
        /// Number of entries.
        entries: u32,
    },
}

/// Does an operation on a map; what it returns is `r0`.
///
/// Takes `r1` to `r5` and, sixth, what [`MapRoutine::last`] says.
///
/// # Safety
/// The arguments are those of a verified program: `r1` is the address of the very map that gave the routine, addresses are
/// those of as many bytes as the map's definition says.
pub type RoutineFn = unsafe extern "C" fn(u64, u64, u64, u64, u64, u64) -> u64;

/// A routine of a map, for code that knows the map when it is compiled.
#[derive(Clone, Copy, Debug)]
pub struct MapRoutine {
    /// Its code.
    pub call: RoutineFn,
    /// Its sixth argument.
    pub last: LastArg,
    /// The same for a key that the program has just put together of parts of 2 bytes, or of 4, where that makes a difference: it is
    /// loaded in such parts, since a processor waits for what was stored in parts and is loaded as a whole.
    pub parts: [Option<RoutineFn>; 2],
}

impl PartialEq for MapRoutine {
    fn eq(&self, other: &MapRoutine) -> bool {
        std::ptr::fn_addr_eq(self.call, other.call) && self.last == other.last
    }
}

impl Eq for MapRoutine {}

/// What a routine gets beside the program's arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastArg {
    /// Nothing: any value.
    None,
    /// The CPU that the program believes to be on.
    Cpu,
    /// The address of the map.
    Map,
}

/// Producer and consumer of a ring buffer (kernel/bpf/ringbuf.c layout).
pub trait RingBuf {
    /// Reserves `len` bytes; address of the payload. `ENOSPC` when full, `E2BIG` when it never fits.
    fn reserve(&self, len: u64, flags: u64) -> Result<u64, Errno>;
    /// Publishes a reserved record.
    fn submit(&self, addr: u64, flags: u64) -> Result<(), Errno>;
    /// Gives a reserved record up.
    fn discard(&self, addr: u64, flags: u64) -> Result<(), Errno>;
    /// Bytes of the record reserved at `addr`, or `None` when none is.
    fn reserved_len(&self, addr: u64) -> Option<u64>;
    /// Copies a record in.
    fn output(&self, data: &[u8], flags: u64) -> Result<(), Errno>;
    /// Discards the records that the calling thread has reserved and not yet ended: what a run leaves that was stopped.
    fn abandon(&self);
    /// Records that programs of this process had no room for since the last call; `None` where nobody counts, as in the kernel.
    fn lost(&self) -> Option<u64> {
        None
    }
    /// `bpf_ringbuf_query`.
    fn query(&self, flags: u64) -> u64;
    /// Consumes what is there, calling `f` with each record; number of records.
    fn consume(&self, f: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<usize, Errno>;
    /// A descriptor that polls readable when records of this process wait; `consume` clears it.
    fn wake_fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }
}

/// Producer and consumer of a perf event array in the user engine: a ring per CPU.
pub trait PerfEvents {
    /// Writes a sample for CPU `index`. `ENOENT` when nobody listens there, `ENOSPC` when its ring is full (counted).
    fn output(&self, index: u32, data: &[&[u8]]) -> Result<(), Errno>;
    /// Opens the ring of CPU `index` with this many bytes.
    fn open(&self, index: u32, bytes: usize) -> Result<(), Errno>;
    /// Consumes what is there: CPU, sample; returns the samples lost since the last call.
    fn consume(&self, f: &mut dyn FnMut(u32, &[u8]) -> ControlFlow<()>) -> Result<u64, Errno>;
}
