//! bpf(2) as typed calls. Everything with a pointer in it happens here; nothing is judged.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP: libc::c_long = 1;
const MAP_UPDATE: libc::c_long = 2;
const MAP_FREEZE: libc::c_long = 22;
const PROG_LOAD: libc::c_long = 5;
const PROG_TEST_RUN: libc::c_long = 10;
const LINK_CREATE: libc::c_long = 28;

/// `union bpf_attr` of `BPF_PROG_LOAD` up to `fd_array`.
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
}

/// `union bpf_attr` of `BPF_PROG_TEST_RUN`.
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

/// `union bpf_attr` of `BPF_MAP_CREATE` up to the name.
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
}

/// `union bpf_attr` of the element commands.
#[repr(C)]
#[derive(Default)]
struct ElemAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// What `BPF_PROG_LOAD` is given.
pub(crate) struct Load<'a> {
    pub(crate) prog_type: u32,
    pub(crate) attach_type: u32,
    pub(crate) flags: u32,
    pub(crate) insns: &'a [[u8; 8]],
    pub(crate) license: &'a CStr,
    pub(crate) log_level: u32,
    /// `fd_array`, for map references by index.
    pub(crate) fds: &'a [i32],
    pub(crate) attach_btf_id: u32,
}

pub(crate) fn prog_load(load: &Load<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    let mut attr = LoadAttr {
        prog_type: load.prog_type,
        insn_cnt: load.insns.len() as u32,
        insns: load.insns.as_ptr() as u64,
        license: load.license.as_ptr() as u64,
        prog_flags: load.flags,
        expected_attach_type: load.attach_type,
        attach_btf_id: load.attach_btf_id,
        fd_array: if load.fds.is_empty() { 0 } else { load.fds.as_ptr() as u64 },
        ..LoadAttr::default()
    };
    if load.log_level != 0 && !log.is_empty() {
        (attr.log_level, attr.log_size, attr.log_buf) =
            (load.log_level, log.len() as u32, log.as_mut_ptr() as u64);
    }
    // SAFETY: the attribute is laid out as the UAPI says; its pointers are slices that live through the call, and
    // their lengths are given with them.
    fd(unsafe { bpf(PROG_LOAD, &mut attr) })
}

/// Attaches a program to a device.
pub(crate) fn link_create(prog: &OwnedFd, ifindex: u32, attach_type: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attr = [prog.as_raw_fd() as u32, ifindex, attach_type, flags, 0, 0, 0, 0];
    // SAFETY: the attribute holds no pointer.
    fd(unsafe { bpf(LINK_CREATE, &mut attr) })
}

/// Outcome of a test run.
pub(crate) struct Ran {
    pub(crate) retval: u32,
    pub(crate) data_len: usize,
    pub(crate) ctx_len: usize,
    pub(crate) ns: u32,
}

pub(crate) fn test_run(
    prog: &OwnedFd,
    data: &[u8],
    data_out: &mut [u8],
    ctx: &[u8],
    ctx_out: &mut [u8],
    repeat: u32,
    flags: u32,
) -> io::Result<Ran> {
    let address = |s: &[u8]| if s.is_empty() { 0 } else { s.as_ptr() as u64 };
    let mut attr = TestAttr {
        prog_fd: prog.as_raw_fd() as u32,
        data_size_in: data.len() as u32,
        data_in: address(data),
        data_size_out: data_out.len() as u32,
        data_out: if data_out.is_empty() { 0 } else { data_out.as_mut_ptr() as u64 },
        ctx_size_in: ctx.len() as u32,
        ctx_in: address(ctx),
        ctx_size_out: ctx_out.len() as u32,
        ctx_out: if ctx_out.is_empty() { 0 } else { ctx_out.as_mut_ptr() as u64 },
        repeat,
        flags,
        ..TestAttr::default()
    };
    // SAFETY: as in `prog_load`; the two output slices are borrowed mutably.
    let n = unsafe { bpf(PROG_TEST_RUN, &mut attr) };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    let (data_len, ctx_len) = (attr.data_size_out as usize, attr.ctx_size_out as usize);
    Ok(Ran { retval: attr.retval, data_len, ctx_len, ns: attr.duration })
}

/// Sizes and kind of a map.
pub(crate) struct Create {
    pub(crate) map_type: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
    pub(crate) inner: Option<i32>,
}

pub(crate) fn map_create(c: &Create) -> io::Result<OwnedFd> {
    let mut attr = CreateAttr {
        map_type: c.map_type,
        key_size: c.key_size,
        value_size: c.value_size,
        max_entries: c.max_entries,
        map_flags: c.flags,
        inner_map_fd: c.inner.unwrap_or(0) as u32,
        ..CreateAttr::default()
    };
    // SAFETY: the attribute holds no pointer.
    fd(unsafe { bpf(MAP_CREATE, &mut attr) })
}

/// `key` and `value` must have the map's sizes: the caller checked.
pub(crate) fn map_update(map: &OwnedFd, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
    let mut attr = ElemAttr {
        map_fd: map.as_raw_fd() as u32,
        key: key.as_ptr() as u64,
        value: value.as_ptr() as u64,
        flags,
        ..ElemAttr::default()
    };
    // SAFETY: the kernel reads the map's key and value size, which the slices have.
    done(unsafe { bpf(MAP_UPDATE, &mut attr) })
}

/// `key` and `value` must have the map's sizes: the caller checked.
pub(crate) fn map_lookup(map: &OwnedFd, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    let mut attr = ElemAttr {
        map_fd: map.as_raw_fd() as u32,
        key: key.as_ptr() as u64,
        value: value.as_mut_ptr() as u64,
        ..ElemAttr::default()
    };
    // SAFETY: the kernel reads the map's key size and writes its value size, which the slices have.
    done(unsafe { bpf(MAP_LOOKUP, &mut attr) })
}

pub(crate) fn map_freeze(map: &OwnedFd) -> io::Result<()> {
    let mut attr = ElemAttr { map_fd: map.as_raw_fd() as u32, ..ElemAttr::default() };
    // SAFETY: the command reads the descriptor alone.
    done(unsafe { bpf(MAP_FREEZE, &mut attr) })
}

/// # Safety
/// Pointers in `attr` must be what the command takes them for.
unsafe fn bpf<T>(cmd: libc::c_long, attr: &mut T) -> libc::c_long {
    // SAFETY: the attribute's address and size are those of a live value; its pointers are the caller's duty.
    unsafe { libc::syscall(libc::SYS_bpf, cmd, std::ptr::from_mut(attr), size_of::<T>()) }
}

fn fd(n: libc::c_long) -> io::Result<OwnedFd> {
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(n as i32) })
}

fn done(n: libc::c_long) -> io::Result<()> {
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The calling thread keeps of its effective capabilities only these (bits by number).
pub(crate) fn keep_capabilities(mask: u64) -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`: two sets of 32 bits.
    const VERSION: u32 = 0x2008_0522;
    let mut header = [VERSION, 0];
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: header and both sets are laid out as capget(2) says and live through the call.
    done(unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) })?;
    sets[0][0] &= mask as u32;
    sets[1][0] &= (mask >> 32) as u32;
    // SAFETY: as above.
    done(unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) })
}
