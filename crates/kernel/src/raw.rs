//! bpf(2), mmap(2) and their kin: with the folder `raw/` the only place of the crate with unsafe code. Everything with a pointer in it happens here; nothing
//! is judged. Layouts: `union bpf_attr` (include/uapi/linux/bpf.h), kernel/bpf/ringbuf.c for the ring buffer's pages.

mod attach;
mod net;
pub(crate) mod packet;
mod perf;
pub(crate) mod seccomp;
pub(crate) mod types;
mod user_ring;
pub(crate) mod wait;

pub(crate) use net::{ifindex, ifname};

use crate::door::{
    Attached, Batch, Cursor, Door, IdKind, LinkCreate, LogSize, MapCreate, NetError, PerfEvent, ProgAttach,
    ProgLoad, RingMemory, Target, TaskFd, TestRan, TestRun, UserRingMemory,
};
use skep_platform::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// `enum bpf_cmd`.
#[derive(Clone, Copy)]
#[repr(i64)]
enum Cmd {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgAttach = 8,
    ProgDetach = 9,
    ProgTestRun = 10,
    ProgNextId = 11,
    MapNextId = 12,
    ProgById = 13,
    MapById = 14,
    Info = 15,
    ProgQuery = 16,
    RawTracepointOpen = 17,
    BtfLoad = 18,
    BtfById = 19,
    TaskFdQuery = 20,
    MapLookupAndDelete = 21,
    MapFreeze = 22,
    BtfNextId = 23,
    MapLookupBatch = 24,
    MapLookupDeleteBatch = 25,
    MapUpdateBatch = 26,
    MapDeleteBatch = 27,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkById = 30,
    LinkNextId = 31,
    EnableStats = 32,
    IterCreate = 33,
    LinkDetach = 34,
    TokenCreate = 36,
}

/// `BPF_MAP_CREATE`, up to `map_extra`.
#[repr(C)]
#[derive(Default)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
    map_ifindex: u32,
    btf_fd: u32,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
    btf_vmlinux_value_type_id: u32,
    map_extra: u64,
    value_type_btf_obj_fd: u32,
    map_token_fd: u32,
}

/// Bytes of `CreateAttr` that kernels without tokens know.
const CREATE_WITHOUT_TOKEN: usize = std::mem::offset_of!(CreateAttr, value_type_btf_obj_fd);

/// The element commands.
#[repr(C)]
#[derive(Default)]
struct ElemAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `BPF_PROG_LOAD`, up to `log_true_size`.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_prog_fd: u32,
    core_relo_cnt: u32,
    fd_array: u64,
    core_relos: u64,
    core_relo_rec_size: u32,
    log_true_size: u32,
    prog_token_fd: u32,
    fd_array_cnt: u32,
}

/// Bytes of `LoadAttr` that kernels without tokens know.
const LOAD_WITHOUT_TOKEN: usize = std::mem::offset_of!(LoadAttr, prog_token_fd);
/// Bytes of `LoadAttr` that kernels before 6.4 know.
const LOAD_WITHOUT_LOG_SIZE: usize = std::mem::offset_of!(LoadAttr, core_relos);

/// `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct TestAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// `BPF_BTF_LOAD`, up to the log's level.
#[repr(C)]
#[derive(Default)]
struct BtfAttr {
    btf: u64,
    btf_log_buf: u64,
    btf_size: u32,
    btf_log_size: u32,
    btf_log_level: u32,
    btf_log_true_size: u32,
    btf_flags: u32,
    btf_token_fd: u32,
}

/// `BPF_F_TOKEN_FD`: the field for a token holds one.
const TOKEN_FD: u32 = 1 << 16;

/// The running kernel.
#[derive(Clone, Debug, Default)]
pub struct Live {
    token: Option<Arc<OwnedFd>>,
}

impl Live {
    /// The same by the rights of a token (`token.rs`): it is named wherever something is created or loaded.
    #[must_use]
    pub fn with_token(token: OwnedFd) -> Live {
        Live { token: Some(Arc::new(token)) }
    }

    /// The token's flag and number, and one of two sizes of an attribute: that with it, or that without.
    fn token(&self, with: usize, without: usize) -> (u32, u32, usize) {
        self.token.as_ref().map_or((0, 0, without), |t| (TOKEN_FD, number(t.as_fd()), with))
    }
}

