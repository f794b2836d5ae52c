//! The door to the kernel: every system call of this crate as one method with typed, checked arguments.
//!
//! [`crate::Live`] is the real one. Tests put their own in its place, so that what the engine asks of a kernel, and what it
//! makes of each refusal, can be seen on a machine that allows nothing.

mod attach;

pub use attach::*;

use skep_platform::Errno;
use std::ffi::CStr;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};

/// `BPF_MAP_CREATE`.
#[derive(Clone, Copy, Debug)]
pub struct MapCreate<'a> {
    /// `BPF_MAP_TYPE_*`.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// NUMA node, with the flag for it.
    pub numa_node: u32,
    /// Type-specific extra.
    pub extra: u64,
    /// At most 15 bytes, padded with zeros.
    pub name: [u8; 16],
    /// What the maps in a map of maps are like.
    pub inner: Option<BorrowedFd<'a>>,
    /// Types: BTF, id of the key's, id of the value's.
    pub btf: Option<(BorrowedFd<'a>, u32, u32)>,
    /// Of struct_ops: the value's type in the kernel's types; else 0.
    pub vmlinux_value_type: u32,
}

/// `BPF_PROG_LOAD`.
#[derive(Clone, Copy, Debug)]
pub struct ProgLoad<'a> {
    /// `BPF_PROG_TYPE_*`.
    pub prog_type: u32,
    /// Expected attach type, 0 for none.
    pub attach_type: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// At most 15 bytes, padded with zeros.
    pub name: [u8; 16],
    /// Instructions.
    pub insns: &'a [[u8; 8]],
    /// Licence.
    pub license: &'a CStr,
    /// Maps by index.
    pub maps: &'a [BorrowedFd<'a>],
    /// Types of the program.
    pub btf: Option<BorrowedFd<'a>>,
    /// `struct bpf_func_info`: instruction, type.
    pub func_info: &'a [[u32; 2]],
    /// `struct bpf_line_info`: instruction, file, text, line and column.
    pub line_info: &'a [[u32; 4]],
    /// What it attaches to, as an id of the kernel's types.
    pub attach_btf_id: u32,
    /// The program whose types those are, in place of the kernel's.
    pub attach_prog: Option<BorrowedFd<'a>>,
    /// Log level; 0: no log.
    pub log_level: u32,
}

/// What `BPF_PROG_LOAD` says of its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogSize(
    /// Bytes that the whole log takes with its end; 0 when the kernel does not say (before 6.4).
    pub u32,
);

/// `BPF_PROG_TEST_RUN`.
#[derive(Debug)]
pub struct TestRun<'a> {
    /// Packet or buffer.
    pub data: &'a [u8],
    /// Room for it afterwards.
    pub data_out: &'a mut [u8],
    /// Context.
    pub ctx: &'a [u8],
    /// Room for it afterwards.
    pub ctx_out: &'a mut [u8],
    /// Runs.
    pub repeat: u32,
    /// `BPF_F_TEST_*`.
    pub flags: u32,
}

/// What `BPF_PROG_TEST_RUN` answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TestRan {
    /// Lower half of `r0`.
    pub retval: u32,
    /// Bytes of `data_out` in use.
    pub data_len: u32,
    /// Bytes of `ctx_out` in use.
    pub ctx_len: u32,
    /// Nanoseconds a run, on average.
    pub duration: u32,
}

/// Memory of a ring buffer that the kernel writes to.
pub trait RingMemory: Send + fmt::Debug {
    /// How far the consumer has read.
    fn consumer(&self) -> u64;
    /// Tells the kernel how far the consumer has read.
    fn set_consumer(&mut self, at: u64);
    /// How far the kernel has written.
    fn producer(&self) -> u64;
    /// The word at a position, with what was written before it; positions wrap.
    fn word(&self, at: u64) -> u32;
    /// Appends bytes from a position on; positions wrap.
    fn copy(&self, at: u64, len: usize, out: &mut Vec<u8>);
}

/// Memory of a ring buffer that user space writes to.
pub trait UserRingMemory: Send + fmt::Debug {
    /// How far the kernel has read.
    fn consumer(&self) -> u64;
    /// How far user space has written.
    fn producer(&self) -> u64;
    /// Tells the kernel how far user space has written, and what was written before.
    fn set_producer(&mut self, at: u64);
    /// Writes bytes from a position on, at most as many as the ring has; positions wrap.
    fn write(&mut self, at: u64, bytes: &[u8]);
}

