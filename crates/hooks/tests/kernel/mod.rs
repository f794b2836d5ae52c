//! The running kernel as an oracle: loads small programs and runs them on data, by bpf(2) itself.

#![allow(dead_code, unreachable_pub)] // each test uses a part

pub mod frames;

use skep_platform::{AttachType, ProgType};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// One instruction: opcode, registers (source high), offset, immediate.
pub fn insn(op: u8, dst: u8, src: u8, off: i16, imm: i32) -> u64 {
    let regs = (src << 4 | dst) as u64;
    op as u64 | regs << 8 | (off as u16 as u64) << 16 | (imm as u32 as u64) << 32
}

/// `dst = imm`.
pub fn mov(dst: u8, imm: i32) -> u64 {
    insn(0xb7, dst, 0, 0, imm)
}

/// `dst = src`.
pub fn mov_reg(dst: u8, src: u8) -> u64 {
    insn(0xbf, dst, src, 0, 0)
}

/// `exit`.
pub const EXIT: u64 = 0x95;

/// The size bits of an opcode.
pub fn size_bits(size: u32) -> u8 {
    match size {
        1 => 0x10,
        2 => 0x08,
        4 => 0x00,
        _ => 0x18,
    }
}

fn bpf<T>(command: i32, attr: &mut T) -> Result<i32, i32> {
    // SAFETY: every attribute here is a prefix of `union bpf_attr`, and the memory it points to outlives the call.
    let r = unsafe { libc::syscall(libc::SYS_bpf, command, attr as *mut T, size_of::<T>()) };
    if r < 0 { Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)) } else { Ok(r as i32) }
}

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
    /// Debug information that these programs have none of.
    btf: [u32; 9],
    attach_btf_id: u32,
}

/// `BPF_PROG_LOAD`; the error number when refused.
pub fn load(
    prog_type: ProgType,
    attach: Option<AttachType>,
    flags: u32,
    insns: &[u64],
) -> Result<OwnedFd, i32> {
    load_typed(prog_type, attach, flags, 0, insns)
}

/// The same of a program typed by a function or tracepoint of the kernel's BTF.
pub fn load_typed(
    prog_type: ProgType,
    attach: Option<AttachType>,
    flags: u32,
    btf_id: u32,
    insns: &[u64],
) -> Result<OwnedFd, i32> {
    let mut attr = LoadAttr {
        prog_type: prog_type.id(),
        insn_cnt: insns.len() as u32,
        insns: insns.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        prog_flags: flags,
        expected_attach_type: attach.map_or(0, |a| a.id()),
        attach_btf_id: btf_id,
        ..LoadAttr::default()
    };
    let fd = bpf(5, &mut attr)?;
    // SAFETY: the descriptor was just made and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `dst = address of the first value of an array map`, two slots.
pub fn map_value(dst: u8, map: &OwnedFd) -> [u64; 2] {
    const PSEUDO_MAP_VALUE: u8 = 2;
    [insn(0x18, dst, PSEUDO_MAP_VALUE, 0, map.as_raw_fd()), 0]
}

/// An array map with one value of 256 bytes.
pub fn one_value() -> Result<OwnedFd, i32> {
    const ARRAY: u32 = 2;
    let fd = bpf(0, &mut [ARRAY, 4, 256, 1])?;
    // SAFETY: the descriptor was just made and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[repr(C)]
struct ElemAttr {
    map_fd: u64,
    key: u64,
    value: u64,
    flags: u64,
}

/// Reads (or, with `write`, replaces) the value of [`one_value`]'s map.
pub fn value(map: &OwnedFd, value: &mut [u8; 256], write: bool) -> Result<(), i32> {
    let key = 0u32;
    let mut attr = ElemAttr {
        map_fd: map.as_raw_fd() as u64,
        key: &raw const key as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    bpf(if write { 2 } else { 1 }, &mut attr).map(drop)
}

/// Attaches a program to an interface of this thread's network namespace until the descriptor is closed.
pub fn attach(program: &OwnedFd, ifindex: u32, attach: AttachType, flags: u32) -> Result<OwnedFd, i32> {
    const BPF_LINK_CREATE: i32 = 28;
    let fd =
        bpf(BPF_LINK_CREATE, &mut [program.as_raw_fd() as u32, ifindex, attach.id(), flags, 0, 0, 0, 0])?;
    // SAFETY: the descriptor was just made and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[repr(C)]
#[derive(Default)]
struct RunAttr {
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
    padding: u32,
}

/// What a test run came to.
pub struct Ran {
    pub retval: u32,
    pub data: Vec<u8>,
    pub ctx: Vec<u8>,
}

/// `BPF_PROG_TEST_RUN` on data, with a context of `ctx_size` bytes to come back.
pub fn run(program: &OwnedFd, data: &[u8], ctx_size: usize) -> Result<Ran, i32> {
    let mut out = vec![0; data.len() + 4096];
    let mut ctx = vec![0; ctx_size];
    let mut attr = RunAttr {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: data.len() as u32,
        data_size_out: out.len() as u32,
        data_in: data.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        ctx_size_out: ctx_size as u32,
        ctx_out: if ctx_size == 0 { 0 } else { ctx.as_mut_ptr() as u64 },
        ..RunAttr::default()
    };
    bpf(10, &mut attr)?;
    out.truncate(attr.data_size_out as usize);
    Ok(Ran { retval: attr.retval, data: out, ctx })
}