impl Door for Live {
    fn has_token(&self) -> bool {
        self.token.is_some()
    }

    fn map_create(&self, m: &MapCreate<'_>) -> Result<OwnedFd, Errno> {
        let (btf_fd, btf_key_type_id, btf_value_type_id) =
            m.btf.map_or((0, 0, 0), |(fd, k, v)| (number(fd), k, v));
        let (flag, token, size) = self.token(size_of::<CreateAttr>(), CREATE_WITHOUT_TOKEN);
        let mut attr = CreateAttr {
            map_type: m.map_type,
            key_size: m.key_size,
            value_size: m.value_size,
            max_entries: m.max_entries,
            map_flags: m.flags | flag,
            map_token_fd: token,
            inner_map_fd: m.inner.map_or(0, number),
            numa_node: m.numa_node,
            map_name: m.name,
            btf_fd,
            btf_key_type_id,
            btf_value_type_id,
            btf_vmlinux_value_type_id: m.vmlinux_value_type,
            map_extra: m.extra,
            ..CreateAttr::default()
        };
        // SAFETY: the attribute holds no pointer.
        owned(unsafe { bpf(Cmd::MapCreate, &mut attr, size) })
    }

    fn map_lookup(&self, map: BorrowedFd<'_>, key: &[u8], value: &mut [u8], take: bool) -> Result<(), Errno> {
        let mut attr = elem(map, key);
        attr.value = value.as_mut_ptr() as u64;
        let cmd = if take { Cmd::MapLookupAndDelete } else { Cmd::MapLookup };
        // SAFETY: the kernel reads the map's key size from `key` and writes the map's value size (times the CPUs for per-CPU
        // types) to `value`; the trait asks for slices of these sizes, and `KernelMap`, the only caller, makes them so.
        done(unsafe { bpf(cmd, &mut attr, size_of::<ElemAttr>()) })
    }

    fn map_update(&self, map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        let mut attr = elem(map, key);
        (attr.value, attr.flags) = (address(value), flags);
        // SAFETY: as in `map_lookup`, and the kernel only reads.
        done(unsafe { bpf(Cmd::MapUpdate, &mut attr, size_of::<ElemAttr>()) })
    }

    fn map_delete(&self, map: BorrowedFd<'_>, key: &[u8]) -> Result<(), Errno> {
        // SAFETY: as in `map_lookup`, without a value.
        done(unsafe { bpf(Cmd::MapDelete, &mut elem(map, key), size_of::<ElemAttr>()) })
    }

    fn map_next_key(&self, map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        let mut attr = elem(map, key.unwrap_or_default());
        attr.value = next.as_mut_ptr() as u64;
        // SAFETY: the kernel reads one key, if its address is not null, and writes one; both slices have the key's size.
        done(unsafe { bpf(Cmd::MapNextKey, &mut attr, size_of::<ElemAttr>()) })
    }

    fn map_freeze(&self, map: BorrowedFd<'_>) -> Result<(), Errno> {
        // SAFETY: the command reads the descriptor alone; of the attribute only that field is not zero.
        done(unsafe { bpf(Cmd::MapFreeze, &mut elem(map, &[]), size_of::<ElemAttr>()) })
    }

    fn ring(&self, map: BorrowedFd<'_>, bytes: usize) -> Result<Box<dyn RingMemory>, Errno> {
        Ok(Box::new(Ring::map(map, bytes)?))
    }

    fn user_ring(&self, map: BorrowedFd<'_>, bytes: usize) -> Result<Box<dyn UserRingMemory>, Errno> {
        Ok(Box::new(user_ring::UserRing::map(map, bytes)?))
    }

    fn btf_load(&self, btf: &[u8], log: &mut [u8]) -> Result<OwnedFd, Errno> {
        let without = std::mem::offset_of!(BtfAttr, btf_log_true_size);
        let (flag, token, size) = self.token(std::mem::offset_of!(BtfAttr, btf_token_fd) + 4, without);
        let (btf_flags, btf_token_fd) = (flag, token);
        let btf_size = btf.len() as u32;
        let mut attr = BtfAttr { btf: address(btf), btf_size, btf_flags, btf_token_fd, ..BtfAttr::default() };
        if !log.is_empty() {
            attr.btf_log_buf = log.as_mut_ptr() as u64;
            (attr.btf_log_size, attr.btf_log_level) = (log.len() as u32, 1);
        }
        // SAFETY: both pointers are slices that live through the call, and their lengths are given with them.
        owned(unsafe { bpf(Cmd::BtfLoad, &mut attr, size) })
    }