/// Every call into the kernel.
pub trait Door: Send + Sync + fmt::Debug {
    /// Creates a map.
    fn map_create(&self, map: &MapCreate<'_>) -> Result<OwnedFd, Errno>;
    /// Reads a value; `key` and `value` have the map's sizes, the latter times the CPUs for per-CPU types.
    fn map_lookup(&self, map: BorrowedFd<'_>, key: &[u8], value: &mut [u8], take: bool) -> Result<(), Errno>;
    /// Sets a value; sizes as in [`Door::map_lookup`].
    fn map_update(&self, map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno>;
    /// Removes an entry.
    fn map_delete(&self, map: BorrowedFd<'_>, key: &[u8]) -> Result<(), Errno>;
    /// The key after `key`, or the first.
    fn map_next_key(&self, map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno>;
    /// No more writes from user space.
    fn map_freeze(&self, map: BorrowedFd<'_>) -> Result<(), Errno>;
    /// The memory of a ring buffer of this many bytes.
    fn ring(&self, map: BorrowedFd<'_>, bytes: usize) -> Result<Box<dyn RingMemory>, Errno>;
    /// The memory of a user ring buffer of this many bytes.
    fn user_ring(&self, _map: BorrowedFd<'_>, _bytes: usize) -> Result<Box<dyn UserRingMemory>, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Loads types; an empty log asks for none.
    fn btf_load(&self, btf: &[u8], log: &mut [u8]) -> Result<OwnedFd, Errno>;
    /// Loads a program.
    fn prog_load(&self, prog: &ProgLoad<'_>, log: &mut [u8]) -> (Result<OwnedFd, Errno>, LogSize);
    /// Runs a program.
    fn test_run(&self, prog: BorrowedFd<'_>, run: &mut TestRun<'_>) -> Result<TestRan, Errno>;

    // What follows is about objects that exist and hooks. A door that has none of it says so.

    /// Pins an object in a bpf file system.
    fn obj_pin(&self, _path: &CStr, _fd: BorrowedFd<'_>) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// Opens a pinned object; `flags` are `BPF_F_RDONLY` and `BPF_F_WRONLY`.
    fn obj_get(&self, _path: &CStr, _flags: u32) -> Result<OwnedFd, Errno> {
        Err(Errno::ENOSYS)
    }
    /// The smallest id above `after`.
    ///
    /// # Errors
    /// `ENOENT` behind the last.
    fn next_id(&self, _kind: IdKind, _after: u32) -> Result<u32, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Opens an object by its id.
    fn by_id(&self, _kind: IdKind, _id: u32) -> Result<OwnedFd, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Fills `info`, a `struct bpf_*_info` whose pointers to buffers must be zero or those of `buffers`, and returns how many
    /// bytes of it the kernel knows. `buffers` gives (offset of the pointer in `info`, buffer).
    fn info(
        &self,
        _fd: BorrowedFd<'_>,
        _info: &mut [u8],
        _buffers: &mut [(usize, &mut [u8])],
    ) -> Result<usize, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Makes a link.
    fn link_create(&self, _link: &LinkCreate<'_>) -> Result<OwnedFd, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Puts another program (or struct_ops map) into a link; with `old` only if that one is in it.
    fn link_update(
        &self,
        _link: BorrowedFd<'_>,
        _new: BorrowedFd<'_>,
        _old: Option<BorrowedFd<'_>>,
    ) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// Detaches a link; its descriptor stays.
    fn link_detach(&self, _link: BorrowedFd<'_>) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// Attaches without a link.
    fn prog_attach(&self, _a: &ProgAttach<'_>) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// Detaches what was attached without a link.
    fn prog_detach(&self, _a: &ProgAttach<'_>) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// What is attached to a hook; `flags`: `BPF_F_QUERY_EFFECTIVE`.
    fn prog_query(&self, _target: Target<'_>, _attach_type: u32, _flags: u32) -> Result<Attached, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Attaches to a raw tracepoint; without a name to what the program was loaded for.
    fn raw_tracepoint_open(&self, _name: Option<&CStr>, _prog: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        Err(Errno::ENOSYS)
    }
    /// A file that a link of an iterator writes to when it is read.
    fn iter_create(&self, _link: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Which program sits on a perf event's descriptor of a process.
    fn task_fd_query(&self, _pid: u32, _fd: u32) -> Result<TaskFd, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Counts and times runs of all programs as long as the descriptor is open.
    fn enable_stats(&self) -> Result<OwnedFd, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Whether what is created and loaded is by the rights of a token.
    fn has_token(&self) -> bool {
        false
    }
    /// Rights from a bpf file system that was mounted with delegation.
    fn token_create(&self, _bpffs: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Many entries at once: keys and values of `count` entries, the walk's place and the number of entries done.
    ///
    /// `keys` and `values` must have `count` times the map's sizes. `cursor` has room for what the kernel keeps of the
    /// walk, at least a key and eight bytes.
    #[allow(clippy::too_many_arguments, reason = "as many as the command has")]
    fn map_batch(
        &self,
        _op: Batch,
        _map: BorrowedFd<'_>,
        _cursor: &mut Cursor,
        _cursor_len: usize,
        _keys: &mut [u8],
        _values: &mut [u8],
        _count: u32,
        _flags: u64,
    ) -> (Result<(), Errno>, u32) {
        (Err(Errno::ENOSYS), 0)
    }
    /// Makes a perf event, not enabled yet.
    fn perf_event(&self, _event: &PerfEvent<'_>) -> Result<OwnedFd, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Puts a program on a perf event.
    fn perf_set_bpf(&self, _event: BorrowedFd<'_>, _prog: BorrowedFd<'_>) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// Enables or disables a perf event.
    fn perf_enable(&self, _event: BorrowedFd<'_>, _on: bool) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
    /// The memory of a perf event's records: `pages` of data, a power of two.
    fn perf_ring(&self, _event: BorrowedFd<'_>, _pages: usize) -> Result<Box<dyn RingMemory>, Errno> {
        Err(Errno::ENOSYS)
    }
    /// Sends one request to `NETLINK_ROUTE`; the payloads of the answers, each with its message type.
    fn netlink(&self, _kind: u16, _flags: u16, _payload: &[u8]) -> Result<Vec<(u16, Vec<u8>)>, NetError> {
        Err(NetError { errno: Errno::ENOSYS, text: String::new() })
    }
    /// `SO_ATTACH_BPF` or, with `reuseport`, `SO_ATTACH_REUSEPORT_EBPF`.
    fn socket_attach(
        &self,
        _socket: BorrowedFd<'_>,
        _prog: BorrowedFd<'_>,
        _reuseport: bool,
    ) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
}