    fn prog_load(&self, p: &ProgLoad<'_>, log: &mut [u8]) -> (Result<OwnedFd, Errno>, LogSize) {
        let fds: Vec<i32> = p.maps.iter().map(|m| m.as_raw_fd()).collect();
        let (flag, token, mut size) = self.token(size_of::<LoadAttr>(), LOAD_WITHOUT_LOG_SIZE);
        let mut attr = LoadAttr {
            prog_type: p.prog_type,
            insn_cnt: p.insns.len() as u32,
            insns: p.insns.as_ptr() as u64,
            license: p.license.as_ptr() as u64,
            prog_flags: p.flags | flag,
            prog_token_fd: token,
            prog_name: p.name,
            expected_attach_type: p.attach_type,
            attach_btf_id: p.attach_btf_id,
            attach_prog_fd: p.attach_prog.map_or(0, number),
            fd_array: if fds.is_empty() { 0 } else { fds.as_ptr() as u64 },
            ..LoadAttr::default()
        };
        if let Some(btf) = p.btf {
            attr.prog_btf_fd = number(btf);
            attr.func_info_rec_size = size_of::<[u32; 2]>() as u32;
            (attr.func_info, attr.func_info_cnt) = (p.func_info.as_ptr() as u64, p.func_info.len() as u32);
            attr.line_info_rec_size = size_of::<[u32; 4]>() as u32;
            (attr.line_info, attr.line_info_cnt) = (p.line_info.as_ptr() as u64, p.line_info.len() as u32);
        }
        if p.log_level != 0 && !log.is_empty() {
            (attr.log_level, attr.log_size) = (p.log_level, log.len() as u32);
            attr.log_buf = log.as_mut_ptr() as u64;
            size = size.max(LOAD_WITHOUT_TOKEN);
        }
        // SAFETY: every pointer is that of a slice or C string that lives through the call; counts and sizes are theirs.
        let fd = owned(unsafe { bpf(Cmd::ProgLoad, &mut attr, size) });
        (fd, LogSize(attr.log_true_size))
    }

    fn test_run(&self, prog: BorrowedFd<'_>, run: &mut TestRun<'_>) -> Result<TestRan, Errno> {
        let mut attr = TestAttr {
            prog_fd: number(prog),
            data_size_in: run.data.len() as u32,
            data_in: address(run.data),
            data_size_out: run.data_out.len() as u32,
            data_out: if run.data_out.is_empty() { 0 } else { run.data_out.as_mut_ptr() as u64 },
            ctx_size_in: run.ctx.len() as u32,
            ctx_in: address(run.ctx),
            ctx_size_out: run.ctx_out.len() as u32,
            ctx_out: if run.ctx_out.is_empty() { 0 } else { run.ctx_out.as_mut_ptr() as u64 },
            repeat: run.repeat,
            flags: run.flags,
            ..TestAttr::default()
        };
        // SAFETY: every pointer is that of a slice that lives through the call, with its length; those that are written to
        // are borrowed mutably.
        done(unsafe { bpf(Cmd::ProgTestRun, &mut attr, std::mem::offset_of!(TestAttr, pad)) })?;
        Ok(TestRan {
            retval: attr.retval,
            data_len: attr.data_size_out,
            ctx_len: attr.ctx_size_out,
            duration: attr.duration,
        })
    }

    fn obj_pin(&self, path: &CStr, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        attach::obj_pin(path, fd)
    }

    fn obj_get(&self, path: &CStr, flags: u32) -> Result<OwnedFd, Errno> {
        attach::obj_get(path, flags)
    }

    fn next_id(&self, kind: IdKind, after: u32) -> Result<u32, Errno> {
        attach::next_id(kind, after)
    }

    fn by_id(&self, kind: IdKind, id: u32) -> Result<OwnedFd, Errno> {
        attach::by_id(kind, id)
    }

    fn info(
        &self,
        fd: BorrowedFd<'_>,
        info: &mut [u8],
        buffers: &mut [(usize, &mut [u8])],
    ) -> Result<usize, Errno> {
        attach::info(fd, info, buffers)
    }

    fn link_create(&self, link: &LinkCreate<'_>) -> Result<OwnedFd, Errno> {
        attach::link_create(link)
    }

    fn link_update(
        &self,
        link: BorrowedFd<'_>,
        new: BorrowedFd<'_>,
        old: Option<BorrowedFd<'_>>,
    ) -> Result<(), Errno> {
        attach::link_update(link, new, old)
    }

    fn link_detach(&self, link: BorrowedFd<'_>) -> Result<(), Errno> {
        attach::link_detach(link)
    }

    fn prog_attach(&self, a: &ProgAttach<'_>) -> Result<(), Errno> {
        attach::prog_attach(a, false)
    }

    fn prog_detach(&self, a: &ProgAttach<'_>) -> Result<(), Errno> {
        attach::prog_attach(a, true)
    }

    fn prog_query(&self, target: Target<'_>, attach_type: u32, flags: u32) -> Result<Attached, Errno> {
        attach::prog_query(target, attach_type, flags)
    }

    fn raw_tracepoint_open(&self, name: Option<&CStr>, prog: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        attach::raw_tracepoint_open(name, prog)
    }

    fn iter_create(&self, link: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        attach::iter_create(link)
    }

    fn task_fd_query(&self, pid: u32, fd: u32) -> Result<TaskFd, Errno> {
        attach::task_fd_query(pid, fd)
    }

    fn enable_stats(&self) -> Result<OwnedFd, Errno> {
        attach::enable_stats()
    }

    fn token_create(&self, bpffs: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        attach::token_create(bpffs)
    }

    fn map_batch(
        &self,
        op: Batch,
        map: BorrowedFd<'_>,
        cursor: &mut Cursor,
        cursor_len: usize,
        keys: &mut [u8],
        values: &mut [u8],
        count: u32,
        flags: u64,
    ) -> (Result<(), Errno>, u32) {
        attach::map_batch(op, map, cursor, cursor_len, keys, values, count, flags)
    }

    fn perf_event(&self, event: &PerfEvent<'_>) -> Result<OwnedFd, Errno> {
        perf::open(event)
    }

    fn perf_set_bpf(&self, event: BorrowedFd<'_>, prog: BorrowedFd<'_>) -> Result<(), Errno> {
        perf::set_bpf(event, prog)
    }

    fn perf_enable(&self, event: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
        perf::enable(event, on)
    }

    fn perf_ring(&self, event: BorrowedFd<'_>, pages: usize) -> Result<Box<dyn RingMemory>, Errno> {
        Ok(Box::new(perf::PerfRing::map(event, pages)?))
    }

    fn netlink(&self, kind: u16, flags: u16, payload: &[u8]) -> Result<Vec<(u16, Vec<u8>)>, NetError> {
        net::request(kind, flags, payload)
    }

    fn socket_attach(
        &self,
        socket: BorrowedFd<'_>,
        prog: BorrowedFd<'_>,
        reuseport: bool,
    ) -> Result<(), Errno> {
        net::socket_attach(socket, prog, reuseport)
    }
}

/// Keeps this thread on one CPU: runs see its values of per-CPU maps.
///
/// # Errors
/// `EINVAL` for a CPU that this machine or this process does not have.
pub fn pin_to_cpu(cpu: u32) -> Result<(), Errno> {
    // SAFETY: a set of CPUs is plain bits, for which all zeros is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if cpu >= libc::CPU_SETSIZE as u32 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the set is a live value, and the index inside of it.
    unsafe { libc::CPU_SET(cpu as usize, &mut set) };
    // SAFETY: the set's address and size are given; 0 is this thread.
    done(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) }.into())
}

/// The CPU that this thread runs on now.
pub fn current_cpu() -> u32 {
    // SAFETY: asks for a number.
    unsafe { libc::sched_getcpu() }.max(0) as u32
}

/// A ring buffer's pages: one for the consumer's position, one for the producer's, then the data twice in a row.
#[derive(Debug)]
struct Ring {
    consumer: *mut u8,
    producer: *const u8,
    page: usize,
    /// Bytes of data, a power of two.
    bytes: usize,
}

// SAFETY: the mappings belong to this value alone, and its methods touch them by atomic operations or, for record bytes,
// after the atomic read that says that the kernel has finished them.
unsafe impl Send for Ring {}

impl Ring {
    fn map(fd: BorrowedFd<'_>, bytes: usize) -> Result<Ring, Errno> {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(4096) as usize;
        if !bytes.is_power_of_two() || bytes < page {
            return Err(Errno::EINVAL);
        }
        let shared = |len, rights, at: usize| {
            // SAFETY: a fresh mapping at an address of the kernel's choice.
            let p = unsafe {
                libc::mmap(ptr::null_mut(), len, rights, libc::MAP_SHARED, fd.as_raw_fd(), at as libc::off_t)
            };
            if p == libc::MAP_FAILED { Err(last()) } else { Ok(p.cast::<u8>()) }
        };
        let consumer = shared(page, libc::PROT_READ | libc::PROT_WRITE, 0)?;
        match shared(page + 2 * bytes, libc::PROT_READ, page) {
            Ok(producer) => Ok(Ring { consumer, producer, page, bytes }),
            Err(e) => {
                // SAFETY: mapped above and given to nobody.
                unsafe { libc::munmap(consumer.cast(), page) };
                Err(e)
            }
        }
    }

    /// Offset of a position in the producer's mapping; from there on `bytes` bytes are mapped.
    fn offset(&self, at: u64) -> usize {
        self.page + (at as usize & (self.bytes - 1))
    }
}

impl RingMemory for Ring {
    fn consumer(&self) -> u64 {
        // SAFETY: the first eight bytes of a page that is mapped as long as `self` lives.
        unsafe { &*self.consumer.cast::<AtomicU64>() }.load(Ordering::Acquire)
    }

    fn set_consumer(&mut self, at: u64) {
        // SAFETY: as in `consumer`; the page may be written.
        unsafe { &*self.consumer.cast::<AtomicU64>() }.store(at, Ordering::Release);
    }

    fn producer(&self) -> u64 {
        // SAFETY: as in `consumer`, of the producer's page; only read.
        unsafe { &*self.producer.cast::<AtomicU64>() }.load(Ordering::Acquire)
    }

    fn word(&self, at: u64) -> u32 {
        // Records begin at multiples of eight; a position that does not is rounded down.
        let at = self.offset(at & !7);
        // SAFETY: inside the mapping (`offset` leaves `bytes` bytes behind it) and aligned.
        unsafe { &*self.producer.add(at).cast::<AtomicU32>() }.load(Ordering::Acquire)
    }

    fn copy(&self, at: u64, len: usize, out: &mut Vec<u8>) {
        let len = len.min(self.bytes);
        // SAFETY: `len` bytes from the offset on lie inside of the doubled data, and the kernel does not write to a record
        // before the consumer's position has passed it.
        out.extend_from_slice(unsafe { std::slice::from_raw_parts(self.producer.add(self.offset(at)), len) });
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: both were mapped with these lengths, and no reference into them outlives `self`.
        unsafe {
            libc::munmap(self.consumer.cast(), self.page);
            libc::munmap(self.producer.cast_mut().cast(), self.page + 2 * self.bytes);
        }
    }
}

/// # Safety
/// Pointers in `attr` must be what the command takes them for; `size` is at most that of `attr`.
unsafe fn bpf<T>(cmd: Cmd, attr: &mut T, size: usize) -> libc::c_long {
    // SAFETY: the attribute's address and size are those of a live value; its pointers are the caller's duty.
    unsafe { libc::syscall(libc::SYS_bpf, cmd as libc::c_long, ptr::from_mut(attr), size) }
}

fn elem(map: BorrowedFd<'_>, key: &[u8]) -> ElemAttr {
    ElemAttr { map_fd: number(map), key: address(key), ..ElemAttr::default() }
}

/// A slice's address; null for an empty one.
fn address(s: &[u8]) -> u64 {
    if s.is_empty() { 0 } else { s.as_ptr() as u64 }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

fn owned(n: libc::c_long) -> Result<OwnedFd, Errno> {
    if n < 0 {
        return Err(last());
    }
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(n as i32) })
}

fn done(n: libc::c_long) -> Result<(), Errno> {
    if n < 0 { Err(last()) } else { Ok(()) }
}

fn last() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}
